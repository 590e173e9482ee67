"""What the scores of all tasks share: options, measures, pairs of true and found faces, and baselines from others.

A baseline sees the labels of other people only: those of the training split where there is one, else of the other
folds of the same truth.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from thermvision.annotations import detection_metrics
from thermvision.annotations.bootstrap import Bootstrap, group_numbers
from thermvision.annotations.errors import UsageError
from thermvision.annotations.landmark_metrics import POINTS

from .frames import KnownFace, KnownFrame

Floats = NDArray[np.float64]
FOLDS = 5
TEMPLATES = ("frame", "session")


@dataclass(frozen=True)
class Options:
    """How tasks are scored.

    Attributes:
        iou: overlap at which a box finds a face.
        score: detections below it count for average precision and the curve only.
        min_face: faces of a smaller √(width · height) in pixels do not count.
        points: which landmarks count, one of `landmark_metrics.POINTS`.
        false_positives: limits at which recall is read.
        template: "frame" compares single frames, "session" the mean embedding of each recording.
        bootstrap: how intervals are made.

    Raises:
        UsageError: ``points`` or ``template`` is none of those.
    """

    iou: float = detection_metrics.IOU
    score: float = 0.5
    min_face: float = 0.0
    points: str = "all"
    false_positives: tuple[int, ...] = (1, 5, 10)
    template: str = "frame"
    bootstrap: Bootstrap = field(default_factory=Bootstrap)

    def __post_init__(self) -> None:
        for name, allowed in (("points", tuple(POINTS)), ("template", TEMPLATES)):
            if (value := getattr(self, name)) not in allowed:
                raise UsageError(f"--{name} is {value!r}; allowed: {', '.join(allowed)}")


@dataclass(frozen=True)
class Measure:
    """One number of a report.

    Attributes:
        name: what it is.
        value: None where it is not defined.
        interval: lower and upper end; None where it cannot be had.
        baseline: the same of the trivial baseline.
        count: faces, images, pairs or probes it is made of.
        unit: "" for parts of one, "°" or "count".
        higher_is_better: the direction of good.
    """

    name: str
    value: float | None
    interval: tuple[float, float] | None = None
    baseline: float | None = None
    count: int = 0
    unit: str = ""
    higher_is_better: bool = True


@dataclass
class TaskResult:
    """What a task has to say: measures, ``curves`` and ``tables`` for the JSON, and notes."""

    measures: list[Measure] = field(default_factory=list)
    curves: dict[str, Any] = field(default_factory=dict)
    tables: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True, eq=False)
class Pair:
    """A true face that counts, the found face that took it (None: missed), and who is drawn with it."""

    truth: KnownFace
    found: KnownFace | None
    frame: KnownFrame

    @property
    def group(self) -> str:
        """The identity, else the image."""
        return self.truth.subject or self.frame.group


def as_number(value: Any) -> float | None:
    number = float(np.asarray(value).reshape(-1)[0])
    return number if np.isfinite(number) else None


def out_of_fold(
    fit: Callable[[Floats], Floats],
    values: ArrayLike,
    groups: Sequence[Hashable],
    targets: Sequence[Hashable],
    reference: ArrayLike | None = None,
    seed: int = 0,
) -> Floats:
    """What ``fit`` makes of the labels of others, for each of ``targets`` (T, …).

    Args:
        fit: takes rows of ``values`` and gives one constant answer.
        values: (N, …) labels of the truth itself, with their ``groups``.
        targets: the group of each face or image that wants an answer.
        reference: labels of the training split; they are used alone when there are any.
        seed: of the deal of groups into five folds.

    Returns:
        NaN where nobody else's label is there.
    """
    labels = np.asarray(values, np.float64)
    given = np.zeros((0, *labels.shape[1:])) if reference is None else np.asarray(reference, np.float64)
    if len(given):
        return np.repeat(fit(given)[None], len(targets), 0)
    numbers = group_numbers([*groups, *targets])
    count = int(numbers.max(initial=-1)) + 1
    fold = np.random.default_rng(seed).permutation(count)[numbers] % min(FOLDS, max(count, 1))
    of_value, of_target = fold[: len(groups)], fold[len(groups) :]
    answers = np.full((len(targets), *labels.shape[1:]), np.nan)
    for number in np.unique(of_target):
        others = labels[of_value != number]
        if len(others):
            answers[of_target == number] = fit(others)
    return answers


def known_mean(values: Floats) -> Floats:
    known = np.isfinite(values)
    count = known.sum(0)
    return np.divide(np.where(known, values, 0).sum(0), count, out=np.full(values.shape[1:], np.nan), where=count > 0)


def pair_faces(truth: Sequence[KnownFrame], found: dict[str, KnownFrame], options: Options) -> list[Pair]:
    """Each true face that counts with the detection that takes it, by the rules of `detection_metrics`."""
    pairs = []
    for frame in truth:
        faces = found[frame.key].faces if frame.key in found else ()
        ranked = sorted((f for f in faces if f.score >= options.score), key=lambda f: -f.score)
        aside = frame.set_aside(options.min_face)
        boxes = np.array([f.bbox for f in ranked], np.float64).reshape(-1, 4)
        taken = detection_metrics.match_boxes(frame.boxes, boxes, options.iou, aside)
        by_truth = {int(t): ranked[k] for k, t in enumerate(taken) if t >= 0}
        pairs += [Pair(face, by_truth.get(i), frame) for i, face in enumerate(frame.faces) if not aside[i]]
    return pairs


def stacked(values: Sequence[Any], shape: tuple[int, ...]) -> Floats:
    rows = [np.full(shape, np.nan) if v is None else np.asarray(v, np.float64) for v in values]
    return np.array(rows, np.float64).reshape(-1, *shape)


def mean_measure(
    name: str, value: Floats, baseline: Floats, groups: Sequence[str], options: Options, **more: Any
) -> Measure:
    known = np.isfinite(value)
    interval = options.bootstrap.mean(value, groups)
    return Measure(
        name, as_number(known_mean(value)), interval, as_number(known_mean(baseline)), int(known.sum()), **more
    )
