"""Duplicates, look-alikes and memorised pictures: planted ones are found, and others are not."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest
from conftest import ZEROS, clip_row, face_annotation, finish_release, still_row
from fake_faces import FAKE, SIZE, points_of, texture
from hypothesis import given, settings
from hypothesis import strategies as st

import thermvision_db
from thermvision.annotations.errors import DamagedInputError, UsageError
from thermvision.curation.duplicates import faces
from thermvision.curation.duplicates.calibration import ALTERED, area, calibrate, roc
from thermvision.curation.duplicates.clips import longest_run, overlaps
from thermvision.curation.duplicates.dedupe import SAME_FRAME_BITS, Report, dedupe
from thermvision.curation.duplicates.describe import Described, describe
from thermvision.curation.duplicates.descriptors import (
    distances,
    either_way,
    face_vector,
    frame_digest,
    frame_hash,
    likeness,
    mirrored_hash,
    mirrored_vectors,
)  # fmt: skip
from thermvision.curation.duplicates.identities import look_alikes, people
from thermvision.curation.duplicates.neighbours import Neighbours, candidates
from thermvision.curation.duplicates.report import told, write_report
from thermvision.curation.duplicates.seeds import read_seeds
from thermvision.curation.inputs import open_input
from thermvision.curation.pack import write_shard
from thermvision.curation.video import encode_gray


def moving(seed: int, count: int) -> np.ndarray:
    """A clip (count, SIZE, SIZE) that pans over a texture four times its size."""
    wide = texture(seed, 4 * SIZE, 4.0)
    return np.stack([wide[2 * k : 2 * k + SIZE, 3 * k : 3 * k + SIZE] for k in range(count)])


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten people; stills and clips, some of which are there twice in the other split."""
    root, people_ids = tmp_path_factory.mktemp("planted") / "release", [f"P_{k:06d}" for k in range(12)]
    rng = np.random.default_rng(0)
    rows: dict[str, list[tuple[str, dict[str, Any]]]] = {"frontal_pose": [], "video": []}

    def still(name: str, subject: int, gray: np.ndarray, split: str) -> None:
        row = still_row(name, people_ids[subject], people_ids, "frontal_pose", SIZE)
        data = cv2.imencode(".png", gray)[1].tobytes()
        row |= {"image": {"bytes": data, "path": f"{name}.png"}, "landmarks": points_of(gray).tolist()}
        rows["frontal_pose"].append((split, row))

    def clip(name: str, subject: int, frames: np.ndarray, split: str) -> None:
        annotations = [face_annotation(SIZE, 0, known=False)] * len(frames)
        row = clip_row(name, people_ids[subject], people_ids, "head_pose", annotations, SIZE)
        row["video"] = {"bytes": encode_gray(np.ascontiguousarray(frames)), "path": f"{name}.mp4"}
        rows["video"].append((split, row))

    for k in range(10):
        still(f"s{k}", k, texture(k), "train")
    still("same", 0, texture(0), "test")
    still("noisy", 1, ALTERED["noise"](texture(1), rng), "test")
    still("mirrored", 2, ALTERED["mirror"](texture(2), rng), "test")
    still("toned", 3, ALTERED["tones"](texture(3), rng), "train")
    for k in range(4):
        clip(f"c{k}", k, moving(100 + k, 40), "train")
    clip("copied", 0, moving(100, 40), "test")
    clip("later", 1, np.concatenate([moving(200, 8), moving(101, 40)[10:34]]), "test")
    clip("turned", 2, moving(102, 40)[:, :, ::-1], "test")
    clip("short", 3, moving(103, 40)[4:14], "test")  # shorter than what two clips must share, but whole
    shards = [
        write_shard(root, config, split, "1.0", 0, [r for s, r in pairs if s == split], people_ids, ZEROS)
        for config, pairs in rows.items() for split in ("train", "test")
    ]  # fmt: skip
    return finish_release(root, "build", people_ids, shards)


@pytest.fixture(scope="module")
def report(planted: Path) -> Report:
    return dedupe(str(planted), models=FAKE)


def named(report: Report) -> dict[frozenset[str], tuple[str, str]]:
    return {frozenset((p.one, p.other)): (p.code, p.by) for p in report.pairs if p.code != "look-alikes"}


