import numpy as np
import pytest

from thermvision.annotations.errors import UsageError
from thermvision.annotations.schema import EXPRESSIONS
from thermvision.generation.engines.phantom.assets import load_assets
from thermvision.generation.engines.phantom.expression import (
    BLINK,
    FACE_UNITS,
    deform,
    expression_style,
    expression_weights,
)
from thermvision.generation.engines.phantom.identity import make_head
from thermvision.generation.specs import Subject

SUBJECTS = [Subject(f"P_{i}", i, "male" if i % 2 else "female", 11) for i in range(3)]


def test_units_are_the_data_files_in_sorted_order() -> None:
    units = sorted(name.split("/")[1] for name in load_assets().targets if name.startswith("faceunits/"))
    assert list(FACE_UNITS) == units
    assert len(units) == 52


def test_every_expression_of_the_schema_has_weights() -> None:
    for name in EXPRESSIONS:
        weights = expression_weights(name)
        assert weights.shape == (52,)
        assert 0 <= weights.min() <= weights.max() <= 1
        assert (weights.any()) == (name != "neutral")
    assert expression_weights("smile")[FACE_UNITS.index("mouthSmileRight")] == 0.85
    with pytest.raises(UsageError, match="neutral, smile"):
        expression_weights("wink")


def test_style_is_the_subjects_own_and_lids_close_alike() -> None:
    a, b = expression_style(SUBJECTS[0]), expression_style(SUBJECTS[1])
    assert np.abs(a - b).max() > 0.05
    assert (a[BLINK] == 1).all()
    assert 0.5 < a.min() < a.max() < 1.45
    np.testing.assert_array_equal(a, expression_style(SUBJECTS[0]))


@pytest.mark.parametrize("subject", SUBJECTS, ids=lambda s: s.subject_id)
def test_faces_do_what_the_expression_says(subject: Subject) -> None:
    head = make_head(subject)

    def marks(name: str) -> np.ndarray:
        _, surface = deform(head, expression_weights(name))
        return surface[head.topology.landmarks]

    rest = head.landmarks
    np.testing.assert_allclose(marks("neutral"), rest)
    smile, frown, surprise, blink = map(marks, ("smile", "frown", "surprise", "blink"))
    assert (smile[[48, 54], 1] > rest[[48, 54], 1] + 0.002).all()  # mouth corners rise
    assert (frown[[48, 54], 1] < rest[[48, 54], 1]).all()
    assert (frown[[20, 23], 1] < rest[[20, 23], 1]).all()  # inner brows sink
    assert surprise[8, 1] < rest[8, 1] - 0.005  # the chin drops
    assert (surprise[17:27, 1] > rest[17:27, 1]).all()
    gap = blink[[37, 38, 43, 44], 1] - blink[[41, 40, 47, 46], 1]
    assert (np.abs(gap) < 0.0005).all()  # lids meet and do not pass each other


def test_mesh_and_surface_agree() -> None:
    head = make_head(SUBJECTS[0])
    raw, surface = deform(head, expression_weights("talk"))
    assert raw.shape == head.raw.shape
    np.testing.assert_allclose(surface, head.topology.subdivision @ raw[head.topology.kept] * 0.1)
