"""Faces of whatever `inputs` opens into label files, with a summary, pictures of them, and what could not be read."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from thermvision.annotations.errors import DamagedInputError
from thermvision.annotations.faces import INVERTED
from thermvision.annotations.findings import Finding
from thermvision.annotations.formats.records import FaceRecord, FileFaces

from .inputs import Chunk, Input, Item
from .item_faces import Annotates, FrameFaces, Temporal, each_item, record_of
from .label_files import is_folder, write_label_files
from .parts import Advance, check_free, each_part, work_folder
from .published_layout import png
from .store import atomic_write


def file_faces(item: Item, number: int, frame: FrameFaces) -> FileFaces:
    """The record of one frame with all its faces, the main one first."""
    main = record_of(frame.annotation, {name: label for name, (label, _) in frame.attributes.items()})
    faces = [*([main] if main else []), *frame.others]
    return FileFaces(item.frame_path(number), frame.width, frame.height, faces)


def draw_frames(folder: Path, item: Item, found: Sequence[FrameFaces]) -> None:
    """Overlay PNGs of an item below ``folder``, named as its frames are; the item is read a second time."""
    from thermvision.annotations.draw import draw_annotation, draw_landmarks

    for number, (gray, frame) in enumerate(zip(item.read(), found, strict=True)):
        image = draw_annotation(gray, frame.annotation)
        for face in frame.others:
            if face.points is not None and len(face.points) == 68:
                draw_landmarks(image, face.points)
        path = folder / item.frame_path(number)
        atomic_write(path.with_name(f"{path.stem if item.is_video else path.name}.png"), png(image), durable=False)


@dataclass(frozen=True)
class Summary:
    """What a run over items gave.

    Attributes:
        annotation_source: what made the annotations.
        items, frames, faces, without_face: how many of each there are.
        findings: what could not be read.
        readings: for each item that was no release's: what its pixels were taken for, and whether they were inverted.
    """

    annotation_source: str
    items: int
    frames: int
    faces: int
    without_face: int
    findings: tuple[Finding, ...] = ()
    readings: tuple[Mapping[str, Any], ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {**asdict(self), "recognised": self.recognised()}

    def recognised(self) -> dict[str, dict[str, int]]:
        """How many items were taken for what, by ``units``, ``palette`` and ``polarity``.

        >>> notes = {"units": "gray (recognised)", "palette": "ironbow (recognised)"}
        >>> Summary("x", 1, 1, 1, 0, readings=({"item": "a.png", **notes, "inverted": True},)).recognised()
        {'units': {'gray': 1}, 'palette': {'ironbow': 1}, 'polarity': {'inverted': 1}}
        """
        if not self.readings:
            return {}
        first = {n: Counter(r[n].split(" (")[0] for r in self.readings) for n in ("units", "palette")}
        polarity = Counter("inverted" if r["inverted"] else "as it was" for r in self.readings)
        return {name: dict(counts.most_common()) for name, counts in (*first.items(), ("polarity", polarity))}


def annotate_items(
    chunk: Chunk,
    advance: Advance,
    *,
    annotator: Annotates,
    temporal: Temporal,
    draw: Path | None,
    plain: Callable[[Item, list[FrameFaces]], Any],
) -> dict[str, Any]:
    """The part of a chunk: ``plain`` of each item that is read, and findings about the others."""
    items, findings, readings, counts, sources = [], [], [], Counter[str](), set()
    for item, found in each_item(chunk.read(), annotator, temporal, advance):
        if isinstance(found, DamagedInputError):
            findings.append(asdict(Finding(item.item_id, "unreadable", str(found))))
            continue
        if item.seen.notes:
            inverted = any(INVERTED in f.annotation.source for f in found)
            readings.append({"item": item.item_id, **item.seen.notes, "inverted": inverted})
        if draw is not None:
            draw_frames(draw, item, found)
        counts += Counter(
            items=1,
            frames=len(found),
            faces=sum(f.annotation.face_count for f in found),
            without_face=sum(not f.annotation.face_count for f in found),
        )
        sources |= {f.annotation.source for f in found}
        items.append(plain(item, found))
    return {
        "items": items, "findings": findings, "readings": readings, "counts": dict(counts), "sources": sorted(sources)
    }  # fmt: skip


def summarise(parts: Sequence[Mapping[str, Any]], found: Input, annotator: Annotates) -> Summary:
    """The summary of all parts of a run."""
    counts: Counter[str] = Counter()
    for part in parts:
        counts.update(part["counts"])
    sources = sorted({s for part in parts for s in part["sources"]})
    findings = [Finding(**f) for part in parts for f in part["findings"]]
    return Summary(
        annotation_source="; ".join(sources) or annotator.source,
        **{name: counts[name] for name in ("items", "frames", "faces", "without_face")},
        findings=tuple(sorted((*found.findings, *findings))),
        readings=tuple(reading for part in parts for reading in part["readings"]),
    )


def annotate_to_files(
    found: Input,
    out: Path,
    format: str,
    annotator: Annotates,
    temporal: Temporal,
    *,
    settings: Mapping[str, Any] | None = None,
    points: bool = True,
    draw: Path | None = None,
    workers: int = 1,
    quiet: bool = False,
) -> Summary:
    """Annotate every item into label files of ``format`` at ``out``; a run that was killed goes on at its chunk.

    Args:
        found: the items.
        out: a file or folder, as the format has it.
        format: one of `label_files.WRITTEN`.
        annotator: finds the faces.
        temporal: what is done to videos.
        settings: plain values that decide what the annotator finds, besides its models; they are written beside.
        points: whether landmarks are written, where the format has a place for them.
        draw: folder for a picture of each frame with its labels.
        workers: processes; the labels do not depend on them.

    Raises:
        UsageError: ``out`` holds something else.
        OutputError: no room or no permission.
    """
    folder = is_folder(format)
    check_free(out, folder)
    work = work_folder(out, folder)
    settings = {**(settings or {}), **asdict(temporal)}
    plan = {"does": "annotate", "by": annotator.source, "settings": settings, "draw": str(draw)}
    process = partial(annotate_items, annotator=annotator, temporal=temporal, draw=draw, plain=_plain_files)
    parts = list(each_part(work, found, process, plan, workers=workers, quiet=quiet))
    summary = summarise(parts, found, annotator)
    files = (from_plain(value) for part in parts for item in part["items"] for value in item)
    lost = write_label_files(format, files, out, summary.annotation_source, settings, points=points)
    shutil.rmtree(work)
    return replace(summary, findings=tuple(sorted((*summary.findings, *lost))))


def _plain_files(item: Item, frames: list[FrameFaces]) -> list[dict[str, Any]]:
    return [to_plain(file_faces(item, n, f)) for n, f in enumerate(frames)]


def to_plain(file: FileFaces) -> dict[str, Any]:
    """The record in values that JSON knows; `from_plain` reads it."""
    faces = [
        {
            "bbox": f.bbox.tolist(),
            "score": f.score,
            "points": None if f.points is None else _nulls(f.points),
            "visibility": None if f.visibility is None else f.visibility.tolist(),
            "convention": f.convention,
            "attributes": dict(f.attributes),
        }
        for f in file.faces
    ]
    return {"path": file.path, "width": file.width, "height": file.height, "faces": faces}


def _nulls(points: NDArray[np.float32]) -> list[list[float | None]]:
    return [[float(v) if np.isfinite(v) else None for v in point] for point in points]


def from_plain(value: Mapping[str, Any]) -> FileFaces:
    """The record of values that `to_plain` made."""
    faces = [
        FaceRecord(**{**f, "points": None if f["points"] is None else np.array(f["points"], np.float32)})
        for f in value["faces"]
    ]
    return FileFaces(value["path"], value["width"], value["height"], faces)
