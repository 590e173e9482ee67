"""What of a frame each condition of the audit shows: the face alone, everything but the face, the outline, the room.

Sizes are in units of L, the longer side of the face box. It is the height of all but the widest faces, and hardly
changes when a head turns, so that no mask tells how wide a face is.
"""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from thermvision.annotations.alignment import TEMPLATE, resize, similarity, warp
from thermvision.annotations.conventions import five_points

Gray = NDArray[np.uint8]
Mask = NDArray[np.bool_]
SIDE = 64  # pixels of a view that is kept
_FRAME = 128  # pixels of a frame while it is looked at
_CROP = 112
# the mask reaches this far from the middle of the box to either side, above its top and below its bottom; measured on
# the skin boxes of 540 radiometric frames with yaw up to 70 degrees, see docs/audit.md
MASK_BESIDE, MASK_ABOVE, MASK_BELOW = 0.60, 0.20, 0.17
_WINDOW = 2.6  # side of the window around the head
_BELOW = 1.6  # side of the window below the mask
_ROOM = 0.06  # of the frame: how far the person's outline is grown before what lies outside is the background
VIEWS: dict[str, tuple[str, ...]] = {
    "full": ("frame", "aligned"),
    "face": ("aligned",),
    "masked": ("frame", "head", "above", "beside", "below"),
    "box": ("frame", "head"),
    "silhouette": ("frame", "head"),
    "background": ("frame",),
}
MEANINGS = {
    "full": "the whole frame, and the upright crop of the face with its surroundings",
    "face": "only pixels within the hull of the landmarks and the top of the face box, turned upright",
    "masked": "everything but the face: hair above and beside the mask, neck, clothes and room remain",
    "box": "everything but the labelled box, as earlier audits masked it: ears, hair, and cheeks in profile remain",
    "silhouette": "the outline of head and shoulders, black and white: hair and garment shape it, too",
    "background": "what lies outside the grown outline of the person; the hole is filled from its surroundings",
    "first": "the whole frame, of the first frames of each clip only",
}


def masked_region(bbox: ArrayLike) -> tuple[float, float, float, float]:
    """Left, top, right and bottom of the rectangle in which no pixel of the face is left.

    >>> [round(v, 2) for v in masked_region([100, 100, 75, 100])]
    [77.5, 80.0, 197.5, 217.0]
    """
    x, y, w, h = (float(v) for v in np.asarray(bbox, np.float64))
    longest, middle = max(w, h), x + w / 2
    return (
        middle - MASK_BESIDE * longest,
        y - MASK_ABOVE * longest,
        middle + MASK_BESIDE * longest,
        y + h + MASK_BELOW * longest,
    )


def person_outline(gray: Gray, bbox: ArrayLike) -> Mask:
    """(H, W) bool: the warm connected region that the face box lies in, with the cooler hair and clothes around it.

    The threshold lies at three quarters of Otsu's (N. Otsu, IEEE Trans. SMC 9, 1979) above the darkest tone: cloth and
    hair are between skin and room. Where the middle of the box is cooler than that, all that is warm is taken.
    """
    smooth = np.asarray(cv2.GaussianBlur(gray, (0, 0), max(gray.shape) / 64), np.uint8)
    level, _ = cv2.threshold(smooth, 0, 255, cv2.THRESH_OTSU)
    darkest = float(np.percentile(smooth, 1))
    warm = (smooth > darkest + 0.75 * (level - darkest)).astype(np.uint8)
    warm = np.asarray(cv2.morphologyEx(warm, cv2.MORPH_CLOSE, np.ones((5, 5), np.uint8)), np.uint8)
    _, labels = cv2.connectedComponents(warm)
    x, y, w, h = (float(v) for v in np.asarray(bbox, np.float64))
    row, column = int(y + h / 2), int(x + w / 2)
    own = labels[np.clip(row, 0, gray.shape[0] - 1), np.clip(column, 0, gray.shape[1] - 1)]
    return np.asarray(labels == own if own else warm > 0, bool)


def views(gray: Gray, bbox: ArrayLike, landmarks: ArrayLike) -> dict[str, Gray]:
    """The views of a frame (H, W) as "condition/view" to (112 or 128, same) uint8.

    Args:
        gray: (H, W) uint8.
        bbox: (4,) of the face, finite, with width and height above 0.
        landmarks: (68, 2), finite.

    Raises:
        ValueError: the landmarks are all in one place.
    """
    return dict(_views(gray, np.asarray(bbox, np.float64), np.asarray(landmarks, np.float64)))


def first_views(gray: Gray, landmarks: ArrayLike) -> dict[str, Gray]:
    """The views of the condition "first" of one frame; see `views`."""
    aligned = _aligned(gray, np.asarray(landmarks, np.float64))[0]
    return {"first/frame": resize(gray, _FRAME, _FRAME), "first/aligned": aligned}


