"""In which type the transformer is kept: fp32, bf16, or 8 bits that are widened layer by layer as they are used."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from thermvision.annotations.errors import UsageError

PRECISIONS = ("fp32", "bf16", "fp8")
BF16_BYTES = 30 * 2**30  # of GPU memory from which bf16 fits: 23.8 GB of weights and what a batch takes
FP8_LARGEST = torch.finfo(torch.float8_e4m3fn).max
# Kept wide with fp8: norms, embedders and the last layer, less than 1 % of the weights; and adapters in training.
# diffusers' own list keeps every name with "norm", that is a quarter of FLUX, and narrows the embedders instead.
WIDE = (
    "norm_q",
    "norm_k",
    "norm_added",
    "norm_out",
    "time_text_embed",
    "context_embedder",
    "x_embedder",
    "^proj_out$",
    "lora_",
)


def choose_precision(name: str, device: torch.device) -> str:
    """The precision called ``name``; "auto" is fp32 on a CPU, on CUDA bf16 where it fits, else fp8.

    >>> choose_precision("auto", torch.device("cpu"))
    'fp32'

    Raises:
        UsageError: there is no such precision.
    """
    if name == "auto":
        if device.type != "cuda":
            return "fp32"
        return "bf16" if torch.cuda.get_device_properties(device).total_memory >= BF16_BYTES else "fp8"
    if name not in PRECISIONS:
        raise UsageError(f"precision is {name!r}; allowed: auto, {', '.join(PRECISIONS)}")
    return name


def working_dtype(precision: str) -> torch.dtype:
    """The type that is computed in, and that weights have before adapters are added to them.

    >>> working_dtype("fp8")
    torch.bfloat16
    """
    return torch.float32 if precision == "fp32" else torch.bfloat16


def cast_transformer(transformer: Any, precision: str, compute: torch.dtype | None = None) -> None:
    """Bring a transformer's weights to ``precision``, in place; adapters are fused or injected before.

    Args:
        transformer: of diffusers.
        precision: of `PRECISIONS`. "fp8" keeps the linears of the blocks as float8_e4m3fn.
        compute: type of inputs and products with fp8; bfloat16 where not given.

    Raises:
        UsageError: the precision is unknown, the weights are 8 bits wide already and another is wanted, or a weight is
            beyond what 8 bits hold.
    """
    if precision not in PRECISIONS:
        raise UsageError(f"precision is {precision!r}; allowed: {', '.join(PRECISIONS)}")
    if is_fp8(transformer):
        if precision != "fp8":
            raise UsageError(f"the transformer is fp8 already and cannot become {precision}; load it again")
        return
    dtype = compute or working_dtype(precision)
    if precision != "fp8":
        transformer.to(dtype=dtype)
        return
    from diffusers.hooks import apply_layerwise_casting

    largest = {name: float(p.detach().abs().amax()) for name, p in transformer.named_parameters() if p.numel()}
    beyond = sorted(name for name, value in largest.items() if not value <= FP8_LARGEST)
    if beyond:
        raise UsageError(
            f"{len(beyond)} weights do not fit in 8 bits ({', '.join(beyond[:4])}: over {FP8_LARGEST} or not a "
            'number); set precision = "bf16"'
        )
    for name, parameter in transformer.named_parameters():
        if "lora_" not in name:  # an adapter in training keeps its own type
            parameter.data = parameter.data.to(dtype)
    apply_layerwise_casting(
        transformer, storage_dtype=torch.float8_e4m3fn, compute_dtype=dtype, skip_modules_pattern=WIDE
    )


def is_fp8(module: nn.Module) -> bool:
    """Whether any weight is kept in 8 bits."""
    return any(p.dtype == torch.float8_e4m3fn for p in module.parameters())
