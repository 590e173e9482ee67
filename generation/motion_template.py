"""Motion templates: files of a head's recorded motion, read without running anything they contain.

LivePortrait's template holds, for each frame, the rotation of a real head, its size and place, the offsets of 21
keypoints by its expression, and in some files how far eyes and lips are open. Its rotations are used as
``keypoints @ R`` with rows of keypoints, x right, y down, z away from the camera; ours turn columns, y up, z towards
it: ``ours = C · Rᵀ · C`` with C = diag(1, -1, -1).
"""

from __future__ import annotations

import hashlib
import io
import pickle
import pickletools
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from thermvision.annotations.errors import DamagedInputError, UsageError
from thermvision.annotations.pose import pose_from_rotation, rotation_from_pose

Floats = NDArray[np.float64]
Columns = Mapping[str, Any]
Made = TypeVar("Made")

MAX_BYTES = 32 << 20
MAX_FRAMES = 20_000
MAX_FPS = 240.0
# older files first say R_d, c_d_eyes_lst and c_d_lip_lst
ROTATION_NAMES = ("motion_R", "motion_R_d")
EYE_NAMES, LIP_NAMES = ("c_eyes_lst", "c_d_eyes_lst"), ("c_lip_lst", "c_d_lip_lst")
_STORING = ("PUT", "BINPUT", "LONG_BINPUT")  # the codes by which a pickle numbers its objects
_MOST_VALUES = 63  # in one array of a frame: 21 keypoints
_MOTION_NAMES = ("R", "R_d", "exp", "scale", "t", "kp", "x_s")
_DEFAULT_FPS = 25
_ROTATION_TOLERANCE = 1e-3
# Lip opening of a file that does not state it: over 439 frames of the three templates that do, the height difference of
# keypoints 19 and 20 correlates with it by .93; the line leaves an s.d. of .05
_UPPER_LIP, _LOWER_LIP, _LIP_SLOPE, _LIP_LEVEL = 19, 20, 5.1, 0.166
_FLIP = np.diag([1.0, -1.0, -1.0])
_SEE = "; use a LivePortrait template (.npz or .pkl) that is whole"


def read_file(path: Path, make: Callable[[Columns, str, str], Made]) -> Made:
    """What ``make`` makes of a template's columns, its name and its SHA-256.

    Columns carry the names of the ``.npz`` layout: ``motion_R``, ``motion_exp``, ``output_fps``, ``c_eyes_lst`` …; a
    ``.pkl`` is turned into the same. What ``make`` refuses or stumbles over is told as damage of the file.

    Args:
        path: ``.npz`` (read with ``allow_pickle=False``) or ``.pkl`` (nothing but numbers, lists and numpy arrays).
        make: gets the columns, the file's name without its folder, and its digest.

    Raises:
        UsageError: the file is not there, or of another kind.
        DamagedInputError: it is truncated, too large, asks for code to be run, or ``make`` cannot use it.
    """
    kinds: dict[str, Callable[[bytes], Columns]] = {".npz": _read_npz, ".pkl": _read_pickle}
    if path.suffix.lower() not in kinds:
        raise UsageError(f"motion file {path.name} ends in {path.suffix!r}; allowed: {' or '.join(kinds)}")
    if not path.is_file():
        raise UsageError(f"motion file {path} does not exist; give its path, in a recipe below the recipe's folder")
    if (size := path.stat().st_size) > MAX_BYTES:
        raise DamagedInputError(f"motion file {path.name} has {size} bytes; allowed: {MAX_BYTES}")
    content = path.read_bytes()
    try:
        return make(kinds[path.suffix.lower()](content), path.name, hashlib.sha256(content).hexdigest())
    except DamagedInputError as error:
        raise DamagedInputError(f"motion file {path.name} {error}{_SEE}") from error
    except Exception as error:  # whatever a hostile file provokes
        what = f"{type(error).__name__}: {str(error)[:200]}"
        raise DamagedInputError(f"motion file {path.name} is damaged ({what}){_SEE}") from error


def rotations_of(columns: Columns) -> Floats:
    """(N, 3, 3) rotations of a template, in its own convention.

    Raises:
        DamagedInputError: there are none, of another shape, or the matrices are no rotations.
    """
    rotations = next((columns[key] for key in ROTATION_NAMES if key in columns), None)
    if rotations is None:
        raise DamagedInputError(
            f"has no rotations ({' or '.join(ROTATION_NAMES)}); it has {', '.join(sorted(columns))}"
        )
    turned = np.asarray(rotations, np.float64)
    count = len(turned) if turned.ndim else 0
    if not 1 <= count <= MAX_FRAMES or turned.size != 9 * count:
        raise DamagedInputError(f"has rotations of shape {turned.shape}; allowed: (N, 3, 3) with N in 1..{MAX_FRAMES}")
    turned = turned.reshape(count, 3, 3)
    error = np.abs(turned @ turned.transpose(0, 2, 1) - np.eye(3)).max()
    if not error < _ROTATION_TOLERANCE or (np.linalg.det(turned) < 0).any():
        raise DamagedInputError(f"has matrices that are no rotations (off by {error:.2g})")
    return turned


