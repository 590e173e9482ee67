"""Widths of the networks read off the shapes of their weights: narrow checkpoints load like the published ones."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from thermvision.annotations.errors import DamagedInputError
from thermvision.generation.engines.liveportrait.layers import PUBLISHED, Widths

MAX_WIDTH = 4096  # channels anywhere; the published networks have up to 2272
MAX_BLOCKS = 64
State = Mapping[str, Tensor]


def infer_widths(states: Mapping[str, State]) -> Widths:
    """Widths of the networks whose normalised weights are ``states`` (appearance, motion, warping, …).

    Where the weight that tells a width is absent the published one is taken: the check of the keys then names it.

    Raises:
        DamagedInputError: a width is out of bounds.
    """
    look, motion, warp, spade = (states.get(net, {}) for net in ("appearance", "motion", "warping", "spade"))
    hourglass = "dense_motion_network.hourglass."
    volume = _size(look, "resblocks_3d.3dr0.conv1.weight", PUBLISHED.volume)
    encoder = _sizes(warp, hourglass + "encoder.down_blocks.{}.conv.weight", PUBLISHED.hourglass[1:])
    last_up = f"{hourglass}decoder.up_blocks.{len(encoder) - 1}.conv.weight"
    stages = _indices(motion, "detector.downsample_layers.{}.") or range(len(PUBLISHED.motion))
    stem = _size(motion, "detector.downsample_layers.0.0.weight", PUBLISHED.motion[0])
    later = _sizes(motion, "detector.downsample_layers.{}.1.weight", PUBLISHED.motion, stages)
    found: dict[str, Any] = {
        "appearance": (
            _size(look, "first.conv.weight", PUBLISHED.appearance[0]),
            *_sizes(look, "down_blocks.{}.conv.weight", PUBLISHED.appearance[1:]),
        ),
        "volume": volume,
        "depth": _size(look, "second.weight", PUBLISHED.volume * PUBLISHED.depth) // volume,
        "volume_blocks": len(_indices(look, "resblocks_3d.3dr{}.")) or PUBLISHED.volume_blocks,
        "motion": (stem, *later[1:]),
        "motion_blocks": tuple(
            len(_indices(motion, f"detector.stages.{i}.{{}}.")) or (*PUBLISHED.motion_blocks, *[1] * i)[i]
            for i in stages
        ),
        "hourglass": (_size(warp, last_up, PUBLISHED.hourglass[0]), *encoder),
        "compressed": _size(warp, "dense_motion_network.compress.weight", PUBLISHED.compressed),
        "label": _size(warp, "fourth.weight", PUBLISHED.label),
        "painted": (
            _size(spade, "fc.weight", PUBLISHED.painted[0]),
            _size(spade, "up_0.conv_1.weight", PUBLISHED.painted[1]),
            _size(spade, "up_1.conv_1.weight", PUBLISHED.painted[2]),
        ),
        "paint_blocks": len(_indices(spade, "G_middle_{}.")) or PUBLISHED.paint_blocks,
        "modulation": _size(spade, "up_0.norm_0.mlp_shared.0.weight", PUBLISHED.modulation),
    }
    for net in ("stitching", "lip", "eye"):
        state, usual = states.get(net, {}), getattr(PUBLISHED, net)
        layers = [f"mlp.{i}.weight" for i in _indices(state, "mlp.{}.")[::2]]
        # the last layer's width is no choice
        found[net] = tuple(_size(state, key, 1) for key in layers[:-1]) or usual
    for name, value in found.items():
        values = value if isinstance(value, tuple) else (value,)
        limit = MAX_BLOCKS if name.endswith("blocks") else MAX_WIDTH
        if not all(1 <= number <= limit for number in values) or len(values) > MAX_BLOCKS:
            raise DamagedInputError(f"{name} of the checkpoints is {value}; allowed: 1 to {limit}; fetch them again")
    return Widths(**found)


def _size(state: State, key: str, default: int) -> int:
    """Channels that the convolution or linear layer ``key`` gives out."""
    return len(state[key]) if key in state and state[key].ndim else default


def _indices(state: State, start: str) -> range:
    """Numbers up to the highest that any key has at the ``{}`` of ``start``."""
    pattern = re.compile(re.escape(start).replace(r"\{\}", r"(\d{1,4})"))
    numbers = [int(match[1]) for key in state if (match := pattern.match(key))]
    return range(max(numbers, default=-1) + 1)


def _sizes(state: State, key: str, usual: tuple[int, ...], indices: range | None = None) -> tuple[int, ...]:
    if indices is None:
        indices = _indices(state, key) or range(len(usual))
    return tuple(_size(state, key.format(i), usual[i] if i < len(usual) else 1) for i in indices)
