"""Faults of files: shards that are cut, lost or foreign, configs that disagree, rows that cannot be.

A planting of files gives what its finding is about: the file, or the item whose rows are spoilt.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from thermvision.annotations.schema import CATEGORIES, SPLITS

from ...pack import Shard
from ...release import MANIFEST, README, Manifest, manifest_text, read_release
from ...store import PARTIAL, sha256_file
from . import Fault, Medium, Row
from .labels import is_clip


def _some_shard(root: Path, rng: np.random.Generator, config: str | None = None) -> Shard:
    found = [s for s in read_release(root).shards if s.rows and config in (None, s.config)]
    return found[int(rng.integers(len(found)))]


def _still_shard(root: Path, rng: np.random.Generator) -> Shard:
    found = [s for s in read_release(root).shards if s.rows and s.config in CATEGORIES]
    return found[int(rng.integers(len(found)))]


def _write_manifest(root: Path, manifest: Manifest) -> None:
    (root / MANIFEST).write_text(manifest_text(manifest))


def _rewrite(root: Path, shard: Shard, table: pa.Table) -> None:
    """Another table under a shard's name, and a manifest that says so: only the rows are wrong."""
    path = root / shard.path
    pq.write_table(table, path)
    told = {"rows": table.num_rows, "bytes": path.stat().st_size, "sha256": sha256_file(path)}
    release = read_release(root)
    shards = tuple(s.model_copy(update=told) if s.path == shard.path else s for s in release.shards)
    _write_manifest(root, release.model_copy(update={"shards": shards}))


def _with_column(table: pa.Table, name: str, values: Any) -> pa.Table:
    place = table.schema.get_field_index(name)
    return table.set_column(place, table.schema.field(name), pa.array(values, table.schema.field(name).type))


