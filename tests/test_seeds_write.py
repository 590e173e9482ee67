"""Training sets on disk: pictures with captions, an index that tells where each is from, resuming, refusals."""

from __future__ import annotations

import json
import tomllib
from collections import Counter
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import seed_layouts
from seed_layouts import BOX, OneFace

import thermvision_db
from thermvision.annotations.errors import UsageError
from thermvision.annotations.faces import Detections
from thermvision.annotations.findings import count_codes
from thermvision.curation.store import sha256_file
from thermvision.curation.video import encode_gray
from thermvision.generation.flux_tables import LoraDataset
from thermvision.generation.seeds import normalise
from thermvision.generation.seeds.holdout import disjoint
from thermvision.generation.seeds.pictures import Reading
from thermvision.generation.seeds.sources import named
from thermvision.generation.seeds.write import Settings, Written, plan, write

SMALL = {"sizes": (256,)}


def made(root: Path, layout: str, out: Path, finder: Any = None, **options: Any) -> Written:
    settings = Settings(**{**SMALL, **options})
    finder = finder or OneFace()
    return write(plan(root, named(layout), settings), out, settings, lambda: finder)


def tree(out: Path) -> dict[str, bytes]:
    return {p.relative_to(out).as_posix(): p.read_bytes() for p in sorted(out.rglob("*")) if p.is_file()}


def test_every_picture_has_its_caption_and_its_row(tmp_path: Path) -> None:
    written = made(seed_layouts.tufts(tmp_path / "in"), "tufts", tmp_path / "out", sizes=(256, 320))
    index = json.loads((tmp_path / "out" / "index.json").read_text())
    rows = index["pictures"]
    assert rows == list(written.rows)
    assert len(rows) == 12 * 2
    assert Counter(r["file"].rsplit("/", 1)[0] for r in rows) == {
        "train/256": 8, "train/320": 8, "holdout/256": 4, "holdout/320": 4,
    }  # fmt: skip
    on_disk = {p.relative_to(tmp_path / "out").as_posix() for p in (tmp_path / "out").rglob("*.png")}
    assert on_disk == {r["file"] for r in rows}
    assert disjoint(rows)
    for row in rows:
        picture = cv2.imread(str(tmp_path / "out" / row["file"]), cv2.IMREAD_UNCHANGED)
        assert picture.dtype == np.uint8
        assert list(picture.shape[::-1]) == row["size"]
        assert (tmp_path / "out" / row["file"]).with_suffix(".txt").read_text() == row["caption"] + "\n"
        assert row["licence"] == named("tufts").licence
        assert row["source"]["path"].startswith("TD_IR_")
        source = tmp_path / "in" / row["source"]["path"]
        assert row["source"]["sha256"] == sha256_file(source)
        assert row["found_by"] == "label"
        assert row["face"] == list(BOX)
        assert row["window"] == [20, 0, 120, 120]
    captions = {Path(r["source"]["path"]).stem: r["caption"] for r in rows}
    assert captions["TD_IR_E_5"].endswith("of a person, facing the camera, wearing sunglasses, grayscale, white-hot")


def test_faces_have_one_gray_value_in_all_layouts(tmp_path: Path) -> None:
    levels = {}
    for layout in ("tufts", "carl", "charlotte", "sf-tl54", "tfw"):
        root = getattr(seed_layouts, layout.replace("-", ""))(tmp_path / layout)
        written = made(root, layout, tmp_path / f"out-{layout}")
        for row in written.rows:
            picture = cv2.imread(str(tmp_path / f"out-{layout}" / row["file"]), cv2.IMREAD_UNCHANGED)
            scale = row["size"][0] / row["window"][2]
            x, y, w, h = row["face"]
            face = ((x - row["window"][0]) * scale, (y - row["window"][1]) * scale, w * scale, h * scale)
            levels[layout, row["file"]] = float(np.median(normalise.middle(picture, face))) / 255
    assert {layout for layout, _ in levels} == {"tufts", "carl", "charlotte", "sf-tl54", "tfw"}
    assert list(levels.values()) == pytest.approx([normalise.SKIN_LEVEL] * len(levels), abs=0.03)


