"""Recipes from workflows: the article's two graphs field by field, other samplers, and what a recipe cannot hold."""

from __future__ import annotations

import re
from typing import Any

import pytest
from workflow_graphs import article_inference, article_training, ui_node, ui_sheet

from thermvision.annotations.errors import UsageError
from thermvision.generation.flux_tables import FluxTable, LoraDataset, LoraFile, LoraTable, Validation
from thermvision.generation.recipe import Recipe, parse_recipe
from thermvision.generation.workflows.export import export_graph
from thermvision.generation.workflows.graph import api_of_graph, graph_of, is_link
from thermvision.generation.workflows.importing import Imported, import_graph
from thermvision.generation.workflows.recipe_text import recipe_text


def imported(document: dict[str, Any], **more: Any) -> Imported:
    made = import_graph(graph_of(document), **more)
    assert parse_recipe(recipe_text(made.recipe, [str(f) for f in made.findings])) == made.recipe
    return made


def found(made: Imported, code: str) -> list[str]:
    return [f.path for f in made.findings if f.code == code]


def test_the_articles_inference_graph() -> None:
    made = imported(article_inference())
    assert made.recipe.flux == FluxTable(
        transformer="flux1-dev-fp8.safetensors",
        clip_l="clip_l.safetensors",
        t5="t5xxl_fp8_e4m3fn.safetensors",
        vae="ae.safetensors",
        loras=(LoraFile(file="thermal_rank16.safetensors", strength=0.9, clip_strength=0.0),),
        preset="xlabs",
        steps=40,
        guidance=4.5,
        true_cfg=3.5,
        cfg_from_step=3,
        denoise=0.88,
        prompt="a thermal face",
        prompt_t5="surprised",
        negative="watermarks",
        negative_t5="",
        first_seed=749840386044620,
        precision="fp8",
    )
    assert (made.recipe.stills.engine, made.recipe.stills.size, made.images) == ("flux", 512, 2)
    assert found(made, "dangling") == ["FluxLoraLoader 23", "ControlNetLoader 36", "ControlNetApplySD3 35"]
    assert found(made, "inert") == ["LoraLoader 24", "CLIPTextEncodeFlux 19"]
    inert = [f.message for f in made.findings if f.code == "inert"]
    assert inert[0].startswith("clip_strength 1.05 does nothing")
    assert inert[1] == "guidance 4 does nothing: the positive text's 4.5 feeds both forwards"
    assert made.losses == []


def test_the_articles_training_graph() -> None:
    made = imported(article_training())
    sets = [
        LoraDataset(path="../datasets/faces", width=side, height=side, trigger="thermal") for side in (512, 768, 1024)
    ]
    prompts = ("a face", "a face in profile", "a face with glasses")
    assert made.recipe.lora == LoraTable(
        name="thermal",
        datasets=tuple(sets),
        rank=16,
        alpha=1.0,
        learning_rate=4e-4,
        scheduler="constant",
        optimizer="came",
        max_grad_norm=1.0,
        steps=3000,
        loops=4,
        train_guidance=1.0,
        timestep_sampling="shift",
        discrete_flow_shift=3.1582,
        blocks_to_swap=0,
        gradient_dtype="bf16",
        save_dtype="bf16",
        validation=Validation(prompts=prompts, steps=20, width=1024, height=1024, guidance=3.0, seed=42),
    )
    files = ("flux1-dev-fp8.safetensors", "ae.sft", "clip_l.sft", "t5/xxl.sft")
    flux = made.recipe.flux
    assert (flux.transformer, flux.vae, flux.clip_l, flux.t5) == files
    assert (made.images, made.losses) == (0, [])
    assert found(made, "windows-path") == ["FluxTrainModelSelect 136"]
    assert found(made, "stale-widgets") == ["FluxTrainModelSelect 136", "InitFluxLoRATraining 107"]


def test_the_lora_on_the_texts_path_counts_there() -> None:
    document = article_inference()
    document["links"] = [
        [number, 24, 1, *rest] if source == 4 and rest[0] in (5, 19) else [number, source, slot, *rest]
        for number, source, slot, *rest in document["links"]
    ]
    made = imported(document)
    assert made.recipe.flux.loras == (LoraFile(file="thermal_rank16.safetensors", strength=0.9, clip_strength=1.05),)
    assert found(made, "inert") == ["CLIPTextEncodeFlux 19"]


