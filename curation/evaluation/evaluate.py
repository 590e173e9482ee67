"""Scores of what a model or a file says of faces, against the truth of a release or of a label file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from thermvision.annotations.errors import UsageError
from thermvision.annotations.findings import Finding

from ..inputs import Input, is_release, open_input
from ..sources import Source, open_source
from . import tasks
from .files import Sizes, read_labels
from .frames import (
    KeyIndex,
    KnownFrame,
    evenly_spread,
    file_frames,
    is_frame_table,
    release_frames,
    table_frames,
)
from .measures import FOLDS, Measure, Options, TaskResult, pair_faces
from .models import Models, check_pictures, open_models, pictures, readable, run_models

_Seen = TypeVar("_Seen")
TASKS = tasks.TASKS
FORMAT = "thermvision-evaluation/1"
DEFAULT_FRAMES = 8  # of each clip, when models run
_NEEDS = {
    "landmarks": "landmarks of 68, 70, 54, 203 or 5 points",
    "pose": "head poses",
    "verification": "subjects",
    "attributes": "labels of attributes",
}


@dataclass(frozen=True, eq=False)
class Truth:
    """What is taken for true: frames, those of the training split for baselines, and where pixels are."""

    name: str
    frames: tuple[KnownFrame, ...]
    reference: tuple[KnownFrame, ...] = ()
    split: str | None = None
    images: Path | None = None
    notes: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = ()


@dataclass(frozen=True)
class Report:
    """The result of an evaluation: facts about what was compared, and a `TaskResult` for each task."""

    facts: Mapping[str, Any]
    results: Mapping[str, TaskResult]
    notes: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON; what is not defined is null."""
        listed = {
            name: {
                "measures": [asdict(m) for m in result.measures],
                "curves": result.curves,
                "tables": result.tables,
                "notes": result.notes,
            }
            for name, result in self.results.items()
        }
        plain: dict[str, Any] = _plain({"format": FORMAT, **self.facts, "tasks": listed, "notes": list(self.notes)})
        return plain

    def table(self) -> Table:
        """The measures as a table for people."""
        table = Table(title=f"{self.facts['predictions']} against {self.facts['truth']}", title_justify="left")
        for column in ("task", "measure", "value", "95 % interval", "baseline", "count"):
            table.add_column(column, justify="left" if column in ("task", "measure") else "right")
        for name, result in self.results.items():
            for place, measure in enumerate(result.measures):
                ends = "" if measure.interval is None else " – ".join(_shown(end, measure) for end in measure.interval)
                values = (_shown(measure.value, measure), ends, _shown(measure.baseline, measure), str(measure.count))
                last = place == len(result.measures) - 1
                table.add_row(name if place == 0 else "", measure.name, *values, end_section=last)
        return table


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(v) for key, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value


def _shown(value: float | None, measure: Measure) -> str:
    if value is None:
        return "–"
    if measure.unit == "count":
        return f"{value:.0f}"
    return f"{value:.2f}°" if measure.unit == "°" else f"{value:.4f}"


def read_truth(
    path: Path,
    split: str | None = "test",
    per_clip: int = 0,
    images: Path | None = None,
    format: str | None = None,
) -> Truth:
    """The truth in ``path``: a release folder, the published archives, or a label file.

    Args:
        path: what to read.
        split: of a release; None: all of it, and no training split is left to make baselines of.
        per_clip: frames of each clip, evenly spread; 0: all.
        images: where the pictures of a label file lie; None: beside it.
        format: of a label file, where it is not recognised.

    Raises:
        UsageError, DamagedInputError: there is nothing to read.
    """
    if not path.exists():
        raise UsageError(f"{path} does not exist; allowed: a release folder, or a label file with --images FOLDER")
    if is_release(path) or path.suffix.lower() == ".zip":
        source = open_source(path)
        frames, notes = release_frames(source, split, per_clip)
        reference = _training_frames(source, split, per_clip)
        return Truth(source.root.name, tuple(frames), tuple(reference), split, path, tuple(notes))
    frames, notes, findings = _label_frames(path, images, format)
    folder = images or (path if path.is_dir() else path.parent)
    return Truth(path.name, tuple(frames), images=folder, notes=tuple(notes), findings=tuple(findings))


def _training_frames(source: Source, split: str | None, per_clip: int) -> list[KnownFrame]:
    offered = {s for c in ("frames", "scenes") if c in source.configs for s in source.parts(c)}
    if split in (None, "train") or "train" not in offered:
        return []
    # a mean needs no more than a few frames of a clip
    return release_frames(source, "train", min(per_clip or DEFAULT_FRAMES, DEFAULT_FRAMES))[0]


