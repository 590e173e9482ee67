"""FLUX ready to draw: networks loaded, adapters in them, in their precision, where there is room for them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from thermvision.generation.engines.flux.adapters import ConsumedReport, apply_adapters, read_adapter
from thermvision.generation.engines.flux.models import FluxModels, load_models
from thermvision.generation.engines.flux.precision import cast_transformer, choose_precision
from thermvision.generation.engines.flux.sampling import DeviceFullError
from thermvision.generation.engines.liveportrait.networks import choose_device
from thermvision.generation.flux_tables import FluxTable

# of GPU memory: the transformer in bf16 is 23.8 GB, T5 9.5, and a batch wants some
ROOMY_BYTES = 40 * 2**30


def ready_models(table: FluxTable) -> tuple[FluxModels, ConsumedReport | None]:
    """The networks of a table whose paths are absolute, adapters fused, then cast; and what was consumed.

    On a GPU without room for all of it, networks are put together in main memory, and T5 stays there.

    Raises:
        MissingDependencyError, DamagedInputError, UsageError: see `models.load_models` and `adapters.apply_adapters`.
        DeviceFullError: the networks do not fit.
    """
    device = choose_device(table.device)
    precision = choose_precision(table.precision, device)
    narrow = is_narrow(device)
    asked = table.model_copy(update={"precision": precision, **({"device": "cpu"} if narrow else {})})
    try:
        with quiet():
            models = load_models(asked)
            read = [(read_adapter(Path(a.file)), a.strength, a.clip_strength) for a in table.loras]
            report = apply_adapters(models, read) if read else None
            cast_transformer(models.transformer, precision)
            if narrow:
                _move(models, device)
    except torch.OutOfMemoryError as error:
        raise DeviceFullError(
            f"{device} is out of memory with FLUX in {precision}; set --precision fp8 (flux.precision in a recipe), or"
            " end what else runs there"
        ) from error
    if table.compile:
        compile_blocks(models.transformer, precision)
    return models, report


def is_narrow(device: torch.device) -> bool:
    """Whether a device lacks the room for all of FLUX in bf16."""
    return device.type == "cuda" and torch.cuda.get_device_properties(device).total_memory < ROOMY_BYTES


def compile_blocks(transformer: Any, precision: str) -> None:
    """Have torch compile the blocks, in place; each kind once. What widens 8-bit weights breaks the graph."""
    transformer.compile_repeated_blocks(fullgraph=precision != "fp8")


def _move(models: FluxModels, device: torch.device) -> None:
    for name, module in models.parts().items():
        if name != "t5":
            module.to(device)
    models.device = device


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """diffusers warns of every cast, with an empty list of what would suffer."""
    from diffusers.utils import logging as said

    level = said.get_verbosity()
    said.set_verbosity_error()
    try:
        yield
    finally:
        said.set_verbosity(level)
