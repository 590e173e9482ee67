"""The table ``[flux]`` of a recipe from the graph of one sampler.

What is read of each sampler follows its source: KSampler and the custom sampler of ComfyUI take guidance from each
text, XlabsSampler from the positive one alone (1 where it has none), and its true CFG starts at a step.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from thermvision.generation.engines.flux.presets import FEWEST_TOKENS, MOST_TOKENS
from thermvision.generation.flux_tables import FluxTable, LoraFile
from thermvision.generation.prompts import names_fields
from thermvision.generation.recipe_tables import Stills

from .graph import Link
from .wiring import Walk, file_name

COMFY_GUIDANCE = 3.5  # what ComfyUI gives FLUX where no node says
MAX_BATCH = 4096
_LORAS = ("LoraLoader", "LoraLoaderModelOnly", "FluxLoraLoader")
_XLABS_WHOLE = 0.99  # denoise_strength above which XlabsSampler takes all steps
_PRECISION = {"default": "auto", "fp8_e4m3fn": "fp8", "fp8_e4m3fn_fast": "fp8"}


@dataclass
class Sampler:
    """What a sampler is given, whichever node it is."""

    key: str
    preset: str
    seed: Any
    steps: Any
    cfg: Any
    model: Link | None
    positive: Link | None
    negative: Link | None
    latent: Link | None
    schedule_model: Link | None = None  # whose shift counts
    denoise: Any = 1.0
    cfg_from_step: Any = 0


@dataclass
class Text:
    """What a text node and those after it give. ``loras``: LoRAs that its CLIP passes, ``clip``: its loader, by id."""

    clip_l: str = ""
    t5: str = ""
    guidance: float | None = None
    zeroed: bool = False
    loras: list[str] = field(default_factory=list)
    clip: str | None = None


@dataclass(frozen=True)
class Inference:
    """Tables ``[flux]`` and ``[stills]`` as plain values, and how many pictures the graph draws at once."""

    flux: dict[str, Any]
    stills: dict[str, Any]
    images: int = 1


def import_inference(walk: Walk, key: str) -> Inference:
    """The tables that draw what the sampler ``key`` of the graph draws; what they cannot say goes to the findings."""
    kind = walk.graph.nodes[key].type
    if kind == "FluxKohyaInferenceSampler":
        return _trainer(walk, key)
    sampler = {"XlabsSampler": _xlabs, "SamplerCustomAdvanced": _custom}.get(kind, _ksampler)(walk, key)
    loras, base = _model(walk, sampler.model)
    positive = _text(walk, sampler.positive)
    negative = _text(walk, sampler.negative) if sampler.negative else Text()
    values: dict[str, Any] = {
        **base, **_encoders(walk, positive.clip), "vae": _vae(walk, key), "loras": _strengths(walk, loras, positive),
        "preset": sampler.preset, "steps": sampler.steps, "guidance": _guidance(walk, sampler, positive, negative),
        "true_cfg": sampler.cfg, "cfg_from_step": sampler.cfg_from_step, "denoise": sampler.denoise,
        "shift": _shift(walk, sampler), **_prompts(positive, negative), "first_seed": sampler.seed,
    }  # fmt: skip
    if sampler.negative and (positive.clip, positive.loras) != (negative.clip, negative.loras):
        walk.note(key, "cannot-hold", "its two texts are encoded by different CLIPs; the positive one's is kept")
    if not positive.clip_l:
        walk.note(key, "cannot-hold", "the positive text is empty; a recipe without one makes prompts of attributes")
    elif names_fields(FluxTable.model_construct(prompt=positive.clip_l, prompt_t5=positive.t5)):
        walk.note(key, "cannot-hold", "the positive text has a word in braces that a recipe fills in; take them away")
    stills, images = _latent(walk, sampler.latent)
    return Inference(walk.hold(key, FluxTable, values), stills, images)


def _ksampler(walk: Walk, key: str) -> Sampler:
    advanced = walk.graph.nodes[key].type == "KSamplerAdvanced"
    _euler_simple(walk, key, key)
    steps = walk.value(key, "steps")
    if advanced:
        asked = walk.values(key, {n: n for n in _WHOLE})
        ends = asked.pop("end_at_step")
        whole = not isinstance(ends, int) or not isinstance(steps, int) or ends >= steps
        if not whole or any(asked[n] != _WHOLE[n] for n in asked):
            walk.note(key, "cannot-hold", "it draws a part of the steps; the recipe draws all of them from noise")
    model, positive, negative, latent = (
        walk.source(key, name) for name in ("model", "positive", "negative", "latent_image")
    )
    return Sampler(
        key, "comfyui", walk.value(key, "noise_seed" if advanced else "seed"), steps, walk.value(key, "cfg"),
        model, positive, negative, latent, model, 1.0 if advanced else walk.value(key, "denoise"),
    )  # fmt: skip


_WHOLE = {"add_noise": "enable", "start_at_step": 0, "end_at_step": 10000, "return_with_leftover_noise": "disable"}


def _custom(walk: Walk, key: str) -> Sampler:
    parts = {name: walk.source(key, name) for name in ("noise", "guider", "sampler", "sigmas", "latent_image")}
    noise, guider, chosen, sigmas = (
        _expect(walk, key, parts[name], *types)
        for name, types in (
            ("noise", ("RandomNoise",)), ("guider", ("BasicGuider", "CFGGuider")), ("sampler", ("KSamplerSelect",)),
            ("sigmas", ("BasicScheduler",)),
        )
    )  # fmt: skip
    _euler_simple(walk, chosen, sigmas)
    with_cfg = guider is not None and walk.graph.nodes[guider].type == "CFGGuider"
    return Sampler(
        key,
        "comfyui",
        walk.value(noise, "noise_seed") if noise else None,
        walk.value(sigmas, "steps") if sigmas else None,
        walk.value(guider, "cfg") if guider and with_cfg else 1.0,
        walk.source(guider, "model") if guider else None,
        walk.source(guider, "positive" if with_cfg else "conditioning") if guider else None,
        walk.source(guider, "negative") if guider and with_cfg else None,
        parts["latent_image"],
        walk.source(sigmas, "model") if sigmas else None,
        walk.value(sigmas, "denoise") if sigmas else None,
    )


def _expect(walk: Walk, key: str, link: Link | None, *types: str) -> str | None:
    """The node that a link leads to, when it is of one of these types."""
    if link is None or walk.graph.nodes[link.node].type in types:
        return link.node if link else None
    text = f"it takes {walk.graph.label(link.node)}; a recipe knows {' or '.join(types)} there; not read"
    walk.note(key, "unknown-path", text)
    return None


def _euler_simple(walk: Walk, sampler: str | None, scheduler: str | None) -> None:
    for key, name, only in ((sampler, "sampler_name", "euler"), (scheduler, "scheduler", "simple")):
        if key is not None and (seen := walk.value(key, name)) not in (only, None):
            walk.note(key, "cannot-hold", f"{name} is {seen!r}; the recipe draws with {only!r}")


def _xlabs(walk: Walk, key: str) -> Sampler:
    latent = walk.source(key, "latent_image")
    if walk.source(key, "controlnet_condition", needed=False):
        walk.note(key, "cannot-hold", "it is led by a ControlNet; a recipe has none")
    strength = walk.value(key, "image_to_image_strength")
    if strength and (latent is None or walk.graph.nodes[latent.node].type != "EmptyLatentImage"):
        walk.note(key, "cannot-hold", f"image_to_image_strength is {strength}; the recipe draws from noise alone")
    elif strength:
        walk.note(key, "inert", f"image_to_image_strength {strength} does nothing with an empty latent of 4 channels")
    denoise = walk.value(key, "denoise_strength")
    walk.note(key, "seed-noise", "it draws noise on its own device in the model's dtype: the seed is another face here")
    return Sampler(
        key, "xlabs", walk.value(key, "noise_seed"), walk.value(key, "steps"), walk.value(key, "true_gs"),
        walk.source(key, "model"), walk.source(key, "conditioning"), walk.source(key, "neg_conditioning"), latent,
        None, 1.0 if isinstance(denoise, int | float) and denoise > _XLABS_WHOLE else denoise,
        walk.value(key, "timestep_to_start_cfg"),
    )  # fmt: skip


def _model(walk: Walk, link: Link | None) -> tuple[list[str], dict[str, Any]]:
    """LoRAs between the file and the sampler, the file's nearest first; and the file."""
    loras: list[str] = []
    for key in walk.up(link.node if link else None, "model"):
        kind = walk.graph.nodes[key].type
        if kind in _LORAS:
            loras.insert(0, key)
        elif kind == "UNETLoader":
            dtype = walk.value(key, "weight_dtype")
            if dtype not in _PRECISION or dtype == "fp8_e4m3fn_fast":
                kept = _PRECISION.get(dtype, "auto")
                walk.note(key, "cannot-hold", f"weight_dtype is {dtype!r}; the recipe has precision {kept!r}")
            return loras, {
                "transformer": file_name(walk, key, "unet_name"),
                "precision": _PRECISION.get(dtype, "auto"),
            }
        elif kind == "CheckpointLoaderSimple":
            walk.note(key, "cannot-hold", "one file holds model, CLIP and VAE; give flux.transformer and the others")
            return loras, {}
        elif kind != "ModelSamplingFlux":
            walk.note(key, "unknown-path", "the model passes it and what it does is not known; not in the recipe")
    return loras, {}


