"""What the explorer tells of an item: its labels as they are, plain JSON, and findings of the right release only."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from altered_shards import alter
from conftest import ZEROS, finish_release, oval_face

import thermvision_db
from thermvision.annotations import schema
from thermvision.annotations.errors import UsageError
from thermvision.curation.checks.catalogue import Found
from thermvision.curation.checks.report import FindingsFiles
from thermvision.curation.contents import content_digest
from thermvision.curation.duplicates.dedupe import Pair
from thermvision.curation.pack import write_shard
from thermvision.curation.release import read_release
from thermvision.curation.sources import ReleaseSource
from thermvision.curation.store import atomic_write
from thermvision.dataset_card.explorer import finding_files, frame_lists
from thermvision.dataset_card.explorer.catalogue import Catalogue, open_catalogue
from thermvision.dataset_card.explorer.media import ReleaseMedia
from thermvision.dataset_card.explorer.records import item_record, read_provenance, regenerate_command
from thermvision.dataset_card.explorer.seen import FindingFiles, SeenFinding

CLIPS, STILLS = "data/video/train-v1.0-00000.parquet", "data/image/frontal_pose/train-v1.0-00000.parquet"


@contextmanager
def catalogue_of(root: Path) -> Iterator[Catalogue]:
    with closing(open_catalogue(root)) as catalogue:
        catalogue.wait()
        yield catalogue


def record(root: Path, item_id: str, **more: Any) -> dict[str, Any]:
    with catalogue_of(root) as catalogue:
        key = catalogue.key_of(item_id)
        assert key is not None
        made = item_record(catalogue, key, "a", ReleaseMedia(root), **more)
    again: dict[str, Any] = json.loads(json.dumps(made, allow_nan=False))
    assert again == made
    return made


def test_a_clip_is_told_as_it_is(oval_release: Path) -> None:
    row = pq.read_table(oval_release / CLIPS, partitioning=None).slice(1, 1).to_pylist()[0]
    made = record(oval_release, "P_000000_S2", place="my release")
    assert {name: made[name] for name in ("id", "side", "config", "kind", "subject", "identity", "gender")} == {
        "id": "P_000000_S2", "side": "a", "config": "video", "kind": "clip", "subject": "P_000000", "identity": 0,
        "gender": "female",
    }  # fmt: skip
    assert (made["sequence"], made["category"], made["fps"], made["num_frames"]) == ("expression", None, 30.0, 12)
    assert (made["shard"], made["row"], made["split"]) == (CLIPS, 1, "train")
    media = made["media"]
    assert media["url"] == f"data/a/media/{made['key']}.mp4"
    assert media["frame_url"] == f"data/a/frame/{made['key']}/{{n}}.png"
    assert (media["type"], media["codec"], media["bytes"]) == ("video/mp4", "h264", len(row["video"]["bytes"]))
    frames = made["frames"]
    for name in ("bbox", "landmarks", "head_pose", "eye_openness", "mouth_openness"):
        assert np.abs(np.array(frames[name]) - np.array(row[name])).max() <= 0.0005, name
    assert frames["landmark_state"] == row["landmark_state"]
    assert frames["face_count"] == [1] * 12
    assert frames["extra_bboxes"] == [[]] * 12
    assert frames["bbox_score"] is None
    assert frames["expression"] == ["neutral", "smile"] * 6
    assert set(made["attributes"]) == set(schema.ATTRIBUTES)
    assert (made["provenance"], made["command"], made["heat"], made["problems"]) == (None, None, None, [])


def test_a_still_is_a_list_of_one_frame(oval_release: Path) -> None:
    made = record(oval_release, "P_000000_frontal_pose_0", live=False)
    assert (made["kind"], made["category"], made["num_frames"], made["media"]["type"]) == (
        "still", "frontal_pose", 1, "image/png",
    )  # fmt: skip
    assert made["media"]["frame_url"] is None
    assert made["frames"]["expression"] == ["neutral"]
    assert np.array(made["frames"]["landmarks"]).shape == (1, 68, 2)
    assert made["attributes"]["hairstyle"] == "short"
    assert made["attributes"]["mask"] is None
    heat = made["heat"]
    assert (heat["frames"], heat["width"], heat["url"]) == ([0], 40, f"data/a/heat/{made['key']}/{{n}}.bin")


def test_frames_without_a_face(imported_release: Path) -> None:
    frames = record(imported_release, "F_01_S1")["frames"]
    assert [box is None for box in frames["bbox"]] == [False, True, False, False, False]
    assert frames["face_count"] == [1, 0, 2, 1, 1]
    assert frames["extra_bboxes"] == [[], [], [[1.0, 2.0, 9.0, 12.0]], [], []]
    assert frames["landmarks"] is None
    assert frames["head_pose"] is None


def test_half_numbers_and_strange_classes(oval_release: Path, copied: Callable[[Path], Path]) -> None:
    def change(rows: list[dict[str, Any]]) -> None:
        row = rows[0]
        row["bbox"][2][1] = float("nan")
        row["landmarks"][3][5] = [float("inf"), 4.0]
        row["landmarks"][4] = [[float("nan")] * 2] * 68
        row["expression"][5] = 70
        row["head_pose"][6] = None
        row["gender"], row["glasses"] = None, 9
        row["eye_openness"] = [float("nan")] * 12

    root = copied(oval_release)
    alter(root, CLIPS, change)
    made = record(root, "P_000000_S1")
    frames = made["frames"]
    assert frames["bbox"][2] is None
    assert frames["bbox"][1] is not None
    assert frames["landmarks"][3][5] == [None, None]
    assert frames["landmarks"][3][6][0] > 0
    assert frames["landmarks"][4] is None
    assert frames["expression"][5] == "class 70"
    assert frames["head_pose"][6] is None
    assert frames["eye_openness"] is None
    assert made["gender"] is None
    assert made["attributes"]["glasses"] == "class 9"


def test_labels_of_other_types_are_unknown() -> None:
    table = pa.table(
        {
            "bbox": pa.array([[[1.0, 2.0]]]), "landmarks": pa.array([[[1.0] * 68]]), "head_pose": pa.array(["up"]),
            "face_count": pa.array([["two"]]), "extra_bboxes": pa.array([[[["a", "b", "c", "d"]]]]),
            "expression": pa.array([[None]], pa.list_(pa.int64())),
        }
    )  # fmt: skip
    told, left_out = frame_lists.frame_lists(table, True, 1)
    assert told.pop("extra_bboxes") == [[]]
    assert set(told.values()) == {None}
    assert left_out == []


def test_a_long_clip_goes_without_landmarks(oval_release: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frame_lists, "MOST_FRAMES", 11)
    made = record(oval_release, "P_000000_S1")
    assert made["frames"]["landmarks"] is None
    assert len(made["frames"]["bbox"]) == 12
    assert made["problems"] == ["landmarks, landmark_state of 12 frames are too many to show"]


def test_rows_that_say_more_than_their_item_has(oval_release: Path, copied: Callable[[Path], Path]) -> None:
    root = copied(oval_release)
    shard = next((root / "data/video").glob("train-*"))
    table = pq.read_table(shard)
    rows = table.to_pylist()
    rows[0]["bbox"] = rows[0]["bbox"] + [[0.0, 0.0, 9.0, 9.0]] * 5000
    rows[0]["extra_bboxes"] = [[[0.0, 0.0, 9.0, 9.0]] * 5000] * 12
    rows[0]["num_frames"] = 7
    pq.write_table(table.from_pylist(rows, table.schema), shard)
    told = record(root, rows[0]["clip_id"])
    assert len(told["frames"]["bbox"]) == len(told["frames"]["extra_bboxes"]) == 7
    assert {len(boxes) for boxes in told["frames"]["extra_bboxes"]} == {frame_lists.MOST_BOXES}
    (problem,) = told["problems"]
    assert "is said to have 7 frames and its video has 12; type: thermvision check" in problem


def test_broken_media_leave_the_labels(oval_release: Path, copied: Callable[[Path], Path]) -> None:
    root = copied(oval_release)
    alter(root, CLIPS, lambda rows: rows[0].update(video={"bytes": b"#EXTM3U", "path": ""}))
    made = record(root, "P_000000_S1")
    assert made["problems"] == ["P_000000_S1 is no MP4; it is not shown"]
    assert made["media"]["url"].endswith(".mp4")
    assert made["media"]["bytes"] is None
    assert len(made["frames"]["bbox"]) == 12


def test_an_item_that_is_not_there(oval_release: Path) -> None:
    with catalogue_of(oval_release) as catalogue, pytest.raises(UsageError, match="no item 99"):
        item_record(catalogue, 99, "a", ReleaseMedia(oval_release))


def test_the_faces_of_a_scene(tmp_path: Path) -> None:
    box, marks = [1.0, 2.0, 3.0, 4.0], oval_face(64)[1].tolist()
    row = {
        "image": {"bytes": cv2.imencode(".png", oval_face(64)[0])[1].tobytes(), "path": "s.png"},
        "image_id": "scene <b>0</b>", "width": 64, "height": 64, "face_count": 2,
        "faces": {
            "subject_id": ["P_000000", "P_000001"], "identity": [0, 1], "gender": [0, 1], "bbox": [box, box],
            "bbox_score": [None, None], "landmarks": [marks, marks], "landmark_state": [[3] * 68] * 2,
            "head_pose": [[float("nan")] * 3, [1, 2, 3.00049]], "expression": [0, 1], "eye_openness": [0.25, None],
            "mouth_openness": [None, None],
        },
        "annotation_source": "ground_truth", "provenance": "{}",
    }  # fmt: skip
    subjects = ["P_000000", "P_000001"]
    shard = write_shard(tmp_path, "scenes", "train", "1.0", 0, [row], subjects, ZEROS)
    made = record(finish_release(tmp_path, "build", subjects, [shard]), "scene <b>0</b>")
    assert (made["kind"], made["config"], made["subject"], made["media"]["type"]) == (
        "scene", "scenes", None, "image/png",
    )  # fmt: skip
    first, second = made["faces"]
    assert (first["subject_id"], first["gender"], first["expression"], first["bbox"]) == (
        "P_000000", "female", "neutral", box,
    )  # fmt: skip
    assert first["head_pose"] == [None, None, None]
    assert (second["head_pose"], second["gender"], second["eye_openness"]) == ([1.0, 2.0, 3.0], "male", None)
    assert made["frames"]["face_count"] == [2]
    assert made["frames"]["bbox"] is None


def test_provenance_is_shown_and_never_trusted() -> None:
    made = {"spec": {"seed": 2**63, "prompt": "<script>alert(1)</script>"}, "engine": "x@1"}
    assert read_provenance(json.dumps(made)) == {**made, "spec": {**made["spec"], "seed": str(2**63)}}  # type: ignore[dict-item]
    for text in ("[" * 5000 + "]" * 5000, '{"a":' * 60 + "1" + "}" * 60, "9" * 5000, "{", '"text"', "[1]"):
        assert read_provenance(text) == text[:20_000]
    long = read_provenance('{"a": "' + "x" * 2**20 + '"}')
    assert isinstance(long, str)
    assert long.endswith("… (1048585 characters)")
    assert len(long) < 21_000
    assert read_provenance('{"a": 1e999, "b": -Infinity, "c": true}') == {"a": None, "b": None, "c": True}
    for text in (None, "", " ", "{}", 7):
        assert read_provenance(text) is None


def test_the_command_is_one_that_works(wave_release: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What is pasted is what `regenerate` reads, whatever is in a name."""
    with catalogue_of(wave_release) as catalogue:
        item_id = catalogue.row(0).item_id
    made = record(wave_release, item_id, place=str(wave_release))
    assert made["provenance"]["spec"]["item_id"] == item_id
    words = shlex.split(made["command"])
    assert words == ["thermvision", "regenerate", str(wave_release), "--clip", item_id]
    assert thermvision_db.main([*words[1:], "--dry-run"]) == 0
    assert "1 item in 1 shard would be rendered again" in capsys.readouterr().out
    told = {"spec": {}, "engine": "x@1"}
    for place, item_id in (("-x", "--help"), ("a b; rm -rf ~", "$(touch x)'\"`id`"), ("é", "日本")):
        words = shlex.split(regenerate_command(place, item_id, told) or "")
        assert words[2].removeprefix("./") == place
        assert " ".join(words[3:]) in (f"--clip {item_id}", f"--clip={item_id}")
    for place, item_id in (("x", "a\x15rm -rf ~\n"), ("x\x1b", "a"), ("x", "a\nb")):
        assert regenerate_command(place, item_id, told) is None
    assert regenerate_command("x", "a", {"member": "a.zip/F_01.mp4"}) is None


