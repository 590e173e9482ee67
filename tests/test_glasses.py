import numpy as np
import pytest

from thermvision.annotations.schema import SEGMENTS
from thermvision.generation.engines.phantom import glasses
from thermvision.generation.engines.phantom.glasses import FRAMES, make_glasses
from thermvision.generation.engines.phantom.identity import make_head
from thermvision.generation.engines.phantom.layers import Head, Layer
from thermvision.generation.engines.phantom.thermal import SkinTemperature, skin_temperature
from thermvision.generation.specs import Subject

CORNERS = 9  # vertices around a tube


@pytest.fixture(scope="module", params=range(4))
def head(request: pytest.FixtureRequest) -> Head:
    return make_head(Subject("a", request.param, ("female", "male")[request.param % 2], 4))


def worn(head: Head, name: str, monkeypatch: pytest.MonkeyPatch) -> tuple[list[Layer], SkinTemperature]:
    monkeypatch.setattr(glasses, "FRAMES", {name: FRAMES[name]} | {f"{k}": FRAMES[name] for k in "abcd"})
    skin = skin_temperature(head, np.random.default_rng(1), np.random.default_rng(2), 22.0)
    return make_glasses(head, skin, 22.0, np.random.default_rng(3)), skin


@pytest.mark.parametrize("name", FRAMES)
def test_lenses_cover_the_eyes_from_the_front(head: Head, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    layers, skin = worn(head, name, monkeypatch)
    each = 2 if name == "rimless" else 3  # lens, rim, arm
    assert len(layers) == 2 * each + 3  # and a bridge and two pads
    for layer in layers:
        assert layer.label == SEGMENTS.index("glasses")
        assert layer.follow == "rigid"
        assert np.isfinite(layer.vertices).all()
        assert layer.triangles.max() < len(layer.vertices)
        assert layer.temperature.shape == (len(layer.vertices),)
        assert layer.temperature.min() > 22
        assert layer.temperature.max() < skin.base
    for lens, eye in ((layers[0], slice(36, 42)), (layers[each], slice(42, 48))):
        points = head.landmarks[eye]
        low, high = lens.vertices.min(0), lens.vertices.max(0)
        assert (low[:2] < points[:, :2].min(0)).all()
        assert (high[:2] > points[:, :2].max(0)).all()
        assert lens.vertices[:, 2].min() > points[:, 2].max()  # before both eyes, rim included
    left, right = layers[each].vertices, layers[0].vertices
    assert left[:, 0].min() > 0.004 > -0.004 > right[:, 0].max()


def test_half_rims_have_no_lower_half(head: Head, monkeypatch: pytest.MonkeyPatch) -> None:
    (lens, rim, *_), _ = worn(head, "half", monkeypatch)
    middle = lens.vertices[:, 1].mean()
    assert rim.vertices[:, 1].min() > middle - 0.004
    assert rim.vertices[:, 1].max() > lens.vertices[:, 1].max() - 0.001


def test_arms_reach_the_ears_outside_the_head(head: Head, monkeypatch: pytest.MonkeyPatch) -> None:
    layers, skin = worn(head, "full", monkeypatch)
    for arm, ear in ((layers[2], 0), (layers[5], 16)):
        assert np.linalg.norm(arm.vertices - head.landmarks[ear], axis=1).min() < 0.05
        assert arm.temperature[-1] == pytest.approx(skin.base - 3.5)
        # the end goes down behind the ear
        end = arm.vertices[-CORNERS:].mean(0)
        assert end[2] < head.landmarks[ear, 2] - 0.02
        assert end[1] < arm.vertices[24 * CORNERS - 1, 1]


def test_pads_rest_beside_the_nose(head: Head, monkeypatch: pytest.MonkeyPatch) -> None:
    layers, _ = worn(head, "full", monkeypatch)
    for pad, side in ((layers[-2], -1), (layers[-1], 1)):
        assert 0.002 < (side * pad.vertices[:, 0]).mean() < 0.016
        assert np.abs(pad.vertices[:, 1] - head.landmarks[27, 1]).max() < 0.02


def test_pairs_differ() -> None:
    head = make_head(Subject("a", 1, "male", 4))
    skin = skin_temperature(head, np.random.default_rng(1), np.random.default_rng(2), 22.0)
    sizes = {
        tuple(np.ptp(make_glasses(head, skin, 22.0, np.random.default_rng(s))[0].vertices, axis=0)) for s in range(12)
    }
    assert len(sizes) == 12
    assert np.ptp([s[1] for s in sizes]) > 0.006
