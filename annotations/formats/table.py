"""Our own flat table, as CSV or Parquet: a face a row, and one row with no face for an image without.

Columns: ``path, width, height, face`` (index in its image, empty without), ``bbox_x, bbox_y, bbox_width, bbox_height,
score, convention``, then ``attribute_<name>`` for every attribute, then the points: in CSV ``num_points``, ``names``
separated by spaces, ``x0, y0, v0, x1, …``; in Parquet the lists ``points``, ``visibility`` and ``names``. Pixels,
centres at +0.5, boxes COCO. What is not known is empty or null. Nothing is lost but digits behind the sixth in CSV and
spaces in its point names.
"""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from thermvision.annotations.conventions import SCHEMES
from thermvision.annotations.findings import Finding

from .records import FaceRecord, FileFaces, Reading
from .text import csv_rows, csv_text, decoded, image_path, image_size, number, printed

MAX_BYTES = 512 * 2**20
MAX_UNPACKED = 4 * 2**30
MAX_POINTS = 10_000
MAX_ROWS = 10_000_000
HEADER = ("path", "width", "height", "face", "bbox_x", "bbox_y", "bbox_width", "bbox_height", "score", "convention")
_BOX = HEADER[4:8]
_ATTRIBUTE = "attribute_"
_POINT = re.compile(r"([xyv])(\d{1,4})", re.ASCII)


def read_csv(data: str | bytes, path: str = "", size: tuple[int, int] | None = None) -> Reading:
    """The images of a CSV table, in the order of their first row.

    Codes of findings: ``too-large``, ``encoding``, ``not-csv``, ``header``, ``column-count``, ``path``,
    ``row``.

    Args:
        data: the file's content.
        path: of the label file, for findings.
        size: (width, height) of every image that does not say.
    """
    text, findings = decoded(data, path, MAX_BYTES)
    header: list[str] = []
    rows: list[tuple[str, Mapping[str, Any]]] = []
    for line, row in csv_rows(text, path, findings):
        place = f"line {line}"
        if not header:
            header = [cell.strip() for cell in row]
            if problem := _header_problem(header):
                findings.append(Finding(path, "header", f"{place}: {problem}; nothing was read"))
                return Reading([], findings)
        elif len(row) != len(header):
            message = f"{place}: {len(row)} columns; allowed: {len(header)}; the row was left out"
            findings.append(Finding(path, "column-count", message))
        else:
            cells = dict(zip(header, row, strict=True))
            rows.append((place, {**cells, **_csv_points(cells)}))
    return _collected(rows, path, size, findings)


