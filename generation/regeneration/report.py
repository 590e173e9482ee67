"""What came of regenerating a release: numbers, and everything that is not as it was published."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from thermvision.curation.console import counted

from .rebuild import Rebuilt, Repair
from .regenerate import DAMAGED, STATES, Checked

_LISTED = 10  # items named of those with one reason; the JSON has all


@dataclass
class Report:
    """Filled while the work goes on.

    Attributes:
        place: the release.
        version: of it.
        broken: shards that are lost or damaged, with what can be done.
        rebuilt: what came of rebuilding them; None where that was not asked for.
        counts: items by state.
        findings: items that are not exact.
    """

    place: str
    version: str
    broken: list[Repair] = field(default_factory=list)
    rebuilt: list[Rebuilt] | None = None
    counts: Counter[str] = field(default_factory=Counter)
    findings: list[Checked] = field(default_factory=list)

    def take(self, results: Iterable[Checked]) -> None:
        """Count the results of `regenerate`; exact ones are not kept."""
        for checked in results:
            if checked.state != DAMAGED:
                self.counts[checked.state] += 1
            if checked.state != "exact":
                self.findings.append(checked)

    @property
    def left(self) -> list[tuple[str, str, str]]:
        """Path, state and reason of the shards that are broken still."""
        done = {r.shard.path: r for r in self.rebuilt or ()}
        found = [
            (r.broken.shard.path, r.broken.state, done[path].reason if path in done else f"{r.broken.seen}; {_way(r)}")
            for r in self.broken
            if not ((path := r.broken.shard.path) in done and done[path].done)
        ]
        named = {r.broken.shard.path for r in self.broken}
        met = [(c.item_id, c.state, c.reason) for c in self.findings if c.state == DAMAGED]
        return found + [m for m in met if m[0] not in named]

    @property
    def fails(self) -> bool:
        """Whether anything is neither exact nor close, or a shard is broken still."""
        return bool(self.left or self.counts["mismatch"] or self.counts["unavailable"])

    @property
    def rebuildable(self) -> bool:
        """Whether a broken shard can be made again and was not."""
        return self.rebuilt is None and any(r.job for r in self.broken)

    def as_json(self) -> dict[str, Any]:
        """Plain values for ``--json``."""
        return {
            "place": self.place,
            "version": self.version,
            "items": {state: self.counts[state] for state in STATES},
            "findings": [
                {"item": c.item_id, "shard": c.shard, "state": c.state, "reason": c.reason}
                for c in self.findings
                if c.state != DAMAGED
            ],
            "broken": [{"shard": path, "state": state, "reason": why} for path, state, why in self.left],
            "rebuilt": [r.shard.path for r in self.rebuilt or () if r.done],
        }

    def lines(self) -> Iterator[str]:
        """For people."""
        for path, state, why in self.left:
            yield f"{state}: {path}: {why}"
        if self.rebuilt is not None:
            done = sum(r.done for r in self.rebuilt)
            whole = f"{counted(done, 'shard')} rebuilt bit for bit" if done else "nothing rebuilt"
            yield whole if self.broken else "no shard is lost or damaged: nothing to rebuild"
        groups: dict[tuple[str, str], list[str]] = defaultdict(list)
        for checked in self.findings:
            if checked.state != DAMAGED:
                groups[checked.state, checked.reason].append(checked.item_id)
        for (state, reason), items in groups.items():
            more = f" and {len(items) - _LISTED} more" if len(items) > _LISTED else ""
            yield f"{state}: {', '.join(items[:_LISTED])}{more}: {reason}"
        if total := sum(self.counts.values()):
            numbers = ", ".join(f"{self.counts[state]} {state}" for state in STATES if self.counts[state])
            yield f"{self.place} {self.version}: {counted(total, 'item')} rendered again, {numbers}"


def _way(repair: Repair) -> str:
    return "its recipe makes it again" if repair.job else f"it cannot be made again: {repair.reason}"
