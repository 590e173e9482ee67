"""Truth, predictions and models meet: perfect answers are perfect, baselines worse, nothing is left out unsaid."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import tiny_models
from conftest import face_annotation, oval_face

from thermvision.annotations import schema
from thermvision.annotations.bootstrap import Bootstrap
from thermvision.annotations.conventions import five_points
from thermvision.annotations.errors import MissingDependencyError, UsageError
from thermvision.annotations.faces import Detections, FaceShape
from thermvision.annotations.formats import FORMATS, label_files
from thermvision.annotations.formats.records import FaceRecord, FileFaces
from thermvision.curation.evaluation.evaluate import (
    Report,
    Truth,
    chosen_tasks,
    evaluate,
    read_predictions,
    read_truth,
    score,
)
from thermvision.curation.evaluation.frames import KeyIndex, KnownFace, KnownFrame
from thermvision.curation.evaluation.measures import Measure, Options, out_of_fold, pair_faces
from thermvision.curation.evaluation.models import Models, open_models, run_models
from thermvision.curation.evaluation.tasks import score_attributes, score_detection, score_landmarks, score_verification
from thermvision_db import main

QUICK = Options(bootstrap=Bootstrap(rounds=50))


def measures(report: Report, task: str) -> dict[str, Measure]:
    return {m.name: m for m in report.results[task].measures}


class Oval:
    """Finds the oval of `oval_face` by its brightness, and answers everything from its box."""

    source = "oval@1"

    def __init__(self, labels: dict[str, str] | None = None) -> None:
        self.labels, self.asked = labels or {}, 0

    def detect(self, frames: Sequence[np.ndarray]) -> list[Detections]:
        return [self._one(frame) for frame in frames]

    def _one(self, frame: np.ndarray) -> Detections:
        rows, columns = np.nonzero(frame > 120)
        if not len(rows):
            return Detections()
        size = len(frame)
        shift = (columns.min() + columns.max() + 1) / 2 / size - 0.5
        landmarks = oval_face(size, shift)[1]
        box = face_annotation(size, shift, known=False).bbox
        return Detections(box[None], np.array([0.9]), five_points(landmarks)[None])

    def locate(self, frame: np.ndarray, detections: Detections) -> list[FaceShape | None]:
        self.asked += len(detections)
        shift = [(b[0] + b[2] / 2) / len(frame) - 0.5 for b in detections.bboxes]
        pose = np.array([1.0, 2, 3], np.float32)
        return [FaceShape(oval_face(len(frame), s)[1].astype(np.float32), head_pose=pose) for s in shift]

    def read(self, frame: np.ndarray, detections: Detections) -> list[dict[str, tuple[str, float]]]:
        return [{name: (label, 0.9) for name, label in self.labels.items()}] * len(detections)

    def embed(self, image: Any, keypoints: Any) -> np.ndarray:
        return np.tile(np.array([[0.6, 0.8]], np.float32), (len(keypoints), 1))


def oval_models(**labels: str) -> Models:
    oval = Oval(labels)
    return Models(oval, oval, oval, oval, score=0.5)


def test_models_over_a_release(oval_release: Path) -> None:
    report = evaluate(oval_release, models=oval_models(glasses="none"), options=QUICK, task="all")
    found = measures(report, "detection")
    assert found["AP50"].value == 1
    assert found["recall, score 0.5"].value == 1
    assert found["false positives, score 0.5"].value == 0
    # eight of twelve frames of two clips, and six stills
    assert report.facts["frames"] == 2 * 8 + 6
    assert report.facts["split"] == "test"
    assert report.facts["baselines_from"] == "the training split"
    points = measures(report, "landmarks")
    assert points["NME, box"].value == pytest.approx(0, abs=0.02)  # the oval's middle is found to half a pixel
    assert points["five-point NME, box"].value == pytest.approx(0, abs=0.02)
    assert measures(report, "pose")["MAE, roll"].value == pytest.approx(3, abs=1e-5)
    glasses = measures(report, "attributes")["glasses, accuracy"]
    assert (glasses.value, glasses.count) == (1.0, 6)
    assert any("verification is not scored: release has no subjects of two people" in n for n in report.notes)
    assert any(n.startswith("gender:") for n in report.results["attributes"].notes)


def test_the_true_boxes_can_be_looked_at(oval_release: Path) -> None:
    models = oval_models()
    report = evaluate(oval_release, models=models, options=QUICK, task="landmarks", in_true_boxes=True)
    assert report.facts["boxes"] == "true"
    assert models.detector.asked == report.facts["frames"]  # type: ignore[attr-defined]
    points = measures(report, "landmarks")
    assert points["NME, box"].value == pytest.approx(0, abs=0.01)
    assert 0 < points["five-point NME, box"].value < 0.02  # of what was found, not of the truth that led there


def test_two_people_can_be_verified(oval_release: Path) -> None:
    report = evaluate(oval_release, models=oval_models(), options=QUICK, task="verification", split=None)
    found = measures(report, "verification")
    assert found["EER"].value == 0.5  # everybody looks alike to this embedder
    assert found["Rank-1"].value == 0
    assert found["Rank-1"].baseline == 0.5
    assert found["embeddings missing"].value == 0
    assert any("impostor pairs are fewer" in note for note in report.results["verification"].notes)


def test_a_release_against_itself_is_perfect(oval_release: Path) -> None:
    report = evaluate(oval_release, predictions=oval_release, options=QUICK, split=None)
    for task, result in report.results.items():
        for m in result.measures:
            best = 0 if m.unit == "°" or not m.higher_is_better else 1
            assert m.value == pytest.approx(best, abs=1e-6), (task, m)
            if m.baseline is not None:
                assert m.baseline <= best if m.higher_is_better else m.baseline >= best
    assert report.results["landmarks"].curves["ced_box"]["part"][0] == 1
    assert report.results["attributes"].tables["gender"]["rows_true_columns_found"][0][1] == 0
    # all 12 frames of four clips, and 2 + 2 + 2 stills of one person, 2 + 2 of the other
    assert report.facts["frames"] == 48 + 10
    assert any("verification is not scored" in note for note in report.notes)


def test_scenes_and_faceless_frames_are_read(imported_release: Path) -> None:
    truth = read_truth(imported_release, "train")
    assert [len(f.faces) for f in truth.frames] == [1, 0, 2, 1, 1]
    assert truth.frames[1].key == "F_01_S1/frame_0001"
    assert "5 frames carry labels made by 'published labels', taken for truth here" in truth.notes
    with pytest.raises(UsageError, match="no labelled frame in split test"):
        read_truth(imported_release, "test")


def frame(key: str, *faces: KnownFace, subject: str | None = None, session: str | None = None) -> KnownFrame:
    return KnownFrame(key, faces, 100, 100, subject, session)


def known(x: float = 10, y: float = 10, size: float = 40, **more: Any) -> KnownFace:
    return KnownFace(np.array([x, y, size, size], np.float32), **more)


def landmarks(shift: float = 0.0) -> np.ndarray:
    turn = np.linspace(0, 2 * np.pi, 68, endpoint=False)
    return (30 + 15 * np.stack([np.cos(turn), np.sin(turn)], 1) + shift).astype(np.float32)


def test_a_constant_box_is_the_baseline_of_others() -> None:
    truth = [frame(str(n), known(x=10)) for n in range(10)]
    result = score_detection(truth, {f.key: f for f in truth}, [], QUICK)
    assert {m.name: m.baseline for m in result.measures}["recall, score 0.5"] == 1
    elsewhere = [frame("train", known(x=60))]
    worse = score_detection(truth, {f.key: f for f in truth}, elsewhere, QUICK)
    baselines = {m.name: m.baseline for m in worse.measures}
    assert baselines["recall, score 0.5"] == 0
    assert baselines["false positives, score 0.5"] == 10


def test_nobody_is_his_own_baseline() -> None:
    values, groups = np.array([0.0, 0, 6, 6]), ["a", "a", "b", "b"]
    assert out_of_fold(lambda v: v.mean(0), values, groups, groups).tolist() == [6, 6, 0, 0]
    assert out_of_fold(lambda v: v.mean(0), values, groups, groups, [3.0]).tolist() == [3] * 4
    assert np.isnan(out_of_fold(lambda v: v.mean(0), values[:2], groups[:2], groups[:2])).all()


def test_rooms_without_faces_count_their_false_positives() -> None:
    rooms = [frame(str(n)) for n in range(4)]
    mug = {"0": frame("0", known(score=0.9)), "1": frame("1", known(score=0.2))}
    result = score_detection(rooms, mug, [], QUICK)
    by_name = {m.name: m for m in result.measures}
    assert by_name["false positives, score 0.5"].value == 1
    assert by_name["false positives, score 0.5"].interval is not None
    assert by_name["AP50"].value is None
    assert "no face counts in these images: recall and AP are not defined" in result.notes


def test_pairs_are_greedy_by_score_above_the_threshold() -> None:
    truth = [frame("a", known(), known(x=60, size=5))]
    better, worse, weak = known(x=12, score=0.9), known(x=10, score=0.8), known(score=0.4)
    found = {"a": frame("a", worse, weak, better)}
    pairs = pair_faces(truth, found, Options())
    assert [p.found for p in pairs] == [better, None]
    assert len(pair_faces(truth, found, Options(min_face=10))) == 1
    assert pair_faces(truth, {}, Options())[0].found is None
    assert pair_faces(truth, {"a": frame("a", weak)}, Options())[0].found is None
    assert pair_faces(truth, {"a": frame("a", weak)}, Options(score=0.4))[0].found is weak


def test_missed_faces_fail_and_have_no_nme() -> None:
    faces = [frame(str(n), known(landmarks=landmarks()), subject=f"P{n}") for n in range(4)]
    found = {str(n): frame(str(n), known(landmarks=landmarks(1.0))) for n in range(3)}
    result = score_landmarks(pair_faces(faces, found, QUICK), [], QUICK)
    by_name = {m.name: m for m in result.measures}
    assert by_name["NME, box"].value == pytest.approx(np.sqrt(2) / 40, rel=1e-5)
    assert by_name["NME, box"].count == 3
    assert by_name["NME, box, jaw"].value == pytest.approx(np.sqrt(2) / 40, rel=1e-5)
    failures = by_name["failures, box > 0.07"]
    assert (failures.value, failures.count) == (0.25, 4)
    assert by_name["points given"].value == pytest.approx(3 / 4)


def test_hidden_points_can_be_left_out() -> None:
    off = landmarks()
    off[:10] += 20
    states = np.full(68, schema.VISIBLE, np.uint8)
    states[:10] = schema.SELF_OCCLUDED
    truth = [frame("a", known(landmarks=landmarks(), states=states)), frame("b", known(landmarks=landmarks()))]
    found = {f.key: frame(f.key, known(landmarks=off)) for f in truth}
    values = {}
    for points in ("all", "inside", "visible"):
        options = Options(points=points, bootstrap=Bootstrap(rounds=20))
        result = score_landmarks(pair_faces(truth[:1], found, options), [], options)
        values[points] = result.measures[0].value
    assert values["visible"] == 0
    assert values["all"] == values["inside"] > 0  # type: ignore[operator]
    with pytest.raises(UsageError, match="allowed: all, inside, visible"):
        Options(points="front")


def test_nan_landmarks_are_not_given() -> None:
    part = landmarks()
    part[:34] = np.nan
    truth = [frame("a", known(landmarks=landmarks())), frame("b", known(landmarks=landmarks()))]
    found = {"a": frame("a", known(landmarks=part)), "b": frame("b", known(landmarks=np.full((68, 2), np.nan)))}
    by_name = {m.name: m for m in score_landmarks(pair_faces(truth, found, QUICK), [], QUICK).measures}
    assert by_name["points given"].value == 0.25
    assert by_name["NME, box"].count == 1
    assert by_name["failures, box > 0.07"].value == 0.5


def test_attributes_beside_the_commonest_class() -> None:
    truth = [frame(str(n), known(labels={"mask": "mask" if n < 2 else "none"}), subject=f"P{n}") for n in range(8)]
    answers = {str(n): frame(str(n), known(labels={"mask": "mask" if n < 1 else "none"})) for n in range(8)}
    result = score_attributes(pair_faces(truth, answers, QUICK), [], QUICK)
    by_name = {m.name: m for m in result.measures}
    assert by_name["mask, accuracy"].value == 7 / 8
    assert by_name["mask, accuracy"].baseline == 6 / 8
    assert by_name["mask, balanced accuracy"].value == 0.75
    assert by_name["mask, balanced accuracy"].baseline == 0.5
    assert result.tables["mask"]["rows_true_columns_found"] == [[6, 0], [1, 1]]
    assert "glasses: 0 faces are labelled and the answer gives none of them" in result.notes


@pytest.mark.parametrize("template", ["frame", "session"])
def test_people_are_recognised_across_sessions(template: str) -> None:
    rng, truth, found = np.random.default_rng(0), [], {}
    for n in range(6):
        for session in ("1", "2"):
            for k in range(6):
                key = f"{n}-{session}-{k}"
                truth.append(frame(key, known(subject=f"P{n}"), subject=f"P{n}", session=session))
                vector = np.eye(6)[n] + 0.05 * rng.normal(size=6)
                vector = (vector / np.linalg.norm(vector)).astype(np.float32)
                found[key] = frame(key, known(embedding=None if (n, session, k) == (0, "2", 0) else vector))
    options = Options(template=template, bootstrap=Bootstrap(rounds=50))
    result = score_verification(pair_faces(truth, found, options), options)
    by_name = {m.name: m for m in result.measures}
    each = 4 if template == "frame" else 1
    lost = 1 if template == "frame" else 0
    assert by_name["EER"].value == 0
    assert by_name["Rank-1"].value == pytest.approx((6 * each - lost) / (6 * each))
    assert by_name["Rank-1"].baseline == pytest.approx(1 / 6)
    genuine = 6 * each * each - lost * each
    assert result.notes[0].startswith(f"{genuine} genuine and ")


def test_scores_below_the_threshold_are_for_the_curve_only() -> None:
    class Two(Oval):
        def detect(self, frames: Sequence[np.ndarray]) -> list[Detections]:
            one = self._one(frames[0])
            boxes = np.concatenate([one.bboxes, one.bboxes])
            return [Detections(boxes, np.array([0.9, 0.1]), np.tile(one.keypoints, (2, 1, 1)))]

    two = Two()
    picture = oval_face(64)[0]
    found, looked_at = run_models(Models(two, two), [(frame("a"), picture)], Options())
    assert [len(found["a"].faces), len(looked_at["a"].faces), two.asked] == [2, 1, 1]


def write(folder: Path, name: str, files: Sequence[FileFaces]) -> Path:
    for path, data in label_files(name, files):
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
    return folder if FORMATS[name].folder else target


def pictures(folder: Path, names: Sequence[str]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        cv2.imwrite(str(folder / name), oval_face(96)[0])
    return folder


def test_a_format_that_does_not_exist_is_refused_though_the_file_is_recognised(tmp_path: Path) -> None:
    face = FaceRecord(bbox=np.array([10, 10, 40, 40], np.float32))
    truth = write(tmp_path, "coco", [FileFaces("a.png", 96, 96, [face])])
    with pytest.raises(UsageError, match=r"format .coko. does not exist; allowed: .*coco"):
        read_truth(truth, format="coko")


@pytest.mark.parametrize("name", ["coco", "yolo", "voc", "dlib"])
def test_label_files_are_scored_in_every_format(tmp_path: Path, name: str) -> None:
    names = [f"a{n}.png" for n in range(4)]
    images = pictures(tmp_path / "images", names)
    truth = [FileFaces(n, 96, 96, [FaceRecord([20, 20, 50, 60])]) for n in names]
    moved = [FileFaces(n, 96, 96, [FaceRecord([20 + 30 * (n == "a3.png"), 20, 50, 60])]) for n in names]
    report = evaluate(
        write(tmp_path / "truth", name, truth),
        predictions=write(tmp_path / "found", name, moved),
        images=images,
        options=QUICK,
    )
    found = measures(report, "detection")
    assert found["recall, score 0.5"].value == 0.75
    assert found["false positives, score 0.5"].value == 1
    assert found["recall, score 0.5"].interval is not None
    assert report.facts["drawn_by"] == "image"
    assert set(report.results) == {"detection"}


def test_yolo_predictions_of_a_release_need_no_pictures(oval_release: Path, tmp_path: Path) -> None:
    truth = read_truth(oval_release, "test", per_clip=2)
    files = [
        FileFaces(f"{f.key}.png", f.width, f.height, [FaceRecord(face.bbox) for face in f.faces]) for f in truth.frames
    ]
    predictions = write(tmp_path, "yolo", files)
    report = evaluate(oval_release, predictions=predictions, options=QUICK, frames_per_clip=2, task="detection")
    assert report.facts["frames"] == len(files) == 10
    assert measures(report, "detection")["AP50"].value == 1
    assert report.notes == ()


def test_models_over_a_label_file(tmp_path: Path) -> None:
    names = [f"a{n}.png" for n in range(3)]
    pictures(tmp_path / "images", names)
    box = face_annotation(96, 0, known=False).bbox
    points = five_points(oval_face(96)[1])
    files = [FileFaces(n, None, None, [FaceRecord(box, points=points, convention="5")]) for n in [*names, "gone.png"]]
    truth = write(tmp_path, "coco", files)
    report = evaluate(truth, images=tmp_path / "images", models=oval_models(), options=QUICK)
    assert set(report.results) == {"detection", "landmarks"}
    assert measures(report, "landmarks")["five-point NME, box"].value == pytest.approx(0, abs=0.02)
    assert measures(report, "detection")["AP50"].baseline == 1
    assert "1 frames have no picture and were left out, such as gone" in report.notes


def test_ignored_faces_of_a_label_file_do_not_count(tmp_path: Path) -> None:
    face, crowd = FaceRecord([20, 20, 50, 60]), FaceRecord([0, 0, 15, 15], attributes={"ignore": "1"})
    truth = write(tmp_path, "coco", [FileFaces("a.png", 96, 96, [face, crowd])])
    assert read_truth(truth).frames[0].set_aside(0).tolist() == [False, True]
    report = evaluate(truth, predictions=truth, options=QUICK, task="detection")
    assert measures(report, "detection")["AP50"].count == 1


def test_predictions_of_other_frames_are_refused(tmp_path: Path) -> None:
    face = FaceRecord([20, 20, 50, 60])
    truth = Truth("t", (frame("a", known()), frame("b", known())))
    one = write(tmp_path / "one", "coco", [FileFaces(n, 96, 96, [face]) for n in ("images/a.png", "c.png")])
    found, notes, _ = read_predictions(one, truth)
    assert list(found) == ["a"]
    assert notes == [
        "1 frames are not in the predictions: nothing was found in them",
        "1 predicted frames are not in the truth, such as c",
    ]
    other = write(tmp_path / "other", "coco", [FileFaces("c.png", 96, 96, [face])])
    with pytest.raises(UsageError, match="names no frame of the truth: it names c, the truth a"):
        read_predictions(other, truth)
    twice = write(tmp_path / "twice", "coco", [FileFaces(n, 96, 96, [face]) for n in ("a.png", "x/a.png")])
    with pytest.raises(UsageError, match="says two things of a"):
        read_predictions(twice, truth)


def test_keys_find_their_frames() -> None:
    index = KeyIndex(["walk/frame_0007", "walk/frame_0008", "run/frame_0007", "still"])
    assert index.find("out/walk/frame_0007.png") == "walk/frame_0007"
    assert index.find("frame_0008.png") == "walk/frame_0008"
    assert index.find("frame_0007.png") is None
    assert index.find("labels\\still.png") == "still"


def test_what_cannot_be_scored_is_said() -> None:
    truth = Truth("mine", (frame("a", known()),))
    assert chosen_tasks("all", truth, False)[0] == ["detection"]
    with pytest.raises(UsageError, match="--task pose cannot be scored: mine has no head poses"):
        chosen_tasks("pose", truth, False)
    with pytest.raises(UsageError, match="--task is 'faces'; allowed: detection, landmarks"):
        chosen_tasks("faces", truth, False)
    people = Truth("two", tuple(frame(s, known(subject=s)) for s in "ab"))
    with pytest.raises(UsageError, match="holds no embeddings"):
        chosen_tasks("verification", people, True)


def test_missing_models_name_the_command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="allowed: thermal"):
        open_models(["curve"], "nothing", "thermal", "thermal", 0)
    with pytest.raises(MissingDependencyError, match=r"nowhere\.onnx"):
        open_models(["curve"], f"thermal:{tmp_path}/nowhere.onnx", "thermal", "thermal", 0)


def test_the_command(oval_release: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "report.json"
    arguments = ["evaluate", str(oval_release), "--predictions", str(oval_release), "--rounds", "20"]
    assert main([*arguments, "--out", str(out), "--split", "all"]) == 0
    shown = capsys.readouterr().out
    assert "AP50" in shown
    assert "next: curves and tables are in" in shown
    report = json.loads(out.read_text())
    assert report["format"] == "thermvision-evaluation/1"
    assert report["tasks"]["detection"]["measures"][0]["interval"] == [1.0, 1.0]
    assert report["groups"] == 2
    assert main([*arguments, "--split", "all", "--task", "detection", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["tasks"]["detection"] == report["tasks"]["detection"]
    assert main([*arguments, "--boxes", "any"]) == 2
    assert "--boxes is 'any'; allowed: found, true" in capsys.readouterr().err
    assert main(["evaluate", str(tmp_path / "nothing")]) == 2


def test_the_command_runs_a_detector(oval_release: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = tiny_models.detector(tmp_path / "tiny.onnx")
    arguments = ["--detector", f"thermal:{model}", "--task", "detection", "--rounds", "20", "--limit", "4", "--json"]
    assert main(["evaluate", str(oval_release), *arguments]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["predictions"].startswith("tiny@")
    assert report["frames"] == 4
    assert set(report["tasks"]) == {"detection"}


def test_scores_are_the_same_however_frames_are_ordered() -> None:
    rng = np.random.default_rng(1)
    truth = [frame(str(n), known(x=n), subject=f"P{n % 5}") for n in range(20)]
    found = {
        f.key: frame(f.key, known(x=float(n + rng.normal()), score=float(rng.random()))) for n, f in enumerate(truth)
    }
    forward = score(Truth("t", tuple(truth)), found, found, ["detection"], QUICK)["detection"]
    backward = score(Truth("t", tuple(truth[::-1])), found, found, ["detection"], QUICK)["detection"]
    for one, other in zip(forward.measures, backward.measures, strict=True):
        assert one.value == pytest.approx(other.value)
