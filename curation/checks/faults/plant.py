"""A release with planted faults: copies of clean items, each with one fault, and the table of what is where.

With it the checks are measured: what they find of what was planted (recall), and what they say of clean items.
"""

from __future__ import annotations

import copy
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from thermvision.annotations.errors import UsageError
from thermvision.annotations.picture_file import picture_from_bytes
from thermvision.annotations.schema import CATEGORIES, FRAME_COLUMNS

from ...following import frame_rows
from ...pack import MEDIA, Shard, complete, to_table, write_shard
from ...release import Manifest, read_release, write_release
from ...store import atomic_write, canonical_json, sha256_bytes
from ...video import decode_gray, encode_gray
from . import Fault, Row

TRUTH = "truth.json"
CRF = 12  # planted clips: fine enough for single pixels to survive
FEWEST = 8  # frames of a clip that must fit a fault
EXCERPT = 24  # frames of a clip in which single frames are spoilt: the others would say the same again
_A_SHARD = 8  # items


@dataclass(frozen=True)
class Planted:
    """A fault in a place.

    Attributes:
        fault: name.
        codes: findings of which any counts as found.
        item_id: the spoilt item.
        medium: "still" or "clip".
    """

    fault: str
    codes: tuple[str, ...]
    item_id: str
    medium: str


@dataclass(frozen=True)
class _Place:
    """A row of a release, without its pixels."""

    shard: Shard
    number: int
    row: Row

    @property
    def medium(self) -> str:
        return "clip" if self.shard.config == "video" else "still"

    @property
    def item_id(self) -> str:
        return str(self.row["clip_id" if self.medium == "clip" else "image_id"])


def plant(
    root: Path, out: Path, faults: Sequence[Fault], per_kind: int = 4, seed: int = 0, clean: int = 0
) -> list[Planted]:
    """Write the release ``out`` with ``clean`` items of ``root`` as they are and ``per_kind`` items of each fault.

    Faults that damage files (``on_release``) are left out: see `damage`. A fault for which no item fits is not in the
    result. ``out``/truth.json holds the result.

    Raises:
        UsageError: ``root`` is no release, or ``out`` is not empty.
    """
    if out.exists() and any(out.iterdir()):
        raise UsageError(f"--out {out} is not empty; choose a new folder")
    release = read_release(root)
    places = [*_places(root, release)]
    rng = np.random.default_rng(seed)
    chosen: dict[str, list[tuple[_Place, Fault | None, int]]] = defaultdict(list)
    for k in rng.permutation(len(places))[:clean]:
        chosen[places[k].shard.path].append((places[k], None, 0))
    truth = []
    for number, fault in enumerate(faults):
        if fault.on_release is not None:
            continue
        for k, place in enumerate(_fitting(places, fault, per_kind, np.random.default_rng([seed, number]))):
            chosen[place.shard.path].append((place, fault, k))
            truth.append(Planted(fault.name, fault.codes, f"{place.item_id}__{fault.name}_{k}", place.medium))
    _write(root, out, release, chosen, seed)
    atomic_write(out / TRUTH, canonical_json([asdict(p) for p in truth]))
    return truth


def damage(root: Path, out: Path, fault: Fault, seed: int = 0) -> str:
    """Copy the release ``root`` to ``out`` and damage its files there; gives the path that was damaged.

    Raises:
        ValueError: the fault is none of files.
    """
    import shutil

    if fault.on_release is None:
        raise ValueError(f"fault {fault.name} does not damage files; see plant")
    shutil.copytree(root, out)
    return fault.on_release(out, np.random.default_rng(seed))


def _places(root: Path, release: Manifest) -> Iterator[_Place]:
    for config in ("video", *CATEGORIES):
        for shard in release.shards_of(config):
            names = [n for n in pq.read_schema(root / shard.path).names if n not in MEDIA]
            for number, row in enumerate(pq.read_table(root / shard.path, columns=names).to_pylist()):
                yield _Place(shard, number, row)


