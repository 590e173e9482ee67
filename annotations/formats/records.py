"""The record that every label format is read into and written from: the faces of one image.

Coordinates are pixels, x right, y down, pixel centres at +0.5; boxes are COCO ``[x, y, width, height]``. What a format
does not hold is None, or NaN where one part of a known thing is missing; nothing is made up. Each format states in its
own module how its numbers become these.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from thermvision.annotations.conventions import SCHEMES, convert
from thermvision.annotations.findings import Finding

# visibility of a point, as COCO counts it
UNLABELLED, HIDDEN, SEEN = range(3)


def _no_box() -> NDArray[np.float32]:
    return np.full(4, np.nan, np.float32)


@dataclass(frozen=True, eq=False)
class FaceRecord:
    """One face of one image.

    Attributes:
        bbox: (4,) float32 ``[x, y, width, height]``; NaN when the format holds points only.
        score: detector score in 0..1.
        points: (K, 2) float32; NaN where a point is not given.
        visibility: (K,) uint8 0 not labelled, 1 labelled and hidden, 2 seen (COCO).
        convention: the scheme of the points, a key of `thermvision.annotations.conventions.SCHEMES` ("68", "5", ...).
        names: the points' own names, for schemes that are none of ours.
        attributes: further facts as text, by name ("label", "expression", ...).

    >>> face = FaceRecord(bbox=[10, 20, 30, 40], points=[[12, 25], [20, 25]], names=("right", "left"))
    >>> face.bbox.dtype.name, face.points.shape, face.score
    ('float32', (2, 2), None)
    """

    bbox: NDArray[np.float32] = field(default_factory=_no_box)
    score: float | None = None
    points: NDArray[np.float32] | None = None
    visibility: NDArray[np.uint8] | None = None
    convention: str | None = None
    names: tuple[str, ...] | None = None
    attributes: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        bbox = np.asarray(self.bbox, np.float32)
        if bbox.shape != (4,):
            raise ValueError(f"bbox has shape {bbox.shape}; allowed: (4,)")
        object.__setattr__(self, "bbox", bbox)
        if self.points is None:
            if self.visibility is not None or self.names is not None:
                raise ValueError("visibility or names are given without points; allowed: points with them")
            return
        points = np.asarray(self.points, np.float32)
        if points.ndim != 2 or points.shape[1] != 2:
            raise ValueError(f"points have shape {points.shape}; allowed: (K, 2)")
        object.__setattr__(self, "points", points)
        expected = SCHEMES.get(self.convention or "", len(points))
        if len(points) != expected:
            raise ValueError(f"{len(points)} points are given for scheme {self.convention!r}; allowed: {expected}")
        if self.names is not None:
            object.__setattr__(self, "names", tuple(self.names))
        if self.visibility is not None:
            object.__setattr__(self, "visibility", np.asarray(self.visibility, np.uint8))
        for name in ("visibility", "names"):
            value = getattr(self, name)
            if value is not None and len(value) != len(points):
                raise ValueError(f"{name} has {len(value)} entries for {len(points)} points; allowed: one a point")

    @property
    def has_box(self) -> bool:
        """Whether all four numbers of the box are known."""
        return bool(np.isfinite(self.bbox).all())

    @property
    def extent(self) -> NDArray[np.float32]:
        """The tight box (4,) around the known points, NaN when there are none. It is no face box."""
        if self.points is None or not np.isfinite(self.points).all(1).any():
            return _no_box()
        known = self.points[np.isfinite(self.points).all(1)]
        low = known.min(0)
        return np.concatenate([low, known.max(0) - low])

    @property
    def box_or_extent(self) -> NDArray[np.float32] | None:
        """What a format that must have a box is given: the box, else the extent if it has an area, else None."""
        box = self.bbox if self.has_box else self.extent
        return box if np.isfinite(box).all() and box[2] > 0 and box[3] > 0 else None

    def points_in(self, convention: str) -> NDArray[np.float32] | None:
        """The points in another scheme, NaN where they do not follow; None when nothing is known of them.

        Raises:
            ValueError: there is no such scheme.
        """
        if convention not in SCHEMES:
            raise ValueError(f"point scheme {convention!r} does not exist; allowed: {', '.join(SCHEMES)}")
        if self.points is None or self.convention not in SCHEMES:
            return None
        converted = convert(self.points, self.convention, convention)
        return converted if np.isfinite(converted).all(-1).any() else None


@dataclass(frozen=True, eq=False)
class FileFaces:
    """The faces of one image; an image without faces is a record too.

    Attributes:
        path: the image's path as the label file gives it, with forward slashes; relative to the labels' root.
        width, height: size of the image in pixels; None when nobody has said.
        faces: in the order of the file.
    """

    path: str
    width: int | None = None
    height: int | None = None
    faces: Sequence[FaceRecord] = ()

    @property
    def size(self) -> tuple[int, int] | None:
        """(width, height), None unless both are known."""
        return None if self.width is None or self.height is None else (self.width, self.height)


class Reading(NamedTuple):
    """What was read of one label file: the images, and what was refused or looked odd."""

    files: list[FileFaces]
    findings: list[Finding]


def single(files: Sequence[FileFaces], name: str) -> FileFaces:
    """The only image of ``files``, for a format with one file an image.

    Raises:
        ValueError: there is not exactly one.
    """
    if len(files) != 1:
        raise ValueError(f"{name} has one file an image, and {len(files)} images are given; allowed: 1")
    return files[0]
