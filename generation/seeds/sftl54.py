"""SF-TL54: ``gray/<train|val|test>/images/*.png`` with labelme files in ``json/``, and ``metadata.csv``.

A name is ``<subject>_<trial>_<session>_<position>_<frame>_<stream>``, as in SpeakingFaces, from which the pictures are;
subjects are therefore named as TFW's indoor ones are. The gray copy is taken, the iron one where it is alone. Source:
the scripts of the repository IS2AI/thermal-facial-landmarks-detection.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from thermvision.annotations.findings import Finding
from thermvision.annotations.formats import named
from thermvision.annotations.formats.sftl54 import MAX_BYTES, read_metadata

from .sources import HOLDOUT, TRAIN, Box, Found, Seed, files_below, is_picture, labels_in, small_enough

PALETTES = ("gray", "iron")
SPLITS = {"train": TRAIN, "val": HOLDOUT, "valid": HOLDOUT, "test": HOLDOUT}
NAME = re.compile(r"(\d{1,4})_(\d{1,2})(_\d+)*")


def find(root: Path) -> Found:
    """List the pictures below ``root``.

    Codes of findings: ``name``, ``no-metadata``, ``too-large`` and the SF-TL54 reader's.
    """
    files, findings = files_below(root)
    people = _people(files, findings)
    listed = {path: place for path in files if is_picture(path) and (place := _place(path))}
    gray = any(palette == PALETTES[0] for palette, _, _ in listed.values())
    seeds = []
    for path, (palette, split, folder) in listed.items():
        if gray and palette != PALETTES[0]:
            continue
        file = files[path]
        match = NAME.fullmatch(file.stem)
        if match is None:
            message = f"the name is {file.name[:60]!r}; allowed: subject_trial_… as in 103_1_1_4_450_1; it was left out"
            findings.append(Finding(path, "name", message))
            continue
        number, trial = int(match[1]), match[2]
        if people and number not in people:
            findings.append(Finding(path, "no-metadata", f"metadata.csv has no Sub_ID {number}; the picture is kept"))
        person = people.get(number, {})
        label = f"{folder}/json/{file.stem}.json"
        boxes = _boxes(label, files[label], findings) if label in files else ()
        # either source may hold a person out; `holdout.assign` then keeps the whole person out
        split = HOLDOUT if SPLITS.get(person.get("Split", "").lower()) == HOLDOUT else split
        subject = f"speakingfaces/{number}"
        seeds.append(Seed(path, file, subject, split, boxes, _facts(person, trial)))
    return Found(seeds, findings)


def _place(path: str) -> tuple[str, str, str] | None:
    """Palette, split and folder of ``…/<palette>/<split>/images/NAME``; None for a path that is none of these."""
    parts = PurePosixPath(path).parts
    if len(parts) < 4 or parts[-2] != "images" or parts[-3] not in SPLITS or parts[-4] not in PALETTES:
        return None
    return parts[-4], SPLITS[parts[-3]], "/".join(parts[:-2])


def _people(files: Mapping[str, Path], findings: list[Finding]) -> dict[int, dict[str, str]]:
    people: dict[int, dict[str, str]] = {}
    for path, file in files.items():
        if file.name == "metadata.csv" and small_enough(path, file, MAX_BYTES, findings):
            read, odd = read_metadata(file.read_bytes(), path)
            people |= read
            findings += odd
    return people


def _boxes(path: str, file: Path, findings: list[Finding]) -> tuple[Box, ...]:
    form = named("sftl54")
    images = labels_in(form, path, file, findings)
    numbers = [[float(v) for v in face.bbox] for image in images for face in image.faces if face.has_box]
    return tuple((x, y, w, h) for x, y, w, h in numbers)


def _facts(person: Mapping[str, str], trial: str) -> dict[str, str]:
    worn = person.get(f"Acc_Trial_{trial}", "").lower()
    facts = {"gender": person.get("Gender", "").lower(), "age": person.get("Age", "")}
    facts["accessories"] = "" if worn in ("", "none") else worn
    return {name: text for name, text in facts.items() if text}