def _fitting(places: Sequence[_Place], fault: Fault, count: int, rng: np.random.Generator) -> list[_Place]:
    """Places for a fault: of four a clip and three stills where it applies to both; again the same if there are few."""
    order = [places[k] for k in rng.permutation(len(places))]
    found: dict[str, list[_Place]] = {}
    for medium in fault.media:
        fitting = (p for p in order if p.medium == medium and _fits(p, fault))
        found[medium] = [p for p, _ in zip(fitting, range(count), strict=False)]
    left = {m: iter(_again(some)) for m, some in found.items() if some}
    if not left:
        return []
    wanted = ["clip" if k % 4 == 0 else "still" for k in range(count)]
    return [next(left[m if m in left else next(iter(left))]) for m in wanted]


def _again(places: Sequence[_Place]) -> Iterator[_Place]:
    while True:
        yield from places


def _fits(place: _Place, fault: Fault) -> bool:
    if fault.on_frame is None:
        return fault.needs is None or fault.needs(place.row)
    if place.medium == "still":
        return bool(_fitting_frames(place.row, fault, 1))
    return len(_fitting_frames(place.row, fault, place.row["num_frames"])) >= FEWEST


def _fitting_frames(row: Row, fault: Fault, count: int) -> list[int]:
    """Frames of a row that a fault can be planted in: they have landmarks, and are what it needs."""
    views = ((k, row_of_frame(row, k)) for k in range(count))
    return [k for k, v in views if v["landmarks"] is not None and (fault.needs is None or fault.needs(v))]


def row_of_frame(row: Mapping[str, Any], frame: int) -> Row:
    """A row with the labels of one of its frames, as arrays where they are numbers.

    >>> row_of_frame({"clip_id": "a", "bbox": [[1, 2, 3, 4]], "expression": [1]}, 0)["bbox"].tolist()
    [1.0, 2.0, 3.0, 4.0]
    """
    is_video = "clip_id" in row
    one = {name: value for name, value in row.items() if name not in MEDIA}
    for name in FRAME_COLUMNS:
        value = one.get(name)
        if is_video and value is not None:
            value = value[frame]
        if value is not None and name in ("bbox", "landmarks", "landmark_state", "head_pose"):
            value = np.asarray(value, np.uint8 if name == "landmark_state" else np.float32)
        one[name] = value
    return one


def _write(
    root: Path,
    out: Path,
    release: Manifest,
    chosen: Mapping[str, Sequence[tuple[_Place, Fault | None, int]]],
    seed: int,
) -> None:
    shards: list[Shard] = []
    numbers: dict[tuple[str, str], int] = defaultdict(int)
    waiting: dict[tuple[str, str], list[Row]] = defaultdict(list)

    def flush(place: tuple[str, str]) -> None:
        items, (config, split) = waiting.pop(place), place
        labels = [row for item in items for row in frame_rows(item)]
        for name, rows in ((config, items), ("frames", labels)):
            mark = sha256_bytes(f"{name} {split} {numbers[name, split]} {seed}".encode())
            number = numbers[name, split]
            shards.append(write_shard(out, name, split, "1.0", number, rows, release.subject_ids, mark))
            numbers[name, split] += 1

    for path, some in chosen.items():
        schema = to_table(some[0][0].shard.config, [], release.subject_ids).schema
        table = complete(pq.read_table(root / path), schema)
        for place, fault, k in some:
            row = table.slice(place.number, 1).to_pylist()[0]
            if fault is not None:
                row = spoil(row, fault, f"{place.item_id}__{fault.name}_{k}", [seed, k])
            where = place.shard.config, place.shard.split
            waiting[where].append(row)
            if len(waiting[where]) == _A_SHARD:
                flush(where)
    for where in list(waiting):
        flush(where)
    clean = {place.item_id for some in chosen.values() for place, fault, _ in some if fault is None}
    for number, shard in enumerate(
        release.shards_of("radiometric") if clean else ()
    ):  # of items as they are, for faults of files
        table = complete(
            pq.read_table(root / shard.path, filters=pc.field("item_id").isin(clean)),
            to_table("radiometric", [], release.subject_ids).schema,
        )
        if table.num_rows:
            mark = sha256_bytes(f"radiometric {number} {seed}".encode())
            rows = table.to_pylist()
            shards.append(write_shard(out, "radiometric", shard.split, "1.0", number, rows, release.subject_ids, mark))
    manifest = release.model_copy(
        update={"name": f"{release.name} planted", "version": "1.0", "parent": None, "failed": (),
                "shards": tuple(sorted(shards, key=lambda s: s.path))}
    )  # fmt: skip
    for recipe in release.recipes:
        atomic_write(out / recipe, (root / recipe).read_bytes())
    write_release(out, manifest)


