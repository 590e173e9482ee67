import math

import numpy as np
import pytest

from thermvision.annotations.errors import UsageError
from thermvision.generation.camera import PRESETS, Camera, preset_camera


def test_the_articles_numbers() -> None:
    camera = Camera()
    assert camera.aperture_diameter_mm == pytest.approx(6.25)  # equations 1 and 2
    assert camera.sensor_width_mm == pytest.approx(10.88)  # equation 3
    assert camera.sensor_height_mm == pytest.approx(8.16)  # equation 4
    assert camera.angle_of_view_deg == pytest.approx(71.9, abs=0.05)  # equation 5
    assert camera.working_distance_mm(890) == pytest.approx(7.5 * 890 / 10.88)  # equation 6, about 60 cm
    assert camera.field_of_view_mm == pytest.approx(890, rel=0.015)  # at 62 cm


def test_intrinsics_see_the_angle_of_view() -> None:
    camera = Camera()
    K = camera.intrinsics()
    assert math.degrees(2 * math.atan(320 / K[0, 0])) == pytest.approx(camera.angle_of_view_deg)
    assert K[:2, 2].tolist() == [320, 240]
    coarse = camera.intrinsics(window=150, scale=0.5)
    np.testing.assert_allclose(coarse, [[K[0, 0] / 2, 0, 75], [0, K[0, 0] / 2, 75], [0, 0, 1]])


@pytest.mark.parametrize(
    "bad",
    [
        {"focal_length_mm": 0.0},
        {"distance_m": 0.1},
        {"netd_mk": float("nan")},
        {"netd_mk": -1},
        {"mtf_px": True},
        {"width": 0},
    ],
)
def test_impossible_cameras_are_refused(bad: dict[str, float]) -> None:
    with pytest.raises(UsageError, match=next(iter(bad))):
        Camera(**bad)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "pixels", "pitch", "angle", "window", "shutter"),
    [
        ("vga-17", (640, 480), 17, 71.91, 300, False),  # the article's, which has no shutter
        ("qvga-12", (320, 256), 12, 48.12, 244, True),
        ("qqvga-12", (160, 120), 12, 56.14, 102, True),
    ],
)
def test_presets(name: str, pixels: tuple[int, int], pitch: float, angle: float, window: int, shutter: bool) -> None:
    camera = preset_camera(name)
    assert (camera.width, camera.height) == pixels
    assert camera.pixel_pitch_um == pitch
    assert camera.angle_of_view_deg == pytest.approx(angle, abs=0.01)
    assert camera.portrait_window == window <= camera.height
    assert camera.shutter is shutter
    # every portrait shows the same angle, within half a pixel
    assert window / camera.focal_length_px == pytest.approx(
        300 / Camera().focal_length_px, abs=0.5 / camera.focal_length_px
    )


def test_a_preset_that_is_none() -> None:
    assert set(PRESETS) == {"vga-17", "qvga-12", "qqvga-12"}
    assert preset_camera("vga-17") == Camera()
    with pytest.raises(UsageError, match="'boson'; allowed: vga-17, qvga-12, qqvga-12"):
        preset_camera("boson")
