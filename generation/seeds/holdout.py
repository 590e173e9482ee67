"""Who is held out: whole subjects, so that nobody is seen both in training and after it."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence

from thermvision.annotations.errors import UsageError
from thermvision.annotations.findings import Finding

from .sources import HOLDOUT, TRAIN, Seed


def assign(seeds: Sequence[Seed], share: float, seed: int = 0) -> tuple[dict[str, str], list[Finding]]:
    """ "train" or "holdout" for every subject.

    Where a data set has its own split, that counts, and a subject on both sides of it is held out (finding
    ``split-overlap``). Otherwise ``share`` of the subjects are held out, rounded up, but never all: those whose names
    have the smallest SHA-256 together with ``seed``, whatever the order of the files.

    >>> people = [Seed(f"{n}.png", None, f"s/{n}") for n in range(10)]
    >>> sorted(assign(people, 0.2)[0].values()).count("holdout")
    2

    Raises:
        UsageError: the share is not in 0 … 0.9.
    """
    if not 0 <= share <= 0.9:
        raise UsageError(f"--holdout is {share}; allowed: 0 to 0.9")
    stated: dict[str, set[str]] = {}
    for item in seeds:
        stated.setdefault(item.subject, set()).add(item.split)
    open_ = [subject for subject, splits in stated.items() if splits == {""}]
    count = min(math.ceil(share * len(open_) - 1e-9), max(len(open_) - 1, 0))
    chosen = set(_ranked(open_, seed)[:count])
    splits = {subject: HOLDOUT if HOLDOUT in seen or subject in chosen else TRAIN for subject, seen in stated.items()}
    overlap = [s for s, seen in stated.items() if len(seen) > 1]
    findings = [
        Finding(subject, "split-overlap", "the data set has this subject on both sides; all its pictures are held out")
        for subject in overlap
        if splits[subject] == HOLDOUT
    ]
    return splits, findings


def _ranked(subjects: Iterable[str], seed: int) -> list[str]:
    return sorted(subjects, key=lambda subject: hashlib.sha256(f"{seed}/{subject}".encode()).hexdigest())


def disjoint(rows: Iterable[Mapping[str, str]]) -> bool:
    """Whether no subject of some index rows is in both splits.

    >>> disjoint([{"subject": "a", "split": "train"}, {"subject": "a", "split": "holdout"}])
    False
    """
    seen: dict[str, str] = {}
    return all(seen.setdefault(row["subject"], row["split"]) == row["split"] for row in rows)
