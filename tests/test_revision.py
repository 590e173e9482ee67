from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from datasets import load_dataset

from thermvision.annotations.errors import DamagedInputError, UsageError
from thermvision.annotations.schema import FRAME_COLUMNS
from thermvision.curation.cutting import cut_clip
from thermvision.curation.following import frame_rows
from thermvision.curation.release import Manifest, next_version, read_release
from thermvision.curation.revision import revise
from thermvision.curation.store import sha256_bytes, sha256_file
from thermvision.curation.verify import verify_release
from thermvision.curation.video import decode_gray, min_psnr

Rows = dict[str, dict[str, Any]]


def rows_of(root: Path, config: str) -> list[dict[str, Any]]:
    return [row for s in read_release(root).shards_of(config) for row in pq.read_table(root / s.path).to_pylist()]


def digests(root: Path) -> dict[str, str]:
    return {p.relative_to(root).as_posix(): sha256_file(p) for p in sorted(root.rglob("*")) if p.is_file()}


def same(config: str, row: dict[str, Any]) -> dict[str, Any]:
    return row


def without(config: str, row: dict[str, Any], ids: frozenset[str]) -> dict[str, Any] | None:
    return None if row.get("clip_id", row.get("image_id")) in ids else row


def with_glasses(config: str, row: dict[str, Any]) -> dict[str, Any]:
    row.update(glasses=1, annotation_source="hand@1")
    return row


class Stopping:
    """An edit that is interrupted after so many rows."""

    def __init__(self, after: int) -> None:
        self.after = after

    def __call__(self, config: str, row: dict[str, Any]) -> dict[str, Any]:
        if not self.after:
            raise KeyboardInterrupt
        self.after -= 1
        return with_glasses(config, row)


def run(root: Path, out: Path, edit: Any, items: Any, **options: Any) -> Manifest:
    return revise(root, out, edit, items=items, **{"decides": "x", "reason": "tried", "quiet": True, **options})


def sound(root: Path) -> bool:
    """Whether all but the oval fixture's recipe, which has no true digest, is as the manifest says."""
    return [f for f in verify_release(root) if f.path != "recipes/1.0.toml"] == []


def agree(root: Path) -> None:
    """`frames` says the same as the clips and stills."""
    made = [row for c in ("video", "image") for item in rows_of(root, c) for row in frame_rows(item)]

    def by_place(row: dict[str, Any]) -> tuple[str, int]:
        return row["item_id"], row["frame_index"]

    np.testing.assert_equal(sorted(rows_of(root, "frames"), key=by_place), sorted(made, key=by_place))


