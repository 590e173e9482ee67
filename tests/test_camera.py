import math

import numpy as np
import pytest

from thermvision.annotations.errors import UsageError
from thermvision.generation.camera import Camera


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
    "bad", [{"focal_length_mm": 0.0}, {"distance_m": 0.1}, {"netd_mk": float("nan")}, {"width": 0}]
)
def test_impossible_cameras_are_refused(bad: dict[str, float]) -> None:
    with pytest.raises(UsageError, match=next(iter(bad))):
        Camera(**bad)  # type: ignore[arg-type]
