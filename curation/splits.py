"""The split of an identity, fixed when it is born."""

from __future__ import annotations

import numpy as np

from thermvision.annotations.schema import GENDERS

BLOCK = ("train",) * 7 + ("validation",) + ("test",) * 2
SALT = 281  # fixed for all releases: an identity's split may depend on nothing a later recipe could change


def split_of(gender: str, ordinal: int) -> str:
    """Split of the ``ordinal``-th identity (from 0) of its gender.

    Identities of a gender are dealt in blocks of ten by a seeded permutation (7 train, 1 validation, 2 test), so splits
    are stratified and never change when identities are added.

    >>> sorted(split_of("female", i) for i in range(10)).count("train")
    7
    """
    block, slot = divmod(ordinal, len(BLOCK))
    seed = np.random.SeedSequence(entropy=SALT, spawn_key=(GENDERS.index(gender), block))
    return BLOCK[int(np.random.default_rng(seed).permutation(len(BLOCK))[slot])]
