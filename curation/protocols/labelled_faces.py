"""Faces with a label and a person behind one schema: from releases, folders of classes and a CSV of pictures.

A crop is a square about the face box, resized, and stretched between two percentiles, since every camera has another
gain; what has no box is taken whole, or looked at by a detector where one is given.
"""

from __future__ import annotations

import csv
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from thermvision.annotations.errors import DamagedInputError, ThermVisionError, UsageError
from thermvision.annotations.findings import Finding
from thermvision.annotations.picture_file import SUFFIXES, read_picture
from thermvision.annotations.schema import ATTRIBUTES, CATEGORIES, GENDERS, SPLITS

from ..evaluation.models import readable
from ..inputs import PixelReading, is_release, row_item
from ..release import MANIFEST
from ..sources import ReleaseSource
from ..video import decode_gray

LABELS: dict[str, tuple[str, ...]] = {"gender": GENDERS, **ATTRIBUTES}
AROUND = 1.25  # side of a crop over the larger side of its box
MAX_BYTES = 2**30  # of all crops of one source
MAX_ROWS = 2_000_000  # of a CSV
_STRETCH = (1.0, 99.0)  # percentiles that become 0 and 255
Gray = NDArray[np.uint8]
# (H, W) uint8 to the face box (4,), None where there is none
FindFace = Callable[[Gray], NDArray[np.float32] | None]


@dataclass(frozen=True, eq=False)
class Faces:
    """Face crops of one source.

    Attributes:
        name: of the source.
        classes: names of the labels.
        crops: (N, T, T) uint8.
        labels: (N,) int64, numbers of ``classes``.
        subjects: the person of each crop.
        splits: "train", "validation" or "test" of each crop where the source says it, else "".
        names: what each crop is of: item and frame, or file.
        findings: what was left out.
    """

    name: str
    classes: tuple[str, ...]
    crops: Gray
    labels: NDArray[np.int64]
    subjects: tuple[str, ...]
    splits: tuple[str, ...]
    names: tuple[str, ...]
    findings: tuple[Finding, ...] = ()

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, chosen: NDArray[np.bool_]) -> Faces:
        """The crops that are ``chosen`` (N,)."""
        numbers = np.flatnonzero(chosen)
        lists = {n: tuple(getattr(self, n)[k] for k in numbers) for n in ("subjects", "splits", "names")}
        return Faces(self.name, self.classes, self.crops[numbers], self.labels[numbers], **lists)


@dataclass
class _Gathered:
    """Crops as they are read."""

    name: str
    label: str
    side: int
    find: FindFace | None
    crops: list[Gray] = field(default_factory=list)
    rows: list[tuple[int, str, str, str]] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)

    def add(self, gray: Gray, box: Any, number: int, subject: str, split: str, name: str) -> None:
        """One face, or a finding where it has none."""
        if box is None and self.find is not None:
            box = self.find(gray)
            if box is None:
                self.findings.append(Finding(name, "no-face", "the detector finds no face; the picture is left out"))
                return
        if box is not None and not (np.isfinite(box).all() and min(box[2:]) > 0):
            self.findings.append(Finding(name, "no-face", "the labels have no face here; the frame is left out"))
            return
        if (len(self.crops) + 1) * self.side**2 > MAX_BYTES:
            raise UsageError(
                f"{self.name} gives more than {MAX_BYTES} bytes of crops; allowed: fewer --per-subject or a smaller"
                " --size"
            )
        self.crops.append(face_crop(gray, box, self.side))
        self.rows.append((number, subject, split, name))

    def faces(self) -> Faces:
        if not self.crops:
            seen = f" ({self.findings[0]})" if self.findings else ""
            raise UsageError(f"{self.name} has no face with {self.label} and subject{seen}")
        numbers, subjects, splits, names = zip(*self.rows, strict=True)
        return Faces(
            self.name, LABELS[self.label], np.stack(self.crops), np.array(numbers, np.int64), subjects, splits, names,
            tuple(sorted(self.findings)),
        )  # fmt: skip


