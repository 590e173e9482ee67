"""Readers and writers of the label formats used for thermal faces, one module a format, and the list of them.

Every format is read into and written from the records of `thermvision.annotations.formats.records`; what a format
keeps and loses is told in ``docs/formats.md`` and, for programs, by `FORMATS`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from thermvision.annotations.errors import DamagedInputError, UsageError
from thermvision.annotations.findings import Finding

if TYPE_CHECKING:
    from .records import FileFaces, Reading

# looks up the (width, height) of an image by the path that a label file gives it
Sizes = Callable[[str], tuple[int, int] | None]


@dataclass(frozen=True)
class Format:
    """What a label format is and can hold.

    Attributes:
        name: as on the command line.
        suffix: of its label files.
        folder: one label file an image; otherwise one file for all.
        boxes, scores, sizes, attributes: whether it holds boxes, detector scores, image sizes, further facts.
        points: the point schemes it can hold: "" none, "any", or one of `conventions.SCHEMES` that others are
            converted to.
        faces: whether one image may have several faces.
        needs_size: whether it cannot be read or written without the image's size.
    """

    name: str
    suffix: str
    module: str
    folder: bool = False
    boxes: bool = True
    scores: bool = False
    sizes: bool = False
    attributes: bool = False
    points: str = ""
    faces: bool = True
    needs_size: bool = False
    reader: str = "read"
    writer: str = "write"

    def _module(self) -> Any:
        return import_module(f"{__name__}.{self.module}")

    @property
    def max_bytes(self) -> int:
        """Largest label file that is read."""
        return int(self._module().MAX_BYTES)

    def read(self, data: str | bytes, path: str = "", size: tuple[int, int] | None = None) -> Reading:
        """The images of one label file; nothing but a programming error is raised, see the format's module."""
        reading: Reading = getattr(self._module(), self.reader)(data, path, size)
        return reading

    def write(self, files: Sequence[FileFaces], **options: Any) -> bytes:
        """One label file: of all images, or for a format with one file an image, of the only one given."""
        data: bytes = getattr(self._module(), self.writer)(files, **options)
        return data


FORMATS: dict[str, Format] = {
    f.name: f
    for f in (
        Format("coco", ".json", "coco", scores=True, sizes=True, attributes=True, points="any"),
        Format("yolo", ".txt", "yolo", folder=True, scores=True, points="5", needs_size=True),
        Format("voc", ".xml", "voc", folder=True, sizes=True, attributes=True),
        Format("dlib", ".xml", "dlib_xml", scores=True, sizes=True, attributes=True, points="any"),
        Format("pts", ".pts", "pts", folder=True, boxes=False, points="any", faces=False),
        Format("tfw", ".csv", "tfw", points="5"),
        Format("sftl54", ".json", "sftl54", folder=True, sizes=True, points="54"),
        Format("charlotte", ".csv", "charlotte", boxes=False, attributes=True, points="any"),
        Format(
            "csv", ".csv", "table", scores=True, sizes=True, attributes=True, points="any",
            reader="read_csv", writer="write_csv",
        ),
        Format(
            "parquet", ".parquet", "table", scores=True, sizes=True, attributes=True, points="any",
            reader="read_parquet", writer="write_parquet",
        ),
    )
}  # fmt: skip

_HEAD = 2**16


def named(name: str) -> Format:
    """The format of a name.

    >>> named("pts").folder
    True

    Raises:
        UsageError: there is no such format.
    """
    if name not in FORMATS:
        raise UsageError(f"format {name!r} does not exist; allowed: {', '.join(FORMATS)}")
    return FORMATS[name]


def read_path(path: Path, name: str | None = None, sizes: Sizes | None = None) -> Reading:
    """The images of a label file, or of every label file below a folder, in the order of their paths.

    In a folder, paths of findings and of images that a label file does not name are relative to it. Links that lead
    out of the folder are not followed, which is the finding ``link``.

    Args:
        path: a label file or a folder of them.
        name: a key of `FORMATS`; None recognises it, see `sniff`.
        sizes: looks up an image's size for label files that do not hold it, by the image's path; a format with one
            file an image asks with the label file's path without suffix.

    Raises:
        UsageError: nothing is there, or the format is not recognised or does not exist.
        DamagedInputError: a file is over the format's size limit.
    """
    from .records import Reading

    if not path.exists():
        raise UsageError(f"{path} does not exist; allowed: a label file or a folder of them")
    name = name or sniff(path)
    if name is None:
        raise UsageError(f"the format of {path} is not recognised; type --format with one of {', '.join(FORMATS)}")
    form = named(name)
    if not path.is_dir():
        return _read_file(form, path, path.name, sizes)
    files: list[FileFaces] = []
    findings: list[Finding] = []
    root = path.resolve()
    for file in sorted(path.rglob(f"*{form.suffix}")):
        relative = file.relative_to(path).as_posix()
        if not file.resolve().is_relative_to(root):
            findings.append(Finding(relative, "link", "it leads out of its folder; allowed: files in it; not read"))
        elif file.is_file():
            reading = _read_file(form, file, relative, sizes)
            files += reading.files
            findings += reading.findings
    return Reading(files, findings)


