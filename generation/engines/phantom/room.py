"""Rooms for scenes: wall, floor and ceiling in perspective, and warm or cold things that are no faces."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from thermvision.generation.engines.phantom.fields import Field, random_field, smoothstep
from thermvision.generation.engines.phantom.layers import Floats

CEILING = 2.6  # metres above the floor
_HOTTEST, _COLDEST = 110.0, -40.0  # °C: what the camera's table of radiance covers, with room to spare


@dataclass(frozen=True, eq=False)
class Grid:
    """The sample grid of a scene: ``side`` samples along each axis of a level camera ``height`` metres above the floor.

    World axes: origin at the lens, x to image right, y up; a point at depth d is seen at side / 2 + focal x / d.
    """

    side: int
    focal: float
    height: float

    def patch(
        self, x: tuple[float, float], y: tuple[float, float], depth: float
    ) -> tuple[tuple[slice, slice], Floats, Floats]:
        """The samples of an upright rectangle (metres from the lens's axis, and above the floor), with their x and y.

        Returns:
            slices of the grid; world x and height above the floor (rows, columns), metres.
        """
        scale = self.focal / depth
        centre = self.side / 2
        columns = np.clip([centre + scale * x[0], centre + scale * x[1]], 0, self.side).astype(int)
        rows = np.clip([centre - scale * (y[1] - self.height), centre - scale * (y[0] - self.height)], 0, self.side)
        rows = rows.astype(int)
        u = (np.arange(*columns) + 0.5 - centre) / scale
        v = self.height - (np.arange(*rows) + 0.5 - centre) / scale
        X, Y = np.meshgrid(u, v)
        return (slice(*rows), slice(*columns)), X, Y


@dataclass(frozen=True, eq=False)
class Thing:
    """An object on the sample grid: where, which samples it covers, °C there, and metres from the lens."""

    name: str
    place: tuple[slice, slice]
    covered: NDArray[np.bool_]
    celsius: Floats
    depth: float


def room_temperature(grid: Grid, wall_at: float, ambient: float, rng: np.random.Generator) -> Floats:
    """(side, side) °C of an empty room: a wall ``wall_at`` metres away, floor and ceiling, with soft gradients."""
    centre = grid.side / 2
    slope = (np.arange(grid.side) + 0.5 - centre) / grid.focal  # positive below the horizon
    drop = -grid.height / np.minimum(-slope, -1e-9)
    rise = (CEILING - grid.height) / np.maximum(-slope, 1e-9)
    floor, ceiling = (slope > 0) & (drop < wall_at), (slope < 0) & (rise < wall_at)
    wall = ambient + rng.normal(0, 0.6)
    height = grid.height - slope * wall_at
    level = wall + 0.35 * (height - 1.2) * rng.uniform(0.2, 1.0)  # warm air rises
    under, over = wall - rng.uniform(0.2, 1.6), wall + rng.uniform(0.1, 0.9)
    level = np.where(floor, under + 0.25 * (drop - 2), level)
    level = np.where(ceiling, over, level)
    x = (np.arange(grid.side) + 0.5 - centre) / grid.focal
    points = np.stack(np.meshgrid(x, slope), -1).reshape(-1, 2)
    soft = random_field(rng, 0.35, 2)(points)
    return level[:, None] + rng.uniform(0.08, 0.25) * soft.reshape(grid.side, grid.side) + rng.normal(0, 0.5) * x[None]


def make_things(
    grid: Grid, wall_at: float, nearest: float, count: int, ambient: float, rng: np.random.Generator
) -> list[Thing]:
    """``count`` objects: on the wall, on the floor or on a table, anywhere between ``nearest`` and the wall."""
    things = []
    for name in rng.choice(list(_MAKERS), count):
        things.append(_MAKERS[str(name)](grid, wall_at, nearest, ambient, rng))
    return things


def _thing(
    name: str,
    grid: Grid,
    x: float,
    half: float,
    y: tuple[float, float],
    depth: float,
    shape: Callable[[Floats, Floats], tuple[NDArray[np.bool_], Floats]],
) -> Thing:
    place, X, Y = grid.patch((x - half, x + half), y, depth)
    covered, celsius = shape(X - x, Y - y[0])
    return Thing(name, place, covered, np.clip(celsius, _COLDEST, _HOTTEST), depth)


def _across(grid: Grid, depth: float, rng: np.random.Generator) -> float:
    return float(rng.uniform(-0.5, 0.5) * grid.side / grid.focal * depth)


def _radiator(grid: Grid, wall_at: float, nearest: float, ambient: float, rng: np.random.Generator) -> Thing:
    half, height, hot = rng.uniform(0.3, 0.8), rng.uniform(0.45, 0.7), rng.uniform(32, 58)
    pitch, x = rng.uniform(0.05, 0.09), _across(grid, wall_at, rng)

    def shape(u: Floats, v: Floats) -> tuple[NDArray[np.bool_], Floats]:
        ribs = 0.5 + 0.5 * np.cos(2 * np.pi * u / pitch)
        return np.ones(u.shape, bool), hot - (hot - ambient) * (0.25 * (1 - ribs) + 0.15 * (1 - v / height))

    return _thing("radiator", grid, x, half, (0.12, 0.12 + height), wall_at - 0.05, shape)


def _window(grid: Grid, wall_at: float, nearest: float, ambient: float, rng: np.random.Generator) -> Thing:
    half, low, height = rng.uniform(0.4, 0.9), rng.uniform(0.8, 1.0), rng.uniform(0.9, 1.3)
    cold, x = ambient - rng.uniform(1.5, 7.0), _across(grid, wall_at, rng)
    panes = int(rng.integers(1, 4))

    def shape(u: Floats, v: Floats) -> tuple[NDArray[np.bool_], Floats]:
        s = (u + half) / (2 * half) * panes
        bar = np.minimum(s % 1, 1 - s % 1) * 2 * half / panes < 0.035
        frame = bar | (v < 0.05) | (v > height - 0.05)
        return np.ones(u.shape, bool), np.where(frame, ambient - 0.8, cold + 0.8 * v / height)

    return _thing("window", grid, x, half, (low, low + height), wall_at - 0.02, shape)


def _screen(grid: Grid, wall_at: float, nearest: float, ambient: float, rng: np.random.Generator) -> Thing:
    half, low = rng.uniform(0.25, 0.6), rng.uniform(0.8, 1.3)
    depth, warm = rng.uniform(0.6 * wall_at, wall_at - 0.1), rng.uniform(4, 12)
    x, height = _across(grid, depth, rng), 2 * half * 9 / 16
    spread: Field = random_field(rng, 0.2, 1)

    def shape(u: Floats, v: Floats) -> tuple[NDArray[np.bool_], Floats]:
        rim = (np.abs(u) > half - 0.012) | (v < 0.012) | (v > height - 0.012)
        glow = warm * (0.7 + 0.3 * (1 - v / height)) + 0.5 * spread(np.stack([u.ravel(), v.ravel()], 1)).reshape(
            u.shape
        )
        return np.ones(u.shape, bool), ambient + np.where(rim, 0.4 * warm, glow)

    return _thing("screen", grid, x, half, (low, low + height), depth, shape)


def _lamp(grid: Grid, wall_at: float, nearest: float, ambient: float, rng: np.random.Generator) -> Thing:
    depth, top, hot = (
        rng.uniform(min(nearest + 1.0, wall_at - 0.5), wall_at - 0.2),
        rng.uniform(1.2, 1.8),
        rng.uniform(45, 95),
    )
    x, wide = _across(grid, depth, rng), rng.uniform(0.10, 0.2)

    def shape(u: Floats, v: Floats) -> tuple[NDArray[np.bool_], Floats]:
        shade = (v > top - 0.28) & (np.abs(u) < wide * (1 - 1.2 * (v - top + 0.28)))
        pole, foot = np.abs(u) < 0.012, (v < 0.03) & (np.abs(u) < 0.13)
        bulb = np.exp(-((u / 0.07) ** 2) - ((v - top + 0.12) / 0.09) ** 2)
        warm = ambient + 4 + 0.3 * (hot - ambient) * bulb + 3 * smoothstep(v, top - 0.28, top)
        return shade | pole | foot, np.where(shade, warm, ambient + 0.4)

    return _thing("lamp", grid, x, 0.25, (0.0, top), depth, shape)


def _cup(grid: Grid, wall_at: float, nearest: float, ambient: float, rng: np.random.Generator) -> Thing:
    """A table with something hot on it: a cup, a pot or a kettle."""
    depth, size, hot = (
        rng.uniform(nearest, min(wall_at - 0.4, nearest + 2.5)),
        rng.uniform(0.035, 0.10),
        rng.uniform(38, 75),
    )
    x, half, table = _across(grid, depth, rng), rng.uniform(0.35, 0.8), rng.uniform(0.68, 0.78)
    tall, at = size * rng.uniform(1.6, 2.8), rng.uniform(-0.25, 0.25)
    full = rng.uniform(0.5, 1.0)

    def shape(u: Floats, v: Floats) -> tuple[NDArray[np.bool_], Floats]:
        w = v - table
        body = (np.abs(u - at) < size * (1 - 0.1 * (1 - w / tall))) & (w > 0) & (w < tall)
        ring = np.hypot((u - at - 1.15 * size) / 0.45, (w - 0.5 * tall) / (0.32 * tall / size)) / size
        handle = (ring > 0.75) & (ring < 1.15) & (u - at > size * 0.9)
        top, legs = (np.abs(w) < 0.02) & (w <= 0), (np.abs(np.abs(u) - half + 0.05) < 0.02) & (w < 0)
        level = 1 - 0.75 * smoothstep(w / tall, full - 0.05, full + 0.05)
        celsius = np.where(body, ambient + (hot - ambient) * level, ambient - 0.3)
        celsius = np.where(handle & ~body, ambient + 0.35 * (hot - ambient), celsius)
        spot = 3 * np.exp(-(((u - at) / size) ** 2)) * top  # the table under it is warm
        return body | handle | top | legs, celsius + spot

    return _thing("cup", grid, x, half, (0.0, table + 0.32), depth, shape)


def _animal(grid: Grid, wall_at: float, nearest: float, ambient: float, rng: np.random.Generator) -> Thing:
    """A four-legged blob, seen from the side: fur between skin and air, a warm face, cold nose and ears."""
    depth, length = rng.uniform(nearest, wall_at - 0.3), rng.uniform(0.16, 0.38)
    x, fur, way = (
        _across(grid, depth, rng),
        ambient + (34 - ambient) * rng.uniform(0.35, 0.7),
        float(rng.choice((-1, 1))),
    )
    legs, thick = length * rng.uniform(0.55, 0.9), length * rng.uniform(0.40, 0.5)
    stand = legs + thick
    coat = random_field(rng, 0.05, 2)

    def shape(u: Floats, v: Floats) -> tuple[NDArray[np.bool_], Floats]:
        u = u * way
        body = (u / length) ** 2 + ((v - stand) / thick) ** 2 < 1
        hx, hy, r = length * 1.05, stand + 0.9 * thick, 0.55 * thick + 0.02
        near = np.hypot(u - hx, v - hy) / r
        muzzle = np.hypot((u - hx - r) / 0.7, (v - hy + 0.2 * r) / 0.45) / r
        ears = (np.abs(np.abs(u - hx) - 0.6 * r) < 0.28 * (hy + 2.0 * r - v)) & (v > hy + 0.5 * r) & (v < hy + 1.9 * r)
        feet = [
            (np.abs(u - s * length - 0.03 * (v < 0.03)) < 0.10 * length) & (v < stand) for s in (-0.8, -0.6, 0.55, 0.78)
        ]
        tail = (
            (np.abs(v - stand - 0.6 * (-u - 0.9 * length)) < 0.05 * length) & (u < -0.8 * length) & (u > -1.7 * length)
        )
        limbs = np.logical_or.reduce(feet) | tail | ears
        head = (near < 1) | (muzzle < 1)
        celsius = fur + 0.9 * coat(np.stack([u.ravel(), v.ravel()], 1)).reshape(u.shape)
        celsius = np.where(head, fur + 0.35 * (34 - fur), np.where(limbs & ~body, fur - 1.5, celsius))
        eyes = np.exp(-((np.hypot(u - hx - 0.35 * r, v - hy - 0.2 * r) / (0.22 * r)) ** 2))
        nose = np.exp(-((np.hypot(u - hx - 1.6 * r, v - hy + 0.1 * r) / (0.22 * r)) ** 2))
        return body | head | limbs, celsius + (3 * eyes - 4 * nose) * head

    return _thing("animal", grid, x, 2.1 * length, (0.0, stand + 2.6 * thick), depth, shape)


_MAKERS: dict[str, Callable[[Grid, float, float, float, np.random.Generator], Thing]] = {
    "radiator": _radiator,
    "window": _window,
    "screen": _screen,
    "lamp": _lamp,
    "cup": _cup,
    "animal": _animal,
}
