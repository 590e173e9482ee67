"""Smoothing over time: what it leaves, what it damps, which gaps it fills, and where it begins anew."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from thermvision.annotations.errors import UsageError
from thermvision.annotations.schema import FrameAnnotation
from thermvision.annotations.smoothing import temporal

SOURCE = "detector@0+landmarker@1"


def face(x: float, y: float = 50, w: float = 40, **more: object) -> FrameAnnotation:
    points = np.tile([x + w / 2, y], (68, 1)) + np.arange(68)[:, None] * (0.1, 0.2)
    given: dict[str, object] = {"bbox_score": 0.9, "landmarks": points, "head_pose": [0, 0, 0]} | more
    return FrameAnnotation(np.array([x, y, w, 1.2 * w]), 1, SOURCE, **given)  # type: ignore[arg-type]


NOBODY = FrameAnnotation.no_face(SOURCE)


def lefts(annotations: list[FrameAnnotation]) -> list[float]:
    return [round(float(a.bbox[0]), 3) for a in annotations]


def test_uniform_motion_passes() -> None:
    frames = [face(10 + 2 * i, head_pose=[3 * i, 0, 0]) for i in range(20)]
    smoothed = temporal(frames)
    assert lefts(smoothed) == [10 + 2 * i for i in range(20)]
    for before, after in zip(frames, smoothed, strict=True):
        np.testing.assert_allclose(after.landmarks, before.landmarks, atol=1e-3)
        np.testing.assert_allclose(after.head_pose, before.head_pose, atol=1e-3)
        assert after.bbox_score == before.bbox_score
        assert after.source == SOURCE + "+smoothed(cutoff=5Hz,fps=30,gap=5)"


@pytest.mark.parametrize(("frequency", "kept"), [(5.0, 0.5), (10.0, 0.1), (1.0, 0.9981)])
def test_what_is_kept_of_a_motion(frequency: float, kept: float) -> None:
    wave = np.sin(2 * np.pi * frequency * np.arange(240) / 30 + 0.3)
    smoothed = temporal([face(50 + a) for a in wave], fps=30, cutoff=5)
    ratio = (np.array(lefts(smoothed)) - 50)[60:180] @ wave[60:180] / (wave[60:180] @ wave[60:180])
    assert ratio == pytest.approx(kept, abs=2e-3)


def test_jitter_is_damped_and_nothing_lags() -> None:
    rng = np.random.default_rng(0)
    true = 60 + 20 * np.sin(2 * np.pi * 0.5 * np.arange(300) / 30)
    smoothed = np.array(lefts(temporal([face(x) for x in true + rng.normal(0, 1, 300)])))
    error = np.abs(smoothed - true)[10:-10]
    assert error.mean() < 0.5
    lag = [np.abs(smoothed[20:-20] - np.roll(true, k)[20:-20]).mean() for k in (-2, -1, 0, 1, 2)]
    assert int(np.argmin(lag)) == 2


def test_short_gaps_are_filled() -> None:
    frames = [face(10 + 2 * i, eye_openness=0.1 * i, expression="smile", landmark_state=[3] * 68) for i in range(8)]
    frames[3] = frames[4] = NOBODY
    filled = temporal(frames, fill_gaps=2)
    assert lefts(filled) == [10 + 2 * i for i in range(8)]
    assert filled[3].face_count == 1
    assert filled[3].bbox_score is None
    assert filled[3].expression == "smile"
    assert filled[3].landmark_state is not None
    assert filled[4].eye_openness == pytest.approx(0.4)
    assert filled[4].landmarks is not None
    assert filled[4].landmarks[0, 0] == pytest.approx(10 + 8 + 20, abs=1e-3)


def test_long_gaps_and_ends_stay_open() -> None:
    frames = [NOBODY, face(10), NOBODY, NOBODY, NOBODY, face(12), NOBODY]
    assert [a.face_count for a in temporal(frames, fill_gaps=2)] == [0, 1, 0, 0, 0, 1, 0]
    assert [a.face_count for a in temporal(frames, fill_gaps=3)] == [0, 1, 1, 1, 1, 1, 0]
    assert [a.face_count for a in temporal(frames, fill_gaps=0)] == [0, 1, 0, 0, 0, 1, 0]
    assert all("+smoothed(" in a.source for a in temporal(frames, fill_gaps=2))


def test_another_face_is_another_course() -> None:
    frames = [face(10)] * 6 + [face(200)] * 6
    assert lefts(temporal(frames)) == [10] * 6 + [200] * 6
    with_gap = [face(10)] * 4 + [NOBODY] * 2 + [face(200)] * 4
    assert [a.face_count for a in temporal(with_gap)] == [1] * 4 + [0] * 2 + [1] * 4


def test_size_changes_count_as_another_face() -> None:
    frames = [face(10, w=40)] * 5 + [face(10, w=100)] * 5
    assert [float(a.bbox[2]) for a in temporal(frames)] == pytest.approx([40] * 5 + [100] * 5)


def test_angles_cross_half_a_turn() -> None:
    frames = [face(10, head_pose=[(170 + 4 * i + 180) % 360 - 180, 0, 0]) for i in range(10)]
    smoothed = temporal(frames)
    for i, a in enumerate(smoothed):
        assert a.head_pose is not None
        assert (a.head_pose[0] - (170 + 4 * i) + 180) % 360 == pytest.approx(180, abs=1e-3)
        assert -180 <= a.head_pose[0] <= 180


def test_blinks_stay() -> None:
    opening = [0.3, 0.3, 0.0, 0.3, 0.3]
    assert [a.eye_openness for a in temporal([face(10, eye_openness=o) for o in opening])] == pytest.approx(opening)


def test_landmarks_that_come_and_go() -> None:
    frames = [face(10 + i, landmarks=None if i in (0, 3, 9) else np.full((68, 2), 5.0 + i)) for i in range(10)]
    smoothed = temporal(frames, fill_gaps=1)
    assert [a.landmarks is None for a in smoothed] == [True, *[False] * 8, True]
    assert smoothed[3].landmarks[0, 0] == pytest.approx(8, abs=1e-3)
    assert temporal(frames, fill_gaps=0)[3].landmarks is None


def test_points_that_are_never_known() -> None:
    points = np.full((68, 2), 7.0)
    points[17] = np.nan
    for a in temporal([face(10, landmarks=points)] * 6):
        assert a.landmarks is not None
        assert np.isnan(a.landmarks[17]).all()
        np.testing.assert_allclose(np.delete(a.landmarks, 17, 0), 7, atol=1e-4)


def test_filling_without_smoothing() -> None:
    frames = [face(10), face(13), NOBODY, face(11)]
    filled = temporal(frames, smooth=False, fill_gaps=1)
    assert lefts(filled) == [10, 13, 12, 11]
    assert filled[0].source == SOURCE + "+smoothed(gap=1)"
    assert temporal(frames, smooth=False, fill_gaps=0) == frames


@settings(max_examples=60, deadline=None)
@given(st.lists(st.one_of(st.none(), st.floats(0, 30)), max_size=25), st.integers(0, 6), st.booleans())
def test_whatever_comes(xs: list[float | None], gap: int, smooth: bool) -> None:
    frames = [NOBODY if x is None else face(x) for x in xs]
    result = temporal(frames, smooth=smooth, fill_gaps=gap)
    assert len(result) == len(frames)
    for before, after in zip(frames, result, strict=True):
        assert after.face_count >= before.face_count
        assert np.isfinite(after.bbox).all() == (after.face_count > 0)
        if after.face_count:
            assert (after.bbox[2:] > 0).all()
            assert after.landmarks is not None
            assert np.isfinite(after.landmarks).all()
    if xs and xs[0] is None:
        assert result[0].face_count == 0


@pytest.mark.parametrize(
    "options", [{"fps": 0}, {"cutoff": 15}, {"cutoff": 0}, {"fill_gaps": -1}, {"fps": float("nan")}]
)
def test_options_out_of_range(options: dict[str, float]) -> None:
    with pytest.raises(UsageError, match="allowed"):
        temporal([face(1)], **options)  # type: ignore[arg-type]
