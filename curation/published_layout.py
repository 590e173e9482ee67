"""A release written as folders in the form of the published archives, in the regular spelling of its names.

::

    <Female|Male> Subjects/
      Set 1 Cropped Headpose Variations/               Set 2 Cropped Facial Expressions/
        Subject-<n>/
          Thermal Animations/Subject<n>1.mp4                          the clip, byte for byte
          Thermal Animations/Extracted_frames/frame_0177.png          its frames, from 0
          Thermal Face Detection/labels/frame_0177.txt                YOLO labels; no file: no face
          Thermal Face Detection/crops/frame_0177.png                 the main face, cut out by its box
      <Category>/Subject-<n>/000.png                                  stills

`thermvision import` reads this again, with equal rows but for what the layout cannot hold: it knows boxes, and neither
landmarks nor scores nor attributes. Whatever does not come back as it was is a finding.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from thermvision.annotations.errors import DamagedInputError, UsageError
from thermvision.annotations.findings import Finding
from thermvision.annotations.formats import yolo
from thermvision.annotations.schema import CATEGORIES, GENDERS

from .release import Identity
from .sources import Source
from .splits import split_of
from .store import atomic_write
from .video import decode_gray

SETS = ("Set 1 Cropped Headpose Variations", "Set 2 Cropped Facial Expressions")
MAX_NUMBER = 9999  # four digits, as `raw_release` reads them
_ARCHIVE_ID = re.compile(r"([FM])_(\d{2,4})")


def subject_numbers(identities: Sequence[Identity]) -> dict[str, int]:
    """The number of each subject within its gender: its own where the ids are those of the archives, else 1, 2, 3, …

    >>> subject_numbers([Identity(subject_id=s, gender="male", split="train") for s in ("M_03", "M_31")])
    {'M_03': 3, 'M_31': 31}

    Raises:
        UsageError: the layout has no names for so many subjects.
    """
    named = {i.subject_id: m for i in identities if (m := _ARCHIVE_ID.fullmatch(i.subject_id))}
    if len(named) == len(identities) and all(named[i.subject_id][1] == i.gender[0].upper() for i in identities):
        return {subject: int(match[2]) for subject, match in named.items()}
    counts: dict[str, int] = defaultdict(int)
    numbers = {}
    for identity in identities:
        counts[identity.gender] += 1
        numbers[identity.subject_id] = counts[identity.gender]
    if max(numbers.values(), default=0) > MAX_NUMBER:
        raise UsageError(f"a gender has {max(numbers.values())} subjects; allowed in this layout: {MAX_NUMBER}")
    return numbers


def clip_folder(row: Mapping[str, Any], number: int) -> str:
    """The folder of a clip's subject within its set.

    >>> clip_folder({"gender": 0, "sequence": 1}, 7)
    'Female Subjects/Set 2 Cropped Facial Expressions/Subject-7'
    """
    return f"{GENDERS[row['gender']].capitalize()} Subjects/{SETS[row['sequence']]}/Subject-{number}"


def write_layout(
    source: Source,
    identities: Sequence[Identity],
    out: Path,
    *,
    split: str | None = None,
    limit: int | None = None,
    crops: bool = True,
    advance: Callable[[int], None] = lambda frames: None,
) -> list[Finding]:
    """Write clips and stills below ``out``. A clip whose MP4 is there is whole, and is passed over.

    Raises:
        UsageError: two clips would have the same place.
        DamagedInputError: a clip does not decode.
        OutputError: no room or no permission.
    """
    numbers = subject_numbers(identities)
    findings = _other_splits(identities, numbers) if split is None and limit is None else []
    places: dict[str, str] = {}
    for row in _rows(source, "video", split, limit):
        number = numbers[row["subject_id"]]
        folder = clip_folder(row, number)
        if folder in places:
            raise UsageError(
                f"{row['clip_id']} and {places[folder]} are both clips of {folder}; the layout has one of each set"
            )
        places[folder] = row["clip_id"]
        findings += write_clip(out / folder, row, number, crops)
        advance(row["num_frames"])
    for category in CATEGORIES:
        stills: dict[str, int] = defaultdict(int)
        for row in _rows(source, category, split, limit):
            subject = row["subject_id"]
            _write_still(out, row, category, numbers[subject], stills[subject])
            stills[subject] += 1
            advance(1)
    return sorted(findings)


def _other_splits(identities: Sequence[Identity], numbers: Mapping[str, int]) -> list[Finding]:
    """An import deals splits by a subject's place among its gender: where that is another split than the release's."""
    findings, places = [], dict.fromkeys(GENDERS, 0)
    for identity in sorted(identities, key=lambda i: numbers[i.subject_id]):
        split = split_of(identity.gender, places[identity.gender])
        places[identity.gender] += 1
        if split != identity.split:
            message = f"is in {identity.split} here, and an import of these folders puts it into {split}"
            findings.append(Finding(identity.subject_id, "other-split", message))
    return findings


def _rows(source: Source, config: str, split: str | None, limit: int | None) -> Iterator[dict[str, Any]]:
    if config not in source.configs:
        return
    count = 0
    for name, parts in source.parts(config).items():
        for part in parts if split in (None, name) else ():
            for table in source.tables(config, part):
                for row in table.to_pylist():
                    if count == limit:
                        return
                    count += 1
                    yield row


def write_clip(folder: Path, row: Mapping[str, Any], number: int, crops: bool = True) -> list[Finding]:
    """Frames, labels, face crops and last the MP4 of a row of ``video``; what the labels cannot say as findings."""
    data, clip_id = row["video"]["bytes"], row["clip_id"]
    clip = folder / "Thermal Animations" / f"Subject{number}1.mp4"
    texts, findings = label_texts(row)
    if clip.is_file() and clip.stat().st_size == len(data):
        return findings
    frames = decode_gray(data)
    if len(frames) != row["num_frames"]:
        raise DamagedInputError(f"{clip_id} has {len(frames)} frames; its row says {row['num_frames']}; build anew")
    for k, frame in enumerate(frames):
        name = f"frame_{k:04d}"
        atomic_write(clip.parent / "Extracted_frames" / f"{name}.png", png(frame), durable=False)
        if text := texts[k]:
            atomic_write(folder / "Thermal Face Detection" / "labels" / f"{name}.txt", text, durable=False)
            if crops and (crop := crop_box(frame, np.asarray(row["bbox"][k], np.float64))).size:
                atomic_write(folder / "Thermal Face Detection" / "crops" / f"{name}.png", png(crop), durable=False)
    atomic_write(clip, data)
    return findings


def label_texts(row: Mapping[str, Any]) -> tuple[list[str], list[Finding]]:
    """The label text of each frame of a row of ``video``, empty where there is no face; and what is lost in it."""
    count, clip_id = row["num_frames"], row["clip_id"]
    findings: list[Finding] = []
    boxes, extra = row["bbox"], row["extra_bboxes"]
    if boxes is None:
        return [""] * count, findings
    texts, unknown, outside = [], 0, 0
    for k in range(count):
        unknown += row["face_count"] is not None and row["face_count"][k] is None
        faces = np.array([boxes[k] or [np.nan] * 4, *((extra and extra[k]) or [])], np.float64)
        faces = faces[np.isfinite(faces).all(1)]
        text = yolo.write_labels(faces, row["width"], row["height"])
        read, _ = yolo.read_labels(text, row["width"], row["height"])
        if len(read) != len(faces):
            outside += len(faces) - len(read)
            text = "".join(
                line
                for line in text.splitlines(keepends=True)
                if len(yolo.read_labels(line, row["width"], row["height"])[0])
            )
        texts.append(text)
    if unknown:
        message = f"{unknown} frames have no known number of faces; without a label they will be read as having none"
        findings.append(Finding(clip_id, "unknown-count", message))
    if outside:
        message = f"{outside} boxes have their centre or more than their extent outside the image; no label was written"
        findings.append(Finding(clip_id, "box-outside", message))
    if not any(texts):
        message = "no frame has a face; without any label file its boxes will be read as unknown"
        findings.append(Finding(clip_id, "no-labels", message))
    kept = [name for name in ("landmarks", "head_pose", "bbox_score", "expression") if row[name] is not None]
    if kept:
        findings.append(Finding(clip_id, "not-in-layout", f"the layout holds boxes only; left out: {', '.join(kept)}"))
    return texts, findings


def crop_box(frame: NDArray[np.uint8], box: NDArray[np.float64]) -> NDArray[np.uint8]:
    """The pixels of ``frame`` (H, W) within a box ``[x, y, w, h]``, rounded outwards and cut at the frame's edges.

    >>> crop_box(np.zeros((8, 8), np.uint8), np.array([1.5, 2, 3, 9])).shape
    (6, 4)
    """
    low = np.maximum(np.floor(box[:2]), 0).astype(int)
    high = np.minimum(np.ceil(box[:2] + box[2:]), frame.shape[::-1]).astype(int)
    return frame[low[1] : max(high[1], low[1]), low[0] : max(high[0], low[0])]


def _write_still(out: Path, row: Mapping[str, Any], category: str, number: int, place: int) -> None:
    name = category.replace("_", " ").title()
    suffix = Path(row["image"]["path"] or "").suffix or ".png"
    folder = out / f"{GENDERS[row['gender']].capitalize()} Subjects" / name / f"Subject-{number}"
    path = folder / f"{place:03d}{suffix}"
    if not path.is_file() or path.stat().st_size != len(row["image"]["bytes"]):
        atomic_write(path, row["image"]["bytes"])


def png(image: NDArray[np.uint8]) -> bytes:
    """PNG file of a gray (H, W) or RGB (H, W, 3) uint8 image."""
    pixels = cv2.cvtColor(image, cv2.COLOR_RGB2BGR) if image.ndim == 3 else image
    return bytes(cv2.imencode(".png", pixels)[1])
