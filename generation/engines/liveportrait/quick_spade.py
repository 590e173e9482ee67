"""The generator for drawing only: the same function of the same weights as `spade`, in fewer operations.

* Pictures are channels last, convolutions by tiles (`tiled`).
* The shared convolutions of all norms that see the same label are one, and so are each norm's scale and shift.
* A convolution of an enlarged label is one of the label itself with a kernel for each place within an enlarged pixel;
  places inside, away from the pixel's edges, are equal and computed once.
* An instance norm does not mind enlarging, so it comes first; the two norms of an up block's input share it.
* The shortcut's 1 × 1 convolution is multiplied into the kernel of its norm's shift.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from thermvision.generation.engines.liveportrait.spade import SLOPE, UPSCALE, SpadeBlock, SpadeGenerator, SpadeNorm
from thermvision.generation.engines.liveportrait.tiled import Conv, gathered

Strips = Iterator[tuple[slice, slice, Tensor]]


def places(factor: int) -> tuple[Tensor, list[int]]:
    """How a kernel of 3 falls on a line enlarged ``factor`` times, by the place within an enlarged pixel.

    Returns float64 (P, 3 of the small line, 3 of the kernel), and which of these each of ``factor`` places has.

    >>> falls, kinds = places(4)
    >>> kinds, falls[0].tolist()
    ([0, 1, 1, 2], [[1.0, 0.0, 0.0], [0.0, 1.0, 1.0], [0.0, 0.0, 0.0]])
    """
    kinds = [0] + [1] * (factor - 2) + [min(factor - 1, 2)]
    falls = torch.zeros(max(kinds) + 1, 3, 3, dtype=torch.float64)
    for place, kind in enumerate(kinds):
        for tap in range(3):
            falls[kind, (place + tap - 1) // factor + 1, tap] = 1
    return falls, kinds


class Steering:
    """What norms derive from one label before scale and shift part, at ``factor`` times its size."""

    def __init__(self, norms: Sequence[SpadeNorm], factor: int, dtype: torch.dtype) -> None:
        convs: list[nn.Conv2d] = [norm.mlp_shared[0] for norm in norms]  # type: ignore[misc]
        weight, bias = torch.cat([conv.weight for conv in convs]), torch.cat([_bias(conv) for conv in convs])
        self.factor, self.count = factor, len(norms)
        if factor > 1:
            falls, self.kinds = places(factor)
            falls = falls.to(weight.device)
            weight = torch.einsum("pat,qbu,octu->pqocab", falls, falls, weight.double()).flatten(0, 2)
            bias = bias.repeat(len(falls) ** 2)
        self.conv = Conv(weight, bias, dtype)

    def __call__(self, label: Tensor) -> list[Tensor]:
        """Of ``label`` (B, h, w, L) for each norm (B, fh, fw, M)."""
        shared = self.conv(label).relu_()
        if self.factor == 1:
            return list(shared.chunk(self.count, dim=-1))
        batch, height, width, _ = shared.shape
        kinds = max(self.kinds) + 1
        shared = shared.view(batch, height, width, kinds, kinds, self.count, -1)
        result = []
        for norm in range(self.count):
            steer = shared.new_empty(batch, height, self.factor, width, self.factor, shared.shape[-1])
            for row, upper in enumerate(self.kinds):
                for column, left in enumerate(self.kinds):
                    steer[:, :, row, :, column] = shared[:, :, :, upper, left, norm]
            result.append(steer.flatten(3, 4).flatten(1, 2))
        return result


class Modulation:
    """A norm's scale and shift by its steering, for pictures whose instance norm is taken."""

    def __init__(self, norm: SpadeNorm, dtype: torch.dtype, shortcut: nn.Conv2d | None = None) -> None:
        gamma, beta = norm.mlp_gamma, norm.mlp_beta
        shift, offset = beta.weight.double(), _bias(beta).double()
        self.last: Tensor | None = None
        if shortcut is not None:
            last = shortcut.weight.double().flatten(1)
            shift, offset = torch.einsum("oc,cmab->omab", last, shift), last @ offset
            self.last = last.T.to(dtype)
        self.channels = gamma.out_channels
        weight = torch.cat([gamma.weight.double(), shift])
        self.conv = Conv(weight, torch.cat([1 + _bias(gamma).double(), offset]), dtype)

    def strips(self, x: Tensor, steer: Tensor) -> Strips:
        """Of x (B, H, W, C); with a shortcut (B, H, W, O)."""
        for image, rows, y in self.conv.strips(steer):
            scale, shift = y[..., : self.channels], y[..., self.channels :]
            if self.last is None:
                yield image, rows, F.leaky_relu_(torch.addcmul(shift, x[image, rows], scale), SLOPE)
            else:
                yield image, rows, scale.mul(x[image, rows]) @ self.last + shift

    def __call__(self, x: Tensor, steer: Tensor) -> Tensor:
        return gathered(self.strips(x, steer), x)


