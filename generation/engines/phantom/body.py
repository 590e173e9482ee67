"""A clothed body below the head mesh, which ends at the chest: from some metres away, people have arms and legs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from thermvision.annotations.schema import SEGMENTS
from thermvision.generation.engines.phantom.fields import random_field, smoothstep
from thermvision.generation.engines.phantom.garment import CLOTH, CLOTH_EMISSIVITY, ridges
from thermvision.generation.engines.phantom.layers import Floats, Head, Layer

STANDING_CHIN, SITTING_CHIN = 1.52, 1.12  # metres of the chin above the floor, of a body at scale one
_SIDES, _RINGS = 72, 14  # of a tube: vertices around, rings from one section to the next
# metres: above the head mesh's end, where the body takes over; how high and how deep it begins beneath the garment; and
# over which height the garment's own outline and warmth are read
_HEM, _INSIDE, _READ = 0.008, (0.015, 0.012), (0.008, 0.025)
_MORPH = 0.10, 0.08  # metres below the hem over which the chest's outline and its temperature become the trunk's
_SHOULDERS = 0.25  # metres, half the width of the head mesh at the shoulders that the measures below belong to
_SKIN, _BACKGROUND = SEGMENTS.index("skin"), SEGMENTS.index("background")
# centre line and half widths below the chin, metres: x, y, z, across, along the line of sight
_TORSO = (
    (0, -0.24, 0.02, 0.186, 0.112), (0, -0.30, 0.02, 0.180, 0.116), (0, -0.44, 0.015, 0.168, 0.110),
    (0, -0.58, 0.010, 0.178, 0.118), (0, -0.70, 0.010, 0.186, 0.124), (0, -0.712, 0.010, 0.183, 0.120),
)  # fmt: skip
_HIPS = ((0, -0.64, 0.01, 0.170, 0.11), (0, -0.74, 0.01, 0.184, 0.12), (0, -0.86, 0.012, 0.16, 0.10))
# the same of arms, but x against the shoulder's seam; the first four hang from the shoulder's top instead of the chin,
# and their depths are shares of the shoulder's
_SHOULDER = (
    (-0.030, 0.003, 0.0, 0.026, 0.35), (-0.030, -0.012, 0.0, 0.040, 0.72), (-0.030, -0.036, 0.0, 0.051, 0.95),
    (-0.028, -0.080, 0.0, 0.053, 1.0),
)  # fmt: skip
_ARM = (
    (-0.022, -0.32, 0.0, 0.047, 0.052), (-0.010, -0.45, 0.01, 0.041, 0.044), (0.0, -0.58, 0.05, 0.036, 0.036),
    (0.004, -0.66, 0.07, 0.031, 0.03),
)  # fmt: skip
_BARE = ((-0.024, -0.30, 0.0, 0.046, 0.050), *_ARM)
_SLEEVE = ((-0.025, -0.28, 0.0, 0.054, 0.060), (-0.022, -0.34, 0.0, 0.056, 0.061))  # a short one, over the arm
_HAND = ((0.010, -0.655, 0.068, 0.025, 0.02), (0.010, -0.74, 0.085, 0.038, 0.02), (0.002, -0.83, 0.09, 0.015, 0.01))
_SEAM = 0.94  # of the head mesh's half width: where a garment's shoulder ends and the arm begins
_LEG = (
    (0.092, -0.76, 0.01, 0.092, 0.105), (0.100, -0.94, 0.02, 0.080, 0.085), (0.105, -1.10, 0.025, 0.060, 0.065),
    (0.108, -1.24, 0.01, 0.058, 0.06), (0.112, -1.44, 0.0, 0.050, 0.05), (0.118, -1.47, 0.05, 0.052, 0.11),
    (0.118, -1.52, 0.06, 0.050, 0.13),
)  # fmt: skip
_SITTING_LEG = (
    (0.09, -0.68, 0.02, 0.09, 0.09), (0.12, -0.64, 0.25, 0.085, 0.085), (0.13, -0.64, 0.46, 0.066, 0.066),
    (0.13, -0.72, 0.50, 0.064, 0.064), (0.13, -1.04, 0.48, 0.050, 0.052), (0.13, -1.10, 0.54, 0.050, 0.12),
)  # fmt: skip
_STOOL = ((0, -0.76, 0.05, 0.19, 0.19), (0, -0.79, 0.05, 0.19, 0.19), (0, -0.80, 0.05, 0.03, 0.03),
          (0, -1.08, 0.05, 0.03, 0.03), (0, -1.09, 0.05, 0.22, 0.22), (0, -1.12, 0.05, 0.23, 0.23))  # fmt: skip


def make_body(
    head: Head, worn: Sequence[Layer], sitting: bool, ambient: float, rng: np.random.Generator
) -> list[Layer]:
    """Torso, arms, hands and legs of a clothed person, going on where the garment on the head mesh ends.

    Args:
        head: the identity at rest; its shoulders give the scale.
        worn: the garment of the portrait: outline and temperature of its lower end are taken over.
        sitting: the thighs point at the camera and the feet stand 1 m below the chin.
        ambient: air temperature, °C.
        rng: of the person in this scene.
    """
    scale = shoulder_scale(head)
    chin = head.landmarks[8, 1]
    rim = _rim(head, worn)
    cloth = float(rim.celsius.mean())
    trousers = ambient + (cloth - ambient) * rng.uniform(0.5, 1.05)
    hands = ambient + (34.0 - ambient) * rng.uniform(0.45, 0.9)  # hands vary more than any other skin
    long_sleeves = rng.random() < 0.7
    folds, deep, fine = random_field(rng, 0.14, 2), random_field(rng, 0.05, 1, 14), random_field(rng, 0.024, 1, 14)
    amount = rng.uniform(0.6, 1.4)
    reach = rng.uniform(0.0, 0.22, 2)  # how far the hands hang in front
    arm = 0.4 * hands + 0.6 * 32.5
    parts = [
        (np.array(_HIPS) * scale, trousers, CLOTH),
        (np.array(_SITTING_LEG if sitting else _LEG) * scale, trousers, CLOTH),
        (_arm(rim, _ARM if long_sleeves else _SLEEVE, scale), cloth, CLOTH),
        (_arm(rim, _HAND, scale)[len(_SHOULDER) :], hands, _SKIN),
    ]
    if not long_sleeves:
        parts.append((_arm(rim, _BARE, scale)[len(_SHOULDER) :], arm, _SKIN))
    if sitting:
        parts.append((np.array(_STOOL) * scale, ambient + 1.5, _BACKGROUND))

    def relief(vertices: Floats) -> Floats:
        hanging = vertices * np.array([1.0, 0.4, 1.0])
        # sharp crests where cloth is pressed together, as on the chest
        pressed = 0.28 * ridges(deep)(hanging) + 0.26 * ridges(fine)(hanging)
        return np.asarray(amount * (0.30 * folds(hanging) + pressed))

    def layer(vertices: Floats, triangles: NDArray[np.int32], celsius: Floats, label: int) -> Layer:
        emissivity = CLOTH_EMISSIVITY if label == CLOTH else 0.97
        cut = np.ones(len(vertices)) if label == CLOTH else None  # the skin beneath is not drawn
        return Layer(vertices + np.array([0, chin, 0]), triangles, celsius, label, emissivity, "skin", cut)

    def level(vertices: Floats, celsius: float, rough: float) -> Floats:
        # warm where cloth lies on the body, cooler where it hangs free or is near the floor
        lower = smoothstep(-vertices[:, 1], 0.35, 1.4)
        return np.asarray(celsius + rough * relief(vertices) - 0.12 * (celsius - ambient) * lower)

    trunk, triangles, share = _torso(rim, scale)
    around = np.tile(rim.celsius, len(share))
    blend = np.repeat(share, _SIDES)
    celsius = around + blend * (level(trunk[:-2], cloth, 1.0) - around)
    layers = [layer(trunk, triangles, np.append(celsius, [cloth, cloth]), CLOTH)]
    for line, celsius_of, label in parts:
        for side in (0, 1) if line[-1, 0] else (0,):
            rows = line * np.array([1 - 2 * side, 1, 1, 1, 1])
            if line[-1, 0] > 0.9 * rim.seam:
                rows[:, 2] += reach[side] * smoothstep(-rows[:, 1], 0.36, 0.72)
            vertices, triangles = _tube(rows[:, :3], rows[:, 3:])
            rough = {CLOTH: 1.0, _SKIN: 0.4}.get(label, 0.0)
            layers.append(layer(vertices, triangles, level(vertices, celsius_of, rough), label))
    return layers


def _arm(rim: _Rim, line: Sequence[Sequence[float]], scale: float) -> Floats:
    """Sections (k, 5) of what hangs from the shoulder's seam: the shoulder itself, then ``line``."""
    top = np.array(_SHOULDER) * [1, 1, 1, 1, rim.shoulder[2]] + [rim.seam, rim.shoulder[0], rim.shoulder[1], 0, 0]
    below = np.array(line) * scale + [rim.seam, 0, 0, 0, 0]
    below[:, 2] += rim.shoulder[1]
    return np.concatenate([top, below])


