import numpy as np
import pytest

from thermvision.annotations.radiometry import band_radiance, brightness_temperature
from thermvision.generation.engines.phantom.atmosphere import WALL_BEHIND, Atmosphere

HEAD, WALL = float(band_radiance(34.0)), float(band_radiance(22.0))


def scene() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """A row of four pixels: wall, outline half covered, head at 0.6 m, head at 0.7 m."""
    coverage = np.array([[0.0, 0.5, 1.0, 1.0]])
    depth = np.array([[0.0, 0.6, 0.6, 0.7]], np.float32)
    return coverage * HEAD + (1 - coverage) * WALL, np.full((1, 4), WALL), depth, coverage


def test_clear_air_changes_no_bit() -> None:
    radiance, wall, depth, coverage = scene()
    assert Atmosphere(0, 0, 22).seen_through(radiance, wall, depth, coverage) is radiance


def test_beer_lambert_along_each_path() -> None:
    radiance, wall, depth, coverage = scene()
    air = Atmosphere(0.5, 0.3, 18.0, 10.0)
    seen = air.seen_through(radiance, wall, depth, coverage)
    glow = (0.5 * float(band_radiance(18.0)) + 0.3 * float(band_radiance(28.0))) / 0.8

    def through(source: float, metres: float) -> float:
        tau = np.exp(-0.8 * metres)
        return float(tau * source + (1 - tau) * glow)

    far = through(WALL, 0.7 + WALL_BEHIND)
    expected = [far, (far + through(HEAD, 0.6)) / 2, through(HEAD, 0.6), through(HEAD, 0.7)]
    np.testing.assert_allclose(seen[0], expected, rtol=1e-6)


def test_limits() -> None:
    radiance, wall, depth, coverage = scene()
    thin = Atmosphere(1e-9, 0, 22).seen_through(radiance, wall, depth, coverage)
    np.testing.assert_allclose(thin, radiance, rtol=1e-7)
    thick = Atmosphere(200, 0, 22).seen_through(radiance, wall, depth, coverage)
    np.testing.assert_allclose(brightness_temperature(thick), 22, atol=1e-6)
    # fog as warm as the wall leaves the wall as it is, and takes contrast from the head
    fog = brightness_temperature(Atmosphere(0.5, 0, 22).seen_through(radiance, wall, depth, coverage))
    assert fog[0, 0] == pytest.approx(22, abs=1e-9)
    assert 22 < fog[0, 3] < fog[0, 2] < 34


def test_visibility_and_halving() -> None:
    assert Atmosphere(0.1, 0.2, 20).transmission([0.0, 5.0]).tolist() == pytest.approx([1.0, np.exp(-1.5)])
    # twice the path, the square of the transmission
    tau = Atmosphere(0.4, 0.0, 20).transmission([1.0, 2.0])
    assert tau[1] == pytest.approx(tau[0] ** 2)
