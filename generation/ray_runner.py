"""Jobs on a Ray cluster: tasks of one CPU each, and one actor a GPU for the engines that want it to themselves.

Only specs and outcomes travel, never pixels: a worker writes its files and answers with their names. What is under way
at once is bounded by the size of the cluster, so the memory of the driver does not grow with the number of jobs.
"""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import socket
import sys
import tempfile
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from thermvision.annotations.errors import MissingDependencyError, RemoteError, ThermVisionError, UsageError
from thermvision.curation.assembly import software_versions
from thermvision.curation.console import to_stderr
from thermvision.curation.options import default_workers
from thermvision.curation.runners import Advance, Job, Outcome, Worker

RETRIES = 5  # of a job whose node or process was lost; what the job itself raises is never tried again
AHEAD = 2.0  # jobs under way for each CPU, so that none waits for the driver
RESOURCES_SECONDS = 2.0  # between looks at the size of the cluster: nodes join and leave
GPU_PATIENCE_SECONDS = 900.0  # for a GPU to come back when the last one was lost
VISIBLE_SECONDS = 30.0  # until a file that one node wrote is seen by another: network file systems remember what is not
OBJECT_STORE_BYTES = 100 * 2**20  # of a Ray of this machine: specs and outcomes are small
_LONGEST_TEMPORARY = 40  # characters; Ray puts sockets below it, whose paths end at 107
_ONE_THREAD = dict.fromkeys(("NUMBA_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
# of Ray, where the user has not said otherwise
_SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",  # no report to anybody about what runs here
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # no warning about it
    "RAY_DEDUP_LOGS": "0",  # a message is said at once
    "RAY_task_oom_retries": str(RETRIES),  # not for ever
    "RAY_task_events_report_interval_ms": "0",  # no history of every task in the driver's memory
}


def load_ray() -> Any:
    """The module `ray`.

    Raises:
        MissingDependencyError: it is not installed.
    """
    for name, value in _SETTINGS.items():
        os.environ.setdefault(name, value)
    try:
        import ray
    except ImportError as error:
        raise MissingDependencyError(
            f'--runner ray needs Ray, which does not import ({error}); type: pip install -c constraints.txt -e ".[ray]"'
        ) from error
    return ray


def run_on_ray(
    root: Path,
    jobs: Sequence[Job],
    worker: Worker,
    workers: int,
    advance: Advance,
    *,
    address: str | None = None,
    needs_gpu: Callable[[Job], bool] = lambda job: False,
    packages_of: Callable[[Job], Iterable[str]] = lambda job: (),
) -> Iterator[tuple[Job, Outcome]]:
    """`thermvision.curation.runners.run_jobs` on a cluster: yields each job with its outcome as it finishes.

    Args:
        root: a folder that every node sees, unless ``worker`` writes elsewhere (its ``needs_root`` is False then).
        workers: the most jobs under way at once; 0: as many as the cluster has room for.
        address: of the cluster; None: $RAY_ADDRESS, or a Ray of this machine that ends with the jobs. A driver that is
            connected already keeps its connection.
        needs_gpu: whether a job wants a GPU to itself; where the cluster has none, all jobs are tasks.
        packages_of: packages beyond the core's whose version must be the driver's where the job runs.

    Raises:
        ThermVisionError: from a worker, or because nodes were lost again and again.
        RemoteError: no cluster answers at ``address``.
        UsageError: a node has other packages than the driver, or does not see ``root``.
    """
    ray = load_ray()
    with _connected(ray, address, workers), _brief():
        crew = _Crew(ray, root.absolute(), worker, workers, needs_gpu, packages_of)
        for stage in sorted({job.stage for job in jobs}):
            for job, outcome in crew.run([job for job in jobs if job.stage == stage]):
                advance(job.frames)
                yield job, outcome


@contextlib.contextmanager
def _connected(ray: Any, address: str | None, workers: int) -> Iterator[None]:
    if ray.is_initialized():
        yield
        return
    address = address or os.environ.get("RAY_ADDRESS") or "local"
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    temporary = _short_folder() if address == "local" else None
    if temporary:
        options |= {
            "num_cpus": workers or default_workers(),
            "include_dashboard": False,
            "object_store_memory": OBJECT_STORE_BYTES,
            "_temp_dir": temporary,
        }
    try:
        try:
            _knock(address)
            ray.init(address=address, **options)
        except (OSError, RuntimeError, ValueError) as error:
            raise RemoteError(
                f"no Ray cluster answers at {address} ({error}); start one with: ray start --head --port 6379, set"
                " RAY_AUTH_MODE=token where it asks for a token, or leave --address and $RAY_ADDRESS away for a Ray of"
                " this machine"
            ) from error
        try:
            yield
        finally:
            ray.shutdown()
    finally:
        if temporary:
            shutil.rmtree(temporary, ignore_errors=True)


def _knock(address: str) -> None:
    """Raise OSError when nobody listens at HOST:PORT: Ray itself would end this process after a minute."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if colon and port.isdigit():
        socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()


@contextlib.contextmanager
def _brief() -> Iterator[None]:
    """Ray's news of lost workers as one line each on stderr: it prints paragraphs on stdout, which is the result's."""
    from ray._private import worker

    private: Any = worker
    usual = getattr(private, "print_to_stdstream", None)  # should it be gone, Ray prints as it likes

    def say(news: dict[str, Any], ignore_prefix: bool = False) -> None:
        text = " ".join(str(line) for line in news.get("lines", ()))
        again = "; it runs again" if "will be retried" in text else ""
        to_stderr(f"ray: {text.split('. ')[0].strip()[:180]}{again}")

    private.print_to_stdstream = say
    try:
        yield
    finally:
        if usual:
            private.print_to_stdstream = usual


def _short_folder() -> str:
    usual = tempfile.gettempdir()
    return tempfile.mkdtemp(prefix="tvray-", dir=usual if len(usual) <= _LONGEST_TEMPORARY else "/tmp")


class _Crew:
    """What is under way on the cluster: tasks, and the actors that hold a GPU each, busy, idle or starting."""

    def __init__(
        self,
        ray: Any,
        root: Path,
        worker: Worker,
        workers: int,
        needs_gpu: Callable[[Job], bool],
        packages_of: Callable[[Job], Iterable[str]],
    ) -> None:
        self.ray, self.most, self.needs_gpu, self.packages_of = ray, workers, needs_gpu, packages_of
        shared = getattr(worker, "needs_root", True)
        self.root = root if shared else None  # where the driver looks for what the workers say they wrote
        self.arguments = (worker, root, shared)
        self.task = ray.remote(num_cpus=1, max_retries=RETRIES)(run_here)
        # no CPU for an actor: those that hold all CPUs would leave none for the tasks
        self.actor = ray.remote(num_gpus=1, num_cpus=0, max_restarts=0)(GpuWorker)
        self.tasks: dict[Any, Job] = {}
        self.calls: dict[Any, tuple[Job, Any]] = {}  # of busy actors
        self.starting: dict[Any, Any] = {}
        self.idle: list[Any] = []
        self.lost: Counter[str] = Counter()
        self.cpus = self.gpus = 0
        self.looked = self.had_gpu = -float("inf")

    def run(self, jobs: Sequence[Job]) -> Iterator[tuple[Job, Outcome]]:
        """Yield the jobs as they finish; what is still under way when the caller leaves is stopped."""
        self._look()
        drawn = [self.gpus > 0 and self.needs_gpu(job) for job in jobs]
        self._warn_of_a_full_cluster(gpus=self.gpus if any(drawn) else 0)
        for_gpus = deque(job for job, gpu in zip(jobs, drawn, strict=True) if gpu)
        for_cpus = deque(job for job, gpu in zip(jobs, drawn, strict=True) if not gpu)
        try:
            while for_cpus or for_gpus or self.tasks or self.calls:
                self._look()
                self._launch(for_cpus, for_gpus)
                refs = [*self.tasks, *self.calls, *self.starting]
                done, _ = self.ray.wait(refs, num_returns=1, timeout=RESOURCES_SECONDS) if refs else ([], [])
                if not refs:
                    time.sleep(RESOURCES_SECONDS)
                for ref in done:
                    if finished := self._collect(ref, for_gpus):
                        yield finished
        finally:
            self._stop()

    def _look(self) -> None:
        if time.monotonic() - self.looked > RESOURCES_SECONDS:
            resources = self.ray.cluster_resources()
            self.cpus, self.gpus = int(resources.get("CPU", 0)), int(resources.get("GPU", 0))
            self.looked = time.monotonic()

    def _warn_of_a_full_cluster(self, gpus: int) -> None:
        if not self.cpus:
            to_stderr("the cluster has no CPU yet; jobs wait until a node with one joins")
        for name, count in (("CPU", self.cpus), ("GPU", gpus)):
            if count and not self._soon_free(name):
                to_stderr(f"all {count} {name}s of the cluster are reserved by others; jobs wait until one is free")

    def _soon_free(self, name: str) -> bool:
        for patience in (1.0, 0.0):  # seconds, in which jobs that ended just now leave
            if self.ray.available_resources().get(name, 0) >= 1:
                return True
            time.sleep(patience)
        return False

    def _launch(self, for_cpus: deque[Job], for_gpus: deque[Job]) -> None:
        most = self.most or sys.maxsize
        room = max(4, AHEAD * self.cpus)
        while for_cpus and len(self.tasks) < room and self._under_way < most:
            job = for_cpus.popleft()
            self.tasks[self.task.remote(*self._arguments(job))] = job
        while for_gpus and self.idle and self._under_way < most:
            job, actor = for_gpus.popleft(), self.idle.pop()
            self.calls[actor.run.remote(*self._arguments(job))] = (job, actor)
        actors = len(self.calls) + len(self.starting) + len(self.idle)
        for _ in range(min(self.gpus - actors, most - actors, len(for_gpus) - len(self.starting))):
            actor = self.actor.remote()
            self.starting[actor.ready.remote()] = actor
        self._mind_lost_gpus(for_gpus)

    def _arguments(self, job: Job) -> tuple[Any, ...]:
        return (*self.arguments, _versions(frozenset(self.packages_of(job))), job)

    @property
    def _under_way(self) -> int:
        return len(self.tasks) + len(self.calls)

    def _mind_lost_gpus(self, for_gpus: deque[Job]) -> None:
        if self.gpus or self.calls or not for_gpus:
            self.had_gpu = time.monotonic()
        elif time.monotonic() - self.had_gpu > GPU_PATIENCE_SECONDS:
            raise ThermVisionError(
                f"the cluster has lost its last GPU and {len(for_gpus)} jobs want one; add a node with a GPU and run"
                " the same command again (finished shards are kept)"
            )

    def _collect(self, ref: Any, for_gpus: deque[Job]) -> tuple[Job, Outcome] | None:
        errors = self.ray.exceptions
        if actor := self.starting.pop(ref, None):
            with contextlib.suppress(errors.RayActorError):
                self.ray.get(ref)
                self.idle.append(actor)
            return None
        job, actor = self.calls.pop(ref) if ref in self.calls else (self.tasks.pop(ref), None)
        try:
            outcome: Outcome = self.ray.get(ref)
        except errors.RayTaskError as error:
            if isinstance(error.cause, errors.RaySystemError) and "No module named" in str(error.cause):
                raise UsageError(
                    f"a node cannot import what the jobs need ({str(error.cause).splitlines()[0]}); install the same"
                    " environment on every node"
                ) from error
            raise error.cause from (None if isinstance(error.cause, ThermVisionError) else error)
        except errors.RayActorError as error:
            self.lost[job.key] += 1
            if self.lost[job.key] > RETRIES:
                raise _lost(job, error) from error
            for_gpus.appendleft(job)
            return None
        except errors.LocalRayletDiedError as error:
            raise RemoteError(
                "the Ray that this command was connected to has ended; start it again and run the same command again"
                " (finished shards are kept)"
            ) from error
        except errors.RayError as error:
            raise _lost(job, error) from error
        if actor:
            self.idle.append(actor)
        self._look_for(outcome)
        return job, outcome

    def _look_for(self, outcome: Outcome) -> None:
        patient_until = time.monotonic() + VISIBLE_SECONDS
        for shard in outcome.shards:
            while self.root and not (self.root / shard.path).is_file():
                if time.monotonic() < patient_until:
                    time.sleep(0.5)
                    continue
                raise UsageError(
                    f"a node wrote {shard.path} and it is not in {self.root} here; allowed: an --out that all nodes"
                    " share (NFS, or a URL such as s3://BUCKET/NAME)"
                )

    def _stop(self) -> None:
        for ref in self.tasks:
            with contextlib.suppress(Exception):  # it may have ended, or its node with it
                self.ray.cancel(ref, force=True)
        actors = [*(actor for _, actor in self.calls.values()), *self.starting.values(), *self.idle]
        for actor in actors:
            with contextlib.suppress(Exception):
                self.ray.kill(actor)
        self.tasks, self.calls, self.starting, self.idle = {}, {}, {}, []


def _lost(job: Job, error: Exception) -> ThermVisionError:
    why = (str(error) or type(error).__name__).splitlines()[0]
    return ThermVisionError(
        f"job {job.key} was lost {RETRIES + 1} times with its process or node ({why}); see that nodes have memory"
        " enough (about 1.2 GB a CPU) and run the same command again (finished shards are kept)"
    )


@functools.cache
def _versions(packages: frozenset[str]) -> dict[str, str]:
    """Public versions: a package built for GPUs has another local one ("+cu130") and the same sources."""
    found = software_versions("thermvision-db", *packages)
    return {name: version.split("+")[0] for name, version in found.items()}


def run_here(worker: Worker, root: Path, shared: bool, software: dict[str, str], job: Job) -> Outcome:
    """Run a job in this process of a node.

    Raises:
        UsageError: the node has other packages than the driver, whose versions are in the fingerprints; or it does not
            see ``root``, which all nodes must where ``shared``.
    """
    os.environ.update(_ONE_THREAD)  # before numba reads them: parallelism is over jobs
    here = _versions(frozenset(software))
    if other := [n for n in sorted({*here, *software}) if here.get(n) != software.get(n)]:
        listed = ", ".join(f"{n} {here.get(n, 'not installed')} instead of {software.get(n, 'none')}" for n in other)
        raise UsageError(f"node {socket.gethostname()} has {listed}; install the same environment on every node")
    if shared and not root.is_dir():
        raise UsageError(
            f"node {socket.gethostname()} has no folder {root}; allowed: an --out that all nodes share (NFS, or a URL"
            " such as s3://BUCKET/NAME)"
        )
    return worker(root, job, lambda frames: None)


class GpuWorker:
    """An actor with a GPU of its own, in which the networks stay loaded from job to job."""

    def ready(self) -> None:
        """Answers when the actor has its GPU."""

    def run(self, worker: Worker, root: Path, shared: bool, software: dict[str, str], job: Job) -> Outcome:
        """See `run_here`."""
        return run_here(worker, root, shared, software, job)
