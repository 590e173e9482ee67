import shutil
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pytest
from datasets import Dataset, DatasetDict, IterableDatasetDict, Video, load_dataset
from fake_engine import waves

import thermvision_db
from thermvision.annotations import schema
from thermvision.annotations.errors import UsageError
from thermvision.curation.ingest import import_release
from thermvision.curation.release import read_release

from .published_imitation import imitation

OFFERED = ("video", "image", *schema.CATEGORIES, "frames", "radiometric")


def table(rows) -> pa.Table:
    return rows.with_format("arrow")[:]


def test_the_configs_are_those_of_the_schema():
    assert thermvision_db.CONFIGS == schema.CONFIGS


def test_importing_loads_neither_datasets_nor_torch():
    code = "import sys, thermvision_db; print(sorted({'torch', 'datasets'} & set(sys.modules)))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


@pytest.mark.parametrize("config", OFFERED)
def test_load_dataset_and_the_builder_give_equal_rows(wave_release, tmp_path, config):
    loaded = load_dataset(str(wave_release), config)
    builder = thermvision_db.ThermVisionDB(config_name=config, data_dir=str(wave_release), cache_dir=str(tmp_path))
    builder.download_and_prepare()
    built = builder.as_dataset()
    streamed = load_dataset(str(wave_release), config, streaming=True)
    built_streams = builder.as_streaming_dataset()
    assert set(loaded) == set(built) == set(streamed) == set(built_streams) <= {"train", "validation", "test"}
    for split, rows in loaded.items():
        assert rows.features == built[split].features == schema.features(config, read_release(wave_release).subject_ids)
        assert table(rows).equals(table(built[split]))
        ids = [k for k in ("clip_id", "image_id", "item_id") if k in rows.column_names]
        assert [[r[k] for k in ids] for r in streamed[split]] == [[r[k] for k in ids] for r in rows]
        assert [[r[k] for k in ids] for r in built_streams[split]] == [[r[k] for k in ids] for r in rows]


def test_the_builder_prepares_with_several_processes_and_as_parquet(wave_release, tmp_path):
    plain = load_dataset(str(wave_release), "frames", split="train")
    builder = thermvision_db.ThermVisionDB(
        config_name="frames", data_dir=str(wave_release), cache_dir=str(tmp_path / "a")
    )
    builder.download_and_prepare(num_proc=2)
    assert table(builder.as_dataset("train")).equals(table(plain))
    builder = thermvision_db.ThermVisionDB(
        config_name="frames", data_dir=str(wave_release), cache_dir=str(tmp_path / "b")
    )
    builder.download_and_prepare(str(tmp_path / "parquet"), file_format="parquet")
    files = sorted((tmp_path / "parquet").glob("*train*.parquet"))
    assert sum(pa.parquet.read_table(f).num_rows for f in files) == len(plain)


def test_a_changed_source_is_read_again(wave_release, tmp_path):
    source = tmp_path / "release"
    shutil.copytree(wave_release, source)

    def count():
        builder = thermvision_db.ThermVisionDB(config_name="video", data_dir=str(source), cache_dir=str(tmp_path / "c"))
        builder.download_and_prepare()
        return sum(len(d) for d in builder.as_dataset().values())

    assert count() == 12
    manifest = read_release(source)
    fewer = manifest.model_copy(update={"shards": tuple(s for s in manifest.shards if s.split != "test")})
    (source / "release.json").write_text(fewer.model_dump_json())
    assert count() < 12


def test_a_config_that_is_not_offered_names_those_that_are(wave_release):
    with pytest.raises(UsageError, match="it offers: video, image"):
        thermvision_db.load("scenes", wave_release)
    with pytest.raises(UsageError, match="'nope' does not exist; allowed: video"):
        thermvision_db.load("nope", wave_release)
    with pytest.raises(ValueError, match=r"'nope' not found\. Available: \['video'"):
        thermvision_db.ThermVisionDB(config_name="nope", data_dir=str(wave_release))
    with pytest.raises(UsageError, match="no data_dir was given"):
        thermvision_db.ThermVisionDB(config_name="video")


def test_load(wave_release, tmp_path, monkeypatch):
    assert isinstance(thermvision_db.load("video", wave_release), DatasetDict)
    assert isinstance(thermvision_db.load("video", str(wave_release), split="train"), Dataset)
    assert isinstance(thermvision_db.load("frames", wave_release, streaming=True), IterableDatasetDict)
    monkeypatch.chdir(wave_release)
    assert isinstance(thermvision_db.load("video", "."), DatasetDict)  # load_dataset(".") itself fails
    with pytest.raises(UsageError, match="no split 'dev'"):
        thermvision_db.load("video", wave_release, split="dev")
    with pytest.raises(UsageError, match="leave revision out"):
        thermvision_db.load("video", wave_release, revision="v1")
    with pytest.raises(UsageError, match="does not exist"):
        thermvision_db.load("video", tmp_path / "nothing")


