import numpy as np
import pytest

from thermvision.annotations.pose import rotation_from_pose
from thermvision.annotations.schema import EXPRESSIONS
from thermvision.generation.engines.phantom.expression import BLINK
from thermvision.generation.engines.phantom.motion import (
    SPEED_CAP,
    Motion,
    expression_motion,
    head_pose_motion,
    minimum_jerk,
)

STYLE = np.ones(52)


def make(kind: str, frames: int, seed: int = 0, fps: float = 30.0) -> Motion:
    rng = np.random.default_rng(seed)
    return head_pose_motion(frames, fps, rng) if kind == "head_pose" else expression_motion(frames, fps, rng, STYLE)


def speed(poses: np.ndarray, fps: float = 30.0) -> np.ndarray:
    R = rotation_from_pose(poses)
    step = np.einsum("nij,nik->njk", R[:-1], R[1:])
    trace = np.clip((np.trace(step, axis1=1, axis2=2) - 1) / 2, -1, 1)
    return np.rad2deg(np.arccos(trace)) * fps


def test_minimum_jerk() -> None:
    t = np.linspace(-0.5, 1.5, 2001)
    s = minimum_jerk(t)
    assert (s[0], s[1000], s[-1]) == (0, 0.5, 1)
    assert (np.diff(s) >= 0).all()
    assert np.gradient(s, t).max() == pytest.approx(1.875, abs=1e-3)


@pytest.mark.parametrize("kind", ["head_pose", "expression"])
@pytest.mark.parametrize("frames", [1, 2, 5, 60, 354])
def test_shapes_ranges_and_determinism(kind: str, frames: int) -> None:
    motion, again = make(kind, frames), make(kind, frames)
    assert motion.head_pose.shape == (frames, 3)
    assert motion.weights.shape == (frames, 52)
    assert len(motion.expression) == frames
    assert set(motion.expression) <= set(EXPRESSIONS)
    assert 0 <= motion.weights.min() <= motion.weights.max() <= 1
    assert np.abs(motion.breath).max() <= 1
    assert np.isfinite(motion.head_pose).all()
    np.testing.assert_array_equal(motion.head_pose, again.head_pose)
    np.testing.assert_array_equal(motion.weights, again.weights)
    assert (motion.head_pose != make(kind, frames, seed=1).head_pose).any()


@pytest.mark.parametrize("frames", [20, 60, 354])
@pytest.mark.parametrize("seed", range(6))
def test_heads_never_turn_faster_than_the_cap(frames: int, seed: int) -> None:
    assert speed(make("head_pose", frames, seed).head_pose).max() <= SPEED_CAP
    assert speed(make("expression", frames, seed).head_pose).max() <= SPEED_CAP / 2


@pytest.mark.parametrize("seed", range(6))
def test_two_seconds_of_head_pose_see_both_sides(seed: int) -> None:
    poses = make("head_pose", 60, seed).head_pose
    yaw, pitch = poses[:, 0], poses[:, 1]
    assert np.ptp(yaw) > 20
    assert np.ptp(pitch) > 3


@pytest.mark.parametrize("seed", range(4))
def test_a_full_clip_covers_the_range(seed: int) -> None:
    poses = make("head_pose", 354, seed).head_pose
    assert np.abs(poses[:, 0]).max() > 55
    assert poses[:, 0].min() < -25
    assert poses[:, 0].max() > 25
    assert np.abs(poses[:, 0]).max() < 80
    assert np.abs(poses[:, 1]).max() < 28


@pytest.mark.parametrize("frames", [60, 250])
def test_expression_clips_come_and_go(frames: int) -> None:
    motion = make("expression", frames, 3)
    names = [name for name in motion.expression if name not in ("neutral", "blink")]
    assert len(set(names)) >= 2
    assert motion.expression[0] in ("neutral", "blink")
    assert motion.weights[0, ~BLINK].max() < 0.05
    assert motion.expression.count("neutral") > frames // 6


def test_blinks_close_the_lids_for_a_moment() -> None:
    motion = make("head_pose", 1800, 2)
    closed = motion.weights[:, BLINK].min(1) > 0.5
    starts = np.flatnonzero(np.diff(closed.astype(int)) == 1)
    assert 6 <= len(starts) <= 26  # fifteen a minute, Poisson
    assert (np.diff(starts) >= 0.8 * 30 - 1).all()
    assert 0.05 < closed.sum() / len(starts) / 30 < 0.3
    assert {"blink", "neutral"} == set(motion.expression)


def test_any_frame_rate() -> None:
    slow, fast = make("head_pose", 30, fps=15.0), make("head_pose", 240, fps=120.0)
    assert speed(slow.head_pose, 15.0).max() <= SPEED_CAP
    assert speed(fast.head_pose, 120.0).max() <= SPEED_CAP
