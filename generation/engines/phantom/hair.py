"""Hairstyles: strands grown once an identity in the rest pose, and their temperature in a session."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from thermvision.annotations.errors import UsageError
from thermvision.annotations.schema import SEGMENTS
from thermvision.generation.engines.phantom.anatomy import anatomy
from thermvision.generation.engines.phantom.fields import random_field, smoothstep
from thermvision.generation.engines.phantom.hair_shell import (
    Growth,
    Knot,
    face_keepout,
    make_shell,
    march,
    over_ears,
    released,
)
from thermvision.generation.engines.phantom.hairline import Hairline, crown, hair_level
from thermvision.generation.engines.phantom.layers import Floats, Head, Strands
from thermvision.generation.engines.phantom.scatter import scatter
from thermvision.generation.engines.phantom.thermal import SkinTemperature

HAIR = SEGMENTS.index("hair")
_UNRULY = 0.06  # share of strands that stand off the others
# a strand with fewer than so many others within a cube and its neighbours, metres of edge, is on its own
_CUBE, _COMPANY = 0.008, 14

# roots (N, 3), 0 at the sides .. 1 on top (N,), position of the parting in metres -> directions (N, 3)
Flow = Callable[[Floats, Floats, float], Floats]


def _columns(*columns: Floats | float) -> Floats:
    return np.stack(np.broadcast_arrays(*columns), -1).astype(np.float64)


def _mixed(top: Floats, upper: Floats, sides: Floats) -> Floats:
    return top[:, None] * upper + (1 - top[:, None]) * sides


def _forward(roots: Floats, top: Floats, parting: float) -> Floats:
    return np.tile([0.0, -0.3, 0.7], (len(roots), 1))


def _swept(roots: Floats, top: Floats, parting: float) -> Floats:
    """Short: to one side on top, forward before the crown and back behind it."""
    lean = 0.6 * np.sign(parting)
    return _mixed(top, _columns(lean, 0.0, 0.55 - 1.05 * smoothstep(roots[:, 2], 0.02, -0.02)), _sides(roots))


def _parted(roots: Floats, top: Floats, parting: float) -> Floats:
    """Combed away from a parting: to both sides of one off the middle, else all to one side."""
    away = np.tanh((roots[:, 0] - parting) / 0.004) if abs(parting) > 0.0201 else np.sign(parting)
    return _mixed(top, _columns(away, 0.0, 0.12 - 0.42 * smoothstep(roots[:, 2], 0.05, 0.01)), _sides(roots))


def _back(roots: Floats, top: Floats, parting: float) -> Floats:
    return _columns(-2 * roots[:, 0], 0.1, -1.0)


def _falling(roots: Floats, top: Floats, parting: float) -> Floats:
    """Long hair: from the parting outward and a little back, then down."""
    upper = _columns(np.tanh((roots[:, 0] - parting) / 0.004), 0.0, -0.25)
    return _mixed(top, upper, _sides(roots))


def _fringed(roots: Floats, top: Floats, parting: float) -> Floats:
    """Combed from the crown to all sides: over the forehead in front, down at sides and back."""
    forward = smoothstep(roots[:, 2], -0.01, 0.04)
    upper = _columns(3 * roots[:, 0] + 0.12 * np.sign(parting), 0.0, 1.5 * forward - 0.5)
    return _mixed(np.maximum(top, 0.7 * forward), upper, _sides(roots))


def _sides(roots: Floats) -> Floats:
    return np.tile([0.0, -1.0, -0.4], (len(roots), 1))


@dataclass(frozen=True)
class HairStyle:
    """How one style grows.

    Attributes:
        strands, points: number of strands and of points along each.
        length: metres on top; ``sides`` is the factor at the sides.
        lift: how much roots stand up.
        gravity, jitter, hug: see `Growth`.
        layer: metres, height of the outermost hair above the head.
        flow: direction of growth at the root.
        clumping: 0..1, how far tips gather into locks.
        insulation: 0..1, the scalp's way from skin to outer hair.
        half_width: metres at the root.
        parted: flows around the face.
        gathered: tied behind the head, and what follows beyond the knot: see `Growth`; None: worn loose.
        framing: cut around the face, which it frames.
        hem: metres below the chin where it is cut off, None: not.
    """

    strands: int
    points: int
    length: float
    lift: float
    gravity: float
    jitter: float
    layer: float
    hug: float
    flow: Flow
    sides: float = 1.0
    clumping: float = 0.0
    insulation: float = 0.6
    half_width: float = 0.00013
    parted: bool = False
    gathered: Knot | None = None
    framing: bool = False
    hem: float | None = None


HAIR_STYLES: dict[str, HairStyle] = {
    "buzz": HairStyle(30000, 3, 0.005, 0.9, 0.0, 0.10, 0.006, 0.0, _forward, insulation=0.45, half_width=0.00010),
    "crew": HairStyle(40000, 5, 0.016, 0.7, 0.02, 0.14, 0.012, 0.3, _forward, 0.35, 0.25, 0.6),
    "short": HairStyle(44000, 8, 0.036, 0.35, 0.05, 0.12, 0.014, 0.85, _swept, 0.35, 0.5),
    "side": HairStyle(44000, 12, 0.075, 0.3, 0.10, 0.08, 0.017, 0.85, _parted, 0.35, 0.55),
    "back": HairStyle(34000, 16, 0.17, 0.12, 0.0, 0.04, 0.010, 0.85, _back, clumping=0.15, gathered="hidden"),
    "bob": HairStyle(
        40000, 26, 0.26, 0.2, 0.2, 0.05, 0.016, 0.85, _falling, clumping=0.4, half_width=0.00020, parted=True, hem=0.02
    ),
    "long": HairStyle(
        38000, 28, 0.40, 0.2, 0.2, 0.045, 0.016, 0.85, _falling, clumping=0.5, half_width=0.00020, parted=True
    ),
    "fringe": HairStyle(
        40000,
        24,
        0.21,
        0.2,
        0.16,
        0.05,
        0.014,
        0.9,
        _fringed,
        clumping=0.5,
        half_width=0.00018,
        framing=True,
        hem=-0.01,
    ),
    "ponytail": HairStyle(34000, 26, 0.42, 0.12, 0.0, 0.035, 0.010, 0.85, _back, clumping=0.15, gathered="tail"),
    "bun": HairStyle(34000, 26, 0.34, 0.12, 0.0, 0.035, 0.010, 0.85, _back, clumping=0.1, gathered="bun"),
}


@dataclass(frozen=True, eq=False)
class GrownHair:
    """The hair of an identity at rest, before it has a temperature.

    Attributes:
        points: (N, K, 3) metres.
        height: (N, K) metres above the head.
        thickness: (N,) 0..1 of the hair around the root.
        depth: (N,) 0..1, how far a strand of this length leaves the warm scalp.
        lock: (N,) zero mean, unit RMS; shared by neighbouring strands.
        tone: (N,) zero mean; a strand's own.
        chill: kelvin by which free ends are cooler.
        half_width: (N,) metres.
    """

    points: Floats
    height: Floats
    thickness: Floats
    depth: Floats
    lock: Floats
    tone: Floats
    chill: float
    half_width: Floats


def hair_style(style: str) -> HairStyle | None:
    """The entry of `HAIR_STYLES`, None for "bald".

    Raises:
        UsageError: there is no such style.
    """
    if style == "bald":
        return None
    if style not in HAIR_STYLES:
        raise UsageError(f"hairstyle {style!r} is not available; allowed: bald, {', '.join(HAIR_STYLES)}")
    return HAIR_STYLES[style]


def grow_hair(head: Head, hairline: Hairline, style: str, rng: np.random.Generator) -> GrownHair | None:
    """Grow a hairstyle on an identity at rest; None for "bald".

    Raises:
        UsageError: there is no such style.
    """
    kind = hair_style(style)
    if kind is None:
        return None
    # the rim of short hair is sparse and skin shows through; long hair hangs from its rim and needs it full
    loose = kind.parted or kind.gathered is not None
    density = (
        np.clip(hairline.inside / 0.012, 0, 1) ** 0.7 if loose else np.clip((hairline.inside - 0.0015) / 0.016, 0, 1)
    )
    roots = scatter(head, density, kind.strands, rng)
    points, normals = roots.of(head.rest), roots.of(head.rest_normals)
    thickness = np.clip(roots.of(hairline.thickness), 0, 1)
    top = crown(points, head.landmarks)

    parting = float(rng.uniform(-0.02, 0.02) if rng.random() < 0.7 else rng.uniform(0.021, 0.03) * rng.choice([-1, 1]))
    clumps = 0.3 * random_field(rng, 0.012)(points)[:, None] * np.array([1.0, 0.35, 0.85])
    aim = kind.flow(points, top, parting) + clumps + rng.normal(0, 0.12, points.shape)
    along = aim - np.sum(aim * normals, axis=1, keepdims=True) * normals
    # hair of the rim lies flatter and is shorter
    rim = 0.45 + 0.55 * smoothstep(thickness, 0.0, 0.7)
    directions = _unit(_unit(along) + kind.lift * rim[:, None] * normals)
    length = kind.length * rng.uniform(0.72, 1.1, len(points)) * (kind.sides + (1 - kind.sides) * top)
    if not loose:
        length *= rim
    layer = rng.uniform(0.25, 1, len(points)) * kind.layer * rim
    # a few stand off the rest: the outline is soft
    layer *= np.where(rng.random(len(points)) < _UNRULY, rng.uniform(1.2, 2.1, len(points)), 1.0)

    knot = _knot(head, kind.gathered, rng) if kind.gathered else None
    growth = Growth(kind.gravity, kind.jitter, kind.hug, kind.parted, knot, kind.gathered or "hidden")
    shell = make_shell(head)
    strands, height = march(shell, head, points, directions, length, layer, kind.points, growth, rng)
    if kind.clumping:
        strands = _clumped(strands, kind, rng)
    keep, strands = _kept(head, strands, height, kind, knot, rng)
    if kind.hem is not None:
        level = head.landmarks[8, 1] - kind.hem + rng.uniform(-0.015, 0.015)
        hem = level + rng.normal(0, 0.005, len(strands)) + 0.006 * random_field(rng, 0.015)(points)
        strands = _cut_at(strands, strands[..., 1] < hem[:, None])
    if kind.parted or kind.framing:
        strands = over_ears(head, strands)
    lock = 0.85 * random_field(rng, 0.010, 2)(points) + 0.55 * random_field(rng, 0.0032)(points)
    tone = rng.normal(0, 0.16, len(points))
    width = kind.half_width * rng.uniform(0.75, 1.15, len(points)) * (0.7 + 0.3 * rim)
    chill = float(rng.uniform(1.0, 2.6))
    depth = 1 - np.exp(-length / 0.012)
    return GrownHair(
        strands[keep], height[keep], thickness[keep], depth[keep], lock[keep], tone[keep], chill, width[keep]
    )


def hair_strands(
    head: Head, hair: GrownHair, hairline: Hairline, skin: SkinTemperature, ambient: float
) -> list[Strands]:
    """Strands with their temperature in °C: the skin's at the root, nearer the air's outside and where thick."""
    level = hair_level(hairline, skin, ambient)
    # thin or short hair is little cooler than the scalp between it
    near_scalp = 1 - (1 - 0.6 * (1 - hair.thickness)) * (0.55 + 0.45 * hair.depth)
    outer = level + near_scalp * (skin.base - 1.0 - level)
    root = skin.base - 0.9 - 1.1 * hair.thickness
    buried = np.exp(-np.clip(hair.height, 0, 1) / 0.0028)
    temperature = outer[:, None] + (root - outer)[:, None] * buried
    temperature = temperature + (0.6 * hair.lock + hair.tone)[:, None] * (1 - 0.5 * buried)
    temperature -= 1.2 * np.clip(hair.height - 0.01, 0, 0.03) / 0.03
    # ends cool toward the air: thin, and away from the head
    ends = np.linspace(0, 1, hair.points.shape[1]) ** 2 * np.clip(hair.thickness, 0, 1)[:, None]
    temperature -= (0.35 * hair.chill) * ends * (1 - buried)
    temperature -= hair.chill * released(head, hair.points)
    temperature = np.maximum(temperature, ambient + 0.04 * (skin.base - ambient))
    return [Strands(hair.points, temperature, hair.half_width, HAIR, "skin")]


def _unit(vectors: Floats) -> Floats:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-9)


def _knot(head: Head, ending: Knot, rng: np.random.Generator) -> Floats:
    """Where tied hair meets: behind the head between nose and brow height, a bun also on top of it."""
    skull = anatomy(head.topology).skin & (head.topology.canonical[:, 1] > anatomy(head.topology).points[30, 1])
    height = rng.uniform(head.landmarks[30, 1], head.landmarks[24, 1] + 0.03)
    if ending == "bun":
        top = head.rest[skull][head.rest[skull, 1].argmax()]
        return np.array([0.0, top[1] + 0.012, top[2] - rng.uniform(0.015, 0.035)])
    return np.array([0.0, height, head.rest[skull, 2].min() - 0.012])


def _clumped(strands: Floats, kind: HairStyle, rng: np.random.Generator) -> Floats:
    """Draw tips toward those of nearby guide strands: hair falls in locks of all sizes, not as a brush."""
    n, count = strands.shape[:2]
    guides = rng.choice(n, max(n // 80, 1), replace=False)
    # compared where they end up, so that strands of both sides of the parting never share a lock; one more
    # coordinate holds a guide off by its own length, and guides held off gather smaller locks
    shape = np.concatenate([strands[:, 0], strands[:, -1], np.zeros((n, 1))], 1)
    held = shape[guides]
    held[:, -1] = rng.uniform(0, 0.012, len(guides))
    _, nearest = cKDTree(held).query(shape, eps=1.8)
    guide = strands[guides[nearest]]
    offset = strands[:, :1] - guide[:, :1]
    firm = rng.uniform(0.3, 1.3, len(guides))[nearest]
    pull = np.minimum(kind.clumping * firm * rng.uniform(0.5, 1.0, n), 0.92)[:, None] * np.linspace(0, 1, count) ** 1.3
    return strands + pull[..., None] * (guide + 0.35 * offset - strands)


def _kept(
    head: Head, strands: Floats, height: Floats, kind: HairStyle, knot: Floats | None, rng: np.random.Generator
) -> tuple[NDArray[np.bool_], Floats]:
    """Which strands stay, and the strands; short hair that would hang before the face is cut where it enters it."""
    blocked = face_keepout(head, strands)
    if not kind.parted and knot is None:
        if kind.framing:
            blocked = _framed(head, strands, rng)
        rooted = ~(blocked[:, 0] | blocked[:, 1])
        return rooted, _cut_at(strands, blocked)
    points = head.landmarks
    y, z = strands[..., 1], strands[..., 2]
    gone = (blocked | (z > points[30, 2] + 0.03)).any(1)
    if knot is not None:
        loose = (z > points[16, 2] + 0.015) & (y < points[27, 1])
        away = np.linalg.norm(strands - knot, axis=-1)
        free = np.logical_or.accumulate(away < 0.024, axis=1) if kind.gathered == "tail" else np.zeros_like(blocked)
        loose |= (height > 0.018) & (away > 0.035) & ~free
        gone |= loose.any(1)
    return ~gone & ~_stray(strands, ~gone), strands


def _framed(head: Head, strands: Floats, rng: np.random.Generator) -> NDArray[np.bool_]:
    """(n, k) True before the face, inside an arch that ends above the brows; locks end unevenly."""
    points, roots = head.landmarks, strands[:, 0]
    x, y, z = np.moveaxis(strands, -1, 0)
    middle, top = points[36:48, 1].mean() + 0.008, points[[19, 24], 1].mean() + rng.uniform(0.004, 0.014)
    uneven = (
        0.05 * random_field(rng, 0.006)(roots) + 0.05 * random_field(rng, 0.02)(roots) + rng.normal(0, 0.02, len(x))
    )
    wide = rng.uniform(0.80, 0.90) * abs(points[16, 0])
    arch = np.abs(x / wide) ** 3.5 + (np.maximum(y - middle, 0) / (top - middle)) ** 2.5
    return (arch < 1 + np.maximum(3 * uneven, -0.12)[:, None]) & (z > points[16, 2] + 0.015)


def _cut_at(strands: Floats, beyond: NDArray[np.bool_]) -> Floats:
    """Strands whose points from the first one ``beyond`` (n, k) on stay where the one before it is."""
    count = strands.shape[1]
    last = np.where(beyond.any(1), beyond.argmax(1) - 1, count - 1)
    ends = np.minimum(np.arange(count), np.maximum(last, 0)[:, None])
    return np.take_along_axis(strands, ends[..., None], 1)


def _stray(strands: Floats, among: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """(n,) strands that leave the rest: single hairs far from any lock look like pen strokes."""
    stray = np.zeros(len(strands), bool)
    count = strands.shape[1]
    for k in (count // 2, 3 * count // 4, count - 1):
        cube = np.floor(strands[:, k] / _CUBE).astype(np.int64)
        cube -= cube.min(0)
        shape = cube.max(0) + 1
        flat = np.ravel_multi_index(tuple(cube.T), tuple(shape))
        filled = np.bincount(flat[among], minlength=int(np.prod(shape))).reshape(shape).astype(np.int32)
        for axis in range(3):
            filled = _with_neighbours(filled, axis)
        stray |= filled.ravel()[flat] < _COMPANY
    return stray


def _with_neighbours(counts: NDArray[np.int32], axis: int) -> NDArray[np.int32]:
    """Each count plus those before and after it along ``axis``."""
    total = counts.copy()
    along, sums = np.moveaxis(counts, axis, 0), np.moveaxis(total, axis, 0)
    sums[1:] += along[:-1]
    sums[:-1] += along[1:]
    return total
