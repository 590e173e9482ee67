"""Frames of rendered clips with their exact labels, read from finished releases.

Only ground truth is taken: nobody trains on what a model has guessed. Who is in the release's split ``train`` is
learned from, everybody else is held out.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from thermvision.annotations.errors import DamagedInputError, UsageError
from thermvision.annotations.schema import EXPRESSIONS, SPLITS
from thermvision.curation.video import decode_gray, probe
from thermvision.generation.engines.liveportrait.crop import driving_bbox
from thermvision.generation.preprocess import check_steps, preprocess

MAX_YAW, MAX_PITCH = 75.0, 60.0  # degrees; the motion extractor's bins end at 97.5, and Euler angles fold at 90
MAX_FRAMES, MAX_VIDEO_BYTES, MAX_BYTES = 20_000, 512 << 20, 16 << 30
_COLUMNS = (
    "video", "clip_id", "subject_id", "num_frames", "bbox", "landmarks", "head_pose", "expression", "annotation_source",
)  # fmt: skip
_TO_PIXEL_CENTRES = 0.5  # annotations have the first pixel's centre at (.5, .5), crops at (0, 0)


@dataclass(frozen=True, eq=False)
class Clips:
    """N frames and what is true of them.

    Attributes:
        frames: N pictures (H, W) uint8, white-hot.
        landmarks: (N, 68, 2) float32 pixels of the frame, the centre of its first at (0, 0).
        head_pose: (N, 3) float32 yaw, pitch, roll in degrees, axes of `thermvision.annotations.pose`.
        neutral: (N,) bool, the face is at rest.
        clip, person: (N,) int32, numbers of the clip and the person.
        held_out: (N,) bool, never learned from.
        people: names behind ``person``.
        digest: SHA-256 of the releases' manifests.
    """

    frames: list[NDArray[np.uint8]]
    landmarks: NDArray[np.float32]
    head_pose: NDArray[np.float32]
    neutral: NDArray[np.bool_]
    clip: NDArray[np.int32]
    person: NDArray[np.int32]
    held_out: NDArray[np.bool_]
    people: tuple[str, ...]
    digest: str

    def __len__(self) -> int:
        return len(self.frames)

    @cached_property
    def windows(self) -> NDArray[np.float32]:
        """(clips, 4) left, top, right, bottom: each clip's one window as a driving video, the mean over its frames."""
        return np.stack([
            np.mean([driving_bbox(self.landmarks[k]) for k in np.flatnonzero(self.clip == clip)], axis=0)
            for clip in range(int(self.clip.max()) + 1)
        ])  # fmt: skip

    def rows(self, held_out: bool) -> NDArray[np.int64]:
        """Numbers of the frames that are held out, or of those that are not."""
        return np.flatnonzero(self.held_out == held_out)


def read_clips(releases: Sequence[Path], per_clip: int = 8, steps: Sequence[str] = ()) -> Clips:
    """Frames of the clips of finished releases.

    Args:
        releases: folders that ``thermvision build`` made.
        per_clip: frames taken of each clip, evenly spread; all of a shorter one.
        steps: of `thermvision.generation.preprocess`, done to every frame.

    Raises:
        UsageError: a folder is no release, clips are not ground truth, or nobody is left to learn from or to hold out.
        DamagedInputError: a shard, a video or its labels are broken or over a limit.
    """
    chosen = check_steps(steps)
    whole = hashlib.sha256()
    found: list[tuple[NDArray[np.uint8], dict[str, Any]]] = []
    people: dict[str, int] = {}
    clips, held = 0, 0
    for release in releases:
        if not (release / "release.json").is_file():
            raise UsageError(
                f"{release} is no release, it has no release.json; type: thermvision build --out {release}"
            )
        whole.update((release / "release.json").read_bytes())
        for shard in sorted((release / "data" / "video").glob("*.parquet")):
            for row in _rows(shard):
                person = people.setdefault(f"{release.name}/{row['subject_id']}", len(people))
                shared = {"clip": clips, "person": person, "held_out": shard.name.split("-")[0] != SPLITS[0]}
                frames = list(_frames(row, f"{shard}: {row['clip_id']}", per_clip))
                clips += bool(frames)  # a clip of which nothing faces the camera has no number
                for picture, labels in frames:
                    held += picture.nbytes
                    if held > MAX_BYTES:
                        raise UsageError(f"the frames need more than {MAX_BYTES >> 30} GiB; take fewer: --frames")
                    found.append((preprocess(picture, chosen), {**labels, **shared}))
    for what, out in (("learn from", False), ("hold out", True)):
        if not any(labels["held_out"] == out for _, labels in found):
            raise UsageError(
                f"{', '.join(map(str, releases))}: nobody to {what}; train needs clips of people in the split train and"
                " of others in validation or test: add subjects to the recipe and build it"
            )
    columns = {name: [labels[name] for _, labels in found] for name in found[0][1]}
    return Clips(
        frames=[picture for picture, _ in found],
        landmarks=np.array(columns["landmarks"], np.float32),
        head_pose=np.array(columns["head_pose"], np.float32),
        neutral=np.array(columns["neutral"], np.bool_),
        clip=np.array(columns["clip"], np.int32),
        person=np.array(columns["person"], np.int32),
        held_out=np.array(columns["held_out"], np.bool_),
        people=tuple(people),
        digest=whole.hexdigest(),
    )


