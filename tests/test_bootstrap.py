"""Intervals cover what they should, hold groups together, and do not depend on how they are computed."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from thermvision.annotations.bootstrap import Bootstrap, divide, group_numbers


def test_it_covers_the_truth() -> None:
    rng, inside = np.random.default_rng(5), 0
    for seed in range(200):
        person = rng.normal(size=(30, 1))
        values = (person + 0.1 * rng.normal(size=(30, 4))).ravel()
        ends = Bootstrap(rounds=200, seed=seed).mean(values, np.repeat(np.arange(30), 4))
        assert ends is not None
        inside += ends[0] <= 0 <= ends[1]
    assert 180 <= inside <= 197


def test_people_are_drawn_and_not_frames() -> None:
    values = np.repeat(np.arange(10.0), 50)
    by_person = Bootstrap().mean(values, np.repeat(np.arange(10), 50))
    by_frame = Bootstrap().mean(values, np.arange(500))
    assert by_person is not None
    assert by_frame is not None
    assert by_person[1] - by_person[0] > 5 * (by_frame[1] - by_frame[0])


def test_the_level_sets_the_width() -> None:
    values = np.random.default_rng(3).normal(size=400)
    ends = [Bootstrap(level=level).mean(values, range(400)) for level in (0.5, 0.95)]
    narrow, wide = (high - low for low, high in (e for e in ends if e is not None))
    # of a normal distribution: .674 and 1.960 standard errors to either side
    assert narrow / wide == pytest.approx(0.674 / 1.960, rel=0.1)
    assert wide == pytest.approx(2 * 1.960 / 20, rel=0.1)


def test_two_groups_give_their_own_means() -> None:
    assert Bootstrap().mean([1, 1, 5], ["a", "a", "b"]) == (1.0, 5.0)


@pytest.mark.parametrize("groups", [[], ["a"], ["a", "a"]])
def test_one_group_gives_no_interval(groups: list[str]) -> None:
    assert Bootstrap().mean(np.ones(len(groups)), groups) is None
    assert Bootstrap().interval(lambda w: w.mean(1), groups) is None


def test_what_is_never_defined_has_no_interval() -> None:
    assert Bootstrap().interval(lambda w: np.full(len(w), np.nan), ["a", "b"]) is None
    assert Bootstrap().mean([np.nan, np.nan], ["a", "b"]) is None


def test_seeds_are_obeyed() -> None:
    values = np.random.default_rng(0).normal(size=40)
    assert Bootstrap(seed=0).mean(values, range(40)) == Bootstrap(seed=0).mean(values, range(40))
    assert Bootstrap(seed=0).mean(values, range(40)) != Bootstrap(seed=1).mean(values, range(40))


def test_memory_is_bounded_without_changing_the_result() -> None:
    widths = []

    def mean(weights: np.ndarray) -> np.ndarray:
        widths.append(len(weights))
        return weights @ np.arange(5.0) / weights.sum(1)

    whole = Bootstrap().interval(mean, range(5))
    parts = Bootstrap().interval(mean, range(5), numbers_per_round=400_000)
    assert whole == parts
    assert widths[0] == 1000
    assert max(widths[1:]) == 10


@given(st.lists(st.tuples(st.integers(0, 3), st.floats(-9, 9)), min_size=1, max_size=20))
def test_sums_by_group_are_the_sums_by_unit(rows: list[tuple[int, float]]) -> None:
    groups, values = zip(*rows, strict=True)
    array = np.array(values)
    by_unit = Bootstrap(rounds=50).interval(lambda w: w @ array / w.sum(1), groups)
    by_group = Bootstrap(rounds=50).mean(array, groups)
    assert (by_unit is None) == (by_group is None)
    if by_unit is not None and by_group is not None:
        assert np.allclose(by_unit, by_group, atol=1e-12)


def test_numbers_and_quotients() -> None:
    assert group_numbers(["x", None, "x", 3]).tolist() == [0, 1, 0, 2]
    assert np.isnan(divide([1.0], [0.0])).all()
    assert divide([1.0, 4.0], 2.0).tolist() == [0.5, 2.0]
