"""Losses of the picture that the generator paints, on pairs of frames of one clip.

Levels and gradients of the gray picture are compared at three sizes, eyes and mouth once more: the coarse-to-fine
reconstruction and the regions of face and lips in LivePortrait's training (J. Guo et al., arXiv 2407.03168, section
3.2), less its perceptual and adversarial terms, whose networks know visible light. The gradient term is that of
M. Mathieu, C. Couprie, Y. LeCun, "Deep multi-scale video prediction beyond mean square error", ICLR 2016: thermal
frames are smooth, and edges would count for little in levels alone.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from thermvision.annotations.errors import UsageError
from thermvision.generation.engines.liveportrait.networks import LUMA

SCALES = 3
_REGIONS = ((36, 42), (42, 48), (48, 68))  # landmarks of either eye and the mouth
_MARGIN = 0.06  # crop units about a region


@dataclass(frozen=True)
class DecoderWeights:
    """How much each loss counts; 0 leaves it out.

    Raises:
        UsageError: a weight below 0 or not finite.
    """

    levels: float = 1.0
    gradients: float = 2.0
    regions: float = 0.5
    gray: float = 0.5

    def __post_init__(self) -> None:
        for f in fields(self):
            if not 0 <= (value := getattr(self, f.name)) < float("inf"):
                raise UsageError(f"weight of {f.name} is {value}; allowed: 0 or more")


def luma(picture: Tensor) -> Tensor:
    """(B, 1, H, W) gray of RGB (B, 3, H, W), as `networks.to_gray` weighs it."""
    return (picture * torch.tensor(LUMA, device=picture.device, dtype=picture.dtype)[:, None, None]).sum(1, True)


def slopes(picture: Tensor) -> tuple[Tensor, Tensor]:
    """Differences of neighbours along x and y."""
    return picture[..., 1:] - picture[..., :-1], picture[..., 1:, :] - picture[..., :-1, :]


def region_mask(landmarks: Tensor, size: int) -> Tensor:
    """(B, 1, size, size) of 0 and 1: boxes about eyes and mouth of landmarks (B, 68, 2) in crop units."""
    at = 2 * (torch.arange(size, device=landmarks.device) + 0.5) / size - 1
    mask = torch.zeros(len(landmarks), size, size, device=landmarks.device)
    for first, last in _REGIONS:
        low = landmarks[:, first:last].amin(1) - _MARGIN
        high = landmarks[:, first:last].amax(1) + _MARGIN
        x, y = (((at >= low[:, None, i]) & (at <= high[:, None, i])).float() for i in (0, 1))
        mask = torch.maximum(mask, y[:, :, None] * x[:, None, :])
    return mask[:, None]


def decoder_losses(picture: Tensor, target: Tensor, landmarks: Tensor, weights: DecoderWeights) -> dict[str, Tensor]:
    """The weighted losses of RGB pictures (B, 3, H, W) in 0..1 that should be the gray ``target`` (B, 1, H, W).

    ``landmarks`` (B, 68, 2) are those of the target in crop units. ``gray`` is how far the channels differ.
    """
    drawn = luma(picture)
    mask = region_mask(landmarks, target.shape[-1])
    losses = {
        "regions": ((drawn - target).abs() * mask).sum() / mask.sum().clamp(min=1),
        "gray": (picture - drawn).abs().mean(),
        "levels": torch.zeros((), device=picture.device),
        "gradients": torch.zeros((), device=picture.device),
    }
    for _ in range(SCALES):
        losses["levels"] = losses["levels"] + F.l1_loss(drawn, target) / SCALES
        for ours, theirs in zip(slopes(drawn), slopes(target), strict=True):
            losses["gradients"] = losses["gradients"] + F.l1_loss(ours, theirs) / (2 * SCALES)
        drawn, target = F.avg_pool2d(drawn, 2), F.avg_pool2d(target, 2)
    return {name: getattr(weights, name) * loss for name, loss in losses.items() if getattr(weights, name) > 0}


def decoder_figures(picture: Tensor, target: Tensor) -> dict[str, float]:
    """Mean errors in gray levels (of 255): of the picture, of its gradients, and between its channels."""
    drawn = luma(picture)
    edges = [F.l1_loss(ours, theirs) for ours, theirs in zip(slopes(drawn), slopes(target), strict=True)]
    return {
        "picture error, gray levels": 255 * float(F.l1_loss(drawn, target)),
        "gradient error, gray levels": 255 * float(torch.stack(edges).mean()),
        "channels apart, gray levels": 255 * float((picture - drawn).abs().mean()),
    }