def _views(gray: Gray, bbox: NDArray[np.float64], landmarks: NDArray[np.float64]) -> Iterator[tuple[str, Gray]]:
    height, width = gray.shape
    scale = np.array([_FRAME / width, _FRAME / height])
    frame, box = resize(gray, _FRAME, _FRAME), bbox * np.tile(scale, 2)
    longest = max(bbox[2:])
    middle = bbox[:2] + bbox[2:] / 2
    # the head's window: the box a little above its middle, so that neck and shoulders are in
    zoom = _CROP / (_WINDOW * longest)
    to_head = np.array([
        [zoom, 0, _CROP / 2 - zoom * middle[0]],
        [0, zoom, _CROP / 2 - zoom * (middle[1] + 0.12 * longest)],
    ])  # fmt: skip
    head = warp(gray, to_head, _CROP, _CROP, cv2.BORDER_CONSTANT)
    region = masked_region(bbox)
    _, _, _, bottom = region
    in_frame, in_head = _scaled(region, scale, (0, 0)), _scaled(region, (zoom, zoom), to_head[:, 2])

    yield "full/frame", frame
    aligned, hull = _aligned(gray, landmarks, bbox)
    yield "full/aligned", aligned
    yield "face/aligned", _filled(aligned, ~hull)
    yield "masked/frame", _without(frame, in_frame)
    yield "masked/head", _without(head, in_head)
    left, top, right, low = in_head
    rows, columns = np.mgrid[:_CROP, :_CROP]
    above, beside = rows < top, (rows >= top) & (rows < low) & ((columns < left) | (columns >= right))
    yield "masked/above", _filled(head, ~above)
    yield "masked/beside", _filled(head, ~beside)
    close = _CROP / (_BELOW * longest)
    to_below = np.array([[close, 0, _CROP / 2 - close * middle[0]], [0, close, -close * bottom]])
    yield "masked/below", warp(gray, to_below, _CROP, _CROP, cv2.BORDER_CONSTANT)
    corners = (bbox[0], bbox[1], bbox[0] + bbox[2], bbox[1] + bbox[3])
    yield "box/frame", _without(frame, _scaled(corners, scale, (0, 0)))
    yield "box/head", _without(head, _scaled(corners, (zoom, zoom), to_head[:, 2]))
    person = person_outline(frame, box)
    drawn = person.astype(np.uint8) * np.uint8(255)
    yield "silhouette/frame", drawn
    back = np.array([[zoom / scale[0], 0, to_head[0, 2]], [0, zoom / scale[1], to_head[1, 2]]])
    yield "silhouette/head", warp(drawn, back, _CROP, _CROP, cv2.BORDER_CONSTANT)
    yield "background/frame", _room(frame, person)


def _aligned(gray: Gray, landmarks: NDArray[np.float64], bbox: NDArray[np.float64] | None = None) -> tuple[Gray, Mask]:
    """The upright crop (112, 112) and which of its pixels are within the face."""
    matrix = similarity(five_points(landmarks), TEMPLATE)
    outline = landmarks
    if bbox is not None:
        # the hull ends at the brows: the forehead is the box's
        x, y, w, _ = bbox
        outline = np.vstack([landmarks, [[x + 0.15 * w, y], [x + 0.85 * w, y]]])
    hull = cv2.convexHull((outline @ matrix[:, :2].T + matrix[:, 2]).astype(np.float32))
    inside = np.zeros((_CROP, _CROP), np.uint8)
    cv2.fillConvexPoly(inside, hull.round().astype(np.int32), 1)
    return warp(gray, matrix, _CROP, _CROP), inside > 0


def _scaled(corners: tuple[float, float, float, float], scale: ArrayLike, shift: ArrayLike) -> tuple[int, ...]:
    placed = np.asarray(corners) * np.tile(np.asarray(scale), 2) + np.tile(np.asarray(shift), 2)
    return tuple(int(v) for v in np.concatenate([np.floor(placed[:2]), np.ceil(placed[2:])]))


def _without(image: Gray, corners: tuple[int, ...]) -> Gray:
    left, top, right, bottom = (max(v, 0) for v in corners)
    hidden = np.zeros(image.shape, bool)
    hidden[top:bottom, left:right] = True
    return _filled(image, hidden)


def _filled(image: Gray, hidden: Mask) -> Gray:
    """The image with its hidden pixels at the mean of the others."""
    if hidden.all():
        return np.full_like(image, 128)
    filled = image.copy()
    filled[hidden] = round(float(image[~hidden].mean()))
    return filled


def _room(frame: Gray, person: Mask) -> Gray:
    """The frame without the person; the hole is a wide blur of what surrounds it, so that it has no sharp outline."""
    grow = 2 * round(_ROOM * _FRAME) + 1
    hidden = cv2.dilate(person.astype(np.uint8), np.ones((grow, grow), np.uint8)) > 0
    weight = (~hidden).astype(np.float32)
    total = cv2.GaussianBlur(weight, (0, 0), _FRAME / 8)
    mean = cv2.GaussianBlur(frame * weight, (0, 0), _FRAME / 8) / np.maximum(total, 1e-3)
    return np.asarray(np.where(hidden, mean.clip(0, 255), frame), np.uint8)
