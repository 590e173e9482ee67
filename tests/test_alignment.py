"""Crops: where each pixel comes from, and that the matrices lead there and back."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from thermvision.annotations.alignment import (
    TEMPLATE,
    aligned_crop,
    apply,
    face_crop,
    invert,
    resize,
    similarity,
    warp,
)


def gradient(height: int, width: int) -> np.ndarray:
    """A plane that rises by one a pixel to the right and by two downwards: resizing keeps it a plane."""
    return (np.arange(width)[None] + 2 * np.arange(height)[:, None]).astype(np.uint8)


def test_a_crop_without_scaling_is_a_slice() -> None:
    frame = np.random.default_rng(0).integers(0, 256, (60, 80), dtype=np.uint8)
    crop, matrix = face_crop(frame, [20, 10, 16, 32], 1.0, 32)
    assert (crop == frame[10:42, 12:44]).all()
    assert matrix.tolist() == [[1, 0, -12], [0, 1, -10]]


def test_margin_widens_the_longer_side() -> None:
    frame = np.zeros((200, 200), np.uint8)
    _, matrix = face_crop(frame, [80, 70, 40, 60], 1.5, 45)
    assert matrix.tolist() == [[0.5, 0, -27.5], [0, 0.5, -27.5]]  # 90 px around (100, 100)


def test_shrinking_averages_areas() -> None:
    frame = np.zeros((64, 64), np.uint8)
    frame[::2, ::2] = 200
    crop, _ = face_crop(frame, [0, 0, 64, 64], 1.0, 16)
    assert (crop == 50).all()


def test_border_pixels_are_repeated() -> None:
    frame = gradient(20, 30)
    crop, matrix = face_crop(frame, [-10, -10, 20, 20], 1.0, 20)
    assert (crop[:10, :10] == 0).all()
    assert (crop[10:, 10:] == frame[:10, :10]).all()
    assert (crop[10:, 0] == frame[:10, 0]).all()
    assert matrix[:, 2].tolist() == [10, 10]
    beyond, _ = face_crop(frame, [60, 40, 10, 10], 1.0, 10)
    assert (beyond == frame[-1, -1]).all()


@pytest.mark.parametrize(
    "box", [[0, 0, 0, 5], [0, 0, 5, -1], [np.nan, 0, 5, 5], [0, 0, np.inf, 5], [0, 0, 1e6, 5], [1e9, 0, 5, 5]]
)
def test_odd_boxes_are_refused(box: list[float]) -> None:
    with pytest.raises(ValueError, match="allowed: finite"):
        face_crop(np.zeros((20, 30), np.uint8), box, 1.0, 8)


@settings(max_examples=60, deadline=None)
@given(
    st.floats(-20, 120), st.floats(-20, 120), st.floats(2, 90), st.floats(2, 90), st.floats(1, 2), st.integers(8, 64)
)
def test_the_window_is_about_the_box(x: float, y: float, w: float, h: float, margin: float, size: int) -> None:
    crop, matrix = face_crop(np.zeros((100, 110), np.uint8), [x, y, w, h], margin, size)
    assert crop.shape == (size, size)
    assert crop.dtype == np.uint8
    back = invert(matrix)
    side = back[0, 0] * size
    assert abs(side - margin * max(w, h)) <= 0.51
    centre = apply(back, [size / 2, size / 2])
    assert np.abs(centre - [x + w / 2, y + h / 2]).max() <= 0.51


def test_resize_is_exact_on_a_plane() -> None:
    frame = (np.arange(64)[None] * 2 + np.arange(64)[:, None]).astype(np.uint8)
    small = resize(frame, 16, 16)
    expected = 2 * (np.arange(16) * 4 + 1.5)[None] + (np.arange(16) * 4 + 1.5)[:, None]
    assert np.abs(small - expected).max() <= 1
    assert resize(frame, 64, 64) is frame
    assert resize(frame, 21, 13).shape == (13, 21)
    assert resize(frame, 100, 30).shape == (30, 100)


def test_aligned_template_is_a_slice() -> None:
    frame = np.random.default_rng(1).integers(0, 256, (150, 160), dtype=np.uint8)
    crop, matrix = aligned_crop(frame, TEMPLATE + np.array([20, 10]))
    np.testing.assert_allclose(matrix, [[1, 0, -20], [0, 1, -10]], atol=1e-9)
    assert (crop == frame[10:122, 20:132]).all()


def test_aligned_crops_of_a_turned_face_agree() -> None:
    yy, xx = np.mgrid[:200, :200]
    frame = (100 + 60 * np.sin(xx / 13) + 60 * np.cos(yy / 17)).astype(np.uint8)
    turn = cv2.getRotationMatrix2D((99.5, 99.5), 33, 1.0)  # OpenCV's own convention: centres at whole numbers
    turned = cv2.warpAffine(frame, turn, (200, 200), flags=cv2.INTER_CUBIC)
    points = (TEMPLATE - 56) * 0.7 + 100
    turned_points = (points - 0.5) @ turn[:, :2].T + turn[:, 2] + 0.5
    one, _ = aligned_crop(frame, points, 64)
    two, _ = aligned_crop(turned, turned_points, 64)
    assert np.abs(one.astype(int) - two).mean() < 1.5


def test_far_smaller_crops_do_not_alias() -> None:
    frame = np.random.default_rng(5).integers(0, 256, (512, 512), dtype=np.uint8)
    crop, _ = aligned_crop(frame, TEMPLATE * (512 / 112), 32)
    # at least 8 x 8 pixels go into each: a standard deviation of 74 / 8, that of single pixels would be 40 and more
    assert crop.std() < 11


def test_far_smaller_crops_are_in_place() -> None:
    frame = (np.arange(161)[None] + 0.5 * np.arange(203)[:, None]).astype(np.uint8)
    small = warp(frame, [[0.1, 0, 0], [0, 0.1, 0]], 15, 19)
    expected = np.arange(15)[None] * 10 + 4.5 + 0.5 * (np.arange(19)[:, None] * 10 + 4.5)
    assert np.abs(small - expected)[1:-1, 1:-1].max() <= 1.5


def test_warp_keeps_centres() -> None:
    frame = gradient(40, 40)
    half = warp(frame, [[0.5, 0, 0], [0, 0.5, 0]], 20, 20)
    assert np.abs(half[2:18, 2:18] - (frame[4:36:2, 4:36:2] + 1.5)).max() <= 0.5


@settings(max_examples=50, deadline=None)
@given(st.floats(-3, 3), st.floats(0.1, 10), st.floats(-50, 50), st.floats(-50, 50))
def test_similarity_is_found_exactly(angle: float, scale: float, dx: float, dy: float) -> None:
    c, s = scale * np.cos(angle), scale * np.sin(angle)
    true = np.array([[c, -s, dx], [s, c, dy]])
    moved = TEMPLATE.astype(np.float64) @ true[:, :2].T + true[:, 2]
    np.testing.assert_allclose(similarity(TEMPLATE, moved), true, atol=1e-6)


def test_similarity_is_the_least_squares_solution() -> None:
    rng = np.random.default_rng(2)
    a, b = rng.normal(size=(5, 2)), rng.normal(size=(5, 2))
    # x' = p x - q y + t, y' = q x + p y + u, linear in p, q, t, u
    rows = np.zeros((10, 4))
    rows[::2] = np.column_stack([a[:, 0], -a[:, 1], np.ones(5), np.zeros(5)])
    rows[1::2] = np.column_stack([a[:, 1], a[:, 0], np.zeros(5), np.ones(5)])
    p, q, t, u = np.linalg.lstsq(rows, b.ravel(), rcond=None)[0]
    np.testing.assert_allclose(similarity(a, b), [[p, -q, t], [q, p, u]], atol=1e-9)


@pytest.mark.parametrize(
    ("points", "message"),
    [
        (np.zeros((5, 2)), "one place"),
        (np.full((5, 2), np.nan), "not finite"),
        (np.zeros((4, 2)), "keypoints have shape"),
    ],
)
def test_odd_keypoints_are_refused(points: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        aligned_crop(np.zeros((20, 20), np.uint8), points)
