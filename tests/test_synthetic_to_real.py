from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from thermvision.annotations.errors import DamagedInputError, MissingDependencyError, OutputError, UsageError
from thermvision.annotations.training import recognition
from thermvision.annotations.training.recognition import NETWORKS, Training, classify, make_network, train_classifier
from thermvision.curation.pack import complete
from thermvision.curation.protocols import synthetic_to_real
from thermvision.curation.protocols.labelled_faces import Faces, digest_of, face_crop, read_faces
from thermvision.curation.protocols.synthetic_to_real import Comparison, compare, deal, mixed
from thermvision.curation.release import read_release
from thermvision_db import main

TINY = Training(epochs=4, batch=8, size=32, width=0.25, rate=3e-3)
SIDE = TINY.size + TINY.size // recognition.MARGIN
pytestmark = pytest.mark.usefixtures("one_thread")


def portrait(gender: str, rng: np.random.Generator) -> np.ndarray:
    """A disc for one gender and a cross for the other, somewhere near the middle of (40, 40)."""
    picture = rng.normal(60, 6, (40, 40))
    x, y = (int(v) for v in rng.integers(17, 23, 2))
    if gender == "female":
        cv2.circle(picture, (x, y), 11, 200, -1)
    else:
        cv2.line(picture, (x - 12, y), (x + 12, y), 200, 3)
        cv2.line(picture, (x, y - 12), (x, y + 12), 200, 3)
    return np.clip(picture, 0, 255).astype(np.uint8)


def gallery(root: Path, seed: int, people: int = 4, each: int = 5) -> Path:
    rng = np.random.default_rng(seed)
    for gender in ("female", "male"):
        for person in range(people):
            folder = root / gender / f"{gender[0]}{person}"
            folder.mkdir(parents=True)
            for n in range(each):
                cv2.imwrite(str(folder / f"{n}.png"), portrait(gender, rng))
    return root


