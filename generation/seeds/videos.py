"""Frames drawn from a video: the sharpest of each of N equal parts, so that neighbours are not drawn twice."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from thermvision.annotations.errors import UsageError
from thermvision.curation.video import each_frame, probe


def sharpness(frame: NDArray[Any]) -> float:
    """Variance of the Laplacian of a frame (H, W) or (H, W, 3) over the variance of the frame: blur lowers it.

    >>> step = np.zeros((16, 16), np.uint8)
    >>> step[:, 8:] = 200
    >>> sharpness(step) > sharpness(cv2.GaussianBlur(step, (0, 0), 2))
    True
    """
    gray = np.asarray(frame, np.float32)
    gray = gray.mean(2) if gray.ndim == 3 else gray
    spread = float(gray.var(dtype=np.float64))
    return float(cv2.Laplacian(gray, cv2.CV_32F).var(dtype=np.float64)) / spread if spread > 0 else 0.0


def draw(video: Path, count: int) -> Iterator[tuple[int, NDArray[Any]]]:
    """(number, pixels) of at most ``count`` frames, in order; pixels as `curation.video.each_frame` has them.

    The video is cut into ``count`` parts of equal length and gives the sharpest frame of each, the first of equals; a
    video of fewer frames gives all. One frame is held at a time.

    Raises:
        UsageError: ``count`` is below 1.
        DamagedInputError: the video does not decode.
    """
    if count < 1:
        raise UsageError(f"frames a video are {count}; allowed: 1 or more")
    total = probe(video).num_frames
    parts = min(count, total)
    best: tuple[float, int, NDArray[Any]] | None = None
    part = 0
    for index, frame in enumerate(each_frame(video)):
        mine = min(index * parts // total, parts - 1)
        if mine != part and best is not None:
            yield best[1], best[2]
            best, part = None, mine
        score = sharpness(frame)
        if best is None or score > best[0]:
            best = (score, index, frame)
    if best is not None:
        yield best[1], best[2]
