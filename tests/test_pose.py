import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from thermvision.annotations.pose import pose_from_rotation, rotation_from_pose

angles = st.tuples(st.floats(-179, 179), st.floats(-89, 89), st.floats(-179, 179))


@given(angles)
def test_round_trip(pose):
    rotation = rotation_from_pose(pose)
    assert rotation @ rotation.T == pytest.approx(np.eye(3), abs=1e-12)
    assert np.linalg.det(rotation) == pytest.approx(1)
    assert pose_from_rotation(rotation) == pytest.approx(np.array(pose), abs=1e-6)


def test_each_direction_by_where_points_move():
    nose, crown = np.array([0, 0, 1.0]), np.array([0, 1.0, 0])
    assert (rotation_from_pose([20, 0, 0]) @ nose)[0] > 0  # yaw: to image right
    assert (rotation_from_pose([0, 20, 0]) @ nose)[1] > 0  # pitch: up
    assert (rotation_from_pose([0, 0, 20]) @ crown)[0] > 0  # roll: clockwise, the crown goes to image right


def test_many_at_once():
    poses = np.array([[10, 0, 0], [0, 10, 0]])
    assert rotation_from_pose(poses)[1] == pytest.approx(rotation_from_pose(poses[1]))
    assert pose_from_rotation(rotation_from_pose(poses)) == pytest.approx(poses)
