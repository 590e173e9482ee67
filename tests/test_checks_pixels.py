"""Image checks: each kind is found where it was planted and quiet where it was not."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import cache

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from thermvision.curation.checks import composition, noise, pixels, repeats, sharpness, tones
from thermvision.curation.checks.faults.pixels import FAULTS
from thermvision.curation.checks.kinds import FrameView, ItemView, by_code
from thermvision.curation.video import decode_gray, encode_gray

SIZE = 256
BOX = np.array([78, 50, 100, 140], np.float32)
KINDS = by_code(pixels.KINDS)


@cache
def _scene(seed: int, shift: float) -> np.ndarray:
    """A head with features before a room, blurred as by a lens, with noise of 1.5 levels: (256, 256) uint8."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:SIZE, 0:SIZE].astype(np.float32)
    image = 40 + 12 * np.sin(x / 90 + 1) + 0.05 * y
    image[(x > 200) & (y > 60) & (y < 150)] += 25
    centre = 128 + shift

    def oval(at_x: float, at_y: float, half_w: float, half_h: float, level: float) -> None:
        image[((x - centre - at_x) / half_w) ** 2 + ((y - at_y) / half_h) ** 2 < 1] = level

    oval(0, 270, 95, 75, 95)
    oval(0, 120, 48, 72, 200)
    image += np.where(image > 180, 18 * np.sin(x / 11 + seed) * np.sin(y / 13), 0)
    for side in (-1, 1):
        oval(side * 18, 95, 12, 3, 150)
        oval(side * 18, 106, 9, 4, 225)
    oval(0, 132, 9, 14, 150)
    oval(0, 160, 18, 4, 222)
    image = cv2.GaussianBlur(image, (0, 0), 1.3)
    return np.clip(image + rng.normal(0, 1.5, image.shape), 0, 255).astype(np.uint8)


def scene(seed: int = 0, shift: float = 0.0) -> np.ndarray:
    return _scene(seed, shift).copy()


def landmarks(shift: float = 0.0) -> np.ndarray:
    """68 points within the head, those that polarity is told by where `scene` has them."""
    points = np.tile(np.array([[128.0 + shift, 130.0]], np.float32), (68, 1))
    points[:17, 0] += np.linspace(-48, 48, 17)
    for k, (x, y) in {19: (-18, 95), 24: (18, 95), 27: (0, 108), 29: (0, 130), 30: (0, 136), 39: (-10, 106)}.items():
        points[k] = 128 + shift + x, y
    points[42] = 138 + shift, 106
    return points


def view(gray: np.ndarray, index: int = 0, shift: float = 0.0) -> FrameView:
    flat = gray if gray.ndim == 2 else cv2.cvtColor(gray, cv2.COLOR_RGB2GRAY)
    return FrameView(
        index, gray, flat, BOX + np.float32([shift, 0, 0, 0]), landmarks(shift), np.full(68, 3, np.uint8), np.zeros(3)
    )


def found(frame: FrameView) -> set[str]:
    return {s.code for s in pixels.frame_scores(frame) if KINDS[s.code].is_finding(s.score)}


def scores(frame: FrameView) -> dict[str, float]:
    return {s.code: s.score for s in pixels.frame_scores(frame)}


@cache
def _moving_clip(count: int) -> np.ndarray:
    return np.stack([scene(k, 6 * math.sin(k / 3)) for k in range(count)])


def moving_clip(count: int = 24) -> np.ndarray:
    return _moving_clip(count).copy()


def watched(frames: np.ndarray) -> list:
    item = ItemView("a", "video", "train", True, {}, 30.0, len(frames), SIZE, SIZE)
    watch = repeats.PixelWatch(item)
    for k, gray in enumerate(frames):
        watch.add(view(gray, k, 6 * math.sin(k / 3)))
    return list(watch.finish())


def row() -> dict:
    return {"bbox": BOX, "landmarks": landmarks(), "landmark_state": np.full(68, 3, np.uint8), "head_pose": np.zeros(3)}


ON_FRAME = [f for f in FAULTS if f.on_frame is not None]
ON_FRAMES = [f for f in FAULTS if f.on_frames is not None]


def test_kinds_have_codes_of_their_own_and_a_threshold() -> None:
    assert len(KINDS) == len(pixels.KINDS) == 26
    assert all(k.group == "image" and k.threshold is not None and k.unit for k in pixels.KINDS)
    assert {code for fault in FAULTS for code in fault.codes} == set(KINDS) - {"clipped-frame"}


@pytest.mark.parametrize("seed", range(4))
def test_a_clean_frame_is_quiet_as_png_and_as_video(seed: int) -> None:
    gray = scene(seed)
    assert found(view(gray)) == set()
    assert found(view(decode_gray(encode_gray(gray[None]))[0])) == set()


def test_every_kind_that_a_frame_can_tell_has_one_score() -> None:
    codes = [s.code for s in pixels.frame_scores(view(scene()))]
    assert sorted(codes) == sorted(set(KINDS) - {k.code for k in repeats.KINDS})


