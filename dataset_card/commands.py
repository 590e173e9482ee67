"""The end of every command that makes a release: its card, its pictures, and what to type next."""

from __future__ import annotations

from pathlib import Path

from thermvision.curation.console import human_bytes
from thermvision.curation.release import read_release
from thermvision.dataset_card.card import write_card
from thermvision.dataset_card.previews import write_previews


def finish(root: Path) -> list[str]:
    """Write card and previews of the release in ``root``; the lines a command prints last."""
    previews = write_previews(root)
    write_card(root)
    release = read_release(root)
    config = release.configs[0]
    size = human_bytes(sum(s.bytes for s in release.shards))
    return [
        f"{release.name} {release.version}: {len(release.identities)} subjects, {len(release.shards)} shards, {size}",
        f"contact sheet: {previews.contact_sheet}",
        *([f"overlay clip:  {previews.overlay}"] if previews.overlay else []),
        f'load it:       load_dataset("{root}", "{config}")    # from datasets import load_dataset',
        f"next: thermvision info {root}",
    ]
