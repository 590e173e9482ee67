import copy

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from turning_faces import clip_row, poses, still_row, view

from thermvision.annotations.conventions import MIRROR
from thermvision.annotations.schema import EXPRESSIONS
from thermvision.curation.checks.faults import Fault
from thermvision.curation.checks.faults.labels import FAULTS
from thermvision.curation.checks.kinds import FrameView, ItemView, Scored, by_code
from thermvision.curation.checks.labels import KINDS, frame_scores, item_scores
from thermvision.curation.checks.mean_face import MEAN_FACE, fit_mean_face
from thermvision.curation.checks.runs import runs
from thermvision.curation.checks.timing import best_lag

KIND = by_code(KINDS)
NEEDS_PIXELS = {"face-gone", "all-labels-late", "other-gender"}  # found elsewhere: a detector, the frames, the manifest
FOUND_BY_DETECTOR_ONLY = {("box-left-out", "still")}
PLANTED = [
    (fault, medium)
    for fault in FAULTS
    for medium in fault.media
    if fault.name not in NEEDS_PIXELS and (fault.name, medium) not in FOUND_BY_DETECTOR_ONLY
]
FRAME = np.zeros((256, 256), np.uint8)


def findings(item: ItemView) -> dict[str, Scored]:
    return {s.code: s for s in item_scores(item) if KIND[s.code].is_finding(s.score)}


@pytest.mark.parametrize("fps", [10.0, 30.0])
def test_clean_clips_have_no_findings_and_many_scores(fps: float) -> None:
    scored = list(item_scores(view(clip_row(fps=fps))))
    assert {s.code for s in scored if KIND[s.code].is_finding(s.score)} == set()
    assert {"box-jump", "pose-reversed", "labels-lag", "labels-frozen", "state-side"} <= {s.code for s in scored}
    assert all(s.first is None for s in scored)


@pytest.mark.parametrize("yaw", [-40.0, 0.0, 40.0])
def test_clean_stills_have_no_findings(yaw: float) -> None:
    assert findings(view(still_row(yaw))) == {}


@pytest.mark.parametrize(("fault", "medium"), PLANTED, ids=lambda p: p.name if isinstance(p, Fault) else p)
def test_planted_faults_are_found(fault: Fault, medium: str) -> None:
    # eyes and mouth can be compared with the image of a straight face only
    yaw = 0.0 if fault.name in ("eyes-wide", "mouth-wide") else 38.0
    row = clip_row(fps=20.0) if medium == "clip" else still_row(yaw)
    assert fault.needs is None or fault.needs(row)
    assert fault.on_row is not None
    before = copy.deepcopy(row)
    fault.on_row(row, np.random.default_rng(1))
    assert row != before
    found = findings(view(row))
    assert set(found) & set(fault.codes)
    assert all(s.detail for s in found.values())


def test_faults_name_kinds_of_their_own() -> None:
    assert len({f.name for f in FAULTS}) == len(FAULTS) >= 20


def test_a_jump_is_told_with_its_frames() -> None:
    row = clip_row()
    row["bbox"][30][0] += 60
    assert (findings(view(row))["box-jump"].first, findings(view(row))["box-jump"].last) == (29, 31)


def test_frozen_labels_are_told_with_their_frames() -> None:
    row = clip_row()
    row["bbox"][20:33] = [row["bbox"][20]] * 13
    found = findings(view(row))["labels-frozen"]
    assert (found.score, found.first, found.last) == (13, 20, 32)


def test_what_the_row_does_not_know_is_not_scored() -> None:
    row = {"clip_id": "a"}
    assert list(item_scores(ItemView("a", "video", "train", True, row, 30.0, 20, 64, 64))) == []
    item = ItemView("a", "video", "train", True, row, 30.0, 20, 64, 64, bbox=np.full((20, 4), np.nan, np.float32))
    assert {s.code: s.score for s in item_scores(item)} == {"labels-frozen": 1}


def test_a_still_does_not_name_frames() -> None:
    row = still_row()
    row["bbox"][2] = float("nan")
    found = findings(view(row))["box-broken"]
    assert (found.first, found.last, found.score) == (None, None, 1)


def test_boxes_beside_those_a_detector_found() -> None:
    box = np.array([50, 50, 100, 100], np.float32)

    def codes(labelled: np.ndarray | None, found: list[list[float]] | None) -> list[str]:
        seen = None if found is None else np.array(found, np.float32).reshape(-1, 4)
        view = FrameView(3, FRAME, FRAME, labelled, found_boxes=seen)
        return [s.code for s in frame_scores(view) if KIND[s.code].is_finding(s.score)]

    assert codes(box, None) == codes(box, [[52, 50, 98, 100]]) == codes(None, []) == []
    assert codes(None, [[52, 50, 98, 100]]) == codes(np.full(4, np.nan, np.float32), [[52, 50, 98, 100]])
    assert codes(None, [[52, 50, 98, 100]]) == ["box-missing"]
    assert codes(None, [[5, 5, 10, 10]]) == []  # too small to be told as missing
    assert codes(box, []) == ["box-no-face"]
    assert codes(box, [[170, 170, 60, 60]]) == ["box-elsewhere"]


