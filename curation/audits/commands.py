"""The command audit: whether a release can be trusted to teach and measure faces, and nothing else."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from thermvision.annotations.errors import FindingsError, UsageError
from thermvision.annotations.schema import SPLITS

from ..console import show_json
from ..options import AsJson, Quiet, Release


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""

    @app.command()
    def audit(
        release: Release,
        out: Annotated[Path | None, typer.Option("--out", help="Folder for audit.html and audit.json.")] = None,
        split: Annotated[str, typer.Option(help="train, validation, test or all.")] = "all",
        frames: Annotated[int, typer.Option(min=2, max=64, help="Frames of each clip, evenly spread.")] = 12,
        people: Annotated[int, typer.Option(min=2, help="Fewer identities than this: no verdict on recognition.")] = 50,
        max_people: Annotated[
            int, typer.Option(min=2, max=400, help="More identities than this: a draw of so many.")
        ] = 150,
        label_frames: Annotated[int, typer.Option(min=1, help="Frames that the shipped models are scored on.")] = 400,
        quick: Annotated[bool, typer.Option("--quick", help="Few frames, people and draws: a first look.")] = False,
        rounds: Annotated[int, typer.Option(min=10, max=100_000, help="Draws of the bootstrap.")] = 1000,
        seed: Annotated[int, typer.Option(min=0, help="Seed of the bootstrap and of the draw of people.")] = 0,
        workers: Annotated[int, typer.Option(min=1, help="Processes that read frames.")] = 1,
        as_json: AsJson = False,
        quiet: Quiet = False,
    ) -> None:
        """Look for shortcuts: who is recognised without a face, trivial answers, parity, label quality, split leaks.

        Exit code 1 when a question is answered "fail".

        Example: thermvision audit release --out audit
        """
        from ..pages import report_folder
        from .audit import Options, audit_release
        from .report import lines, summary, write_report

        if split not in (*SPLITS, "all"):
            raise UsageError(f"--split is {split!r}; allowed: {', '.join(SPLITS)}, all")
        options = Options(
            None if split == "all" else split, frames, people, max_people, label_frames, rounds, seed, workers
        )  # fmt: skip
        folder = None if out is None else report_folder(out)
        result = audit_release(release, options.quick() if quick else options, quiet)
        written = write_report(result, folder) if folder else []
        if as_json:
            show_json(result.as_dict())
        else:
            console = Console(width=None if sys.stdout.isatty() else 120)
            console.print(summary(result))
            for line in lines(result, written):
                console.print(line, soft_wrap=True, highlight=False, markup=False)
            follow = f"open {written[0]}" if written else f"thermvision audit {release} --out audit"
            console.print(f"next: {follow}", soft_wrap=True, highlight=False, markup=False)
        failed = [a for a in result.answers if a.level == "fail"]
        if failed:
            listed = "; ".join(f"{a.name}: {a.statement}" for a in failed)
            raise FindingsError(f"{len(failed)} of {len(result.answers)} answers fail ({listed})")
