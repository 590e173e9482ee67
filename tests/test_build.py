import json
import shutil

import numpy as np
import pyarrow.parquet as pq
import pytest
from fake_engine import WAVES, WaveEngine, annotate, waves

import thermvision_db
from thermvision.annotations import schema
from thermvision.annotations.errors import OutputError, UsageError
from thermvision.curation import assembly, pack
from thermvision.curation.release import read_release
from thermvision.curation.verify import verify_release
from thermvision.generation import build

pytestmark = pytest.mark.usefixtures("wave_engine")


def make(out, text=WAVES, **options):
    return build.build_release(build.prepare(text), out, quiet=True, **options)


def rows(root, config):
    shards = read_release(root).shards_of(config)
    return [row for s in shards for row in pq.read_table(root / s.path).to_pylist()]


def test_every_row_says_what_the_engine_gave(wave_release):
    clips = rows(wave_release, "video")
    assert len(clips) == 12
    for row in clips:
        number = int(row["clip_id"][-1])
        expected = waves(int(row["subject_id"][2:]), number, row["num_frames"], 64)
        decoded = thermvision_db.frames(row)
        assert decoded.shape == expected.shape == ({1: 12, 2: 10}[number], 64, 64)
        errors = np.mean((decoded.astype(float) - expected) ** 2, axis=(1, 2))
        assert (10 * np.log10(255**2 / errors) >= 40).all()
        assert row["bbox"] == [[4, 5, 30 + k, 40] for k in range(row["num_frames"])]
        assert row["landmarks"][3] == annotate(3).landmarks.tolist()
        assert row["expression"] == [k % 2 for k in range(row["num_frames"])]
        assert row["hairstyle"] == schema.HAIRSTYLES.index("short")
        assert schema.GENDERS[row["gender"]] == ("female", "male")[int(row["subject_id"][2:]) % 2]


def test_frames_agree_with_clips_and_stills(wave_release):
    frames = {(r["item_id"], r["frame_index"]): r for r in rows(wave_release, "frames")}
    clips, stills = rows(wave_release, "video"), rows(wave_release, "image")
    assert len(frames) == sum(r["num_frames"] for r in clips) + len(stills)
    for row in clips:
        for k in range(row["num_frames"]):
            frame = frames[row["clip_id"], k]
            for name in schema.FRAME_COLUMNS:
                assert frame[name] == (None if row[name] is None else row[name][k])
    for row in stills:
        frame = frames[row["image_id"], 0]
        assert frame["category"] == row["category"]
        assert frame["landmarks"] == row["landmarks"]


def test_stills_lie_in_their_category_and_beards_are_male(wave_release):
    for place, category in enumerate(schema.CATEGORIES):
        found = rows(wave_release, category)
        assert len(found) == (3 if category == "beard" else 6)
        assert {r["category"] for r in found} == {place}
    assert {r["gender"] for r in rows(wave_release, "beard")} == {1}


def test_radiometric_rows_keep_centikelvin_and_the_map(wave_release):
    import cv2

    row = next(r for r in rows(wave_release, "radiometric") if r["item_id"].endswith("S1"))
    assert row["frame_index"] == [0, 5, 10]
    decoded = [cv2.imdecode(np.frombuffer(x["bytes"], np.uint8), cv2.IMREAD_UNCHANGED) for x in row["radiometric"]]
    assert [d.dtype for d in decoded] == [np.uint16] * 3
    assert [int(d[0, 0]) for d in decoded] == [30500, 30505, 30510]
    assert row["sensor_to_frame"][0] == pytest.approx([1.6, 0, 0])
    assert row["landmarks"][1] == annotate(5).landmarks.tolist()


def test_no_identity_is_in_two_splits(wave_release):
    seen = {}
    release = read_release(wave_release)
    for shard in release.shards:
        for subject in pq.read_table(wave_release / shard.path, columns=["subject_id"])["subject_id"].to_pylist():
            assert seen.setdefault(subject, shard.split) == shard.split
    assert set(seen) == set(release.subject_ids)


