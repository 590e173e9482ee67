"""From what is seen to what the detector receives: emission, reflection and the average over each pixel's samples."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numba as nb
import numpy as np
from numpy.typing import NDArray

from thermvision.annotations.radiometry import TABLE_KELVIN, ZERO_CELSIUS, band_radiance, radiance_table
from thermvision.annotations.schema import SEGMENTS
from thermvision.generation.engines.phantom.raster import NOTHING, STRAND, Visibility

REFRACTIVE_INDEX = 1.33  # of skin in the band, as of water
SKIN_EMISSIVITY = 0.985
STRAND_EMISSIVITY = 0.95
# rough skin shows no grazing facets: the cosine is lifted, else every limb gets a dark outline
_ROUGH_FLOOR, _ROUGH_GAIN = 0.22, 0.78
_COSINES = 1024
_GLASSES = SEGMENTS.index("glasses")
_ROOM_OFFSET = -1.0  # °C of the reflected surroundings against the air


@lru_cache(1)
def angular_emissivity() -> NDArray[np.float32]:
    """Directional over normal emissivity at `_COSINES` evenly spaced |cos| of the viewing angle.

    1 - F of unpolarised Fresnel reflection, over its value at normal incidence (Watmough et al. 1970: obliquity
    matters only beyond about 70 degrees).
    """
    n = REFRACTIVE_INDEX
    cosine = _ROUGH_FLOOR + _ROUGH_GAIN * np.linspace(0, 1, _COSINES)
    inside = np.sqrt(1 - (1 - cosine**2) / n**2)
    across = ((cosine - n * inside) / (cosine + n * inside)) ** 2
    along = ((inside - n * cosine) / (inside + n * cosine)) ** 2
    return ((1 - (across + along) / 2) / (1 - ((n - 1) / (n + 1)) ** 2)).astype(np.float32)


# The bodies of compiled functions take any array; the type checker sees no more of them than that.


@nb.njit(cache=True, parallel=True, fastmath=False, error_model="numpy")
def _leaving(  # pragma: no cover - compiled
    temperature: Any, cosine: Any, emissivity: Any, label: Any, room: float, angular: Any, table: Any, first: float,
    step: float, out: Any,
) -> None:  # fmt: skip
    """Radiance (n,) that leaves each vertex, and its temperature, in ``out`` (n, 2)."""
    for i in nb.prange(temperature.shape[0]):
        e = np.float64(emissivity[i])
        if label[i] != _GLASSES:
            facing = min(max(np.float64(cosine[i]), 0.0), 1.0)
            e *= angular[int(facing * (_COSINES - 1) + 0.5)]
        position = (temperature[i] - first) / step
        k = min(max(int(position), 0), table.shape[0] - 2)
        out[i, 0] = e * (table[k] + (position - k) * (table[k + 1] - table[k])) + (1.0 - e) * room
        out[i, 1] = temperature[i]


@nb.njit(cache=True, parallel=True, fastmath=False, error_model="numpy")
def _integrate(  # pragma: no cover - compiled
    triangle: Any,
    weight: Any,
    depth: Any,
    triangles: Any,
    leaving: Any,
    label: Any,
    background: Any,
    room: float,
    samples: int,
    table: Any,
    table_first: float,
    table_step: float,
    out_radiance: Any,
    out_temperature: Any,
    out_segment: Any,
    out_depth: Any,
) -> None:
    rows, columns = out_radiance.shape
    middle, share = samples // 2, 1.0 / (samples * samples)
    for i in nb.prange(rows):
        for j in range(columns):
            total, heat, empty = 0.0, 0.0, 0
            for u in range(samples):
                y = i * samples + u
                for v in range(samples):
                    x = j * samples + v
                    t = triangle[y, x]
                    if t == NOTHING:
                        empty += 1
                    elif t < NOTHING:
                        celsius = np.float64(weight[y, x, 0])
                        position = (celsius - table_first) / table_step
                        k = min(max(int(position), 0), table.shape[0] - 2)
                        emitted = table[k] + (position - k) * (table[k + 1] - table[k])
                        total += STRAND_EMISSIVITY * emitted + (1.0 - STRAND_EMISSIVITY) * room
                        heat += celsius
                    else:
                        a, b, c = triangles[t, 0], triangles[t, 1], triangles[t, 2]
                        p, q = np.float64(weight[y, x, 0]), np.float64(weight[y, x, 1])
                        r = 1.0 - p - q
                        total += p * leaving[a, 0] + q * leaving[b, 0] + r * leaving[c, 0]
                        heat += p * leaving[a, 1] + q * leaving[b, 1] + r * leaving[c, 1]
            if empty:
                celsius = background[i, j]
                position = (celsius - table_first) / table_step
                k = min(max(int(position), 0), table.shape[0] - 2)
                total += empty * (table[k] + (position - k) * (table[k + 1] - table[k]))
                heat += empty * celsius
            out_radiance[i, j] = total * share
            out_temperature[i, j] = heat * share
            y, x = i * samples + middle, j * samples + middle
            t = triangle[y, x]
            out_segment[i, j] = 0 if t == NOTHING else STRAND - t if t < NOTHING else label[triangles[t, 0]]
            out_depth[i, j] = 0.0 if t == NOTHING else depth[y, x]


def integrate(
    seen: Visibility,
    triangles: NDArray[np.int32],
    temperature: NDArray[np.float32],
    cosine: NDArray[np.float32],
    emissivity: NDArray[np.float32],
    label: NDArray[np.uint8],
    background: NDArray[np.float64],
    ambient: float,
    samples: int,
) -> tuple[NDArray[np.float64], NDArray[np.float32], NDArray[np.uint8], NDArray[np.float32]]:
    """Average ``samples`` × ``samples`` samples a pixel in radiance.

    What leaves a surface is computed at its vertices and interpolated between them: skin triangles are about as small
    as a pixel, and over 2 K the line is 4 mK from the curve.

    Args:
        seen: buffers (h · samples, w · samples).
        triangles: (t, 3) int32 of all meshes.
        temperature, cosine, emissivity: (n,) per vertex: °C, |cos| of the viewing angle, normal emissivity.
        label: (n,) per vertex, index into `SEGMENTS`.
        background: (h, w) °C where nothing is.
        ambient: air temperature, °C; the room reflected is 1 °C below it.
        samples: samples a pixel along each axis, odd.

    Returns:
        Radiance (h, w) float64 in W / (m² sr); object temperature (h, w) float32 in °C, mean of the samples; segment
        (h, w) uint8 and depth (h, w) float32 in metres (0: background) of the central sample.
    """
    shape = background.shape
    radiance, heat = np.empty(shape), np.empty(shape, np.float32)
    segment, depth = np.empty(shape, np.uint8), np.empty(shape, np.float32)
    table, first, step = radiance_table()[1], TABLE_KELVIN[0] - ZERO_CELSIUS, TABLE_KELVIN[2]
    room = float(band_radiance(ambient + _ROOM_OFFSET))
    leaving = np.empty((len(temperature), 2), np.float32)
    _leaving(temperature, cosine, emissivity, label, room, angular_emissivity(), table, first, step, leaving)
    _integrate(
        seen.triangle, seen.weight, seen.depth, triangles, leaving, label, background, room, samples,
        table, first, step, radiance, heat, segment, depth,
    )  # fmt: skip
    return radiance, heat, segment, depth
