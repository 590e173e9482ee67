"""A build that is killed at any moment and run again ends as one that was not."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest
from conftest import TINY_RECIPE

from thermvision.annotations.errors import UsageError
from thermvision.curation.release import read_release
from thermvision.curation.verify import verify_release

KILLS = 10


def start(folder: Path, workers: int) -> subprocess.Popen:
    """The build as its own process; `communicate` ends it."""
    command = [sys.executable, "-m", "thermvision_db", "build", "tiny.toml", "--out", "killed", "--quiet"]
    return subprocess.Popen(
        [*command, "--workers", str(workers)],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),  # shells let background jobs ignore Ctrl-C
    )


def finish(build: subprocess.Popen) -> int:
    build.communicate(timeout=300)
    return build.returncode


@pytest.mark.slow
def test_sigkill_at_ten_random_moments(tmp_path, tiny_release):
    (tmp_path / "tiny.toml").write_text(TINY_RECIPE)
    out, rng = tmp_path / "killed", random.Random(1)
    began = time.monotonic()
    assert finish(start(tmp_path, 2)) == 0
    whole = time.monotonic() - began
    shutil.rmtree(out)
    kept = []
    for _ in range(KILLS):
        build = start(tmp_path, 2)
        time.sleep(rng.uniform(0.1, 0.95) * whole)
        build.send_signal(signal.SIGKILL)
        finish(build)
        kept.append(len(list(out.rglob("*.done.json"))))
        if not (out / "release.json").exists() and out.exists():
            with pytest.raises(UsageError):  # what is not finished is not taken for a release
                read_release(out)
        if (out / "release.json").exists():  # it got to its end: what is there is whole, and the next kill starts anew
            assert verify_release(out) == []
            shutil.rmtree(out)
    finished = start(tmp_path, 1)
    output, _ = finished.communicate()
    assert finished.returncode == 0, output
    assert (out / "release.json").read_bytes() == (tiny_release / "release.json").read_bytes()
    assert verify_release(out) == []
    assert max(kept) > 0, "no kill fell into the middle of a build"
    left = [p.name for p in out.rglob("*") if p.name.startswith(".")]
    assert left == []


@pytest.mark.slow
def test_ctrl_c_ends_with_130_and_the_same_command_goes_on(tmp_path, tiny_release):
    (tmp_path / "tiny.toml").write_text(TINY_RECIPE)
    build, out = start(tmp_path, 2), tmp_path / "killed"
    while not list(out.rglob("*.done.json")):
        assert build.poll() is None
        time.sleep(0.02)
    os.kill(build.pid, signal.SIGINT)
    output, _ = build.communicate(timeout=60)
    assert build.returncode == 130, output
    assert b"run the same command again" in output
    assert not list(out.rglob("*.partial"))
    assert finish(start(tmp_path, 2)) == 0
    assert (out / "release.json").read_bytes() == (tiny_release / "release.json").read_bytes()
