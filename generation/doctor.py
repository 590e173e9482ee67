"""What this installation has, and for each engine, extra and shipped model what it lacks and what brings it."""

from __future__ import annotations

import platform
from importlib import metadata
from importlib.util import find_spec
from typing import Any

from packaging.requirements import Requirement

from thermvision.annotations.errors import ThermVisionError
from thermvision.annotations.models import SHIPPED
from thermvision.annotations.session import REINSTALL, open_model
from thermvision.generation.engines import ENGINES, get_engine

DISTRIBUTION = "thermvision-db"
CORE = "core"
EXTRAS = {"flux": "diffusion"}  # of engines whose extra has another name


def examine(weights: str = "", flux_weights: str = "") -> dict[str, Any]:
    """Versions, then a list of parts (core, extras, engines, models) with ``ready``, ``lacks`` and ``mend``.

    ``weights`` is where LivePortrait's checkpoints are looked for, ``flux_weights`` FLUX's files; "": the usual place.

    >>> examine()["parts"][0]["part"]
    'core'
    """
    parts = [_extra(CORE), *(_extra(name) for name in _extras()), *_engines(weights, flux_weights)]
    parts += [_model(name) for name in SHIPPED]
    return {"versions": _versions(), "parts": parts}


def print_examination(examination: dict[str, Any]) -> None:
    """Print `examine` for a person."""
    print(", ".join(f"{name} {version}" for name, version in examination["versions"].items()))
    for part in examination["parts"]:
        print(f"{'ready  ' if part['ready'] else 'lacking'}  {part['part']}")
        for lack in part["lacks"]:
            print(f"         {lack}")
        if not part["ready"]:
            print(f"         type: {part['mend']}")


def _versions() -> dict[str, str]:
    versions = {"python": platform.python_version()}
    for name in (
        DISTRIBUTION,
        "datasets",
        "huggingface_hub",
        "numpy",
        "pyarrow",
        "av",
        "onnxruntime",
        "torch",
        "diffusers",
        "transformers",
        "anny",
        "numba",
    ):
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = "absent"
    return versions


def _extras() -> list[str]:
    return sorted(metadata.metadata(DISTRIBUTION).get_all("Provides-Extra") or [])


def _extra(extra: str) -> dict[str, Any]:
    lacks = []
    for text in metadata.requires(DISTRIBUTION) or []:
        requirement = Requirement(text)
        of_core = requirement.marker is None or requirement.marker.evaluate({"extra": ""})
        wanted = of_core if extra == CORE else not of_core and requirement.marker.evaluate({"extra": extra})  # type: ignore[union-attr]
        if not wanted:
            continue
        try:
            version = metadata.version(requirement.name)
        except metadata.PackageNotFoundError:
            lacks.append(f"{requirement.name} is absent; wanted: {requirement.name}{requirement.specifier}")
            continue
        if not requirement.specifier.contains(version, prereleases=True):
            lacks.append(f"{requirement.name} is {version}; wanted: {requirement.specifier}")
    target = "." if extra == CORE else f".[{extra}]"
    mend = f'pip install -c constraints.txt -e "{target}"'
    part = extra if extra == CORE else f"extra {extra}"
    return {"part": part, "ready": not lacks, "lacks": lacks, "mend": mend, "required": extra == CORE}


def _engines(weights: str, flux_weights: str) -> list[dict[str, Any]]:
    given = {"liveportrait": weights, "flux": flux_weights}
    return [_engine(name, given.get(name)) for name in sorted(ENGINES)]


def _engine(name: str, weights: str | None = None) -> dict[str, Any]:
    mend = f'pip install -c constraints.txt -e ".[{EXTRAS.get(name, name)}]"'
    lacks: list[str] = []
    ready = False
    try:
        engine = get_engine(name, **({} if weights is None else {"weights": weights}))
        engine.require()
        ready = True
        if name == "liveportrait" and not any("landmark.onnx" in file for file in engine.model_digests()):
            lacks.append("optional: thermal_facial_landmark.onnx is absent; 68 points serve in place of its 203")
        if name == "liveportrait" and getattr(engine, "random", False):
            lacks.append("its weights are random: pixels are noise; name a folder of trained ones with --weights")
    except (ThermVisionError, ImportError) as error:
        lacks.append(str(error))
        if name == "liveportrait" and all(find_spec(package) for package in ("torch", "safetensors")):
            mend = "thermvision doctor --weights FOLDER, once the files are in it"
        if name == "flux" and all(find_spec(package) for package in ("torch", "diffusers", "transformers")):
            mend = "thermvision doctor --flux-weights FOLDER, once the files are in it"
    return {"part": f"engine {name}", "ready": ready, "lacks": lacks, "mend": mend, "required": False}


def _model(name: str) -> dict[str, Any]:
    try:
        open_model(name)
        lacks: list[str] = []
    except ThermVisionError as error:
        lacks = [str(error)]
    return {"part": f"model {name}", "ready": not lacks, "lacks": lacks, "mend": REINSTALL, "required": False}
