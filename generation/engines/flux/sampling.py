"""Noise to pictures: an Euler loop of our own, with both forwards of real guidance in one batch.

It equals the stock ``FluxPipeline`` of diffusers for the preset of that name. A row's noise is drawn in float32 on the
CPU from its own seed, so that a seed is the same face in any batch, precision or device; what is computed of it differs
between batches by rounding alone.
"""

from __future__ import annotations

import contextlib
import itertools
import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from thermvision.annotations.errors import DamagedInputError, UsageError
from thermvision.generation.engines.flux.presets import PATCH, SamplingOptions
from thermvision.generation.engines.flux.text import Conditioning, stack

if TYPE_CHECKING:
    from thermvision.generation.engines.flux.models import FluxModels

CHANNELS = 16
LATENT = 8  # pixels a latent, each way
DEFAULTS = SamplingOptions()
RGB = NDArray[np.uint8]


class DeviceFullError(UsageError, MemoryError):
    """The device has too little memory for the batch."""


def noise(
    seeds: Sequence[int], width: int, height: int, variations: Sequence[tuple[int, float]] | None = None
) -> Tensor:
    """Noise (N, 16, height / 8, width / 8) float32 on the CPU, each row from its own seed.

    ``variations`` are a further seed and a strength v in 0..1 for each row: sqrt(1 - v²) of the row's own noise and v
    of the further one, so that its variance stays 1.

    >>> float(noise([3, 4], 64, 64)[1, 0, 0, 0]) == float(noise([4], 64, 64)[0, 0, 0, 0])
    True
    """
    rows = [_row(seed, width, height) for seed in seeds]
    for place, (seed, strength) in enumerate(variations or ()):
        if strength:
            rows[place] = math.sqrt(1 - strength**2) * rows[place] + strength * _row(seed, width, height)
    return torch.cat(rows)


