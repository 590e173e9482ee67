"""Where jobs run: in this process, or in local worker processes that die with it."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import queue
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from thermvision.annotations.errors import ThermVisionError

from .pack import Shard
from .release import Failed

Advance = Callable[[int], None]


@dataclass(frozen=True)
class Job:
    """Work that ends in one or more shards.

    Attributes:
        key: unique and stable name, also the name of its done marker.
        fingerprint: hex SHA-256 of everything that determines the bytes of its shards.
        items: ids of the items it makes.
        frames: how many frames it makes, for the progress bar.
        payload: what the worker needs; it crosses process borders.
        stage: it begins when all jobs of lower stages are done.
    """

    key: str
    fingerprint: str
    items: tuple[str, ...]
    frames: int
    payload: Any
    stage: int = 0


@dataclass(frozen=True)
class Outcome:
    """Shards a job wrote, and the items it could not make."""

    shards: tuple[Shard, ...]
    failed: tuple[Failed, ...] = ()


# A module-level function; it writes shards below the root, calls `advance` with finished frames, and is idempotent.
Worker = Callable[[Path, Job, Advance], Outcome]

# Decides where jobs run and nothing else: `run_jobs` here, or another of the same signature.
Runner = Callable[[Path, Sequence[Job], Worker, int, Advance], Iterator[tuple[Job, Outcome]]]

_messages: Any = None  # set in each worker process


def run_jobs(
    root: Path, jobs: Sequence[Job], worker: Worker, workers: int, advance: Advance
) -> Iterator[tuple[Job, Outcome]]:
    """Yield each job with its outcome as it finishes. ``workers`` 1 runs them in this process, stage by stage in order.

    Raises:
        ThermVisionError: from a worker, or because a worker process died.
    """
    for stage in sorted({job.stage for job in jobs}):
        yield from _run_stage(root, [job for job in jobs if job.stage == stage], worker, workers, advance)


def _run_stage(
    root: Path, jobs: Sequence[Job], worker: Worker, workers: int, advance: Advance
) -> Iterator[tuple[Job, Outcome]]:
    if workers <= 1 or len(jobs) <= 1:
        for job in jobs:
            yield job, worker(root, job, advance)
        return
    messages = multiprocessing.get_context("spawn").Queue()
    with worker_pool(min(workers, len(jobs)), messages) as pool:
        futures = {pool.submit(_run, worker, root, job): job for job in jobs}
        yield from _collect(futures, messages, advance)


@contextlib.contextmanager
def worker_pool(workers: int, messages: Any = None) -> Iterator[ProcessPoolExecutor]:
    """Worker processes of one thread each, that leave an interrupt to their parent and do not outlive it.

    What is still under way at the end of the block is given up.

    Raises:
        ThermVisionError: a worker process died.
    """
    # one thread a process: parallelism is over jobs
    threads = dict.fromkeys(("NUMBA_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    before = {name: os.environ.get(name) for name in threads}
    os.environ.update(threads)
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_start_worker, initargs=(messages,))
    try:
        yield pool
    except BrokenProcessPool as error:
        raise ThermVisionError(
            "a worker process died (killed, or out of memory); run the same command again with fewer --workers"
        ) from error
    finally:
        for process in list((pool._processes or {}).values()):
            process.terminate()
        pool.shutdown(wait=True, cancel_futures=True)
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.__setitem__(name, value)


def _collect(futures: dict[Future[Outcome], Job], messages: Any, advance: Advance) -> Iterator[tuple[Job, Outcome]]:
    waiting = set(futures)
    while waiting:
        done, waiting = wait(waiting, timeout=0.2, return_when=FIRST_COMPLETED)
        _drain(messages, advance, 0.0)
        for future in done:
            yield futures[future], future.result()
    _drain(messages, advance, 0.1)


def _drain(messages: Any, advance: Advance, timeout: float) -> None:
    with contextlib.suppress(queue.Empty):
        while True:
            advance(messages.get(timeout > 0, timeout or None))


def _start_worker(messages: Any) -> None:
    global _messages
    _messages = messages
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what an interrupt means
    parent = multiprocessing.parent_process()
    assert parent is not None

    def follow() -> None:
        parent.join()
        os._exit(1)  # a killed parent must not leave writers behind

    threading.Thread(target=follow, daemon=True).start()


def _run(worker: Worker, root: Path, job: Job) -> Outcome:
    pending, said = 0, time.monotonic()

    def advance(frames: int) -> None:
        nonlocal pending, said
        pending += frames
        if time.monotonic() - said > 0.2:
            _messages.put(pending)
            pending, said = 0, time.monotonic()

    outcome = worker(root, job, advance)
    if pending:
        _messages.put(pending)
    return outcome
