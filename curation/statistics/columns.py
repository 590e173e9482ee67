"""Columns of a release's Parquet files as arrays, a bounded number of rows at a time, nulls as NaN or -1."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from thermvision.annotations.errors import DamagedInputError

ROWS = 65_536


def batches(path: Path, columns: Sequence[str], rows: int = ROWS) -> Iterator[pa.RecordBatch]:
    """The ``columns`` that a shard has, ``rows`` at a time.

    Raises:
        DamagedInputError: it does not read.
    """
    try:
        with pq.ParquetFile(path) as file:
            known = set(file.schema_arrow.names)
            yield from file.iter_batches(batch_size=rows, columns=[c for c in columns if c in known])
    except (pa.ArrowException, OSError) as error:
        raise DamagedInputError(
            f"{path} does not read as Parquet ({error}); run: thermvision verify, with the release's folder"
        ) from error


def integers(batch: pa.RecordBatch, name: str) -> NDArray[np.int64]:
    """A column of integers (N,), -1 where null or where there is no such column.

    >>> integers(pa.RecordBatch.from_pydict({"a": [3, None]}), "a").tolist()
    [3, -1]
    """
    if name not in batch.schema.names:
        return np.full(batch.num_rows, -1, np.int64)
    column = batch.column(name)
    return np.asarray(column.cast(pa.int64()).fill_null(-1), np.int64)


def numbers(batch: pa.RecordBatch, name: str) -> NDArray[np.float64]:
    """A column of numbers (N,), NaN where null or where there is no such column."""
    if name not in batch.schema.names:
        return np.full(batch.num_rows, np.nan)
    return np.asarray(batch.column(name).cast(pa.float64()).to_numpy(zero_copy_only=False), np.float64)


def texts(batch: pa.RecordBatch, name: str) -> tuple[NDArray[np.int64], list[str]]:
    """A column of texts as codes (N,) into the distinct ones; null is "".

    >>> texts(pa.RecordBatch.from_pydict({"a": ["x", "y", "x"]}), "a")
    (array([0, 1, 0]), ['x', 'y'])
    """
    encoded = batch.column(name).cast(pa.string()).fill_null("").dictionary_encode()
    return np.asarray(encoded.indices, np.int64), encoded.dictionary.to_pylist()


def vectors(column: pa.Array, size: int) -> NDArray[np.float64]:
    """A column of lists of ``size`` numbers (N, size), NaN where a list or number is null or the list has another size.

    >>> vectors(pa.array([[1.0, 2.0], None], pa.list_(pa.float32(), 2)), 2).tolist()
    [[1.0, 2.0], [nan, nan]]
    """
    found = np.full((len(column), size), np.nan)
    if not pa.types.is_fixed_size_list(column.type):
        if not pa.types.is_list(column.type):
            return found
        lengths = np.asarray(column.value_lengths().fill_null(-1))
        good = lengths == size
        column = column.filter(pa.array(good))
    elif column.type.list_size != size:
        return found
    else:
        good = np.asarray(column.is_valid())
    if good.any():
        found[good] = np.asarray(column.flatten().to_numpy(zero_copy_only=False), np.float64).reshape(-1, size)
    return found
