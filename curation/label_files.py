"""Records of faces to label files on disk, in the formats of `thermvision.annotations.formats`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

from thermvision.annotations.errors import UsageError
from thermvision.annotations.findings import Finding
from thermvision.annotations.formats import FORMATS, label_files
from thermvision.annotations.formats.records import FileFaces

from .store import atomic_write, canonical_json

WRITTEN = ("coco", "yolo", "voc", "dlib", "pts", "tfw", "sftl54", "charlotte", "csv", "parquet")
SOURCE_FILE = "annotation_source.json"


def is_folder(format: str) -> bool:
    """Whether labels of ``format`` are a folder with a file an image.

    >>> is_folder("yolo"), is_folder("coco")
    (True, False)

    Raises:
        UsageError: there is no such format.
    """
    if format not in WRITTEN:
        raise UsageError(f"--format is {format!r}; allowed: {', '.join(WRITTEN)}")
    return FORMATS[format].folder


def write_label_files(
    format: str,
    files: Iterable[FileFaces],
    out: Path,
    annotation_source: str,
    settings: Mapping[str, Any] | None = None,
    *,
    points: bool = True,
) -> list[Finding]:
    """Write labels at ``out``, and what made them into ``annotation_source.json`` within or beside.

    Args:
        format: one of `WRITTEN`; see ``docs/formats.md`` for what each keeps.
        files: the images.
        out: a folder or a file, as `is_folder` says.
        annotation_source: names and digests of models, or where the labels come from.
        settings: plain values to be kept with that.
        points: whether landmarks are written, where the format has a place for them.

    Returns:
        Findings about images that were left out, because another image's label has the name of theirs.

    Raises:
        UsageError: there is no such format.
        OutputError: no room or no permission.
    """
    made_by = canonical_json({"annotation_source": annotation_source, "settings": dict(settings or {})}) + "\n"
    images, findings = [], []
    stems: set[PurePosixPath] = set()
    folder = is_folder(format)
    for file in files:
        stem = PurePosixPath(file.path).with_suffix("")
        if folder and stem in stems:
            message = f"the label {stem} is another image's already; rename one of them"
            findings.append(Finding(file.path, "same-name", message))
            continue
        stems.add(stem)
        images.append(file if points else _without_points(file))
    if not folder:
        atomic_write(out, FORMATS[format].write(images))
        atomic_write(out.with_name(f"{out.name}.{SOURCE_FILE}"), made_by)
        return findings
    out.mkdir(parents=True, exist_ok=True)
    # a sixth column would not be read by those who train on such a folder
    options: dict[str, Any] = {"scores": False} if format == "yolo" else {}
    for name, data in label_files(format, images, **options):
        atomic_write(out / name, data, durable=False)
    # among label files of its own suffix it would be taken for one of them
    beside = FORMATS[format].suffix == Path(SOURCE_FILE).suffix
    atomic_write(out.with_name(f"{out.name}.{SOURCE_FILE}") if beside else out / SOURCE_FILE, made_by)
    return findings


def _without_points(file: FileFaces) -> FileFaces:
    faces = [replace(face, points=None, visibility=None, names=None, convention=None) for face in file.faces]
    return replace(file, faces=faces)