def _text(walk: Walk, link: Link | None) -> Text:
    text = Text()
    key, slot = (link.node, link.slot) if link else (None, 0)
    seen: set[str] = set()
    while key is not None and key not in seen:
        seen.add(key)
        node = walk.graph.nodes[key]
        if node.type in ("CLIPTextEncode", "CLIPTextEncodeFlux"):
            flux = node.type == "CLIPTextEncodeFlux"
            text.clip_l = walk.value(key, "clip_l" if flux else "text") or ""
            text.t5 = (walk.value(key, "t5xxl") or "") if flux else text.clip_l
            if flux and text.guidance is None:
                text.guidance = walk.value(key, "guidance")
            return _clip(walk, walk.source(key, "clip"), text)
        if node.type == "FluxGuidance":
            text.guidance = walk.value(key, "guidance") if text.guidance is None else text.guidance
        elif node.type == "ConditioningZeroOut":
            text.zeroed = True
        else:
            walk.note(key, "unknown-path", "the text passes it and what it does is not known; not in the recipe")
        names = ("conditioning", ("positive", "negative")[slot] if slot in (0, 1) else "positive")
        found = next((f for n in names if (f := walk.source(key, n, needed=False))), None)
        key, slot = (found.node, found.slot) if found else (None, 0)
    if link is not None:
        walk.note(link.node, "missing", "no text node is behind it; the recipe has no text")
    return text


