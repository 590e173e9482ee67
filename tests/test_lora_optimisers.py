"""Learning rates, and optimisers whose state comes back to the bit."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn

from thermvision.annotations.errors import DamagedInputError
from thermvision.generation.engines.flux.training.optimisers import (
    learning_rate,
    make_optimiser,
    optimiser_state,
    restore_optimiser,
)
from thermvision.generation.flux_tables import LoraTable


@pytest.mark.parametrize(
    ("scheduler", "warmup", "rates"),
    [
        ("constant", 4, (1, 1, 1, 1)),
        ("constant_with_warmup", 4, (0.25, 1, 1, 1)),
        ("cosine", 4, (0.25, 1, 0.5, 0.0244717)),
        ("linear", 0, (1, 0.7, 0.4, 0.1)),
    ],
)
def test_learning_rates(scheduler: Any, warmup: int, rates: tuple[float, ...]):
    steps = {"linear": 10}.get(scheduler, 14)
    at = {"linear": (0, 3, 6, 9)}.get(scheduler, (0, 4, 9, 13))
    table = LoraTable(scheduler=scheduler, warmup_steps=warmup, steps=steps, learning_rate=1.0)
    assert [learning_rate(table, k) for k in at] == pytest.approx(rates, abs=1e-6)


@pytest.mark.parametrize("optimizer", ["came", "adamw"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_a_restored_optimiser_goes_on_exactly(optimizer: Any, dtype: torch.dtype):
    table = LoraTable(optimizer=optimizer)
    generator = torch.Generator().manual_seed(0)
    parameters = {"a": nn.Parameter(torch.randn(6, 4, generator=generator).to(dtype)), "b": nn.Parameter(torch.ones(3))}

    def step(optimiser: torch.optim.Optimizer, values: dict[str, nn.Parameter], number: int) -> None:
        draw = torch.Generator().manual_seed(number)
        for value in values.values():
            value.grad = torch.randn(value.shape, generator=draw).to(value.dtype)
        optimiser.step()

    first = make_optimiser(table, list(parameters.values()))
    for number in range(3):
        step(first, parameters, number)
    tensors, numbers = optimiser_state(first, parameters)
    kept = {key: tensor.clone() for key, tensor in tensors.items()}
    copied = copy.deepcopy(parameters)
    second = make_optimiser(table, list(copied.values()))
    restore_optimiser(second, copied, kept, numbers)
    for number in range(3, 6):
        step(first, parameters, number)
        step(second, copied, number)
    assert all(torch.equal(parameters[name], copied[name]) for name in parameters)
    after, again = optimiser_state(first, parameters), optimiser_state(second, copied)
    assert after[1] == again[1]
    assert after[0].keys() == again[0].keys()
    assert all(torch.equal(after[0][k], again[0][k]) and after[0][k].dtype == again[0][k].dtype for k in after[0])


def test_came_keeps_its_state_in_float32_for_bfloat16_weights():
    parameter = nn.Parameter(torch.ones(4, 4, dtype=torch.bfloat16))
    optimiser = make_optimiser(LoraTable(), [parameter])
    parameter.grad = torch.ones_like(parameter)
    optimiser.step()
    tensors, _ = optimiser_state(optimiser, {"a": parameter})
    assert tensors["a|exp_avg"].dtype == torch.float32


def test_a_state_of_something_else():
    with pytest.raises(DamagedInputError, match="no parameter"):
        restore_optimiser(
            make_optimiser(LoraTable(), [nn.Parameter(torch.ones(1))]), {}, {"b|step": torch.ones(())}, {}
        )
