"""Several processes that train one adapter: each takes its own pictures, gradients are averaged.

Started by ``accelerate launch`` (or ``torchrun``); without one there is a single process and nothing to wait for.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import groupby

import torch
from torch import Tensor, nn

from thermvision.annotations.errors import UsageError

_PATIENCE = timedelta(hours=6)  # processes wait for each other while pictures and captions are encoded


@dataclass(frozen=True)
class Processes:
    """This process among all. Without a launcher ``count`` is 1 and every method does nothing."""

    index: int
    count: int
    device: torch.device

    @property
    def first(self) -> bool:
        """Whether this one writes files and speaks."""
        return self.index == 0

    def wait(self) -> None:
        """Until all are here."""
        if self.count > 1:
            torch.distributed.barrier()

    def average(self, tensors: Sequence[Tensor]) -> None:
        """Replace each by its mean over the processes; they are of one device."""
        if self.count == 1:
            return
        for _, same in groupby(sorted(tensors, key=lambda t: str(t.dtype)), key=lambda t: t.dtype):
            members = list(same)
            flat = torch.cat([t.reshape(-1) for t in members])
            torch.distributed.all_reduce(flat)
            flat /= self.count
            for tensor, mean in zip(members, flat.split([t.numel() for t in members]), strict=True):
                tensor.copy_(mean.view_as(tensor))

    def average_gradients(self, parameters: Sequence[nn.Parameter]) -> None:
        """Gradients of all parameters; one that has none counts as zero."""
        if self.count == 1:
            return
        for parameter in parameters:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        self.average([p.grad for p in parameters if p.grad is not None])

    def end(self) -> None:
        """Leave the group, so that no process is ended while another still talks to it."""
        if self.count > 1:
            self.wait()
            torch.distributed.destroy_process_group()


def join(device: str) -> Processes:
    """Join the processes a launcher started, or be the only one, on ``device`` ("auto": CUDA where there is one).

    Raises:
        UsageError: the device is not there.
    """
    if (launched := int(os.environ.get("WORLD_SIZE", "1"))) > 1:
        from accelerate import PartialState

        state = PartialState(cpu=device == "cpu" or not torch.cuda.is_available(), timeout=_PATIENCE)
        if state.num_processes != launched:
            raise UsageError(
                f"{launched} processes were launched and {state.num_processes} found each other; start them with"
                " accelerate launch or torchrun"
            )
        return Processes(state.process_index, state.num_processes, state.device)
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UsageError(
            f"device {device!r} cannot be used ({str(error).splitlines()[0]}); allowed: auto, cpu, cuda …"
        ) from error
    return Processes(0, 1, torch.device(device))
