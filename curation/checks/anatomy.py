"""Faces that are broken: cut, doubled, mirrored, with parts missing, without structure, or warm on one side only.

Differences are shares of the face's own spread (see `thermvision.curation.checks.physics`), lengths are shares of the
distance from eyes to mouth (see `thermvision.curation.checks.regions`).

The sides of a healthy face differ by 0.1 K or less on the mean (Christensen et al. 2012; Rustemeyer et al. 2007), and
0.5 K is taken for a sign of disease, a sixth of a spread of 3 K. Landmarks are not that exact, and the sides of a clean
phantom differ by up to 0.3 of the spread: only what is well beyond that is a finding.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial

import cv2
import numpy as np
from numpy.typing import NDArray

from .kinds import FrameView, Kind, Scored
from .measures import Measure, measured
from .regions import (
    DOWN,
    EYES,
    HEIGHT,
    MIN_SPREAD,
    UNIT,
    WIDTH,
    FaceMap,
    Floats,
    Mask,
    cheek,
    chin,
    disc,
    eye,
    forehead,
    grown,
    lips,
    nearest_rank,
    orbit,
    polygon,
)

FRONTAL = 15.0  # degrees of yaw up to which both sides of a face look alike
TURNED = 15.0  # and from which on a mirror image of a half is no accident
PROFILE = 45.0
EYE_WINDOW = (24, 14)  # pixels of the map: the lids of one eye
FAINT = 0.7  # amplitude of another place over that of the eye below which it is no second eye


def frame_scores(frame: FrameView) -> Iterator[Scored]:
    """A score for each kind that can be told on this frame's main face.

    >>> black = np.zeros((64, 64), np.uint8)
    >>> list(frame_scores(FrameView(0, black, black)))  # no landmarks, nothing to tell
    []
    """
    yield from measured(_MEASURES, frame)


def _margin(face: FaceMap) -> float:
    return face.margin


def _off_the_face(face: FaceMap) -> float:
    """Share of the seen points of brow, eyes, nose and mouth under which there is no skin but background."""
    limit = face.cold + 0.35 * (face.warm - face.cold)
    seen = [i for i in range(27, 68) if not face.hidden[i]]
    columns, rows = np.floor(face.points[seen]).astype(int).T
    inside = (columns >= 0) & (rows >= 0) & (columns < WIDTH) & (rows < HEIGHT)
    inside[inside] = face.known[rows[inside], columns[inside]]
    if inside.sum() < 10 or face.warm - face.cold < MIN_SPREAD:
        return math.nan
    return float((face.gray[rows[inside], columns[inside]] < limit).mean())


def _asymmetry(face: FaceMap) -> float:
    if face.turned(FRONTAL):
        return math.nan
    points, midline = face.points, np.arange(WIDTH)[None, :] + 0.5 < face.points[27, 0]
    pairs: list[tuple[float, float]] = []
    if len(face.eyes()) == 2:
        pairs.append((face.percentile(orbit(points, 0), 50), face.percentile(orbit(points, 1), 50)))
    if not face.mask and not face.covered[2:15].any():
        pairs.append((face.percentile(cheek(points, 0), 50), face.percentile(cheek(points, 1), 50)))
        below = chin(points)
        pairs.append((face.percentile(below & midline, 50), face.percentile(below & ~midline, 50)))
    brow = forehead(points)
    # three quarters of each half: hair may hang into it
    pairs.append((face.percentile(brow & midline, 75), face.percentile(brow & ~midline, 75)))
    differences = [abs(a - b) for a, b in pairs if not math.isnan(a - b)]
    return face.share(max(differences)) if differences else math.nan


def _structure(face: FaceMap) -> float:
    """Spread of the skin over its distance from the background."""
    values = face.values(face.skin)
    contrast = face.level - face.cold
    low, high = (nearest_rank(values, q) for q in (5, 95))
    return (high - low) / contrast if contrast > 2 * MIN_SPREAD else math.nan


def _noise(face: FaceMap) -> float:
    """Standard deviation, by the median, of what is finer than 3 mm on skin away from eyes and mouth."""
    skin = face.skin & ~grown(face.sockets, 0.08) & ~grown(lips(face.points), 0.10)
    fine = (face.raw - cv2.GaussianBlur(face.raw, (0, 0), 1.5))[skin]
    return face.share(1.4826 * float(np.median(np.abs(fine)))) if len(fine) >= 300 else math.nan


def _least_feature(face: FaceMap) -> float:
    """Of the eyes and the mouth, the structure of that which has least of it."""
    if face.turned(PROFILE) or not face.sharp:
        return math.nan
    regions = [grown(eye(face.points, side), 0.05) for side in face.eyes()]
    if face.mouth_seen:
        regions.append(grown(lips(face.points), 0.05))
    fine = face.fine
    scores = [float(fine[r & face.known].std()) for r in regions if (r & face.known).sum() > 40]
    return face.share(min(scores)) if scores else math.nan


def _second_eye(face: FaceMap) -> float:
    """The likeness of the better seen eye, or its mirror image, to another place of the face."""
    if face.turned(PROFILE) or not face.sharp:
        return math.nan
    points, fine = face.points, face.fine
    middle = points[:17].mean(0)
    where = polygon(np.concatenate([middle + 0.85 * (points[:17] - middle), points[18:26] - 0.55 * UNIT * DOWN]))
    centres = [points[list(EYES[side])].mean(0) for side in range(2)]
    for centre in centres:
        where &= ~disc(centre, 0.45)
    scores = [_likeness(fine, centres[side], where & face.known) for side in face.eyes()]
    return float(np.nanmax(scores)) if scores and not np.isnan(scores).all() else math.nan


def _likeness(fine: Floats, centre: NDArray[np.float32], where: Mask) -> float:
    """The largest correlation of the window at ``centre`` and others centred in ``where``; faint ones count less."""
    width, height = EYE_WINDOW
    left, top = (round(float(c) - s / 2) for c, s in zip(centre, EYE_WINDOW, strict=True))
    # no further than places that are allowed and windows that lie within
    allowed = where[height // 2 : HEIGHT - height // 2 + 1, width // 2 : WIDTH - width // 2 + 1]
    if left < 0 or top < 0 or left + width > WIDTH or top + height > HEIGHT or not allowed.any():
        return math.nan
    part = fine[top : top + height, left : left + width]
    x, y, wide, high = cv2.boundingRect(allowed.astype(np.uint8))  # nowhere else is anything compared
    allowed, fine = allowed[y : y + high, x : x + wide], fine[y : y + high + height - 1, x : x + wide + width - 1]
    power = cv2.boxFilter(fine * fine, cv2.CV_32F, EYE_WINDOW, normalize=False)[height // 2 :, width // 2 :]
    energy = float((part * part).sum()) + 1e-6
    best = -1.0
    for template in (part, np.ascontiguousarray(part[:, ::-1])):
        product = cv2.matchTemplate(fine, template, cv2.TM_CCORR)
        there = power[: product.shape[0], : product.shape[1]].clip(1e-6)
        likeness = product / np.sqrt(energy * there) * np.minimum(1, np.sqrt(there / energy) / FAINT)
        best = max(best, float(likeness[allowed[: product.shape[0], : product.shape[1]]].max()))
    return best


def _mirror(face: FaceMap) -> float:
    """The correlation of the turned face's fine structure with its mirror image, at the best upright axis.

    The sum of a row's products at equal distances from an axis is its convolution with itself.
    """
    if not abs(face.yaw) > TURNED or not face.sharp:
        return math.nan
    fine = cv2.GaussianBlur(face.upright, (0, 0), 0.7) - cv2.GaussianBlur(face.upright, (0, 0), 2.0)
    limit = np.percentile(np.abs(fine), 90)
    fine = fine.clip(-limit, limit)  # a few strong edges must not decide
    width = fine.shape[1]
    spectrum = np.fft.rfft(fine, 2 * width, axis=1)
    products = np.fft.irfft((spectrum**2).sum(0), 2 * width)[: 2 * width - 1]
    total = np.concatenate([[0.0], np.cumsum((fine * fine).sum(0))])
    axes = np.arange(2 * width - 1)
    first, last = np.maximum(0, axes - width + 1), np.minimum(axes, width - 1) + 1
    wide = last - first > 1.6 * UNIT * min(1.0, face.unit / UNIT)
    if not wide.any():
        return math.nan
    correlation = products[wide] / (total[last] - total[first] + 1e-6)[wide]
    return float(correlation.max())


_kind = partial(Kind, group="face", unit="share of the skin's spread")

# thresholds: beyond all or 99.5 % of the clean frames of two releases and most real images, and below what planted
# faults reach; the numbers are in docs/checks.md
_MEASURES: tuple[Measure, ...] = (
    Measure(
        _kind(
            "face-cut",
            meaning="Eyes, nose or mouth reach the border of the frame: the face is cut.",
            threshold=0.02,
            unit="distance from the border over that from eyes to mouth",
            higher_is_worse=False,
        ),
        _margin,
        "eyes, nose or mouth end {:+.2f} of the distance from eyes to mouth from the border of the frame{turn}",
    ),
    Measure(
        _kind(
            "face-broken",
            meaning="Where eyes, nose or mouth ought to be there is background: the structure of the face is broken.",
            threshold=0.20,
            unit="share of the points",
        ),
        _off_the_face,
        "{:.0%} of the points of eyes, nose and mouth lie on what is as cold as the background{turn}",
    ),
    Measure(
        _kind(
            "heat-asymmetric",
            meaning="One side of the face is warmer than the other by more than healthy skin allows.",
            threshold=0.40,
        ),
        _asymmetry,
        "forehead, eye, cheek or chin differ by {:.2f} of the skin's spread from side to side",
    ),
    Measure(
        _kind(
            "face-flat",
            meaning="The face has hardly any structure of its own: one level of heat from forehead to chin.",
            threshold=0.06,
            unit="spread of the skin over its distance from the background",
            higher_is_worse=False,
        ),
        _structure,
        "the skin's spread is {:.0%} of its distance from the background",
    ),
    Measure(
        _kind(
            "face-noisy",
            meaning="The skin is covered with grain that no camera adds: heat was made up.",
            threshold=0.12,
        ),
        _noise,
        "grain finer than 3 mm has a standard deviation of {:.2f} of the skin's spread",
    ),
    Measure(
        _kind(
            "feature-missing",
            meaning="Where an eye or the mouth ought to be there is smooth skin.",
            threshold=0.017,
            higher_is_worse=False,
        ),
        _least_feature,
        "the structure of an eye or the mouth is {:.3f} of the skin's spread",
    ),
    Measure(
        _kind(
            "eye-doubled",
            meaning="An eye is there once more, where none belongs.",
            threshold=0.934,
            unit="likeness",
        ),
        _second_eye,
        "another place of the face is like an eye to {:.2f}, and 1 is a copy",
    ),
    Measure(
        _kind(
            "face-mirrored",
            meaning="A turned face is its own mirror image: one half was made from the other.",
            threshold=0.50,
            unit="correlation",
        ),
        _mirror,
        "its fine structure and that of its mirror image correlate with {:.2f}{turn}",
    ),
)
KINDS: tuple[Kind, ...] = tuple(measure.kind for measure in _MEASURES)
