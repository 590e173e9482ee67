"""How far eyes and lips are open: ratios of distances between some of 203 landmarks, so in any frame of coordinates.

Indices are LivePortrait's. Open eyes are near 0.35, closed ones below 0.1; lips closed are near 0.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from thermvision.annotations.errors import UsageError

NUM_LANDMARKS = 203
# the gap's two ends, the width's two ends
_LEFT_EYE, _RIGHT_EYE, _LIP = (6, 18, 0, 12), (30, 42, 24, 36), (90, 102, 48, 66)
_LEAST_WIDTH = 1e-6


def eye_close_ratio(landmarks: ArrayLike) -> NDArray[np.float32]:
    """(N, 2) lid gap over width of the left and the right eye, of landmarks (N, 203, 2) or (203, 2).

    Raises:
        UsageError: landmarks of another shape.
    """
    return np.stack([_ratio(landmarks, _LEFT_EYE), _ratio(landmarks, _RIGHT_EYE)], -1)


def lip_close_ratio(landmarks: ArrayLike) -> NDArray[np.float32]:
    """(N, 1) gap between the inner lips over the width of the mouth, of landmarks (N, 203, 2) or (203, 2).

    Raises:
        UsageError: landmarks of another shape.
    """
    return _ratio(landmarks, _LIP)[:, None]


def _ratio(landmarks: ArrayLike, ends: Sequence[int]) -> NDArray[np.float32]:
    points = np.asarray(landmarks, np.float64)
    if points.ndim not in (2, 3) or points.shape[-2:] != (NUM_LANDMARKS, 2):
        raise UsageError(f"landmarks of shape {points.shape}; allowed: (N, {NUM_LANDMARKS}, 2), x and y")
    a, b, c, d = np.moveaxis(points.reshape(-1, NUM_LANDMARKS, 2)[:, list(ends)], 1, 0)
    ratio = np.linalg.norm(a - b, axis=-1) / (np.linalg.norm(c - d, axis=-1) + _LEAST_WIDTH)
    return ratio.astype(np.float32)
