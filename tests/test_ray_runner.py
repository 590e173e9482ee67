"""The Ray runner on clusters of this machine: the same shards, lost nodes and processes, GPUs, no deadlock."""

import os
import sys
import threading
import time
from pathlib import Path

import pytest
import ray_workers
from conftest import TINY_RECIPE

from thermvision.annotations.errors import MissingDependencyError, RemoteError, ThermVisionError, UsageError
from thermvision.curation.runners import Job, run_jobs
from thermvision.curation.storage import Storage, StoredWorker
from thermvision.generation import ray_runner
from thermvision.generation.runners import GPU_ENGINES, engines_of, needs_gpu, packages_of, runner_of

ray = pytest.importorskip("ray")
ZEROS = "0" * 64
STORE = 80 * 2**20
SMALL = """
name = "Small"
version = "1.0"
seed = 7
[subjects]
female = 2
male = 2
[stills]
size = 64
frontal_pose = 2
mix = 2
head_poses = 2
[clips]
size = 64
head_pose = 2
[radiometric]
clip_every = 2
"""


def jobs(count, seconds=0.0, name="job"):
    return [Job(f"{name}-{n:03d}", ZEROS, (f"item-{n}",), 2, seconds) for n in range(count)]


def run(root, work, worker, workers=0, advance=lambda frames: None, **options):
    return [job.key for job, _ in ray_runner.run_on_ray(root, work, worker, workers, advance, **options)]


@pytest.fixture(scope="module")
def cluster():
    """A head of one CPU and no GPU; tests add nodes and take them away."""
    from ray.cluster_utils import Cluster

    ray_runner.load_ray()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(Path(__file__).parent))  # nodes find the workers by their module's name
        quick = {"health_check_period_ms": 1000, "health_check_failure_threshold": 5}  # a lost node is missed sooner
        head = {"num_cpus": 1, "object_store_memory": STORE, "include_dashboard": False, "_system_config": quick}
        found = Cluster(initialize_head=True, head_node_args=head)
        ray.init(address=found.address, log_to_driver=False, logging_level="ERROR")
        yield found
        ray.shutdown()
        found.shutdown()


@pytest.fixture
def node(cluster):
    """Adds nodes for one test."""
    added = []

    def add(**options):
        added.append(cluster.add_node(object_store_memory=STORE, **options))
        cluster.wait_for_nodes()
        return added[-1]

    yield add
    alive = set(map(id, cluster.worker_nodes))
    for one in added:
        if id(one) in alive:
            cluster.remove_node(one)


def test_every_job_runs_once_and_its_frames_are_counted(cluster, tmp_path):
    counted = []
    done = run(tmp_path, jobs(9), ray_workers.note, advance=counted.append)
    assert sorted(done) == [j.key for j in jobs(9)]
    assert counted == [2] * 9
    pid, gpus, threads = (tmp_path / "job-000").read_text().split("\n")
    assert int(pid) != os.getpid()
    assert (gpus, threads) == ("", "1")


def test_stages_wait_for_each_other(cluster, tmp_path):
    work = [Job(f"job-{n}", ZEROS, (), 1, 0.0, stage=n % 2) for n in range(6)]
    assert [int(key[-1]) % 2 for key in run(tmp_path, work, ray_workers.note)] == [0, 0, 0, 1, 1, 1]


def test_no_more_jobs_are_under_way_than_asked_for(cluster, node, tmp_path):
    node(num_cpus=2)
    run(tmp_path, jobs(6), ray_workers.busy, workers=1)
    assert {p.read_text() for p in tmp_path.glob("job-00?")} == {"1"}


def test_errors_of_workers_reach_the_caller_as_themselves(cluster, tmp_path, capsys):
    with pytest.raises(UsageError, match=r"^job-\d+ is not allowed$"):
        run(tmp_path, jobs(3), ray_workers.refuse)
    with pytest.raises(ZeroDivisionError, match="job-00"):
        run(tmp_path, jobs(3), ray_workers.stumble)
    assert capsys.readouterr() == ("", "")


@pytest.mark.slow
def test_a_lost_process_is_replaced_and_said_in_one_line(cluster, tmp_path, capsys):
    assert len(run(tmp_path, jobs(2), ray_workers.vanish_once)) == 2
    time.sleep(0.5)
    out, err = capsys.readouterr()
    assert out == ""
    assert all(len(line) < 220 and line.startswith("ray: ") for line in err.splitlines())
    assert "ray: Task run_here failed; it runs again" in err.splitlines()


def test_a_job_that_always_kills_its_process_is_an_error_and_no_hang(cluster, tmp_path, monkeypatch):
    monkeypatch.setattr(ray_runner, "RETRIES", 1)
    with pytest.raises(ThermVisionError, match="job job-000 was lost 2 times"):
        run(tmp_path, jobs(1), ray_workers.vanish)


