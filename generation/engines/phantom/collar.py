"""What is sewn to a neckline: shirt collars, hoods with their strings, lapels. Rest coordinates, metres."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from scipy.ndimage import gaussian_filter, gaussian_filter1d
from scipy.spatial import cKDTree

from thermvision.annotations.schema import SEGMENTS
from thermvision.generation.engines.phantom.fields import bell, random_field, smoothstep
from thermvision.generation.engines.phantom.lattice import clearance, sheet, tube
from thermvision.generation.engines.phantom.layers import Floats, Head, Layer
from thermvision.generation.engines.phantom.raster import surface_normals

_CLOTH = SEGMENTS.index("cloth")
_EMISSIVITY = 0.92
_AXIS = 0.035  # metres from the front of the ears back to the neck's axis
_AROUND = 73


def shirt_collar(head: Head, garment: Layer, level: float, rng: np.random.Generator) -> list[Layer]:
    """A standing band around the neck with a leaf folded over it, its points on the chest; open or buttoned up.

    Args:
        garment: the shirt, for what the leaf rests on and how warm it is.
        level: height of the neckline at the throat in canonical coordinates.
    """
    marks = head.landmarks
    chin, axis = float(marks[8, 1]), float(marks[16, 2] - _AXIS)
    drop = float(head.topology.canonical[head.topology.landmarks[8], 1]) - level
    gap = float(np.radians(rng.uniform(16, 30) if rng.random() < 0.7 else rng.uniform(3, 6)))
    band, point, back = rng.uniform(0.030, 0.038), rng.uniform(0.060, 0.078), rng.uniform(0.038, 0.046)
    spread = float(rng.uniform(0.010, 0.022))
    around = np.linspace(gap, 2 * np.pi - gap, _AROUND)
    side = np.minimum(around, 2 * np.pi - around)
    stand, leaf = np.linspace(0, 1, 6)[:, None], np.linspace(0, 1, 11)[1:, None]

    # the muscle beside the nape stands higher than the throat
    base = chin - drop + 0.052 * (1 - np.cos(side)) / 2 - 0.010 * bell(side - gap, 0.25)
    top = base + band * (0.72 + 0.28 * smoothstep(side, gap, 1.2))
    top = np.minimum(top, chin - 0.036 + 0.036 * smoothstep(side, 0.9, 2.2))
    length = back + (point - back) * bell(side - gap - 0.16, 0.42)
    height = np.concatenate([base + (top - base) * stand, top - length * leaf])
    out = np.concatenate([0.004 * (1 - stand) + 0 * side, 0.0035 + spread * smoothstep(leaf, 0, 1) ** 1.2 + 0 * side])
    # the point of a leaf swings away from the middle
    swing = np.concatenate([0 * stand + 0 * side, 0.22 * leaf * bell(side - gap, 0.35) * np.sign(np.pi - around)])
    angle = around + swing
    radius = 0.055 + out
    points = np.stack([radius * np.sin(angle), height, axis + radius * np.cos(angle)], -1)
    points = _around_neck(head, points)
    lift = _resting(garment)
    points[6:] = lift(points[6:] + out[6:, :, None] * _flat(points[6:], axis), 0.0065)
    points = np.stack([gaussian_filter(points[..., k], (0.7, 1.4), mode="nearest") for k in range(3)], -1)
    points[6:] = lift(points[6:], 0.0060)

    warm = float(np.median(garment.temperature)) + float(rng.uniform(0.1, 0.7))
    uneven = random_field(rng, 0.012, 2)(points.reshape(-1, 3)).reshape(points.shape[:2])
    v = np.concatenate([-1 + stand, leaf])
    temperature = warm + 0.22 * uneven + 1.5 * np.exp(-(((v + 0.6) / 0.5) ** 2)) + 0.4 * bell(v, 0.06)
    temperature += -0.5 * smoothstep(v, 0.2, 0.9) - 0.45 * bell(v - 0.9, 0.03) - 0.4 * bell(side - gap, 0.02)
    seam = np.stack([points[0, :, 0], base, points[0, :, 2]], -1)
    lies = np.concatenate([np.zeros((6, 1, 1)), smoothstep(leaf, 0.05, 0.6)[..., None]])
    anchor = (seam + lies * (points - seam)).reshape(-1, 3)
    layer = sheet(points, temperature, _CLOTH, _EMISSIVITY, "skin")
    return [replace(layer, anchor=anchor), *_buttons(garment, lift, chin - drop - 0.045, warm, rng)]


def roll_neck(head: Head, garment: Layer, level: float, rng: np.random.Generator) -> list[Layer]:
    """A knitted tube up the neck, turned over once; ribbed."""
    marks = head.landmarks
    chin, axis = float(marks[8, 1]), float(marks[16, 2] - _AXIS)
    drop = float(head.topology.canonical[head.topology.landmarks[8], 1]) - level
    ribs = int(rng.integers(48, 70))
    around = np.linspace(-np.pi, np.pi, 6 * ribs + 1)
    behind = (1 - np.cos(around)) / 2
    fold, loose = float(rng.uniform(0.030, 0.042)), float(rng.uniform(0.004, 0.009))
    up, over = np.linspace(0, 1, 5)[:, None], np.linspace(0, 1, 9)[1:, None]
    base = chin - drop - 0.010 + 0.046 * behind
    # the muscle beside the nape stands higher than the throat
    top = chin - float(rng.uniform(0.036, 0.046)) + 0.044 * smoothstep(np.abs(around), 0.9, 2.2)
    height = np.concatenate([base + (top - base) * up, top - np.maximum(fold, top - base + 0.014) * over])
    v = np.concatenate([up - 1, over])
    out = np.where(v <= 0, 0.003, 0.004 + loose * np.sin(np.pi * np.clip(v, 0, 1) ** 0.7))
    points = np.stack([0.052 * np.sin(around) + 0 * v, height, axis + 0.052 * np.cos(around) + 0 * v], -1)
    points = _around_neck(head, points)
    points = np.stack([gaussian_filter(points[..., k], (0.8, 4.0), mode=("nearest", "wrap")) for k in range(3)], -1)
    points = points + (out * np.ones_like(around))[..., None] * _flat(points, axis)
    rib = np.cos(ribs * around)
    points = points + (0.0007 * rib)[:, None] * _flat(points, axis)
    points[4:] = _resting(garment)(points[4:], 0.0045)
    points[:, -1] = points[:, 0]
    wave = random_field(rng, 0.020, 2)(points.reshape(-1, 3)).reshape(points.shape[:2])
    warm = float(np.median(garment.temperature)) + float(rng.uniform(0.2, 0.9))
    temperature = warm + 0.30 * rib + 0.35 * wave + 1.6 * np.exp(-(((v + 0.5) / 0.5) ** 2)) - 0.4 * bell(v - 1, 0.08)
    anchor = np.broadcast_to(np.stack([points[0, :, 0], base, points[0, :, 2]], -1), points.shape).reshape(-1, 3)
    return [replace(sheet(points, temperature, _CLOTH, _EMISSIVITY, "skin"), anchor=anchor)]


def _buttons(
    garment: Layer, lift: Callable[..., Floats], top: float, warm: float, rng: np.random.Generator
) -> list[Layer]:
    """The placket: a strip of double cloth down the middle, and buttons that are nearer to the air."""
    down, across = np.linspace(top, top - 0.11, 40), np.linspace(-1, 1, 9)
    x, y = np.meshgrid(0.016 * across, down)
    points = np.stack([x, y, np.full(x.shape, 0.25)], -1)
    points[..., 2] = _front(garment, points)
    points = lift(points, 0.0022)
    first = float(rng.uniform(0.005, 0.03))
    from_button = np.hypot(x, (top - first - y + 0.035) % 0.07 - 0.035)
    temperature = warm - 0.3 - 0.5 * bell(np.abs(across) - 0.8, 0.08) - 1.1 * smoothstep(from_button, 0.0065, 0.0045)
    uneven = 0.15 * random_field(rng, 0.008, 2)(points.reshape(-1, 3)).reshape(x.shape)
    return [sheet(points, temperature + uneven, _CLOTH, _EMISSIVITY, "skin")]


def hood(head: Head, garment: Layer, level: float, rng: np.random.Generator) -> list[Layer]:
    """A hood lying on the back and around the neck, thick behind and thin before, with two strings."""
    marks = head.landmarks
    chin, axis = float(marks[8, 1]), float(marks[16, 2] - _AXIS)
    throat = chin - (float(head.topology.canonical[head.topology.landmarks[8], 1]) - level)
    thick, thin = rng.uniform(0.026, 0.036), rng.uniform(0.009, 0.013)
    around = np.linspace(0.10, 2 * np.pi - 0.10, 97)
    side = np.minimum(around, 2 * np.pi - around)
    behind = smoothstep(side, 0.5, 2.6)
    radius = 0.071 + 0.014 * behind
    line = np.stack(
        [
            radius * np.sin(around) * (1 + 0.16 * bell(side - 1.7, 0.7)),
            throat - 0.012 + 0.034 * behind - 0.020 * bell(side, 0.3),
            axis + radius * np.cos(around) - 0.012 * behind,
        ],
        1,
    )
    lift = _resting(garment)
    line = lift(line, 0.004)
    line = gaussian_filter1d(line, 3.0, axis=0, mode="nearest")
    girth = (thin + (thick - thin) * behind) * smoothstep(side, 0.04, 0.22)
    warm = float(np.median(garment.temperature)) + 0.3
    roll = tube(line, np.maximum(girth, 0.001), np.full(97, warm), _CLOTH, _EMISSIVITY, "skin", around=25)
    folds = 1 - np.minimum(1.5 * np.abs(random_field(rng, 0.024, 1, 14)(roll.vertices * [1, 1.6, 1])), 2.0)
    centre = np.repeat(line, 25, axis=0)
    vertices = centre + (roll.vertices - centre) * (1 + 0.14 * folds)[:, None]
    # the inner side faces the neck
    inner = smoothstep(np.hypot(*(centre - vertices)[:, [0, 2]].T), 0, 0.03) * (
        np.hypot(vertices[:, 0], vertices[:, 2] - axis) < np.hypot(centre[:, 0], centre[:, 2] - axis)
    )
    grain = random_field(rng, 0.005, 1, 12)(vertices)
    temperature = roll.temperature + 0.55 * folds + 0.12 * grain + 1.4 * inner
    layers = [replace(roll, vertices=vertices, temperature=temperature, anchor=centre - [0, 0.02, 0])]
    t = np.linspace(0, 1, 26)
    for x in (-1.0, 1.0):
        length = float(rng.uniform(0.10, 0.17))
        string = np.stack([x * (0.020 + 0.010 * t + 0.003 * np.sin(7 * t + x)), throat - 0.020 - length * t, 0 * t], 1)
        string[:, 2] = _front(garment, string) + 0.002
        layers.append(tube(lift(string, 0.0030), 0.0022, np.full(26, warm - 0.9), _CLOTH, _EMISSIVITY, "skin", 7))
    return layers


def lapels(garment: Layer, path: Floats, away: Floats, rng: np.random.Generator) -> list[Layer]:
    """The turned-over edge of a garment worn open: ``path`` (k, 3) runs up one side, around the nape, down the other.

    Args:
        away: (k, 3) the direction in which the leaf lies at each point of the path.
    """
    k = len(path)
    along = np.linspace(-1, 1, k)
    widest = float(rng.uniform(0.026, 0.046))
    width = widest * (0.55 + 0.45 * bell(np.abs(along) - 0.45, 0.22)) * smoothstep(np.abs(along), 1.02, 0.8)
    share = np.linspace(-0.12, 1, 9)[:, None]
    points = path + (share * width)[..., None] * away
    lift = _resting(garment)
    points = lift(points, 0.0060)
    points = np.stack([gaussian_filter(points[..., i], (0.6, 2.0), mode="nearest") for i in range(3)], -1)
    points = lift(points, 0.0050)
    level = float(np.median(garment.temperature)) + 0.25
    uneven = random_field(rng, 0.012, 2)(points.reshape(-1, 3)).reshape(points.shape[:2])
    ribs = 0.25 * np.sin(2 * np.pi * share * width / 0.006) * (rng.random() < 0.5)
    temperature = level + 0.25 * uneven + ribs + 0.9 * np.exp(-np.maximum(share, 0) / 0.15)
    temperature = temperature - 0.5 * bell(share - 0.93, 0.05)
    return [sheet(points, temperature, _CLOTH, _EMISSIVITY, "skin")]


def _around_neck(head: Head, points: Floats) -> Floats:
    """``points`` (..., 3) moved out of the neck at their own height, 4.5 mm off the skin."""
    chin, axis = float(head.landmarks[8, 1]), float(head.landmarks[16, 2] - _AXIS)
    near = np.abs(head.rest - [0, chin - 0.07, axis]) < [0.12, 0.07, 0.13]
    rows = np.flatnonzero(near.all(1) & (head.topology.ear < 0.02))
    lift = clearance(head.rest[rows], head.rest_normals[rows])
    height = points[..., 1].copy()
    for _ in range(3):
        # under the jaw the way out leads downward
        points = lift(points, 0.0045, 1)
        points[..., 1] = height
    return points


def _flat(points: Floats, axis: float) -> Floats:
    """Unit vectors away from the neck's axis in the horizontal plane."""
    outward = (points - [0, 0, axis]) * [1.0, 0.0, 1.0]
    return outward / np.maximum(np.linalg.norm(outward, axis=-1, keepdims=True), 1e-9)


def _front(garment: Layer, points: Floats) -> Floats:
    """z of the garment's front where ``points`` (..., 3) lie in x and y: the foremost of the vertices around."""
    cloth = garment.vertices[garment.vertices[:, 2] > np.median(garment.vertices[:, 2])][::2]
    _, nearest = cKDTree(cloth[:, :2]).query(points[..., :2])
    found: Floats = cloth[nearest, 2]
    return found


def _resting(garment: Layer) -> Callable[..., Floats]:
    """`clearance` over what is in reach of a collar."""
    x, y, _ = garment.vertices.T
    near = np.flatnonzero((np.abs(x) < 0.17) & (y > y.max() - 0.22))
    normals = surface_normals(garment.vertices, garment.triangles)
    return clearance(garment.vertices[near[::2]], normals[near[::2]])
