"""A second look: the landmarker is shown what the detector may have seen, upright and upside down.

Where it is unsure of every point there is likely no face, and where it is surer of the upside-down crop there is none
that is upright. The probability of a face is logistic in the log-odds of the detector's score and in the logarithms of
the two mean standard deviations over the root of the box's area. Its weights and the threshold were fitted on composed
pictures (`thermvision train confirmation`) and lie in a JSON file beside the models they belong to.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from thermvision.annotations.detector import ThermalDetector
from thermvision.annotations.errors import DamagedInputError, MissingDependencyError, UsageError
from thermvision.annotations.faces import Detections, FaceShape, Gray
from thermvision.annotations.landmarker import ThermalLandmarker
from thermvision.annotations.session import short_digest

CANDIDATES = 0.15  # lowest score of the detector that is looked at again
SURE = 0.95  # a face that likely, even if the landmarker were as sure of it upside down, is not turned to find out
FILES = ("detector.onnx", "landmarker.onnx", "confirmation.json")
MAX_BYTES = 1 << 16
_NUMBERS = ("score", "doubt", "doubt_upside_down", "constant", "threshold")

Floats64 = NDArray[np.float64]


@dataclass(frozen=True)
class Evidence:
    """How much the models' answers say.

    Attributes:
        score: weight of the log-odds of the detector's score.
        doubt: weight of the logarithm of the landmarker's relative uncertainty.
        doubt_upside_down: the same of the crop turned by 180 degrees.
        constant: what is added.
        threshold: lowest probability of a face that is kept.
        detector, landmarker: the models, as ``name@digest``, whose answers were weighed.
    """

    score: float
    doubt: float
    doubt_upside_down: float
    constant: float
    threshold: float
    detector: str
    landmarker: str

    def probabilities(self, looks: ArrayLike) -> NDArray[np.float32]:
        """Of rows (M, 3) of `first_look` or `second_look`, the probability (M,) of each to be a face.

        >>> Evidence(2, -2, 1, -2, 0.3, "detector@1", "landmarker@1").probabilities([[0, -2, -2]]).tolist()
        [0.5]
        """
        weights = [self.score, self.doubt, self.doubt_upside_down]
        logits = np.asarray(looks, np.float64).reshape(-1, 3) @ weights + self.constant
        return (0.5 + 0.5 * np.tanh(logits / 2)).astype(np.float32)


def first_look(found: Detections, shapes: Sequence[FaceShape | None]) -> Floats64:
    """Rows (M, 3) that `Evidence` weighs, as if each face were as doubtful upside down as upright.

    A row holds the log-odds of the score and the logarithms of the relative uncertainty, upright and upside down. A
    shape that is not there counts as unsure by the whole box.
    """
    scores = found.scores.astype(np.float64).clip(1e-6, 1 - 1e-6)
    upright = [np.nan if s is None or s.uncertainty is None else float(s.uncertainty.mean()) for s in shapes]
    doubt = _relative(found, np.array(upright, np.float64))
    return np.column_stack([np.log(scores / (1 - scores)), doubt, doubt])


def second_look(landmarker: ThermalLandmarker, frame: Gray, found: Detections, looks: Floats64) -> Floats64:
    """The rows of `first_look` with what the landmarker says of the faces when they are turned upside down."""
    return np.column_stack([looks[:, :2], _relative(found, landmarker.doubt_upside_down(frame, found))])


def _relative(found: Detections, doubt: ArrayLike) -> Floats64:
    sides = np.sqrt(found.bboxes[:, 2:].astype(np.float64).prod(1).clip(1e-6))
    relative = np.asarray(doubt, np.float64) / sides
    logarithm: Floats64 = np.log(np.where(np.isfinite(relative), relative, 1.0).clip(1e-4, 1.0))
    return logarithm


def read_evidence(path: Path | None = None) -> Evidence:
    """The weights in a file; those of the shipped models by default.

    Raises:
        MissingDependencyError: there is no such file.
        DamagedInputError: it holds something else.
    """
    source = Path(str(files("thermvision.annotations.models").joinpath(FILES[2]))) if path is None else path
    if not source.is_file():
        raise MissingDependencyError(f"{source} is not there; type: pip install --force-reinstall thermvision-db")
    try:
        if source.stat().st_size > MAX_BYTES:
            raise ValueError(f"it has more than {MAX_BYTES} bytes")
        held: Any = json.loads(source.read_text(encoding="utf-8"))
        numbers = {name: float(held[name]) for name in _NUMBERS}
        if not np.isfinite(list(numbers.values())).all() or not 0 < numbers["threshold"] <= 1:
            raise ValueError(f"its numbers are {numbers}")
        return Evidence(**numbers, detector=str(held["detector"]), landmarker=str(held["landmarker"]))
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise DamagedInputError(
            f"{source} holds no weights of a second look ({error}); allowed: what thermvision train confirmation writes"
        ) from error


def evidence_text(evidence: Evidence, measured: dict[str, Any]) -> str:
    """The JSON that `read_evidence` reads, with what was ``measured`` as further keys."""
    return json.dumps(asdict(evidence) | measured, indent=1) + "\n"


class ConfirmedDetector:
    """The shipped detector, each of whose candidates the shipped landmarker confirms or refuses.

    Scores are probabilities of a face among candidates of composed pictures. The shapes that the landmarker found
    come with the detections, so that nobody needs to ask it twice.

    Args:
        min_face: see `ThermalDetector`.
        threshold: lowest score; None for the fitted one.
        overlap: see `ThermalDetector`.
        threads: of one run of a network.
        models: folder with ``detector.onnx``, ``landmarker.onnx`` and ``confirmation.json``; None for the shipped ones.
        evidence: in place of the file's.

    Raises:
        MissingDependencyError, DamagedInputError, UsageError: see `thermvision.annotations.session.open_model`.

    >>> ConfirmedDetector(threshold=2)
    Traceback (most recent call last):
    ...
    thermvision.annotations.errors.UsageError: threshold is 2; allowed: above 0, up to 1
    """

    def __init__(
        self,
        min_face: float = 40,
        threshold: float | None = None,
        overlap: float = 0.4,
        threads: int = 1,
        models: Path | None = None,
        evidence: Evidence | None = None,
    ) -> None:
        if threshold is not None and not 0 < threshold <= 1:
            raise UsageError(f"threshold is {threshold}; allowed: above 0, up to 1")
        detector, landmarker, weights = (None if models is None else models / name for name in FILES)
        self._detector = ThermalDetector(detector, min_face, CANDIDATES, overlap, threads)
        self._landmarker = ThermalLandmarker(landmarker, threads)
        self.evidence = evidence or read_evidence(weights)
        self.shapes_source = self._landmarker.source
        weights_digest = short_digest(evidence_text(self.evidence, {}).encode())
        self.source = f"{self._detector.source}+confirmed@{weights_digest}"
        self.tells_polarity, self.min_face = self._detector.tells_polarity, self._detector.min_face
        self.threshold = self.evidence.threshold if threshold is None else threshold

    def detect(self, frames: Sequence[Gray]) -> list[Detections]:
        """The faces of each (H, W) uint8 frame with their shapes, best first; see `ThermalDetector.detect`."""
        found = self._detector.detect(frames)
        return [self._confirmed(frame, one) for frame, one in zip(frames, found, strict=True)]

    def _confirmed(self, frame: Gray, found: Detections) -> Detections:
        shapes = self._landmarker.locate(frame, found)
        looks = first_look(found, shapes)
        scores = self.evidence.probabilities(looks)
        if (doubtful := scores < SURE).any():
            rest = found.take(doubtful)
            turned = second_look(self._landmarker, frame, rest, looks[doubtful])
            scores[doubtful] = self.evidence.probabilities(turned)
        kept = replace(found, scores=scores, shapes=tuple(shapes)).take(np.argsort(-scores, kind="stable"))
        return kept.take(kept.scores >= self.threshold)
