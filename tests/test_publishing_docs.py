"""docs/publishing.md holds: its commands and Python run in their order, against a Hub on this machine.

``THERMVISION_SEQUENCE_RELEASE`` names the release to begin with (`.ci/run`: the quickstart); else a tiny one.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hub import Hub, child_environment

ROOT = Path(__file__).parents[1]
DOC = ROOT / "docs" / "publishing.md"
BLOCK = re.compile(r"^```(bash|python|toml)[^\n]*\n(.*?)^```$", re.MULTILINE | re.DOTALL)
BUILT_BEFORE = "thermvision build --out release"


@pytest.mark.slow
def test_the_sequence_holds(tiny_release: Path, tmp_path: Path) -> None:
    place = tmp_path / "place"
    place.mkdir()
    shutil.copytree(os.environ.get("THERMVISION_SEQUENCE_RELEASE", tiny_release), place / "release")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    text = DOC.read_text(encoding="utf-8")
    seen = []
    with Hub(tmp_path / "hub") as hub:
        environment = {
            **os.environ,
            **child_environment(hub.url, tmp_path / "home"),
            "PATH": path,
            "THERMVISION_KEY_PASSWORD": "a long one",
        }
        for block in BLOCK.finditer(text):
            line = text.count("\n", 0, block.start(2)) + 1
            if block[1] == "toml":
                assert block[2].startswith("# more.toml\n")
                (place / "more.toml").write_text(block[2], encoding="utf-8")
                continue
            if block[2].strip() == BUILT_BEFORE:
                continue
            command = ["bash", "-euo", "pipefail"] if block[1] == "bash" else [sys.executable]
            run = subprocess.run(
                [*command, "-c", block[2]], cwd=place, env=environment, capture_output=True, text=True, check=False
            )
            assert run.returncode == 0, f"publishing.md:{line} ended with {run.returncode}\n{run.stdout}{run.stderr}"
            assert "hf_test" not in run.stdout + run.stderr
            seen.append(block[2])
        assert sum("publish" in block for block in seen) >= 2
        assert sum("load_dataset" in block for block in seen) >= 1
        assert sum("regenerate" in block for block in seen) >= 1
