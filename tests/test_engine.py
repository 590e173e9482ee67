import json
import os
import subprocess
import sys
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy.ndimage import binary_fill_holes

from thermvision.annotations.errors import UsageError
from thermvision.annotations.pose import pose_from_rotation, rotation_from_pose
from thermvision.annotations.radiometry import from_centikelvin
from thermvision.annotations.schema import REGIONS, SEGMENTS, VISIBLE
from thermvision.generation.camera import Camera
from thermvision.generation.engines import get_engine
from thermvision.generation.engines.phantom.engine import PhantomEngine, item_key, sensor_window, subject_head
from thermvision.generation.engines.phantom.expression import FACE_UNITS, deform
from thermvision.generation.specs import Clip, ClipSpec, Still, StillSpec, Subject

ENGINE = PhantomEngine()
MAN, WOMAN = (
    Subject("P_000001", 1, "male", 5, {"hairstyle": "short"}),
    Subject("P_000002", 2, "female", 5, {"hairstyle": "short"}),
)


def still(category: str = "frontal_pose", subject: Subject = MAN, item: int = 0, size: int = 64, **given: Any) -> Still:
    return ENGINE.render(
        StillSpec(f"{subject.subject_id}_{item}", subject, "phantom", category, item, size, True, given)
    )


def clip(sequence: str, frames: int, every: int = 0, subject: Subject = MAN, **given: Any) -> Clip:
    spec = ClipSpec("c", subject, "phantom", sequence, 0, frames, size=64, radiometric_every=every, parameters=given)
    return ENGINE.render(spec)


@pytest.mark.parametrize(
    ("pose", "expression"), [((0, 0, 0), "neutral"), ((35, -10, 8), "surprise"), ((-55, 12, -6), "smile")]
)
def test_landmarks_are_where_a_pinhole_sees_them(pose: tuple[float, ...], expression: str) -> None:
    yaw, pitch, roll = pose
    size = 128
    made = still(
        "head_poses", size=size, yaw=yaw, pitch=pitch, roll=roll, expression=expression, shift_x=0.01, shift_y=-0.004
    )
    assert made.annotation.head_pose is not None
    assert made.annotation.landmarks is not None
    assert made.radiometry is not None
    assert made.annotation.head_pose.tolist() == list(pose)
    assert made.annotation.expression == expression

    # everything below is written out again, from camera, pose and the head at rest
    head, truth = subject_head(MAN), made.radiometry.truth
    weights = truth["expression_weights"][0].astype(float)
    _, surface = deform(head, weights)
    cy, sy, cp, sp, cr, sr = (f(np.deg2rad(a)) for a in (yaw, -pitch, -roll) for f in (np.cos, np.sin))
    R = (
        np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
        @ np.array([[1, 0, 0], [0, cp, -sp], [0, sp, cp]])
        @ np.array([[cr, -sr, 0], [sr, cr, 0], [0, 0, 1]])
    )
    rest = head.landmarks
    pivot = np.array([0, rest[8, 1] - 0.035, rest[16, 2] - 0.015])
    world = (surface[head.topology.landmarks] - pivot) @ R.T + pivot
    distance = made.engine["parameters"]["distance"]
    lens = np.array([
        0.01,
        (head.rest[:, 1].max() + rest[8, 1]) / 2 - 0.020 - 0.004,
        rest[[27, 30, 8], 2].mean() + distance,
    ])  # fmt: skip
    camera = (world - lens) * [1, -1, -1]
    np.testing.assert_allclose(truth["landmarks_3d"][0], camera, atol=1e-6)
    zoom = made.engine["parameters"]["zoom"]
    focal = Camera().focal_length_mm * zoom / 0.017 * size / 512 * (sensor_window(size) / (300 * size / 512))
    on_frame = size / 2 + focal * size / sensor_window(size) * camera[:, :2] / camera[:, 2:]
    fixed = np.arange(17, 68)
    np.testing.assert_allclose(made.annotation.landmarks[fixed], on_frame[fixed], atol=0.01)


def test_three_directions_in_the_image() -> None:
    def points(**pose: float) -> np.ndarray:
        landmarks = still(**{"yaw": 0, "pitch": 0, "roll": 0, **pose}).annotation.landmarks  # type: ignore[arg-type]
        assert landmarks is not None
        return landmarks

    front = points()
    assert points(yaw=30)[30, 0] > front[30, 0] + 3  # nose to image right
    assert points(pitch=20)[30, 1] < front[30, 1] - 1  # nose up
    tilted = points(roll=15)
    assert tilted[27, 0] - tilted[8, 0] > front[27, 0] - front[8, 0] + 2  # crown to the right: clockwise


