"""The command import, and all the commands of this floor."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from thermvision.annotations.errors import FindingsError

from . import annotate_commands, verify_commands
from .audits import commands as audits
from .checks import commands as checks
from .console import show_json
from .differences import commands as differences
from .duplicates import commands as duplicates
from .evaluation import commands as evaluation
from .options import AsJson, DryRun, Finish, Limit, Out, Quiet, Workers
from .protocols import commands as protocols
from .protocols import comparison_commands as comparison
from .reviews import commands as reviews
from .statistics import commands as statistics


def register(app: typer.Typer, finish: Finish) -> None:
    """Add the commands of this floor to ``app``."""
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
