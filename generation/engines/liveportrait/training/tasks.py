"""What is trained in each module: networks, batches, losses and held-out figures put together."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from thermvision.annotations.errors import UsageError
from thermvision.generation.engines.liveportrait.keypoints import (
    MotionInfo,
    place_keypoints,
    rotation_matrix,
    transform_keypoints,
)
from thermvision.generation.engines.liveportrait.networks import Networks
from thermvision.generation.engines.liveportrait.tensors import INPUT_SIZE
from thermvision.generation.engines.liveportrait.training.clips import Clips
from thermvision.generation.engines.liveportrait.training.decoder_losses import (
    DecoderWeights,
    decoder_figures,
    decoder_losses,
)
from thermvision.generation.engines.liveportrait.training.layers import open_layers
from thermvision.generation.engines.liveportrait.training.loop import Batch, Task
from thermvision.generation.engines.liveportrait.training.motion_losses import (
    MotionWeights,
    match_guide,
    motion_figures,
    motion_info,
    motion_losses,
)
from thermvision.generation.engines.liveportrait.training.pairs import (
    Rows,
    draw_pairs,
    draw_people,
    openness,
    pair_rows,
    pairs_batch,
    plain_crops,
)
from thermvision.generation.engines.liveportrait.training.retargeting_losses import (
    MOVED,
    RetargetingWeights,
    border_keypoints,
    distance,
    retargeting_parts,
    stitching_parts,
)

MEASURED_CROPS, MEASURED_PAIRS, MEASURED_MOVES = 256, 16, 512  # held-out frames and pairs at most
_CHUNK = 16  # crops at once outside of training
FRONTAL = 35.0  # degrees of yaw up to which 2-D ratios of eyes and lips are taken to be true


@dataclass(frozen=True)
class Weights:
    """Of the losses, by module."""

    motion: MotionWeights = field(default_factory=MotionWeights)
    decoder: DecoderWeights = field(default_factory=DecoderWeights)
    retargeting: RetargetingWeights = field(default_factory=RetargetingWeights)


def on_device(batch: Mapping[str, Tensor], networks: Networks) -> Batch:
    """The batch on the networks' device."""
    return {name: value.to(networks.device) for name, value in batch.items()}


def spread(rows: Rows, count: int) -> list[int]:
    """At most ``count`` of ``rows``, evenly spread.

    >>> spread(np.arange(10), 4)
    [0, 3, 6, 9]
    """
    at = np.unique(np.linspace(0, len(rows) - 1, min(count, len(rows))).round().astype(int))
    return [int(row) for row in rows[at]]


def motion_of(networks: Networks, clips: Clips, rows: Sequence[int], side: int, windows: bool) -> tuple[Batch, Batch]:
    """Plain crops of ``rows`` and the motion extractor's heads for them, without gradients, both on the device."""
    batches, answers = [], []
    for start in range(0, len(rows), _CHUNK):
        batch = on_device(plain_crops(clips, rows[start : start + _CHUNK], side, windows), networks)
        with torch.no_grad():
            answers.append(networks.motion(batch.pop("image")))
        batches.append(batch)
    return _joined(batches), _joined(answers)


def _joined(parts: Sequence[Batch]) -> Batch:
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def motion_task(
    networks: Networks, clips: Clips, layers: str, size: int, weights: MotionWeights, side: int = INPUT_SIZE
) -> Task:
    """The heads of the motion extractor."""
    parameters = open_layers(networks, "motion", layers)
    learned, held = clips.rows(held_out=False), spread(clips.rows(held_out=True), MEASURED_CROPS)
    start = copy.deepcopy(networks.motion).requires_grad_(False)
    matched, heads = motion_of(networks, clips, spread(learned, MEASURED_CROPS), side, windows=False)
    placed = transform_keypoints(motion_info(heads)).cpu().numpy()
    guide = match_guide(placed, matched["landmarks"].cpu().numpy()).to(networks.device)

    def sample(rng: np.random.Generator) -> Batch:
        return on_device(draw_people(clips, learned, size, rng, side), networks)

    def losses(batch: Batch) -> dict[str, Tensor]:
        with torch.no_grad():
            began = start(batch["image"])
        return motion_losses(networks.motion(batch["image"]), began, batch, guide, weights)

    def held_out() -> dict[str, float]:
        batch, heads = motion_of(networks, clips, held, side, windows=False)
        return motion_figures(heads, batch, guide)

    return Task(parameters, sample, losses, held_out)


