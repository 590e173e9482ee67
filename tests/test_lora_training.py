"""Whole trainings of tiny networks: they learn, go on exactly where they were, and say what stopped them."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lora_pictures import CAPTIONS, dataset, draw_pictures, tiny_table
from PIL import Image

from thermvision.annotations.errors import DamagedInputError, OutputError, UsageError
from thermvision.generation.engines.flux.adapter_reading import read_adapter
from thermvision.generation.engines.flux.adapters import apply_adapters
from thermvision.generation.engines.flux.random_models import tiny_models
from thermvision.generation.engines.flux.sampling import DeviceFullError
from thermvision.generation.engines.flux.text import encode
from thermvision.generation.engines.flux.training import trainer as trainer_module
from thermvision.generation.engines.flux.training.caches import Cache, Prepared, encode_picture
from thermvision.generation.engines.flux.training.captions import read_training_set
from thermvision.generation.engines.flux.training.loop import Outcome, loop_ends, train_lora
from thermvision.generation.engines.flux.training.lora_layers import add_adapter, quantise_base
from thermvision.generation.engines.flux.training.objective import batch_loss
from thermvision.generation.engines.flux.training.processes import Processes
from thermvision.generation.engines.flux.training.run_state import draws, newest_state, read_state, states_in
from thermvision.generation.engines.flux.training.trainer import LossError, Trainer
from thermvision.generation.engines.flux.training.validation import moving_average
from thermvision.generation.flux_tables import FluxTable, LoraTable, Validation

pytestmark = pytest.mark.usefixtures("one_thread")

RANDOM = FluxTable(weights="random", device="cpu")
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_pictures(tmp_path_factory.mktemp("pictures"))


def run(table: LoraTable, out: Path, **more: Any) -> Outcome:
    return train_lora(table, RANDOM, out, **more)


class StoppedError(Exception):
    """What kills a run in these tests."""


def stop_at(step: int) -> Any:
    """A report that kills the run at the first state of ``step``."""

    def report(line: str) -> None:
        if line.startswith(f"step {step}"):
            raise StoppedError

    return report


ARTICLE = {"fp8_base": True, "gradient_dtype": "bf16"}
OURS = {"optimizer": "adamw", "scheduler": "cosine", "warmup_steps": 2}


@pytest.mark.parametrize("settings", [ARTICLE, OURS], ids=["article", "adamw"])
def test_a_killed_run_goes_on_exactly(pictures: Path, tmp_path: Path, settings: dict[str, Any]):
    table = tiny_table(pictures, **settings)
    whole = run(table, tmp_path / "whole", save_every=2)
    with pytest.raises(StoppedError):
        run(table, tmp_path / "killed", save_every=2, report=stop_at(3))  # after the first loop, at step 3
    assert [p.name for p in states_in(tmp_path / "killed" / "state")] == [
        "step-000003.safetensors",
        "step-000002.safetensors",
    ]
    resumed = run(table, tmp_path / "killed", save_every=2, resume=True)
    assert resumed.losses == whole.losses
    for name in ("state/step-000006.safetensors", whole.checkpoint.name, f"diffusers/{whole.checkpoint.name}"):
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name
    assert (tmp_path / "killed" / "losses.csv").read_bytes() == (tmp_path / "whole" / "losses.csv").read_bytes()


def test_a_run_killed_between_states_loses_only_the_steps_since(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    table = tiny_table(pictures, steps=5, loops=1)
    whole = run(table, tmp_path / "whole")
    advance = Trainer.advance

    def dies(self: Trainer) -> float:
        if self.step == 3:
            raise StoppedError
        return advance(self)

    monkeypatch.setattr(Trainer, "advance", dies)
    with pytest.raises(StoppedError):
        run(table, tmp_path / "killed", save_every=2)
    monkeypatch.undo()
    state, _ = newest_state(tmp_path / "killed" / "state")
    assert state is not None
    assert state.step == 2
    again = run(table, tmp_path / "killed", resume=True)
    assert again.losses == whole.losses
    assert again.checkpoint.read_bytes() == whole.checkpoint.read_bytes()


def test_a_finished_run_makes_what_is_missing_and_nothing_else(pictures: Path, tmp_path: Path):
    table = tiny_table(pictures)
    first = run(table, tmp_path / "out")
    kept = first.checkpoint.read_bytes()
    first.checkpoint.unlink()
    again = run(table, tmp_path / "out", resume=True)
    assert again.checkpoint.read_bytes() == kept
    assert again.seconds_a_step == 0
    longer = run(table.model_copy(update={"steps": 8}), tmp_path / "out", resume=True)
    assert longer.losses[:6] == first.losses
    assert len(longer.losses) == 8


def test_what_a_run_leaves(pictures: Path, tmp_path: Path):
    validation = Validation(prompts=("a man", "a woman"), steps=2, width=64, height=64)
    table = tiny_table(pictures, validation=validation, datasets=(dataset(pictures), dataset(pictures, 96)))
    lines: list[str] = []
    outcome = run(table, tmp_path / "out", report=lines.append)
    out = tmp_path / "out"
    names = sorted(str(p.relative_to(out)) for p in out.rglob("*") if p.is_file() and "caches" not in p.parts)
    pair = [f"thermal_rank4_fp32-step0000{step}.safetensors" for step in (3, 6)]
    assert names == sorted([
        "loss.png", "losses.csv", "run.json", "state/step-000003.safetensors", "state/step-000006.safetensors",
        *pair, *(f"diffusers/{name}" for name in pair),
        *(f"validation/step-00000{step}-{k}.png" for step in (3, 6) for k in (0, 1)),
    ])  # fmt: skip
    assert outcome.checkpoint == out / pair[1]
    with Image.open(out / "validation" / "step-000006-1.png") as picture:
        assert (picture.size, picture.mode) == ((64, 64), "RGB")
    rows = list(csv.DictReader((out / "losses.csv").read_text().splitlines()))
    assert [float(row["loss"]) for row in rows] == outcome.losses
    assert {row["learning_rate"] for row in rows} == {"0.0004"}
    facts = json.loads((out / "run.json").read_text())
    assert facts["steps_an_epoch"] == 6
    assert facts["pictures"] == 3
    assert facts["random_weights"]
    assert any("min_snr_gamma" in line for line in facts["notes"])
    assert any("blocks_to_swap" in line for line in lines)
    assert any("networks are random" in line for line in lines)
    assert lines[-1] == f"step 6: wrote {outcome.checkpoint}"


def test_both_checkpoints_are_the_adapter_that_was_trained(pictures: Path, tmp_path: Path):
    table = tiny_table(pictures, alpha=2.0)
    outcome = run(table, tmp_path / "out")
    trained = read_state(tmp_path / "out" / "state" / "step-000006.safetensors").parameters
    kohya = read_adapter(outcome.checkpoint)
    diffusers = read_adapter(tmp_path / "out" / "diffusers" / outcome.checkpoint.name)
    assert kohya.modules.keys() == diffusers.modules.keys()
    assert len(kohya.modules) == 2 * 14 + 2 * 6
    for name, layer in kohya.modules.items():
        other = diffusers.modules[name]
        assert torch.equal(layer.down, other.down)
        assert torch.equal(layer.up, other.up)
        assert layer.scale == other.scale == 0.5
    assert torch.equal(
        kohya.modules["transformer_blocks.1.attn.to_k"].up, trained["lora_unet_double_blocks_1_img_attn_qkv.up.1"]
    )
    assert float(trained["lora_unet_double_blocks_1_img_attn_qkv.up.1"].abs().max()) > 0
    # fused into fresh weights it is the network that was trained
    models = tiny_models()
    report = apply_adapters(models, [(kohya, 1.0, 1.0)])
    assert report.tensors_used == 3 * (2 * 10 + 2 * 3)
    carrier: Any = tiny_models().transformer
    parameters = add_adapter(carrier, 4, 2.0, table.seed)
    for name, parameter in parameters.items():
        parameter.data = trained[name]
    x = torch.randn(2, 16, 8, 8, generator=draws(0, 0, 0))
    texts = encode(models, [(CAPTIONS[0], CAPTIONS[0]), (CAPTIONS[2], CAPTIONS[2])])
    losses = [
        batch_loss(t, table, x, texts, draws(5, 5, 5), CPU, torch.float32).detach()
        for t in (models.transformer, carrier, tiny_models().transformer)
    ]
    assert float((losses[0] - losses[1]).abs()) < 2e-6
    assert float((losses[0] - losses[2]).abs()) > 1e-3


def overfit(pictures: Path, steps: int, **settings: Any) -> tuple[float, float]:
    """A fixed loss (64 draws of noise on one picture) before and after training on that picture."""
    table = tiny_table(pictures, datasets=(dataset(pictures, repeats=4, batch=4),), rank=8, alpha=8.0, **settings)
    training = read_training_set(table.datasets)
    models = tiny_models()
    prepared = Prepared(Cache(None), Cache(None), models.digests, True, torch.float32)
    example = training.examples[:1]
    prepared.fill(models, example)
    transformer: Any = models.transformer
    trained = add_adapter(transformer, table.rank, table.alpha, table.seed, torch.float32)
    if table.fp8_base:
        quantise_base(transformer, torch.float32)
    trainer = Trainer(transformer, trained, table, prepared, example, Processes(0, 1, CPU), torch.float32)
    shown = [example[0]] * 64

    @torch.no_grad()
    def evaluation() -> float:
        latents, texts = prepared.latents(shown), prepared.texts(shown)
        return float(batch_loss(transformer, table, latents, texts, draws(99, 0, 0), CPU, torch.float32))

    before = evaluation()
    for _ in range(steps):
        trainer.advance()
    return before, evaluation()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("settings", "steps", "share"),
    [({}, 60, 0.80), ({"fp8_base": True}, 60, 0.80), ({"optimizer": "adamw", "learning_rate": 2e-3}, 120, 0.80)],
    ids=["came", "came-fp8", "adamw"],
)
def test_training_lowers_a_fixed_loss(pictures: Path, settings: dict[str, Any], steps: int, share: float):
    before, after = overfit(pictures, steps, **settings)
    assert after < share * before


def test_a_loss_that_is_no_number_stops_the_run_and_keeps_the_last_state(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    real = trainer_module.batch_loss

    def breaks(transformer: Any, table: Any, latents: Any, texts: Any, generator: Any, *rest: Any) -> Any:
        loss = real(transformer, table, latents, texts, generator, *rest)
        return loss * float("nan") if states_in(tmp_path / "out" / "state")[:1] else loss

    monkeypatch.setattr(trainer_module, "batch_loss", breaks)
    with pytest.raises(LossError, match=r"loss of step 3 is nan .*png.*learning_rate, it is 0\.0004"):
        run(tiny_table(pictures), tmp_path / "out", save_every=2)
    monkeypatch.undo()
    state, _ = newest_state(tmp_path / "out" / "state")
    assert state is not None
    assert state.step == 2
    assert all(bool(t.isfinite().all()) for t in state.parameters.values())
    assert len(run(tiny_table(pictures), tmp_path / "out", resume=True).losses) == 6


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory"), MemoryError()])
def test_out_of_memory_says_what_to_change(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
):
    def full(*_: Any) -> Any:
        raise error

    monkeypatch.setattr(trainer_module, "batch_loss", full)
    table = tiny_table(pictures, gradient_checkpointing=False, datasets=(dataset(pictures, batch=2),))
    with pytest.raises(DeviceFullError, match=r"step 1 with .* of 64 x 64; set lora\.gradient_checkpointing = true"):
        run(table, tmp_path / "out")


def test_other_errors_of_torch_are_not_called_memory(pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def broken(*_: Any) -> Any:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    monkeypatch.setattr(trainer_module, "batch_loss", broken)
    with pytest.raises(RuntimeError, match="mat1"):
        run(tiny_table(pictures), tmp_path / "out")


def test_folders_that_are_in_use(pictures: Path, tmp_path: Path):
    table = tiny_table(pictures, steps=1, loops=1)
    run(table, tmp_path / "out")
    with pytest.raises(UsageError, match="--resume"):
        run(table, tmp_path / "out")
    with pytest.raises(UsageError, match=r"settings\.rank was 4, is 5"):
        run(table.model_copy(update={"rank": 5}), tmp_path / "out", resume=True)
    more = draw_pictures(tmp_path / "more", 4)
    with pytest.raises(UsageError, match="training_set was"):
        run(table.model_copy(update={"datasets": (dataset(more),)}), tmp_path / "out", resume=True)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "letter.txt").write_text("mine")
    with pytest.raises(OutputError, match="holds no training"):
        run(table, tmp_path / "full")
    with pytest.raises(UsageError, match="lies in the pictures' folder"):
        run(table, pictures / "out")
    with pytest.raises(UsageError, match="is a file"):
        run(table, tmp_path / "full" / "letter.txt")


def test_unreadable_pictures_are_told_and_the_others_trained_on(tmp_path: Path):
    folder = draw_pictures(tmp_path / "pictures")
    (folder / "1.png").write_bytes(b"no picture")
    outcome = run(tiny_table(folder, steps=2, loops=1), tmp_path / "out")
    assert len(outcome.unused) == 1
    assert "1.png" in outcome.unused[0]
    assert json.loads((tmp_path / "out" / "run.json").read_text())["pictures"] == 2


@pytest.mark.parametrize(
    "change", [{"cache_latents": "memory", "cache_text": "memory"}, {"gradient_checkpointing": False}]
)
def test_settings_that_change_no_weight(pictures: Path, tmp_path: Path, change: dict[str, Any]):
    table = tiny_table(pictures, steps=3, loops=1)
    first = run(table, tmp_path / "a")
    second = run(table.model_copy(update=change), tmp_path / "b")
    assert first.losses == second.losses
    assert (tmp_path / "b" / "caches").exists() == ("cache_text" not in change)


def test_broken_cache_entries_are_made_again(pictures: Path, tmp_path: Path):
    models = tiny_models()
    examples = read_training_set([dataset(pictures)]).examples
    caches = [Cache(tmp_path / "latents"), Cache(tmp_path / "texts")]
    prepared = Prepared(caches[0], caches[1], models.digests, True, torch.float32)
    prepared.fill(models, examples)
    kept = prepared.latents(examples[:1])
    for path in [*tmp_path.glob("latents/*"), *tmp_path.glob("texts/*")]:
        path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(DamagedInputError, match="--resume"):
        prepared.latents(examples[:1])
    prepared.fill(models, examples)
    assert torch.equal(prepared.latents(examples[:1]), kept)
    assert kept.shape[:2] == (1, 16)


def test_masked_text_is_text_without_padding(pictures: Path):
    """The mask over padding that the article trains with equals leaving it out; unmasked padding is another loss."""
    models = tiny_models()
    pair = [(CAPTIONS[0], CAPTIONS[0])]
    x = torch.randn(1, 16, 8, 8, generator=draws(0, 0, 0))
    losses = []
    for rows in (encode(models, pair), encode(models, pair, 512, masked=True), encode(models, pair, 512)):
        losses.append(float(batch_loss(models.transformer, LoraTable(), x, rows, draws(1, 1, 1), CPU, torch.float32)))
    assert abs(losses[0] - losses[1]) < 2e-6
    assert abs(losses[0] - losses[2]) > 1e-4


def test_texts_of_unequal_length_in_one_batch(pictures: Path):
    models = tiny_models()
    rows = encode(models, [(c, c) for c in CAPTIONS])
    assert len({r.tokens.shape[1] for r in rows}) > 1
    x = torch.randn(3, 16, 8, 8, generator=draws(0, 0, 0))
    table = LoraTable(timestep_sampling="uniform")
    together = batch_loss(models.transformer, table, x, rows, draws(1, 1, 1), CPU, torch.float32)
    generator = draws(1, 1, 1)
    sigmas, noise = torch.rand(3, generator=generator), torch.randn(x.shape, generator=generator)
    alone = []
    for k, row in enumerate(rows):
        level = sigmas[k].view(1)
        from thermvision.generation.engines.flux.sampling import pack, places

        velocity = models.transformer(
            hidden_states=pack((1 - level) * x[k : k + 1] + level * noise[k : k + 1]), timestep=level,
            guidance=torch.tensor([3.0]), pooled_projections=row.pooled, encoder_hidden_states=row.tokens,
            txt_ids=torch.zeros(row.tokens.shape[1], 3), img_ids=places(64, 64), return_dict=False,
        )[0]  # fmt: skip
        alone.append((velocity - pack(noise[k : k + 1] - x[k : k + 1])).square().mean())
    assert float(together) == pytest.approx(float(torch.stack(alone).mean()), abs=2e-6)


def test_latents_are_those_of_the_pipeline():
    """Encoded and decoded by the stock rules of diffusers: scaled, shifted, without a draw."""
    models = tiny_models()
    pixels = np.random.default_rng(0).integers(0, 256, (64, 48, 3), np.uint8)
    found = encode_picture(models, pixels)
    image = torch.from_numpy(pixels / 127.5 - 1).float().permute(2, 0, 1)[None]
    mean = models.vae.encode(image).latent_dist.mean[0]
    assert found.shape == (16, 8, 6)
    assert torch.allclose(found, (mean - 0.1159) * 0.3611, atol=1e-6)


def test_loop_ends_share_out_all_steps():
    assert loop_ends(LoraTable(steps=10, loops=4)) == [2, 5, 7, 10]
    assert loop_ends(LoraTable(steps=2, loops=4)) == [1, 2]


def test_moving_average_of_many():
    values = np.random.default_rng(0).random(350)
    expected = [values[max(0, k - 99) : k + 1].mean() for k in range(350)]
    assert np.allclose(moving_average(values.tolist()), expected)
