"""Findings as stretches of frames, all frames of a release being numbered one after another.

A sum over differences tells for a million frames at once which of them lie in a stretch, where joining every frame with
every stretch would take a second.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Noted:
    """Stretches of frames that findings are about.

    Attributes:
        keys: (N,) of their items.
        codes: (N,) which of ``names`` they are.
        starts, ends: (N,) numbers of the first frame and of the one after the last.
        names: codes of findings, sorted.
        frames: how many frames there are.

    >>> noted = noted_of([(0, "soft", 1, 2), (1, "soft", 0, 9)], np.array([4, 2]))
    >>> noted.positions(["soft"]).tolist()
    [1, 2, 4, 5]
    """

    keys: Numbers
    codes: Numbers
    starts: Numbers
    ends: Numbers
    names: tuple[str, ...]
    frames: int

    def positions(self, wanted: Iterable[str]) -> Numbers:
        """Numbers of the frames that a finding of one of the ``wanted`` codes is about, ascending."""
        chosen = np.isin(self.codes, [n for n, name in enumerate(self.names) if name in set(wanted)])
        steps = np.zeros(self.frames + 1, np.int64)
        np.add.at(steps, self.starts[chosen], 1)
        np.add.at(steps, self.ends[chosen], -1)
        return np.flatnonzero(np.cumsum(steps[:-1]) > 0)

    def count(self, positions: Numbers, inside: NDArray[np.bool_]) -> dict[str, int]:
        """By code, items within the mask ``inside`` of keys with a finding that holds for one of ``positions``."""
        there = np.zeros(self.frames, np.int64)
        there[positions] = 1
        before = np.concatenate([[0], np.cumsum(there)])
        held = (before[self.ends] > before[self.starts]) & inside[self.keys]
        pairs = np.unique(self.keys[held] * max(len(self.names), 1) + self.codes[held])
        counts = np.bincount(pairs % max(len(self.names), 1), minlength=len(self.names))
        return {name: int(n) for name, n in zip(self.names, counts, strict=True) if n}


def noted_of(rows: Sequence[tuple[int, str, int, int]], lengths: NDArray[np.int32]) -> Noted:
    """The stretches of findings: key, code, first and last frame, which lie within the (K,) frames of their items."""
    names = tuple(sorted({code for _, code, _, _ in rows}))
    number = {name: n for n, name in enumerate(names)}
    offsets = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
    table = np.array([(key, number[code], first, last) for key, code, first, last in rows], np.int64).reshape(-1, 4)
    keys, codes, first, last = table.T
    ends = np.minimum(offsets[keys] + last + 1, offsets[keys + 1])
    starts = np.minimum(offsets[keys] + first, ends)
    return Noted(keys, codes, starts, ends, names, int(offsets[-1]))
