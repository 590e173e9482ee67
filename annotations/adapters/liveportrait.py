"""Landmark networks with the 203 points of LivePortrait, from an ONNX file that the user has.

The input is one RGB crop (N, 3, 224, 224) in 0..1 without further normalisation; of the outputs, the one with 406
values holds the points as x, y in parts of the crop. Names and shapes are read from the file. The published network
follows a face from frame to frame: each crop is laid by the points found before, so here the box makes the first crop
and the points found in it the second. Source of crop and anchors: KwaiVGI/LivePortrait, ``src/utils/crop.py``.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from thermvision.annotations.alignment import Matrix, apply, invert, warp
from thermvision.annotations.conventions import convert
from thermvision.annotations.errors import UsageError
from thermvision.annotations.faces import Detections, FaceShape, Gray
from thermvision.annotations.session import open_model

POINTS = 203
SCALE, SHIFT = 1.5, -0.1  # of the window: side over the extent of the points, and downward shift in sides
SIZE = 224
# what the anchors of the crop are the mean of: eye at image left, eye at image right, mouth
ANCHORS: dict[int, tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]] = {
    203: ((0, 6, 12, 18), (24, 30, 36, 42), (48, 66)),
    68: ((36, 39), (42, 45), (48, 54)),
    5: ((0,), (1,), (3, 4)),
}


class LivePortraitLandmarker:
    """A 203-point network behind the protocol of landmarkers; points that 68 has and 203 has not are NaN.

    Args:
        path: the ONNX file.
        rounds: how often the crop is laid anew by the points found; 2 is a box, then points.
        threads: threads of one run of the network.

    Raises:
        MissingDependencyError, DamagedInputError: see `thermvision.annotations.session.open_model`.
        UsageError: the file's inputs or outputs are of another kind.

    >>> LivePortraitLandmarker("nowhere.onnx")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ...
    thermvision.annotations.errors.MissingDependencyError: nowhere.onnx is no model file; ...
    """

    def __init__(self, path: str | Path, rounds: int = 2, threads: int = 1) -> None:
        if rounds < 1:
            raise UsageError(f"rounds is {rounds}; allowed: 1 or more")
        self._model = open_model(path, threads)
        shape = next(iter(self._model.inputs.values()), [])
        if len(self._model.inputs) != 1 or len(shape) != 4 or shape[1] not in (1, 3):
            raise UsageError(
                f"{self._model.source} takes {self._model.inputs}; allowed: one crop (N, 3, H, W) or (N, 1, H, W)"
            )
        self.source = self._model.source
        self._input, self._channels = next(iter(self._model.inputs)), int(shape[1])
        self._size = shape[3] if isinstance(shape[3], int) else SIZE
        self._alone = shape[0] == 1
        self._rounds = rounds

    def locate(self, frame: Gray, detections: Detections) -> list[FaceShape | None]:
        """The shape of each face: what 68 points can be told from 203."""
        points = self.points(frame, detections)
        return [FaceShape(landmarks=convert(p, "203", "68")) if np.isfinite(p).all() else None for p in points]

    def points(self, frame: Gray, detections: Detections) -> NDArray[np.float32]:
        """All points (M, 203, 2) float32 in pixels of the frame, of each face."""
        if not len(detections):
            return np.zeros((0, POINTS, 2), np.float32)
        matrices = [
            first_window(b, k, self._size) for b, k in zip(detections.bboxes, detections.keypoints, strict=True)
        ]
        found = self._run(frame, matrices)
        for _ in range(self._rounds - 1):
            if not np.isfinite(found).all():
                break
            found = self._run(frame, [window(p, self._size) for p in found])
        return found

    def _run(self, frame: Gray, matrices: Sequence[Matrix]) -> NDArray[np.float32]:
        size = self._size
        crops = np.empty((len(matrices), self._channels, size, size), np.float32)
        for target, matrix in zip(crops, matrices, strict=True):
            np.divide(warp(frame, matrix, size, size, cv2.BORDER_CONSTANT), 255, out=target)
        step = 1 if self._alone else len(crops)
        parts = [self._points_of(crops[i : i + step]) for i in range(0, len(crops), step)]
        return np.stack([apply(invert(m), p * size) for m, p in zip(matrices, np.concatenate(parts), strict=True)])

    def _points_of(self, crops: NDArray[np.float32]) -> NDArray[np.float32]:
        outputs = self._model.run({self._input: crops})
        for value in outputs.values():
            if value.size == len(crops) * POINTS * 2:
                return value.reshape(len(crops), POINTS, 2)
        seen = {name: value.shape for name, value in outputs.items()}
        raise UsageError(f"{self.source} gives {seen}; allowed: an output with {POINTS * 2} values a face")


def first_window(bbox: ArrayLike, keypoints: ArrayLike, size: int) -> Matrix:
    """Map (2, 3) from the frame to the first crop of a face, from its box, turned by its five keypoints if known."""
    x, y, w, h = np.asarray(bbox, np.float64)
    points = np.asarray(keypoints, np.float64)
    axes = _axes(points) if np.isfinite(points).all() else np.eye(2)
    return _matrix(np.array([x + w / 2, y + h / 2]), SCALE * max(w, h), axes, size)


def window(points: ArrayLike, size: int, scale: float = SCALE, shift: float = SHIFT) -> Matrix:
    """Map (2, 3) from the frame to the crop around 203, 68 or 5 points, with the line from eyes to mouth upright.

    Args:
        points: (K, 2) pixels.
        size: side of the crop in pixels.
        scale: side of the window over the longer extent of the turned points.
        shift: by how many sides the window moves down the face.

    Raises:
        ValueError: no anchors are known for K points.
    """
    p = np.asarray(points, np.float64)
    axes = _axes(p)
    mean = p.mean(0)
    turned = (p - mean) @ axes.T
    low, high = turned.min(0), turned.max(0)
    side = float((high - low).max()) * scale
    centre = mean + axes.T @ ((low + high) / 2) + axes[1] * (shift * side)
    return _matrix(centre, side, axes, size)


def _axes(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rows: the unit vectors to the face's own right-hand side of the image, and down it from eyes to mouth."""
    if len(points) not in ANCHORS:
        raise ValueError(f"there are {len(points)} points; allowed: {', '.join(map(str, ANCHORS))}")
    left, right, mouth = (points[list(indices)].mean(0) for indices in ANCHORS[len(points)])
    down = mouth - (left + right) / 2
    length = float(np.hypot(*down))
    down = down / length if length >= 1e-3 else np.array([0.0, 1.0])
    return np.array([[down[1], -down[0]], down])


def _matrix(centre: NDArray[np.float64], side: float, axes: NDArray[np.float64], size: int) -> Matrix:
    linear = axes * (size / max(side, 1e-6))
    return np.column_stack([linear, size / 2 - linear @ centre])
