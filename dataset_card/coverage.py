"""What a release's frames show: counted and measured in its `frames` shards, which hold no pixels."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from thermvision.annotations.errors import DamagedInputError
from thermvision.annotations.schema import ATTRIBUTES, EXPRESSIONS, class_name
from thermvision.curation.release import Manifest

QUANTILES = (0, 0.05, 0.5, 0.95, 1)


@dataclass(frozen=True, eq=False)
class Measured:
    """What was counted and measured.

    Attributes:
        faces: frames by their number of faces.
        classes: frames by class number of the expression and of each attribute.
        poses: (5, 3) least, 5 %, median, 95 % and greatest yaw, pitch and roll in degrees; None where none is known.
    """

    faces: Counter[int]
    classes: dict[str, Counter[int]]
    poses: NDArray[np.float64] | None


def measured(root: Path, manifest: Manifest) -> Measured:
    """Faces, expressions, attributes and head poses of all frames.

    Raises:
        DamagedInputError: a shard does not read.
    """
    faces, counts, poses = Counter[int](), {name: Counter[int]() for name in ("expression", *ATTRIBUTES)}, []
    for shard in manifest.shards_of("frames"):
        table = _read(root / shard.path)
        faces.update(v for v in table["face_count"].to_pylist() if v is not None)
        for name, counter in counts.items():
            if name in table.column_names:  # an older release has fewer attributes
                counter.update(v for v in table[name].to_pylist() if v is not None)
        known = table["head_pose"].drop_null()
        if len(known):
            poses.append(np.asarray(known.combine_chunks().flatten(), np.float64).reshape(-1, 3))
    quantiles = np.nanquantile(np.concatenate(poses), QUANTILES, axis=0) if poses else None
    return Measured(faces, counts, quantiles)


def coverage_lines(seen: Measured) -> list[str]:
    """Markdown lines on faces, head pose, expressions and attributes; what no frame knows is left out."""
    return [*_faces(seen.faces), *_classes(seen.classes), *_poses(seen.poses)]


def _read(path: Path) -> pa.Table:
    try:
        known = pq.read_schema(path).names
        wanted = ["face_count", "head_pose", "expression", *(a for a in ATTRIBUTES if a in known)]
        return pq.read_table(path, columns=wanted, partitioning=None)
    except (pa.ArrowException, OSError) as error:
        raise DamagedInputError(f"{path} does not read as Parquet ({error}); run: thermvision verify") from error


def _faces(faces: Counter[int]) -> list[str]:
    if not faces:
        return []
    several = sum(n for count, n in faces.items() if count > 1)
    return [f"* {faces.total():,} frames: {faces[1]:,} with one face, {faces[0]:,} with none, {several:,} with several"]


def _classes(counts: dict[str, Counter[int]]) -> list[str]:
    lines = []
    for name, counter in counts.items():
        names = EXPRESSIONS if name == "expression" else ATTRIBUTES[name]
        if counter:
            parts = ", ".join(f"{class_name(names, index)} {number:,}" for index, number in sorted(counter.items()))
            lines.append(f"* {name}: {parts} (frames)")
    return lines


def _poses(quantiles: NDArray[np.float64] | None) -> list[str]:
    if quantiles is None:
        return []
    head = ["", "| head pose, degrees | least | 5 % | median | 95 % | greatest |", "|---|--:|--:|--:|--:|--:|"]
    names = ("yaw", "pitch", "roll")
    # adding 0 turns -0.0 into 0.0
    return [
        *head,
        *(
            f"| {n} | {' | '.join(f'{v + 0:.1f}' for v in q.round(1))} |"
            for n, q in zip(names, quantiles.T, strict=True)
        ),
    ]
