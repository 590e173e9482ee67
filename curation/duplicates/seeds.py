"""Training sets as `thermvision seeds` writes them: ``index.json`` and its pictures, read with no trust in either."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from thermvision.annotations.errors import DamagedInputError, UsageError
from thermvision.annotations.findings import Finding
from thermvision.annotations.picture_file import read_picture

from ..store import read_json

INDEX = "index.json"
VERSIONS = (1,)
MOST_PICTURES = 5_000_000


@dataclass(frozen=True)
class SeedPicture:
    """A picture of a training set.

    Attributes:
        name: its path below the set.
        path: its file.
        subject: who it shows, as the set names them.
        box: (x, y, width, height) of its face in pixels of the picture, None where not known.
    """

    name: str
    path: Path
    subject: str
    box: tuple[float, float, float, float] | None

    def gray(self) -> NDArray[np.uint8]:
        """Its pixels (H, W).

        Raises:
            DamagedInputError: it is not there, does not decode or is no 8-bit picture.
        """
        if not self.path.is_file():
            raise DamagedInputError(f"{self.path} is not there; make the set again with thermvision seeds")
        pixels = read_picture(self.path)
        if pixels.dtype != np.uint8 or pixels.ndim not in (2, 3):
            raise DamagedInputError(f"{self.path} is {pixels.dtype} {pixels.shape}; allowed: 8-bit gray or colour")
        values = np.asarray(pixels, np.uint8)
        return values if values.ndim == 2 else np.asarray(cv2.cvtColor(values[..., :3], cv2.COLOR_RGB2GRAY), np.uint8)


@dataclass(frozen=True)
class SeedSet:
    """The distinct pictures that were trained on: one of each window, not augmented, of the smallest size.

    Attributes:
        root: the set's folder.
        title: of its source.
        pictures: in the order of their names.
        rows: how many rows the index has.
        findings: rows that were not taken, and why.
    """

    root: Path
    title: str
    pictures: tuple[SeedPicture, ...]
    rows: int
    findings: tuple[Finding, ...]


def read_seeds(root: Path) -> SeedSet:
    """The training set in ``root``.

    Raises:
        UsageError: it is none.
        DamagedInputError: its index is broken, or names files outside of it.
    """
    path = root / INDEX
    if not path.is_file():
        raise UsageError(
            f"{root} is no training set, it has no {INDEX}; make one: thermvision seeds SOURCE --out {root}"
        )
    index = read_json(path)
    rows = index.get("pictures") if isinstance(index, Mapping) else None
    if not isinstance(rows, list) or index.get("version") not in VERSIONS:
        raise DamagedInputError(
            f"{path} has no list of pictures of version {VERSIONS[0]}; make the set again: thermvision seeds"
        )
    if len(rows) > MOST_PICTURES:
        raise DamagedInputError(f"{path} lists {len(rows)} pictures; allowed: {MOST_PICTURES}")
    chosen: dict[str, tuple[int, SeedPicture]] = {}
    findings = []
    for number, row in enumerate(rows):
        try:
            key, size, picture, taken = _picture(root, row)
        except (KeyError, TypeError, ValueError) as error:
            raise DamagedInputError(
                f"{path}: picture {number} is damaged ({type(error).__name__}: {error}); make the set again"
            ) from error
        if not taken:
            continue
        if not picture.path.is_file():
            findings.append(Finding(picture.name, "missing-picture", "the index names it and it is not there"))
            continue
        if key not in chosen or (size, picture.name) < (chosen[key][0], chosen[key][1].name):
            chosen[key] = size, picture
    pictures = tuple(sorted((p for _, p in chosen.values()), key=lambda p: p.name))
    if not pictures:
        raise UsageError(
            f"{root} has no training picture that could be read; make one: thermvision seeds SOURCE --out {root}"
        )
    return SeedSet(root, str(index.get("title") or root.name), pictures, len(rows), tuple(findings))


def _picture(root: Path, row: Any) -> tuple[str, int, SeedPicture, bool]:
    """What tells windows apart, the area, the picture, and whether it was trained on as it is."""
    name = row["file"]
    pure = PurePosixPath(name)
    if pure.is_absolute() or ".." in pure.parts or "\\" in name or "\0" in name:
        raise ValueError(f"file {name!r} leaves the set; allowed: paths below its folder")
    width, height = (int(v) for v in row["size"])
    x, y, w, h = (float(v) for v in row["window"])
    if min(width, height) < 1 or not (w > 0 and h > 0):
        raise ValueError(f"size {row['size']} or window {row['window']} has no area")
    box = None
    if row.get("face") is not None:
        scale = width / w
        left, top, wide, high = (float(v) for v in row["face"])
        box = ((left - x) * scale, (top - y) * scale, wide * scale, high * scale)
    source = row["source"]
    # buckets of several sizes cut a little more or less of one window: its place tells, not its exact size
    key = (
        f"{source['path']}|{source.get('frame')}|{row['face']}"
        if box
        else f"{source['path']}|{source.get('frame')}|{row['window']}"
    )
    trained = row["split"] == "train" and row.get("augmented") is None
    return key, width * height, SeedPicture(name, root / name, str(row["subject"]), box), trained
