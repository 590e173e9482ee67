"""Crops of labelled frames as the networks see them, with labels in the networks' own terms.

LivePortrait turns rows of keypoints, ``k @ R``, x right, y down, z away from the camera; we turn columns, y up, z
towards it (`thermvision.generation.motion_template`). Keypoints and landmarks of a crop are in *crop units*: the
feature volume of a crop of n pixels has n/4 cells a side, each the mean of four pixels, and −1 and 1 are the centres of
the first and the last cell, which is where the warping looks for a keypoint.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial.transform import Rotation

from thermvision.annotations.conventions import MIRROR
from thermvision.generation.engines.liveportrait.crop import (
    crop_matrix,
    driving_crop_matrix,
    warp_image,
)
from thermvision.generation.engines.liveportrait.training.clips import Clips
from thermvision.generation.motion_template import template_rotations

Floats = NDArray[np.float64]
CELL = 4  # pixels of a crop in one cell of the feature volume
_FLIP = np.diag([-1.0, 1.0, 1.0])


@dataclass(frozen=True, eq=False)
class Crop:
    """One crop.

    Attributes:
        image: (2n, 2n) uint8; the networks see n × n, each pixel the mean of four, and paint 2n × 2n.
        landmarks: (68, 2) float64 in crop units.
        angles: (3,) float64 pitch, yaw, roll in degrees, LivePortrait's.
    """

    image: NDArray[np.uint8]
    landmarks: Floats
    angles: Floats

    def small(self) -> NDArray[np.uint8]:
        """(n, n) uint8, what the networks see."""
        size = len(self.image) // 2
        return np.asarray(cv2.resize(self.image, (size, size), interpolation=cv2.INTER_AREA), np.uint8)


def crop_units(points: ArrayLike, side: int) -> Floats:
    """Pixels of an n × n crop, the centre of its first at 0, in crop units.

    >>> crop_units([1.5, 127.5, 253.5], 256).tolist()
    [-1.0, 0.0, 1.0]
    """
    units: Floats = 2 * (np.asarray(points, np.float64) - (CELL - 1) / 2) / (side - CELL) - 1
    return units


def pose_angles(head_pose: ArrayLike, turn: ArrayLike | None = None, mirrored: bool = False) -> Floats:
    """LivePortrait's pitch, yaw, roll (3,) in degrees of our yaw, pitch, roll, as seen in a crop.

    Args:
        head_pose: (3,) degrees, axes of `thermvision.annotations.pose`.
        turn: (2, 2) rotation of the picture's columns (x, y) to the crop's; None: none.
        mirrored: the crop is then mirrored left to right.

    >>> pose_angles([30, 0, 0]).round(6).tolist(), pose_angles([0, 20, 0]).round(6).tolist()
    ([0.0, -30.0, 0.0], [-20.0, 0.0, 0.0])
    >>> pose_angles([30, 10, 5], mirrored=True).round(3).tolist() == pose_angles([-30, 10, -5]).round(3).tolist()
    True
    """
    rotation = template_rotations(head_pose)
    if turn is not None:
        about_z = np.eye(3)
        about_z[:2, :2] = turn
        rotation = rotation @ about_z.T
    if mirrored:
        rotation = _FLIP @ rotation @ _FLIP
    return np.asarray(Rotation.from_matrix(rotation.T).as_euler("xyz", degrees=True))


def face_matrix(clips: Clips, row: int, side: int) -> Floats:
    """(3, 3) from a frame to its source crop of 2n × 2n pixels: about the face, turned upright."""
    return np.asarray(crop_matrix(clips.landmarks[row], 2 * side), np.float64)


def window_matrix(clips: Clips, row: int, side: int) -> Floats:
    """(3, 3) from a frame to its driving crop of 2n × 2n pixels: the one window of all frames of its clip."""
    return np.asarray(driving_crop_matrix(clips.windows[clips.clip[row]], 2 * side), np.float64)


def shaken(matrix: Floats, side: int, rng: np.random.Generator, mirrored: bool = False) -> Floats:
    """``matrix`` with the crop turned, scaled and shifted a little about its middle, then mirrored."""
    size = 2 * side
    angle, scale = np.radians(rng.normal(0, 6)), np.exp(rng.normal(0, 0.05))
    shift = rng.normal(0, 0.02, 2) * size
    middle = (size - 1) / 2
    cos, sin = scale * np.cos(angle), scale * np.sin(angle)
    turn = np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]])
    turn[:2, 2] = middle - turn[:2, :2] @ [middle, middle] + shift
    mirror = np.array([[-1.0, 0, size - 1], [0, 1, 0], [0, 0, 1]]) if mirrored else np.eye(3)
    return np.asarray(mirror @ turn @ matrix)


def make_crop(clips: Clips, row: int, matrix: ArrayLike, side: int) -> Crop:
    """The crop that ``matrix`` (3, 3), a similarity with or without mirror, takes of a frame."""
    warp = np.asarray(matrix, np.float64)
    image = warp_image(clips.frames[row], warp, 2 * side, 2 * side)
    points = clips.landmarks[row] @ warp[:2, :2].T + warp[:2, 2]
    mirrored = bool(np.linalg.det(warp[:2, :2]) < 0)
    turn = warp[:2, :2] / np.sqrt(abs(np.linalg.det(warp[:2, :2])))
    if mirrored:
        points = points[list(MIRROR)]
        turn = np.diag([-1.0, 1.0]) @ turn
    # a pixel of the small crop is the mean of two by two
    return Crop(image, crop_units((points - 0.5) / 2, side), pose_angles(clips.head_pose[row], turn, mirrored))


def retoned(image: NDArray[np.uint8], tone: tuple[float, float]) -> NDArray[np.uint8]:
    """``image`` through another gain of the camera: contrast about the middle, then an offset in gray levels."""
    contrast, offset = tone
    return np.clip((image.astype(np.float32) - 128) * contrast + 128 + offset, 0, 255).round().astype(np.uint8)


def random_tone(rng: np.random.Generator) -> tuple[float, float]:
    """Contrast and offset for `retoned`."""
    return float(np.exp(rng.normal(0, 0.12))), float(rng.normal(0, 10))
