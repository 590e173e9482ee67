"""Templates of LivePortrait: what is written is read, old and published files too, and nothing else is."""

from __future__ import annotations

import os
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from numpy.typing import NDArray

from thermvision.annotations.errors import DamagedInputError, UsageError
from thermvision.generation.engines.liveportrait.keypoints import MotionInfo, transform_keypoints
from thermvision.generation.engines.liveportrait.template import (
    MotionTemplate,
    read_template,
    smoothed,
    template_of,
    write_template,
)
from thermvision.generation.engines.phantom.motion_file import read_motion
from thermvision.generation.motion_template import template_rotations

ARRAYS = ("scale", "R", "exp", "t", "eyes", "lips", "kp", "x_s")


def some_template(count: int = 5, **more: Any) -> MotionTemplate:
    draw = np.random.default_rng(count)
    poses = draw.normal(0, 8, (count, 3))
    values: dict[str, Any] = {
        "fps": 25.0,
        "scale": draw.uniform(1, 1.7, (count, 1)),
        "R": template_rotations(poses),
        "exp": draw.normal(0, 0.03, (count, 21, 3)),
        "t": draw.normal(0, 0.1, (count, 3)),
        "eyes": draw.uniform(0, 0.5, (count, 2)),
        "lips": draw.uniform(0, 0.5, (count, 1)),
        "kp": draw.normal(0, 0.3, (count, 21, 3)),
        "x_s": draw.normal(0, 0.3, (count, 21, 3)),
    }
    return MotionTemplate(**(values | more))


def assert_equal(a: MotionTemplate, b: MotionTemplate) -> None:
    assert a.fps == b.fps
    for name in ARRAYS:
        one, other = getattr(a, name), getattr(b, name)
        if one is None:
            assert other is None, name
        else:
            assert other.dtype == np.float32
            np.testing.assert_array_equal(one, other, err_msg=name)


def published(template: MotionTemplate, old: bool = False) -> dict[str, Any]:
    """As LivePortrait pickles it; an old file has other names and no keypoints."""
    names = ("scale", "R", "exp", "t") if old else ("scale", "R", "exp", "t", "kp", "x_s")
    rename = {"R": "R_d"} if old else {}
    motion = [{rename.get(k, k): getattr(template, k)[i : i + 1] for k in names} for i in range(len(template))]
    eyes, lips = ("c_d_eyes_lst", "c_d_lip_lst") if old else ("c_eyes_lst", "c_lip_lst")
    assert template.eyes is not None
    assert template.lips is not None
    return {
        "n_frames": len(template),
        "output_fps": int(template.fps),
        "motion": motion,
        eyes: [row[None] for row in template.eyes],
        lips: [row[None] for row in template.lips],
    }


def floats(*shape: int) -> st.SearchStrategy[NDArray[np.float32]]:
    return npst.arrays(np.float32, shape, elements=st.floats(-10, 10, width=32))


@st.composite
def templates(draw: st.DrawFn) -> MotionTemplate:
    count = draw(st.integers(1, 4))
    ratio = st.floats(0, 2, width=32)
    return MotionTemplate(
        fps=draw(st.floats(1, 240)),
        scale=draw(npst.arrays(np.float32, (count, 1), elements=st.floats(0.125, 4, width=32))),
        R=template_rotations(draw(npst.arrays(np.float64, (count, 3), elements=st.floats(-180, 180)))).astype(
            np.float32
        ),
        exp=draw(floats(count, 21, 3)),
        t=draw(floats(count, 3)),
        eyes=draw(st.none() | npst.arrays(np.float32, (count, 2), elements=ratio)),
        lips=draw(st.none() | npst.arrays(np.float32, (count, 1), elements=ratio)),
        kp=draw(st.none() | floats(count, 21, 3)),
        x_s=draw(st.none() | floats(count, 21, 3)),
    )


