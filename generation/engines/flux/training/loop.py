"""A whole training: pictures and captions to an adapter, in loops that each end with a checkpoint and pictures."""

from __future__ import annotations

import contextlib
import gc
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
import torch.utils.deterministic

from thermvision.annotations.errors import OutputError, UsageError
from thermvision.curation.store import atomic_write, remove_partial
from thermvision.generation.engines.flux.loading import quiet
from thermvision.generation.engines.flux.models import FluxModels, load_models
from thermvision.generation.engines.flux.precision import working_dtype
from thermvision.generation.engines.flux.text import Conditioning
from thermvision.generation.flux_tables import FluxTable, LoraTable

from .caches import Cache, Prepared
from .captions import TrainingSet, batches, read_training_set
from .checkpoints import save_checkpoints
from .lora_layers import add_adapter, quantise_base, swap, swapped_blocks
from .processes import Processes, join
from .run_state import check_identity, identity_of, newest_state, states_in, write_state
from .timesteps import inert
from .trainer import Trainer
from .validation import draw_validation, validation_texts, write_losses

Report = Callable[[str], None]
NOTED_EVERY = 50  # steps
_PACKAGES = ("torch", "diffusers", "transformers", "peft", "accelerate", "came-pytorch", "safetensors")


@dataclass(frozen=True)
class Outcome:
    """How a training ended.

    Attributes:
        checkpoint: the last adapter, in kohya's layout.
        losses: one a step.
        notes: inert settings, pictures that could not be used, captions that were cut, states that were broken.
        unused: of these, what is about pictures.
        seconds_a_step: of this run's steps; 0 where none was left.
        first: whether this process is the one that wrote the files.
    """

    checkpoint: Path
    losses: list[float]
    notes: list[str] = field(default_factory=list)
    unused: tuple[str, ...] = ()
    seconds_a_step: float = 0.0
    first: bool = True


def train_lora(
    table: LoraTable,
    flux: FluxTable,
    out: Path,
    *,
    root: Path | None = None,
    resume: bool = False,
    save_every: int = 250,
    report: Report | None = None,
    stop_after: int | None = None,
) -> Outcome:
    """Train an adapter into the folder ``out``.

    ``out/state`` holds what a later run goes on from, written every ``save_every`` steps and after each loop;
    ``out/caches`` what was encoded; checkpoints, ``validation``, ``losses.csv`` and ``loss.png`` come after each loop.

    Args:
        table: what to train and how.
        flux: which networks.
        out: folder; new, unless ``resume``.
        root: what paths of datasets are relative to.
        resume: go on from the newest state, or begin where there is none.
        save_every: steps between states: what a crash can cost at most.
        report: gets progress.
        stop_after: stop once this many steps are done, with a state written, as an interrupted run would.

    Raises:
        UsageError: nothing to train on, a folder that is in use, another training's state.
        LossError: the loss is no number; the last state is kept.
        DeviceFullError: out of memory; the last state is kept.
        MissingDependencyError, DamagedInputError: as `load_models` does.
    """
    processes = join(flux.device)
    heard = report if processes.first else None
    with _repeatable(processes.device):
        outcome = _train(table, flux, out, root, resume, save_every, heard, stop_after, processes)
    processes.end()  # not after an error: the others may be waiting elsewhere, and the launcher ends them
    return outcome


