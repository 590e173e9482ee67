"""Image checks on gray levels: clipping, contrast, number of levels, polarity, colour where gray is meant.

The 8-bit levels of a thermal frame are what a gain control made of temperatures. What it clipped or merged is lost for
every later use, and what it inverted or coloured is no temperature order at all.
"""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np
from numpy.typing import NDArray

from .kinds import FrameView, Kind, Scored

Gray = NDArray[np.uint8]

# Thresholds: see docs/checks.md for the clean distributions and the planted faults they stand between.
CLIPPED_HOT = Kind(
    "clipped-hot",
    "image",
    "The warmest skin is clipped: its temperatures differ in the scene and are one level in the frame.",
    0.25,
    "share of the face at the frame's highest level",
)
CLIPPED_FRAME = Kind(
    "clipped-frame",
    "image",
    "Much of the whole frame is clipped at the highest level, background and clothes included.",
    0.15,
    "share of the frame at its highest level",
)
CLIPPED_COLD = Kind(
    "clipped-cold",
    "image",
    "Part of the face is crushed into the lowest level, as if it were as cold as the coldest thing in view.",
    0.1,
    "share of the face at the frame's lowest level",
)
LOW_CONTRAST = Kind(
    "low-contrast",
    "image",
    "The histogram has collapsed: the frame is empty, or its temperatures share a handful of levels.",
    30.0,
    "gray levels between the 1st and the 99th percentile",
    higher_is_worse=False,
)
POSTERISED = Kind(
    "posterised",
    "image",
    "Few of the levels between dark and bright are used, so that smooth skin temperatures turn into steps.",
    0.5,
    "share of the levels between the 1st and 99th percentile that have half their neighbours' pixels",
    higher_is_worse=False,
)
BLACK_HOT = Kind(
    "black-hot",
    "image",
    "Warm is shown as dark: the polarity is not the white-hot one that labels and models of this set expect.",
    0.1,
    "darkness of the face against its surroundings and of its warm places against its cold ones, share of the range",
)
COLOURED = Kind(
    "coloured",
    "image",
    "A colour palette lies in a field that is meant to be gray, so that levels are no longer in order of temperature.",
    0.002,
    "share of the pixels whose channels differ",
)
KINDS = (CLIPPED_HOT, CLIPPED_FRAME, CLIPPED_COLD, LOW_CONTRAST, POSTERISED, BLACK_HOT, COLOURED)

_CHANNEL_NOISE = 12  # levels that lossy colour coding may put between the channels of a gray pixel
_NEIGHBOURS = 15  # levels of a stretch of the histogram
_BRIGHT, _DARK = 200, 40  # a highest level below, or a lowest above, is no end of the scale but just what was in view
_WARM = (27, 39, 42)  # landmarks: bridge of the nose and the inner canthi, over arteries close to the skin
_COLD = (19, 24, 29, 30)  # brows are hair, and the nose's tip is cooled by breath and air


def frame_scores(frame: FrameView) -> Iterator[Scored]:
    """Scores of `KINDS` for one frame; those about the face are NaN where there is no box."""
    counts = cv2.calcHist([frame.gray], [0], None, [256], [0, 256]).ravel().astype(np.int64)
    low, high = _percentile(counts, 0.01), _percentile(counts, 0.99)
    face = face_region(frame)
    yield from _clipping(frame.gray, face, counts)
    yield Scored(LOW_CONTRAST.code, float(high - low), detail=f"98 % of the pixels have levels {low} to {high}")
    yield _levels(counts, low, high)
    yield _polarity(frame, max(high - low, 1))
    yield _colours(frame)


def face_region(frame: FrameView) -> Gray | None:
    """The middle of the face box, where there is skin whatever the outline; None where it has no 16 pixels."""
    if frame.bbox is None or not np.isfinite(frame.bbox).all():
        return None
    x, y, w, h = (float(v) for v in frame.bbox)
    height, width = frame.gray.shape
    top, bottom = (int(np.clip(v, 0, height)) for v in (y + 0.2 * h, y + 0.85 * h))
    left, right = (int(np.clip(v, 0, width)) for v in (x + 0.2 * w, x + 0.8 * w))
    region = frame.gray[top:bottom, left:right]
    return region if region.size >= 16 else None


def _percentile(counts: NDArray[np.int64], share: float) -> int:
    return int(np.searchsorted(np.cumsum(counts), share * counts.sum()))