def found(code: str, item_id: str, **more: Any) -> Found:
    return replace(Found(code, "image", "warning", item_id), **more)


def write_check(root: Path, findings: list[Found]) -> Path:
    with FindingsFiles(root) as files:
        for finding in findings:
            files.add(finding)
    return root


def test_findings_of_check(oval_release: Path, tmp_path: Path) -> None:
    folder = write_check(
        tmp_path / "out",
        [
            found("posterised", "P_000000_S1", first=2, last=5, detail="7 of 129 levels"),
            found("posterised", "P_000000_S1", first=9, last=9, detail="<b>bold</b>"),
            found("size", "", path="README.md", detail="cut off"),
        ],
    )
    seen = FindingFiles([folder])
    with catalogue_of(oval_release) as catalogue:
        assert seen.of(catalogue, "0" * 16) == [
            SeenFinding("P_000000_S1", "posterised", "7 of 129 levels", 2, 5, "check"),
            SeenFinding("P_000000_S1", "posterised", "<b>bold</b>", 9, 9, "check"),
            SeenFinding("", "size", "README.md: cut off", None, None, "check"),
        ]
        told = seen.told({"a": (catalogue, "0" * 16)})
        assert FindingFiles([folder / "findings.json"]).of(catalogue, None) == seen.of(catalogue, None)
    assert [(k["code"], k["items"], k["findings"], k["frames"]) for k in told["kinds"]] == [
        ("posterised", 1, 2, 5), ("size", 0, 1, 0),
    ]  # fmt: skip
    assert told["kinds"][1]["message"].startswith("A file is longer or shorter")
    assert told["kinds"][1]["examples"] == ["README.md: cut off"]
    assert told["sources"] == [{"name": "check", "path": "findings.parquet", "problem": None, "sides": ["a"]}]
    assert told["audit"] is None


