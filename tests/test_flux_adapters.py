"""LoRA files: both namings there and back without a bit lost, what diffusers makes of them, fusing, and wrong files."""

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from thermvision.annotations.errors import DamagedInputError, MissingDependencyError, UsageError
from thermvision.generation.engines.flux.adapters import (
    Adapter,
    Layer,
    apply_adapters,
    read_adapter,
    save_adapter,
    to_diffusers,
    to_kohya,
)
from thermvision.generation.engines.flux.layouts import block_linears, kohya_modules
from thermvision.generation.engines.flux.models import FluxModels, load_models
from thermvision.generation.engines.flux.precision import cast_transformer
from thermvision.generation.engines.flux.random_models import save_comfy, tiny_models
from thermvision.generation.engines.flux.tensor_files import read_metadata, read_tensors, write_tensors
from thermvision.generation.flux_tables import FluxTable

Q = "transformer_blocks.0.attn.to_q"


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "thermal.safetensors"


def random_adapter(
    models: FluxModels, rank: int = 4, alpha: float = 2.0, tied: bool = True, text: bool = True
) -> Adapter:
    """Layers for every linear of the blocks, q, k and v with one down matrix where ``tied``."""
    generator = torch.Generator().manual_seed(rank)

    def noise(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator) * 0.1

    modules = {}
    for names in kohya_modules(2, 2).values():
        shared = noise(rank, models.transformer.get_submodule(names[0]).in_features)
        for name in names:
            down = shared if tied else noise(*shared.shape)
            modules[name] = Layer(down, noise(models.transformer.get_submodule(name).out_features, rank), alpha)
    of_clip = {}
    for name in ("encoder.layers.0.self_attn.q_proj", "encoder.layers.1.mlp.fc1") if text else ():
        linear = models.clip.get_submodule(name)
        of_clip[name] = Layer(noise(rank, linear.in_features), noise(linear.out_features, rank), alpha)
    return Adapter("thermal", modules, of_clip)


def equal(a: Mapping[str, Layer], b: Mapping[str, Layer]) -> bool:
    return a.keys() == b.keys() and all(
        torch.equal(a[key].down, b[key].down) and torch.equal(a[key].up, b[key].up) and a[key].alpha == b[key].alpha
        for key in a
    )


