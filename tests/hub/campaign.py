"""Many publishes, each struck by a random fault at a random request and run again until it ends; a reader looks on."""

from __future__ import annotations

import json
import random
import threading
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from .faults import KINDS, drawn
from .imitated import items_of, key_of
from .publisher import Forks
from .reader import poll
from .server import Hub
from .store import Account

CHANGING = ("create", "settings", "preupload", "lfs-batch", "lfs", "lfs-verify", "commit", "ref")
MOST_RUNS = 6
STRUCK_AGAIN = 0.3  # of the later runs of a publish


@dataclass
class Struck:
    """One run of a publish: the fault that was planned for it, the request it struck, and how the run ended."""

    publish: int
    run: int
    fault: str = ""
    request: str = ""
    code: int | None = None
    seconds: float = 0.0
    said: str = ""


@dataclass
class Campaign:
    """What is shared by the lanes, each of which publishes one version after another."""

    hub: Hub
    forks: Forks
    releases: Sequence[Path]
    seed: int
    calm: list[list[str]] = field(default_factory=list)  # kinds of the requests of an undisturbed publish, by version
    runs: list[Struck] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def lane(self, number: int, repos: Sequence[tuple[int, str]]) -> None:
        for first, repo in repos:
            for place in range(len(self.releases)):
                self.publish(number, first + place, repo, place)

    def publish(self, lane: int, number: int, repo: str, place: int) -> None:
        """Publish a version until the command says it is done, then compare the repository with what was meant."""
        rng = random.Random(f"{self.seed}-{number}")
        for run in range(1, MOST_RUNS + 1):
            struck = self.once(lane, number, run, repo, place, rng)
            with self.lock:
                self.runs.append(struck)
            if struck.code == 0:
                break
        else:
            self.wrong.append(f"{repo} {place}: not done after {MOST_RUNS} runs: {struck.said}")
            return
        self.wrong += [f"{repo} {place}: {w}" for w in differences(self.hub, repo, self.releases[: place + 1])]

    def once(self, lane: int, number: int, run: int, repo: str, place: int, rng: random.Random) -> Struck:
        account, token = f"lane-{lane}", f"hf_lane{lane}secret"
        self.hub.faults.restart(account)
        strikes = bool(self.calm) and (run == 1 or rng.random() < STRUCK_AGAIN)
        told = Struck(number, run)
        before = len(self.hub.requests)
        with self.forks.command(["publish", str(self.releases[place]), "--repo", repo], token) as (pid, go):
            if strikes:
                more: dict[str, Any] = {"number": self.changing(place, rng)} if number % 2 else {}
                fault = drawn(rng, len(self.calm[place]), account=account, seconds=1, pid=pid, **more)
                told.fault = fault.kind
                self.hub.faults.plan(fault)
            done = go()
        told.code, told.seconds, told.said = done.code, done.seconds, done.output[-500:]
        mine = [r for r in self.hub.requests[before:] if r.account == account]
        told.request = next((r.kind for r in mine if r.fault), "") if strikes else ""
        if token in done.output or "secret" in done.output:
            self.wrong.append(f"{repo} {place}: the token is in what it wrote")
        if done.code not in (0, 5, -9):
            self.wrong.append(f"{repo} {place}: exit code {done.code}: {told.said}")
        return told

    def changing(self, place: int, rng: random.Random) -> int:
        """The number of a request that changes something: most only read, so that few would be struck otherwise."""
        kinds = self.calm[place]
        chosen = rng.choice(sorted(set(kinds) & set(CHANGING)))
        return rng.choice([n for n, kind in enumerate(kinds, 1) if kind == chosen])


def differences(hub: Hub, name: str, releases: Sequence[Path]) -> list[str]:
    """How a repository differs from one to which ``releases`` were published in order, one commit and one tag each."""
    repo = hub.repo(name)
    history = repo.history()[::-1]
    wrong = []
    if len(history) != 1 + len(releases):
        wrong.append(f"{len(history) - 1} commits for {len(releases)} versions: {[c.title for c in history]}")
    tags = {}
    for commit, root in zip(history[1:], releases, strict=False):
        manifest = json.loads((root / "release.json").read_text())
        files = {p.relative_to(root).as_posix() for p in root.rglob("*") if p.is_file()}
        if commit.files.keys() != files | {".gitattributes"}:
            wrong.append(f"files of {manifest['version']}: {sorted(commit.files.keys() ^ files)}")
        wrong += [
            f"{path} of {manifest['version']} differs"
            for path in files & commit.files.keys()
            if (hub.store.objects / commit.files[path].sha256).read_bytes() != (root / path).read_bytes()
        ]
        tags[f"v{manifest['version']}"] = commit.id
    if repo.tags != tags:
        wrong.append(f"tags {sorted(repo.tags)}, wanted {sorted(tags)}" if repo.tags.keys() != tags.keys() else "tags")
    if len(repo.branches) != 1 or repo.pulls:
        wrong.append(f"branches {sorted(repo.branches)}, {len(repo.pulls)} pull requests")
    return wrong


