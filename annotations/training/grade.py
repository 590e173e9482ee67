"""What a trained model does on rendered people that it never saw: the figures of its card."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from thermvision.annotations.attributes import LABELS, AttributeReader
from thermvision.annotations.class_metrics import balanced_accuracy
from thermvision.annotations.conventions import five_points
from thermvision.annotations.detection_metrics import (
    ImageBoxes,
    Matches,
    average_precision,
    false_positives_at,
    match_images,
    recall_at,
    recall_at_false_positives,
)
from thermvision.annotations.detector import ThermalDetector
from thermvision.annotations.embedder import ThermalEmbedder
from thermvision.annotations.faces import Detections, FaceDetector, Gray
from thermvision.annotations.landmark_metrics import angle_errors, interocular, normalised_mean_error, point_errors
from thermvision.annotations.landmarker import ThermalLandmarker
from thermvision.annotations.radiometry import GainControl, from_centikelvin
from thermvision.annotations.schema import OUTSIDE
from thermvision.annotations.verification_metrics import accept_rate_at, cross_session_pairs, equal_error_rate, rank_one

from .compositor import Picture, compose, without_faces
from .corpus import CLASSES, Corpus

PICTURES, _FRAMES, EMPTY = 400, 1500, 200
_FRONTAL = 15.0  # degrees of yaw
_LOW, _ALLOWED = 0.05, 0.1  # lowest score that is looked at; false positives a picture that the threshold may let in
LOWEST, _HIGHEST, _STEP = 0.2, 0.8, 0.05  # thresholds that are tried


@dataclass(frozen=True)
class Figure:
    """A measured value, written out, and what it was measured on."""

    value: str
    data: str


def frames(corpus: Corpus, rows: NDArray[np.int64]) -> Iterator[tuple[int, Gray]]:
    """Row and 8-bit frame, made by the gain control that releases are made with."""
    for row in rows:
        yield int(row), GainControl()(from_centikelvin(corpus.counts[row]))


def _tested(corpus: Corpus) -> NDArray[np.int64]:
    rows = corpus.rows("test")
    return rows[:: max(1, len(rows) // _FRAMES)]


def crowds(corpus: Corpus, detector: FaceDetector, rows: NDArray[np.int64], count: int, seed: int) -> list[ImageBoxes]:
    """What a detector, set to find everything, finds in ``count`` composed pictures of people of ``rows``."""
    rng, images = np.random.default_rng(seed), []
    for _ in range(count):
        image, truth, ignored = white_hot(compose(corpus, rows, rng))
        images.append(_boxes(truth, detector.detect([image])[0], ignored))
    return images


def white_hot(picture: Picture) -> tuple[Gray, NDArray[np.float32], NDArray[np.bool_]]:
    """A composed picture as it was before it was inverted, boxes (M, 4) ``[x, y, w, h]``, and which do not count."""
    truth = np.concatenate([picture.boxes, picture.ignored])
    truth[:, 2:] -= truth[:, :2]
    image: Gray = 255 - picture.image if picture.black_hot else picture.image
    return image, truth, np.arange(len(truth)) >= len(picture.boxes)


def _boxes(truth: ArrayLike, found: Detections, ignored: ArrayLike = ()) -> ImageBoxes:
    true, detected, scores = (np.asarray(a, np.float64) for a in (truth, found.bboxes, found.scores))
    return ImageBoxes(true, detected, scores, np.asarray(ignored, bool))


def _at(bbox: ArrayLike) -> Detections:
    """A face in a known place, as a detector without keypoints would report it."""
    return Detections(
        np.asarray(bbox, np.float32)[None], np.ones(1, np.float32), np.full((1, 5, 2), np.nan, np.float32)
    )


def threshold(matches: Matches) -> float:
    """The lowest score in steps of .05 at which composed pictures have one false positive in ten."""
    for score in np.arange(LOWEST, _HIGHEST, _STEP):
        if float(false_positives_at(matches, float(score))[0]) <= _ALLOWED * len(matches.faces):
            return float(score)
    return _HIGHEST


def threshold_of(corpus: Corpus, model: Path, rows: NDArray[np.int64]) -> float:
    """The `threshold` of a detector's ONNX file, in pictures composed of ``rows``."""
    return threshold(match_images(crowds(corpus, _at_work(model), rows, PICTURES, seed=5)))


def detector(corpus: Corpus, model: Path) -> dict[str, Figure]:
    """Average precision and recall in composed pictures and in portraits, of people of the test split."""
    return finding(corpus, _at_work(model), ThermalDetector(model))


def _at_work(model: Path) -> ThermalDetector:
    return ThermalDetector(model, min_face=12, threshold=_LOW)


def finding(corpus: Corpus, eager: FaceDetector, shipped: Any) -> dict[str, Figure]:
    """Figures of a detector on people of the test split.

    Args:
        corpus: of those people.
        eager: finds everything from 12 pixels on, for composed pictures.
        shipped: as its users have it, for portraits and rooms; its ``threshold`` is the working one.
    """
    crowd = match_images(crowds(corpus, eager, corpus.rows("test", facing=False), PICTURES, seed=9))
    data = f"{PICTURES} composed pictures with {int(crowd.faces.sum())} faces from 9 px, degraded"
    portraits = []
    for row, frame in frames(corpus, _tested(corpus)):
        found = shipped.detect([frame])[0]
        portraits.append(_boxes(corpus.bbox[row][None], found))
    single = match_images(portraits)
    rng, rows = np.random.default_rng(13), corpus.rows("test")
    wrong = sum(len(shipped.detect([without_faces(corpus, rows, rng)])[0]) for _ in range(EMPTY))
    alone = f"{len(portraits)} rendered portraits, 206 x 206"
    return {
        "AP50, none to four faces": Figure(f"{average_precision(crowd)[0]:.3f}", data),
        "recall at its threshold": Figure(f"{recall_at(crowd, shipped.threshold)[0]:.3f}", data),
        "false positives a picture": Figure(
            f"{false_positives_at(crowd, shipped.threshold)[0] / len(crowd.faces):.3f}", data
        ),
        "recall at 5 false positives": Figure(f"{recall_at_false_positives(crowd, 5)[0]:.3f}", data),
        "false positives where no face is": Figure(
            f"{wrong}", f"{EMPTY} rooms, two in three with somebody upside down"
        ),
        "AP50, one face": Figure(f"{average_precision(single)[0]:.3f}", alone),
        "recall, one face": Figure(f"{recall_at(single, shipped.threshold)[0]:.3f}", alone),
    }


