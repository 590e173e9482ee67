"""What decisions come to, item by item, for a grid that shows the last word on each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from thermvision.curation.reviews.decisions import Decision

TAKEN_BACK = "taken back"  # the tag of a decision that only takes another one back, as the page makes it


@dataclass(frozen=True)
class Standing:
    """What is decided of an item.

    Attributes:
        last: the last verdict (accept, reject) that stands; without one, the action of the last decision that does.
        actions: every action that stands, sorted.
        tags: texts of the tags that stand, in order.
    """

    last: str
    actions: tuple[str, ...]
    tags: tuple[str, ...]


def standing(decisions: Sequence[Decision]) -> dict[str, Standing]:
    """By item id what is decided of it: decisions that are taken back, or judged anew as a whole, count no more.

    >>> from thermvision.curation.reviews.decisions import decide
    >>> by = dict(who="Ana", why="blurred", version="1.0", digest="0" * 16)
    >>> said = [decide("a", "reject", **by, frames=(2, 5)), decide("a", "accept", **by)]
    >>> standing(said)
    {'a': Standing(last='accept', actions=('accept',), tags=())}
    >>> standing([*said, decide("a", "tag", value="dark", **by)])  # a tag hides no verdict
    {'a': Standing(last='accept', actions=('accept', 'tag'), tags=('dark',))}
    >>> standing([*said, decide("a", "tag", value=TAKEN_BACK, supersedes=said[1].decision_id, **by)])
    {'a': Standing(last='reject', actions=('reject',), tags=())}
    """
    withdrawn = {d.supersedes for d in decisions if d.supersedes is not None}
    by_item: dict[str, list[Decision]] = {}
    for decision in decisions:
        only_takes_back = decision.action == "tag" and decision.value == TAKEN_BACK and decision.supersedes is not None
        if decision.decision_id in withdrawn or only_takes_back:
            continue
        said = by_item.setdefault(decision.item_id, [])
        if decision.action in ("accept", "reject"):
            said[:] = [d for d in said if d.action not in ("accept", "reject") or not _covers(decision, d)]
        said.append(decision)
    return {
        item: Standing(
            next((d.action for d in reversed(said) if d.action in ("accept", "reject")), said[-1].action),
            tuple(sorted({d.action for d in said})),
            tuple(dict.fromkeys(str(d.value) for d in said if d.action == "tag")),
        )
        for item, said in by_item.items()
    }


def _covers(later: Decision, earlier: Decision) -> bool:
    if later.frames is None:
        return True
    inner = earlier.frames
    return inner is not None and later.frames[0] <= inner[0] and inner[1] <= later.frames[1]
