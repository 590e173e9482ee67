"""Labels of a clip over time: what jumps and returns, stands still while the head moves, or comes too late."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from .kinds import ItemView, Kind, Scored, by_code
from .runs import longest_equal_run, runs

Floats = NDArray[np.float64]

SLOWEST = 8.0  # frames a second below which a head may turn as far from frame to frame as a label jumps
FEWEST = 12  # frames below which nothing is said about standing still or lagging
MAX_LAG = 8  # frames

KINDS: tuple[Kind, ...] = (
    Kind(
        "box-jump", "label", "The box jumps, as no head moves.", 0.14, "of the box's side, change of motion"
    ),
    Kind(
        "landmarks-jump",
        "label",
        "The landmarks jump, as no head moves.",
        0.14,
        "of the face's size, change of motion",
    ),
    Kind("pose-jump", "label", "The head pose jumps, as no head turns.", 15, "°, change of motion"),
    Kind(
        "labels-frozen",
        "label",
        "Boxes or landmarks are equal to the last digit over many frames: they were copied, not measured.",
        7,
        "frames",
    ),
    Kind(
        "box-constant",
        "label",
        "The box hardly moves over the whole clip while the landmarks do: it is no label of the frame.",
        0.2,
        "the box's motion over the landmarks'",
        higher_is_worse=False,
    ),
    Kind(
        "labels-lag",
        "label",
        "Boxes and landmarks of a clip are shifted in time against each other.",
        1.5,
        "frames",
    ),
)  # fmt: skip
_KIND = by_code(KINDS)


def timing_scores(item: ItemView) -> Iterator[Scored]:
    """Scores of a clip's boxes, landmarks and pose over time."""
    boxes = _known(item.bbox, 4)
    landmarks = _known(item.landmarks, 136)
    if (item.fps or SLOWEST) >= SLOWEST:
        yield from _jumps(boxes, landmarks, _known(item.pose, 3))
    yield from _still(boxes, landmarks)
    if boxes is not None and landmarks is not None and len(boxes) == len(landmarks):
        yield from _together(boxes, landmarks)


def _jumps(boxes: Floats | None, landmarks: Floats | None, pose: Floats | None) -> Iterator[Scored]:
    if boxes is not None:
        corners = np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], 1)
        with np.errstate(all="ignore"):
            side = np.sqrt(np.clip(boxes[:, 2:], 0, None).prod(1))
        jump = np.abs(change_of_motion(corners)).max(1) / _usual(side)
        yield from runs(_KIND["box-jump"], jump, lambda n: f"an edge leaps by {jump[n]:.2f} of the box's side")
    if landmarks is not None:
        points = landmarks.reshape(len(landmarks), -1, 2)
        extent = np.sqrt(np.ptp(points, axis=1).prod(1))
        leap = np.linalg.norm(change_of_motion(points), axis=-1).mean(1) / _usual(extent)
        yield from runs(_KIND["landmarks-jump"], leap, lambda n: f"they leap by {leap[n]:.2f} of the face's size")
    if pose is not None:
        turn = np.abs(change_of_motion(pose)).max(1)
        yield from runs(_KIND["pose-jump"], turn, lambda n: f"it leaps by {turn[n]:.0f}°")


def change_of_motion(values: Floats) -> Floats:
    """Second differences of ``values`` (N, …) over the frames: 0 for any even motion, NaN for the first and last frame.

    >>> change_of_motion(np.array([[0.0], [1], [2], [9], [4]])).ravel().tolist()
    [nan, 0.0, 6.0, -12.0, nan]
    """
    result: Floats = np.full(values.shape, np.nan)
    result[1:-1] = values[2:] - 2 * values[1:-1] + values[:-2]
    return result


def _usual(sizes: Floats) -> float:
    return float(np.nanmedian(sizes)) if np.isfinite(sizes).any() else np.nan


