"""Tufts Face Database, its thermal parts: ``TD_IR_A_Set1/<participant>/TD_IR_A_<0-8>.jpg``, ``TD_IR_E…_<1-5>.jpg``.

A (around) are nine positions on a half circle from profile to profile; E (emotion) are neutral, smile, eyes closed,
shocked and sunglasses. Source: the database's page; its steps of 22.5° are the half circle divided evenly, which the
page does not say. Boxes come from ``bounding-boxes.csv`` (``Set, Participant, File, Left, Top, Width, Height``) of the
repository maxbbraun/tdface-annotations, put anywhere below the source.
"""

from __future__ import annotations

import re
from pathlib import Path

from thermvision.annotations.errors import DamagedInputError
from thermvision.annotations.findings import Finding
from thermvision.annotations.formats.text import csv_rows, decoded, number

from .sources import Box, Found, Seed, files_below

BOXES = "bounding-boxes.csv"
MAX_BYTES = 64 * 2**20
_HEADER = ["set", "participant", "file", "left", "top", "width", "height"]
_NAME = re.compile(r"TD_IR_([AE])_(\d{1,2})\.(jpe?g|png|bmp|tiff?)", re.IGNORECASE)
_SET = re.compile(r"TD_IR_[AE]", re.IGNORECASE)
_POSES = ("profile", "profile", "turned", "turned", "frontal")  # 90°, 67.5°, 45°, 22.5°, 0°
_EMOTIONS = {
    1: {"expression": "neutral"}, 2: {"expression": "smile"}, 3: {"expression": "blink"},
    4: {"expression": "surprise"}, 5: {"accessories": "sunglasses"},
}  # fmt: skip
_LEAST = 8  # pixels: the file has boxes of 1 x 2 where nobody was found


def find(root: Path) -> Found:
    """List the pictures below ``root``.

    Codes of findings: ``name``, ``box``, ``header``, ``row`` and those of `files_below`.

    Raises:
        DamagedInputError: the file of boxes is over its size limit.
    """
    files, findings = files_below(root)
    boxes: dict[tuple[str, str], Box] = {}
    for path, file in files.items():
        if file.name.lower() == BOXES:
            boxes |= _read_boxes(path, file, findings)
    seeds = []
    for path, file in files.items():
        match, participant = _NAME.fullmatch(file.name), file.parent.name
        if not match:
            if _SET.match(file.name):
                message = "allowed: TD_IR_A_0.jpg to TD_IR_A_8.jpg, TD_IR_E_1.jpg to TD_IR_E_5.jpg; it was left out"
                findings.append(Finding(path, "name", message))
            continue
        if not participant.isdecimal():
            message = f"its folder is {participant!r}; allowed: the participant's number; it was left out"
            findings.append(Finding(path, "name", message))
            continue
        kind, place = match[1].upper(), int(match[2])
        box = boxes.get((participant.lstrip("0"), file.name.lower()))
        facts = {"pose": _POSES[4 - abs(4 - place)]} if kind == "A" and place <= 8 else {}
        facts |= ({"pose": "frontal"} | _EMOTIONS[place]) if kind == "E" and place in _EMOTIONS else {}
        subject = f"tufts/{int(participant)}"
        seeds.append(Seed(path, file, subject, boxes=() if box is None else (box,), facts=facts))
    return Found(seeds, findings)


def _read_boxes(path: str, file: Path, findings: list[Finding]) -> dict[tuple[str, str], Box]:
    if file.stat().st_size > MAX_BYTES:
        raise DamagedInputError(f"{file} has {file.stat().st_size} bytes; allowed: {MAX_BYTES}; take it away")
    text, odd = decoded(file.read_bytes(), path, MAX_BYTES)
    findings += odd
    boxes: dict[tuple[str, str], Box] = {}
    for index, (line, row) in enumerate(csv_rows(text, path, findings)):
        cells = [cell.strip() for cell in row]
        if index == 0:
            if [cell.lower() for cell in cells] != _HEADER:
                message = f"line {line}: the header is {','.join(cells)[:80]!r}; allowed: {','.join(_HEADER)}"
                findings.append(Finding(path, "header", f"{message}; nothing was read"))
                break
            continue
        values = [number(cell) for cell in cells[3:]]
        x, y, w, h = (-1.0 if v is None else v for v in values) if len(values) == 4 else (-1.0,) * 4
        if len(cells) != len(_HEADER) or None in values:
            message = f"line {line}: {','.join(cells)[:80]!r}; allowed: {len(_HEADER)} columns, four numbers"
            findings.append(Finding(path, "row", f"{message}; it was left out"))
        elif w < _LEAST or h < _LEAST:
            message = f"line {line}: the box of {cells[2]} is {w:g} x {h:g} pixels; allowed: {_LEAST} and more"
            findings.append(Finding(path, "box", f"{message}; it was left out"))
        else:
            boxes[cells[1].lstrip("0"), cells[2].lower()] = (x, y, w, h)
    return boxes
