"""What turns gradients into steps: CAME as in the article or AdamW, the learning rate of a step, and their state.

CAME is Luo et al., "CAME: Confidence-guided Adaptive Memory Efficient Optimization", ACL 2023, by the package
came-pytorch with its defaults, as the article's trainer calls it. It corrects no bias: its first updates are about ten
times the learning rate, AdamW's are the rate itself.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from thermvision.annotations.errors import DamagedInputError, MissingDependencyError
from thermvision.generation.flux_tables import LoraTable

WEIGHT_DECAY = 0.01  # of AdamW: its default in torch
_ON_CPU = "step"  # a count, which AdamW keeps in main memory

Numbers = dict[str, float | int]


def make_optimiser(table: LoraTable, parameters: Sequence[nn.Parameter]) -> torch.optim.Optimizer:
    """The optimiser that ``table`` names.

    Raises:
        MissingDependencyError: came-pytorch is not installed.
    """
    if table.optimizer == "adamw":
        return torch.optim.AdamW(parameters, table.learning_rate, weight_decay=WEIGHT_DECAY)
    try:
        from came_pytorch import CAME  # type: ignore[import-untyped]
    except ImportError as error:
        raise MissingDependencyError(
            "the optimiser CAME needs came-pytorch;"
            ' type: pip install -c constraints.txt -e ".[diffusion]", or set lora.optimizer = "adamw"'
        ) from error
    optimiser: torch.optim.Optimizer = CAME(parameters, lr=table.learning_rate)
    return optimiser


def learning_rate(table: LoraTable, step: int) -> float:
    """Learning rate of a step, the first being 0. A function of the step alone, so that a resumed run goes on exactly.

    With a warm-up of n steps the rate of step k < n is (k + 1) / n of the whole; "cosine" and "linear" then fall to
    zero at the end.

    >>> table = LoraTable(scheduler="cosine", warmup_steps=10, steps=110, learning_rate=1.0)
    >>> [round(learning_rate(table, k), 2) for k in (0, 9, 10, 60, 109)]
    [0.1, 1.0, 1.0, 0.5, 0.0]
    """
    if table.scheduler == "constant":
        return table.learning_rate
    if step < table.warmup_steps:
        return table.learning_rate * (step + 1) / table.warmup_steps
    if table.scheduler == "constant_with_warmup":
        return table.learning_rate
    part = min(1.0, (step - table.warmup_steps) / max(1, table.steps - table.warmup_steps))
    return table.learning_rate * ((1 - part) if table.scheduler == "linear" else (1 + math.cos(math.pi * part)) / 2)


def optimiser_state(
    optimiser: torch.optim.Optimizer, parameters: Mapping[str, nn.Parameter]
) -> tuple[dict[str, Tensor], Numbers]:
    """Tensors, and plain numbers, by ``<parameter>|<what>``."""
    tensors: dict[str, Tensor] = {}
    numbers: Numbers = {}
    for name, parameter in parameters.items():
        for what, value in optimiser.state.get(parameter, {}).items():
            if isinstance(value, Tensor):
                tensors[f"{name}|{what}"] = value
            else:
                numbers[f"{name}|{what}"] = value
    return tensors, numbers


def restore_optimiser(
    optimiser: torch.optim.Optimizer,
    parameters: Mapping[str, nn.Parameter],
    tensors: Mapping[str, Tensor],
    numbers: Mapping[str, float | int],
) -> None:
    """Put a state of `optimiser_state` back, bit for bit.

    Not by the optimiser's own ``load_state_dict``: that casts CAME's float32 state to the type of the parameters.

    Raises:
        DamagedInputError: the state is of other parameters.
    """
    states: dict[Tensor, dict[str, Any]] = {}
    for key, value in [*tensors.items(), *numbers.items()]:
        name, _, what = key.rpartition("|")
        if name not in parameters:
            raise DamagedInputError(f"the state holds {key!r}, of no parameter of this adapter; start in a new --out")
        parameter = parameters[name]
        if isinstance(value, Tensor):
            value = value.clone() if what == _ON_CPU else value.to(parameter.device, copy=True)
        states.setdefault(parameter, {})[what] = value
    optimiser.state.clear()
    optimiser.state.update(states)
