"""A release as a whole: files against the manifest, configs against each other, rows against what a row must be.

Columns are read without media, a shard at a time; of each item a few numbers are kept (see `frame_table`). What the
media hold is told by `media_findings` once somebody has decoded them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from math import isfinite
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from thermvision.annotations.schema import (
    ADDED_COLUMNS,
    ATTRIBUTES,
    CATEGORIES,
    EXPRESSIONS,
    FRAME_COLUMNS,
    GENDERS,
    SEQUENCES,
    SPLITS,
)

from ..pack import MEDIA, Shard
from ..release import MANIFEST, Manifest, read_release
from ..verify import expected_schema, verify_release, wide_identity
from .frame_table import COMPARED, Digest, frame_digests, item_digests
from .kinds import ItemView, Kind, Scored

KINDS: tuple[Kind, ...] = (
    # of verify_release
    Kind("identity-twice", "integrity", "The manifest lists an identity twice, so that its split is not one."),
    Kind("shard-twice", "integrity", "The manifest lists a shard twice, so that its rows count twice."),
    Kind("file-missing", "integrity", "A file that the manifest lists is not there."),
    Kind("size", "integrity", "A file is longer or shorter than the manifest says: a copy was cut off."),
    Kind("digest", "integrity", "A file's bytes are not those that were released."),
    Kind("unreadable", "integrity", "A shard is no whole Parquet file."),
    Kind("rows", "integrity", "A shard has more or fewer rows than the manifest says."),
    Kind("schema", "integrity", "A shard's columns are not those of its config: loading will fail or shift columns."),
    Kind("split", "integrity", "A shard's rows are of a subject that the manifest has in another split, or in none."),
    Kind("identity", "integrity", "A subject's class number is not the manifest's: classifiers learn mixed labels."),
    Kind("card-yaml", "integrity", "The card's YAML disagrees with the manifest: load_dataset reads something else.",
         repair="writes the card anew"),
    Kind("unlisted-file", "integrity", "A file in data/ is not in the manifest; a glob may load it all the same."),
    Kind("partial-file", "integrity", "A file was left half written."),
    Kind("link", "integrity", "A file or folder is a symbolic link: its bytes lie elsewhere and can change."),
    Kind("file-twice", "integrity", "The manifest lists a file twice, as different things."),
    Kind("file-path", "integrity", "The manifest lists a file that is hidden, a script, or has no place in a release."),
    Kind("shard-path", "integrity", "A shard's name is not of its config and split, so that loading misses it."),
    Kind("list-unreadable", "integrity", "The index of the lists of protocols does not read."),
    Kind("list-changed", "integrity", "A list of a protocol was changed: results do not compare."),
    Kind("list-of-another-release", "integrity", "The lists of protocols were made of another release."),
    # of the configs among each other
    Kind("item-twice", "integrity", "An item id occurs twice: joins and split tables go wrong."),
    Kind("subject-in-splits", "integrity", "A subject's rows are in more than one split: test results are worthless."),
    Kind("frames-missing", "integrity", "An item has no rows in the config frames, or not one for each frame.",
         repair="makes the item's rows of frames anew"),
    Kind("frames-without-item", "integrity", "Rows of the config frames belong to no clip and no still.",
         repair="makes the item's rows of frames anew"),
    Kind("frames-differ", "integrity", "Labels in the config frames are not those of the clip or still.",
         repair="makes the item's rows of frames anew"),
    Kind("radiometric-differs", "integrity", "A radiometric row is of no item, another subject or missing frames."),
    Kind("empty-split", "integrity", "A config that has rows has none in a split that others have."),
    # of single rows
    Kind("gender", "integrity", "A row's gender is not the one the manifest has for its subject."),
    Kind("class-index", "integrity", "A class number has no name in the vocabulary."),
    Kind("row-kind", "integrity", "A clip has no sequence, a still no category or another than its shard."),
    Kind("category-contradicted", "integrity", "A still's attributes contradict its category."),
    Kind("label-count", "integrity", "A clip has more or fewer labels than frames."),
    Kind("frame-rate", "integrity", "A clip's frame rate or number of frames is none that a camera has."),
    Kind("provenance", "integrity", "Provenance is not JSON or lacks the raw pixels' digest: nothing can be checked."),
    Kind("source-missing", "integrity", "Nobody says what made the labels."),
    # of the manifest
    Kind("licence-missing", "integrity", "An engine that made rows has no licence in the manifest."),
    Kind("recipe-missing", "integrity", "A built release names no recipe, so that it cannot be built again."),
    # of decoded media
    Kind("media-undecodable", "integrity", "A clip or still does not decode."),
    Kind("media-frames", "integrity", "A clip decodes to another number of frames than its row says."),
    Kind("media-size", "integrity", "Frames have another width or height than their row says: labels are off."),
    Kind("media-rate", "integrity", "The file's frame rate is not the row's."),
)  # fmt: skip

MAX_FPS = 1000.0
RATE_TOLERANCE = 0.02  # of the frame rate: 29.97 may be called 30
Located = tuple[str, Scored]


@dataclass
class _Seen:
    """What is kept of the rows that were read."""

    places: dict[str, tuple[str, str, int]] = field(default_factory=dict)  # item: split, subject, frames
    left: dict[str, Digest] = field(default_factory=dict)  # item: sums of its labels, less those of its frames so far
    splits: dict[str, set[str]] = field(default_factory=dict)  # subject: splits
    whole: bool = True  # whether all shards were read; else rows of unknown items may be of one that was not


def release_findings(root: Path, advance: Callable[[int], None] = lambda shards: None) -> Iterator[Located]:
    """What is wrong with a release, but for what its pixels show: the file or item it is about, and what was seen.

    Args:
        root: of the release.
        advance: called with 1 for each shard done.

    Raises:
        UsageError: there is no release in ``root``.
        DamagedInputError: the manifest itself cannot be read.
    """
    release = read_release(root)
    for finding in verify_release(root, advance):
        yield finding.path, Scored(finding.code, 1.0, detail=finding.message)
    yield from _manifest(release)
    seen = _Seen()
    for config in ("video", *CATEGORIES):
        for shard in release.shards_of(config):
            yield from _items(root, release, shard, seen)
    for subject, splits in sorted(seen.splits.items()):
        if len(splits) > 1:
            yield MANIFEST, Scored("subject-in-splits", float(len(splits)), detail=f"{subject} is in {_list(splits)}")
    yield from _frames(root, release, seen)
    yield from _radiometric(root, release, seen)


def _list(names: Any) -> str:
    return ", ".join(sorted(names))


def _manifest(release: Manifest) -> Iterator[Located]:
    if release.source == "build" and not release.recipes:
        yield MANIFEST, Scored("recipe-missing", 1.0, detail="recipes is empty")
    for engine in sorted(set(release.engines) - set(release.licences)):
        detail = f"{engine} has no licence; there are: {_list(release.licences) or 'none'}"
        yield MANIFEST, Scored("licence-missing", 1.0, detail=detail)
    filled = [split for split in SPLITS if any(s.split == split and s.rows for s in release.shards)]
    for config in release.configs:
        if config in ("image", "scenes"):
            continue
        for split in filled:
            subjects = sum(i.split == split for i in release.identities)
            # few subjects of a split may have no beard
            if subjects >= 5 and not sum(s.rows for s in release.shards_of(config, split)):
                yield (
                    MANIFEST,
                    Scored("empty-split", 1.0, detail=f"{config} has no rows in {split}: {subjects} subjects"),
                )


def _rows(root: Path, release: Manifest, shard: Shard) -> pa.Table | None:
    """A shard without its media; None where it does not read or has other columns, which are findings of their own."""
    expected = wide_identity(expected_schema(shard.config, tuple(release.subject_ids)))
    try:
        file = pq.ParquetFile(root / shard.path)
        there = wide_identity(file.schema_arrow)
        for name in set(expected.names) - set(ADDED_COLUMNS) - set(MEDIA):
            if name not in there.names or not there.field(name).type.equals(expected.field(name).type):
                return None
        return file.read(columns=[name for name in there.names if name not in MEDIA])
    except (pa.ArrowException, OSError):
        return None


def _items(root: Path, release: Manifest, shard: Shard, seen: _Seen) -> Iterator[Located]:
    table = _rows(root, release, shard)
    key = "clip_id" if shard.config == "video" else "image_id"
    if table is None:
        seen.whole = False
        return
    genders = {i.subject_id: i.gender for i in release.identities}
    digests = item_digests(table, key)
    told = table.select([n for n in table.column_names if n not in FRAME_COLUMNS]).to_pylist()
    lengths = _lengths(table) if shard.config == "video" else {}
    labelled = [b or p for b, p in zip(*(table[n].is_valid().to_pylist() for n in ("bbox", "landmarks")), strict=True)]
    for number, row in enumerate(told):
        name = str(row[key])
        if name in seen.places:
            yield (
                name,
                Scored("item-twice", 2.0, detail=f"{shard.path} and {seen.places[name][0]} have a row of this name"),
            )
        frames = int(row.get("num_frames") or 0) if shard.config == "video" else 1
        seen.places[name] = (shard.split, str(row.get("subject_id")), frames)
        seen.left[name] = digests[name]
        seen.splits.setdefault(str(row.get("subject_id")), set()).add(shard.split)
        yield from ((name, scored) for scored in row_findings(row, shard.config, genders, labelled[number]))
        for column, counts in lengths.items():
            count = counts[number]
            if count is not None and count != frames:
                detail = f"{column} has {count} entries for {frames} frames"
                yield name, Scored("label-count", float(abs(count - frames)), detail=detail)
    yield from _expressions(table, key)


def _lengths(table: pa.Table) -> dict[str, list[int | None]]:
    """Of each label column of ``video``, the number of its entries row by row; None where it is not known."""
    import pyarrow.compute as pc

    return {name: pc.list_value_length(table[name]).to_pylist() for name in FRAME_COLUMNS}


def _expressions(table: pa.Table, key: str) -> Iterator[Located]:
    for name, told in zip(table[key].to_pylist(), table["expression"].to_pylist(), strict=True):
        numbers = {v for v in (told if isinstance(told, list) else [told]) if v is not None}
        if strange := sorted(v for v in numbers if not 0 <= v < len(EXPRESSIONS)):
            yield str(name), Scored("class-index", float(strange[0]), detail=f"expression is {strange[0]}")


def row_findings(
    row: Mapping[str, Any], config: str, genders: Mapping[str, str], labelled: bool = True
) -> Iterator[Scored]:
    """What is wrong with a row of ``video`` or a category by itself; labels over frames are not looked at.

    Args:
        row: its columns.
        config: of its shard.
        genders: of the release's subjects.
        labelled: whether the row has boxes or landmarks, so that somebody must have made them.

    >>> row = {"category": 1, "gender": 0, "subject_id": "P_1", "provenance": "{}", "annotation_source": "me"}
    >>> [s.detail for s in row_findings(row, "beard", {"P_1": "male"})]
    ['female; the manifest says male', 'the category is facial_accessories in a shard of beard', \
'it lacks raw_pixels_sha256']
    """
    vocabularies = {**ATTRIBUTES, "gender": GENDERS, "sequence": SEQUENCES, "category": CATEGORIES}
    named = {}
    for column, names in vocabularies.items():
        value = row.get(column)
        if value is None:
            continue
        if 0 <= value < len(names):
            named[column] = names[value]
        else:
            yield Scored("class-index", float(value), detail=f"{column} is {value}; allowed: 0 to {len(names) - 1}")
    expected = genders.get(str(row.get("subject_id")))
    if expected is not None and named.get("gender") not in (None, expected):
        yield Scored("gender", 1.0, detail=f"{named['gender']}; the manifest says {expected}")
    yield from _kind_of_row(row, config, named)
    yield from _provenance(row.get("provenance"))
    if labelled and not row.get("annotation_source"):
        yield Scored("source-missing", 1.0, detail="annotation_source is empty")


def _kind_of_row(row: Mapping[str, Any], config: str, named: Mapping[str, str]) -> Iterator[Scored]:
    if config == "video":
        if row.get("sequence") is None:
            yield Scored("row-kind", 1.0, detail="the sequence is not known")
        fps, frames = row.get("fps"), row.get("num_frames")
        if fps is None or not isfinite(fps) or not 0 < fps <= MAX_FPS:
            yield Scored("frame-rate", 0.0 if fps is None else float(fps), detail=f"{fps} frames a second")
        if frames is None or frames < 1:
            yield Scored("frame-rate", float(frames or 0), detail=f"{frames} frames")
        return
    if "category" not in named:
        if row.get("category") is None:
            yield Scored("row-kind", 1.0, detail="the category is not known")
    elif named["category"] != config:
        yield Scored("row-kind", 1.0, detail=f"the category is {named['category']} in a shard of {config}")
    if config == "beard" and named.get("beard") == "none":
        yield Scored("category-contradicted", 1.0, detail="a still of the category beard without a beard")
    worn = ("glasses", "mask", "headwear", "jewellery")
    if config == "facial_accessories" and all(named.get(name) == "none" for name in worn):
        yield Scored("category-contradicted", 1.0, detail="a still of facial accessories that wears none")


def _provenance(told: Any) -> Iterator[Scored]:
    try:
        content = json.loads(told or "")
    except (json.JSONDecodeError, TypeError, RecursionError):
        yield Scored("provenance", 1.0, detail=f"it is {str(told)[:40]!r}; allowed: JSON")
        return
    # an import's names the archive and the member, and has no rendered pixels
    if isinstance(content, dict) and not {"raw_pixels_sha256", "source", "member", "archive"} & set(content):
        yield Scored("provenance", 1.0, detail="it lacks raw_pixels_sha256")


def _frames(root: Path, release: Manifest, seen: _Seen) -> Iterator[Located]:
    """The config ``frames`` beside the items: digests add up over an item's frames, whatever shard they lie in."""
    shards = release.shards_of("frames")
    if not shards:
        if seen.places:
            yield MANIFEST, Scored("frames-missing", float(len(seen.places)), detail="there is no config frames")
        return
    counts: dict[str, int] = {}
    strangers: dict[str, int] = {}
    for shard in shards:
        table = _rows(root, release, shard)
        if table is None:
            continue
        for name, (count, digest) in frame_digests(table).items():
            if name not in seen.places:
                strangers[name] = strangers.get(name, 0) + count
                continue
            if seen.places[name][0] != shard.split:
                detail = f"its frames are in {shard.split}, it is in {seen.places[name][0]}"
                yield name, Scored("frames-differ", float(count), detail=detail)
            counts[name] = counts.get(name, 0) + count
            seen.left[name] -= digest
    for name, count in sorted(strangers.items()) if seen.whole else ():
        yield name, Scored("frames-without-item", float(count), detail=f"{count} rows of an item that is not there")
    for name, (_, _, frames) in seen.places.items():
        count = counts.get(name, 0)
        if count != frames:
            detail = f"{count} rows in frames, the item has {frames}"
            yield name, Scored("frames-missing", float(abs(frames - count)), detail=detail)
        elif seen.left[name].any():
            columns = [column for column, rest in zip(COMPARED, seen.left[name], strict=True) if rest]
            yield name, Scored("frames-differ", float(len(columns)), detail=f"{', '.join(columns)} differ")


