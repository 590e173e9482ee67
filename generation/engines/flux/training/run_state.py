"""Where a training is, in one file: adapter, optimiser, losses, step. With it a run goes on exactly where it was.

No state of a random generator is in it: what is drawn for a step is a function of the seed, the step and the process
(see `draws`), and so is the order of the pictures (`captions.batches`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from thermvision.annotations.errors import DamagedInputError, ThermVisionError, UsageError
from thermvision.curation.store import canonical_json
from thermvision.generation.engines.flux.tensor_files import read_metadata, read_tensors, write_tensors
from thermvision.generation.flux_tables import LoraTable

KEPT = 2  # states: the newest, and one more should that be damaged
_FORMAT = "thermvision-lora-state-1"
_NAME = re.compile(r"step-(\d{6,})\.safetensors")
# keys of [lora] that may change between two runs: they decide no weight
_FREE = (
    "name", "validation", "loops", "save_dtype", "cache_latents", "cache_text", "blocks_to_swap", "highvram",
    "attention", "gradient_checkpointing", "min_snr_gamma",
)  # fmt: skip


@dataclass(frozen=True)
class RunState:
    """A training after ``step`` steps.

    Attributes:
        step: how many are done.
        parameters: of the adapter.
        moments: tensors of the optimiser, see `optimisers.optimiser_state`.
        numbers: of the optimiser.
        losses: one a step.
        identity: what has to be the same when a run goes on, see `identity_of`.
    """

    step: int
    parameters: Mapping[str, Tensor]
    moments: Mapping[str, Tensor]
    numbers: Mapping[str, float | int]
    losses: list[float] = field(default_factory=list)
    identity: Mapping[str, Any] = field(default_factory=dict)


def draws(seed: int, step: int, process: int) -> torch.Generator:
    """The generator of one step on one process.

    >>> bool(torch.rand(1, generator=draws(1, 5, 0)) == torch.rand(1, generator=draws(1, 5, 0)))
    True
    """
    word = np.random.SeedSequence(seed, spawn_key=(1, step, process)).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(word) >> 1)


def identity_of(
    table: LoraTable, training_set: str, weights: Mapping[str, str], precision: str, processes: int
) -> dict[str, Any]:
    """What decides the weights, in plain values. ``steps`` is free where the learning rate does not look at it."""
    settings = table.model_dump(mode="json")
    for key in (*_FREE, "datasets", *(("steps",) if table.scheduler.startswith("constant") else ())):
        settings.pop(key, None)
    return {
        "settings": settings,
        "training_set": training_set,
        "weights": dict(weights),
        "precision": precision,
        "processes": processes,
    }


def write_state(folder: Path, state: RunState) -> Path:
    """Write ``state`` beside the older ones, of which `KEPT` stay.

    Raises:
        OutputError: no room or no permission; what was there is still there.
    """
    tensors = {f"parameter.{k}": t for k, t in state.parameters.items()}
    tensors |= {f"moment.{k}": t for k, t in state.moments.items()}
    tensors["losses"] = torch.tensor(state.losses, dtype=torch.float64)
    notes = {"step": state.step, "numbers": dict(state.numbers), "identity": dict(state.identity)}
    path = folder / f"step-{state.step:06d}.safetensors"
    write_tensors(path, tensors, {"format": _FORMAT, "run": canonical_json(notes)})
    for old in states_in(folder)[KEPT:]:
        old.unlink(missing_ok=True)
    return path


def states_in(folder: Path) -> list[Path]:
    """State files, the newest first."""
    if not folder.is_dir():
        return []
    found = {path: int(match[1]) for path in folder.iterdir() if (match := _NAME.fullmatch(path.name))}
    return sorted(found, key=lambda path: -found[path])


def read_state(path: Path) -> RunState:
    """One state.

    Raises:
        DamagedInputError: it is no state, or broken.
    """
    notes, tensors = read_metadata(path), read_tensors(path)
    try:
        if notes["format"] != _FORMAT:
            raise ValueError(f"format is {notes['format']!r}, not {_FORMAT!r}")
        run = json.loads(notes["run"])
        step, losses = int(run["step"]), tensors.pop("losses").tolist()
        if len(losses) != step:
            raise ValueError(f"{len(losses)} losses for {step} steps")
        split: dict[str, dict[str, Tensor]] = {"parameter": {}, "moment": {}}
        for key, tensor in tensors.items():
            kind, _, name = key.partition(".")
            split[kind][name] = tensor
        return RunState(step, split["parameter"], split["moment"], dict(run["numbers"]), losses, dict(run["identity"]))
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise DamagedInputError(
            f"{path} is no state of a training ({error}); delete it and go on with --resume"
        ) from error


def newest_state(folder: Path) -> tuple[RunState | None, list[str]]:
    """The newest state that can be read, and why newer ones cannot.

    Raises:
        DamagedInputError: there are states and none can be read.
    """
    notes: list[str] = []
    for path in states_in(folder):
        try:
            return read_state(path), notes
        except ThermVisionError as error:
            notes.append(str(error))
    if notes:
        raise DamagedInputError(f"no state in {folder} can be read: {'; '.join(notes)}; begin again in a new --out")
    return None, notes


def check_identity(state: RunState, now: Mapping[str, Any], folder: Path) -> None:
    """Raise where going on from ``state`` would be another training than the one that was begun.

    Raises:
        UsageError: it names each difference.
    """
    then = json.loads(canonical_json(dict(state.identity)))
    flat_then, flat_now = _flat(then), _flat(json.loads(canonical_json(dict(now))))
    changed = sorted(k for k in flat_then.keys() | flat_now.keys() if flat_then.get(k) != flat_now.get(k))
    if changed:
        listed = "; ".join(f"{k} was {flat_then.get(k)!r}, is {flat_now.get(k)!r}" for k in changed[:6])
        raise UsageError(
            f"the training in {folder} was begun otherwise: {listed}; give it what it had, or train into a new --out"
        )


def _flat(values: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict):
            found |= _flat(value, f"{before}{key}.")
        else:
            found[f"{before}{key}"] = value
    return found
