"""Training of the face detector."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from .compositor import FACES, IGNORED, SHAPE, compose
from .corpus import open_corpus
from .networks import STRIDE
from .pool import Chunk, MakeChunk, batches

_CHUNK = 256
_CORE = 0.45  # of a face's bell: cells above it answer for the box
_POINT_WEIGHT = 1.0


def prepare(corpus: Path, splits: tuple[str, ...]) -> MakeChunk:
    """What makes chunks of pictures of the corpus's ``splits``."""
    opened = open_corpus(corpus)
    rows = opened.rows(*splits, facing=False)

    def make(rng: np.random.Generator) -> Chunk:
        pictures = [compose(opened, rows, rng) for _ in range(_CHUNK)]
        return {
            "image": np.stack([p.image for p in pictures]),
            "boxes": np.stack([_padded(p.boxes, FACES) for p in pictures]),
            "points": np.stack([_padded(p.points.reshape(-1, 10), FACES) for p in pictures]),
            "ignored": np.stack([_padded(p.ignored, IGNORED) for p in pictures]),
            "black_hot": np.array([p.black_hot for p in pictures], np.float32),
        }

    return make


def samples(corpus: Path, splits: tuple[str, ...], seed: int, size: int, workers: int) -> Iterator[Chunk]:
    """Batches of pictures with labels; rows of labels that are not used are NaN."""
    return batches(prepare, (corpus, splits), seed, size, workers)


def _padded(rows: NDArray[np.float32], count: int) -> NDArray[np.float32]:
    padded = np.full((count, rows.shape[1]), np.nan, np.float32)
    padded[: len(rows)] = rows[:count]
    return padded


def targets(batch: dict[str, Tensor]) -> dict[str, Tensor]:
    """The maps that a batch asks for, at a quarter of its size.

    Returns:
        heat (N, h, w): a bell on each face, 1 at its cell; weight (N, h, w): how much a cell counts for its box, one a
        face in sum; sides (N, 4, h, w) and points (N, 10, h, w): of the smallest face whose core a cell lies in; valid
        (N, h, w): 0 where a detection is neither right nor wrong.
    """
    boxes, points = batch["boxes"], batch["points"]
    n, _, _ = boxes.shape
    h, w = batch["image"].shape[1] // STRIDE, batch["image"].shape[2] // STRIDE
    device = boxes.device
    x = torch.arange(w, device=device) * STRIDE + STRIDE / 2
    y = (torch.arange(h, device=device) * STRIDE + STRIDE / 2)[:, None]
    heat, weight = torch.zeros(n, h, w, device=device), torch.zeros(n, h, w, device=device)
    sides, offsets = torch.ones(n, 4, h, w, device=device), torch.zeros(n, 10, h, w, device=device)
    area = (boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1])
    order = torch.nan_to_num(area, nan=-1).argsort(1, descending=True)  # small faces are drawn last
    for k in range(boxes.shape[1]):
        pick = order[:, k]
        box = boxes[torch.arange(n), pick]
        five = points[torch.arange(n), pick].view(n, 5, 2)
        there = ~box[:, 0].isnan()
        box, five = torch.nan_to_num(box), torch.nan_to_num(five)
        left, top, right, bottom = (v[:, None, None] for v in box.unbind(1))
        centre_x = ((left + right) / 2).div(STRIDE, rounding_mode="floor").clamp(0, w - 1) * STRIDE + STRIDE / 2
        centre_y = ((top + bottom) / 2).div(STRIDE, rounding_mode="floor").clamp(0, h - 1) * STRIDE + STRIDE / 2
        wide, high = ((right - left) / 10).clamp(min=2.2), ((bottom - top) / 10).clamp(min=2.2)
        bell = torch.exp(-0.5 * ((x - centre_x) / wide) ** 2 - 0.5 * ((y - centre_y) / high) ** 2)
        bell = bell * there[:, None, None]
        heat = torch.maximum(heat, bell)
        core = ((bell > _CORE) & (x > left) & (x < right) & (y > top) & (y < bottom)) | (bell > 0.999)
        weight = torch.where(core, bell / (bell * core).sum((1, 2), keepdim=True).clamp(min=1e-6), weight)
        distances = [(x - left).expand(n, h, w), (y - top).expand(n, h, w), (right - x).expand(n, h, w),
                     (bottom - y).expand(n, h, w)]  # fmt: skip
        sides = torch.where(core[:, None], torch.stack(distances, 1).clamp(min=0.5), sides)
        grid = torch.stack([x.expand(h, w), y.expand(h, w)])[None, None]
        towards = (five[:, :, :, None, None] - grid).reshape(n, 10, h, w)
        offsets = torch.where(core[:, None], towards, offsets)
    return {"heat": heat, "weight": weight, "sides": sides, "points": offsets, "valid": _valid(batch["ignored"], heat)}


