"""One gray value is one temperature, whatever the camera's gain; texture has one strength; nothing is cut off."""

from __future__ import annotations

import numpy as np
import pytest
import seed_layouts
from hypothesis import given, settings
from hypothesis import strategies as st
from seed_layouts import BOX

from thermvision.annotations.errors import DamagedInputError
from thermvision.generation.seeds import normalise as n


def warm(skin: float = 34.0, room: float = 22.0) -> np.ndarray:
    return (room + (seed_layouts.picture().astype(np.float32) - 40) / 140 * (skin - room)).astype(np.float32)


def test_skin_has_one_gray_value_in_warm_and_cold_rooms() -> None:
    for skin, room in ((34.0, 22.0), (31.5, 20.5), (35.5, 26.5)):
        done = n.normalise(warm(skin, room), BOX)
        assert np.median(n.middle(done.values, BOX)) == pytest.approx(n.SKIN_LEVEL, abs=0.02)
        assert done.skin == pytest.approx(skin, abs=0.2)


def test_equal_kelvins_are_equal_gray_values() -> None:
    celsius = np.full((64, 64), 33.0, np.float32)
    celsius[:8, :8], celsius[:8, 56:] = 30.0, 35.0
    values = n.normalise(celsius, (16, 16, 32, 32), gradients=False).values
    assert (values[32, 32] - values[0, 0]) * n.SPAN == pytest.approx(3.0, abs=1e-4)
    assert (values[0, 63] - values[32, 32]) * n.SPAN == pytest.approx(2.0, abs=1e-4)


@given(gain=st.floats(0.4, 1.15), offset=st.floats(0, 40))
@settings(max_examples=30, deadline=None)
def test_a_gray_picture_does_not_depend_on_the_cameras_gain(gain: float, offset: float) -> None:
    gray = seed_layouts.picture(face=170).astype(np.float64)
    one = n.normalise(n.pseudo_celsius(np.rint(gray).astype(np.uint8), BOX), BOX, gradients=False).values
    other = np.rint(gray * gain + offset).astype(np.uint8)
    two = n.normalise(n.pseudo_celsius(other, BOX), BOX, gradients=False).values
    assert np.abs(one - two).mean() < 0.02


def test_a_gray_picture_becomes_what_its_temperatures_would_become() -> None:
    celsius = warm(n.SKIN, n.ROOM)
    gray = np.rint((celsius - 20) * 15).clip(0, 255).astype(np.uint8)
    direct = n.normalise(celsius, BOX).values
    assert np.abs(direct - n.normalise(n.pseudo_celsius(gray, BOX), BOX).values).mean() < 0.02


def test_a_face_that_fills_the_picture_is_not_torn_apart() -> None:
    gray = np.tile(np.linspace(150, 250, 64).astype(np.uint8), (64, 1))
    inner = n.middle(n.pseudo_celsius(gray, (0, 0, 64, 64)), (0, 0, 64, 64))
    low, high = np.percentile(inner, (5, 95))
    assert high - low == pytest.approx(9.0, rel=0.03)


def test_flat_pictures_are_refused() -> None:
    with pytest.raises(DamagedInputError, match="flat: the face is 90 and the darkest tenth 90"):
        n.pseudo_celsius(np.full((64, 64), 90, np.uint8), (16, 16, 32, 32))


@given(st.lists(st.floats(-50, 50), min_size=2, max_size=20))
def test_bending_keeps_order_and_bounds(values: list[float]) -> None:
    bent = n.bend(np.sort(np.array(values)))
    assert (np.diff(bent) >= 0).all()
    assert bent.min() >= 0
    assert bent.max() <= 1
    middle = np.linspace(n.TOE, n.SHOULDER, 7, dtype=np.float32)
    assert np.array_equal(n.bend(middle), middle)


def test_bending_cuts_nothing_off() -> None:
    cold = n.bend(np.array([-0.3, -0.2, -0.1, 0.0, 0.05]))
    hot = n.bend(np.array([0.95, 1.0, 1.1, 1.2]))
    assert (np.diff(cold) > 0).all()
    assert (np.diff(hot) > 0).all()


def test_bending_has_no_kink() -> None:
    for at in (n.TOE, n.SHOULDER):
        around = n.bend(np.array([at - 1e-3, at, at + 1e-3], np.float64)).astype(np.float64)
        assert np.diff(around) == pytest.approx([1e-3, 1e-3], rel=0.02)


def textured(amplitude: float, noise: float = 0.0) -> np.ndarray:
    y, x = np.mgrid[:256, :256]
    texture = amplitude * np.sin(x / 1.6) * np.sin(y / 1.6)
    grain = np.random.default_rng(1).normal(0, noise, (256, 256)) if noise else 0
    return (33 + texture + grain).astype(np.float32)


def test_texture_comes_to_one_strength() -> None:
    face = (64.0, 64.0, 128.0, 128.0)
    strengths = []
    for amplitude in (0.08, 0.12, 0.18):
        done = n.normalise(textured(amplitude), face)
        strengths.append(done.gradient * done.gain)
        assert n.GAINS[0] < done.gain < n.GAINS[1]
    assert strengths == pytest.approx([n.GRADIENT] * 3, rel=1e-6)


def test_gain_has_limits_and_noise_is_not_raised() -> None:
    face = (64.0, 64.0, 128.0, 128.0)
    assert n.normalise(textured(0.001), face).gain == n.GAINS[1]
    assert n.normalise(textured(0.5), face).gain == n.GAINS[0]
    grainy = n.normalise(textured(0.0, noise=0.15), face)
    assert grainy.noise == pytest.approx(0.15, rel=0.1)
    assert grainy.gain <= 1.0
    assert n.normalise(textured(0.0), face).gain == 1.0


def test_noise_that_averages_out_limits_the_gain() -> None:
    noise = np.random.default_rng(3).normal(33, 0.06, (1024, 1024)).astype(np.float32)
    done = n.normalise(noise, (256.0, 256.0, 512.0, 512.0))
    assert n.GRADIENT / done.gradient > 1.6
    assert done.gain * done.noise == pytest.approx(n.NOISE, rel=1e-6)


def test_not_finite_pixels_are_taken_for_skin() -> None:
    celsius = warm()
    celsius[60, 80] = np.nan
    done = n.normalise(celsius, BOX, gradients=False)
    assert np.isfinite(done.values).all()
    assert done.values[60, 80] == pytest.approx(n.SKIN_LEVEL, abs=1e-6)


def test_without_intensity_the_crop_is_stretched() -> None:
    values = n.normalise(warm(), BOX, intensity=False, gradients=False).values
    assert values.min() < 0.06
    assert values.max() > 0.95