def _label_frames(
    path: Path, images: Path | None, format: str | None, known: Sizes | None = None
) -> tuple[list[KnownFrame], list[str], list[Finding]]:
    if path.suffix == ".parquet" and is_frame_table(path):
        return table_frames(path), [], []
    reading = read_labels(path, images, format, known)
    frames, notes = file_frames(reading.files)
    if not frames:
        first = f": {reading.findings[0]}" if reading.findings else ""
        raise UsageError(f"{path} names no image{first}; allowed: labels of at least one image")
    return frames, notes, list(reading.findings)


def read_predictions(
    path: Path, truth: Truth, format: str | None = None
) -> tuple[dict[str, KnownFrame], list[str], list[Finding]]:
    """What a file or release says of the frames of ``truth``, by their keys, with notes and findings.

    Raises:
        UsageError: it names no frame of the truth.
    """
    findings: list[Finding] = []
    index = KeyIndex(frame.key for frame in truth.frames)
    sizes = {frame.key: (frame.width, frame.height) for frame in truth.frames}

    def size_of(name: str) -> tuple[int, int] | None:
        width, height = sizes.get(index.find(name) or "", (None, None))
        return None if width is None or height is None else (width, height)

    if not path.exists():
        raise UsageError(f"--predictions {path} does not exist; allowed: a label file, a Parquet table or a release")
    notes: list[str] = []
    if is_release(path):
        frames = release_frames(open_source(path), None)[0]
    else:
        frames, notes, findings = _label_frames(path, truth.images, format, size_of)
    found: dict[str, KnownFrame] = {}
    strangers = []
    for frame in frames:
        key = index.find(frame.key)
        if key is None:
            strangers.append(frame.key)
        elif key in found:
            raise UsageError(f"--predictions {path} says two things of {key}; allowed: each frame once")
        else:
            found[key] = frame
    if not found:
        seen = f"it names {strangers[0]}, the truth {truth.frames[0].key}" if strangers else "it names none"
        raise UsageError(f"--predictions {path} names no frame of the truth: {seen}; give predictions of these frames")
    silent = len(truth.frames) - len(found)
    notes += [f"{silent} frames are not in the predictions: nothing was found in them"] if silent else []
    notes += [f"{len(strangers)} predicted frames are not in the truth, such as {strangers[0]}"] if strangers else []
    return found, notes, findings


def can_score(task: str, frames: Sequence[KnownFrame]) -> bool:
    """Whether the truth says what a task needs."""
    faces = [face for frame in frames for face in frame.faces]
    known = {
        "detection": True,
        "landmarks": any(tasks.five_of(f) is not None for f in faces),
        "pose": any(f.pose is not None for f in faces),
        "verification": len({f.subject for f in faces} - {None}) > 1,
        "attributes": any(set(f.labels) & set(tasks.ATTRIBUTES) for f in faces),
    }
    return known[task]


def chosen_tasks(task: str, truth: Truth, predicted: bool) -> tuple[list[str], list[str]]:
    """The tasks behind ``--task``, and notes on those of "all" that cannot be scored.

    Raises:
        UsageError: there is no such task, or the one asked for cannot be scored.
    """
    if task not in (*TASKS, "all"):
        raise UsageError(f"--task is {task!r}; allowed: {', '.join(TASKS)}, all")
    scored, notes = [], []
    for name in TASKS if task == "all" else (task,):
        if not can_score(name, truth.frames):
            reason = f"{truth.name} has no {_NEEDS[name]}" + (" of two people" if name == "verification" else "")
        elif predicted and name == "verification":
            reason = "a file of predictions holds no embeddings: leave --predictions out to run the embedder"
        else:
            scored.append(name)
            continue
        if task != "all":
            raise UsageError(f"--task {name} cannot be scored: {reason}")
        notes.append(f"{name} is not scored: {reason}")
    return scored, notes


def score(
    truth: Truth,
    found: Mapping[str, KnownFrame],
    looked_at: Mapping[str, KnownFrame],
    chosen: Sequence[str],
    options: Options,
) -> dict[str, TaskResult]:
    """The results of the ``chosen`` tasks.

    Args:
        truth: what is true.
        found: what a detector found in each frame, by key.
        looked_at: the faces that the other models speak of; the same where they looked at what was found.
        chosen: names of tasks.
        options: see `Options`.
    """
    pairs = pair_faces(truth.frames, dict(looked_at), options)
    results = {}
    for task in chosen:
        if task == "detection":
            results[task] = tasks.score_detection(truth.frames, dict(found), truth.reference, options)
        elif task == "landmarks":
            results[task] = tasks.score_landmarks(pairs, truth.reference, options)
        elif task == "pose":
            results[task] = tasks.score_pose(pairs, truth.reference, options)
        elif task == "attributes":
            results[task] = tasks.score_attributes(pairs, truth.reference, options)
        else:
            results[task] = tasks.score_verification(pairs, options)
    return results


