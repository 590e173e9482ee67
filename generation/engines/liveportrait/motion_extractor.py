"""The motion extractor: ConvNeXt V2 with seven linear heads.

The backbone is that of Woo et al., "ConvNeXt V2: Co-designing and Scaling ConvNets with Masked Autoencoders" (2023),
size Tiny.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from thermvision.generation.engines.liveportrait.keypoints import NUM_KEYPOINTS, POSE_BINS
from thermvision.generation.engines.liveportrait.layers import PUBLISHED, Widths

NORM_EPS = 1e-6  # of every layer norm; torch's default of 1e-5 shows in the sixth digit only
HEADS = {
    "kp": 3 * NUM_KEYPOINTS,
    "scale": 1,
    "pitch": POSE_BINS,
    "yaw": POSE_BINS,
    "roll": POSE_BINS,
    "t": 3,
    "exp": 3 * NUM_KEYPOINTS,
}


class ChannelNorm(nn.LayerNorm):
    """Layer norm over the channels of (B, C, H, W)."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, eps=NORM_EPS)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class ResponseNorm(nn.Module):
    """Global response normalisation of (B, H, W, C)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.zeros(1, 1, 1, channels))
        self.beta = nn.Parameter(torch.zeros(1, 1, 1, channels))

    def forward(self, x: Tensor) -> Tensor:
        energy = x.norm(p=2, dim=(1, 2), keepdim=True)
        share = energy / (energy.mean(dim=-1, keepdim=True) + 1e-6)
        return self.gamma * (x * share) + self.beta + x


class Block(nn.Module):
    """Depthwise convolution, norm, and a two-layer perceptron with exact GELU on every pixel, added to the input."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.dwconv = nn.Conv2d(channels, channels, 7, padding=3, groups=channels)
        self.norm = nn.LayerNorm(channels, eps=NORM_EPS)
        self.pwconv1 = nn.Linear(channels, 4 * channels)
        self.grn = ResponseNorm(4 * channels)
        self.pwconv2 = nn.Linear(4 * channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.dwconv(x).permute(0, 2, 3, 1))
        y = self.pwconv2(self.grn(F.gelu(self.pwconv1(y))))
        return x + y.permute(0, 3, 1, 2)


class Backbone(nn.Module):
    """ConvNeXt V2 without its classifier; its heads are linear maps of the pooled and normed features."""

    def __init__(self, widths: Widths) -> None:
        super().__init__()
        channels = widths.motion
        stem = nn.Sequential(nn.Conv2d(3, channels[0], 4, stride=4), ChannelNorm(channels[0]))
        halvings = (
            nn.Sequential(ChannelNorm(inputs), nn.Conv2d(inputs, outputs, 2, stride=2))
            for inputs, outputs in pairwise(channels)
        )
        self.downsample_layers = nn.ModuleList([stem, *halvings])
        self.stages = nn.ModuleList(
            nn.Sequential(*(Block(width) for _ in range(count)))
            for width, count in zip(channels, widths.motion_blocks, strict=True)
        )
        self.norm = nn.LayerNorm(channels[-1], eps=NORM_EPS)
        for name, outputs in HEADS.items():
            self.add_module(f"fc_{name}", nn.Linear(channels[-1], outputs))

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        x = image
        for shrink, stage in zip(self.downsample_layers, self.stages, strict=True):
            x = stage(shrink(x))
        features = self.norm(x.mean(dim=(2, 3)))
        return {name: self.get_submodule(f"fc_{name}")(features) for name in HEADS}


class MotionExtractor(nn.Module):
    """Image (B, 3, H, W) in 0 to 1, RGB, to the raw outputs of the heads.

    ``kp`` and ``exp`` (B, 63), x y z of a point together; ``scale`` (B, 1); ``t`` (B, 3); ``pitch``, ``yaw`` and
    ``roll`` (B, 66) logits of angle bins.
    """

    def __init__(self, widths: Widths = PUBLISHED) -> None:
        super().__init__()
        self.detector = Backbone(widths)

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        heads: dict[str, Tensor] = self.detector(image)
        return heads
