"""All image checks in one: `KINDS`, `frame_scores` of a frame, and `PixelWatch` over the frames of a clip.

Thresholds lie between what clean phantom stills and clips show and what planted faults show (docs/checks.md has the
table); scores are in gray levels, pixels or shares so that a reader can judge them.
"""

from __future__ import annotations

from collections.abc import Iterator

from . import composition, noise, repeats, sharpness, tones
from .kinds import FrameView, Kind, Scored
from .repeats import PixelWatch

__all__ = ["KINDS", "PixelWatch", "frame_scores"]

_MODULES = (tones, noise, sharpness, composition)
KINDS: tuple[Kind, ...] = (*(kind for module in _MODULES for kind in module.KINDS), *repeats.KINDS)


def frame_scores(frame: FrameView) -> Iterator[Scored]:
    """Scores of all kinds that one frame can be told by.

    >>> import numpy as np
    >>> gray = np.full((64, 64), 100, np.uint8)
    >>> found = {s.code: s.score for s in frame_scores(FrameView(0, gray, gray))}
    >>> found["low-contrast"], found["coloured"]
    (0.0, 0.0)
    """
    for module in _MODULES:
        yield from module.frame_scores(frame)
