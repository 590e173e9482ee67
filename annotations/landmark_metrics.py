"""Errors of landmarks and head pose.

NME is the mean distance between found and true points over a length: the distance of the outer eye corners (points
36 and 45; C. Sagonas et al., "300 Faces in-the-Wild Challenge", ICCV Workshops 2013), or √(width · height) of the true
box (A. Bulat and G. Tzimiropoulos, "How far are we from solving the 2D & 3D face alignment problem?", ICCV 2017),
which does not shrink in profile. Points are pixels; NaN means "not there" and never counts as right.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .detection_metrics import face_size
from .pose import rotation_from_pose
from .schema import OUTSIDE, VISIBLE

Floats = NDArray[np.float64]
OUTER_EYE_CORNERS = (36, 45)
# which true points count, by landmark_state
POINTS = {"all": 0, "inside": OUTSIDE + 1, "visible": VISIBLE}


def interocular(landmarks: ArrayLike) -> Floats:
    """Distance (...) of the outer eye corners of landmarks (..., 68, 2); NaN where it is 0 or a corner is missing.

    >>> points = np.zeros((68, 2)); points[45] = 3, 4
    >>> float(interocular(points))
    5.0
    """
    points = np.asarray(landmarks, np.float64)
    first, second = (points[..., i, :] for i in OUTER_EYE_CORNERS)
    length = np.linalg.norm(first - second, axis=-1)
    return np.where(length > 0, length, np.nan)


def box_length(boxes: ArrayLike) -> Floats:
    """√(width · height) of boxes (N, 4); NaN where a box has no area."""
    length = face_size(boxes)
    return np.where(length > 0, length, np.nan)


def counted_points(landmarks: ArrayLike, states: ArrayLike | None = None, points: str = "all") -> NDArray[np.bool_]:
    """Which true points (N, K, 2) count: those that are known and whose state (N, K) is in ``points``.

    Args:
        landmarks: true points, NaN where not known.
        states: `landmark_state` of each; where it is not given, every known point counts.
        points: one of `POINTS`: all, inside the frame, or visible.

    Raises:
        ValueError: there is no such choice of points.
    """
    if points not in POINTS:
        raise ValueError(f"points is {points!r}; allowed: {', '.join(POINTS)}")
    known: NDArray[np.bool_] = np.all(np.isfinite(np.asarray(landmarks, np.float64)), axis=-1)
    return known if states is None else known & (np.asarray(states) >= POINTS[points])


def point_errors(found: ArrayLike, truth: ArrayLike, counted: ArrayLike | None = None) -> Floats:
    """Distances (N, K) in pixels between points (N, K, 2); NaN where either is missing or does not count."""
    distance = np.linalg.norm(np.asarray(found, np.float64) - np.asarray(truth, np.float64), axis=-1)
    keep = np.isfinite(distance) if counted is None else np.isfinite(distance) & np.asarray(counted, bool)
    return np.where(keep, distance, np.nan)


def normalised_mean_error(errors: ArrayLike, lengths: ArrayLike, points: Sequence[int] | None = None) -> Floats:
    """NME (N,) of distances (N, K) over lengths (N,), of all points or some; NaN where no point is left.

    >>> normalised_mean_error([[1.0, 3.0], [np.nan, np.nan]], [10.0, 10.0]).tolist()
    [0.2, nan]
    """
    chosen = np.asarray(errors, np.float64)
    chosen = chosen if points is None else chosen[:, list(points)]
    known = np.isfinite(chosen)
    count = known.sum(1)
    total = np.where(known, chosen, 0).sum(1)
    return np.divide(total, count, out=np.full(len(chosen), np.nan), where=count > 0) / np.asarray(lengths, np.float64)


def failures(errors: ArrayLike, threshold: float) -> Floats:
    """1.0 for each face (N,) whose NME is above ``threshold`` or that has none (a missed face), else 0.0."""
    return (~(np.asarray(errors, np.float64) <= threshold)).astype(np.float64)


def area_under_ced(errors: ArrayLike, threshold: float) -> Floats:
    """Each face's share (N,) in the area under the cumulative error distribution up to ``threshold``, in 0..1.

    The area under a step curve has a closed form: its mean over faces is AUC = mean(max(0, 1 - error / threshold)).
    A missed face (NaN) has no share.

    >>> area_under_ced([0.0, 0.04, 0.5, np.nan], 0.08).tolist()
    [1.0, 0.5, 0.0, 0.0]
    """
    share: Floats = np.nan_to_num(np.clip(1 - np.asarray(errors, np.float64) / threshold, 0, None), nan=0.0)
    return share


def cumulative_error(errors: ArrayLike, limit: float, steps: int = 40) -> dict[str, list[float]]:
    """The CED curve: at each ``error`` from 0 to ``limit`` the ``part`` of all faces, missed ones too, within it."""
    given = np.asarray(errors, np.float64)
    at = np.linspace(0, limit, steps + 1)
    found = np.sort(given[np.isfinite(given)])
    part = np.searchsorted(found, at, side="right") / max(len(given), 1)
    return {"error": at.round(6).tolist(), "part": part.tolist()}


def angle_errors(found: ArrayLike, truth: ArrayLike) -> Floats:
    """Absolute differences (N, 3) of yaw, pitch and roll in degrees, the short way round.

    >>> angle_errors([[179.0, 0, -10]], [[-179.0, 5, 10]]).tolist()
    [[2.0, 5.0, 20.0]]
    """
    difference = np.asarray(found, np.float64) - np.asarray(truth, np.float64)
    return np.abs((difference + 180) % 360 - 180)


def geodesic_errors(found: ArrayLike, truth: ArrayLike) -> Floats:
    """Angle (N,) in degrees of the one rotation between two poses (N, 3): arccos((trace(RᵀS) - 1) / 2).

    Unlike Euler angles it means the same at every yaw (D. Huynh, "Metrics for 3D Rotations", J. Math. Imaging and
    Vision 2009). Computed as 2 arcsin(‖R - S‖ / √8), which keeps small angles exact.

    >>> geodesic_errors([[30.0, 0, 0]], [[10.0, 0, 0]]).round(6).tolist()
    [20.0]
    """
    difference = rotation_from_pose(found) - rotation_from_pose(truth)
    chord = np.sqrt((difference**2).sum((-2, -1))) / np.sqrt(8)
    angle: Floats = np.rad2deg(2 * np.arcsin(np.clip(chord, 0, 1)))
    return angle
