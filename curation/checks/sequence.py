"""The frames of a clip as a sequence: flicker, cuts, frames out of order or repeated, another person, late labels."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from .kinds import FrameView, ItemView, Kind, Scored, by_code
from .runs import runs
from .timing import FEWEST, best_lag

Floats = NDArray[np.float64]
Embed = Callable[[NDArray[np.uint8], NDArray[np.float32]], ArrayLike]

THUMB = 32  # side in pixels of what is kept of a frame
REMEMBERED = 256  # thumbs kept to recognise a stretch that comes again: memory is bounded
AROUND = 5  # frames on both sides that say what is usual
BLOCK = 12  # frames in which order is judged
FACE = 64  # side in pixels of the face in which its motion is measured
SAMPLES = 24  # frames of a clip that are embedded
MOST_YAW = 35.0  # degrees: the embedder is not asked beyond
FEWEST_EMBEDDED = 6

KINDS: tuple[Kind, ...] = (
    Kind(
        "flicker",
        "sequence",
        "The brightness of the whole picture trembles from frame to frame, more than a camera's gain control makes it.",
        2.0,
        "gray levels, root mean square",
    ),
    Kind(
        "flash",
        "sequence",
        "The whole picture becomes brighter or darker from one frame to the next: gain control or a shutter.",
        9.0,
        "gray levels",
    ),
    Kind(
        "pumping",
        "sequence",
        "The brightness of the whole picture swells and fades: automatic gain follows something else than the face.",
        6.0,
        "gray levels, half the range in a second",
    ),
    Kind(
        "jump",
        "sequence",
        "The picture changes at once, far more than in the frames around: a cut, a foreign frame or frames left out.",
        6.0,
        "times the change around",
    ),
    Kind(
        "disorder",
        "sequence",
        "Neighbouring frames differ as much as those further apart: they are not in the order of their taking.",
        1.35,
        "change over two frames / over one",
        higher_is_worse=False,
    ),
    Kind(
        "loop",
        "sequence",
        "A moving stretch comes again, forwards or backwards: the clip was lengthened and the frames are no new data.",
        3.5,
        "frames",
    ),
    Kind(
        "labels-late",
        "sequence",
        "The labels follow the picture too late or too early.",
        1.5,
        "frames",
    ),
    Kind(
        "labels-still",
        "sequence",
        "The face moves and its labels do not.",
        0.15,
        "motion of the labels over that of the pixels",
        higher_is_worse=False,
    ),
    Kind(
        "identity-switch",
        "sequence",
        "The face before and after a frame is not one person's, as far as the embedder tells.",
        0.5,
        "cosine of the embeddings",
        higher_is_worse=False,
    ),
    Kind(
        "identity-outlier",
        "sequence",
        "Single frames show another face than the rest of the clip.",
        0.5,
        "cosine to the other frames' mean",
        higher_is_worse=False,
    ),
)
_KIND = by_code(KINDS)


class SequenceWatch:
    """Sees a clip frame by frame and keeps numbers only.

    Args:
        item: the clip.
        embed: gives the embedding (D,) of a face from the frame (H, W) uint8 and landmarks (68, 2); None: identity is
            not looked at.

    >>> clip = ItemView("c", "", "", True, {}, 30.0, 20, 64, 64)
    >>> watch = SequenceWatch(clip)
    >>> for n in range(20):
    ...     gray = np.full((64, 64), 50, np.uint8)
    ...     gray[20:40, 10 + n : 30 + n] = 200
    ...     gray[:, :] = gray + (30 if n == 9 else 0)
    ...     watch.add(FrameView(n, gray, gray))
    >>> [(s.code, s.first) for s in watch.finish() if _KIND[s.code].is_finding(s.score)]
    [('flash', 9)]
    """

    def __init__(self, item: ItemView, embed: Embed | None = None) -> None:
        self._item, self._embed = item, embed
        self._every = max(1, item.num_frames // SAMPLES)
        self._old: NDArray[np.float32] = np.zeros((REMEMBERED, THUMB * THUMB), np.float32)
        self._seen = 0
        self._shift: list[float] = []  # change of brightness of the whole picture, gray levels
        self._one: list[float] = []  # change from the frame before, and from the one before that
        self._two: list[float] = []
        self._back: list[int] = []  # how many frames ago there was an equal one; 0: none
        self._moved: list[tuple[float, float]] = []  # of the face's pixels, in the face's size
        self._told: list[tuple[float, float]] = []  # of the labels
        self._face: tuple[NDArray[np.uint8], NDArray[np.float64]] | None = None
        self._vectors: list[Floats] = []
        self._embedded: list[int] = []

    def add(self, frame: FrameView) -> None:
        """See the next frame."""
        self._compare(frame.gray)
        self._follow(frame)
        self._recognise(frame)
        self._seen += 1

    def _compare(self, gray: NDArray[np.uint8]) -> None:
        small = cv2.resize(gray.astype(np.float32), (THUMB, THUMB), interpolation=cv2.INTER_AREA)
        thumb = np.asarray(small, np.float32).reshape(-1)
        shift, one, two, back = 0.0, np.nan, np.nan, 0
        if self._seen:
            before = self._at(1)
            change = thumb - before
            bright = before >= np.median(before)
            lifts = float(np.median(change)), float(np.median(change[bright]))
            shift = max(lifts, key=abs)
            one = float(np.abs(change - lifts[0]).mean())
            if self._seen > 1:
                change = thumb - self._at(2)
                two = float(np.abs(change - np.median(change)).mean())
                back = self._repeated(thumb, one)
        self._shift.append(shift)
        self._one.append(one)
        self._two.append(two)
        self._back.append(back)
        self._old[self._seen % REMEMBERED] = thumb

    def _at(self, ago: int) -> NDArray[np.float32]:
        return self._old[(self._seen - ago) % REMEMBERED]

    def _repeated(self, thumb: NDArray[np.float32], moved: float) -> int:
        """How many frames ago, at least two, the picture was the same, though it moves; 0: never."""
        if moved < 0.4:
            return 0
        count = min(self._seen, REMEMBERED)
        far = np.abs(self._old[:count] - thumb).mean(1)
        far[(self._seen - 1) % REMEMBERED] = np.inf
        nearest = int(far.argmin())
        if far[nearest] > 0.2 * moved:
            return 0
        return (self._seen - nearest) % REMEMBERED or REMEMBERED

    def _follow(self, frame: FrameView) -> None:
        """How the pixels of the face and its labels move from the frame before to this one."""
        moved = told = (np.nan, np.nan)
        box = frame.bbox
        if self._face is not None and box is not None and np.isfinite(box).all():
            before, at = self._face
            now, _ = _window(frame.gray, at)
            (x, y), _ = cv2.phaseCorrelate(_ready(before), _ready(now))
            centre = np.asarray(box[:2], np.float64) + np.asarray(box[2:], np.float64) / 2
            step = (centre - at[:2]) / at[2]
            moved, told = (x / FACE, y / FACE), (float(step[0]), float(step[1]))
        self._moved.append(moved)
        self._told.append(told)
        self._face = None
        if box is not None and self._item.bbox is not None and np.isfinite(box).all() and float(min(box[2:])) >= 8:
            side = float(max(box[2:]))
            at = np.array([box[0] + box[2] / 2, box[1] + box[3] / 2, side], np.float64)
            self._face = _window(frame.gray, at)

    def _recognise(self, frame: FrameView) -> None:
        if self._embed is None or frame.index % self._every or frame.landmarks is None:
            return
        if not np.isfinite(frame.landmarks).all() or np.ptp(frame.landmarks, axis=0).min() < 8:
            return
        if frame.pose is not None and not abs(float(frame.pose[0])) < MOST_YAW:
            return
        vector = np.asarray(self._embed(frame.gray, frame.landmarks), np.float64).ravel()
        self._vectors.append(vector / max(float(np.linalg.norm(vector)), 1e-12))
        self._embedded.append(frame.index)

    def finish(self) -> Iterator[Scored]:
        """The scores of the whole clip."""
        if self._seen < FEWEST:
            return
        yield from self._brightness()
        yield from self._order()
        yield from self._labels()
        yield from self._identity()

    def _brightness(self) -> Iterator[Scored]:
        shift = np.array(self._shift)
        yield from runs(_KIND["flash"], np.abs(shift), lambda n: f"by {shift[n]:+.0f} gray levels at once")
        # trembling reverses from frame to frame; a drift does not
        tremble = np.diff(shift[1:]) / 2
        usual = np.sqrt(np.mean(np.clip(np.abs(tremble), 0, 3 * np.median(np.abs(tremble)) + 1) ** 2))
        yield Scored("flicker", float(usual), None, None, f"it trembles by {usual:.1f} gray levels")
        level = np.cumsum(shift)
        second = int(np.clip(round(self._item.fps or 30), 8, 60))
        if len(level) > 2 * second:
            windows = np.lib.stride_tricks.sliding_window_view(level, second)
            swing = np.ptp(windows, axis=1) / 2
            score = float(np.median(swing))
            yield Scored("pumping", score, None, None, f"it swings by {score:.1f} gray levels within a second")

    def _order(self) -> Iterator[Scored]:
        one, two = np.array(self._one), np.array(self._two)
        usual = np.full(len(one), np.nan)
        for n in range(1, len(one)):
            around = np.r_[one[max(n - AROUND, 1) : n], one[n + 1 : n + 1 + AROUND]]
            usual[n] = np.median(around)
        jump = one / (usual + 0.5)
        yield from runs(_KIND["jump"], jump, lambda n: f"{jump[n]:.1f} times the change of the frames around")
        ratio = np.full(len(one), np.nan)
        for n in range(2, len(one) - BLOCK + 1):
            pace = one[n : n + BLOCK]
            # where hardly anything moves, noise alone makes all frames equally unlike
            if np.median(pace) > 1.2:
                ratio[n + BLOCK // 2] = np.mean(two[n : n + BLOCK]) / np.mean(pace)
        yield from runs(_KIND["disorder"], ratio, lambda n: f"{ratio[n]:.2f}: in order it is above 1.45")
        yield from self._loops()

    def _loops(self) -> Iterator[Scored]:
        """The longest stretch that repeats an older one at a constant distance (forwards) or one that grows by two."""
        back = self._back
        best, end, length = 0, 0, 0
        for n in range(1, len(back)):
            again = bool(back[n]) and bool(back[n - 1]) and back[n] - back[n - 1] in (0, 2)
            length = (length + 1 if length else 2) if again else 0
            if length > best:
                best, end = length, n
        if not best:
            yield Scored("loop", 0.0)
            return
        yield Scored("loop", float(best), end - best + 1, end, f"{best} frames were there {back[end]} frames before")

    def _labels(self) -> Iterator[Scored]:
        moved, told = np.array(self._moved), np.array(self._told)
        good = np.isfinite(moved).all(1) & np.isfinite(told).all(1)
        if good.sum() < FEWEST:
            return
        pace, labelled = (np.sqrt((v[good] ** 2).sum(1)) for v in (moved, told))
        if np.quantile(pace, 0.75) > 0.01:
            ratio = float(np.quantile(labelled, 0.75) / np.quantile(pace, 0.75))
            detail = (
                f"the face moves by {np.quantile(pace, 0.75):.3f} of its size a frame, its box by {ratio:.2f} of that"
            )
            yield Scored("labels-still", ratio, None, None, detail)
            lag, gain = best_lag(told, moved)
            if not np.isnan(lag):
                yield Scored("labels-late", abs(lag), None, None, f"by {lag:.0f} frames (correlation + {gain:.2f})")

    def _identity(self) -> Iterator[Scored]:
        if len(self._vectors) < FEWEST_EMBEDDED:
            return
        vectors = np.stack(self._vectors)
        total = vectors.sum(0)
        others = total - vectors
        alike = (vectors * others).sum(1) / np.maximum(np.linalg.norm(others, axis=1), 1e-12)
        worst = int(alike.argmin())
        at = self._embedded[worst]
        yield Scored("identity-outlier", float(alike[worst]), at, at, f"cosine {alike[worst]:.2f}")
        sums = np.cumsum(vectors, 0)
        cuts = range(2, len(vectors) - 3)
        if len(cuts):
            apart = [float(_cosine(sums[k], total - sums[k])) for k in cuts]
            k = int(np.argmin(apart))
            first = self._embedded[cuts[k] + 1]
            detail = f"cosine {apart[k]:.2f} of the frames before and from {first} on"
            yield Scored("identity-switch", apart[k], first, self._seen - 1, detail)


def _cosine(a: Floats, b: Floats) -> float:
    return float(a @ b / max(float(np.linalg.norm(a) * np.linalg.norm(b)), 1e-12))


def _ready(face: NDArray[np.uint8]) -> Floats:
    """Without its mean and fading to its edges, as phase correlation wants it."""
    window = np.outer(np.hanning(FACE), np.hanning(FACE))
    result: Floats = (face - face.mean(dtype=np.float64)) * window
    return result


def _window(gray: NDArray[np.uint8], at: Floats) -> tuple[NDArray[np.uint8], Floats]:
    """The square of side ``at[2]`` about ``at[:2]``, in `FACE` x `FACE` pixels; beyond the frame its border repeats."""
    scale = FACE / at[2]
    corner = at[:2] - at[2] / 2
    matrix = np.array([[scale, 0, -corner[0] * scale], [0, scale, -corner[1] * scale]])
    if scale < 0.5:  # bilinear sampling would skip pixels
        gray = cv2.blur(gray, (int(1 / scale), int(1 / scale))).astype(np.uint8, copy=False)
    face = cv2.warpAffine(gray, matrix, (FACE, FACE), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(face, np.uint8), at
