"""Smooth scalar fields over points: steps, blobs, random plane waves and distances to curves. Lengths in metres."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from thermvision.generation.engines.phantom.layers import Floats

Field = Callable[[Floats], Floats]


def smoothstep(x: ArrayLike, start: ArrayLike, end: ArrayLike) -> Floats:
    """0 at ``start``, 1 at ``end``, 3t² - 2t³ between; ``start`` may be the larger one.

    >>> smoothstep([0.0, 0.5, 2.0], 0, 1).tolist()
    [0.0, 0.5, 1.0]
    """
    low, high = np.asarray(start, np.float64), np.asarray(end, np.float64)
    t: Floats = np.clip((np.asarray(x, np.float64) - low) / (high - low), 0.0, 1.0)
    return t * t * (3 - 2 * t)


def bell(x: ArrayLike, sigma: ArrayLike) -> Floats:
    """exp(-x² / 2σ²): 1 at 0."""
    t: Floats = np.asarray(x, np.float64) / np.asarray(sigma, np.float64)
    return np.exp(-0.5 * t * t)


def blob(points: Floats, centre: ArrayLike, sigma_x: float, sigma_y: float | None = None) -> Floats:
    """Gaussian bump of height 1 at ``centre``, (n,): ``sigma_x`` wide, ``sigma_y`` high, 1.3 ``sigma_x`` deep."""
    sigma = np.array([sigma_x, sigma_x if sigma_y is None else sigma_y, 1.3 * sigma_x])
    d = (points - np.asarray(centre)) / sigma
    return np.exp(-0.5 * np.sum(d * d, axis=1))


def blob_pair(points: Floats, centre: ArrayLike, sigma_x: float, sigma_y: float | None = None) -> Floats:
    """`blob` at ``centre`` and at its mirror image on the other side of the face."""
    mirrored = np.asarray(centre) * np.array([-1.0, 1.0, 1.0])
    return blob(points, centre, sigma_x, sigma_y) + blob(points, mirrored, sigma_x, sigma_y)


def random_field(rng: np.random.Generator, scale: float, octaves: int = 1, waves: int = 18) -> Field:
    """A stationary random field of zero mean and unit RMS: a sum of plane waves with normal wave vectors.

    The numbers are drawn at once: the field does not depend on where or how often it is evaluated, and has no lattice.

    Args:
        rng: consumed here only.
        scale: metres; wave vectors are N(0, 1/scale) an axis, halved in length scale and 0.6 in amplitude an octave.
        octaves: how many.
        waves: plane waves an octave.

    Returns:
        points (n, d <= 3) -> (n,).
    """
    vectors = np.concatenate([rng.normal(size=(waves, 3)) * 2.0**k / scale for k in range(octaves)])
    phases = rng.uniform(0, 2 * np.pi, octaves * waves)
    amplitudes = np.concatenate([rng.normal(size=waves) * 0.6**k for k in range(octaves)])
    amplitudes /= np.sqrt(0.5 * np.sum(amplitudes**2))

    def field(points: Floats) -> Floats:
        # float32 cosines are four times faster and exact to 1e-6; no matrix product, whose sums depend on the threads
        p = np.ascontiguousarray(points.T, np.float32)
        total = np.zeros(p.shape[1])
        for vector, phase, amplitude in zip(
            vectors.astype(np.float32), phases.astype(np.float32), amplitudes, strict=True
        ):
            angle = p[0] * vector[0] + phase
            for axis in range(1, len(p)):
                angle += p[axis] * vector[axis]
            total += amplitude * np.cos(angle)
        return total

    return field


def smooth_curve(points: Floats, samples: int, closed: bool = False) -> Floats:
    """Catmull-Rom curve through ``points`` (k, d), ``samples`` points a segment: (segments · samples [+ 1], d)."""
    k = len(points)
    if closed:
        padded = np.concatenate([points[-1:], points, points[:2]])
        segments = k
    else:
        first, last = 2 * points[0] - points[1], 2 * points[-1] - points[-2]
        padded = np.concatenate([first[None], points, last[None]])
        segments = k - 1
    t = (np.arange(samples) / samples)[:, None]
    pieces = []
    for i in range(segments):
        a, b, c, d = padded[i : i + 4]
        pieces.append(0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - a - 3 * c + d) * t**3))
    curve = np.concatenate(pieces)
    return curve if closed else np.concatenate([curve, points[-1:]])


def polyline_distance(points: Floats, line: Floats) -> tuple[Floats, Floats]:
    """Distance of ``points`` (n, d) to the polyline ``line`` (k, d), and where on it the nearest point lies (0..1)."""
    best = np.full(len(points), np.inf)
    place = np.zeros(len(points))
    for i in range(len(line) - 1):
        start, along = line[i], line[i + 1] - line[i]
        t = np.clip(((points - start) @ along) / max(float(along @ along), 1e-18), 0, 1)
        d = np.sum((points - start - t[:, None] * along) ** 2, axis=1)
        nearer = d < best
        best[nearer] = d[nearer]
        place[nearer] = (i + t[nearer]) / (len(line) - 1)
    return np.sqrt(best), place


def polygon_distance(points: Floats, polygon: Floats) -> Floats:
    """Signed distance of ``points`` (n, 2) to the closed ``polygon`` (k, 2): positive inside."""
    distance, _ = polyline_distance(points, np.concatenate([polygon, polygon[:1]]))
    x, y = points[:, 0], points[:, 1]
    inside: NDArray[np.bool_] = np.zeros(len(points), bool)
    for (xa, ya), (xb, yb) in zip(polygon, np.roll(polygon, -1, axis=0), strict=True):
        if ya == yb:
            continue
        crosses = (ya > y) != (yb > y)
        inside ^= crosses & (x < xa + (y - ya) * (xb - xa) / (yb - ya))
    return np.where(inside, distance, -distance)
