"""The command check: everything that is wrong with a release, an import, a folder or a file."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from thermvision.annotations.errors import FindingsError, UsageError

from ..console import counted, show_json
from ..options import AsJson, Quiet, Workers


def register(app: typer.Typer, finish: Callable[[Path], list[str]]) -> None:
    """Add the command to ``app``; ``finish`` ends what makes a release."""

    @app.command()
    def check(
        source: Annotated[
            str, typer.Argument(help="A release, an import, the published archives, a folder, an image or a video.")
        ] = "",
        config: Annotated[str | None, typer.Option(help="Only this config of a release.")] = None,
        split: Annotated[str | None, typer.Option(help="Only this split of a release.")] = None,
        limit: Annotated[int | None, typer.Option(min=1, help="At most this many clips and this many stills.")] = None,
        every: Annotated[int, typer.Option(min=1, help="Check one of so many frames of a clip by itself.")] = 1,
        only: Annotated[list[str] | None, typer.Option(help="Only this group or kind of finding (repeat).")] = None,
        skip: Annotated[list[str] | None, typer.Option(help="Not this group or kind of finding (repeat).")] = None,
        threshold: Annotated[
            list[str] | None, typer.Option(help="CODE=VALUE: another threshold for a kind (repeat).")
        ] = None,
        kinds: Annotated[bool, typer.Option("--kinds", help="List the kinds of findings and stop.")] = False,
        scores: Annotated[bool, typer.Option("--scores", help="Write every score to OUT/scores.parquet.")] = False,
        workers: Workers = 1,
        out: Annotated[Path | None, typer.Option(help="New folder for the page, the pictures and the tables.")] = None,
        fix: Annotated[
            Path | None, typer.Option(help="New folder for the next version of the release, with safe repairs.")
        ] = None,
        as_json: AsJson = False,
        quiet: Quiet = False,
    ) -> None:
        """Find what is wrong with files, labels, pictures, faces, heat and motion. Exit code 1 where something is.

        Example: thermvision check release --out findings
        """
        from .catalogue import KINDS, Found, Options, choose
        from .check import SHOWN
        from .check import check as run

        if kinds:
            _list_kinds(as_json)
            return
        if not source:
            raise UsageError("SOURCE is missing; type: thermvision check release")
        if scores and out is None:
            raise UsageError("--scores needs a folder to write them to; add --out DIR")
        options = Options(
            choose(only or (), skip or ()),
            dict(_threshold(text) for text in threshold or ()),
            pictures=0 if out is None else SHOWN,
            scores=scores,
        )
        from .fix import Repairable, check_fixable, fix_release

        repairable = Repairable()
        if fix is not None:
            check_fixable(source, fix)
        asked = any(KINDS[code].group != "integrity" for code in options.codes)
        from thermvision.annotations import registry

        from ..annotate_commands import make_annotator

        annotator = make_annotator("thermal", "thermal", False, "auto") if asked else None
        embedder = registry.embedder() if asked else None
        look = partial(
            run, source, annotator, embedder, config=config, split=split, limit=limit, every=every, options=options,
            workers=workers, quiet=quiet,
        )  # fmt: skip
        from ..inputs import is_release
        from .report import PAGE, FindingsFiles, print_table, write_page, write_summary

        if out is None:
            report = look(each=repairable.add)
        else:
            with FindingsFiles(out) as files:

                def tell(found: Found) -> None:
                    repairable.add(found)
                    files.add(found)

                report = look(out=out, each=tell)
            write_page(report, out, f"thermvision check {source}")
            if is_release(Path(source)):
                asked_for = {"config": config, "split": split, "limit": limit, "every": every}
                write_summary(report, Path(source), out, {**asked_for, "only": only or [], "skip": skip or []})
        if not as_json:
            print_table(report)
            if out is not None:
                print(f"look at {out / PAGE}")
        fixed = None
        try:  # whatever keeps a version from being made, what was found is told
            if fix is not None:
                fixed = fix_release(Path(source), fix, repairable, workers=workers, quiet=quiet)
                if fixed.version:
                    finish(fix)
        finally:
            if as_json:
                show_json(report.as_dict() | ({} if fixed is None else {"fixed": fixed.as_dict(), "fix": str(fix)}))
        if not as_json:
            for line in fixed.lines() if fixed is not None else ():
                print(line)
            print(f"next: {_next(source, out, fix if fixed is not None and fixed.version else None, report.total)}")
        if report.total:
            raise FindingsError(f"{counted(report.total, 'finding')} in {source}")


def _next(source: str, out: Path | None, fixed: Path | None, total: int) -> str:
    from ..inputs import is_release
    from .report import PARQUET

    if fixed is not None:
        return f"thermvision check {fixed}"
    if total and out is None:
        return f"thermvision check {source} --out findings"
    if total and out is not None and is_release(Path(source)):
        return f"thermvision decide {source} --from-findings {out / PARQUET} --reject KIND --who NAME"
    return f"thermvision dedupe {source}"


def _threshold(text: str) -> tuple[str, float]:
    from .catalogue import KINDS

    code, equals, value = text.partition("=")
    if not equals or code not in KINDS or KINDS[code].threshold is None:
        raise UsageError(
            f"--threshold is {text!r}; allowed: CODE=VALUE with a kind that has a threshold, see thermvision check"
            " --kinds"
        )
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise UsageError(f"--threshold is {text!r}; allowed: CODE=NUMBER, such as {code}=0.5")
    return code, number


def _list_kinds(as_json: bool) -> None:
    import sys
    from dataclasses import asdict

    from rich.console import Console
    from rich.table import Table

    from .catalogue import KINDS, severity

    if as_json:
        show_json([{**asdict(kind), "severity": severity(kind)} for kind in KINDS.values()])
        return
    table = Table("kind", "group", "threshold", "meaning")
    for kind in KINDS.values():
        sign = ">" if kind.higher_is_worse else "<"
        bound = "" if kind.threshold is None else f"{sign} {kind.threshold:g} {kind.unit}"
        table.add_row(kind.code, kind.group, bound, kind.meaning)
    Console(width=None if sys.stdout.isatty() else 140).print(table)
