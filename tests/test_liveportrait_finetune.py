"""Fine-tuning of narrow networks: held-out errors fall, nothing else changes, and it goes on from its own output."""

from __future__ import annotations

import dataclasses
import json
import shlex
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import thermvision_db
from thermvision.annotations.errors import DamagedInputError, MissingDependencyError, UsageError
from thermvision.generation.build import build_release, prepare
from thermvision.generation.engines.liveportrait.checkpoint import FILES, read_metadata, read_weights
from thermvision.generation.engines.liveportrait.driving import EYE_POINTS, LIP_POINTS
from thermvision.generation.engines.liveportrait.layers import NARROW
from thermvision.generation.engines.liveportrait.modules import NETWORKS
from thermvision.generation.engines.liveportrait.networks import Networks, load_networks
from thermvision.generation.engines.liveportrait.random_weights import RANDOM_NOTE, random_checkpoint
from thermvision.generation.engines.liveportrait.training import tasks
from thermvision.generation.engines.liveportrait.training.clips import Clips, read_clips
from thermvision.generation.engines.liveportrait.training.finetune import (
    TRAINED_NOTE,
    chosen_modules,
    default_run,
    finetune,
)
from thermvision.generation.engines.liveportrait.training.layers import LAYERS, check_layers, open_layers
from thermvision.generation.engines.liveportrait.training.loop import Curve, Run, Task, train
from thermvision.generation.engines.liveportrait.training.pairs import openness

pytestmark = pytest.mark.usefixtures("one_thread")

SIDE = 128  # half of the published input: a quarter of the work
WIDTHS = dataclasses.replace(NARROW, motion=(16, 32, 64, 128), eye=(32, 32, 32, 32, 32), lip=(32, 32, 32))
RECIPE = """
name = "Turning"
version = "1.0"
seed = 7
[subjects]
female = 3
male = 2
[clips]
size = 64
fps = 2
head_pose = 8
expression = 6
"""


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("checkpoints")
    random_checkpoint(folder, WIDTHS)
    return folder


@pytest.fixture(scope="module")
def ovals(oval_release: Path) -> Clips:
    return read_clips([oval_release], per_clip=4)


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory: pytest.TempPathFactory) -> Clips:
    """Five rendered people, two of them held out, half a second between frames."""
    out = tmp_path_factory.mktemp("turning") / "release"
    build_release(prepare(RECIPE), out, quiet=True)
    return read_clips([out])


def run(steps: int, size: int = 2, rate: float = 1e-3, seed: int = 0) -> Run:
    return Run(steps, size, rate, seed, "cpu")


def tuned(weights: Path, clips: Clips, out: Path, module: str, layers: str = "", **how: float) -> Curve:
    modules = chosen_modules(module, layers)
    return finetune(weights, clips, out, modules, {module: run(**how)}, side=SIDE)[module]  # type: ignore[arg-type]


def states(folder: Path) -> dict[str, Tensor]:
    networks = load_networks(folder, "cpu")
    return {f"{net}.{key}": value for net in NETWORKS for key, value in getattr(networks, net).state_dict().items()}


def changed(before: Mapping[str, Tensor], after: Mapping[str, Tensor]) -> set[str]:
    assert before.keys() == after.keys()
    return {key for key in before if not torch.equal(before[key], after[key])}


@pytest.mark.slow
def test_the_motion_extractor_learns_poses_and_keypoints(weights: Path, phantoms: Clips, tmp_path: Path) -> None:
    assert len(set(phantoms.person[phantoms.held_out])) == 2
    curve = tuned(weights, phantoms, tmp_path / "out", "motion", steps=120, size=12, rate=3e-3)
    for what, share in (("head pose error, degrees", 0.92), ("guided keypoints error, crop units", 0.97)):
        assert curve.after[what] < share * curve.before[what], (what, curve.before, curve.after)


@pytest.mark.slow
def test_the_decoder_learns_thermal_pictures(weights: Path, phantoms: Clips, tmp_path: Path) -> None:
    curve = tuned(weights, phantoms, tmp_path / "out", "decoder", steps=30, rate=3e-3)
    for what, before in curve.before.items():
        assert curve.after[what] < 0.9 * before, (what, curve.before, curve.after)


