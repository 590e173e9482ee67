"""The shipped attribute reader: gender, expression, glasses, mask, beard and headwear of detected faces."""

from __future__ import annotations

from pathlib import Path

from thermvision.annotations.faces import Detections, Gray
from thermvision.annotations.landmarker import face_crops
from thermvision.annotations.schema import BEARDS, EXPRESSIONS, GENDERS, GLASSES, HEADWEAR, MASKS
from thermvision.annotations.session import Model, open_model

SIZE = 112
MARGIN = 1.8  # wide enough for a beanie
LABELS: dict[str, tuple[str, ...]] = {
    "gender": GENDERS,
    "expression": EXPRESSIONS,
    "glasses": GLASSES,
    "mask": MASKS,
    "beard": BEARDS,
    "headwear": HEADWEAR,
}


class AttributeReader:
    """Reads the attributes in `LABELS`; gender means the face's morphology.

    Args:
        model: path of an ONNX file with the shipped model's inputs and outputs; None for the shipped one.
        threads: threads of one run of the network.

    Raises:
        MissingDependencyError, DamagedInputError, UsageError: see `thermvision.annotations.session.open_model`.

    >>> AttributeReader("nowhere.onnx")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ...
    thermvision.annotations.errors.MissingDependencyError: nowhere.onnx is no model file; ...
    """

    def __init__(self, model: str | Path | None = None, threads: int = 1) -> None:
        self._model: Model = open_model("attributes" if model is None else model, threads)
        self._model.require(["crop"], LABELS, "a reader of attributes")
        self.source = self._model.source

    def read(self, frame: Gray, detections: Detections) -> list[dict[str, tuple[str, float]]]:
        """For each face the likeliest label of each attribute with its probability, all in one run of the network."""
        if not len(detections):
            return []
        out = self._model.run({"crop": face_crops(frame, detections.bboxes, MARGIN, SIZE)[0]})
        return [
            {
                name: (labels[k], float(out[name][i, k]))
                for name, labels in LABELS.items()
                for k in [out[name][i].argmax()]
            }
            for i in range(len(detections))
        ]
