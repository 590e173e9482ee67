"""What makes skin look like skin: uneven perfusion, grain, fine veins, folds of age. Kelvin at every vertex.

Amplitudes are tuned by eye on close recordings; all parts have a mean near zero, so that the means of the regions stay
those of `thermal`. The mesh carries detail down to its edges: 0.9 mm about eyes, nose and mouth, 2 mm on the cheeks.
"""

from __future__ import annotations

from typing import Any

import numba as nb
import numpy as np

from thermvision.generation.engines.phantom.anatomy import Anatomy, anatomy
from thermvision.generation.engines.phantom.fields import (
    bell,
    polyline_distance,
    random_field,
    smooth_curve,
    smoothstep,
)
from thermvision.generation.engines.phantom.layers import Floats, Head

_YOUNG, _OLD = 28.0, 68.0  # years between which wrinkles deepen
_RMS_OF_NET = 0.31  # of exp(-f²) over a unit normal field f


def skin_texture(head: Head, rng: np.random.Generator) -> Floats:
    """(n,) kelvin to be added to the smooth map; the sides of the face differ in it.

    Args:
        head: the identity; its age deepens the folds.
        rng: the identity's own.
    """
    place = anatomy(head.topology)
    age = float(smoothstep(head.age, _YOUNG, _OLD))
    return perfusion(head, place, rng) + _temples(head, place, rng) + _wrinkles(head, place, age, rng)


def _net(points: Floats, scale: float, rng: np.random.Generator) -> Floats:
    """A network of thin warm lines, the zeros of a random field: zero mean, unit RMS."""
    line = np.exp(-np.square(1.6 * random_field(rng, scale, 1, 14)(points)))
    return (line - line.mean()) / _RMS_OF_NET


def grain(head: Head, rng: np.random.Generator) -> Floats:
    """(n,) zero mean, unit RMS: spots of the size of the mesh's edges, and softer ones of three edges."""
    smoothing = head.topology.smoothing
    white = rng.standard_normal((len(head.rest), 2), np.float32).astype(np.float64)
    fine = smoothing @ white[:, 0] + 0.5 * white[:, 0]
    soft = smoothing @ (smoothing @ (smoothing @ white[:, 1]))
    return 0.75 * fine / fine.std() + 0.66 * soft / soft.std()


def perfusion(head: Head, place: Anatomy, rng: np.random.Generator) -> Floats:
    """(n,) kelvin: a net of small vessels at two scales, and grain; strongest on cheeks, nose and chin, weakest on the
    lids."""
    points, C = place.points, head.topology.canonical
    coarse, fine, spots = rng.uniform(0.04, 0.10), rng.uniform(0.04, 0.08), rng.uniform(0.045, 0.085)
    lively = 0.75 + 0.45 * smoothstep(C[:, 1], points[27, 1], points[30, 1]) * smoothstep(
        C[:, 1], points[8, 1] - 0.03, points[8, 1]
    )
    lively *= 1 - 0.55 * bell(np.minimum(place.lid_line, 0.03), 0.008)
    texture = coarse * _net(C, 0.017, rng) + fine * _net(C, 0.0065, rng) + spots * grain(head, rng)
    return place.skin * lively * texture


def _temples(head: Head, place: Anatomy, rng: np.random.Generator) -> Floats:
    """The frontal branch of the superficial temporal artery: warm, winding forward and up before the ear."""
    C, points = head.topology.canonical, place.points
    warm = np.zeros(len(C))
    for side in (-1.0, 1.0):
        steps = np.stack([rng.uniform(0.004, 0.010, 8), rng.uniform(0.004, 0.012, 8)], 1)
        start = np.array([points[16, 2] - rng.uniform(0, 0.012), points[16, 1] + rng.uniform(0.005, 0.02)])
        line = smooth_curve(np.concatenate([start[None], start + np.cumsum(steps, 0)]), 2)
        strength = rng.uniform(0.0, 0.45)
        near = np.flatnonzero(place.skin & (side * C[:, 0] > 0.045) & (C[:, 1] > start[1] - 0.01))
        distance, along = polyline_distance(C[near][:, [2, 1]], line)
        warm[near] = strength * bell(distance, 0.0024) * smoothstep(along, 1.0, 0.4)
    return warm


