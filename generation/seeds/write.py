"""Training sets on disk: ``OUT/<train|holdout>/<size>/NAME.png`` with ``NAME.txt``, and ``OUT/index.json``.

A run goes item by item and can be stopped: what is done is in ``OUT/.seeds`` and is not done again. The same source and
settings give the same bytes. The source's licence goes into every row, into ``TERMS.md`` and into ``lora.toml``.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from thermvision.annotations.errors import DamagedInputError, UsageError
from thermvision.annotations.findings import Finding, count_codes
from thermvision.curation.progress import BuildProgress
from thermvision.curation.store import atomic_write, canonical_json, read_json, remove_partial, sha256_file
from thermvision.generation.run import encode_png

from . import crops, holdout, spectrum
from .captions import caption
from .pictures import Crop, FaceFinder, LeftOut, Reading, crops_of
from .sources import HOLDOUT, TRAIN, Seed, SeedSource

VERSION = 1  # of what is written: a change of pixels, names or rows raises it
STATE = ".seeds"
_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")
KEPT = (
    "subject-unknown",
    "no-licence",
    "no-label",
    "no-metadata",
    "split-overlap",
)  # findings about pictures that are taken


@dataclass(frozen=True)
class Settings:
    """What decides a training set's bytes, besides the source.

    Attributes:
        sizes: of the buckets, pixels.
        reading: how pictures are read and cut.
        variants: augmented copies of each training picture, beside the plain one.
        strength: of the augmentation, see `thermvision.generation.seeds.spectrum.draw`.
        upscale: whether a crop may be enlarged to a bucket; the article's training enlarges.
        share: of the subjects that are held out where the data set has no split.
        seed: of the hold-out and the augmentation.
        trigger: put before every caption.
        licence: in place of the source's own terms; a folder of one's own has none.
        limit: pictures and videos taken at most.
    """

    sizes: tuple[int, ...] = crops.SIZES
    reading: Reading = field(default_factory=Reading)
    variants: int = 0
    strength: float = 1.0
    upscale: bool = True
    share: float = 0.1
    seed: int = 0
    trigger: str = ""
    licence: str = ""
    limit: int | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "sizes", crops.check_sizes(self.sizes))
        if not 0 <= self.variants <= 100 or not 0 <= self.strength <= 5:
            seen = f"--variants is {self.variants}, --strength is {self.strength}"
            raise UsageError(f"{seen}; allowed: 0 to 100, 0 to 5")
        if any(ord(c) < 32 for c in self.trigger) or len(self.trigger) > 200:
            raise UsageError("--trigger has line breaks or over 200 characters; allowed: one short line")


@dataclass(frozen=True)
class Plan:
    """What a run will read: the pictures, who is held out, and what was left out already."""

    source: SeedSource
    seeds: Sequence[Seed]
    splits: Mapping[str, str]
    findings: Sequence[Finding]

    def facts(self) -> dict[str, Any]:
        """The counts of the plan."""
        people = Counter(self.splits.values())
        items = Counter(self.splits[seed.subject] for seed in self.seeds)
        return {
            "layout": self.source.name, "title": self.source.title,
            "pictures": sum(not s.is_video for s in self.seeds), "videos": sum(s.is_video for s in self.seeds),
            "subjects": {split: people[split] for split in (TRAIN, HOLDOUT)},
            "items": {split: items[split] for split in (TRAIN, HOLDOUT)},
            "findings": count_codes(self.findings),
        }  # fmt: skip


@dataclass(frozen=True)
class Written:
    """What a run did: the index rows, how many items were finished before, and all findings."""

    rows: Sequence[Mapping[str, Any]]
    kept: int
    findings: Sequence[Finding]

    @property
    def left_out(self) -> list[Finding]:
        """The findings about pictures that were not taken."""
        return [f for f in self.findings if f.code not in KEPT]


def plan(root: Path, source: SeedSource, settings: Settings) -> Plan:
    """List the source and decide who is held out; reads no pixels.

    Raises:
        UsageError: the folder is none of this layout.
        DamagedInputError: a label file is over its size limit.
    """
    found = source.find(root)
    seeds = found.seeds[: settings.limit]
    splits, findings = holdout.assign(seeds, settings.share, settings.seed)
    if not (settings.licence or source.url):
        findings.append(
            Finding("", "no-licence", "nobody has said on what terms these pictures are; type --licence TEXT")
        )
    return Plan(source, seeds, splits, sorted([*found.findings, *findings]))


def write(
    ready: Plan, out: Path, settings: Settings, finder: Callable[[], FaceFinder], *, quiet: bool = True
) -> Written:
    """Make the training set, or go on with it.

    Raises:
        UsageError: ``out`` holds something else, or a set of another source or other settings.
        OutputError: it cannot be written.
    """
    licence = settings.licence or ready.source.licence
    listing = [[s.path, s.subject, ready.splits[s.subject], s.file.stat().st_size] for s in ready.seeds]
    identity = _digest([VERSION, ready.source.name, asdict(settings), listing])
    _claim(out, identity)
    rows: list[dict[str, Any]] = []
    findings, kept = list(ready.findings), 0
    with BuildProgress(1, len(ready.seeds), quiet=quiet) as progress:
        for seed in ready.seeds:
            state = out / STATE / f"{_digest(seed.path)[:32]}.json"
            stat = seed.file.stat()
            mark = _digest([identity, seed.path, stat.st_size, stat.st_mtime_ns])
            done = _done(state, mark, out)
            if done is None:
                made, odd = _item(seed, ready, out, settings, licence, finder)
                done = {"mark": mark, "rows": made, "findings": [[f.path, f.code, f.message] for f in odd]}
                atomic_write(state, canonical_json(done), durable=False)
            else:
                kept += 1
            rows += done["rows"]
            findings += [Finding(*entry) for entry in done["findings"]]
            progress.advance(1)
        progress.shard_done(ready.source.name)
    findings.sort()
    written = Written(rows, kept, findings)
    atomic_write(out / "TERMS.md", terms(ready.source, licence))
    atomic_write(out / "lora.toml", lora_tables(rows, settings))
    atomic_write(out / "index.json", canonical_json(index(ready, settings, licence, written)) + "\n")
    return written


def _item(
    seed: Seed, ready: Plan, out: Path, settings: Settings, licence: str, finder: Callable[[], FaceFinder]
) -> tuple[list[dict[str, Any]], list[Finding]]:
    rows: list[dict[str, Any]] = []
    findings: list[Finding] = []
    split = ready.splits[seed.subject]
    faces: Counter[int | None] = Counter()
    try:
        digest = sha256_file(seed.file)
        for crop in crops_of(seed, ready.source, settings.reading, finder):
            if isinstance(crop, LeftOut):
                findings.append(Finding(seed.path, crop.code, crop.message))
                continue
            faces[crop.frame] += 1
            name = picture_name(ready.source.name, seed, crop.frame, faces[crop.frame])
            about = _about(seed, crop, split, digest, licence, settings)
            made = [
                row
                for variant in range(settings.variants + 1 if split == TRAIN else 1)
                for row in _pictures(crop, name, variant, about, out, settings)
            ]
            if not made:
                seen = f"the crop is {crop.window.width} x {crop.window.height} pixels"
                message = f"{seen}; allowed without enlarging: {settings.sizes[0]} and more; it was left out"
                findings.append(Finding(seed.path, "small-crop", message))
            rows += made
    except (DamagedInputError, OSError) as error:
        # neither where the source lies nor an object's address may make two runs differ
        seen = _ADDRESS.sub("", str(error)).replace(f"{seed.file.parent}/", "")
        findings.append(Finding(seed.path, "unreadable", f"{seen}; nothing more was taken of it"))
    return rows, findings


def _about(seed: Seed, crop: Crop, split: str, digest: str, licence: str, settings: Settings) -> dict[str, Any]:
    return {
        "caption": caption(crop.facts, settings.trigger), "subject": seed.subject, "split": split, "licence": licence,
        "source": {"path": seed.path, "sha256": digest, "frame": crop.frame},
        "face": None if crop.box is None else [round(v, 2) for v in crop.box], "found_by": crop.found_by,
        "facts": dict(crop.facts), "read_as": dict(crop.notes), "normalised": crop.picture.record(),
    }  # fmt: skip


def _pictures(
    crop: Crop, name: str, variant: int, about: Mapping[str, Any], out: Path, settings: Settings
) -> list[dict[str, Any]]:
    """One variant of a crop at every size, written."""
    rows = []
    what = None
    if variant:
        words = np.frombuffer(hashlib.sha256(name.encode()).digest()[:16], np.uint32).tolist()
        what = spectrum.draw(np.random.SeedSequence(settings.seed, spawn_key=(*words, variant)), settings.strength)
    for size in settings.sizes:
        width, height = crops.bucket(crop.window.width, crop.window.height, size)
        part = crops.whole_window(crop.window.width, crop.window.height, size)
        enlarged = width / part.width
        if enlarged > 1 and not settings.upscale:
            continue
        values = np.clip(crops.resized(part.cut(crop.picture.values), width, height), 0, 1)
        values = values if what is None else spectrum.augment(values, what)
        stem = f"{about['split']}/{size}/{name}" + (f"-a{variant}" if variant else "")
        atomic_write(out / f"{stem}.txt", about["caption"] + "\n", durable=False)
        atomic_write(out / f"{stem}.png", encode_png(np.rint(values * 255).astype(np.uint8)), durable=False)
        rows.append({
            "file": f"{stem}.png", "size": [width, height], "enlarged": round(enlarged, 3),
            "window": [crop.window.x + part.x, crop.window.y + part.y, part.width, part.height],
            "augmented": None if what is None else what.record(), **about,
        })  # fmt: skip
    return rows


def picture_name(layout: str, seed: Seed, frame: int | None, face: int) -> str:
    """A name that is unique in the set and safe everywhere: layout, subject, stem, and part of the path's digest.

    >>> picture_name("tufts", Seed("TD_IR_E_Set1/3/TD_IR_E_1.jpg", Path("x"), "tufts/3"), None, 1)
    'tufts-3-td-ir-e-1-4a4b5b3f'
    """
    parts = [layout, seed.subject.split("/", 1)[-1], Path(seed.path).stem]
    slugs = [re.sub(r"[^a-z0-9]+", "-", part.lower()).strip("-")[:40] for part in parts]
    name = "-".join([slug for slug in slugs if slug] + [hashlib.sha256(seed.path.encode()).hexdigest()[:8]])
    return name + ("" if frame is None else f"-f{frame:05d}") + ("" if face == 1 else f"-p{face}")


def terms(source: SeedSource, licence: str) -> str:
    """The terms as a page beside the pictures."""
    lines = [f"# {source.title}", "", f"Terms: {licence}."]
    lines += [f"To be had at {source.url}."] if source.url else []
    lines += [f"Cite: {source.citation}."] if source.citation else []
    lines += [
        "",
        "These pictures are derived from it and stay under its terms: they are to train with, not to pass on.",
    ]
    return "\n".join(lines) + "\n"


def lora_tables(rows: Sequence[Mapping[str, Any]], settings: Settings) -> str:
    """The tables ``[[lora.datasets]]`` of a recipe, one a size, paths relative to the set's folder."""
    lines = ["# for a recipe of `thermvision train lora`; make the paths those of this folder"]
    counts = Counter(str(row["file"]).rsplit("/", 1)[0] for row in rows)
    for size in settings.sizes:
        folder = f"{TRAIN}/{size}"
        if counts[folder]:
            lines += ["", f"[[lora.datasets]]  # {counts[folder]} pictures", f'path = "{folder}"']
            lines += [f"width = {size}", f"height = {size}"]
    return "\n".join(lines) + "\n"


