"""The next version of a built release: its shards as they are, new ones beside them, identities only appended."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence, Set
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from thermvision.annotations.errors import DamagedInputError, UsageError
from thermvision.annotations.schema import features
from thermvision.curation.assembly import assemble
from thermvision.curation.console import counted
from thermvision.curation.contents import CITATION, LICENCE
from thermvision.curation.differences.history import version_in
from thermvision.curation.pack import Shard
from thermvision.curation.release import MANIFEST, Failed, Manifest, next_version, read_release, version_order
from thermvision.curation.revision import ITEM_CONFIGS, copy_shard
from thermvision.curation.runners import Runner, run_jobs
from thermvision.curation.verify import verify_release
from thermvision.generation.build import Prepared, check_room, made_of, prepare
from thermvision.generation.known import ItemSpec, Known, leaves, refuse_redefined
from thermvision.generation.plan import Plan
from thermvision.generation.recipe import Recipe, parse_recipe
from thermvision.generation.run import run_shard
from thermvision.generation.specs import ClipSpec, SceneSpec, plain_spec

from .lineage import registry


def prepare_extension(
    parent: Path, text: str, limit: int | None = None, folder: Path | None = None, recipe: Recipe | None = None
) -> Prepared:
    """Plan the version that a recipe makes on top of the release in ``parent``; nothing is written.

    The recipe may ask for everything, of which the parent holds a part, or only for what is added. Its jobs are those
    of what is new. ``limit`` counts new items; ``folder`` and ``recipe`` are as `build.prepare` takes them.

    Raises:
        UsageError: the version is not above the parent's, the parent cannot be extended, the recipe gives what is there
            other values or adds nothing.
        DamagedInputError: the parent is not what its manifest says.
        MissingDependencyError: an engine lacks a package or a file.
    """
    manifest, recipe = read_release(parent), parse_recipe(text) if recipe is None else recipe
    _check_version(parent, manifest, recipe)
    _check_columns(parent, manifest)
    known = registry(parent, manifest, folder)
    prepared = prepare(text, limit, folder, recipe, known)
    if not prepared.jobs:
        raise UsageError(
            f"recipe {recipe.name!r} {recipe.version} adds nothing to {parent}: its {len(known.items)} items are all"
            f" there; ask for more subjects, more stills, or new subjects from subjects.first = {known.next_number} on"
        )
    _check_engines(parent, manifest, prepared, known)
    _check_files(parent, manifest, known)
    if findings := verify_release(parent):
        raise DamagedInputError(
            f"{parent} is not what its manifest says ({counted(len(findings), 'finding')}, first: {findings[0]});"
            f" nothing was made; type: thermvision verify {parent}"
        )
    return prepared


def extend_release(
    parent: Path,
    prepared: Prepared,
    out: Path,
    *,
    workers: int = 1,
    retry_failed: bool = False,
    quiet: bool = False,
    run: Runner = run_jobs,
) -> Manifest:
    """Make what `prepare_extension` planned in ``out``, or go on with it where a run was stopped.

    The parent's shards and recipes are copied byte for byte; it stays as it is.

    Raises:
        UsageError: ``out`` is the parent or within it, or holds something else.
        DamagedInputError: a shard of the parent has changed meanwhile.
        OutputError: the disk is too small or full, or another command is writing there.
    """
    manifest = read_release(parent)
    if out.resolve().is_relative_to(parent.resolve()):
        raise UsageError(f"--out {out} is in the release {parent}, which is never edited; choose a new folder")
    _check_out(out, parent, manifest, prepared.recipe.version)
    check_room(out, prepared.plan.estimated_bytes + sum(s.bytes for s in manifest.shards))

    def whole(shards: Sequence[Shard], failed: Sequence[Failed]) -> Manifest:
        for shard in manifest.shards:
            copy_shard(parent, out, shard)
        return extended(manifest, prepared, shards, failed)

    inherited = [*manifest.recipes, *(name for name in (LICENCE, CITATION) if name in manifest.files)]
    files = {name: (parent / name).read_bytes() for name in inherited}
    return assemble(
        out,
        prepared.jobs,
        run_shard,
        whole,
        made_from=f"recipe {prepared.recipe.name!r} {prepared.recipe.version} on top of {manifest.version}",
        software=prepared.software,
        files={**files, prepared.recipe_path: prepared.text.encode()},
        workers=workers,
        retry_failed=retry_failed,
        quiet=quiet,
        run=run,
    )


def extended(parent: Manifest, prepared: Prepared, shards: Sequence[Shard], failed: Sequence[Failed]) -> Manifest:
    """The manifest of ``parent`` and what was made on top of it; card and pictures are not in it yet."""
    made = made_of(prepared)
    merged = {key: {**getattr(parent, key), **made[key]} for key in ("licences", "recipes", "limits", "engines")}
    return Manifest.model_validate(
        {
            **made,
            **merged,
            "name": parent.name,
            "version": prepared.recipe.version,
            "parent": parent.version,
            "source": "build",
            "shards": tuple(sorted((*parent.shards, *shards), key=lambda s: s.path)),
            "software": {**parent.software, **prepared.software},
            "failed": tuple(sorted((*parent.failed, *failed), key=lambda f: f.item_id)),
            "passed_over": tuple(dict.fromkeys((*parent.passed_over, *prepared.plan.passed_over))),
        }
    )


def _check_version(parent: Path, manifest: Manifest, recipe: Recipe) -> None:
    if version_order(recipe.version) <= version_order(manifest.version):
        raise UsageError(
            f"recipe {recipe.name!r} is version {recipe.version} and {parent} is {manifest.version}; allowed: a higher"
            f' one, such as version = "{next_version(manifest.version)}"'
        )


def _check_columns(root: Path, manifest: Manifest) -> None:
    """Refuse a release with columns that only a newer version of the software knows."""
    known = {config: set(features(config)) for config in {s.config for s in manifest.shards}}
    for shard in manifest.shards:
        try:
            names = pq.read_schema(root / shard.path).names
        except (pa.ArrowException, OSError) as error:
            raise DamagedInputError(
                f"{root / shard.path} does not read ({error}); type: thermvision verify {root}"
            ) from error
        if newer := [name for name in names if name not in known[shard.config]]:
            raise UsageError(
                f"{root / shard.path} has the column {', '.join(newer)}, which this version does not know: a newer"
                " thermvision has made it; update it and type the same"
            )


def _check_out(out: Path, parent: Path, manifest: Manifest, version: str) -> None:
    """Refuse a folder that was started on top of another parent: its shards would stay in the new version."""
    own = {s.path: s.sha256 for s in manifest.shards}
    if (out / MANIFEST).is_file():
        lying = {s.path: s.sha256 for s in read_release(out).shards}
        other = [path for path, digest in own.items() if lying.get(path) != digest]
    else:
        lying = dict.fromkeys((p.relative_to(out).as_posix() for p in (out / "data").rglob("*.parquet")), "")
        other = []
    other += [path for path in lying if path not in own and version_in(path) != version]
    if other:
        raise UsageError(
            f"{out} was made on top of another release than {parent} ({min(other)}); choose another --out or delete it"
        )


def _check_engines(root: Path, manifest: Manifest, prepared: Prepared, known: Known) -> None:
    """Refuse to draw a known identity by another engine than the one that drew it: it would be another person."""
    for engine in prepared.engines.values():
        digests = engine.model_digests()
        if manifest.engines.get(engine.engine_id, digests) != digests:
            raise UsageError(
                f"{engine.engine_id} drew {root} with other model files; allowed: the same, or an engine of another"
                " version"
            )
    old = known.subjects.keys() & {s for item in _items(prepared.plan) for s in _subjects(item)}
    drew: dict[str, set[str]] = defaultdict(set)
    for item in known.items.values():
        for subject in old.intersection(_subjects(item)):
            drew[subject].add(_drawn_by(item))
    ids = {name: engine.engine_id for name, engine in prepared.engines.items()}
    others = not manifest.engines.keys() <= set(ids.values())
    made = _made_by(root, manifest, known, old) if old and others else {}
    redefined = {}
    for item in _items(prepared.plan):
        for subject in old.intersection(_subjects(item)):
            now, before = _drawn_by(item), drew[subject]
            if before and now not in before:
                redefined[subject] = f"{subject} (drawn by {', '.join(sorted(before))} then, {now} now)"
            versions = made.get((subject, item.engine), set())
            if versions and ids[item.engine] not in versions:
                redefined[subject] = f"{subject} ({', '.join(sorted(versions))} then, {ids[item.engine]} now)"
    refuse_redefined(
        [redefined[s] for s in sorted(redefined)], f"recipe {prepared.recipe.name!r} {prepared.recipe.version}", known
    )


def _items(plan: Plan) -> Iterator[ItemSpec]:
    return (item for shard in plan.shards for item in shard.items)


def _subjects(item: ItemSpec) -> list[str]:
    return [s.subject_id for s in (item.subjects if isinstance(item, SceneSpec) else (item.subject,))]


def _drawn_by(item: ItemSpec) -> str:
    """What decides whose face it is: an engine, or the picture that is moved."""
    source = item.animation.source if isinstance(item, ClipSpec) and item.animation else item
    return source.engine if isinstance(source, ItemSpec) else f"picture {source.name} {source.sha256[:12]}"


def _made_by(root: Path, manifest: Manifest, known: Known, subjects: Set[str]) -> dict[tuple[str, str], set[str]]:
    """Subject and engine name to the versions of the engine that its rows say have made them."""
    splits = {i.split for i in known.identities if i.subject_id in subjects}
    found: dict[tuple[str, str], set[str]] = defaultdict(set)
    for shard in (s for c in ITEM_CONFIGS for s in manifest.shards_of(c) if s.split in splits):
        for told in _recorded(root, shard):
            for name in subjects & told.people:
                found[name, told.engine].add(told.made_by)
    return found


def _check_files(root: Path, manifest: Manifest, known: Known) -> None:
    """Refuse files that have changed since the clips that are there were made: new ones would show another face."""
    moved = {i.item_id: i for i in known.items.values() if isinstance(i, ClipSpec) and (i.motion or i.animation)}
    for shard in manifest.shards_of("video") if moved else ():
        for told in _recorded(root, shard):
            item = moved.get(told.item_id)
            if item and (changed := sorted(told.files.items() ^ _files(plain_spec(item)).items())):
                what = changed[0][0].removesuffix(".sha256")
                raise UsageError(
                    f"{item.item_id} of {root} was made with another file as its {what};"
                    " put the one that made it where the recipe names it, and give another one another name and new"
                    f" subjects: subjects.first = {known.next_number}"
                )


def _files(spec: Mapping[str, Any]) -> dict[str, str]:
    return {key: str(value) for key, value in leaves(spec) if key.endswith("sha256")}


class _Recorded(NamedTuple):
    item_id: str
    engine: str
    made_by: str
    people: set[str]
    files: dict[str, str]


def _recorded(root: Path, shard: Shard) -> Iterator[_Recorded]:
    """What the provenance of each row of a shard says: item, engine, its version, who is in it, digests of files."""
    try:
        for batch in pq.ParquetFile(root / shard.path).iter_batches(columns=["provenance"]):
            for text in batch.column(0).to_pylist():
                provenance = json.loads(text)
                spec = provenance["spec"]
                people = spec["subjects"] if "subjects" in spec else [spec["subject"]]
                names = {str(p["subject_id"]) for p in people}
                engine = str(provenance["engine"])
                yield _Recorded(str(spec["item_id"]), str(spec["engine"]), engine, names, _files(spec))
    except (pa.ArrowException, OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DamagedInputError(
            f"{root / shard.path} has a row whose provenance does not read ({type(error).__name__}: {error}); type:"
            f" thermvision verify {root}"
        ) from error
