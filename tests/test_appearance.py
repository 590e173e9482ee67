import numpy as np
import pytest

from thermvision.annotations.errors import UsageError
from thermvision.annotations.schema import ATTRIBUTES, SEGMENTS
from thermvision.generation.engines.phantom.anatomy import anatomy
from thermvision.generation.engines.phantom.appearance import Appearance, dress, resolve_attributes
from thermvision.generation.engines.phantom.identity import make_head
from thermvision.generation.engines.phantom.layers import Head
from thermvision.generation.specs import Subject

SUBJECT = Subject("m", 3, "male", 6, {"hairstyle": "crew", "beard": "stubble"})
WOMAN = Subject("f", 4, "female", 6, {"hairstyle": "bob"})


@pytest.fixture(scope="module")
def head() -> Head:
    return make_head(SUBJECT)


@pytest.fixture(scope="module")
def plain(head: Head) -> Appearance:
    return dress(head, SUBJECT, {}, 22.0, 0)


def test_attributes_come_from_the_identity(head: Head, plain: Appearance) -> None:
    assert plain.attributes == {
        "hairstyle": "crew", "beard": "stubble", "glasses": "none", "mask": "none", "headwear": "none",
        "jewellery": "none",
    }  # fmt: skip
    assert set(plain.attributes) == set(ATTRIBUTES)
    assert resolve_attributes(head, {"beard": None, "glasses": "glasses"})["glasses"] == "glasses"
    assert plain.layers[0].label == SEGMENTS.index("cloth")
    assert not {layer.label for layer in plain.layers} & {SEGMENTS.index(n) for n in ("glasses", "mask", "headwear")}
    assert len(plain.hair) == 1
    assert len(plain.facial_hair.bound) == 3


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({"mask": "scarf"}, "scarf.*allowed: none, mask"),
        ({"headwear": "crown"}, "crown.*allowed: none, cap, beanie"),
        ({"hairstyle": "mohawk"}, "mohawk.*allowed: bald"),
        ({"shoes": "none"}, "no such attribute: shoes.*allowed: hairstyle"),
    ],
)
def test_what_cannot_be_drawn_is_refused(head: Head, attributes: dict[str, str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        dress(head, SUBJECT, attributes, 22.0, 0)


def test_no_beard_on_a_woman() -> None:
    with pytest.raises(UsageError, match="allowed: none; choose a male"):
        resolve_attributes(make_head(WOMAN), {"beard": "full"})


def test_the_same_call_gives_the_same_appearance(head: Head, plain: Appearance) -> None:
    again = dress(make_head(SUBJECT), SUBJECT, {}, 22.0, 0)
    assert np.array_equal(again.skin.temperature, plain.skin.temperature)
    assert np.array_equal(again.hair[0].points, plain.hair[0].points)
    assert np.array_equal(again.hair[0].temperature, plain.hair[0].temperature)
    assert np.array_equal(again.layers[0].vertices, plain.layers[0].vertices)
    assert np.array_equal(plain.background((20, 30)), again.background((20, 30)))
    assert np.array_equal(plain.background((20, 30)), plain.background((20, 30)))


def test_features_do_not_share_streams(head: Head, plain: Appearance) -> None:
    everything = {"glasses": "glasses", "mask": "mask", "headwear": "cap"}
    other = dress(head, SUBJECT, {"hairstyle": "bald", "beard": "none", **everything}, 22.0, 0)
    assert not other.hair
    labels = {layer.label for layer in other.layers}
    assert {SEGMENTS.index(n) for n in ("cloth", "glasses", "mask", "headwear")} <= labels
    # face, garment, brows and room are the same to the last bit
    points = anatomy(head.topology).points
    x, y, z = head.topology.canonical.T
    face = (np.abs(x) < 0.05) & (z > 0.05) & (y > points[30, 1]) & (y < points[27, 1] + 0.03)
    assert face.sum() > 5000
    assert np.array_equal(other.skin.temperature[face], plain.skin.temperature[face])
    for layer, same in zip(plain.layers, other.layers[: len(plain.layers)], strict=True):
        assert np.array_equal(layer.temperature, same.temperature)
        assert np.array_equal(layer.vertices, same.vertices)
    assert np.array_equal(other.facial_hair.bound[0].direction, plain.facial_hair.bound[0].direction)
    assert np.array_equal(other.background((16, 16)), plain.background((16, 16)))


def test_items_share_the_identity_and_differ_in_session(head: Head, plain: Appearance) -> None:
    later = dress(head, SUBJECT, {}, 22.0, 1)
    assert np.array_equal(later.hair[0].points, plain.hair[0].points)
    assert later.skin.base != plain.skin.base
    assert not np.array_equal(later.background((16, 16)), plain.background((16, 16)))
    assert later.layers[0].vertices.shape != plain.layers[0].vertices.shape or not np.allclose(
        later.layers[0].vertices, plain.layers[0].vertices
    )


@pytest.mark.parametrize("ambient", [15.0, 32.0])
def test_everything_is_finite_in_cold_and_warm_rooms(ambient: float) -> None:
    head = make_head(WOMAN)
    seen = dress(head, WOMAN, {"glasses": "glasses"}, ambient, 2)
    parts = [seen.skin.temperature, *(layer.temperature for layer in seen.layers)]
    parts += [s.temperature for s in seen.hair]
    parts += [s.temperature for s in seen.facial_hair.strands(head.rest, head.rest_normals, head.raw)]
    for temperature in parts:
        assert np.isfinite(temperature).all()
        assert temperature.min() > ambient - 6
        assert temperature.max() < 42
