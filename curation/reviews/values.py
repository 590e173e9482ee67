"""What a reviewer may put into which column: vocabularies by name, boxes and points within reason."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from thermvision.annotations.schema import ATTRIBUTES, EXPRESSIONS

# columns of a frame with the shape of one value; () is a number
SHAPES: dict[str, tuple[int, ...]] = {
    "bbox": (4,),
    "landmarks": (68, 2),
    "landmark_state": (68,),
    "head_pose": (3,),
    "eye_openness": (),
    "mouth_openness": (),
    "face_count": (),
}
OF_FRAMES = (*SHAPES, "expression")
RELABELLED = (*OF_FRAMES, *ATTRIBUTES)
_LIMITS = {"landmark_state": (0, 3), "face_count": (0, 255), "head_pose": (-180, 180)}
_WHOLE = ("landmark_state", "face_count")
_OPENNESS = (0, 10)


def said_by(columns: Sequence[str], who: str) -> str:
    """How ``annotation_source`` tells that a person set columns.

    >>> said_by(["bbox", "glasses"], "Ana")
    'bbox, glasses by Ana'
    """
    return f"{', '.join(columns)} by {who}"


def corrected(annotation_source: str | None) -> bool:
    """Whether a person has set labels of an item, as `said_by` tells it after what made the others.

    >>> corrected("ground_truth; bbox by Ana"), corrected("found by a detector; version 2"), corrected(None)
    (True, False, False)
    """
    said = (part.partition(" by ") for part in (annotation_source or "").split("; ")[1:])
    return any(who and columns.split(", ")[0] in RELABELLED for columns, _, who in said)


def checked_value(column: str, value: Any, frames: int) -> Any:
    """The plain value that rows get: class indices for names, and for a column of frames a list with one a frame.

    Args:
        column: one of `RELABELLED`.
        value: a class by its name; numbers in the shape of the column, or a list of ``frames`` of them; None: not
            known, but for ``bbox``, where it says that there is no face.
        frames: how many frames it is for.

    >>> checked_value("glasses", "glasses", 1), checked_value("expression", "smile", 2)
    (1, [1, 1])
    >>> checked_value("bbox", [[1, 2, 3, 4], [1, 2, 3, 5]], 2)[1]
    [1.0, 2.0, 3.0, 5.0]

    Raises:
        ValueError: the value is not one of the column's.
    """
    if column in ATTRIBUTES:
        return _class(column, value, ATTRIBUTES[column])
    if column == "expression":
        listed = isinstance(value, list)
        if listed and len(value) != frames:
            raise ValueError(f"expression has {len(value)} values for {frames} frames; allowed: one, or one a frame")
        return [_class(column, v, EXPRESSIONS) for v in (value if listed else [value] * frames)]
    if column not in SHAPES:
        raise ValueError(f"{column} cannot be relabelled; allowed: {', '.join(RELABELLED)}")
    if value is None:
        return [None] * frames
    return _numbers(column, value, frames)


def _class(column: str, value: Any, allowed: Sequence[str]) -> int | None:
    if value is None:
        return None
    if value not in allowed:
        raise ValueError(f"{column} is {value!r}; allowed: {', '.join(allowed)}, or null for not known")
    return list(allowed).index(value)


def _numbers(column: str, value: Any, frames: int) -> list[Any]:
    shape = SHAPES[column]
    try:
        array = np.array(value, np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{column} is {_short(value)}; allowed: numbers of shape {shape}") from error
    if array.shape == shape:
        array = np.broadcast_to(array, (frames, *shape))
    if array.shape != (frames, *shape):
        raise ValueError(f"{column} has shape {array.shape}; allowed: {shape}, or {(frames, *shape)} for each frame")
    if not np.isfinite(array).all():
        raise ValueError(f"{column} has NaN or inf; allowed: numbers, or null")
    if column == "bbox" and not (array[:, 2:] > 0).all():
        raise ValueError(f"bbox {_short(value)} has no area; allowed: [x, y, width, height], or null for no face")
    low, high = _LIMITS.get(column, _OPENNESS if shape == () else (-math.inf, math.inf))
    if not ((array >= low) & (array <= high)).all():
        raise ValueError(f"{column} is {_short(value)}; allowed: {low} to {high}")
    if column in _WHOLE:
        if (array != np.rint(array)).any():
            raise ValueError(f"{column} is {_short(value)}; allowed: whole numbers")
        array = array.astype(np.int64)
    listed: list[Any] = array.tolist()
    return listed


def within(box: Sequence[float], width: int, height: int) -> bool:
    """Whether the centre of a box ``[x, y, w, h]`` lies in a frame of ``width`` x ``height`` pixels."""
    return 0 <= box[0] + box[2] / 2 <= width and 0 <= box[1] + box[3] / 2 <= height


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) < 60 else text[:57] + "..."
