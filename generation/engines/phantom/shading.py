"""From what is seen to what the detector receives: emission, reflection and the average over each pixel's samples."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numba as nb
import numpy as np
from numpy.typing import NDArray

from thermvision.annotations.radiometry import TABLE_KELVIN, ZERO_CELSIUS, radiance_table
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


@nb.njit(cache=True, parallel=True, fastmath=False)
def _integrate(  # pragma: no cover - compiled
    triangle: Any,
    weight: Any,
    depth: Any,
    triangles: Any,
    temperature: Any,
    cosine: Any,
    emissivity: Any,
    label: Any,
    background: Any,
    room: float,
    samples: int,
    angular: Any,
    table: Any,
    table_first: float,
    table_step: float,
    out_radiance: Any,
    out_temperature: Any,
    out_segment: Any,
    out_depth: Any,
) -> None:
    rows, columns = out_radiance.shape
    position = (room - table_first) / table_step
    k = int(position)
    room_radiance = table[k] + (position - k) * (table[k + 1] - table[k])
    for i in nb.prange(rows):
        for j in range(columns):
            total, heat = 0.0, 0.0
            for u in range(samples):
                for v in range(samples):
                    y, x = i * samples + u, j * samples + v
                    t = triangle[y, x]
                    if t == NOTHING:
                        celsius, e, segment = background[i, j], 1.0, 0
                    elif t < NOTHING:
                        celsius, e, segment = np.float64(weight[y, x, 0]), STRAND_EMISSIVITY, STRAND - t
                    else:
                        a, b, c = triangles[t, 0], triangles[t, 1], triangles[t, 2]
                        p, q = weight[y, x, 0], weight[y, x, 1]
                        r = 1.0 - p - q
                        celsius = p * temperature[a] + q * temperature[b] + r * temperature[c]
                        e = p * emissivity[a] + q * emissivity[b] + r * emissivity[c]
                        segment = label[a]
                        if segment != _GLASSES:
                            facing = min(max(p * cosine[a] + q * cosine[b] + r * cosine[c], 0.0), 1.0)
                            e *= angular[int(facing * (_COSINES - 1) + 0.5)]
                    position = (celsius - table_first) / table_step
                    k = min(max(int(position), 0), table.shape[0] - 2)
                    emitted = table[k] + (position - k) * (table[k + 1] - table[k])
                    total += e * emitted + (1.0 - e) * room_radiance
                    heat += celsius
                    if u == samples // 2 and v == samples // 2:
                        out_segment[i, j] = segment
                        out_depth[i, j] = depth[y, x] if t != NOTHING else 0.0
            out_radiance[i, j] = total / (samples * samples)
            out_temperature[i, j] = heat / (samples * samples)


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
    _integrate(
        seen.triangle, seen.weight, seen.depth, triangles, temperature, cosine, emissivity, label, background,
        ambient + _ROOM_OFFSET, samples, angular_emissivity(), radiance_table()[1],
        TABLE_KELVIN[0] - ZERO_CELSIUS, TABLE_KELVIN[2], radiance, heat, segment, depth,
    )  # fmt: skip
    return radiance, heat, segment, depth
