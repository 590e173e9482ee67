"""Workers for `test_runners`: a worker is found by its module's name in every process."""

import os
import signal
import time
from pathlib import Path

from thermvision.annotations.errors import UsageError
from thermvision.curation.runners import Job, Outcome


def wait_for_ever(root: Path, job: Job, advance) -> Outcome:
    (root / f"{job.key}.pid").write_text(str(os.getpid()))
    time.sleep(600)
    return Outcome(())


def note(root: Path, job: Job, advance) -> Outcome:
    """A worker that writes its process id."""
    advance(job.frames)
    (root / job.key).write_text(str(os.getpid()))
    return Outcome(())


def refuse(root: Path, job: Job, advance) -> Outcome:
    raise UsageError(f"{job.key} is not allowed")


def vanish(root: Path, job: Job, advance) -> Outcome:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("unreachable")
