"""Scores of the frames of an item, told as runs of frames: ten bad frames in a row are one finding."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike

from .kinds import Kind, Scored

JOINED = 3  # two runs less than so many frames apart are told as one


def runs(
    kind: Kind, scores: ArrayLike, detail: Callable[[int], str] = lambda frame: "", *, one_frame: bool = False
) -> Iterator[Scored]:
    """The runs of frames whose score is beyond the kind's threshold, each with its worst score.

    Args:
        kind: a kind with a threshold.
        scores: (N,) of the frames; NaN where it cannot be told.
        detail: what was seen in the worst frame of a run.
        one_frame: whether the item is a still, so that no frame is named.

    Yields:
        Where no frame is beyond the threshold, one score, the worst, without frames; nothing where all are NaN.

    >>> kind = Kind("loud", "label", "It is loud.", 3)
    >>> [(s.first, s.last, s.score) for s in runs(kind, [1, 4, 5, 1, 1, 1, 1, 9])]
    [(1, 2, 5.0), (7, 7, 9.0)]
    >>> [(s.first, s.score) for s in runs(kind, [1, 2, float("nan")])]
    [(None, 2.0)]
    """
    values = np.asarray(scores, np.float64)
    known = np.flatnonzero(~np.isnan(values))
    if not len(known):
        return
    sign = 1.0 if kind.higher_is_worse else -1.0
    bad = [int(i) for i in known if kind.is_finding(float(values[i]))]
    if not bad:
        yield Scored(kind.code, float(values[known[np.argmax(sign * values[known])]]))
        return
    starts = [0, *(i for i in range(1, len(bad)) if bad[i] - bad[i - 1] >= JOINED), len(bad)]
    for begin, end in pairwise(starts):
        run = bad[begin:end]
        worst = max(run, key=lambda i: sign * values[i])
        first, last = (None, None) if one_frame else (run[0], run[-1])
        yield Scored(kind.code, float(values[worst]), first, last, detail(worst))


def facts(kind: Kind, bad: ArrayLike, detail: Callable[[int], str], *, one_frame: bool = False) -> Iterator[Scored]:
    """`runs` of a kind without threshold: the frames (N,) bool in which it is so; the score is their number.

    >>> [(s.first, s.last, s.score) for s in facts(Kind("odd", "label", "It is odd."), [0, 1, 1], str)]
    [(1, 2, 2.0)]
    """
    flags = np.asarray(bad, bool)
    counted = Kind(kind.code, kind.group, kind.meaning, 0.5)
    for found in runs(counted, flags.astype(np.float64), detail, one_frame=one_frame):
        if found.score > 0:
            count = 1 if found.first is None or found.last is None else int(flags[found.first : found.last + 1].sum())
            yield Scored(found.code, float(count), found.first, found.last, found.detail)


def longest_equal_run(values: ArrayLike, tolerance: float) -> tuple[int, int]:
    """First frame and length of the longest run of rows of ``values`` (N, …), each within ``tolerance`` of the next.

    A row that is not finite ends a run.

    >>> longest_equal_run([[1.0], [2], [2], [2], [3]], 0.01)
    (1, 3)
    """
    array = np.asarray(values, np.float64)
    flat = array.reshape(len(array), -1)
    still = np.abs(np.diff(flat, axis=0)).max(1, initial=0) <= tolerance  # NaN compares false
    best, where, length = 1, 0, 1
    for frame, same in enumerate(still, 1):
        length = length + 1 if same else 1
        if length > best:
            best, where = length, frame - length + 1
    return where, best
