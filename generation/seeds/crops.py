"""Where a training picture is cut out, and its size: the multi-resolution buckets of the article."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from thermvision.annotations.errors import UsageError
from thermvision.generation.engines.flux.training.buckets import bucket_sizes

from .sources import Box

SIZES = (512, 768, 1024)  # the article's three TrainDatasetAdd nodes
STEP = 64  # sizes are multiples of this, as the sides of buckets are
LEAST_SIDE, MOST_SIDE = 256, 1024  # min_bucket_reso and max_bucket_reso of the article's training graph
HEAD = 2.0  # side of the window over the longer side of the face: hair, ears and the top of the shoulders
UP = 0.04  # of the window: faces sit this much above its middle, so that shoulders show
KINDS = ("face", "whole")


@dataclass(frozen=True)
class Window:
    """A rectangle of whole pixels of a picture: left, top, width, height."""

    x: int
    y: int
    width: int
    height: int

    def cut(self, pixels: NDArray[Any]) -> NDArray[Any]:
        """The part of a picture (H, W, …) in it."""
        return pixels[self.y : self.y + self.height, self.x : self.x + self.width]

    def moved(self, box: Box) -> Box:
        """A box of the picture in the window's own coordinates."""
        return (box[0] - self.x, box[1] - self.y, box[2], box[3])


def face_window(box: Box, width: int, height: int, scale: float = HEAD) -> Window:
    """The square around a face ``[x, y, width, height]``, pushed into the picture, or smaller where that does not do.

    Nothing is ever added to a picture.

    >>> face_window((40, 30, 40, 50), 320, 240), face_window((0, 0, 200, 200), 320, 240)
    (Window(x=10, y=9, width=100, height=100), Window(x=0, y=0, width=240, height=240))
    """
    side = max(1, min(round(scale * max(box[2], box[3])), width, height))
    x = math.floor(box[0] + box[2] / 2 - side / 2 + 0.5)
    y = math.floor(box[1] + box[3] / 2 - side * (0.5 - UP) + 0.5)
    return Window(min(max(x, 0), width - side), min(max(y, 0), height - side), side, side)


def bucket(width: int, height: int, size: int) -> tuple[int, int]:
    """(width, height) of the trainer's bucket of area ``size``² whose shape is nearest to a picture's.

    Sides are multiples of 64 from 256 to the larger of 1024 and ``size``; of equal shapes the larger is taken.

    >>> bucket(300, 300, 512), bucket(640, 480, 512), bucket(464, 348, 1024)
    ((512, 512), (576, 448), (1024, 768))
    """
    shapes = bucket_sizes(size, size, LEAST_SIDE, max(MOST_SIDE, size))
    aspect = width / height
    return min(shapes, key=lambda s: (round(abs(math.log(s[0] / s[1] / aspect)), 9), -s[0] * s[1], s))


def whole_window(width: int, height: int, size: int) -> Window:
    """The largest middle part of a picture that has the shape of its bucket.

    >>> whole_window(640, 480, 512)
    Window(x=11, y=0, width=617, height=480)
    """
    w, h = bucket(width, height, size)
    scale = min(width / w, height / h)
    cut_w, cut_h = min(width, max(1, round(w * scale))), min(height, max(1, round(h * scale)))
    return Window((width - cut_w) // 2, (height - cut_h) // 2, cut_w, cut_h)


def resized(values: NDArray[np.floating[Any]], width: int, height: int) -> NDArray[np.float32]:
    """A picture (H, W) at another size: area averages down, bicubic up."""
    smaller = width * height < values.shape[0] * values.shape[1]
    how = cv2.INTER_AREA if smaller else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(values.astype(np.float32), (width, height), interpolation=how), np.float32)


def check_sizes(sizes: Sequence[int]) -> tuple[int, ...]:
    """The sizes, smallest first.

    Raises:
        UsageError: one is no multiple of 64 in 256 … 2048, or named twice, or there is none.
    """
    odd = [s for s in sizes if s % STEP or not LEAST_SIDE <= s <= 2 * MOST_SIDE]
    if odd or not sizes or len(set(sizes)) < len(sizes):
        seen = ",".join(map(str, sizes))
        allowed = f"multiples of {STEP} from {LEAST_SIDE} to {2 * MOST_SIDE}, each once; type: --size 512,768,1024"
        raise UsageError(f"--size is {seen!r}; allowed: {allowed}")
    return tuple(sorted(sizes))
