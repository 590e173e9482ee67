"""What `verify` finds in a release that somebody changed by hand, moved about, or linked together."""

from __future__ import annotations

import json
import os
import re
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from conftest import SUBJECTS, ZEROS, clip_row, face_annotation, frame_rows
from datasets import load_dataset

import thermvision_db
from thermvision.annotations.errors import DamagedInputError
from thermvision.annotations.schema import features
from thermvision.curation import benchmark, verify
from thermvision.curation.contents import MANIFEST, seal
from thermvision.curation.pack import complete, write_shard
from thermvision.curation.release import README, Manifest, front_matter, manifest_text, read_release, write_release
from thermvision.curation.sources import ReleaseSource
from thermvision.curation.store import sha256_file
from thermvision.curation.verify import verify_release


@pytest.fixture
def root(wave_release: Path, copied: Callable[[Path], Path]) -> Path:
    """A sealed release with a picture."""
    root = copied(wave_release)
    (root / "preview").mkdir()
    (root / "preview" / "contact_sheet.jpg").write_bytes(b"picture")
    seal(root)
    assert verify_release(root) == []
    return root


def found(root: Path) -> set[tuple[str, str]]:
    return {(f.path, f.code) for f in verify_release(root)}


def shard_of(root: Path, config: str, number: int = 0) -> str:
    return read_release(root).shards_of(config)[number].path


def told(root: Path, **changes: object) -> None:
    """Change the manifest behind everybody's back."""
    (root / MANIFEST).write_text(json.dumps({**json.loads((root / MANIFEST).read_text()), **changes}))


def test_a_row_edited_by_hand(root: Path) -> None:
    path = shard_of(root, "frames")
    table = pq.read_table(root / path, partitioning=None)
    place = table.schema.get_field_index("mouth_openness")
    edited = table.set_column(place, table.schema.field(place), pa.array([0.5] * len(table), pa.float32()))
    pq.write_table(edited, root / path)
    assert (path, "digest") in found(root)
    assert {p for p, _ in found(root)} == {path}


@pytest.mark.parametrize("path", [README, "recipes/1.0.toml", "preview/contact_sheet.jpg"])
def test_another_file_edited_or_gone(root: Path, path: str) -> None:
    (root / path).write_bytes((root / path).read_bytes() + b"\n")
    assert found(root) == {(path, "digest")}
    (root / path).unlink()
    assert found(root) == {(path, "file-missing")}


@pytest.mark.parametrize("path", ["data/video/train-v1.0-00099.parquet", "recipes/2.toml", "preview/a.png", "data/x"])
def test_an_extra_file_where_only_listed_ones_lie(root: Path, path: str) -> None:
    (root / path).write_bytes(b"x")
    assert found(root) == {(path, "unlisted-file")}


