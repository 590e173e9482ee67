"""Faults of faces and of their heat, drawn into clean frames at the landmarks.

Gray levels are chosen in shares of the face's own spread, as the checks measure them. What would be hotter than white
makes a gain control dim all else: then the whole frame is scaled down first.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from thermvision.annotations.picture_file import picture_from_bytes
from thermvision.annotations.schema import GLASSES, HAIRSTYLES, HEADWEAR, MASKS, VISIBLE

from ..kinds import FrameView
from ..regions import FaceMap, face_map
from . import Fault, Row

Gray = NDArray[np.uint8]
Floats = NDArray[np.float32]
WHITE = 250.0  # the highest level that is drawn


@dataclass(frozen=True, eq=False)
class _Face:
    """A clean frame in float32, where its face is and how warm: points (68, 2) and ``unit`` are pixels of the frame."""

    gray: Floats
    points: Floats
    unit: float
    face: FaceMap

    def at(self, share: float) -> float:
        """The gray level so many shares of the spread above warm skin and the inner canthi."""
        return max([self.face.warm, *self.face.canthi]) + share * self.face.spread

    def spot(self, centre: ArrayLike, wide: float, high: float | None = None) -> Floats:
        """Weights (H, W) of an ellipse with soft borders; half axes in units."""
        height, width = self.gray.shape
        y, x = np.mgrid[:height, :width].astype(np.float32) + 0.5
        cx, cy = np.asarray(centre, np.float64)
        away = np.hypot((x - cx) / (wide * self.unit), (y - cy) / ((high or wide) * self.unit))
        return np.clip((1.15 - away) / 0.3, 0, 1).astype(np.float32)

    def hull(self, points: ArrayLike, grow: float = 0.0) -> Floats:
        """Weights (H, W) of the convex hull of points, grown by ``grow`` units."""
        mask = np.zeros(self.gray.shape, np.uint8)
        hull = cv2.convexHull(np.asarray(points, np.float32).round().astype(np.int32))
        cv2.fillConvexPoly(mask, hull, 1)
        size = 2 * round(grow * self.unit) + 1
        grown = cv2.dilate(mask, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size)))
        return cv2.GaussianBlur(grown.astype(np.float32), (0, 0), max(0.6, 0.02 * self.unit)).astype(np.float32)

    def heated(self, weights: Floats, share: float) -> Gray:
        """The frame with a region hotter than all skin, everything dimmed where that is beyond white."""
        target = self.at(share)
        scale = min(1.0, WHITE / target)
        relief = self.gray - np.average(self.gray, weights=weights + 1e-9)
        return _levels(scale * ((1 - weights) * self.gray + weights * (target + 0.15 * relief)))


def _levels(values: Floats) -> Gray:
    return np.rint(values).clip(0, 255).astype(np.uint8)


def _face(gray: Gray, row: Mapping[str, Any]) -> _Face:
    points = np.asarray(row["landmarks"], np.float32)
    states = None if row.get("landmark_state") is None else np.asarray(row["landmark_state"], np.uint8)
    pose = None if row.get("head_pose") is None else np.asarray(row["head_pose"], np.float32)
    attributes = {
        name: classes[row[name]]
        for name, classes in (("glasses", GLASSES), ("mask", MASKS))
        if isinstance(row.get(name), int)
    }
    face = face_map(FrameView(0, gray, gray, None, points, states, pose, attributes=attributes))
    if face is None:
        raise ValueError("the frame has no face that is large enough to draw on; choose another")
    return _Face(gray.astype(np.float32), points, face.unit, face)


# what a fault needs ---------------------------------------------------------------------------------------------------


def _seen(row: Mapping[str, Any], *spans: range, share: float = 0.95) -> bool:
    if row.get("landmarks") is None or row.get("landmark_state") is None:
        return False
    states = np.asarray(row["landmark_state"])
    return all((states[list(span)] == VISIBLE).mean() >= share for span in spans)


def _yaw(row: Mapping[str, Any]) -> float:
    return abs(float(row["head_pose"][0])) if row.get("head_pose") is not None else 90.0


def _has(row: Mapping[str, Any], name: str, classes: tuple[str, ...], value: str) -> bool:
    given = row.get(name)
    return given is not None and (classes[given] if isinstance(given, int) else given) == value


BROWS, NOSE, EYES, MOUTH = range(17, 27), range(27, 36), range(36, 48), range(48, 68)


def _eyes_seen(row: Mapping[str, Any]) -> bool:
    openness = row.get("eye_openness")
    return _yaw(row) < 25 and _seen(row, EYES, BROWS) and (openness is None or openness > 0.15)


def _bare_frontal(row: Mapping[str, Any]) -> bool:
    return _yaw(row) < 12 and _seen(row, range(68))


def _mouth_closed(row: Mapping[str, Any]) -> bool:
    openness = row.get("mouth_openness")
    return _yaw(row) < 40 and _seen(row, MOUTH, NOSE, share=0.8) and openness is not None and openness < 0.08


def _bare_head(row: Mapping[str, Any]) -> bool:
    bare = _has(row, "headwear", HEADWEAR, "none") and not _has(row, "hairstyle", HAIRSTYLES, "fringe")
    openness = row.get("mouth_openness")
    closed = openness is None or openness < 0.15  # an open mouth stretches the measure of the face
    return bare and closed and _yaw(row) < 30 and _seen(row, BROWS)


def _sockets_seen(row: Mapping[str, Any]) -> bool:
    return _bare_head(row) and _eyes_seen(row)


def _wears_glasses(row: Mapping[str, Any]) -> bool:
    return _yaw(row) < 35 and _has(row, "glasses", GLASSES, "glasses")


def _wears_mask(row: Mapping[str, Any]) -> bool:
    return _yaw(row) < 35 and _has(row, "mask", MASKS, "mask") and not _has(row, "glasses", GLASSES, "glasses")


# heat -----------------------------------------------------------------------------------------------------------------


def _lenses_hot(gray: Gray, row: Row, rng: np.random.Generator) -> Gray:
    face = _face(gray, row)
    lenses = np.maximum(face.hull(face.points[36:42], 0.24), face.hull(face.points[42:48], 0.24))
    return face.heated(lenses, rng.uniform(0.2, 0.5))


def _pupils(gray: Gray, row: Row, rng: np.random.Generator) -> Gray:
    face = _face(gray, row)
    eyes = np.maximum(face.hull(face.points[36:42]), face.hull(face.points[42:48]))
    spots = np.maximum(*(face.spot(face.points[k : k + 6].mean(0), 0.13) for k in (36, 42)))
    return face.heated(spots * np.minimum(1, 1.2 * eyes), rng.uniform(0.6, 0.9))


def _orbit_glow(gray: Gray, row: Row, rng: np.random.Generator) -> Gray:
    face = _face(gray, row)
    spots = np.maximum(*(face.spot(face.points[k : k + 6].mean(0), 0.36, 0.24) for k in (36, 42)))
    return face.heated((0.9 * spots).astype(np.float32), rng.uniform(0.5, 0.8))


def _canthi_cold(gray: Gray, row: Row, rng: np.random.Generator) -> Gray:
    face = _face(gray, row)
    spots = np.maximum(*(face.spot(face.points[k], 0.13) for k in (39, 42)))
    cold = face.face.level - rng.uniform(0.2, 0.4) * face.face.spread
    return _levels((1 - spots) * face.gray + spots * np.minimum(face.gray, cold))


def _hair_hot(gray: Gray, row: Row, rng: np.random.Generator) -> Gray:
    face = _face(gray, row)
    up = (face.points[36:48].mean(0) - face.points[48:68].mean(0)) / face.unit
    brow = face.points[[19, 24]].mean(0)
    crown = face.spot(brow + 1.15 * face.unit * up, 1.2, 0.55)
    room = float(np.median(face.gray[:20]))
    head = np.clip((face.gray - room) / max(10.0, 0.2 * (face.face.level - room)) - 1, 0, 1)
    return face.heated(crown * head.astype(np.float32), rng.uniform(0.3, 0.6))


def _nose_hot(gray: Gray, row: Row, rng: np.random.Generator) -> Gray:
    face = _face(gray, row)
    return face.heated(face.hull(face.points[[29, 30, 31, 33, 35]], 0.10), rng.uniform(0.7, 1.0))


def _lips_hot(gray: Gray, row: Row, rng: np.random.Generator) -> Gray:
    face = _face(gray, row)
    return face.heated(face.hull(face.points[48:60], 0.02), rng.uniform(0.7, 1.0))


def _nostrils_hot(gray: Gray, row: Row, rng: np.random.Generator) -> Gray:
    face = _face(gray, row)
    spots = np.maximum(*(face.spot(face.points[k], 0.09) for k in (32, 34)))
    return face.heated(spots, rng.uniform(0.9, 1.2))


def _mask_hot(gray: Gray, row: Row, rng: np.random.Generator) -> Gray:
    face = _face(gray, row)
    return face.heated(face.hull(np.concatenate([face.points[2:15], face.points[29:30]])), rng.uniform(0.2, 0.5))


def _background_hot(gray: Gray, row: Row, rng: np.random.Generator) -> Gray:
    face = _face(gray, row)
    room = float(np.median(face.face.background)) if len(face.face.background) else 0.0
    cold = np.clip(((room + face.face.level) / 2 - face.gray) / 8, 0, 1)
    cold[int(face.points[8, 1]) :] = 0
    return face.heated(cold.astype(np.float32), rng.uniform(0.1, 0.4))


def _hot_spot(gray: Gray, row: Row, rng: np.random.Generator) -> Gray:
    face = _face(gray, row)
    up = (face.points[36:48].mean(0) - face.points[48:68].mean(0)) / face.unit
    centre = face.points[[19, 24]].mean(0) + rng.uniform(0.25, 0.40) * face.unit * up
    return face.heated(face.spot(centre + rng.uniform(-0.25, 0.25, 2) * (face.unit, 0), 0.17), rng.uniform(1.0, 1.3))


def _cheek_hot(gray: Gray, row: Row, rng: np.random.Generator) -> Gray:
    face = _face(gray, row)
    side = int(rng.integers(2))
    jaw, lid, corner = ((3, 40, 48), (13, 47, 54))[side]
    centre = (face.points[jaw] + face.points[lid] + face.points[corner]) / 3
    weights = face.spot(centre, 0.33)
    return _levels(face.gray + weights * rng.uniform(0.8, 1.0) * face.face.spread)


def _half_cold(gray: Gray, row: Row, rng: np.random.Generator) -> Gray:
    face = _face(gray, row)
    x = np.arange(gray.shape[1], dtype=np.float32)[None, :] + 0.5
    half: Floats = np.clip((x - face.points[27, 0]) / (0.05 * face.unit) + 0.5, 0, 1)
    if rng.integers(2):
        half = 1 - half
    weights = half * face.hull(np.concatenate([face.points[:27], face.points[17:27] - (0, 0.6 * face.unit)]))
    return _levels(face.gray - weights * rng.uniform(0.7, 1.0) * face.face.spread)


# structure ------------------------------------------------------------------------------------------------------------


def _smoothed_over(face: _Face, weights: Floats, rng: np.random.Generator) -> Gray:
    """A part painted over with the skin around it and the grain of skin."""
    mask = (weights > 0.02).astype(np.uint8)
    filled = cv2.inpaint(_levels(face.gray), mask, 0.05 * face.unit, cv2.INPAINT_TELEA).astype(np.float32)
    filled = cv2.GaussianBlur(filled, (0, 0), 0.15 * face.unit) + rng.normal(0, 1.0, filled.shape)
    return _levels(((1 - weights) * face.gray + weights * filled).astype(np.float32))


def _eye_erased(gray: Gray, row: Row, rng: np.random.Generator) -> Gray:
    face = _face(gray, row)
    start = 36 + 6 * int(rng.integers(2))
    return _smoothed_over(face, face.spot(face.points[start : start + 6].mean(0), 0.36, 0.26), rng)


def _mouth_erased(gray: Gray, row: Row, rng: np.random.Generator) -> Gray:
    face = _face(gray, row)
    return _smoothed_over(face, face.hull(face.points[48:60], 0.14), rng)


def _copied(face: _Face, centre: NDArray[Any], to: NDArray[Any], wide: float, high: float) -> Gray:
    """A part of the face drawn once more, at another place, at that place's level."""
    shift = np.rint(to - centre).astype(int)
    moved = np.roll(face.gray, (shift[1], shift[0]), (0, 1))
    weights = face.spot(centre + shift, wide, high)
    here, there = (float(np.average(part, weights=weights)) for part in (face.gray, moved))
    return _levels((1 - weights) * face.gray + weights * (moved + here - there))


