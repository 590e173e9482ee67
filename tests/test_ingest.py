from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from thermvision.annotations.errors import DamagedInputError, UsageError
from thermvision.curation import ingest
from thermvision.curation.ingest import ArchiveSource, import_release, print_report
from thermvision.curation.release import read_release
from thermvision.curation.sources import parts_of
from thermvision.curation.splits import split_of
from thermvision.curation.verify import verify_release

from .published_imitation import SUBJECTS, Imitation, frames_and_boxes, imitation, png, write_tree

SET_1 = "Female Subjects/Set 1 Cropped Headpose Variations"


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> tuple[Imitation, Path]:
    made = imitation()
    return made, made.write_zips(tmp_path_factory.mktemp("published"))


@pytest.fixture(scope="module")
def imported(published: tuple[Imitation, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("imported") / "release"
    import_release(published[1], out, quiet=True)
    return out


def rows_of(out: Path, config: str) -> list[dict[str, Any]]:
    shards = read_release(out).shards_of(config)
    return [row for shard in shards for row in pq.read_table(out / shard.path).to_pylist()]


def digests(out: Path) -> dict[str, str]:
    return {s.path: s.sha256 for s in read_release(out).shards}


def small(folder: Path, count: int = 2, frames: int = 4) -> Path:
    """``count`` subjects with one clip each."""
    from thermvision.curation.video import encode_gray

    for n in range(1, count + 1):
        clip = encode_gray(frames_and_boxes(n, frames)[0])
        subject = f"{SET_1}/Subject-{n}"
        write_tree(
            folder,
            {
                f"{subject}/Thermal Animations/Subject{n}1.mp4": clip,
                f"{subject}/Thermal Face Detection/labels/frame_0000.txt": b"0 0.5 0.5 0.25 0.25\n",
            },
        )
    return folder


def test_the_release_holds_every_clip(published: tuple[Imitation, Path], imported: Path) -> None:
    made, _ = published
    assert verify_release(imported) == []
    rows = {row["clip_id"]: row for row in rows_of(imported, "video")}
    assert set(rows) == set(made.clips)
    release = read_release(imported)
    for clip_id, truth in made.clips.items():
        row = rows[clip_id]
        assert row["video"]["bytes"] == truth.mp4
        assert release.subject_ids[row["identity"]] == row["subject_id"]
        expected = [[np.nan] * 4 if k < 0 else list(b[k]) for b, k in zip(truth.boxes, truth.main, strict=True)]
        np.testing.assert_array_equal(np.array(row["bbox"], float), expected)
        assert row["face_count"] == [len(boxes) for boxes in truth.boxes]
    assert release.source == "import"
    assert release.licence == "thermvision-db-research"
    assert release.configs == ["video", "frames"]


def test_frames_agree_with_video(imported: Path) -> None:
    frames = {(row["item_id"], row["frame_index"]): row for row in rows_of(imported, "frames")}
    assert len(frames) == 200
    for row in rows_of(imported, "video"):
        for k in range(row["num_frames"]):
            frame = frames[row["clip_id"], k]
            assert frame["face_count"] == row["face_count"][k]
            np.testing.assert_array_equal(frame["bbox"], row["bbox"][k])
            assert frame["extra_bboxes"] == row["extra_bboxes"][k]


def test_splits_are_those_of_the_subjects_place(imported: Path) -> None:
    release = read_release(imported)
    expected = {
        f"{gender[0].upper()}_{n:02d}": split_of(gender, i) for gender, ns in SUBJECTS.items() for i, n in enumerate(ns)
    }
    assert {i.subject_id: i.split for i in release.identities} == expected
    for split in ("train", "validation", "test"):
        for shard in release.shards_of("video", split):
            table = pq.read_table(imported / shard.path)
            assert table.num_rows <= 8
            assert {expected[s] for s in table["subject_id"].to_pylist()} == {split}


def test_the_report_accounts_for_everything(published: tuple[Imitation, Path], imported: Path) -> None:
    made, _ = published
    report = json.loads((imported / "import_report.json").read_text())
    assert report["totals"] == {
        "subjects": 10,
        "female": 6,
        "male": 4,
        "clips": 20,
        "stills": 0,
        "frames": 200,
        "frames_without_face": 5,
        "frames_with_several_faces": 2,
        "frames_of_unknown_face_count": 0,
        "failed": 0,
        "members_used": 20 + 195,
        "members_known_and_not_read": 200 + 40 + 4,
        "members_left_out": 10,
    }
    assert {f["path"].split(":")[1] for f in report["left_out"]} == made.extra
    assert len(report["items"]) == 20


def test_zip_and_tree_give_the_same_rows(tmp_path: Path, published: tuple[Imitation, Path], imported: Path) -> None:
    made, _ = published
    import_release(made.write_tree(tmp_path / "tree"), tmp_path / "a", quiet=True)
    for config in ("video", "frames"):
        for one, other in zip(rows_of(imported, config), rows_of(tmp_path / "a", config), strict=True):
            one.pop("provenance", None), other.pop("provenance", None)
            np.testing.assert_equal(one, other)


@pytest.mark.slow
def test_the_number_of_workers_changes_no_byte(
    tmp_path: Path, published: tuple[Imitation, Path], imported: Path
) -> None:
    import_release(published[1], tmp_path / "b", workers=2, quiet=True)
    assert digests(tmp_path / "b") == digests(imported)
    assert (tmp_path / "b" / "release.json").read_bytes() == (imported / "release.json").read_bytes()


def test_the_archives_read_directly_give_the_same_tables(published: tuple[Imitation, Path], imported: Path) -> None:
    source = ArchiveSource(published[1])
    assert source.identities == read_release(imported).subject_ids
    for config in ("video", "frames"):
        for split, parts in source.parts(config).items():
            tables = [table for part in parts for table in source.tables(config, part)]
            shards = read_release(imported).shards_of(config, split)
            for table, shard in zip(tables, shards, strict=True):
                packed = pq.read_table(imported / shard.path)
                assert table.schema.equals(packed.schema)
                np.testing.assert_equal(table.to_pylist(), packed.to_pylist())
    with pytest.raises(UsageError, match="it offers: video, frames"):
        parts_of(source, "image")


def test_a_changed_archive_has_another_digest(tmp_path: Path) -> None:
    small(tmp_path)
    before = ArchiveSource(tmp_path).digest
    assert ArchiveSource(tmp_path).digest == before
    (tmp_path / SET_1 / "Subject-1/Thermal Face Detection/labels/frame_0000.txt").write_bytes(b"0 0.5 0.5 0.25 0.26\n")
    assert ArchiveSource(tmp_path).digest != before


def test_a_killed_import_goes_on_and_ends_the_same(
    tmp_path: Path, published: tuple[Imitation, Path], imported: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    real = ingest.clip_rows

    def dies(archives: Any, clip: Any, identity: int) -> Any:
        calls.append(clip.clip_id)
        if len(calls) == 12:
            raise KeyboardInterrupt
        return real(archives, clip, identity)

    monkeypatch.setattr(ingest, "clip_rows", dies)
    with pytest.raises(KeyboardInterrupt):
        import_release(published[1], tmp_path / "out", quiet=True)
    assert not (tmp_path / "out" / "release.json").exists()
    import_release(published[1], tmp_path / "out", quiet=True)
    assert len(calls) < 12 + 20
    for name in ("release.json", "import_report.json", "README.md"):
        assert (tmp_path / "out" / name).read_bytes() == (imported / name).read_bytes()
    assert not list((tmp_path / "out").rglob("*.partial"))
    before = len(calls)
    report = import_release(published[1], tmp_path / "out", quiet=True)
    assert len(calls) == before
    assert report.totals()["frames"] == 200
    (tmp_path / "out" / "import_report.json").unlink()
    assert import_release(published[1], tmp_path / "out", quiet=True).as_dict() == report.as_dict()
    assert len(calls) == before + 20


def test_a_folder_may_be_renamed_between_runs(tmp_path: Path) -> None:
    small(tmp_path / "a")
    import_release(tmp_path / "a", tmp_path / "out", quiet=True)
    (tmp_path / "a").rename(tmp_path / "b")
    import_release(tmp_path / "b", tmp_path / "out", quiet=True)


def test_other_archives_are_not_mixed_in(tmp_path: Path, published: tuple[Imitation, Path]) -> None:
    import_release(small(tmp_path / "small"), tmp_path / "out", quiet=True)
    with pytest.raises(UsageError, match="choose another --out"):
        import_release(published[1], tmp_path / "out", quiet=True)


def test_limit_and_dry_run(tmp_path: Path, published: tuple[Imitation, Path], imported: Path) -> None:
    report = import_release(published[1], tmp_path / "out", dry_run=True)
    assert not (tmp_path / "out").exists()
    assert report.totals()["clips"] == 20
    assert report.totals()["subjects"] == 10
    report = import_release(published[1], tmp_path / "out", limit=3, quiet=True)
    assert (report.totals()["clips"], report.not_planned) == (3, 17)
    whole = {i.subject_id: i.split for i in read_release(imported).identities}
    assert [(i.subject_id, i.split) for i in read_release(tmp_path / "out").identities] == [
        (s, whole[s]) for s in ("F_01", "F_03")
    ]


def test_a_clip_that_does_not_decode_is_left_out_with_its_reason(tmp_path: Path, capsys: Any) -> None:
    small(tmp_path / "in", 3)
    bad = tmp_path / "in" / SET_1 / "Subject-2/Thermal Animations/Subject21.mp4"
    bad.write_bytes(bad.read_bytes()[:500])
    report = import_release(tmp_path / "in", tmp_path / "out", quiet=True)
    assert [(f.item_id, f.code) for f in report.failed] == [("F_02_S1", "undecodable")]
    assert "Subject21.mp4" in report.failed[0].reason
    assert [row["clip_id"] for row in rows_of(tmp_path / "out", "video")] == ["F_01_S1", "F_03_S1"]
    assert read_release(tmp_path / "out").failed == report.failed
    assert verify_release(tmp_path / "out") == []
    print_report(report)
    text = capsys.readouterr().out
    assert "failed: 1 undecodable" in text
    assert "missing-sequence" in text


def test_when_nothing_decodes_there_is_no_release(tmp_path: Path) -> None:
    small(tmp_path / "in", 1)
    (tmp_path / "in" / SET_1 / "Subject-1/Thermal Animations/Subject11.mp4").write_bytes(b"text")
    with pytest.raises(DamagedInputError, match=r"not one item can be read.*Subject11\.mp4"):
        import_release(tmp_path / "in", tmp_path / "out", quiet=True)
    assert not (tmp_path / "out" / "release.json").exists()


def test_a_folder_with_something_else_says_what_is_expected(tmp_path: Path) -> None:
    write_tree(tmp_path / "in", {"holiday/beach.mp4": b"x"})
    with pytest.raises(UsageError, match=r"holds no clip.*beach\.mp4.*Subject11\.mp4"):
        import_release(tmp_path / "in", tmp_path / "out", quiet=True)
    assert not (tmp_path / "out").exists()


def test_a_broken_zip_stops_before_anything_is_written(tmp_path: Path, published: tuple[Imitation, Path]) -> None:
    data = (published[1] / "Male Subjects.zip").read_bytes()
    (tmp_path / "Male Subjects.zip").write_bytes(data[:-100])
    with pytest.raises(DamagedInputError, match="download it again"):
        import_release(tmp_path / "Male Subjects.zip", tmp_path / "out", quiet=True)
    assert not (tmp_path / "out").exists()


def test_stills_become_their_configs_and_frames(tmp_path: Path) -> None:
    small(tmp_path / "in", 1)
    images = {n: png(np.full((20, 30), n, np.uint8)) for n in (1, 2)}
    write_tree(tmp_path / "in", {f"Female Subjects/Mix/Subject-1/{n}.png": data for n, data in images.items()})
    write_tree(
        tmp_path / "in", {"Male Subjects/Beard/Subject-1/a.png": images[1], "Male Subjects/Beard/Subject-1/b.png": b"x"}
    )
    report = import_release(tmp_path / "in", tmp_path / "out", quiet=True)
    assert report.totals()["stills"] == 3
    assert [f.item_id for f in report.failed] == ["M_01_beard_001"]
    assert read_release(tmp_path / "out").configs == ["video", "image", "beard", "mix", "frames"]
    assert [row["image"]["bytes"] for row in rows_of(tmp_path / "out", "mix")] == list(images.values())
    assert len(rows_of(tmp_path / "out", "frames")) == 4 + 3
    assert verify_release(tmp_path / "out") == []
    source = ArchiveSource(tmp_path / "in")
    direct = [
        r
        for parts in source.parts("image").values()
        for p in parts
        for t in source.tables("image", p)
        for r in t.to_pylist()
    ]
    assert direct == rows_of(tmp_path / "out", "image")


def test_shards_are_bounded_in_bytes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    small(tmp_path / "in", 5)
    monkeypatch.setattr(ingest, "SHARD_BYTES", 1)
    import_release(tmp_path / "in", tmp_path / "out", quiet=True)
    assert [s.rows for s in read_release(tmp_path / "out").shards_of("video")] == [1] * 5
