"""extend: the parent's shards as they are, new ones beside them, identities only appended."""

import json
import shutil

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import load_dataset
from fake_engine import WAVES, WaveEngine, waves_for_phantom

import thermvision_db
from thermvision.annotations import schema
from thermvision.annotations.errors import DamagedInputError, UsageError
from thermvision.curation import assembly, pack, release, verify
from thermvision.curation.contents import seal
from thermvision.curation.release import read_release, write_release
from thermvision.curation.revision import ITEM_CONFIGS, revise
from thermvision.curation.splits import split_of
from thermvision.curation.verify import verify_release
from thermvision.generation import build, run
from thermvision.generation.extension import extend, lineage
from thermvision.generation.specs import MotionTrack

pytestmark = pytest.mark.usefixtures("wave_engine")

# unequal numbers of women and men, and more stills of each category than before, a whole number of turns
BIG = (
    WAVES.replace('version = "1.0"', 'version = "1.1"')
    .replace("female = 3\nmale = 3", "female = 7\nmale = 4")
    .replace("_pose = 6\n", "_pose = 11\n")
    .replace("accessories = 6", "accessories = 11")
    .replace("mix = 6", "mix = 11")
    .replace("poses = 6", "poses = 11")
    .replace("count = 3", "count = 4")
)
# only what is added: other people, of another seed, no clips
MORE = """
name = "more waves"
version = "1.2"
seed = 8
[subjects]
female = 1
male = 2
first = 40
[stills]
size = 64
mix = 3
"""


def grow(parent, out, text=BIG, limit=None, **options):
    return extend.extend_release(parent, extend.prepare_extension(parent, text, limit), out, quiet=True, **options)


def make(out, text, limit=None):
    build.build_release(build.prepare(text, limit), out, quiet=True)
    return out


def pixels(root):
    """Item id to the digest of its raw pixels."""
    release, found = read_release(root), {}
    for shard in (s for c in ITEM_CONFIGS for s in release.shards_of(c)):
        table = pq.read_table(root / shard.path)
        for row in table.select([table.schema.names[1], "provenance"]).to_pylist():
            name = row.get("clip_id") or row["image_id"]
            assert name not in found
            found[name] = json.loads(row["provenance"])["raw_pixels_sha256"]
    return found


@pytest.fixture(scope="module")
def grown(wave_release, tmp_path_factory):
    out = tmp_path_factory.mktemp("grown") / "release"
    with waves_for_phantom():
        grow(wave_release, out)
    return out


def test_the_parents_shards_are_untouched_and_identities_appended(wave_release, grown):
    before, after = read_release(wave_release), read_release(grown)
    assert (after.version, after.parent, after.name) == ("1.1", "1.0", "waves")
    assert after.identities[:6] == before.identities
    assert [i.subject_id for i in after.identities[6:]] == [f"P_{n:06d}" for n in (6, 7, 8, 10, 12)]
    assert set(before.shards) < set(after.shards)
    for shard in before.shards:
        assert (grown / shard.path).read_bytes() == (wave_release / shard.path).read_bytes()
    for shard in set(after.shards) - set(before.shards):
        assert "-v1.1-" in shard.path
    assert after.recipes.items() >= before.recipes.items()
    assert (grown / "recipes" / "1.1.toml").read_text() == BIG
    assert verify_release(grown) == []


def test_it_holds_what_a_build_of_the_whole_recipe_holds(grown, tmp_path):
    whole = make(tmp_path / "whole", BIG)
    assert pixels(grown) == pixels(whole)
    splits = [{i.subject_id: (i.gender, i.split) for i in read_release(r).identities} for r in (grown, whole)]
    assert splits[0] == splits[1]


def test_every_config_loads_old_and_new_shards_together(grown):
    release = read_release(grown)
    for config in ("video", "image", *schema.CATEGORIES, "frames", "radiometric"):
        loaded = load_dataset(str(grown), config)
        streamed = load_dataset(str(grown), config, streaming=True)
        assert set(loaded) == set(streamed)
        for split, rows in loaded.items():
            assert len(rows) == sum(s.rows for s in release.shards_of(config, split))
            assert rows.features["identity"].names == release.subject_ids
            names = [(r["subject_id"], rows.features["identity"].int2str(r["identity"])) for r in rows]
            assert all(subject == name for subject, name in names)
            assert [r["subject_id"] for r in streamed[split]] == [subject for subject, _ in names]


