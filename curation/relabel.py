"""A release annotated anew: the next version in a folder of its own, with new shards for what changed.

The item shards (clips, stills) are annotated first, then the rows of ``frames`` are taken from them, so that `frames`
always agrees with `video` and `image`. A shard that changes gets a new name and says what it replaces; every other one
is copied byte for byte. Ground truth is no detector's to overwrite: such items are kept unless that is asked for.
"""

from __future__ import annotations

import shutil
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from thermvision.annotations.errors import DamagedInputError, UsageError
from thermvision.annotations.schema import ATTRIBUTES, FRAME_COLUMNS, clip_columns, frame_columns

from .assembly import assemble, fingerprint, plan_digest, software_versions, whole
from .import_report import REPORT
from .inputs import Chunk, row_item, source_input
from .item_faces import Annotates, FrameFaces, Temporal, attributes_of, each_item, source_of
from .pack import Shard, shard_path, write_shard
from .release import Failed, Manifest
from .runners import Advance, Job, Outcome
from .sources import ReleaseSource
from .store import atomic_path

GROUND_TRUTH = "ground_truth"
_WORN = ("beard", "glasses", "mask", "headwear")  # columns of an item that an annotator may fill where they are null
_FORMAT = "thermvision-relabel/2"  # raise the number when rows change for the same annotator


@dataclass(frozen=True)
class _Payload:
    """One shard to supersede; ``ids`` are the items to annotate, ``items`` the shards that `frames` takes from."""

    shard: Shard
    number: int
    ids: frozenset[str] = frozenset()
    items: Mapping[str, str] | None = None


@dataclass(frozen=True)
class Relabelling:
    """What annotating a release will do.

    Attributes:
        source: the release.
        version: of the one to be made.
        jobs: a job a superseded shard, those of ``frames`` last.
        kept: shards that stay as they are.
        items, frames: how many clips and stills, and frames, are annotated.
        with_truth: how many clips and stills keep their ground truth.
    """

    source: ReleaseSource
    version: str
    jobs: tuple[Job, ...]
    kept: tuple[Shard, ...]
    items: int
    frames: int
    with_truth: int


def next_version(version: str) -> str:
    """The version after ``version``: its second number one higher.

    >>> next_version("1.0"), next_version("2.9.3")
    ('1.1', '2.10')
    """
    first, second = version.split(".")[:2]
    return f"{first}.{int(second) + 1}"


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
    parent, version = source.release, next_version(source.release.version)
    listed = source_input(source, None, None, limit)
    shards = {s.path: s for s in parent.shards}
    chosen: dict[str, tuple[frozenset[str], int]] = {}
    with_truth = 0
    for chunk in listed.chunks:
        _, config, split, number, _ = chunk.content
        path = source.parts(config)[split][number]
        if config != "scenes":
            ids, frames, truth = _to_annotate(source, config, path, chunk, replace_ground_truth)
            with_truth += truth
            if ids:
                chosen[path] = (ids, frames)
    if not chosen:
        raise UsageError(
            f"all {with_truth} items of {root} have ground truth, which is kept; compare with it by --format coco or"
            " --overlay, or put the annotator's in its place: --replace-ground-truth"
        )
    decides = {**(settings or {}), **vars(temporal)}
    common = [_FORMAT, version, annotator.source, decides, software_versions("onnxruntime")]
    numbers: dict[tuple[str, str], int] = defaultdict(int)
    jobs, items = [], {}

    def job(shard: Shard, more: Sequence[Any], made: Sequence[str], frames: int, **payload: Any) -> Job:
        place = shard.config, shard.split
        number = numbers[place]
        numbers[place] += 1
        digest = fingerprint([*common, shard.sha256, number, *more])
        key = f"{shard.config}-{shard.split}-{number:05d}"
        # rows of `frames` are taken from the items' new shards, so those must all be there
        stage = 1 if shard.config == "frames" else 0
        return Job(key, digest, tuple(made), frames, _Payload(shard, number, **payload), stage)

    for path, (ids, frames) in chosen.items():
        made = job(shards[path], sorted(ids), sorted(ids), frames, ids=ids)
        jobs.append(made)
        items.update(dict.fromkeys(ids, made))
    for shard in parent.shards_of("frames"):
        found = {i for i in pq.read_table(root / shard.path, columns=["item_id"])["item_id"].to_pylist() if i in items}
        if found:
            new = {i: _new_path(items[i], version) for i in sorted(found)}
            more = sorted({items[i].fingerprint for i in found})
            jobs.append(job(shard, more, (), 0, items=new))
    changed = {j.payload.shard.path for j in jobs}
    kept = tuple(s for s in parent.shards if s.path not in changed)
    return Relabelling(source, version, tuple(jobs), kept, len(items), sum(n for _, n in chosen.values()), with_truth)


