"""Whether a gray thermal picture shows warm as bright (white-hot) or as dark (black-hot).

A detector that has learned both polarities knows better (`faces.Detections.black_hot`); what is here is the guess for
when there is none.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

_SMALL = 64  # the guess is about large parts of the picture
_FRAME = 6  # of the small picture's pixels: width of the strip along the top and both sides
_CENTRE = 0.30  # of the small picture: half axis of the middle
_STEEPNESS = 4.0  # an assumption: a middle brighter by half of the picture's range is white-hot with 0.88
_FLAT = 2.0  # gray levels of range: nothing to see


def guess_black_hot(gray: NDArray[np.uint8]) -> float:
    """Probability that a gray picture (H, W) uint8 is black-hot, from the picture alone: a weak guess.

    People are photographed in the middle and are warmer than the room behind them, so the middle of a white-hot
    picture is brighter than its top and sides (the bottom is left out: there are shoulders). It says 0.5 for a flat
    picture, and it is wrong for people before a sunny wall or a radiator, and for scenes with nobody in the middle.

    >>> picture = np.full((64, 64), 20, np.uint8)
    >>> picture[16:, 20:44] = 220
    >>> round(guess_black_hot(picture), 2), round(guess_black_hot(255 - picture), 2)
    (0.06, 0.94)
    """
    small = np.asarray(cv2.resize(gray, (_SMALL, _SMALL), interpolation=cv2.INTER_AREA), np.float64)
    low, high = np.percentile(small, (2, 98))
    if high - low < _FLAT:
        return 0.5
    y, x = (np.mgrid[0:_SMALL, 0:_SMALL] + 0.5) / _SMALL - 0.5
    border = np.concatenate([small[:_FRAME].ravel(), small[:, :_FRAME].ravel(), small[:, -_FRAME:].ravel()])
    contrast = (small[np.hypot(x, y) <= _CENTRE].mean() - np.median(border)) / (high - low)
    return float(1 / (1 + np.exp(_STEEPNESS * contrast)))
