"""Head pose on a neck: the skull turns rigidly, the throat bends with it and the shoulders stay.

Every point has a bend weight from 0 (shoulders) to 1 (skull and face); the 68 landmarks all have 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numba as nb
import numpy as np
from numpy.typing import NDArray

from thermvision.annotations.pose import pose_from_rotation, rotation_from_pose
from thermvision.generation.engines.phantom.layers import Floats, Head

_STEPS = 64  # rotations between none and full; a point takes the linear mean of its two neighbours
_RAMP = 0.0875  # metres of throat over which the rotation fades
_BREATH_RISE = 0.001  # metres the shoulders rise at full inhalation


# metres: where the neck's axis lies against the pivot, and the radii between which tissue counts as shoulder
_NECK_AXIS, _NECK_RADIUS = -0.02, (0.060, 0.160)


def _smoothstep(x: Floats, low: float, high: float) -> Floats:
    t = np.clip((x - low) / (high - low), 0, 1)
    result: Floats = t * t * (3 - 2 * t)
    return result


@dataclass(frozen=True, eq=False)
class Neck:
    """Where one head bends: pivot (3,) metres, heights where the rotation starts and is complete, and of the chin."""

    pivot: Floats
    start: float
    full: float
    chin: float

    def _height(self, points: Floats) -> Floats:
        # the nape bends lower than the throat
        return points[..., 1] + 0.35 * np.clip(self.pivot[2] - 0.02 - points[..., 2], -0.05, 0.1)

    def weights(self, points: Floats) -> NDArray[np.float32]:
        """Bend weight (n,) of rest points (n, 3): it belongs to the tissue, so expressions do not change it."""
        turning = _smoothstep(self._height(points), self.start, self.full)
        # shoulders and upper back are wider than a neck: they do not follow the head
        axis = self.pivot[2] + _NECK_AXIS
        beside = _smoothstep(np.hypot(points[..., 0], points[..., 2] - axis), *_NECK_RADIUS)
        low = 1 - _smoothstep(points[..., 1], self.chin - 0.05, self.chin - 0.015)
        return (turning * (1 - beside * low)).astype(np.float32)


def make_neck(head: Head) -> Neck:
    """The neck of an identity: pivot 35 mm below the chin and 15 mm behind the ears' front; complete above the jaw."""
    marks = head.landmarks
    pivot = np.array([0.0, marks[8, 1] - 0.035, marks[16, 2] - 0.015])
    chin = float(marks[8, 1])
    neck = Neck(pivot, 0.0, 1.0, chin)
    full = float(neck._height(marks).min()) - 0.002
    return Neck(pivot, full - _RAMP, full, chin)


@dataclass(frozen=True, eq=False)
class NeckPose:
    """One head pose of one neck: rotations (65, 3, 3) of shoulders to skull, pivot, and the shoulders' rise."""

    rotations: Floats
    pivot: Floats
    rise: float


def seen_pose(head_pose: NDArray[np.float64], turn: float) -> NDArray[np.float64]:
    """Yaw, pitch, roll (3,) against the camera of a head posed on a body that is turned by ``turn`` degrees.

    >>> [abs(round(angle)) for angle in seen_pose(np.array([20.0, 0.0, 0.0]), 90.0)]
    [110, 0, 0]
    """
    if not turn:
        return head_pose
    return pose_from_rotation(rotation_from_pose((turn, 0, 0)) @ rotation_from_pose(head_pose))


def neck_pose(neck: Neck, head_pose: NDArray[np.float64], breath: float = 0.0, turn: float = 0.0) -> NeckPose:
    """The pose of a frame.

    Args:
        neck: from `make_neck`.
        head_pose: (3,) yaw, pitch, roll in degrees, see `thermvision.annotations.pose`.
        breath: -1 (exhaled) .. 1 (inhaled); shoulders rise by 1 mm.
        turn: degrees by which the whole person turns about the upright axis through the pivot, after the neck bends.
    """
    full = rotation_from_pose(head_pose)
    axis = cv2.Rodrigues(full)[0].ravel()
    share = np.arange(_STEPS + 1) / _STEPS
    rotations = np.stack([cv2.Rodrigues(axis * s)[0] for s in share])
    rotations[-1] = full
    if turn:
        rotations = rotation_from_pose((turn, 0, 0)) @ rotations
    return NeckPose(rotations, neck.pivot, _BREATH_RISE * breath)


