import numpy as np
import pytest

from thermvision.annotations.schema import SEGMENTS
from thermvision.generation.engines.phantom.glasses import make_glasses
from thermvision.generation.engines.phantom.identity import make_head
from thermvision.generation.engines.phantom.layers import Head
from thermvision.generation.engines.phantom.thermal import skin_temperature
from thermvision.generation.specs import Subject


@pytest.fixture(scope="module", params=range(4))
def head(request: pytest.FixtureRequest) -> Head:
    return make_head(Subject("a", request.param, ("female", "male")[request.param % 2], 4))


def test_lenses_cover_the_eyes_from_the_front(head: Head) -> None:
    skin = skin_temperature(head, np.random.default_rng(1), np.random.default_rng(2), 22.0)
    layers = make_glasses(head, skin, 22.0, np.random.default_rng(3))
    assert len(layers) == 7  # two lenses, rims and arms, one bridge
    for layer in layers:
        assert layer.label == SEGMENTS.index("glasses")
        assert layer.follow == "rigid"
        assert np.isfinite(layer.vertices).all()
        assert layer.triangles.max() < len(layer.vertices)
        assert layer.temperature.shape == (len(layer.vertices),)
        assert layer.temperature.min() > 22
        assert layer.temperature.max() < skin.base
    for lens, eye in ((layers[0], slice(36, 42)), (layers[3], slice(42, 48))):
        points = head.landmarks[eye]
        low, high = lens.vertices.min(0), lens.vertices.max(0)
        assert (low[:2] < points[:, :2].min(0)).all()
        assert (high[:2] > points[:, :2].max(0)).all()
        assert lens.vertices[:, 2].min() > points[:, 2].max()  # before both eyes, rim included
    left, right = layers[3].vertices, layers[0].vertices
    assert left[:, 0].min() > 0.004 > -0.004 > right[:, 0].max()


def test_arms_reach_the_ears_outside_the_head(head: Head) -> None:
    skin = skin_temperature(head, np.random.default_rng(1), np.random.default_rng(2), 22.0)
    layers = make_glasses(head, skin, 22.0, np.random.default_rng(3))
    for arm, ear in ((layers[2], 0), (layers[5], 16)):
        assert np.linalg.norm(arm.vertices - head.landmarks[ear], axis=1).min() < 0.05
        assert arm.temperature[-1] == pytest.approx(skin.base - 3.5)
