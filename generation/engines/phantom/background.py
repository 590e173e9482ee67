"""The room behind the head, as the temperature its surfaces show."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.ndimage import gaussian_filter

from thermvision.generation.engines.phantom.fields import bell, random_field, smoothstep
from thermvision.generation.engines.phantom.layers import Floats

_DEFOCUS = 0.0055  # frame widths, sigma of the blur
# across and down (n,), frame widths; wall temperature, °C; own numbers -> cover (n,) 0..1 and kelvin against the wall
_Object = Callable[[Floats, Floats, float, np.random.Generator], tuple[Floats, Floats]]


def background_temperature(shape: tuple[int, int], ambient: float, rng: np.random.Generator) -> Floats:
    """(h, w) °C of a wall near air temperature, out of focus, with whatever stands before it.

    Most rooms have nothing or one thing: a corner, a window, a door, shelves, a radiator, a lamp, a screen, a chair's
    back, somebody else far out of focus. The scene is drawn in units of the frame's width: another ``shape`` shows the
    same room on another grid.
    """
    height, width = shape
    y, x = np.mgrid[0:height, 0:width]
    u, v = (x.ravel() + 0.5) / width, (y.ravel() + 0.5) / width
    wall = ambient + rng.normal(0, 0.6)
    room = wall + rng.normal(0, 0.45) * (u - 0.5) + rng.normal(0.35, 0.3) * (0.5 - v)  # warm air rises
    room += rng.uniform(0.03, 0.14) * random_field(rng, rng.uniform(0.12, 0.3), 2)(np.stack([u, v], 1))
    # every object has numbers of its own whether it is shown or not, so that one never moves another
    present = rng.random(len(_OBJECTS))
    seeds = rng.integers(2**63, size=len(_OBJECTS))
    for (draw, share), chance, seed in zip(_OBJECTS, present, seeds, strict=True):
        if chance < share:
            cover, temperature = draw(u, v, wall, np.random.default_rng(int(seed)))
            room = room + cover * (temperature - (room if draw in _OPAQUE else 0.0))
    # focused on a face at 0.6 m, the lens of 7.5 mm and f/1.2 draws a far point as a disc of 75 µm, 4 of 300 pixels
    return gaussian_filter(room.reshape(shape), _DEFOCUS * width, mode="nearest")


def _box(u: Floats, v: Floats, centre: tuple[float, float], half: tuple[float, float], blur: float) -> Floats:
    """1 inside an upright rectangle, 0 outside, blurred edges."""
    across = smoothstep(half[0] - np.abs(u - centre[0]), -blur, blur)
    return across * smoothstep(half[1] - np.abs(v - centre[1]), -blur, blur)


def _aside(rng: np.random.Generator, near: float, far: float) -> float:
    """A place left or right of the subject."""
    return 0.5 + float(rng.choice([-1, 1])) * float(rng.uniform(near, far))


def _corner(u: Floats, v: Floats, wall: float, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Another wall beyond a vertical edge, cooler or warmer; corners themselves are cold."""
    place, blur, lean = rng.uniform(0.1, 0.9), rng.uniform(0.004, 0.012), rng.normal(0, 0.02)
    beyond = smoothstep(u - place - lean * (v - 0.5), -blur, blur)
    if rng.random() < 0.5:
        beyond = 1 - beyond
    difference = float(rng.normal(0, 0.7))
    return np.ones(len(u)), difference * beyond - 0.25 * bell(u - place, 0.02 + blur)


