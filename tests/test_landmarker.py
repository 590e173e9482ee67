"""From crop to frame: points, their spread and state, pose and openness."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tiny_models

from thermvision.annotations.errors import UsageError
from thermvision.annotations.faces import Detections, FaceLandmarker
from thermvision.annotations.landmarker import MARGIN, ThermalLandmarker, face_crops
from thermvision.annotations.schema import OUTSIDE


def boxes(*rows: list[float]) -> Detections:
    return Detections(np.array(rows, np.float32), np.ones(len(rows)), np.full((len(rows), 5, 2), np.nan))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> ThermalLandmarker:
    return ThermalLandmarker(tiny_models.landmarker(tmp_path_factory.mktemp("models") / "tiny.onnx"))


def test_points_are_mapped_back(model: ThermalLandmarker) -> None:
    # side 224 / 1.35: a window of 224 px about (200, 180), twice the crop
    side = 224 / MARGIN
    frame = np.full((400, 400), 51, np.uint8)
    (shape,) = model.locate(frame, boxes([200 - side / 2, 180 - side / 2 + 10, side, side - 20]))
    assert shape is not None
    np.testing.assert_allclose(shape.landmarks, tiny_models.face_68() * 2 + (200 - 112, 180 - 112), atol=1e-4)
    assert shape.uncertainty == pytest.approx(np.full(68, 4.0))
    assert shape.landmark_state.tolist() == [1 + i % 3 for i in range(68)]
    assert shape.head_pose.tolist() == [10, -20, 5]
    assert shape.eye_openness == pytest.approx(0.2)
    assert shape.mouth_openness == pytest.approx(0.2)
    assert shape.landmarks.dtype == np.float32


def test_points_beyond_the_frame_are_outside(model: ThermalLandmarker) -> None:
    side = 112 / MARGIN
    frame = np.zeros((100, 100), np.uint8)
    (shape,) = model.locate(frame, boxes([-side / 2, 50 - side / 2, side, side]))
    assert shape is not None
    beyond = tiny_models.face_68()[:, 0] < 56
    assert 0 < beyond.sum() < 68
    assert ((shape.landmark_state == OUTSIDE) == ((shape.landmarks < 0) | (shape.landmarks > 100)).any(1)).all()
    assert (shape.landmark_state[beyond] == OUTSIDE).all()


def test_points_beyond_the_far_corner(model: ThermalLandmarker) -> None:
    side = 112 / MARGIN
    (shape,) = model.locate(np.zeros((60, 300), np.uint8), boxes([150 - side / 2, 40 - side / 2, side, side]))
    assert shape is not None
    y = shape.landmarks[:, 1]
    assert 0 < (y > 60).sum() < 68
    assert ((shape.landmark_state == OUTSIDE) == ((y > 60) | (y < 0))).all()


def test_all_faces_of_a_frame_in_one_run(model: ThermalLandmarker, monkeypatch: pytest.MonkeyPatch) -> None:
    frame = np.zeros((200, 300), np.uint8)
    frame[:, 150:] = 255
    runs = []
    run = model._model.run
    monkeypatch.setattr(model._model, "run", lambda inputs: runs.append(inputs["crop"].shape) or run(inputs))
    left, right = model.locate(frame, boxes([40, 60, 50, 60], [210, 60, 50, 60]))
    assert runs == [(2, 1, 112, 112)]
    assert left is not None
    assert right is not None
    assert (left.eye_openness, right.eye_openness) == (0.0, pytest.approx(1.0))
    np.testing.assert_allclose(right.landmarks - left.landmarks, np.tile([170.0, 0], (68, 1)), atol=1e-3)
    assert model.locate(frame, Detections()) == []
    assert len(runs) == 1


def test_no_points_no_shape(tmp_path: Path) -> None:
    points = tiny_models.face_68()
    points[3] = np.nan
    model = ThermalLandmarker(tiny_models.landmarker(tmp_path / "nan.onnx", points))
    assert model.locate(np.zeros((99, 99), np.uint8), boxes([20, 20, 40, 40])) == [None]


def test_crops_for_a_network() -> None:
    frame = np.random.default_rng(0).integers(0, 256, (80, 90), dtype=np.uint8)
    crops, scales, corners = face_crops(frame, [[10, 20, 40, 40], [60, 50, 20, 10]], 1.0, 20)
    assert (crops.shape, crops.dtype) == ((2, 1, 20, 20), np.float32)
    assert scales.tolist() == [0.5, 1.0]
    assert corners.tolist() == [[10, 20], [60, 45]]
    assert (crops[1, 0] == frame[45:65, 60:80]).all()


def test_other_networks_are_refused(tmp_path: Path, model: ThermalLandmarker) -> None:
    assert isinstance(model, FaceLandmarker)
    with pytest.raises(UsageError, match="a landmarker needs points"):
        ThermalLandmarker(tiny_models.embedder(tmp_path / "embedder.onnx"))
