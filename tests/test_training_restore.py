"""A shipped ONNX model goes on being trained: the network restored from it says what the file says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from thermvision.annotations import models
from thermvision.annotations.errors import UsageError
from thermvision.annotations.session import open_model
from thermvision.annotations.training.restore import restore
from thermvision.annotations.training.tasks import TASKS

FOLDER = Path(models.__file__).parent
SIDES = {"detector": (96, 128), "landmarker": (112, 112), "embedder": (112, 112), "attributes": (112, 112)}


@pytest.mark.parametrize("name", SIDES)
def test_restored_equals_the_file(name: str) -> None:
    height, width = SIDES[name]
    rng = np.random.default_rng(3)
    rough = rng.uniform(0, 255, (6, height // 8, width // 8)).astype(np.float32)
    image = rough.repeat(8, 1).repeat(8, 2)[:, None]
    net = TASKS[name].exported(TASKS[name].start(5))
    restore(net, FOLDER / f"{name}.onnx", torch.from_numpy(image))
    with torch.no_grad():
        said = net(torch.from_numpy(image))
    said = said if isinstance(said, tuple) else (said,)
    model = open_model(name)
    stored = model.run({next(iter(TASKS[name].inputs)): image})
    for value, output in zip(said, TASKS[name].outputs, strict=True):
        wanted = stored[output]
        assert np.abs(value.numpy() - wanted).max() <= 1e-3 * max(1.0, np.abs(wanted).max())


def test_another_model_is_refused(tmp_path: Path) -> None:
    net = TASKS["landmarker"].exported(TASKS["landmarker"].start(5))
    with pytest.raises(UsageError, match="this network"):
        restore(net, FOLDER / "attributes.onnx", torch.zeros(2, 1, 112, 112))
    (tmp_path / "x.onnx").write_bytes(b"no")
    with pytest.raises(UsageError, match="no ONNX model"):
        restore(net, tmp_path / "x.onnx", torch.zeros(2, 1, 112, 112))
