"""How a detector, landmarker or embedder is chosen."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import pytest
import tiny_models

from thermvision.annotations import registry
from thermvision.annotations.confirmation import ConfirmedDetector, evidence_text
from thermvision.annotations.detector import ThermalDetector
from thermvision.annotations.errors import MissingDependencyError, UsageError
from thermvision.annotations.landmarker import ThermalLandmarker

TABLES = {"detector": registry.DETECTORS, "landmarker": registry.LANDMARKERS, "embedder": registry.EMBEDDERS}


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind, table in TABLES.items() for name in table])
def test_every_entry_has_its_class_and_method(kind: str, name: str) -> None:
    module, _, class_name = TABLES[kind][name].target.partition(":")
    entry = getattr(import_module(f"thermvision.annotations.{module}"), class_name)
    assert callable(getattr(entry, {"detector": "detect", "landmarker": "locate", "embedder": "embed"}[kind]))


@pytest.mark.parametrize("kind", TABLES)
def test_every_path_that_is_not_there_is_named(kind: str, tmp_path: Path) -> None:
    for name, entry in TABLES[kind].items():
        if entry.path != "none":
            with pytest.raises(MissingDependencyError, match=r"pip install|nothing\.bin"):
                getattr(registry, kind)(f"{name}:{tmp_path / 'nothing.bin'}")


def test_a_path_and_options(tmp_path: Path) -> None:
    path = tiny_models.detector(tmp_path / "a.onnx")
    chosen = registry.detector(f"thermal:{path}", min_face=12, threshold=0.25)
    assert isinstance(chosen, ThermalDetector)
    assert (chosen.min_face, chosen.threshold) == (12, 0.25)
    assert chosen.source.startswith("a@")
    landmarker = registry.landmarker(f"thermal:{tiny_models.landmarker(tmp_path / 'b.onnx')}")
    assert isinstance(landmarker, ThermalLandmarker)


def test_the_shipped_detector_has_a_second_look_and_a_folder_too(tmp_path: Path) -> None:
    chosen = registry.detector("thermal", min_face=20)
    assert isinstance(chosen, ConfirmedDetector)
    assert chosen.min_face == 20
    tiny_models.detector(tmp_path / "detector.onnx")
    tiny_models.landmarker(tmp_path / "landmarker.onnx")
    with pytest.raises(MissingDependencyError, match=r"confirmation\.json"):
        registry.detector(f"thermal:{tmp_path}")
    (tmp_path / "confirmation.json").write_text(evidence_text(chosen.evidence, {}))
    own = registry.detector(f"thermal:{tmp_path}", threshold=0.9)
    assert isinstance(own, ConfirmedDetector)
    assert own.threshold == 0.9
    assert own.source != chosen.source


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("retina", r"allowed: thermal\[:PATH\], yolo5face:PATH, yunet:PATH, mtcnn, haar\[:PATH\]"),
        ("", "--detector is ''; allowed"),
        ("yolo5face", "which needs a file; type: --detector yolo5face:PATH"),
        ("yolo5face:", "which needs a file"),
        ("thermal:", "which needs a file"),
        ("mtcnn:weights.pt", "mtcnn takes no file; type: --detector mtcnn"),
    ],
)
def test_wrong_specs(spec: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        registry.detector(spec)


def test_wrong_options(tmp_path: Path) -> None:
    path = tiny_models.detector(tmp_path / "a.onnx")
    with pytest.raises(UsageError, match=r"does not take an option it was given.*colour"):
        registry.detector(f"thermal:{path}", colour=1)