def _panels(u: Floats, v: Floats, wall: float, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Slats, curtain folds or panelling: soft upright stripes."""
    period, blur = rng.uniform(0.03, 0.16), rng.uniform(0.1, 0.45)
    start, depth = rng.uniform(0, 1), rng.uniform(0.05, 0.30)
    phase = np.abs(((u + 0.006 * np.sin(9 * v + start)) / period + start) % 1 - 0.5)
    return np.ones(len(u)), -depth * smoothstep(phase, blur, 0.0)


def _window(u: Floats, v: Floats, wall: float, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """A cold window at one side: panes, a frame at wall temperature between them. Kelvin relative to the wall."""
    blur = rng.uniform(0.005, 0.018)
    half = (rng.uniform(0.07, 0.22), rng.uniform(0.14, 0.34))
    centre = (_aside(rng, 0.26, 0.50), rng.uniform(0.05, 0.42))
    panes = (int(rng.integers(1, 4)), int(rng.integers(1, 4)))
    cold = -min(rng.uniform(0.6, 3.5), 0.5 * max(wall - 5.0, 1.0))
    tints, gradient = rng.normal(0, 0.25, (4, 4)), rng.uniform(-0.8, 0.8)
    bar = rng.uniform(0.004, 0.010)
    bars = np.ones(len(u))
    place = []
    for position, middle, extent, count in ((u, centre[0], half[0], panes[0]), (v, centre[1], half[1], panes[1])):
        t = (position - middle + extent) / (2 * extent) * count
        gap = np.abs(t - np.rint(t)) * 2 * extent / count
        bars *= smoothstep(gap, bar, bar + blur)
        place.append(np.clip(t.astype(int), 0, count - 1))
    # the lower part of a pane is colder: air sinks along it
    down = np.clip((v - centre[1]) / half[1], -1, 1)
    return _box(u, v, centre, half, blur) * bars, cold + tints[place[0], place[1]] - gradient * down


def _door(u: Floats, v: Floats, wall: float, rng: np.random.Generator) -> tuple[Floats, Floats]:
    half, blur = rng.uniform(0.13, 0.20), rng.uniform(0.005, 0.014)
    centre, top = _aside(rng, 0.2, 0.5), rng.uniform(-0.1, 0.2)
    leaf = _box(u, v, (centre, top + 2), (half, 2.0), blur)
    frame = _box(u, v, (centre, top + 2), (half + 0.02, 2.02), blur) - leaf
    return np.ones(len(u)), float(rng.normal(0, 0.5)) * leaf + float(rng.normal(0, 0.25)) * frame


def _shelves(u: Floats, v: Floats, wall: float, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Boards with books of slightly different temperature."""
    half, blur = rng.uniform(0.10, 0.24), rng.uniform(0.004, 0.010)
    centre, pitch, start = _aside(rng, 0.25, 0.5), rng.uniform(0.10, 0.17), rng.uniform(0, 1)
    row = np.floor(v / pitch + start)
    board = np.abs((v / pitch + start) % 1 - 0.5)
    widths = rng.uniform(0.012, 0.035)
    book = np.floor(u / widths + 0.37 * row).astype(int)
    tints = rng.normal(0, 0.13, 257)
    books = tints[(book * 31 + row.astype(int) * 97) % 257] * smoothstep(board, 0.46, 0.46 - blur / pitch)
    return _box(u, v, (centre, 0.4), (half, 2.0), blur), books - 0.18 * smoothstep(board, 0.44, 0.49)


def _radiator(u: Floats, v: Floats, wall: float, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Warm ribs near the floor, and the plume of air that rises from them along the wall."""
    half, top, blur = rng.uniform(0.12, 0.26), rng.uniform(0.45, 0.75), rng.uniform(0.006, 0.014)
    centre, count = _aside(rng, 0.2, 0.48), int(rng.integers(7, 15))
    t = (u - centre + half) / (2 * half) * count
    ribs = 0.72 + 0.28 * np.cos(2 * np.pi * t)
    body = _box(u, v, (centre, top + 1), (half, 1.0), blur)
    plume = 0.10 * smoothstep(np.abs(u - centre), 1.1 * half, 0.5 * half) * np.exp(-np.maximum(top - v, 0) / 0.25)
    return np.ones(len(u)), float(rng.uniform(1.5, 8.0)) * (body * ribs + plume * (v < top))


def _lamp(u: Floats, v: Floats, wall: float, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """A hot bulb or tube, out of focus."""
    centre = (_aside(rng, 0.15, 0.48), rng.uniform(0.02, 0.3))
    long = rng.uniform(0.008, 0.10) if rng.random() < 0.4 else 0.0
    across = np.maximum(np.abs(u - centre[0]) - long, 0)
    size = rng.uniform(0.012, 0.028)
    return np.ones(len(u)), float(rng.uniform(2.0, 9.0)) * bell(np.hypot(across, v - centre[1]), size)


def _screen(u: Floats, v: Floats, wall: float, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """A running display, warm, on a stand; its electronics make one part warmer."""
    centre = (_aside(rng, 0.30, 0.50), rng.uniform(0.35, 0.7))
    half, blur = (rng.uniform(0.08, 0.16), rng.uniform(0.05, 0.09)), rng.uniform(0.006, 0.018)
    panel = _box(u, v, centre, half, blur)
    spot = (centre[0] + rng.uniform(-0.6, 0.6) * half[0], centre[1] + rng.uniform(-0.2, 0.8) * half[1])
    warm = rng.uniform(0.8, 3.5) + rng.uniform(0.3, 2.0) * bell(np.hypot(u - spot[0], v - spot[1]), 0.05)
    stand = _box(u, v, (centre[0], centre[1] + half[1] + 0.1), (0.018, 0.1), blur)
    return 1 - (1 - panel) * (1 - stand), wall + 0.3 + panel * warm


def _person(u: Floats, v: Floats, wall: float, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Somebody metres behind: head with hair, neck and shoulders, too blurred for a face."""
    size = rng.uniform(0.026, 0.062)  # half the width of the head
    centre = (_aside(rng, 0.26, 0.52), rng.uniform(0.30, 0.60))
    blur = rng.uniform(0.30, 0.60)  # of the head's half width
    face, cloth, hair = wall + rng.uniform((0.60, 0.22, 0.25), (0.80, 0.45, 0.55)) * (33.0 - wall)
    turned = rng.normal(0, 0.25)
    x, y = (u - centre[0]) / size, (v - centre[1]) / size

    def inside(distance: Floats) -> Floats:
        return smoothstep(distance, blur, -blur)

    head = inside(np.hypot(x, y / 1.32) - 1)
    neck = inside(np.maximum(np.abs(x) - 0.62, np.abs(y - 1.2) - 0.8))
    shoulders = inside(1.62 + 0.10 * x * x + 0.8 * (x / 2.9) ** 8 - y)
    # seen from any side: hair covers the top, and more where the head is turned away
    covered = smoothstep(y + 0.9 * turned * x, -0.15, -0.75) if rng.random() < 0.7 else smoothstep(y, 0.9, 0.3)
    temperature = face + (hair - face) * covered
    cover = 1 - (1 - head) * (1 - neck) * (1 - shoulders)
    body = shoulders * (1 - head) * (1 - 0.7 * neck)
    return cover, temperature + (cloth - temperature) * body


def _chair(u: Floats, v: Floats, wall: float, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """The back of the chair the subject sits on, a little warm, with or without a headrest."""
    top, half = rng.uniform(0.52, 0.80), rng.uniform(0.26, 0.44)
    centre, blur = 0.5 + rng.uniform(-0.06, 0.06), rng.uniform(0.006, 0.014)
    corner = rng.uniform(0.02, 0.09) * (np.clip(np.abs(u - centre) / half, 0, 1)) ** rng.uniform(2, 6)
    sides = smoothstep(half - np.abs(u - centre), -blur, blur)
    back = sides * smoothstep(v, top + corner - blur, top + corner + blur)
    warm = rng.uniform(0.2, 1.2)
    if rng.random() < 0.25:
        rest = _box(u, v, (centre, top - 0.07), (0.45 * half, 0.055), blur)
        back = 1 - (1 - back) * (1 - rest)
    seams = 0.25 * bell(np.abs(u - centre) - 0.7 * half, 0.006) * (rng.random() < 0.4)
    return back, wall + warm + 0.4 * smoothstep(v, top, top + 0.25) - seams


_OBJECTS: tuple[tuple[_Object, float], ...] = (
    (_corner, 0.22),
    (_panels, 0.12),
    (_door, 0.10),
    (_window, 0.18),
    (_shelves, 0.12),
    (_radiator, 0.10),
    (_lamp, 0.05),
    (_screen, 0.11),
    (_person, 0.03),
    (_chair, 0.28),
)
_OPAQUE = (_screen, _person, _chair)  # these give temperatures, the others differences from the wall
