"""Faces of whatever `inputs` opens, frame by frame, and into label files.

A still gives all its faces with all that is known of them. Of a video the main face is followed, smoothed and filled in
where that is asked for; of further faces there are the boxes.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from thermvision.annotations.errors import DamagedInputError
from thermvision.annotations.faces import FaceShape
from thermvision.annotations.findings import Finding
from thermvision.annotations.formats.records import HIDDEN, SEEN, UNLABELLED, FaceRecord, FileFaces
from thermvision.annotations.schema import EXPRESSIONS, OUTSIDE, VISIBLE, FrameAnnotation

from .inputs import Chunk, Gray, Input, Item
from .label_files import is_folder, write_label_files
from .parts import Advance, check_free, each_part, work_folder
from .published_layout import png
from .store import atomic_write

MAX_FRAMES = 100_000  # of one video: their faces are in memory until it is smoothed


class SeenFace(Protocol):
    """One face, as `thermvision.annotations.pipeline` gives it."""

    @property
    def bbox(self) -> NDArray[np.float32]: ...
    @property
    def score(self) -> float: ...
    @property
    def shape(self) -> FaceShape | None: ...
    @property
    def attributes(self) -> Mapping[str, tuple[str, float]]: ...


class Annotates(Protocol):
    """What is needed of `thermvision.annotations.pipeline.Annotator`."""

    @property
    def source(self) -> str:
        """Names and digests of its models."""
        ...

    def faces(self, frame: Gray) -> Sequence[SeenFace]:
        """All faces of one frame, best first."""
        ...

    def stream(self, frames: Iterable[Gray], *, video: bool = False) -> Iterator[FrameAnnotation]:
        """The main face of each frame, one by one."""
        ...


@dataclass(frozen=True)
class Temporal:
    """What is done to the main face of a video over time.

    Attributes:
        smooth: whether boxes, landmarks and pose are smoothed.
        fill_gaps: the longest run of frames without a face that is filled from its neighbours; 0: none is.

    >>> face, lost = FrameAnnotation(np.array([1, 2, 30, 40]), 1, "x@0"), FrameAnnotation.no_face("x@0")
    >>> [a.face_count for a in Temporal(fill_gaps=1).apply([face, lost, face], fps=30)]
    [1, 1, 1]
    """

    smooth: bool = False
    fill_gaps: int = 0

    def apply(self, annotations: Sequence[FrameAnnotation], fps: float | None) -> list[FrameAnnotation]:
        """The annotations of a video with this done, which their ``source`` says; without ``fps`` it is taken as 30."""
        if not annotations or (not self.smooth and not self.fill_gaps):
            return list(annotations)
        from thermvision.annotations.smoothing import temporal

        rate = fps or 30.0
        # half of the motion at 5 Hz is kept; a slow camera does not reach that far
        cutoff = min(5.0, rate / 4)
        return temporal(annotations, smooth=self.smooth, fill_gaps=self.fill_gaps, fps=rate, cutoff=cutoff)


@dataclass(frozen=True)
class FrameFaces:
    """One frame: its main face as a release has it, and the records of further faces, best first."""

    width: int
    height: int
    annotation: FrameAnnotation
    others: tuple[FaceRecord, ...] = ()
    attributes: Mapping[str, str] = field(default_factory=dict)


def frames_of(
    annotator: Annotates, item: Item, temporal: Temporal, advance: Advance = lambda frames: None
) -> list[FrameFaces]:
    """The faces of each frame of an item. Of a video's further faces only the boxes are known.

    Raises:
        DamagedInputError: it does not decode, or is longer than `MAX_FRAMES`.
    """
    if not item.is_video:
        found = [_still_faces(annotator, frame) for frame in item.read()]
        advance(len(found))
        return found
    sizes: list[tuple[int, int]] = []

    def frames() -> Iterator[Gray]:
        for frame in item.read():
            if len(sizes) == MAX_FRAMES:
                message = f"{item.item_id} has more than {MAX_FRAMES} frames; allowed: {MAX_FRAMES}; cut it"
                raise DamagedInputError(message)
            sizes.append((frame.shape[1], frame.shape[0]))
            advance(1)
            yield frame

    annotations = temporal.apply(list(annotator.stream(frames(), video=True)), item.fps)
    return [
        FrameFaces(width, height, a, tuple(FaceRecord(bbox=box) for box in a.extra_bboxes))
        for (width, height), a in zip(sizes, annotations, strict=True)
    ]


def _still_faces(annotator: Annotates, frame: Gray) -> FrameFaces:
    height, width = frame.shape
    faces = list(annotator.faces(frame))
    if not faces:
        return FrameFaces(width, height, FrameAnnotation.no_face(annotator.source))
    boxes = np.array([f.bbox for f in faces], np.float32).reshape(-1, 4)
    main = int(np.argmax(boxes[:, 2] * boxes[:, 3] * [f.score for f in faces]))
    face, shape = faces[main], faces[main].shape
    labels = {name: label for name, (label, _) in face.attributes.items()}
    expression = labels.get("expression")
    annotation = FrameAnnotation(
        bbox=boxes[main],
        face_count=min(len(faces), 255),
        source=annotator.source,
        bbox_score=float(face.score),
        extra_bboxes=np.delete(boxes, main, axis=0),
        landmarks=None if shape is None else shape.landmarks,
        landmark_state=None if shape is None else shape.landmark_state,
        head_pose=None if shape is None else shape.head_pose,
        expression=expression if expression in EXPRESSIONS else None,
        eye_openness=None if shape is None else shape.eye_openness,
        mouth_openness=None if shape is None else shape.mouth_openness,
    )
    others = tuple(_record_of_face(f) for n, f in enumerate(faces) if n != main)
    return FrameFaces(width, height, annotation, others, labels)


def annotations_of(
    annotator: Annotates, item: Item, temporal: Temporal, advance: Advance = lambda frames: None
) -> list[FrameAnnotation]:
    """`frames_of` without further faces' landmarks: what a release's columns hold."""
    return [f.annotation for f in frames_of(annotator, item, temporal, advance)]


def source_of(annotator: Annotates, found: Sequence[FrameAnnotation]) -> str:
    """The ``annotation_source`` of an item: its frames' own, which tells of smoothing and filling."""
    return found[0].source if found else annotator.source