def test_findings_of_another_release_are_told(oval_release: Path, tmp_path: Path) -> None:
    folder = write_check(tmp_path / "out", [found("posterised", "P_000000_S1"), found("posterised", "gone")])
    digest = ReleaseSource(oval_release).digest
    with catalogue_of(oval_release) as catalogue:
        seen = FindingFiles([folder])
        assert [f.item_id for f in seen.of(catalogue, digest)] == ["P_000000_S1"]
        (source,) = seen.told({"a": (catalogue, digest)})["sources"]
        assert source["problem"].startswith("1 of 2 items it names are not here, such as gone")
        mine = content_digest(read_release(oval_release))
        for stamp, expected in ((mine, 1), ("f" * 64, 0)):
            summary = {"format": "thermvision-check/1", "release": {"version": "1.0", "digest": stamp}, "kinds": {}}
            atomic_write(folder / "check.json", json.dumps(summary))
            assert len(FindingFiles([folder]).of(catalogue, digest)) == expected
        (source,) = FindingFiles([folder]).told({"a": (catalogue, digest)})["sources"]
        assert source["problem"].startswith("it is about version 1.0 of digest ffffffffffffffff, and this release has")


def test_findings_of_dedupe(oval_release: Path, tmp_path: Path) -> None:
    pairs = [
        Pair("overlapping-clips", "hash", "P_000000_S1", "P_000001_S1", 0.99, 0.8, "here", frame_one=2, frame_other=4,
             frames=5),
        Pair("look-alikes", "embedding", "P_000000", "P_000001", 0.75, 0.6),
        Pair("memorised", "face", "P_000000_S2", "P_000001_S2", 0.99, 0.9, where="seeds"),
    ]  # fmt: skip
    plain = {
        "pairs": [vars(p) for p in pairs],
        "findings": [{"path": "P_000001_S2", "code": "unreadable", "message": "x"}],
    }
    path = tmp_path / "dedupe.json"
    path.write_text(json.dumps(plain))
    with catalogue_of(oval_release) as catalogue:
        made = FindingFiles([path]).of(catalogue, None)
    assert made[:4] == [
        SeenFinding("P_000000_S1", "overlapping-clips", "as P_000001_S1 (0.990 of 1)", 2, 6, "dedupe"),
        SeenFinding("P_000001_S1", "overlapping-clips", "as P_000000_S1 (0.990 of 1)", 4, 8, "dedupe"),
        SeenFinding("P_000000_S2", "memorised", "as P_000001_S2 (0.990 of 1)", None, None, "dedupe"),
        SeenFinding("P_000001_S2", "unreadable", "x", None, None, "dedupe"),
    ]
    people = made[4:]
    assert len(people) == 14  # all clips and stills of both
    assert {f.message for f in people if f.item_id.startswith("P_000001")} == {"as P_000000 (0.750 of 1)"}


