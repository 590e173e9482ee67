"""Gray levels of frames that are spread over a release: whole frames, and within face boxes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from thermvision.annotations.errors import DamagedInputError
from thermvision.annotations.findings import Finding
from thermvision.annotations.picture_file import picture_from_bytes
from thermvision.annotations.schema import CATEGORIES, SPLITS

from ..release import Manifest
from ..video import decode_gray
from .bins import GROUPS, Histogram, Measure
from .spectrum import BANDS, EDGES, radial_spectrum

FRAMES_A_CLIP = 4
SPECTRUM_OF = 4  # one frame in so many has its power spectrum taken: of a clip one
KINDS = ("stills", "clips")
REGIONS = ("frame", "face")
MEAN = Measure("mean gray", "gray levels", 0, 256, 64)
CONTRAST = Measure("face contrast", "gray levels, 5 % to 95 %", 0, 256, 64)


class Pixels:
    """Counts over decoded frames.

    Attributes:
        levels: (2, 3, 3, 256) how often each gray level is in frames and in face boxes, by split and gender.
        mean: of each frame; ``contrast``: between the 5 % and 95 % quantile of each face box.
        powers: of stills and of clips, `spectrum.radial_spectrum` of some frames that are not of one gray level.
        frames: how many were decoded.
        findings: items that did not decode.
    """

    def __init__(self) -> None:
        self.levels = np.zeros((len(REGIONS), *GROUPS, 256), np.int64)
        self.mean, self.contrast = Histogram(MEAN), Histogram(CONTRAST)
        self.powers: dict[str, list[NDArray[np.float64]]] = {kind: [] for kind in KINDS}
        self.frames = 0
        self.findings: list[Finding] = []

    def add(self, gray: NDArray[np.uint8], box: NDArray[np.float32] | None, split: int, gender: int) -> None:
        """Count a frame (H, W) and its face box (4,)."""
        self.frames += 1
        self.levels[0, split, gender] += np.bincount(gray.ravel(), minlength=256)
        who = np.array([gender])
        self.mean.add(split, who, np.array([gray.mean()]))
        if box is None or not np.isfinite(box).all():
            return
        height, width = gray.shape
        left, top = max(int(box[0]), 0), max(int(box[1]), 0)
        right, bottom = min(round(float(box[0] + box[2])), width), min(round(float(box[1] + box[3])), height)
        if right > left and bottom > top:
            counts = np.bincount(gray[top:bottom, left:right].ravel(), minlength=256)
            self.levels[1, split, gender] += counts
            low, high = np.searchsorted(np.cumsum(counts), np.array([0.05, 0.95]) * counts.sum())
            self.contrast.add(split, who, np.array([float(high - low)]))

    def add_spectrum(self, gray: NDArray[np.uint8], kind: str) -> None:
        """Take the power spectrum of a frame (H, W) of a still or clip."""
        power = radial_spectrum(gray)
        if np.isfinite(power).all():
            self.powers[kind].append(power)

    def spectra(self) -> list[dict[str, Any]]:
        """A row for each band of stills and clips: log10 of power over the frames, and its ends in cycles a picture."""
        rows = []
        for kind, powers in self.powers.items():
            if not powers:
                continue
            each = np.array(powers)
            numbers = {"mean": each.mean(0), "sd": each.std(0)}
            numbers |= dict(zip(("5 %", "50 %", "95 %"), np.quantile(each, (0.05, 0.5, 0.95), axis=0), strict=True))
            for band in range(BANDS):
                ends = {"low": round(float(EDGES[band]), 4), "high": round(float(EDGES[band + 1]), 4)}
                values = {name: round(float(v[band]), 4) for name, v in numbers.items()}
                rows.append({"kind": kind, **ends, "frames": len(powers), **values})
        return rows


def sampled_pixels(root: Path, manifest: Manifest, frames: int) -> Pixels:
    """Counts over about ``frames`` frames: half of stills, half of clips (four of each), evenly spread.

    A release with stills or clips only gives all from those. Rows are read one at a time.
    """
    seen = Pixels()
    stills = [s for c in CATEGORIES for s in manifest.shards_of(c)]
    clips = manifest.shards_of("video")
    of_stills = frames if not clips else frames // 2
    for config, shards, wanted in (
        ("image", stills, of_stills),
        ("video", clips, (frames - (of_stills if stills else 0)) // FRAMES_A_CLIP),
    ):
        total = sum(s.rows for s in shards)
        chosen = set(_spread(total, wanted))
        start, looked = 0, 0
        for shard in shards:
            here = [n - start for n in sorted(chosen) if start <= n < start + shard.rows]
            start += shard.rows
            for row in _rows(root / shard.path, here, config):
                _add_row(seen, config, row, SPLITS.index(shard.split), looked)
                looked += 1
    return seen


def _spread(count: int, wanted: int) -> list[int]:
    wanted = min(max(wanted, 0), count)
    return sorted({int((k + 0.5) * count / wanted) for k in range(wanted)})


def _rows(path: Path, wanted: list[int], config: str) -> Iterator[dict[str, Any]]:
    """The chosen rows of a shard."""
    if not wanted:
        return
    columns = [config, "clip_id" if config == "video" else "image_id", "gender", "bbox"]
    try:
        with pq.ParquetFile(path) as file:
            number = 0
            for batch in file.iter_batches(batch_size=1, columns=columns):
                if number in wanted:
                    yield from batch.to_pylist()
                number += batch.num_rows
                if number > wanted[-1]:
                    return
    except (pq.lib.ArrowException, OSError) as error:
        raise DamagedInputError(
            f"{path} does not read as Parquet ({error}); run: thermvision verify, with the release's folder"
        ) from error


def _add_row(seen: Pixels, config: str, row: dict[str, Any], split: int, number: int) -> None:
    """Count the ``number``-th row that is looked at of its config."""
    gender = row["gender"] if row["gender"] in (0, 1) else 2
    item = row["clip_id" if config == "video" else "image_id"]
    boxes = row["bbox"]
    try:
        if config == "image":
            gray = picture_from_bytes(row["image"]["bytes"], item)
            if gray.dtype != np.uint8:
                raise DamagedInputError(f"{item} is {gray.dtype}; allowed in a release: 8-bit gray")
            plain = np.asarray(gray, np.uint8)
            if plain.ndim == 3:
                plain = np.asarray(cv2.cvtColor(plain[..., :3], cv2.COLOR_RGB2GRAY), np.uint8)
            seen.add(plain, _box(boxes), split, gender)
            if number % SPECTRUM_OF == 0:
                seen.add_spectrum(plain, "stills")
            return
        count = len(boxes) if boxes else 1
        numbers = _spread(count, FRAMES_A_CLIP)
        for place, frame in zip(numbers, decode_gray(row["video"]["bytes"], numbers), strict=True):
            seen.add(frame, _box(boxes[place]) if boxes else None, split, gender)
            if place == numbers[0]:
                seen.add_spectrum(frame, "clips")
    except (DamagedInputError, IndexError, TypeError) as error:
        seen.findings.append(Finding(str(item), "unreadable", str(error)))


def _box(value: Any) -> NDArray[np.float32] | None:
    return None if value is None else np.asarray(value, np.float32)
