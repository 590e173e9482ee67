"""The adapters for facenet-pytorch on the package itself, where it is installed (without its dependencies)."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

from thermvision.annotations import registry
from thermvision.annotations.adapters.facenet import FacenetEmbedder, facenet_pytorch
from thermvision.annotations.faces import Detections

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("facenet_pytorch") is None, reason="pip install --no-deps facenet-pytorch"
)


def test_mtcnn_reads_thermal_frames() -> None:
    detector = registry.detector("mtcnn")
    rng = np.random.default_rng(0)
    found = detector.detect([rng.integers(0, 255, (120, 160), np.uint8), np.zeros((64, 64), np.uint8)])
    assert [type(d) for d in found] == [Detections, Detections]
    assert len(found[1]) == 0
    assert "torchvision" not in sys.modules


def test_embeddings_are_those_of_the_package(tmp_path: Path) -> None:
    import torch

    torch.manual_seed(0)
    network = facenet_pytorch().InceptionResnetV1(pretrained=None).eval()
    torch.save(network.state_dict(), tmp_path / "weights.pt")
    crops = np.random.default_rng(1).integers(0, 255, (2, 160, 160), np.uint8)
    pixels = torch.from_numpy((crops.astype(np.float32) - 127.5) / 128)[:, None].expand(-1, 3, -1, -1)
    with torch.inference_mode():
        expected = network(pixels).numpy()
    np.testing.assert_allclose(FacenetEmbedder(tmp_path / "weights.pt").embed(crops), expected, atol=1e-5)
