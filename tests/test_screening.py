"""Verdicts on stills: each flaw has its reason, and a proper face has none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from moving_faces import OvalAnnotator, ovals

from thermvision.annotations.errors import DamagedInputError, UsageError
from thermvision.annotations.faces import INVERTED, Gray
from thermvision.generation.screening import Known, Limits, Screen, artefacts, default_screen, luma, read_known


class PlaceEmbedder:
    """Says where a face is: the same place, the same person."""

    source = "places@0"

    def embed(self, image: Gray | Sequence[Gray], keypoints: np.ndarray | None = None) -> np.ndarray:
        assert keypoints is not None
        vectors = keypoints.mean(1).astype(np.float32)
        return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.float32)


NOBODY = Known()


def screen(**limits: float) -> Screen:
    return Screen(OvalAnnotator(), PlaceEmbedder(), Limits(**{"alike": 0.9, **limits}))


def looked(gray: Gray, rgb: np.ndarray | None = None, earlier: Known = NOBODY, by: Screen | None = None):
    return (by or screen()).look(np.dstack([gray] * 3) if rgb is None else rgb, gray, earlier)


def test_a_proper_face_is_kept():
    verdict = looked(ovals(96, 96, (48, 48)))
    assert verdict.kept
    assert verdict.reasons == ()
    assert verdict.scores["score"] == 1.0
    assert verdict.embedding is not None
    assert verdict.annotation.face_count == 1
    assert screen().source == "ovals@0+places@0"


@pytest.mark.parametrize(
    ("gray", "reason"),
    [
        (np.full((96, 96), 90, np.uint8), "no face"),
        (np.full((96, 96), 90, np.uint8), "flat: its levels span 0, allowed: 32 or more"),
        (ovals(96, 96, (30, 30), (70, 70)), "2 faces"),
        (np.maximum(ovals(96, 96, (48, 48)), np.uint8(255) * (np.arange(96) < 60)[None]), "clipped: 0.62"),
        (np.kron(np.random.default_rng(0).integers(0, 255, (12, 12)), np.ones((8, 8))).astype(np.uint8), "blocky: "),
    ],
)
def test_each_flaw_has_its_reason(gray: Gray, reason: str):
    verdict = looked(gray)
    assert not verdict.kept
    assert any(r.startswith(reason) for r in verdict.reasons), verdict.reasons


def test_colors_and_doubts_are_reasons():
    gray = ovals(96, 96, (48, 48))
    colored = np.dstack([gray, 255 - gray, gray])
    assert [r.split(":")[0] for r in looked(gray, colored).reasons] == ["colored"]
    doubtful = Screen(OvalAnnotator(), PlaceEmbedder(), Limits(min_score=1.0))
    verdict = looked(gray, by=doubtful)
    assert verdict.kept  # an annotator without scores is taken at its word


def test_look_alikes_are_named():
    gray = ovals(96, 96, (48, 48))
    embedding = looked(gray).embedding
    assert embedding is not None
    earlier = Known().with_face("P_000004", embedding)
    assert looked(gray, earlier=earlier).reasons == ("looks like identity P_000004: cosine 1.000, allowed: below 0.9",)
    elsewhere = looked(ovals(96, 96, (76, 22)), earlier=earlier)
    assert elsewhere.kept
    assert 0.5 < elsewhere.scores["nearest identity"] < 0.9
    trained = screen()
    trained.training = Known().with_face("a.png", embedding)
    assert looked(gray, by=trained).reasons[0].startswith("looks like training image a.png: cosine 1.000")


def test_a_black_hot_face_is_compared_as_its_negative():
    class Negative(OvalAnnotator):
        def main_faces(self, frames, **how):
            for annotation, facts in super().main_faces((255 - f for f in frames), **how):
                yield replace(annotation, source=annotation.source + INVERTED), facts

    class Brightness(PlaceEmbedder):
        def embed(self, image, keypoints=None):
            return np.float32([[np.mean(image) / 255, 0]])

    gray = ovals(96, 96, (48, 48))
    white, black = Screen(OvalAnnotator(), Brightness()), Screen(Negative(), Brightness())
    assert np.array_equal(white.face(gray)[1], black.face(255 - gray)[1])


def test_training_images_are_read_from_a_folder(tmp_path: Path):
    (tmp_path / "deep").mkdir()
    cv2.imwrite(str(tmp_path / "b.png"), ovals(96, 96, (30, 60)))
    cv2.imwrite(str(tmp_path / "deep" / "a.png"), ovals(96, 96, (60, 30)))
    cv2.imwrite(str(tmp_path / "nobody.png"), np.full((96, 96), 90, np.uint8))
    known = read_known(tmp_path, screen())
    assert known.names == ("b.png", "a.png")
    assert known.embeddings.shape == (2, 2)
    (tmp_path / "c.png").write_bytes(b"no picture")
    with pytest.raises(DamagedInputError, match="take it out of"):
        read_known(tmp_path, screen())
    with pytest.raises(UsageError, match="holds 0 pictures"):
        read_known(tmp_path / "nowhere", screen())


@given(arrays(np.uint8, st.tuples(st.integers(16, 40), st.integers(16, 40))))
def test_artefact_scores_are_shares_and_turn_with_the_picture(gray: Gray):
    scores = artefacts(np.dstack([gray] * 3), gray)
    assert 0 <= scores["range"] <= 255
    assert 0 <= scores["clipped"] <= 1
    assert scores["colored"] == 0
    turned = artefacts(np.dstack([gray.T] * 3), np.ascontiguousarray(gray.T))
    assert turned["blocky"] == pytest.approx(scores["blocky"], abs=1e-3)


@given(arrays(np.uint8, (5, 4, 3)))
def test_luma_is_that_of_rec_601(rgb: np.ndarray):
    expected = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY).astype(int)
    assert np.abs(luma(rgb).astype(int) - expected).max() <= 1
    gray = np.dstack([rgb[..., 0]] * 3)
    assert np.array_equal(luma(gray), rgb[..., 0])


def test_the_shipped_models_find_no_face_in_noise():
    shipped = default_screen()
    gray = np.random.default_rng(0).integers(0, 255, (96, 96)).astype(np.uint8)
    verdict = shipped.look(np.dstack([gray] * 3), gray)
    assert "no face" in verdict.reasons
    assert "+" in shipped.source