def test_temperatures_are_used_where_the_picture_has_them(tmp_path: Path) -> None:
    finder = OneFace()
    written = made(seed_layouts.charlotte(tmp_path / "in"), "charlotte", tmp_path / "out", finder)
    assert finder.asked == 4
    assert {r["found_by"] for r in written.rows} == {"one-face@1"}
    for row in written.rows:
        assert row["read_as"]["units"] == "centikelvin (stated)"
        assert row["read_as"]["temperature"] == "of the picture"
        assert row["normalised"]["skin"] == pytest.approx(34.0, abs=0.3)
        assert row["facts"]["AirTemp"] == "21.5"
        assert "head turned to the right" in row["caption"]
    assert count_codes(written.findings) == {"missing-picture": 2}
    assert len(written.left_out) == 2


def test_unreliable_labels_are_used_where_the_detector_sees_nothing(tmp_path: Path) -> None:
    root = seed_layouts.charlotte(tmp_path / "in")
    written = made(root, "charlotte", tmp_path / "out", OneFace(None))
    assert {r["found_by"] for r in written.rows} == {"label"}
    only = made(root, "charlotte", tmp_path / "two", OneFace(None), reading=Reading(faces="detector"))
    assert not only.rows
    assert count_codes(only.findings)["no-face"] == 4


def test_labels_take_the_pose_of_the_face_that_lies_on_them(tmp_path: Path) -> None:
    root = seed_layouts.sftl54(tmp_path / "in")
    assert all("turned to the right" in r["caption"] for r in made(root, "sf-tl54", tmp_path / "a").rows)
    aside = OneFace((0.0, 0.0, 20.0, 20.0))
    assert not any("turned" in r["caption"] for r in made(root, "sf-tl54", tmp_path / "b", aside).rows)
    unasked = OneFace()
    made(root, "sf-tl54", tmp_path / "c", unasked, reading=Reading(poses=False))
    assert unasked.asked == 0


