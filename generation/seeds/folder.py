"""Pictures and videos of one's own: a folder a subject, or one folder for all.

The first folder below the source names the subject; what lies in the source itself is a subject by its name up to the
first underscore, dot or space, so that ``anna_01.png`` and ``anna_02.mp4`` are one.
"""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath

from thermvision.annotations.findings import Finding
from thermvision.curation.inputs import VIDEOS

from .sources import Found, Seed, files_below, is_picture

_IGNORED = (".txt", ".json", ".csv", ".md")


def find(root: Path) -> Found:
    """List the pictures and videos below ``root``; codes of findings: ``not-an-image`` and those of `files_below`."""
    files, findings = files_below(root)
    seeds = []
    for path, file in files.items():
        is_video = file.suffix.lower() in VIDEOS
        if is_video or is_picture(path):
            seeds.append(Seed(path, file, f"folder/{subject_of(path)}", is_video=is_video))
        elif file.suffix.lower() not in _IGNORED:
            findings.append(Finding(path, "not-an-image", "it is neither picture nor video; it was left out"))
    return Found(seeds, findings)


def subject_of(path: str) -> str:
    """The subject that a path below the source names.

    >>> subject_of("anna/day 1/3.png"), subject_of("anna_03.png"), subject_of("12.png")
    ('anna', 'anna', '12')
    """
    parts = PurePosixPath(path).parts
    return parts[0] if len(parts) > 1 else re.split(r"[_. ]", parts[0])[0] or parts[0]
