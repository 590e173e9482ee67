from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from datasets import load_dataset
from fake_annotator import BrightAnnotator, bright_box

from thermvision.annotations.errors import UsageError
from thermvision.annotations.schema import FRAME_COLUMNS
from thermvision.curation import item_faces
from thermvision.curation.ingest import import_release
from thermvision.curation.item_faces import Temporal
from thermvision.curation.relabel import _annotate_rows, plan_relabelling, relabel
from thermvision.curation.release import Manifest, read_release
from thermvision.curation.reviews.apply import apply_decisions, plan_decisions
from thermvision.curation.reviews.decisions import append, decision_of
from thermvision.curation.sources import ReleaseSource
from thermvision.curation.store import sha256_file
from thermvision.curation.verify import verify_release
from thermvision.curation.video import decode_gray

from .published_imitation import imitation


def rows_of(out: Path, config: str) -> list[dict[str, Any]]:
    shards = read_release(out).shards_of(config)
    return [row for shard in shards for row in pq.read_table(out / shard.path).to_pylist()]


def run(root: Path, out: Path, annotator: BrightAnnotator, **options: Any) -> Manifest:
    plan = plan_relabelling(root, annotator, Temporal(), **options)
    return relabel(plan, out, annotator, Temporal(), quiet=True)


def digests(root: Path) -> dict[str, str]:
    return {p.relative_to(root).as_posix(): sha256_file(p) for p in sorted(root.rglob("*")) if p.is_file()}


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("relabel")
    import_release(imitation().write_zips(folder / "zips"), folder / "release", quiet=True)
    return folder / "release"


def test_an_import_gets_the_annotators_labels_in_a_new_version(imported: Path, tmp_path: Path) -> None:
    before = digests(imported)
    out = tmp_path / "out"
    made = run(imported, out, BrightAnnotator())
    assert digests(imported) == before
    assert (made.version, made.parent) == ("1.1", "1.0")
    assert verify_release(out) == []
    parent = read_release(imported)
    assert sorted(p for s in made.shards for p in s.replaces) == sorted(s.path for s in parent.shards)
    assert not {s.path for s in made.shards} & {s.path for s in parent.shards}
    assert all("-v1.1-" in s.path for s in made.shards)
    old = {row["clip_id"]: row for row in rows_of(imported, "video")}
    frames = {(row["item_id"], row["frame_index"]): row for row in rows_of(out, "frames")}
    for row in rows_of(out, "video"):
        assert row["video"] == old[row["clip_id"]]["video"]
        assert row["annotation_source"] == "bright@0"
        expected = [bright_box(gray) for gray in decode_gray(row["video"]["bytes"])]
        np.testing.assert_array_equal(row["bbox"], expected)
        assert np.array(row["landmarks"]).shape == (row["num_frames"], 68, 2)
        for k in range(row["num_frames"]):
            frame = frames.pop((row["clip_id"], k))
            assert frame["annotation_source"] == "bright@0"
            for name in FRAME_COLUMNS:
                assert frame[name] == (None if row[name] is None else row[name][k])
    assert not frames
    loaded = load_dataset(str(out), "frames")
    assert sum(map(len, loaded.values())) == 200


def test_a_stopped_run_goes_on_and_ends_alike(imported: Path, tmp_path: Path) -> None:
    run(imported, tmp_path / "whole", BrightAnnotator())
    with pytest.raises(KeyboardInterrupt):
        run(imported, tmp_path / "stopped", BrightAnnotator(stop_after=190))
    assert not (tmp_path / "stopped/release.json").exists()
    again = BrightAnnotator()
    run(imported, tmp_path / "stopped", again)
    assert 0 < again.seen < 200
    assert digests(tmp_path / "stopped") == digests(tmp_path / "whole")
    done = BrightAnnotator(stop_after=0)
    run(imported, tmp_path / "whole", done)  # nothing is left to do
    with pytest.raises(UsageError, match="holds"):
        run(imported, tmp_path / "whole", BrightAnnotator(), limit=1)


def test_ground_truth_is_kept_unless_it_is_to_go(oval_release: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"all 14 items .* have ground truth .*--replace-ground-truth"):
        run(oval_release, tmp_path / "a", BrightAnnotator())
    made = run(oval_release, tmp_path / "b", BrightAnnotator(), replace_ground_truth=True)
    assert verify_release(tmp_path / "b")[0].code == "digest"  # the fixture's recipe has no true digest
    assert [f.code for f in verify_release(tmp_path / "b")] == ["digest"]
    assert {r["annotation_source"] for c in ("video", "image", "frames") for r in rows_of(tmp_path / "b", c)} == {
        "bright@0"
    }
    kept = {s.path: s.sha256 for s in made.shards if not s.replaces}
    assert kept == {s.path: s.sha256 for s in read_release(oval_release).shards_of("radiometric")}
    still = rows_of(tmp_path / "b", "beard")[0]
    np.testing.assert_array_equal(still["landmarks"][0], still["bbox"][:2])


