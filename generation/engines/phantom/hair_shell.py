"""The smooth surface hair lies on: a signed distance grid around the head, and strands marched over it.

Ears are left out: over a distance field with ears the hair behind them bursts outward.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import numba as nb
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, maximum_filter

from thermvision.generation.engines.phantom.anatomy import anatomy
from thermvision.generation.engines.phantom.fields import smoothstep
from thermvision.generation.engines.phantom.layers import Floats, Head, HeadTopology

_CELL = 0.010  # metres
_SHAPE = (52, 62, 46)
_SMOOTHING = 1.1  # cells
Knot = Literal["hidden", "tail", "bun"]
_REACH = 0.055  # metres: beyond it nothing steers hair, and the search is slow


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
    rows = _shell_rows(head.topology)
    surface, normals = head.rest[rows], head.rest_normals[rows]
    points = head.landmarks
    origin = np.array([-0.26, points[27, 1] - 0.40, points[16, 2] - 0.21])
    nodes = np.stack(np.meshgrid(*(np.arange(k) for k in _SHAPE), indexing="ij"), -1).reshape(-1, 3) * _CELL + origin
    distance = np.full(_SHAPE, _REACH)
    _spread(surface, normals, origin, np.full((*_SHAPE, 2), np.inf), np.zeros((*_SHAPE, 2)), distance)

    centre = np.array([0, (points[27, 1] + points[8, 1]) / 2 - 0.012, points[16, 2] + 0.075])
    radii = np.array([abs(points[16, 0]) * 0.93, (points[27, 1] - points[8, 1]) / 2 + 0.055, 0.085])
    scaled = (nodes - centre) / radii
    k = np.linalg.norm(scaled, axis=1)
    # first-order distance to an ellipsoid: value of the level function over the length of its gradient
    face = k * (k - 1) / np.maximum(np.linalg.norm(scaled / radii, axis=1), 1e-6)
    return HairShell(origin, _with_gradient(distance), _with_gradient(np.minimum(distance, face.reshape(_SHAPE))))


@lru_cache(maxsize=2)
def _shell_rows(topology: HeadTopology) -> NDArray[np.int64]:
    """One vertex of the skin without ears in each small cube: the mesh is far denser about eyes and mouth."""
    rows = np.flatnonzero(anatomy(topology).skin & (topology.ear < 0.03))
    cubes = np.floor(topology.canonical[rows] / (0.75 * _CELL)).astype(np.int64)
    return rows[np.unique(cubes, axis=0, return_index=True)[1]]


@nb.njit(cache=True, fastmath=False)
def _spread(  # pragma: no cover - compiled
    surface: Any, normals: Any, origin: Any, near: Any, side: Any, distance: Any
) -> None:
    """Signed ``distance`` (nx, ny, nz) of the nodes within `_REACH` of the ``surface`` points, by the nearest two."""
    reach = int(np.ceil(_REACH / _CELL))
    shape = distance.shape
    for s in range(len(surface)):
        x, y, z = surface[s, 0] - origin[0], surface[s, 1] - origin[1], surface[s, 2] - origin[2]
        i0, j0, k0 = int(np.rint(x / _CELL)), int(np.rint(y / _CELL)), int(np.rint(z / _CELL))
        for i in range(max(i0 - reach, 0), min(i0 + reach + 1, shape[0])):
            dx = i * _CELL - x
            for j in range(max(j0 - reach, 0), min(j0 + reach + 1, shape[1])):
                dy = j * _CELL - y
                flat = dx * dx + dy * dy
                if flat > _REACH * _REACH:
                    continue
                for k in range(max(k0 - reach, 0), min(k0 + reach + 1, shape[2])):
                    dz = k * _CELL - z
                    square = flat + dz * dz
                    if square >= near[i, j, k, 1]:
                        continue
                    outward = dx * normals[s, 0] + dy * normals[s, 1] + dz * normals[s, 2]
                    if square < near[i, j, k, 0]:
                        near[i, j, k, 1], side[i, j, k, 1] = near[i, j, k, 0], side[i, j, k, 0]
                        near[i, j, k, 0], side[i, j, k, 0] = square, outward
                    else:
                        near[i, j, k, 1], side[i, j, k, 1] = square, outward
    for i in range(shape[0]):
        for j in range(shape[1]):
            for k in range(shape[2]):
                if near[i, j, k, 0] < _REACH * _REACH:
                    outside = side[i, j, k, 0] + side[i, j, k, 1] >= 0
                    away = np.sqrt(near[i, j, k, 0])
                    distance[i, j, k] = away if outside else -away


def _with_gradient(distance: Floats) -> Floats:
    smooth = gaussian_filter(distance, _SMOOTHING)
    gradient = [np.gradient(smooth, _CELL, axis=axis) for axis in range(3)]
    return np.ascontiguousarray(np.stack([smooth, *gradient], -1))


@nb.njit(cache=True, fastmath=False)
def _sample(grid: Any, origin: Any, x: float, y: float, z: float) -> Any:  # pragma: no cover - compiled
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
def _sample_many(grid: Any, origin: Any, points: Any) -> Any:  # pragma: no cover - compiled
    out = np.empty((len(points), 4))
    for n in range(len(points)):
        out[n, 0], out[n, 1], out[n, 2], out[n, 3] = _sample(grid, origin, points[n, 0], points[n, 1], points[n, 2])
    return out


@dataclass(frozen=True, eq=False)
class Growth:
    """How strands run: see `march`.

    ``gather`` (3,) draws every strand to one point. There, by ``ending``, it stops ("hidden"), falls on ("tail") or
    winds around that point ("bun").
    """

    gravity: float
    jitter: float
    hug: float
    parted: bool
    gather: Floats | None = None
    ending: Knot = "hidden"


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
    # one draw for two steps: bends shorter than that are not seen
    noise = rng.standard_normal((len(roots), (count + 1) // 2, 3), np.float32) * np.float32(growth.jitter)
    gather = np.full(3, np.nan) if growth.gather is None else growth.gather
    goes_on, winds = growth.ending != "hidden", growth.ending == "bun"
    strands, height = _march(
        shell.head, shell.parted if growth.parted else shell.head, shell.origin, np.ascontiguousarray(roots),
        np.ascontiguousarray(directions), np.ascontiguousarray(length), np.ascontiguousarray(layer), noise, count,
        not growth.parted, growth.gravity, growth.hug, gather, goes_on, winds, float(points[24, 1]),
        float(points[30, 1]),
    )  # fmt: skip
    return strands, height


@nb.njit(cache=True, fastmath=False)
def _march(  # pragma: no cover - compiled
    head: Any, obstacle: Any, origin: Any, roots: Any, directions: Any, length: Any, layer: Any, noise: Any, count: int,
    same: bool, gravity: float, hug: float, gather: Any, goes_on: bool, winds: bool, brow: float, nose: float,
) -> Any:  # fmt: skip
    n = len(roots)
    out = np.empty((n, count, 3))
    height = np.empty((n, count))
    gathered = not np.isnan(gather[0])
    for s in range(n):
        x, y, z = roots[s, 0], roots[s, 1], roots[s, 2]
        dx, dy, dz = directions[s, 0], directions[s, 1], directions[s, 2]
        ex, ey, ez = float(noise[s, 0, 0]), float(noise[s, 0, 1]), float(noise[s, 0, 2])
        step = length[s] / (count - 1)
        live = 1.0
        out[s, 0, 0], out[s, 0, 1], out[s, 0, 2] = x, y, z
        height[s, 0] = _sample(head, origin, x, y, z)[0]
        for k in range(1, count):
            if live == 0.0 and goes_on:
                # beyond the knot
                if winds:
                    rx, ry, rz = x - gather[0], y - gather[1], z - gather[2]
                    scale = 1 / max((rx * rx + ry * ry + rz * rz) ** 0.5, 1e-6)
                    ax, ay, az = float(noise[s, 0, 0]), float(noise[s, 0, 1]), float(noise[s, 0, 2])
                    size = 1 / max((ax * ax + ay * ay + az * az) ** 0.5, 1e-9)
                    ball = 0.012 + 1.1 * layer[s]
                    rx, ry, rz = rx * scale, ry * scale, rz * scale
                    ax, ay, az = ax * size, ay * size, az * size
                    dx, dy, dz = ay * rz - az * ry, az * rx - ax * rz, ax * ry - ay * rx
                    x, y, z = gather[0] + rx * ball, gather[1] + ry * ball, gather[2] + rz * ball
                    x, y, z = x + dx * 0.8 * step, y + dy * 0.8 * step, z + dz * 0.8 * step
                else:
                    dx, dy, dz = dx + 0.25 * ex, dy - 0.5, dz + 0.25 * ez
                    above, gx, gy, gz = _sample(obstacle, origin, x, y, z)
                    push = max(0.02 - above, 0.0) / 0.02
                    dx, dy, dz = dx + push * gx, dy + push * gy, dz + push * gz
                    scale = 1 / max((dx * dx + dy * dy + dz * dz) ** 0.5, 1e-6)
                    dx, dy, dz = dx * scale, dy * scale, dz * scale
                    x, y, z = x + dx * step, y + dy * step, z + dz * step
                above, gx, gy, gz = _sample(head, origin, x, y, z)
                lift = max(-above, 0.0)
                x, y, z = x + gx * lift, y + gy * lift, z + gz * lift
                out[s, k, 0], out[s, k, 1], out[s, k, 2] = x, y, z
                height[s, k] = max(above, 0.0)
                continue
            if live == 0.0:
                out[s, k, 0], out[s, k, 1], out[s, k, 2] = x, y, z
                height[s, k] = height[s, k - 1]
                continue
            x, y, z = x + dx * step, y + dy * step, z + dz * step
            above, gx, gy, gz = _sample(obstacle, origin, x, y, z)
            t = min(max((y - brow) / (nose - brow), 0.0), 1.0)
            free = t * t * (3 - 2 * t)
            aim = layer[s] * (1 - np.exp(-k * step / 0.03))
            below = max(aim - above, 0.0)
            push = min(below, 0.006)
            x, y, z = x + gx * push, y + gy * push, z + gz * push
            outward = dx * gx + dy * gy + dz * gz
            if below > 0 and outward < 0:
                dx, dy, dz = dx - outward * gx, dy - outward * gy, dz - outward * gz
            excess = min(max((above - aim) / 0.01, 0.0), 1.0) * np.exp(-max(above - aim - 0.01, 0.0) / 0.02)
            pulled = hug * (1 - 0.8 * free) * (max(outward, 0.0) + 0.35 * excess)
            dx, dy, dz = dx - pulled * gx, dy - pulled * gy, dz - pulled * gz
            j = k // 2
            ex = 0.85 * ex + 0.5 * noise[s, j, 0]
            ey = 0.85 * ey + 0.5 * noise[s, j, 1]
            ez = 0.85 * ez + 0.5 * noise[s, j, 2]
            scale = 1 / max((dx * dx + dy * dy + dz * dz) ** 0.5, 1e-6)
            fall = gravity * (0.5 + 1.2 * free)
            dx, dy, dz = dx * scale + 0.3 * ex, dy * scale + 0.3 * ey - fall, dz * scale + 0.3 * ez
            dz -= 0.35 * (1 - free) * fall
            scale = 1 / max((dx * dx + dy * dy + dz * dz) ** 0.5, 1e-6)
            dx, dy, dz = dx * scale, dy * scale, dz * scale
            if gathered:
                tx, ty, tz = gather[0] - x, gather[1] - y, gather[2] - z
                away = max((tx * tx + ty * ty + tz * tz) ** 0.5, 1e-6)
                share = min(max(1.2 - away / 0.12, 0.12), 0.8)
                dx, dy, dz = (
                    dx * (1 - share) + tx / away * share,
                    dy * (1 - share) + ty / away * share,
                    dz * (1 - share) + tz / away * share,
                )
                scale = 1 / max((dx * dx + dy * dy + dz * dz) ** 0.5, 1e-6)
                dx, dy, dz = dx * scale, dy * scale, dz * scale
                if away <= 0.022:
                    live = 0.0
            out[s, k, 0], out[s, k, 1], out[s, k, 2] = x, y, z
            height[s, k] = above if same and below <= 0 else _sample(head, origin, x, y, z)[0]
    return out, height


_EAR_CELL, _EAR_RIM = 0.002, 4  # metres; cells around an ear over which hair rises to pass it
_EAR_GAP, _EAR_BED = 0.0015, 0.005  # metres between ear and hair, and of hair over it
_EASING = (0.7, 0.4, 0.15)  # share of a point's rise that its 1st, 2nd and 3rd neighbour on the strand take


def over_ears(head: Head, strands: Floats) -> Floats:
    """Strands (n, k, 3) at rest that pass outside the ears: the shell they were grown on has none."""
    result = strands.copy()
    bed = _EAR_GAP + _EAR_BED * (np.arange(len(strands)) * 0.618034 % 1)[:, None]
    for side in (-1, 1):
        ear = head.rest[(head.topology.ear > 0.3) & (side * head.topology.canonical[:, 0] > 0)]
        low = ear[:, 1:].min(0) - (_EAR_RIM + 2) * _EAR_CELL
        shape = np.ceil((ear[:, 1:].max(0) - low) / _EAR_CELL).astype(int) + _EAR_RIM + 3
        reach = np.zeros(tuple(shape))
        np.maximum.at(reach, tuple(((ear[:, 1:] - low) / _EAR_CELL).astype(int).T), side * ear[:, 0])
        reach = maximum_filter(reach, 2 * _EAR_RIM + 1)
        at = ((strands[..., 1:] - low) / _EAR_CELL).astype(int)
        beside = (at >= 0).all(-1) & (at < shape).all(-1) & (side * strands[..., 0] > 0)
        at = np.where(beside[..., None], at, 0)
        rise = np.where(beside, np.maximum(reach[at[..., 0], at[..., 1]] + bed - side * strands[..., 0], 0), 0)
        rise[:, 0] = 0  # roots stay
        eased = rise.copy()
        for step, share in enumerate(_EASING, 1):
            eased[:, step:] = np.maximum(eased[:, step:], share * rise[:, :-step])
            eased[:, :-step] = np.maximum(eased[:, :-step], share * rise[:, step:])
        eased[:, 0] = 0
        result[..., 0] += side * eased
    return result


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
