"""YuNet through OpenCV's own `FaceDetectorYN`; the model file is given by path.

W. Wu et al., "YuNet: A Tiny Millisecond-level Face Detector", Machine Intelligence Research 20 (2023). The file is
``face_detection_yunet_2023mar.onnx`` of https://github.com/opencv/opencv_zoo.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from thermvision.annotations.errors import DamagedInputError, MissingDependencyError, UsageError
from thermvision.annotations.faces import KEYPOINTS, Detections, Gray
from thermvision.annotations.session import MAX_BYTES, short_digest

FETCH = "fetch face_detection_yunet_2023mar.onnx of https://github.com/opencv/opencv_zoo and type: yunet:PATH"


class YuNetDetector:
    """YuNet behind the protocol of detectors.

    Args:
        path: the ONNX file.
        threshold: lowest score.
        overlap: of two boxes with a larger intersection over union, the one with the lower score goes.

    Raises:
        MissingDependencyError: the file or OpenCV's class for it is not there.
        DamagedInputError: OpenCV cannot read the file.

    >>> YuNetDetector("nowhere.onnx")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ...
    thermvision.annotations.errors.MissingDependencyError: nowhere.onnx is no model file; fetch face_detection...
    """

    def __init__(self, path: str | Path, threshold: float = 0.6, overlap: float = 0.3, threads: int = 1) -> None:
        file = Path(path).expanduser()
        if not file.is_file():
            raise MissingDependencyError(f"{path} is no model file; {FETCH}")
        if not hasattr(cv2, "FaceDetectorYN"):
            raise MissingDependencyError(
                f"OpenCV {cv2.__version__} has no FaceDetectorYN; type: pip install 'opencv-python-headless>=4.10'"
            )
        if (size := file.stat().st_size) > MAX_BYTES:
            raise DamagedInputError(f"{path} has {size} bytes; allowed: up to {MAX_BYTES}; {FETCH}")
        try:
            self._network = cv2.FaceDetectorYN.create(str(file), "", (32, 32), threshold, overlap)
        except cv2.error as error:
            raise DamagedInputError(f"{path} cannot be read as YuNet: {error.err or error}; {FETCH}") from error
        self.source = f"{file.stem}@{short_digest(file.read_bytes())}"
        self._threads = threads

    def detect(self, frames: Sequence[Gray]) -> list[Detections]:
        """The faces of each (H, W) uint8 frame, best first.

        Raises:
            UsageError: the network's outputs are not YuNet's.
        """
        return [self._one(frame) for frame in frames]

    def _one(self, frame: Gray) -> Detections:
        # OpenCV's thread count belongs to the whole process: it is put back
        before = cv2.getNumThreads()
        cv2.setNumThreads(self._threads)
        try:
            self._network.setInputSize(frame.shape[::-1])
            _, rows = self._network.detect(cv2.cvtColor(frame, cv2.COLOR_GRAY2BGR))
        except cv2.error as error:
            raise UsageError(f"{self.source} is not YuNet: {error.err or error}; {FETCH}") from error
        finally:
            cv2.setNumThreads(before)
        if rows is None or not len(rows):
            return Detections()
        table = np.asarray(rows, np.float32)
        table = table[np.argsort(-table[:, 14], kind="stable")]
        # the subject's right eye comes first, which is the one at image left
        return Detections(table[:, :4], table[:, 14].clip(0, 1), table[:, 4:14].reshape(-1, len(KEYPOINTS), 2))
