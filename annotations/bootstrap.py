"""Percentile bootstrap over groups of units: how far a score would move with other people in front of the camera.

Frames of one person are alike, so whole identities are drawn with replacement, not frames (B. Efron and R. Tibshirani,
"An Introduction to the Bootstrap", 1993, ch. 8 and 13). A draw is written as weights, how often each group was
drawn, and a statistic is computed for many rows of weights at once.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Statistic = Callable[[Floats], Floats]  # (rounds, units) weights to (rounds,) values; NaN where it is not defined

ROUNDS = 1000
LEVEL = 0.95
_CHUNK = 4_000_000  # numbers held at once


@dataclass(frozen=True)
class Bootstrap:
    """How intervals are made.

    Attributes:
        rounds: draws with replacement.
        seed: of the draws; equal seeds give equal intervals.
        level: part of the draws that lies within the interval.

    >>> Bootstrap(rounds=200).mean([0, 0, 1, 1], groups=["a", "a", "b", "b"])
    (0.0, 1.0)
    """

    rounds: int = ROUNDS
    seed: int = 0
    level: float = LEVEL

    def interval(
        self, statistic: Statistic, groups: Sequence[Hashable], numbers_per_round: int | None = None
    ) -> tuple[float, float] | None:
        """Lower and upper end for ``statistic``; None when there are fewer than two groups to draw from.

        Args:
            statistic: takes (rounds, units) float64 weights, one column for each of ``groups``.
            groups: the group of each unit; units of one group are drawn together.
            numbers_per_round: how many numbers the statistic holds a round, which bounds the memory it takes.
        """
        number = group_numbers(groups)
        count = int(number.max(initial=-1)) + 1
        if count < 2:
            return None
        draws = np.random.default_rng(self.seed).multinomial(count, np.full(count, 1 / count), size=self.rounds)
        step = max(1, _CHUNK // max(len(number), numbers_per_round or 0, 1))
        values = [
            statistic(draws[start : start + step][:, number].astype(np.float64))
            for start in range(0, self.rounds, step)
        ]
        return _ends(np.concatenate(values), self.level)

    def mean(self, values: ArrayLike, groups: Sequence[Hashable]) -> tuple[float, float] | None:
        """Interval of the mean of ``values`` (N,), NaNs left out."""
        given = np.asarray(values, np.float64)
        known = np.isfinite(given)
        return self.ratio(np.where(known, given, 0), known, groups)

    def ratio(
        self, numerator: ArrayLike, denominator: ArrayLike, groups: Sequence[Hashable]
    ) -> tuple[float, float] | None:
        """Interval of sum(numerator) / sum(denominator), both (N,); groups are summed first, so N may be large."""
        number = group_numbers(groups)
        count = int(number.max(initial=-1)) + 1
        top = np.bincount(number, np.asarray(numerator, np.float64), count)
        bottom = np.bincount(number, np.asarray(denominator, np.float64), count)
        # a group that contributes nothing would only blur the draw
        used = (bottom != 0) | (top != 0)
        return self.interval(lambda w: divide(w @ top[used], w @ bottom[used]), range(int(used.sum())))


def group_numbers(groups: Sequence[Hashable]) -> NDArray[np.int64]:
    """Each unit's group as a number from 0, in the order in which the groups first appear.

    >>> group_numbers(["b", "a", "b"]).tolist()
    [0, 1, 0]
    """
    numbers: dict[Hashable, int] = {}
    return np.array([numbers.setdefault(group, len(numbers)) for group in groups], np.int64)


def divide(numerator: ArrayLike, denominator: ArrayLike) -> Floats:
    """Quotient with NaN where the denominator is 0."""
    top, bottom = np.broadcast_arrays(np.asarray(numerator, np.float64), np.asarray(denominator, np.float64))
    return np.divide(top, bottom, out=np.full(top.shape, np.nan), where=bottom != 0)


def _ends(values: Floats, level: float) -> tuple[float, float] | None:
    defined = values[np.isfinite(values)]
    if not len(defined):
        return None
    low, high = np.percentile(defined, [50 * (1 - level), 50 * (1 + level)])
    return float(low), float(high)
