"""An annotator without models: a face is the box around whatever is brighter than the background."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from thermvision.annotations.faces import FaceShape
from thermvision.annotations.pipeline import Face
from thermvision.annotations.schema import FrameAnnotation


def bright_box(frame: np.ndarray) -> np.ndarray | None:
    """Box (4,) around the pixels above 120, None where there are none."""
    y, x = np.nonzero(frame > 120)
    if not len(y):
        return None
    return np.array([x.min(), y.min(), np.ptp(x) + 1, np.ptp(y) + 1], np.float32)


def shape_in(box: np.ndarray) -> FaceShape:
    """68 points on the diagonal of a box."""
    points = box[:2] + np.linspace(0, 1, 68)[:, None] * box[2:]
    return FaceShape(points, np.full(68, 3, np.uint8), None, np.array([1, 2, 3]), 0.25, 0.125)


class BrightAnnotator:
    """What `Annotates` asks for.

    Args:
        stop_after: frames after which it is interrupted; None: never.
        blind: numbers of the frames (as it sees them) in which it finds nothing.
    """

    def __init__(self, stop_after: int | None = None, blind: Iterable[int] = ()) -> None:
        self.source, self.stop_after, self.blind, self.seen = "bright@0", stop_after, set(blind), 0
        self.tells_polarity = False

    def faces(self, frame: np.ndarray) -> list[Face]:
        if self.seen == self.stop_after:
            raise KeyboardInterrupt
        self.seen += 1
        box = bright_box(frame)
        if box is None or self.seen - 1 in self.blind:
            return []
        return [Face(box, 0.75, np.full((5, 2), np.nan, np.float32), shape_in(box), {"glasses": ("none", 0.9)})]

    def all_faces(
        self, frames: Iterable[np.ndarray], *, video: bool = False, doubt: float = 0.5
    ) -> Iterator[tuple[list[Face], str]]:
        for frame in frames:
            yield self.faces(frame), self.source

    def main_faces(
        self, frames: Iterable[np.ndarray], *, video: bool = False, doubt: float = 0.5
    ) -> Iterator[tuple[FrameAnnotation, dict[str, tuple[str, float]]]]:
        for frame in frames:
            faces = self.faces(frame)
            if not faces:
                yield FrameAnnotation.no_face(self.source), {}
                continue
            face, shape = faces[0], faces[0].shape
            assert shape is not None
            annotation = FrameAnnotation(
                bbox=face.bbox,
                face_count=1,
                source=self.source,
                bbox_score=face.score,
                landmarks=shape.landmarks,
                landmark_state=shape.landmark_state,
                head_pose=shape.head_pose,
                eye_openness=shape.eye_openness,
                mouth_openness=shape.mouth_openness,
            )
            yield annotation, face.attributes
