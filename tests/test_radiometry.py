import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from thermvision.annotations.errors import UsageError
from thermvision.annotations.radiometry import (
    GainControl,
    band_radiance,
    brightness_temperature,
    celsius_to_fahrenheit,
    fahrenheit_to_celsius,
    flip_polarity,
    from_centikelvin,
    to_centikelvin,
)


@given(st.lists(st.floats(-50, 120), min_size=1, max_size=20))
def test_brightness_temperature_inverts_band_radiance(celsius: list[float]) -> None:
    np.testing.assert_allclose(brightness_temperature(band_radiance(celsius)), celsius, atol=1e-9)


def test_band_radiance_is_plancks_law_over_the_band() -> None:
    # a finer integral of Planck's law, written out on its own
    um = np.linspace(7.6, 14.3, 4000)
    response = np.clip(np.minimum((um - 7.6) / 0.7, (14.3 - um) / 1.2), 0, 1)
    h, c, k = 6.62607015e-34, 299792458.0, 1.380649e-23
    metres = um * 1e-6
    planck = 2 * h * c**2 / metres**5 / np.expm1(h * c / (metres * k * 307.15))
    assert float(band_radiance(34.0)) == pytest.approx(np.trapezoid(planck * response, metres), rel=2e-4)


@pytest.mark.parametrize("celsius", [-80.0, 200.0, float("nan")])
def test_temperatures_outside_the_table_are_refused(celsius: float) -> None:
    with pytest.raises(ValueError, match="allowed"):
        band_radiance([20.0, celsius])


@given(st.integers(0, 65535))
def test_counts_survive_the_way_to_celsius_and_back(count: int) -> None:
    assert int(to_centikelvin(from_centikelvin(count))) == count


def test_counts_and_degrees() -> None:
    assert int(to_centikelvin(0.0)) == 27315
    assert celsius_to_fahrenheit([-40.0, 100.0]).tolist() == [-40, 212]
    assert float(fahrenheit_to_celsius(98.6)) == pytest.approx(37)
    with pytest.raises(ValueError, match="65535"):
        to_centikelvin(500.0)


def scene(offset: float = 0.0) -> np.ndarray:
    rng = np.random.default_rng(0)
    frame = rng.normal(22, 0.05, (128, 128))
    frame[32:96, 32:96] += 11.5 + np.linspace(0, 1, 64)
    return frame + offset


@pytest.mark.parametrize("mode", ["plateau", "linear"])
def test_warm_is_bright(mode: str) -> None:
    byte = GainControl(mode)(scene())  # type: ignore[arg-type]
    assert byte.dtype == np.uint8
    assert byte[40:90, 40:90].min() > byte[:20].max()
    assert byte[64, 90] > byte[64, 40]  # the ramp across the face survives equalisation


def test_gain_follows_the_scene_slowly() -> None:
    gain, fresh = GainControl(), GainControl()
    first = gain(scene()).astype(int)
    second = gain(scene(0.1)).astype(int)
    assert np.abs(second - first).mean() < 20
    # nine tenths of the old curve are kept, so a frame that stays is approached, not jumped to
    settled = [gain(scene(0.1)).astype(int) for _ in range(40)][-1]
    assert np.abs(settled - first).mean() < 0.1 * np.abs(second - first).mean()
    # the same frame alone is stretched afresh: no memory, no shift
    assert np.abs(fresh(scene(0.1)).astype(int) - first).mean() < np.abs(second - first).mean()


def test_fixed_gain_is_a_ruler() -> None:
    gain = GainControl("fixed", limits=(10.0, 35.0))
    assert gain(np.array([[10.0, 35.0], [22.5, 50.0]])).tolist() == [[3, 253], [128, 253]]
    for wrong in (GainControl, lambda m: GainControl(m, limits=(5, 5))):
        with pytest.raises(UsageError, match="low < high"):
            wrong("fixed")
    with pytest.raises(UsageError, match="plateau"):
        GainControl("auto")  # type: ignore[arg-type]


def test_polarity_flips_back() -> None:
    frame = np.arange(256, dtype=np.uint8)[None]
    assert flip_polarity(frame)[0, 0] == 255
    np.testing.assert_array_equal(flip_polarity(flip_polarity(frame)), frame)
