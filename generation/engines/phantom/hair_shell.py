"""The smooth surface hair lies on: a signed distance grid around the head, and strands marched over it.

Ears are left out: over a distance field with ears the hair behind them bursts outward.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numba as nb
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from scipy.spatial import cKDTree

from thermvision.generation.engines.phantom.anatomy import anatomy
from thermvision.generation.engines.phantom.fields import smoothstep
from thermvision.generation.engines.phantom.layers import Floats, Head

_CELL = 0.010  # metres
_SHAPE = (52, 62, 46)
_SMOOTHING = 1.1  # cells
_REACH = 0.060  # metres: beyond it nothing steers hair, and the search is slow


@dataclass(frozen=True, eq=False)
class HairShell:
    """Signed distances in metres, positive outside, with their gradients, on a regular grid.

    Attributes:
        origin: (3,) rest position of the first node.
        head: (nx, ny, nz, 4) distance to the head without ears, and its gradient.
        parted: the same for head and an ellipsoid before the face, which loose hair flows around.
    """

    origin: Floats
    head: Floats
    parted: Floats

    def distance(self, points: Floats) -> tuple[Floats, Floats]:
        """Distance (n,) to the head and outward unit direction (n, 3) at rest ``points`` (n, 3)."""
        sampled = _sample_many(self.head, self.origin, np.ascontiguousarray(points, np.float64))
        return sampled[:, 0], sampled[:, 1:]


@lru_cache(maxsize=2)
def make_shell(head: Head) -> HairShell:
    """The `HairShell` of an identity at rest."""
    rows = np.flatnonzero(anatomy(head.topology).skin & (head.topology.ear < 0.03))[::5]
    surface, normals = head.rest[rows], head.rest_normals[rows]
    points = head.landmarks
    origin = np.array([-0.26, points[27, 1] - 0.40, points[16, 2] - 0.21])
    nodes = np.stack(np.meshgrid(*(np.arange(k) for k in _SHAPE), indexing="ij"), -1).reshape(-1, 3) * _CELL + origin
    near, index = map(np.asarray, cKDTree(surface).query(nodes, k=2, distance_upper_bound=_REACH))
    found = np.isfinite(near[:, 1])
    side = np.zeros(int(found.sum()))
    for k in range(2):
        side += np.sum((nodes[found] - surface[index[found, k]]) * normals[index[found, k]], axis=1)
    distance = np.full(len(nodes), _REACH)
    distance[found] = near[found, 0] * np.sign(side)

    centre = np.array([0, (points[27, 1] + points[8, 1]) / 2 - 0.012, points[16, 2] + 0.075])
    radii = np.array([abs(points[16, 0]) * 0.93, (points[27, 1] - points[8, 1]) / 2 + 0.055, 0.085])
    scaled = (nodes - centre) / radii
    k = np.linalg.norm(scaled, axis=1)
    # first-order distance to an ellipsoid: value of the level function over the length of its gradient
    face = k * (k - 1) / np.maximum(np.linalg.norm(scaled / radii, axis=1), 1e-6)
    return HairShell(origin, _with_gradient(distance), _with_gradient(np.minimum(distance, face)))


def _with_gradient(distance: Floats) -> Floats:
    smooth = gaussian_filter(distance.reshape(_SHAPE), _SMOOTHING)
    gradient = np.stack(np.gradient(smooth, _CELL), -1)
    return np.ascontiguousarray(np.concatenate([smooth[..., None], gradient], -1))


@nb.njit(cache=True, fastmath=False)
def _sample(grid, origin, x, y, z):  # type: ignore[no-untyped-def]
    """Trilinear distance and unit gradient at one point."""
    cx = min(max((x - origin[0]) / _CELL, 0.0), grid.shape[0] - 1.001)
    cy = min(max((y - origin[1]) / _CELL, 0.0), grid.shape[1] - 1.001)
    cz = min(max((z - origin[2]) / _CELL, 0.0), grid.shape[2] - 1.001)
    i, j, k = int(cx), int(cy), int(cz)
    u, v, w = cx - i, cy - j, cz - k
    d = gx = gy = gz = 0.0
    for a in range(2):
        fa = u if a else 1 - u
        for b in range(2):
            fb = fa * (v if b else 1 - v)
            for c in range(2):
                f = fb * (w if c else 1 - w)
                node = grid[i + a, j + b, k + c]
                d += f * node[0]
                gx += f * node[1]
                gy += f * node[2]
                gz += f * node[3]
    length = max((gx * gx + gy * gy + gz * gz) ** 0.5, 1e-9)
    return d, gx / length, gy / length, gz / length


@nb.njit(cache=True, fastmath=False)
def _sample_many(grid, origin, points):  # type: ignore[no-untyped-def]
    out = np.empty((len(points), 4))
    for n in range(len(points)):
        out[n, 0], out[n, 1], out[n, 2], out[n, 3] = _sample(grid, origin, points[n, 0], points[n, 1], points[n, 2])
    return out


@dataclass(frozen=True, eq=False)
class Growth:
    """How strands run: see `march`. ``gather`` (3,) draws every strand to one point (a bun) and stops it there."""

    gravity: float
    jitter: float
    hug: float
    parted: bool
    gather: Floats | None = None


def march(
    shell: HairShell,
    head: Head,
    roots: Floats,
    directions: Floats,
    length: Floats,
    layer: Floats,
    count: int,
    growth: Growth,
    rng: np.random.Generator,
) -> tuple[Floats, Floats]:
    """Strands of ``count`` points grown over the shell in the rest pose.

    Each step pushes a strand that is below its layer outward (at most 6 mm), pulls one above it back, and bends its
    direction by gravity and a correlated jitter. Below the brow hair is released from the head and hangs.

    Args:
        roots: (n, 3) metres. directions: (n, 3) unit. length: (n,) metres. layer: (n,) metres above the head.

    Returns:
        Points (n, count, 3) and their height above the head (n, count), metres.
    """
    points = head.landmarks
    noise = rng.normal(0, growth.jitter, (len(roots), count, 3))
    gather = np.full(3, np.nan) if growth.gather is None else growth.gather
    strands, height = _march(
        shell.head, shell.parted if growth.parted else shell.head, shell.origin, np.ascontiguousarray(roots),
        np.ascontiguousarray(directions), np.ascontiguousarray(length), np.ascontiguousarray(layer), noise,
        growth.gravity, growth.hug, gather, float(points[24, 1]), float(points[30, 1]),
    )  # fmt: skip
    return strands, height


@nb.njit(cache=True, fastmath=False)
def _march(head, obstacle, origin, roots, directions, length, layer, noise, gravity, hug, gather, brow, nose):  # type: ignore[no-untyped-def]
    n, count = noise.shape[0], noise.shape[1]
    out = np.empty((n, count, 3))
    height = np.empty((n, count))
    gathered = not np.isnan(gather[0])
    for s in range(n):
        p = roots[s].copy()
        d = directions[s].copy()
        drift = noise[s, 0].copy()
        step = length[s] / (count - 1)
        live = 1.0
        out[s, 0] = p
        height[s, 0] = _sample(head, origin, p[0], p[1], p[2])[0]
        for k in range(1, count):
            p += d * (step * live)
            above, gx, gy, gz = _sample(obstacle, origin, p[0], p[1], p[2])
            g = np.array((gx, gy, gz))
            t = min(max((p[1] - brow) / (nose - brow), 0.0), 1.0)
            free = t * t * (3 - 2 * t)
            aim = layer[s] * (1 - np.exp(-k * step / 0.03))
            below = max(aim - above, 0.0)
            p += g * (min(below, 0.006) * live)
            outward = d[0] * gx + d[1] * gy + d[2] * gz
            if below > 0 and outward < 0:
                d -= outward * g
            excess = min(max((above - aim) / 0.01, 0.0), 1.0) * np.exp(-max(above - aim - 0.01, 0.0) / 0.02)
            d -= hug * (1 - 0.8 * free) * (max(outward, 0.0) + 0.35 * excess) * g
            drift = 0.85 * drift + 0.5 * noise[s, k]
            d /= max((d[0] ** 2 + d[1] ** 2 + d[2] ** 2) ** 0.5, 1e-6)
            pull = gravity * (0.5 + 1.2 * free)
            d += 0.3 * drift
            d[1] -= pull
            d[2] -= 0.35 * (1 - free) * pull
            d /= max((d[0] ** 2 + d[1] ** 2 + d[2] ** 2) ** 0.5, 1e-6)
            if gathered:
                to = gather - p
                away = max((to[0] ** 2 + to[1] ** 2 + to[2] ** 2) ** 0.5, 1e-6)
                share = min(max(1.2 - away / 0.12, 0.12), 0.8)
                d = d * (1 - share) + to / away * share
                d /= max((d[0] ** 2 + d[1] ** 2 + d[2] ** 2) ** 0.5, 1e-6)
                if away <= 0.022:
                    live = 0.0
            out[s, k] = p
            height[s, k] = _sample(head, origin, p[0], p[1], p[2])[0]
    return out, height


def face_keepout(head: Head, strands: Floats) -> NDArray[np.bool_]:
    """(n, k) True where a strand point lies before the face (below the brows, between the jaws): hair stays out."""
    points = head.landmarks
    x, y, z = np.moveaxis(strands, -1, 0)
    return (
        (np.abs(x) < 0.8 * np.abs(points[16, 0]))
        & (z > points[16, 2] + 0.035)
        & (y < points[[19, 24], 1].mean() + 0.012)
    )


def released(head: Head, strands: Floats) -> Floats:
    """(n, k) 0 on the skull .. 1 well below the chin, where hair hangs free of the warm head."""
    chin = head.landmarks[8, 1]
    return smoothstep(strands[..., 1], chin + 0.06, chin - 0.11)
