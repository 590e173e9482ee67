"""Boxes, landmarks, pose axes and labels drawn over gray frames.

All functions but `draw_annotation` draw into an (H, W, 3) uint8 RGB image in place. Coordinates are pixels with centres
at +0.5, so half a pixel is taken off for OpenCV, which puts centres at whole numbers. Widths follow the image's size.
"""

from __future__ import annotations

from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from thermvision.annotations.conventions import NOSE_TIP, POLYLINES
from thermvision.annotations.pose import rotation_from_pose
from thermvision.annotations.schema import OBJECT_OCCLUDED, OUTSIDE, SELF_OCCLUDED, VISIBLE, FrameAnnotation

if TYPE_CHECKING:
    from PIL import ImageFont

Image = NDArray[np.uint8]
Colour = tuple[int, int, int]

BOX_COLOUR: Colour = (255, 206, 84)
EXTRA_BOX_COLOUR: Colour = (150, 150, 165)
EDGE_COLOUR: Colour = (12, 14, 18)
STATE_COLOURS: dict[int, Colour] = {
    VISIBLE: (64, 224, 200),
    SELF_OCCLUDED: (255, 140, 66),
    OBJECT_OCCLUDED: (255, 84, 164),
    OUTSIDE: (140, 140, 150),
}
STATE_NAMES = {
    VISIBLE: "visible",
    SELF_OCCLUDED: "self-occluded",
    OBJECT_OCCLUDED: "occluded by an object",
    OUTSIDE: "outside",
}
# x (the subject's left), y (up), z (toward the camera)
AXIS_COLOURS: tuple[Colour, Colour, Colour] = ((255, 92, 92), (126, 217, 87), (92, 160, 255))

_SHIFT = 4  # OpenCV takes fixed-point coordinates with this many fractional bits
_REFERENCE = 512  # the frame size for which widths and radii below are meant
_ANGLES = np.linspace(0, 2 * np.pi, 24, endpoint=False)
_CIRCLE = np.stack([np.cos(_ANGLES), np.sin(_ANGLES)], axis=1)
_MAX_COORDINATE = 1e5  # fixed-point overflow beyond; such points are far outside any frame


def to_rgb(frame: ArrayLike) -> Image:
    """A drawable copy (H, W, 3) uint8 of a gray (H, W) or RGB (H, W, 3) uint8 frame.

    Raises:
        ValueError: another shape or dtype.
    """
    array = np.asarray(frame)
    if array.dtype != np.uint8 or array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] != 3):
        raise ValueError(f"the frame is {array.dtype} {array.shape}; allowed: uint8 (H, W) or (H, W, 3)")
    return np.repeat(array[..., None], 3, axis=2) if array.ndim == 2 else array.copy()


def draw_bbox(image: Image, bbox: ArrayLike, colour: Colour = BOX_COLOUR) -> None:
    """Outline of a COCO box (4,) ``[x, y, width, height]``; a box of NaNs (no face) draws nothing."""
    box = np.asarray(bbox, np.float64)
    if not np.isfinite(box).all():
        return
    x, y, w, h = box
    corners = np.array([[x, y], [x + w, y], [x + w, y + h], [x, y + h]])
    width = _stroke(image, 1.6)
    _polyline(image, corners, colour, width, closed=True)
    # heavy corners: the box stays legible over hair and background of the same gray
    reach = 0.14 * min(w, h)
    for corner, before, after in zip(corners, np.roll(corners, 1, 0), np.roll(corners, -1, 0), strict=True):
        legs = [corner + reach * (p - corner) / max(float(np.abs(p - corner).sum()), 1e-9) for p in (before, after)]
        _polyline(image, np.array([legs[0], corner, legs[1]]), colour, width + _stroke(image, 1.6))


def draw_landmarks(image: Image, landmarks: ArrayLike, state: ArrayLike | None = None) -> None:
    """Points (68, 2), coloured by their ``landmark_state`` (68,) where it is known, over the lines that join them.

    Raises:
        ValueError: there are not 68 points or states.
    """
    points = np.asarray(landmarks, np.float64)
    states = np.full(68, VISIBLE) if state is None else np.asarray(state)
    if points.shape != (68, 2) or states.shape != (68,):
        raise ValueError(f"landmarks have shape {points.shape}, states {states.shape}; allowed: (68, 2) and (68,)")
    shade = image.copy()
    pairs = [pair for line in POLYLINES for pair in pairwise(line)]
    # a dark edge keeps light lines legible over warm, that is white, skin
    for extra, edge in ((1.8, True), (0.0, False)):
        for a, b in pairs:
            hidden = int(min(states[a], states[b]))
            colour = EDGE_COLOUR if edge else STATE_COLOURS[hidden]
            _polyline(shade, points[[a, b]], colour, _stroke(image, 1.2 + extra))
    cv2.addWeighted(shade, 0.6, image, 0.4, 0, dst=image)
    for point, value in zip(points, states, strict=True):
        _dot(image, point, 3.1, EDGE_COLOUR)
        _dot(image, point, 2.2, STATE_COLOURS[int(value)])


