"""Which runner a command takes: local processes, or a Ray cluster. A runner decides where jobs run and nothing else."""

from __future__ import annotations

import functools
from enum import StrEnum
from typing import Annotated

import typer

from thermvision.annotations.errors import UsageError
from thermvision.curation.runners import Job, Runner, run_jobs
from thermvision.generation.engines import ENGINE_PACKAGES
from thermvision.generation.plan import ShardSpec
from thermvision.generation.specs import ClipSpec, StillSpec

GPU_ENGINES = frozenset({"flux", "liveportrait"})


class Where(StrEnum):
    """Where jobs can run."""

    local = "local"
    ray = "ray"


RunnerName = Annotated[
    Where, typer.Option("--runner", help="Where shards are made: processes of this machine, or a Ray cluster.")
]
Address = Annotated[
    str | None,
    typer.Option(
        "--address",
        help="Address of the Ray cluster, such as HOST:6379 or auto; default: $RAY_ADDRESS, or a Ray of this machine.",
    ),
]


def runner_of(name: str = "local", address: str | None = None) -> Runner:
    """The runner called ``name``; results do not depend on which one it is.

    With "ray", the ``workers`` of the runner are the most jobs under way at once; 0 leaves that to the cluster.

    >>> runner_of("local") is run_jobs
    True

    Raises:
        UsageError: there is no such runner, or the local one is given an address.
        MissingDependencyError: Ray is not installed.
    """
    if name not in list(Where):
        raise UsageError(f"--runner is {name!r}; allowed: {', '.join(Where)}")
    if name == Where.local:
        if address:
            raise UsageError(f"--address {address} is for clusters; type --runner ray as well")
        return run_jobs
    from thermvision.generation.ray_runner import load_ray, run_on_ray

    load_ray()
    return functools.partial(run_on_ray, address=address, needs_gpu=needs_gpu, packages_of=packages_of)


def needs_gpu(job: Job) -> bool:
    """Whether an engine of the job's items is one that wants a GPU to itself."""
    return bool(GPU_ENGINES & engines_of(job))


def packages_of(job: Job) -> set[str]:
    """Packages beyond the core's that decide what the job's engines render."""
    return {package for engine in engines_of(job) for package in ENGINE_PACKAGES.get(engine, ())}


def engines_of(job: Job) -> set[str]:
    """Names of the engines that render the job's items, and the stills that they move."""
    items = job.payload.items if isinstance(job.payload, ShardSpec) else ()
    sources = (item.animation.source for item in items if isinstance(item, ClipSpec) and item.animation)
    return {item.engine for item in items} | {s.engine for s in sources if isinstance(s, StillSpec)}
