"""Pictures a second and memory of FLUX: diffusers' FluxPipeline beside our loop, and steps a second of training.

    python benchmarks/flux.py                                   # tiny networks on a CPU: that it runs, and agrees
    python benchmarks/flux.py --device cuda --widths true       # the size of FLUX.1-dev, random weights
    python benchmarks/flux.py --device cuda --widths true --compile --precision bf16 fp8

The weights are random, so what is drawn is no picture, and takes as long as one. Both draw the same rows: one text, one
negative, true guidance 3, 28 steps, 512 x 512. The stock pipeline is called as its manual says, a picture a call and
then a batch a call: it encodes its texts in every call, pads them to 512 tokens and runs the two forwards of a step one
after the other. Ours is what ``thermvision generate`` runs: texts encoded once, trimmed as with the preset
"trainer", both forwards in one batch. With equal padding and float32 both give the same pictures, and the JSON says how
far they differ. Rounds alternate, so that whatever else the machine does meets both.
"""

from __future__ import annotations

import argparse
import gc
import itertools
import json
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from thermvision.generation.engines.flux.loading import compile_blocks
from thermvision.generation.engines.flux.models import FluxModels
from thermvision.generation.engines.flux.precision import cast_transformer, choose_precision, working_dtype
from thermvision.generation.engines.flux.presets import SamplingOptions
from thermvision.generation.engines.flux.random_models import tiny_models, tiny_tokenizer
from thermvision.generation.engines.flux.sampling import RGB, sample
from thermvision.generation.engines.flux.text import Conditioning, encode
from thermvision.generation.flux_tables import LoraTable

RESULT = Path(__file__).with_suffix(".json")
POSITIVE = (
    "thermal face of a man, short hair, facing the camera, neutral expression, white-hot, plain background",
) * 2
NEGATIVE = ("visible light, color, several people, text, blurred",) * 2
RANK = 64


def true_models(device: torch.device, dtype: torch.dtype) -> FluxModels:
    """FLUX.1-dev's networks with random weights; the tiny tokenizers read the texts, and their encoders are whole."""
    from diffusers import AutoencoderKL, FluxTransformer2DModel
    from transformers import CLIPTextConfig, CLIPTextModel, T5Config, T5EncoderModel

    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with device:
            torch.manual_seed(0)
            transformer = FluxTransformer2DModel(
                patch_size=1, in_channels=64, num_layers=19, num_single_layers=38, attention_head_dim=128,
                num_attention_heads=24, joint_attention_dim=4096, pooled_projection_dim=768, guidance_embeds=True,
                axes_dims_rope=(16, 56, 56),
            )  # fmt: skip
            vae = AutoencoderKL(
                latent_channels=16, block_out_channels=(128, 256, 512, 512), layers_per_block=2,
                down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4,
                scaling_factor=0.3611, shift_factor=0.1159, use_quant_conv=False, use_post_quant_conv=False,
            )  # fmt: skip
            tokens = len(tiny_tokenizer("clip"))
            clip = CLIPTextModel(
                CLIPTextConfig(
                    vocab_size=tokens, hidden_size=768, intermediate_size=3072, projection_dim=768,
                    num_hidden_layers=12, num_attention_heads=12, bos_token_id=tokens - 2, eos_token_id=tokens - 1,
                    pad_token_id=tokens - 1,
                )
            )  # fmt: skip
            t5 = T5EncoderModel(
                T5Config(
                    vocab_size=32128, d_model=4096, d_kv=64, d_ff=10240, num_layers=24, num_heads=64,
                    feed_forward_proj="gated-gelu",
                )
            )  # fmt: skip
    finally:
        torch.set_default_dtype(before)
    for module in (transformer, vae, clip, t5):
        module.to(device, dtype).eval().requires_grad_(False)
    return FluxModels(
        transformer, vae, clip, t5, tiny_tokenizer("clip"), tiny_tokenizer("t5"), device, dtype, random=True
    )


def models_of(widths: str, device: torch.device, dtype: torch.dtype) -> FluxModels:
    """Networks of that size."""
    if widths == "true":
        return true_models(device, dtype)
    models = tiny_models()
    models.device, models.dtype = device, dtype
    for module in models.parts().values():
        module.to(device, dtype)
    return models


