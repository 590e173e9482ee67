"""Smoothing of a video's annotations over time, and filling of short gaps.

Boxes, landmarks and pose are drawn to the course whose velocity changes least: for samples y with weights w (0 where
nothing is known) the smooth course x minimises ``sum w (y - x)² + s sum (x[t-1] - 2 x[t] + x[t+1])²`` (E. T.
Whittaker 1923; P. H. C. Eilers, "A perfect smoother", Analytical Chemistry 75, 2003). It looks both ways, so nothing
lags; a motion of frequency f keeps ``1 / (1 + s (2 - 2 cos(2 π f / fps))²)`` of its size, and s is chosen such that
this is one half at the cutoff. Uniform motion passes unchanged. Openness and expression keep their measured values,
because a blink is faster than any head.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solveh_banded

from thermvision.annotations.boxes import iou_matrix
from thermvision.annotations.errors import UsageError
from thermvision.annotations.schema import FrameAnnotation

SAME_FACE = 0.3  # boxes before and after that overlap less are two faces
Course = NDArray[np.float64]
_Value = TypeVar("_Value")


def temporal(
    annotations: Sequence[FrameAnnotation],
    *,
    smooth: bool = True,
    fill_gaps: int = 5,
    fps: float = 30.0,
    cutoff: float = 5.0,
) -> list[FrameAnnotation]:
    """The annotations of one video, in order and without missing frames, smoothed and with short gaps filled.

    A gap of up to ``fill_gaps`` frames without a face is filled when the boxes on both sides overlap; a filled frame
    has one face, no score, and the visibility and expression of the nearest known frame. Nothing is carried across
    longer gaps, or to another face: where a box does not overlap the one before, everything begins anew. Two people
    who change places within a gap cannot be told apart here. What was done is appended to ``source``.

    Args:
        smooth: whether boxes, landmarks and pose are smoothed; a filled gap is straight where they are not.
        fill_gaps: frames; 0 fills nothing.
        fps: frames a second.
        cutoff: Hz, motion of which one half is kept; below half of ``fps``.

    Raises:
        UsageError: an option is out of its range.

    >>> face = FrameAnnotation(bbox=np.array([10, 10, 40, 50]), face_count=1, source="detector@0")
    >>> filled = temporal([face, FrameAnnotation.no_face("detector@0"), face])
    >>> filled[1].bbox.round(3).tolist(), filled[1].source
    ([10.0, 10.0, 40.0, 50.0], 'detector@0+smoothed(cutoff=5Hz,fps=30,gap=5)')
    """
    if not fps > 0:
        raise UsageError(f"fps is {fps}; allowed: above 0")
    if not 0 < cutoff < fps / 2:
        raise UsageError(f"the cutoff of smoothing is {cutoff} Hz; allowed: above 0 and below {fps / 2:g}, half of fps")
    if fill_gaps < 0:
        raise UsageError(f"the longest gap to fill is {fill_gaps}; allowed: 0 frames or more")
    if not smooth and not fill_gaps:
        return list(annotations)
    stiffness = float((2 - 2 * np.cos(2 * np.pi * cutoff / fps)) ** -2) if smooth else 0.0
    done = f"cutoff={cutoff:g}Hz,fps={fps:g},gap={fill_gaps}" if smooth else f"gap={fill_gaps}"
    note = f"+smoothed({done})"
    boxes = [a.bbox if np.isfinite(a.bbox).all() else None for a in annotations]
    result = [replace(a, source=a.source + note) for a in annotations]
    for span in _runs(boxes, fill_gaps, lambda a, b: bool(iou_matrix(a, b)[0, 0] >= SAME_FACE)):
        result[span] = _smooth_run(result[span], boxes[span], stiffness, fill_gaps)
    return result


def _runs(
    values: Sequence[_Value | None], max_gap: int, same: Callable[[_Value, _Value], bool] = lambda a, b: True
) -> list[slice]:
    """Ranges that begin and end with a known value, have no longer gap within, and show the same throughout."""
    runs: list[slice] = []
    last: _Value | None = None
    for i, value in enumerate(values):
        if value is None:
            continue
        if last is not None and i - runs[-1].stop <= max_gap and same(last, value):
            runs[-1] = slice(runs[-1].start, i + 1)
        else:
            runs.append(slice(i, i + 1))
        last = value
    return runs


def _smooth_run(
    frames: list[FrameAnnotation], boxes: list[NDArray[np.float32] | None], stiffness: float, max_gap: int
) -> list[FrameAnnotation]:
    # centre and logarithm of the size: growth is a factor, and a size stays above 0
    places = [
        None if b is None else np.concatenate([b[:2] + b[2:] / 2, np.log(np.maximum(b[2:], 1e-3))]) for b in boxes
    ]
    smooth_places = _over_time(places, stiffness, max_gap)
    landmarks = _over_time([a.landmarks for a in frames], stiffness, max_gap)
    pose = _over_time([a.head_pose for a in frames], stiffness, max_gap, period=360)
    eyes = _over_time([a.eye_openness for a in frames], 0, max_gap)
    mouth = _over_time([a.mouth_openness for a in frames], 0, max_gap)
    known = np.flatnonzero([box is not None for box in boxes])
    result = []
    for i, (a, place) in enumerate(zip(frames, smooth_places, strict=True)):
        assert place is not None  # a run has no gap that is not filled
        size = np.exp(place[2:])
        nearest = frames[known[np.abs(known - i).argmin()]]
        result.append(
            replace(
                a,
                bbox=np.concatenate([place[:2] - size / 2, size]),
                face_count=max(1, a.face_count),
                landmarks=landmarks[i],
                landmark_state=nearest.landmark_state if landmarks[i] is not None else None,
                head_pose=pose[i],
                expression=nearest.expression,
                eye_openness=None if eyes[i] is None else float(eyes[i]),
                mouth_openness=None if mouth[i] is None else float(mouth[i]),
            )
        )
    return result


def _over_time(values: Sequence[Any], stiffness: float, max_gap: int, period: float | None = None) -> list[Any]:
    """The smooth course of numbers or arrays of one shape; what is None beyond ``max_gap`` frames stays None."""
    result: list[Any] = [None] * len(values)
    for span in _runs(values, max_gap):
        part = values[span]
        known = np.array([v is not None for v in part])
        given = np.array([v for v in part if v is not None], np.float64)
        table = np.full((len(part), given[0].size), np.nan)
        table[known] = given.reshape(len(given), -1)
        if period is not None:
            table[known] = np.unwrap(table[known], axis=0, period=period)
        # a coordinate that is NaN now and then stays as it was measured
        whole = np.isfinite(table[known]).all(0)
        table[:, whole] = _course(table[:, whole], known, stiffness)
        if period is not None:
            table = (table + period / 2) % period - period / 2
        result[span] = list(table.reshape(len(part), *given.shape[1:]))
    return result


def _course(samples: Course, known: NDArray[np.bool_], stiffness: float) -> Course:
    """Smooth samples (T, K); rows that are not known are made from their neighbours on both sides."""
    count = len(samples)
    if stiffness == 0 or known.sum() < 3:
        times = np.arange(count)
        columns = [np.interp(times, times[known], column[known]) for column in samples.T]
        return np.stack(columns, 1) if columns else samples
    # upper bands of diag(w) + s D'D, D the second difference
    bands = np.zeros((3, count))
    bands[2] = known
    bands[2, :-2] += stiffness
    bands[2, 1:-1] += 4 * stiffness
    bands[2, 2:] += stiffness
    bands[1, 1:-1] -= 2 * stiffness
    bands[1, 2:] -= 2 * stiffness
    bands[0, 2:] += stiffness
    solved: Course = solveh_banded(bands, np.where(known[:, None], samples, 0))
    return solved
