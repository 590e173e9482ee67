"""Pictures and driving videos to animated clips in a folder: every picture with every video.

A clip is ``OUT/<picture>/<video>.mp4`` with its labels (CSV or Parquet), PNG frames where asked for, and last of all a
``.json`` of how it was made. A clip with that file is finished; a run that was stopped goes on with the others, and one
that cannot be made costs none of them.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from thermvision.annotations.errors import DamagedInputError, MissingDependencyError, OutputError, UsageError
from thermvision.annotations.findings import Finding
from thermvision.annotations.picture_file import SUFFIXES
from thermvision.annotations.schema import FrameAnnotation
from thermvision.curation.annotate import file_faces
from thermvision.curation.assembly import fingerprint
from thermvision.curation.inputs import VIDEOS, Item, PixelReading
from thermvision.curation.item_faces import FrameFaces
from thermvision.curation.label_files import write_label_files
from thermvision.curation.progress import BuildProgress
from thermvision.curation.store import atomic_write, read_json, sha256_bytes, sha256_file
from thermvision.curation.video import encode_as_made, encoder_settings
from thermvision.generation.animations import input_file
from thermvision.generation.preprocess import check_steps
from thermvision.generation.run import encode_png, pixels_digest
from thermvision.generation.specs import InputFile

if TYPE_CHECKING:
    from thermvision.generation.engines.liveportrait.driver import Driver
    from thermvision.generation.engines.liveportrait.engine import LivePortraitEngine

FORMATS = ("csv", "parquet")
DRIVERS = (".npz", ".pkl", *VIDEOS, *SUFFIXES)
_NOT_ABOUT_ONE_CLIP = (OutputError, MissingDependencyError, MemoryError)


@dataclass(frozen=True)
class AnimateSettings:
    """What decides the pixels of a clip besides picture, video and networks.

    Attributes:
        options: fields of `engines.liveportrait.driving.DrivingOptions` that are not at their defaults.
        anchor: "first", "best" or a frame number.
        preprocess: steps of `thermvision.generation.preprocess`.
        crop: cut the face out of the picture.
        crop_driving: cut the face out of the video; None: when it is not square.
        paste_back: give whole pictures rather than crops.
        reading: how the picture's pixels become gray.

    Raises:
        UsageError: a step of preprocessing does not exist, or the anchor is no frame of any video.

    >>> AnimateSettings(preprocess=("equalize", "normalize")).preprocess
    ('normalize', 'equalize')
    """

    options: dict[str, Any] = field(default_factory=dict)
    anchor: str = "first"
    preprocess: tuple[str, ...] = ()
    crop: bool = True
    crop_driving: bool | None = None
    paste_back: bool = False
    reading: PixelReading = field(default_factory=PixelReading)

    def __post_init__(self) -> None:
        object.__setattr__(self, "preprocess", check_steps(self.preprocess))
        if self.anchor not in ("first", "best") and not self.anchor.isdecimal():
            raise UsageError(f"anchor is {self.anchor!r}; allowed: first, best, or the number of a frame, from 0")


@dataclass(frozen=True)
class Pair:
    """One clip to be: its name ``picture/video``, and the two files."""

    name: str
    source: InputFile
    driving: InputFile


@dataclass(frozen=True)
class Animated:
    """What a run did: clips made now, clips that were there, frames made now, what is to be known, what failed."""

    made: tuple[str, ...]
    kept: tuple[str, ...]
    frames: int
    notes: tuple[str, ...]
    findings: tuple[Finding, ...]


def find_pairs(sources: Sequence[Path], drivers: Sequence[Path]) -> list[Pair]:
    """Every picture with every driver, by the names of both; folders are searched, not those below them.

    Raises:
        UsageError: a file is not there or of another kind, or two have the same name.
    """
    pictures = _named(_listed(sources, SUFFIXES, "picture"), "pictures")
    videos = _named(_listed(drivers, DRIVERS, "driving video or motion template"), "drivers")
    return [Pair(f"{s}/{d}", source, driving) for s, source in pictures.items() for d, driving in videos.items()]


def _listed(paths: Sequence[Path], suffixes: Sequence[str], what: str) -> list[Path]:
    files = []
    for path in paths:
        if not path.exists():
            raise UsageError(f"{path} does not exist; give a {what}, or a folder of them")
        found = sorted(path.iterdir()) if path.is_dir() else [path]
        fit = [p for p in found if p.suffix.lower() in suffixes and (p.is_file() or p == path)]
        if not fit:
            raise UsageError(f"{path} is no {what}, nor a folder with one; allowed: {' '.join(suffixes)}")
        files += fit
    return files


def _named(files: Sequence[Path], what: str) -> dict[str, InputFile]:
    named: dict[str, InputFile] = {}
    for path in files:
        if path.stem in named:
            raise UsageError(f"two {what} are called {path.stem!r}; rename one of them")
        named[path.stem] = input_file(path)
    return named


def clip_fingerprint(pair: Pair, engine: LivePortraitEngine, settings: AnimateSettings) -> str:
    """Digest of everything that decides the bytes of a clip, but the machine and how many frames it draws at once."""
    return fingerprint({
        "source": pair.source.sha256,
        "driving": pair.driving.sha256,
        "settings": asdict(settings),
        "engine": engine.engine_id,
        "models": engine.model_digests(),
        "precision": engine.precision,
        "encoder": encoder_settings(),
    })  # fmt: skip


def is_finished(out: Path, pair: Pair, wanted: str) -> bool:
    """Whether the clip of ``pair`` is in ``out``, whole.

    Raises:
        UsageError: there is one that was made otherwise.
    """
    record, video = out / f"{pair.name}.json", out / f"{pair.name}.mp4"
    if not record.is_file():
        return False
    try:
        found = read_json(record)
        made, digest = str(found["fingerprint"]), str(found["video_sha256"])
    except (DamagedInputError, KeyError, TypeError):
        return False
    if made != wanted:
        raise UsageError(
            f"{video} was made of other files or with other options; choose another --out, or remove {record}"
        )
    return video.is_file() and sha256_file(video) == digest


def animate_files(
    pairs: Sequence[Pair],
    out: Path,
    engine: LivePortraitEngine,
    settings: AnimateSettings,
    *,
    format: str = "csv",
    png: bool = False,
    batch: int | None = None,
    quiet: bool = False,
) -> Animated:
    """Make the clips of ``pairs`` that are not finished.

    Motion is extracted once a driver, and while a clip is annotated and written the next one is drawn.

    Args:
        pairs: what is animated by what.
        out: folder.
        engine: draws and annotates.
        settings: how.
        format: of the labels, one of `FORMATS`.
        png: write each frame as PNG, too.
        batch: frames drawn at once; None: as many as suit the device.
        quiet: no progress.

    Raises:
        UsageError: the folder holds clips that were made otherwise, or a setting is not allowed.
        MissingDependencyError: checkpoints are absent.
        DamagedInputError: checkpoints cannot be used, so that no clip could be made.
        OutputError: no room or no permission.
    """
    from thermvision.generation.engines.liveportrait.driving import DrivingOptions

    if format not in FORMATS:
        raise UsageError(f"--format is {format!r}; allowed: {', '.join(FORMATS)}")
    DrivingOptions(**settings.options)
    engine.require()
    wanted = {pair.name: clip_fingerprint(pair, engine, settings) for pair in pairs}
    kept = [p.name for p in pairs if is_finished(out, p, wanted[p.name])]
    left = [p for p in pairs if p.name not in kept]
    if left:
        _ = engine.networks  # what is wrong with them is wrong with every clip, and told once
    findings: list[Finding] = []
    notes: list[str] = []
    made: list[str] = []
    drivers = _drivers(engine, left, settings, findings)
    for driver in drivers.values():
        notes += [f"{driver.template.name}: {note}" for note in driver.notes]
    ready = [p for p in left if p.driving.sha256 in drivers]
    frames = sum(len(drivers[p.driving.sha256].template) for p in ready)
    with BuildProgress(len(ready), frames, quiet=quiet) as progress, ThreadPoolExecutor(1) as writer:
        waiting: tuple[str, Future[None]] | None = None

        def finish() -> None:
            if waiting is not None:
                with _alone(waiting[0], findings):
                    waiting[1].result()
                    made.append(waiting[0])
                    progress.shard_done(waiting[0])

        for pair in ready:
            take = None
            with _alone(pair.name, findings):
                take = _draw(engine, pair, drivers[pair.driving.sha256], settings, batch, progress.advance)
            finish()
            waiting = None
            if take is not None:
                make = _writing(engine, out, pair, take, settings, wanted[pair.name], format, png)
                waiting = pair.name, writer.submit(make)
                notes += [note for note in take.notes if note not in notes]
        finish()
    return Animated(tuple(made), tuple(kept), progress.frames_done, tuple(notes), tuple(findings))


@dataclass(frozen=True, eq=False)
class _Take:
    """A drawn clip, encoded, and how it came about."""

    frames: NDArray[np.uint8]
    video: bytes
    crf: int
    fps: float
    record: dict[str, Any]
    notes: list[str]


def _drivers(
    engine: LivePortraitEngine, pairs: Sequence[Pair], settings: AnimateSettings, findings: list[Finding]
) -> dict[str, Driver]:
    found: dict[str, Driver] = {}
    for file in {p.driving.sha256: p.driving for p in pairs}.values():
        with _alone(file.name, findings):
            found[file.sha256] = engine.driver(file, settings.crop_driving)
    return found


@contextlib.contextmanager
def _alone(name: str, findings: list[Finding]) -> Iterator[None]:
    """What goes wrong with one clip is a finding, and costs no other."""
    try:
        yield
    except _NOT_ABOUT_ONE_CLIP:
        raise
    except Exception as error:  # whatever it is, the other clips are still made
        code = "damaged-input" if isinstance(error, DamagedInputError) else "not-animated"
        told = str(error) if isinstance(error, DamagedInputError | UsageError) else f"{type(error).__name__}: {error}"
        findings.append(Finding(name, code, told[:2000]))


def _draw(
    engine: LivePortraitEngine,
    pair: Pair,
    driver: Driver,
    settings: AnimateSettings,
    batch: int | None,
    advance: Callable[[int], None],
) -> _Take:
    from thermvision.generation.engines.liveportrait.driver import choose_anchor
    from thermvision.generation.engines.liveportrait.driving import DrivingOptions
    from thermvision.generation.engines.liveportrait.procedure import animate

    template = driver.template
    portrait, _ = engine.portrait(pair.source, settings.preprocess, reading=settings.reading, crop=settings.crop)
    anchor, warning = choose_anchor(template, settings.anchor)
    options = DrivingOptions(**settings.options, anchor=anchor)

    def counted() -> Any:
        drawn = animate(engine.networks, portrait, template, options, paste_back=settings.paste_back, batch=batch)
        for frame in drawn:
            advance(1)
            yield frame

    frames, video, crf = encode_as_made(counted(), template.fps)
    notes = [f"{pair.driving.name}: {warning}"] if warning and options.relative else []
    if "faces" in portrait.notes:
        notes.append(f"{pair.source.name}: {portrait.notes['faces']}")
    record = {**engine.record(), "anchor": anchor, "recognised": portrait.notes, "notes": [*driver.notes, *notes]}
    return _Take(frames, video, crf, template.fps, record, notes)


def _writing(
    engine: LivePortraitEngine,
    out: Path,
    pair: Pair,
    take: _Take,
    settings: AnimateSettings,
    made_as: str,
    format: str,
    png: bool,
) -> Callable[[], None]:
    def write() -> None:
        annotations = engine.annotate(take.frames)
        video = out / f"{pair.name}.mp4"
        atomic_write(video, take.video)
        _write_labels(out, pair, take.frames, annotations, format)
        if png:
            for number, frame in enumerate(take.frames):
                atomic_write(out / pair.name / f"frame_{number:04d}.png", encode_png(frame), durable=False)
        record = {
            "fingerprint": made_as,
            "source": {"name": pair.source.name, "sha256": pair.source.sha256},
            "driving": {"name": pair.driving.name, "sha256": pair.driving.sha256},
            "settings": asdict(settings),
            **take.record,
            "fps": take.fps,
            "frames": list(take.frames.shape),
            "encoder": encoder_settings(take.crf),
            "annotation_source": annotations[0].source,
            "raw_pixels_sha256": pixels_digest(take.frames),
            "video_sha256": sha256_bytes(take.video),
        }
        # last: a clip with its record is finished
        atomic_write(out / f"{pair.name}.json", json.dumps(record, indent=1, ensure_ascii=False, sort_keys=True) + "\n")

    return write


def _write_labels(
    out: Path, pair: Pair, frames: NDArray[np.uint8], annotations: Sequence[FrameAnnotation], format: str
) -> None:
    item = Item(pair.name, f"{pair.name}.mp4", True, lambda: frames)
    height, width = frames.shape[1:]
    files = [file_faces(item, n, FrameFaces(width, height, a)) for n, a in enumerate(annotations)]
    write_label_files(format, files, out / f"{pair.name}.{format}", annotations[0].source)
