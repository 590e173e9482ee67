"""Clothes: a copy of the skin lifted off the body, with a neckline cut out of it and folds pressed into it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from thermvision.annotations.schema import SEGMENTS
from thermvision.generation.engines.phantom.anatomy import anatomy
from thermvision.generation.engines.phantom.collar import hood, lapels, roll_neck, shirt_collar
from thermvision.generation.engines.phantom.fields import Field, bell, random_field, smoothstep
from thermvision.generation.engines.phantom.layers import Floats, Head, Layer
from thermvision.generation.engines.phantom.thermal import SkinTemperature

CLOTH = SEGMENTS.index("cloth")
CLOTH_EMISSIVITY = 0.92
_MARGIN = 0.020  # metres beyond the neckline still in the mesh: the cut falls inside triangles
_ROUNDING = 0.014  # metres, softness of the corner between collar and chest
_OFFSET, _COLLAR = 0.009, 0.0035  # metres off the skin; what the collar adds
_OVER = 0.007  # metres that a second garment lies over the first
_DEEPEST = 0.004  # metres a fold may sink: below, skin would come through
_TUCK, _BESIDE = (
    0.016,
    0.050,
)  # metres that a garment reaches under a jacket; within which the jacket is the one over it
_HIGHEST = 0.040  # metres below the chin that no neckline passes
# metres: how far the trunk is carried on below the head's mesh, and the bend of a shoulder into its arm
_TRUNK, _SHOULDER = 0.55, 0.045


@dataclass(frozen=True)
class Neckline:
    """``radius`` of the collar around the neck's axis and ``drop`` below the chin, ranges in metres.

    ``notch`` is the depth of a V, ``widening`` a wide collar (metres at the front), ``ribbed`` a knitted hem,
    ``collar`` what is sewn to it, ``over`` a garment worn open on top.
    """

    radius: tuple[float, float]
    drop: tuple[float, float]
    notch: float = 0.0
    widening: float = 0.0
    ribbed: bool = False
    collar: str = "none"
    over: bool = False


NECKLINES = {
    "crew": Neckline((0.064, 0.072), (0.082, 0.092), ribbed=True),
    "v": Neckline((0.064, 0.074), (0.082, 0.100), notch=0.045, widening=0.006, ribbed=True),
    "wide": Neckline((0.070, 0.080), (0.090, 0.104), widening=0.010),
    "turtleneck": Neckline((0.057, 0.059), (0.064, 0.070), collar="roll"),
    "shirt": Neckline((0.062, 0.066), (0.082, 0.088), notch=0.050, collar="shirt"),
    "hoodie": Neckline((0.066, 0.074), (0.084, 0.094), collar="hood"),
    "jacket": Neckline((0.064, 0.072), (0.082, 0.094), ribbed=True, over=True),
}
_SHARES = (0.24, 0.12, 0.09, 0.10, 0.20, 0.12, 0.13)


@dataclass(frozen=True)
class Fabric:
    """``grain`` of the cloth and ``stripe`` of a knit, kelvin; ``period`` of its wales in metres; ``stiff`` 0..1."""

    grain: float
    stripe: float
    period: float
    stiff: float


FABRICS = (
    Fabric(0.10, 0.0, 0.006, 0.2),  # jersey
    Fabric(0.16, 0.16, 0.0095, 0.5),  # knit
    Fabric(0.14, 0.06, 0.0050, 0.9),  # woven
)


def make_garment(head: Head, skin: SkinTemperature, ambient: float, rng: np.random.Generator) -> list[Layer]:
    """What the subject wears above the waist; which, how warm and how folded is drawn from ``rng``.

    The first layer is the garment itself; collar, hood or an open jacket with its lapels follow.
    """
    name = str(rng.choice(list(NECKLINES), p=_SHARES))
    shape = NECKLINES[name]
    fabric = FABRICS[2 if name == "shirt" else int(rng.integers(2))]
    insulation = float(rng.uniform(0.38, 0.58))
    place = anatomy(head.topology)
    cut, level = _cut(head.topology.canonical, place.points, shape, rng)
    shell = _lifted(head, cut, _OFFSET)
    warmth = ambient + (skin.base - ambient) * insulation
    # a full hem would come through what lies on it
    hem = 0.0 if shape.collar in ("shirt", "roll") else _COLLAR / 2 if shape.over else _COLLAR
    garment = _sewn(head, shell, cut, fabric, (hem, shape.ribbed), warmth, rng)
    layers = [garment]
    if shape.collar == "shirt":
        layers += shirt_collar(head, garment, level, rng)
    elif shape.collar == "hood":
        layers += hood(head, garment, level, rng)
    elif shape.collar == "roll":
        layers += roll_neck(head, garment, level, rng)
    if shape.over:
        opening, path, away = _opening(head, place.points, rng)
        outer = _lifted(head, opening, _OFFSET + _OVER)
        warmth = ambient + (skin.base - ambient) * insulation * float(rng.uniform(0.62, 0.9))
        jacket = _sewn(head, outer, opening, FABRICS[1 + int(rng.integers(2))], (0.0, False), warmth, rng)
        layers = [_under(garment, jacket), jacket, *lapels(jacket, path, away, rng)]
    return layers


def _under(garment: Layer, jacket: Layer) -> Layer:
    """A garment that ends where the jacket over it closes: its folds would come through."""
    assert garment.cut is not None
    assert jacket.cut is not None
    distance, nearest = cKDTree(jacket.vertices).query(garment.vertices, distance_upper_bound=_BESIDE)
    covered = np.append(jacket.cut, -np.inf)[np.asarray(nearest)]
    return replace(garment, cut=np.where(np.isfinite(distance), np.minimum(garment.cut, _TUCK - covered), garment.cut))


def _lifted(head: Head, cut: Floats, offset: float) -> Floats:
    """(n, 3) the body's skin smoothed and lifted where the garment is."""
    worn = anatomy(head.topology).skin & (cut > -_MARGIN)
    rows = np.flatnonzero(worn)
    smoothing = head.topology.smoothing[rows]
    cloth = head.rest + offset * head.rest_normals
    for _ in range(10):
        cloth[rows] = smoothing @ cloth
    return cloth


