"""The engine behind `build`: clips of stills and pictures, released like any other."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from moving_faces import levels, ovals, write_video

import thermvision_db
from thermvision.annotations.errors import DamagedInputError, MissingDependencyError, UsageError
from thermvision.annotations.schema import CATEGORIES, FrameAnnotation
from thermvision.curation.release import read_release
from thermvision.curation.verify import verify_release
from thermvision.generation.animations import input_file
from thermvision.generation.build import build_release, prepare
from thermvision.generation.engines import get_engine
from thermvision.generation.engines.liveportrait import driver as driver_module
from thermvision.generation.engines.liveportrait.engine import NOISE, LivePortraitEngine
from thermvision.generation.engines.liveportrait.layers import NARROW
from thermvision.generation.engines.liveportrait.random_weights import random_checkpoint
from thermvision.generation.preprocess import STEPS
from thermvision.generation.run import encode_png, pixels_digest
from thermvision.generation.specs import Animation, ClipSpec, InputFile, SceneSpec, StillSpec, Subject

pytestmark = pytest.mark.usefixtures("ovals_are_faces")

RECIPE = """
name = "Moved"
version = "1.0"
seed = 3
[subjects]
female = 1
male = 1
[clips]
engine = "liveportrait"
size = 64
fps = 25
head_pose = 2
expression = 1
driving = "nod.mkv"
weights = "random"
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_video(tmp_path / "nod.mkv", [ovals(64, 64, (30, 26 + 2 * n), radius=14) for n in range(3)])
    (tmp_path / "a.png").write_bytes(encode_png(ovals(150, 180, (90, 70))))
    return tmp_path


def clip(folder: Path, **changes: object) -> ClipSpec:
    animation = Animation(input_file(folder / "a.png"), input_file(folder / "nod.mkv"), weights="random")
    subject = Subject("P_000000", 0, "female", 3)
    spec = ClipSpec("P_000000_S1", subject, "liveportrait", "head_pose", 1, 2, 25, animation=animation)
    own = {k: v for k, v in changes.items() if k in ("num_frames", "fps", "size")}
    return replace(spec, **own, animation=replace(animation, **{k: v for k, v in changes.items() if k not in own}))


@pytest.mark.slow
def test_a_clip_of_a_picture_says_all_that_made_it(folder: Path, caplog: pytest.LogCaptureFixture):
    engine, done = LivePortraitEngine("random"), []
    with caplog.at_level(logging.WARNING):
        made = engine.render(clip(folder), done.append)
    assert caplog.messages.count(NOISE) == 1
    assert made.frames.shape == (2, 512, 512)
    assert done == [1, 1]
    assert [a.source for a in made.annotations] == [f"ovals@0 ({NOISE})"] * 2
    assert made.engine["engine"] == "liveportrait-random@1.0"
    assert made.engine["pixels"] == NOISE
    assert made.attributes == {}
    torch.set_num_threads(2)  # as a build with one worker would have it
    again = LivePortraitEngine("random").render(clip(folder))
    assert torch.get_num_threads() == 2
    assert pixels_digest(again.frames) == pixels_digest(made.frames)
    small = engine.render(clip(folder, size=64))
    assert small.frames.shape == (2, 64, 64)
    assert np.abs(small.frames.mean((1, 2)) - made.frames.mean((1, 2))).max() < 1
    whole = engine.render(clip(folder, paste_back=True, preprocess=STEPS))
    assert whole.frames.shape == (2, 150, 180)


def test_motion_is_extracted_once_and_a_face_is_read_once(folder: Path, monkeypatch: pytest.MonkeyPatch):
    engine, read = LivePortraitEngine("random"), []
    real = driver_module.read_driver
    monkeypatch.setattr(driver_module, "read_driver", lambda *a, **k: read.append(a) or real(*a, **k))
    first = engine.portrait(clip(folder).animation.source)
    engine.render(clip(folder, num_frames=1))
    engine.render(clip(folder, num_frames=1, anchor="best"))
    assert len(read) == 1
    assert engine.portrait(clip(folder).animation.source) is first


def test_files_that_changed_are_refused(folder: Path):
    spec = clip(folder)
    write_video(folder / "nod.mkv", levels(2))
    with pytest.raises(DamagedInputError, match=r"nod.mkv is another file than it was"):
        LivePortraitEngine("random").render(spec)
    (folder / "a.png").unlink()
    with pytest.raises(DamagedInputError, match=r"a.png is gone; put it back"):
        LivePortraitEngine("random").render(spec)


def test_what_it_does_not_make(folder: Path):
    engine, subject = get_engine("liveportrait", weights="random"), Subject("P_000000", 0, "female", 3)
    assert engine.check(subject, "expression") is None
    assert "makes no mix; allowed: head_pose" in str(engine.check(subject, CATEGORIES[3]))
    with pytest.raises(UsageError, match=r"set clips\.driving"):
        engine.render(replace(clip(folder), animation=None))
    with pytest.raises(UsageError, match=r"set clips\.driving"):
        engine.render(StillSpec("a", subject, "liveportrait", "mix", 1))
    with pytest.raises(UsageError, match="makes no scenes"):
        engine.render_scene(SceneSpec("a", "liveportrait", 1, 0, "train", ()))


