"""The shipped models on rendered people that they never saw, with figures that a change must not make worse."""

from __future__ import annotations

from functools import lru_cache
from importlib.resources import files

import numpy as np
import pytest

from thermvision.annotations.attributes import AttributeReader
from thermvision.annotations.conventions import five_points
from thermvision.annotations.detection_metrics import iou_matrix
from thermvision.annotations.detector import ThermalDetector
from thermvision.annotations.embedder import ThermalEmbedder
from thermvision.annotations.faces import Detections
from thermvision.annotations.landmark_metrics import interocular
from thermvision.annotations.landmarker import ThermalLandmarker
from thermvision.annotations.pipeline import Annotator
from thermvision.generation.engines import get_engine
from thermvision.generation.specs import Still, StillSpec, Subject

SEED = 90210  # of no recipe that models are trained from
MODELS = ("detector", "landmarker", "embedder", "attributes")


@lru_cache(1)
def stills() -> list[Still]:
    """Two stills each of six people: near-frontal, and turned to the side."""
    engine, made = get_engine("phantom"), []
    for index in range(6):
        subject = Subject(f"P_{index:06d}", index, ("female", "male")[index % 2], SEED)
        for item, (category, yaw) in enumerate((("frontal_pose", 0.0), ("mix", (-35.0, 35.0)[index % 2]))):
            parameters = {"yaw": yaw, "mask": "none", "glasses": "none", "headwear": "none", "expression": "neutral"}
            spec = StillSpec(f"{subject.subject_id}_{item}", subject, "phantom", category, item, 512, False, parameters)
            made.append(engine.render(spec))
    return made


def test_all_are_small_enough_and_have_a_card() -> None:
    folder = files("thermvision.annotations.models")
    sizes = [len((folder / f"{name}.onnx").read_bytes()) for name in MODELS]
    assert sum(sizes) <= 12 * 2**20
    for name in MODELS:
        card = (folder / f"{name}.md").read_text(encoding="utf-8")
        assert all(part in card for part in ("licence", "## Measured", "## Limits", "SHA-256", "command"))


@pytest.mark.slow
def test_every_face_is_found_and_nothing_else() -> None:
    found = ThermalDetector().detect([s.frame for s in stills()])
    for still, faces in zip(stills(), found, strict=True):
        assert len(faces) == 1, still.spec.item_id
        assert iou_matrix(still.annotation.bbox[None], faces.bboxes)[0, 0] > 0.5
        assert faces.black_hot is not None
        assert faces.black_hot < 0.5


@pytest.mark.slow
def test_black_hot_frames_are_inverted() -> None:
    annotator = Annotator(ThermalDetector(), ThermalLandmarker())
    plain = annotator.annotate([s.frame for s in stills()[:4]])
    negative = annotator.annotate([255 - s.frame for s in stills()[:4]])
    for a, b in zip(plain, negative, strict=True):
        np.testing.assert_allclose(a.bbox, b.bbox, atol=1e-3)
        assert b.source.endswith("+inverted")


@pytest.mark.slow
def test_landmarks_pose_and_states() -> None:
    landmarker, errors, turns = ThermalLandmarker(), [], []
    for still in stills():
        truth = still.annotation
        shape = landmarker.locate(still.frame, _box(truth.bbox))[0]
        assert shape is not None
        assert truth.landmarks is not None
        assert truth.head_pose is not None
        assert shape.head_pose is not None
        errors.append(np.linalg.norm(shape.landmarks - truth.landmarks, axis=1).mean() / interocular(truth.landmarks))
        turns.append(np.abs(shape.head_pose - truth.head_pose).mean())
    assert np.mean(errors[::2]) < 0.04  # near-frontal
    assert np.mean(errors) < 0.06
    assert np.mean(turns) < 4


@pytest.mark.slow
def test_one_person_is_nearer_to_himself_than_to_others() -> None:
    embedder = ThermalEmbedder()
    points = [five_points(s.annotation.landmarks) for s in stills() if s.annotation.landmarks is not None]
    vectors = np.concatenate([embedder.embed(s.frame, p[None]) for s, p in zip(stills(), points, strict=True)])
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-5)
    alike = vectors[::2] @ vectors[1::2].T
    own = np.diag(alike)
    assert own.mean() > alike[~np.eye(len(alike), dtype=bool)].mean() + 0.2
    assert (alike.argmax(1) == np.arange(len(alike))).mean() >= 0.5


@pytest.mark.slow
def test_gender_and_what_is_not_worn() -> None:
    reader = AttributeReader()
    read = [reader.read(s.frame, _box(s.annotation.bbox))[0] for s in stills()]
    right = [r["gender"][0] == s.spec.subject.gender for r, s in zip(read, stills(), strict=True)]
    assert np.mean(right) >= 0.75
    for name in ("glasses", "mask", "headwear"):
        assert np.mean([r[name][0] == "none" for r in read]) >= 0.75


def _box(bbox: np.ndarray) -> Detections:
    return Detections(bbox[None], np.ones(1, np.float32), np.full((1, 5, 2), np.nan, np.float32))
