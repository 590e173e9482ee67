"""What the trained recognisers look at: pixels and oriented gradients of a view."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Gray = NDArray[np.uint8]
Floats = NDArray[np.float32]
_CELL, _BINS = 8, 9
_PIXELS = 32  # side of the picture that the pixel probe sees


def pixel_vectors(pictures: NDArray[np.uint8]) -> Floats:
    """(N, 1024) float32 of pictures (N, S, S): 32 x 32 pixels, each picture with mean 0 and deviation 1.

    >>> pixel_vectors(np.zeros((1, 64, 64), np.uint8)).shape
    (1, 1024)
    """
    vectors = np.empty((len(pictures), _PIXELS**2), np.float32)
    for row, picture in zip(vectors, pictures, strict=True):
        row[:] = cv2.resize(picture, (_PIXELS, _PIXELS), interpolation=cv2.INTER_AREA).ravel()
    vectors -= vectors.mean(1, keepdims=True)
    vectors /= vectors.std(1, keepdims=True) + 1  # a gray level keeps noise of flat pictures small
    return vectors


def gradient_vectors(pictures: NDArray[np.uint8]) -> Floats:
    """(N, 1764) float32, histograms of oriented gradients of pictures (N, 64, 64).

    Cells of 8 pixels, 9 unsigned orientations, blocks of 2 x 2 cells normalised by L2-Hys: N. Dalal and B. Triggs,
    "Histograms of Oriented Gradients for Human Detection", CVPR 2005. Votes are shared between orientations only.

    >>> gradient_vectors(np.zeros((2, 64, 64), np.uint8)).shape
    (2, 1764)
    """
    return np.stack([_gradients(picture) for picture in pictures]) if len(pictures) else np.zeros((0, 1764), np.float32)


def _gradients(picture: Gray) -> Floats:
    image = picture.astype(np.float32)
    across, down = np.zeros_like(image), np.zeros_like(image)
    across[:, 1:-1] = image[:, 2:] - image[:, :-2]
    down[1:-1] = image[2:] - image[:-2]
    strength = np.hypot(across, down)
    angle = np.mod(np.arctan2(down, across), np.pi) * (_BINS / np.pi) - 0.5
    lower = np.floor(angle).astype(np.int64)
    share = angle - lower
    rows, columns = (n // _CELL for n in image.shape)
    cell = (np.arange(image.shape[0]) // _CELL * columns)[:, None] + np.arange(image.shape[1]) // _CELL
    count = rows * columns * _BINS
    votes = np.bincount((cell * _BINS + lower % _BINS).ravel(), (strength * (1 - share)).ravel(), count)
    votes += np.bincount((cell * _BINS + (lower + 1) % _BINS).ravel(), (strength * share).ravel(), count)
    cells = votes.reshape(rows, columns, _BINS)
    blocks = np.concatenate([cells[:-1, :-1], cells[1:, :-1], cells[:-1, 1:], cells[1:, 1:]], axis=-1)
    blocks = np.minimum(_unit(blocks), 0.2)
    return _unit(blocks).ravel().astype(np.float32)


def _unit(blocks: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(blocks / np.sqrt((blocks**2).sum(-1, keepdims=True) + 1e-3), np.float64)


def tone_vectors(pictures: NDArray[np.uint8]) -> Floats:
    """(N, 32) float32: the share of pixels at each of 32 levels, whatever lies where.

    >>> float(tone_vectors(np.zeros((1, 64, 64), np.uint8))[0, 0])
    1.0
    """
    levels = [np.bincount(p.ravel() >> 3, minlength=32) / max(p.size, 1) for p in pictures]
    return np.array(levels, np.float32).reshape(-1, 32)
