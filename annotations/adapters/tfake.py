"""The landmark network of T-FAKE through its own package, `thermal-face-alignment`.

P. Flotho et al., "T-FAKE: Synthesizing Thermal Images for Facial Landmarking", CVPR 2025. Package and weights are for
non-commercial use (CC BY-NC-SA 4.0) and are fetched by their user, who needs torch with torchvision, hence most easily
an environment of its own. The 70 points are iBUG 68 and two pupils.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from thermvision.annotations.conventions import NUM_LANDMARKS
from thermvision.annotations.errors import DamagedInputError, MissingDependencyError, UsageError
from thermvision.annotations.faces import Detections, FaceShape, Gray
from thermvision.annotations.session import MAX_BYTES, short_digest

INSTALL = "pip install thermal-face-alignment"
POINTS = 70


class _GivenFaces:
    """Stands where the package puts its own detector, and hands it the boxes that are already known."""

    def __init__(self, device: str = "cpu") -> None:
        self.faces: list[dict[str, Any]] = []

    def detect(self, image: object) -> list[dict[str, Any]]:
        return self.faces


class TfakeLandmarker:
    """The 70-point network behind the protocol of landmarkers; pupils are left out.

    Args:
        path: its weights; None lets the package fetch them into its own folder.
        threads: threads of torch.

    Raises:
        MissingDependencyError: the package, something it needs or the weights are not there.
        DamagedInputError: the file does not hold these weights.
    """

    def __init__(self, path: str | Path | None = None, threads: int = 1) -> None:
        package = _package()
        file = None if path is None else Path(path).expanduser()
        if file is not None and not file.is_file():
            raise MissingDependencyError(
                f"{path} is no file of weights; leave the path out and the package fetches them"
            )
        if file is not None and (size := file.stat().st_size) > MAX_BYTES:
            raise DamagedInputError(f"{path} has {size} bytes; allowed: up to {MAX_BYTES}; choose other weights")
        import torch

        torch.set_num_threads(threads)
        # the package looks for this attribute before it loads a detector of its own
        network = type("Landmarks", (package.ThermalLandmarks,), {"_landmarker_cls": _GivenFaces})
        try:
            with redirect_stdout(sys.stderr):  # where it prints paths and progress
                self._network = network(
                    model_path=None if file is None else str(file), device="cpu", n_landmarks=POINTS
                )
        except Exception as error:  # torch raises pickle's, zip's and its own errors, the download whatever it likes
            if file is None or isinstance(error, (ImportError, OSError)):
                raise MissingDependencyError(
                    f"thermal-face-alignment cannot get its weights: {error}; fetch them and type: tfake:PATH"
                ) from error
            raise DamagedInputError(f"{path} holds no weights of thermal-face-alignment: {error}") from error
        digest = f"-{short_digest(file.read_bytes())}" if file is not None else ""
        self.source = f"tfake@{POINTS}{digest}"

    def locate(self, frame: Gray, detections: Detections) -> list[FaceShape | None]:
        """The shape of each face, 68 points without further knowledge.

        Raises:
            UsageError: the package gives back something else than it documents.
        """
        if not len(detections):
            return []
        low = detections.bboxes[:, :2]
        corners = np.concatenate([low, low + detections.bboxes[:, 2:]], 1)
        self._network.face_tracker.faces = [{"box": box, "landmarks": np.zeros((5, 2))} for box in corners.tolist()]
        found: Sequence[Any] = self._network.process(frame, multi=True, mode="pixel")[0]
        shapes = [np.asarray(points, np.float32) for points in found]
        if len(shapes) != len(detections) or any(points.shape != (POINTS, 2) for points in shapes):
            raise UsageError(
                f"{self.source} gives {[points.shape for points in shapes]} for {len(detections)} faces; "
                f"allowed: ({POINTS}, 2) each; type: {INSTALL}==1.0.0"
            )
        return [FaceShape(landmarks=points[:NUM_LANDMARKS]) for points in shapes]


def _package() -> Any:
    if find_spec("tfan") is None:
        raise MissingDependencyError(f"thermal-face-alignment is not installed; type: {INSTALL}")
    try:
        package = importlib.import_module("tfan")
        package.ThermalLandmarks  # noqa: B018  (imported at this access)
    except (ImportError, RuntimeError, AttributeError) as error:
        raise MissingDependencyError(
            f"thermal-face-alignment cannot be imported: {error}; type: {INSTALL}, in an environment whose torchvision "
            "works"
        ) from error
    return package