def _eye_doubled(gray: Gray, row: Row, rng: np.random.Generator) -> Gray:
    face = _face(gray, row)
    side = int(rng.integers(2))
    centre = face.points[36 + 6 * side : 42 + 6 * side].mean(0)
    if rng.integers(2):
        to = (face.points[(4, 12)[side]] + 2 * face.points[(41, 46)[side]]) / 3 + (0, 0.18 * face.unit)
    else:
        to = centre - (0, 0.62 * face.unit)
    return _copied(face, centre, to, 0.46, 0.31)


def _profile_cut(gray: Gray, row: Row, rng: np.random.Generator) -> Gray:
    """The front of a turned face is missing: the room goes on where nose and mouth were."""
    face = _face(gray, row)
    toward = 1.0 if float(row["head_pose"][0]) > 0 else -1.0
    x = np.arange(gray.shape[1], dtype=np.float32)[None, :] + 0.5
    near_eye = face.points[36:42] if toward > 0 else face.points[42:48]
    edge = float(near_eye[:, 0].mean()) + toward * 0.25 * face.unit
    weights = np.clip(toward * (x - edge) / (0.06 * face.unit), 0, 1) * np.ones_like(face.gray)
    weights[int(face.points[8, 1] + 0.1 * face.unit) :] = 0
    room = float(np.median(face.face.background)) + rng.normal(0, 2.0, gray.shape)
    return _levels(((1 - weights) * face.gray + weights * room).astype(np.float32))