def face_crop(gray: Gray, box: Sequence[float] | NDArray[np.float32] | None, side: int) -> Gray:
    """Square crop (side, side) uint8 about a box ``[x, y, w, h]`` of (H, W) uint8, or of the whole picture.

    Beyond the picture its edge goes on. Gray is stretched so that percentiles 1 and 99 become 0 and 255.

    >>> face_crop(np.tile(np.arange(40, dtype=np.uint8), (40, 1)), [10, 10, 16, 16], 10).shape
    (10, 10)
    """
    height, width = gray.shape
    if box is None:
        box = [0, 0, width, height]
        reach = max(width, height) / 2
    else:
        reach = max(float(box[2]), float(box[3])) * AROUND / 2
    x, y = float(box[0]) + float(box[2]) / 2, float(box[1]) + float(box[3]) / 2
    low_x, low_y = int(np.floor(x - reach)), int(np.floor(y - reach))
    span = max(1, int(np.ceil(2 * reach)))
    columns = np.clip(np.arange(low_x, low_x + span), 0, width - 1)
    rows = np.clip(np.arange(low_y, low_y + span), 0, height - 1)
    square = np.ascontiguousarray(gray[rows][:, columns])
    method = cv2.INTER_AREA if span > side else cv2.INTER_LINEAR
    small = np.asarray(cv2.resize(square, (side, side), interpolation=method), np.float32)
    low, high = np.percentile(small, _STRETCH)
    return np.clip((small - low) * (255 / max(high - low, 1.0)), 0, 255).astype(np.uint8)


def read_faces(
    path: Path,
    *,
    label: str = "gender",
    side: int,
    per_subject: int,
    subject_pattern: str | None = None,
    find: FindFace | None = None,
) -> Faces:
    """Crops of a source: a release, a folder with a folder for each class, or a CSV of pictures.

    A folder holds CLASS/SUBJECT/PICTURE, or CLASS/PICTURE where ``subject_pattern`` finds the person in the file name.
    A CSV has the columns ``image`` (a path beside it), the label and ``subject``, and may have ``box`` ("x y w h") and
    ``split``.

    Args:
        path: of the source.
        label: one of `LABELS`.
        side: pixels of a crop.
        per_subject: at most so many crops of a person, evenly spread over what there is.
        subject_pattern: regular expression with one group.
        find: looks for the face where the source has no box.

    Raises:
        UsageError: there is no such source, label or person.
        DamagedInputError: a release or CSV is broken.
    """
    if label not in LABELS:
        raise UsageError(f"label {label!r} does not exist; allowed: {', '.join(LABELS)}")
    gathered = _Gathered(path.name or str(path), label, side, find)
    if path.is_dir() and is_release(path):
        with readable(path):
            _read_release(path, gathered, per_subject)
    elif path.is_dir():
        _read_files(_in_folders(path, label, subject_pattern, gathered.findings), gathered, per_subject)
    elif path.is_file() and path.suffix.lower() == ".csv":
        _read_files(_in_csv(path, label), gathered, per_subject)
    else:
        seen = "is none of them" if path.exists() else "does not exist"
        raise UsageError(f"{path} {seen}; allowed: a release, a folder of classes, or a CSV of pictures")
    return gathered.faces()


def _read_release(path: Path, gathered: _Gathered, per_subject: int) -> None:
    source = ReleaseSource(path)
    allowed, wanted = LABELS[gathered.label], _spread(source, per_subject)
    splits = {i.subject_id: i.split for i in source.release.identities}
    for config in ("video", *CATEGORIES):
        for shard in source.release.shards_of(config):
            key = "clip_id" if config == "video" else "image_id"
            ids = pq.read_table(path / shard.path, columns=[key])[key].to_pylist()
            if not wanted.keys() & set(ids):
                continue
            for table in source.tables(config, shard.path):
                for n, item_id in enumerate(table[key].to_pylist()):
                    if item_id in wanted:
                        (row,) = table.slice(n, 1).to_pylist()
                        number = row.get(gathered.label)
                        if number is None or not 0 <= number < len(allowed):
                            message = f"its {gathered.label} is not known; it is left out"
                            gathered.findings.append(Finding(item_id, "no-label", message))
                            continue
                        split = splits.get(row["subject_id"], shard.split)
                        for frame, gray, box in _frames(config, row, wanted[item_id], gathered.findings):
                            name = f"{item_id}:{frame}" if config == "video" else item_id
                            gathered.add(gray, box, number, row["subject_id"], split, name)


