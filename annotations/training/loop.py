"""One training run: warm-up and cosine of the learning rate, averaged weights, a curve that is kept."""

from __future__ import annotations

import copy
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from thermvision.annotations.errors import UsageError

from .pool import Chunk

Losses = Callable[[nn.Module, dict[str, Tensor]], dict[str, Tensor]]


@dataclass(frozen=True)
class Run:
    """How to train.

    Attributes:
        steps: batches.
        size: samples a batch.
        rate: highest learning rate.
        seed: of weights and samples.
        device: of torch.
        workers: processes that make samples.
        threads: of torch on the CPU.
    """

    steps: int
    size: int
    rate: float = 2e-3
    seed: int = 0
    device: str = "cpu"
    workers: int = 1
    threads: int = 1


@dataclass
class Curve:
    """The mean of every loss over each hundred batches, with the seconds that had passed.

    ``run`` holds the fields of `Run`; ``command`` is what was typed, ``machine`` what it ran on.
    """

    run: dict[str, Any]
    points: list[dict[str, float]] = field(default_factory=list)
    command: str = ""
    machine: str = ""

    def write(self, path: Path) -> None:
        """As JSON."""
        path.write_text(json.dumps(asdict(self), indent=1) + "\n", encoding="utf-8")

    @classmethod
    def read(cls, path: Path) -> Curve:
        """What `write` wrote.

        Raises:
            UsageError: there is no such file, or it says something else.
        """
        try:
            return cls(**json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError) as error:
            raise UsageError(f"{path} is no curve of a training ({error}); train the model anew") from error


def train(
    net: nn.Module,
    losses: Losses,
    samples: Iterator[Chunk],
    run: Run,
    report: Callable[[str], None] | None = None,
    keep: Callable[[nn.Module], None] | None = None,
) -> tuple[nn.Module, Curve]:
    """Train ``net`` and return the running average of its weights, with the curve.

    The sum of what ``losses`` returns is minimised by AdamW (I. Loshchilov and F. Hutter, ICLR 2019); weights are
    averaged as by B. Polyak and A. Juditsky (1992), exponentially. ``keep`` is given the average every 500 batches.
    """
    torch.manual_seed(run.seed)
    if run.device == "cpu":
        torch.set_num_threads(run.threads)
    net = net.to(run.device).to(memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    average = copy.deepcopy(net).eval()
    optimiser = torch.optim.AdamW(net.parameters(), run.rate, weight_decay=1e-3)
    sums: dict[str, float] = {}
    curve, start = Curve(asdict(run)), time.monotonic()
    for step in range(run.steps):
        for group in optimiser.param_groups:
            group["lr"] = run.rate * min(1, (step + 1) / 150) * (0.02 + 0.49 * (1 + np.cos(np.pi * step / run.steps)))
        batch = {name: torch.from_numpy(value).to(run.device) for name, value in next(samples).items()}
        with torch.autocast(run.device, dtype=torch.bfloat16):
            parts = losses(net, batch)
        optimiser.zero_grad(set_to_none=True)
        torch.stack(list(parts.values())).sum().backward()
        nn.utils.clip_grad_norm_(net.parameters(), 5.0)
        optimiser.step()
        _follow(average, net, min(0.998, (step + 1) / (step + 20)))
        for name, value in parts.items():
            sums[name] = sums.get(name, 0.0) + float(value.detach())
        if keep and (step + 1) % 500 == 0:
            keep(average)
        if (step + 1) % 100 == 0 or step + 1 == run.steps:
            count = step % 100 + 1
            point = {"step": step + 1, "seconds": round(time.monotonic() - start, 1)}
            curve.points.append(point | {name: round(total / count, 4) for name, total in sums.items()})
            sums = {}
            if report:
                report(" ".join(f"{name} {value:g}" for name, value in curve.points[-1].items()))
    return average.to("cpu"), curve


@torch.no_grad()
def _follow(average: nn.Module, net: nn.Module, decay: float) -> None:
    for mean, value in zip(average.state_dict().values(), net.state_dict().values(), strict=True):
        if mean.dtype.is_floating_point:
            mean.lerp_(value, 1 - decay)
        else:
            mean.copy_(value)
