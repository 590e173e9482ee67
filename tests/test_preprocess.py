"""The article's preprocessing, against its listing written down once more."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from thermvision.annotations.errors import UsageError
from thermvision.generation.preprocess import (
    STEPS,
    normalize_intensity,
    preprocess,
    preprocess_thermal,
    preserve_gradients,
    remove_sensor_noise,
)


def as_printed(frames):
    """Lines 27 to 45 of the article's listing."""
    norm_frames = np.array([(f - np.min(f)) / (np.max(f) - np.min(f) + 1e-6) for f in frames])
    denoised = np.array([cv2.bilateralFilter(f.astype(np.float32), 5, 10, 10) for f in norm_frames])
    return norm_frames, denoised, np.array([cv2.equalizeHist((f * 255).astype(np.uint8)) for f in denoised])


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32, np.float64])
def test_identical_to_the_listing(dtype):
    rng = np.random.default_rng(5)
    frames = (rng.integers(20, 250, (3, 37, 52)) * (100 if dtype == np.uint16 else 1)).astype(dtype)
    norm, denoised, done = as_printed(frames)
    assert np.array_equal(normalize_intensity(frames), norm)
    assert np.array_equal(remove_sensor_noise(norm), denoised)
    assert np.array_equal(preserve_gradients(denoised), done)
    assert np.array_equal(preprocess_thermal(frames), done)
    assert done.dtype == np.uint8


@given(arrays.arrays(np.uint8, st.tuples(st.integers(1, 12), st.integers(1, 12))))
def test_all_steps_are_the_articles(frame):
    assert np.array_equal(preprocess(frame, STEPS), as_printed([frame])[2][0])


@given(arrays.arrays(np.uint8, (9, 7)))
def test_steps_alone(frame):
    assert preprocess(frame, []) is frame
    assert np.array_equal(preprocess(frame, ["equalize"]), cv2.equalizeHist(frame))
    stretched = preprocess(frame, ["normalize"]).astype(int)
    assert stretched.min() == 0
    assert stretched.max() == (255 if np.ptp(frame) else 0)
    order = np.argsort(frame, axis=None, kind="stable")
    assert (np.diff(stretched.ravel()[order]) >= 0).all()


def test_denoising_alone_keeps_the_level_and_lowers_the_noise():
    noisy = (120 + np.random.default_rng(0).normal(0, 6, (40, 40))).astype(np.uint8)
    calm = preprocess(noisy, ["denoise"])
    assert abs(float(calm.mean()) - float(noisy.mean())) < 1
    assert calm.std() < noisy.std() / 2


def test_a_frame_of_one_value():
    flat = np.full((8, 8), 77, np.uint8)
    assert np.array_equal(preprocess_thermal([flat]), as_printed([flat])[2])
    assert not preprocess(flat, ["normalize"]).any()


@pytest.mark.parametrize(
    ("steps", "words"), [(["blur"], "'blur' does not exist.*normalize"), (["denoise"] * 2, "once")]
)
def test_wrong_steps(steps, words):
    with pytest.raises(UsageError, match=words):
        preprocess(np.zeros((4, 4), np.uint8), steps)
