"""The augmentation changes power by frequency and the sensor, keeps places and the mean, and follows from its seed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from thermvision.generation.seeds import spectrum as s


def scene(size: int = 96) -> np.ndarray:
    y, x = np.mgrid[:size, :size] / size
    rng = np.random.default_rng(2)
    return (0.5 + 0.3 * np.sin(9 * x + 4 * y) + 0.04 * rng.standard_normal((size, size))).astype(np.float32).clip(0, 1)


def plain() -> s.Augmentation:
    return s.Augmentation((0.0,) * s.OCTAVES, 1.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0)


def test_nothing_drawn_is_nothing_done() -> None:
    assert np.abs(s.augment(scene(), plain()) - scene()).max() < 1e-5
    still = s.draw(5, strength=0.0)
    assert replace(still, seed=0) == plain()


@given(st.lists(st.floats(-6, 6), min_size=7, max_size=7), st.integers(33, 80), st.integers(33, 80))
@settings(max_examples=30, deadline=None)
def test_the_mean_stays(decibel: list[float], height: int, width: int) -> None:
    picture = np.random.default_rng(height).random((height, width)).astype(np.float32)
    changed = s.perturb_power(picture, tuple(decibel))
    assert changed.shape == picture.shape
    assert float(changed.mean()) == pytest.approx(float(picture.mean()), abs=1e-5)


def test_a_knot_raises_its_octave_and_no_other() -> None:
    picture = np.random.default_rng(0).standard_normal((256, 256)).astype(np.float32)
    change = s.radial_power(s.perturb_power(picture, (0, 0, 0, 0, 0, 0, 6.0)), 8) - s.radial_power(picture, 8)
    # the last knot is Nyquist; an octave below it, at a quarter cycle a pixel, nothing has changed
    assert change[:4] == pytest.approx(0, abs=1e-6)
    assert change[7] == pytest.approx(0.6, abs=0.08)
    assert (np.diff(change[4:]) > 0).all()


def test_places_are_kept() -> None:
    spot = np.zeros((65, 65), np.float32)
    spot[20, 40] = 1
    changed = s.perturb_power(spot, (1, -2, 3, -1, 2, -3, 1))
    assert np.unravel_index(changed.argmax(), changed.shape) == (20, 40)
    edge = np.zeros((64, 64), np.float32)
    edge[:, 32:] = 1
    softer = s.perturb_power(edge, (0, 0, 0, 0, -1, -2, -4))
    assert np.abs(np.diff(softer[10])).argmax() == 31
    # mirrored borders: a picture dark on the left and bright on the right does not wrap around
    assert abs(softer[:, 0].mean()) < 0.02
    assert abs(softer[:, -1].mean() - 1) < 0.02


def test_a_seed_is_all_it_depends_on() -> None:
    one, two = s.draw(np.random.SeedSequence(0, spawn_key=(1,))), s.draw(np.random.SeedSequence(0, spawn_key=(1,)))
    assert one == two
    assert np.array_equal(s.augment(scene(), one), s.augment(scene(), two))
    assert s.draw(0) != s.draw(1)


def test_noise_is_of_the_strength_that_was_drawn() -> None:
    flat = np.full((256, 256), 0.5, np.float32)
    noisy = s.perturb_sensor(flat, replace(plain(), netd=0.05, columns=0.03))
    columns = noisy.mean(0)
    assert float((noisy - columns).std()) * 16 == pytest.approx(0.05, rel=0.05)
    assert float(columns.std()) * 16 == pytest.approx(0.03, rel=0.15)


def test_blur_follows_the_size_of_the_picture() -> None:
    what = replace(plain(), blur=0.8)
    small, large = scene(64), scene(256)
    assert np.array_equal(s.perturb_sensor(small, replace(what, blur=0.5)), np.clip(small, 0, 1))
    assert s.radial_power(s.perturb_sensor(large, what))[5] < s.radial_power(large)[5] - 0.1


def test_values_stay_in_range() -> None:
    for seed in range(20):
        done = s.augment(scene(), s.draw(seed, 3.0))
        assert done.dtype == np.float32
        assert done.min() >= 0
        assert done.max() <= 1