def record_of(annotation: FrameAnnotation, attributes: Mapping[str, str] | None = None) -> FaceRecord | None:
    """The record of a frame's main face; None where there is none.

    >>> record_of(FrameAnnotation.no_face("x")) is None
    True
    """
    if not np.isfinite(annotation.bbox).all():
        return None
    facts = dict(attributes or {})
    if annotation.expression is not None:
        facts["expression"] = annotation.expression
    for name in ("eye_openness", "mouth_openness"):
        if (value := getattr(annotation, name)) is not None:
            facts[name] = f"{value:.4f}"
    if annotation.head_pose is not None:
        facts |= {n: f"{v:.2f}" for n, v in zip(("yaw", "pitch", "roll"), annotation.head_pose, strict=True)}
    return FaceRecord(
        bbox=annotation.bbox,
        score=annotation.bbox_score,
        points=annotation.landmarks,
        visibility=None if annotation.landmarks is None else visibility_of(annotation.landmark_state),
        convention=None if annotation.landmarks is None else "68",
        attributes=facts,
    )


def visibility_of(state: NDArray[np.uint8] | None) -> NDArray[np.uint8] | None:
    """COCO visibility (68,) of a ``landmark_state``: outside is not labelled, occluded is hidden."""
    if state is None:
        return None
    return np.where(state == VISIBLE, SEEN, np.where(state == OUTSIDE, UNLABELLED, HIDDEN)).astype(np.uint8)


def file_faces(item: Item, number: int, frame: FrameFaces) -> FileFaces:
    """The record of one frame with all its faces, the main one first."""
    main = record_of(frame.annotation, frame.attributes)
    faces = [*([main] if main else []), *frame.others]
    return FileFaces(item.frame_path(number), frame.width, frame.height, faces)


def _record_of_face(face: SeenFace) -> FaceRecord:
    attributes = {name: label for name, (label, _) in face.attributes.items()}
    shape = face.shape
    if shape is None:
        return FaceRecord(bbox=face.bbox, score=float(face.score), attributes=attributes)
    return FaceRecord(
        bbox=face.bbox,
        score=float(face.score),
        points=shape.landmarks,
        visibility=visibility_of(shape.landmark_state),
        convention="68",
        attributes=attributes,
    )


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
    """

    annotation_source: str
    items: int
    frames: int
    faces: int
    without_face: int
    findings: tuple[Finding, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def annotate_items(
    chunk: Chunk,
    annotator: Annotates,
    temporal: Temporal,
    advance: Advance,
    draw: Path | None,
    plain: Callable[[Item, list[FrameFaces]], Any],
) -> dict[str, Any]:
    """The part of a chunk: ``plain`` of each item that is read, and findings about the others."""
    items, findings, counts, sources = [], [], Counter[str](), set()
    for item in chunk.read():
        try:
            found = frames_of(annotator, item, temporal, advance)
        except DamagedInputError as error:
            findings.append(asdict(Finding(item.item_id, "unreadable", str(error))))
            continue
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
    return {"items": items, "findings": findings, "counts": dict(counts), "sources": sorted(sources)}


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

    Raises:
        UsageError: ``out`` holds something else.
        OutputError: no room or no permission.
    """
    folder = is_folder(format)
    check_free(out, folder)
    work = work_folder(out, folder)
    settings = {**(settings or {}), **asdict(temporal)}
    plan = {"does": "annotate", "by": annotator.source, "settings": settings, "draw": str(draw)}

    def plain(item: Item, frames: list[FrameFaces]) -> list[Any]:
        return [to_plain(file_faces(item, n, f)) for n, f in enumerate(frames)]

    def process(chunk: Chunk, advance: Advance) -> Any:
        return annotate_items(chunk, annotator, temporal, advance, draw, plain)

    parts = list(each_part(work, found, process, plan, quiet=quiet))
    summary = summarise(parts, found, annotator)
    files = (from_plain(value) for part in parts for item in part["items"] for value in item)
    lost = write_label_files(format, files, out, summary.annotation_source, settings, points=points)
    shutil.rmtree(work)
    return replace(summary, findings=tuple(sorted((*summary.findings, *lost))))


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
