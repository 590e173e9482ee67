"""A sample of a release, read once: small views of a few frames of each recording, and embeddings of them.

Memory: 56 kB a frame, so 0.25 GB for 150 people in two clips and five stills at 12 frames a clip; it does not grow with
the release, since only so many people and recordings of each are drawn.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from thermvision.annotations.alignment import ALIGNED_SIZE, resize
from thermvision.annotations.errors import DamagedInputError
from thermvision.annotations.faces import Detections
from thermvision.annotations.schema import CATEGORIES

from ..duplicates.describe import in_order, said
from ..evaluation.frames import evenly_spread
from ..inputs import Chunk, Item, row_item
from ..sources import ReleaseSource
from ..video import decode_gray
from .regions import SIDE, VIEWS, first_views, views

NAMES = tuple(f"{condition}/{view}" for condition, parts in VIEWS.items() for view in parts)
FIRST_NAMES = ("first/frame", "first/aligned")
EMBEDDED = tuple(n for n in (*NAMES, *FIRST_NAMES) if n not in ("masked/above", "masked/beside"))
EMBEDDING = 128
MOST_CLIPS, MOST_STILLS = 4, 8  # of a person


@dataclass(frozen=True)
class Plan:
    """What is read of a release.

    Attributes:
        root: of the release.
        people: subject ids that are looked at.
        frames: of each clip, evenly spread.
        first: frames from the start of each clip.
    """

    root: Path
    people: frozenset[str]
    frames: int = 12
    first: int = 8


@dataclass
class Samples:
    """Frames as flat arrays; all lists and arrays have one entry a frame.

    Attributes:
        subject, item, split, recording: of each frame; a recording is a sequence or category.
        is_clip: whether it is of a clip.
        frame: its number in the item.
        box: (N, 4) float32, the face box in parts of the frame.
        pictures: view to (N, 64, 64) uint8.
        embeddings: view to (N, 128) float16.
        left_out: reason to how many frames or items.
    """

    subject: list[str] = field(default_factory=list)
    item: list[str] = field(default_factory=list)
    split: list[str] = field(default_factory=list)
    recording: list[str] = field(default_factory=list)
    is_clip: list[bool] = field(default_factory=list)
    frame: list[int] = field(default_factory=list)
    box: NDArray[np.float32] = field(default_factory=lambda: np.zeros((0, 4), np.float32))
    pictures: dict[str, NDArray[np.uint8]] = field(default_factory=dict)
    embeddings: dict[str, NDArray[np.float16]] = field(default_factory=dict)
    left_out: dict[str, int] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.frame)


def media_parts(source: ReleaseSource, split: str | None, people: Collection[str], per_clip: int = 1) -> list[Chunk]:
    """A chunk, named ``<config>-<split>-<number>``, for each shard that holds clips or stills which are looked at.

    Of each of ``people`` these are at most `MOST_CLIPS` clips and `MOST_STILLS` stills, evenly spread in reading order.
    Its frames are thought to be ``per_clip`` of each clip and one of each still.

    Raises:
        DamagedInputError: a shard does not read.
    """
    found: dict[tuple[str, bool], list[tuple[str, str]]] = {}  # of a person's clips or stills: chunk and item
    parts: dict[str, tuple[str, str]] = {}
    for config in ("video", *CATEGORIES):
        for name, paths in source.parts(config).items() if config in source.configs else ():
            for number, path in enumerate(paths if split in (None, name) else ()):
                chunk = f"{config}-{name}-{number:05d}"
                parts[chunk] = config, path
                for subject, item in _listed(source, config, path):
                    if subject in people:
                        found.setdefault((subject, config == "video"), []).append((chunk, item))
    chosen: dict[str, set[str]] = {}
    for (_, is_video), listed in found.items():
        for place in evenly_spread(len(listed), MOST_CLIPS if is_video else MOST_STILLS):
            chunk, item = listed[place]
            chosen.setdefault(chunk, set()).add(item)
    chunks = []
    for chunk, (config, path) in parts.items():
        if items := frozenset(chosen.get(chunk, ())):
            frames = len(items) * (per_clip if config == "video" else 1)
            chunks.append(Chunk(chunk, None, (), frames, partial(_items, source.root, config, path, items)))
    return chunks


def _listed(source: ReleaseSource, config: str, path: str) -> list[tuple[str, str]]:
    names = ["subject_id", "clip_id" if config == "video" else "image_id"]
    try:
        table = pq.read_table(source.root / path, columns=names)
        return list(zip(*(table[n].to_pylist() for n in names), strict=True))
    except (OSError, KeyError, pa.ArrowException) as error:
        raise DamagedInputError(f"{path} does not read ({error}); type: thermvision verify {source.root}") from error


def _items(root: Path, config: str, part: str, items: frozenset[str]) -> Iterator[Item]:
    for table in ReleaseSource(root).tables(config, part):
        for row in table.to_pylist():
            if row["clip_id" if config == "video" else "image_id"] in items:
                yield row_item(config, row)


def read_samples(
    source: ReleaseSource, plan: Plan, split: str | None = None, workers: int = 1, quiet: bool = True
) -> tuple[Samples, Samples]:
    """The sampled frames with the views of all conditions, and the first frames of clips with those of "first".

    Raises:
        DamagedInputError: a shard does not read.
    """
    chunks = media_parts(source, split, plan.people, plan.frames)
    parts = in_order(chunks, partial(_sample, plan=plan), workers)
    pairs = list(said(parts, sum(c.frames for c in chunks), quiet, lambda pair: len(pair[0])))
    return _join([a for a, _ in pairs], NAMES), _join([b for _, b in pairs], FIRST_NAMES)


def _sample(chunk: Chunk, plan: Plan) -> tuple[Samples, Samples]:
    config, split = chunk.key.rsplit("-", 2)[:2]
    taken, first = _Collector(NAMES, split), _Collector(FIRST_NAMES, split)
    for item in chunk.read():
        row = item.row or {}
        spread = evenly_spread(int(row["num_frames"]), plan.frames) if item.is_video else [0]
        opening = list(range(min(plan.first, int(row["num_frames"])))) if item.is_video else []
        wanted = sorted({*spread, *opening})
        try:
            frames = decode_gray(row["video"]["bytes"], wanted) if item.is_video else list(item.read())
        except (DamagedInputError, IndexError):
            taken.leave_out("items that do not decode")
            continue
        recording = config if not item.is_video else f"sequence {row.get('sequence')}"
        for number, gray in zip(wanted, frames, strict=False):
            face = _face(row, number, item.is_video, gray)
            if face is None:
                taken.leave_out("frames without a face")
                continue
            facts = (str(row["subject_id"]), item.item_id, recording, item.is_video, number)
            try:
                if number in spread:
                    taken.add(facts, face[0], gray.shape, views(gray, *face))
                if number in opening:
                    first.add(facts, face[0], gray.shape, first_views(gray, face[1]))
            except ValueError:
                taken.leave_out("frames with a face without extent")
    return taken.samples(), first.samples()


class _Collector:
    """Gathers frames of one shard."""

    def __init__(self, names: Sequence[str], split: str) -> None:
        self._names, self._split = names, split
        self._facts: list[tuple[str, str, str, bool, int]] = []
        self._boxes: list[NDArray[np.float32]] = []
        self._pictures: dict[str, list[NDArray[np.uint8]]] = {name: [] for name in names}
        self._vectors: dict[str, list[NDArray[np.float16]]] = {name: [] for name in names if name in EMBEDDED}
        self._left_out: dict[str, int] = {}

    def leave_out(self, reason: str) -> None:
        self._left_out[reason] = self._left_out.get(reason, 0) + 1

    def add(
        self,
        facts: tuple[str, str, str, bool, int],
        bbox: NDArray[np.float32],
        shape: Sequence[int],
        seen: Mapping[str, NDArray[np.uint8]],
    ) -> None:
        crops = np.stack([_sized(seen[name], ALIGNED_SIZE) for name in self._vectors])
        for name, vector in zip(self._vectors, _embedder().embed(crops).astype(np.float16), strict=True):
            self._vectors[name].append(vector)
        for name, pictures in self._pictures.items():
            pictures.append(_sized(seen[name], SIDE))
        self._facts.append(facts)
        self._boxes.append(np.asarray(bbox / np.array([shape[1], shape[0]] * 2), np.float32))

    def samples(self) -> Samples:
        subject, item, recording, is_clip, frame = (
            (list(c) for c in zip(*self._facts, strict=True)) if (self._facts) else ([], [], [], [], [])
        )
        return Samples(
            subject, item, [self._split] * len(subject), recording, is_clip, frame,
            np.array(self._boxes, np.float32).reshape(-1, 4),
            {n: np.array(p, np.uint8).reshape(-1, SIDE, SIDE) for n, p in self._pictures.items()},
            {n: np.array(v, np.float16).reshape(-1, EMBEDDING) for n, v in self._vectors.items()},
            self._left_out,
        )  # fmt: skip


def _join(parts: Sequence[Samples], names: Sequence[str]) -> Samples:
    joined = Samples()
    if not parts:
        return joined
    for part in parts:
        for name in ("subject", "item", "split", "recording", "is_clip", "frame"):
            getattr(joined, name).extend(getattr(part, name))
        for reason, count in part.left_out.items():
            joined.left_out[reason] = joined.left_out.get(reason, 0) + count
    joined.box = np.concatenate([p.box for p in parts])
    for name in names:
        joined.pictures[name] = np.concatenate([p.pictures.pop(name) for p in parts])
        if name in EMBEDDED:
            joined.embeddings[name] = np.concatenate([p.embeddings.pop(name) for p in parts])
    return joined


def _sized(picture: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    if picture.shape[0] == side:
        return picture
    return (
        resize(picture, side, side)
        if picture.shape[0] % side == 0
        else np.asarray(cv2.resize(picture, (side, side), interpolation=cv2.INTER_AREA), np.uint8)
    )


def _face(
    row: Mapping[str, Any], number: int, is_video: bool, gray: NDArray[np.uint8]
) -> tuple[NDArray[np.float32], NDArray[np.float32]] | None:
    """Box and landmarks of the main face: those of the row, the landmarks else as the shipped landmarker puts them."""
    bbox = _value(row.get("bbox"), number, is_video)
    if bbox is None or bbox.shape != (4,) or not np.isfinite(bbox).all() or min(bbox[2:]) < 4:
        return None
    points = _value(row.get("landmarks"), number, is_video)
    if points is None or points.shape != (68, 2) or not np.isfinite(points).all():
        points = _found(gray, bbox)
    return None if points is None else (bbox, points)


def _value(column: Any, number: int, is_video: bool) -> NDArray[np.float32] | None:
    if column is None or (is_video and number >= len(column)):
        return None
    value = column[number] if is_video else column
    if value is None:
        return None
    try:
        return np.array(value, np.float32)
    except (ValueError, TypeError):
        return None


def _found(gray: NDArray[np.uint8], bbox: NDArray[np.float32]) -> NDArray[np.float32] | None:
    nothing = np.full((1, 5, 2), np.nan, np.float32)
    shape = _landmarker().locate(gray, Detections(bbox[None], np.ones(1, np.float32), nothing))[0]
    if shape is None or not np.isfinite(shape.landmarks).all():
        return None
    return np.asarray(shape.landmarks, np.float32)


@cache
def _landmarker() -> Any:
    from thermvision.annotations import registry

    return registry.landmarker()


@cache
def _embedder() -> Any:
    from thermvision.annotations import registry

    return registry.embedder()
