"""A seed's pixels: read, its faces found, its crops normalised."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from thermvision.annotations.boxes import iou_matrix
from thermvision.annotations.errors import DamagedInputError, UsageError
from thermvision.annotations.intake import Intake, to_gray
from thermvision.annotations.picture_file import read_picture
from thermvision.annotations.pipeline import Face

from . import crops
from .captions import pose_of
from .normalise import Normalised, normalise, pseudo_celsius
from .sources import Box, Seed, SeedSource
from .videos import draw

FACES = ("auto", "labels", "detector")
_SAME = 0.3  # overlap from which a detection and a label are one face


class FaceFinder(Protocol):
    """Finds faces: `thermvision.annotations.pipeline.Annotator` and what is like it."""

    source: str

    def faces(self, frame: NDArray[np.uint8]) -> list[Face]:
        """All faces of a white-hot frame (H, W), best first."""
        ...


@dataclass(frozen=True)
class Reading:
    """How pictures are read and cut.

    Attributes:
        units, palette, polarity: see `thermvision.annotations.intake.to_gray`; "" is what the data set has.
        crop: "face" for squares around faces, "whole" for the picture.
        faces: "labels", "detector", or "auto": labels where the data set's can be relied on, else the detector.
        poses: whether the finder is asked for poses that a data set does not tell.
        least: pixels of a face's longer side below which it is left out.
        frames: drawn from a video at most.
        intensity, gradients: see `thermvision.generation.seeds.normalise.normalise`.
    """

    units: str = ""
    palette: str = ""
    polarity: str = ""
    crop: str = "face"
    faces: str = "auto"
    poses: bool = True
    least: int = 48
    frames: int = 24
    intensity: bool = True
    gradients: bool = True

    def __post_init__(self) -> None:
        for name, allowed in (("crop", crops.KINDS), ("faces", FACES)):
            if getattr(self, name) not in allowed:
                raise UsageError(f"--{name} is {getattr(self, name)!r}; allowed: {', '.join(allowed)}")
        if self.least < 8 or self.frames < 1:
            seen = f"--min-face is {self.least}, --frames is {self.frames}"
            raise UsageError(f"{seen}; allowed: 8 or more, 1 or more")


@dataclass(frozen=True, eq=False)
class Crop:
    """One face, or one whole picture, normalised at the size it was found.

    Attributes:
        picture: the values in 0..1 and what was done.
        window: where it lies in the source's picture.
        box: the face in that picture; None where a whole picture shows none.
        found_by: "label", the finder's source, or "".
        frame: number in a video; None of a picture.
        facts: for the caption.
        notes: what the pixels were taken for.
    """

    picture: Normalised
    window: crops.Window
    box: Box | None
    found_by: str
    frame: int | None = None
    facts: Mapping[str, str] = field(default_factory=dict)
    notes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class _Found:
    box: Box
    by: str
    pose: str = ""


@dataclass(frozen=True)
class LeftOut:
    """A picture or face that is not taken; its code and message become a finding."""

    code: str
    message: str


def crops_of(
    seed: Seed, source: SeedSource, how: Reading, finder: Callable[[], FaceFinder]
) -> Iterator[Crop | LeftOut]:
    """The crops of a seed, in order, and a `LeftOut` for each frame or face that gives none.

    Args:
        seed: the picture or video.
        source: its data set.
        how: what is wanted.
        finder: makes the model, called only where one is needed.

    Raises:
        DamagedInputError: the file cannot be read.
    """
    intake: Intake | None = None
    for number, pixels in draw(seed.file, how.frames) if seed.is_video else ((None, read_picture(seed.file)),):
        if intake is None:
            # a detector that tells black-hot pictures is asked only where it is not known
            polarity = how.polarity or source.polarity
            intake = to_gray(
                pixels, how.units or source.units, how.palette or source.palette, polarity,
                black_hot=_black_hot(finder) if polarity == "auto" else None,
            )  # fmt: skip
        else:
            intake = intake.decoder(pixels)
        faces = _faces(seed, source, how, intake, finder)
        if not faces and how.crop == "face":
            yield LeftOut(
                "no-face", f"no face was found{_at(number)}; give boxes, or type --crop whole; it was left out"
            )
            continue
        for found in [faces[0] if faces else None] if how.crop == "whole" else faces:
            try:
                yield _crop(seed, how, intake, found, number)
            except DamagedInputError as error:
                yield LeftOut("flat", f"{error}{_at(number)}; it was left out")


def _crop(seed: Seed, how: Reading, intake: Intake, found: _Found | None, number: int | None) -> Crop | LeftOut:
    height, width = intake.gray.shape
    face = found.box if found else (width / 4, height / 4, width / 2, height / 2)
    if found and how.crop == "face" and max(face[2:]) < how.least:
        seen = f"a face is {face[2]:.0f} x {face[3]:.0f} pixels{_at(number)}"
        return LeftOut("small-face", f"{seen}; allowed: {how.least} and more (--min-face); it was left out")
    if min(face[0] + face[2], face[1] + face[3]) <= 0 or face[0] >= width or face[1] >= height:
        return LeftOut("box", f"the box {', '.join(f'{v:.0f}' for v in face)} is not in the {width} x {height} picture")
    window = crops.Window(0, 0, width, height) if how.crop == "whole" else crops.face_window(face, width, height)
    celsius = intake.celsius if intake.celsius is not None else pseudo_celsius(intake.gray, face)
    picture = normalise(window.cut(celsius), window.moved(face), intensity=how.intensity, gradients=how.gradients)
    facts = dict(seed.facts)
    if found and found.pose and "pose" not in facts:
        facts["pose"] = found.pose
    notes = {**intake.notes, "temperature": "of the picture" if intake.celsius is not None else "assumed"}
    return Crop(picture, window, found.box if found else None, found.by if found else "", number, facts, notes)


def _faces(
    seed: Seed, source: SeedSource, how: Reading, intake: Intake, finder: Callable[[], FaceFinder]
) -> list[_Found]:
    labels = [_Found(box, "label") for box in seed.boxes] if how.faces != "detector" else []
    believed = source.labels or how.faces == "labels"
    if how.faces == "labels" or (labels and believed and ("pose" in seed.facts or not how.poses)):
        return labels
    model = finder()
    seen = [
        _Found(_numbers(face.bbox), model.source, pose_of(face.shape.head_pose if face.shape else None))
        for face in model.faces(intake.gray)
    ]
    if not (labels and believed):
        return seen or labels
    if not seen:
        return labels
    overlap = iou_matrix([label.box for label in labels], [face.box for face in seen])
    best = overlap.argmax(1)
    return [
        _Found(label.box, label.by, seen[k].pose if overlap[i, k] >= _SAME else "")
        for i, (label, k) in enumerate(zip(labels, best, strict=True))
    ]


def _numbers(box: NDArray[np.float32]) -> Box:
    x, y, w, h = (float(v) for v in box)
    return x, y, w, h


def _black_hot(finder: Callable[[], FaceFinder]) -> Callable[[NDArray[np.uint8]], float | None]:
    def ask(gray: NDArray[np.uint8]) -> float | None:
        detector: Any = getattr(finder(), "detector", None)
        return None if detector is None else detector.detect([gray])[0].black_hot

    return ask


def _at(number: int | None) -> str:
    return "" if number is None else f" in frame {number}"
