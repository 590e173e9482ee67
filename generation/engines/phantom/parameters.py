"""What is free in an item: pose, expression, accessories, distance and room; given in the spec or drawn by seed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from thermvision.annotations.errors import UsageError
from thermvision.annotations.palettes import PALETTES
from thermvision.annotations.radiometry import AGC_MODES, AgcMode
from thermvision.annotations.schema import ATTRIBUTES, EXPRESSIONS
from thermvision.generation.camera import PRESETS
from thermvision.generation.specs import Subject

# lowest and highest value a spec may give
RANGES: dict[str, tuple[float, float]] = {
    "yaw": (-90, 90),
    "pitch": (-45, 45),
    "roll": (-45, 45),
    "turn": (-180, 180),  # degrees of the whole person about the upright axis
    "breath": (-1, 1),
    "distance": (0.4, 6),  # metres
    "zoom": (0.5, 4),
    "ambient": (5, 35),  # °C; in air warmer than skin, skin sweats, and no region is where this model has it
    "shift_x": (-0.1, 0.1),  # metres of the camera against the face
    "shift_y": (-0.1, 0.1),
    "fog": (0, 3),  # extinction, 1 / m
    "smoke": (0, 3),
    "smoke_excess": (0, 60),  # kelvin
    "heat_sources": (0, 6),  # how many
    "session": (-1.5, 1.5),  # kelvin
    "stress": (0, 2),
    "stress_seconds": (5, 120),
    "breathing_rate": (4, 60),  # a minute
    "netd_mk": (0, 500),
    "fixed_pattern_mk": (0, 500),
    "mtf_px": (0, 4),
    "emissivity": (0.9, 1),
}
COUNTS = ("heat_sources",)
_BECAUSE = {"ambient": " (air warmer than skin is not modelled)"}
CHOICES: dict[str, tuple[str, ...]] = {
    "preset": tuple(PRESETS),
    "agc": AGC_MODES,
    "polarity": ("white-hot", "black-hot"),
    "palette": PALETTES,
}
# Those that a scene with several people takes.
SCENE_PARAMETERS = (
    "ambient", "preset", "netd_mk", "fixed_pattern_mk", "mtf_px", "agc", "agc_limits", "polarity", "palette", "turn",
)  # fmt: skip
PERSON_PARAMETERS = ("turn",)  # of which everybody in it draws their own
# One draw each from the item's stream "recipe", by place: append only.
_DRAWN = (
    "hairstyle", "distance", "zoom", "ambient", "shift_x", "shift_y", "fog", "smoke", "smoke_excess", "heat_sources",
    "session", "stress", "stress_seconds", "breathing_rate", "netd_mk", "fixed_pattern_mk", "mtf_px", "emissivity",
    "preset", "agc", "polarity", "palette", "yaw", "pitch", "roll", "breath", "wears", "worn",
    "turn",
)  # fmt: skip
# How an item is framed when nothing says otherwise: no two items of a person alike.
FRAMING: dict[str, list[float]] = {"distance": [0.56, 0.68], "zoom": [1.16, 1.42]}
PORTRAIT_ZOOM = 1.3  # 7.5 mm times this: the head of a 62 cm portrait fills the window
DEFAULT_LIMITS = (18.0, 37.0)  # °C, of the "fixed" gain
# what people wear in a still of facial accessories or in a clip with some, with how often
_WORN: tuple[tuple[float, dict[str, str]], ...] = (
    (0.36, {"glasses": "glasses"}),
    (0.20, {"mask": "mask"}),
    (0.13, {"headwear": "cap"}),
    (0.11, {"headwear": "beanie"}),
    (0.08, {"glasses": "glasses", "mask": "mask"}),
    (0.05, {"glasses": "glasses", "headwear": "cap"}),
    (0.03, {"glasses": "glasses", "headwear": "beanie"}),
    (0.02, {"mask": "mask", "headwear": "beanie"}),
    (0.02, {"mask": "mask", "headwear": "cap"}),
)
NAMES = (*RANGES, "expression", *ATTRIBUTES, *CHOICES, "agc_limits", "pin_hairstyle", "accessories")


@dataclass(frozen=True)
class Parameters:
    """The resolved parameters of one item.

    Attributes:
        yaw, pitch, roll: degrees (stills; a clip moves, and fixes an axis only where its spec gives a value).
        turn: degrees by which the whole person turns about the upright axis after the neck has bent: the true pose is
            that of the head on its neck and this together.
        expression: of `EXPRESSIONS`.
        breath: -1 (inhaled) .. 1 (exhaled), of a still.
        distance: metres from lens to face.
        zoom: factor on the camera's focal length; 1 is the article's lens.
        ambient: air temperature, °C.
        shift_x, shift_y: metres by which the camera stands beside and above the face's centre.
        agc: mode of the 8-bit frames, of `AGC_MODES`, with ``agc_limits`` in °C for "fixed".
        attributes: values of `ATTRIBUTES` that the item fixes; the others are the identity's own.
        preset: sensor and lens, of `PRESETS`; ``netd_mk``, ``fixed_pattern_mk`` and ``mtf_px`` replace its values
            where they are not None.
        emissivity: of skin, seen straight on.
        polarity: of the 8-bit frames; radiometric frames have none.
        palette: colours that the item is meant to be looked at in. A record for viewers: frames stay gray.
        fog, smoke: extinction, 1 / m, and ``smoke_excess``, kelvin of the smoke above the air; see `Atmosphere`.
        heat_sources: how many warm things stand behind the subject, besides what its room has.
        session: kelvin by which the subject is warmer than in its other sessions, besides what the seed draws.
        stress: kelvin by which the nose cools within ``stress_seconds``; see `physiology`.
        breathing_rate: breaths a minute of a clip; None: drawn with its motion.
        pin_hairstyle: whether hair is the identity's own instead of the item's.
    """

    yaw: float
    pitch: float
    roll: float
    expression: str
    breath: float
    distance: float
    zoom: float
    ambient: float
    shift_x: float
    shift_y: float
    agc: AgcMode
    agc_limits: tuple[float, float] | None
    attributes: dict[str, str] = field(default_factory=dict)
    preset: str = "vga-17"
    netd_mk: float | None = None
    fixed_pattern_mk: float | None = None
    mtf_px: float | None = None
    emissivity: float = 0.985
    polarity: str = "white-hot"
    palette: str = "white-hot"
    fog: float = 0.0
    smoke: float = 0.0
    smoke_excess: float = 0.0
    heat_sources: int = 0
    session: float = 0.0
    stress: float = 0.0
    stress_seconds: float = 20.0
    breathing_rate: float | None = None
    pin_hairstyle: bool = False
    turn: float = 0.0

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        values = asdict(self)
        values["agc_limits"] = None if self.agc_limits is None else list(self.agc_limits)
        return values


def _is_number(value: Any, low: float, high: float) -> bool:
    return not isinstance(value, bool) and isinstance(value, int | float) and low <= value <= high


def _is_range(value: Any, low: float, high: float) -> bool:
    pair = isinstance(value, list | tuple) and len(value) == 2
    return pair and all(_is_number(v, low, high) for v in value) and value[0] <= value[1]


def _limit_findings(given: Mapping[str, Any]) -> list[str]:
    limits = given.get("agc_limits", [0, 1])
    pair = isinstance(limits, list | tuple) and len(limits) == 2 and all(_is_number(v, -50, 120) for v in limits)
    if pair and limits[0] < limits[1]:
        return []
    return [f"agc_limits is {limits!r}; allowed: [low, high] in degrees Celsius with low < high, -50..120"]


def findings_of(given: Mapping[str, Any]) -> list[str]:
    """What is wrong with parameters whose ranges and lists of names are not drawn yet; empty when nothing is."""
    findings = []
    for name, (low, high) in RANGES.items():
        value = given.get(name, low)
        whole = name not in COUNTS or all(isinstance(v, int) for v in (value if isinstance(value, list) else [value]))
        if not (whole and (_is_number(value, low, high) or _is_range(value, low, high))):
            kind = "a whole number" if name in COUNTS else "a number"
            span = f"{kind} {low:g}..{high:g}, or [lowest, highest] within it"
            findings.append(f"{name} is {value!r}; allowed: {span}{_BECAUSE.get(name, '')}")
    for name, allowed in CHOICES.items():
        value = given.get(name, allowed[0])
        if not (value in allowed if isinstance(value, str) else isinstance(value, list | tuple) and value):
            findings.append(f"{name} is {value!r}; allowed: {', '.join(allowed)}, or a list of such")
        elif not isinstance(value, str) and (unknown := [v for v in value if v not in allowed]):
            findings.append(f"{name} lists {unknown[0]!r}; allowed: {', '.join(allowed)}")
    findings += _limit_findings(given)
    if not _is_number(given.get("accessories", 0), 0, 1):
        findings.append(f"accessories is {given['accessories']!r}; allowed: the share of items that wear any, 0..1")
    if not isinstance(given.get("pin_hairstyle", False), bool):
        findings.append(f"pin_hairstyle is {given['pin_hairstyle']!r}; allowed: true, false")
    return findings


def _shares(rng: np.random.Generator) -> dict[str, float]:
    return dict(zip(_DRAWN, rng.random(len(_DRAWN)).tolist(), strict=True))


def _fill(given: Mapping[str, Any], shares: Mapping[str, float]) -> dict[str, Any]:
    if findings := findings_of(given):
        raise UsageError(f"parameters: {'; '.join(findings)}; change the recipe")
    filled = dict(given)
    for name, value in given.items():
        if name in RANGES and not isinstance(value, int | float):
            low, high = value
            span = int(shares[name] * (high - low + 1)) if name in COUNTS else shares[name] * (high - low)
            filled[name] = low + span
        elif name in CHOICES and not isinstance(value, str):
            filled[name] = value[int(shares[name] * len(value))]
    return filled


def fill_ranges(given: Mapping[str, Any], rng: np.random.Generator) -> dict[str, Any]:
    """``given`` with one value for every range and list of names; what `settle` does for items with no one subject.

    Raises:
        UsageError: a value, range or name is not allowed; all findings at once.
    """
    return _fill(given, _shares(rng))


def settle(subject: Subject, given: Mapping[str, Any], rng: np.random.Generator) -> dict[str, Any]:
    """``given`` with one value for every range and list, and the framing and hairstyle of the item where it has none.

    Each is drawn by itself: to give one never moves another. Hair belongs to the item and not to the person, so that
    nothing but the face tells who it is, unless ``pin_hairstyle`` is true or the subject's traits name a style. So do
    glasses, masks and headwear, where ``accessories`` gives the share of items that wear any.

    Args:
        subject: whose item.
        given: `StillSpec.parameters` or `ClipSpec.parameters`: numbers, [lowest, highest], names, lists of names.
        rng: of the item's stream "recipe".

    Raises:
        UsageError: a value, range or name is not allowed; all findings at once.
    """
    from thermvision.generation.engines.phantom.identity import HAIRSTYLES_BY_GENDER

    shares = _shares(rng)
    settled = _fill({**FRAMING, **given}, shares)
    if "hairstyle" not in given and "hairstyle" not in subject.traits and not given.get("pin_hairstyle", False):
        styles = HAIRSTYLES_BY_GENDER[subject.gender]
        settled["hairstyle"] = styles[int(shares["hairstyle"] * len(styles))]
    if shares["wears"] < settled.pop("accessories", 0):
        settled = {**_worn(shares["worn"]), **settled}
    return settled


def _check(given: Mapping[str, Any]) -> None:
    findings = []
    if unknown := set(given) - set(NAMES):
        findings.append(f"no such parameter: {', '.join(sorted(map(str, unknown)))}; allowed: {', '.join(NAMES)}")
    for name, (low, high) in RANGES.items():
        value = given.get(name, low)
        if not _is_number(value, low, high):
            findings.append(f"{name} is {value!r}; allowed: {low:g}..{high:g}")
    choices = {"expression": EXPRESSIONS, **CHOICES, **ATTRIBUTES}
    for name, allowed in choices.items():
        if name in given and given[name] not in allowed:
            findings.append(f"{name} is {given[name]!r}; allowed: {', '.join(allowed)}")
    findings += _limit_findings(given)
    if findings:
        raise UsageError(f"parameters: {'; '.join(findings)}; change the recipe")


def _resolve(drawn: dict[str, Any], attributes: dict[str, str], given: Mapping[str, Any]) -> Parameters:
    apart = (*ATTRIBUTES, "agc_limits", "accessories")  # which last has done its work in `settle`
    values = {**drawn, **{name: given[name] for name in given if name not in apart}}
    for name in RANGES:
        if name in values:
            values[name] = int(values[name]) if name in COUNTS else float(values[name])
    fixed = {name: str(given[name]) for name in ATTRIBUTES if name in given}
    limits = None
    if values["agc"] == "fixed":
        low, high = given.get("agc_limits", DEFAULT_LIMITS)
        limits = (float(low), float(high))
    return Parameters(**values, agc_limits=limits, attributes={**attributes, **fixed})


def _session(rng: np.random.Generator) -> dict[str, Any]:
    return {
        "distance": rng.uniform(0.60, 0.65),
        "zoom": PORTRAIT_ZOOM,
        "ambient": np.clip(rng.normal(22.5, 1.6), 18, 27),
        "shift_x": rng.normal(0, 0.008),
        "shift_y": rng.normal(0, 0.008),
        "breath": rng.uniform(-1, 1),
        "agc": "plateau",
    }


def _near_frontal(rng: np.random.Generator, spread: float) -> dict[str, Any]:
    yaw, pitch, roll = rng.normal(0, (spread, 0.7 * spread, 0.5 * spread))
    return {"yaw": np.clip(yaw, -25, 25), "pitch": np.clip(pitch, -15, 15), "roll": np.clip(roll, -12, 12)}


def _any_pose(rng: np.random.Generator, widest: float) -> dict[str, Any]:
    yaw = rng.uniform(-widest, widest)
    pitch = rng.uniform(-25, 25) * (1 - abs(yaw) / 150)
    return {"yaw": yaw, "pitch": pitch, "roll": np.clip(rng.normal(0, 4) + 0.1 * yaw, -20, 20)}


def _worn(share: float) -> dict[str, str]:
    """Glasses, mask and headwear of a picture that has at least one of them; ``share`` is uniform in 0..1."""
    kind = int(np.searchsorted(np.cumsum([share for share, _ in _WORN]), share * sum(s for s, _ in _WORN)))
    return {"glasses": "none", "mask": "none", "headwear": "none", **_WORN[min(kind, len(_WORN) - 1)][1]}


def draw_still_parameters(
    subject: Subject, category: str, given: Mapping[str, Any], rng: np.random.Generator
) -> Parameters:
    """Parameters of a still: what its category asks for, with ``given`` values in place of drawn ones.

    frontal_pose: near-frontal and neutral; facial_accessories: glasses, mask or headwear, or two of them; beard:
    stubble or full; mix: pose, expression, accessories and beard at random; head_poses: yaw to ±75, pitch to ±25.

    Args:
        subject: whose still.
        category: of `CATEGORIES`.
        given: `StillSpec.parameters`.
        rng: of the item's plan stream.

    Raises:
        UsageError: a parameter does not exist or its value is not allowed; all findings at once.
    """
    _check(given)
    drawn = {**_session(rng), "expression": "neutral"}
    attributes: dict[str, str] = {}
    beards = ("stubble", "full")
    if category == "head_poses":
        drawn |= _any_pose(rng, 75)
    elif category == "mix":
        drawn |= _any_pose(rng, 45)
        drawn["expression"] = EXPRESSIONS[int(rng.integers(len(EXPRESSIONS)))]
        glasses, beard = rng.random(), rng.random()
        attributes["glasses"] = "glasses" if glasses < 0.35 else "none"
        if subject.gender == "male" and beard < 0.5:
            attributes["beard"] = beards[int(beard < 0.25)]
        mask, hat = rng.random(2)
        attributes["mask"] = "mask" if mask < 0.12 else "none"
        attributes["headwear"] = "cap" if hat < 0.09 else "beanie" if hat < 0.16 else "none"
    else:
        drawn |= _near_frontal(rng, {"frontal_pose": 3.0}.get(category, 8.0))
        if category == "facial_accessories":
            attributes |= _worn(rng.random())
        elif category == "beard":
            attributes["beard"] = beards[int(rng.integers(2))]
    return _resolve(drawn, attributes, given)


def draw_clip_parameters(subject: Subject, given: Mapping[str, Any], rng: np.random.Generator) -> Parameters:
    """Parameters of a clip; yaw, pitch, roll and expression move unless ``given`` fixes them.

    Raises:
        UsageError: a parameter does not exist or its value is not allowed; all findings at once.
    """
    _check(given)
    still = {"expression": "neutral", "yaw": 0.0, "pitch": 0.0, "roll": 0.0}
    return _resolve({**_session(rng), **still}, {}, given)
