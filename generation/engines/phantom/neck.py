"""Head pose on a neck: the skull turns rigidly, the throat bends with it and the shoulders stay.

Every point has a bend weight from 0 (shoulders) to 1 (skull and face); the 68 landmarks all have 1.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numba as nb
import numpy as np
from numpy.typing import NDArray

from thermvision.annotations.pose import rotation_from_pose
from thermvision.generation.engines.phantom.layers import Floats, Head

_STEPS = 64  # rotations between none and full; a point takes the linear mean of its two neighbours
_RAMP = 0.0875  # metres of throat over which the rotation fades
_BREATH_RISE = 0.001  # metres the shoulders rise at full inhalation


# metres: where the neck's axis lies against the pivot, and the radii between which tissue counts as shoulder
_NECK_AXIS, _NECK_RADIUS = -0.02, (0.070, 0.115)


def _smoothstep(x: Floats, low: float, high: float) -> Floats:
    t = np.clip((x - low) / (high - low), 0, 1)
    result: Floats = t * t * (3 - 2 * t)
    return result


@dataclass(frozen=True, eq=False)
class Neck:
    """Where one head bends: pivot (3,) metres, the heights where the rotation starts and is complete, the chin's height."""

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
    """One head pose of one neck: rotations (65, 3, 3) from none to full, pivot, and the shoulders' rise."""

    rotations: Floats
    pivot: Floats
    rise: float


def neck_pose(neck: Neck, head_pose: NDArray[np.float64], breath: float = 0.0) -> NeckPose:
    """The pose of a frame.

    Args:
        neck: from `make_neck`.
        head_pose: (3,) yaw, pitch, roll in degrees, see `thermvision.annotations.pose`.
        breath: -1 (exhaled) .. 1 (inhaled); shoulders rise by 1 mm.
    """
    full = rotation_from_pose(head_pose)
    axis = cv2.Rodrigues(full)[0].ravel()
    share = np.arange(_STEPS + 1) / _STEPS
    rotations = np.stack([cv2.Rodrigues(axis * s)[0] for s in share])
    rotations[-1] = full
    return NeckPose(rotations, neck.pivot, _BREATH_RISE * breath)


@nb.njit(cache=True, parallel=True, fastmath=False)
def _bend(points, weights, rotations, pivot, rise, out):  # type: ignore[no-untyped-def]  # pragma: no cover - compiled
    steps = rotations.shape[0] - 1
    for i in nb.prange(points.shape[0]):
        w = weights[i]
        x, y, z = points[i, 0] - pivot[0], points[i, 1] - pivot[1], points[i, 2] - pivot[2]
        k = min(int(w * steps), steps - 1)
        f = w * steps - k
        for row in range(3):
            a = rotations[k, row, 0] * x + rotations[k, row, 1] * y + rotations[k, row, 2] * z
            b = rotations[k + 1, row, 0] * x + rotations[k + 1, row, 1] * y + rotations[k + 1, row, 2] * z
            out[i, row] = (1.0 - f) * a + f * b + pivot[row]
        out[i, 1] += rise * (1.0 - w)


def bend(points: Floats, weights: NDArray[np.float32], pose: NeckPose) -> Floats:
    """Posed points (n, 3) of rest or expressed points (n, 3) with bend weights (n,)."""
    posed = np.empty((len(points), 3))
    _bend(np.ascontiguousarray(points), weights, pose.rotations, pose.pivot, pose.rise, posed)
    return posed


def turn(normals: Floats, weights: NDArray[np.float32], pose: NeckPose) -> Floats:
    """Directions (n, 3) turned as `bend` turns the points they belong to (not renormalised)."""
    turned = np.empty((len(normals), 3))
    _bend(np.ascontiguousarray(normals), weights, pose.rotations, np.zeros(3), 0.0, turned)
    return turned