@dataclass(frozen=True, eq=False)
class _Rim:
    """Where a garment ends, in metres from the chin: the hem's ring (`_SIDES`, 3) with its °C, and the shoulders' seam.

    ``seam`` is the distance of the seam from the middle; ``shoulder`` its upper end's height, and middle and half of
    its depth.
    """

    ring: Floats
    celsius: Floats
    seam: float
    shoulder: tuple[float, float, float]


def _hem(head: Head) -> float:
    """Height at which the body takes over from the garment on the head mesh, metres."""
    return float(head.rest[:, 1].min()) + _HEM


def _seam(head: Head) -> float:
    return _SEAM * float(head.rest[:, 0].max())


def _rim(head: Head, worn: Sequence[Layer]) -> _Rim:
    """The outermost cloth at the hem, by direction, and the shoulder of the outermost garment."""
    hem, seam, chin, points, celsius = _hem(head), _seam(head), float(head.landmarks[8, 1]), [], []
    for layer in worn:
        shown = (np.abs(layer.vertices[:, 1] - hem) < _READ[1]) & (np.abs(layer.vertices[:, 0]) < 0.85 * seam)
        shown &= True if layer.cut is None else layer.cut > 0
        points.append(layer.vertices[shown])
        celsius.append(layer.temperature[shown])
    found, warm = np.concatenate(points), np.concatenate(celsius)
    height = found[:, 1] - hem
    every = np.concatenate([layer.vertices for layer in worn])
    shoulder = every[(np.abs(np.abs(every[:, 0]) - seam) < 0.004) & (every[:, 1] > hem)]
    near, far = shoulder[:, 2].max(), shoulder[:, 2].min()
    edge = (float(shoulder[:, 1].max()) - chin, float(near + far) / 2, float(near - far) / 2)
    half = (found.max(0) - found.min(0)) / 2
    middle = found.max(0) - half
    unit = (found - middle)[:, [0, 2]] / half[[0, 2]]
    sector = np.round(np.arctan2(unit[:, 1], unit[:, 0]) * (_SIDES / (2 * np.pi))).astype(int) % _SIDES
    at, above = np.abs(height) < _READ[0], height > 0
    radius, level = np.full(_SIDES, -np.inf), np.full(_SIDES, np.nan)
    np.maximum.at(radius, sector[at], np.hypot(*unit[at].T))
    radius[np.isinf(radius)] = np.nan
    count = np.bincount(sector[above], minlength=_SIDES)
    summed = np.bincount(sector[above], warm[above], minlength=_SIDES)
    level[count > 0] = summed[count > 0] / count[count > 0]
    turn = np.arange(_SIDES) * (2 * np.pi / _SIDES)
    radius, level = (_smooth_around(v) for v in (radius, level))
    x, z = radius * half[0] * np.cos(turn), radius * half[2] * np.sin(turn) + middle[2]
    below = np.full(_SIDES, hem - chin)
    return _Rim(np.stack([x + middle[0], below, z], 1), level, seam, edge)


