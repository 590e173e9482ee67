import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from thermvision.annotations.schema import FRAME_COLUMNS
from thermvision.curation.checks.faults import Fault
from thermvision.curation.checks.faults.files import FAULTS
from thermvision.curation.checks.frame_table import COMPARED, frame_digests, item_digests
from thermvision.curation.checks.integrity import KINDS, media_findings, release_findings, row_findings
from thermvision.curation.checks.kinds import ItemView, by_code
from thermvision.curation.release import MANIFEST, read_release, write_release

CODES = set(by_code(KINDS))
ON_FILES = [f for f in FAULTS if f.on_release is not None]
NEEDS_MORE = {"split-emptied"}  # subjects than a small release has


def codes_of(root: Path) -> list[tuple[str, str]]:
    return [(path, scored.code) for path, scored in release_findings(root)]


def test_of_a_clean_release_only_what_its_engine_ignores_is_found(wave_release: Path) -> None:
    assert {code for _, code in codes_of(wave_release)} <= {"category-contradicted"}  # waves wear no beards


def test_an_imported_release_lacks_provenance_only(imported_release: Path) -> None:
    assert set(codes_of(imported_release)) == {("F_01_S1", "provenance")}


def test_every_kind_of_fault_names_kinds_that_exist() -> None:
    assert all(set(fault.codes) <= CODES for fault in FAULTS)
    assert len({fault.name for fault in FAULTS}) == len(FAULTS)


@pytest.mark.parametrize("fault", [f for f in ON_FILES if f.name not in NEEDS_MORE], ids=lambda f: f.name)
def test_damaged_files_are_found(fault: Fault, wave_release: Path, copied: Callable[[Path], Path]) -> None:
    root = copied(wave_release)
    assert fault.on_release is not None
    about = fault.on_release(root, np.random.default_rng(3))
    assert any(path == about and code in fault.codes for path, code in codes_of(root))


def test_advance_counts_the_shards(wave_release: Path) -> None:
    seen: list[int] = []
    list(release_findings(wave_release, seen.append))
    assert sum(seen) == len(read_release(wave_release).shards)


def test_a_split_without_rows_of_a_config_is_found(wave_release: Path, copied: Callable[[Path], Path]) -> None:
    root = copied(wave_release)
    release = read_release(root)
    few = [s for s in release.shards if not (s.config == "video" and s.split == "train")]
    more = tuple(release.identities[0].model_copy(update={"subject_id": f"X_{n}", "split": "train"}) for n in range(5))
    changed = release.model_copy(update={"shards": tuple(few), "identities": (*release.identities, *more)})
    write_release(root, changed)
    assert (MANIFEST, "empty-split") in codes_of(root)


def test_digests_of_items_and_of_their_frames_are_equal_whatever_the_order(wave_release: Path) -> None:
    release = read_release(wave_release)
    frames = pa.concat_tables([pq.read_table(wave_release / s.path) for s in release.shards_of("frames")])
    order = np.random.default_rng(0).permutation(frames.num_rows)
    there = frame_digests(frames.take(order))
    clips = pa.concat_tables([pq.read_table(wave_release / s.path) for s in release.shards_of("video")])
    told = item_digests(clips, "clip_id")
    assert told
    for name, digest in told.items():
        assert (there[name][1] == digest).all()
        assert there[name][0] == clips.filter(pa.compute.equal(clips["clip_id"], name))["num_frames"][0].as_py()


@pytest.mark.parametrize("column", COMPARED)
def test_a_changed_value_changes_the_digest_of_its_column_only(column: str) -> None:
    def table(spoilt: bool) -> pa.Table:
        row = {
            "bbox": [1.0, 2, 3, 4], "bbox_score": 0.5, "face_count": 1, "extra_bboxes": [[5.0, 6, 7, 8]],
            "landmarks": [[0.0, 1.0]] * 68, "landmark_state": [3] * 68, "head_pose": [1.0, 2, 3], "expression": 2,
            "eye_openness": 0.3, "mouth_openness": 0.1,
        }  # fmt: skip
        if spoilt:
            value = row[column]
            row[column] = [] if column == "extra_bboxes" else value[::-1] if column == "bbox" else None
        return pa.Table.from_pylist([{"item_id": "a", "frame_index": 4, **row}], schema=schema)

    number, boxes = pa.float32(), pa.list_(pa.float32(), 4)
    types = [boxes, number, pa.uint8(), pa.list_(boxes), pa.list_(pa.list_(number, 2), 68), pa.list_(pa.uint8(), 68),
             pa.list_(number, 3), pa.int64(), number, number]  # fmt: skip
    names = [("item_id", pa.string()), ("frame_index", pa.int32()), *zip(FRAME_COLUMNS, types, strict=True)]
    schema = pa.schema(names)
    (_, before), (_, after) = (frame_digests(table(spoilt))["a"] for spoilt in (False, True))
    assert [name for name, a, b in zip(COMPARED, before, after, strict=True) if a != b] == [column]


