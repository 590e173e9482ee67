"""Every item of a source read once: digests and hashes of its frames, vectors and crops of its faces, in flat arrays.

Memory: about 45 bytes a frame and 600 bytes a face looked at. The crops (4 kB each) lie in a file of their own.
"""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from thermvision.annotations.conventions import five_points
from thermvision.annotations.errors import DamagedInputError
from thermvision.annotations.findings import Finding

from ..inputs import Chunk, Item
from ..runners import worker_pool
from . import faces
from .descriptors import CROP, HASH_BYTES, VECTOR_SIZE, face_vector, frame_digest, frame_hash, upright_face

FRAMES_PER_CLIP = 8  # whose faces are looked at; all frames are hashed
EMBEDDING = 128
T = TypeVar("T")


@dataclass(frozen=True)
class Models:
    """What finds and embeds faces; module-level functions, since they cross process borders."""

    find: faces.FindPoints = faces.find_points
    embed: faces.Embed = faces.embed


@dataclass
class Described:
    """Items and their frames as flat arrays.

    Attributes:
        items, subjects, splits: of each item, "" where not known.
        is_video: (I,) bool.
        starts: (I + 1,) int64: frames of item i are ``starts[i]:starts[i + 1]``.
        digests: (F,) uint64 and ``hashes`` (F, 32) uint8 of all frames.
        face_items, face_frames: (K,) int32, the item and frame of each face looked at.
        vectors: (K, 128) float16, `descriptors.face_vector`.
        embeddings: (K, 128) float16 of unit length.
        crops: (K, 64, 64) uint8, upright faces; a memory map when there are many.
        findings: items that did not decode.
    """

    items: list[str] = field(default_factory=list)
    subjects: list[str] = field(default_factory=list)
    splits: list[str] = field(default_factory=list)
    is_video: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, np.bool_))
    starts: NDArray[np.int64] = field(default_factory=lambda: np.zeros(1, np.int64))
    digests: NDArray[np.uint64] = field(default_factory=lambda: np.zeros(0, np.uint64))
    hashes: NDArray[np.uint8] = field(default_factory=lambda: np.zeros((0, HASH_BYTES), np.uint8))
    face_items: NDArray[np.int32] = field(default_factory=lambda: np.zeros(0, np.int32))
    face_frames: NDArray[np.int32] = field(default_factory=lambda: np.zeros(0, np.int32))
    vectors: NDArray[np.float16] = field(default_factory=lambda: np.zeros((0, VECTOR_SIZE), np.float16))
    embeddings: NDArray[np.float16] = field(default_factory=lambda: np.zeros((0, EMBEDDING), np.float16))
    crops: NDArray[np.uint8] = field(default_factory=lambda: np.zeros((0, CROP, CROP), np.uint8))
    findings: tuple[Finding, ...] = ()

    @property
    def frames(self) -> int:
        """How many frames were read."""
        return len(self.digests)

    def of_item(self, index: int) -> slice:
        """The frames of an item."""
        return slice(int(self.starts[index]), int(self.starts[index + 1]))


def sampled(count: int, wanted: int) -> list[int]:
    """Up to ``wanted`` frames of ``count``, evenly spread, the first always among them.

    >>> sampled(354, 4), sampled(2, 4)
    ([0, 88, 177, 265], [0, 1])
    """
    return sorted({int(k * count / wanted) for k in range(wanted)}) if count > wanted else list(range(count))


def describe_items(items: Iterable[Item], split: str, models: Models, frames_per_clip: int) -> Described:
    """The descriptors of some items; one that does not decode is a finding and has no frames."""
    names: list[tuple[str, str, bool, int]] = []
    digests: list[int] = []
    hashes: list[NDArray[np.uint8]] = []
    looks: list[tuple[int, int, NDArray[np.float32], NDArray[np.float32], NDArray[np.uint8]]] = []
    findings = []
    for item in items:
        count = 0
        announced = int((item.row or {}).get("num_frames") or 0)
        # without a count every 32nd frame is looked at
        wanted = set(sampled(announced, frames_per_clip)) if announced else None
        try:
            for number, gray in enumerate(item.read()):
                digests.append(frame_digest(gray))
                hashes.append(frame_hash(gray))
                count += 1
                if item.is_video and not (number % 32 == 0 if wanted is None else number in wanted):
                    continue
                if (
                    look := describe_face(gray, faces.face_points(gray, item.row, number, models.find), models)
                ) is not None:
                    looks.append((len(names), number, *look))
        except DamagedInputError as error:
            findings.append(Finding(item.item_id, "unreadable", str(error)))
        names.append((item.item_id, str((item.row or {}).get("subject_id") or ""), item.is_video, count))
    return Described(
        items=[n[0] for n in names],
        subjects=[n[1] for n in names],
        splits=[split] * len(names),
        is_video=np.array([n[2] for n in names], np.bool_),
        starts=np.concatenate([[0], np.cumsum([n[3] for n in names], dtype=np.int64)]).astype(np.int64),
        digests=np.array(digests, np.uint64),
        hashes=np.array(hashes, np.uint8).reshape(-1, HASH_BYTES),
        face_items=np.array([x[0] for x in looks], np.int32),
        face_frames=np.array([x[1] for x in looks], np.int32),
        vectors=np.array([x[2] for x in looks], np.float16).reshape(-1, VECTOR_SIZE),
        embeddings=np.array([x[3] for x in looks], np.float16).reshape(len(looks), -1 if looks else EMBEDDING),
        crops=np.array([x[4] for x in looks], np.uint8).reshape(-1, CROP, CROP),
        findings=tuple(findings),
    )


