"""Adapters on disk: in kohya's layout, which ComfyUI and diffusers both read with its alpha; and in diffusers'."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import nn

from thermvision.curation.store import canonical_json
from thermvision.generation.engines.flux.adapter_reading import Adapter, Layer
from thermvision.generation.engines.flux.adapter_writing import save_adapter
from thermvision.generation.flux_tables import LoraTable

from .lora_layers import Trained, module_weights

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def checkpoint_name(table: LoraTable, step: int) -> str:
    """Name of a checkpoint, as the article's trainer gives it.

    >>> checkpoint_name(LoraTable(), 750)
    'thermal_rank64_bf16-step00750.safetensors'
    """
    return f"{table.name}_rank{table.rank}_{table.save_dtype}-step{step:05d}.safetensors"


def adapter_of(trained: Trained, transformer: nn.Module, table: LoraTable) -> Adapter:
    """The adapter in training, by diffusers' module names."""
    weights = module_weights(trained, transformer)
    return Adapter(table.name, {name: Layer(down, up, table.alpha) for name, (down, up) in weights.items()})


def save_checkpoints(
    trained: Trained, transformer: nn.Module, table: LoraTable, out: Path, step: int, weights: Mapping[str, str]
) -> Path:
    """Write ``out/NAME`` (kohya) and ``out/diffusers/NAME``, where they are not there yet, and return the first.

    Headers hold the settings and the digests of the networks that it was trained with.
    """
    name = checkpoint_name(table, step)
    notes = {
        "ss_steps": str(step),
        "ss_seed": str(table.seed),
        "ss_learning_rate": repr(table.learning_rate),
        "ss_guidance_scale": repr(table.train_guidance),
        "thermvision_lora": canonical_json(table.model_dump(mode="json", exclude={"datasets", "validation"})),
        "thermvision_weights": canonical_json(dict(weights)),
    }
    kohya, diffusers = out / name, out / "diffusers" / name
    adapter = None
    for path, fmt in ((diffusers, "diffusers"), (kohya, "kohya")):
        if not path.is_file():
            adapter = adapter or adapter_of(trained, transformer, table)
            save_adapter(path, adapter, fmt, DTYPES[table.save_dtype], notes)
    return kohya
