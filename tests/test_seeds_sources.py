"""Each layout's imitation is listed with its subjects, splits, boxes and facts; what is odd becomes a finding."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import seed_layouts
from seed_layouts import BOX

from thermvision.annotations.errors import UsageError
from thermvision.annotations.findings import count_codes
from thermvision.generation.seeds.folder import subject_of
from thermvision.generation.seeds.sources import SOURCES, Found, named


def found(name: str, make: Callable[[Path], Path], root: Path) -> Found:
    return named(name).find(make(root))


def test_tufts(tmp_path: Path) -> None:
    seen = found("tufts", seed_layouts.tufts, tmp_path)
    assert len(seen.seeds) == 12
    assert {s.subject for s in seen.seeds} == {"tufts/1", "tufts/2", "tufts/3"}
    assert all(s.boxes == (BOX,) and s.split == "" for s in seen.seeds)
    facts = {s.file.stem: dict(s.facts) for s in seen.seeds}
    assert facts == {
        "TD_IR_A_0": {"pose": "profile"},
        "TD_IR_A_4": {"pose": "frontal"},
        "TD_IR_E_2": {"pose": "frontal", "expression": "smile"},
        "TD_IR_E_5": {"pose": "frontal", "accessories": "sunglasses"},
    }
    # a box of 1 x 2 pixels stands in the published file
    assert count_codes(seen.findings) == {"box": 1}


def test_tufts_poses_are_those_of_a_half_circle() -> None:
    from thermvision.generation.seeds.tufts import _POSES

    order = [_POSES[4 - abs(4 - place)] for place in range(9)]
    assert order == ["profile"] * 2 + ["turned"] * 2 + ["frontal"] + ["turned"] * 2 + ["profile"] * 2


def test_tufts_odd_names_and_rows(tmp_path: Path) -> None:
    seed_layouts.tufts(tmp_path, people=1)
    seed_layouts.save(tmp_path / "TD_IR_A_Set1" / "1" / "TD_IR_A_x.jpg", seed_layouts.picture())
    seed_layouts.save(tmp_path / "TD_IR_A_Set1" / "you" / "TD_IR_A_1.jpg", seed_layouts.picture())
    with (tmp_path / "bounding-boxes.csv").open("a") as file:
        file.write("TD_IR_A_Set1,1,TD_IR_A_7.jpg,a,b,c,d\n")
    seen = named("tufts").find(tmp_path)
    assert len(seen.seeds) == 4
    assert count_codes(seen.findings) == {"box": 1, "name": 2, "row": 1}


def test_carl_lists_thermal_pictures_only(tmp_path: Path) -> None:
    seen = found("carl", seed_layouts.carl, tmp_path)
    assert [s.path for s in seen.seeds][:2] == [
        "01/session_4/thermal_bmp/01S4BAR1.bmp",
        "01/session_4/thermal_bmp/01S4BIR1.bmp",
    ]
    assert len(seen.seeds) == 6
    assert not seen.findings
    assert {s.subject for s in seen.seeds} == {"carl/1", "carl/2"}
    assert all(s.boxes == (BOX,) for s in seen.seeds)
    assert seen.seeds[0].facts == {"pose": "frontal", "session": "4", "light": "artificial"}


def test_charlotte(tmp_path: Path) -> None:
    seen = found("charlotte", seed_layouts.charlotte, tmp_path)
    assert [s.path for s in seen.seeds] == [
        "S1/R11185.tiff", "S1/R11186.tiff", "S2/R11185.tiff", "S2/R11186.tiff",
    ]  # fmt: skip
    assert seen.seeds[0].boxes == (BOX,)
    assert seen.seeds[0].facts == {"AirTemp": "21.5", "Sensation": "-1"}
    assert seen.seeds[2].subject == "charlotte/2"
    assert count_codes(seen.findings) == {"missing-picture": 2}


def test_charlotte_keeps_pictures_without_rows(tmp_path: Path) -> None:
    seed_layouts.charlotte(tmp_path)
    (tmp_path / "S2.csv").write_text("ID,x0,y0\nR11185,,\n")
    seen = named("charlotte").find(tmp_path)
    assert [len(s.boxes) for s in seen.seeds] == [1, 1, 0, 0]
    assert count_codes(seen.findings) == {"missing-picture": 1, "no-label": 1}


def test_sftl54(tmp_path: Path) -> None:
    seen = found("sf-tl54", seed_layouts.sftl54, tmp_path)
    assert [(s.subject, s.split, s.boxes) for s in seen.seeds] == [
        ("speakingfaces/131", "holdout", (BOX,)),
        ("speakingfaces/1", "train", (BOX,)),
        ("speakingfaces/2", "train", (BOX,)),
    ]
    assert all("/gray/" in s.path for s in seen.seeds)
    assert seen.seeds[1].facts == {"gender": "male", "age": "32", "accessories": "glasses"}
    assert seen.seeds[2].facts == {"gender": "female", "age": "27"}


def test_sftl54_takes_iron_where_it_is_alone(tmp_path: Path) -> None:
    for shade in ("gray", "iron"):
        seed_layouts.save(tmp_path / shade / "val" / "images" / "7_2_1_1_1_1.png", seed_layouts.picture())
    assert [s.path for s in named("sf-tl54").find(tmp_path).seeds] == ["gray/val/images/7_2_1_1_1_1.png"]
    (tmp_path / "gray" / "val" / "images" / "7_2_1_1_1_1.png").unlink()
    assert [(s.path, s.split) for s in named("sf-tl54").find(tmp_path).seeds] == [
        ("iron/val/images/7_2_1_1_1_1.png", "holdout")
    ]


def test_tfw(tmp_path: Path) -> None:
    seen = found("tfw", seed_layouts.tfw, tmp_path)
    assert [(s.path, s.subject, s.split, len(s.boxes)) for s in seen.seeds] == [
        ("test/indoor_gray/131_1_1_4_450_1.png", "speakingfaces/131", "holdout", 1),
        ("test/outdoor/4076.png", "tfw/outdoor-test", "holdout", 2),
        ("train/indoor_gray/1_1_1_4_450_1.png", "speakingfaces/1", "train", 1),
        ("train/outdoor/3312.png", "tfw/outdoor-train", "train", 2),
    ]
    assert count_codes(seen.findings) == {"missing-picture": 2, "subject-unknown": 2}


def test_people_of_both_speakingfaces_sets_have_one_name(tmp_path: Path) -> None:
    one = found("sf-tl54", seed_layouts.sftl54, tmp_path / "a")
    two = found("tfw", seed_layouts.tfw, tmp_path / "b")
    assert {s.subject for s in one.seeds} & {s.subject for s in two.seeds} == {"speakingfaces/1", "speakingfaces/131"}


def test_folder(tmp_path: Path) -> None:
    seed_layouts.save(tmp_path / "anna" / "1.png", seed_layouts.picture())
    seed_layouts.save(tmp_path / "bob_1.png", seed_layouts.picture())
    (tmp_path / "bob_2.mp4").write_bytes(b"")
    (tmp_path / "notes.docx").write_bytes(b"")
    (tmp_path / "link.png").symlink_to(tmp_path / "bob_1.png")
    seen = named("folder").find(tmp_path)
    assert [(s.subject, s.is_video) for s in seen.seeds] == [
        ("folder/anna", False),
        ("folder/bob", False),
        ("folder/bob", True),
    ]
    assert count_codes(seen.findings) == {"not-an-image": 1, "symlink": 1}


def test_subject_of_a_path() -> None:
    assert [subject_of(p) for p in ("a/b/c.png", "_1.png", "a.b.png")] == ["a", "_1.png", "a"]


@pytest.mark.parametrize("name", SOURCES)
def test_an_empty_folder_and_no_folder_say_what_is_expected(name: str, tmp_path: Path) -> None:
    for root in (tmp_path, tmp_path / "nothing"):
        with pytest.raises(UsageError, match=r"(expected|allowed)") as caught:
            SOURCES[name].find(root)
        assert SOURCES[name].expects in str(caught.value)


def test_every_source_states_its_terms() -> None:
    assert all(s.licence and s.title and s.expects for s in SOURCES.values())
    assert all(s.citation and s.url.startswith("http") for s in SOURCES.values() if s.name != "folder")
    with pytest.raises(UsageError, match="allowed: tufts, carl, charlotte, sf-tl54, tfw, folder"):
        named("lfw")