def _train(
    table: LoraTable,
    flux: FluxTable,
    out: Path,
    root: Path | None,
    resume: bool,
    save_every: int,
    report: Report | None,
    stop_after: int | None,
    processes: Processes,
) -> Outcome:
    say: Report = report or (lambda _: None)
    check_out(out, resume)
    check_apart(out, table, root)
    training = read_training_set(table.datasets, root)
    notes = [*inert_settings(table, processes.device), *training.findings]
    if flux.loras:
        notes.append("flux.loras: an adapter is trained on the plain model; these count for drawing")
    for note in notes:
        say(note)
    precision = base_precision(flux, processes.device)
    dtype = working_dtype(precision)
    with quiet():
        models = load_models(flux.model_copy(update={"precision": precision, "device": "cpu"}))
    models.device = processes.device
    identity = identity_of(
        table, training.digest, models.digests, f"{precision}{', fp8 base' if table.fp8_base else ''}", processes.count
    )
    state, broken = newest_state(out / "state")
    if state is not None:
        check_identity(state, identity, out)
    processes.wait()  # nobody writes before all have looked
    prepared, texts, cut = _encode(models, table, training, out, processes, say)
    trainer = _trainer(models, table, training, prepared, processes, dtype)
    if state is not None:
        trainer.restore(state)
        say(f"going on after step {state.step}")
    further = [*cut, *broken, *(["the networks are random: the adapter is of use with them alone"] * models.random)]
    for note in further:
        say(note)
    notes += further
    if processes.first:
        _write_description(out, table, training, models, identity, notes)
    checkpoint = Path()
    began, start = time.monotonic(), trainer.step
    end = min(table.steps, stop_after or table.steps)
    ends = loop_ends(table)
    while True:
        if trainer.step in ends and processes.first:
            checkpoint = _end_loop(trainer, models, table, texts, out, identity, say)
        if trainer.step >= end:
            break
        trainer.advance()
        _note_progress(trainer, start, began, say)
        if processes.first and (trainer.step % save_every == 0 or trainer.step == end or trainer.step in ends):
            write_state(out / "state", trainer.state(identity))
    processes.wait()
    done = trainer.step - start
    pace = (time.monotonic() - began) / done if done else 0.0
    return Outcome(checkpoint, trainer.losses, notes, training.findings, pace, processes.first)


def check_out(out: Path, resume: bool) -> None:
    """Raise where ``out`` holds what this training would not go on with.

    Raises:
        UsageError: it is a file, or holds a training and ``resume`` is not asked for.
        OutputError: something else is in it.
    """
    if out.is_file():
        raise UsageError(f"--out {out} is a file; name a folder")
    if states_in(out / "state") and not resume:
        raise UsageError(f"{out} holds a training; go on with --resume, or name a new --out")
    if out.is_dir() and any(out.iterdir()) and not (out / "run.json").is_file() and not (out / "caches").is_dir():
        raise OutputError(f"{out} is not empty and holds no training; name a new --out")


def check_apart(out: Path, table: LoraTable, root: Path | None) -> None:
    """Raise where ``out`` lies in a folder of pictures, whose pictures would then be trained on.

    Raises:
        UsageError: it does.
    """
    for dataset in table.datasets:
        folder = ((root or Path()) / dataset.path).resolve()
        if out.resolve().is_relative_to(folder):
            raise UsageError(f"--out {out} lies in the pictures' folder {folder}; name one elsewhere")


@contextlib.contextmanager
def _repeatable(device: torch.device) -> Iterator[None]:
    """On CUDA choose kernels that give the same sums each time; on a CPU they do anyway."""
    if device.type != "cuda":
        yield
        return
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    extras: Any = torch.utils.deterministic
    before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    filled = extras.fill_uninitialized_memory
    torch.use_deterministic_algorithms(True, warn_only=True)
    extras.fill_uninitialized_memory = False  # it would be written twice
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])
        extras.fill_uninitialized_memory = filled


def base_precision(flux: FluxTable, device: torch.device) -> str:
    """The type the base computes in, "fp32" or "bf16": as asked for, else fp32 on a CPU and bf16 on anything else.

    >>> base_precision(FluxTable(), torch.device("cuda"))
    'bf16'
    """
    if flux.precision == "fp32" or (flux.precision == "auto" and device.type == "cpu"):
        return "fp32"
    return "bf16"


def inert_settings(table: LoraTable, device: torch.device) -> list[str]:
    """Settings without effect, see `timesteps.inert`, and those that are about a GPU's memory where there is none."""
    lines = inert(table)
    if table.blocks_to_swap and device.type == "cpu":
        lines.append(f"blocks_to_swap = {table.blocks_to_swap}: there is no GPU whose memory it could save")
    elif table.blocks_to_swap and not table.gradient_checkpointing:
        lines.append(f"blocks_to_swap = {table.blocks_to_swap}: needs gradient_checkpointing = true; not swapped")
    return lines


