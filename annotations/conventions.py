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


# Other point schemes -------------------------------------------------------------------------------------------------
# number of points of each scheme:
#   "68"   iBUG, see above
#   "70"   FaceSynthetics and T-FAKE: iBUG 68 and the two pupils. E. Wood et al., "Fake It Till You Make It", ICCV 2021
#   "54"   SF-TL54: iBUG 0-47 and six points of the lips. A. Kuzdeuov et al., SII 2022; order: figure in its repository
#   "203"  LivePortrait's landmark network
#   "5"    the order of `thermvision.annotations.faces.KEYPOINTS`; TFW and YOLO5Face use the same
SCHEMES: dict[str, int] = {"68": 68, "70": 70, "54": 54, "203": 203, "5": 5}

_FIVE = ("eye_left", "eye_right", "nose_tip", "mouth_left", "mouth_right")
_LIPS_54 = ("lip_corner_right", "upper_lip_top", "lip_corner_left", "lower_lip_bottom", "upper_lip_bottom",
            "lower_lip_top")  # fmt: skip
# the points' names, as far as a scheme gives them names
SCHEME_NAMES: dict[str, tuple[str, ...]] = {
    "68": NAMES,
    "70": (*NAMES, "pupil_0", "pupil_1"),
    "54": (*NAMES[:48], *_LIPS_54),
    "203": tuple(f"point_{i}" for i in range(203)),
    "5": _FIVE,
}

# a point of one scheme as a weighted mean of points of another: {target: ((source, weight), ...)}
_Map = dict[int, tuple[tuple[int, float], ...]]


def _same(pairs: dict[int, int]) -> _Map:
    return {target: ((source, 1.0),) for target, source in pairs.items()}


def _mean(*sources: int) -> tuple[tuple[int, float], ...]:
    return tuple((source, 1 / len(sources)) for source in sources)


def _between(position: float) -> tuple[tuple[int, float], ...]:
    """The point at a fractional index of a dense contour."""
    low = int(position)
    part = position - low
    return ((low, 1.0),) if part == 0 else ((low, 1 - part), (low + 1, part))


# 48 to 53 of SF-TL54: corners, outer mid-line, inner mid-line (0-based)
_54_IN_68 = {**{i: i for i in range(48)}, 48: 48, 49: 51, 50: 54, 51: 57, 52: 62, 53: 66}

# Where LivePortrait's 203 points lie: eyes 0-23 and 24-47 (from the corner at image left, upper lid first), outer lips
# 48-83 and inner lips 84-107 (from the corner at image left, upper lip first), jaw 108-144 (image left to right), brows
# 145-164 and 165-184 (upper edge, then back along the lower), nose wings 185-196, pupils 197-198, nose 199-202.
# Source: the index pairs of its eye, lip and crop formulas; for the rest the public node `LandMark203_to_68` for
# ComfyUI and the public loss indices of a landmark trainer, which agree.
_BROW = ((148, 162), (150, 160), (152, 158))  # the middle of the brow, between its upper and its lower edge
_203_EXACT = {
    8: 126, 0: 108, 4: 117, 12: 135, 16: 144,
    17: 145, 21: 155, 22: 165, 26: 175,
    27: 199, 29: 200, 30: 201, 31: 189, 32: 190, 33: 202, 34: 191, 35: 192,
    **{36 + i: 4 * i for i in range(6)},
    **{42 + i: 24 + 4 * i for i in range(6)},
    **{48 + i: 48 + 3 * i for i in range(12)},
    **{60 + i: 84 + 3 * i for i in range(8)},
}  # fmt: skip

# into the 68 points, and out of them
_TO_68: dict[str, _Map] = {
    "68": _same({i: i for i in range(68)}),
    "70": _same({i: i for i in range(68)}),
    "54": _same({in68: in54 for in54, in68 in _54_IN_68.items()}),
    "203": {
        **_same(_203_EXACT),
        **{i: _between(108 + 36 * i / 16) for i in range(17)},
        **{18 + i: _mean(*pair) for i, pair in enumerate(_BROW)},
        **{23 + i: _mean(*(index + 20 for index in pair)) for i, pair in enumerate(_BROW)},
        28: _mean(199, 200),
    },
    "5": _same({30: 2, 48: 3, 54: 4}),
}
_FROM_68: dict[str, _Map] = {
    "68": _TO_68["68"],
    "70": _same({i: i for i in range(68)}),
    "54": _same(_54_IN_68),
    "203": _same({in203: in68 for in68, in203 in _203_EXACT.items()}),
    "5": {0: _mean(*range(36, 42)), 1: _mean(*range(42, 48)), **_same({2: 30, 3: 48, 4: 54})},
}

