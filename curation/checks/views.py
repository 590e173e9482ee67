"""Items and frames as the checks see them: labels from rows, pixels streamed, and what a detector says where asked.

A frame is in memory only while it is looked at, and `BLOCK` frames are read ahead for the detector.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from thermvision.annotations.errors import DamagedInputError, UsageError
from thermvision.annotations.faces import Gray
from thermvision.annotations.picture_file import picture_from_bytes, read_picture
from thermvision.annotations.schema import ATTRIBUTES, FrameAnnotation

from ..inputs import Chunk, Input, PixelReading, announced, is_release, open_input, source_input
from ..item_faces import Annotates
from ..pack import MEDIA
from ..sources import ReleaseSource
from ..video import each_frame
from .kinds import FrameView, ItemView

BLOCK = 16  # frames read ahead
AS_STORED = PixelReading(polarity="white-hot")  # black-hot pixels stay so: that is for a check to find
Pair = tuple[NDArray[np.uint8], Gray]  # pixels as decoded and gray


@dataclass(frozen=True)
class Looking:
    """How frames are looked at.

    Attributes:
        annotator: finds the faces of items without landmarks, and says what it finds in some of the others; None:
            nobody is asked.
        every: one of so many frames of a clip is checked by itself; sequence checks see all.
        ask_every: one of so many frames of a labelled clip is shown to the annotator; those without a box and stills
            always are.
    """

    annotator: Annotates | None = None
    every: int = 1
    ask_every: int = 12


@dataclass(frozen=True, eq=False)
class Viewed:
    """An item and the way to its frames.

    Attributes:
        item: without pixels.
        frames: opens it and gives its frames one by one; raises `DamagedInputError` where it does not decode.
        subject_id: "" for files.
        fps: frames a second that a clip's own file announces; None where it does not.
    """

    item: ItemView
    frames: Callable[[], Iterator[FrameView]]
    subject_id: str = ""
    fps: float | None = None


class ReadableSource(ReleaseSource):
    """A release of which only the shards are read that can be: what is wrong with the others is a finding by itself."""

    def parts(self, config: str) -> dict[str, list[Any]]:
        found = {split: [p for p in parts if self._opens(p)] for split, parts in super().parts(config).items()}
        return {split: parts for split, parts in found.items() if parts}

    def contents(self, config: str, part: Any) -> list[tuple[str, int]]:
        try:
            listed = super().contents(config, part)
        except (pa.ArrowException, OSError, KeyError):
            return []
        return [(str(item_id), int(count or 0)) for item_id, count in listed]

    def _opens(self, part: Any) -> bool:
        try:
            return pq.ParquetFile(self.root / part).metadata.num_rows > 0
        except (pa.ArrowException, OSError):
            return False


def open_checked(source: str, config: str | None = None, split: str | None = None, limit: int | None = None) -> Input:
    """What is checked of ``source``: as `thermvision.curation.inputs.open_input`, but shards may be broken.

    Raises:
        UsageError: there is nothing to check there.
        DamagedInputError: a manifest or archive is broken.
    """
    path = Path(source)
    if not path.is_dir() or not is_release(path):
        return open_input(source, config=config, split=split, limit=limit, reading=AS_STORED)
    readable = ReadableSource(path)
    if config is None and split is None and not any(readable.parts(c) for c in readable.configs if c != "frames"):
        return Input(path.resolve().name, (), source=readable)  # nothing but findings about its files
    return source_input(readable, config, split, limit)


def each_view(source: str, chunk: Chunk, looking: Looking) -> Iterator[Viewed]:
    """The items of a chunk of `open_checked` of ``source``.

    Raises:
        DamagedInputError: a shard does not decode.
    """
    if chunk.content and isinstance(chunk.content[0], Mapping):  # files: what decides how they are read comes first
        root = Path(source) if Path(source).is_dir() else Path(source).parent
        for name in chunk.item_ids:
            yield _file(name, root / name, chunk.key.startswith("video"), looking)
        return
    _, config, split = chunk.content[:3]
    items = chunk.read()
    while True:
        try:
            item = next(items)
        except StopIteration:
            return
        except (pa.ArrowException, OSError, KeyError, ValueError, TypeError) as error:
            raise DamagedInputError(f"a shard of {config} {split} does not decode: {error}") from error
        if item.row is not None:
            yield view_row(config, split, item.row, looking)


def view_row(config: str, split: str, row: Mapping[str, Any], looking: Looking) -> Viewed:
    """A row of ``video``, a category or ``scenes``; of a scene the largest face is the main one.

    >>> row = {"image_id": "a", "width": 9, "height": 8, "bbox": [1, 2, 3, 4], "image": {"bytes": b"", "path": None}}
    >>> viewed = view_row("beard", "train", row, Looking())
    >>> viewed.item.bbox.tolist(), viewed.item.num_frames, viewed.item.landmarks
    ([[1.0, 2.0, 3.0, 4.0]], 1, None)
    """
    if config == "scenes":
        row = _main_of_scene(row)
    is_video = config == "video"
    medium = row.get("video" if is_video else "image") or {}
    plain = {name: value for name, value in row.items() if name not in MEDIA}
    item = ItemView(
        item_id=str(row.get("clip_id" if is_video else "image_id")),
        config=config,
        split=split,
        is_video=is_video,
        row=plain,
        fps=row.get("fps") if is_video else None,
        num_frames=int(row.get("num_frames") or 0) if is_video else 1,
        width=int(row.get("width") or 0),
        height=int(row.get("height") or 0),
        bbox=_over_frames(row.get("bbox"), is_video, (4,), np.float32),
        landmarks=_over_frames(row.get("landmarks"), is_video, (68, 2), np.float32),
        states=_over_frames(row.get("landmark_state"), is_video, (68,), np.uint8),
        pose=_over_frames(row.get("head_pose"), is_video, (3,), np.float32),
        face_count=_over_frames(row.get("face_count"), is_video, (), np.uint8),
    )
    data = medium.get("bytes") or b""
    attributes = stated_attributes(row)
    return Viewed(
        item,
        lambda: each_frame_view(item, _stored(data, is_video, item.item_id), looking, attributes),
        str(row.get("subject_id") or ""),
        announced(data)[1] if is_video else None,
    )


def stated_attributes(row: Mapping[str, Any]) -> dict[str, str]:
    """Class names of the attributes that a row states; a number without a name states nothing.

    >>> stated_attributes({"glasses": 1, "mask": None, "beard": 99})
    {'glasses': 'glasses'}
    """
    stated = {}
    for name, names in ATTRIBUTES.items():
        value = row.get(name)
        if isinstance(value, int) and 0 <= value < len(names):
            stated[name] = names[value]
    return stated


def each_frame_view(
    item: ItemView, pairs: Iterable[Pair], looking: Looking, attributes: Mapping[str, str] | None = None
) -> Iterator[FrameView]:
    """The frames of an item with their labels, or with what the annotator finds where those have no landmarks."""
    shared = FrameView(0, np.zeros((0, 0), np.uint8), np.zeros((0, 0), np.uint8), attributes=attributes or {})
    if item.landmarks is None and looking.annotator is not None:
        yield from _found(item, pairs, looking.annotator, shared)
    else:
        yield from _labelled(item, pairs, looking, shared)


def _labelled(item: ItemView, pairs: Iterable[Pair], looking: Looking, shared: FrameView) -> Iterator[FrameView]:
    rest, index = iter(pairs), 0
    while block := list(islice(rest, BLOCK)):
        views = []
        for pixels, gray in block:
            views.append(replace(shared, index=index, pixels=pixels, gray=gray, **_labels(item, index)))
            index += 1
        if looking.annotator is not None:
            asked = [k for k, v in enumerate(views) if _to_ask(item, v, looking.ask_every)]
            faces = looking.annotator.all_faces(views[k].gray for k in asked)
            for k, (found, _) in zip(asked, faces, strict=True):
                boxes = np.array([f.bbox for f in found], np.float32).reshape(-1, 4)
                views[k] = replace(views[k], found_boxes=boxes)
        yield from views


def _to_ask(item: ItemView, view: FrameView, every: int) -> bool:
    return not item.is_video or view.index % every == 0 or (view.bbox is None and item.bbox is not None)


def _found(item: ItemView, pairs: Iterable[Pair], annotator: Annotates, shared: FrameView) -> Iterator[FrameView]:
    waiting: deque[Pair] = deque()

    def grays() -> Iterator[Gray]:
        for pixels, gray in pairs:
            waiting.append((pixels, gray))
            yield gray

    faces = annotator.main_faces(grays(), video=item.is_video)
    for index, (annotation, said) in enumerate(faces):
        pixels, gray = waiting.popleft()
        labels = _of_annotation(annotation)
        if item.bbox is not None:
            labels["bbox"] = _labels(item, index)["bbox"]
        known = {**{name: label for name, (label, _) in said.items() if name in ATTRIBUTES}, **shared.attributes}
        yield replace(shared, index=index, pixels=pixels, gray=gray, labelled=False, attributes=known, **labels)


def _of_annotation(annotation: FrameAnnotation) -> dict[str, Any]:
    seen = annotation.face_count > 0 and bool(np.isfinite(annotation.bbox).all())
    boxes = np.concatenate([annotation.bbox[None], annotation.extra_bboxes]) if seen else np.zeros((0, 4), np.float32)
    return {
        "bbox": annotation.bbox if seen else None,
        "landmarks": annotation.landmarks if seen else None,
        "states": annotation.landmark_state if seen else None,
        "pose": annotation.head_pose if seen else None,
        "found_boxes": boxes,
    }


def _labels(item: ItemView, index: int) -> dict[str, Any]:
    """What the row says of one frame; parts of a box, points or pose that are no number make it unknown."""

    def at(values: NDArray[Any] | None) -> NDArray[Any] | None:
        if values is None or index >= len(values) or not np.isfinite(values[index]).all():
            return None
        value: NDArray[Any] = values[index]
        return value

    landmarks = at(item.landmarks)
    states = at(item.states) if landmarks is not None else None
    return {"bbox": at(item.bbox), "landmarks": landmarks, "states": states, "pose": at(item.pose)}


def _over_frames(value: Any, is_video: bool, shape: tuple[int, ...], dtype: Any) -> NDArray[Any] | None:
    """A column over frames as (N, *shape); a frame of which nothing is known is NaN (0 where there is none)."""
    if value is None:
        return None
    unknown = np.full(shape, np.nan if np.issubdtype(dtype, np.floating) else 0, dtype)
    rows = []
    for one in value if is_video else [value]:
        try:
            array = np.asarray(one, np.float64 if one is not None else dtype)
        except (TypeError, ValueError):
            array = unknown
        rows.append(array.astype(dtype) if one is not None and array.shape == shape else unknown)
    return np.stack(rows) if rows else np.zeros((0, *shape), dtype)


def _main_of_scene(row: Mapping[str, Any]) -> dict[str, Any]:
    """A scene as a still of its largest face; the others' boxes are its further ones."""
    faces = {name: value for name, value in (row.get("faces") or {}).items() if isinstance(value, list)}
    plain = {name: value for name, value in row.items() if name != "faces"}
    boxes = np.array([b or [np.nan] * 4 for b in faces.get("bbox", [])], np.float32).reshape(-1, 4)
    if not len(boxes):
        return plain
    main = int(np.nan_to_num(boxes[:, 2] * boxes[:, 3]).argmax())
    one = {name: value[main] for name, value in faces.items() if len(value) == len(boxes)}
    return {**plain, **one, "extra_bboxes": np.delete(boxes, main, axis=0).tolist()}