class QuickBlock:
    def __init__(self, block: SpadeBlock, dtype: torch.dtype) -> None:
        self.conv_0, self.conv_1 = _conv(block.conv_0, dtype), _conv(block.conv_1, dtype)
        self.norm_0, self.norm_1 = Modulation(block.norm_0, dtype), Modulation(block.norm_1, dtype)
        self.norm_s = Modulation(block.norm_s, dtype, block.conv_s) if block.shortcut else None

    def __call__(self, x: Tensor, steers: Sequence[Tensor], factor: int = 1) -> Tensor:
        """``x`` (B, h, w, C), which is enlarged ``factor`` times first."""
        normed = _enlarged(_normed(x), factor)
        y = _normed(self.conv_0(self.norm_0(normed, steers[0])))
        y = self.conv_1(self.norm_1(y, steers[1]))
        return y.add_(_enlarged(x, factor) if self.norm_s is None else self.norm_s(normed, steers[2]))


class QuickGenerator:
    """`SpadeGenerator.logits` of a generator whose weights change no more."""

    def __init__(self, spade: SpadeGenerator, dtype: torch.dtype) -> None:
        middle = [spade.get_submodule(name) for name in spade.middle]
        self.fc = _conv(spade.fc, dtype)
        self.middle = [QuickBlock(block, dtype) for block in middle]  # type: ignore[arg-type]
        self.steering = Steering([norm for block in middle for norm in _norms(block)], 1, dtype)
        self.up = [QuickBlock(block, dtype) for block in (spade.up_0, spade.up_1)]
        self.up_steering = [Steering(_norms(block), 2 << i, dtype) for i, block in enumerate((spade.up_0, spade.up_1))]
        self.conv_img = _conv(spade.conv_img[0], dtype)  # type: ignore[arg-type]

    def logits(self, feature: Tensor) -> Tensor:
        """The picture (B, 3, 8h, 8w) of warped features (B, L, h, w), before its sigmoid."""
        label = feature.movedim(1, -1).contiguous()
        x = self.fc(label)
        steers = self.steering(label)
        for i, block in enumerate(self.middle):
            x = block(x, steers[2 * i : 2 * i + 2])
        for block, steering in zip(self.up, self.up_steering, strict=True):
            x = block(x, steering(label), 2)
        return F.pixel_shuffle(self.conv_img(F.leaky_relu(x, SLOPE)).movedim(-1, 1), UPSCALE)


def _norms(block: nn.Module) -> list[SpadeNorm]:
    return [module for module in block.children() if isinstance(module, SpadeNorm)]


def _conv(conv: nn.Conv2d, dtype: torch.dtype) -> Conv:
    return Conv(conv.weight, _bias(conv), dtype)


def _bias(conv: nn.Conv2d) -> Tensor:
    assert conv.bias is not None
    return conv.bias


def _normed(x: Tensor) -> Tensor:
    return F.instance_norm(x.movedim(-1, 1), eps=1e-5).movedim(1, -1)


def _enlarged(x: Tensor, factor: int) -> Tensor:
    if factor == 1:
        return x
    return F.interpolate(x.movedim(-1, 1), scale_factor=factor, mode="nearest").movedim(1, -1)
