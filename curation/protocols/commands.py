"""The command split: tables that say who or what belongs to which split."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from thermvision.annotations.errors import FindingsError, UsageError

from ..console import show_json
from ..options import AsJson, Release

if TYPE_CHECKING:
    import pandas as pd

    from thermvision.annotations.findings import Finding

    from ..split_tables import SplitTable

KINDS = ("kfold", "leave-attribute-out", "protocol")
PROTOCOLS = ("closed-set", "open-set")
_SHOWN_FINDINGS = 10  # of each kind
_SHOWN = ("glasses", "mask", "headwear", "beard")


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""

    @app.command()
    def split(
        release: Release,
        kind: Annotated[str, typer.Option(help="kfold, leave-attribute-out or protocol.")] = "kfold",
        k: Annotated[int, typer.Option("--k", help="kfold: how many folds.")] = 5,
        fold: Annotated[int | None, typer.Option(help="kfold: this fold is test, the others are train.")] = None,
        attribute: Annotated[str | None, typer.Option(help="leave-attribute-out: hairstyle, glasses, ...")] = None,
        value: Annotated[str | None, typer.Option(help="leave-attribute-out: the value that is held out.")] = None,
        most: Annotated[float, typer.Option(help="leave-attribute-out: at most this part of all people tests.")] = 0.5,
        protocol: Annotated[str, typer.Option(help="protocol: closed-set or open-set.")] = "closed-set",
        unknown: Annotated[
            float, typer.Option(help="open-set: part of the people in no gallery.", show_default="1/3")
        ] = 1 / 3,
        seed: Annotated[int, typer.Option(min=0, help="Seed of what is left to chance.")] = 0,
        check: Annotated[
            Path | None, typer.Option(help="Make nothing: check this table against the release. Exit code 1: findings.")
        ] = None,
        by: Annotated[str | None, typer.Option("--by", help="Who makes the table; without it the user.")] = None,
        reason: Annotated[str, typer.Option(help="Why, in a sentence; it is put before each row's own reason.")] = "",
        as_json: AsJson = False,
        out: Annotated[Path | None, typer.Option(help="The table: a .csv or .parquet file.")] = None,
    ) -> None:
        """Deal people or items into other splits: a small table, which load(split_table=...) applies.

        Example: thermvision split release --kind kfold --k 5 --out folds.csv
        """
        from ..split_tables import balance, check_split_table, read_split_table, signed, write_split_table
        from .items import read_items

        if (check is None) == (out is None):
            seen = "--out is missing" if out is None else "--check makes no table, and --out is given"
            raise UsageError(f"{seen}; type: --out splits.csv to make one, or --check TABLE to check one")
        items = read_items(release)
        if check is not None:
            table = read_split_table(check)
        else:
            table = _made(items, kind, k, fold, attribute, value, most, protocol, unknown, seed)
            why = {key: f"{reason}: {r}" if reason else r for key, r in table.reasons.items()}
            table = signed(replace(table, reasons=why), by)
        findings = check_split_table(table, items)
        figures = balance(table, items)
        if out is not None:
            write_split_table(table, out)
        if as_json:
            listed = [{"path": f.path, "code": f.code, "message": f.message} for f in findings]
            show_json({"by": table.by, "splits": figures, "excluded": _excluded(table), "findings": listed})
        else:
            _print(table, figures)
            _print_findings(findings)
        if findings:
            raise FindingsError(f"{len(findings)} findings in {check or out}")
        if not as_json:
            given = check if check is not None else out
            print(f'next: thermvision_db.load("frames", "{release}", split_table="{given}")')


def _made(
    items: pd.DataFrame, kind: str, k: int, fold: int | None, attribute: str | None, value: str | None, most: float,
    protocol: str, unknown: float, seed: int,
) -> SplitTable:  # fmt: skip
    from . import deals

    if kind not in KINDS:
        raise UsageError(f"--kind is {kind!r}; allowed: {', '.join(KINDS)}")
    if kind == "kfold":
        return deals.kfold(items, k, seed, fold)
    if kind == "leave-attribute-out":
        if attribute is None or value is None:
            raise UsageError("leave-attribute-out needs both; type: --attribute glasses --value glasses")
        return deals.leave_attribute_out(items, attribute, value, seed, most)
    if protocol not in PROTOCOLS:
        raise UsageError(f"--protocol is {protocol!r}; allowed: {', '.join(PROTOCOLS)}")
    return deals.closed_set(items) if protocol == "closed-set" else deals.open_set(items, unknown, seed)


def _excluded(table: SplitTable) -> int:
    from ..split_tables import EXCLUDED

    return sum(s == EXCLUDED for s in table.splits.values())


def _print_findings(findings: list[Finding]) -> None:
    """The first of each kind, and how many more there are: another release's table gives one for every item."""
    by_code: dict[str, list[Finding]] = {}
    for finding in findings:
        by_code.setdefault(finding.code, []).append(finding)
    for code, alike in by_code.items():
        for finding in alike[:_SHOWN_FINDINGS]:
            print(finding)
        if len(alike) > _SHOWN_FINDINGS:
            print(f"... and {len(alike) - _SHOWN_FINDINGS} more [{code}]; --json lists all")


def _print(table: SplitTable, figures: dict[str, dict[str, Any]]) -> None:
    shown = Table(title=f"{len(table.splits)} {'items' if table.by == 'item_id' else 'subjects'}", title_justify="left")
    for column in ("split", "people", "female", "male", "items", "frames", *(f"with {a}" for a in _SHOWN)):
        shown.add_column(column, justify="left" if column == "split" else "right")
    for name, figure in figures.items():
        counts = [str(figure[c]) for c in ("people", "female", "male", "items", "frames")]
        parts = [figure["attributes"][a] for a in _SHOWN]
        worn = [f"{1 - p.get('none', 0):.1%}" if p else "–" for p in parts]
        shown.add_row(name, *counts, *worn)
    console = Console(width=None if sys.stdout.isatty() else 120)
    console.print(shown)
    if count := _excluded(table):
        print(f"{count} {'items' if table.by == 'item_id' else 'subjects'} are excluded; the column reason says why")
