"""Pictures of a release: a contact sheet, and a clip with its annotations drawn over it."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

from thermvision.curation.release import read_release
from thermvision.curation.store import atomic_write
from thermvision.dataset_card import samples
from thermvision.dataset_card.overlay import overlay_clip
from thermvision.dataset_card.sheet import contact_sheet

FOLDER, CONTACT_SHEET, OVERLAY = "preview", "contact_sheet.png", "overlay.mp4"


@dataclass(frozen=True)
class Previews:
    """Files that were written; ``overlay`` is None for a release without clips."""

    contact_sheet: Path
    overlay: Path | None


def write_previews(release_dir: Path) -> Previews:
    """Write ``preview/contact_sheet.png`` and ``preview/overlay.mp4`` of a release: equal releases, equal bytes.

    Raises:
        UsageError: there is no release.
        DamagedInputError: an item that was chosen does not decode.
        OutputError: the files cannot be written.
    """
    manifest = read_release(release_dir)
    folder = release_dir / FOLDER
    page = io.BytesIO()
    contact_sheet(release_dir, manifest).save(page, "PNG", compress_level=9)
    atomic_write(folder / CONTACT_SHEET, page.getvalue())
    clips = samples.clips(release_dir, manifest, subjects=2)
    if not clips:
        (folder / OVERLAY).unlink(missing_ok=True)  # of an earlier version, which had clips
        return Previews(folder / CONTACT_SHEET, None)
    atomic_write(folder / OVERLAY, overlay_clip(clips))
    return Previews(folder / CONTACT_SHEET, folder / OVERLAY)