def test_a_ray_that_ends_is_not_a_job_that_was_lost(tmp_path, monkeypatch):
    crew = ray_runner._Crew(ray, tmp_path, ray_workers.note, 0, lambda job: False, lambda job: ())
    crew.tasks["a task"] = jobs(1)[0]

    def ended(ref):
        raise ray.exceptions.LocalRayletDiedError

    monkeypatch.setattr(ray, "get", ended)
    with pytest.raises(RemoteError, match="connected to has ended; start it again and run the same command again"):
        crew._collect("a task", None)


@pytest.mark.slow
def test_the_jobs_of_a_killed_node_run_elsewhere(cluster, node, tmp_path):
    lost = node(num_cpus=2)
    work, done = jobs(12, 0.4), []
    for job, _ in ray_runner.run_on_ray(tmp_path, work, ray_workers.note, 0, lambda frames: None):
        done.append(job.key)
        if len(done) == 2:
            cluster.remove_node(lost, allow_graceful=False)
    assert sorted(done) == [job.key for job in work]


@pytest.mark.slow
def test_actors_with_gpus_take_no_cpu_and_no_job_starves(cluster, node, tmp_path):
    node(num_cpus=0, num_gpus=2)
    work = [*jobs(6, 0.05, "gpu"), *jobs(6, 0.05, "cpu")]
    done = run(tmp_path, work, ray_workers.note, needs_gpu=lambda job: job.key.startswith("gpu"))
    assert sorted(done) == sorted(job.key for job in work)
    seen = {name: {p.read_text().split("\n")[1] for p in tmp_path.glob(f"{name}-*")} for name in ("gpu", "cpu")}
    assert seen["gpu"] <= {"0", "1"}
    assert seen["cpu"] == {""}
    assert len({p.read_text().split("\n")[0] for p in tmp_path.glob("gpu-*")}) <= 2  # networks stay loaded


@pytest.mark.slow
def test_gpu_jobs_go_on_when_others_hold_every_cpu(cluster, node, tmp_path, capsys):
    @ray.remote(num_cpus=1)
    class Holder:
        def ready(self):
            return True

    node(num_cpus=0, num_gpus=1)
    holder = Holder.remote()
    ray.get(holder.ready.remote())
    release = threading.Timer(3.0, lambda: ray.kill(holder))
    release.start()
    work = [*jobs(2, 0.0, "gpu"), *jobs(2, 0.0, "cpu")]
    done = run(tmp_path, work, ray_workers.note, needs_gpu=lambda job: job.key.startswith("gpu"))
    release.join()
    assert sorted(done[:2]) == ["gpu-000", "gpu-001"]  # while no CPU is free
    assert sorted(done[2:]) == ["cpu-000", "cpu-001"]
    assert "all 1 CPUs of the cluster are reserved by others" in capsys.readouterr().err


@pytest.mark.slow
def test_gpus_that_others_hold_are_told_and_waited_for(cluster, node, tmp_path, capsys):
    @ray.remote(num_gpus=1, num_cpus=0)
    class Holder:
        def ready(self):
            return True

    node(num_cpus=0, num_gpus=1)
    holder = Holder.remote()
    ray.get(holder.ready.remote())
    release = threading.Timer(2.0, lambda: ray.kill(holder))
    release.start()
    assert len(run(tmp_path, jobs(2), ray_workers.note, needs_gpu=lambda job: True)) == 2
    release.join()
    assert "all 1 GPUs of the cluster are reserved by others; jobs wait" in capsys.readouterr().err


@pytest.mark.slow
def test_no_more_gpus_are_held_than_jobs_may_be_under_way(cluster, node, tmp_path):
    node(num_cpus=0, num_gpus=2)
    crew = ray_runner._Crew(ray, tmp_path, ray_workers.note, 1, lambda job: True, lambda job: ())
    held = [len(crew.calls) + len(crew.starting) + len(crew.idle) for _ in crew.run(jobs(4))]
    assert held == [1, 1, 1, 1]


@pytest.mark.slow
def test_a_lost_actor_is_replaced(cluster, node, tmp_path):
    node(num_cpus=0, num_gpus=1)
    assert len(run(tmp_path, jobs(2), ray_workers.vanish_once, needs_gpu=lambda job: True)) == 2


@pytest.mark.slow
def test_a_cluster_that_lost_its_last_gpu_says_so(cluster, node, tmp_path, monkeypatch):
    monkeypatch.setattr(ray_runner, "GPU_PATIENCE_SECONDS", 0.5)
    monkeypatch.setattr(ray_runner, "RESOURCES_SECONDS", 0.2)
    lost, done = node(num_cpus=0, num_gpus=1), []
    found = ray_runner.run_on_ray(
        tmp_path,
        [*jobs(1), *jobs(2, 30.0, "long")],
        ray_workers.note,
        0,
        lambda frames: None,
        needs_gpu=lambda job: True,
    )
    done.append(next(found)[0].key)
    cluster.remove_node(lost, allow_graceful=False)
    with pytest.raises(ThermVisionError, match=r"lost its last GPU and \d jobs want one"):
        done.extend(job.key for job, _ in found)
    assert len(done) == 1


