"""What FLUX draws for a recipe: the words, noise and adapters of each still, and the files that its engine loads."""

from __future__ import annotations

import functools
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

from thermvision.annotations.errors import MissingDependencyError, UsageError
from thermvision.annotations.picture_file import SUFFIXES
from thermvision.curation.store import canonical_json, sha256_bytes, sha256_file
from thermvision.generation.engines.flux.presets import inert, options_of
from thermvision.generation.flux_tables import FluxTable
from thermvision.generation.plan import Draw
from thermvision.generation.prompts import FIELDS, attributes_of, noise_seed, prompt_of, unknown_fields
from thermvision.generation.recipe import Recipe
from thermvision.generation.specs import Drawing, StillSpec

RANDOM = "random"
WEIGHTS_VARIABLE = "THERMVISION_FLUX"


def resolved(table: FluxTable, folder: Path | None = None) -> FluxTable:
    """``table`` with the paths it names as absolute ones, relative to ``folder``, where its recipe lies.

    Weights and adapters are large and shared by recipes, so they may lie anywhere. Weights that are not named are where
    ``THERMVISION_FLUX`` in the environment says. Parts that are no file here are names within the weights' folder.
    """
    here = folder or Path()

    def absolute(name: str) -> str:
        return str((here / Path(name).expanduser()).resolve())

    changes: dict[str, Any] = {}
    if "weights" not in table.model_fields_set:
        changes["weights"] = os.environ.get(WEIGHTS_VARIABLE) or table.weights
    if (weights := changes.get("weights", table.weights)) != RANDOM:
        changes["weights"] = absolute(weights)
    for part in ("transformer", "clip_l", "t5", "vae", "tokenizers"):
        given = getattr(table, part)
        if given is not None and Path(absolute(given)).exists():
            changes[part] = absolute(given)
    changes["loras"] = tuple(lora.model_copy(update={"file": absolute(lora.file)}) for lora in table.loras)
    if (images := table.screening.training_images) is not None:
        changes["screening"] = table.screening.model_copy(update={"training_images": absolute(images)})
    return table.model_copy(update=changes)


def loading_of(recipe: Recipe, folder: Path | None = None) -> str:
    """What the engine of a recipe's stills is made with, as JSON: its table with absolute paths, and their size."""
    return loading_text(resolved(recipe.flux, folder), recipe.stills.size)


def loading_text(table: FluxTable, size: int) -> str:
    """See `loading_of`."""
    return canonical_json({"flux": table.model_dump(mode="json"), "size": size})


def drawings(recipe: Recipe, folder: Path | None = None) -> Draw | None:
    """Adds to each still spec of ``recipe``, which lies in ``folder``, what FLUX draws; None for another engine.

    Raises:
        UsageError: the size is none that FLUX draws.
        MissingDependencyError: an adapter is not there.
    """
    if recipe.stills.engine != "flux":
        return None
    table, loading = resolved(recipe.flux, folder), loading_of(recipe, folder)
    adapters = tuple((Path(a.file).name, _adapter_digest(a.file), a.strength, a.clip_strength) for a in table.loras)

    def draw(spec: StillSpec) -> StillSpec:
        attributes = attributes_of(spec.subject, spec.category, spec.item)
        positive, negative = prompt_of(attributes, table)
        screening = screening_of(table)
        attempts = table.screening.attempts if screening else 1
        drawing = Drawing(
            positive=positive,
            negative=negative,
            attributes=attributes.as_dict(),
            seed=noise_seed(spec.subject, table.first_seed),
            further_seeds=tuple(noise_seed(spec.subject, None, spec.item * 100 + n) for n in range(1, attempts)),
            options=options_of(table, spec.size, spec.size).changed,
            screening=screening,
            adapters=adapters,
            precision=table.precision,
            loading=loading,
        )
        return replace(spec, radiometric=False, parameters={}, drawing=drawing)

    return draw


def screening_of(table: FluxTable) -> dict[str, Any] | None:
    """What of screening decides which attempt is kept; None where it is off, as with random weights."""
    rules = table.screening
    if not rules.on or table.weights == RANDOM:
        return None
    found: dict[str, Any] = {
        "limits": {"min_score": rules.min_score, "alike": rules.alike},
        "variation": rules.variation,
    }
    if rules.training_images is not None:
        found["training_images"] = pictures_digest(rules.training_images)
    return found


def notes_of(table: FluxTable) -> list[str]:
    """What the table sets without effect, and what its preset cannot repeat of its tool."""
    from thermvision.generation.engines.flux.presets import preset_of

    found = inert(
        table.preset,
        true_cfg=table.true_cfg,
        negative=bool(table.negative),
        cfg_from_step=table.cfg_from_step,
        steps=table.steps,
    )
    notes = [f"no effect: {line}" for line in found]
    for name in unknown_fields(table):
        notes.append(f"{{{name}}} is no field and is drawn as it stands; fields: {', '.join(FIELDS)}")
    if seeds := preset_of(table.preset).seeds:
        notes.append(f"a seed here is another picture than there: {seeds}")
    if table.screening.on and table.weights == RANDOM:
        notes.append("screening is off: pictures of random weights are noise")
    return notes


def _adapter_digest(file: str) -> str:
    path = Path(file)
    if not path.is_file():
        raise MissingDependencyError(f"adapter {path} does not exist; put it there, or correct flux.loras")
    return sha256_file(path)


@functools.lru_cache(maxsize=8)
def pictures_digest(folder: str) -> str:
    """One digest of the pictures in a folder and below, by name and content.

    Raises:
        UsageError: it holds none.
    """
    root = Path(folder)
    files = sorted(p for p in root.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())
    if not files:
        raise UsageError(f"screening.training_images is {folder}, which holds no picture ({' '.join(SUFFIXES)})")
    return sha256_bytes(canonical_json([[str(p.relative_to(root)), sha256_file(p)] for p in files]).encode())
