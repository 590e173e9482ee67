"""FLUX's tensor names: both ways without a bit lost, against diffusers' own conversion, at several sizes."""

from pathlib import Path

import pytest
import torch
from diffusers.loaders.single_file_utils import convert_flux_transformer_checkpoint_to_diffusers
from hypothesis import given, settings
from hypothesis import strategies as st

from thermvision.annotations.errors import DamagedInputError
from thermvision.generation.engines.flux import layouts
from thermvision.generation.engines.flux.random_models import tiny_models, tiny_transformer
from thermvision.generation.engines.flux.tensor_files import write_tensors


def same(a: dict, b: dict) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) and a[key].dtype == b[key].dtype for key in a)


@given(
    doubles=st.integers(1, 3),
    singles=st.integers(1, 3),
    heads=st.integers(1, 3),
    prefix=st.sampled_from(("", *layouts.PREFIXES)),
)
@settings(max_examples=12, deadline=None)
def test_transformer_goes_there_and_back(doubles: int, singles: int, heads: int, prefix: str) -> None:
    tensors = dict(tiny_transformer(doubles, singles, heads).state_dict())
    theirs = layouts.transformer_to_bfl(tensors, prefix)
    # q, k and v (and of single blocks the perceptron) are one tensor there: 8 fewer kinds a double, 6 fewer a single
    assert len(tensors) - len(theirs) == 8 * doubles + 6 * singles
    assert all(key.startswith(prefix) for key in theirs)
    assert same(layouts.transformer_from_bfl(theirs), tensors)
    assert layouts.block_counts(layouts.without_prefix(theirs)) == layouts.block_counts(tensors) == (doubles, singles)


def test_what_no_table_knows_keeps_its_name() -> None:
    theirs = layouts.transformer_to_bfl(tiny_transformer(1, 1).state_dict())
    theirs["double_blocks.0.img_attn.extra.weight"] = torch.zeros(1)
    theirs.pop("img_in.bias")
    ours = layouts.transformer_from_bfl(theirs)
    assert "double_blocks.0.img_attn.extra.weight" in ours
    assert "x_embedder.bias" not in ours


def test_eight_bit_tensors_are_renamed_as_they_are() -> None:
    tensors = {k: t.to(torch.float8_e4m3fn) for k, t in tiny_transformer(1, 1).state_dict().items()}
    back = layouts.transformer_from_bfl(layouts.transformer_to_bfl(tensors))
    assert all(torch.equal(back[key].view(torch.uint8), tensors[key].view(torch.uint8)) for key in tensors)


def test_a_stack_of_another_width_is_refused() -> None:
    theirs = layouts.transformer_to_bfl(tiny_transformer(1, 1).state_dict())
    theirs["double_blocks.0.img_attn.qkv.weight"] = torch.zeros(95, 32)
    with pytest.raises(DamagedInputError, match=r"img_attn\.qkv\.weight has the shape \(95, 32\)"):
        layouts.transformer_from_bfl(theirs)
    with pytest.raises(DamagedInputError, match=r"img_in\.weight is missing, found conv_in"):
        layouts.transformer_from_bfl({"conv_in": torch.zeros(1)})
    tensors = dict(tiny_transformer(1, 1).state_dict())
    del tensors["transformer_blocks.0.attn.to_k.weight"]
    with pytest.raises(DamagedInputError, match="not all of"):
        layouts.transformer_to_bfl(tensors)


def test_transformer_as_diffusers_converts_it_at_the_published_width() -> None:
    # diffusers' function has the width 3072 written into it; rows of 2 numbers keep the tensors small
    generator = torch.Generator().manual_seed(0)
    plain = {name: (names, 3072) for name, names in layouts.block_linears(1, 1).items()}
    rows = {"linear1": 7 * 3072, "qkv": 3 * 3072}
    theirs = {}
    for name in plain:
        count = next((n for end, n in rows.items() if name.endswith(end)), 3072)
        theirs[f"{name}.weight"] = torch.randn(count, 2, generator=generator)
        theirs[f"{name}.bias"] = torch.randn(count, generator=generator)
    for norm in layouts._block_norms(1, 1):
        theirs[f"{norm}.scale"] = torch.randn(128, generator=generator)
    for name in layouts.top_linears():
        count = 2 * 3072 if "adaLN" in name else 3072
        theirs[f"{name}.weight"] = torch.randn(count, 2, generator=generator)
        theirs[f"{name}.bias"] = torch.randn(count, generator=generator)
    ours = layouts.transformer_from_bfl(theirs)
    assert same(ours, convert_flux_transformer_checkpoint_to_diffusers(dict(theirs)))
    assert same(layouts.transformer_to_bfl(ours), theirs)


def test_autoencoder_goes_there_and_back() -> None:
    tensors = dict(tiny_models().vae.state_dict())
    theirs = layouts.vae_to_bfl(tensors)
    assert same(layouts.vae_from_bfl(theirs), tensors)
    assert not any("blocks" in key or "attentions" in key for key in theirs)
    assert theirs["encoder.mid.attn_1.q.weight"].shape == (16, 16, 1, 1)
    # BFL counts the decoder's levels from the other end
    assert torch.equal(
        theirs["decoder.up.3.block.0.conv1.weight"], tensors["decoder.up_blocks.0.resnets.0.conv1.weight"]
    )


def test_autoencoder_as_diffusers_converts_it(tmp_path: Path) -> None:
    from diffusers import AutoencoderKL

    vae = tiny_models().vae
    vae.save_config(tmp_path)
    write_tensors(tmp_path / "ae.safetensors", layouts.vae_to_bfl(vae.state_dict()))
    stock = AutoencoderKL.from_single_file(
        str(tmp_path / "ae.safetensors"), config=str(tmp_path), local_files_only=True
    )
    assert same(dict(stock.state_dict()), dict(vae.state_dict()))


def test_text_encoders_names() -> None:
    models = tiny_models()
    clip = dict(models.clip.state_dict())
    theirs = layouts.clip_to_single(clip) | {"text_model.embeddings.position_ids": torch.arange(77)}
    assert same(layouts.clip_from_single(theirs), clip)
    t5 = dict(models.t5.state_dict())
    for gone in ("shared.weight", "encoder.embed_tokens.weight"):
        assert same(layouts.t5_from_single({key: t for key, t in t5.items() if key != gone}), t5)


def test_kohya_modules_of_the_published_model() -> None:
    from accelerate import init_empty_weights
    from diffusers import FluxTransformer2DModel

    with init_empty_weights():
        model = FluxTransformer2DModel(guidance_embeds=True)
    assert sum(p.numel() for p in model.parameters()) == 11_901_408_320
    modules = layouts.kohya_modules(19, 38)
    linears = {name for name, module in model.named_modules() if isinstance(module, torch.nn.Linear)}
    assert {name for names in modules.values() for name in names} == {n for n in linears if "blocks." in n}
    assert set(layouts.top_linears().values()) == {n for n in linears if "blocks." not in n}
    assert (len(modules), len(linears)) == (304, 504)


def test_kohya_modules_are_all_linears_of_the_blocks_and_no_other() -> None:
    model = tiny_transformer(2, 3)
    linears = {
        name for name, module in model.named_modules() if isinstance(module, torch.nn.Linear) and "blocks." in name
    }
    named = [name for names in layouts.kohya_modules(2, 3).values() for name in names]
    assert len(layouts.kohya_modules(2, 3)) == 2 * 10 + 3 * 3
    assert len(named) == len(set(named))
    assert set(named) == linears
