from __future__ import annotations

import json
import struct
import zlib
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from thermvision.annotations.errors import DamagedInputError
from thermvision.curation import raw_rows
from thermvision.curation.archives import open_archives
from thermvision.curation.raw_release import classify
from thermvision.curation.raw_rows import ItemRows, clip_rows, main_face, still_rows
from thermvision.curation.video import encode_gray

from .published_imitation import Imitation, frames_and_boxes, imitation, label, png, write_tree

SET_1 = "Female Subjects/Set 1 Cropped Headpose Variations/Subject-1"
CLIP = f"{SET_1}/Thermal Animations/Subject11.mp4"
LABELS = f"{SET_1}/Thermal Face Detection/labels"


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> tuple[Imitation, Path]:
    made = imitation()
    return made, made.write_zips(tmp_path_factory.mktemp("published"))


@pytest.fixture(scope="module")
def mp4() -> bytes:
    return encode_gray(frames_and_boxes(1, 6)[0], 30.0)


def rows_of(folder: Path, members: dict[str, bytes]) -> ItemRows:
    write_tree(folder, members)
    with open_archives(folder) as archives:
        raw = classify(archives)
        if raw.stills:
            return still_rows(archives, raw.stills[0], 0)
        return clip_rows(archives, raw.clips[0], 0)


def codes(rows: ItemRows) -> list[str]:
    return [f.code for f in rows.facts.findings]


def test_every_row_equals_what_was_put_in(published: tuple[Imitation, Path]) -> None:
    made, folder = published
    with open_archives(folder) as archives:
        for number, clip in enumerate(classify(archives).clips):
            truth = made.clips[clip.clip_id]
            made_rows = clip_rows(archives, clip, number)
            row = made_rows.row
            assert made_rows.facts.findings == ()
            assert row["video"] == {"bytes": truth.mp4, "path": f"{clip.clip_id}.mp4"}
            plain = ("clip_id", "subject_id", "identity", "gender", "sequence", "fps", "num_frames", "width", "height")
            assert [row[name] for name in plain] == [
                clip.clip_id,
                clip.clip_id[:4],
                number,
                int(truth.gender == "male"),
                int(truth.sequence == "expression"),
                30.0,
                len(truth.boxes),
                64,
                64,
            ]
            assert row["face_count"] == [len(boxes) for boxes in truth.boxes]
            assert row["annotation_source"] == "yolo5face (published labels)"
            provenance = json.loads(row["provenance"])
            assert provenance == {
                "archive": truth.archive,
                "member": truth.member,
                "sha256": sha256(truth.mp4).hexdigest(),
            }
            unknown = (
                "bbox_score",
                "landmarks",
                "landmark_state",
                "head_pose",
                "expression",
                "eye_openness",
                "glasses",
            )
            assert [row[name] for name in unknown] == [None] * 7
            _compare_boxes(row, truth.boxes, truth.main)
            _compare_frames(made_rows, clip.clip_id)


def _compare_boxes(row: dict[str, Any], boxes: list[Any], main: list[int]) -> None:
    for frame, (found, chosen) in enumerate(zip(boxes, main, strict=True)):
        expected = [np.nan] * 4 if chosen < 0 else list(found[chosen])
        np.testing.assert_array_equal(row["bbox"][frame], expected)
        others = [list(box) for k, box in enumerate(found) if k != chosen]
        assert row["extra_bboxes"][frame] == others


def _compare_frames(made: ItemRows, clip_id: str) -> None:
    assert [f["frame_index"] for f in made.frames] == list(range(made.row["num_frames"]))
    for k, frame in enumerate(made.frames):
        assert (frame["item_id"], frame["category"], frame["sequence"]) == (clip_id, None, made.row["sequence"])
        assert frame["face_count"] == made.row["face_count"][k]
        np.testing.assert_array_equal(frame["bbox"], made.row["bbox"][k])


def test_facts_count_frames(published: tuple[Imitation, Path]) -> None:
    _, folder = published
    with open_archives(folder) as archives:
        facts = {c.clip_id: clip_rows(archives, c, 0).facts for c in classify(archives).clips}
    assert {k: f.without_face for k, f in facts.items() if f.without_face} == {"F_04_S1": 3, "M_07_S1": 2}
    assert {k: f.several_faces for k, f in facts.items() if f.several_faces} == {"F_31_S1": 2}
    assert sum(f.num_frames for f in facts.values()) == 200


def test_of_two_faces_the_one_that_overlaps_goes_on() -> None:
    boxes = np.array([[0, 0, 40, 40], [40, 0, 10, 10]], np.float32)
    assert main_face(boxes, None) == 0
    assert main_face(boxes, np.array([41, 1, 10, 10], np.float32)) == 1
    assert main_face(boxes, np.array([80, 80, 10, 10], np.float32)) == 0
    assert main_face(boxes[[1, 1]], None) == 0


