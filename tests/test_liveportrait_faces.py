"""The face of a picture and of each frame of a video, and how far its eyes and lips are open."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tiny_models
from hypothesis import given
from hypothesis import strategies as st
from moving_faces import EYES, LIPS, OvalAnnotator, face_points, ovals

from thermvision.annotations.schema import FrameAnnotation
from thermvision.generation.engines.liveportrait.faces import FaceReader, SeenPoints

BOX = (40.0, 30.0, 41.0, 41.0)


@given(st.floats(0, 1), st.floats(0, 1), st.floats(-180, 180), st.floats(0.1, 10))
def test_openness_of_68_points_is_what_was_drawn_however_it_lies(eyes, lips, turn, size):
    a = np.radians(turn)
    points = face_points((0, 0, 100, 100), eyes, lips) @ (
        size * np.array([[np.cos(a), np.sin(a)], [-np.sin(a), np.cos(a)]])
    )
    seen = SeenPoints(points + np.array([13, -7]))
    assert seen.eyes == pytest.approx([eyes, eyes], abs=1e-6)
    assert seen.lips == pytest.approx(lips, abs=1e-6)


def test_the_largest_face_of_a_picture_and_how_many_there_are():
    frame = ovals(120, 200, (60, 50), (150, 60))
    white_hot, face = FaceReader(OvalAnnotator()).in_picture(frame)
    assert white_hot is frame
    assert face is not None
    assert face.faces == 2
    # pixel centres at whole numbers
    np.testing.assert_allclose(face.points, face_points((40, 30, 41, 41)), atol=1e-4)
    assert face.eyes == pytest.approx([EYES, EYES], abs=1e-5)
    assert face.lips == pytest.approx(LIPS, abs=1e-5)


def test_a_picture_without_a_face_and_a_black_hot_one():
    empty = ovals(64, 64)
    assert FaceReader(OvalAnnotator()).in_picture(empty)[1] is None
    negative = 255 - ovals(120, 120, (60, 50))
    white_hot, face = FaceReader(OvalAnnotator(negative=True)).in_picture(negative)
    assert face is not None
    assert (white_hot == 255 - negative).all()


def test_each_frame_of_a_video_has_its_own_answer():
    frames = [ovals(100, 100, (40 + 2 * n, 50)) if n != 2 else ovals(100, 100) for n in range(5)]
    found = list(FaceReader(OvalAnnotator()).in_video(iter(frames)))
    assert [f is None for f in found] == [False, False, True, False, False]
    assert [float(f.points[36, 0]) for f in found if f] == pytest.approx([28.2, 30.2, 34.2, 36.2], abs=1e-4)


def test_annotations_without_landmarks_are_no_face():
    reader, gray = FaceReader(OvalAnnotator()), ovals(64, 64)
    assert reader.of_annotation(gray, FrameAnnotation.no_face("x")) is None
    assert reader.of_annotation(gray, FrameAnnotation(np.array(BOX), 1, "x")) is None
    lost = np.full((68, 2), np.nan)
    assert reader.of_annotation(gray, FrameAnnotation(np.array(BOX), 1, "x", landmarks=lost)) is None


def test_203_points_take_the_place_of_68(tmp_path: Path):
    index = np.arange(203)
    points = np.stack([(index * 37 % 203) / 203, (index * 59 % 203) / 203], 1).astype(np.float32)
    model = tiny_models.answers(tmp_path / "landmark.onnx", {"points": points.ravel()}, "input", (1, 3, 224, 224))
    reader = FaceReader(OvalAnnotator(), model)
    assert reader.source.startswith("ovals@0+landmark@")
    _, face = reader.in_picture(ovals(120, 200, (60, 50)))
    assert face is not None
    assert face.points.shape == (203, 2)
    wanted = [np.linalg.norm(points[a] - points[b]) / np.linalg.norm(points[c] - points[d]) for a, b, c, d in
              ((6, 18, 0, 12), (30, 42, 24, 36), (90, 102, 48, 66))]  # fmt: skip
    assert [*face.eyes, face.lips] == pytest.approx(wanted, rel=1e-3)