def test_shards_are_bounded_and_have_one_row_group(wave_release):
    for shard in read_release(wave_release).shards:
        metadata = pq.ParquetFile(wave_release / shard.path).metadata
        assert metadata.num_row_groups == 1
        if shard.config == "video":
            assert metadata.num_rows <= 3


def test_provenance_has_the_digest_of_the_raw_pixels(wave_release):
    import hashlib

    row = rows(wave_release, "video")[0]
    frames = waves(int(row["subject_id"][2:]), int(row["clip_id"][-1]), row["num_frames"], 64)
    provenance = json.loads(row["provenance"])
    assert provenance["raw_pixels_sha256"] == hashlib.sha256(frames.tobytes()).hexdigest()
    assert provenance["engine"] == "waves@1"
    assert provenance["spec"]["subject"]["seed"] == 3


def test_an_interrupted_build_ends_like_an_uninterrupted_one(tmp_path, wave_release, monkeypatch):
    real, written = assembly.atomic_write, []

    def interrupt(path, data):
        real(path, data)
        written.append(path)
        if len(written) == 5:
            raise KeyboardInterrupt

    out = tmp_path / "release"
    monkeypatch.setattr(assembly, "atomic_write", interrupt)
    with pytest.raises(KeyboardInterrupt):
        make(out)
    monkeypatch.undo()
    WaveEngineHere.install(monkeypatch)
    with pytest.raises(UsageError, match="not finished: run its command again"):
        read_release(out)
    made = []
    WaveEngineHere.rendered = made
    make(out)
    assert (out / "release.json").read_bytes() == (wave_release / "release.json").read_bytes()
    assert len(made) < 39  # what was done before the interrupt was kept
    assert verify_release(out) == []


class WaveEngineHere(WaveEngine):
    """Counts what it renders."""

    rendered: list = []  # noqa: RUF012

    @classmethod
    def install(cls, monkeypatch):
        from thermvision.generation import engines, run

        monkeypatch.setitem(engines.ENGINES, "phantom", f"{__name__}:WaveEngineHere")
        monkeypatch.setattr(engines, "import_module", lambda name: __import__("sys").modules[__name__])
        run.engine_of.cache_clear()

    def render(self, spec, progress=None):
        self.rendered.append(spec.item_id)
        return super().render(spec, progress)


def test_a_damaged_shard_is_mended_by_the_same_command(tmp_path, wave_release):
    out = tmp_path / "release"
    shutil.copytree(wave_release, out)
    shard = out / read_release(out).shards[4].path
    good = shard.read_bytes()
    shard.write_bytes(good[:-7])
    assert {f.code for f in verify_release(out)} >= {"size", "digest"}
    make(out)
    assert shard.read_bytes() == good
    assert verify_release(out) == []


def test_a_finished_release_is_left_alone(tmp_path, wave_release, monkeypatch):
    out = tmp_path / "release"
    shutil.copytree(wave_release, out)
    monkeypatch.setattr(assembly, "run_jobs", lambda *a: pytest.fail("nothing is left to do"))
    assert make(out) == read_release(wave_release)


@pytest.mark.parametrize("change", ["seed = 4", 'version = "1.1"'])
def test_another_recipe_does_not_touch_the_folder(tmp_path, wave_release, change):
    out = tmp_path / "release"
    shutil.copytree(wave_release, out)
    before = {p: p.read_bytes() for p in out.rglob("*") if p.is_file()}
    key = change.split(" =")[0]
    text = "\n".join(change if line.startswith(f"{key} =") else line for line in WAVES.splitlines())
    with pytest.raises(UsageError, match="choose another --out"):
        make(out, text)
    assert {p: p.read_bytes() for p in out.rglob("*") if p.is_file()} == before


def test_a_folder_with_foreign_files_is_refused(tmp_path):
    (tmp_path / "thesis.tex").write_text("do not lose me")
    with pytest.raises(UsageError, match=r"thesis\.tex"):
        make(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="is a file"):
        make(tmp_path / "file")


def test_two_commands_do_not_write_to_one_folder(tmp_path):
    with assembly.locked(tmp_path / "out"), pytest.raises(OutputError, match="another command is writing"):
        make(tmp_path / "out")


