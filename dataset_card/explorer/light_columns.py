"""The few columns of a release's shards that a grid needs: no pixels, no landmarks; each shard on its own.

A shard that is missing, broken, or lacks a column raises `ShardError`: it is left out and told, the others are read.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from thermvision.annotations.schema import ADDED_COLUMNS, ATTRIBUTES, CATEGORIES

MAX_ROWS = 5_000_000  # of one shard: a file may say it has any number
MAX_FRAMES = 1_000_000  # of one clip
MAX_SIDE = 2**16  # pixels of a frame
MAX_ID = 1000  # bytes of an id or a source, which go into every answer
MAX_BYTES = 2**29  # of the columns of one shard, unpacked
_BATCH, _BATCH_OF_FACES = 2**16, 2**8  # rows that are read at once: texts within lists unfold
Int = NDArray[np.int64]
FRAMES = pa.schema({
    "key": pa.int32(), "frame_index": pa.int32(), "yaw": pa.float32(), "pitch": pa.float32(), "roll": pa.float32(),
    "expression": pa.int16(), "face_count": pa.int16(),
})  # fmt: skip
_CLASSES = ("gender", "category", "sequence", *ATTRIBUTES)
ITEMS = pa.schema({
    "item_id": pa.string(), "subject": pa.string(), "search": pa.string(),
    **{name: pa.int16() for name in _CLASSES}, "source": pa.string(),
    "frames": pa.int32(), "width": pa.int32(), "height": pa.int32(), "fps": pa.float32(),
})  # fmt: skip
PEOPLE = pa.schema({"row": pa.int32(), "subject": pa.string(), "gender": pa.int16()})
_TEXTS = ("item_id", "clip_id", "image_id", "subject_id", "annotation_source")


class ShardError(Exception):
    """A shard cannot be used; the code is a finding's, the text says why."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def config_of(shard_config: str) -> str:
    """ "image" for the categories of stills, otherwise the config of the shard."""
    return "image" if shard_config in CATEGORIES else shard_config


def read_columns(root: Path, path: str, columns: Sequence[str], optional: Sequence[str] = ()) -> pa.Table:
    """Columns of a shard below ``root``; those of ``optional`` that it lacks are left out.

    Columns of a struct are named with a dot, as ``faces.gender``.

    Raises:
        ShardError: it is not there, leads elsewhere, is broken, or lacks a column.
    """
    file = _plain_file(root, path)
    try:
        told = pq.read_metadata(file)
        if not 0 <= told.num_rows <= MAX_ROWS:
            raise ShardError("shard-size", f"says it has {told.num_rows} rows; allowed: {MAX_ROWS}")
        leaves = [told.schema.column(n).path for n in range(told.num_columns)]
        there = {leaf.split(".")[0] for leaf in leaves}
        names = [c for c in columns if c.split(".")[0] in there or c not in optional]
        if lacking := sorted({c.split(".")[0] for c in names} - there):
            raise ShardError("shard-columns", f"lacks {', '.join(lacking)}; write the release anew")
        # as dictionaries: a text that a file holds once and names in each row would unfold to any size
        texts = [c for c in names if c in _TEXTS]
        with pq.ParquetFile(file, metadata=told, read_dictionary=texts) as parquet:
            table = _bounded(parquet, names, leaves)
        table.validate(full=True)
    except (pa.ArrowException, OSError, ValueError, MemoryError, OverflowError) as error:
        reason = _short(error).replace(f"{root}/", "")  # an export may show it to anybody
        raise ShardError("shard-broken", f"does not read ({reason})") from error
    return table


def _bounded(parquet: pq.ParquetFile, names: list[str], leaves: list[str]) -> pa.Table:
    """The columns of a file whose ``leaves`` are those, of at most `MAX_BYTES`."""
    told, batches, seen = parquet.metadata, [], 0
    wanted = [n for n, leaf in enumerate(leaves) if f"{leaf}.".startswith(tuple(f"{name}." for name in names))]
    for group in map(told.row_group, range(told.num_row_groups)):
        seen += sum(max(c.total_uncompressed_size, 4 * c.num_values) for c in map(group.column, wanted))
    if seen <= MAX_BYTES:
        seen = 0
        rows = _BATCH_OF_FACES if any("." in name for name in names) else _BATCH
        for batch in parquet.iter_batches(rows, columns=names, use_threads=False):
            seen += batch.nbytes
            if seen > MAX_BYTES:
                break
            batches.append(batch)
    if seen > MAX_BYTES:
        raise ShardError("shard-size", f"unfolds to more than {MAX_BYTES} bytes of labels; write more shards")
    return (
        pa.Table.from_batches(batches)
        if batches
        else parquet.schema_arrow.empty_table().select(list(dict.fromkeys(name.split(".")[0] for name in names)))
    )


