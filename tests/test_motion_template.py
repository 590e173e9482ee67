"""Reading motion templates: what a small file may not make of itself. More of it is in test_motion_file."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from thermvision.annotations.errors import DamagedInputError
from thermvision.generation.motion_template import (
    head_poses,
    lips_from_expression,
    rate_of,
    ratios_of,
    read_file,
    template_rotations,
)

EYE = np.eye(3, dtype=np.float32)[None]


def read(path: Path, stored: Any) -> dict[str, Any]:
    path.write_bytes(stored if isinstance(stored, bytes) else pickle.dumps(stored))
    return dict(read_file(path, lambda columns, name, digest: columns))


def test_a_pickle_gives_the_columns_it_is_known_for(tmp_path: Path) -> None:
    stored = {"output_fps": 20, "motion": [{"R": EYE, "other": "text"}] * 2, "c_lip_lst": [EYE[:, :1, :1]] * 2, 5: "x"}
    columns = read(tmp_path / "a.pkl", stored)
    assert set(columns) == {"output_fps", "motion_R", "c_lip_lst"}
    assert columns["motion_R"].shape == (2, 1, 3, 3)


def nested(depth: int) -> list[Any]:
    """A list of 10 ** depth numbers that takes a few bytes."""
    value: list[Any] = [0.0] * 10
    for _ in range(depth):
        value = [value] * 10
    return value


@pytest.mark.parametrize(
    ("stored", "said"),
    [
        ({"motion": [{"R": EYE}], "output_fps": nested(30)}, "a list where a number or an array belongs"),
        ({"motion": [{"R": EYE}], "c_eyes_lst": nested(30)}, "a list where a number"),
        ({"motion": [{"R": nested(30)}]}, "a list where a number"),
        ({"motion": [{"R": np.zeros(64)}] * 3}, "an array of 512 bytes; allowed: 63 numbers"),
        ({"motion": []}, r"has 0 frames; allowed: 1\.\.20000"),
        ({"motion": [None] * 20_001}, "has 20001 frames"),
        ({"motion": {"R": EYE}}, "has no list of motion"),
        (b"\x80\x04Nr\xff\xff\xff\x7f.", "stores an object under 2147483647; allowed: 0..9"),
        (b"Np99999999999\n.", "stores an object under 99999999999"),
        (b"\x80\x04\x8e" + b"\xff" * 7 + b"\x7f" + b".", "damaged"),
    ],
)
def test_a_small_file_stays_small(tmp_path: Path, stored: Any, said: str) -> None:
    with pytest.raises(DamagedInputError, match=rf"^motion file a\.pkl .*{said}"):
        read(tmp_path / "a.pkl", stored)


def test_the_ending_may_be_in_capitals(tmp_path: Path) -> None:
    np.savez(tmp_path / "small.npz", n_frames=np.int64(1))
    columns = read_file((tmp_path / "small.npz").rename(tmp_path / "CAPITALS.NPZ"), lambda columns, *_: dict(columns))
    assert columns == {"n_frames": 1}


angles = st.floats(-89, 89)


@given(yaw=angles, pitch=angles, roll=angles)
def test_poses_and_rotations(yaw: float, pitch: float, roll: float) -> None:
    pose = np.array([[yaw, pitch, roll]])
    np.testing.assert_allclose(head_poses(template_rotations(pose)), pose, atol=1e-9)


def test_the_nose_turns_as_our_poses_say() -> None:
    # rows of keypoints, x right, y down, z away: the nose is at (0, 0, -1)
    right, up = (np.array([0, 0, -1]) @ template_rotations(pose) for pose in ([30, 0, 0], [0, 20, 0]))
    np.testing.assert_allclose(right, [0.5, 0, -np.sqrt(0.75)], atol=1e-12)
    np.testing.assert_allclose(up, [0, -np.sin(np.radians(20)), -np.cos(np.radians(20))], atol=1e-12)
    np.testing.assert_allclose([1, 0, 0] @ template_rotations([0, 0, 90]), [0, 1, 0], atol=1e-12)


def test_rates_and_ratios() -> None:
    assert rate_of({}) == 25
    assert rate_of({"output_fps": [29.97]}) == 29.97
    assert ratios_of({}, ("a", "b"), 3) is None
    assert ratios_of({"a": []}, ("a", "b"), 3) is None
    assert ratios_of({"b": [[[0.1, 0.2]]] * 3}, ("a", "b"), 3).tolist() == [[0.1, 0.2]] * 3  # type: ignore[union-attr]
    with pytest.raises(DamagedInputError, match="has 2 values of b; allowed: 3, one a frame"):
        ratios_of({"b": [0.1] * 2}, ("a", "b"), 3)
    for wrong in (-0.1, np.nan):
        with pytest.raises(DamagedInputError, match="has values of b that are negative or no numbers"):
            ratios_of({"b": [0.1, wrong, 0.2]}, ("a", "b"), 3)


def test_lips_are_estimated_from_two_keypoints() -> None:
    offsets = np.zeros((3, 21, 3))
    offsets[1, 19, 1], offsets[1, 20, 1] = 0.05, -0.05
    offsets[2, 20, 1] = 1
    np.testing.assert_allclose(lips_from_expression(offsets), [0.166, 0.676, 0])
