"""What rendering an item again needs and its provenance leaves out: where files lie, and where the networks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from thermvision.annotations.errors import DamagedInputError, ThermVisionError, UsageError
from thermvision.curation.places import Place
from thermvision.curation.store import sha256_file
from thermvision.generation.animations import weights_of
from thermvision.generation.drawings import RANDOM, loading_text, resolved
from thermvision.generation.flux_tables import FluxTable
from thermvision.generation.known import ItemSpec
from thermvision.generation.recipe import Recipe, parse_recipe
from thermvision.generation.specs import ClipSpec, InputFile, StillSpec

MAX_FILES = 100_000  # that are hashed to find those a recipe named


@dataclass(frozen=True)
class Supplies:
    """What `supplied` adds to a spec.

    Attributes:
        files: SHA-256 to path.
        weights: folder of LivePortrait's networks, or "random"; "" for the usual one.
        loading: what the engine of FLUX is made with, as JSON; "" for the usual.
    """

    files: Mapping[str, str] = field(default_factory=dict)
    weights: str = ""
    loading: str = ""


def supplies_of(
    place: Place, version: str, files: Path | None = None, weights: str = "", flux_weights: str = ""
) -> Supplies:
    """What the items that ``version`` of the release added need: as its recipe says, if it has one, and as given.

    Args:
        place: the release.
        version: which of its versions.
        files: folder that holds what the recipe names, found by content.
        weights, flux_weights: folders of networks, or "random"; they count before the recipe.

    Raises:
        UsageError: ``files`` is no folder, or holds too many files.
    """
    table, size = FluxTable(), 512
    recipe = _recipe(place, version)
    if recipe is not None:
        table, size = recipe.flux, recipe.stills.size
        weights = weights or weights_of(recipe, files)
    if flux_weights:
        given = flux_weights if flux_weights == RANDOM else str(Path(flux_weights).expanduser().resolve())
        table = table.model_copy(update={"weights": given})
    found = _digests(files) if files is not None else {}
    return Supplies(found, weights, loading_text(resolved(table, files), size))


def _recipe(place: Place, version: str) -> Recipe | None:
    path = f"recipes/{version}.toml"
    if path not in place.release.recipes:
        return None
    try:
        return parse_recipe(place.fetch(path).read_text(encoding="utf-8"), path)
    except (ThermVisionError, ValueError, OSError):  # provenance alone may do
        return None


def _digests(folder: Path) -> dict[str, str]:
    if not folder.is_dir():
        raise UsageError(f"--files {folder} is no folder; give the one that holds what the recipe names")
    found: dict[str, str] = {}
    for number, path in enumerate(p for p in sorted(folder.rglob("*")) if p.is_file()):
        if number == MAX_FILES:
            raise UsageError(f"--files {folder} holds more than {MAX_FILES} files; give the folder of the recipe's own")
        found.setdefault(sha256_file(path), str(path.resolve()))
    return found


def supplied(spec: ItemSpec, supplies: Supplies) -> ItemSpec:
    """``spec`` as its engine takes it.

    Raises:
        DamagedInputError: a file that it names is not there.
    """
    if isinstance(spec, StillSpec) and spec.drawing is not None:
        return replace(spec, drawing=replace(spec.drawing, loading=supplies.loading))
    if not isinstance(spec, ClipSpec) or spec.animation is None:
        return spec

    def found(file: InputFile) -> InputFile:
        if file.sha256 not in supplies.files:
            raise DamagedInputError(
                f"{file.name} (SHA-256 {file.sha256[:12]}…) is needed; give the folder that holds it: --files FOLDER"
            )
        return replace(file, path=supplies.files[file.sha256])

    source = spec.animation.source
    still = supplied(source, supplies) if isinstance(source, StillSpec) else found(source)
    assert isinstance(still, StillSpec | InputFile)
    return replace(
        spec,
        animation=replace(
            spec.animation, source=still, driving=found(spec.animation.driving), weights=supplies.weights
        ),
    )
