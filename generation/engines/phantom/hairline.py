"""Where hair grows on the scalp, and the temperature of the scalp beneath it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter1d

from thermvision.generation.engines.phantom.anatomy import anatomy
from thermvision.generation.engines.phantom.fields import random_field, smoothstep
from thermvision.generation.engines.phantom.layers import Floats, Head
from thermvision.generation.engines.phantom.thermal import SkinTemperature

# degrees around the head from the midline of the forehead (0) to the nape (180), at which the line's height is given
_AZIMUTH = (0, 22, 38, 50, 58, 68, 76, 83, 92, 100, 112, 126, 140, 180)
_BARE_EAR = 0.45  # of the ear's weight, which fades over the skin behind it, where hair grows
_FRAY = 0.0035  # metres by which the line wanders at most
_BLEND = 0.018  # metres over which bare skin turns into covered scalp


@dataclass(frozen=True, eq=False)
class Hairline:
    """The part of a head that bears hair.

    Attributes:
        inside: (n,) metres above the hairline; negative on bare skin.
        thickness: (n,) 0..1, how much hair there is relative to the crown; thins out toward the line.
        warmth: 0..1, temperature of the outer hair between air (0) and skin (1).
    """

    inside: Floats
    thickness: Floats
    warmth: float


def draw_hairline(head: Head, rng: np.random.Generator) -> Hairline:
    """The hairline of an identity, in canonical space. Men's may recede at the temples."""
    place = anatomy(head.topology)
    points, eye = place.points, place.eye
    male = head.gender == "male"
    front = points[27, 1] + rng.uniform(0.060, 0.074) + (rng.uniform(-0.008, 0.004) if male else 0.0)
    recession = rng.uniform(0, 0.015) if male else rng.uniform(0, 0.006)
    sideburn = rng.uniform(-0.045, -0.012) if male else -0.012
    warmth = float(rng.uniform(0.26, 0.56))

    heights = (
        front, front - 0.001, front + recession, front - 0.008, points[24, 1] + 0.022, eye[1] + 0.016, eye[1] + 0.006,
        eye[1] + sideburn, eye[1] + sideburn, eye[1] + 0.010, points[30, 1], points[30, 1] - 0.020,
        points[48, 1] + 0.002, points[48, 1] - 0.014,
    )  # fmt: skip
    own = np.zeros(len(heights))
    own[1:7] = rng.normal(0, 0.0035, 6)  # no two temples are alike
    degrees = np.arange(181.0)
    line = gaussian_filter1d(np.interp(degrees, _AZIMUTH, np.add(heights, own)), 4.0, mode="mirror")
    x, y, z = head.topology.canonical.T
    azimuth = np.degrees(np.arctan2(np.abs(x), z - (points[16, 2] - 0.004)))
    # 0.8: the scalp slopes, so height above the line overstates the distance along the skin
    inside = 0.8 * (y - np.interp(azimuth, degrees, line))
    # a line has no corners and is never ruled: it wanders by centimetres and frays by millimetres
    frayed = np.zeros(len(inside))
    for amplitude, scale in ((0.0012, 0.003), (0.0022, 0.007), (0.0034, 0.018)):
        frayed += amplitude * random_field(rng, scale)(head.topology.canonical)
    # bounded, or islands of hair stand on a forehead that slopes as the line does
    inside += _FRAY * np.tanh(frayed / _FRAY)
    inside[(head.topology.ear > _BARE_EAR) | ~place.skin | place.lining] = -1.0
    return Hairline(inside, smoothstep(inside, -0.002, 0.026), warmth)


def crown(positions: Floats, landmarks: Floats) -> Floats:
    """(n,) 1 on top of the head, 0 at its sides: hair is cut to another length there."""
    return smoothstep(positions[:, 1], landmarks[27, 1] + 0.030, landmarks[27, 1] + 0.090)


def hair_level(hairline: Hairline, skin: SkinTemperature, ambient: float) -> float:
    """Temperature of the outer hair, °C."""
    return ambient + (skin.base - ambient) * hairline.warmth


def scalp_temperature(
    head: Head,
    hairline: Hairline,
    skin: SkinTemperature,
    insulation: float,
    sides: float,
    ambient: float,
    rng: np.random.Generator,
) -> SkinTemperature:
    """The skin with the scalp beneath hair (``insulation`` 0..1 of the way to the hair's own level) or shaved.

    A shaved scalp (``insulation`` 0) is a little cooler than the forehead. Where the sides are cut short insulation
    drops to the root of ``sides``, their relative length, times that of the crown. Skin outside the hairline keeps
    its temperature to the last bit.
    """
    scalp = smoothstep(hairline.inside, 0.0, _BLEND)
    uneven = 0.35 * random_field(rng, 0.014)(head.topology.canonical)
    if insulation == 0:
        return skin.changed(skin.temperature - scalp * (0.35 - uneven))
    sides = float(np.sqrt(sides))  # half the length keeps more than half of the warmth
    cover = insulation * (sides + (1 - sides) * crown(head.topology.canonical, anatomy(head.topology).points))
    covered = skin.base + uneven - 0.6 + cover * (hair_level(hairline, skin, ambient) - skin.base)
    return skin.changed(np.where(scalp > 0, skin.temperature + scalp * (covered - skin.temperature), skin.temperature))
