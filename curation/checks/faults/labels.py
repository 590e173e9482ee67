"""Faults of labels: boxes, landmarks, pose and classes that say what the pixels do not show."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from thermvision.annotations.conventions import MIRROR
from thermvision.annotations.schema import EXPRESSIONS, GENDERS, SELF_OCCLUDED

from . import Fault, Row

Floats = NDArray[np.float64]
RUN = 6  # frames of a clip that are spoilt where a fault is of single frames
LATE = 5  # frames by which labels are shifted in time


def is_clip(row: Mapping[str, Any]) -> bool:
    """Whether a row is a clip's, so that its labels are lists over frames.

    >>> is_clip({"clip_id": "a"}), is_clip({"image_id": "a"})
    (True, False)
    """
    return "clip_id" in row


def values_of(row: Mapping[str, Any], name: str) -> Floats:
    """A column over frames, of a still over its one frame."""
    value = row[name]
    return np.array(value if is_clip(row) else [value], np.float64)


def put(row: Row, name: str, values: NDArray[Any]) -> None:
    """Write a column over frames back."""
    plain = values.tolist()
    row[name] = plain if is_clip(row) else plain[0]


def some_frames(row: Row, rng: np.random.Generator, length: int = RUN) -> slice:
    """A stretch of ``length`` frames in the midst of a clip; the frame of a still."""
    if not is_clip(row):
        return slice(0, 1)
    count = int(row["num_frames"])
    first = int(rng.integers(2, max(count - length - 2, 3)))
    return slice(first, first + length)


def _on_boxes(change: Callable[[Floats, Row, np.random.Generator], Floats], length: int = RUN) -> Callable[..., None]:
    """A planting that changes the boxes (K, 4) of some frames."""

    def on_row(row: Row, rng: np.random.Generator) -> None:
        boxes, where = values_of(row, "bbox"), some_frames(row, rng, length)
        boxes[where] = change(boxes[where], row, rng)
        put(row, "bbox", boxes)

    return on_row


def _on_points(change: Callable[[Floats, Row, np.random.Generator], Floats]) -> Callable[..., None]:
    """A planting that changes the landmarks (K, 68, 2) of some frames."""

    def on_row(row: Row, rng: np.random.Generator) -> None:
        points, where = values_of(row, "landmarks"), some_frames(row, rng)
        points[where] = change(points[where], row, rng)
        put(row, "landmarks", points)

    return on_row


def _on_all(name: str, change: Callable[[Floats], Floats]) -> Callable[..., None]:
    """A planting that changes a column in every frame."""

    def on_row(row: Row, rng: np.random.Generator) -> None:
        put(row, name, change(values_of(row, name)))

    return on_row


def _missing(row: Row, rng: np.random.Generator) -> None:
    boxes, counts, where = values_of(row, "bbox"), values_of(row, "face_count"), some_frames(row, rng)
    boxes[where], counts[where] = np.nan, 0
    put(row, "bbox", boxes)
    put(row, "face_count", counts.astype(int))


def _torn(boxes: Floats, row: Row, rng: np.random.Generator) -> Floats:
    boxes[:, rng.integers(4)] = np.nan
    return boxes


def _duplicated(row: Row, rng: np.random.Generator) -> None:
    boxes, counts, where = values_of(row, "bbox"), values_of(row, "face_count"), some_frames(row, rng)
    further: list[list[list[float]]] = [[] for _ in boxes]
    for n in range(len(boxes))[where]:
        further[n] = [(boxes[n] + rng.normal(0, 0.03, 4) * boxes[n, 2]).tolist()]
    counts[where] = 2
    row["extra_bboxes"] = further if is_clip(row) else further[0]
    put(row, "face_count", counts.astype(int))


def _too_many(row: Row, rng: np.random.Generator) -> None:
    counts, where = values_of(row, "face_count"), some_frames(row, rng)
    counts[where] = 3
    put(row, "face_count", counts.astype(int))


def _frozen(row: Row, rng: np.random.Generator) -> None:
    where = some_frames(row, rng, 15)
    for name in ("bbox", "landmarks", "head_pose"):
        values = values_of(row, name)
        values[where] = values[where][0]
        put(row, name, values)


def _constant(boxes: Floats) -> Floats:
    return np.median(boxes, 0) + np.random.default_rng(0).normal(0, 0.2, boxes.shape)


def late(values: Floats) -> Floats:
    """The values of `LATE` frames before; the first ones wait.

    >>> late(np.arange(8.0)).tolist()
    [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 2.0]
    """
    result: Floats = np.concatenate([np.repeat(values[:1], LATE, axis=0), values[:-LATE]])
    return result


def _all_late(row: Row, rng: np.random.Generator) -> None:
    for name in ("bbox", "landmarks", "landmark_state", "head_pose"):
        values = late(values_of(row, name))
        put(row, name, values.astype(int) if name == "landmark_state" else values)


def _about_centre(points: Floats, scale: tuple[float, float]) -> Floats:
    centre = points.mean(1, keepdims=True)
    return centre + (points - centre) * scale


def _collapsed(points: Floats, row: Row, rng: np.random.Generator) -> Floats:
    return _about_centre(points, (0.04, 0.04)) + rng.normal(0, 0.5, points.shape)


def _shuffled(points: Floats, row: Row, rng: np.random.Generator) -> Floats:
    return points[:, rng.permutation(68)]


def _lost_points(points: Floats, row: Row, rng: np.random.Generator) -> Floats:
    points[:, rng.choice(68, 5, replace=False)] = np.nan
    return points


def _aside(points: Floats, row: Row, rng: np.random.Generator) -> Floats:
    width = np.ptp(points[..., 0], axis=1)[:, None, None]
    return points + width * np.array([0.45, 0.2]) * rng.choice([-1, 1], 2)


def _states_outside(row: Row, rng: np.random.Generator) -> None:
    states, where = values_of(row, "landmark_state"), some_frames(row, rng)
    states[where, :27] = 0
    put(row, "landmark_state", states.astype(int))


def _states_mirrored(row: Row, rng: np.random.Generator) -> None:
    states = values_of(row, "landmark_state")[:, MIRROR]
    put(row, "landmark_state", states.astype(int))


def _open_blink(row: Row, rng: np.random.Generator) -> None:
    told, eyes = values_of(row, "expression"), values_of(row, "eye_openness")
    told[eyes > 0.28] = EXPRESSIONS.index("blink")
    put(row, "expression", told.astype(int))


def _other_gender(row: Row, rng: np.random.Generator) -> None:
    row["gender"] = (int(row["gender"]) + 1) % len(GENDERS)


def _faceless(gray: NDArray[np.uint8], row: Row, rng: np.random.Generator) -> NDArray[np.uint8]:
    """A wall, a little warmer in places, with the noise that a camera has."""
    coarse = rng.normal(float(np.quantile(gray, 0.2)), 6, (4, 4))
    wall = cv2.resize(coarse, gray.shape[::-1], interpolation=cv2.INTER_CUBIC)
    return np.clip(wall + rng.normal(0, 2, gray.shape), 0, 255).round().astype(np.uint8)


def _yaw(row: Mapping[str, Any]) -> Floats:
    return np.abs(values_of(row, "head_pose")[:, 0])


def _turned(row: Mapping[str, Any]) -> bool:
    return bool((_yaw(row) > 25).mean() > 0.1)


def _oblong(row: Mapping[str, Any]) -> bool:
    """Whether the box is so far from a square that swapped sides can be told."""
    boxes = values_of(row, "bbox")
    return bool(np.nanmedian(boxes[:, 3] / boxes[:, 2]) > 1.25)


def _straight(row: Mapping[str, Any]) -> bool:
    pose = np.abs(values_of(row, "head_pose"))
    return bool(((pose[:, 0] < 12) & (pose[:, 1] < 8)).any())


def _moves(row: Mapping[str, Any]) -> bool:
    """Whether the head wanders enough that a lag of its labels can be seen, boxes included."""
    boxes = values_of(row, "bbox")
    steps = np.abs(np.diff(boxes[:, :2] + boxes[:, 2:] / 2, axis=0)).max(1)
    return bool(len(boxes) > 30 and np.quantile(steps, 0.7) > 0.01 * np.median(boxes[:, 2]))


def _hides_one_side(row: Mapping[str, Any]) -> bool:
    states, side = values_of(row, "landmark_state"), np.array([*range(17, 22), *range(36, 42)])
    other = np.array(MIRROR)[side]
    apart = np.abs((states[:, side] == SELF_OCCLUDED).mean(1) - (states[:, other] == SELF_OCCLUDED).mean(1))
    return bool(((apart > 0.5) & (_yaw(row) > 35)).any())


def _open_eyes(row: Mapping[str, Any]) -> bool:
    return bool((values_of(row, "eye_openness") > 0.28).any())


def _shifted(boxes: Floats, row: Row, rng: np.random.Generator) -> Floats:
    boxes[:, :2] += boxes[:, 2:] * rng.choice([-0.6, 0.6], 2)
    return boxes


def _jumped(boxes: Floats, row: Row, rng: np.random.Generator) -> Floats:
    return boxes + boxes[:, 2:].mean() * np.array([0.35, 0.2, 0, 0]) * rng.choice([-1, 1])


FAULTS: tuple[Fault, ...] = (
    Fault("box-shifted", ("box-off-landmarks", "landmarks-outside-box", "box-elsewhere"),
          "The box lies beside the face.", on_row=_on_boxes(_shifted)),
    Fault("box-left-out", ("box-missing", "box-gap"), "The box of a face is missing.", on_row=_missing),
    Fault("face-gone", ("box-no-face", "box-elsewhere"), "The box stands in a frame that shows a wall.",
          on_frame=_faceless),
    Fault("box-torn", ("box-broken",), "A number of a box is none.", on_row=_on_boxes(_torn)),
    Fault("box-inside-out", ("box-broken",), "The width of a box is negative.",
          on_row=_on_boxes(lambda b, row, rng: b * (1, 1, -1, 1))),
    Fault("box-off-frame", ("box-outside",), "The box lies beyond the frame's right edge.",
          on_row=_on_boxes(lambda b, row, rng: np.column_stack([row["width"] - 0.3 * b[:, 2], b[:, 1:]]))),
    Fault("box-shrunk", ("box-tiny",), "The box is a few pixels in the middle of the face.",
          on_row=_on_boxes(lambda b, row, rng: np.column_stack([b[:, :2] + b[:, 2:] / 2, b[:, 2:] * 0.02 + 2]))),
    Fault("box-blown-up", ("box-huge",), "The box was scaled to another resolution.",
          on_row=_on_boxes(lambda b, row, rng: b * max(1.2 * row["height"] / b[:, 3].min(), 2))),
    Fault("box-sides-swapped", ("box-shape", "box-off-landmarks"), "Width and height of the box are swapped.",
          on_row=_on_boxes(lambda b, row, rng: b[:, [0, 1, 3, 2]]), needs=_oblong),
    Fault("box-as-corners", ("box-outside", "box-huge", "box-off-landmarks"),
          "The box holds two corners where width and height belong.",
          on_row=_on_boxes(lambda b, row, rng: np.column_stack([b[:, :2], b[:, :2] + b[:, 2:]]))),
    Fault("box-doubled", ("box-duplicate",), "A face has two boxes.", on_row=_duplicated),
    Fault("faces-miscounted", ("box-count",), "The number of faces is wrong.", on_row=_too_many),
    Fault("box-leaps", ("box-jump",), "The box leaps aside in one frame.", on_row=_on_boxes(_jumped, 1),
          media=("clip",)),
    Fault("labels-copied", ("labels-frozen",), "The labels of 15 frames are those of the first of them.",
          on_row=_frozen, media=("clip",)),
    Fault("box-kept", ("box-constant", "labels-still"), "One box, trembling a little, stands for the whole clip.",
          on_row=_on_all("bbox", _constant), media=("clip",), needs=_moves),
    Fault("boxes-late", ("labels-lag",), "The boxes are those of five frames before.",
          on_row=_on_all("bbox", late), media=("clip",), needs=_moves),
    Fault("all-labels-late", ("labels-late",), "All labels are those of five frames before.", on_row=_all_late,
          media=("clip",), needs=_moves),
    Fault("left-right-swapped", ("landmarks-mirrored",), "Left and right landmarks have changed places.",
          on_row=_on_points(lambda p, row, rng: p[:, MIRROR])),
    Fault("landmarks-shuffled", ("landmarks-shape", "jaw-tangled"), "The landmarks are in a random order.",
          on_row=_on_points(_shuffled)),
    Fault("landmarks-in-a-spot", ("landmarks-collapsed",), "All landmarks are within a spot.",
          on_row=_on_points(_collapsed)),
    Fault("landmarks-aside", ("landmarks-outside-box", "box-off-landmarks"), "The landmarks lie beside the face.",
          on_row=_on_points(_aside)),
    Fault("landmarks-on-their-head", ("landmarks-upside-down",), "The landmarks are turned by half a turn.",
          on_row=_on_points(lambda p, row, rng: _about_centre(p, (-1, -1)))),
    Fault("landmarks-lost", ("landmarks-broken",), "Five landmarks are no numbers.", on_row=_on_points(_lost_points)),
    Fault("landmarks-of-another-size", ("landmarks-outside-box", "box-off-landmarks"),
          "The landmarks are those of a picture half as large.",
          on_row=_on_points(lambda p, row, rng: p / 2)),
    Fault("states-outside", ("state-place",), "Landmarks in the frame count as outside.", on_row=_states_outside),
    Fault("states-mirrored", ("state-side",), "The near side of a turned head counts as hidden.",
          on_row=_states_mirrored, needs=_hides_one_side),
    Fault("yaw-reversed", ("pose-off-landmarks", "pose-reversed"), "Yaw has the wrong sign.",
          on_row=_on_all("head_pose", lambda p: p * (-1, 1, 1)), needs=_turned),
    Fault("pose-in-radians", ("pose-off-landmarks",), "The pose is in radians.",
          on_row=_on_all("head_pose", np.deg2rad), needs=_turned),
    Fault("yaw-for-roll", ("pose-off-landmarks",), "Yaw and roll have changed places.",
          on_row=_on_all("head_pose", lambda p: p[:, ::-1]), needs=_turned),
    Fault("blink-with-open-eyes", ("expression-contradicted",), "Frames with open eyes are called a blink.",
          on_row=_open_blink, needs=_open_eyes),
    Fault("eyes-wide", ("eyes-off-landmarks",), "Eye openness is too large.",
          on_row=_on_all("eye_openness", lambda v: v + 0.35), needs=_straight),
    Fault("mouth-wide", ("mouth-off-landmarks",), "Mouth openness is too large.",
          on_row=_on_all("mouth_openness", lambda v: v + 0.5), needs=_straight),
    Fault("other-gender", ("gender",), "The row's gender is not that of its subject.", on_row=_other_gender),
)  # fmt: skip
