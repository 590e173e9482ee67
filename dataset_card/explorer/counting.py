"""How many items each value of a name would leave, under the conditions on all other names."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from .filters import CODED, CONFIGS, UNKNOWN, Query, name_of
from .loading import Loaded
from .matching import Keys, asking_frames
from .noted import Noted
from .standing import Standing

MAX_MARKS = 2**28


def count_values(
    loaded: Loaded,
    query: Query,
    keys_of: Callable[[Query], Keys],
    noted: Noted | None,
    findings: Mapping[int, Sequence[str]],
    said: Mapping[int, Standing],
    changes: Mapping[int, str],
) -> dict[str, dict[str, int]]:
    """Items by value, by name; what is about frames is left out until their labels are in.

    Args:
        keys_of: keys of the items that fit a query.
        noted: the findings as stretches of frames.
        findings, said, changes: codes of findings, decisions and how it changed, by key.
    """

    def keys(name: str) -> Keys:
        return keys_of(query.without(name) if getattr(query, name) else query)

    facets = {}
    for name in (*CODED, "annotation_source"):
        found = keys("source" if name == "annotation_source" else name)
        counts = np.bincount(loaded.codes[name][found] + 1)
        facets[name] = {v: int(n) for code, n in enumerate(counts) if n and (v := loaded.value(name, code - 1))}
    if loaded.people.num_rows:
        facets["gender"] = _with_people(loaded, facets["gender"], keys("gender"))
    if loaded.ready.is_set():
        facets["expression"] = _by_expression(loaded, query, noted, keys("expression"))
        facets["finding"] = _by_finding(loaded, query, noted, keys("finding"), findings)
    there = keys("decision")
    judged = set(there.tolist()) & said.keys() if said else set()
    facets["decision"] = _tally(action for key in judged for action in said[key].actions)
    facets["decision"]["none"] = len(there) - len(judged)
    if changes:
        facets["change"] = _tally(changes[k] for k in keys("change").tolist() if k in changes)
    return facets


def _tally(values: Iterable[str]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for value in values:
        counts[value] = counts.get(value, 0) + 1
    return dict(sorted(counts.items()))


def _within(loaded: Loaded, keys: Keys) -> NDArray[np.bool_]:
    mask = np.zeros(loaded.count, bool)
    mask[keys] = True
    return mask


def _with_people(loaded: Loaded, counts: dict[str, int], keys: Keys) -> dict[str, int]:
    """``counts`` of gender with those of scenes, in which anybody counts."""
    scenes = keys[loaded.codes["config"][keys] == CONFIGS.index("scenes")]
    counts = dict(counts)
    if UNKNOWN in counts:
        counts[UNKNOWN] -= len(scenes)
    inside = _within(loaded, scenes)
    pairs = {
        (k, g) for k, g in zip(*(loaded.people[n].to_pylist() for n in ("key", "gender")), strict=True) if inside[k]
    }
    for value, count in _tally(name_of("gender", -1 if g is None else g) or UNKNOWN for _, g in pairs).items():
        counts[value] = counts.get(value, 0) + count
    return {value: count for value, count in counts.items() if count}


def _by_expression(loaded: Loaded, query: Query, noted: Noted | None, keys: Keys) -> dict[str, int]:
    other = query.without("expression")
    if other.on_frames:
        with asking_frames(loaded, other, noted) as (cursor, rest):
            text = f"SELECT f.key AS key, f.expression AS expression FROM frames f WHERE {rest.sql}"
            found = cursor.execute(text, rest.values).fetchnumpy()
        of = np.asarray(found["key"]).astype(np.int64)
        codes = np.ma.filled(np.ma.asarray(found["expression"]), -1).astype(np.int64)
    else:
        of, codes = loaded.expressed
    inside = _within(loaded, keys)[of]
    values = np.unique(loaded.expressed[1])
    pairs = np.searchsorted(values, codes[inside]) * loaded.count + of[inside]
    # an item counts once for each expression; a mark for each is quicker than sorting the pairs
    if loaded.count * len(values) <= MAX_MARKS:
        marks = np.zeros(loaded.count * len(values), bool)
        marks[pairs] = True
        pairs = np.flatnonzero(marks)
    counts = np.bincount(np.unique(pairs) // max(loaded.count, 1), minlength=len(values))
    return {name_of("expression", int(c)) or "": int(n) for c, n in zip(values, counts, strict=True) if n}


def _by_finding(
    loaded: Loaded, query: Query, noted: Noted | None, keys: Keys, codes: Mapping[int, Sequence[str]]
) -> dict[str, int]:
    if noted is None or not codes:
        return {}
    inside = _within(loaded, keys)
    other = query.without("finding")
    if not other.on_frames:
        return _tally(code for key, found in codes.items() if inside[key] for code in set(found))
    with asking_frames(loaded, other, None) as (cursor, rest):
        found = cursor.execute(f"SELECT f.place AS place FROM frames f WHERE {rest.sql}", rest.values).fetchnumpy()
    return noted.count(np.asarray(found["place"]), inside)