def _read_file(form: Format, file: Path, path: str, sizes: Sizes | None) -> Reading:
    seen, limit = file.stat().st_size, form.max_bytes
    if seen > limit:
        raise DamagedInputError(f"{file} has {seen} bytes; allowed for {form.name}: {limit}")
    size = None
    if sizes is not None and form.folder:
        size = sizes(path.removesuffix(form.suffix))
    reading = form.read(file.read_bytes(), path, size)
    if sizes is None or form.folder:
        return reading
    from .records import FileFaces, Reading

    files = []
    for image in reading.files:
        width, height = image.size or sizes(image.path) or (None, None)
        files.append(FileFaces(image.path, width, height, image.faces))
    return Reading(files, reading.findings)


def label_files(name: str, files: Sequence[FileFaces], stem: str = "annotations", **options: Any) -> Iterator[Any]:
    """The label files of some images as pairs (relative path, bytes).

    One file ``<stem><suffix>``, or one an image: the image's path with the format's suffix in place of its own. Where
    a format holds one face a file, further faces get ``_2``, ``_3``, … before the suffix, and an image without points
    has none.

    Args:
        name: a key of `FORMATS`.
        files: the images; their paths are relative and stay below the root.
        stem: name of the only file.
        options: passed to the writer.

    >>> from thermvision.annotations.formats.records import FaceRecord, FileFaces
    >>> image = FileFaces("a/b.png", 100, 100, [FaceRecord([10, 10, 20, 20])])
    >>> list(label_files("yolo", [image]))
    [('a/b.txt', b'0 0.200000 0.200000 0.200000 0.200000\\n')]

    Raises:
        UsageError: there is no such format, a path leaves the root, or two images would share a label file.
        ValueError: an image lacks what the format needs.
    """
    from .records import FileFaces

    form = named(name)
    if not form.folder:
        yield f"{stem}{form.suffix}", form.write(files, **options)
        return
    taken: set[str] = set()
    for image in files:
        parts = PurePosixPath(image.path)
        if parts.is_absolute() or ".." in parts.parts or not parts.name or "\\" in image.path:
            raise UsageError(f"the image's path is {image.path!r}; allowed: a path below the labels' root")
        faces = [image.faces] if form.faces else [[face] for face in image.faces if face.points is not None]
        for place, some in enumerate(faces, start=1):
            target = parts.with_name(parts.stem + ("" if place == 1 else f"_{place}") + form.suffix).as_posix()
            if target in taken:
                raise UsageError(f"two faces or images want the label file {target}; allowed: names that differ")
            taken.add(target)
            yield target, form.write([FileFaces(image.path, image.width, image.height, some)], **options)


def sniff(path: Path) -> str | None:
    """The name of the format of a label file or of the first label file in a folder, by name and first bytes.

    None when it is none that we know. Nothing is decided by trying to read it whole.
    """
    if path.is_dir():
        suffixes = {form.suffix for form in FORMATS.values()}
        files = (file for file in sorted(path.rglob("*")) if file.suffix.lower() in suffixes and file.is_file())
        return next((found for file in files if (found := sniff(file))), None)
    with path.open("rb") as stream:
        head = stream.read(_HEAD)
    if head.startswith(b"PAR1"):
        return "parquet"
    return _of_text(path.suffix.lower(), head.decode("utf-8", "replace").removeprefix("\ufeff").lstrip())


def _of_text(suffix: str, text: str) -> str | None:
    first = text.splitlines()[0].strip() if text else ""
    if text.startswith("<"):
        kinds = {"<annotation": "voc", "<dataset": "dlib", "<images": "dlib"}
        return next((name for tag, name in kinds.items() if tag in text), None)
    if text.startswith("{"):
        # labelme puts the shapes first and the image's own bytes last
        return "sftl54" if '"shapes"' in text else "coco" if '"images"' in text or '"annotations"' in text else None
    if suffix == ".pts" or first.startswith("version:"):
        return "pts"
    if suffix == ".csv":
        cells = [cell.strip().strip('"') for cell in first.split(",")]
        if cells[:3] == ["path", "width", "height"]:
            return "csv"
        if "ID" in cells and "x0" in cells:
            return "charlotte"
        return "tfw" if len(cells) == 15 else None
    if suffix == ".txt":
        tokens = first.split()
        plain = all(token.strip("+-.eE0123456789") == "" for token in tokens)
        return "yolo" if plain and len(tokens) in (0, 4, 5, 6, 14, 15) else None
    return None
