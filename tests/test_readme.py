"""Every block of the README holds: commands and Python run in their order, beside a small release called `release`."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from thermvision.generation.recipe import parse_recipe

from .published_imitation import imitation

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
CI = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
FENCE = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```\s*$", re.MULTILINE | re.DOTALL)
# the two commands do all the set-up: .ci/run runs them to the letter, in fresh environments
BUILD = 'pip install -c constraints.txt -e ".[phantom]" && thermvision build --out release'
TEST = 'pip install -c constraints.txt -e ".[dev]" && pytest'


def blocks(language: str) -> Iterator[tuple[int, str]]:
    """First line number and text of each fenced block in ``language``."""
    for match in FENCE.finditer(README):
        if match[1] == language:
            yield README.count("\n", 0, match.start(2)) + 1, match[2]


def commands() -> list[tuple[int, str]]:
    """Line number and text of every shell command, comments dropped."""
    found = []
    for first, text in blocks("bash"):
        found += [(first + n, re.sub(r"\s+#.*$", "", line)) for n, line in enumerate(text.splitlines()) if line.strip()]
    return found


@pytest.fixture(scope="module")
def workdir(tiny_release: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the small release, and an imitation of the published archives, under the README's names."""
    folder = tmp_path_factory.mktemp("readme")
    shutil.copytree(tiny_release, folder / "release")
    imitation().write_zips(folder / "downloads")
    return folder


@pytest.mark.parametrize("command", [BUILD, TEST])
def test_the_two_commands_are_the_readmes_and_ci_runs_them(command: str) -> None:
    assert command in [text for _, text in commands()]
    assert f"'{command}'\n" in CI


def test_links_lead_somewhere() -> None:
    targets = re.findall(r"\]\((?!https?:)([^)#]+)", README)
    assert "docs/quickstart.jpg" in targets
    assert [t for t in targets if not (ROOT / t).exists()] == []


def test_recipes_are_recipes() -> None:
    recipes = [parse_recipe(text) for _, text in blocks("toml")]
    assert [r.name for r in recipes] == ["My faces"]


@pytest.mark.slow
def test_shell_examples(workdir: Path) -> None:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    others = [(line, command) for line, command in commands() if command not in (BUILD, TEST)]
    assert len(others) >= 7
    if not list((ROOT / "annotations" / "models").glob("detector.onnx")):  # a checkout without models
        others = [(line, command) for line, command in others if "faces.json" not in command]
    for line, command in others:
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
        exec(compile("\n" * (line - 1) + text, "README.md", "exec"), namespace)
