"""One portrait moved by one template, frame by frame; and threads that work ahead."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from moving_faces import OvalAnnotator, ovals

from thermvision.annotations.errors import UsageError
from thermvision.generation.engines.liveportrait.ahead import ahead
from thermvision.generation.engines.liveportrait.driving import DrivingOptions, driving_keypoints, retarget_still
from thermvision.generation.engines.liveportrait.faces import FaceReader
from thermvision.generation.engines.liveportrait.keypoints import rotation_matrix, transform_keypoints
from thermvision.generation.engines.liveportrait.networks import Networks
from thermvision.generation.engines.liveportrait.portrait import Portrait, make_portrait
from thermvision.generation.engines.liveportrait.procedure import animate, played, retarget
from thermvision.generation.engines.liveportrait.template import MotionTemplate


@pytest.fixture(scope="module")
def networks(narrow_networks: Networks) -> Networks:
    return narrow_networks


@pytest.fixture(scope="module")
def portrait(networks: Networks) -> Portrait:
    gray, face = FaceReader(OvalAnnotator()).in_picture(ovals(150, 180, (90, 70)))
    return make_portrait(networks, gray, face)


def nodding(count: int, fps: float = 25) -> MotionTemplate:
    degrees, none = torch.linspace(0, 20, count), torch.zeros(count)
    rng = np.random.default_rng(0)
    exp = rng.normal(0, 0.01, (count, 21, 3))
    ratios = np.linspace(0, 0.4, count)[:, None]
    return MotionTemplate(
        fps, np.ones((count, 1)), rotation_matrix(degrees, none, none).numpy(), exp, np.zeros((count, 3)),
        np.repeat(ratios, 2, 1), ratios, name="nod.npz",
    )  # fmt: skip


def by_hand(networks: Networks, portrait: Portrait, template: MotionTemplate, options: DrivingOptions) -> np.ndarray:
    moved = driving_keypoints(
        portrait.motion, portrait.ratios, template, options,
        networks.stitch, networks.retarget_eye, networks.retarget_lip,
    )  # fmt: skip
    return networks.draw(portrait.features, transform_keypoints(portrait.motion), moved)


@pytest.mark.parametrize(
    "options",
    [
        DrivingOptions(),
        DrivingOptions(relative=False, region="exp", stitching=False),
        DrivingOptions(eye_retargeting=True, lip_retargeting=True),
    ],
)
def test_frames_are_what_the_networks_draw(networks: Networks, portrait: Portrait, options: DrivingOptions):
    template = nodding(3)
    frames = np.stack(list(animate(networks, portrait, template, options, batch=2)))
    assert frames.shape == (3, 512, 512)
    assert frames.dtype == np.uint8
    wanted = by_hand(networks, portrait, template, options)
    assert np.abs(frames.astype(int) - wanted).max() <= 1
    assert (frames[0] != frames[2]).any()


def test_chosen_frames_in_their_order(networks: Networks, portrait: Portrait):
    template = nodding(3)
    order = np.array([2, 0, 2])
    frames = list(animate(networks, portrait, template, DrivingOptions(), frames=order))
    wanted = by_hand(networks, portrait, template, DrivingOptions())[order]
    assert np.abs(np.stack(frames).astype(int) - wanted).max() <= 1


def test_pasted_back_only_the_face_moves(networks: Networks, portrait: Portrait):
    template = nodding(2)
    drawn = list(animate(networks, portrait, template, DrivingOptions()))
    pasted = list(animate(networks, portrait, template, DrivingOptions(), paste_back=True))
    weight = portrait.paste_weight()
    for crop, whole in zip(drawn, pasted, strict=True):
        assert (whole == portrait.paste(crop, weight)).all()
        assert (whole[weight == 0] == portrait.picture[weight == 0]).all()


def test_one_driving_frame(networks: Networks, portrait: Portrait):
    assert len(list(animate(networks, portrait, nodding(1), DrivingOptions()))) == 1


def test_what_cannot_be_done_is_said_before_a_frame_is_drawn(networks: Networks, portrait: Portrait):
    with pytest.raises(UsageError, match="anchor frame is 7"):
        animate(networks, portrait, nodding(2), DrivingOptions(anchor=7))


def test_retargeting_a_still(networks: Networks, portrait: Portrait):
    asked = {"eyes": 0.1, "lips": 0.5, "yaw": 10.0, "pitch": -5.0, "roll": 3.0, "expression": 0.5}
    frame = retarget(networks, portrait, **asked)
    moved = retarget_still(
        portrait.motion, portrait.ratios, networks.stitch, networks.retarget_eye, networks.retarget_lip, **asked
    )
    wanted = networks.draw(portrait.features, transform_keypoints(portrait.motion), moved)[0]
    assert (frame == wanted).all()
    assert retarget(networks, portrait, paste_back=True).shape == (150, 180)
    blind = make_portrait(networks, ovals(64, 64), None, crop=False)
    with pytest.raises(UsageError, match="source's eyes"):
        retarget(networks, blind, eyes=0.3)


@given(st.integers(1, 60), st.integers(1, 9), st.sampled_from([12.5, 25.0, 29.97, 60.0]), st.sampled_from([25.0, 30.0]))
def test_playing_goes_to_and_fro_at_the_templates_speed(count, length, fps, clip_fps):
    order = played(count, nodding(length, fps), clip_fps)
    assert len(order) == count
    assert order[0] == 0
    assert 0 <= order.min() <= order.max() <= length - 1
    assert np.abs(np.diff(order)).max(initial=0) <= np.ceil(fps / clip_fps)
    if fps == clip_fps:
        assert order[:length].tolist() == list(range(length))[:count]


def test_ahead_keeps_order_raises_in_place_and_stops_with_its_user():
    before = threading.active_count()
    assert list(ahead(range(100), depth=3)) == list(range(100))

    def broken():
        yield 1
        raise ValueError("third")

    made = ahead(broken())
    assert next(made) == 1
    with pytest.raises(ValueError, match="third"):
        next(made)
    closed = []

    def endless():
        try:
            n = 0
            while True:
                yield (n := n + 1)
        finally:
            closed.append(True)

    some = ahead(endless(), depth=2)
    assert [next(some), next(some)] == [1, 2]
    some.close()
    assert threading.active_count() == before
    assert list(ahead([])) == []
