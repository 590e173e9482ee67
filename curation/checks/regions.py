"""The face as a map: upright, at one scale for every camera, with the regions that anatomy names.

The unit of length is the distance from the middle of both eyes to the middle of the mouth, 65 to 70 mm in adults, which
yaw leaves as it is. A map has `UNIT` pixels a unit, about 1.4 mm a pixel: what a 640 x 480 camera with a 7.5 mm lens
sees of a face at 62 cm. Coordinates are pixels of the map, x right, y down, pixel centres at +0.5.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property, lru_cache

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from thermvision.annotations.alignment import apply, resize, similarity, warp
from thermvision.annotations.schema import OBJECT_OCCLUDED, SELF_OCCLUDED

from .kinds import FrameView

UNIT = 48
WIDTH, HEIGHT = 200, 240
CENTRE = (WIDTH / 2, 132.0)  # where the middle between eyes and mouth comes to lie
MIN_UNIT = 6.0  # pixels of the frame: of a smaller face nothing can be told
SHARP = 20.0  # pixels from eyes to mouth from which on the shape of an eye is seen
LEAST_FINE = 0.22  # share of fine structure that no magnified small face has
MIN_SPREAD = 10.0  # gray levels: below it a "spread" is noise
FAR_SIDE = 25.0  # degrees of yaw beyond which regions of the averted side are left out
EYES = (range(36, 42), range(42, 48))  # at image left, which is the subject's right, and at image right
MOUTH = range(48, 68)
DOWN = np.array([0, 1], np.float32)

Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class FaceMap:
    """One face.

    Attributes:
        gray: (HEIGHT, WIDTH) float32 gray levels, smoothed by a pixel.
        raw: the same, not smoothed.
        known: (HEIGHT, WIDTH) what lies within the frame.
        points: (68, 2) float32 landmarks.
        hidden: (68,) landmarks that an object or hair covers, or the head itself.
        covered: (68,) landmarks that an object or hair covers.
        yaw: degrees; NaN where not known.
        unit: its size in pixels of the frame.
        margin: units from the points of eyes, nose and mouth to the nearest border of the frame; negative beyond it.
        upright: (h, w) float32 the face as it stands in the frame with a unit on both sides, at the map's scale or
            smaller.
        skin: (HEIGHT, WIDTH) inner face without what glasses, mask or hair cover.
        level: median gray of the skin.
        warm: gray level that a tenth of the skin away from eyes, nose and lips exceeds: the forehead's, as a rule.
        spread: gray levels between the 5 % coldest and hottest pixels of the skin, at least `MIN_SPREAD`.
        background: gray levels left and right of the head, in the order found; empty where the head fills the frame.
        cold: median gray of the background; where the head fills the frame, of its coldest tenth.
        glasses, mask: whether they are stated, or seen on the landmarks.

    >>> black = np.zeros((64, 64), np.uint8)
    >>> face_map(FrameView(0, black, black)) is None  # no landmarks, no map
    True
    """

    gray: Floats
    raw: Floats
    known: Mask
    points: Floats
    hidden: Mask
    covered: Mask
    yaw: float
    unit: float
    margin: float
    upright: Floats
    skin: Mask
    level: float
    warm: float
    spread: float
    background: Floats
    cold: float
    glasses: bool
    mask: bool

    def values(self, mask: Mask) -> Floats:
        """Gray levels of a region, as far as it lies within the frame."""
        found: Floats = self.gray[mask & self.known]
        return found

    def percentile(self, mask: Mask, q: float, least: int = 12) -> float:
        """A percentile of a region; NaN where fewer than ``least`` pixels of it are known."""
        found = self.values(mask)
        return nearest_rank(found, q) if len(found) >= least else math.nan

    @cached_property
    def sockets(self) -> Mask:
        """(HEIGHT, WIDTH) `orbits`."""
        return orbits(self.points)

    @cached_property
    def fine(self) -> Floats:
        """(HEIGHT, WIDTH) what is finer than half a centimetre and coarser than the pixels."""
        found: Floats = self.gray - cv2.GaussianBlur(self.gray, (0, 0), 0.06 * UNIT)
        return found

    @cached_property
    def sharp(self) -> bool:
        """Whether pixels and focus are fine enough for the shape of an eye to be seen."""
        if self.unit < SHARP:
            return False
        inner = polygon(self.points) & self.known
        fine = (self.raw - cv2.GaussianBlur(self.raw, (0, 0), 1.5))[inner].std()
        coarse = (self.gray - cv2.GaussianBlur(self.gray, (0, 0), 0.15 * UNIT))[inner].std()
        return bool(fine > LEAST_FINE * coarse)

    @cached_property
    def canthi(self) -> list[float]:
        """Gray levels of the inner corners of the seen eyes, as far as they are known."""
        found = [self.percentile(canthus(self.points, side), 90) for side in self.eyes()]
        return [value for value in found if not math.isnan(value)]

    def turned(self, degrees: float) -> bool:
        """Whether the head is turned by more than that; a head of unknown pose counts as turned."""
        return not abs(self.yaw) <= degrees

    def share(self, gray: float) -> float:
        """A difference of gray levels as a share of the skin's spread."""
        return gray / self.spread

    def eyes(self) -> list[int]:
        """The eyes that look at the camera and are not covered: 0 at image left, 1 at image right."""
        facing = not self.yaw < -FAR_SIDE, not self.yaw > FAR_SIDE
        open_to_view = [side for side in range(2) if facing[side] and self.covered[EYES[side]].mean() < 0.2]
        return [] if self.glasses else open_to_view

    @cached_property
    def forehead_seen(self) -> bool:
        """Whether the forehead is as warm as most of the skin, as it is unless hair or a hat covers it."""
        return not self.percentile(forehead(self.points) & self.skin, 50, least=20) < self.level

    @property
    def mouth_seen(self) -> bool:
        """Whether neither mask nor hair covers the mouth."""
        return not self.mask and bool(self.covered[MOUTH].mean() < 0.3)


