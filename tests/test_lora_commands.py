"""`thermvision train lora`: recipes, dry runs, exit codes and what is printed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from lora_pictures import draw_pictures

import thermvision_db
from thermvision.annotations.errors import UsageError
from thermvision.generation.engines.flux.adapter_reading import read_adapter
from thermvision.generation.engines.flux.training import commands
from thermvision.generation.flux_tables import LoraTable
from thermvision.generation.recipe import read_recipe

pytestmark = pytest.mark.usefixtures("one_thread")

RECIPE = """
name = "Small"
version = "1.0"
seed = 1
[flux]
weights = "random"
device = "cpu"
[lora]
rank = 2
alpha = 2
steps = 2
loops = 1
[[lora.datasets]]
path = "pictures"
width = 64
height = 64
min_bucket = 64
max_bucket = 128
"""


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    draw_pictures(tmp_path / "pictures")
    path = tmp_path / "small.toml"
    path.write_text(RECIPE)
    return path


def run(*arguments: object) -> int:
    return thermvision_db.main(["train", "lora", *map(str, arguments)])


def test_a_training_and_going_on(recipe: Path, capsys: pytest.CaptureFixture[str]):
    out = recipe.parent / "out"
    assert run(recipe, "--out", out) == 0
    said = capsys.readouterr()
    assert f"next: thermvision generate --lora {out / 'thermal_rank2_bf16-step00002.safetensors'}" in said.out
    assert "--weights random --prompt TEXT" in said.out
    assert "should be kept in float32" not in said.err
    assert "min_snr_gamma = 5.0: flow matching" in said.err
    assert read_adapter(out / "thermal_rank2_bf16-step00002.safetensors").rank == 2
    assert run(recipe, "--out", out) == 2
    assert "--resume" in capsys.readouterr().err
    assert run(recipe, "--out", out, "--resume", "--json", "--quiet") == 0
    assert json.loads(capsys.readouterr().out)["steps"] == 2


def test_a_dry_run_writes_nothing(recipe: Path, capsys: pytest.CaptureFixture[str]):
    out = recipe.parent / "out"
    assert run(recipe, "--out", out, "--dry-run") == 0
    said = capsys.readouterr().out
    assert "3 pictures, 0 more held out; 3 steps an epoch" in said
    assert "without effect: logit_mean" in said
    assert not out.exists()
    assert run(recipe, "--out", out, "--dry-run", "--json") == 0
    assert json.loads(capsys.readouterr().out)["checkpoints"] == [2]


def test_what_to_type_next_keeps_the_options(recipe: Path, capsys: pytest.CaptureFixture[str]):
    given = ["--data", recipe.parent / "pictures", "--weights", "random", "--out", recipe.parent / "out"]
    assert run(recipe, *given, "--dry-run") == 0
    assert f"next: thermvision train lora {recipe} {' '.join(map(str, given))}" in capsys.readouterr().out


def test_weights_are_where_the_recipe_or_the_environment_says(
    recipe: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    out = recipe.parent / "out"
    recipe.write_text(RECIPE.replace('weights = "random"', 'weights = "beside"'))
    assert run(recipe, "--out", out) == 3
    assert f"not complete in {recipe.parent / 'beside'};" in capsys.readouterr().err
    recipe.write_text(RECIPE.replace('weights = "random"', ""))
    monkeypatch.setenv("THERMVISION_FLUX", str(recipe.parent / "elsewhere"))
    assert run(recipe, "--out", out) == 3
    assert f"not complete in {recipe.parent / 'elsewhere'};" in capsys.readouterr().err
    assert run("thermal_lora", "--data", recipe.parent / "pictures", "--out", out) == 3
    assert f"not complete in {recipe.parent / 'elsewhere'};" in capsys.readouterr().err
    monkeypatch.setenv("THERMVISION_FLUX", "random")
    assert run(recipe, "--out", out, "--quiet") == 0


def test_an_out_below_a_file_is_exit_code_6(recipe: Path, capsys: pytest.CaptureFixture[str]):
    assert run(recipe, "--out", recipe / "out", "--quiet") == 6
    assert "a part of its path is a file" in capsys.readouterr().err


def test_an_unreadable_picture_is_exit_code_1(recipe: Path, capsys: pytest.CaptureFixture[str]):
    (recipe.parent / "pictures" / "0.png").write_bytes(b"torn")
    out = recipe.parent / "out"
    assert run(recipe, "--out", out, "--quiet") == 1
    assert "1 pictures could not be used" in capsys.readouterr().err
    assert (out / "thermal_rank2_bf16-step00002.safetensors").is_file()


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["--data", "nowhere"], 2, "no folder"),
        (["--device", "cuda:9"], 2, "cannot be used"),
        (["--weights", "nowhere"], 3, "nowhere"),
    ],
)
def test_what_cannot_be_done(
    recipe: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    code: int,
    told: str,
):
    assert run(recipe, "--out", recipe.parent / "out", *arguments) == code
    assert told in capsys.readouterr().err


def test_packages_that_are_missing(recipe: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.setattr(commands, "find_spec", lambda name: None if name == "peft" else object())
    assert run(recipe, "--out", recipe.parent / "out") == 3
    assert 'needs peft; type: pip install -c constraints.txt -e ".[diffusion]"' in capsys.readouterr().err


def test_the_bundled_recipe_is_the_article():
    table = read_recipe("thermal_lora")[0].lora
    plain = {name: value for name, value in table if name not in ("datasets", "validation")}
    assert plain == {name: value for name, value in LoraTable() if name not in ("datasets", "validation")}
    assert [(d.width, d.height, d.batch, d.bucket_no_upscale) for d in table.datasets] == [
        (512, 512, 1, False), (768, 768, 1, False), (1024, 1024, 1, False),
    ]  # fmt: skip


def test_our_own_recipe_has_no_setting_without_effect():
    from thermvision.generation.engines.flux.training.timesteps import inert

    table = read_recipe("thermal_lora_adamw")[0].lora
    assert (table.optimizer, table.gradient_dtype, table.warmup_steps, table.train_guidance) == (
        "adamw",
        "fp32",
        100,
        1,
    )
    assert {line.split(" ")[0] for line in inert(table)} <= {"logit_mean", "logit_std", "mode_scale"}


def test_a_folder_of_seeds_gives_each_size_its_own(tmp_path: Path):
    for name in ("tufts/train/768", "carl/train/768", "tufts/train/512", "tufts/holdout/512"):
        (tmp_path / name).mkdir(parents=True)
    found = [(d.width, d.path) for d in commands.datasets_of(str(tmp_path), ())]
    assert found == [
        (512, str(tmp_path / "tufts/train/512")), (768, str(tmp_path / "carl/train/768")),
        (768, str(tmp_path / "tufts/train/768")),
    ]  # fmt: skip
    alone = commands.datasets_of(str(tmp_path / "tufts"), commands.datasets_of("x", ())[:1])
    assert [d.path for d in alone] == [str(tmp_path / "tufts/train/512")]
    with pytest.raises(UsageError, match="has pictures of 512, 768 pixels, and the recipe asks for 1024"):
        commands.datasets_of(str(tmp_path), commands.datasets_of("x", ())[2:])