@settings(deadline=None, max_examples=50)
@given(template=templates())
def test_what_is_written_is_read(template: MotionTemplate, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.getbasetemp() / "round.npz"
    written = write_template(path, template)
    again = read_template(path)
    assert_equal(template, again)
    assert (again.name, again.sha256) == (written.name, written.sha256) == ("round.npz", again.sha256)
    first = path.read_bytes()
    write_template(path, again)
    assert path.read_bytes() == first
    with np.load(path, allow_pickle=False) as stored:
        assert stored["n_frames"] == len(template)


@pytest.mark.parametrize("count", [1, 5])
@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize("protocol", [3, 4, 5])
def test_published_pickles_are_read(tmp_path: Path, count: int, old: bool, protocol: int) -> None:
    template, path = some_template(count), tmp_path / "a.pkl"
    path.write_bytes(pickle.dumps(published(template, old), protocol=protocol))
    assert_equal(replace(template, kp=None, x_s=None) if old else template, read_template(path))


def test_a_file_without_ratios_has_none(tmp_path: Path) -> None:
    path = tmp_path / "a.pkl"
    stored = published(some_template())
    del stored["c_eyes_lst"]
    stored["c_lip_lst"] = []
    path.write_bytes(pickle.dumps(stored))
    template = read_template(path)
    assert template.eyes is None
    assert template.lips is None


def test_the_other_engine_reads_it_too(tmp_path: Path) -> None:
    template = some_template(3)
    write_template(tmp_path / "a.npz", template)
    track = read_motion(tmp_path / "a.npz")
    assert track.fps == 25
    assert track.eyes == pytest.approx(template.eyes.mean(1), abs=1e-5)  # type: ignore[union-attr]
    np.testing.assert_allclose(template_rotations(track.head_pose), template.R, atol=1e-5)


class Harm:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("place", ["top", "ratios", "frame", "object array"])
def test_a_pickle_that_would_run_something_is_refused(tmp_path: Path, place: str) -> None:
    target, path = tmp_path / "created", tmp_path / "evil.pkl"
    stored: Any = published(some_template())
    if place == "top":
        stored = Harm(target)
    elif place == "ratios":
        stored["c_eyes_lst"][2] = Harm(target)
    elif place == "frame":
        stored["motion"][1]["scale"] = Harm(target)
    else:
        stored["motion"][1]["x_s"] = np.array([Harm(target)], dtype=object)
    path.write_bytes(pickle.dumps(stored))
    with pytest.raises(DamagedInputError, match=r"evil\.pkl .*(could run code|array of O8); allowed: num"):
        read_template(path)
    assert not target.exists()
    pickle.loads(path.read_bytes())
    assert target.exists()  # so the file was a real danger


@pytest.mark.parametrize("kind", ["npz", "pkl"])
@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_broken_files_are_damaged_or_whole(
    kind: str, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / f"broken.{kind}"
    template = some_template(2)
    if kind == "npz":
        write_template(path, template)
        content = path.read_bytes()
    else:
        content = pickle.dumps(published(template))
    at = data.draw(st.integers(0, len(content) - 1))
    change = data.draw(st.sampled_from(["cut", "flip", "fill"]))
    broken = {
        "cut": content[:at],
        "flip": content[:at] + bytes([content[at] ^ 0x55]) + content[at + 1 :],
        "fill": content[:at] + b"\xff" * 8 + content[at + 8 :],
    }[change]
    path.write_bytes(broken)
    if change == "cut":
        with pytest.raises(DamagedInputError, match=rf"^motion file broken\.{kind} "):
            read_template(path)
        return
    try:
        read = read_template(path)
    except DamagedInputError:
        return
    assert all(np.isfinite(getattr(read, name)).all() for name in ("scale", "R", "exp", "t"))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"motion_scale": np.zeros((2, 1))}, "has scale 0; allowed: above 0"),
        ({"motion_scale": np.ones((3, 1))}, r"has motion_scale of shape \(3, 1\); allowed: \(2, 1\)"),
        ({"motion_exp": np.full((2, 21, 3), np.nan)}, "has exp in frame 0 that is no number"),
        ({"motion_exp": np.zeros((2, 20, 3))}, r"motion_exp of shape \(2, 20, 3\); allowed: \(2, 21, 3\)"),
        ({"motion_t": np.array([[0, 0, 0], [0, np.inf, 0]])}, "has t in frame 1"),
        ({"motion_t": np.array([[0, 0, 0], [0, 1e300, 0]])}, "has t in frame 1 that is no number"),
        ({"motion_kp": np.zeros((1, 21, 3))}, "motion_kp of shape"),
        ({"motion_R": np.zeros((2, 3, 3))}, "no rotations"),
        ({"motion_R": np.zeros((0, 3, 3))}, r"1\.\.20000"),
        ({"c_eyes_lst": np.zeros((2, 1))}, r"has eyes of shape \(2, 1\); allowed: \(2, 2\)"),
        ({"c_lip_lst": -np.ones((2, 1))}, "finite and 0 or more"),
        ({"output_fps": np.float64("nan")}, "frames a second; allowed: 1..240"),
        ({"motion_exp": None, "motion_t": None}, "has no motion_exp and no motion_t; it has "),
    ],
)
def test_contents_that_are_no_motion_are_told(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    path = tmp_path / "a.npz"
    write_template(path, some_template(2))
    with np.load(path) as stored:
        columns = {name: stored[name] for name in stored.files} | changes
    np.savez(path, **{name: value for name, value in columns.items() if value is not None})  # type: ignore[arg-type]
    with pytest.raises(DamagedInputError, match=rf"^motion file a\.npz .*({said})"):
        read_template(path)


def test_other_files_are_a_matter_of_usage(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"ends in '\.pkl'; allowed: \.npz"):
        write_template(tmp_path / "a.pkl", some_template())
    with pytest.raises(UsageError, match="does not exist"):
        read_template(tmp_path / "none.npz")
    with pytest.raises(UsageError, match=r"allowed: \.npz or \.pkl"):
        read_template(tmp_path / "clip.mp4")
    assert list(tmp_path.iterdir()) == []


def test_a_template_is_nobodys_to_change() -> None:
    scale = np.ones((2, 1), np.float32)
    template = some_template(2, scale=scale)
    scale[:] = 7
    assert template.scale.max() == 1
    with pytest.raises(ValueError, match="read-only"):
        template.exp[0] = 1


def a_motion(count: int) -> MotionInfo:
    generator = torch.Generator().manual_seed(count)
    shapes = ((count, 21, 3), (count, 21, 3), (count, 1), (count, 3), (count, 1), (count, 1), (count, 1))
    return MotionInfo(*(torch.rand(shape, generator=generator) + 0.5 for shape in shapes))


def test_a_template_of_extracted_motion(tmp_path: Path) -> None:
    motion = a_motion(3)
    template = template_of(motion, 29.97, "d.mp4", eyes=np.full((3, 2), 0.3), lips=np.zeros((3, 1)))
    assert (template.name, template.sha256, template.fps, len(template)) == ("d.mp4", "", 29.97, 3)
    assert template.t[:, 2].tolist() == [0, 0, 0]
    # its rows place the driver's own keypoints again
    placed = template.scale[:, None] * (template.kp @ template.R + template.exp) + template.t[:, None]
    np.testing.assert_allclose(placed, transform_keypoints(motion), atol=1e-6)
    np.testing.assert_allclose(placed, template.x_s, atol=1e-6)
    assert_equal(template, read_template(tmp_path / write_template(tmp_path / "d.npz", template).name))
    with pytest.raises(DamagedInputError, match=r"motion found in d\.mp4 has scale in frame 1 that is no number"):
        template_of(replace(motion, scale=torch.tensor([[1.0], [torch.nan], [1.0]])), 30, "d.mp4")


def test_smoothing_leaves_rotations_and_ratios() -> None:
    template = some_template(12)
    smooth = smoothed(template, 1e-3)
    np.testing.assert_allclose(smooth.R @ smooth.R.swapaxes(1, 2), np.tile(np.eye(3), (12, 1, 1)), atol=1e-6)
    np.testing.assert_allclose(np.linalg.det(smooth.R), 1, atol=1e-6)
    np.testing.assert_array_equal(smooth.eyes, template.eyes)
    for name in ("scale", "exp", "t", "R"):
        assert (
            np.abs(np.diff(getattr(smooth, name), axis=0)).sum()
            < np.abs(np.diff(getattr(template, name), axis=0)).sum()
        )
    assert (smooth.sha256, smooth.name) == ("", template.name)
    assert_equal(smoothed(some_template(1)), some_template(1, R=smoothed(some_template(1)).R))


def test_smoothing_never_mirrors_a_head() -> None:
    # the mean of half turns about three axes is a mirror image, which a template could not hold
    turns = np.stack([np.diag(row) for row in ([1, -1, -1], [-1, 1, -1], [-1, -1, 1])] * 8).astype(np.float32)
    smooth = smoothed(some_template(24, R=turns), 1.0)
    np.testing.assert_allclose(np.linalg.det(smooth.R), 1, atol=1e-6)
