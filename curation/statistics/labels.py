"""What the labels of a release say, counted over its `frames` rows, which hold no pixels."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from thermvision.annotations.schema import ATTRIBUTES, CATEGORIES, EXPRESSIONS, SEQUENCES, SPLITS

from .bins import GROUPS, Histogram, Measure
from .columns import batches, integers, numbers, texts, vectors

MEASURES = {
    m.name: m
    for m in (
        Measure("yaw", "°", -90, 90, 36),
        Measure("pitch", "°", -90, 90, 36),
        Measure("roll", "°", -90, 90, 36),
        Measure("eye openness", "lid gap over eye width", 0, 0.6, 30),
        Measure("mouth openness", "lip gap over mouth width", 0, 1.2, 30),
        Measure("box width", "share of the frame", 0, 1, 40),
        Measure("box height", "share of the frame", 0, 1, 40),
        Measure("box aspect", "width over height", 0.2, 1.8, 40),
        Measure("box centre x", "share of the frame", 0, 1, 40),
        Measure("box centre y", "share of the frame", 0, 1, 40),
        Measure("box side", "px, root of the area", 0, 1024, 64),
    )
}
CLASSES: dict[str, tuple[str, ...]] = {
    "sequence": SEQUENCES,
    "category": CATEGORIES,
    "expression": EXPRESSIONS,
    **ATTRIBUTES,
}
POSE_CELL = 10  # degrees
POSE_CELLS = 180 // POSE_CELL
PLACE_CELLS = 24  # of the frame, each way
FACES = ("none", "one", "several", "not known")
_COLUMNS = (
    "frame_index", "subject_id", "gender", "width", "height", "bbox", "face_count", "head_pose", "eye_openness",
    "mouth_openness", "landmark_state", *CLASSES,
)  # fmt: skip


@dataclass
class Person:
    """What there is of a subject; extremes of pose are NaN where not known, ``turns`` (2, 18) counts yaw and pitch."""

    gender: int = 2
    split: int = 0
    clips: int = 0
    stills: int = 0
    frames: int = 0
    seconds: float = 0.0
    without_box: int = 0
    box_side: float = 0.0
    pose_least: NDArray[np.float64] = field(default_factory=lambda: np.full(3, np.nan))
    pose_greatest: NDArray[np.float64] = field(default_factory=lambda: np.full(3, np.nan))
    turns: NDArray[np.int64] = field(default_factory=lambda: np.zeros((2, POSE_CELLS), np.int64))


class Labels:
    """Counts over `frames` rows.

    Attributes:
        frames: (3, 3) rows by split and gender, as in `bins`.
        items: (3, 3, 2) clips and stills.
        histograms: by the names of `MEASURES`.
        classes: by the names of `CLASSES`, (2, 3, 3, C + 1): rows and items of each class, the last not known.
        faces: (3, 3, 4) rows with the counts of `FACES`.
        pose: (3, 3, 18, 18) rows by yaw and pitch in cells of 10°.
        place: (3, 3, 24, 24) rows by the row and column of the box centre.
        covered: (3, 3, 24, 24) rows whose box holds the middle of that cell.
        states: (68, 4) int64, how often each landmark has each ``landmark_state``.
        people: by subject.
    """

    def __init__(self) -> None:
        self.frames = np.zeros(GROUPS, np.int64)
        self.items = np.zeros((*GROUPS, 2), np.int64)
        self.histograms = {name: Histogram(m) for name, m in MEASURES.items()}
        self.classes = {n: np.zeros((2, *GROUPS, len(c) + 1), np.int64) for n, c in CLASSES.items()}
        self.faces = np.zeros((*GROUPS, len(FACES)), np.int64)
        self.pose = np.zeros((*GROUPS, POSE_CELLS, POSE_CELLS), np.int64)
        self.place = np.zeros((*GROUPS, PLACE_CELLS, PLACE_CELLS), np.int64)
        self.covered = np.zeros((*GROUPS, PLACE_CELLS, PLACE_CELLS), np.int64)
        self.states = np.zeros((68, 4), np.int64)
        self.people: dict[str, Person] = {}

    def add_shard(self, path: Path, split: str) -> None:
        """Count a shard of `frames`.

        Raises:
            DamagedInputError: it does not read.
        """
        for batch in batches(path, _COLUMNS):
            self.add(batch, SPLITS.index(split))

    def add(self, batch: pa.RecordBatch, split: int) -> None:
        """Count some rows of one split."""
        gender = integers(batch, "gender")
        gender = np.where((gender < 0) | (gender > 1), 2, gender)
        first = integers(batch, "frame_index") == 0
        is_clip = integers(batch, "sequence") >= 0
        self.frames[split] += np.bincount(gender, minlength=GROUPS[1])
        for kind, mask in enumerate((first & is_clip, first & ~is_clip)):
            self.items[split, :, kind] += np.bincount(gender[mask], minlength=GROUPS[1])
        for name, values in self._classes_of(batch).items():
            size = len(CLASSES[name]) + 1
            for kind, mask in enumerate((np.ones(len(first), bool), first)):
                flat = np.bincount(gender[mask] * size + values[mask], minlength=GROUPS[1] * size)
                self.classes[name][kind, split] += flat.reshape(GROUPS[1], size)
        count = integers(batch, "face_count")
        faces = np.where(count < 0, 3, np.minimum(count, 2))
        self.faces[split] += np.bincount(gender * 4 + faces, minlength=GROUPS[1] * 4).reshape(GROUPS[1], 4)
        pose = self._pose(batch, split, gender)
        side = self._boxes(batch, split, gender)
        self._states(batch)
        self._people(batch, split, gender, first, is_clip, pose, side)

    def _classes_of(self, batch: pa.RecordBatch) -> dict[str, NDArray[np.int64]]:
        found = {}
        for name, allowed in CLASSES.items():
            values = integers(batch, name)
            found[name] = np.where((values < 0) | (values >= len(allowed)), len(allowed), values)
        return found

    def _pose(self, batch: pa.RecordBatch, split: int, gender: NDArray[np.int64]) -> NDArray[np.float64]:
        pose = _list_column(batch, "head_pose", 3)
        for axis, name in enumerate(("yaw", "pitch", "roll")):
            self.histograms[name].add(split, gender, pose[:, axis])
        for name in ("eye openness", "mouth openness"):
            self.histograms[name].add(split, gender, numbers(batch, name.replace(" ", "_")))
        good = np.isfinite(pose[:, :2]).all(1)
        cells = np.clip((pose[good, :2] + 90) // POSE_CELL, 0, POSE_CELLS - 1).astype(np.int64)
        _count_cells(self.pose[split], gender[good], cells)
        return pose

    def _boxes(self, batch: pa.RecordBatch, split: int, gender: NDArray[np.int64]) -> NDArray[np.float64]:
        """Counts boxes; gives the root of their areas (N,), NaN without a box."""
        box = _list_column(batch, "bbox", 4)
        size = np.stack([numbers(batch, "width"), numbers(batch, "height")], 1)
        size = np.where(size > 0, size, np.nan)
        centre = (box[:, :2] + box[:, 2:] / 2) / size
        with np.errstate(divide="ignore", invalid="ignore"):
            values = {
                "box width": box[:, 2] / size[:, 0], "box height": box[:, 3] / size[:, 1],
                "box aspect": np.where(box[:, 3] > 0, box[:, 2] / box[:, 3], np.nan),
                "box centre x": centre[:, 0], "box centre y": centre[:, 1],
                "box side": np.sqrt(np.where((box[:, 2:] > 0).all(1), box[:, 2] * box[:, 3], np.nan)),
            }  # fmt: skip
        for name, numbers_of in values.items():
            self.histograms[name].add(split, gender, numbers_of)
        good = np.isfinite(centre).all(1)
        cells = np.clip(centre[good][:, ::-1] * PLACE_CELLS, 0, PLACE_CELLS - 1).astype(np.int64)
        _count_cells(self.place[split], gender[good], cells)
        ends = np.concatenate([box[:, :2], box[:, :2] + box[:, 2:]], 1) / np.tile(size, 2)
        _count_boxes(self.covered[split], gender[good], ends[good])
        return values["box side"]

    def _states(self, batch: pa.RecordBatch) -> None:
        states = _list_column(batch, "landmark_state", 68)
        for state in range(4):
            self.states[:, state] += (states == state).sum(0)

    def _people(
        self, batch: pa.RecordBatch, split: int, gender: NDArray[np.int64], first: NDArray[np.bool_],
        is_clip: NDArray[np.bool_], pose: NDArray[np.float64], side: NDArray[np.float64],
    ) -> None:  # fmt: skip
        codes, names = texts(batch, "subject_id")
        size = len(names)
        tallies = {
            "frames": np.bincount(codes, minlength=size),
            "clips": np.bincount(codes[first & is_clip], minlength=size),
            "stills": np.bincount(codes[first & ~is_clip], minlength=size),
            "without_box": np.bincount(codes[np.isnan(side)], minlength=size),
        }
        sides = np.bincount(codes, np.nan_to_num(side), size)
        least, greatest, genders = np.full((size, 3), np.nan), np.full((size, 3), np.nan), np.zeros(size, np.int64)
        np.fmin.at(least, codes, pose)
        np.fmax.at(greatest, codes, pose)
        genders[codes] = gender
        turns = np.zeros((2, size, POSE_CELLS), np.int64)
        for axis in range(2):
            known = np.isfinite(pose[:, axis])
            cells = np.clip((pose[known, axis] + 90) // POSE_CELL, 0, POSE_CELLS - 1).astype(np.int64)
            np.add.at(turns[axis], (codes[known], cells), 1)
        for code, name in enumerate(names):
            person = self.people.setdefault(name, Person())
            person.gender, person.split = int(genders[code]), split
            for tally, counts in tallies.items():
                setattr(person, tally, getattr(person, tally) + int(counts[code]))
            person.box_side += float(sides[code])
            person.turns += turns[:, code]
            person.pose_least = np.fmin(person.pose_least, least[code])
            person.pose_greatest = np.fmax(person.pose_greatest, greatest[code])

    @property
    def unknown(self) -> list[str]:
        """Measures and classes that no row knows."""
        measures = [n for n, h in self.histograms.items() if not h.number.sum()]
        classes = [n for n, c in self.classes.items() if not c[0, ..., :-1].sum()]
        return [*measures, *classes, *([] if self.states.sum() else ["landmarks"])]


def _list_column(batch: pa.RecordBatch, name: str, size: int) -> NDArray[np.float64]:
    if name not in batch.schema.names:
        return np.full((batch.num_rows, size), np.nan)
    return vectors(batch.column(name), size)


def _count_cells(counts: NDArray[np.int64], gender: NDArray[np.int64], cells: NDArray[np.int64]) -> None:
    """Add cells (N, 2) to ``counts`` (3, R, C)."""
    shape = counts.shape
    flat = np.ravel_multi_index((gender, cells[:, 0], cells[:, 1]), shape)
    counts += np.bincount(flat, minlength=counts.size).reshape(shape)


def _count_boxes(counts: NDArray[np.int64], gender: NDArray[np.int64], ends: NDArray[np.float64]) -> None:
    """Add to ``counts`` (3, R, C) the cells whose middle lies in boxes (N, 4) of left, top, right and bottom shares."""
    left, top, right, bottom = np.clip(np.ceil(ends * PLACE_CELLS - 0.5), 0, PLACE_CELLS).astype(np.int64).T
    # the corners of each box, which the sums along both axes fill
    corners = np.zeros((len(counts), PLACE_CELLS + 1, PLACE_CELLS + 1), np.int64)
    for rows, columns, sign in ((top, left, 1), (top, right, -1), (bottom, left, -1), (bottom, right, 1)):
        np.add.at(corners, (gender, rows, columns), sign)
    counts += corners.cumsum(1).cumsum(2)[:, :-1, :-1]
