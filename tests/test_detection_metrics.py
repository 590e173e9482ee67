"""Average precision by hand and against faster-coco-eval; recall, false positives, ties, faces that do not count."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from thermvision.annotations import detection_metrics as metrics
from thermvision.annotations.detection_metrics import ImageBoxes, match_boxes, match_images
from thermvision.annotations.errors import MissingDependencyError

A, B, C = [0.0, 0, 10, 10], [20.0, 0, 10, 10], [50.0, 50, 20, 20]
NOTHING = np.zeros((0, 4))


def image(truth: list[list[float]], detected: list[list[float]], scores: list[float], **more: object) -> ImageBoxes:
    return ImageBoxes(np.array(truth), np.array(detected), np.array(scores), **more)  # type: ignore[arg-type]


# three faces: found at .9, then a false positive at .8, found at .7, and C is missed
THREE_FACES = [image([A, C], [A, [80, 0, 9, 9]], [0.9, 0.8]), image([B], [B], [0.7])]


def test_average_precision_by_hand() -> None:
    # recall 1/3, 1/3, 2/3 and precision 1, 1/2, 2/3: 34 recalls up to .33 read 1, 33 up to .66 read 2/3
    expected = (34 + 33 * 2 / 3) / 101
    matches = match_images(THREE_FACES)
    assert matches.hits.tolist() == [True, False, True]
    assert metrics.average_precision(matches)[0] == pytest.approx(expected, abs=1e-12)
    assert metrics.coco_average_precision(THREE_FACES)[0] == pytest.approx(expected, abs=1e-12)


def test_recall_and_false_positives_by_hand() -> None:
    matches = match_images(THREE_FACES)
    assert metrics.recall_at(matches, 0.75).tolist() == pytest.approx([1 / 3])
    assert metrics.false_positives_at(matches, 0.75).tolist() == [1]
    assert metrics.recall_at_false_positives(matches, 0).tolist() == pytest.approx([1 / 3])
    assert metrics.recall_at_false_positives(matches, 1).tolist() == pytest.approx([2 / 3])
    curve = metrics.recall_curve(matches)
    assert curve["threshold"] == [0.9, 0.8, 0.7]
    assert curve["recall"] == pytest.approx([1 / 3, 1 / 3, 2 / 3])
    assert curve["false_positives"] == [0, 1, 1]


def test_images_can_be_counted_anew() -> None:
    matches = match_images(THREE_FACES)
    weights = [[1, 1], [0, 2], [2, 0], [0, 0]]
    assert metrics.recall_at(matches, 0, weights)[:3].tolist() == pytest.approx([2 / 3, 1, 1 / 2])
    assert np.isnan(metrics.recall_at(matches, 0, weights)[3])
    assert metrics.false_positives_at(matches, 0, weights).tolist() == [1, 0, 2, 0]
    precision = metrics.average_precision(matches, weights)
    assert precision[1] == 1
    assert np.isnan(precision[3])


def test_equal_scores_come_in_together() -> None:
    matches = match_images([image([A], [[80, 0, 9, 9], A], [0.5, 0.5])])
    assert metrics.recall_at_false_positives(matches, 0).tolist() == [0]
    assert metrics.recall_at_false_positives(matches, 1).tolist() == [1]
    assert metrics.recall_curve(matches) == {"threshold": [0.5], "recall": [1.0], "false_positives": [1]}


def test_a_face_is_found_once() -> None:
    assert match_boxes([A], [A, A]).tolist() == [0, -1]
    assert match_boxes([A, B], [[1, 0, 10, 10], A, B]).tolist() == [0, -1, 1]


def test_the_threshold_is_reached_at_exactly_half() -> None:
    assert metrics.iou_matrix([A], [[0, 0, 10, 5]]).tolist() == [[0.5]]
    assert match_boxes([A], [[0, 0, 10, 5]]).tolist() == [0]
    assert match_boxes([A], [[0, 0, 10, 4.99]]).tolist() == [-1]


def test_boxes_without_area_overlap_nothing() -> None:
    assert metrics.iou_matrix([[0, 0, 0, 5], A], [[0, 0, 0, 5]]).tolist() == [[0], [0]]


def test_small_faces_count_neither_as_found_nor_as_missed() -> None:
    small, small_elsewhere = [0.0, 30, 5, 5], [40.0, 40, 5, 5]
    images = [image([A, small], [A, small, small_elsewhere, B], [0.6, 0.9, 0.8, 0.7])]
    matches = match_images(images, min_face=8)
    assert matches.scores.tolist() == [0.7, 0.6]
    assert matches.hits.tolist() == [False, True]
    assert matches.faces.tolist() == [1]
    assert match_images(images).faces.tolist() == [2]


def test_a_marked_face_is_taken_only_when_no_other_fits() -> None:
    shifted = [1.0, 0, 10, 10]
    found = match_boxes([A, shifted], [A, A], ignored=[True, False])
    assert found.tolist() == [1, 0]
    matches = match_images([image([A, shifted], [A, A], [0.9, 0.8], ignored=np.array([True, False]))])
    assert matches.hits.tolist() == [True]


def test_no_faces_and_no_detections() -> None:
    empty = [ImageBoxes(NOTHING, NOTHING, np.zeros(0))]
    for images in (empty, []):
        matches = match_images(images)
        assert np.isnan(metrics.average_precision(matches)).all()
        assert np.isnan(metrics.recall_at(matches, 0.5)).all()
        assert np.isnan(metrics.recall_at_false_positives(matches, 5)).all()
        assert metrics.false_positives_at(matches, 0.5).tolist() == [0]
    assert np.isnan(metrics.coco_average_precision(empty)).all()
    missed = match_images([image([A], [], [])])
    assert metrics.average_precision(missed).tolist() == [0]
    mug = match_images([image([], [A], [0.9])])
    assert metrics.false_positives_at(mug, 0.5).tolist() == [1]


def test_malformed_boxes_are_refused() -> None:
    with pytest.raises(ValueError, match="not finite"):
        image([[np.nan, 0, 1, 1]], [], [])
    with pytest.raises(ValueError, match="1 detections with 2 scores"):
        image([], [A], [0.5, 0.6])


def test_without_the_extra_the_command_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "faster_coco_eval", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'thermvision-db\[eval\]'"):
        metrics.coco_average_precision([])


boxes = st.tuples(st.integers(0, 40), st.integers(0, 40), st.integers(1, 30), st.integers(1, 30))


@st.composite
def image_sets(draw: st.DrawFn) -> list[ImageBoxes]:
    images = []
    for _ in range(draw(st.integers(1, 4))):
        truth = [list(b) for b in draw(st.lists(boxes, max_size=3, unique=True))]
        near = [[x + draw(st.integers(-3, 3)), y, w, h] for x, y, w, h in truth]
        detected = near + [list(b) for b in draw(st.lists(boxes, max_size=2))]
        scores = [draw(st.integers(0, 9)) / 10 for _ in detected]
        flags = np.array([draw(st.booleans()) for _ in truth], bool)
        images.append(ImageBoxes(np.array(truth), np.array(detected), np.array(scores), flags))
    return images


@settings(max_examples=60, deadline=None)
@given(image_sets(), st.sampled_from([0.0, 6.0, 15.0]))
def test_it_agrees_with_faster_coco_eval(images: list[ImageBoxes], min_face: float) -> None:
    matched = [match_images(images, iou, min_face) for iou in metrics.COCO_IOUS]
    ours = metrics.average_precision(matched[0])[0], metrics.mean_average_precision(matched)[0]
    theirs = metrics.coco_average_precision(images, min_face)
    assert np.allclose(ours, theirs, atol=1e-9, equal_nan=True)


@settings(deadline=None)
@given(image_sets())
def test_perfect_boxes_are_perfect(images: list[ImageBoxes]) -> None:
    perfect = [ImageBoxes(i.truth, i.truth, np.linspace(0.5, 1, len(i.truth))) for i in images]
    matches = match_images(perfect, 0.95)
    if matches.faces.sum():
        assert metrics.average_precision(matches).tolist() == [1]
        assert metrics.recall_at(matches, 0.5).tolist() == [1]
    assert metrics.false_positives_at(matches, 0).tolist() == [0]


@settings(deadline=None)
@given(image_sets(), st.lists(st.integers(0, 3), min_size=4, max_size=4))
def test_weights_are_repetitions(images: list[ImageBoxes], counts: list[int]) -> None:
    used = counts[: len(images)]
    distinct, start = [], 0
    for picture in images:  # equal scores would be ordered by their images, and repeating moves images
        number = len(picture.scores)
        distinct.append(ImageBoxes(picture.truth, picture.detected, 1 - np.arange(start, start + number) / 100))
        start += number
    repeated = [picture for picture, count in zip(distinct, used, strict=True) for _ in range(count)]
    weighted, plain = match_images(distinct), match_images(repeated)
    for statistic in (
        metrics.average_precision,
        lambda m, w=None: metrics.recall_at(m, 0.9, w),
        lambda m, w=None: metrics.false_positives_at(m, 0.9, w),
        lambda m, w=None: metrics.recall_at_false_positives(m, 2, w),
    ):
        assert np.allclose(statistic(weighted, [used]), statistic(plain), atol=1e-9, equal_nan=True)