def test_the_same_spec_gives_the_same_item() -> None:
    a, b, other = still("mix", item=3), still("mix", item=3), still("mix", item=4)
    np.testing.assert_array_equal(a.frame, b.frame)
    assert a.radiometry is not None
    assert b.radiometry is not None
    np.testing.assert_array_equal(a.radiometry.frames, b.radiometry.frames)
    assert json.dumps(a.engine, sort_keys=True) == json.dumps(b.engine, sort_keys=True)
    assert (a.frame != other.frame).any()


SCRIPT = """
import hashlib
from thermvision.generation.engines.phantom.engine import PhantomEngine
from thermvision.generation.specs import StillSpec, Subject
spec = StillSpec("a", Subject("P_000001", 1, "male", 5, {"hairstyle": "short"}), "phantom", "mix", 3, 64)
made = PhantomEngine().render(spec)
print(hashlib.sha256(made.frame.tobytes() + made.radiometry.frames.tobytes()).hexdigest())
"""


@pytest.mark.slow
def test_thread_count_and_process_do_not_matter() -> None:
    def run(threads: str) -> str:
        environment = {**os.environ, "NUMBA_NUM_THREADS": threads, "OMP_NUM_THREADS": threads}
        command = [sys.executable, "-c", SCRIPT]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout

    assert run("1") == run("2") != ""


def test_stills_and_clips_of_one_number_share_no_stream() -> None:
    frame = ClipSpec("c", MAN, "phantom", "head_pose", 0, 1)
    portrait = StillSpec("s", MAN, "phantom", "frontal_pose", 0)
    keys = [item_key(replace(spec, item=i)) for spec in (frame, portrait) for i in range(5)]
    assert len(set(keys)) == 10


def test_accessories_leave_the_face_as_it_is() -> None:
    plain, worn = still(glasses="none"), still(glasses="glasses")
    assert plain.radiometry is not None
    assert worn.radiometry is not None
    np.testing.assert_array_equal(plain.annotation.landmarks, worn.annotation.landmarks)
    covered = worn.radiometry.truth["segmentation"] == SEGMENTS.index("glasses")
    assert 20 < covered.sum() < 200
    np.testing.assert_array_equal(
        plain.radiometry.truth["temperature"][0][:8], worn.radiometry.truth["temperature"][0][:8]
    )
    assert worn.attributes["glasses"] == "glasses"
    eyes = worn.annotation.landmark_state[36:48]  # type: ignore[index]
    assert (eyes == 2).all()
    assert (plain.annotation.landmark_state[36:48] == VISIBLE).all()  # type: ignore[index]


@pytest.mark.parametrize("yaw", [-70, -35, 0, 35, 70])
def test_boxes_hold_the_face(yaw: float) -> None:
    made = still("head_poses", WOMAN, size=128, yaw=yaw, pitch=0, roll=0)
    assert made.radiometry is not None
    landmarks = made.annotation.landmarks
    assert landmarks is not None
    x, y, w, h = made.annotation.bbox
    visible = made.annotation.landmark_state == VISIBLE
    visible[:17] = False
    inside = (landmarks >= [x - 0.5, y]) & (landmarks <= [x + w + 0.5, y + h])
    assert inside[visible].all()
    assert y + h == pytest.approx(landmarks[:, 1].max(), abs=0.1)  # down to the chin
    assert y < landmarks[17:27, 1].min() - 0.1 * h  # up over the brows
    assert 0.4 < w / h < 1.0
    zoom = made.radiometry.sensor_to_frame[0, 0]
    head = made.radiometry.truth["head_bbox"][0] * zoom
    assert head[2] * head[3] > w * h
    assert head[1] < y
    skin = made.radiometry.truth["skin_bbox"][0] * zoom
    overlap = np.clip(np.minimum(skin[:2] + skin[2:], [x + w, y + h]) - np.maximum(skin[:2], [x, y]), 0, None).prod()
    assert overlap / (w * h + skin[2] * skin[3] - overlap) > 0.5


def test_profiles_hide_the_far_eye() -> None:
    states = still("head_poses", size=128, yaw=75, pitch=0, roll=0).annotation.landmark_state
    assert states is not None
    assert (states[[36, 37, 40]] == VISIBLE).all()  # the eye on the near side
    assert (states[[44, 45, 46]] == 1).any()
    nearer = still("frontal_pose", size=64, yaw=0, pitch=0, roll=0, zoom=4.0).annotation.landmark_state
    assert nearer is not None
    assert nearer[8] == 0  # the chin is out of the frame
    assert nearer[30] == VISIBLE


