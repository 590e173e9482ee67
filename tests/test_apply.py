from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from datasets import load_dataset

from thermvision.annotations.errors import FindingsError, UsageError
from thermvision.annotations.schema import EXPRESSIONS
from thermvision.curation.following import frame_rows
from thermvision.curation.release import Manifest, read_release
from thermvision.curation.reviews.apply import MIN_FRAMES, apply_decisions, plan_decisions
from thermvision.curation.reviews.decisions import Decision, append, decision_of, read_decisions
from thermvision.curation.sources import ReleaseSource
from thermvision.curation.store import sha256_file
from thermvision.curation.verify import verify_release
from thermvision_db import main


def rows_of(root: Path, config: str) -> dict[str, dict[str, Any]]:
    rows = [row for s in read_release(root).shards_of(config) for row in pq.read_table(root / s.path).to_pylist()]
    return {row.get("clip_id") or row.get("image_id") or f"{row['item_id']}/{row['frame_index']}": row for row in rows}


def said(root: Path, table: Path, *decisions: tuple[Any, ...], who: str = "Ana") -> list[Decision]:
    source, made = ReleaseSource(root), []
    for item, action, *rest in decisions:
        more = dict(rest[0]) if rest else {}
        made.append(decision_of(source, item, action, who=who, why="seen", when="2026-01-02T03:04:05Z", **more))
    append(table, made)
    return made


def run(root: Path, table: Path, out: Path, last_wins: bool = False, workers: int = 1, **options: Any) -> Manifest:
    plan = plan_decisions(root, table, **options)
    return apply_decisions(plan, out, last_wins=last_wins, workers=workers, quiet=True)


def sound(root: Path) -> bool:
    return [f for f in verify_release(root) if f.path != "recipes/1.0.toml"] == []


def agree(root: Path) -> None:
    made = [row for c in ("video", "image") for item in rows_of(root, c).values() for row in frame_rows(item)]
    np.testing.assert_equal(rows_of(root, "frames"), {f"{r['item_id']}/{r['frame_index']}": r for r in made})


def digests(root: Path) -> dict[str, str]:
    return {p.relative_to(root).as_posix(): sha256_file(p) for p in sorted(root.rglob("*")) if p.is_file()}


DECIDED = [
    ("P_000000_S1", "reject", {"frames": (0, 1)}),
    ("P_000000_S1", "relabel", {"column": "expression", "value": "talk", "frames": (1, 3)}),
    ("P_000001_S1", "relabel", {"column": "bbox", "value": None, "frames": (0, 1)}),
    ("P_000001_S1", "relabel", {"column": "bbox", "value": [10, 20, 30, 40], "frames": (1, 2)}),
    ("P_000001_S1", "relabel", {"column": "glasses", "value": "glasses"}),
    ("P_000000_frontal_pose_0", "reject"),
    ("P_000001_beard_0", "relabel", {"column": "beard", "value": "goatee"}),
    ("P_000001_beard_1", "accept"),
    ("P_000001_S2", "tag", {"value": "blinks a lot"}),
]


def test_decisions_become_the_next_version(oval_release: Path, tmp_path: Path) -> None:
    table, out = tmp_path / "d.jsonl", tmp_path / "out"
    made = said(oval_release, table, *DECIDED)
    before = digests(oval_release)
    manifest = run(oval_release, table, out)
    assert digests(oval_release) == before
    assert (manifest.version, manifest.parent) == ("1.1", "1.0")
    assert sound(out)
    agree(out)
    old, new = rows_of(oval_release, "video"), rows_of(out, "video")
    cut = new["P_000000_S1"]
    assert cut["num_frames"] == 10
    assert [EXPRESSIONS[e] for e in cut["expression"][:3]] == ["talk", "talk", "neutral"]  # frames 2, 3 and 4 of before
    assert cut["expression"][2:] == old["P_000000_S1"]["expression"][4:]
    assert cut["bbox"] == old["P_000000_S1"]["bbox"][2:]
    assert cut["annotation_source"] == "ground_truth; expression by Ana"
    boxed = new["P_000001_S1"]
    np.testing.assert_array_equal(boxed["bbox"][:3], [[np.nan] * 4, [10, 20, 30, 40], [10, 20, 30, 40]])
    assert boxed["bbox"][3:] == old["P_000001_S1"]["bbox"][3:]
    assert boxed["face_count"][:3] == [0, 1, 1]
    assert boxed["landmarks"][0] is None
    assert boxed["landmarks"][1:] == old["P_000001_S1"]["landmarks"][1:]
    assert boxed["video"] == old["P_000001_S1"]["video"]
    assert boxed["glasses"] == 1
    assert boxed["annotation_source"] == "ground_truth; bbox, glasses by Ana"
    assert new["P_000001_S2"] == old["P_000001_S2"]
    stills = rows_of(out, "image")
    assert set(rows_of(oval_release, "image")) - set(stills) == {"P_000000_frontal_pose_0"}
    assert stills["P_000001_beard_0"]["beard"] == 4
    assert manifest.identities == read_release(oval_release).identities
    kept = read_decisions(out / "decisions/1.1.jsonl")[0]
    assert kept == made
    assert manifest.recipes["decisions/1.1.jsonl"] == sha256_file(out / "decisions/1.1.jsonl")
    assert "data/image/frontal_pose/test-v1.0-00000.parquet" in {s.path for s in manifest.shards}
    assert sum(map(len, load_dataset(str(out), "frames").values())) == 4 * 12 - 2 + 9


