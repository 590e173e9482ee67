from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray
from training_dolls import AMBIENT, CENTRE, POSES, RADIUS, SENSOR, doll_face

from thermvision.annotations.alignment import TEMPLATE
from thermvision.annotations.conventions import MIRROR, five_points
from thermvision.annotations.errors import DamagedInputError, UsageError
from thermvision.annotations.pose import rotation_from_pose
from thermvision.annotations.schema import EXPRESSIONS, OBJECT_OCCLUDED, OUTSIDE, SELF_OCCLUDED, VISIBLE
from thermvision.annotations.training import compositor, corpus, crops, disguises, sensor_tones, thermal_rooms
from thermvision.annotations.training.compositor import Person, compose, cut_out
from thermvision.annotations.training.corpus import GRID, Corpus, bake, open_corpus
from thermvision.annotations.training.crops import aligned_crop, box_crop

FRONT, LEFT, RIGHT, BEHIND = range(4)  # places in `POSES`


@pytest.fixture(scope="module")
def dolls(doll_corpus: Path) -> Corpus:
    return open_corpus(doll_corpus)


def rows_in_pose(dolls: Corpus, *poses: int) -> NDArray[np.int64]:
    return np.flatnonzero([any(np.allclose(pose, POSES[p]) for p in poses) for pose in dolls.head_pose])


