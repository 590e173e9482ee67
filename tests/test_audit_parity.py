"""Women and men compared, splits compared, and levels from numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_audit_probes import samples

from thermvision.curation.audits.contamination import Contamination, contamination
from thermvision.curation.audits.labels import Labels
from thermvision.curation.audits.leakage import Leakage, Score
from thermvision.curation.audits.parity import Parity, Person, compare, read_people
from thermvision.curation.audits.verdict import judge
from thermvision.curation.evaluation.measures import Measure
from thermvision.curation.sources import ReleaseSource


def crowd(yaw_of_women: float, glasses_of_women: float, each: int = 20) -> dict[str, Person]:
    """Women and men of ten stills each, alike but for what is given."""
    rng, people = np.random.default_rng(0), {}
    for k in range(2 * each):
        woman = k % 2 == 0
        person = Person("female" if woman else "male")
        person.frames = 10
        person.counts["items"]["stills"] = 10
        worn = int(rng.binomial(10, glasses_of_women if woman else 0.3))
        person.counts["glasses"].update({"glasses": worn, "none": 10 - worn})
        person.counts["category"].update({"mix": 5, "frontal_pose": 5, **({} if woman else {"beard": 3})})
        person.numbers[0] = 10 * ((yaw_of_women if woman else 0) + rng.normal(0, 5)), 10
        people[f"P{k}"] = person
    return people


def compared(yaw: float, glasses: float) -> Parity:
    people = crowd(yaw, glasses)
    return compare(people, Parity({"female": 20, "male": 20}))


def test_people_who_are_alike_are_even() -> None:
    assert compared(0, 0.3).uneven == []


def test_differences_are_found_and_measured_in_deviations_of_people() -> None:
    found = {d.name: d for d in compared(20, 0.8).uneven}
    assert set(found) == {"yaw", "glasses none", "glasses glasses"}
    assert 3 < (found["yaw"].deviation or 0) < 5.5
    assert found["glasses glasses"].women > 0.7
    assert found["glasses glasses"].men < 0.4


def test_beards_are_shown_and_do_not_bend_the_other_categories() -> None:
    found = {d.name: d for d in compared(0, 0.3).differences}
    assert found["category mix"].women == found["category mix"].men == 0.5
    assert found["category beard"].uneven
    assert not found["category beard"].judged


def test_frames_of_a_release_are_counted(oval_release: Path) -> None:
    people, parity = read_people(ReleaseSource(oval_release))
    assert set(people) == {"P_000000", "P_000001"}
    assert parity.people == {"female": 1, "male": 1}
    first = people["P_000000"]
    assert first.frames == 24 + 4
    assert first.counts["items"] == {"clips": 2, "stills": 4}
    assert first.counts["expression"]["smile"] == 12
    # yaw runs from 0 to 55 in both clips and is 0 in the stills
    assert np.isclose(first.numbers[0, 0], 2 * 5 * 66)
    assert first.numbers[0, 1] == 28
    assert parity.coverage["female"].sum() == 28
    assert compare(people, parity).differences == []


def test_an_import_without_poses_is_counted_all_the_same(imported_release: Path) -> None:
    people, parity = read_people(ReleaseSource(imported_release))
    assert people["F_01"].frames == 5
    assert parity.coverage["female"].sum() == 0
    assert people["F_01"].numbers[4, 1] == 4  # one frame has no box


def seen() -> Any:
    """Eight people in two splits, each with pictures and an embedding of his own."""
    made = samples(people=8, clips=2, frames=3, stills=0)
    person = np.array([int(s[1:]) for s in made.subject])
    made.split = ["train" if p < 4 else "test" for p in person]
    rng = np.random.default_rng(0)
    made.pictures["full/frame"] = rng.integers(0, 256, (len(made), 64, 64)).astype(np.uint8)
    own = np.random.default_rng(1).normal(size=(8, 128))[person] + 0.1 * rng.normal(size=(len(made), 128))
    made.embeddings["full/aligned"] = (own / np.linalg.norm(own, axis=1, keepdims=True)).astype(np.float16)
    return made


def test_splits_that_share_nothing() -> None:
    found = contamination(seen(), {}, {f"p{k}": "train" if k < 4 else "test" for k in range(8)})
    assert found.splits == {"train": 4, "test": 4}
    assert not found.shared
    assert not found.picture_pairs
    assert not found.look_alikes
    assert found.closest is not None
    assert found.closest < 0.5


def test_a_picture_a_person_and_a_look_alike_in_two_splits_are_found() -> None:
    made = seen()
    made.pictures["full/frame"][-1] = made.pictures["full/frame"][0]
    rows = np.array(made.subject) == "p7"
    made.embeddings["full/aligned"][rows] = made.embeddings["full/aligned"][np.array(made.subject) == "p0"]
    found = contamination(made, {"p1": Person("female", splits={"train", "validation"})}, {})
    assert found.picture_pairs == 1
    assert found.pictures[0][:4] == ("p7_S1", 2, "p0_S0", 0)
    assert found.shared == {"p1": ["train", "validation"]}
    assert [pair[:2] for pair in found.look_alikes] == [("p0", "p7")]


def score(condition: str, rank1: float, low: float, high: float) -> Score:
    return Score(condition, "frame", "pixels", "across", rank1, (low, high), rank1, None, rank1, 120, 0.5)


@pytest.mark.parametrize(
    ("rank1", "low", "level"), [(0.05, 0.02, "pass"), (0.07, 0.04, "doubt"), (0.2, 0.13, "fail"), (0.96, 0.9, "fail")]
)
def test_levels_of_what_is_recognised_without_a_face(rank1: float, low: float, level: str) -> None:
    leakage = Leakage([score("masked", rank1, low, rank1 + 0.05), score("face", 0.97, 0.9, 1)], ("p",) * 60)
    judged = judge(leakage, Parity({}), Labels(), Contamination(), 50)
    levels = {a.name: a.level for a in judged}
    assert levels["identity-outside-face"] == level
    assert levels["identity-in-face"] == "pass"
    assert levels["identity-in-background"] == levels["trivial-answers"] == levels["splits"] == "unknown"
    few = {a.name: a.level for a in judge(leakage, Parity({}), Labels(), Contamination(), 61)}
    assert few["identity-outside-face"] == few["identity-in-face"] == "unknown"


def test_the_best_recogniser_counts() -> None:
    leakage = Leakage([score("masked", 0.01, 0, 0.02), score("masked", 0.5, 0.4, 0.6)], ("p",) * 60)
    assert leakage.best("masked") is leakage.scores[1]


@pytest.mark.parametrize(("recall", "level"), [(0.99, "pass"), (0.9, "doubt"), (0.5, "fail")])
def test_levels_of_labels(recall: float, level: str) -> None:
    labels = Labels({"detection": [Measure("AP50", recall, None, 0.9), Measure("recall, score 0.5", recall)]})
    levels = {a.name: a.level for a in judge(Leakage(), Parity({}), labels, Contamination(), 50)}
    assert levels["label-quality"] == level
    assert levels["trivial-answers"] == "doubt"
