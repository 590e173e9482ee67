"""Embeddings are of unit length and belong to the aligned face."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tiny_models

from thermvision.annotations.alignment import TEMPLATE, aligned_crop
from thermvision.annotations.embedder import FaceEmbedder, ThermalEmbedder
from thermvision.annotations.errors import UsageError


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> ThermalEmbedder:
    return ThermalEmbedder(tiny_models.embedder(tmp_path_factory.mktemp("models") / "tiny.onnx"))


def test_crops_and_frames_agree(model: ThermalEmbedder) -> None:
    frame = np.random.default_rng(0).integers(0, 256, (240, 320), dtype=np.uint8)
    points = np.stack([TEMPLATE + np.array([50, 60]), TEMPLATE * 0.8 + np.array([180, 20])])
    of_frame = model.embed(frame, points)
    of_crops = model.embed(np.stack([aligned_crop(frame, p)[0] for p in points]))
    assert of_frame.shape == (2, 128)
    assert of_frame.dtype == np.float32
    np.testing.assert_array_equal(of_frame, of_crops)
    np.testing.assert_allclose(np.linalg.norm(of_frame, axis=1), 1, atol=1e-6)
    # 8 x 16 areas of the first crop, which is a slice of the frame
    areas = frame[60:172, 50:162].reshape(8, 14, 16, 7).mean((1, 3)).ravel()
    np.testing.assert_allclose(of_frame[0], areas / np.linalg.norm(areas), rtol=1e-5)


def test_many_crops_go_in_batches(model: ThermalEmbedder) -> None:
    crops = np.random.default_rng(1).integers(1, 256, (ThermalEmbedder.BATCH + 3, 112, 112), dtype=np.uint8)
    vectors = model.embed(crops)
    np.testing.assert_allclose(vectors[-1:], model.embed(crops[-1:]), atol=1e-6)
    assert model.embed(crops[:0]).shape == (0, 128)
    assert model.embed(crops[0], np.zeros((0, 5, 2))).shape == (0, 128)


@pytest.mark.parametrize(
    ("image", "points", "message"),
    [
        (np.zeros((1, 112, 112)), None, "float64; allowed: uint8"),
        (np.zeros((112, 112), np.uint8), None, r"crops have shape \(112, 112\)"),
        (np.zeros((2, 100, 100), np.uint8), None, r"allowed: \(M, 112, 112\)"),
        (np.zeros((100, 100), np.uint8), np.zeros((5, 2)), r"keypoints \(5, 2\)"),
        (np.zeros((100, 100), np.uint8), np.full((1, 5, 2), np.nan), "not finite"),
    ],
)
def test_other_shapes_are_refused(model: ThermalEmbedder, image: np.ndarray, points: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        model.embed(image, points)


def test_other_networks_are_refused(tmp_path: Path, model: ThermalEmbedder) -> None:
    assert isinstance(model, FaceEmbedder)
    with pytest.raises(UsageError, match="an embedder needs crop"):
        ThermalEmbedder(tiny_models.detector(tmp_path / "detector.onnx"))