def test_findings_of_an_audit(oval_release: Path, tmp_path: Path) -> None:
    digest = ReleaseSource(oval_release).digest
    audit = {
        "format": "thermvision-audit/1", "release": "Ovals", "version": "1.0", "digest": digest, "verdict": "doubt",
        "answers": [{"name": "parity", "question": "?", "level": "doubt", "statement": "<i>", "more": 1}, "x"],
        "splits": {
            "pictures": [["P_000000_S1", 3, "P_000001_S1", 4, 0.9991], ["short"]],
            "look_alikes": [["P_000000", "P_000001", 0.7]], "shared": {"P_000000": ["test", "train"]},
        },
    }  # fmt: skip
    (tmp_path / "audit.json").write_text(json.dumps(audit))
    with catalogue_of(oval_release) as catalogue:
        seen = FindingFiles([tmp_path])
        made, told = seen.of(catalogue, digest), seen.told({"a": (catalogue, digest)})
        other = seen.told({"a": (catalogue, "0" * 16)})
    assert made[:2] == [
        SeenFinding("P_000000_S1", "picture-in-two-splits", "nearly equal to frame 4 of P_000001_S1", 3, 3, "audit"),
        SeenFinding("P_000001_S1", "picture-in-two-splits", "nearly equal to frame 3 of P_000000_S1", 4, 4, "audit"),
    ]
    assert [k["code"] for k in told["kinds"]] == [
        "look-alikes-in-two-splits", "picture-in-two-splits", "subject-in-two-splits",
    ]  # fmt: skip
    assert told["audit"]["verdict"] == "doubt"
    assert told["audit"]["answers"] == [{"name": "parity", "question": "?", "level": "doubt", "statement": "<i>"}]
    assert other["kinds"] == []
    assert "it is about version 1.0" in other["sources"][0]["problem"]
    assert other["audit"]["problem"] == other["sources"][0]["problem"]


