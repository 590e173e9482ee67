"""Rendered releases as arrays to train on: every 16-bit frame with its segments and labels, on one pixel grid.

A release is read once (`bake`) and training maps the arrays into memory (`Corpus`). Only ground truth is taken, so that
nobody trains on what a model has guessed or on pictures of real people.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from thermvision.annotations.errors import DamagedInputError, UsageError
from thermvision.annotations.schema import SEGMENTS, SPLITS

GRID = 206  # side in pixels of every frame: the sensor window that a portrait of 352 pixels is made from
CLASSES = ("gender", "expression", "glasses", "mask", "beard", "headwear")
UNKNOWN = -1  # of a class that a row does not name
_FACTS = "corpus.json"
_MOST_PIXELS = 4096 * 4096
_ARRAYS: dict[str, tuple[Any, tuple[int, ...]]] = {
    "counts": (np.uint16, (GRID, GRID)),  # 100 x kelvin
    "segment": (np.uint8, (GRID, GRID)),
    "landmarks": (np.float32, (68, 2)),  # pixels of the grid
    "landmark_state": (np.uint8, (68,)),
    "head_pose": (np.float32, (3,)),
    "bbox": (np.float32, (4,)),  # pixels of the grid; NaN: the face is turned away
    "openness": (np.float32, (2,)),  # eyes, mouth
    "classes": (np.int16, (len(CLASSES),)),
    "identity": (np.int32, ()),
    "item": (np.int32, ()),
    "split": (np.uint8, ()),
    "ambient": (np.float32, ()),
}
_COLUMNS = (
    "radiometric", "segmentation", "sensor_to_frame", "ambient", "subject_id", "item_id", "bbox", "landmarks",
    "landmark_state", "head_pose", "expression", "eye_openness", "mouth_openness", "annotation_source",
    "gender", "glasses", "mask", "beard", "headwear",
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Corpus:
    """Frames and labels, one row a frame; see `_ARRAYS` for shapes and dtypes.

    ``item`` numbers the clip or still a frame is of: two items of one person differ in hair, clothes, room and camera.
    ``digest`` is of the releases' manifests; ``identities`` are the subject ids behind ``identity``.
    """

    counts: NDArray[np.uint16]
    segment: NDArray[np.uint8]
    landmarks: NDArray[np.float32]
    landmark_state: NDArray[np.uint8]
    head_pose: NDArray[np.float32]
    bbox: NDArray[np.float32]
    openness: NDArray[np.float32]
    classes: NDArray[np.int16]
    identity: NDArray[np.int32]
    item: NDArray[np.int32]
    split: NDArray[np.uint8]
    ambient: NDArray[np.float32]
    identities: tuple[str, ...]
    digest: str

    def __len__(self) -> int:
        return len(self.identity)

    def rows(self, *splits: str, facing: bool = True) -> NDArray[np.int64]:
        """Numbers of the frames of ``splits``; with ``facing`` only those with a face to see."""
        wanted = np.isin(self.split, [SPLITS.index(s) for s in splits])
        return np.flatnonzero(wanted & ~np.isnan(self.bbox[:, 0]) if facing else wanted)


def open_corpus(folder: Path) -> Corpus:
    """The corpus that `bake` wrote into ``folder``; its frames stay on disk until they are read.

    Raises:
        UsageError: there is none.
        DamagedInputError: it is damaged.
    """
    if not (folder / _FACTS).is_file():
        raise UsageError(
            f"{folder} is no corpus, it has no {_FACTS}; type: thermvision train corpus RELEASE --out {folder}"
        )
    try:
        facts = json.loads((folder / _FACTS).read_text(encoding="utf-8"))
        arrays = {name: np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False) for name in _ARRAYS}
        return Corpus(**arrays, identities=tuple(facts["identities"]), digest=str(facts["digest"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DamagedInputError(f"{folder} is a damaged corpus ({error}); remove it and bake it anew") from error


def bake(releases: Sequence[Path], folder: Path) -> Corpus:
    """Write the radiometric rows of ``releases`` as arrays into ``folder``, which must be new or empty.

    Raises:
        UsageError: a folder is no release, or no release has radiometric rows with ground truth.
        DamagedInputError: a picture does not decode.
    """
    if folder.exists() and any(folder.iterdir()):
        raise UsageError(f"{folder} is not empty; name a new folder")
    shards = [(release, shard) for release in releases for shard in _shards(release)]
    count = sum(_frames_in(shard) for _, shard in shards)
    if not count:
        raise UsageError(
            f"{', '.join(map(str, releases))}: no radiometric frames; set radiometric.clip_every to 1 in the recipe"
        )
    started = folder.with_name(folder.name + ".part")  # renamed when whole: a stopped bake leaves no half corpus
    shutil.rmtree(started, ignore_errors=True)
    started.mkdir(parents=True)
    arrays = {
        name: np.lib.format.open_memmap(started / f"{name}.npy", "w+", dtype, (count, *shape))
        for name, (dtype, shape) in _ARRAYS.items()
    }
    people: dict[str, int] = {}
    items: dict[str, int] = {}
    place = 0
    for release, shard in shards:
        split = SPLITS.index(shard.name.split("-")[0])
        for row in _rows(shard):
            person = people.setdefault(f"{release.name}/{row['subject_id']}", len(people))
            item = items.setdefault(f"{release.name}/{row['item_id']}", len(items))
            for labels in _frames_of(row, shard):
                for name, value in {**labels, "identity": person, "item": item, "split": split}.items():
                    arrays[name][place] = value
                place += 1
    for array in arrays.values():
        array.flush()
    facts = {"identities": list(people), "digest": digest_of(releases), "frames": count, "grid": GRID}
    (started / _FACTS).write_text(json.dumps(facts, indent=1), encoding="utf-8")
    if folder.exists():
        folder.rmdir()
    started.rename(folder)
    return open_corpus(folder)


def _shards(release: Path) -> list[Path]:
    if not (release / "release.json").is_file():
        raise UsageError(
            f"{release} is no release, it has no release.json; build one: thermvision build training --out {release}"
        )
    return sorted((release / "data" / "radiometric").glob("*.parquet"))


def digest_of(releases: Sequence[Path]) -> str:
    """SHA-256 of the manifests of releases, in this order."""
    whole = hashlib.sha256()
    for release in releases:
        whole.update((release / "release.json").read_bytes())
    return whole.hexdigest()


def _frames_in(shard: Path) -> int:
    column = pq.read_table(shard, columns=["frame_index"])["frame_index"]
    return sum(len(frames) for frames in column.to_pylist())


def _rows(shard: Path) -> Iterator[dict[str, Any]]:
    file = pq.ParquetFile(shard)
    for batch in file.iter_batches(batch_size=4, columns=list(_COLUMNS)):
        yield from batch.to_pylist()


def _frames_of(row: dict[str, Any], shard: Path) -> Iterator[dict[str, Any]]:
    if row["annotation_source"] != "ground_truth":
        raise UsageError(f"{shard}: {row['item_id']} is annotated by {row['annotation_source']}; allowed: ground_truth")
    # the frame's pixels to the grid's, by way of the sensor's
    scale = np.linalg.inv(np.array(row["sensor_to_frame"]))[:2]
    for k, (image, segment) in enumerate(zip(row["radiometric"], row["segmentation"], strict=True)):
        counts, labels = _decode(image, np.uint16, row["item_id"]), _decode(segment, np.uint8, row["item_id"])
        side = counts.shape[0]
        to_grid = scale * (GRID / side)
        points = np.array(row["landmarks"][k], np.float64) @ to_grid[:, :2].T + to_grid[:, 2]
        box = np.array(row["bbox"][k], np.float64)
        box = np.concatenate([box[:2] @ to_grid[:, :2].T + to_grid[:, 2], box[2:] @ to_grid[:, :2].T])
        classes = [row["gender"], row["expression"][k], *(row[name] for name in CLASSES[2:])]
        yield {
            "counts": _resized(counts, cv2.INTER_AREA if side > GRID else cv2.INTER_LINEAR),
            "segment": _resized(labels, cv2.INTER_NEAREST),
            "landmarks": points,
            "landmark_state": row["landmark_state"][k],
            "head_pose": row["head_pose"][k],
            "bbox": box,
            "openness": (row["eye_openness"][k], row["mouth_openness"][k]),
            "classes": [UNKNOWN if c is None else c for c in classes],
            "ambient": row["ambient"],
        }


def _resized(image: NDArray[Any], interpolation: int) -> NDArray[Any]:
    if image.shape == (GRID, GRID):
        return image
    return np.asarray(cv2.resize(image, (GRID, GRID), interpolation=interpolation))


def _decode(image: dict[str, Any], dtype: Any, item: str) -> NDArray[Any]:
    found = cv2.imdecode(np.frombuffer(image["bytes"], np.uint8), cv2.IMREAD_UNCHANGED)
    if found is None or found.dtype != dtype or found.ndim != 2 or found.size > _MOST_PIXELS:
        seen = "nothing" if found is None else f"{found.dtype} {found.shape}"
        raise DamagedInputError(
            f"{item}: a picture decodes to {seen}; allowed: {np.dtype(dtype)} (H, W); verify the release"
        )
    if dtype is np.uint8 and found.max() >= len(SEGMENTS):
        raise DamagedInputError(f"{item}: segment {found.max()}; allowed: below {len(SEGMENTS)}; verify the release")
    return np.asarray(found)
