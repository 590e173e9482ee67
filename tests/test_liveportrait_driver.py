"""Driving videos of every kind to motion templates, and which frame motion counts from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from moving_faces import EYES, LIPS, OvalAnnotator, face_points, levels, ovals, write_video

from thermvision.annotations.errors import DamagedInputError, UsageError
from thermvision.generation.engines.liveportrait import driver as driver_module
from thermvision.generation.engines.liveportrait.crop import driving_bbox, driving_crop_matrix, warp_image
from thermvision.generation.engines.liveportrait.driver import choose_anchor, read_driver
from thermvision.generation.engines.liveportrait.faces import FaceReader
from thermvision.generation.engines.liveportrait.keypoints import rotation_matrix, transform_keypoints
from thermvision.generation.engines.liveportrait.networks import Networks
from thermvision.generation.engines.liveportrait.template import MotionTemplate, read_template, write_template
from thermvision.generation.engines.liveportrait.tensors import image_to_tensor


@pytest.fixture(scope="module")
def networks(narrow_networks: Networks) -> Networks:
    return narrow_networks


@pytest.fixture
def shown(networks: Networks, monkeypatch: pytest.MonkeyPatch) -> list[torch.Tensor]:
    """What the motion extractor is shown, batch after batch."""
    seen: list[torch.Tensor] = []
    real = Networks.motion_of
    monkeypatch.setattr(Networks, "motion_of", lambda self, images: seen.append(images) or real(self, images))
    return seen


def drive(networks: Networks, path: Path, negative: bool = False, **options):
    return read_driver(networks, path, FaceReader(OvalAnnotator(negative)), **options)


def test_a_square_video_is_taken_as_it_is_and_needs_no_face(networks: Networks, shown, tmp_path: Path):
    frames = levels(5, 96, 96)
    done = []
    driver = drive(networks, write_video(tmp_path / "a.mkv", frames), batch=2, advance=done.append)
    template = driver.template
    assert (len(template), template.fps, template.name) == (5, 25.0, "a.mkv")
    assert (template.eyes, template.lips) == (None, None)
    assert driver.notes == ("no face was found, so it is not known how far eyes and lips are open",)
    assert done == [2, 2, 1]
    assert [len(batch) for batch in shown] == [2, 2, 1]
    assert torch.cat(shown)[:, 0, 0, 0].mul(255).round().tolist() == [10, 20, 30, 40, 50]


def test_motion_is_what_the_extractor_says_of_each_frame(networks: Networks, tmp_path: Path):
    frames = [ovals(96, 96, (40 + 3 * n, 50)) for n in range(3)]
    template = drive(networks, write_video(tmp_path / "a.mkv", frames)).template
    big = [cv2.resize(frame, (256, 256)) for frame in frames]
    motion = networks.motion_of(torch.cat([image_to_tensor(image) for image in big]))
    np.testing.assert_allclose(template.R, rotation_matrix(motion.pitch, motion.yaw, motion.roll), atol=1e-5)
    np.testing.assert_allclose(template.exp, motion.exp, atol=1e-6)
    np.testing.assert_allclose(template.x_s, transform_keypoints(motion), atol=1e-5)
    np.testing.assert_allclose(template.eyes, np.full((3, 2), EYES), atol=1e-5)
    np.testing.assert_allclose(template.lips, np.full((3, 1), LIPS), atol=1e-5)


def test_another_shape_is_cropped_to_the_mean_window(networks: Networks, shown, tmp_path: Path):
    frames = [ovals(120, 201, (60 + 10 * n, 60)) for n in range(3)]
    path = write_video(tmp_path / "wide.mkv", frames)
    driver = drive(networks, path)
    assert driver.notes == ()
    boxes = [driving_bbox(face_points((40 + 10 * n, 40, 41, 41))) for n in range(3)]
    matrix = driving_crop_matrix(np.mean(boxes, axis=0))
    for image, frame in zip(torch.cat(shown), frames, strict=True):
        wanted = cv2.resize(warp_image(frame, matrix, 512, 512), (256, 256))
        assert np.abs(image[0].mul(255).numpy() - wanted).max() <= 1
    shown.clear()
    drive(networks, path, crop=False)
    assert torch.cat(shown)[0, 0, 0, 0] * 255 == pytest.approx(30, abs=0.01)  # the corner is not black: no crop


def test_the_window_is_held_where_the_face_is_lost(networks: Networks, tmp_path: Path):
    centres = [None, (60, 60), None, None, (70, 60), (70, 60)]
    frames = [ovals(120, 200, *([c] if c else [])) for c in centres]
    driver = drive(networks, write_video(tmp_path / "a.mkv", frames))
    assert driver.notes == ("no face in 3 of 6 frames (0, 2-3); window and openness are held there",)
    assert len(driver.template) == 6
    assert driver.template.eyes is not None


def test_no_face_at_all_and_several(networks: Networks, tmp_path: Path):
    with pytest.raises(DamagedInputError, match=r"a.mkv has 200 x 120 pixels and shows no face in 2 frames; allowed"):
        drive(networks, write_video(tmp_path / "a.mkv", [ovals(120, 200)] * 2))
    two = [ovals(120, 200, (60, 60), (150, 60))] * 2
    driver = drive(networks, write_video(tmp_path / "b.mkv", two))
    assert driver.notes == ("up to 2 faces in a frame; the largest of the first frame is followed",)


def test_variable_rate_is_resampled_by_time(networks: Networks, shown, tmp_path: Path):
    path = write_video(tmp_path / "slow.mkv", levels(4), times=[0, 110, 410, 500], fps=1000)
    template = drive(networks, path).template
    assert template.fps == pytest.approx(6)
    seen = torch.cat(shown)[:, 0, 0, 0].mul(255).round().tolist()
    assert len(seen) == len(template)
    times = np.arange(len(seen)) / template.fps
    nearest = np.abs(times[:, None] - [0, 0.11, 0.41, 0.5]).argmin(1)
    assert seen == [[10, 20, 30, 40][n] for n in nearest]
    assert times[-1] == pytest.approx(0.5, abs=0.5 / template.fps)


def test_one_frame_and_a_picture_are_one_and_the_same(networks: Networks, tmp_path: Path):
    frame = ovals(96, 96, (50, 50))
    one = drive(networks, write_video(tmp_path / "a.mkv", [frame])).template
    cv2.imwrite(str(tmp_path / "a.png"), frame)
    picture = drive(networks, tmp_path / "a.png").template
    assert len(one) == len(picture) == 1
    assert picture.fps == 25
    np.testing.assert_array_equal(one.exp, picture.exp)
    colour = cv2.applyColorMap(frame, cv2.COLORMAP_JET)
    cv2.imwrite(str(tmp_path / "b.png"), colour)
    assert len(drive(networks, tmp_path / "b.png", crop=False).template) == 1


def test_frames_are_shown_as_they_are_though_a_detector_looks_at_the_negative(
    networks: Networks, shown, tmp_path: Path
):
    drive(networks, write_video(tmp_path / "a.mkv", [255 - ovals(96, 96, (50, 50))]), negative=True)
    assert shown[0][0, 0, 0, 0] * 255 == pytest.approx(225, abs=0.01)


def test_templates_are_read_as_they_are(networks: Networks, tmp_path: Path):
    made = drive(networks, write_video(tmp_path / "a.mkv", levels(2))).template
    stored = write_template(tmp_path / "a.npz", made)
    assert stored.sha256 == read_template(tmp_path / "a.npz").sha256
    np.testing.assert_array_equal(drive(networks, tmp_path / "a.npz").template.R, made.R)


def test_what_is_no_driver(networks: Networks, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "a.txt").write_text("no video")
    with pytest.raises(UsageError, match=r"ends in '.txt'; allowed: .npz .pkl .mp4"):
        drive(networks, tmp_path / "a.txt")
    with pytest.raises(UsageError, match="does not exist"):
        drive(networks, tmp_path / "b.mp4")
    (tmp_path / "c.mp4").write_bytes(b"\0" * 100)
    with pytest.raises(DamagedInputError, match="does not decode"):
        drive(networks, tmp_path / "c.mp4")
    deep = np.zeros((64, 64), np.uint16)
    cv2.imwrite(str(tmp_path / "deep.png"), deep)
    with pytest.raises(DamagedInputError, match="8-bit"):
        drive(networks, tmp_path / "deep.png")
    monkeypatch.setattr(driver_module, "MAX_FRAMES", 3)
    with pytest.raises(DamagedInputError, match="has 4 frames; allowed: 3"):
        drive(networks, write_video(tmp_path / "long.mkv", levels(4)))


def turned(*yaw: float, lips: float = 0.0) -> MotionTemplate:
    degrees = torch.tensor(yaw)
    none, n = torch.zeros(len(yaw)), len(yaw)
    turn = rotation_matrix(none, -degrees, none).numpy()
    return MotionTemplate(
        25, np.ones((n, 1)), turn, np.zeros((n, 21, 3)), np.zeros((n, 3)), np.full((n, 2), 0.3), np.full((n, 1), lips)
    )


def test_a_first_frame_that_is_not_neutral_is_told_with_the_best_one():
    assert choose_anchor(turned(2, 40), "first") == (0, None)
    anchor, said = choose_anchor(turned(30, 15, 1, 20), "first")
    assert anchor == 0
    assert said is not None
    assert "30 degrees" in said.replace("-", "")
    assert 'frame 2: type --anchor best, or anchor = "best" in a recipe' in said
    assert "mouth open 0.40" in str(choose_anchor(turned(0, 0, lips=0.4), "first")[1])
    assert choose_anchor(turned(30, 15, 1, 20), "best") == (2, None)
    assert choose_anchor(turned(30, 15, 1, 20), "3") == (3, None)
    # one picture has no other frame, and is compared with a neutral mouth
    assert choose_anchor(turned(30), "first") == (0, None)


@pytest.mark.parametrize("wanted", ["4", "-1", "middle", "", "1.5"])
def test_an_anchor_that_is_not_there(wanted: str):
    with pytest.raises(UsageError, match="allowed: first, best, or a frame from 0 to 3"):
        choose_anchor(replace(turned(1, 2, 3, 4)), wanted)
