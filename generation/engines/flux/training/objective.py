"""The loss of a batch: how far the network's velocity is from noise minus picture (rectified flow, Liu et al. 2023)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from thermvision.generation.engines.flux.sampling import LATENT, pack, places
from thermvision.generation.engines.flux.text import Conditioning, stack
from thermvision.generation.flux_tables import LoraTable

from .timesteps import draw_sigmas, loss_weights, prediction


def batch_loss(
    transformer: Any,
    table: LoraTable,
    latents: Tensor,
    texts: Sequence[Conditioning],
    generator: torch.Generator,
    device: torch.device,
    dtype: torch.dtype,
) -> Tensor:
    """Mean squared error, float32, of one forward.

    Args:
        transformer: of diffusers, with the adapter.
        table: says which noise levels are drawn and what the output stands for.
        latents: (B, 16, h, w) float32.
        texts: B rows; of unequal lengths the shorter are padded and masked.
        generator: on the CPU, of the noise and its levels, so that they are the same on any device.
        device: of the transformer.
        dtype: it computes in.
    """
    count, _, h, w = latents.shape
    width, height = w * LATENT, h * LATENT
    sigmas = draw_sigmas(table, count, (width, height), generator)
    noise = torch.randn(latents.shape, generator=generator)
    mixed = torch.lerp(latents, noise, sigmas.view(-1, 1, 1, 1))
    noisy, target, sigmas = pack(mixed).to(device), pack(noise - latents).to(device), sigmas.to(device)
    pooled, tokens, mask = stack(texts)
    image = places(width, height).to(device)
    given: dict[str, Any] = {}
    if transformer.config.guidance_embeds:
        given["guidance"] = torch.full((count,), table.train_guidance, device=device)
    if mask is not None:
        whole = torch.ones(count, len(image), dtype=torch.bool, device=mask.device)
        given["joint_attention_kwargs"] = {"attention_mask": torch.cat([mask, whole], 1)[:, None, None].to(device)}
    output = transformer(
        hidden_states=noisy.to(dtype),
        timestep=sigmas.to(dtype),
        pooled_projections=pooled.to(device, dtype),
        encoder_hidden_states=tokens.to(device, dtype),
        txt_ids=torch.zeros(tokens.shape[1], 3, device=device),
        img_ids=image,
        return_dict=False,
        **given,
    )[0]
    errors = (prediction(table, output.float(), noisy, sigmas) - target).square().mean((1, 2))
    weights = loss_weights(table, sigmas)
    return (errors if weights is None else errors * weights).mean()
