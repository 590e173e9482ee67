"""The sampling loop: the stock pipeline's numbers, a row that its neighbours do not change, and what goes wrong."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from thermvision.annotations.errors import DamagedInputError, UsageError
from thermvision.generation.engines.flux import sampling
from thermvision.generation.engines.flux.models import FluxModels
from thermvision.generation.engines.flux.presets import SamplingOptions
from thermvision.generation.engines.flux.random_models import tiny_models
from thermvision.generation.engines.flux.sampling import DeviceFullError, denoise, noise, pack, sample, unpack
from thermvision.generation.engines.flux.text import encode
from thermvision.generation.engines.threads import one_thread

POSITIVE, NEGATIVE = ("a thermal face of a man",) * 2, ("blurry",) * 2
SEEDS = [3, 0, 7]
SMALL = SamplingOptions(64, 64, 5, preset="diffusers")


@pytest.fixture(scope="module")
def models() -> Iterator[FluxModels]:
    with one_thread():
        yield tiny_models()


def stock(models: FluxModels, shift: dict[str, float] | None = None, **options: Any) -> Tensor:
    """Packed latents of the stock pipeline."""
    from diffusers import FlowMatchEulerDiscreteScheduler, FluxPipeline

    scheduler = FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True, **(shift or {}))
    pipe = FluxPipeline(
        scheduler=scheduler, vae=models.vae, text_encoder=models.clip, tokenizer=models.clip_tokenizer,
        text_encoder_2=models.t5, tokenizer_2=models.t5_tokenizer, transformer=models.transformer,
    )  # fmt: skip
    pipe.set_progress_bar_config(disable=True)
    generators = [torch.Generator("cpu").manual_seed(s) for s in SEEDS]
    found: Tensor = pipe(
        [POSITIVE[0]] * len(SEEDS), generator=generators, output_type="latent", guidance_scale=3.5, **options
    ).images
    return found


@pytest.mark.parametrize(("width", "height"), [(64, 64), (96, 64)])
def test_it_equals_the_stock_pipeline_with_real_guidance(models: FluxModels, width: int, height: int):
    theirs = stock(
        models, negative_prompt=NEGATIVE[0], true_cfg_scale=3.0, num_inference_steps=5, width=width, height=height
    )
    positive, negative = encode(models, [POSITIVE, NEGATIVE], 512)
    options = SamplingOptions(width, height, 5, preset="diffusers")
    ours = denoise(models, [positive], [negative], noise(SEEDS, width, height), options)
    torch.testing.assert_close(pack(ours), theirs, atol=1e-5, rtol=0)


def test_it_equals_the_stock_pipeline_with_embedded_guidance_alone(models: FluxModels):
    theirs = stock(models, num_inference_steps=5, width=64, height=64)
    positive = encode(models, [POSITIVE], 512)
    ours = denoise(models, positive, None, noise(SEEDS, 64, 64), SMALL)
    torch.testing.assert_close(pack(ours), theirs, atol=1e-5, rtol=0)


def test_the_comfyui_preset_is_the_stock_pipeline_with_a_constant_shift(models: FluxModels):
    constant = {"base_shift": 1.15, "max_shift": 1.15}
    asked: dict[str, Any] = {"negative_prompt": NEGATIVE[0], "true_cfg_scale": 3.0, "width": 64, "height": 64}
    positive, negative = encode(models, [POSITIVE, NEGATIVE], 256, grows=True)
    ours = denoise(models, [positive], [negative], noise(SEEDS, 64, 64), SamplingOptions(64, 64, 8))
    # the pipeline reads mu from its scheduler's config
    theirs = stock(models, constant, num_inference_steps=8, max_sequence_length=256, **asked)
    torch.testing.assert_close(pack(ours), theirs, atol=1e-5, rtol=0)


def test_masked_padding_draws_what_trimmed_text_draws(models: FluxModels):
    trimmed, masked = encode(models, [POSITIVE]), encode(models, [POSITIVE], 512, True)
    a, b = (denoise(models, rows, None, noise(SEEDS, 64, 64), SMALL) for rows in (trimmed, masked))
    torch.testing.assert_close(a, b, atol=1e-5, rtol=0)
    unmasked = denoise(models, encode(models, [POSITIVE], 512), None, noise(SEEDS, 64, 64), SMALL)
    assert (a - unmasked).abs().max() > 1e-3


def test_a_row_is_what_its_seed_draws_alone(models: FluxModels):
    # trimmed texts of three lengths: the batch is padded and masked, a row alone is not
    texts = [POSITIVE, ("a face",) * 2, ("a hot white face looking left",) * 2]
    positive, negative = encode(models, texts), encode(models, [NEGATIVE])
    together = denoise(models, positive, negative, noise(SEEDS, 64, 64), SMALL)
    for row, (seed, text) in enumerate(zip(SEEDS, positive, strict=True)):
        alone = denoise(models, [text], negative, noise([seed], 64, 64), SMALL)
        torch.testing.assert_close(together[row : row + 1], alone, atol=1e-5, rtol=0)
    again = denoise(models, positive, negative, noise(SEEDS, 64, 64), SMALL)
    assert torch.equal(together, again)


def test_noise_is_the_seed_s_and_keeps_its_variance():
    rows = noise([5, 6], 64, 96)
    assert rows.shape == (2, 16, 12, 8)
    assert rows.dtype == torch.float32
    assert torch.equal(rows[1:], noise([6], 64, 96))
    expected = torch.randn((1, 16, 12, 8), generator=torch.Generator().manual_seed(5))
    assert torch.equal(rows[:1], expected)
    varied = noise([5], 512, 512, [(6, 0.6)])
    own, further = noise([5, 6], 512, 512).split(1)
    torch.testing.assert_close(varied, 0.8 * own + 0.6 * further)
    assert float(varied.var()) == pytest.approx(1.0, abs=0.02)
    assert torch.equal(noise([5], 64, 64, [(6, 0.0)]), noise([5], 64, 64))


@settings(max_examples=25)
@given(st.integers(1, 3), st.integers(1, 6), st.integers(1, 6))
def test_packing_there_and_back(n: int, rows: int, columns: int):
    latents = torch.randn(n, 16, 2 * rows, 2 * columns)
    assert torch.equal(unpack(pack(latents), 16 * rows, 16 * columns), latents)


def test_real_guidance_begins_where_it_is_told_to(models: FluxModels):
    positive, negative = encode(models, [POSITIVE, NEGATIVE])
    start = noise([1], 64, 64)

    def drawn(first: int) -> Tensor:
        options = SamplingOptions(64, 64, 5, preset="xlabs", cfg_from_step=first)
        return denoise(models, [positive], [negative], start, options)

    plain = denoise(models, [positive], None, start, SamplingOptions(64, 64, 5, preset="xlabs"))
    assert torch.equal(drawn(5), plain)
    distances = [float((drawn(n) - plain).abs().mean()) for n in (0, 2, 4)]
    assert distances[0] > distances[1] > distances[2] > 0


def test_each_preset_draws_another_picture_of_a_seed(models: FluxModels):
    found = {}
    for preset in ("comfyui", "diffusers", "trainer", "xlabs"):
        positive, negative = encode(models, [POSITIVE, NEGATIVE], "trim" if preset == "trainer" else 64)
        options = SamplingOptions(64, 64, 5, preset=preset)
        assert options.uses_negative == (preset != "trainer")
        found[preset] = denoise(models, [positive], [negative], noise([1], 64, 64), options)
    # at 64 tokens of text XLabs and diffusers differ in nothing else
    torch.testing.assert_close(found["xlabs"], found["diffusers"], atol=1e-5, rtol=0)
    assert (found["comfyui"] - found["diffusers"]).abs().max() > 1e-3
    assert (found["trainer"] - found["diffusers"]).abs().max() > 1e-3


def test_a_late_start_scales_the_noise():
    models = tiny_models()
    with torch.no_grad():  # no velocity: what was begun with is what comes out
        models.transformer.proj_out.weight.zero_()
        models.transformer.proj_out.bias.zero_()
    positive = encode(models, [POSITIVE])
    late = SamplingOptions(64, 64, 1, denoise=0.5, preset="comfyui", true_cfg=1)
    (first, last) = late.sigmas
    assert first < 1
    assert last == 0
    start = noise([1], 64, 64)
    torch.testing.assert_close(denoise(models, positive, None, start, late), first * start)
    assert torch.equal(denoise(models, positive, None, start, SamplingOptions(64, 64, 3)), start)


def test_pictures_are_rgb_levels(models: FluxModels):
    positive, negative = encode(models, [POSITIVE, NEGATIVE])
    found = sample(models, [positive], [negative], SEEDS, SMALL)
    assert found.shape == (3, 64, 64, 3)
    assert found.dtype == np.uint8
    assert found.std() > 1
    scaled = denoise(models, [positive], [negative], noise(SEEDS, 64, 64), SMALL) / 0.3611 + 0.1159
    with torch.no_grad():
        image = models.vae.decode(scaled[1:2]).sample[0]
    expected = ((image / 2 + 0.5).clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()
    assert np.array_equal(found[1], expected)


def test_the_first_block_cache_is_off_unless_asked_for_and_leaves_nothing_behind(models: FluxModels):
    positive, negative = encode(models, [POSITIVE, NEGATIVE])
    given = (models, [positive], [negative], noise([1], 64, 64))
    plain = denoise(*given, SMALL)
    options = {"width": 64, "height": 64, "steps": 5, "preset": "diffusers", "cfg_from_step": 1}
    cached = denoise(*given, SamplingOptions(**options, cache_threshold=0.5))
    without = denoise(*given, SamplingOptions(**options))
    assert (cached - without).abs().max() > 1e-4
    assert torch.equal(denoise(*given, SMALL), plain)


def test_texts_and_seeds_have_to_go_together(models: FluxModels):
    rows = encode(models, [POSITIVE, NEGATIVE])
    with pytest.raises(UsageError, match="2 positive texts go with 3 seeds; allowed: one, or one each"):
        sample(models, rows, None, SEEDS, SMALL)
    with pytest.raises(UsageError, match="0 negative texts"):
        sample(models, rows[:1], [], SEEDS, SMALL)


def test_weights_that_make_nan_are_not_drawn():
    models = tiny_models()
    with torch.no_grad():
        models.transformer.proj_out.weight[0, 0] = float("nan")
    with pytest.raises(DamagedInputError, match="NaN or infinity; check the weights"):
        sample(models, encode(models, [POSITIVE]), None, [1], SMALL)


def test_a_full_device_says_what_to_do(models: FluxModels, monkeypatch: pytest.MonkeyPatch):
    def full(*_: Any) -> Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(sampling, "denoise", full)
    with pytest.raises(DeviceFullError, match="with 3 pictures of 64 x 64; lower --batch") as caught:
        sample(models, encode(models, [POSITIVE]), None, SEEDS, SMALL)
    assert isinstance(caught.value, MemoryError)  # which no worker takes for the fault of one item
