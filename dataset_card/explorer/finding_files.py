"""The files that `check`, `audit` and `dedupe` write, read as those of strangers: bounded, and taken for text.

What cannot be read is told as the problem of a file. Files that do not say which release they are about, as those of
older versions of this program, are taken for the items that bear their names.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from thermvision.annotations.errors import DamagedInputError, UsageError
from thermvision.curation.store import read_json

MAX_FINDINGS = 200_000  # of one file
MAX_JSON_BYTES = 64 * 2**20
MAX_TEXT = 500  # characters of a message
FILES = ("findings.parquet", "findings.json", "audit.json", "dedupe.json")
SUMMARY = "check.json"  # beside findings: which release they are about
_CODE = re.compile(r"[a-z][a-z0-9-]{0,59}")
_DIGEST = re.compile(r"[0-9a-f]{16}|[0-9a-f]{64}")
_AUDIT, _CHECK = "thermvision-audit/", "thermvision-check/"
_COLUMNS = ("code", "item_id", "path", "first", "last", "detail", "group", "severity")
_OF_PEOPLE = "look-alikes"


@dataclass(frozen=True)
class SeenFinding:
    """Something that a command found in an item.

    Attributes:
        item_id: clip, still or scene; "" where it is about a file or the whole release.
        code: kebab-case name of the kind.
        message: what was seen.
        first_frame, last_frame: both inclusive; None: the whole item.
        source: "check", "audit" or "dedupe".
    """

    item_id: str
    code: str
    message: str
    first_frame: int | None
    last_frame: int | None
    source: str


@dataclass(frozen=True)
class SeenFile:
    """One file that a command wrote.

    Attributes:
        source: the command: "check", "audit" or "dedupe".
        path: of the file.
        findings: of items, and of files and the whole release, without an item.
        of_people: the same of people, whose subject ids stand for items.
        problem: what is wrong with it; "" nothing.
        digest: of the release it is about: the start of `rows_digest`, or a `content_digest`; "" where it does not say.
        version: of that release.
        audit: what an audit answers.
    """

    source: str
    path: Path
    findings: tuple[SeenFinding, ...] = ()
    of_people: tuple[SeenFinding, ...] = ()
    problem: str = ""
    digest: str = ""
    version: str = ""
    audit: dict[str, Any] | None = None


def files_of(given: Path) -> list[Path]:
    if given.is_file():
        return [given]
    if not given.exists():
        raise UsageError(
            f"--findings {given} is not there; allowed: what check, audit or dedupe wrote with --out; type: thermvision"
            f" check RELEASE --out {given}"
        )
    found = [given / name for name in FILES if (given / name).is_file()]
    if given / FILES[0] in found and given / FILES[1] in found:
        found.remove(given / FILES[1])  # the same once more
    if not found:
        raise UsageError(
            f"--findings {given} holds none of {', '.join(FILES)}; name the --out of check, audit or dedupe"
        )
    return found


def read_file(path: Path) -> SeenFile:
    """A file of findings; what is wrong with it is in ``problem``."""
    nothing = SeenFile("check", path)
    try:
        if path.suffix == ".parquet":
            return _of_table(path)
        if path.stat().st_size > MAX_JSON_BYTES:
            return replace(nothing, problem=f"it has more than {MAX_JSON_BYTES} bytes; the Parquet beside it is read")
        value = read_json(path)
    except (DamagedInputError, pa.ArrowException, OSError) as error:
        told = str(error).replace(str(path), path.name)  # an export shows it to anybody
        return replace(nothing, problem=f"it does not read: {told[:MAX_TEXT]}")
    if isinstance(value, list):
        return _of_check(path, value)
    if isinstance(value, dict) and str(value.get("format", "")).startswith(_AUDIT):
        return _of_audit(path, value)
    if isinstance(value, dict) and str(value.get("format", "")).startswith(_CHECK):
        return _of_summary(path, value)
    if isinstance(value, dict) and isinstance(value.get("pairs"), list):
        return _about(_of_dedupe(path, value["pairs"], value.get("findings")), value)
    return replace(nothing, problem=f"it is none of {', '.join(FILES)}")


def _of_table(path: Path) -> SeenFile:
    with pq.ParquetFile(path) as file:
        names = set(file.schema_arrow.names)
        pairs = {"code", "one", "other"} <= names
        if not pairs and not {"code", "item_id"} <= names:
            return SeenFile("check", path, problem=f"it has none of the columns of {', '.join(FILES)}")
        wanted = _PAIR_COLUMNS if pairs else _COLUMNS
        rows: list[dict[str, Any]] = []
        for batch in file.iter_batches(1000, columns=[n for n in wanted if n in names]):
            rows += batch.to_pylist()
            if len(rows) > MAX_FINDINGS:
                break
    return _of_dedupe(path, rows, None) if pairs else _of_check(path, rows)


def _about(found: SeenFile, value: Any) -> SeenFile:
    """The same with digest and version of the release that a report says it was made on."""
    told = value.get("release") if isinstance(value, dict) else None
    if not isinstance(told, dict) or not _DIGEST.fullmatch(text(told.get("digest"))):
        return found
    return replace(found, digest=text(told["digest"]), version=text(told.get("version")))


def _of_summary(path: Path, value: Mapping[str, Any]) -> SeenFile:
    kinds = value.get("kinds") if isinstance(value.get("kinds"), dict) else {}
    assert isinstance(kinds, dict)
    worst = [kind.get("worst") for kind in kinds.values() if isinstance(kind, dict)]
    found = _of_check(path, [row for rows in worst if isinstance(rows, list) for row in rows])
    told = f"it has the worst of each kind; all are in {FILES[0]} beside it"
    return _about(replace(found, problem=found.problem or told), value)


def _of_check(path: Path, rows: Sequence[Any]) -> SeenFile:
    gathered = _Gathered("check")
    for row in rows[:MAX_FINDINGS]:
        if not isinstance(row, dict):
            gathered.strange += 1
            continue
        place = text(row.get("path"))
        said = text(row.get("detail")) or text(row.get("code"))
        item = "" if row.get("item_id") is None else row["item_id"]
        message = said if item or not place else f"{place}: {said}"
        gathered.add(item, row.get("code"), message, row.get("first"), row.get("last"))
    found = SeenFile("check", path, tuple(gathered.findings), problem=gathered.problem(len(rows)))
    if path.name in FILES and (path.parent / SUMMARY).is_file():
        with contextlib.suppress(DamagedInputError):
            return _about(found, read_json(path.parent / SUMMARY))
    return found


_PAIR_COLUMNS = (
    "code", "one", "other", "where", "score", "threshold", "frame_one", "frame_other", "frames",
)  # fmt: skip


def _of_dedupe(path: Path, pairs: Sequence[Any], unreadable: Any) -> SeenFile:
    items, people = _Gathered("dedupe"), _Gathered("dedupe")
    for pair in pairs[: MAX_FINDINGS // 2]:
        if not isinstance(pair, dict):
            items.strange += 1
            continue
        code, one, other = pair.get("code"), pair.get("one"), pair.get("other")
        score = pair.get("score")
        alike = f" ({score:.3f} of 1)" if isinstance(score, float) else ""
        into = people if code == _OF_PEOPLE else items
        for name, also, start in ((one, other, pair.get("frame_one")), (other, one, pair.get("frame_other"))):
            if name is other and pair.get("where", "here") != "here":
                continue
            first, last = _span(start, pair.get("frames")) if code == "overlapping-clips" else (None, None)
            into.add(name, code, f"as {text(also)}{alike}", first, last)
    for entry in unreadable if isinstance(unreadable, list) else []:
        if isinstance(entry, dict):
            items.add(entry.get("path"), entry.get("code"), text(entry.get("message")), None, None)
    return SeenFile(
        "dedupe", path, tuple(items.findings), tuple(people.findings), problem=items.problem(2 * len(pairs))
    )  # fmt: skip


def _of_audit(path: Path, value: Mapping[str, Any]) -> SeenFile:
    items, people = _Gathered("audit"), _Gathered("audit")
    splits = value.get("splits") if isinstance(value.get("splits"), dict) else {}
    assert isinstance(splits, dict)
    for pair in _lists(splits.get("pictures"), 5):
        for (item, frame), (other, there) in ((pair[:2], pair[2:4]), (pair[2:4], pair[:2])):
            items.add(
                item, "picture-in-two-splits", f"nearly equal to frame {text(there)} of {text(other)}", frame, frame
            )
    for one, other, cosine in _lists(splits.get("look_alikes"), 3):
        for name, also in ((one, other), (other, one)):
            people.add(name, "look-alikes-in-two-splits", f"as {text(also)} (cosine {text(cosine)})", None, None)
    shared = splits.get("shared")
    for name, where in shared.items() if isinstance(shared, dict) else ():
        people.add(name, "subject-in-two-splits", f"{name[:80]} is in {text(where)}", None, None)
    told = value.get("answers")
    answers = [
        {key: text(answer.get(key)) for key in ("name", "question", "level", "statement")}
        for answer in (told[:50] if isinstance(told, list) else [])
        if isinstance(answer, dict)
    ]
    facts = {key: text(value.get(key)) for key in ("release", "version", "digest", "verdict", "people", "identities")}
    digest = facts["digest"] if _DIGEST.fullmatch(facts["digest"]) else ""
    return SeenFile(
        "audit", path, tuple(items.findings), tuple(people.findings), problem=items.problem(0), digest=digest,
        version=facts["version"], audit={**facts, "answers": answers},
    )  # fmt: skip


def _lists(value: Any, size: int) -> Iterable[list[Any]]:
    rows = value if isinstance(value, list) else []
    return [row for row in rows[:1000] if isinstance(row, list) and len(row) == size]


@dataclass
class _Gathered:
    """Findings of one file as they are taken in; ``strange`` counts those that are none."""

    source: str
    findings: list[SeenFinding] = field(default_factory=list)
    strange: int = 0

    def add(self, item: Any, code: Any, message: str, first: Any, last: Any) -> None:
        sound = isinstance(item, str) and len(item) <= 1000 and isinstance(code, str)
        if not sound or not _CODE.fullmatch(code):
            self.strange += 1
            return
        first_frame, last_frame = _span(first, None, last)
        self.findings.append(SeenFinding(item, code, message, first_frame, last_frame, self.source))

    def problem(self, rows: int) -> str:
        """What is wrong with a file of so many rows."""
        told = [f"{self.strange} of its findings are none of ours"] if self.strange else []
        if rows > MAX_FINDINGS:
            told.append(f"it has more than {MAX_FINDINGS} findings, and the first are shown")
        return "; ".join(told)


def _span(first: Any, length: Any, last: Any = None) -> tuple[int | None, int | None]:
    """First and last frame of what files say; None where that is nothing sensible."""
    if not _is_frame(first):
        return None, None
    if _is_frame(length) and length:
        last = first + length - 1
    return first, last if _is_frame(last) and last >= first else first


def _is_frame(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**31 - 1


def text(value: Any) -> str:
    """A value of a stranger's file as a message, cut to `MAX_TEXT` characters.

    >>> text(["test", "train"]), text(None), text(0.25)
    ('test, train', '', '0.25')
    """
    if isinstance(value, list):
        return ", ".join(text(v) for v in value[:20] if not isinstance(v, list))[:MAX_TEXT]
    return str(value)[:MAX_TEXT] if isinstance(value, (str, int, float)) else ""
