"""A clothed body below the head mesh, which ends at the chest: from some metres away, people have arms and legs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from thermvision.annotations.schema import SEGMENTS
from thermvision.generation.engines.phantom.fields import random_field, smoothstep
from thermvision.generation.engines.phantom.garment import CLOTH, CLOTH_EMISSIVITY
from thermvision.generation.engines.phantom.layers import Floats, Head, Layer

STANDING_CHIN, SITTING_CHIN = 1.52, 1.12  # metres of the chin above the floor, of a body at scale one
_SIDES = 28
_HEM, _SHOULDER_SEAM = 0.21, 0.235  # metres below the chin; to the side of the neck
_SHOULDERS = 0.25  # metres, half the width of the head mesh at the shoulders that the measures below belong to
_SKIN, _BACKGROUND = SEGMENTS.index("skin"), SEGMENTS.index("background")
# centre line and half widths below the chin, metres: x, y, z, across, along the line of sight
_TORSO = (
    (0, -0.170, 0.02, 0.10, 0.05), (0, -0.185, 0.02, 0.185, 0.10), (0, -0.22, 0.02, 0.200, 0.11),
    (0, -0.30, 0.02, 0.190, 0.118), (0, -0.44, 0.015, 0.170, 0.110), (0, -0.58, 0.010, 0.182, 0.120),
    (0, -0.70, 0.010, 0.190, 0.126), (0, -0.71, 0.010, 0.186, 0.122),
)  # fmt: skip
_HIPS = ((0, -0.64, 0.01, 0.170, 0.11), (0, -0.74, 0.01, 0.184, 0.12), (0, -0.86, 0.012, 0.16, 0.10))
_ARM = (
    (0.19, -0.10, 0.01, 0.045, 0.05), (0.215, -0.16, 0.01, 0.060, 0.068), (0.228, -0.32, 0.0, 0.048, 0.052),
    (0.240, -0.45, 0.01, 0.042, 0.045), (0.246, -0.58, 0.05, 0.036, 0.036), (0.246, -0.66, 0.07, 0.031, 0.03),
)  # fmt: skip
_HAND = ((0.246, -0.655, 0.068, 0.025, 0.02), (0.246, -0.74, 0.085, 0.038, 0.02), (0.238, -0.83, 0.09, 0.015, 0.01))
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


def make_body(head: Head, sitting: bool, cloth: float, ambient: float, rng: np.random.Generator) -> list[Layer]:
    """Torso, arms, hands and legs of a clothed person, rising into the shoulders of the head mesh.

    Args:
        head: the identity at rest; its shoulders give the scale.
        sitting: the thighs point at the camera and the feet stand 1 m below the chin.
        cloth: °C of the garment on the head mesh.
        ambient: air temperature, °C.
        rng: of the person in this scene.
    """
    scale = shoulder_scale(head)
    chin = head.landmarks[8, 1]
    trousers = ambient + (cloth - ambient) * rng.uniform(0.5, 1.05)
    hands = ambient + (34.0 - ambient) * rng.uniform(0.45, 0.9)  # hands vary more than any other skin
    sleeves = rng.random() < 0.7
    folds, creases = random_field(rng, 0.14, 2), random_field(rng, 0.035, 2)
    sleeve = cloth - 0.3 if sleeves else 0.4 * hands + 0.6 * 32.5
    parts = [
        (_around_bust(head, scale), cloth, CLOTH),
        (_HIPS, trousers, CLOTH),
        (_SITTING_LEG if sitting else _LEG, trousers, CLOTH),
        (_ARM, sleeve, CLOTH if sleeves else _SKIN),
        (_HAND, hands, _SKIN),
    ]
    if sitting:
        parts.append((_STOOL, ambient + 1.5, _BACKGROUND))
    layers = []
    for line, temperature, label in parts:
        sides = (1.0, -1.0) if line[0][0] else (1.0,)
        for side in sides:
            rows = np.array(line) * np.array([side, 1, 1, 1, 1])
            vertices, triangles = _tube(rows[:, :3] * scale, rows[:, 3:] * scale)
            hanging = vertices * np.array([1.0, 0.5, 1.0])
            rough = (0.55 * folds(hanging) + 0.35 * creases(hanging)) * {CLOTH: 1.0, _SKIN: 0.4}.get(label, 0.0)
            # warm where cloth lies on the body, cooler where it hangs free or is near the floor
            lower = smoothstep(-vertices[:, 1], 0.35, 1.4)
            celsius = temperature + rough - 0.12 * (temperature - ambient) * lower
            emissivity = CLOTH_EMISSIVITY if label == CLOTH else 0.97
            placed = vertices + np.array([0, chin, 0])
            layers.append(Layer(placed, triangles, celsius, label, emissivity, "skin"))
    return layers


def _around_bust(head: Head, scale: float) -> tuple[tuple[float, ...], ...]:
    """The torso's sections, deep enough that the chest and back of the head mesh stay inside."""
    rest, chin = head.rest, head.landmarks[8, 1]
    low = rest[(rest[:, 1] < chin - 0.16) & (np.abs(rest[:, 0]) < 0.2)]
    back, front = low[:, 2].min() / scale - 0.020, low[:, 2].max() / scale + 0.035
    middle, half = (front + back) / 2, (front - back) / 2
    full = [(0.0, y, middle, across, max(deep, half)) for _, y, _, across, deep in _TORSO[2:4]]
    rim = (*_TORSO[1][:2], middle, _TORSO[1][3], half - 0.028)  # lies against the chest: no step where it begins
    return (_TORSO[0], rim, *full, *_TORSO[4:])


