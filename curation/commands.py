"""The command import, and the options that commands of every floor share."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from thermvision.annotations.errors import FindingsError

from .audits import commands as audits
from .checks import commands as checks
from .console import show_json
from .duplicates import commands as duplicates
from .evaluation import commands as evaluation
from .protocols import commands as protocols
from .protocols import comparison_commands as comparison
from .reviews import commands as reviews
from .statistics import commands as statistics

# Called with a finished release; writes its card and pictures and returns the lines that end the command.
Finish = Callable[[Path], list[str]]

Out = Annotated[
    Path, typer.Option("--out", help="Folder of the release: new, empty, or one this command was started in.")
]
Workers = Annotated[int, typer.Option(min=1, help="Worker processes.")]
Limit = Annotated[int | None, typer.Option(min=1, help="Stop after this many clips and this many stills.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be made, write nothing.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="No progress.")]
Release = Annotated[Path, typer.Argument(help="Folder of a release.")]


def default_workers() -> int:
    """The cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def register(app: typer.Typer, finish: Finish) -> None:
    """Add the commands of this floor to ``app``."""
    from . import annotate_commands, verify_commands
    from .differences import commands as differences

    annotate_commands.register(app, finish)
    audits.register(app)
    checks.register(app, finish)
    duplicates.register(app)
    evaluation.register(app)
    protocols.register(app)
    comparison.register(app)
    reviews.register(app, finish)
    statistics.register(app)
    differences.register(app)
    verify_commands.register(app)

    @app.command("import")
    def import_(
        source: Annotated[Path, typer.Argument(help="A zip of the published archives, or a folder with them.")],
        out: Out,
        workers: Workers = 1,
        limit: Limit = None,
        dry_run: DryRun = False,
        as_json: AsJson = False,
        quiet: Quiet = False,
    ) -> None:
        """Turn the published archives into a release; their MP4s are kept byte for byte.

        Example: thermvision import downloads/ --out imported
        """
        from .ingest import import_release, print_report

        report = import_release(source, out, workers=workers, limit=limit, dry_run=dry_run, quiet=quiet)
        if as_json:
            show_json(report.as_dict())
        else:
            print_report(report)
        if dry_run:
            return
        for line in finish(out):
            Console(stderr=as_json, soft_wrap=True, highlight=False).print(line, markup=False)
        if report.failed:
            listed = "; ".join(f"{f.item_id}: {f.reason}" for f in report.failed[:5])
            raise FindingsError(f"{len(report.failed)} items could not be imported ({listed}); all are in the report")
