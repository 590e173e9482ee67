import numpy as np
import pytest
from scipy.spatial import cKDTree

from thermvision.annotations.schema import SEGMENTS
from thermvision.generation.engines.phantom import garment
from thermvision.generation.engines.phantom.garment import NECKLINES, make_garment
from thermvision.generation.engines.phantom.identity import make_head
from thermvision.generation.engines.phantom.layers import Head, Layer
from thermvision.generation.engines.phantom.thermal import SkinTemperature, skin_temperature
from thermvision.generation.specs import Subject


@pytest.fixture(scope="module")
def head() -> Head:
    return make_head(Subject("a", 1, "male", 5))


@pytest.fixture(scope="module")
def skin(head: Head) -> SkinTemperature:
    return skin_temperature(head, np.random.default_rng(1), np.random.default_rng(2), 20.0)


def worn(head: Head, skin: SkinTemperature, name: str, monkeypatch: pytest.MonkeyPatch, seed: int = 0) -> list[Layer]:
    monkeypatch.setattr(garment, "_SHARES", tuple(float(k == name) for k in NECKLINES))
    return make_garment(head, skin, 20.0, np.random.default_rng(seed))


@pytest.mark.parametrize("name", NECKLINES)
def test_garment_hangs_on_the_shoulders_and_frees_the_face(
    head: Head, skin: SkinTemperature, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    layers = worn(head, skin, name, monkeypatch)
    cloth, chin = layers[0], head.landmarks[8, 1]
    assert cloth.cut is not None
    assert set(np.unique(cloth.triangles)) == set(range(len(cloth.vertices)))
    drawn = cloth.cut > 0
    assert drawn.sum() > 3000
    assert cloth.vertices[:, 1].min() < chin - 0.12
    for layer in layers:
        assert layer.label == SEGMENTS.index("cloth")
        assert layer.follow == "skin"
        assert np.isfinite(layer.vertices).all()
        assert layer.temperature.shape == (len(layer.vertices),)
        assert layer.triangles.max() < len(layer.vertices)
        assert layer.temperature.min() > 20
        assert layer.temperature.max() < skin.base + 2
        assert layer.anchor is None or layer.anchor.shape == layer.vertices.shape
        shown = np.ones(len(layer.vertices), bool) if layer.cut is None else layer.cut > 0
        front = shown & (layer.vertices[:, 2] > head.landmarks[8, 2] - 0.04) & (np.abs(layer.vertices[:, 0]) < 0.05)
        assert layer.vertices[front, 1].max(initial=-9) < chin - 0.02


def test_every_neckline_is_drawn_by_seed(head: Head, skin: SkinTemperature) -> None:
    assert len(garment._SHARES) == len(NECKLINES)
    assert sum(garment._SHARES) == pytest.approx(1)
    counts = {len(make_garment(head, skin, 20.0, np.random.default_rng(s))) for s in range(16)}
    assert {1, 3} <= counts  # plain, and with collar, hood or jacket


def test_the_trunk_goes_on_below_the_head_mesh(
    head: Head, skin: SkinTemperature, monkeypatch: pytest.MonkeyPatch
) -> None:
    cloth = worn(head, skin, "crew", monkeypatch)[0]
    assert cloth.vertices[:, 1].min() < head.rest[:, 1].min() - 0.4
    assert np.abs(cloth.vertices[:, 0]).max() > np.abs(head.rest[:, 0]).max() + 0.03


def test_texture_vertices_leave_no_crack(head: Head, skin: SkinTemperature, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every inner edge belongs to exactly two triangles: coarse and fine parts share their border."""
    cloth = worn(head, skin, "crew", monkeypatch)[0]
    assert cloth.cut is not None
    t = cloth.triangles
    edges = np.sort(np.concatenate([t[:, [0, 1]], t[:, [1, 2]], t[:, [2, 0]]]), axis=1)
    unique, count = np.unique(edges, axis=0, return_counts=True)
    assert count.max() == 2
    lone = unique[count == 1]
    at, cut = cloth.vertices[lone].mean(1), cloth.cut[lone].mean(1)
    # what lies open is the neckline's margin and the lower end of the trunk
    assert ((cut < 0.005) | (at[:, 1] < head.rest[:, 1].min() - 0.3)).mean() > 0.99


def test_collars_move_with_their_seam(head: Head, skin: SkinTemperature, monkeypatch: pytest.MonkeyPatch) -> None:
    collar = worn(head, skin, "turtleneck", monkeypatch)[1]
    assert collar.anchor is not None
    assert collar.anchor[:, 1].max() < collar.vertices[:, 1].max()
    assert np.linalg.norm(collar.anchor - collar.vertices, axis=1).max() < 0.12


def test_nothing_comes_through_a_jacket(head: Head, skin: SkinTemperature, monkeypatch: pytest.MonkeyPatch) -> None:
    inner, jacket, *_ = worn(head, skin, "jacket", monkeypatch)
    assert inner.cut is not None
    assert jacket.cut is not None
    distance, nearest = cKDTree(jacket.vertices).query(inner.vertices)
    covered = (distance < 0.045) & (jacket.cut[nearest] > 0.03)
    assert covered.sum() > 1000
    assert (inner.cut[covered] < 0).all()
    front = (np.abs(inner.vertices[:, 0]) < 0.01) & (inner.vertices[:, 2] > 0.05)
    assert (inner.cut[front] > 0).any()  # and is seen where the jacket is open