def test_weights_in_a_folder(folder: Path, monkeypatch: pytest.MonkeyPatch):
    weights = folder / "weights"
    monkeypatch.setenv("THERMVISION_LIVEPORTRAIT", str(weights))
    engine = LivePortraitEngine()
    with pytest.raises(MissingDependencyError, match=r"weights: wanted appearance_feature_extractor.safetensors"):
        engine.require()
    random_checkpoint(weights, NARROW, seed=5)
    engine = LivePortraitEngine()
    engine.require()
    assert engine.engine_id == "liveportrait-random@1.0"  # the files say so themselves
    digests = engine.model_digests()
    assert {"thermal_motion_extractor.safetensors", "detector.onnx"} <= set(digests)
    made = engine.render(clip(folder, num_frames=1))
    assert NOISE in made.annotations[0].source
    other = LivePortraitEngine("random").render(clip(folder, num_frames=1))
    assert (made.frames != other.frames).any()  # seed 5 is not seed 0
    assert engine.landmark_file() is None
    (weights / "landmark.onnx").write_bytes(b"no model")
    assert engine.landmark_file() == weights / "landmark.onnx"
    with pytest.raises(DamagedInputError, match=r"weights/landmark\.onnx: .*fetch it again, or remove it"):
        LivePortraitEngine().require()


def test_half_downloaded_weights_are_named(folder: Path):
    weights = folder / "weights"
    random_checkpoint(weights, NARROW)
    whole = (weights / "warping_module.safetensors").read_bytes()
    (weights / "warping_module.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DamagedInputError, match=r"warping_module.safetensors .*half-downloaded"):
        LivePortraitEngine(str(weights)).render(clip(folder))
    with pytest.raises(DamagedInputError, match=r"warping_module.safetensors .*half-downloaded"):
        LivePortraitEngine(str(weights)).require()  # before a build begins


def rows(root: Path, config: str) -> list[dict]:
    return [r for s in read_release(root).shards_of(config) for r in pq.read_table(root / s.path).to_pylist()]


@pytest.mark.slow
def test_a_release_of_stills_that_move(folder: Path, wave_engine: None):
    text = RECIPE + "[stills]\nsize = 64\nfrontal_pose = 2\n"
    prepared = prepare(text, folder=folder)
    release = folder / "release"
    manifest = build_release(prepared, release, quiet=True)
    assert verify_release(release) == []
    assert manifest.failed == ()
    assert manifest.licences == {"liveportrait-random@1.0": "thermvision-db-research", "waves@1": "cc-by-4.0"}
    clips = rows(release, "video")
    assert [(c["clip_id"], c["num_frames"]) for c in clips] == [
        (f"P_00000{i}_S{n}", 3 - n) for i in (0, 1) for n in (1, 2)
    ]
    for row in clips:
        provenance = json.loads(row["provenance"])
        assert row["annotation_source"] == f"ovals@0 ({NOISE})"
        assert provenance["spec"]["animation"]["driving"]["name"] == "nod.mkv"
        assert provenance["spec"]["animation"]["source"]["engine"] == "phantom"
        assert provenance["resolved"]["source"] == {"landmarks": "ground_truth"}
        assert str(folder) not in row["provenance"]
        assert thermvision_db.frames(row).shape == (row["num_frames"], 64, 64)
    again = folder / "again"
    build_release(prepare(text, folder=folder), again, quiet=True)
    assert (again / "release.json").read_bytes() == (release / "release.json").read_bytes()


def test_a_picture_without_a_face_costs_only_its_own_clips(folder: Path):
    (folder / "faces").mkdir()
    (folder / "faces" / "a.png").write_bytes(encode_png(ovals(100, 100)))
    (folder / "faces" / "b.png").write_bytes(encode_png(ovals(100, 100, (50, 50))))
    text = RECIPE.replace("weights", "source = 'faces'\nweights")
    manifest = build_release(prepare(text, folder=folder), folder / "release", quiet=True)
    assert [f.item_id for f in manifest.failed] == ["P_000000_S1", "P_000000_S2"]
    assert manifest.failed[0].code == "damaged-input"
    assert "a.png shows no face" in manifest.failed[0].reason
    assert [c["clip_id"] for c in rows(folder / "release", "video")] == ["P_000001_S1", "P_000001_S2"]


def test_a_lost_face_is_no_face_and_its_source_still_says_noise(monkeypatch: pytest.MonkeyPatch):
    engine = LivePortraitEngine("random")
    found = engine.annotate([ovals(64, 64)])
    assert isinstance(found[0], FrameAnnotation)
    assert (found[0].face_count, found[0].source) == (0, f"ovals@0 ({NOISE})")


@pytest.mark.slow
def test_a_template_in_place_of_a_video_needs_no_extraction(folder: Path):
    from thermvision.generation.engines.liveportrait.template import write_template

    engine = LivePortraitEngine("random")
    driver = engine.driver(input_file(folder / "nod.mkv"))
    write_template(folder / "nod.npz", driver.template)
    template = input_file(folder / "nod.npz")
    assert isinstance(template, InputFile)
    moved = engine.render(clip(folder, driving=template))
    assert (moved.frames == engine.render(clip(folder)).frames).all()
