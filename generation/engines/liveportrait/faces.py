"""Where the face is, and how far its eyes and lips are open: what crops and retargeting of LivePortrait need.

An annotator (the project's own, or anyone's) finds face and 68 points. With LivePortrait's own landmark network, 203
points take their place. Coordinates have the centre of the first pixel at (0, 0), as `crop` has it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from thermvision.annotations.adapters.liveportrait import LivePortraitLandmarker
from thermvision.annotations.conventions import five_points
from thermvision.annotations.faces import INVERTED, Detections, Floats, Gray
from thermvision.annotations.schema import FrameAnnotation
from thermvision.curation.item_faces import Annotates
from thermvision.generation.engines.liveportrait.ratios import NUM_LANDMARKS, eye_close_ratio, lip_close_ratio

# of 68 points: the lids' points above and below, twice an eye, and the eye's corners; inner lips and mouth corners
_LEFT_EYE, _RIGHT_EYE = ((37, 41), (38, 40), (36, 39)), ((43, 47), (44, 46), (42, 45))
_INNER_LIPS, _MOUTH = (62, 66), (48, 54)
_TO_PIXEL_CENTRES = 0.5  # annotations have the first pixel's centre at (.5, .5)


@dataclass(frozen=True, eq=False)
class SeenPoints:
    """The face of one frame.

    Attributes:
        points: (203, 2) or (68, 2) float32, pixels.
        faces: how many there are in the frame; this one is the largest, in a video the one that is followed.
    """

    points: Floats
    faces: int = 1

    @cached_property
    def eyes(self) -> NDArray[np.float32]:
        """(2,) lid gap over width of the eye at image left and at image right."""
        if len(self.points) == NUM_LANDMARKS:
            return eye_close_ratio(self.points)[0]
        return np.array([self._opening(_LEFT_EYE), self._opening(_RIGHT_EYE)], np.float32)

    @cached_property
    def lips(self) -> float:
        """Gap between the inner lips over the width of the mouth."""
        if len(self.points) == NUM_LANDMARKS:
            return float(lip_close_ratio(self.points)[0, 0])
        return self._opening((_INNER_LIPS, _MOUTH))

    def _opening(self, pairs: tuple[tuple[int, int], ...]) -> float:
        *gaps, width = (float(np.linalg.norm(self.points[a] - self.points[b])) for a, b in pairs)
        return float(np.mean(gaps)) / (width + 1e-6)


class FaceReader:
    """Finds the face that is to move, or that moves it.

    Args:
        annotator: anything with the methods of `thermvision.curation.item_faces.Annotates`.
        landmarks: LivePortrait's landmark network as an ONNX file; None: the annotator's 68 points serve.

    Attributes:
        annotator: as given.
        source: names and digests of the models.

    Raises:
        MissingDependencyError, DamagedInputError, UsageError: the file is no such network.
    """

    def __init__(self, annotator: Annotates, landmarks: Path | None = None) -> None:
        self.annotator = annotator
        self._landmarker = None if landmarks is None else LivePortraitLandmarker(landmarks)
        self.source = "+".join(m.source for m in (annotator, self._landmarker) if m is not None)

    def in_picture(self, gray: Gray, doubt: float = 0.5) -> tuple[Gray, SeenPoints | None]:
        """The picture, white-hot, and its largest face; None where there is none.

        ``doubt`` is the probability of black-hot above which the annotator inverts it: 1 where polarity is known.
        """
        ((faces, source),) = self.annotator.all_faces([gray], doubt=doubt)
        white_hot = 255 - gray if source.endswith(INVERTED) else gray
        shaped = [f for f in faces if f.shape is not None and np.isfinite(f.shape.landmarks).all()]
        if not shaped:
            return white_hot, None
        largest = max(shaped, key=lambda f: float(f.bbox[2] * f.bbox[3]))
        assert largest.shape is not None
        return white_hot, self.with_landmarks(white_hot, largest.bbox, largest.shape.landmarks, len(faces))

    def of_annotation(self, gray: Gray, annotation: FrameAnnotation) -> SeenPoints | None:
        """The face of a frame that is annotated already; None where it has none, or no landmarks."""
        if annotation.landmarks is None or not np.isfinite([*annotation.bbox, *annotation.landmarks.ravel()]).all():
            return None
        return self.with_landmarks(gray, annotation.bbox, annotation.landmarks, annotation.face_count)

    def in_video(self, frames: Iterable[Gray]) -> Iterator[SeenPoints | None]:
        """The face of each frame of a driving video, the same person's as far as it can be followed.

        Visible light looks like anything to a thermal detector, which may look at its negative. The frames themselves
        stay as they are.
        """
        waiting: deque[Gray] = deque()

        def passing() -> Iterator[Gray]:
            for frame in frames:
                waiting.append(frame)
                yield frame

        for annotation, _ in self.annotator.main_faces(passing(), video=True):
            yield self.of_annotation(waiting.popleft(), annotation)

    def with_landmarks(self, gray: Gray, bbox: ArrayLike, points: Floats, faces: int = 1) -> SeenPoints:
        """The face whose box and 68 points are known."""
        if self._landmarker is not None:
            found = Detections(np.asarray(bbox, np.float32)[None], np.ones(1, np.float32), five_points(points)[None])
            (fine,) = self._landmarker.points(gray, found)
            if np.isfinite(fine).all():
                points = fine
        return SeenPoints(np.asarray(points - _TO_PIXEL_CENTRES, np.float32), faces)


def default_annotator(polarity: str = "auto") -> Annotates:
    """The shipped detector and landmarker.

    Raises:
        MissingDependencyError: they are not there.
    """
    from thermvision.annotations import registry
    from thermvision.annotations.pipeline import Annotator

    return Annotator(registry.detector(), registry.landmarker(), polarity=polarity)  # type: ignore[arg-type]
