"""Image checks on what a microbolometer and its read-out add: noise, dead and stuck pixels, lines, stripes.

All of them look for structure that no scene has: a lens spreads every point over more than a pixel, and nothing in a
room runs from one edge of the frame to the other in a single row or column.
"""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np
from numpy.typing import NDArray

from .kinds import FrameView, Kind, Scored

Gray = NDArray[np.uint8]
Floats = NDArray[np.float32]

NOISE = Kind(
    "noise",
    "image",
    "Noise is as strong as the temperature differences within a face.",
    5.0,
    "gray levels (standard deviation of the finest detail in the quieter half of the frame)",
)
SALT_AND_PEPPER = Kind(
    "salt-and-pepper",
    "image",
    "Single pixels all over the frame have levels that have nothing to do with their neighbours'.",
    0.001,
    "share of the pixels that stand out alone",
)
DEAD_PIXELS = Kind(
    "dead-pixels",
    "image",
    "Detector pixels that answer always or never were not replaced by their neighbours.",
    5.0,
    "pixels that stand out alone",
)
ROW_STRIPES = Kind(
    "row-stripes",
    "image",
    "Rows have offsets of their own (banding of the read-out) as large as temperature differences within a face.",
    1.8,
    "gray levels (standard deviation of the rows' common offsets)",
)
COLUMN_STRIPES = Kind(
    "column-stripes",
    "image",
    "Columns have offsets of their own: fixed-pattern noise that the camera's calibration should have removed.",
    1.8,
    "gray levels (standard deviation of the columns' common offsets)",
)
STUCK_LINE = Kind(
    "stuck-line",
    "image",
    "A whole row or column of the detector is stuck.",
    8.0,
    "gray levels between the line and both its neighbours, along at least three quarters of it",
)
KINDS = (NOISE, SALT_AND_PEPPER, DEAD_PIXELS, ROW_STRIPES, COLUMN_STRIPES, STUCK_LINE)

# rings around a spot, pixels across, and the gray levels beyond all of the ring that no detail behind a lens reaches
_RINGS = ((3, 24), (5, 48))
_APART = 20  # pixels to the next spot: beads and buttons lie closer together than detector pixels die
_SEGMENTS = 16  # parts of a line; what is part of the scene is in some of them
# pixels that a stripe is seen against, and the quantile over pairs of parts: broad things of the scene are common
_SMOOTH = ((5, 0.5), (11, 0.3), (21, 0.2))
_MANY = 2000  # spots from which on they are all over the frame
_PAIRS = np.triu_indices(_SEGMENTS, 1)
_CLIP = 12.0  # gray levels of a difference from which on it is an edge of the scene


def frame_scores(frame: FrameView) -> Iterator[Scored]:
    """Scores of `KINDS` for one frame."""
    sigma = noise_level(frame.gray)
    yield Scored(NOISE.code, sigma, detail=f"the noise has a standard deviation of {sigma:.1f} gray levels")
    alone, share = lone_pixels(frame.gray)
    yield Scored(SALT_AND_PEPPER.code, share, detail=f"{share:.2%} of the pixels stand out")
    yield Scored(DEAD_PIXELS.code, float(alone), detail=f"{alone} pixels stand out from all their neighbours")
    lines = []
    for kind, gray, name in ((ROW_STRIPES, frame.gray, "row"), (COLUMN_STRIPES, cv2.transpose(frame.gray), "column")):
        if gray.shape[0] < 8 or gray.shape[1] < 4 * _SEGMENTS:
            continue
        narrow = np.asarray(cv2.resize(gray, (4 * _SEGMENTS, len(gray)), interpolation=cv2.INTER_AREA), np.uint8)
        size = max(stripes(narrow, *scale) for scale in _SMOOTH)
        yield Scored(kind.code, size, detail=f"the {name}s' offsets spread by {size:.1f} gray levels")
        lines.append((*stuck_line(narrow), name))
    if lines:
        size, where, name = max(lines)
        yield Scored(STUCK_LINE.code, size, detail=f"{name} {where} is {size:.0f} gray levels off both its neighbours")


