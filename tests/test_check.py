"""`thermvision check` from rows to report: what is seen, merged, counted, drawn and told."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest
from conftest import clip_row, face_annotation, oval_face, still_row
from fake_annotator import BrightAnnotator

import thermvision_db
from thermvision.annotations import registry
from thermvision.annotations.errors import DamagedInputError, UsageError
from thermvision.annotations.schema import FrameAnnotation
from thermvision.curation import annotate_commands
from thermvision.curation.checks import chunk
from thermvision.curation.checks.catalogue import KINDS, Found, Options, badness, choose, severity, worse
from thermvision.curation.checks.check import SHOWN, check
from thermvision.curation.checks.kinds import FrameView, Scored
from thermvision.curation.checks.report import FindingsFiles, place_text, write_page
from thermvision.curation.checks.views import Looking, each_view, open_checked, view_row

SCRIPTED = "face-flat"  # a kind below whose threshold a score is a finding


def scripted(scores: dict[int, float]) -> SimpleNamespace:
    """A frame check that gives the scores of a table by frame, and a harmless one elsewhere."""

    def frame_scores(frame: FrameView) -> Iterator[Scored]:
        yield Scored(SCRIPTED, scores.get(frame.index, 1.0), detail=f"frame {frame.index}")

    return SimpleNamespace(KINDS=(KINDS[SCRIPTED],), frame_scores=frame_scores)


def only(code: str = SCRIPTED, **more: Any) -> Options:
    return Options(frozenset([code]), **more)


def clip(frames: int = 12, known: bool = True, **changed: Any) -> dict[str, Any]:
    annotations = [face_annotation(64, 0.01 * k, known) for k in range(frames)]
    return {**clip_row("P_000000_S1", "P_000000", ["P_000000"], "head_pose", annotations, 64), **changed}


def run(capsys: pytest.CaptureFixture[str], *arguments: Any) -> tuple[int, str, str]:
    code = thermvision_db.main([str(a) for a in arguments])
    out, err = capsys.readouterr()
    return code, out, err


@pytest.fixture
def no_models(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(annotate_commands, "make_annotator", lambda *arguments: BrightAnnotator())
    monkeypatch.setattr(registry, "embedder", lambda *arguments: None)


def test_labels_of_a_clip_are_seen_frame_by_frame() -> None:
    row = clip(3)
    row["bbox"][1] = [float("nan")] * 4
    row["head_pose"][2] = None
    viewed = view_row("video", "train", row, Looking())
    assert viewed.item.bbox is not None
    assert viewed.item.bbox.shape == (3, 4)
    assert viewed.subject_id == "P_000000"
    views = list(viewed.frames())
    assert [v.index for v in views] == [0, 1, 2]
    assert all(v.labelled and v.found_boxes is None for v in views)
    assert views[1].bbox is None
    assert views[1].landmarks is not None
    assert views[2].pose is None
    np.testing.assert_array_equal(views[0].landmarks, np.array(row["landmarks"][0], np.float32))
    assert views[0].gray.shape == (64, 64)
    assert "video" not in viewed.item.row


def test_the_annotator_is_asked_where_labels_say_nothing() -> None:
    row = clip(5, known=False)
    row["bbox"][2] = [float("nan")] * 4
    views = list(view_row("video", "train", row, Looking(BrightAnnotator())).frames())
    assert not any(v.labelled for v in views)
    assert all(v.found_boxes.shape == (1, 4) for v in views)
    assert views[2].bbox is None, "the row says that there is no face"
    np.testing.assert_allclose(views[1].bbox, row["bbox"][1], rtol=1e-6)


def test_of_labelled_clips_some_frames_are_shown_to_the_annotator() -> None:
    row = clip(9)
    row["bbox"][4] = [float("nan")] * 4
    views = list(view_row("video", "train", row, Looking(BrightAnnotator(), ask_every=3)).frames())
    assert [v.index for v in views if v.found_boxes is not None] == [0, 3, 4, 6]


def test_a_scene_is_seen_as_its_largest_face() -> None:
    still = still_row("a", "P_000000", ["P_000000"], "mix", 64)
    faces = {
        "bbox": [[1, 2, 9, 9], [20, 20, 30, 30]],
        "landmarks": [None, still["landmarks"]],
        "subject_id": ["x", "y"],
    }
    row = {"image": still["image"], "image_id": "a", "width": 64, "height": 64, "face_count": 2, "faces": faces}
    viewed = view_row("scenes", "train", row, Looking())
    assert viewed.item.bbox.tolist() == [[20, 20, 30, 30]]
    assert viewed.subject_id == "y"
    assert viewed.item.row["extra_bboxes"] == [[1, 2, 9, 9]]
    assert viewed.item.landmarks is not None


def test_colour_reaches_the_checks_and_deep_pixels_of_a_release_do_not(tmp_path: Path) -> None:
    row = still_row("a", "P_000000", ["P_000000"], "mix", 64)
    row["image"]["bytes"] = cv2.imencode(".png", np.full((64, 64, 3), (10, 90, 200), np.uint8))[1].tobytes()
    (view,) = view_row("mix", "train", row, Looking()).frames()
    assert view.pixels[0, 0].tolist() == [200, 90, 10]
    assert view.gray.shape == (64, 64)
    row["image"]["bytes"] = cv2.imencode(".png", np.full((64, 64), 30000, np.uint16))[1].tobytes()
    with pytest.raises(DamagedInputError, match="uint16"):
        list(view_row("mix", "train", row, Looking()).frames())


def test_black_hot_files_are_not_inverted(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), 255 - oval_face(64)[0])
    (part,) = open_checked(str(tmp_path)).chunks
    (viewed,) = each_view(str(tmp_path), part, Looking())
    (view,) = viewed.frames()
    np.testing.assert_array_equal(view.gray, 255 - oval_face(64)[0])


@pytest.mark.parametrize(
    ("scores", "every", "runs"),
    [
        ({}, 1, []),
        ({3: 0.0, 4: -1.0, 5: 0.0, 9: 0.0}, 1, [(3, 5, 3, -1.0), (9, 9, 1, 0.0)]),
        ({4: 0.0, 6: 0.0, 7: -5.0}, 2, [(4, 6, 2, 0.0)]),
        ({2: float("nan"), 3: 0.0}, 1, [(3, 3, 1, 0.0)]),
    ],
)
def test_frames_in_a_row_are_one_finding(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, scores: dict[int, float], every: int, runs: list[Any]
) -> None:
    monkeypatch.setattr(chunk, "FRAME_CHECKS", (scripted(scores),))
    part = chunk._Part(only(), tmp_path, "a")
    part.item(view_row("video", "train", clip(), Looking()), every, None, lambda frames: None)
    found = part.plain()["findings"]
    assert [(f["first"], f["last"], f["frames"], f["score"]) for f in found] == runs
    assert all(f["code"] == SCRIPTED and f["item_id"] == "P_000000_S1" for f in found)
    for f in found:
        assert f["detail"] == f"frame {min(range(f['first'], f['last'] + 1), key=lambda k: scores.get(k, 1.0))}"


def test_another_threshold_moves_the_border(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(chunk, "FRAME_CHECKS", (scripted({1: 0.5}),))
    for threshold, count in ((0.4, 0), (0.6, 1)):
        part = chunk._Part(only(thresholds={SCRIPTED: threshold}), tmp_path, "a")
        part.item(view_row("video", "train", clip(3), Looking()), 1, None, lambda frames: None)
        assert len(part.findings) == count
        assert part.scored[SCRIPTED] == (3, 0.5)


def test_the_worst_findings_get_pictures(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, oval_release: Path) -> None:
    monkeypatch.setattr(chunk, "FRAME_CHECKS", (scripted({0: 0.0, 5: -1.0}),))
    found: list[Found] = []
    report = check(
        str(oval_release), None, options=only(pictures=2, scores=True), out=tmp_path / "out", each=found.append
    )
    assert report.counts[SCRIPTED] == (18, 14)
    assert report.total == len(found) == 18
    assert len(report.worst[SCRIPTED]) == SHOWN
    assert report.worst[SCRIPTED][0].score == -1
    names = {f.picture for f in found if f.picture}
    assert names == {p.relative_to(tmp_path / "out").as_posix() for p in (tmp_path / "out/pictures").iterdir()}
    assert names
    assert not (tmp_path / "out/.work").exists()
    scores = pq.read_table(tmp_path / "out/scores.parquet")
    assert scores.num_rows == report.scored[SCRIPTED][0] == 4 * 12 + 10
    write_page(report, tmp_path / "out", "thermvision check release")
    page = (tmp_path / "out/report.html").read_text()
    assert page.count("<img") == len(names)
    assert SCRIPTED in page
    assert KINDS[SCRIPTED].meaning in page


@pytest.mark.slow
def test_workers_change_nothing(oval_release: Path) -> None:
    reports = []
    for workers in (1, 2):
        found: list[Found] = []
        report = check(str(oval_release), None, options=Options(), each=found.append, workers=workers)
        reports.append((report.as_dict(), found))
    assert reports[0] == reports[1]
    assert reports[0][1]


def test_a_stopped_check_goes_on(tmp_path: Path, oval_release: Path) -> None:
    out, options = tmp_path / "out", Options(choose(["label"]))
    with pytest.raises(KeyboardInterrupt):
        check(str(oval_release), BrightAnnotator(stop_after=8), options=options, out=out)
    with pytest.raises(UsageError, match="another model"):
        check(str(oval_release), None, options=options, out=out)
    annotator = BrightAnnotator()
    report = check(str(oval_release), annotator, options=options, out=out)
    assert report.items == 14
    assert report.as_dict() == check(str(oval_release), BrightAnnotator(), options=options).as_dict()
    assert annotator.seen < 4 + 10, "finished shards are not looked at again"


def test_broken_media_and_shards_are_findings(copied: Callable[[Path], Path], oval_release: Path) -> None:
    root = copied(oval_release)
    shards = sorted((root / "data/video").glob("*.parquet"))
    shards[0].write_bytes(b"PAR1 no longer")
    report = check(str(root), None, options=Options(choose(["integrity"])))
    assert report.items == 12
    assert any(f.path.startswith("data/video") for w in report.worst.values() for f in w)


def test_a_video_that_ends_early_is_a_finding(tmp_path: Path) -> None:
    part = chunk._Part(Options(choose(["integrity"])), tmp_path, "a")
    row = clip(6)
    row["video"] = {"bytes": row["video"]["bytes"][:900], "path": "a.mp4"}
    part.item(view_row("video", "train", row, Looking()), 1, None, lambda frames: None)
    assert [f["code"] for f in part.findings] == ["media-undecodable"]
    assert part.items == 1


def test_choosing_kinds() -> None:
    assert choose(["physics"]) == {k.code for k in KINDS.values() if k.group == "physics"}
    assert SCRIPTED not in choose((), [SCRIPTED])
    assert choose((), ["integrity"]) < set(KINDS)
    with pytest.raises(UsageError, match="--only heat is no group"):
        choose(["heat"])
    with pytest.raises(UsageError, match="leave no kind"):
        choose([SCRIPTED], [SCRIPTED])


def test_severity_and_order() -> None:
    assert {severity(k) for k in KINDS.values()} == {"error", "warning"}
    below = KINDS[SCRIPTED]
    assert not below.higher_is_worse
    assert badness(below, -1) > badness(below, 0)
    assert worse(below, 0.0, -1.0) == -1.0
    assert worse(below, None, None) is None
    assert badness(below, None) == float("inf")
    assert worse(below, 0.5, None) == 0.5


def test_findings_files_are_whole_or_not_there(tmp_path: Path) -> None:
    some = [Found("x", "label", "error", item_id=f"a{k}", score=k / 7, first=k, last=k) for k in range(5000)]
    with FindingsFiles(tmp_path) as files:
        for one in some:
            files.add(one)
    table = pq.read_table(tmp_path / "findings.parquet")
    assert table["item_id"].to_pylist() == [f.item_id for f in some]
    assert table["last"].to_pylist()[-1] == 4999
    assert [f["score"] for f in json.loads((tmp_path / "findings.json").read_text())] == [f.score for f in some]
    files = FindingsFiles(tmp_path / "no")
    for one in some:
        files.add(one)
    files.__exit__(KeyboardInterrupt, KeyboardInterrupt(), None)
    assert not [*(tmp_path / "no").iterdir()]


def test_place_text() -> None:
    assert place_text(Found("x", "label", "error", path="README.md")) == "README.md"
    assert place_text(Found("x", "label", "error", item_id="a", first=3, last=3)) == "a frame 3"


@pytest.mark.usefixtures("no_models")
def test_the_command_on_an_import(capsys: pytest.CaptureFixture[str], imported_release: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    code, text, err = run(capsys, "check", imported_release, "--out", out, "--quiet")
    assert code == 1
    assert f"next: thermvision decide {imported_release} --from-findings {out}/findings.parquet" in text
    assert "box-missing" in text
    assert "findings in" in err
    assert "shards" not in err
    found = json.loads((out / "findings.json").read_text())
    missing = [f for f in found if f["code"] == "box-missing"]
    assert [(f["item_id"], f["first"], f["last"]) for f in missing] == [("F_01_S1", 1, 1)]
    assert pq.read_table(out / "findings.parquet").num_rows == len(found)
    assert "<img" in (out / "report.html").read_text()
    code, _, err = run(capsys, "check", imported_release, "--out", out, "--quiet")
    assert code == 2
    assert "not empty" in err


@pytest.mark.usefixtures("no_models")
def test_the_command_as_json_and_its_mistakes(capsys: pytest.CaptureFixture[str], oval_release: Path) -> None:
    code, text, _ = run(capsys, "check", oval_release, "--json", "--quiet", "--only", "label", "--limit", 1)
    told = json.loads(text)
    assert code == (1 if told["findings"] else 0)
    assert told["items"] == 2
    assert all(kind["group"] == "label" for kind in told["kinds"].values())
    for options, message in (
        (["--only", "nonsense"], "no group and no kind"),
        (["--threshold", "face-flat"], "CODE=VALUE"),
        (["--threshold", "face-flat=low"], "CODE=NUMBER"),
        (["--threshold", "face-flat=nan"], "CODE=NUMBER"),
        (["--threshold", "face-flat=inf"], "CODE=NUMBER"),
        (["--scores"], "add --out"),
    ):
        code, _, err = run(capsys, "check", oval_release, *options)
        assert code == 2
        assert message in err
    code, _, err = run(capsys, "check")
    assert code == 2
    assert "SOURCE is missing" in err


def test_the_command_lists_kinds(capsys: pytest.CaptureFixture[str]) -> None:
    code, text, _ = run(capsys, "check", "--kinds", "--json")
    assert code == 0
    assert {k["code"] for k in json.loads(text)} == set(KINDS)
    assert len(KINDS) >= 60
    assert "face-flat" in run(capsys, "check", "--kinds")[1]


@pytest.mark.usefixtures("no_models")
def test_the_command_on_files(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "flat.png"), np.full((64, 64), 7, np.uint8))
    (tmp_path / "broken.png").write_bytes(b"\x89PNG nothing")
    (tmp_path / "notes.txt").write_text("no picture")
    code, text, _ = run(capsys, "check", tmp_path, "--json", "--quiet")
    told = json.loads(text)
    assert code == 1
    assert told["items"] == 2
    assert told["frames"] == 1
    assert "notes.txt" in told["left_out"][0]
    assert told["kinds"]["media-undecodable"]["worst"][0]["item_id"] == "broken.png"
    assert [c for c in told["kinds"] if KINDS[c].group == "image"], "an empty picture is a finding"


def test_no_face_in_a_frame_is_seen() -> None:
    annotations = [face_annotation(64, 0, True), FrameAnnotation.no_face("ground_truth")]
    row = clip_row("a", "P_000000", ["P_000000"], "head_pose", annotations, 64)
    first, second = view_row("video", "train", row, Looking()).frames()
    assert first.bbox is not None
    assert second.bbox is None
    assert second.landmarks is None
