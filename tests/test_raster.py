import hashlib
import os
import subprocess
import sys

import numpy as np
import pytest

from thermvision.generation.engines.phantom import raster
from thermvision.generation.engines.phantom.raster import NEAR, NOTHING, STRAND, draw_strands, draw_triangles, project
from thermvision.generation.engines.phantom.topology import vertex_normals

TRIANGLE = np.array([[0, 1, 2]], np.int32)


def draw(
    screen: object, triangles: object = TRIANGLE, cut: object = None, size: int = 16, **options: bool
) -> raster.Visibility:
    points = np.array(screen, float)
    seen = raster.empty_visibility(size, size)
    cuts = np.ones(len(points), np.float32) if cut is None else np.array(cut, np.float32)
    draw_triangles(points, np.array(triangles, np.int32), cuts, seen, **options)
    return seen


def test_projection() -> None:
    points = np.array([[0.1, 0.2, 0.0], [0.0, 0.0, 0.5]])
    screen = project(points, 100.0, 8.0, np.array([0.0, 0.1, 1.0]))
    np.testing.assert_allclose(screen, [[18, -2, 1], [8, 8 + 100 * 0.1 / 0.5, 0.5]])


def test_a_square_covers_each_sample_once() -> None:
    corners = [[2, 2, 1], [10, 2, 1], [10, 7, 1], [2, 7, 1]]
    seen = draw(corners, [[0, 1, 2], [0, 2, 3]])
    inside = np.zeros((16, 16), bool)
    inside[2:7, 2:10] = True
    np.testing.assert_array_equal(seen.triangle != NOTHING, inside)
    assert set(np.unique(seen.triangle[inside])) == {0, 1}


def test_neighbours_share_no_sample_and_leave_none_out() -> None:
    # a fan around a centre, corners on the lattice of samples: every edge case of the fill rule
    around = [[2.5, 2.5], [8.5, 2.5], [13.5, 4.5], [13.5, 12.5], [6.5, 13.5], [2.5, 9.5]]
    corners = [[x, y, 1.0] for x, y in [[8.5, 8.5], *around]]
    fan = [[0, 1 + k, 1 + (k + 1) % 6] for k in range(6)]
    drawn = np.stack([draw(corners, [triangle]).triangle != NOTHING for triangle in fan])
    assert drawn.sum(0).max() == 1
    np.testing.assert_array_equal(drawn.any(0), draw(corners, fan).triangle != NOTHING)
    assert drawn[:, 5:9, 3:13].any(0).all()


def test_weights_are_perspective_correct() -> None:
    screen = [[0, 0, 1.0], [16, 0, 4.0], [0, 16, 1.0]]
    seen = draw(screen)
    # halfway along the top edge on screen lies nearer to the near end in space: 1/z is linear
    w1 = seen.weight[0, 7, 1]
    share = 7.5 / 16
    assert w1 == pytest.approx(share / 4 / ((1 - share - 0.5 / 16) + share / 4 + 0.5 / 16), abs=1e-6)
    assert seen.depth[0, 7] == pytest.approx(1 / ((1 - share) + share / 4), abs=1e-6)


def test_nearest_wins_and_ties_keep_the_first() -> None:
    near, far = [[0, 0, 1], [16, 0, 1], [0, 16, 1]], [[0, 0, 2], [16, 0, 2], [0, 16, 2]]
    assert draw(far + near, [[0, 1, 2], [3, 4, 5]]).triangle[2, 2] == 1
    assert draw(near + far, [[0, 1, 2], [3, 4, 5]]).triangle[2, 2] == 0
    assert draw(near + near, [[0, 1, 2], [3, 4, 5]]).triangle[2, 2] == 0


def test_cut_is_a_straight_edge() -> None:
    corners = [[0, 0, 1], [16, 0, 1], [16, 16, 1], [0, 16, 1]]
    seen = draw(corners, [[0, 1, 2], [0, 2, 3]], cut=[-5, 11, 11, -5])  # zero at x = 5
    assert (seen.triangle[:, :5] == NOTHING).all()
    assert (seen.triangle[:, 5:] != NOTHING).all()


def test_backs_are_culled_only_on_demand() -> None:
    front, back = [[0, 0, 1], [0, 16, 1], [16, 0, 1]], [[0, 0, 1], [16, 0, 1], [0, 16, 1]]
    assert (draw(front, cull=True).triangle != NOTHING).any()
    assert (draw(back, cull=True).triangle == NOTHING).all()
    assert (draw(back).triangle != NOTHING).any()


