"""Labels that cannot be: boxes that are missing, torn, doubled, outside or of no face's shape.

`item_scores` is the whole of what an item's labels tell without its pixels: it also gives what `points` (landmarks,
pose, openness) and `timing` (jumps, frozen and lagging labels) see. `frame_scores` compares a box with what a detector
found.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from thermvision.annotations.boxes import iou_matrix

from ..console import counted
from . import points, timing
from .kinds import FrameView, ItemView, Kind, Scored, by_code
from .runs import facts, runs

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

MISSED_SIDE = (
    0.08  # a face that a detector finds and no box names counts from this share of the frame's shorter side on
)

# Thresholds: see docs/checks.md; each lies beyond all that 130 people of clean phantom releases show, and
# between that and the planted faults.
_OWN: tuple[Kind, ...] = (
    Kind("box-broken", "label", "A box is partly not a number, or has no area: nothing can be cropped by it."),
    Kind(
        "box-count",
        "label",
        "The number of faces disagrees with the boxes: a box without a face, a face without a box, or the wrong number"
        " of further boxes.",
        repair="sets face_count to the number of boxes",
    ),
    Kind(
        "box-outside",
        "label",
        "The box reaches out of the frame, so that a crop of it shows no face.",
        0.25,
        "share of the box",
    ),
    Kind(
        "box-tiny",
        "label",
        "The box is too small for a face to be told in it.",
        12,
        "px, the shorter side",
        higher_is_worse=False,
    ),
    Kind(
        "box-huge", "label", "The box is larger than the frame: wrongly scaled, or not a face.", 1.15, "of a side"
    ),
    Kind(
        "box-shape",
        "label",
        "No face is so wide or so narrow: sides were swapped or the box is of something else.",
        1.0,
        "height over 3 widths, or width over 1.15 heights",
    ),
    Kind(
        "box-duplicate",
        "label",
        "Two boxes of one frame are of one face, which then counts twice.",
        0.5,
        "overlap (IoU)",
        repair="drops further boxes that repeat another",
    ),
    Kind(
        "box-gap",
        "label",
        "A box is missing for some frames in the midst of a clip, and before and after it is in one place: the face"
        " was there.",
        0.4,
        "overlap (IoU) of the boxes on both sides",
        repair="fills up to 5 frames between two boxes that overlap; never in ground truth",
    ),
    Kind(
        "box-missing",
        "label",
        "A face is in the frame and no box names it.",
        MISSED_SIDE,
        "of the frame's shorter side",
    ),
    Kind(
        "box-no-face",
        "label",
        "A box is where a detector finds no face; it may be one that the detector does not know.",
        0.5,
        "1 = nothing found in the frame",
    ),
    Kind(
        "box-elsewhere",
        "label",
        "The box is not where a detector finds the face.",
        0.4,
        "overlap (IoU)",
        higher_is_worse=False,
    ),
)  # fmt: skip
KINDS: tuple[Kind, ...] = (*_OWN, *points.KINDS, *timing.KINDS)
_KIND = by_code(KINDS)

# height over width and width over height that no face has: clean phantom boxes reach 2.64 (in profile) and 1.00
TALLEST, WIDEST = 3.0, 1.15


def item_scores(item: ItemView) -> Iterator[Scored]:
    """Every score that the labels of an item give without its pixels; nothing for what the row does not know."""
    with np.errstate(all="ignore"):  # labels may be anything; scores of what is no number are NaN
        scores = [*box_scores(item), *points.point_scores(item)]
        if item.is_video:
            scores += timing.timing_scores(item)
    yield from scores


def box_scores(item: ItemView) -> Iterator[Scored]:
    """Scores of the boxes of an item, frame by frame."""
    if item.bbox is None:
        return
    boxes = np.asarray(item.bbox, np.float64).reshape(-1, 4)
    still = not item.is_video
    none: Flags = np.all(np.isnan(boxes), axis=1)
    whole: Flags = np.all(np.isfinite(boxes), axis=1) & np.all(boxes[:, 2:] > 0, axis=1)
    yield from facts(_KIND["box-broken"], ~none & ~whole, lambda n: f"the box is {_said(boxes[n])}", one_frame=still)
    extra = extra_boxes(item)
    yield from _counts(item, none, extra)

    with np.errstate(all="ignore"):
        b = np.where(whole[:, None], boxes, np.nan)
        size = np.array([item.width, item.height], np.float64)
        inside = np.clip(np.minimum(b[:, :2] + b[:, 2:], size) - np.maximum(b[:, :2], 0), 0, None)
        outside = 1 - inside.prod(1) / b[:, 2:].prod(1)
        shape = np.maximum(b[:, 3] / b[:, 2] / TALLEST, b[:, 2] / b[:, 3] / WIDEST)
    # a box that leaves the frame may show what is left of a face
    cut = outside > 0.05
    given = (
        ("box-outside", outside),
        ("box-tiny", b[:, 2:].min(1)),
        ("box-huge", (b[:, 2:] / size).max(1)),
        ("box-shape", np.where(cut, np.nan, shape)),
    )
    for code, scores in given:
        yield from runs(
            _KIND[code],
            scores,
            lambda n: f"the box is {_said(boxes[n])} in a frame of {item.width} x {item.height}",
            one_frame=still,
        )
    yield from _duplicates(b, extra, still)
    if item.is_video:
        yield from _gaps(b, none)


def extra_boxes(item: ItemView) -> list[Floats] | None:
    """Further boxes (M, 4) of each frame; None where the row does not know them."""
    told = item.row.get("extra_bboxes")
    if told is None:
        return None
    frames = told if item.is_video else [told]
    return [np.asarray(boxes if boxes is not None else [], np.float64).reshape(-1, 4) for boxes in frames]


def _said(box: Any) -> str:
    return "[" + ", ".join(f"{v:.0f}" for v in box) + "]"


def _counts(item: ItemView, none: Flags, extra: list[Floats] | None) -> Iterator[Scored]:
    if item.face_count is None:
        return
    told = np.asarray(item.face_count, np.float64).reshape(-1)
    more = np.array([len(e) for e in extra]) if extra is not None else np.zeros(len(none))
    if not len(told) == len(none) == len(more):
        return  # the lengths are a finding of their own
    yield from facts(
        _KIND["box-count"],
        told != np.where(none, 0, 1) + more,
        lambda n: f"{told[n]:.0f} faces, {0 if none[n] else 1} box and {more[n]:.0f} further ones",
        one_frame=not item.is_video,
    )


def _duplicates(boxes: Floats, extra: list[Floats] | None, still: bool) -> Iterator[Scored]:
    if extra is None or len(extra) != len(boxes) or not any(len(e) for e in extra):
        return
    scores = np.full(len(boxes), np.nan)
    for n, further in enumerate(extra):
        every = np.concatenate([boxes[n : n + 1], further])
        if len(every) > 1:
            overlap = iou_matrix(every, every)
            scores[n] = np.nanmax(np.where(np.eye(len(every), dtype=bool), 0, overlap))
    yield from runs(
        _KIND["box-duplicate"], scores, lambda n: f"two of {len(extra[n]) + 1} boxes overlap", one_frame=still
    )


def _gaps(boxes: Floats, none: Flags) -> Iterator[Scored]:
    known = np.flatnonzero(np.isfinite(boxes).all(1))
    for before, after in pairwise(known):
        if after - before > 1 and none[before + 1 : after].all():
            overlap = float(iou_matrix(boxes[before], boxes[after])[0, 0])
            lacking = counted(int(after - before) - 1, "frame")
            detail = f"no box in {lacking} between boxes that overlap by {overlap:.2f}"
            yield Scored("box-gap", overlap, int(before) + 1, int(after) - 1, detail)


def frame_scores(frame: FrameView) -> Iterator[Scored]:
    """A box beside those a detector found; nothing where it was not asked. Its own boxes it finds again."""
    found = frame.found_boxes
    if found is None:
        return
    height, width = frame.gray.shape
    boxes = np.asarray(found, np.float64).reshape(-1, 4)
    at = frame.index
    if frame.bbox is None or np.isnan(frame.bbox).all():
        side = float(boxes[:, 2:].min(1).max()) / min(height, width) if len(boxes) else 0.0
        yield Scored("box-missing", side, at, at, f"a face of {side * min(height, width):.0f} px was found, no box")
        return
    if not np.isfinite(frame.bbox).all():
        return
    if not len(boxes):
        yield Scored("box-no-face", 1.0, at, at, f"the box is {_said(frame.bbox)} and no face was found")
        return
    yield Scored("box-no-face", 0.0, at, at)
    overlap = iou_matrix(frame.bbox, boxes)[0]
    best = int(overlap.argmax())
    detail = f"the box is {_said(frame.bbox)}, the nearest found {_said(boxes[best])}"
    yield Scored("box-elsewhere", float(overlap[best]), at, at, detail)