def _known(values: NDArray[np.float32] | None, width: int) -> Floats | None:
    """(N, width) float64, rows that are not finite all NaN; None where nothing is known."""
    if values is None or not len(values):
        return None
    array = np.asarray(values, np.float64).reshape(len(values), -1)
    if array.shape[1] != width:
        return None
    return np.where(np.isfinite(array).all(1, keepdims=True), array, np.nan)


def _still(boxes: Floats | None, landmarks: Floats | None) -> Iterator[Scored]:
    """Equal rows; where the landmarks are known, boxes of whole pixels must stand longer than they do."""
    worst: tuple[int, int, str] | None = None
    for name, values in (("box", boxes), ("landmarks", landmarks)):
        if values is None or len(values) < FEWEST:
            continue
        first, length = longest_equal_run(values, 1e-4)
        if worst is None or length > worst[1]:
            worst = (first, length, name)
    if worst is None:
        return
    first, length, name = worst
    if _KIND["labels-frozen"].is_finding(length):
        yield Scored("labels-frozen", length, first, first + length - 1, f"the {name} of {length} frames are equal")
    else:
        yield Scored("labels-frozen", length)


def _together(boxes: Floats, landmarks: Floats) -> Iterator[Scored]:
    """How the box and the outline of the landmarks move: by how much, and when."""
    points = landmarks.reshape(len(landmarks), -1, 2)
    with np.errstate(all="ignore"):
        of_box = np.concatenate([boxes[:, :2] + boxes[:, 2:] / 2, boxes[:, 2:]], 1)
        low, high = points.min(1), points.max(1)
        of_points = np.concatenate([(low + high) / 2, high - low], 1)
    both = np.isfinite(of_box).all(1) & np.isfinite(of_points).all(1)
    if both.sum() < FEWEST:
        return
    side = float(np.sqrt(np.median(of_points[both, 2:], 0).prod()))
    if not side > 0:
        return
    spread_box, spread_points = (
        float(np.median(np.abs(v - np.median(v, 0)), 0)[:2].sum() / side) for v in (of_box[both], of_points[both])
    )
    if spread_points > 0.02:
        ratio = spread_box / spread_points
        detail = f"the box moves by {spread_box:.3f} of the face's size, the landmarks by {spread_points:.3f}"
        yield Scored("box-constant", ratio, None, None, detail)
    lag, gain = best_lag(np.diff(of_box[:, :2], axis=0), np.diff(of_points[:, :2], axis=0))
    if not np.isnan(lag):
        yield Scored("labels-lag", abs(lag), None, None, f"boxes follow landmarks by {lag:.0f} frames (r + {gain:.2f})")


def best_lag(late: Floats, early: Floats, *, gain: float = 0.15) -> tuple[float, float]:
    """By how many frames the motion ``late`` (N, D) follows ``early``, and what that adds to their correlation.

    Lags up to `MAX_LAG` either way are tried; 0 unless the best one explains the motion by ``gain`` more than none does
    and correlates by at least 0.6. NaN where there is too little to tell.

    >>> step = np.random.default_rng(0).normal(size=(60, 2))
    >>> best_lag(np.roll(step, 3, 0), step)[0]
    3.0
    """
    if len(late) < 3 * MAX_LAG:
        return np.nan, np.nan
    found = {}
    for lag in range(-MAX_LAG, MAX_LAG + 1):
        a = late[max(lag, 0) : len(late) + min(lag, 0)]
        b = early[max(-lag, 0) : len(early) + min(-lag, 0)]
        good = np.isfinite(a).all(1) & np.isfinite(b).all(1)
        if good.sum() < 2 * MAX_LAG:
            return np.nan, np.nan
        x, y = a[good] - a[good].mean(0), b[good] - b[good].mean(0)
        power = float(np.sqrt((x**2).sum() * (y**2).sum()))
        if power < 1e-9:
            return np.nan, np.nan
        found[lag] = float((x * y).sum()) / power
    best = max(found, key=lambda k: found[k])
    more = found[best] - found[0]
    if found[best] < 0.6 or more < gain:
        return 0.0, more
    return float(best), more
