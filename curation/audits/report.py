"""An audit for people: a table for the terminal, one page with numbers and plots, and the same as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from ..pages import picture_uri, render_page, save_plots
from ..store import atomic_write
from .audit import Audit
from .figures import plots
from .leakage import CONDITIONS
from .regions import MEANINGS
from .verdict import Level

PAGE, DATA = "audit.html", "audit.json"
WORDS: dict[Level, str] = {"pass": "passes", "doubt": "is in doubt", "fail": "fails", "unknown": "cannot be told"}
COLOUR: dict[Level, str] = {"pass": "green", "doubt": "yellow", "fail": "red", "unknown": "bright_black"}
STYLE: dict[Level, str] = {"pass": "good", "doubt": "doubt", "fail": "bad", "unknown": "soft"}


def summary(audit: Audit) -> Table:
    """The answers as a table."""
    facts = audit.facts
    title = f"{facts['release']} {facts['version']} {WORDS[audit.verdict]}"
    table = Table(title=title, title_justify="left")
    for column in ("question", "answer", "because"):
        table.add_column(column)
    for answer in audit.answers:
        colour = COLOUR[answer.level]
        table.add_row(answer.question, f"[{colour}]{answer.level}[/{colour}]", answer.statement)
    return table


def write_report(audit: Audit, out: Path) -> list[Path]:
    """Write ``audit.html``, ``audit.json`` and the plots (SVG, PNG, light, dark) into the folder ``out``; returns all.

    Raises:
        OutputError: no room or no permission.
    """
    facts = audit.as_dict()
    drawn, shown = save_plots(plots(facts), out / "plots")
    written = [out / PAGE, out / DATA]
    atomic_write(written[0], page(audit, shown))
    atomic_write(written[1], json.dumps(facts, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
    return [*written, *drawn]


def page(audit: Audit, shown: Sequence[Mapping[str, str]] = ()) -> str:
    """The page with everything in it; ``shown`` are its plots, as `save_plots` gives them."""
    facts = audit.facts
    options = facts["options"]
    subtitle = (
        f"{facts['people']} of {facts['identities']} people, {options['frames']} frames a clip,"
        f" split {options['split'] or 'all'}; release digest {facts['digest']}"
    )
    return render_page(
        "audit.html.j2",
        title=f"Audit of {facts['release']} {facts['version']}",
        subtitle=subtitle,
        verdict=audit.verdict,
        verdict_words=WORDS[audit.verdict],
        style=STYLE,
        answers=audit.answers,
        chance=_percent(audit.leakage.chance if audit.leakage.people else None),
        people=len(audit.leakage.people),
        conditions=_condition_rows(audit),
        views=_view_rows(audit),
        pictures=_pictures(audit),
        measures=_measure_rows(audit),
        differences=sorted(audit.parity.differences, key=lambda d: -abs(d.deviation if d.deviation is not None else 9)),
        tests=audit.parity.tests,
        shared=audit.shared,
        truth=audit.labels.truth,
        label_frames=audit.labels.frames,
        notes=[*audit.leakage.notes, *audit.parity.notes, *audit.labels.notes],
        plots={plot["name"]: plot for plot in shown},
    )


def _percent(value: float | None) -> str:
    return "–" if value is None or not np.isfinite(value) else f"{100 * value:.1f} %"


def _condition_rows(audit: Audit) -> list[dict[str, Any]]:
    rows = []
    for condition in CONDITIONS:
        best, inside = audit.leakage.best(condition), audit.leakage.best(condition, "within")
        if best is None:
            continue
        ends = "" if best.interval is None else f"{100 * best.interval[0]:.1f} to {100 * best.interval[1]:.1f}"
        rows.append({
            "name": condition,
            "meaning": MEANINGS[condition],
            "rank1": _percent(best.rank1),
            "interval": ends,
            "times": f"{best.rank1 / audit.leakage.chance:.1f}",
            "clips": _percent(best.clips),
            "stills": _percent(best.stills),
            "frames": _percent(best.frames),
            "luck": _percent(audit.leakage.luck(condition)),
            "gender": _percent(best.gender),
            "by": f"{best.recogniser}, {best.view}",
            "within": _percent(inside.rank1 if inside else None),
        })  # fmt: skip
    return rows


def _view_rows(audit: Audit) -> list[dict[str, Any]]:
    """Rank-1 of every view (rows) and recogniser (columns) across recordings."""
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    for score in audit.leakage.scores:
        if score.protocol == "across":
            row = rows.setdefault((score.condition, score.view), {"condition": score.condition, "view": score.view})
            row[score.recogniser] = _percent(score.rank1)
    return list(rows.values())


def _pictures(audit: Audit) -> list[tuple[str, str]]:
    return [(name.replace("/", ", "), picture_uri(picture)) for name, picture in audit.example.items()]


def _measure_rows(audit: Audit) -> list[dict[str, str]]:
    rows = []
    for task, measures in audit.labels.measures.items():
        for m in measures:
            ends = "" if m.interval is None else f"{m.interval[0]:.3f} to {m.interval[1]:.3f}"
            values = ["–" if v is None else f"{v:.3f}{m.unit if m.unit == '°' else ''}" for v in (m.value, m.baseline)]
            rows.append({"task": task, "name": m.name, "value": values[0], "baseline": values[1], "interval": ends})
    return rows


def lines(audit: Audit, written: Sequence[Path]) -> list[str]:
    """What the command says after its table."""
    found = audit.leakage
    told = [f"note: {note}" for note in found.notes]
    if found.people:
        told.append(
            f"recognition over {len(found.people)} people, chance {100 * found.chance:.1f} %; best of each condition:"
        )
        for condition in CONDITIONS:
            best = found.best(condition)
            if best is not None:
                told.append(f"  {condition:<11}{100 * best.rank1:5.1f} %  by {best.recogniser}, {best.view}")
    told += [f"wrote {path}" for path in written[:2]]
    return [*told, *([f"wrote {len(written) - 2} plots into {written[2].parent}"] if written[2:] else [])]
