"""The versions of a release, planned again from the recipes that lie in it, each on top of the ones before."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import zip_longest
from pathlib import Path
from typing import TypeVar

from thermvision.annotations.errors import DamagedInputError, UsageError
from thermvision.curation.release import MANIFEST, Manifest, version_order
from thermvision.curation.store import sha256_bytes
from thermvision.generation.build import Prepared, engines_of, plan_recipe, prepare
from thermvision.generation.known import Known
from thermvision.generation.plan import Plan, subject_id
from thermvision.generation.recipe import MAX_RECIPE_BYTES, Recipe, parse_recipe

_RECIPE = re.compile(r"recipes/(\d+\.\d+(?:\.\d+)?)\.toml")  # decisions and repairs lie elsewhere
Made = TypeVar("Made", Prepared, Plan)


@dataclass(frozen=True)
class Version:
    """A version that a recipe made: its number, the recipe and its text, how many items it was cut to."""

    version: str
    text: str
    recipe: Recipe
    limit: int | None


def versions_of(root: Path, manifest: Manifest) -> list[Version]:
    """The versions of the release in ``root`` that have a recipe, in their order; reviews and repairs have none.

    Raises:
        DamagedInputError: a recipe is not there or not what the manifest says.
        UsageError: a recipe is not of its version, or asks for what this version of the software does not know.
    """
    found = []
    for path in manifest.recipes:
        if match := _RECIPE.fullmatch(path):
            text = _text(root, path, manifest.recipes[path])
            recipe = parse_recipe(text, path)
            if recipe.version != match[1]:
                raise UsageError(f"{root / path} says version {recipe.version}; allowed: {match[1]}, as it is called")
            found.append(Version(match[1], text, recipe, manifest.limits.get(match[1])))
    return sorted(found, key=lambda v: version_order(v.version))


def _text(root: Path, path: str, digest: str) -> str:
    try:
        with (root / path).open("rb") as file:
            data = file.read(MAX_RECIPE_BYTES + 1)
        if len(data) <= MAX_RECIPE_BYTES and sha256_bytes(data) == digest:
            return data.decode()
        seen = "is not what its manifest says"
    except (OSError, UnicodeDecodeError) as error:
        seen = f"cannot be read ({error})"
    raise DamagedInputError(f"{root / path} {seen}; restore it, or type: thermvision verify {root}")


def replan(root: Path, manifest: Manifest, folder: Path | None = None) -> list[Prepared]:
    """What every version of the release in ``root`` was made of, in their order, ready to be made again.

    Nobody is asked who looks like whom: the manifest says who was taken. ``folder`` is where the files lie that the
    recipes name, such as motion and pictures.

    Raises:
        UsageError: it is an import, a recipe is missing, or the recipes do not make the identities of the manifest.
        MissingDependencyError: an engine lacks a package or a file.
        DamagedInputError: a recipe is not what the manifest says.
    """

    def ready(version: Version, known: Known) -> Prepared:
        return prepare(version.text, version.limit, folder, version.recipe, known)

    return _walk(root, manifest, ready)[0]


def registry(root: Path, manifest: Manifest, folder: Path | None = None) -> Known:
    """Who and what the release in ``root`` holds, for the plan of its next version; needs no weights.

    Raises:
        UsageError, DamagedInputError: as `replan`.
    """

    def planned(version: Version, known: Known) -> Plan:
        return plan_recipe(version.recipe, engines_of(version.recipe, folder), version.limit, folder, known)

    return replace(_walk(root, manifest, planned)[1], settled=None)


def _walk(root: Path, manifest: Manifest, make: Callable[[Version, Known], Made]) -> tuple[list[Made], Known]:
    """What ``make`` makes of each version and of what is known before it; and what is known after the last."""
    versions = versions_of(root, manifest)
    if manifest.source != "build" or not versions:
        seen = "it is an import" if manifest.source != "build" else f"no recipes/VERSION.toml is in its {MANIFEST}"
        raise UsageError(f"{root} cannot be planned again: {seen}; allowed: what thermvision build or extend has made")
    known = Known(passed_over=manifest.passed_over, settled=_numbers(root, manifest))
    found = []
    for version in versions:
        try:
            made = make(version, known)
        except UsageError as error:
            raise UsageError(f"version {version.version} of {root} cannot be planned again: {error}") from error
        known = after(known, made.plan if isinstance(made, Prepared) else made)
        found.append(made)
    if known.identities != manifest.identities:
        pairs = zip_longest(manifest.identities, known.identities)
        who = next((a or b).subject_id for a, b in pairs if a != b)
        raise UsageError(
            f"{root}: its recipes do not make its identities: {who} is another, in another split or in none of them;"
            f" restore {MANIFEST} and recipes/ as they were published"
        )
    return found, known


def _numbers(root: Path, manifest: Manifest) -> frozenset[int]:
    numbers = set()
    for identity in manifest.identities:
        text = identity.subject_id.removeprefix("P_")
        if not text.isdecimal() or subject_id(int(text)) != identity.subject_id:
            raise UsageError(
                f"{root} has the identity {identity.subject_id}, which no recipe makes; allowed: P_ and six digits"
            )
        numbers.add(int(text))
    return frozenset(numbers)


def after(known: Known, plan: Plan) -> Known:
    """What is known once ``plan`` was made on top of ``known``."""
    subjects = {**known.subjects, **{s.subject_id: s for s in plan.subjects}}
    return replace(
        known,
        identities=plan.identities,
        subjects={i.subject_id: subjects[i.subject_id] for i in plan.identities},
        items={**known.items, **{i.item_id: i for shard in plan.shards for i in shard.items}},
        passed_over=(*known.passed_over, *(line for line in plan.passed_over if line not in known.passed_over)),
    )