def _mirrored(gray: Gray, row: Row, rng: np.random.Generator) -> Gray:
    """The near half of a turned face and its mirror image, as if it looked at the camera."""
    face = _face(gray, row)
    axis = round(float(face.points[27:31, 0].mean()))
    width = min(axis, gray.shape[1] - axis)
    left, right = gray[:, axis - width : axis], gray[:, axis : axis + width]
    out = gray.copy()
    if float(row["head_pose"][0]) > 0:
        out[:, axis : axis + width] = left[:, ::-1]
    else:
        out[:, axis - width : axis] = right[:, ::-1]
    return out


def _grainy(gray: Gray, row: Row, rng: np.random.Generator) -> Gray:
    face = _face(gray, row)
    weights = face.hull(np.concatenate([face.points[:17], face.points[17:27] - (0, 0.5 * face.unit)]))
    grain = cv2.GaussianBlur(rng.normal(0, 1, gray.shape).astype(np.float32), (0, 0), max(0.6, 0.018 * face.unit))
    grain *= rng.uniform(0.35, 0.50) * face.face.spread / grain.std()
    return _levels((1 - weights) * face.gray + weights * (face.face.level - 0.3 * face.face.spread + grain))


def _flat(gray: Gray, row: Row, rng: np.random.Generator) -> Gray:
    face = _face(gray, row)
    weights = face.hull(np.concatenate([face.points[:17], face.points[17:27] - (0, 0.6 * face.unit)]), 0.05)
    even = face.face.level + rng.normal(0, 1.0, gray.shape)
    return _levels(((1 - weights) * face.gray + weights * even).astype(np.float32))


