"""Words for FLUX: attributes of a person and a still, drawn from the recipe's seed, and the texts that say them.

Age, hair and beard belong to a person and are the same in all of its stills; pose, expression and accessory to a still.
Left and right are those of the picture.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from thermvision.annotations.errors import UsageError
from thermvision.annotations.schema import ATTRIBUTES, BEARDS, CATEGORIES, EXPRESSIONS, GENDERS, HAIRSTYLES
from thermvision.generation.flux_tables import FluxTable
from thermvision.generation.specs import Subject, seed_sequence

Texts = tuple[str, str]  # for CLIP-L and for T5

AGE_BANDS: dict[str, str] = {
    "18-29": "young", "30-44": "", "45-59": "middle-aged", "60-75": "senior",
}  # fmt: skip
POSES: dict[str, str] = {
    "frontal": "facing the camera",
    "left": "head turned to the left",
    "right": "head turned to the right",
    "left_profile": "profile view facing left",
    "right_profile": "profile view facing right",
    "up": "chin raised, looking up",
    "down": "chin lowered, looking down",
    "tilted": "head tilted to one side",
}
EXPRESSION_WORDS: dict[str, str] = {
    "neutral": "neutral expression",
    "smile": "smiling",
    "frown": "frowning",
    "surprise": "surprised, eyebrows raised",
    "blink": "eyes closed",
    "open": "mouth open",
    "talk": "speaking",
}
HAIR_WORDS: dict[str, str] = {
    "bald": "bald head",
    "buzz": "buzz cut",
    "crew": "crew cut",
    "short": "short hair",
    "side": "side-parted hair",
    "back": "hair combed back",
    "bob": "bob haircut",
    "long": "long hair",
    "fringe": "hair with a fringe",
    "ponytail": "hair in a ponytail",
    "bun": "hair in a bun",
}
BEARD_WORDS: dict[str, str] = {
    "none": "",
    "stubble": "stubble",
    "full": "full beard",
    "moustache": "moustache",
    "goatee": "goatee",
}
# accessory -> the column it is in, its value there, and words
ACCESSORIES: dict[str, tuple[str, str, str]] = {
    "none": ("", "", ""),
    "glasses": ("glasses", "glasses", "wearing glasses"),
    "mask": ("mask", "mask", "wearing a face mask"),
    "cap": ("headwear", "cap", "wearing a cap"),
    "beanie": ("headwear", "beanie", "wearing a beanie"),
    "earrings": ("jewellery", "earrings", "wearing earrings"),
    "necklace": ("jewellery", "necklace", "wearing a necklace"),
}
HAIR_OF: dict[str, tuple[str, ...]] = {
    "female": ("short", "side", "back", "bob", "long", "fringe", "ponytail", "bun"),
    "male": ("bald", "buzz", "crew", "short", "side", "back"),
}
DEFAULT = "thermal infrared (LWIR) portrait photo of a {person}, {details}, grayscale, white-hot, plain background"
NEGATIVE = "visible light photo, color, drawing, several people, text, watermark, blurred, deformed face"
# what is named as unwanted where it is not wanted
_ABSENT = {"glasses": "glasses", "mask": "face mask", "headwear": "hat"}
FIELDS = ("person", "details", "gender", "age", "hair", "beard", "pose", "expression", "accessory")
_FIELD = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True)
class Attributes:
    """What a still shows. Every field holds a key of the tables above.

    >>> Attributes("male", "30-44", beard="full").columns["beard"]
    'full'
    """

    gender: str
    age_band: str
    pose: str = "frontal"
    expression: str = "neutral"
    hairstyle: str = "short"
    accessory: str = "none"
    beard: str = "none"

    def __post_init__(self) -> None:
        allowed: dict[str, Sequence[str]] = {
            "gender": GENDERS, "age_band": tuple(AGE_BANDS), "pose": tuple(POSES), "expression": EXPRESSIONS,
            "hairstyle": HAIRSTYLES, "accessory": tuple(ACCESSORIES), "beard": BEARDS,
        }  # fmt: skip
        for name, values in allowed.items():
            if getattr(self, name) not in values:
                raise UsageError(f"{name} is {getattr(self, name)!r}; allowed: {', '.join(values)}")

    @property
    def columns(self) -> dict[str, str]:
        """The attributes that a release has columns for."""
        column, value, _ = ACCESSORIES[self.accessory]
        worn = {name: "none" for name in ATTRIBUTES if name not in ("hairstyle", "beard")}
        return {"hairstyle": self.hairstyle, "beard": self.beard, **worn, **({column: value} if column else {})}

    def as_dict(self) -> dict[str, str]:
        """All of them, plain."""
        return asdict(self)


def attributes_of(subject: Subject, category: str, item: int) -> Attributes:
    """The attributes of one still: of the person from (subject, "words", 0), of the item from (subject, "words", item).

    >>> person = Subject("P_000001", 1, "male", 7)
    >>> attributes_of(person, "frontal_pose", 100_000).pose, attributes_of(person, "beard", 300_000).beard != "none"
    ('frontal', True)

    Raises:
        UsageError: there is no such category, or it needs a beard and the subject is female.
    """
    if category not in CATEGORIES:
        raise UsageError(f"category is {category!r}; allowed: {', '.join(CATEGORIES)}")
    if why := refusal(subject, category):
        raise UsageError(f"{subject.subject_id}: {why}")
    own = np.random.default_rng(seed_sequence(subject.seed, subject.index, "words"))
    age = _one_of(own, tuple(AGE_BANDS))
    hairstyle = _one_of(own, HAIR_OF[subject.gender])
    grown, shaved = _one_of(own, BEARDS[1:]), own.random() < 0.6
    male = subject.gender == "male"
    beard = grown if male and (category == "beard" or not shaved) else "none"
    # drawn whether it is used or not, so that one never changes another
    rng = np.random.default_rng(seed_sequence(subject.seed, subject.index, "words", item))
    pose, turned = _one_of(rng, tuple(POSES)), _one_of(rng, tuple(POSES)[1:])
    expression, plain = _one_of(rng, EXPRESSIONS), rng.random() < 0.6
    worn, bare = _one_of(rng, tuple(ACCESSORIES)[1:]), rng.random() < 0.5
    if category != "mix":
        pose = turned if category == "head_poses" else "frontal"
        expression = "neutral" if plain or category == "head_poses" else expression
        bare = category != "facial_accessories"
    return Attributes(
        gender=subject.gender,
        age_band=age,
        pose=pose,
        expression=expression,
        hairstyle=str(subject.traits.get("hairstyle", hairstyle)),
        accessory="none" if bare else worn,
        beard=beard,
    )


def refusal(subject: Subject, category: str) -> str | None:
    """Why a category cannot be drawn of a subject; None when it can."""
    return "a beard needs a male subject" if category == "beard" and subject.gender != "male" else None


def prompt_of(attributes: Attributes, table: FluxTable) -> tuple[Texts, Texts]:
    """The positive and the negative texts, each for CLIP-L and for T5.

    The table's texts may name {person}, {gender}, {age}, {hair}, {beard}, {pose}, {expression}, {accessory} and
    {details} (all of them but the person); a text that names none gets the details at its end. Other braces stay.

    >>> made = Attributes("female", "30-44", hairstyle="bob", accessory="glasses")
    >>> prompt_of(made, FluxTable(prompt="LWIR face of a {person}, {accessory}", negative="noise"))[0][0]
    'LWIR face of a woman, wearing glasses'
    """
    words = words_of(attributes)
    positive = _filled(table.prompt or DEFAULT, words)
    column = ACCESSORIES[attributes.accessory][0]
    unwanted = [word for name, word in _ABSENT.items() if name != column]
    if attributes.beard == "none" and attributes.gender == "male":
        unwanted.append("beard")
    negative = ", ".join([table.negative or NEGATIVE, *unwanted])
    return (
        (positive, positive if table.prompt_t5 is None else _filled(table.prompt_t5, words)),
        (negative, negative if table.negative_t5 is None else ", ".join([table.negative_t5, *unwanted])),
    )


def literal_texts(table: FluxTable) -> tuple[Texts, Texts] | None:
    """The table's texts word for word; None where it has no positive one, or one with fields to fill."""
    if not table.prompt or names_fields(table):
        return None
    return (
        (table.prompt, table.prompt if table.prompt_t5 is None else table.prompt_t5),
        (table.negative, table.negative if table.negative_t5 is None else table.negative_t5),
    )


