"""Unit vectors laid out in the plane, so that alike ones lie together: t-SNE where there are enough, else two axes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FEWEST = 10  # below, t-SNE has no neighbourhoods to keep
PERPLEXITY = 15.0
NEAREST = 3
SEED = 0

Floats = NDArray[np.float32]


def plane(vectors: Floats) -> tuple[NDArray[np.float64], str]:
    """Places (N, 2) of unit vectors (N, D) in 0..1, one scale for both axes, and the name of the method.

    t-SNE (van der Maaten and Hinton, JMLR 9, 2008) as scikit-learn has it, begun from the principal components with a
    fixed seed; the components themselves for fewer than `FEWEST` vectors and where scikit-learn is not installed.

    >>> plane(np.eye(3, dtype=np.float32)[:2])
    (array([[1. , 0.5],
           [0. , 0.5]]), 'principal components')
    """
    count = len(vectors)
    if count >= FEWEST:
        try:
            from sklearn.manifold import TSNE
        except ImportError:
            return scaled(components(vectors)), "principal components (t-SNE needs: pip install scikit-learn)"
        perplexity = min(PERPLEXITY, (count - 1) / 3)
        start = components(vectors)
        start = start / max(float(start[:, 0].std()), 1e-12) * 1e-4  # as scikit-learn scales its own
        found = TSNE(2, perplexity=perplexity, init=start.astype(np.float32), random_state=SEED, n_jobs=1)
        return scaled(found.fit_transform(vectors)), "t-SNE"
    return scaled(components(vectors)), "principal components"


def components(vectors: Floats) -> NDArray[np.float64]:
    """The first two principal components (N, 2) of vectors (N, D), signs fixed by the largest value of each."""
    centred = np.asarray(vectors, np.float64) - np.mean(vectors, axis=0, dtype=np.float64)
    left, strength, _ = np.linalg.svd(centred, full_matrices=False)
    found = np.zeros((len(vectors), 2))
    wide = min(2, len(strength))
    found[:, :wide] = left[:, :wide] * strength[:wide]
    # what is left of a centred vector is rounding
    found[:, np.abs(found).max(0, initial=0) < 1e-6] = 0
    largest = found[np.abs(found).argmax(0), [0, 1]] if len(found) else np.ones(2)
    return found * np.where(largest < 0, -1, 1)


def scaled(places: NDArray[np.floating]) -> NDArray[np.float64]:
    """Places (N, 2) moved and scaled into 0..1, the longer axis filled and the other in the middle."""
    low, high = places.min(0).astype(np.float64), places.max(0).astype(np.float64)
    extent = max(float((high - low).max()), 1e-12)
    return np.asarray(np.clip((places - (low + high) / 2) / extent + 0.5, 0, 1), np.float64)


def nearest(vectors: Floats, count: int) -> list[list[tuple[int, float]]]:
    """For each of unit vectors (N, D) the ``count`` most alike others, the most alike first, with their cosine.

    >>> nearest(np.array([[1, 0], [0, 1], [0.6, 0.8]], np.float32), 1)[0][0][0]
    2
    """
    alike = np.asarray(vectors, np.float64) @ np.asarray(vectors, np.float64).T
    np.fill_diagonal(alike, -np.inf)
    order = np.argsort(-alike, axis=1, kind="stable")[:, : max(0, min(count, len(vectors) - 1))]
    return [[(int(k), float(alike[n, k])) for k in row] for n, row in enumerate(order)]