def test_small_faces_and_flat_and_broken_pictures_are_findings(tmp_path: Path) -> None:
    root = tmp_path / "in"
    seed_layouts.save(root / "a" / "1.png", seed_layouts.picture())
    seed_layouts.save(root / "b" / "flat.png", np.full((120, 160), 90, np.uint8))
    (root / "c").mkdir()
    (root / "c" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nno")
    (root / "c" / "broken.mp4").write_bytes(b"no")
    written = made(root, "folder", tmp_path / "out", reading=Reading(polarity="white-hot"))
    assert len(written.rows) == 1
    assert count_codes(written.findings) == {"flat": 1, "no-licence": 1, "unreadable": 2}
    tfw = made(seed_layouts.tfw(tmp_path / "tfw"), "tfw", tmp_path / "two")
    assert count_codes(tfw.findings) == {"missing-picture": 2, "small-face": 2, "subject-unknown": 2}
    assert {f.code for f in tfw.left_out} == {"missing-picture", "small-face"}


def test_a_detector_that_tells_black_hot_pictures_is_believed(tmp_path: Path) -> None:
    class Detector:
        def detect(self, frames: list[np.ndarray]) -> list[Detections]:
            # a bright corner is a warm room
            return [Detections(black_hot=0.9 if frame[0, 0] > 128 else 0.1) for frame in frames]

    finder = OneFace()
    finder.detector = Detector()  # type: ignore[attr-defined]
    seed_layouts.save(tmp_path / "in" / "a" / "1.png", seed_layouts.picture())
    seed_layouts.save(tmp_path / "in" / "b" / "1.png", 255 - seed_layouts.picture())
    written = made(tmp_path / "in", "folder", tmp_path / "out", finder, share=0.0)
    pictures = [cv2.imread(str(tmp_path / "out" / row["file"]), cv2.IMREAD_UNCHANGED) for row in written.rows]
    assert written.rows[1]["read_as"]["polarity"] == "black-hot (model: black-hot with 0.90), inverted"
    assert np.array_equal(*pictures)


def test_frames_of_a_video(tmp_path: Path) -> None:
    frames = np.stack([seed_layouts.picture(k) for k in range(12)])
    (tmp_path / "in" / "anna").mkdir(parents=True)
    (tmp_path / "in" / "anna" / "walk.mp4").write_bytes(encode_gray(frames))
    reading = Reading(polarity="white-hot", frames=4)
    written = made(tmp_path / "in", "folder", tmp_path / "out", reading=reading, licence="mine")
    numbers = [r["source"]["frame"] for r in written.rows]
    assert len(numbers) == 4
    assert [n // 3 for n in numbers] == [0, 1, 2, 3]
    assert written.rows[0]["file"].endswith(f"-f{numbers[0]:05d}.png")
    assert written.rows[0]["licence"] == "mine"
    assert "Terms: mine." in (tmp_path / "out" / "TERMS.md").read_text()


def test_whole_pictures_keep_their_shape(tmp_path: Path) -> None:
    root = seed_layouts.carl(tmp_path / "in")
    written = made(root, "carl", tmp_path / "out", sizes=(256, 512), reading=Reading(crop="whole"))
    for row in written.rows:
        (width, height), (_, _, w, h) = row["size"], row["window"]
        assert width / height == pytest.approx(w / h, rel=0.02)
    assert {tuple(r["size"]) for r in written.rows} == {(256, 256), (576, 448)}


def test_small_crops_are_not_enlarged_where_that_is_not_wanted(tmp_path: Path) -> None:
    written = made(seed_layouts.carl(tmp_path / "in"), "carl", tmp_path / "out", upscale=False)
    assert not written.rows
    assert count_codes(written.findings) == {"small-crop": 6}


def test_augmented_copies_are_of_training_pictures_only(tmp_path: Path) -> None:
    root = seed_layouts.tufts(tmp_path / "in")
    written = made(root, "tufts", tmp_path / "out", variants=2)
    of_split = Counter((r["split"], r["augmented"] is not None) for r in written.rows)
    assert of_split == {("train", False): 8, ("train", True): 16, ("holdout", False): 4}
    drawn = [json.dumps(r["augmented"]) for r in written.rows if r["augmented"]]
    assert len(set(drawn)) == 16
    plain = made(root, "tufts", tmp_path / "plain")
    assert all(
        (tmp_path / "out" / r["file"]).read_bytes() == (tmp_path / "plain" / r["file"]).read_bytes() for r in plain.rows
    )
    other = made(root, "tufts", tmp_path / "other", variants=2, seed=1)
    assert {json.dumps(r["augmented"]) for r in other.rows if r["augmented"]}.isdisjoint(drawn)


def test_equal_runs_give_equal_bytes_and_a_stopped_one_goes_on(tmp_path: Path) -> None:
    root = seed_layouts.tufts(tmp_path / "in")
    made(root, "tufts", tmp_path / "a", variants=1)

    class StoppedError(Exception):
        pass

    class Stops(OneFace):
        def faces(self, frame: np.ndarray) -> Any:
            if self.asked == 5:
                raise StoppedError
            return super().faces(frame)

    reading = Reading(faces="detector")
    with pytest.raises(StoppedError):
        made(root, "tufts", tmp_path / "b", Stops(), reading=reading)
    assert not (tmp_path / "b" / "index.json").exists()
    finder = OneFace()
    resumed = made(root, "tufts", tmp_path / "b", finder, reading=reading)
    assert resumed.kept == 5
    assert finder.asked == 7
    made(root, "tufts", tmp_path / "c", reading=reading)
    assert tree(tmp_path / "b") == tree(tmp_path / "c")
    again = OneFace()
    assert made(root, "tufts", tmp_path / "b", again, reading=reading).kept == 12
    assert again.asked == 0


def test_an_index_tells_nothing_of_the_machine(tmp_path: Path) -> None:
    for place in ("a", "b"):
        root = seed_layouts.carl(tmp_path / place / "in")
        (root / "01" / "session_4" / "thermal_bmp" / "01S4BNA1.bmp").write_bytes(b"no picture")
        written = made(root, "carl", tmp_path / place / "out")
        assert count_codes(written.findings) == {"unreadable": 1}
    indices = [(tmp_path / place / "out" / "index.json").read_text() for place in ("a", "b")]
    assert indices[0] == indices[1]
    assert str(tmp_path) not in indices[0]


def test_a_lost_file_is_made_again(tmp_path: Path) -> None:
    root = seed_layouts.tufts(tmp_path / "in")
    before = made(root, "tufts", tmp_path / "out")
    whole = tree(tmp_path / "out")
    (tmp_path / "out" / before.rows[3]["file"]).unlink()
    (tmp_path / "out" / before.rows[5]["file"]).with_suffix(".txt").unlink()
    assert made(root, "tufts", tmp_path / "out").kept == 10
    assert tree(tmp_path / "out") == whole


def test_other_settings_and_foreign_folders_are_refused(tmp_path: Path) -> None:
    root = seed_layouts.tufts(tmp_path / "in")
    made(root, "tufts", tmp_path / "out")
    with pytest.raises(UsageError, match="other settings; type another --out"):
        made(root, "tufts", tmp_path / "out", share=0.5)
    seed_layouts.save(root / "TD_IR_A_Set1" / "9" / "TD_IR_A_1.jpg", seed_layouts.picture())
    with pytest.raises(UsageError, match="another source"):
        made(root, "tufts", tmp_path / "out")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear")
    with pytest.raises(UsageError, match="not empty and no training set"):
        made(root, "tufts", tmp_path / "mine")
    assert [p.name for p in (tmp_path / "mine").iterdir()] == ["letter.txt"]


def test_the_tables_are_those_of_a_recipe(tmp_path: Path) -> None:
    made(seed_layouts.tufts(tmp_path / "in"), "tufts", tmp_path / "out", sizes=(256, 512))
    tables = tomllib.loads((tmp_path / "out" / "lora.toml").read_text())["lora"]["datasets"]
    read = [LoraDataset.model_validate(table) for table in tables]
    assert [(d.path, d.width, d.height) for d in read] == [("train/256", 256, 256), ("train/512", 512, 512)]
    assert all(any((tmp_path / "out" / d.path).glob(f"*{d.caption_extension}")) for d in read)


@pytest.mark.parametrize("options", [{"variants": -1}, {"strength": 9.0}, {"trigger": "a\nb"}, {"sizes": (100,)}])
def test_wrong_settings(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="allowed"):
        Settings(**options)
    for bad in ({"crop": "half"}, {"faces": "mine"}, {"least": 1}, {"frames": 0}):
        with pytest.raises(UsageError, match="allowed"):
            Reading(**bad)  # type: ignore[arg-type]


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root, out = seed_layouts.carl(tmp_path / "in"), tmp_path / "out"
    words = ["seeds", str(root), "--layout", "carl", "--out", str(out), "--size", "256", "--faces", "labels"]
    assert thermvision_db.main([*words, "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert "6 pictures" in said
    assert "holdout: 1 subjects, 3 items" in said
    assert not out.exists()
    assert thermvision_db.main([*words, "--quiet"]) == 0
    said = capsys.readouterr().out
    assert "6 pictures of 1 + 1 subjects" in said
    # the bundled recipe asks for none of these pictures
    assert f"next: thermvision train lora RECIPE.toml --data {out} --out lora, with {out}/lora.toml in it" in said
    assert "terms: research use" in said
    assert thermvision_db.main([*words, "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["kept"] == 6
    assert facts["written"] == {"holdout/256": 3, "train/256": 3}
    assert thermvision_db.main([*words[:2], "--layout", "odd", "--out", str(out)]) == 2
    assert thermvision_db.main([*words, "--size", "wide"]) == 2


def test_the_command_ends_with_its_findings(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["seeds", str(seed_layouts.tfw(tmp_path / "in")), "--layout", "tfw", "--out", str(tmp_path / "out")]
    assert thermvision_db.main([*words, "--size", "256", "--no-poses", "--quiet"]) == 1
    captured = capsys.readouterr()
    assert "4 findings, the first: " in captured.err
    assert "[subject-unknown]" in captured.out
