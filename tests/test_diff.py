"""diff and info: what differs between two releases, without decoding a picture."""

import json
import shutil

import pyarrow.parquet as pq
import pytest
from fake_engine import WAVES, waves_for_phantom

import thermvision_db
from thermvision.annotations import schema
from thermvision.annotations.errors import DamagedInputError
from thermvision.curation.contents import seal
from thermvision.curation.differences.commands import lines_of
from thermvision.curation.differences.diff import compare
from thermvision.curation.differences.history import versions_of
from thermvision.curation.places import open_place
from thermvision.curation.release import read_release
from thermvision.curation.revision import revise
from thermvision.generation import build
from thermvision.generation.extension import extend

BIG = (
    WAVES.replace('"1.0"', '"1.1"')
    .replace("female = 3", "female = 4")
    .replace("beard = { count = 3", "beard = { count = 6")
)


@pytest.fixture(scope="module")
def grown(wave_release, tmp_path_factory):
    out = tmp_path_factory.mktemp("grown") / "release"
    with waves_for_phantom():
        extend.extend_release(wave_release, extend.prepare_extension(wave_release, BIG), out, quiet=True)
    return out


@pytest.fixture
def revised(wave_release, tmp_path):
    """One clip relabelled, one dropped."""

    def edit(config, row):
        return None if row["clip_id"] == "P_000001_S2" else {**row, "hairstyle": schema.HAIRSTYLES.index("bald")}

    out = tmp_path / "revised"
    revise(wave_release, out, edit, items=["P_000000_S1", "P_000001_S2"], decides="x", reason="a test", quiet=True)
    return out


def found(before, after):
    return compare(open_place(before), open_place(after))


def test_a_release_and_its_copy_are_the_same(wave_release, tmp_path):
    copy = shutil.copytree(wave_release, tmp_path / "copy")
    result = found(wave_release, copy)
    assert result["same"]
    assert result["items"] == result["columns"] == {}
    assert lines_of(result)[-1] == "no difference"


def test_what_an_extension_added(wave_release, grown):
    result = found(wave_release, grown)
    new = ("P_000006",)
    assert result["version"] == ["1.0", "1.1"]
    assert result["identities"] == {"added": list(new), "removed": [], "changed": {}}
    assert result["items"]["video"]["added"] == ["P_000006_S1", "P_000006_S2"]
    assert result["items"]["beard"] == {
        "added": [f"P_00000{n}_beard_001" for n in (1, 3, 5)], "removed": [], "changed": {},
    }  # fmt: skip
    before, after = read_release(wave_release), read_release(grown)
    added = set(after.shards) - set(before.shards)
    assert set(result["shards"]["added"]) == {s.path for s in added}
    assert result["shards"]["bytes"]["added"] == sum(s.bytes for s in added)
    assert result["shards"]["same"] == len(before.shards)
    assert result["recipes"]["added"] == ["recipes/1.1.toml"]
    assert not any(items["changed"] or items["removed"] for items in result["items"].values())
    back = found(grown, wave_release)
    assert {c: i["removed"] for c, i in back["items"].items()} == {c: i["added"] for c, i in result["items"].items()}
    assert "IDENTITIES REMOVED: P_000006" in lines_of(back)


def test_changed_items_name_their_columns(wave_release, revised):
    result = found(wave_release, revised)
    assert result["items"] == {
        "video": {"added": [], "removed": ["P_000001_S2"], "changed": {"P_000000_S1": ["hairstyle"]}},
        "frames": {"added": [], "removed": ["P_000001_S2"], "changed": {"P_000000_S1": ["hairstyle"]}},
        "radiometric": {"added": [], "removed": ["P_000001_S2"], "changed": {"P_000000_S1": ["hairstyle"]}},
    }
    assert result["identities"] == {"added": [], "removed": [], "changed": {}}
    assert "  P_000000_S1 changed: hairstyle" in lines_of(result)


def test_the_same_rows_in_other_shards_are_no_change(wave_release, tmp_path):
    with waves_for_phantom():
        build.build_release(build.prepare(WAVES.replace("clips = 3", "clips = 2")), tmp_path / "out", quiet=True)
    result = found(wave_release, tmp_path / "out")
    assert result["items"] == result["columns"] == {}
    assert result["shards"]["added"] or result["shards"]["changed"]
    assert not result["same"]


def test_shards_that_both_hold_are_not_read(wave_release, grown, tmp_path):
    before, after = (shutil.copytree(r, tmp_path / r.parent.name) for r in (wave_release, grown))
    for root in (before, after):
        for shard in read_release(wave_release).shards:
            (root / shard.path).unlink()
    assert found(before, after)["items"] == found(wave_release, grown)["items"]


def test_changed_identities_are_loud(wave_release, tmp_path):
    other = shutil.copytree(wave_release, tmp_path / "other")
    manifest = json.loads((other / "release.json").read_text())
    first, second = manifest["identities"][:2]
    manifest["identities"][:2] = [{**second, "split": "test"}, first]
    (other / "release.json").write_text(json.dumps(manifest))
    result = found(wave_release, other)
    was = {i.subject_id: i for i in read_release(wave_release).identities}[second["subject_id"]]
    assert result["identities"]["changed"] == {
        "P_000000": ["class 0 then, 1 now"],
        "P_000001": ["class 1 then, 0 now", *([f"split {was.split} then, test now"] if was.split != "test" else [])],
    }
    assert lines_of(result)[2] == "IDENTITY CHANGED: P_000000: class 0 then, 1 now"