def noise_level(gray: Gray) -> float:
    """Standard deviation in gray levels of what a blur of 1.5 pixels removes; a median, so texture hardly counts."""
    rest = cv2.absdiff(gray, cv2.GaussianBlur(gray, (7, 7), 1.5))
    below = np.cumsum(cv2.calcHist([rest], [0], None, [256], [0, 256])) / rest.size
    at = int(np.searchsorted(below, 0.5))
    # rounding put the differences of at - 0.5 to at + 0.5 into one level: the median is interpolated within it
    before = float(below[at - 1]) if at else 0.0
    within = (0.5 - before) / (float(below[at]) - before)
    return 1.4826 * (at - 0.5 + within if at else 0.5 * within)


def lone_pixels(gray: Gray) -> tuple[int, float]:
    """Number of spots of at most 3 × 3 pixels with no other near them, and the share of pixels that are in any spot."""
    spots = np.zeros(gray.shape, np.uint8)
    for size, least in _RINGS:
        ring = np.zeros((size, size), np.uint8)
        ring[[0, -1]] = ring[:, [0, -1]] = 1
        highest, lowest = cv2.dilate(gray, ring), cv2.erode(gray, ring)
        beyond = cv2.max(cv2.subtract(gray, highest), cv2.subtract(lowest, gray))
        cv2.bitwise_or(spots, cv2.threshold(beyond, least, 1, cv2.THRESH_BINARY)[1], spots)
    pixels = cv2.countNonZero(spots)
    if pixels <= 1:
        return pixels, pixels / gray.size
    count, _, _, centres = cv2.connectedComponentsWithStats(spots, connectivity=8)
    alone = 1
    if 2 < count <= _MANY:
        gaps = np.abs(centres[1:, None] - centres[None, 1:]).max(2)
        np.fill_diagonal(gaps, np.inf)
        alone = int((gaps.min(1) > _APART).sum())
    return (count - 1 if count > _MANY else alone), pixels / gray.size


def stripes(narrow: Gray, smooth: int, quantile: float) -> float:
    """Standard deviation in gray levels of the rows' common offsets, from a frame (H, 64) narrowed to `_SEGMENTS` × 4.

    Each row's difference from the mean of ``smooth`` rows around it is taken in `_SEGMENTS` parts of its length. The
    covariance over the rows of two parts is the variance of what they have in common; the ``quantile`` over all pairs
    is 0 in an image whose stripes are part of the scene and so only in some of them.
    """
    height = len(narrow)
    if height < 16 * smooth:
        return 0.0
    rest = cv2.subtract(narrow, cv2.blur(narrow, (1, smooth)), dtype=cv2.CV_32F)
    clipped = np.clip(rest, -_CLIP, _CLIP)
    parts = np.asarray(cv2.resize(clipped, (_SEGMENTS, height), interpolation=cv2.INTER_AREA), np.float32)
    parts = parts - parts.mean(0)
    pairs, rank = (parts.T @ parts)[_PAIRS] / (height - 1), int(quantile * len(_PAIRS[0]))
    common = float(np.partition(pairs, rank)[rank])
    return float(np.sqrt(max(common, 0.0)))


def stuck_line(narrow: Gray) -> tuple[float, int]:
    """Gray levels by which a row of a narrowed frame is off both sides along 3/4 of its length, and its number."""
    rows = narrow.astype(np.int16)
    up, down = rows[2:-2] - rows[:-4], rows[2:-2] - rows[4:]
    size = np.where((up > 0) == (down > 0), np.minimum(np.abs(up), np.abs(down)), 0)
    along = np.partition(size, size.shape[1] // 4, axis=1)[:, size.shape[1] // 4]
    return float(along.max()), int(along.argmax()) + 2