def upper_garment(layer: Layer, head: Head) -> Layer:
    """A garment without what hangs below the chest, where `make_body` goes on."""
    low = head.landmarks[8, 1] - _HEM * shoulder_scale(head)
    above = layer.vertices[:, 1] > low
    beside = np.abs(layer.vertices[:, 0]) > _SHOULDER_SEAM * shoulder_scale(head)
    return replace(layer, triangles=layer.triangles[(above & ~beside)[layer.triangles].all(1)])


def shoulder_scale(head: Head) -> float:
    """Size of a subject's body against the one measured above, from the breadth of its shoulders."""
    return float(np.clip(head.rest[:, 0].max() / _SHOULDERS, 0.88, 1.08))


def _tube(centres: Floats, half: Floats) -> tuple[Floats, NDArray[np.int32]]:
    """A closed tube around a line (k, 3) with elliptic sections of half widths (k, 2) across and in depth.

    The line is refined to 8 rings a piece; sections lie flat where it runs upright and stand up where it runs forward.
    """
    knots = np.arange(len(centres))
    fine = np.linspace(0, len(centres) - 1, 8 * (len(centres) - 1) + 1)
    path = np.stack([np.interp(fine, knots, c) for c in centres.T], 1)
    width, depth = (np.interp(fine, knots, h) for h in half.T)
    along = np.gradient(path, axis=0)
    along /= np.maximum(np.linalg.norm(along, axis=1, keepdims=True), 1e-9)
    across = np.array([1.0, 0.0, 0.0]) - along * along[:, :1]
    across /= np.maximum(np.linalg.norm(across, axis=1, keepdims=True), 1e-9)
    forward = np.cross(across, along)
    turn = np.arange(_SIDES) * (2 * np.pi / _SIDES)
    # superellipse: chests and thighs are fuller than ellipses
    c, s = (np.sign(v) * np.abs(v) ** 0.85 for v in (np.cos(turn), np.sin(turn)))
    rings = (
        path[:, None]
        + across[:, None] * (width[:, None] * c)[..., None]
        + forward[:, None] * (depth[:, None] * s)[..., None]
    )
    count = len(path)
    vertices = np.concatenate([rings.reshape(-1, 3), path[:1], path[-1:]])
    ring, place = np.mgrid[0 : count - 1, 0:_SIDES]
    a, b = (ring * _SIDES + place).ravel(), (ring * _SIDES + (place + 1) % _SIDES).ravel()
    sides = np.concatenate([np.stack([a, b, a + _SIDES], 1), np.stack([b, b + _SIDES, a + _SIDES], 1)])
    rim, after = np.arange(_SIDES), (np.arange(_SIDES) + 1) % _SIDES
    first, last = (count - 1) * _SIDES + rim, (count - 1) * _SIDES + after
    caps = [np.stack([np.full(_SIDES, len(vertices) - 2), after, rim], 1)]
    caps += [np.stack([np.full(_SIDES, len(vertices) - 1), first, last], 1)]
    return vertices, np.concatenate([sides, *caps]).astype(np.int32)