def _to_annotate(
    source: ReleaseSource, config: str, path: str, chunk: Chunk, replace_ground_truth: bool
) -> tuple[frozenset[str], int, int]:
    column = "clip_id" if config == "video" else "image_id"
    table = pq.read_table(source.root / path, columns=[column, "annotation_source"])
    truth = {
        item
        for item, made_by in zip(*(table[c].to_pylist() for c in table.column_names), strict=True)
        if made_by == GROUND_TRUTH and not replace_ground_truth
    }
    ids = frozenset(chunk.item_ids) - truth
    counts = dict(source.contents(config, path))
    return ids, sum(counts[i] for i in ids), len(frozenset(chunk.item_ids) & truth)


def _new_path(job: Job, version: str) -> str:
    shard = job.payload.shard
    return shard_path(shard.config, shard.split, version, job.payload.number)


def relabel(
    plan: Relabelling, out: Path, annotator: Annotates, temporal: Temporal, *, workers: int = 1, quiet: bool = False
) -> Manifest:
    """Write the next version of ``plan.source`` into ``out``; a killed run goes on at the shard it was in.

    Raises:
        UsageError: ``out`` is the release itself or holds something else.
        OutputError: no room or no permission.
    """
    root, parent = plan.source.root, plan.source.release
    if out.resolve() == root.resolve():
        raise UsageError(f"--out {out} is the release itself, which is never edited; choose a new folder")
    software = software_versions("onnxruntime")

    def manifest(shards: Sequence[Shard], failed: Sequence[Failed]) -> Manifest:
        for shard in plan.kept:
            _copy(root, out, shard)
        return Manifest.model_validate(
            parent.model_dump()
            | {
                "version": plan.version,
                "parent": parent.version,
                "shards": tuple(s.model_dump() for s in sorted((*plan.kept, *shards), key=lambda s: s.path)),
                "software": {**parent.software, **software},
                "plan": plan_digest(plan.jobs),
                "failed": tuple(f.model_dump() for f in (*parent.failed, *failed)),
            }
        )

    files = {name: (root / name).read_bytes() for name in (*parent.recipes, REPORT) if (root / name).is_file()}
    worker = partial(_supersede, source=plan.source, version=plan.version, annotator=annotator, temporal=temporal)
    made_from = f"{root.resolve().name} {parent.version}, annotated"
    return assemble(
        out, plan.jobs, worker, manifest, made_from=made_from, software=software, files=files, workers=workers,
        quiet=quiet,
    )  # fmt: skip


def _copy(root: Path, out: Path, shard: Shard) -> None:
    if not whole(out, shard):
        with atomic_path(out / shard.path) as temporary:
            shutil.copyfile(root / shard.path, temporary)
        if not whole(out, shard):
            raise DamagedInputError(
                f"{root / shard.path} is not what its manifest says; type: thermvision verify {root}"
            )


def _supersede(
    out: Path,
    job: Job,
    advance: Advance,
    *,
    source: ReleaseSource,
    version: str,
    annotator: Annotates,
    temporal: Temporal,
) -> Outcome:
    """Write the shard that takes the place of one of the parent's; see `runners.Worker`."""
    payload: _Payload = job.payload
    old = payload.shard
    rows = [row for table in source.tables(old.config, old.path) for row in table.to_pylist()]
    failed: list[Failed] = []
    if old.config == "frames":
        _take_over(out, rows, payload.items or {})
    else:
        failed = _annotate_rows(rows, old.config, payload.ids, annotator, temporal, advance)
    shard = write_shard(out, old.config, old.split, version, payload.number, rows, source.identities, job.fingerprint)
    return Outcome((shard.model_copy(update={"replaces": (old.path,)}),), tuple(failed))


def _annotate_rows(
    rows: Sequence[dict[str, Any]],
    config: str,
    ids: frozenset[str],
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


def _take_over(out: Path, rows: Sequence[dict[str, Any]], items: Mapping[str, str]) -> None:
    """Annotation columns of `frames` rows from the new shards (``items``: item id to path below ``out``)."""
    known: dict[str, dict[str, Any]] = {}
    for path in sorted(set(items.values())):
        names = set(pq.read_schema(out / path).names)
        key = "clip_id" if "clip_id" in names else "image_id"
        table = pq.read_table(out / path, columns=[key, *FRAME_COLUMNS, *_WORN, "annotation_source"])
        known |= {row[key]: {**row, "is_clip": key == "clip_id"} for row in table.to_pylist()}
    for row in rows:
        if (item := known.get(row["item_id"])) is None or row["item_id"] not in items:
            continue
        for name in FRAME_COLUMNS:
            value = item[name]
            row[name] = value[row["frame_index"]] if item["is_clip"] and value is not None else value
        for name in _WORN:
            row[name] = item[name] if row[name] is None else row[name]
        row["annotation_source"] = item["annotation_source"]