def test_openness_follows_the_expression() -> None:
    def face(expression: str) -> tuple[float, float]:
        annotation = still(expression=expression).annotation
        assert annotation.eye_openness is not None
        assert annotation.mouth_openness is not None
        return annotation.eye_openness, annotation.mouth_openness

    neutral, surprise, blink = face("neutral"), face("surprise"), face("blink")
    assert blink[0] < 0.05 < 0.15 < neutral[0] < surprise[0]
    assert neutral[1] < 0.1 < surprise[1]


def test_radiometric_truth_is_consistent() -> None:
    made = still(size=128, yaw=0, pitch=0, roll=0)
    assert made.radiometry is not None
    truth, counts = made.radiometry.truth, made.radiometry.frames[0]
    window = sensor_window(128)
    assert counts.shape == (window, window)
    assert counts.dtype == np.uint16
    skin = truth["segmentation"][0] == SEGMENTS.index("skin")
    measured, actual = from_centikelvin(counts), from_centikelvin(truth["temperature"][0])
    inner = skin & (truth["depth"][0] < np.quantile(truth["depth"][0][skin], 0.3))
    assert 0 < (actual - measured)[inner].mean() < 0.8  # emissivity and glare cost a little
    background = truth["segmentation"][0] == 0
    assert (truth["depth"][0][background] == 0).all()
    assert ((truth["depth"][0][skin] > 4000) & (truth["depth"][0][skin] < 9000)).all()
    regions = dict(zip(REGIONS, truth["region_temperatures"][0], strict=True))
    assert np.isfinite(list(regions.values())).all()
    assert regions["canthus_left"] > regions["cheek_left"]
    assert regions["forehead"] > regions["nose"]
    assert set(truth) == {
        "segmentation", "depth", "temperature", "skin_bbox", "head_bbox", "landmarks_3d", "expression_weights",
        "region_temperatures", "head_rotation", "head_translation",
    }  # fmt: skip


def test_regions_out_of_view_are_nan() -> None:
    made = still("head_poses", size=128, yaw=75, pitch=0, roll=0)
    assert made.radiometry is not None
    regions = dict(zip(REGIONS, made.radiometry.truth["region_temperatures"][0], strict=True))
    assert np.isnan(regions["ear_left"])
    assert np.isfinite(regions["ear_right"])


@pytest.mark.parametrize("sequence", ["head_pose", "expression"])
def test_clips(sequence: str) -> None:
    counted: list[int] = []
    spec = ClipSpec("c", WOMAN, "phantom", sequence, 0, 7, size=64, radiometric_every=3)
    made = ENGINE.render(spec, counted.append)
    assert counted == [1] * 7
    assert made.frames.shape == (7, 64, 64)
    assert len(made.annotations) == 7
    assert made.radiometry is not None
    assert made.radiometry.frame_index.tolist() == [0, 3, 6]
    assert made.radiometry.truth["expression_weights"].shape == (3, len(FACE_UNITS))
    for i, k in enumerate(made.radiometry.frame_index):
        landmarks = made.radiometry.truth["landmarks_3d"][i]
        pose = made.annotations[k].head_pose
        assert pose is not None
        assert np.isfinite(landmarks).all()
    json.dumps(made.engine)
    assert clip(sequence, 2).radiometry is None


def test_a_fixed_axis_does_not_move() -> None:
    made = clip("head_pose", 5, yaw=20, expression="smile")
    poses = np.array([a.head_pose for a in made.annotations])
    assert (poses[:, 0] == 20).all()
    assert np.ptp(poses[:, 1]) > 0
    assert {a.expression for a in made.annotations} == {"smile"}


def test_head_pose_is_what_the_landmarks_show() -> None:
    made = still("head_poses", yaw=25, pitch=-10, roll=7, expression="neutral")
    assert made.radiometry is not None
    head = subject_head(MAN)
    rigid = np.arange(27, 48)  # nose and eyes do not move without an expression
    seen = made.radiometry.truth["landmarks_3d"][0][rigid] * [1, -1, -1]
    rest = head.landmarks[rigid]
    u, _, vt = np.linalg.svd((rest - rest.mean(0)).T @ (seen - seen.mean(0)))
    R = (u @ np.diag([1, 1, np.linalg.det(u @ vt)]) @ vt).T
    np.testing.assert_allclose(pose_from_rotation(R), [25, -10, 7], atol=1e-3)


