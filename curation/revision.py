"""The next version of a release, in a folder of its own: rows changed, cut or dropped, everything else copied.

A shard that holds a changed item is superseded: it gets a new name and says what it replaces; every other one is copied
byte for byte. Items come first, then the rows of ``frames`` are made anew from them, so that `frames` always agrees
with `video` and `image`, and ``radiometric`` takes over what has changed. Identities stay, also those without items.
"""

from __future__ import annotations

import difflib
import shutil
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from thermvision.annotations.errors import DamagedInputError, UsageError
from thermvision.annotations.schema import CATEGORIES, features

from .assembly import assemble, fingerprint, plan_digest, software_versions, whole
from .contents import CITATION, LICENCE
from .cutting import cut_clip
from .following import Labels, Row, frames_anew, radiometric_anew
from .import_report import REPORT
from .pack import Shard, complete, shard_path, to_table, write_table
from .release import Failed, Manifest, next_version
from .runners import Advance, Job, Outcome
from .sources import ReleaseSource
from .store import atomic_path, sha256_bytes

ITEM_CONFIGS = ("video", *CATEGORIES, "scenes")
_FORMAT = "thermvision-revision/1"  # raise the number when rows change for the same edit

# One row of an item to what becomes of it; None drops the item. With several workers a module-level function.
Edit = Callable[[str, Row], Row | None]
# The same for the chosen rows of a shard, in order, each with why it could not be changed.
RowsEdit = Callable[[str, Iterable[Row], Advance], Iterable[tuple[Row | None, Failed | None]]]


@dataclass(frozen=True)
class _Payload:
    """One shard to supersede: ``ids`` are the items concerned, ``cuts`` the frames that stay of some.

    Of the shards that follow, ``homes`` gives an item's old and new shard, ``here`` the items whose rows belong here.
    """

    shard: Shard
    number: int
    ids: frozenset[str]
    cuts: Mapping[str, tuple[int, int]]
    homes: Mapping[str, tuple[Shard, str]] = field(default_factory=dict)
    here: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Revision:
    """What making the next version will do.

    Attributes:
        source: the release.
        version: of the one to be made.
        jobs: a job a superseded shard; those of ``frames`` and ``radiometric`` last.
        kept: shards that stay as they are.
        items, frames: how many clips, stills and scenes are looked at, and their frames.
    """

    source: ReleaseSource
    version: str
    jobs: tuple[Job, ...]
    kept: tuple[Shard, ...]
    items: int
    frames: int

    @property
    def superseded(self) -> tuple[str, ...]:
        """Paths of the shards that get another in their place."""
        return tuple(job.payload.shard.path for job in self.jobs)


def item_shards(source: ReleaseSource, items: Collection[str]) -> dict[str, frozenset[str]]:
    """Shard path to those of ``items`` (clip and image ids) that it holds.

    Raises:
        UsageError: the release has no such item.
    """
    wanted, found = set(items), {}
    for config in ITEM_CONFIGS:
        for shard in source.release.shards_of(config):
            if here := frozenset(i for i in _ids(source.root, shard) if i in wanted):
                found[shard.path] = here
    if missing := sorted(wanted.difference(*found.values())):
        raise UsageError(_no_such_item(source, missing))
    return found


def _no_such_item(source: ReleaseSource, missing: Sequence[str]) -> str:
    all_ids = (i for c in ITEM_CONFIGS for s in source.release.shards_of(c) for i in _ids(source.root, s))
    close = difflib.get_close_matches(missing[0], [i for i, _ in zip(all_ids, range(100_000), strict=False)], 3)
    more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
    hint = f"; close to the first: {', '.join(close)}" if close else ""
    return f"{source.root} has no item {', '.join(missing[:3])}{more}; allowed: its clip and image ids{hint}"


def _key(config: str) -> str:
    return {"video": "clip_id", "frames": "item_id", "radiometric": "item_id"}.get(config, "image_id")


