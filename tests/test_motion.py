from itertools import pairwise

import numpy as np
import pytest

from thermvision.annotations.pose import rotation_from_pose
from thermvision.annotations.schema import EXPRESSIONS
from thermvision.generation.engines.phantom import motion as m
from thermvision.generation.engines.phantom.expression import (
    BLINK,
    BROWS,
    FACE_UNITS,
    LEFT_SIDE,
    RIGHT_SIDE,
    expression_weights,
)
from thermvision.generation.engines.phantom.motion import (
    SPEED_CAP,
    Motion,
    expression_motion,
    head_pose_motion,
    minimum_jerk,
)

STYLE = np.ones(52)
MINUTE = 60.0


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


def test_heads_never_turn_faster_than_the_cap() -> None:
    fastest = max(speed(make("head_pose", 354, seed).head_pose).max() for seed in range(200))
    assert 100 < fastest <= SPEED_CAP
    assert max(speed(make("expression", 250, seed).head_pose).max() for seed in range(50)) <= SPEED_CAP / 2


def test_key_poses_over_many_clips() -> None:
    """Yaws of the set, moves and holds of their ranges, pitch coupled to yaw, roll about a tenth of yaw."""
    keys = [m.key_poses(11.8, np.random.default_rng(seed)) for seed in range(300)]
    every = [key for play in keys for key in play]
    pose = np.array([key.pose for key in every])
    assert set(pose[:, 0]) == set(m.YAWS) == {0, *(s * y for y in (15, 30, 45, 60, 75) for s in (-1, 1))}
    assert (np.abs(pose[:, 1]) <= 25 * (1 - np.abs(pose[:, 0]) / 120) + 40).all()
    assert 20 < np.abs(pose[:, 1]).max() <= 25
    assert np.std(pose[:, 2] - 0.1 * pose[:, 0]) == pytest.approx(4, abs=0.2)
    holds, moves = np.array([k.hold for k in every]), np.array([k.move for play in keys for k in play[1:]])
    assert 0.2 <= holds.min() < 0.22
    assert 0.58 < holds.max() <= 0.6
    assert 0.6 <= moves.min() < 0.65
    assert 1.45 < moves.max() <= 1.5
    assert {play[0].move for play in keys} == {0}
    turns = np.array([abs(b.pose[0] - a.pose[0]) for play in keys for a, b in pairwise(play)])
    assert (turns.min(), turns.max()) == (30, 75)
    assert all(sum(k.move + k.hold for k in play) >= 11.8 for play in keys)


def test_a_full_clip_looks_far_and_to_both_sides() -> None:
    for seed in range(60):
        yaw, pitch, _ = make("head_pose", 354, seed).head_pose.T
        assert 55 < np.abs(yaw).max() < 78
        assert yaw.min() < -25
        assert yaw.max() > 25
        assert np.abs(pitch).max() < 28


@pytest.mark.parametrize("seed", range(6))
def test_two_seconds_of_head_pose_are_no_still(seed: int) -> None:
    poses = make("head_pose", 60, seed).head_pose
    assert np.ptp(poses[:, 0]) > 20
    assert np.ptp(poses[:, 1]) > 3


def test_tremor_has_its_strength_and_falls_with_frequency() -> None:
    times = np.arange(0, 400, 1 / 30)
    waves = np.stack([m.tremor(times, np.random.default_rng(seed), 0.2, 4, m.JITTER) for seed in range(20)])
    assert waves.std() == pytest.approx(0.3, rel=0.02)
    power = (np.abs(np.fft.rfft(waves, axis=1)) ** 2).mean(0)
    frequency = np.fft.rfftfreq(len(times), 1 / 30)
    slow, fast = power[(frequency > 0.19) & (frequency < 0.5)].sum(), power[(frequency > 1.5) & (frequency < 4.1)].sum()
    assert slow > 4 * fast > 0


def test_blinks_arrive_fifteen_times_a_minute_with_a_pause_between() -> None:
    starts = [m.blink_times(100 * MINUTE, np.random.default_rng(seed)) for seed in range(10)]
    assert np.mean([len(s) for s in starts]) == pytest.approx(1500, abs=30)
    gaps = np.concatenate([np.diff(s) for s in starts])
    assert 0.8 <= gaps.min() < 0.81
    assert gaps.mean() == pytest.approx(4, abs=0.1)
    assert np.std(gaps) == pytest.approx(3.2, abs=0.1)  # exponential beyond the refractory time


def test_a_blink_closes_in_70_ms_holds_40_and_opens_in_140() -> None:
    times = np.arange(0, 1, 0.001)
    closure = m.lid_closure(times, np.array([0.5]))
    assert (closure[:501] == 0).all()
    assert closure[535] == pytest.approx(0.5)
    assert (closure[570:611] == 1).all()
    assert closure[680] == pytest.approx(0.5)
    assert closure[751:].max() < 1e-9


