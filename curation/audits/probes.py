"""Recognisers trained per condition, and how often they name the right person.

A recogniser is a descriptor, principal components of it, and Fisher's linear discriminants trained on the gallery
(R. Fisher, 1936; P. Belhumeur et al., "Eigenfaces vs. Fisherfaces", PAMI 19, 1997), with the covariance shrunk as
Ledoit and Wolf have it (2004). A probe is the person whose mean lies at the smallest angle. The shipped embedder is
asked with and without such training.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from thermvision.annotations.errors import MissingDependencyError

Floats = NDArray[np.float32]
Numbers = NDArray[np.int64]
COMPONENTS = 160


def require() -> None:
    """Raise MissingDependencyError unless scikit-learn is there."""
    try:
        import sklearn  # noqa: F401
    except ImportError as error:
        raise MissingDependencyError(
            "audit trains its recognisers with scikit-learn, which is not installed; type: pip install -c"
            ' constraints.txt -e ".[curate]"'
        ) from error


def compressed(vectors: Floats, seed: int = 0) -> Floats:
    """(N, up to 160) float32: principal components of (N, D), found without labels over gallery and probes.

    >>> compressed(np.eye(5, dtype=np.float32)).shape
    (5, 4)
    """
    from sklearn.decomposition import PCA

    kept = min(COMPONENTS, len(vectors) - 1, vectors.shape[1])
    if float(vectors.var(0).sum()) < 1e-9 or kept < 1:
        return np.zeros((len(vectors), 1), np.float32)
    solver = "randomized" if kept < 0.5 * min(vectors.shape) else "full"
    return np.asarray(PCA(kept, svd_solver=solver, random_state=seed).fit_transform(vectors), np.float32)


def trained_scores(gallery: Floats, person: Numbers, probes: Floats, people: int) -> Floats:
    """(P, people) cosines of ``probes`` with each person's mean, in the space of the discriminants of ``gallery``.

    People who are not in the gallery score -2, and everybody does where the gallery does not vary.
    """
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

    enrolled = np.unique(person)
    scores = np.full((len(probes), people), -2.0, np.float32)
    if len(enrolled) < 2 or len(gallery) <= len(enrolled) or float(gallery.var(0).sum()) < 1e-9:
        return scores
    moving = gallery.var(0) > 1e-12
    try:
        fit: Any = LinearDiscriminantAnalysis(solver="eigen", shrinkage="auto").fit(
            gallery[:, moving].astype(np.float64), person
        )
    except np.linalg.LinAlgError:  # frames of a person are all alike: nothing to learn, and nothing needed
        centre = gallery.mean(0)
        return nearest_scores(gallery - centre, person, probes - centre, people)
    known, asked = fit.transform(gallery[:, moving]), fit.transform(probes[:, moving])
    centre = known.mean(0)
    means = np.stack([known[person == k].mean(0) for k in enrolled])
    scores[:, enrolled] = _unit(asked - centre) @ _unit(means - centre).T
    return scores


def nearest_scores(gallery: Floats, person: Numbers, probes: Floats, people: int) -> Floats:
    """(P, people) cosines of unit vectors with each person's mean; -2 for people who are not in the gallery."""
    scores = np.full((len(probes), people), -2.0, np.float32)
    enrolled = np.unique(person)
    if len(enrolled):
        means = np.stack([gallery[person == k].mean(0) for k in enrolled])
        scores[:, enrolled] = _unit(probes) @ _unit(means).T
    return scores


def _unit(vectors: NDArray[Any]) -> NDArray[Any]:
    return np.asarray(vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12))


@dataclass(frozen=True)
class Deal:
    """Which frames are gallery and which are probes: the folds of a protocol.

    Attributes:
        folds: pairs of (N,) masks, gallery and probes.
        probe: (N,) number of the probe that a frame belongs to; the frames of one probe are averaged.
    """

    folds: Sequence[tuple[NDArray[np.bool_], NDArray[np.bool_]]]
    probe: Numbers


@dataclass(frozen=True, eq=False)
class Answers:
    """What a recogniser said.

    Attributes:
        probes: (P,) numbers of the probes, with the ``person`` (P,) each is of and the ``named`` (P,), -1 for a tie.
        frame_hits: (F,) whether each single frame was right.
    """

    probes: Numbers
    person: Numbers
    named: Numbers
    frame_hits: NDArray[np.bool_]

    @property
    def hits(self) -> NDArray[np.float64]:
        """(P,) 1.0 where the right person was named."""
        return (self.named == self.person).astype(np.float64)


def ask(vectors: Floats, person: Numbers, deal: Deal, trained: bool) -> Answers:
    """Names for every probe of every fold; a probe whose best score is shared by two people is named nobody."""
    people = int(person.max(initial=-1)) + 1
    numbers, owners, named, frame_hits = [], [], [], []
    scorer = trained_scores if trained else nearest_scores
    for gallery, probes in deal.folds:
        if not gallery.any() or not probes.any():
            continue
        scores = scorer(vectors[gallery], person[gallery], vectors[probes], people)
        of_probe = deal.probe[probes]
        frame_hits.append(_named(scores) == person[probes])
        for number in np.unique(of_probe):
            rows = of_probe == number
            numbers.append(int(number))
            owners.append(int(person[probes][rows][0]))
            named.append(int(_named(scores[rows].mean(0, keepdims=True))[0]))
    hits = np.concatenate(frame_hits) if frame_hits else np.zeros(0, bool)
    whole = [np.array(values, np.int64) for values in (numbers, owners, named)]
    return Answers(whole[0], whole[1], whole[2], hits)


def _named(scores: Floats) -> Numbers:
    best = scores.max(1, keepdims=True)
    alone = (scores >= best - 1e-7).sum(1) == 1
    return np.where(alone, scores.argmax(1), -1).astype(np.int64)


def luck(people: int, probes: int, recognisers: int, level: float = 0.95) -> float:
    """The Rank-1 that the best of so many guessing recognisers stays at or below with probability ``level``.

    >>> luck(50, 100, 1), luck(50, 100, 20)
    (0.05, 0.07)
    """
    from scipy.stats import binom

    if not people or not probes:
        return 1.0
    return float(binom.ppf(level ** (1 / max(recognisers, 1)), probes, 1 / people)) / probes
