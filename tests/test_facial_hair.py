import time

import numpy as np
import pytest

from thermvision.annotations.errors import UsageError
from thermvision.annotations.schema import SEGMENTS
from thermvision.generation.engines.phantom.anatomy import anatomy
from thermvision.generation.engines.phantom.assets import load_assets
from thermvision.generation.engines.phantom.facial_hair import FacialHair, beard_region, make_facial_hair
from thermvision.generation.engines.phantom.identity import make_head
from thermvision.generation.engines.phantom.layers import Floats, Head, Strands
from thermvision.generation.engines.phantom.thermal import skin_temperature
from thermvision.generation.engines.phantom.topology import vertex_normals
from thermvision.generation.specs import Subject

BROW, BEARD = SEGMENTS.index("brow"), SEGMENTS.index("beard")


@pytest.fixture(scope="module")
def head() -> Head:
    return make_head(Subject("a", 2, "male", 3))


@pytest.fixture(scope="module")
def full(head: Head) -> FacialHair:
    return make_facial_hair(head, "full", np.random.default_rng(0))


def _deformed(head: Head, *units: str) -> tuple[Floats, Floats, Floats]:
    raw = head.raw.copy()
    for unit in units:
        load_assets().morph(raw, f"faceunits/{unit}", 1.0)
    vertices = head.topology.subdivision @ raw[head.topology.kept] * 0.1
    return vertices, vertex_normals(vertices, head.topology.triangles), raw


def _parts(hair: FacialHair, shape: tuple[Floats, Floats, Floats]) -> tuple[Strands, Strands, Strands, Strands]:
    lashes, left, right, beard = hair.strands(*shape)
    return lashes, left, right, beard


def test_labels_shapes_and_temperatures(head: Head, full: FacialHair) -> None:
    skin = skin_temperature(head, np.random.default_rng(1), np.random.default_rng(2), 22.0)
    hair, shaded = full.on(skin)
    groups = hair.strands(head.rest, head.rest_normals, head.raw)
    assert [g.label for g in groups] == [BROW, BROW, BROW, BEARD]
    for g in groups:
        assert g.points.shape == (len(g.half_width), 3, 3)
        assert g.temperature.shape == g.points.shape[:2]
        assert np.isfinite(g.points).all()
        assert (g.temperature < skin.base + 2.5).all()
        assert (g.temperature > skin.base - 7).all()
    assert (shaded.temperature <= skin.temperature).all()
    assert (shaded.temperature < skin.temperature - 0.5).any()


def test_brows_lie_on_their_landmarks_and_do_not_know_the_beard(head: Head, full: FacialHair) -> None:
    _, left, right, _ = _parts(full, (head.rest, head.rest_normals, head.raw))
    for strands, rows in ((left, slice(22, 27)), (right, slice(17, 22))):
        centre, points = strands.points[:, 0].mean(0), head.landmarks[rows]
        assert np.abs(centre - points.mean(0)).max() < 0.006
    bare = make_facial_hair(head, "none", np.random.default_rng(0))
    assert len(bare.bound) == 2
    assert np.array_equal(bare.bound[0].direction, full.bound[0].direction)
    assert 0 < bare.shade.max() < 0.7  # the shadow of a shaven beard
    woman = make_facial_hair(make_head(Subject("b", 2, "female", 3)), "none", np.random.default_rng(0))
    assert not woman.shade.any()


def test_beard_grows_below_the_cheek_line_only(head: Head) -> None:
    cover, _ = beard_region(head, np.random.default_rng(0))
    points = anatomy(head.topology).points
    x, y, _ = head.topology.canonical.T
    assert cover.min() >= 0
    assert cover.max() <= 1
    assert not cover[y > points[16, 1] + 0.045].any()
    front = (np.abs(x) < points[54, 0]) & (y > points[33, 1] + 0.006)
    assert not cover[front].any()
    assert not cover[anatomy(head.topology).lips > 0.001].any()
    assert cover[head.topology.landmarks[[7, 8, 9]]].min() > 0.3
    assert not cover[anatomy(head.topology).oral > 0.5].any()


def test_moustache_and_goatee_leave_the_cheeks_bare(head: Head) -> None:
    points = anatomy(head.topology).points
    x, y = head.topology.canonical[:, 0], head.topology.canonical[:, 1]
    bare = make_facial_hair(head, "none", np.random.default_rng(0)).shade
    for beard, below in (("moustache", False), ("goatee", True)):
        hair = make_facial_hair(head, beard, np.random.default_rng(0))
        roots = np.einsum("ni,ni->n", hair.bound[2].roots.weights, y[hair.bound[2].roots.rows])
        assert (roots < points[57, 1]).any() == below
        assert (roots > points[62, 1]).any()
        cheeks = np.abs(x) > points[54, 0] + 0.018
        assert np.array_equal(hair.shade[cheeks], bare[cheeks])


def test_hair_follows_the_expression(head: Head, full: FacialHair) -> None:
    rest = _parts(full, (head.rest, head.rest_normals, head.raw))
    surprised = _parts(full, _deformed(head, "jawOpen", "browInnerUp", "browOuterUpLeft"))
    blinking = _parts(full, _deformed(head, "eyeBlinkLeft", "eyeBlinkRight"))
    lashes, brow, beard = 0, 1, 3
    assert (surprised[brow].points - rest[brow].points)[..., 1].mean() > 0.002
    assert (surprised[beard].points - rest[beard].points)[..., 1].mean() < -0.005
    assert (blinking[lashes].points - rest[lashes].points)[..., 1].min() < -0.004
    chin = rest[beard].points[:, 0, 1] < head.landmarks[57, 1]
    assert np.allclose(blinking[beard].points[chin], rest[beard].points[chin], atol=2e-4)


def test_roots_sit_on_the_skin(head: Head, full: FacialHair) -> None:
    bound = full.bound[2]
    strands = bound.at(head.rest, head.rest_normals, 33.0)
    roots = np.einsum("ni,nic->nc", bound.roots.weights, head.rest[bound.roots.rows])
    assert np.linalg.norm(strands.points[:, 0] - roots, axis=1).max() < 0.00031
    reach = np.linalg.norm(strands.points[:, 2] - roots, axis=1)
    assert reach.max() < 1.6 * bound.length.max()


def test_it_is_fast_enough_for_every_frame(head: Head, full: FacialHair) -> None:
    full.strands(head.rest, head.rest_normals, head.raw)
    best = min(_seconds(head, full) for _ in range(5))
    assert best < 0.02  # 3 ms on a free core


def _seconds(head: Head, hair: FacialHair) -> float:
    start = time.perf_counter()
    hair.strands(head.rest, head.rest_normals, head.raw)
    return time.perf_counter() - start


def test_unknown_beard(head: Head) -> None:
    with pytest.raises(UsageError, match=r"mutton.*none, stubble, full"):
        make_facial_hair(head, "mutton", np.random.default_rng(0))
