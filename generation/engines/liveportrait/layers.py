"""Widths of the networks, and the blocks that several of them are made of.

Layer orders, shapes and constants here and in the modules of the five networks are those of KwaiVGI/LivePortrait at
1986663be3b6 (MIT licence), ``src/modules`` and ``src/config/models.yaml``. Modules are named so that ``state_dict()``
gives the keys of the public checkpoints.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn


@dataclass(frozen=True)
class Widths:
    """How wide and how deep the networks are; the defaults are the published ones.

    Attributes:
        appearance: channels after the first convolution of the appearance extractor and after each halving.
        volume: channels of the feature volume.
        depth: planes of the feature volume.
        volume_blocks: residual blocks on the feature volume.
        motion: channels of the four stages of the motion extractor.
        motion_blocks: blocks of each of these stages.
        hourglass: channels of the dense motion's last up block, then of its down blocks.
        compressed: channels of the volume that the dense motion warps.
        label: channels of the warped picture that the generator paints from.
        painted: channels of the generator's middle blocks, then of its two up blocks.
        paint_blocks: middle blocks.
        modulation: channels inside each SPADE norm.
        stitching, lip, eye: hidden layers of these three.
    """

    appearance: tuple[int, ...] = (64, 128, 256)
    volume: int = 32
    depth: int = 16
    volume_blocks: int = 6
    motion: tuple[int, ...] = (96, 192, 384, 768)
    motion_blocks: tuple[int, ...] = (3, 3, 9, 3)
    hourglass: tuple[int, ...] = (32, 64, 128, 256, 512, 1024)
    compressed: int = 4
    label: int = 256
    painted: tuple[int, int, int] = (512, 256, 64)
    paint_blocks: int = 6
    modulation: int = 128
    stitching: tuple[int, ...] = (128, 128, 64)
    lip: tuple[int, ...] = (128, 128, 64)
    eye: tuple[int, ...] = (256, 256, 128, 128, 64)


PUBLISHED = Widths()
# the same networks for tests and dry runs: a frame in a fraction of a second on one core
NARROW = Widths(
    appearance=(4, 8, 8),
    volume=4,
    depth=2,
    volume_blocks=1,
    motion=(8, 8, 16, 16),
    motion_blocks=(1, 1, 1, 1),
    hourglass=(4, 4, 8, 8, 8, 8),
    compressed=1,
    label=8,
    painted=(8, 6, 4),
    paint_blocks=1,
    modulation=4,
    stitching=(8, 8, 8),
    lip=(8, 8, 8),
    eye=(8, 8, 8, 8, 8),
)


class ConvNorm(nn.Module):
    """Convolution (kernel 3, padding 1) and batch norm, without the activation."""

    def __init__(self, inputs: int, outputs: int, dimensions: Literal[2, 3]) -> None:
        super().__init__()
        self.conv: nn.Module = (nn.Conv2d if dimensions == 2 else nn.Conv3d)(inputs, outputs, 3, padding=1)
        self.norm: nn.Module = (nn.BatchNorm2d if dimensions == 2 else nn.BatchNorm3d)(outputs)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.norm(self.conv(x))
        return result


def planes_to_channels(volume: Tensor) -> Tensor:
    """(B, C, D, H, W) to (B, C·D, H, W), all planes of a channel together."""
    return volume.flatten(1, 2)


def channels_to_planes(x: Tensor, depth: int) -> Tensor:
    """(B, C·D, H, W) to (B, C, D, H, W), the way back of `planes_to_channels`."""
    return x.unflatten(1, (-1, depth))