@pytest.mark.parametrize("depth", [NEAR / 2, 0.0, -1.0])
def test_what_is_at_or_behind_the_lens_is_not_drawn(depth: float) -> None:
    assert (draw([[0, 0, 1], [16, 0, 1], [0, 16, depth]]).triangle == NOTHING).all()
    world = np.array([[0.0, 0, 2], [0, 0, 1 - depth], [0, 0, 0]])
    assert np.isfinite(project(world, 10.0, 8.0, np.array([0, 0, 1.0]))).all()


def strand(z: float, half_width: float, seen: raster.Visibility) -> None:
    line = np.array([[[1, 8.5, z], [15, 8.5, z]]], np.float32)
    temperature = np.array([[30, 32]], np.float32)
    draw_strands(line, temperature, np.array([half_width], np.float32), 5, seen.triangle, seen.depth, seen.weight)


def test_strands_are_z_tested() -> None:
    corners = [[0, 0, 1], [16, 0, 1], [16, 16, 1], [0, 16, 1]]
    seen = draw(corners, [[0, 1, 2], [0, 2, 3]])
    strand(1.5, 1.0, seen)
    assert (seen.triangle >= 0).all()
    strand(0.9, 1.0, seen)
    row = seen.triangle[8]
    assert (row[1:15] == STRAND - 5).all()
    warm = seen.weight[8, 1:15, 0]
    assert (np.diff(warm) > 0).all()
    assert 30 <= warm[0] < warm[-1] <= 32


def test_thin_strands_cover_their_share() -> None:
    covered = []
    for half_width in (0.05, 0.2, 0.4):
        seen = raster.empty_visibility(400, 400)
        y = np.linspace(5, 395, 300)
        lines = np.stack(
            [np.stack([np.full(300, 5), y, np.ones(300)], 1), np.stack([np.full(300, 395), y, np.ones(300)], 1)], 1
        )
        widths = np.full(300, half_width, np.float32)
        draw_strands(
            lines.astype(np.float32), np.zeros((300, 2), np.float32), widths, 5, seen.triangle, seen.depth, seen.weight
        )
        covered.append((seen.triangle != NOTHING).sum() / (390 * 300))
    # a strand with two points keeps its root width over its only segment; rows are shared by some strands
    np.testing.assert_allclose(covered, [0.1, 0.4, 0.8], rtol=0.15)


def test_normals_agree_with_the_reference() -> None:
    rng = np.random.default_rng(0)
    points = rng.normal(size=(50, 3))
    triangles = rng.integers(0, 50, (90, 3)).astype(np.int32)
    np.testing.assert_allclose(raster.surface_normals(points, triangles), vertex_normals(points, triangles), atol=1e-9)


SCRIPT = """
import hashlib, numpy as np
from thermvision.generation.engines.phantom import raster
rng = np.random.default_rng(1)
points = np.concatenate([rng.uniform(-20, 220, (3000, 2)), rng.uniform(.5, 2, (3000, 1))], 1)
triangles = rng.integers(0, 3000, (4000, 3)).astype(np.int32)
near = np.abs(np.ptp(points[triangles][..., :2], axis=1)).max(1) < 60
seen = raster.empty_visibility(200, 200)
raster.draw_triangles(points, triangles[near], rng.normal(.5, 1, 3000).astype(np.float32), seen)
lines = rng.uniform(0, 200, (500, 4, 3)).astype(np.float32); lines[..., 2] = lines[..., 2] / 100 + .2
buffers = seen.triangle, seen.depth, seen.weight
raster.draw_strands(lines, lines[..., 0].copy(), np.full(500, .3, np.float32), 5, *buffers)
import numba
print(numba.get_num_threads(), hashlib.sha256(b"".join(b.tobytes() for b in buffers)).hexdigest())
"""


def test_bit_identical_for_any_number_of_threads() -> None:
    def run(threads: str) -> tuple[int, str]:
        environment = {**os.environ, "NUMBA_NUM_THREADS": threads}
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT], env=environment, capture_output=True, text=True, check=True
        )
        count, digest = done.stdout.split()
        return int(count), digest

    one, two = run("1"), run("2")
    assert (one[0], two[0]) == (1, 2)
    assert one[1] == two[1] != hashlib.sha256(b"").hexdigest()
