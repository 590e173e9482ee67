"""Commands that make things: build; and doctor, which says whether they can."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from thermvision.annotations.errors import FindingsError, MissingDependencyError
from thermvision.annotations.schema import CATEGORIES, SEQUENCES
from thermvision.annotations.training import commands as training_commands
from thermvision.curation.console import human_bytes, show_json
from thermvision.curation.options import AsJson, CoreWorkers, DryRun, Finish, Limit, Quiet, RetryFailed, default_workers
from thermvision.generation import animate_commands, generate_commands
from thermvision.generation.engines.flux.training import commands as lora_commands
from thermvision.generation.engines.liveportrait.training import commands as finetune_commands
from thermvision.generation.extension import commands as extension_commands
from thermvision.generation.plan import Plan
from thermvision.generation.regeneration import commands as regeneration_commands
from thermvision.generation.runners import Address, RunnerName, Where, runner_of
from thermvision.generation.seeds import commands as seed_commands
from thermvision.generation.workflows import commands as workflow_commands


def register(app: typer.Typer, finish: Finish) -> None:
    """Add the commands of this floor to ``app``."""
    train = typer.Typer(help="Train models from rendered releases.", no_args_is_help=True)
    training_commands.register(train)
    finetune_commands.register(train)
    lora_commands.register(train)
    app.add_typer(train, name="train")
    animate_commands.register(app)
    extension_commands.register(app, finish)
    generate_commands.register(app)
    regeneration_commands.register(app)
    seed_commands.register(app)
    workflow_commands.register(app)

    @app.command()
    def build(
        out: Annotated[
            str,
            typer.Option(
                "--out",
                help="Folder of the release: new, empty, or one this command was started in; or a URL such as"
                " s3://BUCKET/NAME.",
            ),
        ],
        recipe: Annotated[
            str, typer.Argument(help="A TOML recipe, or a bundled one: quickstart, paper, training.")
        ] = "quickstart",
        workers: CoreWorkers = None,
        limit: Limit = None,
        retry_failed: RetryFailed = False,
        runner: RunnerName = Where.local,
        address: Address = None,
        dry_run: DryRun = False,
        as_json: AsJson = False,
        quiet: Quiet = False,
    ) -> None:
        """Make a release from a recipe. A stopped build goes on where it was when the same command runs again.

        Example: thermvision build --out release
        """
        from thermvision.curation.assembly import BUILD_FOLDER
        from thermvision.curation.storage import checked_place, conclude, workplace

        from .build import build_release, prepare
        from .recipe import read_recipe

        out = checked_place(out)
        run = runner_of(runner, address)
        parsed, text = read_recipe(recipe)
        prepared = prepare(text, limit, Path(recipe).parent if Path(recipe).is_file() else None, parsed)
        facts = summary(prepared.plan)
        if dry_run:
            if as_json:
                show_json(facts)
            else:
                print_summary(facts)
                print(f"next: thermvision build {recipe} --out {out}")
            return
        workers = workers or (workers_for(prepared.engines) if runner == Where.local else 0)
        with workplace(out) as (root, storage):
            manifest = build_release(
                prepared, root, workers=workers, retry_failed=retry_failed, quiet=quiet, run=run, storage=storage
            )
            lines = conclude(storage, root, BUILD_FOLDER, finish) if storage else finish(root)
        if as_json:
            show_json({**facts, "out": out, "failed": [f.model_dump() for f in manifest.failed]})
        else:
            for line in lines:
                Console(soft_wrap=True, highlight=False).print(line, markup=False)
        if manifest.failed:
            listed = "; ".join(f"{f.item_id}: {f.reason}" for f in manifest.failed[:5])
            raise FindingsError(
                f"{len(manifest.failed)} items failed ({listed}); all are in {out}/release.json;"
                " try them again with --retry-failed"
            )

    @app.command()
    def doctor(
        weights: Annotated[str, typer.Option(help="Folder of LivePortrait's checkpoints; default: the usual.")] = "",
        flux_weights: Annotated[str, typer.Option(help="Folder of FLUX's files; default: $THERMVISION_FLUX.")] = "",
        as_json: AsJson = False,
    ) -> None:
        """Versions, and what each engine and extra lacks with the command that installs it.

        Example: thermvision doctor
        """
        from .doctor import examine, print_examination

        examination = examine(weights, flux_weights)
        if as_json:
            show_json(examination)
        else:
            print_examination(examination)
            print("next: thermvision build --out release")
        if not all(part["ready"] for part in examination["parts"] if part["required"]):
            raise MissingDependencyError("a required package is missing; the list above says which command brings it")


def workers_for(engines: Iterable[str]) -> int:
    """Worker processes where none are asked for: one a core, and one alone with networks that fill a GPU."""
    return 1 if "flux" in engines else default_workers()


def summary(plan: Plan) -> dict[str, Any]:
    """The figures of a plan."""
    splits = Counter(i.split for i in plan.identities)
    return {
        "name": plan.recipe.name,
        "version": plan.recipe.version,
        "subjects": dict(Counter(i.gender for i in plan.identities)),
        "splits": dict(splits),
        "clips": {s: sum(c.sequence == s for c in plan.clips) for s in SEQUENCES},
        "stills": {c: sum(s.category == c for s in plan.stills) for c in CATEGORIES},
        "scenes": {f"of {n} faces": sum(len(s.subjects) == n for s in plan.scenes) for n in _face_counts(plan)},
        "frames": plan.frames,
        "jobs": [f"{s.config} {s.split} {s.number}: {len(s.items)} items" for s in plan.shards],
        "passed_over": list(plan.passed_over),
        "estimated_bytes": plan.estimated_bytes,
    }


def _face_counts(plan: Plan) -> list[int]:
    return sorted({len(scene.subjects) for scene in plan.scenes})


def print_summary(facts: dict[str, Any]) -> None:
    """Print a plan for a person."""
    print(f"{facts['name']} {facts['version']}")
    for name in ("subjects", "splits", "clips", "stills", *(["scenes"] if facts["scenes"] else [])):
        print(f"  {name}: " + ", ".join(f"{count} {key}" for key, count in facts[name].items()))
    print(f"  {facts['frames']} frames, about {human_bytes(facts['estimated_bytes'])}")
    for line in facts["passed_over"]:
        print(f"  passed over {line}")
    for line in facts["jobs"]:
        print(f"    {line}")
