"""Options and arguments that commands of every floor share."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

# Called with a finished release; writes its card and pictures and returns the lines that end the command.
Finish = Callable[[Path], list[str]]

Release = Annotated[Path, typer.Argument(help="Folder of a release.")]
Out = Annotated[
    Path, typer.Option("--out", help="Folder of the release: new, empty, or one this command was started in.")
]
Workers = Annotated[int, typer.Option(min=1, help="Worker processes.")]
CoreWorkers = Annotated[int | None, typer.Option("--workers", min=1, help="Worker processes; default: one a core.")]
Limit = Annotated[int | None, typer.Option(min=1, help="Stop after this many clips and this many stills.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be made, write nothing.")]
RetryFailed = Annotated[bool, typer.Option("--retry-failed", help="Try items again that failed before.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="No progress.")]


def default_workers() -> int:
    """The cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
