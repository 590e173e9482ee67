"""Image checks on what was put together after the lens: bars, legends and text, torn rows, pasted blocks, mirrors.

Behind a lens every edge is spread over some pixels. An edge that is complete between two pixels, straight along rows or
columns and long, was drawn or cut.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from .kinds import FrameView, Kind, Scored

Gray = NDArray[Any]  # uint8, which is more than the stubs of OpenCV say

BORDER = Kind(
    "border",
    "image",
    "Part of the frame is a flat bar or missing half: no radiation was measured there.",
    0.012,
    "share of the height or width in flat rows or columns at the edges",
)
BURNED_IN = Kind(
    "burned-in",
    "image",
    "Text, a crosshair, a temperature scale or a logo is drawn into the frame over the temperatures.",
    26.0,
    "pixels of thin strokes at one and the same extreme level",
)
CUT_EDGES = Kind(
    "cut-edges",
    "image",
    "Long straight edges are sharper than any lens draws them: a legend, a pasted or damaged block, a bar, torn rows.",
    0.25,
    "length of such edges, in frame sides",
)
TORN = Kind(
    "torn",
    "image",
    "Rows are displaced against each other: the frame was read or decoded in pieces that do not belong together.",
    0.3,
    "share of a row that breaks off sharply at the next one",
)
MIRRORED = Kind(
    "mirrored-halves",
    "image",
    "One half of the frame is the mirror image of the other, noise included; no scene is.",
    0.5,
    "correlation of the halves' finest detail",
)
KINDS = (BORDER, BURNED_IN, CUT_EDGES, TORN, MIRRORED)

_FLAT = 6  # gray levels that a codec leaves in a flat row
_STEP = 16  # gray levels of a step between two pixels
_SHARE = 0.75  # of what an edge changes over five pixels
_STROKE = 9  # pixels: strokes of letters and lines are thinner
_HEIGHT = 40  # gray levels that a stroke stands out by
_EXTREME = 5  # gray levels from the end of the scale
_SMALLEST = 6  # pixels of a piece of a stroke; smaller ones are detector pixels
_RUN = 16  # pixels of a straight edge, at least
_OWN = 0.2  # share of the sharp steps that lies in long straight edges where those are not just part of a sharp scene


def frame_scores(frame: FrameView) -> Iterator[Scored]:
    """Scores of `KINDS` for one frame of 32 pixels or more."""
    gray = frame.gray
    if min(gray.shape) < 32:
        return
    turned: Gray = cv2.transpose(gray)
    sides = zip(_bars(gray) + _bars(turned), ("top", "bottom", "left", "right"), strict=True)
    share, side = max(sides)
    yield Scored(BORDER.code, share, detail=f"{share:.0%} of the frame at its {side} is flat")
    across, down = sharp_steps(gray), sharp_steps(turned)  # steps between columns; between rows, transposed
    count, level = _strokes(gray, across, down)
    yield Scored(BURNED_IN.code, float(count), detail=f"{count} pixels of thin strokes have level {level}")
    length = _long(across) + _long(down)
    total = cv2.countNonZero(across) + cv2.countNonZero(down)
    score = length / max(gray.shape) * min(1.0, length / max(total, 1) / _OWN)
    yield Scored(CUT_EDGES.code, score, detail=f"{length} pixels of straight edges are complete between two pixels")
    share, row = _tear(down)
    yield Scored(TORN.code, share, detail=f"{share:.0%} of row {row} breaks off at the next one")
    score, halves = max((_mirror(gray), "left and right"), (_mirror(turned), "upper and lower"))
    yield Scored(MIRRORED.code, score, detail=f"the detail of the {halves} halves correlates with {score:.2f}")


def sharp_steps(gray: Gray) -> Gray:
    """(H, W) uint8, 1 where all of an edge lies between a pixel and its right neighbour; 0 at the sides."""
    steps = np.zeros(gray.shape, np.uint8)
    near, far = cv2.absdiff(gray[:, 3:-2], gray[:, 2:-3]), cv2.absdiff(gray[:, 5:], gray[:, :-5])
    large = cv2.threshold(near, _STEP, 1, cv2.THRESH_BINARY)[1]
    steps[:, 2:-3] = cv2.bitwise_and(large, cv2.compare(near, cv2.convertScaleAbs(far, alpha=_SHARE), cv2.CMP_GE))
    return steps


def _bars(gray: Gray) -> tuple[float, float]:
    """Share of the height in flat rows at the top and at the bottom that end all along their length."""
    height = len(gray)
    spread = gray.max(1) - gray.min(1)
    shares = []
    for flat, rows in ((spread <= _FLAT, gray), (spread[::-1] <= _FLAT, gray[::-1])):
        count = height if flat.all() else int(np.argmin(flat))
        if not 0 < count < height - 4:
            shares.append(0.0)
            continue
        beyond = cv2.absdiff(rows[count + 2], rows[count // 2])
        shares.append(count / height if np.mean(beyond > _FLAT) > 0.5 else 0.0)
    return shares[0], shares[1]


def _strokes(gray: Gray, across: Gray, down: Gray) -> tuple[int, int]:
    """Pixels of thin sharp strokes at the brightest or the darkest level, and that level."""
    steps = cv2.bitwise_or(across, cv2.transpose(down))
    if cv2.countNonZero(steps) < _SMALLEST:
        return 0, 0
    near = cv2.dilate(steps, np.ones((3, 3), np.uint8))
    kernel = np.ones((_STROKE, _STROKE), np.uint8)
    found = []
    for operation, type_, level in (
        (cv2.MORPH_TOPHAT, cv2.THRESH_BINARY, 254 - _EXTREME),
        (cv2.MORPH_BLACKHAT, cv2.THRESH_BINARY_INV, _EXTREME),
    ):
        ends = cv2.threshold(gray, level, 1, type_)[1]
        if not (cv2.countNonZero(cv2.bitwise_and(near, ends)) >= _SMALLEST):
            found.append(0)
            continue
        large = cv2.threshold(cv2.morphologyEx(gray, operation, kernel), _HEIGHT, 1, cv2.THRESH_BINARY)[1]
        thin = cv2.bitwise_and(cv2.bitwise_and(large, near), ends)
        if cv2.countNonZero(thin) < _SMALLEST:
            found.append(0)
            continue
        stats = cv2.connectedComponentsWithStats(thin, connectivity=8)[2]
        sizes = stats[1:, cv2.CC_STAT_AREA]
        found.append(int(sizes[sizes >= _SMALLEST].sum()))
    return (found[0], 255) if found[0] >= found[1] else (found[1], 0)


def _long(steps: Gray) -> int:
    """Pixels of ``steps`` in unbroken columns of a 25th of the height or more."""
    height = len(steps)
    opened = cv2.morphologyEx(steps, cv2.MORPH_OPEN, np.ones((max(_RUN, height // 25), 1), np.uint8))
    return int(cv2.countNonZero(opened))


def _tear(down: Gray) -> tuple[float, int]:
    """Largest share of a row that is sharp steps to the next one, beyond that of the rows around, and its number."""
    share = cv2.reduce(down, 0, cv2.REDUCE_SUM, dtype=cv2.CV_32F).ravel() / len(down)
    around = cv2.medianBlur(share.reshape(-1, 1), 5).ravel()
    row = int((share - around).argmax())
    return float(share[row] - around[row]), row


def _mirror(gray: Gray) -> float:
    """Correlation of the fine detail of the left half with the right half's mirror image, in the middle rows."""
    half, height = gray.shape[1] // 2, len(gray)
    middle = min(height, max(64, height // 6))
    rows = gray[(height - middle) // 2 :][:middle]
    rest = np.asarray(cv2.subtract(rows, cv2.blur(rows, (5, 5)), dtype=cv2.CV_32F), np.float32).clip(-6, 6)
    # stripes are the same in both halves without being a mirror image
    rest = rest - rest.mean(0) - rest.mean(1)[:, None]
    left, right = rest[:, :half].ravel(), rest[:, -half:][:, ::-1].ravel()
    return float(left @ right) / max(float(np.linalg.norm(left) * np.linalg.norm(right)), 1.0)
