"""Lost and damaged shards of a release, made again from its recipes: bit for bit, or not at all."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from thermvision.annotations.errors import DamagedInputError, RemoteError, ThermVisionError
from thermvision.curation.assembly import locked
from thermvision.curation.pack import Shard, shard_path
from thermvision.curation.places import Place
from thermvision.curation.progress import BuildProgress
from thermvision.curation.release import Manifest
from thermvision.curation.runners import Job, Runner, run_jobs
from thermvision.curation.store import atomic_path, sha256_file, writing
from thermvision.generation.build import Prepared
from thermvision.generation.extension.lineage import replan
from thermvision.generation.plan import ShardSpec
from thermvision.generation.run import run_shard

SCRATCH = ".regenerate"  # below the release, so that a rename moves a shard to its place


@dataclass(frozen=True)
class Broken:
    """A shard that is not what the manifest says: ``state`` is "lost" or "damaged", ``seen`` says what is there."""

    shard: Shard
    state: str
    seen: str


@dataclass(frozen=True)
class Repair:
    """What can be done about a broken shard: the job that makes it, or why there is none."""

    broken: Broken
    job: Job | None
    reason: str = ""


@dataclass(frozen=True)
class Rebuilt:
    """What came of a repair: ``done`` where the shard lies in its place again, else why not."""

    shard: Shard
    done: bool
    reason: str = ""


def broken_shards(place: Place, shards: Iterable[Shard], thorough: bool = True) -> Iterator[Broken]:
    """Those of ``shards`` that are not there or not what the manifest says.

    Of a remote release all are fetched. Not ``thorough``, nothing is hashed or fetched: only what is here is looked
    at, and its size.

    Raises:
        RemoteError: the other side refuses or does not answer.
    """
    for shard in shards:
        if not place.is_folder:
            if thorough:
                try:
                    if not place.has(shard.path):
                        yield Broken(shard, "lost", "it is not there")
                except DamagedInputError as error:
                    yield Broken(shard, "damaged", str(error))
            continue
        if seen := _seen(place.root, shard, thorough):
            yield Broken(shard, *seen)


def _seen(root: Path, shard: Shard, thorough: bool) -> tuple[str, str] | None:
    path = root / shard.path
    try:
        if path.is_symlink() or not path.resolve().is_relative_to(root.resolve()):
            return "damaged", "it is a link, or lies beyond one"
        if not path.is_file():
            return "lost", "it is not there"
        if (size := path.stat().st_size) != shard.bytes:
            return "damaged", f"it has {size} bytes; the manifest says {shard.bytes}"
        if thorough and sha256_file(path) != shard.sha256:
            return "damaged", "its SHA-256 is not the manifest's"
    except OSError as error:
        return "damaged", f"it cannot be read ({error.strerror})"
    return None


def plan_repairs(place: Place, broken: Sequence[Broken], folder: Path | None = None) -> list[Repair]:
    """How each broken shard can be made again; ``folder`` holds the files that recipes name. Nothing is rendered."""
    if not broken:
        return []
    try:
        for path in () if place.is_folder else place.release.recipes:  # they are not here yet
            place.fetch(path)
        prepared = replan(place.root, place.release, folder)
    except RemoteError:
        raise
    except ThermVisionError as error:
        return [Repair(b, None, str(error)) for b in broken]
    jobs = _jobs_by_path(prepared)
    return [_repair(b, place, jobs) for b in broken]


def _jobs_by_path(prepared: Sequence[Prepared]) -> dict[str, tuple[Job, Prepared]]:
    found = {}
    for version in prepared:
        for job in version.jobs:
            for path in paths_of(job.payload):
                found[path] = job, version
    return found


def paths_of(spec: ShardSpec) -> tuple[str, str, str]:
    """The paths of the shards that a job can write: its items', their frames' and their measurements'."""
    place = spec.split, spec.version
    return (
        shard_path(spec.config, *place, spec.number),
        shard_path("frames", *place, spec.row_number),
        shard_path("radiometric", *place, spec.row_number),
    )


