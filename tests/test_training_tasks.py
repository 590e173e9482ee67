from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import thermvision_db
from thermvision.annotations import attributes, schema, session
from thermvision.annotations.attributes import AttributeReader
from thermvision.annotations.detector import ThermalDetector
from thermvision.annotations.embedder import ThermalEmbedder
from thermvision.annotations.errors import MissingDependencyError, UsageError
from thermvision.annotations.faces import Detections, FaceShape
from thermvision.annotations.landmarker import ThermalLandmarker
from thermvision.annotations.session import open_model
from thermvision.annotations.training import commands, grade, networks, tasks, train_crops, train_detector
from thermvision.annotations.training.card import LIMITS, write_card
from thermvision.annotations.training.compositor import Picture
from thermvision.annotations.training.corpus import CLASSES, Corpus, open_corpus
from thermvision.annotations.training.grade import Figure
from thermvision.annotations.training.loop import Curve, Run
from thermvision.annotations.training.tasks import TASKS, corpus_of, default_run, train_model


@pytest.fixture(scope="module")
def dolls(doll_corpus: Path) -> Corpus:
    return open_corpus(doll_corpus)


def run(capsys: pytest.CaptureFixture[str], *arguments: Any) -> tuple[int, str, str]:
    code = thermvision_db.main([str(a) for a in arguments])
    out, err = capsys.readouterr()
    return code, out, err


# tasks ---------------------------------------------------------------------------------------------------------------


def test_tasks_are_the_shipped_models_and_speak_their_language() -> None:
    assert tuple(TASKS) == commands.MODELS == session.SHIPPED == tuple(LIMITS)
    assert TASKS["attributes"].outputs == tuple(attributes.LABELS) == CLASSES
    assert {n: len(labels) for n, labels in attributes.LABELS.items()} == networks.ATTRIBUTE_SIZES
    assert len(schema.EXPRESSIONS) == networks.ATTRIBUTE_SIZES["expression"]
    for name, task in TASKS.items():
        assert task.start(3), name
        assert task.free.keys() == task.inputs.keys()


def test_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert default_run("detector") == Run(steps=10_000, size=16, rate=2.5e-3, seed=0, device="cpu", workers=1)
    chosen = default_run("embedder", "cpu", steps=7, workers=0, seed=4)
    assert (chosen.steps, chosen.workers, chosen.seed) == (7, 0, 4)
    with pytest.raises(UsageError, match="torch sees none; type: --device cpu"):
        default_run("detector", "cuda")
    with pytest.raises(UsageError, match="device is 'tpu'; allowed: auto, cpu, cuda"):
        default_run("detector", "tpu")
    with pytest.raises(UsageError, match="no model 'nose' to train; allowed: detector, landmarker"):
        default_run("nose")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert (default_run("landmarker").device, default_run("landmarker").steps) == ("cuda", 24_000)


