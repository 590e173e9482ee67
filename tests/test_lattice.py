import numpy as np
import pytest

from thermvision.generation.engines.phantom.lattice import Taut, clearance, lattice_triangles, sheet, tube


def test_a_lattice_has_two_triangles_a_cell() -> None:
    triangles = lattice_triangles(3, 4)
    assert triangles.shape == (12, 3)
    assert set(np.unique(triangles)) == set(range(12))
    assert triangles.dtype == np.int32


def test_taut_cloth_over_a_cube() -> None:
    corners = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], np.float64)
    inner = np.random.default_rng(0).uniform(-0.9, 0.9, (50, 3))
    directions = np.array([[1.0, 0, 0], [0, -1, 0], [0.6, 0, 0.8]])
    taut = Taut(np.concatenate([corners, inner]), np.array([0.2, 0.0, 0.0]))
    assert taut.radius(directions).tolist() == pytest.approx([0.8, 1.0, 1.25])
    assert taut.radius(directions.reshape(3, 1, 3)).shape == (3, 1)


def test_clearance_lifts_what_is_too_low_and_leaves_the_rest() -> None:
    x, y = np.meshgrid(np.linspace(-1, 1, 41), np.linspace(-1, 1, 41))
    plane = np.stack([x.ravel(), y.ravel(), np.zeros(x.size)], 1)
    normals = np.tile([0.0, 0, 1], (len(plane), 1))
    points = np.array([[[0.0, 0.0, -0.2], [0.5, 0.5, 0.3]]])
    lifted = clearance(plane, normals)(points, 0.1)
    assert lifted.shape == points.shape
    assert lifted[0, 0, 2] == pytest.approx(0.1)
    assert np.array_equal(lifted[0, 1], points[0, 1])


def test_tubes_have_their_radius_and_carry_values_along() -> None:
    line = np.stack([np.linspace(0, 1, 11), np.zeros(11), np.zeros(11)], 1)
    made = tube(
        line, np.linspace(0.01, 0.02, 11), np.arange(11.0), 8, 0.9, "rigid", around=7, jaw=np.linspace(0, 1, 11)
    )
    assert made.vertices.shape == (77, 3)
    radius = np.hypot(made.vertices[:, 1], made.vertices[:, 2]).reshape(11, 7)
    assert np.allclose(radius, np.linspace(0.01, 0.02, 11)[:, None])
    assert np.array_equal(made.temperature.reshape(11, 7)[:, 0], np.arange(11.0))
    assert made.jaw is not None
    assert made.jaw.shape == (77,)
    plain = sheet(np.zeros((2, 3, 3)), np.zeros((2, 3)), 4, 0.9, "skin", breathing=np.ones((2, 3)))
    assert plain.breathing is not None
    assert plain.breathing.shape == (6,)