def _ids(root: Path, shard: Shard) -> list[str]:
    try:
        ids: list[str] = pq.read_table(root / shard.path, columns=[_key(shard.config)]).column(0).to_pylist()
    except (pa.ArrowException, OSError) as error:
        raise DamagedInputError(f"{root / shard.path} is damaged ({error}); type: thermvision verify {root}") from error
    return ids


def plan_revision(
    source: ReleaseSource,
    chosen: Mapping[str, Collection[str]],
    decides: Any,
    *,
    cuts: Mapping[str, tuple[int, int]] | None = None,
    followers: Sequence[str] = ("frames", "radiometric"),
) -> Revision:
    """Which shards change when the items ``chosen`` (by shard path) do; nothing is decoded.

    Args:
        source: the release.
        chosen: as `item_shards` gives it.
        decides: plain values; runs go on with each other's shards where these are equal.
        cuts: clip id to the first and last frame that stay.
        followers: configs whose rows follow the items.
    """
    version, cuts = next_version(source.release.version), cuts or {}
    shards = {s.path: s for s in source.release.shards}
    numbers: dict[tuple[str, str], int] = defaultdict(int)
    jobs: list[Job] = []

    def add(shard: Shard, ids: Collection[str], frames: int, more: Sequence[Any], **payload: Any) -> Job:
        place = shard.config, shard.split
        number = numbers[place]
        numbers[place] += 1
        cut = {i: cuts[i] for i in sorted(ids) if i in cuts}
        digest = fingerprint([_FORMAT, version, decides, shard.sha256, number, sorted(ids), cut, *more])
        # what follows an item is taken from its new shard, so all of those must be there
        following = shard.config in ("frames", "radiometric")
        made = () if following else tuple(sorted(ids))
        work = _Payload(shard, number, frozenset(ids), cut, **payload)
        jobs.append(Job(f"{shard.config}-{shard.split}-{number:05d}", digest, made, frames, work, int(following)))
        return jobs[-1]

    homes: dict[str, tuple[Job, str]] = {}
    frames = 0
    for path, ids in chosen.items():
        counts = [n for i, n in source.contents(shards[path].config, path) if i in ids]
        frames += sum(counts)
        job = add(shards[path], ids, sum(counts), ())
        new = shard_path(shards[path].config, shards[path].split, version, job.payload.number)
        homes |= dict.fromkeys(ids, (job, new))
    if "frames" in followers:
        _add_frames(source, homes, add)
    if "radiometric" in followers:
        for shard in source.release.shards_of("radiometric"):
            if here := homes.keys() & set(_ids(source.root, shard)):
                _add_following(shard, here, here, homes, add)
    changed = {job.payload.shard.path for job in jobs}
    kept = tuple(s for s in source.release.shards if s.path not in changed)
    return Revision(source, version, tuple(jobs), kept, len(homes), frames)


def _add_frames(source: ReleaseSource, homes: Mapping[str, tuple[Job, str]], add: Callable[..., Job]) -> None:
    """Jobs for shards of ``frames``: all rows of an item go to the first that has any, else to the split's first."""
    shards = source.release.shards_of("frames")
    found = {s.path: homes.keys() & set(_ids(source.root, s)) for s in shards}
    placed: set[str] = set()
    for shard in shards:
        here = found[shard.path] - placed
        if shard == next(s for s in shards if s.split == shard.split):
            nowhere = homes.keys() - set().union(*found.values())
            items = (i for i in nowhere if homes[i][0].payload.shard.split == shard.split)
            here |= {i for i in items if homes[i][0].payload.shard.config != "scenes"}
        placed |= here
        if found[shard.path] or here:
            _add_following(shard, found[shard.path] | here, here, homes, add)


