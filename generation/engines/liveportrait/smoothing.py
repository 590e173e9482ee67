"""Smoothing over time as LivePortrait smooths the motion of source videos: a Kalman filter and its backward pass.

Every value is a random walk seen through noise, with the same two variances, so one scalar gain a frame serves all.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from thermvision.annotations.errors import UsageError

OBSERVATION_VARIANCE = 3e-7  # LivePortrait's default; next to PROCESS_VARIANCE hardly any smoothing
PROCESS_VARIANCE = 1e-5
_INITIAL_VARIANCE = 1.0


def smooth(
    values: Sequence[ArrayLike] | NDArray[np.floating], observation_variance: float = OBSERVATION_VARIANCE
) -> NDArray[np.float32]:
    """``values``, T arrays of one shape, smoothed over T: (T, ...) float32.

    The Rauch-Tung-Striebel smoother of a random walk whose steps have variance 1e-5, started at the first value with
    variance 1; what ``pykalman.KalmanFilter(...).smooth`` gives with identity matrices.

    >>> [round(float(v), 4) for v in smooth([0.0, 0.01, 0.0, 0.02, 0.01], 1e-4)]
    [0.0067, 0.0074, 0.0078, 0.009, 0.0091]

    Raises:
        UsageError: no value, or a variance that is not above 0.
    """
    seen = np.asarray(values, np.float64)
    if seen.ndim == 0 or len(seen) == 0:
        raise UsageError("there is nothing to smooth; give at least one frame")
    if not 0 < observation_variance < np.inf:
        raise UsageError(
            f"observation variance is {observation_variance}; allowed: above 0, such as {OBSERVATION_VARIANCE}"
        )
    mean, variance = np.empty_like(seen), np.empty(len(seen))
    for i, value in enumerate(seen):
        before = seen[0] if i == 0 else mean[i - 1]
        spread = _INITIAL_VARIANCE if i == 0 else variance[i - 1] + PROCESS_VARIANCE
        gain = spread / (spread + observation_variance)
        mean[i] = before + gain * (value - before)
        variance[i] = (1 - gain) * spread
    for i in range(len(seen) - 2, -1, -1):
        back = variance[i] / (variance[i] + PROCESS_VARIANCE)
        mean[i] += back * (mean[i + 1] - mean[i])
    return mean.astype(np.float32)
