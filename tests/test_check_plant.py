"""Planting: each fault lands in the items the table names, in real shards, and nothing else changes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from thermvision.annotations.errors import UsageError
from thermvision.curation.checks.catalogue import KINDS
from thermvision.curation.checks.faults import Fault
from thermvision.curation.checks.faults.known import FAULTS
from thermvision.curation.checks.faults.plant import damage, plant
from thermvision.curation.checks.views import Looking, view_row
from thermvision.curation.release import read_release
from thermvision.curation.verify import verify_release

GREEN = Fault("green", ("a",), "All is green.", on_frame=lambda gray, row, rng: np.stack([gray * 0, gray, gray * 0], 2))
BRIGHT = Fault("bright", ("a",), "The face is white.", on_frame=lambda gray, row, rng: gray | np.uint8(128))
SHORT = Fault("short", ("a",), "Frames are gone.", on_frames=lambda f, row, rng: f[:-3], media=("clip",))


def no_box(row, rng) -> None:  # type: ignore[no-untyped-def]
    row["bbox"] = [[np.nan] * 4] * row["num_frames"] if "clip_id" in row else [np.nan] * 4


UNBOXED = Fault("unboxed", ("a", "b"), "No box.", on_row=no_box)
BEARD = Fault("shaved", ("a",), "For beards.", on_row=lambda row, rng: None, needs=lambda row: row["beard"] == 2)
NEVER = Fault("never", ("a",), "Fits nothing.", on_row=lambda row, rng: None, needs=lambda row: False)
SIDE = Fault("side", ("a",), "Turned.", on_frame=lambda g, r, rng: g * 0, media=("clip",),
             needs=lambda row: row["head_pose"][0] > 10)  # fmt: skip


def test_faults_land_where_the_table_says(oval_release: Path, tmp_path: Path) -> None:
    faults = (GREEN, BRIGHT, SHORT, UNBOXED, BEARD, NEVER, SIDE)
    truth = plant(oval_release, tmp_path / "out", faults, per_kind=4, clean=5)
    assert [p["item_id"] for p in json.loads((tmp_path / "out/truth.json").read_text())] == [p.item_id for p in truth]
    counts = {f.name: [p.medium for p in truth if p.fault == f.name] for f in faults}
    assert counts["green"] == ["clip", "still", "still", "still"]
    assert counts["short"] == ["clip"] * 4
    assert counts["shaved"] == ["still"] * 4
    assert not counts["never"]
    # the digest of this release's recipe was never right
    assert {f.path for f in verify_release(tmp_path / "out")} == {"recipes/1.0.toml"}

    release, rows = read_release(tmp_path / "out"), {}
    for config in ("video", "image"):
        for shard in release.shards_of(config):
            for row in pq.read_table(tmp_path / "out" / shard.path).to_pylist():
                item = row["clip_id"] if config == "video" else row["image_id"]
                assert item not in rows
                rows[item] = view_row(shard.config, shard.split, row, Looking())
    assert len(rows) == len(truth) + 5
    by = {f.name: [rows[p.item_id] for p in truth if p.fault == f.name] for f in faults}
    assert all(v.pixels.ndim == 3 for viewed in by["green"] for v in viewed.frames())
    assert all(v.gray.min() > 110 for viewed in by["bright"] for v in viewed.frames())
    assert all(len(list(viewed.frames())) == viewed.item.num_frames - 3 for viewed in by["short"])
    assert all(np.isnan(viewed.item.bbox).all() for viewed in by["unboxed"])
    for viewed in by["side"]:
        dark = [v.gray.max() < 20 for v in viewed.frames()]
        assert dark == [yaw > 10 for yaw in viewed.item.pose[:, 0]]
    frames = pq.read_table([tmp_path / "out" / s.path for s in release.shards_of("frames")], columns=["item_id"])
    assert frames.num_rows == sum(v.item.num_frames for v in rows.values())


def test_planting_is_repeatable_and_needs_an_empty_folder(oval_release: Path, tmp_path: Path) -> None:
    for name in "ab":
        plant(oval_release, tmp_path / name, (GREEN, BRIGHT), per_kind=2)
    assert (tmp_path / "a/release.json").read_bytes() == (tmp_path / "b/release.json").read_bytes()
    with pytest.raises(UsageError, match="not empty"):
        plant(oval_release, tmp_path / "a", (GREEN,))


def test_damage_is_done_to_a_copy(oval_release: Path, tmp_path: Path) -> None:
    def cut(root: Path, rng: np.random.Generator) -> str:
        (root / "README.md").unlink()
        return "README.md"

    assert damage(oval_release, tmp_path / "out", Fault("gone", ("a",), "x", on_release=cut)) == "README.md"
    assert (oval_release / "README.md").is_file()
    assert not (tmp_path / "out/README.md").exists()
    with pytest.raises(ValueError, match="does not damage"):
        damage(oval_release, tmp_path / "no", GREEN)


def test_a_fault_is_planted_in_one_way() -> None:
    with pytest.raises(ValueError, match="0 plantings"):
        Fault("none", ("a",), "x")
    with pytest.raises(ValueError, match="0 codes"):
        Fault("none", (), "x", on_row=no_box)


def test_all_faults_name_kinds_that_exist() -> None:
    assert len({f.name for f in FAULTS}) == len(FAULTS) >= 40
    assert {code for f in FAULTS for code in f.codes} <= set(KINDS)
    assert all(f.meaning.endswith(".") and set(f.media) <= {"still", "clip"} for f in FAULTS)