def seeded(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def projected(pose: Any) -> NDArray[np.float64]:
    """Landmarks (68, 2) of a doll in ``pose``, its head at the origin and 2 high, y down."""
    return np.asarray((doll_face() @ rotation_from_pose(pose).T)[:, :2] * [1, -1])


# corpus --------------------------------------------------------------------------------------------------------------


def test_a_corpus_holds_what_its_release_holds(dolls: Corpus, doll_release: Path) -> None:
    assert len(dolls) == 24
    assert len(dolls.identities) == 6
    assert all(name.startswith("release/P_") for name in dolls.identities)
    assert dolls.digest == hashlib.sha256((doll_release / "release.json").read_bytes()).hexdigest()
    people = {split: set(dolls.identity[dolls.rows(split)].tolist()) for split in ("train", "validation", "test")}
    assert [len(p) for p in people.values()] == [3, 1, 2]
    assert len(set.union(*people.values())) == 6  # nobody is in two splits
    assert len(set(dolls.item.tolist())) == 24
    stored = pq.read_table(next((doll_release / "data" / "radiometric").glob("validation*")), columns=["subject_id"])
    named = {dolls.identities[i] for i in people["validation"]}
    assert named == {f"release/{s}" for s in stored["subject_id"].to_pylist()}


def test_labels_land_where_the_release_has_them(dolls: Corpus) -> None:
    for row in range(len(dolls)):
        expected = 2 * (CENTRE + RADIUS * projected(dolls.head_pose[row]))
        np.testing.assert_allclose(dolls.landmarks[row], expected, atol=1e-3)
    front = rows_in_pose(dolls, FRONT)
    box = dolls.bbox[front[0]]
    np.testing.assert_allclose(box[0], dolls.landmarks[front[0], :, 0].min(), atol=1e-3)
    np.testing.assert_allclose(box[1] + box[3], dolls.landmarks[front[0], :, 1].max(), atol=1e-3)
    np.testing.assert_allclose(dolls.openness, np.tile([0.25, 0.125], (24, 1)))
    assert dolls.ambient.tolist() == [AMBIENT] * 24
    assert np.isnan(dolls.bbox[rows_in_pose(dolls, BEHIND)]).all()
    assert set(dolls.classes[:, corpus.CLASSES.index("beard")].tolist()) == {0, 2}
    # what is drawn lies there too: skin at the nose, an eye in the middle of each eye
    for row in front:
        x, y = dolls.landmarks[row, 30].astype(int)
        assert dolls.segment[row, y, x] == corpus.SEGMENTS.index("skin")
        for eye in (range(36, 42), range(42, 48)):
            x, y = dolls.landmarks[row, list(eye)].mean(0).astype(int)
            assert dolls.segment[row, y, x] == corpus.SEGMENTS.index("eye")


def test_rows_by_split_and_by_whether_there_is_a_face(dolls: Corpus) -> None:
    assert len(dolls.rows("train")) == 9
    assert len(dolls.rows("train", facing=False)) == 12
    assert set(dolls.rows("train", "test", facing=False)).isdisjoint(dolls.rows("validation", facing=False))
    assert len(dolls.rows("train", "validation", "test", facing=False)) == len(dolls)


def test_clips_and_small_windows(wave_release: Path, tmp_path: Path) -> None:
    baked = bake([wave_release], tmp_path / "corpus")
    assert len(baked) == 6 * (3 + 2) + 27  # clips of 12 and 10 frames, one in five; stills
    assert len(set(baked.item.tolist())) == 6 * 2 + 27
    # a window of 40 pixels, shown at 64: the waves' points and boxes are in pixels of the frame
    k = baked.head_pose[:, 0]
    assert set(k.tolist()) == {0, 5, 10}
    points = np.stack([np.tile(np.arange(68.0), (len(k), 1)), np.arange(68) / 2 + k[:, None]], 2)
    np.testing.assert_allclose(baked.landmarks, points * (GRID / 64), atol=1e-3)
    np.testing.assert_allclose(baked.bbox[:, 2], (30 + k) * (GRID / 64), rtol=1e-5)
    expression = baked.classes[:, corpus.CLASSES.index("expression")]
    assert [EXPRESSIONS[e] for e in expression] == [("neutral", "smile")[int(v) % 2] for v in k]
    in_clips = np.bincount(baked.item)[baked.item] > 1
    assert set(baked.counts[in_clips].max((1, 2)).tolist()) == {30500, 30505, 30510}


def test_two_releases_are_told_apart(doll_release: Path, wave_release: Path, tmp_path: Path) -> None:
    link = tmp_path / "waves"
    link.symlink_to(wave_release)
    both = bake([doll_release, link], tmp_path / "both")
    assert len(both) == 24 + 57
    assert len(both.identities) == 12
    assert (
        both.digest
        == hashlib.sha256(b"".join((r / "release.json").read_bytes() for r in (doll_release, link))).hexdigest()
    )
    assert np.isnan(both.bbox[:24]).any()
    assert not np.isnan(both.bbox[24:]).any()


@pytest.fixture
def altered(copied: Callable[[Path], Path], doll_release: Path) -> Callable[[str, Any], Path]:
    """A copy of the dolls in which every radiometric row has another value in one column."""

    def alter(column: str, value: Any) -> Path:
        release = copied(doll_release)
        for shard in (release / "data" / "radiometric").glob("*.parquet"):
            table = pq.read_table(shard)
            place = table.schema.get_field_index(column)
            values = pa.array([value] * len(table), table.schema.field(column).type)
            pq.write_table(table.set_column(place, table.schema.field(column), values), shard)
        return release

    return alter


def png(image: NDArray[Any]) -> list[dict[str, Any]]:
    return [{"bytes": cv2.imencode(".png", image)[1].tobytes(), "path": "a.png"}]


def test_only_ground_truth_is_taken(altered: Callable[[str, Any], Path], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"annotated by detector@12; allowed: ground_truth"):
        bake([altered("annotation_source", "detector@12")], tmp_path / "corpus")


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("radiometric", [{"bytes": b"\x89PNG\r\n broken", "path": "a.png"}], "decodes to nothing"),
        ("radiometric", png(np.zeros((8, 8), np.uint8)), r"decodes to uint8 \(8, 8\); allowed: uint16"),
        ("segmentation", png(np.zeros((8, 8, 3), np.uint8)), r"decodes to uint8 \(8, 8, 3\)"),
        ("segmentation", png(np.full((8, 8), 77, np.uint8)), "segment 77"),
    ],
)
def test_damaged_pictures(
    altered: Callable[[str, Any], Path], tmp_path: Path, column: str, value: Any, message: str
) -> None:
    with pytest.raises(DamagedInputError, match=message):
        bake([altered(column, value)], tmp_path / "corpus")
    with pytest.raises(UsageError, match="is no corpus"):  # what was begun is not taken for one
        open_corpus(tmp_path / "corpus")


