import numpy as np
import pytest

from thermvision.annotations.pose import rotation_from_pose
from thermvision.annotations.schema import OBJECT_OCCLUDED, OUTSIDE, SELF_OCCLUDED, VISIBLE
from thermvision.generation.engines.phantom.identity import make_head
from thermvision.generation.engines.phantom.landmarks import LandmarkVisibility, View, outline_landmarks
from thermvision.generation.engines.phantom.neck import bend, make_neck, neck_pose
from thermvision.generation.specs import Subject

HEAD = make_head(Subject("P_1", 1, "female", 7))
VIEW = View(np.array([0, HEAD.landmarks[30, 1], HEAD.landmarks[30, 2] + 0.6]), 570.0, 300)


def posed(yaw: float, roll: float = 0.0) -> np.ndarray:
    neck = make_neck(HEAD)
    return bend(HEAD.rest, neck.weights(HEAD.rest), neck_pose(neck, np.array([yaw, 0.0, roll])))


def marked(yaw: float, roll: float = 0.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    surface = posed(yaw, roll)
    points = surface[HEAD.topology.landmarks]
    return (
        VIEW.project(outline_landmarks(surface, points, np.array([yaw, 0, roll]), VIEW)[0]),
        VIEW.project(points),
        VIEW.project(surface),
    )


def test_projection_is_a_pinhole() -> None:
    x, y, z = VIEW.eye + np.array([0.05, -0.02, -0.7])
    np.testing.assert_allclose(VIEW.project(np.array([x, y, z])), [150 + 570 * 0.05 / 0.7, 150 + 570 * 0.02 / 0.7])
    np.testing.assert_allclose(VIEW.camera_axes(np.array([x, y, z])), [0.05, 0.02, 0.7])


def test_frontal_landmarks_are_the_anatomical_ones() -> None:
    outline, anatomical, _ = marked(0.0)
    np.testing.assert_allclose(outline, anatomical, atol=0.3)
    np.testing.assert_array_equal(outline[17:], anatomical[17:])


@pytest.mark.parametrize("yaw", [-60.0, -35.0, 35.0, 60.0])
def test_far_jaw_slides_to_the_outline_and_near_jaw_stays(yaw: float) -> None:
    outline, anatomical, surface = marked(yaw)
    far, near = (slice(11, 17), slice(0, 8)) if yaw > 0 else (slice(0, 6), slice(9, 17))
    side = np.sign(yaw)
    assert (side * (outline[far, 0] - anatomical[far, 0]) > 2).all()
    np.testing.assert_allclose(outline[near], anatomical[near], atol=0.5)
    # nothing of the cheek at that height projects much further out, but the nose or brow may
    for x, y in outline[far]:
        band = surface[np.abs(surface[:, 1] - y) < 1.5]
        assert side * x < (side * band[:, 0]).max() + 0.5


def test_landmarks_move_smoothly_with_yaw() -> None:
    path = np.stack([marked(yaw)[0] for yaw in np.arange(-40, 41, 1.0)])
    step = np.linalg.norm(np.diff(path, axis=0), axis=2)
    assert step.max() < 3.0  # pixels a degree


def test_the_outline_is_looked_for_across_the_tilted_head() -> None:
    outline, anatomical, surface = marked(40.0, roll=15.0)
    up = rotation_from_pose([40.0, 0, 15.0])[:2, 1]
    across, along = np.array([up[1], up[0]]) / np.hypot(*up), np.array([up[0], -up[1]]) / np.hypot(*up)
    for k in (12, 13, 14):
        assert (outline[k] - anatomical[k]) @ across > 2
        band = surface[np.abs((surface - outline[k]) @ along) < 1.5]
        assert outline[k] @ across < (band @ across).max() + 0.5
    np.testing.assert_allclose(outline[:8], anatomical[:8], atol=0.5)


def test_states() -> None:
    depth = np.full((300, 300), 1e9, np.float32)
    depth[:, 100:] = 0.5
    eye = np.array([0, 0, 1.0])
    view = View(eye, 100.0, 100)
    u = np.array([10, 50, 60, 90, 130]) + 0.5
    z = np.array([0.6, 0.6, 0.5, 0.502, 0.5])
    points = np.stack([(u - 50) / 100 * z, 0 * u, 1 - z], 1)
    states = LandmarkVisibility(points, view, samples=3)
    states.see_head(depth)
    depth[:, 165:195] = 0.3
    assert states.states(depth).tolist() == [VISIBLE, SELF_OCCLUDED, OBJECT_OCCLUDED, VISIBLE, OUTSIDE]
