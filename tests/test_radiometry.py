import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from thermvision.annotations.errors import UsageError
from thermvision.annotations.radiometry import (
    ZERO_CELSIUS,
    GainControl,
    band_radiance,
    base_and_detail,
    brightness_temperature,
    celsius_to_fahrenheit,
    fahrenheit_to_celsius,
    flip_polarity,
    from_centikelvin,
    radiance_table,
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


@pytest.mark.parametrize("step", [1.0, 3.0, 12.0])
def test_detail_draws_no_rim_along_an_edge(step: float) -> None:
    edge = np.full((128, 128), 22.0, np.float32)
    edge[:, 64:] += np.float32(step)
    base, detail = base_and_detail(edge)
    given = 12 if step < 3 else 2  # gray values; a scene of one kelvin is all detail
    rim = 0.2 if step < 3 else 0.04 * step
    assert np.abs(detail).max() < rim
    np.testing.assert_allclose((base + detail)[:, [30, 100]], edge[:, [30, 100]], atol=1e-3)
    byte = GainControl()(edge).astype(int)
    across = byte[64]
    assert across[52:64].min() >= across[40] - given  # neither darker on the cold side of the edge
    assert across[64:76].max() <= across[90] + given  # nor brighter on the warm one


def test_texture_is_detail() -> None:
    rng = np.random.default_rng(0)
    flat = rng.normal(30, 0.05, (128, 128)).astype(np.float32)
    base, detail = base_and_detail(flat)
    assert base.std() < 0.3 * flat.std()
    assert detail.std() > 0.8 * flat.std()


def test_a_clip_does_not_flicker() -> None:
    rng = np.random.default_rng(1)
    gain, grays = GainControl(), []
    y, x = np.mgrid[0:96, 0:96]
    room = 22 + 0.3 * x / 96
    for n in range(60):  # a warm head that swings to and fro, and gets 0.3 K warmer
        centre = 48 + 14 * np.sin(n / 9)
        inside = np.clip(8 - 0.4 * np.hypot(x - centre, (y - 48) / 1.3), 0, 1)
        frame = room + inside * (12 + 0.005 * n + 0.5 * np.cos(x / 9)) + rng.normal(0, 0.05, room.shape)
        grays.append(gain(frame)[:, :8].mean())  # wall that the head never reaches
    assert np.abs(np.diff(grays)).max() < 2
    assert np.ptp(grays) < 12


def test_the_tone_of_a_portrait() -> None:
    # wall, cloth and hair, skin in the shares of a portrait; percentiles as in recordings
    rng = np.random.default_rng(2)
    parts = [rng.normal(22.5, 0.25, 7400), rng.normal(28.5, 0.9, 3900), rng.normal(34.0, 0.9, 4100)]
    frame = np.sort(np.concatenate([*parts, rng.uniform(23, 33, 984)])).reshape(128, 128)
    p5, p25, p50, p75, p95 = np.percentile(GainControl()(frame), (5, 25, 50, 75, 95))
    assert 10 <= p5 <= 40
    assert 21 <= p25 <= 75
    assert 70 <= p50 <= 135
    assert 150 <= p75 <= 190
    assert 220 <= p95 <= 245


def test_the_quick_inverse_is_that_of_the_table() -> None:
    kelvin, table = radiance_table()
    rng = np.random.default_rng(0)
    values = np.concatenate([table, np.nextafter(table[1:], 0), rng.uniform(table[0], table[-1], 5000)])
    np.testing.assert_array_equal(brightness_temperature(values), np.interp(values, table, kelvin) - ZERO_CELSIUS)