def _plain_file(root: Path, path: str) -> Path:
    file = root / path
    try:
        if not file.resolve().is_relative_to(root.resolve()):
            raise ShardError("shard-outside", "is a link that leaves the release; put a copy in its place")
        if not file.is_file():
            raise ShardError("shard-missing", "is listed and not there")
    except (OSError, ValueError, RuntimeError) as error:
        raise ShardError("shard-missing", f"cannot be reached ({_short(error)})") from error
    return file


def _short(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__


def _cast(table: pa.Table, name: str, kind: pa.DataType) -> pa.Array:
    """A column as one array of ``kind``; numbers that do not fit, and texts for numbers, are errors."""
    column = table[name].combine_chunks()
    column = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    if pa.types.is_string(kind) and not _is_text(column.type):
        raise ShardError("shard-columns", f"has {name} as {column.type}; allowed: string")
    if not pa.types.is_string(kind) and _is_text(column.type):
        raise ShardError("shard-columns", f"has {name} as {column.type}; allowed: {kind}")
    if pa.types.is_dictionary(column.type) and pa.types.is_string(kind):
        _check_texts(name, column)
    try:
        return column.cast(kind)
    except (pa.ArrowException, ValueError) as error:
        raise ShardError("shard-columns", f"has {name} as {column.type}; allowed: {kind} ({_short(error)})") from error


def _check_texts(name: str, column: pa.DictionaryArray) -> None:
    """Raise ShardError where texts are long, or too many to be written out."""
    lengths = np.asarray(pc.fill_null(pc.binary_length(column.dictionary), 0)).astype(np.int64)
    if (longest := int(lengths.max(initial=0))) > MAX_ID:
        raise ShardError("shard-columns", f"has {name} of {longest} bytes; allowed: {MAX_ID}")
    if (total := int(lengths[np.asarray(column.indices.drop_null())].sum())) > MAX_BYTES:
        raise ShardError("shard-size", f"has {total} bytes of {name}; allowed: {MAX_BYTES}; write more shards")


def _is_text(kind: pa.DataType) -> bool:
    inner = kind.value_type if pa.types.is_dictionary(kind) else kind
    return bool(pa.types.is_string(inner) or pa.types.is_large_string(inner) or pa.types.is_null(inner))


def read_items(root: Path, path: str, config: str) -> tuple[pa.Table, pa.Table]:
    """The items of a shard of ``config`` ("video", "image", "scenes") and, of scenes, who is in them.

    Returns:
        Tables in the schemas `ITEMS`, in the order of the rows, and `PEOPLE`; class numbers below 0 are null.

    Raises:
        ShardError: see `read_columns`; or an item has no id or no size.
    """
    id_column = "clip_id" if config == "video" else "image_id"
    classes = {"video": ("gender", "sequence"), "image": ("gender", "category"), "scenes": ()}[config]
    columns: dict[str, str] = {"item_id": id_column, "source": "annotation_source", "width": "width"}
    columns |= {"height": "height", **{c: c for c in classes}}
    if config != "scenes":
        columns |= {"subject": "subject_id", **{a: a for a in ATTRIBUTES}}
    if config == "video":
        columns |= {"frames": "num_frames", "fps": "fps"}
    faces = ["faces.subject_id", "faces.gender"] if config == "scenes" else []
    table = read_columns(root, path, [*columns.values(), *faces], ADDED_COLUMNS)
    count = table.num_rows
    arrays: dict[str, Any] = {}
    for field in ITEMS:
        source = columns.get(field.name)
        there = source is not None and source in table.column_names
        arrays[field.name] = _cast(table, source or "", field.type) if there else pa.nulls(count, field.type)
    for name in _CLASSES:
        arrays[name] = pc.if_else(pc.less(arrays[name], 0), pa.scalar(None, pa.int16()), arrays[name])
    runs = pc.and_(pc.is_finite(arrays["fps"]), pc.greater(arrays["fps"], 0))
    arrays["fps"] = pc.if_else(runs, arrays["fps"], pa.scalar(None, pa.float32()))
    if config != "video":
        arrays["frames"] = pa.array(np.ones(count, np.int32))
    for name in ("item_id", "frames", "width", "height"):
        if arrays[name].null_count:
            raise ShardError("shard-columns", f"has a row without {columns.get(name, name)}")
    if count and (pc.min(arrays["frames"]).as_py() < 0 or pc.max(arrays["frames"]).as_py() > MAX_FRAMES):
        raise ShardError("shard-columns", f"has a clip with a num_frames that is none; allowed: 0 to {MAX_FRAMES}")
    for name in ("width", "height"):
        if count and not 0 < pc.min(arrays[name]).as_py() <= pc.max(arrays[name]).as_py() <= MAX_SIDE:
            raise ShardError("shard-columns", f"has a row with a {name} that is none; allowed: 1 to {MAX_SIDE} pixels")
    people = _people(table) if config == "scenes" else PEOPLE.empty_table()
    arrays["search"] = _searched(arrays, people)
    return pa.table([arrays[f.name] for f in ITEMS], schema=ITEMS), people


def _people(table: pa.Table) -> pa.Table:
    rows, subjects, genders = [], [], []
    for row, faces in enumerate(table["faces"].to_pylist()):
        names, classes = (faces or {}).get("subject_id") or [], (faces or {}).get("gender") or []
        for face in range(max(len(names), len(classes))):
            gender = classes[face] if face < len(classes) else None
            rows.append(row)
            subjects.append(names[face] if face < len(names) else None)
            if len(subjects[-1] or "") > MAX_ID:
                raise ShardError("shard-columns", f"has a face whose subject_id is longer than {MAX_ID}")
            genders.append(None if gender is None or not 0 <= gender < 2**15 else gender)
    try:
        return pa.table({"row": rows, "subject": subjects, "gender": genders}, schema=PEOPLE)
    except (pa.ArrowException, TypeError) as error:
        raise ShardError("shard-columns", f"has faces that are none ({_short(error)})") from error


def _searched(arrays: dict[str, Any], people: pa.Table) -> pa.Array:
    subjects = arrays["subject"]
    if people.num_rows:
        names: list[list[str]] = [[] for _ in range(len(subjects))]
        for row, name in zip(people["row"].to_pylist(), people["subject"].to_pylist(), strict=True):
            names[row].append(name or "")
        subjects = pa.array([" ".join(n) for n in names], pa.string())
    # a line feed between them: no search finds the end of one with the start of the other
    return pc.binary_join_element_wise(arrays["item_id"], pc.fill_null(subjects, ""), "\n")


def _angles(poses: pa.Array) -> dict[str, pa.Array]:
    """Yaw, pitch and roll of (N,) poses of three numbers; NaN, which compares as the largest number, becomes null."""
    try:
        fixed = poses.cast(pa.list_(pa.float32(), 3))
        found = {name: pc.list_element(fixed, k) for k, name in enumerate(("yaw", "pitch", "roll"))}
    except (pa.ArrowException, ValueError) as error:
        raise ShardError("shard-columns", f"has head_pose as {poses.type}; allowed: 3 numbers") from error
    return {k: pc.if_else(pc.is_finite(v), v, pa.scalar(None, pa.float32())) for k, v in found.items()}


def read_frames(root: Path, path: str) -> tuple[list[str], Int, pa.Table]:
    """The rows of a shard of ``frames``.

    Returns:
        The item ids it names; (N,) which of them each row is of; (N,) rows in the schema `FRAMES` without ``key``.

    Raises:
        ShardError: see `read_columns`.
    """
    table = read_columns(root, path, ["item_id", "frame_index", "head_pose", "expression", "face_count"])
    ids = table["item_id"].combine_chunks()
    ids = ids.combine_chunks() if isinstance(ids, pa.ChunkedArray) else ids
    ids = ids if pa.types.is_dictionary(ids.type) else ids.dictionary_encode()
    if _is_text(ids.type):
        _check_texts("item_id", ids)
    index = _cast(table, "frame_index", pa.int32())
    if not _is_text(ids.type) or ids.null_count or index.null_count:
        raise ShardError("shard-columns", "has a row without item_id or frame_index")
    poses = table["head_pose"].combine_chunks()
    expression = _cast(table, "expression", pa.int16())
    arrays = {
        "frame_index": index,
        **_angles(poses.combine_chunks() if isinstance(poses, pa.ChunkedArray) else poses),
        "expression": pc.if_else(pc.less(expression, 0), pa.scalar(None, pa.int16()), expression),
        "face_count": _cast(table, "face_count", pa.int16()),
    }
    return ids.dictionary.to_pylist(), np.asarray(ids.indices), pa.table(arrays)


def frames_of_items(root: Path, path: str, config: str, wanted: Sequence[int]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Row and frame labels of the ``wanted`` rows of a shard of items, for releases whose `frames` lack them.

    A scene gives a label for each face, all of frame 0. Values are lists: head_pose, expression, face_count.

    Raises:
        ShardError: see `read_columns`.
    """
    names = ["head_pose", "expression"]
    columns = [f"faces.{n}" for n in names] if config == "scenes" else names
    table = read_columns(root, path, [*columns, "face_count"])
    for row, values in zip(wanted, table.take(list(wanted)).to_pylist(), strict=True):
        if config == "scenes":
            faces = values["faces"] or {}
            count = max((len(faces.get(n) or []) for n in names), default=0)
            found = {n: faces.get(n) or [] for n in names} | {"face_count": [values["face_count"]] * count}
        elif config == "image":
            found = {n: [values[n]] for n in (*names, "face_count")}
        else:
            found = {n: values[n] or [] for n in (*names, "face_count")}
        yield row, found
