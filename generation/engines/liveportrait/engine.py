"""The LivePortrait engine: clips of a still that a driving video or motion template moves.

It makes no people of its own. Networks are loaded when the first clip asks for them; a driver's motion is extracted
once, and the features of the last faces are kept.
"""

from __future__ import annotations

import importlib.util
import logging
import os
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import cv2
import numpy as np

from thermvision.annotations.confirmation import FILES as FACE_MODELS
from thermvision.annotations.errors import DamagedInputError, MissingDependencyError, UsageError
from thermvision.annotations.schema import SEQUENCES, FrameAnnotation
from thermvision.curation.inputs import PixelReading
from thermvision.curation.store import canonical_json, sha256_bytes, sha256_file
from thermvision.generation.engines import engine_of
from thermvision.generation.engines.threads import one_thread
from thermvision.generation.specs import (
    Animation,
    Clip,
    ClipSpec,
    InputFile,
    SceneSpec,
    SceneStill,
    Still,
    StillSpec,
    Subject,
    engine_settings,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from thermvision.annotations.faces import Gray
    from thermvision.curation.item_faces import Annotates
    from thermvision.generation.engines.liveportrait.driver import Driver
    from thermvision.generation.engines.liveportrait.faces import FaceReader
    from thermvision.generation.engines.liveportrait.networks import Networks
    from thermvision.generation.engines.liveportrait.portrait import Portrait

INSTALL = 'pip install -c constraints.txt -e ".[liveportrait]"'
RANDOM = "random"
NOISE = "random weights: pixels are noise"
WEIGHTS_VARIABLE = "THERMVISION_LIVEPORTRAIT"
USUAL_FOLDER = "LivePortrait/checkpoints/thermal"
LANDMARK_FILES = ("thermal_facial_landmark.onnx", "landmark.onnx", "liveportrait/landmark.onnx")
_KEPT_PORTRAITS = 4
_RANDOM_SEED = 0
_log = logging.getLogger(__name__)


def weights_folder(given: str = "") -> Path:
    """Where the networks are: as given, else as the environment says, else where the published code has them."""
    return Path(given or os.environ.get(WEIGHTS_VARIABLE) or USUAL_FOLDER).expanduser()


class LivePortraitEngine:
    """Animates stills and pictures with the networks in a folder.

    Args:
        weights: folder of the checkpoints; "" for the usual one, "random" for narrow networks of seeded noise.
        device: "auto", "cpu", "cuda", "cuda:1" …
        precision: "auto", "fp32", "bf16" or "fp16".
        compile: have torch compile the networks: slow to begin with, then faster.
        allow_pth: read .pth checkpoints too, without running what they hold.
        annotator: finds faces; None: the shipped detector and landmarker.

    >>> LivePortraitEngine(weights="random").engine_id
    'liveportrait-random@1.0'
    """

    # the published thermal checkpoints are the data set's; see docs/liveportrait.md
    licence = "thermvision-db-research"

    def __init__(
        self,
        weights: str = "",
        device: str = "auto",
        precision: str = "auto",
        *,
        compile: bool = False,
        allow_pth: bool = False,
        annotator: Annotates | None = None,
    ) -> None:
        self.folder = None if weights == RANDOM else weights_folder(weights)
        self.precision = precision
        self._device, self._compile, self._allow_pth = device, compile, allow_pth
        self._annotator = annotator
        self._drivers: dict[tuple[str, bool | None], Driver] = {}
        self._portraits: OrderedDict[str, tuple[Portrait, dict[str, str]]] = OrderedDict()
        self._said: set[str] = set()

    @property
    def engine_id(self) -> str:
        """Name and version; random weights are in the name."""
        return "liveportrait-random@1.0" if self.random else "liveportrait@1.0"

    @cached_property
    def random(self) -> bool:
        """Whether the weights are noise: narrow ones made here, or files that say so."""
        if self.folder is None:
            return True
        from thermvision.generation.engines.liveportrait.checkpoint import find_files, read_metadata
        from thermvision.generation.engines.liveportrait.random_weights import RANDOM_NOTE

        try:
            # all are read, so that a half-downloaded one is found
            notes = [read_metadata(p) for p in find_files(self.folder, self._allow_pth).values()]
        except MissingDependencyError:
            return False
        return any(RANDOM_NOTE in note for note in notes)

    def check(self, subject: Subject, product: str) -> str | None:
        """Why ``product`` cannot be made of ``subject``: it makes clips and nothing else."""
        if product in SEQUENCES:
            return None
        return f"liveportrait makes no {product}; allowed: {', '.join(SEQUENCES)}"

    def too_alike(self, subject: Subject, accepted: Sequence[Subject]) -> str | None:
        """None: whose face it is decides the engine of the stills, or the folder of pictures."""
        return None

    def require(self) -> None:
        """Raise `MissingDependencyError` when a package, the checkpoints or a shipped model is absent.

        `DamagedInputError`: a checkpoint is half-downloaded, as far as its header tells, or the landmark network is
        none.
        """
        for package in ("torch", "safetensors"):
            if importlib.util.find_spec(package) is None:
                raise MissingDependencyError(f"the liveportrait engine needs the package {package}; type: {INSTALL}")
        if self.folder is not None:
            from thermvision.generation.engines.liveportrait.checkpoint import find_files

            try:
                find_files(self.folder, self._allow_pth)
            except MissingDependencyError as error:
                raise MissingDependencyError(
                    f"{error}; then name the folder: --weights FOLDER, weights in a recipe's [clips], or"
                    f" {WEIGHTS_VARIABLE} in the environment (--weights random tries everything out with noise)"
                ) from error
        _ = self.random, self.faces  # reads the headers of all checkpoints, which tell how long each is

    def model_digests(self) -> dict[str, str]:
        """SHA-256 of every network that decides pixels or annotations."""
        return dict(self._digests)

    @cached_property
    def _digests(self) -> dict[str, str]:
        digests = {}
        if self.folder is None:
            from thermvision.generation.engines.liveportrait.layers import NARROW

            widths = {"widths": asdict(NARROW), "seed": _RANDOM_SEED}
            digests[RANDOM] = sha256_bytes(canonical_json(widths).encode())
        else:
            from thermvision.generation.engines.liveportrait.checkpoint import find_files

            digests |= {p.name: sha256_file(p) for p in find_files(self.folder, self._allow_pth).values()}
            if (landmarks := self.landmark_file()) is not None:
                digests[landmarks.name] = sha256_file(landmarks)
        models = resources.files("thermvision.annotations.models")
        for name in FACE_MODELS:
            if (file := models / name).is_file():
                digests[name] = sha256_bytes(file.read_bytes())
        return dict(sorted(digests.items()))

    def landmark_file(self) -> Path | None:
        """The landmark network beside the checkpoints; None where there is none."""
        if self.folder is None:
            return None
        return next((p for name in LANDMARK_FILES if (p := self.folder / name).is_file()), None)

    @cached_property
    def networks(self) -> Networks:
        """The networks, loaded when first asked for."""
        from thermvision.generation.engines.liveportrait.layers import NARROW
        from thermvision.generation.engines.liveportrait.networks import load_networks, random_networks

        self.require()
        if self.random:
            self.say(NOISE)
        if self.folder is None:
            return random_networks(NARROW, _RANDOM_SEED, self._device, self.precision, self._compile)
        return load_networks(self.folder, self._device, self.precision, self._compile, self._allow_pth)

    @cached_property
    def faces(self) -> FaceReader:
        """What finds the faces of sources and drivers, and annotates what was drawn."""
        from thermvision.generation.engines.liveportrait.faces import FaceReader, default_annotator

        annotator, landmarks = self._annotator or default_annotator(), self.landmark_file()
        try:
            return FaceReader(annotator, landmarks)
        except DamagedInputError as error:
            raise DamagedInputError(
                f"{landmarks}: {error}; fetch it again, or remove it: 68 points serve in its place"
            ) from error

    def say(self, message: str) -> None:
        """Warn in the log, once."""
        if message not in self._said:
            self._said.add(message)
            _log.warning("%s", message)

    def driver(
        self, file: InputFile, crop: bool | None = None, advance: Callable[[int], None] = lambda frames: None
    ) -> Driver:
        """The motion of a driving video, picture or template; see `driver.read_driver`. It is extracted once.

        Raises:
            DamagedInputError: it cannot be read, or is no longer what it was.
        """
        from thermvision.generation.engines.liveportrait.driver import read_driver

        if (key := (file.sha256, crop)) not in self._drivers:
            path = _unchanged(file)
            self._drivers[key] = read_driver(self.networks, path, self.faces, crop=crop, advance=advance)
        return self._drivers[key]

    def portrait(
        self,
        source: InputFile | StillSpec,
        steps: Sequence[str] = (),
        *,
        reading: PixelReading | None = None,
        crop: bool = True,
    ) -> tuple[Portrait, dict[str, str]]:
        """A source, and the attributes that are known of it; the last few are kept.

        Raises:
            DamagedInputError: it cannot be read, is no longer what it was, or shows no face.
        """
        from thermvision.generation.engines.liveportrait.crop import limit_size
        from thermvision.generation.engines.liveportrait.portrait import make_portrait, read_source

        how = reading or PixelReading()
        key = repr((replace(source, path="") if isinstance(source, InputFile) else source, tuple(steps), how, crop))
        if key in self._portraits:
            self._portraits.move_to_end(key)
            return self._portraits[key]
        attributes: dict[str, str] = {}
        if isinstance(source, StillSpec):
            still: Still = engine_of(source.engine, **engine_settings(source)).render(source)
            name, attributes, notes = source.item_id, dict(still.attributes), {"landmarks": still.annotation.source}
            gray = limit_size(still.frame)
            face = self.faces.of_annotation(gray, still.annotation) if gray.shape == still.frame.shape else None
            if face is None:
                (_, face), notes = self.faces.in_picture(gray, doubt=1.0), {"landmarks": self.faces.source}
        else:
            gray, face, notes = read_source(_unchanged(source), self.faces, how)
            name = source.name
        with one_thread():
            made = make_portrait(self.networks, gray, face, steps=steps, crop=crop, name=name, notes=notes)
        self._portraits[key] = made, {} if self.random else attributes
        while len(self._portraits) > _KEPT_PORTRAITS:
            self._portraits.popitem(last=False)
        return self._portraits[key]

    def annotate(self, frames: Iterable[Gray]) -> list[FrameAnnotation]:
        """The annotations of drawn frames; with random weights their source says that they are noise."""
        found = self.faces.annotator.main_faces(frames, video=True, doubt=1.0)
        ending = f" ({NOISE})" if self.random else ""
        return [replace(a, source=a.source + ending) for a, _ in found]

    @overload
    def render(self, spec: ClipSpec, progress: Any = None) -> Clip: ...
    @overload
    def render(self, spec: StillSpec, progress: Any = None) -> Still: ...
    def render(self, spec: ClipSpec | StillSpec, progress: Any = None) -> Clip | Still:
        """Render one clip. A clip that is longer than its driver plays it to and fro.

        On a CPU one thread draws: with more, sums come out in another order and some pixels a level apart.

        Raises:
            UsageError: it is no clip, or nothing moves it.
            DamagedInputError: its source or driver cannot be used.
            MissingDependencyError: checkpoints are absent.
        """
        if isinstance(spec, StillSpec) or spec.animation is None:
            raise UsageError(f"{spec.item_id}: liveportrait makes clips of a source and a driver; set clips.driving")
        # before the threads are set: the engine of its still may change how many OpenMP uses here
        portrait, attributes = self.portrait(spec.animation.source, spec.animation.preprocess)
        with one_thread():
            return self._render_clip(spec, spec.animation, portrait, attributes, progress)

    def _render_clip(
        self, spec: ClipSpec, animation: Animation, portrait: Portrait, attributes: dict[str, str], progress: Any
    ) -> Clip:
        from thermvision.generation.engines.liveportrait.driver import choose_anchor
        from thermvision.generation.engines.liveportrait.driving import DrivingOptions
        from thermvision.generation.engines.liveportrait.procedure import animate, played

        driver = self.driver(animation.driving)
        anchor, warning = choose_anchor(driver.template, animation.anchor)
        options = DrivingOptions(**animation.options, anchor=anchor)
        notes = [*driver.notes, *([warning] if warning and options.relative else [])]
        for note in notes:
            self.say(f"{animation.driving.name}: {note}")
        if "faces" in portrait.notes:
            self.say(f"{spec.item_id}: {portrait.notes['faces']}")
        order = played(spec.num_frames, driver.template, spec.fps)
        drawn = []
        for frame in animate(
            self.networks, portrait, driver.template, options, frames=order, paste_back=animation.paste_back
        ):
            if not animation.paste_back and frame.shape != (spec.size, spec.size):
                smaller = spec.size < frame.shape[0]
                method = cv2.INTER_AREA if smaller else cv2.INTER_LINEAR
                frame = np.asarray(cv2.resize(frame, (spec.size, spec.size), interpolation=method), np.uint8)
            drawn.append(frame)
            if progress is not None:
                progress(1)
        record = {**self.record(), "anchor": anchor, "notes": notes, "source": portrait.notes}
        return Clip(spec, np.stack(drawn), self.annotate(drawn), attributes, record)

    def render_scene(self, spec: SceneSpec, progress: Any = None) -> SceneStill:
        """Refused: it moves one face.

        Raises:
            UsageError: always.
        """
        raise UsageError(f"{spec.item_id}: liveportrait makes no scenes; set scenes.engine to 'phantom'")

    def record(self) -> dict[str, Any]:
        """What draws, for provenance."""
        networks = self.networks
        return {
            "engine": self.engine_id,
            "models": self.model_digests(),
            "annotator": self.faces.source,
            "precision": str(networks.dtype).removeprefix("torch."),
            "device": str(networks.device).partition(":")[0],
            **({"pixels": NOISE} if self.random else {}),
            **({"fell_back": "fp32, because a frame in half precision was NaN or black"} if networks.fell_back else {}),
        }


def _unchanged(file: InputFile) -> Path:
    path = Path(file.path)
    if not path.is_file() or sha256_file(path) != file.sha256:
        seen = "is another file than it was" if path.is_file() else "is gone"
        raise DamagedInputError(f"{path} {seen}; put it back (SHA-256 {file.sha256[:12]}…) or begin anew")
    return path
