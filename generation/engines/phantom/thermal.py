"""The skin temperature of one identity in one session, °C at every vertex.

Amplitudes follow measured faces: forehead 33.4 ± .8, cornea 33.3 ± .8, inner canthus 34.3 ± .7 and outer canthus
32.8 ± .7 over 20 healthy adults (Translational Vision Science & Technology 2022); forehead near 34 and cheek near 32 as
the warmest and coolest facial areas but for the nose (Ariyaratnam & Rood, J Dent 1990); sides within 0.1 K (Rustemeyer
2007); males warmer than females (Christensen 2012). What the literature leaves open is tuned by eye on real frames.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from thermvision.generation.engines.phantom.anatomy import EYE, MOUTH, TEETH, Anatomy, anatomy
from thermvision.generation.engines.phantom.fields import (
    bell,
    blob,
    blob_pair,
    polyline_distance,
    random_field,
    smooth_curve,
    smoothstep,
)
from thermvision.generation.engines.phantom.layers import Floats, Head

SKIN_RANGE = (22.0, 38.0)
# air temperature, °C, at which the table holds; extremities lose 6 % more per kelvin below it
REFERENCE_AMBIENT = 23.0
_MIRROR = np.array([-1.0, 1.0, 1.0])


@dataclass(frozen=True, eq=False)
class SkinTemperature:
    """Temperature of every vertex of the head.

    Attributes:
        temperature: (n,) °C, between two breaths.
        base: °C, the level the regions are relative to.
        breathing: (n,) kelvin added at full exhalation.
    """

    temperature: Floats
    base: float
    breathing: Floats

    def at(self, breath: float) -> Floats:
        """(n,) °C at ``breath`` from -1 (inhaled, cool) to 1 (exhaled, warm)."""
        return self.temperature + breath * self.breathing

    def changed(self, temperature: Floats) -> SkinTemperature:
        """The same skin with another resting temperature."""
        return SkinTemperature(temperature, self.base, self.breathing)


@dataclass(frozen=True, eq=False)
class _Canvas:
    """What the region functions paint on: warped coordinates, so that no patch is a perfect ellipse."""

    at: Floats  # (n, 3) canonical, warped; left and right alike
    anatomy: Anatomy
    male: bool


def skin_temperature(
    head: Head, rng_thermal: np.random.Generator, rng_session: np.random.Generator, ambient: float
) -> SkinTemperature:
    """Temperature of the bare skin, eyes, mouth and teeth (before hair, stubble or make-up of any kind).

    Args:
        head: the identity.
        rng_thermal: the identity's own pattern; the same generator state gives the same pattern.
        rng_session: what changes between sessions: level, and how cold nose and ears are.
        ambient: air temperature, °C.
    """
    topology = head.topology
    place = anatomy(topology)
    canvas = _Canvas(_warped(topology.canonical, rng_thermal), place, head.gender == "male")
    base = float(rng_thermal.normal(33.9, 0.35)) + 0.2 * canvas.male + float(rng_session.normal(0, 0.35))
    exposure = float(np.clip(1 + 0.06 * (REFERENCE_AMBIENT - ambient), 0.6, 1.6)) * float(
        rng_session.uniform(0.85, 1.15)
    )

    relative = (
        _forehead(canvas, rng_thermal)
        + _orbits(canvas, rng_thermal)
        + _cheeks(canvas, rng_thermal)
        + exposure * _nose(canvas, rng_thermal)
        + _mouth_and_chin(canvas, rng_thermal)
        + _neck(canvas, rng_thermal)
        + exposure * _ears(topology.ear, rng_thermal)
        + _folds(place)
        + _mottling(topology.canonical, rng_thermal)
        + _vessels(topology.canonical, place, rng_thermal)
    )
    relative = relative + _lids(place, rng_thermal)
    relative = _inner_parts(relative, head, canvas, rng_thermal)
    temperature = np.clip(base + relative, *SKIN_RANGE)
    return SkinTemperature(temperature, base, _breathing(topology.canonical, place))


def _warped(canonical: Floats, rng: np.random.Generator) -> Floats:
    """Canonical coordinates shifted by a few millimetres, mirror-symmetrically."""
    folded = canonical * np.array([0.0, 1.0, 1.0]) + np.abs(canonical[:, :1]) * np.array([1.0, 0.0, 0.0])
    shift = np.stack([random_field(rng, 0.020, 2)(folded) for _ in range(2)], 1) * 0.0028
    side = np.tanh(canonical[:, 0] / 0.012)
    return canonical + np.stack([side * shift[:, 0], shift[:, 1], np.zeros(len(canonical))], 1)


def _forehead(canvas: _Canvas, rng: np.random.Generator) -> Floats:
    """Warm forehead and temples."""
    points, eye = canvas.anatomy.points, canvas.anatomy.eye
    warm = rng.uniform(0.5, 1.1) * blob(canvas.at, points[27] + [0, 0.045, 0], 0.045, 0.030)
    temple = np.array([0.058, eye[1] + 0.012, eye[2] - 0.035])
    return warm + rng.uniform(0.2, 0.6) * blob_pair(canvas.at, temple, 0.020)


def _orbits(canvas: _Canvas, rng: np.random.Generator) -> Floats:
    """The hot inner canthi and the warm skin around the eyes; unwarped where a landmark fixes the place."""
    points, eye = canvas.anatomy.points, canvas.anatomy.eye
    canthus = rng.uniform(0.8, 1.3) * blob_pair(canvas.at, points[42], 0.006)
    halo = 0.35 * blob_pair(canvas.at, points[42] + [0, 0.008, 0], 0.011)
    return canthus + halo + rng.uniform(0.15, 0.5) * blob_pair(canvas.at, eye + np.array([0, 0.006, 0]), 0.018, 0.012)


def _cheeks(canvas: _Canvas, rng: np.random.Generator) -> Floats:
    """Cool cheeks, a little different left and right, fading toward the side of the face."""
    points = canvas.anatomy.points
    cool = -min(3.2, 0.7 + rng.gamma(2.2, 0.5))
    centre = np.array([0.047, points[30, 1] - 0.004, points[30, 2] - 0.045])
    left, right = rng.uniform(0.9, 1.1, 2)
    cheek = left * blob(canvas.at, centre, 0.019, 0.021) + right * blob(canvas.at, centre * _MIRROR, 0.019, 0.021)
    lateral = blob_pair(canvas.at, np.array([0.062, points[48, 1], points[30, 2] - 0.08]), 0.020)
    x, y = np.abs(canvas.at[:, 0]), canvas.at[:, 1]
    side = smoothstep(x, 0.045, 0.075) * smoothstep(y, points[8, 1] - 0.010, points[8, 1] + 0.015)
    side *= smoothstep(y, points[27, 1] + 0.015, points[27, 1] - 0.015)
    return cool * (cheek + 0.35 * lateral) - 0.5 * side


def _nose(canvas: _Canvas, rng: np.random.Generator) -> Floats:
    """The cold nose: tip, dorsum, alae; and the rims of the nostrils, which may be either way."""
    points = canvas.anatomy.points
    cold = -min(4.6, 0.6 + rng.gamma(2.0, 1.0))
    shape = blob(canvas.at, points[30], 0.0115, 0.011) + 0.55 * blob(canvas.at, points[29], 0.009, 0.012)
    shape += 0.35 * blob_pair(canvas.at, points[35] + [0, 0.006, 0.004], 0.007)
    return cold * shape + rng.uniform(-1.2, 0.8) * blob_pair(canvas.at, points[34] + [0, 0.004, 0.003], 0.003)


def _mouth_and_chin(canvas: _Canvas, rng: np.random.Generator) -> Floats:
    """Cool chin, warm mouth area, the vermilion with its bright rim and the line between the lips."""
    place, points = canvas.anatomy, canvas.anatomy.points
    chin = -rng.uniform(0.2, 0.9) * blob(canvas.at, points[8] + [0, 0.014, 0.010], 0.015, 0.012)
    area = rng.uniform(0.1, 0.4) * blob(canvas.at, (points[51] + points[57]) / 2, 0.016, 0.008)
    philtrum = 0.35 * blob(canvas.at, points[33], 0.010, 0.006)
    blood = rng.uniform(0.0, 0.3) if canvas.male else rng.uniform(0.1, 0.4)
    vermilion = blood * smoothstep(place.lips, -0.0006, 0.0008) + rng.uniform(0.05, 0.3) * bell(place.lips, 0.0011)
    line = -0.3 * bell(place.mouth_line, 0.0012) * (place.lips > 0)
    return chin + area + philtrum + vermilion + line


def _neck(canvas: _Canvas, rng: np.random.Generator) -> Floats:
    """Carotids warm, the skin below the jaw and the chest cooler."""
    chin = canvas.anatomy.points[8, 1]
    y = canvas.at[:, 1]
    level = rng.uniform(-0.3, 0.3) * smoothstep(y, chin + 0.010, chin - 0.030)
    below_jaw = -0.35 * smoothstep(y, chin - 0.020, chin - 0.050)
    chest = -0.6 * smoothstep(y, chin - 0.075, chin - 0.160)
    carotid = rng.uniform(0.3, 0.9) * blob_pair(canvas.at, np.array([0.05, chin - 0.035, 0.03]), 0.016, 0.05)
    return level + below_jaw + chest + carotid


def _ears(ear: Floats, rng: np.random.Generator) -> Floats:
    return -rng.uniform(0.8, 3.8) * ear**1.2


def _folds(place: Anatomy) -> Floats:
    """Concave skin sees itself and is warm, convex skin loses heat: folds, nose, ear rims and chin come out of this."""
    fine = 0.45 * np.clip(place.fold_fine / 0.0012, -1, 1.2)
    return fine + 0.55 * np.clip(place.fold_broad / 0.006, -1, 1)


def _mottling(canonical: Floats, rng: np.random.Generator) -> Floats:
    """Perfusion is uneven on every scale the camera resolves: patches of centimetres down to grain of millimetres."""
    patches = 0.30 * random_field(rng, 0.026, 2, 24)(canonical) + 0.07 * random_field(rng, 0.009, 1, 24)(canonical)
    return patches + 0.05 * random_field(rng, 0.0035, 1, 32)(canonical)


def _vessels(canonical: Floats, place: Anatomy, rng: np.random.Generator) -> Floats:
    """Superficial veins: warm random walks from the brow up the forehead, fading as they go."""
    warm = np.zeros(len(canonical))
    near = np.flatnonzero((canonical[:, 2] > 0.05) & (canonical[:, 1] > place.eye[1]) & place.skin)
    for _ in range(int(rng.integers(3, 7))):
        side = float(rng.choice([-1, 1]))
        point = np.array([side * rng.uniform(0.006, 0.062), place.eye[1] + rng.uniform(0.014, 0.030)])
        heading = np.array([side * rng.uniform(-0.1, 0.35), 1.0])
        walk = [point]
        for turn in rng.normal(0, 0.25, (28, 2)):
            heading = heading + turn
            heading[1] = max(heading[1], 0.3)
            heading = heading / np.hypot(*heading)
            walk.append(walk[-1] + 0.0028 * heading)
        # every second point, rounded off: veins bend, they have no corners
        line = smooth_curve(np.array(walk[::2]), 2)
        beside = near[
            ((canonical[near, :2] > line.min(0) - 0.008) & (canonical[near, :2] < line.max(0) + 0.008)).all(1)
        ]
        distance, along = polyline_distance(canonical[beside, :2], line)
        strength = rng.uniform(0.2, 0.55) * bell(distance, 0.002) * smoothstep(along, 1.0, 0.2)
        warm[beside] = np.maximum(warm[beside], strength)
    return warm


def _lids(place: Anatomy, rng: np.random.Generator) -> Floats:
    """The crease of the upper lid and the lash line are cooler than the orbit: they make the eyes readable."""
    height, width = rng.uniform(0.0050, 0.0066), rng.uniform(0.0009, 0.0014)
    crease = rng.uniform(0.20, 0.50) * bell(place.upper_lid - height, width)
    return -crease - 0.30 * bell(place.lid_line, 0.0009)


def _inner_parts(relative: Floats, head: Head, canvas: _Canvas, rng: np.random.Generator) -> Floats:
    """Eyeballs, the mouth cavity, tongue and teeth do not follow the table of the skin."""
    label, place = head.topology.label, canvas.anatomy
    relative = relative * (1 - place.oral) + 1.8 * place.oral
    relative = np.where(label == EYE, _eyeballs(head.topology.canonical, place, rng), relative)
    # breath cools the tip of the tongue
    tip = smoothstep(head.topology.canonical[:, 2], place.points[62, 2] - 0.035, place.points[62, 2] - 0.010)
    relative = np.where(label == MOUTH, 1.6 - rng.uniform(0.4, 0.9) * tip, relative)
    return np.where(label == TEETH, -rng.uniform(0.6, 1.4), relative)


def _eyeballs(canonical: Floats, place: Anatomy, rng: np.random.Generator) -> Floats:
    """Cooler than the hot orbit; the limbus 0.45 K above the middle of the cornea (Efron et al., Curr Eye Res 1989)."""
    off_axis = np.hypot(np.abs(canonical[:, 0]) - place.eye[0], canonical[:, 1] - place.eye[1])
    level = (
        rng.uniform(-0.30, 0.20)
        - 0.25
        + 0.45 * smoothstep(off_axis, 0.001, 0.0065)
        + 0.25 * bell(off_axis - 0.011, 0.003)
    )
    return level + 0.6 * blob_pair(canonical, place.points[42], 0.009)


def _breathing(canonical: Floats, place: Anatomy) -> Floats:
    """Exhaled air warms the nostrils (1.2 K) and, less, the lips."""
    return 1.2 * blob_pair(canonical, place.points[34], 0.005) + 0.15 * bell(place.mouth_line, 0.003) * (place.lips > 0)
