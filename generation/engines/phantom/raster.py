"""A deterministic rasteriser: triangles into a visibility buffer, hair strands into the same z-buffer.

The image is cut into a fixed number of horizontal strips and every strip is drawn by one thread in triangle order, so
the result does not depend on how many threads there are. All values are per sample (several samples make a pixel).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numba as nb
import numpy as np
from numpy.typing import NDArray

STRIPS = 8
NEAR = 0.05  # metres: what is nearer to the lens is not drawn
CLEARLY_BEHIND = 0.006  # metres: a strand segment with both ends this far behind what is drawn is not walked
FAR = np.float32(1e9)
NOTHING = -1  # in `Visibility.triangle`; a strand of segment s is STRAND - s
STRAND = -2


@dataclass(frozen=True, eq=False)
class Visibility:
    """What is seen in each sample.

    Attributes:
        triangle: (H, W) int32 index of the nearest triangle, -1 for none, -2 - s for a strand of segment s.
        depth: (H, W) float32 distance along the optical axis in metres, 1e9 for none.
        weight: (H, W, 2) float32: perspective-correct weights of the triangle's first two corners; for a strand its
            temperature in [..., 0].
    """

    triangle: NDArray[np.int32]
    depth: NDArray[np.float32]
    weight: NDArray[np.float32]


def empty_visibility(height: int, width: int) -> Visibility:
    """Buffers with nothing in them."""
    return Visibility(
        np.full((height, width), NOTHING, np.int32),
        np.full((height, width), FAR, np.float32),
        np.zeros((height, width, 2), np.float32),
    )


def clear_visibility(seen: Visibility) -> None:
    """Empty the buffers: memory that is used again costs a frame less than memory that is new."""
    seen.triangle.fill(NOTHING)
    seen.depth.fill(FAR)


# The bodies of compiled functions take any array; the type checker sees no more of them than that.


@nb.njit(cache=True, parallel=True, fastmath=False)
def _project(points: Any, focal: Any, centre: Any, eye: Any, out: Any) -> None:  # pragma: no cover - compiled
    for i in nb.prange(points.shape[0]):
        depth = eye[2] - points[i, 2]
        scale = focal / depth if depth > 1e-6 else 0.0
        out[i, 0] = centre + scale * (points[i, 0] - eye[0])
        out[i, 1] = centre - scale * (points[i, 1] - eye[1])
        out[i, 2] = depth


def project(
    points: NDArray[Any], focal: float, centre: float, eye: NDArray[np.float64], out: NDArray[Any] | None = None
) -> NDArray[Any]:
    """Screen x, y (samples, continuous) and depth (metres) of world points: (n, 3) -> (n, 3) of the same type.

    Args:
        points: world positions.
        focal: focal length in samples.
        centre: principal point in samples, the same along both axes.
        eye: (3,) position of the lens.
        out: where to write; may be ``points`` itself.
    """
    screen = np.empty_like(points) if out is None else out
    _project(points, float(focal), float(centre), eye, screen)
    return screen


@nb.njit(cache=True, parallel=True, fastmath=False)
def _rows(screen: Any, triangles: Any, height: int, width: int, cull: bool) -> Any:  # pragma: no cover - compiled
    """First and last sample row of each triangle; first > last for one that cannot be seen."""
    rows = np.empty((triangles.shape[0], 2), np.int32)
    for t in nb.prange(triangles.shape[0]):
        a, b, c = triangles[t, 0], triangles[t, 1], triangles[t, 2]
        rows[t, 0], rows[t, 1] = 1, 0
        if min(screen[a, 2], screen[b, 2], screen[c, 2]) <= NEAR:
            continue
        x0, y0, x1, y1, x2, y2 = screen[a, 0], screen[a, 1], screen[b, 0], screen[b, 1], screen[c, 0], screen[c, 1]
        area = (x1 - x0) * (y2 - y0) - (x2 - x0) * (y1 - y0)
        if abs(area) < 1e-9 or (cull and area > 0.0):  # y runs down: what faces the lens turns clockwise
            continue
        low, high = min(y0, y1, y2), max(y0, y1, y2)
        if high < 0.0 or low > height or max(x0, x1, x2) < 0.0 or min(x0, x1, x2) > width:
            continue
        rows[t, 0] = max(0, int(np.ceil(low - 0.5)))
        rows[t, 1] = min(height - 1, int(np.floor(high - 0.5)))
    return rows


@nb.njit(cache=True, parallel=True, fastmath=False)
def _fill(  # pragma: no cover - compiled
    screen: Any, triangles: Any, cut: Any, rows: Any, offset: int, triangle: Any, depth: Any, weight: Any
) -> None:
    height, width = depth.shape
    for strip in nb.prange(STRIPS):
        first, last = strip * height // STRIPS, (strip + 1) * height // STRIPS - 1
        for t in range(triangles.shape[0]):
            top, bottom = max(first, rows[t, 0]), min(last, rows[t, 1])
            if top > bottom:
                continue
            a, b, c = triangles[t, 0], triangles[t, 1], triangles[t, 2]
            x0, y0, x1, y1, x2, y2 = screen[a, 0], screen[a, 1], screen[b, 0], screen[b, 1], screen[c, 0], screen[c, 1]
            area = (x1 - x0) * (y2 - y0) - (x2 - x0) * (y1 - y0)
            left = max(0, int(np.ceil(max(min(x0, x1, x2), -1.0) - 0.5)))
            right = min(width - 1, int(np.floor(min(max(x0, x1, x2), width + 1.0) - 0.5)))
            if left > right:
                continue
            inverse_area = 1.0 / area
            i0, i1, i2 = 1.0 / screen[a, 2], 1.0 / screen[b, 2], 1.0 / screen[c, 2]
            c0, c1, c2 = cut[a] * i0, cut[b] * i1, cut[c] * i2
            keep_all = c0 >= 0.0 and c1 >= 0.0 and c2 >= 0.0
            for y in range(top, bottom + 1):
                py = y + 0.5
                for x in range(left, right + 1):
                    px = x + 0.5
                    w0 = ((x1 - px) * (y2 - py) - (x2 - px) * (y1 - py)) * inverse_area
                    w1 = ((x2 - px) * (y0 - py) - (x0 - px) * (y2 - py)) * inverse_area
                    w2 = 1.0 - w0 - w1
                    if w0 < 0.0 or w1 < 0.0 or w2 < 0.0:
                        continue
                    z = 1.0 / (w0 * i0 + w1 * i1 + w2 * i2)
                    if z >= depth[y, x]:
                        continue
                    if not keep_all and w0 * c0 + w1 * c1 + w2 * c2 < 0.0:
                        continue
                    depth[y, x] = z
                    triangle[y, x] = t + offset
                    weight[y, x, 0] = w0 * i0 * z
                    weight[y, x, 1] = w1 * i1 * z


def draw_triangles(
    screen: NDArray[np.float64],
    triangles: NDArray[np.int32],
    cut: NDArray[np.float32],
    seen: Visibility,
    first: int = 0,
    cull: bool = False,
) -> None:
    """Draw triangles in index order into ``seen``; of equal depths the first drawn stays.

    A triangle with a corner nearer than `NEAR` (or behind the lens) is left out.

    Args:
        screen: (n, 3) from `project`.
        triangles: (t, 3) int32 rows of ``screen``.
        cut: (n,) a sample whose interpolated cut is negative is not drawn.
        seen: the buffers.
        first: added to the triangle index that is stored.
        cull: leave out triangles that are seen from behind (counter-clockwise is the front, as in the head mesh).
    """
    height, width = seen.depth.shape
    rows = _rows(screen, triangles, height, width, cull)
    _fill(screen, triangles, cut, rows, first, seen.triangle, seen.depth, seen.weight)


@nb.njit(cache=True, inline="always")
def _behind(x: Any, y: Any, z: Any, depth: Any) -> Any:  # pragma: no cover - compiled
    if x < 0.0 or y < 0.0 or x >= depth.shape[1] or y >= depth.shape[0]:
        return False
    return z > depth[int(y), int(x)] + CLEARLY_BEHIND


@nb.njit(cache=True, fastmath=False)
def draw_strands(  # pragma: no cover - compiled
    screen: Any, temperature: Any, half_width: Any, segment: int, triangle: Any, depth: Any, weight: Any
) -> None:
    """Draw polylines into the buffers of a `Visibility`, one step per sample along the longer axis.

    A strand tapers to 40 % at its tip. Where it is thinner than a sample, a hash of strand and sample decides whether
    the sample is covered, with the right probability: else lone hairs would look like pen strokes.

    Args:
        screen: (N, K, 3) float32 from `project`.
        temperature: (N, K) float32 °C.
        half_width: (N,) float32, samples at the root.
        segment: the segment index stored, as -2 - segment.
    """
    height, width = depth.shape
    points = screen.shape[1]
    code = STRAND - segment
    for n in range(screen.shape[0]):
        for k in range(points - 1):
            xa, ya, za = screen[n, k, 0], screen[n, k, 1], screen[n, k, 2]
            dx, dy, dz = screen[n, k + 1, 0] - xa, screen[n, k + 1, 1] - ya, screen[n, k + 1, 2] - za
            if za <= NEAR or za + dz <= NEAR:
                continue
            if (
                max(xa, xa + dx) < -2
                or min(xa, xa + dx) > width + 2
                or max(ya, ya + dy) < -2
                or min(ya, ya + dy) > height + 2
            ):
                continue
            if _behind(xa, ya, za, depth) and _behind(xa + dx, ya + dy, za + dz, depth):
                continue
            steps = int(max(abs(dx), abs(dy))) + 1
            steep = abs(dy) > abs(dx)
            radius = half_width[n] * (1.0 - 0.6 * k / (points - 1))
            limit = int(2048 * radius)
            ta, dt = temperature[n, k], temperature[n, k + 1] - temperature[n, k]
            for i in range(steps):
                f = i / steps
                z = np.float32(za + f * dz)
                along = int(np.floor((ya + f * dy) if steep else (xa + f * dx)))
                across = (xa + f * dx) if steep else (ya + f * dy)
                if limit < 1024:
                    start = stop = int(np.floor(across))
                else:
                    start, stop = int(np.ceil(across - radius - 0.5)), int(np.floor(across + radius - 0.5))
                for q in range(start, stop + 1):
                    x, y = (q, along) if steep else (along, q)
                    if x < 0 or y < 0 or x >= width or y >= height or z >= depth[y, x]:
                        continue
                    if limit < 1024:
                        h = (n * 73856093) ^ (x * 19349663) ^ (y * 83492791)
                        h = ((h ^ (h >> 13)) * 1274126177) & 0x7FFFFFFF
                        if (h >> 8) % 1024 >= limit:
                            continue
                    depth[y, x] = z
                    triangle[y, x] = code
                    weight[y, x, 0] = ta + f * dt


@nb.njit(cache=True, fastmath=False)
def _accumulate(vertices: Any, triangles: Any, total: Any) -> None:  # pragma: no cover - compiled
    for t in range(triangles.shape[0]):
        a, b, c = triangles[t, 0], triangles[t, 1], triangles[t, 2]
        ux, uy, uz = vertices[b, 0] - vertices[a, 0], vertices[b, 1] - vertices[a, 1], vertices[b, 2] - vertices[a, 2]
        vx, vy, vz = vertices[c, 0] - vertices[a, 0], vertices[c, 1] - vertices[a, 1], vertices[c, 2] - vertices[a, 2]
        nx, ny, nz = uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx
        for corner in range(3):
            i = triangles[t, corner]
            total[i, 0] += nx
            total[i, 1] += ny
            total[i, 2] += nz
    for i in range(total.shape[0]):
        length = np.sqrt(total[i, 0] ** 2 + total[i, 1] ** 2 + total[i, 2] ** 2)
        if length > 1e-15:
            total[i, 0] /= length
            total[i, 1] /= length
            total[i, 2] /= length


def surface_normals(vertices: NDArray[np.float64], triangles: NDArray[np.int32]) -> NDArray[np.float64]:
    """Area-weighted unit normals (n, 3) in one serial pass, so that the sums have one order; for every frame."""
    total = np.zeros((len(vertices), 3))
    _accumulate(np.ascontiguousarray(vertices), triangles, total)
    return total
