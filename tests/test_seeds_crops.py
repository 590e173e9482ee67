"""Windows stay in the picture and hold the face; buckets are those of the trainers; captions tell what is known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from thermvision.annotations.errors import DamagedInputError, UsageError
from thermvision.curation.video import encode_gray
from thermvision.generation import prompts
from thermvision.generation.flux_tables import FluxTable
from thermvision.generation.seeds import captions, crops
from thermvision.generation.seeds.captions import caption, pose_of
from thermvision.generation.seeds.holdout import assign, disjoint
from thermvision.generation.seeds.sources import Seed
from thermvision.generation.seeds.videos import draw

sides = st.integers(20, 700)


@given(sides, sides, st.floats(-20, 700), st.floats(-20, 700), st.floats(5, 500), st.floats(5, 500))
def test_a_face_window_is_a_square_in_the_picture(w: int, h: int, x: float, y: float, bw: float, bh: float) -> None:
    window = crops.face_window((x, y, bw, bh), w, h)
    assert window.width == window.height <= min(w, h)
    assert 0 <= window.x <= w - window.width
    assert 0 <= window.y <= h - window.height


@given(sides, sides, st.sampled_from((256, 512, 768, 1024)))
def test_a_bucket_is_legal_and_near(w: int, h: int, size: int) -> None:
    width, height = crops.bucket(w, h, size)
    assert width % 64 == height % 64 == 0
    assert width * height <= size * size
    assert min(256, size) <= min(width, height)
    assert max(width, height) <= 1024
    assert crops.bucket(h, w, size) in {(height, width), (width, height)}
    window = crops.whole_window(w, h, size)
    assert window.x >= 0
    assert window.y >= 0
    assert window.x + window.width <= w
    assert window.y + window.height <= h


def test_buckets_of_the_articles_sizes() -> None:
    assert [crops.bucket(100, 100, size) for size in crops.SIZES] == [(512, 512), (768, 768), (1024, 1024)]
    assert crops.bucket(464, 348, 1024) == (1024, 768)
    assert crops.bucket(348, 464, 1024) == (768, 1024)
    assert crops.check_sizes([1024, 512]) == (512, 1024)
    for bad in ([], [500], [512, 512], [128], [4096]):
        with pytest.raises(UsageError, match="--size is"):
            crops.check_sizes(bad)


def test_resizing_keeps_the_mean() -> None:
    values = np.random.default_rng(0).random((90, 120)).astype(np.float32)
    for width, height in ((60, 45), (480, 360)):
        assert float(crops.resized(values, width, height).mean()) == pytest.approx(float(values.mean()), abs=2e-3)


def test_captions_say_only_what_is_known() -> None:
    assert caption({}) == "thermal infrared (LWIR) portrait photo of a person, grayscale, white-hot"
    everything = {
        "gender": "male", "age": "52", "pose": "profile", "expression": "smile", "accessories": "sunglasses",
        "AirTemp": "21.5",
    }  # fmt: skip
    assert caption(everything, "tv") == (
        "tv, thermal infrared (LWIR) portrait photo of a middle-aged man, profile view, smiling, wearing sunglasses,"
        " grayscale, white-hot"
    )
    assert ", angry expression, " in caption({"expression": "angry", "age": "?", "pose": "odd"})
    assert [caption({"age": age}).split("of a ")[1].split(",")[0] for age in ("9", "18", "40", "75", "99")] == [
        "person", "young person", "person", "senior person", "person",
    ]  # fmt: skip


def test_captions_are_in_the_words_of_prompts() -> None:
    made = prompts.Attributes("female", "18-29", pose="left", expression="smile", accessory="glasses")
    asked = prompts.prompt_of(made, FluxTable())[0][0]
    told = caption({"gender": "female", "age": "20", "pose": "left", "expression": "smile", "accessories": "glasses"})
    assert set(told.split(", ")) < set(asked.split(", "))
    assert prompts.DEFAULT.startswith(captions.STYLE)


def test_poses_from_angles() -> None:
    angles = [(0, 0, 0), (11.2, 0, 0), (-11.3, 40, 0), (56, 0, 0), (57, 0, 0), (-90, 0, 0), (0, 20, 9), (3, -3, -20)]
    assert [pose_of(angle) for angle in angles] == [
        "frontal", "frontal", "left", "right", "right_profile", "left_profile", "up", "tilted",
    ]  # fmt: skip
    assert all(pose_of(angle) in captions.POSES for angle in angles)
    assert pose_of([np.nan, 0, 0]) == ""


def people(splits: dict[str, list[str]]) -> list[Seed]:
    return [Seed(f"{s}/{k}.png", Path("x"), s, split) for s, all_ in splits.items() for k, split in enumerate(all_)]


@given(st.integers(1, 40), st.floats(0, 0.9), st.integers(0, 99))
def test_hold_outs_are_whole_subjects_of_the_asked_share(count: int, share: float, seed: int) -> None:
    seeds = people({f"p{k}": ["", ""] for k in range(count)})
    splits, findings = assign(seeds, share, seed)
    held = sum(split == "holdout" for split in splits.values())
    assert not findings
    assert held == min(int(np.ceil(share * count - 1e-9)), count - 1)
    assert disjoint([{"subject": s.subject, "split": splits[s.subject]} for s in seeds])
    assert splits == assign(seeds[::-1], share, seed)[0]


def test_another_seed_holds_out_others() -> None:
    seeds = people({f"p{k}": [""] for k in range(20)})
    assert assign(seeds, 0.5, 0)[0] != assign(seeds, 0.5, 1)[0]


def test_a_data_sets_own_split_counts_and_overlaps_are_held_out() -> None:
    seeds = people({"a": ["train"], "b": ["holdout"], "c": ["train", "holdout"], "d": ["train"]})
    splits, findings = assign(seeds, 0.9)
    assert splits == {"a": "train", "b": "holdout", "c": "holdout", "d": "train"}
    assert [(f.path, f.code) for f in findings] == [("c", "split-overlap")]
    with pytest.raises(UsageError, match="--holdout is 1"):
        assign(seeds, 1)


def video(path: Path, count: int, sharp: set[int]) -> Path:
    """Frames of their number's brightness; the sharp ones have a hard edge, the others none."""
    frames = np.zeros((count, 48, 64), np.uint8)
    for k in range(count):
        ramp = np.linspace(0, 100, 64)
        frames[k] = np.where(np.arange(64) < 32, 0, 100) + k if k in sharp else ramp + k
    path.write_bytes(encode_gray(frames, crf=0))
    return path


def test_the_sharpest_frame_of_each_part_is_drawn(tmp_path: Path) -> None:
    clip = video(tmp_path / "a.mp4", 30, {4, 13, 29})
    drawn = list(draw(clip, 3))
    assert [number for number, _ in drawn] == [4, 13, 29]
    assert [int(pixels[0, 0]) for _, pixels in drawn] == [4, 13, 29]


def test_a_short_video_gives_all_its_frames(tmp_path: Path) -> None:
    clip = video(tmp_path / "a.mp4", 3, set())
    assert [number for number, _ in draw(clip, 10)] == [0, 1, 2]
    assert [number for number, _ in draw(clip, 1)] == [0]
    with pytest.raises(UsageError, match="allowed: 1 or more"):
        list(draw(clip, 0))
    (tmp_path / "b.mp4").write_bytes(b"nothing")
    with pytest.raises(DamagedInputError):
        list(draw(tmp_path / "b.mp4", 2))
