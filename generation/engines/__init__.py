"""Engines: one protocol, ``render(spec) -> Clip | Still``, found by name."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Protocol, overload

from thermvision.annotations.errors import UsageError
from thermvision.generation.specs import Clip, ClipSpec, SceneSpec, SceneStill, Still, StillSpec, Subject

Progress = Callable[[int], None]

# name -> "module:class", imported at first use so that one engine's packages are no burden to the others
ENGINES = {
    "phantom": "thermvision.generation.engines.phantom.engine:PhantomEngine",
    "liveportrait": "thermvision.generation.engines.liveportrait.engine:LivePortraitEngine",
    "flux": "thermvision.generation.engines.flux.engine:FluxEngine",
}
# packages beyond the core's whose version can change what an engine renders
ENGINE_PACKAGES = {
    "phantom": ("anny", "numba"),
    "liveportrait": ("torch", "onnxruntime"),
    "flux": ("torch", "diffusers", "transformers", "onnxruntime"),
}
# what a recipe can ask of an engine
PRODUCTS = {"phantom": ("stills", "clips", "scenes"), "liveportrait": ("clips",), "flux": ("stills",)}


class Engine(Protocol):
    """What every engine does. ``progress(n)`` is called with the number of frames just rendered.

    ``engine_id`` is name@version; it goes into every fingerprint and provenance.
    """

    engine_id: str
    licence: str

    def check(self, subject: Subject, product: str) -> str | None:
        """Why ``product`` (a category or a sequence) cannot be made of ``subject``, or None when it can."""

    def too_alike(self, subject: Subject, accepted: Sequence[Subject]) -> str | None:
        """Why ``subject`` would be taken for one of ``accepted``, or None when it is a person of its own."""

    def require(self) -> None:
        """Raise `MissingDependencyError` when weights, data or packages are absent, before any work starts."""

    def model_digests(self) -> dict[str, str]:
        """SHA-256 of every model or data file that decides what is rendered."""

    @overload
    def render(self, spec: ClipSpec, progress: Progress | None = None) -> Clip: ...
    @overload
    def render(self, spec: StillSpec, progress: Progress | None = None) -> Still: ...
    def render(self, spec: ClipSpec | StillSpec, progress: Progress | None = None) -> Clip | Still:
        """Render one item. The same spec gives the same pixels on one platform and lock file."""

    def render_scene(self, spec: SceneSpec, progress: Progress | None = None) -> SceneStill:
        """Render a still with the faces of ``spec.subjects``; who finds no room in it is left out and not listed."""


def get_engine(name: str, **settings: str) -> Engine:
    """The engine called ``name``; ``settings`` are what `thermvision.generation.specs.engine_settings` gives.

    Raises:
        UsageError: no engine has that name.
    """
    if name not in ENGINES:
        raise UsageError(f"engine {name!r} does not exist; allowed: {', '.join(sorted(ENGINES))}")
    module, cls = ENGINES[name].split(":")
    engine: Engine = getattr(import_module(module), cls)(**settings)
    return engine


# one of each, with its networks, in a process
engine_of = functools.cache(get_engine)
