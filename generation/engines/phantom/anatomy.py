"""Where things are on the canonical head: landmark points and per-vertex distances that every identity shares.

All in canonical coordinates (metres, +x the subject's left, +y up, +z forward), so that a field painted with them
follows every identity and expression. Computed once a process.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from thermvision.annotations.schema import SEGMENTS
from thermvision.generation.engines.phantom.fields import polygon_distance, polyline_distance, smooth_curve, smoothstep
from thermvision.generation.engines.phantom.layers import Floats, HeadTopology

SKIN, EYE, MOUTH, TEETH = (SEGMENTS.index(name) for name in ("skin", "eye", "mouth", "teeth"))
FAR = 1.0  # metres: "nowhere near" in the distance fields


@dataclass(frozen=True, eq=False)
class Anatomy:
    """Canonical places and distances.

    Attributes:
        points: (68, 3) iBUG points.
        eye: (3,) centre of the left eye's six points.
        skin: (n,) bool, vertices of the outer body mesh.
        fold_fine, fold_broad: (n,) metres; how far a vertex lies behind its smoothed surroundings (> 0: a concavity).
        upper_lid: (n,) metres above the nearer upper lid line in the frontal projection, `FAR` where none is near.
        lid_line: (n,) metres from the nearer upper lid line.
        lips: (n,) signed metres inside the outline of the vermilion, -`FAR` away from the mouth.
        mouth_line: (n,) metres from the line between the lips.
        oral: (n,) 0..1, lining of the mouth cavity that shows when the lips part.
        lining: (n,) bool, body vertices deep inside mouth and nose, where nothing grows.
        nose: (n,) signed metres inside the outline of the nose in the frontal projection, -`FAR` away from it.
        neck_muscle: (n,) metres from the ridge of the nearer sternomastoid, from behind the ear to the breastbone.
        ear_rim: (n,) 0 at the middle of an ear .. 1 at its rim, 0 off the ears.
    """

    points: Floats
    eye: Floats
    skin: NDArray[np.bool_]
    fold_fine: Floats
    fold_broad: Floats
    upper_lid: Floats
    lid_line: Floats
    lips: Floats
    mouth_line: Floats
    oral: Floats
    lining: NDArray[np.bool_]
    nose: Floats
    neck_muscle: Floats
    ear_rim: Floats


@lru_cache(maxsize=2)
def anatomy(topology: HeadTopology) -> Anatomy:
    """The `Anatomy` of a topology."""
    points = topology.canonical[topology.landmarks]
    skin = topology.label == SKIN
    fine, broad = _folds(topology, (6, 30))
    upper_lid, lid_line = _lids(topology, points, skin)
    lips, mouth_line = _lips(topology, points, skin)
    return Anatomy(
        points=points,
        eye=points[42:48].mean(0),
        skin=skin,
        fold_fine=fine,
        fold_broad=broad,
        upper_lid=upper_lid,
        lid_line=lid_line,
        lips=lips,
        mouth_line=mouth_line,
        oral=_oral_lining(topology, points, skin, broad),
        lining=_deep_lining(topology, points, skin),
        nose=_nose(topology, points, skin),
        neck_muscle=_neck_muscle(topology, points, skin),
        ear_rim=_ear_rim(topology),
    )


def _folds(topology: HeadTopology, steps: tuple[int, int]) -> tuple[Floats, Floats]:
    """Offset along the normal to the surface after so many umbrella smoothings."""
    smoothed = topology.canonical
    found = []
    for step in range(1, steps[1] + 1):
        smoothed = topology.smoothing @ smoothed
        if step in steps:
            found.append(np.sum((smoothed - topology.canonical) * topology.canonical_normals, axis=1))
    return found[0], found[1]


def _lids(topology: HeadTopology, points: Floats, skin: NDArray[np.bool_]) -> tuple[Floats, Floats]:
    C = topology.canonical
    above = np.full(len(C), FAR)
    distance = np.full(len(C), FAR)
    for rows in ((42, 43, 44, 45), (39, 38, 37, 36)):
        curve = smooth_curve(points[list(rows)], 8)
        near = np.flatnonzero(skin & (np.abs(C - curve.mean(0)) < (0.035, 0.03, 0.03)).all(1))
        d, place = polyline_distance(C[near, :2], curve[:, :2])
        height = np.interp(place, np.linspace(0, 1, len(curve)), curve[:, 1])
        distance[near] = d
        above[near] = np.where(C[near, 1] > height, d, FAR)
    return above, distance


def _lips(topology: HeadTopology, points: Floats, skin: NDArray[np.bool_]) -> tuple[Floats, Floats]:
    C = topology.canonical
    lips = np.full(len(C), -FAR)
    line = np.full(len(C), FAR)
    box = (np.abs(C[:, 0]) < 0.045) & (np.abs(C[:, 1] - points[62, 1]) < 0.03) & (C[:, 2] > points[48, 2] - 0.012)
    near = np.flatnonzero(skin & box)
    lips[near] = polygon_distance(C[near, :2], smooth_curve(points[48:60, :2], 6, closed=True))
    middle = np.stack([points[48], *((points[61:64] + points[[67, 66, 65]]) / 2), points[54]])
    line[near], _ = polyline_distance(C[near, :2], smooth_curve(middle[:, :2], 6))
    return lips, line


def _oral_lining(topology: HeadTopology, points: Floats, skin: NDArray[np.bool_], broad: Floats) -> Floats:
    """The body mesh turns inward at the lips: its part behind them, near the midline, is the mouth cavity."""
    x, y, z = topology.canonical.T
    inside = skin & (np.abs(y - points[62, 1]) < 0.022) & (z > 0.02) & (topology.canonical_normals[:, 2] < 0.9)
    inside &= (broad > 0.0015) | (z < points[62, 2] - 0.02)
    # the lips curve back toward their corners; just behind them the lining still has their temperature
    lips = points[62, 2] + (points[64, 2] - points[62, 2]) * np.minimum((x / points[64, 0]) ** 2, 1.0)
    return inside * smoothstep(np.abs(x), 0.027, 0.022) * smoothstep(lips - z, 0.009, 0.020)


def _deep_lining(topology: HeadTopology, points: Floats, skin: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Vertices more than 25 mm behind the face that a frontal ray meets first."""
    x, y, z = topology.canonical.T
    front = skin & (np.abs(x) < 0.045) & (y > points[8, 1] + 0.005) & (y < points[27, 1]) & (z > 0.02)
    cell = np.floor(topology.canonical[:, :2] / 0.003).astype(int)
    cell -= cell[front].min(0)
    cell = np.where(front[:, None], cell, 0)
    surface = np.zeros(cell.max(0) + 1)
    np.maximum.at(surface, (cell[front, 0], cell[front, 1]), z[front])
    deep: NDArray[np.bool_] = front & (z < surface[cell[:, 0], cell[:, 1]] - 0.025)
    return deep


