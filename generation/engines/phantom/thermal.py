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
from thermvision.generation.engines.phantom.skin_texture import perfusion, skin_texture

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
    exposed: Floats  # (n, 3) warped more, and differently left and right


def skin_temperature(
    head: Head, rng_thermal: np.random.Generator, rng_session: np.random.Generator, ambient: float
) -> SkinTemperature:
    """Temperature of the bare skin, eyes, mouth and teeth (before hair, stubble or make-up of any kind).

    Args:
        head: the identity.
        rng_thermal: the identity's own pattern; the same generator state gives the same pattern.
        rng_session: what changes between sessions: level, how cold nose and ears are, and the pattern below the chin.
            A person is told by the face: were the throat the identity's too, whoever masks the face out would still
            recognise people by it.
        ambient: air temperature, °C.
    """
    topology = head.topology
    place = anatomy(topology)
    # what is drawn here leaves the draws of the regions as they are
    detail, texture = rng_thermal.spawn(2)
    warped = _warped(topology.canonical, rng_thermal)
    canvas = _Canvas(warped, place, head.gender == "male", _torn(warped, detail))
    base = float(rng_thermal.normal(33.9, 0.35)) + 0.2 * canvas.male + float(rng_session.normal(0, 0.35))
    exposure = float(np.clip(1 + 0.06 * (REFERENCE_AMBIENT - ambient), 0.6, 1.6)) * float(
        rng_session.uniform(0.85, 1.15)
    )
    gaze = rng_session.normal(0, (0.0016, 0.0007))  # metres of the pupils across and up

    relative = (
        _forehead(canvas, rng_thermal)
        + _orbits(canvas, rng_thermal)
        + _cheeks(canvas, rng_thermal, detail)
        + exposure * _nose(canvas, rng_thermal, detail)
        + _mouth_and_chin(canvas, rng_thermal)
        + _neck(canvas, rng_thermal, detail)
        + exposure * _ears(topology.ear, place, rng_thermal)
        + _folds(place)
        + _mottling(topology.canonical, rng_thermal, detail)
        + _vessels(topology.canonical, place, rng_thermal)
    )
    relative = relative + _lids(topology.canonical, place, rng_thermal, detail) + skin_texture(head, texture)
    chin = place.points[8, 1]
    throat = smoothstep(topology.canonical[:, 1], chin - 0.002, chin - 0.022)
    relative = relative + throat * (_throat(head, canvas, rng_session.spawn(1)[0]) - relative)
    relative = _inner_parts(relative, head, canvas, gaze, rng_thermal)
    temperature = np.clip(base + relative, *SKIN_RANGE)
    return SkinTemperature(temperature, base, _breathing(head, place))


def _warped(canonical: Floats, rng: np.random.Generator) -> Floats:
    """Canonical coordinates shifted by a few millimetres, mirror-symmetrically."""
    folded = canonical * np.array([0.0, 1.0, 1.0]) + np.abs(canonical[:, :1]) * np.array([1.0, 0.0, 0.0])
    shift = np.stack([random_field(rng, 0.020, 2)(folded) for _ in range(2)], 1) * 0.0028
    side = np.tanh(canonical[:, 0] / 0.012)
    return canonical + np.stack([side * shift[:, 0], shift[:, 1], np.zeros(len(canonical))], 1)


def _torn(warped: Floats, rng: np.random.Generator) -> Floats:
    """Coordinates shifted once more, by up to a centimetre: the borders of cold patches wander."""
    torn = warped.copy()
    for axis in range(2):
        torn[:, axis] += 0.0042 * random_field(rng, 0.024)(warped) + 0.0016 * random_field(rng, 0.009)(warped)
    return torn


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