def test_columns_are_those_that_the_cards_declare(wave_release, tmp_path):
    other = shutil.copytree(wave_release, tmp_path / "other")
    card = (other / "README.md").read_text()
    fps = "  - name: fps\n    dtype: float32\n"
    assert card.count(fps) == 1
    (other / "README.md").write_text(card.replace(fps, "  - name: pulse\n    dtype: float32\n"))
    assert found(wave_release, other)["columns"] == {"video": {"added": ["pulse"], "removed": ["fps"], "changed": []}}
    (other / "README.md").write_text(card.replace(fps, fps.replace("32", "64")))
    assert found(wave_release, other)["columns"] == {"video": {"added": [], "removed": [], "changed": ["fps"]}}
    (other / "README.md").write_text("# no YAML")
    with pytest.raises(DamagedInputError, match="does not declare its columns"):
        found(wave_release, other)


def test_a_shard_that_does_not_read_is_named(wave_release, grown, tmp_path):
    other = shutil.copytree(grown, tmp_path / "other")
    shard = next(s for s in read_release(other).shards if "-v1.1-" in s.path)
    (other / shard.path).write_bytes(b"PAR1 no parquet")
    with pytest.raises(DamagedInputError, match=r"v1\.1-\d+\.parquet does not read"):
        found(wave_release, other)
    (other / shard.path).unlink()
    with pytest.raises(DamagedInputError, match=r"v1\.1-\d+\.parquet of .* is not there"):
        found(wave_release, other)


def test_the_command_diff(wave_release, grown, tmp_path, capsys):
    assert thermvision_db.main(["diff", str(wave_release), str(grown)]) == 0
    assert "1 identity added: P_000006" in capsys.readouterr().out
    assert thermvision_db.main(["diff", str(wave_release), str(grown), "--exit-code", "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["same"] is False
    assert thermvision_db.main(["diff", str(wave_release), f"file://{wave_release}", "--exit-code"]) == 0
    assert "no difference" in capsys.readouterr().out
    assert thermvision_db.main(["diff", str(wave_release), str(tmp_path / "nothing")]) == 2
    assert "does not exist" in capsys.readouterr().err


def test_info_says_what_each_version_added(wave_release, grown, capsys, tmp_path):
    def facts(place):
        assert thermvision_db.main(["info", str(place), "--json"]) == 0
        return json.loads(capsys.readouterr().out)

    told = facts(grown)
    assert (told["parent"], told["sealed"], told["signed"]) == ("1.0", False, False)
    before, after = read_release(wave_release).shards, read_release(grown).shards
    first, second = told["versions"]
    assert first == {
        "version": "1.0", "shards": len(before), "bytes": sum(s.bytes for s in before), "supersedes": 0, "limit": None,
        "made_from": ["recipes/1.0.toml"], "identities": 6,
        "frames": sum(s.rows for s in before if s.config == "frames"),
    }  # fmt: skip
    assert (second["version"], second["shards"], second["identities"]) == ("1.1", len(after) - len(before), 1)
    assert facts(f"file://{grown}")["versions"][1]["identities"] is None  # nothing is downloaded for it
    sealed = shutil.copytree(grown, tmp_path / "sealed")
    seal(sealed)
    (sealed / "release.json.minisig").write_text("untrusted comment: a signature\n")
    told = facts(sealed)
    assert (told["sealed"], told["signed"]) == (True, True)
    assert thermvision_db.main(["info", str(sealed)]) == 0
    said = capsys.readouterr().out
    assert "version 1.1: " in said
    assert "1 identity new, recipes/1.1.toml" in said
    assert "every file is in release.json; signed" in said


def test_a_recipe_is_of_its_own_version_only(wave_release, copied):
    root = copied(wave_release)
    told = json.loads((root / "release.json").read_text())
    names = ["1.0", "1.1", "1.1.1", "1.10", "11.1"]
    told |= {"version": "11.1", "parent": "1.10", "recipes": {f"recipes/{n}.toml": "0" * 64 for n in names}}
    first = told["shards"][0]
    told["shards"] += [first | {"path": first["path"].replace("v1.0", f"v{n}")} for n in names[1:]]
    (root / "release.json").write_text(json.dumps(told))
    made = {v["version"]: v["made_from"] for v in versions_of(open_place(root))}
    assert made == {n: [f"recipes/{n}.toml"] for n in names}


def test_info_of_a_revision_says_what_was_superseded(revised, capsys):
    assert thermvision_db.main(["info", str(revised), "--json"]) == 0
    versions = json.loads(capsys.readouterr().out)["versions"]
    shards = [s for s in read_release(revised).shards if s.replaces]
    assert [v["supersedes"] for v in versions] == [0, len(shards)]
    assert versions[1]["identities"] == 0
    assert pq.ParquetFile(revised / shards[0].path).metadata.num_rows
