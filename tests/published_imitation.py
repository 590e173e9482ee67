"""A small imitation of the two published archives, with every irregularity of naming, and what a reader must find.

Ten of the fifty subjects, 64 × 64 pixels, 12 head-pose and 8 expression frames instead of 354 and 250.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image

from thermvision.curation.video import encode_gray

SIZE = 64
FRAMES = {1: 12, 2: 8}
SUBJECTS = {"female": (1, 3, 4, 23, 27, 31), "male": (1, 7, 10, 30)}
NO_FACE = {"F_04_S1": (3, 9, 10), "M_07_S1": (5, 6)}
TWO_FACES = {"F_31_S1": (7, 8)}
Box = tuple[int, int, int, int]


@dataclass(frozen=True)
class Truth:
    """What the imitation put into one clip."""

    member: str
    archive: str
    gender: str
    sequence: str
    mp4: bytes
    boxes: list[list[Box]]  # a frame's boxes in the order of the label's lines; the true face is not always the first
    main: list[int]  # which of them goes on from the frame before; -1: no face


@dataclass
class Imitation:
    """Members by archive (path below the archive → bytes), and the truth by clip id."""

    archives: dict[str, dict[str, bytes]] = field(default_factory=dict)
    clips: dict[str, Truth] = field(default_factory=dict)
    extra: set[str] = field(default_factory=set)  # members that are neither used nor known

    def write_zips(self, folder: Path) -> Path:
        """Both zips into ``folder``."""
        folder.mkdir(parents=True, exist_ok=True)
        for name, members in self.archives.items():
            write_zip(folder / name, members)
        return folder

    def write_tree(self, folder: Path) -> Path:
        """Both archives unpacked into ``folder``."""
        for members in self.archives.values():
            write_tree(folder, members)
        return folder


def write_zip(path: Path, members: Mapping[str, bytes]) -> Path:
    """A zip as the published ones: deflated, forward slashes."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(zipfile.ZipInfo(name, (2025, 7, 1, 12, 0, 0)), data, zipfile.ZIP_DEFLATED)
    return path


def write_tree(folder: Path, members: Mapping[str, bytes]) -> None:
    """Members as plain files."""
    for name, data in members.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def png(gray: np.ndarray) -> bytes:
    """PNG file of a gray image."""
    file = io.BytesIO()
    Image.fromarray(gray).save(file, "PNG")
    return file.getvalue()


def label(boxes: list[Box]) -> bytes:
    """The published labels' text, written independently of the package."""
    rows = [((x + w / 2) / SIZE, (y + h / 2) / SIZE, w / SIZE, h / SIZE) for x, y, w, h in boxes]
    return "".join("0 {:.6f} {:.6f} {:.6f} {:.6f}\n".format(*row) for row in rows).encode()


def frames_and_boxes(seed: int, count: int) -> tuple[np.ndarray, list[Box]]:
    """A bright ellipse that wanders: (N, 64, 64) uint8 and its box in each frame."""
    rng = np.random.default_rng(seed)
    start, step = rng.integers(8, 20, 2), rng.integers(0, 2, 2)
    w, h = (int(v) for v in rng.integers(20, 30, 2))
    y, x = np.mgrid[:SIZE, :SIZE] + 0.5
    frames, boxes = [], []
    for k in range(count):
        left, top = (int(v) for v in np.minimum(start + k * step, SIZE - 31))
        inside = ((x - left - w / 2) / (w / 2)) ** 2 + ((y - top - h / 2) / (h / 2)) ** 2 < 1
        frames.append(np.where(inside, 190, 60).astype(np.uint8))
        boxes.append((left, top, w, h))
    return np.stack(frames), boxes


def set_folder(gender: str, number: int) -> str:
    """The folder of a set, with the doubled space of the male head poses."""
    if number == 2:
        return "Set 2 Cropped Facial Expressions"
    return "Set 1 Cropped  Headpose Variations" if gender == "male" else "Set 1 Cropped Headpose Variations"


def subject_folder(gender: str, subject: int, number: int) -> str:
    """``Subject-<n>``, and the one that has -n in its folder's name too."""
    return f"Subject-{subject}-n" if (gender, subject, number) == ("female", 23, 2) else f"Subject-{subject}"


def clip_name(gender: str, subject: int, number: int) -> str:
    """Name of the clip: always ending in 1, sometimes in lower case, sometimes with -n."""
    editions = {("female", 1): (27,), ("female", 2): (3, 23), ("male", 2): (10, 30)}
    lower = gender == "female" and number == 1 and subject in (1, 3)
    name = f"subject{subject}1" if lower else f"Subject{subject}1"
    return f"{name}-n.mp4" if subject in editions.get((gender, number), ()) else f"{name}.mp4"


@cache
def _clip(seed: int, count: int) -> tuple[np.ndarray, tuple[Box, ...], bytes]:
    frames, boxes = frames_and_boxes(seed, count)
    return frames, tuple(boxes), encode_gray(frames, 30.0)


def imitation() -> Imitation:
    """Both archives with all their irregularities."""
    made = Imitation()
    for gender, subjects in SUBJECTS.items():
        top = f"{gender.capitalize()} Subjects"
        members = made.archives.setdefault(f"{top}.zip", {})
        for subject in subjects:
            for number, count in FRAMES.items():
                _add_clip(made, members, top, gender, subject, number, count)
        # other MP4s and files that are no part of the layout
        one = f"{top}/{set_folder(gender, 1)}/Subject-1/{'Face' if gender == 'male' else 'Thermal'} Animations"
        other = _clip(999, 4)[2]
        extra = {
            f"{top}/driving.mp4": other,
            f"{one}/Subject11_concat.mp4": other,
            f"{one}/Subject21.mp4": other,
            f"{one}/animations/Subject11.mp4": other,
            f"{top}/notes.txt": b"hello",
        }
        members.update(extra)
        made.extra |= set(extra)
        members.update({f"__MACOSX/{top}/._Subject-1": b"x", f"{top}/.DS_Store": b"x"})
    return made


def _add_clip(
    made: Imitation, members: dict[str, bytes], top: str, gender: str, subject: int, number: int, count: int
) -> None:
    clip_id = f"{gender[0].upper()}_{subject:02d}_S{number}"
    frames, boxes, mp4 = _clip(1000 * subject + 10 * number + (gender == "male"), count)
    folder = f"{top}/{set_folder(gender, number)}/{subject_folder(gender, subject, number)}"
    face = gender == "male" and number == 1
    animations = f"{folder}/{'Face' if face else 'Thermal'} Animations"
    detection = f"{folder}/{'Face' if face else 'Thermal Face'} Detection"
    member = f"{animations}/{clip_name(gender, subject, number)}"
    members[member] = mp4
    rows, main = [], []
    for k in range(count):
        members[f"{animations}/Extracted_frames/frame_{k:04d}.png"] = png(frames[k])
        if k in NO_FACE.get(clip_id, ()):
            rows.append([])
            main.append(-1)
            continue
        two = k in TWO_FACES.get(clip_id, ())
        rows.append([(0, 40, 62, 24), boxes[k]] if two else [boxes[k]])  # the wrong one is first and larger
        main.append(len(rows[-1]) - 1)
        members[f"{detection}/labels/frame_{k:04d}.txt"] = label(rows[-1])
    members[f"{detection}/frame_0000.png"] = png(frames[0])
    members[f"{folder}/Cropped Faces/frame_0000.png"] = png(frames[0][:32, :32])
    sequence = {1: "head_pose", 2: "expression"}[number]
    made.clips[clip_id] = Truth(member, f"{top}.zip", gender, sequence, mp4, rows, main)