def test_bad_labels_leave_their_reason_and_their_clip(tmp_path: Path, mp4: bytes) -> None:
    good = b"0 0.5 0.5 0.25 0.25\n"
    files = {
        0: good,
        1: b"",
        2: b"00.162500 0.279167 0.050000 0.091667\n",
        3: good + b"0 nan 0.5 0.2 0.2\n",
        4: b"\xff\xfe",
        6: good,
    }
    labels = {f"{LABELS}/frame_{k:04d}.txt": text for k, text in files.items()}
    rows = rows_of(tmp_path, {CLIP: mp4, **labels})
    assert codes(rows) == ["missing-space", "not-finite", "encoding", "label-beyond-end"]
    assert all(f.path.endswith(".txt") for f in rows.facts.findings)
    # an empty file says "no face", an unreadable one says nothing
    assert rows.row["face_count"] == [1, 0, None, 1, None, 0]
    assert [np.isnan(box).all() for box in rows.row["bbox"]] == [False, True, True, False, True, True]
    assert (rows.facts.without_face, rows.facts.unknown) == (2, 2)


def test_labels_with_scores_and_keypoints_are_boxes(tmp_path: Path, mp4: bytes) -> None:
    box = "0 0.5 0.5 0.25 0.25"
    labels = {
        f"{LABELS}/frame_0000.txt": f"{box} 0.9".encode(),
        f"{LABELS}/frame_0001.txt": f"{box} {'0.5 ' * 10}".encode(),
    }
    rows = rows_of(tmp_path, {CLIP: mp4, **labels})
    assert rows.row["bbox"][:2] == [[24, 24, 16, 16]] * 2
    assert codes(rows) == []


def test_without_any_label_boxes_are_unknown_and_not_empty(tmp_path: Path, mp4: bytes) -> None:
    rows = rows_of(tmp_path, {CLIP: mp4})
    names = ("bbox", "face_count", "extra_bboxes", "annotation_source")
    assert [rows.row[name] for name in names] == [None] * 4
    assert [rows.frames[3][name] for name in names] == [None] * 4
    assert rows.facts.unknown == 6


def test_frame_images_that_disagree_are_told(tmp_path: Path, mp4: bytes) -> None:
    images = {f"{SET_1}/Thermal Animations/Extracted_frames/frame_{k:04d}.png": b"" for k in range(5)}
    rows = rows_of(tmp_path, {CLIP: mp4, f"{LABELS}/frame_0000.txt": label([(1, 2, 3, 4)]), **images})
    assert codes(rows) == ["frame-count"]
    assert rows.row["num_frames"] == 6


def test_a_clip_of_hours_is_refused(tmp_path: Path, mp4: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(raw_rows, "MAX_FRAMES", 5)
    with pytest.raises(DamagedInputError, match="has 6 frames; allowed: 5"):
        rows_of(tmp_path, {CLIP: mp4})


@pytest.mark.parametrize("damage", ["empty", "text", "truncated", "no index"])
def test_an_mp4_that_does_not_decode_is_an_error_with_its_name(tmp_path: Path, mp4: bytes, damage: str) -> None:
    data = {
        "empty": b"",
        "text": b"<html>moved</html>",
        "truncated": mp4[: len(mp4) * 2 // 3],
        "no index": mp4.replace(b"moov", b"xxxx"),
    }[damage]
    with pytest.raises(DamagedInputError, match=r"Subject11\.mp4"):
        rows_of(tmp_path, {CLIP: data})


def test_a_still_keeps_its_bytes(tmp_path: Path) -> None:
    data = png(np.full((30, 40), 7, np.uint8))
    rows = rows_of(tmp_path, {"Male Subjects/Beard/Subject-2/x.png": data})
    row = rows.row
    assert row["image"] == {"bytes": data, "path": "M_02_beard_000.png"}
    assert (row["width"], row["height"], row["category"], row["gender"]) == (40, 30, 2, 1)
    assert (row["bbox"], row["face_count"], row["annotation_source"]) == (None, None, None)
    assert [(f["item_id"], f["frame_index"], f["sequence"]) for f in rows.frames] == [("M_02_beard_000", 0, None)]


def bomb(width: int, height: int) -> bytes:
    """A PNG that announces a huge size in few bytes."""
    data = bytearray(png(np.zeros((2, 2), np.uint8)))
    struct.pack_into(">LL", data, 16, width, height)
    struct.pack_into(">L", data, 29, zlib.crc32(data[12:29]))
    return bytes(data)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"text",
        png(np.zeros((64, 64), np.uint8))[:60],
        bomb(8000, 8000),
        bomb(10_000, 10_000),
        bomb(60_000, 60_000),
    ],
)
def test_a_still_that_does_not_decode_or_is_a_bomb_is_an_error(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(DamagedInputError, match=r"x\.png (does not decode|has 8000 x 8000 pixels)"):
        rows_of(tmp_path, {"Male Subjects/Beard/Subject-2/x.png": data})


def test_provenance_of_a_tree_is_that_of_its_archive(tmp_path: Path, published: tuple[Imitation, Path]) -> None:
    made, folder = published
    made.write_tree(tmp_path)
    with open_archives(tmp_path) as plain, open_archives(folder) as packed:
        rows = [clip_rows(archives, classify(archives).clips[0], 0).row for archives in (plain, packed)]
    seen = [json.loads(row.pop("provenance")) for row in rows]
    assert seen[0] == {**seen[1], "archive": None}
    np.testing.assert_equal(rows[0], rows[1])


def test_facts_survive_json() -> None:
    from thermvision.annotations.findings import Finding
    from thermvision.curation.raw_rows import ItemFacts

    facts = ItemFacts("F_01_S1", "a.zip:b", 3, 2, 1, 0, (Finding("p", "c", "m"),))
    assert ItemFacts.from_json(json.loads(json.dumps(facts.to_json()))) == facts
    assert replace(facts, several_faces=0) != facts
