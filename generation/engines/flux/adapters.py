"""LoRA adapters: fused into the weights, with a report of what became of every tensor in their files.

A linear's weight becomes weight + strength × alpha / rank × up · down. Reading and writing of files are in
`adapter_reading` and `adapter_writing`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from thermvision.annotations.errors import UsageError
from thermvision.generation.engines.flux.adapter_reading import Adapter, Layer, read_adapter
from thermvision.generation.engines.flux.adapter_writing import FORMATS, save_adapter, to_diffusers, to_kohya
from thermvision.generation.engines.flux.models import FluxModels
from thermvision.generation.engines.flux.precision import is_fp8

__all__ = [
    "FORMATS",
    "Adapter",
    "ConsumedReport",
    "Layer",
    "apply_adapters",
    "read_adapter",
    "save_adapter",
    "to_diffusers",
    "to_kohya",
]

_SHOWN = 6


@dataclass(frozen=True)
class ConsumedReport:
    """What became of adapters' tensors.

    Attributes:
        files: one record a file: name, sha256, format, rank, strengths, tensors, modules, and of these how many did
            change a weight (in the type that weights have).
        tensors_used: how many tensors went into weights; always ``tensors_total``, or there would have been an error.
        tensors_total: how many the files hold.
        modules: names of all linears that got something added.
    """

    files: tuple[Mapping[str, Any], ...]
    tensors_used: int
    tensors_total: int
    modules: tuple[str, ...]

    def lines(self) -> list[str]:
        """The report as text, a line a file."""
        return [
            f"{file['name']}: {file['tensors']} of {file['tensors']} tensors used, {file['modules']} modules at "
            f"strength {file['strength']:g}"
            + (f" (CLIP-L {file['clip_strength']:g})" if file["text_modules"] else "")
            + ("" if file["changed"] else "; it CHANGES NOTHING: all zero, strength 0, or lost in rounding")
            for file in self.files
        ]


def apply_adapters(models: FluxModels, adapters: Sequence[tuple[Adapter, float, float]]) -> ConsumedReport:
    """Add adapters to the weights, computed in float32; weights keep their type. All fit, or nothing is changed.

    Args:
        models: before their transformer is cast to 8 bits.
        adapters: each with its strength, and its strength in CLIP-L.

    Raises:
        UsageError: a layer has no linear to go to, or one of another size; fp8 weights; CLIP-L is needed and gone.
    """
    if is_fp8(models.transformer):
        raise UsageError("the transformer is in fp8 already, where an adapter would be rounded away; load it again")
    added: dict[str, list[tuple[int, float, Layer]]] = {}
    for i, (adapter, strength, clip_strength) in enumerate(adapters):
        for prefix, layers, factor, model in (
            ("transformer", adapter.modules, strength, models.transformer),
            ("clip_l", adapter.text, clip_strength, models.clip),
        ):
            if layers and model is None:
                raise UsageError(f"{adapter.name} has layers of CLIP-L and CLIP-L is not loaded; load it with the text")
            _check_fit(adapter.name, layers, dict(model.named_modules()) if layers else {})
            for name, layer in layers.items():
                added.setdefault(f"{prefix}.{name}", []).append((i, factor, layer))
    changed = [0] * len(adapters)
    for full, layers_here in added.items():
        prefix, _, name = full.partition(".")
        weight = models.parts()[prefix].get_submodule(name).weight
        total = weight.detach().float()
        for i, factor, layer in layers_here:
            delta = factor * layer.scale * (layer.up.to(weight.device).float() @ layer.down.to(weight.device).float())
            changed[i] += int(not torch.equal((weight.detach().float() + delta).to(weight.dtype), weight))
            total = total + delta
        with torch.no_grad():
            weight.copy_(total.to(weight.dtype))
    files: tuple[dict[str, Any], ...] = tuple(
        {
            "name": adapter.name,
            "sha256": adapter.digest,
            "format": adapter.fmt,
            "rank": adapter.rank,
            "strength": strength,
            "clip_strength": clip_strength,
            "tensors": _tensor_count(adapter),
            "modules": len(adapter.modules) + len(adapter.text),
            "text_modules": len(adapter.text),
            "changed": count,
        }
        for (adapter, strength, clip_strength), count in zip(adapters, changed, strict=True)
    )
    total_tensors = sum(file["tensors"] for file in files)
    return ConsumedReport(files, total_tensors, total_tensors, tuple(sorted(added)))


def _tensor_count(adapter: Adapter) -> int:
    layers = (*adapter.modules.values(), *adapter.text.values())
    return adapter.tensors or 2 * len(layers)


def _check_fit(name: str, layers: Mapping[str, Layer], modules: Mapping[str, Any]) -> None:
    absent = [key for key in layers if not isinstance(modules.get(key), torch.nn.Linear)]
    if absent:
        raise UsageError(
            f"{name}: {len(absent)} of {len(layers)} layers have no linear in this model: "
            f"{', '.join(absent[:_SHOWN])}; it was trained for a model with more blocks: give one for FLUX.1-dev"
        )
    unlike = [
        f"{key} ({layer.up.shape[0]}, {layer.down.shape[1]}) for {tuple(modules[key].weight.shape)}"
        for key, layer in layers.items()
        if (layer.up.shape[0], layer.down.shape[1]) != tuple(modules[key].weight.shape)
    ]
    if unlike:
        raise UsageError(
            f"{name}: {len(unlike)} layers are of another size than the model's: {', '.join(unlike[:_SHOWN])}; "
            "give an adapter for FLUX.1-dev, whose width is 3072"
        )
