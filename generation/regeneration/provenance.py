"""The provenance of an item back to its spec.

The text lies in a file that anybody may have edited. It is read with bounds, into the types that rendering takes, and
counts only where writing the spec again gives the very same text, and where it agrees with the row that it is in.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from thermvision.annotations.errors import DamagedInputError
from thermvision.annotations.schema import CATEGORIES, GENDERS, SEQUENCES
from thermvision.curation.pack import Digest, one_of
from thermvision.curation.release import describe_validation
from thermvision.curation.store import canonical_json
from thermvision.generation.engines import ENGINES
from thermvision.generation.known import ItemSpec
from thermvision.generation.recipe_tables import MAX_FACES, EvenSize
from thermvision.generation.specs import (
    Animation,
    ClipSpec,
    Drawing,
    InputFile,
    MotionTrack,
    SceneSpec,
    StillSpec,
    Subject,
    plain_spec,
)

MAX_BYTES = 64 * 2**20  # a clip's recorded motion is in its provenance
MAX_PIXELS = 2**31  # of an item: its frames are held in memory while they are compared

_Id = Annotated[str, Field(min_length=1, max_length=200)]
_Name = Annotated[str, Field(max_length=1000)]
_Seed = Annotated[int, Field(ge=0, lt=2**64)]
_Number = Annotated[int, Field(ge=0, lt=2**40)]
_Engine = Annotated[str, one_of(*ENGINES)]
_Values = dict[_Name, Any]  # what an engine allows, it checks itself


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class _Subject(_Strict):
    subject_id: _Id
    index: _Number
    gender: Annotated[str, one_of(*GENDERS)]
    seed: _Seed
    traits: _Values

    def spec(self) -> Subject:
        return Subject(**dict(self))


class _Drawing(_Strict):
    positive: tuple[str, str]
    negative: tuple[str, str]
    attributes: dict[_Name, str]
    seed: _Seed
    further_seeds: tuple[_Seed, ...]
    options: _Values
    screening: _Values | None
    adapters: tuple[tuple[_Name, Digest, float, float], ...]
    precision: _Name


class _Still(_Strict):
    item_id: _Id
    subject: _Subject
    engine: _Engine
    category: Annotated[str, one_of(*CATEGORIES)]
    item: _Number
    size: EvenSize
    radiometric: bool
    parameters: _Values
    drawing: _Drawing | None = None

    def spec(self) -> StillSpec:
        drawing = Drawing(**dict(self.drawing)) if self.drawing else None
        return StillSpec(**{**dict(self), "subject": self.subject.spec(), "drawing": drawing})


class _File(_Strict):
    name: Annotated[str, Field(min_length=1, max_length=255, pattern=r"^[^/\\\x00]+$")]
    sha256: Digest

    def spec(self) -> InputFile:
        return InputFile(self.name, self.sha256, "")


class _Animation(_Strict):
    source: _Still | _File
    driving: _File
    options: _Values
    anchor: _Name
    preprocess: tuple[_Name, ...]
    paste_back: bool
    precision: _Name

    def spec(self) -> Animation:
        return Animation(**{**dict(self), "source": self.source.spec(), "driving": self.driving.spec()})


class _Motion(_Strict):
    name: _Name
    sha256: Digest
    fps: Annotated[float, Field(gt=0, le=1000)]
    head_pose: list[list[float]]
    eyes: list[float] | None
    lips: list[float] | None


class _Clip(_Strict):
    item_id: _Id
    subject: _Subject
    engine: _Engine
    sequence: Annotated[str, one_of(*SEQUENCES)]
    item: _Number
    num_frames: Annotated[int, Field(ge=1, le=100_000)]
    fps: Annotated[float, Field(gt=0, le=1000)]
    size: EvenSize
    radiometric_every: Annotated[int, Field(ge=0, le=100_000)]
    parameters: _Values
    motion: _Motion | None
    animation: _Animation | None = None

    def spec(self) -> ClipSpec:
        motion = MotionTrack(**dict(self.motion)) if self.motion else None
        animation = self.animation.spec() if self.animation else None
        whole = {**dict(self), "subject": self.subject.spec(), "motion": motion, "animation": animation}
        return ClipSpec(**whole)


class _Scene(_Strict):
    item_id: _Id
    engine: _Engine
    seed: _Seed
    item: _Number
    split: _Name
    subjects: Annotated[tuple[_Subject, ...], Field(max_length=MAX_FACES)]
    width: EvenSize
    height: EvenSize
    distance: tuple[float, float]
    parameters: _Values

    def spec(self) -> SceneSpec:
        return SceneSpec(**{**dict(self), "subjects": tuple(s.spec() for s in self.subjects)})


class Cut(_Strict):
    """A cut of `thermvision.curation.cutting`: the frames that stayed, of which MP4, and how they were encoded."""

    first: Annotated[int, Field(ge=0)]
    last: Annotated[int, Field(ge=0)]
    video_sha256: Digest
    encoder: _Values
    pixels_sha256: Digest


class _Recorded(BaseModel):
    """The rest of a provenance; what an engine resolved is for people."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    spec: dict[str, Any]
    engine: _Id
    models: Digest
    encoder: _Values
    raw_pixels_sha256: Digest
    cuts: Annotated[tuple[Cut, ...], Field(max_length=100)] = ()


