"""Jobs to a whole release in a folder: resumable, one writer at a time, the manifest last.

Each finished job leaves ``.build/<key>.done.json`` with its fingerprint and its shards. A run that was killed goes on
with the jobs that have none, and ends with the same `release.json` as one that was not.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import functools
import hashlib
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import IO, Any

from pydantic import BaseModel, ConfigDict, ValidationError

from thermvision.annotations.errors import DamagedInputError, OutputError, UsageError

from .console import to_stderr
from .pack import Digest, Shard
from .progress import BuildProgress
from .release import MANIFEST, Failed, Manifest, read_release, write_release
from .runners import Job, Outcome, Runner, Worker, run_jobs
from .storage import MARKER, PLAN, Storage, StoredWorker, has, is_url, pull, push
from .store import atomic_write, canonical_json, read_json, remove_partial, sha256_bytes, sha256_file, writing

BUILD_FOLDER = ".build"
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)  # Lustre and NFS, as some are mounted
_BYTES_DEPEND_ON = ("av", "numpy", "opencv-python-headless", "pillow", "pyarrow", "scipy")


class _Done(BaseModel):
    """A done marker."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    fingerprint: Digest
    shards: tuple[Shard, ...]
    failed: tuple[Failed, ...] = ()


class _Plan(BaseModel):
    """What an unfinished folder is being made of."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    plan: Digest
    made_from: str
    software: dict[str, str]


def software_versions(*more: str) -> dict[str, str]:
    """Versions of the packages that determine the bytes of a shard, ``more`` included where installed."""
    versions = {}
    for name in sorted({*_BYTES_DEPEND_ON, *more}):
        with contextlib.suppress(metadata.PackageNotFoundError):
            versions[name] = metadata.version(name)
    return versions


def fingerprint(value: Any) -> str:
    """Hex SHA-256 of the canonical JSON of ``value``."""
    return sha256_bytes(canonical_json(value).encode())


def plan_digest(jobs: Sequence[Job]) -> str:
    """Digest of what a list of jobs will make."""
    return hashlib.sha256("\n".join(f"{j.key} {j.fingerprint}" for j in jobs).encode()).hexdigest()


def assemble(
    root: Path,
    jobs: Sequence[Job],
    worker: Worker,
    manifest: Callable[[Sequence[Shard], Sequence[Failed]], Manifest],
    *,
    made_from: str,
    software: Mapping[str, str],
    files: Mapping[str, bytes] | None = None,
    workers: int = 1,
    retry_failed: bool = False,
    quiet: bool = False,
    run: Runner = run_jobs,
    storage: Storage | None = None,
) -> Manifest:
    """Run the jobs that are not done and write the release.

    Args:
        root: the release folder; made when missing.
        worker: see `runners.Worker`.
        manifest: makes the manifest from all shards (sorted by path) and failures.
        made_from: recipe or archive in words, for the message when the folder holds something else.
        software: versions that enter the fingerprints, kept to explain a refusal.
        files: further files of the release (path -> bytes), such as the recipe.
        retry_failed: run jobs again in which an item failed.
        run: where the jobs run.
        storage: where the shards go; ``root`` is then a mirror that has everything else, see `storage.conclude`.

    Raises:
        UsageError: the folder holds another recipe's shards or foreign files.
        OutputError: somebody else is writing there, or the disk is full.
    """
    digest = plan_digest(jobs)
    is_there = functools.partial(has, storage) if storage else functools.partial(whole, root)
    with locked(root):
        if storage:
            pull(storage, root, BUILD_FOLDER)
            worker = StoredWorker(worker, storage, marker_of)
        place = storage.url if storage else str(root)
        done = _completed(root, place, jobs, digest, made_from, software, is_there)
        if retry_failed:
            done = {key: marker for key, marker in done.items() if not marker.failed}
        waiting = [job for job in jobs if job.key not in done]
        if waiting:
            remove_partial(root)
            build = root / BUILD_FOLDER
            plan = _Plan(plan=digest, made_from=made_from, software=dict(software))
            atomic_write(build / PLAN, plan.model_dump_json())
            for key, marker in done.items():  # a damaged release is being mended: keep what is whole
                atomic_write(build / f"{key}{MARKER}", marker.model_dump_json())
            if storage:
                push(storage, root, BUILD_FOLDER)
            with BuildProgress(len(waiting), sum(j.frames for j in waiting), quiet=quiet) as progress:
                # Parquet's writer takes "faces:v1/…" for a URL
                for job, outcome in run(root.absolute(), waiting, worker, workers, progress.advance):
                    path, text = marker_of(job, outcome)
                    atomic_write(root / path, text)
                    done[job.key] = _Done(fingerprint=job.fingerprint, shards=outcome.shards, failed=outcome.failed)
                    progress.shard_done(job.key)
        shards = sorted((s for d in done.values() for s in d.shards), key=lambda s: s.path)
        failed = sorted((f for d in done.values() for f in d.failed), key=lambda f: f.item_id)
        release = manifest(shards, failed)
        if waiting or not (root / MANIFEST).is_file():
            for path, data in (files or {}).items():
                atomic_write(root / path, data)
            write_release(root, release)
        shutil.rmtree(root / BUILD_FOLDER, ignore_errors=True)
        return release


def marker_of(job: Job, outcome: Outcome) -> tuple[str, bytes]:
    """Path and bytes of the done marker of a job."""
    marker = _Done(fingerprint=job.fingerprint, shards=outcome.shards, failed=outcome.failed)
    return f"{BUILD_FOLDER}/{job.key}{MARKER}", marker.model_dump_json().encode()


@contextlib.contextmanager
def locked(root: Path) -> Iterator[None]:
    """Make the folder ``root`` and be the only command that writes there.

    Raises:
        UsageError: it is a file.
        OutputError: another command is writing there, or there is no room or no permission.
    """
    if is_url(str(root).replace(":/", "://", 1)) and not root.is_absolute():  # a path has lost one of its slashes
        raise UsageError(f"--out {root} is a URL; allowed here: a folder (thermvision build writes to URLs as well)")
    if root.exists() and not root.is_dir():
        raise UsageError(
            f"--out {root} is a file; allowed: a folder that is new, empty or was started by the same command"
        )
    path = root / ".lock"
    with writing(root):
        root.mkdir(parents=True, exist_ok=True)
        lock = _lock(path)
    with lock:
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


def _lock(path: Path) -> IO[str]:
    """The file ``path``, which nobody else has locked until it is closed."""
    while True:
        file = path.open("w")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.close()
            raise OutputError(
                f"another command is writing to {path.parent}; wait for it, or choose another --out"
            ) from error
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                file.close()
                raise
            to_stderr(f"the file system of {path.parent} has no locks; see that no other command writes there")
            return file
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(file.fileno()), path.stat()):
                return file
        file.close()  # whoever had it has just ended, and the name is free or somebody else's


def _completed(
    root: Path,
    place: str,
    jobs: Sequence[Job],
    digest: str,
    made_from: str,
    software: Mapping[str, str],
    is_there: Callable[[Shard], bool],
) -> dict[str, _Done]:
    """Done markers of the jobs whose shards are there; refuses a folder, ``place`` to a person, with something else."""
    if (root / MANIFEST).is_file():
        release = read_release(root)
        if release.plan != digest:
            other = _explain(release.name, release.software, software)
            raise UsageError(f"{place} holds {other}, not {made_from}; choose another --out or delete that folder")
        markers = _markers_of_release(release, jobs)
    elif (root / BUILD_FOLDER / PLAN).is_file():
        try:
            plan = _Plan.model_validate(read_json(root / BUILD_FOLDER / PLAN))
        except ValidationError as error:
            raise DamagedInputError(f"{place}/{BUILD_FOLDER} is damaged; delete {place} and build again") from error
        if plan.plan != digest:
            other = _explain(plan.made_from, plan.software, software)
            raise UsageError(
                f"{place} holds a started build of {other}, not {made_from}; choose another --out or delete it"
            )
        markers = {job.key: marker for job in jobs if (marker := _read_marker(root, job))}
    else:
        if foreign := [p.name for p in root.iterdir() if p.name not in (".lock", BUILD_FOLDER)]:
            raise UsageError(
                f"{place} is not empty ({', '.join(sorted(foreign)[:3])}); allowed: a folder that is new, empty or was"
                " started by the same command; choose another --out"
            )
        return {}
    return {key: marker for key, marker in markers.items() if all(is_there(s) for s in marker.shards)}


def _explain(name: str, before: Mapping[str, str], now: Mapping[str, str]) -> str:
    """What a folder holds; where only versions of the same packages differ, they are the likely reason."""
    changed = [
        f"{k} {before[k]} then, {now[k]} now"
        for k in sorted(now)
        if before.keys() == now.keys() and before[k] != now[k]
    ]
    return f"{name!r} made with other packages ({'; '.join(changed)})" if changed else f"{name!r} of another plan"


def _markers_of_release(release: Manifest, jobs: Sequence[Job]) -> dict[str, _Done]:
    """The done markers that a finished release stands for: every job's shards carry its fingerprint."""
    shards: dict[str, list[Shard]] = {}
    for shard in release.shards:
        shards.setdefault(shard.fingerprint, []).append(shard)
    markers = {}
    for job in jobs:
        failed = tuple(f for f in release.failed if f.item_id in job.items)
        if job.fingerprint in shards or failed:
            found = tuple(shards.get(job.fingerprint, ()))
            markers[job.key] = _Done(fingerprint=job.fingerprint, shards=found, failed=failed)
    return markers


def _read_marker(root: Path, job: Job) -> _Done | None:
    path = root / BUILD_FOLDER / f"{job.key}{MARKER}"
    if not path.is_file():
        return None
    try:
        marker = _Done.model_validate(read_json(path))
    except (ValidationError, DamagedInputError):
        return None  # a marker that cannot be read marks nothing: the job runs again
    return marker if marker.fingerprint == job.fingerprint else None


def whole(root: Path, shard: Shard) -> bool:
    """Whether a shard lies below ``root`` byte for byte as its manifest says."""
    path = root / shard.path
    return path.is_file() and path.stat().st_size == shard.bytes and sha256_file(path) == shard.sha256
