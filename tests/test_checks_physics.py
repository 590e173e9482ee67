import cv2
import numpy as np
import pytest
from warm_faces import CORNER, ROOM, SCALE, SKIN, view, warm_face, warm_landmarks

from thermvision.curation.checks import physics
from thermvision.curation.checks.kinds import FrameView, by_code

KINDS = by_code(physics.KINDS)
HOT = 250.0


def scores(seen: FrameView) -> dict[str, float]:
    return {scored.code: scored.score for scored in physics.frame_scores(seen)}


def found(seen: FrameView) -> set[str]:
    return {code for code, score in scores(seen).items() if KINDS[code].is_finding(score)}


def ellipse(frame: np.ndarray, centre: np.ndarray, wide: float, high: float, level: float) -> None:
    axes = max(1, round(wide * SCALE)), max(1, round(high * SCALE))
    cv2.ellipse(frame, (round(float(centre[0])), round(float(centre[1]))), axes, 0, 0, 360, level, -1)


def test_a_healthy_face_is_scored_and_quiet() -> None:
    told = scores(view(*warm_face()))
    assert found(view(*warm_face())) == set()
    # no glasses, no mask: nothing to tell of these
    assert set(told) | {"hair-warm"} == set(KINDS) - {"lenses-warm", "mask-warm"}
    assert told["nose-warm"] < -0.5
    assert told["canthus-cold"] > 0.1
    assert told["background-warm"] == 0.0


def test_details_are_written_for_findings_only_and_say_the_number() -> None:
    frame, points = warm_face()
    ellipse(frame, points[30], 0.2, 0.2, HOT)
    for scored in physics.frame_scores(view(frame, points)):
        assert (scored.first, scored.last) == (7, 7)
        assert bool(scored.detail) == KINDS[scored.code].is_finding(scored.score)
        if scored.code == "nose-warm":
            assert f"{scored.score:.2f}" in scored.detail


@pytest.mark.parametrize("gain", [(0.5, 0.0), (0.8, 45.0)])
def test_scores_follow_the_order_of_levels_and_not_the_gain(gain: tuple[float, float]) -> None:
    frame, points = warm_face()
    changed = gain[0] * frame + gain[1]
    before, after = scores(view(frame, points)), scores(view(changed.astype(np.float32), points))
    assert before.keys() == after.keys()
    for code, score in before.items():
        assert after[code] == pytest.approx(score, abs=0.09)


def test_glowing_parts_are_found_by_name() -> None:
    places = {
        "nose-warm": (30, 0.22, 0.20),
        "lips-glowing": (66, 0.32, 0.13),
        "heat-patch": (None, 0.14, 0.14),
    }
    for code, (place, wide, high) in places.items():
        frame, points = warm_face()
        centre = points[27] - (0, 0.55 * SCALE) if place is None else points[place]
        ellipse(frame, centre, wide, high, HOT)
        assert code in found(view(frame, points)), code


def test_nostrils() -> None:
    frame, points = warm_face()
    for place in (32, 34):
        ellipse(frame, points[place], 0.05, 0.05, HOT)
    assert found(view(frame, points)) == {"nostrils-glowing"}


def test_pupils_and_sockets_are_told_apart() -> None:
    frame, points = warm_face()
    for lids in (points[36:42], points[42:48]):
        ellipse(frame, lids.mean(0), 0.07, 0.05, HOT)
    assert "pupils-glowing" in found(view(frame, points))
    frame, points = warm_face()
    for lids in (points[36:42], points[42:48]):
        ellipse(frame, lids.mean(0), 0.24, 0.17, HOT)
        cv2.fillConvexPoly(frame, lids.astype(np.int32), SKIN)
    assert found(view(frame, points)) == {"orbits-glowing"}


def test_heat_in_the_sockets_is_not_told_where_hair_hides_the_forehead() -> None:
    frame, points = warm_face()
    top = int(points[17:27, 1].min()) - 3
    frame[:top] = np.minimum(frame[:top], SKIN - 60)
    assert "orbits-glowing" not in scores(view(frame, points))


def test_a_cold_inner_corner_of_the_eye() -> None:
    frame, points = warm_face()
    for corner in (39, 42):
        ellipse(frame, points[corner], 0.10, 0.10, SKIN - 25)
    assert found(view(frame, points)) == {"canthus-cold"}
    assert "canthus-cold" not in scores(view(frame, points, yaw=40))


@pytest.mark.parametrize(("level", "code"), [(HOT, {"lenses-warm"}), (ROOM + 30.0, set())])
def test_lenses_of_stated_or_seen_glasses(level: float, code: set[str]) -> None:
    frame, points = warm_face()
    for lids in (points[36:42], points[42:48]):
        ellipse(frame, lids.mean(0), 0.24, 0.18, level)
    assert found(view(frame, points, glasses="glasses")) == code
    assert found(view(frame, points, hidden=range(36, 48))) == code


@pytest.mark.parametrize(("level", "code"), [(HOT, {"mask-warm"}), (ROOM + 70.0, set())])
def test_masks(level: float, code: set[str]) -> None:
    frame, points = warm_face()
    hull = cv2.convexHull(np.concatenate([points[2:15], points[28:29]]).astype(np.int32))
    cv2.fillConvexPoly(frame, hull, level)
    assert found(view(frame, points, mask="mask")) == code
    assert found(view(frame, points, hidden=range(48, 68))) == code


@pytest.mark.parametrize(("level", "hot"), [(HOT, True), (ROOM + 70.0, False)])
def test_hair(level: float, hot: bool) -> None:
    frame, points = warm_face()
    brow = points[[19, 24]].mean(0)
    ellipse(frame, brow - (0, 0.85 * SCALE), 0.8, 0.35, level)
    assert ("hair-warm" in found(view(frame, points))) == hot


def test_a_background_hotter_than_skin() -> None:
    frame, points = warm_face()
    frame[frame < ROOM + 20] = HOT
    assert "background-warm" in found(view(frame, points))


def test_a_turned_or_tiny_face_leaves_the_eyes_untold() -> None:
    frame, points = warm_face()
    assert not {"pupils-glowing", "nose-warm"} & set(scores(view(frame, points, yaw=60)))
    assert not {"pupils-glowing", "orbits-glowing"} & set(scores(view(*warm_face(96, 16.0))))


@pytest.mark.parametrize("spoilt", ["none", "nan", "one place", "far away"])
def test_no_scores_without_a_face(spoilt: str) -> None:
    frame, points = warm_face()
    given = {
        "none": None,
        "nan": np.full_like(points, np.nan),
        "one place": np.full_like(points, 9.0),
        "far away": warm_landmarks() + 1e6,
    }[spoilt]
    gray = np.rint(frame).clip(0, 255).astype(np.uint8)
    assert list(physics.frame_scores(FrameView(0, gray, gray, landmarks=given))) == []


def test_corners_are_the_hottest_of_the_drawing() -> None:
    assert CORNER > SKIN + 15  # what the tests above rest on
