"""Smooth scalar fields over points: steps, blobs, random plane waves and distances to curves. Lengths in metres."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numba as nb
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


_NOWHERE = 36.0  # squared standard deviations beyond which a blob is nothing (1.5e-8)


@nb.njit(cache=True, fastmath=False)
def _blob(points: Any, centre: Any, sigma: Any, out: Any) -> None:  # pragma: no cover - compiled
    for i in range(len(points)):
        x = (points[i, 0] - centre[0]) / sigma[0]
        y = (points[i, 1] - centre[1]) / sigma[1]
        z = (points[i, 2] - centre[2]) / sigma[2]
        square = x * x + y * y + z * z
        if square < _NOWHERE:
            out[i] += np.exp(-0.5 * square)


def blob(points: Floats, centre: ArrayLike, sigma_x: float, sigma_y: float | None = None) -> Floats:
    """Gaussian bump of height 1 at ``centre``, (n,): ``sigma_x`` wide, ``sigma_y`` high, 1.3 ``sigma_x`` deep."""
    sigma = np.array([sigma_x, sigma_x if sigma_y is None else sigma_y, 1.3 * sigma_x], np.float64)
    bump = np.zeros(len(points))
    _blob(np.ascontiguousarray(points, np.float64), np.asarray(centre, np.float64), sigma, bump)
    return bump


def blob_pair(points: Floats, centre: ArrayLike, sigma_x: float, sigma_y: float | None = None) -> Floats:
    """`blob` at ``centre`` and at its mirror image on the other side of the face."""
    mirrored = np.asarray(centre) * np.array([-1.0, 1.0, 1.0])
    return blob(points, centre, sigma_x, sigma_y) + blob(points, mirrored, sigma_x, sigma_y)


# cos(2πt) as a polynomial in t², exact to 5e-6 for |t| <= ½
_COSINE = tuple(float(np.float32((-1) ** k * (2 * np.pi) ** (2 * k) / math.factorial(2 * k))) for k in range(8))


@nb.njit(cache=True, fastmath=False)
def _waves(p: Any, turns: Any, amplitudes: Any, total: Any) -> None:  # pragma: no cover - compiled
    """Add the waves at ``p`` (3, n) to ``total`` (n,): float32, in blocks that stay in the cache.

    The cosine is a polynomial of its own: library ones differ between processors, and this one is four times faster.
    """
    one, half = np.float32(1.0), np.float32(0.5)
    c1, c2, c3, c4 = np.float32(_COSINE[1]), np.float32(_COSINE[2]), np.float32(_COSINE[3]), np.float32(_COSINE[4])
    c5, c6, c7 = np.float32(_COSINE[5]), np.float32(_COSINE[6]), np.float32(_COSINE[7])
    n = p.shape[1]
    for start in range(0, n, 2048):
        # slices: an index that cannot be negative lets the compiler use vector instructions
        end = min(start + 2048, n)
        x, y, z, out = p[0, start:end], p[1, start:end], p[2, start:end], total[start:end]
        for w in range(len(amplitudes)):
            a, b, c, d, amplitude = turns[w, 0], turns[w, 1], turns[w, 2], turns[w, 3], amplitudes[w]
            for i in range(len(x)):
                t = x[i] * a + y[i] * b + z[i] * c + d
                t = t - np.floor(t + half)
                q = t * t
                wave = one + q * (c1 + q * (c2 + q * (c3 + q * (c4 + q * (c5 + q * (c6 + q * c7))))))
                out[i] += amplitude * wave


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

    turns = np.concatenate([vectors, phases[:, None]], 1) / (2 * np.pi)
    waves_of = turns.astype(np.float32), amplitudes.astype(np.float32)

    def field(points: Floats) -> Floats:
        p = np.zeros((3, len(points)), np.float32)
        p[: points.shape[1]] = points.T
        total = np.zeros(len(points), np.float32)
        _waves(p, *waves_of, total)
        return total.astype(np.float64)

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


@nb.njit(cache=True, fastmath=False)
def _polyline(points: Any, line: Any, best: Any, place: Any) -> None:  # pragma: no cover - compiled
    segments, dimensions = len(line) - 1, line.shape[1]
    for i in range(len(points)):
        nearest = np.inf
        for k in range(segments):
            along = length = 0.0
            for c in range(dimensions):
                step = line[k + 1, c] - line[k, c]
                along += (points[i, c] - line[k, c]) * step
                length += step * step
            t = min(max(along / max(length, 1e-18), 0.0), 1.0)
            square = 0.0
            for c in range(dimensions):
                away = points[i, c] - line[k, c] - t * (line[k + 1, c] - line[k, c])
                square += away * away
            if square < nearest:
                nearest = square
                place[i] = (k + t) / segments
        best[i] = np.sqrt(nearest)


def polyline_distance(points: Floats, line: Floats) -> tuple[Floats, Floats]:
    """Distance of ``points`` (n, d) to the polyline ``line`` (k, d), and where on it the nearest point lies (0..1)."""
    best, place = np.empty(len(points)), np.zeros(len(points))
    _polyline(np.ascontiguousarray(points, np.float64), np.ascontiguousarray(line, np.float64), best, place)
    return best, place


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