@pytest.mark.parametrize(
    ("values", "kept", "inert"),
    [
        ([1, "fixed", 25, 1, 3.5], (1.0, 1), "CLIPTextEncodeFlux 19"),
        ([1, "fixed", 25, 1, 3.5, 0, 0.995], (1.0, 1), "CLIPTextEncodeFlux 19"),
        ([1, "fixed", 25, 25, 3.5, 0, 0.5], (0.5, 25), "CLIPTextEncodeFlux 19"),
        ([1, "fixed", 25, 1, 3.5, 0.3, 1], (1.0, 1), "XlabsSampler 3"),
    ],
)
def test_the_xlabs_sampler(values: list[Any], kept: tuple[float, int], inert: str) -> None:
    document = article_inference()
    document["nodes"][10]["widgets_values"] = values
    made = imported(document)
    assert (made.recipe.flux.denoise, made.recipe.flux.cfg_from_step) == kept
    assert inert in found(made, "inert")
    assert made.losses == []


def test_the_xlabs_sampler_takes_guidance_1_where_no_text_gives_it() -> None:
    document = article_inference()
    document["nodes"][7] |= {"type": "CLIPTextEncode", "widgets_values": ["a thermal face"]}
    flux = imported(document).recipe.flux
    assert (flux.guidance, flux.prompt, flux.prompt_t5) == (1.0, "a thermal face", None)


def ksampler(cfg: float = 3.0, negative: str = "CLIPTextEncode", **changes: Any) -> dict[str, dict[str, Any]]:
    """An API form that draws by KSampler, with changes as {node__input: value}."""
    texts = {"clip": ["2", 0], "text": "blurred"} if negative == "CLIPTextEncode" else {"conditioning": ["4", 0]}
    graph: dict[str, dict[str, Any]] = {
        "1": {"class_type": "UNETLoader", "inputs": {"unet_name": "f.safetensors", "weight_dtype": "default"}},
        "2": {
            "class_type": "DualCLIPLoader", "inputs": {"clip_name1": "t5.sft", "clip_name2": "c.sft", "type": "flux"}
        },
        "3": {"class_type": "VAELoader", "inputs": {"vae_name": "ae.sft"}},
        "4": {"class_type": "CLIPTextEncode", "inputs": {"clip": ["2", 0], "text": "a face"}},
        "5": {"class_type": negative, "inputs": texts},
        "6": {"class_type": "EmptySD3LatentImage", "inputs": {"width": 512, "height": 512, "batch_size": 1}},
        "7": {
            "class_type": "KSampler",
            "inputs": {
                "model": ["1", 0], "seed": 5, "steps": 20, "cfg": cfg, "sampler_name": "euler", "scheduler": "simple",
                "positive": ["4", 0], "negative": ["5", 0], "latent_image": ["6", 0], "denoise": 1.0,
            },
        },
        "8": {"class_type": "VAEDecode", "inputs": {"samples": ["7", 0], "vae": ["3", 0]}},
        "9": {"class_type": "SaveImage", "inputs": {"images": ["8", 0], "filename_prefix": "x"}},
    }  # fmt: skip
    for name, value in changes.items():
        key, _, socket = name.partition("__")
        graph[key.removeprefix("n")]["inputs"][socket] = value
    return graph


def test_ksampler() -> None:
    made = imported(ksampler())
    assert made.recipe.flux == FluxTable(
        transformer="f.safetensors", clip_l="c.sft", t5="t5.sft", vae="ae.sft", steps=20, guidance=3.5, true_cfg=3.0,
        prompt="a face", negative="blurred", first_seed=5,
    )  # fmt: skip
    assert (made.findings, made.images) == ((), 1)


