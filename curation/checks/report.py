"""What a check found as a table, as JSON, as Parquet and as a page with pictures."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console
from rich.table import Table

from ..console import counted
from ..contents import stamp
from ..pages import picture_uri, render_page
from ..release import read_release
from ..store import atomic_path, atomic_write
from .catalogue import KINDS, Found, severity
from .check import Report

PARQUET, JSON, PAGE = "findings.parquet", "findings.json", "report.html"
SUMMARY, FORMAT = "check.json", "thermvision-check/1"
_BATCH = 4096  # findings in memory before they are written
_TEXTS = (
    "code", "group", "severity", "item_id", "subject_id", "config", "split", "path", "detail", "picture"
)  # fmt: skip
_SCHEMA = pa.schema(
    [
        *((name, pa.string()) for name in _TEXTS[:-2]),
        *((name, pa.int32()) for name in ("first", "last", "frames")),
        *((name, pa.float64()) for name in ("score", "threshold")),
        *((name, pa.string()) for name in _TEXTS[-2:]),
    ]
)


class FindingsFiles:
    """Writes findings as they come to ``findings.parquet`` and ``findings.json`` of a folder, whole or not at all.

    with FindingsFiles(out) as files:
        check("release", annotator, out=out, each=files.add)

    Raises:
        OutputError: no room or no permission.
    """

    def __init__(self, out: Path) -> None:
        self._out, self._stack = out, ExitStack()
        self._table: pq.ParquetWriter | None = None
        self._text: Any = None
        self._waiting: list[dict[str, Any]] = []
        self._count = 0

    def __enter__(self) -> FindingsFiles:
        return self

    def __exit__(self, *error: Any) -> None:
        if error[0] is None:
            self._flush()
            self._text.write("\n]\n")
        self._stack.__exit__(*error)

    def add(self, found: Found) -> None:
        """Write one, now or soon."""
        self._waiting.append(asdict(found))
        if len(self._waiting) == _BATCH:
            self._flush()

    def _flush(self) -> None:
        if self._table is None:  # not before there is something to write: the folder may be refused until then
            table = self._stack.enter_context(atomic_path(self._out / PARQUET))
            text = self._stack.enter_context(atomic_path(self._out / JSON))
            self._text = self._stack.enter_context(text.open("w", encoding="utf-8"))
            self._table = self._stack.enter_context(pq.ParquetWriter(table, _SCHEMA, compression="zstd"))
            self._text.write("[")
        for plain in self._waiting:
            self._text.write((",\n" if self._count else "\n") + json.dumps(plain, ensure_ascii=False))
            self._count += 1
        self._table.write_table(pa.Table.from_pylist(self._waiting, schema=_SCHEMA))
        self._waiting.clear()


def print_table(report: Report) -> None:
    """The kinds that were found, and how many of each, on stdout."""
    console = Console(width=None if sys.stdout.isatty() else 120)
    if report.total:
        table = Table(title=f"{report.source}: findings", title_justify="left")
        for name, right in (
            ("kind", False), ("", False), ("findings", True), ("items", True), ("worst", True), ("threshold", True),
            ("for example", False),
        ):  # fmt: skip
            table.add_column(name, justify="right" if right else "left", overflow="fold")
        for code in report.codes():
            worst, (count, items) = report.worst[code][0], report.counts[code]
            table.add_row(
                code, severity(KINDS[code]), f"{count:,}", f"{items:,}", _score_text(worst),
                number_text(worst.threshold), f"{place_text(worst)}: {worst.detail}" if worst.detail else
                place_text(worst),
            )  # fmt: skip
        console.print(table)
    said = counted(report.total, "finding") if report.total else "no findings"
    left_out = f"; {counted(len(report.left_out), 'file')} left out" if report.left_out else ""
    looked_at = f"{counted(report.items, 'item')}, {counted(report.frames, 'frame')}"
    console.print(f"{report.source}: {looked_at}, {said}{left_out}", highlight=False, markup=False)


def place_text(found: Found) -> str:
    """Where a finding is.

    >>> place_text(Found("x", "image", "warning", item_id="P_1_S1", first=3, last=7))
    'P_1_S1 frames 3-7'
    """
    place = found.item_id or found.path
    if found.first is None:
        return place
    return f"{place} frame {found.first}" if found.first == found.last else f"{place} frames {found.first}-{found.last}"


def number_text(value: float | None) -> str:
    """A score for people.

    >>> number_text(0.123456), number_text(1234.5), number_text(None)
    ('0.123', '1,234', '')
    """
    if value is None:
        return ""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _score_text(found: Found) -> str:
    """The score of a kind that has a threshold; a fact has none that would say more than its words."""
    return "" if found.threshold is None else number_text(found.score)


def write_page(report: Report, out: Path, command: str) -> Path:
    """``report.html`` in ``out``, with the pictures that lie there inside; ``command`` is what was typed.

    Raises:
        OutputError: no room or no permission.
    """
    kinds = []
    for code in report.codes():
        kind, (count, items), worst = KINDS[code], report.counts[code], report.worst[code]
        kinds.append(
            {
                "kind": kind,
                "severity": severity(kind),
                "findings": count,
                "in_items": items,
                "scored": report.scored.get(code, (0, None))[0],
                "scored_times": counted(report.scored.get(code, (0, None))[0], "score"),
                "worst": _score_text(worst[0]),
                "threshold": number_text(worst[0].threshold),
                "examples": [_example(found, out) for found in worst],
            }
        )
    errors = sum(report.counts[code][0] for code in report.counts if severity(KINDS[code]) == "error")
    quiet = [kind for code, kind in KINDS.items() if code in report.scored and code not in report.counts]
    page = render_page(
        "check.html.j2",
        title=f"{report.source}: {counted(report.total, 'finding')}",
        subtitle=f"{counted(report.items, 'item')}, {counted(report.frames, 'frame')}; {command}",
        kinds=kinds,
        errors=counted(errors, "error") if errors else "",
        warnings=counted(report.total - errors, "warning") if report.total > errors else "",
        quiet=[
            {"kind": k, "scored": report.scored[k.code][0], "worst": number_text(report.scored[k.code][1]),
             "threshold": number_text(k.threshold)}
            for k in quiet
        ],
        annotator=report.annotator,
        left_out=report.left_out,
    )  # fmt: skip
    atomic_write(out / PAGE, page)
    return out / PAGE


def write_summary(report: Report, source: Path, out: Path, options: Mapping[str, Any]) -> Path:
    """``check.json`` in ``out``: the release in ``source``, what was asked (``options``), and each kind with its worst.

    Raises:
        OutputError: no room or no permission.
    """
    facts = {"format": FORMAT, "release": stamp(read_release(source)), "options": dict(options), **report.as_dict()}
    scored = {c: [n, s, KINDS[c].threshold] for c, (n, s) in sorted(report.scored.items())}
    atomic_write(out / SUMMARY, json.dumps({**facts, "scored": scored}, indent=1, ensure_ascii=False) + "\n")
    return out / SUMMARY


def _example(found: Found, out: Path) -> dict[str, Any]:
    picture = cv2.imread(str(out / found.picture), cv2.IMREAD_COLOR_RGB) if found.picture else None
    return {
        "place": place_text(found),
        "score": _score_text(found),
        "detail": found.detail,
        "picture": None if picture is None else picture_uri(np.asarray(picture, np.uint8), 384),
    }
