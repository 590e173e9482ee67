"""Lost and damaged shards come back bit for bit from the recipes, or the release stays as it is."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fake_engine import WAVES

import thermvision_db
from thermvision.curation.assembly import locked
from thermvision.curation.differences.history import version_in
from thermvision.curation.places import open_place
from thermvision.curation.release import MANIFEST, Manifest, manifest_text, read_release
from thermvision.curation.revision import ITEM_CONFIGS, revise
from thermvision.curation.store import sha256_bytes, sha256_file
from thermvision.curation.verify import verify_release
from thermvision.generation.build import build_release, prepare
from thermvision.generation.extension.extend import extend_release, prepare_extension
from thermvision.generation.regeneration.rebuild import SCRATCH, broken_shards

pytestmark = pytest.mark.usefixtures("wave_engine")


def run(capsys: pytest.CaptureFixture[str], root: Path, *words: str) -> tuple[int, Any]:
    code = thermvision_db.main(["regenerate", str(root), *words, "--json", "--quiet", "--workers", "1"])
    out = capsys.readouterr()
    return code, json.loads(out.out) if out.out else out.err


def contents(root: Path) -> dict[str, str]:
    return {p.relative_to(root).as_posix(): sha256_file(p) for p in sorted(root.rglob("*")) if p.is_file()}


def lost(root: Path, paths: list[str]) -> None:
    (root / paths[0]).unlink()


def truncated(root: Path, paths: list[str]) -> None:
    data = (root / paths[0]).read_bytes()
    (root / paths[0]).write_bytes(data[: len(data) // 2])


def flipped(root: Path, paths: list[str]) -> None:
    data = bytearray((root / paths[0]).read_bytes())
    data[len(data) // 2] ^= 1
    (root / paths[0]).write_bytes(data)


def swapped(root: Path, paths: list[str]) -> None:
    first, second = (root / p for p in paths[:2])
    data = first.read_bytes()
    first.write_bytes(second.read_bytes())
    second.write_bytes(data)


def linked(root: Path, paths: list[str]) -> None:
    path = root / paths[0]
    path.unlink()
    path.symlink_to(Path(os.devnull))


def everything(root: Path, paths: list[str]) -> None:
    shutil.rmtree(root / "data")


@pytest.mark.parametrize(("damage", "count"), [(lost, 1), (truncated, 1), (flipped, 1), (swapped, 2), (linked, 1)])
@pytest.mark.parametrize("config", ["video", "beard", "frames", "radiometric"])
def test_broken_shards_come_back(
    wave_release: Path,
    copied: Callable[[Path], Path],
    capsys: pytest.CaptureFixture[str],
    damage: Callable[[Path, list[str]], None],
    count: int,
    config: str,
) -> None:
    root = copied(wave_release)
    before = contents(root)
    damage(root, [s.path for s in read_release(root).shards if s.config == config])
    code, facts = run(capsys, root, "--sample", "1", "--dry-run")
    code, facts = run(capsys, root)
    assert code == 1
    assert len(facts["broken"]) == count
    assert all("its recipe makes it again" in b["reason"] for b in facts["broken"])
    assert facts["items"]["mismatch"] == facts["items"]["unavailable"] == 0
    code, facts = run(capsys, root, "--write")
    assert (code, facts["broken"], len(facts["rebuilt"])) == (0, [], count)
    assert contents(root) == before
    assert run(capsys, root, "--write")[1]["rebuilt"] == []


def test_all_data_come_back(
    wave_release: Path, copied: Callable[[Path], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    root = copied(wave_release)
    before = contents(root)
    everything(root, [])
    code, facts = run(capsys, root, "--write")
    assert (code, len(facts["rebuilt"])) == (0, len(read_release(root).shards))
    assert contents(root) == before
    assert not (root / SCRATCH).exists()


def test_only_what_is_named_is_put_back(
    wave_release: Path, copied: Callable[[Path], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    root = copied(wave_release)
    first, second = (s.path for s in read_release(root).shards if s.config == "video" and s.split == "train")
    lost(root, [first])
    lost(root, [second])
    code, facts = run(capsys, root, "--write", "--shard", first)
    assert (code, facts["rebuilt"], facts["items"]["exact"]) == (0, [first], 3)
    assert not (root / second).exists()
    assert run(capsys, root, "--clip", "P_000000_S1")[0] == 1


def rewrite(root: Path, change: Callable[[dict[str, Any]], None]) -> None:
    values = json.loads((root / MANIFEST).read_text())
    change(values)
    (root / MANIFEST).write_text(json.dumps(values))


def test_bytes_that_are_not_the_manifests_are_left(
    wave_release: Path, copied: Callable[[Path], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    root = copied(wave_release)
    victim = next(n for n, s in enumerate(read_release(root).shards) if s.config == "video")
    rewrite(root, lambda m: m["shards"][victim].update(sha256="1" * 64))
    before = contents(root)
    code, facts = run(capsys, root, "--write")
    assert (code, facts["rebuilt"]) == (1, [])
    assert "another SHA-256 than the manifest says" in facts["broken"][0]["reason"]
    assert contents(root) == before


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda m: m["shards"][0].update(path="../../outside.parquet"), "leaves the release"),
        (lambda m: m["recipes"].update({"/etc/passwd": "0" * 64}), "leaves the release"),
        (lambda m: m.update(shards="none"), "damaged"),
    ],
)
def test_a_damaged_manifest_is_refused(
    wave_release: Path,
    copied: Callable[[Path], Path],
    capsys: pytest.CaptureFixture[str],
    change: Callable[[dict[str, Any]], None],
    said: str,
) -> None:
    root = copied(wave_release)
    rewrite(root, change)
    before = contents(root)
    code, message = run(capsys, root, "--write")
    assert (code, said in message) == (4, True), message
    assert contents(root) == before


def test_a_changed_recipe_makes_nothing(
    wave_release: Path, copied: Callable[[Path], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    root = copied(wave_release)
    path = next(s.path for s in read_release(root).shards if s.config == "video")
    lost(root, [path])
    recipe = root / "recipes" / "1.0.toml"
    recipe.write_text(recipe.read_text().replace("seed = 3", "seed = 4"))
    code, facts = run(capsys, root, "--write")
    assert (code, facts["rebuilt"]) == (1, [])
    assert "not what its manifest says" in facts["broken"][0]["reason"]
    text = recipe.read_text()
    rewrite(root, lambda m: m["recipes"].update({"recipes/1.0.toml": sha256_bytes(text.encode())}))
    code, facts = run(capsys, root, "--write")
    assert (code, facts["rebuilt"]) == (1, [])
    assert not (root / path).exists()


def test_shards_of_another_engine(
    wave_release: Path, copied: Callable[[Path], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    root = copied(wave_release)
    lost(root, [read_release(root).shards[0].path])

    def older(values: dict[str, Any]) -> None:
        values["engines"] = {"waves@0": {}}
        for shard in values["shards"]:
            shard["fingerprint"] = "2" * 64

    rewrite(root, older)
    code, facts = run(capsys, root, "--write")
    assert (code, facts["rebuilt"]) == (1, [])
    assert "waves@0 made it; here is waves@1" in facts["broken"][0]["reason"]


def test_other_packages_are_tried_and_told(
    wave_release: Path, copied: Callable[[Path], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    root = copied(wave_release)
    shards = read_release(root).shards
    path = shards[0].path
    lost(root, [path])

    def older(values: dict[str, Any]) -> None:
        values["software"]["numpy"] = "0.1"
        for shard in values["shards"]:
            shard["fingerprint"] = "2" * 64

    rewrite(root, older)
    assert "numpy 0.1 then" not in str(run(capsys, root)[1])  # it may yet come out the same
    assert run(capsys, root, "--write")[1]["rebuilt"] == [path]
    lost(root, [path])
    rewrite(root, lambda m: m["shards"][0].update(sha256="1" * 64))
    assert "numpy 0.1 then" in run(capsys, root, "--write")[1]["broken"][0]["reason"]


def test_a_limited_release(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = tmp_path / "limited"
    build_release(prepare(WAVES, limit=4), root, quiet=True)
    before = contents(root)
    everything(root, [])
    assert run(capsys, root, "--write")[0] == 0
    assert contents(root) == before
    everything(root, [])
    rewrite(root, lambda m: m.update(limits={}))  # as releases were before they told of it
    code, facts = run(capsys, root, "--write")
    assert code == 1
    reasons = {b["reason"] for b in facts["broken"] if "/video/" in b["shard"]}
    assert any("it was cut" in r for r in reasons)


def test_an_extended_release(wave_release: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = tmp_path / "extended"
    text = WAVES.replace('version = "1.0"', 'version = "1.1"').replace("female = 3\nmale = 3", "female = 4\nmale = 4")
    extend_release(wave_release, prepare_extension(wave_release, text), root, quiet=True)
    before = contents(root)
    assert {version_in(s.path) for s in read_release(root).shards} == {"1.0", "1.1"}
    assert run(capsys, root)[1]["items"]["exact"] == sum(
        s.rows for s in read_release(root).shards if s.config in ITEM_CONFIGS
    )
    everything(root, [])
    code, facts = run(capsys, root, "--write")
    assert (code, facts["broken"]) == (0, [])
    assert contents(root) == before
    old, new = (next(s.path for s in read_release(root).shards if f"-v{v}-" in s.path) for v in ("1.0", "1.1"))
    swapped(root, [old, new])
    assert run(capsys, root, "--write")[1]["rebuilt"] == sorted([old, new])
    assert contents(root) == before


def without_mask(config: str, row: dict[str, Any]) -> dict[str, Any] | None:
    return row | {"mask": 0, "annotation_source": "me"}


def test_a_review_has_no_recipe(wave_release: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "reviewed"
    release = revise(wave_release, out, without_mask, items=["P_000001_S1"], decides="t", reason="t", quiet=True)
    before = contents(out)
    everything(out, [])
    code, facts = run(capsys, out, "--write")
    assert code == 1
    new = {s.path for s in release.shards if s.replaces}
    assert new
    assert {b["shard"] for b in facts["broken"]} == new
    assert {b["reason"] for b in facts["broken"]} == {
        "a review or a repair made it, and no recipe does: make that version anew"
    }
    after = contents(out)
    assert {p: before[p] for p in before if p not in new} == after


def test_an_import_has_no_recipe(
    imported_release: Path, copied: Callable[[Path], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    root = copied(imported_release)
    lost(root, [read_release(root).shards[0].path])
    code, facts = run(capsys, root, "--write")
    assert (code, facts["rebuilt"]) == (1, [])
    assert "it is an import" in facts["broken"][0]["reason"]


def test_a_folder_that_leads_out_is_left(
    wave_release: Path, copied: Callable[[Path], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = copied(wave_release)
    elsewhere = tmp_path / "elsewhere"
    shutil.move(root / "data" / "video", elsewhere)
    (root / "data" / "video").symlink_to(elsewhere)
    before = contents(elsewhere)
    code, facts = run(capsys, root, "--write")
    assert (code, facts["rebuilt"]) == (1, [])
    assert all("leads out of the release" in b["reason"] for b in facts["broken"])
    assert contents(elsewhere) == before


def test_what_lies_in_the_place_of_a_shard(
    wave_release: Path, copied: Callable[[Path], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = copied(wave_release)
    folder, inside = (next(s.path for s in read_release(root).shards if s.config == c) for c in ("beard", "mix"))
    lost(root, [folder])
    (root / folder).mkdir()
    shutil.rmtree((root / inside).parent)
    (root / inside).parent.write_text("in the way")
    for options in (["--dry-run"], []):
        code, facts = run(capsys, root, "--write", *options)
        assert facts["rebuilt"] == []
        reasons = {b["shard"]: b["reason"] for b in facts["broken"]}
        assert "is a folder; remove it" in reasons[folder]
        assert "is a file; remove it" in reasons[inside]
    assert code == 1


def test_scratch_that_is_a_link_is_taken_away(
    wave_release: Path, copied: Callable[[Path], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = copied(wave_release)
    before = contents(root)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "kept.txt").write_text("mine")
    (root / SCRATCH).symlink_to(tmp_path / "mine")
    lost(root, [read_release(root).shards[0].path])
    assert run(capsys, root, "--write")[0] == 0
    assert contents(root) == before
    assert (tmp_path / "mine" / "kept.txt").is_file()


def test_rows_that_follow_are_checked_with_their_items(wave_release: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shards = read_release(wave_release).shards
    video = next(s for s in shards if s.config == "video")
    for config in ("frames", "radiometric"):
        path = next(s.path for s in shards if s.config == config and s.fingerprint == video.fingerprint)
        code, facts = run(capsys, wave_release, "--shard", path)
        assert (code, facts["items"]["exact"]) == (0, video.rows)


def test_a_link_within_the_release_is_no_shard(wave_release: Path, copied: Callable[[Path], Path]) -> None:
    root = copied(wave_release)
    place = open_place(root)
    path = root / place.release.shards[0].path
    path.rename(root / "aside.parquet")
    path.symlink_to(root / "aside.parquet")
    assert [(b.shard.path, b.state) for b in broken_shards(place, place.release.shards)] == [
        (place.release.shards[0].path, "damaged")
    ]


def test_one_command_at_a_time(
    wave_release: Path, copied: Callable[[Path], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    root = copied(wave_release)
    lost(root, [read_release(root).shards[0].path])
    with locked(root):
        assert run(capsys, root, "--write")[0] == 6
    assert run(capsys, root, "--write")[0] == 0


def test_leftovers_of_a_killed_run_are_removed(
    wave_release: Path, copied: Callable[[Path], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    root = copied(wave_release)
    before = contents(root)
    lost(root, [read_release(root).shards[0].path])
    (root / SCRATCH / "data").mkdir(parents=True)
    (root / SCRATCH / "data" / "half.parquet").write_bytes(b"PAR1")
    assert run(capsys, root, "--write")[0] == 0
    assert contents(root) == before
    (root / SCRATCH).mkdir()
    assert run(capsys, root, "--write")[0] == 0
    assert not (root / SCRATCH).exists()


def test_the_card_and_seal_still_hold(
    wave_release: Path, copied: Callable[[Path], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    root = copied(wave_release)
    everything(root, [])
    assert run(capsys, root, "--write")[0] == 0
    assert verify_release(root) == []
    release = read_release(root)
    assert (root / MANIFEST).read_text() == manifest_text(Manifest.model_validate(release.model_dump()))
    assert {s.config for s in release.shards} & set(ITEM_CONFIGS)


@pytest.mark.slow
def test_a_killed_run_goes_on(tiny_release: Path, copied: Callable[[Path], Path]) -> None:
    """SIGKILL while shards are rebuilt: what is there is whole, and the next run ends with the release as it was."""
    root = copied(tiny_release)
    before = contents(root)
    shutil.rmtree(root / "data" / "image")
    command = [sys.executable, "-m", "thermvision_db", "regenerate", str(root), "--write", "--quiet", "--workers", "1"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not list(root.glob("data/image/*/*.parquet")) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    there = {path: digest for path, digest in contents(root).items() if path.endswith(".parquet") and path[0] != "."}
    assert any("data/image" in path for path in there)
    assert len(there) < sum(p.endswith(".parquet") for p in before)
    assert there.items() <= before.items()
    assert subprocess.run(command, stdout=subprocess.DEVNULL).returncode == 0
    assert contents(root) == before
