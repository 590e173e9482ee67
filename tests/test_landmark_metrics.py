"""Errors of landmarks and poses, by hand: normalisers, missing points, states, thresholds, rotations."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from thermvision.annotations import landmark_metrics as metrics
from thermvision.annotations.schema import OBJECT_OCCLUDED, OUTSIDE, SELF_OCCLUDED, VISIBLE


def face(width: float = 30.0) -> np.ndarray:
    """68 points, the outer eye corners ``width`` apart."""
    points = np.tile(np.arange(68.0)[:, None], (1, 2))
    points[36], points[45] = (10, 50), (10 + width, 50)
    return points


def test_nme_by_hand() -> None:
    truth = face()[None]
    found = truth + np.array([3.0, 4.0])  # every point is 5 px off
    errors = metrics.point_errors(found, truth)
    assert errors.tolist() == [[5.0] * 68]
    assert metrics.normalised_mean_error(errors, metrics.interocular(truth))[0] == pytest.approx(5 / 30)
    assert metrics.normalised_mean_error(errors, metrics.box_length([[0, 0, 16, 25]]))[0] == pytest.approx(5 / 20)


def test_groups_are_means_of_their_own_points() -> None:
    errors = np.arange(68.0)[None]
    assert metrics.normalised_mean_error(errors, [2.0], range(36, 42)).tolist() == [38.5 / 2]


def test_missing_points_are_left_out_and_never_right() -> None:
    truth, found = np.zeros((3, 68, 2)), np.zeros((3, 68, 2))
    found[0, 10] = np.nan
    found[0, 11] = 3, 4
    truth[1, 5] = np.nan
    found[2] = np.nan
    errors = metrics.point_errors(found, truth)
    assert np.isnan(errors[0, 10])
    assert np.isnan(errors[1, 5])
    nme = metrics.normalised_mean_error(errors, np.ones(3))
    assert nme[:2].tolist() == [5 / 67, 0]
    assert np.isnan(nme[2])
    assert metrics.failures(nme, 0.08).tolist() == [0, 0, 1]
    assert metrics.area_under_ced(nme, 0.08)[2] == 0


def test_a_profile_without_eye_distance_has_no_interocular_error() -> None:
    assert np.isnan(metrics.interocular(face(0.0)))
    assert np.isnan(metrics.box_length([[5, 5, 0, 9]])).all()


@pytest.mark.parametrize(("points", "count"), [("all", 4), ("inside", 3), ("visible", 1)])
def test_hidden_and_outside_points_can_be_left_out(points: str, count: int) -> None:
    states = [[OUTSIDE, SELF_OCCLUDED, OBJECT_OCCLUDED, VISIBLE, VISIBLE]]
    truth = np.zeros((1, 5, 2))
    truth[0, 4] = np.nan
    counted = metrics.counted_points(truth, states, points)
    assert counted.sum() == count
    assert np.isfinite(metrics.point_errors(np.zeros((1, 5, 2)), truth, counted)).sum() == count


def test_without_states_every_known_point_counts() -> None:
    assert metrics.counted_points(np.zeros((1, 5, 2)), None, "visible").all()
    with pytest.raises(ValueError, match="allowed: all, inside, visible"):
        metrics.counted_points(np.zeros((1, 5, 2)), None, "some")


def test_ced_and_its_area_agree() -> None:
    errors = [0.01, 0.03, 0.03, 0.2, np.nan]
    curve = metrics.cumulative_error(errors, 0.08, steps=8000)
    assert curve["part"][0] == 0
    assert curve["part"][3000] == 0.6
    assert curve["part"][-1] == 0.6
    assert metrics.area_under_ced(errors, 0.08).mean() == pytest.approx(np.mean(curve["part"]), abs=1e-3)
    assert metrics.failures([0.08, 0.0801, np.nan], 0.08).tolist() == [0, 1, 1]


def test_angles_go_the_short_way_round() -> None:
    assert metrics.angle_errors([[-170, 0, 0]], [[170, 0, 0]]).tolist() == [[20, 0, 0]]
    assert np.isnan(metrics.angle_errors([[np.nan] * 3], [[0, 0, 0]])).all()


angles = st.tuples(st.floats(-180, 180), st.floats(-90, 90), st.floats(-180, 180))


@settings(deadline=None)
@given(angles, angles)
def test_the_rotation_between_poses_is_an_angle(a: tuple[float, ...], b: tuple[float, ...]) -> None:
    there, back = metrics.geodesic_errors([a], [b])[0], metrics.geodesic_errors([b], [a])[0]
    assert 0 <= there <= 180.001
    assert there == pytest.approx(back, abs=1e-4)
    assert metrics.geodesic_errors([a], [a])[0] == pytest.approx(0, abs=1e-6)


@settings(deadline=None)
@given(st.floats(-179, 179))
def test_about_one_axis_it_is_the_difference(angle: float) -> None:
    for axis in range(3):
        pose = [0.0, 0, 0]
        pose[axis] = angle
        assert metrics.geodesic_errors([pose], [[0, 0, 0]])[0] == pytest.approx(abs(angle), abs=1e-5)


def test_heads_that_look_alike_differ_by_nothing() -> None:
    # looking straight up, yaw and roll turn about one axis: the angles differ, the heads do not
    assert metrics.geodesic_errors([[40, 90, 0]], [[0, 90, -40]])[0] == pytest.approx(0, abs=1e-5)
    assert metrics.angle_errors([[40, 90, 0]], [[0, 90, -40]]).tolist() == [[40, 0, 40]]
