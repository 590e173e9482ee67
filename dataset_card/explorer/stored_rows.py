"""Columns of a release's shards for many readers at once: each is read once and kept in memory of a bounded size.

A shard is one row group, and Parquet gives no single row of it: some 30 MB are read for the first clip of a shard and
nothing for the next ones.
"""

from __future__ import annotations

import threading
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Iterator
from itertools import accumulate
from pathlib import Path
from typing import Any, Generic, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from thermvision.annotations.errors import DamagedInputError
from thermvision.curation.pack import MEDIA
from thermvision.curation.sources import reading_part

MAX_COLUMN_BYTES = 2**30  # of one column of one row group, unpacked
READERS = 2  # columns that are read from disk at once
_BATCH = 16

V = TypeVar("V")


class BoundedCache(Generic[V]):
    """Values by key, the least lately used of them forgotten beyond ``limit`` bytes; what is newest always stays.

    A value that several threads ask for is made once.

    >>> cache = BoundedCache[bytes](10)
    >>> cache.get("a", lambda: b"12345678", len), cache.get("b", lambda: b"1234", len), len(cache)
    (b'12345678', b'1234', 1)
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.bytes = 0
        self._kept: OrderedDict[Hashable, tuple[V, int]] = OrderedDict()
        self._making: dict[Hashable, threading.Lock] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, key: Hashable, make: Callable[[], V], size: Callable[[V], int]) -> V:
        """The value of ``key``, made where it is not there; what ``make`` raises is raised, and kept by nobody."""
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key][0]
            gate = self._making.setdefault(key, threading.Lock())
        with gate:
            with self._lock:
                if key in self._kept:
                    return self._kept[key][0]
            try:
                value = make()
                self._keep(key, value, size(value))
            finally:
                with self._lock:
                    self._making.pop(key, None)
        return value

    def _keep(self, key: Hashable, value: V, size: int) -> None:
        with self._lock:
            self.bytes += size - self._kept.pop(key, (None, 0))[1]
            self._kept[key] = value, size
            while self.bytes > self.limit and len(self._kept) > 1:
                self.bytes -= self._kept.popitem(last=False)[1][1]


class StoredRows:
    """Rows of the shards in the folder ``root``, by path, row and columns; ``memory`` bytes of them are kept.

    >>> StoredRows(Path("release")).path("../secrets.parquet")
    Traceback (most recent call last):
    ...
    thermvision.annotations.errors.DamagedInputError: ../secrets.parquet leads out of the release; allowed: files in it
    """

    def __init__(self, root: Path, memory: int = 3 * 2**26) -> None:
        self.root = root.resolve()
        self._columns = BoundedCache[Any](memory)
        self._footers = BoundedCache[tuple[list[int], list[str]]](2**22)
        self._reading = threading.Semaphore(READERS)

    def path(self, shard: str) -> Path:
        """Where a shard lies.

        Raises:
            DamagedInputError: it is not there, no plain file, or not within the release, also where a link leads out.
        """
        path = self.root / shard
        try:
            inside = path.resolve().is_relative_to(self.root)
            there = inside and path.is_file()
        except (OSError, ValueError) as error:  # ValueError: a null character
            raise DamagedInputError(f"{shard!r} is no name of a file; type: thermvision verify {self.root}") from error
        if not inside:
            raise DamagedInputError(f"{shard} leads out of the release; allowed: files in it")
        if not there:
            raise DamagedInputError(f"{shard} is not there; type: thermvision verify {self.root}")
        return path

    def stamp(self, shard: str) -> tuple[str, int, int]:
        """What changes when the file of a shard does."""
        found = self.path(shard).stat()
        return shard, found.st_mtime_ns, found.st_size

    def labels(self, shard: str, row: int) -> pa.Table:
        """A row of a shard without its media, as a table of one row.

        Raises:
            DamagedInputError: the shard is broken, too large or not there, or has no such row.
        """
        names = self._footer(shard)[1]
        return self._row(shard, row, tuple(name for name in names if name not in MEDIA))

    def columns(self, shard: str, row: int, names: Iterable[str]) -> pa.Table:
        """Those of the columns ``names`` that a shard has, of one row, as a table of one row; errors as of `labels`."""
        have = self._footer(shard)[1]
        return self._row(shard, row, tuple(name for name in names if name in have))

    def value(self, shard: str, row: int, column: str) -> Any:
        """The Arrow scalar of one column of a row; its bytes are not copied.

        Raises:
            DamagedInputError: as of `labels`, or the shard has no such column.
        """
        self._check_column(shard, column)
        return self._row(shard, row, (column,))[column][0]

    def medium(self, shard: str, row: int, column: str) -> bytes | None:
        """The bytes in a column of ``{bytes, path}``; None where there are none. They are kept as they are given.

        Raises:
            DamagedInputError: as of `value`, or the column is another.
        """
        group, place = self._place(shard, row)
        self._check_column(shard, column)
        key = (*self.stamp(shard), group, column, "bytes")
        media: list[bytes | None] = self._columns.get(
            key, lambda: self._media(shard, group, column), lambda kept: sum(len(m or b"") + 100 for m in kept)
        )
        return media[place]

    def _check_column(self, shard: str, column: str) -> None:
        if column not in self._footer(shard)[1]:
            raise DamagedInputError(f"{shard} has no column {column}; type: thermvision check {self.root}")

    def _media(self, shard: str, group: int, column: str) -> list[bytes | None]:
        found: list[bytes | None] = []
        for batch in self._batches(shard, group, (column,)):
            kind = batch.column(0).type
            place = kind.get_field_index("bytes") if pa.types.is_struct(kind) else -1
            if place < 0 or not pa.types.is_binary(kind.field(place).type):
                raise DamagedInputError(f"{shard}: {column} is stored as {kind}; allowed: bytes and path")
            found += batch.column(0).flatten()[place].to_pylist()
        pa.default_memory_pool().release_unused()
        return found

    def _row(self, shard: str, row: int, names: tuple[str, ...]) -> pa.Table:
        group, place = self._place(shard, row)
        key = (*self.stamp(shard), group, names)
        table = self._columns.get(key, lambda: self._read(shard, group, names), lambda t: max(t.nbytes, 1))
        return table.slice(place, 1)

    def _place(self, shard: str, row: int) -> tuple[int, int]:
        """Row group of a row, and its place in that."""
        ends = self._footer(shard)[0]
        if not 0 <= row < (ends[-1] if ends else 0):
            raise DamagedInputError(f"{shard} has no row {row}; type: thermvision verify {self.root}")
        group = bisect_right(ends, row)
        return group, row - (ends[group - 1] if group else 0)

    def _footer(self, shard: str) -> tuple[list[int], list[str]]:
        """Row numbers at which the row groups of a shard end, and the names of its columns."""

        def read() -> tuple[list[int], list[str]]:
            with reading_part(self.root, shard), pq.ParquetFile(self.path(shard)) as file:
                found = file.metadata
                ends = list(accumulate(found.row_group(n).num_rows for n in range(found.num_row_groups)))
                return ends, list(file.schema_arrow.names)

        return self._footers.get(self.stamp(shard), read, lambda f: 100 + 8 * len(f[0]) + 50 * len(f[1]))

    def _read(self, shard: str, group: int, names: tuple[str, ...]) -> pa.Table:
        return pa.Table.from_batches(self._batches(shard, group, names))

    def _batches(self, shard: str, group: int, names: tuple[str, ...]) -> Iterator[pa.RecordBatch]:
        """The rows of a row group, a few at a time: a value that a dictionary repeats takes little room in the file."""
        with self._reading, reading_part(self.root, shard), pq.ParquetFile(self.path(shard)) as file:
            told = file.metadata.row_group(group)
            leaves = [told.column(n) for n in range(told.num_columns)]
            left = MAX_COLUMN_BYTES
            announced = sum(c.total_uncompressed_size for c in leaves if c.path_in_schema.split(".")[0] in names)
            batches = file.iter_batches(_BATCH, row_groups=[group], columns=list(names), use_threads=False)
            for batch in batches if announced <= left else ():
                left -= batch.nbytes
                if left < 0:
                    break
                yield batch
            if announced > MAX_COLUMN_BYTES or left < 0:
                raise DamagedInputError(
                    f"{shard}: {', '.join(names[:3])} of row group {group} has more than {MAX_COLUMN_BYTES} bytes;"
                    " write it again with fewer rows a group"
                )