def test_not_a_number_is_one_value_and_zero_has_no_sign() -> None:
    types = {"bbox": pa.list_(pa.float32(), 4)}
    base = dict.fromkeys(FRAME_COLUMNS)

    def digest(box: list[float]) -> list[int]:
        row = {"item_id": "a", "frame_index": 0, **base, "bbox": box}
        schema = pa.schema(
            [("item_id", pa.string()), ("frame_index", pa.int32())]
            + [(name, types.get(name, pa.float32())) for name in FRAME_COLUMNS]
        )
        total: list[int] = frame_digests(pa.Table.from_pylist([row], schema=schema))["a"][1].tolist()
        return total

    other = float(-np.float32("nan"))
    assert digest([float("nan"), 0.0, 1, 1]) == digest([other, -0.0, 1, 1])
    assert digest([0.0, 0.0, 1, 1]) != digest([0.0, 1.0, 0, 1])


def test_rows_that_cannot_be() -> None:
    row = {
        "clip_id": "a", "subject_id": "P", "gender": 7, "sequence": None, "fps": float("nan"), "num_frames": 0,
        "beard": 9, "provenance": "[", "annotation_source": "",
    }  # fmt: skip
    codes = [s.code for s in row_findings(row, "video", {"P": "male"})]
    assert codes == [
        "class-index",
        "class-index",
        "row-kind",
        "frame-rate",
        "frame-rate",
        "provenance",
        "source-missing",
    ]
    assert set(codes) <= CODES


@pytest.mark.parametrize(
    ("config", "attributes", "contradicted"),
    [
        ("beard", {"beard": 0}, True),
        ("beard", {"beard": 1}, False),
        ("beard", {"beard": None}, False),
        ("facial_accessories", {"glasses": 0, "mask": 0, "headwear": 0, "jewellery": 0}, True),
        ("facial_accessories", {"glasses": 0, "mask": 0, "headwear": 0, "jewellery": None}, False),
        ("facial_accessories", {"glasses": 1, "mask": 0, "headwear": 0, "jewellery": 0}, False),
    ],
)
def test_attributes_that_contradict_the_category(config: str, attributes: dict[str, int], contradicted: bool) -> None:
    category = ("frontal_pose", "facial_accessories", "beard").index(config)
    provenance = json.dumps({"raw_pixels_sha256": "0"})
    row = {"category": category, "provenance": provenance, "annotation_source": "me", **attributes}
    found = [s.code for s in row_findings(row, config, {})]
    assert found == (["category-contradicted"] if contradicted else [])


def test_media_beside_their_row() -> None:
    still = ItemView("s", "beard", "train", False, {}, None, 1, 64, 48)
    assert list(media_findings(still, 1, (48, 64, 3))) == []
    assert [s.code for s in media_findings(still, 1, (64, 48))] == ["media-size"]
    clip = ItemView("c", "video", "train", True, {}, 30.0, 10, 64, 48)
    assert list(media_findings(clip, 10, (48, 64), 29.97)) == []
    assert [s.code for s in media_findings(clip, 12, None, 25.0)] == ["media-frames", "media-rate"]
    unknown = ItemView("f", "", "", True, {}, None, 0, 0, 0)
    assert list(media_findings(unknown, 12, (48, 64), 25.0)) == []


def test_only_labels_need_somebody_who_made_them() -> None:
    row = {"category": 2, "provenance": '{"raw_pixels_sha256": "0"}', "annotation_source": ""}
    assert [s.code for s in row_findings(row, "beard", {})] == ["source-missing"]
    assert list(row_findings(row, "beard", {}, labelled=False)) == []


def test_rows_of_items_in_a_shard_that_cannot_be_read_are_no_findings_of_their_own(
    wave_release: Path, copied: Callable[[Path], Path]
) -> None:
    root = copied(wave_release)
    before = {code for _, code in codes_of(root)}
    shard = next((root / "data/video").glob("train-*.parquet"))
    shard.write_bytes(shard.read_bytes()[:1000])
    assert {code for _, code in codes_of(root)} - before == {"digest", "size", "unreadable"}
