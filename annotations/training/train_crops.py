"""Training of the three models that look at face crops: landmarker, attributes, embedder."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from thermvision.annotations import attributes, landmarker
from thermvision.annotations.schema import OUTSIDE, VISIBLE

from .corpus import CLASSES, UNKNOWN, Corpus, open_corpus
from .crops import Crop, aligned_crop, box_crop
from .networks import ATTRIBUTE_SIZES
from .pool import Chunk, MakeChunk, batches

_CHUNK = 512
_UNSEEN_WEIGHT = 0.4  # of a landmark behind something, against one in view
ARC_SCALE, ARC_MARGIN = 24.0, 0.25


def prepare(corpus: Path, splits: tuple[str, ...], kind: str) -> MakeChunk:
    """What makes chunks of crops of ``kind`` "landmarker", "attributes" or "embedder" of the corpus's ``splits``."""
    opened = open_corpus(corpus)
    rows = opened.rows(*splits)
    margin = landmarker.MARGIN if kind == "landmarker" else attributes.MARGIN
    people = {person: number for number, person in enumerate(np.unique(opened.identity[rows]))}
    crop = aligned_crop if kind == "embedder" else partial(box_crop, margin=margin, plain=kind == "attributes")
    odds = _evened(opened, rows) if kind == "attributes" else None

    def make(rng: np.random.Generator) -> Chunk:
        crops: list[Crop] = [crop(opened, int(row), rng) for row in rng.choice(rows, _CHUNK, p=odds)]
        chunk = {"image": np.stack([c.image for c in crops])}
        if kind == "embedder":
            return chunk | {"person": np.array([people[c.identity] for c in crops])}
        if kind == "attributes":
            return chunk | {"classes": np.stack([c.classes for c in crops]).astype(np.int64)}
        return chunk | {
            "landmarks": np.stack([c.landmarks for c in crops]),
            "state": np.stack([c.state for c in crops]).astype(np.int64),
            "pose": np.stack([c.pose for c in crops]),
            "openness": np.stack([c.openness for c in crops]),
        }

    return make


def _evened(corpus: Corpus, rows: NDArray[np.int64]) -> NDArray[np.float64]:
    """How often each row (N,) is drawn so that rare values of every attribute are seen as well."""
    odds = np.ones(len(rows))
    for values in corpus.classes[rows].T:
        counts = np.bincount(values - UNKNOWN)
        # the root: rare values come more often, but not the same few frames all the time
        odds *= np.sqrt(len(rows) / counts[values - UNKNOWN])
    return odds / odds.sum()


def samples(corpus: Path, splits: tuple[str, ...], kind: str, seed: int, size: int, workers: int) -> Iterator[Chunk]:
    """Batches of crops with their labels."""
    return batches(prepare, (corpus, splits, kind), seed, size, workers)


def landmarker_losses(net: nn.Module, batch: dict[str, Tensor]) -> dict[str, Tensor]:
    """Laplace likelihood of the landmarks with the spread the network claims, states, pose, openness."""
    points, spread, state, pose, openness = net(batch["image"][:, None].float())
    known = batch["state"]
    weight = torch.where(known == VISIBLE, 1.0, _UNSEEN_WEIGHT) * (known != OUTSIDE)
    apart = (points - batch["landmarks"]).abs().sum(2)
    # the claimed spread is fitted to the errors, but must not make hard points unimportant
    likelihood = apart.detach() * torch.exp(-spread) + 2 * spread
    seen = (known != OUTSIDE).flatten()
    return {
        "landmarks": (weight * apart).sum() / weight.sum() * 0.5,
        "spread": 0.05 * (weight * likelihood).sum() / weight.sum(),
        "states": 0.5 * F.cross_entropy(state.flatten(0, 1)[seen], known.flatten()[seen] - 1),
        "pose": (pose - batch["pose"]).abs().mean() * 0.1,
        "openness": (openness - batch["openness"]).abs().mean() * 3,
    }


def attribute_losses(net: nn.Module, batch: dict[str, Tensor]) -> dict[str, Tensor]:
    """Cross-entropy of every attribute; a class that is not known counts for nothing."""
    found, parts = net(batch["image"][:, None].float()), {}
    for name in ATTRIBUTE_SIZES:
        known = batch["classes"][:, CLASSES.index(name)]
        total = F.cross_entropy(found[name], known, ignore_index=UNKNOWN, reduction="sum")
        parts[name] = total / (known != UNKNOWN).sum().clamp(min=1)
    return parts


class Recognition(nn.Module):
    """An embedder with one direction a person to be told apart by; only the embedder is kept."""

    def __init__(self, embedder: nn.Module, people: int) -> None:
        super().__init__()
        self.embedder = embedder
        self.directions = nn.Parameter(torch.randn(people, 128) * 0.1)

    def forward(self, crop: Tensor) -> Tensor:
        return F.linear(self.embedder(crop), F.normalize(self.directions))


def embedder_losses(net: nn.Module, batch: dict[str, Tensor]) -> dict[str, Tensor]:
    """Additive angular margin. J. Deng et al., "ArcFace", CVPR 2019."""
    cosine = net(batch["image"][:, None].float()).float().clamp(-1 + 1e-6, 1 - 1e-6)
    own = F.one_hot(batch["person"], cosine.shape[1]).bool()
    harder = torch.where(own, torch.cos(torch.acos(cosine) + ARC_MARGIN), cosine)
    return {"identity": F.cross_entropy(ARC_SCALE * harder, batch["person"])}


class ExportedLandmarker(nn.Module):
    """The landmarker as it is shipped."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, crop: Tensor) -> tuple[Tensor, ...]:
        """Points (N, 68, 2) and spread (N, 68) in crop pixels, state (N, 68, 3), pose (N, 3), openness (N, 2)."""
        points, spread, state, pose, openness = self.net(crop)
        # the standard deviation of a Laplace distribution is the root of two times its scale
        return points, torch.exp(spread) * 2**0.5, state.softmax(2), pose, openness.clamp(min=0)


class ExportedAttributes(nn.Module):
    """The attributes as they are shipped: probabilities, one output an attribute."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, crop: Tensor) -> tuple[Tensor, ...]:
        """(N, C) probabilities in the order of `networks.ATTRIBUTE_SIZES`."""
        return tuple(logits.softmax(1) for logits in self.net(crop).values())


CROP: dict[str, Any] = {"inputs": {"crop": (1, 1, landmarker.SIZE, landmarker.SIZE)}, "free": {"crop": {0: "n"}}}
