"""The detector's own arithmetic, on a network whose cells are as sure of a face as they are bright."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tiny_models
from hypothesis import given
from hypothesis import strategies as st
from tiny_models import BOX, POINTS

from thermvision.annotations.detector import MAX_SIDE, ThermalDetector, input_sizes, suppress
from thermvision.annotations.errors import MissingDependencyError, UsageError
from thermvision.annotations.faces import FaceDetector


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_models.detector(tmp_path_factory.mktemp("models") / "tiny.onnx")


def dark(height: int, width: int, *places: tuple[int, int, int, int]) -> np.ndarray:
    """A black frame with white rectangles ``x, y, side, value``."""
    frame = np.zeros((height, width), np.uint8)
    for x, y, side, value in places:
        frame[y : y + side, x : x + side] = value
    return frame


def test_a_cell_is_read_to_the_pixel(model: Path) -> None:
    found = ThermalDetector(model).detect([dark(96, 128, (40, 20, 4, 255))])[0]
    # the cell's centre is (42, 22)
    assert found.bboxes.tolist() == [[42 - BOX[0], 22 - BOX[1], BOX[0] + BOX[2], BOX[1] + BOX[3]]]
    assert found.scores.tolist() == [1.0]
    assert found.keypoints.tolist() == [[[42 + x, 22 + y] for x, y in zip(POINTS[::2], POINTS[1::2], strict=True)]]
    assert found.black_hot == pytest.approx(16 / (96 * 128))


def test_resized_frames_are_mapped_back(model: Path) -> None:
    found = ThermalDetector(model).detect([dark(384, 384, (80, 40, 8, 255))])[0]
    assert found.bboxes.tolist() == [[84 - 2 * BOX[0], 44 - 2 * BOX[1], 2 * (BOX[0] + BOX[2]), 2 * (BOX[1] + BOX[3])]]
    assert found.keypoints[0, 1].tolist() == [84 + 2 * POINTS[2], 44 + 2 * POINTS[3]]


def test_the_axes_are_scaled_apart(model: Path) -> None:
    # 400 x 300 becomes 192 x 144, 401 x 299 becomes 192 x 143
    detector = ThermalDetector(model, threshold=0.2)
    found = detector.detect([dark(299, 401, (200, 150, 24, 255))])[0]
    best = found.bboxes[0]
    assert best[2] == pytest.approx((BOX[0] + BOX[2]) * 401 / 192)
    assert best[3] == pytest.approx((BOX[1] + BOX[3]) * 299 / 143)


def test_padding_repeats_the_border(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    detector = ThermalDetector(model)
    frame = np.random.default_rng(0).integers(0, 256, (50, 100), dtype=np.uint8)
    seen = []
    run = detector._model.run
    monkeypatch.setattr(detector._model, "run", lambda inputs: seen.append(inputs["image"].copy()) or run(inputs))
    detector.detect([frame])
    (image,) = seen
    assert image.shape == (1, 1, 64, 128)
    assert (image[0, 0] == np.pad(frame, ((0, 14), (0, 28)), mode="edge")).all()


def test_overlapping_cells_make_one_face(model: Path) -> None:
    frame = dark(96, 128, (40, 40, 4, 200), (44, 40, 4, 250), (100, 40, 4, 180))
    found = ThermalDetector(model).detect([frame])[0]
    assert found.scores == pytest.approx([250 / 255, 180 / 255])
    assert found.bboxes[:, 0].tolist() == [46 - BOX[0], 102 - BOX[0]]


def test_threshold_and_overlap(model: Path, tmp_path: Path) -> None:
    frame = dark(96, 128, (40, 40, 4, 100), (100, 40, 4, 153))
    assert len(ThermalDetector(model, threshold=0.39).detect([frame])[0]) == 2
    assert len(ThermalDetector(model, threshold=0.61).detect([frame])[0]) == 0
    assert ThermalDetector(model).threshold == 0.4
    stored = tiny_models.detector(tmp_path / "stored.onnx", metadata={"threshold": "0.25"})
    assert ThermalDetector(stored).threshold == 0.25
    assert ThermalDetector(stored, threshold=0.5).threshold == 0.5
    near = dark(96, 128, (40, 40, 4, 200), (44, 40, 4, 250))
    assert len(ThermalDetector(model, overlap=0.9).detect([near])[0]) == 2


def test_batches_are_the_frames_one_by_one(model: Path) -> None:
    rng = np.random.default_rng(1)
    frames = [dark(*shape, (int(rng.integers(8, 60)), 24, 4, 220)) for shape in [(96, 128), (64, 96), (400, 300)] * 3]
    detector = ThermalDetector(model, threshold=0.1)
    together = detector.detect(frames)
    for frame, found in zip(frames, together, strict=True):
        alone = detector.detect([frame])[0]
        np.testing.assert_array_equal(found.bboxes, alone.bboxes)
        np.testing.assert_array_equal(found.keypoints, alone.keypoints)
        assert found.black_hot == alone.black_hot
    assert any(len(found) for found in together)
    assert detector.detect([]) == []


def test_large_inputs_are_read_twice(model: Path) -> None:
    # at the fine size the bright square is 60 cells wide, at the coarse one it fills few
    detector = ThermalDetector(model, min_face=12, threshold=0.9)
    found = detector.detect([dark(768, 768, (384, 384, 4, 255))])[0]
    fine = BOX[0] + BOX[2]
    assert found.bboxes[:, 2].tolist() == [fine]
    found = detector.detect([dark(768, 768, (384, 384, 16, 255))])[0]
    assert 4 * fine in found.bboxes[:, 2].tolist()


def test_a_model_without_polarity(tmp_path: Path) -> None:
    path = tiny_models.detector(tmp_path / "plain.onnx", black_hot=False)
    assert ThermalDetector(path).detect([dark(64, 64, (20, 20, 4, 255))])[0].black_hot is None


def test_cells_without_area_are_dropped(tmp_path: Path) -> None:
    path = tiny_models.detector(tmp_path / "odd.onnx", box=(-6, 8, 2, 8))
    assert len(ThermalDetector(path).detect([dark(64, 64, (20, 20, 4, 255))])[0]) == 0


@given(st.integers(1, 5000), st.integers(1, 5000), st.floats(1, 200))
def test_input_sizes(width: int, height: int, min_face: float) -> None:
    sizes = input_sizes(width, height, min_face)
    long, side = max(width, height), max(sizes[0])
    assert side <= max(2 * long, 1)
    assert side <= MAX_SIDE
    assert all(min(size) >= 1 for size in sizes)
    if side < MAX_SIDE:
        # rounding to a pixel costs at most half of one in the side
        assert (side + 0.5) / long * min_face >= min(12, 2 * min_face) * 0.999 or side >= long
    assert len(sizes) == (2 if side > 320 else 1)
    if side > 320:
        assert max(sizes[1]) == 192


def test_sizes_by_hand() -> None:
    assert input_sizes(640, 512) == [(192, 154)]
    assert input_sizes(1920, 1080) == [(576, 324), (192, 108)]
    assert input_sizes(160, 120, 6) == [(320, 240)]
    assert input_sizes(512, 512, 12) == [(512, 512), (192, 192)]
    assert input_sizes(100, 80) == [(100, 80)]


def test_suppression_keeps_order() -> None:
    boxes = [[0, 0, 10, 10], [100, 0, 10, 10], [0, 5, 10, 10], [0, 6, 10, 10]]
    assert suppress(boxes, [0.5, 0.9, 0.6, 0.55], 0.3).tolist() == [1, 2]
    assert suppress(boxes, [0.5, 0.9, 0.6, 0.55], 0.4).tolist() == [1, 2, 0]
    assert suppress(np.zeros((0, 4)), [], 0.3).tolist() == []


@pytest.mark.parametrize("options", [{"min_face": 0}, {"min_face": 1e5}, {"threshold": 0}, {"overlap": 1.5}])
def test_options_out_of_range(model: Path, options: dict[str, float]) -> None:
    with pytest.raises(UsageError, match="allowed"):
        ThermalDetector(model, **options)


def test_refusals(model: Path, tmp_path: Path) -> None:
    assert isinstance(ThermalDetector(model), FaceDetector)
    with pytest.raises(ValueError, match=r"frame 1 is float64 \(4, 4\)"):
        ThermalDetector(model).detect([dark(4, 4), np.zeros((4, 4))])
    with pytest.raises(MissingDependencyError):
        ThermalDetector(tmp_path / "none.onnx")
    with pytest.raises(UsageError, match="a detector needs"):
        ThermalDetector(tiny_models.embedder(tmp_path / "embedder.onnx"))
    odd = tiny_models.detector(tmp_path / "odd.onnx", metadata={"threshold": "high"})
    with pytest.raises(UsageError, match="threshold 'high'"):
        ThermalDetector(odd)
