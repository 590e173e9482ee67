"""The second look: what it weighs, what it keeps, and what goes on with the detections."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from thermvision.annotations import confirmation
from thermvision.annotations.confirmation import (
    SURE,
    ConfirmedDetector,
    Evidence,
    evidence_text,
    first_look,
    read_evidence,
    second_look,
)
from thermvision.annotations.detector import ThermalDetector
from thermvision.annotations.errors import DamagedInputError, MissingDependencyError
from thermvision.annotations.faces import Detections, FaceShape
from thermvision.annotations.landmarker import ThermalLandmarker
from thermvision.annotations.pipeline import Annotator

EVIDENCE = Evidence(2.0, -2.0, 1.0, -2.0, 0.3, "detector@1", "landmarker@1")
FRAME = np.zeros((100, 100), np.uint8)


def found(*scores: float, side: float = 20) -> Detections:
    boxes = np.array([[10 + 5 * k, 10, side, side] for k in range(len(scores))], np.float32).reshape(-1, 4)
    return Detections(boxes, np.array(scores, np.float32), np.zeros((len(scores), 5, 2)), 0.1)


class Landmarker:
    """Unsure by as many pixels as it is told, of each face in turn; nothing where that is None."""

    source = "landmarker@1"

    def __init__(self, upright: Sequence[float | None], turned: Sequence[float]) -> None:
        self.upright, self.turned, self.asked = upright, turned, 0

    def locate(self, _: Any, detections: Detections) -> list[FaceShape | None]:
        self.asked += 1
        return [
            None if doubt is None else FaceShape(np.full((68, 2), k, np.float32), uncertainty=np.full(68, doubt))
            for k, doubt in zip(range(len(detections)), self.upright, strict=True)
        ]

    def doubt_upside_down(self, _: Any, detections: Detections) -> np.ndarray:
        return np.array(self.turned[: len(detections)], np.float32)


def test_a_row_holds_the_score_and_both_doubts_relative_to_the_box() -> None:
    landmarker: Any = Landmarker([1.0, 4.0, None], [2.0, 4.0, 1.0])
    seen = found(0.5, 0.8, 0.8)
    first = first_look(seen, landmarker.locate(FRAME, seen))
    np.testing.assert_allclose(first[:, 0], [0, np.log(4), np.log(4)], atol=1e-6)
    np.testing.assert_allclose(np.exp(first[:, 1]), [1 / 20, 4 / 20, 1.0], rtol=1e-6)
    assert (first[:, 1] == first[:, 2]).all()
    second = second_look(landmarker, FRAME, seen, first)
    assert (second[:, :2] == first[:, :2]).all()
    np.testing.assert_allclose(np.exp(second[:, 2]), [2 / 20, 4 / 20, 1 / 20], rtol=1e-6)


def test_no_candidates_are_no_rows() -> None:
    looks = first_look(found(), [])
    assert looks.shape == (0, 3)
    assert EVIDENCE.probabilities(looks).shape == (0,)


def test_only_the_doubtful_are_turned(monkeypatch: pytest.MonkeyPatch) -> None:
    landmarker = Landmarker([0.1, 2.0], [4.0])  # one turned crop: a second would not be answered for
    finder = detector(monkeypatch, landmarker, found(0.9, 0.6))
    (kept,) = finder.detect([FRAME])
    assert kept.scores[0] > SURE > kept.scores[1]


@given(st.floats(-12, 12), st.floats(-9, 0), st.floats(-9, 0), st.floats(0.01, 3))
def test_more_doubt_never_makes_a_face_likelier(score: float, doubt: float, turned: float, more: float) -> None:
    rows = [
        [score, doubt, turned],
        [score, doubt + more, turned],
        [score, doubt, turned - more],
        [score - more, doubt, turned],
    ]
    first, *others = EVIDENCE.probabilities(rows)
    assert all(p <= first for p in others)
    assert ((first >= 0) & (first <= 1)).all()


def detector(monkeypatch: pytest.MonkeyPatch, landmarker: Landmarker, detections: Detections, **options: Any) -> Any:
    class Detector:
        source, tells_polarity, min_face = "detector@1", True, 40.0

        def __init__(self, *_: Any) -> None: ...

        def detect(self, frames: Sequence[Any]) -> list[Detections]:
            return [detections] * len(frames)

    monkeypatch.setattr(confirmation, "ThermalDetector", Detector)
    monkeypatch.setattr(confirmation, "ThermalLandmarker", lambda *_: landmarker)
    return ConfirmedDetector(**{"evidence": EVIDENCE, **options})


def test_what_the_landmarker_knows_comes_first_and_what_it_does_not_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    landmarker = Landmarker([2.0, 0.5, 20.0], [4.0, 4.0, 0.2])
    finder = detector(monkeypatch, landmarker, found(0.6, 0.4, 0.9))
    (kept,) = finder.detect([FRAME])
    assert len(kept) == 2
    assert kept.bboxes[:, 0].tolist() == [15, 10]  # the second candidate, then the first
    assert kept.scores[0] > kept.scores[1] >= finder.threshold == 0.3
    assert kept.black_hot == pytest.approx(0.1)
    assert [s.landmarks[0, 0] for s in kept.shapes] == [1, 0]
    assert finder.source.startswith("detector@1+confirmed@")
    other = detector(monkeypatch, landmarker, found(0.6), evidence=replace(EVIDENCE, score=3.0))
    assert other.source != finder.source
    everything = detector(monkeypatch, landmarker, found(0.6, 0.4, 0.9), threshold=0.01)
    assert len(everything.detect([FRAME])[0]) == 3


def test_the_same_landmarker_is_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    landmarker: Any = Landmarker([1.0], [4.0])
    finder = detector(monkeypatch, landmarker, found(0.9))
    (annotation,) = Annotator(finder, landmarker).annotate([FRAME])
    assert landmarker.asked == 1
    assert annotation.landmarks is not None
    assert annotation.source == f"{finder.source}+landmarker@1"

    class Other(Landmarker):
        source = "other@2"

    other: Any = Other([1.0], [4.0])
    Annotator(finder, other).annotate([FRAME])
    assert other.asked == 1


def test_detections_are_taken_with_their_shapes() -> None:
    shape = FaceShape(np.zeros((68, 2), np.float32))
    both = Detections(np.ones((2, 4)), np.array([0.9, 0.8]), np.zeros((2, 5, 2)), None, (None, shape))
    assert both.take(np.array([False, True])).shapes == (shape,)
    assert both.take(np.array([1, 0])).scores.tolist() == pytest.approx([0.8, 0.9])
    with pytest.raises(ValueError, match="1 shapes go with 2 scores"):
        Detections(np.ones((2, 4)), np.ones(2), np.zeros((2, 5, 2)), None, (None,))


def test_weights_go_to_a_file_and_back(tmp_path: Path) -> None:
    path = tmp_path / "confirmation.json"
    path.write_text(evidence_text(EVIDENCE, {"measured": {"recall": "1"}}))
    assert read_evidence(path) == EVIDENCE
    assert json.loads(path.read_text())["measured"] == {"recall": "1"}


@pytest.mark.parametrize(
    "content",
    ["", "[]", "{}", "9" * 70_000, '{"score": 1, "doubt": "x"}', evidence_text(EVIDENCE, {"threshold": 0.0}),
     evidence_text(EVIDENCE, {"score": float("nan")}), "[" * 60_000],
)  # fmt: skip
def test_a_file_that_holds_something_else(content: str, tmp_path: Path) -> None:
    path = tmp_path / "confirmation.json"
    path.write_text(content)
    with pytest.raises(DamagedInputError, match="thermvision train confirmation"):
        read_evidence(path)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(MissingDependencyError, match="reinstall"):
        read_evidence(tmp_path / "none.json")


def test_the_shipped_weights_are_of_the_shipped_models() -> None:
    evidence = read_evidence()
    assert evidence.detector == ThermalDetector().source
    assert evidence.landmarker == ThermalLandmarker().source
    assert evidence.score > 0 > evidence.doubt
    assert evidence.doubt_upside_down > 0