def draw_pose(image: Image, head_pose: ArrayLike, origin: ArrayLike, length: float) -> None:
    """The head's axes at ``origin`` (2,), ``length`` pixels long when they lie in the image plane.

    Red: the subject's left; green: up; blue: where the nose points. ``head_pose`` is yaw, pitch, roll in degrees.
    """
    start = np.asarray(origin, np.float64)
    rotation = rotation_from_pose(head_pose)
    # far ends first: what points at the camera is drawn over what points away
    for axis in np.argsort(rotation[2]):
        tip = start + length * rotation[:2, axis] * (1, -1)
        for colour, extra in ((EDGE_COLOUR, 2.2), (AXIS_COLOURS[axis], 0.0)):
            width = _stroke(image, 2.4 + extra)
            _polyline(image, np.array([start, tip]), colour, width)
            _dot(image, tip, 3.2 + extra / 2, colour)


def draw_label(image: Image, text: str, corner: ArrayLike, colour: Colour = (236, 239, 244)) -> None:
    """Text on a dark plate whose top left is at ``corner`` (2,), moved where needed to stay within the image."""
    from PIL import Image as Pillow
    from PIL import ImageDraw

    size = max(9, round(13 * _scale(image)))
    font, pad = _font(size), max(2, size // 3)
    left, top, right, bottom = font.getbbox(text)
    width, height = int(right - left) + 2 * pad, int(bottom - top) + 2 * pad
    x, y = (round(float(v)) for v in np.asarray(corner, np.float64))
    x, y = (
        max(0, min(v, limit - extent)) for v, limit, extent in ((x, image.shape[1], width), (y, image.shape[0], height))
    )
    area = image[y : y + height, x : x + width]
    plate = Pillow.fromarray((area * 0.28 + np.array([4, 5, 6])).astype(np.uint8))
    ImageDraw.Draw(plate).text((pad - left, pad - top), text, font=font, fill=colour)
    area[:] = np.asarray(plate)


def describe(annotation: FrameAnnotation) -> str:
    """One line on what is known besides geometry.

    >>> pose = np.array([12.4, -3, 0])
    >>> describe(FrameAnnotation(np.array([1, 2, 3, 4]), 1, "ground_truth", head_pose=pose, expression="smile"))
    'yaw +12° pitch -3° roll +0° smile'
    """
    if annotation.face_count == 0:
        return "no face"
    parts = []
    if annotation.head_pose is not None:
        angles = zip(("yaw", "pitch", "roll"), annotation.head_pose, strict=True)
        parts += [f"{name} {round(float(angle)):+d}°" for name, angle in angles]
    if annotation.expression is not None:
        parts.append(annotation.expression)
    if annotation.bbox_score is not None:
        parts.append(f"score {annotation.bbox_score:.2f}")
    return " ".join(parts)


def draw_annotation(frame: ArrayLike, annotation: FrameAnnotation, *, pose: bool = True, label: bool = True) -> Image:
    """RGB (H, W, 3) uint8 of a gray (H, W) uint8 frame with its annotation drawn over it; the frame stays as it is.

    >>> face = FrameAnnotation(bbox=np.array([8, 8, 40, 48]), face_count=1, source="ground_truth")
    >>> draw_annotation(np.zeros((64, 64), np.uint8), face).shape
    (64, 64, 3)

    Raises:
        ValueError: the frame is not a uint8 image.
    """
    image = to_rgb(frame)
    for extra in annotation.extra_bboxes:
        draw_bbox(image, extra, EXTRA_BOX_COLOUR)
    draw_bbox(image, annotation.bbox)
    if annotation.landmarks is not None:
        draw_landmarks(image, annotation.landmarks, annotation.landmark_state)
    box = annotation.bbox
    if pose and annotation.head_pose is not None and np.isfinite(box).all():
        centre = box[:2] + box[2:] / 2 if annotation.landmarks is None else annotation.landmarks[NOSE_TIP]
        draw_pose(image, annotation.head_pose, centre, 0.32 * float(max(box[2:])))
    if label and (text := describe(annotation)):
        margin = 8 * _scale(image)
        draw_label(image, text, (margin, margin))
    return image


@cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    from PIL import ImageFont

    return ImageFont.truetype(str(font_path()), size)


def font_path(bold: bool = False) -> Path:
    """DejaVu Sans as matplotlib ships it: the same glyphs, hence the same pixels, on every machine."""
    import matplotlib

    return Path(matplotlib.get_data_path()) / "fonts" / "ttf" / ("DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf")


def _scale(image: Image) -> float:
    return max(image.shape[:2]) / _REFERENCE


def _stroke(image: Image, width: float) -> int:
    return max(1, round(width * _scale(image)))


def _fixed(points: NDArray[np.float64]) -> NDArray[np.int32]:
    inside = np.clip(np.nan_to_num(points, nan=-_MAX_COORDINATE), -_MAX_COORDINATE, _MAX_COORDINATE)
    return np.rint((inside - 0.5) * 2**_SHIFT).astype(np.int32)


def _polyline(image: Image, points: NDArray[np.float64], colour: Colour, width: int, closed: bool = False) -> None:
    if np.isfinite(points).all():
        cv2.polylines(image, [_fixed(points).reshape(-1, 1, 2)], closed, colour, width, cv2.LINE_AA, _SHIFT)


def _dot(image: Image, point: NDArray[np.float64], radius: float, colour: Colour) -> None:
    """A filled circle; OpenCV's own is a diamond at such radii."""
    if np.isfinite(point).all():
        rim = point + max(radius * _scale(image), 0.5) * _CIRCLE
        cv2.fillConvexPoly(image, _fixed(rim), colour, cv2.LINE_AA, _SHIFT)