def test_an_extra_file_elsewhere_is_told_and_no_finding(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (root / "notes.txt").write_text("x")
    assert verify_release(root) == []
    assert thermvision_db.main(["verify", str(root)]) == 0
    output = capsys.readouterr()
    assert "no part of the release, and never published: notes.txt" in output.err
    assert "and 3 other files, all whole" in output.out
    assert "next: python -c" in output.out


def test_shards_that_changed_places(root: Path) -> None:
    first, second = shard_of(root, "video", 0), shard_of(root, "video", 1)
    data = (root / first).read_bytes()
    (root / first).write_bytes((root / second).read_bytes())
    (root / second).write_bytes(data)
    assert {(first, "digest"), (second, "digest")} <= found(root)


def test_a_link_is_found_and_not_followed(root: Path, tmp_path: Path) -> None:
    path = shard_of(root, "video")
    whole = (root / path).read_bytes()
    (root / path).unlink()
    (tmp_path / "outside.parquet").write_bytes(b"what is not read makes no finding")
    (root / path).symlink_to(tmp_path / "outside.parquet")
    (finding,) = verify_release(root)
    assert (finding.path, finding.code) == (path, "link")
    assert "a symbolic link to" in finding.message
    assert "put a copy in its place" in finding.message
    (root / path).unlink()
    (root / path).write_bytes(whole)
    (root / "data" / "frames").rename(tmp_path / "frames")
    (tmp_path / "elsewhere").mkdir()
    (root / "data" / "frames").symlink_to(tmp_path / "elsewhere")
    assert found(root) == {("data/frames", "link")}
    (root / "data" / "frames").unlink()
    (tmp_path / "frames").rename(root / "data" / "frames")
    assert found(root) == set()
    (root / "loop").symlink_to(root)
    assert found(root) == {("loop", "link")}


def test_a_release_behind_a_link_is_whole(root: Path, tmp_path: Path) -> None:
    (tmp_path / "latest").symlink_to(root)
    assert verify_release(tmp_path / "latest") == []


def test_a_manifest_of_a_newer_schema_says_so(root: Path) -> None:
    told(root, format="thermvision-release/2", shards="something else")
    with pytest.raises(DamagedInputError, match=r"'thermvision-release/2'; this .* pip install --upgrade"):
        read_release(root)


def test_a_file_listed_twice_and_a_shard_in_the_wrong_place(root: Path) -> None:
    manifest = read_release(root)
    first = manifest.shards[0]
    told(root, files={**manifest.files, first.path: first.sha256, MANIFEST: ZEROS})
    twice = [f for f in verify_release(root) if f.code == "file-twice"]
    assert [f.message.split(" is listed")[0] for f in twice] == [first.path, MANIFEST]
    moved = first.model_copy(update={"path": "data/elsewhere.parquet"})
    (root / first.path).rename(root / moved.path)
    (root / MANIFEST).write_text(manifest_text(manifest.model_copy(update={"shards": (moved, *manifest.shards[1:])})))
    assert ("data/elsewhere.parquet", "shard-path") in found(root)


def test_nulls_for_identities_are_findings_and_no_crash(root: Path) -> None:
    path = next(s.path for s in read_release(root).shards_of("frames") if s.rows > 1)
    table = pq.read_table(root / path, partitioning=None)
    place = table.schema.get_field_index("identity")
    values = pa.array([None, *table["identity"].to_pylist()[1:]], table.schema.field(place).type)
    pq.write_table(table.set_column(place, table.schema.field(place), values), root / path)
    assert (path, "identity") in found(root)


def older_card(root: Path) -> None:
    """Take the column jewellery out of the card, as it was before there was one."""
    release = read_release(root)
    card = yaml.safe_load(front_matter(release))
    for info in card["dataset_info"]:
        info["features"] = [f for f in info["features"] if f["name"] != "jewellery"]
    (root / README).write_text(f"---\n{yaml.safe_dump(card, sort_keys=False)}---\n")
    seal(root)


@pytest.mark.parametrize(
    "path", [".huggingface.yaml", ".hidden/x", "preview/.x", "preview/x.py", "preview/a\nb", "dataset_infos.json", "id"]
)
def test_a_listed_file_that_has_no_place_in_a_release(root: Path, tmp_path: Path, path: str) -> None:
    """Hidden ones above all: nobody would see that such a file, or a folder on its way, is a link out of the tree."""
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "x").write_text("0")
    if path == ".hidden/x":
        (root / ".hidden").symlink_to(tmp_path / "elsewhere")
    else:
        (root / path).symlink_to(tmp_path / "elsewhere" / "x")
    told(root, files={**read_release(root).files, path: sha256_file(root / path)})
    assert (path, "file-path") in found(root)


def test_a_recipe_elsewhere_and_a_shard_in_a_folder_that_no_pattern_finds(root: Path) -> None:
    recipes = read_release(root).recipes
    told(root, recipes={**recipes, "data/video/train-x": ZEROS})
    assert ("data/video/train-x", "file-path") in found(root)
    shard = shard_of(root, "video")
    moved = shard.replace(".parquet", "/x.parquet")
    text = (root / MANIFEST).read_text().replace(shard, moved)
    (root / MANIFEST).write_text(text)
    assert (moved, "shard-path") in found(root)


def test_an_identity_listed_twice_is_a_finding_and_no_crash(root: Path) -> None:
    first, *_ = people = [i.model_dump() for i in read_release(root).identities]
    told(root, identities=[*people, first])
    assert found(root) == {(MANIFEST, "identity-twice")}