def _smooth_around(values: Floats) -> Floats:
    """Values on a circle with gaps (NaN) filled between their neighbours, and slightly smoothed."""
    known = np.flatnonzero(np.isfinite(values))
    filled = np.interp(np.arange(len(values)), known, values[known], period=len(values))
    for _ in range(2):
        filled = 0.5 * filled + 0.25 * (np.roll(filled, 1) + np.roll(filled, -1))
    return np.asarray(filled)


def _torso(rim: _Rim, scale: float) -> tuple[Floats, NDArray[np.int32], Floats]:
    """The trunk from under the garment's edge to the waist: vertices, triangles, and how far (k,) a ring is trunk."""
    path, half = _refined(np.array(_TORSO)[:, :3] * scale, np.array(_TORSO)[:, 3:] * scale)
    top = rim.ring[0, 1]
    path[:, 1] = top + (path[:, 1] - path[0, 1]) * (path[-1, 1] - top) / (path[-1, 1] - path[0, 1])
    c, s = _superellipse()
    rings = np.stack([
        half[:, :1] * c, np.zeros((len(path), _SIDES)), half[:, 1:] * s
    ], -1) + path[:, None]  # fmt: skip
    below = top - path[:, 1]
    chest = rim.ring[None] - np.array([0, 1.0, 0]) * below[:, None, None]
    rings = chest + smoothstep(below, 0, _MORPH[0])[:, None, None] * (rings - chest)
    inwards = rim.ring.mean(0) - rim.ring
    inwards /= np.linalg.norm(inwards, axis=1, keepdims=True)
    first = rim.ring + _INSIDE[1] * inwards + np.array([0, _INSIDE[0], 0])  # under the garment's edge: no gap
    rings = np.concatenate([first[None], rings])
    share = np.append(0.0, smoothstep(below, 0, _MORPH[1]))
    return *_stitched(rings), share