def _out_of_frame(row: Row, rng: np.random.Generator) -> None:
    """The still moved, with its labels, so far that the face's front leaves the frame."""
    points = np.asarray(row["landmarks"], np.float32)
    width = int(row["width"])
    right = bool(points[27:, 0].mean() > width / 2)
    inner = points[27:, 0]
    reach = rng.uniform(0.10, 0.30) * (inner.max() - inner.min())
    shift = round(float(width - inner.max() + reach if right else -inner.min() - reach))
    if isinstance(row.get("image"), dict):
        image = np.asarray(picture_from_bytes(row["image"]["bytes"], "the still"), np.uint8)
        index = (np.arange(width) - shift).clip(0, width - 1)
        row["image"] = {**row["image"], "bytes": cv2.imencode(".png", image[:, index])[1].tobytes()}
    row["landmarks"] = (points + np.array([shift, 0])).tolist()
    row["bbox"] = [float(row["bbox"][0] + shift), *row["bbox"][1:]]


def _nose_seen(row: Mapping[str, Any]) -> bool:
    return _yaw(row) < 20 and _seen(row, NOSE)


def _in_a_room(row: Mapping[str, Any]) -> bool:
    return _yaw(row) < 60


def _turned(row: Mapping[str, Any]) -> bool:
    return 20 < _yaw(row) < 60 and row.get("mask") in (None, MASKS.index("none"))