@pytest.mark.parametrize(
    ("changes", "path", "words"),
    [
        ({"n7__sampler_name": "dpmpp_2m"}, "KSampler 7", "sampler_name is 'dpmpp_2m'; the recipe draws with 'euler'"),
        ({"n7__scheduler": "beta"}, "KSampler 7", "scheduler is 'beta'"),
        ({"n7__steps": 500}, "KSampler 7", "steps is 500, which a recipe cannot say .* it is left at 28"),
        ({"n7__seed": 2**63}, "KSampler 7", "first_seed is 9223372036854775808, which"),
        ({"n7__denoise": 0.0}, "KSampler 7", "denoise is 0.0, which"),
        ({"n7__steps": "many"}, "KSampler 7", "steps is 'many', which is no INT; not read"),
        ({"n6__height": 768}, "EmptySD3LatentImage 6", "512 x 768, not square; type --size 512x768"),
        ({"n1__weight_dtype": "fp8_e5m2"}, "UNETLoader 1", "weight_dtype is 'fp8_e5m2'; .* precision 'auto'"),
        ({"n2__type": "sdxl"}, "DualCLIPLoader 2", "its type is 'sdxl'"),
        ({"n2__clip_name1": "g.sft"}, "DualCLIPLoader 2", "which of 'g.sft' and 'c.sft' is T5 does not show"),
        ({"n4__text": ""}, "KSampler 7", "the positive text is empty"),
        ({"n4__text": "a {person}"}, "KSampler 7", "a word in braces that a recipe fills in"),
        ({"n4__text": ["6", 0]}, "CLIPTextEncode 4", "comes from EmptySD3LatentImage 6, which is no constant"),
        ({"n7__model": ["99", 0]}, "KSampler 7", "its input model is not connected"),
        ({"n7__latent_image": ["8", 0]}, "VAEDecode 8", "it starts from something else than noise"),
        ({"negative": "ConditioningZeroOut"}, "ConditioningZeroOut 5", "the negative text is zeroed"),
    ],
)  # fmt: skip
def test_what_a_recipe_cannot_hold_is_named(changes: dict[str, Any], path: str, words: str) -> None:
    made = imported(ksampler(**changes))
    assert len(made.losses) >= 1
    matching = [f for f in made.losses if f.path == path]
    assert matching, made.losses
    assert re.search(words, " | ".join(f.message for f in matching))


def test_guidance_of_the_two_texts() -> None:
    api = ksampler()
    api["10"] = {"class_type": "FluxGuidance", "inputs": {"conditioning": ["4", 0], "guidance": 2.5}}
    api["7"]["inputs"]["positive"] = ["10", 0]
    made = imported(api)
    assert made.recipe.flux.guidance == 2.5
    assert [f.message for f in made.losses] == [
        "its guidance is 3.5, the positive text's 2.5; the recipe has one guidance, 2.5"
    ]
    api["7"]["inputs"]["cfg"] = 1.0
    assert found(made := imported(api), "inert") == ["CLIPTextEncode 5"]
    assert (made.losses, made.recipe.flux.true_cfg) == ([], 1.0)


def test_the_custom_sampler_with_a_shift() -> None:
    api = ksampler()
    del api["7"]["inputs"]
    api["7"] = {
        "class_type": "SamplerCustomAdvanced",
        "inputs": {
            "noise": ["11", 0], "guider": ["12", 0], "sampler": ["13", 0], "sigmas": ["14", 0],
            "latent_image": ["6", 0],
        },
    }  # fmt: skip
    api["15"] = {
        "class_type": "ModelSamplingFlux",
        "inputs": {"model": ["16", 0], "max_shift": 1.15, "base_shift": 0.5, "width": 512, "height": 512},
    }
    api["16"] = {
        "class_type": "LoraLoaderModelOnly",
        "inputs": {"model": ["17", 0], "lora_name": "b", "strength_model": 1.0},
    }
    api["17"] = {
        "class_type": "LoraLoaderModelOnly",
        "inputs": {"model": ["1", 0], "lora_name": "a", "strength_model": 0.5},
    }
    api["11"] = {"class_type": "RandomNoise", "inputs": {"noise_seed": ["18", 0]}}
    api["12"] = {"class_type": "BasicGuider", "inputs": {"model": ["15", 0], "conditioning": ["4", 0]}}
    api["13"] = {"class_type": "KSamplerSelect", "inputs": {"sampler_name": "euler"}}
    api["14"] = {
        "class_type": "BasicScheduler",
        "inputs": {"model": ["15", 0], "scheduler": "simple", "steps": 12, "denoise": 0.5},
    }
    api["18"] = {"class_type": "INTConstant", "inputs": {"value": 77}}
    flux = (made := imported(api)).recipe.flux
    assert (flux.shift, flux.steps, flux.denoise, flux.true_cfg, flux.first_seed) == (0.63, 12, 0.5, 1.0, 77)
    assert [(lora.file, lora.strength) for lora in flux.loras] == [("a", 0.5), ("b", 1.0)]
    assert flux.negative == ""
    assert made.losses == []
    api["13"]["inputs"]["sampler_name"] = "heun"
    api["14"]["class_type"] = "KarrasScheduler"
    assert {f.path for f in imported(api).losses} == {"SamplerCustomAdvanced 7", "KSamplerSelect 13"}


