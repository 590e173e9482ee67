"""Where the face of a frame is: from its labels, or else found by our models."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from thermvision.annotations.conventions import five_points
from thermvision.annotations.faces import Detections

Gray = NDArray[np.uint8]
Points = NDArray[np.float32]
# landmarks (68, 2) of the main face of a frame, given its box (4,) where that is known; None where there is no face
FindPoints = Callable[[Gray, NDArray[np.float32] | None], Points | None]
# unit vector (128,) of the face of a frame whose five points (5, 2) are known
Embed = Callable[[Gray, Points], NDArray[np.float32]]


def labelled(row: Mapping[str, Any] | None, frame: int) -> tuple[NDArray[np.float32] | None, Points | None]:
    """Box (4,) and landmarks (68, 2) that a row states for one of its frames; None for what it does not know."""
    if row is None:
        return None, None
    values = []
    for name, shape in (("bbox", (4,)), ("landmarks", (68, 2))):
        value = row.get(name)
        if value is not None and "clip_id" in row:
            value = value[frame] if frame < len(value) else None
        array = None if value is None else np.asarray(value, np.float32)
        values.append(array if array is not None and array.shape == shape and np.isfinite(array).all() else None)
    return values[0], values[1]


def face_points(gray: Gray, row: Mapping[str, Any] | None, frame: int, find: FindPoints) -> Points | None:
    """Landmarks (68, 2) of a frame's main face: its labels', or what ``find`` finds."""
    box, points = labelled(row, frame)
    return points if points is not None else find(gray, box)


def usable(points: Points | None) -> bool:
    """Whether the five keypoints of landmarks are finite and not all in one place."""
    if points is None:
        return False
    five = five_points(points)
    return bool(np.isfinite(five).all() and np.ptp(five, axis=0).max() > 1)


def find_points(gray: Gray, box: NDArray[np.float32] | None) -> Points | None:
    """`FindPoints` of the shipped detector and landmarker, on one thread."""
    from thermvision.annotations.pipeline import main_face
    from thermvision.annotations.pipeline import usable as sound

    detector, landmarker = _models()
    if box is None:
        found = sound(detector.detect([gray])[0], gray)
        best = main_face(found)
        if best is None:
            return None
        found = found.take(np.array([best]))
    else:
        found = Detections(box[None], np.ones(1, np.float32), np.full((1, 5, 2), np.nan, np.float32))
        found = sound(found, gray)
        if not len(found):
            return None
    shape = landmarker.locate(gray, found)[0]
    return None if shape is None else shape.landmarks


@cache
def _models() -> tuple[Any, Any]:
    from thermvision.annotations import registry

    return registry.detector("thermal"), registry.landmarker("thermal")


def embed(gray: Gray, points: Points) -> NDArray[np.float32]:
    """`Embed` of the shipped embedder, on one thread."""
    return np.asarray(_embedder().embed(gray, points[None])[0], np.float32)


def embedder_source() -> str:
    """Name and digest of what `embed` uses."""
    return str(_embedder().source)


@cache
def _embedder() -> Any:
    from thermvision.annotations import registry

    return registry.embedder("thermal")
