"""Confusion tables of attributes and expressions, accuracy and balanced accuracy."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .bootstrap import divide

Floats = NDArray[np.float64]


def confusion(truth: Sequence[str], found: Sequence[str], names: Sequence[str]) -> NDArray[np.int64]:
    """Counts (C, C): row is what is true, column what was found, in the order of ``names``.

    >>> confusion(["none", "mask", "mask"], ["none", "mask", "none"], ["none", "mask"]).tolist()
    [[1, 0], [1, 1]]

    Raises:
        ValueError: the lengths differ, or a label is not among the names.
    """
    if len(truth) != len(found):
        raise ValueError(f"{len(truth)} true labels and {len(found)} found ones; allowed: one of each a face")
    if strange := sorted({*truth, *found} - set(names)):
        raise ValueError(f"labels {', '.join(strange)} do not exist; allowed: {', '.join(names)}")
    table = np.zeros((len(names), len(names)), np.int64)
    place = {name: i for i, name in enumerate(names)}
    for actual, guess in zip(truth, found, strict=True):
        table[place[actual], place[guess]] += 1
    return table


def accuracy(right: ArrayLike, weights: ArrayLike | None = None) -> Floats:
    """Part (rounds,) of the faces (N,) that are right, each counted ``weights`` (rounds, N) times."""
    hits = np.asarray(right, np.float64)
    counts = np.ones((1, len(hits))) if weights is None else np.asarray(weights, np.float64)
    return divide(counts @ hits, counts.sum(1))


def balanced_accuracy(truth: Sequence[str], right: ArrayLike, weights: ArrayLike | None = None) -> Floats:
    """Mean (rounds,) over the classes that occur of the part that is right in each: 1 / classes for a constant answer.

    Source: K. Brodersen et al., "The Balanced Accuracy and Its Posterior Distribution", ICPR 2010.

    >>> balanced_accuracy(["a", "a", "a", "b"], [1, 1, 1, 0]).tolist()
    [0.5]
    """
    hits = np.asarray(right, np.float64)
    counts = np.ones((1, len(hits))) if weights is None else np.asarray(weights, np.float64)
    names, number = np.unique(np.asarray(truth, str), return_inverse=True)
    member = (number[:, None] == np.arange(len(names))).astype(np.float64)
    recall = divide(counts @ (member * hits[:, None]), counts @ member)
    occurs = ~np.isnan(recall)
    return divide(np.where(occurs, recall, 0).sum(1), occurs.sum(1))
