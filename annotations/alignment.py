"""Cutting faces out of frames, by a box or by five keypoints, and the matrices that lead back.

Matrices are (2, 3) float64 and map pixel coordinates of the frame to those of the crop, both with pixel centres at
+0.5, so that resizing is a pure scaling.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

Gray = NDArray[np.uint8]
Matrix = NDArray[np.float64]

ALIGNED_SIZE = 112
# eyes, nose tip and mouth corners, image left first, in a crop of 112 x 112
TEMPLATE: NDArray[np.float32] = np.array([[38.5, 46], [73.5, 46], [56, 67], [41.5, 85], [70.5, 85]], np.float32)
MAX_OVERHANG = 4  # a window may be this many times longer than the frame: more would be border only


def resize(image: Gray, width: int, height: int) -> Gray:
    """An image at another size: the mean of the covered area when shrinking, bilinear when enlarging.

    Halvings come first: the mean of 2 x 2 pixels is many times faster than that of a fractional area.

    >>> resize(np.full((8, 8), 7, np.uint8), 3, 2).tolist()
    [[7, 7, 7], [7, 7, 7]]
    """
    while True:
        h, w = image.shape[:2]
        if h % 2 or w % 2 or h < 2 * height or w < 2 * width:
            break
        image = _halved(image)
    if (w, h) == (width, height):
        return image
    shrinks = w >= width and h >= height
    flags = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image, (width, height), interpolation=flags), np.uint8)


def _halved(image: Gray) -> Gray:
    h, w = image.shape
    return np.asarray(cv2.resize(image, (w // 2, h // 2), interpolation=cv2.INTER_AREA), np.uint8)


def face_crop(frame: Gray, bbox: ArrayLike, margin: float, size: int) -> tuple[Gray, Matrix]:
    """The upright square around a box, resized; what lies outside the frame repeats its border.

    The window's corner and side are rounded to whole pixels; the matrix belongs to the rounded window and is exact.

    Args:
        frame: (H, W) uint8.
        bbox: (4,) ``[x, y, width, height]`` in pixels.
        margin: side of the window over the longer side of the box.
        size: side of the crop in pixels.

    Returns:
        The crop (size, size) uint8 and the matrix from frame to crop.

    Raises:
        ValueError: the box is not finite, has no area or reaches much further than the frame.

    >>> crop, matrix = face_crop(np.zeros((64, 64), np.uint8), [8, 8, 32, 32], 1.0, 16)
    >>> matrix.tolist()
    [[0.5, 0.0, -4.0], [0.0, 0.5, -4.0]]
    """
    x, y, w, h = (float(v) for v in np.asarray(bbox, np.float64))
    height, width = frame.shape
    longest = max(height, width)
    side = margin * max(w, h)
    finite = math.isfinite(x) and math.isfinite(y) and math.isfinite(side)
    if not finite or min(w, h) <= 0 or side > MAX_OVERHANG * longest or max(abs(x), abs(y)) > MAX_OVERHANG * longest:
        raise ValueError(
            f"the box is {[x, y, w, h]} in a frame of {width} x {height}; allowed: finite, with width and height "
            f"above 0, and no further than {MAX_OVERHANG} times the frame's longer side"
        )
    n = max(1, round(side))
    left, top = round(x + w / 2 - n / 2), round(y + h / 2 - n / 2)
    if left >= 0 and top >= 0 and left + n <= width and top + n <= height:
        window = frame[top : top + n, left : left + n]
    else:
        rows = np.arange(top, top + n).clip(0, height - 1)
        columns = np.arange(left, left + n).clip(0, width - 1)
        window = frame[rows[:, None], columns]
    scale = size / n
    return resize(window, size, size), np.array([[scale, 0, -left * scale], [0, scale, -top * scale]])


def aligned_crop(frame: Gray, keypoints: ArrayLike, size: int = ALIGNED_SIZE) -> tuple[Gray, Matrix]:
    """The face turned upright and scaled so that its five keypoints come closest to `TEMPLATE`.

    Args:
        frame: (H, W) uint8.
        keypoints: (5, 2) pixels in the order of `thermvision.annotations.faces.KEYPOINTS`.
        size: side of the crop in pixels; the template is scaled with it.

    Returns:
        The crop (size, size) uint8 and the matrix from frame to crop.

    Raises:
        ValueError: the keypoints are not five finite points, or all in one place.
    """
    points = np.asarray(keypoints, np.float64)
    if points.shape != TEMPLATE.shape:
        raise ValueError(f"keypoints have shape {points.shape}; allowed: {TEMPLATE.shape}")
    matrix = similarity(points, TEMPLATE * (size / ALIGNED_SIZE))
    return warp(frame, matrix, size, size), matrix


def similarity(source: ArrayLike, target: ArrayLike) -> Matrix:
    """The turn, scale and shift (2, 3) that bring points (K, 2) closest to others in the least-squares sense.

    Closed form of S. Umeyama, "Least-squares estimation of transformation parameters between two point patterns",
    PAMI 13 (1991); in the plane it is a complex division. Never a mirror image.

    >>> similarity([[0, 0], [1, 0]], [[5, 5], [5, 7]]).round(9).tolist()
    [[0.0, -2.0, 5.0], [2.0, 0.0, 5.0]]

    Raises:
        ValueError: fewer than two points, a coordinate that is not finite, or no spread.
    """
    a, b = np.asarray(source, np.float64), np.asarray(target, np.float64)
    if a.shape != b.shape or a.ndim != 2 or a.shape[1] != 2 or len(a) < 2:
        raise ValueError(f"points have shapes {a.shape} and {b.shape}; allowed: (K, 2) twice, K at least 2")
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise ValueError("a point is not finite; allowed: finite coordinates")
    from_mean, to_mean = a.mean(0), b.mean(0)
    p, q = (a - from_mean) @ (1, 1j), (b - to_mean) @ (1, 1j)
    spread = float((np.abs(p) ** 2).sum())
    if spread < 1e-12:
        raise ValueError("all points are in one place; allowed: at least two different points")
    turn = complex((p.conj() * q).sum() / spread)
    linear = np.array([[turn.real, -turn.imag], [turn.imag, turn.real]])
    return np.column_stack([linear, to_mean - linear @ from_mean])


def warp(frame: Gray, matrix: ArrayLike, width: int, height: int, border: int = cv2.BORDER_REPLICATE) -> Gray:
    """The frame under an affine map (2, 3), bilinear, halved beforehand where the map shrinks it by more than two."""
    A = np.asarray(matrix, np.float64)
    while abs(np.linalg.det(A[:, :2])) < 0.25 and min(frame.shape) >= 2:
        h, w = frame.shape
        frame = _halved(frame)
        A = A * (w / (w // 2), h / (h // 2), 1)
    # OpenCV puts pixel centres at whole numbers
    A = np.column_stack([A[:, :2], A[:, 2] + A[:, :2] @ (0.5, 0.5) - 0.5])
    return np.asarray(cv2.warpAffine(frame, A, (width, height), flags=cv2.INTER_LINEAR, borderMode=border), np.uint8)


def apply(matrix: ArrayLike, points: ArrayLike) -> NDArray[np.float32]:
    """Points (..., 2) under an affine map (2, 3).

    >>> apply([[2, 0, 1], [0, 2, 1]], [[3, 4]]).tolist()
    [[7.0, 9.0]]
    """
    A = np.asarray(matrix, np.float64)
    return (np.asarray(points, np.float64) @ A[:, :2].T + A[:, 2]).astype(np.float32)


def invert(matrix: ArrayLike) -> Matrix:
    """The map back: from crop to frame.

    >>> invert([[2, 0, 1], [0, 2, 1]]).tolist()
    [[0.5, 0.0, -0.5], [0.0, 0.5, -0.5]]
    """
    A = np.asarray(matrix, np.float64)
    linear = np.linalg.inv(A[:, :2])
    return np.column_stack([linear, -linear @ A[:, 2]])