def read_parquet(data: str | bytes, path: str = "", size: tuple[int, int] | None = None) -> Reading:
    """The images of a Parquet table, as `read_csv`; ``not-parquet`` is a file that is none."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    if len(data) > MAX_BYTES:
        message = f"the file has {len(data)} bytes; allowed: {MAX_BYTES}; nothing was read"
        return Reading([], [Finding(path, "too-large", message)])
    try:
        file = pq.ParquetFile(io.BytesIO(data.encode() if isinstance(data, str) else data))
        groups = [file.metadata.row_group(i).total_byte_size for i in range(file.metadata.num_row_groups)]
        if file.metadata.num_rows > MAX_ROWS or sum(groups) > MAX_UNPACKED:
            seen = f"the table has {file.metadata.num_rows} rows and {sum(groups)} bytes unpacked"
            message = f"{seen}; allowed: {MAX_ROWS} and {MAX_UNPACKED}; nothing was read"
            return Reading([], [Finding(path, "too-large", message)])
        if problem := _header_problem(file.schema_arrow.names):
            return Reading([], [Finding(path, "header", f"{problem}; nothing was read")])
        rows = file.read().to_pylist()
    except (pa.ArrowException, OSError, ValueError) as error:
        message = f"{str(error)[:200]}; allowed: a Parquet table; nothing was read"
        return Reading([], [Finding(path, "not-parquet", message)])
    findings: list[Finding] = []
    return _collected([(f"row {i}", row) for i, row in enumerate(rows, start=1)], path, size, findings)


def _header_problem(header: Sequence[str]) -> str:
    absent = [name for name in HEADER if name not in header]
    if absent:
        return f"there is no column {', '.join(absent)}; allowed: {', '.join(HEADER)} and more"
    return "" if len(set(header)) == len(header) else "a column is there twice; allowed: once"


def _csv_points(cells: Mapping[str, str]) -> dict[str, Any]:
    """Columns of single numbers as the lists that Parquet has; None where the row has no points."""
    found = {name: cell for name, cell in cells.items() if cell.strip() and _POINT.fullmatch(name)}
    names = cells.get("names", "").split()
    count = max((int(name[1:]) + 1 for name in found), default=0)
    stated = number(cells.get("num_points", ""))
    count = max(count, len(names), SCHEMES.get(cells["convention"].strip(), 0) if found else 0, int(stated or 0))
    if count == 0 or count > MAX_POINTS:
        return {"points": None, "visibility": None, "names": None}
    points = [[found.get(f"{axis}{i}") for axis in "xy"] for i in range(count)]
    seen = [found.get(f"v{i}") for i in range(count)]
    return {"points": points, "visibility": seen if any(seen) else None, "names": names or None}


def _collected(
    rows: Sequence[tuple[str, Mapping[str, Any]]], path: str, size: tuple[int, int] | None, findings: list[Finding]
) -> Reading:
    extents: dict[str, tuple[int | None, int | None]] = {}
    faces: dict[str, list[FaceRecord]] = {}
    for place, row in rows:
        name, complaint = image_path(str(row["path"] or ""))
        if complaint:
            findings.append(Finding(path, "path", f"{place}: {complaint}"))
        if not name:
            continue
        extents.setdefault(name, image_size(row["width"], row["height"], size))
        faces.setdefault(name, [])
        if row["face"] is None or str(row["face"]).strip() == "":
            continue
        try:
            faces[name].append(_face(row))
        except (ValueError, TypeError) as error:
            findings.append(Finding(path, "row", f"{place}: {str(error)[:200]}; the face was left out"))
    return Reading([FileFaces(name, *extents[name], some) for name, some in faces.items()], findings)


def _known(value: Any, what: str) -> float:
    """A number, NaN for an empty cell.

    Raises:
        ValueError: something else is there.
    """
    if value is None or (isinstance(value, str) and value.strip() == "") or value != value:
        return float("nan")
    parsed = number(value)
    if parsed is None:
        raise ValueError(f"{what} is {str(value)[:20]!r}; allowed: a number, or empty")
    return parsed


def _face(row: Mapping[str, Any]) -> FaceRecord:
    bbox = np.array([_known(row[name], name) for name in _BOX], np.float32)
    score = _known(row["score"], "score")
    points = visibility = None
    if row.get("points") is not None:
        points = np.array([[_known(v, "a point") for v in point] for point in row["points"]], np.float32).reshape(-1, 2)
        if row.get("visibility") is not None:
            values = np.nan_to_num([_known(v, "a visibility") for v in row["visibility"]])
            if not np.isin(values, (0, 1, 2)).all():
                raise ValueError("a visibility is not 0, 1 or 2")
            visibility = values.astype(np.uint8)
    names = tuple(map(str, row["names"])) if row.get("names") and points is not None else None
    facts = {
        key.removeprefix(_ATTRIBUTE): str(value)
        for key, value in row.items()
        if key.startswith(_ATTRIBUTE) and value is not None and str(value) != ""
    }
    convention = str(row["convention"] or "").strip() or None
    return FaceRecord(bbox, None if np.isnan(score) else score, points, visibility, convention, names, facts)


def _rows(files: Sequence[FileFaces]) -> tuple[list[dict[str, Any]], list[str]]:
    """A mapping for each row, with what is known, and the names of all attributes in order."""
    rows: list[dict[str, Any]] = []
    for image in files:
        whole: dict[str, Any] = {"path": image.path, "width": image.width, "height": image.height}
        if not image.faces:
            rows.append(whole)
        for index, face in enumerate(image.faces):
            box = [float(v) if np.isfinite(v) else None for v in face.bbox]
            facts = {_ATTRIBUTE + name: value for name, value in face.attributes.items()}
            score = None if face.score is None else float(face.score)
            row: dict[str, Any] = {**whole, "face": index, **dict(zip(_BOX, box, strict=True)), "score": score, **facts}
            rows.append({**row, "convention": face.convention, "record": face})
    attributes = dict.fromkeys(name for row in rows for name in row if name.startswith(_ATTRIBUTE))
    return rows, list(attributes)


def write_csv(files: Sequence[FileFaces]) -> bytes:
    """The CSV table of some images.

    >>> face = FaceRecord([1, 2, 3, 4.5], points=[[2, 3]], attributes={"expression": "smile"})
    >>> print(write_csv([FileFaces("a.png", 64, 48, [face])]).decode(), end="")  # doctest: +NORMALIZE_WHITESPACE
    path,width,height,face,bbox_x,bbox_y,bbox_width,bbox_height,score,convention,attribute_expression,num_points,names,x0,y0,v0
    a.png,64,48,0,1,2,3,4.5,,,smile,1,,2,3,
    """
    rows, attributes = _rows(files)
    records = [row["record"] for row in rows if "record" in row]
    count = max((len(face.points) for face in records if face.points is not None), default=0)
    plain = [*HEADER, *attributes]
    points = [f"{axis}{i}" for i in range(count) for axis in "xyv"]
    cells: list[Sequence[str]] = [[*plain, "num_points", "names", *points]]
    for row in rows:
        values = [row.get(name) for name in plain]
        line = ["" if v is None else printed(v) if isinstance(v, float) else str(v) for v in values]
        cells.append([*line, *_point_cells(row.get("record"), count)])
    return csv_text(cells)


def _point_cells(face: FaceRecord | None, count: int) -> list[str]:
    if face is None or face.points is None:
        return [""] * (2 + 3 * count)
    seen = [""] * len(face.points) if face.visibility is None else [str(v) for v in face.visibility]
    cells = [str(len(face.points)), " ".join(name.replace(" ", "_") for name in face.names or ())]
    for (x, y), v in zip(face.points, seen, strict=True):
        cells += [printed(float(x)), printed(float(y)), v] if np.isfinite([x, y]).all() else ["", "", v]
    return cells + [""] * (2 + 3 * count - len(cells))


def write_parquet(files: Sequence[FileFaces]) -> bytes:
    """The Parquet table of some images; equal images make equal bytes with the same pyarrow."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows, attributes = _rows(files)
    for row in rows:
        face = row.pop("record", None)
        if face is not None and face.points is not None:
            known = np.isfinite(face.points).all(1)
            row["points"] = [p if there else [None, None] for p, there in zip(face.points.tolist(), known, strict=True)]
            row["visibility"] = None if face.visibility is None else face.visibility.tolist()
            row["names"] = None if face.names is None else list(face.names)
    types = {"path": pa.string(), "width": pa.int32(), "height": pa.int32(), "face": pa.int32()}
    types |= {name: pa.float32() for name in (*_BOX, "score")} | {"convention": pa.string()}
    types |= dict.fromkeys(attributes, pa.string())
    lists = {"points": pa.list_(pa.float32()), "visibility": pa.uint8(), "names": pa.string()}
    schema = pa.schema({**types, **{name: pa.list_(inner) for name, inner in lists.items()}})
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), sink, compression="zstd")
    return sink.getvalue()
