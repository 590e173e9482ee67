"""Image checks over the frames of a clip: repeated frames, parts that compression carried over, a pattern that stays.

What tells all three is noise: a microbolometer's changes in every pixel of every frame, so two frames are never equal,
and only what belongs to the detector is still there when many frames are averaged.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from .kinds import FrameView, ItemView, Kind, Scored

Gray = NDArray[Any]  # uint8, which is more than the stubs of OpenCV say

REPEATED_FRAMES = Kind(
    "repeated-frames",
    "image",
    "Frames repeat the one before while the clip moves: time in it is not what the frame numbers say.",
    0.5,
    "frames in a row that repeat the one before",
)
FROZEN_CLIP = Kind(
    "frozen-clip",
    "image",
    "The clip is one picture: it holds no more than a still, whatever its labels say.",
    0.8,
    "share of the frames that repeat the one before",
)
CARRIED_OVER = Kind(
    "carried-over-blocks",
    "image",
    "The bit rate was too low: blocks are carried over unchanged, and small changes of temperature in them are lost.",
    0.18,
    "share of the blocks that stay exactly the same, median over the frames",
)
FIXED_PATTERN = Kind(
    "fixed-pattern",
    "image",
    "A pattern stays in place while the scene moves: fixed-pattern noise or a grid before the scene.",
    1.6,
    "gray levels (standard deviation of the finest detail of the mean frame)",
)
KINDS = (REPEATED_FRAMES, FROZEN_CLIP, CARRIED_OVER, FIXED_PATTERN)

_BLOCK = 16  # pixels of an H.264 macroblock
_NOISE = 2  # gray levels that a codec changes in a repeated frame
# a repeated frame: at most this share of its pixels changes, and no block's mean by more than these gray levels ...
_CHANGED, _BLOCK_CHANGE = 0.02, 2
# ... or, where a key frame codes the same picture anew, this share of what usually changes
_OF_USUAL, _BLOCK_CHANGE_AT_KEY = 0.42, 3
_MOVING = 0.05  # share of changed pixels of a clip that is not a still life; labels decide about the others
_LABEL_MOTION = 2.0  # pixels that labels move by while the frames stand still
_EVERY = 3  # frames between those that are looked at for blocks and patterns
_FEWEST = 8  # frames below which nothing is said about the mean
_RUNS = 20  # runs of repeated frames that are reported one by one


class PixelWatch:
    """Watches the frames of one clip, in order; memory is two frames and some numbers per frame.

    >>> view = ItemView("a", "video", "train", True, {}, 30.0, 9, 64, 64)
    >>> watch = PixelWatch(view)
    >>> for index in range(9):
    ...     gray = np.full((64, 64), 100, np.uint8)
    ...     watch.add(FrameView(index, gray, gray))
    >>> [s.code for s in watch.finish() if {k.code: k for k in KINDS}[s.code].is_finding(s.score)]
    ['frozen-clip']
    """

    def __init__(self, item: ItemView) -> None:
        self._item = item
        self._last: FrameView | None = None
        self._indices: list[int] = []
        self._changed: list[float] = []
        self._block_change: list[float] = []
        self._label_motion: list[float] = []
        self._carried: list[float] = []
        self._detail: NDArray[np.float32] | None = None
        self._averaged = 0

    def add(self, frame: FrameView) -> None:
        """Looks at the next frame; one of another size starts anew."""
        last, self._last = self._last, frame
        if last is None or last.gray.shape != frame.gray.shape:
            self._average(frame.gray)
            return
        step = cv2.absdiff(frame.gray, last.gray)
        self._indices.append(frame.index)
        self._changed.append(cv2.countNonZero(cv2.threshold(step, _NOISE, 1, cv2.THRESH_BINARY)[1]) / step.size)
        self._block_change.append(float(_of_blocks(step).max(initial=0)))
        self._label_motion.append(_motion(last, frame))
        if len(self._indices) % _EVERY == 0:
            if self._changed[-1] > _CHANGED:
                self._carried.append(_carried_over(step, frame.gray))
            self._average(frame.gray)

    def finish(self) -> Iterator[Scored]:
        """Scores of `KINDS`; nothing for fewer than two frames."""
        if not self._indices:
            return
        repeats = self._repeats()
        share = float(repeats.mean())
        yield Scored(
            FROZEN_CLIP.code, share, detail=f"{int(repeats.sum())} of {len(repeats) + 1} frames repeat the one before"
        )
        yield from self._runs(repeats)
        if len(self._carried) >= 2:
            carried = float(np.median(self._carried))
            yield Scored(CARRIED_OVER.code, carried, detail=f"{carried:.0%} of the blocks do not change at all")
        if self._detail is not None and self._averaged >= _FEWEST and share < 0.5:
            sigma = 1.4826 * float(np.median(np.abs(self._detail))) / self._averaged
            yield Scored(
                FIXED_PATTERN.code, sigma, detail=f"the mean of the frames has a pattern of {sigma:.1f} gray levels"
            )

    def _repeats(self) -> NDArray[np.bool_]:
        """(N - 1,) whether a frame repeats the one before."""
        changed, blocks = np.array(self._changed), np.array(self._block_change)
        repeats = (changed <= _CHANGED) & (blocks <= _BLOCK_CHANGE)
        usual = float(np.median(changed[~repeats])) if not repeats.all() else 0.0
        again: NDArray[np.bool_] = repeats | ((changed <= _OF_USUAL * usual) & (blocks <= _BLOCK_CHANGE_AT_KEY))
        return again

    def _runs(self, repeats: NDArray[np.bool_]) -> Iterator[Scored]:
        if repeats.all():
            return
        edges = np.flatnonzero(np.diff(np.concatenate([[False], repeats, [False]]).astype(np.int8)))
        moving = float(np.median(np.array(self._changed)[~repeats])) > _MOVING
        found = []
        for start, stop in edges.reshape(-1, 2):
            labels = float(np.sum(self._label_motion[start:stop]))
            if moving or labels > _LABEL_MOTION:
                found.append((int(stop - start), self._indices[start], self._indices[stop - 1], labels))
        for length, first, last, labels in sorted(found, key=lambda run: (-run[0], run[1]))[:_RUNS]:
            said = (
                f"frames {first} to {last} repeat the one before"
                if length > 1
                else f"frame {first} repeats the one before"
            )
            said += f" while the labels move by {labels:.1f} pixels" if labels > _LABEL_MOTION else ""
            said += f"; {len(found)} such runs in the clip" if len(found) > 1 else ""
            yield Scored(REPEATED_FRAMES.code, float(length), first, last, said)
        if not found:
            yield Scored(REPEATED_FRAMES.code, 0.0)

    def _average(self, gray: Gray) -> None:
        detail = cv2.subtract(gray, cv2.medianBlur(gray, 5), dtype=cv2.CV_32F)
        if self._detail is None or self._detail.shape != detail.shape:
            self._detail, self._averaged = np.asarray(detail, np.float32), 1
        else:
            cv2.accumulate(detail, self._detail)
            self._averaged += 1


def _of_blocks(image: Gray) -> Gray:
    """Means of blocks of 16 × 16 pixels, rounded; what is left at the right and below does not count."""
    rows, columns = image.shape[0] // _BLOCK, image.shape[1] // _BLOCK
    if not rows or not columns:
        return np.zeros((0, 0), np.uint8)
    whole = np.ascontiguousarray(image[: rows * _BLOCK, : columns * _BLOCK])
    return np.asarray(cv2.resize(whole, (columns, rows), interpolation=cv2.INTER_AREA), np.uint8)


def _carried_over(step: Gray, gray: Gray) -> float:
    """Share of the blocks with any structure in which no pixel changes; 0 where no block has structure."""
    # one pixel of 256 at 255 still gives a mean that rounds to 1
    changed = _of_blocks(cv2.threshold(step, 0, 255, cv2.THRESH_BINARY)[1]) > 0
    kernel = np.ones((3, 3), np.uint8)
    structure = cv2.threshold(cv2.morphologyEx(gray, cv2.MORPH_GRADIENT, kernel), 1, 255, cv2.THRESH_BINARY)[1]
    textured = _of_blocks(structure) > 2
    return float((textured & ~changed).sum() / textured.sum()) if textured.any() else 0.0


def _motion(last: FrameView, frame: FrameView) -> float:
    """Pixels by which labels move between two frames: the median of the landmarks, or the centre of the box."""
    if not (last.labelled and frame.labelled):
        return 0.0
    if last.landmarks is not None and frame.landmarks is not None:
        moved = float(np.median(np.hypot(*(frame.landmarks - last.landmarks).T)))
    elif last.bbox is not None and frame.bbox is not None:
        moved = float(np.hypot(*(frame.bbox[:2] + frame.bbox[2:] / 2 - last.bbox[:2] - last.bbox[2:] / 2)))
    else:
        return 0.0
    return moved if np.isfinite(moved) else 0.0
