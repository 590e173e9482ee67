"""The command dedupe: what is in a data set twice."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from thermvision.annotations.errors import FindingsError

from ..console import show_json
from ..options import AsJson, Quiet, Workers


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""

    @app.command()
    def dedupe(
        source: Annotated[str, typer.Argument(help="A release, the published archives, or a folder of pictures.")],
        against: Annotated[str | None, typer.Option(help="Another one: report what both have.")] = None,
        seeds: Annotated[
            Path | None, typer.Option(help="Training set of `thermvision seeds`: look for memorised pictures.")
        ] = None,
        threshold: Annotated[
            float | None, typer.Option(help="Likeness (0 to 1) from which two faces are one picture; calibrated else.")
        ] = None,
        limit: Annotated[int | None, typer.Option(min=1, help="At most so many clips and so many stills.")] = None,
        workers: Workers = 1,
        out: Annotated[Path | None, typer.Option(help="Folder for JSON, Parquet and a page with the pairs.")] = None,
        as_json: AsJson = False,
        quiet: Quiet = False,
    ) -> None:
        """Find stills and clips that are there twice, people who look alike, and memorised training pictures.

        Example: thermvision dedupe release --seeds seeds/charlotte --out duplicates
        """
        from ..inputs import is_release
        from ..pages import report_folder
        from .dedupe import dedupe as run
        from .report import terminal_table, write_report

        folder = None if out is None else report_folder(out)
        report = run(
            source, against=against, seeds=seeds, threshold=threshold, limit=limit, workers=workers, quiet=quiet
        )
        written = write_report(report, folder) if folder else []
        if as_json:
            show_json(report.as_dict())
        else:
            console = Console(width=None if sys.stdout.isatty() else 140)
            console.print(terminal_table(report))
            for line in lines(report.facts):
                console.print(line, soft_wrap=True, highlight=False, markup=False)
            for finding in report.findings[:20]:
                console.print(f"unread: {finding}", soft_wrap=True, highlight=False, markup=False)
            seen = written[-1] if written else f"the pairs: thermvision dedupe {source} --out duplicates"
            other = f"thermvision stats {source}" if is_release(Path(source)) else f"thermvision annotate {source}"
            after = f"look at {seen}" if report.pairs else other
            console.print(f"next: {after}", soft_wrap=True, highlight=False, markup=False)
        broken = [f for f in report.findings if f.code != "not-an-image"]
        if report.pairs or broken:
            unread = f", {len(broken)} unread" if broken else ""
            raise FindingsError(f"{len(report.pairs)} pairs in {source}{unread}; each is in the report")


def lines(facts: Mapping[str, Any]) -> list[str]:
    """How the thresholds came about, a line each."""
    people = facts["look_alikes"]
    found = [
        f"people: {people['subjects']} subjects, {people['pairs']} pairs, look-alikes from cosine"
        f" {people['threshold']:.3f} ({people['threshold_from']})"
    ]
    if "expected_by_chance" in people:
        found[0] += f", {people['expected_by_chance']:g} pairs expected by chance"
    if "memorisation" in facts:
        m = facts["memorisation"]
        limit = f"{m['threshold']:.3f} ({m['threshold_from']})"
        line = f"memorised: {m['memorised']} of {m['items']} items, from likeness {limit}"
        if "true_positive_rate" in m:
            line += f"; copies found {m['true_positive_rate']:.3f}"
        if "false_positive_rate" in m:
            line += (
                f"; strangers passed {m['false_positive_rate']:.4f}, with 95 % confidence at most"
                f" {m['false_positive_rate_upper_95']:.4f}"
            )
        found.append(line)
        if m["items_without_a_face"]:
            found.append(f"not compared: {m['items_without_a_face']} items in which no face was found")
    return found
