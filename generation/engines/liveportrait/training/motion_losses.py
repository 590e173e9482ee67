"""Losses of the motion extractor's heads against exact labels.

* pose: cross-entropy over the bins and error of the expected angle, N. Ruiz, E. Chong, J. Rehg, "Fine-Grained Head Pose
  Estimation Without Keypoints", CVPRW 2018, whose bins these are (LivePortrait's bin i is centred on 3 i − 97.5°);
* guide: keypoints of eyes and lips follow landmarks, by the wing loss (Z.-H. Feng et al., CVPR 2018), as L_guide of
  J. Guo et al., "LivePortrait", arXiv 2407.03168, section 3.2;
* canonical: a person's canonical keypoints are the same in all frames (T.-C. Wang, A. Mallya, M.-Y. Liu, "One-Shot
  Free-View Neural Talking-Head Synthesis", CVPR 2021, defines them so);
* rest: no expression where the face is at rest, L_Δ of the same, on neutral frames only;
* keep: warping and generator do not change here, so canonical keypoints stay near those that they were taught with, of
  the network that the training began as.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from thermvision.annotations.errors import UsageError
from thermvision.generation.engines.liveportrait.driving import EYE_POINTS, LIP_POINTS
from thermvision.generation.engines.liveportrait.keypoints import (
    NUM_KEYPOINTS,
    POSE_BINS,
    MotionInfo,
    headpose_degrees,
    transform_keypoints,
)

ANGLES = ("pitch", "yaw", "roll")
BIN, FIRST_EDGE = 3.0, -99.0  # degrees; LivePortrait's first bin is centred on -97.5
# Feng et al. use w = 10 and ε = 2 pixels on faces of 256 pixels; here in halves of the crop
WING, WING_CURVATURE = 10 / 128, 2 / 128
_EYE_LANDMARKS, _LIP_LANDMARKS = range(36, 48), range(48, 68)


@dataclass(frozen=True)
class MotionWeights:
    """How much each loss counts; 0 leaves it out.

    Raises:
        UsageError: a weight below 0 or not finite.
    """

    bins: float = 0.1
    angles: float = 1.0
    guide: float = 10.0
    canonical: float = 1.0
    rest: float = 1.0
    keep: float = 1.0

    def __post_init__(self) -> None:
        for f in fields(self):
            if not 0 <= (value := getattr(self, f.name)) < float("inf"):
                raise UsageError(f"weight of {f.name} is {value}; allowed: 0 or more")


@dataclass(frozen=True, eq=False)
class Guide:
    """Which landmark each guided keypoint follows, and where it sits beside it.

    Attributes:
        keypoints: (G,) int64 of 21.
        landmarks: (G,) int64 of 68.
        offsets: (G, 2) float32, keypoint less landmark in crop units.
    """

    keypoints: Tensor
    landmarks: Tensor
    offsets: Tensor

    def to(self, device: torch.device) -> Guide:
        """The same on another device."""
        return Guide(self.keypoints.to(device), self.landmarks.to(device), self.offsets.to(device))


def match_guide(placed: NDArray[np.floating], landmarks: NDArray[np.floating]) -> Guide:
    """The guide that a network's own keypoints suggest.

    Which keypoint sits where is not published. Each one of the eyes and lips is given the landmark, of eyes or lips,
    beside which it moves least, and keeps the median distance to it: what warping and generator know stays in place.

    Args:
        placed: (N, 21, 2 or 3) keypoints of the starting network, crop units.
        landmarks: (N, 68, 2) crop units.
    """
    groups = ((EYE_POINTS, _EYE_LANDMARKS), (LIP_POINTS, _LIP_LANDMARKS))
    found: list[tuple[int, int, NDArray[np.floating]]] = []
    for keypoints, candidates in groups:
        for k in keypoints:
            apart = placed[:, k, None, :2] - landmarks[:, list(candidates)]
            middle = np.median(apart, axis=0)
            least = int(np.abs(apart - middle).sum(-1).mean(0).argmin())
            found.append((k, candidates[least], middle[least]))
    ks, marks, offsets = zip(*found, strict=True)
    return Guide(torch.tensor(ks), torch.tensor(marks), torch.tensor(np.array(offsets), dtype=torch.float32))


def motion_info(heads: Mapping[str, Tensor]) -> MotionInfo:
    """The motion extractor's answer with angles in degrees; gradients pass."""
    angles = {name: headpose_degrees(heads[name].float())[:, None] for name in ANGLES}
    points = {name: heads[name].float().unflatten(1, (NUM_KEYPOINTS, 3)) for name in ("kp", "exp")}
    return MotionInfo(scale=heads["scale"].float(), t=heads["t"].float(), **points, **angles)


