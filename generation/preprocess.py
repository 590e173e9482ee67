"""Thermal preprocessing before animation, as the data set's article prints it (Farooq, Shariff, Corcoran 2026).

Three steps in this order, each optional: stretch of every frame to 0..1 (`normalize_intensity`), bilateral filter
against sensor noise (`remove_sensor_noise`), histogram equalisation (`preserve_gradients`); all three are
`preprocess_thermal`. The functions repeat the article's listing to the last bit, with two consequences. A filter of
σ = 10 over values of 0..1 sees no edge: it is nearly a plain Gaussian of five pixels. And 8 bits are reached by cutting
the fraction off, not by rounding.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from thermvision.annotations.errors import UsageError

STEPS = ("normalize", "denoise", "equalize")
DIAMETER, SIGMA_COLOR, SIGMA_SPACE = 5, 10, 10  # of the bilateral filter; pixels, units of 0..1, pixels
_EPSILON = 1e-6  # the article's, against a frame of one value


def normalize_intensity(frames: Iterable[NDArray[Any]]) -> NDArray[np.floating[Any]]:
    """Each (H, W) frame stretched from its own minimum and maximum to 0..1; integers become float64.

    >>> normalize_intensity([np.array([[2, 4], [6, 12]], np.uint8)]).round(3).tolist()
    [[[0.0, 0.2], [0.4, 1.0]]]
    """
    return np.array([(f - np.min(f)) / (np.max(f) - np.min(f) + _EPSILON) for f in frames])


def remove_sensor_noise(frames: Iterable[NDArray[Any]]) -> NDArray[np.float32]:
    """Each frame of 0..1 through a bilateral filter of diameter 5 and σ = 10 in both senses, as float32."""
    return np.array(
        [cv2.bilateralFilter(f.astype(np.float32), DIAMETER, SIGMA_COLOR, SIGMA_SPACE) for f in frames], np.float32
    )


def preserve_gradients(frames: Iterable[NDArray[Any]]) -> NDArray[np.uint8]:
    """The histogram of each frame of 0..1 equalised, as uint8."""
    return np.array([cv2.equalizeHist((f * 255).astype(np.uint8)) for f in frames], np.uint8)


def preprocess_thermal(frames: Iterable[NDArray[Any]]) -> NDArray[np.uint8]:
    """All three steps: (N, H, W) uint8.

    >>> ramp = np.arange(64, dtype=np.uint8).reshape(8, 8)
    >>> done = preprocess_thermal([ramp])
    >>> done.dtype, int(done.min()), int(done.max())
    (dtype('uint8'), 0, 255)
    """
    return preserve_gradients(remove_sensor_noise(normalize_intensity(frames)))


def check_steps(steps: Iterable[str]) -> tuple[str, ...]:
    """``steps`` in the order in which they are done.

    >>> check_steps(["equalize", "normalize"])
    ('normalize', 'equalize')

    Raises:
        UsageError: a step has another name, or is named twice.
    """
    asked = list(steps)
    if unknown := [s for s in asked if s not in STEPS]:
        raise UsageError(
            f"preprocessing step {unknown[0]!r} does not exist; allowed: {', '.join(STEPS)}, in any number"
        )
    if len(set(asked)) < len(asked):
        raise UsageError(f"preprocessing is {', '.join(asked)}; allowed: each of {', '.join(STEPS)} once at most")
    return tuple(s for s in STEPS if s in asked)


def preprocess(frame: NDArray[np.uint8], steps: Iterable[str]) -> NDArray[np.uint8]:
    """One (H, W) uint8 frame after the named ``steps``; none leaves it as it is.

    What is not normalised is divided by 255 where the filter wants 0..1; what is not equalised goes back to 8 bits
    rounded, for which the article has no formula.

    >>> frame = np.arange(30, 46, dtype=np.uint8).reshape(4, 4)
    >>> bool((preprocess(frame, ["normalize", "denoise", "equalize"]) == preprocess_thermal([frame])[0]).all())
    True
    >>> preprocess(frame, ["normalize"])[0].tolist()
    [0, 17, 34, 51]

    Raises:
        UsageError: there is no such step.
    """
    chosen = check_steps(steps)
    if not chosen:
        return frame
    if chosen == ("equalize",):
        return np.asarray(cv2.equalizeHist(frame), np.uint8)
    values: NDArray[Any] = normalize_intensity([frame]) if "normalize" in chosen else np.array([frame / 255.0])
    if "denoise" in chosen:
        values = remove_sensor_noise(values)
    if "equalize" in chosen:
        return preserve_gradients(values)[0]
    return np.rint(np.clip(values[0] * 255, 0, 255)).astype(np.uint8)
