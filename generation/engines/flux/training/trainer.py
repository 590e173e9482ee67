"""One adapter in training: batches in their order, gradients, steps; and its state, from which it goes on exactly."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from thermvision.annotations.errors import DamagedInputError, UsageError
from thermvision.generation.engines.flux.sampling import DeviceFullError
from thermvision.generation.flux_tables import LoraTable

from .caches import Prepared
from .captions import Example, batches
from .lora_layers import Trained
from .objective import batch_loss
from .optimisers import learning_rate, make_optimiser, optimiser_state, restore_optimiser
from .processes import Processes
from .run_state import RunState, draws


class LossError(UsageError):
    """The loss or the gradient is no number; the weights are those of the step before."""


class Trainer:
    """An adapter and how far it is.

    Args:
        transformer: with the adapter in it, on the device.
        trained: the adapter's parameters.
        table: how to train.
        prepared: latents and texts of all ``examples``.
        examples: to train on.
        processes: among which steps are shared out.
        dtype: type the transformer computes in.
    """

    def __init__(
        self,
        transformer: Any,
        trained: Trained,
        table: LoraTable,
        prepared: Prepared,
        examples: Sequence[Example],
        processes: Processes,
        dtype: torch.dtype,
    ) -> None:
        self.transformer, self.trained, self.table = transformer, trained, table
        self.losses: list[float] = []
        self._prepared, self._examples = prepared, examples
        self._processes, self._dtype = processes, dtype
        self._optimiser = make_optimiser(table, list(trained.values()))
        self._epoch: tuple[int, list[tuple[Example, ...]]] = (-1, [])

    @property
    def step(self) -> int:
        """How many steps are done."""
        return len(self.losses)

    def batch(self, step: int, process: int = 0) -> tuple[Example, ...]:
        """What a process is shown at a step."""
        number = step * self._processes.count + process
        if self._epoch[0] < 0:
            self._epoch = (0, batches(self._examples, self.table.seed, 0))
        epoch, place = divmod(number, len(self._epoch[1]))  # all epochs are equally long
        if epoch != self._epoch[0]:
            self._epoch = (epoch, batches(self._examples, self.table.seed, epoch))
        return self._epoch[1][place]

    def backward(self, step: int, process: int = 0) -> float:
        """Add the gradients of one process's batch to the parameters and return its loss.

        Raises:
            DeviceFullError: out of memory.
        """
        shown = self.batch(step, process)
        try:
            loss = batch_loss(
                self.transformer,
                self.table,
                self._prepared.latents(shown),
                self._prepared.texts(shown),
                draws(self.table.seed, step, process),
                self._processes.device,
                self._dtype,
            )
            loss.backward()
        except (torch.OutOfMemoryError, MemoryError) as error:
            raise self._too_large(shown) from error
        except RuntimeError as error:
            if "can't allocate memory" not in str(error):  # what the CPU's allocator says
                raise
            raise self._too_large(shown) from error
        return float(loss.detach())

    def _too_large(self, shown: Sequence[Example]) -> DeviceFullError:
        width, height = shown[0].placement.bucket
        table = self.table
        ways = [] if table.gradient_checkpointing else ["set lora.gradient_checkpointing = true"]
        ways += ["raise lora.blocks_to_swap"] if self._processes.device.type == "cuda" else []
        anew = [] if table.fp8_base else ["set lora.fp8_base = true"]
        anew += [f"lower that dataset's batch, it is {shown[0].batch}"] if shown[0].batch > 1 else []
        anew += ["take smaller sizes"]
        saved = f"{' and '.join(ways)}, then run the same command with --resume; or " if ways else ""
        return DeviceFullError(
            f"{self._processes.device} is out of memory at step {self.step + 1} with {len(shown)} pictures of"
            f" {width} x {height}; {saved}{' or '.join(anew)} and train into a new --out"
        )

    def advance(self) -> float:
        """One step; returns its loss, the mean over the processes.

        Raises:
            LossError: the loss or a gradient is not finite; the parameters are as before.
            DeviceFullError: out of memory.
        """
        step, parameters = self.step, list(self.trained.values())
        self._optimiser.zero_grad(set_to_none=True)
        mean = torch.tensor([self.backward(step, self._processes.index)], dtype=torch.float64)
        gathered = mean.to(self._processes.device)
        self._processes.average([gathered])
        loss = float(gathered)
        self._processes.average_gradients(parameters)
        norm = float(nn.utils.clip_grad_norm_(parameters, self.table.max_grad_norm or math.inf))
        if not (math.isfinite(loss) and math.isfinite(norm)):
            self._optimiser.zero_grad(set_to_none=True)
            what = f"loss of step {step + 1} is {loss}" if not math.isfinite(loss) else f"gradient has norm {norm}"
            shown = ", ".join(sorted({e.path.name for e in self.batch(step, self._processes.index)}))
            raise LossError(
                f"the {what} (shown: {shown}); lower lora.learning_rate, it is {self.table.learning_rate}, or set"
                ' lora.gradient_dtype = "fp32", and train into a new --out'
            )
        for group in self._optimiser.param_groups:
            group["lr"] = learning_rate(self.table, step)
        self._optimiser.step()
        self.losses.append(loss)
        return loss

    def state(self, identity: Mapping[str, Any]) -> RunState:
        """Where the training is."""
        moments, numbers = optimiser_state(self._optimiser, self.trained)
        return RunState(self.step, dict(self.trained), moments, numbers, list(self.losses), identity)

    def restore(self, state: RunState) -> None:
        """Go on from ``state``, exact to the bit.

        Raises:
            DamagedInputError: it is the state of another adapter.
        """
        if (there := set(state.parameters)) != (here := set(self.trained)):
            odd = sorted(there ^ here)
            raise DamagedInputError(f"the state is of another adapter ({', '.join(odd[:4])}); train into a new --out")
        for name, parameter in self.trained.items():
            kept = state.parameters[name]
            if kept.shape != parameter.shape or kept.dtype != parameter.dtype:
                raise DamagedInputError(
                    f"the state's {name} is {kept.dtype} {tuple(kept.shape)}, the adapter's {parameter.dtype}"
                    f" {tuple(parameter.shape)}; train into a new --out"
                )
            parameter.data = kept.to(parameter.device, copy=True)
        restore_optimiser(self._optimiser, self.trained, state.moments, state.numbers)
        self.losses = list(state.losses)
