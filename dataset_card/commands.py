"""The end of every command that makes a release (its card, its pictures, the seal), and the command `card` alone."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from thermvision.curation.console import human_bytes, show_json
from thermvision.curation.options import AsJson, Release


def finish(root: Path) -> list[str]:
    """Write card, Croissant and previews of the release in ``root`` and seal it; the lines a command prints last."""
    from thermvision.curation.contents import SIGNATURE, seal
    from thermvision.dataset_card.card import write_card
    from thermvision.dataset_card.croissant import write_croissant
    from thermvision.dataset_card.previews import write_previews

    signed = (root / SIGNATURE).is_file()
    previews = write_previews(root)
    write_card(root)
    write_croissant(root)
    release = seal(root)
    config = release.configs[0]
    size = human_bytes(sum(s.bytes for s in release.shards))
    return [
        f"{release.name} {release.version}: {len(release.identities)} subjects, {len(release.shards)} shards, {size}",
        f"contact sheet: {previews.contact_sheet}",
        *([f"overlay clip:  {previews.overlay}"] if previews.overlay else []),
        *([_unsigned(root)] if signed and not (root / SIGNATURE).is_file() else []),
        f'load it:       load_dataset("{root}", "{config}")    # from datasets import load_dataset',
        f"next: thermvision info {root}",
    ]


def _unsigned(root: Path) -> str:
    return f"signature:     removed, the manifest has changed; sign again: thermvision sign {root} --key SECRET_KEY"


def register(app: typer.Typer) -> None:
    """Add the commands `card`, `publish` and `view` to ``app``."""
    from thermvision.dataset_card.explorer import commands as explorer
    from thermvision.dataset_card.publishing import commands as publishing

    publishing.register(app)
    explorer.register(app)

    @app.command()
    def card(
        release: Release,
        keep: Annotated[
            bool, typer.Option("--keep", help="Keep what is there as it is; only list its digests anew.")
        ] = False,
        report: Annotated[
            list[Path] | None,
            typer.Option(help="Take this report into the release: a folder or JSON of check, audit, ... (repeat)."),
        ] = None,
        as_json: AsJson = False,
    ) -> None:
        """Write card, croissant.json and previews of a release anew and list every file's digest in release.json.

        Reports of check, audit, dedupe, stats and evaluate --protocol on these very rows become part of the card.

        Example: thermvision card release --report audit --report findings --report results.json
        """
        from thermvision.annotations.errors import UsageError
        from thermvision.curation.contents import SIGNATURE, seal
        from thermvision.curation.release import read_release, write_header
        from thermvision.curation.verify import card_findings
        from thermvision.dataset_card.card import renew_header
        from thermvision.dataset_card.reports import take_reports

        if keep and report:
            raise UsageError("--keep leaves the card as it is, and --report changes it; leave one of them out")
        manifest = read_release(release)
        taken = take_reports(release, report) if report else []
        signed = (release / SIGNATURE).is_file()
        if keep:
            seal(release)
            lines = [f"next: thermvision verify {release}"]
        else:
            if any(card_findings(release, manifest)):
                write_header(release, manifest)
            else:
                renew_header(release, manifest)
            lines = [*(f"report:        {path}" for path in taken), *finish(release)]
        removed = signed and not (release / SIGNATURE).is_file()
        if as_json:
            show_json({"out": str(release), "files": read_release(release).files, "signature_removed": removed})
            return
        for line in (*([_unsigned(release)] if keep and removed else []), *lines):
            Console(soft_wrap=True, highlight=False).print(line, markup=False)
