"""The room behind the head, as the temperature its surfaces show."""

from __future__ import annotations

import numpy as np

from thermvision.generation.engines.phantom.fields import random_field, smoothstep
from thermvision.generation.engines.phantom.layers import Floats


def background_temperature(shape: tuple[int, int], ambient: float, rng: np.random.Generator) -> Floats:
    """(h, w) °C of a wall near air temperature, out of focus, in some rooms with a window, a screen or a chair.

    The scene is drawn in units of the frame's width: another ``shape`` shows the same room on another grid.
    """
    height, width = shape
    y, x = np.mgrid[0:height, 0:width]
    u, v = (x.ravel() + 0.5) / width, (y.ravel() + 0.5) / width
    wall = ambient + rng.normal(0, 0.6)
    room = wall + rng.normal(0, 0.25) * (u - 0.5) + rng.normal(0.3, 0.2) * (0.5 - v)  # warm air rises
    room += rng.uniform(0.03, 0.12) * random_field(rng, 0.2, 2)(np.stack([u, v], 1))
    present = rng.random(3)
    # every object draws its numbers whether it is shown or not, so that one never moves another
    window, screen, chair = _window(u, v, ambient, rng), _screen(u, v, rng), _chair(u, v, rng)
    if present[0] < 0.14:
        room = room + window
    if present[1] < 0.10:
        room = room + screen
    if present[2] < 0.30:
        room = room + chair
    return room.reshape(shape)


def _box(u: Floats, v: Floats, centre: tuple[float, float], half: tuple[float, float], blur: float) -> Floats:
    """1 inside an upright rectangle, 0 outside, blurred edges."""
    across = smoothstep(half[0] - np.abs(u - centre[0]), -blur, blur)
    return across * smoothstep(half[1] - np.abs(v - centre[1]), -blur, blur)


def _window(u: Floats, v: Floats, ambient: float, rng: np.random.Generator) -> Floats:
    """A cold window at one side: panes, and bars at wall temperature between them. Kelvin relative to the wall."""
    side, blur = float(rng.choice([-1, 1])), rng.uniform(0.005, 0.012)
    half = (rng.uniform(0.08, 0.16), rng.uniform(0.18, 0.30))
    centre = (0.5 + side * rng.uniform(0.33, 0.45), rng.uniform(0.2, 0.4))
    panes = rng.integers(2, 5, 2)
    cold = -min(rng.uniform(0.8, 3.0), 0.5 * max(ambient - 5.0, 1.0))
    tints = rng.normal(0, 0.4, (4, 4))
    bars = np.ones(len(u))
    place = []
    for position, middle, extent, count in ((u, centre[0], half[0], panes[0]), (v, centre[1], half[1], panes[1])):
        t = (position - middle + extent) / (2 * extent) * count
        gap = np.abs(t - np.rint(t)) * 2 * extent / count
        bars *= smoothstep(gap, 0.004, 0.004 + blur)
        place.append(np.clip(t.astype(int), 0, count - 1))
    return _box(u, v, centre, half, blur) * bars * (cold + tints[place[0], place[1]])


def _screen(u: Floats, v: Floats, rng: np.random.Generator) -> Floats:
    """A running display, warm and far out of focus."""
    centre = (float(rng.choice([-1, 1])) * rng.uniform(0.34, 0.48) + 0.5, rng.uniform(0.35, 0.7))
    across, up = (u - centre[0]) / rng.uniform(0.07, 0.12), (v - centre[1]) / rng.uniform(0.05, 0.08)
    # a rectangle blurred as wide as itself: level curves between box and ellipse
    return rng.uniform(1.0, 3.5) * np.exp(-((np.abs(across) ** 3 + np.abs(up) ** 3) ** 0.8))


def _chair(u: Floats, v: Floats, rng: np.random.Generator) -> Floats:
    """The back of the chair the subject sits on, a little warm."""
    top, half = rng.uniform(0.55, 0.75), rng.uniform(0.28, 0.42)
    centre = 0.5 + rng.uniform(-0.05, 0.05)
    corner = 0.05 * (np.clip(np.abs(u - centre) / half, 0, 1)) ** 4
    sides = smoothstep(half - np.abs(u - centre), -0.010, 0.010)
    return rng.uniform(0.4, 1.2) * sides * smoothstep(v, top + corner - 0.010, top + corner + 0.010)