def test_expressions_that_openness_contradicts() -> None:
    row = still_row(0.0)
    for name, eyes, mouth, wrong in (("blink", 0.1, 0, False), ("blink", 0.3, 0, True), ("open", 0.3, 0.0, True)):
        row.update(expression=EXPRESSIONS.index(name), eye_openness=eyes, mouth_openness=mouth)
        assert ("expression-contradicted" in findings(view(row))) == wrong


@given(st.floats(-60, 60), st.floats(-35, 35), st.floats(-40, 40), st.floats(20, 200))
def test_the_mean_face_is_found_in_any_pose(yaw: float, pitch: float, roll: float, scale: float) -> None:
    from thermvision.annotations.pose import rotation_from_pose

    pose = np.array([yaw, pitch, roll])
    points = np.zeros((1, 68, 2))
    points[0, 17:] = 300 + scale * (MEAN_FACE @ rotation_from_pose(pose).T)[:, :2] * (1, -1)
    fit = fit_mean_face(points)
    assert np.abs(fit.pose[0] - pose).max() < 0.5
    assert fit.scale[0] == pytest.approx(scale, rel=0.01)
    assert fit.residual[0] < 0.01


def test_the_mean_face_is_symmetric_and_centred() -> None:
    pairs = np.array(MIRROR[17:]) - 17
    assert np.abs(MEAN_FACE - MEAN_FACE[pairs] * (-1, 1, 1)).max() < 1e-9
    assert np.abs(MEAN_FACE.mean(0)).max() < 1e-3
    assert np.linalg.norm(MEAN_FACE[28] - MEAN_FACE[19]) == pytest.approx(1, abs=1e-3)


def test_no_pose_of_points_in_one_place_or_that_are_no_numbers() -> None:
    points = np.stack([np.full((68, 2), 5.0), np.full((68, 2), np.nan)])
    assert np.isnan(fit_mean_face(points).pose).all()


@given(st.lists(st.floats(0, 10) | st.just(float("nan")), min_size=1, max_size=30))
def test_runs_cover_exactly_the_frames_beyond(scores: list[float]) -> None:
    kind = KIND["box-huge"]
    found = list(runs(kind, scores))
    bad = {n for n, s in enumerate(scores) if kind.is_finding(s)}
    covered: set[int] = set()
    for scored in found:
        if scored.first is not None and scored.last is not None:
            assert {scored.first, scored.last} <= bad
            covered |= set(range(scored.first, scored.last + 1))
    assert bad <= covered
    assert (not bad) or max(s.score for s in found) == max(s for s in scores if not np.isnan(s))


@given(st.integers(-6, 6))
def test_a_lag_is_found_and_none_where_there_is_none(lag: int) -> None:
    steps = np.diff(poses(80)[:, :2] + np.random.default_rng(0).normal(0, 3, (80, 2)), axis=0)
    assert best_lag(np.roll(steps, lag, 0), steps)[0] == lag


numbers = st.sampled_from([float("nan"), float("inf"), -float("inf"), -1e9, 0.0, 1.0, 100.0, 1e30])


@given(st.integers(0, 20), st.booleans(), st.data())
def test_nothing_is_too_broken_to_be_looked_at(frames: int, clip: bool, data: st.DataObject) -> None:
    def some(*shape: int) -> np.ndarray:
        values = data.draw(st.lists(numbers, min_size=3, max_size=6))
        seed = data.draw(st.integers(0, 9))
        return np.random.default_rng(seed).choice(values, (frames, *shape)).astype(np.float32)

    boxes = some(4)
    row = {"extra_bboxes": boxes[:, None].tolist() if clip else boxes.tolist(), "expression": [99, None, -1] * 7}
    row |= {"eye_openness": some().tolist() if clip else None, "mouth_openness": "x" if not clip else None}
    row["mouth_openness"] = None
    item = ItemView(
        "a", "video", "train", clip, row, 30.0, frames if clip else 1, 64, 64, boxes[: frames if clip else 1],
        some(68, 2), np.full((frames, 68), 7, np.uint8), some(3), np.full(frames, 9, np.uint8),
    )  # fmt: skip
    for scored in item_scores(item):
        assert scored.code in KIND


def test_a_face_beside_the_axis_may_look_turned_further_away_from_it_only() -> None:
    def apart(right: float, more: float) -> float:
        row = still_row(0.0)
        row["landmarks"] = np.add(row["landmarks"], (right, 0)).tolist()
        row["bbox"][0] += right
        row["head_pose"][0] -= more
        return next(s.score for s in item_scores(view(row)) if s.code == "pose-off-landmarks")

    assert apart(80, 25) < 0.6 < 1.2 < apart(80, -25)
    assert apart(0, 25) > 1.0


@pytest.mark.parametrize(("labelled", "told"), [([0.0, 5.0, 0.0], True), ([40.0, 0.0, 0.0], False)])
def test_openness_is_compared_where_labels_or_points_are_straight(labelled: list[float], told: bool) -> None:
    row = still_row(40)  # the points are too far turned to say so
    row |= {"head_pose": labelled, "eye_openness": 0.9}
    assert ("eyes-off-landmarks" in findings(view(row))) is told
