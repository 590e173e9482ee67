"""The generator: paints the picture from the warped features, which steer every norm (SPADE, Park et al. 2019).

The public checkpoints hold spectrally normed weights; they are folded when read (`checkpoint.fold_spectral`), so that
the convolutions here are plain ones.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from thermvision.generation.engines.liveportrait.layers import PUBLISHED, Widths

SLOPE = 0.2
UPSCALE = 2  # of the pixel shuffle


class SpadeNorm(nn.Module):
    """Instance norm of ``x`` whose scale and shift at each pixel come from ``label``."""

    def __init__(self, channels: int, widths: Widths) -> None:
        super().__init__()
        self.mlp_shared = nn.Sequential(nn.Conv2d(widths.label, widths.modulation, 3, padding=1))
        self.mlp_gamma = nn.Conv2d(widths.modulation, channels, 3, padding=1)
        self.mlp_beta = nn.Conv2d(widths.modulation, channels, 3, padding=1)

    def forward(self, x: Tensor, label: Tensor) -> Tensor:
        """``x`` (B, C, H, W), ``label`` (B, L, H, W) already of the same size."""
        steer = F.relu(self.mlp_shared(label))
        return F.instance_norm(x, eps=1e-5) * (1 + self.mlp_gamma(steer)) + self.mlp_beta(steer)


class SpadeBlock(nn.Module):
    """Residual block; where the channels change the shortcut has a norm and a convolution but no activation."""

    def __init__(self, inputs: int, outputs: int, widths: Widths) -> None:
        super().__init__()
        middle = min(inputs, outputs)
        self.conv_0 = nn.Conv2d(inputs, middle, 3, padding=1)
        self.conv_1 = nn.Conv2d(middle, outputs, 3, padding=1)
        self.norm_0 = SpadeNorm(inputs, widths)
        self.norm_1 = SpadeNorm(middle, widths)
        self.shortcut = inputs != outputs
        if self.shortcut:
            self.conv_s = nn.Conv2d(inputs, outputs, 1, bias=False)
            self.norm_s = SpadeNorm(inputs, widths)

    def forward(self, x: Tensor, label: Tensor) -> Tensor:
        if label.shape[2:] != x.shape[2:]:
            label = F.interpolate(label, size=x.shape[2:], mode="nearest")
        y = self.conv_0(F.leaky_relu(self.norm_0(x, label), SLOPE))
        y = self.conv_1(F.leaky_relu(self.norm_1(y, label), SLOPE))
        short: Tensor = self.conv_s(self.norm_s(x, label)) if self.shortcut else x
        return short + y


class SpadeGenerator(nn.Module):
    """Warped features (B, 256, h, w) to RGB (B, 3, 8h, 8w) in 0 to 1."""

    def __init__(self, widths: Widths = PUBLISHED) -> None:
        super().__init__()
        middle, first, last = widths.painted
        self.fc = nn.Conv2d(widths.label, middle, 3, padding=1)
        self.middle = [f"G_middle_{i}" for i in range(widths.paint_blocks)]
        for name in self.middle:
            self.add_module(name, SpadeBlock(middle, middle, widths))
        self.up_0 = SpadeBlock(middle, first, widths)
        self.up_1 = SpadeBlock(first, last, widths)
        self.conv_img = nn.Sequential(nn.Conv2d(last, 3 * UPSCALE**2, 3, padding=1))

    def logits(self, feature: Tensor) -> Tensor:
        """The picture before its sigmoid, where an overflow still shows."""
        x = self.fc(feature)
        for name in self.middle:
            x = self.get_submodule(name)(x, feature)
        for block in (self.up_0, self.up_1):
            x = block(F.interpolate(x, scale_factor=2, mode="nearest"), feature)
        return F.pixel_shuffle(self.conv_img(F.leaky_relu(x, SLOPE)), UPSCALE)

    def forward(self, feature: Tensor) -> Tensor:
        return torch.sigmoid(self.logits(feature))