def _cut_off(root: Path, rng: np.random.Generator) -> str:
    path = _some_shard(root, rng).path
    data = (root / path).read_bytes()
    (root / path).write_bytes(data[: len(data) * 2 // 3])
    return path


def _flipped(root: Path, rng: np.random.Generator) -> str:
    path = _some_shard(root, rng).path
    data = bytearray((root / path).read_bytes())
    data[len(data) // 2] ^= 1
    (root / path).write_bytes(bytes(data))
    return path


def _lost(root: Path, rng: np.random.Generator) -> str:
    path = _some_shard(root, rng).path
    (root / path).unlink()
    return path


def _stray(suffix: str) -> Callable[[Path, np.random.Generator], str]:
    def on_release(root: Path, rng: np.random.Generator) -> str:
        shard = _some_shard(root, rng)
        path = shard.path.replace(f"{shard.split}-", f"{shard.split}-again-") + suffix
        (root / path).write_bytes((root / shard.path).read_bytes())
        return path

    return on_release


def _card_lost(root: Path, rng: np.random.Generator) -> str:
    (root / README).unlink()
    return README


def _card_changed(root: Path, rng: np.random.Generator) -> str:
    text = (root / README).read_text()
    (root / README).write_text(text.replace("num_examples: ", "num_examples: 1", 1))
    return README


def _recipe_changed(root: Path, rng: np.random.Generator) -> str:
    path = sorted(read_release(root).recipes)[0]
    with (root / path).open("a") as file:
        file.write("\n# another one\n")
    return path


def _item_doubled(root: Path, rng: np.random.Generator) -> str:
    shard = _still_shard(root, rng)
    table = pq.read_table(root / shard.path)
    row = int(rng.integers(table.num_rows))
    _rewrite(root, shard, pa.concat_tables([table, table.slice(row, 1)]))
    return str(table["image_id"][row].as_py())


def _foreign_subject(root: Path, rng: np.random.Generator) -> str:
    shard = _still_shard(root, rng)
    release = read_release(root)
    other = next(i for i in release.identities if i.split != shard.split)
    table = pq.read_table(root / shard.path)
    names = [other.subject_id, *table["subject_id"].to_pylist()[1:]]
    numbers = [release.subject_ids.index(other.subject_id), *table["identity"].to_pylist()[1:]]
    _rewrite(root, shard, _with_column(_with_column(table, "subject_id", names), "identity", numbers))
    return shard.path


def _frames_dropped(root: Path, rng: np.random.Generator) -> str:
    shard = _some_shard(root, rng, "frames")
    table = pq.read_table(root / shard.path)
    name = table["item_id"][int(rng.integers(table.num_rows))].as_py()
    _rewrite(root, shard, table.filter(pc.not_equal(table["item_id"], name)))
    return str(name)


def _frames_changed(root: Path, rng: np.random.Generator) -> str:
    shard = _some_shard(root, rng, "frames")
    table = pq.read_table(root / shard.path)
    row = int(rng.integers(table.num_rows))
    boxes = table["bbox"].to_pylist()
    boxes[row] = [v + 1 for v in boxes[row]]
    _rewrite(root, shard, _with_column(table, "bbox", boxes))
    return str(table["item_id"][row].as_py())


def _frames_of_nobody(root: Path, rng: np.random.Generator) -> str:
    shard = _some_shard(root, rng, "frames")
    table = pq.read_table(root / shard.path)
    _rewrite(root, shard, pa.concat_tables([table, _with_column(table.slice(0, 1), "item_id", ["nobody"])]))
    return "nobody"


def _radiometric_moved(root: Path, rng: np.random.Generator) -> str:
    shard = _some_shard(root, rng, "radiometric")
    table = pq.read_table(root / shard.path)
    told = table["frame_index"].to_pylist()
    told[0] = [k + 100_000 for k in told[0]]
    _rewrite(root, shard, _with_column(table, "frame_index", told))
    return str(table["item_id"][0].as_py())


def _licence_lost(root: Path, rng: np.random.Generator) -> str:
    release = read_release(root)
    _write_manifest(root, release.model_copy(update={"engines": {**release.engines, "mystery@1": {}}}))
    return MANIFEST


def _split_emptied(root: Path, rng: np.random.Generator) -> str:
    """All stills of one category go from the split of most subjects."""
    release = read_release(root)
    split = max(SPLITS, key=lambda s: sum(i.split == s for i in release.identities))
    config = next(c for c in CATEGORIES if release.shards_of(c, split))
    gone = {s.path for s in release.shards_of(config, split)}
    for path in gone:
        (root / path).unlink()
    left = tuple(s for s in release.shards if s.path not in gone)
    _write_manifest(root, release.model_copy(update={"shards": left}))
    return MANIFEST


def _media_cut_off(row: Row, rng: np.random.Generator) -> None:
    medium = row["video" if is_clip(row) else "image"]
    medium["bytes"] = medium["bytes"][: len(medium["bytes"]) // 3]


def _set(name: str, value: Any) -> Callable[[Row, np.random.Generator], None]:
    def on_row(row: Row, rng: np.random.Generator) -> None:
        row[name] = value

    return on_row


def _wider(row: Row, rng: np.random.Generator) -> None:
    row["width"], row["height"] = row["width"] + 128, row["height"] + 128


def _kind_lost(row: Row, rng: np.random.Generator) -> None:
    row["sequence" if is_clip(row) else "category"] = None


def _labels_short(row: Row, rng: np.random.Generator) -> None:
    row["bbox"] = row["bbox"][:-3]


CLIP: tuple[Medium, ...] = ("clip",)
STILL: tuple[Medium, ...] = ("still",)
FAULTS: tuple[Fault, ...] = (
    Fault("shard-cut-off", ("size", "unreadable"), "A shard ends early.", on_release=_cut_off),
    Fault("bit-flipped", ("digest",), "One bit of a shard has changed.", on_release=_flipped),
    Fault("shard-lost", ("file-missing",), "A shard is not there.", on_release=_lost),
    Fault("stray-shard", ("unlisted-file",), "A copy of a shard lies beside it.", on_release=_stray("")),
    Fault("half-written", ("partial-file",), "A file was left half written.", on_release=_stray(PARTIAL)),
    Fault("card-lost", ("file-missing",), "The card is not there.", on_release=_card_lost),
    Fault("card-changed", ("card-yaml",), "The card tells other counts.", on_release=_card_changed),
    Fault("recipe-changed", ("digest",), "The recipe is not the one that was built.", on_release=_recipe_changed),
    Fault("item-doubled", ("item-twice",), "A still is there twice.", on_release=_item_doubled),
    Fault("subject-in-two-splits", ("split",), "A still is of a subject of another split.",
          on_release=_foreign_subject),
    Fault("frames-dropped", ("frames-missing",), "An item has lost its rows in frames.", on_release=_frames_dropped),
    Fault("frames-changed", ("frames-differ",), "A box in frames is not the item's.", on_release=_frames_changed),
    Fault("frames-of-nobody", ("frames-without-item",), "A row of frames belongs to no item.",
          on_release=_frames_of_nobody),
    Fault("radiometric-moved", ("radiometric-differs",), "A radiometric row names frames there are not.",
          on_release=_radiometric_moved),
    Fault("licence-lost", ("licence-missing",), "An engine has no licence.", on_release=_licence_lost),
    Fault("split-emptied", ("empty-split",), "A category has no stills in one split.", on_release=_split_emptied),
    Fault("media-cut-off", ("media-undecodable",), "The bytes of a clip or still end early.", on_row=_media_cut_off),
    Fault("size-misread", ("media-size",), "Width and height are not those of the frames.", on_row=_wider),
    Fault("rate-lost", ("frame-rate",), "The frame rate is 0.", on_row=_set("fps", 0.0), media=CLIP),
    Fault("kind-lost", ("row-kind",), "The sequence or category is not known.", on_row=_kind_lost),
    Fault("class-without-name", ("class-index",), "The hairstyle is a number without a name.",
          on_row=_set("hairstyle", 77)),
    Fault("beard-denied", ("category-contradicted",), "A still of the category beard has none.",
          on_row=_set("beard", 0), media=STILL, needs=lambda row: row.get("category") == CATEGORIES.index("beard")),
    Fault("provenance-torn", ("provenance",), "Provenance is cut off.", on_row=_set("provenance", '{"engine": "pha')),
    Fault("source-lost", ("source-missing",), "Nobody says what made the labels.",
          on_row=_set("annotation_source", None)),
    Fault("labels-short", ("label-count",), "The last three boxes of a clip are missing.", on_row=_labels_short,
          media=CLIP),
)  # fmt: skip