def painted(networks: Networks, batch: Mapping[str, Tensor]) -> Tensor:
    """RGB (B, 3, 2n, 2n) in 0..1: each source moved like its driving frame, which shows the same person."""
    with torch.no_grad():
        volume = networks.appearance(batch["source"])
        source, driving = (motion_info(networks.motion(batch[name])) for name in ("source", "driving"))
        turn = rotation_matrix(driving.pitch, driving.yaw, driving.roll)
        moved = place_keypoints(source.kp, driving.exp, driving.scale, driving.t, turn)
        still = transform_keypoints(source)
    feature = networks.warping.warp(networks.warping.prepare(volume), still, moved)["out"]
    picture: Tensor = networks.spade(feature).float()
    return picture


def decoder_task(
    networks: Networks, clips: Clips, layers: str, size: int, weights: DecoderWeights, side: int = INPUT_SIZE
) -> Task:
    """The generator, and the warping where it is chosen; features and keypoints are as they are."""
    parameters = open_layers(networks, "decoder", layers)
    groups, held = _grouped(clips)
    fixed = draw_pairs(held, MEASURED_PAIRS, np.random.default_rng(0))

    def sample(rng: np.random.Generator) -> Batch:
        return on_device(pairs_batch(clips, draw_pairs(groups, size, rng), side, rng), networks)

    def losses(batch: Batch) -> dict[str, Tensor]:
        return decoder_losses(painted(networks, batch), batch["target"], batch["landmarks"], weights)

    def held_out() -> dict[str, float]:
        figures = []
        for start in range(0, len(fixed), 4):
            batch = on_device(pairs_batch(clips, fixed[start : start + 4], side), networks)
            figures.append(decoder_figures(painted(networks, batch), batch["target"]))
        return {name: float(np.mean([part[name] for part in figures])) for name in figures[0]}

    return Task(parameters, sample, losses, held_out)


def _grouped(clips: Clips) -> tuple[list[Rows], list[Rows]]:
    groups, held = (pair_rows(clips.clip, clips.rows(held_out)) for held_out in (False, True))
    if not groups or not held:
        raise UsageError("no clip has two frames that face the camera, to learn from and to hold out; raise --frames")
    return groups, held


@dataclass(frozen=True, eq=False)
class _Still:
    """The motion extractor's answer for every frame, on the device, and how far eyes and lips are open there."""

    info: MotionInfo
    eyes: Tensor
    lips: Tensor

    def at(self, rows: Sequence[int]) -> MotionInfo:
        names = MotionInfo.__dataclass_fields__
        return MotionInfo(**{name: getattr(self.info, name)[list(rows)] for name in names})


def driven(source: MotionInfo, first: MotionInfo, now: MotionInfo) -> Tensor:
    """Keypoints (B, 21, 3) of sources that move as drivers do from ``first`` to ``now``: relative motion of all."""
    turns = [rotation_matrix(info.pitch, info.yaw, info.roll) for info in (source, first, now)]
    rotation = turns[2] @ turns[1].transpose(1, 2) @ turns[0]
    scale = source.scale * now.scale / first.scale
    return place_keypoints(source.kp, source.exp + now.exp - first.exp, scale, source.t + now.t - first.t, rotation)


