"""Head pose: yaw, pitch and roll in degrees, and the rotation matrix they stand for.

Axes: +x image right (the subject's left), +y up, +z toward the camera. ``R = Ry(yaw) · Rx(-pitch) · Rz(-roll)``.
Positive yaw turns the nose to image right, positive pitch looks up, positive roll tilts the head clockwise.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray


def rotation_from_pose(pose: ArrayLike) -> NDArray[np.float64]:
    """Rotation matrices (..., 3, 3) of poses (..., 3) = yaw, pitch, roll in degrees.

    >>> nose = rotation_from_pose([30, 0, 0]) @ [0, 0, 1]
    >>> bool(nose[0] > 0)
    True
    """
    yaw, pitch, roll = np.moveaxis(np.deg2rad(np.asarray(pose, np.float64)), -1, 0)
    zero, one = np.zeros_like(yaw), np.ones_like(yaw)

    def matrix(*rows: tuple[NDArray[np.float64], ...]) -> NDArray[np.float64]:
        return np.stack([np.stack(row, -1) for row in rows], -2)

    c, s = np.cos(yaw), np.sin(yaw)
    ry = matrix((c, zero, s), (zero, one, zero), (-s, zero, c))
    c, s = np.cos(-pitch), np.sin(-pitch)
    rx = matrix((one, zero, zero), (zero, c, -s), (zero, s, c))
    c, s = np.cos(-roll), np.sin(-roll)
    rz = matrix((c, -s, zero), (s, c, zero), (zero, zero, one))
    result: NDArray[np.float64] = ry @ rx @ rz
    return result


def pose_from_rotation(rotation: ArrayLike) -> NDArray[np.float64]:
    """Inverse of `rotation_from_pose` for (..., 3, 3): yaw and roll in (-180, 180], pitch in [-90, 90].

    >>> pose_from_rotation(rotation_from_pose([40, -10, 5])).round(6).tolist()
    [40.0, -10.0, 5.0]
    """
    R = np.asarray(rotation, np.float64)
    # R[1] = (-cos p sin r, cos p cos r, sin p) ; R[:, 2] = (sin y cos p, sin p, cos y cos p)
    pitch = np.arcsin(np.clip(R[..., 1, 2], -1, 1))
    yaw = np.arctan2(R[..., 0, 2], R[..., 2, 2])
    roll = np.arctan2(-R[..., 1, 0], R[..., 1, 1])
    result: NDArray[np.float64] = np.rad2deg(np.stack([yaw, pitch, roll], -1))
    return result
