"""Adapters in the network: which modules, tied matrices, types; 8-bit bases and swapped blocks change no gradient."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from thermvision.annotations.errors import UsageError
from thermvision.generation.engines.flux.random_models import tiny_models, tiny_transformer
from thermvision.generation.engines.flux.sampling import places
from thermvision.generation.engines.flux.training.lora_layers import (
    ADAPTER,
    Trained,
    add_adapter,
    module_weights,
    quantise_base,
    swap,
    swapped_blocks,
)

pytestmark = pytest.mark.usefixtures("one_thread")


def tiny(dtype: torch.dtype = torch.float32, adapter: torch.dtype | None = None) -> tuple[Any, Trained]:
    transformer: Any = tiny_models().transformer.to(dtype)
    return transformer, add_adapter(transformer, 4, 2.0, seed=1, dtype=adapter or dtype)


def forward(transformer: Any, dtype: torch.dtype = torch.float32) -> Tensor:
    draw = torch.Generator().manual_seed(3)
    tokens, pooled, x = (torch.randn(shape, generator=draw).to(dtype) for shape in ((1, 7, 32), (1, 64), (1, 16, 64)))
    result: Tensor = transformer(
        hidden_states=x, timestep=torch.tensor([0.5], dtype=dtype), guidance=torch.tensor([3.0]),
        pooled_projections=pooled, encoder_hidden_states=tokens, txt_ids=torch.zeros(7, 3), img_ids=places(64, 64),
        return_dict=False,
    )[0]  # fmt: skip
    return result


def grow(trained: Trained) -> None:
    """Make the up matrices count: fresh ones are zero."""
    draw = torch.Generator().manual_seed(9)
    for name, parameter in trained.items():
        if ".up." in name:
            parameter.data = (0.1 * torch.randn(parameter.shape, generator=draw)).to(parameter.dtype)


def gradients(transformer: Any, trained: Trained, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    for parameter in trained.values():
        parameter.grad = None
    forward(transformer, dtype).float().square().mean().backward()
    return {name: parameter.grad.clone() for name, parameter in trained.items() if parameter.grad is not None}


def test_every_linear_of_the_blocks_and_nothing_else():
    transformer, trained = tiny()
    # two double blocks of ten modules, two single ones of three; q, k, v (and the perceptron) have ups of their own
    assert sum(name.endswith(".down") for name in trained) == 2 * 10 + 2 * 3
    assert sum(".up." in name for name in trained) == 2 * 14 + 2 * 6
    assert {id(p) for p in trained.values()} == {id(p) for p in transformer.parameters() if p.requires_grad}
    odd = [n for n, p in transformer.named_parameters() if p.requires_grad and "transformer_blocks." not in n]
    assert not odd


def test_at_the_size_of_flux_it_is_kohyas_304_modules_and_306_million_parameters():
    from diffusers import FluxTransformer2DModel

    with torch.device("meta"):
        flux = FluxTransformer2DModel(guidance_embeds=True)  # the defaults are FLUX.1's
    trained = add_adapter(flux, 1, 1.0, seed=0)
    assert sum(name.endswith(".down") for name in trained) == 304
    assert sum(".up." in name for name in trained) == 494
    assert 64 * sum(parameter.numel() for parameter in trained.values()) == 306_315_264


def test_q_k_v_share_one_down_matrix():
    transformer, trained = tiny()
    attention = transformer.transformer_blocks[0].attn
    assert attention.to_q.lora_A[ADAPTER] is attention.to_v.lora_A[ADAPTER]
    assert attention.to_q.lora_A[ADAPTER] is not attention.add_q_proj.lora_A[ADAPTER]
    single = transformer.single_transformer_blocks[1]
    assert single.attn.to_k.lora_A[ADAPTER] is single.proj_mlp.lora_A[ADAPTER]
    weights = module_weights(trained, transformer)
    down, up = weights["single_transformer_blocks.1.proj_mlp"]
    assert down.shape == (4, 32)
    assert up.shape == (128, 4)


def test_a_fresh_adapter_changes_nothing_and_is_drawn_from_its_seed():
    plain = tiny_models().transformer
    transformer, trained = tiny()
    assert torch.equal(forward(plain), forward(transformer))
    again = tiny()[1]
    other = add_adapter(tiny_models().transformer, 4, 2.0, seed=2)
    name = "lora_unet_double_blocks_0_img_attn_qkv.down"
    assert torch.equal(trained[name], again[name])
    assert not torch.equal(trained[name], other[name])
    bound = 1 / trained[name].shape[1] ** 0.5
    assert 0.8 * bound < float(trained[name].detach().abs().max()) <= bound


def test_alpha_over_rank_scales_what_is_added():
    transformer, trained = tiny()
    grow(trained)
    plain = tiny_models().transformer
    for name, (down, up) in module_weights(trained, transformer).items():
        plain.get_submodule(name).weight.data += 2.0 / 4 * up @ down
    with torch.no_grad():
        difference = (forward(plain) - forward(transformer)).abs().max()
        assert float(difference) < 5e-6
        assert float((forward(plain) - forward(tiny_models().transformer)).abs().max()) > 1e-2


@pytest.mark.parametrize("adapter", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("checkpointing", [False, True])
def test_an_8_bit_base_gives_the_gradients_of_its_rounded_weights(adapter: torch.dtype, checkpointing: bool):
    transformer, trained = tiny(torch.bfloat16, adapter)
    rounded, same = tiny(torch.bfloat16, adapter)
    for layers in (trained, same):
        grow(layers)
    assert quantise_base(transformer, torch.bfloat16) == 2 * 14 + 2 * 6
    for module in rounded.modules():
        if hasattr(module, "base_layer"):
            for parameter in module.base_layer.parameters():
                parameter.data = parameter.data.to(torch.float8_e4m3fn).to(torch.bfloat16)
    if checkpointing:
        transformer.enable_gradient_checkpointing()
    assert transformer.transformer_blocks[0].attn.to_q.base_layer.weight.dtype == torch.float8_e4m3fn
    assert {p.dtype for p in trained.values()} == {adapter}
    found, wanted = (gradients(t, p, torch.bfloat16) for t, p in ((transformer, trained), (rounded, same)))
    assert found.keys() == wanted.keys() == trained.keys()
    assert all(torch.equal(found[name], wanted[name]) for name in found)
    assert transformer.transformer_blocks[0].attn.to_q.base_layer.weight.dtype == torch.float8_e4m3fn


def test_weights_that_8_bits_cannot_hold():
    transformer, _ = tiny()
    transformer.transformer_blocks[0].attn.to_q.base_layer.weight.data[0, 0] = 500
    with pytest.raises(UsageError, match=r"transformer_blocks\.0\.attn\.to_q .*fp8_base = false"):
        quantise_base(transformer, torch.float32)


def test_which_blocks_are_swapped():
    transformer = tiny_transformer(doubles=4, singles=8)
    kinds = [[type(b).__name__ for b in swapped_blocks(transformer, count)] for count in (0, 1, 2, 5)]
    double, single = "FluxTransformerBlock", "FluxSingleTransformerBlock"
    assert kinds == [[], [single] * 2, [double] + [single] * 2, [double] * 2 + [single] * 6]


@pytest.mark.parametrize("fp8", [False, True])
def test_swapped_blocks_change_no_gradient_and_return_home(fp8: bool):
    transformer, trained = tiny()
    if fp8:
        quantise_base(transformer, torch.float32)
    grow(trained)
    transformer.enable_gradient_checkpointing()
    before = gradients(transformer, trained)
    swap(swapped_blocks(transformer, 2), torch.device("cpu"))
    weights = dict(transformer.single_transformer_blocks[0].named_parameters())
    homes = {name: p.data_ptr() for name, p in weights.items()}
    after = gradients(transformer, trained)
    assert all(torch.equal(before[name], after[name]) for name in trained)
    assert {name: p.data_ptr() for name, p in weights.items()} == homes
