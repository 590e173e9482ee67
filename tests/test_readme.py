"""Every command and every Python block of the README runs, in its order, beside a small release called `release`."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from .published_imitation import imitation

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
CI = ROOT / ".ci" / "run"
FENCE = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```\s*$", re.MULTILINE | re.DOTALL)
# set-up, and the tests themselves: run by .ci/run from a fresh clone
SETUP = re.compile(r"(git clone|cd|python3? -m venv|\.|source|pip install|pytest|bash \.ci/run)\b|\. ")


def blocks(language: str) -> Iterator[tuple[int, str]]:
    """First line number and text of each fenced block in ``language``."""
    text = README.read_text(encoding="utf-8")
    for match in FENCE.finditer(text):
        if match[1] == language:
            yield text.count("\n", 0, match.start(2)) + 1, match[2]


def commands() -> list[tuple[int, str]]:
    """Line number and text of every shell command, continued lines joined, comments dropped."""
    found = []
    for first, text in blocks("bash"):
        joined = re.sub(r"\\\n\s*", lambda m: " ", text)
        found += [(first, line.strip()) for line in joined.splitlines() if line.strip() and not line.startswith("#")]
    return [(line, re.sub(r"\s+#.*$", "", command)) for line, command in found]


def run_by_ci(command: str) -> bool:
    """Whether .ci/run runs this build: the same recipe, into a folder of its own."""
    words = re.sub(r"--out \S+", '--out "$RELEASE"', command)
    return words in CI.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def workdir(tiny_release: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the small release, and an imitation of the published archives, under the README's names."""
    folder = tmp_path_factory.mktemp("readme")
    shutil.copytree(tiny_release, folder / "release")
    imitation().write_zips(folder / "downloads")
    return folder


def test_there_is_something_to_run() -> None:
    assert any(command.startswith("thermvision build") for _, command in commands())
    assert list(blocks("python"))


@pytest.mark.slow
def test_shell_examples(workdir: Path) -> None:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    for line, command in commands():
        if SETUP.match(command):
            continue
        if command.startswith("thermvision build"):
            assert run_by_ci(command), f"README.md:{line}: no test and no line of .ci/run runs `{command}`"
            continue
        assert command.startswith("thermvision "), f"README.md:{line}: `{command}` is no command of this project"
        run = subprocess.run(
            ["bash", "-c", command], cwd=workdir, env={**os.environ, "PATH": path}, capture_output=True, text=True
        )
        assert run.returncode == 0, (
            f"README.md:{line}: `{command}` ended with {run.returncode}\n{run.stdout}{run.stderr}"
        )


@pytest.mark.slow
def test_python_blocks(workdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(workdir)
    namespace: dict[str, object] = {"__name__": "readme"}
    for line, text in blocks("python"):
        # leading newlines make tracebacks point at the README's own lines
        exec(compile("\n" * (line - 1) + text, str(README), "exec"), namespace)
