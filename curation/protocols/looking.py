"""One pass over the pictures of the listed frames: what models find in each, and embeddings of four kinds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from thermvision.annotations.alignment import aligned_crop
from thermvision.annotations.errors import DamagedInputError

from ..evaluation.evaluate import with_progress
from ..evaluation.frames import KnownFace, KnownFrame
from ..evaluation.measures import Options, pair_faces
from ..evaluation.models import Models, pictures, readable, run_models
from ..evaluation.tasks import five_of
from ..inputs import open_input

Gray = NDArray[np.uint8]
Vector = NDArray[np.float32]
MASK_MARGIN = 0.1  # of the box, on each side: labels end at the brow of some faces
PIXELS = 16  # side of the crop that the trivial recogniser compares


@dataclass
class Seen:
    """What was found, by frame: as `run_models` gives it, and vectors by condition.

    Attributes:
        found, looked_at: see `run_models`.
        vectors: condition to frame to unit vector of the main true face: "face", "masked", and with the trivial
            recogniser "pixels" and "masked pixels". A face that was not found has none.
        missing: frames that are labelled and have no picture, as at the end of a clip that lost some: nothing is found
            in them.
    """

    found: dict[str, KnownFrame] = field(default_factory=dict)
    looked_at: dict[str, KnownFrame] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    vectors: dict[str, dict[str, Vector]] = field(
        default_factory=lambda: {name: {} for name in ("face", "masked", "pixels", "masked pixels")}
    )


def look(
    root: Path,
    truth: Mapping[str, KnownFrame],
    needs: Mapping[str, Set[str]],
    models: Models,
    options: Options,
    quiet: bool,
) -> Seen:
    """Run the models over frames, each as far as its ``needs`` go, so that a result never depends on its company.

    Raises:
        DamagedInputError: no listed frame has a picture, or a shard does not read.
    """
    seen = Seen()
    if not truth:
        return seen
    with readable(root):
        frames = pictures(open_input(str(root)), list(truth.values()))
        _look_at(with_progress(frames, len(truth), quiet), seen, needs, models, options)
    seen.missing = [key for key in truth if key not in seen.found]
    if len(seen.missing) == len(truth):
        raise DamagedInputError(f"no listed frame has a picture, not {seen.missing[0]}; type: thermvision check {root}")
    for key in seen.missing:
        seen.found[key] = seen.looked_at[key] = replace(truth[key], faces=())
    return seen


def _look_at(
    frames: Iterable[tuple[KnownFrame, Gray]],
    seen: Seen,
    needs: Mapping[str, Set[str]],
    models: Models,
    options: Options,
) -> None:
    for frame, gray in frames:
        wanted = needs[frame.key]
        able = replace(
            models,
            landmarker=models.landmarker if wanted & {"landmarks", "embedding"} else None,
            embedder=models.embedder if "embedding" in wanted else None,
            attributes=models.attributes if "attributes" in wanted else None,
        )
        found, looked_at = run_models(able, [(frame, gray)], options)
        pair = next((p for p in pair_faces([frame], looked_at, options) if p.found is not None), None)
        if "embedding" in wanted and pair is not None and pair.found is not None:
            _remember(seen, frame.key, gray, pair.found, pair.truth, models.embedder if "masked" in wanted else None)
        seen.found |= found
        seen.looked_at |= {key: _light(value) for key, value in looked_at.items()}


def _light(frame: KnownFrame) -> KnownFrame:
    return replace(frame, faces=tuple(replace(face, embedding=None) for face in frame.faces))


def _remember(seen: Seen, key: str, gray: Gray, found: KnownFace, truth: KnownFace, embedder: Any | None) -> None:
    points = five_of(found)
    if found.embedding is None or points is None:
        return
    seen.vectors["face"][key] = found.embedding
    seen.vectors["pixels"][key] = pixel_vector(gray, points)
    if embedder is not None:
        masked = mask_face(gray, truth.bbox)
        seen.vectors["masked"][key] = embedder.embed(masked, points[None].astype(np.float32))[0]
        seen.vectors["masked pixels"][key] = pixel_vector(masked, points)


def mask_face(gray: Gray, bbox: NDArray[np.float32], margin: float = MASK_MARGIN) -> Gray:
    """The frame (H, W) with the box (4,), grown by ``margin`` on each side, filled with the median of what is outside.

    >>> mask_face(np.arange(16, dtype=np.uint8).reshape(4, 4), np.array([1, 1, 2, 2], np.float32), 0)[1].tolist()
    [4, 7, 7, 7]
    """
    x, y, width, height = (float(v) for v in bbox)
    left, right = (round(v) for v in (x - margin * width, x + (1 + margin) * width))
    top, bottom = (round(v) for v in (y - margin * height, y + (1 + margin) * height))
    inside = np.zeros(gray.shape, bool)
    inside[max(top, 0) : max(bottom, 0), max(left, 0) : max(right, 0)] = True
    filled = gray.copy()
    filled[inside] = int(np.median(gray[~inside])) if not inside.all() else 0
    return filled


def pixel_vector(gray: Gray, points: NDArray[np.float32]) -> Vector:
    """The trivial recogniser: the aligned crop at 16 x 16, without its mean, as a unit vector (256,); 0 if flat."""
    small = cv2.resize(aligned_crop(gray, points)[0], (PIXELS, PIXELS), interpolation=cv2.INTER_AREA)
    values = np.asarray(small, np.float32).ravel()
    values -= values.mean()
    return (values / max(float(np.linalg.norm(values)), 1e-6)).astype(np.float32)
