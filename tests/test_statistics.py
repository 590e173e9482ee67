"""Statistics: counts that are right to the frame, on builds, on imports with boxes only, and with columns of nulls."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

import thermvision_db
from thermvision.annotations.errors import DamagedInputError, UsageError
from thermvision.annotations.schema import REGIONS
from thermvision.curation.statistics.bins import Histogram, Measure, quantile
from thermvision.curation.statistics.collect import Statistics, statistics
from thermvision.curation.statistics.columns import integers, numbers, texts, vectors
from thermvision.curation.statistics.labels import Labels
from thermvision.curation.statistics.report import write_report
from thermvision.curation.statistics.tables import tables
from thermvision.curation.statistics.temperatures import Temperatures


def test_a_build_is_counted(oval_release: Path) -> None:
    seen = statistics(oval_release, sample=20)
    facts = seen.facts()
    # two people with two clips of 12 frames each; stills: 2 + 2 of the first, 2 + 2 + 2 of the second
    assert (facts["subjects"], facts["clips"], facts["stills"], facts["frames"]) == (2, 4, 10, 58)
    assert facts["hours"] == round(4 * 12 / 30 / 3600, 4)
    assert seen.seconds.sum() == pytest.approx(1.6)
    assert facts["by_split"]["train"] == {"subjects": 1, "clips": 2, "stills": 4, "frames": 28, "hours": 0.0002}
    assert facts["by_gender"]["male"]["frames"] == 30
    assert facts["faces"] == {"none": 0, "one": 58, "several": 0, "not known": 0}
    assert facts["classes"]["expression"]["smile"] == {"frames": 24}
    assert facts["classes"]["category"]["beard"] == {"frames": 2, "items": 2}
    assert facts["classes"]["sequence"]["head_pose"] == {"frames": 24, "items": 2}
    assert facts["classes"]["beard"]["full"] == {"frames": 2, "items": 2}
    assert facts["classes"]["mask"]["not known"] == {"frames": 58, "items": 14}
    assert facts["frames_a_subject"] == {"least": 28, "median": 29.0, "greatest": 30}


def test_pose_and_boxes_are_measured(oval_release: Path) -> None:
    seen = statistics(oval_release, sample=0)
    measures = seen.facts()["measures"]
    yaws = np.array([*(5.0 * np.arange(12)).tolist() * 4, *[0.0] * 10])
    assert measures["yaw"]["count"] == 58
    assert measures["yaw"]["mean"] == pytest.approx(yaws.mean(), abs=1e-4)
    assert measures["yaw"]["sd"] == pytest.approx(yaws.std(), abs=1e-4)
    assert (measures["yaw"]["least"], measures["yaw"]["greatest"]) == (0, 55)
    assert measures["box width"]["mean"] == pytest.approx(0.5)
    assert measures["box height"]["mean"] == pytest.approx(0.66)
    assert measures["box aspect"]["mean"] == pytest.approx(0.5 / 0.66, abs=1e-4)
    assert measures["box centre y"]["mean"] == pytest.approx(0.55)
    assert measures["eye openness"]["mean"] == pytest.approx(0.3)
    assert seen.labels.pose.sum() == seen.labels.place.sum() == 58
    assert seen.labels.states.sum(1).tolist() == [58] * 68
    assert seen.labels.states[2].tolist() == [0, 0, 58, 0]
    assert seen.labels.unknown == ["mask", "headwear", "jewellery"]


def test_an_import_has_boxes_only(imported_release: Path) -> None:
    facts = statistics(imported_release).facts()
    assert facts["faces"] == {"none": 1, "one": 3, "several": 1, "not known": 0}
    assert {"yaw", "roll", "mouth openness", "expression", "landmarks", "hairstyle"} <= set(facts["not_known"])
    assert set(facts["measures"]) == {
        "box width", "box height", "box aspect", "box centre x", "box centre y", "box side"
    }  # fmt: skip
    assert facts["measures"]["box width"]["count"] == 4
    assert facts["coverage"] == {
        "pose_cells": 72,
        "pose_covered": {},
        "covered_from_frames": 10,
        "never": ["female: sequence expression"],
    }
    assert facts["gray"]["frames"] == 4
    assert "temperatures" not in facts


@pytest.fixture(scope="module")
def reported(oval_release: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Statistics, Path, list[Path]]:
    """The statistics of the ovals, the folder of their report, and what was written."""
    seen, out = statistics(oval_release, sample=10), tmp_path_factory.mktemp("report")
    return seen, out, write_report(seen, out)


def test_tables_agree_with_the_facts(reported: tuple[Statistics, Path, list[Path]]) -> None:
    seen, _, files = reported
    written = {p.name: p for p in files}
    facts = json.loads(written["statistics.json"].read_text())
    read = {n: pq.read_table(written[f"{n}.parquet"]).to_pylist() for n in tables(seen)}
    assert sum(r["frames"] for r in read["counts"]) == facts["frames"]
    yaw = [r for r in read["histograms"] if r["measure"] == "yaw"]
    assert sum(r["count"] for r in yaw) == facts["measures"]["yaw"]["count"]
    assert all(r["high"] - r["low"] == 5 for r in yaw)
    assert sum(r["frames"] for r in read["poses"]) == sum(r["frames"] for r in read["places"]) == 58
    assert [r["subject_id"] for r in read["identities"]] == ["P_000000", "P_000001"]
    first = read["identities"][0]
    assert (first["clips"], first["stills"], first["frames"], first["split"]) == (2, 4, 28, "train")
    assert (first["yaw_least"], first["yaw_greatest"], first["pitch_least"]) == (0, 55, -27.5)
    assert first["seconds"] == pytest.approx(0.8)
    frames = [r for r in read["gray_levels"] if r["region"] == "frame"]
    assert sum(r["pixels"] for r in frames) == sum((64 if k else 96) ** 2 * n for k, n in ((0, 4), (1, 5)))
    assert len(read["landmarks"]) == 68


def test_the_report_has_plots_and_a_page(
    reported: tuple[Statistics, Path, list[Path]], imported_release: Path, tmp_path: Path
) -> None:
    _, out, written = reported
    names = {p.relative_to(out).as_posix() for p in written}
    drawn = ("pose", "coverage", "identities", "classes", "openness", "boxes", "box_map", "gray", "spectrum")
    looks = [f"{look}.{kind}" for look in ("", "-dark") for kind in ("svg", "png")]
    assert {n for n in names if n.startswith("plots/")} == {f"plots/{n}{end}" for n in drawn for end in looks}
    page = (out / "stats.html").read_text()
    assert page.count('<source srcset="data:image/svg') == page.count('<img src="data:image/svg') == len(drawn)
    assert "nan" not in page.split("<table>")[1]
    assert thermvision_db.main(["stats", str(imported_release), "--out", str(tmp_path)]) == 0
    names = {p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*.*")}
    assert "plots/boxes.png" in names
    assert "plots/pose.png" not in names
    assert "landmarks.parquet" not in names


def test_temperatures_of_regions() -> None:
    values = [[34.0] * len(REGIONS), [36.0] + [float("nan")] * (len(REGIONS) - 1)]
    kinds = {
        "gender": pa.int64(), "ambient": pa.float32(),
        "region_temperatures": pa.list_(pa.list_(pa.float32(), len(REGIONS))),
    }  # fmt: skip
    batch = pa.RecordBatch.from_pylist(
        [
            {"gender": 0, "ambient": 21.0, "region_temperatures": values},
            {"gender": None, "ambient": None, "region_temperatures": None},
        ],
        schema=pa.schema(list(kinds.items())),
    )
    seen = Temperatures()
    assert not seen.known
    seen.add(batch, 0)
    assert seen.known
    assert seen.rows == 2
    assert seen.regions["forehead"].summary() == {
        "count": 2, "mean": 35.0, "sd": 1.0, "least": 34.0, "greatest": 36.0,
        "5 %": 34.025, "50 %": 34.25, "95 %": 36.0,
    }  # fmt: skip
    assert seen.regions["nose"].summary()["count"] == 1
    assert seen.ambient.summary()["mean"] == 21


def test_rows_of_nulls_are_counted() -> None:
    names = ("subject_id", "gender", "sequence", "category", "frame_index", "face_count", "bbox", "head_pose", "width")
    batch = pa.RecordBatch.from_pylist([dict.fromkeys(names)] * 3 + [{**dict.fromkeys(names), "frame_index": 0}])
    seen = Labels()
    seen.add(batch, 1)
    assert seen.frames[1, 2] == 4
    assert seen.items.sum() == seen.items[1, 2, 1] == 1
    assert seen.faces[1, 2].tolist() == [0, 0, 0, 4]
    assert seen.people[""].without_box == 4
    assert len(seen.unknown) == 11 + 9 + 1


@given(st.lists(st.floats(-200, 200), min_size=1, max_size=50))
def test_histograms_keep_counts_and_moments(values: list[float]) -> None:
    array = np.array(values)
    seen = Histogram(Measure("yaw", "°", -90, 90, 36))
    seen.add(2, np.ones(len(array), np.int64), array)
    summary = seen.summary(2, 1)
    inside = np.clip(array, -90, np.nextafter(90, 0))
    assert seen.counts[2, 1].sum() == np.histogram(inside, seen.measure.edges)[0].sum() == len(array)
    assert seen.counts.sum() == summary["count"] == len(array)
    assert summary["mean"] == pytest.approx(array.mean(), abs=1e-3)
    assert summary["sd"] == pytest.approx(array.std(), abs=1e-2)
    assert summary["least"] <= summary["5 %"] <= summary["50 %"] <= summary["95 %"] <= summary["greatest"]
    assert seen.summary(0)["count"] == 0


@given(st.lists(st.integers(0, 9), min_size=1, max_size=12), st.floats(0, 1))
def test_quantiles_of_histograms_are_monotone(counts: list[int], share: float) -> None:
    array, edges = np.array(counts), np.arange(len(counts) + 1.0)
    if not array.sum():
        assert np.isnan(quantile(array, edges, share))
        return
    value = quantile(array, edges, share)
    below = np.concatenate([[0], np.cumsum(array)]) / array.sum()
    assert np.interp(value, edges, below) == pytest.approx(share, abs=1e-9)


def test_columns_of_any_kind_of_list() -> None:
    fixed = pa.array([[1, 2], None, [None, 4]], pa.list_(pa.float32(), 2))
    loose = pa.array([[1, 2], None, [None, 4], [5]], pa.list_(pa.float64()))
    expected = [[1, 2], [np.nan, np.nan], [np.nan, 4]]
    assert np.array_equal(vectors(fixed, 2), expected, equal_nan=True)
    assert np.array_equal(vectors(fixed[1:], 2), expected[1:], equal_nan=True)
    assert np.array_equal(vectors(loose, 2), [*expected, [np.nan, np.nan]], equal_nan=True)
    assert np.isnan(vectors(fixed, 4)).all()
    assert np.isnan(vectors(pa.nulls(2), 4)).all()
    batch = pa.RecordBatch.from_pydict({"a": pa.array([1, None], pa.uint8()), "t": ["x", None]})
    assert integers(batch, "a").tolist() == [1, -1]
    assert integers(batch, "none").tolist() == [-1, -1]
    assert np.isnan(numbers(batch, "none")).all()
    assert texts(batch, "t")[1] == ["x", ""]


def test_broken_and_missing_releases(oval_release: Path, copied: Callable[[Path], Path], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no release"):
        statistics(tmp_path)
    root = copied(oval_release)
    next((root / "data/frames").glob("*")).write_bytes(b"broken")
    with pytest.raises(DamagedInputError, match="thermvision verify"):
        statistics(root)


def test_a_still_that_does_not_decode_is_a_finding(oval_release: Path, copied: Callable[[Path], Path]) -> None:
    root = copied(oval_release)
    for path in (root / "data/image").rglob("*.parquet"):
        table = pq.read_table(path)
        rows = table.to_pylist()
        rows[0]["image"]["bytes"] = b"broken"
        pq.write_table(pa.Table.from_pylist(rows, schema=table.schema), path)
    seen = statistics(root, sample=100)
    assert {f.code for f in seen.findings} == {"unreadable"}
    assert len(seen.findings) == 5
    assert thermvision_db.main(["stats", str(root), "--quiet", "--json"]) == 1


def test_the_command(oval_release: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert thermvision_db.main(["stats", str(oval_release), "--json", "--quiet", "--sample", "0"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["frames"] == 58
    assert "gray" not in facts
    assert thermvision_db.main(["stats", str(oval_release), "--sample", "4"]) == 0
    said = capsys.readouterr()
    assert f"next: thermvision stats {oval_release} --out statistics" in said.out
    assert "labels: 58 rows" in said.err
    assert thermvision_db.main(["stats", str(tmp_path)]) == 2