def test_the_trainers_own_sampler() -> None:
    document = ui_sheet(
        [
            ui_node(1, "FluxTrainModelSelect", ["f", "v", "c", "t"]),
            ui_node(
                2, "FluxKohyaInferenceSampler", ["a.sft", "apply", 20, 512, 512, 3.5, 42, "fixed", True, True, "face"],
                {"flux_models": (1, 0)},
            ),
            ui_node(3, "SaveImage", ["x"], {"images": (2, 0)}),
        ]
    )  # fmt: skip
    made = imported(document)
    assert made.recipe.flux == FluxTable(
        transformer="f", vae="v", clip_l="c", t5="t", loras=(LoraFile(file="a.sft"),), preset="trainer", steps=20,
        guidance=3.5, true_cfg=1.0, prompt="face", first_seed=42, precision="fp8",
    )  # fmt: skip
    assert made.losses == []


def test_an_unknown_node_on_the_way_is_a_loss_and_beside_it_is_none() -> None:
    api = ksampler()
    api["20"] = {"class_type": "Sharpen", "inputs": {"model": ["1", 0]}}
    made = imported(api)
    assert (found(made, "dangling"), made.losses) == (["Sharpen 20"], [])
    api["7"]["inputs"]["model"] = ["20", 0]
    made = imported(api)
    assert [(f.path, f.code) for f in made.losses] == [("Sharpen 20", "unknown-path")]
    assert made.recipe.flux.transformer == "f.safetensors"


def training(**changes: Any) -> dict[str, dict[str, Any]]:
    """The API form of a small training, with changes as {node type__input: value}."""
    lora = LoraTable(datasets=(LoraDataset(path="d"),), validation=Validation(prompts=("a face",)), loops=2)
    recipe = Recipe(name="a", version="1.0", seed=0, lora=lora)
    api = api_of_graph(export_graph(recipe, "training")[1])
    for name, value in changes.items():
        kind, _, socket = name.partition("__")
        next(n for n in api.values() if n["class_type"] == kind)["inputs"][socket] = value
    return api


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"InitFluxLoRATraining__cache_latents": "disabled"}, "cache_latents is 'disabled', which a recipe cannot say"),
        ({"InitFluxLoRATraining__save_dtype": "fp8_e5m2"}, "save_dtype is 'fp8_e5m2'"),
        ({"InitFluxLoRATraining__additional_args": "--x"}, "additional_args is '--x'"),
        ({"InitFluxLoRATraining__train_text_encoder": "clip_l"}, "train_text_encoder is 'clip_l'"),
        ({"InitFluxLoRATraining__resume_args": ["1", 0]}, "resume_args is connected.*--resume"),
        ({"InitFluxLoRATraining__gradient_checkpointing": "enabled_with_cpu_offloading"}, "keeps it on the device"),
        ({"OptimizerConfig__optimizer_type": "Lion"}, "optimizer is 'Lion', which a recipe cannot say"),
        ({"OptimizerConfig__optimizer_type": "adamw8bit"}, "adamw8bit keeps its state in 8 bits; the recipe has adamw"),
        ({"OptimizerConfig__lr_scheduler": "polynomial"}, "scheduler is 'polynomial', which"),
        ({"OptimizerConfig__extra_optimizer_args": "a=1"}, "extra_optimizer_args is 'a=1'"),
        ({"TrainDatasetGeneralConfig__flip_aug": True}, "flip_aug is True; the recipe's training has none"),
        ({"TrainDatasetAdd__width": 100}, "width is 100, which a recipe cannot say"),
        ({"TrainDatasetAdd__dataset_path": ""}, "dataset_path is empty"),
        ({"FluxTrainLoop__steps": 1000}, r"loops of \[1000, 1500\] steps"),
        ({"FluxTrainValidationSettings__shift": False}, "shift is false"),
    ],
)
def test_what_a_training_recipe_cannot_hold_is_named(change: dict[str, Any], words: str) -> None:
    assert imported(training()).losses == []
    losses = imported(training(**change)).losses
    assert re.search(words, " | ".join(f.message for f in losses))