def test_many_identities_listed_twice_take_no_time(root: Path) -> None:
    people = [{"subject_id": f"P_{n // 2}", "gender": "male", "split": "train"} for n in range(60_000)]
    told(root, identities=people)
    start = time.process_time()
    assert len(verify_release(root)) == 30_000
    assert time.process_time() - start < 10


def test_a_manifest_without_a_licence_is_damaged(root: Path) -> None:
    told(root, licences={})
    with pytest.raises(DamagedInputError, match="names no licence; allowed: one of thermvision-db-research"):
        verify_release(root)


@pytest.mark.parametrize("version", ["1.x", "1." + "9" * 5000, "\u0661.0"])
@pytest.mark.parametrize("field", ["version", "parent"])
def test_a_version_that_is_none(root: Path, field: str, version: str) -> None:
    told(root, **{field: version})
    with pytest.raises(DamagedInputError, match=field):
        verify_release(root)


def test_a_small_file_of_very_many_rows_takes_little_memory(tmp_path: Path) -> None:
    rows = 400_000
    same = pa.DictionaryArray.from_arrays(pa.repeat(pa.scalar(0, pa.int32()), rows), pa.array(["P_0"]))
    pq.write_table(pa.table({"subject_id": same, "identity": pa.repeat(0, rows)}), tmp_path / "x.parquet")
    assert (tmp_path / "x.parquet").stat().st_size < 20_000
    tracemalloc.start()
    try:
        assert verify._identities(pq.ParquetFile(tmp_path / "x.parquet")) == {("P_0", 0)}
        assert tracemalloc.get_traced_memory()[1] < 5e6
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("name", [".huggingface.yaml", "dataset_infos.json", "SCRIPT"])
def test_a_file_that_would_have_load_dataset_load_something_else(root: Path, name: str) -> None:
    """A mirror with such a file beside a signed manifest would say all is whole, and load what it likes."""
    name = f"{root.name}.py" if name == "SCRIPT" else name
    (root / name).write_text("configs:\n- config_name: video\n  data_files: /elsewhere/*.parquet\n")
    assert found(root) == {(name, "unlisted-file")}


def test_lists_behind_a_link_are_not_read(root: Path, tmp_path: Path) -> None:
    (tmp_path / "protocols.json").write_text("{no json")
    (root / "protocols").symlink_to(tmp_path)
    assert found(root) == {("protocols", "link")}


