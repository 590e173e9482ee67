"""What each version brought, newest first: the changelog of a card."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any
from urllib.parse import quote

from thermvision.curation.differences.history import versions_of
from thermvision.curation.places import open_place
from thermvision.curation.release import Manifest
from thermvision.curation.reviews.decisions import read_decisions
from thermvision.dataset_card.quality import cell

_DECISIONS = "decisions/"


def changes(root: Path, manifest: Manifest) -> list[dict[str, str]]:
    """A row for each version that has a part in the release, newest first; none where there is one version only.

    Raises:
        DamagedInputError: the footer of a shard or a table of decisions does not read.
    """
    if manifest.parent is None:
        return []
    return [_row(root, version) for version in reversed(versions_of(open_place(str(root))))]


def _row(root: Path, version: dict[str, Any]) -> dict[str, str]:
    people = version["identities"]
    replaced = version["supersedes"]
    return {
        "version": version["version"],
        "identities": f"{people:+,}" if people else "–",
        "shards": f"{version['shards']:,} new" + (f", {replaced:,} replaced" if replaced else ""),
        "frames": f"{version['frames']:,}",
        "bytes": version["bytes"],
        "made_from": ", ".join(_made_from(root, path) for path in version["made_from"]) or "–",
    }


def _made_from(root: Path, path: str) -> str:
    if not path.startswith(_DECISIONS):
        return link(path)
    decisions, _ = read_decisions(root / path)
    actions = Counter(d.action for d in decisions)
    return f"{link(path)}: {', '.join(f'{n:,} {action}' for action, n in sorted(actions.items()))}"


def link(path: str) -> str:
    """A link to a file of the release, whatever its name.

    >>> link("recipes/1.0.toml"), link("a](b).toml")
    ('[recipes/1.0.toml](recipes/1.0.toml)', '[a\\\\](b).toml](a%5D%28b%29.toml)')
    """
    return f"[{cell(path)}]({quote(path)})"


def history_line(manifest: Manifest) -> str:
    """Where a version comes from, in a sentence.

    >>> from thermvision.curation.release import Manifest
    >>> one = Manifest(name="A", version="1.0", source="build", licences={}, identities=(), shards=(), plan="0" * 64)
    >>> history_line(one)
    'Version 1.0 is the first.'
    """
    if manifest.parent is None:
        return f"Version {manifest.version} is the first."
    return (
        f"Version {manifest.version} was made from {manifest.parent}. Published shards are never edited: what changed"
        " lies in shards of a new name, and identities keep their numbers and splits."
    )
