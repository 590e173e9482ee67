"""TFW: one CSV file a set, a face a row: image, box corners, five points.

Columns count, not their names: ``image, xs, ys, xe, ye, p1x, p1y … p5x, p5y`` in pixels, the points from the image's
left to its right in the order of `thermvision.annotations.faces.KEYPOINTS` (right eye's centre first). ``xe - xs`` is
the box's width, so the corners lie on pixel borders like ours. The release's numbers were truncated to whole pixels
from labelme, half a pixel up and left on average, which nothing here puts back. Source: the data set's repository
IS2AI/TFW, ``visualize_dataset.py``, ``dataset2yolo.ipynb`` and README. Its first row is a header that its own scripts
skip unread; we write their variables' names.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from thermvision.annotations.findings import Finding

from .records import FaceRecord, FileFaces, Reading
from .text import csv_rows, csv_text, decoded, image_path, number, printed

MAX_BYTES = 256 * 2**20
HEADER = ("image", "xs", "ys", "xe", "ye", *(f"p{i}{axis}" for i in range(1, 6) for axis in "xy"))


def read(data: str | bytes, path: str = "", size: tuple[int, int] | None = None) -> Reading:
    """The images of one file, rows of the same image together, in the order of their first row.

    -1 -1 or an empty pair is an unknown point. Codes of findings: ``too-large``, ``encoding``, ``not-csv``, ``path``,
    ``column-count``, ``not-a-number``, ``box``.

    Args:
        data: the file's content.
        path: of the label file, for findings.
        size: (width, height) of every image; the file does not say.
    """
    text, findings = decoded(data, path, MAX_BYTES)
    images: dict[str, list[FaceRecord]] = {}
    for index, (line, row) in enumerate(csv_rows(text, path, findings)):
        if index == 0 and not any(number(cell) is not None for cell in row[1:5]):
            continue
        problem, face, image = _face(row)
        if problem:
            code, message = problem
            findings.append(Finding(path, code, f"line {line}: {message}"))
        if face is not None:
            images.setdefault(image, []).append(face)
    width, height = size or (None, None)
    return Reading([FileFaces(image, width, height, faces) for image, faces in images.items()], findings)


def _face(row: list[str]) -> tuple[tuple[str, str] | None, FaceRecord | None, str]:
    if len(row) != len(HEADER):
        return ("column-count", f"{len(row)} columns; allowed: {len(HEADER)}; no face was made of it"), None, ""
    image, complaint = image_path(row[0])
    if not image:
        return ("path", complaint), None, ""
    values = [number(cell) for cell in row[1:]]
    blank = [not cell.strip() for cell in row[1:]]
    bad = [cell for cell, value, empty in zip(row[1:], values, blank, strict=True) if value is None and not empty]
    if bad or any(blank[:4]):
        seen = repr(bad[0][:20]) if bad else "an empty corner"
        return ("not-a-number", f"{seen}; allowed: decimal numbers; no face was made of it"), None, ""
    numbers = np.array([np.nan if value is None else value for value in values])
    (left, top), (right, bottom) = numbers[:4].reshape(2, 2)
    if right <= left or bottom <= top:
        seen = f"the box runs from {left:g}, {top:g} to {right:g}, {bottom:g}"
        return ("box", f"{seen}; allowed: an area above 0; no face was made of it"), None, ""
    points = numbers[4:].reshape(5, 2)
    points[(points == -1).all(1) | np.isnan(points).any(1)] = np.nan
    known = bool(np.isfinite(points).any())
    face = FaceRecord(
        np.array([left, top, right - left, bottom - top], np.float32),
        points=points.astype(np.float32) if known else None,
        convention="5" if known else None,
    )
    return (("path", complaint) if complaint else None), face, image


def write(files: Sequence[FileFaces]) -> bytes:
    """The rows of all faces; points of other schemes are converted, unknown ones are -1 -1.

    A face without box gets the extent of its points, one with neither is left out, and so is an image without faces:
    the format has no row for it.

    >>> face = FaceRecord([10, 20, 30, 40], points=[[15, 30], [30, 30], [22, 40], [17, 50], [28, 50]], convention="5")
    >>> print(write([FileFaces("a.png", faces=[face])]).decode().splitlines()[1])
    a.png,10,20,40,60,15,30,30,30,22,40,17,50,28,50
    """
    rows: list[Sequence[str]] = [HEADER]
    for image in files:
        for face in image.faces:
            box = face.box_or_extent
            if box is None:
                continue
            five = face.points_in("5")
            points = np.full((5, 2), np.nan) if five is None else five.astype(np.float64)
            points[np.isnan(points).any(1)] = -1
            x, y, w, h = (float(value) for value in box)
            rows.append([image.path, *map(printed, (x, y, x + w, y + h, *points.ravel()))])
    return csv_text(rows)
