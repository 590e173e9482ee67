"""The four models and how each is trained: one call from rendered releases to an ONNX file with its curve and card."""

from __future__ import annotations

import pickle
import platform
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from thermvision.annotations.errors import UsageError

from . import grade, networks, train_crops, train_detector
from .card import write_card
from .corpus import Corpus, bake, digest_of, open_corpus
from .export import export, set_metadata
from .loop import Curve, Losses, Run, train
from .pool import Chunk
from .restore import restore

Report = Callable[[str], None]
LEARNED, CHOSEN, TESTED = ("train",), ("validation",), ("test",)


@dataclass(frozen=True)
class Task:
    """What differs between the models.

    Attributes:
        purpose: one line for the card.
        steps, size, rate: of a full run; on the CPU a run has a third of the steps.
        start: the network to train, given the number of people in the training split.
        samples: corpus folder, splits, seed, batch size and workers to batches.
        losses: what is minimised.
        exported: the trained network as it is shipped.
        inputs, outputs, free: of the ONNX file.
        grade: corpus and ONNX file to figures, on people that were never trained on.
    """

    purpose: str
    steps: int
    size: int
    rate: float
    start: Callable[[int], nn.Module]
    samples: Callable[[Path, tuple[str, ...], int, int, int], Iterator[Chunk]]
    losses: Losses
    exported: Callable[[Any], nn.Module]
    inputs: dict[str, tuple[int, ...]]
    outputs: tuple[str, ...]
    free: dict[str, dict[int, str]]
    grade: Callable[[Corpus, Path], dict[str, grade.Figure]]


def _of_crops(kind: str) -> Callable[[Path, tuple[str, ...], int, int, int], Iterator[Chunk]]:
    def samples(corpus: Path, splits: tuple[str, ...], seed: int, size: int, workers: int) -> Iterator[Chunk]:
        return train_crops.samples(corpus, splits, kind, seed, size, workers)

    return samples


TASKS: dict[str, Task] = {
    "detector": Task(
        "finds faces, with five points each, in white-hot or black-hot thermal pictures",
        30_000, 16, 2.5e-3,
        lambda _: networks.DetectorNet(),
        train_detector.samples, train_detector.losses, train_detector.Exported,
        **train_detector.EXPORT, grade=grade.detector,
    ),
    "landmarker": Task(
        "finds 68 landmarks with uncertainty and visibility, head pose, and how open eyes and mouth are",
        24_000, 48, 2e-3,
        lambda _: networks.LandmarkerNet(),
        _of_crops("landmarker"), train_crops.landmarker_losses, train_crops.ExportedLandmarker,
        **train_crops.CROP, outputs=("points", "sigma", "state", "pose", "openness"), grade=grade.landmarker,
    ),
    "embedder": Task(
        "turns an aligned face into a unit vector; the dot product of two says how alike they are",
        15_000, 64, 2e-3,
        lambda people: train_crops.Recognition(networks.EmbedderNet(), people),
        _of_crops("embedder"), train_crops.embedder_losses, lambda net: net.embedder,
        **train_crops.CROP, outputs=("embedding",), grade=grade.embedder,
    ),
    "attributes": Task(
        "reads gender (as morphology), expression, glasses, mask, beard and headwear",
        9_000, 48, 2e-3,
        lambda _: networks.AttributesNet(),
        _of_crops("attributes"), train_crops.attribute_losses, train_crops.ExportedAttributes,
        **train_crops.CROP, outputs=tuple(networks.ATTRIBUTE_SIZES), grade=grade.attributes,
    ),
}  # fmt: skip
CPU_SHARE = 3  # a run on the CPU has one step in three


def corpus_of(sources: Sequence[Path], out: Path) -> Path:
    """The corpus in ``sources``, or one baked of the releases there into ``out``/corpus (an earlier one is used again).

    Raises:
        UsageError: a source is neither.
    """
    if len(sources) == 1 and (sources[0] / "corpus.json").is_file():
        return sources[0]
    baked = out / "corpus"
    if not (baked / "corpus.json").is_file():
        bake(sources, baked)
    elif open_corpus(baked).digest != digest_of(sources):
        raise UsageError(f"{baked} was made of other releases; name another folder with --out, or remove it")
    return baked


