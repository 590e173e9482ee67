"""The commands of a review: decide and apply."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from thermvision.annotations.errors import UsageError

from ..console import counted, show_json
from ..options import AsJson, Quiet, Workers

if TYPE_CHECKING:
    from .apply import Applied
    from .decisions import Decision

_SHOWN = 10


def register(app: typer.Typer, finish: Callable[[Path], list[str]]) -> None:
    """Add the commands to ``app``; ``finish`` ends what makes a release."""

    @app.command()
    def decide(
        release: Annotated[Path, typer.Argument(help="Folder of the release that was looked at.")],
        item: Annotated[str | None, typer.Argument(help="ITEM, ITEM:FRAME or ITEM:FIRST-LAST.")] = None,
        action: Annotated[str | None, typer.Argument(help="accept, reject, relabel or tag.")] = None,
        who: Annotated[str | None, typer.Option(help="Who decides.")] = None,
        why: Annotated[str | None, typer.Option(help="The reason, in words.")] = None,
        column: Annotated[str | None, typer.Option(help="Of relabel: bbox, expression, glasses ...")] = None,
        value: Annotated[
            str | None, typer.Option(help="Of relabel or tag: a class by name, numbers as JSON, null for not known.")
        ] = None,
        supersedes: Annotated[str | None, typer.Option(help="Id of the decision that this one takes back.")] = None,
        from_csv: Annotated[Path | None, typer.Option("--from-csv", help="Take the decisions of a CSV.")] = None,
        from_findings: Annotated[
            Path | None, typer.Option("--from-findings", help="findings.parquet of check; with --reject.")
        ] = None,
        reject: Annotated[
            list[str] | None, typer.Option("--reject", help="Kind of finding that rejects (repeat).")
        ] = None,
        out: Annotated[Path, typer.Option(help="Table of decisions to append to.")] = Path("decisions.jsonl"),
        as_json: AsJson = False,
    ) -> None:
        """Append decisions on items or frames to a table: accept, reject, relabel, tag. The release stays as it is.

        Example: thermvision decide release P_000001_S1:10-20 reject --why blurred --who Ana
        """
        from ..sources import ReleaseSource
        from . import decisions as table
        from . import tables
        from .apply import check_decisions, known_items

        source = ReleaseSource(release)
        single = [n for n, given in (("ITEM", item), ("ACTION", action)) if given is not None]
        if sum((bool(single), from_csv is not None, from_findings is not None)) != 1:
            raise UsageError("one of ITEM ACTION, --from-csv and --from-findings is needed, and only one")
        if from_csv is not None:
            made = tables.from_csv(from_csv, source, who, why)
        elif from_findings is not None:
            if not reject:
                raise UsageError("--from-findings needs --reject CODE: the kinds of findings that reject")
            made = tables.from_findings(from_findings, source, reject, _given(who, "--who"), why)
        else:
            if action not in table.ACTIONS or item is None:
                raise UsageError(f"action is {action!r}; allowed: {', '.join(table.ACTIONS)}")
            place, frames = tables.parse_place(item)
            made = [
                table.decision_of(
                    source, place, action, who=_given(who, "--who"), why=_given(why, "--why"), frames=frames,
                    column=column, value=value if action == "tag" else tables.parse_value(value),
                    supersedes=supersedes,
                )
            ]  # fmt: skip
        wrong = check_decisions(made, source, known_items(source, [d.item_id for d in made]))
        if wrong:
            more = f"; and {len(wrong) - _SHOWN} more" if len(wrong) > _SHOWN else ""
            raise UsageError(f"{'; '.join(map(str, wrong[:_SHOWN]))}{more}; nothing was written")
        new = table.append(out, made)
        _show_made(made, new, release, out, as_json)

    @app.command()
    def apply(
        release: Annotated[Path, typer.Argument(help="Folder of the release that was decided on.")],
        out: Annotated[Path, typer.Option(help="Folder of the next version: new, empty, or one this was started in.")],
        decisions: Annotated[Path, typer.Option(help="Table of decisions.")] = Path("decisions.jsonl"),
        min_frames: Annotated[
            int, typer.Option("--min-frames", min=1, help="Clips of which fewer frames would stay go altogether.")
        ] = 10,
        last_wins: Annotated[
            bool, typer.Option("--last-wins", help="Where two people disagree, take the later decision.")
        ] = False,
        carry_over: Annotated[
            bool, typer.Option("--carry-over", help="Take decisions on other versions too, by item id.")
        ] = False,
        workers: Workers = 1,
        dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would change, write nothing.")] = False,
        as_json: AsJson = False,
        quiet: Quiet = False,
    ) -> None:
        """Make the next version of a release from decisions; the release itself stays as it is.

        Example: thermvision apply release --decisions decisions.jsonl --out release2
        """
        from .apply import apply_decisions, plan_decisions

        plan = plan_decisions(release, decisions, min_frames=min_frames, carry_over=carry_over)
        if dry_run:
            if as_json:
                show_json(plan.as_dict())
            else:
                _show_plan(plan)
                print(f"next: {_after_dry_run(plan, last_wins)}")
            return
        manifest = apply_decisions(plan, out, last_wins=last_wins, workers=workers, quiet=quiet)
        if as_json:
            show_json({**plan.as_dict(), "out": str(out), "version": manifest.version})
        else:
            _show_plan(plan)
        for line in finish(out):
            Console(stderr=as_json, soft_wrap=True, highlight=False).print(line, markup=False)


def _after_dry_run(plan: Applied, last_wins: bool) -> str:
    if plan.conflicts and not last_wins:
        return "settle each conflict by a decision that --supersedes the wrong one, or add --last-wins"
    if not plan.items:
        return "nothing changes; decide on more items first: thermvision decide RELEASE ITEM reject"
    return "the same command without --dry-run writes it"


def _given(value: str | None, option: str) -> str:
    if not value:
        raise UsageError(f"{option} is missing; a decision says who decides, and why")
    return value


def _show_made(made: list[Decision], new: int, release: Path, out: Path, as_json: bool) -> None:
    if as_json:
        show_json({"out": str(out), "new": new, "decisions": [d.model_dump() for d in made]})
        return
    for decision in made[:_SHOWN]:
        print(f"{decision.decision_id} {decision.action} {decision.place}: {decision.why}")
    if len(made) > _SHOWN:
        print(f"and {len(made) - _SHOWN} more; --json lists all")
    known = f", {len(made) - new} were there" if new < len(made) else ""
    print(f"{out}: {counted(new, 'decision')} appended{known}")
    print(f"next: thermvision apply {release} --decisions {out} --out NEXT --dry-run")


def _show_plan(plan: Applied) -> None:
    for finding in plan.findings:
        print(finding)
    for conflict in plan.conflicts[:_SHOWN]:
        print(f"conflict: {conflict}")
    lines = [f"{item} goes: {why}" for item, why in plan.dropped.items()]
    for item, (first, last) in plan.cuts.items():
        lost = f", of which {plan.lost[item]} nobody rejected" if item in plan.lost else ""
        lines.append(f"{item} keeps frames {first} to {last}; the others go{lost}")
    lines += [f"{i} gets another {', '.join(sorted({x.column for x in new}))}" for i, new in plan.labels.items()]
    lines += [f"{item} is gone since it was decided on" for item in plan.gone]
    for line in lines[:_SHOWN]:
        print(line)
    if len(lines) > _SHOWN:
        print(f"and {len(lines) - _SHOWN} more; --json lists all")
    before = f", {plan.before} were applied before" if plan.before else ""
    print(
        f"{plan.source.root} {plan.source.release.version}: {counted(len(plan.decisions), 'decision')}{before}."
        f" Items that go: {len(plan.dropped)}; clips that are cut: {len(plan.cuts)}; items that get other labels:"
        f" {len(plan.labels)}; conflicts: {len(plan.conflicts)}"
    )
