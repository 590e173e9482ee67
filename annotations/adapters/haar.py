"""OpenCV's Haar cascade for frontal faces, where the installed OpenCV still has it.

P. Viola, M. Jones, "Rapid Object Detection using a Boosted Cascade of Simple Features", CVPR 2001. OpenCV 5 has moved
`CascadeClassifier` to its contributed modules.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

import cv2
import numpy as np

from thermvision.annotations.errors import DamagedInputError, MissingDependencyError
from thermvision.annotations.faces import KEYPOINTS, Detections, Gray
from thermvision.annotations.session import short_digest

CASCADE = "haarcascade_frontalface_default.xml"
INSTALL = "pip install 'opencv-python-headless<5'"


class HaarDetector:
    """A Haar cascade behind the protocol of detectors; it gives no scores, so each face has 1, and no keypoints.

    Args:
        path: the cascade's XML file; None for the one that OpenCV brings.
        min_face: pixels of the frame.

    Raises:
        MissingDependencyError: OpenCV's class or the file is not there.
        DamagedInputError: OpenCV cannot read the file.
    """

    def __init__(self, path: str | Path | None = None, min_face: float = 40, threads: int = 1) -> None:
        if not hasattr(cv2, "CascadeClassifier"):
            raise MissingDependencyError(f"OpenCV {cv2.__version__} has no CascadeClassifier; type: {INSTALL}")
        file = Path(import_module("cv2.data").haarcascades, CASCADE) if path is None else Path(path).expanduser()
        if not file.is_file():
            raise MissingDependencyError(f"{file} is no file; type: {INSTALL}, or give the cascade's path")
        self._cascade = cv2.CascadeClassifier(str(file))
        if self._cascade.empty():
            raise DamagedInputError(f"{file} is no Haar cascade; allowed: an XML file such as {CASCADE}")
        self.source = f"{file.stem}@{short_digest(file.read_bytes())}"
        self._smallest = (round(min_face), round(min_face))
        self._threads = threads

    def detect(self, frames: Sequence[Gray]) -> list[Detections]:
        """The faces of each (H, W) uint8 frame, largest first."""
        return [self._one(frame) for frame in frames]

    def _one(self, frame: Gray) -> Detections:
        before = cv2.getNumThreads()  # the count belongs to the whole process
        cv2.setNumThreads(self._threads)
        try:
            found = self._cascade.detectMultiScale(frame, 1.1, 3, minSize=self._smallest)
        finally:
            cv2.setNumThreads(before)
        boxes = np.asarray(found, np.float32).reshape(-1, 4)
        boxes = boxes[np.argsort(-boxes[:, 2] * boxes[:, 3], kind="stable")]
        points = np.full((len(boxes), len(KEYPOINTS), 2), np.nan, np.float32)
        return Detections(boxes, np.ones(len(boxes), np.float32), points)