@pytest.mark.slow
def test_stitching_and_retargeting_are_learned(weights: Path, phantoms: Clips, tmp_path: Path) -> None:
    curve = tuned(weights, phantoms, tmp_path / "out", "retargeting", steps=300, size=32, rate=3e-3)
    assert len(curve.before) == 6
    for what, before in curve.before.items():
        assert curve.after[what] < 0.2 * before, (what, curve.before, curve.after)


@pytest.mark.parametrize(("net", "points"), [("eye", EYE_POINTS), ("lip", LIP_POINTS)])
def test_eyes_and_lips_go_where_the_asked_ratio_puts_them(
    net: str, points: tuple[int, ...], weights: Path, phantoms: Clips, monkeypatch: pytest.MonkeyPatch
) -> None:
    eyes, lips = (torch.from_numpy(values) for values in openness(phantoms))
    ratios = eyes.mean(1) if net == "eye" else lips

    def telling(*arguments: Any) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """A motion extractor whose keypoints say how far eyes or lips are open."""
        batch, heads = motion_of(*arguments)
        exp = torch.zeros(len(phantoms), 21, 3)
        exp[:, list(points), 1] = -0.5 * ratios[:, None]
        return batch, heads | {"exp": exp.flatten(1)}

    motion_of = tasks.motion_of
    monkeypatch.setattr(tasks, "motion_of", lambda *a, **named: telling(*a, *named.values()))
    networks = load_networks(weights, "cpu")
    task = tasks.make_task(networks, phantoms, "retargeting", net, 64, tasks.Weights(), SIDE)
    torch.manual_seed(0)
    for layer in getattr(networks, net).mlp[::2]:  # seeded checkpoints hardly look at their input
        layer.reset_parameters()
    with torch.no_grad():  # it starts as a network that moves nothing
        for parameter in list(task.parameters.values())[-2:]:
            parameter.zero_()
    curve = train(task, run(800, rate=5e-3), torch.device("cpu"))
    reached = f"{net}: from where asked, crop units"
    assert curve.before[reached] > 0.003
    assert curve.after[reached] < 0.4 * curve.before[reached]


@pytest.mark.parametrize(
    ("module", "layers", "steps"),
    [
        ("motion", "heads", 2),
        ("motion", "pose", 2),
        ("motion", "last", 2),
        ("decoder", "output", 1),
        ("decoder", "norms", 1),
        ("decoder", "all", 1),
        ("retargeting", "eye", 2),
        ("retargeting", "all", 2),
    ],
)
def test_only_chosen_layers_change(
    module: str, layers: str, steps: int, weights: Path, ovals: Clips, tmp_path: Path
) -> None:
    before = states(weights)
    tuned(weights, ovals, tmp_path / "out", module, layers, steps=steps, size=2)
    parameters = set(open_layers(load_networks(weights, "cpu"), module, layers))
    found = changed(before, states(tmp_path / "out"))
    assert found <= parameters
    # nearly all of them take part: some gradients of random networks are too small for a step
    assert len(found) > 0.7 * len(parameters)
    if layers == "pose":
        assert found == {f"motion.detector.fc_{a}.{k}" for a in ("pitch", "yaw", "roll") for k in ("weight", "bias")}


