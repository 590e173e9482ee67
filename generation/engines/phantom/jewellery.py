"""Earrings and necklaces: bare metal, which hardly radiates and mirrors the cold room instead."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy.ndimage import gaussian_filter1d

from thermvision.annotations.schema import JEWELLERY, SEGMENTS
from thermvision.generation.engines.phantom.anatomy import anatomy
from thermvision.generation.engines.phantom.lattice import clearance, sheet, tube
from thermvision.generation.engines.phantom.layers import Floats, Head, Layer
from thermvision.generation.engines.phantom.thermal import SkinTemperature

METAL = SEGMENTS.index("jewellery")
METAL_EMISSIVITY = 0.2  # worn silver, gold and steel: 0.05 polished to 0.3 scratched and touched
# share of subjects, female and male, who wear it in a picture
_EARRINGS, _NECKLACE = {"female": 0.45, "male": 0.08}, {"female": 0.30, "male": 0.12}
_EARRING_KINDS, _SHARES = ("stud", "hoop", "drop"), (0.5, 0.3, 0.2)


def make_jewellery(
    head: Head,
    skin: SkinTemperature,
    ambient: float,
    ears_free: bool,
    rng: np.random.Generator,
    wanted: str | None = None,
) -> tuple[list[Layer], str]:
    """Earrings, a necklace, both or, most often, nothing; how often depends on the subject's gender.

    Args:
        head: the identity at rest.
        skin: the metal on it is a little cooler. ambient: air temperature, °C.
        ears_free: False where hair hangs over the ears: earrings under it are not drawn.
        rng: of the item.
        wanted: of `JEWELLERY`, in place of what ``rng`` says.

    Returns:
        What to draw, and which of `JEWELLERY` it is.
    """
    present = rng.random(2)
    kind, number = str(rng.choice(_EARRING_KINDS, p=_SHARES)), rng.random(8)
    layers: list[Layer] = []
    earrings = ears_free and present[0] < _EARRINGS[head.gender]
    necklace = present[1] < _NECKLACE[head.gender]
    if wanted is not None:
        earrings, necklace = wanted in ("earrings", "both"), wanted in ("necklace", "both")
    if earrings:
        for side in (-1, 1):
            layers += _earring(head, side, kind, number[:4], skin.base, ambient)
    if necklace:
        layers += _necklace(head, number[4:], skin.base - 1.5)
    return layers, JEWELLERY[bool(earrings) + 2 * bool(necklace)]


def _earring(head: Head, side: int, kind: str, number: Floats, warm: float, ambient: float) -> list[Layer]:
    """One earring at the lobe. ``number`` (4,) uniform 0..1 sets its size, the same on both sides."""
    ear = np.flatnonzero((head.topology.ear > 0.25) & (side * head.topology.canonical[:, 0] > 0))
    canonical = head.topology.canonical[ear]
    lowest = np.percentile(canonical[:, 1], 4)
    lobe = ear[np.abs(canonical[:, 1] - lowest) < 0.004]
    points = head.rest[lobe]
    at = np.array([side * np.abs(points[:, 0]).max(), points[:, 1].mean() + 0.002, points[:, 2].mean() + 0.002])
    level = warm - 3.0
    if kind == "stud":
        return [_ball(at + np.array([side * 0.001, 0.001, 0]), 0.0018 + 0.0020 * number[0], level)]
    air = ambient + 0.3 * (warm - ambient)
    if kind == "hoop":
        radius, wire = 0.006 + 0.018 * number[0] ** 1.5, 0.0008 + 0.0010 * number[1]
        turn = np.linspace(0, 2 * np.pi, 33)
        hang = 0.35 * np.sin(turn) * radius
        ring = np.stack([at[0] + side * (0.0015 + 0 * turn), at[1] - radius + radius * np.cos(turn), at[2] + hang], 1)
        # a hoop hangs in the plane of the cheek, a little open to the front
        ring[:, 2] = at[2] + radius * np.sin(turn) * 0.9
        ring[:, 0] += side * 0.35 * radius * np.abs(np.sin(turn))
        return [tube(ring, wire, np.full(33, air), METAL, METAL_EMISSIVITY, "rigid", 7)]
    length, size = 0.012 + 0.024 * number[0], 0.0030 + 0.0040 * number[1]
    hook = at + np.linspace(0, 1, 6)[:, None] * [side * 0.003, -length, 0.001]
    wire = tube(hook, 0.0006, np.full(6, air), METAL, METAL_EMISSIVITY, "rigid", 7)
    return [wire, _ball(hook[-1] - [0, size, 0], size, air, 1.0 + 0.8 * number[2])]


def _ball(centre: Floats, radius: float, temperature: float, tall: float = 1.0) -> Layer:
    """An ellipsoid, ``tall`` times as high as it is wide."""
    polar, around = np.linspace(0, np.pi, 9)[:, None], np.linspace(0, 2 * np.pi, 13)
    flat = np.sin(polar)
    lattice = np.stack([flat * np.cos(around), tall * np.cos(polar) + 0 * around, flat * np.sin(around)], -1)
    lattice = centre + radius * lattice
    return sheet(lattice, np.full(lattice.shape[:2], temperature), METAL, METAL_EMISSIVITY, "rigid")


def _necklace(head: Head, number: Floats, temperature: float) -> list[Layer]:
    """A chain on the skin, beneath the clothes where they reach; half have a pendant. ``number`` (4,) uniform 0..1."""
    marks = head.landmarks
    chin, axis = float(marks[8, 1]), float(marks[16, 2]) - 0.035
    drop = 0.078 + 0.058 * number[0]
    around = np.linspace(-np.pi, np.pi, 161)
    front = ((1 + np.cos(around)) / 2) ** 1.6
    line = np.stack(
        [
            (0.062 + 0.010 * number[1]) * np.sin(around),
            chin - 0.030 - (drop - 0.030) * front,
            axis + 0.08 * np.cos(around),
        ],
        1,
    )
    line[:, 0] *= 1 - 0.38 * front
    near = (head.rest[:, 1] < chin - 0.015) & (np.abs(head.rest[:, 0]) < 0.12)
    rows = np.flatnonzero(anatomy(head.topology).skin & near)
    lift = clearance(head.rest[rows], head.rest_normals[rows])
    radius = 0.0006 + 0.0008 * number[2]
    for _ in range(2):
        line = gaussian_filter1d(lift(line, radius + 0.0008), 2.0, axis=0, mode="nearest")
    line = lift(line, radius + 0.0006)
    # links: the chain is thick and thin in turn
    links = radius * (1 + 0.35 * np.cos(np.arange(161) * np.pi))
    chain = tube(line, links, np.full(161, temperature), METAL, METAL_EMISSIVITY, "skin", 7)
    chain = replace(chain, anchor=np.repeat(line - [0, 0.004, 0], 7, axis=0))
    if number[3] > 0.5:
        return [chain]
    low = line[80] - [0, 0.006, -0.001]
    pendant = replace(_ball(low, 0.0045 + 0.004 * number[3], temperature - 1.0, 1.2), follow="skin")
    return [chain, replace(pendant, anchor=np.tile(line[80] - [0, 0.004, 0], (len(pendant.vertices), 1)))]
