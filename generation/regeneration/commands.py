"""The command regenerate: whether what is published is what its recipe makes, and lost shards made again."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from thermvision.annotations.errors import FindingsError, UsageError
from thermvision.curation.console import counted, human_bytes, show_json, to_stderr
from thermvision.curation.options import AsJson, CoreWorkers, DryRun, Quiet
from thermvision.generation.runners import Address, RunnerName, Where

if TYPE_CHECKING:
    from collections.abc import Sequence

    from thermvision.curation.pack import Shard
    from thermvision.curation.places import Place

    from .regenerate import Part
    from .report import Report


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""

    @app.command()
    def regenerate(
        place: Annotated[
            str,
            typer.Argument(help="Folder of a release, hf://datasets/ORG/NAME@REVISION, ORG/NAME@REVISION or a URL."),
        ],
        shard: Annotated[
            list[str] | None, typer.Option("--shard", help="Only this shard, by its path in release.json; repeatable.")
        ] = None,
        clip: Annotated[
            list[str] | None, typer.Option("--clip", help="Only this clip, still or scene, by its id; repeatable.")
        ] = None,
        sample: Annotated[str | None, typer.Option(help="Only some items, drawn by --seed: 1%, or a number.")] = None,
        seed: Annotated[int, typer.Option(min=0, help="Of the sample.")] = 0,
        write: Annotated[
            bool, typer.Option("--write", help="Put lost and damaged shards back, those that come out bit for bit.")
        ] = False,
        files: Annotated[Path | None, typer.Option(help="Folder that holds the files its recipes name.")] = None,
        weights: Annotated[str, typer.Option(help="Folder of LivePortrait's checkpoints, or random.")] = "",
        flux_weights: Annotated[str, typer.Option(help="Folder of FLUX's files, or random.")] = "",
        workers: CoreWorkers = None,
        runner: RunnerName = Where.local,
        address: Address = None,
        dry_run: DryRun = False,
        as_json: AsJson = False,
        quiet: Quiet = False,
    ) -> None:
        """Render items again from their provenance and compare pixels: exact, close, mismatch or unavailable.

        Without --shard, --clip and --sample: every shard's bytes, then every item. With --write alone broken shards
        are made again and nothing else is rendered. Exit code 1: an item is neither exact nor close, or a shard is
        broken still.

        Example: thermvision regenerate release --sample 5
        """
        from thermvision.curation.differences.history import version_in
        from thermvision.curation.places import open_place
        from thermvision.generation.commands import workers_for
        from thermvision.generation.runners import runner_of

        from .rebuild import broken_shards, plan_repairs, rebuild
        from .regenerate import regenerate as render_again
        from .report import Report
        from .supplies import supplies_of

        if sum(map(bool, (shard, clip, sample))) > 1:
            raise UsageError("--shard, --clip and --sample go one at a time; leave out all but one")
        found = open_place(place)
        if write and not found.is_folder:
            raise UsageError(f"--write mends a folder and {place} is none; fetch it first: hf download, then mend that")
        run = runner_of(runner, address)
        release = found.release
        looked = _named(found, shard) if shard else release.shards
        thorough = bool(shard) or write or not (clip or sample)
        if thorough and not quiet:
            size = human_bytes(sum(s.bytes for s in looked))
            to_stderr(f"reading {counted(len(looked), 'shard')}, {size}, against {found.name}'s release.json")
        broken = list(broken_shards(found, looked, thorough))
        report = Report(found.name, release.version, plan_repairs(found, broken, files))
        count = workers or workers_for(e.partition("@")[0] for e in release.engines)
        if write and not dry_run:
            report.rebuilt = rebuild(found.root, report.broken, workers=count, quiet=quiet, run=run)
        left = {path for path, _, _ in report.left}
        # rows of `frames` and `radiometric` are made with their items
        made = {s.fingerprint for s in looked}
        whole = [s for s in release.shards if s.fingerprint in made and s.path not in left]
        parts = [] if write and not (shard or clip or sample) else _parts(found, whole, clip, sample, seed)
        if dry_run:
            _show_plan(report, parts, as_json, place)
            return
        versions = {version_in(p.shard.path) for p in parts}
        supplies = {v: supplies_of(found, v, files, weights, flux_weights) for v in sorted(versions)}
        report.take(render_again(found, parts, supplies, workers=count, quiet=quiet, run=run))
        _show(report, as_json, found)


def _named(place: Place, names: Sequence[str]) -> list[Shard]:
    shards = {s.path: s for s in place.release.shards}
    if unknown := [n for n in names if n not in shards]:
        import difflib

        close = difflib.get_close_matches(unknown[0], shards, 3)
        hint = f"; close to it: {', '.join(close)}" if close else ""
        raise UsageError(f"{place.name} lists no shard {unknown[0]}; allowed: the paths in its release.json{hint}")
    return [shards[name] for name in dict.fromkeys(names)]


def _parts(
    place: Place, shards: Sequence[Shard], clip: Sequence[str] | None, sample: str | None, seed: int
) -> list[Part]:
    from thermvision.curation.revision import ITEM_CONFIGS

    from .regenerate import all_parts, parts_with, sampled_parts

    items = [s for s in shards if s.config in ITEM_CONFIGS and s.rows]
    if clip:
        return parts_with(place, items, clip)
    return sampled_parts(items, sample, seed) if sample is not None else all_parts(items)


def _show_plan(report: Report, parts: Sequence[Part], as_json: bool, place: str) -> None:
    items = sum(p.rows for p in parts)
    if as_json:
        show_json({**report.as_json(), "to_render": {"items": items, "shards": len(parts)}})
        return
    for line in report.lines():
        print(line)
    print(f"{counted(items, 'item')} in {counted(len(parts), 'shard')} would be rendered again and compared")
    print(f"next: thermvision regenerate {place}, with the same options but --dry-run")


def _show(report: Report, as_json: bool, place: Place) -> None:
    if as_json:
        show_json(report.as_json())
    else:
        for line in report.lines():
            print(line)
        if not (report.counts or report.broken or report.rebuilt is not None):
            print(f"{place.name} {report.version}: what was looked at is whole and holds nothing to render again")
        if report.rebuildable and place.is_folder:
            print(f"next: thermvision regenerate {place.root} --write")
        else:
            print(f"next: thermvision {'verify' if place.is_folder else 'info'} {place.name}")
    if report.fails:
        broken = [f"{counted(len(report.left), 'shard')} broken"] if report.left else []
        bad = [f"{n} {state}" for state in ("mismatch", "unavailable") if (n := report.counts[state])]
        raise FindingsError(", ".join(broken + bad) + f" in {place.name}")
