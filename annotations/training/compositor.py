"""Pictures to train the detector on: people of a corpus, cut out and put into rooms at any size, with their boxes."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from thermvision.annotations.conventions import MIRROR, five_points
from thermvision.annotations.radiometry import from_centikelvin
from thermvision.annotations.schema import SEGMENTS

from .corpus import GRID, Corpus
from .disguises import disguise
from .sensor_tones import picture
from .thermal_rooms import Floats, empty_room, put_limbs, smooth_noise

SHAPE = (192, 224)  # height and width of a picture
FACES, IGNORED = 6, 8  # most labels of a picture
SMALLEST, LARGEST = 9.0, 230.0  # height of a face's box in pixels
_INSIDE = 0.72  # share of a box that must lie in the picture; with less the face is neither there nor not there
_HIDDEN = 0.45  # of a face, from which on it counts as ignored
_SKIN_C = 33.5
_LABELS = {name: SEGMENTS.index(name) for name in SEGMENTS}
_WORN = {
    "cloth": (-3.0, 5.0),
    "hair": (-3.0, 4.0),
    "glasses": (-3.0, 6.0),
    "mask": (-3.0, 4.0),
    "headwear": (-3.0, 4.0),
}
# how many faces a picture has, and the odds
_COUNTS, _ODDS = (0, 1, 2, 3, 4), (0.12, 0.44, 0.18, 0.15, 0.11)
_NEARLY_UPRIGHT, _UPSIDE_DOWN, _HEADLESS = 0.8, 0.1, 0.08
_GOOD = 0.2  # share of pictures that a good camera made


@dataclass(frozen=True, eq=False)
class Picture:
    """One picture with its labels.

    Attributes:
        image: (H, W) uint8.
        boxes: (M, 4) float32 left, top, right, bottom, clipped to the picture.
        points: (M, 5, 2) float32 in the order of `thermvision.annotations.faces.KEYPOINTS`.
        ignored: (K, 4) float32, where a detection is neither right nor wrong.
        black_hot: polarity.
    """

    image: NDArray[np.uint8]
    boxes: Floats
    points: Floats
    ignored: Floats
    black_hot: bool


@dataclass(frozen=True, eq=False)
class Person:
    """A cut-out (S, S): temperatures in °C, cover 0..1, landmarks (68, 2), box [x, y, w, h] (NaN: seen from behind).

    ``hidden`` (68,) says which landmarks lie behind what was put before the face, ``mirrored`` whether left is right.
    """

    celsius: Floats
    cover: Floats
    landmarks: NDArray[np.float64]
    bbox: NDArray[np.float64]
    hidden: NDArray[np.bool_]
    mirrored: bool


def cut_out(corpus: Corpus, row: int, rng: np.random.Generator, disguised: bool = True) -> Person:
    """A person with contrast, clothes and mirror image drawn anew, and perhaps something before the face."""
    celsius = from_centikelvin(corpus.counts[row]).astype(np.float32)
    segment = np.asarray(corpus.segment[row])
    landmarks = corpus.landmarks[row].astype(np.float64)
    box = corpus.bbox[row].astype(np.float64)
    ambient = float(corpus.ambient[row])
    skin = (segment == _LABELS["skin"]) | (segment == _LABELS["eye"])
    mean = float(celsius[skin].mean()) if skin.any() else _SKIN_C
    celsius = np.where(skin, mean + rng.uniform(0.35, 1.4) * (celsius - mean), celsius).astype(np.float32)
    for name, (low, high) in _WORN.items():
        if rng.random() < (0.75 if name == "cloth" else 0.5):
            worn = (segment == _LABELS[name]).astype(np.float32)
            celsius += cv2.blur(worn, (3, 3)) * np.float32(rng.uniform(low, high))
    person = (segment > 0).astype(np.float32)
    cover = np.asarray(cv2.GaussianBlur(cv2.erode(person, np.ones((3, 3))), (3, 3), 0.6), np.float32)
    hidden = np.zeros(68, bool)
    if disguised:
        celsius, cover, hidden = disguise(celsius, cover, landmarks, ambient, mean, rng)
    mirrored = bool(rng.random() < 0.5)
    if mirrored:
        celsius, cover = np.ascontiguousarray(celsius[:, ::-1]), np.ascontiguousarray(cover[:, ::-1])
        landmarks, hidden = landmarks[list(MIRROR)], hidden[list(MIRROR)]
        landmarks[:, 0] = GRID - landmarks[:, 0]
        box[0] = GRID - box[0] - box[2]
    return Person(celsius, cover, landmarks, box, hidden, mirrored)


def compose(
    corpus: Corpus, rows: NDArray[np.int64], rng: np.random.Generator, shape: tuple[int, int] = SHAPE
) -> Picture:
    """A picture of none to four people out of ``rows``.

    Frames in which the face is turned away serve as backs of heads: people without a box.
    """
    ambient = float(corpus.ambient[rng.choice(rows)])
    room = empty_room(shape, ambient, rng)
    if rng.random() < 0.35:
        room = put_limbs(room, _SKIN_C, rng)
    count = int(rng.choice(_COUNTS, p=_ODDS))
    boxes: list[Floats] = []
    points: list[Floats] = []
    ignored: list[Floats] = []
    largest = min(LARGEST, 1.15 * shape[0]) / max(count, 1) ** 0.5
    for _ in range(count):
        person = cut_out(corpus, int(rng.choice(rows)), rng)
        height = float(np.exp(rng.uniform(np.log(SMALLEST), np.log(largest))))
        placed = _place(person, room, height, rng)
        if placed is None:
            continue
        room, cover, box, five = placed
        kept = [k for k, old in enumerate(boxes) if _covered(cover, old) < _HIDDEN]
        ignored += [old for k, old in enumerate(boxes) if k not in kept]
        boxes, points = [boxes[k] for k in kept], [points[k] for k in kept]
        if box is None:
            continue
        clipped = np.clip(box, 0, [shape[1], shape[0]] * 2).astype(np.float32)
        if _area(clipped) > _INSIDE * _area(box):
            boxes.append(clipped)
            points.append(five.astype(np.float32))
        elif _area(clipped) > 0:
            ignored.append(clipped)
    image, black_hot = picture(room, ambient, _SKIN_C, rng, good=_GOOD)
    return Picture(
        image,
        np.array(boxes, np.float32).reshape(-1, 4),
        np.array(points, np.float32).reshape(-1, 5, 2),
        np.array(ignored, np.float32).reshape(-1, 4),
        black_hot,
    )


def without_faces(
    corpus: Corpus, rows: NDArray[np.int64], rng: np.random.Generator, shape: tuple[int, int] = SHAPE
) -> NDArray[np.uint8]:
    """A white-hot picture (H, W) in which nothing is to be found: a room, in two of three with somebody upside down."""
    ambient = float(corpus.ambient[rng.choice(rows)])
    room = empty_room(shape, ambient, rng)
    if rng.random() < 0.35:
        room = put_limbs(room, _SKIN_C, rng)
    if rng.random() < 2 / 3:
        person = cut_out(corpus, int(rng.choice(rows)), rng)
        height = float(np.exp(rng.uniform(np.log(4 * SMALLEST), np.log(0.8 * shape[0]))))
        placed = _place(person, room, height, rng, upside_down=True)
        room = room if placed is None else placed[0]
    return picture(room, ambient, _SKIN_C, rng, polarity=False, good=0.5)[0]


def _area(box: NDArray[np.floating]) -> float:
    return float(max(box[2] - box[0], 0) * max(box[3] - box[1], 0))


def _covered(cover: Floats, box: Floats) -> float:
    left, top, right, bottom = (int(v) for v in box)
    part = cover[max(top, 0) : bottom, max(left, 0) : right]
    return float(part.mean()) if part.size else 1.0


def _place(
    person: Person, room: Floats, height: float, rng: np.random.Generator, upside_down: bool = False
) -> tuple[Floats, Floats, NDArray[np.float64] | None, NDArray[np.float64]] | None:
    """``room`` with the person in it, its cover (H, W), box (None: no face to find) and five points."""
    tall, wide = room.shape
    known = not np.isnan(person.bbox[0])
    box = person.bbox if known else _box_from_behind(person)
    if box is None:
        return None
    scale = height / box[3]
    angle = float(rng.normal(0, 9) if rng.random() < _NEARLY_UPRIGHT else rng.uniform(-45, 45))
    upside_down |= bool(known and rng.random() < _UPSIDE_DOWN)
    centre = box[:2] + box[2:] / 2
    middle = float(centre[0]), float(centre[1])
    turn = np.asarray(cv2.getRotationMatrix2D(middle, angle + 180 * upside_down, scale), np.float64)
    turn[0] *= np.exp(rng.normal(0, 0.06))
    w, h = scale * box[2:]
    at_x = rng.uniform(*sorted((0.3 * w, wide - 0.3 * w)))
    at_y = rng.uniform(0.35 * h, max(0.4 * h, tall - 0.35 * h))
    turn[:, 2] += np.array([at_x, at_y]) - (turn[:, :2] @ centre + turn[:, 2])

    celsius = person.celsius.copy()
    celsius[-1:] = blurred(celsius[-1:], rng.uniform(2, 12))  # goes on as cloth: no streaks
    warm, cover = (scaled(field, turn, scale, (wide, tall)) for field in (celsius, person.cover))
    warm, cover = _with_torso(warm, cover, turn, person, rng)
    found: NDArray[np.float64] | None = None
    if known and rng.random() < _HEADLESS:
        chin = person.landmarks[8, 1] + 0.02 * box[3]
        cover = np.asarray(cover * (_source_rows(turn, room.shape)[1] > chin), np.float32)
    elif known and not upside_down:
        # the hull of an oval that is turned
        c, s = np.cos(np.radians(angle)), np.sin(np.radians(angle))
        half = np.array([np.hypot(w * c, h * s), np.hypot(w * s, h * c)]) / 2
        found = np.array([at_x - half[0], at_y - half[1], at_x + half[0], at_y + half[1]])
    five = five_points(person.landmarks).astype(np.float64) @ turn[:, :2].T + turn[:, 2]
    return (room * (1 - cover) + warm * cover).astype(np.float32), cover, found, five


def blurred(field: Floats, sigma: float) -> Floats:
    """A field (H, W) float32 without what is finer than ``sigma`` pixels."""
    return np.asarray(cv2.GaussianBlur(field, (0, 0), sigma), np.float32)


def scaled(field: Floats, matrix: NDArray[np.float64], scale: float, size: tuple[int, int]) -> Floats:
    """A field brought by a matrix (2, 3) of ``scale`` onto a grid of ``size`` (width, height).

    What a coarser grid cannot hold is taken out before; beyond the field its edge goes on.

    The matrix is for coordinates with pixel centres at +0.5; OpenCV counts from the centre of the first pixel.
    """
    if scale < 0.6:
        field = blurred(field, 0.35 / scale)
    matrix = matrix.copy()
    matrix[:, 2] += 0.5 * matrix[:, :2].sum(1) - 0.5
    flags, border = cv2.INTER_LINEAR, cv2.BORDER_REPLICATE
    return np.asarray(cv2.warpAffine(field, matrix, size, flags=flags, borderMode=border), np.float32)


def _box_from_behind(person: Person) -> NDArray[np.float64] | None:
    rows, columns = np.nonzero(person.cover[: GRID // 2] > 0.5)
    if not len(rows):
        return None
    return np.array([columns.min(), rows.min(), np.ptp(columns) + 1, 0.45 * GRID])


def _source_rows(turn: NDArray[np.float64], shape: tuple[int, int]) -> tuple[Floats, Floats]:
    """x and y in the cut-out of every pixel of the picture."""
    back = cv2.invertAffineTransform(turn).astype(np.float32)
    x = np.arange(shape[1], dtype=np.float32) + 0.5
    y = np.arange(shape[0], dtype=np.float32)[:, None] + 0.5
    return back[0, 0] * x + back[0, 1] * y + back[0, 2], back[1, 0] * x + back[1, 1] * y + back[1, 2]


def _with_torso(
    warm: Floats, cover: Floats, turn: NDArray[np.float64], person: Person, rng: np.random.Generator
) -> tuple[Floats, Floats]:
    """Below and beside the cut-out its edge goes on; rounded shoulders, arms and a texture make it a body."""
    x, y = _source_rows(turn, warm.shape)
    landmarks = person.landmarks
    height = float(landmarks[8, 1] - landmarks[19:25, 1].mean()) * 1.3
    middle, chin = float(landmarks[:, 0].mean()), float(landmarks[8, 1])
    shoulders = height * rng.uniform(0.95, 1.6)
    drop = np.clip((y - (chin + 0.15 * height)) / (height * rng.uniform(0.5, 1.0)), 0, 1)
    half = (shoulders * np.sqrt(drop) + 0.35 * height) * (1 - 0.15 * np.clip((y - chin - height) / (2 * height), 0, 1))
    beside = np.abs(x - middle)
    body = np.where(y < chin + 0.2 * height, 1.0, np.clip((half - beside) / 2 + 0.5, 0, 1))
    # what lies beside and above the cut-out is room, not more of its edge
    body = body * ~((y < min(chin + 0.2 * height, GRID - 2)) & ((x < 0) | (x > GRID)))
    below = y > GRID - 2
    if below.any():
        cloth = smooth_noise(warm.shape, 12, 1.2, rng)
        if rng.random() < 0.5:  # bare arms
            arms = (beside > rng.uniform(0.55, 0.8) * shoulders) & (y > chin + height * rng.uniform(0.5, 1.3))
            cloth = cloth + arms * rng.uniform(-2, 6)
        warm = np.asarray(warm + below * cloth, np.float32)
    return warm.astype(np.float32), (cover * body).astype(np.float32)
