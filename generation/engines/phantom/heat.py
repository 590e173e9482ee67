"""Warm things behind the subject: lamps, radiators and cups, out of focus, drawn over the room's temperature."""

from __future__ import annotations

import numpy as np

from thermvision.generation.engines.phantom.fields import smoothstep
from thermvision.generation.engines.phantom.layers import Floats

MOST_EXCESS = 40.0  # kelvin above the room


def heat_excess(shape: tuple[int, int], count: int, rng: np.random.Generator) -> Floats:
    """(h, w) kelvin that ``count`` warm things add to the room behind the head.

    Drawn in units of the frame's width: another ``shape`` shows the same things on another grid. Each takes the same
    number of draws, so that one more leaves the others where they are.
    """
    height, width = shape
    y, x = np.mgrid[0:height, 0:width]
    u, v = (x + 0.5) / width, (y + 0.5) / width
    excess = np.zeros(shape)
    for kind in rng.random((count, 9)):
        side = 0.5 + (0.22 + 0.27 * kind[1]) * (1 if kind[2] < 0.5 else -1)  # beside the head, not hidden by it
        blur = 0.006 + 0.012 * kind[3]
        if kind[0] < 0.4:  # a lamp: a small hot disc, its warm shade around it
            radius = 0.015 + 0.025 * kind[4]
            away = np.hypot(u - side, v - (0.05 + 0.4 * kind[5]))
            one = (15 + 25 * kind[6]) * smoothstep(radius - away, -blur, blur)
            one += 3 * kind[7] * np.exp(-((away / (3 * radius)) ** 2))
        elif kind[0] < 0.75:  # a radiator: ribs low in the picture, the warm air above it rising against the wall
            half, top = 0.07 + 0.10 * kind[4], 0.45 + 0.25 * kind[5]
            inside = smoothstep(half - np.abs(u - side), -blur, blur) * smoothstep(v - top, -blur, blur)
            ribs = 0.85 + 0.15 * np.cos(2 * np.pi * (u - side) / (0.018 + 0.012 * kind[8]))
            plume = smoothstep(half - np.abs(u - side), -0.06, 0.06) * np.exp(-np.maximum(top - v, 0) / 0.18)
            one = (8 + 20 * kind[6]) * inside * ribs + 1.2 * kind[7] * plume * (v < top)
        else:  # a cup of something hot
            half, tall = 0.018 + 0.012 * kind[4], 0.03 + 0.03 * kind[5]
            across = smoothstep(half - np.abs(u - side), -blur, blur)
            one = (12 + 22 * kind[6]) * across * smoothstep(tall - np.abs(v - 0.55 - 0.3 * kind[7]), -blur, blur)
        np.maximum(excess, one, out=excess)
    return np.minimum(excess, MOST_EXCESS)
