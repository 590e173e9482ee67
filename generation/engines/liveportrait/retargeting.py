"""Stitching and the eye and lip retargeting: small perceptrons on keypoints and ratios."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn

from thermvision.generation.engines.liveportrait.keypoints import NUM_KEYPOINTS
from thermvision.generation.engines.liveportrait.layers import PUBLISHED, Widths

COORDINATES = 3 * NUM_KEYPOINTS
# numbers in, numbers out: keypoints of source and driver; of the source with one or two source ratios and a wanted one
SIZES = {
    "stitching": (2 * COORDINATES, COORDINATES + 2),
    "lip": (COORDINATES + 2, COORDINATES),
    "eye": (COORDINATES + 3, COORDINATES),
}


class Perceptron(nn.Module):
    """(B, n) to (B, m): linear layers with ReLU between them."""

    def __init__(self, inputs: int, outputs: int, hidden: Sequence[int]) -> None:
        super().__init__()
        sizes = [inputs, *hidden, outputs]
        layers: list[nn.Module] = []
        for before, after in pairwise(sizes):
            layers += [nn.Linear(before, after), nn.ReLU()]
        self.mlp = nn.Sequential(*layers[:-1])

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.mlp(x)
        return result


def perceptron(name: str, widths: Widths = PUBLISHED) -> Perceptron:
    """The network ``name``: stitching, lip or eye."""
    return Perceptron(*SIZES[name], getattr(widths, name))
