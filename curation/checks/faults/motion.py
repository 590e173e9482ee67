"""Faults of clips as sequences: brightness that trembles, frames that are foreign, missing, twice or out of order."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from . import Fault, Medium, Row
from .labels import LATE, values_of

Frames = NDArray[np.uint8]


def _lifted(frames: Frames, levels: NDArray[np.float64]) -> Frames:
    """Frames (N, H, W) brightened by ``levels`` (N,) gray levels."""
    return np.clip(frames + levels[:, None, None], 0, 255).round().astype(np.uint8)


def _trembling(frames: Frames, row: Row, rng: np.random.Generator) -> Frames:
    return _lifted(frames, rng.choice([-1.0, 1.0], len(frames)) * rng.uniform(4, 10, len(frames)))


def _flash(frames: Frames, row: Row, rng: np.random.Generator) -> Frames:
    levels = np.zeros(len(frames))
    levels[rng.integers(3, len(frames) - 4)] = rng.choice([-30, 30])
    return _lifted(frames, levels)


def _pumping(frames: Frames, row: Row, rng: np.random.Generator) -> Frames:
    period = float(row["fps"]) * 0.9
    return _lifted(frames, 14 * np.sin(2 * np.pi * (np.arange(len(frames)) / period + rng.random())))


def _foreign(frames: Frames, row: Row, rng: np.random.Generator) -> Frames:
    made = frames.copy()
    at = int(rng.integers(4, len(frames) - 5))
    made[at] = np.roll(frames[-at][:, ::-1], frames.shape[2] // 5, axis=1)
    return made


def _cut(frames: Frames, row: Row, rng: np.random.Generator) -> Frames:
    """The second half is taken from further to one side, as after a cut to another camera."""
    made = frames.copy()
    at = int(rng.integers(len(frames) // 3, 2 * len(frames) // 3))
    made[at:] = np.roll(made[at:], frames.shape[2] // 6, axis=2)
    return made


def _shuffled(frames: Frames, row: Row, rng: np.random.Generator) -> Frames:
    order = np.arange(len(frames))
    first, length = _liveliest(row, 24)
    order[first : first + length] = rng.permutation(order[first : first + length])
    return frames[order]


def _looped(frames: Frames, row: Row, rng: np.random.Generator) -> Frames:
    first, length = _liveliest(row, min(len(frames) // 3, 24))
    first = min(first, len(frames) - 2 * length)
    made = frames.copy()
    made[first + length : first + 2 * length] = frames[first : first + length]
    return made


def _there_and_back(frames: Frames, row: Row, rng: np.random.Generator) -> Frames:
    half = len(frames) // 2
    return np.concatenate([frames[:half], frames[:half][::-1], frames[2 * half :]])


def _late_pixels(frames: Frames, row: Row, rng: np.random.Generator) -> Frames:
    return np.concatenate([np.repeat(frames[:1], LATE, axis=0), frames[:-LATE]])


def _left_out(frames: Frames, row: Row, rng: np.random.Generator) -> Frames:
    first = int(rng.integers(2, len(frames) - 8))
    return np.delete(frames, np.s_[first : first + 5], axis=0)


def _another_person(frames: Frames, row: Row, rng: np.random.Generator) -> Frames:
    """From the middle on the face is another's: features elsewhere, other proportions, other warmth."""
    made, boxes, points = frames.copy(), values_of(row, "bbox"), values_of(row, "landmarks")
    for n in range(len(frames) // 2, len(frames)):
        made[n] = _swapped_features(frames[n], points[n], float(boxes[n, 2:].max()))
    return made


def _swapped_features(frame: Frames, points: NDArray[np.float64], side: float) -> Frames:
    """The middle of a face pushed together sideways and pulled apart in height, its fine warmth turned about."""
    height, width = frame.shape
    centre, reach = points[27:36].mean(0), 0.55 * side
    dy, dx = (g - np.float32(c) for g, c in zip(np.indices((height, width), np.float32), centre[::-1], strict=True))
    weight = np.exp(-(((dx**2 + dy**2) / np.float32(reach) ** 2) ** 2))  # flat in the middle
    map_x, map_y = centre[0] + dx * (1 + 0.6 * weight), centre[1] + dy * (1 - 0.4 * weight)
    warped = cv2.remap(frame, map_x.astype(np.float32), map_y.astype(np.float32), cv2.INTER_LINEAR).astype(np.float32)
    smooth = cv2.GaussianBlur(warped, (0, 0), side * 0.06)
    return np.clip(warped + weight * 1.6 * (smooth - warped), 0, 255).round().astype(np.uint8)


def _pace(row: Mapping[str, Any]) -> NDArray[np.float64]:
    """How far the landmarks move from frame to frame, (N - 1,) in the box's sides."""
    points, boxes = values_of(row, "landmarks"), values_of(row, "bbox")
    step: NDArray[np.float64] = np.linalg.norm(np.diff(points, axis=0), axis=-1).mean(1) / np.median(boxes[:, 2])
    return step


def _liveliest(row: Mapping[str, Any], length: int) -> tuple[int, int]:
    """First frame and length of the stretch in which the face moves most."""
    pace = _pace(row)
    length = min(length, len(pace) - 4)
    total = np.convolve(pace, np.ones(length), "valid")
    return int(total.argmax()), length


def _lively(row: Mapping[str, Any]) -> bool:
    """Whether the head moves so much that the order of frames matters."""
    return len(row["bbox"]) > 40 and bool(np.quantile(_pace(row), 0.6) > 0.012)


def _shows_face(row: Mapping[str, Any]) -> bool:
    return bool((np.abs(values_of(row, "head_pose")[:, 0]) < 25).all())


CLIP: tuple[Medium, ...] = ("clip",)
FAULTS: tuple[Fault, ...] = (
    Fault("trembling-light", ("flicker",), "The brightness trembles.", on_frames=_trembling, media=CLIP),
    Fault("flash-of-light", ("flash",), "One frame is much brighter or darker.", on_frames=_flash, media=CLIP),
    Fault("pumping-gain", ("pumping",), "The brightness swings about once a second.", on_frames=_pumping, media=CLIP),
    Fault("foreign-frame", ("jump",), "One frame is from elsewhere.", on_frames=_foreign, media=CLIP),
    Fault("cut", ("jump",), "The picture is cut to another view.", on_frames=_cut, media=CLIP),
    Fault("frames-shuffled", ("disorder",), "A lively stretch of frames is in random order.", on_frames=_shuffled,
          media=CLIP, needs=_lively),
    Fault("stretch-repeated", ("loop",), "A lively stretch comes twice.", on_frames=_looped, media=CLIP, needs=_lively),
    Fault("there-and-back", ("loop",), "The second half is the first one played backwards.",
          on_frames=_there_and_back, media=CLIP, needs=_lively),
    Fault("pixels-late", ("labels-late",), "The pixels come five frames late.", on_frames=_late_pixels, media=CLIP,
          needs=_lively),
    Fault("frames-left-out", ("media-frames",), "Five frames are missing, their labels are not.",
          on_frames=_left_out, media=CLIP),
    Fault("another-person", ("identity-switch",), "From the middle on the face has other features.",
          on_frames=_another_person, media=CLIP, needs=_shows_face),
)  # fmt: skip