def evaluate(
    path: Path,
    *,
    predictions: Path | None = None,
    task: str = "all",
    split: str | None = "test",
    images: Path | None = None,
    format: str | None = None,
    options: Options | None = None,
    score_threshold: float | None = None,
    frames_per_clip: int | None = None,
    limit: int | None = None,
    in_true_boxes: bool = False,
    quiet: bool = True,
    models: Models | None = None,
    detector: str = "thermal",
    landmarker: str = "thermal",
    embedder: str = "thermal",
) -> Report:
    """Score a file of predictions, or the models, against the truth in ``path``.

    Args:
        path, split, images, format: see `read_truth`; the format is that of predictions, too.
        predictions: a label file, a Parquet table of frames or a release; None: models run over the pictures.
        task: one of `TASKS`, or "all" for those that the truth allows.
        options: how tasks are scored.
        score_threshold: replaces ``options.score``; None: the detector's own threshold, 0.5 for a file.
        frames_per_clip: evenly spread; None: 8 when models run, all for predictions.
        limit: at most so many frames, evenly spread.
        in_true_boxes: landmarks, attributes and embeddings from the true boxes.
        quiet: no progress on stderr.
        models: to run instead of those that the specs name.
        detector, landmarker, embedder: see `thermvision.annotations.registry`.

    Raises:
        UsageError: the truth, the predictions or the task do not go together.
        MissingDependencyError: a model or the extra `eval` is not there.
    """
    given = options or Options()
    per_clip = (0 if predictions else DEFAULT_FRAMES) if frames_per_clip is None else frames_per_clip
    truth = read_truth(path, split, per_clip, images, format)
    notes, findings = list(truth.notes), list(truth.findings)
    if limit is not None:
        truth = replace(truth, frames=tuple(truth.frames[i] for i in evenly_spread(len(truth.frames), limit)))
    chosen, more = chosen_tasks(task, truth, predictions is not None)
    notes += more
    if predictions is not None:
        found, more, seen = read_predictions(predictions, truth, format)
        looked_at, name = found, predictions.name
        given = replace(given, score=given.score if score_threshold is None else score_threshold)
        findings += seen
    else:
        running = models or open_models(_needed(chosen), detector, landmarker, embedder, given.min_face)
        given = replace(given, score=running.score if score_threshold is None else score_threshold)
        with readable(truth.images or Path(truth.name)):
            source = _pictures_of(truth)
            seen_frames = with_progress(pictures(source, truth.frames), len(truth.frames), quiet)
            found, looked_at = run_models(running, seen_frames, given, in_true_boxes)
        more, name = check_pictures(truth.frames, found, source.name), running.source
        truth = replace(truth, frames=tuple(_sized(f, found[f.key]) for f in truth.frames if f.key in found))
    notes += [*more, *(str(finding) for finding in findings)]
    results = score(truth, found, looked_at, chosen, given)
    facts = {
        "truth": truth.name,
        "split": truth.split,
        "predictions": name,
        "boxes": "true" if in_true_boxes else "found",
        "frames": len(truth.frames),
        "faces": sum(len(frame.faces) for frame in truth.frames),
        "groups": len({frame.group for frame in truth.frames}),
        "drawn_by": "identity" if any(f.subject for f in truth.frames) else "image",
        "baselines_from": "the training split" if truth.reference else f"{FOLDS} folds of the truth",
        "options": {**asdict(given), "frames_per_clip": per_clip, "limit": limit},
    }
    return Report(facts, results, tuple(notes))


def _needed(chosen: Sequence[str]) -> set[str]:
    of_shape = "pose" in chosen or "landmarks" in chosen
    asked = {"detection": "curve", "verification": "verification", "attributes": "attributes"}
    return {asked[task] for task in chosen if task in asked} | ({"landmarks"} if of_shape else set())


def _pictures_of(truth: Truth) -> Input:
    if truth.images is None:
        raise UsageError(f"{truth.name} holds no pictures to run models on; give --images FOLDER or --predictions FILE")
    split = truth.split if is_release(truth.images) or truth.images.suffix.lower() == ".zip" else None
    return open_input(str(truth.images), split=split)


def with_progress(frames: Iterable[_Seen], total: int, quiet: bool) -> Iterable[_Seen]:
    console = Console(stderr=True)
    hidden = quiet or not console.is_terminal
    return track(frames, "frames", total, console=console, transient=True, disable=hidden)


def _sized(frame: KnownFrame, seen: KnownFrame) -> KnownFrame:
    return replace(frame, width=seen.width, height=seen.height)
