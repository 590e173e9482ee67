"""What a table of decisions comes to: for each item what is rejected and what gets which label; the last one wins."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .decisions import Decision
from .values import OF_FRAMES

_NOBODY = -1


@dataclass(frozen=True)
class Conflict:
    """Two people who say different things of the same frames, where the later one does not take the earlier back."""

    earlier: Decision
    later: Decision

    def __str__(self) -> str:
        return f"{_said(self.earlier)}, and {_said(self.later)}"


def _said(decision: Decision) -> str:
    what = {"relabel": f"{decision.column} = {decision.value!r}"}.get(decision.action, decision.action)
    return f"{decision.who} says {what[:80]} of {decision.place} ({decision.decision_id})"


@dataclass(frozen=True, eq=False)
class Verdict:
    """What is decided of one item with N frames (1 for a still).

    Attributes:
        item_id: the clip or still.
        rejected: (N,) bool.
        accepted: (N,) bool; frames that are neither were not judged.
        relabels: decisions whose value still holds for some frame, in the order they were made.
        holds: column to (N,) int, the number in ``relabels`` that holds for a frame, -1: none.
        tags: their texts, in order.
    """

    item_id: str
    rejected: NDArray[np.bool_]
    accepted: NDArray[np.bool_]
    relabels: tuple[Decision, ...] = ()
    holds: Mapping[str, NDArray[np.intp]] = field(default_factory=dict)
    tags: tuple[str, ...] = ()


def longest_accepted(rejected: NDArray[np.bool_]) -> tuple[int, int] | None:
    """First and last frame of the longest run that is not rejected, the first of equals; None where there is none.

    >>> longest_accepted(np.array([1, 0, 0, 1, 0, 0, 0, 1], bool))
    (4, 6)
    """
    edges = np.flatnonzero(np.diff(np.concatenate([[True], rejected, [True]]).astype(np.int8)))
    starts, ends = edges[::2], edges[1::2]
    if not len(starts):
        return None
    best = int(np.argmax(ends - starts))
    return int(starts[best]), int(ends[best]) - 1


def resolve(decisions: Iterable[Decision], frames: Mapping[str, int]) -> tuple[dict[str, Verdict], list[Conflict]]:
    """The verdict on every item that ``decisions`` name, and who disagrees.

    Decisions count in the order of the table: the last on a frame wins. One that ``supersedes`` another takes that
    back for all its frames. Ranges beyond the end are cut there.

    Args:
        decisions: of a table, in order.
        frames: frames of each item by its id; decisions on others are passed over.
    """
    known = [d for d in decisions if d.item_id in frames]
    withdrawn = {d.supersedes for d in known if d.supersedes is not None}
    by_item: dict[str, list[Decision]] = defaultdict(list)
    for decision in known:
        if decision.decision_id not in withdrawn:
            by_item[decision.item_id].append(decision)
    conflicts: dict[tuple[str, str], Conflict] = {}
    verdicts = {}
    for item, said in by_item.items():
        verdicts[item] = _verdict(item, said, frames[item], conflicts)
    return verdicts, list(conflicts.values())


def _verdict(item: str, said: Sequence[Decision], count: int, conflicts: dict[tuple[str, str], Conflict]) -> Verdict:
    judged = np.full(count, _NOBODY, np.intp)
    labels: dict[str, NDArray[np.intp]] = {}
    for number, decision in enumerate(said):
        if decision.action == "tag":
            continue
        if decision.action == "relabel":
            column = decision.column or ""
            held = labels.setdefault(column, np.full(count, _NOBODY, np.intp))
            first, last = decision.frames if decision.frames and column in OF_FRAMES else (0, count - 1)
        else:
            held = judged
            first, last = decision.frames or (0, count - 1)
        span = slice(first, last + 1)
        for before in np.unique(held[span]):
            earlier = said[before]
            if before != _NOBODY and earlier.who != decision.who and _content(earlier) != _content(decision):
                key = earlier.decision_id, decision.decision_id
                conflicts.setdefault(key, Conflict(earlier, decision))
        held[span] = number
    rejecting = np.array([d.action == "reject" for d in said] + [False])
    accepting = np.array([d.action == "accept" for d in said] + [False])
    numbers = sorted({int(n) for held in labels.values() for n in held if n != _NOBODY})
    again = {n: k for k, n in enumerate(numbers)}
    return Verdict(
        item,
        rejecting[judged],
        accepting[judged],
        tuple(said[n] for n in numbers),
        {c: np.array([again.get(int(n), _NOBODY) for n in held], np.intp) for c, held in labels.items()},
        tuple(dict.fromkeys(str(d.value) for d in said if d.action == "tag")),
    )


def _content(decision: Decision) -> Any:
    return decision.action, decision.column, decision.value
