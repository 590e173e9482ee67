"""Which detectors, landmarkers and embedders there are, and how one is chosen: ``name`` or ``name:path``.

Whoever implements one of the protocols of `thermvision.annotations.faces` can hand the object itself to
`thermvision.annotations.pipeline.Annotator` and needs no entry here.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Literal, cast

from thermvision.annotations.embedder import FaceEmbedder
from thermvision.annotations.errors import UsageError
from thermvision.annotations.faces import FaceDetector, FaceLandmarker


@dataclass(frozen=True)
class Entry:
    """A model that can be chosen.

    Attributes:
        target: ``module:class`` below `thermvision.annotations`.
        path: whether a path must, can or cannot follow the name.
        alone: target of the name without a path or with that of a folder, where that is another class.
    """

    target: str
    path: Literal["required", "optional", "none"]
    alone: str = ""


DETECTORS: dict[str, Entry] = {
    "thermal": Entry("detector:ThermalDetector", "optional", alone="confirmation:ConfirmedDetector"),
    "yolo5face": Entry("adapters.yolo5face:Yolo5FaceDetector", "required"),
    "yunet": Entry("adapters.yunet:YuNetDetector", "required"),
    "mtcnn": Entry("adapters.mtcnn:MtcnnDetector", "none"),
    "haar": Entry("adapters.haar:HaarDetector", "optional"),
}
LANDMARKERS: dict[str, Entry] = {
    "thermal": Entry("landmarker:ThermalLandmarker", "optional"),
    "liveportrait": Entry("adapters.liveportrait:LivePortraitLandmarker", "required"),
    "tfake": Entry("adapters.tfake:TfakeLandmarker", "optional"),
}
EMBEDDERS: dict[str, Entry] = {
    "thermal": Entry("embedder:ThermalEmbedder", "optional"),
    "facenet": Entry("adapters.facenet:FacenetEmbedder", "required"),
}


def detector(spec: str = "thermal", **options: Any) -> FaceDetector:
    """The detector of a spec; options go to its class.

    Raises:
        UsageError: there is no such detector or option, or its path is missing or too much.
        MissingDependencyError: a package or file that it needs is not there.

    >>> detector("yunet")
    Traceback (most recent call last):
    ...
    thermvision.annotations.errors.UsageError: --detector is 'yunet', which needs a file; type: --detector yunet:PATH
    """
    return cast(FaceDetector, _build("detector", DETECTORS, spec, options))


def landmarker(spec: str = "thermal", **options: Any) -> FaceLandmarker:
    """The landmarker of a spec; see `detector`.

    >>> landmarker("dlib")
    Traceback (most recent call last):
    ...
    thermvision.annotations.errors.UsageError: --landmarker is 'dlib'; allowed: thermal[:PATH], liveportrait:PATH, \
tfake[:PATH]
    """
    return cast(FaceLandmarker, _build("landmarker", LANDMARKERS, spec, options))


def embedder(spec: str = "thermal", **options: Any) -> FaceEmbedder:
    """The embedder of a spec; see `detector`.

    >>> embedder("facenet")
    Traceback (most recent call last):
    ...
    thermvision.annotations.errors.UsageError: --embedder is 'facenet', which needs a file; type: --embedder \
facenet:PATH
    """
    return cast(FaceEmbedder, _build("embedder", EMBEDDERS, spec, options))


def choices(entries: dict[str, Entry]) -> str:
    """What may be typed, for help texts and errors.

    >>> choices(EMBEDDERS)
    'thermal[:PATH], facenet:PATH'
    """
    form = {"required": "{}:PATH", "optional": "{}[:PATH]", "none": "{}"}
    return ", ".join(form[entry.path].format(name) for name, entry in entries.items())


def _build(kind: str, entries: dict[str, Entry], spec: str, options: dict[str, Any]) -> object:
    name, colon, path = spec.partition(":")
    entry = entries.get(name)
    if entry is None:
        raise UsageError(f"--{kind} is {spec!r}; allowed: {choices(entries)}")
    if (colon and not path) or (entry.path == "required" and not path):
        raise UsageError(f"--{kind} is {spec!r}, which needs a file; type: --{kind} {name}:PATH")
    if entry.path == "none" and colon:
        raise UsageError(f"--{kind} is {spec!r}, but {name} takes no file; type: --{kind} {name}")
    whole = entry.alone and (not path or Path(path).is_dir())
    module, _, class_name = (entry.alone if whole else entry.target).partition(":")
    build = getattr(import_module(f"thermvision.annotations.{module}"), class_name)
    if whole and path:
        options = {**options, "models": Path(path)}
    try:
        return build(path, **options) if path and not whole else build(**options)
    except TypeError as error:
        # only a wrong option: an error from within the model is shown as it is
        if "unexpected keyword argument" not in str(error):
            raise
        raise UsageError(f"--{kind} {name} does not take an option it was given: {error}") from error
