"""Frames in, annotations out: detector, landmarker and attributes put together.

Frames are (H, W) uint8. They ought to be white-hot; a detector that can tell says when they are not, and then they are
read as their negative, which the annotation's ``source`` records as ``+inverted``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from thermvision.annotations.attributes import AttributeReader
from thermvision.annotations.boxes import iou_matrix
from thermvision.annotations.conventions import five_points
from thermvision.annotations.errors import UsageError
from thermvision.annotations.faces import (
    INVERTED,
    Detections,
    FaceDetector,
    FaceLandmarker,
    FaceShape,
    Floats,
    Gray,
)
from thermvision.annotations.schema import EXPRESSIONS, FrameAnnotation

Attributes = dict[str, tuple[str, float]]
POLARITIES = ("auto", "white-hot", "black-hot")
DOUBT = 0.5  # probability of black-hot above which a frame is looked at as its negative
BATCH = 16  # frames read ahead, and those that decide on the polarity of a video


@dataclass(frozen=True, eq=False)
class Face:
    """One face of one frame.

    Attributes:
        bbox: (4,) float32 ``[x, y, width, height]`` in pixels.
        score: the detector's, in 0..1.
        keypoints: (5, 2) float32; from the landmarks where the detector gives none, NaN where neither does.
        shape: landmarks and what follows from them; None without a landmarker, or where it finds nothing.
        attributes: label and probability by name; empty without a reader.
    """

    bbox: Floats
    score: float
    keypoints: Floats
    shape: FaceShape | None = None
    attributes: Attributes = field(default_factory=dict)


class Annotator:
    """Annotates frames with the models it is given.

    Args:
        detector: finds the faces; anything with the methods of `FaceDetector`.
        landmarker: finds their landmarks; None leaves them out.
        attributes: reads their attributes; None leaves them out.
        polarity: "auto" asks the detector; "white-hot" takes frames as they are; "black-hot" inverts them all.

    Attributes:
        source: names and digests, joined by ``+``.
        tells_polarity: whether its detector says of a frame how likely it is black-hot.

    >>> Annotator(None, polarity="green")
    Traceback (most recent call last):
    ...
    thermvision.annotations.errors.UsageError: polarity is 'green'; allowed: auto, white-hot, black-hot
    """

    def __init__(
        self,
        detector: FaceDetector,
        landmarker: FaceLandmarker | None = None,
        attributes: AttributeReader | None = None,
        polarity: Literal["auto", "white-hot", "black-hot"] = "auto",
    ) -> None:
        if polarity not in POLARITIES:
            raise UsageError(f"polarity is {polarity!r}; allowed: {', '.join(POLARITIES)}")
        self.detector, self.landmarker, self.attributes, self.polarity = detector, landmarker, attributes, polarity
        self.source = "+".join(model.source for model in (detector, landmarker, attributes) if model is not None)
        self.tells_polarity = bool(getattr(detector, "tells_polarity", False))

    def annotate(self, frames: Sequence[Gray], *, video: bool = False) -> list[FrameAnnotation]:
        """One annotation for each frame, of its main face; see `stream`."""
        return list(self.stream(frames, video=video))

    def stream(self, frames: Iterable[Gray], *, video: bool = False, doubt: float = DOUBT) -> Iterator[FrameAnnotation]:
        """Annotations one by one, reading no more than `BATCH` frames ahead.

        Stills are each a source of their own: the polarity is decided for each, and the main face is the one with the
        largest product of area and score. The frames of a video share the polarity that its first frames show, and
        the main face is the one that lies where the last one lay, as long as there is one.

        Further faces' boxes are in ``extra_bboxes``, best first. A frame is inverted when the probability of its being
        black-hot is above ``doubt`` (1: never) and its negative's is lower.
        """
        for annotation, _ in self.main_faces(frames, video=video, doubt=doubt):
            yield annotation

    def main_faces(
        self, frames: Iterable[Gray], *, video: bool = False, doubt: float = DOUBT
    ) -> Iterator[tuple[FrameAnnotation, Attributes]]:
        """`stream`, with the main face's attributes: label and probability by name."""
        last: Floats | None = None
        for frame, detections, negated in self._detected(frames, video, doubt):
            main = main_face(detections, last)
            last = detections.bboxes[main] if video and main is not None else last
            yield self._annotation(frame, detections, main, self._source(negated))

    def faces(self, frame: Gray) -> list[Face]:
        """All faces of one frame with all that the models say about them, best first."""
        return next(self.each([frame]))

    def each(self, frames: Iterable[Gray], *, video: bool = False) -> Iterator[list[Face]]:
        """`faces` of frame after frame, detected in batches; ``video`` as in `stream`."""
        for faces, _ in self.all_faces(frames, video=video):
            yield faces

    def all_faces(
        self, frames: Iterable[Gray], *, video: bool = False, doubt: float = DOUBT
    ) -> Iterator[tuple[list[Face], str]]:
        """`each`, with the ``source`` of each frame's faces; ``doubt`` as in `stream`."""
        for frame, found, negated in self._detected(frames, video, doubt):
            shapes, attributes = self._describe(frame, found)
            faces = [
                Face(
                    bbox=found.bboxes[i],
                    score=float(found.scores[i]),
                    keypoints=_keypoints(found.keypoints[i], shapes[i]),
                    shape=shapes[i],
                    attributes=attributes[i],
                )
                for i in range(len(found))
            ]
            yield faces, self._source(negated)

    def _source(self, inverted: bool) -> str:
        return self.source + INVERTED if inverted else self.source

    def _detected(self, frames: Iterable[Gray], video: bool, doubt: float) -> Iterator[tuple[Gray, Detections, bool]]:
        """Each frame as it was read, what was found in it, and whether it was inverted."""
        rest, inverted = iter(frames), None
        while batch := list(islice(rest, BATCH)):
            if inverted is None or not video:
                read, found, negative = self._first_look(batch, video, doubt)
                inverted = negative[0]
            else:
                read = [255 - frame for frame in batch] if inverted else batch
                found, negative = self._find(read), [inverted] * len(batch)
            yield from zip(read, found, negative, strict=True)

    def _first_look(
        self, frames: list[Gray], shared: bool, doubt: float
    ) -> tuple[list[Gray], list[Detections], list[bool]]:
        """The frames as they are to be read, what is found in them, and which were inverted."""
        if self.polarity == "black-hot":
            frames = [255 - frame for frame in frames]
        found = self._find(frames)
        negative = [self.polarity == "black-hot"] * len(frames)
        if self.polarity != "auto":
            return frames, found, negative
        doubts = _doubts(found, shared)
        odd = np.flatnonzero(doubts > doubt)
        if not len(odd):
            return frames, found, negative
        frames, found = list(frames), list(found)
        inverted = [255 - frames[i] for i in odd]
        again = self._find(inverted)
        for k, i in enumerate(odd):
            # a frame that looks no better as its negative tells nothing
            if _doubts(again, shared)[k] < doubts[i]:
                frames[i], found[i], negative[i] = inverted[k], again[k], True
        return frames, found, negative

    def _find(self, frames: list[Gray]) -> list[Detections]:
        return [usable(found, frame) for found, frame in zip(self.detector.detect(frames), frames, strict=True)]

    def _describe(self, frame: Gray, found: Detections) -> tuple[list[FaceShape | None], list[Attributes]]:
        shapes: Sequence[FaceShape | None] = [None] * len(found)
        if self.landmarker is not None:
            # a detector that has asked the same landmarker need not be asked about again
            known = found.shapes if getattr(self.detector, "shapes_source", "") == self.landmarker.source else None
            shapes = self.landmarker.locate(frame, found) if known is None else known
        attributes: list[Attributes] = (
            [{}] * len(found) if self.attributes is None else self.attributes.read(frame, found)
        )
        return list(shapes), attributes

    def _annotation(
        self, frame: Gray, found: Detections, main: int | None, source: str
    ) -> tuple[FrameAnnotation, Attributes]:
        if main is None:
            return FrameAnnotation.no_face(source), {}
        only = found.take(np.array([main]))
        (shape,), (attributes,) = self._describe(frame, only)
        expression = attributes.get("expression", (None, 0.0))[0]
        annotation = FrameAnnotation(
            bbox=only.bboxes[0],
            face_count=min(len(found), 255),  # the column is a uint8
            source=source,
            bbox_score=float(only.scores[0]),
            extra_bboxes=np.delete(found.bboxes, main, axis=0),
            landmarks=None if shape is None else shape.landmarks,
            landmark_state=None if shape is None else shape.landmark_state,
            head_pose=None if shape is None else shape.head_pose,
            expression=expression if expression in EXPRESSIONS else None,
            eye_openness=None if shape is None else shape.eye_openness,
            mouth_openness=None if shape is None else shape.mouth_openness,
        )
        return annotation, attributes


