"""The seven networks by name, made of weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import torch
from torch import Tensor, nn

from thermvision.generation.engines.liveportrait.appearance import AppearanceExtractor
from thermvision.generation.engines.liveportrait.checkpoint import check_keys
from thermvision.generation.engines.liveportrait.layers import Widths
from thermvision.generation.engines.liveportrait.motion_extractor import MotionExtractor
from thermvision.generation.engines.liveportrait.retargeting import perceptron
from thermvision.generation.engines.liveportrait.spade import SpadeGenerator
from thermvision.generation.engines.liveportrait.warping import WarpingModule

NETWORKS: Mapping[str, Callable[[Widths], nn.Module]] = {
    "appearance": AppearanceExtractor,
    "motion": MotionExtractor,
    "warping": WarpingModule,
    "spade": SpadeGenerator,
    "stitching": partial(perceptron, "stitching"),
    "lip": partial(perceptron, "lip"),
    "eye": partial(perceptron, "eye"),
}


def empty_network(net: str, widths: Widths) -> nn.Module:
    """The network with shapes and no memory (on torch's meta device)."""
    with torch.device("meta"):
        return NETWORKS[net](widths)


def network_of(net: str, state: Mapping[str, Tensor], widths: Widths) -> nn.Module:
    """The network with the weights of ``state`` (see `checkpoint.normalise`), evaluating, without gradients.

    Raises:
        DamagedInputError: the weights do not fit.
    """
    module = empty_network(net, widths)
    module.load_state_dict(check_keys(net, state, module.state_dict()), assign=True)
    return module.eval().requires_grad_(False)
