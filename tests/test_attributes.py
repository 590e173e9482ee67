"""Labels and probabilities in the order of the vocabularies."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tiny_models

from thermvision.annotations.attributes import LABELS, AttributeReader
from thermvision.annotations.errors import UsageError
from thermvision.annotations.faces import Detections


def test_labels(tmp_path: Path) -> None:
    reader = AttributeReader(tiny_models.attributes(tmp_path / "tiny.onnx"))
    found = Detections(np.array([[10, 10, 30, 40], [50, 10, 20, 20]]), np.ones(2), np.zeros((2, 5, 2)))
    frame = np.zeros((90, 90), np.uint8)
    first, second = reader.read(frame, found)
    assert first == second
    assert {name: label for name, (label, _) in first.items()} == {
        "gender": "male",
        "expression": "surprise",
        "glasses": "none",
        "mask": "mask",
        "beard": "goatee",
        "headwear": "beanie",
    }
    assert first["mask"][1] == pytest.approx(0.875)
    assert list(first) == list(LABELS)
    assert reader.read(frame, Detections()) == []


def test_other_networks_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="needs gender"):
        AttributeReader(tiny_models.embedder(tmp_path / "embedder.onnx"))
