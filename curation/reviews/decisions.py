"""Decisions of a review: who said what of which item or frames, when and why, in a table that only grows.

The table is a text file with one JSON object a line: an append is one write and one fsync under a lock, so two people
and a killed process cost at most the line being written. A decision is never edited; a later one takes its place.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictInt, ValidationError, model_validator

from thermvision.annotations.errors import DamagedInputError, UsageError
from thermvision.annotations.findings import Finding

from ..release import describe_validation
from ..sources import ReleaseSource
from ..store import canonical_json, sha256_bytes, writing
from .values import RELABELLED

NAME = "decisions.jsonl"  # of a table, unless another is asked for
ACTIONS = ("accept", "reject", "relabel", "tag")
MAX_TABLE_BYTES = 2**30
MAX_LINE = 2**20
_SHORT = 2**11  # bytes of a line that is remembered
Action = Literal["accept", "reject", "relabel", "tag"]
Frame = Annotated[StrictInt, Field(ge=0)]
Text = Annotated[str, Field(min_length=1, max_length=200)]


class Decision(BaseModel):
    """One line of the table.

    Attributes:
        item_id: the clip or still.
        first_frame, last_frame: frames it is about, both inclusive; null: the whole item.
        action: ``accept``, ``reject``, ``relabel`` (``column`` becomes ``value``) or ``tag`` (``value`` is the tag).
        column: of the release's schema; null but for relabel.
        value: what the column becomes, classes by name; see `values.checked_value`.
        who, when, why: the reviewer, the time in UTC (ISO 8601) and the reason.
        version, digest: of the release that was looked at; the digest is the start of the SHA-256 of `release.json`.
        supersedes: id of an earlier decision that this one takes back.
        decision_id: digest of all the others, so that a changed line shows and the same line twice counts once.

    >>> said = decide("P_000001_S1", "reject", who="Ana", why="blurred", version="1.0", digest="0" * 16,
    ...               frames=(3, 9), when="2026-01-02T03:04:05Z")
    >>> said.decision_id, said.frames
    ('e9ecdecfab18a786', (3, 9))
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    item_id: Text
    first_frame: Frame | None = None
    last_frame: Frame | None = None
    action: Action
    column: Text | None = None
    value: Any = None
    who: Text
    when: Annotated[str, Field(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$")]
    why: Annotated[str, Field(min_length=1, max_length=2000)]
    version: Annotated[str, Field(pattern=r"^\d+\.\d+(\.\d+)?$")]
    digest: Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")]
    supersedes: Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")] | None = None
    decision_id: Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")]

    @model_validator(mode="after")
    def _sensible(self) -> Decision:
        if (self.first_frame is None) != (self.last_frame is None):
            raise ValueError("first_frame and last_frame go together; give both, or none for the whole item")
        if self.frames is not None and self.frames[0] > self.frames[1]:
            raise ValueError(f"frames {self.frames[0]} to {self.frames[1]} run backwards")
        if (self.action == "relabel") != (self.column is not None):
            raise ValueError(
                f"column is {self.column!r} and the action {self.action}; relabel has a column, no other does"
            )
        if self.column is not None and self.column not in RELABELLED:
            raise ValueError(f"column is {self.column!r}; allowed: {', '.join(RELABELLED)}")
        if self.action == "tag" and not (isinstance(self.value, str) and self.value):
            raise ValueError(f"value is {self.value!r}; allowed: the tag's text")
        if self.action in ("accept", "reject") and self.value is not None:
            raise ValueError(f"{self.action} takes no value; put the reason into why")
        return self

    @property
    def frames(self) -> tuple[int, int] | None:
        """First and last frame, None for the whole item."""
        return None if self.first_frame is None or self.last_frame is None else (self.first_frame, self.last_frame)

    @property
    def place(self) -> str:
        """The item, and its frames where it is about some: ``P_000001_S1:3-9``."""
        return self.item_id if self.frames is None else f"{self.item_id}:{self.frames[0]}-{self.frames[1]}"

    def line(self) -> str:
        """Its line in the table, without the line feed."""
        return canonical_json(self.model_dump())


def decide(
    item_id: str,
    action: str,
    *,
    who: str,
    why: str,
    version: str,
    digest: str,
    frames: tuple[int, int] | None = None,
    column: str | None = None,
    value: Any = None,
    when: str | None = None,
    supersedes: str | None = None,
) -> Decision:
    """A decision, made now unless ``when`` says otherwise.

    Raises:
        UsageError: it does not say what a decision says.
    """
    first, last = frames if frames is not None else (None, None)
    said = {
        "item_id": item_id, "first_frame": first, "last_frame": last, "action": action, "column": column,
        "value": value, "who": who, "when": when or now(), "why": why, "version": version, "digest": digest,
        "supersedes": supersedes,
    }  # fmt: skip
    try:
        return Decision.model_validate({**said, "decision_id": _digest(said)})
    except ValidationError as error:
        raise UsageError(f"a decision on {item_id!r}: {describe_validation(error)}") from error
    except (TypeError, ValueError) as error:
        raise UsageError(f"a decision on {item_id!r}: value {value!r} is no JSON ({error})") from error


def now() -> str:
    """This second in UTC, as the table writes it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _digest(said: dict[str, Any]) -> str:
    return sha256_bytes(canonical_json({k: v for k, v in said.items() if k != "decision_id"}).encode())[:16]


def decision_of(source: ReleaseSource, item_id: str, action: str, *, who: str, why: str, **more: Any) -> Decision:
    """`decide` about an item of a release as it is; ``more`` as there."""
    version = source.release.version
    return decide(item_id, action, who=who, why=why, version=version, digest=source.digest, **more)


def append(path: Path, decisions: Iterable[Decision]) -> int:
    """Add decisions to the table at ``path`` (made when missing) and return how many were new; safe beside others.

    Raises:
        UsageError: ``path`` holds something else, or a decision takes one back that is not there.
        OutputError: no room or no permission.
    """
    if path.is_dir():
        raise UsageError(f"{path} is a folder; allowed: a table of decisions, new or there, such as {path / NAME}")
    decisions = list(decisions)
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            file.seek(0)
            try:
                data = file.read(MAX_TABLE_BYTES + 1)
                known, _ = _parse(data, str(path))
            except DamagedInputError as error:
                raise UsageError(f"{error}; nothing was added") from error
            seen = {d.decision_id for d in known}
            there = seen | {d.decision_id for d in decisions}
            if unknown := sorted({d.supersedes for d in decisions if d.supersedes is not None} - there):
                raise UsageError(
                    f"{path} has no decision {', '.join(unknown)} to take back; it has {len(seen)}; nothing was added"
                )
            new = list({d.decision_id: d for d in decisions if d.decision_id not in seen}.values())
            if new:
                # what a killed writer left keeps a line of its own, which readers pass over
                gap = b"\n" if data and not data.endswith(b"\n") else b""
                file.write(gap + table_bytes(new))
                file.flush()
                os.fsync(file.fileno())
    return len(new)


def read_decisions(path: Path) -> tuple[list[Decision], list[Finding]]:
    """The decisions of a table in the order they were made, and what in it is none: lines that a kill cut short.

    A line twice counts once.

    Raises:
        UsageError: there is no table.
        DamagedInputError: a line says what no decision says, or was changed.
    """
    if not path.is_file():
        raise UsageError(f"{path} is no decision table; make one: thermvision decide RELEASE ITEM reject --out {path}")
    if path.stat().st_size > MAX_TABLE_BYTES:
        raise DamagedInputError(f"{path} has {path.stat().st_size} bytes; allowed: {MAX_TABLE_BYTES}")
    decisions, torn = _parse(path.read_bytes(), str(path))
    message = "line {} was cut short by a stopped writer; it decides nothing"
    return decisions, [Finding(str(path), "torn-line", message.format(n)) for n in torn]


@lru_cache(2**16)
def _whole(line: bytes) -> Decision | None:
    """The decision of a line that is one, unchanged; a table is read again at every append, and seldom all new."""
    try:
        decision = Decision.model_validate(json.loads(line))
        return decision if decision.decision_id == _digest(decision.model_dump()) else None
    except (ValueError, RecursionError):  # what is wrong with it is told by its number
        return None


def _parse(data: bytes, name: str) -> tuple[list[Decision], list[int]]:
    """Decisions of a table's bytes, and the numbers of lines that were cut short."""
    if len(data) > MAX_TABLE_BYTES:
        raise DamagedInputError(f"{name} has more than {MAX_TABLE_BYTES} bytes; start another table")
    found: dict[str, Decision] = {}
    torn = []
    for number, line in enumerate(data.split(b"\n"), 1):
        if not line.strip():
            continue
        if len(line) > MAX_LINE:
            raise DamagedInputError(f"{name}, line {number} has {len(line)} bytes; allowed: {MAX_LINE}")
        if (whole_line := _whole(line) if len(line) <= _SHORT else None) is not None:
            found.setdefault(whole_line.decision_id, whole_line)
            continue
        try:
            said = json.loads(line)
        except (ValueError, RecursionError) as error:
            if not line.startswith(b"{"):
                raise DamagedInputError(
                    f"{name}, line {number} is no JSON ({error}); it is no decision table"
                ) from error
            torn.append(number)
            continue
        try:
            decision = Decision.model_validate(said)
            whole = decision.decision_id == _digest(decision.model_dump())
        except (ValidationError, RecursionError) as error:
            reason = describe_validation(error) if isinstance(error, ValidationError) else str(error)
            raise DamagedInputError(f"{name}, line {number} is no decision: {reason}") from error
        except ValueError as error:
            raise DamagedInputError(f"{name}, line {number} has a value that is no JSON: {error}") from error
        if not whole:
            raise DamagedInputError(
                f"{name}, line {number} ({decision.decision_id}) was changed after it was made; restore it, and append"
                " a decision that supersedes it"
            )
        found.setdefault(decision.decision_id, decision)
    return list(found.values()), torn


def table_bytes(decisions: Sequence[Decision]) -> bytes:
    """A table of ``decisions`` as a file's bytes."""
    return "".join(f"{d.line()}\n" for d in decisions).encode()
