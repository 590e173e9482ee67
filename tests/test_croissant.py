"""`croissant.json`: valid for mlcroissant, which reads from it the rows of the release and nothing else."""

from __future__ import annotations

import json
import logging
import math
import os
import re
from collections.abc import Callable
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest
from conftest import ZEROS, face_annotation, finish_release, oval_face
from PIL import Image

from thermvision.annotations import schema
from thermvision.annotations.errors import DamagedInputError, UsageError
from thermvision.annotations.schema import CONFIGS, features
from thermvision.curation.contents import seal
from thermvision.curation.pack import write_shard
from thermvision.curation.release import LICENCES, Manifest, read_release, write_release
from thermvision.curation.verify import verify_release
from thermvision.dataset_card import croissant
from thermvision.dataset_card.card import card_text
from thermvision.dataset_card.commands import finish
from thermvision.dataset_card.croissant import write_croissant
from thermvision.dataset_card.responsible import responsible

pytestmark = [
    pytest.mark.filterwarnings("ignore:ConjunctiveGraph is deprecated:DeprecationWarning"),  # rdflib, of itself
    pytest.mark.filterwarnings("ignore:The inplace keyword in DataFrame.reset_index"),  # mlcroissant, to pandas
]
ROWS = {"video": 4, "image": 10, "frontal_pose": 4, "beard": 2, "head_poses": 4, "frames": 58, "radiometric": 2}
UNDATED = 'Property "https://schema.org/datePublished" is recommended, but does not exist.'


def scene_row(image_id: str, subjects: list[str]) -> dict[str, Any]:
    """A row of the config `scenes` with every subject in it."""
    faces = [schema.frame_columns(face_annotation(64, 0.01 * k, known=True)) for k in range(len(subjects))]
    names = [n for n in schema.FRAME_COLUMNS if n not in ("face_count", "extra_bboxes")]
    return {
        "image": {"bytes": cv2.imencode(".png", oval_face(64)[0])[1].tobytes(), "path": "s.png"},
        "image_id": image_id,
        "width": 64,
        "height": 64,
        "face_count": len(subjects),
        "faces": {
            "subject_id": subjects,
            "identity": list(range(len(subjects))),
            "gender": [k % 2 for k in range(len(subjects))],
            **{name: [face[name] for face in faces] for name in names},
        },
        "annotation_source": "ground_truth",
        "provenance": "{}",
    }


