"""Sizes that training pictures are brought to: about equal areas of many shapes, so that little has to be cut off.

The rule is that of kohya's sd-scripts, which the article's trainer is built on: widths go up in steps, the height that
fits the area follows, a picture goes to the bucket of the nearest aspect ratio.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from thermvision.generation.flux_tables import LoraDataset

STEP = 64  # pixels between buckets
MULTIPLE = 16  # of every side: the autoencoder's 8 times the transformer's patches of 2

Size = tuple[int, int]  # (width, height) in pixels


@dataclass(frozen=True)
class Placement:
    """How a picture gets its bucket's size: resized to ``resized``, then ``bucket`` cut from the middle."""

    bucket: Size
    resized: Size

    @property
    def corner(self) -> Size:
        """(x, y) of the cut in the resized picture."""
        return (self.resized[0] - self.bucket[0]) // 2, (self.resized[1] - self.bucket[1]) // 2


def bucket_sizes(width: int, height: int, smallest: int, largest: int, step: int = STEP) -> list[Size]:
    """Sizes (width, height) of no more than ``width`` times ``height`` pixels, sides multiples of ``step`` in range.

    >>> bucket_sizes(512, 512, 384, 1024)
    [(384, 640), (448, 576), (512, 512), (576, 448), (640, 384)]
    """
    area, found = width * height, set()
    square = math.isqrt(area) // step * step
    if smallest <= square <= largest:
        found.add((square, square))
    for side in range(-(-smallest // step) * step, largest + 1, step):
        other = min(largest, area // side) // step * step
        if other >= smallest:
            found |= {(side, other), (other, side)}
    return sorted(found)


def place(size: Size, table: LoraDataset) -> Placement:
    """Where a picture of ``size`` (width, height) goes in the dataset ``table``.

    >>> place((640, 480), LoraDataset(path="x", width=512, height=512))
    Placement(bucket=(576, 448), resized=(597, 448))
    """
    if not table.bucket:
        return _covering(size, (table.width, table.height))
    if table.bucket_no_upscale:
        return _not_upscaled(size, table.width * table.height)
    sizes = bucket_sizes(table.width, table.height, table.min_bucket, table.max_bucket)
    if not sizes:
        return _covering(size, (table.width, table.height))
    aspect = size[0] / size[1]
    # of equally near shapes the larger one; logarithms make wide and tall alike
    bucket = min(sizes, key=lambda s: (round(abs(math.log(s[0] / s[1] / aspect)), 9), -s[0] * s[1], s))
    return _covering(size, bucket)


def _covering(size: Size, bucket: Size) -> Placement:
    scale = max(bucket[0] / size[0], bucket[1] / size[1])
    return Placement(bucket, (max(bucket[0], round(size[0] * scale)), max(bucket[1], round(size[1] * scale))))


def _not_upscaled(size: Size, area: int) -> Placement:
    scale = min(1.0, math.sqrt(area / (size[0] * size[1])))
    resized = max(1, round(size[0] * scale)), max(1, round(size[1] * scale))
    step = STEP if min(resized) >= STEP else MULTIPLE
    bucket = max(MULTIPLE, resized[0] // step * step), max(MULTIPLE, resized[1] // step * step)
    return Placement(bucket, (max(bucket[0], resized[0]), max(bucket[1], resized[1])))


def fit(image: NDArray[np.uint8], placement: Placement) -> NDArray[np.uint8]:
    """The picture (H, W) or (H, W, 3) at its bucket's size, as (H, W, 3).

    Shrunk by area averages, enlarged by Lanczos, as sd-scripts does.
    """
    height, width = image.shape[:2]
    if (width, height) != placement.resized:
        shrinks = placement.resized[0] < width
        resized: NDArray[Any] = cv2.resize(
            image, placement.resized, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LANCZOS4
        )
    else:
        resized = image
    (x, y), (w, h) = placement.corner, placement.bucket
    cut = resized[y : y + h, x : x + w]
    return np.ascontiguousarray(np.repeat(cut[..., None], 3, 2) if cut.ndim == 2 else cut[..., :3])