def stock_drawer(models: FluxModels, options: SamplingOptions, at_once: int) -> Callable[[list[int]], RGB]:
    """The stock pipeline as its manual has it, ``at_once`` pictures a call."""
    from diffusers import FlowMatchEulerDiscreteScheduler, FluxPipeline

    pipe = FluxPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True), vae=models.vae, text_encoder=models.clip,
        tokenizer=models.clip_tokenizer, text_encoder_2=models.t5, tokenizer_2=models.t5_tokenizer,
        transformer=models.transformer,
    )  # fmt: skip
    pipe.set_progress_bar_config(disable=True)

    def draw(seeds: list[int]) -> RGB:
        drawn: list[Any] = []
        for start in range(0, len(seeds), at_once):
            some = seeds[start : start + at_once]
            drawn += pipe(
                [POSITIVE[0]] * len(some), negative_prompt=[NEGATIVE[0]] * len(some), true_cfg_scale=options.true_cfg,
                guidance_scale=options.guidance, width=options.width, height=options.height,
                num_inference_steps=options.steps, max_sequence_length=512,
                generator=[torch.Generator("cpu").manual_seed(s) for s in some],
            ).images  # fmt: skip
        return np.stack([np.asarray(picture) for picture in drawn])

    return draw


def our_drawer(
    models: FluxModels, options: SamplingOptions, texts: tuple[Conditioning, ...], at_once: int
) -> Callable[[list[int]], RGB]:
    """Our loop with texts that were encoded before."""

    def draw(seeds: list[int]) -> RGB:
        parts = [seeds[start : start + at_once] for start in range(0, len(seeds), at_once)]
        return np.concatenate([sample(models, texts[:1], texts[1:], part, options) for part in parts])

    return draw


def measure(draw: Callable[[list[int]], RGB], seeds: list[int], device: torch.device) -> tuple[float, float, RGB]:
    """Pictures a second, GB of memory at most (CUDA only) and the pictures."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
    began = time.perf_counter()
    pictures = draw(seeds)
    taken = time.perf_counter() - began
    memory = torch.cuda.max_memory_allocated(device) / 1e9 if device.type == "cuda" else 0.0
    return len(seeds) / taken, memory, pictures


def sampling_rows(widths: str, device: torch.device, asked: argparse.Namespace) -> list[dict[str, Any]]:
    """The stock pipeline and ours in turn; then ours in each further precision, compiled where that was asked for."""
    rows: list[dict[str, Any]] = []
    options = SamplingOptions(asked.size, asked.size, asked.steps, preset="diffusers")
    for precision in asked.precision:
        found = choose_precision(precision, device)
        models = models_of(widths, device, working_dtype(found))
        trimmed, padded = (tuple(encode(models, [POSITIVE, NEGATIVE], padding)) for padding in ("trim", 512))
        if found == "fp8":
            cast_transformer(models.transformer, "fp8")
        makers: dict[str, Callable[[list[int]], RGB]] = {}
        if rows:  # as `generate` does; with the stock pipeline beside, memory holds them
            models.clip = models.t5 = None
        else:
            makers["stock, 1 a call"] = stock_drawer(models, options, 1)
            makers[f"stock, {asked.batch[0]} a call"] = stock_drawer(models, options, asked.batch[0])
            makers["ours, padded as stock"] = our_drawer(models, options, padded, asked.batch[0])
        for batch in asked.batch:
            makers[f"ours, {found}, batch {batch}"] = our_drawer(models, options, trimmed, batch)
        rows += _rounds(makers, device, asked, widths)
        if asked.compile:
            models.clip = models.t5 = None
            makers.clear()
            compile_blocks(models.transformer, found)
            for batch in asked.batch:
                makers[f"ours, {found}, compiled, batch {batch}"] = our_drawer(models, options, trimmed, batch)
            rows += _rounds(makers, device, asked, widths)
        makers.clear()
        del models
        _free(device)
    for row in rows:
        row["times_stock"] = row["images_per_second"] / rows[0]["images_per_second"]
    return rows


def _rounds(
    makers: dict[str, Callable[[list[int]], RGB]], device: torch.device, asked: argparse.Namespace, widths: str
) -> list[dict[str, Any]]:
    seeds = list(range(max(asked.images, *asked.batch)))
    speeds: dict[str, list[float]] = {name: [] for name in makers}
    memory: dict[str, float] = {}
    pictures: dict[str, RGB] = {}
    for draw in makers.values():
        draw(seeds[: max(asked.batch)])  # warms up, and compiles
    for turn in range(asked.rounds):
        order = list(makers)
        for name in order if turn % 2 else order[::-1]:
            speed, memory[name], pictures[name] = measure(makers[name], seeds, device)
            speeds[name].append(speed)
    base = pictures[next(iter(makers))].astype(int)
    return [
        {
            "name": name,
            "widths": widths,
            "device": _device_name(device),
            "images_per_second": statistics.median(found),
            "all": found,
            "peak_gb": round(memory[name], 2),
            "levels_from_first": round(float(np.abs(pictures[name].astype(int) - base).mean()), 4),
        }
        for name, found in speeds.items()
    ]


def training_row(widths: str, device: torch.device, asked: argparse.Namespace, fp8: bool) -> dict[str, Any]:
    """Steps a second of the article's table, batch 1, with the base in bf16 (float32 on a CPU) or in fp8."""
    from thermvision.generation.engines.flux.training.lora_layers import add_adapter, quantise_base
    from thermvision.generation.engines.flux.training.objective import batch_loss
    from thermvision.generation.engines.flux.training.optimisers import make_optimiser

    dtype = working_dtype(choose_precision("auto", device))
    models = models_of(widths, device, dtype)
    texts = encode(models, [POSITIVE])
    models.clip = models.t5 = None
    rank = RANK if widths == "true" else 4
    table = LoraTable(rank=rank, alpha=float(rank))
    transformer: Any = models.transformer
    parameters = list(add_adapter(transformer, table.rank, table.alpha, table.seed, dtype).values())
    if fp8:
        quantise_base(transformer, dtype)
    transformer.enable_gradient_checkpointing()
    transformer.train()
    optimiser = make_optimiser(table, parameters)
    generator = torch.Generator().manual_seed(0)
    latents = torch.randn(1, 16, asked.size // 8, asked.size // 8, generator=generator)

    def step() -> Tensor:
        optimiser.zero_grad(set_to_none=True)
        loss = batch_loss(transformer, table, latents, texts, generator, device, dtype)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, table.max_grad_norm)
        optimiser.step()
        return loss.detach()

    float(step())
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    began = time.perf_counter()
    losses = [step() for _ in range(asked.train_steps)]
    finite = bool(np.isfinite(float(losses[-1])))  # waits for the device
    speed = asked.train_steps / (time.perf_counter() - began)
    memory = torch.cuda.max_memory_allocated(device) / 1e9 if device.type == "cuda" else 0.0
    return {
        "name": f"training, rank {rank}, base {'fp8' if fp8 else str(dtype).removeprefix('torch.')}",
        "widths": widths,
        "device": _device_name(device),
        "steps_per_second": speed,
        "peak_gb": round(memory, 2),
        "finite": finite,
    }


