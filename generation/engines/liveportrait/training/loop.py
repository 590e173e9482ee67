"""One fine-tuning: warm-up and cosine of the learning rate, a curve, figures on held-out people before and after."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from thermvision.annotations.errors import UsageError

Batch = dict[str, Tensor]
WARM_UP = 50  # steps
NOTED_EVERY, KEPT_EVERY = 50, 500
_MOST_GRADIENT = 5.0  # norm


@dataclass(frozen=True)
class Run:
    """How to fine-tune.

    Attributes:
        steps: batches, 1 or more.
        size: samples a batch, 1 or more.
        rate: highest learning rate, above 0 and up to 0.1.
        seed: of what is drawn.
        device: "auto", "cpu" or "cuda".

    Raises:
        UsageError: a value outside these limits.
    """

    steps: int
    size: int
    rate: float
    seed: int = 0
    device: str = "auto"

    def __post_init__(self) -> None:
        for name, low, high in (("steps", 1, 10**7), ("size", 1, 4096), ("rate", 1e-9, 0.1), ("seed", 0, 2**63)):
            if not low <= (value := getattr(self, name)) <= high:
                raise UsageError(f"{name} is {value}; allowed: {low}..{high}")


@dataclass(frozen=True)
class Task:
    """What is trained.

    Attributes:
        parameters: that may change, by name.
        sample: draws a batch.
        losses: of a batch; their sum is minimised.
        held_out: figures on people that are never drawn, each better when smaller.
    """

    parameters: Mapping[str, nn.Parameter]
    sample: Callable[[np.random.Generator], Batch]
    losses: Callable[[Batch], dict[str, Tensor]]
    held_out: Callable[[], dict[str, float]]


@dataclass
class Curve:
    """How a training went: means of the losses over stretches of batches, and held-out figures."""

    run: dict[str, Any]
    points: list[dict[str, float]] = field(default_factory=list)
    before: dict[str, float] = field(default_factory=dict)
    after: dict[str, float] = field(default_factory=dict)


def rate_at(step: int, run: Run) -> float:
    """Learning rate of a step: warm-up, then a cosine down to a fiftieth.

    >>> run = Run(steps=1000, size=1, rate=1e-3)
    >>> [round(rate_at(step, run) / run.rate, 2) for step in (0, 50, 525, 1000)]
    [0.02, 0.99, 0.47, 0.02]
    """
    return run.rate * min(1.0, (step + 1) / WARM_UP) * (0.02 + 0.49 * (1 + math.cos(math.pi * step / run.steps)))


def train(
    task: Task,
    run: Run,
    device: torch.device,
    report: Callable[[str], None] | None = None,
    keep: Callable[[], None] | None = None,
) -> Curve:
    """Train in place, by AdamW (Loshchilov and Hutter, ICLR 2019) without decay, and return the curve.

    On CUDA losses are computed under autocast to bfloat16. ``keep`` is called every 500 batches.

    Raises:
        UsageError: the loss is no longer a number.
    """
    curve = Curve(asdict(run), before=_measured(task))
    rng = np.random.default_rng(np.random.SeedSequence(run.seed, spawn_key=(1,)))
    parameters = list(task.parameters.values())
    optimiser = torch.optim.AdamW(parameters, run.rate, weight_decay=0.0)
    sums: dict[str, float] = {}
    counted, start = 0, time.monotonic()
    for step in range(run.steps):
        for group in optimiser.param_groups:
            group["lr"] = rate_at(step, run)
        batch = task.sample(rng)
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=device.type == "cuda"):
            parts = task.losses(batch)
        total = torch.stack([part.float() for part in parts.values()]).sum()
        if not bool(total.isfinite()):
            raise UsageError(f"the loss of step {step + 1} is {float(total.detach())}; lower --rate, it was {run.rate}")
        optimiser.zero_grad(set_to_none=True)
        total.backward()
        nn.utils.clip_grad_norm_(parameters, _MOST_GRADIENT)
        optimiser.step()
        counted += 1
        for name, part in parts.items():
            sums[name] = sums.get(name, 0.0) + float(part.detach())
        if (step + 1) % NOTED_EVERY == 0 or step + 1 == run.steps:
            point = {"step": step + 1, "seconds": round(time.monotonic() - start, 1)}
            curve.points.append(point | {name: float(f"{value / counted:.5g}") for name, value in sums.items()})
            sums, counted = {}, 0
            if report:
                report(" ".join(f"{name} {value:g}" for name, value in curve.points[-1].items()))
        if keep and (step + 1) % KEPT_EVERY == 0 and step + 1 < run.steps:
            keep()
    curve.after = _measured(task)
    return curve


def _measured(task: Task) -> dict[str, float]:
    with torch.no_grad():
        return {name: float(f"{value:.6g}") for name, value in task.held_out().items()}
