"""The table ``[lora]`` of a recipe from a training graph of ComfyUI-FluxTrainer."""

from __future__ import annotations

from typing import Any

from thermvision.generation.flux_tables import FluxTable, LoraDataset, LoraTable, Validation

from .inference_import import model_files
from .wiring import Walk

# their name -> ours
INIT = {
    "output_name": "name", "network_dim": "rank", "network_alpha": "alpha", "learning_rate": "learning_rate",
    "max_train_steps": "steps", "apply_t5_attn_mask": "t5_attention_mask", "cache_latents": "cache_latents",
    "cache_text_encoder_outputs": "cache_text", "blocks_to_swap": "blocks_to_swap", "weighting_scheme": "weighting",
    "logit_mean": "logit_mean", "logit_std": "logit_std", "mode_scale": "mode_scale",
    "timestep_sampling": "timestep_sampling", "sigmoid_scale": "sigmoid_scale",
    "model_prediction_type": "model_prediction", "guidance_scale": "train_guidance",
    "discrete_flow_shift": "discrete_flow_shift", "highvram": "highvram", "fp8_base": "fp8_base",
    "gradient_dtype": "gradient_dtype", "save_dtype": "save_dtype", "attention_mode": "attention",
}  # fmt: skip
DATASET = {
    "dataset_path": "path", "width": "width", "height": "height", "batch_size": "batch", "num_repeats": "repeats",
    "class_tokens": "trigger", "enable_bucket": "bucket", "bucket_no_upscale": "bucket_no_upscale",
    "min_bucket_reso": "min_bucket", "max_bucket_reso": "max_bucket",
}  # fmt: skip
OPTIMIZER = {
    "optimizer_type": "optimizer", "max_grad_norm": "max_grad_norm", "lr_scheduler": "scheduler",
    "lr_warmup_steps": "warmup_steps", "min_snr_gamma": "min_snr_gamma",
}  # fmt: skip
VALIDATION = {
    "steps": "steps", "width": "width", "height": "height", "guidance_scale": "guidance", "seed": "seed",
    "base_shift": "base_shift", "max_shift": "max_shift",
}  # fmt: skip
OPTIMIZERS = {"CAME": "came", "adamw": "adamw"}
ATTENTION = {"disabled": "torch"}
_LOOPS = ("FluxTrainLoop", "FluxTrainAndValidateLoop")