def _stored(data: bytes, is_video: bool, name: str) -> Iterator[Pair]:
    """Frames of a release or archive: gray as they are, colour by its luma."""
    decoded: Iterable[NDArray[Any]] = each_frame(data) if is_video else [picture_from_bytes(data, name)]
    for frame in decoded:
        if frame.dtype != np.uint8:
            raise DamagedInputError(f"{name}: a frame is {frame.dtype}; allowed in a release: 8-bit gray")
        pixels = frame.astype(np.uint8, copy=False)
        if pixels.ndim == 2:
            yield pixels, pixels
        else:
            yield pixels, np.asarray(cv2.cvtColor(pixels[..., :3], cv2.COLOR_RGB2GRAY), np.uint8)


def _file(name: str, path: Path, is_video: bool, looking: Looking) -> Viewed:
    item = ItemView(item_id=name, config="", split="", is_video=is_video, row={}, fps=None, num_frames=0, width=0,
                    height=0)  # fmt: skip

    def raw() -> Iterator[NDArray[Any]]:
        try:
            yield from each_frame(path) if is_video else [read_picture(path)]
        except UsageError as error:  # it was there when the folder was listed
            raise DamagedInputError(str(error)) from error

    return Viewed(item, lambda: each_frame_view(item, _decoded(raw()), looking))


def _decoded(raw: Iterator[NDArray[Any]], reading: PixelReading = AS_STORED) -> Iterator[Pair]:
    """Somebody's pixels with their gray; what has more than 8 bits is shown by its gray."""
    last: list[NDArray[Any]] = []

    def tapped() -> Iterator[NDArray[Any]]:
        for pixels in raw:
            last.append(pixels)
            yield pixels

    for gray in reading.frames(tapped()):
        pixels = last.pop()
        yield (pixels if pixels.dtype == np.uint8 and pixels.ndim in (2, 3) else gray), gray