def _clipping(gray: Gray, face: Gray | None, counts: NDArray[np.int64]) -> Iterator[Scored]:
    used = np.flatnonzero(counts)
    bottom, top = int(used[0]), int(used[-1])
    hot, cold = top >= _BRIGHT and top > bottom, bottom <= _DARK and top > bottom
    # a codec moves a clipped level by one or two
    share = counts[max(top - 2, 0) :].sum() / gray.size if hot else 0.0
    yield Scored(CLIPPED_FRAME.code, float(share), detail=f"{share:.0%} of the frame is at level {top}")
    if face is None:
        return
    share = float(np.mean(face >= top - 2)) if hot else 0.0
    yield Scored(CLIPPED_HOT.code, share, detail=f"{share:.0%} of the face is at level {top}")
    share = float(np.mean(face <= bottom + 2)) if cold else 0.0
    yield Scored(CLIPPED_COLD.code, share, detail=f"{share:.0%} of the face is at level {bottom}")


def _levels(counts: NDArray[np.int64], low: int, high: int) -> Scored:
    """Share of the levels that have at least half as many pixels as their neighbours have on average."""
    between = counts[low + 2 : high - 1].astype(np.float64)  # clipping puts spikes at the ends
    if len(between) < 2 * _NEIGHBOURS:
        return Scored(POSTERISED.code, float("nan"))
    smooth = np.convolve(between, np.full(_NEIGHBOURS, 1 / _NEIGHBOURS), "same")
    used = int((between > 0.5 * smooth).sum())
    return Scored(POSTERISED.code, used / len(between), detail=f"{used} of {len(between)} levels are used")


def _polarity(frame: FrameView, span: int) -> Scored:
    face = face_region(frame)
    if face is None or frame.bbox is None:
        return Scored(BLACK_HOT.code, float("nan"))
    score, said = float("nan"), []
    around = _surroundings(frame.gray, frame.bbox)
    if around is not None:
        score = (around - float(np.median(face))) / span
        said.append(f"the face is {_darker(score)} than what is around it")
    if frame.landmarks is not None and np.isfinite(frame.landmarks).all():
        warm, cold = _at(frame, _WARM), _at(frame, _COLD)
        if warm and cold:
            within = (float(np.median(cold)) - float(np.median(warm))) / span
            score = np.nansum([score, within])
            said.append(f"its warm places are {_darker(within)} than brows and tip of the nose")
    return Scored(BLACK_HOT.code, float(score), detail="; ".join(said))


def _darker(share: float) -> str:
    return f"{abs(share):.0%} of the range {'darker' if share > 0 else 'brighter'}"


def _surroundings(gray: Gray, bbox: NDArray[np.float32]) -> float | None:
    """Median level of the strips left and right of the head and above it; None where they have no 16 pixels."""
    x, y, w, h = (float(v) for v in bbox)
    height, width = gray.shape
    parts = [
        gray[: max(int(y - 0.35 * h), 0)],
        gray[: int(np.clip(y + 0.7 * h, 0, height)), : max(int(x - 0.45 * w), 0)],
        gray[: int(np.clip(y + 0.7 * h, 0, height)), min(int(x + 1.45 * w), width) :],
    ]
    pixels = np.concatenate([p[::2, ::2].ravel() for p in parts])
    return float(np.median(pixels)) if pixels.size >= 16 else None


def _at(frame: FrameView, points: tuple[int, ...]) -> list[float]:
    """Mean levels of small squares at those landmarks that are in the frame and, as far as known, visible."""
    assert frame.landmarks is not None
    height, width = frame.gray.shape
    size = max(int(np.ptp(frame.landmarks[:, 0]) / 60), 1)
    found = []
    for k in points:
        if frame.states is not None and frame.states[k] != 3:
            continue
        x, y = (int(v) for v in frame.landmarks[k])
        if 0 <= x < width and 0 <= y < height:
            found.append(float(frame.gray[max(y - size, 0) : y + size + 1, max(x - size, 0) : x + size + 1].mean()))
    return found


def _colours(frame: FrameView) -> Scored:
    if frame.pixels.ndim == 2:
        return Scored(COLOURED.code, 0.0)
    red, green, blue = cv2.split(np.ascontiguousarray(frame.pixels[..., :3]))
    apart = cv2.max(cv2.absdiff(red, green), cv2.absdiff(green, blue))
    share = float(np.mean(apart > _CHANNEL_NOISE))
    return Scored(COLOURED.code, share, detail=f"{share:.0%} of the pixels have unequal channels")
