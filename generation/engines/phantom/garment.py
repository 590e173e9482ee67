"""Clothes: a copy of the skin lifted off the body, with a neckline cut out of it and folds pressed into it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from thermvision.annotations.schema import SEGMENTS
from thermvision.generation.engines.phantom.anatomy import anatomy
from thermvision.generation.engines.phantom.fields import Field, random_field, smoothstep
from thermvision.generation.engines.phantom.layers import Floats, Head, Layer
from thermvision.generation.engines.phantom.thermal import SkinTemperature

CLOTH = SEGMENTS.index("cloth")
CLOTH_EMISSIVITY = 0.92
_MARGIN = 0.020  # metres beyond the neckline still in the mesh: the cut falls inside triangles
_ROUNDING = 0.014  # metres, softness of the corner between collar and chest
_OFFSET, _COLLAR = 0.009, 0.0035  # metres off the skin; what the collar adds
_DEEPEST = 0.004  # metres a fold may sink: below, skin would come through


@dataclass(frozen=True)
class Neckline:
    """``radius`` of the collar around the neck's axis and ``drop`` below the chin, ranges in metres.

    ``notch`` is the depth of a V, ``widening`` a wide collar (metres at the front), ``ribbed`` a knitted hem.
    """

    radius: tuple[float, float]
    drop: tuple[float, float]
    notch: float = 0.0
    widening: float = 0.0
    ribbed: bool = False


NECKLINES = {
    "crew": Neckline((0.064, 0.072), (0.082, 0.092), ribbed=True),
    "v": Neckline((0.064, 0.074), (0.082, 0.100), notch=0.045, widening=0.006, ribbed=True),
    "wide": Neckline((0.070, 0.080), (0.090, 0.104), widening=0.010),
    "turtleneck": Neckline((0.060, 0.064), (0.045, 0.045)),
}


def make_garment(head: Head, skin: SkinTemperature, ambient: float, rng: np.random.Generator) -> list[Layer]:
    """One upper garment; which, how warm and how folded is drawn from ``rng``."""
    name = str(rng.choice(list(NECKLINES), p=[0.4, 0.25, 0.2, 0.15]))
    shape = NECKLINES[name]
    topology, place = head.topology, anatomy(head.topology)
    cut = _cut(topology.canonical, place.points, shape, rng)
    worn = place.skin & (cut > -_MARGIN)
    rows, triangles = _submesh(topology.triangles, worn)

    cloth = head.rest + _OFFSET * head.rest_normals
    for _ in range(10):
        cloth = np.where(worn[:, None], topology.smoothing @ cloth, cloth)
    C, cut, cloth = topology.canonical[rows], cut[rows], cloth[rows]
    normals = head.rest_normals[rows]
    hem = np.exp(-np.clip(cut, 0, None) / 0.008) * smoothstep(cut, -0.012, -0.002)
    # cloth hangs: folds run down more than across
    hanging = C * np.array([1.0, 0.45, 1.0])
    deep = _ridges(random_field(rng, 0.045))(hanging) * 0.9 + 0.7 * random_field(rng, 0.05)(hanging)
    crease = _ridges(random_field(rng, 0.025))(hanging)
    away = smoothstep(cut, 0.004, 0.03)  # the hem is sewn flat
    relief = 0.0028 * deep * away + 0.0009 * crease * away + _COLLAR * hem
    cloth = cloth + normals * np.maximum(relief, -_DEEPEST)[:, None]

    y = C[:, 1]
    chin = place.points[8, 1]
    temperature = ambient + (skin.base - ambient) * rng.uniform(0.38, 0.58) + (0.55 * deep + 0.35 * crease) * away
    temperature += 1.3 * np.exp(-np.clip(cut, 0, None) / 0.018)
    temperature += 0.8 * smoothstep(normals[:, 1], 0.5, 0.95) - 1.0 * smoothstep(y, chin - 0.12, chin - 0.28)
    temperature += 0.09 * random_field(rng, 0.004, 1, 32)(C)  # uneven cloth; the weave itself is finer than the mesh
    if shape.ribbed:
        temperature += 0.35 * np.sin(cut / 0.0011) * ((cut > 0) & (cut < 0.014)) - 0.5 * (np.abs(cut - 0.015) < 0.0016)
    return [Layer(cloth, triangles, temperature, CLOTH, CLOTH_EMISSIVITY, "skin", cut)]


def _cut(canonical: Floats, points: Floats, shape: Neckline, rng: np.random.Generator) -> Floats:
    """(n,) metres inside the garment: outside the collar's cylinder or below the neckline, the corner rounded."""
    x, y, z = canonical.T
    axis = points[16, 2] - 0.035
    radius = rng.uniform(*shape.radius) + shape.widening * smoothstep(z, 0.02, 0.09)
    level = points[8, 1] - rng.uniform(*shape.drop) + 0.55 * np.clip(axis - z, -0.02, 0.1)
    # straight sides from the shoulder to a point, which is rounded off
    notch = np.clip(1 - np.sqrt(x * x + 2e-5) / radius, 0, 1) * smoothstep(z, 0.0, 0.03)
    level = level - shape.notch * notch
    outside = np.hypot(x, 0.95 * (z - axis)) - radius
    # the larger of both with a soft corner: a plain maximum cuts square necklines
    k = _ROUNDING
    cut = k * np.logaddexp(outside / k, (level - y) / k) - 0.35 * k
    return np.where(y > points[8, 1] - 0.035, -1.0, cut)


def _submesh(triangles: NDArray[np.int32], chosen: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """Rows of the chosen vertices that some wholly chosen triangle uses, and those triangles in terms of them."""
    whole = triangles[chosen[triangles].all(1)]
    rows, renumbered = np.unique(whole, return_inverse=True)
    return rows.astype(np.int64), renumbered.reshape(-1, 3).astype(np.int32)


def _ridges(field: Field) -> Field:
    """Sharp crests where the field crosses zero, from 1 down to -1."""

    def ridged(points: Floats) -> Floats:
        return 1 - np.minimum(1.6 * np.abs(field(points)), 2.0)

    return ridged
