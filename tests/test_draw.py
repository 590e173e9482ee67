"""Drawing: where pixels change, in which colour, and that nothing breaks at the edges."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from thermvision.annotations import draw
from thermvision.annotations.schema import OBJECT_OCCLUDED, VISIBLE, FrameAnnotation


def changed(image: np.ndarray) -> np.ndarray:
    return np.argwhere((image != 0).any(-1))


def test_to_rgb_copies() -> None:
    gray = np.arange(12, dtype=np.uint8).reshape(3, 4)
    rgb = draw.to_rgb(gray)
    rgb[0, 0] = 99
    assert gray[0, 0] == 0
    assert rgb.shape == (3, 4, 3)
    assert (rgb[2, 3] == 11).all()
    same = draw.to_rgb(rgb)
    same[:] = 0
    assert rgb[2, 3, 0] == 11


@pytest.mark.parametrize("frame", [np.zeros((4, 4)), np.zeros(4, np.uint8), np.zeros((4, 4, 4), np.uint8)])
def test_to_rgb_refuses(frame: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"allowed: uint8 \(H, W\)"):
        draw.to_rgb(frame)


def test_a_box_is_drawn_where_it_is() -> None:
    image = np.zeros((512, 512, 3), np.uint8)
    draw.draw_bbox(image, [100, 150, 200, 250])
    rows, columns = changed(image).T
    # strokes lie to both sides of the edges, their heavy corners at most four pixels wide
    assert 146 <= rows.min() < 150 <= 400 <= rows.max() < 404
    assert 96 <= columns.min() < 100 <= 300 <= columns.max() < 304
    assert abs(rows.mean() + 0.5 - 275) < 0.5
    assert abs(columns.mean() + 0.5 - 200) < 0.5
    assert tuple(image[150, 200]) == draw.BOX_COLOUR
    assert not image[160:390, 110:290].any()


def test_no_face_draws_no_box() -> None:
    image = np.zeros((64, 64, 3), np.uint8)
    draw.draw_bbox(image, np.full(4, np.nan))
    assert not image.any()


def test_landmarks_take_the_colour_of_their_state() -> None:
    image = np.zeros((512, 512, 3), np.uint8)
    points = np.stack([20 + 7.0 * np.arange(68), np.where(np.arange(68) % 2, 100, 300)], 1) + 0.5
    states = np.where(np.arange(68) < 34, VISIBLE, OBJECT_OCCLUDED)
    draw.draw_landmarks(image, points, states)
    for k in (0, 33, 34, 67):
        x, y = (points[k] - 0.5).astype(int)
        assert tuple(image[y, x]) == draw.STATE_COLOURS[int(states[k])]


def test_dots_are_centred_on_the_pixel() -> None:
    image = np.zeros((512, 512, 3), np.uint8)
    points = np.full((68, 2), np.nan)
    points[0] = 50.5, 80.5  # the centre of pixel (80, 50)
    draw.draw_landmarks(image, points)
    weight = image.sum(-1, dtype=np.float64)
    y, x = (np.average(axis, weights=weight) for axis in np.mgrid[:512, :512])
    assert (x, y) == pytest.approx((50, 80), abs=0.1)


def test_landmarks_refuse_another_count() -> None:
    with pytest.raises(ValueError, match=r"shape \(5, 2\)"):
        draw.draw_landmarks(np.zeros((8, 8, 3), np.uint8), np.zeros((5, 2)))


def axis_ends(pose: list[float]) -> dict[str, np.ndarray]:
    """Mean position of the pixels in each axis' colour, relative to the origin: x right, y down."""
    image = np.zeros((512, 512, 3), np.uint8)
    draw.draw_pose(image, pose, (256, 256), 100)
    return {
        name: np.argwhere((image == colour).all(-1)).mean(0)[::-1] - 256
        for name, colour in zip("xyz", draw.AXIS_COLOURS, strict=True)
    }


def test_pose_axes_point_where_the_conventions_say() -> None:
    frontal = axis_ends([0, 0, 0])
    assert frontal["x"][0] > 30
    assert abs(frontal["x"][1]) < 2
    assert frontal["y"][1] < -30
    assert np.abs(frontal["z"]).max() < 2
    assert axis_ends([40, 0, 0])["z"][0] > 10  # positive yaw: the nose goes to image right
    assert axis_ends([0, 40, 0])["z"][1] < -10  # positive pitch: it goes up
    assert axis_ends([0, 0, 40])["y"][0] > 10  # positive roll: the crown goes to image right, clockwise


def test_labels_stay_inside() -> None:
    for corner in ((-50, -50), (500, 500), (9999, 10)):
        image = np.zeros((128, 256, 3), np.uint8)
        draw.draw_label(image, "yaw +12°", corner)
        assert image.max() > 150
    image = np.zeros((4, 4, 3), np.uint8)
    draw.draw_label(image, "much wider than the image", (0, 0))


def test_a_label_is_legible_at_512() -> None:
    image = np.full((512, 512, 3), 255, np.uint8)
    draw.draw_label(image, "H", (10, 10))
    plate = image[10:34, 10:26]
    assert plate.min() < 90
    rows = np.argwhere((image[:40, :40, 0] > 150) & (image[:40, :40, 0] < 250))[:, 0]
    assert rows.max() - rows.min() >= 8  # cap height in pixels


def annotation(bbox: list[float], points: np.ndarray) -> FrameAnnotation:
    return FrameAnnotation(
        bbox, 1, "ground_truth", landmarks=points, landmark_state=np.full(68, 3), head_pose=[10, 5, 0]
    )


def test_the_frame_is_left_alone_and_drawing_is_repeatable() -> None:
    rng = np.random.default_rng(0)
    frame = rng.integers(0, 255, (96, 96), dtype=np.uint8)
    before = frame.copy()
    face = annotation([20, 20, 50, 60], rng.uniform(20, 70, (68, 2)))
    first = draw.draw_annotation(frame, face)
    np.testing.assert_array_equal(frame, before)
    np.testing.assert_array_equal(first, draw.draw_annotation(frame, face))
    assert (first != draw.to_rgb(frame)).any()


def test_a_frame_without_face_shows_that() -> None:
    drawn = draw.draw_annotation(np.zeros((64, 64), np.uint8), FrameAnnotation.no_face("x"))
    assert drawn.any()
    bare = draw.draw_annotation(np.zeros((64, 64), np.uint8), FrameAnnotation.no_face("x"), label=False)
    assert not bare.any()


coordinate = st.floats(-1e9, 1e9) | st.just(float("nan"))


@settings(max_examples=40, deadline=None)
@given(st.lists(coordinate, min_size=4, max_size=4), st.integers(1, 40), st.integers(1, 40), st.integers(0, 2**32 - 1))
def test_any_coordinates_draw(bbox: list[float], height: int, width: int, seed: int) -> None:
    points = np.random.default_rng(seed).uniform(-1e6, 1e6, (68, 2))
    points[::9] = np.nan
    drawn = draw.draw_annotation(np.zeros((height, width), np.uint8), annotation(bbox, points))
    assert drawn.shape == (height, width, 3)
