"""Versions of a release without rendering: copies of a tiny one under other names, each on top of the one before."""

from __future__ import annotations

import shutil
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from thermvision.curation.contents import seal
from thermvision.curation.pack import Shard, write_shard
from thermvision.curation.release import Identity, Manifest, read_release, write_release
from thermvision.curation.store import sha256_bytes

CONFIGS = ("video", "frames")
BODY = "# Imitated\n\nA tiny release under other names."
KEYS = {"video": "clip_id", "frames": "item_id"}
Row = dict[str, Any]


def key_of(config: str) -> str:
    """The column that names a row's item."""
    return KEYS.get(config, "image_id")


def imitate(base: Path, folder: Path, count: int, configs: Sequence[str] = CONFIGS) -> list[Path]:
    """Folders of the versions 1.0, 1.1, ... in ``folder``, each published on top of the one before.

    Each brings the rows of ``base`` as those of new people; every second one drops a clip of the version before, so
    that two shards are superseded.
    """
    first = read_release(base)
    tables = [s for s in first.shards if s.config in configs and s.rows]
    made: list[Path] = []
    manifest: Manifest | None = None
    for number in range(count):
        root, version = folder / f"1.{number}", f"1.{number}"
        people = _people(first, number)
        identities = (*(manifest.identities if manifest else ()), *people.values())
        kept = list(manifest.shards) if manifest else []
        for shard in kept:
            _copy(made[-1], root, shard)
        names = [i.subject_id for i in identities]
        numbers: dict[tuple[str, str], int] = defaultdict(int)
        new = []
        for shard in tables:
            rows = [_renamed(row, people, names) for row in pq.read_table(base / shard.path).to_pylist()]
            place = shard.config, shard.split
            new.append(_write(root, shard.config, shard.split, version, numbers[place], rows, names))
            numbers[place] += 1
        if manifest and number % 2 == 0:
            kept, superseding = _without_a_clip(root, kept, f"1.{number - 1}", version, numbers, names)
            new += superseding
        manifest = _finish(root, version, first, identities, [*kept, *new], manifest)
        made.append(root)
    return made


def _people(first: Manifest, number: int) -> dict[str, Identity]:
    """Subject ids of the base to the people who play them in one version."""
    start = number * len(first.identities)
    return {
        i.subject_id: i.model_copy(update={"subject_id": f"P_{start + n:06d}"}) for n, i in enumerate(first.identities)
    }


def _renamed(row: Row, people: dict[str, Identity], names: Sequence[str]) -> Row:
    old = row["subject_id"]
    new = people[old].subject_id
    changed: Row = {"subject_id": new, "identity": names.index(new)}
    changed |= {key: row[key].replace(old, new, 1) for key in ("clip_id", "image_id", "item_id") if key in row}
    return row | changed


def _write(
    root: Path, config: str, split: str, version: str, number: int, rows: Sequence[Row], names: Sequence[str]
) -> Shard:
    return write_shard(root, config, split, version, number, rows, names, sha256_bytes(f"{version}{number}".encode()))


def _copy(source: Path, root: Path, shard: Shard) -> None:
    (root / shard.path).parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source / shard.path, root / shard.path)


def _without_a_clip(
    root: Path,
    kept: Sequence[Shard],
    before: str,
    version: str,
    numbers: dict[tuple[str, str], int],
    names: Sequence[str],
) -> tuple[list[Shard], list[Shard]]:
    """The shards that stay, and those that take the place of two: of clips, and of their frames."""
    clips = next(s for s in kept if s.config == "video" and f"-v{before}-" in s.path and s.rows > 1)
    *_, dropped = pq.read_table(root / clips.path, columns=["clip_id"])["clip_id"].to_pylist()
    new, gone = [], set()
    for shard in kept:
        key = key_of(shard.config)
        if (shard.config, shard.split) not in (("video", clips.split), ("frames", clips.split)):
            continue
        rows = pq.read_table(root / shard.path).to_pylist()
        left = [row for row in rows if row[key] != dropped]
        if len(left) == len(rows):
            continue
        place = shard.config, shard.split
        written = _write(root, shard.config, shard.split, version, numbers[place], left, names)
        numbers[place] += 1
        new.append(written.model_copy(update={"replaces": (shard.path,)}))
        gone.add(shard.path)
        (root / shard.path).unlink()
    return [s for s in kept if s.path not in gone], new


def _finish(
    root: Path,
    version: str,
    first: Manifest,
    identities: Sequence[Identity],
    shards: Sequence[Shard],
    parent: Manifest | None,
) -> Manifest:
    recipe = f'version = "{version}"\n'.encode()
    recipes = {f"recipes/1.{n}.toml": f'version = "1.{n}"\n'.encode() for n in range(int(version.split(".")[1]))}
    recipes[f"recipes/{version}.toml"] = recipe
    for path, data in recipes.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(data)
    manifest = Manifest(
        name="Imitated",
        version=version,
        parent=parent.version if parent else None,
        source=first.source,
        licences=first.licences,
        identities=tuple(identities),
        shards=tuple(sorted(shards, key=lambda s: s.path)),
        recipes={path: sha256_bytes(data) for path, data in recipes.items()},
        engines=first.engines,
        plan=sha256_bytes(recipe),
    )
    write_release(root, manifest, BODY)
    return seal(root)


def items_of(root: Path) -> dict[str, list[str]]:
    """Config to the sorted item ids of its rows, one a row; `image` is the union of the categories."""
    manifest = read_release(root)
    found = {}
    for config in manifest.configs:
        shards = manifest.shards_of(config)
        key = key_of(config)
        found[config] = sorted(i for s in shards for i in pq.read_table(root / s.path, columns=[key])[key].to_pylist())
    return found