def _sewn(
    head: Head,
    shell: Floats,
    cut: Floats,
    fabric: Fabric,
    edge: tuple[float, bool],
    level: float,
    rng: np.random.Generator,
) -> Layer:
    """One garment on the ``shell`` of its cloth: folds, hem, texture, and the trunk below what the head's mesh has.

    ``edge`` is how far the hem stands out, metres, and whether it is ribbed; ``level`` the cloth's temperature, °C.
    """
    raised, ribbed = edge
    topology, place = head.topology, anatomy(head.topology)
    worn = place.skin & (cut > -_MARGIN)
    rows, triangles = _submesh(topology.triangles, worn)
    C, normals = topology.canonical[rows], head.rest_normals[rows]
    chin = float(place.points[8, 1])
    # what portraits show; the back and the waist keep the coarse mesh
    fine = (np.abs(C[:, 0]) < 0.165) & (C[:, 1] > chin - 0.140) & (normals[:, 2] > -0.35)
    stacked, triangles = _finer(np.concatenate([C, normals, shell[rows], cut[rows, None]], 1), triangles, fine)
    C, normals, cloth, cut = stacked[:, :3], stacked[:, 3:6], stacked[:, 6:9], stacked[:, 9]

    hem = np.exp(-np.clip(cut, 0, None) / 0.008) * smoothstep(cut, -0.012, -0.002)
    # cloth hangs: folds run down more than across, and from the shoulders to the middle
    hanging = C * np.array([1.0, 0.45, 1.0]) + 0.35 * np.abs(C[:, :1]) * np.array([0.0, 1.0, 0.0])
    scale = 0.035 + 0.02 * fabric.stiff
    deep = ridges(random_field(rng, scale, 1, 14))(hanging) * 0.9 + 0.7 * random_field(rng, 0.05, 1, 12)(hanging)
    crease = ridges(random_field(rng, 0.022, 1, 14))(hanging)
    amount = float(rng.uniform(0.5, 1.6))
    away = smoothstep(cut, 0.004, 0.03)  # the hem is sewn flat
    relief = amount * (0.0026 * deep + 0.0012 * crease) * away + raised * hem
    cloth = cloth + normals * np.maximum(relief, -_DEEPEST)[:, None]

    y = C[:, 1]
    temperature = level + amount * (0.50 * deep + 0.45 * crease) * away
    temperature += 1.3 * np.exp(-np.clip(cut, 0, None) / 0.018)
    temperature += 0.8 * smoothstep(normals[:, 1], 0.5, 0.95) - 1.0 * smoothstep(y, chin - 0.12, chin - 0.28)
    temperature += fabric.grain * (random_field(rng, 0.0022, 1, 16)(C) + 0.6 * random_field(rng, 0.009, 1, 12)(C))
    # wales of a knit run down the body and waver
    wale = np.sin(2 * np.pi * (C[:, 0] + 0.0012 * deep) / fabric.period)
    temperature += fabric.stripe * wale * away * smoothstep(normals[:, 2], 0.1, 0.5)
    if ribbed:
        temperature += 0.35 * np.sin(cut / 0.0011) * ((cut > 0) & (cut < 0.014)) - 0.5 * bell(cut - 0.015, 0.0012)
    cloth, triangles, temperature, cut = _trunk(cloth, triangles, temperature, cut)
    return Layer(cloth, triangles, temperature, CLOTH, CLOTH_EMISSIVITY, "skin", cut)


