"""Pose, keypoints, ratios, crops, smoothing and tensors of LivePortrait: golden numbers, and what must hold for any."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cv2
import golden_liveportrait as golden
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from thermvision.annotations.errors import DamagedInputError, UsageError
from thermvision.generation.engines.liveportrait import crop, driving, keypoints, ratios, smoothing, tensors
from thermvision.generation.motion_template import head_poses, template_rotations

TOLERANCE = 1e-5
FIVE = np.array([[100, 110], [160, 100], [135, 140], [112, 178], [158, 170]], np.float64)
GEOMETRY = sorted(name[5:-4] for name in golden.arrays() if name.startswith("geom/") and name.endswith("/out"))
Given = dict[str, NDArray[Any]]


def _tensors(given: Given) -> dict[str, torch.Tensor]:
    return {name: torch.tensor(value) for name, value in given.items()}


def _crops(given: Given) -> NDArray[Any]:
    settings = ((512, 2.3, -0.125, True), (512, 2.3, -0.125, False), (224, 1.5, -0.1, True))
    return np.stack([crop.crop_matrix(given["pts"], *values) for values in settings])


OURS: dict[str, Callable[[Given], Any]] = {
    "headpose_degrees": lambda g: keypoints.headpose_degrees(**_tensors(g)),
    "rotation_matrix": lambda g: keypoints.rotation_matrix(**_tensors(g)),
    "transform_keypoints": lambda g: keypoints.transform_keypoints(keypoints.MotionInfo(**_tensors(g))),
    "eye_close_ratio": lambda g: ratios.eye_close_ratio(g["lmk"]),
    "lip_close_ratio": lambda g: ratios.lip_close_ratio(g["lmk"]),
    "crop_matrix": _crops,
    "driving_bbox": lambda g: crop.driving_bbox(g["pts"], 2.2, -0.1),
    "driving_crop_matrix": lambda g: crop.driving_crop_matrix(g["bbox"], 512),
    "motion_multiplier": lambda g: driving.motion_multiplier(**_tensors(g)),
    "smooth": lambda g: smoothing.smooth(list(g["seq"]), 3e-7),
}


def test_all_fifteen_cases_are_there() -> None:
    assert len(GEOMETRY) == 15
    assert {name.split("/")[0] for name in GEOMETRY} == set(OURS)


@pytest.mark.parametrize("name", GEOMETRY)
def test_golden_geometry(name: str) -> None:
    stored, start = golden.arrays(), f"geom/{name}/in/"
    given = {key.removeprefix(start): value for key, value in stored.items() if key.startswith(start)}
    assert golden.relative_error(stored[f"geom/{name}/out"], np.asarray(OURS[name.split("/")[0]](given))) < TOLERANCE


def test_published_examples() -> None:
    angles = (torch.tensor([[a]]) for a in (10.0, 20.0, 30.0))
    pitch, yaw, roll = angles
    want = [
        [0.8137977, 0.4698463, -0.3420202],
        [-0.4409696, 0.8825641, 0.1631759],
        [0.3785223, 0.0180283, 0.9254165],
    ]
    np.testing.assert_allclose(keypoints.rotation_matrix(pitch, yaw, roll)[0], want, atol=2e-7)
    info = keypoints.MotionInfo(
        kp=torch.tensor([0.1, 0.2, 0.3]).expand(1, 21, 3),
        exp=torch.tensor([0.01, -0.02, 0.03]).expand(1, 21, 3),
        scale=torch.tensor([[1.5]]),
        t=torch.tensor([[0.05, -0.1, 9.0]]),
        pitch=pitch,
        yaw=yaw,
        roll=roll,
    )
    np.testing.assert_allclose(
        keypoints.transform_keypoints(info)[0], [[0.2251138, 0.2133589, 0.4590872]] * 21, atol=3e-7
    )
    np.testing.assert_allclose(
        crop.crop_matrix(FIVE)[:2],
        [[2.9871645, -0.2164616, -109.602875], [0.2164616, 2.9871645, -124.65466]],
        rtol=1e-6,
    )
    np.testing.assert_allclose(
        crop.crop_matrix(FIVE, do_rot=False)[:2], [[2.994997, 0, -136.15833], [0, 2.994997, -97.23544]], rtol=1e-6
    )
    np.testing.assert_allclose(crop.driving_bbox(FIVE), [49.54088, 41.186234, 213.05995, 204.7053], rtol=1e-6)
    seen = [0.0, 0.01, 0.0, 0.02, 0.01]
    np.testing.assert_allclose(
        smoothing.smooth(seen), [0.0002757, 0.0094647, 0.0008107, 0.0191815, 0.0102674], atol=1e-7
    )
    np.testing.assert_allclose(
        smoothing.smooth(seen, 1e-4), [0.0067204, 0.0073925, 0.0078039, 0.0089956, 0.0090869], atol=1e-7
    )


degrees = st.floats(-90, 90)


@given(pitch=degrees, yaw=degrees, roll=degrees)
def test_rotations_are_scipys_and_poses_survive(pitch: float, yaw: float, roll: float) -> None:
    turn = keypoints.rotation_matrix(*(torch.tensor([a], dtype=torch.float64) for a in (pitch, yaw, roll)))[0].numpy()
    np.testing.assert_allclose(
        turn.T, Rotation.from_euler("xyz", [pitch, yaw, roll], degrees=True).as_matrix(), atol=1e-12
    )
    np.testing.assert_allclose(template_rotations(head_poses(turn)), turn, atol=1e-7)


def test_degrees_pass_the_bins_by() -> None:
    given = torch.tensor([[12.5], [-3.0]])
    assert keypoints.headpose_degrees(given) is given
    sure = torch.full((1, 66), -1e4)
    sure[0, 65] = 1e4
    assert keypoints.headpose_degrees(sure).tolist() == [97.5]


def test_motion_is_cut_and_keeps_its_parts() -> None:
    info = keypoints.MotionInfo(*(torch.arange(3.0).reshape(3, 1) + 10 * k for k in range(7)))
    assert len(info) == 3
    assert info[1:2].roll.tolist() == [[61.0]]
    assert info.to("cpu").exp.tolist() == [[10.0], [11.0], [12.0]]


def test_ratios_are_of_the_right_points() -> None:
    points = np.zeros((203, 2))
    points[[0, 12, 24, 36, 48, 66]] = [[0, 0], [10, 0], [20, 0], [30, 0], [5, 50], [25, 50]]
    points[[6, 18, 30, 42, 90, 102]] = [[5, 2], [5, -2], [25, 1], [25, 0], [15, 49], [15, 55]]
    np.testing.assert_allclose(ratios.eye_close_ratio(points), [[0.4, 0.1]], rtol=1e-6)
    np.testing.assert_allclose(ratios.lip_close_ratio(np.stack([points, 7 * points])), [[0.3], [0.3]], rtol=1e-6)
    assert ratios.lip_close_ratio(np.zeros((203, 2))).tolist() == [[0.0]]
    with pytest.raises(UsageError, match=r"shape \(68, 2\); allowed: \(N, 203, 2\)"):
        ratios.eye_close_ratio(np.zeros((68, 2)))


@given(
    angle=st.floats(-3, 3),
    size=st.floats(0.2, 5),
    shift=st.tuples(st.floats(-300, 300), st.floats(-300, 300)),
    count=st.sampled_from([5, 9, 68, 101, 106, 130, 203]),
)
def test_a_crop_follows_its_face(angle: float, size: float, shift: tuple[float, float], count: int) -> None:
    face = np.random.default_rng(count).random((count, 2)) * 100
    cos, sin = size * np.cos(angle), size * np.sin(angle)
    moved = face @ np.array([[cos, sin], [-sin, cos]]) + shift
    places = []
    for points in (face, moved):
        matrix = crop.crop_matrix(points, 512).astype(np.float64)
        places.append(points @ matrix[:2, :2].T + matrix[:2, 2])
    # the angle by its cosine in float32 is off by up to .0004, which is .1 pixel at the crop's rim
    np.testing.assert_allclose(*places, atol=0.3)


def test_a_face_of_one_axis_is_cropped_upright() -> None:
    points = np.array([[0, 0], [10, 0], [5, 0], [4, 0], [6, 0]], np.float64)
    np.testing.assert_allclose(
        crop.crop_matrix(points, 23, 2.3, 0.0), [[1, 0, 6.5], [0, 1, 11.5], [0, 0, 1]], atol=1e-6
    )


@pytest.mark.parametrize(
    ("points", "error", "said"),
    [
        (np.zeros((70, 2)), UsageError, r"shape \(70, 2\); allowed: .*5, 9, 68, 101, 106, 203 or above 101"),
        (np.zeros((5, 3)), UsageError, r"\(5, 3\)"),
        (np.full((5, 2), np.nan), DamagedInputError, "no numbers"),
        (np.ones((5, 2)), DamagedInputError, "all in one place"),
    ],
)
def test_landmarks_that_are_no_face_are_told(points: NDArray[Any], error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        crop.crop_matrix(points)


def test_windows_need_a_width() -> None:
    with pytest.raises(UsageError, match="a box with a width"):
        crop.driving_crop_matrix([5, 0, 5, 10])
    with pytest.raises(UsageError, match="a box with a width"):
        crop.driving_crop_matrix([np.nan, 0, 5, 10])


def _picture(channels: tuple[int, ...] = ()) -> NDArray[np.uint8]:
    noise = np.random.default_rng(1).integers(0, 256, (300, 260, *channels), dtype=np.uint8)
    return cv2.GaussianBlur(noise, (0, 0), 3).astype(np.uint8)


def test_gray_and_colour_are_cropped_and_pasted_alike() -> None:
    gray = _picture()
    colour = np.repeat(gray[..., None], 3, 2)
    a, b = (crop.crop_image(image, FIVE, 512, 2.3, -0.125, True) for image in (gray, colour))
    assert (a.shape, b.shape) == ((512, 512), (512, 512, 3))
    np.testing.assert_array_equal(b, np.repeat(a[..., None], 3, 2))
    back = np.linalg.inv(crop.crop_matrix(FIVE))
    mask = crop.paste_mask()
    pasted = crop.paste_back(255 - a, back, gray, mask)
    np.testing.assert_array_equal(
        crop.paste_back(255 - b, back, colour, np.repeat(mask[..., None], 3, 2)), np.repeat(pasted[..., None], 3, 2)
    )
    np.testing.assert_array_equal(crop.paste_back(255 - b, back, colour, mask)[..., 1], pasted)


def test_a_crop_is_put_back_where_it_was() -> None:
    picture = _picture()
    matrix = crop.crop_matrix(FIVE)
    back = np.linalg.inv(matrix)
    same = crop.paste_back(crop.crop_image(picture, FIVE), back, picture, crop.paste_mask())
    assert np.abs(same.astype(int) - picture).max() <= 4
    white = crop.paste_back(np.full((512, 512), 255, np.uint8), back, picture, crop.paste_mask())
    middle = (back @ [256, 256, 1])[:2].round().astype(int)
    assert white[middle[1], middle[0]] == 255
    weight = crop.paste_weight(crop.paste_mask(), back, 260, 300)
    np.testing.assert_array_equal(white[weight == 0], picture[weight == 0])
    assert 0 < (weight == 0).mean() < 1
    # truncated, not rounded
    half = crop.blend(
        np.full((512, 512), 255, np.uint8), np.eye(3), np.zeros((4, 4), np.uint8), np.full((4, 4), np.float32(0.5))
    )
    assert (half == 127).all()


@settings(deadline=None, max_examples=60)
@given(
    angle=st.floats(-3.1, 3.1),
    size=st.floats(5, 400),
    x=st.floats(-100, 400),
    y=st.floats(-100, 400),
    channels=st.sampled_from([(), (3,)]),
)
def test_pasting_is_the_formula_everywhere(
    angle: float, size: float, x: float, y: float, channels: tuple[int, ...]
) -> None:
    cos, sin = size / 512 * np.cos(angle), size / 512 * np.sin(angle)
    back = np.array([[cos, -sin, x], [sin, cos, y], [0, 0, 1]])
    picture = _picture(channels)
    drawn, mask = (np.full((512, 512, *channels), level, np.uint8) for level in (200, 255))
    over, weight = (crop.warp_image(image, back, 260, 300).astype(np.float32) for image in (drawn, mask))
    weight /= 255
    np.testing.assert_array_equal(
        crop.paste_back(drawn, back, picture, mask), (weight * over + (1 - weight) * picture).astype(np.uint8)
    )


def test_the_mask_is_the_published_rule() -> None:
    mask = crop.paste_mask()
    assert mask.shape == (512, 512)
    assert mask.dtype == np.uint8
    # sums and samples of floor(255 · clip(1 - d / 16, 0, 1)), d the distance to the square from 16 to 496
    y, x = np.mgrid[:512, :512]
    distance = np.hypot(x - np.clip(x, 16, 496), y - np.clip(y, 16, 496))
    np.testing.assert_array_equal(mask, np.floor(255 * np.clip(1 - distance / 16, 0, 1)))
    np.testing.assert_array_equal(mask, mask.T)
    assert mask[256, [0, 1, 15, 16, 496, 497, 511]].tolist() == [0, 15, 239, 255, 255, 239, 15]


@settings(deadline=None)
@given(st.integers(1, 1500), st.integers(1, 1500))
def test_sizes_become_even_and_bounded(height: int, width: int) -> None:
    h, w = crop.limit_size(np.zeros((height, width), np.uint8), 640).shape
    assert max(h, w) <= 640
    assert all(side % 2 == 0 or side == 1 for side in (h, w))
    if max(height, width) <= 640:
        assert height - h in (0, 1)
        assert width - w in (0, 1)


def test_pictures_become_tensors_and_back() -> None:
    image = np.random.default_rng(0).integers(0, 256, (256, 256, 3), dtype=np.uint8)
    tensor = tensors.image_to_tensor(image)
    assert (tensor.shape, tensor.dtype) == ((1, 3, 256, 256), torch.float32)
    assert tensor[0, 2, 5, 7].item() == np.float32(image[5, 7, 2]) / np.float32(255)
    np.testing.assert_array_equal(tensors.tensor_to_image(tensor + 1e-4), image)  # so that truncation changes nothing
    gray = tensors.image_to_tensor(image[:128, :, 0])
    wide = cv2.resize(image[:128, :, 0], (256, 256), interpolation=cv2.INTER_LINEAR)
    for plane in gray[0]:
        np.testing.assert_array_equal(plane, wide.astype(np.float32) / np.float32(255))
    assert tensors.tensor_to_image(torch.tensor([-1.0, 0.5, 7.0]).reshape(1, 1, 1, 3)).ravel().tolist() == [0, 127, 255]


@pytest.mark.parametrize("image", [np.zeros((4, 4)), np.zeros((4, 4, 4), np.uint8), np.zeros((0, 4), np.uint8)])
def test_other_pictures_are_told(image: NDArray[Any]) -> None:
    with pytest.raises(UsageError, match=r"allowed: \(H, W\) or \(H, W, 3\) of uint8"):
        tensors.image_to_tensor(image)


def test_smoothing_keeps_what_does_not_change() -> None:
    still = np.tile([[1.0, -2.0]], (9, 1))
    np.testing.assert_array_equal(smoothing.smooth(still, 1e-2), still)
    assert smoothing.smooth([[3.0]]).tolist() == [[3.0]]
    step = smoothing.smooth([0.0] * 20 + [1.0] * 20, 1e-4)
    assert (np.diff(step) >= 0).all()
    np.testing.assert_allclose(step + step[::-1], 1, atol=0.02)
    for bad in (0.0, -1.0, np.nan, np.inf):
        with pytest.raises(UsageError, match="allowed: above 0"):
            smoothing.smooth(still, bad)
    with pytest.raises(UsageError, match="at least one frame"):
        smoothing.smooth([])
