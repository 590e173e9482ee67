"""Chunks of numbers instead of pictures, light enough for a worker process to import at once."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray


def prepare_numbers(count: int) -> Callable[[np.random.Generator], dict[str, NDArray[np.int64]]]:
    """What makes chunks of ``count`` samples that name their chunk by a random number, and their place in it."""

    def make(rng: np.random.Generator) -> dict[str, NDArray[np.int64]]:
        return {"chunk": np.full(count, rng.integers(1 << 30)), "place": np.arange(count)}

    return make
