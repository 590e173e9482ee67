"""The adapter in the network: kohya's 304 modules by way of peft, base weights in 8 bits, blocks kept off the device.

The order counts: the adapter goes in first. Casting the base before would make the adapter's own weights 8-bit, which
cannot be trained.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from thermvision.annotations.errors import UsageError
from thermvision.generation.engines.flux.layouts import block_counts, kohya_modules
from thermvision.generation.engines.flux.precision import FP8_LARGEST

ADAPTER = "thermal"
Trained = dict[str, nn.Parameter]  # by the name kohya gives the module, then ".down" or ".up.N"


def add_adapter(transformer: Any, rank: int, alpha: float, seed: int, dtype: torch.dtype = torch.float32) -> Trained:
    """Put an adapter on every linear of every block and return its parameters, the only ones that are trained.

    Query, key and value of an attention (and the first layer of a single block's perceptron) share one down matrix, as
    in kohya's layout. Down begins uniform within 1 / sqrt(inputs), which is Kaiming's with a = sqrt(5), up with zeros:
    the network is unchanged. Drawn on the CPU in float32, so that device and type do not matter.

    Args:
        transformer: of diffusers, changed in place.
        rank: of each module.
        alpha: the adapter counts alpha / rank times.
        seed: of the down matrices.
        dtype: of the parameters.
    """
    from peft import LoraConfig

    modules = kohya_modules(*block_counts(transformer.state_dict()))
    names = [name for parts in modules.values() for name in parts]
    transformer.requires_grad_(False)
    pattern = "|".join(re.escape(name) for name in names)
    config = LoraConfig(r=rank, lora_alpha=alpha, target_modules=pattern)  # type: ignore[arg-type]  # floats divide, too
    transformer.add_adapter(config, adapter_name=ADAPTER)
    generator = torch.Generator().manual_seed(seed)
    trained: Trained = {}
    for kohya, parts in modules.items():
        layers: list[Any] = [transformer.get_submodule(name) for name in parts]
        down = layers[0].lora_A[ADAPTER]
        inputs = down.weight.shape[1]
        drawn = (2 * torch.rand(down.weight.shape, generator=generator) - 1) / inputs**0.5
        down.weight.data = drawn.to(down.weight.device, dtype)
        trained[f"{kohya}.down"] = down.weight
        for number, layer in enumerate(layers):
            layer.lora_A[ADAPTER] = down
            up = layer.lora_B[ADAPTER].weight
            up.data = torch.zeros_like(up, dtype=dtype)
            trained[f"{kohya}.up.{number}"] = up
    return trained


def module_weights(trained: Mapping[str, Tensor], transformer: nn.Module) -> dict[str, tuple[Tensor, Tensor]]:
    """The adapter by diffusers' module names: (down, up) of each, copies on the CPU; tied downs come with each."""
    found = {}
    for kohya, parts in kohya_modules(*block_counts(transformer.state_dict())).items():
        down = trained[f"{kohya}.down"].detach().cpu().clone()
        for number, name in enumerate(parts):
            found[name] = (down, trained[f"{kohya}.up.{number}"].detach().cpu().clone())
    return found


def quantise_base(transformer: nn.Module, compute: torch.dtype) -> int:
    """Keep the adapted linears' own weights in float8 (e4m3fn) and compute in ``compute``; returns how many.

    These are 99 % of FLUX. Embedders, norms and the last layer stay as they are, and so does the adapter, whose inputs
    peft brings to its own type (diffusers' own casting of a whole model turns that off).

    Raises:
        UsageError: a weight is beyond what 8 bits hold.
    """
    from diffusers.hooks.layerwise_casting import apply_layerwise_casting_hook
    from peft.tuners.tuners_utils import BaseTunerLayer

    bases: dict[str, Any] = {
        name: layer.get_base_layer() for name, layer in transformer.named_modules() if isinstance(layer, BaseTunerLayer)
    }
    beyond = [name for name, base in bases.items() if not float(base.weight.abs().amax()) <= FP8_LARGEST]
    if beyond:
        raise UsageError(f"{len(beyond)} layers do not fit in 8 bits ({beyond[0]} …); set lora.fp8_base = false")
    for base in bases.values():
        apply_layerwise_casting_hook(base, torch.float8_e4m3fn, compute, non_blocking=False)
    return len(bases)


def swapped_blocks(transformer: Any, count: int) -> list[nn.Module]:
    """The blocks that ``blocks_to_swap`` = ``count`` means: count // 2 double ones, and two single ones for each other.

    As kohya's sd-scripts share them out; the last blocks are taken.
    """
    doubles = min(count // 2, len(transformer.transformer_blocks))
    singles = min(2 * (count - count // 2), len(transformer.single_transformer_blocks))
    double, single = list(transformer.transformer_blocks), list(transformer.single_transformer_blocks)
    return [*double[len(double) - doubles :], *single[len(single) - singles :]]


def swap(blocks: Sequence[nn.Module], device: torch.device) -> None:
    """Keep the frozen weights of ``blocks`` in main memory and bring each block's in for its forwards alone.

    Goes with gradient checkpointing, which repeats the forward before the backward.
    """
    for block in blocks:
        kept: dict[nn.Parameter, Tensor] = {}
        for parameter in block.parameters():
            if not parameter.requires_grad:
                home = parameter.data.cpu()
                kept[parameter] = home.pin_memory() if device.type == "cuda" else home
                parameter.data = kept[parameter]
        block.register_forward_pre_hook(_fetcher(kept, device))
        # checkpointing leaves a repeated forward early, by an exception, once it has what the backward needs
        block.register_forward_hook(_fetcher(kept, None), always_call=True)


def _fetcher(kept: Mapping[nn.Parameter, Tensor], device: torch.device | None) -> Any:
    def fetch(*_: Any) -> None:
        for parameter, home in kept.items():
            parameter.data = home if device is None else home.to(device, non_blocking=True)

    return fetch