def test_what_was_applied_is_not_applied_again(oval_release: Path, tmp_path: Path) -> None:
    table = tmp_path / "d.jsonl"
    said(oval_release, table, *DECIDED)
    run(oval_release, table, tmp_path / "a")
    plan = plan_decisions(tmp_path / "a", table)
    assert (plan.before, plan.decisions, plan.items) == (len(DECIDED), (), [])
    with pytest.raises(UsageError, match=r"no item of .* changes: .*9 were applied before"):
        apply_decisions(plan, tmp_path / "b")
    said(tmp_path / "a", table, ("P_000000_S1", "reject", {"frames": (9, 9)}))
    made = run(tmp_path / "a", table, tmp_path / "b", min_frames=5)
    assert (made.version, made.parent) == ("1.2", "1.1")
    cuts = json.loads(rows_of(tmp_path / "b", "video")["P_000000_S1"]["provenance"])["cuts"]
    assert [(c["first"], c["last"]) for c in cuts] == [(2, 11), (0, 8)]
    assert {p.name for p in (tmp_path / "b/decisions").iterdir()} == {"1.1.jsonl", "1.2.jsonl"}
    assert sound(tmp_path / "b")


def test_a_gap_keeps_the_longest_run_and_tells_what_is_lost(oval_release: Path, tmp_path: Path) -> None:
    table = tmp_path / "d.jsonl"
    said(
        oval_release,
        table,
        ("P_000000_S1", "reject", {"frames": (3, 4)}),
        ("P_000000_S2", "reject", {"frames": (2, 9)}),
    )
    plan = plan_decisions(oval_release, table, min_frames=5)
    assert plan.cuts == {"P_000000_S1": (5, 11)}
    assert plan.lost == {"P_000000_S1": 3}
    assert plan.dropped == {"P_000000_S2": "8 of 12 frames rejected; the longest run left has 2, allowed: 5 or more"}
    assert set(plan_decisions(oval_release, table).dropped) == {"P_000000_S1", "P_000000_S2"}
    assert set(plan.superseded()) == {
        "data/video/train-v1.0-00000.parquet", "data/frames/train-v1.0-00000.parquet",
    }  # fmt: skip


def test_people_who_disagree_stop_it(oval_release: Path, tmp_path: Path) -> None:
    table = tmp_path / "d.jsonl"
    (first,) = said(oval_release, table, ("P_000000_S1", "reject"))
    said(oval_release, table, ("P_000000_S1", "accept"), who="Ben")
    with pytest.raises(FindingsError, match=r"1 conflict: Ana says reject .* Ben says accept .*--supersedes"):
        run(oval_release, table, tmp_path / "out")
    with pytest.raises(UsageError, match=r"no item .* changes"):
        run(oval_release, table, tmp_path / "out", last_wins=True)
    said(oval_release, table, ("P_000000_S1", "accept", {"supersedes": first.decision_id}), who="Cem")
    assert plan_decisions(oval_release, table).conflicts == ()


def test_all_that_is_wrong_is_told_at_once(oval_release: Path, tmp_path: Path) -> None:
    table = tmp_path / "d.jsonl"
    said(
        oval_release,
        table,
        ("P_000009_S1", "reject"),
        ("P_000000_S1", "reject", {"frames": (3, 12)}),
        ("P_000000_S1", "relabel", {"column": "glasses", "value": "monocle"}),
        ("P_000000_S1", "relabel", {"column": "glasses", "value": "none", "frames": (0, 1)}),
        ("P_000000_S1", "relabel", {"column": "bbox", "value": [200, 20, 10, 10], "frames": (0, 1)}),
    )
    with pytest.raises(UsageError) as error:
        plan_decisions(oval_release, table)
    for part in ("5 decisions", "no such item", "allowed: 0 to 11", "allowed: none, glasses", "whole item", "outside"):
        assert part in str(error.value)


