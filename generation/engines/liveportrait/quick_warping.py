"""The warping for drawing only: the same function of the same weights as `warping`, in fewer operations.

* Volumes are channels last, batch norms folded, and convolutions by tiles where that pays (`tiled`).
* A keypoint's field is the identity moved by one vector, so sampling by it falls apart into a matrix for each axis,
  and so does a heatmap into a line for each.
* The occlusion map has one channel of thousands: the taps' sums over channels and planes come first, as one product of
  matrices, then they are laid over each other.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from torch.nn.utils.fusion import fuse_conv_bn_weights

from thermvision.generation.engines.liveportrait.keypoints import NUM_KEYPOINTS
from thermvision.generation.engines.liveportrait.tiled import Conv
from thermvision.generation.engines.liveportrait.warping import (
    LEAK,
    VARIANCE,
    Hourglass,
    SourceFeatures,
    WarpingModule,
    identity_grid,
    sample,
)


def folded(conv: nn.Module, norm: nn.Module, dtype: torch.dtype) -> Conv:
    """One convolution for a convolution and its batch norm, computed in float64."""
    stored: list[Any] = [conv.weight, conv.bias, norm.running_mean, norm.running_var, norm.weight, norm.bias]
    kernel, offset, mean, variance, scale, shift = (part.double() for part in stored)
    weight, bias = fuse_conv_bn_weights(kernel, offset, mean, variance, float(norm.eps), scale, shift)  # type: ignore[arg-type]
    return Conv(weight.detach(), bias.detach(), dtype)


def shifted(volume: Tensor, shift: Tensor) -> Tensor:
    """``volume`` (1 or N, C, D, H, W) sampled by the identity moved by ``shift`` (N, K, 3): (N, K, C, D, H, W).

    As `warping.sample` does it: weights fall off linearly to the neighbours, outside there are zeros.
    """
    moved: Tensor | None = None
    for axis, size in enumerate(reversed(volume.shape[2:])):
        line = 2 * torch.arange(size, dtype=volume.dtype, device=volume.device) / max(size - 1, 1) - 1
        places = ((line + shift[..., axis, None] + 1) * size - 1) / 2  # N × K × size
        weights = (1 - (places[..., None] - torch.arange(size, device=volume.device)).abs()).clamp(min=0)
        if axis == 0:
            moved = torch.einsum("ncdhw,nkxw->nkcdhx", volume.expand(len(shift), -1, -1, -1, -1), weights)
        elif axis == 1:
            moved = torch.einsum("nkcdhx,nkyh->nkcdyx", moved, weights)
        else:
            moved = torch.einsum("nkcdyx,nkzd->nkczyx", moved, weights)
    assert moved is not None
    return moved


def heat(size: torch.Size, keypoints: Tensor) -> Tensor:
    """`warping.heatmaps` (N, 21, D, H, W) of keypoints (N, 21, 3) on the identity of ``size`` (D, H, W)."""
    lines = []
    for axis, count in enumerate(reversed(size)):
        line = 2 * torch.arange(count, dtype=keypoints.dtype, device=keypoints.device) / max(count - 1, 1) - 1
        lines.append(torch.exp(-((line - keypoints[..., axis, None]) ** 2) / (2 * VARIANCE)))
    x, y, z = lines
    return z[..., None, None] * (y[..., None] * x[..., None, :])[:, :, None]


class QuickHourglass:
    def __init__(self, hourglass: Hourglass, dtype: torch.dtype) -> None:
        self.down = [folded(block.conv, block.norm, dtype) for block in hourglass.encoder.down_blocks]  # type: ignore[arg-type]
        self.up = [folded(block.conv, block.norm, dtype) for block in hourglass.decoder.up_blocks]  # type: ignore[arg-type]
        self.last = folded(hourglass.decoder.conv, hourglass.decoder.norm, dtype)

    def __call__(self, x: Tensor) -> Tensor:
        """(N, D, H, W, C) to (N, D, H, W, O)."""
        levels = [x]
        for conv in self.down:
            planes = conv(levels[-1]).relu_().flatten(0, 1).movedim(-1, 1)
            levels.append(F.avg_pool2d(planes, 2).movedim(1, -1).unflatten(0, x.shape[:2]))
        x = levels[-1]
        for conv, skip in zip(self.up, levels[-2::-1], strict=True):
            planes = F.interpolate(x.flatten(0, 1).movedim(-1, 1), scale_factor=2, mode="nearest")
            y = conv(planes.movedim(1, -1).unflatten(0, x.shape[:2])).relu_()
            x = torch.cat([y, skip], dim=-1)
        return self.last(x).relu_()


class QuickWarping:
    """`WarpingModule.warp` of a warping module whose weights change no more."""

    def __init__(self, warping: WarpingModule, dtype: torch.dtype) -> None:
        dense = warping.dense_motion_network
        self.dtype = dtype
        self.hourglass = QuickHourglass(dense.hourglass, dtype)
        assert dense.mask.bias is not None
        self.mask = Conv(dense.mask.weight, dense.mask.bias, dtype)
        taps = dense.occlusion.weight[0].unflatten(0, (dense.hourglass.out_channels, -1))  # C, D, k, k
        self.taps = taps.flip(2, 3).flatten(2).transpose(0, 1).to(dtype).contiguous()  # D, C, k²
        self.reach, self.offset = taps.shape[-1], dense.occlusion.bias
        self.third = folded(warping.third.conv, warping.third.norm, dtype)
        fourth = warping.fourth
        self.weight, self.bias = fourth.weight.flatten(1).to(dtype), fourth.bias
        if self.bias is not None:
            self.bias = nn.Parameter(self.bias.to(dtype), requires_grad=False)

    def warp(self, source: SourceFeatures, kp_source: Tensor, kp_driving: Tensor) -> dict[str, Tensor]:
        """Frames of one source (B = 1) or of one source each: ``out``, ``occlusion_map`` and ``deformation``."""
        count, size = len(kp_driving), source.volume.shape[2:]
        shift = kp_source - kp_driving
        moved = shifted(source.compressed, shift)
        warmth = heat(size, kp_driving) - (heat(size, kp_source) if source.heat is None else source.heat)
        still = torch.cat([torch.zeros_like(source.unmoved[:, :1]), source.unmoved], dim=1).unsqueeze(1)
        seen = torch.cat([still.expand(count, -1, -1, -1, -1, -1), torch.cat([warmth.unsqueeze(2), moved], 2)], dim=1)

        hidden = self.hourglass(seen.flatten(1, 2).to(self.dtype).movedim(1, -1).contiguous())
        mask = self.mask(hidden).to(shift.dtype).softmax(dim=-1)
        deformation = identity_grid(size, source.volume) + mask[..., 1:] @ shift.view(count, 1, 1, NUM_KEYPOINTS, 3)
        occlusion = self._occlusion(hidden).to(shift.dtype).sigmoid()

        warped = sample(source.volume.expand(count, -1, -1, -1, -1), deformation)
        planes = warped.flatten(1, 2).to(self.dtype).movedim(1, -1)
        out = F.linear(F.leaky_relu(self.third(planes), LEAK), self.weight, self.bias)
        out = out * occlusion.movedim(1, -1).to(self.dtype)
        return {"out": out.movedim(-1, 1), "occlusion_map": occlusion, "deformation": deformation}

    def _occlusion(self, hidden: Tensor) -> Tensor:
        """(N, 1, H, W) of (N, D, H, W, C) before the sigmoid."""
        sums = (hidden.flatten(2, 3) @ self.taps).sum(dim=1, dtype=torch.float32)
        laid = F.fold(sums.transpose(1, 2), hidden.shape[2:4], self.reach, padding=self.reach // 2)
        return laid if self.offset is None else laid + self.offset.view(-1, 1, 1)
