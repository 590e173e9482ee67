"""Crops about a face, and the result put back into its picture.

Coordinates are pixels, x right and y down, the centre of the first pixel at (0, 0). Matrices are (3, 3) float32 for
columns (x, y, 1). Pictures are (H, W) gray or (H, W, 3), uint8. The rules are LivePortrait's.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from thermvision.annotations.errors import DamagedInputError, UsageError

Pixels = NDArray[np.uint8]
CROP_SIZE = 512
# size of the crop over the face's, and its shift along the face as a share of that: source, landmark network, driver
SOURCE_SCALE, SOURCE_SHIFT = 2.3, -0.125
LANDMARK_SIZE, LANDMARK_SCALE, LANDMARK_SHIFT = 224, 1.5, -0.1
DRIVING_SCALE, DRIVING_SHIFT = 2.2, -0.1
LONGEST_SIDE = 1280
_SHORTEST_AXIS = 1e-3
_RIM = 16
# number of landmarks -> which are averaged for one eye, the other eye and the mouth
_ANCHORS: dict[int, tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]] = {
    5: ((0,), (1,), (3, 4)),
    9: ((2, 3), (0, 1), (5, 6)),
    68: ((36, 39), (42, 45), (48, 54)),
    101: ((39, 42, 45, 48), (51, 54, 57, 60), (75, 81)),
    106: ((33, 35, 40, 39), (87, 89, 94, 93), (52, 61)),
    203: ((0, 6, 12, 18), (24, 30, 36, 42), (48, 66)),
}


def _window(landmarks: ArrayLike, scale: float, vy_ratio: float) -> tuple[NDArray[np.float32], float, float]:
    """Centre (2,), side in pixels and angle in radians of the square about a face."""
    # float32 and an angle by its cosine, as LivePortrait: an upright face's angle depends on how both round
    points = np.asarray(landmarks, np.float32)
    if points.ndim != 2 or points.shape[1] != 2 or not (len(points) in _ANCHORS or len(points) > 101):
        counts = ", ".join(map(str, _ANCHORS))
        raise UsageError(f"landmarks of shape {points.shape}; allowed: (K, 2) with K one of {counts} or above 101")
    if not np.isfinite(points).all():
        raise DamagedInputError("a face has landmarks that are no numbers; leave that picture out")
    # above 101 points an unknown set is taken to begin with the 101
    eyes_and_mouth = _ANCHORS.get(len(points), _ANCHORS[101])
    left, right, mouth = (points[list(which)].mean(0) for which in eyes_and_mouth)
    down = mouth - (left + right) / 2
    length = np.linalg.norm(down)
    down = np.array([0, 1], np.float32) if length <= _SHORTEST_AXIS else down / length
    across = np.array([down[1], -down[0]])
    mean = points.mean(0)
    along = (points - mean) @ np.stack([across, down]).T
    low, high = along.min(0), along.max(0)
    side = (high - low).max() * np.float32(scale)
    if not side > 0:
        raise DamagedInputError("a face's landmarks are all in one place; leave that picture out")
    middle = (low + high) / 2
    centre = mean + across * middle[0] + down * middle[1] + down * (np.float32(vy_ratio) * side)
    return centre, float(side), math.copysign(math.acos(np.clip(across[0], -1, 1)), across[1])


def crop_matrix(
    landmarks: ArrayLike,
    dsize: int = CROP_SIZE,
    scale: float = SOURCE_SCALE,
    vy_ratio: float = SOURCE_SHIFT,
    do_rot: bool = True,
) -> NDArray[np.float32]:
    """The matrix (3, 3) from a picture to its crop of ``dsize`` × ``dsize`` pixels.

    Args:
        landmarks: (K, 2), K one of 5, 9, 68, 101, 106, 203.
        dsize: pixels of the crop's side.
        scale: the crop's side over that of the face's box along its own axes.
        vy_ratio: the crop's shift along the face's axis from eyes to mouth, in sides; below 0 towards the forehead.
        do_rot: turn the face upright.

    Raises:
        UsageError: another number of landmarks.
        DamagedInputError: they are no numbers or all in one place.

    >>> five = [[100, 110], [160, 100], [135, 140], [112, 178], [158, 170]]
    >>> [round(float(v), 4) for v in crop_matrix(five)[0]]
    [2.9872, -0.2165, -109.6029]
    """
    centre, side, angle = _window(landmarks, scale, vy_ratio)
    cos, sin = (math.cos(angle), math.sin(angle)) if do_rot else (1.0, 0.0)
    matrix = np.eye(3)
    matrix[:2, :2] = dsize / side * np.array([[cos, sin], [-sin, cos]])
    matrix[:2, 2] = dsize / 2 - matrix[:2, :2] @ centre
    return matrix.astype(np.float32)


def driving_bbox(
    landmarks: ArrayLike, scale: float = DRIVING_SCALE, vy_ratio: float = DRIVING_SHIFT
) -> NDArray[np.float32]:
    """(left, top, right, bottom) of the upright square about the face of one driving frame; arguments as `crop_matrix`.

    The mean of all frames' boxes is the one window of a driving video.

    >>> five = [[100, 110], [160, 100], [135, 140], [112, 178], [158, 170]]
    >>> [round(float(v), 3) for v in driving_bbox(five)]
    [49.541, 41.186, 213.06, 204.705]
    """
    centre, side, _ = _window(landmarks, scale, vy_ratio)
    return np.concatenate([centre - side / 2, centre + side / 2]).astype(np.float32)


def driving_crop_matrix(bbox: ArrayLike, dsize: int = CROP_SIZE) -> NDArray[np.float32]:
    """The matrix (3, 3) from a driving frame to the crop of ``bbox`` (left, top, right, bottom); nothing is turned.

    Raises:
        UsageError: the box has no width.

    >>> driving_crop_matrix([10, 20, 138, 148]).tolist()
    [[4.0, 0.0, -40.0], [0.0, 4.0, -80.0], [0.0, 0.0, 1.0]]
    """
    left, top, right, bottom = np.asarray(bbox, np.float64).reshape(4)
    if not 0 < right - left < np.inf:
        raise UsageError(f"driving window from x = {left:g} to {right:g}; allowed: a box with a width")
    size = dsize / (right - left)
    x, y = dsize / 2 - size * (left + right) / 2, dsize / 2 - size * (top + bottom) / 2
    return np.array([[size, 0, x], [0, size, y], [0, 0, 1]], np.float32)


def warp_image(image: Pixels, matrix: ArrayLike, width: int, height: int) -> Pixels:
    """``image`` carried by ``matrix`` (its coordinates to those of the result), bilinear, 0 where there is nothing."""
    warp = np.asarray(matrix, np.float32)[:2]
    return cv2.warpAffine(image, warp, (width, height), flags=cv2.INTER_LINEAR).astype(np.uint8, copy=False)


def crop_image(
    image: Pixels,
    landmarks: ArrayLike,
    dsize: int = CROP_SIZE,
    scale: float = SOURCE_SCALE,
    vy_ratio: float = SOURCE_SHIFT,
    do_rot: bool = True,
) -> Pixels:
    """The crop (dsize, dsize[, 3]) of a face; arguments as `crop_matrix`."""
    return warp_image(image, crop_matrix(landmarks, dsize, scale, vy_ratio, do_rot), dsize, dsize)


def limit_size(image: Pixels, longest: int = LONGEST_SIDE) -> Pixels:
    """``image`` no longer than ``longest`` pixels and with even sides: reduced (bilinear), then cut right and below.

    >>> limit_size(np.zeros((2561, 101), np.uint8)).shape
    (1280, 50)
    """
    height, width = image.shape[:2]
    if (side := max(height, width)) > longest:
        size = (max(width * longest // side, 1), max(height * longest // side, 1))
        image = cv2.resize(image, size, interpolation=cv2.INTER_LINEAR).astype(np.uint8, copy=False)
    height, width = image.shape[:2]
    return image[: height - height % 2 or 1, : width - width % 2 or 1]


def paste_mask() -> Pixels:
    """(512, 512) uint8: 255, fading to 0 over the 16 pixels of the rim; equal to LivePortrait's mask in every pixel.

    >>> paste_mask()[256, [0, 1, 8, 16, 496, 511]].tolist()
    [0, 15, 127, 255, 255, 15]
    """
    along = np.arange(CROP_SIZE)
    outside = np.maximum(np.maximum(_RIM - along, along - (CROP_SIZE - _RIM)), 0)
    distance = np.hypot(outside[:, None], outside[None, :])
    return np.floor(255 * np.clip(1 - distance / _RIM, 0, 1)).astype(np.uint8)


def paste_weight(mask: Pixels, to_original: ArrayLike, width: int, height: int) -> NDArray[np.float32]:
    """Share of the crop in each pixel (height, width[, 3]) of the picture, 0..1; the same for all frames of a clip."""
    return warp_image(mask, to_original, width, height).astype(np.float32) / np.float32(255)


def blend(crop: Pixels, to_original: ArrayLike, original: Pixels, weight: NDArray[np.float32]) -> Pixels:
    """``original`` with ``crop`` laid over it by ``weight`` (see `paste_weight`), truncated to uint8."""
    height, width = original.shape[:2]
    over = warp_image(crop, to_original, width, height)
    if weight.ndim < original.ndim:
        weight = weight[..., None]
    result = original.copy()
    part = _reach(crop, to_original, width, height)  # nothing changes elsewhere
    share = weight[part]
    result[part] = np.clip(share * over[part] + (1 - share) * original[part], 0, 255).astype(np.uint8)
    return result


def _reach(crop: Pixels, to_original: ArrayLike, width: int, height: int) -> tuple[slice, slice]:
    """Rows and columns of a picture within which a crop lies."""
    down, right = crop.shape[:2]
    corners = np.array([[-1, -1, 1], [right, -1, 1], [-1, down, 1], [right, down, 1]]) @ np.asarray(to_original)[:2].T
    low = np.clip(np.floor(corners.min(0)).astype(int) - 1, 0, (width, height))
    high = np.clip(np.ceil(corners.max(0)).astype(int) + 2, 0, (width, height))
    return slice(int(low[1]), int(high[1])), slice(int(low[0]), int(high[0]))


def paste_back(crop: Pixels, to_original: ArrayLike, original: Pixels, mask: Pixels) -> Pixels:
    """``original`` with a drawn crop put back where it came from.

    Args:
        crop: (512, 512[, 3]), with as many channels as ``original``.
        to_original: (3, 3), the inverse of `crop_matrix`.
        original: (H, W[, 3]).
        mask: (512, 512[, 3]), 255 where the crop counts alone, see `paste_mask`.
    """
    height, width = original.shape[:2]
    return blend(crop, to_original, original, paste_weight(mask, to_original, width, height))
