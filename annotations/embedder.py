"""The shipped identity embedder: unit vectors whose dot product says how alike two thermal faces are."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from thermvision.annotations.alignment import ALIGNED_SIZE, aligned_crop
from thermvision.annotations.faces import KEYPOINTS, Floats, Gray
from thermvision.annotations.session import Model, open_model


@runtime_checkable
class FaceEmbedder(Protocol):
    """Turns faces into unit vectors. ``source`` is the model's name and digest."""

    source: str

    def embed(self, image: ArrayLike | Sequence[Gray], keypoints: ArrayLike | None = None) -> Floats:
        """(M, D) float32 unit vectors: of aligned crops (M, S, S), or of the faces of one frame with keypoints."""
        ...


class ThermalEmbedder:
    """Unit vectors of 128 numbers.

    Args:
        model: path of an ONNX file with the shipped embedder's inputs and outputs; None for the shipped one.
        threads: threads of one run of the network.

    Raises:
        MissingDependencyError, DamagedInputError, UsageError: see `thermvision.annotations.session.open_model`.

    >>> ThermalEmbedder("nowhere.onnx")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ...
    thermvision.annotations.errors.MissingDependencyError: nowhere.onnx is no model file; ...
    """

    BATCH = 64

    def __init__(self, model: str | Path | None = None, threads: int = 1) -> None:
        self._model: Model = open_model("embedder" if model is None else model, threads)
        self._model.require(["crop"], ["embedding"], "an embedder")
        self.source = self._model.source

    def embed(self, image: ArrayLike | Sequence[Gray], keypoints: ArrayLike | None = None) -> Floats:
        """Embeddings (M, 128) float32 of unit length.

        Args:
            image: aligned crops (M, 112, 112) uint8; with ``keypoints`` one frame (H, W) uint8.
            keypoints: (M, 5, 2) of the faces in the frame.

        Raises:
            ValueError: the shapes are others, or a keypoint is not finite.
        """
        crops = aligned_crops(image, keypoints, ALIGNED_SIZE)
        parts = [
            self._model.run({"crop": crops[i : i + self.BATCH, None].astype(np.float32)})["embedding"]
            for i in range(0, len(crops), self.BATCH)
        ]
        return unit(np.concatenate(parts)) if parts else np.zeros((0, 128), np.float32)


def aligned_crops(image: ArrayLike | Sequence[Gray], keypoints: ArrayLike | None, size: int) -> NDArray[np.uint8]:
    """Aligned crops (M, size, size) uint8: as given, or cut out of one frame by keypoints (M, 5, 2).

    Raises:
        ValueError: the shapes or the dtype are others, or a keypoint is not finite.
    """
    array = np.asarray(image)
    if array.dtype != np.uint8:
        raise ValueError(f"the image is {array.dtype}; allowed: uint8")
    if keypoints is None:
        if array.ndim != 3 or array.shape[1:] != (size, size):
            raise ValueError(f"crops have shape {array.shape}; allowed: (M, {size}, {size}), or a frame and keypoints")
        return array
    points = np.asarray(keypoints, np.float64)
    if array.ndim != 2 or points.ndim != 3 or points.shape[1:] != (len(KEYPOINTS), 2):
        raise ValueError(
            f"the frame has shape {array.shape}, the keypoints {points.shape}; allowed: (H, W) and (M, 5, 2)"
        )
    crops = [aligned_crop(array, p, size)[0] for p in points]
    return np.stack(crops) if crops else np.zeros((0, size, size), np.uint8)


def unit(vectors: NDArray[np.float32]) -> Floats:
    """Vectors (M, D) scaled to length one.

    >>> unit(np.array([[0, 4]], np.float32)).tolist()
    [[0.0, 1.0]]
    """
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return (vectors / np.maximum(length, 1e-12)).astype(np.float32)
