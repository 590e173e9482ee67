"""A reader who looks all the while at what is being published, and writes down what is wrong with it."""

from __future__ import annotations

import hashlib
import json
import random
import time
from pathlib import Path
from typing import Any

from .imitated import key_of

Expected = dict[str, dict[str, list[str]]]  # version to config to item ids
PAUSE = 0.2  # seconds between two looks: it shall not take the machine from those it watches
OWN = {".gitattributes", "release.json"}


def poll(url: str, token: str, repos: list[str], expected: Expected, log: str, seed: int) -> None:
    """Read a random repository at main or a random tag until ``log``.stop is there; each look is a line of ``log``."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import RepositoryNotFoundError

    rng, api = random.Random(seed), HfApi(endpoint=url, token=token)
    seen = Seen()
    with Path(log).open("w", buffering=1) as lines:
        while not Path(f"{log}.stop").exists():
            repo = rng.choice(repos)
            try:
                refs = api.list_repo_refs(repo, repo_type="dataset")
            except RepositoryNotFoundError:
                time.sleep(0.02)
                continue
            # mostly main: that is where something may be half-done
            tags = {t.name: t.target_commit for t in refs.tags}
            revision = rng.choice([*tags, *["main"] * max(1, len(tags))])
            how = "load" if rng.random() < 0.1 else "raw"
            try:
                raw = how == "raw"
                told = read_raw(api, repo, revision, seen) if raw else load(api, repo, revision, rng, expected)
                seen.tags_stay(repo, tags)
            except Exception as error:
                told = {"wrong": f"{type(error).__name__}: {str(error)[:500]}"}
            lines.write(json.dumps({"repo": repo, "revision": revision, "how": how, **told}) + "\n")
            time.sleep(PAUSE)


class Seen:
    """What earlier looks have shown: versions never go back, tags never move."""

    def __init__(self) -> None:
        self._versions: dict[str, tuple[int, ...]] = {}
        self._tags: dict[tuple[str, str], str] = {}

    def tags_stay(self, repo: str, tags: dict[str, str]) -> None:
        for name, commit in tags.items():
            if self._tags.setdefault((repo, name), commit) != commit:
                raise AssertionError(f"tag {name} of {repo} has moved")

    def forward(self, repo: str, version: str) -> None:
        now = tuple(int(n) for n in version.split("."))
        if now < self._versions.get(repo, ()):
            raise AssertionError(f"{repo} went back to {version}")
        self._versions[repo] = now


def read_raw(api: Any, repo: str, revision: str, seen: Seen) -> dict[str, Any]:
    """Every byte of a revision against its own manifest."""
    from huggingface_hub.utils import get_session

    told = api.repo_info(repo, repo_type="dataset", revision=revision)
    files = {s.rfilename for s in told.siblings}
    if "release.json" not in files:
        assert revision == "main", f"tag {revision} without a release"
        assert files == {".gitattributes"}, f"files without a manifest: {sorted(files)}"
        return {"version": None}

    def content(path: str) -> bytes:
        link = f"{api.endpoint}/datasets/{repo}/resolve/{told.sha}/{path}"
        answer = get_session().get(link, headers={"Authorization": f"Bearer {api.token}"})
        answer.raise_for_status()
        data: bytes = answer.content
        return data

    manifest = json.loads(content("release.json"))
    digests = {s["path"]: s["sha256"] for s in manifest["shards"]} | manifest["recipes"] | manifest["files"]
    assert files - OWN == digests.keys(), f"not what is listed: {sorted((files - OWN) ^ digests.keys())}"
    for path, digest in digests.items():
        assert hashlib.sha256(content(path)).hexdigest() == digest, f"{path} is damaged"
    if revision == "main":
        seen.forward(repo, manifest["version"])
    else:
        assert revision == f"v{manifest['version']}", f"tag {revision} holds {manifest['version']}"
    return {"version": manifest["version"], "commit": told.sha, "files": len(files)}


def load(api: Any, repo: str, revision: str, rng: random.Random, expected: Expected) -> dict[str, Any]:
    """A random config through `load_dataset`, streaming: exactly the rows of one version, each once."""
    from datasets import load_dataset

    if not api.file_exists(repo, "release.json", repo_type="dataset", revision=revision):
        assert revision == "main", f"tag {revision} without a release"
        return {"version": None}
    config = rng.choice(sorted(next(iter(expected.values()))))
    key, splits = key_of(config), load_dataset(repo, config, revision=revision, streaming=True)
    rows = sorted(row[key] for part in splits.values() for row in part.select_columns([key]))
    versions = [v for v, configs in expected.items() if configs[config] == rows]
    assert versions, f"{len(rows)} rows of {config}, those of no version"
    assert revision in ("main", *(f"v{v}" for v in versions)), f"tag {revision} holds the rows of {versions}"
    return {"version": versions[0], "config": config, "rows": len(rows)}
