"""Workflows from recipes, recipes as text, and the two commands."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from workflow_graphs import article_inference

import thermvision_db
from thermvision.annotations.errors import UsageError
from thermvision.generation.flux_tables import FluxTable, LoraDataset, LoraTable, Validation
from thermvision.generation.recipe import Recipe, bundled_recipes, parse_recipe, read_recipe
from thermvision.generation.workflows.export import export_graph, violations
from thermvision.generation.workflows.graph import Graph, Node, api_of_graph, graph_of
from thermvision.generation.workflows.importing import import_graph
from thermvision.generation.workflows.recipe_text import recipe_text
from thermvision.generation.workflows.ui_writing import ui_of_graph

WORDS = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), min_size=1, max_size=20)
FILES = st.from_regex(r"[a-z0-9_/]{1,12}\.safetensors", fullmatch=True)
TENTHS = st.integers(-100, 100).map(lambda n: n / 10)


def recipe(**tables: Any) -> Recipe:
    return Recipe.model_validate({"name": "A", "version": "1.0", "seed": 0, **tables})


def read_back(made: Recipe, kind: str) -> tuple[Recipe, Graph]:
    """The recipe that the exported graph is read as, by way of the UI form."""
    _, graph = export_graph(made, kind)
    ui = json.loads(json.dumps(ui_of_graph(graph)))
    assert api_of_graph(graph_of(ui)) == api_of_graph(graph)
    assert not graph.dangling()
    return import_graph(graph_of(ui), made.name).recipe, graph


FLUX = st.fixed_dictionaries(
    {
        "preset": st.sampled_from(["comfyui", "xlabs"]), "prompt": WORDS.filter(lambda t: "{" not in t),
        "steps": st.integers(1, 100), "guidance": st.integers(0, 300).map(lambda n: n / 10),
        "true_cfg": st.integers(0, 300).map(lambda n: n / 10), "first_seed": st.integers(0, 2**63 - 1),
        "transformer": FILES, "vae": FILES, "clip_l": FILES.filter(lambda n: "t5" not in n),
        "t5": FILES.map(lambda n: f"t5{n}"),
    },
    optional={
        "denoise": st.integers(1, 98).map(lambda n: n / 100), "prompt_t5": WORDS.filter(lambda t: "{" not in t),
        "negative": WORDS, "negative_t5": WORDS, "precision": st.sampled_from(["auto", "fp8"]),
        "loras": st.lists(
            st.fixed_dictionaries({"file": FILES, "strength": TENTHS, "clip_strength": TENTHS}), max_size=3
        ),
    },
)  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(FLUX, st.sampled_from([512, 768, 1024]), st.integers(0, 30).map(lambda n: n / 10), st.integers(0, 99))
def test_pictures_come_back_as_the_same_recipe(flux: dict[str, Any], size: int, shift: float, start: int) -> None:
    if flux["preset"] == "xlabs":
        flux["cfg_from_step"] = start
    else:
        flux["shift"] = shift
    made = recipe(flux=flux, stills={"engine": "flux", "size": size})
    again, graph = read_back(made, "inference")
    assert violations(graph) == []
    # a second text that says the same is no second text
    table = {n: v for n, v in made.flux if n not in ("prompt_t5", "negative_t5")}
    assert {n: v for n, v in again.flux if n in table} == table
    for name in ("prompt", "negative"):
        kept = getattr(made.flux, f"{name}_t5")
        assert getattr(again.flux, f"{name}_t5") == (None if kept == getattr(made.flux, name) else kept)
    assert again.stills.size == size


LORA = st.fixed_dictionaries(
    {
        "datasets": st.lists(
            st.fixed_dictionaries(
                {"path": FILES, "width": st.sampled_from([512, 768]), "height": st.sampled_from([512, 1024])},
                optional={
                    "batch": st.integers(1, 64), "repeats": st.integers(1, 99), "trigger": st.text("abc ", max_size=9),
                    "bucket": st.booleans(), "bucket_no_upscale": st.booleans(), "min_bucket": st.just(128),
                    "max_bucket": st.just(2048),
                },
            ),
            min_size=1, max_size=3,
        ),
    },
    optional={
        "name": st.from_regex(r"[\w.-]{1,20}", fullmatch=True).filter(str.isascii), "rank": st.integers(1, 1024),
        "alpha": st.integers(1, 2048).map(float), "learning_rate": st.sampled_from([1e-6, 1e-4, 0.25]),
        "scheduler": st.sampled_from(["constant", "constant_with_warmup", "cosine"]),
        "warmup_steps": st.integers(0, 99), "optimizer": st.sampled_from(["came", "adamw"]),
        "max_grad_norm": st.integers(0, 99).map(float), "steps": st.integers(100, 5000), "loops": st.integers(1, 9),
        "train_guidance": st.integers(10, 300).map(lambda n: n / 10),
        "timestep_sampling": st.sampled_from(["shift", "sigmoid", "uniform", "sigma", "flux_shift"]),
        "discrete_flow_shift": st.sampled_from([1.0, 3.1582]), "weighting": st.sampled_from(["none", "mode", "cosmap"]),
        "model_prediction": st.sampled_from(["raw", "additive", "sigma_scaled"]), "t5_attention_mask": st.booleans(),
        "cache_latents": st.sampled_from(["disk", "memory"]), "cache_text": st.sampled_from(["disk", "memory"]),
        "blocks_to_swap": st.integers(0, 36), "highvram": st.booleans(), "fp8_base": st.booleans(),
        "gradient_dtype": st.sampled_from(["fp32", "bf16"]), "save_dtype": st.sampled_from(["fp32", "bf16", "fp16"]),
        "attention": st.sampled_from(["sdpa", "xformers", "torch"]), "gradient_checkpointing": st.booleans(),
        "validation": st.fixed_dictionaries(
            {"prompts": st.lists(st.text("abc,", min_size=1, max_size=9), min_size=1, max_size=3)},
            optional={"steps": st.integers(1, 200), "seed": st.integers(0, 2**63 - 1), "width": st.just(1024)},
        ),
    },
)  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(LORA)
def test_a_training_comes_back_as_the_same_recipe(lora: dict[str, Any]) -> None:
    made = recipe(lora=lora)
    again, graph = read_back(made, "training")
    assert again.lora == made.lora
    assert violations(graph) == []


def test_the_articles_training_as_a_workflow() -> None:
    sets = [LoraDataset(path="thermal", width=side, height=side) for side in (512, 768, 1024)]
    table = LoraTable(datasets=tuple(sets), validation=Validation(prompts=("a face",)))
    kind, graph = export_graph(Recipe(name="a", version="1.0", seed=0, lora=table))
    assert (kind, len(graph.of_type("FluxTrainLoop")), len(graph.nodes)) == ("training", 4, 33)
    start = graph.nodes[graph.of_type("InitFluxLoRATraining")[0]].inputs
    assert (start["network_dim"], start["network_alpha"], start["discrete_flow_shift"]) == (64, 64.0, 3.1582)
    assert (start["guidance_scale"], start["blocks_to_swap"], start["attention_mode"]) == (3.0, 1, "sdpa")
    assert [f.code for f in graph.findings] == ["file-names"]


def test_steps_that_do_not_divide_go_to_the_first_loops() -> None:
    made = recipe(lora={"datasets": [{"path": "d"}], "steps": 11, "loops": 4})
    again, graph = read_back(made, "training")
    assert [graph.nodes[k].inputs["steps"] for k in graph.of_type("FluxTrainLoop")] == [3, 3, 3, 2]
    assert (again.lora.steps, again.lora.loops) == (11, 4)
    assert graph.of_type("FluxTrainValidate", "FluxTrainValidationSettings") == []


@pytest.mark.parametrize(
    ("tables", "path", "words"),
    [
        ({"flux": {"preset": "diffusers"}}, "flux.preset", "pads and masks texts in its own way"),
        ({"flux": {"preset": "diffusers", "denoise": 0.5}}, "flux.denoise", "leaves out other steps"),
        ({"flux": {"cfg_from_step": 2}}, "flux.cfg_from_step", "counts from the first step"),
        ({"flux": {"preset": "xlabs", "shift": 1.0}}, "flux.shift", "by resolution alone"),
        ({"flux": {"precision": "fp32"}}, "flux.precision", "ComfyUI chooses"),
        ({"flux": {}}, "flux.prompt", "those of one still"),
        ({"flux": {}}, "flux", "the usual names"),
        ({"flux": {"first_seed": 2**53 + 1, "prompt": "a"}}, "flux.first_seed", "the editor rounds whole numbers"),
        ({"flux": {"shift": -1.0}}, "ModelSamplingFlux 7", "max_shift is -1.0; ComfyUI allows 0.0 to 100.0"),
        ({"lora": {"seed": 7, "datasets": [{"path": "d"}]}}, "lora.seed", "no seed of training"),
        ({"lora": {"scheduler": "linear", "datasets": [{"path": "d"}]}}, "OptimizerConfig 2", "is 'linear'"),
        (
            {"lora": {"datasets": [{"path": "d"}, {"path": "d", "caption_extension": ".cap"}]}},
            "lora.datasets.caption_extension", ".txt, .cap: the trainer has one",
        ),
    ],
)  # fmt: skip
def test_what_a_workflow_cannot_hold_is_named(tables: dict[str, Any], path: str, words: str) -> None:
    _, graph = export_graph(recipe(**tables))
    assert [f for f in graph.findings if f.path == path and words in f.message], graph.findings


def test_presets_that_shift_by_resolution_get_a_node_for_it() -> None:
    _, graph = export_graph(recipe(flux={"preset": "trainer", "prompt": "a"}, stills={"engine": "flux", "size": 768}))
    made = import_graph(graph).recipe.flux
    assert (made.shift, made.true_cfg) == (0.8466666667, 1.0)


def test_texts_and_seed_are_those_of_the_first_still() -> None:
    text = 'name = "a"\nversion = "1.0"\nseed = 3\n[subjects]\nmale = 2\nfirst = 4\n[stills]\nengine = "flux"\n'
    made = parse_recipe(text + 'beard = { count = 1, gender = "male" }\n[flux]\nfirst_seed = 100\n')
    _, graph = export_graph(made)
    texts = [graph.nodes[k].inputs["clip_l"] for k in graph.of_type("CLIPTextEncodeFlux")]
    assert " man," in texts[0]
    assert "text, watermark" in texts[1]
    assert graph.nodes[graph.of_type("KSampler")[0]].inputs["seed"] == 105


@pytest.mark.parametrize(
    ("tables", "kind", "words"),
    [
        ({"flux": {}}, "both", "--kind is 'both'; allowed: inference, training"),
        ({"flux": {}}, "training", "the recipe trains on nothing"),
        ({"subjects": {"male": 1}}, None, "the recipe has no table"),
    ],
)
def test_recipes_that_make_no_workflow(tables: dict[str, Any], kind: str | None, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        export_graph(recipe(**tables), kind)


def test_violations_know_types_limits_and_options() -> None:
    inputs = {"width": 8, "height": "512", "batch_size": 5000, "other": 1}
    nodes = {"1": Node("EmptyLatentImage", inputs), "2": Node("UNETLoader", {"unet_name": "a", "weight_dtype": "fp4"})}
    assert [f.message.partition(";")[0] for f in violations(Graph(nodes))] == [
        "width is 8", "height is '512'", "batch_size is 5000", "weight_dtype is 'fp4'",
    ]  # fmt: skip


@pytest.mark.parametrize("name", bundled_recipes())
def test_bundled_recipes_as_text(name: str) -> None:
    made = read_recipe(name)[0]
    assert parse_recipe(recipe_text(made)) == made


@settings(max_examples=100, deadline=None)
@example('\x7f\x00"\\\n', ["a\nb = 1"], ["\x7f"])
@given(st.text(st.characters(codec="utf-8"), max_size=30), st.lists(WORDS, max_size=2), st.lists(WORDS, max_size=4))
def test_any_text_survives(prompt: str, remarks: list[str], prompts: list[str]) -> None:
    made = recipe(flux={"prompt": prompt, "denoise": 1e-9}, lora={"validation": {"prompts": prompts, "steps": 3}})
    text = recipe_text(made, remarks)
    assert parse_recipe(text) == made
    assert [line[:1] for line in text.splitlines()[: len(remarks)]] == ["#"] * len(remarks)


def run(*arguments: str) -> int:
    return thermvision_db.main(["workflow", *arguments])


def test_commands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    graph, toml = tmp_path / "faces.json", tmp_path / "faces.toml"
    graph.write_text(json.dumps(article_inference()), encoding="utf-8")
    assert run("import", str(graph), "--out", str(toml)) == 0
    said = capsys.readouterr().out
    assert "FluxLoraLoader 23: nothing that is written or shown depends on it; not read [dangling]" in said
    assert f"next: thermvision generate {toml} --count 2 --out pictures" in said
    assert read_recipe(str(toml))[0].flux.steps == 40
    assert toml.read_text(encoding="utf-8").startswith("# From the workflow faces.json.\n# DualCLIPLoader 4")
    for form in ("ui", "api"):
        back = tmp_path / f"{form}.json"
        assert run("export", str(toml), "--out", str(back), "--format", form, "--json") == 0
        facts = json.loads(capsys.readouterr().out)
        assert (facts["kind"], facts["format"], facts["nodes"]) == ("inference", form, 10)
        assert run("import", str(back), "--out", str(tmp_path / "again.toml"), "--json") == 0
        capsys.readouterr()
        assert read_recipe(str(tmp_path / "again.toml"))[0].flux == FluxTable(**dict(read_recipe(str(toml))[0].flux))


def test_commands_say_what_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    graph, toml = tmp_path / "faces.json", tmp_path / "faces.toml"
    document = article_inference()
    document["nodes"][9]["widgets_values"] = [512, 768, 1]
    graph.write_text(json.dumps(document), encoding="utf-8")
    assert run("import", str(graph), "--out", str(toml)) == 1
    assert "differs from the workflow in 1 ways (EmptyLatentImage 6: pictures are 512 x 768" in capsys.readouterr().err
    assert toml.is_file()
    assert run("import", str(graph), "--out", str(graph)) == 2
    assert run("import", str(tmp_path / "none.json"), "--out", str(toml)) == 2
    assert run("export", str(toml), "--out", str(toml)) == 2
    assert run("export", str(toml), "--out", str(graph), "--format", "png") == 2
    assert run("export", "quickstart", "--out", str(graph)) == 2
    graph.write_text("{", encoding="utf-8")
    assert run("import", str(graph), "--out", str(toml)) == 4
    assert "thermvision" not in capsys.readouterr().out
