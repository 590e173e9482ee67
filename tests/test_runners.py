import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from job_workers import note, refuse, vanish

from thermvision.annotations.errors import ThermVisionError, UsageError
from thermvision.curation.runners import Job, run_jobs

JOBS = [Job(f"job-{n}", "0" * 64, (f"item-{n}",), n, n) for n in range(5)]


@pytest.mark.parametrize("workers", [1, 2])
def test_every_job_runs_once_and_its_frames_are_counted(tmp_path, workers):
    counted = []
    done = [job.key for job, _ in run_jobs(tmp_path, JOBS, note, workers, counted.append)]
    assert sorted(done) == [j.key for j in JOBS]
    assert sum(counted) == 10
    pids = {p.read_text() for p in tmp_path.iterdir()}
    assert (str(os.getpid()) in pids) == (workers == 1)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_workers_error_reaches_the_caller(tmp_path, workers):
    with pytest.raises(UsageError, match=r"job-\d is not allowed"):
        list(run_jobs(tmp_path, JOBS, refuse, workers, lambda n: None))


def test_a_worker_that_dies_is_an_error_and_not_a_hang(tmp_path):
    with pytest.raises(ThermVisionError, match="worker process died"):
        list(run_jobs(tmp_path, JOBS, vanish, 2, lambda n: None))


def test_workers_die_with_a_killed_parent(tmp_path):
    code = f"""
import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})
from pathlib import Path
from job_workers import wait_for_ever
from thermvision.curation.runners import Job, run_jobs
if __name__ == "__main__":
    jobs = [Job(str(n), "0" * 64, (), 0, None) for n in range(2)]
    list(run_jobs(Path({str(tmp_path)!r}), jobs, wait_for_ever, 2, lambda n: None))
"""
    script = tmp_path / "parent.py"
    script.write_text(code)
    parent = subprocess.Popen([sys.executable, str(script)])
    deadline = time.monotonic() + 60
    while len(pids := [int(p.read_text() or 0) for p in tmp_path.glob("*.pid")]) < 2 or 0 in pids:
        assert time.monotonic() < deadline, "the workers did not start"
        assert parent.poll() is None
        time.sleep(0.05)
    parent.kill()
    parent.wait()
    deadline = time.monotonic() + 20
    while any(Path(f"/proc/{pid}").exists() for pid in pids):
        assert time.monotonic() < deadline, "a worker outlived its parent"
        time.sleep(0.05)