@pytest.fixture(scope="module")
def whole(oval_release: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished release with every kind of config, `scenes` among them."""
    import shutil

    root = shutil.copytree(oval_release, tmp_path_factory.mktemp("whole") / "a release")
    before = read_release(root)
    subjects = before.subject_ids
    rows = [scene_row("scene_0", subjects), scene_row("scene_1", subjects[:1])]
    shards = [*before.shards, write_shard(root, "scenes", "test", "1.0", 0, rows, subjects, ZEROS)]
    more = {"recipes": before.recipes, "engines": {"phantom@1": {}}, "software": {"av": "18"}}
    finish_release(root, "build", subjects, shards, **more)
    write_croissant(root)
    return root


def load(path: Path) -> Any:
    import mlcroissant

    return mlcroissant.Dataset(str(path / "croissant.json"))


def issues(dataset: Any) -> list[str]:
    found = dataset.metadata.ctx.issues
    assert not found.errors
    return sorted(found.warnings)


def document(root: Path) -> dict[str, Any]:
    read: dict[str, Any] = json.loads((root / "croissant.json").read_text(encoding="utf-8"))
    return read


def decoded(data: bytes) -> Any:
    return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)


def of_row(value: Any) -> Any:
    """A value of a shard with its pictures decoded and its text as bytes, as mlcroissant gives them."""
    if isinstance(value, dict) and set(value) == {"bytes", "path"}:
        return value["bytes"] if value["path"].endswith(".mp4") else decoded(value["bytes"])
    if isinstance(value, dict):
        return {k: of_row(v) for k, v in value.items()}
    if isinstance(value, list):  # pandas has NaN for the nulls of a list
        return [math.nan if v is None else of_row(v) for v in value]
    return value.encode() if isinstance(value, str) else value


def of_record(value: Any, name: str = "") -> Any:
    if isinstance(value, Image.Image):
        return np.asarray(value)
    if isinstance(value, dict):
        return {k.removeprefix(f"{name}/"): of_record(v) for k, v in value.items()}
    return [of_record(v) for v in value] if isinstance(value, list) else value


def assert_rows_are_those_of(root: Path, config: str, records: list[dict[str, Any]]) -> None:
    """Every column of every row, and the split, under the ids of the record set."""
    key = croissant.KEYS.get(config, ("image_id",))[0]
    rows = {}
    for shard in read_release(root).shards_of(config):
        for row in pq.read_table(root / shard.path, partitioning=None).to_pylist():
            rows[row[key], str(row.get("frame_index"))] = {"split": shard.split, **row}
    assert len(records) == len(rows)
    for record in records:
        plain = {k.removeprefix(f"{config}/"): of_record(v, k) for k, v in record.items()}
        row = rows.pop((plain[key].decode(), str(plain.get("frame_index"))))
        assert set(plain) == set(row)
        np.testing.assert_equal(plain, {k: of_row(v) for k, v in row.items()})


def test_it_is_valid_for_every_config(whole: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        dataset = load(whole)
    (warning,) = issues(dataset)  # a release does not know when it will be published
    assert UNDATED in warning
    assert all(UNDATED in record.getMessage() for record in caplog.records)
    assert dataset.metadata.ctx.is_v1_1()
    manifest = read_release(whole)
    assert set(manifest.configs) == {*ROWS, "scenes"}
    sets = {r.id: r for r in dataset.metadata.record_sets}
    for config in manifest.configs:
        fields = [f.id.removeprefix(f"{config}/") for f in sets[config].fields]
        assert fields == ["split", *features(config, manifest.subject_ids)]
    faces = next(f for f in sets["scenes"].fields if f.id == "scenes/faces")
    assert [f.id.rsplit("/", 1)[1] for f in faces.sub_fields] == list(features("scenes", ["a"])["faces"])


@pytest.mark.parametrize("config", [*ROWS, "scenes"])
def test_records_are_the_rows_of_the_release(whole: Path, config: str, caplog: pytest.LogCaptureFixture) -> None:
    dataset = load(whole)
    caplog.clear()
    records = list(dataset.records(config))
    assert not caplog.records  # nothing that mlcroissant could not match
    assert len(records) == {**ROWS, "scenes": 2}[config]
    assert_rows_are_those_of(whole, config, records)


def test_a_split_is_read_alone(whole: Path) -> None:
    records = list(load(whole).records("video", filters={"video/split": "test"}))
    assert [r["video/clip_id"] for r in records] == [b"P_000001_S1", b"P_000001_S2"]
    assert {r["video/split"] for r in records} == {b"test"}
    stills = list(load(whole).records("image", filters={"image/split": "train"}))
    assert len(stills) == 4
    assert all(r["image/subject_id"] == b"P_000000" for r in stills)


def test_arrays_have_the_shapes_that_are_told(whole: Path) -> None:
    fields = {f["@id"]: f for s in document(whole)["recordSet"] for f in s["field"]}
    dataset = load(whole)
    for config in ("video", "beard", "radiometric"):
        record = next(iter(dataset.records(config)))
        for name, value in record.items():
            told = fields[name].get("arrayShape")
            if name.endswith("extra_bboxes"):  # there are none
                assert told == ("-1,4" if config == "beard" else "-1,-1,4")
                continue
            if value is None or not told or isinstance(value[0], Image.Image):
                continue
            shape = np.shape(value)
            assert len(shape) == told.count(",") + 1, name
            assert all(a in (-1, b) for a, b in zip(map(int, told.split(",")), shape, strict=True)), name
    assert fields["video/landmarks"]["arrayShape"] == "-1,68,2"
    assert "isArray" not in fields["video/fps"]


def test_keys_are_unique_and_classes_have_their_names(whole: Path) -> None:
    sets, dataset = {s["@id"]: s for s in document(whole)["recordSet"]}, load(whole)
    for config in ("video", "image", "frames", "radiometric", "scenes"):
        keys = sets[config]["key"]
        keys = [k["@id"] for k in (keys if isinstance(keys, list) else [keys])]
        values = [tuple(r[k] for k in keys) for r in dataset.records(config)]
        assert len(set(values)) == len(values) > 0
    names = {r["gender_names/number"]: r["gender_names/name"] for r in dataset.records("gender_names")}
    assert names == {0: "female", 1: "male"}
    assert [d["identity_names/name"] for d in sets["identity_names"]["data"]] == ["P_000000", "P_000001"]
    assert [d["splits/name"] for d in sets["splits"]["data"]] == ["train", "test"]
    labelled = {f["name"] for s in sets.values() for f in s["field"] if "cr:Label" in f.get("dataType", ())}
    assert {f"{name}_names" for name in labelled} <= set(sets)
    assert {"identity", "expression", "beard"} <= labelled


def test_file_sets_take_every_shard_once(whole: Path) -> None:
    manifest = read_release(whole)
    files = [str(p.relative_to(whole)) for p in sorted(whole.rglob("*")) if p.is_file()]
    sets = {d["@id"]: d for d in document(whole)["distribution"]}
    for config in manifest.configs:
        taken = [f for f in files if any(fnmatchcase(f, p) for p in sets[f"{config}-files"]["includes"])]
        assert taken == sorted(s.path for s in manifest.shards_of(config))
    assert sets["recipe-1"]["contentUrl"] == "recipes/1.0.toml"
    assert sets["recipe-1"]["sha256"] == ZEROS


def test_it_loads_from_a_copy_of_the_hub(whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A snapshot of `huggingface_hub` is a folder of links to files with other names."""
    blobs, snapshot = tmp_path / "blobs", tmp_path / "snapshots" / "0123"
    blobs.mkdir()
    for number, path in enumerate(p for p in sorted(whole.rglob("*")) if p.is_file()):
        (blobs / str(number)).write_bytes(path.read_bytes())
        link = snapshot / path.relative_to(whole)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(os.path.relpath(blobs / str(number), link.parent))
    assert_rows_are_those_of(whole, "beard", list(load(snapshot).records("beard")))
    monkeypatch.chdir(snapshot)
    assert len(list(load(Path()).records("video"))) == 4


def test_the_same_release_gives_the_same_bytes(whole: Path) -> None:
    first = (whole / "croissant.json").read_bytes()
    os.utime(whole / "release.json", (1, 1))
    assert write_croissant(whole).read_bytes() == first
    assert first.endswith(b"}\n")
    assert b"\r" not in first
    lines = first.decode().splitlines()
    assert max(len(line) for line in lines if '"cr:Field"' in line) < 600
    assert str(whole) not in first.decode()


def test_an_import_claims_nothing_it_does_not_know(
    imported_release: Path, copied: Callable[[Path], Path], caplog: pytest.LogCaptureFixture
) -> None:
    root = copied(imported_release)
    write_croissant(root)
    dataset = load(root)
    assert len(issues(dataset)) == 1
    for config, number in (("video", 1), ("frames", 5)):
        records = list(dataset.records(config))
        assert len(records) == number
        assert_rows_are_those_of(root, config, records)
        boxes = [r[f"{config}/bbox"] for r in records]
    assert all(math.isnan(v) for v in boxes[1])  # of frames
    found = document(root)
    assert {s["@id"] for s in found["recordSet"] if not s["@id"].endswith("_names")} == {"splits", "video", "frames"}
    assert found["isBasedOn"] == found["license"] == "https://huggingface.co/datasets/MAli-Farooq/ThermVision-DB"
    assert found["rai:machineAnnotationTools"] == ["published labels"]
    assert found["rai:dataAnnotationProtocol"] == "5 frames: published labels"
    assert found["rai:dataUseCases"] == [
        "Training and testing of methods for face detection",
        "Licence: research and non-commercial use, as the published dataset (thermvision-db: thermvision-db-research)",
    ]
    assert found["rai:personalSensitiveInformation"] == ["Gender: as the published archives name their subjects"]
    said = json.dumps({k: v for k, v in found.items() if k.startswith("rai:")})
    for word in ("phantom", "recipe", "not recorded", "ground truth", "parameter", "head pose", "radiometric)"):
        assert word not in said


def test_facts_of_a_build(whole: Path) -> None:
    found = document(whole)
    assert found["rai:dataCollection"] == (
        "Made by software from recipes; engines: phantom@1; recipes: recipes/1.0.toml; packages: av 18;"
        " release.json has the digests"
    )
    assert found["rai:dataAnnotationProtocol"] == "58 frames: ground truth, known from the making"
    assert found["rai:dataBiases"] == ["2 subjects: 1 female, 1 male"]
    assert len(found["rai:personalSensitiveInformation"]) == 2
    assert "radiometric has 2 of 14 items" in found["rai:dataLimitations"][0]
    assert found["rai:dataLimitations"][1:] == [
        "Made by software, not recorded with a camera",
        "No identity is in validation",
    ]
    assert "rai:machineAnnotationTools" not in found
    assert "isBasedOn" not in found
    assert "datePublished" not in found
    assert found["license"] == "https://creativecommons.org/licenses/by/4.0/"
    assert found["version"] == "1.0"
    assert found["citeAs"] in card_text(whole, read_release(whole))
    assert [c["name"] for c in found["creator"]] == list(croissant.AUTHORS)


def test_every_licence_has_its_page() -> None:
    assert set(croissant.LICENCE_PAGES) == set(LICENCES)


def changed(root: Path, **more: Any) -> Manifest:
    return read_release(root).model_copy(update=more)


def test_other_engines_and_licences_say_no_more_than_is_known(whole: Path) -> None:
    flux = {"engines": {"flux@1": {"a": ZEROS}}, "licences": {"flux@1": "flux-1-dev-non-commercial-license"}}
    found = responsible(whole, changed(whole, **flux))
    assert len(found["rai:personalSensitiveInformation"]) == 1  # whose pictures taught it is not known
    assert "engines: flux@1 (1 model files)" in found["rai:dataCollection"]
    assert found["rai:dataUseCases"][-1] == (
        "Licence: FLUX.1-dev non-commercial terms (flux@1: flux-1-dev-non-commercial-license)"
    )
    assert croissant.croissant(whole, changed(whole, **flux))["license"].endswith("FLUX.1-dev/blob/main/LICENSE.md")
    moved = responsible(whole, changed(whole, engines={"phantom@1": {}, "liveportrait@1": {}}))
    assert "camera" not in " ".join(moved["rai:dataLimitations"])
    mixed = {**flux, "engines": {**flux["engines"], "phantom@1": {}}}
    assert len(responsible(whole, changed(whole, **mixed))["rai:personalSensitiveInformation"]) == 1


def test_what_is_missing_is_told(whole: Path) -> None:
    failed = [{"item_id": "a", "code": "no-face", "reason": "x"}, {"item_id": "b", "code": "no-face", "reason": "y"}]
    manifest = Manifest.model_validate({**changed(whole).model_dump(), "failed": failed, "passed_over": ["P: why"]})
    told = responsible(whole, manifest, ["jewellery"])["rai:dataCollectionMissingData"]
    assert told == (
        "What the source does not know is null; Columns that shards of older engines lack: jewellery; 2 items could not"
        " be made: no-face 2; 1 subjects were passed over; release.json says why"
    )
    extended = responsible(whole, changed(whole, version="1.1", parent="1.0"))["rai:dataReleaseMaintenancePlan"]
    assert extended.startswith("Version 1.1, made from 1.0;")


def test_labels_of_models_and_people(imported_release: Path, copied: Callable[[Path], Path]) -> None:
    root = copied(imported_release)
    (shard,) = read_release(root).shards_of("frames")
    table = pq.read_table(root / shard.path, partitioning=None)
    sources = ["net@1", "net@1; bbox by Zoe", "ground_truth", None, "net@1"]
    index = table.column_names.index("annotation_source")
    pq.write_table(table.set_column(index, "annotation_source", [sources]), root / shard.path)
    found = responsible(root, read_release(root))
    assert found["rai:dataAnnotationProtocol"] == (
        "3 frames: net@1; 1 frames: ground truth, known from the making; 1 frames have labels set by a person"
    )
    assert found["rai:machineAnnotationTools"] == ["net@1"]
    assert "Zoe" not in json.dumps(found)


def test_a_column_that_an_older_shard_lacks_is_left_out(whole: Path, copied: Callable[[Path], Path]) -> None:
    root = copied(whole)
    shard = read_release(root).shards_of("frames", "test")[0]
    table = pq.read_table(root / shard.path, partitioning=None)
    pq.write_table(table.drop_columns(["jewellery"]), root / shard.path)
    write_croissant(root)
    fields = {f["@id"] for s in document(root)["recordSet"] for f in s["field"]}
    assert "frames/jewellery" not in fields
    assert {"video/jewellery", "frames/headwear"} <= fields
    assert document(root)["rai:dataCollectionMissingData"].endswith("older engines lack: jewellery")
    assert len(list(load(root).records("frames"))) == 58


def test_many_identities_are_named_by_their_table(whole: Path, copied: Callable[[Path], Path]) -> None:
    root = copied(whole)
    people = [{"subject_id": f"P_{n:06d}", "gender": "female", "split": "train"} for n in range(1001)]
    shards = []
    for shard in read_release(root).shards_of("radiometric"):
        rows = pq.read_table(root / shard.path, partitioning=None).to_pylist()
        names = [p["subject_id"] for p in people]
        shards.append(write_shard(root, "radiometric", shard.split, "2.0", 0, rows, names, ZEROS))
    write_release(root, Manifest.model_validate({**changed(root).model_dump(), "identities": people, "shards": shards}))
    write_croissant(root)
    dataset = load(root)
    assert len(issues(dataset)) == 1
    names = [r["identity_names/name"] for r in dataset.records("identity_names")]
    assert names == [p["subject_id"].encode() for p in people]
    (field,) = [f for s in document(root)["recordSet"] for f in s["field"] if f["@id"] == "radiometric/identity"]
    assert field["dataType"] == "sc:Integer"
    assert (root / "croissant.json").stat().st_size < 40_000


def test_its_size_does_not_grow_with_shards_or_rows(whole: Path) -> None:
    manifest = changed(whole)
    (shard,) = manifest.shards_of("video", "train")
    many = [*manifest.shards, *[shard] * 2000]
    size = [
        len(croissant.croissant_text(croissant.croissant(whole, m)))
        for m in (manifest, manifest.model_copy(update={"shards": tuple(many)}))
    ]
    assert size[1] - size[0] < 20


def test_finish_seals_it_and_verify_finds_changes(oval_release: Path, copied: Callable[[Path], Path]) -> None:
    root = copied(oval_release)
    (root / "recipes" / "1.0.toml").unlink()
    write_release(root, changed(root, recipes={}))
    finish(root)
    manifest = read_release(root)
    assert "croissant.json" in manifest.files
    assert not verify_release(root)
    text = (root / "croissant.json").read_text(encoding="utf-8")
    (root / "croissant.json").write_text(text.replace("Ovals", "Circles"), encoding="utf-8")
    assert verify_release(root)
    assert seal(root).files != manifest.files
    write_croissant(root)
    assert seal(root).files == manifest.files


def test_what_cannot_be_described(tmp_path: Path, whole: Path, copied: Callable[[Path], Path]) -> None:
    with pytest.raises(UsageError, match=r"no release"):
        write_croissant(tmp_path)
    root = copied(whole)
    shard = read_release(root).shards_of("video")[0]
    (root / shard.path).write_bytes(b"PAR1")
    with pytest.raises(DamagedInputError, match=r"thermvision verify"):
        write_croissant(root)


def test_a_name_with_quotes_and_markup_stays_text(whole: Path) -> None:
    name = 'A "name"</script>\n\u2028{"@id": "x"}'
    text = croissant.croissant_text(croissant.croissant(whole, changed(whole, name=name)))
    assert json.loads(text)["name"] == name


def test_the_page_holds(whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    """Its examples run in their order beside a release, and read what it says."""
    (tmp_path / "release").symlink_to(whole)
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    page = (Path(__file__).parents[1] / "docs" / "croissant.md").read_text(encoding="utf-8")
    for block in re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL):
        exec(block, names)
    printed = capsys.readouterr().out.splitlines()
    assert printed[0].startswith("P_000000_S1 ")
    assert printed[-1] == "female (64, 64)"
    assert len(printed) == 4
    assert [len(list(names["dataset"].records("beard"))) for _ in range(2)] == [2, 0]
    again = {"filters": {"video/split": "train"}}
    assert [len(list(names["dataset"].records("video", **again))) for _ in range(2)] == [2, 2]


def test_every_config_has_a_key() -> None:
    for config in CONFIGS:
        assert set(croissant.KEYS.get(config, ("image_id",))) <= set(features(config, ["a"]))
