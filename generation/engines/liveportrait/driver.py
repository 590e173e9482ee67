"""The driver: a video, picture or template file to the motion that it gives a face.

A video is read as gray luma at a constant rate. One that is not square is cropped to one fixed window about its face
(the mean over all frames); a square one is taken as it is and needs no face. Either way the openness of eyes and lips
is read where a face is found, and held where it is not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from thermvision.annotations.errors import DamagedInputError, UsageError
from thermvision.annotations.faces import Gray
from thermvision.annotations.picture_file import SUFFIXES, read_picture
from thermvision.curation.inputs import VIDEOS
from thermvision.curation.store import sha256_file
from thermvision.curation.video import at_constant_rate
from thermvision.generation.engines.liveportrait.ahead import ahead
from thermvision.generation.engines.liveportrait.crop import (
    CROP_SIZE,
    driving_bbox,
    driving_crop_matrix,
    warp_image,
)
from thermvision.generation.engines.liveportrait.driving import best_anchor
from thermvision.generation.engines.liveportrait.faces import FaceReader, SeenPoints
from thermvision.generation.engines.liveportrait.keypoints import MotionInfo
from thermvision.generation.engines.liveportrait.networks import Networks
from thermvision.generation.engines.liveportrait.template import MotionTemplate, read_template, template_of
from thermvision.generation.engines.liveportrait.tensors import INPUT_SIZE, image_to_tensor
from thermvision.generation.motion_template import MAX_FPS, MAX_FRAMES

TEMPLATES = (".npz", ".pkl")
Advance = Callable[[int], None]


@dataclass(frozen=True)
class Driver:
    """Motion, and what is to be said about where it comes from."""

    template: MotionTemplate
    notes: tuple[str, ...] = ()


def read_driver(
    networks: Networks,
    path: Path,
    faces: FaceReader,
    *,
    crop: bool | None = None,
    batch: int = 16,
    advance: Advance = lambda frames: None,
) -> Driver:
    """The motion in a file.

    Args:
        networks: extract it; a template needs none.
        path: a motion template, a video, or a picture, which is a video of one frame.
        faces: finds the face of a video.
        crop: whether a video is cropped about its face; None: when it is not square.
        batch: frames that the motion extractor is shown at once.
        advance: called with the number of frames just done.

    Raises:
        UsageError: another kind of file.
        DamagedInputError: it does not decode, is too long, or no frame shows a face to crop about.
    """
    kind = path.suffix.lower()
    if kind in TEMPLATES:
        return Driver(read_template(path))
    if kind not in (*VIDEOS, *SUFFIXES):
        raise UsageError(f"{path.name} ends in {kind!r}; allowed: {' '.join((*TEMPLATES, *VIDEOS, *SUFFIXES))}")
    if not path.is_file():
        raise UsageError(f"{path} does not exist; give a driving video or motion template")
    fps, frames = _opened(path)
    looked = list(_looked_at(path.name, frames(), faces))
    seen = [face for face, _ in looked]
    height, width = looked[-1][1]
    cropped = height != width if crop is None else crop
    notes = _missing(seen, cropped)
    known = [f for f in seen if f is not None]
    if cropped and not known:
        shown = f"{width} x {height} pixels and shows no face in {len(seen)} frames"
        raise DamagedInputError(f"{path.name} has {shown}; allowed: a face to crop about, or a square video of a head")
    if (most := max((f.faces for f in known), default=1)) > 1:
        notes.append(f"up to {most} faces in a frame; the largest of the first frame is followed")
    window = np.mean([driving_bbox(f.points) for f in known], axis=0) if cropped else None
    motion = _motion(networks, frames(), window, batch, advance)
    eyes, lips = (
        _held([None if f is None else f.eyes for f in seen]),
        _held([None if f is None else [f.lips] for f in seen]),
    )
    template = template_of(motion, min(max(fps, 1.0), MAX_FPS), path.name, eyes, lips)
    return Driver(replace(template, sha256=sha256_file(path)), tuple(notes))


def _opened(path: Path) -> tuple[float, Callable[[], Iterator[Gray]]]:
    """Frames a second, and what gives the frames, as often as it is asked."""
    if path.suffix.lower() not in SUFFIXES:
        fps, count, _ = at_constant_rate(path)
        if count > MAX_FRAMES:
            raise DamagedInputError(f"{path.name} has {count} frames; allowed: {MAX_FRAMES}; cut it")
        return fps, lambda: at_constant_rate(path)[2]
    pixels = read_picture(path)
    if pixels.dtype != np.uint8:
        raise DamagedInputError(f"{path.name} is {pixels.dtype}; allowed: an 8-bit picture or video")
    gray = pixels if pixels.ndim == 2 else cv2.cvtColor(np.ascontiguousarray(pixels[..., :3]), cv2.COLOR_RGB2GRAY)
    return 25.0, lambda: iter([np.asarray(gray, np.uint8)])


def _looked_at(
    name: str, frames: Iterator[Gray], faces: FaceReader
) -> Iterator[tuple[SeenPoints | None, tuple[int, ...]]]:
    shapes: list[tuple[int, ...]] = []

    def counted() -> Iterator[Gray]:
        for frame in frames:
            if len(shapes) == MAX_FRAMES:
                raise DamagedInputError(f"{name} has more than {MAX_FRAMES} frames; allowed: {MAX_FRAMES}; cut it")
            shapes.append(frame.shape)
            yield frame

    yield from ((face, shapes[n]) for n, face in enumerate(faces.in_video(ahead(counted()))))


def _motion(
    networks: Networks, frames: Iterator[Gray], window: NDArray[np.float32] | None, batch: int, advance: Advance
) -> MotionInfo:
    def inputs() -> Iterator[torch.Tensor]:
        for frame in frames:
            if window is not None:
                frame = warp_image(frame, driving_crop_matrix(window), CROP_SIZE, CROP_SIZE)
            if frame.shape != (INPUT_SIZE, INPUT_SIZE):
                frame = np.asarray(cv2.resize(frame, (INPUT_SIZE, INPUT_SIZE)), np.uint8)
            yield image_to_tensor(frame)

    parts: list[MotionInfo] = []
    waiting = ahead(inputs(), 2 * batch)
    while images := list(islice(waiting, batch)):
        parts.append(networks.motion_of(torch.cat(images).to(networks.device)).to("cpu"))
        advance(len(images))
    names = MotionInfo.__dataclass_fields__
    return MotionInfo(**{n: torch.cat([getattr(p, n) for p in parts]) for n in names})


def _missing(seen: Sequence[SeenPoints | None], cropped: bool) -> list[str]:
    lost = [n for n, face in enumerate(seen) if face is None]
    if not lost:
        return []
    if len(lost) == len(seen):
        return ["no face was found, so it is not known how far eyes and lips are open"]
    held = "window and openness are held" if cropped else "openness is held"
    return [f"no face in {len(lost)} of {len(seen)} frames ({_ranges(lost)}); {held} there"]


def _ranges(numbers: Sequence[int]) -> str:
    """
    >>> _ranges([0, 1, 2, 7, 9, 10])
    '0-2, 7, 9-10'
    """
    runs: list[list[int]] = []
    for n in numbers:
        if runs and n == runs[-1][-1] + 1:
            runs[-1] = [runs[-1][0], n]
        else:
            runs.append([n])
    listed = ["-".join(map(str, run)) for run in runs]
    return ", ".join(listed[:10]) + (f" and {len(listed) - 10} more" if len(listed) > 10 else "")


def _held(values: Sequence[NDArray[np.float32] | list[float] | None]) -> NDArray[np.float32] | None:
    """(N, K) with what is unknown taken from the last known before it, at the start from the first known."""
    last = next((value for value in values if value is not None), None)
    if last is None:
        return None
    held = []
    for value in values:
        last = last if value is None else value
        held.append(last)
    return np.array(held, np.float32)


def choose_anchor(template: MotionTemplate, wanted: str) -> tuple[int, str | None]:
    """The frame against which motion is relative, and what is to be said about it.

    Args:
        template: the motion.
        wanted: "first", "best" or a frame number.

    Raises:
        UsageError: there is no such frame.
    """
    best = best_anchor(template)
    if wanted == "best":
        return best.index, None
    if wanted == "first":
        if best.neutral or len(template) == 1:
            return 0, None
        return 0, (
            f"the first driving frame is not neutral (yaw {best.yaw:.0f} degrees, mouth open {best.mouth:.2f} of its"
            f" width), and motion counts from there; nearest to neutral is frame {best.index}: type --anchor best,"
            ' or anchor = "best" in a recipe'
        )
    if not wanted.isdecimal() or int(wanted) >= len(template):
        raise UsageError(f"anchor is {wanted!r}; allowed: first, best, or a frame from 0 to {len(template) - 1}")
    return int(wanted), None
