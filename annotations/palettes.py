"""False colours for looking at gray thermal frames: views only, no frame of a release is stored in them.

Every palette is drawn here from a few colours, linear between them in sRGB values. The names say what they resemble.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from thermvision.annotations.errors import UsageError

# gray value (of a white-hot frame) and its red, green and blue
_STOPS: dict[str, tuple[tuple[int, int, int, int], ...]] = {
    "white-hot": ((0, 0, 0, 0), (255, 255, 255, 255)),
    "black-hot": ((0, 255, 255, 255), (255, 0, 0, 0)),
    "iron": (
        (0, 4, 2, 24),
        (48, 48, 6, 112),
        (96, 140, 18, 146),
        (140, 208, 52, 96),
        (184, 242, 118, 22),
        (222, 252, 196, 42),
        (255, 255, 252, 226),
    ),
    "rainbow": (
        (0, 10, 8, 72),
        (42, 22, 62, 214),
        (88, 12, 172, 206),
        (128, 32, 190, 72),
        (170, 226, 222, 40),
        (212, 240, 116, 20),
        (240, 214, 24, 28),
        (255, 255, 226, 220),
    ),
    "ember": (
        (0, 2, 2, 8),
        (52, 52, 12, 82),
        (104, 128, 30, 98),
        (152, 206, 62, 66),
        (200, 246, 142, 24),
        (234, 248, 216, 88),
        (255, 252, 254, 190),
    ),
}
PALETTES: tuple[str, ...] = tuple(_STOPS)


@lru_cache(None)
def palette(name: str) -> NDArray[np.uint8]:
    """The 256 colours (256, 3) uint8, red green blue, of a palette; read-only.

    Raises:
        UsageError: no such palette.

    >>> palette("white-hot")[[0, 255]].tolist()
    [[0, 0, 0], [255, 255, 255]]
    """
    if name not in _STOPS:
        raise UsageError(f"palette is {name!r}; allowed: {', '.join(PALETTES)}")
    stops = np.array(_STOPS[name], np.float64)
    gray = np.arange(256)
    table = np.stack([np.rint(np.interp(gray, stops[:, 0], stops[:, c])) for c in (1, 2, 3)], 1).astype(np.uint8)
    table.setflags(write=False)
    return table


def apply_palette(frame: NDArray[np.uint8], name: str) -> NDArray[np.uint8]:
    """Colours (..., 3) uint8, red green blue, of a white-hot gray frame (...) uint8.

    Raises:
        UsageError: no such palette.
    """
    return np.asarray(palette(name)[frame], np.uint8)


def remove_palette(image: NDArray[np.uint8], name: str) -> NDArray[np.uint8]:
    """The white-hot gray frame (...) uint8 behind a coloured one (..., 3): for every pixel the nearest colour's gray.

    Exact for untouched colours; after lossy compression or resampling an approximation.

    Raises:
        UsageError: no such palette, or ``image`` has no three channels.

    >>> gray = np.arange(256, dtype=np.uint8)
    >>> bool((remove_palette(apply_palette(gray, "iron"), "iron") == gray).all())
    True
    """
    table = palette(name).astype(np.int32)
    if image.ndim < 1 or image.shape[-1] != 3:
        raise UsageError(f"an image of shape {image.shape} has no palette; allowed: (..., 3), red green blue")
    packed = image.astype(np.int32) @ np.array([1 << 16, 1 << 8, 1], np.int32)
    colours, place = np.unique(packed, return_inverse=True)
    nearest = np.empty(len(colours), np.uint8)
    for start in range(0, len(colours), 8192):  # 8 MB of distances at a time
        part = colours[start : start + 8192]
        rgb = np.stack([part >> 16, (part >> 8) & 255, part & 255], 1)
        distance = (table**2).sum(1) - 2 * rgb @ table.T  # less the colour's own square, the same for every entry
        nearest[start : start + 8192] = distance.argmin(1)
    return nearest[place].reshape(image.shape[:-1])