def describe_face(
    gray: NDArray[np.uint8], points: faces.Points | None, models: Models
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.uint8]] | None:
    """Vector, embedding and crop of the face with these landmarks; None without a usable one."""
    if points is None or not faces.usable(points):
        return None
    crop = upright_face(gray, points)
    if crop is None:
        return None
    return face_vector(crop), models.embed(gray, five_points(points)), crop


def describe_chunk(chunk: Chunk, models: Models, frames_per_clip: int) -> Described:
    """`describe_items` of a chunk; runs in any process."""
    parts = chunk.key.split("-")
    split = parts[1] if len(parts) == 3 else ""
    return describe_items(chunk.read(), split, models, frames_per_clip)


def describe(
    chunks: Sequence[Chunk], scratch: Path, models: Models | None = None, *, frames_per_clip: int = FRAMES_PER_CLIP,
    workers: int = 1, quiet: bool = True,
) -> Described:  # fmt: skip
    """All chunks, in their order whatever ``workers`` is; crops go to the file ``scratch``, which the result maps."""
    work = partial(describe_chunk, models=models or Models(), frames_per_clip=frames_per_clip)
    total = sum(c.frames for c in chunks)
    parts: list[Described] = []
    faces_seen = 0
    with scratch.open("wb") as file:
        for part in said(in_order(chunks, work, workers), total, quiet, lambda p: p.frames):
            file.write(part.crops.tobytes())
            faces_seen += len(part.crops)
            part.crops = part.crops[:0]
            parts.append(part)
    joined = join(parts)
    if faces_seen:
        joined.crops = np.memmap(scratch, np.uint8, "r", shape=(faces_seen, CROP, CROP))
    return joined


def join(parts: Sequence[Described]) -> Described:
    """The parts one after the other; the crops of a part that has them are copied."""
    if not parts:
        return Described()
    items = np.cumsum([0, *(len(p.items) for p in parts)])
    frames = np.cumsum([0, *(p.frames for p in parts)])
    embedded = [p.embeddings for p in parts if len(p.embeddings)] or [parts[0].embeddings]
    return Described(
        items=[i for p in parts for i in p.items],
        subjects=[i for p in parts for i in p.subjects],
        splits=[i for p in parts for i in p.splits],
        is_video=np.concatenate([p.is_video for p in parts]),
        starts=np.concatenate([[0], *(p.starts[1:] + f for p, f in zip(parts, frames, strict=False))]).astype(np.int64),
        digests=np.concatenate([p.digests for p in parts]),
        hashes=np.concatenate([p.hashes for p in parts]),
        face_items=np.concatenate([p.face_items + i for p, i in zip(parts, items, strict=False)]).astype(np.int32),
        face_frames=np.concatenate([p.face_frames for p in parts]),
        vectors=np.concatenate([p.vectors for p in parts]),
        embeddings=np.concatenate(embedded),
        crops=np.concatenate([p.crops for p in parts]),
        findings=tuple(f for p in parts for f in p.findings),
    )


def said(parts: Iterable[T], total: int, quiet: bool, count: Callable[[T], int]) -> Iterator[T]:
    """The parts, with a line on stderr every few seconds."""
    done, began, last = 0, time.monotonic(), time.monotonic()
    for part in parts:
        done += count(part)
        if not quiet and time.monotonic() - last > 5:
            last = time.monotonic()
            speed = done / (last - began)
            left = (total - done) / max(speed, 1e-9)
            print(f"frames {done}/{total}, {speed:.0f} frames/s, {left:.0f} s left", file=sys.stderr, flush=True)
        yield part


def in_order(chunks: Sequence[Chunk], work: Callable[[Chunk], T], workers: int) -> Iterator[T]:
    """``work`` of each chunk in order; at most two chunks a worker are under way."""
    if workers <= 1 or len(chunks) <= 1:
        yield from map(work, chunks)
        return
    waiting: deque[Future[T]] = deque()
    with worker_pool(min(workers, len(chunks))) as pool:
        for chunk in chunks:
            waiting.append(pool.submit(work, chunk))
            if len(waiting) >= 2 * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
