import numpy as np
from scipy.spatial import cKDTree

from thermvision.annotations.schema import SEGMENTS
from thermvision.generation.engines.phantom.topology import LANDMARK_VERTICES, load_topology, vertex_normals

MIRROR = {
    **{k: 16 - k for k in range(17)}, **{17 + k: 26 - k for k in range(10)}, 27: 27, 28: 28, 29: 29, 30: 30,
    31: 35, 32: 34, 33: 33, 36: 45, 37: 44, 38: 43, 39: 42, 40: 47, 41: 46,
    48: 54, 49: 53, 50: 52, 51: 51, 55: 59, 56: 58, 57: 57, 60: 64, 61: 63, 62: 62, 65: 67, 66: 66,
}  # fmt: skip


def test_landmarks_mirror() -> None:
    topology = load_topology()
    points = topology.canonical[topology.landmarks]
    assert len(set(LANDMARK_VERTICES)) == 68
    for left, right in MIRROR.items():
        np.testing.assert_allclose(points[left] * [-1, 1, 1], points[right], atol=1e-9, err_msg=str((left, right)))
    # subject's left is +x, so image left holds the low jaw numbers
    assert points[0, 0] < points[8, 0] < points[16, 0]


def test_landmarks_lie_where_their_names_say() -> None:
    topology = load_topology()
    p = topology.canonical[topology.landmarks]
    assert p[30, 2] == p[:, 2].max()  # nose tip foremost
    assert p[:, 1].argmin() in (7, 8, 9)  # chin lowest
    assert (p[17:27, 1] > p[36:48, 1].max()).all()  # brows over eyes
    assert p[36:48, 1].min() > p[33, 1] > p[51, 1] > p[62, 1] > p[57, 1] > p[8, 1]


def test_mesh() -> None:
    topology = load_topology()
    n = len(topology.canonical)
    assert 80_000 < n < 95_000
    assert topology.triangles.dtype == np.int32
    assert topology.triangles.max() == n - 1
    assert set(np.unique(topology.label)) == {SEGMENTS.index(s) for s in ("skin", "eye", "mouth", "teeth")}
    np.testing.assert_allclose(np.asarray(topology.smoothing.sum(1)).ravel(), 1)
    skin = topology.label == SEGMENTS.index("skin")
    centre = topology.canonical[topology.landmarks[[0, 16]]].mean(0)
    face = skin & (topology.canonical_normals[:, 2] > 0.5) & (topology.canonical[:, 2] > 0.1)
    assert ((topology.canonical - centre)[face] * topology.canonical_normals[face]).sum(1).mean() > 0  # outward


def test_ear_mask_is_on_both_ears_and_nowhere_else() -> None:
    topology = load_topology()
    x = topology.canonical[:, 0]
    inner = np.abs(topology.canonical[topology.landmarks[16], 0]) - 0.012
    assert (np.abs(x[topology.ear > 0.05]) > inner).all()
    counts = [(topology.ear[x * side > 0] > 0.5).sum() for side in (-1, 1)]
    assert counts[0] == counts[1] > 500


def test_canonical_shape_is_symmetric() -> None:
    shape = load_topology().canonical
    distance, _ = cKDTree(shape).query(shape * [-1, 1, 1])
    assert np.quantile(distance, 0.99) < 1e-4


def test_normals_of_a_plane() -> None:
    square = np.array([[0.0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0], [9, 9, 9]])
    normals = vertex_normals(square, np.array([[0, 1, 2], [0, 2, 3]], np.int32))
    np.testing.assert_allclose(normals, [[0, 0, 1]] * 4 + [[0, 0, 0]])