def test_a_training_goes_on_from_its_own_output(weights: Path, ovals: Clips, tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    began = tuned(weights, ovals, first, "decoder", "output", steps=3)
    went_on = tuned(first, ovals, second, "decoder", "output", steps=1, rate=1e-9)
    # what was written is what was measured, but for the spectral vectors, which come back to the bit
    assert went_on.before == pytest.approx(began.after, rel=1e-5)
    assert changed(states(first), states(second)) <= {key for key in states(first) if key.startswith("spade.")}
    # in place, too
    again = tuned(second, ovals, second, "retargeting", "lip", steps=2)
    assert again.before != again.after
    assert sorted(path.name for path in second.glob("*.curve.json")) == ["decoder.curve.json", "retargeting.curve.json"]


def test_output_has_the_published_layout_and_says_what_it_is(weights: Path, ovals: Clips, tmp_path: Path) -> None:
    out = tmp_path / "out"
    tuned(weights, ovals, out, "retargeting", "stitching", steps=1)
    assert {path.name for path in out.glob("*.safetensors")} == {f"{names[0]}.safetensors" for names in FILES.values()}
    for names in FILES.values():
        name = f"{names[0]}.safetensors"
        assert read_weights(out / name).keys() == read_weights(weights / name).keys()
        assert RANDOM_NOTE in read_metadata(out / name)
        same = (out / name).read_bytes() == (weights / name).read_bytes()
        assert same == (names != FILES["stitching_retargeting"])
    note = json.loads(read_metadata(out / "stitching_retargeting_module.safetensors")[TRAINED_NOTE])
    assert (note["module"], note["layers"], note["run"]["steps"]) == ("retargeting", "stitching", 1)
    assert load_networks(out, "cpu").random
    facts = json.loads((out / "retargeting.curve.json").read_text())
    assert facts["releases"] == ovals.digest
    assert facts["began"] == load_networks(weights, "cpu").digests
    assert facts["written"].items() <= load_networks(out, "cpu").digests.items()
    assert facts["people"] == {"learned": 1, "held_out": 1}
    assert facts["before"].keys() == facts["after"].keys()
    assert facts["points"][-1]["step"] == 1


def test_a_seed_is_a_run(weights: Path, ovals: Clips, tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        tuned(weights, ovals, tmp_path / name, "motion", "heads", steps=2, seed=seed)
    a, b, c = (states(tmp_path / name) for name in "abc")
    assert not changed(a, b)
    assert changed(a, c)


def test_people_who_are_held_out_are_never_drawn(weights: Path, ovals: Clips, tmp_path: Path) -> None:
    blank = dataclasses.replace(
        ovals, frames=[0 * f if out else f for f, out in zip(ovals.frames, ovals.held_out, strict=True)]
    )
    for module, layers in (("motion", "heads"), ("decoder", "output")):
        tuned(weights, ovals, tmp_path / "seen", module, layers, steps=2)
        tuned(weights, blank, tmp_path / "blank", module, layers, steps=2)
        assert not changed(states(tmp_path / "seen"), states(tmp_path / "blank"))


# the loop, the choices and the command -------------------------------------------------------------------------------


def toy(start: float, poison: bool = False) -> tuple[nn.Parameter, Task]:
    weight = nn.Parameter(torch.tensor(start))

    def losses(batch: dict[str, Tensor]) -> dict[str, Tensor]:
        return {"square": weight.square() / (0.0 if poison else 1.0)}

    return weight, Task({"w": weight}, lambda rng: {}, losses, lambda: {"distance": abs(weight.item())})


def test_the_loop_minimises_and_keeps_its_curve() -> None:
    weight, task = toy(1.0)
    kept: list[float] = []
    curve = train(task, run(620, rate=0.01), torch.device("cpu"), keep=lambda: kept.append(weight.item()))
    assert curve.before == {"distance": 1.0}
    assert curve.after["distance"] < 0.01
    assert [point["step"] for point in curve.points] == [*range(50, 601, 50), 620]
    assert len(kept) == 1  # after 500
    losses = [point["square"] for point in curve.points]
    assert losses == sorted(losses, reverse=True)


def test_a_loss_that_is_no_number_stops_it_before_anything_is_written(
    weights: Path, ovals: Clips, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weight, task = toy(0.0, poison=True)
    with pytest.raises(UsageError, match="loss of step 1 is nan; lower --rate"):
        train(task, run(3), torch.device("cpu"))
    assert weight.item() == 0
    from thermvision.generation.engines.liveportrait.training import finetune as module

    monkeypatch.setattr(module, "make_task", lambda *arguments: task)
    before = states(weights)
    with pytest.raises(UsageError, match="lower --rate"):
        tuned(weights, ovals, tmp_path / "out", "motion", steps=3)
    assert not changed(before, states(tmp_path / "out"))


@pytest.mark.parametrize(
    ("field", "value"), [("steps", 0), ("size", 0), ("rate", 0.0), ("rate", float("nan")), ("seed", -1)]
)
def test_a_run_has_limits(field: str, value: float) -> None:
    with pytest.raises(UsageError, match=f"{field} is .*; allowed: "):
        Run(**{"steps": 1, "size": 1, "rate": 1e-3, field: value})  # type: ignore[arg-type]


def test_choices_that_do_not_exist() -> None:
    with pytest.raises(UsageError, match="module is 'face'; allowed: motion, decoder, retargeting, all"):
        chosen_modules("face", "")
    with pytest.raises(UsageError, match="layers of decoder are 'heads'; allowed: spade, output"):
        chosen_modules("decoder", "heads")
    with pytest.raises(UsageError, match="layers of retargeting are 'up'"):
        check_layers("retargeting", "up")
    assert chosen_modules("all", "all") == {"motion": "all", "retargeting": "all", "decoder": "all"}
    assert default_run("motion").steps == 4_000
    assert default_run("motion", 7, 3, "cpu", 0.01, 5) == Run(7, 5, 0.01, 3, "cpu")


@pytest.mark.parametrize("module", LAYERS)
def test_each_choice_opens_something_and_the_default_is_named_first(module: str, weights: Path) -> None:
    networks: Networks = load_networks(weights, "cpu")
    sizes = {layers: len(open_layers(networks, module, layers)) for layers in LAYERS[module]}
    assert all(sizes.values())
    assert sizes["all"] == max(sizes.values())
    opened = sum(p.requires_grad for net in NETWORKS for p in getattr(networks, net).parameters())
    assert opened == sizes[list(LAYERS[module])[-1]]  # the last choice closed all others


def said(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    code = thermvision_db.main([str(a) for a in arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_the_command(weights: Path, oval_release: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "tuned"
    common = ("train", "liveportrait", oval_release, "--out", out, "--device", "cpu")
    asked = ("--weights", weights, "--module", "retargeting", "--layers", "lip", "--steps", 2, "--preprocess", "paper")
    code, printed, told = said(capsys, *common, *asked, "--frames", 3)
    assert code == 0
    assert "retargeting: lip: from where asked, crop units: " in printed
    assert f"next: thermvision animate FACE --driving VIDEO --weights {out} --out clips" in printed
    assert "step 2" in told
    typed = json.loads((out / "retargeting.curve.json").read_text())["command"]
    assert typed == (
        f"thermvision train liveportrait {oval_release.name} --weights {weights.name} --out tuned --module retargeting"
        " --seed 0 --frames 3 --steps 2 --layers lip --preprocess paper"
    )
    code, _, told = said(capsys, *common, "--weights", tmp_path / "none", "--steps", 1)
    assert code == MissingDependencyError.exit_code
    assert "thermal_motion_extractor.safetensors" in told
    code, _, told = said(capsys, *common, "--weights", weights, "--module", "face")
    assert code == UsageError.exit_code
    (tmp_path / "broken").mkdir()
    for path in weights.glob("*.safetensors"):
        (tmp_path / "broken" / path.name).write_bytes(path.read_bytes()[:5000])
    code, _, told = said(capsys, *common, "--weights", tmp_path / "broken")
    assert code == DamagedInputError.exit_code
    assert "half-downloaded" in told


@pytest.mark.slow
def test_the_documented_commands_run(
    weights: Path,
    oval_release: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    text = (Path(__file__).parents[1] / "docs" / "liveportrait_training.md").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if line.startswith("thermvision train liveportrait ")]
    assert len(lines) == 3
    shutil.copytree(oval_release, tmp_path / "rendered")
    shutil.copytree(weights, tmp_path / "LivePortrait" / "checkpoints" / "thermal")
    monkeypatch.chdir(tmp_path)
    quick = ("--steps", "1", "--size", "1", "--frames", "4", "--device", "cpu", "--quiet")
    for line in lines:
        code, printed, _ = said(capsys, *shlex.split(line)[1:], *quick)
        assert code == 0, line
        assert "before" in printed
    assert len(list(Path("tuned").glob("*.curve.json"))) == 3