def test_nothing_that_is_there_is_planned_again(wave_release):
    prepared = extend.prepare_extension(wave_release, BIG)
    ids = {i for job in prepared.jobs for i in job.items}
    assert ids.isdisjoint(pixels(wave_release))
    assert {i.subject.subject_id for s in prepared.plan.shards for i in s.items} == {
        f"P_{n:06d}" for n in (6, 7, 8, 10, 12)
    }
    few = extend.prepare_extension(wave_release, BIG, limit=2)
    assert [i for job in few.jobs for i in job.items if "_S" in i] == ["P_000006_S1", "P_000006_S2"]
    assert len(few.plan.stills) == 2


def test_a_killed_extension_goes_on_and_ends_the_same(wave_release, grown, tmp_path, monkeypatch):
    out, real, written = tmp_path / "release", assembly.atomic_write, []
    for last in (4, 9):

        def interrupt(path, data, last=last):
            real(path, data)
            written.append(path)
            if len(written) == last:
                raise KeyboardInterrupt

        monkeypatch.setattr(assembly, "atomic_write", interrupt)
        with pytest.raises(KeyboardInterrupt):
            grow(wave_release, out)
    monkeypatch.setattr(assembly, "atomic_write", real)
    copied = []
    monkeypatch.setattr(extend, "copy_shard", lambda *a: copied.append(a) or (len(copied) == 3 and interrupted()))
    with pytest.raises(KeyboardInterrupt):
        grow(wave_release, out)
    monkeypatch.undo()
    monkeypatch.setattr(run, "_rows_of", lambda *a: pytest.fail("everything was rendered before"))
    grow(wave_release, out)
    assert (out / "release.json").read_bytes() == (grown / "release.json").read_bytes()
    assert verify_release(out) == []
    seal(out)
    sealed = (out / "release.json").read_bytes()
    assert grow(wave_release, out) == read_release(out).model_copy(update={"files": {}})  # nothing is left to do
    assert (out / "release.json").read_bytes() == sealed


def interrupted():
    raise KeyboardInterrupt


def test_a_lost_copy_is_copied_again(wave_release, grown, tmp_path):
    out = shutil.copytree(grown, tmp_path / "release")
    lost = out / read_release(wave_release).shards[3].path
    lost.unlink()
    grow(wave_release, out)
    assert verify_release(out) == []


def test_an_extension_is_extended(wave_release, grown, tmp_path):
    out = tmp_path / "release"
    grow(grown, out, MORE, limit=2)
    before, after = read_release(grown), read_release(out)
    assert (after.version, after.parent, after.name) == ("1.2", "1.1", "waves")
    assert after.identities[:11] == before.identities
    assert [(i.subject_id, i.gender) for i in after.identities[11:]] == [
        ("P_000040", "female"), ("P_000041", "male"), ("P_000043", "male"),
    ]  # fmt: skip
    # seven women and four men were there: ordinals go on
    assert [i.split for i in after.identities[11:]] == [split_of("female", 7), split_of("male", 4), split_of("male", 5)]
    assert after.limits == {"1.2": 2}
    assert set(pixels(out)) - set(pixels(grown)) == {"P_000040_mix_000", "P_000041_mix_000"}
    assert verify_release(out) == []
    assert {s.fingerprint for s in after.shards} == {
        job.fingerprint for prepared in lineage.replan(out, after) for job in prepared.jobs
    }
    assert [len(p.plan.identities) for p in lineage.replan(out, after)] == [6, 11, 14]
    # what --limit left out comes with the next version
    again = extend.prepare_extension(out, MORE.replace('"1.2"', '"1.3"'))
    assert [job.items for job in again.jobs] == [("P_000043_mix_000",)]


def test_scenes_stay_and_later_ones_draw_from_all(tmp_path):
    scenes = "\n[scenes]\ncount = {}\nfaces = [1, 2]\nempty = 0.5\nsize = 64\n"
    parent = make(tmp_path / "a", WAVES)
    known = lineage.registry(parent, read_release(parent))
    first = build.prepare(BIG + scenes.format(4), known=known).plan
    later = build.prepare(
        BIG.replace('"1.1"', '"1.2"').replace("female = 7", "female = 9") + scenes.format(6),
        known=lineage.after(known, first),
    ).plan
    assert sorted(s.item_id for s in first.scenes) == [f"scene_{n:06d}" for n in range(4)]
    assert sorted(s.item_id for s in later.scenes) == ["scene_000004", "scene_000005"]
    with pytest.raises(UsageError, match=r"scene_000000 \(width 64 then, 96 now, height 64 then, 96 now\)"):
        build.prepare(BIG + scenes.format(4).replace("64", "96"), known=lineage.after(known, first))


