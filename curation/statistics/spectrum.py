"""Radial power spectra of frames, and what they are held against."""

from __future__ import annotations

import itertools
from functools import cache

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.fft import rfft2

Floats = NDArray[np.float64]
SIDE, BANDS = 348, 6
EDGES = np.geomspace(2, SIDE / 2, BANDS + 1)  # cycles across the picture
# mean of two real portraits of 464 x 348 px, from SpeakingFaces and TFW, by `radial_spectrum`; see docs/phantom.md
REAL_PORTRAITS = (10.83, 9.72, 8.55, 7.45, 6.32, 5.09)
# of power over frequency; D. J. Field, "Relations between the statistics of natural images and the response properties
# of cortical cells", J. Opt. Soc. Am. A 4, 1987
NATURAL_SLOPE = -2.0


@cache
def _look() -> tuple[Floats, tuple[NDArray[np.intp], ...], Floats]:
    """The window (348, 348), the places of each band in half a spectrum, and how often each place is in a whole one."""
    window = np.hanning(SIDE)[:, None] * np.hanning(SIDE)
    down, across = np.fft.fftfreq(SIDE, 1 / SIDE), np.fft.rfftfreq(SIDE, 1 / SIDE)
    radius = np.hypot(down[:, None], across).ravel()
    bands = tuple(np.flatnonzero((radius >= low) & (radius < high)) for low, high in itertools.pairwise(EDGES))
    twice = np.where((across == 0) | (across == SIDE / 2), 1.0, 2.0)
    return window, bands, np.tile(twice, (SIDE, 1)).ravel()


def radial_spectrum(frame: NDArray[np.uint8]) -> Floats:
    """log10 of the mean power of a gray frame (H, W) in six bands of equal ratio, from 2 to 174 cycles, (6,).

    It is that of the central square at 348 x 348 px under a Hann window, its mean taken off. A band without power,
    as of a frame of one gray level, is -inf.
    """
    side = min(frame.shape)
    top, left = (frame.shape[0] - side) // 2, (frame.shape[1] - side) // 2
    square = frame[top : top + side, left : left + side]
    method = cv2.INTER_AREA if side > SIDE else cv2.INTER_CUBIC
    square = cv2.resize(square, (SIDE, SIDE), interpolation=method).astype(np.float64)
    window, bands, weight = _look()
    power = np.abs(rfft2((square - square.mean()) * window)).ravel() ** 2
    with np.errstate(divide="ignore"):
        return np.log10([float(np.average(power[band], weights=weight[band])) for band in bands])