# The bodies of compiled functions take any array; the type checker sees no more of them than that.


@nb.njit(cache=True, inline="always")
def _turned(x: Any, y: Any, z: Any, w: Any, rotations: Any) -> Any:  # pragma: no cover - compiled
    steps = rotations.shape[0] - 1
    if w >= 1.0:
        r = rotations[steps]
        return (
            r[0, 0] * x + r[0, 1] * y + r[0, 2] * z,
            r[1, 0] * x + r[1, 1] * y + r[1, 2] * z,
            r[2, 0] * x + r[2, 1] * y + r[2, 2] * z,
        )
    if w <= 0.0:
        r = rotations[0]
        return (
            r[0, 0] * x + r[0, 1] * y + r[0, 2] * z,
            r[1, 0] * x + r[1, 1] * y + r[1, 2] * z,
            r[2, 0] * x + r[2, 1] * y + r[2, 2] * z,
        )
    k = min(int(w * steps), steps - 1)
    f = w * steps - k
    g = 1.0 - f
    a, b = rotations[k], rotations[k + 1]
    return (
        g * (a[0, 0] * x + a[0, 1] * y + a[0, 2] * z) + f * (b[0, 0] * x + b[0, 1] * y + b[0, 2] * z),
        g * (a[1, 0] * x + a[1, 1] * y + a[1, 2] * z) + f * (b[1, 0] * x + b[1, 1] * y + b[1, 2] * z),
        g * (a[2, 0] * x + a[2, 1] * y + a[2, 2] * z) + f * (b[2, 0] * x + b[2, 1] * y + b[2, 2] * z),
    )


@nb.njit(cache=True, parallel=True, fastmath=False)
def _bend(points: Any, weights: Any, rotations: Any, pivot: Any, rise: Any, out: Any) -> None:  # pragma: no cover
    for i in nb.prange(points.shape[0]):
        x, y, z = points[i, 0] - pivot[0], points[i, 1] - pivot[1], points[i, 2] - pivot[2]
        x, y, z = _turned(x, y, z, weights[i], rotations)
        out[i, 0] = x + pivot[0]
        out[i, 1] = y + pivot[1] + rise * (1.0 - weights[i])
        out[i, 2] = z + pivot[2]


@nb.njit(cache=True, parallel=True, fastmath=False)
def _facing(  # pragma: no cover - compiled
    posed: Any, normals: Any, weights: Any, rotations: Any, eye: Any, out: Any
) -> None:
    for i in nb.prange(posed.shape[0]):
        nx, ny, nz = _turned(normals[i, 0], normals[i, 1], normals[i, 2], weights[i], rotations)
        dx, dy, dz = eye[0] - posed[i, 0], eye[1] - posed[i, 1], eye[2] - posed[i, 2]
        length = np.sqrt((dx * dx + dy * dy + dz * dz) * (nx * nx + ny * ny + nz * nz))
        out[i] = abs(dx * nx + dy * ny + dz * nz) / max(length, 1e-12)


def bend(
    points: NDArray[Any], weights: NDArray[np.float32], pose: NeckPose, out: NDArray[Any] | None = None
) -> NDArray[Any]:
    """Posed points (n, 3) of rest or expressed points (n, 3) with bend weights (n,), in ``out`` when it is given."""
    posed = np.empty_like(points) if out is None else out
    _bend(points, weights, pose.rotations, pose.pivot, pose.rise, posed)
    return posed


def facing(
    posed: Floats,
    normals: Floats,
    weights: NDArray[np.float32],
    pose: NeckPose,
    eye: Floats,
    out: NDArray[np.float32] | None = None,
) -> NDArray[np.float32]:
    """|cos| (n,) between the turned surface normal and the direction to the lens.

    Args:
        posed: (n, 3) from `bend`.
        normals: (n, 3) before head pose.
        weights: (n,) bend weights.
        pose: of the frame.
        eye: (3,) position of the lens.
        out: (n,) where to write.
    """
    cosine = np.empty(len(posed), np.float32) if out is None else out
    _facing(posed, normals, weights, pose.rotations, eye, cosine)
    return cosine
