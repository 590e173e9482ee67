"""Two versions of a release without rendering: its first people, and then all of them on top."""

from __future__ import annotations

import shutil
from collections import defaultdict
from pathlib import Path

import pyarrow.compute as pc
import pyarrow.parquet as pq

from thermvision.annotations.schema import features
from thermvision.curation.pack import Shard, complete, write_table
from thermvision.curation.release import Manifest, read_release, write_release
from thermvision.curation.store import sha256_bytes, sha256_file

BODY = "# Divided\n\nThe first people of a release, and all of them."


def divide(base: Path, folder: Path, growth: float = 0.2) -> tuple[Path, Path]:
    """Folders of the versions 1.0 and 1.1 of ``base`` in ``folder``; 1.1 has ``growth`` more people than 1.0.

    Their shards are the base's, cut between the first people and the others; `scenes` are left out. Unsealed: write
    the cards next.
    """
    whole = read_release(base)
    count = round(len(whole.identities) / (1 + growth))
    roots = folder / "1.0", folder / "1.1"
    names = whole.subject_ids
    shards: dict[str, list[Shard]] = {"1.0": [], "1.1": []}
    numbers: dict[tuple[str, str, str], int] = defaultdict(int)
    for shard in whole.shards:
        if shard.config == "scenes":
            continue
        rows = pq.read_table(base / shard.path)
        first = pc.less(rows["identity"], count)
        for version, chosen, people in (("1.0", first, names[:count]), ("1.1", pc.invert(first), names)):
            part = rows.filter(chosen)
            if not part.num_rows:
                continue
            schema, place = features(shard.config, people).arrow_schema, (version, shard.config, shard.split)
            table, number = complete(part, schema).combine_chunks(), numbers[place]
            root = folder / version
            shards[version].append(
                write_table(root, shard.config, shard.split, version, number, table, shard.fingerprint)
            )
            numbers[place] += 1
    for shard in shards["1.0"]:
        (roots[1] / shard.path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(roots[0] / shard.path, roots[1] / shard.path)
    _finish(base, roots[0], whole, "1.0", count, shards["1.0"])
    _finish(base, roots[1], whole, "1.1", len(names), [*shards["1.0"], *shards["1.1"]])
    return roots


def _finish(base: Path, root: Path, whole: Manifest, version: str, count: int, shards: list[Shard]) -> None:
    recipes = {}
    for number in range(int(version[-1]) + 1):
        path = root / "recipes" / f"1.{number}.toml"
        path.parent.mkdir(parents=True, exist_ok=True)
        source = next(iter(whole.recipes), None)
        path.write_bytes((base / source).read_bytes() if source else b"")
        recipes[f"recipes/{path.name}"] = sha256_file(path)
    changed = {
        "version": version,
        "parent": "1.0" if version != "1.0" else None,
        "identities": whole.identities[:count],
        "shards": tuple(sorted(shards, key=lambda s: s.path)),
        "recipes": recipes,
        "files": {},
        "limits": {},
        "plan": sha256_bytes(version.encode()),
    }
    write_release(root, whole.model_copy(update=changed), BODY)
