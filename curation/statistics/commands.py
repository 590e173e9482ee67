"""The command stats: counts and distributions of a release."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from thermvision.annotations.errors import FindingsError

from ..console import show_json
from ..options import AsJson, Quiet, Release


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""

    @app.command()
    def stats(
        release: Release,
        sample: Annotated[
            int, typer.Option(min=0, max=1_000_000, help="Frames to decode for gray levels; 0: none.")
        ] = 400,
        out: Annotated[Path | None, typer.Option(help="Folder for JSON, Parquet tables, plots and a page.")] = None,
        as_json: AsJson = False,
        quiet: Quiet = False,
    ) -> None:
        """Count what a release holds: people, hours, poses, expressions, attributes, boxes, gray levels, temperatures.

        Example: thermvision stats release --out statistics
        """
        from ..pages import report_folder
        from .collect import statistics
        from .report import terminal_tables, write_report

        folder = None if out is None else report_folder(out)
        seen = statistics(release, sample=sample, quiet=quiet)
        facts = seen.facts()
        written = write_report(seen, folder) if folder else []
        if as_json:
            show_json(facts)
        else:
            console = Console(width=None if sys.stdout.isatty() else 120)
            for table in terminal_tables(facts):
                console.print(table)
            coverage = facts["coverage"]
            for gender, cells in coverage["pose_covered"].items():
                console.print(
                    f"poses of {gender}: {cells} of {coverage['pose_cells']} cells of 10° covered", highlight=False
                )
            if facts["not_known"]:
                console.print(f"not known: {', '.join(facts['not_known'])}", highlight=False, soft_wrap=True)
            for finding in seen.findings[:20]:
                console.print(f"unread: {finding}", highlight=False, soft_wrap=True, markup=False)
            after = f"look at {written[-1]}" if written else f"thermvision stats {release} --out statistics"
            console.print(f"next: {after}", highlight=False, soft_wrap=True, markup=False)
        if seen.findings:
            raise FindingsError(
                f"{len(seen.findings)} items of {release} could not be read; run: thermvision check {release}"
            )
