"""States of a training: whole or not there, bounded in number, and refused where they are of another training."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from thermvision.annotations.errors import DamagedInputError, UsageError
from thermvision.generation.engines.flux.tensor_files import read_metadata, read_tensors, write_tensors
from thermvision.generation.engines.flux.training.run_state import (
    KEPT,
    RunState,
    check_identity,
    draws,
    identity_of,
    newest_state,
    read_state,
    states_in,
    write_state,
)
from thermvision.generation.flux_tables import LoraTable


def state(step: int, table: LoraTable | None = None) -> RunState:
    identity = identity_of(table or LoraTable(), "0" * 64, {"vae": "1"}, "bf16", 1)
    weights = {"a.down": torch.arange(6, dtype=torch.bfloat16).view(2, 3) / 7}
    moments = {"a.down|exp_avg": torch.tensor([1e-40, 3.0]), "a.down|step": torch.tensor(4.0)}
    return RunState(step, weights, moments, {"a.down|RMS": 0}, [0.1 + k for k in range(step)], identity)


def test_a_state_comes_back_to_the_bit(tmp_path: Path):
    kept = state(3)
    found = read_state(write_state(tmp_path, kept))
    assert (found.step, found.losses, found.numbers, found.identity) == (3, kept.losses, kept.numbers, kept.identity)
    for there, here in ((found.parameters, kept.parameters), (found.moments, kept.moments)):
        assert there.keys() == here.keys()
        assert all(torch.equal(there[k], here[k]) and there[k].dtype == here[k].dtype for k in here)


def test_only_the_newest_states_stay(tmp_path: Path):
    for step in (2, 10, 9, 100):
        write_state(tmp_path, state(step))
    assert [p.name for p in states_in(tmp_path)] == ["step-000100.safetensors", "step-000010.safetensors"]
    assert KEPT == 2


def test_a_damaged_state_falls_back_to_the_one_before(tmp_path: Path):
    write_state(tmp_path, state(1))
    newest = write_state(tmp_path, state(2))
    newest.write_bytes(newest.read_bytes()[:-3])
    found, notes = newest_state(tmp_path)
    assert found is not None
    assert found.step == 1
    assert len(notes) == 1
    assert "step-000002" in notes[0]
    states_in(tmp_path)[1].write_bytes(b"")
    with pytest.raises(DamagedInputError, match="new --out"):
        newest_state(tmp_path)
    assert newest_state(tmp_path / "none") == (None, [])


@pytest.mark.parametrize(
    "notes",
    [
        {},
        {"format": "thermvision-lora-state-1"},
        {"format": "thermvision-lora-state-1", "run": "{"},
        {"format": "thermvision-lora-state-1", "run": '{"step": 5, "numbers": {}, "identity": {}}'},
        {"format": "thermvision-lora-state-1", "run": "[]"},
    ],
)
def test_files_that_are_no_state(tmp_path: Path, notes: dict[str, str]):
    path = tmp_path / "step-000001.safetensors"
    write_tensors(path, {"losses": torch.zeros(1, dtype=torch.float64)}, notes)
    with pytest.raises(DamagedInputError, match="no state of a training"):
        read_state(path)


def test_another_training_is_refused_with_what_differs(tmp_path: Path):
    kept = read_state(write_state(tmp_path, state(1)))
    check_identity(kept, state(1).identity, tmp_path)
    free = LoraTable(name="other", loops=7, blocks_to_swap=0, steps=9000, gradient_checkpointing=False)
    check_identity(kept, state(1, free).identity, tmp_path)
    with pytest.raises(UsageError, match=r"settings\.learning_rate was 0\.0004, is 0\.1; settings\.rank was 64, is 8"):
        check_identity(kept, state(1, LoraTable(learning_rate=0.1, rank=8)).identity, tmp_path)
    by_length = [state(1, LoraTable(scheduler="cosine", steps=n)) for n in (10, 20)]
    with pytest.raises(UsageError, match="steps was 10, is 20"):
        check_identity(by_length[0], by_length[1].identity, tmp_path)


def test_draws_differ_by_seed_step_and_process():
    words = {
        tuple(torch.rand(3, generator=draws(*key)).tolist()) for key in ((1, 2, 0), (2, 2, 0), (1, 3, 0), (1, 2, 1))
    }
    assert len(words) == 4


def test_equal_states_are_equal_bytes(tmp_path: Path):
    notes = {name: name for name in "abcdefgh"}
    written = set()
    for _ in range(4):  # the package alone would put the notes in another order each time
        write_tensors(tmp_path / "x.safetensors", {"t": torch.ones(3), "s": torch.zeros(2, 2)}, notes)
        written.add((tmp_path / "x.safetensors").read_bytes())
    assert len(written) == 1
    assert read_metadata(tmp_path / "x.safetensors") == notes
    assert read_tensors(tmp_path / "x.safetensors")["t"].tolist() == [1, 1, 1]
