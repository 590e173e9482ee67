"""The pictures of a training set and their captions: what is found, what is held out, what cannot be used and why."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from thermvision.annotations.errors import DamagedInputError, ThermVisionError, UsageError
from thermvision.annotations.picture_file import SUFFIXES, read_picture
from thermvision.curation.store import canonical_json, read_json, sha256_bytes, sha256_file
from thermvision.generation.flux_tables import LoraDataset

from .buckets import Placement, place

INDEX = "index.json"  # of folders made by `thermvision seeds`
MAX_CAPTION_BYTES = 64 * 1024
_PICTURES = tuple(suffix for suffix in SUFFIXES if suffix != ".npy")


@dataclass(frozen=True)
class Example:
    """One picture at one size.

    Attributes:
        path: of the picture.
        sha256: of the file.
        caption: what the text encoders get.
        placement: how it gets its size.
        dataset: number of the table it comes from.
        repeats: times it is shown in an epoch.
        batch: pictures a step.
    """

    path: Path
    sha256: str
    caption: str
    placement: Placement
    dataset: int
    repeats: int
    batch: int


@dataclass(frozen=True)
class TrainingSet:
    """What is trained on.

    Attributes:
        examples: in a fixed order.
        findings: file and reason of what cannot be used.
        held_out: pictures left out since their people are for testing.
    """

    examples: tuple[Example, ...]
    findings: tuple[str, ...]
    held_out: int

    @property
    def digest(self) -> str:
        """SHA-256 over contents, captions and sizes; where the files lie does not count."""
        rows = [
            [e.sha256, e.caption, e.placement.bucket, e.placement.resized, e.dataset, e.repeats, e.batch]
            for e in self.examples
        ]
        return sha256_bytes(canonical_json(rows).encode())


def read_pixels(path: Path) -> NDArray[np.uint8]:
    """A training picture, (H, W) or (H, W, 3) uint8.

    Raises:
        DamagedInputError: it is broken or has not 8 bits a channel.
    """
    pixels = read_picture(path)
    if pixels.dtype != np.uint8:
        raise DamagedInputError(
            f"{path} holds {pixels.dtype}; allowed: 8 bits; `thermvision seeds DIR --layout folder` converts it"
        )
    return np.asarray(pixels, np.uint8)


def read_caption(picture: Path, extension: str, trigger: str) -> str:
    """The caption beside a picture: its first line that is not empty, after the trigger words where there are any.

    Without a caption file the trigger words alone are the caption.

    Raises:
        DamagedInputError: there is neither, or the file is too large or no UTF-8.
    """
    path = picture.with_suffix(extension)
    trigger = trigger.strip()
    if not path.is_file():
        if trigger:
            return trigger
        raise DamagedInputError(f"{picture} has no caption {path.name}; write one or set lora.datasets.trigger")
    if (size := path.stat().st_size) > MAX_CAPTION_BYTES:
        raise DamagedInputError(f"{path} has {size} bytes; allowed: {MAX_CAPTION_BYTES}")
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (UnicodeDecodeError, OSError) as error:
        raise DamagedInputError(f"{path} is not readable as UTF-8 ({error}); save it as UTF-8") from error
    text = next((line.strip() for line in lines if line.strip()), "")
    if not text and not trigger:
        raise DamagedInputError(f"{path} is empty; write a caption or set lora.datasets.trigger")
    return ", ".join(part for part in (trigger.removesuffix(","), text) if part)


def read_training_set(datasets: Sequence[LoraDataset], root: Path | None = None) -> TrainingSet:
    """The examples of all datasets; paths are relative to ``root``.

    A picture that cannot be read is a finding and the others are used. Pictures that an ``index.json`` of the folder
    gives another split than "train" are held out.

    Raises:
        UsageError: no dataset, a folder is not there, or nothing in it can be used.
    """
    if not datasets:
        raise UsageError("the recipe has no [[lora.datasets]]; add one with path, width and height, or give --data DIR")
    examples: list[Example] = []
    findings: dict[str, None] = {}  # the same file at three sizes is one finding
    held_out: set[Path] = set()
    indices: dict[Path, dict[Path, str]] = {}
    known: dict[Path, tuple[str, tuple[int, int]] | str] = {}
    for number, table in enumerate(datasets):
        folder = (root or Path()) / table.path
        if not folder.is_dir():
            raise UsageError(f"lora.datasets path {folder} is no folder; give one with pictures and captions")
        for path in _pictures(folder):
            index = _index_of(path.resolve().parent, indices)
            if index.get(path.resolve(), "train") != "train":
                held_out.add(path)
                continue
            if path not in known:
                known[path] = _examined(path)
            seen = known[path]
            if isinstance(seen, str):
                findings[seen] = None
                continue
            try:
                caption = read_caption(path, table.caption_extension, table.trigger)
            except ThermVisionError as error:
                findings[str(error)] = None
                continue
            digest, size = seen
            examples.append(Example(path, digest, caption, place(size, table), number, table.repeats, table.batch))
    if not examples:
        reasons = "; ".join(list(findings)[:3]) or f"{len(held_out)} pictures held out, no other {', '.join(_PICTURES)}"
        raise UsageError(f"nothing to train on in {', '.join({t.path for t in datasets})}: {reasons}")
    return TrainingSet(tuple(examples), tuple(findings), len(held_out))


def _pictures(folder: Path) -> list[Path]:
    root = folder.resolve()
    found = (p for p in folder.rglob("*") if p.suffix.lower() in _PICTURES and p.is_file())
    # no link out of the folder is followed
    inside = (p for p in found if p.resolve().is_relative_to(root))
    return sorted((p for p in inside if not p.name.startswith(".")), key=lambda p: p.relative_to(folder).as_posix())


def _examined(path: Path) -> tuple[str, tuple[int, int]] | str:
    """(sha256, (width, height)) of a picture, or why it cannot be used."""
    try:
        height, width = read_pixels(path).shape[:2]
        return sha256_file(path), (width, height)
    except (ThermVisionError, OSError) as error:
        return str(error)


def _index_of(folder: Path, known: dict[Path, dict[Path, str]]) -> dict[Path, str]:
    """Splits of the set that ``folder`` belongs to: `thermvision seeds` keeps its index above <split>/<size>."""
    if folder not in known:
        path = next((p / INDEX for p in (folder, *folder.parents[:2]) if (p / INDEX).is_file()), None)
        known[folder] = {} if path is None else _splits(path)
    return known[folder]


def _splits(path: Path) -> dict[Path, str]:
    """Picture to split, of an index; empty where the file is some other one.

    Raises:
        DamagedInputError: it cannot be understood.
    """
    index = read_json(path)
    if not isinstance(index, dict) or "pictures" not in index:
        return {}
    try:
        return {(path.parent / row["file"]).resolve(): str(row["split"]) for row in index["pictures"]}
    except (KeyError, TypeError, ValueError) as error:
        raise DamagedInputError(
            f"{path} does not say which pictures are held out ({error!r}); make the set anew with thermvision seeds"
        ) from error


def batches(examples: Sequence[Example], seed: int, epoch: int) -> list[tuple[Example, ...]]:
    """The steps of an epoch: every example as often as its repeats, each batch of one dataset and size, in drawn order.

    Drawn from (seed, epoch) alone, so that a resumed run needs to know nothing but its step.
    """
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(0, epoch)))
    groups: dict[tuple[int, tuple[int, int]], list[Example]] = {}
    for example in examples:
        groups.setdefault((example.dataset, example.placement.bucket), []).extend([example] * example.repeats)
    cut: list[tuple[Example, ...]] = []
    for key in sorted(groups):
        members = groups[key]
        order = [members[k] for k in rng.permutation(len(members))]
        size = members[0].batch
        cut += [tuple(order[k : k + size]) for k in range(0, len(order), size)]
    return [cut[k] for k in rng.permutation(len(cut))]
