"""What a body does during an item: the nose cools under stress, the breath comes and goes.

Under acute stress the vessels of the nose tip narrow and its skin cools (V. Engert et al., Exploring the use of thermal
infrared imaging in human stress research, PLoS ONE 9(3), e90782, 2014). Here it falls exponentially and has come 95 per
cent of the way after the given time; amount and time are the recipe's, and the rest of the face stays as it is, which
is simpler than life.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from thermvision.annotations.schema import SEGMENTS
from thermvision.generation.engines.phantom.layers import Floats, Head
from thermvision.generation.engines.phantom.thermal import REFERENCE_AMBIENT, SkinTemperature

# iBUG points, share of the cooling and its reach (s.d., metres): tip, both wings, bridge
_PLACES = ((30, 1.0, 0.013), (31, 0.35, 0.009), (35, 0.35, 0.009), (28, 0.30, 0.010))
_SKIN = SEGMENTS.index("skin")
# Resting skin follows the air (measured at 15, 27 and 45 °C by P. Webb, Eur. J. Appl. Physiol. 64, 471-476, 1992), the
# head's less than the limbs'. How much, kelvin a kelvin, is an assumption and not fitted to those tables.
AMBIENT_SHARE = 0.15
_REACHED = 3.0  # time constants in the given time: 95 per cent


def nose_field(head: Head) -> Floats:
    """(n,) 0..1 of every head vertex: how much of the nose's cooling it takes part in."""
    marks = head.landmarks
    field = np.zeros(len(head.rest))
    for point, share, reach in _PLACES:
        squared = ((head.rest - marks[point]) ** 2).sum(1)
        np.maximum(field, share * np.exp(-squared / (2 * reach**2)), out=field)
    field[head.topology.label != _SKIN] = 0
    return field


def stress_share(seconds: float, duration: float) -> float:
    """How far the cooling has come, 0 at the start, .95 after ``duration``.

    >>> stress_share(0.0, 20.0), round(stress_share(20.0, 20.0), 2)
    (0.0, 0.95)
    """
    return float(-np.expm1(-_REACHED * max(seconds, 0.0) / duration))


def cooled(skin: SkinTemperature, field: Floats, kelvin: float) -> SkinTemperature:
    """The skin with ``field`` (n,) times ``kelvin`` taken away."""
    return skin.changed(skin.temperature - kelvin * field)


def warmer(skin: SkinTemperature, kelvin: float) -> SkinTemperature:
    """The same skin in a session that is warmer by ``kelvin`` throughout."""
    return replace(skin, temperature=skin.temperature + kelvin, base=skin.base + kelvin) if kelvin else skin


def ambient_shift(ambient: float) -> float:
    """Kelvin by which all skin is warmer in air of ``ambient`` °C than at the model's reference.

    What nose and ears lose beyond that is part of the thermal map.
    """
    return AMBIENT_SHARE * (ambient - REFERENCE_AMBIENT)


def steady_breath(times: Floats, rate: float, phase: float) -> Floats:
    """(N,) breath, -1 (inhaled) .. 1 (exhaled), at times (N,) in seconds, of ``rate`` breaths a minute.

    ``phase`` in breaths, 0..1.
    """
    return np.asarray(np.sin(2 * np.pi * (rate / 60 * times + phase)), np.float64)
