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
    sensor = Sensor(replace(CAMERA, netd_mk=0.0, shutter=True), 32, 1.0, np.random.default_rng(5))
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


@pytest.mark.parametrize("netd", [20.0, 45.0, 150.0])
def test_netd_is_what_was_set(netd: float) -> None:
    camera = replace(CAMERA, netd_mk=netd, fixed_pattern_mk=0.0)
    sensor = Sensor(camera, 160, 1.0, np.random.default_rng(3))
    wall = np.full((160, 160), float(band_radiance(25.0)))
    frames = np.stack([from_centikelvin(sensor.expose(wall, t)) for t in range(8)])
    rounding = 0.01**2 / 12
    measured = 1000 * np.sqrt(frames.var(0, ddof=1).mean() - rounding)
    assert measured == pytest.approx(netd, rel=0.05)


def test_a_detector_without_noise_reads_the_wall() -> None:
    camera = replace(CAMERA, netd_mk=0.0, fixed_pattern_mk=0.0, mtf_px=0.0)
    frame = expose(np.full((40, 40), float(band_radiance(25.0))), camera=camera)
    assert np.ptp(frame) <= 0.02  # residual shading alone
    assert frame.max() == pytest.approx(25.0, abs=0.011)


def test_only_a_shutter_makes_readings_drift() -> None:
    wall = np.full((32, 32), float(band_radiance(25.0)))
    quiet = {"netd_mk": 0.0, "fixed_pattern_mk": 0.0}

    def range_over_minutes(camera: Camera) -> float:
        sensor = Sensor(camera, 32, 1.0, np.random.default_rng(5))
        return float(np.ptp([from_centikelvin(sensor.expose(wall, 5.0 * t)).mean() for t in range(40)]))

    assert range_over_minutes(replace(CAMERA, **quiet)) == 0
    assert 0.1 < range_over_minutes(replace(CAMERA, shutter=True, **quiet)) <= 0.21


def test_a_softer_lens_blurs_more() -> None:
    edge = np.full((64, 64), float(band_radiance(20.0)))
    edge[:, 32:] = float(band_radiance(36.0))
    steps = [
        np.diff(expose(edge, camera=replace(CAMERA, netd_mk=0.0, fixed_pattern_mk=0.0, mtf_px=m))[32]).max()
        for m in (0.0, 0.55, 1.5)
    ]
    assert steps[0] > 1.3 * steps[1] > 1.3 * 1.3 * steps[2]
