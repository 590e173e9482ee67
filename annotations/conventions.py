"""The 68 landmarks of iBUG (300-W): names, groups, mirror image, and the lines that join them in a drawing.

Left and right are the subject's own: the right eye (36 to 41) is at image left in a frontal view. Source of the scheme:
C. Sagonas et al., "300 Faces in-the-Wild Challenge", ICCV Workshops 2013; its indices count from 1, ours from 0.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

NUM_LANDMARKS = 68

GROUPS: dict[str, range] = {
    "jaw": range(17),
    "right_brow": range(17, 22),
    "left_brow": range(22, 27),
    "nose_bridge": range(27, 31),
    "nose_base": range(31, 36),
    "right_eye": range(36, 42),
    "left_eye": range(42, 48),
    "outer_lips": range(48, 60),
    "inner_lips": range(60, 68),
}
NAMES: tuple[str, ...] = tuple(f"{group}_{place}" for group, span in GROUPS.items() for place in range(len(span)))

CHIN, NOSE_TIP = 8, 30

_CLOSED = ("right_eye", "left_eye", "outer_lips", "inner_lips")
# pairs that change places in a mirror; whatever is not named lies on the mid-line
_PAIRS = (
    *((i, 16 - i) for i in range(8)),
    *((17 + i, 26 - i) for i in range(5)),
    (31, 35), (32, 34),
    (36, 45), (37, 44), (38, 43), (39, 42), (40, 47), (41, 46),
    (48, 54), (49, 53), (50, 52), (55, 59), (56, 58),
    (60, 64), (61, 63), (65, 67),
)  # fmt: skip


def _mirror() -> tuple[int, ...]:
    order = list(range(NUM_LANDMARKS))
    for a, b in _PAIRS:
        order[a], order[b] = b, a
    return tuple(order)


# landmark i of a face is landmark MIRROR[i] of its mirror image
MIRROR: tuple[int, ...] = _mirror()


def _polylines() -> tuple[tuple[int, ...], ...]:
    lines = []
    for group, span in GROUPS.items():
        points = tuple(span)
        lines.append((*points, points[0]) if group in _CLOSED else points)
    return tuple(lines)


# index sequences to draw as connected lines; a closed contour ends where it began
POLYLINES: tuple[tuple[int, ...], ...] = _polylines()


def group_of(index: int) -> str:
    """Group that a landmark belongs to.

    >>> group_of(30), group_of(8)
    ('nose_bridge', 'jaw')

    Raises:
        ValueError: there is no such landmark.
    """
    for group, span in GROUPS.items():
        if index in span:
            return group
    raise ValueError(f"landmark {index} does not exist; allowed: 0 to {NUM_LANDMARKS - 1}")


def mirror_landmarks(landmarks: ArrayLike, width: float) -> NDArray[np.float32]:
    """Landmarks (..., 68, 2) of the mirror image of a frame ``width`` pixels wide, in the same convention.

    Pixel centres lie at +0.5, so a point at x comes to ``width - x``.

    >>> points = np.zeros((68, 2)); points[36] = 10, 20  # outer corner of the right eye
    >>> mirror_landmarks(points, 64)[45].tolist()
    [54.0, 20.0]

    Raises:
        ValueError: the array does not end in (68, 2).
    """
    points = np.asarray(landmarks, np.float32)
    if points.shape[-2:] != (NUM_LANDMARKS, 2):
        raise ValueError(f"landmarks have shape {points.shape}; allowed: (..., {NUM_LANDMARKS}, 2)")
    mirrored = points[..., MIRROR, :]
    mirrored[..., 0] = width - mirrored[..., 0]
    return mirrored