def test_one_graph_that_trains_and_draws() -> None:
    api: dict[str, Any] = dict(ksampler())
    for key, node in training().items():
        inputs = {n: [f"t{v[0]}", v[1]] if is_link(v) else v for n, v in node["inputs"].items()}
        api[f"t{key}"] = {**node, "inputs": inputs}
    made = imported(api)
    assert (made.recipe.lora.loops, made.recipe.flux.steps, made.recipe.flux.transformer) == (2, 20, "f.safetensors")
    assert found(made, "models") == ["InitFluxLoRATraining t6"]


def test_attention_that_is_disabled_is_plain_torch() -> None:
    assert imported(training(InitFluxLoRATraining__attention_mode="disabled")).recipe.lora.attention == "torch"


def test_steps_of_loops_and_what_does_nothing() -> None:
    made = imported(training(InitFluxLoRATraining__max_train_steps=2000))
    assert (made.recipe.lora.steps, made.recipe.lora.loops, found(made, "steps")) == (2000, 2, ["FluxTrainLoop 13"])
    made = imported(training(InitFluxLoRATraining__clip_l_lr=1e-4, OptimizerConfig__lr_warmup_steps=9))
    assert (found(made, "inert"), made.losses) == (["InitFluxLoRATraining 6", "OptimizerConfig 2"], [])
    api = training()
    loop = {"validate_at_steps": 500, "save_at_steps": 500, "network_trainer": ["6", 0]}
    api = {k: n for k, n in api.items() if int(k) <= 6}
    api["7"] = {"class_type": "FluxTrainAndValidateLoop", "inputs": {**loop, "validation_settings": ["3", 0]}}
    made = imported(api)
    assert (made.recipe.lora.steps, made.recipe.lora.loops, made.losses) == (3000, 6, [])
    assert made.recipe.lora.validation.prompts == ("a face",)


@pytest.mark.parametrize(
    ("document", "node", "words"),
    [
        (
            ui_sheet([ui_node(1, "VAELoader", ["a"])]),
            None,
            "neither draws with FLUX nor trains a LoRA: it has VAELoader",
        ),
        (ui_sheet([ui_node(1, "InitFluxTraining", [])]), None, "InitFluxTraining 1 trains the whole model"),
        (ksampler(), "4", "--node is 4, here CLIPTextEncode 4; allowed: KSampler"),
        (ksampler(), "44", "--node is 44, here node 44"),
    ],
)
def test_graphs_that_make_no_recipe(document: dict[str, Any], node: str | None, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        import_graph(graph_of(document), node=node)


def test_one_of_several_samplers_is_chosen() -> None:
    api = ksampler()
    api["20"] = {**api["7"], "inputs": {**api["7"]["inputs"], "seed": 6}}
    api["21"] = {"class_type": "VAEDecode", "inputs": {"samples": ["20", 0], "vae": ["3", 0]}}
    api["22"] = {"class_type": "PreviewImage", "inputs": {"images": ["21", 0]}}
    with pytest.raises(UsageError, match="KSampler 7, KSampler 20; type --node 7 or another"):
        imported(api)
    assert imported(api, node="20").recipe.flux.first_seed == 6


def test_names_of_recipes() -> None:
    assert imported(ksampler(), name="a\n\tface\x00").recipe.name == "a face"
    assert imported(ksampler(), name="\n").recipe.name == "workflow"
