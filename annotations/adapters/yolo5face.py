"""Face detectors in the manner of YOLO5Face, from an ONNX file that the user has.

D. Qi et al., "YOLO5Face: Why Reinventing a Face Detector", ECCV Workshops 2022; the thermal ones of TFW
(A. Kuzdeuov et al., IEEE TIFS 17, 2022) are made the same way. The file gives one output (N, K, 16) whose rows are
centre x, centre y, width, height, objectness, five points as x, y, and class confidence, in pixels of the input.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from thermvision.annotations.alignment import resize
from thermvision.annotations.detector import suppress
from thermvision.annotations.errors import UsageError
from thermvision.annotations.faces import KEYPOINTS, Detections, Gray
from thermvision.annotations.session import open_model

COLUMNS = 16
DEFAULT_SIZE = 640  # K is 25,200 for such an input
FILL = 114  # gray of the letterbox, as in YOLOv5's own training


class Yolo5FaceDetector:
    """A YOLO5Face network behind the protocol of detectors.

    Args:
        path: the ONNX file.
        size: side of the square input in pixels, where the file leaves it free.
        threshold: lowest product of objectness and class confidence.
        overlap: of two boxes with a larger intersection over union, the one with the lower score goes.
        threads: threads of one run of the network.

    Raises:
        MissingDependencyError, DamagedInputError: see `thermvision.annotations.session.open_model`.
        UsageError: the file's inputs or outputs are of another kind.

    >>> Yolo5FaceDetector("nowhere.onnx")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ...
    thermvision.annotations.errors.MissingDependencyError: nowhere.onnx is no model file; ...
    """

    def __init__(
        self,
        path: str | Path,
        size: int = DEFAULT_SIZE,
        threshold: float = 0.3,
        overlap: float = 0.45,
        threads: int = 1,
    ) -> None:
        self._model = open_model(path, threads)
        shape = next(iter(self._model.inputs.values()), [])
        if len(self._model.inputs) != 1 or len(shape) != 4 or shape[1] not in (1, 3):
            raise UsageError(
                f"{self._model.source} takes {self._model.inputs}; allowed: one image (N, 3, H, W) or (N, 1, H, W)"
            )
        self.source = self._model.source
        self._input, self._channels = next(iter(self._model.inputs)), int(shape[1])
        self._height, self._width = (side if isinstance(side, int) else size for side in shape[2:])
        self._alone = shape[0] == 1
        self.threshold, self.overlap = threshold, overlap

    def detect(self, frames: Sequence[Gray]) -> list[Detections]:
        """The faces of each (H, W) uint8 frame, best first."""
        step = 1 if self._alone else 8
        return [found for i in range(0, len(frames), step) for found in self._batch(frames[i : i + step])]

    def _batch(self, frames: Sequence[Gray]) -> list[Detections]:
        image = np.full((len(frames), self._channels, self._height, self._width), FILL / 255, np.float32)
        placed = []
        for target, frame in zip(image, frames, strict=True):
            small, left, top = letterbox(frame, self._width, self._height)
            np.divide(small, 255, out=target[:, top : top + small.shape[0], left : left + small.shape[1]])
            placed.append((left, top, frame.shape[1] / small.shape[1], frame.shape[0] / small.shape[0]))
        rows = self._rows(self._model.run({self._input: image}), len(frames))
        return [self._faces(table, *place) for table, place in zip(rows, placed, strict=True)]

    def _rows(self, outputs: dict[str, NDArray[np.float32]], count: int) -> NDArray[np.float32]:
        fitting = [v for v in outputs.values() if v.ndim == 3 and v.shape[0] == count and v.shape[2] == COLUMNS]
        if not fitting:
            seen = {name: value.shape for name, value in outputs.items()}
            raise UsageError(
                f"{self.source} gives {seen}; allowed: ({count}, K, {COLUMNS}) with boxes in pixels; "
                "export the network with its decoding"
            )
        return fitting[0]

    def _faces(self, table: NDArray[np.float32], left: float, top: float, per_x: float, per_y: float) -> Detections:
        scores = table[:, 4] * table[:, 15]
        table, scores = table[scores >= self.threshold], scores[scores >= self.threshold]
        per_pixel, corner = np.array([per_x, per_y], np.float32), np.array([left, top], np.float32)
        size = table[:, 2:4]
        bboxes = np.concatenate([(table[:, :2] - size / 2 - corner) * per_pixel, size * per_pixel], 1)
        points = (table[:, 5:15].reshape(-1, len(KEYPOINTS), 2) - corner) * per_pixel
        keep = suppress(bboxes, scores, self.overlap)
        return Detections(bboxes[keep], scores[keep].clip(0, 1), points[keep])


def letterbox(frame: Gray, width: int, height: int) -> tuple[Gray, int, int]:
    """The frame as large as it fits into ``width`` × ``height``, and the left and top margin that centre it.

    >>> small, left, top = letterbox(np.zeros((50, 100), np.uint8), 64, 64)
    >>> small.shape, left, top
    ((32, 64), 0, 16)
    """
    h, w = frame.shape
    scale = min(width / w, height / h)
    columns, rows = max(1, round(w * scale)), max(1, round(h * scale))
    small = resize(frame, columns, rows)
    return small, (width - columns) // 2, (height - rows) // 2
