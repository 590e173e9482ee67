from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import oval_face
from fake_annotator import BrightAnnotator, bright_box

from thermvision.annotations.errors import UsageError
from thermvision.annotations.formats import read_path
from thermvision.annotations.schema import FrameAnnotation
from thermvision.curation.annotate import annotate_to_files
from thermvision.curation.inputs import Item, open_input
from thermvision.curation.item_faces import Temporal, frames_of, record_of, visibility_of
from thermvision.curation.label_files import WRITTEN
from thermvision.curation.video import encode_gray

GRAY = oval_face(64)[0]
BOX = bright_box(GRAY)


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Two images (one without a face) and a video of four frames."""
    folder = tmp_path / "in"
    folder.mkdir()
    cv2.imwrite(str(folder / "face.png"), GRAY)
    cv2.imwrite(str(folder / "empty.png"), np.tile(np.arange(64, dtype=np.uint8), (64, 1)))
    (folder / "walk.mp4").write_bytes(encode_gray(np.stack([GRAY] * 4), 30.0, crf=0))
    return folder


@pytest.mark.parametrize("name", WRITTEN)
def test_every_format_reads_back(pictures: Path, tmp_path: Path, name: str) -> None:
    out = tmp_path / "labels"
    summary = annotate_to_files(open_input(str(pictures)), out, name, BrightAnnotator(), Temporal(), quiet=True)
    assert (summary.items, summary.frames, summary.faces, summary.without_face) == (3, 6, 5, 1)
    assert summary.annotation_source == "bright@0"
    assert not summary.findings
    assert not list(tmp_path.glob(".*work"))
    assert not (out / ".work").exists()
    reading = read_path(out, name, sizes=lambda path: (64, 64))
    assert not reading.findings
    faces = {Path(f.path).with_suffix("").as_posix(): f.faces for f in reading.files}
    assert len(faces["face"]) == len(faces["walk/frame_0003"]) == 1
    assert len(faces.get("empty", [])) == 0
    if name in ("pts", "charlotte"):
        assert faces["face"][0].points.shape == (68, 2)
    else:
        np.testing.assert_allclose(faces["face"][0].bbox, BOX, atol=1 if name in ("voc", "dlib") else 1e-3)
    beside = (
        out / "annotation_source.json"
        if out.is_dir() and name != "sftl54"
        else tmp_path / "labels.annotation_source.json"
    )
    assert json.loads(beside.read_text()) == {
        "annotation_source": "bright@0",
        "settings": {"smooth": False, "fill_gaps": 0},
    }


def test_points_can_be_left_out(pictures: Path, tmp_path: Path) -> None:
    for points, columns in ((True, 15), (False, 5)):
        out = tmp_path / f"yolo-{points}"
        annotate_to_files(
            open_input(str(pictures)), out, "yolo", BrightAnnotator(), Temporal(), points=points, quiet=True
        )
        assert len((out / "face.txt").read_text().split()) == columns


def test_a_stopped_run_goes_on_and_ends_alike(pictures: Path, tmp_path: Path) -> None:
    found = open_input(str(pictures))
    whole, stopped = tmp_path / "whole.json", tmp_path / "stopped.json"
    annotate_to_files(found, whole, "coco", BrightAnnotator(), Temporal(), quiet=True)
    # the two images are one chunk; it stops within the video
    with pytest.raises(KeyboardInterrupt):
        annotate_to_files(found, stopped, "coco", BrightAnnotator(stop_after=4), Temporal(), quiet=True)
    assert not stopped.exists()
    again = BrightAnnotator()
    annotate_to_files(found, stopped, "coco", again, Temporal(), quiet=True)
    assert again.seen == 4
    assert stopped.read_bytes() == whole.read_bytes()


def test_a_stopped_run_of_other_options_is_refused(pictures: Path, tmp_path: Path) -> None:
    found, out = open_input(str(pictures)), tmp_path / "a.json"
    with pytest.raises(KeyboardInterrupt):
        annotate_to_files(found, out, "coco", BrightAnnotator(stop_after=4), Temporal(), quiet=True)
    with pytest.raises(UsageError, match="was stopped, of other options"):
        annotate_to_files(found, out, "coco", BrightAnnotator(), Temporal(fill_gaps=1), quiet=True)
    with pytest.raises(UsageError, match="was stopped, of other options"):
        annotate_to_files(found, out, "coco", BrightAnnotator(), Temporal(), settings={"threshold": 0.2}, quiet=True)


def test_what_is_there_is_not_overwritten(pictures: Path, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("mine")
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels/mine.txt").write_text("mine")
    for out, name in ((tmp_path / "a.json", "coco"), (tmp_path / "labels", "yolo"), (tmp_path / "labels", "coco")):
        with pytest.raises(UsageError, match="--out"):
            annotate_to_files(open_input(str(pictures)), out, name, BrightAnnotator(), Temporal(), quiet=True)
    assert (tmp_path / "a.json").read_text() == "mine"
    with pytest.raises(UsageError, match="allowed: coco, yolo"):
        annotate_to_files(open_input(str(pictures)), tmp_path / "x", "xls", BrightAnnotator(), Temporal(), quiet=True)


def test_an_unreadable_file_is_a_finding_and_the_rest_is_done(pictures: Path, tmp_path: Path) -> None:
    (pictures / "broken.png").write_bytes(b"\x89PNG")
    (pictures / "broken.mp4").write_bytes(b"text")
    out = tmp_path / "a.json"
    summary = annotate_to_files(open_input(str(pictures)), out, "coco", BrightAnnotator(), Temporal(), quiet=True)
    assert [(f.path, f.code) for f in summary.findings] == [("broken.mp4", "unreadable"), ("broken.png", "unreadable")]
    assert summary.frames == 6
    assert len(json.loads(out.read_text())["images"]) == 6


def test_two_images_of_one_name_are_told_apart(pictures: Path, tmp_path: Path) -> None:
    cv2.imwrite(str(pictures / "face.jpg"), GRAY)
    found = open_input(str(pictures))
    summary = annotate_to_files(found, tmp_path / "yolo", "yolo", BrightAnnotator(), Temporal(), quiet=True)
    assert [(f.path, f.code) for f in summary.findings] == [("face.png", "same-name")]
    assert not annotate_to_files(found, tmp_path / "c", "coco", BrightAnnotator(), Temporal(), quiet=True).findings


def test_gaps_are_filled_and_that_is_recorded() -> None:
    item = Item("a", "a.mp4", True, lambda: [GRAY] * 5, fps=30.0)
    plain = frames_of(BrightAnnotator(blind=[2]), item, Temporal())
    assert [f.annotation.face_count for f in plain] == [1, 1, 0, 1, 1]
    filled = frames_of(BrightAnnotator(blind=[2]), item, Temporal(fill_gaps=1))
    assert [f.annotation.face_count for f in filled] == [1] * 5
    np.testing.assert_allclose(filled[2].annotation.bbox, BOX, atol=1e-3)
    assert filled[2].annotation.bbox_score is None
    assert {f.annotation.source for f in filled} != {"bright@0"}
    assert all(f.annotation.source.startswith("bright@0+") for f in filled)
    slow = Item("a", "a.mp4", True, lambda: [GRAY] * 5, fps=4.0)
    assert len(frames_of(BrightAnnotator(), slow, Temporal(smooth=True))) == 5


def test_pictures_are_drawn_for_every_frame(pictures: Path, tmp_path: Path) -> None:
    draw = tmp_path / "drawn"
    annotate_to_files(
        open_input(str(pictures)), tmp_path / "a.json", "coco", BrightAnnotator(), Temporal(), draw=draw, quiet=True
    )
    drawn = sorted(p.relative_to(draw).as_posix() for p in draw.rglob("*.png"))
    assert drawn == ["empty.png.png", "face.png.png", *(f"walk/frame_{k:04d}.png" for k in range(4))]
    image = cv2.imread(str(draw / "face.png.png"))
    assert image.shape == (64, 64, 3)
    assert (image != GRAY[..., None]).any()


def test_records_of_annotations() -> None:
    states = np.arange(68) % 4
    face = FrameAnnotation(
        [1, 2, 3, 4], 1, "x", landmarks=np.zeros((68, 2)), landmark_state=states, head_pose=[1, 2, 3]
    )
    record = record_of(face, {"glasses": "none"})
    assert record is not None
    assert record.visibility is not None
    assert record.visibility[:4].tolist() == [0, 1, 1, 2]
    assert dict(record.attributes) == {"glasses": "none", "yaw": "1.00", "pitch": "2.00", "roll": "3.00"}
    assert visibility_of(None) is None
