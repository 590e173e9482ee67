"""Charlotte-ThermalFace: ``S1.csv`` and ``S1/R11185.tiff``, 16-bit TIFF in centikelvin, ten subjects.

The rows' points make a box, and their measurements (air temperature, distance, sensation, …) become facts. A published
comparison of landmarkers (PyraMoT) calls the points too faulty to be used, so a detector goes before them; see
`thermvision.generation.seeds.sources.SeedSource.labels`. ``N…`` pictures are 8-bit copies and are not listed.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from thermvision.annotations.findings import Finding
from thermvision.annotations.formats import named
from thermvision.annotations.formats.records import FileFaces

from .sources import Found, Seed, files_below, labels_in

_SUBJECT = re.compile(r"S(\d{1,3})", re.IGNORECASE)
_SUFFIXES = (".tiff", ".tif")


def find(root: Path) -> Found:
    """List the radiometric pictures below ``root``.

    Codes of findings: ``missing-picture``, ``no-label``, ``too-large`` and the Charlotte reader's.
    """
    files, findings = files_below(root)
    rows: dict[tuple[str, str], FileFaces] = {}
    form = named("charlotte")
    for path, file in files.items():
        match = _SUBJECT.match(file.stem)
        if file.suffix.lower() != ".csv" or match is None:
            continue
        for image in labels_in(form, path, file, findings):
            name = Path(image.path).name
            stem = Path(name).stem if Path(name).suffix.lower() in _SUFFIXES else name
            rows[str(int(match[1])), stem.upper()] = image
    labelled = bool(rows)
    seeds, unlabelled = [], []
    for path, file in files.items():
        subject = _SUBJECT.fullmatch(file.parent.name)
        if file.suffix.lower() not in _SUFFIXES or subject is None:
            continue
        number = str(int(subject[1]))
        row = rows.pop((number, file.stem.upper()), None)
        if row is None:
            unlabelled.append(path)
        seeds.append(_seed(path, file, number, row))
    if labelled and unlabelled:
        message = f"{len(unlabelled)} pictures have no row, this is the first; they are kept"
        findings.append(Finding(unlabelled[0], "no-label", message))
    for number, stem in rows:
        findings.append(Finding(f"S{number}/{stem}.tiff", "missing-picture", "it has a row and no picture"))
    return Found(seeds, findings)


def _seed(path: str, file: Path, number: str, row: FileFaces | None) -> Seed:
    if row is None:
        return Seed(path, file, f"charlotte/{number}")
    face = row.faces[0]
    extent = face.extent
    known = bool(np.isfinite(extent).all()) and bool((extent[2:] > 0).all())
    x, y, w, h = (float(v) for v in extent)
    return Seed(path, file, f"charlotte/{number}", boxes=((x, y, w, h),) if known else (), facts=dict(face.attributes))
