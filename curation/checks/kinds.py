"""The kinds of findings, and what a check is given and gives: the words that all checks share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Group = Literal["integrity", "label", "image", "face", "physics", "sequence"]
GROUPS: tuple[Group, ...] = ("integrity", "label", "image", "face", "physics", "sequence")


@dataclass(frozen=True)
class Kind:
    """A kind of finding.

    Attributes:
        code: stable kebab-case name.
        group: what it is about.
        meaning: one sentence for a reader who has never seen the code: what is wrong and why it matters.
        threshold: a score beyond it is a finding; None where a fact needs none.
        unit: of score and threshold, in words ("gray levels", "share of pixels", "°", "px").
        higher_is_worse: whether scores above the threshold are findings, or those below it.
        repair: what ``--fix`` does about it; None where nothing safe can be done.

    >>> Kind("clipped-hot", "image", "Skin is clipped.", 0.2, "share of the face").is_finding(0.3)
    True
    """

    code: str
    group: Group
    meaning: str
    threshold: float | None = None
    unit: str = ""
    higher_is_worse: bool = True
    repair: str | None = None

    def is_finding(self, score: float) -> bool:
        """Whether a score is beyond the threshold; NaN, which means "cannot be told", never is."""
        if self.threshold is None:
            return True
        return score > self.threshold if self.higher_is_worse else score < self.threshold


@dataclass(frozen=True)
class Scored:
    """One score of one kind, of an item, a frame or a run of frames.

    Attributes:
        code: of a `Kind`.
        score: NaN where it could not be told.
        first, last: frames it is about, both inclusive; None for the whole item.
        detail: what was seen, in words with numbers; completes the kind's meaning.
    """

    code: str
    score: float
    first: int | None = None
    last: int | None = None
    detail: str = ""


@dataclass(frozen=True, eq=False)
class FrameView:
    """A frame as the checks see it.

    Attributes:
        index: of the clip; 0 for a still.
        pixels: (H, W) or, where the medium is coloured, (H, W, 3) uint8 as decoded.
        gray: (H, W) uint8.
        bbox: (4,) float32 of the main face, None where the frame has none or nobody knows.
        landmarks: (68, 2) float32, None where not known.
        states: (68,) uint8 ``landmark_state``, None where not known.
        pose: (3,) float32 yaw, pitch, roll; None where not known.
        labelled: whether these come from the data themselves; else the annotator found them.
        attributes: class names of `thermvision.annotations.schema.ATTRIBUTES` that the row states.
        found_boxes: (M, 4) what the detector found; None where it was not asked.
    """

    index: int
    pixels: NDArray[np.uint8]
    gray: NDArray[np.uint8]
    bbox: NDArray[np.float32] | None = None
    landmarks: NDArray[np.float32] | None = None
    states: NDArray[np.uint8] | None = None
    pose: NDArray[np.float32] | None = None
    labelled: bool = True
    attributes: Mapping[str, str] = field(default_factory=dict)
    found_boxes: NDArray[np.float32] | None = None


@dataclass(frozen=True, eq=False)
class ItemView:
    """A clip or still without its pixels: its row, and its annotations as arrays over its N frames (1 for a still).

    What the row does not know is None. A clip's frames without a face have NaN boxes.

    Attributes:
        item_id: of the clip or still.
        config, split: where its row lies; "" for files.
        is_video: whether its frames follow each other in time.
        row: the row without media.
        fps: frames a second; None for stills.
        num_frames, width, height: as the row announces them.
        bbox: (N, 4) float32.
        landmarks: (N, 68, 2) float32.
        states: (N, 68) uint8.
        pose: (N, 3) float32.
        face_count: (N,) uint8.
    """

    item_id: str
    config: str
    split: str
    is_video: bool
    row: Mapping[str, Any]
    fps: float | None
    num_frames: int
    width: int
    height: int
    bbox: NDArray[np.float32] | None = None
    landmarks: NDArray[np.float32] | None = None
    states: NDArray[np.uint8] | None = None
    pose: NDArray[np.float32] | None = None
    face_count: NDArray[np.uint8] | None = None


def by_code(kinds: Iterable[Kind]) -> dict[str, Kind]:
    """The kinds by their codes.

    Raises:
        ValueError: two have one code.
    """
    found: dict[str, Kind] = {}
    for kind in kinds:
        if kind.code in found:
            raise ValueError(f"two kinds of findings are called {kind.code}")
        found[kind.code] = kind
    return found
