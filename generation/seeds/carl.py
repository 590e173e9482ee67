"""CARL: ``<subject>/session_<n>/thermal_bmp/01S4BNA5.bmp``, with boxes from dlib XML files where there are any.

A name is the subject, the session, B for the thermal camera, the light (NA natural, IR infrared, AR artificial) and the
shot, 1 to 5. Visible pictures (``classic``, letter C) are not listed. 41 people, 4 sessions, 3 lights, 5 shots. Source:
the database's article, and the paths of its published face annotations, of which the dlib reader tells the rest.
"""

from __future__ import annotations

import re
from pathlib import Path

from thermvision.annotations.findings import Finding
from thermvision.annotations.formats import named

from .sources import Box, Found, Seed, files_below, is_picture, labels_in

_NAME = re.compile(r"(\d{2,3})S(\d)([A-Z])(NA|IR|AR)(\d)", re.IGNORECASE)
_LIGHTS = {"NA": "natural", "IR": "infrared", "AR": "artificial"}
_THERMAL = "B"


def find(root: Path) -> Found:
    """List the thermal pictures below ``root``; codes of findings: ``name``, ``too-large`` and the dlib reader's."""
    files, findings = files_below(root)
    boxes = _boxes(files, findings)
    seeds = []
    for path, file in files.items():
        if not is_picture(path):
            continue
        match = _NAME.fullmatch(file.stem)
        if match is None or match[3].upper() != _THERMAL:
            if match is None and "thermal" in file.parent.name.lower():
                message = f"the name is {file.name[:60]!r}; allowed: 01S4BNA5 and the like; it was left out"
                findings.append(Finding(path, "name", message))
            continue
        facts = {"pose": "frontal", "session": match[2], "light": _LIGHTS[match[4].upper()]}
        seeds.append(Seed(path, file, f"carl/{int(match[1])}", boxes=boxes.get(file.stem.upper(), ()), facts=facts))
    return Found(seeds, findings)


def _boxes(files: dict[str, Path], findings: list[Finding]) -> dict[str, tuple[Box, ...]]:
    """Boxes by the pictures' names, which are unique in the data set."""
    form = named("dlib")
    boxes: dict[str, tuple[Box, ...]] = {}
    for path, file in files.items():
        if file.suffix.lower() != ".xml":
            continue
        for image in labels_in(form, path, file, findings):
            faces = [face for face in image.faces if face.has_box]
            x_y_w_h = [tuple(float(v) for v in face.bbox) for face in faces]
            boxes[Path(image.path).stem.upper()] = tuple((x, y, w, h) for x, y, w, h in x_y_w_h)
    return boxes
