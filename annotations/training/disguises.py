"""What hides a face, drawn over a frame in temperatures: scarves and masks, big beards, eyewear, fringes, hands.

The renderer makes some of these in three dimensions; here they come in more shapes, roughly, and cheaply.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from .thermal_rooms import Floats, smooth_noise

Points = NDArray[np.float64]
SHARES = {"scarf": 0.14, "beard": 0.12, "eyewear": 0.12, "fringe": 0.12, "hand": 0.05}


def disguise(
    celsius: Floats, cover: Floats, landmarks: Points, ambient: float, skin: float, rng: np.random.Generator
) -> tuple[Floats, Floats, NDArray[np.bool_]]:
    """Put none, one or several things before a face.

    Args:
        celsius, cover: (H, W) temperatures in °C and share of each pixel that is the person's, 0..1.
        landmarks: (68, 2) pixels.
        ambient, skin: °C.
        rng: consumed differently from face to face.

    Returns:
        temperatures, cover, and (68,) which landmarks lie behind what was put there.
    """
    hidden = np.zeros(len(landmarks), bool)
    drawers = {"scarf": _scarf, "beard": _beard, "eyewear": _eyewear, "fringe": _fringe, "hand": _hand}
    for name, draw in drawers.items():
        if rng.random() >= SHARES[name]:
            continue
        shape = np.zeros(celsius.shape, np.float32)
        warmth, texture, edge = draw(shape, landmarks, rng)
        at = np.clip(landmarks.astype(int), 0, np.array(shape.shape[::-1]) - 1)
        hidden |= shape[at[:, 1], at[:, 0]] > 0.5
        soft = cv2.GaussianBlur(shape, (0, 0), edge)
        grain = smooth_noise(celsius.shape, 24, texture, rng)
        celsius = celsius * (1 - soft) + (ambient + (skin - ambient) * warmth + grain) * soft
        cover = np.maximum(cover, soft)
    return celsius.astype(np.float32), cover, hidden


def _fill(shape: Floats, points: Sequence[Any] | Points, hull: bool = False) -> None:
    corners = np.round(np.array(points)).astype(np.int32)
    cv2.fillPoly(shape, [cv2.convexHull(corners) if hull else corners], 1.0)


def _axes(lm: Points) -> tuple[Points, Points, float]:
    """Down and across the face, unit vectors, and its height in pixels from the brow's middle to the chin."""
    down = lm[8] - lm[27]
    height = float(np.linalg.norm(down)) + 1e-6
    down = down / height
    return down, np.array([down[1], -down[0]]), height


def _scarf(shape: Floats, lm: Points, rng: np.random.Generator) -> tuple[float, float, float]:
    down, _, height = _axes(lm)
    top = lm[28] + (lm[33] - lm[28]) * rng.uniform(0, 1.1)
    below = down * rng.uniform(0, 0.15) * height
    jaw = [lm[2], *(lm[k] + below for k in (4, 6, 8, 10, 12)), lm[14]]
    _fill(shape, [*jaw, (lm[35] + lm[14]) / 2, top, (lm[31] + lm[2]) / 2], hull=True)
    if rng.random() < 0.45:
        fall = down * height * rng.uniform(0.15, 0.9)
        _fill(shape, [lm[3], lm[13], lm[13] + fall, lm[3] + fall])
    return rng.uniform(0, 0.9), rng.uniform(0.1, 1.2), 0.8


def _beard(shape: Floats, lm: Points, rng: np.random.Generator) -> tuple[float, float, float]:
    down, _, height = _axes(lm)
    fall = down * rng.uniform(0.02, 0.9) * height
    lip = lm[33] + (lm[51] - lm[33]) * rng.uniform(0.2, 1)
    _fill(shape, [lm[3], lm[48], lip, lm[54], lm[13], lm[11] + 0.4 * fall, lm[9] + fall, lm[8] + 1.1 * fall,
                  lm[7] + fall, lm[5] + 0.4 * fall])  # fmt: skip
    if rng.random() < 0.6:
        mouth = np.zeros_like(shape)
        _fill(mouth, lm[48:60])
        shape *= 1 - mouth
    return rng.uniform(0.15, 0.85), rng.uniform(0.2, 1.3), 1.2


def _eyewear(shape: Floats, lm: Points, rng: np.random.Generator) -> tuple[float, float, float]:
    right, left = lm[36:42].mean(0), lm[42:48].mean(0)
    apart = float(np.linalg.norm(left - right))
    wide = max(2, int(apart * rng.uniform(0.3, 0.46)))
    high = max(2, int(wide * rng.uniform(0.55, 0.95)))
    angle = float(np.degrees(np.arctan2(*(left - right)[::-1])))
    for centre in (right, left):
        cv2.ellipse(shape, (int(centre[0]), int(centre[1])), (wide, high), angle, 0, 360, 1.0, -1)
    if rng.random() < 0.3:  # goggles, a visor
        ends = [0.7 * lm[0] + 0.3 * lm[36], 0.7 * lm[16] + 0.3 * lm[45]]
        start, end = (tuple(np.round(e).astype(int).tolist()) for e in ends)
        cv2.line(shape, start, end, 1.0, max(1, int(1.6 * high)))
    return rng.uniform(-0.1, 0.6), 0.2, 0.7


def _fringe(shape: Floats, lm: Points, rng: np.random.Generator) -> tuple[float, float, float]:
    down, across, height = _axes(lm)
    width = 0.6 * np.linalg.norm(lm[16] - lm[0])
    start = lm[27] - down * height * rng.uniform(0.15, 0.5)
    for _ in range(int(rng.integers(12, 40))):
        at = start + across * width * rng.uniform(-1, 1) - down * height * abs(rng.normal(0, 0.35))
        cv2.circle(shape, (int(at[0]), int(at[1])), max(2, int(height * rng.uniform(0.05, 0.17))), 1.0, -1)
    return rng.uniform(0.25, 0.9), rng.uniform(0.2, 1.5), 0.8


def _hand(shape: Floats, lm: Points, rng: np.random.Generator) -> tuple[float, float, float]:
    _, _, height = _axes(lm)
    at = lm[int(rng.integers(0, 17))] + rng.normal(0, 0.1 * height, 2)
    palm = 0.3 * height * rng.uniform(0.7, 1.2)
    cv2.circle(shape, (int(at[0]), int(at[1])), max(2, int(palm)), 1.0, -1)
    towards = rng.uniform(0, 2 * np.pi)
    for k in range(4):
        angle = towards + (k - 1.5) * 0.3
        tip = at + 2.1 * palm * np.array([np.cos(angle), np.sin(angle)])
        cv2.line(shape, (int(at[0]), int(at[1])), (int(tip[0]), int(tip[1])), 1.0, max(1, int(0.45 * palm)))
    arm = at - 3 * height * np.array([np.cos(towards), np.sin(towards)])
    cv2.line(shape, (int(at[0]), int(at[1])), (int(arm[0]), int(arm[1])), 1.0, max(2, int(1.4 * palm)))
    return rng.uniform(0.75, 1.02), 0.4, 0.8