def test_a_corpus_is_baked_once(doll_release: Path, doll_corpus: Path, tmp_path: Path) -> None:
    assert corpus_of([doll_corpus], tmp_path) == doll_corpus
    assert not list(tmp_path.iterdir())
    baked = corpus_of([doll_release], tmp_path)
    assert baked == tmp_path / "corpus"
    before = (baked / "counts.npy").stat().st_mtime_ns
    assert corpus_of([doll_release], tmp_path) == baked
    assert (baked / "counts.npy").stat().st_mtime_ns == before
    assert open_corpus(baked).digest == open_corpus(doll_corpus).digest
    with pytest.raises(UsageError, match="is no release"):
        corpus_of([tmp_path / "nothing"], tmp_path / "other")


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small chunks, and few pictures to grade by."""
    monkeypatch.setattr(train_detector, "_CHUNK", 8)
    monkeypatch.setattr(train_crops, "_CHUNK", 8)
    monkeypatch.setattr(grade, "PICTURES", 3)
    monkeypatch.setattr(grade, "EMPTY", 3)


@pytest.mark.slow
@pytest.mark.usefixtures("short")
def test_train_detector_end_to_end(capsys: Any, doll_corpus: Path, tmp_path: Path) -> None:
    out = tmp_path / "models"
    options = ("--steps", 2, "--device", "cpu", "--workers", 0, "--seed", 3)
    code, text, err = run(capsys, "train", "detector", doll_corpus, "--out", out, *options)
    assert code == 0
    assert sorted(p.name for p in out.iterdir()) == ["detector.curve.json", "detector.md", "detector.onnx"]
    assert re.match(r"step 2 seconds [\d.]+ peaks [\d.]+ boxes [\d.]+ points [\d.]+ polarity [\d.]+\n$", err)
    assert text.splitlines()[-1] == f"next: thermvision train landmarker {doll_corpus} --out {out}"

    detector = ThermalDetector(out / "detector.onnx")
    assert 0.2 <= detector.threshold <= 0.8
    found = detector.detect([np.full((80, 100), 30, np.uint8)])[0]
    assert found.black_hot is not None
    stored = open_model(out / "detector.onnx").metadata
    assert stored == {
        "corpus": open_corpus(doll_corpus).digest, "seed": "3", "steps": "2", "threshold": f"{detector.threshold:.2f}"
    }  # fmt: skip

    card = (out / "detector.md").read_text(encoding="utf-8")
    assert hashlib.sha256((out / "detector.onnx").read_bytes()).hexdigest() in card
    assert "* command: `thermvision train detector corpus --out models --steps 2 --seed 3`" in card
    assert "2 batches of 16, seed 3, learning rate 0.0025" in card
    assert "AP50, none to four faces" in card
    curve = json.loads((out / "detector.curve.json").read_text())
    assert [p["step"] for p in curve["points"]] == [2]
    assert curve["run"]["workers"] == 0

    (out / "detector.md").unlink()
    code, text, _ = run(capsys, "train", "card", "detector", doll_corpus, "--out", out)
    assert code == 0
    assert (out / "detector.md").read_text(encoding="utf-8") == card
    figures = [line for line in text.splitlines() if line.startswith("AP50, one face: ")]
    assert len(figures) == 1
    assert "6 rendered portraits" in figures[0]


@pytest.mark.slow
@pytest.mark.usefixtures("short")
@pytest.mark.parametrize("name", ["landmarker", "embedder", "attributes"])
def test_train_models_of_crops(doll_corpus: Path, dolls: Corpus, tmp_path: Path, name: str) -> None:
    chosen = Run(steps=2, size=4, workers=0)
    path = train_model(name, doll_corpus, tmp_path, chosen, f"thermvision train {name} x")
    assert sorted(p.name for p in tmp_path.iterdir()) == [f"{name}.curve.json", f"{name}.md", f"{name}.onnx"]
    row, frame = next(grade.frames(dolls, dolls.rows("test")))
    face = grade._at(dolls.bbox[row])
    if name == "landmarker":
        shape = ThermalLandmarker(path).locate(frame, face)[0]
        assert shape is not None
        assert np.isfinite(shape.landmarks).all()
    elif name == "embedder":
        vectors = ThermalEmbedder(path).embed(np.zeros((2, 112, 112), np.uint8))
        assert vectors.shape == (2, 128)
        again = train_model(name, doll_corpus, tmp_path / "again", chosen, "the same seed, the same weights")
        assert again.read_bytes() == path.read_bytes()
    else:
        assert AttributeReader(path).read(frame, face)[0].keys() == attributes.LABELS.keys()
    assert open_model(path).metadata["steps"] == "2"


# commands ------------------------------------------------------------------------------------------------------------


def test_train_corpus(capsys: Any, doll_release: Path, tmp_path: Path) -> None:
    out = tmp_path / "corpus"
    code, text, err = run(capsys, "train", "corpus", doll_release, "--out", out)
    assert (code, err) == (0, "")
    assert text.splitlines() == [
        f"{out}: 24 frames of 6 people",
        f"next: thermvision train detector {out} --out models",
    ]
    code, _, err = run(capsys, "train", "corpus", doll_release, "--out", out)
    assert code == 2
    assert "is not empty; name a new folder" in err


def test_refusals(capsys: Any, tmp_path: Path) -> None:
    code, _, err = run(capsys, "train", "landmarker", tmp_path, "--out", tmp_path / "m", "--device", "cpu")
    assert code == 2
    assert "is no release" in err
    code, _, err = run(capsys, "train", "landmarker", tmp_path, "--out", tmp_path / "m", "--device", "tpu")
    assert code == 2
    assert "allowed: auto, cpu, cuda" in err
    assert not (tmp_path / "m").exists()
    assert run(capsys, "train", "landmarker", tmp_path, "--out", tmp_path / "m", "--steps", 0)[0] == 2
    code, _, err = run(capsys, "train", "card", "nose", tmp_path, "--out", tmp_path)
    assert code == 2
    assert "no model 'nose'; allowed: detector, landmarker" in err


def test_no_card_without_a_curve(capsys: Any, doll_corpus: Path, tmp_path: Path) -> None:
    for content in (None, "[1, 2", '{"another": 1}'):
        if content:
            (tmp_path / "detector.curve.json").write_text(content)
        code, _, err = run(capsys, "train", "card", "detector", doll_corpus, "--out", tmp_path)
        assert code == 2
        assert "is no curve of a training" in err


def test_the_command_says_what_comes_next(
    capsys: Any, monkeypatch: pytest.MonkeyPatch, doll_corpus: Path, tmp_path: Path
) -> None:
    def pretend(name: str, corpus: Path, out: Path, run: Run, command: str, report: Any, start: Path | None) -> Path:
        assert (corpus, run.steps, report, start) == (doll_corpus, 5, None, None)
        out.mkdir(exist_ok=True)
        (out / f"{name}.onnx").write_bytes(bytes(2**20))
        return out / f"{name}.onnx"

    monkeypatch.setattr(tasks, "train_model", pretend)
    last = []
    for name in commands.MODELS:
        options = ("--steps", 5, "--device", "cpu", "--quiet")
        code, text, err = run(capsys, "train", name, doll_corpus, "--out", tmp_path / "m", *options)
        assert (code, err) == (0, "")
        assert f"{name}.onnx: 1.0 MiB; its card: " in text
        last.append(text.splitlines()[-1].split()[3] if "train" in text.splitlines()[-1] else text.splitlines()[-1])
    assert last == ["landmarker", "embedder", "attributes", f"next: ls {tmp_path / 'm'}"]


def test_what_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    commands.require_torch()
    monkeypatch.setattr(commands.importlib.util, "find_spec", lambda name: None if name == "onnx" else object())
    with pytest.raises(
        MissingDependencyError, match=r"training needs onnx; type: pip install 'thermvision-db\[train\]'"
    ):
        commands.require_torch()


# card ----------------------------------------------------------------------------------------------------------------


def test_card(dolls: Corpus, tmp_path: Path) -> None:
    model = tmp_path / "embedder.onnx"
    model.write_bytes(b"x" * 3 * 2**19)
    points = [{"step": 100, "seconds": 50.0}, {"step": 200, "seconds": 1230.0}]
    curve = Curve(asdict(Run(200, 8, 1e-3, 9)), points, "type this", "a box")
    figures = {"Rank-1": Figure("0.912", "some faces"), "EER": Figure("0.034", "the same")}
    write_card(tmp_path, "embedder", "embeds", dolls, curve, figures)
    lines = (tmp_path / "embedder.md").read_text(encoding="utf-8").splitlines()
    assert lines[0] == "# embedder"
    assert lines[2] == "`embedder.onnx` embeds."
    digest = hashlib.sha256(model.read_bytes()).hexdigest()
    assert f"* 1.5 MiB, SHA-256 `{digest}`" in lines
    people = "6 rendered people, 3 of them to learn from, 1 to choose by, 2 to test on"
    assert f"* data: 24 frames of {people}; releases' digest `{dolls.digest[:16]}`" in lines
    assert "* command: `type this`" in lines
    assert (
        "* run: 200 batches of 8, seed 9, learning rate 0.001; 20 minutes on a box; its curve is in"
        " `embedder.curve.json`" in lines
    )
    table = lines.index("| what | value | on |")
    assert lines[table + 2 : table + 4] == ["| Rank-1 | 0.912 | some faces |", "| EER | 0.034 | the same |"]
    assert LIMITS["embedder"] in lines


# grade ---------------------------------------------------------------------------------------------------------------

CORNER = [0.0, 0.0, 8.0, 8.0]


class Oracle:
    """A detector that knows the answer to every picture, and says more where it is told to."""

    threshold = 0.5

    def __init__(self, truth: dict[bytes, np.ndarray], lies: dict[bytes, float] | None = None) -> None:
        self.truth, self.lies = truth, lies or {}

    def __call__(self, *_: Any, **__: Any) -> Oracle:
        return self

    def detect(self, frames: Sequence[np.ndarray]) -> list[Detections]:
        found = []
        for frame in frames:
            boxes = list(self.truth.get(frame.tobytes(), ()))
            scores = [0.9] * len(boxes)
            if frame.tobytes() in self.lies:
                boxes, scores = [*boxes, CORNER], [*scores, self.lies[frame.tobytes()]]
            points = np.zeros((len(boxes), 5, 2))
            found.append(Detections(np.reshape(boxes, (-1, 4)), np.array(scores), points))
        return found


def pictures(count: int) -> Iterator[Picture]:
    """Different pictures, each with one face of 20 pixels in the middle; every second one is black-hot."""
    for k in range(count):
        image = np.full((40, 40), 100, np.uint8)
        image[0, 0] = k
        box = np.array([[10, 10, 30, 30]], np.float32)
        nothing = np.zeros((0, 4), np.float32)
        black_hot = k % 2 == 1
        yield Picture(255 - image if black_hot else image, box, np.zeros((1, 5, 2), np.float32), nothing, black_hot)


@pytest.fixture
def oracle(monkeypatch: pytest.MonkeyPatch) -> Oracle:
    """Grading of forty of `pictures` by a detector that is right."""
    made = list(pictures(40))
    upright = [255 - p.image if p.black_hot else p.image for p in made]
    seer = Oracle({image.tobytes(): np.array([[10, 10, 20, 20]]) for image in upright})
    remaining = iter(made)
    monkeypatch.setattr(grade, "PICTURES", 40)
    monkeypatch.setattr(grade, "EMPTY", 2)
    monkeypatch.setattr(grade, "compose", lambda *_: next(remaining))
    monkeypatch.setattr(grade, "ThermalDetector", seer)
    return seer


def test_threshold_of_a_detector_without_false_positives(oracle: Oracle, dolls: Corpus) -> None:
    assert grade.threshold_of(dolls, Path("x"), dolls.rows("validation")) == pytest.approx(0.2)


def test_threshold_above_false_positives(oracle: Oracle, dolls: Corpus) -> None:
    oracle.lies = dict.fromkeys(list(oracle.truth)[:5], 0.42)  # one picture in eight
    assert grade.threshold_of(dolls, Path("x"), dolls.rows("validation")) == pytest.approx(0.45)


def test_threshold_of_a_detector_that_always_lies(oracle: Oracle, dolls: Corpus) -> None:
    oracle.lies = dict.fromkeys(oracle.truth, 0.95)
    assert grade.threshold_of(dolls, Path("x"), dolls.rows("validation")) == pytest.approx(0.8)


def test_one_false_positive_in_ten_pictures_is_allowed(oracle: Oracle, dolls: Corpus) -> None:
    oracle.lies = dict.fromkeys(list(oracle.truth)[:4], 0.42)
    assert grade.threshold_of(dolls, Path("x"), dolls.rows("validation")) == pytest.approx(0.2)


def test_figures_of_a_detector(oracle: Oracle, dolls: Corpus) -> None:
    oracle.truth |= {frame.tobytes(): dolls.bbox[row][None] for row, frame in grade.frames(dolls, dolls.rows("test"))}
    figures = grade.detector(dolls, Path("x"))
    assert {what: f.value for what, f in figures.items()} == {
        "AP50, none to four faces": "1.000",
        "recall at its threshold": "1.000",
        "false positives a picture": "0.000",
        "recall at 5 false positives": "1.000",
        "false positives where no face is": "0",
        "AP50, one face": "1.000",
        "recall, one face": "1.000",
    }
    assert figures["AP50, none to four faces"].data.startswith("40 composed pictures with 40 faces")
    assert figures["AP50, one face"].data.startswith("6 rendered portraits")


def test_figures_of_a_detector_that_sees_ghosts(oracle: Oracle, monkeypatch: pytest.MonkeyPatch, dolls: Corpus) -> None:
    room = np.full((40, 40), 7, np.uint8)
    monkeypatch.setattr(grade, "without_faces", lambda *_: room)
    oracle.lies = {room.tobytes(): 0.6}
    figures = grade.detector(dolls, Path("x"))
    assert figures["false positives where no face is"].value == "2"
    assert figures["AP50, one face"].value == "0.000"  # and portraits are strange to it


def test_false_positives_are_counted_a_picture(oracle: Oracle, dolls: Corpus) -> None:
    oracle.truth |= {frame.tobytes(): dolls.bbox[row][None] for row, frame in grade.frames(dolls, dolls.rows("test"))}
    oracle.lies = dict.fromkeys(list(oracle.truth)[:4], 0.7)
    assert grade.detector(dolls, Path("x"))["false positives a picture"].value == "0.100"


class Almost:
    """A landmarker, embedder and attribute reader that knows the corpus, and is off by what it is told."""

    def __init__(self, corpus: Corpus) -> None:
        self.corpus, self.frames = corpus, {f.tobytes(): r for r, f in grade.frames(corpus, np.arange(len(corpus)))}

    def __call__(self, _: Path) -> Almost:
        return self

    def locate(self, frame: np.ndarray, faces: Detections) -> list[FaceShape]:
        row = self.frames[frame.tobytes()]
        np.testing.assert_array_equal(faces.bboxes[0], self.corpus.bbox[row])
        eyes, mouth = (float(v) for v in self.corpus.openness[row])
        off = np.array([3.0, 4.0], np.float32)
        pose = self.corpus.head_pose[row] + np.array([1, -2, 6], np.float32)
        return [
            FaceShape(self.corpus.landmarks[row] + off, head_pose=pose, eye_openness=eyes + 0.1, mouth_openness=mouth)
        ]

    def embed(self, frame: np.ndarray, _: np.ndarray) -> np.ndarray:
        return np.eye(128, dtype=np.float32)[[int(self.corpus.identity[self.frames[frame.tobytes()]])]]

    def read(self, frame: np.ndarray, _: Detections) -> list[dict[str, tuple[str, float]]]:
        classes = self.corpus.classes[self.frames[frame.tobytes()]]
        said = {n: labels[classes[CLASSES.index(n)]] for n, labels in attributes.LABELS.items()}
        return [{n: (label, 1.0) for n, label in (said | {"gender": "female"}).items()}]


def test_figures_of_a_landmarker(monkeypatch: pytest.MonkeyPatch, dolls: Corpus) -> None:
    monkeypatch.setattr(grade, "ThermalLandmarker", Almost(dolls))
    figures = grade.landmarker(dolls, Path("x"))
    rows = dolls.rows("test")
    front = rows[np.abs(dolls.head_pose[rows][:, 0]) < 15]
    apart = np.linalg.norm(dolls.landmarks[front[0], 36] - dolls.landmarks[front[0], 45])
    first = figures["NME, inter-ocular, yaw below 15"]
    assert (first.value, first.data) == (f"{5 / apart:.2%}", f"{len(front)} rendered portraits")
    assert figures["pose, mean absolute error"].value == "3.00 (yaw 1.00, pitch 2.00, roll 6.00) degrees"
    assert figures["openness of eyes and mouth, mean absolute error"].value == "0.100, 0.000"


def test_figures_of_an_embedder(monkeypatch: pytest.MonkeyPatch, dolls: Corpus) -> None:
    monkeypatch.setattr(grade, "ThermalEmbedder", Almost(dolls))
    figures = grade.embedder(dolls, Path("x"))
    assert [f.value for f in figures.values()] == ["1.000", "0.000", "1.000"] * 2
    assert figures["EER"].data.startswith("9 frames of 3 people never trained on")


def test_figures_of_attributes(monkeypatch: pytest.MonkeyPatch, dolls: Corpus) -> None:
    monkeypatch.setattr(grade, "AttributeReader", Almost(dolls))
    figures = grade.attributes(dolls, Path("x"))
    assert figures["gender"] == Figure("0.500", "6 rendered portraits, balanced accuracy, chance 0.50")
    assert figures["beard"].value == "1.000"
    assert figures["beard"].data.endswith("chance 0.50")
    assert list(figures) == list(attributes.LABELS)
