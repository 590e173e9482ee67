"""Animation: one portrait, one template, frames out; and one picture with its face changed."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from thermvision.annotations.faces import Gray
from thermvision.generation.engines.liveportrait.ahead import ahead
from thermvision.generation.engines.liveportrait.driving import DrivingOptions, driving_keypoints, retarget_still
from thermvision.generation.engines.liveportrait.keypoints import transform_keypoints
from thermvision.generation.engines.liveportrait.networks import Networks
from thermvision.generation.engines.liveportrait.portrait import Portrait
from thermvision.generation.engines.liveportrait.template import MotionTemplate


def animate(
    networks: Networks,
    portrait: Portrait,
    template: MotionTemplate,
    options: DrivingOptions,
    *,
    frames: NDArray[np.intp] | None = None,
    paste_back: bool = False,
    batch: int | None = None,
) -> Iterator[Gray]:
    """The frames of ``portrait`` as ``template`` moves it, one by one.

    Drawing runs ahead in one thread and pasting in another, so that whoever takes the frames can encode meanwhile.

    Args:
        networks: draw.
        portrait: whose face.
        template: the motion, of N frames.
        options: how it is used.
        frames: which of the N are drawn, in which order; None: all.
        paste_back: give the whole picture (H, W) uint8; otherwise the crop (512, 512) uint8.
        batch: frames drawn at once; None: as many as suit the device.

    Raises:
        UsageError, DamagedInputError: see `driving.driving_keypoints`.
    """
    moved = driving_keypoints(
        portrait.motion,
        portrait.ratios,
        template,
        options,
        networks.stitch,
        networks.retarget_eye,
        networks.retarget_lip,
    )
    chosen = moved if frames is None else moved[frames.tolist()]
    still = transform_keypoints(portrait.motion)

    def drawn() -> Iterator[Gray]:
        for frames_drawn in networks.draw_batches(portrait.features, still, chosen, batch):
            yield from frames_drawn

    if not paste_back:
        return ahead(drawn())
    weight = portrait.paste_weight()
    return ahead(portrait.paste(crop, weight) for crop in ahead(drawn()))


def played(count: int, template: MotionTemplate, fps: float) -> NDArray[np.intp]:
    """(count,) which frame of a template each frame of a clip shows, at the template's own speed.

    A clip that is longer plays it to and fro.

    >>> one = np.zeros((3, 1)) + 1
    >>> three = MotionTemplate(30, one, np.stack([np.eye(3)] * 3), np.zeros((3, 21, 3)), np.zeros((3, 3)))
    >>> played(7, three, 30).tolist(), played(4, three, 60).tolist()
    ([0, 1, 2, 1, 0, 1, 2], [0, 1, 1, 2])
    """
    at = np.floor(np.arange(count) * template.fps / fps + 0.5).astype(np.intp)
    last = len(template) - 1
    return np.abs((at + last) % (2 * last) - last) if last else np.zeros(count, np.intp)


def retarget(
    networks: Networks,
    portrait: Portrait,
    *,
    eyes: float | None = None,
    lips: float | None = None,
    yaw: float = 0.0,
    pitch: float = 0.0,
    roll: float = 0.0,
    expression: float = 1.0,
    stitching: bool = True,
    paste_back: bool = False,
) -> Gray:
    """The portrait with its face changed: (512, 512) uint8, or the whole picture with ``paste_back``.

    Arguments are those of `driving.retarget_still`.

    Raises:
        UsageError: a value outside its limits, or eyes and lips of a picture without a face.
    """
    moved = retarget_still(
        portrait.motion, portrait.ratios, networks.stitch, networks.retarget_eye, networks.retarget_lip,
        eyes=eyes, lips=lips, yaw=yaw, pitch=pitch, roll=roll, expression=expression, stitching=stitching,
    )  # fmt: skip
    (drawn,) = networks.draw(portrait.features, transform_keypoints(portrait.motion), moved)
    return portrait.paste(drawn, portrait.paste_weight()) if paste_back else drawn
