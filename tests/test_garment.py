import numpy as np
import pytest

from thermvision.annotations.schema import SEGMENTS
from thermvision.generation.engines.phantom.garment import NECKLINES, make_garment
from thermvision.generation.engines.phantom.identity import make_head
from thermvision.generation.engines.phantom.layers import Head
from thermvision.generation.engines.phantom.thermal import skin_temperature
from thermvision.generation.specs import Subject


@pytest.fixture(scope="module")
def head() -> Head:
    return make_head(Subject("a", 1, "male", 5))


@pytest.mark.parametrize("seed", range(8))
def test_garment_hangs_on_the_shoulders_and_frees_the_face(head: Head, seed: int) -> None:
    skin = skin_temperature(head, np.random.default_rng(1), np.random.default_rng(2), 20.0)
    (cloth,) = make_garment(head, skin, 20.0, np.random.default_rng(seed))
    assert cloth.label == SEGMENTS.index("cloth")
    assert cloth.follow == "skin"
    assert cloth.cut is not None
    assert np.isfinite(cloth.vertices).all()
    assert np.isfinite(cloth.temperature).all()
    assert set(np.unique(cloth.triangles)) == set(range(len(cloth.vertices)))
    drawn = cloth.cut > 0
    assert drawn.sum() > 3000
    chin = head.landmarks[8, 1]
    assert cloth.vertices[drawn, 1].max() < chin
    assert cloth.vertices[:, 1].min() < chin - 0.12
    assert cloth.temperature[drawn].min() > 20
    assert cloth.temperature[drawn].max() < skin.base + 1


def test_every_neckline_occurs(head: Head, monkeypatch: pytest.MonkeyPatch) -> None:
    skin = skin_temperature(head, np.random.default_rng(1), np.random.default_rng(2), 20.0)
    tops = set()
    for seed in range(12):
        (cloth,) = make_garment(head, skin, 20.0, np.random.default_rng(seed))
        assert cloth.cut is not None
        middle = (np.abs(cloth.vertices[:, 0]) < 0.004) & (cloth.vertices[:, 2] > 0.03) & (cloth.cut > 0)
        tops.add(round(float(head.landmarks[8, 1] - cloth.vertices[middle, 1].max(initial=-9)), 2))
    assert len(tops) >= len(NECKLINES) - 1
    assert min(tops) < 0.065  # a turtleneck among them
