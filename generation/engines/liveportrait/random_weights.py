"""Seeded weights for tests, dry runs and speed: the pixels are noise, everything else works as with real ones."""

from __future__ import annotations

import math
import zlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from thermvision.generation.engines.liveportrait.checkpoint import FILES, PERCEPTRONS, published_layout, save_weights
from thermvision.generation.engines.liveportrait.layers import PUBLISHED, Widths
from thermvision.generation.engines.liveportrait.modules import NETWORKS, empty_network

RANDOM_NOTE = "thermvision_random_weights"  # in the metadata of files written here
# how far a motion head's answer may turn the face, so that keypoints stay near the picture
_HEAD_GAINS = {"kp": 0.1, "exp": 0.02, "scale": 0.02, "t": 0.05, "pitch": 0.3, "yaw": 0.3, "roll": 0.3}


def random_state(net: str, widths: Widths = PUBLISHED, seed: int = 0) -> dict[str, Tensor]:
    """Weights of ``net``; each depends on the seed, its name and its shape alone, and no norm is left at its start."""
    return {key: _values(net, key, wanted, seed) for key, wanted in empty_network(net, widths).state_dict().items()}


def _values(net: str, key: str, wanted: Tensor, seed: int) -> Tensor:
    source = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(zlib.crc32(f"{net}:{key}".encode()),)))
    shape, leaf = tuple(wanted.shape), key.rpartition(".")[2]
    if not wanted.is_floating_point():
        return torch.tensor(1)
    spread = source.uniform(-math.sqrt(3), math.sqrt(3), shape)  # variance 1
    head = key.rpartition("fc_")[2].partition(".")[0] if net == "motion" else ""
    if key.endswith("fc_scale.bias"):
        values = np.full(shape, 1.4)
    elif key.endswith("fc_kp.bias"):
        values = 0.35 * spread
    elif leaf == "running_var" or (len(shape) == 1 and leaf == "weight"):
        values = source.uniform(0.5, 1.5, shape)
    elif leaf in ("bias", "running_mean", "beta", "gamma"):
        values = 0.1 * spread if head not in _HEAD_GAINS else 0.01 * spread
    else:
        gain = _HEAD_GAINS.get(head, 0.02 if net in PERCEPTRONS else math.sqrt(2))
        values = spread * gain / math.sqrt(math.prod(shape[1:]))
    return torch.from_numpy(values.astype(np.float32))


def random_checkpoint(folder: Path, widths: Widths = PUBLISHED, seed: int = 0) -> None:
    """Write the five files of a checkpoint folder in the published layout, marked as random."""
    weights = {net: published_layout(net, random_state(net, widths, seed)) for net in NETWORKS}
    shared = {key: tensor for net in PERCEPTRONS for key, tensor in weights[net].items()}
    for net, names in FILES.items():
        save_weights(folder / f"{names[0]}.safetensors", weights.get(net, shared), {RANDOM_NOTE: f"seed {seed}"})
