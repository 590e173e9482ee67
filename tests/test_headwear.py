import numpy as np
import pytest

from thermvision.annotations.errors import UsageError
from thermvision.annotations.schema import HEADWEAR, SEGMENTS
from thermvision.generation.engines.phantom.anatomy import anatomy
from thermvision.generation.engines.phantom.appearance import dress
from thermvision.generation.engines.phantom.headwear import Rim, make_headwear
from thermvision.generation.engines.phantom.identity import make_head
from thermvision.generation.engines.phantom.layers import Head
from thermvision.generation.engines.phantom.thermal import skin_temperature
from thermvision.generation.specs import Subject

WOMAN = Subject("f", 4, "female", 6, {"hairstyle": "long"})


@pytest.fixture(scope="module")
def head() -> Head:
    return make_head(WOMAN)


@pytest.mark.parametrize("kind", HEADWEAR[1:])
@pytest.mark.parametrize("index", range(3))
def test_hat_encloses_the_skull_and_frees_the_face(kind: str, index: int) -> None:
    head = make_head(Subject("a", index, ("female", "male")[index % 2], 4))
    skin = skin_temperature(head, np.random.default_rng(1), np.random.default_rng(2), 22.0)
    hat = make_headwear(head, kind, "short", skin, 22.0, np.random.default_rng(index))
    shell = hat.layers[0]
    assert len(hat.layers) == (2 if kind == "cap" else 1)
    for layer in hat.layers:
        assert layer.label == SEGMENTS.index("headwear")
        assert layer.follow == "rigid"
        assert np.isfinite(layer.vertices).all()
        assert 20 < layer.temperature.min() <= layer.temperature.max() < skin.base
    # every bit of skull above the rim lies inside: cloth in its direction is farther out
    centre = np.array([0.0, head.landmarks[24, 1] + 0.012, hat.rim.axis])
    above = anatomy(head.topology).skin & (hat.rim.above(head.rest) > 0.004)
    skull = head.rest[above][::40] - centre
    cloth = shell.vertices - centre
    radius = np.linalg.norm(cloth, axis=1)
    cosine = (skull / np.linalg.norm(skull, axis=1, keepdims=True)) @ (cloth / radius[:, None]).T
    near = cosine > np.cos(np.radians(4.0))
    outermost = np.where(near, radius, 0).max(1)
    assert (outermost[near.any(1)] > np.linalg.norm(skull, axis=1)[near.any(1)]).all()
    assert near.any(1).mean() > 0.98
    # brows and eyes are below the rim
    assert hat.rim.above(head.landmarks[17:27]).max() < 0
    assert shell.vertices[:, 1].max() > head.rest[:, 1].max()


def test_a_brim_stands_out_before_the_forehead(head: Head) -> None:
    skin = skin_temperature(head, np.random.default_rng(1), np.random.default_rng(2), 22.0)
    _, brim = make_headwear(head, "cap", "long", skin, 22.0, np.random.default_rng(0)).layers
    forehead = head.landmarks[[19, 24], 2].max()
    assert 0.045 < brim.vertices[:, 2].max() - forehead < 0.11
    assert brim.vertices[:, 1].min() > head.landmarks[36:48, 1].max() - 0.01


def test_the_rim_has_the_heights_it_is_given() -> None:
    rim = Rim(0.9, 0.8, 0.75, 0.05)
    assert rim.height(np.array([0.0, np.pi / 2, -np.pi / 2, np.pi])).tolist() == pytest.approx([0.9, 0.8, 0.8, 0.75])
    points = np.array([[0.0, 0.95, 0.15], [0.1, 0.80, 0.05], [0.0, 0.70, -0.1]])
    assert rim.above(points).tolist() == pytest.approx([0.05, 0.0, -0.05])


@pytest.mark.parametrize("kind", HEADWEAR[1:])
def test_hair_starts_below_the_rim_and_stays_inside_it(head: Head, kind: str) -> None:
    free, hatted = (dress(head, WOMAN, {"headwear": k}, 22.0, 0) for k in ("none", kind))
    assert hatted.attributes["headwear"] == kind
    skin = skin_temperature(head, np.random.default_rng(1), np.random.default_rng(2), 22.0)
    strands, full = hatted.hair[0], free.hair[0]
    assert 0.2 * len(full.points) < len(strands.points) <= len(full.points)  # long hair still falls down the sides
    assert strands.temperature.shape == strands.points.shape[:2]
    assert strands.half_width.shape == strands.points.shape[:1]
    shell = hatted.layers[-1 if kind == "beanie" else -2]
    # none begins outside the cloth's edge
    start = strands.points[:, 0] - [0, 0, head.landmarks[16, 2]]
    edge = shell.vertices[: len(shell.vertices) // 20] - [0, 0, head.landmarks[16, 2]]
    assert np.hypot(start[:, 0], start[:, 2]).max() < np.hypot(edge[:, 0], edge[:, 2]).max() + 0.001
    assert strands.points[..., 1].max() < full.points[..., 1].max() - 0.03
    assert skin.base > strands.temperature.mean()


def test_a_bald_head_wears_one_too(head: Head) -> None:
    assert dress(head, WOMAN, {"headwear": "beanie", "hairstyle": "bald"}, 22.0, 0).hair == []


def test_unknown_headwear_is_refused(head: Head) -> None:
    skin = skin_temperature(head, np.random.default_rng(1), np.random.default_rng(2), 22.0)
    with pytest.raises(UsageError, match=r"crown.*allowed: none, cap, beanie"):
        make_headwear(head, "crown", "long", skin, 22.0, np.random.default_rng(0))
