from __future__ import annotations

from pathlib import Path, PurePosixPath

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from thermvision.curation.archives import Member
from thermvision.curation.raw_release import RawRelease, locate, published_path, scan

from .published_imitation import FRAMES, SUBJECTS, Imitation, imitation, write_tree, write_zip

SET_1 = "Female Subjects/Set 1 Cropped Headpose Variations"
SET_2 = "Female Subjects/Set 2 Cropped Facial Expressions"


@pytest.fixture(scope="module")
def published() -> Imitation:
    return imitation()


def tree(folder: Path, *names: str) -> RawRelease:
    write_tree(folder, dict.fromkeys(names, b""))
    return scan(folder)


@pytest.mark.parametrize("form", ["zips", "tree", "one zip", "tree below other folders"])
def test_every_clip_and_label_is_found(tmp_path: Path, published: Imitation, form: str) -> None:
    if form == "zips":
        source = published.write_zips(tmp_path)
    elif form == "one zip":
        source = published.write_zips(tmp_path) / "Male Subjects.zip"
    else:
        source = published.write_tree(tmp_path / "a" / "Male Subjects" if form.startswith("tree b") else tmp_path)
    raw = scan(source)
    expected = {k: v for k, v in published.clips.items() if form != "one zip" or v.gender == "male"}
    assert {c.clip_id for c in raw.clips} == set(expected)
    for clip in raw.clips:
        truth = expected[clip.clip_id]
        assert published_path(clip.member) == truth.member
        assert (clip.gender, clip.sequence, clip.subject_id) == (truth.gender, truth.sequence, clip.clip_id[:4])
        assert [frame for frame, _ in clip.labels] == [k for k, boxes in enumerate(truth.boxes) if boxes]
        assert clip.frame_images == frozenset(range(len(truth.boxes)))
    assert raw.findings == ()


def test_every_member_is_accounted_for(tmp_path: Path, published: Imitation) -> None:
    raw = scan(published.write_zips(tmp_path))
    clips = 2 * sum(map(len, SUBJECTS.values()))
    frames = sum(map(len, SUBJECTS.values())) * sum(FRAMES.values())
    assert raw.uses == {
        "clip": clips,
        "label": frames - 5,
        "frame-image": frames,
        "face-crop": 2 * clips,
        "system-file": 4,
    }
    assert {f.path.split(":")[1] for f in raw.left_out} == published.extra
    assert sum(raw.uses.values()) + len(raw.left_out) == sum(map(len, published.archives.values()))
    assert [f.code for f in raw.left_out].count("extra-video") == 6


def test_order_is_by_gender_number_and_set(tmp_path: Path, published: Imitation) -> None:
    raw = scan(published.write_zips(tmp_path))
    assert [c.clip_id for c in raw.clips[:4]] == ["F_01_S1", "F_01_S2", "F_03_S1", "F_03_S2"]
    assert list(raw.subjects) == ["F_01", "F_03", "F_04", "F_23", "F_27", "F_31", "M_01", "M_07", "M_10", "M_30"]


def test_subject_one_and_eleven_are_told_apart(tmp_path: Path) -> None:
    names = [f"{SET_1}/Subject-{n}/Thermal Animations/Subject{n}1.mp4" for n in (1, 11, 111)]
    strays = [
        f"{SET_1}/Subject-1/Thermal Animations/Subject111.mp4",
        f"{SET_1}/Subject-11/Thermal Animations/Subject11.mp4",
    ]
    raw = tree(tmp_path, *names, *strays)
    assert {c.clip_id: published_path(c.member) for c in raw.clips} == {
        f"F_{n:02d}_S1": name for n, name in zip((1, 11, 111), names, strict=True)
    }
    assert sorted(f.code for f in raw.left_out) == ["extra-video"] * 2
    assert sorted((f.path, f.code) for f in raw.findings if f.code == "missing-sequence") == [
        (f"F_{n}", "missing-sequence") for n in ("01", "11", "111")
    ]


def test_several_candidates_are_chosen_by_rule_and_reported(tmp_path: Path) -> None:
    folder = f"{SET_2}/Subject-3/Thermal Animations"
    names = [f"{folder}/{n}" for n in ("Subject31.mp4", "Subject31-n.mp4", "Subject32.mp4", "subject31.mp4")]
    raw = tree(tmp_path, *names, f"{SET_2}/Subject-3/Thermal Face Detection/labels/frame_0000.txt")
    assert raw.clips[0].member.name.endswith("/Subject31-n.mp4")
    assert len(raw.clips[0].labels) == 1
    assert [f.code for f in raw.left_out] == ["other-candidate"] * 3
    assert [f.path for f in raw.findings if f.code == "several-candidates"] == ["F_03_S2"]


def test_labels_follow_the_folder_of_the_chosen_clip(tmp_path: Path) -> None:
    plain, edition = f"{SET_2}/Subject-23", f"{SET_2}/Subject-23-n"
    raw = tree(
        tmp_path,
        *[f"{plain}/Thermal Animations/Subject231.mp4", f"{plain}/Thermal Face Detection/labels/frame_0000.txt"],
        *[f"{edition}/Thermal Animations/Subject231-n.mp4", f"{edition}/Thermal Face Detection/labels/frame_0001.txt"],
    )
    assert [c.clip_id for c in raw.clips] == ["F_23_S2"]
    assert [(frame, "-n/" in member.name) for frame, member in raw.clips[0].labels] == [(1, True)]
    assert [f.code for f in raw.left_out] == ["other-candidate"] * 2


