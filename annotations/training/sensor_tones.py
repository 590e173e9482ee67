"""From temperatures to the gray pictures that cameras, viewers and web pages make of them: tone, blur, noise, loss.

Every step is drawn anew for each picture, wider than any one camera does, so that a model learns faces and not cameras.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from thermvision.annotations.palettes import apply_palette

Floats = NDArray[np.float32]
Gray = NDArray[np.uint8]
BLACK_HOT_SHARE = 0.12
_FALSE_COLOURS = ("iron", "rainbow", "ember")
_LEAST_SPAN = 1.5  # kelvin


def picture(
    celsius: Floats, ambient: float, skin: float, rng: np.random.Generator, polarity: bool = True, good: float = 0.0
) -> tuple[Gray, bool]:
    """A gray picture (H, W) uint8 of temperatures in °C, and whether it is black-hot.

    Args:
        celsius: (H, W).
        ambient, skin: °C, between which most cameras set their range.
        rng: consumed differently from picture to picture.
        polarity: whether black-hot pictures may come out, one in eight.
        good: share of pictures as a good camera makes them: gain over the whole range, little blur and noise.
    """
    if rng.random() < good:
        return _well_made(celsius, ambient, rng), False
    gray = degraded(toned(celsius, ambient, skin, rng), rng)
    if rng.random() < 0.06:  # a false-colour picture of which somebody took the luminance
        colours = apply_palette(gray, _FALSE_COLOURS[int(rng.integers(len(_FALSE_COLOURS)))])
        gray = np.asarray(cv2.cvtColor(colours, cv2.COLOR_RGB2GRAY))
    black_hot = polarity and rng.random() < BLACK_HOT_SHARE
    return (np.asarray(255 - gray, np.uint8), True) if black_hot else (gray, False)


def _well_made(celsius: Floats, ambient: float, rng: np.random.Generator) -> Gray:
    low, high = min(ambient + rng.uniform(-2, 1), float(celsius.min())), float(np.percentile(celsius[::2, ::2], 99.8))
    bright = np.clip((celsius - low) / max(high - low, _LEAST_SPAN), 0, 1).astype(np.float32)
    if rng.random() < 0.75:
        bright = _equalised(bright, float(np.exp(rng.uniform(np.log(0.006), np.log(0.05)))))
    if rng.random() < 0.5:
        soft = cv2.GaussianBlur(bright, (0, 0), 0.06 * bright.shape[0])
        bright = np.clip(bright + rng.uniform(0.2, 0.9) * (bright - soft), 0, 1)
    if rng.random() < 0.5:
        bright = cv2.GaussianBlur(bright, (0, 0), rng.uniform(0.4, 1.1))
    noise = rng.standard_normal(bright.shape, np.float32)
    bright = bright + noise * np.float32(np.exp(rng.uniform(np.log(0.002), np.log(0.02))))
    return np.asarray(np.clip(bright, 0, 1) * 255, np.float32).astype(np.uint8)


def _equalised(bright: Floats, plateau: float) -> Floats:
    """Histogram equalisation in which no level counts for more than the share ``plateau`` of the pixels."""
    levels = (bright * 255).astype(np.uint8)
    rise = np.cumsum(np.minimum(np.bincount(levels.ravel(), minlength=256), plateau * bright.size) + 0.3)
    return np.asarray((rise / rise[-1])[levels], np.float32)


def toned(celsius: Floats, ambient: float, skin: float, rng: np.random.Generator) -> Floats:
    """Temperatures as brightness (H, W) in 0..1: a range, a curve, at times sharpened."""
    kind = rng.random()
    sample = celsius[::2, ::2]
    if kind < 0.5:
        low, high = np.percentile(sample, (rng.uniform(0, 3), rng.uniform(98, 100)))
    elif kind < 0.8:
        low, high = ambient + rng.uniform(-8, 3), skin + rng.uniform(-4, 6)
    else:  # skin saturates
        low, high = np.percentile(sample, 0.5), skin + rng.uniform(-1.5, 2)
    bright = np.clip((celsius - low) / max(high - low, _LEAST_SPAN), 0, 1).astype(np.float32)
    bright = _curve(bright, rng)
    if rng.random() < 0.3:
        soft = cv2.GaussianBlur(bright, (0, 0), rng.uniform(1, 6))
        bright = np.clip(bright + rng.uniform(0.2, 1.2) * (bright - soft), 0, 1)
    return np.asarray(bright, np.float32)


def _curve(bright: Floats, rng: np.random.Generator) -> Floats:
    kind = rng.random()
    if kind < 0.25:
        return _equalised(bright, float(np.exp(rng.uniform(np.log(0.004), np.log(0.1)))))
    curved = bright
    if kind < 0.4:
        tiles = int(rng.integers(2, 8))
        local = cv2.createCLAHE(float(rng.uniform(1, 5)), (tiles, tiles))
        curved = np.asarray(local.apply((bright * 255).astype(np.uint8)), np.float32) / np.float32(255)
    elif kind < 0.65:
        curved = np.power(bright, np.float32(np.exp(rng.uniform(np.log(0.45), np.log(2.0)))))
    elif kind < 0.8:
        knees = np.concatenate([[0], np.sort(rng.random(4)), [1]])
        curved = np.interp(bright, np.linspace(0, 1, 6), knees).astype(np.float32)
    return curved


def degraded(bright: Floats, rng: np.random.Generator) -> Gray:
    """Brightness 0..1 as a gray picture uint8: blurred, resampled, printed upon, made noisy, compressed."""
    height, width = bright.shape
    if rng.random() < 0.5:
        wide = np.exp(rng.uniform(np.log(0.4), np.log(2.6))) if rng.random() < 0.75 else rng.uniform(2, 4.8)
        bright = np.asarray(cv2.GaussianBlur(bright, (0, 0), float(wide)), np.float32)
    if rng.random() < 0.5:
        share = rng.uniform(0.3, 0.9)
        small = cv2.resize(bright, None, fx=share, fy=share, interpolation=cv2.INTER_AREA)
        how = (cv2.INTER_LINEAR, cv2.INTER_CUBIC, cv2.INTER_NEAREST)[int(np.searchsorted((0.5, 0.85), rng.random()))]
        bright = np.asarray(cv2.resize(small, (width, height), interpolation=how), np.float32)
    if rng.random() < 0.4:
        bright = bright * rng.uniform(0.6, 1) + rng.uniform(0, 0.25)
    if rng.random() < 0.75:
        noise = rng.standard_normal(bright.shape, np.float32)
        bright = bright + noise * np.float32(np.exp(rng.uniform(np.log(0.003), np.log(0.05))))
    if rng.random() < 0.2:
        bright = bright + rng.normal(0, rng.uniform(0, 0.03), (1, width)).astype(np.float32)
    gray = (np.clip(bright, 0, 1) * 255).astype(np.uint8)
    if rng.random() < 0.08:
        _print_upon(gray, rng)
    if rng.random() < 0.5:
        data = cv2.imencode(".jpg", gray, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(35, 95))])[1]
        gray = np.asarray(cv2.imdecode(data, cv2.IMREAD_GRAYSCALE), np.uint8)
    return np.asarray(gray, np.uint8)


def _print_upon(gray: Gray, rng: np.random.Generator) -> None:
    """What cameras burn in: a number in a corner, a scale at the side, a cross in the middle."""
    height, width = gray.shape
    ink = int(rng.choice([0, 255]))
    corner = (int(rng.uniform(0.02, 0.75) * width), int(rng.choice([0.12, 0.96]) * height))
    cv2.putText(gray, f"{rng.uniform(15, 40):.1f}", corner, cv2.FONT_HERSHEY_SIMPLEX, 0.0022 * width, ink, 1)
    if rng.random() < 0.4:
        bar = np.linspace(255, 0, int(0.7 * height)).astype(np.uint8)[:, None]
        top, wide = int(0.15 * height), max(2, int(0.03 * width))
        gray[top : top + len(bar), width - 2 * wide : width - wide] = bar
    if rng.random() < 0.3:
        cv2.drawMarker(gray, (width // 2, height // 2), ink, cv2.MARKER_CROSS, max(6, width // 12), 1)
