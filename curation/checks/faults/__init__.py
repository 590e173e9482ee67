"""Planted faults: ways to spoil clean items, each with the codes of the findings that must catch it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Medium = Literal["still", "clip"]
Row = dict[str, Any]


@dataclass(frozen=True)
class Fault:
    """A way to spoil an item; exactly one of the four ``on_...`` is given.

    Attributes:
        name: kebab-case.
        codes: any of these findings on the spoilt item counts as found.
        meaning: one sentence.
        on_frame: gray (H, W) uint8, the row with ``landmarks`` (68, 2), ``bbox`` (4,), ``landmark_state`` (68,) and
            ``head_pose`` (3,) of that frame, and a generator give (H, W) or RGB (H, W, 3) uint8. In clips it is
            called for every frame that fits, with a generator of equal state each time.
        on_row: changes the labels of a row of ``video`` or a category in place.
        on_frames: the frames (N, H, W) uint8 of a clip, its row and a generator give frames (any number).
        on_release: damages files of a copied release; gives the path, relative to it, that was damaged.
        media: what it applies to.
        needs: rows it can be planted in, as the planting is given them (``on_frame``: of single frames); None: all.

    >>> Fault("black", ("collapsed",), "All pixels are 0.", on_frame=lambda gray, row, rng: gray * 0).media
    ('still', 'clip')
    """

    name: str
    codes: tuple[str, ...]
    meaning: str
    on_frame: Callable[[NDArray[np.uint8], Row, np.random.Generator], NDArray[np.uint8]] | None = None
    on_row: Callable[[Row, np.random.Generator], None] | None = None
    on_frames: Callable[[NDArray[np.uint8], Row, np.random.Generator], NDArray[np.uint8]] | None = None
    on_release: Callable[[Path, np.random.Generator], str] | None = None
    media: tuple[Medium, ...] = ("still", "clip")
    needs: Callable[[Mapping[str, Any]], bool] | None = None

    def __post_init__(self) -> None:
        given = [f for f in (self.on_frame, self.on_row, self.on_frames, self.on_release) if f is not None]
        if len(given) != 1 or not self.codes:
            seen = f"{len(given)} plantings and {len(self.codes)} codes"
            raise ValueError(f"fault {self.name} has {seen}; allowed: one planting, at least one code")
