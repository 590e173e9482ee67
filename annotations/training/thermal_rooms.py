"""Rooms to put people into: temperatures in °C of walls, things that are warm or cold, and limbs without a face.

None of it is meant to look like a certain room. It has the edges, gradients, warm spots and skin-warm shapes that a
detector meets and must not take for a face.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
_GRAIN = ((6, 1.0), (16, 0.6), (48, 0.25))  # cells across the picture, kelvin
# (share, lowest, highest) kelvin of a thing above the air: furniture, warm devices, lamps and mugs
_THINGS = ((0.62, -4.0, 3.0), (0.28, 3.0, 14.0), (0.10, 8.0, 35.0))


def smooth_noise(shape: tuple[int, int], cells: int, sigma: float, rng: np.random.Generator) -> Floats:
    """Gaussian noise (H, W) float32 of ``cells`` cells on each side, interpolated."""
    grain = rng.normal(0, sigma, (cells, cells)).astype(np.float32)
    return np.asarray(cv2.resize(grain, shape[::-1], interpolation=cv2.INTER_CUBIC))


def empty_room(shape: tuple[int, int], ambient: float, rng: np.random.Generator) -> Floats:
    """A wall (H, W) in °C with gradients, blotches and, two times in three, things in front of it."""
    height, width = shape
    x = np.linspace(-0.5, 0.5, width, dtype=np.float32)
    y = np.linspace(-0.5, 0.5, height, dtype=np.float32)[:, None]
    room = ambient + rng.normal(0, 2.0) * x + rng.normal(0, 2.4) * y
    for cells, kelvin in _GRAIN:
        if rng.random() < 0.6:
            room = room + smooth_noise(shape, cells, kelvin * rng.random(), rng)
    if rng.random() < 0.65:
        for _ in range(int(rng.integers(1, 14))):
            room = _put_thing(room, rng)
    if rng.random() < 0.25:
        room = room + rng.uniform(-6, 8) * (x**2 + y**2)  # the lens's own warmth
    return np.asarray(room, np.float32)


def _put_thing(room: Floats, rng: np.random.Generator) -> Floats:
    height, width = room.shape
    shape = np.zeros(room.shape, np.float32)
    at = np.array([rng.uniform(0, width), rng.uniform(0, height)])
    size = float(np.exp(rng.uniform(np.log(4), np.log(0.6 * width))))
    kind = rng.random()
    if kind < 0.45:
        aspect = np.sqrt(rng.uniform(0.1, 4))
        angle = float(rng.choice([0, 0, 90, rng.uniform(0, 180)]))
        corners = cv2.boxPoints((tuple(at), (size * aspect, size / aspect), angle))
        cv2.fillPoly(shape, [corners.astype(np.int32)], 1.0)
    elif kind < 0.7:
        axes = (int(size / 2) + 1, int(size / 2 * rng.uniform(0.4, 1.6)) + 1)
        cv2.ellipse(shape, _pixel(at), axes, rng.uniform(0, 180), 0, 360, 1.0, -1)
    elif kind < 0.85:
        cv2.line(shape, _pixel(at), _pixel(at + rng.normal(0, size, 2)), 1.0, int(rng.uniform(1, max(2, size / 4))))
    else:
        corners = rng.normal(0, 0.4 * size, (int(rng.integers(3, 9)), 2)) + at
        cv2.fillPoly(shape, [corners.astype(np.int32)], 1.0)
    sigma = float(rng.choice([0, 0.7, 2, 8]))
    if sigma:
        shape = np.asarray(cv2.GaussianBlur(shape, (0, 0), sigma), np.float32)
    if rng.random() < 0.3:
        shape = shape * (1 + smooth_noise((height, width), 8, 0.25, rng))
    share, pick = rng.random(), 0
    while share > _THINGS[pick][0] and pick < len(_THINGS) - 1:
        share -= _THINGS[pick][0]
        pick += 1
    return np.asarray(room + shape * rng.uniform(*_THINGS[pick][1:]), np.float32)


def put_limbs(room: Floats, skin: float, rng: np.random.Generator) -> Floats:
    """Arms and hands as warm as skin (°C), one to three, over ``room``."""
    height, width = room.shape
    for _ in range(int(rng.integers(1, 4))):
        shape = np.zeros(room.shape, np.float32)
        at = np.array([rng.uniform(0, width), rng.uniform(0, height)])
        length, angle = np.exp(rng.uniform(np.log(10), np.log(120))), rng.uniform(0, 2 * np.pi)
        thick = max(2.0, length * rng.uniform(0.15, 0.5))
        end = at + length * np.array([np.cos(angle), np.sin(angle)])
        cv2.line(shape, _pixel(at), _pixel(end), 1.0, int(thick))
        if rng.random() < 0.5:
            for _ in range(5):
                turned = angle + rng.normal(0, 0.5)
                finger = end + 1.1 * thick * np.array([np.cos(turned), np.sin(turned)])
                cv2.line(shape, _pixel(end), _pixel(finger), 1.0, max(1, int(0.22 * thick)))
        cover = cv2.GaussianBlur(shape, (0, 0), 0.8)
        warm = skin - rng.uniform(0, 4) + smooth_noise((height, width), 6, 0.5, rng)
        room = room * (1 - cover) + warm * cover
    return np.asarray(room, np.float32)


def _pixel(at: NDArray[np.float64]) -> tuple[int, int]:
    x, y = np.clip(at, -4000, 4000)
    return int(x), int(y)
