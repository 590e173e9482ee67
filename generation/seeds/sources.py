"""Which seed data sets can be read, on what terms, and what one picture of them is before its pixels are read.

A layout is a module with ``find(root) -> Found``: it lists pictures with what their folders, names and label files say,
and reads no pixels. Licences are told as their publishers tell them; nobody but the publisher can waive them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path

from thermvision.annotations.errors import UsageError
from thermvision.annotations.findings import Finding
from thermvision.annotations.formats import Format
from thermvision.annotations.formats.records import FileFaces
from thermvision.annotations.picture_file import SUFFIXES
from thermvision.curation.archives import walk

Box = tuple[float, float, float, float]
TRAIN, HOLDOUT = "train", "holdout"


@dataclass(frozen=True)
class Seed:
    """One picture or video of a seed data set.

    Attributes:
        path: posix, below the source.
        file: where it lies.
        subject: who is seen; the same name in every layout that shows the same people.
        split: "train" or "holdout" where the data set itself says, else "".
        boxes: faces ``[x, y, width, height]`` in pixels that label files give; empty: look for them.
        facts: what is known for the caption: gender, pose, expression, accessories; and what the data set measured.
        is_video: whether frames are to be drawn from it.

    >>> Seed("a/1.png", Path("a/1.png"), "folder/a").boxes
    ()
    """

    path: str
    file: Path
    subject: str
    split: str = ""
    boxes: tuple[Box, ...] = ()
    facts: Mapping[str, str] = field(default_factory=dict)
    is_video: bool = False


@dataclass(frozen=True)
class Found:
    """What a layout lists: pictures in the order of their paths, and what was left out or looked odd."""

    seeds: Sequence[Seed]
    findings: Sequence[Finding] = ()


@dataclass(frozen=True)
class SeedSource:
    """A data set that can be read.

    Attributes:
        name: as on the command line.
        title: as its authors call it.
        module: below `thermvision.generation.seeds`.
        licence: its terms in a sentence, and where they come from.
        citation: what its authors ask to be cited.
        url: where it is to be had.
        expects: what its folder looks like, for messages.
        units, palette, polarity: how pixels are read, see `thermvision.annotations.intake.to_gray`.
        labels: whether the boxes of its label files are better than a detector's.

    >>> SOURCES["charlotte"].units, SOURCES["charlotte"].labels
    ('centikelvin', False)
    """

    name: str
    title: str
    module: str
    licence: str
    citation: str
    url: str
    expects: str
    units: str = "auto"
    palette: str = "auto"
    polarity: str = "white-hot"
    labels: bool = True

    def find(self, root: Path) -> Found:
        """List the pictures below ``root``.

        Raises:
            UsageError: it is no folder, or holds none that belong to this layout.
        """
        if not root.is_dir():
            raise UsageError(f"{root} is no folder; allowed for {self.name}: {self.expects}")
        found: Found = import_module(f"{__package__}.{self.module}").find(root)
        if not found.seeds:
            odd = f"; {len(found.findings)} findings, the first: {found.findings[0]}" if found.findings else ""
            raise UsageError(f"{root} holds no picture of {self.title}; expected: {self.expects}{odd}")
        return Found(sorted(found.seeds, key=lambda seed: seed.path), sorted(found.findings))


SOURCES: dict[str, SeedSource] = {
    s.name: s
    for s in (
        SeedSource(
            "tufts", "Tufts Face Database (TD_IR)", "tufts",
            "research use on the terms that the database's site shows before the download; no redistribution",
            "K. Panetta et al., A Comprehensive Database for Benchmarking Imaging Systems, IEEE TPAMI 42(3), 2020",
            "http://tdface.ece.tufts.edu",
            "TD_IR_A_Set1/1/TD_IR_A_0.jpg …, with bounding-boxes.csv beside the sets where there is one",
        ),
        SeedSource(
            "carl", "CARL database", "carl",
            "research use on the terms agreed with its authors; no redistribution",
            "V. Espinosa-Duró, M. Faundez-Zanuy, J. Mekyska, A new face database simultaneously acquired in visible,"
            " near-infrared and thermal spectrums, Cognitive Computation 5, 2013",
            "https://arxiv.org/abs/2202.13864",
            "01/session_1/thermal_bmp/01S1BNA1.bmp …, with dlib XML files anywhere below where there are any",
        ),
        SeedSource(
            "charlotte", "Charlotte-ThermalFace", "charlotte",
            "research purposes, as its repository says; it names no further terms",
            "R. Ashrafi, M. Azarbayjani, H. Tabkhi, A Novel Fully Annotated Thermal Infrared Face Dataset,"
            " arXiv:2205.02093, 2022",
            "https://github.com/TeCSAR-UNCC/UNCC-ThermalFace",
            "S1.csv … and S1/R11185.tiff …, 16 bits of 0.01 K",
            units="centikelvin", labels=False,
        ),
        SeedSource(
            "sf-tl54", "SF-TL54", "sftl54",
            "the repository is under the MIT licence; the pictures on the terms given with their download",
            "A. Kuzdeuov et al., SF-TL54: A Thermal Facial Landmark Dataset with Visual Pairs, SII 2022",
            "https://github.com/IS2AI/thermal-facial-landmarks-detection",
            "gray/train/images/*.png with gray/train/json/*.json (also val and test), and metadata.csv",
        ),
        SeedSource(
            "tfw", "TFW: Annotated Thermal Faces in the Wild", "tfw",
            "the terms of the consent form that is signed for the download",
            "A. Kuzdeuov et al., TFW: Annotated Thermal Faces in the Wild Dataset, doi:10.48333/S13M-CA44, 2021",
            "https://github.com/IS2AI/TFW",
            "train/indoor.csv with train/indoor_gray/*.png (also outdoor; val and test)",
        ),
        SeedSource(
            "folder", "pictures and videos of one's own", "folder",
            "not stated; state it with --licence", "", "",
            "pictures or videos, one folder a subject", polarity="auto",
        ),
    )
}  # fmt: skip


def named(name: str) -> SeedSource:
    """The source of a name.

    >>> named("tfw").title
    'TFW: Annotated Thermal Faces in the Wild'

    Raises:
        UsageError: there is none.
    """
    if name not in SOURCES:
        raise UsageError(f"--layout is {name!r}; allowed: {', '.join(SOURCES)}")
    return SOURCES[name]


def files_below(root: Path) -> tuple[dict[str, Path], list[Finding]]:
    """Plain files below ``root`` by posix path, hidden ones left out; links and devices are findings."""
    findings: list[Finding] = []
    files = {name: file for name, file in walk(root.resolve(), findings) if "/." not in f"/{name}"}
    return files, findings


def small_enough(path: str, file: Path, limit: int, findings: list[Finding]) -> bool:
    """Whether a file has at most ``limit`` bytes; else that is the finding ``too-large``."""
    seen = file.stat().st_size
    if seen > limit:
        findings.append(Finding(path, "too-large", f"it has {seen} bytes; allowed: {limit}; nothing was read"))
    return seen <= limit


def labels_in(form: Format, path: str, file: Path, findings: list[Finding]) -> Sequence[FileFaces]:
    """The images of a label file; none of one that is too large. What was refused goes to ``findings``."""
    if not small_enough(path, file, form.max_bytes, findings):
        return ()
    reading = form.read(file.read_bytes(), path)
    findings += reading.findings
    return reading.files


def is_picture(name: str) -> bool:
    """Whether a name ends like a picture that can be read.

    >>> is_picture("S1/R1.TIFF"), is_picture("S1.csv")
    (True, False)
    """
    return Path(name).suffix.lower() in SUFFIXES