def usable(found: Detections, frame: Gray) -> Detections:
    """The detections without boxes that no face can have, which a user's model may give.

    A box has finite numbers and an area, and neither its sides nor its corner go beyond twice the frame's longer side.

    >>> odd = Detections(np.array([[0, 0, 9, 9], [0, 0, -1, 9], [0, np.nan, 9, 9]]), np.ones(3), np.zeros((3, 5, 2)))
    >>> len(usable(odd, np.zeros((20, 20), np.uint8)))
    1
    """
    limit = 2 * max(frame.shape)
    keep = (found.bboxes[:, 2:] > 0).all(1) & (np.abs(found.bboxes) <= limit).all(1) & np.isfinite(found.scores)
    return found if keep.all() else found.take(keep)


def main_face(found: Detections, last: Floats | None = None) -> int | None:
    """Index of the main face: largest product of area and score, or the one that overlaps the last one most.

    >>> found = Detections(np.array([[0, 0, 9, 9], [20, 0, 6, 6]]), np.array([0.5, 1]), np.zeros((2, 5, 2)))
    >>> main_face(found), main_face(found, np.array([19, 0, 6, 6])), main_face(Detections())
    (0, 1, None)
    """
    if not len(found):
        return None
    if last is not None:
        overlaps = iou_matrix(found.bboxes, last)[:, 0]
        if overlaps.max() >= 0.3:
            return int(overlaps.argmax())
    return int((found.bboxes[:, 2] * found.bboxes[:, 3] * found.scores).argmax())


def _doubts(found: Sequence[Detections], shared: bool) -> NDArray[np.float64]:
    """The probability of each frame, or of all together, to be black-hot; NaN where the detector does not say."""
    doubts = np.array([np.nan if d.black_hot is None else d.black_hot for d in found], np.float64)
    if not shared or np.isnan(doubts).all():
        return doubts
    return np.full(len(doubts), np.nanmean(doubts))


def _keypoints(given: Floats, shape: FaceShape | None) -> Floats:
    """Five points of the landmarks, which are nearer to the truth than the detector's; its own where those lack one."""
    if shape is None:
        return given
    found = five_points(shape.landmarks)
    return np.where(np.isfinite(found), found, given).astype(np.float32)
