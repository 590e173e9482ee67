"""The shipped face detector: a network over cells of four pixels, at the size the smallest wanted face asks for."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from thermvision.annotations.alignment import resize
from thermvision.annotations.errors import UsageError
from thermvision.annotations.faces import KEYPOINTS, Detections, Gray
from thermvision.annotations.session import Model, open_model

SMALLEST = 12.0  # pixels of the network's input that the smallest wanted face is given
MAX_ENLARGEMENT = 2.0
MIN_SIDE, MAX_SIDE = 192, 1536  # long side of the input
COARSE_FROM = 320  # a longer input can hold faces beyond the 250 px the network knows: it is read a second time, small
MULTIPLE, CELL = 32, 4
BATCH_PIXELS = 2**21
DEFAULT_THRESHOLD = 0.4


class ThermalDetector:
    """Finds faces in white-hot thermal frames.

    Faces from ``min_face`` pixels (longer side of the box) are looked for; smaller takes longer.

    Args:
        model: path of an ONNX file with the shipped detector's inputs and outputs; None for the shipped one.
        min_face: pixels of the frame.
        threshold: lowest score; None for the value in the file's metadata, 0.4 where it has none.
        overlap: of two boxes with a larger intersection over union, the one with the lower score goes.
        threads: threads of one run of the network.

    Raises:
        MissingDependencyError, DamagedInputError, UsageError: see `thermvision.annotations.session.open_model`.

    >>> ThermalDetector(min_face=0)
    Traceback (most recent call last):
    ...
    thermvision.annotations.errors.UsageError: min_face is 0; allowed: 1 to 10000 pixels
    """

    def __init__(
        self,
        model: str | Path | None = None,
        min_face: float = 40,
        threshold: float | None = None,
        overlap: float = 0.4,
        threads: int = 1,
    ) -> None:
        if not 1 <= min_face <= 10_000:
            raise UsageError(f"min_face is {min_face}; allowed: 1 to 10000 pixels")
        for name, value in (("threshold", threshold), ("overlap", overlap)):
            if value is not None and not 0 < value <= 1:
                raise UsageError(f"{name} is {value}; allowed: above 0, up to 1")
        self._model: Model = open_model("detector" if model is None else model, threads)
        self._model.require(["image"], ["score", "box", "points"], "a detector")
        self.source = self._model.source
        self.tells_polarity = "black_hot" in self._model.outputs
        self.min_face, self.overlap = float(min_face), overlap
        self.threshold = _stored_threshold(self._model) if threshold is None else threshold

    def detect(self, frames: Sequence[Gray]) -> list[Detections]:
        """The faces of each (H, W) uint8 frame, best first; frames of one size share a run of the network.

        Raises:
            ValueError: a frame is not (H, W) uint8.
        """
        groups: dict[tuple[int, ...], list[int]] = defaultdict(list)
        for index, frame in enumerate(frames):
            if frame.ndim != 2 or frame.dtype != np.uint8 or not frame.size:
                raise ValueError(f"frame {index} is {frame.dtype} {frame.shape}; allowed: uint8 (H, W)")
            groups[frame.shape].append(index)
        found: list[Detections] = [Detections()] * len(frames)
        for (height, width), indices in groups.items():
            sizes = input_sizes(width, height, self.min_face)
            step = max(1, BATCH_PIXELS // (sizes[0][0] * sizes[0][1]))
            for start in range(0, len(indices), step):
                part = indices[start : start + step]
                for index, detections in zip(part, self._batch([frames[i] for i in part], sizes), strict=True):
                    found[index] = detections
        return found

    def _batch(self, frames: list[Gray], sizes: list[tuple[int, int]]) -> list[Detections]:
        passes = [self._pass(frames, *size) for size in sizes]
        black_hot = passes[0][1]
        return [
            self._merge([rows[i] for rows, _ in passes], None if black_hot is None else float(black_hot[i]))
            for i in range(len(frames))
        ]

    def _pass(
        self, frames: list[Gray], width: int, height: int
    ) -> tuple[list[NDArray[np.float32]], NDArray[np.float32] | None]:
        """Candidates of each frame at one size of the input, and the probability of being black-hot.

        A candidate is a row of 15: score, x, y, w, h, five points, in pixels of the frame.
        """
        rows, columns = -(-height // MULTIPLE) * MULTIPLE, -(-width // MULTIPLE) * MULTIPLE
        image = np.empty((len(frames), 1, rows, columns), np.float32)
        for target, frame in zip(image[:, 0], frames, strict=True):
            target[:height, :width] = resize(frame, width, height)
        # the border's pixels are repeated to the right and then, with the corner, below
        image[..., :height, width:] = image[..., :height, width - 1 : width]
        image[..., height:, :] = image[..., height - 1 : height, :]
        out = self._model.run({"image": image})
        score = out["score"]
        n, i, j = np.nonzero(score >= self.threshold)
        centre = np.stack([j, i], -1).astype(np.float32) * CELL + CELL / 2
        box, points = out["box"][n, :, i, j], out["points"][n, :, i, j]
        per_pixel = np.array([frames[0].shape[1] / width, frames[0].shape[0] / height], np.float32)
        low, high = centre - box[:, :2], centre + box[:, 2:]
        corners = np.stack([low, high - low], 1) * per_pixel
        keypoints = (centre[:, None] + points.reshape(-1, len(KEYPOINTS), 2)) * per_pixel
        table = np.column_stack([score[n, i, j], corners.reshape(-1, 4), keypoints.reshape(-1, 2 * len(KEYPOINTS))])
        # a network's odd cell must not become a box without area
        sound = np.isfinite(table).all(1) & (table[:, 3:5] > 0).all(1)
        return [table[sound & (n == k)] for k in range(len(frames))], out.get("black_hot")

    def _merge(self, passes: list[NDArray[np.float32]], black_hot: float | None) -> Detections:
        table = passes[0] if len(passes) == 1 else np.concatenate(passes)
        table = table[suppress(table[:, 1:5], table[:, 0], self.overlap)]
        keypoints = table[:, 5:].reshape(-1, len(KEYPOINTS), 2)
        return Detections(table[:, 1:5], table[:, 0].clip(0, 1), keypoints, black_hot)


def input_sizes(width: int, height: int, min_face: float = 40) -> list[tuple[int, int]]:
    """Sizes (width, height), without padding, at which a frame is read.

    The smallest wanted face gets `SMALLEST` pixels; the long side is a multiple of 32 from 192 to 1536, and a frame is
    never enlarged more than twice, nor at all to reach 192. A long input is read a second time at 192 pixels. Where
    1536 is not enough, the smallest face that is found is larger than wanted.

    >>> input_sizes(512, 512), input_sizes(160, 120), input_sizes(1280, 1024, min_face=12)
    ([(192, 192)], [(160, 120)], [(1280, 1024), (192, 154)])
    """
    long = max(width, height)
    wanted = long * min(SMALLEST / min_face, MAX_ENLARGEMENT)
    side = min(max(-(-wanted // MULTIPLE) * MULTIPLE, MIN_SIDE), MAX_SIDE)
    # a frame shorter than the floor is taken as it is, unless its faces are too small for that
    side = min(side, max(long, wanted)) if side <= MIN_SIDE else min(side, MAX_ENLARGEMENT * long)

    def at(side: float) -> tuple[int, int]:
        return max(1, round(width * side / long)), max(1, round(height * side / long))

    return [at(side), at(MIN_SIDE)] if side > COARSE_FROM else [at(side)]


def suppress(bboxes: ArrayLike, scores: ArrayLike, overlap: float) -> NDArray[np.intp]:
    """Greedy non-maximum suppression: indices of the boxes (M, 4) ``[x, y, w, h]`` that stay, best first.

    >>> suppress([[0, 0, 10, 10], [1, 0, 10, 10], [30, 0, 10, 10]], [0.8, 0.9, 0.5], 0.4).tolist()
    [1, 2]
    """
    boxes = np.asarray(bboxes, np.float32)
    if len(boxes) < 2:
        return np.arange(len(boxes))
    kept = cv2.dnn.NMSBoxes(boxes.tolist(), np.asarray(scores, np.float32).tolist(), 0.0, overlap)
    return np.asarray(kept, np.intp).reshape(-1)


def _stored_threshold(model: Model) -> float:
    text = model.metadata.get("threshold", str(DEFAULT_THRESHOLD))
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not 0 < value <= 1:
        raise UsageError(
            f"{model.source} carries the threshold {text[:40]!r}; allowed: above 0, up to 1; give your own"
        )
    return value