def test_a_full_disk_leaves_finished_shards_and_no_half_one(tmp_path, monkeypatch, wave_release):
    import errno

    real, calls = pack.pq.write_table, []

    def full(table, path, **options):
        calls.append(path)
        if len(calls) == 6:
            path.write_bytes(b"PAR1 half")
            raise OSError(errno.ENOSPC, "No space left on device")
        real(table, path, **options)

    monkeypatch.setattr(pack.pq, "write_table", full)
    out = tmp_path / "out"
    with pytest.raises(OutputError, match="disk is full"):
        make(out)
    assert len(list(out.rglob("*.parquet"))) == 5
    assert not list(out.rglob("*.partial"))
    monkeypatch.setattr(pack.pq, "write_table", real)
    make(out)
    assert (out / "release.json").read_bytes() == (wave_release / "release.json").read_bytes()


def test_too_small_a_disk_is_refused_before_work_starts(tmp_path, monkeypatch):
    import collections

    usage = collections.namedtuple("usage", "total used free")(1, 1, 10)
    monkeypatch.setattr(build.shutil, "disk_usage", lambda path: usage)
    with pytest.raises(OutputError, match="needs about"):
        make(tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_failing_item_is_reported_and_the_rest_is_made(tmp_path, monkeypatch, wave_release):
    monkeypatch.setattr(WaveEngine, "fail_items", frozenset({"P_000002_S1", "P_000001_beard_000"}))
    out = tmp_path / "out"
    release = make(out)
    assert [(f.item_id, f.code) for f in release.failed] == [
        ("P_000001_beard_000", "engine"),
        ("P_000002_S1", "engine"),
    ]
    assert "always fails" in release.failed[0].reason
    assert len(rows(out, "video")) == 11
    assert verify_release(out) == []
    assert make(out).failed == release.failed  # not tried again unasked
    monkeypatch.setattr(WaveEngine, "fail_items", frozenset())
    make(out, retry_failed=True)
    assert (out / "release.json").read_bytes() == (wave_release / "release.json").read_bytes()


def test_limit_takes_of_every_category(tmp_path):
    plan = build.prepare(WAVES, limit=5).plan
    assert len(plan.clips) == 5
    assert [s.category for s in plan.stills] == list(schema.CATEGORIES) or {s.category for s in plan.stills} == set(
        schema.CATEGORIES
    )


def test_more_stills_of_one_category_change_no_other_item():
    before = {i.item_id: i for i in build.prepare(WAVES).plan.stills}
    after = {i.item_id: i for i in build.prepare(WAVES.replace("mix = 6", "mix = 60")).plan.stills}
    assert before.items() <= after.items()


def test_what_an_engine_cannot_make_is_said_before_work_starts():
    with pytest.raises(UsageError, match="a beard needs a male subject"):
        build.prepare(WAVES.replace('gender = "male"', 'gender = "female"'))


def test_a_subject_too_much_like_another_is_passed_over(monkeypatch):
    def double(self, subject, accepted):
        return f"the twin of {accepted[0].subject_id}" if subject.index in (3, 4) else None

    monkeypatch.setattr(WaveEngine, "too_alike", double)
    plan = build.prepare(WAVES).plan
    ids = [i.subject_id for i in plan.identities]
    assert ids == ["P_000000", "P_000001", "P_000002", "P_000005", "P_000006", "P_000007"]
    assert [i.gender for i in plan.identities] == ["female", "male", "female", "male", "female", "male"]
    assert plan.passed_over == ("P_000003: the twin of P_000001", "P_000004: the twin of P_000000")


def test_newer_packages_are_named_as_the_reason(tmp_path, wave_release, monkeypatch):
    out = tmp_path / "release"
    shutil.copytree(wave_release, out)
    real = assembly.software_versions
    monkeypatch.setattr(build, "software_versions", lambda *names: {**real(*names), "numpy": "9.9"})
    with pytest.raises(UsageError, match=r"made with other packages \(numpy .* then, 9\.9 now\)"):
        make(out)
