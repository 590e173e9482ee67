"""Folders of pictures and drivers to clips: finished ones are kept, broken ones cost nothing else."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from moving_faces import levels, ovals, write_video
from safetensors.torch import load_file, save_file

import thermvision_db
from thermvision.annotations.errors import UsageError
from thermvision.curation.video import decode_gray, min_psnr
from thermvision.generation import animate as animate_module
from thermvision.generation.animate import Animated, AnimateSettings, animate_files, find_pairs
from thermvision.generation.engines.liveportrait import driver as driver_module
from thermvision.generation.engines.liveportrait.engine import NOISE, LivePortraitEngine
from thermvision.generation.engines.liveportrait.keypoints import rotation_matrix
from thermvision.generation.engines.liveportrait.layers import NARROW
from thermvision.generation.engines.liveportrait.random_weights import random_checkpoint
from thermvision.generation.engines.liveportrait.template import MotionTemplate, read_template, write_template
from thermvision.generation.run import encode_png, pixels_digest

pytestmark = pytest.mark.usefixtures("ovals_are_faces")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "faces").mkdir()
    (tmp_path / "faces" / "ann.png").write_bytes(encode_png(ovals(100, 120, (60, 50))))
    (tmp_path / "faces" / "bob.png").write_bytes(encode_png(ovals(100, 120, (50, 50))))
    write_video(tmp_path / "nod.mkv", [ovals(64, 64, (30, 26 + 2 * n), radius=14) for n in range(2)])
    cv2.imwrite(str(tmp_path / "still.png"), ovals(64, 64, (32, 30), radius=14))
    return tmp_path


def run(
    folder: Path, sources: list[str], drivers: list[str], settings: AnimateSettings | None = None, **more
) -> Animated:
    pairs = find_pairs([folder / s for s in sources], [folder / d for d in drivers])
    engine = LivePortraitEngine("random")
    return animate_files(pairs, folder / "out", engine, settings or AnimateSettings(), quiet=True, **more)


def test_every_picture_with_every_driver(folder: Path):
    names = [p.name for p in find_pairs([folder / "faces"], [folder / "nod.mkv", folder / "still.png"])]
    assert names == ["ann/nod", "ann/still", "bob/nod", "bob/still"]
    (folder / "more").mkdir()
    (folder / "more" / "ann.jpg").write_bytes(b"")
    with pytest.raises(UsageError, match="two pictures are called 'ann'"):
        find_pairs([folder / "faces", folder / "more"], [folder / "nod.mkv"])
    for source, said in (
        ("nod.mkv", "is no picture"),
        ("nowhere", "does not exist"),
        ("nowhere.png", "does not exist"),
    ):
        with pytest.raises(UsageError, match=said):
            find_pairs([folder / source], [folder / "nod.mkv"])


@pytest.mark.slow
def test_clips_are_kept_whatever_fails_and_a_second_run_goes_on(folder: Path, monkeypatch: pytest.MonkeyPatch):
    (folder / "faces" / "nobody.png").write_bytes(encode_png(ovals(64, 64)))
    (folder / "broken.mp4").write_bytes(b"\0" * 64)
    read = []
    real = driver_module.read_driver
    monkeypatch.setattr(driver_module, "read_driver", lambda *a, **k: read.append(a[1].name) or real(*a, **k))
    done = run(folder, ["faces"], ["broken.mp4", "still.png"])
    assert done.made == ("ann/still", "bob/still")
    assert [(f.path, f.code) for f in done.findings] == [
        ("broken.mp4", "damaged-input"),
        ("nobody/still", "damaged-input"),
    ]
    assert read == ["broken.mp4", "still.png"]  # once each, for three faces
    out = folder / "out"
    before = {p: p.read_bytes() for p in sorted(out.rglob("*")) if p.is_file()}
    again = run(folder, ["faces/ann.png", "faces/bob.png"], ["still.png", "nod.mkv"])
    assert again.kept == ("ann/still", "bob/still")
    assert again.made == ("ann/nod", "bob/nod")
    assert all(p.read_bytes() == data for p, data in before.items())
    with pytest.raises(UsageError, match=r"made of other files or with other options; choose another --out"):
        run(folder, ["faces/ann.png"], ["still.png"], AnimateSettings(options={"stitching": False}))
    (out / "ann" / "still.mp4").write_bytes(b"cut")
    assert run(folder, ["faces/ann.png"], ["still.png"]).made == ("ann/still",)
    assert (out / "ann" / "still.mp4").read_bytes() == before[out / "ann" / "still.mp4"]


@pytest.mark.slow
def test_an_interrupt_loses_no_finished_clip(folder: Path, monkeypatch: pytest.MonkeyPatch):
    real, drawn = animate_module._draw, []

    def stop_at_the_second(engine, pair, *rest):
        if drawn:
            raise KeyboardInterrupt
        drawn.append(pair.name)
        return real(engine, pair, *rest)

    monkeypatch.setattr(animate_module, "_draw", stop_at_the_second)
    with pytest.raises(KeyboardInterrupt):
        run(folder, ["faces"], ["still.png"])
    monkeypatch.setattr(animate_module, "_draw", real)
    done = run(folder, ["faces"], ["still.png"])
    assert (done.kept, done.made) == (("ann/still",), ("bob/still",))


@pytest.mark.slow
def test_what_is_written_agrees_with_itself(folder: Path):
    done = run(
        folder, ["faces/ann.png"], ["nod.mkv"], AnimateSettings(paste_back=True, preprocess=("equalize",)), png=True
    )
    assert done.frames == 2
    out = folder / "out" / "ann"
    record = json.loads((out / "nod.json").read_text())
    frames = np.stack([cv2.imread(str(out / "nod" / f"frame_{n:04d}.png"), cv2.IMREAD_UNCHANGED) for n in range(2)])
    assert record["frames"] == [2, 100, 120] == list(frames.shape)
    assert record["raw_pixels_sha256"] == pixels_digest(frames)
    assert min_psnr(frames, decode_gray(out / "nod.mp4")) >= 40
    assert record["settings"]["preprocess"] == ["equalize"]
    assert record["pixels"] == NOISE
    assert record["annotation_source"] == f"ovals@0 ({NOISE})"
    assert str(folder) not in json.dumps(record)
    made_by = json.loads((out / "nod.csv.annotation_source.json").read_text())
    assert made_by["annotation_source"] == record["annotation_source"]
    table = list(csv.DictReader(io.StringIO((out / "nod.csv").read_text())))
    assert {row["path"] for row in table} <= {f"ann/nod/frame_{n:04d}.png" for n in range(2)}
    assert len(table) >= 2


def command(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    code = thermvision_db.main([str(a) for a in arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


@pytest.mark.slow
def test_the_command_animate(folder: Path, capsys: pytest.CaptureFixture[str]):
    asked = ["animate", folder / "faces" / "ann.png", "--driving", folder / "still.png", "--out", folder / "out"]
    code, text, _ = command(capsys, *asked, "--weights", "random", "--dry-run")
    assert (code, (folder / "out").exists()) == (0, False)
    assert "1 clips:" in text
    code, text, _ = command(capsys, *asked, "--weights", "random", "--format", "parquet", "--quiet")
    assert code == 0
    assert f"1 clips, 1 frames; by liveportrait-random@1.0 ({NOISE})" in text
    assert pq.read_table(folder / "out" / "ann" / "still.parquet").num_rows >= 1
    code, text, _ = command(capsys, *asked, "--weights", "random", "--format", "parquet", "--json", "--quiet")
    assert (code, json.loads(text)["kept"]) == (0, ["ann/still"])
    assert command(capsys, *asked, "--weights", "random", "--region", "nose")[0] == 2
    assert command(capsys, *asked, "--weights", "random", "--preprocess", "blur")[0] == 2
    assert command(capsys, *asked, "--weights", folder / "none")[0] == 3
    (folder / "bad.mp4").write_bytes(b"")
    asked = ["animate", folder / "faces", "--driving", folder / "bad.mp4", "--out", folder / "o"]
    code, text, error = command(capsys, *asked, "--weights", "random", "--quiet")
    assert code == 1
    assert "bad.mp4" in error
    assert "next:" not in text  # nothing was made
    assert "the others" not in error


def test_what_is_wrong_with_every_clip_is_told_once_and_at_once(
    folder: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
):
    weights = tmp_path / "weights"
    random_checkpoint(weights, NARROW)
    warping = weights / "warping_module.safetensors"
    tensors = load_file(warping)
    tensors["fourth.bias"][0] = np.nan
    save_file(tensors, warping)
    asked = ["animate", folder / "faces", "--driving", folder / "still.png", "--out", folder / "o", "--quiet"]
    code, text, error = command(capsys, *asked, "--weights", weights)
    assert (code, text, error.count("fourth.bias has 1 NaN")) == (4, "", 1)
    for wrong in (("--device", "gpu"), ("--anchor", "middle"), ("--anchor", "-1")):
        code, text, error = command(capsys, *asked, "--weights", "random", *wrong)
        assert (code, text, error.count(f"{wrong[1]!r}; allowed: ")) == (2, "", 1)
    assert not (folder / "o").exists()


@pytest.mark.parametrize(("absolute", "told"), [(False, 1), (True, 0)])
def test_a_turned_first_frame_is_told_where_motion_counts_from_it(folder: Path, absolute: bool, told: int):
    none = torch.zeros(2, 1)
    turns = rotation_matrix(none, torch.tensor([[30.0], [0.0]]), none).numpy()
    one = np.ones((2, 1))
    write_template(
        folder / "t.npz", MotionTemplate(25, one, turns, np.zeros((2, 21, 3)), np.zeros((2, 3)), lips=0 * one)
    )
    settings = AnimateSettings(options={"relative": False} if absolute else {})
    done = run(folder, ["faces/ann.png"], ["t.npz"], settings)
    assert [note.partition(" (")[0] for note in done.notes] == ["t.npz: the first driving frame is not neutral"] * told


@pytest.mark.slow
def test_the_commands_motion_and_retarget(folder: Path, capsys: pytest.CaptureFixture[str]):
    out = folder / "nod.npz"
    code, text, _ = command(capsys, "motion", folder / "nod.mkv", "--out", out, "--weights", "random")
    assert code == 0
    assert "2 frames at 25 a second; nearest to neutral is frame" in text
    assert len(read_template(out)) == 2
    assert command(capsys, "motion", folder / "nod.mkv", "--out", folder / "nod.pkl", "--weights", "random")[0] == 2
    write_video(folder / "wide.mkv", levels(1, 64, 96))
    assert command(capsys, "motion", folder / "wide.mkv", "--out", folder / "w.npz", "--weights", "random")[0] == 4
    asked = ["retarget", folder / "faces" / "ann.png", "--weights", "random", "--out", folder / "r.png"]
    code, text, _ = command(capsys, *asked, "--lips", "0.3", "--yaw", "12", "--paste-back")
    assert code == 0
    assert cv2.imread(str(folder / "r.png"), cv2.IMREAD_UNCHANGED).shape == (100, 120)
    record = json.loads((folder / "r.json").read_text())
    assert (record["settings"]["lips"], record["pixels"]) == (0.3, NOISE)
    assert command(capsys, *asked, "--eyes", "7")[0] == 2
    face = folder / "faces" / "ann.png"
    before = face.read_bytes()
    code, _, error = command(
        capsys, "retarget", face, "--weights", "random", "--out", folder / "faces" / "." / "ann.png"
    )
    assert (code, face.read_bytes() == before) == (2, True)
    assert "the picture itself" in error
    (folder / "two.png").write_bytes(encode_png(ovals(100, 160, (40, 50), (120, 50))))
    code, text, _ = command(
        capsys, "retarget", folder / "two.png", "--weights", "random", "--out", folder / "2.png", "--yaw", "5"
    )
    assert (code, "two.png: 2 faces; the largest is animated" in text) == (0, True)
