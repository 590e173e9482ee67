"""A column of images or videos of anything that `datasets` loads, as items to annotate."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from thermvision.annotations.errors import RemoteError, UsageError

from .inputs import IMAGES_A_CHUNK, Chunk, Input, Item, PixelReading, item_of


def dataset_input(
    source: str, column: str, config: str | None, split: str | None, limit: int | None, reading: PixelReading
) -> Input:
    """Rows of an image or video column of anything that `datasets` loads; items are named ``<split>/<row>``."""
    data = _load_dataset(source, config, split)
    chunks = []
    for name, rows in data.items():
        if column not in rows.column_names:
            raise UsageError(f"{source} has no column {column!r}; it has: {', '.join(rows.column_names)}")
        is_video, opened = _undecoded(rows, column)
        size = 1 if is_video else IMAGES_A_CHUNK
        count = min(len(rows), limit) if limit is not None else len(rows)
        for start in range(0, count, size):
            numbers = range(start, min(start + size, count))
            ids = tuple(f"{name}/{n:06d}" for n in numbers)
            read = partial(_column_items, opened, column, numbers, ids, is_video, reading)
            content = [vars(reading), rows._fingerprint, column, name, start]
            chunks.append(Chunk(f"{name}-{start:07d}", content, ids, len(ids), read))
    if not chunks:
        raise UsageError(f"{source} has no rows; nothing was read")
    return Input(source, tuple(chunks))


def _load_dataset(source: str, config: str | None, split: str | None) -> dict[str, Any]:
    from datasets import load_dataset
    from datasets.exceptions import DataFilesNotFoundError, DatasetNotFoundError

    try:
        if split is not None:
            return {split: load_dataset(source, config, split=split)}
        return dict(load_dataset(source, config))
    except (DatasetNotFoundError, DataFilesNotFoundError, FileNotFoundError) as error:
        raise UsageError(f"{source} cannot be loaded by `datasets` ({_first_line(error)}); check its name") from error
    except ValueError as error:  # an unknown config or split; `datasets` lists the allowed ones
        raise UsageError(f"{source}: {_first_line(error)}; choose with --config and --split") from error
    except ConnectionError as error:
        raise RemoteError(f"the Hub cannot be reached for {source} ({_first_line(error)}); try again") from error


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _undecoded(rows: Any, column: str) -> tuple[bool, Any]:
    """Whether a column holds videos, and the rows with that column as ``{bytes, path}``."""
    from datasets import Image, Video

    kind, only = rows.features[column], rows.select_columns([column])
    if isinstance(kind, (Image, Video)):
        return isinstance(kind, Video), only.cast_column(column, type(kind)(decode=False))
    raise UsageError(f"column {column!r} is {kind}; allowed: a column of Image() or Video()")


def _column_items(
    rows: Any, column: str, numbers: Sequence[int], ids: Sequence[str], is_video: bool, reading: PixelReading
) -> Iterator[Item]:
    for item_id, number in zip(ids, numbers, strict=True):
        value = rows[number][column]
        data: bytes | Path = value["bytes"] if value["bytes"] is not None else Path(value["path"])
        suffix = Path(value["path"] or "").suffix or (".mp4" if is_video else ".png")
        yield item_of(item_id, f"{item_id}{suffix}", data, is_video, reading)
