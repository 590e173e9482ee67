"""What each version added to a release, from the names of its shards, and who answers for the whole."""

from __future__ import annotations

import re
from collections import defaultdict
from typing import Any

import pyarrow.parquet as pq

from ..contents import SIGNATURE, is_sealed
from ..pack import Shard
from ..places import Place
from ..release import describe, version_order
from ..sources import reading_part


def facts_of(place: Place) -> dict[str, Any]:
    """`release.describe` of the release at ``place``, with its versions, and whether it is sealed and signed.

    Raises:
        DamagedInputError: a shard's footer does not read.
        RemoteError: the other side does not say whether there is a signature.
    """
    release = place.release
    return {
        **describe(release),
        "place": place.name,
        "versions": versions_of(place),
        "sealed": is_sealed(release),
        "signed": place.has(SIGNATURE),
    }


def version_in(path: str) -> str:
    """The version that added a shard, from its name.

    >>> version_in("data/video/train-v1.1-00000.parquet")
    '1.1'
    """
    return path.rpartition("-v")[2].partition("-")[0]


def versions_of(place: Place) -> list[dict[str, Any]]:
    """For each version that has a part in the release, in order: shards, bytes and rows of `frames` it added, shards it
    superseded, items it was limited to, its files in ``recipes``, and the identities whose first items it holds.

    ``identities`` is None where shards are not at hand: nothing is downloaded for it.
    """
    release = place.release
    shards: dict[str, list[Shard]] = defaultdict(list)
    for shard in release.shards:
        shards[version_in(shard.path)].append(shard)
    names = {release.version, *([release.parent] if release.parent else []), *shards}
    found, before = [], 0
    for version in sorted((n for n in names if _is_version(n)), key=version_order):
        reach = _reach(place, shards[version]) if place.is_folder else None
        found.append(
            {
                "version": version,
                "shards": len(shards[version]),
                "bytes": sum(s.bytes for s in shards[version]),
                "frames": sum(s.rows for s in shards[version] if s.config == "frames"),
                "supersedes": sum(len(s.replaces) for s in shards[version]),
                "limit": release.limits.get(version),
                "made_from": [p for p in release.recipes if _made(p, version)],
                "identities": None if reach is None else max(reach - before, 0),
            }
        )
        before = max(before, reach or 0)
    return found


def _made(recipe: str, version: str) -> bool:
    """Whether a file of ``recipes/`` belongs to ``version``: its name has that and no longer number in it."""
    return re.search(rf"(?<![\d.]){re.escape(version)}(?!\d|\.\d)", recipe) is not None


def _is_version(name: str) -> bool:
    return all(part.isdecimal() for part in name.split("."))


def _reach(place: Place, shards: list[Shard]) -> int:
    """One more than the highest class number in any of the shards, as their footers say."""
    reach = 0
    for shard in shards:
        path = place.root / shard.path
        if not path.is_file():
            continue
        with reading_part(place.root, shard.path):
            footer = pq.read_metadata(path)
            groups = (footer.row_group(n) for n in range(footer.num_row_groups))
            for column in (group.column(n) for group in groups for n in range(group.num_columns)):
                named = "identity" in column.path_in_schema.split(".")  # of a scene's faces as well
                if named and column.statistics is not None and column.statistics.has_min_max:
                    reach = max(reach, int(column.statistics.max) + 1)
    return reach
