"""Motion files: LivePortrait templates (.npz or .pkl) read without running anything they contain.

A template holds, for each frame, the rotation of a real head, keypoint offsets of its expression, and in some files how
far eyes and lips are open. Its rotations are used as ``keypoints @ R`` with rows of keypoints, x right, y down, z away
from the camera; ours turn columns, y up, z towards it: ``ours = C · Rᵀ · C`` with C = diag(1, -1, -1).
"""

from __future__ import annotations

import hashlib
import io
import pickle
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from thermvision.annotations.errors import DamagedInputError, UsageError
from thermvision.annotations.pose import pose_from_rotation
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
from thermvision.generation.specs import MotionTrack

MAX_BYTES = 32 << 20
MAX_FRAMES = 20_000
LIMITS = {"yaw": 90.0, "pitch": 45.0, "roll": 45.0}  # degrees the engine can draw
_MAX_FPS = 240.0
_ROTATION_TOLERANCE = 1e-3
# Lip opening of a file that does not state it: over 439 frames of the three templates that do, the height difference of
# keypoints 19 and 20 correlates with it by .93; the line leaves an s.d. of .05
_UPPER_LIP, _LOWER_LIP, _LIP_SLOPE, _LIP_LEVEL = 19, 20, 5.1, 0.166
# inner-lip gap over width is .03 + .7 jawOpen on our heads (measured on four, between 0 and 1)
_LIP_CLOSED, _LIP_OF_JAW = 0.03, 0.7
_OPEN_JAW = 0.25  # of jawOpen from which a frame is labelled "open": half of that expression's
_EYE_PERCENTILE, _LEAST_EYE, _LID_REST = 90, 0.15, 0.10
_SEE = "; use a LivePortrait template (.npz or .pkl) that is whole"


def read_motion(path: Path) -> MotionTrack:
    """The head motion in a template.

    Args:
        path: ``.npz`` (read with ``allow_pickle=False``) or ``.pkl`` (nothing but numbers, lists and numpy arrays).

    Raises:
        UsageError: the file is not there, or of another kind.
        DamagedInputError: it is truncated, too large, asks for code to be run, or holds no such motion.
    """
    kinds: dict[str, Callable[[bytes], Mapping[str, Any]]] = {".npz": _read_npz, ".pkl": _read_pickle}
    if path.suffix not in kinds:
        raise UsageError(f"motion file {path.name} ends in {path.suffix!r}; allowed: {' or '.join(kinds)}")
    if not path.is_file():
        raise UsageError(f"motion file {path} does not exist; give its path below the recipe's folder")
    if (size := path.stat().st_size) > MAX_BYTES:
        raise DamagedInputError(f"motion file {path.name} has {size} bytes; allowed: {MAX_BYTES}")
    content = path.read_bytes()
    try:
        columns = kinds[path.suffix](content)
        return _track(columns, path.name, hashlib.sha256(content).hexdigest())
    except DamagedInputError as error:
        raise DamagedInputError(f"motion file {path.name} {error}{_SEE}") from error
    except Exception as error:  # whatever a hostile file provokes
        what = f"{type(error).__name__}: {str(error)[:200]}"
        raise DamagedInputError(f"motion file {path.name} is damaged ({what}){_SEE}") from error


def _read_npz(content: bytes) -> Mapping[str, Any]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        # a small file may unpack to a huge one
        if (size := sum(entry.file_size for entry in archive.infolist())) > MAX_BYTES:
            raise DamagedInputError(f"unpacks to {size} bytes; allowed: {MAX_BYTES}")
    with np.load(io.BytesIO(content), allow_pickle=False) as stored:
        return {name: stored[name] for name in stored.files}


class _Type:
    """Stands for numpy.dtype while a pickle is read: only numbers, and no numpy object whose state a file could set."""

    def __init__(self, name: Any = "", *flags: Any) -> None:
        self.dtype = np.dtype(str(name))
        if self.dtype.kind not in "fiub" or self.dtype.hasobject:
            raise DamagedInputError(f"holds an array of {name}; allowed: numbers")

    def __setstate__(self, state: Any) -> None:
        order, details = state[1], state[2:5]
        if order not in ("<", ">", "|", "=") or details != (None, None, None):
            raise DamagedInputError("holds an array of records; allowed: numbers")
        self.dtype = self.dtype.newbyteorder(order)


class _Array:
    """Stands for numpy.ndarray while a pickle is read."""

    def __init__(self, *start: Any) -> None:
        self.values = np.zeros(0)

    def __setstate__(self, state: Any) -> None:
        _, shape, kind, fortran, data = state
        self.fill(data, kind, shape, "F" if fortran else "C")

    def fill(self, data: Any, kind: Any, shape: Any, order: Any) -> _Array:
        """Take the contents, as float64."""
        if not isinstance(kind, _Type) or not isinstance(data, bytes | bytearray):
            raise DamagedInputError("holds an array of no numbers; allowed: numbers")
        self.values = np.frombuffer(data, kind.dtype).astype(np.float64).reshape(shape, order=order)
        return self


def _from_buffer(data: Any, kind: Any, shape: Any, order: Any) -> _Array:
    return _Array().fill(data, kind, shape, order)


def _scalar(kind: _Type, data: bytes) -> float:
    return float(np.frombuffer(data, kind.dtype, 1)[0])


