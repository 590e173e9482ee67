"""The statistics as Parquet tables, long rather than wide: a row is one count of one group."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from thermvision.annotations.schema import SPLITS

from ..store import atomic_path
from .bins import GENDER_NAMES, Histogram
from .collect import Statistics
from .labels import CLASSES, PLACE_CELLS, POSE_CELL
from .pixels import REGIONS

Rows = list[dict[str, Any]]


def tables(seen: Statistics) -> dict[str, Rows]:
    """By name, the rows of each table; those without rows are left out."""
    found = {
        "counts": _counts(seen),
        "measures": [row for h in histograms(seen) for row in _measures(h)],
        "histograms": [row for h in histograms(seen) for row in _histogram(h)],
        "classes": _classes(seen),
        "identities": _identities(seen),
        "identity_poses": _identity_poses(seen),
        "poses": _poses(seen),
        "places": _places(seen),
        "landmarks": _landmarks(seen),
        "gray_levels": _levels(seen),
        "spectra": [] if seen.pixels is None else seen.pixels.spectra(),
    }
    return {name: rows for name, rows in found.items() if rows}


def write_tables(seen: Statistics, out: Path) -> list[Path]:
    """Write every table as ``NAME.parquet`` to ``out``.

    Raises:
        OutputError: no room or no permission.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    written = []
    for name, rows in tables(seen).items():
        path = out / f"{name}.parquet"
        with atomic_path(path) as temporary:
            pq.write_table(pa.Table.from_pylist(rows), temporary, compression="zstd")
        written.append(path)
    return written


def histograms(seen: Statistics) -> list[Histogram]:
    """All histograms that have a count."""
    every = [*seen.labels.histograms.values(), seen.temperatures.ambient, *seen.temperatures.regions.values()]
    if seen.pixels is not None:
        every += [seen.pixels.mean, seen.pixels.contrast]
    return [h for h in every if h.number.sum()]


def _groups() -> Iterator[tuple[int, int, dict[str, str]]]:
    for s, split in enumerate(SPLITS):
        for g, gender in enumerate(GENDER_NAMES):
            yield s, g, {"split": split, "gender": gender}


def _counts(seen: Statistics) -> Rows:
    people = list(seen.labels.people.values())
    rows = []
    for s, g, group in _groups():
        if seen.labels.frames[s, g]:
            clips, stills = (int(n) for n in seen.labels.items[s, g])
            subjects = sum(p.split == s and p.gender == g for p in people)
            hours = float(seen.seconds[s, g]) / 3600
            frames = int(seen.labels.frames[s, g])
            rows.append(
                {**group, "subjects": subjects, "clips": clips, "stills": stills, "frames": frames, "hours": hours}
            )
    return rows


def _measures(h: Histogram) -> Rows:
    about = {"measure": h.measure.name, "unit": h.measure.unit}
    return [{**about, **group, **h.summary(s, g)} for s, g, group in _groups() if h.number[s, g]]


def _histogram(h: Histogram) -> Rows:
    edges = h.measure.edges
    about = {"measure": h.measure.name, "unit": h.measure.unit}
    return [
        {**about, **group, "low": float(edges[k]), "high": float(edges[k + 1]), "count": int(h.counts[s, g, k])}
        for s, g, group in _groups()
        for k in np.flatnonzero(h.counts[s, g])
    ]


def _classes(seen: Statistics) -> Rows:
    rows = []
    for name, values in CLASSES.items():
        counts = seen.labels.classes[name]
        for s, g, group in _groups():
            for k in np.flatnonzero(counts[0, s, g]):
                value = values[k] if k < len(values) else None
                items = None if name == "expression" else int(counts[1, s, g, k])
                rows.append(
                    {"attribute": name, "value": value, **group, "frames": int(counts[0, s, g, k]), "items": items}
                )
    return rows


def _identities(seen: Statistics) -> Rows:
    rows = []
    for name, p in sorted(seen.labels.people.items()):
        boxes = p.frames - p.without_box
        row: dict[str, Any] = {
            "subject_id": name, "gender": GENDER_NAMES[p.gender], "split": SPLITS[p.split], "clips": p.clips,
            "stills": p.stills, "frames": p.frames, "seconds": p.seconds, "frames_without_box": p.without_box,
            "mean_box_side": p.box_side / boxes if boxes else None,
        }  # fmt: skip
        for axis, angle in enumerate(("yaw", "pitch", "roll")):
            for end, values in (("least", p.pose_least), ("greatest", p.pose_greatest)):
                row[f"{angle}_{end}"] = float(values[axis]) if np.isfinite(values[axis]) else None
        rows.append(row)
    return rows


def _poses(seen: Statistics) -> Rows:
    return [
        {**group, "yaw": int(y) * POSE_CELL - 90, "pitch": int(p) * POSE_CELL - 90, "degrees": POSE_CELL,
         "frames": int(seen.labels.pose[s, g, y, p])}
        for s, g, group in _groups() for y, p in np.argwhere(seen.labels.pose[s, g])
    ]  # fmt: skip


def _identity_poses(seen: Statistics) -> Rows:
    return [
        {"subject_id": name, "gender": GENDER_NAMES[p.gender], "split": SPLITS[p.split],
         "angle": ("yaw", "pitch")[axis], "from": int(cell) * POSE_CELL - 90, "degrees": POSE_CELL,
         "frames": int(p.turns[axis, cell])}
        for name, p in sorted(seen.labels.people.items()) for axis, cell in np.argwhere(p.turns)
    ]  # fmt: skip


def _places(seen: Statistics) -> Rows:
    centres, covered = seen.labels.place, seen.labels.covered
    return [
        {**group, "x": float(x) / PLACE_CELLS, "y": float(y) / PLACE_CELLS, "share": 1 / PLACE_CELLS,
         "frames": int(centres[s, g, y, x]), "covered": int(covered[s, g, y, x])}
        for s, g, group in _groups() for y, x in np.argwhere(centres[s, g] + covered[s, g])
    ]  # fmt: skip


def _landmarks(seen: Statistics) -> Rows:
    names = ("outside", "hidden_by_head", "hidden_by_object", "visible")
    if not seen.labels.states.any():
        return []
    return [{"landmark": k, **dict(zip(names, map(int, row), strict=True))} for k, row in enumerate(seen.labels.states)]


def _levels(seen: Statistics) -> Rows:
    if seen.pixels is None:
        return []
    levels = seen.pixels.levels
    return [
        {"region": REGIONS[r], **group, "level": int(level), "pixels": int(levels[r, s, g, level])}
        for r in range(len(REGIONS)) for s, g, group in _groups() for level in np.flatnonzero(levels[r, s, g])
    ]  # fmt: skip
