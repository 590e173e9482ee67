import numpy as np
import pytest

from thermvision.annotations.errors import UsageError
from thermvision.annotations.pose import rotation_from_pose
from thermvision.annotations.schema import SEGMENTS
from thermvision.generation.engines.phantom.appearance import dress
from thermvision.generation.engines.phantom.identity import make_head
from thermvision.generation.engines.phantom.landmarks import View
from thermvision.generation.engines.phantom.scene import Scene
from thermvision.generation.specs import Subject

SUBJECT = Subject("P_3", 3, "male", 7, {"hairstyle": "short", "beard": "stubble"})
HEAD = make_head(SUBJECT)
STILL = np.zeros(52)


def scene(item: int = 0, distance: float = 0.62, focal: float = 80.0) -> Scene:
    eye = np.array([0, HEAD.landmarks[30, 1] - 0.02, HEAD.landmarks[30, 2] + distance])
    return Scene(HEAD, dress(HEAD, SUBJECT, {"glasses": "glasses"}, 22.0, item), View(eye, focal, 42), 22.0)


@pytest.mark.parametrize("item", range(4))
def test_no_collar_holds_the_face(item: int) -> None:
    prepared = scene(item)
    pose = np.array([50.0, 10, 5])
    seen = prepared.render(pose, STILL)
    neck = prepared.neck
    rigid = (HEAD.landmarks - neck.pivot) @ rotation_from_pose(pose).T + neck.pivot
    np.testing.assert_allclose(seen.landmarks_3d, rigid, atol=1e-9)


def test_frames_do_not_depend_on_the_frames_before() -> None:
    prepared = scene()
    first = prepared.render(np.zeros(3), STILL)
    radiance, surface = first.radiance.copy(), first.surface.copy()
    prepared.render(np.array([60.0, -10, 4]), STILL + 0.3, 1.0)
    again = prepared.render(np.zeros(3), STILL)
    np.testing.assert_array_equal(again.radiance, radiance)
    np.testing.assert_array_equal(again.surface, surface)
    np.testing.assert_array_equal(first.surface, surface)  # buffers that are used again are not handed out


def test_everything_is_in_the_picture() -> None:
    seen = scene().render(np.zeros(3), STILL)
    shares = {name: float((seen.segment == k).mean()) for k, name in enumerate(SEGMENTS)}
    assert shares["skin"] > 0.15
    assert shares["background"] > 0.2
    assert min(shares["hair"], shares["cloth"], shares["glasses"]) > 0.01
    assert np.isfinite(seen.radiance).all()
    assert 15 < seen.temperature.min() < seen.temperature.max() < 40
    assert seen.depth[seen.segment == SEGMENTS.index("glasses")].max() < HEAD.landmarks[30, 2] + 0.62


def test_breath_warms_the_nostrils() -> None:
    prepared = scene()
    out, inhaled = (prepared.render(np.zeros(3), STILL, breath).skin for breath in (1.0, -1.0))
    assert (out - inhaled).max() > 0.5
    assert np.abs(out - inhaled)[HEAD.topology.landmarks[27]] < 0.05


def test_a_head_at_the_lens_is_refused() -> None:
    with pytest.raises(UsageError, match="distance"):
        scene(distance=0.05).render(np.zeros(3), STILL)
