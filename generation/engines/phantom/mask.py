"""Face masks: cloth stretched from the bridge of the nose to below the chin, warm and cool with every breath."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline
from scipy.ndimage import gaussian_filter
from scipy.spatial import cKDTree

from thermvision.annotations.schema import SEGMENTS
from thermvision.generation.engines.phantom.anatomy import anatomy
from thermvision.generation.engines.phantom.fields import bell, blob, random_field, smooth_curve, smoothstep
from thermvision.generation.engines.phantom.hair_shell import make_shell
from thermvision.generation.engines.phantom.lattice import Taut, clearance, sheet, tube
from thermvision.generation.engines.phantom.layers import Floats, Head, Layer
from thermvision.generation.engines.phantom.thermal import SkinTemperature

MASK = SEGMENTS.index("mask")
MASK_EMISSIVITY = 0.93  # non-woven polypropylene and cotton
_DOWN, _ACROSS = 43, 61  # lattice points from nose to chin, and from ear to ear
_COARSE = 3, 2  # of which one in so many has the stretched surface computed
_GAP = 0.0035  # metres off the skin


@dataclass(frozen=True)
class MaskKind:
    """``pleats`` across, ``bulge`` in front of the mouth (metres), a vertical ``seam``, a metal ``wire`` at the nose.

    ``insulation`` is how far the outside is from the skin's temperature (0) to the air's (1), a range.
    """

    pleats: int
    bulge: float
    seam: bool
    wire: bool
    insulation: tuple[float, float]


MASK_KINDS = {
    "surgical": MaskKind(3, 0.003, False, True, (0.36, 0.52)),
    "folded": MaskKind(0, 0.010, True, True, (0.46, 0.62)),
    "cloth": MaskKind(0, 0.004, True, False, (0.40, 0.56)),
    "cup": MaskKind(0, 0.013, False, True, (0.50, 0.66)),
}


@dataclass(frozen=True, eq=False)
class Mask:
    """A mask on one head.

    Attributes:
        layers: cloth and ear loops, rigid with the skull but for what follows the chin.
        lattice: (rows, columns, 3) points of the cloth at rest.
    """

    layers: list[Layer]
    lattice: Floats

    def covers(self, points: Floats) -> NDArray[np.bool_]:
        """(n,) whether rest ``points`` (n, 3) on the skin lie under the cloth, its outermost millimetres left out."""
        rows, columns = self.lattice.shape[:2]
        distance, nearest = cKDTree(self.lattice.reshape(-1, 3)).query(points, eps=0.3, distance_upper_bound=0.022)
        row, column = np.divmod(np.minimum(nearest, rows * columns - 1), columns)
        inner = (row > 0) & (row < rows - 1) & (column > 1) & (column < columns - 2)
        covered: NDArray[np.bool_] = np.isfinite(distance) & inner
        return covered


def make_mask(head: Head, skin: SkinTemperature, ambient: float, rng: np.random.Generator) -> Mask:
    """One mask; kind, fit and temperature are drawn from ``rng``.

    Its temperature is that between two breaths; `Layer.breathing` has what exhaled air adds (1 to 3 K before the
    mouth), and `Layer.jaw` lets the lower part follow the chin.
    """
    kind = MASK_KINDS[str(rng.choice(list(MASK_KINDS), p=[0.45, 0.25, 0.18, 0.12]))]
    slack = float(rng.uniform(0.8, 1.2))
    low_nose, insulation = float(rng.uniform(-0.004, 0.003)), float(rng.uniform(*kind.insulation))
    strength, leak = float(rng.uniform(1.1, 2.8)), float(rng.uniform(0.2, 0.9))
    across, down = np.linspace(-1, 1, _ACROSS)[None, :], np.linspace(0, 1, _DOWN)[:, None]

    points = _stretched(head, low_nose)
    outward = points - _centre(head)
    outward /= np.linalg.norm(outward, axis=2, keepdims=True)
    middle = bell(across, 0.42) * bell(down - 0.52, 0.26)
    relief = kind.bulge * slack * middle
    inside = smoothstep(down, 0, 0.08) * smoothstep(down, 1, 0.92)
    folds = np.zeros((_DOWN, _ACROSS))
    if kind.pleats:
        # each pleat laps over the next: rises slowly and falls back at once
        place = (down - 0.16) / 0.66 * kind.pleats + 0.04 * random_field(rng, 0.4)(np.stack([across[0]], 1))
        within = (place > 0) & (place < kind.pleats)
        folds = np.where(within, smoothstep(place % 1, 0, 0.85) * smoothstep(place % 1, 1.0, 0.93), 0.0)
        relief = relief + 0.0022 * folds * smoothstep(np.abs(across), 1.0, 0.85)
    crumple = random_field(rng, 0.030, 2)(points.reshape(-1, 3)).reshape(_DOWN, _ACROSS)
    relief = relief + 0.0008 * crumple * inside
    points = points + (relief * inside)[..., None] * outward

    level = ambient + (1 - insulation) * (skin.base - ambient)
    marks = head.landmarks
    flat = points.reshape(-1, 3)
    front = blob(flat, marks[[33, 51, 62]].mean(0) + np.array([0, -0.004, 0.012]), 0.026, 0.024).reshape(_DOWN, _ACROSS)
    touching = np.exp(-down / 0.05) + np.exp(-(1 - down) / 0.06) + 0.7 * np.exp(-(1 - np.abs(across)) / 0.07)
    contact = np.minimum(touching, 1.0) + 0.6 * blob(flat, marks[30], 0.010).reshape(_DOWN, _ACROSS)
    contact += 0.5 * blob(flat, marks[8] + [0, 0.006, 0.004], 0.016).reshape(_DOWN, _ACROSS)
    grain = random_field(rng, 0.006, 2)(flat).reshape(_DOWN, _ACROSS)
    temperature = level + 0.42 * np.minimum(contact, 1.2) * (skin.base - 1.0 - level) * (1 - 0.5 * (kind.pleats == 0))
    temperature = temperature + 0.35 * crumple + 0.16 * grain - 0.9 * front
    temperature += 0.5 * folds * smoothstep(np.abs(across), 1.0, 0.8)
    if kind.seam:
        temperature = temperature + 0.8 * bell(across, 0.016) * inside
    if kind.wire:
        temperature = temperature - 0.9 * bell(down - 0.045, 0.016) * smoothstep(np.abs(across), 0.46, 0.40)
    hem = np.minimum(smoothstep(down, 0.030, 0.022) + smoothstep(down, 0.970, 0.978), 1.0)
    temperature = temperature - 0.5 * hem
    # exhaled air leaves through the cloth, and above the nose where it does not fit
    breathing = strength * (0.12 + 0.95 * front)
    breathing += leak * bell(np.abs(across) - 0.2, 0.10) * bell(down, 0.08)

    y, z = points[..., 1], points[..., 2]
    jaw = smoothstep(y, marks[33, 1], marks[8, 1] + 0.004) * smoothstep(z, marks[16, 2] + 0.005, marks[8, 2] - 0.01)
    cloth = sheet(points, temperature, MASK, MASK_EMISSIVITY, "rigid", breathing=breathing, jaw=jaw)
    layers = [cloth]
    for side in (-1, 1):
        layers += _loops(head, points, jaw, side, 0.5 * (level + skin.base) - 0.5, rng)
    return Mask(layers, points)


def _centre(head: Head) -> Floats:
    """A point inside the head, (3,), from which the whole mask is in view."""
    marks = head.landmarks
    return np.array([0.0, marks[62, 1] + 0.004, marks[16, 2] + 0.018])


def _stretched(head: Head, low_nose: float) -> Floats:
    """(rows, columns, 3): taut cloth over nose, cheeks and chin, its upper edge laid onto the skin."""
    marks, place, centre = head.landmarks, anatomy(head.topology), _centre(head)
    outline = [_direction(curve - centre) for curve in _edges(marks, low_nose)]
    share = np.linspace(0, 1, _DOWN)[:, None, None]
    directions = _direction((1 - share) * outline[0] + share * outline[1])
    y, z = head.topology.canonical[:, 1], head.topology.canonical[:, 2]
    chosen = place.skin & (head.topology.ear < 0.02) & (z > place.points[16, 2] - 0.010)
    chosen &= (y < place.points[28, 1] + 0.002) & (y > place.points[8, 1] - 0.060)
    rows = np.flatnonzero(chosen)
    surface = head.rest[rows]
    rows_kept, columns_kept = np.arange(0, _DOWN, _COARSE[0]), np.arange(0, _ACROSS, _COARSE[1])
    coarse = Taut(surface[::5], centre).radius(directions[rows_kept][:, columns_kept])
    taut = CubicSpline(rows_kept, CubicSpline(columns_kept, coarse, axis=1)(np.arange(_ACROSS)))(np.arange(_DOWN))
    # the skin beneath the edges, as far as one looks along each direction
    seen = _direction(surface - centre)
    edges = directions[[0, -1]].reshape(-1, 3)
    _, near = cKDTree(seen).query(edges, k=24)
    skin = np.linalg.norm(surface - centre, axis=1)[near].max(1).reshape(2, _ACROSS)
    down = np.linspace(0, 1, _DOWN)[:, None]
    fitted = np.exp(-((down / 0.10) ** 2)) * np.minimum(skin[0] - taut[0], 0.0)
    fitted = fitted + np.exp(-(((1 - down) / 0.07) ** 2)) * np.minimum(skin[1] - taut[-1], 0.0)
    radius = gaussian_filter(taut + fitted, (1.2, 1.0), mode="nearest") + _GAP
    points = centre + radius[..., None] * directions
    lift = clearance(surface, head.rest_normals[rows])
    lifted: Floats = lift(points, 0.0022, 2)
    return lifted


def _direction(vectors: Floats) -> Floats:
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def _edges(marks: Floats, low_nose: float) -> tuple[Floats, Floats]:
    """Upper and lower edge of the cloth, (columns, 3) each, from the subject's right to the left."""

    def half(side: int) -> tuple[list[Floats], list[Floats]]:
        upper_jaw, jaw, lower_jaw = (marks[[k, 16 - k][side > 0]] for k in (2, 3, 5))
        lid = marks[[40, 41]].mean(0) if side < 0 else marks[[46, 47]].mean(0)
        bridge = marks[28]
        upper = [
            upper_jaw + np.array([0, 0.004, 0.020]),
            lid + np.array([side * 0.010, -0.021, 0]),
            bridge + np.array([side * 0.013, -0.007 + low_nose, -0.008]),
        ]
        lower = [
            jaw + np.array([0, -0.010, 0.018]),
            lower_jaw + np.array([0, -0.006, 0.004]),
            marks[8] + np.array([side * 0.020, -0.014, -0.012]),
        ]
        return upper, lower

    (upper_right, lower_right), (upper_left, lower_left) = half(-1), half(1)
    top = [*upper_right, marks[28] + [0, 0.001 + low_nose, 0], *upper_left[::-1]]
    bottom = [*lower_right, marks[8] + [0, -0.016, -0.012], *lower_left[::-1]]
    curves = []
    for points in (top, bottom):
        curve = smooth_curve(np.array(points), 16)
        along = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(curve, axis=0), axis=1))])
        at = np.linspace(0, along[-1], _ACROSS)
        curves.append(np.stack([np.interp(at, along, curve[:, k]) for k in range(3)], 1))
    return curves[0], curves[1]


def _loops(
    head: Head, points: Floats, jaw: Floats, side: int, temperature: float, rng: np.random.Generator
) -> list[Layer]:
    """The two ends of the elastic that goes around one ear."""
    shell = make_shell(head)
    ear = head.rest[(head.topology.ear > 0.3) & (side * head.rest[:, 0] > 0)]
    behind = float(np.percentile(ear[:, 2], 12))
    beside = float(np.abs(ear[:, 0]).min())
    column = -1 if side > 0 else 0
    radius = float(rng.uniform(0.0010, 0.0022))
    t = np.linspace(0, 1, 22)
    loops = []
    for row, height in ((1, np.percentile(ear[:, 1], 88)), (-2, np.percentile(ear[:, 1], 22))):
        start = points[row, column]
        end = np.array([side * beside, height, behind])
        line = start + (end - start) * t[:, None]
        for _ in range(3):
            distance, outward = shell.distance(line)
            line = line + outward * np.maximum(0.003 - distance, 0)[:, None] * smoothstep(t, 0, 0.12)[:, None]
        follows = jaw[row, column] * (1 - t)
        loops.append(tube(line, radius, np.full(len(t), temperature), MASK, MASK_EMISSIVITY, "rigid", jaw=follows))
    return loops