def test_what_is_no_release_and_where_nothing_may_be_written(
    doll_release: Path, imported_release: Path, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=r"is no release.*thermvision build training --out"):
        bake([tmp_path], tmp_path / "a")
    with pytest.raises(UsageError, match=r"set radiometric\.clip_every to 1"):
        bake([imported_release], tmp_path / "b")
    assert not (tmp_path / "b").exists()
    (tmp_path / "c").mkdir()
    (tmp_path / "c/notes.txt").write_text("mine")
    with pytest.raises(UsageError, match="is not empty"):
        bake([doll_release], tmp_path / "c")
    with pytest.raises(UsageError, match=r"thermvision train corpus RELEASE --out"):
        open_corpus(tmp_path)


# rooms ---------------------------------------------------------------------------------------------------------------


def test_rooms_follow_their_seed_and_their_air() -> None:
    rooms = [thermal_rooms.empty_room((48, 64), 21.0, seeded(k)) for k in range(60)]
    assert all(room.shape == (48, 64) and room.dtype == np.float32 for room in rooms)
    assert np.isfinite(rooms).all()
    assert abs(float(np.median(rooms)) - 21) < 1
    np.testing.assert_array_equal(rooms[3], thermal_rooms.empty_room((48, 64), 21.0, seeded(3)))
    assert not np.array_equal(rooms[3], rooms[4])
    warmer = thermal_rooms.empty_room((48, 64), 26.0, seeded(3))
    np.testing.assert_allclose(warmer - rooms[3], 5, atol=1e-4)
    spans = np.array([np.ptp(room) for room in rooms])
    assert (spans > 8).any()  # some rooms have lamps
    assert (spans < 6).any()  # some are bare
    assert sum(share for share, _, _ in thermal_rooms._THINGS) == pytest.approx(1)


def test_limbs_are_as_warm_as_skin_and_leave_the_rest_alone() -> None:
    for seed in range(10):
        room = thermal_rooms.put_limbs(np.full((96, 96), 20, np.float32), 34.0, seeded(seed))
        assert room.dtype == np.float32
        assert room.min() >= 20 - 1e-3
        assert 28 < room.max() < 37 or np.ptp(room) < 1e-3  # a limb may lie outside
        assert (room == 20).any()


# disguises -----------------------------------------------------------------------------------------------------------

EYES, MOUTH, BROWS = range(36, 48), range(48, 68), range(17, 27)


@pytest.mark.parametrize(
    ("name", "always", "never"),
    [
        ("scarf", [*MOUTH, 8], [*EYES, *BROWS]),
        ("beard", [7, 9], [*EYES, *BROWS]),
        ("eyewear", [*EYES], [*MOUTH, 8]),
        ("fringe", [], [*MOUTH, 8]),
        ("hand", [], []),
    ],
)
def test_a_disguise_hides_what_it_should(
    monkeypatch: pytest.MonkeyPatch, dolls: Corpus, name: str, always: list[int], never: list[int]
) -> None:
    monkeypatch.setattr(disguises, "SHARES", {n: float(n == name) for n in disguises.SHARES})
    landmarks = dolls.landmarks[rows_in_pose(dolls, FRONT)[0]].astype(np.float64)
    bare, nobody = np.full((GRID, GRID), 50, np.float32), np.zeros((GRID, GRID), np.float32)
    hid_some = False
    for seed in range(6):
        celsius, cover, hidden = disguises.disguise(bare, nobody, landmarks, 20.0, 34.0, seeded(seed))
        assert hidden[always].all()
        assert not hidden[never].any()
        hid_some |= bool(hidden.any())
        at = landmarks.astype(int)
        assert not hidden.any() or cover[at[hidden, 1], at[hidden, 0]].mean() > 0.6
        changed = np.abs(celsius - bare) > 1
        assert changed.any()
        assert (cover[changed] > 0.02).all()
        solid = celsius[cover > 0.99]
        assert ((solid > 10) & (solid < 42)).all()  # between the air and the skin, and its grain
    assert hid_some


def test_without_a_disguise_nothing_changes(monkeypatch: pytest.MonkeyPatch, dolls: Corpus) -> None:
    monkeypatch.setattr(disguises, "SHARES", dict.fromkeys(disguises.SHARES, 0.0))
    frame = seeded(0).random((GRID, GRID), np.float32)
    celsius, cover, hidden = disguises.disguise(frame, frame, dolls.landmarks[0].astype(float), 20, 34, seeded(1))
    np.testing.assert_array_equal(celsius, frame)
    np.testing.assert_array_equal(cover, frame)
    assert not hidden.any()


