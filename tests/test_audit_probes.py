"""Recognisers find identity where it is, and nothing where it is not."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("sklearn")

from thermvision.curation.audits.descriptors import gradient_vectors, pixel_vectors, tone_vectors
from thermvision.curation.audits.leakage import across, within
from thermvision.curation.audits.probes import ask, compressed, luck, nearest_scores, trained_scores
from thermvision.curation.audits.samples import Samples


def samples(people: int = 4, clips: int = 2, frames: int = 6, stills: int = 1) -> Samples:
    """Names only: every person in some clips and stills."""
    made = Samples()
    for person in range(people):
        items = [(f"p{person}_S{c}", True, frames) for c in range(clips)]
        items += [(f"p{person}_still{s}", False, 1) for s in range(stills)]
        for item, is_clip, count in items:
            for frame in range(count):
                made.subject.append(f"p{person}")
                made.item.append(item)
                made.split.append("train")
                made.recording.append(f"sequence {item[-1]}" if is_clip else "mix")
                made.is_clip.append(is_clip)
                made.frame.append(frame)
    return made


def numbers(made: Samples) -> np.ndarray:
    return np.array([int(s[1:]) for s in made.subject])


def test_across_never_shows_a_recording_to_the_gallery_that_is_asked_for() -> None:
    made = samples(stills=4)
    deal, used = across(made, numbers(made))
    assert used.all()
    assert len(deal.folds) == 5
    asked = np.zeros(len(made), int)
    for gallery, probes in deal.folds:
        assert not set(deal.probe[gallery]) & set(deal.probe[probes])
        assert set(numbers(made)[probes]) <= set(numbers(made)[gallery])
        asked += probes
    assert (asked == 1).all()


def test_people_with_one_recording_take_no_part() -> None:
    made = samples(people=3, clips=1, stills=0)
    deal, used = across(made, numbers(made))
    assert not used.any()
    assert not deal.folds


def test_within_asks_for_the_second_half_of_the_same_clip() -> None:
    made = samples()
    deal, used = within(made, numbers(made))
    assert used.sum() == 4 * 2 * 6
    for gallery, probes in deal.folds:
        assert set(deal.probe[gallery]) == set(deal.probe[probes])
        assert max(np.array(made.frame)[gallery]) < min(np.array(made.frame)[probes])


@pytest.mark.parametrize("trained", [True, False])
def test_identity_is_found_where_it_is_and_not_where_it_is_not(trained: bool) -> None:
    made = samples(people=12, frames=8)
    person, rng = numbers(made), np.random.default_rng(0)
    own = rng.normal(size=(12, 40))[person]
    deal, _ = across(made, person)
    told = ask((own + 0.3 * rng.normal(size=own.shape)).astype(np.float32), person, deal, trained)
    assert told.hits.mean() == 1
    assert told.frame_hits.mean() > 0.95
    blind = ask(rng.normal(size=own.shape).astype(np.float32), person, deal, trained)
    assert blind.hits.mean() <= luck(12, len(blind.hits), 1, 0.999)


def test_a_recogniser_that_sees_nothing_names_nobody() -> None:
    made = samples()
    person = numbers(made)
    deal, _ = across(made, person)
    flat = compressed(np.ones((len(made), 30), np.float32))
    for trained in (True, False):
        assert ask(flat, person, deal, trained).hits.sum() == 0


def test_scores_of_people_outside_the_gallery() -> None:
    gallery, person = np.eye(3, dtype=np.float32)[[0, 0, 1, 1]] + 0.01, np.array([0, 0, 2, 2])
    for scorer in (nearest_scores, trained_scores):
        scores = scorer(gallery, person, gallery, 4)
        assert scores.shape == (4, 4)
        assert (scores[:, [1, 3]] == -2).all()


def test_frames_that_are_all_alike_are_told_apart_without_training() -> None:
    own = np.random.default_rng(0).normal(size=(5, 30)).astype(np.float32)
    person = np.repeat(np.arange(5), 3)
    assert trained_scores(own[person], person, own, 5).argmax(1).tolist() == [0, 1, 2, 3, 4]


def test_luck_is_the_quantile_of_the_best_of_several() -> None:
    rng = np.random.default_rng(0)
    best = rng.binomial(100, 1 / 50, size=(4000, 8)).max(1) / 100
    assert abs((best <= luck(50, 100, 8)).mean() - 0.95) < 0.04


def test_gradients_do_not_see_brightness_and_see_direction() -> None:
    ramp = np.tile(np.arange(64, dtype=np.uint8) * 2, (64, 1))
    one, brighter, turned = gradient_vectors(np.stack([ramp, ramp + 60, ramp.T]))
    assert np.allclose(one, brighter, atol=1e-6)
    assert float(one @ turned) < 0.3 * float(one @ one)
    # 7 x 7 blocks, each of length one
    assert np.isclose(float(one @ one), 49, atol=0.5)


def test_pixels_are_standardised_and_tones_do_not_know_places() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (64, 64)).astype(np.uint8)
    vector = pixel_vectors(picture[None])[0]
    assert abs(float(vector.mean())) < 1e-4
    assert 0.9 < float(vector.std()) <= 1
    shuffled = np.random.default_rng(1).permutation(picture.ravel()).reshape(64, 64)
    assert np.array_equal(*tone_vectors(np.stack([picture, shuffled])))
