from collections.abc import Mapping
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from warm_faces import ROOM, SCALE, SKIN, turned_face, view, warm_face

from thermvision.annotations.picture_file import picture_from_bytes
from thermvision.curation.checks import anatomy, physics
from thermvision.curation.checks.faults.heat import FAULTS
from thermvision.curation.checks.kinds import FrameView, by_code
from thermvision.curation.checks.regions import CENTRE, UNIT, face_map, nearest_rank

KINDS = by_code([*anatomy.KINDS, *physics.KINDS])
BY_NAME = {fault.name: fault for fault in FAULTS}


def scores(seen: FrameView) -> dict[str, float]:
    return {scored.code: scored.score for module in (anatomy, physics) for scored in module.frame_scores(seen)}


def found(seen: FrameView) -> set[str]:
    return {code for code, score in scores(seen).items() if KINDS[code].is_finding(score)}


def test_a_healthy_face_is_quiet() -> None:
    told = scores(view(*warm_face()))
    assert found(view(*warm_face())) == set()
    assert {kind.code for kind in anatomy.KINDS} - set(told) == {"face-mirrored"}  # frontal: a mirror tells nothing
    assert told["face-broken"] == 0.0
    assert told["heat-asymmetric"] < 0.1


def test_the_map_is_upright_and_of_one_scale() -> None:
    frame, points = warm_face()
    gray = np.rint(frame).clip(0, 255).astype(np.uint8)
    turned = cv2.rotate(gray, cv2.ROTATE_90_CLOCKWISE)
    rolled = np.stack([gray.shape[0] - points[:, 1], points[:, 0]], 1)
    for pixels, marks in ((gray, points), (turned, rolled)):
        face = face_map(FrameView(0, pixels, pixels, landmarks=marks.astype(np.float32)))
        assert face is not None
        assert face.points[36:48].mean(0) == pytest.approx([CENTRE[0], CENTRE[1] - UNIT / 2], abs=1e-3)
        assert face.points[48:68].mean(0) == pytest.approx([CENTRE[0], CENTRE[1] + UNIT / 2], abs=1e-3)
        assert face.level == pytest.approx(SKIN, abs=6)
        assert face.gray[int(face.points[30, 1]), int(face.points[30, 0])] < SKIN - 20


@given(st.lists(st.floats(0, 255, width=32), min_size=1, max_size=60), st.floats(0, 100))
def test_nearest_rank_is_a_value_of_its_rank(values: list[float], q: float) -> None:
    array = np.array(values, np.float32)
    rank = round(q / 100 * (len(values) - 1))
    assert nearest_rank(array, q) == np.sort(array)[rank]


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(-90, 90), st.integers(3, 200))
def test_any_labels_are_survived(seed: int, yaw: float, size: int) -> None:
    """Labels of a damaged release lie anywhere: scores are finite or not there, and nothing is raised."""
    rng = np.random.default_rng(seed)
    gray = rng.integers(0, 256, (size, size + 5), np.uint8)
    marks = rng.normal(size / 2, rng.choice([1.0, 30.0, 3000.0]), (68, 2)).astype(np.float32)
    states = rng.integers(0, 4, 68).astype(np.uint8)
    seen = FrameView(0, gray, gray, None, marks, states, np.array([yaw, 0, 0], np.float32))
    assert np.isfinite(list(scores(seen).values())).all()


def test_a_face_that_reaches_the_border() -> None:
    frame, points = warm_face()
    shift = int(points[27:, 0].min()) - 1
    assert "face-cut" in found(view(np.ascontiguousarray(frame[:, shift + 2 :]), points - np.float32([shift + 2, 0])))
    assert "face-cut" not in found(
        view(np.ascontiguousarray(frame[:, shift - 20 :]), points - np.float32([shift - 20, 0]))
    )


def test_background_where_nose_and_mouth_ought_to_be() -> None:
    frame, points = warm_face()
    frame[int(points[29, 1]) :] = ROOM
    assert "face-broken" in found(view(frame, points))
    hidden = view(frame, points, hidden=range(27, 68))
    assert "face-broken" not in scores(hidden)  # points that an object hides say nothing


def test_asymmetry_is_told_of_frontal_faces_only() -> None:
    frame, points = warm_face()
    half = frame[:, : int(points[27, 0])]
    half[half > ROOM + 60] -= 45
    assert "heat-asymmetric" in found(view(frame, points, yaw=10))
    assert "heat-asymmetric" not in scores(view(frame, points, yaw=20))


def test_grain_and_flatness() -> None:
    frame, points = warm_face()
    hull = cv2.convexHull(np.concatenate([points[:17], points[17:27] - np.float32([0, 0.6 * SCALE])]).astype(np.int32))
    inside = np.zeros(frame.shape, np.uint8)
    cv2.fillConvexPoly(inside, hull, 1)
    rng = np.random.default_rng(0)
    noise = cv2.GaussianBlur(rng.normal(0, 60, frame.shape).astype(np.float32), (0, 0), 0.7)
    assert "face-noisy" in found(view(np.where(inside, frame + noise, frame), points))
    assert "face-flat" in found(view(np.where(inside, np.float32(SKIN), frame), points))


