"""MTCNN of `facenet-pytorch`, whose weights come with the package.

K. Zhang et al., "Joint Face Detection and Alignment Using Multitask Cascaded Convolutional Networks", IEEE Signal
Processing Letters 23 (2016).
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version

import numpy as np

from thermvision.annotations.adapters.facenet import facenet_pytorch
from thermvision.annotations.faces import Detections, Gray


class MtcnnDetector:
    """MTCNN behind the protocol of detectors.

    Args:
        min_face: pixels of the frame.
        threshold: lowest score of the last stage; None for the package's own three thresholds.
        threads: threads of torch.

    Raises:
        MissingDependencyError: facenet-pytorch or torch is not installed.
    """

    def __init__(self, min_face: float = 40, threshold: float | None = None, threads: int = 1) -> None:
        package = facenet_pytorch()
        import torch

        torch.set_num_threads(threads)
        thresholds = [0.6, 0.7, 0.7 if threshold is None else threshold]
        self._network = package.MTCNN(
            keep_all=True, select_largest=False, min_face_size=round(min_face), thresholds=thresholds
        )
        try:
            self.source = f"mtcnn@facenet-pytorch-{version('facenet-pytorch')}"
        except PackageNotFoundError:  # a folder on the path, not an installed package
            self.source = "mtcnn@facenet-pytorch"

    def detect(self, frames: Sequence[Gray]) -> list[Detections]:
        """The faces of each (H, W) uint8 frame, best first."""
        return [self._one(frame) for frame in frames]

    def _one(self, frame: Gray) -> Detections:
        try:
            boxes, scores, points = self._network.detect(np.repeat(frame[..., None], 3, 2), landmarks=True)
        except (RuntimeError, ValueError) as error:
            # the package joins an empty list where the frame is smaller than the smallest face
            if "non-empty list" not in str(error):
                raise
            return Detections()
        if boxes is None:
            return Detections()
        order = np.argsort(-scores.astype(np.float32), kind="stable")
        corners = boxes[order].astype(np.float32)
        bboxes = np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], 1)
        return Detections(bboxes, scores[order].astype(np.float32).clip(0, 1), points[order].astype(np.float32))
