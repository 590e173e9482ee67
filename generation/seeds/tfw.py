"""TFW: ``<train|val|test>/<indoor|outdoor>.csv`` with pictures in ``<indoor|outdoor>_gray/`` or ``<indoor|outdoor>/``.

Indoor pictures are from SpeakingFaces and named as SF-TL54's are. Outdoor ones have numbers for names that do not say
who is seen: all of one split count as one subject, and the data set's own split is the hold-out. Source: the scripts of
the repository IS2AI/TFW.
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from thermvision.annotations.findings import Finding
from thermvision.annotations.formats import named

from .sftl54 import NAME, SPLITS
from .sources import Found, Seed, files_below, labels_in

SETS = ("indoor", "outdoor")


def find(root: Path) -> Found:
    """List the labelled pictures below ``root``.

    Codes of findings: ``missing-picture``, ``name``, ``subject-unknown``, ``too-large`` and the TFW reader's.
    """
    files, findings = files_below(root)
    form = named("tfw")
    seeds: list[Seed] = []
    for path, file in files.items():
        split = SPLITS.get(file.parent.name)
        if file.suffix.lower() != ".csv" or file.stem not in SETS or split is None:
            continue
        folder = PurePosixPath(path).parent
        nameless = 0
        for image in labels_in(form, path, file, findings):
            places = [(folder / name / image.path).as_posix() for name in (f"{file.stem}_gray", file.stem)]
            place = next((p for p in places if p in files), None)
            if place is None:
                findings.append(Finding(places[0], "missing-picture", f"it has a row in {path} and no picture"))
                continue
            match = NAME.fullmatch(Path(image.path).stem) if file.stem == "indoor" else None
            nameless += match is None
            subject = f"speakingfaces/{int(match[1])}" if match else f"tfw/{file.stem}-{folder.name}"
            numbers = [[float(v) for v in face.bbox] for face in image.faces if face.has_box]
            boxes = tuple((x, y, w, h) for x, y, w, h in numbers)
            seeds.append(Seed(place, files[place], subject, split, boxes, {"place": file.stem}))
        if nameless:
            message = f"{nameless} pictures do not say who is seen: they count as one subject of split {folder.name}"
            findings.append(Finding(path, "subject-unknown", message))
    return Found(seeds, findings)