def test_what_was_planted_is_found_and_nothing_else(report: Report) -> None:
    assert named(report) == {
        frozenset(("s0", "same")): ("exact-duplicate", "pixels"),
        frozenset(("s1", "noisy")): ("near-duplicate", "hash"),
        frozenset(("s2", "mirrored")): ("near-duplicate", "hash"),
        frozenset(("s3", "toned")): ("near-duplicate", "hash"),
        frozenset(("c0", "copied")): ("exact-duplicate", "pixels"),
        frozenset(("c1", "later")): ("overlapping-clips", "hash"),
        frozenset(("c2", "turned")): ("duplicate-clip", "hash"),
        frozenset(("c3", "short")): ("overlapping-clips", "hash"),
    }
    assert report.facts["across_splits"] == 7


def test_runs_and_mirrors_are_told(report: Report) -> None:
    pairs = {frozenset((p.one, p.other)): p for p in report.pairs}
    later = pairs[frozenset(("c1", "later"))]
    assert (later.one, later.frame_one, later.frame_other, later.frames) == ("c1", 10, 8, 24)
    assert pairs[frozenset(("c2", "turned"))].mirrored
    assert pairs[frozenset(("s2", "mirrored"))].mirrored
    assert not pairs[frozenset(("s1", "noisy"))].mirrored
    assert told(later) == f"24 frames, from 10 and from 8; {later.bits} of 256 bits differ; in train and test"


def test_the_report_is_written(report: Report, tmp_path: Path) -> None:
    written = write_report(report, tmp_path)
    assert [p.name for p in written] == ["dedupe.json", "pairs.parquet", "dedupe.html"]
    facts = json.loads(written[0].read_text())
    table = pq.read_table(written[1]).to_pylist()
    assert len(facts["pairs"]) == len(table) == len(report.pairs)
    assert sum(row["crosses_splits"] for row in table) == 7
    page = written[2].read_text()
    assert page.count("data:image/jpeg") == 2 * len(report.pairs)
    assert "no picture" not in page


@pytest.mark.slow
def test_workers_and_runs_give_the_same(planted: Path, report: Report) -> None:
    again = dedupe(str(planted), models=FAKE, workers=2)
    assert again.as_dict() == report.as_dict()


def test_against_another_release_only_shared_ones_are_told(planted: Path, oval_release: Path) -> None:
    crossed = dedupe(str(planted), against=str(planted), models=FAKE)
    pairs = {(p.one, p.other) for p in crossed.pairs if p.code == "exact-duplicate"}
    assert {("s0", "s0"), ("s0", "same"), ("c0", "c0")} <= pairs
    assert {p.where for p in crossed.pairs} == {"against"}
    assert not any(p.crosses for p in crossed.pairs)
    apart = dedupe(str(planted), against=str(oval_release), models=FAKE)
    assert [p for p in apart.pairs if p.code != "look-alikes"] == []


@given(st.integers(0, 10_000))
@settings(max_examples=20, deadline=None)
def test_hashes_and_vectors_of_mirror_images(seed: int) -> None:
    gray = texture(seed)
    flipped = np.ascontiguousarray(gray[:, ::-1])
    assert distances(mirrored_hash(frame_hash(gray)), frame_hash(flipped)) <= SAME_FRAME_BITS
    assert distances(frame_hash(gray), frame_hash(flipped)) > SAME_FRAME_BITS
    crop = np.ascontiguousarray(gray[:64, :64])
    assert np.allclose(mirrored_vectors(face_vector(crop)), face_vector(crop[:, ::-1]), atol=1e-5)


@pytest.mark.parametrize("name", ["jpeg", "tones", "noise"])
def test_altered_frames_stay_within_the_limit_and_others_do_not(name: str) -> None:
    rng = np.random.default_rng(1)
    hashes = np.stack([frame_hash(texture(k)) for k in range(20)])
    altered = np.stack([frame_hash(ALTERED[name](texture(k), rng)) for k in range(20)])
    apart = distances(altered[:, None], hashes[None])
    assert np.diag(apart).max() <= SAME_FRAME_BITS < apart[~np.eye(20, dtype=bool)].min()


