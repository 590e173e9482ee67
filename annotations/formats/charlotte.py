"""Charlotte-ThermalFace: one CSV file a subject (``S1.csv``), an image a row: ``ID``, points, and what was measured.

Points are the columns ``x0, y0, x1, y1, …`` in pixels; frontal views have 72 of them and profiles 43, so a row may
leave pairs empty. Every other column (air temperature, humidity, distance, sensation, …) is kept as an attribute under
its own name. There is no box. ``ID`` is the image's name without its suffix. Points are taken as positions on the
canvas, pixel centres at +0.5; the data set does not say. Its point scheme is none of ours: 0 to 16 are the jaw and 27
the top of the nose as in iBUG, the rest is not documented. Source: the data set's repository, TeCSAR-UNCC's
UNCC-ThermalFace (counts), and public scripts that read ``S1.csv`` (column names ``ID``, ``x27``, ``Sensation``).
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from thermvision.annotations.findings import Finding

from .records import FaceRecord, FileFaces, Reading
from .text import csv_rows, csv_text, decoded, image_path, number, printed

MAX_BYTES = 256 * 2**20
_POINT = re.compile(r"([xy])(\d{1,3})", re.ASCII)


def read(data: str | bytes, path: str = "", size: tuple[int, int] | None = None) -> Reading:
    """The images of one subject's file.

    Codes of findings: ``too-large``, ``encoding``, ``not-csv``, ``header``, ``path``, ``column-count``,
    ``not-a-number``.

    Args:
        data: the file's content.
        path: of the label file, for findings.
        size: (width, height) of every image; the file does not say.
    """
    text, findings = decoded(data, path, MAX_BYTES)
    header: list[str] = []
    places: dict[int, tuple[int, int]] = {}
    files = []
    for line, row in csv_rows(text, path, findings):
        if not header:
            header = [cell.strip() for cell in row]
            columns = {name: column for column, name in reversed(list(enumerate(header)))}
            indices = sorted({int(m[2]) for name in columns if (m := _POINT.fullmatch(name))})
            pairs = [(i, columns.get(f"x{i}"), columns.get(f"y{i}")) for i in indices]
            places = {i: (x, y) for i, x, y in pairs if x is not None and y is not None}
            if "ID" not in columns or not places:
                message = f"line {line}: the header is {','.join(header)[:80]!r}; allowed: ID and x0, y0, x1, y1, …"
                findings.append(Finding(path, "header", f"{message}; nothing was read"))
                return Reading([], findings)
            continue
        file, problems = _image(header, places, row, size)
        findings += [Finding(path, code, f"line {line}: {message}") for code, message in problems]
        if file is not None:
            files.append(file)
    return Reading(files, findings)


def _image(
    header: list[str], places: dict[int, tuple[int, int]], row: list[str], size: tuple[int, int] | None
) -> tuple[FileFaces | None, list[tuple[str, str]]]:
    if len(row) != len(header):
        return None, [("column-count", f"{len(row)} columns; allowed: {len(header)}; it was left out")]
    image, complaint = image_path(row[header.index("ID")])
    problems = [("path", complaint)] if complaint else []
    if not image:
        return None, problems
    points = np.full((max(places) + 1, 2), np.nan)
    for index, pair in places.items():
        cells = [row[column].strip() for column in pair]
        values = [number(cell) for cell in cells]
        if None in values:
            if any(cell.lower() not in ("", "nan") for cell in cells):
                seen = f"point {index} is {','.join(cells)[:40]!r}"
                problems.append(("not-a-number", f"{seen}; allowed: two numbers, or empty; it is left unknown"))
        else:
            points[index] = values
    facts = {
        name: cell.strip()
        for name, cell in zip(header, row, strict=True)
        if name and name != "ID" and not _POINT.fullmatch(name) and cell.strip()
    }
    known = bool(np.isfinite(points).any())
    # without a single point the row still tells that somebody was there
    face = FaceRecord(points=points.astype(np.float32) if known else None, attributes=facts)
    width, height = size or (None, None)
    return FileFaces(image, width, height, [face]), problems


def write(files: Sequence[FileFaces]) -> bytes:
    """A subject's file; the ID is the image's path as it is given. Unknown points are empty, boxes and scores are lost.

    >>> face = FaceRecord(points=[[1, 2], [3, 4.5]], attributes={"Sensation": "0"})
    >>> print(write([FileFaces("R11185", faces=[face])]).decode(), end="")
    ID,x0,y0,x1,y1,Sensation
    R11185,1,2,3,4.5,0
    """
    faces = [(image.path, face) for image in files for face in image.faces]
    count = max((len(face.points) for _, face in faces if face.points is not None), default=1)
    names = list(dict.fromkeys(name for _, face in faces for name in face.attributes))
    rows: list[Sequence[str]] = [["ID", *(f"{axis}{i}" for i in range(count) for axis in "xy"), *names]]
    for path, face in faces:
        points = np.full((count, 2), np.nan)
        if face.points is not None:
            points[: len(face.points)] = face.points
        known = np.isfinite(points).all(1)
        cells = [printed(v) if there else "" for point, there in zip(points, known, strict=True) for v in point]
        rows.append([path, *cells, *(face.attributes.get(name, "") for name in names)])
    return csv_text(rows)
