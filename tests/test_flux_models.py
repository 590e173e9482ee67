"""FLUX's networks from single files and from a diffusers folder: found, loaded strictly, at the true width too."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from thermvision.annotations.errors import DamagedInputError, MissingDependencyError, UsageError
from thermvision.curation.store import sha256_file
from thermvision.generation.engines.flux import files as flux_files
from thermvision.generation.engines.flux.layouts import transformer_to_bfl
from thermvision.generation.engines.flux.models import FluxModels, find_files, load_models, load_transformer
from thermvision.generation.engines.flux.random_models import save_comfy, save_diffusers, tiny_models
from thermvision.generation.engines.flux.tensor_files import read_tensors, write_tensors
from thermvision.generation.flux_tables import FluxTable

CPU = torch.device("cpu")
UNET, CLIP, T5, VAE = (
    "diffusion_models/flux1-dev.safetensors",
    "text_encoders/clip_l.safetensors",
    "text_encoders/t5xxl_fp16.safetensors",
    "vae/ae.safetensors",
)


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def comfy(tmp_path: Path) -> Path:
    return save_comfy(tiny_models(), tmp_path / "flux")


def edit(path: Path, **changes: torch.Tensor | None) -> None:
    """Replace tensors of a file; None takes one away."""
    tensors = read_tensors(path) | {key: value for key, value in changes.items() if value is not None}
    write_tensors(path, {key: t for key, t in tensors.items() if key not in changes or changes[key] is not None})


def weights(models: FluxModels) -> dict[str, torch.Tensor]:
    return {f"{part}.{key}": t for part, module in models.parts().items() for key, t in module.state_dict().items()}


def settings(module: object) -> dict:
    config = module.config  # type: ignore[attr-defined]
    values = dict(config) if isinstance(config, dict) else config.to_dict()
    return {key: value for key, value in values.items() if not key.startswith("_")}


def test_tiny_models_are_equal_for_equal_seeds_only() -> None:
    state = torch.random.get_rng_state()
    first, again, other = tiny_models(), tiny_models(), tiny_models(1)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert first.digests == again.digests
    assert all(first.digests[part] != other.digests[part] for part in ("transformer", "vae", "clip_l", "t5"))
    assert first.random
    assert first.digests.keys() == first.parts().keys()
    assert not any(p.requires_grad for module in first.parts().values() for p in module.parameters())


def test_tiny_tokenizers_tell_texts_apart() -> None:
    models = tiny_models()
    for tokenizer in (models.clip_tokenizer, models.t5_tokenizer):
        texts = ("a face", "a man", "zyx", "zxy", "a face, bald", "25 years")
        assert len({tuple(tokenizer(text).input_ids) for text in texts}) == len(texts)
    ids = models.clip_tokenizer("a face", padding="max_length").input_ids
    assert len(ids) == 77
    assert max(ids) == ids[-1] == len(models.clip_tokenizer) - 1


@pytest.mark.parametrize("save", [save_comfy, save_diffusers])
def test_both_layouts_load_as_they_were(tmp_path: Path, save) -> None:
    models = tiny_models(3)
    folder = save(models, tmp_path / "flux")
    loaded = load_models(FluxTable(), folder)
    before, after = weights(models), weights(loaded)
    assert before.keys() == after.keys()
    assert all(torch.equal(before[key], after[key]) for key in before)
    for part, module in models.parts().items():
        assert settings(loaded.parts()[part]) == settings(module)
        assert not loaded.parts()[part].training
        assert not any(p.requires_grad or p.is_meta for p in loaded.parts()[part].parameters())
        assert not any(b.is_meta for b in loaded.parts()[part].buffers())
    text = "a face, xyz"
    assert loaded.clip_tokenizer(text).input_ids == models.clip_tokenizer(text).input_ids
    assert loaded.t5_tokenizer(text).input_ids == models.t5_tokenizer(text).input_ids
    assert (loaded.t5_tokenizer.model_max_length, loaded.clip_tokenizer.model_max_length) == (512, 77)
    ids = models.clip_tokenizer(text, padding="max_length", return_tensors="pt").input_ids
    assert torch.equal(loaded.clip(ids).pooler_output, models.clip(ids).pooler_output)
    assert not loaded.random
    files = find_files(folder, FluxTable())
    assert loaded.digests["vae"] == sha256_file(files.vae[0])
    assert sorted(loaded.digests) == ["clip_l", "t5", "transformer", "vae"]


def test_random_weights_and_no_text() -> None:
    models = load_models(FluxTable(weights="random", precision="bf16"), with_text=False)
    assert models.random
    assert models.dtype == next(models.transformer.parameters()).dtype == torch.bfloat16
    assert models.clip is models.t5 is models.clip_tokenizer is None


def test_no_text_needs_no_text_files(comfy: Path) -> None:
    shutil.rmtree(comfy / "text_encoders")
    shutil.rmtree(comfy / "tokenizers")
    models = load_models(FluxTable(), comfy, with_text=False)
    assert sorted(models.parts()) == ["transformer", "vae"]
    with pytest.raises(
        MissingDependencyError, match=r"(?s)missing:\s+clip_l: .*t5: .*clip_tokenizer: .*t5_tokenizer: "
    ):
        load_models(FluxTable(), comfy)


def test_all_that_is_missing_is_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(MissingDependencyError) as caught:
        find_files(tmp_path, FluxTable())
    text = str(caught.value)
    for wanted in ("flux1-dev.safetensors", "ae.safetensors", "clip_l.safetensors", "t5xxl_fp16.safetensors"):
        assert wanted in text
    for wanted in ("vocab.json and merges.txt", "spiece.model", "openai/clip-vit-large-patch14", "hf download"):
        assert wanted in text
    assert str(tmp_path) in text


def test_other_names_and_folders_of_comfyui(comfy: Path) -> None:
    (comfy / "diffusion_models").rename(comfy / "unet")
    (comfy / "text_encoders").rename(comfy / "clip")
    (comfy / "unet" / "flux1-dev.safetensors").rename(comfy / "unet" / "flux1-dev-fp8.safetensors")
    (comfy / "clip" / "t5xxl_fp16.safetensors").rename(comfy / "clip" / "t5xxl_fp8_e4m3fn.safetensors")
    files = find_files(comfy, FluxTable())
    assert [files.transformer[0].name, files.t5[0].name] == [
        "flux1-dev-fp8.safetensors",
        "t5xxl_fp8_e4m3fn.safetensors",
    ]


def test_two_that_could_be_it_are_asked_about(comfy: Path) -> None:
    folder = comfy / "diffusion_models"
    for name in ("flux1-dev-a.safetensors", "flux1-dev-b.safetensors"):
        shutil.copy(folder / "flux1-dev.safetensors", folder / name)
    assert find_files(comfy, FluxTable()).transformer[0].name == "flux1-dev.safetensors"
    (folder / "flux1-dev.safetensors").unlink()
    with pytest.raises(UsageError, match=r"transformer could be any of .*flux1-dev-a.*flux1-dev-b.*say which"):
        find_files(comfy, FluxTable())
    named = FluxTable(transformer="flux1-dev-b.safetensors")
    assert find_files(comfy, named).transformer[0].name == "flux1-dev-b.safetensors"
    with pytest.raises(MissingDependencyError, match=r"transformer: nope\.safetensors, which \[flux\] names"):
        find_files(comfy, FluxTable(transformer="nope.safetensors"))


def test_every_tensor_that_does_not_fit_is_named(comfy: Path) -> None:
    edit(
        comfy / UNET,
        **{
            "double_blocks.0.img_mlp.0.bias": None,
            "double_blocks.0.img_mlp.9.bias": torch.zeros(1),
            "single_blocks.1.norm.key_norm.scale": torch.ones(8),
            "time_in.in_layer.bias": torch.zeros(32, dtype=torch.int8),
        },
    )
    with pytest.raises(DamagedInputError) as caught:
        load_models(FluxTable(), comfy, with_text=False)
    text = str(caught.value)
    assert "flux1-dev.safetensors" in text
    assert "1 missing: transformer_blocks.0.ff.net.0.proj.bias" in text
    assert "1 unknown: double_blocks.0.img_mlp.9.bias" in text
    assert "1 of another shape: single_transformer_blocks.1.attn.norm_k.weight (8,) for (16,)" in text
    assert "1 not floating: time_text_embed.timestep_embedder.linear_1.bias torch.int8" in text


@pytest.mark.parametrize(
    ("file", "change", "told"),
    [
        (UNET, {"guidance_in.in_layer.weight": None, "guidance_in.in_layer.bias": None,
                "guidance_in.out_layer.weight": None, "guidance_in.out_layer.bias": None}, "FLUX.1-schnell"),
        (UNET, {"img_in.weight": torch.zeros(32, 384)}, "takes 384 channels; allowed: 64"),
        (UNET, {"double_blocks.900.img_mod.lin.weight": torch.zeros(1)}, "901 \\+ 2 blocks"),
        (UNET, {"text_encoders.clip_l.logit_scale": torch.zeros(1)}, "is a whole checkpoint"),
        (VAE, {"encoder.conv_out.weight": torch.zeros(8, 16, 3, 3)}, "4 latent channels.*Stable Diffusion"),
        (VAE, {"encoder.conv_in.weight": None}, "1 missing: encoder.conv_in.weight"),
        (CLIP, {"text_model.final_layer_norm.bias": None}, "1 missing: final_layer_norm.bias"),
        (CLIP, {"text_model.embeddings.token_embedding.weight": None}, "has no embeddings.token_embedding.weight"),
        (CLIP, {"text_model.embeddings.token_embedding.weight": torch.zeros(9, 64)}, "different models"),
        (T5, {"encoder.block.1.layer.0.SelfAttention.q.weight": None}, "1 missing: encoder.block.1.layer.0"),
        (T5, {"shared.weight": None}, "has no shared.weight"),
    ],
)  # fmt: skip
def test_wrong_files(comfy: Path, file: str, change: dict, told: str) -> None:
    edit(comfy / file, **change)
    with pytest.raises(DamagedInputError, match=told):
        load_models(FluxTable(), comfy)


def test_damaged_tokenizers(comfy: Path) -> None:
    folder = comfy / "tokenizers" / "clip_l"
    (folder / "tokenizer.json").write_text("{")
    with pytest.raises(DamagedInputError, match=r"clip_l/tokenizer\.json cannot be read"):
        load_models(FluxTable(), comfy)
    shutil.copy(comfy / "tokenizers" / "t5xxl" / "tokenizer.json", folder / "tokenizer.json")
    with pytest.raises(DamagedInputError, match=r"lacks <\|startoftext\|>.*no tokenizer of clip"):
        load_models(FluxTable(), comfy)


def test_sentencepiece_is_asked_for_where_it_is_needed(comfy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = comfy / "tokenizers" / "t5xxl"
    (folder / "tokenizer.json").rename(folder / "spiece.model")
    monkeypatch.setattr(flux_files, "find_spec", lambda name: None)
    with pytest.raises(MissingDependencyError, match="pip install sentencepiece protobuf"):
        load_models(FluxTable(), comfy)


def test_clip_tokenizer_of_two_files(comfy: Path) -> None:
    folder = comfy / "tokenizers" / "clip_l"
    (folder / "tokenizer.json").unlink()
    (folder / "vocab.json").write_text(
        json.dumps({"a": 0, "a</w>": 1, "b</w>": 2, "ab</w>": 3, "<|startoftext|>": 4, "<|endoftext|>": 5})
    )
    (folder / "merges.txt").write_text("#version: 0.2\na b</w>\n")
    models = load_models(FluxTable(), comfy)
    assert models.clip_tokenizer("ab a").input_ids == [4, 3, 1, 5]
    assert models.clip_tokenizer.model_max_length == 77


def test_a_config_that_disagrees_with_its_tensors(tmp_path: Path) -> None:
    folder = save_diffusers(tiny_models(), tmp_path / "flux")
    (folder / "transformer" / "config.json").write_text(json.dumps({"axes_dims_rope": "many"}))
    with pytest.raises(DamagedInputError, match="axes_dims_rope is 'many'; allowed: even numbers that make 16"):
        load_models(FluxTable(), folder, with_text=False)
    (folder / "transformer" / "config.json").write_text("[]")
    with pytest.raises(DamagedInputError, match="holds a list"):
        load_models(FluxTable(), folder, with_text=False)


def test_pieces_of_a_diffusers_transformer(tmp_path: Path) -> None:
    models = tiny_models()
    folder = save_diffusers(models, tmp_path / "flux")
    whole = folder / "transformer" / "diffusion_pytorch_model.safetensors"
    tensors = read_tensors(whole)
    keys = sorted(tensors)
    for i, part in enumerate((keys[:30], keys[30:]), start=1):
        name = f"diffusion_pytorch_model-0000{i}-of-00002.safetensors"
        write_tensors(whole.with_name(name), {key: tensors[key] for key in part})
    digest = load_models(FluxTable(), folder, with_text=False).digests["transformer"]
    whole.unlink()
    loaded = load_models(FluxTable(), folder, with_text=False)
    assert torch.equal(loaded.transformer.proj_out.weight, models.transformer.proj_out.weight)
    assert loaded.digests["transformer"] != digest
    write_tensors(whole.with_name("diffusion_pytorch_model-00003-of-00002.safetensors"), {keys[0]: tensors[keys[0]]})
    with pytest.raises(DamagedInputError, match="which another file beside it has, too"):
        load_models(FluxTable(), folder, with_text=False)


def test_eight_bit_and_half_files_load_in_the_working_type(comfy: Path) -> None:
    tensors = read_tensors(comfy / UNET)
    write_tensors(comfy / UNET, {f"model.diffusion_model.{k}": t.to(torch.float8_e4m3fn) for k, t in tensors.items()})
    models = load_models(FluxTable(precision="bf16"), comfy, with_text=False)
    assert {p.dtype for p in models.transformer.parameters()} == {torch.bfloat16}
    expected = tensors["img_in.weight"].to(torch.float8_e4m3fn).to(torch.bfloat16)
    assert torch.equal(models.transformer.x_embedder.weight, expected)


@pytest.mark.slow
def test_the_published_width_loads_by_the_same_way(tmp_path: Path) -> None:
    """One block of each kind at width 3072 in bf16, 1.1 GB, written as ComfyUI names it."""
    from accelerate import init_empty_weights
    from diffusers import FluxTransformer2DModel

    with init_empty_weights(include_buffers=False):
        empty = FluxTransformer2DModel(num_layers=1, num_single_layers=1, guidance_embeds=True)

    # a few numbers again and again: what matters is which row comes out where
    def filled(shape: torch.Size, seed: int) -> torch.Tensor:
        noise = torch.randn(997, generator=torch.Generator().manual_seed(seed)).to(torch.bfloat16)
        return noise.repeat(shape.numel() // 997 + 1)[: shape.numel()].reshape(shape)

    expected = {key: filled(t.shape, i) for i, (key, t) in enumerate(empty.state_dict().items())}
    path = tmp_path / "flux1-dev.safetensors"
    try:
        write_tensors(path, transformer_to_bfl(expected, "model.diffusion_model."))
        assert path.stat().st_size > 10**9
        model = load_transformer([path], CPU, torch.bfloat16)
        assert all(torch.equal(tensor, expected[key]) for key, tensor in model.state_dict().items())
    finally:
        path.unlink()
    assert len(model.state_dict()) == len(expected)
    assert settings(model) == settings(empty)
    assert settings(model)["axes_dims_rope"] == (16, 56, 56)
    assert (settings(model)["num_attention_heads"], settings(model)["joint_attention_dim"]) == (24, 4096)
