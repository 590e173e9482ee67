"""Recipes as graphs of ComfyUI: the pictures of ``[flux]``, or the training of ``[lora]``.

Where ComfyUI has no node for what the recipe says, the graph comes nearest and a finding says so.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from thermvision.annotations.errors import UsageError
from thermvision.annotations.findings import Finding
from thermvision.annotations.schema import CATEGORIES, GENDERS
from thermvision.generation.engines.flux.presets import BASE_SHIFT, MAX_SHIFT, inert
from thermvision.generation.flux_tables import FluxTable, LoraTable
from thermvision.generation.plan import still_spec, subject_id
from thermvision.generation.prompts import Texts, attributes_of, literal_texts, noise_seed, prompt_of
from thermvision.generation.recipe import Recipe
from thermvision.generation.recipe_tables import Table
from thermvision.generation.specs import Subject

from .graph import Graph, Link, Node
from .training_import import ATTENTION, DATASET, INIT, OPTIMIZER, OPTIMIZERS, VALIDATION

EXACT = 2**53  # largest whole number up to which the editor's language holds all of them
KINDS = ("inference", "training")
# codes of findings after which the graph draws or trains something else than the recipe, or is not run at all
LOST = frozenset({"not-in-graph", "refused"})
# what the files are called where people get them
FILES = {
    "transformer": "flux1-dev.safetensors",
    "clip_l": "clip_l.safetensors",
    "t5": "t5xxl_fp16.safetensors",
    "vae": "ae.safetensors",
}


class _Builder:
    """A graph that grows node by node, and its findings."""

    def __init__(self) -> None:
        self.nodes: dict[str, Node] = {}
        self.findings: list[Finding] = []

    def add(self, kind: str, title: str | None = None, /, **inputs: Any) -> Link:
        """The first output of a new node."""
        key = str(len(self.nodes) + 1)
        self.nodes[key] = Node(kind, inputs, title)
        return Link(key, 0)

    def note(self, where: str, code: str, message: str) -> None:
        self.findings.append(Finding(where, code, message))

    def graph(self) -> Graph:
        built = Graph(self.nodes)
        return Graph(self.nodes, (*self.findings, *violations(built)))


def export_graph(recipe: Recipe, kind: str | None = None) -> tuple[str, Graph]:
    """The graph of a recipe, with what it cannot say in its findings; and which kind it is.

    ``kind`` is one of `KINDS`; None is training for a recipe that has a table ``[lora]`` and draws nothing.

    >>> made, graph = export_graph(Recipe.model_validate({"name": "A", "version": "1.0", "seed": 0, "flux": {}}))
    >>> made, [graph.nodes[key].inputs["steps"] for key in graph.of_type("KSampler")]
    ('inference', [28])

    Raises:
        UsageError: there is no such kind, or the recipe has nothing of it.
    """
    draws = "flux" in recipe.model_fields_set and (
        recipe.stills.engine == "flux" or "lora" not in recipe.model_fields_set
    )
    if kind is None:
        kind = "training" if "lora" in recipe.model_fields_set and not draws else "inference"
    if kind not in KINDS:
        raise UsageError(f"--kind is {kind!r}; allowed: {', '.join(KINDS)}")
    if kind == "training":
        if not recipe.lora.datasets:
            raise UsageError("the recipe trains on nothing; give [[lora.datasets]], or type --kind inference")
        return kind, _training(recipe)
    if not recipe.model_fields_set & {"flux", "lora"} and recipe.stills.engine != "flux":
        raise UsageError("the recipe has no table [flux]; a workflow draws with FLUX: add [flux]")
    return kind, _inference(recipe)


def _inference(recipe: Recipe) -> Graph:
    build, table, size = _Builder(), recipe.flux, recipe.stills.size
    (positive, negative), seed = _what_is_drawn(build, recipe)
    if table.precision in ("fp32", "bf16"):
        build.note("flux.precision", "not-in-graph", f"{table.precision}: ComfyUI chooses by the file and the device")
    fp8 = table.precision == "fp8"
    files = _files(build, table)
    model = build.add("UNETLoader", unet_name=files["transformer"], weight_dtype="fp8_e4m3fn" if fp8 else "default")
    clip = build.add(
        "DualCLIPLoader", clip_name1=files["clip_l"], clip_name2=files["t5"], type="flux", device="default"
    )
    vae = build.add("VAELoader", vae_name=files["vae"])
    for lora in table.loras:
        given = {"model": model, "lora_name": lora.file, "strength_model": lora.strength}
        if lora.clip_strength:
            model = build.add("LoraLoader", clip=clip, strength_clip=lora.clip_strength, **given)
            clip = Link(model.node, 1)
        else:
            model = build.add("LoraLoaderModelOnly", **given)
    texts = [
        build.add("CLIPTextEncodeFlux", title, clip=clip, clip_l=text[0], t5xxl=text[1], guidance=table.guidance)
        for title, text in (("Positive", positive), ("Negative", negative))
    ]
    latent = build.add("EmptyLatentImage", width=size, height=size, batch_size=1)
    add = _xlabs_sampler if table.preset == "xlabs" else _ksampler
    samples = add(build, table, model, texts, latent, seed, size)
    pictures = build.add("VAEDecode", samples=samples, vae=vae)
    build.add("SaveImage", images=pictures, filename_prefix=re.sub(r"[^\w.-]+", "_", recipe.name) or "ThermVision")
    return build.graph()


def _what_is_drawn(build: _Builder, recipe: Recipe) -> tuple[tuple[Texts, Texts], int]:
    """The texts and the seed of the recipe's first still."""
    people, table = recipe.subjects, recipe.flux
    category = next((c for c in CATEGORIES if getattr(recipe.stills, c).count), CATEGORIES[0])
    wanted = "male" if category == "beard" or (people.male and not people.female) else "female"
    number = next(n for n in (people.first, people.first + 1) if GENDERS[n % len(GENDERS)] == wanted)
    subject = Subject(subject_id(number), number, wanted, recipe.seed)
    literal = literal_texts(table)
    if people.female + people.male or literal is None:
        item = still_spec(recipe, subject, category, 0).item
        texts = prompt_of(attributes_of(subject, category, item), table)
        text = f"the texts are those of one still ({wanted}, {category}); every other still of the recipe has its own"
        build.note("flux.prompt", "one-of-many", text)
    else:
        texts = literal
    seed = noise_seed(subject, table.first_seed)
    if seed > EXACT:
        text = f"{seed}: the editor rounds whole numbers above 2^53 when it saves; --format api keeps them"
        build.note("flux.first_seed", "large-seed", text)
    return texts, seed


