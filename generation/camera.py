"""The long-wave infrared camera: lens and sensor geometry (the article's equations 1-6) and what they give in pixels.

The article calls 640 × 17 µm = 10.88 mm the height of the sensor and 480 × 17 µm = 8.16 mm its width (its equations 3
and 4). 640 pixels lie along a row, so here 10.88 mm is the width and 8.16 mm the height; every number is the same.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from thermvision.annotations.errors import UsageError

SERIALS = 4096  # devices of a model that items are recorded with
PORTRAIT_WINDOW = 300  # pixels of the article's sensor


@dataclass(frozen=True)
class Camera:
    """An uncooled microbolometer camera; the defaults are the camera of the article.

    Attributes:
        focal_length_mm: focal length f of the lens.
        f_number: focal length over aperture diameter.
        pixel_pitch_um: distance between pixel centres.
        width, height: pixels of the sensor.
        distance_m: from the lens to the subject's face.
        netd_mk: noise-equivalent temperature difference, mK (standard deviation of one pixel in one frame). 0 is a
            detector without noise of its own.
        fixed_pattern_mk: standard deviation of the pixels' fixed offsets, mK; columns have 0.9 times as much, rows
            0.6 times as much in each frame. 0 is a perfectly calibrated detector.
        mtf_px: standard deviation of the Gaussian that lens and detector blur by, sensor pixels. Diffraction at f/1.2
            and 10 µm is 12 µm wide; with aberrations about half a pixel of 17 µm.
        shutter: whether readings drift between calibrations against a shutter; the article's camera has none.
        serial: names one device; its fixed-pattern noise depends on nothing else.

    >>> camera = Camera()
    >>> round(camera.aperture_diameter_mm, 2), round(camera.sensor_width_mm, 2), round(camera.sensor_height_mm, 2)
    (6.25, 10.88, 8.16)
    >>> round(camera.angle_of_view_deg, 1), round(camera.working_distance_mm(890))
    (71.9, 614)
    """

    focal_length_mm: float = 7.5
    f_number: float = 1.2
    pixel_pitch_um: float = 17.0
    width: int = 640
    height: int = 480
    distance_m: float = 0.62
    netd_mk: float = 45.0
    fixed_pattern_mk: float = 20.0
    mtf_px: float = 0.55
    shutter: bool = False
    serial: str = "TV-640-0001"

    def __post_init__(self) -> None:
        lowest = {"focal_length_mm": 1.0, "f_number": 0.5, "pixel_pitch_um": 1.0, "width": 8, "height": 8}
        lowest |= {"distance_m": 0.3, "netd_mk": 0.0, "fixed_pattern_mk": 0.0, "mtf_px": 0.0}
        for name, low in lowest.items():
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value < low:
                raise UsageError(f"camera {name} is {value!r}; allowed: {low:g} or more; change it in the recipe")

    @property
    def aperture_diameter_mm(self) -> float:
        """Diameter of the aperture, f over F-number (equations 1 and 2)."""
        return self.focal_length_mm / self.f_number

    @property
    def sensor_width_mm(self) -> float:
        """Extent of the sensor along a row (equation 3, where the article says height)."""
        return self.width * self.pixel_pitch_um / 1000

    @property
    def sensor_height_mm(self) -> float:
        """Extent of the sensor along a column (equation 4, where the article says width)."""
        return self.height * self.pixel_pitch_um / 1000

    @property
    def angle_of_view_deg(self) -> float:
        """Horizontal angle of view, 2 atan(sensor width / 2 f) (equation 5)."""
        return math.degrees(2 * math.atan(self.sensor_width_mm / (2 * self.focal_length_mm)))

    def working_distance_mm(self, field_of_view_mm: float) -> float:
        """Distance at which the sensor's width covers ``field_of_view_mm`` (equation 6; thin lens, far object)."""
        return self.focal_length_mm * field_of_view_mm / self.sensor_width_mm

    @property
    def field_of_view_mm(self) -> float:
        """Width covered at ``distance_m``: equation 6 the other way round."""
        return self.distance_m * 1000 * self.sensor_width_mm / self.focal_length_mm

    @property
    def focal_length_px(self) -> float:
        """Focal length in pixels."""
        return self.focal_length_mm * 1000 / self.pixel_pitch_um

    @property
    def portrait_window(self) -> int:
        """Side in sensor pixels of the square window that a portrait is read from: 300 of the article's camera.

        The same angle of view for every camera, so that a head fills the frame, unless the sensor is lower than that.
        """
        return min(self.height, self.width, round(PORTRAIT_WINDOW * self.focal_length_px / Camera().focal_length_px))

    def intrinsics(self, window: int | None = None, scale: float = 1.0) -> NDArray[np.float64]:
        """Pinhole matrix K (3, 3) in pixels, pixel centres at +0.5, principal point in the middle.

        Args:
            window: side of a square region of interest about the sensor's centre, in sampled pixels; None is the
                whole sensor.
            scale: sampled pixels per sensor pixel (below one when the window is read out on a coarser grid).
        """
        w, h = (self.width * scale, self.height * scale) if window is None else (window, window)
        f = self.focal_length_px * scale
        return np.array([[f, 0, w / 2], [0, f, h / 2], [0, 0, 1]], np.float64)

    def as_dict(self) -> dict[str, Any]:
        """Plain values for a manifest."""
        return asdict(self)


# Sensors a recipe can name: pixels and pitch. The lenses are such as are sold with them, of about 50 degrees, but for
# the first, which is the article's. Smaller detectors are noisier and calibrate against a shutter.
PRESETS: dict[str, Camera] = {
    "vga-17": Camera(),
    "qvga-12": Camera(4.3, 1.1, 12.0, 320, 256, 0.62, 50.0, 25.0, 0.65, True, "TV-320-0001"),
    "qqvga-12": Camera(1.8, 1.1, 12.0, 160, 120, 0.62, 60.0, 30.0, 0.75, True, "TV-160-0001"),
}


def preset_camera(name: str) -> Camera:
    """The camera of a preset.

    Raises:
        UsageError: no such preset.

    >>> [(n, round(c.angle_of_view_deg, 1), c.portrait_window) for n, c in PRESETS.items()]
    [('vga-17', 71.9, 300), ('qvga-12', 48.1, 244), ('qqvga-12', 56.1, 102)]
    """
    if name not in PRESETS:
        raise UsageError(f"camera preset is {name!r}; allowed: {', '.join(PRESETS)}; change it in the recipe")
    return PRESETS[name]


def configured_camera(preset: str, changes: Mapping[str, Any], device: int) -> Camera:
    """One device of a preset with some of its values changed.

    Args:
        preset: of `PRESETS`.
        changes: fields of `Camera` and their values; None leaves the preset's.
        device: number of the device below `SERIALS`, part of its serial.

    Raises:
        UsageError: no such preset, or a value is not allowed.

    >>> configured_camera("qvga-12", {"netd_mk": 30.0, "mtf_px": None}, 7).serial
    'TV-320-0007'
    """
    camera = preset_camera(preset)
    model = camera.serial.rpartition("-")[0]
    values = {name: value for name, value in changes.items() if value is not None}
    return replace(camera, serial=f"{model}-{device:04d}", **values)