def _valid(ignored: Tensor, heat: Tensor) -> Tensor:
    h, w = heat.shape[1:]
    x = torch.arange(w, device=heat.device) * STRIDE + STRIDE / 2
    y = (torch.arange(h, device=heat.device) * STRIDE + STRIDE / 2)[:, None]
    valid = torch.ones_like(heat)
    for box in ignored.unbind(1):
        left, top, right, bottom = (v[:, None, None] for v in box.unbind(1))  # comparisons with NaN are false
        valid = valid * ~((x > left) & (x < right) & (y > top) & (y < bottom))
    return torch.where(heat > 0.999, torch.ones_like(valid), valid)


def losses(net: nn.Module, batch: dict[str, Tensor]) -> dict[str, Tensor]:
    """What a batch is graded by: peaks, boxes, points, polarity.

    Focal loss of the peaks (H. Law and J. Deng, "CornerNet", ECCV 2018), generalised IoU of the boxes (H. Rezatofighi
    et al., CVPR 2019), distance of the points in parts of the box, cross-entropy of the polarity.
    """
    logits, sides, points, polarity = net(batch["image"][:, None].float())
    aim = targets(batch)
    heat, p = aim["heat"], torch.sigmoid(logits).clamp(1e-4, 1 - 1e-4)
    peak = heat > 0.999
    count = peak.sum().clamp(min=1)
    rest = (1 - heat) ** 4 * p**2 * torch.log(1 - p) * aim["valid"]
    focal = -torch.where(peak, (1 - p) ** 2 * torch.log(p), rest).sum() / count
    overlap = (aim["weight"] * (1 - generalised_iou(sides, aim["sides"]))).sum() / count
    unit = (aim["sides"][:, 0] + aim["sides"][:, 2] + aim["sides"][:, 1] + aim["sides"][:, 3]) / 2
    apart = (points - aim["points"]).abs().mean(1) / unit.clamp(min=1)
    return {
        "peaks": focal,
        "boxes": 2 * overlap,
        "points": _POINT_WEIGHT * 10 * (aim["weight"] * apart).sum() / count,
        "polarity": 0.3 * F.binary_cross_entropy_with_logits(polarity, batch["black_hot"]),
    }


def generalised_iou(a: Tensor, b: Tensor) -> Tensor:
    """Of boxes (N, 4, ...) given as distances left, top, right, bottom from the same point: (N, ...)."""
    both = (torch.minimum(a[:, 0], b[:, 0]) + torch.minimum(a[:, 2], b[:, 2])) * (
        torch.minimum(a[:, 1], b[:, 1]) + torch.minimum(a[:, 3], b[:, 3])
    )
    around = (torch.maximum(a[:, 0], b[:, 0]) + torch.maximum(a[:, 2], b[:, 2])) * (
        torch.maximum(a[:, 1], b[:, 1]) + torch.maximum(a[:, 3], b[:, 3])
    )
    either = (a[:, 0] + a[:, 2]) * (a[:, 1] + a[:, 3]) + (b[:, 0] + b[:, 2]) * (b[:, 1] + b[:, 3]) - both
    return both / either.clamp(min=1e-6) - (around - either) / around.clamp(min=1e-6)


class Exported(nn.Module):
    """The detector as it is shipped: peaks are found within the graph."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Score (N, h, w), zero off the peaks; box (N, 4, h, w); points (N, 10, h, w); black_hot (N,)."""
        logits, sides, points, polarity = self.net(image)
        score = torch.sigmoid(logits)
        highest = F.max_pool2d(score[:, None], 3, 1, 1)[:, 0]
        return score * (score >= highest), sides, points, torch.sigmoid(polarity)


EXPORT: dict[str, Any] = {
    "inputs": {"image": (1, 1, *SHAPE)},
    "outputs": ("score", "box", "points", "black_hot"),
    "free": {"image": {0: "n", 2: "height", 3: "width"}},
}
