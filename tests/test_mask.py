from dataclasses import replace

import numpy as np
import pytest

from thermvision.annotations.schema import OBJECT_OCCLUDED, SEGMENTS
from thermvision.generation.engines.phantom import mask
from thermvision.generation.engines.phantom.appearance import dress
from thermvision.generation.engines.phantom.expression import expression_weights
from thermvision.generation.engines.phantom.facial_hair import BEARD
from thermvision.generation.engines.phantom.identity import make_head
from thermvision.generation.engines.phantom.landmarks import View
from thermvision.generation.engines.phantom.layers import Head
from thermvision.generation.engines.phantom.mask import MASK_KINDS, make_mask
from thermvision.generation.engines.phantom.scene import Scene
from thermvision.generation.engines.phantom.thermal import skin_temperature
from thermvision.generation.specs import Subject

SUBJECT = Subject("m", 3, "male", 6, {"hairstyle": "bald", "beard": "full"})
MOUTH = list(range(48, 68))


@pytest.fixture(scope="module")
def head() -> Head:
    return make_head(SUBJECT)


def view(head: Head) -> View:
    middle = (head.rest[:, 1].max() + head.landmarks[8, 1]) / 2 - 0.02
    return View(np.array([0.0, middle, head.landmarks[30, 2] + 0.62]), 281.0, 150)


@pytest.mark.parametrize("index", range(6))
def test_cloth_lies_outside_nose_mouth_and_chin(index: int) -> None:
    head = make_head(Subject("a", index, ("female", "male")[index % 2], 4))
    skin = skin_temperature(head, np.random.default_rng(1), np.random.default_rng(2), 22.0)
    made = make_mask(head, skin, 22.0, np.random.default_rng(index))
    cloth = made.layers[0]
    marks = head.landmarks
    for k in (30, 33, 51, 57, 62, 8, 6, 10):
        distance = np.linalg.norm(cloth.vertices[:, :2] - marks[k, :2], axis=1)
        assert cloth.vertices[distance < 0.006, 2].max() > marks[k, 2]
    # eyes stay free
    assert cloth.vertices[np.abs(cloth.vertices[:, 0]) > 0.02, 1].max() < marks[36:48, 1].min()
    assert len(made.layers) == 5  # cloth and two ends of elastic an ear
    for layer in made.layers:
        assert layer.label == SEGMENTS.index("mask")
        assert 22 < layer.temperature.min() <= layer.temperature.max() < skin.base + 2
        assert layer.jaw is not None
        assert layer.jaw.min() >= 0
        assert layer.jaw.max() <= 1
    assert made.covers(marks[[51, 57, 8]] - [0, 0.004, 0]).all()
    assert not made.covers(marks[[19, 27, 37, 44]]).any()


def test_kinds_differ(head: Head, monkeypatch: pytest.MonkeyPatch) -> None:
    skin = skin_temperature(head, np.random.default_rng(1), np.random.default_rng(2), 22.0)
    depth = {}
    for name, kind in MASK_KINDS.items():
        monkeypatch.setattr(mask, "MASK_KINDS", dict.fromkeys(MASK_KINDS, kind))
        lattice = make_mask(head, skin, 22.0, np.random.default_rng(3)).lattice
        depth[name] = lattice[18:28, 24:37, 2].mean()
    assert depth["cup"] > depth["surgical"] + 0.004


def test_breath_warms_the_cloth_before_the_mouth(head: Head) -> None:
    dressed = dress(head, SUBJECT, {"mask": "mask"}, 22.0, 0)
    scene = Scene(head, dressed, view(head), 22.0)
    pose, still = np.zeros(3), np.zeros(52)
    exhaled, inhaled = (scene.render(pose, still, b).temperature for b in (1.0, -1.0))
    u, v = scene.view.project(head.landmarks[[62]])[0].astype(int)
    added = float(exhaled[v, u] - inhaled[v, u])
    assert 1.5 < added < 6.5  # twice the amplitude
    amplitude = next(x for x in dressed.layers if x.label == SEGMENTS.index("mask")).breathing
    assert amplitude is not None
    assert 1.0 < amplitude.max() < 3.4
    # brows and garment do not breathe
    u, v = scene.view.project(head.landmarks[[27]])[0].astype(int)
    assert abs(float(exhaled[v - 12, u] - inhaled[v - 12, u])) < 0.05
    garment = dressed.layers[0]
    assert garment.breathing is None


def test_landmarks_beneath_are_occluded_and_nothing_comes_through(head: Head) -> None:
    dressed = dress(head, SUBJECT, {"mask": "mask"}, 22.0, 0)
    assert dressed.attributes["mask"] == "mask"
    scene = Scene(head, dressed, view(head), 22.0)
    for expression in ("neutral", "open", "surprise", "smile"):
        seen = scene.render(np.zeros(3), expression_weights(expression), 0.0)
        assert (seen.landmark_state[[*MOUTH, 31, 33, 35, 7, 8, 9]] == OBJECT_OCCLUDED).all()
        assert (seen.landmark_state[36:48] == 3).all()
        at = scene.view.project(seen.landmarks_3d[[33, 51, 57, 62, 66]]).astype(int)
        assert (seen.segment[at[:, 1], at[:, 0]] == SEGMENTS.index("mask")).all()


def test_the_beard_beneath_is_gone_and_the_rest_stays(head: Head) -> None:
    free, masked = (dress(head, SUBJECT, {"mask": m}, 22.0, 0) for m in ("none", "mask"))
    beards = [next(b for b in d.facial_hair.bound if b.label == BEARD) for d in (free, masked)]
    assert 0 < len(beards[1].length) < 0.6 * len(beards[0].length)
    assert len(free.facial_hair.bound) == len(masked.facial_hair.bound)
    assert np.array_equal(free.facial_hair.bound[0].direction, masked.facial_hair.bound[0].direction)


def test_without_breath_field_a_layer_keeps_its_temperature(head: Head) -> None:
    dressed = dress(head, SUBJECT, {"mask": "mask"}, 22.0, 0)
    still = [replace(layer, breathing=None) for layer in dressed.layers]
    scene = Scene(head, replace(dressed, layers=still), view(head), 22.0)
    seen = [scene.render(np.zeros(3), np.zeros(52), b) for b in (1.0, -1.0)]
    u, v = scene.view.project(head.landmarks[[62]])[0].astype(int)
    assert abs(float(seen[0].temperature[v, u] - seen[1].temperature[v, u])) < 0.1
