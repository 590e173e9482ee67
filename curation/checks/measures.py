"""A check of one face: a kind of finding, how its score is measured, and how a finding is told."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from .kinds import FrameView, Kind, Scored
from .regions import FaceMap, face_map


@dataclass(frozen=True)
class Measure:
    """One kind and its measure.

    Attributes:
        kind: what is found.
        score: of a face; NaN where it cannot be told.
        words: a format string with a field for the score; ``{turn}`` says how far the head is turned, if that is known.

    >>> half = Measure(Kind("half", "face", "Half of it.", 0.4), lambda face: 0.5, "it is {:.1f}{turn}")
    >>> half.words.format(0.5, turn=" at a yaw of 9°")
    'it is 0.5 at a yaw of 9°'
    """

    kind: Kind
    score: Callable[[FaceMap], float]
    words: str


def measured(measures: Sequence[Measure], frame: FrameView) -> Iterator[Scored]:
    """The scores of a frame's main face, of each kind that can be told; none without landmarks."""
    face = face_map(frame)
    if face is None:
        return
    turn = "" if math.isnan(face.yaw) else f" at a yaw of {face.yaw:.0f}°"
    for measure in measures:
        score = float(measure.score(face))
        if not math.isnan(score):
            detail = measure.words.format(score, turn=turn) if measure.kind.is_finding(score) else ""
            yield Scored(measure.kind.code, score, frame.index, frame.index, detail)
