"""Identities: the shape of one subject's head at rest, drawn from its seed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from thermvision.annotations.errors import UsageError
from thermvision.annotations.schema import BEARDS, GENDERS
from thermvision.generation.engines.phantom.assets import LOCAL_FOLDERS, load_assets, macro_weights, target_files
from thermvision.generation.engines.phantom.layers import Floats, Head
from thermvision.generation.engines.phantom.raster import surface_normals
from thermvision.generation.engines.phantom.topology import load_topology
from thermvision.generation.specs import Subject, seed_sequence

HAIRSTYLES_BY_GENDER: dict[str, tuple[str, ...]] = {
    "female": ("long", "bob", "back", "side", "short", "fringe", "ponytail", "bun"),
    "male": ("short", "side", "crew", "buzz", "bald"),
}
# two accepted identities differ by at least this RMS distance over the 68 rest landmarks, metres
MINIMUM_DISTANCE = 0.0025
AGE_RANGE = (18.0, 90.0)

# standard deviation of a local control, by folder; above .4 faces turn into caricatures. With these, chin to crown
# spreads by 11 mm and head breadth by 5 mm (s.d. of 40 heads); .25 for head and .30 for forehead gave
# 16 and 8 mm: towers and cubes
_SIGMA = {
    "nose": 0.27, "mouth": 0.24, "eyes": 0.25, "chin": 0.27, "cheek": 0.40,
    "ears": 0.35, "eyebrows": 0.30, "forehead": 0.20, "head": 0.15, "neck": 0.20,
}  # fmt: skip
_LIMIT = 0.8
_ASYMMETRY = 0.02  # of the weight, between left and right: position targets move up to 20 mm at full weight
_PAIRS = (
    ("-decr", "-incr"), ("-down", "-up"), ("-in", "-out"), ("-backward", "-forward"), ("-concave", "-convex"),
    ("-compress", "-uncompress"),
)  # fmt: skip
# the base mesh's neutral mouth is slightly parted and would show the hot cavity; closing it draws the corners down, and
# a face at rest does not frown
_CLOSED_MOUTH = {
    "mouthPressLeft": 0.15, "mouthPressRight": 0.15, "mouthShrugLower": 0.12,
    "mouthSmileLeft": 0.10, "mouthSmileRight": 0.10,
}  # fmt: skip
_BEARD_SHARES = {"none": 0.6, "stubble": 0.18, "full": 0.12, "moustache": 0.04, "goatee": 0.06}
_SHAPE_ITEM, _TRAIT_ITEM = 0, 1


@dataclass(frozen=True)
class _Control:
    """One local degree of freedom: targets for negative and positive values; ``low`` is empty for a one-sided shape."""

    low: str
    high: str
    sigma: float


@lru_cache(1)
def _controls() -> tuple[_Control, ...]:
    names = set(target_files())

    def of_folder(folder: str) -> Iterator[_Control]:
        sigma = _SIGMA[folder]
        for name in sorted(n for n in names if n.startswith(f"{folder}/")):
            if name.startswith(f"{folder}/r-"):
                continue  # follows its left twin
            pair = next(((lo, hi) for lo, hi in _PAIRS if name.endswith((lo, hi))), None)
            if pair is not None:
                stem = name.removesuffix(pair[0]).removesuffix(pair[1])
                if {stem + pair[0], stem + pair[1]} <= names:
                    if name.endswith(pair[1]):
                        yield _Control(stem + pair[0], stem + pair[1], sigma)
                    continue
            yield _Control("", name, sigma / 2)

    return tuple(control for folder in LOCAL_FOLDERS for control in of_folder(folder))


def _local_weights(rng: np.random.Generator) -> dict[str, float]:
    weights: dict[str, float] = {}
    for control in _controls():
        value = float(np.clip(rng.normal(0, control.sigma), -_LIMIT, _LIMIT))
        lean = float(rng.normal(0, _ASYMMETRY))
        if not control.low:
            value = max(value, 0.0)
        target = control.high if value > 0 else control.low
        if not target:
            continue
        folder, _, stem = target.partition("/")
        if stem.startswith("l-"):
            weights[target] = abs(value) + lean
            weights[f"{folder}/r-{stem[2:]}"] = abs(value) - lean
        else:
            weights[target] = abs(value)
    return weights


def _one_of(name: str, value: Any, allowed: tuple[str, ...]) -> str:
    if value not in allowed:
        raise UsageError(f"trait {name} is {value!r}; allowed: {', '.join(allowed)}; change it in the recipe")
    return str(value)


def _number(name: str, value: Any, low: float, high: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise UsageError(f"trait {name} is {value!r}; allowed: a number {low:g}..{high:g}; change it in the recipe")
    return float(value)


def identity_traits(subject: Subject) -> dict[str, Any]:
    """Age, build, hairstyle and beard of a subject: what its traits fix, the rest drawn from its seed.

    Keys: ``age`` years, ``weight`` and ``muscle`` 0..1, ``hairstyle``, ``beard``.

    Raises:
        UsageError: the gender or a trait is not allowed.
    """
    gender = _one_of("gender", subject.gender, GENDERS)
    given, male = subject.traits, gender == "male"
    rng = np.random.default_rng(seed_sequence(subject.seed, subject.index, "shape", _TRAIT_ITEM))
    styles = HAIRSTYLES_BY_GENDER[gender]
    drawn: dict[str, Any] = {
        "age": float(np.clip(20 + 45 * rng.beta(1.6, 3), 20, 65)),
        "weight": float(np.clip(rng.normal(0.5, 0.13), 0.2, 0.9)),
        "muscle": float(np.clip(rng.normal(0.55 if male else 0.45, 0.1), 0, 1)),
        "hairstyle": styles[int(rng.integers(len(styles)))],
        "beard": str(rng.choice(list(_BEARD_SHARES), p=list(_BEARD_SHARES.values()))),
    }
    if not male:
        drawn["beard"] = "none"
    if unknown := set(given) - set(drawn):
        raise UsageError(
            f"subject {subject.subject_id} has the traits {', '.join(sorted(unknown))}; allowed: {', '.join(drawn)}"
        )
    traits = {**drawn, **given}
    traits["age"] = _number("age", traits["age"], *AGE_RANGE)
    for name in ("weight", "muscle"):
        traits[name] = _number(name, traits[name], 0, 1)
    _one_of("hairstyle", traits["hairstyle"], styles)
    _one_of("beard", traits["beard"], BEARDS if male else ("none",))
    return traits


def shape_weights(subject: Subject) -> dict[str, float]:
    """Morph-target weights of a subject's head at rest; traits (age, build) do not move the other draws."""
    traits = identity_traits(subject)
    male = subject.gender == "male"
    rng = np.random.default_rng(seed_sequence(subject.seed, subject.index, "shape", _SHAPE_ITEM))
    gender = float(np.clip(rng.normal(0.92 if male else 0.06, 0.06), 0, 1))
    ethnicity = rng.dirichlet((0.5, 0.7, 0.9))
    weights = macro_weights(gender, traits["age"], ethnicity, traits["muscle"], traits["weight"])
    return {**weights, **_local_weights(rng), **{f"faceunits/{unit}": w for unit, w in _CLOSED_MOUTH.items()}}


def make_head(subject: Subject) -> Head:
    """The subject's head at rest: neutral expression, facing the camera (metres, +y up, +z forward).

    Raises:
        UsageError: the gender or a trait is not allowed.
        MissingDependencyError: the head data is not installed.
    """
    assets, topology = load_assets(), load_topology()
    raw = assets.vertices.copy()
    for name, weight in shape_weights(subject).items():
        assets.morph(raw, name, weight)
    rest = topology.subdivision @ raw[topology.kept] * 0.1
    traits = identity_traits(subject)
    return Head(
        topology=topology,
        gender=subject.gender,
        age=traits["age"],
        traits=traits,
        raw=raw,
        rest=rest,
        rest_normals=surface_normals(rest, topology.triangles),
    )


def landmark_distance(a: Floats, b: Floats) -> Floats:
    """RMS distance in metres of rest landmarks (..., 68, 3), each set about its own centroid.

    Below `MINIMUM_DISTANCE` two identities count as the same person.
    """
    difference = (a - a.mean(-2, keepdims=True)) - (b - b.mean(-2, keepdims=True))
    distance: Floats = np.sqrt((difference**2).sum(-1).mean(-1))
    return distance
