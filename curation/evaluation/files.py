"""Label files read for an evaluation: their frames, with the sizes of pictures that a format does not hold."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from functools import cache
from pathlib import Path, PurePosixPath

from thermvision.annotations.formats import named, read_path, sniff
from thermvision.annotations.formats.records import Reading
from thermvision.annotations.picture_file import SUFFIXES, read_picture

from ..archives import walk

Sizes = Callable[[str], tuple[int, int] | None]


def read_labels(
    path: Path, images: Path | None = None, format: str | None = None, known: Sizes | None = None
) -> Reading:
    """The images and faces of a label file, or of a folder of them, and what was refused.

    Args:
        path: what `thermvision.annotations.formats.read_path` takes.
        images: folder of the pictures, for formats that do not say how large they are; None: where the labels are.
        format: a name in `formats.FORMATS`, where the format is not recognised.
        known: looks up (width, height) by an image's path before pictures are searched.

    Raises:
        UsageError: there is nothing of a known format, or ``format`` is none.
        DamagedInputError: a file is too large.
    """
    if format is not None:
        named(format)  # refuses a name that is none, even where the file says what it is
    recognised = sniff(path) if path.exists() else None
    of_picture = picture_sizes(images or (path if path.is_dir() else path.parent))

    def size(name: str) -> tuple[int, int] | None:
        return (known(name) if known else None) or of_picture(name)

    return read_path(path, recognised or format, size)


def picture_sizes(root: Path) -> Sizes:
    """Looks up (width, height) in pixels of a picture below ``root``, by its path with or without its suffix.

    A picture elsewhere below ``root`` is taken when it is the only one of that name. Nothing is read before that.
    """

    @cache
    def pictures() -> tuple[dict[str, Path], dict[str, list[Path]]]:
        found = [(n, f) for n, f in walk(root.resolve(), []) if f.suffix.lower() in SUFFIXES] if root.is_dir() else []
        by_name: dict[str, list[Path]] = defaultdict(list)
        for _, file in found:
            by_name[file.stem].append(file)
        return {str(PurePosixPath(name).with_suffix("")): file for name, file in found}, by_name

    def size(path: str) -> tuple[int, int] | None:
        pure = PurePosixPath(path)
        stem = pure.with_suffix("") if pure.suffix.lower() in SUFFIXES else pure
        by_path, by_name = pictures()
        named = by_name.get(stem.name, [])
        file = by_path.get(str(stem)) or (named[0] if len(named) == 1 else None)
        if file is None:
            return None
        height, width = read_picture(file).shape[:2]
        return width, height

    return size