def _cheeks(canvas: _Canvas, rng: np.random.Generator, detail: np.random.Generator) -> Floats:
    """Cool cheeks below the orbits' rims, of each person's own outline, fading toward the side of the face."""
    points = canvas.anatomy.points
    cool = -min(3.2, 0.7 + rng.gamma(2.2, 0.5))
    sides = rng.uniform(0.9, 1.1, 2)
    across, up = detail.normal(0, (0.004, 0.004))
    wide, high, tilt = detail.uniform(0.020, 0.027), detail.uniform(0.019, 0.026), detail.uniform(0.2, 1.1)
    lobe, edge = detail.uniform(0.15, 0.5), detail.uniform(0.85, 1.25)
    warm = detail.uniform(0.15, 0.55)
    total = np.zeros(len(canvas.at))
    for side, strength in zip((1.0, -1.0), sides, strict=True):
        jitter = detail.normal(0, 0.0015, 2)
        x = side * canvas.exposed[:, 0] - 0.047 - across - jitter[0]
        y = canvas.exposed[:, 1] - points[30, 1] + 0.009 - up - jitter[1]
        # the patch leans: its upper border follows the orbit and rises toward the temple
        u, v = np.cos(tilt) * x + np.sin(tilt) * y, np.cos(tilt) * y - np.sin(tilt) * x
        deep = (canvas.at[:, 2] - points[30, 2] + 0.045) / 0.034
        square = 0.5 * ((u / wide) ** 2 + (v / high) ** 2 + deep**2)
        # an exponent above one: flat in the middle, with a border
        total += strength * np.exp(-(square**edge))
        beside = np.array([side * 0.062, points[29, 1] - 0.008, points[30, 2] - 0.07])
        total += lobe * strength * blob(canvas.exposed, beside, 0.017, 0.013)
        # below each eye warm skin reaches down, so that the border is an arch and no line across the face
        below = np.array([side * detail.uniform(0.019, 0.032), points[41, 1] - detail.uniform(0.008, 0.016), 0.125])
        total -= warm * detail.uniform(0.7, 1.3) * blob(canvas.exposed, below, 0.010, 0.009)
    total += 0.35 * blob_pair(canvas.exposed, np.array([0.062, points[48, 1], points[30, 2] - 0.08]), 0.020)
    x, y = np.abs(canvas.exposed[:, 0]), canvas.exposed[:, 1]
    lateral = smoothstep(x, 0.040, 0.078) * smoothstep(y, points[8, 1] - 0.012, points[8, 1] + 0.022)
    top = points[27, 1] - 0.012 + 0.9 * (x - 0.055)
    return cool * total - 0.45 * lateral * smoothstep(y, top + 0.022, top - 0.022)


def _nose(canvas: _Canvas, rng: np.random.Generator, detail: np.random.Generator) -> Floats:
    """The cold nose: tip, dorsum and wings, with a border at the wings; and the rims of the nostrils, either way."""
    place, points = canvas.anatomy, canvas.anatomy.points
    cold = -min(4.6, 0.6 + rng.gamma(2.0, 1.0))
    # some noses hardly differ from the cheek and some are the darkest part of the face
    cold = max(cold * detail.uniform(0.6, 1.5), -4.2)
    climb, level = detail.uniform(0.5, 1.6), detail.uniform(0.55, 0.9)
    down = smoothstep(canvas.exposed[:, 1], points[27, 1] - detail.uniform(-0.006, 0.006), points[30, 1] - 0.002)
    # crisp at the wings, soft beside the dorsum
    soft = 0.0030 + 0.0070 * smoothstep(canvas.at[:, 1], points[30, 1] - 0.004, points[29, 1] + 0.004)
    outline = smoothstep(place.nose + 0.0012 * random_field(detail, 0.009)(canvas.at), -0.5 * soft, 0.9 * soft)
    shape = (1 - 0.55 * level) * blob(canvas.at, points[30], 0.0105, 0.0105) + level * outline * down**climb
    shape += 0.25 * (1 - level) * blob_pair(canvas.at, points[35] + [0, 0.006, 0.004], 0.007)
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


def _throat(head: Head, canvas: _Canvas, rng: np.random.Generator) -> Floats:
    """The skin below the chin, of one session."""
    pattern = _mottling(head.topology.canonical, rng, rng) + perfusion(head, canvas.anatomy, rng)
    return _neck(canvas, rng, rng) + _folds(canvas.anatomy) + pattern