def _radiometric(root: Path, release: Manifest, seen: _Seen) -> Iterator[Located]:
    for shard in release.shards_of("radiometric"):
        table = _rows(root, release, shard)
        if table is None:
            continue
        for row in table.select(["item_id", "subject_id", "frame_index"]).to_pylist():
            name = str(row["item_id"])
            if name not in seen.places:
                detail = f"{shard.path} has a row of it, no other config has"
                yield from [(name, Scored("radiometric-differs", 1.0, detail=detail))] if seen.whole else ()
                continue
            split, subject, frames = seen.places[name]
            if (split, subject) != (shard.split, row["subject_id"]):
                detail = f"{row['subject_id']} in {shard.split}; the item is of {subject} in {split}"
                yield name, Scored("radiometric-differs", 1.0, detail=detail)
            if beyond := [k for k in row["frame_index"] or [] if k is None or not 0 <= k < frames]:
                detail = f"frame {beyond[0]} of {frames} does not exist"
                yield name, Scored("radiometric-differs", float(len(beyond)), detail=detail)


def media_findings(
    item: ItemView, frames: int, shape: tuple[int, ...] | None, fps: float | None = None
) -> Iterator[Scored]:
    """An item beside what was decoded of it.

    Args:
        item: with what its row announces; nothing is said where that is 0 or not known, as of files.
        frames: how many were decoded.
        shape: (H, W, …) of the first of them; None where there was none.
        fps: what the file says.

    >>> clip = ItemView("c", "video", "train", True, {}, 30.0, 10, 64, 48)
    >>> [s.detail for s in media_findings(clip, 9, (48, 64))]
    ['9 frames decode, the row says 10']
    """
    if item.num_frames and frames != item.num_frames:
        detail = f"{frames} frames decode, the row says {item.num_frames}"
        yield Scored("media-frames", float(abs(frames - item.num_frames)), detail=detail)
    if shape is not None and item.width and item.height and tuple(shape[:2]) != (item.height, item.width):
        detail = f"frames are {shape[1]} x {shape[0]}, the row says {item.width} x {item.height}"
        yield Scored("media-size", float(max(abs(shape[1] - item.width), abs(shape[0] - item.height))), detail=detail)
    if fps and item.fps and abs(fps / item.fps - 1) > RATE_TOLERANCE:
        yield Scored("media-rate", abs(fps - item.fps), detail=f"the file has {fps:g}, the row says {item.fps:g}")


def undecodable(error: Exception) -> Scored:
    """The finding that an item's media do not decode.

    >>> undecodable(ValueError("no video stream")).detail
    'no video stream'
    """
    return Scored("media-undecodable", 1.0, detail=str(error)[:300])
