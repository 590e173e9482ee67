"""Driving LivePortrait's keypoints: all golden modes, and what must hold for any motion."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import golden_liveportrait as golden
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from thermvision.annotations.errors import DamagedInputError, UsageError
from thermvision.generation.engines.liveportrait.driving import (
    EYE_POINTS,
    LIP_POINTS,
    Anchor,
    DrivingOptions,
    Retarget,
    Stitch,
    best_anchor,
    driving_keypoints,
    motion_multiplier,
    neutral_mouth,
    retarget_still,
)
from thermvision.generation.engines.liveportrait.keypoints import MotionInfo, rotation_matrix, transform_keypoints
from thermvision.generation.engines.liveportrait.ratios import eye_close_ratio, lip_close_ratio
from thermvision.generation.engines.liveportrait.template import MotionTemplate, read_template
from thermvision.generation.motion_template import head_poses, template_rotations

TOLERANCE = 2e-5
MODES = golden.facts()["modes"]
OPTIONS = {
    "relative": "flag_relative_motion",
    "region": "animation_region",
    "option": "driving_option",
    "multiplier": "driving_multiplier",
    "stitching": "flag_stitching",
    "eye_retargeting": "flag_eye_retargeting",
    "lip_retargeting": "flag_lip_retargeting",
    "normalize_lip": "flag_normalize_lip",
    "lip_normalize_threshold": "lip_normalize_threshold",
}
RATIOS = (np.array([0.3, 0.4]), 0.1)


def golden_source() -> MotionInfo:
    stored = golden.arrays()
    return MotionInfo(**{k.split("/")[2]: torch.tensor(v) for k, v in stored.items() if k.startswith("pipe/source/")})


def golden_template(path: Path, kind: str) -> MotionTemplate:
    """The stored driver, by way of a file as LivePortrait writes it."""
    start = f"pipe/template/{'video' if kind == 'old' else kind}/"
    columns = {k.removeprefix(start): v for k, v in golden.arrays().items() if k.startswith(start)}
    names = ("scale", "R", "exp", "t") if kind == "old" else ("scale", "R", "exp", "t", "kp", "x_s")
    prefix = "c_d_" if kind == "old" else "c_"
    rename = {"R": "R_d"} if kind == "old" else {}
    count = len(columns["R"])
    stored = {
        "n_frames": count,
        "output_fps": 25,
        "motion": [{rename.get(name, name): columns[name][i] for name in names} for i in range(count)],
        f"{prefix}eyes_lst": list(columns["c_eyes_lst"]),
        f"{prefix}lip_lst": list(columns["c_lip_lst"]),
    }
    path.write_bytes(pickle.dumps(stored))
    return read_template(path)


def golden_networks() -> tuple[Stitch, Retarget, Retarget]:
    weights = golden.state_dict("stitch_retarget", golden.read_keys()["stitch_retarget"])

    def run(name: str, *parts: Tensor) -> Tensor:
        layers = sorted({int(key.split(".")[2]) for key in weights if key.startswith(f"{name}.")})
        x = torch.cat([part.flatten(1) for part in parts], 1)
        for layer in layers:
            x = functional.linear(x, weights[f"{name}.mlp.{layer}.weight"], weights[f"{name}.mlp.{layer}.bias"])
            x = x if layer == layers[-1] else x.relu()
        return x

    def stitch(source: Tensor, driving: Tensor) -> Tensor:
        out = run("retarget_shoulder_module", source, driving)
        return driving + out[:, :63].reshape(-1, 21, 3) + functional.pad(out[:, None, 63:], (0, 1))

    def retarget(name: str) -> Retarget:
        return lambda source, ratios: run(name, source, ratios).reshape(-1, 21, 3)

    return stitch, retarget("retarget_eye_module"), retarget("retarget_mouth_module")


def test_all_modes_are_there() -> None:
    assert len(MODES) == 57
    assert {m["template"] for m in MODES.values()} == {"video", "image", "old"}


@pytest.mark.parametrize("name", MODES)
def test_golden_modes(name: str, tmp_path: Path) -> None:
    mode = MODES[name]
    landmarks = golden.arrays()["pipe/source_lmk"]
    keypoints = driving_keypoints(
        golden_source(),
        (eye_close_ratio(landmarks)[0], float(lip_close_ratio(landmarks)[0, 0])),
        golden_template(tmp_path / "driver.pkl", mode["template"]),
        DrivingOptions(**{ours: mode["options"][theirs] for ours, theirs in OPTIONS.items()}),
        *golden_networks(),
    )
    want = golden.arrays()[f"pipe/out/{name}"]
    assert keypoints.shape == want.shape
    assert golden.relative_error(want, keypoints) < TOLERANCE


def test_the_neutral_mouth_is_the_published_one() -> None:
    np.testing.assert_allclose(neutral_mouth(), golden.arrays()["lip_array"], rtol=1e-6)


def unused(*_: Tensor) -> Tensor:
    raise AssertionError("a network was called that nothing asks for")


def a_source(seed: int = 0) -> MotionInfo:
    draw = np.random.default_rng(seed)

    def tensor(*shape: int, size: float) -> Tensor:
        return torch.tensor(draw.normal(0, size, shape), dtype=torch.float32)

    angles = (tensor(1, 1, size=5.0) for _ in range(3))
    return MotionInfo(
        tensor(1, 21, 3, size=0.3), tensor(1, 21, 3, size=0.03), torch.tensor([[1.4]]), tensor(1, 3, size=0.1), *angles
    )


def a_template(count: int, seed: int = 1, **more: Any) -> MotionTemplate:
    draw = np.random.default_rng(seed)
    values: dict[str, Any] = {
        "fps": 30.0,
        "scale": draw.uniform(1, 1.7, (count, 1)),
        "R": template_rotations(draw.normal(0, 10, (count, 3))),
        "exp": draw.normal(0, 0.03, (count, 21, 3)),
        "t": draw.normal(0, 0.1, (count, 3)),
        "kp": draw.normal(0, 0.3, (count, 21, 3)),
        "eyes": draw.uniform(0, 0.5, (count, 2)),
        "lips": draw.uniform(0, 0.5, (count, 1)),
    }
    return MotionTemplate(**(values | more))


def drive(template: MotionTemplate, source: MotionInfo | None = None, **options: Any) -> Tensor:
    wanted = DrivingOptions(**({"stitching": False} | options))
    return driving_keypoints(source or a_source(), RATIOS, template, wanted, unused, unused, unused)


@settings(deadline=None, max_examples=40)
@given(
    seed=st.integers(0, 50),
    count=st.integers(2, 5),
    region=st.sampled_from(["all", "exp", "pose", "lip", "eyes"]),
    data=st.data(),
)
def test_relative_motion_starts_at_the_source(seed: int, count: int, region: str, data: st.DataObject) -> None:
    source, template = a_source(seed), a_template(count, seed)
    anchor = data.draw(st.integers(0, count - 1))
    still = transform_keypoints(source)[0]
    moved = drive(template, source, region=region, anchor=anchor)
    torch.testing.assert_close(moved[anchor], still, atol=1e-6, rtol=0)
    plain = drive(template, source, region=region, anchor=anchor, option="pose-friendly")
    torch.testing.assert_close(plain[anchor], still, atol=1e-5, rtol=0)
    if region in ("lip", "eyes"):
        rest = [k for k in range(21) if k not in (LIP_POINTS if region == "lip" else EYE_POINTS)]
        torch.testing.assert_close(plain[:, rest], still[rest].expand(count, -1, -1), atol=1e-6, rtol=0)
        assert (plain[anchor - 1] - still).abs().max() > 1e-4


@settings(deadline=None, max_examples=20)
@given(relative=st.booleans(), region=st.sampled_from(["all", "exp", "pose", "lip", "eyes"]), count=st.integers(2, 6))
def test_frames_do_not_see_each_other(relative: bool, region: str, count: int) -> None:
    template = a_template(count)
    moved = drive(template, relative=relative, region=region)
    for k in range(1, count):
        # the anchor and one frame more
        pair = {name: getattr(template, name)[[0, k]] for name in ("scale", "R", "exp", "t", "kp", "eyes", "lips")}
        alone = drive(replace(template, **pair), relative=relative, region=region)
        torch.testing.assert_close(alone[1], moved[k], atol=1e-6, rtol=0)


def test_another_anchor_is_as_if_it_came_first() -> None:
    template = a_template(4)
    order = [2, 0, 1, 3]
    names = ("scale", "R", "exp", "t", "kp", "eyes", "lips")
    first = replace(template, **{name: getattr(template, name)[order] for name in names})
    torch.testing.assert_close(drive(template, anchor=2)[order], drive(first))
    # absolute motion has no anchor
    torch.testing.assert_close(drive(template, anchor=2, relative=False), drive(template, relative=False))


def test_absolute_pose_is_the_drivers() -> None:
    source, template = a_source(), a_template(3)
    moved = drive(template, source, relative=False, region="pose").numpy()
    want = source.scale.numpy() * (source.kp.numpy() @ template.R + source.exp.numpy())
    want[..., :2] += template.t[:, None, :2]
    np.testing.assert_allclose(moved, want, atol=1e-6)


@pytest.mark.parametrize("factor", [0.0, 0.5, 2.0])
def test_the_multiplier_is_of_the_whole_motion(factor: float) -> None:
    still, template = transform_keypoints(a_source()), a_template(3)
    moved = drive(template, relative=False, multiplier=factor)
    torch.testing.assert_close(moved - still, factor * (drive(template, relative=False) - still), atol=1e-6, rtol=1e-5)


def test_networks_get_what_they_were_trained_on() -> None:
    source, template = a_source(), a_template(3)
    still = transform_keypoints(source)
    calls: dict[str, tuple[Tensor, Tensor]] = {}

    def note(name: str, result: Tensor) -> Retarget:
        def called(keypoints: Tensor, other: Tensor) -> Tensor:
            calls[name] = (keypoints, other)
            return other + 100 if name == "stitch" else result

        return called

    options = DrivingOptions(eye_retargeting=True, lip_retargeting=True)
    moved = driving_keypoints(
        source,
        RATIOS,
        template,
        options,
        note("stitch", still),
        note("eye", torch.full((3, 21, 3), 1.0)),
        note("lip", torch.full((3, 21, 3), 10.0)),
    )
    torch.testing.assert_close(moved, (still + 111).expand(3, -1, -1))
    assert template.eyes is not None
    assert template.lips is not None
    np.testing.assert_allclose(calls["eye"][1], [[0.3, 0.4, left] for left in template.eyes[:, 0]], rtol=1e-6)
    np.testing.assert_allclose(calls["lip"][1], [[0.1, lip] for lip in template.lips[:, 0]], rtol=1e-6)
    for keypoints, _ in calls.values():
        torch.testing.assert_close(keypoints, still.expand(3, -1, -1))
    options = DrivingOptions(normalize_lip=True, stitching=False, relative=True)
    moved = driving_keypoints(source, RATIOS, template, options, unused, unused, note("onset", torch.ones(1, 21, 3)))
    torch.testing.assert_close(moved, drive(template, source) + 1)
    np.testing.assert_allclose(calls["onset"][1], [[0.1, 0]], rtol=1e-6)
    shut = replace(options, lip_normalize_threshold=0.2)
    torch.testing.assert_close(
        driving_keypoints(source, RATIOS, template, shut, unused, unused, unused), drive(template, source)
    )


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"region": "nose"}, "region is 'nose'; allowed: all, exp, pose, lip, eyes"),
        ({"option": "friendly"}, "allowed: expression-friendly, pose-friendly"),
        ({"multiplier": -1}, r"allowed: 0\.\.10"),
        ({"multiplier": float("nan")}, r"allowed: 0\.\.10"),
        ({"lip_normalize_threshold": float("nan")}, "allowed: 0 or more"),
        ({"anchor": -1}, "allowed: 0 or more"),
        ({"anchor": 3}, r"anchor frame is 3; allowed: 0\.\.2"),
        ({"eye_retargeting": True, "relative": False}, "does not tell how far eyes are open"),
        ({"lip_retargeting": True}, "does not tell how far lips are open.*leave out lip retargeting"),
    ],
)
def test_options_that_do_not_exist_are_told(options: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        drive(a_template(3, eyes=None, lips=None), **options)


def test_a_source_without_landmarks_cannot_be_retargeted() -> None:
    template = a_template(2)
    for wanted, part in (("eye_retargeting", "eyes"), ("lip_retargeting", "lips"), ("normalize_lip", "lips")):
        options = DrivingOptions(**{wanted: True})  # type: ignore[arg-type]
        with pytest.raises(UsageError, match=f"how far the source's {part} are open"):
            driving_keypoints(a_source(), None, template, options, lambda _, d: d, unused, unused)
    two = MotionInfo(*(torch.cat([part, part]) for part in vars(a_source()).values()))
    with pytest.raises(UsageError, match="has 2 faces"):
        drive(template, two)


def test_keypoints_that_are_no_numbers_or_flat_are_told() -> None:
    source, template = a_source(), a_template(2)
    with pytest.raises(DamagedInputError, match="no numbers"):
        drive(template, replace(source, kp=source.kp * torch.nan))
    with pytest.raises(DamagedInputError, match="no numbers"):
        drive(template, replace(source, kp=source.kp * torch.nan), option="pose-friendly")
    level = dict.fromkeys(("pitch", "yaw", "roll"), torch.zeros(1, 1))
    flat = replace(source, kp=source.kp * torch.tensor([1.0, 1.0, 0.0]), exp=source.exp * 0, **level)
    with pytest.raises(DamagedInputError, match=r"in a plane.*pose-friendly"):
        drive(template, flat)
    assert drive(template, flat, option="pose-friendly").shape == (2, 21, 3)


def test_heads_are_compared_by_the_square_root_of_volumes() -> None:
    head = transform_keypoints(a_source())
    assert motion_multiplier(head * 2, head) == pytest.approx(8**0.5, rel=1e-5)


def test_the_anchor_is_the_most_neutral_frame() -> None:
    poses = np.array([[25.0, 0, 0], [0, 0, 0], [1, 0, 0], [0, -12, 0], [0, 0, 0]])
    lips = np.array([[0.3], [0.5], [0.05], [0.0], [0.01]])
    eyes = np.tile([[0.3, 0.3]], (5, 1))
    eyes[4] = 0.05  # a blink
    template = a_template(5, R=template_rotations(poses), lips=lips, eyes=eyes)
    best = best_anchor(template)
    assert (best.index, round(best.yaw, 4), round(best.mouth, 4)) == (2, 25, 0.3)
    assert not best_anchor(template).neutral
    assert best_anchor(replace(template, eyes=None)).index == 4
    neutral = a_template(1, R=np.eye(3)[None], lips=np.zeros((1, 1)))
    assert best_anchor(neutral) == Anchor(0, 0, 0)
    assert best_anchor(neutral).neutral
    # lips by the expression when nothing tells them
    exp = np.zeros((2, 21, 3))
    exp[0, 19, 1], exp[0, 20, 1] = 0.05, -0.05
    guessed = a_template(2, R=np.tile(np.eye(3), (2, 1, 1)), exp=exp, lips=None, eyes=None)
    assert best_anchor(guessed).index == 1
    assert best_anchor(guessed).mouth == pytest.approx(0.676, abs=1e-4)


@settings(deadline=None, max_examples=30)
@given(yaw=st.floats(-40, 40), pitch=st.floats(-30, 30), roll=st.floats(-30, 30), seed=st.integers(0, 9))
def test_a_still_turns_by_the_angles_of_our_annotations(yaw: float, pitch: float, roll: float, seed: int) -> None:
    source = a_source(seed)
    moved = retarget_still(
        source, None, unused, unused, unused, yaw=yaw, pitch=pitch, roll=roll, expression=0, stitching=False
    )
    # without an expression the rotation can be read from the keypoints
    turned = (moved[0].double() - functional.pad(source.t[:, :2], (0, 1))) / source.scale
    rotation = torch.linalg.lstsq(source.kp[0].double(), turned).solution.numpy()
    before = head_poses(rotation_matrix(source.pitch, source.yaw, source.roll)[0].numpy())
    np.testing.assert_allclose(head_poses(rotation) - before, [yaw, pitch, roll], atol=1e-3)


def test_a_still_changes_as_it_is_told() -> None:
    source = a_source()
    still = transform_keypoints(source)
    assert torch.equal(retarget_still(source, None, unused, unused, unused, stitching=False), still)
    seen = []

    def offset(keypoints: Tensor, ratios: Tensor) -> Tensor:
        seen.append(ratios.tolist()[0])
        torch.testing.assert_close(keypoints, still)
        return torch.ones(1, 21, 3)

    moved = retarget_still(source, RATIOS, lambda s, d: d + 5 + 0 * s, offset, offset, eyes=0.0, lips=0.5)
    torch.testing.assert_close(moved, still + 7)
    np.testing.assert_allclose(seen[0], [0.3, 0.4, 0.0], rtol=1e-6)
    np.testing.assert_allclose(seen[1], [0.1, 0.5], rtol=1e-6)
    double = retarget_still(source, None, unused, unused, unused, expression=2, stitching=False)
    torch.testing.assert_close(double, still + source.scale * source.exp)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"eyes": 1.5}, r"eyes is 1\.5; allowed: 0\.\.1"),
        ({"lips": -0.1}, r"lips is -0\.1"),
        ({"yaw": float("nan")}, r"yaw is nan; allowed: -90\.\.90"),
        ({"pitch": 61}, r"allowed: -60\.\.60"),
        ({"expression": -1}, r"allowed: 0\.\.10"),
        ({"eyes": 0.3}, "source's eyes"),
        ({"lips": 0.3}, "source's lips"),
    ],
)
def test_a_still_cannot_be_changed_beyond_its_limits(values: dict[str, float], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        retarget_still(a_source(), None, unused, unused, unused, **values)  # type: ignore[arg-type]