def angle_bins(degrees: Tensor) -> Tensor:
    """The bin (…,) int64 of each angle.

    >>> angle_bins(torch.tensor([-97.5, 0.1, 97.5])).tolist()
    [0, 33, 65]
    """
    return ((degrees - FIRST_EDGE) / BIN).floor().long().clamp(0, POSE_BINS - 1)


def wing(distance: Tensor) -> Tensor:
    """Wing loss, element by element: w·ln(1 + |x|/ε) below w, |x| less a constant beyond.

    >>> x = torch.tensor([0.0, WING, 2 * WING])
    >>> [round(v, 4) for v in wing(x).tolist()]
    [0.0, 0.14, 0.2181]
    """
    size = distance.abs()
    bend = WING * torch.log1p(torch.tensor(WING / WING_CURVATURE))
    return torch.where(size < WING, WING * torch.log1p(size / WING_CURVATURE), size - WING + bend)


def guide_distance(info: MotionInfo, landmarks: Tensor, guide: Guide) -> Tensor:
    """(B, G, 2) how far guided keypoints are from where their landmarks (B, 68, 2) want them."""
    placed = transform_keypoints(info)[:, guide.keypoints, :2]
    return placed - (landmarks[:, guide.landmarks] + guide.offsets)


def canonical_spread(kp: Tensor, person: Tensor) -> Tensor:
    """Mean distance, by coordinate, of canonical keypoints (B, 21, 3) from the mean of their person (B,).

    >>> kp = torch.zeros(4, 21, 3)
    >>> kp[1] = 1
    >>> canonical_spread(kp, torch.tensor([5, 5, 2, 2])).item()
    0.25
    """
    same = (person[:, None] == person[None]).to(kp.dtype)
    mean = torch.einsum("ab,bkc->akc", same / same.sum(1, keepdim=True), kp)
    return (kp - mean).abs().mean()


def motion_losses(
    heads: Mapping[str, Tensor],
    start: Mapping[str, Tensor],
    batch: Mapping[str, Tensor],
    guide: Guide,
    weights: MotionWeights,
) -> dict[str, Tensor]:
    """The weighted losses of a batch.

    Args:
        heads: of the network in training.
        start: of the network it began as, on the same crops.
        batch: ``angles`` (B, 3) pitch, yaw, roll in degrees; ``landmarks`` (B, 68, 2) crop units; ``person`` (B,);
            ``neutral`` (B,) bool.
        guide: which keypoints follow which landmarks.
        weights: of the losses.
    """
    info = motion_info(heads)
    truth = batch["angles"]
    found = torch.cat([info.pitch, info.yaw, info.roll], dim=1)
    entropies = [F.cross_entropy(heads[name].float(), angle_bins(truth[:, i])) for i, name in enumerate(ANGLES)]
    neutral = batch["neutral"].to(info.exp.dtype)
    rest = (info.exp.abs().mean((1, 2)) * neutral).sum() / neutral.sum().clamp(min=1)
    losses = {
        "bins": torch.stack(entropies).mean(),
        "angles": F.smooth_l1_loss(found / BIN, truth / BIN),
        "guide": wing(guide_distance(info, batch["landmarks"], guide)).mean(),
        "canonical": canonical_spread(info.kp, batch["person"]),
        "rest": rest,
        "keep": F.l1_loss(heads["kp"].float(), start["kp"].float()),
    }
    return {name: getattr(weights, name) * loss for name, loss in losses.items() if getattr(weights, name) > 0}


def motion_figures(heads: Mapping[str, Tensor], batch: Mapping[str, Tensor], guide: Guide) -> dict[str, float]:
    """Mean errors: of angles in degrees, of guided keypoints, spread of canonical ones, and expression at rest."""
    info = motion_info(heads)
    degrees = (torch.cat([info.pitch, info.yaw, info.roll], dim=1) - batch["angles"]).abs().mean(0)
    figures = {f"{name} error, degrees": float(degrees[i]) for i, name in enumerate(ANGLES)}
    figures["head pose error, degrees"] = float(degrees.mean())
    distance = guide_distance(info, batch["landmarks"], guide).norm(dim=-1).mean()
    figures["guided keypoints error, crop units"] = float(distance)
    figures["canonical keypoints spread, crop units"] = float(canonical_spread(info.kp, batch["person"]))
    if bool(batch["neutral"].any()):
        figures["expression at rest, crop units"] = float(info.exp[batch["neutral"]].abs().mean())
    return figures
