from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from thermvision.annotations.errors import UsageError
from thermvision.annotations.formats import yolo
from thermvision.curation.export import export_published
from thermvision.curation.ingest import import_release
from thermvision.curation.published_layout import label_texts, subject_numbers
from thermvision.curation.release import Identity, read_release
from thermvision.curation.video import decode_gray

from .published_imitation import imitation, png


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The imitation with two stills, imported."""
    folder = tmp_path_factory.mktemp("layout")
    made = imitation()
    for n in (2, 1):
        made.archives["Male Subjects.zip"][f"Male Subjects/Beard/Subject-7/{n}.png"] = png(np.full((8, 9), n, np.uint8))
    import_release(made.write_zips(folder / "zips"), folder / "release", quiet=True)
    return folder / "release"


def rows_of(out: Path, config: str) -> list[dict[str, Any]]:
    shards = read_release(out).shards_of(config)
    return [row for shard in shards for row in pq.read_table(out / shard.path).to_pylist()]


def tree(root: Path) -> dict[str, bytes]:
    return {p.relative_to(root).as_posix(): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}


def test_import_after_export_gives_equal_rows(imported: Path, tmp_path: Path) -> None:
    assert export_published(imported, tmp_path / "tree", quiet=True) == []
    report = import_release(tmp_path / "tree", tmp_path / "again", quiet=True)
    assert report.left_out == ()
    assert report.findings == ()
    for config in ("video", "beard", "frames"):
        one, other = rows_of(imported, config), rows_of(tmp_path / "again", config)
        for row in (*one, *other):
            row.pop("provenance", None)  # it tells the old place of the file
        np.testing.assert_equal(one, other)
    assert read_release(imported).identities == read_release(tmp_path / "again").identities
    assert report.uses == {"clip": 20, "face-crop": 195, "frame-image": 200, "label": 195, "still": 2}


def test_the_tree_has_the_regular_names(imported: Path, tmp_path: Path) -> None:
    export_published(imported, tmp_path / "tree", quiet=True)
    files = tree(tmp_path / "tree")
    one = "Male Subjects/Set 1 Cropped Headpose Variations/Subject-7"
    assert f"{one}/Thermal Animations/Subject71.mp4" in files
    assert f"{one}/Thermal Face Detection/labels/frame_0004.txt" in files
    assert f"{one}/Thermal Face Detection/labels/frame_0005.txt" not in files  # no face there
    assert f"{one}/Thermal Face Detection/crops/frame_0005.png" not in files
    row = next(r for r in rows_of(imported, "video") if r["clip_id"] == "M_07_S1")
    frames = decode_gray(row["video"]["bytes"])
    decoded = {
        name: cv2.imdecode(np.frombuffer(files[f"{one}/{name}"], np.uint8), cv2.IMREAD_UNCHANGED)
        for name in (
            "Thermal Animations/Extracted_frames/frame_0003.png",
            "Thermal Face Detection/crops/frame_0003.png",
        )
    }
    whole, crop = decoded.values()
    np.testing.assert_array_equal(whole, frames[3])
    x, y, w, h = (round(v) for v in row["bbox"][3])
    np.testing.assert_array_equal(crop, frames[3][y : y + h, x : x + w])
    assert "Male Subjects/Beard/Subject-7/001.png" in files


def test_a_stopped_run_goes_on_and_foreign_folders_are_refused(
    imported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from thermvision.curation import published_layout

    real, count = published_layout.png, iter(range(10**6))

    def stopping(image: Any) -> bytes:
        if next(count) == 100:
            raise KeyboardInterrupt
        return real(image)

    monkeypatch.setattr(published_layout, "png", stopping)
    with pytest.raises(KeyboardInterrupt):
        export_published(imported, tmp_path / "a", quiet=True)
    with pytest.raises(UsageError, match="not empty"):
        export_published(imported, tmp_path / "a", limit=1, quiet=True)
    export_published(imported, tmp_path / "a", quiet=True)
    assert next(count) < 100 + 395  # clips that were whole are not written again
    export_published(imported, tmp_path / "b", quiet=True)
    assert tree(tmp_path / "a") == tree(tmp_path / "b")
    with pytest.raises(UsageError, match="not empty"):
        export_published(imported, tmp_path / "b", quiet=True)


def test_what_the_layout_cannot_say_is_told(oval_release: Path, tmp_path: Path) -> None:
    found = export_published(oval_release, tmp_path / "tree", crops=False, quiet=True)
    assert {(f.path, f.code) for f in found if f.code == "not-in-layout"} == {
        (f"P_00000{n}_S{s}", "not-in-layout") for n in (0, 1) for s in (1, 2)
    }
    import_release(tmp_path / "tree", tmp_path / "again", quiet=True)
    for one, other in zip(rows_of(oval_release, "video"), rows_of(tmp_path / "again", "video"), strict=False):
        assert one["video"]["bytes"] == other["video"]["bytes"]
        np.testing.assert_allclose(one["bbox"], other["bbox"], atol=1e-4)
    assert not list((tmp_path / "tree").rglob("crops"))


def test_labels_of_odd_rows() -> None:
    row: dict[str, Any] = {
        "clip_id": "F_01_S1", "num_frames": 4, "width": 64, "height": 64,
        "bbox": [[8, 8, 16, 16], [np.nan] * 4, [np.nan] * 4, [70, 8, 16, 16]],
        "extra_bboxes": [[[0, 0, 4, 4]], [], [], []], "face_count": [2, 0, None, 1],
        **dict.fromkeys(("landmarks", "head_pose", "bbox_score", "expression")),
    }  # fmt: skip
    texts, findings = label_texts(row)
    first = "0 0.250000 0.250000 0.250000 0.250000\n0 0.031250 0.031250 0.062500 0.062500\n"
    assert texts == [first, "", "", ""]
    assert [f.code for f in findings] == ["unknown-count", "box-outside"]
    texts, findings = label_texts({**row, "bbox": None})
    assert texts == [""] * 4
    assert not findings
    assert [f.code for f in label_texts({**row, "bbox": [[np.nan] * 4] * 4, "extra_bboxes": None})[1]] == [
        "unknown-count",
        "no-labels",
    ]


@settings(deadline=None)
@given(
    st.lists(
        st.lists(st.tuples(*[st.integers(0, 300)] * 2, *[st.integers(1, 212)] * 2), max_size=3), min_size=1, max_size=4
    ),
    st.sampled_from([(512, 512), (640, 480), (1023, 517)]),
)
def test_boxes_of_whole_pixels_come_back_exactly(frames: list[list[tuple[int, ...]]], size: tuple[int, int]) -> None:
    whole = [[[float(v) for v in box] for box in boxes] for boxes in frames]
    row: dict[str, Any] = {
        "clip_id": "F_01_S1", "num_frames": len(frames), "width": size[0], "height": size[1],
        "bbox": [boxes[0] if boxes else [np.nan] * 4 for boxes in whole],
        "extra_bboxes": [boxes[1:] for boxes in whole], "face_count": [len(boxes) for boxes in whole],
        **dict.fromkeys(("landmarks", "head_pose", "bbox_score", "expression")),
    }  # fmt: skip
    texts, findings = label_texts(row)
    assert [f.code for f in findings] == ([] if any(frames) else ["no-labels"])
    assert [yolo.read_labels(text, *size)[0].tolist() for text in texts] == whole


def test_numbers_of_subjects() -> None:
    def people(*ids: str) -> list[Identity]:
        return [Identity(subject_id=i, gender="female", split="train") for i in ids]

    assert subject_numbers(people("F_04", "F_31")) == {"F_04": 4, "F_31": 31}
    assert subject_numbers(people("P_000004", "F_31")) == {"P_000004": 1, "F_31": 2}
    with pytest.raises(UsageError, match="allowed in this layout: 9999"):
        subject_numbers(people(*(f"P_{n:06d}" for n in range(10_000))))
