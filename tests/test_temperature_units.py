import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from thermvision.annotations.errors import UsageError
from thermvision.annotations.radiometry import celsius_to_fahrenheit, to_centikelvin
from thermvision.annotations.temperature_units import guess_units, percentiles, to_celsius


def room(level: float = 21.0) -> NDArray[np.float32]:
    """Temperatures of a portrait in °C: a room and a face."""
    y, x = np.mgrid[0:48, 0:64] / 48
    face = 13 * np.exp(-((x - 0.65) ** 2 + (y - 0.5) ** 2) / 0.1)
    return (level + 2 * y + face + np.random.default_rng(0).normal(0, 0.05, y.shape)).astype(np.float32)


@pytest.mark.parametrize("level", [12.0, 18.0, 24.0, 30.0])
def test_the_unit_of_a_portrait(level: float) -> None:
    celsius = room(level)
    assert guess_units(celsius) == "celsius"
    assert guess_units(celsius + 273.15) == "kelvin"
    assert guess_units(celsius_to_fahrenheit(celsius)) == "fahrenheit"
    assert guess_units(to_centikelvin(celsius)) == "centikelvin"
    assert guess_units(to_centikelvin(celsius).astype(np.float32)) == "centikelvin"


def test_what_is_no_temperature() -> None:
    rng = np.random.default_rng(0)
    assert guess_units(rng.integers(0, 256, (9, 9), dtype=np.uint8)) == "gray"
    assert guess_units(rng.integers(0, 256, (9, 9)).astype(np.uint16)) == "gray"
    assert guess_units(rng.integers(0, 256, (9, 9)).astype(np.float32)) == "gray"
    assert guess_units(rng.random((9, 9))) == "gray"
    assert guess_units(rng.random((99, 99)) * 255) == "gray"
    assert guess_units(rng.integers(7000, 9000, (9, 9)).astype(np.uint16)) == "counts"
    assert guess_units(rng.integers(-5, 500, (9, 9)).astype(np.int32)) == "counts"
    assert guess_units(np.linspace(20000, 65000, 81).reshape(9, 9).astype(np.uint16)) == "counts"
    assert guess_units(rng.normal(-500, 3, (9, 9))) == "counts"


def test_dead_pixels_do_not_decide() -> None:
    celsius = room()
    celsius[0, :5] = np.nan
    celsius[1, :4] = (np.inf, -np.inf, 900, -900)
    assert guess_units(celsius) == "celsius"
    counts = to_centikelvin(room())
    counts[0, :3] = (0, 65535, 0)
    assert guess_units(counts) == "centikelvin"


@given(st.floats(-40, 120), st.sampled_from(["celsius", "kelvin", "fahrenheit", "centikelvin"]))
def test_units_convert_to_celsius(degrees: float, units: str) -> None:
    written = {
        "celsius": degrees,
        "kelvin": degrees + 273.15,
        "fahrenheit": degrees * 9 / 5 + 32,
        "centikelvin": (degrees + 273.15) * 100,
    }[units]
    assert to_celsius(np.array([[written]]), units) == pytest.approx(degrees, abs=1e-4)


def test_other_units_are_refused() -> None:
    with pytest.raises(UsageError, match="'counts'; allowed here: celsius"):
        to_celsius(np.zeros((2, 2)), "counts")


def test_a_sample_without_values_is_taken_again() -> None:
    values = np.full((400, 1000), np.nan)
    values[0, 1] = 5.0  # beside the even sample
    assert percentiles(values, 50) == [5.0]
