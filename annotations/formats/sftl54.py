"""SF-TL54: one labelme JSON file an image, a rectangle ``face`` and 54 points.

labelme's coordinates are positions on the image's canvas, pixel centres at +0.5, like ours; the data set's own script
truncates them to whole pixels when it makes dlib files. All shapes but the rectangle are points, in the order of the
file. Source: ``build_dlib_landmarks_xml.py`` in the repository IS2AI/thermal-facial-landmarks-detection; the scheme is
"54" of `thermvision.annotations.conventions`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from thermvision.annotations.conventions import SCHEMES
from thermvision.annotations.findings import Finding

from .coco import json_object
from .records import FaceRecord, FileFaces, Reading, single
from .text import DECIMALS, csv_rows, decoded, image_path, image_size, number

MAX_BYTES = 64 * 2**20  # labelme may carry the image itself
COUNT = SCHEMES["54"]
METADATA = ("Sub_ID", "Split", "Age", "Gender", "Ethnicity", "Acc_Trial_1", "Acc_Trial_2")


def read(data: str | bytes, path: str = "", size: tuple[int, int] | None = None) -> Reading:
    """The image of one file. Several faces are told apart by labelme's ``group_id``.

    -1 -1 is an unknown point. Codes of findings: ``too-large``, ``encoding``, ``not-json``, ``not-labelme``, ``path``,
    ``shape``, ``box``, ``point-count``.

    Args:
        data: the file's content.
        path: of the label file, for findings and for a file that does not name its image.
        size: (width, height) for a file that does not say.
    """
    document, findings = json_object(data, path, MAX_BYTES)
    if document is None:
        return Reading([], findings)
    shapes = document.get("shapes")
    if not isinstance(shapes, list):
        seen = ", ".join(sorted(map(str, document))[:8])
        findings.append(Finding(path, "not-labelme", f"the keys are {seen}; allowed: shapes among them"))
        return Reading([], findings)
    boxes: dict[str, NDArray[np.float32]] = {}
    points: dict[str, list[list[float]]] = {}
    groups: list[str] = []
    for place, shape in enumerate(shapes):
        corners = _points(shape)
        if corners is None:
            message = f"shapes[{place}]: no points; allowed: a list of x, y; it was left out"
            findings.append(Finding(path, "shape", message))
            continue
        group = str(shape.get("group_id"))
        if group not in groups:
            groups.append(group)
        if shape.get("label") != "face":
            points.setdefault(group, []).extend(corners)
        elif group in boxes or len(corners) != 2 or not np.ptp(corners, axis=0).all():
            seen = "a second face of the same group" if group in boxes else f"corners {str(corners)[:60]}"
            message = f"shapes[{place}]: {seen}; allowed: one rectangle of two corners a group; it was left out"
            findings.append(Finding(path, "box", message))
        else:
            low = np.min(corners, axis=0)
            boxes[group] = np.concatenate([low, np.ptp(corners, axis=0)]).astype(np.float32)
    faces = []
    for group in groups:
        face = _face(boxes.get(group), points.get(group), path, findings)
        if face is not None:
            faces.append(face)
    image, complaint = image_path(document["imagePath"]) if isinstance(document.get("imagePath"), str) else ("", "")
    # labelme points from its own folder to the image's: "../images/x.png" is what it usually writes
    if complaint and not image:
        findings.append(Finding(path, "path", complaint))
    width, height = image_size(document.get("imageWidth"), document.get("imageHeight"), size)
    return Reading([FileFaces(image or path.removesuffix(".json"), width, height, faces)], findings)


def _points(shape: Any) -> list[list[float]] | None:
    entries = shape.get("points") if isinstance(shape, dict) else None
    if not isinstance(entries, list) or not entries or len(entries) > 10_000:
        return None
    points = [[number(v) for v in entry] for entry in entries if isinstance(entry, list) and len(entry) == 2]
    if len(points) != len(entries):
        return None
    plain = [[v for v in point if v is not None] for point in points]
    return plain if all(len(point) == 2 for point in plain) else None


def _face(
    box: NDArray[np.float32] | None, points: list[list[float]] | None, path: str, findings: list[Finding]
) -> FaceRecord | None:
    bbox = np.full(4, np.nan, np.float32) if box is None else box
    if points is None:
        return None if box is None else FaceRecord(bbox)
    array = np.array(points, np.float32)
    array[(array == -1).all(1)] = np.nan
    if len(array) != COUNT:
        message = f"a face has {len(array)} points; allowed: {COUNT}; they are kept without a scheme"
        findings.append(Finding(path, "point-count", message))
    return FaceRecord(bbox, points=array, convention="54" if len(array) == COUNT else None)


def write(files: Sequence[FileFaces]) -> bytes:
    """The labelme file of one image; points of other schemes are converted to the 54, unknown ones are -1 -1.

    >>> face = FaceRecord([10, 20, 30, 40])
    >>> json.loads(write([FileFaces("a.png", 64, 48, [face])]))["shapes"][0]["points"]
    [[10.0, 20.0], [40.0, 60.0]]

    Raises:
        ValueError: there is not exactly one image.
    """
    image = single(files, "SF-TL54")
    shapes = []
    for place, face in enumerate(image.faces):
        group: dict[str, Any] = {"group_id": place if len(image.faces) > 1 else None, "flags": {}}
        if face.has_box:
            x, y, w, h = face.bbox.astype(np.float64)
            corners = np.round([[x, y], [x + w, y + h]], DECIMALS).tolist()
            shapes.append({"label": "face", "points": corners, "shape_type": "rectangle", **group})
        points = face.points_in("54")
        if points is not None:
            filled = np.where(np.isnan(points).any(1, keepdims=True), -1, points.astype(np.float64))
            marks = np.round(filled, DECIMALS).tolist()
            shapes.append({"label": "landmarks", "points": marks, "shape_type": "linestrip", **group})
    document: dict[str, Any] = {
        "version": "4.5.6", "flags": {}, "shapes": shapes, "imagePath": image.path, "imageData": None,
        "imageHeight": image.height, "imageWidth": image.width,
    }  # fmt: skip
    return (json.dumps(document, ensure_ascii=False, allow_nan=False, indent=1) + "\n").encode("utf-8", "replace")


def read_metadata(data: str | bytes, path: str = "") -> tuple[dict[int, dict[str, str]], list[Finding]]:
    """The subjects of the data set's ``metadata.csv``: its columns as text, by ``Sub_ID``.

    >>> read_metadata("Sub_ID,Split,Age,Gender,Ethnicity,Acc_Trial_1,Acc_Trial_2\\n1,Train,32,Male,Asian,None,None\\n")
    ({1: {'Split': 'Train', 'Age': '32', 'Gender': 'Male', 'Ethnicity': 'Asian', 'Acc_Trial_1': 'None', \
'Acc_Trial_2': 'None'}}, [])
    """
    text, findings = decoded(data, path, MAX_BYTES)
    subjects: dict[int, dict[str, str]] = {}
    for index, (line, row) in enumerate(csv_rows(text, path, findings)):
        cells = [cell.strip() for cell in row]
        if index == 0:
            if tuple(cells) != METADATA:
                message = f"line {line}: the header is {','.join(cells)[:80]!r}; allowed: {','.join(METADATA)}"
                findings.append(Finding(path, "header", f"{message}; nothing was read"))
                break
            continue
        if len(cells) != len(METADATA) or not cells[0].isdecimal() or int(cells[0][:9]) in subjects:
            message = f"line {line}: {','.join(cells)[:80]!r}; allowed: {len(METADATA)} columns, each Sub_ID once"
            findings.append(Finding(path, "row", f"{message}; it was left out"))
            continue
        subjects[int(cells[0][:9])] = dict(zip(METADATA[1:], cells[1:], strict=True))
    return subjects, findings
