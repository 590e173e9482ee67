"""A synthetic release of as many frames as asked for, cheap to make: for measuring what reads many rows.

Rows are written under the schema that every release has, by the writer that every release is written by. Only what is
in them is cheap: a few MP4 and PNG files of 96 x 96 pixels are everybody's, and a few heads' landmarks; ids, angles,
expressions, attributes and boxes differ from item to item. Each subject has a clip of 354 frames and one of 250, as in
the published dataset, and five stills.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from thermvision.annotations.schema import ATTRIBUTES, CATEGORIES, EXPRESSIONS, GENDERS, features
from thermvision.curation.pack import Shard, write_table
from thermvision.curation.release import Identity, Manifest, write_release
from thermvision.curation.video import encode_gray

SIZE = 96
LENGTHS = (354, 250)  # of the sequences head_pose and expression
FRAMES_A_SUBJECT = sum(LENGTHS) + len(CATEGORIES)
CLIPS_A_SHARD, STILLS_A_SHARD = 12, 48
HEADS = 8
ZEROS = "0" * 64
SPLITS = ("train", "train", "train", "train", "train", "train", "train", "validation", "test", "test")
VERSION = "1.0"


def large_release(root: Path, frames: int, seed: int = 1) -> Manifest:
    """Write a release of at least ``frames`` frames into ``root``."""
    count = -(-frames // FRAMES_A_SUBJECT)
    rng = np.random.default_rng(seed)
    identities = tuple(
        Identity(subject_id=f"P_{n:06d}", gender=GENDERS[n % 2], split=SPLITS[n // 2 % 10])  # type: ignore[arg-type]
        for n in range(count)
    )
    media = [_clip(n, length) for length in LENGTHS for n in range(HEADS)], [_still(n) for n in range(HEADS)]
    shards: list[Shard] = []
    numbers = dict.fromkeys(SPLITS, 0)
    for split in dict.fromkeys(SPLITS):
        here = [n for n, i in enumerate(identities) if i.split == split]
        clips = [(n, s) for n in here for s in range(2)]
        for number, chunk in enumerate(_chunks(clips, CLIPS_A_SHARD)):
            shards += _write(root, "video", split, number, numbers, _clip_tables(chunk, media[0], identities, rng))
        for category in range(len(CATEGORIES)):
            for number, some in enumerate(_chunks(here, STILLS_A_SHARD)):
                tables = _still_tables(some, category, media[1], identities, rng)
                shards += _write(root, CATEGORIES[category], split, number, numbers, tables)
    manifest = Manifest(
        name="Large",
        version=VERSION,
        source="build",
        licences={"drawn@1": "cc-by-4.0"},
        identities=identities,
        shards=tuple(sorted(shards, key=lambda s: s.path)),
        plan=ZEROS,
    )
    write_release(root, manifest)
    return manifest


def _chunks(values: list[Any], size: int) -> Iterator[list[Any]]:
    yield from (values[n : n + size] for n in range(0, len(values), size))


def _write(
    root: Path, config: str, split: str, number: int, numbers: dict[str, int], tables: tuple[pa.Table, pa.Table]
) -> list[Shard]:
    items = write_table(root, config, split, VERSION, number, tables[0], ZEROS)
    numbers[split] += 1
    return [items, write_table(root, "frames", split, VERSION, numbers[split] - 1, tables[1], ZEROS)]


def _face(size: int, head: int, shift: float) -> NDArray[np.uint8]:
    frame = np.full((size, size), 30 + head, np.uint8)
    centre = round((0.5 + shift) * size), round(0.55 * size)
    cv2.ellipse(frame, centre, (size // 4, size // 3), 0, 0, 360, 180 + 6 * head, -1)
    cv2.circle(frame, (centre[0], centre[1] + size // 16), size // 24, 120, -1)
    return frame


def _clip(head: int, length: int) -> bytes:
    shifts = 0.12 * np.sin(2 * np.pi * np.arange(length) / length)
    return encode_gray(np.stack([_face(SIZE, head, shift) for shift in shifts]))


def _still(head: int) -> bytes:
    return cv2.imencode(".png", _face(SIZE, head, 0.02 * head - 0.08))[1].tobytes()


def _labels(count: int, head: int, moving: bool, rng: np.random.Generator) -> dict[str, NDArray[Any]]:
    """Columns of ``count`` frames of one item: landmarks are one head's, angles and expressions its own."""
    turn = np.linspace(0, 2 * np.pi, 68, endpoint=False)
    points = np.stack([SIZE * (0.5 + 0.2 * np.cos(turn)), SIZE * (0.55 + 0.25 * np.sin(turn))], 1) + head / 8
    wide = np.array([70, 22, 12]) * rng.uniform(0.3, 1, 3)
    phase = np.linspace(0, 2 * np.pi, count, endpoint=False)[:, None] + rng.uniform(0, 6, 3)
    angles = wide * np.sin(phase) if moving else wide * rng.uniform(-1, 1, (1, 3))
    runs = np.repeat(rng.choice(len(EXPRESSIONS), -(-count // 40), p=[0.6, 0.1, 0.08, 0.08, 0.08, 0.03, 0.03]), 40)
    box = np.array([0.25, 0.22, 0.5, 0.66]) * SIZE + rng.uniform(-1, 1, 4)
    return {
        "bbox": np.broadcast_to(box, (count, 4)).astype(np.float32),
        "landmarks": np.broadcast_to(points, (count, 68, 2)).astype(np.float32),
        "landmark_state": np.full((count, 68), 3, np.uint8),
        "head_pose": angles.astype(np.float32),
        "expression": runs[:count].astype(np.int64),
        "eye_openness": np.full(count, 0.3, np.float32),
        "mouth_openness": np.full(count, 0.05, np.float32),
        "face_count": np.ones(count, np.uint8),
    }


def _fixed(values: NDArray[Any]) -> pa.Array:
    array = pa.array(values.reshape(-1))
    for size in values.shape[:0:-1]:
        array = pa.FixedSizeListArray.from_arrays(array, size)
    return array


def _frame_arrays(labels: list[dict[str, NDArray[Any]]]) -> dict[str, pa.Array]:
    arrays = {name: _fixed(np.concatenate([one[name] for one in labels])) for name in labels[0]}
    count = len(arrays["bbox"])
    box = pa.list_(pa.list_(pa.float32(), 4))
    return arrays | {"bbox_score": pa.nulls(count, pa.float32()), "extra_bboxes": pa.array([[]] * count, box)}


def _table(config: str, arrays: dict[str, Any], identities: tuple[Identity, ...]) -> pa.Table:
    schema = features(config, [i.subject_id for i in identities]).arrow_schema
    return pa.table([pa.array(arrays[f.name]).cast(f.type) for f in schema], schema=schema)


def _of_items(
    subjects: list[int], identities: tuple[Identity, ...], rng: np.random.Generator
) -> dict[str, NDArray[Any]]:
    names = np.array([identities[n].subject_id for n in subjects])
    attributes = {n: rng.integers(0, len(v), len(subjects)) for n, v in ATTRIBUTES.items()}
    numbers = np.array(subjects)
    return {
        "subject_id": names,
        "identity": numbers,
        "gender": numbers % 2,
        **attributes,
        "width": np.full(len(subjects), SIZE),
        "height": np.full(len(subjects), SIZE),
        "annotation_source": np.array(["ground_truth"] * len(subjects)),
    }


def _clip_tables(
    clips: list[tuple[int, int]], media: list[bytes], identities: tuple[Identity, ...], rng: np.random.Generator
) -> tuple[pa.Table, pa.Table]:
    shared = _of_items([n for n, _ in clips], identities, rng)
    sequence = np.array([s for _, s in clips])
    lengths = np.array([LENGTHS[s] for s in sequence])
    ids = np.array([f"{identities[n].subject_id}_S{s + 1}" for n, s in clips])
    labels = [_labels(LENGTHS[s], n % HEADS, True, rng) for n, s in clips]
    flat = _frame_arrays(labels)
    offsets = pa.array(np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32))
    arrays: dict[str, Any] = {n: pa.ListArray.from_arrays(offsets, a) for n, a in flat.items()}
    arrays["bbox_score"] = pa.nulls(len(clips), pa.list_(pa.float32()))
    arrays |= shared | {"clip_id": ids, "sequence": sequence, "num_frames": lengths, "fps": np.full(len(clips), 30.0)}
    arrays["video"] = [
        {"bytes": media[s * HEADS + n % HEADS], "path": f"{i}.mp4"} for (n, s), i in zip(clips, ids, strict=True)
    ]
    arrays["provenance"] = [json.dumps({"drawn": str(i)}) for i in ids]
    rows = np.repeat(np.arange(len(clips)), lengths)
    of_frames = flat | {n: v[rows] for n, v in shared.items()}
    of_frames |= {"item_id": ids[rows], "sequence": sequence[rows], "category": pa.nulls(len(rows), pa.int64())}
    of_frames["frame_index"] = np.concatenate([np.arange(n) for n in lengths])
    return _table("video", arrays, identities), _table("frames", of_frames, identities)


def _still_tables(
    subjects: list[int], category: int, media: list[bytes], identities: tuple[Identity, ...], rng: np.random.Generator
) -> tuple[pa.Table, pa.Table]:
    shared = _of_items(subjects, identities, rng)
    ids = np.array([f"{identities[n].subject_id}_{CATEGORIES[category]}_0" for n in subjects])
    flat = _frame_arrays([_labels(1, n % HEADS, False, rng) for n in subjects])
    arrays: dict[str, Any] = flat | shared | {"image_id": ids, "category": np.full(len(ids), category)}
    arrays["image"] = [{"bytes": media[n % HEADS], "path": f"{i}.png"} for n, i in zip(subjects, ids, strict=True)]
    arrays["provenance"] = [json.dumps({"drawn": str(i)}) for i in ids]
    of_frames = flat | shared | {"item_id": ids, "category": arrays["category"]}
    of_frames |= {"frame_index": np.zeros(len(ids)), "sequence": pa.nulls(len(ids), pa.int64())}
    return _table(CATEGORIES[category], arrays, identities), _table("frames", of_frames, identities)
