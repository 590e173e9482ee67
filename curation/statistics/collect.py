"""The statistics of a release: its tables streamed once, some of its frames decoded."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from thermvision.annotations.errors import UsageError
from thermvision.annotations.findings import Finding
from thermvision.annotations.schema import SPLITS

from ..contents import content_digest
from ..differences.history import version_in, versions_of
from ..places import open_place
from ..release import Manifest, read_release
from .bins import GENDER_NAMES, GROUPS
from .columns import batches, integers, numbers, texts
from .labels import CLASSES, FACES, POSE_CELL, POSE_CELLS, Labels, Person
from .pixels import Pixels, sampled_pixels
from .temperatures import Temperatures, temperatures

FORMAT = "thermvision-statistics/1"
SAMPLE = 400  # frames that are decoded for gray levels
# poses that head-pose data are asked for; a cell is covered from so many frames on
YAW_REACH, PITCH_REACH, COVERED_FROM = 60, 30, 10


@dataclass(frozen=True, eq=False)
class Statistics:
    """Everything counted of a release.

    Attributes:
        manifest: of the release.
        labels: counts over `frames`.
        seconds: (3, 3) of clips, by split and gender.
        pixels: None where none were asked for.
        temperatures: of radiometric rows.
        findings: what could not be read.
        versions: what each wrote, as `differences.history.versions_of` says; empty where there is one.
    """

    manifest: Manifest
    labels: Labels
    seconds: NDArray[np.float64]
    pixels: Pixels | None
    temperatures: Temperatures
    findings: tuple[Finding, ...]
    versions: tuple[dict[str, Any], ...] = ()

    def facts(self) -> dict[str, Any]:
        """The figures as plain values; the tables have more."""
        m, labels = self.manifest, self.labels
        frames, items = labels.frames, labels.items
        people = list(labels.people.values())
        facts: dict[str, Any] = {
            "format": FORMAT, "name": m.name, "version": m.version, "digest": content_digest(m), "source": m.source,
            "subjects": len(people), "clips": int(items[..., 0].sum()), "stills": int(items[..., 1].sum()),
            "scenes": sum(s.rows for s in m.shards_of("scenes")), "radiometric": self.temperatures.rows,
            "frames": int(frames.sum()), "hours": round(float(self.seconds.sum()) / 3600, 4),
            "bytes": sum(s.bytes for s in m.shards),
            "by_split": {s: self._group(split=k) for k, s in enumerate(SPLITS) if frames[k].any()},
            "by_gender": {
                g or "not known": self._group(gender=k) for k, g in enumerate(GENDER_NAMES) if frames[:, k].any()
            },
            "faces": dict(zip(FACES, labels.faces.sum((0, 1)).tolist(), strict=True)),
            "measures": {
                n: {"unit": h.measure.unit, **h.summary()} for n, h in labels.histograms.items() if h.number.sum()
            },
            "classes": {n: self._classes(n) for n in CLASSES},
            "coverage": self.coverage(),
            "not_known": labels.unknown,
        }  # fmt: skip
        if people:
            counts = np.array([p.frames for p in people])
            facts["frames_a_subject"] = {
                "least": int(counts.min()), "median": float(np.median(counts)), "greatest": int(counts.max())
            }  # fmt: skip
        if self.pixels is not None and self.pixels.frames:
            facts["gray"] = self._gray(self.pixels)
            facts["spectra"] = self.pixels.spectra()
        if self.temperatures.known:
            regions = {n: h.summary() for n, h in self.temperatures.regions.items() if h.number.sum()}
            facts["temperatures"] = {"unit": "°C", "ambient": self.temperatures.ambient.summary(), **regions}
        if self.versions:
            facts["versions"] = list(self.versions)
        facts["findings"] = [vars(f) for f in self.findings]
        return facts

    def _group(self, split: int | None = None, gender: int | None = None) -> dict[str, Any]:
        where: Any = (slice(None) if split is None else split, slice(None) if gender is None else gender)

        def in_group(p: Person) -> bool:
            return split in (None, p.split) and gender in (None, p.gender)

        items = self.labels.items[where].reshape(-1, 2).sum(0)
        return {
            "subjects": sum(map(in_group, self.labels.people.values())),
            "clips": int(items[0]), "stills": int(items[1]),
            "frames": int(self.labels.frames[where].sum()), "hours": round(float(self.seconds[where].sum()) / 3600, 4),
        }  # fmt: skip

    def _classes(self, name: str) -> dict[str, dict[str, int]]:
        counts = self.labels.classes[name].sum((1, 2))
        kinds = ("frames",) if name == "expression" else ("frames", "items")  # an expression is a frame's
        return {
            value: {kind: int(counts[n, k]) for n, kind in enumerate(kinds)}
            for k, value in enumerate((*CLASSES[name], "not known"))
            if counts[0, k] or k < len(CLASSES[name])
        }

    def _gray(self, pixels: Pixels) -> dict[str, Any]:
        levels = pixels.levels.sum((1, 2))
        clipped = {
            f"{region}_{end}": round(float(levels[k, level] / max(levels[k].sum(), 1)), 6)
            for k, region in enumerate(("frame", "face")) for end, level in (("black", 0), ("white", 255))
        }  # fmt: skip
        contrast = pixels.contrast.summary()
        return {"frames": pixels.frames, "mean": pixels.mean.summary(), "face_contrast": contrast, "share": clipped}

    def coverage(self) -> dict[str, Any]:
        """What is there of the poses within ±60° of yaw and ±30° of pitch, and which attributes a gender never has."""
        pose = self.labels.pose.sum(0)
        yaw = slice(POSE_CELLS // 2 - YAW_REACH // POSE_CELL, POSE_CELLS // 2 + YAW_REACH // POSE_CELL)
        pitch = slice(POSE_CELLS // 2 - PITCH_REACH // POSE_CELL, POSE_CELLS // 2 + PITCH_REACH // POSE_CELL)
        asked = pose[:, yaw, pitch]
        cells = asked[0].size
        known = self.labels.histograms["yaw"].number.sum()
        missing = []
        for name, values in CLASSES.items():
            counts = self.labels.classes[name][0].sum(0)
            for k, value in enumerate(values):
                for gender in (0, 1):
                    if self.labels.frames[:, gender].any() and counts[:, :-1].any() and not counts[gender, k]:
                        missing.append(f"{GENDER_NAMES[gender]}: {name} {value}")
        return {
            "pose_cells": cells,
            "pose_covered": {
                g: int((asked[k] >= COVERED_FROM).sum())
                for k, g in enumerate(GENDER_NAMES[:2]) if known and pose[k].any()
            },
            "covered_from_frames": COVERED_FROM,
            "never": missing,
        }  # fmt: skip


def statistics(root: Path, *, sample: int = SAMPLE, quiet: bool = True) -> Statistics:
    """Count a release.

    Args:
        root: its folder.
        sample: about how many frames are decoded for their gray levels; 0: none.
        quiet: without it stderr says what is being read.

    Raises:
        UsageError: there is no release, or it has no frames.
        DamagedInputError: a shard does not read.
    """
    manifest = read_release(root)
    shards = manifest.shards_of("frames")
    if not shards:
        raise UsageError(
            f"{root} has no config frames, which statistics are counted in; run: thermvision verify {root}"
        )
    labels = Labels()
    _say(quiet, f"labels: {sum(s.rows for s in shards):,} rows")
    for shard in shards:
        labels.add_shard(root / shard.path, shard.split)
    seconds = np.zeros(GROUPS)
    for shard in manifest.shards_of("video"):
        _add_seconds(root / shard.path, SPLITS.index(shard.split), seconds, labels.people)
    if sample:
        _say(quiet, f"gray levels: about {sample:,} frames")
    pixels = sampled_pixels(root, manifest, sample) if sample else None
    findings = tuple(pixels.findings if pixels else ())
    several = manifest.parent is not None or len({version_in(s.path) for s in manifest.shards}) > 1
    versions = tuple(versions_of(open_place(root))) if several else ()
    return Statistics(manifest, labels, seconds, pixels, temperatures(root, manifest), findings, versions)


def _say(quiet: bool, what: str) -> None:
    if not quiet:
        print(what, file=sys.stderr, flush=True)


def _add_seconds(path: Path, split: int, seconds: NDArray[np.float64], people: dict[str, Person]) -> None:
    for batch in batches(path, ("subject_id", "gender", "num_frames", "fps")):
        gender = integers(batch, "gender")
        gender = np.where((gender < 0) | (gender > 1), 2, gender)
        fps = numbers(batch, "fps")
        lasting = np.nan_to_num(np.maximum(integers(batch, "num_frames"), 0) / np.where(fps > 0, fps, np.nan))
        seconds[split] += np.bincount(gender, lasting, GROUPS[1])
        codes, names = texts(batch, "subject_id")
        for name, value in zip(names, np.bincount(codes, lasting, len(names)), strict=True):
            if name in people:
                people[name].seconds += float(value)
