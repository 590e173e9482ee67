import numpy as np
import pytest

from thermvision.annotations.schema import SEGMENTS
from thermvision.generation.engines.phantom import jewellery
from thermvision.generation.engines.phantom.identity import make_head
from thermvision.generation.engines.phantom.jewellery import make_jewellery
from thermvision.generation.engines.phantom.layers import Head, Layer
from thermvision.generation.engines.phantom.thermal import skin_temperature
from thermvision.generation.specs import Subject

ALL, NONE = {"female": 1.0, "male": 1.0}, {"female": 0.0, "male": 0.0}


@pytest.fixture(scope="module", params=["female", "male"])
def head(request: pytest.FixtureRequest) -> Head:
    return make_head(Subject("a", 2, request.param, 4))


def worn(head: Head, seed: int = 0) -> list[Layer]:
    skin = skin_temperature(head, np.random.default_rng(1), np.random.default_rng(2), 22.0)
    return make_jewellery(head, skin, 22.0, True, np.random.default_rng(seed))[0]


@pytest.mark.parametrize("seed", range(8))
def test_earrings_hang_at_both_ears(head: Head, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jewellery, "_EARRINGS", ALL)
    monkeypatch.setattr(jewellery, "_NECKLACE", NONE)
    layers = worn(head, seed)
    assert len(layers) in (2, 4)
    ear = head.rest[head.topology.ear > 0.3]
    for k, layer in enumerate(layers):
        side = -1 if k < len(layers) / 2 else 1
        assert layer.label == SEGMENTS.index("jewellery")
        assert layer.follow == "rigid"
        assert layer.emissivity == 0.2
        assert np.isfinite(layer.vertices).all()
        assert (side * layer.vertices[:, 0] > 0.04).all()
        assert abs(layer.vertices[:, 1].max() - ear[:, 1].min()) < 0.05
        assert layer.temperature.max() < 34


def test_hair_over_the_ears_hides_earrings_only(head: Head, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jewellery, "_EARRINGS", ALL)
    monkeypatch.setattr(jewellery, "_NECKLACE", ALL)
    skin = skin_temperature(head, np.random.default_rng(1), np.random.default_rng(2), 22.0)
    free, covered = (make_jewellery(head, skin, 22.0, e, np.random.default_rng(3))[0] for e in (True, False))
    assert len(covered) < len(free)
    for kept, same in zip(covered, free[-len(covered) :], strict=True):
        assert np.array_equal(kept.vertices, same.vertices)


def test_a_necklace_lies_on_the_skin(head: Head, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jewellery, "_EARRINGS", NONE)
    monkeypatch.setattr(jewellery, "_NECKLACE", ALL)
    chains = [worn(head, seed) for seed in range(6)]
    assert {len(c) for c in chains} == {1, 2}  # with and without a pendant
    for chain, *_ in chains:
        assert chain.follow == "skin"
        assert chain.anchor is not None
        front = chain.vertices[np.abs(chain.vertices[:, 0]) < 0.01]
        assert front[:, 2].max() > 0.05
        assert chain.vertices[:, 1].max() < head.landmarks[8, 1] - 0.01


def test_most_pictures_show_none_and_women_wear_more() -> None:
    counts = {}
    for gender in ("female", "male"):
        head = make_head(Subject("a", 2, gender, 4))
        skin = skin_temperature(head, np.random.default_rng(1), np.random.default_rng(2), 22.0)
        made = [make_jewellery(head, skin, 22.0, True, np.random.default_rng(seed)) for seed in range(30)]
        counts[gender] = sum(bool(layers) for layers, _ in made)
        assert all(bool(layers) == (name != "none") for layers, name in made)
    assert 0 < counts["male"] < counts["female"] < 30


@pytest.mark.parametrize(("wanted", "parts"), [("none", 0), ("earrings", 2), ("necklace", 1), ("both", 3)])
def test_what_is_wanted_is_worn_and_said(head: Head, wanted: str, parts: int) -> None:
    skin = skin_temperature(head, np.random.default_rng(1), np.random.default_rng(2), 22.0)
    layers, name = make_jewellery(head, skin, 22.0, False, np.random.default_rng(0), wanted)
    assert name == wanted
    assert parts <= len(layers) <= 2 * parts  # a drop has a hook, a chain may have a pendant