def test_files_that_are_none_of_ours(oval_release: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="is not there; allowed"):
        FindingFiles([tmp_path / "nowhere"])
    with pytest.raises(UsageError, match="holds none of findings"):
        FindingFiles([tmp_path])
    rows = [
        1,
        {"code": "<b>", "item_id": "x"},
        {"code": "a", "item_id": {}},
        {"code": "blurred", "item_id": "P_000000_S1", "first": True, "last": -4, "detail": ["a", {"b": 1}]},
    ]
    pairs = [7, {"code": "exact-duplicate", "one": None, "other": "P_000000_S1"}]
    contents: dict[str, bytes] = {
        "no.json": b"{",
        "deep.json": b"[" * 100_000,
        "text.json": b'"x"',
        "audit.json": b'{"format": "thermvision-audit/9"}',
        "broken.parquet": b"PAR1",
        "rows.json": json.dumps(rows).encode(),
        "pairs.json": json.dumps({"pairs": pairs}).encode(),
        "large.json": b"[" + b" " * 2000 + b"]",
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    pq.write_table(pa.table({"x": [1]}), tmp_path / "other.parquet")
    monkeypatch.setattr(finding_files, "MAX_JSON_BYTES", 1000_000)
    with catalogue_of(oval_release) as catalogue:
        seen = FindingFiles([tmp_path / n for n in (*contents, "other.parquet")])
        made = seen.of(catalogue, None)
        told = {s["path"]: s["problem"] for s in seen.told({"a": (catalogue, None)})["sources"]}
    assert made == [
        SeenFinding("P_000000_S1", "blurred", "a, ", None, None, "check"),
        SeenFinding("P_000000_S1", "exact-duplicate", "as ", None, None, "dedupe"),
    ]
    for name in ("no.json", "deep.json", "broken.parquet"):
        assert told[name].startswith("it does not read"), name
    for name in ("text.json", "other.parquet"):
        assert "none of" in told[name], name
    assert told["rows.json"] == "3 of its findings are none of ours"
    assert told["pairs.json"] == "2 of its findings are none of ours"
    monkeypatch.setattr(finding_files, "MAX_JSON_BYTES", 1000)
    with catalogue_of(oval_release) as catalogue:
        (source,) = FindingFiles([tmp_path / "large.json"]).told({"a": (catalogue, None)})["sources"]
    assert "more than 1000 bytes" in source["problem"]