def test_failed_items_stay_failed_and_new_ones_can_be_tried_again(wave_release, tmp_path, monkeypatch):
    monkeypatch.setattr(WaveEngine, "fail_items", frozenset({"P_000002_S1", "P_000008_S1"}))
    parent = make(tmp_path / "parent", WAVES)
    out = tmp_path / "release"
    assert [f.item_id for f in grow(parent, out).failed] == ["P_000002_S1", "P_000008_S1"]
    monkeypatch.setattr(WaveEngine, "fail_items", frozenset())
    assert [f.item_id for f in grow(parent, out).failed] == ["P_000002_S1", "P_000008_S1"]
    assert [f.item_id for f in grow(parent, out, retry_failed=True).failed] == ["P_000002_S1"]
    assert "P_000008_S1" in pixels(out)
    assert verify_release(out) == []


def test_who_was_passed_over_stays_so(tmp_path, monkeypatch):
    def double(self, subject, accepted):
        return f"the twin of {accepted[0].subject_id}" if subject.index in twins else None

    twins = {3, 4}
    monkeypatch.setattr(WaveEngine, "too_alike", double)
    parent = make(tmp_path / "parent", WAVES)
    twins = {8}  # another opinion: nobody who was decided on is asked again
    out = tmp_path / "release"
    after = grow(parent, out)
    assert [i.subject_id for i in after.identities[6:]] == [f"P_{n:06d}" for n in (9, 10, 12, 14, 16)]
    assert after.passed_over == (
        "P_000003: the twin of P_000001", "P_000004: the twin of P_000000", "P_000008: the twin of P_000000",
    )  # fmt: skip
    jobs = {job.fingerprint for prepared in lineage.replan(out, after) for job in prepared.jobs}
    assert jobs == {s.fingerprint for s in after.shards}


def test_a_revised_release_is_extended_and_what_was_dropped_stays_out(wave_release, tmp_path):
    revised, out = tmp_path / "revised", tmp_path / "release"
    revise(
        wave_release, revised, lambda config, row: None, items=["P_000000_S1"], decides="no", reason="a test",
        files={"decisions/1.1.csv": b"item\n"}, quiet=True,
    )  # fmt: skip
    with pytest.raises(UsageError, match=r"is version 1\.1 .* allowed: a higher one, such as version = \"1\.2\""):
        grow(revised, out)
    after = grow(revised, out, BIG.replace('"1.1"', '"1.2"'))
    assert after.parent == "1.1"
    assert "P_000000_S1" not in pixels(out)
    assert verify_release(out) == []
    assert [p.recipe.version for p in lineage.replan(out, after)] == ["1.0", "1.2"]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("seed = 3", "seed = 4", r"redefines .*P_000000 \(seed 3 then, 4 now\), .* and 1 more; .*subjects\.first = 6"),
        ("head_pose = 12", "head_pose = 9", r"P_000000_S1 \(num_frames 12 then, 9 now\)"),
        ("size = 64\nfrontal", "size = 96\nfrontal", r"P_000000_frontal_pose_000 \(size 64 then, 96 now\)"),
        ('version = "1.1"', 'version = "1.0"', "allowed: a higher one"),
        ('version = "1.1"', 'version = "1.0.0"', "allowed: a higher one"),
        ('version = "1.1"', 'version = "0.9"', "allowed: a higher one"),
        ('version = "1.1"', 'version = "v1.1"', "allowed: two or three plain numbers"),
        ('version = "1.1"', 'version = "1.\u0661"', "allowed: two or three plain numbers"),
        ('version = "1.1"', f'version = "1.{"9" * 5000}"', "allowed: two or three plain numbers"),
    ],
)
def test_recipes_that_do_not_go_on_top_are_refused(wave_release, tmp_path, old, new, said):
    assert BIG.count(old) == 1
    with pytest.raises(UsageError, match=said):
        grow(wave_release, tmp_path / "out", BIG.replace(old, new))
    assert not (tmp_path / "out").exists()


def test_a_recipe_that_adds_nothing_is_refused(wave_release):
    with pytest.raises(UsageError, match="adds nothing"):
        extend.prepare_extension(wave_release, WAVES.replace('"1.0"', '"1.1"'))


