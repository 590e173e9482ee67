"""What can be annotated: a file, a folder, a video, a release, the published archives, or a column of a dataset.

Whatever it is becomes chunks of items, and an item is a name and its frames, (H, W) uint8, white-hot. Chunks are the
unit of resuming: each says what decides its pixels. Frames are read one at a time: memory does not grow with a video.
"""

from __future__ import annotations

import io
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from thermvision.annotations.errors import DamagedInputError, UsageError
from thermvision.annotations.findings import Finding
from thermvision.annotations.picture_file import SUFFIXES, picture_from_bytes, read_picture
from thermvision.annotations.schema import CATEGORIES

from .archives import walk
from .release import MANIFEST
from .sources import Source, open_source, reading_part
from .video import each_frame, nothing_else

Gray = NDArray[np.uint8]
VIDEOS = (".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".gif")
IMAGES_A_CHUNK = 64
_GENDER_FOLDER = re.compile(r"(female|male)[ _-]*subjects?(\.zip)?", re.IGNORECASE)


@dataclass
class Seen:
    """What an item's pixels were taken for, known from its first frame on; a release's are what they are.

    Attributes:
        notes: see `thermvision.annotations.intake.Intake`.
        inverted: whether reading inverted them.
        doubt: probability of black-hot above which the annotator may still invert them.
    """

    notes: dict[str, str] = field(default_factory=dict)
    inverted: bool = False
    doubt: float = 0.5


@dataclass(frozen=True)
class PixelReading:
    """How pixels become gray; see `thermvision.annotations.intake.to_gray` for the allowed values.

    ``polarity`` is "open" where the detector tells which frames are black-hot: reading then leaves that to it, but for
    temperatures.

    >>> black_hot = PixelReading(polarity="black-hot")
    >>> [int(gray[0, 0]) for gray in black_hot.frames([np.full((8, 8), 255, np.uint8), np.zeros((8, 8), np.uint8)])]
    [0, 255]
    """

    units: str = "auto"
    palette: str = "auto"
    polarity: str = "auto"

    def frames(self, pixels: Iterable[NDArray[Any]], seen: Seen | None = None) -> Iterator[Gray]:
        """(H, W) uint8 frames of one source, whose first frame decides how all are read, and is told to ``seen``.

        Raises:
            UsageError: an option has no such value.
            DamagedInputError: a frame is no picture, or of another type than the first.
        """
        from thermvision.annotations.intake import to_gray

        decoder = None
        for frame in pixels:
            if decoder is None:
                intake = to_gray(frame, self.units, self.palette, self.polarity)
                decoder = intake.decoder
                if seen is not None:
                    seen.notes, seen.inverted, seen.doubt = intake.notes, intake.inverted, intake.doubt
            else:
                intake = decoder(frame)
            yield intake.gray


@dataclass(frozen=True)
class Item:
    """An image or a video.

    Attributes:
        item_id: clip or image id of a release, else the path below the source.
        path: how label files name it: with its suffix, posix.
        is_video: whether frames follow each other in time.
        read: opens it and gives its frames; raises `DamagedInputError` when it does not decode.
        row: its row, where it comes from a release or the archives.
        fps: frames a second of a video; None where that is not known.
        seen: what its pixels were taken for.
    """

    item_id: str
    path: str
    is_video: bool
    read: Callable[[], Iterable[Gray]]
    row: Mapping[str, Any] | None = None
    fps: float | None = None
    seen: Seen = field(default_factory=Seen)

    def frame_path(self, frame: int) -> str:
        """The name of one frame: a video's are named as the published archives name theirs.

        >>> Item("walk", "walk.mp4", True, list).frame_path(7), Item("a", "a.png", False, list).frame_path(0)
        ('walk/frame_0007.png', 'a.png')
        """
        return f"{self.path.rsplit('.', 1)[0]}/frame_{frame:04d}.png" if self.is_video else self.path


@dataclass(frozen=True)
class Chunk:
    """Items that are read together.

    It crosses process borders, so ``read`` is a module-level function with what it needs.

    Attributes:
        key: unique in the input, fit for a file name.
        content: plain values that change when the pixels may have changed.
        item_ids: the items that `read` gives, in that order.
        frames: how many frames they are thought to have, for the progress bar.
    """

    key: str
    content: Any
    item_ids: tuple[str, ...]
    frames: int
    read: Callable[[], Iterator[Item]]


@dataclass(frozen=True)
class Input:
    """An opened source: its name, its chunks in order, and what was left out.

    >>> Input("photos", (Chunk("images-00000", [], ("a.png", "b.png"), 2, lambda: iter(())),)).items
    2
    """

    name: str
    chunks: tuple[Chunk, ...]
    findings: tuple[Finding, ...] = ()
    source: Source | None = field(default=None, compare=False)

    @property
    def items(self) -> int:
        """How many items there are."""
        return sum(len(c.item_ids) for c in self.chunks)

    @property
    def frames(self) -> int:
        """How many frames are expected."""
        return sum(c.frames for c in self.chunks)


def open_input(
    source: str,
    *,
    column: str | None = None,
    config: str | None = None,
    split: str | None = None,
    limit: int | None = None,
    reading: PixelReading | None = None,
) -> Input:
    """Open ``source``: nothing is decoded yet.

    Args:
        source: an image, a video, a folder of them, a release folder, the published archives, or, with ``column``,
            a Hub id or folder that `datasets` loads.
        column: the column of images or videos of a dataset.
        config, split: of a dataset, a release or the archives; None: all there are.
        limit: at most so many videos and so many images.
        reading: how pixels become gray; a release's frames are gray already.

    Raises:
        UsageError: there is nothing to read there.
        DamagedInputError: a release or archive is broken.
        RemoteError: the Hub cannot be reached.
    """
    how = reading or PixelReading()
    if column is not None:
        from .dataset_column import dataset_input  # which reads by what is here

        return dataset_input(source, column, config, split, limit, how)
    path = Path(source)
    if not path.exists():
        raise UsageError(
            f"{source} does not exist; allowed: an image, a video, a folder, a release, the published archives, or a"
            " Hub id together with --column NAME"
        )
    if is_release(path) or _is_archives(path):
        return source_input(open_source(path), config, split, limit)
    if config is not None or split is not None:
        raise UsageError(f"{source} has no configs or splits; leave --config and --split out, or name a --column")
    return files_input(path, limit, how)


def is_release(path: Path) -> bool:
    """Whether ``path`` is a release folder, or one that is being built."""
    return (path / MANIFEST).is_file() or (path / ".build" / "plan.json").is_file()


def _is_archives(path: Path) -> bool:
    if path.is_file():
        return path.suffix.lower() == ".zip"
    names = [path.name, *(entry.name for entry in os.scandir(path))]
    return any(_GENDER_FOLDER.fullmatch(name) for name in names)


def files_input(path: Path, limit: int | None, reading: PixelReading) -> Input:
    """Images and videos of a folder and the folders below it, or one file; links and other files are findings."""
    findings: list[Finding] = []
    if path.is_dir():
        found = sorted(walk(path.resolve(), findings))
        root, files = path, {name: file for name, file in found if "/." not in f"/{name}"}
    else:
        root, files = path.parent, {path.name: path}
    kinds = {name: Path(name).suffix.lower() for name in files}
    for name, suffix in kinds.items():
        if suffix not in (*SUFFIXES, *VIDEOS):
            allowed = " ".join((*SUFFIXES, *VIDEOS))
            findings.append(Finding(name, "not-an-image", f"{suffix or 'no suffix'}; allowed: {allowed}"))
    images = [n for n in files if kinds[n] in SUFFIXES][:limit]
    videos = [n for n in files if kinds[n] in VIDEOS][:limit]
    if not images and not videos:
        seen = f"; the first of {len(files)} files is {next(iter(files))}" if files else ""
        raise UsageError(f"{path} holds no image and no video{seen}; allowed: {' '.join((*SUFFIXES, *VIDEOS))}")

    groups = [("images", images[n : n + IMAGES_A_CHUNK]) for n in range(0, len(images), IMAGES_A_CHUNK)]
    groups += [("video", [name]) for name in videos]
    chunks = []
    for number, (kind, names) in enumerate(groups):
        stats = [(name, (root / name).stat()) for name in names]
        content = [vars(reading), [[name, s.st_size, s.st_mtime_ns] for name, s in stats]]
        frames = len(names) if kind == "images" else max(announced(root / names[0])[0], 1)
        named = tuple((name, files[name]) for name in names)
        read = partial(_file_items, named, kind == "video", reading)
        chunks.append(Chunk(f"{kind}-{number:05d}", content, tuple(names), frames, read))
    return Input(path.resolve().name, tuple(chunks), tuple(sorted(findings)))


def _file_items(files: Sequence[tuple[str, Path]], is_video: bool, reading: PixelReading) -> Iterator[Item]:
    for name, file in files:
        yield item_of(name, name, file, is_video, reading)


def item_of(item_id: str, path: str, data: bytes | Path, is_video: bool, reading: PixelReading) -> Item:
    """An image or a video of ``data``, which is its path or its bytes; ``path`` is how label files name it."""
    seen = Seen()
    if is_video:
        read: Callable[[], Iterable[Gray]] = partial(_video, data, reading, seen)
        return Item(item_id, path, True, read, fps=announced(data)[1], seen=seen)
    return Item(item_id, path, False, lambda: reading.frames([_picture(data, item_id)], seen), seen=seen)


def _video(data: bytes | Path, reading: PixelReading | None, seen: Seen | None = None) -> Iterator[Gray]:
    return reading.frames(each_frame(data), seen) if reading else map(_as_gray, each_frame(data))


def announced(data: bytes | Path) -> tuple[int, float | None]:
    """Frames and frames a second that a video says it has: 0 and None where it does not."""
    import av

    try:
        with av.open(
            str(data) if isinstance(data, Path) else io.BytesIO(data), options=nothing_else(data)
        ) as container:
            stream = container.streams.video[0]
            return stream.frames, float(stream.average_rate) if stream.average_rate else None
    except (av.error.FFmpegError, OSError, IndexError):
        return 0, None


def source_input(source: Source, config: str | None, split: str | None, limit: int | None) -> Input:
    """Clips, stills and scenes of a release or of the published archives; splits in order."""
    offered = [c for c in ("video", *CATEGORIES, "scenes") if c in source.configs]
    wanted = list(CATEGORIES) if config == "image" else [config]
    configs = [c for c in offered if config is None or c in wanted]
    if not configs:
        raise UsageError(
            f"{source.root} has no pictures in config {config!r}; it offers: {', '.join(offered) or 'none'}"
        )
    left = {True: limit, False: limit}
    chunks = []
    for name in configs:
        id_column = "clip_id" if name == "video" else "image_id"
        for part_split, parts in source.parts(name).items():
            if split not in (None, part_split):
                continue
            for number, part in enumerate(parts):
                with reading_part(source.root, part):
                    listed = source.contents(name, part)[: left[name == "video"]]
                if not listed:
                    continue
                if limit is not None:
                    left[name == "video"] = (left[name == "video"] or 0) - len(listed)
                ids = tuple(item_id for item_id, _ in listed)
                read = partial(_row_items, source, name, part, id_column, frozenset(ids))
                key = f"{name}-{part_split}-{number:05d}"
                frames = sum(n for _, n in listed)
                chunks.append(Chunk(key, [source.digest, name, part_split, number, list(ids)], ids, frames, read))
    if not chunks:
        raise UsageError(f"{source.root} has no rows in split {split!r}; leave --split out to take all")
    return Input(source.root.name, tuple(chunks), source=source)


def _row_items(source: Source, config: str, part: Any, column: str, ids: frozenset[str]) -> Iterator[Item]:
    with reading_part(source.root, part):
        for table in source.tables(config, part):
            yield from (row_item(config, row) for row in table.to_pylist() if row[column] in ids)


def row_item(config: str, row: Mapping[str, Any]) -> Item:
    """The item of a row of ``video``, a category or ``scenes``."""
    if config == "video":
        data = row["video"]["bytes"]
        return Item(row["clip_id"], f"{row['clip_id']}.mp4", True, partial(_video, data, None), row, row["fps"])
    data, suffix = row["image"]["bytes"], Path(row["image"]["path"] or "a.png").suffix or ".png"
    return Item(
        row["image_id"],
        f"{row['image_id']}{suffix}",
        False,
        lambda: [_as_gray(picture_from_bytes(data, row["image_id"]))],
        row,
    )


def _as_gray(pixels: NDArray[Any]) -> Gray:
    """Frames of a release are white-hot gray by convention: colour can only be what a codec left of it."""
    if pixels.dtype != np.uint8:
        raise DamagedInputError(f"a frame is {pixels.dtype}; allowed in a release: 8-bit gray")
    return pixels if pixels.ndim == 2 else np.asarray(cv2.cvtColor(pixels[..., :3], cv2.COLOR_RGB2GRAY), np.uint8)


def _picture(data: bytes | Path, name: str) -> NDArray[Any]:
    return read_picture(data) if isinstance(data, Path) else picture_from_bytes(data, name)