def same_tensors(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(a[key].dtype == b[key].dtype and torch.equal(a[key], b[key]) for key in a)


@given(
    fmt=st.sampled_from(("kohya", "diffusers")),
    tied=st.booleans(),
    rank=st.sampled_from((1, 2, 3, 4, 12)),
    alpha=st.sampled_from((1.0, 4.0, 2.5, 0.1875)),
    dtype=st.sampled_from((torch.float32, torch.bfloat16, torch.float16)),
)
@settings(max_examples=30, deadline=None)
def test_there_and_back(
    tmp_path_factory: pytest.TempPathFactory, fmt: str, tied: bool, rank: int, alpha: float, dtype: torch.dtype
) -> None:
    folder = tmp_path_factory.mktemp("lora")
    adapter = random_adapter(tiny_models(), rank, alpha, tied)
    other = "diffusers" if fmt == "kohya" else "kohya"
    save_adapter(folder / "a.safetensors", adapter, fmt, dtype)
    first = read_adapter(folder / "a.safetensors")
    save_adapter(folder / "b.safetensors", first, other)
    second = read_adapter(folder / "b.safetensors")
    save_adapter(folder / "c.safetensors", second, fmt)
    assert [first.fmt, second.fmt] == [fmt, other]
    assert first.rank == second.rank == rank
    assert equal(first.modules, second.modules)
    assert equal(first.text, second.text)
    assert same_tensors(read_tensors(folder / "a.safetensors"), read_tensors(folder / "c.safetensors"))
    typed = {k: replace(v, down=v.down.to(dtype), up=v.up.to(dtype)) for k, v in adapter.modules.items()}
    assert equal(first.modules, typed)


def test_kohya_file_is_what_its_scripts_write(path: Path) -> None:
    models = tiny_models()
    save_adapter(path, random_adapter(models, rank=4, alpha=2.0), metadata={"ss_steps": "10"})
    tensors = read_tensors(path)
    assert {key.split(".")[0] for key in tensors} == set(kohya_modules(2, 2)) | {
        "lora_te1_text_model_encoder_layers_0_self_attn_q_proj",
        "lora_te1_text_model_encoder_layers_1_mlp_fc1",
    }
    qkv = "lora_unet_double_blocks_0_img_attn_qkv"
    assert tensors[f"{qkv}.lora_down.weight"].shape == (4, 32)
    assert tensors[f"{qkv}.lora_up.weight"].shape == (96, 4)
    assert (tensors[f"{qkv}.alpha"].item(), tensors[f"{qkv}.alpha"].shape) == (2.0, ())
    notes = read_metadata(path)
    assert [notes[f"ss_{key}"] for key in ("network_dim", "network_alpha", "steps")] == ["4", "2.0", "10"]


def test_untied_parts_are_block_diagonal_in_kohya(path: Path) -> None:
    models = tiny_models()
    tensors = to_kohya(random_adapter(models, rank=2, alpha=2.0, tied=False))
    linear1 = "lora_unet_single_blocks_0_linear1"
    up = tensors[f"{linear1}.lora_up.weight"]
    assert up.shape == (3 * 32 + 128, 8)
    assert not bool(up[:32, 2:].count_nonzero())
    assert not bool(up[96:, :6].count_nonzero())
    assert tensors[f"{linear1}.alpha"].item() == 8.0


def test_parts_that_are_not_there_stay_so(path: Path) -> None:
    models = tiny_models()
    full = random_adapter(models, tied=False, text=False)
    few = (Q, "transformer_blocks.1.attn.add_v_proj", "single_transformer_blocks.1.attn.to_k")
    adapter = replace(full, modules={name: full.modules[name] for name in few})
    save_adapter(path, adapter)
    assert equal(read_adapter(path).modules, adapter.modules)


def test_what_kohyas_format_cannot_hold() -> None:
    adapter = random_adapter(tiny_models(), tied=False)
    uneven = adapter.modules | {Q: replace(adapter.modules[Q], alpha=7.0)}
    with pytest.raises(UsageError, match=r"img_attn\.qkv has parts of rank 4 alpha 7.*diffusers"):
        to_kohya(replace(adapter, modules=uneven))
    with pytest.raises(UsageError, match="pos_embed have no name in kohya's format"):
        to_kohya(replace(adapter, modules={"pos_embed": adapter.modules[Q]}))
    with pytest.raises(UsageError, match="format is 'lycoris'; allowed: kohya, diffusers"):
        save_adapter(Path("x"), adapter, "lycoris")


def test_layers_outside_the_blocks(path: Path) -> None:
    models = tiny_models()
    layers = {}
    for name in ("x_embedder", "proj_out", "norm_out.linear", "time_text_embed.guidance_embedder.linear_1"):
        linear = models.transformer.get_submodule(name)
        layers[name] = Layer(torch.randn(2, linear.in_features), torch.randn(linear.out_features, 2), 1.0)
    save_adapter(path, Adapter("a", layers))
    up = read_tensors(path)["lora_unet_final_layer_adaLN_modulation_1.lora_up.weight"]
    assert torch.equal(up[:32], layers["norm_out.linear"].up[32:])  # the authors have shift first
    assert equal(read_adapter(path).modules, layers)


@pytest.mark.parametrize("tied", [True, False])
def test_kohya_as_diffusers_understands_it_at_the_published_width(path: Path, tied: bool) -> None:
    from diffusers.loaders.lora_conversion_utils import _convert_kohya_flux_lora_to_diffusers

    generator = torch.Generator().manual_seed(0)
    tensors = {}
    for name, parts in kohya_modules(1, 1).items():
        rank = 2 * len(parts)
        rows = {1: 3072, 3: 9216, 4: 21504}[len(parts)]
        up = torch.randn(rows, rank, generator=generator)
        if not tied and len(parts) > 1:
            up = torch.block_diag(
                *[torch.randn(n, 2, generator=generator) for n in (3072, 3072, 3072, 12288)[: len(parts)]]
            )
        tensors[f"{name}.lora_down.weight"] = torch.randn(rank, 3072, generator=generator)
        tensors[f"{name}.lora_up.weight"] = up
        tensors[f"{name}.alpha"] = torch.tensor(3.0)
    write_tensors(path, tensors)
    theirs = _convert_kohya_flux_lora_to_diffusers(dict(tensors))
    modules = read_adapter(path).modules
    assert {f"transformer.{name}.lora_{m}.weight" for name in modules for m in "AB"} == theirs.keys()
    for name, layer in modules.items():
        down, up = (theirs[f"transformer.{name}.lora_{m}.weight"] for m in "AB")
        assert down.shape == layer.down.shape  # the diagonal is seen where there is one
        some = slice(0, 64)
        torch.testing.assert_close(layer.scale * (layer.up[some] @ layer.down), up[some] @ down, atol=1e-5, rtol=1e-5)


def test_diffusers_loads_what_is_written_with_its_alpha(path: Path) -> None:
    models, stock = tiny_models(), tiny_models()
    adapter = random_adapter(models, rank=4, alpha=1.0, text=False)
    one = "single_transformer_blocks.0.proj_out"
    mixed = {one: Layer(adapter.modules[one].down[:3], adapter.modules[one].up[:, :3], 2.5)}
    adapter = replace(adapter, modules=adapter.modules | mixed)
    save_adapter(path, adapter, "diffusers")
    stock.transformer.load_lora_adapter(path.parent, weight_name=path.name, prefix="transformer", use_safetensors=True)
    stock.transformer.fuse_lora()
    stock.transformer.unload_lora()
    apply_adapters(models, [(adapter, 1.0, 1.0)])
    ours, theirs = models.transformer.state_dict(), stock.transformer.state_dict()
    assert ours.keys() == theirs.keys()
    assert max(float((ours[key] - theirs[key]).abs().max()) for key in ours) < 1e-6
    before = tiny_models().transformer.state_dict()
    assert max(float((ours[key] - before[key]).abs().max()) for key in ours) > 1e-2
    assert equal(read_adapter(path).modules, adapter.modules)


def test_rank_stabilised_notes(path: Path) -> None:
    tensors, notes = to_diffusers(random_adapter(tiny_models(), rank=4, alpha=1.0, text=False))
    settings = json.loads(notes["lora_adapter_metadata"]) | {"transformer.use_rslora": True}
    write_tensors(path, tensors, {"lora_adapter_metadata": json.dumps(settings)})
    assert {layer.scale for layer in read_adapter(path).modules.values()} == {1 / 2}  # alpha over the root of rank


@pytest.mark.parametrize("with_notes", [True, False])
def test_stock_alpha_without_notes_is_the_rank(path: Path, with_notes: bool) -> None:
    tensors, notes = to_diffusers(random_adapter(tiny_models(), rank=4, alpha=1.0, text=False))
    write_tensors(path, tensors, notes if with_notes else {"format": "pt"})
    assert {layer.alpha for layer in read_adapter(path).modules.values()} == {1.0 if with_notes else 4.0}


def test_authors_names_with_dots(path: Path) -> None:
    adapter = random_adapter(tiny_models(), text=False)
    kohya = to_kohya(adapter)
    dotted = {
        f"diffusion_model.{name}.{end}": kohya["lora_unet_" + name.replace(".", "_") + f".{theirs}"]
        for name in block_linears(2, 2)
        for end, theirs in (
            ("lora_A.weight", "lora_down.weight"),
            ("lora_B.weight", "lora_up.weight"),
            ("alpha", "alpha"),
        )
    }
    write_tensors(path, dotted)
    assert equal(read_adapter(path).modules, adapter.modules)


# --- fusing


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("fmt", ["kohya", "diffusers"])
def test_fused_weights_are_exact(path: Path, dtype: torch.dtype, fmt: str) -> None:
    models, plain = tiny_models(), tiny_models()
    for module in (models.transformer, models.clip, plain.transformer, plain.clip):
        module.to(dtype)
    save_adapter(path, random_adapter(models), fmt)
    adapter = read_adapter(path)
    report = apply_adapters(models, [(adapter, 0.5, -2.0), (adapter, 0.25, 0.0)])
    for module, before, layers, strength in (
        (models.transformer, plain.transformer.state_dict(), adapter.modules, 0.75),
        (models.clip, plain.clip.state_dict(), adapter.text, -2.0),
    ):
        for key, tensor in module.state_dict().items():
            name = key.removesuffix(".weight")
            if name in layers:
                layer = layers[name]
                expected = before[key].double() + strength * layer.alpha / layer.rank * (
                    layer.up.double() @ layer.down.double()
                )
                assert tensor.dtype == dtype
                assert not torch.equal(tensor, before[key])
                torch.testing.assert_close(
                    tensor.double(), expected, atol=1e-6, rtol=1e-6 if dtype == torch.float32 else 2**-8
                )
            else:
                assert torch.equal(tensor, before[key])
    total = len(read_tensors(path))
    assert (report.tensors_used, report.tensors_total) == (2 * total, 2 * total)
    assert len(report.modules) == len(adapter.modules) + 2
    assert report.files[0]["changed"] == len(adapter.modules) + 2
    assert report.files[1]["changed"] == len(adapter.modules)
    assert report.files[0]["sha256"] == adapter.digest != ""
    assert (
        report.lines()[0]
        == f"thermal: {total} of {total} tensors used, {len(report.modules)} modules at strength 0.5 (CLIP-L -2)"
    )


def test_fusing_leaves_the_files_as_they_are(tmp_path: Path) -> None:
    folder = save_comfy(tiny_models(), tmp_path / "flux")
    files = {path: path.read_bytes() for path in sorted(folder.rglob("*.safetensors"))}
    models, memory = load_models(FluxTable(), folder), tiny_models()
    adapter = random_adapter(memory)
    for each in (models, memory):
        apply_adapters(each, [(adapter, 1.0, 1.0)])
    fused, expected = models.transformer.state_dict(), memory.transformer.state_dict()
    assert all(torch.equal(fused[key], expected[key]) for key in expected)
    assert {path: path.read_bytes() for path in files} == files


def test_an_adapter_that_does_nothing_is_said_to() -> None:
    models = tiny_models()
    adapter = random_adapter(models, text=False)
    zero = replace(adapter, modules={k: replace(v, up=torch.zeros_like(v.up)) for k, v in adapter.modules.items()})
    before = {k: t.clone() for k, t in models.transformer.state_dict().items()}
    report = apply_adapters(models, [(adapter, 0.0, 1.0), (zero, 1.0, 1.0)])
    assert all("CHANGES NOTHING" in line for line in report.lines())
    assert all(torch.equal(t, before[k]) for k, t in models.transformer.state_dict().items())


def test_an_adapter_that_does_not_fit_changes_nothing() -> None:
    models = tiny_models()
    before = {k: t.clone() for k, t in models.transformer.state_dict().items()}
    adapter = random_adapter(models)
    layer = adapter.modules[Q]
    wide = replace(adapter, modules=adapter.modules | {Q: replace(layer, down=torch.zeros(4, 64))})
    with pytest.raises(UsageError, match=r"1 layers are of another size.*to_q \(32, 64\) for \(32, 32\).*3072"):
        apply_adapters(models, [(adapter, 1.0, 1.0), (wide, 1.0, 1.0)])
    deep = replace(adapter, modules=adapter.modules | {"transformer_blocks.18.attn.to_q": layer})
    with pytest.raises(UsageError, match=r"1 of 41 layers have no linear.*transformer_blocks\.18"):
        apply_adapters(models, [(adapter, 1.0, 1.0), (deep, 1.0, 1.0)])
    models.clip = None
    with pytest.raises(UsageError, match="layers of CLIP-L and CLIP-L is not loaded"):
        apply_adapters(models, [(adapter, 1.0, 1.0)])
    assert all(torch.equal(t, before[k]) for k, t in models.transformer.state_dict().items())
    cast_transformer(models.transformer, "fp8")
    with pytest.raises(UsageError, match="fp8 already"):
        apply_adapters(models, [(replace(adapter, text={}), 1.0, 1.0)])


# --- wrong files


def kohya(change: Callable[[dict[str, Tensor]], object]) -> dict[str, Tensor]:
    tensors = to_kohya(random_adapter(tiny_models()))
    change(tensors)
    return tensors


QKV = "lora_unet_double_blocks_0_img_attn_qkv"


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda t: t.pop(f"{QKV}.lora_up.weight"), f"{QKV} has .* and no up matrix"),
        (lambda t: [t.pop(f"{QKV}.lora_{part}.weight") for part in ("up", "down")], "no down and no up matrix"),
        (
            lambda t: t.update({f"{QKV}.lora_up.weight": torch.ones(96, 5)}),
            r"ranks do not match: .*\(4, 32\).*\(96, 5\)",
        ),
        (lambda t: t.update({f"{QKV}.lora_up.weight": torch.ones(97, 4)}), "97 rows, which do not make 3 parts"),
        (lambda t: t.update({f"{QKV}.lora_up.weight": torch.ones(96, 4, 1, 1)}), "ranks do not match"),
        (lambda t: t.update({f"{QKV}.lora_up.weight": torch.full((96, 4), float("nan"))}), "no numbers"),
        (lambda t: t.update({f"{QKV}.alpha": torch.tensor(float("inf"))}), "no numbers"),
        (lambda t: t.update({f"{QKV}.alpha": torch.ones(2)}), "has 2 values"),
        (
            lambda t: t.update({f"transformer.{Q}.lora_{m}.weight": torch.ones(32, 32) for m in "AB"}),
            rf"two layers for {Q}",
        ),
    ],
)
def test_damaged_adapters(path: Path, change: Callable[[dict[str, Tensor]], object], told: str) -> None:
    write_tensors(path, kohya(change))
    with pytest.raises(DamagedInputError, match=rf"thermal\.safetensors.*{told}"):
        read_adapter(path)


