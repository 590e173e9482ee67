"""Nearest neighbours of vectors and bit hashes: exact for small sets, by usearch's HNSW graph for large ones.

The graph is built on one thread in the order given, so that the same data always give the same neighbours.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .descriptors import distances, missing

EXACT_BELOW = 20_000
CONNECTIVITY, EXPANSION_ADD, EXPANSION_SEARCH = 16, 96, 192  # HNSW: M, efConstruction, ef
_BLOCK = 2**24  # numbers in memory at once while neighbours are looked up exactly


class Neighbours:
    """The nearest of ``base`` to queries: by cosine for floats (N, D) of unit length, by bits for uint8 (N, B).

    Args:
        base: kept by reference; may be a memory map.
        exact: look at all; None: where there are fewer than `EXACT_BELOW`.

    Attributes:
        exact: whether all are looked at.

    >>> found = Neighbours(np.eye(3, dtype=np.float32)).query(np.array([[0.6, 0.8, 0]], np.float32), 2)
    >>> found[0].tolist(), found[1].astype(float).round(3).tolist()
    ([[1, 0]], [[0.8, 0.6]])

    Raises:
        MissingDependencyError: usearch is needed and not installed.
    """

    def __init__(self, base: NDArray[np.generic], exact: bool | None = None) -> None:
        self._base, self.bits = base, base.dtype == np.uint8
        self.exact = len(base) < EXACT_BELOW if exact is None else exact
        if not self.exact:
            self._index = _graph(base)

    def query(self, queries: NDArray[np.generic], k: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Indices (Q, k) into the base, best first, and cosines or counts of different bits (Q, k).

        Where there are fewer than ``k``, indices are -1.
        """
        wanted = min(k, len(self._base))
        indices = np.full((len(queries), k), -1, np.int64)
        scores = np.full((len(queries), k), np.nan, np.float32)
        if not len(queries) or not wanted:
            return indices, scores
        find = self._all_of if self.exact else self._graph_of
        step = max(1, _BLOCK // max(len(self._base), 1)) if self.exact else 4096
        for start in range(0, len(queries), step):
            rows = slice(start, start + step)
            indices[rows, :wanted], scores[rows, :wanted] = find(queries[rows], wanted)
        return indices, scores

    def _all_of(self, queries: NDArray[np.generic], k: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        if self.bits:
            scores = np.stack([distances(np.asarray(q), np.asarray(self._base)) for q in queries]).astype(np.float32)
            order = np.argsort(scores, axis=1, kind="stable")[:, :k]
        else:
            scores = np.asarray(queries, np.float32) @ np.asarray(self._base, np.float32).T
            order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        return order.astype(np.int64), np.take_along_axis(scores, order, 1)

    def _graph_of(self, queries: NDArray[np.generic], k: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        found = self._index.search(np.ascontiguousarray(queries), k, threads=1)
        keys = np.asarray(found.keys).reshape(len(queries), -1).astype(np.int64)
        far = np.asarray(found.distances, np.float32).reshape(len(queries), -1)
        return keys, far if self.bits else 1 - far


def _graph(base: NDArray[np.generic]) -> Any:
    try:
        from usearch.index import Index
    except ImportError as error:
        raise missing("usearch") from error
    bits = base.dtype == np.uint8
    index = Index(
        ndim=base.shape[1] * (8 if bits else 1),
        metric="hamming" if bits else "cos",
        dtype="b1" if bits else "f16",
        connectivity=CONNECTIVITY,
        expansion_add=EXPANSION_ADD,
        expansion_search=EXPANSION_SEARCH,
    )
    for start in range(0, len(base), 65536):
        part = np.ascontiguousarray(base[start : start + 65536])
        index.add(np.arange(start, start + len(part)), part, threads=1)
    return index


def candidates(
    near: Neighbours, queries: NDArray[np.generic], k: int, limit: float, mirrored: Callable[[Any], Any] | None = None
) -> Iterator[tuple[int, int, bool]]:
    """Query, place in the base, and whether the mirror image was asked: the ``k`` nearest that are within ``limit``.

    Args:
        near: what is searched.
        queries: (Q, D); may be a memory map.
        k: neighbours of each.
        limit: the lowest cosine, or the most different bits.
        mirrored: makes the queries of the mirror images; without it they are not asked.
    """
    for start in range(0, len(queries), 4096):
        part = np.asarray(queries[start : start + 4096])
        for flipped, asked in ((False, part), *(((True, mirrored(part)),) if mirrored else ())):
            indices, scores = near.query(asked, k)
            good = (indices >= 0) & ((scores <= limit) if near.bits else (scores >= limit))
            for row, column in zip(*np.nonzero(good), strict=True):
                yield start + int(row), int(indices[row, column]), flipped
