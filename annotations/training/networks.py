"""The networks: one small convolutional trunk, and what each model puts upon it.

Inputs are gray pictures (N, 1, H, W) float32 in 0..255; every network brings them to zero mean and unit spread itself,
so that an exported model can be given pixels as they are.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

STRIDE = 4  # pixels of the input a cell of the detector's maps
_CALM = 8.0  # gray values added to the spread: an even picture's noise is not blown up


def conv(inputs: int, outputs: int, stride: int = 1, kernel: int = 3) -> nn.Sequential:
    """Convolution, batch normalisation, rectifier."""
    layers = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False), nn.BatchNorm2d(outputs)
    return nn.Sequential(*layers, nn.ReLU(inplace=True))


class Residual(nn.Module):
    """Two convolutions about a shortcut. K. He et al., "Deep Residual Learning", CVPR 2016."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = conv(width, width)
        self.second = nn.Sequential(nn.Conv2d(width, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width))

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + self.second(self.first(x)))


class Trunk(nn.Module):
    """Maps at strides 4, 8, 16 (and 32); ``widths`` are their channels, ``blocks`` their residual blocks."""

    def __init__(self, widths: tuple[int, ...], blocks: tuple[int, ...]) -> None:
        super().__init__()
        self.stem = nn.Sequential(conv(1, widths[0] // 2, 2), conv(widths[0] // 2, widths[0], 2))
        entries = [nn.Identity(), *(conv(a, b, 2) for a, b in pairwise(widths))]
        self.stages = nn.ModuleList(
            nn.Sequential(entry, *(Residual(width) for _ in range(count)))
            for entry, width, count in zip(entries, widths, blocks, strict=True)
        )

    def forward(self, image: Tensor) -> list[Tensor]:
        x = self.stem(evened(image))
        maps = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return maps


def evened(image: Tensor) -> Tensor:
    """Zero mean and about unit spread, each picture by itself."""
    centred = image - image.mean((2, 3), keepdim=True)
    spread = centred.square().mean((2, 3), keepdim=True).sqrt()
    return centred / (spread + _CALM)


class Pyramid(nn.Module):
    """Top-down sum of a trunk's maps to its finest one. T.-Y. Lin et al., "Feature Pyramid Networks", CVPR 2017."""

    def __init__(self, widths: tuple[int, ...], width: int) -> None:
        super().__init__()
        self.lateral = nn.ModuleList(nn.Conv2d(w, width, 1) for w in widths)
        self.smooth = nn.ModuleList(conv(width, width) for _ in widths[:-2])

    def forward(self, maps: list[Tensor]) -> Tensor:
        x = self.lateral[-1](maps[-1])
        for k in range(len(maps) - 2, -1, -1):
            x = F.interpolate(x, scale_factor=2.0, mode="nearest") + self.lateral[k](maps[k])
            if k < len(self.smooth):
                x = self.smooth[k](x)
        return x


class DetectorNet(nn.Module):
    """Faces as peaks of a map. X. Zhou et al., "Objects as Points", 2019, with distances to the box's four sides.

    Returns logits (N, h, w), distances left, top, right, bottom (N, 4, h, w) in input pixels, offsets of five points
    (N, 10, h, w) in input pixels, logit of black-hot (N,); h = H / 4, w = W / 4.
    """

    def __init__(self) -> None:
        super().__init__()
        widths = (32, 64, 96, 128)
        self.trunk = Trunk(widths, (1, 2, 2, 1))
        self.context = nn.Linear(widths[-1], widths[-1])
        self.pyramid = Pyramid(widths, 48)
        self.head = conv(48, 48)
        self.out = nn.Conv2d(48, 1 + 4 + 10, 1)
        self.polarity = nn.Linear(widths[-1], 1)
        nn.init.normal_(self.out.weight, 0, 0.01)
        first = torch.zeros(1 + 4 + 10)
        first[0], first[1:5] = -4.0, 1.5  # a face is rare, and some cells wide
        self.out.bias = nn.Parameter(first)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        maps = self.trunk(image)
        pooled = maps[-1].mean((2, 3))
        maps[-1] = maps[-1] + self.context(pooled)[:, :, None, None]
        out = self.out(self.head(self.pyramid(maps))).float()
        sides = torch.exp(out[:, 1:5].clamp(-3, 5)) * STRIDE
        # points are offsets in units of the box, so that one weight serves all sizes
        width, height = sides[:, 0:1] + sides[:, 2:3], sides[:, 1:2] + sides[:, 3:4]
        units = torch.cat([width, height] * 5, 1)
        return out[:, 0], sides, out[:, 5:] * units, self.polarity(pooled).float()[:, 0]


class LandmarkerNet(nn.Module):
    """68 landmarks as the mean of a map each, with what follows from the whole face.

    X. Sun et al., "Integral Human Pose Regression", ECCV 2018. Returns points (N, 68, 2) in pixels of a 112-pixel crop,
    log of their Laplace spread in pixels (N, 68), logits of self-occluded, object-occluded and visible (N, 68, 3), pose
    (N, 3) in degrees, openness (N, 2) of eyes and mouth.
    """

    def __init__(self) -> None:
        super().__init__()
        widths = (48, 96, 160)
        self.trunk = Trunk(widths, (1, 2, 2))
        self.pyramid = Pyramid(widths, 64)
        self.maps = nn.Conv2d(64, 68, 1)
        self.shape = nn.Linear(widths[-1], 68 * 2)  # where the maps say nothing, the face as a whole does
        self.whole = nn.Sequential(nn.Linear(widths[-1], 160), nn.ReLU(inplace=True))
        self.rest = nn.Linear(160, 68 * 4 + 3 + 2)
        self.trust = nn.Parameter(torch.full((68, 1), 3.0))
        nn.init.normal_(self.shape.weight, 0, 0.01)

    def forward(self, crop: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        maps = self.trunk(crop)
        heat = self.maps(self.pyramid(maps)).float()
        n, k, h, w = heat.shape
        share = heat.flatten(2).softmax(2).view(n, k, h, w)
        x = (share.sum(2) * (torch.arange(w, device=heat.device) + 0.5)).sum(2) * STRIDE
        y = (share.sum(3) * (torch.arange(h, device=heat.device) + 0.5)).sum(2) * STRIDE
        pooled = maps[-1].mean((2, 3)).float()
        coarse = self.shape(pooled).view(n, 68, 2) * 28 + 56
        trust = torch.sigmoid(self.trust)
        points = trust * torch.stack([x, y], 2) + (1 - trust) * coarse
        rest = self.rest(self.whole(pooled))
        state, spread = rest[:, : 68 * 3].view(n, 68, 3), rest[:, 68 * 3 : 68 * 4].clamp(-4, 4)
        return points, spread, state, rest[:, 68 * 4 : 68 * 4 + 3] * 30, rest[:, 68 * 4 + 3 :]


class EmbedderNet(nn.Module):
    """A unit vector (N, 128) of an aligned crop (N, 1, 112, 112)."""

    def __init__(self) -> None:
        super().__init__()
        widths = (32, 64, 128, 192)
        self.trunk = Trunk(widths, (1, 2, 2, 1))
        # one value a channel and place: where on the face a feature lies is what tells people apart
        self.places = nn.Conv2d(widths[-1], widths[-1], (4, 4), groups=widths[-1], bias=False)
        self.vector = nn.Sequential(nn.BatchNorm1d(widths[-1]), nn.Linear(widths[-1], 128))

    def forward(self, crop: Tensor) -> Tensor:
        return F.normalize(self.vector(self.places(self.trunk(crop)[-1]).flatten(1)).float())


ATTRIBUTE_SIZES = {"gender": 2, "expression": 7, "glasses": 2, "mask": 2, "beard": 5, "headwear": 3}


class AttributesNet(nn.Module):
    """Logits (N, C) of each of `ATTRIBUTE_SIZES` for a crop (N, 1, 112, 112)."""

    def __init__(self) -> None:
        super().__init__()
        widths = (32, 64, 96, 128)
        self.trunk = Trunk(widths, (1, 1, 1, 1))
        self.places = nn.Sequential(nn.Flatten(), nn.Linear(widths[-1] * 16, 128), nn.ReLU(inplace=True))
        self.heads = nn.ModuleDict({name: nn.Linear(128, size) for name, size in ATTRIBUTE_SIZES.items()})

    def forward(self, crop: Tensor) -> dict[str, Tensor]:
        shared = self.places(self.trunk(crop)[-1]).float()
        return {name: head(shared) for name, head in self.heads.items()}