@dataclass(frozen=True)
class Provenance:
    """How an item was made.

    Attributes:
        spec: what was asked of the engine; files have no path.
        engine: name@version.
        models: digest of its models' digests.
        encoder: settings that its pixels were encoded with.
        pixels: SHA-256 of its raw pixels.
        cuts: what was cut off a clip since, in this order.
    """

    spec: ItemSpec
    engine: str
    models: str
    encoder: Mapping[str, Any]
    pixels: str
    cuts: tuple[Cut, ...] = ()


_KINDS: tuple[tuple[str, type[_Clip | _Still | _Scene]], ...] = (
    ("sequence", _Clip),
    ("category", _Still),
    ("subjects", _Scene),
)


def read_provenance(text: str | None) -> Provenance | None:
    """The provenance in ``text``; None where it names no spec, as with pictures that nobody rendered.

    >>> read_provenance('{"member": "a.zip/F_01.mp4"}') is None
    True

    Raises:
        DamagedInputError: it is broken, edited, or asks for more than an item may be.
    """
    if text is not None and len(text) > MAX_BYTES:
        raise DamagedInputError(f"its provenance has {len(text)} characters; allowed: {MAX_BYTES}")
    try:
        values = json.loads(text or "{}")
    except (ValueError, RecursionError) as error:
        raise DamagedInputError(f"its provenance is no JSON ({error})") from error
    if not isinstance(values, dict) or "spec" not in values:
        return None
    try:
        told = _Recorded.model_validate(values)
        model = next((m for key, m in _KINDS if key in told.spec), _Still)
        spec = TypeAdapter(model).validate_python(told.spec).spec()
        again = canonical_json(plain_spec(spec))
        given = canonical_json(told.spec)
    except ValidationError as error:
        raise DamagedInputError(f"its provenance is refused: {describe_validation(error)[:500]}") from error
    except (ValueError, RecursionError) as error:  # no number, or too deep
        raise DamagedInputError(f"its provenance is refused: {error}") from error
    if again != given:
        raise DamagedInputError("its provenance is refused: its spec is not as this software writes it")
    if pixels_of(spec) > MAX_PIXELS:
        raise DamagedInputError(
            f"its provenance is refused: it asks for {pixels_of(spec)} pixels; allowed: {MAX_PIXELS} an item"
        )
    return Provenance(spec, told.engine, told.models, told.encoder, told.raw_pixels_sha256, told.cuts)


def pixels_of(spec: ItemSpec) -> int:
    """Pixels of all frames of an item."""
    if isinstance(spec, SceneSpec):
        return spec.width * spec.height
    return spec.size**2 * (spec.num_frames if isinstance(spec, ClipSpec) else 1)


def disagreement(told: Provenance, row: Mapping[str, Any], config: str) -> str | None:
    """What a provenance and the row of ``config`` it is in say differently; None when they agree."""
    spec, seen = told.spec, dict[str, tuple[Any, Any]]()
    seen["id"] = spec.item_id, row.get("clip_id") or row.get("image_id")
    kind = config if config in ("video", "scenes") else "still"
    seen["kind"] = {ClipSpec: "video", SceneSpec: "scenes"}.get(type(spec), "still"), kind
    # a whole picture that a face was moved in has the picture's size
    pasted = isinstance(spec, ClipSpec) and spec.animation is not None and spec.animation.paste_back
    if not pasted:
        size = (spec.width, spec.height) if isinstance(spec, SceneSpec) else (spec.size, spec.size)
        seen["size"] = size, (row.get("width"), row.get("height"))
    if isinstance(spec, StillSpec):
        seen["category"] = CATEGORIES.index(spec.category), row.get("category")
    if isinstance(spec, ClipSpec):
        frames = spec.num_frames
        for cut in told.cuts:
            if not cut.first <= cut.last < frames:
                return f"a cut from {cut.first} to {cut.last} of {frames} frames"
            frames = cut.last - cut.first + 1
        seen["sequence"] = SEQUENCES.index(spec.sequence), row.get("sequence")
        seen["frames"] = frames, row.get("num_frames")
        seen["fps"] = float(np.float32(spec.fps)), row.get("fps")
    if not isinstance(spec, SceneSpec):
        seen["subject"] = spec.subject.subject_id, row.get("subject_id")
        seen["gender"] = GENDERS.index(spec.subject.gender), row.get("gender")
    return next((f"{what} {a!r} there, {b!r} in its row" for what, (a, b) in seen.items() if a != b), None)
