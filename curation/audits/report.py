"""An audit for people: a table for the terminal, one page with numbers and plots, and the same as JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from thermvision.annotations.schema import EXPRESSIONS

from ..pages import picture_uri, plot_uri, render_page
from ..plots import COLOURS, new_figure, plot_look, svg_text
from ..store import atomic_write
from .audit import Audit
from .leakage import CONDITIONS, GUESSING
from .parity import PITCH_BINS, YAW_BINS
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
    """Write ``audit.html`` and ``audit.json`` into the folder ``out``; returns both.

    Raises:
        OutputError: no room or no permission.
    """
    written = [out / PAGE, out / DATA]
    atomic_write(written[0], page(audit))
    atomic_write(written[1], json.dumps(audit.as_dict(), indent=1, ensure_ascii=False, allow_nan=False) + "\n")
    return written


def page(audit: Audit) -> str:
    """The page with everything in it."""
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
        recognition_plot=plot_uri(_recognition_plot(audit)) if audit.leakage.scores else None,
        coverage_plot=plot_uri(_coverage_plot(audit)) if _posed(audit) else None,
        expression_plot=plot_uri(_expression_plot(audit)) if _expressed(audit) else None,
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


def _recognition_plot(audit: Audit) -> str:
    with plot_look():
        figure, (axes,) = new_figure(width=7.2, height=2.9)
        names = [c for c in CONDITIONS if audit.leakage.best(c) is not None]
        best = [b for c in names if (b := audit.leakage.best(c)) is not None]
        places = np.arange(len(names))
        values = [100 * b.rank1 for b in best]
        ends = [b.interval or (b.rank1, b.rank1) for b in best]
        error = [[max(0.0, v - 100 * e[0]) for v, e in zip(values, ends, strict=True)],
                 [max(0.0, 100 * e[1] - v) for v, e in zip(values, ends, strict=True)]]  # fmt: skip
        axes.bar(places, values, 0.6, yerr=error, color=COLOURS[0], ecolor=COLOURS[6], capsize=3)
        for place, value, end in zip(places, values, ends, strict=True):
            axes.text(place, max(value, 100 * end[1]) + 2, f"{value:.1f}", ha="center", fontsize=8)
        clips = [np.nan if b.clips is None else 100 * b.clips for b in best]
        axes.plot(places + 0.22, clips, "o", color=COLOURS[1], markersize=4, label="clips alone")
        axes.legend(loc="upper center")
        limit = 100 * GUESSING * audit.leakage.chance
        axes.axhline(limit, color=COLOURS[1], linewidth=1, linestyle="--")
        axes.text(-0.45, 106, f"– – 3 × chance, {limit:.1f} %", color=COLOURS[1], fontsize=8)
        axes.set_xticks(places, names)
        axes.set_ylim(0, 115)
        axes.set_yticks(range(0, 101, 20))
        axes.set_ylabel("Rank-1 of recordings, %")
        axes.set_title("Recognised across recordings, best recogniser of each condition")
        return svg_text(figure)


def _posed(audit: Audit) -> bool:
    return any(c.any() for c in audit.parity.coverage.values())


def _coverage_plot(audit: Audit) -> str:
    from matplotlib.colors import LogNorm

    counts = audit.parity.coverage
    top = max(int(c.max()) for c in counts.values())
    used = sum(counts.values())
    across, down = (np.flatnonzero(np.asarray(used).any(axis)) for axis in (1, 0))
    with plot_look():
        figure, axes = new_figure(2, width=3.6, height=2.9)
        for ax, (gender, cells) in zip(axes, counts.items(), strict=True):
            shown = np.ma.masked_equal(cells.T, 0)
            mesh = ax.pcolormesh(
                YAW_BINS, PITCH_BINS, shown, cmap="viridis", norm=LogNorm(1, max(top, 2)), rasterized=True
            )
            ax.set_xlim(YAW_BINS[across[0]] - 5, YAW_BINS[across[-1] + 1] + 5)
            ax.set_ylim(PITCH_BINS[down[0]] - 5, PITCH_BINS[down[-1] + 1] + 5)
            ax.set_xlabel("yaw, °")
            ax.grid(True, axis="both")
            ax.set_title(f"{gender}, {int(cells.sum()):,} frames")
        axes[0].set_ylabel("pitch, °")
        figure.colorbar(mesh, ax=axes, label="frames")
        return svg_text(figure)


def _expressed(audit: Audit) -> bool:
    return any(sum(c.values()) for c in audit.parity.expressions.values())


def _expression_plot(audit: Audit) -> str:
    with plot_look():
        figure, (axes,) = new_figure(width=7.2, height=2.4)
        places = np.arange(len(EXPRESSIONS))
        for number, (gender, counts) in enumerate(audit.parity.expressions.items()):
            total = max(sum(counts.values()), 1)
            shares = [100 * counts[e] / total for e in EXPRESSIONS]
            axes.bar(places + 0.4 * number - 0.2, shares, 0.38, color=COLOURS[number], label=gender)
        axes.set_xticks(places, EXPRESSIONS)
        axes.set_ylabel("% of frames")
        axes.legend()
        return svg_text(figure)


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
    return [*told, *(f"wrote {path}" for path in written)]
