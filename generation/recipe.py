"""Recipes: what a release shall contain, as TOML.

name = "My faces"
version = "1.0"
seed = 7

[subjects]
female = 2
male = 2

[stills]
engine = "phantom"
frontal_pose = 5
beard = { count = 5, gender = "male" }

[clips]
head_pose = 60        # frames a clip; 0: no such clip
expression = 60
"""

from __future__ import annotations

import difflib
import tomllib
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from thermvision.annotations.errors import DamagedInputError, UsageError
from thermvision.annotations.schema import CATEGORIES, SEQUENCES
from thermvision.generation.engines import ENGINES

MAX_RECIPE_BYTES = 1 << 20
Count = Annotated[int, Field(ge=0, le=1_000_000)]
Frames = Annotated[int, Field(ge=0, le=100_000)]
EvenSize = Annotated[int, Field(ge=32, le=2048, multiple_of=2)]


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Subjects(_Table):
    """How many synthetic identities; ``first`` is the number of the first one (female, male, female, … by turns)."""

    female: Count = 0
    male: Count = 0
    first: Count = 0


class CategoryCount(_Table):
    """Stills of a category over all subjects, dealt by turns to those of ``gender``."""

    count: Count = 0
    gender: Literal["female", "male", "any"] = "any"


class _Product(_Table):
    engine: str = "phantom"
    size: EvenSize = 512

    @field_validator("engine")
    @classmethod
    def _known(cls, engine: str) -> str:
        if engine not in ENGINES:
            raise ValueError(f"engine {engine!r} does not exist; allowed: {', '.join(ENGINES)}")
        return engine


class Stills(_Product):
    """Stills: a number a category, or a table with ``count`` and ``gender``."""

    frontal_pose: CategoryCount = CategoryCount()
    facial_accessories: CategoryCount = CategoryCount()
    beard: CategoryCount = CategoryCount()
    mix: CategoryCount = CategoryCount()
    head_poses: CategoryCount = CategoryCount()

    @field_validator(*CATEGORIES, mode="before")
    @classmethod
    def _from_number(cls, value: Any) -> Any:
        if isinstance(value, int) and not isinstance(value, bool):
            return {"count": value}
        if not isinstance(value, dict):
            raise ValueError("allowed: a whole number, or a table such as { count = 5, gender = 'male' }")
        return value


class Clips(_Product):
    """Clips: frames of each sequence, for every subject."""

    fps: Annotated[float, Field(gt=0, le=240, strict=False)] = 30.0
    head_pose: Frames = 0
    expression: Frames = 0


class RadiometricRows(_Table):
    """Which items get 16-bit rows: all stills or none; every k-th frame of the clips, 0 for none."""

    stills: bool = True
    clip_every: Frames = 0


class ShardSizes(_Table):
    """Rows a shard at most."""

    clips: Annotated[int, Field(ge=1, le=64)] = 8
    stills: Annotated[int, Field(ge=1, le=10_000)] = 100


class Recipe(_Table):
    """A whole recipe. See the module for an example."""

    name: Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[^\n\r]+$")]
    version: Annotated[str, Field(pattern=r"^\d+\.\d+(\.\d+)?$")]
    seed: Annotated[int, Field(ge=0, lt=2**63)]
    subjects: Subjects
    stills: Stills = Stills()
    clips: Clips = Clips()
    radiometric: RadiometricRows = RadiometricRows()
    shards: ShardSizes = ShardSizes()


def bundled_recipes() -> list[str]:
    """Names of the recipes that come with the package."""
    folder = resources.files("thermvision.generation") / "recipes"
    return sorted(p.name.removesuffix(".toml") for p in folder.iterdir() if p.name.endswith(".toml"))


def read_recipe(source: str) -> tuple[Recipe, str]:
    """The recipe in a TOML file, or the bundled one of that name, with its text.

    >>> read_recipe("paper")[0].clips.head_pose
    354

    Raises:
        UsageError: it is not there, or something in it is not allowed; all findings are in the message.
        DamagedInputError: it is no TOML.
    """
    if source in bundled_recipes():
        text = (resources.files("thermvision.generation") / "recipes" / f"{source}.toml").read_text(encoding="utf-8")
        return parse_recipe(text, source), text
    path = Path(source)
    if not path.is_file():
        raise UsageError(f"recipe {source} does not exist; allowed: a .toml file, or {' or '.join(bundled_recipes())}")
    if path.stat().st_size > MAX_RECIPE_BYTES:
        raise DamagedInputError(f"recipe {source} has {path.stat().st_size} bytes; allowed: {MAX_RECIPE_BYTES}")
    try:
        text = path.read_text(encoding="utf-8")
    except (UnicodeDecodeError, OSError) as error:
        raise DamagedInputError(f"recipe {source} is not readable as UTF-8 ({error}); save it as UTF-8") from error
    return parse_recipe(text, source), text


def parse_recipe(text: str, name: str = "recipe") -> Recipe:
    """Check a recipe's text; see `read_recipe`."""
    try:
        values = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise DamagedInputError(f"recipe {name} is no TOML: {error}; mend that line") from error
    try:
        recipe = Recipe.model_validate(values)
    except ValidationError as error:
        findings = "; ".join(_explain(item) for item in error.errors(include_url=False))
        raise UsageError(f"recipe {name}: {findings}") from error
    _check_content(recipe, name)
    return recipe


def _check_content(recipe: Recipe, name: str) -> None:
    subjects = recipe.subjects
    if not subjects.female + subjects.male:
        raise UsageError(f"recipe {name}: subjects.female and subjects.male are 0; allowed: at least one subject")
    clips = [s for s in SEQUENCES if getattr(recipe.clips, s)]
    stills = [c for c in CATEGORIES if getattr(recipe.stills, c).count]
    if not clips and not stills:
        raise UsageError(
            f"recipe {name} asks for nothing; set clips.{SEQUENCES[0]} or stills.{CATEGORIES[0]} to 1 or more"
        )
    for category in stills:
        gender = getattr(recipe.stills, category).gender
        if gender != "any" and not getattr(subjects, gender):
            raise UsageError(f"recipe {name}: stills.{category} is for {gender} subjects and subjects.{gender} is 0")


def _explain(item: Any) -> str:
    where = ".".join(str(p) for p in item["loc"])
    if item["type"] != "extra_forbidden":
        return f"{where} is {item['input']!r}: {item['msg'].removeprefix('Value error, ').lower()}"
    table: Any = Recipe
    for part in item["loc"][:-1]:
        table = table.model_fields[str(part)].annotation
    key, allowed = str(item["loc"][-1]), sorted(table.model_fields)
    close = difflib.get_close_matches(key, allowed, 1)
    return f"{where} is no key; allowed: {', '.join(allowed)}" + (f"; did you mean {close[0]}?" if close else "")
