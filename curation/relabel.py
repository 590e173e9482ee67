"""A release annotated anew: its next version, with the annotator's labels in the place of those it had.

Ground truth is no detector's to overwrite, and neither is what a person has corrected: such items are kept unless that
is asked for. How the next version is made, `revision` says.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from thermvision.annotations.errors import DamagedInputError, UsageError
from thermvision.annotations.schema import ATTRIBUTES, clip_columns, frame_columns

from .assembly import software_versions
from .inputs import Chunk, row_item, source_input
from .item_faces import Annotates, FrameFaces, Temporal, attributes_of, each_item, source_of
from .release import Failed, Manifest
from .reviews.values import corrected
from .revision import Revision, Row, plan_revision, write_revision
from .runners import Advance
from .sources import ReleaseSource

GROUND_TRUTH = "ground_truth"
_WORN = ("beard", "glasses", "mask", "headwear")  # columns of an item that an annotator may fill where they are null
_FORMAT = "thermvision-relabel/2"  # raise the number when rows change for the same annotator


@dataclass(frozen=True)
class Relabelling:
    """What annotating a release will do.

    Attributes:
        revision: the shards that change.
        with_truth: how many clips and stills keep their ground truth, or what a person corrected.
    """

    revision: Revision
    with_truth: int

    @property
    def source(self) -> ReleaseSource:
        """The release."""
        return self.revision.source

    @property
    def items(self) -> int:
        """How many clips and stills are annotated."""
        return self.revision.items

    @property
    def frames(self) -> int:
        """How many frames are annotated."""
        return self.revision.frames


def plan_relabelling(
    root: Path,
    annotator: Annotates,
    temporal: Temporal,
    *,
    settings: Mapping[str, Any] | None = None,
    limit: int | None = None,
    replace_ground_truth: bool = False,
) -> Relabelling:
    """Which shards of the release in ``root`` change, and into what; nothing is decoded.

    ``settings`` are plain values that decide what the annotator finds, besides its models.

    Raises:
        UsageError: it is no release, or all it has is ground truth and that is to stay.
        DamagedInputError: its manifest or a shard is broken.
    """
    source = ReleaseSource(root)
    chosen: dict[str, frozenset[str]] = {}
    with_truth = 0
    for chunk in source_input(source, None, None, limit).chunks:
        _, config, split, number, _ = chunk.content
        path = source.parts(config)[split][number]
        if config != "scenes":
            ids, truth = _to_annotate(source, config, path, chunk, replace_ground_truth)
            with_truth += truth
            if ids:
                chosen[path] = ids
    if not chosen:
        raise UsageError(
            f"all {with_truth} items of {root} have ground truth or a person's corrections, which are kept; compare"
            " with them by --format coco or --overlay, or put the annotator's in its place: --replace-ground-truth"
        )
    decides = [_FORMAT, annotator.source, {**(settings or {}), **vars(temporal)}, software_versions("onnxruntime")]
    # 16-bit rows keep their ground truth: a detector never saw them
    return Relabelling(plan_revision(source, chosen, decides, followers=("frames",)), with_truth)


def _to_annotate(
    source: ReleaseSource, config: str, path: str, chunk: Chunk, replace_ground_truth: bool
) -> tuple[frozenset[str], int]:
    column = "clip_id" if config == "video" else "image_id"
    table = pq.read_table(source.root / path, columns=[column, "annotation_source"])
    truth = {
        item
        for item, made_by in zip(*(table[c].to_pylist() for c in table.column_names), strict=True)
        if not replace_ground_truth and (made_by == GROUND_TRUTH or corrected(made_by))
    }
    return frozenset(chunk.item_ids) - truth, len(frozenset(chunk.item_ids) & truth)


def relabel(
    plan: Relabelling, out: Path, annotator: Annotates, temporal: Temporal, *, workers: int = 1, quiet: bool = False
) -> Manifest:
    """Write the next version of ``plan.source`` into ``out``; a killed run goes on at the shard it was in.

    Raises:
        UsageError: ``out`` is the release itself or holds something else.
        OutputError: no room or no permission.
    """
    edit = partial(_annotate_shard, annotator=annotator, temporal=temporal)
    software = software_versions("onnxruntime")
    return write_revision(plan.revision, out, edit, reason="annotated", software=software, workers=workers, quiet=quiet)


def _annotate_shard(
    config: str, rows: Iterable[Row], advance: Advance, *, annotator: Annotates, temporal: Temporal
) -> Iterator[tuple[Row | None, Failed | None]]:
    key, rows = "clip_id" if config == "video" else "image_id", list(rows)
    failed = {f.item_id: f for f in _annotate_rows(rows, config, {r[key] for r in rows}, annotator, temporal, advance)}
    yield from ((row, failed.get(row[key])) for row in rows)


def _annotate_rows(
    rows: Sequence[dict[str, Any]],
    config: str,
    ids: Collection[str],
    annotator: Annotates,
    temporal: Temporal,
    advance: Advance,
) -> list[Failed]:
    """Fill the annotation columns of the rows in ``ids``; a row that does not decode stays as it is."""
    failed = []
    key = "clip_id" if config == "video" else "image_id"
    chosen = {row[key]: row for row in rows if row[key] in ids}
    items = (row_item(config, row) for row in chosen.values())
    for item, found in each_item(items, annotator, temporal, advance):
        row = chosen[item.item_id]
        if not isinstance(found, DamagedInputError) and config == "video" and len(found) != row["num_frames"]:
            found = DamagedInputError(f"{len(found)} frames decode; the row says {row['num_frames']}")
        if isinstance(found, DamagedInputError):
            failed.append(Failed(item_id=item.item_id, code="not-annotated", reason=str(found)))
            continue
        row.update(_columns(config, found), annotation_source=source_of(annotator, found))
        for name, label in attributes_of(found).items():
            if name in _WORN and row[name] is None:  # what a recipe states is known better
                row[name] = ATTRIBUTES[name].index(label)
    return failed


def _columns(config: str, found: Sequence[FrameFaces]) -> dict[str, Any]:
    annotations = [f.annotation for f in found]
    return clip_columns(annotations) if config == "video" else frame_columns(annotations[0])
