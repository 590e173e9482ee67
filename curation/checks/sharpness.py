"""Image checks on detail: defocus, motion blur, compression blocks, enlarged pixels."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from .kinds import FrameView, Kind, Scored
from .regions import nearest_rank

Floats = NDArray[Any]  # float32
Gray = NDArray[Any]  # uint8, which is more than the stubs of OpenCV say

BLUR = Kind(
    "blur",
    "image",
    "The frame is out of focus: even its sharpest edges are wide, and canthi and lips mix with what is around them.",
    3.15,
    "width of the sharpest edges, per cent of the head",
)
MOTION_BLUR = Kind(
    "motion-blur",
    "image",
    "The head moved while the detector answered: edges across the movement are wide and those along it are sharp.",
    2.73,
    "width of the edges in the two worst directions beyond that in the best, per cent of the head",
)
BLOCKS = Kind(
    "compression-blocks",
    "image",
    "Compression has cut the frame into blocks of 8 pixels, whose steps are as large as temperature differences.",
    0.7,
    "gray levels by which differences across the blocks' edges exceed those inside",
)
PIXELATED = Kind(
    "pixelated",
    "image",
    "Pixels were enlarged by repeating them: the frame has a fraction of the resolution that it announces.",
    0.28,
    "share of the columns and rows that repeat the one before",
)
KINDS = (BLUR, MOTION_BLUR, BLOCKS, PIXELATED)

_HEAD = 192  # pixels that a larger head is reduced to, so that widths are of the head and cost is bounded
_LEAST_HEAD = 64  # pixels; in a smaller head edges are as wide as the pixels are
_SMOOTH, _OWN_WIDTH = 0.8, 2.7  # pixels of blur against noise, and width of a perfect edge after it
_WINDOW = 21  # pixels around an edge within which its whole contrast is
_TANGENT = np.float32(np.tan(np.pi / 8))  # of four directions, half the angle between two
_FEW = 60  # pixels of edges in a direction below which nothing is said about it
_SHARPEST = 5  # percentile of the widths
_BLOCK = 8  # pixels: of JPEG, and of which H.264's 16 are a multiple
_CLIP = 6  # gray levels above which a difference is an edge of the scene


def frame_scores(frame: FrameView) -> Iterator[Scored]:
    """Scores of `KINDS` for one frame of 32 pixels or more; those of blur are NaN without a face box of 64 pixels."""
    if min(frame.gray.shape) < 32:
        return
    best, worst = edge_widths(frame)
    yield Scored(BLUR.code, best, detail=f"the sharpest edges are {best:.1f} % of the head wide")
    detail = f"edges of two directions are {worst:.1f} % of the head wide, those of another {best:.1f} %"
    yield Scored(MOTION_BLUR.code, worst - best, detail=detail)
    rows, columns = frame.gray, cv2.transpose(frame.gray)
    size = min(block_steps(rows), block_steps(columns))
    yield Scored(BLOCKS.code, size, detail=f"every {_BLOCK}th row and column has a step of {size:.1f} gray levels")
    share = min(repeated_columns(rows), repeated_columns(columns))
    yield Scored(PIXELATED.code, share, detail=f"{share:.0%} of the rows and columns repeat the one before")


def edge_widths(frame: FrameView) -> tuple[float, float]:
    """Widths of the sharpest edges in the best and in the two worst of four directions, in per cent of the head's size.

    An edge's width is the contrast around it over its steepest slope, less what pixels and noise filter add; the 5th
    percentile over all edges of a direction is its width.
    """
    told = frame.bbox is not None and bool(np.isfinite(frame.bbox).all())
    if frame.bbox is None or not told or max(frame.bbox[2:]) < _LEAST_HEAD:
        return float("nan"), float("nan")
    x, y, w, h = (float(v) for v in frame.bbox)
    height, width = frame.gray.shape
    top, bottom = (int(np.clip(v, 0, height)) for v in (y - 0.3 * h, y + 1.2 * h))
    left, right = (int(np.clip(v, 0, width)) for v in (x - 0.3 * w, x + 1.3 * w))
    head: Gray = frame.gray[top:bottom, left:right]
    scale = min(_HEAD / max(w, h), 1.0)
    if min(head.shape) < _WINDOW:
        return float("nan"), float("nan")
    if scale < 1:
        head = cv2.resize(head, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    kernel = np.ones((_WINDOW, _WINDOW), np.uint8)
    contrast = cv2.subtract(cv2.dilate(head, kernel), cv2.erode(head, kernel))
    smooth = cv2.GaussianBlur(head.astype(np.float32), (0, 0), _SMOOTH)
    dx, dy = cv2.Scharr(smooth, cv2.CV_32F, 1, 0, scale=1 / 32), cv2.Scharr(smooth, cv2.CV_32F, 0, 1, scale=1 / 32)
    slope = cv2.magnitude(dx, dy)
    edges = (contrast > 0.3 * float(np.ptp(head))) & (slope > 0.5)
    at = np.flatnonzero(edges.ravel())
    spans: Floats = contrast.ravel()[at] / slope.ravel()[at]
    size, widths = max(w, h) * scale, []
    for direction in _directions(dx.ravel()[at], dy.ravel()[at]):
        of_it = spans[direction]
        if len(of_it) >= _FEW:
            widths.append(100 * max(nearest_rank(of_it, _SHARPEST) - _OWN_WIDTH, 0.0) / size)
    if len(widths) < 3:
        return float("nan"), float("nan")
    widths.sort()
    # one direction may have no sharp edges in the scene; a movement widens two of four
    return widths[0], (widths[-1] + widths[-2]) / 2


def _directions(dx: Floats, dy: Floats) -> tuple[NDArray[np.bool_], ...]:
    """Which of the slopes (K,) run across, down one diagonal, down, and down the other: each half a right angle wide.

    >>> [d.tolist().index(True) for d in _directions(np.float32([1, 1, 0, 1]), np.float32([0, 1, 1, -1]))]
    [0, 1, 2, 3]
    """
    across, down = np.abs(dx), np.abs(dy)
    flat, steep = down <= _TANGENT * across, across < _TANGENT * down
    slanted, falling = ~(flat | steep), (dx > 0) == (dy > 0)
    return flat, slanted & falling, steep, slanted & ~falling


def block_steps(gray: Gray) -> float:
    """Gray levels by which steps between columns 8 apart exceed those between all others; slopes do not count."""
    if gray.shape[1] < 8 * _BLOCK:
        return 0.0
    some = np.ascontiguousarray(gray[::2])  # a grid runs through all rows
    steps = cv2.absdiff(some[:, 1:], some[:, :-1])
    inner = cv2.addWeighted(steps[:, :-2], 0.5, steps[:, 2:], 0.5, 0)
    beyond = cv2.subtract(steps[:, 1:-1], inner), cv2.subtract(inner, steps[:, 1:-1])
    mean = [
        cv2.reduce(cv2.threshold(b, _CLIP, 0, cv2.THRESH_TRUNC)[1], 0, cv2.REDUCE_AVG, dtype=cv2.CV_32F).ravel()
        for b in beyond
    ]
    profile = mean[0] - mean[1]
    phases = profile[: len(profile) // _BLOCK * _BLOCK].reshape(-1, _BLOCK).mean(0)
    best = int(phases.argmax())
    return 2 * max(float(phases[best] - np.delete(phases, best).max()), 0.0)


def repeated_columns(gray: Gray) -> float:
    """Share of the columns that differ from the one before by less than a seventh of what columns differ by."""
    steps = cv2.reduce(cv2.absdiff(gray[:, 1:], gray[:, :-1]), 0, cv2.REDUCE_AVG, dtype=cv2.CV_32F).ravel()
    usual = float(np.percentile(steps, 94))
    return float((steps < 0.14 * usual).mean()) if usual > 0.5 else 0.0
