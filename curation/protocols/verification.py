"""Scores of listed pairs: accuracy in folds of people, EER and TAR, of faces seen and of faces masked out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from thermvision.annotations.bootstrap import group_numbers
from thermvision.annotations.verification_metrics import Pairs, accept_rate_at, equal_error_rate, roc_curve

from ..evaluation.measures import Measure, Options, TaskResult, as_number

if TYPE_CHECKING:
    import pandas as pd

Floats = NDArray[np.float64]
Vectors = Mapping[str, Mapping[str, NDArray[np.float32]]]
FAR = 0.01
REFUSED = -2.0  # score of a pair with a face that was not found: below every cosine
CONDITIONS = {
    "same-sequence": ("same-sequence", "face", "pixels"),
    "cross-sequence": ("cross-sequence", "face", "pixels"),
    "face masked": ("cross-sequence", "masked", "masked pixels"),
}


def score(table: pd.DataFrame, vectors: Vectors, options: Options) -> TaskResult:
    """Accuracy (mean of the folds, threshold of the others), EER and TAR at FAR .01 of each kind of pairs.

    The baseline compares pixels of the aligned faces. "face masked" are the cross-sequence pairs with the true boxes, a
    little grown, filled with one gray: what is recognised there is not the face.

    Source of the folds: G. Huang et al., "Labeled Faces in the Wild", 2007 (here by person, also between impostors).
    """
    result = TaskResult()
    people = [*table["first_subject"], *table["second_subject"]]
    numbers = group_numbers(people)
    names = list(dict.fromkeys(people))
    for label, (kind, condition, trivial) in CONDITIONS.items():
        chosen = (table["kind"] == kind).to_numpy()
        part = table[chosen]
        if part.empty:
            result.notes.append(f"{label}: the list has no such pairs")
            continue
        same, fold = part["same"].to_numpy() == "1", part["fold"].to_numpy()
        first, second = (numbers[: len(table)][chosen], numbers[len(table) :][chosen])
        ours, theirs = (cosines(part, vectors[name]) for name in (condition, trivial))
        compared, pixels = (Pairs.sorted(s, same, first, second, len(names)) for s in (ours, theirs))
        right, right_too = (fold_accuracy(s, same, fold) for s in (ours, theirs))
        interval = options.bootstrap.mean(right, np.unique(fold).tolist())
        count = len(part)
        result.measures.append(
            Measure(f"{label}, accuracy", as_number(right.mean()), interval, as_number(right_too.mean()), count)
        )
        cost = 4 * count
        interval = options.bootstrap.interval(lambda w, p=compared: equal_error_rate(p, w), names, cost)  # type: ignore[misc]
        values = as_number(equal_error_rate(compared)), interval, as_number(equal_error_rate(pixels))
        result.measures.append(Measure(f"{label}, EER", *values, count, higher_is_better=False))
        interval = options.bootstrap.interval(lambda w, p=compared: accept_rate_at(p, FAR, w), names, cost)  # type: ignore[misc]
        values = as_number(accept_rate_at(compared, FAR)), interval, as_number(accept_rate_at(pixels, FAR))
        result.measures.append(Measure(f"{label}, TAR at FAR {FAR:g}", *values, count))
        refused = float((ours == REFUSED).mean())
        result.measures.append(Measure(f"{label}, pairs without a face", refused, count=count, higher_is_better=False))
        result.curves[label] = {"roc": roc_curve(compared), "roc_pixels": roc_curve(pixels)}
        result.tables[label] = {"accuracy_of_fold": right.round(6).tolist(), "genuine": int(same.sum())}
    folds = table["fold"].nunique()
    result.notes.append(f"{len(names)} people in {folds} folds; accuracy is drawn by fold, EER and TAR by person")
    return result


def cosines(part: pd.DataFrame, vectors: Mapping[str, NDArray[np.float32]]) -> Floats:
    """Cosine (P,) of each listed pair; `REFUSED` where a face has no vector."""
    scores = np.full(len(part), REFUSED)
    for n, (first, second) in enumerate(zip(part["first"], part["second"], strict=True)):
        one, other = vectors.get(first), vectors.get(second)
        if one is not None and other is not None:
            scores[n] = float(one @ other)
    return scores


def fold_accuracy(scores: Floats, same: NDArray[np.bool_], fold: NDArray[np.object_]) -> Floats:
    """Part (F,) of each fold's pairs that is told rightly by the threshold that is best on the other folds.

    >>> scores, same = np.array([0.9, 0.1, 0.8, 0.2]), np.array([True, False, True, False])
    >>> fold_accuracy(scores, same, np.array(["0", "0", "1", "1"])).tolist()
    [1.0, 1.0]
    """
    accuracies = []
    for name in np.unique(fold):
        here = fold == name
        threshold = best_threshold(scores[~here], same[~here])
        accuracies.append(float(((scores[here] >= threshold) == same[here]).mean()))
    return np.array(accuracies)


def best_threshold(scores: Floats, same: NDArray[np.bool_]) -> float:
    """The threshold with most pairs right, half-way between two scores; the lowest of equals.

    >>> best_threshold(np.array([0.2, 0.4, 0.8]), np.array([False, False, True]))
    0.6000000000000001
    """
    order = np.argsort(scores, kind="stable")
    ranked, genuine = scores[order], same[order]
    # right when the first n pairs are refused: impostors below, genuine ones from n on
    right = np.concatenate([[0], np.cumsum(~genuine)]) + genuine.sum() - np.concatenate([[0], np.cumsum(genuine)])
    ends = np.concatenate([[True], ranked[1:] != ranked[:-1], [True]])  # equal scores go together
    n = int(np.argmax(np.where(ends, right, -1)))
    if n == 0:
        return float(ranked[0]) - 1.0 if len(ranked) else 0.0
    return float(ranked[-1]) + 1.0 if n == len(ranked) else float(ranked[n - 1] + ranked[n]) / 2