def _add_following(
    shard: Shard,
    ids: Collection[str],
    here: Collection[str],
    homes: Mapping[str, tuple[Job, str]],
    add: Callable[..., Job],
) -> None:
    digests = sorted({homes[i][0].fingerprint for i in ids})
    lying = {i: (homes[i][0].payload.shard, homes[i][1]) for i in sorted(ids)}
    add(shard, ids, 0, [digests, sorted(here)], homes=lying, here=frozenset(here))


def revise(
    root: Path,
    out: Path,
    edit: Edit,
    *,
    items: Collection[str],
    decides: Any,
    reason: str,
    cuts: Mapping[str, tuple[int, int]] | None = None,
    files: Mapping[str, bytes] | None = None,
    workers: int = 1,
    quiet: bool = False,
) -> Manifest:
    """Write the release in ``root`` with ``items`` changed into ``out`` as its next version; a killed run goes on.

    Args:
        root: the release, which stays as it is.
        out: folder of the new version: new, empty, or one this was started in.
        edit: ``edit(config, row)`` gives the changed row (``row`` itself may be changed) or None to drop the item. It
            may change any column but the ids, the subject and ``config``'s own; rows of ``frames`` are made from it.
        items: clip and image ids; those that are only cut may be named here or in ``cuts`` alone.
        decides: plain values (such as the digest of a decision table) that say what ``edit`` does.
        reason: in words, for messages: "decided in review".
        cuts: clip id to the first and last frame that stay, both inclusive; done before ``edit`` sees the row.
        files: further files of the release (path to bytes), listed with their digests in the manifest's ``recipes``.

    Raises:
        UsageError: an item does not exist, ``out`` is the release itself or holds something else, or nothing is left.
        DamagedInputError: the release is damaged.
        OutputError: no room or no permission.
    """
    source, cuts = ReleaseSource(root), cuts or {}
    chosen = item_shards(source, {*items, *cuts})
    plan = plan_revision(source, chosen, [decides, software_versions()], cuts=cuts)
    return write_revision(
        plan, out, partial(_each_row, edit=edit), reason=reason, files=files, workers=workers, quiet=quiet
    )


def _each_row(
    config: str, rows: Iterable[Row], advance: Advance, *, edit: Edit
) -> Iterator[tuple[Row | None, Failed | None]]:
    for row in rows:
        count = row.get("num_frames") or 1
        yield edit(config, row), None
        advance(count)


def write_revision(
    plan: Revision,
    out: Path,
    edit: RowsEdit,
    *,
    reason: str,
    software: Mapping[str, str] | None = None,
    files: Mapping[str, bytes] | None = None,
    workers: int = 1,
    quiet: bool = False,
) -> Manifest:
    """Do what ``plan`` says; see `revise`.

    ``software`` are versions that enter ``decides`` of the plan; None: those of `assembly.software_versions`.
    """
    root, parent = plan.source.root, plan.source.release
    if out.resolve() == root.resolve():
        raise UsageError(f"--out {out} is the release itself, which is never edited; choose a new folder")
    versions = dict(software if software is not None else software_versions())

    def manifest(shards: Sequence[Shard], failed: Sequence[Failed]) -> Manifest:
        for shard in plan.kept:
            copy_shard(root, out, shard)
        left = sorted((*plan.kept, *shards), key=lambda s: s.path)
        if not any(s.rows for s in left):
            raise UsageError(f"nothing would be left of {root}; keep at least one item, and delete {out}")
        return Manifest.model_validate(
            parent.model_dump()
            | {
                "version": plan.version,
                "parent": parent.version,
                "shards": tuple(s.model_dump() for s in left),
                "files": {},  # of the parent: sealing lists those of this version
                "recipes": parent.recipes | {name: sha256_bytes(data) for name, data in (files or {}).items()},
                "software": {**parent.software, **versions},
                "plan": plan_digest(plan.jobs),
                "failed": tuple(f.model_dump() for f in (*parent.failed, *failed)),
            }
        )

    names = (*parent.recipes, REPORT, LICENCE, CITATION)
    inherited = {name: (root / name).read_bytes() for name in names if (root / name).is_file()}
    worker = partial(_supersede, source=plan.source, version=plan.version, edit=edit)
    made_from = f"{root.resolve().name} {parent.version}, {reason}"
    return assemble(
        out, plan.jobs, worker, manifest, made_from=made_from, software=versions, files={**inherited, **(files or {})},
        workers=workers, quiet=quiet,
    )  # fmt: skip


