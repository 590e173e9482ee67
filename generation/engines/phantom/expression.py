"""Facial expressions as weights of the 52 ARKit-named face units, and the head surface they give."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from thermvision.annotations.errors import UsageError
from thermvision.annotations.schema import EXPRESSIONS
from thermvision.generation.engines.phantom.assets import load_assets
from thermvision.generation.engines.phantom.layers import Floats, Head
from thermvision.generation.specs import Subject, seed_sequence

# the columns of every weight array, in this order
FACE_UNITS = (
    "browDownLeft", "browDownRight", "browInnerUp", "browOuterUpLeft", "browOuterUpRight", "cheekPuff",
    "cheekSquintLeft", "cheekSquintRight", "eyeBlinkLeft", "eyeBlinkRight", "eyeLookDownLeft", "eyeLookDownRight",
    "eyeLookInLeft", "eyeLookInRight", "eyeLookOutLeft", "eyeLookOutRight", "eyeLookUpLeft", "eyeLookUpRight",
    "eyeSquintLeft", "eyeSquintRight", "eyeWideLeft", "eyeWideRight", "jawForward", "jawLeft", "jawOpen", "jawRight",
    "mouthClose", "mouthDimpleLeft", "mouthDimpleRight", "mouthFrownLeft", "mouthFrownRight", "mouthFunnel",
    "mouthLeft", "mouthLowerDownLeft", "mouthLowerDownRight", "mouthPressLeft", "mouthPressRight", "mouthPucker",
    "mouthRight", "mouthRollLower", "mouthRollUpper", "mouthShrugLower", "mouthShrugUpper", "mouthSmileLeft",
    "mouthSmileRight", "mouthStretchLeft", "mouthStretchRight", "mouthUpperUpLeft", "mouthUpperUpRight",
    "noseSneerLeft", "noseSneerRight", "tongueOut",
)  # fmt: skip
# a name without a side stands for its Left and Right unit
_RECIPES: dict[str, dict[str, float]] = {
    "neutral": {},
    "smile": {"mouthSmile": 0.85, "cheekSquint": 0.5, "eyeSquint": 0.25, "mouthUpperUp": 0.15, "mouthDimple": 0.2},
    "frown": {"browDown": 0.9, "mouthFrown": 0.75, "mouthPress": 0.25, "noseSneer": 0.25, "mouthShrugLower": 0.5},
    "surprise": {"jawOpen": 0.55, "browInnerUp": 0.9, "browOuterUp": 0.9, "eyeWide": 0.9},
    "blink": {"eyeBlink": 1.0},
    "open": {"jawOpen": 0.5},
    "talk": {"jawOpen": 0.2, "mouthFunnel": 0.3},
}
BLINK = np.array([unit.startswith("eyeBlink") for unit in FACE_UNITS])
BROWS = np.array([unit.startswith("brow") for unit in FACE_UNITS])
LEFT_SIDE = np.array([unit.endswith("Left") for unit in FACE_UNITS])
RIGHT_SIDE = np.array([unit.endswith("Right") for unit in FACE_UNITS])
_STYLE_ITEM = 2
_LID_ROWS = {"Left": ((43, 47), (44, 46)), "Right": ((37, 41), (38, 40))}
_LID_OVERLAP = 0.0003  # metres by which closed lids press into each other
_BLINK_RANGE, _FIT_ROUNDS = (0.3, 1.6), 4


def expression_weights(name: str) -> NDArray[np.float64]:
    """(52,) weights of a named expression at its apex, columns as in `FACE_UNITS`.

    Raises:
        UsageError: no expression has that name.
    """
    if name not in _RECIPES:
        raise UsageError(f"expression {name!r} does not exist; allowed: {', '.join(EXPRESSIONS)}")
    weights = np.zeros(len(FACE_UNITS))
    for unit, weight in _RECIPES[name].items():
        sides = (unit,) if unit in FACE_UNITS else (f"{unit}Left", f"{unit}Right")
        for side in sides:
            weights[FACE_UNITS.index(side)] = weight
    return weights


def expression_style(subject: Subject) -> NDArray[np.float64]:
    """(52,) factors of how a subject moves its face: U(.75, 1.15) a unit, sides by N(1, .06); lids close fully."""
    rng = np.random.default_rng(seed_sequence(subject.seed, subject.index, "shape", _STYLE_ITEM))
    factors = np.empty(len(FACE_UNITS))
    strength: dict[str, float] = {}
    for i, unit in enumerate(FACE_UNITS):
        stem = unit.removesuffix("Left").removesuffix("Right")
        strength.setdefault(stem, float(rng.uniform(0.75, 1.15)))
        factors[i] = strength[stem] * (rng.normal(1, 0.06) if stem != unit else 1.0)
    factors[BLINK] = 1.0
    return factors


@lru_cache(8)
def _closing(head: Head) -> dict[str, tuple[NDArray[np.int64], Floats]]:
    """The blink unit of each eye, fitted to this identity: hm08 rows (k,) and displacements (k, 3) in decimetres.

    The unit is modelled on the average face. Its displacements are scaled along the eye so that the lids of this
    identity meet in both columns of landmarks and neither part nor pass each other.
    """
    assets, topology = load_assets(), head.topology
    fitted = {}
    for side, pairs in _LID_ROWS.items():
        rows, delta = assets.targets[f"faceunits/eyeBlink{side}"]
        upper, lower = (topology.landmarks[[pair[k] for pair in pairs]] for k in range(2))
        columns = head.rest[upper, 0] * 10
        order = np.argsort(columns)
        gap = head.rest[upper, 1] - head.rest[lower, 1]
        factor = np.ones(len(pairs))
        for _ in range(_FIT_ROUNDS):
            raw = head.raw.copy()
            raw[rows] += np.interp(head.raw[rows, 0], columns[order], factor[order])[:, None] * delta
            closed = topology.subdivision[np.concatenate([upper, lower])] @ raw[topology.kept, 1] * 0.1
            left = closed[: len(pairs)] - closed[len(pairs) :]
            factor = np.clip(factor * (gap + _LID_OVERLAP) / np.maximum(gap - left, 1e-6), *_BLINK_RANGE)
        scale = np.interp(head.raw[rows, 0], columns[order], factor[order])
        fitted[side] = np.asarray(rows, np.int64), scale[:, None] * delta
    return fitted


def deform(head: Head, weights: NDArray[np.float64]) -> tuple[Floats, Floats]:
    """The head with an expression: whole base mesh (V, 3) in decimetres and surface (n, 3) in metres, before head pose.

    A blink weight of one closes the lids of this identity; every other weight scales its unit as it is.

    Args:
        head: the identity at rest.
        weights: (52,) weights of `FACE_UNITS`.
    """
    assets, topology = load_assets(), head.topology
    raw = head.raw.copy()
    for i in np.flatnonzero(weights):
        unit = FACE_UNITS[i]
        if BLINK[i]:
            rows, delta = _closing(head)["Left" if LEFT_SIDE[i] else "Right"]
            raw[rows] += float(weights[i]) * delta
        else:
            assets.morph(raw, f"faceunits/{unit}", float(weights[i]))
    surface: Floats = topology.subdivision @ raw[topology.kept] * 0.1
    return raw, surface
