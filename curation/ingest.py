"""The published archives to a release: which clips go to which shard, and the run."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from thermvision.annotations.errors import DamagedInputError, UsageError
from thermvision.annotations.schema import CATEGORIES, CONFIGS, SPLITS

from .archives import Archives, open_archives
from .assembly import BUILD_FOLDER, assemble, fingerprint, plan_digest, software_versions
from .import_report import REPORT, ImportReport, print_report
from .pack import Shard, to_table, write_shard
from .raw_release import RawClip, RawRelease, RawStill, classify, published_path
from .raw_rows import ItemFacts, ItemRows, all_findings, clip_rows, still_rows
from .release import MANIFEST, Failed, Identity, Manifest
from .runners import Advance, Job, Outcome
from .splits import split_of
from .store import atomic_write, canonical_json, read_json

__all__ = ["ArchiveSource", "ImportReport", "import_release", "print_report"]

CLIPS_A_SHARD = 8
STILLS_A_SHARD = 128
SHARD_BYTES = 64 * 2**20  # a shard is in memory while it is written, so large items make it shorter
_FORMAT = "thermvision-import/1"  # raise the number when rows change for the same archives
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Group:
    """The items of one shard."""

    config: str
    split: str
    number: int  # among the shards of its config and split
    frames_number: int  # among the `frames` shards of its split
    items: tuple[RawClip | RawStill, ...]

    @property
    def key(self) -> str:
        return f"{self.config}-{self.split}-{self.number:05d}"


@dataclass(frozen=True)
class _Payload:
    source: Path
    version: str
    subject_ids: tuple[str, ...]
    group: _Group


def import_release(
    source: Path | str,
    out: Path | str,
    *,
    version: str = "1.0",
    workers: int = 1,
    limit: int | None = None,
    dry_run: bool = False,
    quiet: bool = False,
) -> ImportReport:
    """Turn the published archives into the release folder ``out``, resumable, and write ``out``/import_report.json.

    Args:
        source: a zip, a folder with zips, or an unpacked tree.
        out: new, empty, or where the same import was started before.
        workers: processes; the result does not depend on them.
        limit: at most so many clips and so many stills; splits stay those of the whole source.
        dry_run: list only, write nothing.

    Raises:
        UsageError: there is no such source, it holds no clip or still, or ``out`` holds something else.
        DamagedInputError: an archive is broken, password-protected or unsafe, or not one clip decodes.
    """
    source, out = Path(source), Path(out)
    with open_archives(source) as archives:
        raw = classify(archives)
        groups, subjects = _plan(raw, limit)
        if not groups:
            raise UsageError(_nothing_found(source, raw))
        software = software_versions()
        jobs = [] if dry_run else _jobs(archives, groups, subjects, version, software)

    def report(items: Sequence[ItemFacts], failed: Sequence[Failed]) -> ImportReport:
        planned = [item for group in groups for item in group.items]
        clips = sum(isinstance(item, RawClip) for item in planned)
        return ImportReport(
            source=source.resolve().name,
            version=version,
            items=tuple(items),
            planned_clips=clips,
            planned_stills=len(planned) - clips,
            subjects={i.subject_id: i.gender for i in subjects},
            uses=raw.uses,
            left_out=raw.left_out,
            failed=tuple(failed),
            findings=tuple(sorted([*raw.findings, *all_findings(items)])),
            not_planned=len(raw.clips) + len(raw.stills) - len(planned),
        )

    if dry_run:
        return report((), ())
    reports: list[ImportReport] = []

    def manifest(shards: Sequence[Shard], failed: Sequence[Failed]) -> Manifest:
        if not any(shard.rows for shard in shards):
            raise DamagedInputError(f"{source}: not one item can be read; the first: {failed[0].reason}")
        reports.append(report(_gather_facts(out, jobs, {f.item_id for f in failed}), failed))
        text = canonical_json(reports[-1].as_dict())
        if not (out / REPORT).is_file() or (out / REPORT).read_text(encoding="utf-8") != text:
            atomic_write(out / REPORT, text)
        return Manifest(
            name="ThermVision-DB",
            version=version,
            source="import",
            licences={"thermvision-db": "thermvision-db-research"},
            identities=subjects,
            shards=tuple(shards),
            software=software,
            plan=plan_digest(jobs),
            failed=tuple(failed),
        )

    made_from = f"{source.name} (import)"
    assemble(out, jobs, import_job, manifest, made_from=made_from, software=software, workers=workers, quiet=quiet)
    return reports[-1]


def _nothing_found(source: Path, raw: RawRelease) -> str:
    seen = f"; it has {len(raw.left_out)} other files, the first is {raw.left_out[0]}" if raw.left_out else ""
    return (
        f"{source} holds no clip and no still of the published layout{seen}; expected for example"
        " 'Female Subjects/Set 1 Cropped Headpose Variations/Subject-1/Thermal Animations/Subject11.mp4';"
        " give the downloaded zips or the folder that holds them"
    )


def _plan(raw: RawRelease, limit: int | None) -> tuple[list[_Group], tuple[Identity, ...]]:
    """The shards to make, and the subjects in them; a subject's split counts all subjects of the source."""
    ordinals: dict[str, int] = defaultdict(int)
    splits = {}
    for subject_id, gender in raw.subjects.items():
        splits[subject_id] = split_of(gender, ordinals[gender])
        ordinals[gender] += 1
    clips, stills = raw.clips[:limit], raw.stills[:limit]
    shards: list[tuple[str, str, int, Sequence[RawClip | RawStill]]] = []
    for split in SPLITS:
        chosen = [c for c in clips if splits[c.subject_id] == split]
        shards += [("video", split, n, items) for n, items in enumerate(_shards(chosen, CLIPS_A_SHARD))]
    for category in CATEGORIES:
        for split in SPLITS:
            images = [s for s in stills if s.category == category and splits[s.subject_id] == split]
            shards += [(category, split, n, items) for n, items in enumerate(_shards(images, STILLS_A_SHARD))]
    frames: dict[str, int] = defaultdict(int)
    groups = []
    for config, split, number, items in shards:
        groups.append(_Group(config, split, number, frames[split], tuple(items)))
        frames[split] += 1
    present = {item.subject_id for group in groups for item in group.items}
    subjects = [
        Identity.model_validate({"subject_id": subject_id, "gender": gender, "split": splits[subject_id]})
        for subject_id, gender in raw.subjects.items()
        if subject_id in present
    ]
    return groups, tuple(subjects)


