"""Scores of a face detector: average precision, recall and false positives.

Matching is COCO's, image by image: detections come best first, each takes the free face it overlaps most if the
overlap (IoU) reaches the threshold, and a face that does not count is taken only when no other fits. A face does not
count when it is marked so or when √(width · height) is below ``min_face``; a detection on such a face, or an unmatched
one that is itself that small, counts neither. Source: `COCOeval.evaluateImg` of pycocotools; T.-Y. Lin et al.,
"Microsoft COCO", ECCV 2014. Boxes are ``[x, y, width, height]`` in pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .bootstrap import divide
from .boxes import iou_matrix
from .errors import MissingDependencyError

Floats = NDArray[np.float64]
IOU = 0.5
COCO_IOUS = tuple(np.linspace(0.5, 0.95, 10).round(2).tolist())
_RECALLS = np.linspace(0, 1, 101)
_MAX_DETECTIONS = 1000  # an image; COCO's own bound of 100 is below what a crowd may hold


@dataclass(frozen=True, eq=False)
class ImageBoxes:
    """The true and the detected boxes of one image.

    Attributes:
        truth: (M, 4) true boxes.
        detected: (K, 4) detected boxes in any order.
        scores: (K,) their scores.
        ignored: (M,) bool, true boxes that do not count; empty means that all do.

    Raises:
        ValueError: the shapes do not go together, or a box or score is not finite.
    """

    truth: Floats
    detected: Floats
    scores: Floats
    ignored: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, bool))

    def __post_init__(self) -> None:
        truth, detected = (np.asarray(b, np.float64).reshape(-1, 4) for b in (self.truth, self.detected))
        scores = np.asarray(self.scores, np.float64).reshape(-1)
        ignored = np.asarray(self.ignored, bool) if len(self.ignored) else np.zeros(len(truth), bool)
        if len(scores) != len(detected) or len(ignored) != len(truth):
            raise ValueError(
                f"{len(truth)} true boxes with {len(ignored)} flags, {len(detected)} detections with {len(scores)}"
                " scores; allowed: one of each"
            )
        if not all(np.isfinite(a).all() for a in (truth, detected, scores)):
            raise ValueError("a box or score is not finite; allowed: finite numbers, leave out boxes of no face")
        for name, value in (("truth", truth), ("detected", detected), ("scores", scores), ("ignored", ignored)):
            object.__setattr__(self, name, value)


@dataclass(frozen=True, eq=False)
class Matches:
    """The detections of a set of images that count, best first, and how many faces there are to find.

    Attributes:
        scores: (D,) float64, falling; equal scores stay in the order of the images.
        images: (D,) image of each detection.
        hits: (D,) bool, whether it found a face.
        faces: (I,) faces that count in each image.
    """

    scores: Floats
    images: NDArray[np.int64]
    hits: NDArray[np.bool_]
    faces: NDArray[np.int64]


def match_boxes(
    truth: ArrayLike, detected: ArrayLike, iou: float = IOU, ignored: ArrayLike | None = None
) -> NDArray[np.int64]:
    """For each detection (K, 4), best first, the true box (M, 4) it takes, or -1.

    >>> match_boxes([[0, 0, 10, 10]], [[1, 0, 10, 10], [0, 0, 10, 10]]).tolist()
    [0, -1]
    """
    overlap = iou_matrix(truth, detected)
    return _take(overlap, np.zeros(len(overlap), bool) if ignored is None else np.asarray(ignored, bool), iou)


def _take(overlap: Floats, aside: NDArray[np.bool_], iou: float) -> NDArray[np.int64]:
    found = np.full(overlap.shape[1], -1, np.int64)
    reached = min(iou, 1 - 1e-10)
    free = np.ones(len(overlap), bool)
    for k in np.flatnonzero((overlap >= reached).any(axis=0)):
        for counted in (True, False):
            column = np.where(free & (aside != counted), overlap[:, k], -1.0)
            if column.max() >= reached:
                found[k] = len(column) - 1 - int(column[::-1].argmax())  # of equal overlaps COCO takes the last
                free[found[k]] = False
                break
    return found


def face_size(boxes: ArrayLike) -> Floats:
    """√(width · height) of boxes (M, 4), in pixels."""
    sides = np.clip(np.asarray(boxes, np.float64).reshape(-1, 4)[:, 2:], 0, None)
    size: Floats = np.sqrt(sides.prod(1))
    return size


def match_images(images: Sequence[ImageBoxes], iou: float = IOU, min_face: float = 0) -> Matches:
    """Match the boxes of every image; see the module's rules."""
    return match_at(images, (iou,), min_face)[0]


