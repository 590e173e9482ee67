from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from conftest import oval_face
from fake_annotator import BrightAnnotator

import thermvision_db
from thermvision.curation import annotate_commands
from thermvision.curation.release import read_release


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """What `make_annotator` was asked for; it gives the annotator without models."""
    calls: list[tuple[Any, ...]] = []

    def fake(*arguments: Any) -> BrightAnnotator:
        calls.append(arguments)
        return BrightAnnotator()

    monkeypatch.setattr(annotate_commands, "make_annotator", fake)
    return calls


def run(capsys: pytest.CaptureFixture[str], *arguments: Any) -> tuple[int, str, str]:
    code = thermvision_db.main([str(a) for a in arguments])
    out, err = capsys.readouterr()
    return code, out, err


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "in/face.png"
    path.parent.mkdir()
    cv2.imwrite(str(path), oval_face(64)[0])
    return path


def test_annotate_a_picture(capsys: Any, asked: list[Any], picture: Path, tmp_path: Path) -> None:
    out = tmp_path / "faces.json"
    options = ("--min-face", "12", "--threshold", "0.3", "--landmarker", "none", "--polarity", "white-hot")
    code, text, err = run(capsys, "annotate", picture, "--out", out, "--format", "coco", "--quiet", *options)
    assert (code, err) == (0, "")
    assert asked == [("thermal", "none", False, "white-hot", 12.0, 0.3)]
    assert "1 faces in 1 frames of 1 images and videos; 0 frames without a face; by bright@0" in text
    assert text.splitlines()[-1].startswith("next: ")
    assert len(json.loads(out.read_text())["annotations"]) == 1
    code, _, err = run(capsys, "annotate", picture, "--out", out, "--format", "coco")
    assert code == 2
    assert "is there already" in err


def test_annotate_as_json_lists_findings_and_exits_with_1(
    capsys: Any, asked: list[Any], picture: Path, tmp_path: Path
) -> None:
    (picture.parent / "notes.txt").write_text("x")
    out = tmp_path / "labels"
    code, text, err = run(
        capsys, "annotate", picture.parent, "--out", out, "--format", "yolo", "--draw", tmp_path / "d", "--json"
    )
    assert code == 1
    facts = json.loads(text)
    assert (facts["faces"], facts["annotation_source"]) == (1, "bright@0")
    assert [f["code"] for f in facts["findings"]] == ["not-an-image"]
    assert "1 findings" in err
    assert (out / "face.txt").is_file()
    assert (tmp_path / "d/face.png.png").is_file()


def test_annotate_into_a_release(capsys: Any, asked: list[Any], imported_release: Path, tmp_path: Path) -> None:
    code, text, _ = run(capsys, "annotate", imported_release, "--out", tmp_path / "next", "--quiet")
    assert code == 0
    assert text.splitlines()[-1] == f"next: thermvision info {tmp_path / 'next'}"
    assert read_release(tmp_path / "next").version == "1.1"
    assert run(capsys, "verify", tmp_path / "next")[0] == 0


def test_annotate_an_overlay(capsys: Any, asked: list[Any], imported_release: Path, tmp_path: Path) -> None:
    code, text, _ = run(capsys, "annotate", imported_release, "--overlay", "--out", tmp_path / "labels", "--quiet")
    assert code == 0
    load = text.splitlines()[-1].split("print(")[1].removesuffix(')"').removesuffix(")")
    rows = eval(load + ")" * (load.count("(") - load.count(")")), {"thermvision_db": thermvision_db})
    assert rows["train"]["annotation_source"] == ["bright@0"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("{picture}",), "is no release, so labels need --format coco"),
        (("{picture}", "--format", "xls"), "--format is 'xls'; allowed: coco"),
        (("{picture}", "--format", "coco", "--overlay"), "choose one"),
        (("{picture}", "--overlay"), "needs a release"),
        (("{release}", "--draw", "x"), "go with --format"),
        (("nowhere", "--format", "coco"), "does not exist"),
    ],
)
def test_wrong_usage(
    capsys: Any, asked: list[Any], picture: Path, imported_release: Path, tmp_path: Path, arguments: Any, message: str
) -> None:
    known = {"picture": picture, "release": imported_release}
    code, _, err = run(capsys, "annotate", *(a.format(**known) for a in arguments), "--out", tmp_path / "out")
    assert code == 2
    assert message in err
    assert not (tmp_path / "out").exists()


def test_dry_runs_write_nothing(capsys: Any, asked: list[Any], imported_release: Path, tmp_path: Path) -> None:
    for verb, more in (("annotate", ("--overlay",)), ("export", ("--layout", "published"))):
        code, text, _ = run(capsys, verb, imported_release, "--out", tmp_path / "x", *more, "--dry-run", "--json")
        assert code == 0
        assert (json.loads(text)["items"], json.loads(text)["frames"]) == (1, 5)
        assert not (tmp_path / "x").exists()
    assert not asked


def test_missing_models_are_exit_code_3_and_wrong_ones_2(capsys: Any, picture: Path, tmp_path: Path) -> None:
    out = ("--out", tmp_path / "a.json", "--format", "coco")
    code, _, err = run(capsys, "annotate", picture, *out, "--detector", "thermal:nowhere.onnx")
    assert code == 3
    assert "nowhere.onnx" in err
    code, _, err = run(capsys, "annotate", picture, *out, "--detector", "magic")
    assert code == 2
    assert "allowed: thermal" in err


def test_export_labels(capsys: Any, imported_release: Path, tmp_path: Path) -> None:
    out, images = tmp_path / "yolo", tmp_path / "images"
    code, text, _ = run(
        capsys, "export", imported_release, "--out", out, "--format", "yolo", "--images", images, "--quiet"
    )
    assert code == 0
    assert "5 faces in 5 frames of 1" in text
    assert len(list(out.rglob("*.txt"))) == len(list(images.rglob("*.png"))) == 5


def test_export_layout_and_import_again(capsys: Any, imported_release: Path, tmp_path: Path) -> None:
    tree, again = tmp_path / "tree", tmp_path / "again"
    code, text, _ = run(capsys, "export", imported_release, "--layout", "published", "--out", tree, "--quiet")
    assert code == 0
    assert text.splitlines()[-1] == f"next: thermvision import {tree} --out imported"
    assert run(capsys, "import", tree, "--out", again, "--quiet")[0] == 0
    one, other = (thermvision_db.load("frames", p, split="train") for p in (imported_release, again))
    for name in ("item_id", "frame_index", "bbox", "face_count", "extra_bboxes", "width", "gender", "sequence"):
        np.testing.assert_equal(list(one[name]), list(other[name]))


@pytest.mark.parametrize("more", [(), ("--format", "coco", "--layout", "published"), ("--layout", "flat")])
def test_export_wants_one_of_format_and_layout(capsys: Any, imported_release: Path, tmp_path: Path, more: Any) -> None:
    code, _, err = run(capsys, "export", imported_release, "--out", tmp_path / "x", *more)
    assert code == 2
    assert "published" in err
