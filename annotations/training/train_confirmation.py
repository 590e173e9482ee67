"""Fits the second look of `thermvision.annotations.confirmation`, once detector and landmarker are trained."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from thermvision.annotations.confirmation import (
    CANDIDATES,
    FILES,
    ConfirmedDetector,
    Evidence,
    evidence_text,
    first_look,
    second_look,
)
from thermvision.annotations.detection_metrics import match_boxes, match_images
from thermvision.annotations.detector import ThermalDetector
from thermvision.annotations.errors import UsageError
from thermvision.annotations.landmarker import ThermalLandmarker

from . import grade
from .compositor import compose, without_faces
from .corpus import Corpus, open_corpus

_RIDGE = 1e-3  # keeps the weights finite where the two kinds can be told apart by a line
_LOW = 0.02


def train_confirmation(corpus: Path, models: Path, command: str) -> Path:
    """Weigh the answers of the detector and the landmarker in ``models``, on pictures composed of `validation`.

    Writes ``confirmation.json`` beside them: weights, the threshold by the rule of `grade.threshold`, and figures on
    people of `test`.

    Raises:
        UsageError: there are too few detections of faces or of other things to weigh.
    """
    opened = open_corpus(corpus)
    detector = ThermalDetector(models / FILES[0], min_face=12, threshold=CANDIDATES)
    landmarker = ThermalLandmarker(models / FILES[1])
    chosen = opened.rows("validation", facing=False)
    seen = list(_weighed(opened, detector, landmarker, chosen))
    rows, faces = (np.concatenate([part[k] for part in seen]) for k in range(2))
    if min(faces.sum(), (~faces).sum()) < 3:
        raise UsageError(
            f"{len(faces)} detections of which {faces.sum()} are faces are too few to weigh; train the detector longer"
        )
    score, doubt, turned, constant = (float(w) for w in fit_logistic(rows, faces))
    evidence = Evidence(score, doubt, turned, constant, grade.LOWEST, detector.source, landmarker.source)
    eager = ConfirmedDetector(min_face=12, threshold=_LOW, models=models, evidence=evidence)
    matches = match_images(grade.crowds(opened, eager, chosen, grade.PICTURES, seed=5))
    evidence = replace(evidence, threshold=round(grade.threshold(matches), 2))
    figures = grade.finding(opened, eager, ConfirmedDetector(models=models, evidence=evidence))
    facts = {
        "corpus": opened.digest,
        "command": command,
        "weighed": {"faces": int(faces.sum()), "all": len(faces)},
        "measured": {what: f"{figure.value} ({figure.data})" for what, figure in figures.items()},
    }
    path = models / FILES[2]
    path.write_text(evidence_text(evidence, facts), encoding="utf-8")
    return path


def _weighed(
    corpus: Corpus, detector: ThermalDetector, landmarker: ThermalLandmarker, rows: NDArray[np.int64]
) -> Iterator[tuple[NDArray[np.float64], NDArray[np.bool_]]]:
    """Rows (M, 3) of `second_look` for the detections of a picture, and which of them are faces."""
    rng = np.random.default_rng(17)
    for number in range(2 * grade.PICTURES):
        if number % 4:
            image, truth, ignored = grade.white_hot(compose(corpus, rows, rng))
        else:
            image = without_faces(corpus, rows, rng)
            truth, ignored = np.zeros((0, 4), np.float32), np.zeros(0, bool)
        found = detector.detect([image])[0]
        taken = match_boxes(truth, found.bboxes, ignored=ignored)
        counts = ~np.append(ignored, False)[taken]
        looks = second_look(landmarker, image, found, first_look(found, landmarker.locate(image, found)))
        yield looks[counts], (taken >= 0)[counts]


def fit_logistic(rows: NDArray[np.float64], positive: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Weights (C + 1) of logistic regression on rows (M, C), the constant last; both classes weigh as they come.

    >>> fit_logistic(np.array([[-1.0], [1.0], [-1.0], [1.0]]), np.array([False, True, True, True])).round(1).tolist()
    [2.6, 2.6]
    """
    signs, table = np.where(positive, 1.0, -1.0), np.column_stack([rows, np.ones(len(rows))])

    def loss(weights: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        margin = signs * (table @ weights)
        slope = -signs * (0.5 - 0.5 * np.tanh(margin / 2))
        ridge = _RIDGE * weights
        return float(np.logaddexp(0, -margin).mean() + ridge @ weights / 2), table.T @ slope / len(table) + ridge

    result: NDArray[np.float64] = minimize(loss, np.zeros(table.shape[1]), jac=True, method="BFGS").x
    return result