@pytest.mark.parametrize("kind", ["head_pose", "expression"])
def test_blinking_frames_are_labelled_blink_in_a_neutral_face(kind: str) -> None:
    motion = make(kind, 1800, 2)
    shut = motion.weights[:, BLINK].min(1) > m.BLINK_LABEL
    labels = np.array(motion.expression)
    assert (labels[shut] != "neutral").all()
    assert set(labels[~shut]).isdisjoint({"blink"})
    assert 0.05 < shut.sum() / max((np.diff(shut.astype(int)) == 1).sum(), 1) / 30 < 0.3


def test_breath_is_12_to_18_a_minute() -> None:
    rates = []
    for seed in range(200):
        breath = make("head_pose", 1800, seed).breath
        rates.append((np.diff(np.signbit(breath).astype(int)) != 0).sum() / 2)
    assert 11.5 <= min(rates) <= 12.5
    assert 17.5 <= max(rates) <= 18.5


def test_expressions_over_many_clips() -> None:
    played = [m.plays(8.3, np.random.default_rng(seed)) for seed in range(300)]
    faces = [p for clip in played for p in clip if p.name != "talk"]
    for name, (low, high) in {"onset": (0.4, 0.8), "apex": (0.6, 1.2), "offset": (0.5, 1.0)}.items():
        values = np.array([getattr(p, name) for p in faces])
        assert low <= values.min() < low + 0.02 * high
        assert 0.98 * high < values.max() <= high
    for clip in played:
        assert clip[0].begin == m.REST == 0.5
        assert clip[-1].end <= 8.3
        assert all(b.begin == pytest.approx(a.end + 0.5) for a, b in pairwise(clip))
        assert len({p.name for p in clip}) == len(clip) >= 2
    talking = np.mean(["talk" in [p.name for p in clip] for clip in played])
    assert 0.25 < talking < 0.55


def test_a_short_clip_plays_two_expressions_faster() -> None:
    quick = m.plays(2.0, np.random.default_rng(0))
    assert len(quick) == 2
    assert quick[-1].end == pytest.approx(2.0)
    assert quick[0].begin < 0.5


def test_brows_lead_by_60_ms_and_sides_lag_by_25() -> None:
    fps, offsets, sides = 500.0, [], []
    for seed in range(120):
        motion = make("expression", 1500, seed, fps)
        first = next(n for n in motion.expression if n not in ("neutral", "blink"))
        if first != "frown":
            continue
        rise = {}
        for i in np.flatnonzero(expression_weights("frown")):
            column = motion.weights[:, i]
            if not BLINK[i]:
                rise[FACE_UNITS[i]] = np.argmax(column >= 0.5 * expression_weights("frown")[i]) / fps
        offsets.append(rise["mouthFrownLeft"] - rise["browDownLeft"])
        sides.append(rise["mouthFrownLeft"] - rise["mouthFrownRight"])
    assert len(offsets) > 20
    np.testing.assert_allclose(offsets, 0.060, atol=0.0045)
    assert np.std(sides) == pytest.approx(0.025 * np.sqrt(2), rel=0.35)
    assert BROWS.sum() == 5
    assert LEFT_SIDE.sum() == RIGHT_SIDE.sum()


def test_labels_agree_with_weights() -> None:
    """From half the strength on a frame bears the expression's name, below it "neutral"; a side may lag some frames."""
    mouth = ~(BLINK | BROWS | np.array([unit.startswith("eye") for unit in FACE_UNITS]))
    apex = {name: expression_weights(name) * mouth for name in ("smile", "frown", "surprise")}
    seen = set()
    for seed in range(40):
        motion = make("expression", 500, seed)
        for weights, label in zip(motion.weights, motion.expression, strict=True):
            share = {name: weights @ target / (target @ target) for name, target in apex.items()}
            if label in apex:
                assert share[label] > m.APEX_LABEL - 0.25
                seen.add(label)
            elif label in ("neutral", "blink"):
                assert max(share.values()) < m.APEX_LABEL + 0.25
    assert seen == set(apex)


def test_speech_changes_shape_several_times_a_second() -> None:
    times = np.arange(0, 20, 1 / 100)
    spoken = m.speech(times, np.random.default_rng(1))
    jaw = spoken[:, FACE_UNITS.index("jawOpen")]
    assert jaw.max() > 0.25
    assert jaw.min() == pytest.approx(0, abs=1e-6)
    turns = (np.diff(np.sign(np.diff(jaw))) < 0).sum() / 20
    assert 1.5 < turns < 5
    assert spoken[:, FACE_UNITS.index("mouthFunnel")].max() > 0.3
    assert spoken.min() >= 0


@pytest.mark.parametrize("frames", [60, 250])
def test_expression_clips_come_and_go(frames: int) -> None:
    motion = make("expression", frames, 3)
    names = [name for name in motion.expression if name not in ("neutral", "blink")]
    assert len(set(names)) >= 2
    assert motion.expression[0] in ("neutral", "blink")
    assert motion.weights[0, ~BLINK].max() < 0.05
    assert motion.expression.count("neutral") > frames // 6


def test_any_frame_rate() -> None:
    slow, fast = make("head_pose", 30, fps=15.0), make("head_pose", 240, fps=120.0)
    assert speed(slow.head_pose, 15.0).max() <= SPEED_CAP
    assert speed(fast.head_pose, 120.0).max() <= SPEED_CAP