def names_fields(table: FluxTable) -> bool:
    """Whether a positive text has fields to fill."""
    known = words_of(Attributes("female", "30-44"))
    return any(name in known for text in (table.prompt, table.prompt_t5 or "") for name in _FIELD.findall(text))


def unknown_fields(table: FluxTable) -> list[str]:
    """What stands in braces in a positive text and is no field, so that it is drawn as it stands."""
    known = words_of(Attributes("female", "30-44"))
    texts = (table.prompt, table.prompt_t5 or "")
    return list(dict.fromkeys(name for text in texts for name in _FIELD.findall(text) if name not in known))


def words_of(attributes: Attributes) -> dict[str, str]:
    """Words for each field of a text."""
    age = AGE_BANDS[attributes.age_band]
    noun = "man" if attributes.gender == "male" else "woman"
    words = {
        "gender": attributes.gender,
        "age": age,
        "hair": HAIR_WORDS[attributes.hairstyle],
        "beard": BEARD_WORDS[attributes.beard],
        "pose": POSES[attributes.pose],
        "expression": EXPRESSION_WORDS[attributes.expression],
        "accessory": ACCESSORIES[attributes.accessory][2],
    }
    said = (words[name] for name in ("hair", "beard", "pose", "expression", "accessory"))
    return {**words, "person": f"{age} {noun}".strip(), "details": ", ".join(word for word in said if word)}


def _filled(text: str, words: Mapping[str, str]) -> str:
    if not any(name in words for name in _FIELD.findall(text)):
        return f"{text.rstrip(' ,')}, {words['person']}, {words['details']}"
    filled = _FIELD.sub(lambda m: words.get(m[1], m[0]), text)
    # an empty field leaves no comma behind
    return re.sub(r"(,\s*)+(?=,|$)", "", re.sub(r"\s{2,}", " ", filled)).strip(" ,")


def _one_of(rng: np.random.Generator, values: Sequence[str]) -> str:
    return values[int(rng.integers(len(values)))]


def noise_seed(subject: Subject, first_seed: int | None, attempt: int = 0) -> int:
    """The seed of a subject's noise: ``first_seed`` and its number, or else from (subject, "face noise", 0).

    ``attempt`` above 0 is of a further seed.

    >>> noise_seed(Subject("P_000003", 3, "male", 7), 1000)
    1003
    """
    if first_seed is not None and not attempt:
        return (first_seed + subject.index) % 2**63
    state = seed_sequence(subject.seed, subject.index, "face noise", attempt).generate_state(1, np.uint64)
    return int(state[0]) >> 1