def test_decisions_on_another_version_are_refused_or_carried_over(oval_release: Path, tmp_path: Path) -> None:
    first, second = tmp_path / "d.jsonl", tmp_path / "e.jsonl"
    said(oval_release, first, ("P_000000_S1", "reject", {"frames": (0, 1)}), ("P_000000_S2", "reject"))
    run(oval_release, first, tmp_path / "a")
    said(oval_release, second, ("P_000000_S2", "reject"), ("P_000001_S1", "reject", {"frames": (0, 0)}), who="Ben")
    with pytest.raises(UsageError, match=r"2 decisions .* are on 1\.0 .*--carry-over"):
        plan_decisions(tmp_path / "a", second)
    plan = plan_decisions(tmp_path / "a", second, carry_over=True)
    assert plan.gone == ("P_000000_S2",)
    assert plan.cuts == {"P_000001_S1": (1, 11)}
    # frame 3 is another frame now
    said(oval_release, second, ("P_000000_S1", "reject", {"frames": (3, 3)}), who="Ben")
    with pytest.raises(UsageError, match="the clip was cut"):
        plan_decisions(tmp_path / "a", second, carry_over=True)


@pytest.mark.slow
def test_worker_processes_write_the_same_bytes(oval_release: Path, tmp_path: Path) -> None:
    table = tmp_path / "d.jsonl"
    said(oval_release, table, *DECIDED)
    run(oval_release, table, tmp_path / "one")
    run(oval_release, table, tmp_path / "two", workers=2)
    assert digests(tmp_path / "one") == digests(tmp_path / "two")


def test_labels_of_an_import_say_who_made_them(imported_release: Path, tmp_path: Path) -> None:
    table = tmp_path / "d.jsonl"
    said(imported_release, table, ("F_01_S1", "relabel", {"column": "bbox", "value": [9, 9, 30, 40], "frames": (1, 1)}))
    run(imported_release, table, tmp_path / "out")
    old, new = (rows_of(root, "video")["F_01_S1"] for root in (imported_release, tmp_path / "out"))
    assert new["video"] == old["video"]  # MP4s of archives stay as they are where no frame is cut
    assert new["annotation_source"] == "published labels; bbox by Ana"
    assert new["face_count"] == [1, 1, 2, 1, 1]
    assert new["landmarks"] is None
    assert sound(tmp_path / "out")


@pytest.mark.slow
def test_the_commands(
    oval_release: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    release = str(oval_release)
    assert main(["decide", release, "P_000000_S1:0-1", "reject", "--why", "blurred", "--who", "Ana"]) == 0
    assert "next: thermvision apply" in capsys.readouterr().out
    relabel = ["decide", release, "P_000001_beard_0", "relabel", "--column", "beard", "--value", "goatee"]
    assert main([*relabel, "--why", "w", "--who", "Ben", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["new"] == 1
    (tmp_path / "more.csv").write_text("item_id,action\nP_000001_S2,reject\n")
    assert main(["decide", release, "--from-csv", "more.csv", "--who", "Cem", "--why", "bad"]) == 0
    for arguments, reason in (
        (["P_000000_S7", "reject", "--why", "w", "--who", "A"], "no such item"),
        (["P_000000_S1", "reject", "--who", "A"], "--why is missing"),
        (["P_000000_S1", "reject", "--why", "w"], "--who is missing"),
        (["P_000000_S1", "drop", "--why", "w", "--who", "A"], "allowed: accept"),
        (["P_000000_S1"], "allowed: accept"),
        ([], "one of ITEM ACTION"),
        (["P_000000_S1", "reject", "--from-csv", "more.csv"], "only one"),
        (["--from-findings", "f.parquet", "--who", "A"], "--reject CODE"),
    ):
        assert main(["decide", release, *arguments]) == 2
        assert reason in capsys.readouterr().err
    assert len(read_decisions(tmp_path / "decisions.jsonl")[0]) == 3
    assert main(["apply", release, "--out", "out", "--dry-run", "--json"]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert (plan["version"], plan["cut"], list(plan["dropped"])) == ("1.1", {"P_000000_S1": [2, 11]}, ["P_000001_S2"])
    assert plan["relabelled"] == {"P_000001_beard_0": ["beard"]}
    assert not (tmp_path / "out").exists()
    assert main(["apply", release, "--out", "out", "--quiet"]) == 0
    assert (
        "Items that go: 1; clips that are cut: 1; items that get other labels: 1; conflicts: 0"
        in capsys.readouterr().out
    )
    assert sound(tmp_path / "out")
    assert "# " in (tmp_path / "out/README.md").read_text()
    assert MIN_FRAMES == 10  # the default of --min-frames