def match_at(images: Sequence[ImageBoxes], ious: Sequence[float], min_face: float = 0) -> list[Matches]:
    """`match_images` at several thresholds."""
    faces = np.zeros(len(images), np.int64)
    # of each threshold: scores, images and hits of the detections that count, one array an image
    parts: list[list[tuple[Floats, NDArray[np.int64], NDArray[np.bool_]]]] = [[] for _ in ious]
    for number, image in enumerate(images):
        order = np.argsort(-image.scores, kind="stable")[:_MAX_DETECTIONS]
        aside = image.ignored | (face_size(image.truth) < min_face)
        faces[number] = (~aside).sum()
        if not len(order):
            continue
        overlap = iou_matrix(image.truth, image.detected[order])
        large = face_size(image.detected[order]) >= min_face
        for part, iou in zip(parts, ious, strict=True):
            found = _take(overlap, aside, iou)
            counts = ~np.append(aside, False)[found] & ((found >= 0) | large)
            part.append((image.scores[order][counts], np.full(int(counts.sum()), number), found[counts] >= 0))
    return [_joined(part, faces) for part in parts]


def _joined(parts: Sequence[tuple[Floats, NDArray[np.int64], NDArray[np.bool_]]], faces: NDArray[np.int64]) -> Matches:
    nothing = (np.zeros(0), np.zeros(0, np.int64), np.zeros(0, bool))
    scores, images, hits = (np.concatenate([part[k] for part in (nothing, *parts)]) for k in range(3))
    order = np.argsort(-scores, kind="stable")
    return Matches(scores[order], images[order], hits[order], faces)


def _image_weights(matches: Matches, weights: ArrayLike | None) -> Floats:
    return np.ones((1, len(matches.faces))) if weights is None else np.asarray(weights, np.float64)


def average_precision(matches: Matches, weights: ArrayLike | None = None) -> Floats:
    """Average precision (rounds,) by COCO's rule, for images counted ``weights`` (rounds, I) times each.

    Precision is made falling from the right and read at the recalls 0, .01, … 1. NaN when there is no face to find.
    """
    per_image = _image_weights(matches, weights)
    of_detection = per_image[:, matches.images]
    true, total = np.cumsum(of_detection * matches.hits, 1), np.cumsum(of_detection, 1)
    faces = per_image @ matches.faces
    recall, precision = divide(true, faces[:, None]), np.divide(true, total, out=np.zeros_like(total), where=total > 0)
    envelope = np.maximum.accumulate(precision[:, ::-1], 1)[:, ::-1]
    values = np.full(len(per_image), np.nan)
    for row in np.flatnonzero(faces):
        at = np.searchsorted(recall[row], _RECALLS, side="left")
        values[row] = np.append(envelope[row], 0)[at].mean()
    return values


def mean_average_precision(matches: Sequence[Matches], weights: ArrayLike | None = None) -> Floats:
    """Mean (rounds,) of `average_precision` over matchings at several IoUs."""
    mean: Floats = np.mean([average_precision(m, weights) for m in matches], axis=0)
    return mean


def recall_at(matches: Matches, threshold: float, weights: ArrayLike | None = None) -> Floats:
    """Part of the faces (rounds,) found by detections that score at least ``threshold``."""
    per_image = _image_weights(matches, weights)
    chosen = matches.hits & (matches.scores >= threshold)
    return divide(per_image @ _per_image(matches, chosen), per_image @ matches.faces)


