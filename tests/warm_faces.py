"""A drawn frontal face with the heat of a healthy one: what the checks of faces and of heat must be quiet about."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from thermvision.curation.checks.kinds import FrameView
from thermvision.curation.checks.mean_face import MEAN_FACE

SIZE, SCALE = 320, 90.0  # pixels of the frame, and pixels between the outer corners of the eyes
ROOM, SKIN, NOSE, CORNER = 40, 190, 150, 225


def warm_landmarks(size: int = SIZE, scale: float = SCALE) -> NDArray[np.float32]:
    """The mean face in the middle of a frame, its jaw an ellipse."""
    turn = np.linspace(np.pi, 0, 17)
    jaw = np.stack([0.78 * np.cos(turn), 0.32 - 1.25 * np.sin(turn)], 1)
    points = np.concatenate([jaw, MEAN_FACE[:, :2]]) * (scale, -scale)
    return (points + size / 2).astype(np.float32)


def warm_face(size: int = SIZE, scale: float = SCALE, seed: int = 0) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """A frame (size, size) float32 of gray levels and its landmarks (68, 2)."""
    points = warm_landmarks(size, scale)
    frame = np.full((size, size), ROOM, np.float32)
    middle = points[:17].mean(0)
    oval = np.concatenate([points[:17], points[17:27] - (0, 0.55 * scale)])
    _fill(frame, cv2.convexHull(oval.astype(np.int32)), SKIN)
    _fill(frame, cv2.convexHull((points[17:27] - (0, 0.30 * scale)).astype(np.int32)), SKIN + 15)
    for side in (-1, 1):  # cool cheeks
        cheek = middle + scale * np.array([side * 0.45, -0.20])
        cv2.ellipse(frame, _whole(cheek), (int(0.20 * scale), int(0.22 * scale)), 0, 0, 360, SKIN - 25, -1)
    _fill(frame, points[[27, 31, 33, 35]].astype(np.int32), NOSE)
    frame = cv2.GaussianBlur(frame, (0, 0), 0.015 * scale)
    for corner in (39, 42):
        cv2.circle(frame, _whole(points[corner]), int(0.05 * scale), CORNER, -1)
    for lid in (points[36:42], points[42:48]):
        cv2.polylines(frame, [lid.astype(np.int32)], True, SKIN - 30, 2)
    for brow in (points[17:22], points[22:27]):
        cv2.polylines(frame, [brow.astype(np.int32)], False, SKIN - 30, 3)
    cv2.polylines(frame, [points[60:65].astype(np.int32)], False, SKIN - 30, 2)
    grain = np.random.default_rng(seed).normal(0, 0.9, frame.shape)
    return (cv2.GaussianBlur(frame, (0, 0), 0.6) + grain).astype(np.float32), points


def turned_face(seed: int = 0) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """A face whose image-right half is narrower, as when it turns that way."""
    frame, points = warm_face(seed=seed)
    axis = float(points[27, 0])
    x = np.arange(frame.shape[1], dtype=np.float32)
    source = np.where(x < axis, axis + (x - axis) / 1.1, axis + (x - axis) / 0.5).astype(np.float32)
    rows = np.arange(frame.shape[0], dtype=np.float32)
    turned = cv2.remap(frame, *np.meshgrid(source, rows), cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    moved = points.copy()
    moved[:, 0] = axis + (points[:, 0] - axis) * np.where(points[:, 0] < axis, 1.1, 0.5)
    return turned, moved


def view(
    frame: NDArray[np.float32],
    points: NDArray[np.float32],
    yaw: float = 0.0,
    hidden: range = range(0),
    **attributes: str,
) -> FrameView:
    """The frame as the checks see it; ``hidden`` landmarks are covered by an object."""
    gray = np.rint(frame).clip(0, 255).astype(np.uint8)
    states = np.full(68, 3, np.uint8)
    states[list(hidden)] = 2
    pose = np.array([yaw, 0, 0], np.float32)
    return FrameView(7, gray, gray, None, points, states, pose, attributes=attributes)


def _fill(frame: NDArray[np.float32], hull: NDArray[np.int32], level: float) -> None:
    cv2.fillConvexPoly(frame, hull, level)


def _whole(point: NDArray[np.float32]) -> tuple[int, int]:
    return round(float(point[0])), round(float(point[1]))
