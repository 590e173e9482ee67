import numpy as np

from thermvision.generation.engines.phantom.subdivision import catmull_clark, triangulate

CUBE = np.array([[0, 1, 3, 2], [4, 6, 7, 5], [0, 4, 5, 1], [2, 3, 7, 6], [0, 2, 6, 4], [1, 5, 7, 3]], np.int32)
CORNERS = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], float)


def test_closed_cube() -> None:
    matrix, faces = catmull_clark(CUBE, 8)
    assert matrix.shape == (8 + 12 + 6, 8)
    assert faces.shape == (24, 4)
    np.testing.assert_allclose(np.asarray(matrix.sum(1)).ravel(), 1)  # a constant stays constant
    points = matrix @ CORNERS
    np.testing.assert_allclose(points[:8], CORNERS * 5 / 9)  # the textbook's first step of a cube
    np.testing.assert_allclose(np.abs(points[-6:]).max(1), 1)  # face points: centres of the faces


def test_open_border_is_a_cubic_curve() -> None:
    square = np.array([[0, 1, 2, 3]], np.int32)
    matrix, faces = catmull_clark(square, 4)
    corners = np.array([[0.0, 0], [1, 0], [1, 1], [0, 1]])
    points = matrix @ corners
    np.testing.assert_allclose(points[0], [0.125, 0.125])  # half itself, a quarter of each border edge's middle
    assert sorted(points[4:8].tolist()) == [[0, 0.5], [0.5, 0], [0.5, 1], [1, 0.5]]
    assert faces.shape == (4, 4)


def test_flat_grid_stays_put_inside() -> None:
    n = 5
    index = np.arange(n * n).reshape(n, n)
    quads = (
        np.stack([index[:-1, :-1], index[:-1, 1:], index[1:, 1:], index[1:, :-1]], -1).reshape(-1, 4).astype(np.int32)
    )
    xy = np.stack(np.meshgrid(np.arange(n), np.arange(n)), -1).reshape(-1, 2).astype(float)
    matrix, _ = catmull_clark(quads, n * n)
    np.testing.assert_allclose((matrix @ xy)[index[1:-1, 1:-1]], xy[index[1:-1, 1:-1]])


def test_triangles_keep_the_orientation() -> None:
    matrix, faces = catmull_clark(CUBE, 8)
    points, triangles = matrix @ CORNERS, triangulate(faces)
    a, b, c = points[triangles].transpose(1, 0, 2)
    outward = (np.cross(b - a, c - a) * (a + b + c)).sum(1)
    assert (outward > 0).all() or (outward < 0).all()