def index(ready: Plan, settings: Settings, licence: str, written: Written) -> dict[str, Any]:
    """The content of ``index.json``."""
    source = ready.source
    return {
        "version": VERSION, "layout": source.name, "title": source.title, "licence": licence,
        "citation": source.citation, "url": source.url, "settings": asdict(settings), "splits": dict(ready.splits),
        "pictures": list(written.rows),
        "findings": [{"path": f.path, "code": f.code, "message": f.message} for f in written.findings],
    }  # fmt: skip


def _claim(out: Path, identity: str) -> None:
    mark = out / STATE / "set.json"
    if mark.is_file():
        if read_json(mark) != {"identity": identity}:
            raise UsageError(f"{out} holds a set of another source or other settings; type another --out, or remove it")
        remove_partial(out)
        return
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(f"{out} is not empty and no training set of this command; type another --out")
    atomic_write(mark, canonical_json({"identity": identity}))


def _done(state: Path, mark: str, out: Path) -> dict[str, Any] | None:
    if not state.is_file():
        return None
    try:
        seen = read_json(state)
    except DamagedInputError:
        return None
    if not isinstance(seen, dict) or seen.get("mark") != mark:
        return None
    whole = all(
        (out / row["file"]).is_file() and (out / row["file"]).with_suffix(".txt").is_file() for row in seen["rows"]
    )
    return seen if whole else None


def _digest(value: Any) -> str:
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()
