"""YOLO detection labels: one text file an image, one face a line, coordinates relative to the image's size.

A line is ``class xc yc w h`` (5 columns), with a score appended (6), or with the five keypoints that YOLO5Face writes
(15: eyes, nose tip, mouth corners as ``x y``, -1 -1 where unknown). Only class 0, the face, exists. A line that is
anything else is no box but a `Finding`: nothing is guessed.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from thermvision.annotations.findings import Finding

from .records import FaceRecord, FileFaces, Reading, single

DECIMALS = 6
COLUMNS = (5, 6, 15)
KEYPOINTS = 5
MAX_BYTES = 256 * 2**10
MAX_LINES = 1000
_PRINTED = 0.5000001 * 10.0**-DECIMALS  # how far rounding to six decimals moves a value
_NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d{1,4})?", re.ASCII)
_NOT_FINITE = re.compile(r"[-+]?(?:nan|inf|infinity)", re.IGNORECASE)
_GLUED = re.compile(r"\d+[01]\.\d+", re.ASCII)  # "00.162500": the class has lost its space


@dataclass(frozen=True, eq=False)
class Labels:
    """The rows of one label file.

    Attributes:
        boxes: (M, 4) float32 COCO ``[x, y, w, h]`` in pixels, in the order of the lines.
        scores: (M,) float32 in 0..1, NaN where the line has none.
        keypoints: (M, 5, 2) float32 pixels, NaN where the line has none.
        findings: what was refused or looked odd, with line numbers.
    """

    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    keypoints: NDArray[np.float32]
    findings: list[Finding] = field(default_factory=list)


def read_labels(
    text: str | bytes, width: int, height: int, path: str = ""
) -> tuple[NDArray[np.float32], list[Finding]]:
    """Boxes of one label file and the findings about it; see `parse_labels`.

    >>> boxes, findings = read_labels("0 0.532227 0.581055 0.466797 0.587891", 512, 512)
    >>> boxes.tolist(), findings
    ([[153.0, 147.0, 239.0, 301.0]], [])
    """
    labels = parse_labels(text, width, height, path)
    return labels.boxes, labels.findings


def parse_labels(text: str | bytes, width: int, height: int, path: str = "") -> Labels:
    """Read one label file of an image of ``width`` × ``height`` pixels.

    Detectors work on the pixel grid, so centres and sizes are multiples of half a pixel that printing has rounded to
    six decimals; values within that rounding are put back on the half-pixel grid, others are kept as they are.

    Codes of findings that make no box: ``too-large``, ``encoding``, ``missing-space``, ``column-count``,
    ``not-a-number``, ``not-finite``, ``class``, ``range``, ``size``, ``score-range``. With these the box is kept:
    ``box-outside``, ``keypoint-range``.

    Args:
        text: the file's content; bytes must be UTF-8.
        width, height: size of the image in pixels.
        path: written into the findings.

    Raises:
        ValueError: the size is not positive.
    """
    if width < 1 or height < 1:
        raise ValueError(f"an image has {width} x {height} pixels; allowed: 1 x 1 and more")
    lines, findings = _lines(text, path)
    rows = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        values, refusal = _row(line)
        if refusal:
            code, message = refusal
            findings.append(Finding(path, code, f"line {number}: {message}; no box was made of it"))
            continue
        findings += [
            Finding(path, code, f"line {number}: {message}; the box is kept") for code, message in _odd(values)
        ]
        rows.append(values)
    return Labels(
        boxes=np.array([_to_pixels(row[1:5], width, height) for row in rows], np.float32).reshape(-1, 4),
        scores=np.array([row[5] if len(row) == 6 else np.nan for row in rows], np.float32),
        keypoints=np.array([_keypoints(row, width, height) for row in rows], np.float32).reshape(-1, KEYPOINTS, 2),
        findings=findings,
    )


def _lines(text: str | bytes, path: str) -> tuple[list[str], list[Finding]]:
    if len(text) > MAX_BYTES:
        message = f"the file has {len(text)} bytes; allowed: {MAX_BYTES}; no box was read"
        return [], [Finding(path, "too-large", message)]
    if isinstance(text, bytes):
        try:
            text = text.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            return [], [
                Finding(path, "encoding", f"byte {error.start} is not UTF-8; allowed: UTF-8 text; no box was read")
            ]
    lines = re.split(r"\r\n|\r|\n", text)
    if len(lines) > MAX_LINES + 1:
        message = f"the file has {len(lines)} lines; allowed: {MAX_LINES}; no box was read"
        return [], [Finding(path, "too-large", message)]
    return lines, []


def _row(line: str) -> tuple[list[float], tuple[str, str] | None]:
    """The numbers of a line, or why it is none: (values, (code, message))."""
    tokens, seen = line.split(), repr(line.strip()[:80])
    if len(tokens) in (4, 14) and _GLUED.fullmatch(tokens[0]):
        return [], ("missing-space", f"{seen} has no space after its class; allowed: class xc yc w h")
    if len(tokens) not in COLUMNS:
        return [], ("column-count", f"{seen} has {len(tokens)} columns; allowed: 5, 6 (score) or 15 (keypoints)")
    for token in tokens:
        if _NOT_FINITE.fullmatch(token) or (_NUMBER.fullmatch(token) and np.isinf(float(token))):
            return [], ("not-finite", f"{token[:20]!r} in {seen}; allowed: finite numbers")
        if not _NUMBER.fullmatch(token):
            return [], ("not-a-number", f"{token[:20]!r} in {seen}; allowed: decimal numbers")
    if not re.fullmatch(r"0+", tokens[0]):
        return [], ("class", f"class {tokens[0][:20]!r} in {seen}; allowed: 0 (face)")
    values = [float(token) for token in tokens]
    if min(values[1:5]) < 0 or max(values[1:5]) > 1:
        code = "size" if min(values[3:5]) < 0 else "range"
        return [], (code, f"{seen} has a coordinate or size outside 0..1; allowed: parts of the image's size")
    if min(values[3:5]) == 0:
        return [], ("size", f"{seen} has no area; allowed: width and height above 0")
    if len(values) == 6 and not 0 <= values[5] <= 1:
        return [], ("score-range", f"{seen} has the score {values[5]:g}; allowed: 0..1")
    return values, None


def _odd(values: Sequence[float]) -> list[tuple[str, str]]:
    """What is unusual about a row that is read all the same."""
    odd = []
    centre, size = np.array(values[1:3]), np.array(values[3:5])
    beyond = max(*(size / 2 - centre), *(centre + size / 2 - 1))
    # two roundings: the centre's and half of the size's
    if beyond > 1.5 * _PRINTED:
        odd.append(("box-outside", f"the box leaves the image by {beyond:.6f} of its size; expected: inside"))
    points = np.array(values[5:15]).reshape(-1, 2) if len(values) == 15 else np.zeros((0, 2))
    bad = ~(points == -1).all(1) & ((points < 0) | (points > 1)).any(1)
    if bad.any():
        message = f"{int(bad.sum())} keypoints are neither in 0..1 nor -1 -1 (unknown), and are dropped"
        odd.append(("keypoint-range", message))
    return odd


def _half_pixels(value: float, extent: int) -> float:
    halves = round(value * 2 * extent)
    return float(halves) if abs(value - halves / (2 * extent)) <= _PRINTED else value * 2 * extent


def _to_pixels(box: Sequence[float], width: int, height: int) -> list[float]:
    xc, yc, w, h = (_half_pixels(v, extent) for v, extent in zip(box, (width, height) * 2, strict=True))
    return [xc / 2 - w / 4, yc / 2 - h / 4, w / 2, h / 2]


def _keypoints(row: Sequence[float], width: int, height: int) -> NDArray[np.float64]:
    if len(row) != 15:
        return np.full((KEYPOINTS, 2), np.nan)
    points = np.array(row[5:15]).reshape(KEYPOINTS, 2)
    known = ((points >= 0) & (points <= 1)).all(1, keepdims=True)
    pixels: NDArray[np.float64] = np.where(known, points * (width, height), np.nan)
    return pixels


def write_labels(boxes: ArrayLike, width: int, height: int) -> str:
    """The text of a label file: ``0 xc yc w h`` with six decimals for each box; NaN boxes (no face) are no lines.

    Args:
        boxes: (M, 4) COCO ``[x, y, w, h]`` in pixels.
        width, height: size of the image in pixels.

    Raises:
        ValueError: the boxes have another shape, a part of a box is not finite, or it has no area.

    >>> write_labels([[153, 147, 239, 301]], 512, 512)
    '0 0.532227 0.581055 0.466797 0.587891\\n'
    """
    boxes = np.asarray(boxes, np.float64)
    if boxes.size and (boxes.ndim != 2 or boxes.shape[1] != 4):
        raise ValueError(f"boxes have shape {boxes.shape}; allowed: (M, 4)")
    lines = []
    for x, y, w, h in boxes.reshape(-1, 4):
        if np.isnan([x, y, w, h]).all():
            continue
        if not np.isfinite([x, y, w, h]).all() or w <= 0 or h <= 0:
            raise ValueError(f"a box is {[x, y, w, h]}; allowed: finite, with width and height above 0, or all NaN")
        parts = ((x + w / 2) / width, (y + h / 2) / height, w / width, h / height)
        lines.append("0 " + " ".join(f"{part:.{DECIMALS}f}" for part in parts) + "\n")
    return "".join(lines)


def read(data: str | bytes, path: str = "", size: tuple[int, int] | None = None) -> Reading:
    """The faces of one label file; the image is the label file's path without ``.txt``. See `parse_labels`.

    Without the image's size nothing can be read, which is the finding ``size-unknown``.

    >>> read("0 0.532227 0.581055 0.466797 0.587891 0.9", "a.txt", (512, 512)).files[0].faces[0].bbox.tolist()
    [153.0, 147.0, 239.0, 301.0]
    """
    image = path.removesuffix(".txt")
    if size is None:
        message = "the size of the image is not known; allowed: labels beside their image, or a size; no box was read"
        return Reading([FileFaces(image)], [Finding(path, "size-unknown", message)])
    labels = parse_labels(data, *size, path=path)
    faces = []
    for bbox, score, points in zip(labels.boxes, labels.scores, labels.keypoints, strict=True):
        known = bool(np.isfinite(points).any())
        faces.append(
            FaceRecord(
                bbox,
                None if np.isnan(score) else float(score),
                points if known else None,
                convention="5" if known else None,
            )
        )
    return Reading([FileFaces(image, *size, faces)], labels.findings)


def write(files: Sequence[FileFaces], points: bool = True, scores: bool = True) -> bytes:
    """The label file of one image: a line of 15 columns for a face with points, of 6 with a score, else of 5.

    Boxes are cut to the image, as trainers refuse a label that leaves it; a face without box gets the extent of its
    points, and one that has neither, or lies outside, has no line. Points of other schemes are converted to the five;
    unknown ones and those outside the image are -1 -1. A line with points has no score.

    Args:
        files: one image, with its size.
        points, scores: whether to write them where they are known.

    >>> face = FaceRecord([153, 147, 239, 301], score=0.5)
    >>> write([FileFaces("a", 512, 512, [face])])
    b'0 0.532227 0.581055 0.466797 0.587891 0.500000\\n'

    Raises:
        ValueError: there is not exactly one image, or its size is not known.
    """
    image = single(files, "YOLO")
    if image.size is None:
        raise ValueError(f"the size of {image.path!r} is not known; allowed: an image with width and height")
    extent = np.array(image.size, np.float64)
    lines = []
    for face in image.faces:
        box = face.box_or_extent
        if box is None:
            continue
        low, high = (np.clip(corner, 0, extent) for corner in (box[:2].astype(float), box[:2].astype(float) + box[2:]))
        if (np.round((high - low) / extent, DECIMALS) <= 0).any():
            continue
        line = write_labels([[*low, *(high - low)]], *image.size).rstrip("\n")
        five = face.points_in("5") if points else None
        if five is not None:
            parts = five / extent
            parts[~((parts >= 0) & (parts <= 1)).all(1)] = -1
            line += "".join(" -1 -1" if x < 0 else f" {x:.{DECIMALS}f} {y:.{DECIMALS}f}" for x, y in parts)
        elif scores and face.score is not None:
            line += f" {min(max(face.score, 0), 1):.{DECIMALS}f}"
        lines.append(line + "\n")
    return "".join(lines).encode()
