"""Opening models: names, digests, bounds and what is refused."""

from __future__ import annotations

import hashlib
import pickle
from pathlib import Path

import numpy as np
import pytest
import tiny_models

from thermvision.annotations import session
from thermvision.annotations.errors import DamagedInputError, MissingDependencyError, UsageError
from thermvision.annotations.session import open_model


def test_a_model_is_named_by_its_digest(tmp_path: Path) -> None:
    path = tiny_models.detector(tmp_path / "mine.onnx", metadata={"threshold": "0.3"})
    model = open_model(path)
    assert model.source == "mine@" + hashlib.sha256(path.read_bytes()).hexdigest()[:12]
    assert model.metadata == {"threshold": "0.3"}
    assert list(model.inputs) == ["image"]
    assert list(model.outputs) == ["score", "box", "points", "black_hot"]
    assert model.outputs["box"][1] == 4


def test_run_gives_outputs_by_name(tmp_path: Path) -> None:
    model = open_model(tiny_models.detector(tmp_path / "mine.onnx"))
    out = model.run({"image": np.full((2, 1, 32, 64), 51, np.float32)})
    assert {name: value.shape for name, value in out.items()} == {
        "score": (2, 8, 16),
        "box": (2, 4, 8, 16),
        "points": (2, 10, 8, 16),
        "black_hot": (2,),
    }
    np.testing.assert_allclose(out["score"], 0.2, rtol=1e-6)


def test_wrong_inputs_are_named(tmp_path: Path) -> None:
    model = open_model(tiny_models.detector(tmp_path / "mine.onnx"))
    with pytest.raises(UsageError, match=r"mine@.* refused image float32 \(2, 3\)"):
        model.run({"image": np.zeros((2, 3), np.float32)})


def test_missing_outputs_are_named(tmp_path: Path) -> None:
    model = open_model(tiny_models.embedder(tmp_path / "mine.onnx"))
    with pytest.raises(UsageError, match="outputs embedding, but a landmarker needs points, sigma"):
        model.require(["crop"], ["points", "sigma"], "a landmarker")


def test_a_missing_shipped_model_names_the_command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(session, "_shipped_path", lambda name: tmp_path / f"{name}.onnx")
    with pytest.raises(MissingDependencyError, match=r"detector\.onnx is not there; type: pip install"):
        open_model("detector")
    tiny_models.detector(tmp_path / "detector.onnx")
    assert open_model("detector").source.startswith("detector@")


def test_no_file_no_model(tmp_path: Path) -> None:
    with pytest.raises(MissingDependencyError, match="is no model file"):
        open_model(tmp_path)


@pytest.mark.parametrize("content", [b"", b"not a graph", b"\x08\x08" * 50])
def test_damaged_files(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "broken.onnx"
    path.write_bytes(content)
    with pytest.raises(DamagedInputError, match="broken cannot be opened as an ONNX model"):
        open_model(path)


def test_size_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tiny_models.embedder(tmp_path / "large.onnx")
    monkeypatch.setattr(session, "MAX_BYTES", path.stat().st_size - 1)
    with pytest.raises(DamagedInputError, match="allowed: up to"):
        open_model(path)
    monkeypatch.setattr(session, "MAX_BYTES", path.stat().st_size)
    open_model(path)


def test_models_travel_to_other_processes(tmp_path: Path) -> None:
    path = tiny_models.embedder(tmp_path / "a.onnx")
    model = open_model(path, threads=2)
    again = pickle.loads(pickle.dumps(model))
    assert again.source == model.source
    crops = np.random.default_rng(0).uniform(0, 255, (2, 1, 112, 112)).astype(np.float32)
    assert (again.run({"crop": crops})["embedding"] == model.run({"crop": crops})["embedding"]).all()
    parcel = pickle.dumps(model)
    tiny_models.detector(path)
    with pytest.raises(DamagedInputError, match=r"was a@.* and is a@.* now"):
        pickle.loads(parcel)


def test_threads(tmp_path: Path) -> None:
    path = tiny_models.embedder(tmp_path / "a.onnx")
    with pytest.raises(UsageError, match="threads is 0"):
        open_model(path, threads=0)
