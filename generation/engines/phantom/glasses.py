"""Spectacles: glass is opaque in the long-wave infrared, so clear lenses and sunglasses look the same."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from thermvision.annotations.schema import SEGMENTS
from thermvision.generation.engines.phantom.fields import bell, smoothstep
from thermvision.generation.engines.phantom.hair_shell import HairShell, make_shell
from thermvision.generation.engines.phantom.lattice import sheet, tube
from thermvision.generation.engines.phantom.layers import Floats, Head, Layer
from thermvision.generation.engines.phantom.thermal import SkinTemperature

GLASSES = SEGMENTS.index("glasses")
LENS_EMISSIVITY, FRAME_EMISSIVITY = 0.88, 0.90  # glass 0.8..0.9 in 8-14 µm; lacquered metal and plastic
_RINGS, _ROUND = 8, 49
_WRAP = 2.0  # per metre: lenses bend back by this times x²


@dataclass(frozen=True)
class Frame:
    """``width`` and ``height`` are ranges of a lens's half axes, ``power`` of its superellipse's exponent.

    ``rim`` and ``arm`` are radii; ``closed`` is the part of the rim that there is: 1 all around, 0.5 the upper half,
    0 none. Lengths in metres.
    """

    width: tuple[float, float]
    height: tuple[float, float]
    power: tuple[float, float]
    rim: tuple[float, float]
    arm: float
    closed: float = 1.0


FRAMES = {
    "full": Frame((0.0245, 0.0285), (0.0170, 0.0225), (2.2, 4.5), (0.0012, 0.0022), 0.0022),
    "wire": Frame((0.0235, 0.0270), (0.0180, 0.0230), (2.0, 2.8), (0.0006, 0.0009), 0.0009),
    "half": Frame((0.0250, 0.0280), (0.0145, 0.0180), (2.8, 4.5), (0.0009, 0.0015), 0.0014, 0.5),
    "rimless": Frame((0.0240, 0.0270), (0.0150, 0.0190), (2.4, 4.0), (0.0005, 0.0005), 0.0010, 0.0),
    "large": Frame((0.0280, 0.0320), (0.0215, 0.0260), (2.3, 3.4), (0.0010, 0.0020), 0.0020),
}


def make_glasses(head: Head, skin: SkinTemperature, ambient: float, rng: np.random.Generator) -> list[Layer]:
    """Lenses, rims, bridge, nose pads and arms, fitted to the landmarks and following the skull.

    Per side a lens, its rim (unless it has none) and an arm with its end behind the ear; then bridge and both pads.

    Args:
        head: the identity at rest.
        skin: sets how warm the arms get at the ears. ambient: air temperature, °C.
        rng: frame, shape (superellipse), size and temperature of this pair.
    """
    frame = FRAMES[str(rng.choice(list(FRAMES), p=[0.38, 0.18, 0.17, 0.09, 0.18]))]
    points, shell = head.landmarks, make_shell(head)  # keeps the arms off the temples
    eye_x, eye_y = float(np.abs(points[42:48, 0]).mean()), float(points[36:48, 1].mean())
    width = min(rng.uniform(*frame.width), 0.95 * (abs(points[16, 0]) + 0.002 - eye_x))
    # lenses that meet above the nose end at the temples
    width = min(width, 0.5 * (abs(points[16, 0]) - 0.004))
    # however narrow the face is, the lens covers the eye
    width = max(width, float(np.abs(np.abs(points[36:48, 0]) - eye_x).max()) + 0.004)
    height, power = float(rng.uniform(*frame.height)), float(rng.uniform(*frame.power))
    rim_radius, fuller = float(rng.uniform(*frame.rim)), float(rng.uniform(0.02, 0.12))
    level = ambient + rng.uniform(2.0, 5.5)
    vertical, mottle = rng.uniform(-0.3, 1.3), rng.normal(0, 0.3, 2)
    metal = rng.uniform(-1.0, 2.4)  # thin metal takes the air's temperature, thick plastic some of the face's
    front = max(
        points[27, 2] + 0.004, points[[17, 19, 24, 26], 2].max() + 0.004, points[[37, 44], 2].max() + 0.012
    )  # clear of the nose bridge, the brows and the lashes
    drop = 0.002 + 0.25 * max(height - 0.019, 0)
    centre = np.array([max(eye_x, width + 0.008), eye_y - drop, front])

    layers = []
    for side in (-1.0, 1.0):
        lens = _lens(centre * [side, 1, 1], width, height, power, fuller)
        up = (lens[..., 1] - centre[1]) / height
        # warm where it is near the nose; the room mirrored in the glass makes it uneven
        temperature = level + vertical * up + 1.1 * np.clip(1 - np.abs(lens[..., 0]) / 0.03, 0, 1)
        temperature += mottle[0] * np.sin(lens[..., 0] / 0.006) + mottle[1] * np.sin(lens[..., 1] / 0.005 + side)
        layers.append(sheet(lens, temperature, GLASSES, LENS_EMISSIVITY, "rigid"))
        rim = lens[-1]
        if frame.closed:
            # the outline starts at the side and runs over the top first
            held = rim if frame.closed == 1 else rim[: _ROUND // 2 + 1]
            layers.append(_tube(held, rim_radius, np.full(len(held), level + metal)))
        hinge = rim[np.argmax(side * rim[:, 0])] + [0, 0.35 * height, 0]
        layers.append(_arm(head, hinge, side, shell, frame.arm, level + metal, skin.base - 3.5))
    layers.append(_bridge(centre, width, height, max(rim_radius, 0.0010), level + metal + 0.6))
    for side in (-1.0, 1.0):
        # pads rest on either side of the nose, between the lenses
        x = side * (centre[0] - width + 0.0005)
        line = np.array([[x, centre[1] + 0.10 * height, front - 0.001], [x * 0.86, centre[1] - 0.004, front - 0.006]])
        pad = line[0] + (line[1] - line[0]) * np.linspace(0, 1, 7)[:, None] - [0, 0.002, 0]
        thick = np.array([0.0005, 0.0006, 0.0010, 0.0021, 0.0026, 0.0021, 0.0006])
        layers.append(_tube(pad, thick, np.full(7, level + 2.6)))
    return layers


def _lens(centre: Floats, width: float, height: float, power: float, fuller: float) -> Floats:
    """(rings, around, 3) points of one lens: |x/w|^p + |y/h|^p <= 1, a little ``fuller`` at the top."""
    angle = np.linspace(0, 2 * np.pi, _ROUND)
    c, s = np.cos(angle), np.sin(angle)
    rim = np.stack(
        [
            width * np.sign(c) * np.abs(c) ** (2 / power),
            height * (1 + fuller * s) * np.sign(s) * np.abs(s) ** (2 / power),
            np.zeros(_ROUND),
        ],
        1,
    )
    lens = centre + np.linspace(0, 1, _RINGS)[:, None, None] * rim
    lens[..., 2] -= _WRAP * lens[..., 0] ** 2
    return lens


def _arm(head: Head, hinge: Floats, side: float, shell: HairShell, radius: float, front: float, back: float) -> Layer:
    """From the hinge to where the upper ear meets the head, then down behind the ear."""
    ear = head.rest[(head.topology.ear > 0.3) & (side * head.rest[:, 0] > 0)]
    beside = side * np.abs(ear[:, 0]).min()
    top = np.array([beside, np.percentile(ear[:, 1], 85), ear[:, 2].max() - 0.012])
    behind = np.array([beside, np.percentile(ear[:, 1], 45), ear[:, 2].min() + 0.004])
    t, bend = np.linspace(0, 1, 24), np.linspace(0, 1, 9)[1:]
    arm = np.concatenate([hinge + (top - hinge) * t[:, None], top + (behind - top) * bend[:, None]])
    arm[24:, 1] += 0.006 * np.sin(np.pi * bend)
    start = np.concatenate([smoothstep(t, 0, 0.1), np.ones(8)])
    for _ in range(3):  # the distance is smooth, not exact: a few corrections clear the temple
        distance, outward = shell.distance(arm)
        arm = arm + outward * np.maximum(radius + 0.0011 - distance, 0)[:, None] * start[:, None]
    warmth = np.concatenate([np.linspace(front, back, 24), np.full(8, back)])
    return _tube(arm, radius, warmth)


def _bridge(centre: Floats, width: float, height: float, radius: float, temperature: float) -> Layer:
    t = np.linspace(-1, 1, 12)
    x = t * (centre[0] - width + 0.001)
    line = np.stack([x, centre[1] + 0.38 * height + 0.003 * (1 - t * t), centre[2] - _WRAP * x * x], 1)
    return _tube(line, radius, temperature + 0.5 * bell(t, 0.5))


def _tube(line: Floats, radius: float | Floats, temperature: Floats) -> Layer:
    return tube(line, radius, temperature, GLASSES, FRAME_EMISSIVITY, "rigid")
