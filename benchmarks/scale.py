"""What many identities and many machines cost: runners, plans, manifests, frames. Prints tables and writes JSON.

    python benchmarks/scale.py --json scale.json                       # all parts, about ten minutes on two cores
    python benchmarks/scale.py --parts plans --identities 10000

Parts: `nodes` (a Ray cluster of three nodes on this machine, one killed in the middle, against the local runner),
`overhead` (200 jobs of half a second, that sleep and that compute, local and Ray in turn), `memory` (of a driver with
100 and with 2,000 jobs), `costs` (processor seconds and bytes of the engine phantom), `plans` (of the paper's recipe
with more identities), `files` (a manifest of many shards: reading, verifying, resolving by `load_dataset`).
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

for _name in ("NUMBA_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_name, "1")  # before numpy and numba read them
HERE = Path(__file__).parent
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(HERE), os.environ.get("PYTHONPATH")]))  # for Ray's workers

from thermvision.curation.runners import Job, Outcome, run_jobs  # noqa: E402
from thermvision.generation.build import build_release, prepare  # noqa: E402
from thermvision.generation.run import run_shard  # noqa: E402
from thermvision.generation.runners import runner_of  # noqa: E402

ZEROS = "0" * 64
STORE = 80 * 2**20
SMALL = """
name = "Small"
version = "1.0"
seed = 11
[subjects]
female = 6
male = 6
[stills]
size = 64
frontal_pose = 12
[clips]
size = 64
head_pose = 24
expression = 24
[radiometric]
clip_every = 8
[shards]
clips = 1
"""


def idle(root: Path, job: Job, advance: Callable[[int], None]) -> Outcome:
    """Half a second in which the processor is free."""
    time.sleep(job.payload)
    return Outcome(())


def compute(root: Path, job: Job, advance: Callable[[int], None]) -> Outcome:
    """The same number of digests for every job."""
    data = bytes(2**16)
    for _ in range(job.payload):
        data = hashlib.sha256(data).digest() * 2048
    return Outcome(())


def made_jobs(count: int, payload: Any) -> list[Job]:
    return [Job(f"job-{n:05d}", ZEROS, (f"item-{n}",), 1, payload) for n in range(count)]


def timed(run: Any, jobs: list[Job], worker: Any, workers: int) -> float:
    began = time.perf_counter()
    done = sum(1 for _ in run(Path("."), jobs, worker, workers, lambda frames: None))
    assert done == len(jobs)
    return time.perf_counter() - began


def start_ray(cpus: int) -> float:
    """Seconds until a Ray of this machine has answered once from each worker."""
    from thermvision.generation.ray_runner import load_ray

    began = time.perf_counter()
    ray = load_ray()
    ray.init(
        address="local",
        num_cpus=cpus,
        include_dashboard=False,
        log_to_driver=False,
        logging_level="ERROR",
        object_store_memory=STORE,
    )
    timed(runner_of("ray"), made_jobs(4 * cpus, 0.2), idle, 0)
    return time.perf_counter() - began


def overhead(count: int, seconds: float, workers: int, rounds: int, kinds: list[str]) -> dict[str, Any]:
    """Wall seconds beyond what the work itself takes, as a share of it: local and Ray in turn."""
    began = time.process_time()
    compute(Path("."), made_jobs(1, 2000)[0], lambda frames: None)
    digests = int(2000 * seconds / (time.process_time() - began))
    started = start_ray(workers)
    cases: dict[str, tuple[Any, Any]] = {"sleep": (idle, seconds), "compute": (compute, digests)}
    rows: dict[str, Any] = {"jobs": count, "seconds_a_job": seconds, "workers": workers, "ray_start_s": started}
    for name in kinds:
        worker, payload = cases[name]
        walls: dict[str, list[float]] = {"local": [], "ray": []}
        for _ in range(rounds):
            for runner, run in (("local", run_jobs), ("ray", runner_of("ray"))):
                walls[runner].append(timed(run, made_jobs(count, payload), worker, workers if runner == "local" else 0))
        ideal = count * seconds / workers
        rows[name] = {k: {"wall_s": v, "over_ideal": statistics.median(v) / ideal - 1} for k, v in walls.items()}
        rows[name]["ideal_s"] = ideal
        rows[name]["ray_over_local"] = statistics.median(walls["ray"]) / statistics.median(walls["local"]) - 1
        rows[name]["load"] = os.getloadavg()[0]
    import ray

    ray.shutdown()
    return rows


def memory(counts: list[int]) -> list[dict[str, Any]]:
    """Memory of a fresh driver before and after so many jobs, MiB; the jobs themselves are made one by one."""
    rows = []
    for count in counts:
        command = [sys.executable, __file__, "--driver", str(count)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        rows.append({"jobs": count, **json.loads(done.stdout.splitlines()[-1])})
    return rows


def driver(count: int) -> dict[str, float]:
    """What `memory` runs."""
    start_ray(2)
    jobs = made_jobs(count, 0.0)
    before = _resident()
    wall = timed(runner_of("ray"), jobs, idle, 0)
    after = _resident()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"before_mib": before, "after_mib": after, "peak_mib": peak, "wall_s": wall, "jobs_a_second": count / wall}


def _resident() -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    raise AssertionError("no VmRSS")


def nodes(folder: Path) -> dict[str, Any]:
    """The release of three nodes, one of which is killed in the middle, against that of the local runner."""
    from ray.cluster_utils import Cluster

    from thermvision.generation.ray_runner import load_ray

    ray = load_ray()
    prepared = prepare(SMALL)
    build_release(prepared, folder / "local", workers=2, quiet=True)
    options = {"num_cpus": 1, "object_store_memory": STORE}
    cluster = Cluster(initialize_head=True, head_node_args={**options, "include_dashboard": False})
    more = [cluster.add_node(**options) for _ in range(2)]
    cluster.wait_for_nodes()
    ray.init(address=cluster.address, log_to_driver=False, logging_level="ERROR")
    done: list[str] = []

    def breaking(*arguments: Any) -> Iterator[Any]:
        for finished in runner_of("ray")(*arguments):
            yield finished
            done.append(finished[0].key)
            if len(done) == len(prepared.jobs) // 2:
                cluster.remove_node(more[0], allow_graceful=False)

    began = time.perf_counter()
    build_release(prepared, folder / "ray", workers=0, quiet=True, run=breaking)
    wall = time.perf_counter() - began
    left = len([n for n in ray.nodes() if n["Alive"]])
    ray.shutdown()
    cluster.shutdown()
    digests = {name: _digests(folder / name) for name in ("local", "ray")}
    return {
        "jobs": len(prepared.jobs),
        "killed_after": len(prepared.jobs) // 2,
        "nodes_left": left,
        "files": len(digests["local"]),
        "equal": digests["local"] == digests["ray"],
        "wall_s": wall,
    }


def _digests(root: Path) -> dict[str, str]:
    found = (p for p in sorted(root.rglob("*")) if p.is_file())
    return {p.relative_to(root).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in found}


def grown(identities: int) -> str:
    """The paper's recipe with so many identities and as many stills of each category."""
    text = (files("thermvision.generation") / "recipes" / "paper.toml").read_text()
    for name, value in (("female", identities // 2), ("male", identities // 2)):
        text = re.sub(rf"^{name} = \d+", f"{name} = {value}", text, flags=re.MULTILINE)
    for name in ("frontal_pose", "facial_accessories", "mix", "head_poses"):
        text = re.sub(rf"^{name} = \d+", f"{name} = {identities}", text, flags=re.MULTILINE)
    return text.replace("count = 25", f"count = {identities // 2}")


def costs(folder: Path, clips: int) -> dict[str, Any]:
    """Processor seconds and bytes of the paper's clips and stills, everything included but the start of a process."""
    prepared = prepare(grown(50), limit=clips)
    run_shard(folder / "warm", prepare(SMALL, limit=2).jobs[0], lambda frames: None)
    rows: dict[str, dict[str, float]] = {}
    for job in prepared.jobs:
        kind = "clip" if job.payload.config == "video" else "still"
        began = time.process_time()
        outcome = run_shard(folder / "costs", job, lambda frames: None)
        row = rows.setdefault(kind, {"items": 0, "frames": 0, "cpu_s": 0.0})
        row["items"] += len(job.items)
        row["frames"] += job.frames
        row["cpu_s"] += time.process_time() - began
        for shard in outcome.shards:
            key = shard.config if shard.config in ("video", "frames", "radiometric") else "image"
            row[f"{key}_bytes"] = row.get(f"{key}_bytes", 0) + shard.bytes
    clip, still = rows["clip"], rows["still"]
    of_clips = 2 / clip["items"]
    identity = {
        "cpu_s": clip["cpu_s"] * of_clips + still["cpu_s"] / still["items"] * 4.5,
        "bytes": sum(v for k, v in clip.items() if k.endswith("_bytes")) * of_clips
        + sum(v for k, v in still.items() if k.endswith("_bytes")) / still["items"] * 4.5,
    }
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {**rows, "an_identity_of_the_paper": identity, "peak_mib": peak, "load": os.getloadavg()[0]}


def plans(counts: list[int]) -> list[dict[str, Any]]:
    """Seconds and memory of a plan, each in a process of its own."""
    rows = []
    for count in counts:
        command = [sys.executable, __file__, "--plan", str(count)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        rows.append(json.loads(done.stdout.splitlines()[-1]))
    return rows


def one_plan(identities: int) -> dict[str, Any]:
    """What `plans` runs."""
    import pickle

    from thermvision.generation.plan import make_jobs, make_subjects

    prepare(grown(10))
    before = _resident()
    began = time.process_time()
    prepared = prepare(grown(identities))
    whole = time.process_time() - began
    after = _resident()
    began = time.process_time()
    make_subjects(prepared.recipe, list(prepared.engines.values()))
    subjects = time.process_time() - began
    began = time.process_time()
    make_jobs(prepared.plan, prepared.engines, prepared.software)
    return {
        "identities": identities,
        "passed_over": len(prepared.plan.passed_over),
        "jobs": len(prepared.jobs),
        "plan_cpu_s": whole,
        "subjects_cpu_s": subjects,
        "jobs_cpu_s": time.process_time() - began,
        "plan_mib": after - before,
        "bytes_a_job_travels": len(pickle.dumps(prepared.jobs[0])),
    }


def many_files(folder: Path, counts: list[int]) -> list[dict[str, Any]]:
    """A release of so many shards, hard links of one: its manifest, `verify`, and `load_dataset` in a fresh process."""
    from thermvision.curation.release import Manifest, front_matter, manifest_text, read_release, write_release
    from thermvision.curation.verify import verify_release

    prepared = prepare(SMALL, limit=1)
    release = build_release(prepared, folder / "one", quiet=True)
    first = next(s for s in release.shards if s.config == "frames")
    rows = []
    for count in counts:
        root = folder / f"of-{count}"
        paths = [f"data/frames/{first.split}-v1.0-{n:05d}.parquet" for n in range(count)]
        (root / "data" / "frames").mkdir(parents=True)
        for path in paths:
            os.link(folder / "one" / first.path, root / path)
        shutil.copytree(folder / "one" / "recipes", root / "recipes")
        shards = tuple(first.model_copy(update={"path": path}) for path in paths)
        manifest = Manifest.model_validate({**release.model_dump(), "shards": [s.model_dump() for s in shards]})
        write_release(root, manifest)
        row: dict[str, Any] = {"shards": count, "manifest_bytes": len(manifest_text(manifest).encode())}
        for name, work in (("read_s", read_release), ("yaml_s", lambda root, m=manifest: front_matter(m)),
                           ("verify_s", verify_release)):  # fmt: skip
            began = time.perf_counter()
            result = work(root)
            row[name] = time.perf_counter() - began
            assert name != "verify_s" or result == []
        code = (
            "import sys, time, datasets\nbegan = time.perf_counter()\n"
            f"rows = datasets.load_dataset({str(root)!r}, 'frames', split={first.split!r}, streaming=True)\n"
            "ready = time.perf_counter() - began\nnext(iter(rows))\nprint(ready, time.perf_counter() - began)\n"
        )
        environment = {**os.environ, "HF_HOME": str(folder / "cache"), "HF_HUB_OFFLINE": "1"}
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
        row["resolve_s"], row["first_row_s"] = map(float, done.stdout.split())
        rows.append(row)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = ("nodes", "overhead", "memory", "costs", "plans", "files")
    parser.add_argument("--parts", nargs="+", choices=names, default=names)
    parser.add_argument("--jobs", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=0.5)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--kinds", nargs="+", choices=("sleep", "compute"), default=["sleep", "compute"])
    parser.add_argument("--identities", type=int, nargs="+", default=[100, 1000, 3000])
    parser.add_argument("--shards", type=int, nargs="+", default=[300, 3000])
    parser.add_argument("--clips", type=int, default=4, help="clips of the paper to render for their costs")
    parser.add_argument("--json", type=Path, help="written after each part; other parts that it holds stay")
    parser.add_argument("--driver", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--plan", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.driver:
        print(json.dumps(driver(options.driver)))
        return
    if options.plan:
        print(json.dumps(one_plan(options.plan)))
        return
    found = json.loads(options.json.read_text()) if options.json and options.json.is_file() else {}
    for part in options.parts:
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary)
            found[part] = {
                "nodes": lambda folder=folder: nodes(folder),
                "overhead": lambda: overhead(
                    options.jobs, options.seconds, options.workers, options.rounds, options.kinds
                ),
                "memory": lambda: memory([100, 2000]),
                "costs": lambda folder=folder: costs(folder, options.clips),
                "plans": lambda: plans(options.identities),
                "files": lambda folder=folder: many_files(folder, options.shards),
            }[part]()
        print(part, json.dumps(found[part], indent=1), flush=True)
        if options.json:
            options.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    from scale import main as start  # workers find functions by the module's name, and `__main__` is another one there

    start()