def _wrinkles(head: Head, place: Anatomy, age: float, rng: np.random.Generator) -> Floats:
    """Folds are warm lines between cooler ridges; each has its own depth left and right."""
    points, C = place.points, head.topology.canonical
    total = np.zeros(len(C))
    front = np.flatnonzero(place.skin & (C[:, 2] > 0.055) & (C[:, 1] > points[8, 1] - 0.005))
    wavering, folds = C[front].copy(), np.zeros(len(front))
    wavering[:, 1] += 0.0018 * random_field(rng, 0.018)(C[front])
    wavering[:, 0] += 0.0012 * random_field(rng, 0.012)(C[front])

    def fold(line: Floats, depth: float, width: float) -> None:
        """A fold along ``line`` (k, 2) of the frontal view."""
        _crease(wavering, smooth_curve(line, 3), depth, width, folds)

    brow = points[19:25, 1].mean()
    for k in range(5):
        height, reach = brow + 0.014 + 0.0085 * k + rng.normal(0, 0.0012), rng.uniform(0.018, 0.042)
        depth, tilt, arch = rng.uniform(0, 0.55) * age, rng.normal(0, 0.03), rng.uniform(-0.003, 0.005)
        x = np.linspace(-1, 1, 5)
        fold(np.stack([reach * x, height + tilt * reach * x - arch * x * x], 1), depth, 0.0016)
    for side, corner, eye in ((1.0, points[54], points[45]), (-1.0, points[48], points[36])):
        ala, lid = points[35 if side > 0 else 31], points[[47, 46] if side > 0 else [40, 41]].mean(0)
        depth = rng.uniform(0.08, 0.22) + rng.uniform(0.1, 0.5) * age
        wide = rng.uniform(0.004, 0.008)
        fold(
            np.array([
                [ala[0] + side * 0.003, ala[1] + 0.004], [ala[0] + side * (0.004 + wide), ala[1] - 0.010],
                [corner[0] + side * wide, corner[1] + 0.004], [corner[0] + side * wide, corner[1] - 0.012],
            ]),
            depth, 0.0018,
        )  # fmt: skip
        # below the eye: the fold of the lower lid, and that of the orbit's rim
        for drop, most in ((rng.uniform(0.005, 0.007), 0.18), (rng.uniform(0.011, 0.015), 0.22)):
            across = np.array([-0.014, -0.006, 0.004, 0.013]) * side
            sag = np.array([0.0035, -0.0010, -0.0015, 0.0030])
            line = np.stack([lid[0] + across, lid[1] - drop + sag], 1)
            fold(line, rng.uniform(0.03, most) + 0.2 * age, 0.0013)
        for turn in (-0.45, -0.05, 0.35):
            heading = np.array([side * np.cos(turn), np.sin(turn)])
            length = rng.uniform(0.006, 0.014)
            line = eye[:2] + np.outer([0.003, 0.003 + 0.5 * length, 0.003 + length], heading)
            fold(line, rng.uniform(0, 0.5) * age, 0.0012)
        between = np.array([[side * 0.007, brow - 0.008], [side * 0.006, brow], [side * 0.005, brow + 0.010]])
        fold(between, rng.uniform(0, 0.5) * age, 0.0013)
    total[front] = folds
    return total


@nb.njit(cache=True, fastmath=False)
def _crease(points: Any, line: Any, depth: float, width: float, out: Any) -> None:  # pragma: no cover - compiled
    """Add a fold along ``line`` (k, 2) to ``out`` (n,): warm at the line, cool beside it, fading at both ends."""
    reach = 7.0 * width
    low_x, high_x = line[:, 0].min() - reach, line[:, 0].max() + reach
    low_y, high_y = line[:, 1].min() - reach, line[:, 1].max() + reach
    for i in range(len(points)):
        x, y = points[i, 0], points[i, 1]
        if x < low_x or x > high_x or y < low_y or y > high_y:
            continue
        nearest, place = np.inf, 0.0
        for k in range(len(line) - 1):
            dx, dy = line[k + 1, 0] - line[k, 0], line[k + 1, 1] - line[k, 1]
            t = ((x - line[k, 0]) * dx + (y - line[k, 1]) * dy) / max(dx * dx + dy * dy, 1e-18)
            t = min(max(t, 0.0), 1.0)
            square = (x - line[k, 0] - t * dx) ** 2 + (y - line[k, 1] - t * dy) ** 2
            if square < nearest:
                nearest, place = square, (k + t) / (len(line) - 1)
        end = min(max(min(place, 1 - place) / 0.18, 0.0), 1.0)
        away = nearest / (width * width)
        out[i] += depth * end * end * (3 - 2 * end) * (np.exp(-0.5 * away) - 0.35 * np.exp(-0.5 * away / 6.76))