def test_likeness_survives_another_window_and_mirrors() -> None:
    whole = texture(7, 128)
    crop = cv2.resize(whole, (64, 64), interpolation=cv2.INTER_AREA)
    moved = cv2.resize(np.ascontiguousarray(whole[4:122, 6:124]), (64, 64), interpolation=cv2.INTER_AREA)
    other = cv2.resize(texture(8, 128), (64, 64), interpolation=cv2.INTER_AREA)
    assert likeness(moved, crop) > 0.95
    assert likeness(other, crop) < 0.6
    assert either_way(np.ascontiguousarray(moved[:, ::-1]), crop)[1]
    assert likeness(np.full((64, 64), 9, np.uint8), crop) == 0.0  # flat: nothing to compare


def test_digests_are_of_pixels_and_shape() -> None:
    gray = texture(1)
    assert frame_digest(gray) == frame_digest(np.asfortranarray(gray))
    changed = gray.copy()
    changed[0, 0] ^= 1
    assert frame_digest(gray) != frame_digest(changed)


@pytest.mark.parametrize("kind", ["vectors", "bits"])
def test_the_graph_finds_what_exact_search_finds(kind: str) -> None:
    rng = np.random.default_rng(0)
    base = rng.normal(size=(600, 128)).astype(np.float32)
    base /= np.linalg.norm(base, axis=1, keepdims=True)
    asked: np.ndarray = base[:50] + rng.normal(size=(50, 128)).astype(np.float32) * 0.01
    asked /= np.linalg.norm(asked, axis=1, keepdims=True)
    if kind == "bits":
        base, asked = (np.packbits(x > 0, axis=1) for x in (base, asked))
    graph, exact = Neighbours(base, exact=False), Neighbours(base, exact=True)
    assert (graph.query(asked, 1)[0][:, 0] == np.arange(50)).all()
    assert (exact.query(asked, 1)[0][:, 0] == np.arange(50)).all()
    assert np.allclose(graph.query(asked, 1)[1], exact.query(asked, 1)[1], atol=2e-3)
    assert (Neighbours(base, exact=False).query(asked, 5)[0] == graph.query(asked, 5)[0]).all()


def test_few_or_no_neighbours() -> None:
    near = Neighbours(np.eye(2, dtype=np.float32))
    assert near.query(np.eye(2, dtype=np.float32), 4)[0].tolist() == [[0, 1, -1, -1], [1, 0, -1, -1]]
    assert list(candidates(Neighbours(np.zeros((0, 32), np.uint8)), np.zeros((0, 32), np.uint8), 3, 9)) == []


@given(st.lists(st.booleans(), max_size=40))
def test_the_longest_run_is_as_good_as_any(values: list[bool]) -> None:
    good = np.array(values, bool)
    runs = [
        (stop - start, start, stop) for start in range(len(good)) for stop in range(start + 1, len(good) + 1)
        if good[start] and good[stop - 1] and good[start:stop].sum() >= 0.9 * (stop - start) - 1e-9
    ]  # fmt: skip
    found = longest_run(good, 0.1)
    assert (found is None) == (not runs)
    if found is not None:
        assert found[1] - found[0] == max(runs)[0]
        assert any((found[0], found[1]) == run[1:] for run in runs)


def test_a_still_stretch_is_no_overlap_with_other_clips(tmp_path: Path) -> None:
    folder = tmp_path / "clips"
    folder.mkdir()
    for k in range(2):
        (folder / f"still{k}.mp4").write_bytes(encode_gray(np.stack([texture(300 + k)] * 30)))
    described = describe(open_input(str(folder)).chunks, tmp_path / "scratch", FAKE)
    assert list(overlaps(described, SAME_FRAME_BITS)) == []
    assert described.frames == 60


