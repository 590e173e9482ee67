"""Counts that are kept while a table streams by: histograms, moments and classes, by split and gender.

Every array begins with the axes split (`SPLITS`) and gender (`GENDERS`, then "not known").
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from thermvision.annotations.schema import GENDERS, SPLITS

UNKNOWN = ""
GENDER_NAMES = (*GENDERS, UNKNOWN)
GROUPS = (len(SPLITS), len(GENDER_NAMES))


@dataclass(frozen=True)
class Measure:
    """A number that is counted.

    Attributes:
        name, unit: for tables and plots.
        low, high: of the first and last bin; values beyond are counted in those.
        bins: how many bins there are.

    >>> Measure("yaw", "°", -90, 90, 36).edges[:3].tolist()
    [-90.0, -85.0, -80.0]
    """

    name: str
    unit: str
    low: float
    high: float
    bins: int

    @property
    def edges(self) -> NDArray[np.float64]:
        """(bins + 1,) ascending."""
        return np.linspace(self.low, self.high, self.bins + 1)


@dataclass
class Histogram:
    """Counts, sums and extremes of one measure.

    Attributes:
        counts: (3, 3, bins) int64.
        number, total, squares, least, greatest: (3, 3) float64 of the finite values.
    """

    measure: Measure
    counts: NDArray[np.int64] = field(init=False)
    number: NDArray[np.int64] = field(init=False)
    total: NDArray[np.float64] = field(init=False)
    squares: NDArray[np.float64] = field(init=False)
    least: NDArray[np.float64] = field(init=False)
    greatest: NDArray[np.float64] = field(init=False)

    def __post_init__(self) -> None:
        self.counts = np.zeros((*GROUPS, self.measure.bins), np.int64)
        self.number = np.zeros(GROUPS, np.int64)
        self.total, self.squares = np.zeros(GROUPS), np.zeros(GROUPS)
        self.least, self.greatest = np.full(GROUPS, np.inf), np.full(GROUPS, -np.inf)

    def add(self, split: int, genders: NDArray[np.intp], values: NDArray[np.floating[Any]]) -> None:
        """Count values (N,) of people of ``genders`` (N,); what is not finite is left out.

        >>> seen = Histogram(Measure("yaw", "°", -90, 90, 2))
        >>> seen.add(0, np.array([0, 0, 1]), np.array([-95.0, 10.0, np.nan]))
        >>> seen.counts[0, 0].tolist(), seen.summary()["mean"]
        ([1, 1], -42.5)
        """
        good = np.isfinite(values)
        genders, numbers = genders[good], np.asarray(values, np.float64)[good]
        m = self.measure
        places = np.clip(((numbers - m.low) * (m.bins / (m.high - m.low))).astype(np.int64), 0, m.bins - 1)
        flat = np.bincount(genders * m.bins + places, minlength=GROUPS[1] * m.bins)
        self.counts[split] += flat.reshape(GROUPS[1], m.bins)
        self.number[split] += np.bincount(genders, minlength=GROUPS[1])
        self.total[split] += np.bincount(genders, numbers, GROUPS[1])
        self.squares[split] += np.bincount(genders, numbers**2, GROUPS[1])
        np.minimum.at(self.least[split], genders, numbers)
        np.maximum.at(self.greatest[split], genders, numbers)

    def summary(self, split: int | None = None, gender: int | None = None) -> dict[str, float | int]:
        """Count, mean, standard deviation, extremes and quantiles (to a fraction of a bin) of a group, or of all.

        Only the count where it is 0.
        """
        where: Any = (slice(None) if split is None else split, slice(None) if gender is None else gender)
        number = int(self.number[where].sum())
        if not number:
            return {"count": 0}
        mean = float(self.total[where].sum()) / number
        spread = max(float(self.squares[where].sum()) / number - mean**2, 0.0) ** 0.5
        counts = self.counts[where].reshape(-1, self.measure.bins).sum(0)
        least, greatest = float(self.least[where].min()), float(self.greatest[where].max())
        quantiles = {
            f"{q:.0%}".replace("%", " %"): round(
                float(np.clip(quantile(counts, self.measure.edges, q), least, greatest)), 4
            )
            for q in (0.05, 0.5, 0.95)
        }
        ends = {"least": round(least, 4), "greatest": round(greatest, 4)}
        return {"count": number, "mean": round(mean, 4), "sd": round(spread, 4), **ends, **quantiles}


def quantile(counts: NDArray[np.int64], edges: NDArray[np.float64], share: float) -> float:
    """The value below which a share of a histogram lies, linear within its bin; NaN where it is empty.

    >>> quantile(np.array([2, 2]), np.array([0.0, 1.0, 2.0]), 0.75)
    1.5
    """
    if not counts.sum():
        return float("nan")
    below = np.concatenate([[0], np.cumsum(counts)])
    place = int(np.searchsorted(below, share * below[-1], side="left"))
    place = min(max(place, 1), len(counts))
    inside = (share * below[-1] - below[place - 1]) / max(counts[place - 1], 1)
    return float(edges[place - 1] + inside * (edges[place] - edges[place - 1]))
