"""Driving: from a source's keypoints and a motion template to the keypoints the warping network is given.

The algebra of every mode is LivePortrait's for a still source (https://github.com/KwaiVGI/LivePortrait, MIT, at commit
1986663), written for all frames at once. Its first frame is the anchor, against which motion is relative.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy.spatial import ConvexHull, QhullError
from torch import Tensor

from thermvision.annotations.errors import DamagedInputError, UsageError
from thermvision.generation.engines.liveportrait.keypoints import (
    NUM_KEYPOINTS,
    MotionInfo,
    place_keypoints,
    rotation_matrix,
    transform_keypoints,
)
from thermvision.generation.engines.liveportrait.template import MotionTemplate
from thermvision.generation.motion_template import head_poses, lips_from_expression, template_rotations

Region = Literal["all", "exp", "pose", "lip", "eyes"]
DrivingOption = Literal["expression-friendly", "pose-friendly"]
Ratios = tuple[ArrayLike, float]
# keypoints of the source (B, 21, 3) and of the driver (B, 21, 3) -> the driver's, stitched
Stitch = Callable[[Tensor, Tensor], Tensor]
# keypoints of the source (B, 21, 3) and ratios (B, 3 for eyes, 2 for lips) -> offsets (B, 21, 3)
Retarget = Callable[[Tensor, Tensor], Tensor]

LIP_POINTS, EYE_POINTS = (6, 12, 14, 17, 19, 20), (11, 13, 15, 16, 18)
# which coordinates of which keypoints absolute motion takes from the driver
_ABSOLUTE: dict[int, tuple[int, ...]] = {
    **dict.fromkeys((1, 2, 6, *range(11, 21)), (0, 1, 2)),
    3: (1,),
    4: (1,),
    5: (2,),
    8: (2,),
    9: (1, 2),
}
# expression of a neutral mouth in millionths, in place of the anchor's when the driver is one picture
_NEUTRAL_MOUTH = (
    (-94.524, 242.22, -40.0974), (208.596, 468.054, 12.7464), (-124.602, 324.972, 4.425),
    (119.652, -456.624, 54.0852), (-265.254, -74.598, -15.528), (-33.4884, -183.036, -3.49404),
    (-0.475428, -0.452466, 1.59498), (-541.296, 2632.8, 7.2486), (-11.694, 5.00502, 9.9888),
    (0.80286, 5.19132, -409.344), (166.878, -19.815, -88.548), (-15.1536, 82.506, 5.94012),
    (-0.261054, 2.7591, 2.21028), (-66.282, -68.286, -3.45318), (-832.62, -1795.92, -2.59176),
    (6.9714, 36.5514, -1.8978), (-4.80876, 7.1148, -10.3236), (-636.84, -1166.1, 56.2314),
    (283.29, -14.5656, 10.9746), (-4.16022, -15090.6, -2549.4), (222.474, 5627.88, 2726.46),
)  # fmt: skip
# within these a frame counts as neutral: degrees, and lip gap over width, whose estimate is up to .17 for closed lips
_NEUTRAL_YAW, _NEUTRAL_LIPS = 10.0, 0.2
_MOST_MULTIPLIER = 10.0


@dataclass(frozen=True)
class DrivingOptions:
    """How a template moves a source.

    Attributes:
        relative: move by the change since the anchor frame; otherwise take the driver's pose and expression as such.
        region: what moves: all, the expression alone, the head alone, lips or eyes alone.
        option: "expression-friendly" scales relative motion to the source's size and starts exactly at the source.
        multiplier: of the motion at the very end; 1 leaves it.
        stitching: let the stitching network fit the shoulders.
        eye_retargeting: open the eyes as the driver's left eye; with relative motion nothing else moves.
        lip_retargeting: open the lips as the driver's; with relative motion nothing else moves.
        normalize_lip: close the source's lips at the start when they are open.
        lip_normalize_threshold: lip ratio from which they count as open.
        anchor: the frame against which motion is relative; see `best_anchor`.

    Raises:
        UsageError: a value that does not exist.

    >>> DrivingOptions(region="lip", multiplier=1.5).relative
    True
    """

    relative: bool = True
    region: Region = "all"
    option: DrivingOption = "expression-friendly"
    multiplier: float = 1.0
    stitching: bool = True
    eye_retargeting: bool = False
    lip_retargeting: bool = False
    normalize_lip: bool = False
    lip_normalize_threshold: float = 0.03
    anchor: int = 0

    def __post_init__(self) -> None:
        for name, allowed in (("region", get_args(Region)), ("option", get_args(DrivingOption))):
            if (value := getattr(self, name)) not in allowed:
                raise UsageError(f"driving {name} is {value!r}; allowed: {', '.join(allowed)}")
        if not 0 <= self.multiplier <= _MOST_MULTIPLIER:
            raise UsageError(f"driving multiplier is {self.multiplier}; allowed: 0..{_MOST_MULTIPLIER:g}, 1 leaves it")
        if not 0 <= self.lip_normalize_threshold < math.inf:
            raise UsageError(f"lip_normalize_threshold is {self.lip_normalize_threshold}; allowed: 0 or more, as 0.03")
        if self.anchor < 0:
            raise UsageError(f"anchor frame is {self.anchor}; allowed: 0 or more")


def neutral_mouth() -> Tensor:
    """(1, 21, 3) expression of a neutral mouth, subtracted from that of a driver of one picture."""
    return torch.tensor(_NEUTRAL_MOUTH, dtype=torch.float64).mul(1e-6).float()[None]


def driving_keypoints(
    source: MotionInfo,
    source_ratios: Ratios | None,
    template: MotionTemplate,
    options: DrivingOptions,
    stitch: Stitch,
    retarget_eye: Retarget,
    retarget_lip: Retarget,
) -> Tensor:
    """Keypoints (N, 21, 3) of every frame of a clip.

    Args:
        source: of one face; its device is where all is computed.
        source_ratios: how far the source's eyes (left, right) and lips are open; None when nothing asks for it.
        template: the motion, of N frames; one frame is a driving picture.
        options: see there.
        stitch: (x_s, x_d) to stitched keypoints.
        retarget_eye: x_s and (source left, source right, wanted) to offsets.
        retarget_lip: x_s and (source, wanted) to offsets.

    Raises:
        UsageError: an anchor beyond the template, or ratios that an option needs are not known.
        DamagedInputError: the keypoints are no numbers, or flat so that their size cannot be compared.
    """
    _one(source)
    if options.anchor >= len(template):
        raise UsageError(f"anchor frame is {options.anchor}; allowed: 0..{len(template) - 1} in {template.name}")
    still = transform_keypoints(source)
    moved = _moved(source, template, options)
    if options.relative and len(template) > 1 and options.option == "expression-friendly":
        start = moved[options.anchor : options.anchor + 1]
        moved = still + (moved - start) * motion_multiplier(still, start)
    frames = still.expand_as(moved)
    if options.eye_retargeting or options.lip_retargeting:
        offsets = torch.zeros_like(moved)
        if options.eye_retargeting:
            eyes = _known(template.eyes, "eyes", template.name)[:, 0]
            offsets = offsets + retarget_eye(frames, _wanted(_source_eyes(source_ratios), eyes, still))
        if options.lip_retargeting:
            lips = _known(template.lips, "lips", template.name)[:, 0]
            offsets = offsets + retarget_lip(frames, _wanted([_source_lips(source_ratios)], lips, still))
        moved = (frames if options.relative else moved) + offsets
        if options.stitching:
            moved = stitch(frames, moved)
    else:
        if options.stitching:
            moved = stitch(frames, moved)
        if options.normalize_lip and options.relative:
            lips_now = _source_lips(source_ratios)
            if lips_now >= options.lip_normalize_threshold:
                moved = moved + retarget_lip(still, _wanted([lips_now], np.zeros(1), still))
    return _finite(still + (moved - still) * options.multiplier)


def _moved(source: MotionInfo, template: MotionTemplate, options: DrivingOptions) -> Tensor:
    """(N, 21, 3): the source with pose, expression, size and place as region and relativity want them."""
    device, anchor = source.kp.device, options.anchor
    turn, exp, scale, t = (
        torch.tensor(values, dtype=torch.float32, device=device)
        for values in (template.R, template.exp, template.scale, template.t)
    )
    rotation = rotation_matrix(source.pitch, source.yaw, source.roll)
    shift, size = source.t, source.scale
    turning = options.region in ("all", "pose")
    if options.relative:
        if len(template) > 1:
            rest = exp[anchor]
        else:  # one picture has no change since the anchor
            rest = torch.zeros_like(exp[0]) if options.region == "eyes" else neutral_mouth()[0].to(device)
        change = source.exp + (exp - rest)
        if turning:
            rotation = (turn @ turn[anchor].mT) @ rotation
            shift = source.t + (t - t[anchor])
        if options.region == "all":
            size = source.scale * (scale / scale[anchor])
    else:
        change = exp
        if turning:
            rotation, shift = turn, t
    offsets = torch.where(_taken(options).to(device), change, source.exp)
    return place_keypoints(source.kp, offsets, size, shift, rotation).expand(len(template), -1, -1)


def _taken(options: DrivingOptions) -> Tensor:
    """(21, 3) bool: which coordinates of the expression come from the driver."""
    mask = torch.zeros(NUM_KEYPOINTS, 3, dtype=torch.bool)
    if options.region in ("lip", "eyes"):
        mask[list(LIP_POINTS if options.region == "lip" else EYE_POINTS)] = True
    elif options.region != "pose":
        for point, axes in _ABSOLUTE.items():
            mask[point, list(axes)] = True
        mask |= options.relative
    return mask


def motion_multiplier(kp_source: Tensor, kp_driving0: Tensor) -> float:
    """Square root of the ratio of the volumes of two heads' keypoints (1, 21, 3): source over driver.

    Raises:
        DamagedInputError: keypoints that are no numbers or lie in a plane.
    """
    heads = (_finite(kp).detach().cpu().reshape(-1, 3).numpy() for kp in (kp_source, kp_driving0))
    try:
        over, under = (ConvexHull(head).volume for head in heads)
    except QhullError:
        over = under = 0.0
    if not (over > 0 and under > 0):
        raise DamagedInputError("keypoints lie in a plane, so heads cannot be compared; choose option pose-friendly")
    return math.sqrt(over / under)


@dataclass(frozen=True)
class Anchor:
    """The frame nearest to neutral, and how far frame 0 is from it: yaw in degrees on our axes, lip gap over width."""

    index: int
    yaw: float
    mouth: float

    @property
    def neutral(self) -> bool:
        """Whether frame 0 will do: within 10 degrees of frontal and with lips less than .2 of their width open."""
        return abs(self.yaw) <= _NEUTRAL_YAW and self.mouth <= _NEUTRAL_LIPS


def best_anchor(template: MotionTemplate) -> Anchor:
    """How far frame 0 of a template is from a neutral face, and which frame is nearest to one (the first of equals).

    Nearest is the least sum of squares of yaw, pitch and roll over 10 degrees, lips over .2, and twice the share by
    which the eyes are less open than in the most open tenth of the frames. Lips a template does not tell are estimated
    from its expression.
    """
    poses = head_poses(template.R)
    lips = lips_from_expression(template.exp) if template.lips is None else template.lips[:, 0].astype(np.float64)
    distance = ((poses / _NEUTRAL_YAW) ** 2).sum(1) + (lips / _NEUTRAL_LIPS) ** 2
    if template.eyes is not None:
        eyes = template.eyes.astype(np.float64).mean(1)
        level = max(float(np.percentile(eyes, 90)), 1e-6)
        distance += (2 * np.clip(1 - eyes / level, 0, 1)) ** 2
    return Anchor(int(np.argmin(distance)), float(poses[0, 0]), float(lips[0]))


def retarget_still(
    source: MotionInfo,
    source_ratios: Ratios | None,
    stitch: Stitch,
    retarget_eye: Retarget,
    retarget_lip: Retarget,
    *,
    eyes: float | None = None,
    lips: float | None = None,
    yaw: float = 0.0,
    pitch: float = 0.0,
    roll: float = 0.0,
    expression: float = 1.0,
    stitching: bool = True,
) -> Tensor:
    """Keypoints (1, 21, 3) of one picture with its face changed.

    Args:
        source: of one face.
        source_ratios: how far its eyes (left, right) and lips are open; None when neither is to change.
        stitch: as in `driving_keypoints`, and so the next two.
        retarget_eye: x_s and (source left, source right, wanted) to offsets.
        retarget_lip: x_s and (source, wanted) to offsets.
        eyes: wanted lid gap over eye width, 0..1; None leaves them.
        lips: wanted lip gap over mouth width, 0..1; None leaves them.
        yaw: degrees added to the head's own, on our axes: above 0 turns the nose to image right.
        pitch: likewise: above 0 looks up.
        roll: likewise: above 0 tilts the head clockwise.
        expression: factor of the picture's own expression; 0 is a face without one.
        stitching: let the stitching network fit the shoulders.

    Raises:
        UsageError: a value outside its limits, or unknown source ratios.
        DamagedInputError: the keypoints are no numbers.
    """
    _one(source)
    for name, value, least, most in (
        ("eyes", eyes, 0, 1),
        ("lips", lips, 0, 1),
        ("yaw", yaw, -90, 90),
        ("pitch", pitch, -60, 60),
        ("roll", roll, -90, 90),
        ("expression", expression, 0, _MOST_MULTIPLIER),
    ):
        if value is not None and not least <= value <= most:
            raise UsageError(f"{name} is {value}; allowed: {least}..{most:g}")
    still = transform_keypoints(source)
    rotation = rotation_matrix(source.pitch, source.yaw, source.roll)
    if yaw or pitch or roll:
        pose = head_poses(rotation.detach().cpu().numpy()) + np.array([yaw, pitch, roll])
        rotation = torch.tensor(template_rotations(pose), dtype=source.kp.dtype, device=source.kp.device)
    moved = place_keypoints(source.kp, source.exp * expression, source.scale, source.t, rotation)
    if eyes is not None:
        moved = moved + retarget_eye(still, _wanted(_source_eyes(source_ratios), np.array([eyes]), still))
    if lips is not None:
        moved = moved + retarget_lip(still, _wanted([_source_lips(source_ratios)], np.array([lips]), still))
    return _finite(stitch(still, moved) if stitching else moved)


def _one(source: MotionInfo) -> None:
    if len(source) != 1:
        raise UsageError(f"the source has {len(source)} faces; allowed: one at a time")


def _known(ratios: NDArray[np.float32] | None, of: str, name: str) -> NDArray[np.float32]:
    if ratios is None:
        raise UsageError(
            f"motion template {name} does not tell how far {of} are open; "
            f"make one from a driving video (thermvision motion), or leave out {of.removesuffix('s')} retargeting"
        )
    return ratios


def _source_eyes(ratios: Ratios | None) -> list[float]:
    if ratios is None:
        raise UsageError("it is not known how far the source's eyes are open; give a source with landmarks")
    left, right = np.asarray(ratios[0], np.float64).reshape(2).tolist()
    return [left, right]


def _source_lips(ratios: Ratios | None) -> float:
    if ratios is None:
        raise UsageError("it is not known how far the source's lips are open; give a source with landmarks")
    return float(np.asarray(ratios[1], np.float64).reshape(()))


def _wanted(own: list[float], wanted: NDArray[np.floating], like: Tensor) -> Tensor:
    """(N, len(own) + 1): the source's own ratios, then the one wanted in each frame."""
    rows = np.concatenate([np.tile(own, (len(wanted), 1)), wanted[:, None]], 1)
    return torch.tensor(rows, dtype=like.dtype, device=like.device)


def _finite(keypoints: Tensor) -> Tensor:
    if not torch.isfinite(keypoints).all():
        raise DamagedInputError("keypoints came out that are no numbers; check the weights, or use --precision fp32")
    return keypoints
