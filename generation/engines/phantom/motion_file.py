"""Motion files: the head motion of a LivePortrait template, and the clip that plays it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from thermvision.annotations.errors import DamagedInputError
from thermvision.generation.engines.phantom.expression import FACE_UNITS
from thermvision.generation.engines.phantom.layers import Floats
from thermvision.generation.engines.phantom.motion import (
    Motion,
    blink_times,
    breathing,
    lid_closure,
    with_blink_labels,
    with_blinks,
)
from thermvision.generation.motion_template import (
    EYE_NAMES,
    LIP_NAMES,
    Columns,
    head_poses,
    lips_from_expression,
    rate_of,
    ratios_of,
    read_file,
    rotations_of,
)
from thermvision.generation.specs import MotionTrack

LIMITS = {"yaw": 90.0, "pitch": 45.0, "roll": 45.0}  # degrees the engine can draw
# inner-lip gap over width is .03 + .7 jawOpen on our heads (measured on four, between 0 and 1)
_LIP_CLOSED, _LIP_OF_JAW = 0.03, 0.7
_OPEN_JAW = 0.25  # of jawOpen from which a frame is labelled "open": half of that expression's
_EYE_PERCENTILE, _LEAST_EYE, _LID_REST = 90, 0.15, 0.10


def read_motion(path: Path) -> MotionTrack:
    """The head motion in a template.

    Args:
        path: ``.npz`` (read with ``allow_pickle=False``) or ``.pkl`` (nothing but numbers, lists and numpy arrays).

    Raises:
        UsageError: the file is not there, or of another kind.
        DamagedInputError: it is truncated, too large, asks for code to be run, or holds no such motion.
    """
    return read_file(path, _track)


def _track(columns: Columns, name: str, digest: str) -> MotionTrack:
    turned = rotations_of(columns)
    count = len(turned)
    fps = rate_of(columns)
    pose = head_poses(turned)
    for axis, (label, limit) in enumerate(LIMITS.items()):
        if (most := float(np.abs(pose[:, axis]).max())) > limit:
            raise DamagedInputError(f"turns the head by {most:.0f} degrees of {label}; allowed: {limit:g}")
    eyes, lips = (
        None if ratios is None else ratios.mean(1)
        for ratios in (ratios_of(columns, EYE_NAMES, count), ratios_of(columns, LIP_NAMES, count))
    )
    if lips is None and "motion_exp" in columns:
        offsets = np.asarray(columns["motion_exp"], np.float64)
        if offsets.size != 63 * count or not np.isfinite(offsets).all():
            raise DamagedInputError(f"has expressions of shape {offsets.shape}; allowed: ({count}, 21, 3), finite")
        lips = lips_from_expression(offsets.reshape(count, 21, 3))

    def plain(values: Floats | None) -> tuple[float, ...] | None:
        return None if values is None else tuple(np.round(values, 5).tolist())

    return MotionTrack(name, digest, fps, tuple(map(tuple, np.round(pose, 4).tolist())), plain(eyes), plain(lips))


def track_motion(
    track: MotionTrack,
    num_frames: int,
    fps: float,
    rng: np.random.Generator,
) -> Motion:
    """The motion of a clip that plays ``track`` at its own speed, to and fro when the clip is longer.

    Lids close by how far the file's eyes are below their open level (90th percentile), the jaw opens until the gap of
    the lips is the file's. A file that does not say how far eyes are open gets blinks from ``rng``. Labels: "open"
    from a jaw weight of .25 on, "blink" where lids are more than half closed, else "neutral".
    """
    times = np.arange(num_frames) / fps
    at = times * track.fps
    last = len(track.head_pose) - 1
    if last:
        at = np.abs((at + last) % (2 * last) - last)  # a triangle wave that starts at 0
    knots = np.arange(last + 1)
    pose = np.stack([np.interp(at, knots, column) for column in np.array(track.head_pose, np.float64).T], 1)
    blinks, air = rng.spawn(2)
    if track.eyes is None:
        closure = lid_closure(times, blink_times(num_frames / fps, blinks))
    else:
        eyes = np.array(track.eyes)
        level = max(float(np.percentile(eyes, _EYE_PERCENTILE)), _LEAST_EYE)
        closure = np.clip((1 - np.interp(at, knots, eyes) / level - _LID_REST) / (1 - _LID_REST), 0, 1)
    weights = np.zeros((num_frames, len(FACE_UNITS)))
    jaw = np.zeros(num_frames)
    if track.lips is not None:
        jaw = np.clip((np.interp(at, knots, track.lips) - _LIP_CLOSED) / _LIP_OF_JAW, 0, 1)
    weights[:, FACE_UNITS.index("jawOpen")] = jaw
    labels = ["open" if opened >= _OPEN_JAW else "neutral" for opened in jaw]
    return Motion(
        pose,
        with_blinks(weights, closure),
        with_blink_labels(labels, closure),
        breathing(times, air),
    )