def rate_of(columns: Columns) -> float:
    """Frames a second of a template, 25 when it does not say.

    Raises:
        DamagedInputError: outside 1..240.
    """
    fps = float(np.asarray(columns.get("output_fps", _DEFAULT_FPS), np.float64).reshape(-1)[0])
    if not 1 <= fps <= MAX_FPS:
        raise DamagedInputError(f"has {fps:g} frames a second; allowed: 1..{MAX_FPS:g}")
    return fps


def ratios_of(columns: Columns, names: Sequence[str], count: int) -> Floats | None:
    """(count, K) ratios of eyes or lips under the first of ``names`` that is there; None when none is, or it is empty.

    Raises:
        DamagedInputError: of another length, or values that are negative or no numbers.
    """
    name = next((name for name in names if name in columns), names[0])
    found = columns.get(name)
    if found is None or not len(found):
        return None
    values = np.stack([np.asarray(v, np.float64).reshape(-1) for v in found])
    if len(values) != count or not values.size:
        raise DamagedInputError(f"has {len(values)} values of {name}; allowed: {count}, one a frame")
    if not np.isfinite(values).all() or values.min() < 0:
        raise DamagedInputError(f"has values of {name} that are negative or no numbers; allowed: finite and 0 or more")
    return values


def head_poses(rotations: ArrayLike) -> Floats:
    """(..., 3) yaw, pitch, roll in degrees on our axes, of a template's rotations (..., 3, 3)."""
    return pose_from_rotation(_FLIP @ np.swapaxes(np.asarray(rotations, np.float64), -1, -2) @ _FLIP)


def template_rotations(poses: ArrayLike) -> Floats:
    """Inverse of `head_poses`: (..., 3, 3) of poses (..., 3).

    >>> head_poses(template_rotations([30, -10, 5])).round(6).tolist()
    [30.0, -10.0, 5.0]
    """
    rotations: Floats = np.swapaxes(_FLIP @ rotation_from_pose(poses) @ _FLIP, -1, -2)
    return rotations


def lips_from_expression(offsets: ArrayLike) -> Floats:
    """(N,) lip gap over mouth width, 0..1, estimated from expression offsets (N, 21, 3) to about 0.05."""
    height = np.asarray(offsets, np.float64)[:, :, 1]
    lips: Floats = np.clip(_LIP_SLOPE * (height[:, _UPPER_LIP] - height[:, _LOWER_LIP]) + _LIP_LEVEL, 0, 1)
    return lips


def _read_npz(content: bytes) -> Columns:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        # a small file may unpack to a huge one
        if (size := sum(entry.file_size for entry in archive.infolist())) > MAX_BYTES:
            raise DamagedInputError(f"unpacks to {size} bytes; allowed: {MAX_BYTES}")
    with np.load(io.BytesIO(content), allow_pickle=False) as stored:
        return {name: stored[name] for name in stored.files}


class _Type:
    """Stands for numpy.dtype while a pickle is read: only numbers, and no numpy object whose state a file could set."""

    def __init__(self, name: Any = "", *flags: Any) -> None:
        self.dtype = np.dtype(name if isinstance(name, str) else "O")
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
        if len(data) > _MOST_VALUES * kind.dtype.itemsize:  # one may be named a million times
            raise DamagedInputError(f"holds an array of {len(data)} bytes; allowed: {_MOST_VALUES} numbers")
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
    """``value`` with arrays for their stand-ins: a number, an array, or a list of these.

    Raises:
        DamagedInputError: anything else; lists within lists may be endless although their file is small.
    """
    if isinstance(value, list) and len(value) <= MAX_FRAMES:
        return [_number(v) for v in value]
    return _number(value)


def _number(value: Any) -> Any:
    if isinstance(value, _Array):
        return value.values
    if isinstance(value, int | float):
        return value
    raise DamagedInputError(f"holds a {type(value).__name__} where a number or an array belongs")


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


def _read_pickle(content: bytes) -> Columns:
    for opcode, argument, _ in pickletools.genops(content):
        # the unpickler makes room for as many objects as the largest number that one is stored under
        if opcode.name in _STORING and not 0 <= int(argument or 0) <= len(content):
            raise DamagedInputError(f"stores an object under {argument}; allowed: 0..{len(content)}")
    found = _Numbers(io.BytesIO(content)).load()
    if not isinstance(found, dict) or not isinstance(found.get("motion"), list):
        raise DamagedInputError("has no list of motion")
    frames = found["motion"]
    if not 1 <= len(frames) <= MAX_FRAMES:
        raise DamagedInputError(f"has {len(frames)} frames; allowed: 1..{MAX_FRAMES}")
    columns = {name: _plain(found[name]) for name in ("output_fps", *EYE_NAMES, *LIP_NAMES) if name in found}
    for name in _MOTION_NAMES:
        if all(isinstance(frame, dict) and name in frame for frame in frames):
            columns[f"motion_{name}"] = np.stack([np.asarray(_number(frame[name]), np.float64) for frame in frames])
    return columns
