"""The report of `dedupe`: a table for the terminal, JSON, Parquet, and a page with the pairs side by side."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import asdict, fields
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.table import Table

from thermvision.annotations.errors import DamagedInputError

from ..inputs import Input
from ..pages import picture_uri, plot_uri, render_page
from ..plots import COLOURS, new_figure, plot_look, svg_text
from ..store import atomic_path, atomic_write
from .dedupe import CODES, Nearest, Pair, Report

SHOWN_EACH = 24  # pairs of a kind that the page shows; the tables have all
NEAREST_SHOWN = 8  # nearest training pictures that the page shows where none is a copy
Gray = NDArray[np.uint8]


def terminal_table(report: Report) -> Table:
    """Findings by kind, and how many lie across splits."""
    table = Table(title=f"dedupe of {report.facts['source']}", title_justify="left")
    for name in ("finding", "pairs", "across splits", "highest", "what it is"):
        table.add_column(name, justify="left" if name in ("finding", "what it is") else "right")
    found = Counter(p.code for p in report.pairs)
    across = Counter(p.code for p in report.pairs if p.crosses)
    for code, meaning in CODES.items():
        if code == "memorised" and report.seeds is None:
            continue
        scores = [p.score for p in report.pairs if p.code == code]
        highest = f"{max(scores):.3f}" if scores else "-"
        table.add_row(code, str(found[code]), str(across[code]), highest, meaning)
    return table


def write_report(report: Report, out: Path) -> list[Path]:
    """Write ``dedupe.json``, ``pairs.parquet``, ``dedupe.html`` and, with a training set, ``nearest.parquet``.

    Raises:
        OutputError: no room or no permission.
    """
    written = [out / "dedupe.json", out / "pairs.parquet"]
    atomic_write(written[0], json.dumps(report.as_dict(), indent=1, ensure_ascii=False, allow_nan=False) + "\n")
    _write_table(written[1], Pair, report.pairs)
    if report.seeds is not None:
        written.append(out / "nearest.parquet")
        _write_table(written[-1], Nearest, report.nearest)
    written.append(out / "dedupe.html")
    atomic_write(written[-1], page(report))
    return written


def _write_table(path: Path, kind: type[Any], rows: Iterable[Any]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    types = {"str": pa.string(), "Code": pa.string(), "By": pa.string(), "float": pa.float64(), "bool": pa.bool_()}
    schema = pa.schema([(f.name, types.get(str(f.type), pa.int32())) for f in fields(kind)])
    table = pa.Table.from_pylist([asdict(row) for row in rows], schema=schema)
    if kind is Pair:
        crosses = pa.array([row.crosses for row in rows], pa.bool_())
        table = table.append_column("crosses_splits", crosses)
    with atomic_path(path) as temporary:
        pq.write_table(table, temporary, compression="zstd")


def page(report: Report) -> str:
    """The page: findings of each kind with their pictures, and how the thresholds came about."""
    by_code: dict[str, list[Pair]] = defaultdict(list)
    for pair in report.pairs:
        by_code[pair.code].append(pair)
    shown = [p for pairs in by_code.values() for p in pairs[:SHOWN_EACH]]
    nearest = (
        sorted(report.nearest, key=lambda n: (-n.likeness, n.item))[:NEAREST_SHOWN]
        if "memorised" not in by_code
        else []
    )
    pictures = _Pictures(report)
    pictures.load([*(side for p in shown for side in _sides(p)), *(s for n in nearest for s in _nearest_sides(n))])
    groups = []
    for code, meaning in CODES.items():
        pairs = by_code.get(code, [])
        entries = [
            {"pair": p, "pictures": [pictures.uri(*s) for s in _sides(p)], "told": told(p)} for p in pairs[:SHOWN_EACH]
        ]
        across, more = sum(p.crosses for p in pairs), max(0, len(pairs) - SHOWN_EACH)
        if pairs:
            groups.append(
                {
                    "code": code,
                    "meaning": meaning,
                    "count": len(pairs),
                    "across": across,
                    "more": more,
                    "pairs": entries,
                }
            )
    alike = [{"row": n, "pictures": [pictures.uri(*s) for s in _nearest_sides(n)]} for n in nearest]
    read = report.facts["read"]
    subtitle = f"{read['stills']} stills and {read['clips']} clips, {read['frames']} frames"
    if report.against is not None:
        subtitle += f"; against {report.facts['against']}"
    plots = [(title, plot_uri(svg)) for title, svg in _plots(report).items()]
    return render_page(
        "dedupe.html.j2", title=f"Duplicates in {report.facts['source']}", subtitle=subtitle, groups=groups,
        nearest=alike, plots=plots, memorisation=report.facts.get("memorisation"), people=report.facts["look_alikes"],
        thresholds=report.facts["thresholds"], findings=report.findings[:50], unread=len(report.findings),
    )  # fmt: skip


def told(pair: Pair) -> str:
    """A pair in words."""
    parts = ["equal pixels"] if pair.code == "exact-duplicate" else []
    if pair.code in ("duplicate-clip", "overlapping-clips") or (pair.code == "exact-duplicate" and pair.frames > 1):
        parts.append(f"{pair.frames} frames, from {pair.frame_one} and from {pair.frame_other}")
    if pair.by == "embedding":
        parts.append(f"cosine {pair.score:.3f}, from {pair.threshold:.3f} on")
    elif pair.by == "face":
        parts.append(f"likeness {pair.score:.3f}, from {pair.threshold:.3f} on")
    if pair.bits is not None and pair.code != "exact-duplicate":
        parts.append(f"{pair.bits} of 256 bits differ")
    if pair.mirrored:
        parts.append("mirrored")
    if pair.crosses:
        parts.append(f"in {pair.split_one} and {pair.split_other}")
    return "; ".join(parts)


Side = tuple[str, str, int]  # where, item or file, frame


def _sides(pair: Pair) -> tuple[Side, Side]:
    if pair.code == "look-alikes":  # the subjects' example items
        return ("here", pair.subject_one, pair.frame_one), (pair.where, pair.subject_other, pair.frame_other)
    middle = pair.frames // 2
    return ("here", pair.one, pair.frame_one + middle), (pair.where, pair.other, pair.frame_other + middle)


def _nearest_sides(row: Nearest) -> tuple[Side, Side]:
    return ("here", row.item, row.frame), ("seeds", row.file, 0)


class _Pictures:
    """Pictures of items, read again chunk by chunk; what cannot be read is left out."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._uris: dict[Side, str] = {}

    def load(self, sides: Iterable[Side]) -> None:
        """Read all of ``sides`` at once."""
        wanted: dict[str, dict[str, set[int]]] = defaultdict(lambda: defaultdict(set))
        for where, name, frame in sides:
            wanted[where][name].add(frame)
        self._read_items("here", self._report.source, wanted["here"])
        if self._report.against is not None:
            self._read_items("against", self._report.against, wanted["against"])
        if self._report.seeds is not None:
            for picture in self._report.seeds.pictures:
                if picture.name in wanted["seeds"]:
                    self._keep(("seeds", picture.name, 0), picture.gray)

    def _read_items(self, where: str, source: Input, wanted: Mapping[str, set[int]]) -> None:
        for chunk in source.chunks:
            if not any(i in wanted for i in chunk.item_ids):
                continue
            for item in chunk.read():
                frames = wanted.get(item.item_id)
                if not frames:
                    continue
                try:
                    for number, gray in enumerate(islice(item.read(), max(frames) + 1)):
                        if number in frames:
                            self._uris[where, item.item_id, number] = picture_uri(gray, 240)
                except DamagedInputError:
                    continue

    def _keep(self, side: Side, read: Any) -> None:
        try:
            self._uris[side] = picture_uri(read(), 240)
        except DamagedInputError:
            return

    def uri(self, where: str, name: str, frame: int) -> str:
        """The ``data:`` address of a picture, "" where it could not be read."""
        return self._uris.get((where, name, frame), "")