def _clip(walk: Walk, link: Link | None, text: Text) -> Text:
    for key in walk.up(link.node if link else None, "clip"):
        kind = walk.graph.nodes[key].type
        if kind == "LoraLoader":
            text.loras.insert(0, key)
        elif kind == "DualCLIPLoader":
            text.clip = key
        elif kind != "CheckpointLoaderSimple":
            walk.note(key, "unknown-path", "the CLIP passes it and what it does is not known; not in the recipe")
    return text


def _encoders(walk: Walk, key: str | None) -> dict[str, Any]:
    if key is None:
        return {}
    if (kind := walk.value(key, "type")) != "flux":
        walk.note(key, "cannot-hold", f"its type is {kind!r}; the recipe encodes texts as 'flux'")
    names = [file_name(walk, key, name) for name in ("clip_name1", "clip_name2")]
    t5 = [name for name in names if name and "t5" in name.lower()]
    if len(t5) != 1:
        text = f"which of {names[0]!r} and {names[1]!r} is T5 does not show; give flux.clip_l and flux.t5"
        walk.note(key, "cannot-hold", text)
        return {}
    return {"clip_l": next((n for n in names if n not in t5), None), "t5": t5[0]}


def _strengths(walk: Walk, on_model: list[str], text: Text) -> list[dict[str, Any]]:
    """Each LoRA with the strengths that reach anything; those that reach nothing are named and written as 0."""
    found = []
    for key in [*on_model, *(k for k in text.loras if k not in on_model)]:
        asked = {"strength": walk.value(key, "strength_model"), "clip_strength": 0.0}
        if walk.graph.nodes[key].type == "LoraLoader":
            asked["clip_strength"] = walk.value(key, "strength_clip")
        for name, reached, what in (
            ("strength", key in on_model, "the sampler's model does not pass it"),
            ("clip_strength", key in text.loras, "the texts take their CLIP from before it"),
        ):
            if asked[name] and not reached:
                walk.note(key, "inert", f"{name} {asked[name]} does nothing: {what}; the recipe has 0")
                asked[name] = 0.0
        held = walk.hold(key, LoraFile, {"file": file_name(walk, key, "lora_name"), **asked})
        if "file" in held:
            found.append(held)
    return found