def upper_garment(layer: Layer, head: Head) -> Layer:
    """A garment without what hangs below the head mesh or beside its shoulders, where `make_body` goes on."""
    above = np.minimum(layer.vertices[:, 1] - _hem(head), _seam(head) - np.abs(layer.vertices[:, 0]))
    if layer.cut is not None:
        return replace(layer, cut=np.minimum(layer.cut, above))
    return replace(layer, triangles=layer.triangles[(above > 0)[layer.triangles].all(1)])


def shoulder_scale(head: Head) -> float:
    """Size of a subject's body against the one measured above, from the breadth of its shoulders."""
    return float(np.clip(head.rest[:, 0].max() / _SHOULDERS, 0.88, 1.08))


def _refined(centres: Floats, half: Floats) -> tuple[Floats, Floats]:
    """Centres and half widths of `_RINGS` rings from one section to the next."""
    knots = np.arange(len(centres))
    fine = np.linspace(0, len(centres) - 1, _RINGS * (len(centres) - 1) + 1)
    path, width = (np.stack([np.interp(fine, knots, c) for c in values.T], 1) for values in (centres, half))
    return path, width


def _superellipse() -> tuple[Floats, Floats]:
    """Cosine and sine around a section: chests and thighs are fuller than ellipses."""
    turn = np.arange(_SIDES) * (2 * np.pi / _SIDES)
    c, s = (np.sign(v) * np.abs(v) ** 0.85 for v in (np.cos(turn), np.sin(turn)))
    return c, s


def _tube(centres: Floats, half: Floats) -> tuple[Floats, NDArray[np.int32]]:
    """A closed tube around a line (k, 3) with elliptic sections of half widths (k, 2) across and in depth.

    Sections lie flat where the line runs upright and stand up where it runs forward.
    """
    path, widths = _refined(centres, half)
    along = np.gradient(path, axis=0)
    along /= np.maximum(np.linalg.norm(along, axis=1, keepdims=True), 1e-9)
    across = np.array([1.0, 0.0, 0.0]) - along * along[:, :1]
    across /= np.maximum(np.linalg.norm(across, axis=1, keepdims=True), 1e-9)
    forward = np.cross(across, along)
    c, s = _superellipse()
    rings = (
        path[:, None]
        + across[:, None] * (widths[:, :1] * c)[..., None]
        + forward[:, None] * (widths[:, 1:] * s)[..., None]
    )
    return _stitched(rings)


def _stitched(rings: Floats) -> tuple[Floats, NDArray[np.int32]]:
    """Vertices and triangles of rings (k, `_SIDES`, 3) sewn together, closed at both ends."""
    count = len(rings)
    vertices = np.concatenate([rings.reshape(-1, 3), rings[0].mean(0)[None], rings[-1].mean(0)[None]])
    ring, place = np.mgrid[0 : count - 1, 0:_SIDES]
    a, b = (ring * _SIDES + place).ravel(), (ring * _SIDES + (place + 1) % _SIDES).ravel()
    sides = np.concatenate([np.stack([a, b, a + _SIDES], 1), np.stack([b, b + _SIDES, a + _SIDES], 1)])
    rim, after = np.arange(_SIDES), (np.arange(_SIDES) + 1) % _SIDES
    first, last = (count - 1) * _SIDES + rim, (count - 1) * _SIDES + after
    caps = [np.stack([np.full(_SIDES, len(vertices) - 2), after, rim], 1)]
    caps += [np.stack([np.full(_SIDES, len(vertices) - 1), first, last], 1)]
    return vertices, np.concatenate([sides, *caps]).astype(np.int32)
