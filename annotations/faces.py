"""What detectors and landmarkers give back, and the protocols that ours and the users' own models share.

Frames are (H, W) uint8, white-hot; coordinates are pixels of that frame, x right, y down, pixel centres at +0.5.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

Gray = NDArray[np.uint8]
Floats = NDArray[np.float32]
INVERTED = "+inverted"  # ends the source of what was found in the negative of a frame
# order of five keypoints, image left and right of an upright frontal face
KEYPOINTS = ("eye_left", "eye_right", "nose_tip", "mouth_left", "mouth_right")


def _points_of_no_face() -> Floats:
    return np.zeros((0, len(KEYPOINTS), 2), np.float32)


@dataclass(frozen=True, eq=False)
class Detections:
    """The faces of one frame, best first.

    Attributes:
        bboxes: (M, 4) float32 ``[x, y, width, height]``, hairline or brow-top to chin, cheek to cheek.
        scores: (M,) float32 in 0..1.
        keypoints: (M, 5, 2) float32 in the order of `KEYPOINTS`; NaN where the model gives none.
        black_hot: probability that the frame is black-hot; None when the model does not say.
        shapes: M shapes, from a detector that has looked at landmarks, too; None from all others.

    >>> Detections().bboxes.shape, len(Detections())
    ((0, 4), 0)
    """

    bboxes: Floats = field(default_factory=lambda: np.zeros((0, 4), np.float32))
    scores: Floats = field(default_factory=lambda: np.zeros(0, np.float32))
    keypoints: Floats = field(default_factory=_points_of_no_face)
    black_hot: float | None = None
    shapes: tuple[FaceShape | None, ...] | None = None

    def __post_init__(self) -> None:
        count = len(self.scores)
        if self.shapes is not None and len(self.shapes) != count:
            raise ValueError(f"{len(self.shapes)} shapes go with {count} scores; allowed: one each")
        shapes = {"bboxes": (count, 4), "scores": (count,), "keypoints": (count, len(KEYPOINTS), 2)}
        for name, shape in shapes.items():
            array = np.asarray(getattr(self, name), np.float32)
            if array.shape != shape:
                raise ValueError(f"{name} has shape {array.shape}; allowed: {shape}")
            object.__setattr__(self, name, array)

    def __len__(self) -> int:
        return len(self.scores)

    def take(self, which: NDArray[np.bool_] | NDArray[np.intp]) -> Detections:
        """Those of the detections that a mask (M,) or indices name, in their order."""
        rows = np.flatnonzero(which) if which.dtype == bool else which
        shapes = None if self.shapes is None else tuple(self.shapes[i] for i in rows)
        return Detections(self.bboxes[rows], self.scores[rows], self.keypoints[rows], self.black_hot, shapes)


@dataclass(frozen=True, eq=False)
class FaceShape:
    """Landmarks and what follows from them, for one face.

    Attributes:
        landmarks: (68, 2) float32, iBUG 68 with the 2-D silhouette jaw.
        landmark_state: (68,) uint8, see `thermvision.annotations.schema`; None when the model does not say.
        uncertainty: (68,) float32, one standard deviation in pixels; None when the model does not say.
        head_pose: (3,) float32 yaw, pitch, roll in degrees; None when the model does not say.
        eye_openness: lid gap over eye width, mean of both eyes.
        mouth_openness: inner-lip gap over inner-mouth width.
    """

    landmarks: Floats
    landmark_state: NDArray[np.uint8] | None = None
    uncertainty: Floats | None = None
    head_pose: Floats | None = None
    eye_openness: float | None = None
    mouth_openness: float | None = None


@runtime_checkable
class FaceDetector(Protocol):
    """Finds faces. ``source`` is the model's name and digest, as it is written into ``annotation_source``."""

    source: str

    def detect(self, frames: Sequence[Gray]) -> list[Detections]:
        """The faces of each frame; frames may differ in size."""
        ...


@runtime_checkable
class FaceLandmarker(Protocol):
    """Finds the landmarks of faces whose boxes are known."""

    source: str

    def locate(self, frame: Gray, detections: Detections) -> list[FaceShape | None]:
        """The shape of each detected face, None where the model finds none."""
        ...
