"""Tables of a recipe for FLUX: ``[flux]`` says how stills are drawn, ``[lora]`` how an adapter is trained.

The defaults of ``[lora]`` are Table 4 of the article; what other tools call each key is in `docs/flux.md`.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from thermvision.generation.recipe_tables import Table

Name = Annotated[str, Field(min_length=1, max_length=500)]
Strength = Annotated[float, Field(ge=-10, le=10, strict=False, allow_inf_nan=False)]
Guidance = Annotated[float, Field(ge=0, le=30, strict=False, allow_inf_nan=False)]
Side = Annotated[int, Field(ge=64, le=4096, multiple_of=16)]


class LoraFile(Table):
    """An adapter that is added to the model. ``clip_strength`` counts where the file holds layers of CLIP-L."""

    file: Name
    strength: Strength = 1.0
    clip_strength: Strength = 1.0


class ScreeningTable(Table):
    """What becomes of stills that are no good: they are drawn again, ``attempts`` times in all.

    ``alike`` is the cosine of two embeddings from which they are one face; ``training_images`` a folder of pictures
    that nobody drawn may look like; ``variation`` the share of a further seed in the noise of a further attempt.
    """

    on: bool = True
    attempts: Annotated[int, Field(ge=1, le=100)] = 8
    variation: Annotated[float, Field(gt=0, le=1, strict=False)] = 0.2
    min_score: Annotated[float, Field(ge=0, le=1, strict=False)] = 0.5
    alike: Annotated[float, Field(gt=0, le=1, strict=False)] = 0.6
    training_images: Name | None = None


class FluxTable(Table):
    """How FLUX draws.

    ``guidance`` is the embedded one, ``true_cfg`` the weight of the second forward with the negative prompt (1: none).
    ``preset`` names the tool whose schedule and text masking are reproduced; ``shift``, where given, overrides its.
    ``weights`` is a folder of single files as ComfyUI has them, a diffusers folder, or "random".
    """

    weights: Name = "FLUX.1-dev"
    transformer: Name | None = None
    clip_l: Name | None = None
    t5: Name | None = None
    vae: Name | None = None
    tokenizers: Name | None = None
    loras: tuple[LoraFile, ...] = Field(default=(), strict=False)
    preset: Literal["comfyui", "diffusers", "trainer", "xlabs"] = "comfyui"
    steps: Annotated[int, Field(ge=1, le=200)] = 28
    guidance: Guidance = 3.5
    true_cfg: Guidance = 3.0
    cfg_from_step: Annotated[int, Field(ge=0, le=200)] = 0
    denoise: Annotated[float, Field(gt=0, le=1, strict=False)] = 1.0
    shift: Annotated[float, Field(ge=-10, le=10, strict=False)] | None = None
    prompt: Annotated[str, Field(max_length=4000)] = ""
    prompt_t5: Annotated[str, Field(max_length=4000)] | None = None
    negative: Annotated[str, Field(max_length=4000)] = ""
    negative_t5: Annotated[str, Field(max_length=4000)] | None = None
    first_seed: Annotated[int, Field(ge=0, lt=2**63)] | None = None
    batch: Annotated[int, Field(ge=1, le=64)] = 4
    precision: Literal["auto", "fp32", "bf16", "fp8"] = "auto"
    device: Annotated[str, Field(pattern=r"^[a-z]+(:\d+)?$")] = "auto"
    compile: bool = False
    screening: ScreeningTable = ScreeningTable()


class LoraDataset(Table):
    """Images with captions, at one size. Several of the same folder make the several sizes of the article."""

    path: Name
    width: Side = 512
    height: Side = 512
    batch: Annotated[int, Field(ge=1, le=64)] = 1
    repeats: Annotated[int, Field(ge=1, le=10_000)] = 1
    trigger: Annotated[str, Field(max_length=200)] = ""
    caption_extension: Annotated[str, Field(pattern=r"^\.\w{1,10}$")] = ".txt"
    bucket: bool = True
    bucket_no_upscale: bool = False
    min_bucket: Side = 256
    max_bucket: Side = 1024


class Validation(Table):
    """Pictures drawn after each loop: embedded guidance only, as the trainer the article used draws them."""

    prompts: tuple[str, ...] = Field(default=(), strict=False)
    steps: Annotated[int, Field(ge=1, le=200)] = 20
    width: Side = 512
    height: Side = 512
    guidance: Guidance = 3.0
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 42
    base_shift: Annotated[float, Field(ge=-10, le=10, strict=False)] = 0.5
    max_shift: Annotated[float, Field(ge=-10, le=10, strict=False)] = 1.15


class LoraTable(Table):
    """How an adapter is trained. ``preset`` "article" is Table 4; "adamw" is this project's own."""

    name: Annotated[str, Field(pattern=r"^[\w.-]{1,100}$")] = "thermal"
    datasets: tuple[LoraDataset, ...] = Field(default=(), strict=False)
    rank: Annotated[int, Field(ge=1, le=1024)] = 64
    alpha: Annotated[float, Field(gt=0, le=4096, strict=False)] = 64.0
    learning_rate: Annotated[float, Field(gt=0, le=1, strict=False)] = 4e-4
    scheduler: Literal["constant", "constant_with_warmup", "cosine", "linear"] = "constant"
    warmup_steps: Annotated[int, Field(ge=0, le=1_000_000)] = 0
    optimizer: Literal["came", "adamw"] = "came"
    max_grad_norm: Annotated[float, Field(ge=0, le=1000, strict=False)] = 1.0
    steps: Annotated[int, Field(ge=1, le=1_000_000)] = 3000
    loops: Annotated[int, Field(ge=1, le=1000)] = 4
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 42
    train_guidance: Guidance = 3.0
    timestep_sampling: Literal["shift", "sigmoid", "uniform", "sigma", "flux_shift"] = "shift"
    sigmoid_scale: Annotated[float, Field(gt=0, le=100, strict=False)] = 1.0
    discrete_flow_shift: Annotated[float, Field(gt=0, le=100, strict=False)] = 3.1582
    model_prediction: Literal["raw", "additive", "sigma_scaled"] = "raw"
    weighting: Literal["none", "logit_normal", "mode", "cosmap", "sigma_sqrt"] = "logit_normal"
    logit_mean: Annotated[float, Field(ge=-100, le=100, strict=False)] = 0.0
    logit_std: Annotated[float, Field(gt=0, le=100, strict=False)] = 1.0
    mode_scale: Annotated[float, Field(ge=-100, le=100, strict=False)] = 1.29
    min_snr_gamma: Annotated[float, Field(ge=0, le=100, strict=False)] = 5.0
    t5_attention_mask: bool = True
    cache_latents: Literal["disk", "memory"] = "disk"
    cache_text: Literal["disk", "memory"] = "disk"
    blocks_to_swap: Annotated[int, Field(ge=0, le=36)] = 1
    highvram: bool = False
    fp8_base: bool = True
    gradient_dtype: Literal["fp32", "bf16"] = "bf16"
    save_dtype: Literal["fp32", "bf16", "fp16"] = "bf16"
    attention: Literal["sdpa", "xformers", "torch"] = "sdpa"
    gradient_checkpointing: bool = True
    validation: Validation = Validation()
