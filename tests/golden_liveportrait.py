"""Seeded weights and inputs of the LivePortrait checks, and what the public implementation computed from them.

``golden/liveportrait/KEYS.tsv`` lists every tensor of the public checkpoints; ``golden.npz`` and ``golden.json`` hold
outputs of the public implementation (KwaiVGI/LivePortrait at 1986663be3b6, MIT licence), CPU, float32. A tensor depends
on the seed, the network, its key and its shape alone: the CRC-32 of ``seed:network:key`` seeds PCG64, whose uniform
numbers are shifted and scaled. So no weights need to be stored.
"""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

FOLDER = Path(__file__).parent / "golden" / "liveportrait"
MLP_WIDTHS = {"stitching": 126, "lip": 65, "eye": 66}  # numbers that each network takes
POSE_HEADS = ("fc_pitch", "fc_yaw", "fc_roll")
Shapes = Mapping[str, tuple[int, ...]]


@cache
def read_keys() -> dict[str, dict[str, tuple[int, ...]]]:
    """Shapes of all tensors by network (appearance, motion, warp, spade, stitch_retarget) and key."""
    shapes: dict[str, dict[str, tuple[int, ...]]] = {}
    for line in (FOLDER / "KEYS.tsv").read_text().splitlines():
        if line and not line.startswith("#"):
            net, key, shape, _ = line.split("\t")
            shapes.setdefault(net, {})[key] = tuple(int(size) for size in shape.split(",") if size)
    return shapes


@cache
def arrays() -> dict[str, NDArray[Any]]:
    """Everything in ``golden.npz``."""
    with np.load(FOLDER / "golden.npz") as file:
        return {name: file[name] for name in file.files}


@cache
def facts() -> dict[str, Any]:
    """``golden.json``: strides and shapes of the outputs, sizes of the inputs, options of the driving modes."""
    return dict(json.loads((FOLDER / "golden.json").read_text()))


def generator(seed: int, *path: str) -> np.random.Generator:
    """PCG64 seeded by the CRC-32 of ``seed:path[0]:path[1]…``."""
    return np.random.Generator(np.random.PCG64(zlib.crc32(":".join([str(seed), *path]).encode())))


def spread(source: np.random.Generator, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Uniform numbers of mean 0 and variance 1."""
    return (source.random(shape) - 0.5) * math.sqrt(12)


def state_dict(net: str, shapes: Shapes, seed: int = 0, dtype: torch.dtype = torch.float32) -> dict[str, torch.Tensor]:
    """Weights of a network in which no norm, response or spectral vector keeps the value that hides mistakes."""
    values: dict[str, NDArray[np.float32]] = {}
    for key, shape in shapes.items():
        leaf = key.rpartition(".")[2]
        if leaf not in ("num_batches_tracked", "weight_u", "weight_v"):
            values[key] = _weight(generator(seed, net, key), key, leaf, shape).astype(np.float32)
    for key in [key for key in values if key.endswith("weight_orig")]:
        # one power iteration, so that the stored vectors are not the converged ones
        base, matrix = key.removesuffix("orig"), values[key].reshape(len(values[key]), -1).astype(np.float64)
        u = _direction(matrix @ spread(generator(seed, net, base + "v"), matrix.shape[1:]))
        v = _direction(matrix.T @ u)
        values[base + "u"], values[base + "v"] = _direction(matrix @ v).astype(np.float32), v.astype(np.float32)
    return {key: torch.tensor(values[key]).to(dtype) if key in values else torch.tensor(1000) for key in shapes}


def _weight(source: np.random.Generator, key: str, leaf: str, shape: tuple[int, ...]) -> NDArray[np.float64]:
    if leaf in ("gamma", "beta"):
        return spread(source, shape) * 0.5
    if leaf in ("running_mean", "bias"):
        return spread(source, shape) * (0.2 if leaf == "running_mean" else 0.1)
    if len(shape) == 1:  # a norm's variance or scale
        return source.random(shape) + 0.5
    gain = math.sqrt(2)
    if any(head in key for head in POSE_HEADS):
        gain = 2.5
    if key.endswith("dense_motion_network.mask.weight"):
        gain = 3.0
    if "occlusion" in key:
        gain = 1.5
    if key.startswith("conv_img"):
        gain = 1.0
    return spread(source, shape) * (gain / math.sqrt(math.prod(shape[1:])))


def _direction(vector: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(vector / np.linalg.norm(vector))


def inputs(
    case: str, seed: int = 0, dtype: torch.dtype = torch.float32, B: int = 1, size: int | None = None
) -> dict[str, torch.Tensor]:
    """Keyword arguments of one call: case appearance, motion, warp, spade, stitching, lip or eye."""

    def tensor(name: str, shape: tuple[int, ...], centred: bool = False) -> torch.Tensor:
        source = generator(seed, "input", f"{case}.{B}.{size}.{name}")
        return torch.tensor((spread(source, shape) if centred else source.random(shape)).astype(np.float32)).to(dtype)

    if size is None:
        return {"x": tensor("x", (B, MLP_WIDTHS[case]), centred=True)}
    if case in ("appearance", "motion"):
        return {"image": tensor("image", (B, 3, size, size))}
    if case == "spade":
        return {"feature": tensor("feature", (B, 256, size, size), centred=True)}
    source = tensor("kp_source", (B, 21, 3)) * 1.6 - 0.8
    return {
        "feature": tensor("feature", (B, 32, 16, size, size), centred=True),
        "kp_source": source,
        "kp_driving": source + 0.15 * tensor("kp_driving", (B, 21, 3), centred=True),
    }


def relative_error(want: NDArray[Any], got: NDArray[Any] | torch.Tensor) -> float:
    """Largest difference over the largest wanted magnitude; NaN where ``got`` holds one."""
    found = got.detach().cpu().numpy() if isinstance(got, torch.Tensor) else np.asarray(got)
    wanted = np.asarray(want, np.float64)
    return float(np.abs(wanted - found.reshape(wanted.shape)).max() / max(np.abs(wanted).max(), 1e-30))
