"""Pictures without faces, and models that see a face in each: for what compares pictures, in any process."""

from __future__ import annotations

import cv2
import numpy as np

from thermvision.curation.duplicates.describe import Models

SIZE = 96


def texture(seed: int, size: int = SIZE, sigma: float | None = None) -> np.ndarray:
    """A smooth random gray picture (size, size): no two seeds are alike."""
    noise = np.random.default_rng(seed).normal(size=(size, size)).astype(np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), sigma or size / 24)
    return cv2.normalize(smooth, None, 0, 255, cv2.NORM_MINMAX).astype(np.uint8)


def points_of(gray: np.ndarray, box: np.ndarray | None = None) -> np.ndarray:
    """Landmarks at fixed shares of the frame: eyes, nose and mouth where an upright face has them."""
    height, width = gray.shape
    points = np.full((68, 2), 0.5)
    points[36:42], points[42:48], points[30] = (0.35, 0.4), (0.65, 0.4), (0.5, 0.55)
    points[48], points[54] = (0.38, 0.72), (0.62, 0.72)
    return (points * (width, height)).astype(np.float32)


def embed(gray: np.ndarray, points: np.ndarray) -> np.ndarray:
    """A unit vector of the coarse picture."""
    small = cv2.resize(gray, (16, 8), interpolation=cv2.INTER_AREA).astype(np.float32).ravel()
    small -= small.mean()
    return small / max(float(np.linalg.norm(small)), 1e-6)


FAKE = Models(points_of, embed)