def _nose(topology: HeadTopology, points: Floats, skin: NDArray[np.bool_]) -> Floats:
    C = topology.canonical
    ala, root, base = points[35], points[27], points[33]
    half = np.array([
        [0.0, root[1] - 0.002], [0.0055, root[1] - 0.006], [0.0075, points[28, 1]], [0.0110, points[29, 1]],
        [ala[0] - 0.001, points[30, 1] + 0.003], [ala[0] + 0.0015, ala[1] + 0.001], [ala[0] - 0.002, base[1] + 0.003],
        [0.007, base[1] + 0.001], [0.0, base[1]],
    ])  # fmt: skip
    outline = np.concatenate([half, half[-2:0:-1] * [-1, 1]])
    inside = np.full(len(C), -FAR)
    box = (
        (np.abs(C[:, 0]) < 0.04) & (C[:, 1] > base[1] - 0.02) & (C[:, 1] < root[1] + 0.02) & (C[:, 2] > ala[2] - 0.026)
    )
    near = np.flatnonzero(skin & box)
    inside[near] = polygon_distance(C[near, :2], smooth_curve(outline, 5, closed=True))
    return inside


def _neck_muscle(topology: HeadTopology, points: Floats, skin: NDArray[np.bool_]) -> Floats:
    C = topology.canonical
    left = np.flatnonzero(skin & (C[:, 0] > 0) & (topology.ear < 0.05) & (C[:, 1] < points[30, 1] + 0.01))
    behind_ear = np.array([0.062, points[30, 1] - 0.008, points[16, 2] - 0.032])
    chin = points[8, 1]
    notch = np.array([0.011, chin - 0.115, C[(np.abs(C[:, 0]) < 0.01) & (C[:, 1] < chin - 0.08), 2].max()])
    # a straight cord, laid on the skin
    cord = behind_ear + np.linspace(0, 1, 13)[:, None] * (notch - behind_ear)
    on_skin = np.stack([C[left[np.argmin(np.sum((C[left] - p) ** 2, axis=1))]] for p in cord])
    on_skin[1:-1] = (on_skin[:-2] + 2 * on_skin[1:-1] + on_skin[2:]) / 4
    distance, _ = polyline_distance(np.concatenate([np.abs(C[:, :1]), C[:, 1:]], 1), on_skin)
    return np.where(skin, distance, FAR)


def _ear_rim(topology: HeadTopology) -> Floats:
    C = topology.canonical
    ear = topology.ear > 0.3
    low, high = C[ear, 1:].min(0), C[ear, 1:].max(0)
    # the middle of the bowl lies low and toward the face
    middle = low + (high - low) * [0.42, 0.62]
    half = np.where(C[:, 1:] > middle, high - middle, middle - low)
    radius = np.linalg.norm((C[:, 1:] - middle) / half, axis=1)
    return np.where(topology.ear > 0, smoothstep(radius, 0.35, 0.95), 0.0)
