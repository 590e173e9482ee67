"""Head pose and the 21 implicit keypoints: from the motion extractor's numbers to points in space.

Keypoints are rows: x right, y down, z away from the camera, in halves of the 256 × 256 crop. Formulas and constants are
LivePortrait's (https://github.com/KwaiVGI/LivePortrait, MIT, at commit 1986663; its head pose bins are Hopenet's).
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import Tensor

NUM_KEYPOINTS = 21
POSE_BINS = 66
_DEGREES_PER_BIN, _FIRST_BIN = 3.0, -97.5  # Hopenet itself starts at -99


@dataclass(frozen=True)
class MotionInfo:
    """What the motion extractor tells of B crops, float32 on one device.

    Attributes:
        kp: (B, 21, 3) canonical keypoints of the head, without pose and expression.
        exp: (B, 21, 3) what the expression adds to them after they are turned.
        scale: (B, 1) size of the head in the crop.
        t: (B, 3) shift; its z is never used.
        pitch: (B, 1) degrees about x.
        yaw: (B, 1) degrees about y.
        roll: (B, 1) degrees about z.
    """

    kp: Tensor
    exp: Tensor
    scale: Tensor
    t: Tensor
    pitch: Tensor
    yaw: Tensor
    roll: Tensor

    def __len__(self) -> int:
        return len(self.kp)

    def __getitem__(self, which: slice) -> MotionInfo:
        """The crops of ``which``, a slice."""
        return MotionInfo(**{f.name: getattr(self, f.name)[which] for f in fields(self)})

    def to(self, device: torch.device | str) -> MotionInfo:
        """The same on another device."""
        return MotionInfo(**{f.name: getattr(self, f.name).to(device) for f in fields(self)})


def headpose_degrees(logits: Tensor) -> Tensor:
    """Degrees (B,) of logits (B, 66): three times the mean bin by the softmax of the logits, less 97.5.

    Anything whose last dimension is not 66 is in degrees already and comes back as it is.

    >>> headpose_degrees(torch.zeros(1, 66)).item()
    0.0
    """
    if logits.ndim < 2 or logits.shape[-1] != POSE_BINS:
        return logits
    bins = torch.arange(POSE_BINS, dtype=logits.dtype, device=logits.device)
    return (logits.softmax(-1) * bins).sum(-1) * _DEGREES_PER_BIN + _FIRST_BIN


def rotation_matrix(pitch: Tensor, yaw: Tensor, roll: Tensor) -> Tensor:
    """Rotations (B, 3, 3) for ``keypoints @ R``, ``R = (Rz(roll) · Ry(yaw) · Rx(pitch))ᵀ``, of degrees (B, 1) or (B,).

    >>> turn = rotation_matrix(torch.tensor([10.0]), torch.tensor([20.0]), torch.tensor([30.0]))
    >>> [round(v, 5) for v in turn[0, 0].tolist()]
    [0.8138, 0.46985, -0.34202]
    """
    x, y, z = (torch.deg2rad(a.reshape(-1)) for a in (pitch, yaw, roll))
    cx, cy, cz = x.cos(), y.cos(), z.cos()
    sx, sy, sz = x.sin(), y.sin(), z.sin()
    rows = (
        (cy * cz, cy * sz, -sy),
        (sx * sy * cz - cx * sz, sx * sy * sz + cx * cz, sx * cy),
        (cx * sy * cz + sx * sz, cx * sy * sz - sx * cz, cx * cy),
    )
    return torch.stack([torch.stack(row, -1) for row in rows], -2)


def place_keypoints(kp: Tensor, exp: Tensor, scale: Tensor, t: Tensor, rotation: Tensor) -> Tensor:
    """Keypoints ``scale · (kp @ R + exp) + (tx, ty, 0)``, (B, 21, 3); leading dimensions of 1 are spread over B."""
    shift = torch.cat([t[..., :2], torch.zeros_like(t[..., :1])], -1)
    return scale[..., None] * (kp @ rotation + exp) + shift[..., None, :]


def transform_keypoints(info: MotionInfo) -> Tensor:
    """The keypoints (B, 21, 3) of crops: canonical ones turned, with their expression, scaled and shifted."""
    return place_keypoints(
        info.kp, info.exp, info.scale, info.t, rotation_matrix(info.pitch, info.yaw, info.roll).to(info.kp.dtype)
    )
