"""What each version brought, newest first: the changelog of a card."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from thermvision.curation.differences.history import versions_of
from thermvision.curation.places import open_place
from thermvision.curation.release import Manifest
from thermvision.curation.reviews.decisions import read_decisions

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
    link = f"[{path}]({path})"
    if not path.startswith(_DECISIONS):
        return link
    decisions, _ = read_decisions(root / path)
    actions = Counter(d.action for d in decisions)
    return f"{link}: {', '.join(f'{n:,} {action}' for action, n in sorted(actions.items()))}"


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