def test_a_missing_eye_and_one_too_many() -> None:
    frame, points = warm_face()
    eye = points[36:42].mean(0).astype(int)
    y, x = slice(eye[1] - 14, eye[1] + 15), slice(eye[0] - 26, eye[0] + 27)
    erased = frame.copy()
    erased[y, x] = cv2.GaussianBlur(frame, (0, 0), 14)[y, x]
    assert "feature-missing" in found(view(erased, points))
    doubled = frame.copy()
    doubled[y.start + 42 : y.stop + 42, x] = frame[y, x]
    assert found(view(doubled, points)) >= {"eye-doubled"}
    small = cv2.resize(cv2.resize(doubled, None, fx=0.1, fy=0.1, interpolation=cv2.INTER_AREA), (320, 320))
    assert "eye-doubled" not in scores(view(small, points))  # too blurred to tell


def test_a_turned_face_that_is_its_own_mirror_image() -> None:
    frame, points = turned_face()
    axis = round(float(points[27, 0]))
    mirrored = frame.copy()
    mirrored[:, axis : 2 * axis] = frame[:, :axis][:, ::-1][:, : frame.shape[1] - axis]
    assert "face-mirrored" in found(view(mirrored, points, yaw=30))
    assert "face-mirrored" not in scores(view(mirrored, points, yaw=5))
    assert "face-mirrored" in scores(view(frame, points, yaw=30))
    assert "face-mirrored" not in found(view(frame, points, yaw=30))


def _row(points: np.ndarray, **changed: Any) -> dict[str, Any]:
    row = {
        "landmarks": points, "landmark_state": np.full(68, 3, np.uint8), "bbox": np.float32([60, 40, 200, 240]),
        "head_pose": np.float32([0, 0, 0]), "eye_openness": 0.3, "mouth_openness": 0.02, "width": 320,
        "glasses": 0, "mask": 0, "headwear": 0, "hairstyle": 0,
    }  # fmt: skip
    return {**row, **changed}


DRAWN = [
    ("pupils-hot", {}), ("orbits-hot", {}), ("canthi-cold", {}), ("nose-hot", {}), ("lips-hot", {}),
    ("nostrils-hot", {}), ("background-hot", {}), ("hot-spot", {}), ("cheek-hot", {}), ("half-cold", {}),
    ("eye-erased", {}), ("mouth-erased", {}), ("eye-doubled", {}), ("face-grainy", {}), ("face-even", {}),
    ("lenses-hot", {"glasses": 1}), ("mask-hot", {"mask": 1}),
    ("profile-cut", {"head_pose": np.float32([30, 0, 0])}), ("half-mirrored", {"head_pose": np.float32([30, 0, 0])}),
]  # fmt: skip


@pytest.mark.parametrize(("name", "changed"), DRAWN)
def test_planted_faults_are_found(name: str, changed: Mapping[str, Any]) -> None:
    frame, points = turned_face() if "head_pose" in changed else warm_face()
    fault, row = BY_NAME[name], _row(points, **changed)
    assert fault.needs is None or fault.needs(row)
    assert fault.on_frame is not None
    gray = np.rint(frame).clip(0, 255).astype(np.uint8)
    spoilt = fault.on_frame(gray, row, np.random.default_rng(5))
    assert spoilt.dtype == np.uint8
    assert spoilt.shape == gray.shape
    again = fault.on_frame(gray, row, np.random.default_rng(5))
    assert np.array_equal(spoilt, again)
    stated = {name: "glasses" if name == "glasses" else "mask" for name in ("glasses", "mask") if row[name]}
    seen = view(spoilt.astype(np.float32), points, yaw=float(row["head_pose"][0]), **stated)
    assert found(seen) & set(fault.codes)
    assert not found(view(frame, points, yaw=float(row["head_pose"][0]))) & set(fault.codes)


def test_a_face_moved_out_of_the_frame_takes_its_labels_along() -> None:
    frame, points = warm_face()
    gray = np.rint(frame).clip(0, 255).astype(np.uint8)
    row = _row(
        points.tolist(), bbox=[60.0, 40.0, 200.0, 240.0], image={"bytes": cv2.imencode(".png", gray)[1].tobytes()}
    )
    fault = BY_NAME["front-out-of-frame"]
    assert fault.on_row is not None
    fault.on_row(row, np.random.default_rng(0))
    moved = np.asarray(picture_from_bytes(row["image"]["bytes"]), np.float32)
    marks = np.asarray(row["landmarks"], np.float32)
    shift = marks[0, 0] - points[0, 0]
    assert row["bbox"][0] == pytest.approx(60 + shift)
    assert moved[160, 120 + int(shift)] == gray[160, 120] if 0 <= 120 + shift < 320 else True
    assert "face-cut" in found(view(moved, marks))


def test_every_fault_names_kinds_that_exist() -> None:
    assert len({fault.name for fault in FAULTS}) == len(FAULTS) >= 12
    assert {code for fault in FAULTS for code in fault.codes} <= set(KINDS)
    assert set(KINDS) == {code for fault in FAULTS for code in fault.codes}  # each kind has a fault that proves it
