"""The nearest training picture of each generated face, and from which likeness on it is a copy of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from thermvision.annotations.errors import DamagedInputError

from ..inputs import Chunk, Item
from .calibration import ALTERED, Calibration, calibrate
from .describe import Described, Models, describe, describe_face, sampled
from .descriptors import face_vector, likeness, mirrored_vectors
from .neighbours import Neighbours
from .seeds import SeedPicture, SeedSet

NEAREST = 3  # training pictures that a face is laid on, of each orientation
PICTURES_A_CHUNK = 32
STRANGERS = 300  # training pictures that are asked for among all other people's
ALTERED_PICTURES = 100  # training pictures that are altered
ALTERATIONS = 4  # of the kinds, for each of them, in turn


@dataclass(frozen=True)
class Match:
    """The training picture most alike to a face.

    Attributes:
        face: of the `Described` that was asked.
        picture: of the training set.
        likeness: see `descriptors.likeness`.
        cosine: of the two embeddings.
        mirrored: whether the face is mirrored in it.
    """

    face: int
    picture: int
    likeness: float
    cosine: float
    mirrored: bool


class TrainingFaces:
    """The faces of a training set, ready to be searched.

    Args:
        described: of its pictures.
        subjects: of each face.
    """

    def __init__(self, described: Described, pictures: Sequence[SeedPicture]) -> None:
        self.described = described
        self.picture = described.face_items
        self.subjects = np.array([pictures[i].subject for i in described.face_items], dtype=object)
        self._near = Neighbours(described.vectors.astype(np.float32))

    def __len__(self) -> int:
        return len(self.picture)

    def most_alike(
        self, crop: NDArray[np.uint8], vector: NDArray[np.float32], allowed: NDArray[np.bool_] | None = None
    ) -> tuple[int, float, bool]:
        """Face of the set, likeness and whether mirrored, of the most alike to an upright crop; -1 where there is none.

        Looked up by the vectors of the crop and of its mirror image, then judged by `likeness`. With ``allowed`` (M,)
        all vectors are compared.
        """
        best = -1, -1.0, False
        flipped = np.ascontiguousarray(crop[:, ::-1])
        for mirrored, query, picture in ((False, vector, crop), (True, mirrored_vectors(vector), flipped)):
            for face in self._candidates(np.asarray(query, np.float32), allowed):
                alike = likeness(picture, np.asarray(self.described.crops[face]))
                if alike > best[1]:
                    best = int(face), alike, mirrored
        return best

    def _candidates(self, query: NDArray[np.float32], allowed: NDArray[np.bool_] | None) -> NDArray[np.int64]:
        if allowed is None:
            found = self._near.query(query[None], NEAREST)[0][0]
            return found[found >= 0]
        among = np.flatnonzero(allowed)
        close = self.described.vectors[among].astype(np.float32) @ query
        return among[np.argsort(-close, kind="stable")[:NEAREST]]


def describe_seeds(
    seeds: SeedSet, scratch: Path, models: Models, *, workers: int = 1, quiet: bool = True
) -> TrainingFaces:
    """Look at all pictures of a set; its crops go to the file ``scratch``."""
    pictures, chunks = seeds.pictures, []
    for start in range(0, len(pictures), PICTURES_A_CHUNK):
        part = pictures[start : start + PICTURES_A_CHUNK]
        chunks.append(Chunk(f"seeds-{start}", [], tuple(p.name for p in part), len(part), partial(_items, part)))
    return TrainingFaces(describe(chunks, scratch, models, workers=workers, quiet=quiet), pictures)


def _items(pictures: Sequence[SeedPicture]) -> Iterator[Item]:
    for p in pictures:
        row = {"bbox": p.box, "subject_id": p.subject, "image_id": p.name}
        yield Item(p.name, p.name, False, partial(_read, p), row)


def _read(picture: SeedPicture) -> list[NDArray[np.uint8]]:
    return [picture.gray()]


def calibrated(
    training: TrainingFaces, pictures: Sequence[SeedPicture], models: Models, given: float | None, seed: int = 0
) -> Calibration:
    """The threshold for a training set: of altered copies of its own pictures, and of its other people.

    A copy counts as it would in a search: its face is found anew, and it must come up among the neighbours. A stranger
    is the most alike picture of all other people's, so that the false positive rate is one a generated picture.
    """
    crops, vectors = training.described.crops, training.described.vectors
    strangers, same = [], []
    for face in sampled(len(training), STRANGERS):
        crop, vector = np.asarray(crops[face]), vectors[face].astype(np.float32)
        others = training.subjects != training.subjects[face]
        if others.any():
            strangers.append(training.most_alike(crop, vector, others)[1])
        mine = ~others & (training.picture != training.picture[face])
        if mine.any():
            same.append(training.most_alike(crop, vector, mine)[1])
    kinds = list(ALTERED)
    copies: dict[str, list[float]] = {name: [] for name in kinds}
    for turn, face in enumerate(sampled(len(training), ALTERED_PICTURES)):
        try:
            gray = pictures[training.picture[face]].gray()
        except DamagedInputError:
            continue
        for step in range(ALTERATIONS):
            name = kinds[(turn + step * 2) % len(kinds)]
            rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(turn, step)))
            copies[name].append(_copy(training, face, ALTERED[name](gray, rng), models))
    scores = {name: np.array(values, np.float64) for name, values in copies.items() if values}
    return calibrate(scores, np.array(strangers, np.float64), np.array(same, np.float64), given)


def _copy(training: TrainingFaces, face: int, altered: NDArray[np.uint8], models: Models) -> float:
    look = describe_face(altered, models.find(altered, None), models)
    if look is None:
        return -1.0
    found, alike, _ = training.most_alike(look[2], face_vector(look[2]))
    return alike if found >= 0 and training.picture[found] == training.picture[face] else -1.0


def matches(
    training: TrainingFaces, described: Described, advance: Callable[[int], None] = lambda done: None
) -> list[Match]:
    """The most alike training picture of every face of ``described``."""
    found = []
    for face in range(len(described.face_items)):
        crop, vector = np.asarray(described.crops[face]), described.vectors[face].astype(np.float32)
        near, alike, mirrored = training.most_alike(crop, vector)
        if near >= 0:
            cosine = float(
                described.embeddings[face].astype(np.float32) @ training.described.embeddings[near].astype(np.float32)
            )
            found.append(Match(face, int(training.picture[near]), alike, cosine, mirrored))
        advance(1)
    return found
