"""Whether splits share people or pictures: one subject in two, nearly equal pictures, people who look like one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..duplicates.identities import People, look_alikes
from .descriptors import pixel_vectors
from .parity import Person
from .samples import Samples

# correlation of two frames of 32 x 32 pixels from which they are one picture; see docs/audit.md
SAME_PICTURE = 0.998
_BLOCK = 512
MOST_SHOWN = 20


@dataclass
class Contamination:
    """What splits have in common.

    Attributes:
        splits: split to how many people were seen in it.
        shared: subjects in more than one split, with the splits.
        pictures: nearly equal frames of different splits: item, frame, item, frame, correlation; the worst first.
        picture_pairs: how many there are.
        look_alikes: people of different splits: subject, subject, cosine.
        threshold: the cosine from which two people look alike.
        closest: the highest correlation of frames in different splits, None where there is but one split.
        frames: how many were compared.
    """

    splits: dict[str, int] = field(default_factory=dict)
    shared: dict[str, list[str]] = field(default_factory=dict)
    pictures: list[tuple[str, int, str, int, float]] = field(default_factory=list)
    picture_pairs: int = 0
    look_alikes: list[tuple[str, str, float]] = field(default_factory=list)
    threshold: float | None = None
    closest: float | None = None
    frames: int = 0

    def as_dict(self) -> dict[str, Any]:
        """Plain values."""
        return dict(vars(self))


def contamination(samples: Samples, people: Mapping[str, Person], born: Mapping[str, str]) -> Contamination:
    """What the splits share.

    Args:
        samples: the sampled frames of all splits.
        people: of all frames, with the splits their rows lie in.
        born: split of each subject as the manifest says.
    """
    found = Contamination(frames=len(samples))
    for subject in sorted({*people, *samples.subject}):
        lies = set(people[subject].splits) if subject in people else set()
        lies |= {s for s, k in zip(samples.split, samples.subject, strict=True) if k == subject}
        for split in lies:
            found.splits[split] = found.splits.get(split, 0) + 1
        wrong = lies | ({born[subject]} if subject in born else set())
        if len(wrong) > 1:
            found.shared[subject] = sorted(wrong)
    if len(found.splits) < 2 or not len(samples):
        return found
    _pictures(found, samples)
    _people(found, samples)
    return found


def _pictures(found: Contamination, samples: Samples) -> None:
    vectors = pixel_vectors(samples.pictures["full/frame"])
    vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-6)
    _, split = np.unique(np.array(samples.split, dtype=object), return_inverse=True)
    pairs: list[tuple[float, int, int]] = []
    closest = -1.0
    for start in range(0, len(vectors), _BLOCK):
        rows = slice(start, start + _BLOCK)
        alike = vectors[rows] @ vectors.T
        # each pair once, and only of different splits
        alike[split[rows, None] >= split[None]] = -1
        closest = max(closest, float(alike.max(initial=-1)))
        for i, j in zip(*np.nonzero(alike >= SAME_PICTURE), strict=True):
            found.picture_pairs += 1
            pairs.append((float(alike[i, j]), start + int(i), int(j)))
        pairs = sorted(pairs, reverse=True)[:MOST_SHOWN]
    found.closest = closest
    found.pictures = [
        (samples.item[i], samples.frame[i], samples.item[j], samples.frame[j], round(value, 5)) for value, i, j in pairs
    ]


def _people(found: Contamination, samples: Samples) -> None:
    embeddings = samples.embeddings["full/aligned"].astype(np.float32)
    names = sorted(set(samples.subject))
    subjects = np.array([names.index(s) for s in samples.subject])
    items = np.array(samples.item, dtype=object)
    halves = np.full((2, len(names), embeddings.shape[1]), np.nan, np.float32)
    means = np.zeros((len(names), embeddings.shape[1]), np.float32)
    counts = np.zeros(len(names), np.int64)
    for k in range(len(names)):
        rows = subjects == k
        own = sorted(set(items[rows]))
        parity = np.array([own.index(i) % 2 for i in items[rows]])
        means[k] = _unit(embeddings[rows].sum(0))
        counts[k] = int(rows.sum())
        for half in (0, 1):
            if (parity == half).any():
                halves[half, k] = _unit(embeddings[rows][parity == half].sum(0))
    alike = look_alikes(People(names, means, halves, counts, np.full(len(names), -1, np.int64)))
    found.threshold = float(alike.threshold)
    where = _splits_of(names, samples)
    found.look_alikes = [
        (names[a], names[b], round(float(cosine), 4)) for a, b, cosine in alike.pairs if where[a] != where[b]
    ]


def _splits_of(names: Sequence[str], samples: Samples) -> list[frozenset[str]]:
    splits: dict[str, set[str]] = {name: set() for name in names}
    for subject, split in zip(samples.subject, samples.split, strict=True):
        splits[subject].add(split)
    return [frozenset(splits[name]) for name in names]


def _unit(vector: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(vector / max(float(np.linalg.norm(vector)), 1e-12), np.float32)