def default_run(name: str, device: str = "auto", steps: int | None = None, workers: int = 1, seed: int = 0) -> Run:
    """The run of a task on a device; "auto" is CUDA where there is one.

    Raises:
        UsageError: no such task or device.
    """
    if name not in TASKS:
        raise UsageError(f"there is no model {name!r} to train; allowed: {', '.join(TASKS)}")
    if device not in ("auto", "cpu", "cuda"):
        raise UsageError(f"device is {device!r}; allowed: auto, cpu, cuda")
    if device == "cuda" and not torch.cuda.is_available():
        raise UsageError("device is cuda and torch sees none; type: --device cpu")
    chosen = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
    task = TASKS[name]
    count = steps or (task.steps if chosen == "cuda" else task.steps // CPU_SHARE)
    return Run(count, task.size, task.rate, seed, chosen, workers)


def train_model(
    name: str,
    corpus: Path,
    out: Path,
    run: Run,
    command: str,
    report: Report | None = None,
    start: Path | None = None,
) -> Path:
    """Train one of `TASKS` and write NAME.onnx, NAME.md and NAME.curve.json into ``out``.

    NAME.weights.pt is written every 500 batches, for ``start``.

    Args:
        name: of `TASKS`.
        corpus: folder, see `corpus_of`.
        out: folder, made if need be.
        run: see `default_run`.
        command: what the user typed, for the card.
        report: takes a line now and then.
        start: an earlier run to go on from, its NAME.weights.pt or its NAME.onnx; the learning rate starts anew.

    Raises:
        UsageError: the corpus lacks a split, or ``start`` holds no weights of this model.

    Returns:
        The ONNX file.
    """
    task, opened = TASKS[name], open_corpus(corpus)
    if lacking := [split for split in (*LEARNED, *CHOSEN, *TESTED) if not len(opened.rows(split))]:
        raise UsageError(f"{corpus} has nobody in {', '.join(lacking)}; render a release of ten people or more")
    out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(run.seed)
    people = len(np.unique(opened.identity[opened.rows(*LEARNED)]))
    samples = task.samples(corpus, LEARNED, run.seed, run.size, run.workers)
    net = task.start(people)
    if start is not None:
        if start.suffix == ".onnx":
            image = torch.from_numpy(next(samples)["image"])[:, None].float()
            restore(task.exported(net), start, image)
        else:
            _load(net, start)

    def keep(average: nn.Module) -> None:
        torch.save(average.state_dict(), out / f"{name}.weights.pt")

    net, curve = train(net, task.losses, samples, run, report, keep)
    path = out / f"{name}.onnx"
    metadata = {"corpus": opened.digest, "seed": str(run.seed), "steps": str(run.steps)}
    export(task.exported(net), path, task.inputs, task.outputs, task.free, metadata)
    if name == "detector":  # the score to cut at is part of the model
        score = grade.threshold_of(opened, path, opened.rows(*CHOSEN, facing=False))
        set_metadata(path, {"threshold": f"{score:.2f}"})
    curve.command, curve.machine = command, f"{platform.machine()}, torch {torch.__version__}, {run.device}"
    curve.write(out / f"{name}.curve.json")
    grade_model(name, corpus, out)
    return path


def _load(net: nn.Module, start: Path) -> None:
    try:
        net.load_state_dict(torch.load(start, map_location="cpu", weights_only=True))
    except (OSError, RuntimeError, ValueError, pickle.UnpicklingError) as error:
        raise UsageError(
            f"{start} holds no weights of this model ({str(error).splitlines()[0][:200]}); allowed: a NAME.weights.pt"
            " or NAME.onnx that a training of the same model wrote"
        ) from error


def grade_model(name: str, corpus: Path, out: Path) -> dict[str, grade.Figure]:
    """Measure NAME.onnx in ``out`` on the people of ``corpus`` that it never saw, and write its card anew."""
    task, opened, curve = TASKS[name], open_corpus(corpus), Curve.read(out / f"{name}.curve.json")
    figures = task.grade(opened, out / f"{name}.onnx")
    write_card(out, name, task.purpose, opened, curve, figures)
    return figures