_LIMITS = {
    ("5", "68"): "nose tip and mouth corners; a mean of lid points does not give them back",
    ("54", "68"): "the lips are six points: corners and mid-line; the other contour points do not exist",
    ("68", "70"): "pupils do not follow from the lids",
    ("70", "68"): "the pupils are dropped; points of a 3-D mesh, so a turned head's jaw need not lie on the silhouette",
    ("203", "68"): "contour points are placed by their share of a denser contour, brows in the middle between their"
    " edges: near, not the same definition; the jaw ends where that network ends it",
    ("68", "203"): "only points that both schemes have; nothing is put in between",
}


def _route(source: str, target: str) -> _Map:
    for scheme in (source, target):
        if scheme not in SCHEMES:
            raise ValueError(f"point scheme {scheme!r} does not exist; allowed: {', '.join(SCHEMES)}")
    if source == target:
        return _same({i: i for i in range(SCHEMES[source])})
    first, second = _TO_68[source], _FROM_68[target]
    if target == "68":
        return first
    if source == "68":
        return second
    return {
        point: tuple((origin, weight * share) for hub, weight in parts for origin, share in first[hub])
        for point, parts in second.items()
        if all(hub in first for hub, _ in parts)
    }


def convert(points: ArrayLike, source: str, target: str) -> NDArray[np.float32]:
    """Points (..., K, 2) of one scheme as points (..., L, 2) of another; NaN where they do not follow, see `missing`.

    Args:
        points: coordinates in any unit; NaN for points that are not known, which stay unknown.
        source, target: keys of `SCHEMES`.

    Raises:
        ValueError: there is no such scheme, or the array does not end in (K, 2).

    >>> points = np.arange(68)[:, None] * [1.0, 2.0]
    >>> convert(points, "68", "54")[48:].tolist()
    [[48.0, 96.0], [51.0, 102.0], [54.0, 108.0], [57.0, 114.0], [62.0, 124.0], [66.0, 132.0]]
    """
    route = _route(source, target)
    array = np.asarray(points, np.float64)
    if array.shape[-2:] != (SCHEMES[source], 2):
        raise ValueError(f"points have shape {array.shape}; allowed: (..., {SCHEMES[source]}, 2) for scheme {source!r}")
    result = np.full((*array.shape[:-2], SCHEMES[target], 2), np.nan, np.float32)
    for point, parts in route.items():
        result[..., point, :] = sum(weight * array[..., origin, :] for origin, weight in parts)
    return result


def missing(source: str, target: str) -> tuple[int, ...]:
    """Indices of the points of ``target`` that points of ``source`` cannot give; `convert` leaves them NaN.

    >>> missing("68", "70"), missing("5", "54")[:3], missing("68", "5")
    ((68, 69), (0, 1, 2), ())

    Raises:
        ValueError: there is no such scheme.
    """
    route = _route(source, target)
    return tuple(i for i in range(SCHEMES[target]) if i not in route)


def limits(source: str, target: str) -> str:
    """One line on what a conversion does not give.

    >>> limits("68", "70")
    '68 of 70 points; pupils do not follow from the lids'

    Raises:
        ValueError: there is no such scheme.
    """
    given = SCHEMES[target] - len(missing(source, target))
    hops = [(source, target)] if "68" in (source, target) else [(source, "68"), ("68", target)]
    notes = [_LIMITS[hop] for hop in hops if hop in _LIMITS and source != target]
    return "; ".join([f"{given} of {SCHEMES[target]} points", *notes])


def five_points(landmarks: ArrayLike) -> NDArray[np.float32]:
    """The five keypoints (..., 5, 2) of iBUG landmarks (..., 68, 2), in the order of `faces.KEYPOINTS`.

    Eyes are the mean of their six lid points (36-41, 42-47), the nose is 30, the mouth corners are 48 and 54.

    >>> five_points(np.arange(68)[:, None] * [1.0, 0.0])[:, 0].tolist()
    [38.5, 44.5, 30.0, 48.0, 54.0]

    Raises:
        ValueError: the array does not end in (68, 2).
    """
    return convert(landmarks, "68", "5")