def _shards(items: Sequence[Any], most: int) -> Iterator[list[Any]]:
    """Consecutive items, at most ``most`` and, unless a single one is larger, at most `SHARD_BYTES` together."""
    shard: list[Any] = []
    total = 0
    for item in items:
        if shard and (len(shard) == most or total + item.member.size > SHARD_BYTES):
            yield shard
            shard, total = [], 0
        shard.append(item)
        total += item.member.size
    if shard:
        yield shard


def _jobs(
    archives: Archives, groups: Sequence[_Group], subjects: Sequence[Identity], version: str, software: dict[str, str]
) -> list[Job]:
    subject_ids = tuple(i.subject_id for i in subjects)
    common = {"format": _FORMAT, "version": version, "software": software, "subjects": subject_ids}
    jobs = []
    for group in groups:
        name = [group.config, group.split, group.number, group.frames_number]
        content = [_content(archives, item) for item in group.items]
        frames = sum(_expected_frames(item) for item in group.items)
        payload = _Payload(archives.path.resolve(), version, subject_ids, group)
        digest = fingerprint({**common, "shard": name, "items": content})
        jobs.append(Job(group.key, digest, tuple(_item_id(item) for item in group.items), frames, payload))
    return jobs


def _content(archives: Archives, item: RawClip | RawStill) -> list[Any]:
    """Everything of the archives that decides an item's rows: names, and checksums of what is read."""
    members = [item.member, *(m for _, m in item.labels)] if isinstance(item, RawClip) else [item.member]
    read = [[Path(m.archive).name, published_path(m), m.size, archives.checksum(m)] for m in members]
    images = item.frame_images if isinstance(item, RawClip) else ()
    return [_item_id(item), len(images), read]


def _item_id(item: RawClip | RawStill) -> str:
    return item.clip_id if isinstance(item, RawClip) else item.image_id


def _expected_frames(item: RawClip | RawStill) -> int:
    return max([len(item.frame_images), *(f + 1 for f, _ in item.labels[-1:])]) if isinstance(item, RawClip) else 1