@pytest.mark.parametrize("fault", ON_FRAME, ids=lambda f: f.name)
def test_a_planted_fault_is_found(fault) -> None:
    clean = scene(1)
    for seed in range(3):
        planted = fault.on_frame(clean.copy(), row(), np.random.default_rng(seed))
        assert planted.dtype == np.uint8
        assert planted.shape[:2] == clean.shape
        assert found(view(planted)) & set(fault.codes), (fault.name, scores(view(planted)))


@pytest.mark.parametrize("fault", ON_FRAMES, ids=lambda f: f.name)
def test_a_fault_planted_in_a_clip_is_found(fault) -> None:
    frames = fault.on_frames(moving_clip(), row(), np.random.default_rng(3))
    frames = decode_gray(encode_gray(frames))
    codes = {s.code for s in watched(frames) if KINDS[s.code].is_finding(s.score)} | found(view(frames[1]))
    assert codes & set(fault.codes)


def test_a_clean_clip_is_quiet() -> None:
    frames = decode_gray(encode_gray(moving_clip()))
    assert [s for s in watched(frames) if KINDS[s.code].is_finding(s.score)] == []


def test_planting_leaves_the_clean_frame_alone() -> None:
    clean = scene(2)
    before = clean.copy()
    for fault in ON_FRAME:
        fault.on_frame(clean, row(), np.random.default_rng(0))
    assert (clean == before).all()


def test_repeated_frames_are_named_with_their_numbers() -> None:
    frames = moving_clip()
    frames[7] = frames[6]
    frames[15:19] = frames[14]
    runs = [s for s in watched(frames) if s.code == "repeated-frames"]
    assert [(s.first, s.last, s.score) for s in runs] == [(15, 18, 4.0), (7, 7, 1.0)]
    assert "labels move by" in runs[0].detail


@pytest.mark.parametrize(("moves", "expected"), [(0.0, [0.0]), (1.0, [8.0, 8.0])])
def test_a_still_life_repeats_nothing_unless_labels_move(moves: float, expected: list[float]) -> None:
    frames = np.repeat(scene()[None], 19, 0)
    frames[9, 100:140, 100:140] = 0  # a fortieth of the frame, for one frame
    watch = repeats.PixelWatch(ItemView("a", "video", "train", True, {}, 30.0, 19, SIZE, SIZE))
    for k, gray in enumerate(frames):
        watch.add(view(gray, k, moves * k))
    assert [s.score for s in watch.finish() if s.code == "repeated-frames"] == expected


def test_a_clip_of_one_frame_has_no_score() -> None:
    assert watched(scene()[None]) == []


def test_frames_of_another_size_start_anew() -> None:
    item = ItemView("a", "video", "train", True, {}, 30.0, 3, SIZE, SIZE)
    watch = repeats.PixelWatch(item)
    for k, size in enumerate((64, 32, 64)):
        gray = np.full((size, size), 9, np.uint8)
        watch.add(FrameView(k, gray, gray))
    assert list(watch.finish()) == []


def test_what_needs_a_face_cannot_be_told_without_one() -> None:
    frame = replace(view(scene()), bbox=None, landmarks=None)
    told = scores(frame)
    assert math.isnan(told["blur"])
    assert math.isnan(told["motion-blur"])
    assert math.isnan(told["black-hot"])
    assert "clipped-hot" not in told
    nowhere = replace(frame, bbox=np.full(4, np.nan, np.float32))
    assert math.isnan(scores(nowhere)["blur"])


def test_polarity_is_the_sign_of_the_contrast() -> None:
    gray = scene()
    assert scores(view(gray))["black-hot"] == pytest.approx(-scores(view(255 - gray))["black-hot"], abs=0.03)
    tight = replace(view(gray), bbox=np.array([0, 0, SIZE, SIZE], np.float32), landmarks=None)
    assert math.isnan(scores(tight)["black-hot"])