def _rows(shard: Path) -> Iterator[dict[str, Any]]:
    try:
        file = pq.ParquetFile(shard)
        if missing := [column for column in _COLUMNS if column not in file.schema_arrow.names]:
            raise DamagedInputError(
                f"{shard} has no column {', '.join(missing)}; type: thermvision verify on its release"
            )
        for batch in file.iter_batches(batch_size=1, columns=list(_COLUMNS)):
            yield from batch.to_pylist()
    except (pa.ArrowException, OSError, ValueError) as error:
        reason = str(error).splitlines()[0][:200]
        raise DamagedInputError(
            f"{shard} cannot be read ({reason}); type: thermvision verify on its release"
        ) from error


def _frames(row: dict[str, Any], name: str, per_clip: int) -> Iterator[tuple[NDArray[np.uint8], dict[str, Any]]]:
    """The chosen frames of one clip that face the camera."""
    if row["annotation_source"] != "ground_truth":
        raise UsageError(f"{name} is annotated by {row['annotation_source']}; allowed: ground_truth, of rendered clips")
    labels = _labels(row, name)
    video = (row["video"] or {}).get("bytes") or b""
    if not 0 < len(video) <= MAX_VIDEO_BYTES:
        raise DamagedInputError(f"{name} has a video of {len(video)} bytes; allowed: 1..{MAX_VIDEO_BYTES}")
    count = len(labels["head_pose"])
    if (played := probe(video).num_frames) != count:
        raise DamagedInputError(f"{name} has {played} frames and {count} labels; verify the release")
    with np.errstate(invalid="ignore"):
        turned = np.abs(labels["head_pose"])
        facing = np.isfinite(labels["bbox"]).all(1) & (turned[:, 0] <= MAX_YAW) & (turned[:, 1] <= MAX_PITCH)
    facing &= np.isfinite(labels["landmarks"]).all((1, 2)) & np.isfinite(turned).all(1)
    usable = np.flatnonzero(facing)
    if not len(usable):
        return
    spread = np.unique(np.linspace(0, len(usable) - 1, min(per_clip, len(usable))).round().astype(int))
    chosen = usable[spread]
    for picture, k in zip(decode_gray(video, chosen.tolist()), chosen, strict=True):
        yield (
            np.array(picture),  # a copy of its own, not a view that keeps the clip
            {
                "landmarks": labels["landmarks"][k] - _TO_PIXEL_CENTRES,
                "head_pose": labels["head_pose"][k],
                "neutral": labels["expression"][k] == EXPRESSIONS.index("neutral"),
            },
        )


def _labels(row: dict[str, Any], name: str) -> dict[str, NDArray[Any]]:
    count = row["num_frames"] or 0
    shapes = {"bbox": (4,), "landmarks": (68, 2), "head_pose": (3,), "expression": ()}
    labels: dict[str, NDArray[Any]] = {}
    for column, shape in shapes.items():
        try:
            values = np.array(row[column], np.float64)
        except (TypeError, ValueError):
            values = np.zeros(0)
        if not 1 <= count <= MAX_FRAMES or values.shape != (count, *shape):
            raise DamagedInputError(
                f"{name} has {column} of shape {values.shape}; allowed: ({count}, {', '.join(map(str, shape))}) with"
                f" 1..{MAX_FRAMES} frames; verify the release"
            )
        labels[column] = values
    return labels
