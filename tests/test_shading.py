import numpy as np
import pytest

from thermvision.annotations.radiometry import band_radiance, brightness_temperature
from thermvision.annotations.schema import SEGMENTS
from thermvision.generation.engines.phantom.raster import draw_strands, draw_triangles, empty_visibility
from thermvision.generation.engines.phantom.shading import angular_emissivity, integrate

SQUARE = np.array([[0, 1, 2], [0, 2, 3]], np.int32)
CORNERS = np.array([[0, 0, 0.7], [6, 0, 0.7], [6, 12, 0.7], [0, 12, 0.7]], float)  # the left half of 4 x 4 pixels


def picture(celsius: float, emissivity: float, cosine: float = 1.0, label: str = "skin") -> tuple[np.ndarray, ...]:
    seen = empty_visibility(12, 12)
    draw_triangles(CORNERS, SQUARE, np.ones(4, np.float32), seen)
    values = (np.full(4, v, np.float32) for v in (celsius, cosine, emissivity))
    labels = np.full(4, SEGMENTS.index(label), np.uint8)
    return integrate(seen, SQUARE, *values, labels, np.full((4, 4), 20.0), 22.0, 3)


def test_a_black_body_is_read_as_it_is() -> None:
    radiance, heat, segment, depth = picture(34.0, 1.0)
    read = brightness_temperature(radiance)
    np.testing.assert_allclose(read[:, :2], 34, atol=1e-4)
    np.testing.assert_allclose(read[:, 2:], 20, atol=1e-4)
    np.testing.assert_allclose(heat[:, :2], 34)
    assert (segment[:, :2] == SEGMENTS.index("skin")).all()
    assert not segment[:, 2:].any()
    np.testing.assert_allclose(depth, np.where(np.arange(4) < 2, 0.7, 0) * np.ones((4, 1)), rtol=1e-6)


def test_reflection_of_the_room() -> None:
    radiance, *_ = picture(34.0, 0.9, label="glasses")
    expected = 0.9 * band_radiance(34.0) + 0.1 * band_radiance(21.0)  # the room is a degree below the air
    assert radiance[0, 0] == pytest.approx(float(expected), rel=1e-6)


def test_grazing_skin_looks_cooler_and_glass_does_not_change() -> None:
    facing, grazing = (picture(34.0, 0.985, cosine)[0][0, 0] for cosine in (1.0, 0.0))
    assert 0.1 < brightness_temperature(facing) - brightness_temperature(grazing) < 4
    assert picture(34.0, 0.9, 1.0, "glasses")[0][0, 0] == picture(34.0, 0.9, 0.0, "glasses")[0][0, 0]


def test_angular_emissivity() -> None:
    table = angular_emissivity()
    assert table[-1] == 1
    assert (np.diff(table) >= 0).all()
    assert table[512] > 0.98  # 60 degrees: obliquity does not matter yet


def test_pixels_average_radiance_not_temperature() -> None:
    seen = empty_visibility(3, 3)
    lines = np.array([[[0, 1.5, 0.5], [3, 1.5, 0.5]]], np.float32)
    warm, width = np.full((1, 2), 30, np.float32), np.ones(1, np.float32)
    draw_strands(lines, warm, width, SEGMENTS.index("hair"), seen.triangle, seen.depth, seen.weight)
    covered = (seen.triangle != -1).sum() / 9
    empty = np.zeros(0, np.float32)
    radiance, heat, segment, _ = integrate(
        seen, np.zeros((0, 3), np.int32), empty, empty, empty, np.zeros(0, np.uint8), np.full((1, 1), 10.0), 22.0, 3
    )
    hair = 0.95 * band_radiance(30.0) + 0.05 * band_radiance(21.0)
    assert radiance[0, 0] == pytest.approx(float(covered * hair + (1 - covered) * band_radiance(10.0)), rel=1e-6)
    assert heat[0, 0] == pytest.approx(covered * 30 + (1 - covered) * 10, rel=1e-6)
    assert segment[0, 0] == SEGMENTS.index("hair")