def import_job(root: Path, job: Job, advance: Advance) -> Outcome:
    """Write the shards of one group of items below ``root``; see `runners.Worker`."""
    payload: _Payload = job.payload
    group = payload.group
    with open_archives(payload.source) as archives:
        read, failed = _read(archives, group.items, payload.subject_ids, advance)
    facts = [item.facts.to_json() for item in read]
    shards = []
    if read:
        numbers = {group.config: group.number, "frames": group.frames_number}
        rows = {group.config: [i.row for i in read], "frames": [f for i in read for f in i.frames]}
        for config, number in numbers.items():
            shards.append(
                write_shard(
                    root,
                    config,
                    group.split,
                    payload.version,
                    number,
                    rows[config],
                    payload.subject_ids,
                    job.fingerprint,
                )
            )
    atomic_write(_facts_path(root, job), canonical_json(facts))
    return Outcome(tuple(shards), tuple(failed))


def _read(
    archives: Archives,
    items: Sequence[RawClip | RawStill],
    subject_ids: Sequence[str],
    advance: Callable[[int], None] = lambda frames: None,
) -> tuple[list[ItemRows], list[Failed]]:
    read, failed = [], []
    for item in items:
        identity = subject_ids.index(item.subject_id)
        try:
            rows = (
                clip_rows(archives, item, identity)
                if isinstance(item, RawClip)
                else still_rows(archives, item, identity)
            )
            read.append(rows)
        except DamagedInputError as error:
            failed.append(Failed(item_id=_item_id(item), code="undecodable", reason=str(error)))
        advance(_expected_frames(item))
    return read, failed


def _facts_path(root: Path, job: Job) -> Path:
    return root / BUILD_FOLDER / f"{job.key}.items.json"


def _gather_facts(root: Path, jobs: Sequence[Job], failed: set[str]) -> list[ItemFacts]:
    """What every job saw: from this run, from the report of an earlier one, or by reading the items again."""
    known: dict[str, ItemFacts] = {}
    if (root / MANIFEST).is_file() and (root / REPORT).is_file():
        known = {f.item_id: f for f in map(ItemFacts.from_json, read_json(root / REPORT).get("items", []))}
    facts = []
    for job in jobs:
        if (path := _facts_path(root, job)).is_file():
            found = {f.item_id: f for f in map(ItemFacts.from_json, read_json(path))}
        else:
            found = known
        expected = [item for item in job.items if item not in failed]
        if not all(item in found for item in expected):
            with open_archives(job.payload.source) as archives:
                read, _ = _read(archives, job.payload.group.items, job.payload.subject_ids)
            found = {item.facts.item_id: item.facts for item in read}
        facts += [found[item] for item in expected]
    return facts


class ArchiveSource:
    """The rows of the archives without a release in between; see `sources.Source`.

    They equal the rows of the release that `import_release` makes. Items that do not decode are left out and logged.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        with open_archives(root) as archives:
            raw = classify(archives)
            self._groups, subjects = _plan(raw, None)
            if not self._groups:
                raise UsageError(_nothing_found(root, raw))
            jobs = _jobs(archives, self._groups, subjects, "1.0", software_versions())
            self.digest = plan_digest(jobs)[:16]
        self.identities: Sequence[str] = [i.subject_id for i in subjects]
        made = {g.config for g in self._groups} | {"frames"}
        self.configs: Sequence[str] = [c for c in CONFIGS if c in made or (c == "image" and made & set(CATEGORIES))]

    def parts(self, config: str) -> dict[str, list[Any]]:
        """By split, the groups of items whose rows make up ``config``, one of ``configs``."""
        wanted = {"frames": {g.config for g in self._groups}, "image": set(CATEGORIES)}.get(config, {config})
        groups = [g for g in self._groups if g.config in wanted]
        if config == "image":  # the order of the shards' paths in a release
            groups.sort(key=lambda g: (g.config, g.number))
        found = {split: [g for g in groups if g.split == split] for split in SPLITS}
        return {split: pieces for split, pieces in found.items() if pieces}

    def tables(self, config: str, part: _Group) -> Iterator[pa.Table]:
        """The rows of one group."""
        with open_archives(self.root) as archives:
            read, failed = _read(archives, part.items, self.identities)
        for item in failed:
            _log.warning("left out %s: %s", item.item_id, item.reason)
        rows = [f for i in read for f in i.frames] if config == "frames" else [i.row for i in read]
        yield to_table(config, rows, self.identities)

    def contents(self, config: str, part: _Group) -> list[tuple[str, int]]:
        """Item id and announced frames of each item of one group."""
        return [(_item_id(item), _expected_frames(item)) for item in part.items]
