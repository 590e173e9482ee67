"""The items that a query asks for, and their order: DuckDB finds the keys, numpy puts them in order."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from .filters import Conditions, Query, frame_conditions, item_conditions
from .loading import Loaded
from .noted import Noted

Keys = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Matches:
    """Keys that match, ascending; with conditions on frames how many match, the first of them and its yaw."""

    keys: Keys
    hits: Keys | None = None
    hit: Keys | None = None
    yaw: NDArray[np.float32] | None = None


@contextlib.contextmanager
def asking_frames(loaded: Loaded, query: Query, noted: Noted | None) -> Iterator[tuple[Any, Conditions]]:
    """A cursor to ask the table ``frames`` (as f) under the conditions on frames of ``query``."""
    with loaded.cursor() as cursor:
        if query.finding:
            places = np.zeros(0, np.int64) if noted is None else noted.positions(query.finding)
            cursor.register("wanted", pa.table({"place": places}))
        yield cursor, frame_conditions(query)


def match(loaded: Loaded, query: Query, noted: Noted | None = None) -> Matches:
    """What fits the conditions of ``query``; those on frames hold on one frame together.

    Raises:
        UsageError: the release has no such annotation source.
    """
    of_items = item_conditions(query, loaded.sources)
    if not query.on_frames:
        if not of_items.parts:
            return Matches(np.arange(loaded.count))
        with loaded.cursor() as cursor:
            found = cursor.execute(f"SELECT i.key FROM items i WHERE {of_items.sql} ORDER BY i.key", of_items.values)
            return Matches(np.asarray(found.fetchnumpy()["key"]).astype(np.int64))
    with asking_frames(loaded, query, noted) as (cursor, of_frames):
        # of a scene a frame has a row for each face
        text = (
            "SELECT f.key AS key, count(*) AS hits, min(f.frame_index) AS hit, arg_min(f.yaw, f.frame_index) AS yaw"
            f" FROM frames f WHERE {of_frames.sql}"
        )
        if of_items.parts:
            text += f" AND f.key IN (SELECT i.key FROM items i WHERE {of_items.sql})"
        table = cursor.execute(f"{text} GROUP BY f.key ORDER BY f.key", of_frames.values + of_items.values).fetchnumpy()
    keys, hits, hit = (np.asarray(table[n]).astype(np.int64) for n in ("key", "hits", "hit"))
    hits = np.minimum(hits, np.asarray(loaded.items["frames"])[keys])
    return Matches(keys, hits, hit, np.ma.filled(np.ma.asarray(table["yaw"]), np.nan).astype(np.float32))


def order_of(loaded: Loaded, found: Matches, query: Query, findings: Mapping[int, int]) -> Keys:
    """Places in ``found`` in the order that ``query`` asks for; equal items stay in the order of the release.

    Args:
        findings: how many there are, by key.
    """
    count = len(found.keys)
    if query.sort is None:
        places = np.arange(count)
        return places[::-1] if query.desc else places
    if query.sort in ("id", "subject"):
        by: NDArray[Any] = loaded.rank("item_id" if query.sort == "id" else "subject")[found.keys]
    elif query.sort == "frames":
        by = np.asarray(loaded.items["frames"])[found.keys] if found.hits is None else found.hits
    elif query.sort == "yaw":
        by = loaded.cover_yaw[found.keys] if found.yaw is None else found.yaw
    else:
        counts = np.zeros(loaded.count, np.int32)
        for key, number in findings.items():
            counts[key] = number
        by = counts[found.keys]
    # NaN, which is not known, stays last either way
    return np.argsort(-by if query.desc else by, kind="stable")
