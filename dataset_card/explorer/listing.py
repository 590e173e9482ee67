"""Which shards a folder holds: those its manifest lists, or, while it is being built, those that are whole already."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from thermvision.annotations.errors import UsageError
from thermvision.annotations.schema import CONFIGS, SPLITS
from thermvision.curation.assembly import BUILD_FOLDER
from thermvision.curation.contents import rows_digest
from thermvision.curation.pack import shard_folder
from thermvision.curation.release import MANIFEST, Manifest, read_release

Stamp = tuple[tuple[str, int, int], ...]  # path, bytes and time of change of each file that decides what is shown
_NAME = re.compile(rf"({'|'.join(SPLITS)})-v([0-9][0-9.]{{0,30}})-([0-9]{{1,9}})\.parquet")


@dataclass(frozen=True)
class Place:
    """A shard: path below the release, config as in the manifest, split."""

    path: str
    config: str
    split: str


@dataclass(frozen=True)
class Listing:
    """What a folder holds.

    Attributes:
        state: "whole", or "building" while there is no manifest.
        manifest: None while it is being built.
        places: its shards, in reading order.
        name, version, digest: of the release; the folder's name, the shards' version and "" while it is being built.
        stamp: changes when the folder does.
    """

    state: str
    manifest: Manifest | None
    places: tuple[Place, ...]
    name: str
    version: str
    digest: str
    stamp: Stamp


def list_shards(root: Path) -> Listing:
    """What lies in ``root``.

    Raises:
        UsageError: it is no folder, or neither a release nor one that is being built.
        DamagedInputError: the manifest is damaged.
    """
    if not root.is_dir():
        raise UsageError(f"{root} is no folder; allowed: a release; build one: thermvision build --out {root}")
    if not (root / MANIFEST).is_file() and (root / BUILD_FOLDER).is_dir():
        found = sorted(_built(root), key=_order)
        paths = [place.path for place, _ in found]
        version = found[0][1] if found else ""
        places = tuple(place for place, _ in found)
        return Listing("building", None, places, root.resolve().name, version, "", stamp(root, paths))
    manifest = read_release(root)
    shards = [s for c in CONFIGS for s in manifest.shards_of(c) if c != "image"]
    places = tuple(Place(s.path, s.config, s.split) for s in shards)
    digest = rows_digest(manifest)[:16]
    paths = [place.path for place in places]
    return Listing("whole", manifest, places, manifest.name, manifest.version, digest, stamp(root, paths))


def changed(root: Path, listing: Listing) -> bool:
    """Whether the folder is no longer as ``listing`` found it."""
    if listing.state == "building":
        return (root / MANIFEST).is_file() or stamp(root, [p.path for p, _ in sorted(_built(root), key=_order)]) != (
            listing.stamp
        )
    return stamp(root, [place.path for place in listing.places]) != listing.stamp


def stamp(root: Path, paths: list[str]) -> Stamp:
    """Size and time of change of the manifest and of files below ``root``; -1 of one that is not there."""
    found = []
    for path in (MANIFEST, *paths):
        try:
            stat = os.stat(root / path)
            found.append((path, stat.st_size, stat.st_mtime_ns))
        except (OSError, ValueError):
            found.append((path, -1, -1))
    return tuple(found)


def _order(found: tuple[Place, str]) -> tuple[int, int, str]:
    return CONFIGS.index(found[0].config), SPLITS.index(found[0].split), found[0].path


def _built(root: Path) -> Iterator[tuple[Place, str]]:
    """Shards under their final name: a shard gets it when it is whole. With each the version its name says."""
    for config in CONFIGS:
        if config == "image":
            continue
        folder = shard_folder(config)
        try:
            names = sorted(os.listdir(root / folder))
        except OSError:
            continue
        for name in names:
            if match := _NAME.fullmatch(name):
                yield Place(f"{folder}/{name}", config, match[1]), match[2]
