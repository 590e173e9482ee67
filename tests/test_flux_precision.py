"""The transformer's weights in 32, 16 and 8 bits."""

import pytest
import torch
from torch import nn

from thermvision.annotations.errors import UsageError
from thermvision.generation.engines.flux.precision import cast_transformer, choose_precision, is_fp8, working_dtype
from thermvision.generation.engines.flux.random_models import POOLED_WIDTH, TEXT_WIDTH, tiny_models

FP8 = torch.float8_e4m3fn


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def run(transformer: nn.Module, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)

    def noise(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator).to(dtype)

    ids = torch.zeros(16, 3)
    ids[:, 1], ids[:, 2] = torch.arange(16) // 4, torch.arange(16) % 4
    with torch.no_grad():
        out = transformer(
            hidden_states=noise(2, 16, 64),
            timestep=torch.tensor([0.9, 0.3], dtype=dtype),
            guidance=torch.full((2,), 3.5, dtype=dtype),
            pooled_projections=noise(2, POOLED_WIDTH),
            encoder_hidden_states=noise(2, 5, TEXT_WIDTH),
            txt_ids=torch.zeros(5, 3),
            img_ids=ids,
            return_dict=False,
        )[0]
    return out.float()


def test_names_of_precisions() -> None:
    cpu = torch.device("cpu")
    assert [choose_precision(name, cpu) for name in ("auto", "fp32", "bf16", "fp8")] == ["fp32", "fp32", "bf16", "fp8"]
    assert [working_dtype(name) for name in ("fp32", "bf16", "fp8")] == [torch.float32, torch.bfloat16, torch.bfloat16]
    with pytest.raises(UsageError, match=r"precision is 'int4'; allowed: auto, fp32, bf16, fp8"):
        choose_precision("int4", cpu)
    with pytest.raises(UsageError, match=r"precision is 'int4'"):
        cast_transformer(tiny_models().transformer, "int4")


@pytest.mark.parametrize(("total", "name"), [(80, "bf16"), (24, "fp8")])
def test_auto_goes_by_the_memory_of_the_card(monkeypatch: pytest.MonkeyPatch, total: int, name: str) -> None:
    card = type("Card", (), {"total_memory": total * 2**30})
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: card)
    assert choose_precision("auto", torch.device("cuda")) == name


def test_eight_bits_are_kept_where_they_should_be_and_come_near() -> None:
    transformer = tiny_models().transformer
    exact = run(transformer)
    cast_transformer(transformer, "fp8", torch.float32)
    kept = {name.rpartition(".")[0]: p.dtype for name, p in transformer.named_parameters()}
    for name, module in transformer.named_modules():
        if isinstance(module, nn.Linear):
            assert kept[name] == (FP8 if "blocks." in name else torch.float32), name
    assert kept["transformer_blocks.0.attn.norm_q"] == torch.float32
    assert is_fp8(transformer)
    rounded = run(transformer)
    error = float((rounded - exact).norm() / exact.norm())
    assert 1e-4 < error < 0.05  # it does round, and 3 bits of mantissa are worth a few percent
    assert {name.rpartition(".")[0]: p.dtype for name, p in transformer.named_parameters()} == kept
    cast_transformer(transformer, "fp8")  # again changes nothing
    assert torch.equal(run(transformer), rounded)
    with pytest.raises(UsageError, match="fp8 already and cannot become bf16"):
        cast_transformer(transformer, "bf16")


def test_eight_bits_with_bf16_products() -> None:
    transformer = tiny_models().transformer
    exact = run(transformer)
    cast_transformer(transformer, "fp8")
    assert transformer.x_embedder.weight.dtype == torch.bfloat16
    assert float((run(transformer, torch.bfloat16) - exact).norm() / exact.norm()) < 0.06


def test_sixteen_bits() -> None:
    transformer = tiny_models().transformer
    cast_transformer(transformer, "bf16")
    assert {p.dtype for p in transformer.parameters()} == {torch.bfloat16}
    assert not is_fp8(transformer)


@pytest.mark.parametrize("value", [500.0, float("nan"), float("inf")])
def test_weights_that_eight_bits_cannot_hold(value: float) -> None:
    transformer = tiny_models().transformer
    transformer.single_transformer_blocks[1].proj_mlp.bias[3] = value
    with pytest.raises(UsageError, match=r"single_transformer_blocks\.1\.proj_mlp\.bias: over 448"):
        cast_transformer(transformer, "fp8")
    assert not is_fp8(transformer)


def test_an_adapter_in_training_stays_wide() -> None:
    from peft import LoraConfig

    transformer = tiny_models().transformer
    transformer.add_adapter(LoraConfig(r=2, target_modules=["to_q", "norm1.linear"]))
    cast_transformer(transformer, "fp8", torch.float32)
    types = {"lora_" in name: set() for name, _ in transformer.named_parameters()}
    for name, parameter in transformer.named_parameters():
        types["lora_" in name].add(parameter.dtype)
    assert types[True] == {torch.float32}
    assert transformer.transformer_blocks[0].attn.to_q.base_layer.weight.dtype == FP8
    run(transformer)
