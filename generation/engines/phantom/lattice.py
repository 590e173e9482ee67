"""Meshes made from lattices of points: sheets and tubes, and the taut surface of cloth stretched over a head."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import ConvexHull, cKDTree

from thermvision.generation.engines.phantom.layers import Floats, Layer


def lattice_triangles(rows: int, columns: int) -> NDArray[np.int32]:
    """(t, 3) triangles of a rows × columns lattice of vertices."""
    i = np.arange(rows * columns, dtype=np.int32).reshape(rows, columns)
    a, b, c, d = i[:-1, :-1], i[1:, :-1], i[1:, 1:], i[:-1, 1:]
    return np.concatenate([np.stack([a, b, c], -1).reshape(-1, 3), np.stack([a, c, d], -1).reshape(-1, 3)])


def sheet(points: Floats, temperature: Floats, label: int, emissivity: float, follow: str, **more: Any) -> Layer:
    """The layer of a lattice ``points`` (rows, columns, 3) with ``temperature`` (rows, columns), °C.

    ``more`` are further fields of `Layer`; those that have a value a vertex are lattices too.
    """
    rows, columns = points.shape[:2]
    flat = {name: value.ravel() if isinstance(value, np.ndarray) else value for name, value in more.items()}
    triangles = lattice_triangles(rows, columns)
    return Layer(points.reshape(-1, 3), triangles, temperature.ravel(), label, emissivity, follow, **flat)  # type: ignore[arg-type]


def tube(
    line: Floats,
    radius: float | Floats,
    temperature: Floats,
    label: int,
    emissivity: float,
    follow: str,
    around: int = 9,
    flatten: float = 1.0,
    **more: Any,
) -> Layer:
    """A tube of ``radius`` metres (one, or one a point) along ``line`` (k, 3), with ``temperature`` (k,), °C.

    ``flatten`` < 1 makes a band, thin across the line's own plane with the vertical. ``more`` are fields of `Layer`
    with a value a point of the line.
    """
    tangent = np.gradient(line, axis=0)
    tangent /= np.maximum(np.linalg.norm(tangent, axis=1, keepdims=True), 1e-9)
    first = np.cross(tangent, [0.12, 1.0, 0.05])
    first /= np.maximum(np.linalg.norm(first, axis=1, keepdims=True), 1e-9)
    second = np.cross(tangent, first)
    angle = np.linspace(0, 2 * np.pi, around)[None, :, None]
    ring = flatten * np.cos(angle) * first[:, None] + np.sin(angle) * second[:, None]
    points = line[:, None] + np.broadcast_to(np.asarray(radius), len(line))[:, None, None] * ring

    def spread(values: Floats) -> Floats:
        return np.repeat(values, around).reshape(len(line), around)

    flat = {name: spread(value) if isinstance(value, np.ndarray) else value for name, value in more.items()}
    return sheet(points, spread(temperature), label, emissivity, follow, **flat)


class Taut:
    """The surface of cloth pulled tight over ``points`` (n, 3): their convex hull, with ``centre`` inside it."""

    def __init__(self, points: Floats, centre: Floats) -> None:
        planes = np.unique(ConvexHull(points).equations.round(9), axis=0)
        self._normals, self._offsets = planes[:, :3], -(planes[:, 3] + planes[:, :3] @ centre)

    def radius(self, directions: Floats) -> Floats:
        """Distance (...) from the centre to the surface along unit ``directions`` (..., 3)."""
        # a ray leaves a convex body through the first plane that it reaches: the largest of 1 / distance
        nearest: Floats = 1 / np.einsum("...i,fi->...f", directions, self._normals / self._offsets[:, None]).max(-1)
        return nearest


def clearance(surface: Floats, normals: Floats) -> Callable[..., Floats]:
    """A function that moves points (..., 3) until they lie ``gap`` metres off ``surface`` (n, 3); others stay."""
    tree = cKDTree(surface)

    def lifted(points: Floats, gap: float, rounds: int = 3) -> Floats:
        moved = points.reshape(-1, 3)
        for _ in range(rounds):
            _, nearest = tree.query(moved)
            outward = normals[nearest]
            height = np.einsum("ni,ni->n", moved - surface[nearest], outward)
            moved = moved + np.maximum(gap - height, 0)[:, None] * outward
        return moved.reshape(points.shape)

    return lifted