def _face_seen(row: Mapping[str, Any]) -> bool:
    return _yaw(row) < 40 and _seen(row, EYES, NOSE, MOUTH, share=0.8)


def _mouth_seen(row: Mapping[str, Any]) -> bool:
    return _yaw(row) < 30 and _seen(row, MOUTH)


def _labelled(row: Mapping[str, Any]) -> bool:
    return row.get("landmarks") is not None


_PATCHED = ("heat-asymmetric", "heat-patch")
FAULTS: tuple[Fault, ...] = (
    Fault("lenses-hot", ("lenses-warm",), "Lenses are hotter than skin.", _lenses_hot, needs=_wears_glasses),
    Fault("pupils-hot", ("pupils-glowing",), "The eyeballs shine.", _pupils, needs=_eyes_seen),
    Fault("orbits-hot", ("orbits-glowing",), "Heat fills the eye sockets.", _orbit_glow, needs=_sockets_seen),
    Fault("canthi-cold", ("canthus-cold",), "The inner corners of the eyes are cold.", _canthi_cold, needs=_eyes_seen),
    Fault("hair-hot", ("hair-warm",), "Hair is hotter than the forehead.", _hair_hot, needs=_bare_head),
    Fault("nose-hot", ("nose-warm",), "The nose is hotter than the inner canthi.", _nose_hot, needs=_nose_seen),
    Fault("lips-hot", ("lips-glowing",), "Closed lips outshine the inner canthi.", _lips_hot, needs=_mouth_closed),
    Fault("nostrils-hot", ("nostrils-glowing",), "The nostrils shine.", _nostrils_hot, needs=_nose_seen),
    Fault("mask-hot", ("mask-warm",), "A mask is hotter than skin.", _mask_hot, needs=_wears_mask),
    Fault("background-hot", ("background-warm",), "The room is hotter than skin.", _background_hot, needs=_in_a_room),
    Fault("hot-spot", ("heat-patch",), "A spot on the forehead outshines the face.", _hot_spot, needs=_bare_head),
    Fault("cheek-hot", _PATCHED, "One cheek is heated.", _cheek_hot, needs=_bare_frontal),
    Fault("half-cold", ("heat-asymmetric",), "Half of the face is cooled.", _half_cold, needs=_bare_frontal),
    Fault("eye-erased", ("feature-missing",), "One eye is painted over with skin.", _eye_erased, needs=_eyes_seen),
    Fault("mouth-erased", ("feature-missing",), "The mouth is painted over.", _mouth_erased, needs=_mouth_seen),
    Fault("eye-doubled", ("eye-doubled",), "An eye is there once more.", _eye_doubled, needs=_eyes_seen),
    Fault("profile-cut", ("face-broken",), "Nose and mouth of a turned face are missing.", _profile_cut, needs=_turned),
    Fault("half-mirrored", ("face-mirrored",), "A turned face is its near half twice.", _mirrored, needs=_turned),
    Fault("face-grainy", ("face-noisy",), "The face is made of grain.", _grainy, needs=_face_seen),
    Fault("face-even", ("face-flat",), "The face has one level of heat.", _flat, needs=_face_seen),
    Fault(
        "front-out-of-frame",
        ("face-cut",),
        "The front of the face lies beyond the border.",
        on_row=_out_of_frame,
        media=("still",),
        needs=_labelled,
    ),
)
