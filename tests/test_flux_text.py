"""Texts to pooled vectors and tokens: once each, padded as a tool pads them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch

from thermvision.annotations.errors import MissingDependencyError
from thermvision.generation.engines.flux.models import FluxModels
from thermvision.generation.engines.flux.random_models import tiny_models
from thermvision.generation.engines.flux.text import Conditioning, cut_notes, encode, stack
from thermvision.generation.engines.threads import one_thread

FACE = ("a thermal face of a man", "a thermal face of a man")


@pytest.fixture(scope="module")
def models() -> Iterator[FluxModels]:
    with one_thread():
        yield tiny_models()


def test_each_distinct_pair_is_encoded_once(models: FluxModels):
    calls: list[int] = []
    assert models.t5 is not None
    hook = models.t5.register_forward_hook(lambda *_: calls.append(1))
    other = (FACE[0], "a white face")
    found = encode(models, [FACE, other, FACE])
    hook.remove()
    assert len(calls) == 2
    assert found[0] is found[2]
    # CLIP-L read the same words, T5 did not
    assert torch.equal(found[0].pooled, found[1].pooled)
    assert found[0].tokens.shape != found[1].tokens.shape


def test_texts_are_as_long_as_the_padding_says(models: FluxModels):
    real = len(models.t5_tokenizer(FACE[1]).input_ids)  # type: ignore[misc]
    (trimmed,), (padded,), (masked,) = (
        encode(models, [FACE]), encode(models, [FACE], 32), encode(models, [FACE], 32, True)
    )  # fmt: skip
    assert trimmed.tokens.shape == (1, real, 32)
    assert trimmed.mask is None
    assert trimmed.pooled.shape == (1, 64)
    assert padded.tokens.shape == masked.tokens.shape == (1, 32, 32)
    assert padded.mask is None
    assert masked.mask is not None
    assert masked.mask.sum() == real
    # T5 that does not look at padding gives what it gives without any; looking at it changes the words
    torch.testing.assert_close(masked.tokens[:, :real], trimmed.tokens, atol=5e-6, rtol=0)
    assert (padded.tokens[:, :real] - trimmed.tokens).abs().max() > 1e-3


def test_it_equals_the_stock_encoding(models: FluxModels):
    from diffusers import FlowMatchEulerDiscreteScheduler, FluxPipeline

    pipe = FluxPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(), vae=models.vae, text_encoder=models.clip,
        tokenizer=models.clip_tokenizer, text_encoder_2=models.t5, tokenizer_2=models.t5_tokenizer,
        transformer=models.transformer,
    )  # fmt: skip
    with torch.no_grad():
        tokens, pooled, _ = pipe.encode_prompt(prompt=FACE[0], prompt_2=FACE[1], max_sequence_length=64)
    (ours,) = encode(models, [FACE], 64)
    assert torch.equal(ours.tokens, tokens)
    assert torch.equal(ours.pooled, pooled)


def test_long_texts_grow_or_are_cut_and_that_is_said(models: FluxModels):
    words = " ".join(["face"] * 100)
    (cut,), (grown,) = encode(models, [(words, words)], 32), encode(models, [(words, words)], 32, grows=True)
    assert cut.tokens.shape[1] == 32
    assert cut.cut == (102 - 77, 101 - 32)
    assert grown.tokens.shape[1] == 101
    assert grown.cut == (25, 0)
    notes = cut_notes([(words, words), FACE], [cut, *encode(models, [FACE], 32)])
    assert len(notes) == 2
    assert notes[0].startswith("CLIP-L does not see the last 25 tokens of 'face face")


def test_rows_of_unequal_length_are_padded_and_masked():
    rows = [Conditioning(torch.ones(1, 3), torch.full((1, n, 2), float(n))) for n in (2, 4)]
    pooled, tokens, mask = stack(rows)
    assert pooled.shape == (2, 3)
    assert tokens.shape == (2, 4, 2)
    assert mask is not None
    assert mask.tolist() == [[True, True, False, False], [True] * 4]
    assert tokens[0, 2:].abs().max() == 0
    assert stack([rows[1], rows[1]])[2] is None
    own = Conditioning(torch.ones(1, 3), torch.ones(1, 2, 2), torch.tensor([[True, False]]))
    found: Any = stack([own, rows[1]])[2]
    assert found.tolist() == [[True, False, False, False], [True] * 4]


def test_without_encoders_nothing_is_encoded():
    models = tiny_models()
    models.t5 = None
    with pytest.raises(MissingDependencyError, match="with_text=True"):
        encode(models, [FACE])
