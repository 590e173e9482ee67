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
accessories = 0.15    # share of clips with glasses, a mask or headwear

[environment]
ambient = [18, 30]    # °C: a value, or a range that each item draws from

[camera]
preset = ["vga-17", "qvga-12"]

[scenes]
count = 20
faces = [1, 6]
distance = [1, 6]     # metres
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, ValidationError

from thermvision.annotations.errors import DamagedInputError, UsageError
from thermvision.annotations.schema import CATEGORIES, SEQUENCES
from thermvision.curation.release import Version
from thermvision.generation.flux_tables import FluxTable, LoraTable
from thermvision.generation.recipe_tables import (
    CameraTable,
    Clips,
    Environment,
    LivePortraitTable,
    Physiology,
    PoseTable,
    RadiometricRows,
    Scenes,
    ShardSizes,
    Stills,
    Subjects,
    Table,
)

MAX_RECIPE_BYTES = 1 << 20


class Recipe(Table):
    """A whole recipe. See the module for an example."""

    name: Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[^\n\r]+$")]
    version: Version
    seed: Annotated[int, Field(ge=0, lt=2**63)]
    subjects: Subjects = Subjects()
    stills: Stills = Stills()
    clips: Clips = Clips()
    liveportrait: LivePortraitTable = LivePortraitTable()
    flux: FluxTable = FluxTable()
    lora: LoraTable = LoraTable()
    scenes: Scenes = Scenes()
    radiometric: RadiometricRows = RadiometricRows()
    shards: ShardSizes = ShardSizes()
    environment: Environment = Environment()
    physiology: Physiology = Physiology()
    camera: CameraTable = CameraTable()
    pose: PoseTable = PoseTable()

    @property
    def parameters(self) -> dict[str, Any]:
        """What the recipe gives for every clip and still: `ClipSpec.parameters`, ranges not drawn yet."""
        tables = (self.environment, self.physiology, self.camera, self.pose)
        given = {name: value for table in tables for name, value in table if value is not None}
        return given | ({"pin_hairstyle": True} if self.subjects.pin_hairstyle else {})


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


def check_release(recipe: Recipe, name: str = "recipe") -> None:
    """Whether a release can be made of ``recipe``: one that only draws or trains with FLUX need name nobody.

    Raises:
        UsageError: it has no subjects, or asks for no item.
    """
    subjects = recipe.subjects
    if not subjects.female + subjects.male:
        raise UsageError(f"recipe {name}: subjects.female and subjects.male are 0; allowed: at least one subject")
    if not any(_asked(recipe)) and not recipe.scenes.count:
        raise UsageError(
            f"recipe {name} asks for nothing; set clips.{SEQUENCES[0]}, stills.{CATEGORIES[0]} or scenes.count to 1"
            " or more"
        )


def _asked(recipe: Recipe) -> tuple[list[str], list[str]]:
    clips = [s for s in SEQUENCES if getattr(recipe.clips, s)]
    return clips, [c for c in CATEGORIES if getattr(recipe.stills, c).count]


def _check_content(recipe: Recipe, name: str) -> None:
    subjects, (clips, stills) = recipe.subjects, _asked(recipe)
    if not recipe.model_fields_set & {"flux", "lora"} or any((clips, stills, recipe.scenes.count)):
        check_release(recipe, name)
    if recipe.stills.engine == "flux" and recipe.stills.size % 16:
        raise UsageError(f"recipe {name}: stills.size is {recipe.stills.size}; flux draws multiples of 16")
    if recipe.stills.engine == "flux" and "stills" in recipe.radiometric.model_fields_set and recipe.radiometric.stills:
        raise UsageError(
            f"recipe {name}: radiometric.stills is true; the stills of flux hold no temperatures: set it to false"
        )
    _check_animation(recipe, clips, name)
    for category in stills:
        gender = getattr(recipe.stills, category).gender
        if gender != "any" and not getattr(subjects, gender):
            raise UsageError(f"recipe {name}: stills.{category} is for {gender} subjects and subjects.{gender} is 0")


def _check_animation(recipe: Recipe, sequences: Sequence[str], name: str) -> None:
    clips = recipe.clips
    if clips.engine != "liveportrait":
        given = [key for key in ("driving", "source", "weights") if getattr(clips, key)]
        if given or "liveportrait" in recipe.model_fields_set:
            what = f"clips.{given[0]}" if given else "the table liveportrait"
            raise UsageError(
                f"recipe {name}: {what} goes with clips.engine = 'liveportrait', here it is {clips.engine!r}"
            )
        return
    if clips.motion:
        raise UsageError(f"recipe {name}: clips.motion is for phantom; liveportrait takes clips.driving")
    if recipe.radiometric.clip_every:
        raise UsageError(
            f"recipe {name}: radiometric.clip_every is {recipe.radiometric.clip_every}; liveportrait's frames hold no"
            " temperatures: set it to 0"
        )
    if lacking := [s for s in sequences if s not in clips.driving]:
        raise UsageError(
            f"recipe {name}: clips.driving names nothing for {lacking[0]}; give a video or motion template"
        )


def _explain(item: Any) -> str:
    where = ".".join(str(p) for p in item["loc"])
    if where == "version":
        return f'version is {str(item["input"])[:40]!r}; allowed: two or three plain numbers, such as "1.1"'
    if item["type"] != "extra_forbidden":
        return f"{where} is {item['input']!r}: {item['msg'].removeprefix('Value error, ').lower()}"
    table: Any = Recipe
    for part in item["loc"][:-1]:
        table = table.model_fields[str(part)].annotation
    key, allowed = str(item["loc"][-1]), sorted(table.model_fields)
    close = difflib.get_close_matches(key, allowed, 1)
    return f"{where} is no key; allowed: {', '.join(allowed)}" + (f"; did you mean {close[0]}?" if close else "")