def test_damaged_parents_are_refused(wave_release, tmp_path):
    parent = shutil.copytree(wave_release, tmp_path / "parent")
    shard = parent / read_release(parent).shards[-1].path
    good = shard.read_bytes()
    shard.write_bytes(good[:500] + b"X" + good[501:])
    with pytest.raises(DamagedInputError, match="nothing was made"):
        extend.prepare_extension(parent, BIG)
    shard.write_bytes(good)
    recipe = parent / "recipes" / "1.0.toml"
    recipe.write_text(WAVES + "# edited\n")
    with pytest.raises(DamagedInputError, match="is not what its manifest says"):
        extend.prepare_extension(parent, BIG)
    recipe.write_text(WAVES)
    manifest = json.loads((parent / "release.json").read_text())
    manifest["identities"][0]["split"] = {"train": "test"}.get(manifest["identities"][0]["split"], "train")
    (parent / "release.json").write_text(json.dumps(manifest))
    with pytest.raises(UsageError, match="P_000000 is another, in another split"):
        extend.prepare_extension(parent, BIG)


def test_a_parent_that_changes_meanwhile_gives_no_release(wave_release, tmp_path):
    parent = shutil.copytree(wave_release, tmp_path / "parent")
    prepared = extend.prepare_extension(parent, BIG)
    (parent / read_release(parent).shards[0].path).write_bytes(b"other")
    with pytest.raises(DamagedInputError, match="is not what its manifest says"):
        extend.extend_release(parent, prepared, tmp_path / "out", quiet=True)
    assert not (tmp_path / "out" / "release.json").exists()


def test_columns_that_only_a_newer_version_knows_are_named(wave_release, tmp_path):
    parent = shutil.copytree(wave_release, tmp_path / "parent")
    shard = parent / read_release(parent).shards_of("video")[0].path
    table = pq.read_table(shard)
    pq.write_table(table.append_column("heartbeat", pa.nulls(len(table))), shard)
    with pytest.raises(UsageError, match="column heartbeat, which this version does not know"):
        extend.prepare_extension(parent, BIG)


def test_a_manifest_of_a_newer_schema_is_refused(wave_release, tmp_path):
    parent = shutil.copytree(wave_release, tmp_path / "parent")
    manifest = json.loads((parent / "release.json").read_text())
    (parent / "release.json").write_text(json.dumps({**manifest, "format": "thermvision-release/2"}))
    with pytest.raises(DamagedInputError, match="thermvision-release/2"):
        extend.prepare_extension(parent, BIG)


def test_imports_and_strangers_are_refused(imported_release, oval_release):
    with pytest.raises(UsageError, match="it is an import; allowed: what thermvision build or extend has made"):
        extend.prepare_extension(imported_release, BIG)
    with pytest.raises(DamagedInputError, match=r"recipes/1\.0\.toml is not what its manifest says"):
        extend.prepare_extension(oval_release, BIG)


def test_shards_that_lack_later_columns_load_beside_new_ones(tmp_path):
    parent = make(tmp_path / "parent", WAVES)
    release = read_release(parent)
    shards = []
    for shard in release.shards:  # as a version before that column wrote them
        table = pq.read_table(parent / shard.path).drop_columns(["jewellery"])
        place = (parent, shard.config, shard.split, "1.0", int(shard.path[-13:-8]))
        shards.append(pack.write_table(*place, table, shard.fingerprint))
    write_release(parent, release.model_copy(update={"shards": tuple(shards)}))
    out = tmp_path / "release"
    grow(parent, out)
    assert verify_release(out) == []
    rows = load_dataset(str(out), "frames", split="train")
    new = {r["subject_id"]: r["jewellery"] for r in rows}
    assert new["P_000000"] is None
    assert len(rows) == sum(s.rows for s in read_release(out).shards_of("frames", "train"))


def test_a_folder_of_another_parent_is_refused(wave_release, grown, tmp_path):
    other = make(tmp_path / "other", WAVES.replace("mix = 6", "mix = 12"))
    with pytest.raises(UsageError, match="made on top of another release"):
        grow(other, grown, BIG.replace("mix = 11", "mix = 12"))
    started = tmp_path / "started"
    shard = read_release(wave_release).shards[0].path.replace("00000", "00077")
    (started / shard).parent.mkdir(parents=True)
    (started / shard).write_bytes(b"x")
    with pytest.raises(UsageError, match="made on top of another release"):
        grow(wave_release, started)
    with pytest.raises(UsageError, match="never edited"):
        grow(wave_release, wave_release / "next")
    with pytest.raises(UsageError, match="never edited"):
        grow(wave_release, wave_release)


