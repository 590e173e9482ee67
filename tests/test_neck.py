import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from thermvision.annotations.pose import rotation_from_pose
from thermvision.generation.engines.phantom.identity import make_head
from thermvision.generation.engines.phantom.layers import Head
from thermvision.generation.engines.phantom.neck import bend, facing, make_neck, neck_pose, seen_pose
from thermvision.generation.specs import Subject

angle = st.floats(-75, 75)


@pytest.fixture(scope="module")
def head() -> Head:
    return make_head(Subject("P_0", 0, "male", 3))


def test_face_is_rigid_and_shoulders_stay(head: Head) -> None:
    neck = make_neck(head)
    weights = neck.weights(head.rest)
    assert weights.dtype == np.float32
    assert (neck.weights(head.landmarks) == 1).all()
    assert (weights[head.topology.ear > 0.1] == 1).all()
    low = head.rest[:, 1] < head.landmarks[8, 1] - 0.15
    assert low.sum() > 1000
    assert (weights[low] < 0.02).all()


@settings(max_examples=25, deadline=None)
@given(angle, st.floats(-30, 30), st.floats(-20, 20))
def test_landmarks_turn_by_the_pose_matrix(yaw: float, pitch: float, roll: float) -> None:
    head = HEAD
    neck = make_neck(head)
    pose = np.array([yaw, pitch, roll])
    posed = bend(head.landmarks, neck.weights(head.landmarks), neck_pose(neck, pose))
    expected = (head.landmarks - neck.pivot) @ rotation_from_pose(pose).T + neck.pivot
    np.testing.assert_allclose(posed, expected, atol=1e-12)


HEAD = make_head(Subject("P_1", 1, "female", 3))


@pytest.mark.parametrize(
    ("pose", "landmark", "axis", "sign"),
    [((30, 0, 0), 30, 0, 1), ((0, 20, 0), 30, 1, 1), ((0, 0, 15), 27, 0, 1), ((0, 0, 15), 16, 1, -1)],
    ids=["yaw turns the nose to +x", "pitch lifts the nose", "roll leans the bridge to +x", "roll lowers the left ear"],
)
def test_three_directions(pose: tuple[float, ...], landmark: int, axis: int, sign: int) -> None:
    neck = make_neck(HEAD)
    weights = neck.weights(HEAD.landmarks)
    posed = bend(HEAD.landmarks, weights, neck_pose(neck, np.array(pose, float)))
    relative = posed[landmark] - posed[8] if pose[2] and landmark == 27 else posed[landmark] - HEAD.landmarks[landmark]
    assert sign * relative[axis] > 0.005


def test_throat_bends_without_folding(head: Head) -> None:
    neck = make_neck(head)
    weights = neck.weights(head.rest)
    posed = bend(head.rest, weights, neck_pose(neck, np.array([60.0, 0, 0])))
    edges = head.topology.triangles[:, :2]
    before = np.linalg.norm(np.diff(head.rest[edges], axis=1)[:, 0], axis=1)
    after = np.linalg.norm(np.diff(posed[edges], axis=1)[:, 0], axis=1)
    stretch = after[before > 1e-4] / before[before > 1e-4]
    assert np.quantile(stretch, 0.999) < 2.5
    assert np.quantile(stretch, 0.001) > 0.4


def test_breath_lifts_the_shoulders_only(head: Head) -> None:
    neck = make_neck(head)
    weights = neck.weights(head.rest)
    lifted = bend(head.rest, weights, neck_pose(neck, np.zeros(3), 1.0)) - head.rest
    np.testing.assert_allclose(lifted[weights == 0], np.tile([0, 0.001, 0], ((weights == 0).sum(), 1)), atol=1e-12)
    np.testing.assert_allclose(lifted[weights == 1], 0, atol=1e-12)


def test_facing_is_the_cosine_of_the_turned_normal() -> None:
    neck = make_neck(HEAD)
    pose = neck_pose(neck, np.array([25.0, -10, 5]))
    weights = np.ones(len(HEAD.rest), np.float32)
    posed = bend(HEAD.rest, weights, pose)
    eye = np.array([0, HEAD.landmarks[30, 1], 0.8])
    turned = HEAD.rest_normals @ pose.rotations[-1].T
    ray = eye - posed
    expected = np.abs((turned * ray).sum(1)) / np.linalg.norm(ray, axis=1)
    np.testing.assert_allclose(facing(posed, HEAD.rest_normals, weights, pose, eye), expected, atol=1e-6)


@settings(max_examples=20, deadline=None)
@given(st.floats(-180, 180), angle, st.floats(-1, 1))
def test_a_turn_is_rigid(turn: float, yaw: float, breath: float) -> None:
    neck = make_neck(HEAD)
    points = HEAD.rest[::50]
    weights = neck.weights(points)
    pose = np.array([yaw, -8.0, 5.0])
    before, after = (bend(points, weights, neck_pose(neck, pose, breath, t)) for t in (0.0, turn))
    R = rotation_from_pose([turn, 0, 0])
    np.testing.assert_allclose(after, (before - neck.pivot) @ R.T + neck.pivot, atol=1e-12)
    np.testing.assert_allclose(rotation_from_pose(seen_pose(pose, turn)), R @ rotation_from_pose(pose), atol=1e-9)