# tones ---------------------------------------------------------------------------------------------------------------


def test_black_hot_is_the_negative_of_white_hot() -> None:
    ramp = np.tile(np.linspace(18, 36, 40, dtype=np.float32), (32, 1))
    negatives = 0
    for seed in range(200):
        gray, black_hot = sensor_tones.picture(ramp, 20, 34, seeded(seed))
        white, never = sensor_tones.picture(ramp, 20, 34, seeded(seed), polarity=False)
        assert gray.shape == (32, 40)
        assert gray.dtype == np.uint8
        assert never is False
        np.testing.assert_array_equal(gray, 255 - white if black_hot else white)
        negatives += black_hot
    assert 0.07 < negatives / 200 < 0.18


def test_good_cameras_make_warm_things_bright() -> None:
    ramp = np.tile(np.linspace(18, 36, 40, dtype=np.float32), (32, 1))
    for seed in range(30):
        gray, black_hot = sensor_tones.picture(ramp, 20, 34, seeded(seed), good=1.0)
        assert not black_hot
        assert np.corrcoef(ramp.ravel(), gray.ravel())[0, 1] > 0.8
        assert gray[:, -4:].mean() - gray[:, :4].mean() > 100


def test_tone_and_loss_stay_in_range() -> None:
    celsius = seeded(0).normal(28, 5, (33, 45)).astype(np.float32)
    for seed in range(60):
        bright = sensor_tones.toned(celsius, 22, 34, seeded(seed))
        assert bright.dtype == np.float32
        assert bright.min() >= 0
        assert bright.max() <= 1
        gray = sensor_tones.degraded(bright, seeded(seed))
        assert gray.shape == (33, 45)
        assert gray.dtype == np.uint8
    even = sensor_tones.picture(np.full((16, 16), 30, np.float32), 30, 30, seeded(2), good=1.0)[0]
    assert np.ptp(even) < 60  # a picture without contrast is not blown up to noise


def test_equalisation_keeps_the_order_and_bounds_the_slope() -> None:
    bright = np.sort(np.concatenate([np.full(900, 0.25), np.linspace(0, 1, 124)])).reshape(32, 32).astype(np.float32)
    equal = sensor_tones._equalised(bright, 0.01)
    assert (np.diff(equal.ravel()) >= 0).all()
    assert equal.max() == 1
    step = equal[bright > 0.251].min() - equal[bright < 0.249].max()
    assert step < 0.2  # nine pixels in ten are of one level; without the plateau they would take nearly all


# compositor ----------------------------------------------------------------------------------------------------------


def fixed(monkeypatch: pytest.MonkeyPatch, faces: int, **odds: float) -> None:
    """Every picture gets so many people; ``odds`` are constants of the compositor."""
    monkeypatch.setattr(compositor, "_ODDS", tuple(float(k == faces) for k in compositor._COUNTS))
    for name, value in odds.items():
        monkeypatch.setattr(compositor, name, value)


def test_the_same_seed_makes_the_same_picture(dolls: Corpus) -> None:
    a, b, c = (compose(dolls, dolls.rows("train"), seeded(s)) for s in (4, 4, 5))
    for name in ("image", "boxes", "points", "ignored"):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name))
    assert a.black_hot == b.black_hot
    assert not np.array_equal(a.image, c.image)


def test_boxes_lie_in_the_picture_and_points_in_boxes(dolls: Corpus) -> None:
    faces = 0
    for seed in range(40):
        made = compose(dolls, rows_in_pose(dolls, FRONT), seeded(seed), (128, 160))
        assert made.image.shape == (128, 160)
        assert made.image.dtype == np.uint8
        assert made.points.shape == (len(made.boxes), 5, 2)
        for box in np.concatenate([made.boxes, made.ignored]):
            assert 0 <= box[0] < box[2] <= 160
            assert 0 <= box[1] < box[3] <= 128
        whole = (made.boxes[:, :2] > 0).all(1) & (made.boxes[:, 2:] < [160, 128]).all(1)
        for box, five in zip(made.boxes[whole], made.points[whole], strict=True):
            assert ((five > box[:2]) & (five < box[2:])).all()
            right_eye, left_eye, _, right_mouth, left_mouth = five
            upright = np.array([left_eye[0] - right_eye[0], left_mouth[0] - right_mouth[0]])
            assert (upright > 0).all()  # image left first, whether mirrored or not
            assert five[:2, 1].mean() < five[3:, 1].mean()
            faces += 1
    assert faces > 25


