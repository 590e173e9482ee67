"""Tables of a recipe: what each key may hold, checked as it is read. `generation.recipe` puts them together."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator

from thermvision.annotations.errors import UsageError
from thermvision.annotations.schema import CATEGORIES, SEQUENCES
from thermvision.generation.engines import ENGINES, PRODUCTS
from thermvision.generation.engines.phantom.parameters import findings_of
from thermvision.generation.preprocess import check_steps

MAX_FACES = 20  # in a scene
Count = Annotated[int, Field(ge=0, le=1_000_000)]
Frames = Annotated[int, Field(ge=0, le=100_000)]
Span = float | list[float] | None  # kept as written: the engine draws within it
Names = str | list[str] | None
EvenSize = Annotated[int, Field(ge=32, le=2048, multiple_of=2)]


class Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Subjects(Table):
    """How many synthetic identities; ``first`` is the number of the first one (female, male, female, … by turns).

    With ``pin_hairstyle`` a person has one hairstyle in all items; else hair is drawn for each like clothes.
    """

    female: Count = 0
    male: Count = 0
    first: Count = 0
    pin_hairstyle: bool = False


class _Drawn(Table):
    """Parameters of every item: a value, [lowest, highest] or a list of names, drawn anew for each clip and still."""

    @field_validator("*", mode="before")
    @classmethod
    def _allowed(cls, value: Any, info: ValidationInfo) -> Any:
        if found := findings_of({str(info.field_name): value}):
            raise ValueError(found[0].partition("; ")[2])
        return value


class Environment(_Drawn):
    """Air and room: ``ambient`` °C; ``fog`` and ``smoke`` as extinction (1 / m); warm things behind the subject."""

    ambient: Span = None
    fog: Span = None
    smoke: Span = None
    smoke_excess: Span = None
    heat_sources: int | list[int] | None = None


class Physiology(_Drawn):
    """Session offset (kelvin), cooling of the nose under stress (kelvin, seconds), breaths a minute."""

    session: Span = None
    stress: Span = None
    stress_seconds: Span = None
    breathing_rate: Span = None


class PoseTable(_Drawn):
    """``turn``: degrees by which the whole person turns away from the camera, 180 for a view from behind."""

    turn: Span = None


class CameraTable(_Drawn):
    """Sensor, lens and gain; ``palette`` is recorded for viewers and colours no frame."""

    preset: Names = None
    distance: Span = None
    zoom: Span = None
    emissivity: Span = None
    netd_mk: Span = None
    fixed_pattern_mk: Span = None
    mtf_px: Span = None
    agc: Names = None
    agc_limits: list[float] | None = None
    polarity: Names = None
    palette: Names = None


class CategoryCount(Table):
    """Stills of a category over all subjects, dealt by turns to those of ``gender``."""

    count: Count = 0
    gender: Literal["female", "male", "any"] = "any"


def known_engine(engine: str, product: str) -> str:
    """``engine``, when there is one of that name that makes ``product``; else a ValueError."""
    able = [name for name, products in PRODUCTS.items() if product in products]
    if engine not in able:
        what = f"makes no {product}" if engine in ENGINES else "does not exist"
        raise ValueError(f"engine {engine!r} {what}; allowed: {', '.join(able)}")
    return engine


class Stills(Table):
    """Stills: a number a category, or a table with ``count`` and ``gender``."""

    engine: str = "phantom"
    size: EvenSize = 512
    frontal_pose: CategoryCount = CategoryCount()
    facial_accessories: CategoryCount = CategoryCount()
    beard: CategoryCount = CategoryCount()
    mix: CategoryCount = CategoryCount()
    head_poses: CategoryCount = CategoryCount()

    @field_validator("engine")
    @classmethod
    def _known(cls, engine: str) -> str:
        return known_engine(engine, "stills")

    @field_validator(*CATEGORIES, mode="before")
    @classmethod
    def _from_number(cls, value: Any) -> Any:
        if isinstance(value, int) and not isinstance(value, bool):
            return {"count": value}
        if not isinstance(value, dict):
            raise ValueError("allowed: a whole number, or a table such as { count = 5, gender = 'male' }")
        return value


class Clips(Table):
    """Clips: frames of each sequence, for every subject.

    ``motion`` names a file of real head motion, below the recipe's folder, that drives the clips in place of the
    seed: one for both sequences, or a table such as { head_pose = "talk.npz" }. ``accessories`` is the share of clips
    whose subject wears glasses, a mask or headwear, drawn for each clip and never by identity.

    The engine liveportrait moves a picture of each subject by ``driving``, a video or motion template below the
    recipe's folder: one for both sequences, or a table. ``source`` is "stills" (each subject's first frontal still, by
    the engine of the stills) or a folder of pictures; ``weights`` the folder of the networks, or "random".
    """

    engine: str = "phantom"
    size: EvenSize = 512
    fps: Annotated[float, Field(gt=0, le=240, strict=False)] = 30.0
    head_pose: Frames = 0
    expression: Frames = 0
    accessories: Annotated[float, Field(ge=0, le=1, strict=False)] = 0.15
    motion: dict[Literal["head_pose", "expression"], str] = {}
    driving: dict[Literal["head_pose", "expression"], str] = {}
    source: Annotated[str, Field(min_length=1)] | None = None
    weights: Annotated[str, Field(min_length=1)] | None = None

    @field_validator("engine")
    @classmethod
    def _known(cls, engine: str) -> str:
        return known_engine(engine, "clips")

    @field_validator("motion", "driving", mode="before")
    @classmethod
    def _for_both(cls, value: Any) -> Any:
        return dict.fromkeys(SEQUENCES, value) if isinstance(value, str) else value


class Scenes(Table):
    """Stills with several faces: how many, faces in each, how far away in metres, the share of empty rooms.

    ``size`` is the side of a square frame; ``width`` and ``height`` make another shape.
    """

    engine: str = "phantom"
    count: Count = 0
    faces: Annotated[tuple[int, int], Field(strict=False)] = (1, 6)
    distance: Annotated[tuple[float, float], Field(strict=False)] = (1.0, 6.0)
    empty: Annotated[float, Field(ge=0, le=1, strict=False)] = 0.1
    size: EvenSize = 512
    width: EvenSize | None = None
    height: EvenSize | None = None

    @field_validator("engine")
    @classmethod
    def _known(cls, engine: str) -> str:
        return known_engine(engine, "scenes")

    @field_validator("faces")
    @classmethod
    def _few(cls, faces: tuple[int, int]) -> tuple[int, int]:
        if not 1 <= faces[0] <= faces[1] <= MAX_FACES:
            raise ValueError(f"allowed: [fewest, most] with 1 <= fewest <= most <= {MAX_FACES}")
        return faces

    @field_validator("distance")
    @classmethod
    def _near(cls, distance: tuple[float, float]) -> tuple[float, float]:
        if not 0.8 <= distance[0] <= distance[1] <= 8:
            raise ValueError("allowed: [nearest, farthest] in metres with 0.8 <= nearest <= farthest <= 8")
        return distance

    @property
    def shape(self) -> tuple[int, int]:
        """Width and height of a frame."""
        return self.width or self.size, self.height or self.size


class LivePortraitTable(Table):
    """How the engine liveportrait moves a picture; see ``docs/liveportrait.md``."""

    relative: bool = True
    region: Literal["all", "exp", "pose", "lip", "eyes"] = "all"
    option: Literal["expression-friendly", "pose-friendly"] = "expression-friendly"
    multiplier: Annotated[float, Field(ge=0, le=10, strict=False, allow_inf_nan=False)] = 1.0
    stitching: bool = True
    eye_retargeting: bool = False
    lip_retargeting: bool = False
    normalize_lip: bool = False
    lip_normalize_threshold: Annotated[float, Field(ge=0, le=1, strict=False)] = 0.03
    anchor: Literal["first", "best"] | Annotated[int, Field(ge=0, le=100_000)] = "first"
    preprocess: tuple[str, ...] = Field(default=(), strict=False)
    paste_back: bool = False
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    device: Annotated[str, Field(pattern=r"^[a-z]+(:\d+)?$")] = "auto"

    @field_validator("preprocess")
    @classmethod
    def _steps(cls, steps: tuple[str, ...]) -> tuple[str, ...]:
        try:
            return check_steps(steps)
        except UsageError as error:
            raise ValueError(str(error)) from error

    @property
    def options(self) -> dict[str, Any]:
        """Fields of `engines.liveportrait.driving.DrivingOptions` that are not at their defaults."""
        others = {"anchor", "preprocess", "paste_back", "precision", "device"}
        return self.model_dump(exclude=others, exclude_defaults=True)


class RadiometricRows(Table):
    """Which items get 16-bit rows: all stills or none; every k-th frame of the clips, 0 for none."""

    stills: bool = True
    clip_every: Frames = 0


class ShardSizes(Table):
    """Rows a shard at most."""

    clips: Annotated[int, Field(ge=1, le=64)] = 8
    stills: Annotated[int, Field(ge=1, le=10_000)] = 100
