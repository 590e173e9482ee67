"""Which layers a fine-tuning may change: by module, in named choices."""

from __future__ import annotations

import re

from torch import nn

from thermvision.annotations.errors import UsageError
from thermvision.generation.engines.liveportrait.modules import NETWORKS
from thermvision.generation.engines.liveportrait.networks import Networks

# module -> choice -> patterns of "network.key"; the first choice is the default
LAYERS: dict[str, dict[str, tuple[str, ...]]] = {
    "motion": {
        "heads": (r"motion\.detector\.fc_",),
        "pose": (r"motion\.detector\.fc_(pitch|yaw|roll)\.",),
        "keypoints": (r"motion\.detector\.fc_(kp|scale|t)\.",),
        "expression": (r"motion\.detector\.fc_exp\.",),
        "last": (r"motion\.detector\.(fc_|norm\.|stages\.3\.|downsample_layers\.3\.)",),
        "all": (r"motion\.",),
    },
    "decoder": {
        "spade": (r"spade\.",),
        "output": (r"spade\.(up_1|conv_img)\.",),
        "up": (r"spade\.(up_0|up_1|conv_img)\.",),
        "norms": (r"spade\..*mlp_(shared|gamma|beta)\.",),
        "projection": (r"spade\.", r"warping\.(third|fourth)\."),
        "all": (r"spade\.", r"warping\."),
    },
    "retargeting": {
        "all": (r"(stitching|eye|lip)\.",),
        "stitching": (r"stitching\.",),
        "eye": (r"eye\.",),
        "lip": (r"lip\.",),
    },
}
MODULES = tuple(LAYERS)


def default_layers(module: str) -> str:
    """
    >>> default_layers("motion")
    'heads'
    """
    return next(iter(LAYERS[module]))


def check_layers(module: str, layers: str) -> None:
    """Raise `UsageError` when a module has no such choice of layers.

    >>> check_layers("decoder", "up")
    """
    if module not in LAYERS:
        raise UsageError(f"module is {module!r}; allowed: {', '.join(MODULES)}, all")
    if layers not in LAYERS[module]:
        raise UsageError(f"layers of {module} are {layers!r}; allowed: {', '.join(LAYERS[module])}")


def open_layers(networks: Networks, module: str, layers: str) -> dict[str, nn.Parameter]:
    """The parameters of a choice by "network.key"; these alone take gradients from now on.

    Raises:
        UsageError: there is no such choice.
    """
    check_layers(module, layers)
    pattern = re.compile("|".join(LAYERS[module][layers]))
    chosen = {}
    for net in NETWORKS:
        for key, parameter in getattr(networks, net).named_parameters():
            parameter.grad = None
            parameter.requires_grad_(wanted := bool(pattern.match(f"{net}.{key}")))
            if wanted:
                chosen[f"{net}.{key}"] = parameter
    return chosen


def close_layers(networks: Networks) -> None:
    """No parameter takes gradients."""
    for net in NETWORKS:
        for parameter in getattr(networks, net).parameters():
            parameter.grad = None
            parameter.requires_grad_(False)
