"""Catmull-Clark subdivision as one sparse matrix: new vertices = matrix @ old vertices."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray


def catmull_clark(faces: NDArray[np.int32], vertices: int) -> tuple[Any, NDArray[np.int32]]:
    """One level of Catmull-Clark (Catmull & Clark 1978) with the cubic B-spline rule on open borders.

    The matrix rows are the moved old vertices, then one point an edge, then one a face: old vertices keep their rows.

    Args:
        faces: (F, 4) quads.
        vertices: number of vertices; each is used by a face.

    Returns:
        The sparse CSR matrix (vertices + E + F, vertices) and the new quads (4 F, 4), with the old orientation.
    """
    n, count = vertices, len(faces)
    corner, face_of_corner = faces.ravel(), np.repeat(np.arange(count), 4)
    ends = np.sort(np.stack([faces, np.roll(faces, -1, axis=1)], -1).reshape(-1, 2), axis=1)
    edges, edge_of_corner = np.unique(ends, axis=0, return_inverse=True)
    edge_of_corner, m = edge_of_corner.ravel(), len(edges)

    def matrix(values: Any, rows: Any, columns: Any, shape: tuple[int, int]) -> Any:
        return sp.csr_matrix((np.broadcast_to(values, np.shape(rows)), (rows, columns)), shape=shape)

    face_points = matrix(0.25, face_of_corner, corner, (count, n))
    midpoints = matrix(0.5, np.repeat(np.arange(m), 2), edges.ravel(), (m, n))

    faces_at_edge = np.bincount(edge_of_corner, minlength=m)
    border = faces_at_edge == 1
    neighbour_faces = matrix(1 / faces_at_edge[edge_of_corner], edge_of_corner, face_of_corner, (m, count))
    inner_edges = sp.diags(np.where(border, 0.0, 0.5)) @ (midpoints + neighbour_faces @ face_points)
    edge_points = inner_edges + sp.diags(border.astype(float)) @ midpoints

    # inner vertex of valence k: (mean of face points + 2 x mean of edge midpoints + (k - 3) x itself) / k
    valence = np.maximum(np.bincount(corner, minlength=n), 1).astype(float)
    face_mean = sp.diags(1 / valence) @ matrix(1.0, corner, face_of_corner, (n, count)) @ face_points
    vertex_edges = matrix(1.0, edges.ravel(), np.repeat(np.arange(m), 2), (n, m))
    degree = np.maximum(np.asarray(vertex_edges.sum(1)).ravel(), 1)
    edge_mean = sp.diags(1 / degree) @ vertex_edges @ midpoints
    inner = sp.diags(1 / valence) @ (face_mean + 2 * edge_mean + sp.diags(valence - 3))

    # border vertex: half itself, half the mean of its border edges' midpoints
    on_border = np.zeros(n, bool)
    on_border[edges[border].ravel()] = True
    border_edges = vertex_edges @ sp.diags(border.astype(float))
    border_degree = np.maximum(np.asarray(border_edges.sum(1)).ravel(), 1)
    outer = 0.5 * (sp.diags(1 / border_degree) @ border_edges @ midpoints + sp.identity(n))

    old_points = sp.diags((~on_border).astype(float)) @ inner + sp.diags(on_border.astype(float)) @ outer
    edge_slot = n + edge_of_corner.reshape(count, 4)
    centre = n + m + np.arange(count)
    quads = [np.stack([faces[:, k], edge_slot[:, k], centre, edge_slot[:, k - 1]], 1) for k in range(4)]
    return sp.vstack([old_points, edge_points, face_points]).tocsr(), np.concatenate(quads).astype(np.int32)


def triangulate(quads: NDArray[np.int32]) -> NDArray[np.int32]:
    """Two triangles a quad: (F, 4) -> (2 F, 3)."""
    return np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]]).astype(np.int32)