@given(sigma=st.floats(2.0, 12.0), seed=st.integers(0, 99))
@settings(max_examples=20, deadline=None)
def test_noise_is_measured_in_gray_levels(sigma: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    gray = np.clip(np.rint(128 + rng.normal(0, sigma, (128, 128))), 0, 255).astype(np.uint8)
    # the blur keeps the mean of its neighbours; what it takes away has 0.94 of white noise's deviation
    assert noise.noise_level(gray) == pytest.approx(0.94 * sigma, rel=0.1, abs=0.1)


@given(size=st.floats(2.0, 8.0), seed=st.integers(0, 99))
@settings(max_examples=20, deadline=None)
def test_stripes_are_measured_in_gray_levels(size: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    offsets = rng.normal(0, size, (SIZE, 1))
    gray = np.clip(100 + offsets + rng.normal(0, 2, (SIZE, 64)), 0, 255).astype(np.uint8)
    seen = noise.stripes(gray, 5, 0.5)
    assert 0.6 * size < seen < 1.1 * size


@given(rows=st.lists(st.integers(3, 120), min_size=1, max_size=1), level=st.sampled_from([0, 255]))
@settings(max_examples=20, deadline=None)
def test_a_stuck_row_is_named(rows: list[int], level: int) -> None:
    gray = np.full((128, 64), 100, np.uint8)
    gray[rows] = level
    assert noise.stuck_line(gray) == (abs(level - 100), rows[0])


def test_lone_pixels_are_counted_and_beads_are_not() -> None:
    gray = np.full((200, 200), 100, np.uint8)
    gray[20:180:40, 20:180:40] = 200
    assert noise.lone_pixels(gray) == (16, 16 / 40000)
    beads = np.full((200, 200), 100, np.uint8)
    beads[100, 20:180:6] = 20
    assert noise.lone_pixels(beads)[0] == 0


@given(count=st.integers(4, 60), side=st.sampled_from(["top", "bottom", "left", "right"]))
@settings(max_examples=20, deadline=None)
def test_a_border_is_measured(count: int, side: str) -> None:
    gray = scene().copy()
    part = {"top": np.s_[:count], "bottom": np.s_[-count:], "left": np.s_[:, :count], "right": np.s_[:, -count:]}[side]
    gray[part] = 128
    border = next(s for s in composition.frame_scores(view(gray)) if s.code == "border")
    assert border.score == pytest.approx(count / SIZE)
    assert side in border.detail


def test_a_dark_background_is_no_border() -> None:
    gray = np.zeros((SIZE, SIZE), np.uint8)
    cv2.circle(gray, (128, 150), 60, 200, -1)
    assert scores(view(gray))["border"] == 0


@given(quality=st.integers(5, 25))
@settings(max_examples=10, deadline=None)
def test_blocks_show_where_jpeg_cut(quality: int) -> None:
    gray = scene()
    coded = cv2.imdecode(cv2.imencode(".jpg", gray, [cv2.IMWRITE_JPEG_QUALITY, quality])[1], cv2.IMREAD_GRAYSCALE)
    shifted = coded[3:, 5:]  # a crop moves the grid
    for image in (coded, shifted, coded.T):
        assert sharpness.block_steps(np.ascontiguousarray(image)) > 3 * sharpness.block_steps(gray) + 0.3


@pytest.mark.parametrize("factor", [2, 3, 4, 8])
def test_repeated_columns_are_a_share(factor: int) -> None:
    gray = np.repeat(scene()[:, : SIZE // factor], factor, 1)
    assert sharpness.repeated_columns(gray) == pytest.approx(1 - 1 / factor, abs=0.01)
    assert sharpness.repeated_columns(scene()) == 0


def test_blur_grows_with_its_width() -> None:
    widths = [sharpness.edge_widths(view(cv2.GaussianBlur(scene(), (0, 0), s)))[0] for s in (0.5, 2, 4, 8)]
    assert widths == sorted(widths)
    assert widths[0] < 2 < KINDS["blur"].threshold < widths[-1]


def test_colour_is_the_share_of_unequal_channels() -> None:
    rgb = np.repeat(scene()[..., None], 3, 2)
    assert scores(view(rgb))["coloured"] == 0
    rgb[:64] = (250, 20, 20)
    assert scores(view(rgb))["coloured"] == pytest.approx(0.25)


def test_clipping_is_a_share_of_the_face() -> None:
    gray = scene().clip(0, 200).copy()
    region = tones.face_region(view(gray))
    assert region is not None
    assert np.shares_memory(region, gray)
    region[: len(region) // 2] = 255
    assert scores(view(gray))["clipped-hot"] == pytest.approx(0.5, abs=0.01)


@given(
    height=st.integers(1, 70),
    width=st.integers(1, 70),
    kind=st.sampled_from(["flat", "noise", "ramp"]),
    box=st.lists(st.floats(-50, 120, width=32), min_size=4, max_size=4),
)
@settings(max_examples=60, deadline=None)
def test_any_frame_and_box_can_be_scored(height: int, width: int, kind: str, box: list[float]) -> None:
    gray = {
        "flat": np.full((height, width), 77, np.uint8),
        "noise": np.random.default_rng(height).integers(0, 256, (height, width), np.uint8),
        "ramp": np.linspace(0, 255, height * width).reshape(height, width).astype(np.uint8),
    }[kind]
    frame = FrameView(0, gray, gray, np.array(box, np.float32), np.full((68, 2), box[0], np.float32))
    for score in pixels.frame_scores(frame):
        assert score.code in KINDS
        assert isinstance(score.score, float)
        assert not math.isinf(score.score)
    item = ItemView("a", "video", "train", True, {}, None, 3, width, height)
    watch = repeats.PixelWatch(item)
    for k in range(3):
        watch.add(replace(frame, index=k))
    assert {s.code for s in watch.finish()} <= set(KINDS)
