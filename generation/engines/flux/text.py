"""What texts say to FLUX: a pooled vector of CLIP-L and a row of T5 tokens, computed once for each distinct text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from thermvision.annotations.errors import MissingDependencyError

if TYPE_CHECKING:
    from thermvision.generation.engines.flux.models import FluxModels

MOST_TOKENS = 512  # of T5, in training and in the stock pipeline
CLIP_TOKENS = 77
Texts = tuple[str, str]  # for CLIP-L and for T5


@dataclass(frozen=True, eq=False)
class Conditioning:
    """One text, encoded.

    >>> from thermvision.generation.engines.flux.random_models import tiny_models
    >>> (face,) = encode(tiny_models(), [("a face", "a face")])
    >>> face.pooled.shape, face.tokens.shape
    (torch.Size([1, 64]), torch.Size([1, 3, 32]))

    Attributes:
        pooled: (1, P) of CLIP-L.
        tokens: (1, L, D) of T5.
        mask: (1, L) bool, true where a token counts; None where all do.
        cut: how many tokens were too many for CLIP-L and for T5 and are not in it.
    """

    pooled: Tensor
    tokens: Tensor
    mask: Tensor | None = None
    cut: tuple[int, int] = (0, 0)


def encode(
    models: FluxModels,
    prompts: Sequence[Texts],
    padding: int | Literal["trim"] = "trim",
    masked: bool = False,
    *,
    grows: bool = False,
) -> list[Conditioning]:
    """The conditioning of each pair of texts; a pair that comes twice is encoded once.

    Args:
        models: with both text encoders.
        prompts: texts for CLIP-L and for T5.
        padding: T5 tokens that texts are padded to and cut at. "trim" takes them as they are, up to 512, which equals
            padding with a mask: all positions of text are the same to FLUX.
        masked: T5 does not look at padding, and the transformer must not either.
        grows: longer texts get more tokens than ``padding``.

    Raises:
        MissingDependencyError: the models were loaded without text encoders.
    """
    if models.clip is None or models.t5 is None:
        raise MissingDependencyError("the text encoders were not loaded; load them with with_text=True")
    found: dict[Texts, Conditioning] = {}
    for pair in prompts:
        if pair not in found:
            pooled, clip_cut = _pooled(models, pair[0])
            tokens, mask, t5_cut = _tokens(models, pair[1], padding, masked, grows)
            found[pair] = Conditioning(pooled, tokens, mask, (clip_cut, t5_cut))
    return [found[pair] for pair in prompts]


def stack(rows: Sequence[Conditioning]) -> tuple[Tensor, Tensor, Tensor | None]:
    """Rows as one batch: pooled (N, P), tokens (N, L, D) and a mask (N, L), None where every token counts.

    Rows of unequal length are padded with zeros, which the mask hides.
    """
    longest = max(row.tokens.shape[1] for row in rows)
    pooled = torch.cat([row.pooled for row in rows])
    tokens = torch.cat([torch.nn.functional.pad(r.tokens, (0, 0, 0, longest - r.tokens.shape[1])) for r in rows])
    if all(row.mask is None and row.tokens.shape[1] == longest for row in rows):
        return pooled, tokens, None
    masks = [torch.ones(r.tokens.shape[:2], dtype=torch.bool) if r.mask is None else r.mask.cpu() for r in rows]
    mask = torch.cat([torch.nn.functional.pad(m, (0, longest - m.shape[1]), value=False) for m in masks])
    return pooled, tokens, mask.to(tokens.device)


def cut_notes(prompts: Sequence[Texts], encoded: Sequence[Conditioning]) -> list[str]:
    """One line for each text that lost its end."""
    notes = {}
    for (clip, t5), row in zip(prompts, encoded, strict=True):
        for text, lost, model in ((clip, row.cut[0], "CLIP-L"), (t5, row.cut[1], "T5")):
            if lost:
                notes[model, text] = f"{model} does not see the last {lost} tokens of {text[:40]!r}…; make it shorter"
    return list(notes.values())


@torch.no_grad()
def _pooled(models: FluxModels, text: str) -> tuple[Tensor, int]:
    clip: Any = models.clip
    tokenize: Any = models.clip_tokenizer
    whole = len(tokenize(text, verbose=False).input_ids)
    ids = tokenize(text, padding="max_length", max_length=CLIP_TOKENS, truncation=True, return_tensors="pt").input_ids
    pooled = clip(ids.to(_device_of(clip)), output_hidden_states=False).pooler_output
    return pooled.to(models.device, models.dtype), max(0, whole - CLIP_TOKENS)


@torch.no_grad()
def _tokens(
    models: FluxModels, text: str, padding: int | Literal["trim"], masked: bool, grows: bool
) -> tuple[Tensor, Tensor | None, int]:
    t5: Any = models.t5
    tokenize: Any = models.t5_tokenizer
    whole = len(tokenize(text, verbose=False).input_ids)
    if padding == "trim":
        given = tokenize(text, max_length=MOST_TOKENS, truncation=True, return_tensors="pt")
        length = MOST_TOKENS
    else:
        length = max(padding, whole) if grows else padding
        given = tokenize(text, padding="max_length", max_length=length, truncation=True, return_tensors="pt")
    device = _device_of(t5)
    hides = masked and padding != "trim"
    mask = given.attention_mask.to(device) if hides else None
    tokens = t5(given.input_ids.to(device), attention_mask=mask, output_hidden_states=False)[0]
    kept = None if mask is None else mask.bool().to(models.device)
    return tokens.to(models.device, models.dtype), kept, max(0, whole - length)


def _device_of(module: torch.nn.Module) -> torch.device:
    return next(module.parameters()).device
