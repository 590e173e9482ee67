"""Face crops to train landmarker, attributes and embedder on, with their labels carried through every change."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from thermvision.annotations.alignment import TEMPLATE, similarity
from thermvision.annotations.conventions import MIRROR, five_points
from thermvision.annotations.landmarker import SIZE
from thermvision.annotations.pose import pose_from_rotation, rotation_from_pose
from thermvision.annotations.schema import OBJECT_OCCLUDED, OUTSIDE, VISIBLE

from .compositor import Person, cut_out, scaled
from .corpus import Corpus
from .sensor_tones import picture
from .thermal_rooms import empty_room

GOOD = 0.6  # share of crops of pictures that a good camera made
_SKIN_C = 33.5


@dataclass(frozen=True, eq=False)
class Crop:
    """One crop (112, 112) uint8, white-hot, and what is true of it.

    Attributes:
        landmarks: (68, 2) pixels of the crop; ``state`` (68,) as in `thermvision.annotations.schema`.
        pose: yaw, pitch, roll in degrees as seen in the crop.
        openness: eyes, mouth.
        classes: in the order of `corpus.CLASSES`.
        identity: number of the person.
    """

    image: NDArray[np.uint8]
    landmarks: NDArray[np.float32]
    state: NDArray[np.uint8]
    pose: NDArray[np.float32]
    openness: NDArray[np.float32]
    classes: NDArray[np.int16]
    identity: int


def box_crop(corpus: Corpus, row: int, rng: np.random.Generator, margin: float, plain: bool = False) -> Crop:
    """A crop about a face box as a detector might give it, near the true one; ``plain`` leaves disguises out."""
    person = cut_out(corpus, row, rng, disguised=not plain and rng.random() < 0.75)
    side = margin * max(person.bbox[2:]) * np.exp(rng.normal(0, 0.09))
    centre = person.bbox[:2] + person.bbox[2:] / 2 + rng.normal(0, 0.045, 2) * side
    angle = rng.normal(0, 8) if rng.random() < 0.85 else rng.uniform(-50, 50)
    middle = float(centre[0]), float(centre[1])
    to_crop = np.asarray(cv2.getRotationMatrix2D(middle, angle, SIZE / side), np.float64)
    to_crop[:, 2] += SIZE / 2 - centre
    return _crop(corpus, row, person, to_crop, angle, rng, good=GOOD)


def aligned_crop(corpus: Corpus, row: int, rng: np.random.Generator) -> Crop:
    """A crop in which five points, as a detector might find them, lie on the template of `alignment`."""
    person = cut_out(corpus, row, rng, disguised=rng.random() < 0.35)
    found = five_points(person.landmarks) + rng.normal(0, 0.018 * max(person.bbox[2:]), (5, 2))
    to_crop = similarity(found, TEMPLATE)
    angle = float(np.degrees(np.arctan2(to_crop[0, 1], to_crop[0, 0])))
    return _crop(corpus, row, person, to_crop, angle, rng, good=GOOD)


def _crop(
    corpus: Corpus,
    row: int,
    person: Person,
    to_crop: NDArray[np.float64],
    angle: float,
    rng: np.random.Generator,
    good: float,
) -> Crop:
    scale = float(np.sqrt(abs(np.linalg.det(to_crop[:, :2]))))

    ambient = float(corpus.ambient[row])
    warm = scaled(person.celsius, to_crop, scale, (SIZE, SIZE))
    if rng.random() < 0.6:
        share = scaled(person.cover, to_crop, scale, (SIZE, SIZE))
        warm = empty_room((SIZE, SIZE), ambient, rng) * (1 - share) + warm * share
    image, _ = picture(warm.astype(np.float32), ambient, _SKIN_C, rng, polarity=False, good=good)
    landmarks = person.landmarks @ to_crop[:, :2].T + to_crop[:, 2]
    return Crop(
        image,
        landmarks.astype(np.float32),
        _states(corpus, row, person, landmarks),
        _turned_pose(corpus.head_pose[row], person.mirrored, angle),
        np.asarray(corpus.openness[row]),
        np.asarray(corpus.classes[row]),
        int(corpus.identity[row]),
    )


def _states(corpus: Corpus, row: int, person: Person, landmarks: NDArray[np.float64]) -> NDArray[np.uint8]:
    state = np.array(corpus.landmark_state[row])
    state = state[list(MIRROR)] if person.mirrored else state
    state[(state == VISIBLE) & person.hidden] = OBJECT_OCCLUDED
    state[((landmarks < 0) | (landmarks >= SIZE)).any(1)] = OUTSIDE
    return state


def _turned_pose(pose: NDArray[np.float32], mirrored: bool, angle: float) -> NDArray[np.float32]:
    """Head pose in the crop; ``angle`` in degrees, counter-clockwise in the picture."""
    yaw, pitch, roll = (float(v) for v in pose)
    rotation = rotation_from_pose([-yaw, pitch, -roll] if mirrored else [yaw, pitch, roll])
    c, s = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    return pose_from_rotation(np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]) @ rotation).astype(np.float32)
