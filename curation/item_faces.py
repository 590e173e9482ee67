"""The faces of each frame of the items that `inputs` opens, as an annotator finds them.

A still gives all its faces with all that is known of them, and stills are looked at several at a time. Of a video the
main face is followed, smoothed and filled in where that is asked for; of further faces there are the boxes.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain, groupby, islice
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from thermvision.annotations.errors import DamagedInputError
from thermvision.annotations.faces import INVERTED, FaceShape
from thermvision.annotations.formats.records import HIDDEN, SEEN, UNLABELLED, FaceRecord
from thermvision.annotations.schema import EXPRESSIONS, OUTSIDE, VISIBLE, FrameAnnotation

from .inputs import Gray, Item

Advance = Callable[[int], None]
TOGETHER = 16  # stills detected at once
MOST_PIXELS = 2**25  # of such stills
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

    @property
    def tells_polarity(self) -> bool:
        """Whether it finds out itself which frames are black-hot."""
        ...

    def all_faces(
        self, frames: Iterable[Gray], *, video: bool = False, doubt: float = 0.5
    ) -> Iterator[tuple[Sequence[SeenFace], str]]:
        """All faces of frame after frame, best first, and their ``annotation_source``."""
        ...

    def main_faces(
        self, frames: Iterable[Gray], *, video: bool = False, doubt: float = 0.5
    ) -> Iterator[tuple[FrameAnnotation, Mapping[str, tuple[str, float]]]]:
        """The main face of each frame, one by one, with the label and probability of its attributes."""
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
    """One frame: its main face as a release has it, and the records of further faces, best first.

    ``attributes`` are label and probability by name.
    """

    width: int
    height: int
    annotation: FrameAnnotation
    others: tuple[FaceRecord, ...] = ()
    attributes: Mapping[str, tuple[str, float]] = field(default_factory=dict)


def each_item(
    items: Iterable[Item], annotator: Annotates, temporal: Temporal, advance: Advance = lambda frames: None
) -> Iterator[tuple[Item, list[FrameFaces] | DamagedInputError]]:
    """Every item, in order, with the faces of each of its frames, or why it could not be read.

    Of a video's further faces only the boxes are known. No more than `TOGETHER` stills are read ahead.
    """
    waiting: list[tuple[Item, Gray]] = []
    for item in items:
        try:
            if item.is_video:
                yield from _stills(annotator, waiting, advance)
                yield item, _video_faces(annotator, item, temporal, advance)
                continue
            (gray,) = item.read()
        except DamagedInputError as error:
            yield from _stills(annotator, waiting, advance)
            yield item, error
            continue
        if waiting and gray.size + sum(frame.size for _, frame in waiting) > MOST_PIXELS:
            yield from _stills(annotator, waiting, advance)
        waiting.append((item, gray))
        if len(waiting) == TOGETHER:
            yield from _stills(annotator, waiting, advance)
    yield from _stills(annotator, waiting, advance)


def frames_of(annotator: Annotates, item: Item, temporal: Temporal) -> list[FrameFaces]:
    """`each_item` of one item.

    Raises:
        DamagedInputError: it does not decode, or is longer than `MAX_FRAMES`.
    """
    ((_, found),) = each_item([item], annotator, temporal)
    if isinstance(found, DamagedInputError):
        raise found
    return found


def _video_faces(annotator: Annotates, item: Item, temporal: Temporal, advance: Advance) -> list[FrameFaces]:
    sizes: list[tuple[int, int]] = []
    rest = iter(item.read())
    first = list(islice(rest, 1))  # tells what the item is

    def frames() -> Iterator[Gray]:
        for frame in chain(first, rest):
            if len(sizes) == MAX_FRAMES:
                message = f"{item.item_id} has more than {MAX_FRAMES} frames; allowed: {MAX_FRAMES}; cut it"
                raise DamagedInputError(message)
            sizes.append((frame.shape[1], frame.shape[0]))
            advance(1)
            yield frame

    seen, attributes = [], []
    for annotation, said in annotator.main_faces(frames(), video=True, doubt=item.seen.doubt):
        seen.append(replace(annotation, source=_source(item, annotation.source)))
        attributes.append(said)
    annotations = temporal.apply(seen, item.fps)
    return [
        FrameFaces(width, height, a, tuple(FaceRecord(bbox=box) for box in a.extra_bboxes), said)
        for (width, height), a, said in zip(sizes, annotations, attributes, strict=True)
    ]


def _source(item: Item, source: str) -> str:
    return source + INVERTED if item.seen.inverted else source


def _stills(
    annotator: Annotates, waiting: list[tuple[Item, Gray]], advance: Advance
) -> Iterator[tuple[Item, list[FrameFaces]]]:
    """The stills that wait, of which then there are none."""
    for doubt, group in groupby(waiting[:], key=lambda still: still[0].seen.doubt):
        stills = list(group)
        found = annotator.all_faces((frame for _, frame in stills), doubt=doubt)
        for (item, frame), (faces, source) in zip(stills, found, strict=True):
            advance(1)
            yield item, [_still_faces(frame, faces, _source(item, source))]
    waiting.clear()


def _still_faces(frame: Gray, faces: Sequence[SeenFace], source: str) -> FrameFaces:
    height, width = frame.shape
    if not faces:
        return FrameFaces(width, height, FrameAnnotation.no_face(source))
    boxes = np.array([f.bbox for f in faces], np.float32).reshape(-1, 4)
    main = int(np.argmax(boxes[:, 2] * boxes[:, 3] * [f.score for f in faces]))
    face, shape = faces[main], faces[main].shape
    expression = face.attributes.get("expression", (None, 0.0))[0]
    annotation = FrameAnnotation(
        bbox=boxes[main],
        face_count=min(len(faces), 255),
        source=source,
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
    return FrameFaces(width, height, annotation, others, dict(face.attributes))


def source_of(annotator: Annotates, found: Sequence[FrameFaces]) -> str:
    """The ``annotation_source`` of an item: its frames' own, which tells of smoothing and filling."""
    return found[0].annotation.source if found else annotator.source


def attributes_of(found: Sequence[FrameFaces]) -> dict[str, str]:
    """Attributes of the main face of an item: the label with the largest sum of probabilities over its frames.

    >>> face, box = FrameAnnotation.no_face("x"), (("mask", 0.9), ("none", 0.6), ("none", 0.5))
    >>> attributes_of([FrameFaces(9, 9, face, attributes={"mask": said}) for said in box])
    {'mask': 'none'}
    """
    votes: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))
    for frame in found:
        for name, (label, probability) in frame.attributes.items():
            votes[name][label] += probability
    return {name: max(labels, key=lambda label: labels[label]) for name, labels in votes.items()}


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