def retargeting_task(
    networks: Networks, clips: Clips, layers: str, size: int, weights: RetargetingWeights, side: int = INPUT_SIZE
) -> Task:
    """Stitching and the eye and lip perceptrons, on keypoints that the motion extractor finds once."""
    parameters = open_layers(networks, "retargeting", layers)
    chosen = ("stitching", "eye", "lip") if layers == "all" else (layers,)
    batch, heads = motion_of(networks, clips, range(len(clips)), side, windows=True)
    eyes, lips = (torch.from_numpy(values).to(networks.device) for values in openness(clips))
    still = _Still(motion_info(heads), eyes, lips)
    learned = clips.rows(held_out=False)
    placed = transform_keypoints(still.at(learned.tolist())).cpu().numpy()
    border = border_keypoints(placed, batch["landmarks"][learned].cpu().numpy())
    groups, held = _grouped(clips)
    frontal = [[g[np.abs(clips.head_pose[g, 0]) <= FRONTAL] for g in part] for part in (groups, held)]
    facing, facing_held = ([g for g in part if len(g) > 1] for part in frontal)
    if not facing or not facing_held:
        raise UsageError(f"no clip has two frames within {FRONTAL:g} degrees of frontal; raise --frames")

    def rows_of(held_out: bool, count: int, rng: np.random.Generator) -> Batch:
        # drivers move from any frame of theirs to any other: clips one by one turn too little to learn from
        moving = pair_rows(clips.person, clips.rows(held_out))
        sources, drivers = draw_pairs(held if held_out else groups, count, rng), draw_pairs(moving, count, rng)
        asked = draw_pairs(facing_held if held_out else facing, count, rng)
        # a quarter asks for what is there already, and nothing should move
        same = [(a, a) if rng.random() < 0.25 else (a, b) for a, b in asked]
        columns = {"source": [a for a, _ in sources], "first": [a for a, _ in drivers], "now": [b for _, b in drivers]}
        columns |= {"asking": [a for a, _ in same], "asked": [b for _, b in same]}
        return {name: torch.tensor(values) for name, values in columns.items()}

    def parts(batch: Batch) -> dict[str, tuple[Tensor, Tensor]]:
        rows = {name: values.tolist() for name, values in batch.items()}
        found = {}
        if "stitching" in chosen:
            source = still.at(rows["source"])
            kp_source, kp_driving = (
                transform_keypoints(source),
                driven(source, *(still.at(rows[n]) for n in ("first", "now"))),
            )
            moves = networks.stitching(torch.cat([kp_source.flatten(1), kp_driving.flatten(1)], dim=1))
            found["stitching"] = stitching_parts(moves, kp_source, kp_driving, border)
        asking, asked = still.at(rows["asking"]), still.at(rows["asked"])
        known = transform_keypoints(asking).flatten(1)
        wanted = asking.scale[..., None] * (asked.exp - asking.exp)
        ratios = {
            "eye": torch.cat([still.eyes[rows["asking"]], still.eyes[rows["asked"]].mean(1, keepdim=True)], dim=1),
            "lip": torch.stack([still.lips[rows["asking"]], still.lips[rows["asked"]]], dim=1),
        }
        for name in ("eye", "lip"):
            if name in chosen:
                offsets = getattr(networks, name)(torch.cat([known, ratios[name]], dim=1))
                found[name] = retargeting_parts(offsets, wanted, MOVED[name])
        return found

    def sample(rng: np.random.Generator) -> Batch:
        return rows_of(False, size, rng)

    def losses(batch: Batch) -> dict[str, Tensor]:
        result = {}
        for name, (first, second) in parts(batch).items():
            of = (weights.border, weights.offsets) if name == "stitching" else (weights.reached, weights.still)
            result[name] = of[0] * distance(first) + of[1] * distance(second)
        return result

    def held_out() -> dict[str, float]:
        names = {"stitching": ("border from the source", "others from the driver")}
        figures = {}
        for name, pair in parts(rows_of(True, MEASURED_MOVES, np.random.default_rng(0))).items():
            for what, value in zip(names.get(name, ("from where asked", "others moved")), pair, strict=True):
                figures[f"{name}: {what}, crop units"] = float(value.abs().mean())
        return figures

    return Task(parameters, sample, losses, held_out)


def make_task(
    networks: Networks, clips: Clips, module: str, layers: str, size: int, weights: Weights, side: int = INPUT_SIZE
) -> Task:
    """The task of ``module``: motion, decoder or retargeting.

    Raises:
        UsageError: no such module or layers, or no clip to train it on.
    """
    makers: dict[str, Callable[..., Task]] = {
        "motion": motion_task,
        "decoder": decoder_task,
        "retargeting": retargeting_task,
    }
    if module not in makers:
        raise UsageError(f"module is {module!r}; allowed: {', '.join(makers)}, all")
    return makers[module](networks, clips, layers, size, getattr(weights, module), side)