def _plots(report: Report) -> dict[str, str]:
    plots = {}
    people = report.facts["look_alikes"]
    with plot_look():
        if "impostor_histogram" in people:
            figure, (axes,) = new_figure(width=6.4, height=2.6)
            edges = np.linspace(-0.5, 1.0, 61)
            for name, key, colour in (
                ("two people", "impostor_histogram", 0),
                ("halves of one", "genuine_histogram", 1),
            ):
                counts = np.array(people.get(key, np.zeros(60)), np.float64)
                if counts.sum():
                    axes.stairs(counts / counts.sum(), edges, fill=True, alpha=0.55, color=COLOURS[colour], label=name)
            axes.axvline(people["threshold"], color=COLOURS[2], label="threshold")
            axes.set(title="Likeness of people", xlabel="cosine of mean embeddings", ylabel="share")
            axes.legend()
            plots["people"] = svg_text(figure)
        if report.calibration is not None and len(report.calibration.strangers):
            plots["memorisation"] = _calibration_plot(report)
    return plots


def _calibration_plot(report: Report) -> str:
    calibration = report.calibration
    assert calibration is not None
    figure, (left, right) = new_figure(2, width=4.6, height=2.8)
    edges = np.linspace(0, 1, 51)
    groups = {
        "altered copies": np.concatenate([*calibration.copies.values()]) if calibration.copies else np.zeros(0),
        "strangers": calibration.strangers,
        "same person": calibration.same_person,
        "this data set": np.array([n.likeness for n in report.nearest]),
    }
    for number, (name, values) in enumerate(groups.items()):
        if len(values):
            counts = np.histogram(np.clip(values, 0, 1), edges)[0]
            look = {"fill": True, "alpha": 0.5} if number < 2 else {"linewidth": 1.6}
            left.stairs(counts / len(values), edges, color=COLOURS[(1, 0, 3, 2)[number]], label=name, **look)
    left.axvline(calibration.threshold, color=COLOURS[6], linestyle="--")
    left.set(title="Likeness to the nearest training picture", xlabel="likeness", ylabel="share")
    left.legend(loc="upper left", fontsize=7.5)
    curve = calibration.facts().get("roc", [])
    if curve:
        points = np.array([[0, 0], *([p[1], p[2]] for p in curve)])
        right.step(points[:, 0], points[:, 1], where="post", color=COLOURS[0])
    right.set(
        title="Copies found against strangers passed", xlabel="false positive rate", ylabel="found", ylim=(0, 1.03)
    )
    return svg_text(figure)
