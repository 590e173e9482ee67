"""Recipe to release: plan, render, pack, describe."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from thermvision.annotations.errors import OutputError
from thermvision.annotations.schema import CATEGORIES, SEQUENCES
from thermvision.curation.assembly import assemble, plan_digest, software_versions
from thermvision.curation.console import human_bytes
from thermvision.curation.release import Manifest
from thermvision.curation.runners import Job, Runner, run_jobs
from thermvision.curation.storage import Storage
from thermvision.curation.store import sha256_bytes
from thermvision.generation.animations import STILLS, animations, below, weights_of
from thermvision.generation.drawings import drawings, loading_of
from thermvision.generation.engines import ENGINE_PACKAGES, Engine, engine_of
from thermvision.generation.known import Known
from thermvision.generation.plan import Plan, make_jobs, make_plan
from thermvision.generation.recipe import Recipe, check_release, parse_recipe
from thermvision.generation.run import run_shard
from thermvision.generation.specs import MotionTrack


@dataclass(frozen=True)
class Prepared:
    """A recipe whose plan was made and whose engines are ready."""

    recipe: Recipe
    text: str
    plan: Plan
    jobs: tuple[Job, ...]
    engines: dict[str, Engine]
    software: dict[str, str]
    limit: int | None = None

    @property
    def recipe_path(self) -> str:
        """Where a release keeps the recipe."""
        return f"recipes/{self.recipe.version}.toml"


def engines_of(recipe: Recipe, folder: Path | None = None) -> dict[str, Engine]:
    """The engines a recipe in ``folder`` uses, by name: only those that are asked for something."""
    clips, table = recipe.clips, recipe.liveportrait
    animated = clips.engine == "liveportrait"
    asked = {clips.engine} if animated or any(getattr(clips, s) for s in SEQUENCES) else set()
    stills = any(getattr(recipe.stills, c).count for c in CATEGORIES)
    if stills or (animated and clips.source in (None, STILLS)):
        asked.add(recipe.stills.engine)
    if recipe.scenes.count:
        asked.add(recipe.scenes.engine)
    settings: dict[str, dict[str, str]] = {
        "liveportrait": {
            "weights": weights_of(recipe, folder),
            "device": table.device,
            "precision": table.precision,
        },
        "flux": {"loading": loading_of(recipe, folder)},
    }
    return {name: engine_of(name, **settings.get(name, {})) for name in sorted(asked)}


def prepare(
    text: str,
    limit: int | None = None,
    folder: Path | None = None,
    recipe: Recipe | None = None,
    known: Known | None = None,
) -> Prepared:
    """Check the recipe's text, ask its engines for what they lack, and plan; nothing is written.

    ``folder`` is where the recipe lies: files it names are looked for below it. ``recipe`` is what the text says, where
    `read_recipe` has parsed it. ``known`` is what the release it extends holds: the jobs are those of the rest.

    Raises:
        UsageError: the recipe asks for what cannot be made, or gives what is known other values.
        MissingDependencyError: an engine lacks a package or a file.
        DamagedInputError: a motion file is broken or unsafe.
    """
    recipe = parse_recipe(text) if recipe is None else recipe
    check_release(recipe)
    engines = engines_of(recipe, folder)
    for engine in engines.values():
        engine.require()
    plan = plan_recipe(recipe, engines, limit, folder, known)
    software = software_versions(*(package for name in engines for package in ENGINE_PACKAGES[name]))
    return Prepared(recipe, text, plan, tuple(make_jobs(plan, engines, software)), engines, software, limit)


def plan_recipe(
    recipe: Recipe, engines: dict[str, Engine], limit: int | None, folder: Path | None, known: Known | None = None
) -> Plan:
    """`make_plan` with the files that a recipe in ``folder`` names."""
    draw = drawings(recipe, folder)
    motions, animate = read_motions(recipe, folder), animations(recipe, folder, draw)
    return make_plan(recipe, engines, limit, motions, animate, draw, known)


def read_motions(recipe: Recipe, folder: Path | None) -> dict[str, MotionTrack]:
    """The motion files of a recipe that lies in ``folder``, by sequence.

    Raises:
        UsageError: a file is not there or not below ``folder``, or the recipe is no file.
        DamagedInputError: a file is broken or unsafe.
    """
    from thermvision.generation.engines.phantom.motion_file import read_motion

    tracks: dict[str, MotionTrack] = {}
    for sequence, name in recipe.clips.motion.items():
        tracks[sequence] = read_motion(below(folder, name, "clips.motion"))
    return tracks


def build_release(
    prepared: Prepared,
    out: Path,
    *,
    workers: int = 1,
    retry_failed: bool = False,
    quiet: bool = False,
    run: Runner = run_jobs,
    storage: Storage | None = None,
) -> Manifest:
    """Make the release in ``out``, or go on with it where a run was stopped.

    With ``storage`` its shards go there, and ``out`` is a mirror; see `thermvision.curation.assembly.assemble`.

    Raises:
        UsageError: ``out`` holds something else.
        OutputError: the disk is too small or full, or another command is writing there.
    """
    recipe = prepared.recipe
    if storage is None:
        check_room(out, prepared.plan.estimated_bytes)
    manifest = {"name": recipe.name, "version": recipe.version, "source": "build", **made_of(prepared)}
    return assemble(
        out,
        prepared.jobs,
        run_shard,
        lambda shards, failed: Manifest.model_validate({**manifest, "shards": shards, "failed": failed}),
        made_from=f"recipe {recipe.name!r} {recipe.version}",
        software=prepared.software,
        files={prepared.recipe_path: prepared.text.encode()},
        workers=workers,
        retry_failed=retry_failed,
        quiet=quiet,
        run=run,
        storage=storage,
    )


def made_of(prepared: Prepared) -> dict[str, Any]:
    """Those fields of the manifest that say what its version was made of."""
    return {
        "licences": {engine.engine_id: engine.licence for engine in prepared.engines.values()},
        "identities": prepared.plan.identities,
        "recipes": {prepared.recipe_path: sha256_bytes(prepared.text.encode())},
        "limits": {prepared.recipe.version: prepared.limit} if prepared.limit else {},
        "engines": {engine.engine_id: engine.model_digests() for engine in prepared.engines.values()},
        "software": prepared.software,
        "plan": plan_digest(prepared.jobs),
        "passed_over": prepared.plan.passed_over,
    }


def check_room(out: Path, needed: int) -> None:
    """Raise OutputError unless there is room for ``needed`` bytes in ``out``, less what lies there already."""
    existing = next(p for p in (out, *out.absolute().parents) if p.exists())
    there = sum(p.stat().st_size for p in out.rglob("*.parquet")) if out.is_dir() else 0
    free = shutil.disk_usage(existing).free
    if free < needed - there:
        needs = human_bytes(needed - there)
        message = f"{existing} has {human_bytes(free)} free and the release needs about {needs}"
        raise OutputError(f"{message}; free some space, choose another --out, or build less with --limit")