@lru_cache(maxsize=1)
def face_map(frame: FrameView) -> FaceMap | None:
    """The map of a frame's main face; None without landmarks, or where the face is too small."""
    if frame.landmarks is None or not np.isfinite(frame.landmarks).all():
        return None
    landmarks = frame.landmarks.astype(np.float64)
    eyes, mouth = landmarks[36:48].mean(0), landmarks[48:68].mean(0)
    unit = float(np.hypot(*(mouth - eyes)))
    if unit < MIN_UNIT or unit > 4 * max(frame.gray.shape):
        return None
    middle = np.array(CENTRE)
    matrix = similarity([eyes, mouth], [middle - UNIT / 2 * DOWN, middle + UNIT / 2 * DOWN])
    raw = warp(frame.gray, matrix, WIDTH, HEIGHT).astype(np.float32)
    known = _inside_frame(frame.gray.shape, matrix)
    points = apply(matrix, landmarks)
    states = np.full(68, 3, np.uint8) if frame.states is None else frame.states
    covered = states == OBJECT_OCCLUDED
    glasses = frame.attributes.get("glasses") == "glasses" or bool(covered[36:48].mean() > 0.6)
    mask = frame.attributes.get("mask") == "mask" or bool(covered[48:68].mean() > 0.8)
    gray: Floats = cv2.GaussianBlur(raw, (0, 0), 1.0).astype(np.float32)
    skin = _skin(points, glasses, mask) & known
    inner = gray[skin]
    if len(inner) < 200:
        return None
    low, level, high = (nearest_rank(inner, q) for q in (5, 50, 95))
    plain = gray[skin & ~grown(orbits(points) | nose(points) | lips(points), 0.05)]
    if len(plain) < 200:
        return None
    background = _background(frame)
    return FaceMap(
        gray=gray,
        raw=raw,
        known=known,
        points=points,
        hidden=covered | (states == SELF_OCCLUDED),
        covered=covered,
        yaw=math.nan if frame.pose is None else float(frame.pose[0]),
        unit=unit,
        margin=_margin(landmarks[27:], frame.gray.shape) / unit,
        upright=_upright(frame.gray, landmarks, unit),
        skin=skin,
        level=float(level),
        warm=nearest_rank(plain, 90),
        spread=max(float(high - low), MIN_SPREAD),
        background=background,
        cold=float(np.median(background) if len(background) >= 200 else np.percentile(frame.gray[::4, ::4], 5)),
        glasses=glasses,
        mask=mask,
    )


def nearest_rank(values: Floats, q: float) -> float:
    """The percentile of values (K,), K at least 1, without interpolation: several times faster than with it.

    >>> nearest_rank(np.arange(11, dtype=np.float32), 90)
    9.0
    """
    rank = round(q / 100 * (len(values) - 1))
    return float(np.partition(values, rank)[rank])


def polygon(points: ArrayLike) -> Mask:
    """Pixels of the map within the convex hull of points (K, 2)."""
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    hull = cv2.convexHull(np.asarray(points, np.float32).round().astype(np.int32).clip(-9999, 9999))
    cv2.fillConvexPoly(mask, hull, 1)
    return mask.astype(bool)


def disc(centre: ArrayLike, radius: float) -> Mask:
    """Pixels of the map within ``radius`` units around a point (2,)."""
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    x, y = np.asarray(centre, np.float64).round().clip(-9999, 9999)
    cv2.circle(mask, (int(x), int(y)), max(1, round(radius * UNIT)), 1, -1)
    return mask.astype(bool)


def grown(mask: Mask, radius: float) -> Mask:
    """A mask with all that lies within ``radius`` units of it."""
    size = 2 * max(1, round(radius * UNIT)) + 1
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))
    return cv2.dilate(mask.astype(np.uint8), kernel).astype(bool)


def forehead(points: Floats) -> Mask:
    """Skin from a little above the brows to a fifth of a head above them; hair may hang into it."""
    brows = points[18:26]
    return polygon(np.concatenate([brows - 0.16 * UNIT * DOWN, brows[1:-1] - 0.62 * UNIT * DOWN]))


