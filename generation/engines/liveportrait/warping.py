"""The warping module: dense motion from keypoints, and the feature volume moved by it.

Coordinates of sampling fields are (x, y, z) along (W, H, D), −1 and 1 at the first and the last sample. They are read
by ``grid_sample`` with ``align_corners=False``, which takes −1 and 1 for the outer edges: so even the identity zooms a
little. The checkpoints were trained with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from thermvision.generation.engines.liveportrait.keypoints import NUM_KEYPOINTS
from thermvision.generation.engines.liveportrait.layers import (
    PUBLISHED,
    ConvNorm,
    Widths,
    channels_to_planes,
    planes_to_channels,
)

FIELDS = NUM_KEYPOINTS + 1  # the identity first, then one a keypoint
VARIANCE = 0.01  # of a keypoint's heatmap
LEAK = 0.01


@dataclass(frozen=True)
class SourceFeatures:
    """All of the warping that depends on the source alone, float32.

    Attributes:
        volume: (B, C, D, H, W) of the appearance extractor.
        compressed: (B, c, D, H, W), the few channels that the dense motion warps.
        unmoved: (B, c, D, H, W), these sampled by the identity field.
        heat: (B, 21, D, H, W) heatmaps of the source's keypoints; None until they are known.
    """

    volume: Tensor
    compressed: Tensor
    unmoved: Tensor
    heat: Tensor | None = None


def identity_grid(size: Sequence[int], like: Tensor) -> Tensor:
    """(D, H, W, 3) sampling field of the identity on ``size`` (D, H, W) cells, of the type and device of ``like``.

    >>> identity_grid((2, 3, 5), torch.zeros(()))[1, 0, :, 0].tolist()
    [-1.0, -0.5, 0.0, 0.5, 1.0]
    """
    z, y, x = (2 * torch.arange(count, dtype=like.dtype, device=like.device) / max(count - 1, 1) - 1 for count in size)
    grid = torch.meshgrid(z, y, x, indexing="ij")
    return torch.stack(grid[::-1], dim=-1)


def heatmaps(grid: Tensor, keypoints: Tensor) -> Tensor:
    """Gaussians (B, 21, D, H, W) about the keypoints (B, 21, 3) on a grid (D, H, W, 3)."""
    x, y, z = (grid[..., axis] - keypoints[:, :, None, None, None, axis] for axis in range(3))
    return torch.exp(-(x * x + y * y + z * z) / (2 * VARIANCE))


def sample(volume: Tensor, field: Tensor) -> Tensor:
    """Trilinear samples (B, C, D', H', W') of a volume (B, C, D, H, W) at a field (B, D', H', W', 3), zero outside."""
    return F.grid_sample(volume, field, mode="bilinear", padding_mode="zeros", align_corners=False)


def halve(volume: Tensor) -> Tensor:
    """Means of 2 × 2 cells in every plane of (B, C, D, H, W)."""
    planes = F.avg_pool2d(planes_to_channels(volume), 2)  # torch pools no half-precision volumes on a CPU
    return channels_to_planes(planes, volume.shape[2])


class Encoder(nn.Module):
    def __init__(self, inputs: int, channels: tuple[int, ...]) -> None:
        super().__init__()
        steps = zip((inputs, *channels), channels, strict=False)
        self.down_blocks = nn.ModuleList(ConvNorm(before, after, 3) for before, after in steps)

    def forward(self, x: Tensor) -> list[Tensor]:
        outputs = [x]
        for block in self.down_blocks:
            outputs.append(halve(F.relu(block(outputs[-1]))))
        return outputs


class Decoder(nn.Module):
    def __init__(self, inputs: int, channels: tuple[int, ...]) -> None:
        super().__init__()
        # channels of the skips, from the narrowest picture to the hourglass's own input
        skips = (*channels[-2:0:-1], inputs)
        outputs = channels[-2::-1]
        widths = [channels[-1], *(out + skip for out, skip in zip(outputs, skips, strict=True))]
        self.up_blocks = nn.ModuleList(ConvNorm(width, out, 3) for width, out in zip(widths, outputs, strict=False))
        self.conv = nn.Conv3d(widths[-1], widths[-1], 3, padding=1)
        self.norm = nn.BatchNorm3d(widths[-1])

    def forward(self, levels: list[Tensor]) -> Tensor:
        x = levels[-1]
        for block, skip in zip(self.up_blocks, levels[-2::-1], strict=True):
            x = F.relu(block(F.interpolate(x, scale_factor=(1, 2, 2), mode="nearest")))
            x = torch.cat([x, skip], dim=1)
        return F.relu(self.norm(self.conv(x)))


class Hourglass(nn.Module):
    """(B, n, D, H, W) to (B, n + last width, D, H, W); depth is never pooled."""

    def __init__(self, inputs: int, channels: tuple[int, ...]) -> None:
        super().__init__()
        self.encoder = Encoder(inputs, channels[1:])
        self.decoder = Decoder(inputs, channels)
        self.out_channels = channels[0] + inputs

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.decoder(self.encoder(x))
        return result


class DenseMotion(nn.Module):
    """Where every cell of the volume comes from, and which cells of the picture are hidden in the source."""

    def __init__(self, widths: Widths) -> None:
        super().__init__()
        self.compress = nn.Conv3d(widths.volume, widths.compressed, 1)
        self.norm = nn.BatchNorm3d(widths.compressed)
        self.hourglass = Hourglass(FIELDS * (1 + widths.compressed), widths.hourglass)
        self.mask = nn.Conv3d(self.hourglass.out_channels, FIELDS, 7, padding=3)
        self.occlusion = nn.Conv2d(self.hourglass.out_channels * widths.depth, 1, 7, padding=3)

    def forward(self, source: SourceFeatures, kp_source: Tensor, kp_driving: Tensor) -> tuple[Tensor, Tensor]:
        """Deformation (N, D, H, W, 3) and occlusion map (N, 1, H, W), float32."""
        count, depth = len(kp_driving), source.volume.shape[2]
        grid = identity_grid(source.volume.shape[2:], source.volume)
        shift = (kp_source - kp_driving)[:, :, None, None, None]  # N × 21 × 1 × 1 × 1 × 3
        fields = grid + shift
        compressed = source.compressed.expand(count, -1, -1, -1, -1)
        # all fields of a frame stacked in depth: one sampling and no copies of the volume
        moved = sample(compressed, fields.flatten(1, 2)).unflatten(2, (NUM_KEYPOINTS, depth)).transpose(1, 2)
        heat = heatmaps(grid, kp_driving) - (heatmaps(grid, kp_source) if source.heat is None else source.heat)
        still = torch.cat([torch.zeros_like(source.unmoved[:, :1]), source.unmoved], dim=1).unsqueeze(1)
        seen = torch.cat([still.expand(count, -1, -1, -1, -1, -1), torch.cat([heat.unsqueeze(2), moved], dim=2)], dim=1)

        hidden = self.hourglass(seen.flatten(1, 2).to(self.mask.weight.dtype))
        mask = self.mask(hidden).to(grid.dtype).softmax(dim=1)
        # Σ mask · (grid + shift), and a softmax's weights sum to one
        moves = torch.einsum("nkdhw,nkc->ndhwc", mask[:, 1:], shift[:, :, 0, 0, 0])
        occlusion = self.occlusion(planes_to_channels(hidden)).to(grid.dtype).sigmoid()
        return grid + moves, occlusion


class WarpingModule(nn.Module):
    """Volume (B, 32, 16, h, w) and keypoints (B, 21, 3) of source and driver to features (B, 256, h, w)."""

    def __init__(self, widths: Widths = PUBLISHED) -> None:
        super().__init__()
        self.dense_motion_network = DenseMotion(widths)
        self.third = ConvNorm(widths.volume * widths.depth, widths.label, 2)
        self.fourth = nn.Conv2d(widths.label, widths.label, 1)

    def prepare(self, feature: Tensor, kp_source: Tensor | None = None) -> SourceFeatures:
        """What a source gives to all its frames."""
        dense = self.dense_motion_network
        compressed = F.relu(dense.norm(dense.compress(feature.to(dense.compress.weight.dtype)))).to(feature.dtype)
        grid = identity_grid(feature.shape[2:], feature)
        unmoved = sample(compressed, grid.expand(len(feature), -1, -1, -1, -1))
        source = SourceFeatures(feature, compressed, unmoved)
        return source if kp_source is None else with_keypoints(source, kp_source)

    def warp(self, source: SourceFeatures, kp_source: Tensor, kp_driving: Tensor) -> dict[str, Tensor]:
        """Frames of one source (B = 1) or of one source each: ``out``, ``occlusion_map`` and ``deformation``."""
        deformation, occlusion = self.dense_motion_network(source, kp_source, kp_driving)
        volume = source.volume.expand(len(kp_driving), -1, -1, -1, -1)
        moved = planes_to_channels(sample(volume, deformation)).to(self.fourth.weight.dtype)
        out = self.fourth(F.leaky_relu(self.third(moved), LEAK)) * occlusion.to(moved.dtype)
        return {"out": out, "occlusion_map": occlusion, "deformation": deformation}

    def forward(self, feature: Tensor, kp_source: Tensor, kp_driving: Tensor) -> dict[str, Tensor]:
        return self.warp(self.prepare(feature), kp_source, kp_driving)


def with_keypoints(source: SourceFeatures, kp_source: Tensor) -> SourceFeatures:
    """``source`` with the heatmaps of its keypoints (B, 21, 3)."""
    grid = identity_grid(source.volume.shape[2:], source.volume)
    return replace(source, heat=heatmaps(grid, kp_source))
