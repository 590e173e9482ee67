"""Temperature-based normalisation: one gray value means one temperature relative to skin, in every data set.

The article names the step and gives no formula; this one is the project's own.

* **Intensity.** The median of the face's middle becomes `SKIN_LEVEL`, and one unit of gray is `SPAN` kelvin, whatever
  the camera's own gain was. What lies beyond is bent, not cut (`bend`), so its gradients stay.
* **Gray pictures** hold no temperature. `pseudo_celsius` gives them one by two anchors: the face's middle is skin and
  the darkest tenth of the picture the room.
* **Gradients.** Fine texture (`thermvision.annotations.radiometry.base_and_detail`) is scaled so that its RMS gradient
  in the face is `GRADIENT`. The gain has limits, and noise is never raised above `NOISE`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from thermvision.annotations.errors import DamagedInputError
from thermvision.annotations.radiometry import base_and_detail

from .crops import resized
from .sources import Box

Floats = NDArray[np.float32]

SPAN = 16.0  # K from black to white: a room of 22 °C is dark, the inner eye corners are not white yet
SKIN_LEVEL = 0.72
SKIN, ROOM = 33.5, 22.0  # °C that the anchors of a gray picture stand for
TOE, SHOULDER = 0.08, 0.94  # gray values beyond which tones are bent
WORK = 256  # side in pixels on which gradients are measured
GRADIENT = 0.05  # K a pixel of WORK, RMS of the detail in a face: the median of rendered faces
GAINS = (0.5, 2.0)
NOISE = 0.08  # K, standard deviation: a gray value and a quarter
_FLAT = 6.0  # gray values between the anchors below which a picture shows nothing
_FACE_SPREAD = 9.0  # K between the 5th and 95th percentile of a face's middle, at most: a cold nose, glasses


@dataclass(frozen=True)
class Normalised:
    """A normalised picture.

    Attributes:
        values: (H, W) float32 in 0..1.
        skin: the face's middle, °C; an assumption where the picture was gray.
        gain: of the fine texture.
        gradient: RMS gradient of the face's texture before, K a pixel of `WORK`.
        noise: its estimated standard deviation before, K.
    """

    values: Floats
    skin: float
    gain: float
    gradient: float
    noise: float

    def record(self) -> dict[str, float]:
        """What is written down about it."""
        return {name: round(float(getattr(self, name)), 4) for name in ("skin", "gain", "gradient", "noise")}


def middle(values: NDArray[Any], face: Box) -> NDArray[Any]:
    """The middle half, each way, of a face ``[x, y, width, height]`` in a picture (H, W); at least a pixel."""
    height, width = values.shape[:2]
    x, y, w, h = face
    left, top = (int(np.clip(v, 0, most - 1)) for v, most in ((x + w / 4, width), (y + h / 4, height)))
    right, bottom = (int(np.clip(v, 1, most)) for v, most in ((x + 3 * w / 4, width), (y + 3 * h / 4, height)))
    return values[top : max(bottom, top + 1), left : max(right, left + 1)]


def pseudo_celsius(gray: NDArray[np.uint8], face: Box) -> Floats:
    """Temperatures (H, W) of a white-hot gray picture whose face were as warm as skin, its darkest tenth as a room.

    Where that would give the face itself more contrast than faces have, or where the face is not the warmer of the
    two, its own contrast counts: the picture may show no room at all.

    >>> gray = np.full((40, 40), 40, np.uint8)
    >>> gray[10:30, 10:30] = 155
    >>> pseudo_celsius(gray, (10, 10, 20, 20))[[0, 20], [0, 20]].round(2).tolist()
    [22.0, 33.5]

    Raises:
        DamagedInputError: the picture has no contrast.
    """
    inner = middle(gray, face)
    skin, room = float(np.median(inner)), float(np.percentile(gray, 10))
    low, high = (float(v) for v in np.percentile(inner, (5, 95)))
    scales = [(SKIN - ROOM) / (skin - room)] if skin - room >= _FLAT else []
    scales += [_FACE_SPREAD / (high - low)] if high - low >= _FLAT else []
    if not scales:
        seen = f"the face is {skin:.0f} and the darkest tenth {room:.0f} of 255"
        raise DamagedInputError(f"the picture is flat: {seen}; allowed: {_FLAT:g} gray values between them")
    kelvin = min(scales)
    return ((gray.astype(np.float32) - np.float32(skin)) * np.float32(kelvin) + np.float32(SKIN)).astype(np.float32)


def noise_of(values: NDArray[np.floating[Any]]) -> float:
    """Standard deviation of the noise of a picture (H, W), 3 x 3 pixels and more: Immerkær, CVIU 64(2), 1996.

    >>> noise = np.random.default_rng(0).normal(0, 0.5, (200, 200))
    >>> round(noise_of(noise + np.linspace(0, 30, 200)), 1)
    0.5
    """
    kernel = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32)
    response = cv2.filter2D(values.astype(np.float32), cv2.CV_32F, kernel)[1:-1, 1:-1]
    return float(np.abs(response).mean(dtype=np.float64) * np.sqrt(np.pi / 2) / 6) if response.size else 0.0


def bend(values: NDArray[np.floating[Any]]) -> Floats:
    """Values as they are from `TOE` to `SHOULDER`, beyond bent into 0..1 without a kink and without an end.

    >>> bend(np.array([-1.0, 0.5, 3.0])).round(3).tolist()
    [0.0, 0.5, 1.0]
    """
    v = values.astype(np.float32)
    low = TOE * np.exp(np.minimum(v - TOE, 0) / TOE)
    high = 1 - (1 - SHOULDER) * np.exp(-np.maximum(v - SHOULDER, 0) / (1 - SHOULDER))
    return np.where(v < TOE, low, np.where(v > SHOULDER, high, v)).astype(np.float32)


def normalise(celsius: Floats, face: Box, *, intensity: bool = True, gradients: bool = True) -> Normalised:
    """Normalise a crop.

    Args:
        celsius: (H, W) temperatures in °C, real or `pseudo_celsius`; not finite ones are taken for skin.
        face: ``[x, y, width, height]`` in the crop.
        intensity: False maps the crop's own 0.5th to 99.8th percentile to 0..1 instead.
        gradients: scale the fine texture.

    >>> ramp = np.tile(np.linspace(22, 38, 64, dtype=np.float32), (64, 1))
    >>> done = normalise(ramp, (16, 16, 32, 32), gradients=False)
    >>> round(done.skin, 1), round(float(np.median(done.values[16:48, 16:48])), 2)
    (30.0, 0.72)
    """
    inner = middle(celsius, face)
    known = inner[np.isfinite(inner)]
    skin = float(np.median(known)) if known.size else SKIN
    celsius = np.where(np.isfinite(celsius), celsius, np.float32(skin)).astype(np.float32)
    gain, gradient, noise = 1.0, 0.0, noise_of(celsius)
    if gradients:
        base, detail = base_and_detail(celsius)
        gradient = gradient_of(detail, face)
        wanted = float(np.clip(GRADIENT / gradient, *GAINS)) if gradient > 0 else 1.0
        # what is noise already is not made louder, and what is loud is not made silent for its noise
        gain = min(wanted, max(1.0, NOISE / noise)) if noise > 0 else wanted
        celsius = base + np.float32(gain) * detail
    if intensity:
        values = (celsius - np.float32(skin)) / np.float32(SPAN) + np.float32(SKIN_LEVEL)
    else:
        low, high = (float(v) for v in np.percentile(celsius, (0.5, 99.8)))
        values = (celsius - np.float32(low)) / np.float32(max(high - low, 0.1))
    return Normalised(bend(values), skin, gain, gradient, noise)


def gradient_of(detail: Floats, face: Box) -> float:
    """RMS gradient, K a pixel, of the face's part of a texture (H, W) whose longer side is brought to `WORK` pixels."""
    height, width = detail.shape
    scale = WORK / max(height, width)
    small = resized(detail, max(1, round(width * scale)), max(1, round(height * scale)))
    x, y, w, h = (v * scale for v in face)
    left, top = max(int(x), 0), max(int(y), 0)
    part = small[top : max(int(y + h), top + 2), left : max(int(x + w), left + 2)]
    if min(part.shape) < 2:
        return 0.0
    along_y, along_x = np.gradient(part.astype(np.float64))
    return float(np.sqrt(np.mean(along_x**2 + along_y**2)))
