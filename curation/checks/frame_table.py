"""Label columns as numbers that can be compared without keeping them: a digest of each column of each item.

Each frame's values become one 64-bit number, and those of an item are added up: rows may lie in any order and in any
shard, and two tables with equal labels have equal sums. A changed, moved or missing value changes the sum, but for a
chance of 2⁻⁶⁴.
"""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from thermvision.annotations.schema import FRAME_COLUMNS

COMPARED = tuple(FRAME_COLUMNS)
Digest = NDArray[np.uint64]
_NULL = 0x9E3779B97F4A7C15  # what an unknown value counts as
_MIX = ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB))  # splitmix64, S. Vigna, public domain


def frame_digests(table: pa.Table) -> dict[str, tuple[int, Digest]]:
    """Of a table of ``frames``: by item, how many rows it has and the sums (len(COMPARED),) uint64 over them."""
    names = table["item_id"].to_pylist()
    index = np.asarray(pc.fill_null(table["frame_index"], -1), np.int64).astype(np.uint64)
    columns = np.stack([_of_rows(_one_chunk(table, name), index, name) for name in COMPARED], 1)
    found: dict[str, tuple[int, Digest]] = {}
    for name, digest in zip(names, columns, strict=True):
        count, total = found.get(name, (0, np.zeros(len(COMPARED), np.uint64)))
        found[name] = count + 1, total + digest
    return found


def item_digests(table: pa.Table, key: str) -> dict[str, Digest]:
    """Of a table of ``video`` or a category: by item (column ``key``), the same sums over its frames."""
    names = table[key].to_pylist()
    found = {name: np.zeros(len(COMPARED), np.uint64) for name in names}
    for place, column in enumerate(COMPARED):
        values = _one_chunk(table, column)
        if key != "clip_id":
            index = np.zeros(len(values), np.uint64)
            for name, digest in zip(names, _of_rows(values, index, column), strict=True):
                found[name][place] = digest
            continue
        frames = table["num_frames"].to_pylist()
        for row, name in enumerate(names):
            told = values.slice(row, 1)
            unknown = told.null_count > 0  # of every frame
            inner = pa.nulls(int(frames[row] or 0), values.type.value_type) if unknown else told.flatten()
            digests = _of_rows(inner, np.arange(len(inner), dtype=np.uint64), column)
            found[name][place] = digests.sum(dtype=np.uint64)
    return found


def _one_chunk(table: pa.Table, name: str) -> pa.Array:
    column = table[name].combine_chunks()
    return pa.concat_arrays(column.chunks) if isinstance(column, pa.ChunkedArray) else column


def _of_rows(values: pa.Array, index: NDArray[np.uint64], name: str) -> Digest:
    """One number (N,) for each entry of an array of numbers or of lists of them; its frame's index counts as well."""
    with np.errstate(over="ignore"):
        numbers = _numbers(values)
        seed = np.uint64(zlib.crc32(name.encode()))
        return mixed(numbers ^ mixed(index + seed))


def _numbers(values: pa.Array) -> Digest:
    valid = np.asarray(values.is_valid(), bool)
    result = np.full(len(values), np.uint64(_NULL), np.uint64)
    if not valid.any():
        return result
    if not (pa.types.is_list(values.type) or pa.types.is_fixed_size_list(values.type)):
        plain = values.fill_null(0).to_numpy(zero_copy_only=False)
        result[valid] = mixed(_bits(plain)[valid])
        return result
    known = values.drop_null()
    flat = _numbers(known.flatten())
    lengths = np.asarray(pc.list_value_length(known), np.int64)
    starts = np.cumsum(lengths) - lengths
    place = np.arange(len(flat), dtype=np.uint64) - np.repeat(starts, lengths).astype(np.uint64)
    sums = np.zeros(len(known) + 1, np.uint64)
    np.add.at(sums, np.repeat(np.arange(len(known)), lengths), mixed(flat + mixed(place)))
    result[valid] = mixed(sums[:-1] + lengths.astype(np.uint64))
    return result


def _bits(values: NDArray[Any]) -> Digest:
    """The bits of numbers as float32 has them; every NaN is one, and -0 is 0."""
    single = values.astype(np.float32) + np.float32(0)
    single[np.isnan(single)] = np.nan
    return single.view(np.uint32).astype(np.uint64)


def mixed(values: Digest) -> Digest:
    """Numbers (N,) uint64 scattered one to one over all of uint64.

    >>> len(set(mixed(np.arange(1000, dtype=np.uint64)).tolist()))
    1000
    """
    with np.errstate(over="ignore"):
        result = values + np.uint64(_NULL)
        for shift, factor in _MIX:
            result = (result ^ (result >> np.uint64(shift))) * np.uint64(factor)
        return result ^ (result >> np.uint64(31))
