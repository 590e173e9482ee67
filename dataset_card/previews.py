"""Pictures of a release: a strip, moving clips, a contact sheet, clips with their annotations, plots."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

from thermvision.curation.release import Manifest, read_release
from thermvision.curation.store import atomic_write
from thermvision.dataset_card import samples
from thermvision.dataset_card.overlay import overlay_clip
from thermvision.dataset_card.plots import write_plots
from thermvision.dataset_card.reports import read_reports
from thermvision.dataset_card.sheet import contact_sheet
from thermvision.dataset_card.strip import QUALITY, moving, strip

FOLDER, CONTACT_SHEET, OVERLAY = "preview", "contact_sheet.jpg", "overlay.mp4"
STRIP, MOVING = "strip.jpg", "clips.webp"
_EARLIER = ("contact_sheet.png",)  # names of releases made before


@dataclass(frozen=True)
class Previews:
    """Files that were written; ``overlay`` is None for a release without clips."""

    contact_sheet: Path
    overlay: Path | None


def write_previews(release_dir: Path) -> Previews:
    """Write the pictures of a release into its folder ``preview``: equal releases, equal bytes.

    These are ``strip.jpg``, ``clips.webp``, ``contact_sheet.jpg``, ``overlay.mp4`` and the plots of `plots`. What a
    release cannot have (clips without clips) is not there, and removed if it was.

    Raises:
        UsageError: there is no release.
        DamagedInputError: an item that was chosen does not decode.
        OutputError: the files cannot be written.
    """
    manifest = read_release(release_dir)
    folder = release_dir / FOLDER
    page = io.BytesIO()
    contact_sheet(release_dir, manifest).save(page, "JPEG", quality=QUALITY, subsampling=0, optimize=True)
    clips = samples.clips(release_dir, manifest, subjects=2)
    made = {
        CONTACT_SHEET: page.getvalue(),
        STRIP: strip(release_dir, manifest),
        MOVING: moving(release_dir, manifest),
        OVERLAY: overlay_clip(clips) if clips else None,
        **dict.fromkeys(_EARLIER),
    }
    for name, data in made.items():
        if data is None:
            (folder / name).unlink(missing_ok=True)  # of an earlier version
        else:
            atomic_write(folder / name, data)
    _write_plots(release_dir, manifest)
    return Previews(folder / CONTACT_SHEET, folder / OVERLAY if clips else None)


def _write_plots(root: Path, manifest: Manifest) -> None:
    from thermvision.curation.statistics.collect import statistics

    seen = statistics(root, sample=0) if manifest.shards_of("frames") else None
    write_plots(root / FOLDER, seen, read_reports(root, manifest))
