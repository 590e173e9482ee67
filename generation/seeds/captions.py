"""Captions from what is known of a picture, and nothing else: unknown facts are not mentioned.

The words are those of `thermvision.generation.prompts`, so that what is asked of a trained adapter is what it has seen.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike

from thermvision.generation import prompts

STYLE = "thermal infrared (LWIR) portrait photo of a {person}"  # how `prompts.DEFAULT` begins
LOOK = "grayscale, white-hot"
# two more than prompts have: a data set may say how far a head is turned, not to which side
POSES: dict[str, str] = {**prompts.POSES, "turned": "head turned to the side", "profile": "profile view"}
TURNED, PROFILE, RAISED, TILTED = 11.25, 56.25, 15.0, 15.0  # degrees from which a pose has another name
_NOUNS = {"female": "woman", "male": "man"}


def caption(facts: Mapping[str, str], trigger: str = "") -> str:
    """One line for a text encoder.

    Args:
        facts: of these: gender, age (years), pose (a key of `POSES`), expression (of `prompts.EXPRESSION_WORDS`, or
            other words), accessories.
        trigger: put first, where it is given.

    >>> caption({"gender": "female", "age": "64", "pose": "frontal", "accessories": "glasses"})
    'thermal infrared (LWIR) portrait photo of a senior woman, facing the camera, wearing glasses, grayscale, white-hot'
    >>> caption({"session": "2"}, "thermface")
    'thermface, thermal infrared (LWIR) portrait photo of a person, grayscale, white-hot'
    """
    noun = _NOUNS.get(facts.get("gender", "").lower(), "person")
    person = f"{_age_word(facts.get('age', ''))} {noun}".strip()
    expression, worn = facts.get("expression", ""), facts.get("accessories", "")
    parts = [
        trigger.strip(),
        STYLE.format(person=person),
        POSES.get(facts.get("pose", ""), ""),
        prompts.EXPRESSION_WORDS.get(expression, f"{expression} expression" if expression else ""),
        f"wearing {worn}" if worn else "",
        LOOK,
    ]
    return ", ".join(" ".join(part.split()) for part in parts if part)


def _age_word(age: str) -> str:
    """The word that prompts use for an age in years; "" where they use none, and below 18."""
    if not age.isdecimal() or len(age) > 3:
        return ""
    for band, word in prompts.AGE_BANDS.items():
        low, high = map(int, band.split("-"))
        if low <= int(age) <= high:
            return word
    return ""


def pose_of(head_pose: ArrayLike | None) -> str:
    """What yaw, pitch, roll in degrees are called; "" where they are not known.

    Yaw counts first, then pitch, then roll. Left and right are those of the picture, as in prompts.

    >>> pose_of([3, 0, 0]), pose_of([-30, 5, 0]), pose_of([80, 0, 0]), pose_of([0, -20, 0]), pose_of(None)
    ('frontal', 'left', 'right_profile', 'down', '')
    """
    if head_pose is None:
        return ""
    yaw, pitch, roll = (float(v) for v in np.asarray(head_pose, np.float64))
    if not np.isfinite([yaw, pitch, roll]).all():
        return ""
    if abs(yaw) >= TURNED:
        side = "right" if yaw > 0 else "left"
        return side if abs(yaw) < PROFILE else f"{side}_profile"
    if abs(pitch) >= RAISED:
        return "up" if pitch > 0 else "down"
    return "tilted" if abs(roll) >= TILTED else "frontal"
