import json
from dataclasses import replace

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest

from thermvision.annotations.errors import UsageError
from thermvision.annotations.schema import OBJECT_OCCLUDED, OUTSIDE, VISIBLE
from thermvision.curation.release import read_release
from thermvision.curation.verify import verify_release
from thermvision.generation import build
from thermvision.generation.camera import Camera
from thermvision.generation.engines.phantom import crowd
from thermvision.generation.engines.phantom.crowd import Place, find_places, render_crowd, scene_frame
from thermvision.generation.engines.phantom.engine import PhantomEngine
from thermvision.generation.engines.phantom.identity import make_head
from thermvision.generation.run import pixels_digest
from thermvision.generation.specs import SceneSpec, Subject

pytestmark = pytest.mark.slow
PEOPLE = tuple(Subject(f"P_{i:06d}", i, ("female", "male")[i % 2], 7) for i in range(4))
SPEC = SceneSpec("scene_000000", "phantom", 7, 0, "train", PEOPLE[:2], 96, 96)


@pytest.fixture(scope="module")
def scene():
    return render_crowd(SPEC)


@pytest.fixture
def placed(monkeypatch):
    """Renders people exactly where a test wants them."""

    def render(*places, size=(96, 96), **changes):
        monkeypatch.setattr(crowd, "find_places", lambda *_: list(places))
        spec = replace(SPEC, subjects=PEOPLE[: len(places)], width=size[0], height=size[1], **changes)
        return render_crowd(spec)

    return render


def test_the_frame_is_the_largest_of_its_shape_on_the_sensor():
    camera = Camera()
    for width, height, window in ((640, 480, 640), (512, 512, 480), (64, 64, 64), (1280, 960, 640), (96, 48, 96)):
        frame = scene_frame(width, height, camera)
        assert frame.window == window
        # half the field of view along the limiting side, in tangents
        across, up = width / frame.zoom / 2 / frame.focal, height / frame.zoom / 2 / frame.focal
        limits = camera.width / 2 / camera.focal_length_px, camera.height / 2 / camera.focal_length_px
        assert max(across / limits[0], up / limits[1]) == pytest.approx(1, abs=0.003)


def test_equal_specs_give_equal_pixels_and_numbers_differ(scene):
    again = render_crowd(SPEC)
    assert pixels_digest(scene.frame) == pixels_digest(again.frame)
    assert scene.resolved == again.resolved
    assert [a.bbox.tolist() for a in scene.annotations] == [a.bbox.tolist() for a in again.annotations]
    assert (
        render_crowd(replace(SPEC, item=1, subjects=())).frame != render_crowd(replace(SPEC, subjects=())).frame
    ).any()


def test_every_face_lies_in_its_box_within_the_frame(scene):
    assert scene.frame.shape == (96, 96)
    assert scene.frame.dtype == np.uint8
    assert 1 <= len(scene.annotations) == len(scene.subjects) <= 2
    for face in scene.annotations:
        x, y, w, h = face.bbox
        assert 0 <= x < x + w <= 96
        assert 0 <= y < y + h <= 96
        inner = face.landmarks[17:][face.landmark_state[17:] != OUTSIDE]  # turned away, an ear lies outside
        assert (inner > [x - 0.1 * w, y - 0.1 * h]).all()
        assert (inner < [x + 1.1 * w, y + 1.1 * h]).all()
        assert face.face_count == len(scene.annotations)
        assert face.source == "ground_truth"


@pytest.mark.parametrize("distance", [1.0, 2.0, 4.0])
def test_a_face_has_the_size_and_place_of_a_pinhole(placed, distance):
    result = placed(Place(0.1, 0.05, distance, False))
    (face,) = result.annotations
    frame = scene_frame(96, 96, Camera())
    x, y, w, h = face.bbox
    assert h * distance / (frame.focal * frame.zoom) == pytest.approx(
        0.19, abs=0.05
    )  # metres, brow or hairline to chin
    assert (x + w / 2 - 48) * distance / (frame.focal * frame.zoom) == pytest.approx(0.1, abs=0.07)
    assert (48 - y - h / 2) * distance / (frame.focal * frame.zoom) == pytest.approx(0.05, abs=0.06)


