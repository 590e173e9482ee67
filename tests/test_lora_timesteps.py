"""Noise levels, predictions and weights of the loss, to the formulas of the article's trainer."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from thermvision.generation.engines.flux.training.timesteps import draw_sigmas, inert, loss_weights, prediction
from thermvision.generation.flux_tables import LoraTable


def drawn(count: int = 100_000, **settings: Any) -> torch.Tensor:
    return draw_sigmas(LoraTable(**settings), count, (512, 512), torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("settings", "quantiles"),
    [
        ({}, (0.378, 0.759, 0.942)),  # logit-normal with mean ln 3.1582
        ({"timestep_sampling": "uniform"}, (0.05, 0.5, 0.95)),
        ({"timestep_sampling": "flux_shift"}, (0.266, 0.652, 0.907)),
        ({"timestep_sampling": "sigmoid", "sigmoid_scale": 2.0}, (0.036, 0.5, 0.964)),
        ({"timestep_sampling": "sigma", "discrete_flow_shift": 1.0}, (0.162, 0.5, 0.838)),
        ({"timestep_sampling": "sigma", "weighting": "none"}, (0.143, 0.759, 0.984)),
    ],
)
def test_quantiles(settings: dict[str, Any], quantiles: tuple[float, ...]):
    found = torch.quantile(drawn(**settings), torch.tensor([0.05, 0.5, 0.95]))
    assert found.tolist() == pytest.approx(quantiles, abs=0.006)


def test_all_levels_are_in_range():
    for sampling in ("shift", "sigmoid", "uniform", "sigma", "flux_shift"):
        for weighting in ("none", "logit_normal", "mode", "cosmap", "sigma_sqrt"):
            levels = drawn(2000, timestep_sampling=sampling, weighting=weighting)
            assert levels.dtype == torch.float32
            assert bool(((levels >= 0) & (levels <= 1)).all())


def test_mode_weighting_by_its_formula():
    u = torch.rand(2000, generator=torch.Generator().manual_seed(0))
    place = 1 - u - 1.29 * (torch.cos(math.pi * u / 2) ** 2 - 1 + u)
    levels = drawn(2000, timestep_sampling="sigma", weighting="mode", discrete_flow_shift=1.0)
    assert float((levels - (1 - place)).abs().max()) <= 0.001 + 1e-6  # the table has 1,000 levels


def test_predictions():
    output, noisy, sigmas = torch.tensor([[[2.0]]]), torch.tensor([[[5.0]]]), torch.tensor([0.5])
    values = [
        prediction(LoraTable(model_prediction=kind), output, noisy, sigmas).item()
        for kind in ("raw", "additive", "sigma_scaled")
    ]
    assert values == [2.0, 7.0, 4.0]


def test_weights_of_the_loss():
    sigmas = torch.tensor([0.5, 0.25])
    assert loss_weights(LoraTable(), sigmas) is None
    given = {
        kind: loss_weights(LoraTable(model_prediction="sigma_scaled", weighting=kind), sigmas)
        for kind in ("none", "sigma_sqrt", "cosmap")
    }
    assert given["none"].tolist() == [1, 1]
    assert given["sigma_sqrt"].tolist() == [4, 16]
    assert given["cosmap"].tolist() == pytest.approx([4 / math.pi, 3.2 / math.pi])


def named(**settings: Any) -> set[str]:
    return {line.split(" ")[0] for line in inert(LoraTable(**settings))}


def test_inert_settings_are_those_that_change_nothing():
    article = {"weighting", "logit_mean", "logit_std", "mode_scale", "min_snr_gamma"}
    assert named() == article
    assert named(timestep_sampling="sigma") == {"mode_scale", "sigmoid_scale", "min_snr_gamma"}
    assert named(model_prediction="sigma_scaled") == article - {"weighting"}
    assert named(timestep_sampling="flux_shift") == article | {"discrete_flow_shift"}
    assert named(warmup_steps=10, highvram=True, attention="xformers") == article | {
        "warmup_steps", "highvram", "attention",
    }  # fmt: skip
    assert "warmup_steps" not in named(warmup_steps=10, scheduler="cosine")


@pytest.mark.parametrize(
    ("name", "value"),
    [("weighting", "mode"), ("logit_mean", 1.0), ("logit_std", 2.0), ("mode_scale", 0.5), ("min_snr_gamma", 1.0)],
)
def test_what_is_called_inert_is(name: str, value: Any):
    assert torch.equal(drawn(100), drawn(100, **{name: value}))
    assert loss_weights(LoraTable(**{name: value}), torch.tensor([0.5])) is None
