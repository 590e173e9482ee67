"""The detector: from radiance at the lens to the temperature frame that a camera writes.

Lens blur, veiling glare and residual shading in radiance, then noise in apparent temperature: independent in every
frame, per row, fixed to the device, and, only where the camera has a shutter, the drift between two shutter events.
"""

from __future__ import annotations

import hashlib

import cv2
import numpy as np
from numpy.typing import NDArray

from thermvision.annotations.radiometry import brightness_temperature, to_centikelvin
from thermvision.generation.camera import Camera

GLARE_SHARE, GLARE_SIGMA = 0.035, 12.0
RESIDUAL_VIGNETTING = 0.02  # of cos⁴ shading that calibration leaves
COLUMN_SHARE, ROW_SHARE = 0.9, 0.6  # of the camera's fixed pattern: columns for ever, rows in each frame
DRIFT = 0.1  # kelvin of the sawtooth between shutter events
_SHUTTER_PERIOD = (30.0, 180.0)  # seconds


def fixed_pattern(camera: Camera, window: int) -> NDArray[np.float64]:
    """Fixed-pattern noise (window, window) in kelvin of the central window: the same for one serial for ever."""
    digest = hashlib.sha256(f"fixed pattern of {camera.serial}".encode()).digest()
    rng = np.random.default_rng(np.frombuffer(digest, np.uint32))
    pattern = rng.normal(size=(camera.height, camera.width)) + COLUMN_SHARE * rng.normal(size=camera.width)
    rows = (
        np.linspace(0, camera.height - 1, window).astype(int)
        if window > camera.height
        else _centre(camera.height, window)
    )
    columns = (
        np.linspace(0, camera.width - 1, window).astype(int) if window > camera.width else _centre(camera.width, window)
    )
    result: NDArray[np.float64] = camera.fixed_pattern_mk / 1000 * pattern[np.ix_(rows, columns)]
    return result


def _centre(length: int, window: int) -> NDArray[np.int64]:
    return np.arange(window) + (length - window) // 2


def _glare(image: NDArray[np.float64], sigma: float) -> NDArray[np.float64]:
    """Gaussian blur by ``sigma`` pixels, a wide one on a coarser grid: what is so smooth needs few samples."""
    step = max(int(sigma / 3), 1)
    size = (-(-image.shape[1] // step), -(-image.shape[0] // step))
    small = image if step == 1 else cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    blurred = cv2.GaussianBlur(small, (0, 0), sigma / step, borderType=cv2.BORDER_REFLECT)
    if step > 1:
        blurred = cv2.resize(blurred, image.shape[::-1], interpolation=cv2.INTER_LINEAR)
    return np.asarray(blurred, np.float64)


class Sensor:
    """One camera reading out a square window, frame after frame.

    Args:
        camera: optics and noise; its ``mtf_px`` is in samples of the grid, whatever the scale: a coarse grid stands
            for a coarser detector behind the same lens.
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
        blur, rows = self.camera.mtf_px, ROW_SHARE * self.camera.fixed_pattern_mk / 1000
        sharp = np.asarray(
            cv2.GaussianBlur(radiance, (0, 0), blur, borderType=reflect) if blur else radiance, np.float64
        )
        glare = _glare(sharp, max(GLARE_SIGMA * self.scale, 0.3))
        celsius = brightness_temperature(((1 - GLARE_SHARE) * sharp + GLARE_SHARE * glare) * self._shading)
        celsius += self._rng.normal(0, self.camera.netd_mk / 1000, celsius.shape)
        celsius += self._rng.normal(0, rows, (self.window, 1)) + self._fixed
        if self.camera.shutter:
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
