"""Two processes, as `accelerate launch` starts them, train the adapter that one process would with both gradients."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from lora_pictures import draw_pictures, tiny_table

from thermvision.annotations.errors import UsageError
from thermvision.generation.engines.flux.random_models import tiny_models
from thermvision.generation.engines.flux.training.caches import Cache, Prepared
from thermvision.generation.engines.flux.training.captions import read_training_set
from thermvision.generation.engines.flux.training.lora_layers import add_adapter
from thermvision.generation.engines.flux.training.processes import Processes, join
from thermvision.generation.engines.flux.training.run_state import read_state
from thermvision.generation.engines.flux.training.trainer import Trainer

pytestmark = pytest.mark.usefixtures("one_thread")

CODE = """
import sys
sys.path.insert(0, sys.argv[1])
import torch
torch.set_num_threads(1)
from pathlib import Path
from lora_pictures import tiny_table
from thermvision.generation.engines.flux.training.loop import train_lora
from thermvision.generation.flux_tables import FluxTable
outcome = train_lora(
    tiny_table(Path(sys.argv[2]), steps=3, loops=1), FluxTable(weights="random"), Path(sys.argv[3])
)
print(outcome.first, [loss.hex() for loss in outcome.losses])
"""


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


class _Averaged(Processes):
    """One process that does the work of two, one after the other."""

    def average(self, tensors: Any) -> None:
        pass

    def average_gradients(self, parameters: Any) -> None:
        pass


class _Both(Trainer):
    def backward(self, step: int, process: int = 0) -> float:
        losses = [super(_Both, self).backward(step, k) for k in range(2)]
        for parameter in self.trained.values():
            if parameter.grad is not None:
                parameter.grad /= 2
        return sum(losses) / 2


@pytest.mark.slow
def test_two_processes_train_one_adapter(tmp_path: Path):
    pictures, out, port = draw_pictures(tmp_path / "pictures"), tmp_path / "out", str(free_port())
    started = [
        subprocess.Popen(
            [sys.executable, "-c", CODE, str(Path(__file__).parent), str(pictures), str(out)],
            env={
                **os.environ, "RANK": str(k), "LOCAL_RANK": str(k), "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1",
                "MASTER_PORT": port, "OMP_NUM_THREADS": "1",
            },
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for k in range(2)
    ]  # fmt: skip
    said = [process.communicate(timeout=120) for process in started]
    assert [process.returncode for process in started] == [0, 0], said[0][1][-3000:] + said[1][1][-3000:]
    (first, losses), (second, same) = (text.strip().split(" ", 1) for text, _ in said)
    assert (first, second) == ("True", "False")
    assert losses == same
    table = tiny_table(pictures, steps=3, loops=1)
    training, models = read_training_set(table.datasets), tiny_models()
    prepared = Prepared(Cache(None), Cache(None), models.digests, True, torch.float32)
    prepared.fill(models, training.examples)
    trained = add_adapter(models.transformer, table.rank, table.alpha, table.seed)
    models.transformer.enable_gradient_checkpointing()
    alone = _Averaged(0, 2, torch.device("cpu"))
    trainer = _Both(models.transformer, trained, table, prepared, training.examples, alone, torch.float32)
    expected = [trainer.advance() for _ in range(3)]
    state = read_state(out / "state" / "step-000003.safetensors")
    assert state.identity["processes"] == 2
    assert state.losses == pytest.approx(expected, abs=1e-5)
    apart = max(float((state.parameters[name] - value.detach()).abs().max()) for name, value in trained.items())
    assert apart < 2e-5
    assert max(float(value.detach().abs().max()) for name, value in trained.items() if ".up." in name) > 1e-3


def test_alone_there_is_nothing_to_wait_for(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    found = join("cpu")
    assert (found.index, found.count, found.first, found.device.type) == (0, 1, True, "cpu")
    value = torch.ones(2)
    found.average([value])
    found.wait()
    found.end()
    assert value.tolist() == [1, 1]


def test_a_device_that_is_not_there(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with pytest.raises(UsageError, match="allowed: auto, cpu, cuda"):
        join("cuda:77")