def test_who_stands_in_front_hides_who_stands_behind(placed):
    front, back = Place(0.0, 0.0, 1.0, False), Place(-0.16, 0.04, 2.0, False)
    both, alone = placed(front, back), placed(Place(9.0, 0.0, 1.0, False), back)
    assert [s.subject_id for s in both.subjects] == ["P_000000", "P_000001"]
    hidden, free = both.annotations[1], alone.annotations[-1]
    np.testing.assert_allclose(hidden.landmarks, free.landmarks)  # geometry does not know of the other
    newly = (hidden.landmark_state == OBJECT_OCCLUDED) & (free.landmark_state == VISIBLE)
    assert 3 <= newly.sum() < 60
    # those hidden are the ones nearest to the person in front
    assert hidden.landmarks[newly, 0].mean() > hidden.landmarks[hidden.landmark_state == VISIBLE, 0].mean()
    ahead = placed(front).annotations[0]
    assert (both.annotations[0].landmark_state == ahead.landmark_state).all()


def test_a_face_wholly_hidden_is_not_listed(placed):
    result = placed(Place(0.0, 0.0, 1.0, False), Place(0.0, -0.3, 3.0, False))
    assert [s.subject_id for s in result.subjects] == ["P_000000"]
    assert result.annotations[0].face_count == 1


def test_wide_frames_are_cut_from_the_square_window(placed):
    place = Place(0.2, 0.1, 2.0, False)
    wide, square = placed(place, size=(96, 72)), placed(place, size=(96, 96))
    assert wide.frame.shape == (72, 96)
    scale = scene_frame(96, 72, Camera()).focal / scene_frame(96, 96, Camera()).focal
    centre = wide.annotations[0].landmarks - [48, 36]
    np.testing.assert_allclose(centre, scale * (square.annotations[0].landmarks - 48), atol=0.2)


def test_places_keep_people_apart_and_faces_mostly_free():
    heads = [make_head(p) for p in PEOPLE] * 2
    frame = scene_frame(512, 512, Camera())
    counts = []
    for seed in range(12):
        places = find_places(heads, frame, 1.4, (1.0, 6.0), np.random.default_rng(seed))
        found = [p for p in places if p]
        counts.append(len(found))
        for i, a in enumerate(found):
            assert 1.0 <= a.distance <= 6.0
            assert abs(a.x) * frame.focal / a.distance < 240
            for b in found[:i]:
                assert abs(a.x - b.x) >= 0.55 or abs(a.distance - b.distance) >= 0.6
    assert np.mean(counts) > 5


def test_an_empty_room_has_warm_things_and_no_face():
    names = set()
    for item in range(6):
        result = render_crowd(replace(SPEC, subjects=(), item=item, width=64, height=64))
        assert result.annotations == ()
        assert np.ptp(result.frame) > 60
        names |= set(result.resolved["things"])
    assert len(names) >= 4


def test_what_a_scene_cannot_be_is_said():
    with pytest.raises(UsageError, match=r"allowed: 0\.8\.\.8"):
        render_crowd(replace(SPEC, distance=(0.1, 3)))
    with pytest.raises(UsageError, match="no parameter yaw"):
        render_crowd(replace(SPEC, parameters={"yaw": 3}))
    with pytest.raises(UsageError, match="size"):
        PhantomEngine().render_scene(replace(SPEC, width=8))


RECIPE = """
name = "Scenes"
version = "1.0"
seed = 7
[subjects]
female = 8
male = 8
[scenes]
count = 8
faces = [1, 3]
width = 96
height = 64
empty = 0.25
"""


def test_a_recipe_deals_scenes_of_one_split_each():
    plan = build.prepare(RECIPE).plan
    split = {i.subject_id: i.split for i in plan.identities}
    assert len(plan.scenes) == plan.frames == 8
    assert sum(not s.subjects for s in plan.scenes) == 2
    for shard in plan.shards:
        assert shard.config == "scenes"
        for spec in shard.items:
            assert spec.split == shard.split
            assert {split[s.subject_id] for s in spec.subjects} <= {shard.split}
            assert len({s.index for s in spec.subjects}) == len(spec.subjects) <= 3
    with pytest.raises(UsageError, match=r"asks for 15 faces and no split has more than 1\d identities"):
        build.prepare(RECIPE.replace("[1, 3]", "[15, 16]"))
    for wrong in ("[0, 3]", "[4, 3]", "[1, 99]"):
        with pytest.raises(UsageError, match=r"scenes\.faces"):
            build.prepare(RECIPE.replace("[1, 3]", wrong))
    with pytest.raises(UsageError, match=r"scenes\.distance"):
        build.prepare(f"{RECIPE}distance = [0.2, 3]")


