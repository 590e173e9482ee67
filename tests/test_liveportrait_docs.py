"""What README and docs/liveportrait.md tell to type does what they say, with seeded checkpoints and a tiny driver."""

from __future__ import annotations

import re
import shlex
from dataclasses import fields
from pathlib import Path

import pytest
from moving_faces import ovals, write_video

import thermvision_db
from thermvision.generation.engines.liveportrait.driving import DrivingOptions
from thermvision.generation.engines.liveportrait.layers import NARROW
from thermvision.generation.engines.liveportrait.random_weights import random_checkpoint
from thermvision.generation.recipe import parse_recipe
from thermvision.generation.recipe_tables import LivePortraitTable
from thermvision.generation.run import encode_png

ROOT = Path(__file__).parents[1]
DOC = (ROOT / "docs" / "liveportrait.md").read_text(encoding="utf-8")
CHAPTER = (
    (ROOT / "README.md").read_text(encoding="utf-8").split("## With the published checkpoints")[1].split("\n## ")[0]
)
BLOCK = re.compile(r"^```(sh|toml)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def commands(text: str) -> list[list[str]]:
    lines = [line for kind, block in BLOCK.findall(text) if kind == "sh" for line in block.splitlines()]
    return [shlex.split(line, comments=True) for line in lines]


@pytest.mark.slow
@pytest.mark.usefixtures("ovals_are_faces")
@pytest.mark.parametrize("text", [DOC, CHAPTER], ids=["doc", "readme"])
def test_the_commands_run(
    text: str, tmp_path: Path, wave_engine: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.chdir(tmp_path)
    random_checkpoint(tmp_path / "LivePortrait" / "checkpoints" / "thermal", NARROW)
    (tmp_path / "faces").mkdir()
    (tmp_path / "faces" / "ANNA.png").write_bytes(encode_png(ovals(100, 120, (60, 50))))
    write_video(tmp_path / "clip.mkv", [ovals(64, 64, (30, 30), radius=14)]).rename(tmp_path / "talk.mp4")
    for kind, block in BLOCK.findall(text):
        if kind == "toml":
            (tmp_path / "moved.toml").write_text(block)
    typed = commands(text)
    assert typed[0][:2] == ["pip", "install"]
    assert len(typed) >= 5
    for verb, *arguments in typed[1:]:
        assert verb == "thermvision"
        quiet = ["--quiet"] if arguments[0] in ("animate", "build") else []
        more = ["--workers", "1"] if arguments[0] == "build" else []
        assert thermvision_db.main([*arguments, *quiet, *more]) == 0, arguments
        assert "lacking  engine liveportrait" not in capsys.readouterr().out
    assert (tmp_path / "clips" / "ANNA" / "talk.mp4").is_file()


def test_the_recipe_and_the_options_are_the_codes():
    (recipe,) = [parse_recipe(block) for kind, block in BLOCK.findall(DOC) if kind == "toml"]
    assert recipe.name == "Moved faces"
    told = set(
        re.findall(r"`(\w+)(?: = \w+)?`", "".join(row.split("|")[2] for row in re.findall(r"^\| `--.*", DOC, re.M)))
    )
    assert told == set(LivePortraitTable.model_fields)
    assert {f.name for f in fields(DrivingOptions)} <= set(LivePortraitTable.model_fields)
    defaults = LivePortraitTable()
    assert defaults.options == {}
    assert DrivingOptions() == DrivingOptions(
        **defaults.model_dump(include={f.name for f in fields(DrivingOptions)} - {"anchor"})
    )