def loop_ends(table: LoraTable) -> list[int]:
    """Steps after which a loop ends.

    >>> loop_ends(LoraTable())
    [750, 1500, 2250, 3000]
    """
    return sorted({table.steps * (k + 1) // table.loops for k in range(table.loops)} - {0})


def _encode(
    models: FluxModels, table: LoraTable, training: TrainingSet, out: Path, processes: Processes, say: Report
) -> tuple[Prepared, list[Conditioning], list[str]]:
    """Latents and texts of the training set and texts of the validation; the text encoders are dropped."""
    latents, texts = (
        Cache(out / "caches" / name if where == "disk" else None)
        for name, where in (("latents", table.cache_latents), ("texts", table.cache_text))
    )
    if processes.first and (out / "caches").is_dir():
        remove_partial(out / "caches")
    prepared = Prepared(latents, texts, models.digests, table.t5_attention_mask, models.dtype)
    encoders: list[Any] = [models.vae, models.clip, models.t5]
    for module in encoders:
        module.to(processes.device)
    on_disk = table.cache_latents == table.cache_text == "disk"
    share = training.examples[processes.index :: processes.count] if on_disk else training.examples
    notes = prepared.fill(models, share, say)
    validation = validation_texts(models, table.validation, table.t5_attention_mask)
    models.clip = models.t5 = None
    models.vae.to("cpu")
    if processes.device.type == "cuda":
        gc.collect()
        torch.cuda.empty_cache()
    processes.wait()
    return prepared, validation, notes


def _trainer(
    models: FluxModels,
    table: LoraTable,
    training: TrainingSet,
    prepared: Prepared,
    processes: Processes,
    dtype: torch.dtype,
) -> Trainer:
    transformer: Any = models.transformer
    wide = torch.bfloat16 if table.gradient_dtype == "bf16" else torch.float32
    trained = add_adapter(transformer, table.rank, table.alpha, table.seed, wide)
    if table.fp8_base:
        quantise_base(transformer, dtype)
    transformer.to(processes.device)
    if table.gradient_checkpointing:
        transformer.enable_gradient_checkpointing()
        if processes.device.type != "cpu":
            swap(swapped_blocks(transformer, table.blocks_to_swap), processes.device)
    return Trainer(transformer, trained, table, prepared, training.examples, processes, dtype)


def _end_loop(
    trainer: Trainer,
    models: FluxModels,
    table: LoraTable,
    texts: list[Conditioning],
    out: Path,
    identity: Mapping[str, Any],
    say: Report,
) -> Path:
    """Checkpoints, pictures, plot. Run again after a crash it makes what is missing."""
    checkpoint = save_checkpoints(
        trainer.trained, models.transformer, table, out, trainer.step, dict(identity["weights"])
    )
    if texts:
        models.vae.to(models.device)
        draw_validation(models, texts, table.validation, out / "validation", trainer.step)
        models.vae.to("cpu")
    write_losses(table, trainer.losses, out)
    say(f"step {trainer.step}: wrote {checkpoint}")
    return checkpoint


def _note_progress(trainer: Trainer, start: int, began: float, say: Report) -> None:
    step = trainer.step
    if step % NOTED_EVERY and step != trainer.table.steps:
        return
    recent = trainer.losses[-NOTED_EVERY:]
    pace = (time.monotonic() - began) / (step - start)
    left = (trainer.table.steps - step) * pace
    say(
        f"step {step} of {trainer.table.steps}: loss {sum(recent) / len(recent):.4f},"
        f" {pace:.3g} s a step, {left / 60:.0f} min left"
    )


def _write_description(
    out: Path,
    table: LoraTable,
    training: TrainingSet,
    models: FluxModels,
    identity: Mapping[str, Any],
    notes: list[str],
) -> None:
    values = {
        "settings": table.model_dump(mode="json"),
        "identity": dict(identity),
        "pictures": len({e.sha256 for e in training.examples}),
        "steps_an_epoch": len(batches(training.examples, table.seed, 0)),
        "held_out": training.held_out,
        "random_weights": models.random,
        "notes": notes,
        "packages": {name: _version(name) for name in _PACKAGES},
    }
    atomic_write(out / "run.json", json.dumps(values, indent=2, ensure_ascii=False) + "\n")


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
