"""The command extend: the next version of a release from a recipe."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from thermvision.annotations.errors import FindingsError
from thermvision.curation.console import counted, human_bytes, show_json
from thermvision.curation.options import AsJson, CoreWorkers, DryRun, Finish, Out, Quiet, Release, RetryFailed
from thermvision.generation.runners import Address, RunnerName, Where, runner_of

if TYPE_CHECKING:
    from thermvision.curation.release import Manifest
    from thermvision.generation.build import Prepared


def register(app: typer.Typer, finish: Finish) -> None:
    """Add the command to ``app``."""

    @app.command()
    def extend(
        release: Release,
        recipe: Annotated[str, typer.Argument(help="A TOML recipe of a higher version: the whole, or what is added.")],
        out: Out,
        workers: CoreWorkers = None,
        limit: Annotated[
            int | None, typer.Option(min=1, help="Add this many clips, stills and scenes at the most.")
        ] = None,
        retry_failed: RetryFailed = False,
        runner: RunnerName = Where.local,
        address: Address = None,
        dry_run: DryRun = False,
        as_json: AsJson = False,
        quiet: Quiet = False,
    ) -> None:
        """Make the next version of a release: its shards as they are, new ones beside them, identities only appended.

        Example: thermvision extend release more.toml --out release-1.1
        """
        from thermvision.curation.release import read_release
        from thermvision.generation.commands import print_summary, workers_for
        from thermvision.generation.recipe import read_recipe

        from .extend import extend_release, prepare_extension

        run = runner_of(runner, address)
        parsed, text = read_recipe(recipe)
        folder = Path(recipe).parent if Path(recipe).is_file() else None
        prepared = prepare_extension(release, text, limit, folder, parsed)
        facts = additions(read_release(release), prepared)
        if dry_run:
            if as_json:
                show_json(facts)
            else:
                print_summary(facts)
                print(_balance(facts))
                print(f"next: thermvision extend {release} {recipe} --out {out}")
            return
        manifest = extend_release(
            release,
            prepared,
            out,
            workers=workers or (workers_for(prepared.engines) if runner == Where.local else 0),
            retry_failed=retry_failed,
            quiet=quiet,
            run=run,
        )
        lines = finish(out)
        here = {item for job in prepared.jobs for item in job.items}
        failed = [f for f in manifest.failed if f.item_id in here]
        if as_json:
            show_json({**facts, "out": str(out), "failed": [f.model_dump() for f in failed]})
        else:
            for line in (_balance(facts), *lines[:-1], f"next: thermvision diff {release} {out}"):
                Console(soft_wrap=True, highlight=False).print(line, markup=False)
        if failed:
            listed = "; ".join(f"{f.item_id}: {f.reason}" for f in failed[:5])
            raise FindingsError(
                f"{len(failed)} new items failed ({listed}); all are in {out / 'release.json'}; try them again with"
                " --retry-failed"
            )


def additions(parent: Manifest, prepared: Prepared) -> dict[str, Any]:
    """The figures of an extension: those of a plan for what is new, and how much of the parent stays."""
    from thermvision.generation.commands import summary

    new = prepared.plan.identities[len(parent.identities) :]
    return {
        **summary(prepared.plan),
        "name": parent.name,
        "parent": parent.version,
        "subjects": dict(Counter(i.gender for i in new)),
        "splits": dict(Counter(i.split for i in new)),
        "identities": {"before": len(parent.identities), "new": len(new)},
        "kept_shards": len(parent.shards),
        "kept_bytes": sum(s.bytes for s in parent.shards),
    }


def _balance(facts: dict[str, Any]) -> str:
    return (
        f"on top of {facts['parent']}: {counted(facts['identities']['before'], 'subject')} and"
        f" {counted(facts['kept_shards'], 'shard')} ({human_bytes(facts['kept_bytes'])}) stay as they are,"
        f" {counted(facts['identities']['new'], 'subject')} and {counted(facts['frames'], 'frame')} are new"
    )
