"""Motion templates of LivePortrait: the motion of a driving video, extracted once and used for any number of faces.

Ours are ``.npz`` files without pickles, under the names that converted templates carry: ``motion_R``, ``motion_exp``,
``motion_scale``, ``motion_t``, ``motion_kp``, ``motion_x_s``, ``c_eyes_lst``, ``c_lip_lst``, ``output_fps``,
``n_frames``. The published ``.pkl`` files, old names included, are read by an allow-list of names.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from thermvision.annotations.errors import DamagedInputError, UsageError
from thermvision.curation.store import atomic_write, sha256_bytes
from thermvision.generation.engines.liveportrait.keypoints import (
    NUM_KEYPOINTS,
    MotionInfo,
    rotation_matrix,
    transform_keypoints,
)
from thermvision.generation.engines.liveportrait.smoothing import OBSERVATION_VARIANCE, smooth
from thermvision.generation.motion_template import (
    EYE_NAMES,
    LIP_NAMES,
    MAX_BYTES,
    MAX_FPS,
    MAX_FRAMES,
    Columns,
    rate_of,
    ratios_of,
    read_file,
    rotations_of,
)

Floats = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class MotionTemplate:
    """The motion of N frames, arrays of float32 (others are converted).

    Attributes:
        fps: frames a second, 1..240.
        scale: (N, 1) size of the head, above 0.
        R: (N, 3, 3) rotations for ``keypoints @ R``.
        exp: (N, 21, 3) offsets of the keypoints by the expression.
        t: (N, 3) shift.
        eyes: (N, 2) how far the left and the right eye are open; None: not known.
        lips: (N, 1) how far the lips are open; None: not known.
        kp: (N, 21, 3) canonical keypoints of the driver; None: not stored. No still needs them.
        x_s: (N, 21, 3) placed keypoints of the driver; None: not stored. No still needs them.
        name: of the file or video, without its folder.
        sha256: of the file; empty for a template that is in none.

    Raises:
        DamagedInputError: a shape, or a value that is no number or outside its limits.
    """

    fps: float
    scale: Floats
    R: Floats
    exp: Floats
    t: Floats
    eyes: Floats | None = None
    lips: Floats | None = None
    kp: Floats | None = None
    x_s: Floats | None = None
    name: str = ""
    sha256: str = ""

    def __post_init__(self) -> None:
        count = len(self.R) if np.ndim(self.R) else 0
        if not 1 <= count <= MAX_FRAMES:
            raise DamagedInputError(f"has {count} frames; allowed: 1..{MAX_FRAMES}")
        shapes = {
            "scale": (1,), "R": (3, 3), "exp": (NUM_KEYPOINTS, 3), "t": (3,), "eyes": (2,), "lips": (1,),
            "kp": (NUM_KEYPOINTS, 3), "x_s": (NUM_KEYPOINTS, 3),
        }  # fmt: skip
        for name, shape in shapes.items():
            if (stored := getattr(self, name)) is None and name in ("eyes", "lips", "kp", "x_s"):
                continue
            with np.errstate(over="ignore"):  # told below
                values = np.array(stored, np.float32)  # a copy: nobody else's changes reach a template
            if values.shape != (count, *shape):
                raise DamagedInputError(f"has {name} of shape {values.shape}; allowed: {(count, *shape)}")
            if not (fine := np.isfinite(values).reshape(count, -1).all(1)).all():
                raise DamagedInputError(f"has {name} in frame {int(np.argmin(fine))} that is no number")
            values.flags.writeable = False
            object.__setattr__(self, name, values)
        rotations_of({"motion_R": self.R})
        rate_of({"output_fps": self.fps})
        if self.scale.min() <= 0:
            raise DamagedInputError(f"has scale {self.scale.min():g}; allowed: above 0")
        if any(ratios is not None and ratios.min() < 0 for ratios in (self.eyes, self.lips)):
            raise DamagedInputError("has eyes or lips open by less than 0; allowed: 0 or more")

    def __len__(self) -> int:
        return len(self.R)


def read_template(path: Path) -> MotionTemplate:
    """The template in a file, ``.npz`` or ``.pkl``; ratios, keypoints of the driver it does not hold are None.

    Raises:
        UsageError: the file is not there, or of another kind.
        DamagedInputError: it is truncated, too large, asks for code to be run, or holds no such motion.
    """
    return read_file(path, _from_columns)


def _from_columns(columns: Columns, name: str, digest: str) -> MotionTemplate:
    rotations = rotations_of(columns)
    count = len(rotations)

    def rows(key: str, *shape: int) -> NDArray[np.float64]:
        values = np.asarray(columns[key], np.float64)
        if len(values) != count or values.size != count * int(np.prod(shape)):
            raise DamagedInputError(f"has {key} of shape {values.shape}; allowed: {(count, *shape)}")
        return values.reshape(count, *shape)

    if missing := [key for key in ("motion_scale", "motion_exp", "motion_t") if key not in columns]:
        raise DamagedInputError(f"has no {' and no '.join(missing)}; it has {', '.join(sorted(columns))}")
    points = {key: rows(f"motion_{key}", NUM_KEYPOINTS, 3) for key in ("kp", "x_s") if f"motion_{key}" in columns}
    made: Mapping[str, Any] = {
        "fps": rate_of(columns),
        "scale": rows("motion_scale", 1),
        "R": rotations,
        "exp": rows("motion_exp", NUM_KEYPOINTS, 3),
        "t": rows("motion_t", 3),
        "eyes": ratios_of(columns, EYE_NAMES, count),
        "lips": ratios_of(columns, LIP_NAMES, count),
        **points,
    }
    return MotionTemplate(**made, name=name, sha256=digest)


def write_template(path: Path, template: MotionTemplate) -> MotionTemplate:
    """Write a ``.npz`` atomically; equal templates give equal bytes. Returns it as `read_template` would.

    Raises:
        UsageError: another kind of file.
        OutputError: no room or no permission.
    """
    if path.suffix != ".npz":
        raise UsageError(f"motion template {path.name} ends in {path.suffix!r}; allowed: .npz")
    columns = {
        "motion_scale": template.scale,
        "motion_R": template.R,
        "motion_exp": template.exp,
        "motion_t": template.t,
        "motion_kp": template.kp,
        "motion_x_s": template.x_s,
        "c_eyes_lst": template.eyes,
        "c_lip_lst": template.lips,
    }
    # published files have an axis of length 1 behind that of the frames
    stored = {key: values[:, None] for key, values in columns.items() if values is not None}
    numbers = {"n_frames": np.int64(len(template)), "output_fps": np.float64(template.fps)}
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **stored, **numbers)
    content = buffer.getvalue()
    if len(content) > MAX_BYTES:
        raise UsageError(f"motion template {path.name} would have {len(content)} bytes; allowed: {MAX_BYTES}")
    atomic_write(path, content)
    return replace(template, name=path.name, sha256=sha256_bytes(content))


def template_of(
    motion: MotionInfo,
    fps: float,
    name: str = "",
    eyes: ArrayLike | None = None,
    lips: ArrayLike | None = None,
) -> MotionTemplate:
    """The template of what the motion extractor told of N driving frames.

    Args:
        motion: of N frames.
        fps: frames a second, limited to 240.
        name: of the driving video.
        eyes: (N, 2), see `thermvision.generation.engines.liveportrait.ratios.eye_close_ratio`.
        lips: (N, 1) likewise.

    Raises:
        DamagedInputError: some of it is no number.
    """
    seen = motion.to("cpu")
    shift = seen.t.float().numpy().copy()
    shift[:, 2] = 0  # as in published templates: it is never used
    made: Mapping[str, Any] = {
        "fps": min(fps, MAX_FPS),
        "scale": seen.scale.float().numpy(),
        "R": rotation_matrix(seen.pitch.float(), seen.yaw.float(), seen.roll.float()).numpy(),
        "exp": seen.exp.float().numpy(),
        "t": shift,
        "eyes": eyes,
        "lips": lips,
        "kp": seen.kp.float().numpy(),
        "x_s": transform_keypoints(seen).float().numpy(),
    }
    try:
        return MotionTemplate(**made, name=name)
    except DamagedInputError as error:
        raise DamagedInputError(f"the motion found in {name or 'the driving frames'} {error}; try fp32") from error


def smoothed(template: MotionTemplate, observation_variance: float = OBSERVATION_VARIANCE) -> MotionTemplate:
    """A template with its motion smoothed over time (ratios stay); a larger variance smooths more.

    LivePortrait smooths a source video's motion alone and leaves its matrices as they come out; here they are made
    rotations again (the nearest ones), since the result may be stored.

    Raises:
        UsageError: a variance that is not above 0.
    """
    made = {key: smooth(getattr(template, key), observation_variance) for key in ("scale", "R", "exp", "t")}
    left, _, right = np.linalg.svd(made["R"].astype(np.float64))
    left[..., -1] *= np.linalg.det(left @ right)[:, None]
    made["R"] = (left @ right).astype(np.float32)
    return replace(template, **made, sha256="")  # type: ignore[arg-type]