def test_a_copy_in_a_second_archive_is_reported(tmp_path: Path, published: Imitation) -> None:
    published.write_zips(tmp_path)
    write_tree(tmp_path, published.archives["Female Subjects.zip"])
    raw = scan(tmp_path)
    assert len(raw.clips) == len(published.clips)
    copied = [f for f in raw.findings if f.code == "several-candidates"]
    assert len(copied) == 2 * len(SUBJECTS["female"])
    homes = {c.member.archive for c in raw.clips if c.gender == "female"}
    assert homes == {""}  # the plain file sorts before the zip, for all of them


def test_duplicate_and_foreign_labels(tmp_path: Path) -> None:
    subject = f"{SET_1}/Subject-1"
    raw = tree(
        tmp_path,
        f"{subject}/Thermal Animations/Subject11.mp4",
        f"{subject}/Thermal Face Detection/labels/frame_0001.txt",
        f"{subject}/Thermal Face Detection/labels/frame_001.txt",
        f"{subject}/Face Detection/labels/frame_0001.txt",
        f"{subject}/Thermal Face Detection/labels/classes.txt",
        f"{subject}/Thermal Face Detection/labels/frame_0002.json",
    )
    assert [(k, m.name.endswith("Thermal Face Detection/labels/frame_0001.txt")) for k, m in raw.clips[0].labels] == [
        (1, True)
    ]
    assert sorted(f.code for f in raw.left_out) == ["duplicate-label", "duplicate-label", "label-name", "not-in-layout"]


def test_labels_without_a_clip_and_a_clip_without_labels(tmp_path: Path) -> None:
    raw = tree(
        tmp_path,
        f"{SET_1}/Subject-1/Thermal Face Detection/labels/frame_0001.txt",
        f"{SET_1}/Subject-1/Thermal Animations/Extracted_frames/frame_0001.png",
        f"{SET_1}/Subject-2/Thermal Animations/Subject21.mp4",
    )
    assert [c.clip_id for c in raw.clips] == ["F_02_S1"]
    assert [f.code for f in raw.left_out] == ["no-clip"] * 2
    assert [(f.path, f.code) for f in raw.findings] == [("F_02", "missing-sequence"), ("F_02_S1", "no-labels")]


@pytest.mark.parametrize(
    "name",
    [
        "readme.txt",
        "Set 1 Cropped Headpose Variations/Subject-1/Thermal Animations/Subject11.mp4",
        "Female Subjects/Subject11.mp4",
        "Female Subjects/Set 1 Cropped Facial Expressions/Subject-1/Thermal Animations/Subject11.mp4",
        "Female Subjects/Set 12 Cropped Headpose/Subject-1/Thermal Animations/Subject11.mp4",
        f"{SET_1}/Subject-one/Thermal Animations/Subject11.mp4",
        f"{SET_1}/Subject-1/Thermal Animations/Subject12.mp4",
        f"{SET_1}/Subject-1/Thermal Animations/deeper/Subject11.mp4",
        f"{SET_1}/Subject-1/Subject11.mp4",
        f"{SET_1}/Subject-1/Thermal Animations/frame_0001.txt",
    ],
)
def test_what_is_no_clip(name: str) -> None:
    place = locate(Member("", name, 0))
    assert place.role == "left-out"
    assert place.reason


def test_stills_of_the_five_categories(tmp_path: Path) -> None:
    raw = tree(
        tmp_path,
        "Female Subjects/Frontal Pose/Subject-1/b.png",
        "Female Subjects/Frontal Pose/Subject-1/a.JPG",
        "Female Subjects/frontal_pose/Subject-11.png",
        "Male Subjects/Subject-2/FACIAL ACCESSORIES/x.png",
        "Male Subjects/Beard/subject_2_7.png",
        "Male Subjects/Mix/Subject-2/x.png",
        "Male Subjects/Head  Poses/Subject-2/x.png",
        "Male Subjects/Head Poses/17.png",
        "Male Subjects/Head Poses/Subject21.png",
        "Male Subjects/Head Poses/Subject-2/notes.txt",
    )
    assert [s.image_id for s in raw.stills] == [
        "F_01_frontal_pose_000",
        "F_01_frontal_pose_001",
        "F_11_frontal_pose_000",
        "M_02_facial_accessories_000",
        "M_02_beard_000",
        "M_02_mix_000",
        "M_02_head_poses_000",
    ]
    assert raw.stills[0].member.name.endswith("a.JPG")
    assert sorted(f.code for f in raw.left_out) == ["not-in-layout", "still-without-subject", "still-without-subject"]
    assert raw.uses == {"still": 7}


PARTS = ["Female Subjects", "Set 1 Cropped Headpose Variations", "Subject-1", "Thermal Animations", "labels", "Mix"]


@given(st.lists(st.one_of(st.sampled_from(PARTS), st.text(min_size=1, max_size=8)), min_size=1, max_size=7))
def test_every_path_has_a_place(parts: list[str]) -> None:
    name = "/".join(part.replace("/", "") or "x" for part in parts)
    assume(PurePosixPath(name).parts)
    place = locate(Member("", name, 0))
    assert bool(place.reason) == (place.role == "left-out")


def test_the_zip_stem_is_no_folder(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "Female Subjects.zip", {"Subject-1/Thermal Animations/Subject11.mp4": b""})
    assert scan(path).clips == ()