def persons(count: int, items: int, seed: int = 0, noise: float = 0.6) -> Described:
    """Items with one face each of ``count`` people."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(count, 128))
    vectors = np.repeat(centres, items, 0) + noise * rng.normal(size=(count * items, 128))
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    total = count * items
    return Described(
        items=[f"i{k}" for k in range(total)], subjects=[f"P_{k // items:02d}" for k in range(total)],
        splits=["train"] * total, is_video=np.zeros(total, bool), starts=np.arange(total + 1),
        face_items=np.arange(total, dtype=np.int32), face_frames=np.zeros(total, np.int32),
        embeddings=unit.astype(np.float16),
    )  # fmt: skip


def test_one_person_under_two_names_is_found_and_others_are_not() -> None:
    described = persons(20, 8)
    clean = look_alikes(people(described))
    assert clean.pairs == ()
    assert clean.facts["threshold_from"] == "halves and chance"
    assert clean.facts["expected_by_chance"] <= 0.05
    described.subjects = [s if s != "P_03" or k % 2 else "X" for k, s in enumerate(described.subjects)]
    seen = people(described)
    found = look_alikes(seen)
    assert [(seen.subjects[i], seen.subjects[j]) for i, j, _ in found.pairs] == [("P_03", "X")]


def test_few_people_take_the_default_threshold() -> None:
    assert look_alikes(people(persons(3, 4))).facts["threshold_from"] == "default"
    assert look_alikes(people(persons(1, 4))).pairs == ()
    assert look_alikes(people(Described())).pairs == ()


def test_a_calibration_separates_or_says_what_passes() -> None:
    rng = np.random.default_rng(0)
    near, far = rng.normal(0.9, 0.02, 400), rng.normal(0.6, 0.05, 400)
    apart = calibrate({"jpeg": near}, far, np.zeros(0))
    assert far.max() < apart.threshold < np.quantile(near, 0.01)
    assert apart.facts()["false_positive_rate"] == 0
    assert apart.facts()["false_positive_rate_upper_95"] == pytest.approx(0.00746, abs=1e-4)
    mixed = calibrate({"jpeg": rng.normal(0.7, 0.1, 400)}, rng.normal(0.6, 0.1, 400), np.zeros(0))
    assert mixed.facts()["false_positive_rate"] <= 0.01
    assert 0.5 < mixed.facts()["area_under_curve"] < 0.95
    assert calibrate({}, np.zeros(0), np.zeros(0)).source == "default"
    assert calibrate({"jpeg": near}, far, np.zeros(0), given=0.5).facts()["false_positive_rate"] > 0.9


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30), st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_the_area_is_the_chance_that_a_copy_scores_higher(near: list[float], far: list[float]) -> None:
    a, b = np.array(near), np.array(far)
    wins = (a[:, None] > b[None]).mean() + 0.5 * (a[:, None] == b[None]).mean()
    assert area(roc(a, b)) == pytest.approx(wins)


def training_set(root: Path, count: int = 24, **changes: Any) -> Path:
    """A set as `thermvision seeds` writes it, of textures."""
    rows = []
    for k in range(count):
        for size, augmented in ((64, None), (96, None), (64, {"gain": 1})):
            name = f"train/{size}/t{k:02d}" + ("-a1" if augmented else "")
            path = root / f"{name}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(path), cv2.resize(texture(500 + k), (size, size), interpolation=cv2.INTER_AREA))
            rows.append({
                "file": f"{name}.png", "size": [size, size], "window": [10, 20, 96, 96], "face": [20, 30, 40, 50],
                "augmented": augmented, "subject": f"folder/{k // 2}", "split": "train" if k else "holdout",
                "source": {"path": f"t{k}.png", "sha256": ZEROS, "frame": None}, **changes,
            })  # fmt: skip
    (root / "index.json").write_text(json.dumps({"version": 1, "title": "Textures", "pictures": rows}))
    return root


def test_distinct_training_pictures_are_read(tmp_path: Path) -> None:
    seeds = read_seeds(training_set(tmp_path / "set", 3))
    assert [p.name for p in seeds.pictures] == ["train/64/t01.png", "train/64/t02.png"]
    assert seeds.pictures[0].box == pytest.approx((10 * 64 / 96, 10 * 64 / 96, 40 * 64 / 96, 50 * 64 / 96))
    assert seeds.rows == 9
    seeds.pictures[1].path.unlink()
    again = read_seeds(tmp_path / "set")
    assert [p.name for p in again.pictures] == ["train/64/t01.png", "train/96/t02.png"]
    assert [f.code for f in again.findings] == ["missing-picture"]


@pytest.mark.parametrize(
    "changes",
    [{"file": "../../etc/passwd.png"}, {"file": "/etc/passwd"}, {"size": [0, 4]}, {"window": None}, {"source": 3}],
)
def test_an_index_is_not_trusted(tmp_path: Path, changes: dict[str, Any]) -> None:
    with pytest.raises(DamagedInputError, match="picture 0 is damaged"):
        read_seeds(training_set(tmp_path / "set", 1, **changes))


def test_folders_without_a_set_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no index\.json"):
        read_seeds(tmp_path)
    (tmp_path / "index.json").write_text("[]")
    with pytest.raises(DamagedInputError):
        read_seeds(tmp_path)
    with pytest.raises(UsageError, match="--threshold"):
        dedupe(str(tmp_path), threshold=2.0)


@pytest.mark.slow
def test_memorised_pictures_are_found_with_their_source(tmp_path: Path) -> None:
    root = training_set(tmp_path / "set")
    folder = tmp_path / "made"
    folder.mkdir()
    rng = np.random.default_rng(5)
    copies = {"mirror": 4, "tones": 5, "jpeg": 6, "shrunk": 7}
    for name, k in copies.items():
        cv2.imwrite(str(folder / f"{name}.png"), ALTERED[name](texture(500 + k), rng))
    for k in range(6):
        cv2.imwrite(str(folder / f"new{k}.png"), texture(900 + k))
    found = dedupe(str(folder), seeds=root, models=FAKE)
    memorised = {p.one: p for p in found.pairs if p.code == "memorised"}
    assert {n: p.other for n, p in memorised.items()} == {
        f"{n}.png": f"train/64/t{k:02d}.png" for n, k in copies.items()
    }
    assert memorised["mirror.png"].mirrored
    assert len(found.nearest) == 10
    facts = found.facts["memorisation"]
    assert (facts["pictures"], facts["memorised"], facts["strangers"]["passed"]) == (23, 4, 0)
    assert facts["threshold_from"] == "copies and strangers"
    written = write_report(found, tmp_path / "report")
    assert Counter(p.suffix for p in written) == {".parquet": 2, ".json": 1, ".html": 1}
    assert pq.read_table(tmp_path / "report/nearest.parquet").num_rows == 10
    assert json.loads(written[0].read_text())["memorisation"]["roc"]
    page = (tmp_path / "report/dedupe.html").read_text()
    assert '<td class="number">10</td>' in page
    assert "built-in" not in page


def test_unreadable_items_are_findings(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    cv2.imwrite(str(folder / "good.png"), texture(1))
    (folder / "bad.png").write_bytes(b"no picture")
    found = dedupe(str(folder), models=FAKE)
    assert [(f.path, f.code) for f in found.findings] == [("bad.png", "unreadable")]
    assert found.facts["read"] == {"clips": 0, "stills": 2, "frames": 1, "faces": 1}


@pytest.mark.parametrize("damage", [lambda shard: shard.unlink(), lambda shard: shard.write_bytes(b"PAR1 no more")])
def test_a_shard_that_is_broken_or_gone_is_named(
    oval_release: Path, copied: Callable[[Path], Path], damage: Callable[[Path], object]
) -> None:
    root = copied(oval_release)
    damage(next((root / "data/video").glob("*")))
    with pytest.raises(DamagedInputError, match=r"data/video/.*does not read .*type: thermvision verify"):
        dedupe(str(root), models=FAKE)


def test_labels_give_the_points_of_a_frame() -> None:
    asked: list[np.ndarray | None] = []

    def find(gray: np.ndarray, box: np.ndarray | None) -> np.ndarray | None:
        asked.append(box)
        return None

    gray = texture(1)
    points = points_of(gray).tolist()
    row = {"clip_id": "c", "bbox": [[1, 2, 3, 4], None], "landmarks": [points, None]}
    assert faces.face_points(gray, row, 0, find) is not None
    assert faces.face_points(gray, row, 1, find) is None
    assert faces.face_points(gray, {"image_id": "a", "bbox": [1, 2, 3, 4], "landmarks": None}, 0, find) is None
    assert [None if b is None else b.tolist() for b in asked] == [None, [1, 2, 3, 4]]


def test_the_command(
    planted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
    imported_release: Path,
) -> None:  # fmt: skip
    from thermvision.curation.duplicates import dedupe as module

    monkeypatch.setattr(module, "dedupe", partial(dedupe, models=FAKE))
    arguments = ["dedupe", str(planted), "--out", str(tmp_path / "out"), "--quiet"]
    assert thermvision_db.main(arguments) == 1
    said = capsys.readouterr()
    assert "next: look at" in said.out
    assert "pairs in" in said.err
    assert thermvision_db.main([*arguments, "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["across_splits"] == 7
    assert thermvision_db.main(["dedupe", str(imported_release), "--quiet"]) == 0
    assert "next: thermvision stats" in capsys.readouterr().out
    assert thermvision_db.main(["dedupe", str(tmp_path / "nowhere")]) == 2


def noisy(gray: np.ndarray, seed: int) -> np.ndarray:
    """The picture with noise of eight gray levels."""
    return ALTERED["noise"](gray, np.random.default_rng(seed))


def stills_of(folder: Path, pictures: dict[str, np.ndarray]) -> str:
    """A folder of PNG files."""
    folder.mkdir()
    for name, gray in pictures.items():
        cv2.imwrite(str(folder / f"{name}.png"), gray)
    return str(folder)


def test_of_equal_pictures_each_is_told_once_and_as_equal(tmp_path: Path) -> None:
    source = stills_of(tmp_path / "in", {"a": texture(1), "b": texture(1), "c": texture(1), "z": texture(2)})
    found = [(p.code, p.one, p.other) for p in dedupe(source, models=FAKE).pairs]
    assert found == [("exact-duplicate", "a.png", "b.png"), ("exact-duplicate", "a.png", "c.png")]
    other = stills_of(tmp_path / "there", {"x": texture(1), "y": texture(1)})
    crossed = [(p.code, p.one, p.other) for p in dedupe(source, against=other, models=FAKE).pairs]
    pairs = [("a.png", "x.png"), ("a.png", "y.png"), ("b.png", "x.png"), ("c.png", "x.png")]
    assert crossed == [("exact-duplicate", *pair) for pair in pairs]


def test_copies_on_one_side_do_not_hide_those_on_the_other(tmp_path: Path) -> None:
    here = stills_of(tmp_path / "here", {f"h{k}": noisy(texture(1), k) for k in range(10)})
    there = stills_of(tmp_path / "there", {"t": texture(1), "u": texture(2)})
    found = dedupe(here, against=there, models=FAKE)
    assert {(p.one, p.other) for p in found.pairs} == {(f"h{k}.png", "t.png") for k in range(10)}


def clips_of(*hashes: np.ndarray) -> Described:
    """Clips of such hashes (T, 32)."""
    starts = np.cumsum([0, *(len(h) for h in hashes)])
    return Described(
        items=[f"c{k}" for k in range(len(hashes))], is_video=np.ones(len(hashes), bool), starts=starts,
        digests=np.arange(starts[-1], dtype=np.uint64), hashes=np.concatenate(hashes),
    )  # fmt: skip


@pytest.mark.parametrize("border", [None, 20])
def test_the_graph_proposes_the_clips_that_share_frames(border: int | None) -> None:
    rng = np.random.default_rng(3)
    clips = []
    for _ in range(30):  # frames drift by two bits each, a few lie still
        steps = np.zeros((60, 256), bool)
        for step in steps[1:48]:
            step[rng.integers(0, 256, 2)] = True
        clips.append(np.packbits(np.logical_xor.accumulate(steps) ^ (rng.random(256) < 0.5), axis=1))

    def again(hashes: np.ndarray) -> np.ndarray:
        return hashes ^ np.packbits(rng.random((len(hashes), 256)) < 0.05, axis=1)

    copies = [again(clips[3]), mirrored_hash(again(clips[7]))[9:45], again(clips[11])[30:]]
    described = clips_of(*clips[:20], *copies, *clips[20:], clips[5])
    exact, graph = (list(overlaps(described, SAME_FRAME_BITS, border, exact=e)) for e in (True, False))
    assert graph == exact
    assert [(o.one, o.other) for o in exact] == [(3, 20), (5, 33), (7, 21), (11, 22)]
    assert [o.mirrored for o in exact] == [False, False, True, False]
