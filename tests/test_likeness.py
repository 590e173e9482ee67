import time

import numpy as np
import pytest

from thermvision.generation import build
from thermvision.generation.engines.phantom.engine import PhantomEngine
from thermvision.generation.engines.phantom.identity import MINIMUM_DISTANCE, landmark_distance, make_head
from thermvision.generation.engines.phantom.likeness import Gallery, rest_landmarks
from thermvision.generation.plan import make_subjects
from thermvision.generation.recipe import parse_recipe
from thermvision.generation.specs import Subject


def subject(index, seed=7, **traits):
    return Subject(f"P_{index:06d}", index, ("female", "male")[index % 2], seed, traits)


@pytest.mark.parametrize("index", [0, 1, 117])
def test_landmarks_are_those_of_the_whole_head(index):
    np.testing.assert_allclose(rest_landmarks(subject(index)), make_head(subject(index)).landmarks, atol=1e-8)
    old = subject(index, age=80.0)
    np.testing.assert_allclose(rest_landmarks(old), make_head(old).landmarks, atol=1e-8)
    assert landmark_distance(rest_landmarks(old), rest_landmarks(subject(index))) > 1e-3


def test_a_gallery_names_the_nearest():
    gallery, others = Gallery(), [subject(i) for i in range(6)]
    assert gallery.nearest(subject(4), others) == (0.0, 4)
    distance, place = gallery.nearest(subject(30), others)
    distances = [landmark_distance(rest_landmarks(subject(30)), rest_landmarks(o)) for o in others]
    assert (distance, place) == (pytest.approx(min(distances)), int(np.argmin(distances)))


def recipe(female, male, first=0):
    table = f"[subjects]\nfemale = {female}\nmale = {male}\nfirst = {first}\n[stills]\nfrontal_pose = 1\n"
    return parse_recipe(f'name = "r"\nversion = "1.0"\nseed = 7\n{table}')


def test_growing_recipes_keep_their_people():
    engine = [PhantomEngine()]
    grown, _ = make_subjects(recipe(90, 110), engine)
    by_number = {s.index: s for s in grown}
    for female, male in ((5, 5), (60, 60), (70, 3), (0, 40), (90, 30)):
        found, _ = make_subjects(recipe(female, male), engine)
        assert all(by_number[s.index] == s for s in found)
        assert [s.index for s in found] == sorted(s.index for s in found)
        assert (sum(s.gender == "female" for s in found), sum(s.gender == "male" for s in found)) == (female, male)
    assert by_number[117].subject_id == "P_000117"
    assert by_number[117].gender == "male"


def test_growing_recipes_keep_the_splits():
    text = 'name = "r"\nversion = "1.0"\nseed = 7\n[stills]\nsize = 64\nfrontal_pose = 1\n[subjects]\n'
    small = build.prepare(f"{text}female = 9\nmale = 4").plan.identities
    large = {i.subject_id: i for i in build.prepare(f"{text}female = 30\nmale = 30").plan.identities}
    assert all(large[i.subject_id] == i for i in small)


def test_who_is_accepted_is_no_look_alike_and_who_is_not_is():
    subjects, passed_over = make_subjects(recipe(150, 150), [PhantomEngine()])
    faces = {g: np.stack([rest_landmarks(s) for s in subjects if s.gender == g]) for g in ("female", "male")}
    for found in faces.values():
        apart = landmark_distance(found[:, None], found[None])
        assert apart[~np.eye(len(found), dtype=bool)].min() >= MINIMUM_DISTANCE
    numbers = sorted([s.index for s in subjects] + [int(line[2:8]) for line in passed_over])
    for parity in (0, 1):  # no number is left out unnamed
        own = [n for n in numbers if n % 2 == parity]
        assert own == list(range(parity, own[-1] + 1, 2))
    assert passed_over
    for line in passed_over:
        twin = subject(int(line[2:8]))
        accepted = [s for s in subjects if s.gender == twin.gender and s.index < twin.index]
        assert Gallery().nearest(twin, accepted)[0] < MINIMUM_DISTANCE


@pytest.mark.slow
def test_a_thousand_subjects_are_compared_in_seconds():
    start = time.perf_counter()
    subjects, _ = make_subjects(recipe(500, 500), [PhantomEngine()])
    assert len(subjects) == 1000
    assert time.perf_counter() - start < 20
