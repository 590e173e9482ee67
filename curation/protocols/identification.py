"""Scores of a search: who of a gallery a probe is, when everybody is in it, and when not.

Definitions: P. Phillips, P. Grother and R. Micheals, "Evaluation Methods in Face Recognition", Handbook of Face
Recognition, 2nd ed. 2011; ISO/IEC 19795-1.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from thermvision.annotations.bootstrap import divide

from ..evaluation.measures import Measure, Options, TaskResult, as_number, mean_measure

if TYPE_CHECKING:
    import pandas as pd

Floats = NDArray[np.float64]
Vectors = Mapping[str, Mapping[str, NDArray[np.float32]]]
RANKS = (1, 5)
FARS = (0.01, 0.1)


def score(table: pd.DataFrame, vectors: Vectors, options: Options) -> TaskResult:
    """Rank-1 and Rank-5 of probes; with a role "unknown" also DIR at FAR .01 and .1.

    A person's template is the mean of his gallery vectors. The baseline compares pixels of the aligned faces.
    """
    result = TaskResult()
    probes = table[table["role"] != "gallery"]
    subjects = probes["subject_id"].tolist()
    known = (probes["role"] == "probe").to_numpy()
    ours, theirs = (search(table, probes, vectors[name]) for name in ("face", "pixels"))
    people = table["subject_id"][table["role"] == "gallery"].nunique()
    members = [s for s, k in zip(subjects, known, strict=True) if k]
    for rank in RANKS:
        if rank < people:
            hits, hits_too = ((answer[1][known] <= rank).astype(float) for answer in (ours, theirs))
            result.measures.append(mean_measure(f"Rank-{rank}", hits, hits_too, members, options))
    found, ranks = ours
    result.curves["cmc"] = [float((ranks[known] <= r).mean()) for r in range(1, min(people, 20) + 1)]
    if not known.all():
        for far in FARS:
            values = [identification_rate(s, r == 1, known, far) for s, r in (ours, theirs)]

            def rate(w: Floats, far: float = far) -> Floats:
                return identification_rate(found, ranks == 1, known, far, w)

            interval = options.bootstrap.interval(rate, subjects, 6 * len(subjects))
            both = as_number(values[0]), interval, as_number(values[1])
            result.measures.append(Measure(f"DIR at FAR {far:g}", *both, len(subjects)))
    lost = float((ranks == np.inf).mean()) if len(ranks) else None
    result.measures.append(Measure("probes without a face", lost, count=len(ranks), higher_is_better=False))
    strangers = f", {len(set(subjects) - set(members))} people unknown" if not known.all() else ""
    result.notes.append(f"{people} people in the gallery{strangers}; chance is {1 / max(people, 1):.4f} at rank 1")
    return result


def search(
    table: pd.DataFrame, probes: pd.DataFrame, vectors: Mapping[str, NDArray[np.float32]]
) -> tuple[Floats, Floats]:
    """Best score (P,) of each probe, -2 without a face, and the rank (P,) of its own template, inf where it has none.

    Equal scores count against the probe.
    """
    enrolled: dict[str, list[NDArray[np.float32]]] = {}
    gallery = table[table["role"] == "gallery"]
    for frame, subject in zip(gallery["frame"], gallery["subject_id"], strict=True):
        given = enrolled.setdefault(subject, [])
        if frame in vectors:
            given.append(vectors[frame])
    names = {name: n for n, (name, given) in enumerate((n, g) for n, g in enrolled.items() if g)}
    means = [np.mean(enrolled[name], axis=0) for name in names]
    templates = np.array([m / max(float(np.linalg.norm(m)), 1e-12) for m in means], np.float64)
    best, ranks = np.full(len(probes), -2.0), np.full(len(probes), np.inf)
    for n, (frame, subject) in enumerate(zip(probes["frame"], probes["subject_id"], strict=True)):
        if frame in vectors and len(templates):
            scores = templates @ vectors[frame]
            best[n] = scores.max()
            if subject in names:
                ranks[n] = int((scores >= scores[names[subject]]).sum())
            else:
                ranks[n] = len(templates) + 1
    return best, ranks


def identification_rate(
    scores: Floats, right: NDArray[np.bool_], known: NDArray[np.bool_], far: float, weights: Floats | None = None
) -> Floats:
    """DIR (rounds,): the part of known probes that are identified rightly and above the threshold.

    The threshold is the lowest at which at most the part ``far`` of the unknown probes (P,) is taken for somebody.

    >>> scores, known = np.array([0.9, 0.6, 0.5, 0.7]), np.array([True, True, True, False])
    >>> identification_rate(scores, np.array([True, True, False, False]), known, 0.5).tolist()
    [0.3333333333333333]
    """
    counts = np.ones((1, len(scores))) if weights is None else np.asarray(weights, np.float64)
    order = np.argsort(-scores, kind="stable")
    ranked, taken = scores[order], counts[:, order]
    last = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], len(ranked) > 0))
    stranger, hit = ~known[order], (known & right)[order]
    false = divide(np.cumsum(taken * stranger, 1)[:, last], (taken * stranger).sum(1, keepdims=True))
    true = divide(np.cumsum(taken * hit, 1)[:, last], (taken * ~stranger).sum(1, keepdims=True))
    rate: Floats = np.where(false <= far, true, 0.0).max(axis=1, initial=0.0)
    undefined = ~np.isfinite(false).all(1) | ~np.isfinite(true).all(1)
    return np.where(undefined, np.nan, rate)
