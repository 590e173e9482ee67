"""`thermvision check --fix`: what is repaired, what is left alone, and that the release itself stays as it is."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from conftest import ZEROS, clip_row, face_annotation, finish_release, frame_rows, still_row
from fake_annotator import BrightAnnotator
from hypothesis import given
from hypothesis import strategies as st

import thermvision_db
from thermvision.annotations import registry
from thermvision.annotations.errors import UsageError
from thermvision.curation import annotate_commands
from thermvision.curation.checks.catalogue import KINDS, Found
from thermvision.curation.checks.fix import (
    LONGEST_GAP,
    REPAIRS,
    Repairable,
    check_fixable,
    count_faces,
    drop_duplicate_boxes,
    fill_gaps,
    fix_release,
    hide_outside,
)
from thermvision.curation.pack import write_shard
from thermvision.curation.release import read_release
from thermvision.curation.store import sha256_file
from thermvision.curation.verify import verify_release

NOWHERE = [float("nan")] * 4


def clip(source: str = "published labels", frames: int = 12) -> dict[str, Any]:
    annotations = [face_annotation(64, 0.005 * k, known=source == "ground_truth") for k in range(frames)]
    return {**clip_row("F_01_S1", "F_01", ["F_01"], "head_pose", annotations, 64), "annotation_source": source}


@pytest.fixture
def faulty(tmp_path: Path) -> Path:
    """A clip with a gap and a box twice, and a still with a wrong count; its rows of `frames` know nothing of it."""
    row, still = clip(), still_row("F_01_mix_0", "F_01", ["F_01"], "mix", 64)
    right = frame_rows(row, [face_annotation(64, 0.005 * k, known=False) for k in range(12)])
    row["bbox"][4:6], row["face_count"][4:6] = [NOWHERE, NOWHERE], [0, 0]
    row["extra_bboxes"][8], row["face_count"][8] = [row["bbox"][8], [1, 1, 9, 9]], 3
    still["face_count"] = 7
    tables = [("video", [row]), ("mix", [still]), ("frames", right)]
    shards = [write_shard(tmp_path / "in", name, "train", "1.0", 0, rows, ["F_01"], ZEROS) for name, rows in tables]
    return finish_release(tmp_path / "in", "import", ["F_01"], shards)


def test_faces_are_counted_by_their_boxes() -> None:
    row = clip()
    row["face_count"][3], row["extra_bboxes"][5] = 4, [[1, 2, 3, 4]]
    row["bbox"][6], row["face_count"][6] = NOWHERE, 1
    assert count_faces(row)
    assert row["face_count"] == [1, 1, 1, 1, 1, 2, 1, *[1] * 5], "a count without any box is not touched"
    assert not count_faces(row)


def test_repeated_boxes_are_dropped_and_others_stay() -> None:
    row = clip()
    near = np.add(row["bbox"][2], [1, 0, 0, 0]).tolist()
    row["extra_bboxes"][2], row["face_count"][2] = [near, [1, 1, 9, 9], [1, 1, 9, 9.5]], 4
    assert drop_duplicate_boxes(row)
    assert row["extra_bboxes"][2] == [[1, 1, 9, 9]]
    assert row["face_count"][2] == 2
    assert not drop_duplicate_boxes(row)


@given(st.integers(-5, 69), st.integers(-5, 69), st.integers(0, 3))
def test_points_outside_are_hidden_and_no_other_state_changes(x: int, y: int, state: int) -> None:
    row = still_row("a", "F_01", ["F_01"], "mix", 64)
    row["landmarks"][7], row["landmark_state"][7] = [x, y], state
    before = list(row["landmark_state"])
    outside = not (0 <= x <= 64 and 0 <= y <= 64)
    assert hide_outside(row) == (outside and state != 0)
    assert row["landmark_state"][7] == (0 if outside else state)
    assert [s for k, s in enumerate(row["landmark_state"]) if k != 7] == [s for k, s in enumerate(before) if k != 7]


def test_gaps_are_filled_between_neighbours_and_the_source_says_so() -> None:
    row = clip()
    row["bbox"][4:6], row["face_count"][4:6] = [NOWHERE, NOWHERE], [0, 0]
    expected = np.linspace(row["bbox"][3], row["bbox"][6], 4)[1:3]
    assert fill_gaps(row)
    np.testing.assert_allclose(row["bbox"][4:6], expected, atol=1e-3)
    assert row["face_count"][4:6] == [1, 1]
    assert row["annotation_source"] == f"published labels+smoothed(gap={LONGEST_GAP})"


@pytest.mark.parametrize(
    ("source", "first", "last"),
    [("ground_truth", 4, 6), ("x; bbox by Ana", 4, 6), ("x", 0, 3), ("x", 3, 10), ("x", 9, 12)],
)
def test_truth_long_gaps_and_ends_stay_empty(source: str, first: int, last: int) -> None:
    row = clip(source)
    for k in range(first, last):
        row["bbox"][k], row["face_count"][k] = NOWHERE, 0
    before = repr(row)
    assert not fill_gaps(row)
    assert repr(row) == before


def test_every_repair_is_announced_by_its_kind() -> None:
    assert all(KINDS[code].repair for code in REPAIRS)
    assert {KINDS[code].group for code in KINDS if KINDS[code].repair} <= {"integrity", "label"}


def test_the_next_version_is_repaired_and_says_what_was_done(faulty: Path, tmp_path: Path) -> None:
    digests = {p: sha256_file(p) for p in faulty.rglob("*.parquet")}
    wanted = Repairable()
    for item, code in (("F_01_S1", "box-gap"), ("F_01_S1", "box-duplicate"), ("F_01_mix_0", "box-count")):
        wanted.add(Found(code, "label", "error", item_id=item))
    wanted.add(Found("face-flat", "face", "warning", item_id="F_01_S1"))
    assert wanted.total == 3
    fixed = fix_release(faulty, tmp_path / "out", wanted, quiet=True)
    assert (fixed.version, sorted(fixed.repairs.values()), fixed.left) == ("1.1", [1, 1, 1], 0)
    assert {p: sha256_file(p) for p in faulty.rglob("*.parquet")} == digests, "the release itself is never edited"
    manifest = read_release(tmp_path / "out")
    assert (manifest.version, manifest.parent) == ("1.1", "1.0")
    assert not verify_release(tmp_path / "out")
    listed = json.loads((tmp_path / "out/repairs/1.1.json").read_text())
    assert listed["repaired"] == {"F_01_S1": ["box-duplicate", "box-gap"], "F_01_mix_0": ["box-count"]}
    (shard,) = manifest.shards_of("video")
    (row,) = pq.read_table(tmp_path / "out" / shard.path).to_pylist()
    assert np.isfinite(row["bbox"]).all()
    assert row["face_count"] == [1] * 8 + [2] + [1] * 3
    frames = pq.read_table([tmp_path / "out" / s.path for s in manifest.shards_of("frames")]).to_pylist()
    mine = sorted((f for f in frames if f["item_id"] == "F_01_S1"), key=lambda f: f["frame_index"])
    assert [f["bbox"] for f in mine] == row["bbox"], "rows of frames follow"


def test_nothing_to_repair_makes_no_version(faulty: Path, tmp_path: Path) -> None:
    fixed = fix_release(faulty, tmp_path / "out", Repairable(), quiet=True)
    assert not fixed.version
    assert not (tmp_path / "out").exists()
    assert "no version was made" in fixed.lines()[0]


def test_what_cannot_be_fixed_is_refused(faulty: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is none"):
        check_fixable(str(tmp_path), tmp_path / "out")
    with pytest.raises(UsageError, match="never edited"):
        check_fixable(str(faulty), faulty)
    (tmp_path / "full").mkdir()
    check_fixable(str(faulty), tmp_path / "full")
    (tmp_path / "full/notes.txt").write_text("mine")
    with pytest.raises(UsageError, match="full holds something else"):
        check_fixable(str(faulty), tmp_path / "full")


def test_what_was_found_is_told_though_no_version_can_be_made(
    faulty: Path, tmp_path: Path, copied: Callable[[Path], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    root = copied(faulty)
    shard = next((root / "data/video").glob("*.parquet"))
    shard.write_bytes(shard.read_bytes()[:1000])
    command = ["check", str(root), "--only", "integrity", "--quiet", "--fix", str(tmp_path / "out")]
    for more, tells in (([], "unreadable"), (["--json"], '"unreadable"')):
        assert thermvision_db.main([*command, *more]) == 4
        told = capsys.readouterr()
        assert tells in told.out
        assert "is damaged" in told.err


def test_the_command_repairs_a_release(
    faulty: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(annotate_commands, "make_annotator", lambda *arguments: BrightAnnotator())
    monkeypatch.setattr(registry, "embedder", lambda *arguments: None)

    def checked(root: Path, *more: Any) -> tuple[int, set[str], str]:
        code = thermvision_db.main(["check", str(root), "--json", "--quiet", "--only", "label", *map(str, more)])
        told = capsys.readouterr()
        return code, set(json.loads(told.out)["kinds"]), told.out

    code, before, text = checked(faulty, "--fix", tmp_path / "out")
    assert code == 1
    assert before >= {"box-gap", "box-duplicate", "box-count"}
    assert json.loads(text)["fixed"]["version"] == "1.1"
    _, after, _ = checked(tmp_path / "out")
    assert not after & {"box-gap", "box-duplicate", "box-count"}


def test_rows_of_frames_are_made_anew(faulty: Path, tmp_path: Path, copied: Callable[[Path], Path]) -> None:
    from thermvision.curation.checks.integrity import release_findings

    wanted, kinds = Repairable(), set()
    for where, one in release_findings(faulty):
        kinds.add(one.code)
        wanted.add(Found(one.code, KINDS[one.code].group, "error", item_id=where))
    assert wanted.anew, f"the rows of frames disagree with the clip's: {kinds}"
    fix_release(faulty, tmp_path / "out", wanted, quiet=True)
    left = {code.code for _, code in release_findings(tmp_path / "out")}
    assert not {c for c in left if KINDS[c].repair}, left
