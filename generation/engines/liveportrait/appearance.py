"""The appearance feature extractor: what the source looks like, as a feature volume."""

from __future__ import annotations

from collections import OrderedDict
from itertools import pairwise

from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from thermvision.generation.engines.liveportrait.layers import PUBLISHED, ConvNorm, Widths, channels_to_planes


class ResidualBlock3d(nn.Module):
    """Two convolutions, each after its own batch norm and ReLU, added to the input."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv3d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv3d(channels, channels, 3, padding=1)
        self.norm1 = nn.BatchNorm3d(channels)
        self.norm2 = nn.BatchNorm3d(channels)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv1(F.relu(self.norm1(x)))
        return x + self.conv2(F.relu(self.norm2(y)))


class AppearanceExtractor(nn.Module):
    """Image (B, 3, H, W) in 0 to 1, RGB, to a volume (B, 32, 16, H/4, W/4); no activation after the last sum."""

    def __init__(self, widths: Widths = PUBLISHED) -> None:
        super().__init__()
        self.depth = widths.depth
        self.first = ConvNorm(3, widths.appearance[0], 2)
        steps = pairwise(widths.appearance)
        self.down_blocks = nn.ModuleList(ConvNorm(inputs, outputs, 2) for inputs, outputs in steps)
        self.second = nn.Conv2d(widths.appearance[-1], widths.volume * widths.depth, 1)
        blocks = OrderedDict[str, nn.Module](
            (f"3dr{i}", ResidualBlock3d(widths.volume)) for i in range(widths.volume_blocks)
        )
        self.resblocks_3d = nn.Sequential(blocks)

    def forward(self, image: Tensor) -> Tensor:
        x = F.relu(self.first(image))
        for block in self.down_blocks:
            x = F.avg_pool2d(F.relu(block(x)), 2)
        volume: Tensor = self.resblocks_3d(channels_to_planes(self.second(x), self.depth))
        return volume