@pytest.mark.parametrize(
    ("key", "told"),
    [
        ("lora_unet_down_blocks_0_attentions_0_proj_in.lora_down.weight", "Stable Diffusion 1.5's or XL's"),
        ("lora_te2_text_model_encoder_layers_0_mlp_fc1.lora_up.weight", "Stable Diffusion XL's"),
        ("lora_te3_encoder_block_0_layer_0_SelfAttention_q.lora_up.weight", "layers of T5"),
        ("lora_unet_joint_blocks_0_x_block_attn_qkv.lora_up.weight", "Stable Diffusion 3's"),
        ("double_blocks.0.processor.proj_lora1.down.weight", "XLabs' own layout"),
        ("lora_unet_double_blocks_0_img_attn_qkv.hada_w1_a", "LyCORIS"),
        ("lora_unet_double_blocks_0_img_attn_qkv.dora_scale", "DoRA"),
        ("diffusion_model.blocks.0.cross_attn.q.lora_A.weight", "another model's"),
        ("lora_unet_double_blocks_9999_img_attn_qkv.lora_up.weight", "modules that FLUX.1-dev does not have"),
        ("transformer.transformer_blocks.0.attn.to_q.lora_C.weight", "modules that FLUX.1-dev does not have"),
        ("model.embed.weight", "no LoRA's that is known here"),
    ],
)
def test_keys_of_others(path: Path, key: str, told: str) -> None:
    write_tensors(path, kohya(lambda tensors: tensors.update({key: torch.ones(2, 2)})))
    with pytest.raises(UsageError, match="tensors are not of a LoRA") as caught:
        read_adapter(path)
    assert key in str(caught.value)
    assert told in str(caught.value)


def test_a_truncated_and_a_missing_adapter(path: Path) -> None:
    with pytest.raises(MissingDependencyError, match="does not exist"):
        read_adapter(path)
    save_adapter(path, random_adapter(tiny_models()))
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(DamagedInputError, match="half-downloaded"):
        read_adapter(path)


@pytest.mark.parametrize("notes", ["{", "[1]", json.dumps({"transformer.lora_alpha": "many"})])
def test_notes_that_cannot_be_read(path: Path, notes: str) -> None:
    tensors, _ = to_diffusers(random_adapter(tiny_models(), text=False))
    write_tensors(path, tensors, {"lora_adapter_metadata": notes})
    with pytest.raises(DamagedInputError, match=r"in its header|its header's"):
        read_adapter(path)


def test_empty_adapter_has_no_rank() -> None:
    assert Adapter("none", {}).rank == 0
