"""300-W ``.pts``: one text file a face, ``version``, ``n_points`` and a line ``x y`` a point between braces.

The points were placed in MATLAB, where the centre of the first pixel is (1, 1): ours is 0.5 less. (menpo, which reads
the same files, subtracts 1 because its pixel centres are whole numbers.) There is no box, score or image size. Source
of the scheme: C. Sagonas et al., "300 Faces in-the-Wild Challenge", ICCV Workshops 2013.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from thermvision.annotations.conventions import SCHEMES
from thermvision.annotations.findings import Finding

from .records import FaceRecord, FileFaces, Reading, single
from .text import decoded, number, printed

MAX_BYTES = 256 * 2**10
MAX_POINTS = 10_000
_TO_OURS = -0.5
_UNKNOWN = ("nan", "nan")


def read(data: str | bytes, path: str = "", size: tuple[int, int] | None = None) -> Reading:
    """The face of one file; the image is the label file's path without ``.pts``.

    A line that is no point leaves its point unknown, so that the others keep their places. Codes of findings:
    ``too-large``, ``encoding``, ``not-pts``, ``point``, ``point-count``.

    Args:
        data: the file's content.
        path: of the label file.
        size: (width, height) of the image, which the file does not say.
    """
    text, findings = decoded(data, path, MAX_BYTES)
    if findings:
        return Reading([], findings)
    lines = [line.strip() for line in re.split(r"\r\n|\r|\n", text)]
    if "{" not in lines:
        message = "there is no line with an opening brace; allowed: version, n_points, { points }"
        return Reading([], [Finding(path, "not-pts", message)])
    begin = lines.index("{")
    end = lines.index("}", begin) if "}" in lines[begin:] else len(lines)
    stated = next((number(line.partition(":")[2]) for line in lines[:begin] if line.startswith("n_points")), None)
    points: list[tuple[float, float]] = []
    for index in range(begin + 1, end):
        tokens = lines[index].split()
        if not tokens or len(points) >= MAX_POINTS:
            continue
        x, y = (number(token) for token in tokens) if len(tokens) == 2 else (None, None)
        if x is None or y is None:
            points.append((np.nan, np.nan))
            if tuple(token.lower() for token in tokens) != _UNKNOWN:
                message = f"line {index + 1}: {lines[index][:60]!r}; allowed: x y; the point is left unknown"
                findings.append(Finding(path, "point", message))
        else:
            points.append((x + _TO_OURS, y + _TO_OURS))
    if stated is None or int(stated) != len(points):
        seen = "no number of points" if stated is None else f"n_points {stated:g}"
        message = f"{seen}, and {len(points)} lines between the braces; allowed: as many; the lines are kept"
        findings.append(Finding(path, "point-count", message))
    convention = str(len(points)) if str(len(points)) in SCHEMES else None
    array = np.array(points, np.float32).reshape(-1, 2)
    faces = [FaceRecord(points=array, convention=convention)] if len(array) else []
    width, height = size or (None, None)
    return Reading([FileFaces(path.removesuffix(".pts"), width, height, faces)], findings)


def write(files: Sequence[FileFaces]) -> bytes:
    """The file of one image with one face; unknown points are ``nan nan``.

    Raises:
        ValueError: there is not exactly one image with one face that has points.

    >>> face = FaceRecord(points=[[10, 20], [30.25, 40]])
    >>> print(write([FileFaces("a", faces=[face])]).decode(), end="")
    version: 1
    n_points: 2
    {
    10.5 20.5
    30.75 40.5
    }
    """
    image = single(files, "300-W .pts")
    faces = [face for face in image.faces if face.points is not None]
    if len(faces) != 1 or faces[0].points is None:
        raise ValueError(f"{image.path!r} has {len(faces)} faces with points; allowed: 1 in a .pts file")
    points = faces[0].points.astype(np.float64) - _TO_OURS
    rows = [" ".join(map(printed, point)) if np.isfinite(point).all() else " ".join(_UNKNOWN) for point in points]
    return "\n".join(["version: 1", f"n_points: {len(points)}", "{", *rows, "}", ""]).encode()