def _neck(canvas: _Canvas, rng: np.random.Generator, detail: np.random.Generator) -> Floats:
    """Carotids warm, the skin below the jaw and the chest cooler; muscle, windpipe and creases stand out."""
    chin = canvas.anatomy.points[8, 1]
    x, y, z = canvas.at.T
    level = rng.uniform(-0.3, 0.3) * smoothstep(y, chin + 0.010, chin - 0.030)
    below_jaw = -0.35 * smoothstep(y, chin - 0.020, chin - 0.050)
    chest = -0.6 * smoothstep(y, chin - 0.075, chin - 0.160)
    carotid = rng.uniform(0.3, 0.9) * blob_pair(canvas.at, np.array([0.05, chin - 0.035, 0.03]), 0.016, 0.05)
    return level + below_jaw + chest + carotid + _neck_relief(canvas, chin, x, y, z, detail)


def _neck_relief(canvas: _Canvas, chin: float, x: Floats, y: Floats, z: Floats, rng: np.random.Generator) -> Floats:
    """Sternomastoids and windpipe cool, the grooves between them and the notch above the breastbone warm."""
    throat = smoothstep(y, chin - 0.012, chin - 0.035) * (z > 0.0)
    away = canvas.anatomy.neck_muscle
    strength = rng.uniform(0.15, 0.42)
    muscle = strength * (0.6 * bell(np.maximum(away - 0.011, 0), 0.006) * (away > 0.011) - bell(away, 0.0055))
    pipe = -rng.uniform(0.08, 0.38) * bell(x, 0.0095) * smoothstep(y, chin - 0.100, chin - 0.085)
    notch = rng.uniform(0.2, 0.6) * blob(canvas.at, [0.0, chin - 0.112, 0.06], 0.012, 0.009)
    creases = np.zeros(len(x))
    for _ in range(3):
        depth, height, sag = rng.uniform(0, 0.40), rng.uniform(0.030, 0.085), rng.uniform(0.2, 0.6)
        line = y - (chin - height) - sag * np.abs(z - 0.08)
        creases += depth * bell(line, 0.0016) * smoothstep(z, 0.02, 0.05)
    return throat * (muscle * smoothstep(y, chin - 0.125, chin - 0.100) + pipe + notch + creases)


def _ears(ear: Floats, place: Anatomy, rng: np.random.Generator) -> Floats:
    """The rim and the lobe lose heat on both sides; the bowl around the ear canal keeps it."""
    cold = -rng.uniform(0.8, 3.8) * ear**1.2 * (0.2 + 0.95 * place.ear_rim)
    return cold + 1.3 * ear * np.clip(place.fold_fine / 0.0010, -1, 1)


def _folds(place: Anatomy) -> Floats:
    """Concave skin sees itself and is warm, convex skin loses heat: folds, nose, ear rims and chin come out of this."""
    fine = 0.45 * np.clip(place.fold_fine / 0.0012, -1, 1.2)
    return fine + 0.55 * np.clip(place.fold_broad / 0.006, -1, 1)


def _mottling(canonical: Floats, rng: np.random.Generator, detail: np.random.Generator) -> Floats:
    """Perfusion is uneven on every scale the camera resolves: patches of centimetres down to grain of millimetres.

    The large patches are mostly alike on both sides, whose means differ by a tenth of a kelvin in measured faces.
    """
    folded = np.concatenate([np.abs(canonical[:, :1]), canonical[:, 1:]], 1)
    patches = 0.29 * random_field(rng, 0.026, 2, 24)(folded) + 0.09 * random_field(detail, 0.022, 1, 24)(canonical)
    middling = 0.07 * random_field(rng, 0.009, 1, 24)(canonical)
    return patches + middling + 0.05 * random_field(rng, 0.0035, 1, 32)(canonical)


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


