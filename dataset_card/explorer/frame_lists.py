"""The annotations of an item's frames as JSON takes them: rounded, null for what nobody knows, never NaN."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from thermvision.annotations.schema import EXPRESSIONS, class_name
from thermvision.curation.statistics.columns import vectors

DECIMALS = 3
MOST_FRAMES = 6_000  # of one item, whose landmarks are told: 200 s at 30 frames a second
MOST_BOXES = 100  # further ones of one frame

Floats = NDArray[np.float64]


def of_frames(table: pa.Table, name: str, is_clip: bool) -> pa.Array | None:
    """A column of a one-row ``table`` as an array over the frames of its item; None where it knows nothing."""
    if name not in table.column_names or table.num_rows != 1:
        return None
    column = table[name].combine_chunks()
    column = column.chunk(0) if isinstance(column, pa.ChunkedArray) else column
    if not is_clip:
        return column if column.null_count == 0 else None
    lists = pa.types.is_list(column.type) or pa.types.is_fixed_size_list(column.type)
    return column[0].values if lists and column[0].is_valid else None


def points(column: pa.Array, count: int) -> Floats:
    """A column of lists of ``count`` points (N, count, 2), NaN where a list is null or of another size.

    >>> points(pa.array([[[1.0, 2.0]], None], pa.list_(pa.list_(pa.float32()))), 1).tolist()
    [[[1.0, 2.0]], [[nan, nan]]]
    """
    found = np.full((len(column), count, 2), np.nan)
    if pa.types.is_fixed_size_list(column.type):
        good = np.asarray(column.is_valid()) if column.type.list_size == count else np.zeros(len(column), bool)
    elif pa.types.is_list(column.type):
        good = np.asarray(column.value_lengths().fill_null(-1)) == count
    else:
        return found
    if good.any():
        found[good] = vectors(column.filter(pa.array(good)).flatten(), 2).reshape(-1, count, 2)
    return found


def rounded(value: float | None) -> float | None:
    """A number as it is told: `DECIMALS` digits, None where it is none."""
    return None if value is None or not np.isfinite(value) else round(float(value), DECIMALS)


def rows_of(values: Floats) -> list[Any]:
    """(N, …) numbers as lists, rounded; a row without any number is None, and one number that is missing is None.

    >>> rows_of(np.array([[1.23456, 2], [np.nan, np.nan], [np.inf, 1]]))
    [[1.235, 2.0], None, [None, 1.0]]
    """
    told: list[Any] = np.round(values, DECIMALS).tolist()
    missing = ~np.isfinite(values)
    nothing = set(np.flatnonzero(_all_of_row(missing)).tolist())
    for frame in nothing:
        told[frame] = None
    for place in np.argwhere(missing):
        if int(place[0]) not in nothing:
            inner = told
            for index in place[:-1]:
                inner = inner[index]
            inner[place[-1]] = None
    return told


def whole_numbers(values: Floats) -> list[Any]:
    """(N, …) numbers as lists of integers, None for a row that has a number missing."""
    known = _all_of_row(np.isfinite(values)).tolist()
    told: list[Any] = np.where(np.isfinite(values), values, 0).astype(np.int64).tolist()
    return [row if known[frame] else None for frame, row in enumerate(told)]


def _all_of_row(flags: NDArray[np.bool_]) -> NDArray[np.bool_]:
    return np.asarray(flags.all(axis=tuple(range(1, flags.ndim))), np.bool_)


def numbers(column: pa.Array) -> Floats:
    """A column of numbers (N,), NaN where null or where they are no numbers."""
    try:
        return np.asarray(column.cast(pa.float64()).to_numpy(zero_copy_only=False), np.float64)
    except (pa.ArrowException, TypeError):
        return np.full(len(column), np.nan)


def boxes_of(column: pa.Array) -> list[list[Any]]:
    """Further boxes of each frame, `MOST_BOXES` at most; those with a missing number are left out."""
    try:
        told = pc.list_slice(column, 0, MOST_BOXES).to_pylist()
    except (pa.ArrowException, ValueError):
        return [[] for _ in range(len(column))]
    return [[box for box in map(_box, frame or []) if box] for frame in told]


def _box(value: Any) -> list[float] | None:
    if not isinstance(value, Sequence) or len(value) != 4:
        return None
    told = [rounded(v) if isinstance(v, (int, float)) else None for v in value]
    return None if None in told else [v for v in told if v is not None]


def frame_lists(table: pa.Table, is_clip: bool, frames: int) -> tuple[dict[str, list[Any] | None], list[str]]:
    """By column, a list over the ``frames`` of the item in the one-row ``table``, shorter where the row says less.

    A column that knows nothing is None.

    Coordinates are pixels of the frame, boxes ``[x, y, width, height]``, poses yaw, pitch and roll in degrees. Also
    returns the columns that are left out because the item is longer than `MOST_FRAMES`.
    """
    found: dict[str, list[Any] | None] = {}
    left_out: list[str] = []
    shapes = {"bbox": 4, "landmark_state": 68, "head_pose": 3}
    for name in (
        "bbox", "bbox_score", "face_count", "extra_bboxes", "landmarks", "landmark_state", "head_pose", "expression",
        "eye_openness", "mouth_openness",
    ):  # fmt: skip
        column = of_frames(table, name, is_clip)
        column = None if column is None else column[:frames]
        if column is None:
            found[name] = None
        elif name in ("landmarks", "landmark_state") and len(column) > MOST_FRAMES:
            found[name] = None
            left_out.append(name)
        elif name == "landmarks":
            found[name] = _points_or_none(points(column, 68))
        elif name == "landmark_state":
            found[name] = whole_numbers(vectors(column, 68))
        elif name in shapes:
            values = vectors(column, shapes[name])
            values[~np.isfinite(values).all(1)] = np.nan  # half a box is none
            found[name] = rows_of(values)
        elif name == "extra_bboxes":
            found[name] = boxes_of(column)
        elif name in ("face_count", "expression"):
            found[name] = whole_numbers(numbers(column))
        else:
            found[name] = rows_of(numbers(column))
    if (indices := found["expression"]) is not None:
        found["expression"] = [None if n is None else class_name(EXPRESSIONS, n) for n in indices]
    for name, values_told in found.items():
        if name != "extra_bboxes" and values_told is not None and all(v is None for v in values_told):
            found[name] = None
    return found, left_out


def _points_or_none(values: Floats) -> list[Any]:
    values[~np.isfinite(values).all(2)] = np.nan  # half a point is none
    return rows_of(values)
