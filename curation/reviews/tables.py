"""Decisions from tables that others write: a CSV from a spreadsheet, and the findings of ``check``."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from thermvision.annotations.errors import DamagedInputError, UsageError

from ..sources import ReleaseSource
from .decisions import ACTIONS, Decision, decision_of

CSV_COLUMNS = ("item_id", "first_frame", "last_frame", "action", "column", "value", "who", "when", "why", "supersedes")
MAX_CSV_BYTES = 256 * 2**20
_PLACE = re.compile(r"(?P<item>.+?)(:(?P<first>\d{1,9})(-(?P<last>\d{1,9}))?)?")


def parse_place(text: str) -> tuple[str, tuple[int, int] | None]:
    """Item and frames of ``ITEM``, ``ITEM:FRAME`` or ``ITEM:FIRST-LAST``.

    >>> parse_place("P_000001_S1"), parse_place("P_000001_S1:7"), parse_place("P_000001_S1:3-9")
    (('P_000001_S1', None), ('P_000001_S1', (7, 7)), ('P_000001_S1', (3, 9)))

    Raises:
        UsageError: it is empty or the frames run backwards.
    """
    match = _PLACE.fullmatch(text)
    if match is None:
        raise UsageError(f"{text!r} names no item; allowed: ITEM, ITEM:FRAME or ITEM:FIRST-LAST")
    if match["first"] is None:
        return match["item"], None
    first, last = int(match["first"]), int(match["last"] or match["first"])
    if first > last:
        raise UsageError(f"{text!r} has frames that run backwards; type {match['item']}:{last}-{first}")
    return match["item"], (first, last)


def parse_value(text: str | None) -> Any:
    """A value as it is typed: JSON where it is JSON, else the text itself.

    >>> parse_value("[1, 2, 30, 40]"), parse_value("smile"), parse_value("null")
    ([1, 2, 30, 40], 'smile', None)
    """
    if text is None:
        return None
    try:
        value = json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        return text
    return value


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is no JSON")


def from_csv(path: Path, source: ReleaseSource, who: str | None, why: str | None) -> list[Decision]:
    """The decisions of a CSV with the columns `CSV_COLUMNS`; only ``item_id`` and ``action`` must be there.

    ``item_id`` may also be ``ITEM:FIRST-LAST``. ``who`` and ``why`` are taken where a row has none, and the time of
    reading where it has no ``when``.

    Raises:
        UsageError: the file is no such table, or rows of it are no decisions; all are listed.
    """
    text = _text(path)
    rows = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    names = [n.strip() for n in rows.fieldnames or ()]
    if unknown := sorted(set(names) - set(CSV_COLUMNS)):
        raise UsageError(f"{path} has columns {', '.join(unknown)}; allowed: {', '.join(CSV_COLUMNS)}")
    if missing := {"item_id", "action"} - set(names):
        raise UsageError(f"{path} lacks {', '.join(sorted(missing))}; allowed columns: {', '.join(CSV_COLUMNS)}")
    rows.fieldnames = names
    found: list[Decision] = []
    wrong: list[str] = []
    try:
        for row in rows:
            try:
                found.append(_of_row(row, source, who, why))
            except UsageError as error:
                wrong.append(f"line {rows.line_num}: {error}")
    except csv.Error as error:
        raise UsageError(f"{path}, line {rows.line_num}: {error}; save it as plain CSV") from error
    if wrong:
        raise UsageError(f"{len(wrong)} rows of {path} are no decisions: {'; '.join(wrong[:10])}")
    return found


def _text(path: Path) -> str:
    if not path.is_file():
        raise UsageError(f"{path} does not exist; allowed: a CSV with {', '.join(CSV_COLUMNS)}")
    if path.stat().st_size > MAX_CSV_BYTES:
        raise UsageError(f"{path} has {path.stat().st_size} bytes; allowed: {MAX_CSV_BYTES}")
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is no UTF-8 text ({error}); save it as CSV UTF-8") from error


def _of_row(row: dict[str, Any], source: ReleaseSource, who: str | None, why: str | None) -> Decision:
    if None in row or None in row.values():
        raise UsageError("it has more or fewer cells than the first line")
    cells = {name: value.strip() or None for name, value in row.items()}
    item, frames = parse_place(cells["item_id"] or "")
    first, last = cells.get("first_frame"), cells.get("last_frame")
    if first is not None or last is not None:
        if not (first or "").isdecimal() or not (last or "").isdecimal():
            raise UsageError(f"frames are {first!r} to {last!r}; allowed: two whole numbers, or none")
        frames = int(first or 0), int(last or 0)
    if (action := cells["action"]) not in ACTIONS:
        raise UsageError(f"action is {action!r}; allowed: {', '.join(ACTIONS)}")
    value = cells.get("value")
    return decision_of(
        source, item, action or "", who=cells.get("who") or who or "", why=cells.get("why") or why or "", frames=frames,
        column=cells.get("column"), value=value if action == "tag" else parse_value(value), when=cells.get("when"),
        supersedes=cells.get("supersedes"),
    )  # fmt: skip


def from_findings(
    path: Path, source: ReleaseSource, codes: Collection[str], who: str, why: str | None = None
) -> list[Decision]:
    """Rejections of what ``check`` found: of the frames a finding is about, else of the whole item.

    Args:
        path: ``findings.parquet`` as ``thermvision check --out`` writes it.
        source: the release that was checked.
        codes: kinds of findings that reject.
        who: on whose word.
        why: None: the finding's code and detail.

    Raises:
        UsageError: there is no such file, or none of its findings has one of the codes.
        DamagedInputError: it is no table of findings.
    """
    found = [row for row in _findings(path) if row["code"] in codes and row["item_id"]]
    if missing := sorted(set(codes) - {row["code"] for row in found}):
        seen = sorted({row["code"] for row in _findings(path) if row["item_id"]})
        raise UsageError(f"{path} has no {', '.join(missing)} of an item; it has: {', '.join(seen) or 'none of any'}")
    # the same frames twice need one decision
    said: dict[tuple[str, Any], list[dict[str, Any]]] = {}
    for row in found:
        frames = None if row["first"] is None else (row["first"], row["first"] if row["last"] is None else row["last"])
        said.setdefault((row["item_id"], frames), []).append(row)
    return [
        decision_of(source, item, "reject", who=who, why=why or _why(rows), frames=frames)
        for (item, frames), rows in said.items()
    ]


def _why(rows: list[dict[str, Any]]) -> str:
    return "; ".join(f"{r['code']}: {r['detail']}" if r.get("detail") else r["code"] for r in rows)[:2000]


def _findings(path: Path) -> Iterator[dict[str, Any]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not path.is_file():
        raise UsageError(f"{path} does not exist; make it: thermvision check RELEASE --out FOLDER")
    try:
        file = pq.ParquetFile(path)
        names = [n for n in ("code", "item_id", "first", "last", "detail") if n in file.schema_arrow.names]
        if missing := {"code", "item_id", "first", "last"} - set(names):
            raise DamagedInputError(f"{path} lacks {', '.join(sorted(missing))}; it is no table of findings of check")
        for batch in file.iter_batches(columns=names):
            yield from batch.to_pylist()
    except (pa.ArrowException, OSError) as error:
        raise DamagedInputError(f"{path} is no whole Parquet file ({error})") from error
