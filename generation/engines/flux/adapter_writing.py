"""Layers to LoRA files, by kohya's names or diffusers', without a bit lost on the way."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from thermvision.annotations.errors import UsageError
from thermvision.generation.engines.flux.adapter_reading import DIFFUSERS_METADATA, Adapter, Layer
from thermvision.generation.engines.flux.layouts import (
    SHIFT_SCALE,
    block_counts,
    block_linears,
    swapped_halves,
    top_linears,
)
from thermvision.generation.engines.flux.tensor_files import write_tensors

FORMATS = ("kohya", "diffusers")
_SHOWN = 6


def to_kohya(adapter: Adapter) -> dict[str, Tensor]:
    """An adapter's tensors by kohya's names: ``lora_down``, ``lora_up`` and ``alpha`` (float32) of each module.

    q, k and v that share a down matrix share it in the file; else their down matrices are stacked and the up matrix is
    block-diagonal, with n times the rank and alpha.

    Raises:
        UsageError: parts of one module have unlike ranks or alphas, which this naming cannot hold.
    """
    layers = adapter.modules
    dotted = block_linears(*block_counts({name + ".": None for name in layers}))
    dotted |= {key: (name,) for key, name in top_linears().items()}
    tensors: dict[str, Tensor] = {}
    written: set[str] = set()
    for key, names in dotted.items():
        parts = [layers.get(name) for name in names]
        if any(part is not None for part in parts):
            tensors |= _kohya_tensors("lora_unet_" + key.replace(".", "_"), key, parts)
            written |= set(names)
    lost = sorted(layers.keys() - written)
    if lost:
        raise UsageError(f"{adapter.name}: {', '.join(lost[:_SHOWN])} have no name in kohya's format; write diffusers'")
    for name, layer in adapter.text.items():
        tensors |= _kohya_tensors("lora_te1_text_model_" + name.replace(".", "_"), name, [layer])
    return tensors


def _kohya_tensors(base: str, key: str, parts: Sequence[Layer | None]) -> dict[str, Tensor]:
    there = [part for part in parts if part is not None]
    first = there[0]
    alpha = first.alpha
    if len(parts) == 1:
        down, up = first.down, swapped_halves(first.up) if key == SHIFT_SCALE[0] else first.up
    elif len(there) == len(parts) and all(_same_down(first, part) for part in there[1:]):
        down, up = first.down, torch.cat([part.up for part in there])
    else:
        if any((part.rank, part.alpha) != (first.rank, first.alpha) for part in there):
            told = ", ".join(f"rank {part.rank} alpha {part.alpha:g}" for part in there)
            raise UsageError(f'{key} has parts of {told}, which kohya\'s format cannot hold; use format "diffusers"')
        down, up = _stacked(key, parts, first)
        alpha *= len(parts)
    return {
        f"{base}.lora_down.weight": down,
        f"{base}.lora_up.weight": up,
        f"{base}.alpha": torch.tensor(alpha, dtype=torch.float32),
    }


def _same_down(a: Layer, b: Layer) -> bool:
    return a.alpha == b.alpha and (a.down is b.down or torch.equal(a.down, b.down))


def _stacked(key: str, parts: Sequence[Layer | None], first: Layer) -> tuple[Tensor, Tensor]:
    """Down matrices above each other and ups on the diagonal; where a part has none, zeros."""
    width = first.down.shape[1]
    there = [part for part in parts[3:] if part is not None]
    if len(parts) > 3 and not there:
        # the perceptron's rows are not known without its layer; FLUX's is four times as wide
        rows = [width] * 3 + [4 * width]
    else:
        rows = [width] * 3 + [part.up.shape[0] for part in there]
    down = torch.cat([first.down.new_zeros(first.down.shape) if part is None else part.down for part in parts])
    up = first.up.new_zeros(sum(rows), len(parts) * first.rank)
    top = 0
    for i, (part, height) in enumerate(zip(parts, rows, strict=True)):
        if part is not None:
            if part.up.shape[0] != height:
                raise UsageError(f"{key} has a part of {part.up.shape[0]} rows; allowed in kohya's format: {height}")
            up[top : top + height, i * first.rank : (i + 1) * first.rank] = part.up
        top += height
    return down, up


def to_diffusers(adapter: Adapter) -> tuple[dict[str, Tensor], dict[str, str]]:
    """An adapter's tensors by diffusers' names, and the header that keeps alpha where it is not the rank."""
    tensors: dict[str, Tensor] = {}
    settings: dict[str, Any] = {}
    for part, layers in (("transformer", adapter.modules), ("text_encoder", adapter.text)):
        for name, layer in layers.items():
            tensors[f"{part}.{name}.lora_A.weight"] = layer.down
            tensors[f"{part}.{name}.lora_B.weight"] = layer.up
        if layers:
            settings |= {f"{part}.{key}": value for key, value in _peft_config(layers).items()}
    return tensors, {"format": "pt", DIFFUSERS_METADATA: json.dumps(settings, indent=2, sort_keys=True)}


def _peft_config(layers: Mapping[str, Layer]) -> dict[str, Any]:
    from peft import LoraConfig

    first = next(iter(layers.values()))
    config = LoraConfig(
        r=first.rank,
        lora_alpha=first.alpha,  # type: ignore[arg-type]  # peft divides it, whole or not
        target_modules=sorted(layers),
        rank_pattern={name: layer.rank for name, layer in layers.items() if layer.rank != first.rank},
        alpha_pattern={name: layer.alpha for name, layer in layers.items() if layer.alpha != first.alpha},
    )
    return {key: sorted(value) if isinstance(value, set) else value for key, value in config.to_dict().items()}


def save_adapter(
    path: Path,
    adapter: Adapter,
    fmt: str = "kohya",
    dtype: torch.dtype | None = None,
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write an adapter atomically.

    Args:
        path: a ``.safetensors`` file.
        adapter: what is written.
        fmt: "kohya" or "diffusers".
        dtype: of the matrices; None keeps theirs. Alpha stays float32.
        metadata: notes for the header besides those that the format needs.

    Raises:
        UsageError: there is no such format, or it cannot hold the adapter.
        OutputError: no room or no permission.
    """
    if fmt not in FORMATS:
        raise UsageError(f"format is {fmt!r}; allowed: {', '.join(FORMATS)}")
    if fmt == "kohya":
        tensors = to_kohya(adapter)
        alphas = {layer.alpha for layer in (*adapter.modules.values(), *adapter.text.values())}
        notes = {
            "ss_network_module": "networks.lora_flux",
            "ss_base_model_version": "flux1",
            "ss_network_dim": str(adapter.rank),
            "ss_network_alpha": str(max(alphas, default=0.0)),
            "modelspec.architecture": "flux-1-dev/lora",
        }
    else:
        tensors, notes = to_diffusers(adapter)
    typed = {
        key: tensor if dtype is None or key.endswith(".alpha") else tensor.to(dtype) for key, tensor in tensors.items()
    }
    write_tensors(path, typed, notes | dict(metadata or {}))