def test_names_are_printed_without_their_control_characters(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    name = os.fsdecode(b"a\xff\n\x1b[31m")  # no UTF-8, as Linux allows
    try:
        (root / "preview" / name).write_text("x")
    except OSError:
        pytest.skip("this file system takes no such name")
    (root / name).write_text("x")
    for options in ([], ["--json"]):
        assert thermvision_db.main(["verify", str(root), *options]) == 1
        output = capsys.readouterr().out
        assert "\x1b" not in output
        assert r"preview/a\udcff\n\x1b[31m" in (json.loads(output)[0]["path"] if options else output)
    (root / "preview" / name).unlink()
    assert thermvision_db.main(["verify", str(root)]) == 0
    assert r"a\udcff\n\x1b[31m" in capsys.readouterr().err


def test_a_card_may_be_as_old_as_its_shards_and_no_older(root: Path) -> None:
    older_card(root)
    assert found(root) == {(README, "card-yaml")}  # the shards have the column, and loading would fail
    shards = []
    for shard in read_release(root).shards:
        table = pq.read_table(root / shard.path, partitioning=None)
        pq.write_table(table.drop_columns([n for n in table.column_names if n == "jewellery"]), root / shard.path)
        facts = {"sha256": sha256_file(root / shard.path), "bytes": (root / shard.path).stat().st_size}
        shards.append({**shard.model_dump(), **facts})
    told(root, shards=shards)
    older_card(root)
    assert found(root) == set()
    assert "jewellery" not in load_dataset(str(root), "video", split="train", streaming=True).features


def test_every_code_is_a_kind_that_check_knows() -> None:
    from thermvision.curation.checks.catalogue import KINDS

    sources = Path(verify.__file__).read_text() + Path(benchmark.__file__).read_text()
    codes = set(re.findall(r'Finding\([^"]*?(?:f"[^"]*", )?"([a-z-]+)"', sources)) - {"signature"}
    assert len(codes) >= 12
    assert codes <= KINDS.keys()


def test_the_command_lists_findings_as_json(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert thermvision_db.main(["verify", str(root), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == []
    (root / "preview" / "contact_sheet.jpg").unlink()
    assert thermvision_db.main(["verify", str(root), "--json", "--workers", "1"]) == 1
    output = capsys.readouterr()
    (finding,) = json.loads(output.out)
    assert (finding["path"], finding["code"]) == ("preview/contact_sheet.jpg", "file-missing")
    assert "1 finding in" in output.err


# --- beyond the number of class names -------------------------------------------------------------------------------


def grown(root: Path, monkeypatch: pytest.MonkeyPatch) -> Manifest:
    """A release whose first shards have class names for its two subjects, and whose next ones are past the limit."""
    shards, subjects = [], list(SUBJECTS)
    monkeypatch.setattr("thermvision.annotations.schema.MAX_CLASS_NAMES", 2)
    monkeypatch.setattr("thermvision.curation.release.MAX_CLASS_NAMES", 2)
    for version, new in (("1.0", subjects), ("1.1", ["P_000002"])):
        known = subjects if version == "1.0" else [*subjects, *new]
        for subject in new:
            note = [face_annotation(64, 0.0, known=True)] * 2
            clip = clip_row(f"{subject}_S1", subject, known, "head_pose", note, 64)
            number = len(shards) // 2
            for config, rows in (("video", [clip]), ("frames", frame_rows(clip, note))):
                shards.append(write_shard(root, config, "train", version, number, rows, known, ZEROS))
    identities = [{"subject_id": s, "gender": "female", "split": "train"} for s in [*subjects, "P_000002"]]
    values = {"name": "grown", "version": "1.1", "parent": "1.0", "source": "build", "licences": {"a": "cc-by-4.0"}}
    manifest = Manifest.model_validate({**values, "identities": identities, "shards": shards, "plan": ZEROS})
    write_release(root, manifest)
    return seal(root)


def test_a_release_that_outgrows_its_class_names_is_whole_and_loads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    verify.expected_schema.cache_clear()
    manifest = grown(tmp_path / "release", monkeypatch)
    types = [str(pq.read_schema(tmp_path / "release" / s.path).field("identity").type) for s in manifest.shards]
    assert types == ["int64"] * 4 + ["int32"] * 2
    assert verify_release(tmp_path / "release") == []
    assert "identities.parquet" in manifest.files
    source = ReleaseSource(tmp_path / "release")
    for config in ("video", "frames"):
        rows = load_dataset(str(tmp_path / "release"), config, split="train")
        assert rows.features["identity"].dtype == "int32"
        numbers = dict(zip(rows["subject_id"], rows["identity"], strict=True))
        assert numbers == {"P_000000": 0, "P_000001": 1, "P_000002": 2}
        streamed = load_dataset(str(tmp_path / "release"), config, split="train", streaming=True)
        assert [r["identity"] for r in streamed] == rows["identity"][:]
        schema = features(config, manifest.subject_ids).arrow_schema
        for shard in manifest.shards_of(config):
            for table in source.tables(config, shard.path):
                assert complete(table, schema).schema.field("identity").type == pa.int32()
    verify.expected_schema.cache_clear()


def test_scenes_with_either_width_of_identity_have_one_schema(monkeypatch: pytest.MonkeyPatch) -> None:
    named = features("scenes", ["a", "b"]).arrow_schema
    monkeypatch.setattr("thermvision.annotations.schema.MAX_CLASS_NAMES", 1)
    numbered = features("scenes", ["a", "b"]).arrow_schema
    assert not named.equals(numbered)
    assert verify.wide_identity(named).equals(verify.wide_identity(numbered))
    assert complete(named.empty_table(), numbered).schema.equals(numbered)
    assert not verify.wide_identity(named).equals(verify.wide_identity(features("video", ["a"]).arrow_schema))
