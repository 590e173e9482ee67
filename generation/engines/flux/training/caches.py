"""What is computed once before training: the latents of every picture and the conditioning of every caption.

Entries are named by what they are made of (contents, sizes, digests of the networks), so one that exists is right
whenever it can be read, and several processes and runs may share a folder.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from thermvision.annotations.errors import DamagedInputError, ThermVisionError
from thermvision.curation.store import canonical_json, sha256_bytes
from thermvision.generation.engines.flux.tensor_files import read_tensors, write_tensors
from thermvision.generation.engines.flux.text import MOST_TOKENS, Conditioning, cut_notes, encode

from .buckets import fit
from .captions import Example, read_pixels

if TYPE_CHECKING:
    from thermvision.generation.engines.flux.models import FluxModels

_VERSION = 1  # of how entries are made


class Cache:
    """Tensors by key, in a folder, or in memory where ``folder`` is None.

    >>> cache = Cache(None)
    >>> cache.put("a", {"x": torch.ones(2)})
    >>> cache.get("a")["x"].tolist(), cache.get("b")
    ([1.0, 1.0], None)
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._held: dict[str, dict[str, Tensor]] = {}

    def get(self, key: str) -> dict[str, Tensor] | None:
        """The entry, or None where there is none that can be read."""
        if self._folder is None:
            return self._held.get(key)
        path = self._path(key)
        try:
            return read_tensors(path) if path.is_file() else None
        except ThermVisionError:
            return None  # it is made anew

    def put(self, key: str, tensors: dict[str, Tensor]) -> None:
        """Keep an entry."""
        if self._folder is None:
            self._held[key] = {name: tensor.detach().cpu() for name, tensor in tensors.items()}
        else:
            write_tensors(self._path(key), tensors)

    def _path(self, key: str) -> Path:
        assert self._folder is not None
        return self._folder / f"{key}.safetensors"


class Prepared:
    """Latents and texts of a training set.

    Args:
        latents: cache of latents.
        texts: cache of captions.
        digests: of the networks, by part.
        masked: whether the text's padding is masked, that is, left out.
        dtype: type of the texts.
    """

    def __init__(self, latents: Cache, texts: Cache, digests: dict[str, str], masked: bool, dtype: torch.dtype) -> None:
        self._latents, self._texts = latents, texts
        self._vae, self._text = digests.get("vae", ""), [digests.get("clip_l", ""), digests.get("t5", "")]
        self._masked, self._dtype = masked, dtype

    def fill(
        self, models: FluxModels, examples: Sequence[Example], report: Callable[[str], None] | None = None
    ) -> list[str]:
        """Make the entries that are not there; returns what captions lost."""
        captions = list(dict.fromkeys(e.caption for e in examples))
        missing = [c for c in captions if self._texts.get(self._text_key(c)) is None]
        notes = []
        for number, caption in enumerate(missing):
            row = encode(models, [(caption, caption)], "trim" if self._masked else MOST_TOKENS)[0]
            notes += cut_notes([(caption, caption)], [row])
            self._texts.put(self._text_key(caption), {"pooled": row.pooled, "tokens": row.tokens})
            _say(report, "captions", number + 1, len(missing))
        absent = {self._latent_key(e): e for e in examples if self._latents.get(self._latent_key(e)) is None}
        for number, (key, example) in enumerate(absent.items()):
            self._latents.put(
                key, {"latents": encode_picture(models, fit(read_pixels(example.path), example.placement))}
            )
            _say(report, "pictures", number + 1, len(absent))
        return notes

    def latents(self, examples: Iterable[Example]) -> Tensor:
        """(B, 16, h / 8, w / 8) float32 on the CPU."""
        return torch.stack([self._found(self._latents, self._latent_key(e))["latents"] for e in examples])

    def texts(self, examples: Iterable[Example]) -> list[Conditioning]:
        """The conditioning of each example's caption, on the CPU."""
        rows = [self._found(self._texts, self._text_key(e.caption)) for e in examples]
        return [Conditioning(row["pooled"], row["tokens"]) for row in rows]

    def _found(self, cache: Cache, key: str) -> dict[str, Tensor]:
        entry = cache.get(key)
        if entry is None:
            raise DamagedInputError(f"the cache entry {key} is gone or broken; run the same command with --resume")
        return entry

    def _latent_key(self, example: Example) -> str:
        place = example.placement
        return _key("latents", example.sha256, place.bucket, place.resized, self._vae)

    def _text_key(self, caption: str) -> str:
        return _key("text", caption, self._masked, str(self._dtype), *self._text)


def _key(*parts: Any) -> str:
    return sha256_bytes(canonical_json([_VERSION, *parts]).encode())[:40]


def _say(report: Callable[[str], None] | None, what: str, done: int, total: int) -> None:
    if report and (done == total or done % 100 == 0):
        report(f"{done} of {total} {what} encoded")


@torch.no_grad()
def encode_picture(models: FluxModels, pixels: np.ndarray[Any, np.dtype[np.uint8]]) -> Tensor:
    """Latents (16, H / 8, W / 8) float32 of a picture (H, W, 3): the mean of what the autoencoder gives, scaled.

    The mean rather than a draw: the spread is far below the pictures' own noise, and a cache stays the same.
    """
    vae: Any = models.vae
    like = next(vae.parameters())
    image = torch.from_numpy(pixels).permute(2, 0, 1)[None].to(like.device, like.dtype) / 127.5 - 1
    latents = vae.encode(image).latent_dist.mode().float()
    scaled: Tensor = (latents - vae.config.shift_factor) * vae.config.scaling_factor
    return scaled[0].cpu()
