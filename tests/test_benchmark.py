"""Protocols: equal releases give equal lists, others are refused, runs look where lists say, scores are right."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_evaluate import Oval, oval_models

from thermvision.annotations.bootstrap import Bootstrap
from thermvision.annotations.errors import DamagedInputError, UsageError
from thermvision.curation import benchmark
from thermvision.curation.evaluation.evaluate import Report
from thermvision.curation.evaluation.frames import KnownFace, KnownFrame
from thermvision.curation.evaluation.measures import Measure, Options, Pair
from thermvision.curation.evaluation.models import Models
from thermvision.curation.pack import complete
from thermvision.curation.protocols import identification, lists, robustness, tracking, verification
from thermvision.curation.protocols.looking import mask_face, pixel_vector
from thermvision.curation.release import read_release
from thermvision.curation.store import sha256_bytes
from thermvision.curation.verify import verify_release
from thermvision.curation.video import encode_gray
from thermvision_db import main

QUICK = Options(bootstrap=Bootstrap(rounds=50))


def measures(report: Report, protocol: str) -> dict[str, Measure]:
    return {m.name: m for m in report.results[protocol].measures}


def picks(people: int = 8, recordings: int = 3, frames: int = 5) -> pd.DataFrame:
    """Frames of people, every other one female, as `lists.gather` gives them."""
    rows = [
        {
            "frame": f"P_{p:02d}_{r}/frame_{n:04d}", "item_id": f"P_{p:02d}_{r}", "subject_id": f"P_{p:02d}",
            "gender": ("female", "male")[p % 2], "recording": f"0{r}-x", "is_clip": True, "expression": "neutral",
            "has_box": True, "has_points": True, "yaw": 0.0, "pitch": 0.0, "spread": True, "acts": True,
            "length": frames,
        }
        for p in range(people) for r in range(recordings) for n in range(frames)
    ]  # fmt: skip
    return pd.DataFrame(rows)


# lists


@settings(max_examples=15, deadline=None)
@given(st.integers(4, 25), st.integers(1, 3), st.integers(1, 5), st.integers(0, 3))
def test_pairs_are_fair(people: int, recordings: int, frames: int, seed: int) -> None:
    given = picks(people, recordings, frames)
    table = lists.pair_list(given, seed)
    if recordings == frames == 1:
        assert table is None
        return
    assert table is not None
    pd.testing.assert_frame_equal(table, lists.pair_list(given, seed))
    assert ((table["first_subject"] == table["second_subject"]) == (table["same"] == 1)).all()
    fold_of: dict[str, set[int]] = {}
    for column in ("first_subject", "second_subject"):
        for subject, fold in zip(table[column], table["fold"], strict=True):
            fold_of.setdefault(subject, set()).add(fold)
    assert all(len(folds) == 1 for folds in fold_of.values())
    recording = dict(zip(given["frame"], given["recording"], strict=True))
    within = [recording[a] == recording[b] for a, b in zip(table["first"], table["second"], strict=True)]
    assert within == (table["kind"] == "same-sequence").tolist()
    counts = table.groupby(["fold", "kind"])["same"].agg(["sum", "size"])
    assert (counts["size"] - counts["sum"] <= counts["sum"]).all()  # never more impostors than genuine pairs
    assert not table.duplicated(["first", "second"]).any()
    assert (counts["sum"] <= lists.MOST_PAIRS).all()
    if people >= 8 and recordings > 1:  # four people a fold: two of a gender, whose pairs are the hard ones
        gender = dict(zip(given["subject_id"], given["gender"], strict=True))
        across = table[table["same"] == 0]
        alike = across["first_subject"].map(gender) == across["second_subject"].map(gender)
        assert alike.groupby([across["fold"], across["kind"]]).any().all()


def test_too_few_people_make_no_pairs() -> None:
    assert lists.pair_list(picks(3), 0) is None
    assert lists.search_lists(picks(1), 0) == {}
    assert list(lists.search_lists(picks(2), 0)) == ["closed-set"]


def test_many_people_are_thinned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lists, "MOST_PEOPLE", 5)
    frames = lists.compared_frames(picks(9))
    assert sorted(frames["subject_id"].unique()) == ["P_00", "P_02", "P_04", "P_06", "P_08"]
    assert frames.groupby(["subject_id", "recording"]).size().unique().tolist() == [lists.PER_RECORDING]


def test_searches_are_fair() -> None:
    found = lists.search_lists(picks(9), 0)
    closed, opened = found["closed-set"], found["open-set"]
    gallery = closed[closed["role"] == "gallery"]
    assert gallery["frame"].str.contains("_0/").all()  # the first recording of everybody
    assert gallery["subject_id"].nunique() == 9
    strangers = set(opened["subject_id"][opened["role"] == "unknown"])
    assert len(strangers) == 3
    assert not strangers & set(opened["subject_id"][opened["role"] != "unknown"])
    assert set(lists.search_lists(picks(9), 1)["open-set"]["role"]) == {"gallery", "probe", "unknown"}


def test_provenance_of_strangers_is_read_defensively() -> None:
    for text in (None, "", "{", "[]", '{"resolved": 3}', '{"resolved": {"parameters": [1]}}', '{"resolved": null}'):
        assert lists.conditions_of(text) == {}
    odd = {"resolved": {"parameters": {"distance": "far", "ambient": True, "fog": 0.1, "preset": 4}, "camera": {}}}
    assert lists.conditions_of(json.dumps(odd)) == {}
    clear = {"resolved": {"parameters": {"distance": 2, "fog": 0.0, "smoke": 0.5, "preset": "vga-17"}}}
    told = lists.conditions_of(json.dumps(clear))
    assert told == {"distance": 2.0, "transmission": pytest.approx(np.exp(-1)), "sensor": "vga-17"}


def test_lists_of_a_release(oval_release: Path) -> None:
    made, texts = benchmark.make_lists(oval_release, None)
    rows = {name: entry.rows for name, entry in made.index.lists.items()}
    assert rows == {
        "detection": 4 * 8 + 10,
        "landmarks": 4 * 8 + 10,
        "head-pose": 4 * 8 + 10,
        "expression": 4 * 2 * 2 + 10,  # two frames of each of two expressions, and every still
        "gender": 4 * 8 + 10,
        "closed-set": 4 * 4 + 4 + 6,  # at most four frames of each person and recording
        "tracking": 4,
        "robustness": 4 * 8 + 10,
    }
    assert texts == benchmark.make_lists(oval_release, None)[1]
    shown = made.tables["expression"]["frame"]
    assert shown[0] == "P_000000_S1/frame_0002"  # of frames 0, 2, …, 10 the second and the fifth
    tested = benchmark.make_lists(oval_release, "test")[0]
    assert {s for name in ("detection", "tracking") for s in tested.tables[name]["subject_id"]} == {"P_000001"}
    assert set(tested.tables["training"]["subject_id"]) == {"P_000000"}
    with pytest.raises(UsageError, match="no labelled frames in split 'validation'; it offers: test, train"):
        benchmark.make_lists(oval_release, "validation")


def test_frames_that_nobody_labelled_are_in_no_list(oval_release: Path, copied: Callable[[Path], Path]) -> None:
    root = copied(oval_release)
    shard = next(s for s in read_release(root).shards_of("frames", "test"))
    table = pq.read_table(root / shard.path)
    rows = table.to_pylist()
    rows[11]["bbox"] = None  # the last frame of the first clip, which is always among the evenly spread ones
    pq.write_table(complete(pa.Table.from_pylist(rows, schema=table.schema), table.schema), root / shard.path)
    listed, before = (
        set(benchmark.make_lists(r, "test")[0].tables["detection"]["frame"]) for r in (root, oval_release)
    )
    assert "P_000001_S1/frame_0011" in before - listed
    assert len(before) == len(listed)  # another frame takes its place
    report = benchmark.run(root, "detection", models=oval_models(), options=QUICK, split="test")
    assert measures(report, "detection")["recall, score 0.5"].value is not None


def test_boxes_alone_allow_some_lists(imported_release: Path) -> None:
    made = benchmark.make_lists(imported_release, "train")[0]
    assert set(made.tables) == {"detection", "gender", "tracking"}
    assert made.index.lists["detection"].rows == 5  # the frame without a face counts for detection
    assert made.index.lists["gender"].rows == 4
    report = benchmark.run(imported_release, "detection", split="train", models=oval_models(), options=QUICK)
    assert report.notes == ("5 frames carry labels made by 'published labels', taken for truth here",)
    assert measures(report, "detection")["AP50"].count == 5  # four faces, and the second one in frame 2


def test_lists_are_never_exchanged(oval_release: Path, tmp_path: Path) -> None:
    first = benchmark.write_lists(oval_release, tmp_path, None)
    assert benchmark.write_lists(oval_release, tmp_path, None) == first  # a stopped writing goes on
    good = (tmp_path / "gender.csv").read_bytes()
    for split, seed in (("test", 0), (None, 1)):
        with pytest.raises(UsageError, match="holds other lists, which results may name"):
            benchmark.write_lists(oval_release, tmp_path, split, seed)
    (tmp_path / benchmark.INDEX).write_text("{")
    with pytest.raises(UsageError, match="holds other lists"):
        benchmark.write_lists(oval_release, tmp_path, "test")
    assert (tmp_path / "gender.csv").read_bytes() == good
    for wrong in (benchmark.write_lists, lambda root, file: benchmark.run(root, "gender", lists=file)):
        with pytest.raises(UsageError, match=r"gender\.csv is a file; allowed: "):
            wrong(oval_release, tmp_path / "gender.csv")


def test_broken_releases_are_named(oval_release: Path, copied: Callable[[Path], Path]) -> None:
    root = copied(oval_release)
    shard = next(s for s in read_release(root).shards_of("video", "test"))
    rows = pq.read_table(root / shard.path)
    clips = rows.to_pylist()
    clips[0]["video"]["bytes"] = b"no video"
    pq.write_table(complete(pa.Table.from_pylist(clips, schema=rows.schema), rows.schema), root / shard.path)
    for protocol in ("detection", "tracking"):
        with pytest.raises(DamagedInputError, match="P_000001_S1: a video of 8 bytes does not decode"):
            benchmark.run(root, protocol, models=oval_models(), options=QUICK)
    short = rows.to_pylist()  # labels go on where the second clip's pixels end
    short[1]["video"]["bytes"] = encode_gray(np.full((3, 96, 96), 90, np.uint8), 25)
    pq.write_table(complete(pa.Table.from_pylist(short, schema=rows.schema), rows.schema), root / shard.path)
    report = benchmark.run(root, "detection", models=oval_models(), options=QUICK)
    (note,) = report.results["detection"].notes
    assert note.startswith("detection: 6 of 22 listed frames have no picture and count as missed, such as P_000001_S2/")
    assert measures(report, "detection")["recall, score 0.5"].value == pytest.approx((22 - 6 - 2) / 22)
    (root / shard.path).unlink()
    for protocol in ("detection", "tracking"):
        with pytest.raises(DamagedInputError, match=r"does not read .* type: thermvision verify"):
            benchmark.run(root, protocol, models=oval_models(), options=QUICK)


def test_lists_ride_in_a_release(oval_release: Path, copied: Callable[[Path], Path], tmp_path: Path) -> None:
    root = copied(oval_release)
    benchmark.write_lists(root, root / "protocols", None)
    report = benchmark.run(root, "closed-set", models=oval_models(), options=QUICK)
    assert report.facts["lists_from"] == "protocols"
    assert report.facts["split"] == "all"  # the list's, not the default of the command
    assert report.notes[0] == f"the lists are those of {root / 'protocols'}: split 'all', seed 0"
    known = verify_release(oval_release)
    assert verify_release(root) == known
    # a new card is no new release, another shard is
    (root / "README.md").write_text("new")
    manifest = read_release(root)
    assert benchmark.content_digest(manifest) == report.facts["release"]["digest"]
    other = manifest.model_copy(update={"shards": manifest.shards[:-1], "version": "1.1"})
    assert [f.code for f in benchmark.list_findings(root / "protocols", other)] == ["list-of-another-release"]
    (root / "protocols" / "gender.csv").write_text("frame,subject_id\n")
    (finding,) = set(verify_release(root)) - set(known) - {f for f in verify_release(root) if f.path == "README.md"}
    assert (finding.path, finding.code) == ("protocols/gender.csv", "list-changed")
    with pytest.raises(UsageError, match=r"were made of Ovals 1\.0 .* the release is Ovals 1\.1"):
        benchmark.read_lists(root / "protocols", other, ["detection"])


def test_changed_lists_are_refused(oval_release: Path, tmp_path: Path) -> None:
    benchmark.write_lists(oval_release, tmp_path, "test")
    manifest = read_release(oval_release)
    path = tmp_path / "detection.csv"
    good = path.read_bytes()
    path.write_bytes(good + b"P_000001_S1/frame_0001,P_000001\n")
    with pytest.raises(DamagedInputError, match="the list was changed"):
        benchmark.read_lists(tmp_path, manifest, ["detection"])
    benchmark.read_lists(tmp_path, manifest, ["gender"])  # the others are whole
    path.unlink()
    with pytest.raises(DamagedInputError, match="is not there"):
        benchmark.read_lists(tmp_path, manifest, ["detection"])
    path.write_bytes(good)
    index = tmp_path / benchmark.INDEX
    text = index.read_text()
    for bad in (text.replace('"detection.csv"', '"../detection.csv"'), text.replace('"seed": 0', '"seed": -1'), "{}"):
        index.write_text(bad)
        with pytest.raises(DamagedInputError, match="is damaged"):
            benchmark.read_lists(tmp_path, manifest, ["detection"])
    # whoever made the digests fit may still have written nonsense
    index.write_text(text)
    for name, row in (("tracking", "a,b,many"), ("robustness", "a,b,0,0,far,,,,"), ("closed-set", "king,a,b")):
        data = ",".join(benchmark.PROTOCOLS[name].columns) + f"\n{row}\n"
        (tmp_path / benchmark.PROTOCOLS[name].file).write_text(data)
        facts = json.loads(text)
        facts["lists"][name] = {
            "path": benchmark.PROTOCOLS[name].file, "sha256": sha256_bytes(data.encode()), "rows": 1,
        }  # fmt: skip
        index.write_text(json.dumps(facts))
        with pytest.raises(DamagedInputError, match=f"the list of {name} has"):
            benchmark.read_lists(tmp_path, manifest, [name])
    with pytest.raises(UsageError, match=r"has no protocols\.json"):
        benchmark.read_lists(tmp_path / "nowhere", manifest, ["detection"])


# runs


def test_all_protocols_run_where_the_lists_say(oval_release: Path) -> None:
    models = oval_models(gender="female", expression="neutral")
    report = benchmark.run(oval_release, "all", split=None, models=models, options=QUICK)
    assert set(report.results) == set(benchmark.PROTOCOLS) - {"verification", "open-set"}
    why = "verification is not run: it takes four people with two frames each, which split 'all' does not have"
    assert why in report.notes
    assert measures(report, "detection")["AP50"].value == 1
    assert measures(report, "detection")["AP50"].count == 42
    assert measures(report, "landmarks")["NME, box"].value == pytest.approx(0, abs=0.02)
    assert measures(report, "head-pose")["MAE, roll"].value == pytest.approx(3, abs=1e-5)
    assert list(measures(report, "gender")) == ["gender, balanced accuracy", "gender, accuracy"]
    assert measures(report, "gender")["gender, balanced accuracy"].value == 0.5
    assert measures(report, "gender")["gender, accuracy"].value == pytest.approx(20 / 42)
    assert measures(report, "expression")["expression, accuracy"].value == pytest.approx(18 / 26)
    assert measures(report, "closed-set")["Rank-1"].value == 0  # everybody looks alike, and a tie is no answer
    followed = measures(report, "tracking")
    assert followed["success AUC"].value > 0.9
    assert followed["success AUC"].value > followed["success AUC"].baseline
    assert followed["frames lost"].value == 0
    assert followed["identity stays"].value == 0
    assert measures(report, "robustness")["recall"].value == 1
    facts = json.loads(json.dumps(report.as_dict(), allow_nan=False))
    assert facts["format"] == "thermvision-benchmark/1"
    assert facts["lists"]["detection"]["rows"] == 42


class _Alone(Oval):
    """An oval that counts its looks."""

    def detect(self, frames: Any) -> Any:
        self.asked += len(frames)
        return super().detect(frames)


def test_a_result_does_not_depend_on_its_company(oval_release: Path) -> None:
    def answers(protocol: str) -> tuple[Report, int]:
        oval = _Alone({"gender": "male"})
        models = Models(oval, oval, oval, oval, score=0.5)
        return benchmark.run(oval_release, protocol, models=models, options=QUICK), oval.asked

    together, _ = answers("all")
    for name in ("detection", "gender", "tracking"):
        alone, asked = answers(name)
        assert alone.results[name].measures == together.results[name].measures
    assert asked >= 2 * 12  # tracking looks at whole clips


def test_runs_refuse_what_cannot_be(oval_release: Path, imported_release: Path) -> None:
    with pytest.raises(UsageError, match="--protocol is 'magic'; allowed: detection, landmarks"):
        benchmark.run(oval_release, "magic")
    with pytest.raises(UsageError, match="--protocol landmarks cannot be run: it takes 68 points, which split 'train'"):
        benchmark.run(imported_release, "landmarks", split="train", models=oval_models())


def test_the_commands(oval_release: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, out = tmp_path / "lists", tmp_path / "results.json"
    assert main(["evaluate", str(oval_release), "--write-protocols", str(folder), "--split", "all"]) == 0
    said = capsys.readouterr().out
    assert "detection: 42 rows, SHA-256" in said
    assert f"--protocol all --lists {folder}" in said
    run = ["evaluate", str(oval_release), "--protocol", "detection", "--out", str(out)]
    assert main([*run, "--lists", str(folder), "--rounds", "10", "--quiet"]) == 0
    assert f"next: results are in {out}" in capsys.readouterr().out
    facts = json.loads(out.read_text())
    assert facts["tasks"]["detection"]["measures"][0]["name"] == "AP50"
    assert facts["split"] == "all"
    assert main(["evaluate", str(oval_release), "--protocol", "gender", "--predictions", "a.json"]) == 2
    assert "--predictions and --protocol do not go together" in capsys.readouterr().err
    for options, message in (
        (["--protocol", "gender", "--limit", "3", "--boxes", "true"], "--boxes, --limit and --protocol"),
        (["--protocol", "gender", "--plots", "x"], "--plots draws --protocol landmarks and robustness, and"),
        (["--task", "pose", "--plots", "x"], "--plots draws landmarks by pose, and --task is pose"),
    ):
        assert main(["evaluate", str(oval_release), *options]) == 2
        assert message in capsys.readouterr().err


# scores


def test_pairs_are_scored_by_the_folds_of_others() -> None:
    rng = np.random.default_rng(0)
    people = {f"p{n}": rng.normal(size=16) for n in range(12)}
    rows, vectors = [], {}
    for n, (name, vector) in enumerate(people.items()):
        for k in range(2):
            noisy = vector + 0.05 * rng.normal(size=16)
            vectors[f"{name}-{k}"] = (noisy / np.linalg.norm(noisy)).astype(np.float32)
        other = f"p{(n + 4) % 12}"  # of the same fold
        rows += [(n % 4, "cross-sequence", "1", f"{name}-0", f"{name}-1", name, name)]
        rows += [(n % 4, "cross-sequence", "0", f"{name}-0", f"{other}-1", name, other)]
    table = pd.DataFrame(rows, columns=list(benchmark.PROTOCOLS["verification"].columns)).astype(str)
    nothing = dict.fromkeys(vectors, np.ones(16, np.float32) / 4)
    every = {"face": vectors, "pixels": nothing, "masked": nothing, "masked pixels": {}}
    result = verification.score(table, every, QUICK)
    found = {m.name: m for m in result.measures}
    assert found["cross-sequence, accuracy"].value == 1
    assert found["cross-sequence, accuracy"].baseline == 0.5
    assert found["cross-sequence, EER"].value == 0
    assert found["face masked, accuracy"].value == 0.5
    assert found["face masked, EER"].value == 0.5
    assert any("same-sequence: the list has no such pairs" in note for note in result.notes)
    del vectors["p0-0"]  # a face that was not found: its genuine pair is lost, its impostor pair refused
    found = {m.name: m for m in verification.score(table, every, QUICK).measures}
    assert found["cross-sequence, pairs without a face"].value == 2 / 24
    assert found["cross-sequence, accuracy"].value == pytest.approx(1 - 1 / 24)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 8), st.booleans()), min_size=1, max_size=20))
def test_the_best_threshold_is_best(pairs: list[tuple[int, bool]]) -> None:
    scores, same = np.array([s for s, _ in pairs], float), np.array([g for _, g in pairs])
    best = max(((scores >= t) == same).mean() for t in np.arange(-0.5, 9.6, 0.5))
    assert ((scores >= verification.best_threshold(scores, same)) == same).mean() == best


def test_a_search_counts_ties_against_the_probe() -> None:
    axes = np.eye(3, dtype=np.float32)
    rows = [("gallery", "a", "A"), ("gallery", "b", "B"), ("probe", "x", "A"), ("probe", "y", "B"), ("probe", "z", "B")]
    rows += [("unknown", "s", "S"), ("unknown", "t", "T")]
    table = pd.DataFrame(rows, columns=["role", "frame", "subject_id"])
    tie = (axes[0] + axes[1]) / np.float32(np.sqrt(2))
    vectors = {"a": axes[0], "b": axes[1], "x": axes[0], "y": tie, "s": axes[2], "t": tie}  # z was not found
    best, ranks = identification.search(table, table[table["role"] != "gallery"], vectors)
    assert ranks.tolist() == [1, 2, np.inf, 3, 3]
    assert best.round(3).tolist() == [1, 0.707, -2, 0, 0.707]
    found = {m.name: m for m in identification.score(table, {"face": vectors, "pixels": {}}, QUICK).measures}
    assert found["Rank-1"].value == pytest.approx(1 / 3)
    assert found["Rank-1"].baseline == 0
    assert found["DIR at FAR 0.01"].value == pytest.approx(1 / 3)
    assert found["probes without a face"].value == 1 / 5


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 6), st.booleans(), st.booleans()), min_size=1, max_size=15),
    st.sampled_from([0.0, 0.1, 0.34, 0.5, 1.0]),
)
def test_identification_rate_is_its_definition(probes: list[tuple[int, bool, bool]], far: float) -> None:
    scores = np.array([p[0] for p in probes], float)
    right, known = np.array([p[1] for p in probes]), np.array([p[2] for p in probes])
    rate = identification.identification_rate(scores, right, known, far)[0]
    if known.all() or not known.any():
        assert np.isnan(rate)
        return
    at = [t for t in (*scores, np.inf) if (scores[~known] >= t).mean() <= far]
    assert rate == pytest.approx((right & known & (scores >= min(at))).sum() / known.sum())


def test_who_is_followed_is_told_by_the_first_face() -> None:
    axes = np.eye(3, dtype=np.float32)
    nothing = np.zeros(0)
    clips = [
        tracking.Tracked("A", nothing, nothing, [axes[0], axes[0], axes[1], None]),
        tracking.Tracked("B", nothing, nothing, [axes[1], axes[1]]),
        tracking.Tracked("C", nothing, nothing, [None, axes[1]]),
    ]
    hits, chance, owners = tracking.kept_identities(clips)
    assert hits.tolist() == [1, 0, 0, 1]
    assert chance.tolist() == [0.5] * 4
    assert owners == ["A", "A", "A", "B"]


def test_robustness_reads_bins() -> None:
    """Far frames are missed, cold ones are not known: each is said of its bin only."""
    box = np.array([10, 10, 40, 40], np.float32)
    rows, pairs, vectors = [], [], {}
    for n in range(60):
        subject, far = f"p{n % 6}", n % 2 == 1
        key = f"s{n}"
        truth = KnownFace(box, pose=np.zeros(3, np.float32), subject=subject)
        found = None if far else KnownFace(box, pose=np.full(3, 2.0, np.float32))
        pairs.append(Pair(truth, found, KnownFrame(key, (truth,), 64, 64, subject)))
        rows.append((key, subject, "-35.0", "", "3.0" if far else "0.5", "", "", "0.5", "a" if far else "b"))
        if not far:
            vectors[key] = np.eye(6, dtype=np.float32)[n % 6]
    table = pd.DataFrame(rows, columns=list(benchmark.PROTOCOLS["robustness"].columns))
    result = robustness.score(table, pairs, {"face": vectors, "pixels": {}}, QUICK)
    assert {m.name: m.value for m in result.measures} == {"recall": 0.5, "pose MAE": 2.0, "TAR at FAR 0.01": 0.5}
    assert {m.name: m.baseline for m in result.measures}["recall"] == 1.0  # the constant box is always right here
    distance = result.curves["distance"]
    assert distance["bins"] == ["0–0.75", "2.5–3.5"]
    assert distance["count"] == [30, 30]
    assert distance["recall"]["value"] == [1.0, 0.0]
    assert distance["pose"]["value"] == [2.0, None]
    assert distance["tar"]["value"] == [1.0, 0.0]
    assert result.curves["yaw"]["bins"] == ["30–45"]  # either way
    assert result.curves["sensor"]["bins"] == ["a", "b"]
    assert {"pitch", "ambient", "netd"}.isdisjoint(result.curves)
    assert "ambient: this release does not say it" in result.notes


def test_robustness_is_drawn(tmp_path: Path) -> None:
    curve = {"bins": ["0–10", "10–20"], "count": [20, 20]}
    part = {"value": [0.5, 0.4], "interval": [(0.4, 0.6), None], "baseline": [0.1, None]}
    whole = {**curve, **dict.fromkeys(robustness.SCORES, part)}
    paths = robustness.plot({"yaw": whole, "sensor": whole}, tmp_path / "robustness")
    assert [p.name for p in paths] == [f"robustness{end}" for end in (".svg", ".png", "-dark.svg", "-dark.png")]
    assert "|yaw|" in paths[0].read_text()
    one = {**whole, **{score: {name: [v[0], None] for name, v in part.items()} for score in robustness.SCORES}}
    assert robustness.plot({"yaw": one}, tmp_path / "none") == []  # one bin is no curve
    unsaid = {name: [None, None] for name in part}
    assert robustness.plot({"yaw": whole, "ambient": {**whole, "nme": unsaid}}, tmp_path / "gap")  # a row with a gap


def test_alone_nobody_holds_a_constant_box() -> None:
    box = np.array([10, 10, 40, 40], np.float32)
    truth = KnownFace(box, subject="p")
    pairs = [Pair(truth, KnownFace(box), KnownFrame(f"s{n}", (truth,), 64, 64, "p")) for n in range(12)]
    rows = [(f"s{n}", "p", "0.0", "", "", "", "", "", "") for n in range(12)]
    table = pd.DataFrame(rows, columns=list(benchmark.PROTOCOLS["robustness"].columns))
    result = robustness.score(table, pairs, {"face": {}, "pixels": {}}, QUICK)
    assert [(m.name, m.value, m.baseline) for m in result.measures] == [("recall", 1.0, None)]


def test_a_masked_face_is_gone() -> None:
    rng = np.random.default_rng(0)
    gray = rng.integers(0, 255, (60, 80), dtype=np.uint8)
    masked = mask_face(gray, np.array([20, 10, 30, 40], np.float32))
    assert np.unique(masked[6:54, 17:53]).size == 1
    outside = np.ones(gray.shape, bool)
    outside[6:54, 17:53] = False
    assert (masked[outside] == gray[outside]).all()
    assert (mask_face(gray, np.array([-10, -10, 200, 200], np.float32)) == 0).all()
    points = np.array([[30, 25], [45, 25], [38, 34], [32, 42], [44, 42]], np.float32)
    assert np.linalg.norm(pixel_vector(gray, points)) == pytest.approx(1, abs=1e-5)
    assert (pixel_vector(np.full((60, 80), 7, np.uint8), points) == 0).all()
