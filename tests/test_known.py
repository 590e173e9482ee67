"""Identities are only ever appended, whatever a chain of recipes asks for."""

from dataclasses import replace

import pytest
from fake_engine import WaveEngine
from hypothesis import given, settings
from hypothesis import strategies as st

from thermvision.annotations.errors import UsageError
from thermvision.annotations.schema import GENDERS
from thermvision.curation.splits import split_of
from thermvision.generation.build import plan_recipe
from thermvision.generation.extension.lineage import after
from thermvision.generation.known import NOBODY, Known
from thermvision.generation.plan import make_plan, make_subjects
from thermvision.generation.recipe import parse_recipe
from thermvision.generation.specs import plain_spec

counts = st.tuples(st.integers(0, 14), st.integers(0, 14)).filter(any)
refused = st.frozensets(st.integers(0, 30), max_size=12)


class Choosy(WaveEngine):
    """Passes over some numbers, as it passes over those who look like somebody."""

    def __init__(self, numbers):
        self.numbers = numbers

    def too_alike(self, subject, accepted):
        assert subject.subject_id not in {s.subject_id for s in accepted}, "asked about somebody who is known"
        return "somebody's twin" if subject.index in self.numbers else None


def recipe(female, male, first=0, version="1.0", stills=0):
    return parse_recipe(
        f'name = "people"\nversion = "{version}"\nseed = 1\n[subjects]\nfemale = {female}\nmale = {male}\n'
        f"first = {first}\n[clips]\nexpression = 2\n[stills]\nfrontal_pose = {stills}\n"
    )


def extended(known, asked, numbers=frozenset()):
    plan = make_plan(asked, {"phantom": Choosy(numbers)}, known=known)
    return plan, after(known, plan)


def check(known, before=NOBODY):
    names = [i.subject_id for i in known.identities]
    assert len(set(names)) == len(names)
    assert known.identities[: len(before.identities)] == before.identities
    for gender in GENDERS:
        splits = [i.split for i in known.identities if i.gender == gender]
        assert splits == [split_of(gender, n) for n in range(len(splits))]
    assert not known.refused & set(names)


@settings(max_examples=60, deadline=None)
@given(st.lists(counts, min_size=1, max_size=4), refused)
def test_growing_by_steps_gives_the_people_of_the_whole(steps, numbers):
    known = NOBODY
    for step in range(1, len(steps) + 1):
        most = [max(s[g] for s in steps[:step]) for g in (0, 1)]
        before = known
        plan, known = extended(known, recipe(*most), numbers)
        check(known, before)
        assert {i.item_id for s in plan.shards for i in s.items}.isdisjoint(before.items)
    whole, alone = extended(NOBODY, recipe(*most), numbers)
    assert {(i.subject_id, i.gender, i.split) for i in whole.identities} == {
        (i.subject_id, i.gender, i.split) for i in known.identities
    }
    assert {n: plain_spec(s) for n, s in known.items.items()} == {n: plain_spec(s) for n, s in alone.items.items()}
    assert set(known.passed_over) == set(whole.passed_over)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(counts, st.integers(0, 40)), min_size=1, max_size=5), refused)
def test_any_chain_of_recipes_appends(chain, numbers):
    known, stages = NOBODY, []
    for (female, male), first in chain:
        before = known
        _, known = extended(known, asked := recipe(female, male, first), numbers)
        check(known, before)
        stages.append((asked, known))
    # planned again from the manifest, nobody is asked
    people = frozenset(s.index for s in known.subjects.values())
    again = Known(passed_over=known.passed_over, settled=people)
    for asked, stage in stages:
        again = after(again, make_plan(asked, {"phantom": None_asked()}, known=again))
        assert (again.identities, dict(again.items)) == (stage.identities, dict(stage.items))


class None_asked(WaveEngine):  # noqa: N801
    def too_alike(self, subject, accepted):
        raise AssertionError("nobody is to be asked")


def test_new_people_are_compared_with_those_who_are_known():
    _, known = extended(NOBODY, recipe(2, 1))
    asked = []

    class Listening(WaveEngine):
        def too_alike(self, subject, accepted):
            asked.append((subject.index, [s.index for s in accepted]))

    make_subjects(recipe(1, 2, first=8), [Listening()], known)
    assert asked == [(8, [0, 2]), (9, [1]), (11, [1, 9])]


def test_stills_are_dealt_as_the_whole_recipe_deals_them():
    _, known = extended(NOBODY, recipe(2, 2, stills=4))
    plan, known = extended(known, recipe(3, 2, version="1.1", stills=8))
    assert [s.item_id for s in plan.stills if s.subject.index < 4] == [
        f"P_00000{n}_frontal_pose_001" for n in (0, 1, 2)
    ]  # fmt: skip
    assert sorted(n for n in known.items if "frontal" in n) == sorted(
        i.item_id for i in make_plan(recipe(3, 2, stills=8), {"phantom": WaveEngine()}).stills
    )


def test_a_release_with_fewer_people_than_its_recipe_is_no_endless_search():
    with pytest.raises(UsageError, match=r"asks for 3 female subjects from number 0 on, and its release has 2"):
        make_subjects(recipe(3, 0), [WaveEngine()], Known(settled=frozenset({0, 1, 2, 3})))


def test_the_next_number_is_above_everybody():
    assert NOBODY.next_number == 0
    assert extended(NOBODY, recipe(1, 1))[1].next_number == 2
    assert extended(NOBODY, recipe(2, 0))[1].next_number == 4
    assert extended(NOBODY, recipe(0, 1))[1].next_number == 2
    _, known = extended(NOBODY, recipe(1, 1))
    with pytest.raises(UsageError, match=r"redefines .*subjects\.first = 2"):
        extended(replace(known, items={}), recipe(1, 1).model_copy(update={"seed": 2}))


def drawn(version, female, steps):
    text = (
        f'name = "drawn"\nversion = "{version}"\nseed = 5\n[subjects]\nfemale = {female}\n[stills]\nengine = "flux"\n'
        f'size = 64\nfrontal_pose = {female}\n[flux]\nweights = "random"\nsteps = {steps}\n'
    )
    return parse_recipe(text)


def test_stills_drawn_from_words_are_known_by_what_draws_them(tmp_path):
    def plan(asked, known, folder):
        return plan_recipe(asked, {"flux": WaveEngine()}, None, folder, known)

    known = after(NOBODY, plan(drawn("1.0", 1, 2), NOBODY, tmp_path))
    # where the recipe lies decides no pixel
    assert [s.item_id for s in plan(drawn("1.1", 2, 2), known, tmp_path / "elsewhere").stills] == [
        "P_000002_frontal_pose_000"
    ]
    with pytest.raises(UsageError, match=r"P_000000_frontal_pose_000 \(drawing\.options\.steps 2 then, 3 now\)"):
        plan(drawn("1.1", 2, 3), known, tmp_path)