def landmarker(corpus: Corpus, model: Path) -> dict[str, Figure]:
    """Normalised mean error, pose and openness on the true boxes of people of the test split."""
    found, rows = [], _tested(corpus)
    shipped = ThermalLandmarker(model)
    for row, frame in frames(corpus, rows):
        shape = shipped.locate(frame, _at(corpus.bbox[row]))[0]
        assert shape is not None
        assert shape.head_pose is not None
        found.append((shape.landmarks, shape.head_pose, [shape.eye_openness, shape.mouth_openness]))
    points, pose, openness = (np.array([f[k] for f in found]) for k in range(3))
    truth, yaw = corpus.landmarks[rows], np.abs(corpus.head_pose[rows][:, 0])
    counted = corpus.landmark_state[rows] != OUTSIDE
    errors = point_errors(points, truth, counted)
    # in profile the eye corners coincide; the frontal distance of the same crop size serves instead
    length = np.maximum(interocular(truth), 0.55 * np.sqrt(corpus.bbox[rows][:, 2] * corpus.bbox[rows][:, 3]))
    nme = normalised_mean_error(errors, length)
    plain = normalised_mean_error(errors, interocular(truth))
    angles = angle_errors(pose, corpus.head_pose[rows])
    data, front = f"{len(rows)} rendered portraits", yaw < _FRONTAL
    return {
        "NME, inter-ocular, yaw below 15": Figure(f"{plain[front].mean():.2%}", f"{front.sum()} rendered portraits"),
        "NME, inter-ocular or .55 of the box, all": Figure(f"{nme.mean():.2%}", data),
        "NME, inter-ocular, yaw below 60": Figure(f"{np.nanmean(plain[yaw < 60]):.2%}", f"{(yaw < 60).sum()} of them"),
        "pose, mean absolute error": Figure(
            f"{angles.mean():.2f} (yaw {angles[:, 0].mean():.2f}, pitch {angles[:, 1].mean():.2f},"
            f" roll {angles[:, 2].mean():.2f}) degrees", data,
        ),
        "openness of eyes and mouth, mean absolute error": Figure(
            "{:.3f}, {:.3f}".format(*np.abs(openness - corpus.openness[rows]).mean(0)), data
        ),
    }  # fmt: skip


def embedder(corpus: Corpus, model: Path) -> dict[str, Figure]:
    """Identification and verification between two items, which differ in hair, clothes, room, camera and session.

    Frame against frame, and item against item: the mean vector of its frames, as one would compare two recordings.
    """
    rows = corpus.rows("test", "validation")
    shipped = ThermalEmbedder(model)
    vectors = np.concatenate(
        [shipped.embed(f, five_points(corpus.landmarks[r])[None]) for r, f in frames(corpus, rows)]
    )
    who, item = corpus.identity[rows], corpus.item[rows]
    _, first, of = np.unique(item, return_index=True, return_inverse=True)
    means = np.stack([vectors[of == k].mean(0) for k in range(len(first))])
    means /= np.linalg.norm(means, axis=1, keepdims=True)
    people = f"{len(np.unique(who))} people never trained on, across items"
    return _recognition(vectors, who, item, "", f"{len(rows)} frames of {people}") | _recognition(
        means, who[first], item[first], ", mean of an item", f"{len(means)} items of {people}"
    )


def _recognition(
    vectors: NDArray[np.float32], who: NDArray[np.int32], item: NDArray[np.int32], suffix: str, data: str
) -> dict[str, Figure]:
    first = np.array([item[who == person].min() for person in who]) == item
    right = rank_one(vectors[first], who[first].tolist(), vectors[~first], who[~first].tolist())
    pairs = cross_session_pairs(vectors, who.tolist(), item.tolist())
    return {
        f"Rank-1{suffix}": Figure(f"{np.nanmean(right):.3f}", data),
        f"EER{suffix}": Figure(f"{equal_error_rate(pairs)[0]:.3f}", data),
        f"TAR at FAR 1 %{suffix}": Figure(f"{accept_rate_at(pairs, 0.01)[0]:.3f}", data),
    }


def attributes(corpus: Corpus, model: Path) -> dict[str, Figure]:
    """Balanced accuracy of each attribute, on true boxes of people of the test split."""
    rows, shipped = _tested(corpus), AttributeReader(model)
    read = [shipped.read(frame, _at(corpus.bbox[row]))[0] for row, frame in frames(corpus, rows)]
    figures = {}
    for name, labels in LABELS.items():
        known = corpus.classes[rows][:, CLASSES.index(name)]
        use = known >= 0
        truth = np.array(labels)[known[use]]
        said = np.array([r[name][0] for r in read])[use]
        value = balanced_accuracy(truth.tolist(), said == truth)[0]
        chance = f"balanced accuracy, chance {1 / len(np.unique(truth)):.2f}"
        figures[name] = Figure(f"{value:.3f}", f"{use.sum()} rendered portraits, {chance}")
    return figures
