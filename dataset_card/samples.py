"""A few rows of a release for its previews: spread over subjects, chosen without chance, without reading all pixels."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from thermvision.annotations.errors import DamagedInputError
from thermvision.annotations.palettes import PALETTES, apply_palette
from thermvision.annotations.schema import EXPRESSIONS, FRAME_COLUMNS, SEQUENCES, FrameAnnotation
from thermvision.curation.pack import Shard
from thermvision.curation.release import Manifest
from thermvision.curation.video import decode_gray

MAX_CLIPS_LISTED = 20_000  # enough to choose from; listing more would only take time


@dataclass(frozen=True)
class Row:
    """One row of a release: its shard, its place in it, and the columns that were read."""

    shard: Shard
    index: int
    values: Mapping[str, Any]


def list_rows(root: Path, shards: Sequence[Shard], columns: Sequence[str]) -> Iterator[Row]:
    """Every row of ``shards`` with the named columns only.

    Raises:
        DamagedInputError: a shard cannot be read.
    """
    for shard in shards:
        for index, values in enumerate(_read(root / shard.path, columns).to_pylist()):
            yield Row(shard, index, values)


def read_row(root: Path, row: Row) -> dict[str, Any]:
    """All columns of one row.

    Raises:
        DamagedInputError: its shard cannot be read.
    """
    values: dict[str, Any] = _read(root / row.shard.path, None).slice(row.index, 1).to_pylist()[0]
    return values


def _read(path: Path, columns: Sequence[str] | None) -> pa.Table:
    try:
        return pq.read_table(path, columns=columns, partitioning=None)
    except (pa.ArrowException, OSError) as error:
        raise DamagedInputError(f"{path} does not read as Parquet ({error}); run: thermvision verify") from error


def spread(items: Sequence[Row], count: int, key: str = "subject_id") -> list[Row]:
    """``count`` rows in their order, from as many subjects as there are, evenly spaced among them.

    A subject gives a second row only when every subject has given one.
    """
    seen: dict[Any, int] = {}
    rounds = []
    for place, row in enumerate(items):
        turn = seen[row.values[key]] = seen.get(row.values[key], -1) + 1
        rounds.append((turn, place))
    chosen: list[int] = []
    for turn in sorted({t for t, _ in rounds}):
        places = [place for t, place in rounds if t == turn]
        chosen += evenly(places, count - len(chosen))
    return [items[place] for place in sorted(chosen)]


def evenly(items: Sequence[Any], count: int) -> list[Any]:
    """Up to ``count`` of ``items``, the first among them, at equal steps.

    >>> evenly(range(10), 5), evenly("ab", 5)
    ([0, 2, 4, 6, 8], ['a', 'b'])
    """
    count = max(0, min(count, len(items)))
    return [items[i * len(items) // count] for i in range(count)]


def stills(root: Path, manifest: Manifest, category: str, count: int) -> list[dict[str, Any]]:
    """Up to ``count`` rows of a category, over as many subjects as possible."""
    rows = list(list_rows(root, manifest.shards_of(category), ["image_id", "subject_id"]))
    return [read_row(root, row) for row in spread(rows, count)]


def clips(root: Path, manifest: Manifest, subjects: int) -> list[dict[str, Any]]:
    """One clip a sequence of up to ``subjects`` subjects, genders alternating, a subject's clips side by side."""
    shards = manifest.shards_of("video")
    while sum(s.rows for s in shards) > MAX_CLIPS_LISTED:
        shards = shards[: len(shards) // 2]
    rows = list(list_rows(root, shards, ["clip_id", "subject_id", "gender", "sequence"]))
    by_gender: dict[Any, list[str]] = {}
    for row in rows:
        known = by_gender.setdefault(row.values["gender"], [])
        if row.values["subject_id"] not in known:
            known.append(row.values["subject_id"])
    lists = list(by_gender.values())
    longest = max(map(len, lists), default=0)
    alternating = [known[i] for i in range(longest) for known in lists if i < len(known)]
    wanted = alternating[:subjects]
    first: dict[tuple[str, Any], Row] = {}
    for row in rows:
        first.setdefault((row.values["subject_id"], row.values["sequence"]), row)
    places = range(len(SEQUENCES))
    return [read_row(root, first[s, k]) for s in wanted for k in (*places, None) if (s, k) in first]


def annotation_of(row: Mapping[str, Any], index: int | None = None) -> FrameAnnotation:
    """The annotation of a still's row, or of frame ``index`` of a clip's row."""
    known: dict[str, Any] = {}
    for name in FRAME_COLUMNS:
        value = row.get(name)
        known[name] = value if index is None or value is None else value[index]
    expression = known["expression"]
    known |= {
        "bbox": np.full(4, np.nan) if known["bbox"] is None else known["bbox"],
        "face_count": known["face_count"] or 0,
        "extra_bboxes": known["extra_bboxes"] or [],
        "expression": EXPRESSIONS[expression] if expression in range(len(EXPRESSIONS)) else None,
    }
    return FrameAnnotation(source=row.get("annotation_source") or "", **known)


def scaled(annotation: FrameAnnotation, factor: float) -> FrameAnnotation:
    """The annotation of a frame that was enlarged by ``factor``."""
    return replace(
        annotation,
        bbox=annotation.bbox * factor,
        extra_bboxes=annotation.extra_bboxes * factor,
        landmarks=None if annotation.landmarks is None else annotation.landmarks * factor,
    )


def still_gray(row: Mapping[str, Any]) -> NDArray[np.uint8]:
    """Gray (H, W) uint8 of a still's row.

    Raises:
        DamagedInputError: its image does not decode.
    """
    return _decoded(row["image"]["bytes"], cv2.IMREAD_GRAYSCALE, row["image_id"]).astype(np.uint8)


def clip_gray(row: Mapping[str, Any], indices: Sequence[int]) -> NDArray[np.uint8]:
    """Gray (N, H, W) uint8 of the frames ``indices`` of a clip's row."""
    return decode_gray(row["video"]["bytes"], indices)


def coloured(row: Mapping[str, Any], gray: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """``gray`` (..., H, W) of a row as it is meant to be looked at: in the palette that its recipe recorded.

    Colours (..., 3) for a palette; gray as it is where none, or white-hot, is recorded.
    """
    palette, polarity = _looks(row)
    if palette not in PALETTES or palette == "white-hot":
        return gray
    return apply_palette(255 - gray if polarity == "black-hot" else gray, palette)


def is_black_hot(row: Mapping[str, Any]) -> bool:
    """Whether warm is dark where a row is shown, as far as its provenance says."""
    return "black-hot" in _looks(row)


def _looks(row: Mapping[str, Any]) -> tuple[Any, Any]:
    """Palette and polarity of a row's provenance, None where it does not say."""
    try:
        recorded = json.loads(row.get("provenance") or "{}")["resolved"]["parameters"]
        return recorded.get("palette"), recorded.get("polarity")
    except (ValueError, KeyError, TypeError, AttributeError):  # provenance of another maker
        return None, None


def celsius(image: Mapping[str, Any], item: str) -> NDArray[np.float32]:
    """Temperatures (H, W) in °C of a 16-bit PNG that holds 100 × kelvin.

    Raises:
        DamagedInputError: the image does not decode.
    """
    return (_decoded(image["bytes"], cv2.IMREAD_UNCHANGED, item).astype(np.float32) / 100 - 273.15).astype(np.float32)


def _decoded(data: bytes | None, flags: int, item: str) -> NDArray[Any]:
    try:
        array = cv2.imdecode(np.frombuffer(data, np.uint8), flags) if data else None
    except cv2.error:  # more pixels than OpenCV allows
        array = None
    if array is None:
        raise DamagedInputError(f"the image of {item} does not decode; run: thermvision verify")
    return array