def _cut(canonical: Floats, points: Floats, shape: Neckline, rng: np.random.Generator) -> tuple[Floats, float]:
    """(n,) metres inside the garment: outside the collar's cylinder or below the neckline, the corner rounded.

    And the neckline's height at the throat, metres in canonical coordinates.
    """
    x, y, z = canonical.T
    axis = points[16, 2] - 0.035
    chin = points[8, 1]
    radius = rng.uniform(*shape.radius) + shape.widening * smoothstep(z, 0.02, 0.09)
    front = float(chin - rng.uniform(*shape.drop))
    highest = chin - _HIGHEST
    level = np.minimum(front + 0.55 * np.clip(axis - z, -0.02, 0.1), highest - 0.006)
    # straight sides from the shoulder to a point, which is rounded off
    notch = np.clip(1 - np.sqrt(x * x + 2e-5) / radius, 0, 1) * smoothstep(z, 0.0, 0.03)
    level = level - shape.notch * notch
    outside = np.hypot(x, 0.95 * (z - axis)) - radius
    # the larger of both with a soft corner: a plain maximum cuts square necklines
    k = _ROUNDING
    cut = k * np.logaddexp(outside / k, (level - y) / k) - 0.35 * k
    return np.minimum(cut, highest - y), front


def _opening(head: Head, points: Floats, rng: np.random.Generator) -> tuple[Floats, Floats, Floats]:
    """Cut (n,) of a garment worn open, the path (k, 3) of its edge at rest, and the way its lapels lie, (k, 3)."""
    x, y, z = head.topology.canonical.T
    chin, axis = float(points[8, 1]), float(points[16, 2] - 0.035)
    radius, drop = float(rng.uniform(0.074, 0.084)), float(rng.uniform(0.078, 0.092))
    width, spread = float(rng.uniform(0.034, 0.050)), float(rng.uniform(-0.10, 0.25))

    def half(height: Floats) -> Floats:
        return np.clip(width + spread * (chin - 0.10 - height), 0.012, 0.12)

    level = np.minimum(chin - drop + 0.55 * np.clip(axis - z, -0.02, 0.1), chin - 0.046)
    ring = np.maximum(np.hypot(x, 0.95 * (z - axis)) - radius, level - y)
    gap = np.abs(x) - half(y) + 0.3 * smoothstep(z, axis + 0.025, axis - 0.005)
    k = 0.008
    cut = np.minimum(-k * np.logaddexp(-ring / k, -gap / k), chin - 0.040 - y)

    marks = head.landmarks
    down = np.linspace(0, 0.19, 26)[::-1]
    start = float(np.arcsin(min(width / radius, 0.9)))
    around = np.linspace(start, 2 * np.pi - start, 60)
    back = marks[16, 2] - 0.035
    at = np.stack([radius * np.sin(around), np.zeros(60), back + radius * np.cos(around) / 0.95], 1)
    at[:, 1] = np.minimum(marks[8, 1] - drop + 0.55 * np.clip(back - at[:, 2], -0.02, 0.1), marks[8, 1] - 0.046)
    height = at[0, 1] - down
    edge = half(height - marks[8, 1] + chin)
    front = np.stack([edge, height, np.full(26, at[0, 2])], 1)
    path = np.concatenate([front, at, front[::-1] * np.array([-1, 1, 1])])
    outward = np.concatenate(
        [
            np.tile([1.0, 0, 0], (26, 1)),
            np.stack([np.sin(around), np.full(60, -0.35), np.cos(around)], 1),
            np.tile([-1.0, 0, 0], (26, 1)),
        ]
    )
    return cut, path, outward


