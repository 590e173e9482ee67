"""How noisy the pictures of a step are, what the network's output stands for, and how the loss is weighted.

The formulas are those of kohya's sd-scripts (``flux_train_utils``, ``sd3_train_utils``), which the article's trainer
uses; logit-normal, mode and cosine-map weightings are of Esser et al., "Scaling Rectified Flow Transformers for
High-Resolution Image Synthesis", ICML 2024, section 3.1. `inert` names the settings that have no effect.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from thermvision.generation.engines.flux.presets import resolution_shift
from thermvision.generation.flux_tables import LoraTable

_LEVELS = 1000  # of the scheduler that "sigma" picks from


def draw_sigmas(table: LoraTable, count: int, size: tuple[int, int], generator: torch.Generator) -> Tensor:
    """(count,) float32 noise levels in (0, 1] for pictures of ``size`` (width, height) pixels.

    >>> table = LoraTable()
    >>> drawn = draw_sigmas(table, 20_000, (512, 512), torch.Generator().manual_seed(0))
    >>> round(float(drawn.mean()), 2)
    0.72
    """
    if table.timestep_sampling == "uniform":
        return torch.rand(count, generator=generator)
    if table.timestep_sampling == "sigma":
        return _picked(table, _density(table, count, generator))
    drawn = torch.sigmoid(table.sigmoid_scale * torch.randn(count, generator=generator))
    if table.timestep_sampling == "shift":
        return shifted(drawn, table.discrete_flow_shift)
    if table.timestep_sampling == "flux_shift":
        return shifted(drawn, math.exp(resolution_shift(*size)))
    return drawn


def shifted(sigmas: Tensor, shift: float) -> Tensor:
    """s t / (1 + (s - 1) t)."""
    return shift * sigmas / (1 + (shift - 1) * sigmas)


def _density(table: LoraTable, count: int, generator: torch.Generator) -> Tensor:
    """Places (count,) in [0, 1) in the scheduler's table, 0 the noisiest."""
    if table.weighting == "logit_normal":
        return torch.sigmoid(table.logit_mean + table.logit_std * torch.randn(count, generator=generator))
    u = torch.rand(count, generator=generator)
    if table.weighting == "mode":
        return 1 - u - table.mode_scale * (torch.cos(math.pi * u / 2) ** 2 - 1 + u)
    return u


def _picked(table: LoraTable, places: Tensor) -> Tensor:
    index = (places * _LEVELS).long().clamp(0, _LEVELS - 1)
    return shifted((_LEVELS - index) / _LEVELS, table.discrete_flow_shift)


def loss_weights(table: LoraTable, sigmas: Tensor) -> Tensor | None:
    """Weight of each picture's loss, or None where all count alike."""
    if table.model_prediction != "sigma_scaled":
        return None
    if table.weighting == "sigma_sqrt":
        return sigmas**-2
    if table.weighting == "cosmap":
        return 2 / (math.pi * (1 - 2 * sigmas + 2 * sigmas**2))
    return torch.ones_like(sigmas)


def prediction(table: LoraTable, output: Tensor, noisy: Tensor, sigmas: Tensor) -> Tensor:
    """What is compared with noise minus picture; ``output`` and ``noisy`` (B, L, C), ``sigmas`` (B,)."""
    if table.model_prediction == "additive":
        return output + noisy
    if table.model_prediction == "sigma_scaled":
        return noisy - output * sigmas.view(-1, 1, 1)
    return output


def inert(table: LoraTable) -> list[str]:
    """Settings that change nothing in this combination, each with the reason.

    >>> for line in inert(LoraTable())[:2]:
    ...     print(line)
    weighting = 'logit_normal': counts with timestep_sampling = 'sigma' or model_prediction = 'sigma_scaled'
    logit_mean = 0.0: counts with timestep_sampling = 'sigma' and weighting = 'logit_normal'
    """
    sampling, weighting = table.timestep_sampling, table.weighting
    by_place = sampling == "sigma"
    where = "counts with timestep_sampling = 'sigma'"
    reasons = {
        "weighting": None
        if by_place or table.model_prediction == "sigma_scaled" or weighting == "none"
        else f"{where} or model_prediction = 'sigma_scaled'",
        **{
            name: None if by_place and weighting == kind else f"{where} and weighting = '{kind}'"
            for name, kind in (("logit_mean", "logit_normal"), ("logit_std", "logit_normal"), ("mode_scale", "mode"))
        },
        "sigmoid_scale": None
        if sampling in ("shift", "sigmoid", "flux_shift")
        else "counts with timestep_sampling = 'shift', 'sigmoid' or 'flux_shift'",
        "discrete_flow_shift": None
        if sampling in ("shift", "sigma")
        else "counts with timestep_sampling = 'shift' or 'sigma'",
        "min_snr_gamma": "flow matching has no such weighting; the article's trainer ignores it, too"
        if table.min_snr_gamma
        else None,
        "warmup_steps": "scheduler = 'constant' has no warm-up; 'constant_with_warmup' has"
        if table.scheduler == "constant" and table.warmup_steps
        else None,
        "highvram": "caches are read a picture at a time, nothing is cleared in between" if table.highvram else None,
        "attention": "PyTorch's own attention is used; results are the same but for rounding"
        if table.attention != "sdpa"
        else None,
    }
    return [f"{name} = {getattr(table, name)!r}: {reason}" for name, reason in reasons.items() if reason]