def test_heads_from_behind_have_no_box(monkeypatch: pytest.MonkeyPatch, dolls: Corpus) -> None:
    fixed(monkeypatch, 2)
    for seed in range(5):
        made = compose(dolls, rows_in_pose(dolls, BEHIND), seeded(seed))
        assert (len(made.boxes), len(made.ignored)) == (0, 0)


def test_pictures_without_faces(monkeypatch: pytest.MonkeyPatch, dolls: Corpus) -> None:
    found: list[Any] = []
    place = compositor._place

    def noted(*arguments: Any, **options: Any) -> Any:
        found.append(place(*arguments, **options))
        return found[-1]

    monkeypatch.setattr(compositor, "_place", noted)
    rows = rows_in_pose(dolls, FRONT)
    made = [compositor.without_faces(dolls, rows, seeded(s), (64, 80)) for s in range(24)]
    assert all(image.shape == (64, 80) and image.dtype == np.uint8 for image in made)
    assert 8 < len(found) < 24  # somebody is in two of three
    assert all(placed is not None and placed[2] is None for placed in found)  # and has no face to find
    np.testing.assert_array_equal(made[0], compositor.without_faces(dolls, rows, seeded(0), (64, 80)))
    # eyes below the mouth
    assert all(placed[3][:2, 1].mean() > placed[3][3:, 1].mean() for placed in found)


@pytest.mark.parametrize("odds", ["_UPSIDE_DOWN", "_HEADLESS"])
def test_no_box_for_a_head_upside_down_or_missing(monkeypatch: pytest.MonkeyPatch, dolls: Corpus, odds: str) -> None:
    fixed(monkeypatch, 2, **{"_UPSIDE_DOWN": 0.0, "_HEADLESS": 0.0, odds: 1.0})
    for seed in range(5):
        made = compose(dolls, rows_in_pose(dolls, FRONT), seeded(seed))
        assert (len(made.boxes), len(made.ignored)) == (0, 0)


def test_a_face_behind_another_person_is_ignored(monkeypatch: pytest.MonkeyPatch, dolls: Corpus) -> None:
    fixed(monkeypatch, 4, _UPSIDE_DOWN=0.0, _HEADLESS=0.0, _INSIDE=0.0)
    seen = compose(dolls, rows_in_pose(dolls, FRONT), seeded(1))
    monkeypatch.setattr(compositor, "_HIDDEN", 0.0)  # everybody hides everybody before
    only_last = compose(dolls, rows_in_pose(dolls, FRONT), seeded(1))
    assert len(seen.boxes) + len(seen.ignored) == 4
    assert len(seen.boxes) > 1
    np.testing.assert_array_equal(only_last.boxes, seen.boxes[-1:])
    assert len(only_last.ignored) == 3


def test_a_face_half_outside_is_ignored(monkeypatch: pytest.MonkeyPatch, dolls: Corpus) -> None:
    fixed(monkeypatch, 1, _UPSIDE_DOWN=0.0, _HEADLESS=0.0, _INSIDE=1.1)
    made = compose(dolls, rows_in_pose(dolls, FRONT), seeded(2))
    assert (len(made.boxes), len(made.ignored)) == (0, 1)


def test_share_of_a_box_that_is_covered() -> None:
    cover = np.zeros((10, 20), np.float32)
    cover[:, 10:] = 1
    assert compositor._covered(cover, np.array([5, 0, 15, 10], np.float32)) == 0.5
    assert compositor._covered(cover, np.array([-9, -9, 5, 5], np.float32)) == 0
    assert compositor._covered(cover, np.array([30, 0, 40, 10], np.float32)) == 1  # nothing left of it