def _submesh(triangles: NDArray[np.int32], chosen: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """Rows of the chosen vertices that some wholly chosen triangle uses, and those triangles in terms of them."""
    whole = triangles[chosen[triangles].all(1)]
    used = np.zeros(len(chosen), bool)
    used[whole] = True
    rows = np.flatnonzero(used)
    renumbered = np.zeros(len(chosen), np.int32)
    renumbered[rows] = np.arange(len(rows))
    return rows.astype(np.int64), renumbered[whole]


def _finer(values: Floats, triangles: NDArray[np.int32], chosen: NDArray[np.bool_]) -> tuple[Floats, NDArray[np.int32]]:
    """Split every edge between two ``chosen`` vertices: texture needs closer vertices than shape.

    A triangle of three chosen corners becomes four, of two becomes two, so that no crack opens between fine and coarse.

    Args:
        values: (n, k) of the vertices, taken linearly at the new ones.
    """
    count = chosen[triangles].sum(1)
    whole, partly = triangles[count == 3].astype(np.int64), triangles[count == 2].astype(np.int64)
    # turned so that the corner that is not chosen comes last
    turn = (np.argmin(chosen[partly], axis=1) + 1)[:, None]
    partly = np.take_along_axis(partly, (turn + np.arange(3)) % 3, axis=1)
    n = len(values)
    edges = np.concatenate([whole[:, [0, 1]], whole[:, [1, 2]], whole[:, [2, 0]], partly[:, :2]])
    edges.sort(axis=1)
    keys, index = np.unique(edges[:, 0] * n + edges[:, 1], return_inverse=True)
    middle = index.reshape(-1) + n
    ab, bc, ca = (middle[k * len(whole) : (k + 1) * len(whole)] for k in range(3))
    half = middle[3 * len(whole) :]
    a, b, c = whole.T
    p, q, r = partly.T
    pieces = ((a, ab, ca), (ab, b, bc), (ca, bc, c), (ab, bc, ca), (p, half, r), (half, q, r))
    split = np.concatenate([np.stack(piece, 1) for piece in pieces]).astype(np.int32)
    added = 0.5 * (values[keys // n] + values[keys % n])
    return np.concatenate([values, added]), np.concatenate([triangles[count < 2], split])


def _trunk(
    cloth: Floats, triangles: NDArray[np.int32], temperature: Floats, cut: Floats
) -> tuple[Floats, NDArray[np.int32], Floats, Floats]:
    """Carry the cloth on where the head's mesh ends: arms bend down from the shoulders, and the trunk hangs below."""
    sides = np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]]).astype(np.int64)
    n = len(cloth)
    ordered = np.sort(sides, axis=1)
    _, first, count = np.unique(ordered[:, 0] * n + ordered[:, 1], return_index=True, return_counts=True)
    rim = sides[first[count == 1]]
    rim = rim[(cut[rim] > 0.05).all(1)]  # not the neckline
    rows, renumbered = np.unique(rim, return_inverse=True)
    edges = renumbered.reshape(-1, 2)
    start = cloth[rows]
    beside = smoothstep(np.abs(start[:, 0]), 0.19, 0.225)[:, None] * np.sign(start[:, :1])
    bend = np.linspace(0, np.pi / 2, 6)[1:]
    steps = [_SHOULDER * (np.sin(a) * beside * [1.0, 0, 0] - (1 - np.cos(a)) * np.array([0, 1.0, 0])) for a in bend]
    steps += [steps[-1] - np.array([0, drop, 0]) for drop in (0.06, 0.18, 0.34, _TRUNK)]
    m = len(rows)
    index = np.concatenate([rows[None], n + np.arange(len(steps) * m).reshape(len(steps), m)])
    a, b = index[:-1][:, edges[:, 0]], index[:-1][:, edges[:, 1]]
    c, d = index[1:][:, edges[:, 1]], index[1:][:, edges[:, 0]]
    added = np.concatenate([np.stack([b, a, d], -1).reshape(-1, 3), np.stack([b, d, c], -1).reshape(-1, 3)])
    more = len(steps)
    return (
        np.concatenate([cloth, *(start + step for step in steps)]),
        np.concatenate([triangles, added.astype(np.int32)]),
        np.concatenate([temperature, np.tile(temperature[rows], more)]),
        np.concatenate([cut, np.tile(cut[rows], more)]),
    )


def ridges(field: Field) -> Field:
    """Sharp crests where the field crosses zero, from 1 down to -1."""

    def ridged(points: Floats) -> Floats:
        return 1 - np.minimum(1.6 * np.abs(field(points)), 2.0)

    return ridged