def false_positives_at(matches: Matches, threshold: float, weights: ArrayLike | None = None) -> Floats:
    """Number (rounds,) of detections that score at least ``threshold`` and find no face."""
    count: Floats = _image_weights(matches, weights) @ _per_image(
        matches, ~matches.hits & (matches.scores >= threshold)
    )
    return count


def _per_image(matches: Matches, chosen: NDArray[np.bool_]) -> Floats:
    return np.bincount(matches.images[chosen], minlength=len(matches.faces)).astype(np.float64)


def _cuts(matches: Matches) -> NDArray[np.int64]:
    """Last detection of each run of equal scores: a threshold lets all of them in, or none."""
    return np.flatnonzero(np.append(matches.scores[1:] != matches.scores[:-1], len(matches.scores) > 0))


def recall_at_false_positives(matches: Matches, limit: float, weights: ArrayLike | None = None) -> Floats:
    """Largest recall (rounds,) that a threshold reaches with at most ``limit`` false positives in all the images."""
    per_image = _image_weights(matches, weights)
    of_detection, cuts = per_image[:, matches.images], _cuts(matches)
    true = np.cumsum(of_detection * matches.hits, 1)[:, cuts]
    wrong = np.cumsum(of_detection * ~matches.hits, 1)[:, cuts]
    best = np.where(wrong <= limit, true, 0).max(axis=1, initial=0)
    return divide(best, per_image @ matches.faces)


def recall_curve(matches: Matches) -> dict[str, list[float]]:
    """``threshold``, ``recall`` and ``false_positives`` at every threshold that changes something, strictest first."""
    cuts = _cuts(matches)
    true, wrong = np.cumsum(matches.hits)[cuts], np.cumsum(~matches.hits)[cuts]
    return {
        "threshold": matches.scores[cuts].tolist(),
        "recall": divide(true, matches.faces.sum()).tolist(),
        "false_positives": wrong.tolist(),
    }


def coco_average_precision(images: Sequence[ImageBoxes], min_face: float = 0) -> tuple[float, float]:
    """AP at IoU .5 and AP over IoU .5 to .95, by faster-coco-eval; NaN when there is no face to find.

    Raises:
        MissingDependencyError: faster-coco-eval is not installed.
    """
    try:
        from faster_coco_eval import COCO, COCOeval_faster
    except ImportError as error:
        raise MissingDependencyError(
            "average precision needs faster-coco-eval; type: pip install 'thermvision-db[eval]'"
        ) from error

    def boxes(number: int, kind: str, flags: NDArray[np.bool_] | None) -> list[dict[str, Any]]:
        found = getattr(images[number - 1], kind)
        areas = np.clip(found[:, 2:], 0, None).prod(1)
        # outside the range of areas: COCO's own way of setting a face aside
        areas = areas if flags is None else np.where(flags, 0.0, areas)
        parts = zip(found.tolist(), areas.tolist(), strict=True)
        return [{"image_id": number, "category_id": 1, "bbox": b, "area": a, "iscrowd": 0} for b, a in parts]

    numbers = range(1, len(images) + 1)
    shared = {"images": [{"id": n} for n in numbers], "categories": [{"id": 1, "name": "face"}]}
    truth = [face for n in numbers for face in boxes(n, "truth", images[n - 1].ignored)]
    found = [box for n in numbers for box in boxes(n, "detected", None)]
    for box, score in zip(found, (s for image in images for s in image.scores.tolist()), strict=True):
        box["score"] = score

    def index(annotations: list[dict[str, Any]]) -> Any:
        return COCO({**shared, "annotations": [{**a, "id": i} for i, a in enumerate(annotations, start=1)]})

    evaluation = COCOeval_faster(index(truth), index(found), iouType="bbox")
    evaluation.params.maxDets = [_MAX_DETECTIONS]
    evaluation.params.areaRng, evaluation.params.areaRngLbl = [[max(min_face**2, 1e-9), 1e15]], ["counted"]
    evaluation.evaluate()
    evaluation.accumulate()
    precision = evaluation.eval["precision"][:, :, 0, 0, 0]
    precision = np.where(precision < 0, np.nan, precision)
    return float(precision[0].mean()), float(precision.mean())
