"""Convolutions of channels-last pictures and volumes, by tiles where that saves most of the multiplications.

A tile's outputs are a bilinear form of its inputs and the kernel: both are transformed, multiplied point by point as
matrices over the channels, and transformed back. Kernels of 3 × 3 take Winograd's F(4 × 4, 3 × 3), 36 products for 16
outputs instead of 144 (Lavin and Gray 2016), at points that keep the error at 1e-6 (Alam et al. 2022); wider ones take
a discrete Fourier transform. Depth, where there is one, is summed directly. What a GPU's library or half precision does
is better left to them: `Conv.tiled` says which way a call goes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

POINTS = (0.0, 0.5**0.5, -(0.5**0.5), 2**0.5, -(2**0.5))  # and infinity
OUTPUTS = {3: 4, 7: 8}  # a tile's side by the kernel's
LEAST = 8  # side of a picture whose tiles outweigh their transformed kernels
# inputs × outputs × taps in depth that outweigh the transforms, by the kernel's side and depth
PAYS = {(3, 1): 20_000, (3, 3): 6_000, (7, 7): 20_000}
CELLS = 256  # tiles in work at a time, so that they stay in a processor's cache
BLOCK = 256  # outputs in work at a time, likewise
ROW = 16  # channels are filled up to a multiple of this, as matrix products like it


def winograd(outputs: int, kernel: int) -> tuple[Tensor, Tensor, Tensor]:
    """Transforms of tile, kernel and products in one dimension, float64.

    >>> forward, weigh, back = winograd(4, 3)
    >>> line, taps = torch.arange(6.0).double(), torch.tensor([1.0, 0, 2]).double()
    >>> (back @ ((forward @ line) * (weigh @ taps))).round().tolist()
    [4.0, 7.0, 10.0, 13.0]
    """

    def powers(count: int) -> Tensor:
        points = torch.tensor(POINTS, dtype=torch.float64)[:, None] ** torch.arange(count)
        return torch.cat([points, torch.eye(count, dtype=torch.float64)[-1:]])

    forward = torch.linalg.inv(powers(outputs + kernel - 1)).T
    scale = forward.abs().amax(dim=1, keepdim=True)
    return forward / scale, powers(kernel) * scale, powers(outputs).T


def fourier(outputs: int, kernel: int) -> tuple[Tensor, Tensor, Tensor]:
    """Transforms of tile, kernel and products in two dimensions, real: rows are the real and imaginary part of a point.

    Shapes (2P, S²), (2P, K²) and (M², 2P), float64, of a tile of S = M + K − 1 with P points.
    """
    side = outputs + kernel - 1
    half = side // 2 + 1
    wave = torch.exp(-2j * math.pi * torch.outer(torch.arange(side), torch.arange(side)).double() / side)
    points = torch.kron(wave, wave[:half])  # real input: half of them tell all
    doubled = torch.full((half,), 2.0, dtype=torch.float64)
    doubled[0] = 1
    if side % 2 == 0:
        doubled[-1] = 1
    grid = points.reshape(-1, side, side)
    back = (points.conj() * doubled.repeat(side)[:, None] / side**2).reshape(-1, side, side)[:, :outputs, :outputs]
    parts = [torch.stack([p.real, p.imag], 1).flatten(0, 1) for p in (points, grid[:, :kernel, :kernel].conj())]
    inverse = torch.stack([back.real, -back.imag], 1).flatten(0, 1)
    return parts[0], parts[1].flatten(1), inverse.flatten(1).T


class Conv:
    """A convolution of stride 1 whose picture keeps its size, zeros around it.

    Attributes:
        weight: (O, C, k, k) or (O, C, k, k, k).
        bias: (O,).
        dtype: of both, and of the pictures.
        inputs, outputs: channels.
    """

    def __init__(self, weight: Tensor, bias: Tensor, dtype: torch.dtype) -> None:
        last = torch.channels_last if weight.dim() == 4 else torch.channels_last_3d
        self.weight, self.bias = weight.detach().to(dtype, memory_format=last), bias.detach().to(dtype)
        self.outputs, self.inputs = weight.shape[:2]
        self.kernel = weight.shape[-1]
        self.deep = weight.shape[2] if weight.dim() == 5 else 1
        self.products: list[list[Tensor]] = []  # of each block of outputs

    def tiled(self, x: Tensor) -> bool:
        """Whether tiles are the quicker way for ``x`` (B, [D,] H, W, C)."""
        if x.device.type != "cpu" or x.dtype != torch.float32 or torch.compiler.is_compiling():
            return False
        pays = PAYS.get((self.kernel, self.deep))
        if pays is None or self.inputs * self.outputs * self.deep < pays:
            return False
        return all(side % OUTPUTS[self.kernel] == 0 and side >= LEAST for side in x.shape[-3:-1])

    def __call__(self, x: Tensor) -> Tensor:
        """(B, [D,] H, W, C) to (B, [D,] H, W, O)."""
        if not self.tiled(x):
            return self._plain(x)
        out = x.new_empty((*x.shape[:-1], self.outputs))
        for _ in self.strips(x, out):
            pass
        return out

    def strips(self, x: Tensor, out: Tensor | None = None) -> Iterator[tuple[slice, slice, Tensor]]:
        """The result in parts: images, rows, and (B', [D,] H', W, O); where ``out`` is given they are written there."""
        if not self.tiled(x):
            yield slice(None), slice(None), self._plain(x)
            return
        volumes = x.unsqueeze(1) if x.dim() == 4 else x
        wanted = out.unsqueeze(1) if out is not None and x.dim() == 4 else out
        for image, volume in enumerate(volumes):
            for rows, y in self._tiles(volume, None if wanted is None else wanted[image]):
                yield slice(image, image + 1), rows, y if x.dim() == 4 else y.unsqueeze(0)

    def _plain(self, x: Tensor) -> Tensor:
        conv = F.conv2d if x.dim() == 4 else F.conv3d
        y: Tensor = conv(x.movedim(-1, 1), self.weight, self.bias, padding=self.kernel // 2)
        return y.movedim(1, -1)

    def _prepare(self) -> None:
        """Transform the kernel: for each tap in depth and each part of a point (P, C, O), filled up with zeros."""
        if self.kernel == 3:
            forward, weigh, back = (torch.kron(matrix, matrix) for matrix in winograd(OUTPUTS[3], 3))
        else:
            forward, weigh, back = fourier(OUTPUTS[self.kernel], self.kernel)
        self.parts = 1 if self.kernel == 3 else 2
        self.forward, self.back = forward.float().contiguous(), back.float().contiguous()
        taps = self.weight.unsqueeze(2) if self.weight.dim() == 4 else self.weight
        for block in taps.split(BLOCK):
            products = []
            for layer in block.permute(2, 3, 4, 1, 0).flatten(1, 2):  # k², C, O
                points = (weigh.float() @ layer.flatten(1)).view(-1, self.inputs, len(block))
                real, imaginary = points[:: self.parts], points[1 :: self.parts]
                pairs = [(real,)] if self.parts == 1 else [(real, imaginary), (-imaginary, real)]
                products += [torch.cat(pair, dim=2) for pair in pairs]
            self.products.append([F.pad(p, (0, -p.shape[2] % ROW, 0, -self.inputs % ROW)) for p in products])

    def _tiles(self, x: Tensor, out: Tensor | None) -> Iterator[tuple[slice, Tensor]]:
        """Rows and (D, H', W, O) of x (D, H, W, C)."""
        if not self.products:
            self._prepare()
        depth, height, width, inputs = x.shape
        step, margin, layers = OUTPUTS[self.kernel], self.kernel // 2, self.deep // 2
        side, across = step + 2 * margin, width // step
        padded = F.pad(x, (0, -inputs % ROW, margin, margin, margin, margin, layers, layers))
        planes, inputs = len(padded), padded.shape[3]
        points, parts, outputs = len(self.forward), self.parts, self.products[0][0].shape[2]
        sizes = {
            "tiles": side**2 * planes * inputs,
            "seen": points * planes * inputs,
            "drawn": points // parts * depth * outputs,
            "back": step**2 * depth * min(self.outputs, BLOCK),
        }
        count = min(max(1, CELLS // (depth * across)), height // step)
        scratch = {name: x.new_empty(size * across * count) for name, size in sizes.items()}
        a, b, c, _ = padded.stride()
        for top in range(0, height // step, count):
            down = min(count, height // step - top)
            cells = down * across
            shape, strides = (side, side, planes, down, across, inputs), (b, c, a, step * b, step * c, 1)
            tiles = _first(scratch["tiles"], shape)
            tiles.copy_(padded.as_strided(shape, strides, padded.storage_offset() + step * top * b))
            seen = _first(scratch["seen"], (points, planes * cells * inputs))
            torch.mm(self.forward, tiles.view(side**2, -1), out=seen)
            seen = seen.view(points // parts, parts, planes * cells, inputs)
            rows = slice(step * top, step * (top + down))
            strip = x.new_empty(depth, step * down, width, self.outputs) if out is None else out[:, rows]
            grid = strip.view(depth, down, step, across, step, self.outputs)
            for products, bias, block in zip(self.products, self.bias.split(BLOCK), grid.split(BLOCK, -1), strict=True):
                drawn = _first(scratch["drawn"], (points // parts, depth * cells, products[0].shape[2]))
                for number, product in enumerate(products):
                    layer, part = divmod(number, parts)
                    slab = seen[:, part, layer * cells : (layer + depth) * cells]
                    torch.baddbmm(drawn, slab, product, beta=min(number, 1), out=drawn)
                kept = drawn[..., : parts * len(bias)].unflatten(2, (parts, len(bias))).transpose(1, 2)
                back = _first(scratch["back"], (step**2, depth * cells * len(bias)))
                torch.mm(self.back, kept.reshape(points, -1), out=back)
                back = back.view(step, step, depth, down, across, len(bias)).permute(2, 3, 0, 4, 1, 5)
                torch.add(back, bias, out=block)
            yield rows, strip


def _first(scratch: Tensor, shape: tuple[int, ...]) -> Tensor:
    return scratch[: math.prod(shape)].view(shape)


def gathered(strips: Iterator[tuple[slice, slice, Tensor]], like: Tensor) -> Tensor:
    """One tensor of all strips of a picture (B, [D,] H, W, any)."""
    out: Tensor | None = None
    for image, rows, y in strips:
        if y.shape[:-1] == like.shape[:-1]:
            return y
        if out is None:
            out = y.new_empty((*like.shape[:-1], y.shape[-1]))
        out[image, ..., rows, :, :] = y
    assert out is not None
    return out