def _repair(broken: Broken, place: Place, jobs: Mapping[str, tuple[Job, Prepared]]) -> Repair:
    shard, release = broken.shard, place.release
    if shard.path not in jobs:
        if shard.replaces:
            return Repair(broken, None, "a review or a repair made it, and no recipe does: make that version anew")
        return Repair(broken, None, "none of the release's recipes makes it")
    if why := _in_the_way(place.root, shard) if place.is_folder else "":
        return Repair(broken, None, why)
    job, version = jobs[shard.path]
    if job.fingerprint != shard.fingerprint:
        if others := [e.engine_id for e in version.engines.values() if e.engine_id not in release.engines]:
            made = ", ".join(sorted(release.engines))
            return Repair(broken, None, f"{made} made it; here is {', '.join(others)}")
        failed = {f.item_id for f in release.failed}
        makes = sum(i not in failed for i in job.items)
        if shard.path == paths_of(job.payload)[0] and makes != shard.rows:
            return Repair(
                broken, None, f"its recipe makes {makes} items there and the manifest lists {shard.rows}: it was cut"
            )
    return Repair(broken, job, _other_packages(release, version) if job.fingerprint != shard.fingerprint else "")


def _in_the_way(root: Path, shard: Shard) -> str:
    """Why no shard can be put in its place, "" where it can."""
    target = root / shard.path
    if not target.parent.resolve().is_relative_to(root.resolve()):
        return f"{target.parent} leads out of the release; remove that link"
    if target.is_dir() and not target.is_symlink():
        return f"{target} is a folder; remove it"
    if file := next((p for p in target.parents if p.exists() and not p.is_dir()), None):
        return f"{file} is a file; remove it"
    return ""


def _other_packages(release: Manifest, version: Prepared) -> str:
    here = version.software
    changed = [
        f"{k} {release.software[k]} then, {here[k]} now" for k in here if release.software.get(k, here[k]) != here[k]
    ]
    return f"made with other packages ({'; '.join(changed)})" if changed else "made by another plan"


def rebuild(
    root: Path, repairs: Sequence[Repair], *, workers: int = 1, quiet: bool = False, run: Runner = run_jobs
) -> list[Rebuilt]:
    """Make broken shards of the release in ``root`` again and put those in their place that have the manifest's digest.

    A job runs once for all its shards. A killed run leaves each shard as it was or whole; the next one goes on.

    Raises:
        OutputError: another command is writing there, or there is no room or no permission.
    """
    jobs = {r.job.key + r.job.fingerprint: r.job for r in repairs if r.job is not None}
    wanted: dict[str, list[Repair]] = {}
    results = [Rebuilt(r.broken.shard, False, r.reason) for r in repairs if r.job is None]
    for repair in repairs:
        if repair.job is not None:
            wanted.setdefault(repair.job.key + repair.job.fingerprint, []).append(repair)
    scratch = root / SCRATCH
    if not jobs and not os.path.lexists(scratch):
        return results
    with locked(root):
        with writing(scratch):
            if scratch.is_symlink() or scratch.is_file():
                scratch.unlink()
            shutil.rmtree(scratch, ignore_errors=True)  # of a run that was killed
            scratch.mkdir()
        try:
            with BuildProgress(len(jobs), sum(j.frames for j in jobs.values()), quiet=quiet) as progress:
                for job, outcome in run(scratch, list(jobs.values()), run_shard, workers, progress.advance):
                    made = {s.path: s for s in outcome.shards}
                    why = "; ".join(f"{f.item_id}: {f.reason}" for f in outcome.failed[:3])
                    for repair in wanted[job.key + job.fingerprint]:
                        results.append(_put_back(root, repair, made.get(repair.broken.shard.path), why))
                    for shard in outcome.shards:
                        (scratch / shard.path).unlink(missing_ok=True)
                    progress.shard_done(job.key)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    return sorted(results, key=lambda r: r.shard.path)


def _put_back(root: Path, repair: Repair, made: Shard | None, why: str) -> Rebuilt:
    """Move a shard from scratch to its place, if it is the very one that the manifest lists."""
    shard = repair.broken.shard
    if made is None:
        return Rebuilt(shard, False, f"its items cannot be made ({why or 'its job makes no such shard'})")
    source, target = root / SCRATCH / shard.path, root / shard.path
    if sha256_file(source) != shard.sha256:
        more = f" ({repair.reason})" if repair.reason else ""
        return Rebuilt(shard, False, f"what was made has another SHA-256 than the manifest says{more}: left as it was")
    if blocked := _in_the_way(root, shard):
        return Rebuilt(shard, False, blocked)
    with atomic_path(target) as temporary:
        os.replace(source, temporary)
    return Rebuilt(shard, True)
