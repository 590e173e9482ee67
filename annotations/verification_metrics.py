"""Scores of an embedder: verification of pairs (ROC, EER, TAR at FAR) and Rank-1 identification.

A pair is compared by the cosine of its embeddings. Genuine pairs show one person in two sessions, impostor pairs two
persons; pairs within a session are left out, since they share clothes, room and sensor. Definitions: ISO/IEC 19795-1;
P. Grother et al., NIST FRVT reports (TAR is 1 - FNMR, FAR is FMR).
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .bootstrap import divide, group_numbers

Floats = NDArray[np.float64]
_AT_A_TIME = 512  # rows of the similarity matrix held at once


@dataclass(frozen=True, eq=False)
class Pairs:
    """Scored pairs, most alike first.

    Attributes:
        scores: (P,) falling.
        genuine: (P,) bool, whether both are one person.
        first, second: (P,) numbers of the two identities.
        identities: how many identities there are.

    >>> pairs = Pairs.sorted([0.2, 0.9], [False, True])
    >>> pairs.scores.tolist(), equal_error_rate(pairs).tolist()
    ([0.9, 0.2], [0.0])
    """

    scores: Floats
    genuine: NDArray[np.bool_]
    first: NDArray[np.int64]
    second: NDArray[np.int64]
    identities: int

    @classmethod
    def sorted(
        cls,
        scores: ArrayLike,
        genuine: ArrayLike,
        first: ArrayLike | None = None,
        second: ArrayLike | None = None,
        identities: int = 1,
    ) -> Pairs:
        """Pairs in any order; without identities they cannot be drawn anew."""
        values = np.asarray(scores, np.float64)
        order = np.argsort(-values, kind="stable")
        nobody = np.zeros(len(values), np.int64)
        one, other = (nobody if n is None else np.asarray(n, np.int64) for n in (first, second))
        return cls(values[order], np.asarray(genuine, bool)[order], one[order], other[order], identities)

    def weights(self, drawn: ArrayLike | None) -> Floats:
        """Weight (rounds, P) of each pair when identity i is drawn ``drawn[:, i]`` times.

        A person's genuine pairs come once for each time he is drawn; a pair of two persons as often as they meet.
        """
        if drawn is None:
            return np.ones((1, len(self.scores)))
        counts = np.asarray(drawn, np.float64)
        return np.where(self.genuine, counts[:, self.first], counts[:, self.first] * counts[:, self.second])


def cross_session_pairs(
    embeddings: ArrayLike, identities: Sequence[Hashable], sessions: Sequence[Hashable] | None = None
) -> Pairs:
    """All genuine pairs of different sessions and all impostor pairs of unit vectors (N, D).

    Args:
        embeddings: unit vectors; rows with NaN (no face found) make no pair.
        identities: who each shows.
        sessions: the recording of each; without them every embedding is its own session.
    """
    vectors, person = np.asarray(embeddings, np.float32), group_numbers(identities)
    session = np.arange(len(person)) if sessions is None else group_numbers(sessions)
    usable = np.flatnonzero(np.isfinite(vectors).all(1))
    vectors, who, when = vectors[usable], person[usable], session[usable]
    parts: list[tuple[NDArray[Any], ...]] = []
    for start in range(0, len(vectors), _AT_A_TIME):
        rows = np.arange(start, min(start + _AT_A_TIME, len(vectors)))
        wanted = rows[:, None] < np.arange(len(vectors))[None]
        wanted &= (who[rows, None] != who[None]) | (when[rows, None] != when[None])
        i, j = np.nonzero(wanted)
        similarity = vectors[rows] @ vectors.T
        parts.append((similarity[i, j], who[rows][i], who[j]))
    scores, first, second = (np.concatenate([p[k] for p in parts]) if parts else np.zeros(0) for k in range(3))
    return Pairs.sorted(scores, first == second, first, second, int(person.max(initial=-1)) + 1)


def sample_impostors(pairs: Pairs, limit: int, seed: int = 0) -> Pairs:
    """The pairs with at most ``limit`` of the impostors, drawn without replacement: for intervals, not for values."""
    impostors = np.flatnonzero(~pairs.genuine)
    if len(impostors) <= limit:
        return pairs
    dropped = np.random.default_rng(seed).choice(impostors, len(impostors) - limit, replace=False)
    keep = np.ones(len(pairs.scores), bool)
    keep[dropped] = False
    return Pairs(pairs.scores[keep], pairs.genuine[keep], pairs.first[keep], pairs.second[keep], pairs.identities)


def roc(pairs: Pairs, drawn: ArrayLike | None = None) -> tuple[Floats, Floats]:
    """False and true accept rates, both (rounds, T + 1): from accepting nobody to accepting all, one column a score.

    Equal scores are accepted together. NaN where there is no genuine or no impostor pair.
    """
    weights = pairs.weights(drawn)
    last = np.flatnonzero(np.append(pairs.scores[1:] != pairs.scores[:-1], len(pairs.scores) > 0))
    true = np.cumsum(weights * pairs.genuine, 1)
    false = np.cumsum(weights * ~pairs.genuine, 1)
    nothing = np.zeros((len(weights), 1))

    def rate(summed: Floats) -> Floats:
        total = summed[:, -1:] if summed.shape[1] else nothing
        return divide(np.concatenate([nothing, summed[:, last]], 1), total)

    return rate(false), rate(true)


def equal_error_rate(pairs: Pairs, drawn: ArrayLike | None = None) -> Floats:
    """EER (rounds,): the rate at which FAR and 1 - TAR are equal, on straight lines between the points of the ROC."""
    far, tar = roc(pairs, drawn)
    excess = far - (1 - tar)  # rises from -1 to 1
    after = np.argmax(excess >= 0, axis=1)
    before = np.maximum(after - 1, 0)
    row = np.arange(len(far))
    step = divide(-excess[row, before], excess[row, after] - excess[row, before])
    rate: Floats = far[row, before] + step * (far[row, after] - far[row, before])
    return rate


def accept_rate_at(pairs: Pairs, far: float, drawn: ArrayLike | None = None) -> Floats:
    """TAR@FAR (rounds,): the largest true accept rate of a threshold whose false accept rate is at most ``far``."""
    false, true = roc(pairs, drawn)
    best = np.where(false <= far, true, 0).max(axis=1)
    return np.where(np.isnan(false[:, -1]) | np.isnan(true[:, -1]), np.nan, best)


def roc_curve(pairs: Pairs, steps: int = 200) -> dict[str, list[float]]:
    """At most ``steps`` points of the ROC, evenly spread over log FAR: ``far`` and ``tar``."""
    false, true = (rates[0] for rates in roc(pairs))
    known = np.flatnonzero(~np.isnan(false) & ~np.isnan(true))
    if not len(known):
        return {"far": [], "tar": []}
    at = np.geomspace(max(false[false > 0].min(initial=1.0), 1e-9), 1, steps)
    chosen = np.unique(np.concatenate([[0], np.searchsorted(false, at, side="right") - 1]))
    return {"far": false[chosen].tolist(), "tar": true[chosen].tolist()}


def rank_one(
    gallery: ArrayLike, gallery_identities: Sequence[Hashable], probes: ArrayLike, probe_identities: Sequence[Hashable]
) -> Floats:
    """1.0 for each probe (N,) whose nearest gallery vector is of the same person, NaN if he is not enrolled.

    When vectors of several persons are equally near, the probe counts as wrong: a tie recognises nobody. A probe
    with NaNs (no face found) counts as wrong too, and gallery vectors with NaNs are nobody's nearest.
    """
    enrolled, asked = np.asarray(gallery, np.float32), np.asarray(probes, np.float32)
    names = group_numbers([*gallery_identities, *probe_identities])
    owner, wanted = names[: len(enrolled)], names[len(enrolled) :]
    usable = np.isfinite(enrolled).all(1)
    result = np.where(np.isin(wanted, owner), 0.0, np.nan)
    for start in range(0, len(asked), _AT_A_TIME):
        rows = slice(start, start + _AT_A_TIME)
        similarity = np.where(usable, np.nan_to_num(asked[rows]) @ np.nan_to_num(enrolled).T, -np.inf)
        best = similarity.max(axis=1, initial=-np.inf, keepdims=True)
        nearest = (similarity == best) & usable
        right = nearest.any(1) & np.isfinite(asked[rows]).all(1)
        right &= ~(nearest & (owner[None] != wanted[rows, None])).any(1)
        result[rows] = np.where(right & ~np.isnan(result[rows]), 1.0, result[rows])
    return result
