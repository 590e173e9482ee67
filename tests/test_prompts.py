"""Attributes drawn from seeds, and the words that say them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thermvision.annotations.errors import UsageError
from thermvision.annotations.schema import ATTRIBUTES, BEARDS, CATEGORIES, EXPRESSIONS, HAIRSTYLES, attribute_columns
from thermvision.generation.flux_tables import FluxTable
from thermvision.generation.prompts import (
    ACCESSORIES,
    BEARD_WORDS,
    EXPRESSION_WORDS,
    HAIR_OF,
    HAIR_WORDS,
    Attributes,
    attributes_of,
    literal_texts,
    noise_seed,
    prompt_of,
    words_of,
)
from thermvision.generation.specs import Subject

subjects = st.builds(
    lambda n, seed: Subject(f"P_{n:06d}", n, ("female", "male")[n % 2], seed),
    st.integers(0, 10_000),
    st.integers(0, 2**62),
)
MADE = Attributes("male", "60-75", "left", "smile", "bald", "cap", "goatee")


def items(category: str) -> int:
    return (CATEGORIES.index(category) + 1) * 100_000


def test_every_word_of_the_schema_has_its_words():
    assert tuple(HAIR_WORDS) == HAIRSTYLES
    assert tuple(BEARD_WORDS) == BEARDS
    assert tuple(EXPRESSION_WORDS) == EXPRESSIONS
    assert {hair for of in HAIR_OF.values() for hair in of} <= set(HAIRSTYLES)
    for column, value, _ in ACCESSORIES.values():
        assert not column or value in ATTRIBUTES[column]


@given(subjects, st.sampled_from(CATEGORIES), st.integers(0, 99_999))
def test_a_category_shows_what_it_is_of(subject: Subject, category: str, turn: int):
    if category == "beard" and subject.gender == "female":
        with pytest.raises(UsageError, match="a beard needs a male subject"):
            attributes_of(subject, category, items(category) + turn)
        return
    made = attributes_of(subject, category, items(category) + turn)
    assert made == attributes_of(subject, category, items(category) + turn)
    assert attribute_columns(made.columns)["hairstyle"] is not None  # the release takes them
    assert None not in attribute_columns(made.columns).values()
    assert (made.pose == "frontal") or category in ("mix", "head_poses")
    assert (made.pose != "frontal") or category != "head_poses"
    assert (made.accessory == "none") or category in ("mix", "facial_accessories")
    assert (made.accessory != "none") or category != "facial_accessories"
    assert (made.beard != "none") or category != "beard"
    assert made.beard == "none" or made.gender == "male"


@given(subjects, st.integers(0, 99_999), st.integers(0, 99_999))
def test_a_person_stays_one(subject: Subject, one: int, other: int):
    a, b = (attributes_of(subject, "mix", items("mix") + turn) for turn in (one, other))
    c = attributes_of(subject, "frontal_pose", items("frontal_pose") + one)
    assert {(x.gender, x.age_band, x.hairstyle, x.beard) for x in (a, b, c)} == {
        (a.gender, a.age_band, a.hairstyle, a.beard)
    }


def test_attributes_are_pinned():
    person = Subject("P_000001", 1, "male", 7)
    found = [attributes_of(person, c, items(c)) for c in CATEGORIES]
    assert [(a.pose, a.expression, a.accessory, a.beard) for a in found] == [
        ("frontal", "talk", "none", "none"),
        ("frontal", "neutral", "glasses", "none"),
        ("frontal", "neutral", "none", "goatee"),
        ("down", "frown", "beanie", "none"),
        ("right", "neutral", "none", "none"),
    ]
    assert {(a.age_band, a.hairstyle) for a in found} == {("45-59", "short")}
    pinned = Subject("P_000001", 1, "male", 7, {"hairstyle": "bald"})
    assert attributes_of(pinned, "mix", items("mix")).hairstyle == "bald"


def test_words_say_the_attributes():
    words = words_of(MADE)
    assert words["person"] == "senior man"
    assert words["details"] == "bald head, goatee, head turned to the left, smiling, wearing a cap"
    (positive, t5), (negative, _) = prompt_of(MADE, FluxTable())
    assert positive == t5 == (
        "thermal infrared (LWIR) portrait photo of a senior man, bald head, goatee, head turned to the left, smiling,"
        " wearing a cap, grayscale, white-hot, plain background"
    )  # fmt: skip
    # what it wears is not unwanted, what it does not wear is
    assert negative.endswith("deformed face, glasses, face mask")


def test_fields_are_filled_and_other_braces_stay():
    table = FluxTable(prompt="thermalface {person}, {beard}, {hair} {odd}", prompt_t5="T5 {pose}", negative="noise")
    plain = Attributes("female", "30-44", hairstyle="bun")
    (positive, t5), (negative, negative_t5) = prompt_of(plain, table)
    assert positive == "thermalface woman, hair in a bun {odd}"  # no beard, no comma
    assert t5 == "T5 facing the camera"
    assert negative == negative_t5 == "noise, glasses, face mask, hat"
    appended = prompt_of(plain, FluxTable(prompt="a thermal photo,"))[0][0]
    assert appended == "a thermal photo, woman, hair in a bun, facing the camera, neutral expression"


def test_words_are_taken_word_for_word_where_they_name_no_field():
    table = FluxTable(prompt="a {odd} face", negative="x", negative_t5="y")
    assert literal_texts(table) == (("a {odd} face",) * 2, ("x", "y"))
    assert literal_texts(FluxTable(prompt="a {person}")) is None
    assert literal_texts(FluxTable()) is None


@given(subjects)
def test_a_seed_is_a_subject_s(subject: Subject):
    assert noise_seed(subject, 10) == 10 + subject.index
    assert 0 <= noise_seed(subject, None) < 2**63
    assert noise_seed(subject, None) == noise_seed(subject, None) != noise_seed(subject, None, 1)
    # further seeds are drawn, not counted: they would be the next subjects' own
    assert noise_seed(subject, 10, 1) == noise_seed(subject, None, 1)


def test_what_cannot_be_said_is_refused():
    with pytest.raises(UsageError, match="pose is 'backwards'; allowed: frontal, left"):
        Attributes("male", "30-44", pose="backwards")
    with pytest.raises(UsageError, match="category is 'scenes'; allowed: frontal_pose"):
        attributes_of(Subject("P_000000", 0, "female", 1), "scenes", 1)