def import_training(walk: Walk, key: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Tables ``[lora]`` and ``[flux]`` of the training that node ``key`` starts; the rest goes to the findings."""
    values = walk.values(key, INIT)
    values["attention"] = ATTENTION.get(values["attention"], values["attention"])
    checkpointing = walk.value(key, "gradient_checkpointing")
    if checkpointing == "enabled_with_cpu_offloading":
        walk.note(key, "cannot-hold", f"gradient_checkpointing is {checkpointing!r}; the recipe keeps it on the device")
    values["gradient_checkpointing"] = checkpointing != "disabled"
    _beside(walk, key)
    lora = {
        **walk.hold(key, LoraTable, values),
        **_optimizer(walk, key),
        **_loops(walk, key, values["steps"]),
        "datasets": _datasets(walk, key),
        "validation": _validation(walk, key),
    }
    link = walk.source(key, "flux_models")
    return lora, walk.hold(link.node, FluxTable, model_files(walk, link.node)) if link else {}


def _beside(walk: Walk, key: str) -> None:
    """Inputs of the start node that a recipe has nothing for."""
    walk.note(key, "output-dir", f"output_dir is {walk.value(key, 'output_dir')!r}; a recipe is trained into --out")
    for name, what in (
        ("resume_args", "it goes on with an earlier run; type `thermvision train lora RECIPE --out DIR --resume`"),
        ("block_args", "it trains chosen blocks; the recipe trains all of them"),
        ("loss_args", "it has a loss of its own; the recipe's is the mean square"),
        ("network_config", "it has a network of its own; the recipe's is LoRA"),
    ):
        if walk.source(key, name, needed=False):
            walk.note(key, "cannot-hold", f"{name} is connected: {what}")
    if more := walk.value(key, "additional_args"):
        walk.note(key, "cannot-hold", f"additional_args is {more!r}; the recipe has no free arguments")
    trained = walk.value(key, "train_text_encoder")
    if trained != "disabled":
        walk.note(key, "cannot-hold", f"train_text_encoder is {trained!r}; the recipe trains the transformer alone")
    elif any(walk.value(key, name) for name in ("clip_l_lr", "T5_lr")):
        walk.note(key, "inert", "clip_l_lr and T5_lr do nothing: train_text_encoder is disabled")


def _optimizer(walk: Walk, key: str) -> dict[str, Any]:
    link = walk.source(key, "optimizer_settings")
    if link is None:
        return {}
    node = walk.graph.nodes[link.node]
    if node.type != "OptimizerConfig":
        walk.note(link.node, "cannot-hold", f"a recipe has {' and '.join(OPTIMIZERS)}; the optimizer is left as it is")
        return {}
    values = walk.values(link.node, OPTIMIZER)
    if values["optimizer"] == "adamw8bit":
        walk.note(link.node, "cannot-hold", "adamw8bit keeps its state in 8 bits; the recipe has adamw, in full")
    values["optimizer"] = {**OPTIMIZERS, "adamw8bit": "adamw"}.get(values["optimizer"], values["optimizer"])
    if more := walk.value(link.node, "extra_optimizer_args"):
        walk.note(link.node, "cannot-hold", f"extra_optimizer_args is {more!r}; the recipe has no free arguments")
    for name, schedules, plain in (
        ("lr_scheduler_num_cycles", ("cosine_with_restarts",), 1), ("lr_scheduler_power", ("polynomial",), 1),
    ):  # fmt: skip
        if (seen := walk.value(link.node, name)) != plain and values["scheduler"] not in schedules:
            walk.note(link.node, "inert", f"{name} {seen} does nothing with the schedule {values['scheduler']}")
    if values["scheduler"] == "constant" and values["warmup_steps"]:
        walk.note(link.node, "inert", f"lr_warmup_steps {values['warmup_steps']} does nothing with a constant schedule")
    return walk.hold(link.node, LoraTable, values)


def _datasets(walk: Walk, key: str) -> list[dict[str, Any]]:
    """The chain of data sets, the one next to the general settings first."""
    found: list[dict[str, Any]] = []
    link = walk.source(key, "dataset")
    extension = None
    for at in walk.up(link.node if link else None, "dataset_config"):
        kind = walk.graph.nodes[at].type
        if kind == "TrainDatasetAdd":
            held = walk.hold(at, LoraDataset, walk.values(at, DATASET) | {"path": _path(walk, at)})
            if walk.source(at, "regularization", needed=False):
                walk.note(at, "cannot-hold", "it has regularisation images; a recipe has none")
            if "path" in held:
                found.insert(0, held)
        elif kind == "TrainDatasetGeneralConfig":
            extension = _general(walk, at)
        else:
            walk.note(at, "unknown-path", "data sets come from it and it is not known; not in the recipe")
    return [{**each, **({"caption_extension": extension} if extension else {})} for each in found]


def _path(walk: Walk, key: str) -> str | None:
    path = walk.value(key, "dataset_path")
    if not path:
        walk.note(key, "missing", "dataset_path is empty; the data set is left out")
        return None
    return str(path)


def _general(walk: Walk, key: str) -> str | None:
    for name in ("color_aug", "flip_aug", "shuffle_caption", "caption_dropout_rate", "alpha_mask"):
        if seen := walk.value(key, name):
            walk.note(key, "cannot-hold", f"{name} is {seen!r}; the recipe's training has none")
    extension = walk.value(key, "caption_extension")
    return walk.hold(key, LoraDataset, {"caption_extension": extension}).get("caption_extension")


def _chain(walk: Walk, key: str) -> list[str]:
    """Nodes that the trainer is handed to, from the start node on, in the order of the way."""
    chain, todo = [key], [key]
    while todo:
        for reader, name, _ in walk.graph.readers(todo.pop(0)):
            if name == "network_trainer" and reader not in chain:
                chain.append(reader)
                todo.append(reader)
    return chain


def _loops(walk: Walk, key: str, asked: Any) -> dict[str, Any]:
    """Steps and loops; training stops at the smaller of what the loops add up to and max_train_steps."""
    loops = [k for k in _chain(walk, key) if walk.graph.nodes[k].type in _LOOPS]
    plain = [k for k in loops if walk.graph.nodes[k].type == "FluxTrainLoop"]
    if not loops:
        walk.note(key, "missing", "no FluxTrainLoop is connected, so the graph trains nothing; the recipe has one loop")
        return {"loops": 1}
    if len(plain) < len(loops):
        return _validating_loop(walk, key, next(k for k in loops if k not in plain), asked)
    counts = [walk.value(k, "steps") for k in plain]
    if not all(isinstance(c, int) for c in counts):
        return {}
    total = sum(counts)
    if max(counts) - min(counts) > 1:
        walk.note(plain[0], "cannot-hold", f"loops of {counts} steps; those of a recipe are of one length")
    if isinstance(asked, int) and total != asked:
        text = f"the loops add up to {total} steps, max_train_steps is {asked}; training stops at {min(total, asked)}"
        walk.note(plain[-1], "steps", text)
        total = min(total, asked)
    return walk.hold(key, LoraTable, {"steps": total, "loops": len(plain)})


def _validating_loop(walk: Walk, key: str, loop: str, asked: Any) -> dict[str, Any]:
    """`FluxTrainAndValidateLoop` trains to the end; it saves and validates every so many steps."""
    save, validate = walk.value(loop, "save_at_steps"), walk.value(loop, "validate_at_steps")
    if not isinstance(save, int) or not isinstance(asked, int) or save < 1:
        return {}
    if save != validate or asked % save:
        text = f"it saves every {save} steps and validates every {validate}; a recipe does both after equal loops"
        walk.note(loop, "cannot-hold", text)
    return walk.hold(key, LoraTable, {"loops": -(-asked // save)})


def _validation(walk: Walk, key: str) -> dict[str, Any]:
    prompts = walk.value(key, "sample_prompts")
    texts = [text.strip() for text in str(prompts or "").split("|") if text.strip()]
    chain = _chain(walk, key)
    validators = [k for k in chain if walk.graph.nodes[k].type in ("FluxTrainValidate", "FluxTrainAndValidateLoop")]
    if not validators:
        if texts:
            walk.note(key, "inert", "sample_prompts do nothing: no FluxTrainValidate is connected; the recipe has none")
        return {}
    links = [walk.source(k, "validation_settings", needed=False) for k in validators]
    nodes = list(dict.fromkeys(link.node for link in links if link))
    held: list[dict[str, Any]] = []
    for node in nodes:
        if walk.graph.nodes[node].type != "FluxTrainValidationSettings":
            walk.note(node, "unknown-path", "validation is set by it and it is not known; not in the recipe")
            continue
        if not walk.value(node, "shift"):
            walk.note(node, "cannot-hold", "shift is false; the recipe's validation shifts by resolution")
        held.append(walk.hold(node, Validation, walk.values(node, VALIDATION)))
    if any(each != held[0] for each in held):
        walk.note(nodes[1], "cannot-hold", f"validations differ; the recipe has those of {walk.graph.label(nodes[0])}")
    if not nodes:
        walk.note(validators[0], "missing", "it has no validation_settings; the recipe has its own defaults")
    return {"prompts": texts, **(held[0] if held else {})}
