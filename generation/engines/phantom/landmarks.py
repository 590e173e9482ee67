"""The 68 landmarks of a posed head: where they project, the jaw of the visible outline, and what hides them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from thermvision.annotations.pose import rotation_from_pose
from thermvision.annotations.schema import OBJECT_OCCLUDED, OUTSIDE, SEGMENTS, SELF_OCCLUDED, VISIBLE
from thermvision.generation.engines.phantom.layers import Floats, HeadTopology
from thermvision.generation.engines.phantom.topology import load_topology

# the first 17 landmarks run from the subject's right ear over the chin to the left ear
CHIN = 8
_SLIDING = (*range(CHIN), *range(CHIN + 1, 17))
TOLERANCE = 0.006  # metres a landmark may lie behind what is seen
CLOSE_ON = 0.001  # metres by which an object covers the skin it lies on
_SOFTNESS = 0.0015  # of the window's width, about half a millimetre
_GAIN = 0.015  # of the window's width: how much further out the outline must lie for the point to be wholly on it
_TURNED_AWAY = 90.0, 110.0  # degrees of yaw between which the visible outline ceases to be that of the face
_INNER_SHARE = 0.30  # the outline of the cheek is looked for no nearer to the midline than this share of the landmark


@dataclass(frozen=True, eq=False)
class View:
    """Pinhole view of the square sensor window.

    World point (x, y, z) is seen at u = window / 2 + focal (x - eye_x) / d, v = window / 2 - focal (y - eye_y) / d
    with depth d = eye_z - z, in continuous pixel coordinates.

    Attributes:
        eye: (3,) position of the lens, metres, in the head's axes; it looks along -z.
        focal: pixels.
        window: side in pixels.
    """

    eye: Floats
    focal: float
    window: int

    def project(self, points: Floats) -> Floats:
        """Window coordinates (..., 2) of world points (..., 3)."""
        centred = points - self.eye
        depth = -centred[..., 2:]
        uv: Floats = self.window / 2 + self.focal * centred[..., :2] * np.array([1.0, -1.0]) / depth
        return uv

    def matrix(self, size: int) -> Floats:
        """(3, 3) camera axes to homogeneous coordinates of a frame of ``size`` pixels."""
        focal = self.focal * size / self.window
        return np.array([[focal, 0, size / 2], [0, focal, size / 2], [0, 0, 1.0]])

    def camera_axes(self, points: Floats) -> Floats:
        """World points (..., 3) in camera axes: x right, y down, z along the optical axis, metres from the lens."""
        return (points - self.eye) * np.array([1.0, -1.0, -1.0])


@dataclass(frozen=True, eq=False)
class _Parallel:
    """Points on mesh edges at one canonical height between jaw and cheek: start, end (m,) rows and position (m,)."""

    start: NDArray[np.int64]
    end: NDArray[np.int64]
    share: Floats

    def points(self, surface: Floats) -> Floats:
        found: Floats = surface[self.start] * (1 - self.share)[:, None] + surface[self.end] * self.share[:, None]
        return found


def _mesh_edges(topology: HeadTopology) -> NDArray[np.int64]:
    triangles = topology.triangles[(topology.label[topology.triangles] == SEGMENTS.index("skin")).all(1)]
    edges = np.sort(np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]]), axis=1)
    unique: NDArray[np.int64] = np.unique(edges, axis=0).astype(np.int64)
    return unique


@lru_cache(1)
def _parallels() -> tuple[_Parallel, ...]:
    """The line of each jaw landmark along which it slides to the outline ("landmark marching", Zhu et al. 2015)."""
    topology = load_topology()
    shape, normals = topology.canonical, topology.canonical_normals
    edges = _mesh_edges(topology)
    edges = edges[(topology.ear[edges] < 0.02).all(1)]
    lines = []
    for k in _SLIDING:
        mark = shape[topology.landmarks[k]]
        side = np.sign(mark[0])
        a, b = shape[edges[:, 0], 1] - mark[1], shape[edges[:, 1], 1] - mark[1]
        crossing = edges[(a * b < 0)]
        start, end = crossing.T
        share = (mark[1] - shape[start, 1]) / (shape[end, 1] - shape[start, 1])
        point = shape[start] * (1 - share)[:, None] + shape[end] * share[:, None]
        across = point[:, 0] * side
        # outward-facing skin in front of the landmark; inside the mouth and nose normals point elsewhere
        outside = (normals[start] * np.stack([0 * share + side, 0 * share, 0 * share + 0.6], 1)).sum(1) > 0.15
        keep = outside & (across > _INNER_SHARE * abs(mark[0])) & (point[:, 2] > mark[2] + 1e-4)
        lines.append(_Parallel(start[keep], end[keep], share[keep]))
    return tuple(lines)


def outline_landmarks(
    surface: Floats, landmarks: Floats, head_pose: NDArray[np.float64], view: View
) -> tuple[Floats, Floats]:
    """World positions (68, 3) of the 2-D landmarks, and of the points that decide whether they are visible.

    Each jaw point goes to the point of its own height line that projects outermost on its side of the head, once that
    lies further out than the anatomical point; on the near side and in frontal views it stays where it is.

    Args:
        surface: (n, 3) posed head.
        landmarks: (68, 3) posed anatomical points.
        head_pose: (3,) yaw, pitch, roll in degrees against the camera; beyond 90 degrees of yaw the jaw goes back to
            the anatomical points.
        view: the camera.

    Returns:
        Where the landmarks are marked; and the same with every jaw point wholly on the outline, since it stands for
        the contour and is in view wherever that is.
    """
    marked, outline = landmarks.copy(), landmarks.copy()
    up = rotation_from_pose(head_pose)[:2, 1]
    lateral = np.array([up[1], up[0]]) / np.hypot(*up)  # across the head in the image, to image right, y down
    away, gone = _TURNED_AWAY
    facing = float(np.clip((gone - abs(head_pose[0])) / (gone - away), 0, 1))
    for k, line in zip(_SLIDING, _parallels(), strict=True):
        outward = lateral if k > CHIN else -lateral  # landmarks 9..16 are on the subject's left, image right
        points = np.concatenate([landmarks[k : k + 1], line.points(surface)])
        reach = view.project(points) @ outward
        # a soft maximum: the point glides where a hard one would jump between two bulges of the cheek
        share = np.exp((reach - reach.max()) / (_SOFTNESS * view.window))
        gain = np.clip((reach.max() - reach[0]) / (_GAIN * view.window), 0, 1)
        slid = share @ points / share.sum()
        outline[k] = slid if facing == 1 else landmarks[k] + facing * (slid - landmarks[k])
        marked[k] += facing * gain * gain * (3 - 2 * gain) * (slid - landmarks[k])
    return marked, outline


def _farthest(uv: Floats, depth: NDArray[np.float32], samples: int) -> NDArray[np.float32]:
    """(m,) the farthest of the 3 x 3 neighbouring samples, metres."""
    height = depth.shape[0]
    at = np.clip((uv * samples).astype(int), 2, height - 3)
    around = [depth[at[:, 1] + i, at[:, 0] + j] for i in (-2, 0, 2) for j in (-2, 0, 2)]
    farthest: NDArray[np.float32] = np.max(around, axis=0)
    return farthest


class LandmarkVisibility:
    """States of landmarks, taken from the z-buffer once with the bare head in it and once with everything."""

    def __init__(self, points: Floats, view: View, samples: int) -> None:
        """``points`` (68, 3) posed, in world axes; ``samples`` a pixel of the z-buffer along each axis."""
        self._view, self._samples = view, samples
        self._uv = view.project(points)
        self._depth = view.eye[2] - points[:, 2]
        self._head = np.full(len(points), np.inf)

    def see_head(self, depth: NDArray[np.float32]) -> None:
        """Note which landmarks the bare head itself hides."""
        self._head = _farthest(self._uv, depth, self._samples).astype(np.float64)

    def states(self, depth: NDArray[np.float32]) -> NDArray[np.uint8]:
        """(68,) uint8: 0 outside the frame, 1 self-occluded, 2 occluded by an object or hair, 3 visible."""
        nearest = _farthest(self._uv, depth, self._samples)
        everything = self._depth < nearest + TOLERANCE
        # what lies close on the skin, as a mask does, is within the tolerance but nearer than the bare head was
        everything &= (nearest > self._head - CLOSE_ON) | (self._depth < nearest + CLOSE_ON)
        inside = ((self._uv >= 0) & (self._uv < self._view.window)).all(1)
        states = np.where(everything, VISIBLE, OBJECT_OCCLUDED)
        states = np.where(self._depth < self._head + TOLERANCE, states, SELF_OCCLUDED)
        return np.where(inside, states, OUTSIDE).astype(np.uint8)
