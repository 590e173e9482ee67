"""The report of `stats`: tables for the terminal, JSON, Parquet, plots and a page."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich.table import Table

from ..console import human_bytes
from ..pages import render_page, save_plots
from ..store import atomic_write
from .collect import Statistics
from .figures import plots
from .tables import write_tables


def terminal_tables(facts: dict[str, Any]) -> Iterator[Table]:
    """Counts by split and gender, and the measures."""
    counts = Table(title=f"{facts['name']} {facts['version']}", title_justify="left")
    for name in ("group", "subjects", "clips", "stills", "frames", "hours"):
        counts.add_column(name, justify="left" if name == "group" else "right")
    groups = {**facts["by_split"], **facts["by_gender"], "all": facts}
    for name, group in groups.items():
        counts.add_row(
            name, *(f"{group[k]:,}" for k in ("subjects", "clips", "stills", "frames")), f"{group['hours']:.3g}"
        )
    yield counts
    measures = Table(title="measures", title_justify="left")
    for name in ("measure", "unit", "frames", "mean", "sd", "5 %", "median", "95 %"):
        measures.add_column(name, justify="left" if name in ("measure", "unit") else "right")
    rows = dict(facts["measures"])
    for name, region in facts.get("temperatures", {}).items():
        if isinstance(region, dict) and region["count"]:
            rows[name] = {"unit": "°C", **region}
    for name, row in rows.items():
        figures_of = (f"{row[k]:.3g}" for k in ("mean", "sd", "5 %", "50 %", "95 %"))
        measures.add_row(name, row["unit"], f"{row['count']:,}", *figures_of)
    yield measures


def write_report(seen: Statistics, out: Path) -> list[Path]:
    """Write ``statistics.json``, the Parquet tables, the plots (SVG, PNG, light, dark) and ``stats.html`` to ``out``.

    Raises:
        OutputError: no room or no permission.
    """
    facts = seen.facts()
    written = [out / "statistics.json"]
    atomic_write(written[0], json.dumps(facts, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
    written += write_tables(seen, out)
    drawn, shown = save_plots(plots(seen), out / "plots")
    atomic_write(out / "stats.html", page(facts, shown))
    return [*written, *drawn, out / "stats.html"]


def page(facts: dict[str, Any], shown: list[dict[str, str]]) -> str:
    """The page of the facts and plots."""
    people, hours = facts["subjects"], facts["hours"]
    subtitle = (
        f"{people:,} subjects, {facts['clips']:,} clips ({hours:.3g} hours), {facts['stills']:,} stills,"
        f" {facts['frames']:,} frames, {human_bytes(facts['bytes'])}"
    )
    groups = {**facts["by_split"], **facts["by_gender"]}
    title = f"{facts['name']} {facts['version']}"
    return render_page("stats.html.j2", title=title, subtitle=subtitle, facts=facts, groups=groups, plots=shown)