def test_cut_outs_keep_their_labels_in_the_mirror(dolls: Corpus) -> None:
    row = int(rows_in_pose(dolls, LEFT)[0])
    mirrored = 0
    for seed in range(20):
        person = cut_out(dolls, row, seeded(seed), disguised=False)
        assert not person.hidden.any()
        assert person.celsius.shape == person.cover.shape == (GRID, GRID)
        assert 0 <= person.cover.min() <= person.cover.max() <= 1 + 1e-6
        expected = dolls.landmarks[row].astype(np.float64)
        box = dolls.bbox[row].astype(np.float64)
        if person.mirrored:
            expected = np.stack([GRID - expected[list(MIRROR), 0], expected[list(MIRROR), 1]], 1)
            box[0] = GRID - box[0] - box[2]
            mirrored += 1
        np.testing.assert_allclose(person.landmarks, expected)
        np.testing.assert_allclose(person.bbox, box)
        x, y = person.landmarks[30].astype(int)
        assert person.cover[y, x] > 0.9
    assert 4 <= mirrored <= 16


def spotted(landmark: int, dolls: Corpus) -> Person:
    """A frontal doll without any heat but in one landmark."""
    row = int(rows_in_pose(dolls, FRONT)[0])
    landmarks = dolls.landmarks[row].astype(np.float64)
    y, x = np.mgrid[:GRID, :GRID] + 0.5
    spot = np.exp(-((x - landmarks[landmark, 0]) ** 2 + (y - landmarks[landmark, 1]) ** 2) / (2 * 2.0**2))
    one = np.ones((GRID, GRID), np.float32)
    return Person(
        (100 * spot).astype(np.float32), one, landmarks, dolls.bbox[row].astype(float), np.zeros(68, bool), False
    )


def test_pixels_and_points_are_moved_alike(monkeypatch: pytest.MonkeyPatch, dolls: Corpus) -> None:
    monkeypatch.setattr(compositor, "_HEADLESS", 0.0)
    monkeypatch.setattr(compositor, "_UPSIDE_DOWN", 0.0)
    person, checked = spotted(30, dolls), 0
    for seed in range(20):
        placed = compositor._place(person, np.zeros((192, 224), np.float32), 70.0, seeded(seed))
        assert placed is not None
        room, _, box, five = placed
        assert box is not None
        nose = five[2]
        if not (4 < nose[0] < 220 and 4 < nose[1] < 188):
            continue
        y, x = np.unravel_index(int(room.argmax()), room.shape)
        assert np.hypot(x + 0.5 - nose[0], y + 0.5 - nose[1]) < 1.2
        checked += 1
    assert checked > 10


# crops ---------------------------------------------------------------------------------------------------------------


def fitted(crop: crops.Crop) -> NDArray[np.float64]:
    """Distances (68,) of a crop's landmarks from those of a doll in the crop's pose, moved and scaled to fit."""
    model, seen = projected(crop.pose), crop.landmarks.astype(np.float64)
    model, seen = model - model.mean(0), seen - seen.mean(0)
    return np.asarray(np.linalg.norm(seen - model * ((model * seen).sum() / (model**2).sum()), axis=1))


@pytest.mark.parametrize("kind", ["box", "aligned"])
def test_pose_and_landmarks_agree_mirrored_and_turned(dolls: Corpus, kind: str) -> None:
    rolls = []
    for seed in range(30):
        row = int(seeded(seed).choice(rows_in_pose(dolls, FRONT, LEFT, RIGHT)))
        made = aligned_crop(dolls, row, seeded(seed)) if kind == "aligned" else box_crop(dolls, row, seeded(seed), 1.35)
        assert made.image.shape == (112, 112)
        assert made.image.dtype == np.uint8
        assert fitted(made).max() < 0.05
        # the line through the eyes falls to image right when the head is tilted clockwise
        right, left = five_points(made.landmarks)[:2]
        assert left[0] > right[0]
        if abs(made.pose[0]) < 1:
            fall = np.degrees(np.arctan2(left[1] - right[1], left[0] - right[0]))
            assert fall == pytest.approx(made.pose[2], abs=0.1)
        rolls.append(made.pose[2])
        assert made.identity == dolls.identity[row]
        np.testing.assert_array_equal(made.classes, dolls.classes[row])
        np.testing.assert_array_equal(made.openness, dolls.openness[row])
    assert min(rolls) < -5 < 5 < max(rolls) or kind == "aligned"


