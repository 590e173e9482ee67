"""Long work on chunks whose results are kept one by one, so that a killed run goes on at the chunk it was in."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from thermvision.annotations.errors import DamagedInputError, UsageError

from .assembly import fingerprint, locked
from .inputs import Chunk, Input
from .progress import BuildProgress
from .runners import Advance, Job, Outcome, run_jobs
from .store import atomic_write, canonical_json, read_json, remove_partial

WORK = ".work"
Process = Callable[[Chunk, Advance], Any]


def work_folder(out: Path, is_folder: bool) -> Path:
    """Where the parts of ``out`` lie until it is whole: within a folder, beside a file.

    >>> work_folder(Path("labels"), True).as_posix(), work_folder(Path("a/faces.json"), False).as_posix()
    ('labels/.work', 'a/.faces.json.work')
    """
    return out / WORK if is_folder else out.with_name(f".{out.name}{WORK}")


def check_free(out: Path, is_folder: bool) -> None:
    """Refuse an output that is there already and is no started run.

    Raises:
        UsageError: it is.
    """
    if work_folder(out, is_folder).is_dir():
        return
    if is_folder and out.is_dir() and any(out.iterdir()):
        raise UsageError(
            f"--out {out} is not empty; allowed: a new or empty folder, or one this command was stopped in"
        )
    if out.exists() and out.is_dir() != is_folder:
        raise UsageError(f"--out {out} is a {'file' if is_folder else 'folder'}; choose another name")
    if not is_folder and out.exists():
        raise UsageError(f"--out {out} is there already; delete it or choose another name")


def each_part(
    work: Path,
    found: Input,
    process: Process,
    plan: Mapping[str, Any],
    *,
    workers: int = 1,
    quiet: bool = False,
) -> Iterator[Any]:
    """The part (plain JSON values) of each chunk in order, made by ``process`` unless it is there already.

    Args:
        work: folder of the parts; whoever has the output deletes it.
        process: a module-level function with what it needs, where there are several workers.
        plan: plain values that decide every part, besides the chunks' own content.
        workers: processes; the parts do not depend on them.

    Raises:
        UsageError: the folder was started with another plan.
        OutputError: no room, no permission, or another command is writing there.
    """
    digest = fingerprint(dict(plan))
    with locked(work):
        _claim(work, digest, found.name)
        remove_partial(work)
        marks = {c.key: fingerprint([digest, c.content, list(c.item_ids)]) for c in found.chunks}
        waiting = [c for c in found.chunks if _part(work, c, marks[c.key]) is None]
        with BuildProgress(len(waiting), sum(c.frames for c in waiting), quiet=quiet) as progress:
            jobs = [Job(c.key, marks[c.key], c.item_ids, c.frames, c) for c in waiting]
            for job, _ in run_jobs(work, jobs, partial(_make, process=process), workers, progress.advance):
                progress.shard_done(job.key)
        for chunk in found.chunks:
            yield _part(work, chunk, marks[chunk.key])


def _make(work: Path, job: Job, advance: Advance, *, process: Process) -> Outcome:
    value = process(job.payload, advance)
    atomic_write(work / f"{job.key}.json", canonical_json({"mark": job.fingerprint, "part": value}))
    return Outcome(())


def _claim(work: Path, digest: str, name: str) -> None:
    path = work / "plan.json"
    if path.is_file():
        if read_json(path).get("plan") != digest:
            raise UsageError(
                f"{work} holds a run that was stopped, of other options or another model; delete it to start anew"
            )
        return
    atomic_write(path, canonical_json({"plan": digest, "source": name}))


def _part(work: Path, chunk: Chunk, mark: str) -> Any:
    path = work / f"{chunk.key}.json"
    if not path.is_file():
        return None
    try:
        found = read_json(path)
    except DamagedInputError:
        return None  # a part that cannot be read is made again
    return found["part"] if isinstance(found, dict) and found.get("mark") == mark else None
