"""The shipped landmarker: 68 points with uncertainty and visibility, head pose and openness, from upright crops."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from thermvision.annotations.alignment import face_crop
from thermvision.annotations.conventions import NUM_LANDMARKS
from thermvision.annotations.faces import Detections, FaceShape, Gray
from thermvision.annotations.schema import OUTSIDE, SELF_OCCLUDED
from thermvision.annotations.session import Model, open_model

SIZE = 112
MARGIN = 1.35  # side of the crop over the longer side of the box, as in training
OUTPUTS = ("points", "sigma", "state", "pose", "openness")


class ThermalLandmarker:
    """Finds the 68 landmarks of faces whose boxes are known.

    Args:
        model: path of an ONNX file with the shipped landmarker's inputs and outputs; None for the shipped one.
        threads: threads of one run of the network.

    Raises:
        MissingDependencyError, DamagedInputError, UsageError: see `thermvision.annotations.session.open_model`.

    >>> ThermalLandmarker("nowhere.onnx")
    Traceback (most recent call last):
    ...
    thermvision.annotations.errors.MissingDependencyError: nowhere.onnx is no model file; allowed: a path to an \
.onnx file, or one of detector, landmarker, embedder, attributes; fetch the file and give its path
    """

    def __init__(self, model: str | Path | None = None, threads: int = 1) -> None:
        self._model: Model = open_model("landmarker" if model is None else model, threads)
        self._model.require(["crop"], OUTPUTS, "a landmarker")
        self.source = self._model.source

    def locate(self, frame: Gray, detections: Detections) -> list[FaceShape | None]:
        """The shape of each face, all in one run of the network."""
        if not len(detections):
            return []
        crops, scales, corners = face_crops(frame, detections.bboxes, MARGIN, SIZE)
        out = self._model.run({"crop": crops})
        points = (out["points"] / scales[:, None, None] + corners[:, None]).astype(np.float32)
        state = (out["state"].argmax(-1) + SELF_OCCLUDED).astype(np.uint8)
        limits = np.array(frame.shape[::-1], np.float32)
        state[((points < 0) | (points > limits)).any(-1)] = OUTSIDE
        sigma, openness = out["sigma"] / scales[:, None], out["openness"]
        return [
            FaceShape(
                landmarks=points[i],
                landmark_state=state[i],
                uncertainty=sigma[i].astype(np.float32),
                head_pose=out["pose"][i],
                eye_openness=float(openness[i, 0]),
                mouth_openness=float(openness[i, 1]),
            )
            if points[i].shape == (NUM_LANDMARKS, 2) and np.isfinite(points[i]).all()
            else None
            for i in range(len(detections))
        ]

    def doubt_upside_down(self, frame: Gray, detections: Detections) -> NDArray[np.float32]:
        """Mean standard deviation (M,) of the points, in pixels of the frame, when each crop is turned by 180 degrees.

        Of an upright face it is far larger than that of `locate`; of a head that is upside down it is smaller.
        """
        if not len(detections):
            return np.zeros(0, np.float32)
        crops, scales, _ = face_crops(frame, detections.bboxes, MARGIN, SIZE)
        out = self._model.run({"crop": np.ascontiguousarray(crops[:, :, ::-1, ::-1])})
        doubt: NDArray[np.float32] = out["sigma"].mean(1) / scales
        return doubt


def face_crops(
    frame: Gray, bboxes: ArrayLike, margin: float, size: int
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """The crops of all boxes (M, 4) of a frame, ready for a network.

    Returns:
        Crops (M, 1, size, size) float32 in 0..255, the scale (M,) of each, and the frame's coordinates (M, 2) of its
        top left corner.
    """
    boxes = np.asarray(bboxes, np.float32)
    crops = np.empty((len(boxes), 1, size, size), np.float32)
    matrices = np.empty((len(boxes), 2, 3), np.float64)
    for i, box in enumerate(boxes):
        crops[i, 0], matrices[i] = face_crop(frame, box, margin, size)
    scales = matrices[:, 0, 0]
    return crops, scales.astype(np.float32), (-matrices[:, :, 2] / scales[:, None]).astype(np.float32)