def test_aligned_crops_lie_on_the_template(dolls: Corpus) -> None:
    apart = []
    for seed in range(20):
        made = aligned_crop(dolls, int(rows_in_pose(dolls, FRONT)[seed % 6]), seeded(seed))
        apart.append(np.linalg.norm(five_points(made.landmarks) - TEMPLATE, axis=1).mean())
    assert np.mean(apart) < 8  # a doll has a face of its own
    assert np.std(apart) > 0.1  # and a detector is not exact


def test_box_crops_have_the_face_in_the_middle_at_its_size(dolls: Corpus) -> None:
    row = int(rows_in_pose(dolls, FRONT)[0])
    middles, sides = [], []
    for seed in range(40):
        made = box_crop(dolls, row, seeded(seed), 1.35, plain=True)
        middles.append(made.landmarks[30])
        scale = np.sqrt(((made.landmarks - made.landmarks.mean(0)) ** 2).sum())
        here = dolls.landmarks[row] - dolls.landmarks[row].mean(0)
        sides.append(scale / np.sqrt((here**2).sum()) * max(dolls.bbox[row, 2:]) / 112)
        assert VISIBLE in made.state
        assert OBJECT_OCCLUDED not in made.state  # plain: nothing before the face
    assert np.abs(np.mean(middles, 0) - 56).max() < 6
    assert np.exp(np.mean(np.log(sides))) == pytest.approx(1 / 1.35, rel=0.08)


def test_states_in_a_crop(dolls: Corpus) -> None:
    row = int(rows_in_pose(dolls, LEFT)[0])
    stored = dolls.landmark_state[row]
    behind = stored == SELF_OCCLUDED
    assert behind.any()
    person = cut_out(dolls, row, seeded(0), disguised=False)
    plain = np.full((68, 2), 50.0)
    plain[8] = -0.1, 50
    plain[9] = 50, 112
    for mirrored, order in ((False, np.arange(68)), (True, np.array(MIRROR))):
        given = Person(person.celsius, person.cover, plain, person.bbox, np.ones(68, bool), mirrored)
        state = crops._states(dolls, row, given, plain)
        assert state[8] == state[9] == OUTSIDE
        inside = np.setdiff1d(np.arange(68), (8, 9))
        expected = np.where(behind[order], SELF_OCCLUDED, OBJECT_OCCLUDED)
        np.testing.assert_array_equal(state[inside], expected[inside])
    np.testing.assert_array_equal(dolls.landmark_state[row], stored)  # the corpus is not written to


def test_pixels_and_points_of_a_crop_agree(monkeypatch: pytest.MonkeyPatch, dolls: Corpus) -> None:
    def plain(celsius: NDArray[np.float32], *_: Any, **__: Any) -> tuple[NDArray[np.uint8], bool]:
        return np.clip(celsius, 0, 255).astype(np.uint8), False

    monkeypatch.setattr(crops, "picture", plain)
    monkeypatch.setattr(crops, "empty_room", lambda shape, *_: np.zeros(shape, np.float32))
    monkeypatch.setattr(crops, "cut_out", lambda *_, **__: spotted(30, dolls))
    for seed in range(10):
        made = box_crop(dolls, int(rows_in_pose(dolls, FRONT)[0]), seeded(seed), 1.35)
        y, x = np.mean(np.nonzero(made.image >= 0.8 * made.image.max()), 1) + 0.5
        assert np.hypot(x - made.landmarks[30, 0], y - made.landmarks[30, 1]) < 0.8


def test_the_same_seed_makes_the_same_crop(dolls: Corpus) -> None:
    row = int(rows_in_pose(dolls, RIGHT)[0])
    a, b, c = (box_crop(dolls, row, seeded(s), 1.8) for s in (7, 7, 8))
    np.testing.assert_array_equal(a.image, b.image)
    np.testing.assert_array_equal(a.landmarks, b.landmarks)
    assert not np.array_equal(a.landmarks, c.landmarks)


def test_the_sensor_of_the_dolls_is_half_the_grid() -> None:
    assert 2 * SENSOR == GRID