def test_a_node_with_other_packages_is_refused():
    software = ray_runner._versions(frozenset()) | {"numpy": "0.1", "torch": "9.9"}
    with pytest.raises(UsageError, match=r"has numpy [\d.]+ instead of 0\.1, torch [\d.]+ instead of 9\.9; install"):
        ray_runner.run_here(ray_workers.note, Path("x"), False, software, jobs(1)[0])


def test_a_folder_that_nodes_do_not_share_is_refused(cluster, tmp_path, monkeypatch):
    monkeypatch.setattr(ray_runner, "VISIBLE_SECONDS", 0.1)
    with pytest.raises(UsageError, match=r"has no folder .*; allowed: an --out that all nodes share"):
        run(tmp_path / "nowhere", jobs(1), ray_workers.note)
    with pytest.raises(UsageError, match=r"a node wrote data/video/train-v1\.0-00000\.parquet and it is not in"):
        run(tmp_path, jobs(1), ray_workers.boast)


def test_only_the_storage_is_written_to_where_out_is_a_url(cluster, tmp_path):
    storage = Storage(f"file://{tmp_path}/shared")
    worker = StoredWorker(ray_workers.write, storage, ray_workers.marker)
    assert len(run(tmp_path / "only-on-the-driver", jobs(3), worker)) == 3
    assert storage.names("data/video") == [f"train-v1.0-0000{n}.parquet" for n in range(3)]
    assert storage.names("done") == [f"job-00{n}" for n in range(3)]
    assert not (tmp_path / "only-on-the-driver").exists()


def test_what_is_under_way_stops_with_the_caller(cluster, tmp_path):
    found = ray_runner.run_on_ray(tmp_path, jobs(8, 0.3), ray_workers.note, 0, lambda frames: None)
    next(found)
    found.close()
    time.sleep(0.5)
    files = len(list(tmp_path.iterdir()))
    time.sleep(0.7)
    assert len(list(tmp_path.iterdir())) == files < 8


def test_a_cluster_that_does_not_answer(tmp_path, monkeypatch):
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    with pytest.raises(
        RemoteError,
        match=r"no Ray cluster answers at 127\.0\.0\.1:9 .*; start one with: ray start .* RAY_AUTH_MODE=token where",
    ):
        run(tmp_path, jobs(1), ray_workers.note, address="127.0.0.1:9")


def test_runners_by_name(monkeypatch):
    assert runner_of("local") is run_jobs
    assert runner_of("ray", "auto").keywords["address"] == "auto"
    with pytest.raises(UsageError, match="--runner is 'slurm'; allowed: local, ray"):
        runner_of("slurm")
    with pytest.raises(UsageError, match="type --runner ray as well"):
        runner_of("local", "auto")
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingDependencyError, match=r'pip install -c constraints.txt -e "\.\[ray\]"'):
        runner_of("ray")


def test_which_jobs_want_a_gpu_and_which_packages():
    from dataclasses import replace

    from thermvision.generation.build import prepare
    from thermvision.generation.specs import Animation, ClipSpec, InputFile

    job = prepare(TINY_RECIPE).jobs[0]
    assert engines_of(job) == {"phantom"}
    assert not needs_gpu(job)
    assert packages_of(job) == {"anny", "numba"}
    clip = next(i for i in job.payload.items if isinstance(i, ClipSpec))
    still = next(i for j in prepare(TINY_RECIPE).jobs for i in j.payload.items if not isinstance(i, ClipSpec))
    drawn = Animation(replace(still, engine="flux"), InputFile("d.mp4", ZEROS, "d.mp4"))
    moved = replace(job, payload=replace(job.payload, items=(replace(clip, animation=drawn),)))
    assert engines_of(moved) == {"phantom", "flux"}
    assert needs_gpu(moved)
    assert {"phantom", "flux", "liveportrait"} >= GPU_ENGINES


@pytest.mark.slow
def test_a_build_on_three_nodes_of_which_one_dies_is_the_local_build(cluster, node, tmp_path):
    from thermvision.generation.build import build_release, prepare

    nodes = [node(num_cpus=1) for _ in range(2)]
    seen = []

    def breaking(*arguments):
        for finished in runner_of("ray")(*arguments):
            yield finished
            seen.append(finished)
            if len(seen) == 1:
                cluster.remove_node(nodes[0], allow_graceful=False)

    build_release(prepare(SMALL), tmp_path / "local", workers=1, quiet=True)
    build_release(prepare(SMALL), tmp_path / "ray", workers=0, quiet=True, run=breaking)
    assert len(seen) == 6
    found = [
        {p.relative_to(root): p.read_bytes() for p in root.rglob("*") if p.is_file()} for root in tmp_path.iterdir()
    ]
    assert found[0] == found[1]
    assert sum(path.suffix == ".parquet" for path in found[0]) == 18


def test_an_address_without_ray_is_a_usage_error(tmp_path):
    import thermvision_db

    out = str(tmp_path / "release")
    assert thermvision_db.main(["build", "--out", out, "--address", "auto"]) == UsageError.exit_code
    assert not Path(out).exists()
