"""ROC, EER, TAR at FAR and Rank-1 by hand and against scikit-learn; ties, missing embeddings, weights."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_curve

from thermvision.annotations import verification_metrics as metrics
from thermvision.annotations.verification_metrics import Pairs, cross_session_pairs

GENUINE, IMPOSTOR = [0.9, 0.8, 0.4], [0.7, 0.3, 0.2]
KNOWN = Pairs.sorted(GENUINE + IMPOSTOR, [True] * 3 + [False] * 3)


def test_a_known_roc() -> None:
    far, tar = metrics.roc(KNOWN)
    assert far[0].tolist() == pytest.approx([0, 0, 0, 1 / 3, 1 / 3, 2 / 3, 1])
    assert tar[0].tolist() == pytest.approx([0, 1 / 3, 2 / 3, 2 / 3, 1, 1, 1])
    assert metrics.equal_error_rate(KNOWN).tolist() == pytest.approx([1 / 3])
    assert metrics.accept_rate_at(KNOWN, 0.01).tolist() == pytest.approx([2 / 3])
    assert metrics.accept_rate_at(KNOWN, 1 / 3).tolist() == pytest.approx([1])


def test_equal_error_lies_between_points() -> None:
    # far 0 -> 1 while tar stays at .5: the lines cross where far is .5
    assert metrics.equal_error_rate(Pairs.sorted([0.9, 0.5, 0.1], [True, False, True])).tolist() == [0.5]


def test_ties_are_accepted_together() -> None:
    same = Pairs.sorted([0.5] * 4, [True, True, False, False])
    assert metrics.equal_error_rate(same).tolist() == [0.5]
    assert metrics.accept_rate_at(same, 0.4).tolist() == [0]
    reverse = Pairs.sorted([0.5] * 4, [False, False, True, True])
    assert metrics.roc(same)[0].tolist() == metrics.roc(reverse)[0].tolist() == [[0, 1]]


@pytest.mark.parametrize("genuine", [[], [True, True], [False]])
def test_one_kind_of_pair_gives_nothing(genuine: list[bool]) -> None:
    pairs = Pairs.sorted(np.linspace(0, 1, len(genuine)), genuine)
    assert np.isnan(metrics.equal_error_rate(pairs)).all()
    assert np.isnan(metrics.accept_rate_at(pairs, 0.01)).all()
    assert metrics.roc_curve(pairs) == {"far": [], "tar": []}


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=2, max_size=30))
def test_it_agrees_with_scikit_learn(rows: list[tuple[int, bool]]) -> None:
    scores, genuine = zip(*rows, strict=True)
    if len(set(genuine)) == 2:
        far, tar, _ = roc_curve(genuine, scores, drop_intermediate=False)
        ours = metrics.roc(Pairs.sorted(scores, genuine))
        assert np.allclose(ours[0][0], far)
        assert np.allclose(ours[1][0], tar)


def test_pairs_cross_sessions_only() -> None:
    vectors = np.eye(4)
    pairs = cross_session_pairs(vectors, ["a", "a", "a", "b"], ["s", "s", "t", "t"])
    # a-a within s is no pair, a-a across is (twice); b meets a only in s: t shares its room
    assert pairs.genuine.sum() == 2
    assert (~pairs.genuine).sum() == 3
    assert pairs.identities == 2


def test_unit_vectors_are_compared_by_their_cosine() -> None:
    pairs = cross_session_pairs([[1.0, 0], [0.6, 0.8], [0, 1]], ["a", "a", "b"])
    assert pairs.scores.tolist() == pytest.approx([0.8, 0.6, 0.0])
    assert pairs.genuine.tolist() == [False, True, False]


def test_missing_embeddings_make_no_pair() -> None:
    pairs = cross_session_pairs([[1.0, 0], [np.nan, np.nan], [0, 1]], ["a", "a", "b"])
    assert pairs.scores.tolist() == [0.0]


def test_blocks_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    vectors, people = rng.normal(size=(40, 8)), rng.integers(0, 6, 40).tolist()
    whole = cross_session_pairs(vectors, people)
    monkeypatch.setattr(metrics, "_AT_A_TIME", 7)
    parts = cross_session_pairs(vectors, people)
    assert np.allclose(whole.scores, parts.scores, atol=1e-5)
    assert len(whole.scores) == 40 * 39 / 2


def test_drawing_people_is_repeating_their_pairs() -> None:
    pairs = Pairs.sorted([0.9, 0.8, 0.7], [True, True, False], [0, 1, 0], [0, 1, 1], 2)
    assert pairs.weights([[2, 0], [1, 1]]).tolist() == [[2, 0, 0], [1, 1, 1]]
    drawn = metrics.equal_error_rate(pairs, [[2, 0], [1, 1]])
    assert np.isnan(drawn[0])
    assert drawn[1] == 0


def test_a_sample_keeps_every_genuine_pair() -> None:
    rng = np.random.default_rng(0)
    pairs = Pairs.sorted(rng.normal(size=500), rng.random(500) < 0.1)
    fewer = metrics.sample_impostors(pairs, 100)
    assert fewer.genuine.sum() == pairs.genuine.sum()
    assert (~fewer.genuine).sum() == 100
    assert (np.diff(fewer.scores) <= 0).all()
    assert metrics.sample_impostors(pairs, 500) is pairs


def test_rank_one_by_hand() -> None:
    gallery = [[1.0, 0, 0], [0, 1, 0], [np.nan] * 3]
    probes = [[0.9, 0.1, 0], [0.9, 0.1, 0], [np.nan] * 3, [0, 0, 1], [1, 0, 0], [0, 1, 0]]
    hits = metrics.rank_one(gallery, ["a", "b", "c"], probes, ["a", "b", "a", "a", "stranger", "c"])
    # right; wrong; no face; equally near to both; not enrolled; enrolled without a face
    assert np.array_equal(hits, [1, 0, 0, 0, np.nan, 0], equal_nan=True)


@settings(deadline=None)
@given(st.integers(0, 99))
def test_perfect_embeddings_are_perfect_and_chance_is_chance(seed: int) -> None:
    rng = np.random.default_rng(seed)
    people = np.repeat(np.arange(12), 2)
    perfect = np.eye(12)[people]
    pairs = cross_session_pairs(perfect, people.tolist())
    assert metrics.equal_error_rate(pairs).tolist() == [0]
    assert metrics.accept_rate_at(pairs, 0.001).tolist() == [1]
    assert metrics.rank_one(perfect[::2], people[::2].tolist(), perfect[1::2], people[1::2].tolist()).mean() == 1
    noise = rng.normal(size=(24, 64))
    by_chance = cross_session_pairs(noise, people.tolist())
    assert 0.1 < metrics.equal_error_rate(by_chance)[0] < 0.9


def test_the_curve_keeps_its_ends() -> None:
    curve = metrics.roc_curve(KNOWN)
    assert (curve["far"][0], curve["tar"][0]) == (0, 0)
    assert (curve["far"][-1], curve["tar"][-1]) == (1, 1)
    assert curve["far"] == sorted(curve["far"])