@pytest.mark.parametrize("suffix", [None, ".csv", ".parquet"])
@pytest.mark.parametrize("streaming", [False, True])
def test_a_split_table_deals_rows_by_subject(wave_release, tmp_path, suffix, streaming):
    subjects = read_release(wave_release).subject_ids
    mapping = {s: ("excluded", "fold0", "fold1")[n % 3] for n, s in enumerate(subjects)}
    given = mapping
    if suffix:
        import pandas as pd

        frame = pd.DataFrame({"subject_id": list(mapping), "split": list(mapping.values())})
        given = tmp_path / f"folds{suffix}"
        frame.to_csv(given, index=False) if suffix == ".csv" else frame.to_parquet(given)
    folds = thermvision_db.load("video", wave_release, split_table=given, streaming=streaming)
    assert set(folds) == {"fold0", "fold1"}
    for name, rows in folds.items():
        assert {r["subject_id"] for r in rows} == {s for s, fold in mapping.items() if fold == name}
        assert sum(1 for _ in rows) == 4
    one = thermvision_db.load("video", wave_release, split="fold1", split_table=given, streaming=streaming)
    assert sum(1 for _ in one) == 4


def test_a_split_table_must_name_every_subject(wave_release, tmp_path):
    with pytest.raises(UsageError, match="does not name P_000001"):
        thermvision_db.load("video", wave_release, split_table={"P_000000": "a"})
    bad = tmp_path / "a.csv"
    bad.write_text("subject,split\nP_000000,a\n")
    with pytest.raises(UsageError, match="lacks subject_id"):
        thermvision_db.load("video", wave_release, split_table=bad)
    bad.write_text("subject_id,split\nP_000000,a\nP_000000,b\n")
    with pytest.raises(UsageError, match="names P_000000 twice"):
        thermvision_db.load("video", wave_release, split_table=bad)
    mapping = dict.fromkeys(read_release(wave_release).subject_ids, "a")
    with pytest.raises(UsageError, match="'b' is not in the split table"):
        thermvision_db.load("video", wave_release, split="b", split_table=mapping)


def test_frames_reads_rows_of_load_dataset_and_of_streams(wave_release):
    for streaming in (False, True):
        row = next(iter(load_dataset(str(wave_release), "video", split="train", streaming=streaming)))
        expected = waves(int(row["subject_id"][2:]), int(row["clip_id"][-1]), row["num_frames"], 64)
        gray = thermvision_db.frames(row, [7, 0, -1])
        assert gray.shape == (3, 64, 64)
        assert np.abs(gray.astype(int) - expected[[7, 0, -1]]).max() < 12
        assert (thermvision_db.frames(row)[[7, 0, -1]] == gray).all()


def test_frames_reads_a_file_and_refuses_what_is_no_clip(wave_release, tmp_path):
    row = load_dataset(str(wave_release), "video", split="train")[0]
    path = tmp_path / "a.mp4"
    path.write_bytes(row["video"]["bytes"])
    assert (thermvision_db.frames({"video": {"path": str(path), "bytes": None}}) == thermvision_db.frames(row)).all()
    for bad in ({}, {"video": None}, {"video": object()}, {"image": 1}):
        with pytest.raises(UsageError, match="allowed: a row of the config 'video'"):
            thermvision_db.frames(bad)


def test_no_decoder_package_is_needed(wave_release):
    rows = load_dataset(str(wave_release), "video", split="train")
    assert rows.features["video"] == Video(decode=False)
    assert set(rows[0]["video"]) == {"bytes", "path"}


def test_unknown_attributes_are_ordinary_attribute_errors():
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = thermvision_db.nothing
    assert "curation" in dir(thermvision_db)


@pytest.fixture(scope="module")
def archives(tmp_path_factory):
    """The imitation of the published zips, and what `import` makes of it."""
    folder = tmp_path_factory.mktemp("archives")
    imitation().write_zips(folder / "zips")
    import_release(folder / "zips", folder / "imported", quiet=True)
    return folder


@pytest.mark.parametrize("config", ["video", "frames"])
@pytest.mark.parametrize("processes", [None, 2])
def test_the_builder_over_the_archives_equals_the_import(archives, tmp_path, config, processes):
    loaded = load_dataset(str(archives / "imported"), config)
    builder = thermvision_db.ThermVisionDB(
        config_name=config, data_dir=str(archives / "zips"), cache_dir=str(tmp_path / "cache")
    )
    builder.download_and_prepare(num_proc=processes)
    built, streams = builder.as_dataset(), builder.as_streaming_dataset()
    assert set(loaded) == set(built) == set(streams)
    for split, rows in loaded.items():
        np.testing.assert_equal(table(built[split]).to_pylist(), table(rows).to_pylist())
        np.testing.assert_equal(list(streams[split]), list(rows))


def test_load_reads_archives_without_a_release(archives):
    rows = thermvision_db.load("video", archives / "zips", split="train")
    direct = thermvision_db.load("video", archives / "imported", split="train")
    np.testing.assert_equal(table(rows).to_pylist(), table(direct).to_pylist())
    assert thermvision_db.frames(rows[0], [0]).shape == (1, 64, 64)
    with pytest.raises(UsageError, match="it offers: video, frames"):
        thermvision_db.load("image", archives / "zips")
