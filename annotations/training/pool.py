"""Training samples made by worker processes while the network learns: the same samples, whatever the workers do.

Chunk k of a run depends on the run's seed and k alone, and chunks are used in order, so a run can be repeated.
"""

from __future__ import annotations

import multiprocessing
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

Chunk = dict[str, NDArray[Any]]
MakeChunk = Callable[[np.random.Generator], Chunk]
_AHEAD = 2  # chunks a worker may be ahead of the network

_make: MakeChunk | None = None


def _start(prepare: Callable[..., MakeChunk], arguments: tuple[Any, ...]) -> None:
    import cv2

    global _make
    cv2.setNumThreads(1)
    _make = prepare(*arguments)


def _chunk(seed: int, number: int) -> Chunk:
    assert _make is not None
    return _make(np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(number,))))


def batches(
    prepare: Callable[..., MakeChunk], arguments: tuple[Any, ...], seed: int, size: int, workers: int, uses: int = 2
) -> Iterator[Chunk]:
    """Batches of ``size`` samples without end.

    Args:
        prepare: importable function that a worker calls once, with ``arguments``, to get what makes chunks.
        arguments: picklable.
        seed: of the run.
        size: samples a batch; every chunk is cut into whole batches.
        workers: processes; 0 makes the chunks in this one.
        uses: how often a sample is used, each time in another batch; makers are slower than networks.
    """
    order = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(1 << 30,)))
    pool: deque[Chunk] = deque(maxlen=4)
    for chunk in _chunks(prepare, arguments, seed, workers):
        pool.append(chunk)
        count = len(next(iter(chunk.values())))
        for _ in range(max(1, uses * count // size)):
            picks = order.integers(len(pool), size=size), order.integers(count, size=size)
            yield {name: np.stack([pool[p][name][i] for p, i in zip(*picks, strict=True)]) for name in chunk}


def _chunks(prepare: Callable[..., MakeChunk], arguments: tuple[Any, ...], seed: int, workers: int) -> Iterator[Chunk]:
    if not workers:
        make = prepare(*arguments)
        number = 0
        while True:
            yield make(np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(number,))))
            number += 1
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context, _start, (prepare, arguments)) as executor:
        waiting: deque[Future[Chunk]] = deque(executor.submit(_chunk, seed, k) for k in range(workers * _AHEAD))
        number = len(waiting)
        try:
            while True:
                chunk = waiting.popleft().result()
                waiting.append(executor.submit(_chunk, seed, number))
                number += 1
                yield chunk
        finally:
            for future in waiting:
                future.cancel()
