"""The identity-free head: subdivided mesh, segment labels, landmark rows and the canonical shape."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from thermvision.annotations.errors import DamagedInputError
from thermvision.annotations.schema import SEGMENTS
from thermvision.generation.engines.phantom.assets import HEAD_PARTS, INSTALL, NEUTRAL_MACRO, HeadAssets, load_assets
from thermvision.generation.engines.phantom.layers import Floats, HeadTopology
from thermvision.generation.engines.phantom.subdivision import catmull_clark, triangulate

# hm08 vertex of each iBUG-68 point, in iBUG order; the right half mirrors the left exactly
LANDMARK_VERTICES = (
    867, 5098, 869, 912, 894, 892, 5294, 5292, 5225, 11898, 11900, 7594, 7596, 7614, 7574, 11713, 7572,  # jaw
    255, 206, 204, 205, 208, 6983, 6980, 6979, 6981, 7024,  # brows
    133, 131, 201, 5054, 337, 359, 343, 7120, 7099,  # nose
    26, 6, 54, 66, 47, 36, 6850, 6838, 6790, 6810, 6820, 6831,  # eyes
    402, 410, 450, 455, 7210, 7170, 7162, 7166, 7241, 492, 486, 406,  # outer lips
    427, 470, 474, 7226, 7187, 7236, 493, 481,  # inner lips
)  # fmt: skip
_PART_SEGMENT = dict(zip(HEAD_PARTS, ("skin", "eye", "eye", "teeth", "teeth", "mouth"), strict=True))
_EAR_TARGETS = tuple(f"ears/{side}-ear-{part}-incr" for side in "lr" for part in ("wing", "flap", "lobe"))
_EAR_REACH = 0.05  # decimetres of displacement at which a vertex counts wholly as ear
LEVELS = 2


def vertex_normals(vertices: NDArray[Any], triangles: NDArray[np.int32]) -> Floats:
    """Unit normals (n, 3), area-weighted over the triangles at a vertex; zero where there is none."""
    corners = vertices[triangles]
    across = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    total = np.zeros((len(vertices), 3))
    for axis in range(3):
        for corner in range(3):
            total[:, axis] += np.bincount(triangles[:, corner], across[:, axis], len(vertices))
    length = np.linalg.norm(total, axis=1, keepdims=True)
    normals: Floats = total / np.maximum(length, 1e-12)
    return normals


def _umbrella(quads: NDArray[np.int32], n: int) -> Any:
    edges = np.concatenate([quads[:, [k, (k + 1) % 4]] for k in range(4)])
    ones = np.ones(2 * len(edges))
    both = np.concatenate([edges, edges[:, ::-1]])
    adjacency = sp.csr_matrix((ones, (both[:, 0], both[:, 1])), shape=(n, n))
    adjacency.data[:] = 1.0
    return sp.diags(1 / np.asarray(adjacency.sum(1)).ravel()) @ adjacency


def _ear_mask(assets: HeadAssets) -> Floats:
    # scale, translation and rotation targets of the ears also move half the temple: only these three stay on the ear
    mask = np.zeros(len(assets.vertices))
    for name in _EAR_TARGETS:
        rows, delta = assets.targets[name]
        np.maximum.at(mask, rows, np.linalg.norm(delta, axis=1) / _EAR_REACH)
    return np.clip(mask, 0, 1)


@lru_cache(1)
def load_topology() -> HeadTopology:
    """The head mesh after two subdivision levels (about 86,000 vertices), built once a process.

    Raises:
        MissingDependencyError: the head data is not installed.
        DamagedInputError: the head data lacks a landmark vertex.
    """
    assets = load_assets()
    raw_label = np.zeros(len(assets.vertices))
    for part in HEAD_PARTS:
        raw_label[np.unique(assets.faces[part])] = SEGMENTS.index(_PART_SEGMENT[part])
    quads = np.concatenate([assets.faces[part] for part in HEAD_PARTS])
    kept, quads = np.unique(quads, return_inverse=True)
    quads = quads.reshape(-1, 4).astype(np.int32)

    row = np.full(len(assets.vertices), -1)
    row[kept] = np.arange(len(kept))
    landmarks = row[list(LANDMARK_VERTICES)]
    if (landmarks < 0).any():
        raise DamagedInputError(f"the head data lacks landmark vertices; reinstall it: {INSTALL}")

    subdivision: Any = sp.identity(len(kept), format="csr")
    for _ in range(LEVELS):
        level, quads = catmull_clark(quads, subdivision.shape[0])
        subdivision = (level @ subdivision).tocsr()

    neutral = assets.vertices.copy()
    for name, weight in NEUTRAL_MACRO.items():
        assets.morph(neutral, name, weight)
    canonical = subdivision @ neutral[kept] * 0.1
    triangles = triangulate(quads)
    return HeadTopology(
        kept=kept.astype(np.int64),
        subdivision=subdivision,
        triangles=triangles,
        label=np.rint(subdivision @ raw_label[kept]).astype(np.uint8),
        landmarks=landmarks.astype(np.int64),
        canonical=canonical,
        canonical_normals=vertex_normals(canonical, triangles),
        smoothing=_umbrella(quads, len(canonical)),
        ear=np.clip(subdivision @ _ear_mask(assets)[kept], 0, 1),
    )
