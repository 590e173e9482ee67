"""Spectacles: glass is opaque in the long-wave infrared, so clear lenses and sunglasses look the same."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from thermvision.annotations.schema import SEGMENTS
from thermvision.generation.engines.phantom.fields import bell, smoothstep
from thermvision.generation.engines.phantom.hair_shell import HairShell, make_shell
from thermvision.generation.engines.phantom.layers import Floats, Head, Layer
from thermvision.generation.engines.phantom.thermal import SkinTemperature

GLASSES = SEGMENTS.index("glasses")
LENS_EMISSIVITY, FRAME_EMISSIVITY = 0.88, 0.90  # glass 0.8..0.9 in 8-14 µm; lacquered metal and plastic
_RINGS, _ROUND = 8, 49
_WRAP = 2.0  # per metre: lenses bend back by this times x²


def make_glasses(head: Head, skin: SkinTemperature, ambient: float, rng: np.random.Generator) -> list[Layer]:
    """Lenses, rims, bridge and arms, fitted to the landmarks and following the skull.

    Args:
        head: the identity at rest.
        skin: sets how warm the arms get at the ears. ambient: air temperature, °C.
        rng: shape (superellipse), size and temperature of this pair.
    """
    points, shell = head.landmarks, make_shell(head)  # keeps the arms off the temples
    eye_x, eye_y = float(np.abs(points[42:48, 0]).mean()), float(points[36:48, 1].mean())
    width = min(rng.uniform(0.0245, 0.029), 0.93 * (abs(points[16, 0]) + 0.002 - eye_x))
    height, power = rng.uniform(0.016, 0.0225), rng.uniform(2.2, 4.5)
    level = ambient + rng.uniform(2.0, 5.5)
    vertical, mottle = rng.uniform(-0.3, 1.3), rng.normal(0, 0.3, 2)
    front = max(
        points[27, 2] + 0.004, points[[17, 19, 24, 26], 2].max() + 0.004, points[[37, 44], 2].max() + 0.012
    )  # clear of the nose bridge, the brows and the lashes
    centre = np.array([max(eye_x, width + 0.009), eye_y - 0.002, front])

    layers = []
    for side in (-1.0, 1.0):
        lens = _lens(centre * [side, 1, 1], width, height, power)
        up = (lens[..., 1] - centre[1]) / height
        # warm where it is near the nose; the room mirrored in the glass makes it uneven
        temperature = level + vertical * up + 1.1 * np.clip(1 - np.abs(lens[..., 0]) / 0.03, 0, 1)
        temperature += mottle[0] * np.sin(lens[..., 0] / 0.006) + mottle[1] * np.sin(lens[..., 1] / 0.005 + side)
        layers.append(_layer(lens, temperature, LENS_EMISSIVITY))
        rim = lens[-1]
        layers.append(_tube(rim, 0.0011, np.full(len(rim), level + 2.2)))
        hinge = rim[np.argmax(side * rim[:, 0])] + [0, 0.35 * height, 0]
        ear = head.rest[(head.topology.ear > 0.3) & (side * head.rest[:, 0] > 0)]
        # to where the upper ear meets the head; the rest is hidden behind it
        end = np.array([side * np.abs(ear[:, 0]).min(), np.percentile(ear[:, 1], 85), ear[:, 2].max() - 0.012])
        layers.append(_arm(hinge, end, shell, level + 2.0, skin.base - 3.5))
    layers.append(_bridge(centre, width, height, level + 3.0))
    return layers


def _lens(centre: Floats, width: float, height: float, power: float) -> Floats:
    """(rings, around, 3) points of one lens: |x/w|^p + |y/h|^p <= 1, a little fuller at the top."""
    angle = np.linspace(0, 2 * np.pi, _ROUND)
    c, s = np.cos(angle), np.sin(angle)
    rim = np.stack(
        [
            width * np.sign(c) * np.abs(c) ** (2 / power),
            height * (1 + 0.06 * s) * np.sign(s) * np.abs(s) ** (2 / power),
            np.zeros(_ROUND),
        ],
        1,
    )
    lens = centre + np.linspace(0, 1, _RINGS)[:, None, None] * rim
    lens[..., 2] -= _WRAP * lens[..., 0] ** 2
    return lens


def _arm(hinge: Floats, end: Floats, shell: HairShell, front: float, back: float) -> Layer:
    t = np.linspace(0, 1, 24)
    arm = hinge + (end - hinge) * t[:, None]
    for _ in range(3):  # the distance is smooth, not exact: a few corrections clear the temple
        distance, outward = shell.distance(arm)
        arm = arm + outward * np.maximum(0.0025 - distance, 0)[:, None] * smoothstep(t, 0, 0.1)[:, None]
    return _tube(arm, 0.0014, np.linspace(front, back, len(arm)))


def _bridge(centre: Floats, width: float, height: float, temperature: float) -> Layer:
    t = np.linspace(-1, 1, 12)
    x = t * (centre[0] - width + 0.001)
    line = np.stack([x, centre[1] + 0.38 * height + 0.003 * (1 - t * t), centre[2] - _WRAP * x * x], 1)
    return _tube(line, 0.0012, temperature + 0.5 * bell(t, 0.5))


def _grid(rows: int, columns: int) -> NDArray[np.int32]:
    """(t, 3) triangles of a rows × columns lattice of vertices."""
    i = np.arange(rows * columns, dtype=np.int32).reshape(rows, columns)
    a, b, c, d = i[:-1, :-1], i[1:, :-1], i[1:, 1:], i[:-1, 1:]
    return np.concatenate([np.stack([a, b, c], -1).reshape(-1, 3), np.stack([a, c, d], -1).reshape(-1, 3)])


def _layer(lattice: Floats, temperature: Floats, emissivity: float) -> Layer:
    rows, columns = lattice.shape[:2]
    return Layer(lattice.reshape(-1, 3), _grid(rows, columns), temperature.ravel(), GLASSES, emissivity, "rigid")


def _tube(line: Floats, radius: float, temperature: Floats, around: int = 9) -> Layer:
    """A tube of ``radius`` metres along ``line`` (k, 3), with ``temperature`` (k,)."""
    tangent = np.gradient(line, axis=0)
    tangent /= np.maximum(np.linalg.norm(tangent, axis=1, keepdims=True), 1e-9)
    first = np.cross(tangent, [0.12, 1.0, 0.05])
    first /= np.maximum(np.linalg.norm(first, axis=1, keepdims=True), 1e-9)
    second = np.cross(tangent, first)
    angle = np.linspace(0, 2 * np.pi, around)[None, :, None]
    lattice = line[:, None] + radius * (np.cos(angle) * first[:, None] + np.sin(angle) * second[:, None])
    return _layer(lattice, np.repeat(temperature, around).reshape(len(line), around), FRAME_EMISSIVITY)
