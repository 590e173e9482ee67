"""The annotations of a release as label files, with their pictures if asked for."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from thermvision.annotations.errors import UsageError
from thermvision.annotations.findings import Finding
from thermvision.annotations.formats.records import FileFaces
from thermvision.annotations.schema import EXPRESSIONS, FRAME_COLUMNS, FrameAnnotation

from .annotate import Summary, from_plain, to_plain
from .inputs import Chunk, Input, Item, is_release, source_input
from .item_faces import record_of
from .label_files import is_folder, write_label_files
from .parts import Advance, check_free, each_part, work_folder
from .progress import BuildProgress
from .published_layout import png, write_layout
from .release import read_release
from .sources import ReleaseSource
from .store import atomic_write, canonical_json, read_json

_STARTED = ".export.json"


def release_input(root: Path, config: str | None = None, split: str | None = None, limit: int | None = None) -> Input:
    """The clips, stills and scenes of a release folder.

    Raises:
        UsageError: there is no release, or it has no such config or split.
    """
    if not is_release(root):
        read_release(root)  # says what is lacking
    return source_input(ReleaseSource(root), config, split, limit)


def export_labels(
    found: Input,
    out: Path,
    format: str,
    *,
    points: bool = True,
    images: Path | None = None,
    quiet: bool = False,
) -> Summary:
    """Write the annotations of every item as ``format`` to ``out``, and the frames as PNG below ``images``; resumable.

    Frames are named ``<clip_id>/frame_0000.png``, stills ``<image_id>.png``. A frame that nobody has annotated is left
    out, which a finding says; one without a face is there without a face.

    Raises:
        UsageError: ``out`` holds something else.
        OutputError: no room or no permission.
    """
    folder = is_folder(format)
    check_free(out, folder)
    work = work_folder(out, folder)
    plan = {"does": "export", "images": str(images)}

    def process(chunk: Chunk, advance: Advance) -> Any:
        items, findings, sources = [], [], set()
        for item in chunk.read():
            row = item.row or {}
            known, unknown = item_frames(row, item.is_video)
            if unknown:
                message = f"{unknown} frames have no annotation; annotate the release first: thermvision annotate"
                findings.append(asdict(Finding(item.item_id, "not-annotated", message)))
            if images is not None:
                _write_images(images, item)
            frames = [_plain(item, number, faces) for number, faces in known.items()]
            if frames:
                sources.add(row["annotation_source"] or "")
            items.append(frames)
            advance(len(known) + unknown)
        return {"items": items, "findings": findings, "sources": sorted(sources)}

    parts = list(each_part(work, found, process, plan, quiet=quiet))
    values = [value for part in parts for item in part["items"] for value in item]
    source = "; ".join(sorted({s for part in parts for s in part["sources"]}))
    findings = [Finding(**f) for part in parts for f in part["findings"]]
    findings += write_label_files(format, map(from_plain, values), out, source, points=points)
    shutil.rmtree(work)
    counts = [len(v["faces"]) for v in values]
    return Summary(
        annotation_source=source,
        items=sum(len(part["items"]) for part in parts),
        frames=len(values),
        faces=sum(counts),
        without_face=sum(not n for n in counts),
        findings=tuple(sorted(findings)),
    )


def _plain(item: Item, number: int, faces: FrameAnnotation | FileFaces) -> dict[str, Any]:
    row = item.row or {}
    path, width, height = item.frame_path(number), row["width"], row["height"]
    if isinstance(faces, FileFaces):  # a scene: every face is known as well as the first
        return to_plain(replace(faces, path=path, width=width, height=height))
    main = record_of(faces)
    others = [record_of(FrameAnnotation(box, 1, faces.source)) for box in faces.extra_bboxes]
    return to_plain(FileFaces(path, width, height, [f for f in (main, *others) if f is not None]))


def item_frames(row: Mapping[str, Any], is_video: bool) -> tuple[dict[int, FrameAnnotation | FileFaces], int]:
    """The annotated frames of a row of ``video``, a category or ``scenes`` by number, and how many others there are."""
    source = row["annotation_source"] or ""
    if "faces" in row:
        columns: Mapping[str, Any] = row["faces"]
        faces = [
            record_of(_annotation({n: (columns.get(n) or {k: None})[k] for n in FRAME_COLUMNS}, source))
            for k in range(len(columns["bbox"]))
        ]
        return {0: FileFaces("", faces=[f for f in faces if f is not None])}, 0
    count = row["num_frames"] if is_video else 1
    found: dict[int, FrameAnnotation | FileFaces] = {}
    for k in range(count):
        values = {n: row[n][k] if is_video and row[n] is not None else row[n] for n in FRAME_COLUMNS}
        if values["bbox"] is not None and (values["face_count"] is not None or np.isfinite(values["bbox"]).all()):
            found[k] = _annotation(values, source)
    return found, count - len(found)


def _annotation(values: Mapping[str, Any], source: str) -> FrameAnnotation:
    expression = values["expression"]
    known = {n: v for n, v in values.items() if n != "expression" and v is not None}
    return FrameAnnotation(
        **{"face_count": 1, **known},
        source=source,
        expression=None if expression is None else EXPRESSIONS[expression],
    )


def _write_images(folder: Path, item: Item) -> None:
    if not item.is_video:
        path, data = folder / item.path, (item.row or {})["image"]["bytes"]
        if not path.is_file() or path.stat().st_size != len(data):
            atomic_write(path, data)
        return
    for number, gray in enumerate(item.read()):
        atomic_write(folder / item.frame_path(number), png(gray), durable=False)


def export_published(
    root: Path,
    out: Path,
    *,
    split: str | None = None,
    limit: int | None = None,
    crops: bool = True,
    quiet: bool = False,
) -> list[Finding]:
    """Write the release in ``root`` as folders in the form of the published archives; a run that was killed goes on.

    Raises:
        UsageError: there is no release, it has no clip or still, or ``out`` holds something else.
        DamagedInputError: a clip does not decode.
        OutputError: no room or no permission.
    """
    source = ReleaseSource(root)
    found = release_input(root, None, split, limit)
    plan = {"of": source.digest, "split": split, "limit": limit, "crops": crops}
    started = out / _STARTED
    if out.is_dir() and any(out.iterdir()):
        if not started.is_file() or read_json(started) != plan:
            raise UsageError(
                f"--out {out} is not empty; allowed: a new or empty folder, or one the same command was stopped in"
            )
    elif out.exists() and not out.is_dir():
        raise UsageError(f"--out {out} is a file; choose another name")
    atomic_write(started, canonical_json(plan))
    with BuildProgress(1, found.frames, quiet=quiet) as progress:
        identities = source.release.identities
        findings = write_layout(
            source, identities, out, split=split, limit=limit, crops=crops, advance=progress.advance
        )
        progress.shard_done(root.name)
    started.unlink()
    return findings