def _row(seed: int, width: int, height: int) -> Tensor:
    generator = torch.Generator("cpu").manual_seed(seed)
    return torch.randn((1, CHANNELS, height // LATENT, width // LATENT), generator=generator, dtype=torch.float32)


def pack(latents: Tensor) -> Tensor:
    """Latents (N, C, h, w) as tokens (N, h/2 · w/2, 4C): each 2 x 2 square is one token."""
    n, c, h, w = latents.shape
    return latents.reshape(n, c, h // 2, 2, w // 2, 2).permute(0, 2, 4, 1, 3, 5).reshape(n, h * w // 4, 4 * c)


def unpack(tokens: Tensor, height: int, width: int) -> Tensor:
    """Tokens back to latents (N, C, h, w) of a picture of ``height`` x ``width`` pixels."""
    n, _, c = tokens.shape
    h, w = height // PATCH, width // PATCH
    return tokens.reshape(n, h, w, c // 4, 2, 2).permute(0, 3, 1, 4, 2, 5).reshape(n, c // 4, 2 * h, 2 * w)


def places(width: int, height: int) -> Tensor:
    """The place of each image token: (h · w, 3) float32 of 0, row and column."""
    rows, columns = torch.meshgrid(torch.arange(height // PATCH), torch.arange(width // PATCH), indexing="ij")
    return torch.stack([torch.zeros_like(rows), rows, columns], -1).reshape(-1, 3).float()


def sample(
    models: FluxModels,
    positive: Sequence[Conditioning],
    negative: Sequence[Conditioning] | None,
    seeds: Sequence[int],
    options: SamplingOptions = DEFAULTS,
    *,
    start: Tensor | None = None,
) -> RGB:
    """Pictures (N, H, W, 3) uint8, a row for each seed.

    Args:
        models: transformer and VAE.
        positive: the text of each row, or one for all.
        negative: likewise; None draws without real guidance, as ``true_cfg`` 1 does.
        seeds: of each row's noise.
        options: how.
        start: noise in place of the seeds' own, see `noise`.

    Raises:
        UsageError: numbers of texts and seeds do not go together.
        DamagedInputError: the weights make NaN.
        DeviceFullError: the device has too little memory.
    """
    first = noise(seeds, options.width, options.height) if start is None else start
    try:
        return decode(models, denoise(models, positive, negative, first, options))
    except torch.OutOfMemoryError as error:
        raise DeviceFullError(
            f"{models.device} is out of memory with {len(first)} pictures of {options.width} x {options.height};"
            " lower --batch (flux.batch in a recipe), or set --precision fp8"
        ) from error


@torch.no_grad()
def denoise(
    models: FluxModels,
    positive: Sequence[Conditioning],
    negative: Sequence[Conditioning] | None,
    start: Tensor,
    options: SamplingOptions,
) -> Tensor:
    """Latents (N, 16, H / 8, W / 8) float32 on the device, of noise ``start`` of that shape."""
    count, levels = len(start), options.sigmas
    rows = _for_each(positive, count, "positive")
    guided = options.uses_negative and negative is not None
    pos = _Batch(models, rows, options)
    both = _Batch(models, _for_each(negative or (), count, "negative") + rows, options) if guided else pos
    # of a picture that begins late there is no image below the noise: latents of zero
    x = pack(start).to(models.device, torch.float32) * levels[0]
    with _cache(models, options.cache_threshold):
        for step, (now, then) in enumerate(itertools.pairwise(levels)):
            if guided and step >= options.cfg_from_step:
                without, with_text = both(x.repeat(2, 1, 1), now, "both").chunk(2)
                velocity = without + options.true_cfg * (with_text - without)
            else:
                velocity = pos(x, now, "positive")
            x = x + (then - now) * velocity
    return unpack(x, options.height, options.width)


@torch.no_grad()
def decode(models: FluxModels, latents: Tensor) -> RGB:
    """Pictures (N, H, W, 3) uint8 of latents, one by one: memory stays low, and rows do not meet.

    Raises:
        DamagedInputError: they are not finite.
    """
    vae: Any = models.vae
    like = next(vae.parameters())
    pictures = []
    for row in latents.split(1):
        if not bool(row.isfinite().all()):
            raise DamagedInputError(
                "the transformer gave NaN or infinity; check the weights and adapters, or draw with --precision fp32"
            )
        scaled = row / vae.config.scaling_factor + vae.config.shift_factor
        image = vae.decode(scaled.to(like.device, like.dtype), return_dict=False)[0]
        levels = (image.float() / 2 + 0.5).clamp(0, 1).mul(255).round().to(torch.uint8)
        pictures.append(levels[0].permute(1, 2, 0).cpu().numpy())
    return np.stack(pictures)


class _Batch:
    """Forwards of rows whose texts stay the same."""

    def __init__(self, models: FluxModels, rows: Sequence[Conditioning], options: SamplingOptions) -> None:
        self._models, (pooled, tokens, mask) = models, stack(rows)
        device, dtype = models.device, models.dtype
        image = places(options.width, options.height)
        self._given: dict[str, Any] = {
            "pooled_projections": pooled.to(device, dtype),
            "encoder_hidden_states": tokens.to(device, dtype),
            "txt_ids": torch.zeros(tokens.shape[1], 3, device=device),
            "img_ids": image.to(device),
            "return_dict": False,
        }
        transformer: Any = models.transformer
        if transformer.config.guidance_embeds:
            self._given["guidance"] = torch.full((len(rows),), options.guidance, device=device)
        if mask is not None:
            whole = torch.ones(len(rows), len(image), dtype=torch.bool, device=mask.device)
            self._given["joint_attention_kwargs"] = {
                "attention_mask": torch.cat([mask, whole], 1)[:, None, None].to(device)
            }

    def __call__(self, x: Tensor, sigma: float, name: str) -> Tensor:
        transformer: Any = self._models.transformer
        level = torch.full((len(x),), sigma, device=x.device).to(self._models.dtype)
        with transformer.cache_context(name):
            found: Tensor = transformer(hidden_states=x.to(self._models.dtype), timestep=level, **self._given)[0]
        return found.float()


def _for_each(rows: Sequence[Conditioning], count: int, what: str) -> list[Conditioning]:
    if len(rows) not in (1, count):
        raise UsageError(f"{len(rows)} {what} texts go with {count} seeds; allowed: one, or one each")
    return list(rows) * (count if len(rows) == 1 else 1)


@contextlib.contextmanager
def _cache(models: FluxModels, threshold: float) -> Iterator[None]:
    if not threshold:
        yield
        return
    from diffusers import FirstBlockCacheConfig

    transformer: Any = models.transformer
    transformer.enable_cache(FirstBlockCacheConfig(threshold=threshold))
    try:
        yield
    finally:
        transformer.disable_cache()
