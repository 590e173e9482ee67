from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import face_annotation, oval_face

from thermvision.annotations.errors import UsageError
from thermvision.annotations.formats import read_path
from thermvision.curation.export import export_labels, item_frames, release_input
from thermvision.curation.label_files import WRITTEN


@pytest.mark.parametrize("format", WRITTEN)
def test_labels_of_a_release_read_back(oval_release: Path, tmp_path: Path, format: str) -> None:
    out = tmp_path / "labels"
    summary = export_labels(release_input(oval_release), out, format, quiet=True)
    assert (summary.items, summary.frames, summary.faces, summary.without_face) == (14, 58, 58, 0)
    assert summary.annotation_source == "ground_truth"
    assert summary.findings == ()
    reading = read_path(out, format, sizes=lambda path: (96, 96) if "frame_" in path else (64, 64))
    faces = {Path(f.path).with_suffix("").as_posix(): f.faces for f in reading.files}
    assert len(faces) == 58
    known = face_annotation(96, 0.07, known=True)
    (face,) = faces["P_000001_S2/frame_0007"]
    if format not in ("pts", "charlotte"):
        rounded = 1 if format in ("voc", "dlib") else 1e-3
        np.testing.assert_allclose(face.bbox, known.bbox, atol=rounded)
    if format in ("coco", "csv", "parquet"):
        seen = known.landmark_state > 0
        np.testing.assert_allclose(face.points[seen], known.landmarks[seen], atol=1e-3)
        assert face.attributes["expression"] == "smile"


def test_frames_without_a_face_are_there_and_extra_faces_too(imported_release: Path, tmp_path: Path) -> None:
    out = tmp_path / "labels.json"
    summary = export_labels(release_input(imported_release), out, "coco", quiet=True)
    assert (summary.frames, summary.faces, summary.without_face) == (5, 5, 1)
    counts = {f.path: len(f.faces) for f in read_path(out, "coco").files}
    assert counts == {f"F_01_S1/frame_{k:04d}.png": n for k, n in enumerate((1, 0, 2, 1, 1))}


def test_pictures_are_written_beside(imported_release: Path, tmp_path: Path) -> None:
    images = tmp_path / "images"
    export_labels(release_input(imported_release), tmp_path / "a.csv", "csv", images=images, quiet=True)
    assert len(list(images.rglob("*.png"))) == 5
    frame = cv2.imread(str(images / "F_01_S1/frame_0003.png"), cv2.IMREAD_UNCHANGED)
    assert np.abs(frame.astype(int) - oval_face(64, 0.03)[0]).mean() < 2


def test_split_config_and_limit_choose(oval_release: Path, tmp_path: Path) -> None:
    found = release_input(oval_release, "image", "test", 3)
    assert export_labels(found, tmp_path / "a.json", "coco", quiet=True).items == 3
    with pytest.raises(UsageError, match="split 'validation'"):
        release_input(oval_release, None, "validation")
    with pytest.raises(UsageError, match="is no release"):
        release_input(tmp_path)


def test_what_nobody_annotated_is_told() -> None:
    row = {"annotation_source": None, "num_frames": 3, "bbox": None, "face_count": None, "extra_bboxes": None}
    from thermvision.annotations.schema import FRAME_COLUMNS

    assert item_frames({**dict.fromkeys(FRAME_COLUMNS), **row}, True) == ({}, 3)
    box = [1, 2, 3, 4]
    row |= {"bbox": [box, [np.nan] * 4, [np.nan] * 4], "face_count": [1, 0, None]}
    found, unknown = item_frames({**dict.fromkeys(FRAME_COLUMNS), **row}, True)
    assert (list(found), unknown) == ([0, 1], 1)
