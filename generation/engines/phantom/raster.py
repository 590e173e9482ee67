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

STRIPS = 4  # each strip passes over all triangles: more of them cost more than they bring
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


@nb.njit(cache=True, parallel=True, fastmath=False, error_model="numpy")
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


@nb.njit(cache=True, fastmath=False, error_model="numpy")
def _first_sample(edge: Any) -> Any:  # pragma: no cover - compiled
    """Index of the first sample whose centre lies at or beyond ``edge``; what lies before ends with the one before."""
    return np.int64(np.ceil(edge - 0.5))


@nb.njit(cache=True, fastmath=False, error_model="numpy")
def _pack(screen: Any, cut: Any) -> Any:  # pragma: no cover - compiled
    """(n, 4) x, y, 1 / depth and cut: one cache line a corner. 1 / depth is infinite for what is not to be drawn."""
    packed = np.empty((screen.shape[0], 4))
    for i in range(screen.shape[0]):
        packed[i, 0], packed[i, 1], packed[i, 3] = screen[i, 0], screen[i, 1], cut[i]
        packed[i, 2] = 1.0 / screen[i, 2] if screen[i, 2] > NEAR else np.inf
    return packed


@nb.njit(cache=True, parallel=True, fastmath=False, error_model="numpy")
def _shown(packed: Any, triangles: Any, height: int, width: int, cull: bool) -> Any:  # pragma: no cover - compiled
    """Triangles that may cover a sample, in order within each of `STRIPS` blocks: index, first row, row after the last.

    Returns their array, with every block at its own offset, and (STRIPS,) how many a block has.
    """
    total = triangles.shape[0]
    shown = np.empty((total + STRIPS, 3), np.int32)  # every block may write one entry more than it keeps
    counts = np.zeros(STRIPS, np.int64)
    for block in nb.prange(STRIPS):
        first = block * total // STRIPS + block
        n = first
        for t in range(block * total // STRIPS, (block + 1) * total // STRIPS):
            a, b, c = triangles[t, 0], triangles[t, 1], triangles[t, 2]
            x0, y0, x1, y1, x2, y2 = packed[a, 0], packed[a, 1], packed[b, 0], packed[b, 1], packed[c, 0], packed[c, 1]
            area = (x1 - x0) * (y2 - y0) - (x2 - x0) * (y1 - y0)
            # y runs down: what faces the lens turns clockwise
            if abs(area) < 1e-9 or (cull and area > 0.0):
                continue
            left, right = min(x0, min(x1, x2)), max(x0, max(x1, x2))
            low, high = min(y0, min(y1, y2)), max(y0, max(y1, y2))
            if not (right > 0.0 and left < width and high > 0.0 and low < height):
                continue
            top, bottom = max(_first_sample(low), 0), min(_first_sample(high), height)
            shown[n, 0], shown[n, 1], shown[n, 2] = t, top, bottom
            whole = max(packed[a, 2], max(packed[b, 2], packed[c, 2])) < np.inf
            # many lie between two rows or two columns of samples; counted without a branch, which would mispredict
            n += (top < bottom) & (_first_sample(left) < _first_sample(right)) & whole
        counts[block] = n - first
    return shown, counts


@nb.njit(cache=True, parallel=True, fastmath=False, error_model="numpy")
def _fill(  # pragma: no cover - compiled
    packed: Any, triangles: Any, shown: Any, counts: Any, offset: int, triangle: Any, depth: Any, weight: Any
) -> None:
    height, width = depth.shape
    total = triangles.shape[0]
    for strip in nb.prange(STRIPS):
        first, last = strip * height // STRIPS, (strip + 1) * height // STRIPS
        for block in range(STRIPS):
            begin = block * total // STRIPS + block
            for s in range(begin, begin + counts[block]):
                top, bottom = max(first, shown[s, 1]), min(last, shown[s, 2])
                if top >= bottom:
                    continue
                t = shown[s, 0]
                a, b, c = triangles[t, 0], triangles[t, 1], triangles[t, 2]
                x0, y0, i0, c0 = packed[a, 0], packed[a, 1], packed[a, 2], packed[a, 3]
                x1, y1, i1, c1 = packed[b, 0], packed[b, 1], packed[b, 2], packed[b, 3]
                x2, y2, i2, c2 = packed[c, 0], packed[c, 1], packed[c, 2], packed[c, 3]
                whole = min(c0, min(c1, c2)) >= 0.0
                # the line of the edge opposite to each corner, p x + q y + r = 0; the two triangles of an edge have
                # exactly opposite coefficients, so that every sample between them belongs to one of the two
                p0, q0, r0 = y1 - y2, x2 - x1, x1 * y2 - x2 * y1
                p1, q1, r1 = y2 - y0, x0 - x2, x2 * y0 - x0 * y2
                p2, q2, r2 = y0 - y1, x1 - x0, x0 * y1 - x1 * y0
                inverse_area = 1.0 / ((x1 - x0) * (y2 - y0) - (x2 - x0) * (y1 - y0))
                side = 1.0 if inverse_area > 0.0 else -1.0
                v0, v1, v2 = 1.0 / p0, 1.0 / p1, 1.0 / p2
                for y in range(top, bottom):
                    py = y + 0.5
                    e0, e1, e2 = q0 * py + r0, q1 * py + r1, q2 * py + r2
                    x_0, x_1, x_2 = -e0 * v0, -e1 * v1, -e2 * v2  # where the row crosses each edge
                    left_0 = x_0 if p0 * side > 0.0 else 0.0
                    left_1 = x_1 if p1 * side > 0.0 else 0.0
                    left_2 = x_2 if p2 * side > 0.0 else 0.0
                    right_0 = x_0 if p0 * side < 0.0 else np.inf
                    right_1 = x_1 if p1 * side < 0.0 else np.inf
                    right_2 = x_2 if p2 * side < 0.0 else np.inf
                    left = max(left_0, max(left_1, left_2))
                    right = min(right_0, min(right_1, min(right_2, np.float64(width))))
                    for x in range(_first_sample(left), _first_sample(right)):
                        px = x + 0.5
                        w0, w1 = (p0 * px + e0) * inverse_area, (p1 * px + e1) * inverse_area
                        w2 = 1.0 - w0 - w1
                        w0, w1, w2 = w0 * i0, w1 * i1, w2 * i2
                        z = 1.0 / (w0 + w1 + w2)
                        if z >= depth[y, x]:
                            continue
                        if not whole and w0 * c0 + w1 * c1 + w2 * c2 < 0.0:
                            continue
                        depth[y, x] = z
                        triangle[y, x] = t + offset
                        weight[y, x, 0] = w0 * z
                        weight[y, x, 1] = w1 * z


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
    packed = _pack(screen, cut)
    shown, counts = _shown(packed, triangles, height, width, cull)
    _fill(packed, triangles, shown, counts, first, seen.triangle, seen.depth, seen.weight)


@nb.njit(cache=True, fastmath=False, error_model="numpy")
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
        behind_b = False
        for k in range(points):
            # whether this point lies well behind what is drawn; each point ends one segment and begins the next
            xb, yb, zb = screen[n, k, 0], screen[n, k, 1], screen[n, k, 2]
            behind_a = behind_b
            behind_b = False
            if xb >= 0.0 and yb >= 0.0 and xb < width and yb < height:
                behind_b = zb > depth[int(yb), int(xb)] + CLEARLY_BEHIND
            if k == 0 or (behind_a and behind_b):
                continue
            xa, ya, za = screen[n, k - 1, 0], screen[n, k - 1, 1], screen[n, k - 1, 2]
            if za <= NEAR or zb <= NEAR:
                continue
            if max(xa, xb) < -2 or min(xa, xb) > width + 2 or max(ya, yb) < -2 or min(ya, yb) > height + 2:
                continue
            dx, dy, dz = xb - xa, yb - ya, zb - za
            steps = int(max(abs(dx), abs(dy))) + 1
            steep = abs(dy) > abs(dx)
            radius = half_width[n] * (1.0 - 0.6 * (k - 1) / (points - 1))
            limit = int(2048 * radius)
            ta, dt = temperature[n, k - 1], temperature[n, k] - temperature[n, k - 1]
            share = 1.0 / steps
            for i in range(steps):
                f = i * share
                z = np.float32(za + f * dz)
                if limit < 1024:
                    x, y = int(np.floor(xa + f * dx)), int(np.floor(ya + f * dy))
                    if x < 0 or y < 0 or x >= width or y >= height:
                        continue
                    h = (n * 73856093) ^ (x * 19349663) ^ (y * 83492791)
                    h = ((h ^ (h >> 13)) * 1274126177) & 0x7FFFFFFF
                    # one branch for both: each alone would mispredict
                    if (((h >> 8) & 1023) >= limit) | (z >= depth[y, x]):
                        continue
                    depth[y, x] = z
                    triangle[y, x] = code
                    weight[y, x, 0] = ta + f * dt
                    continue
                along = int(np.floor((ya + f * dy) if steep else (xa + f * dx)))
                across = (xa + f * dx) if steep else (ya + f * dy)
                start, stop = int(np.ceil(across - radius - 0.5)), int(np.floor(across + radius - 0.5))
                for q in range(start, stop + 1):
                    x, y = (q, along) if steep else (along, q)
                    if x < 0 or y < 0 or x >= width or y >= height or z >= depth[y, x]:
                        continue
                    depth[y, x] = z
                    triangle[y, x] = code
                    weight[y, x, 0] = ta + f * dt


@nb.njit(cache=True, fastmath=False, error_model="numpy")
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
