"""Rows that follow an item: those of ``frames`` and ``radiometric``, when the row of its clip or still has changed."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from thermvision.annotations.schema import ATTRIBUTES, FRAME_COLUMNS

from .cutting import cut_radiometric
from .pack import MEDIA, to_table

_SHARED = ("subject_id", "identity", "gender", *ATTRIBUTES, "annotation_source")

Row = dict[str, Any]


class Labels:
    """Rows of items without their media, from shards below ``root``; a shard that is not there has none."""

    def __init__(self, root: Path, paths: Mapping[str, str]) -> None:
        self._tables: dict[str, tuple[pa.Table, int]] = {}
        for path in sorted(set(paths.values())):
            if not (root / path).is_file():
                continue
            names = [n for n in pq.read_schema(root / path).names if n not in MEDIA]
            table = pq.read_table(root / path, columns=names)
            key = next(n for n in ("clip_id", "image_id") if n in names)
            self._tables |= {name: (table, n) for n, name in enumerate(table[key].to_pylist()) if name in paths}

    def row(self, item_id: str) -> Row | None:
        """The row of an item as plain values; None where there is none."""
        if item_id not in self._tables:
            return None
        table, position = self._tables[item_id]
        row: Row = table.slice(position, 1).to_pylist()[0]
        return row


def frames_anew(
    table: pa.Table, ids: Collection[str], here: Collection[str], new: Labels, identities: Sequence[str]
) -> Iterator[pa.Table]:
    """A shard of ``frames`` in pieces: rows of ``ids`` go, and those ``here`` are made from their items' new rows.

    They take the place of the first of the old ones, or the end where there was none.
    """
    names = table["item_id"].to_pylist()
    done: set[str] = set()

    def anew(name: str) -> Iterator[pa.Table]:
        done.add(name)
        if name in here and (item := new.row(name)) is not None:
            yield to_table("frames", frame_rows(item), identities)

    start = 0
    for position, name in enumerate([*names, None]):
        if name is None or name in ids:
            if position > start:
                yield table.slice(start, position - start)
            start = position + 1
            if name is not None and name not in done:
                yield from anew(name)
    for name in sorted(set(here) - done):
        yield from anew(name)


def frame_rows(item: Row) -> list[Row]:
    """The rows of ``frames`` for the row of a clip or still, without its medium or with it."""
    shared = {name: item.get(name) for name in (*_SHARED, "width", "height")}
    clip = "clip_id" in item
    shared |= {
        "item_id": item["clip_id"] if clip else item["image_id"],
        "sequence": item.get("sequence"),
        "category": item.get("category"),
    }
    rows = []
    for k in range(item["num_frames"] if clip else 1):
        labels = {name: _at(item[name], k) if clip else item[name] for name in FRAME_COLUMNS}
        rows.append({**shared, "frame_index": k, **labels})
    return rows


def _at(values: Sequence[Any] | None, frame: int) -> Any:
    return values[frame] if values is not None and frame < len(values) else None


def radiometric_anew(
    table: pa.Table,
    ids: Collection[str],
    cuts: Mapping[str, tuple[int, int]],
    old: Labels,
    new: Labels,
    identities: Sequence[str],
) -> Iterator[pa.Table]:
    """A shard of ``radiometric`` in pieces: rows are dropped and cut with their items, and take over what changed."""
    for position, name in enumerate(table["item_id"].to_pylist()):
        piece = table.slice(position, 1)
        if name not in ids:
            yield piece
            continue
        if (item := new.row(name)) is None:
            continue
        (row,) = piece.to_pylist()
        before = old.row(name) or {}
        if name in cuts:
            first, last = cuts[name]
            row = cut_radiometric(row, first, last)
            before |= {n: before[n][first : last + 1] for n in FRAME_COLUMNS if before.get(n) is not None}
        for column in (*_SHARED, "sequence", "category", *FRAME_COLUMNS):
            # text, since NaN is not equal to itself
            if column in item and repr(item[column]) != repr(before.get(column)):
                row[column] = _listed(item, column, row["frame_index"]) if column in FRAME_COLUMNS else item[column]
        if row["frame_index"]:
            yield to_table("radiometric", [row], identities)


def _listed(item: Row, column: str, frames: Sequence[int]) -> list[Any] | None:
    """A column of the annotations of a frame as ``radiometric`` has it, a list over ``frames`` also for a still."""
    if item[column] is None:
        return None
    return [_at(item[column], k) for k in frames] if "clip_id" in item else [item[column]] * len(frames)