def test_scenes_are_built_loaded_and_verified(tmp_path):
    from datasets import load_dataset

    out = tmp_path / "release"
    text = RECIPE.replace("count = 8", "count = 4").replace("[1, 3]", "[1, 2]")
    build.build_release(build.prepare(text), out, quiet=True)
    assert verify_release(out) == []
    release = read_release(out)
    assert release.configs == ["scenes"]
    split = {i.subject_id: i.split for i in release.identities}
    loaded = load_dataset(str(out), "scenes", cache_dir=str(tmp_path / "cache"))
    assert sum(map(len, loaded.values())) == 4
    for name, rows in loaded.items():
        for row in rows:
            faces = row["faces"]
            assert row["image"].size == (row["width"], row["height"]) == (96, 64)
            assert row["face_count"] == len(faces["bbox"]) == len(faces["subject_id"]) == len(faces["landmarks"])
            assert {split[s] for s in faces["subject_id"]} <= {name}
            assert [release.subject_ids[i] for i in faces["identity"]] == faces["subject_id"]
    # a row's provenance renders its pixels again
    row = next(r for s in release.shards for r in pq.read_table(out / s.path).to_pylist() if r["face_count"])
    recorded = json.loads(row["provenance"])
    people = tuple(Subject(**s) for s in recorded["spec"]["subjects"])
    spec = SceneSpec(**{**recorded["spec"], "subjects": people, "distance": tuple(recorded["spec"]["distance"])})
    again = PhantomEngine().render_scene(spec)
    stored = cv2.imdecode(np.frombuffer(row["image"]["bytes"], np.uint8), cv2.IMREAD_UNCHANGED)
    assert (stored == again.frame).all()
    assert pixels_digest(again.frame) == recorded["raw_pixels_sha256"]


def test_a_face_of_another_split_is_a_finding(tmp_path):
    out = tmp_path / "release"
    build.build_release(build.prepare(RECIPE.replace("count = 8", "count = 1")), out, quiet=True)
    manifest = out / "release.json"
    content = json.loads(manifest.read_text())
    for identity in content["identities"]:
        identity["split"] = "validation"
    manifest.write_text(json.dumps(content))
    assert "split" in {finding.code for finding in verify_release(out)}


def test_people_who_turn_away_are_seen_and_have_no_face(placed):
    place = Place(0.0, 0.0, 1.5, False)
    away, towards = (placed(place, parameters={"turn": t}) for t in (180, 0))
    assert away.annotations == ()
    assert len(towards.annotations) == 1
    assert abs(away.frame.astype(int) - towards.frame).max() > 60
    assert (away.frame > 100).mean() > 0.5 * (towards.frame > 100).mean()


def test_everybody_turns_by_themselves(placed):
    places = (Place(-0.5, 0.0, 2.0, False), Place(0.5, 0.0, 2.0, False))
    yaws = [f.head_pose[0] for f in placed(*places, parameters={"turn": [-80, 80]}).annotations]
    fixed = [f.head_pose[0] for f in placed(*places, parameters={"turn": 0}).annotations]
    assert len(yaws) == len(fixed) == 2
    turns = np.subtract(yaws, fixed)
    assert abs(turns[0] - turns[1]) > 1
    assert np.abs(turns).max() <= 80.001


def test_near_faces_keep_their_texture(placed):
    bright = []
    for item in range(4):
        result = placed(Place(0.0, 0.0, 1.0, False), Place(0.7, 0.0, 2.5, False), size=(256, 256), item=item)
        for face in result.annotations:
            x, y, w, h = (round(v) for v in face.bbox)
            inner = result.frame[y + h // 4 : y + h, x + w // 5 : x + w - w // 5]
            if w > 18:
                bright.append((inner > 245).mean())
    assert len(bright) >= 3
    assert np.median(bright) < 0.15  # not white
