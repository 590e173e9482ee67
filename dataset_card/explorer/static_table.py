"""The grid's table of a static export: everything that `filters` can ask of, for `page/static_filter.js`.

Angles travel as the float32 they are, in base64: text would round them, and a limit would then cut elsewhere than on
the server. One table of 1,000,000 frames has some 25 MB.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from thermvision.annotations.schema import ATTRIBUTES, EXPRESSIONS

from .catalogue import Catalogue
from .filters import CODED, CONFIGS, MAX_LIMIT, POSE, Query, name_of
from .loading import Loaded

FORMAT = "thermvision-explorer-table/1"
_FRAMES = "SELECT key, frame_index, yaw, pitch, roll, expression FROM frames ORDER BY key, frame_index"


def static_table(catalogue: Catalogue, generation: int, keys: Sequence[int] | None = None) -> dict[str, Any]:
    """What ``items.json`` is in a static export; waits for the labels of frames.

    Args:
        catalogue: of the release.
        generation: of the exhibit.
        keys: of the items that are exported, ascending; None: all.

    Returns:
        ``items``: those of the server's grid with ``attributes``, ``source`` (its number in ``sources``), ``actions``
        (decisions that stand), ``found`` (code, first and last frame), ``people`` (of a scene: subject and gender) and
        ``rank`` (in the order of ids and of subjects). ``frames``: columns of all frames in the order of items,
        ``start`` (N + 1) where each item's begin, ``index``, ``yaw``, ``pitch``, ``roll`` in degrees and
        ``expression`` (number in ``expressions``, -1 is not known) as base64 of little-endian int32, float32 and int16.
    """
    catalogue.wait()
    loaded = catalogue.tables
    chosen = np.arange(loaded.count) if keys is None else np.asarray(keys, np.int64)
    items = _items(catalogue, loaded, chosen)
    return {
        "format": FORMAT,
        "generation": generation,
        "sources": loaded.sources,
        "expressions": list(EXPRESSIONS),
        "columns": list(CODED),
        "scenes": bool(loaded.people.num_rows),
        "changes": any(item["change"] for item in items),
        "items": items,
        "cover_yaw": _base64(loaded.cover_yaw[chosen], "<f4"),
        "frames": _frames(loaded, chosen),
    }


def _items(catalogue: Catalogue, loaded: Loaded, chosen: NDArray[np.int64]) -> list[dict[str, Any]]:
    wanted = set(chosen.tolist())
    found: dict[int, dict[str, Any]] = {}
    for offset in range(0, loaded.count, MAX_LIMIT):
        page = catalogue.find(Query(offset=offset, limit=MAX_LIMIT))
        found |= {item["key"]: item for item in page["items"] if item["key"] in wanted}
    ranks = {name: loaded.rank(column) for name, column in (("id", "item_id"), ("subject", "subject"))}
    people: dict[int, list[Any]] = {}
    folks = (loaded.people[name].to_pylist() for name in ("key", "subject", "gender"))
    for key, subject, gender in zip(*folks, strict=True):
        people.setdefault(key, []).append([subject, None if gender is None else name_of("gender", gender)])
    with loaded.cursor() as cursor:
        marks = cursor.execute("SELECT key, code, first_frame, last_frame FROM findings ORDER BY ALL").fetchall()
        acted = cursor.execute("SELECT key, action FROM decided ORDER BY ALL").fetchall()
    of_item: dict[str, dict[int, list[Any]]] = {"found": {}, "actions": {}}
    for key, *mark in marks:
        of_item["found"].setdefault(key, []).append(mark)
    for key, action in acted:
        of_item["actions"].setdefault(key, []).append(action)
    names = {name: loaded.codes[name] for name in ATTRIBUTES}
    sources = loaded.codes["annotation_source"]
    for key, item in found.items():
        item["attributes"] = {n: name_of(n, int(c[key])) if c[key] >= 0 else None for n, c in names.items()}
        item["source"] = int(sources[key])
        item["rank"] = {name: int(rank[key]) for name, rank in ranks.items()}
        item["found"] = of_item["found"].get(key, [])
        item["actions"] = of_item["actions"].get(key, [])
        if item["config"] == CONFIGS[2]:
            item["people"] = people.get(key, [])
    return [found[key] for key in chosen.tolist()]


def _frames(loaded: Loaded, chosen: NDArray[np.int64]) -> dict[str, Any]:
    with loaded.cursor() as cursor:
        table = cursor.execute(_FRAMES).fetchnumpy() if _has_frames(cursor) else {}
    if not table:
        return {"start": _base64(np.zeros(len(chosen) + 1), "<i4")}
    every = np.asarray(table["key"]).astype(np.int64)
    first, last = np.searchsorted(every, chosen), np.searchsorted(every, chosen, "right")
    picked = np.concatenate([np.arange(a, b) for a, b in zip(first, last, strict=True)] or [np.zeros(0, np.int64)])
    angles = {n: np.ma.filled(np.ma.asarray(table[n]), np.nan)[picked] for n in POSE}
    return {
        "start": _base64(np.concatenate([[0], np.cumsum(last - first)]), "<i4"),
        "index": _base64(np.asarray(table["frame_index"])[picked], "<i4"),
        **{name: _base64(values, "<f4") for name, values in angles.items()},
        "expression": _base64(np.ma.filled(np.ma.asarray(table["expression"]), -1)[picked], "<i2"),
    }


def _has_frames(cursor: Any) -> bool:
    return bool(cursor.execute("SELECT count(*) FROM duckdb_tables() WHERE table_name = 'frames'").fetchone()[0])


def _base64(values: NDArray[Any], kind: str) -> str:
    return base64.b64encode(np.ascontiguousarray(values, kind).tobytes()).decode()