def cheek(points: Floats, side: int) -> Mask:
    """The cheek at image left (0) or right (1): from the lower lid to the mouth, beside the nose."""
    lid, jaw, wing, corner = ((40, 41), (2, 4), 31, 48) if side == 0 else ((46, 47), (14, 12), 35, 54)
    top = points[list(lid)].mean(0) + 0.22 * UNIT * DOWN
    edge = points[list(jaw)]
    inner = np.stack([points[wing], points[corner]])
    toward = edge.mean(0) - inner.mean(0)
    return polygon([top, *(edge - 0.22 * toward), *(inner + 0.14 * toward)])


def eye(points: Floats, side: int) -> Mask:
    """The lid opening at image left (0) or right (1)."""
    return polygon(points[EYES[side]])


def orbit(points: Floats, side: int) -> Mask:
    """Eye, lids and the skin around them, up to the brow."""
    lids = points[EYES[side]]
    return polygon(np.concatenate([lids + 0.16 * UNIT * DOWN, lids - 0.10 * UNIT * DOWN, lids]))


def orbits(points: Floats) -> Mask:
    """Both orbits with the inner corners of the eyes."""
    return orbit(points, 0) | orbit(points, 1) | canthus(points, 0) | canthus(points, 1)


def canthus(points: Floats, side: int) -> Mask:
    """The inner corner of the eye, about 6 mm around."""
    return disc(points[42 if side else 39], 0.10)


def nose(points: Floats) -> Mask:
    """Tip and wings of the nose."""
    return polygon(np.concatenate([points[29:31], points[[31, 35]] - 0.10 * UNIT * DOWN])) | disc(points[30], 0.13)


def lips(points: Floats) -> Mask:
    """The lips and what is between them."""
    return polygon(points[48:60])


def chin(points: Floats) -> Mask:
    """Skin between lower lip and chin."""
    low = points[8] - 0.08 * UNIT * DOWN
    return polygon(
        [
            points[58] + 0.15 * UNIT * DOWN,
            points[56] + 0.15 * UNIT * DOWN,
            low - np.array([9, 3]),
            low + np.array([9, -3]),
        ]
    )


def lower_face(points: Floats) -> Mask:
    """What a mask covers for certain: from the lower half of the nose to the chin."""
    return polygon(np.concatenate([points[3:14], points[29:30]]))


def beneath_mask(points: Floats) -> Mask:
    """All that a mask may cover, however high it sits."""
    return grown(polygon(np.concatenate([points[1:16], points[28:29]])), 0.12)


def lens(points: Floats, side: int) -> Mask:
    """What a lens covers for certain: the eye and a little more."""
    return grown(eye(points, side), 0.06)


def scalp(points: Floats) -> Mask:
    """What lies above the forehead: hair, headwear, or the scalp of the bald; beyond it there may be background."""
    brows = points[18:26]
    return polygon(np.concatenate([brows[1:-1] - 0.75 * UNIT * DOWN, brows[2:-2] - 1.25 * UNIT * DOWN]))


def _margin(points: NDArray[np.float64], shape: tuple[int, ...]) -> float:
    low, high = points.min(0), np.array(shape[1::-1]) - points.max(0)
    return float(min(low.min(), high.min()))


def _upright(gray: NDArray[np.uint8], points: NDArray[np.float64], unit: float) -> Floats:
    aside = np.array([unit, 0])
    left, top = np.floor((points.min(0) - aside).clip(0)).astype(int)
    right, bottom = np.ceil(points.max(0) + aside).astype(int)
    cut = gray[top : max(bottom, top + 1), left : max(right, left + 1)]
    if not cut.size:
        return np.zeros((1, 1), np.float32)
    scale = min(1.0, UNIT / unit)
    width, height = (max(1, round(length * scale)) for length in cut.shape[::-1])
    return resize(cut, width, height).astype(np.float32)


def _inside_frame(shape: tuple[int, ...], matrix: NDArray[np.float64]) -> Mask:
    height, width = shape[:2]
    corners = apply(matrix, [[1, 1], [width - 1, 1], [width - 1, height - 1], [1, height - 1]])
    return polygon(corners)


def _skin(points: Floats, glasses: bool, mask: bool) -> Mask:
    face = polygon(np.concatenate([points[:17], points[18:26] - 0.45 * UNIT * DOWN]))
    inner = polygon(points[:17].mean(0) + 0.88 * (points[:17] - points[:17].mean(0))) & face
    inner |= forehead(points)
    if glasses:
        for side in range(2):
            inner &= ~grown(eye(points, side), 0.30)
    if mask:
        inner &= ~grown(lower_face(points), 0.10)
    return inner


def _background(frame: FrameView) -> Floats:
    """Every fourth gray level left and right of the head, from the height of the eyes upward."""
    points = np.asarray(frame.landmarks)
    low, high = points.min(0), points.max(0)
    reach = 0.55 * max(high - low)
    small = frame.gray[::4, ::4]
    bottom = max(0, int(points[36:48, 1].mean() // 4))
    left, right = max(0, int((low[0] - reach) // 4)), max(0, int((high[0] + reach) // 4))
    sides = np.concatenate([small[:bottom, :left].ravel(), small[:bottom, right:].ravel()])
    return sides.astype(np.float32)
