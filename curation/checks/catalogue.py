"""Every kind of finding there is, which of them are looked for, and what a finding is once it is made."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from math import isfinite

from thermvision.annotations.errors import UsageError

from . import anatomy, integrity, labels, physics, pixels, sequence
from .kinds import GROUPS, Kind, by_code

KINDS: dict[str, Kind] = by_code(
    (*integrity.KINDS, *labels.KINDS, *pixels.KINDS, *anatomy.KINDS, *physics.KINDS, *sequence.KINDS)
)
ERRORS = ("integrity", "label")  # groups in which data or labels contradict themselves; the others look implausible


@dataclass(frozen=True)
class Found:
    """A finding.

    Attributes:
        code, group: of its `Kind`.
        severity: "error" where data or labels contradict themselves, "warning" where something looks implausible.
        item_id: clip, still or file; "" where it is about a file of the release, which ``path`` then names.
        subject_id, config, split: of the item; "" where unknown.
        first, last: frames, both inclusive; None for the whole item.
        frames: of those checked, how many are beyond the threshold.
        score: the worst; None where the fact needs none.
        threshold: the one it is beyond; None where there is none.
        detail: what was seen at its worst.
        picture: of the report's folder; "" where there is none.
    """

    code: str
    group: str
    severity: str
    item_id: str = ""
    subject_id: str = ""
    config: str = ""
    split: str = ""
    path: str = ""
    first: int | None = None
    last: int | None = None
    frames: int = 0
    score: float | None = None
    threshold: float | None = None
    detail: str = ""
    picture: str = ""


@dataclass(frozen=True)
class Options:
    """What is checked, and how.

    Attributes:
        codes: kinds that are looked for.
        thresholds: other thresholds than the kinds' own.
        pictures: how many are kept of each kind; 0: none.
        scores: whether every score is kept, not only those of findings.
    """

    codes: frozenset[str] = frozenset(KINDS)
    thresholds: Mapping[str, float] = field(default_factory=dict)
    pictures: int = 0
    scores: bool = False

    def kind(self, code: str) -> Kind:
        """The kind with the threshold that holds here."""
        return _with_threshold(KINDS[code], self.thresholds.get(code))


@cache
def _with_threshold(kind: Kind, threshold: float | None) -> Kind:
    return kind if threshold is None else replace(kind, threshold=threshold)


def choose(only: Collection[str] = (), skip: Collection[str] = ()) -> frozenset[str]:
    """Codes of the kinds chosen by groups or codes.

    >>> choose(["integrity"]) == {k.code for k in KINDS.values() if k.group == "integrity"}
    True

    Raises:
        UsageError: there is no such group or kind, or nothing is left.
    """
    chosen = _named(only, "--only") if only else set(KINDS)
    left = chosen - _named(skip, "--skip")
    if not left:
        raise UsageError("--only and --skip leave no kind of finding; list them: thermvision check --kinds")
    return frozenset(left)


def _named(names: Collection[str], option: str) -> set[str]:
    codes: set[str] = set()
    for name in names:
        if name not in GROUPS and name not in KINDS:
            raise UsageError(
                f"{option} {name} is no group and no kind of finding; allowed: {', '.join(GROUPS)}, or one of"
                f" thermvision check --kinds"
            )
        codes |= {code for code, kind in KINDS.items() if name in (code, kind.group)}
    return codes


def severity(kind: Kind) -> str:
    """How bad findings of a kind are; see `Found`."""
    return "error" if kind.group in ERRORS else "warning"


def number_of(score: float) -> float | None:
    """A score as it is stored: None where it could not be told."""
    return round(float(score), 6) if isfinite(score) else None


def badness(kind: Kind, score: float | None) -> float:
    """The larger, the worse; a fact without a number is worst."""
    if score is None:
        return float("inf")
    return score if kind.higher_is_worse else -score


def worse(kind: Kind, a: float | None, b: float | None) -> float | None:
    """The worse of two scores, of which None is none."""
    return b if a is None or (b is not None and badness(kind, b) > badness(kind, a)) else a