def _spread(source: ReleaseSource, per_subject: int) -> dict[str, list[int]]:
    """Frames of each item that are read: ``per_subject`` of every person, evenly spread over frames and stills."""
    units: dict[str, list[tuple[str, int]]] = defaultdict(list)
    for config in ("video", *CATEGORIES):
        for shard in source.release.shards_of(config):
            names = ["clip_id", "subject_id", "num_frames"] if config == "video" else ["image_id", "subject_id"]
            for row in pq.read_table(source.root / shard.path, columns=names).to_pylist():
                units[row["subject_id"]].append((row[names[0]], row.get("num_frames") or 1))
    wanted: dict[str, list[int]] = {}
    for items in units.values():
        # stills are few and varied, so half of the places are theirs where there are clips too
        stills, clips = [i for i in items if i[1] == 1], [i for i in items if i[1] > 1]
        for_stills = min(len(stills), per_subject if not clips else max(1, per_subject // 2))
        for n in _even(len(stills), for_stills):
            wanted[stills[n][0]] = [0]
        ends = np.cumsum([n for _, n in clips])
        for place in _even(int(ends[-1]) if clips else 0, per_subject - for_stills):
            clip = int(np.searchsorted(ends, place, side="right"))
            wanted.setdefault(clips[clip][0], []).append(int(place - (ends[clip] - clips[clip][1])))
    return wanted


def _even(count: int, wanted: int) -> list[int]:
    """At most ``wanted`` of ``count`` places, evenly spread.

    >>> _even(10, 3), _even(2, 5)
    ([1, 5, 8], [0, 1])
    """
    wanted = min(count, wanted)
    return [int((k + 0.5) * count / wanted) for k in range(wanted)]


def _frames(
    config: str, row: dict[str, Any], frames: Sequence[int], findings: list[Finding]
) -> Iterator[tuple[int, Gray, Any]]:
    try:
        if config == "video":
            pictures: Iterable[Gray] = decode_gray(row["video"]["bytes"], frames)
        else:
            pictures = list(row_item(config, row).read())
    except (DamagedInputError, IndexError) as error:
        item = row["clip_id" if config == "video" else "image_id"]
        findings.append(Finding(item, "unreadable", f"{error}; it is left out"))
        return
    for frame, gray in zip(frames, pictures, strict=True):
        box = row["bbox"][frame] if config == "video" and row["bbox"] is not None else row["bbox"]
        yield frame, gray, box


@dataclass(frozen=True)
class _File:
    path: Path
    name: str
    number: int
    subject: str
    split: str = ""
    box: tuple[float, ...] | None = None


def _read_files(files: Iterable[_File], gathered: _Gathered, per_subject: int) -> None:
    people: dict[str, list[_File]] = defaultdict(list)
    for file in files:
        people[file.subject].append(file)
    for subject, theirs in people.items():
        if len({(f.number, f.split) for f in theirs}) > 1 and gathered.label == "gender":
            raise UsageError(f"{subject} of {gathered.name} has two genders or splits; allowed: one a person")
        for n in _even(len(theirs), per_subject):
            file = theirs[n]
            try:
                (gray,) = PixelReading().frames([read_picture(file.path)])
            except (ThermVisionError, OSError) as error:
                gathered.findings.append(Finding(file.name, "unreadable", f"{error}; it is left out"))
                continue
            gathered.add(gray, file.box, file.number, subject, file.split, file.name)


def _in_folders(path: Path, label: str, pattern: str | None, findings: list[Finding]) -> Iterator[_File]:
    allowed = LABELS[label]
    folders = sorted(p for p in path.iterdir() if p.is_dir() and not p.name.startswith("."))
    strange = [p.name for p in folders if p.name.lower() not in allowed]
    if not folders or strange:
        seen = f"the folders {', '.join(strange[:5])}" if strange else "no folders"
        raise UsageError(f"{path} has {seen}; allowed: one a {label}: {', '.join(allowed)}")
    person = subject_regex(pattern)
    for folder in folders:
        for file in sorted(p for p in folder.rglob("*") if p.is_file() and not p.is_symlink()):
            name = file.relative_to(path).as_posix()
            if file.suffix.lower() not in SUFFIXES:
                findings.append(Finding(name, "not-an-image", f"allowed: {' '.join(SUFFIXES)}; it is left out"))
                continue
            below = file.relative_to(folder).parts
            found = person.search(file.name) if person else None
            if found is None and (person or len(below) < 2):
                raise UsageError(
                    f"{path / name} says nothing of who it is; allowed: CLASS/SUBJECT/PICTURE, or --subject-pattern"
                    " with one group, such as '^([^_]+)_'"
                )
            subject = found.group(1) if found else below[0]
            yield _File(file, name, allowed.index(folder.name.lower()), subject)


def subject_regex(pattern: str | None) -> re.Pattern[str] | None:
    """The expression that finds the person in a file name.

    Raises:
        UsageError: it does not compile, or has not one group.
    """
    try:
        person = re.compile(pattern) if pattern else None
    except re.error as error:
        raise UsageError(f"--subject-pattern {pattern!r} is no regular expression ({error})") from error
    if person is not None and person.groups != 1:
        raise UsageError(f"--subject-pattern {pattern!r} has {person.groups} groups; allowed: one, the person")
    return person


def _in_csv(path: Path, label: str) -> Iterator[_File]:
    allowed = LABELS[label]
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.DictReader(file, strict=True)
            if missing := {"image", label, "subject"} - set(rows.fieldnames or ()):
                raise UsageError(
                    f"{path} lacks {', '.join(sorted(missing))}; allowed: image, {label}, subject, and box, split"
                )
            for count, row in enumerate(rows):
                where = f"{path}, line {rows.line_num}"
                if count >= MAX_ROWS:
                    raise UsageError(f"{path} has more than {MAX_ROWS} rows; split it")
                value, image, subject = (row[name] or "" for name in (label, "image", "subject"))
                if value.lower() not in allowed or not subject:
                    seen = f"{label} {value!r} and subject {subject!r}"
                    raise UsageError(f"{where} has {seen}; allowed: {', '.join(allowed)}, and a name")
                split = row.get("split") or ""
                if split not in ("", *SPLITS):
                    raise UsageError(f"{where} has split {split!r}; allowed: {', '.join(SPLITS)}, or none")
                box = _box(row.get("box"), where)
                file_path = path.parent / image
                if not image or not file_path.resolve().is_relative_to(path.parent.resolve()):
                    raise UsageError(f"{where} has image {image!r}; allowed: a path below {path.parent}")
                yield _File(file_path, image, allowed.index(value.lower()), subject, split, box)
    except (csv.Error, UnicodeDecodeError) as error:
        raise DamagedInputError(f"{path} is no CSV in UTF-8 ({error}); save it again") from error


def _box(text: str | None, where: str) -> tuple[float, ...] | None:
    if not text:
        return None
    try:
        box = tuple(float(part) for part in text.replace(",", " ").split())
    except ValueError:
        box = ()
    if len(box) != 4 or not np.isfinite(box).all() or min(box[2:]) <= 0:
        raise UsageError(f"{where} has box {text!r}; allowed: four numbers, x y width height, or none")
    return box


def digest_of(path: Path) -> str:
    """What changes when a source may have: the digest of a release's manifest, or sizes and times of files."""
    from ..store import canonical_json, sha256_bytes, sha256_file

    if (path / MANIFEST).is_file():
        return sha256_file(path / MANIFEST)
    files = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())
    # by path, for a picture that moves to another class is another label
    listed = [[str(p.relative_to(path)), p.stat().st_size, p.stat().st_mtime_ns] for p in files]
    return sha256_bytes(canonical_json(listed).encode())
