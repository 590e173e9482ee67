"""Random hair roots on the skin, with a given density."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from thermvision.generation.engines.phantom.layers import Floats, Head


@dataclass(frozen=True, eq=False)
class Roots:
    """Points bound to triangles, so that they follow every deformation.

    Attributes:
        rows: (N, 3) vertex rows.
        weights: (N, 3) barycentric, summing to one.
    """

    rows: NDArray[np.int64]
    weights: Floats

    def of(self, values: Floats) -> Floats:
        """``values`` (n,) or (n, k) of the vertices, interpolated at the roots."""
        corners = values[self.rows]
        return np.einsum("ni,ni...->n...", self.weights, corners)


def scatter(head: Head, density: Floats, count: int, rng: np.random.Generator) -> Roots:
    """``count`` roots on the rest surface, each area element drawn in proportion to ``density`` (n,), which is 0..1.

    No roots come back where the density is zero everywhere.
    """
    triangles = head.topology.triangles
    bearing = triangles[density[triangles].max(1) > 0]
    if not len(bearing):
        return Roots(np.zeros((0, 3), np.int64), np.zeros((0, 3)))
    a, b, c = (head.rest[bearing[:, k]] for k in range(3))
    area = np.linalg.norm(np.cross(b - a, c - a), axis=1)
    share = np.cumsum(area * density[bearing].mean(1))
    chosen = np.minimum(np.searchsorted(share / share[-1], rng.random(count)), len(bearing) - 1)
    return Roots(bearing[chosen].astype(np.int64), rng.dirichlet((1, 1, 1), count))