def rows_differ(hub: Hub, name: str, releases: Sequence[Path]) -> tuple[int, int]:
    """Item ids lost and duplicated over all tags and configs of a repository, read from what it holds."""
    repo, lost, twice = hub.repo(name), 0, 0
    for root in releases:
        files = repo.commits[repo.tags[f"v{root.name}"]].files
        for config, wanted in items_of(root).items():
            folder = {"video": "data/video/", "frames": "data/frames/", "image": "data/image/"}.get(
                config, f"data/image/{config}/"
            )
            found: Counter[str] = Counter()
            for path, entry in files.items():
                if path.startswith(folder):
                    found.update(
                        pq.read_table(hub.store.objects / entry.sha256, columns=[key_of(config)])[0].to_pylist()
                    )
            meant = Counter(wanted)
            lost += (meant - found).total()
            twice += (found - meant).total()
    return lost, twice


def run_campaign(
    releases: Sequence[Path], folder: Path, publishes: int, *, lanes: int = 3, seed: int = 1
) -> dict[str, Any]:
    """``publishes`` publishes in repositories of ``len(releases)`` versions each; the figures of what happened."""
    names = [f"org/set-{n:03d}" for n in range(-(-publishes // len(releases)))]
    accounts = {f"hf_lane{n}secret": Account(f"lane-{n}") for n in range(lanes)}
    accounts["hf_reader"] = Account("reader", "read")
    with Hub(folder / "hub", accounts=accounts) as hub:
        forks = Forks(hub.url, folder / "scratch")
        campaign = Campaign(hub, forks, releases, seed)
        calm = []
        for place in range(len(releases)):  # undisturbed: which requests there are, and that it works at all
            hub.forget()
            campaign.publish(0, -len(releases) + place, "org/calm", place)
            calm.append([r.kind for r in hub.requests if r.account == "lane-0"])  # as `Fault.number` counts
        if campaign.wrong:
            return {"wrong": campaign.wrong, "runs": [vars(r) for r in campaign.runs]}
        campaign.calm, undisturbed = calm, [r.seconds for r in campaign.runs]
        campaign.runs = []
        expected = {root.name: items_of(root) for root in releases}
        log = folder / "reader.jsonl"
        reader = forks.process("hf_reader", poll, hub.url, "hf_reader", names, expected, str(log), seed)
        queue = [(n * len(releases), name) for n, name in enumerate(names)]
        with ThreadPoolExecutor(lanes) as pool:
            for future in [pool.submit(campaign.lane, n, queue[n::lanes]) for n in range(lanes)]:
                future.result()
        Path(f"{log}.stop").touch()
        reader.join(60)
        alive = reader.exitcode != 0
        looks = [json.loads(line) for line in log.read_text().splitlines()]
        rows = [rows_differ(hub, name, releases) for name in names]
    if alive:
        campaign.wrong.append(f"the reader ended with {reader.exitcode}")
    return _figures(campaign, undisturbed, looks, rows)


def _figures(
    campaign: Campaign, undisturbed: Sequence[float], looks: Sequence[dict[str, Any]], rows: Sequence[tuple[int, int]]
) -> dict[str, Any]:
    runs = campaign.runs
    struck = [r for r in runs if r.request]
    per_publish = Counter(Counter(r.publish for r in runs).values())
    return {
        "publishes": len({r.publish for r in runs}),
        "runs": len(runs),
        "runs_by_publish": dict(sorted(per_publish.items())),
        "first_runs_struck": sum(r.run == 1 for r in struck),
        "faults": dict(Counter(r.fault for r in struck)),
        "requests_struck": dict(Counter(r.request for r in struck)),
        "killed": sum(r.code == -9 for r in runs),
        "ended_by_retries_alone": sum(r.code == 0 for r in struck),
        "refused_then_run_again": sum(r.code == 5 for r in runs),
        "requests_of_an_undisturbed_publish": [len(kinds) for kinds in campaign.calm],
        "seconds_of_an_undisturbed_publish": round(sum(undisturbed) / len(undisturbed), 2),
        "reader_looks": len(looks),
        "reader_loads": sum(x["how"] == "load" for x in looks),
        "reader_saw": dict(sorted(Counter(str(x.get("version", "wrong")) for x in looks).items())),
        "reader_wrong": [x for x in looks if "wrong" in x][:20],
        "rows_lost": sum(lost for lost, _ in rows),
        "rows_twice": sum(twice for _, twice in rows),
        "wrong": campaign.wrong,
        "kinds_never_drawn": sorted(KINDS.keys() - {r.fault for r in struck}),
    }
