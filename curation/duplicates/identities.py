"""People of two names who look like one: means of embeddings, judged by how alike halves of one person are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .describe import Described
from .neighbours import Neighbours

FALSE_PAIRS = 0.05  # look-alikes expected by chance in the whole release
FEWEST = 8  # subjects with two halves that a threshold can be drawn from
# where there are fewer: between the most alike of 1,225 phantom pairs (0.54) and the halves of one (0.77 at 5 %)
DEFAULT_THRESHOLD = 0.65
_SAMPLE = 200_000  # pairs that the impostors' distribution is taken from
_NEAREST = 8


@dataclass(frozen=True, eq=False)
class People:
    """Subjects and the unit means of their embeddings.

    Attributes:
        subjects: their ids, sorted.
        means: (S, D) float32 over all faces.
        halves: (2, S, D) float32 over the items of even and odd number; NaN where there is one item only.
        faces: (S,) how many faces were averaged.
        example: (S,) index of the face nearest to the mean.
    """

    subjects: Sequence[str]
    means: NDArray[np.float32]
    halves: NDArray[np.float32]
    faces: NDArray[np.int64]
    example: NDArray[np.int64]


def people(described: Described) -> People:
    """The subjects of the items whose faces were looked at; items without a subject are left out."""
    of_item = np.array(described.subjects, dtype=object)
    names = sorted({s for s in described.subjects if s})
    number = {name: k for k, name in enumerate(names)}
    subject_of_item = np.array([number.get(s, -1) for s in of_item], np.int64)
    seen: dict[int, int] = {}
    parity = np.zeros(len(of_item), np.int64)
    for item, subject in enumerate(subject_of_item):
        parity[item] = seen.get(subject, 0) % 2
        seen[subject] = seen.get(subject, 0) + 1
    subject = subject_of_item[described.face_items]
    size = described.embeddings.shape[1]
    sums = np.zeros((2, len(names), size), np.float32)
    counts = np.zeros(len(names), np.int64)
    known = np.flatnonzero(subject >= 0)
    for start in range(0, len(known), 65536):
        part = known[start : start + 65536]
        np.add.at(
            sums, (parity[described.face_items[part]], subject[part]), described.embeddings[part].astype(np.float32)
        )
        np.add.at(counts, subject[part], 1)
    with_faces = np.flatnonzero(counts)
    lengths = np.linalg.norm(sums, axis=2, keepdims=True)
    halves = np.where(lengths > 0, sums / np.maximum(lengths, 1e-12), np.nan)
    whole = sums.sum(0)
    means = whole / np.maximum(np.linalg.norm(whole, axis=1, keepdims=True), 1e-12)
    example = np.full(len(names), -1, np.int64)
    nearest = np.full(len(names), -2.0)
    for start in range(0, len(known), 65536):
        part = known[start : start + 65536]
        close = (described.embeddings[part].astype(np.float32) * means[subject[part]]).sum(1)
        for face, value in zip(part, close, strict=True):
            if value > nearest[subject[face]]:
                nearest[subject[face]], example[subject[face]] = value, face
    return People(
        [names[k] for k in with_faces],
        means[with_faces],
        halves[:, with_faces],
        counts[with_faces],
        example[with_faces],
    )


@dataclass(frozen=True)
class LookAlikes:
    """Pairs above a threshold, and what the threshold was drawn from.

    Attributes:
        pairs: subject numbers and cosine, most alike first.
        threshold: the cosine from which a pair is a finding.
        facts: the distributions, as plain values.
    """

    pairs: tuple[tuple[int, int, float], ...]
    threshold: float
    facts: dict[str, Any]


def look_alikes(found: People, seed: int = 0, between: frozenset[str] | None = None) -> LookAlikes:
    """Pairs of subjects that are nearer than chance allows and as near as the halves of one person.

    The threshold is the higher of two: the 5 % quantile of the cosines between halves of one person, and the cosine
    that `FALSE_PAIRS` pairs would exceed if impostors' Fisher-transformed cosines were normal (median and MAD).

    Args:
        found: the subjects.
        seed: of the impostor pairs that are drawn where there are more than 200,000.
        between: where given, only pairs of one subject in it and one not.
    """
    count = len(found.subjects)
    total = count * (count - 1) // 2
    facts: dict[str, Any] = {"subjects": count, "pairs": total}
    if count < 2:
        return LookAlikes((), DEFAULT_THRESHOLD, {**facts, "threshold": DEFAULT_THRESHOLD, "threshold_from": "default"})
    impostors = _impostors(found.means, seed)
    both = np.isfinite(found.halves).all((0, 2))
    genuine = (found.halves[0, both] * found.halves[1, both]).sum(1).astype(np.float64)
    centre, spread = fisher_fit(impostors)
    facts["impostors"] = {**_quantiles(impostors), "fisher_median": round(centre, 4), "fisher_sd": round(spread, 4)}
    facts["impostor_histogram"] = np.histogram(impostors, 60, (-0.5, 1.0))[0].tolist()
    if len(genuine):
        facts["halves_of_one"] = _quantiles(genuine)
        facts["genuine_histogram"] = np.histogram(genuine, 60, (-0.5, 1.0))[0].tolist()
    if len(genuine) < FEWEST:
        threshold, source = DEFAULT_THRESHOLD, "default"
    else:
        from scipy.stats import norm

        chance = float(np.tanh(centre + spread * norm.isf(min(FALSE_PAIRS / total, 0.5))))
        threshold, source = max(chance, float(np.quantile(genuine, 0.05))), "halves and chance"
        facts["chance"] = round(chance, 4)
    facts["expected_by_chance"] = _expected(total, centre, spread, threshold)
    pairs = _pairs_above(found, threshold, between)
    return LookAlikes(tuple(pairs), threshold, {**facts, "threshold": round(threshold, 4), "threshold_from": source})


def fisher_fit(cosines: NDArray[np.float64]) -> tuple[float, float]:
    """Median and robust standard deviation of the inverse hyperbolic tangents of cosines."""
    z = np.arctanh(np.clip(cosines, -0.999999, 0.999999))
    centre = float(np.median(z))
    return centre, max(float(1.4826 * np.median(np.abs(z - centre))), 1e-6)


def _expected(total: int, centre: float, spread: float, threshold: float) -> float:
    from scipy.stats import norm

    return float(f"{total * norm.sf((np.arctanh(min(threshold, 0.999999)) - centre) / spread):.3g}")


def _impostors(means: NDArray[np.float32], seed: int) -> NDArray[np.float64]:
    count = len(means)
    if count * (count - 1) // 2 <= _SAMPLE:
        rows, columns = np.triu_indices(count, 1)
    else:
        drawn = np.random.default_rng(np.random.SeedSequence(seed)).integers(0, count, (2, _SAMPLE))
        rows, columns = drawn[:, drawn[0] != drawn[1]]
    return np.concatenate([
        (means[rows[k : k + 65536]] * means[columns[k : k + 65536]]).sum(1).astype(np.float64)
        for k in range(0, len(rows), 65536)
    ])  # fmt: skip


def _pairs_above(found: People, threshold: float, between: frozenset[str] | None) -> list[tuple[int, int, float]]:
    # with two sides one is asked for in the other, or the nearest of the same side would fill every answer
    known = np.array([between is not None and s in between for s in found.subjects], bool)
    everybody = np.arange(len(known))
    asking, base = (everybody, everybody) if between is None else (everybody[known], everybody[~known])
    indices, scores = Neighbours(found.means[base]).query(found.means[asking], min(len(base), _NEAREST + 1))
    pairs = {}
    for row, column in zip(*np.nonzero((indices >= 0) & (scores >= threshold)), strict=True):
        i, j = int(asking[row]), int(base[indices[row, column]])
        if i != j:
            pairs[min(i, j), max(i, j)] = float(scores[row, column])
    return sorted(((i, j, s) for (i, j), s in pairs.items()), key=lambda p: (-p[2], p[0], p[1]))


def _quantiles(values: NDArray[np.float64]) -> dict[str, float]:
    names = {"least": 0.0, "5 %": 0.05, "median": 0.5, "95 %": 0.95, "greatest": 1.0}
    return {name: round(float(np.quantile(values, q)), 4) for name, q in names.items()}
