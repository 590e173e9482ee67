from typing import Any

import numpy as np
import pytest

from thermvision.annotations.errors import UsageError
from thermvision.annotations.schema import BEARDS
from thermvision.generation.engines.phantom.identity import (
    HAIRSTYLES_BY_GENDER,
    MINIMUM_DISTANCE,
    identity_traits,
    landmark_distance,
    make_head,
    shape_weights,
)
from thermvision.generation.specs import Subject


def person(index: int, gender: str = "male", seed: int = 0, **traits: Any) -> Subject:
    return Subject(f"P_{index:06d}", index, gender, seed, traits)


def test_a_seed_is_a_face() -> None:
    a, again, other, reseeded = (make_head(person(*k)) for k in ((3,), (3,), (4,), (3, "male", 1)))
    np.testing.assert_array_equal(a.rest, again.rest)
    assert landmark_distance(a.landmarks, again.landmarks) == 0
    assert landmark_distance(a.landmarks, other.landmarks) > MINIMUM_DISTANCE
    assert landmark_distance(a.landmarks, reseeded.landmarks) > MINIMUM_DISTANCE


def test_identities_differ() -> None:
    heads = [make_head(person(i, "female" if i % 2 else "male")) for i in range(8)]
    distances = [landmark_distance(a.landmarks, b.landmarks) for i, a in enumerate(heads) for b in heads[:i]]
    assert min(distances) > MINIMUM_DISTANCE
    assert 0.004 < float(np.median(distances)) < 0.015


def test_distance_ignores_where_the_head_is() -> None:

    head = make_head(person(0))
    assert landmark_distance(head.landmarks, head.landmarks + np.array([0.1, -0.2, 0.3])) == pytest.approx(0, abs=1e-12)


def test_traits_fix_one_thing_only() -> None:
    free, fixed = shape_weights(person(5)), shape_weights(person(5, hairstyle="bald"))
    assert free == fixed
    aged = shape_weights(person(5, age=70))
    local = [name for name in free if not name.startswith("macrodetails/universal")]
    assert {n: free[n] for n in local if "macro" not in n} == {n: aged[n] for n in local if "macro" not in n}
    assert make_head(person(5, age=70)).age == 70


def test_sides_differ_a_little() -> None:
    weights = shape_weights(person(9))
    pairs = [(w, weights[n.replace("/l-", "/r-")]) for n, w in weights.items() if "/l-" in n]
    assert len(pairs) > 30
    difference = np.array([a - b for a, b in pairs])
    assert 0 < np.abs(difference).max() < 0.2


def test_hairstyles_and_beards_suit_the_gender() -> None:
    for gender, styles in HAIRSTYLES_BY_GENDER.items():
        drawn = [identity_traits(person(i, gender)) for i in range(60)]
        assert {t["hairstyle"] for t in drawn} == set(styles)
        beards = [identity_traits(person(i, gender))["beard"] for i in range(200)]
        assert set(beards) == ({"none"} if gender == "female" else set(BEARDS))
        assert all(20 <= t["age"] <= 65 for t in drawn)


@pytest.mark.parametrize(
    "traits",
    [{"hairstyle": "mohawk"}, {"beard": "full"}, {"age": 7}, {"age": "old"}, {"nose": "big"}, {"weight": True}],
)
def test_wrong_traits_are_refused(traits: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="allowed"):
        identity_traits(person(0, "female", **traits))


def test_unknown_gender_is_refused() -> None:
    with pytest.raises(UsageError, match="female, male"):
        make_head(person(0, "robot"))
