import json
import shutil

import pytest
import yaml
from datasets import load_dataset

from thermvision.annotations.errors import DamagedInputError, UsageError
from thermvision.curation import release, verify
from thermvision.curation.pack import Shard, complete, shard_path, write_shard

ZEROS = "0" * 64


def copy(source, tmp_path):
    return shutil.copytree(source, tmp_path / "release")


def codes(root):
    return {f.code for f in verify.verify_release(root)}


def test_a_whole_release_has_no_findings(wave_release):
    assert verify.verify_release(wave_release) == []


def test_the_yaml_keeps_length_after_list_so_that_datasets_reads_it(wave_release):
    text = (wave_release / "README.md").read_text()
    assert "length: 68" in text
    for line, following in zip(text.splitlines(), text.splitlines()[1:], strict=False):
        if following.strip().startswith("list:"):
            assert not line.strip().startswith("length:")


def test_only_the_configs_with_rows_are_listed_and_their_counts_are_right(wave_release):
    card = yaml.safe_load((wave_release / "README.md").read_text().split("---\n")[1])
    listed = [c["config_name"] for c in card["configs"]]
    assert listed == [c["config_name"] for c in card["dataset_info"]]
    assert "scenes" not in listed
    assert card["license"] == "cc-by-4.0"
    for info in card["dataset_info"]:
        loaded = load_dataset(str(wave_release), info["config_name"])
        assert {s["name"]: s["num_examples"] for s in info["splits"]} == {k: len(v) for k, v in loaded.items()}


@pytest.mark.parametrize(
    ("damage", "code"),
    [
        (lambda p: p.write_bytes(p.read_bytes()[:-1]), "size"),
        (lambda p: p.write_bytes(p.read_bytes()[:-1] + b"\0"), "digest"),
        (lambda p: p.unlink(), "file-missing"),
        (lambda p: p.with_name("extra.parquet").write_bytes(b"x"), "unlisted-file"),
        (lambda p: p.with_name(".a.partial").write_bytes(b"x"), "partial-file"),
    ],
)
def test_each_damage_is_found(wave_release, tmp_path, damage, code):
    root = copy(wave_release, tmp_path)
    damage(root / release.read_release(root).shards[0].path)
    assert code in codes(root)


def test_all_findings_are_listed_not_the_first(wave_release, tmp_path):
    root = copy(wave_release, tmp_path)
    shards = release.read_release(root).shards
    (root / shards[0].path).unlink()
    (root / shards[3].path).unlink()
    (root / "README.md").unlink()
    found = [f.path for f in verify.verify_release(root)]
    assert sorted(found) == sorted(["README.md", shards[0].path, shards[3].path])


def test_a_shard_in_the_wrong_split_or_with_other_rows_is_found(wave_release, tmp_path):
    root = copy(wave_release, tmp_path)
    manifest = json.loads((root / "release.json").read_text())
    subject = manifest["identities"][0]
    subject["split"] = "validation" if subject["split"] != "validation" else "test"
    manifest["shards"][0]["rows"] += 1
    (root / "release.json").write_text(json.dumps(manifest))
    assert {"split", "rows", "card-yaml"} <= codes(root)


def test_a_shard_of_another_schema_is_found(wave_release, tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    root = copy(wave_release, tmp_path)
    shard = release.read_release(root).shards[0]
    pq.write_table(pa.table({"x": [1]}), root / shard.path)
    assert "schema" in codes(root)


def test_a_shard_older_than_a_column_is_whole_and_reads_as_null(wave_release, tmp_path):
    import pyarrow.parquet as pq

    root = copy(wave_release, tmp_path)
    shard = next(s for s in release.read_release(root).shards if s.config == "frames")
    table = pq.read_table(root / shard.path, partitioning=None)
    older = table.drop_columns(["jewellery"])
    pq.write_table(older, root / shard.path)
    assert "schema" not in codes(root)
    assert complete(older, table.schema)["jewellery"].null_count == len(table)
    assert complete(older, table.schema).schema.equals(table.schema)
    pq.write_table(table.drop_columns(["glasses"]), root / shard.path)
    assert "schema" in codes(root)
    with pytest.raises(ValueError, match="names"):
        complete(table.drop_columns(["glasses"]), table.schema)


def test_a_folder_that_is_no_release_says_what_to_type(tmp_path):
    with pytest.raises(UsageError, match="thermvision build --out"):
        release.read_release(tmp_path)


@pytest.mark.parametrize(
    "change",
    [
        {"format": "other/9"},
        {"shards": [{"path": "../../etc/passwd"}]},
        {"identities": [{"subject_id": "a", "gender": "x", "split": "train"}]},
        {"surprise": 1},
    ],
)
def test_a_damaged_manifest_is_one_clear_error(wave_release, tmp_path, change):
    root = copy(wave_release, tmp_path)
    (root / "release.json").write_text(json.dumps({**json.loads((root / "release.json").read_text()), **change}))
    with pytest.raises(DamagedInputError, match=r"release\.json is damaged"):
        release.read_release(root)


@pytest.mark.parametrize("path", ["/etc/passwd", "../x", "data/../../x", "", "a\\..\\b", "a\0b"])
def test_a_shard_path_never_leaves_the_release(path):
    with pytest.raises(ValueError, match="path"):
        Shard(path=path, config="video", split="train", rows=0, bytes=0, num_bytes=0, sha256=ZEROS, fingerprint=ZEROS)


def test_shard_names_carry_split_and_version_and_no_count():
    assert shard_path("video", "train", "1.0", 0) == "data/video/train-v1.0-00000.parquet"
    assert shard_path("beard", "test", "1.1", 12) == "data/image/beard/test-v1.1-00012.parquet"


def test_a_row_that_does_not_fit_is_refused_and_nothing_is_written(tmp_path):
    with pytest.raises(ValueError, match="a row of video has or lacks"):
        write_shard(tmp_path, "video", "train", "1.0", 0, [{"clip_id": "a"}], ["a"], ZEROS)
    assert not list(tmp_path.rglob("*.parquet"))


def many(count, licences):
    identities = [{"subject_id": f"P_{n:06d}", "gender": "male", "split": "train"} for n in range(count)]
    values = {"name": "many", "version": "1.0", "source": "build", "licences": licences, "identities": identities}
    return release.Manifest.model_validate({**values, "shards": [], "plan": ZEROS})


def test_above_a_thousand_identities_the_names_go_to_a_table(tmp_path):
    import pyarrow.parquet as pq

    release.write_release(tmp_path, many(1001, {"a": "cc-by-4.0"}))
    table = pq.read_table(tmp_path / "identities.parquet").to_pylist()
    assert table[1000] == {"identity": 1000, "subject_id": "P_001000", "gender": "male", "split": "train"}


def test_a_mixed_release_takes_the_strictest_licence():
    assert many(1, {"a": "cc-by-4.0", "b": "flux-1-dev-non-commercial-license"}).licence.startswith("flux")
    assert many(1, {"a": "cc-by-4.0", "b": "thermvision-db-research"}).licence == "thermvision-db-research"