def copy_shard(root: Path, out: Path, shard: Shard) -> None:
    """Copy a shard of the release in ``root`` to the one in ``out``, unless it lies there whole.

    Raises:
        DamagedInputError: it is not what its manifest says.
        OutputError: no room or no permission.
    """
    if not whole(out, shard):
        with atomic_path(out / shard.path) as temporary:
            shutil.copyfile(root / shard.path, temporary)
        if not whole(out, shard):
            raise DamagedInputError(
                f"{root / shard.path} is not what its manifest says; type: thermvision verify {root}"
            )


def _supersede(
    out: Path, job: Job, advance: Advance, *, source: ReleaseSource, version: str, edit: RowsEdit
) -> Outcome:
    """Write the shard that takes the place of one of the parent's, or none where it would be empty: a `Worker`."""
    payload: _Payload = job.payload
    old, failed = payload.shard, list[Failed]()
    rows = _table(old, source)
    if old.config in ("frames", "radiometric"):
        new = Labels(out, {i: path for i, (_, path) in payload.homes.items()})
    if old.config == "frames":
        pieces = frames_anew(rows, payload.ids, payload.here, new, source.identities)
    elif old.config == "radiometric":
        before = Labels(source.root, {i: shard.path for i, (shard, _) in payload.homes.items()})
        pieces = radiometric_anew(rows, payload.ids, payload.cuts, before, new, source.identities)
    else:
        pieces = _items_anew(rows, payload, source.identities, edit, advance, failed)
    table = pa.concat_tables([_schema(old.config, source).empty_table(), *pieces]).combine_chunks()
    if not table.num_rows:
        return Outcome((), tuple(failed))
    shard = write_table(out, old.config, old.split, version, payload.number, table, job.fingerprint)
    return Outcome((shard.model_copy(update={"replaces": (old.path,)}),), tuple(failed))


def _schema(config: str, source: ReleaseSource) -> pa.Schema:
    return features(config, source.identities).arrow_schema


def _table(shard: Shard, source: ReleaseSource) -> pa.Table:
    try:
        groups = [complete(t, _schema(shard.config, source)) for t in source.tables(shard.config, shard.path)]
        return pa.concat_tables([_schema(shard.config, source).empty_table(), *groups])
    except (pa.ArrowException, OSError, ValueError) as error:
        path = source.root / shard.path
        raise DamagedInputError(f"{path} is damaged ({error}); type: thermvision verify {source.root}") from error


def _items_anew(
    table: pa.Table,
    payload: _Payload,
    identities: Sequence[str],
    edit: RowsEdit,
    advance: Advance,
    failed: list[Failed],
) -> Iterator[pa.Table]:
    config = payload.shard.config
    names = table[_key(config)].to_pylist()

    def chosen() -> Iterator[Row]:
        for position, name in enumerate(names):
            if name in payload.ids:
                row = table.slice(position, 1).to_pylist()[0]
                yield cut_clip(row, *payload.cuts[name]) if name in payload.cuts else row

    edited = iter(edit(config, chosen(), advance))
    for position, name in enumerate(names):
        if name not in payload.ids:
            yield table.slice(position, 1)
            continue
        row, failure = next(edited)
        if failure is not None:
            failed.append(failure)
        if row is not None:
            if row[_key(config)] != name:
                raise ValueError(f"{name} became {row[_key(config)]}; allowed: an item keeps its id")
            yield to_table(config, [row], identities)
