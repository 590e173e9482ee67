"""Detector, landmarker and attributes together: main face, polarity, and what is recorded."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import tiny_models

from thermvision.annotations.attributes import AttributeReader
from thermvision.annotations.detector import ThermalDetector
from thermvision.annotations.errors import UsageError
from thermvision.annotations.faces import Detections, FaceShape, Gray
from thermvision.annotations.landmarker import ThermalLandmarker
from thermvision.annotations.pipeline import BATCH, Annotator, main_face


class Squares:
    """Finds every 10 x 10 square that is as bright as its score; says that bright frames are black-hot."""

    source = "squares@0"

    def __init__(self, knows_polarity: bool = True) -> None:
        self.knows_polarity = knows_polarity
        self.calls: list[int] = []

    def detect(self, frames: Sequence[Gray]) -> list[Detections]:
        self.calls.append(len(frames))
        return [self._one(frame) for frame in frames]

    def _one(self, frame: Gray) -> Detections:
        black_hot = float(frame.mean() > 127) if self.knows_polarity else None
        found = [
            (float(frame[y, x]) / 255, [x, y, 10, 10])
            for y in range(0, frame.shape[0], 10)
            for x in range(0, frame.shape[1], 10)
            if 127 < frame[y, x] < 255
        ]
        found.sort(key=lambda pair: -pair[0])
        boxes = np.array([box for _, box in found], np.float32).reshape(-1, 4)
        nowhere = np.full((len(found), 5, 2), np.nan)
        return Detections(boxes, np.array([score for score, _ in found]), nowhere, black_hot)


class Marks:
    """68 points in the middle of each box."""

    source = "marks@1"

    def __init__(self) -> None:
        self.frames: list[Gray] = []

    def locate(self, frame: Gray, detections: Detections) -> list[FaceShape | None]:
        self.frames.append(frame)
        return [FaceShape(np.tile(box[:2] + box[2:] / 2, (68, 1))) for box in detections.bboxes]


def squares(*places: tuple[int, int, int]) -> Gray:
    frame = np.zeros((60, 80), np.uint8)
    for x, y, value in places:
        frame[y : y + 10, x : x + 10] = value
    return frame


def test_a_still() -> None:
    annotator = Annotator(Squares(), Marks())
    assert annotator.source == "squares@0+marks@1"
    (found,) = annotator.annotate([squares((20, 10, 200), (50, 30, 250))])
    assert found.bbox.tolist() == [50, 30, 10, 10]
    assert found.bbox_score == pytest.approx(250 / 255)
    assert found.face_count == 2
    assert found.extra_bboxes.tolist() == [[20, 10, 10, 10]]
    assert found.landmarks is not None
    assert found.landmarks[7].tolist() == [55, 35]
    assert found.source == "squares@0+marks@1"
    assert (found.landmark_state, found.head_pose, found.expression) == (None, None, None)


def test_no_face() -> None:
    (found,) = Annotator(Squares(), Marks()).annotate([squares()])
    assert found.face_count == 0
    assert np.isnan(found.bbox).all()
    assert found.landmarks is None
    assert Annotator(Squares()).annotate([]) == []
    assert Annotator(Squares()).faces(squares()) == []


def test_a_video_follows_its_main_face() -> None:
    frames = [squares((10 * 0, 0, 200 + 0), (40, 30, 150 + 30 * i)) for i in range(4)]
    stills = [a.bbox[0] for a in Annotator(Squares()).annotate(frames)]
    followed = [a.bbox[0] for a in Annotator(Squares()).annotate(frames, video=True)]
    assert stills == [0, 0, 40, 40]
    assert followed == [0, 0, 0, 0]
    away = [frames[0], squares(), squares((40, 30, 150)), frames[3]]
    assert [a.bbox[0] for a in Annotator(Squares()).annotate(away, video=True)][2:] == [40, 40]


def test_black_hot_stills_are_inverted_one_by_one() -> None:
    detector, marks = Squares(), Marks()
    frames = [squares((20, 10, 200)), 255 - squares((20, 10, 200))]
    one, two = Annotator(detector, marks).annotate(frames)
    assert one.source == "squares@0+marks@1"
    assert two.source == "squares@0+marks@1+inverted"
    assert one.bbox.tolist() == two.bbox.tolist() == [20, 10, 10, 10]
    assert detector.calls == [2, 1]
    assert (marks.frames[1] == frames[0]).all()
    assert frames[1][0, 0] == 255  # the caller's frame is left alone


def test_polarity_of_a_video_is_decided_once() -> None:
    detector = Squares()
    negative = [255 - squares((20, 10, 200))] * (BATCH + 3)
    negative[5] = squares((20, 10, 200))  # one odd frame does not count
    found = Annotator(detector).annotate(negative, video=True)
    assert detector.calls == [BATCH, BATCH, 3]
    assert {a.source for a in found} == {"squares@0+inverted"}
    assert [a.face_count for a in found[:5]] == [1] * 5
    assert found[-1].bbox.tolist() == [20, 10, 10, 10]
    detector = Squares()
    positive = [squares((20, 10, 200))] * BATCH + [255 - squares((20, 10, 200))]
    assert {a.source for a in Annotator(detector).annotate(positive, video=True)} == {"squares@0"}
    assert detector.calls == [BATCH, 1]


@pytest.mark.parametrize("video", [False, True])
def test_a_frame_that_is_black_hot_either_way_is_left_alone(video: bool) -> None:
    class Undecided(Squares):
        def _one(self, frame: Gray) -> Detections:
            found = super()._one(frame)
            return Detections(found.bboxes, found.scores, found.keypoints, 0.75)

    (found,) = Annotator(Undecided()).annotate([squares((20, 10, 200))], video=video)
    assert found.source == "squares@0"
    assert found.bbox.tolist() == [20, 10, 10, 10]


def test_polarity_by_order() -> None:
    frame = 255 - squares((20, 10, 200))
    assert Annotator(Squares(), polarity="white-hot").annotate([frame])[0].source == "squares@0"
    found = Annotator(Squares(knows_polarity=False), polarity="black-hot").annotate([frame] * 20, video=True)
    assert {(a.source, a.face_count) for a in found} == {("squares@0+inverted", 1)}
    assert Annotator(Squares(knows_polarity=False)).annotate([frame])[0].source == "squares@0"
    with pytest.raises(UsageError, match="polarity is 'hot'"):
        Annotator(Squares(), polarity="hot")


def test_streams_read_little_ahead() -> None:
    read = []

    def frames() -> object:
        for i in range(100):
            read.append(i)
            yield squares()

    stream = Annotator(Squares()).stream(frames())
    next(stream)
    assert len(read) == BATCH


def test_all_faces() -> None:
    faces = Annotator(Squares(), Marks()).faces(squares((20, 10, 200), (50, 30, 250)))
    assert [face.bbox.tolist() for face in faces] == [[50, 30, 10, 10], [20, 10, 10, 10]]
    assert faces[0].score == pytest.approx(250 / 255)
    assert faces[0].keypoints.tolist() == [[55, 35]] * 5  # the detector gives none: those of the landmarks
    assert faces[0].shape is not None
    assert faces[0].attributes == {}
    bare = Annotator(Squares()).faces(squares((20, 10, 200)))[0]
    assert np.isnan(bare.keypoints).all()
    assert bare.shape is None


def test_keypoints_are_those_of_the_landmarks_where_they_are_known() -> None:
    class Rough(Squares):
        def detect(self, frames: Sequence[Gray]) -> list[Detections]:
            return [Detections(d.bboxes, d.scores, np.full((len(d), 5, 2), 7.0)) for d in super().detect(frames)]

    class NoMouth(Marks):
        def locate(self, frame: Gray, detections: Detections) -> list[FaceShape | None]:
            shapes = [s for s in super().locate(frame, detections) if s is not None]
            for shape in shapes:
                shape.landmarks[48:] = np.nan
            return [*shapes]

    frame = squares((50, 30, 200))
    assert Annotator(Rough()).faces(frame)[0].keypoints.tolist() == [[7, 7]] * 5
    assert Annotator(Rough(), Marks()).faces(frame)[0].keypoints.tolist() == [[55, 35]] * 5
    assert Annotator(Rough(), NoMouth()).faces(frame)[0].keypoints.tolist() == [[55, 35]] * 3 + [[7, 7]] * 2


def test_each_frame_of_a_video() -> None:
    detector = Squares()
    found = list(Annotator(detector).each([255 - squares((20, 10, 200))] * 20, video=True))
    assert [len(faces) for faces in found] == [1] * 20
    assert detector.calls == [16, 16, 4]


def test_with_networks(tmp_path: Path) -> None:
    annotator = Annotator(
        ThermalDetector(tiny_models.detector(tmp_path / "detector.onnx", box=(20, 20, 20, 20))),
        ThermalLandmarker(tiny_models.landmarker(tmp_path / "landmarker.onnx")),
        AttributeReader(tiny_models.attributes(tmp_path / "attributes.onnx")),
    )
    frame = np.zeros((128, 160), np.uint8)
    frame[60:64, 80:84] = 255
    (found,) = annotator.annotate([frame])
    assert [part.split("@")[0] for part in found.source.split("+")] == ["detector", "landmarker", "attributes"]
    assert found.bbox.tolist() == [62, 42, 40, 40]
    assert found.expression == "surprise"
    assert found.head_pose is not None
    assert found.head_pose.tolist() == [10, -20, 5]
    assert found.landmarks is not None
    assert (np.abs(found.landmarks - (82, 62)) <= 27).all()
    assert annotator.faces(frame)[0].attributes["headwear"] == ("beanie", pytest.approx(0.75))


def test_boxes_that_cannot_be_are_dropped() -> None:
    class Odd(Squares):
        def _one(self, frame: Gray) -> Detections:
            boxes = np.array([[0, 0, 1e4, 9], [20, 10, 10, 10], [5, 5, 0, 9], [-1e9, 5, 9, 9], [np.nan, 5, 9, 9]])
            return Detections(boxes, np.full(5, 0.9), np.zeros((5, 5, 2)), 0.25)

    (found,) = Annotator(Odd(), Marks()).annotate([squares()])
    assert found.bbox.tolist() == [20, 10, 10, 10]
    assert found.face_count == 1
    assert len(found.extra_bboxes) == 0


def test_main_face() -> None:
    boxes = np.array([[0, 0, 10, 10], [30, 0, 20, 20], [60, 0, 10, 10]])
    found = Detections(boxes, np.array([0.9, 0.5, 0.8]), np.zeros((3, 5, 2)))
    assert main_face(found) == 1
    assert main_face(found, np.array([58, 0, 10, 10], np.float32)) == 2
    assert main_face(found, np.array([300, 0, 10, 10], np.float32)) == 1
