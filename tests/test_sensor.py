from dataclasses import replace

import numpy as np
import pytest

from thermvision.annotations.radiometry import band_radiance, from_centikelvin
from thermvision.generation.camera import Camera
from thermvision.generation.engines.phantom.sensor import Sensor, enlarge, fixed_pattern, sensor_to_frame

CAMERA = Camera()


def expose(radiance: np.ndarray, seed: int = 0, time: float = 0.0, camera: Camera = CAMERA) -> np.ndarray:
    sensor = Sensor(camera, len(radiance), 1.0, np.random.default_rng(seed))
    return from_centikelvin(sensor.expose(radiance, time))


def test_a_uniform_wall_is_read_within_its_noise() -> None:
    wall = np.full((120, 120), float(band_radiance(25.0)))
    frame = expose(wall)
    centre = frame[40:80, 40:80]
    assert centre.mean() == pytest.approx(25, abs=0.15)
    expected = np.sqrt(0.045**2 + 0.020**2 + 0.018**2 + 0.012**2)
    assert centre.std() == pytest.approx(expected, rel=0.12)
    quiet = expose(wall, camera=replace(CAMERA, netd_mk=0.0))
    assert quiet[40:80, 40:80].std() < 0.6 * centre.std()


def test_noise_belongs_to_the_item_and_the_pattern_to_the_device() -> None:
    wall = np.full((64, 64), float(band_radiance(25.0)))
    np.testing.assert_array_equal(expose(wall, 1), expose(wall, 1))
    assert (expose(wall, 1) != expose(wall, 2)).mean() > 0.5
    np.testing.assert_array_equal(fixed_pattern(CAMERA, 64), fixed_pattern(Camera(distance_m=0.9), 64))
    assert (fixed_pattern(CAMERA, 64) != fixed_pattern(Camera(serial="other"), 64)).all()
    # the same sensor pixels, whatever the window
    np.testing.assert_array_equal(fixed_pattern(CAMERA, 64)[16:48, 16:48], fixed_pattern(CAMERA, 32))


def test_averages_of_many_frames_show_the_fixed_pattern() -> None:
    sensor = Sensor(CAMERA, 64, 1.0, np.random.default_rng(0))
    wall = np.full((64, 64), float(band_radiance(25.0)))
    mean = np.mean([from_centikelvin(sensor.expose(wall, 0.0)) for _ in range(60)], axis=0)
    pattern = fixed_pattern(CAMERA, 64)
    assert np.corrcoef((mean - mean.mean()).ravel(), (pattern - pattern.mean()).ravel())[0, 1] > 0.9


def test_the_lens_blurs_an_edge_and_glare_reaches_far() -> None:
    edge = np.full((100, 100), float(band_radiance(20.0)))
    edge[:, 50:] = float(band_radiance(36.0))
    frame = expose(edge, camera=replace(CAMERA, netd_mk=0.0)).mean(0)
    assert frame[49] - frame[30] > 1  # neighbours of the edge are mixed
    assert 0.1 < frame[44] - frame[5] < 1.0  # veiling glare some pixels away


def test_drift_is_slow() -> None:
    wall = np.full((32, 32), float(band_radiance(25.0)))
    sensor = Sensor(replace(CAMERA, netd_mk=0.0), 32, 1.0, np.random.default_rng(5))
    means = np.array([from_centikelvin(sensor.expose(wall, t / 30)).mean() for t in range(90)])
    assert np.ptp(means) < 0.21
    assert np.sort(np.abs(np.diff(means)))[:-1].max() < 0.02


@pytest.mark.parametrize(("window", "size"), [(300, 512), (38, 64), (300, 1024)])
def test_frame_and_map_agree(window: int, size: int) -> None:
    # a blob at a known continuous place: its centroid moves by the map
    x, y = np.meshgrid(np.arange(window) + 0.5, np.arange(window) + 0.5)
    place = np.array([0.4, 0.6]) * window
    blob = np.exp(-((x - place[0]) ** 2 + (y - place[1]) ** 2) / 2 / 2.5**2)
    frame = enlarge(blob, size)
    assert frame.shape == (size, size)
    u, v = np.meshgrid(np.arange(size) + 0.5, np.arange(size) + 0.5)
    centroid = np.array([(u * frame).sum(), (v * frame).sum()]) / frame.sum()
    np.testing.assert_allclose(centroid, (sensor_to_frame(window, size) @ [*place, 1])[:2], atol=0.02 * size / window)