def test_another_version_of_the_engine_draws_new_people_only(wave_release, tmp_path, monkeypatch):
    monkeypatch.setattr(WaveEngine, "engine_id", "waves@2")
    with pytest.raises(UsageError, match=r"P_000000 \(waves@1 then, waves@2 now\)"):
        grow(wave_release, tmp_path / "a", BIG.replace("mix = 11", "mix = 30"))
    after = grow(wave_release, tmp_path / "b")
    assert sorted(after.engines) == ["waves@1", "waves@2"]
    monkeypatch.setattr(WaveEngine, "engine_id", "waves@3")
    text = BIG.replace('"1.1"', '"1.2"').replace("mix = 11", "mix = 30")
    with pytest.raises(UsageError, match=r"P_000000 \(waves@1 then, waves@3 now\).*and 6 more"):
        grow(tmp_path / "b", tmp_path / "c", text)


def test_files_that_have_changed_meanwhile_are_refused(tmp_path, monkeypatch):
    def moved_by(digit):
        track = MotionTrack("nod.npz", digit * 64, 30.0, [[0.0, 0.0, 0.0]] * 10)
        monkeypatch.setattr(build, "read_motions", lambda recipe, folder: {"expression": track})

    moved_by("1")
    make(tmp_path / "parent", WAVES)
    assert len(extend.prepare_extension(tmp_path / "parent", BIG).jobs)
    moved_by("2")
    with pytest.raises(UsageError, match=r"P_00000\d_S2 of .* was made with another file as its motion; .*first = 6"):
        extend.prepare_extension(tmp_path / "parent", BIG)


def test_other_model_files_are_no_extension(wave_release, tmp_path, monkeypatch):
    monkeypatch.setattr(WaveEngine, "model_digests", lambda self: {"waves": "1" * 64})
    with pytest.raises(UsageError, match=r"waves@1 drew .* with other model files"):
        grow(wave_release, tmp_path / "a")


@pytest.mark.slow
def test_the_command(wave_release, grown, tmp_path, capsys, monkeypatch):
    recipe, out = tmp_path / "big.toml", tmp_path / "release"
    recipe.write_text(BIG)
    arguments = ["extend", str(wave_release), str(recipe), "--out", str(out), "--workers", "1", "--quiet"]
    assert thermvision_db.main([*arguments, "--dry-run", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["identities"] == {"before": 6, "new": 5}
    assert facts["subjects"] == {"female": 4, "male": 1}
    assert facts["clips"] == {"head_pose": 5, "expression": 5}
    assert facts["kept_shards"] == len(read_release(wave_release).shards)
    assert not out.exists()
    assert thermvision_db.main([*arguments, "--dry-run"]) == 0
    assert "5 subjects and" in capsys.readouterr().out
    assert thermvision_db.main(arguments) == 0
    assert capsys.readouterr().out.rstrip().endswith(f"next: thermvision diff {wave_release} {out}")
    assert verify_release(out) == []
    assert read_release(out).model_copy(update={"files": {}}) == read_release(grown)
    assert thermvision_db.main(["extend", str(out), str(recipe), "--out", str(tmp_path / "b")]) == 2
    assert "allowed: a higher one" in capsys.readouterr().err
    monkeypatch.setattr(WaveEngine, "fail_items", frozenset({"P_000008_S1"}))
    monkeypatch.setattr("thermvision.dataset_card.commands.finish", lambda root: [])
    arguments[4] = str(tmp_path / "failing")
    assert thermvision_db.main([*arguments, "--json"]) == 1
    assert [f["item_id"] for f in json.loads(capsys.readouterr().out)["failed"]] == ["P_000008_S1"]


def test_growing_beyond_the_most_class_names_loads_and_verifies(wave_release, tmp_path, monkeypatch, request):
    request.addfinalizer(verify.expected_schema.cache_clear)
    for module in (schema, release):
        monkeypatch.setattr(module, "MAX_CLASS_NAMES", 8)
    verify.expected_schema.cache_clear()
    out = tmp_path / "release"
    after = grow(wave_release, out)
    assert verify_release(out) == []
    table = pq.read_table(out / "identities.parquet")
    assert table["subject_id"].to_pylist() == after.subject_ids
    rows = load_dataset(str(out), "frames", split="train")  # older shards hold int64, newer ones int32
    assert {after.subject_ids[r["identity"]] for r in rows} == {r["subject_id"] for r in rows}
    assert len(rows) == sum(s.rows for s in after.shards_of("frames", "train"))