def spoil(row: Row, fault: Fault, item_id: str, seed: Sequence[int]) -> Row:
    """A copy of a row of ``video`` or a category, media included, under another id and with a fault."""
    spoilt = copy.deepcopy(row)
    is_clip = "clip_id" in row
    spoilt["clip_id" if is_clip else "image_id"] = item_id
    medium = spoilt["video" if is_clip else "image"]
    medium["path"] = f"{item_id}{'.mp4' if is_clip else '.png'}"
    if fault.on_row is not None:
        fault.on_row(spoilt, np.random.default_rng(seed))
    elif is_clip:
        frames = decode_gray(row["video"]["bytes"])
        if fault.on_frames is not None:
            frames = fault.on_frames(frames, spoilt, np.random.default_rng(seed))
        else:
            first = min(_fitting_frames(row, fault, len(frames))[0], max(len(frames) - EXCERPT, 0))
            frames = frames[first : first + EXCERPT]
            for name in FRAME_COLUMNS:
                spoilt[name] = None if row[name] is None else row[name][first : first + EXCERPT]
            spoilt["num_frames"] = len(frames)
            frames = _spoil_frames(frames, spoilt, fault, seed)
        medium["bytes"] = _encoded(frames, row["fps"])
    else:
        assert fault.on_frame is not None, f"{fault.name} of frames is planted in a still"
        gray = np.asarray(picture_from_bytes(row["image"]["bytes"]), np.uint8)
        made = fault.on_frame(gray, row_of_frame(row, 0), np.random.default_rng(seed))
        medium["bytes"] = cv2.imencode(".png", made if made.ndim == 2 else made[..., ::-1])[1].tobytes()
    return spoilt


def _spoil_frames(frames: NDArray[np.uint8], row: Row, fault: Fault, seed: Sequence[int]) -> NDArray[np.uint8]:
    assert fault.on_frame is not None
    fitting = set(_fitting_frames(row, fault, len(frames)))
    made = [
        fault.on_frame(frame, row_of_frame(row, k), np.random.default_rng(seed)) if k in fitting else frame
        for k, frame in enumerate(frames)
    ]
    if any(frame.ndim == 3 for frame in made):  # colour in some is colour in all
        made = [np.repeat(frame[..., None], 3, axis=2) if frame.ndim == 2 else frame for frame in made]
    return np.stack(made)


def _encoded(frames: NDArray[np.uint8], fps: float) -> bytes:
    """MP4 of gray (N, H, W) or RGB (N, H, W, 3) frames."""
    if frames.ndim == 3:
        return encode_gray(np.ascontiguousarray(frames), fps, CRF)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "clip.mp4"
        with av.open(str(path), "w", format="mp4", options={"fflags": "+bitexact"}) as container:
            rate = Fraction(fps).limit_denominator(1001)
            stream = container.add_stream("libx264", rate, options={"crf": str(CRF), "mbtree": "0"})
            stream.height, stream.width = frames.shape[1:3]
            stream.pix_fmt = "yuv420p"
            stream.codec_context.thread_count = 1
            for picture in frames:
                container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")))
            container.mux(stream.encode())
        return path.read_bytes()