def _guidance(walk: Walk, sampler: Sampler, positive: Text, negative: Text) -> float | None:
    """Embedded guidance, and whether the negative text and its own guidance count."""
    xlabs = sampler.preset == "xlabs"
    assumed = 1.0 if xlabs else COMFY_GUIDANCE
    guidance = assumed if positive.guidance is None else positive.guidance
    if sampler.negative is None:
        return guidance
    key = sampler.negative.node
    late = isinstance(sampler.cfg_from_step, int) and isinstance(sampler.steps, int)
    if sampler.cfg == 1 or (late and sampler.cfg_from_step >= sampler.steps):
        walk.note(key, "inert", "the negative text does nothing: true CFG never counts in this graph")
    elif negative.zeroed:
        walk.note(key, "cannot-hold", "the negative text is zeroed; the recipe takes the text itself")
    elif xlabs and negative.guidance is not None:
        if negative.guidance != guidance:
            text = f"guidance {negative.guidance} does nothing: the positive text's {guidance} feeds both forwards"
            walk.note(key, "inert", text)
    elif not xlabs and (other := COMFY_GUIDANCE if negative.guidance is None else negative.guidance) != guidance:
        text = f"its guidance is {other}, the positive text's {guidance}; the recipe has one guidance, {guidance}"
        walk.note(key, "cannot-hold", text)
    if positive.zeroed:
        walk.note(sampler.key, "cannot-hold", "the positive text is zeroed; the recipe takes the text itself")
    return guidance


def _prompts(positive: Text, negative: Text) -> dict[str, Any]:
    return {
        "prompt": positive.clip_l,
        "prompt_t5": None if positive.t5 == positive.clip_l else positive.t5,
        "negative": negative.clip_l,
        "negative_t5": None if negative.t5 == negative.clip_l else negative.t5,
    }


def _shift(walk: Walk, sampler: Sampler) -> float | None:
    """mu of the nearest ModelSamplingFlux: linear in the image tokens, from base_shift at 256 to max_shift at 4,096."""
    link = sampler.schedule_model
    for key in walk.up(link.node if link else None, "model"):
        if walk.graph.nodes[key].type == "ModelSamplingFlux":
            asked = walk.values(key, {n: n for n in ("base_shift", "max_shift", "width", "height")})
            if not all(isinstance(v, int | float) for v in asked.values()):
                return None
            tokens = asked["width"] * asked["height"] / 256
            slope = (asked["max_shift"] - asked["base_shift"]) / (MOST_TOKENS - FEWEST_TOKENS)
            return round(asked["base_shift"] + slope * (tokens - FEWEST_TOKENS), 10)
    return None


