"""Decisions of the explorer's reviewers: into the table of `thermvision decide` at once, and back out of it.

The table belongs to nobody: another page or another shell may append while this one shows it, so it is read again
whenever the file is another than it was.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from thermvision.annotations.errors import ThermVisionError, UsageError
from thermvision.annotations.findings import Finding
from thermvision.curation.reviews.apply import Known, check_decisions
from thermvision.curation.reviews.decisions import ACTIONS, Decision, append, decide, read_decisions
from thermvision.curation.reviews.resolving import Conflict, resolve
from thermvision.curation.sources import ReleaseSource

from .item_row import ItemRow

# what a POST may hold; who, frames, column, value and supersedes may be left out or null
ASKED = (
    "side", "key", "item_id", "action", "first_frame", "last_frame", "column", "value", "why", "who", "supersedes",
)  # fmt: skip
_TEXTS = ("side", "item_id", "action", "column", "why", "who", "supersedes")


def known_of(row: ItemRow) -> Known:
    """What a decision on ``row`` is checked against."""
    return Known(row.config, row.num_frames, row.width, row.height, cut=False)


@dataclass
class Reviewing:
    """A table of decisions that is shown and appended to.

    Attributes:
        path: of the table, which need not exist yet.
        who: the reviewer; None: every decision says who.
        read_only: nothing is appended.
    """

    path: Path
    who: str | None = None
    read_only: bool = False
    decisions: list[Decision] = field(default_factory=list)
    torn: list[Finding] = field(default_factory=list)
    problem: str | None = None
    _seen: Any = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def refresh(self) -> bool:
        """Read the table again if it changed; whether it did. A table that does not read keeps what was known."""
        with self._lock:
            try:
                there = self.path.stat()
                now: Any = (there.st_mtime_ns, there.st_size, there.st_ino)
            except OSError:
                now = None
            if now == self._seen:
                return False
            self._seen = now
            if now is None:
                self.decisions, self.torn, self.problem = [], [], None
                return True
            try:
                self.decisions, self.torn = read_decisions(self.path)
                self.problem = None
            except (ThermVisionError, OSError) as error:
                self.problem = str(error).replace(str(self.path), self.path.name)  # an export shows it to anybody
            return True

    def add(self, said: Mapping[str, Any], source: ReleaseSource, row: ItemRow) -> Decision:
        """Append a decision on ``row`` of ``source``; it is on the disk when this returns.

        Args:
            said: what a page sent, see `ASKED`.
            source: the release.
            row: the item that it names.

        Raises:
            UsageError: it is no decision, or one that ``thermvision decide`` refuses too.
            OutputError: the table cannot be written.
        """
        if self.read_only:
            raise UsageError("this page is read-only; start thermvision view without --read-only")
        check_asked(said)
        first, last = said.get("first_frame"), said.get("last_frame")
        if (first is None) != (last is None):
            raise UsageError("first_frame and last_frame go together; give both, or none for the whole item")
        decision = decide(
            row.item_id, said["action"], who=self.who or (said.get("who") or "").strip(),
            why=(said.get("why") or "").strip(), version=source.release.version, digest=source.digest,
            frames=None if first is None or last is None else (first, last),
            column=said.get("column"), value=said.get("value"),
            # to the millisecond: what is taken back and said again within a second is another decision
            when=datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            supersedes=said.get("supersedes"),
        )  # fmt: skip
        if wrong := check_decisions([decision], source, {row.item_id: known_of(row)}):
            raise UsageError("; ".join(map(str, wrong)) + "; nothing was saved")
        if self.path.exists() and not (self.path.is_file() or self.path.is_dir()):  # a pipe would wait for a reader
            raise UsageError(f"{self.path} is no file; allowed: a table of decisions, new or there; nothing was saved")
        append(self.path, [decision])
        return decision

    def conflicts(self, digest: str, frames: Mapping[str, int]) -> list[Conflict]:
        """Reviewers who disagree about items of the release with ``digest``; ``frames`` of each item by its id."""
        return resolve([d for d in self.decisions if d.digest == digest], frames)[1]

    def dumps(self, places: Mapping[str, Mapping[str, tuple[str, int]]]) -> list[dict[str, Any]]:
        """The decisions, newest last, each with ``of`` ("this" or "another version"), its place, and what took it back.

        Args:
            places: by the digest of a release that is shown, item id to its side and key.
        """
        withdrawn = {d.supersedes: d.decision_id for d in self.decisions if d.supersedes is not None}
        found = []
        for decision in self.decisions:
            shown = decision.digest in places
            side, key = places.get(decision.digest, {}).get(decision.item_id, (None, None))
            found.append({
                **decision.model_dump(), "of": "this" if shown else "another version", "side": side, "key": key,
                "superseded_by": withdrawn.get(decision.decision_id),
            })  # fmt: skip
        return found


def check_asked(said: Mapping[str, Any]) -> None:
    """Raise UsageError unless ``said`` has the keys and types of a decision; their values are `decide`'s to judge.

    >>> check_asked({"side": "a", "key": 3, "item_id": "P_000001_S1", "action": "accept", "why": "sharp"})
    >>> check_asked({"side": "a", "key": True})
    Traceback (most recent call last):
    ...
    thermvision.annotations.errors.UsageError: key is True; allowed: the item's number
    """
    if unknown := [k for k in said if k not in ASKED]:
        raise UsageError(f"{', '.join(map(_short, unknown[:5]))} is no part of a decision; allowed: {', '.join(ASKED)}")
    if type(said.get("key")) is not int:
        raise UsageError(f"key is {_short(said.get('key'))}; allowed: the item's number")
    for name in _TEXTS:
        value = said.get(name)
        if not isinstance(value, str) and value is not None:
            raise UsageError(f"{name} is {_short(value)}; allowed: text")
    for name in ("first_frame", "last_frame"):
        if type(said.get(name)) is not int and said.get(name) is not None:
            raise UsageError(f"{name} is {_short(said.get(name))}; allowed: a frame's number, or null")
    if said.get("action") not in ACTIONS:
        raise UsageError(f"action is {_short(said.get('action'))}; allowed: {', '.join(ACTIONS)}")


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) < 60 else text[:57] + "..."
