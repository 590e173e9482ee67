"""Workers for the tests of the Ray runner: a worker is found by its module's name in every process."""

import os
import signal
import time
from pathlib import Path

from thermvision.annotations.errors import UsageError
from thermvision.curation.pack import Shard
from thermvision.curation.runners import Job, Outcome


def note(root: Path, job: Job, advance) -> Outcome:
    """Writes which process ran the job, and what it sees of GPUs and threads."""
    seen = [os.environ.get(name, "") for name in ("CUDA_VISIBLE_DEVICES", "NUMBA_NUM_THREADS")]
    time.sleep(job.payload or 0)
    (root / job.key).write_text("\n".join([str(os.getpid()), *seen]))
    return Outcome(())


def refuse(root: Path, job: Job, advance) -> Outcome:
    raise UsageError(f"{job.key} is not allowed")


def stumble(root: Path, job: Job, advance) -> Outcome:
    raise ZeroDivisionError(job.key)


def vanish(root: Path, job: Job, advance) -> Outcome:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("unreachable")


def vanish_once(root: Path, job: Job, advance) -> Outcome:
    """Its process dies at the first try of each job."""
    tried = root / f"{job.key}.tried"
    if not tried.exists():
        tried.write_text("")
        os.kill(os.getpid(), signal.SIGKILL)
    return note(root, job, advance)


def busy(root: Path, job: Job, advance) -> Outcome:
    """Says how many jobs are at work at once."""
    mark = root / f"{job.key}.busy"
    mark.write_text("")
    (root / job.key).write_text(str(len(list(root.glob("*.busy")))))
    time.sleep(0.2)
    mark.unlink()
    return Outcome(())


PATHS = "data/video/train-v1.0-{:05d}.parquet"


def boast(root: Path, job: Job, advance) -> Outcome:
    """Says that it wrote a shard."""
    return Outcome((shard(PATHS.format(0)),))


def write(root: Path, job: Job, advance) -> Outcome:
    """Writes something where a shard should be."""
    path = PATHS.format(int(job.key[-3:]))
    (root / path).parent.mkdir(parents=True)
    (root / path).write_text(job.key)
    return Outcome((shard(path),))


def marker(job: Job, outcome: Outcome) -> tuple[str, bytes]:
    return f"done/{job.key}", b"{}"


def shard(path: str) -> Shard:
    zeros = "0" * 64
    return Shard(
        path=path, config="video", split="train", rows=1, bytes=7, num_bytes=1, sha256=zeros, fingerprint=zeros
    )