def test_what_a_person_corrected_is_kept_unless_it_is_to_go(imported: Path, tmp_path: Path) -> None:
    clip = rows_of(imported, "video")[0]["clip_id"]
    said = decision_of(
        ReleaseSource(imported), clip, "relabel", who="Ana", why="off", column="bbox", value=[1, 2, 9, 9]
    )
    append(tmp_path / "said.jsonl", [said])
    apply_decisions(plan_decisions(imported, tmp_path / "said.jsonl"), tmp_path / "corrected", quiet=True)
    for replace in (False, True):
        out = tmp_path / f"out-{replace}"
        plan = plan_relabelling(tmp_path / "corrected", BrightAnnotator(), Temporal(), replace_ground_truth=replace)
        assert plan.with_truth == (not replace)
        relabel(plan, out, BrightAnnotator(), Temporal(), quiet=True)
        row = next(row for row in rows_of(out, "video") if row["clip_id"] == clip)
        assert (row["bbox"][0] == [1, 2, 9, 9]) is not replace
        assert row["annotation_source"] == ("bright@0" if replace else "yolo5face (published labels); bbox by Ana")


def test_limit_leaves_the_others_as_they_were(imported: Path, tmp_path: Path) -> None:
    run(imported, tmp_path / "out", BrightAnnotator(), limit=1)
    assert verify_release(tmp_path / "out") == []
    sources = [row["annotation_source"] for row in rows_of(tmp_path / "out", "video")]
    assert sources.count("bright@0") == 1
    assert len(sources) == 20
    frames = [row["annotation_source"] for row in rows_of(tmp_path / "out", "frames")]
    assert frames.count("bright@0") == 12


def test_the_release_itself_is_no_output(imported: Path) -> None:
    with pytest.raises(UsageError, match="never edited"):
        run(imported, imported, BrightAnnotator())


def test_a_clip_that_does_not_decode_stays_and_is_told(
    imported_release: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from thermvision.annotations.errors import DamagedInputError

    def broken(*_: Any) -> Any:
        raise DamagedInputError("a frame is corrupt")

    monkeypatch.setattr(item_faces, "_video_faces", broken)
    made = run(imported_release, tmp_path / "out", BrightAnnotator())
    assert [(f.item_id, f.code) for f in made.failed] == [("F_01_S1", "not-annotated")]
    for config in ("video", "frames"):
        np.testing.assert_equal(rows_of(tmp_path / "out", config), rows_of(imported_release, config))


def test_a_version_of_a_version_of_a_version(imported_release: Path, tmp_path: Path) -> None:
    run(imported_release, tmp_path / "a", BrightAnnotator())
    made = run(tmp_path / "a", tmp_path / "b", BrightAnnotator(blind=[0]))
    assert (made.version, made.parent) == ("1.2", "1.1")
    assert verify_release(tmp_path / "b") == []
    assert [r["face_count"] for r in rows_of(tmp_path / "b", "frames")] == [0, 1, 1, 1, 1]
    assert {s.path for s in made.shards} == {
        "data/video/train-v1.2-00000.parquet",
        "data/frames/train-v1.2-00000.parquet",
    }


def test_settings_decide_what_may_go_on(imported_release: Path, tmp_path: Path) -> None:
    run(imported_release, tmp_path / "a", BrightAnnotator(), settings={"threshold": 0.5})
    run(imported_release, tmp_path / "a", BrightAnnotator(stop_after=0), settings={"threshold": 0.5})
    with pytest.raises(UsageError, match="holds"):
        run(imported_release, tmp_path / "a", BrightAnnotator(), settings={"threshold": 0.4})


def test_attributes_fill_what_nobody_has_stated(imported_release: Path, oval_release: Path, tmp_path: Path) -> None:
    run(imported_release, tmp_path / "a", BrightAnnotator())
    for config in ("video", "frames"):
        assert {r["glasses"] for r in rows_of(imported_release, config)} == {None}
        assert {r["glasses"] for r in rows_of(tmp_path / "a", config)} == {0}
        assert {r["mask"] for r in rows_of(tmp_path / "a", config)} == {None}  # of which nothing was said
    (row, *_) = rows_of(oval_release, "beard")
    row.update(mask=0, glasses=1, beard=None, headwear=None, gender=0)
    _annotate_rows([row], "beard", frozenset([row["image_id"]]), Masked(), Temporal(), lambda frames: None)
    stated = {name: row[name] for name in ("gender", "mask", "glasses", "beard", "headwear")}
    assert stated == {"gender": 0, "mask": 0, "glasses": 1, "beard": 4, "headwear": 1}


class Masked(BrightAnnotator):
    """Sees a mask, a beard, a cap and the other gender in every frame."""

    def faces(self, frame: np.ndarray) -> list[Any]:
        said = {"gender": ("male", 1.0), "mask": ("mask", 1.0), "beard": ("goatee", 1.0), "headwear": ("cap", 1.0)}
        found = super().faces(frame)
        for face in found:
            face.attributes.clear()
            face.attributes.update(said)
        return found
