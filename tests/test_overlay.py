from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from fake_annotator import BrightAnnotator, bright_box

import thermvision_db
from thermvision.annotations.errors import DamagedInputError, UsageError
from thermvision.annotations.schema import FrameAnnotation
from thermvision.curation.annotate import Summary
from thermvision.curation.ingest import import_release
from thermvision.curation.inputs import open_input
from thermvision.curation.item_faces import FrameFaces, Temporal
from thermvision.curation.overlay import annotate_overlay, frame_findings, join, read_overlay

from .published_imitation import SIZE, imitation, png


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The imitation as zips and as a release, and an overlay of the zips."""
    root = tmp_path_factory.mktemp("overlay")
    made = imitation()
    still = "Female Subjects/Mix/Subject-1/a.png"
    made.archives["Female Subjects.zip"][still] = png(np.pad(np.full((9, 9), 200, np.uint8), 20))
    import_release(made.write_zips(root / "zips"), root / "release", quiet=True)
    overlay(root / "zips", root / "labels")
    return root


def overlay(source: Path, out: Path, **options: Any) -> Summary:
    annotator = options.pop("annotator", None) or BrightAnnotator()
    return annotate_overlay(open_input(str(source), **options), out, annotator, Temporal(), quiet=True)


def test_an_overlay_holds_labels_and_no_picture(folder: Path) -> None:
    files = sorted(p.name for p in (folder / "labels").iterdir())
    assert {"README.md", "overlay.json"} <= set(files)
    assert all(n in ("README.md", "overlay.json") or n.startswith("labels-") for n in files)
    manifest, table = read_overlay(folder / "labels")
    assert table.num_rows == 200 + 1
    assert manifest.annotation_source == "bright@0"
    assert manifest.items["F_01_S1"][0] == 12
    assert "video" not in table.column_names
    assert "image" not in table.column_names
    row = next(r for r in table.to_pylist() if (r["clip_id"], r["frame_index"]) == ("F_04_S1", 3))
    assert row["findings"] == ["source-has-no-box"]
    assert np.array(row["landmarks"]).shape == (68, 2)
    assert "thermvision_db.load" in (folder / "labels/README.md").read_text()


def test_a_release_and_its_archives_give_equal_labels(folder: Path, tmp_path: Path) -> None:
    overlay(folder / "release", tmp_path / "a")
    key = [("clip_id", "ascending"), ("frame_index", "ascending")]
    one, other = (read_overlay(p)[1].sort_by(key).to_pylist() for p in (folder / "labels", tmp_path / "a"))
    np.testing.assert_equal(one, other)


@pytest.mark.parametrize("source", ["zips", "release"])
def test_load_joins_clips(folder: Path, source: str) -> None:
    plain = thermvision_db.load("video", folder / source)
    joined = thermvision_db.load("video", folder / source, overlay=folder / "labels")
    assert set(joined) == set(plain)
    for split, rows in joined.items():
        assert rows.column_names == [*plain[split].column_names, "findings"]
        assert {n: rows.features[n] for n in plain[split].features} == dict(plain[split].features)
        for row, before in zip(rows, plain[split], strict=True):
            assert row["video"] == before["video"]
            assert row["annotation_source"] == "bright@0"
            gray = thermvision_db.frames(row)
            np.testing.assert_array_equal(row["bbox"], [bright_box(g) for g in gray])
            assert len(row["findings"]) == row["num_frames"]


def test_load_joins_frames_stills_and_streams(folder: Path) -> None:
    frames = thermvision_db.load("frames", folder / "release", split="train", overlay=folder / "labels")
    assert set(frames["annotation_source"]) == {"bright@0"}
    assert all(np.isfinite(frames["bbox"]).ravel())
    stills = thermvision_db.load("mix", folder / "release", overlay=folder / "labels")
    still = next(row for rows in stills.values() for row in rows)
    assert still["bbox"] == [20, 20, 9, 9]
    assert still["bbox_score"] == 0.75
    assert still["findings"] == []
    streamed = thermvision_db.load(
        "frames", folder / "release", streaming=True, overlay=folder / "labels", split="train"
    )
    np.testing.assert_equal(list(streamed), list(frames))


def test_rows_without_labels_stay(folder: Path, tmp_path: Path) -> None:
    overlay(folder / "release", tmp_path / "a", limit=1)
    plain = thermvision_db.load("frames", folder / "release")
    joined = join(plain, "frames", tmp_path / "a")
    rows = [row for data in joined.values() for row in data]
    assert sum(row["annotation_source"] == "bright@0" for row in rows) == 12 + 1
    other = next(row for row in rows if row["annotation_source"] != "bright@0")
    assert other["findings"] is None


def test_an_overlay_of_other_files_is_refused(folder: Path, imported_release: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"has 12 frames of F_01_S1, and the clip has 5"):
        thermvision_db.load("video", imported_release, overlay=folder / "labels")
    with pytest.raises(UsageError, match=r"no label overlay.*--overlay"):
        thermvision_db.load("video", folder / "release", overlay=tmp_path)
    (tmp_path / "a.png").write_bytes(png(np.zeros((SIZE, SIZE), np.uint8)))
    with pytest.raises(UsageError, match="needs a release"):
        overlay(tmp_path / "a.png", tmp_path / "b")
    with pytest.raises(UsageError, match="leave overlay out"):
        join(None, "radiometric", folder / "labels")


def test_a_damaged_overlay_is_refused(folder: Path, tmp_path: Path) -> None:
    import shutil

    root = Path(shutil.copytree(folder / "labels", tmp_path / "labels"))
    file = next(root.glob("labels-*.parquet"))
    table = pq.read_table(file)
    pq.write_table(table.slice(1), file)
    with pytest.raises(DamagedInputError, match=file.name):
        read_overlay(root)
    manifest = json.loads((root / "overlay.json").read_text())
    manifest["files"][0]["path"] = "../labels.parquet"
    (root / "overlay.json").write_text(json.dumps(manifest))
    with pytest.raises(DamagedInputError, match="leaves the release"):
        read_overlay(root)


def test_a_stopped_run_goes_on(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        overlay(folder / "zips", tmp_path / "a", annotator=BrightAnnotator(stop_after=190))
    assert not (tmp_path / "a/overlay.json").exists()
    again = BrightAnnotator()
    overlay(folder / "zips", tmp_path / "a", annotator=again)
    assert 0 < again.seen < 201
    names = [p.name for p in (folder / "labels").iterdir()]
    assert sorted(names) == sorted(p.name for p in (tmp_path / "a").iterdir())
    for name in names:
        assert (tmp_path / "a" / name).read_bytes() == (folder / "labels" / name).read_bytes()


def test_findings_of_a_frame() -> None:
    nan = [np.nan] * 4
    seen = FrameFaces(64, 64, FrameAnnotation([10, 10, 20, 20], 2, "x", landmark_state=np.zeros(68)))
    none = FrameFaces(64, 64, FrameAnnotation.no_face("x"))
    assert frame_findings(seen, [11, 10, 20, 20]) == ["several-faces", "landmarks-outside"]
    assert frame_findings(seen, [40, 40, 20, 20]) == ["several-faces", "box-disagrees", "landmarks-outside"]
    assert frame_findings(seen, nan) == ["several-faces", "source-has-no-box", "landmarks-outside"]
    assert frame_findings(none, [11, 10, 20, 20]) == ["no-face", "source-has-box"]
    assert frame_findings(none, nan) == frame_findings(none, None) == ["no-face"]
