"""What is free in an item: pose, expression, accessories, distance and room; given in the spec or drawn by seed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from thermvision.annotations.errors import UsageError
from thermvision.annotations.radiometry import AGC_MODES, AgcMode
from thermvision.annotations.schema import ATTRIBUTES, EXPRESSIONS
from thermvision.generation.specs import Subject

# lowest and highest value a spec may give
RANGES: dict[str, tuple[float, float]] = {
    "yaw": (-90, 90),
    "pitch": (-45, 45),
    "roll": (-45, 45),
    "breath": (-1, 1),
    "distance": (0.45, 2.5),  # metres
    "zoom": (0.5, 4),
    "ambient": (10, 32),  # °C
    "shift_x": (-0.1, 0.1),  # metres of the camera against the face
    "shift_y": (-0.1, 0.1),
}
PORTRAIT_ZOOM = 1.3  # 7.5 mm times this: the head of a 62 cm portrait fills the window
DEFAULT_LIMITS = (18.0, 37.0)  # °C, of the "fixed" gain
NAMES = (*RANGES, "expression", *ATTRIBUTES, "agc", "agc_limits")


@dataclass(frozen=True)
class Parameters:
    """The resolved parameters of one item.

    Attributes:
        yaw, pitch, roll: degrees (stills; a clip moves, and fixes an axis only where its spec gives a value).
        expression: of `EXPRESSIONS`.
        breath: -1 (inhaled) .. 1 (exhaled), of a still.
        distance: metres from lens to face.
        zoom: factor on the camera's focal length; 1 is the article's lens.
        ambient: air temperature, °C.
        shift_x, shift_y: metres by which the camera stands beside and above the face's centre.
        agc: mode of the 8-bit frames, of `AGC_MODES`, with ``agc_limits`` in °C for "fixed".
        attributes: values of `ATTRIBUTES` that the item fixes; the others are the identity's own.
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

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        values = asdict(self)
        values["agc_limits"] = None if self.agc_limits is None else list(self.agc_limits)
        return values


def _check(given: Mapping[str, Any]) -> None:
    findings = []
    if unknown := set(given) - set(NAMES):
        findings.append(f"no such parameter: {', '.join(sorted(map(str, unknown)))}; allowed: {', '.join(NAMES)}")
    for name, (low, high) in RANGES.items():
        value = given.get(name, low)
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
            findings.append(f"{name} is {value!r}; allowed: {low:g}..{high:g}")
    choices = {"expression": EXPRESSIONS, "agc": AGC_MODES, **ATTRIBUTES}
    for name, allowed in choices.items():
        if name in given and given[name] not in allowed:
            findings.append(f"{name} is {given[name]!r}; allowed: {', '.join(allowed)}")
    if "agc_limits" in given:
        limits = given["agc_limits"]
        pair = isinstance(limits, list | tuple) and len(limits) == 2 and all(isinstance(v, int | float) for v in limits)
        if not pair or not limits[0] < limits[1]:
            findings.append(f"agc_limits is {limits!r}; allowed: [low, high] in °C with low < high")
    if findings:
        raise UsageError(f"parameters: {'; '.join(findings)}; change the recipe")


def _resolve(drawn: dict[str, Any], attributes: dict[str, str], given: Mapping[str, Any]) -> Parameters:
    values = {**drawn, **{name: given[name] for name in given if name not in ATTRIBUTES and name != "agc_limits"}}
    for name in RANGES:
        values[name] = float(values[name])
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
        "shift_x": rng.normal(0, 0.005),
        "shift_y": rng.normal(0, 0.005),
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


def draw_still_parameters(
    subject: Subject, category: str, given: Mapping[str, Any], rng: np.random.Generator
) -> Parameters:
    """Parameters of a still: what its category asks for, with ``given`` values in place of drawn ones.

    frontal_pose: near-frontal and neutral; facial_accessories: with glasses; beard: stubble or full; mix: pose,
    expression, glasses and beard at random; head_poses: yaw to ±75, pitch to ±25 degrees.

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
    else:
        drawn |= _near_frontal(rng, {"frontal_pose": 3.0}.get(category, 8.0))
        if category == "facial_accessories":
            attributes["glasses"] = "glasses"
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