def _files(build: _Builder, table: FluxTable) -> dict[str, str]:
    found = {name: getattr(table, name) or usual for name, usual in FILES.items()}
    if assumed := [FILES[name] for name in FILES if getattr(table, name) is None]:
        build.note("flux", "file-names", f"{', '.join(assumed)}: the usual names, as the recipe gives none")
    return found


def _ksampler(
    build: _Builder, table: FluxTable, model: Link, texts: list[Link], latent: Link, seed: int, size: int
) -> Link:
    if table.preset != "comfyui":
        text = f"{table.preset} pads and masks texts in its own way and ComfyUI does not; pictures differ a little"
        build.note("flux.preset", "not-in-graph", text)
        if table.denoise != 1:
            build.note("flux.denoise", "not-in-graph", f"{table.preset} leaves out other steps than KSampler does")
    if table.cfg_from_step:
        text = f"{table.cfg_from_step}: KSampler's CFG counts from the first step"
        build.note("flux.cfg_from_step", "not-in-graph", text)
    if table.shift is not None or table.preset != "comfyui":
        most, least = (MAX_SHIFT, BASE_SHIFT) if table.shift is None else (table.shift, table.shift)
        model = build.add("ModelSamplingFlux", model=model, max_shift=most, base_shift=least, width=size, height=size)
    negative = table.true_cfg != 1 and not inert(
        table.preset, true_cfg=table.true_cfg, negative=True, cfg_from_step=0, steps=table.steps
    )
    return build.add(
        "KSampler", model=model, seed=seed, steps=table.steps, cfg=table.true_cfg if negative else 1.0,
        sampler_name="euler", scheduler="simple", positive=texts[0], negative=texts[1], latent_image=latent,
        denoise=table.denoise,
    )  # fmt: skip


def _xlabs_sampler(
    build: _Builder, table: FluxTable, model: Link, texts: list[Link], latent: Link, seed: int, size: int
) -> Link:
    if table.shift is not None:
        build.note("flux.shift", "not-in-graph", f"{table.shift}: XlabsSampler shifts by resolution alone")
    build.note("flux.first_seed", "seed-noise", "XlabsSampler draws noise on its own device: the seed is another face")
    return build.add(
        "XlabsSampler", model=model, conditioning=texts[0], neg_conditioning=texts[1], noise_seed=seed,
        steps=table.steps, timestep_to_start_cfg=table.cfg_from_step, true_gs=table.true_cfg,
        image_to_image_strength=0.0, denoise_strength=table.denoise, latent_image=latent,
    )  # fmt: skip