def _lids(canonical: Floats, place: Anatomy, rng: np.random.Generator, detail: np.random.Generator) -> Floats:
    """The crease of the upper lid and the lash line are cooler than the orbit: they make the eyes readable.

    The two creases differ in height, depth and course.
    """
    height, width = rng.uniform(0.0050, 0.0066), rng.uniform(0.0009, 0.0014)
    strength = rng.uniform(0.20, 0.50)
    total = np.zeros(len(canonical))
    near = np.flatnonzero(place.lid_line < 0.03)
    at = canonical[near]
    for side in (1.0, -1.0):
        own, lift, slope = detail.uniform(0.6, 1.3), detail.normal(0, 0.0006), detail.normal(0, 0.05)
        course = height + lift + slope * (side * at[:, 0] - place.eye[0]) + 0.0004 * random_field(detail, 0.006)(at)
        line = -strength * own * bell(place.upper_lid[near] - course, width) - detail.uniform(0.15, 0.4) * bell(
            place.lid_line[near], 0.0009
        )
        total[near] += np.where(side * at[:, 0] > 0, line, 0.0)
    return total


def _inner_parts(relative: Floats, head: Head, canvas: _Canvas, gaze: Floats, rng: np.random.Generator) -> Floats:
    """Eyeballs, the mouth cavity, tongue and teeth do not follow the table of the skin; breath cools their front."""
    label, place, C = head.topology.label, canvas.anatomy, head.topology.canonical
    x, y, z = C.T
    deep = smoothstep(place.points[62, 2] - z, 0.012, 0.055)
    uneven = 0.12 * random_field(rng, 0.007)(C)
    relative = relative * (1 - place.oral) + (0.7 + 0.9 * deep + uneven) * place.oral
    relative = np.where(label == EYE, _eyeballs(C, place, gaze, rng), relative)
    tongue = 0.9 + 0.7 * deep - rng.uniform(0.4, 0.9) * (1 - deep) + 0.25 * bell(x, 0.0014) + uneven
    relative = np.where(label == MOUTH, tongue - 0.3 * smoothstep(np.abs(x), 0.012, 0.020), relative)
    # enamel is wet and bathed in moving air: cold at the edge, warmer toward the gum and further back
    gum = smoothstep(np.abs(y - place.points[62, 1]), 0.003, 0.011)
    gaps = 0.25 * bell((np.abs(x) / 0.0075 + 0.02) % 1.0 - 0.5, 0.10)
    teeth = -rng.uniform(0.9, 2.2) + 1.1 * gum + 0.8 * deep - gaps
    return np.where(label == TEETH, teeth, relative)


def _eyeballs(canonical: Floats, place: Anatomy, gaze: Floats, rng: np.random.Generator) -> Floats:
    """Cooler than the hot orbit; the limbus 0.45 K above the middle of the cornea (Efron et al., Curr Eye Res 1989).

    ``gaze`` (2,) metres by which both corneas stand beside and above the middle.
    """
    side = np.where(canonical[:, 0] < 0, -1.0, 1.0)
    off_axis = np.hypot(canonical[:, 0] - gaze[0] - side * place.eye[0], canonical[:, 1] - gaze[1] - place.eye[1])
    level = rng.uniform(-0.30, 0.20) - 0.35 + 0.40 * smoothstep(off_axis, 0.001, 0.0065)
    # tears and the lids' shade: cooler at the lower lid, never a white ring
    below = smoothstep(canonical[:, 1] - place.eye[1], 0.002, -0.005)
    level = level - 0.22 * below - 0.15 * smoothstep(off_axis, 0.007, 0.011)
    return level + 0.5 * blob_pair(canonical, place.points[42], 0.008) + 0.06 * random_field(rng, 0.004)(canonical)


def _breathing(head: Head, place: Anatomy) -> Floats:
    """Exhaled air warms the nostrils (1.2 K), the mouth cavity (0.35 K) and, less, the lips."""
    nostrils = 1.2 * blob_pair(head.topology.canonical, place.points[34], 0.005)
    cavity = np.maximum(place.oral, np.isin(head.topology.label, (MOUTH, TEETH)))
    return nostrils + 0.15 * bell(place.mouth_line, 0.003) * (place.lips > 0) + 0.35 * cavity
