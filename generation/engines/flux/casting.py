"""Who is cast: each identity drawn once, frontal and plain, before anything else of it, and looked at.

An identity is the noise of its seed, so whom a number stands for is known once it is drawn. Castings are kept as small
files in a cache folder, by a digest of everything that decides them: preparing the same build again draws nobody twice.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from thermvision.annotations.errors import DamagedInputError, OutputError
from thermvision.annotations.faces import Floats
from thermvision.curation.store import atomic_write, canonical_json, read_json, sha256_bytes
from thermvision.generation.prompts import Attributes, attributes_of
from thermvision.generation.specs import Subject

CACHE_VARIABLE = "THERMVISION_CACHE"
CATEGORY = "frontal_pose"


@dataclass(frozen=True, eq=False)
class Casting:
    """What was seen of one identity: what speaks against it whoever else there is, and its embedding (D,)."""

    reasons: tuple[str, ...]
    embedding: Floats | None


def casting_attributes(subject: Subject) -> Attributes:
    """The attributes of the still that an identity is judged by."""
    own = attributes_of(subject, CATEGORY, 0)
    return Attributes(subject.gender, own.age_band, hairstyle=own.hairstyle, beard=own.beard)


def cache_folder() -> Path:
    """Where castings are kept: ``$THERMVISION_CACHE``, or the user's cache folder."""
    usual = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "thermvision"
    return Path(os.environ.get(CACHE_VARIABLE) or usual).expanduser() / "castings"


def cast(basis: dict[str, Any], draw: Callable[[], Casting]) -> Casting:
    """The casting of everything in ``basis``, as it is kept, or drawn and kept.

    A cache that cannot be read or written costs time, never the build.
    """
    path = cache_folder() / f"{sha256_bytes(canonical_json(basis).encode())}.json"
    if path.is_file():
        with contextlib.suppress(DamagedInputError, KeyError, TypeError, ValueError):
            return _read(path)
    made = draw()
    kept = {
        "reasons": list(made.reasons),
        "embedding": None if made.embedding is None else [float(v) for v in made.embedding],
    }
    with contextlib.suppress(OutputError, OSError):
        atomic_write(path, canonical_json(kept), durable=False)
    return made


def _read(path: Path) -> Casting:
    kept = read_json(path)
    embedding = None if kept["embedding"] is None else np.array(kept["embedding"], np.float32)
    if embedding is not None and (embedding.ndim != 1 or not np.isfinite(embedding).all()):
        raise DamagedInputError(f"{path} is no casting; delete it")
    return Casting(tuple(str(reason) for reason in kept["reasons"]), embedding)