def _training(recipe: Recipe) -> Graph:
    build, table = _Builder(), recipe.lora
    files = _files(build, recipe.flux)
    models = build.add("FluxTrainModelSelect", **{k: files[k] for k in ("transformer", "vae", "clip_l", "t5")})
    optimizer = build.add(
        "OptimizerConfig", **_named(table, OPTIMIZER, {"optimizer": {v: k for k, v in OPTIMIZERS.items()}}),
        lr_scheduler_num_cycles=1, lr_scheduler_power=1.0, extra_optimizer_args="",
    )  # fmt: skip
    validation = build.add("FluxTrainValidationSettings", **_named(table.validation, VALIDATION), shift=True)
    _unsaid(build, table)
    trainer = build.add(
        "InitFluxLoRATraining", flux_models=models, dataset=_datasets(build, table), optimizer_settings=optimizer,
        output_dir="flux_trainer_output", **_named(table, INIT, {"attention": {v: k for k, v in ATTENTION.items()}}),
        sample_prompts=" | ".join(table.validation.prompts), additional_args="", train_text_encoder="disabled",
        clip_l_lr=0.0, T5_lr=0.0, gradient_checkpointing="enabled" if table.gradient_checkpointing else "disabled",
    )  # fmt: skip
    for number in range(table.loops):
        # the first loops have the steps that do not divide evenly
        steps = table.steps // table.loops + (number < table.steps % table.loops)
        trainer = build.add("FluxTrainLoop", f"Loop {number + 1}", network_trainer=trainer, steps=steps)
        plot = build.add(
            "VisualizeLoss", network_trainer=trainer, plot_style="default", window_size=100, normalize_y=True,
            width=768, height=512, log_scale=False,
        )  # fmt: skip
        build.add("SaveImage", images=plot, filename_prefix=f"{table.name}_loss")
        trainer = build.add("FluxTrainSave", network_trainer=trainer, save_state=True, copy_to_comfy_lora_folder=False)
        if table.validation.prompts:
            trainer = build.add("FluxTrainValidate", network_trainer=trainer, validation_settings=validation)
            build.add("SaveImage", images=Link(trainer.node, 1), filename_prefix=f"{table.name}_validation")
    build.add("FluxTrainEnd", network_trainer=trainer, save_state=True)
    if not table.validation.prompts:
        del build.nodes[validation.node]
    return build.graph()


def _datasets(build: _Builder, table: LoraTable) -> Link:
    extensions = list(dict.fromkeys(d.caption_extension for d in table.datasets))
    if len(extensions) > 1:
        text = f"{', '.join(extensions)}: the trainer has one for all data sets; the graph has {extensions[0]}"
        build.note("lora.datasets.caption_extension", "not-in-graph", text)
    link = build.add(
        "TrainDatasetGeneralConfig", color_aug=False, flip_aug=False, shuffle_caption=False, caption_dropout_rate=0.0,
        alpha_mask=False, reset_on_queue=False, caption_extension=extensions[0],
    )  # fmt: skip
    for each in table.datasets:
        link = build.add("TrainDatasetAdd", dataset_config=link, **_named(each, DATASET))
    return link


def _unsaid(build: _Builder, table: LoraTable) -> None:
    """What the training nodes have no place for."""
    if table.seed != LoraTable().seed:
        build.note("lora.seed", "not-in-graph", f"{table.seed}: the trainer's nodes have no seed of training")
    if any("|" in prompt for prompt in table.validation.prompts):
        build.note("lora.validation.prompts", "not-in-graph", "the trainer takes a | for the end of a prompt")


def _named(
    table: Table, names: Mapping[str, str], values: Mapping[str, Mapping[Any, Any]] | None = None
) -> dict[str, Any]:
    """Fields of a table by the names of a node's inputs; ``values`` says what a field's values are called there."""
    found = {}
    for theirs, ours in names.items():
        value = getattr(table, ours)
        found[theirs] = (values or {}).get(ours, {}).get(value, value)
    return found


def violations(graph: Graph) -> list[Finding]:
    """Values outside what ComfyUI's nodes take: it refuses to queue them."""
    found = []
    for key, node in graph.nodes.items():
        for name, value in node.inputs.items():
            declared = node.known.input(name) if node.known else None
            if declared is None or isinstance(value, Link):
                continue
            low, high = declared.min, declared.max
            if not declared.fits(value) or (declared.options and value not in declared.options):
                allowed = ", ".join(declared.options) or declared.type
            elif (low is not None and value < low) or (high is not None and value > high):
                allowed = f"{low} to {high}"
            else:
                continue
            text = f"{name} is {value!r}; ComfyUI allows {allowed}: change it there or in the recipe"
            found.append(Finding(graph.label(key), "refused", text))
    return found