def _vae(walk: Walk, key: str) -> str | None:
    graph = walk.graph
    found: dict[str, None] = {}
    for decode in graph.of_type("VAEDecode"):
        samples = walk.source(decode, "samples", needed=False)
        link = walk.source(decode, "vae", needed=False)
        if samples and link and key in graph.behind(samples.node) and graph.nodes[link.node].type == "VAELoader":
            found[link.node] = None
    names = [file_name(walk, loader, "vae_name") for loader in found]
    if len(set(names)) > 1:
        walk.note(key, "cannot-hold", f"its pictures are decoded by several VAEs; the recipe has {names[0]!r}")
    return names[0] if names else None


def _latent(walk: Walk, link: Link | None) -> tuple[dict[str, Any], int]:
    """Size and number of the pictures."""
    images = 1
    for key in walk.up(link.node if link else None, "samples"):
        kind = walk.graph.nodes[key].type
        if kind in ("EmptyLatentImage", "EmptySD3LatentImage"):
            images = _times(images, walk.value(key, "batch_size"))
            if images > 1:
                text = f"{images} pictures of one seed: further ones have seeds of their own here and are other faces"
                walk.note(key, "batch", text)
            return _size(walk, key, walk.value(key, "width"), walk.value(key, "height")), images
        if kind == "RepeatLatentBatch":
            images = _times(images, walk.value(key, "amount"))
        else:
            walk.note(key, "cannot-hold", "it starts from something else than noise; the recipe draws from noise alone")
    return {"engine": "flux"}, images


def _times(images: int, count: Any) -> int:
    return min(max(images * count, 1), MAX_BATCH) if isinstance(count, int) else images


def _size(walk: Walk, key: str, width: Any, height: Any) -> dict[str, Any]:
    if width != height:
        walk.note(key, "cannot-hold", f"pictures are {width} x {height}, not square; type --size {width}x{height}")
        return {"engine": "flux"}
    return {"engine": "flux", **walk.hold(key, Stills, {"size": width})}


def _trainer(walk: Walk, key: str) -> Inference:
    """FluxTrainer's own sampler: no negative text, embedded guidance only."""
    values = walk.values(
        key, {"steps": "steps", "guidance_scale": "guidance", "seed": "first_seed", "prompt": "prompt"}
    )
    values |= {"preset": "trainer", "true_cfg": 1.0}
    if (name := file_name(walk, key, "lora_name")) is not None:
        values["loras"] = [{"file": name, "strength": 1.0}]
    if walk.value(key, "use_fp8"):
        values["precision"] = "fp8"
    if not walk.value(key, "apply_t5_attn_mask"):
        walk.note(key, "cannot-hold", "apply_t5_attn_mask is false; the preset trainer masks the padding of T5")
    walk.note(key, "seed-noise", "it draws packed noise on its own device: the seed is another face here")
    if link := walk.source(key, "flux_models"):
        values |= model_files(walk, link.node)
    stills = _size(walk, key, walk.value(key, "width"), walk.value(key, "height"))
    return Inference(walk.hold(key, FluxTable, values), stills)


def model_files(walk: Walk, key: str) -> dict[str, Any]:
    """Files that FluxTrainer's model node names."""
    if walk.graph.nodes[key].type != "FluxTrainModelSelect":
        walk.note(key, "unknown-path", "the models come from it and it is not known; not in the recipe")
        return {}
    if walk.graph.nodes[key].inputs.get("lora_path"):
        walk.note(key, "cannot-hold", "it starts from a LoRA (lora_path); a recipe's training starts afresh")
    return {name: file_name(walk, key, name) for name in ("transformer", "vae", "clip_l", "t5")}
