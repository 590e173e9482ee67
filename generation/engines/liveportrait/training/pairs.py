"""Batches drawn from clips: frames of people for the motion extractor, pairs of frames of one clip for the rest."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from thermvision.generation.engines.liveportrait.faces import SeenPoints
from thermvision.generation.engines.liveportrait.tensors import INPUT_SIZE
from thermvision.generation.engines.liveportrait.training.clips import Clips
from thermvision.generation.engines.liveportrait.training.crops import (
    Crop,
    Floats,
    face_matrix,
    make_crop,
    random_tone,
    retoned,
    shaken,
    window_matrix,
)

FRAMES_A_PERSON = 4  # in a batch for the motion extractor
Batch = dict[str, Tensor]
Rows = NDArray[np.int64]


def network_input(images: Sequence[NDArray[np.uint8]]) -> Tensor:
    """(B, 3, n, n) float32 in 0..1 of gray pictures (n, n)."""
    return torch.from_numpy(np.stack(images)).float().div(255)[:, None].expand(-1, 3, -1, -1).contiguous()


def crops_batch(clips: Clips, rows: Sequence[int], crops: Sequence[Crop]) -> Batch:
    """Crops of the frames ``rows`` for the motion extractor.

    ``image`` (B, 3, n, n), ``landmarks`` (B, 68, 2) crop units, ``angles`` (B, 3) pitch, yaw, roll in degrees,
    ``person`` (B,) int64, ``neutral`` (B,) bool.
    """
    chosen = np.asarray(rows)
    return {
        "image": network_input([crop.small() for crop in crops]),
        "landmarks": torch.from_numpy(np.stack([crop.landmarks for crop in crops])).float(),
        "angles": torch.from_numpy(np.stack([crop.angles for crop in crops])).float(),
        "person": torch.from_numpy(clips.person[chosen].astype(np.int64)),
        "neutral": torch.from_numpy(clips.neutral[chosen]),
    }


def plain_crops(clips: Clips, rows: Sequence[int], side: int = INPUT_SIZE, windows: bool = False) -> Batch:
    """`crops_batch` of crops as animation makes them: about the face or, with ``windows``, a driving video's."""
    matrix = window_matrix if windows else face_matrix
    return crops_batch(clips, rows, [make_crop(clips, row, matrix(clips, row, side), side) for row in rows])


def draw_people(clips: Clips, rows: Rows, size: int, rng: np.random.Generator, side: int = INPUT_SIZE) -> Batch:
    """`crops_batch` of ``size`` frames, four of a person; source and driving crops, shaken, half of them mirrored.

    A mirrored person is another person: no canonical keypoint is asked to be in two places.
    """
    by_person = [rows[clips.person[rows] == person] for person in np.unique(clips.person[rows])]
    chosen: list[int] = []
    crops: list[Crop] = []
    persons: list[int] = []
    while len(chosen) < size:
        frames = by_person[rng.integers(len(by_person))]
        mirrored = bool(rng.random() < 0.5)
        for row in rng.choice(frames, min(FRAMES_A_PERSON, size - len(chosen)), replace=True).tolist():
            matrix = face_matrix if rng.random() < 0.5 else window_matrix
            crop = make_crop(clips, row, shaken(matrix(clips, row, side), side, rng, mirrored), side)
            crops.append(Crop(retoned(crop.image, random_tone(rng)), crop.landmarks, crop.angles))
            chosen.append(row)
            persons.append(2 * int(clips.person[row]) + mirrored)
    return crops_batch(clips, chosen, crops) | {"person": torch.tensor(persons)}


def pair_rows(number: NDArray[np.int32], rows: Rows) -> list[Rows]:
    """Those of ``rows`` that have the same number (a clip's or a person's), for each that has two or more.

    >>> [group.tolist() for group in pair_rows(np.array([7, 7, 4, 7], np.int32), np.array([0, 2, 3]))]
    [[0, 3]]
    """
    groups = (rows[number[rows] == one] for one in np.unique(number[rows]))
    return [group for group in groups if len(group) > 1]


def pairs_batch(
    clips: Clips,
    pairs: Sequence[tuple[int, int]],
    side: int = INPUT_SIZE,
    rng: np.random.Generator | None = None,
) -> Batch:
    """Pairs of frames of one clip, in one window: what the generator should paint of the first, moved like the second.

    ``source`` and ``driving`` (B, 3, n, n), ``target`` (B, 1, 2n, 2n) the driving frame, all in 0..1; ``landmarks``
    (B, 68, 2) of the target in crop units. With ``rng`` windows are shaken, mirrored and toned, a pair alike.
    """
    sources: list[Crop] = []
    drivers: list[Crop] = []
    for first, second in pairs:
        matrix: Floats = window_matrix(clips, first, side)
        tone = (1.0, 0.0)
        if rng is not None:
            matrix, tone = shaken(matrix, side, rng, mirrored=bool(rng.random() < 0.5)), random_tone(rng)
        for row, crops in ((first, sources), (second, drivers)):
            crop = make_crop(clips, row, matrix, side)
            crops.append(Crop(retoned(crop.image, tone), crop.landmarks, crop.angles))
    return {
        "source": network_input([crop.small() for crop in sources]),
        "driving": network_input([crop.small() for crop in drivers]),
        "target": torch.from_numpy(np.stack([crop.image for crop in drivers])).float().div(255)[:, None],
        "landmarks": torch.from_numpy(np.stack([crop.landmarks for crop in drivers])).float(),
    }


def draw_pairs(groups: Sequence[Rows], size: int, rng: np.random.Generator) -> list[tuple[int, int]]:
    """``size`` pairs of different frames of one group each, as `pair_rows` makes them."""
    pairs = []
    for _ in range(size):
        first, second = rng.choice(groups[int(rng.integers(len(groups)))], 2, replace=False).tolist()
        pairs.append((first, second))
    return pairs


def openness(clips: Clips) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """How far eyes (N, 2) and lips (N,) of every frame are open, measured on its landmarks as animation measures it."""
    seen = [SeenPoints(points) for points in clips.landmarks]
    return np.stack([face.eyes for face in seen]), np.array([face.lips for face in seen], np.float32)