@pytest.mark.parametrize("fixture", ["oval_release", "imported_release", "wave_release"])
def test_an_edit_that_changes_nothing_gives_equal_rows(
    fixture: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    root = request.getfixturevalue(fixture)
    agree(root)
    before = digests(root)
    items = {row.get("clip_id", row.get("image_id")) for c in ("video", "image") for row in rows_of(root, c)}
    made = run(root, tmp_path / "out", same, items)
    assert digests(root) == before
    assert (made.version, made.parent) == ("1.1", "1.0")
    parent = read_release(root)
    assert {p for s in made.shards for p in s.replaces} == {s.path for s in parent.shards}
    assert not {s.path for s in made.shards} & {s.path for s in parent.shards}
    assert made.identities == parent.identities
    for config in parent.configs:
        np.testing.assert_equal(rows_of(tmp_path / "out", config), rows_of(root, config))
    assert sound(tmp_path / "out")


def test_what_is_dropped_goes_everywhere_and_the_rest_is_copied(oval_release: Path, tmp_path: Path) -> None:
    gone = frozenset(["P_000000_S1", "P_000000_frontal_pose_0", "P_000001_beard_0", "P_000001_beard_1"])
    out = tmp_path / "out"
    made = run(oval_release, out, partial(without, ids=gone), gone, files={"decisions/1.1.jsonl": b"{}\n"})
    agree(out)
    left = {c: [r.get("clip_id", r.get("image_id")) for r in rows_of(out, c)] for c in ("video", "image")}
    before = {c: [r.get("clip_id", r.get("image_id")) for r in rows_of(oval_release, c)] for c in ("video", "image")}
    assert left == {c: [i for i in ids if i not in gone] for c, ids in before.items()}
    assert [r["item_id"] for r in rows_of(out, "radiometric")] == ["P_000001_frontal_pose_0"]
    # the shard of beards and a 16-bit shard have no row left, so there is none of them
    assert "beard" not in made.configs
    assert len(made.shards) == len(read_release(oval_release).shards) - 2
    kept = {s.path: s.sha256 for s in made.shards if not s.replaces}
    assert kept == {s.path: s.sha256 for s in read_release(oval_release).shards if s.path in kept}
    assert "data/video/test-v1.0-00000.parquet" in kept
    assert made.recipes["decisions/1.1.jsonl"] == sha256_bytes(b"{}\n")
    assert sound(out)
    assert {s: d.num_rows for s, d in load_dataset(str(out), "video").items()} == {"train": 1, "test": 2}
    (out / "decisions/1.1.jsonl").write_bytes(b"[]\n")
    assert not sound(out)


def test_changed_labels_reach_frames_and_radiometric(oval_release: Path, tmp_path: Path) -> None:
    items = ["P_000000_frontal_pose_0", "P_000001_S2"]
    run(oval_release, tmp_path / "out", with_glasses, items)
    agree(tmp_path / "out")
    frames = [r for r in rows_of(tmp_path / "out", "frames") if r["glasses"] == 1]
    assert {r["item_id"] for r in frames} == set(items)
    assert len(frames) == 13
    assert {r["annotation_source"] for r in frames} == {"hand@1"}
    seen = {
        r["item_id"]: (r["glasses"], r["annotation_source"], r["bbox"])
        for r in rows_of(tmp_path / "out", "radiometric")
    }
    assert seen == {items[0]: (1, "hand@1", None), "P_000001_frontal_pose_0": (None, None, None)}


def test_a_clip_is_cut_in_all_its_rows(wave_release: Path, tmp_path: Path) -> None:
    row = next(r for r in rows_of(wave_release, "radiometric") if len(r["frame_index"]) > 1)
    name = row["item_id"]
    old = next(r for r in rows_of(wave_release, "video") if r["clip_id"] == name)
    first, last = row["frame_index"][1], old["num_frames"] - 2
    out = tmp_path / "out"
    run(wave_release, out, same, [], cuts={name: (first, last)})
    agree(out)
    assert sound(out)
    new = next(r for r in rows_of(out, "video") if r["clip_id"] == name)
    assert new["num_frames"] == last - first + 1 == len(new["bbox"])
    frames = decode_gray(old["video"]["bytes"])[first : last + 1]
    assert min_psnr(frames, decode_gray(new["video"]["bytes"])) >= 40
    for column in FRAME_COLUMNS:
        if old[column] is not None:
            np.testing.assert_equal(new[column], old[column][first : last + 1])
    (cut,) = json.loads(new["provenance"])["cuts"]
    assert (cut["first"], cut["last"]) == (first, last)
    assert cut["video_sha256"] == sha256_bytes(old["video"]["bytes"])
    assert cut["pixels_sha256"] == sha256_bytes(frames.tobytes())
    deep = next(r for r in rows_of(out, "radiometric") if r["item_id"] == name)
    stay = [n for n, k in enumerate(row["frame_index"]) if first <= k <= last]
    assert deep["frame_index"] == [row["frame_index"][n] - first for n in stay]
    for column in ("radiometric", "landmarks", "temperature", "skin_bbox"):
        np.testing.assert_equal(deep[column], [row[column][n] for n in stay])
    assert deep["camera_matrix"] == row["camera_matrix"]


def test_cut_twice_keeps_both_cuts_and_refuses_frames_that_are_not_there(imported_release: Path) -> None:
    (row,) = rows_of(imported_release, "video")
    assert cut_clip(row, 0, 4) is row
    once = cut_clip(row, 1, 4)
    twice = cut_clip(once, 0, 1)
    assert [(c["first"], c["last"]) for c in json.loads(twice["provenance"])["cuts"]] == [(1, 4), (0, 1)]
    assert twice["face_count"] == [0, 2]
    for first, last in ((0, 5), (-1, 2), (3, 2)):
        with pytest.raises(UsageError, match="has frames 0 to 4"):
            cut_clip(row, first, last)


def test_rows_of_frames_are_mended_by_naming_their_item(
    oval_release: Path, copied: Callable[[Path], Path], tmp_path: Path
) -> None:
    root = copied(oval_release)
    shard = next(s for s in read_release(root).shards_of("frames") if s.split == "train")
    table = pq.read_table(root / shard.path)
    wrong = [k for k, r in enumerate(table["item_id"].to_pylist()) if r != "P_000000_S2"]
    pq.write_table(table.take([*wrong, wrong[0]]), root / shard.path)  # one clip is missing, one frame is there twice
    run(root, tmp_path / "out", same, ["P_000000_S1", "P_000000_S2"])
    agree(tmp_path / "out")


def test_a_stopped_run_goes_on_and_several_workers_end_alike(oval_release: Path, tmp_path: Path) -> None:
    items = [r.get("clip_id", r.get("image_id")) for c in ("video", "image") for r in rows_of(oval_release, c)]
    run(oval_release, tmp_path / "whole", with_glasses, items)
    with pytest.raises(KeyboardInterrupt):
        run(oval_release, tmp_path / "stopped", Stopping(9), items)
    assert not (tmp_path / "stopped/release.json").exists()
    again = Stopping(8)
    run(oval_release, tmp_path / "stopped", again, items)
    assert again.after > 0
    assert digests(tmp_path / "stopped") == digests(tmp_path / "whole")
    run(oval_release, tmp_path / "whole", Stopping(0), items)  # nothing is left to do
    with pytest.raises(UsageError, match="holds"):
        run(oval_release, tmp_path / "whole", with_glasses, items, decides="y")


def test_what_cannot_be_done_is_refused(oval_release: Path, imported_release: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"has no item P_000000_S9.*P_000000_S"):
        run(oval_release, tmp_path / "a", same, ["P_000000_S9", "P_000000_S1"])
    with pytest.raises(UsageError, match="never edited"):
        run(oval_release, oval_release, same, ["P_000000_S1"])
    with pytest.raises(UsageError, match="nothing would be left"):
        run(imported_release, tmp_path / "b", partial(without, ids=frozenset(["F_01_S1"])), ["F_01_S1"])
    with pytest.raises(ValueError, match="keeps its id"):
        run(oval_release, tmp_path / "c", lambda c, r: {**r, "clip_id": "other"}, ["P_000000_S1"])


def test_a_damaged_shard_is_named(imported_release: Path, copied: Callable[[Path], Path], tmp_path: Path) -> None:
    root = copied(imported_release)
    shard = read_release(root).shards_of("video")[0]
    (root / shard.path).write_bytes(b"PAR1 no longer")
    with pytest.raises(DamagedInputError, match="thermvision verify"):
        run(root, tmp_path / "out", same, ["F_01_S1"])


def test_versions_count_up() -> None:
    assert next_version("1.9") == "1.10"