def _free(device: torch.device) -> None:
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else f"cpu, {torch.get_num_threads()} threads"


def show(rows: list[dict[str, Any]]) -> None:
    """Print the table."""
    for row in rows:
        unit = "steps_per_second" if "steps_per_second" in row else "images_per_second"
        ratio = f"{row['times_stock']:6.2f} times" if "times_stock" in row else ""
        apart = f"{row['levels_from_first']} levels from the first" if "times_stock" in row else ""
        print(f"{row['name']:38} {row[unit]:9.3f} {unit[:5]}/s {row['peak_gb']:7.2f} GB {ratio} {apart}")


def main() -> None:
    """Measure, print the table, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--widths", nargs="+", choices=("tiny", "true"), default=["tiny"])
    parser.add_argument("--size", type=int, default=512, help="pixels a side")
    parser.add_argument("--steps", type=int, default=28)
    parser.add_argument("--batch", type=int, nargs="+", default=[4], help="pictures ours draws at once")
    parser.add_argument("--images", type=int, default=4, help="a round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--precision", nargs="+", default=["auto"], help="auto, fp32, bf16, fp8")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--train-steps", type=int, default=5, help="0 leaves training out")
    parser.add_argument("--json", type=Path, default=RESULT)
    asked = parser.parse_args()
    device, load = torch.device(asked.device), os.getloadavg()[0]
    rows = list(itertools.chain.from_iterable(sampling_rows(widths, device, asked) for widths in asked.widths))
    for widths, fp8 in itertools.product(asked.widths if asked.train_steps else (), (False, True)):
        rows.append(training_row(widths, device, asked, fp8))
        _free(device)
    show(rows)
    settings = {name: value for name, value in vars(asked).items() if name != "json"}
    result = {"torch": torch.__version__, "settings": settings, "load": [load, os.getloadavg()[0]], "rows": rows}
    asked.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