# all that a template may name, by names of old and new numpy
_ALLOWED: dict[tuple[str, str], Any] = {
    (f"numpy.{core}.{name}", function): stand_in
    for core in ("core", "_core")
    for name, function, stand_in in (
        ("multiarray", "_reconstruct", _Array),
        ("multiarray", "scalar", _scalar),
        ("numeric", "_frombuffer", _from_buffer),
    )
} | {("numpy", "ndarray"): "numpy.ndarray", ("numpy", "dtype"): _Type}


def _plain(value: Any) -> Any:
    """``value`` with arrays for their stand-ins, one level of a list deep."""
    if isinstance(value, _Array):
        return value.values
    return [_plain(v) if isinstance(v, _Array) else v for v in value] if isinstance(value, list) else value


class _Numbers(pickle.Unpickler):
    """An unpickler that knows numpy arrays of numbers besides the plain containers, and refuses every other name."""

    def find_class(self, module: str, name: str) -> Any:
        """The maker of an allowed name.

        Raises:
            DamagedInputError: any other name; nothing of it is imported.
        """
        try:
            return _ALLOWED[module, name]
        except KeyError:
            raise DamagedInputError(
                f"asks for {module}.{name}, which could run code; allowed: numpy arrays, lists, dictionaries, numbers"
            ) from None

    def persistent_load(self, pid: Any) -> Any:
        """Refused: it names an object outside the file."""
        raise DamagedInputError("refers to objects outside itself; allowed: numpy arrays, lists, dictionaries, numbers")


def _read_pickle(content: bytes) -> Mapping[str, Any]:
    found = _Numbers(io.BytesIO(content)).load()
    if not isinstance(found, dict) or not isinstance(found.get("motion"), list):
        raise DamagedInputError("has no list of motion")
    frames = found["motion"]
    if len(frames) > MAX_FRAMES:
        raise DamagedInputError(f"has {len(frames)} frames; allowed: {MAX_FRAMES}")
    columns = {str(k): _plain(v) for k, v in found.items() if k != "motion"}
    for name in ("R", "R_d", "exp"):
        if frames and all(isinstance(frame, dict) and name in frame for frame in frames):
            columns[f"motion_{name}"] = np.stack([np.asarray(_plain(frame[name]), np.float64) for frame in frames])
    return columns


def _track(columns: Mapping[str, Any], name: str, digest: str) -> MotionTrack:
    rotations = next((columns[key] for key in ("motion_R", "motion_R_d") if key in columns), None)
    if rotations is None:
        raise DamagedInputError(f"has no rotations (motion_R or motion_R_d); it has {', '.join(sorted(columns))}")
    turned = np.asarray(rotations, np.float64)
    count = len(turned) if turned.ndim else 0
    if not 1 <= count <= MAX_FRAMES or turned.size != 9 * count:
        raise DamagedInputError(f"has rotations of shape {turned.shape}; allowed: (N, 3, 3) with N in 1..{MAX_FRAMES}")
    turned = turned.reshape(count, 3, 3)
    error = np.abs(turned @ turned.transpose(0, 2, 1) - np.eye(3)).max()
    if not error < _ROTATION_TOLERANCE or (np.linalg.det(turned) < 0).any():
        raise DamagedInputError(f"has matrices that are no rotations (off by {error:.2g})")
    fps = float(np.asarray(columns.get("output_fps", 25), np.float64).reshape(-1)[0])
    if not 1 <= fps <= _MAX_FPS:
        raise DamagedInputError(f"has {fps:g} frames a second; allowed: 1..{_MAX_FPS:g}")
    flip = np.diag([1.0, -1.0, -1.0])
    pose = pose_from_rotation(flip @ turned.transpose(0, 2, 1) @ flip)
    for axis, (label, limit) in enumerate(LIMITS.items()):
        if (most := float(np.abs(pose[:, axis]).max())) > limit:
            raise DamagedInputError(f"turns the head by {most:.0f} degrees of {label}; allowed: {limit:g}")
    eyes = _column(columns, ("c_eyes_lst", "c_d_eyes_lst"), count)
    lips = _column(columns, ("c_lip_lst", "c_d_lip_lst"), count)
    if lips is None and "motion_exp" in columns:
        offsets = np.asarray(columns["motion_exp"], np.float64)
        if offsets.size != 63 * count or not np.isfinite(offsets).all():
            raise DamagedInputError(f"has expressions of shape {offsets.shape}; allowed: ({count}, 21, 3), finite")
        height = offsets.reshape(count, 21, 3)[:, :, 1]
        lips = np.clip(_LIP_SLOPE * (height[:, _UPPER_LIP] - height[:, _LOWER_LIP]) + _LIP_LEVEL, 0, 1)

    def plain(values: Floats | None) -> tuple[float, ...] | None:
        return None if values is None else tuple(np.round(values, 5).tolist())

    return MotionTrack(name, digest, fps, tuple(map(tuple, np.round(pose, 4).tolist())), plain(eyes), plain(lips))


def _column(columns: Mapping[str, Any], names: tuple[str, str], count: int) -> Floats | None:
    """(N,) mean ratio of a frame; None when the file has no such list."""
    found = next((columns[name] for name in names if name in columns), None)
    if found is None or not len(found):
        return None
    values = np.array([np.asarray(v, np.float64).mean() for v in found])
    if len(values) != count or not np.isfinite(values).all() or values.min() < 0:
        raise DamagedInputError(f"has {len(values)} values of {names[0]}; allowed: {count}, finite and 0 or more")
    return values


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
