"""Whether one version may follow another at the place where both are published: append-only, one lineage, no gaps."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import PurePosixPath
from typing import Literal

from pydantic import ValidationError

from thermvision.annotations.errors import RemoteError
from thermvision.curation.contents import READ_BY_LOADERS
from thermvision.curation.pack import Shard
from thermvision.curation.release import (
    FORMAT,
    MANIFEST,
    README,
    Manifest,
    describe_validation,
    other_schema,
    version_order,
)

MAX_MANIFEST_BYTES = 64 * 2**20  # a million shards' worth; whoever sends more is not one of us
# what a new repository may hold before its first version: made by the host itself, and nothing that loading reads
_HOUSEKEEPING = (".gitattributes", ".gitignore", README, "LICENSE", "LICENSE.md", "LICENSE.txt")
_SHOWN = 3


@dataclass(frozen=True)
class Step:
    """From the version that is published to ours.

    Attributes:
        kind: "first" in an empty place, "next" on top of the version there, "same": it is there already.
        version: ours.
        parent: the version there that ours comes on top of; None for the first.
        kept: shards that are there already, byte for byte.
        added: shards that are new.
        removed: paths of the version there that ours has no more: superseded shards, pictures that are gone.
    """

    kind: Literal["first", "next", "same"]
    version: str
    parent: str | None
    kept: tuple[Shard, ...]
    added: tuple[Shard, ...]
    removed: tuple[str, ...]


def tag_of(version: str) -> str:
    """Name of the tag of a version.

    >>> tag_of("1.0")
    'v1.0'
    """
    return f"v{version}"


def parse_manifest(data: bytes, where: str) -> Manifest:
    """The manifest that somebody else published ``where``; nothing in it is trusted.

    Raises:
        RemoteError: it is too large, no JSON, of a newer schema, or does not say what a manifest says.
    """
    if len(data) > MAX_MANIFEST_BYTES:
        raise RemoteError(f"{MANIFEST} of {where} has more than {MAX_MANIFEST_BYTES} bytes; it is not read")
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise RemoteError(
            f"{MANIFEST} of {where} is no JSON ({error}); publish to another place, or mend it"
        ) from error
    if seen := other_schema(value):
        raise RemoteError(
            f"{MANIFEST} of {where} has the schema {seen!r}; this program knows {FORMAT!r}; type: pip install"
            " --upgrade thermvision-db"
        )
    try:
        return Manifest.model_validate(value)
    except ValidationError as error:
        newer = any(e["type"] == "extra_forbidden" for e in error.errors())
        hint = "it may come from a newer program: pip install --upgrade thermvision-db" if newer else "mend it there"
        raise RemoteError(
            f"{MANIFEST} of {where} is no manifest this program can read: {describe_validation(error)[:500]}; {hint}"
        ) from error


def paths_of(manifest: Manifest) -> set[str]:
    """Every path that a version lists, and its manifest."""
    return {MANIFEST, *(s.path for s in manifest.shards), *manifest.recipes, *manifest.files}


def step(ours: Manifest, theirs: Manifest | None, foreign: Sequence[str] = ()) -> Step:
    """How ``ours`` goes on top of ``theirs``, the version that is published, or None.

    Args:
        ours: a whole and sealed release.
        theirs: the newest version there.
        foreign: paths there that ``theirs`` does not list.

    Raises:
        RemoteError: it does not: the message says why and how to proceed.
    """
    if theirs is None:
        _empty(foreign)
        if ours.parent is not None:
            raise RemoteError(
                f"{ours.version} goes on top of {ours.parent}, and nothing is published there yet; publish"
                f" {ours.parent} first"
            )
        return Step("first", ours.version, None, (), ours.shards, ())
    if ours != theirs:
        _in_line(ours, theirs)
        _one_lineage(ours, theirs)
    _nothing_in_the_way(ours, theirs, foreign)
    if ours == theirs:
        return Step("same", ours.version, ours.parent, ours.shards, (), ())
    published = {s.path: s for s in theirs.shards}
    return Step(
        "next",
        ours.version,
        theirs.version,
        kept=tuple(s for s in ours.shards if s.path in published),
        added=tuple(s for s in ours.shards if s.path not in published),
        removed=tuple(sorted(paths_of(theirs) - paths_of(ours))),
    )


def _in_line(ours: Manifest, theirs: Manifest) -> None:
    if version_order(ours.version) == version_order(theirs.version):
        raise RemoteError(
            f"{theirs.version} is published already, with other content ({_difference(ours, theirs)}); a published"
            " version does not change: make the next one with thermvision extend or apply"
        )
    if version_order(ours.version) < version_order(theirs.version):
        raise RemoteError(
            f"{theirs.version} is published, which is newer than {ours.version}; make the next version on top of"
            f" {theirs.version}"
        )
    if ours.parent is None or version_order(ours.parent) != version_order(theirs.version):
        on_top = f"on top of {ours.parent}" if ours.parent else "on top of nothing"
        advice = (
            f"publish {ours.parent} first"
            if ours.parent and version_order(ours.parent) > version_order(theirs.version)
            else f"make it anew on top of {theirs.version}"
        )
        raise RemoteError(f"{theirs.version} is published, and {ours.version} was made {on_top}; {advice}")


def _one_lineage(ours: Manifest, theirs: Manifest) -> None:
    for n, (before, now) in enumerate(zip_longest(theirs.identities, ours.identities[: len(theirs.identities)])):
        if before != now:
            seen = "nobody" if now is None else f"{now.subject_id} ({now.gender}, {now.split})"
            raise RemoteError(
                f"identity {n} is {before.subject_id} ({before.gender}, {before.split}) in the published"
                f" {theirs.version} and {seen} in {ours.version}; identities are only ever appended: make"
                f" {ours.version} anew with thermvision extend"
            )
    if ours.source != theirs.source:
        raise _stranger(ours, theirs, f"one is made by {theirs.source}, the other by {ours.source}")
    for path, digest in theirs.recipes.items():
        if ours.recipes.get(path) != digest:
            raise _stranger(ours, theirs, f"recipe {path} is {'another' if path in ours.recipes else 'missing'}")
    published = {s.path: s for s in theirs.shards}
    for shard in ours.shards:
        if (before := published.get(shard.path)) is not None and before.sha256 != shard.sha256:
            raise RemoteError(
                f"shard {shard.path} of {ours.version} is not the one published under this name in {theirs.version}"
                " (another SHA-256); published shards never change: was it put there from another release?"
                " Make the version anew on top of the published one"
            )
    kept = {s.path for s in ours.shards} | {path for s in ours.shards for path in s.replaces}
    if published and not kept & published.keys():
        raise _stranger(ours, theirs, "they share no shard")


def _stranger(ours: Manifest, theirs: Manifest, why: str) -> RemoteError:
    return RemoteError(
        f"{theirs.name!r} {theirs.version} is published there and {ours.name!r} {ours.version} is of another lineage"
        f" ({why}); publish to another place, or extend the published one"
    )


def _empty(foreign: Sequence[str]) -> None:
    if strangers := [p for p in foreign if p not in _HOUSEKEEPING]:
        raise RemoteError(
            f"the place is not empty and holds no {MANIFEST}: {_some(strangers)}; allowed: an empty place, or one that"
            " holds an earlier version"
        )


def _nothing_in_the_way(ours: Manifest, theirs: Manifest, foreign: Sequence[str]) -> None:
    mine = paths_of(ours)
    if harmful := [p for p in foreign if _harmful(p) or (p in mine and p not in _HOUSEKEEPING)]:
        raise RemoteError(
            f"files are in the way that {theirs.version} does not list: {_some(harmful)}; they would be loaded as rows,"
            " break loading or be overwritten: remove them there, then publish again"
        )


def _harmful(path: str) -> bool:
    return path.startswith("data/") or path in READ_BY_LOADERS or ("/" not in path and path.endswith(".py"))


def _difference(ours: Manifest, theirs: Manifest) -> str:
    """What differs between two manifests of one version, the heaviest first."""
    before, now = ({s.path: s.sha256 for s in m.shards} for m in (theirs, ours))
    if before != now:
        return f"shard {min(p for p, _ in before.items() ^ now.items())}"
    names = [name for name in Manifest.model_fields if getattr(ours, name) != getattr(theirs, name)]
    if "files" in names:
        return f"file {min(p for p, _ in ours.files.items() ^ theirs.files.items())}"
    return f"{', '.join(names)} in {MANIFEST}"


def _some(paths: Sequence[str]) -> str:
    shown = [str(PurePosixPath(p))[:100] for p in sorted(paths)[:_SHOWN]]
    return ", ".join(shown) + (f" and {len(paths) - _SHOWN} more" if len(paths) > _SHOWN else "")