def test_what_cannot_be_made_is_said() -> None:
    assert ENGINE.check(MAN, "beard") is None
    assert "male" in (ENGINE.check(WOMAN, "beard") or "")
    assert "frontal_pose" in (ENGINE.check(MAN, "portrait") or "")
    with pytest.raises(UsageError, match="male subject"):
        still("beard", WOMAN)
    with pytest.raises(UsageError, match=r"32\.\.2048"):
        still(size=8)
    with pytest.raises(UsageError, match="mask is 'veil'; allowed: none, mask"):
        still(mask="veil")
    with pytest.raises(UsageError, match="frames"):
        clip("head_pose", 0)


def test_the_engine_is_found_by_name() -> None:
    engine = get_engine("phantom")
    assert engine.engine_id == "phantom@1.3"
    assert engine.licence == "cc-by-4.0"
    engine.require()
    assert len(engine.model_digests()) > 300


def test_twins_are_told_and_strangers_pass() -> None:
    engine, a, b = PhantomEngine(), Subject("P_a", 1, "male", 5), Subject("P_b", 2, "male", 5)
    twin = Subject("P_twin", 1, "male", 5, {"hairstyle": "short"})  # another cut, the same face
    assert engine.too_alike(b, []) is None
    assert engine.too_alike(b, [a]) is None
    assert engine.too_alike(twin, [b, a]) == "its landmarks are 0.0 mm from those of P_a; allowed: 2.5 mm or more"


@pytest.mark.parametrize("turn", [0, 40, -130, 180])
def test_pose_matrices_agree_with_everything_else(turn: float) -> None:
    made = still("head_poses", size=128, yaw=20, pitch=-12, roll=6, turn=turn, expression="neutral", shift_x=0.012)
    assert made.radiometry is not None
    assert made.radiometry.camera_matrix is not None
    assert made.annotation.landmarks is not None
    assert made.annotation.head_pose is not None
    truth = made.radiometry.truth
    points = truth["landmarks_3d"][0].astype(np.float64)
    on_frame = points @ made.radiometry.camera_matrix.T
    inner = np.arange(17, 68)
    np.testing.assert_allclose((on_frame[:, :2] / on_frame[:, 2:])[inner], made.annotation.landmarks[inner], atol=0.01)
    R, t = truth["head_rotation"][0].astype(np.float64), truth["head_translation"][0]
    np.testing.assert_allclose(np.diag([1, -1, -1]) @ R, rotation_from_pose(made.annotation.head_pose), atol=1e-6)
    turned = rotation_from_pose((turn, 0, 0)) @ rotation_from_pose((20, -12, 6))
    np.testing.assert_allclose(np.diag([1, -1, -1]) @ R, turned, atol=1e-6)
    own = (points - t) @ R  # the head's own axes
    rest = subject_head(MAN).landmarks
    pivot = np.array([0, rest[8, 1] - 0.035, rest[16, 2] - 0.015])
    rigid = np.arange(27, 36)  # an expression, even the neutral one, moves the rest
    np.testing.assert_allclose(own[rigid], (rest - pivot)[rigid], atol=2e-3)


@pytest.mark.parametrize(("yaw", "turn", "faces"), [(0, 99, 1), (0, 101, 0), (-40, 130, 1), (30, 90, 0), (0, -180, 0)])
def test_a_face_that_looks_away_is_none(yaw: float, turn: float, faces: int) -> None:
    made = still(yaw=yaw, pitch=0, roll=0, turn=turn)
    assert made.annotation.face_count == faces
    assert np.isfinite(made.annotation.bbox).all() == bool(faces)
    assert made.annotation.head_pose is not None
    assert abs(made.annotation.head_pose[0]) == pytest.approx(abs(yaw + turn), abs=1e-4)


@pytest.mark.parametrize("turn", [90, 135, 180])
def test_no_hole_in_a_back(turn: float) -> None:
    for item in range(3):
        made = still(subject=WOMAN, item=item, size=128, yaw=0, pitch=0, roll=0, turn=turn)
        assert made.radiometry is not None
        segment = made.radiometry.truth["segmentation"][0]
        person = np.pad(segment > 0, ((0, 1), (1, 1)))
        person[-1] = True  # the frame's lower end closes the bust
        holes = binary_fill_holes(person) & ~person
        assert holes.sum() <= 0.002 * person.sum()
        assert (segment == SEGMENTS.index("cloth")).mean() > 0.04
