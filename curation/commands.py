"""Commands that work on files: import, info, verify."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from thermvision.annotations.errors import FindingsError

from .audits import commands as audits
from .checks import commands as checks
from .console import human_bytes, show_json
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
    from . import annotate_commands

    annotate_commands.register(app, finish)
    audits.register(app)
    checks.register(app, finish)
    duplicates.register(app)
    evaluation.register(app)
    protocols.register(app)
    comparison.register(app)
    reviews.register(app, finish)
    statistics.register(app)

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

    @app.command()
    def info(release: Release, as_json: AsJson = False) -> None:
        """Say what a release is.

        Example: thermvision info release
        """
        from .release import describe, read_release

        facts = describe(read_release(release))
        if as_json:
            show_json(facts)
            return
        subjects = facts["subjects"]
        table = Table(title=f"{facts['name']} {facts['version']}", title_justify="left")
        for column in ("config", "a row is", "train", "validation", "test", "size"):
            table.add_column(column, justify="left" if column in ("config", "a row is") else "right")
        for name, config in facts["configs"].items():
            counts = [str(config["rows"].get(split, 0)) for split in ("train", "validation", "test")]
            table.add_row(name, config["what"], *counts, human_bytes(config["bytes"]))
        console = Console(width=None if sys.stdout.isatty() else 120)
        console.print(table)
        genders = f"{subjects['female']} female, {subjects['male']} male"
        console.print(
            f"{subjects['total']} subjects ({genders}), licence {facts['licence']}, {facts['shards']} shards,", end=" "
        )
        console.print(f"{human_bytes(facts['bytes'])}, made by {', '.join(facts['engines']) or facts['source']}")
        if facts["failed"]:
            console.print(f"{facts['failed']} items failed; see release.json")
        console.print(f"next: thermvision verify {release}")

    @app.command()
    def verify(release: Release, as_json: AsJson = False) -> None:
        """Check every shard against release.json: size, SHA-256, rows, schema. Exit code 1 lists all findings.

        Example: thermvision verify release
        """
        from .release import read_release
        from .verify import verify_release

        findings = verify_release(release)
        if as_json:
            show_json([{"path": f.path, "code": f.code, "message": f.message} for f in findings])
        else:
            for finding in findings:
                print(finding)
        if findings:
            raise FindingsError(f"{len(findings)} findings in {release}")
        manifest = read_release(release)
        if not as_json:
            print(
                f"{release}: {len(manifest.shards)} shards,"
                f" {human_bytes(sum(s.bytes for s in manifest.shards))}, all whole"
            )
            print(f'next: python -c "from datasets import load_dataset; print(load_dataset({str(release)!r}))"')
