"""Overlap of boxes ``[x, y, width, height]`` in pixels."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


def iou_matrix(a: ArrayLike, b: ArrayLike) -> Floats:
    """Intersection over union (M, K) of boxes (M, 4) and (K, 4); 0 where a box has no area.

    >>> iou_matrix([[0, 0, 2, 2]], [[1, 0, 2, 2], [5, 5, 1, 1]]).round(3).tolist()
    [[0.333, 0.0]]
    """
    first, second = (np.asarray(boxes, np.float64).reshape(-1, 4) for boxes in (a, b))
    low = np.maximum(first[:, None, :2], second[None, :, :2])
    high = np.minimum(first[:, None, :2] + first[:, None, 2:], second[None, :, :2] + second[None, :, 2:])
    common = np.clip(high - low, 0, None).prod(-1)
    total = first[:, None, 2:].prod(-1) + second[None, :, 2:].prod(-1) - common
    return np.divide(common, total, out=np.zeros_like(common), where=total > 0)
