"""Losses of stitching and of eye and lip retargeting, on keypoints.

LivePortrait trains these perceptrons through the painted picture (J. Guo et al., arXiv 2407.03168, section 3.3:
shoulders as in the reconstruction, the asked ratio reached, small offsets). With exact labels the same is said by
keypoints, thousands of times faster:

* stitching: keypoints of the border, those farthest outside the face's landmarks, stay where the source has them, and
  all others move as little as possible from where the driver wants them;
* eyes and lips: a person's own frame with eyes or lips as far open as asked shows where the keypoints of eyes or lips
  go; all others stay.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from thermvision.annotations.errors import UsageError
from thermvision.generation.engines.liveportrait.driving import EYE_POINTS, LIP_POINTS
from thermvision.generation.engines.liveportrait.keypoints import NUM_KEYPOINTS

BORDER_POINTS = 4
# crop units up to which a distance counts by its square: most frames ask for hardly any motion, and under a plain L1
# the perceptrons settle at none
KNEE = 0.05
MOVED = {"eye": EYE_POINTS, "lip": LIP_POINTS}


@dataclass(frozen=True)
class RetargetingWeights:
    """How much each loss counts; 0 leaves it out.

    Attributes:
        border: stitched keypoints of the border against the source's.
        offsets: what stitching does to the other keypoints.
        reached: keypoints of eyes and lips against those of the frame that is as far open as asked.
        still: what retargeting does to the other keypoints.

    Raises:
        UsageError: a weight below 0 or not finite.
    """

    border: float = 1.0
    offsets: float = 0.5
    reached: float = 1.0
    still: float = 0.5

    def __post_init__(self) -> None:
        for f in fields(self):
            if not 0 <= (value := getattr(self, f.name)) < float("inf"):
                raise UsageError(f"weight of {f.name} is {value}; allowed: 0 or more")


def border_keypoints(placed: NDArray[np.floating], landmarks: NDArray[np.floating]) -> list[int]:
    """The four of 21 keypoints that lie, on average, farthest outside the box of the face's landmarks.

    Args:
        placed: (N, 21, 2 or 3) crop units.
        landmarks: (N, 68, 2) crop units.
    """
    low, high = landmarks.min(1)[:, None], landmarks.max(1)[:, None]
    outside = np.maximum(low - placed[..., :2], placed[..., :2] - high).max(-1).mean(0)
    return sorted(np.argsort(-outside, kind="stable")[:BORDER_POINTS].tolist())


def distance(difference: Tensor) -> Tensor:
    """What a difference costs: smooth L1 with its knee at `KNEE`.

    >>> [round(distance(torch.tensor(x)).item(), 4) for x in (0.0, 0.025, 0.05, 1.05)]
    [0.0, 0.0063, 0.025, 1.025]
    """
    return F.smooth_l1_loss(difference, torch.zeros_like(difference), beta=KNEE)


def stitched(moves: Tensor, kp_driving: Tensor) -> Tensor:
    """Driving keypoints (B, 21, 3) with the stitching network's answer (B, 65) applied."""
    shift = torch.cat([moves[:, -2:], torch.zeros_like(moves[:, :1])], dim=1)
    return kp_driving + moves[:, :-2].unflatten(1, (NUM_KEYPOINTS, 3)) + shift[:, None]


def stitching_parts(moves: Tensor, kp_source: Tensor, kp_driving: Tensor, border: list[int]) -> tuple[Tensor, Tensor]:
    """Differences by coordinate: of the border from the source, and of all others from the driver."""
    placed = stitched(moves, kp_driving)
    others = [k for k in range(NUM_KEYPOINTS) if k not in border]
    return (placed - kp_source)[:, border], (placed - kp_driving)[:, others]


def retargeting_parts(offsets: Tensor, wanted: Tensor, moved: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Differences by coordinate: of the ``moved`` keypoints from where they should go, and of all others from 0.

    Args:
        offsets: (B, 63) answer of the eye or lip network.
        wanted: (B, 21, 3) offsets that would be right.
        moved: keypoints of eyes or lips.
    """
    given = offsets.unflatten(1, (NUM_KEYPOINTS, 3))
    others = [k for k in range(NUM_KEYPOINTS) if k not in moved]
    return (given - wanted)[:, list(moved)], given[:, others]
