"""Heat where a body or its surroundings cannot be that warm, seen on the gray levels of one frame.

8-bit frames come out of gain controls that nobody recorded, so nothing here is a temperature: what is compared is the
order of regions, and differences are shares of the face's own spread, the gray levels between its 5 % coldest and
hottest skin: 3.0 K, 1.9 to 4.1 K in nine of ten stills of a phantom release.

What is known of healthy faces at rest, in °C: inner canthus 34.3 ± 0.7, forehead 33.4 ± 0.8, cornea 33.3 ± 0.8, outer
canthus 32.8 ± 0.7 (20 adults, Translational Vision Science & Technology 2022); forehead about 34 and cheek about 32 are
the warmest and coldest parts but for the nose (Ariyaratnam and Rood, Journal of Dentistry 1990), which follows the room
and is half a kelvin to several below the forehead. Glass and plastic lenses are opaque at 8 to 14 µm and show their own
temperature, which is near the room's; so do hair, hats and masks. The limbus is 0.45 K above the middle of the cornea
(Efron et al., Current Eye Research 1989): no pupil shines.

Where skin is clipped to white nothing can be seen to be hotter: the image checks say so.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial

import cv2
import numpy as np

from .kinds import FrameView, Kind, Scored
from .measures import Measure, measured
from .regions import (
    MIN_SPREAD,
    UNIT,
    FaceMap,
    Floats,
    beneath_mask,
    canthus,
    disc,
    eye,
    grown,
    lens,
    lips,
    lower_face,
    nearest_rank,
    nose,
    orbit,
    scalp,
)

SPREAD = "share of the skin's spread"
PROFILE = 45.0  # degrees of yaw beyond which regions at the eyes are too narrow to be told apart
SMALL = 12.0  # pixels from eyes to mouth below which eyes and nostrils are no regions any more
CLOSED = 0.12  # gap over width of the inner lips up to which no inside of a mouth is seen


def frame_scores(frame: FrameView) -> Iterator[Scored]:
    """A score for each kind that can be told on this frame's main face.

    >>> black = np.zeros((64, 64), np.uint8)
    >>> list(frame_scores(FrameView(0, black, black)))  # no landmarks, nothing to tell
    []
    """
    yield from measured(_MEASURES, frame)


def _lenses(face: FaceMap) -> float:
    if not face.glasses or face.turned(PROFILE):
        return math.nan
    medians = [face.percentile(lens(face.points, side), 50) for side in range(2)]
    return face.share(float(np.nanmax(medians)) - face.warm) if not np.isnan(medians).all() else math.nan


def _hottest(face: FaceMap) -> float:
    """Gray level of the warmest skin a face has: inner canthi or forehead."""
    return max([face.warm, *face.canthi])


def _eyes_told(face: FaceMap) -> list[int]:
    return [] if face.turned(PROFILE) or face.unit < SMALL else face.eyes()


def _pupils(face: FaceMap) -> float:
    scores = []
    for side in _eyes_told(face):
        corner = canthus(face.points, side)
        within = face.percentile(eye(face.points, side) & ~grown(corner, 0.04), 80, least=6)
        scores.append(within - max(face.percentile(corner, 90), face.warm))
    return face.share(float(np.nanmax(scores))) if scores and not np.isnan(scores).all() else math.nan


def _orbits(face: FaceMap) -> float:
    """Mean excess of the hotter socket over nearly all other skin; the cold nose does not count for the spread."""
    if not face.forehead_seen:
        return math.nan
    plain = face.skin & ~grown(face.sockets, 0.12)
    hot = face.percentile(plain, 97)
    low, high = (face.percentile(plain & ~grown(nose(face.points), 0.15), q) for q in (5, 95))
    scores = []
    for side in _eyes_told(face):
        found = face.values(orbit(face.points, side) | canthus(face.points, side))
        if len(found) > 60:
            scores.append(float(np.maximum(found - hot, 0).mean()))
    return max(scores) / max(high - low, MIN_SPREAD) if scores else math.nan


def _canthus_peak(face: FaceMap) -> float:
    scores = []
    for side in [] if face.turned(25) else _eyes_told(face):
        centre = face.points[42 if side else 39]
        around = disc(centre, 0.32) & ~disc(centre, 0.15)
        scores.append(face.percentile(canthus(face.points, side), 90) - face.percentile(around, 50))
    return face.share(float(np.nanmin(scores))) if scores and not np.isnan(scores).all() else math.nan


def _hair(face: FaceMap) -> float:
    above = scalp(face.points) & (face.gray > face.cold + 0.4 * (face.level - face.cold))
    return face.share(face.percentile(above, 70, least=60) - face.warm)


def _nose(face: FaceMap) -> float:
    if face.mask or face.turned(PROFILE):
        return math.nan
    return face.share(face.percentile(nose(face.points), 70) - _hottest(face))


def _nostrils(face: FaceMap) -> float:
    if face.mask or face.turned(PROFILE) or face.unit < SMALL:
        return math.nan
    rims = [face.percentile(disc(face.points[i], 0.06), 75, least=4) for i in (32, 34)]
    return face.share(max(rims) - _hottest(face))


def _lips(face: FaceMap) -> float:
    inner = face.points[60:68]
    gap = np.hypot(*(inner[[1, 2, 3]] - inner[[7, 6, 5]]).T).mean() / max(1e-6, np.hypot(*(inner[0] - inner[4])))
    if not face.mouth_seen or face.turned(PROFILE) or gap > CLOSED:
        return math.nan
    return face.share(face.percentile(lips(face.points), 60) - _hottest(face))


def _mask(face: FaceMap) -> float:
    """Beside the sockets, because a forehead may be hidden by hair: with glasses on top no skin is certain."""
    if not face.mask or face.glasses or face.turned(PROFILE):
        return math.nan
    skin = (face.skin | face.sockets) & ~beneath_mask(face.points)
    return face.share(face.percentile(lower_face(face.points), 50) - face.percentile(skin, 90, least=200))


def _background(face: FaceMap) -> float:
    if len(face.background) < 200:
        return math.nan
    return float((face.background > face.level).mean())


def _patch(face: FaceMap) -> float:
    """How far the hottest 5 mm of the skin stand out from the inner canthi and all skin further than 25 mm away."""
    if face.turned(PROFILE):
        return math.nan
    soft: Floats = cv2.GaussianBlur(face.gray, (0, 0), 0.08 * UNIT).astype(np.float32)
    skin = face.skin & ~grown(face.sockets, 0.12)
    skin = cv2.erode(skin.astype(np.uint8), np.ones((7, 7), np.uint8)) > 0
    if face.mouth_seen:
        skin &= ~grown(lips(face.points), 0.08)  # an open mouth is warm within
    if skin.sum() < 300:
        return math.nan
    row, column = np.unravel_index(np.where(skin, soft, -1).argmax(), soft.shape)
    rest = skin & ~disc((column, row), 0.40)
    if rest.sum() < 200:
        return math.nan
    reference = max([nearest_rank(soft[rest], 97), *face.canthi])
    return face.share(float(soft[row, column]) - reference)


_kind = partial(Kind, group="physics", unit=SPREAD)

# thresholds: beyond all or 99.5 % of the clean frames of two releases and most real images, and below what planted
# faults reach; the numbers are in docs/checks.md
_MEASURES: tuple[Measure, ...] = (
    Measure(
        _kind(
            "lenses-warm",
            meaning="Lenses are as warm as skin; glass and plastic are opaque here and near the room's temperature.",
            threshold=0.0,
        ),
        _lenses,
        "the lenses are {:+.2f} of the skin's spread from the warmest tenth of the skin; they ought to be far below",
    ),
    Measure(
        _kind(
            "pupils-glowing",
            meaning="The eyeball outshines the inner corner of the eye and the forehead, which are warmer.",
            threshold=0.08,
        ),
        _pupils,
        "an eye is {:.2f} of the skin's spread above both its inner corner and the forehead",
    ),
    Measure(
        _kind(
            "orbits-glowing",
            meaning="Heat fills the whole eye socket instead of a small peak at the inner corner of the eye.",
            threshold=0.12,
        ),
        _orbits,
        "an eye socket is on the mean {:.2f} of the spread of forehead and cheeks above nearly all of them",
    ),
    Measure(
        _kind(
            "canthus-cold",
            meaning="The inner corner of the eye, the warmest place of a face, is no warmer than the skin around it.",
            threshold=-0.10,
            higher_is_worse=False,
        ),
        _canthus_peak,
        "the inner corner of an eye is {:+.2f} of the skin's spread from the skin around it",
    ),
    Measure(
        _kind(
            "hair-warm",
            meaning="Hair, hat or scalp are warmer than the forehead; hair insulates and is nearer to the room.",
            threshold=0.15,
        ),
        _hair,
        "what lies above the forehead is {:+.2f} of the skin's spread from the warmest tenth of the skin",
    ),
    Measure(
        _kind(
            "nose-warm",
            meaning="The nose is warmer than inner canthi and forehead; it is the coldest part of a face, or as warm.",
            threshold=0.10,
        ),
        _nose,
        "the nose is {:.2f} of the skin's spread above inner canthi and forehead",
    ),
    Measure(
        _kind(
            "nostrils-glowing",
            meaning="The nostrils outshine inner canthi and forehead; breath is no warmer than the body.",
            threshold=0.30,
        ),
        _nostrils,
        "a nostril is {:.2f} of the skin's spread above inner canthi and forehead",
    ),
    Measure(
        _kind(
            "lips-glowing",
            meaning="The closed mouth is warmer than inner canthi and forehead.",
            threshold=0.25,
        ),
        _lips,
        "the closed lips are {:.2f} of the skin's spread above inner canthi and forehead",
    ),
    Measure(
        _kind(
            "mask-warm",
            meaning="The mask is warmer than the skin beside it, which warms it.",
            threshold=0.13,
        ),
        _mask,
        "the mask is {:+.2f} of the skin's spread from the warmest tenth of the skin beside it",
    ),
    Measure(
        _kind(
            "background-warm",
            meaning="Much of the background is warmer than the skin: the polarity is wrong, or the scene is no room.",
            threshold=0.25,
            unit="share of the background",
        ),
        _background,
        "{:.0%} of what is left and right of the head is warmer than half of the skin",
    ),
    Measure(
        _kind(
            "heat-patch",
            meaning="A patch of forehead or cheek outshines all other skin and the inner canthi, as no flush does.",
            threshold=0.40,
        ),
        _patch,
        "a patch is {:.2f} of the skin's spread above all skin further than 25 mm away",
    ),
)
KINDS: tuple[Kind, ...] = tuple(measure.kind for measure in _MEASURES)