@pytest.fixture(scope="module")
def galleries(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    root = tmp_path_factory.mktemp("galleries")
    return gallery(root / "drawn", 1), gallery(root / "seen", 2)


def made(subjects: list[str], labels: list[int], splits: list[str] | None = None, seed: int = 0) -> Faces:
    crops = np.random.default_rng(seed).integers(0, 255, (len(labels), 8, 8)).astype(np.uint8)
    names = tuple(f"{s}-{n}" for n, s in enumerate(subjects))
    split = tuple(splits or [""] * len(labels))
    return Faces("made", ("female", "male"), crops, np.array(labels), tuple(subjects), split, names)


@given(
    st.tuples(st.integers(4, 60), st.integers(4, 60)),
    st.none() | st.tuples(st.floats(-50, 80), st.floats(-50, 80), st.floats(0.1, 90), st.floats(0.1, 90)),
)
def test_a_crop_has_its_size_wherever_the_box_is(shape: tuple[int, int], box: Any) -> None:
    gray = np.random.default_rng(0).integers(0, 255, shape).astype(np.uint8)
    crop = face_crop(gray, box, 12)
    assert (crop.shape, crop.dtype) == ((12, 12), np.uint8)


def test_a_crop_is_centred_on_its_box_and_stretched() -> None:
    gray = np.full((100, 100), 90, np.uint8)
    gray[30:70, 50:70] = 110  # a face of 20 x 40 pixels: the crop reaches 25 pixels from its centre (60, 50)
    crop = face_crop(gray, [50, 30, 20, 40], 50)
    assert (crop.min(), crop.max()) == (0, 255)
    rows, columns = np.nonzero(crop > 128)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (5, 44, 15, 34)
    assert not face_crop(np.full((9, 9), 7, np.uint8), None, 5).any()  # nothing to stretch


def test_faces_of_a_release(oval_release: Path) -> None:
    faces = read_faces(oval_release, side=16, per_subject=6)
    assert faces.classes == ("female", "male")
    assert faces.crops.shape == (len(faces), 16, 16)
    counts = {s: faces.subjects.count(s) for s in ("P_000000", "P_000001")}
    assert counts == {"P_000000": 6, "P_000001": 6}
    assert dict(zip(faces.subjects, faces.labels.tolist(), strict=True)) == {"P_000000": 0, "P_000001": 1}
    assert dict(zip(faces.subjects, faces.splits, strict=True)) == {"P_000000": "train", "P_000001": "test"}
    assert sum("frontal_pose" in n or "beard" in n or "head_poses" in n for n in faces.names) == 6  # half are stills
    beards = read_faces(oval_release, label="beard", side=16, per_subject=60)
    assert {n for n, k in zip(beards.names, beards.labels, strict=True) if beards.classes[k] == "full"} == {
        "P_000001_beard_0",
        "P_000001_beard_1",
    }
    assert {f.code for f in beards.findings} == {"no-label"}  # clips of the fixture state no attribute


def test_frames_without_a_face_are_left_out(imported_release: Path) -> None:
    faces = read_faces(imported_release, side=16, per_subject=60)
    assert [n.split(":")[1] for n in faces.names] == ["0", "2", "3", "4"]
    assert [(f.path, f.code) for f in faces.findings] == [("F_01_S1:1", "no-face")]


def test_an_item_that_is_not_readable_is_a_finding(oval_release: Path, copied: Callable[[Path], Path]) -> None:
    root = copied(oval_release)
    shard = next(s for s in read_release(root).shards_of("frontal_pose"))
    table = pq.read_table(root / shard.path)
    rows = table.to_pylist()
    rows[0]["image"]["bytes"] = b"no picture"
    pq.write_table(complete(pa.Table.from_pylist(rows, schema=table.schema), table.schema), root / shard.path)
    faces = read_faces(root, side=16, per_subject=60)
    assert [(f.path, f.code) for f in faces.findings] == [(rows[0]["image_id"], "unreadable")]


def test_faces_of_folders(galleries: tuple[Path, Path], tmp_path: Path) -> None:
    faces = read_faces(galleries[0], side=20, per_subject=3)
    assert len(faces) == 8 * 3
    assert set(faces.subjects) == {f"{g}{n}" for g in "fm" for n in range(4)}
    assert all(name.startswith(("female/f", "male/m")) for name in faces.names)
    flat = tmp_path / "flat"
    for n, gender in enumerate(("female", "male")):
        (flat / gender).mkdir(parents=True)
        cv2.imwrite(str(flat / gender / f"ann{n}_1.png"), portrait(gender, np.random.default_rng(n)))
    (flat / "male/notes.txt").write_text("x")
    (flat / "male/ann1_2.png").write_bytes(b"no picture")
    with pytest.raises(UsageError, match=r"says nothing of who it is.*--subject-pattern"):
        read_faces(flat, side=20, per_subject=3)
    named = read_faces(flat, side=20, per_subject=3, subject_pattern="^([^_]+)_")
    assert named.subjects == ("ann0", "ann1")
    assert [(f.path, f.code) for f in named.findings] == [
        ("male/ann1_2.png", "unreadable"),
        ("male/notes.txt", "not-an-image"),
    ]
    for pattern, reason in (("(", "no regular expression"), ("_", "has 0 groups")):
        with pytest.raises(UsageError, match=reason):
            read_faces(flat, side=20, per_subject=3, subject_pattern=pattern)
    (flat / "women").mkdir()
    with pytest.raises(UsageError, match=r"folders women; allowed: one a gender: female, male"):
        read_faces(flat, side=20, per_subject=3)


def test_a_source_changes_with_its_labels(tmp_path: Path) -> None:
    picture = gallery(tmp_path, 0, people=1, each=1) / "female/f0/0.png"
    before = digest_of(tmp_path)
    assert digest_of(tmp_path) == before
    picture.rename(tmp_path / "male/m0/1.png")  # the same file, size and time, and another label
    assert digest_of(tmp_path) != before


def test_faces_of_a_csv(galleries: tuple[Path, Path], tmp_path: Path) -> None:
    table = galleries[0] / "faces.csv"

    def read(text: str) -> Faces:
        table.write_text(text)
        try:
            return read_faces(table, side=20, per_subject=9)
        finally:
            table.unlink()

    faces = read(
        "image,gender,subject,box,split\nfemale/f0/0.png,Female,A,5 5 30 30,train\nmale/m0/0.png,male,B,,test\n"
    )
    assert (faces.subjects, faces.splits, faces.labels.tolist()) == (("A", "B"), ("train", "test"), [0, 1])
    head = "image,gender,subject,box,split\n"
    for text, reason in (
        ("image,gender\n", "lacks subject"),
        (head + "a.png,lady,A,,\n", "line 2 has gender 'lady'"),
        (head + "a.png,male,,,\n", "subject ''"),
        (head + "a.png,male,A,1 2 3,\n", "four numbers"),
        (head + "a.png,male,A,1 2 0 4,\n", "four numbers"),
        (head + "a.png,male,A,,half\n", "split 'half'"),
        (head + "../../a.png,male,A,,\n", "allowed: a path below"),
        (head + "/etc/passwd,male,A,,\n", "allowed: a path below"),
        (head + "female/f0/0.png,female,A,,\nmale/m0/0.png,male,A,,\n", "two genders"),
        (head + "gone.png,male,A,,\n", "has no face"),
    ):
        with pytest.raises(UsageError, match=reason):
            read(text)
    table.write_bytes(b"image,gender,subject\n\xff,male,A\n")
    with pytest.raises(DamagedInputError, match="UTF-8"):
        read_faces(table, side=20, per_subject=9)
    table.unlink()
    with pytest.raises(UsageError, match="does not exist"):
        read_faces(tmp_path / "nowhere", side=20, per_subject=9)
    with pytest.raises(UsageError, match=r"label 'age' does not exist; allowed: gender"):
        read_faces(galleries[0], label="age", side=20, per_subject=9)


@given(st.lists(st.sampled_from([0, 1]), min_size=4, max_size=30), st.floats(0.1, 0.9), st.integers(0, 9))
def test_people_are_dealt_apart_and_class_by_class(genders: list[int], share: float, seed: int) -> None:
    subjects = [f"s{n}" for n in range(len(genders)) for _ in range(2)]
    labels = [g for g in genders for _ in range(2)]
    if all(genders.count(g) < 2 for g in set(genders)):
        return
    split = deal(made(subjects, labels), share, 1.0, seed)
    train, test = set(split.train.subjects), set(split.test.subjects)
    assert not train & test
    assert train | test == set(subjects)
    for gender in set(genders):
        count = genders.count(gender)
        tested = sum(genders[int(s[1:])] == gender for s in test)
        assert tested == min(max(round(count * share), 1), max(count - 1, 1))
    again = deal(made(subjects, labels), share, 1.0, seed)
    assert again.test.names == split.test.names


def test_a_deal_that_the_source_states() -> None:
    subjects, labels = list("aabbccdd"), [0, 0, 0, 0, 1, 1, 1, 1]
    stated = ["train", "train", "test", "test", "validation", "validation", "test", "test"]
    split = deal(made(subjects, labels, stated), 0.5, 1.0, 0)
    assert (set(split.train.subjects), set(split.test.subjects)) == (set("ac"), set("bd"))
    anew = {
        frozenset(deal(made(subjects, labels, stated), 0.5, 1.0, k, keep_splits=False).test.subjects) for k in range(9)
    }
    assert len(anew) > 1
    few = deal(made([*subjects, *"efgh"], [*labels, 0, 0, 1, 1]), 0.25, 0.5, 0)
    assert len(set(few.train.subjects)) == 4  # half of eight
    for wrong, reason in (
        (made(subjects, labels, ["train", "test", *stated[2:]]), "a of made is in train and test"),
        (made(subjects, labels, ["", "", *stated[2:]]), "some pictures only"),
        (made(list("aabb"), [0, 0, 1, 1]), "has 2 people"),
        (made(subjects, labels, ["train"] * 8), "0 to test on"),
    ):
        with pytest.raises(UsageError, match=reason):
            deal(wrong, 0.5, 1.0, 0)


def test_mixes_hold_what_they_say() -> None:
    drawn, real = made(["a"], [0]), made(["b", "c"], [0, 1], seed=1)
    for mix, domains, count in (
        ("pure", ["synthetic"], 1),
        ("hybrid", ["synthetic", "real"], 3),
        ("real", ["real"], 2),
    ):
        crops, labels, parts = mixed(mix, drawn, real)
        assert list(parts) == domains
        assert len(crops) == len(labels) == count


@pytest.mark.slow
@pytest.mark.parametrize("name", [n for n in NETWORKS if n != "resnet50"])  # which is resnet18, larger
def test_every_network_learns_a_disc_from_a_cross(name: str) -> None:
    rng = np.random.default_rng(3)
    genders = ["female", "male"] * 40
    crops = np.stack([face_crop(portrait(g, rng), None, SIDE) for g in genders])
    labels = np.array([0, 1] * 40)
    net = make_network(name, 2, TINY)
    assert (classify(net, crops[40:], TINY) == labels[40:]).mean() < 0.8  # it is not in the crops' brightness
    epochs = 10 if name == "mobilenetv2" else 6  # it learns slowest
    train_classifier(net, crops[:40], labels[:40], replace(TINY, epochs=epochs))
    assert (classify(net, crops[40:], TINY) == labels[40:]).mean() >= 0.8
    assert classify(net, crops[:0], TINY).shape == (0,)


def test_equal_seeds_give_equal_networks() -> None:
    rng = np.random.default_rng(3)
    crops, labels = rng.integers(0, 255, (16, SIDE, SIDE)).astype(np.uint8), np.arange(16) % 2
    short = Training(**{**vars(TINY), "epochs": 1})
    one, two = (train_classifier(make_network("resnet18", 2, short), crops, labels, short) for _ in range(2))
    assert all((a == b).all() for a, b in zip(one.state_dict().values(), two.state_dict().values(), strict=True))
    with pytest.raises(UsageError, match="too few"):
        train_classifier(one, crops[:1], labels[:1], short)


def test_pretrained_weights_of_a_folder(tmp_path: Path) -> None:
    import transformers

    config = transformers.ResNetConfig(
        num_labels=1000, embedding_size=8, hidden_sizes=[8, 8, 8, 8], depths=[1, 1, 1, 1], layer_type="basic"
    )
    saved = transformers.ResNetForImageClassification(config)
    saved.save_pretrained(tmp_path / "weights")
    full = Training(**{**vars(TINY), "width": 1.0})
    net = make_network("resnet18", 2, full, tmp_path / "weights")
    assert (
        net.inner.resnet.embedder.embedder.convolution.weight == saved.resnet.embedder.embedder.convolution.weight
    ).all()
    assert net.inner.classifier[1].out_features == 2
    with pytest.raises(UsageError, match="is a resnet; mobilenetv2 is a mobilenet_v2"):
        make_network("mobilenetv2", 2, full, tmp_path / "weights")
    with pytest.raises(UsageError, match="pretrained weights are of width 1"):
        make_network("resnet18", 2, TINY, tmp_path / "weights")
    with pytest.raises(MissingDependencyError, match="microsoft/resnet-50"):
        make_network("resnet18", 2, full, tmp_path)
    (tmp_path / "weights/model.safetensors").write_bytes(b"no weights")
    with pytest.raises(DamagedInputError, match="fetch the folder again"):
        make_network("resnet18", 2, full, tmp_path / "weights")
    with pytest.raises(UsageError, match="allowed: mobilenetv2"):
        make_network("vgg", 2, full)


@pytest.mark.slow
def test_the_whole_table_and_a_run_that_goes_on(
    galleries: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn, seen = galleries
    out, lines = tmp_path / "table.json", list[str]()
    chosen = Comparison(networks=("resnet18",), mixes=("pure", "hybrid", "real"), per_subject=5)
    table = compare([drawn], [seen], chosen, TINY, out=out, report=lines.append)
    assert lines[:2] == ["synthetic: 40 crops of 8 people", "seen: 20 crops of 4 people to train, 20 of 4 to test"]
    assert [(c.network, c.mix, c.real) for c in table.cells] == [("resnet18", m, "seen") for m in chosen.mixes]
    pure, hybrid, real = table.cells
    assert pure.train_images == {"synthetic": 40}
    assert hybrid.train_images == {"synthetic": 40, "real": 20}
    assert hybrid.train_subjects == {"synthetic": 8, "real": 4}
    assert real.train_images == {"real": 20}
    for cell in table.cells:
        assert (cell.test_images, cell.test_subjects, cell.majority) == (20, 4, 0.5)
        confusion = np.array(cell.confusion)
        assert confusion.sum() == 20
        assert cell.accuracy == np.trace(confusion) / 20 == cell.balanced_accuracy  # as many of one as of the other
        assert cell.accuracy_interval is not None
        assert cell.accuracy_interval[0] <= cell.accuracy <= cell.accuracy_interval[1]
    assert hybrid.accuracy > 0.8

    def no_training(*_: Any) -> Any:
        raise AssertionError("all is there")

    monkeypatch.setattr(recognition, "train_classifier", no_training)
    assert compare([drawn], [seen], chosen, TINY, out=out).cells == table.cells
    assert compare([drawn], [seen], replace(chosen, mixes=("real",)), TINY, out=out).cells == table.cells[2:]
    saved = json.loads(out.read_text())
    assert [c["mix"] for c in saved["cells"]] == list(chosen.mixes)  # what another run asked for is kept
    saved["cells"] = saved["cells"][:1]
    out.write_text(json.dumps(saved))
    with pytest.raises(AssertionError, match="all is there"):
        compare([drawn], [seen], chosen, TINY, out=out)
    with pytest.raises(UsageError, match="another comparison"):
        compare([drawn], [seen], Comparison(networks=("resnet18",), per_subject=4), TINY, out=out)
    for text in ("{", "[]", json.dumps({**saved, "cells": [{}]})):
        out.write_text(text)
        with pytest.raises(DamagedInputError, match="is no table of this command; choose another --out"):
            compare([drawn], [seen], chosen, TINY, out=out)


def test_what_cannot_be_compared(galleries: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn, seen = galleries
    with pytest.raises(UsageError, match=r"20 test pictures of seen are trained on too.*cannot be tested on itself"):
        compare([seen], [seen], Comparison(per_subject=5), TINY)
    with pytest.raises(UsageError, match="mix is both"):
        compare([drawn], [seen], Comparison(mixes=("both",)), TINY)
    with pytest.raises(UsageError, match="each by its own name"):
        compare([drawn], [seen, seen], Comparison(), TINY)
    women = read_faces(drawn, side=SIDE, per_subject=5).take(np.repeat([True, False], 20))
    with monkeypatch.context() as only:
        only.setattr(synthetic_to_real, "_together", lambda several: women)
        with pytest.raises(UsageError, match="trains on gender 'female' only"):
            compare([drawn], [seen], Comparison(per_subject=5), TINY)
    for wrong, reason in (
        (Comparison(test_share=1.0), "--test-share is 1; allowed: above 0 and below 1"),
        (Comparison(real_share=float("nan")), "--real-share is nan"),
        (Comparison(subject_pattern="("), "no regular expression"),
    ):
        with pytest.raises(UsageError, match=reason):
            compare([drawn], [seen], wrong, TINY)
    # what is missing is said before anything is read
    gone = tmp_path / "gone"
    with pytest.raises(UsageError, match="--device is 'abacus'"):
        compare([gone], [gone], Comparison(), replace(TINY, device="abacus"))
    with pytest.raises(MissingDependencyError, match=r"gone holds no config\.json"):
        compare([gone], [gone], Comparison(), replace(TINY, width=1.0), weights={"resnet50": gone})
    with pytest.raises(UsageError, match="is a folder; allowed: a JSON file"):
        compare([gone], [gone], Comparison(), TINY, out=tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError):  # and this before training
        compare([drawn], [seen], Comparison(networks=("vgg",)), TINY, out=tmp_path / "file" / "table.json")

    def missing() -> Any:
        raise MissingDependencyError("no torch")

    monkeypatch.setattr(synthetic_to_real, "_recognition", missing)
    with pytest.raises(MissingDependencyError):
        compare([drawn], [seen], Comparison(), TINY)


@pytest.mark.slow
def test_the_command(galleries: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    drawn, seen = (str(g) for g in galleries)
    short = ["--size", "32", "--width", "0.25", "--epochs", "1", "--per-subject", "2", "--quiet"]
    arguments = ["compare-training", drawn, "--real", seen, "--network", "resnet18", *short]
    assert main([*arguments, "--out", str(tmp_path / "t.json")]) == 0
    printed = capsys.readouterr().out
    assert "16 synthetic (8) + 8 real (4)" in printed
    assert f"next: the table is in {tmp_path / 't.json'}" in printed
    assert main([*arguments, "--out", str(tmp_path / "t.json"), "--plots", str(tmp_path)]) == 0
    again = capsys.readouterr().out  # of the file, whose keys are sorted
    assert "16 synthetic (8) + 8 real (4)" in again
    assert str(tmp_path / "comparison.png") in again
    drawn_plot = (tmp_path / "comparison.svg").read_text()
    assert all(text in drawn_plot for text in ("pure", "hybrid", "seen, 4 people", "resnet18"))
    assert main([*arguments, "--mix", "real", "--json"]) == 0
    assert [c["mix"] for c in json.loads(capsys.readouterr().out)["cells"]] == ["real"]
    for more, reason in (
        (["--network", "vgg"], "allowed: mobilenetv2"),
        (["--mix", "some"], "allowed: pure, hybrid, real"),
        (["--weights", "vgg=x"], "NETWORK=FOLDER"),
        (["--label", "age"], "allowed: gender"),
        (["--real-share", "0"], "--real-share"),
    ):
        assert main([*arguments, *more]) == 2
        assert reason in capsys.readouterr().err
