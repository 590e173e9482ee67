"""The detector: from radiance at the lens to the temperature frame that a camera writes.

Lens blur, veiling glare and residual shading in radiance, then noise in apparent temperature: independent in every
frame, per row, fixed to the device, and the drift between two shutter events.
"""

from __future__ import annotations

import hashlib

import cv2
import numpy as np
from numpy.typing import NDArray

from thermvision.annotations.radiometry import brightness_temperature, to_centikelvin
from thermvision.generation.camera import Camera

# diffraction at f/1.2 and 10 µm blurs by 12 µm; with aberrations this many sensor pixels
MTF_SIGMA = 0.55
GLARE_SHARE, GLARE_SIGMA = 0.035, 12.0
RESIDUAL_VIGNETTING = 0.02  # of cos⁴ shading that calibration leaves
FIXED_WHITE, FIXED_COLUMN, ROW_NOISE = 0.020, 0.018, 0.012  # kelvin
DRIFT = 0.1  # kelvin of the sawtooth between shutter events
_SHUTTER_PERIOD = (30.0, 180.0)  # seconds


def fixed_pattern(camera: Camera, window: int) -> NDArray[np.float64]:
    """Fixed-pattern noise (window, window) in kelvin of the central window: the same for one serial for ever."""
    digest = hashlib.sha256(f"fixed pattern of {camera.serial}".encode()).digest()
    rng = np.random.default_rng(np.frombuffer(digest, np.uint32))
    pattern = rng.normal(0, FIXED_WHITE, (camera.height, camera.width)) + rng.normal(0, FIXED_COLUMN, camera.width)
    rows = (
        np.linspace(0, camera.height - 1, window).astype(int)
        if window > camera.height
        else _centre(camera.height, window)
    )
    columns = (
        np.linspace(0, camera.width - 1, window).astype(int) if window > camera.width else _centre(camera.width, window)
    )
    result: NDArray[np.float64] = pattern[np.ix_(rows, columns)]
    return result


def _centre(length: int, window: int) -> NDArray[np.int64]:
    return np.arange(window) + (length - window) // 2


class Sensor:
    """One camera reading out a square window, frame after frame.

    Args:
        camera: optics and noise.
        window: side of the frames, samples of the pixel grid.
        scale: grid samples per sensor pixel (below 1 for coarse previews); blur radii follow it.
        rng: of the item's noise stream.
    """

    def __init__(self, camera: Camera, window: int, scale: float, rng: np.random.Generator) -> None:
        self.camera, self.window, self.scale, self._rng = camera, window, scale, rng
        self._fixed = fixed_pattern(camera, window)
        self._period, self._phase = rng.uniform(*_SHUTTER_PERIOD), rng.uniform()
        self._drift = rng.choice((-1.0, 1.0)) * DRIFT
        offset = np.arange(window) + 0.5 - window / 2
        tangent = np.hypot(offset[:, None], offset[None]) / (camera.focal_length_px * scale)
        self._shading = 1 - RESIDUAL_VIGNETTING * (1 - (1 + tangent**2) ** -2)  # cos⁴ = (1 + tan²)⁻²

    def expose(self, radiance: NDArray[np.float64], time: float) -> NDArray[np.uint16]:
        """The frame (h, w) in counts of 0.01 K (apparent) of a radiance image (h, w) at ``time`` seconds."""
        reflect = cv2.BORDER_REFLECT
        sharp = cv2.GaussianBlur(radiance, (0, 0), MTF_SIGMA, borderType=reflect)
        glare = cv2.GaussianBlur(sharp, (0, 0), max(GLARE_SIGMA * self.scale, 0.3), borderType=reflect)
        celsius = brightness_temperature(((1 - GLARE_SHARE) * sharp + GLARE_SHARE * glare) * self._shading)
        celsius += self._rng.normal(0, self.camera.netd_mk / 1000, celsius.shape)
        celsius += self._rng.normal(0, ROW_NOISE, (self.window, 1)) + self._fixed
        celsius += self._drift * (2 * ((time / self._period + self._phase) % 1.0) - 1)
        return to_centikelvin(celsius)


def enlarge(celsius: NDArray[np.float64], size: int) -> NDArray[np.float32]:
    """A sensor frame (h, h) resampled to (size, size), bicubic; area average where it shrinks.

    Continuous coordinates (pixel i covers [i, i + 1]) are scaled by size / h with no offset, as in `sensor_to_frame`.
    """
    method = cv2.INTER_CUBIC if size >= celsius.shape[0] else cv2.INTER_AREA
    return np.asarray(cv2.resize(celsius.astype(np.float32), (size, size), interpolation=method), np.float32)


def sensor_to_frame(window: int, size: int) -> NDArray[np.float64]:
    """(3, 3) map of sensor-window coordinates to frame coordinates, both with pixel centres at +0.5: a pure scale."""
    return np.diag([size / window, size / window, 1.0])
