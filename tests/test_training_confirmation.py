"""Fitting the second look: the weights, the threshold, the file."""

from __future__ import annotations

import json
import shutil
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import thermvision_db
from thermvision.annotations.confirmation import read_evidence
from thermvision.annotations.errors import UsageError
from thermvision.annotations.session import open_model
from thermvision.annotations.training import grade, train_confirmation
from thermvision.annotations.training.corpus import open_corpus
from thermvision.annotations.training.train_confirmation import fit_logistic


@pytest.fixture
def models(tmp_path: Path) -> Path:
    folder = Path(str(files("thermvision.annotations.models")))
    for name in ("detector.onnx", "landmarker.onnx"):
        shutil.copy(folder / name, tmp_path)
    return tmp_path


@given(st.integers(0, 1000))
def test_logistic_weights_are_where_the_slope_is_zero(seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(200, 2))
    truth = rng.random(200) < 1 / (1 + np.exp(-(rows @ [2.0, -1.0] + 0.5)))
    weights = fit_logistic(rows, truth)
    table = np.column_stack([rows, np.ones(200)])
    slope = table.T @ (1 / (1 + np.exp(-table @ weights)) - truth) / 200 + 1e-3 * weights
    assert np.abs(slope).max() < 1e-4


def test_too_few_detections_to_weigh(doll_corpus: Path, models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grade, "PICTURES", 1)
    with pytest.raises(UsageError, match="are too few to weigh; train the detector longer"):
        train_confirmation.train_confirmation(doll_corpus, models, "typed")
    assert not (models / "confirmation.json").exists()


def test_the_command_writes_weights_threshold_and_figures(
    doll_corpus: Path, models: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(0)
    truth = rng.random(300) < 0.5
    looks = rng.normal(size=(300, 3)) + np.where(truth, 1, -1)[:, None] * [1.0, -1.0, 0.5]
    monkeypatch.setattr(grade, "PICTURES", 2)
    monkeypatch.setattr(grade, "EMPTY", 2)
    monkeypatch.setattr(train_confirmation, "_weighed", lambda *_: [(looks, truth)])
    assert thermvision_db.main(["train", "confirmation", str(doll_corpus), "--out", str(models)]) == 0
    assert f"next: ls {models}" in capsys.readouterr().out
    evidence = read_evidence(models / "confirmation.json")
    assert evidence.score > 0.5 > 0 > -0.5 > evidence.doubt
    assert evidence.doubt_upside_down > 0
    assert 0.2 <= evidence.threshold <= 0.8
    assert evidence.detector == open_model(models / "detector.onnx").source
    held = json.loads((models / "confirmation.json").read_text())
    assert held["corpus"] == open_corpus(doll_corpus).digest
    assert held["weighed"] == {"faces": int(truth.sum()), "all": 300}
    assert held["command"] == f"thermvision train confirmation corpus --out {models.name}"
    assert held["measured"]["false positives where no face is"].endswith(
        "(2 rooms, two in three with somebody upside down)"
    )
