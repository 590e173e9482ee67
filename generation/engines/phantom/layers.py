"""What the parts of the engine hand each other: the head, mesh layers and strands.

"Canonical" is the neutral head every field is painted on, "rest" one identity, neutral and facing the camera, "posed"
the same after expression and head pose. Vertex rows agree in all three. Metres; +x subject's left, +y up, +z forward.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class HeadTopology:
    """The identity-free head: mesh, landmark rows and the canonical shape.

    Attributes:
        kept: (n0,) indices of the kept vertices into the hm08 base mesh.
        subdivision: sparse (n, n0): rest vertices = subdivision @ raw[kept] * 0.1.
        triangles: (T, 3) int32.
        label: (n,) uint8 index into `annotations.schema.SEGMENTS`.
        landmarks: (68,) rows of the iBUG points.
        canonical, canonical_normals: (n, 3).
        smoothing: sparse (n, n), row-stochastic umbrella average over neighbours.
        ear: (n,) 0..1, how much a vertex belongs to an ear.
    """

    kept: NDArray[np.int64]
    subdivision: Any
    triangles: NDArray[np.int32]
    label: NDArray[np.uint8]
    landmarks: NDArray[np.int64]
    canonical: Floats
    canonical_normals: Floats
    smoothing: Any
    ear: Floats


@dataclass(frozen=True, eq=False)
class Head:
    """One identity at rest. ``raw`` (V, 3) is the morphed hm08 mesh in decimetres (lash strips live only there)."""

    topology: HeadTopology
    gender: str
    age: float
    traits: Mapping[str, Any]
    raw: Floats
    rest: Floats
    rest_normals: Floats

    @property
    def landmarks(self) -> Floats:
        """(68, 3) iBUG points of the rest shape, metres."""
        points: Floats = self.rest[self.topology.landmarks]
        return points


@dataclass(frozen=True, eq=False)
class Layer:
    """A mesh drawn with the head.

    Attributes:
        vertices: (n, 3) rest position. ``follow`` says how it moves with the head pose: "rigid" with the skull
            (glasses), "skin" bent like the neck skin.
        triangles: (t, 3) int32 into ``vertices``.
        temperature: (n,) °C.
        label: index into `SEGMENTS`.
        emissivity: (n,) or scalar.
        cut: (n,) metres; a fragment whose interpolated cut is negative is not drawn. None: all is drawn.
        breathing: (n,) kelvin added at full exhalation. None: breath does not reach it.
        jaw: (n,) 0..1, share of the chin's movement that an expression passes on (a mask over the mouth). None: none.
        anchor: (n, 3) rest points whose bend with the neck the vertices take (a collar's seam). None: their own.
    """

    vertices: Floats
    triangles: NDArray[np.int32]
    temperature: Floats
    label: int
    emissivity: float
    follow: Literal["rigid", "skin"]
    cut: Floats | None = None
    breathing: Floats | None = None
    jaw: Floats | None = None
    anchor: Floats | None = None


@dataclass(frozen=True, eq=False)
class Strands:
    """Polylines drawn as hair.

    Attributes:
        points: (N, K, 3) positions before head pose; ``follow`` as in `Layer`.
        temperature: (N, K) °C.
        half_width: (N,) metres at the root.
        label: index into `SEGMENTS`.
    """

    points: Floats
    temperature: Floats
    half_width: Floats
    label: int
    follow: Literal["rigid", "skin"]
