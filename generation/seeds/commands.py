"""The command seeds: published thermal face data, or one's own, as a captioned training set."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from thermvision.annotations.errors import FindingsError, UsageError
from thermvision.curation.console import show_json
from thermvision.curation.options import AsJson, DryRun, Quiet

if TYPE_CHECKING:
    from .pictures import FaceFinder
    from .write import Plan, Written

_LISTED = 20
_ARTICLE = (512, 768, 1024)  # the sizes of the bundled recipes
_LAYOUTS = "tufts, carl, charlotte, sf-tl54, tfw or folder"


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""

    @app.command()
    def seeds(
        source: Annotated[Path, typer.Argument(help="Folder of the data set as its authors publish it.")],
        layout: Annotated[str, typer.Option("--layout", help=f"Whose layout it has: {_LAYOUTS}.")],
        out: Annotated[Path, typer.Option("--out", help="Folder of the training set.")],
        size: Annotated[str, typer.Option("--size", help="Buckets, pixels.")] = "512,768,1024",
        crop: Annotated[str, typer.Option(help="face: squares around faces; whole: the picture.")] = "face",
        faces: Annotated[str, typer.Option(help="labels, detector, or auto: labels that can be relied on.")] = "auto",
        detector: Annotated[str, typer.Option(help="Detector, as in `thermvision annotate`.")] = "thermal",
        poses: Annotated[bool, typer.Option("--poses/--no-poses", help="Look for poses that labels lack.")] = True,
        min_face: Annotated[int, typer.Option("--min-face", help="Pixels of the smallest face taken.")] = 48,
        frames: Annotated[int, typer.Option(help="Frames drawn from a video at most.")] = 24,
        intensity: Annotated[
            bool, typer.Option("--intensity/--no-intensity", help="Gray values stand for temperatures.")
        ] = True,
        gradients: Annotated[
            bool, typer.Option("--gradients/--no-gradients", help="Bring fine texture to one strength.")
        ] = True,
        variants: Annotated[int, typer.Option(help="Spectrally augmented copies of each training picture.")] = 0,
        strength: Annotated[float, typer.Option(help="Of the augmentation.")] = 1.0,
        upscale: Annotated[bool, typer.Option("--upscale/--no-upscale", help="Enlarge small crops.")] = True,
        holdout: Annotated[
            float, typer.Option(help="Share of subjects held out; a data set's own split counts.")
        ] = 0.1,
        seed: Annotated[int, typer.Option(min=0, help="Of hold-out and augmentation.")] = 0,
        trigger: Annotated[str, typer.Option(help="Put before every caption.")] = "",
        licence: Annotated[str, typer.Option(help="Terms of a folder of your own.")] = "",
        units: Annotated[str, typer.Option(help="Units of the pixels; default: what the data set has.")] = "",
        palette: Annotated[str, typer.Option(help="Palette of false colours; default: what the data set has.")] = "",
        polarity: Annotated[str, typer.Option(help="auto, white-hot or black-hot.")] = "",
        limit: Annotated[int | None, typer.Option(min=1, help="Stop after this many pictures and videos.")] = None,
        dry_run: DryRun = False,
        as_json: AsJson = False,
        quiet: Quiet = False,
    ) -> None:
        """Turn thermal face data into a captioned training set. A stopped run goes on when it is typed again.

        Example: thermvision seeds Charlotte-ThermalFace --layout charlotte --out seeds/charlotte
        """
        from .pictures import Reading
        from .sources import named
        from .write import Settings, plan, write

        reading = Reading(units, palette, polarity, crop, faces, poses, min_face, frames, intensity, gradients)
        settings = Settings(
            _sizes(size), reading, variants, strength, upscale, holdout, seed, trigger, licence, limit
        )  # fmt: skip
        ready = plan(source, named(layout), settings)
        if dry_run:
            show_json(ready.facts()) if as_json else _print_plan(ready)
            return
        written = write(ready, out, settings, _finder(detector), quiet=quiet or as_json)
        _show(ready, written, out, licence or ready.source.licence, as_json)


def _sizes(text: str) -> tuple[int, ...]:
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not parts or not all(part.isdecimal() and len(part) < 6 for part in parts):
        raise UsageError(f"--size is {text!r}; allowed: numbers with commas; type: --size 512,768,1024")
    return tuple(map(int, parts))


def _finder(detector: str) -> Any:
    """Makes the annotator when it is first needed, and once."""

    @cache
    def finder() -> FaceFinder:
        from thermvision.annotations import registry
        from thermvision.annotations.pipeline import Annotator

        return Annotator(registry.detector(detector), registry.landmarker(), polarity="white-hot")

    return finder


def _print_plan(ready: Plan) -> None:
    facts = ready.facts()
    subjects, items = facts["subjects"], facts["items"]
    print(f"{facts['title']}: {facts['pictures']} pictures, {facts['videos']} videos")
    for split in subjects:
        print(f"  {split}: {subjects[split]} subjects, {items[split]} items")
    for code, count in facts["findings"].items():
        print(f"  {count} findings [{code}]")
    print(f"terms: {ready.source.licence}")
    print("next: the same without --dry-run, or read docs/seeds.md")


def _show(ready: Plan, written: Written, out: Path, licence: str, as_json: bool) -> None:
    counts: dict[str, int] = {}
    for row in written.rows:
        folder = str(row["file"]).rsplit("/", 1)[0]
        counts[folder] = counts.get(folder, 0) + 1
    if as_json:
        show_json({
            "out": str(out), **ready.facts(), "written": counts, "kept": written.kept,
            "findings": [vars(f) for f in written.findings],
        })  # fmt: skip
    else:
        subjects = ready.facts()["subjects"]
        before = f"; {written.kept} items were finished before" if written.kept else ""
        print(f"{out}: {len(written.rows)} pictures of {subjects['train']} + {subjects['holdout']} subjects{before}")
        for folder, count in sorted(counts.items()):
            print(f"  {folder}: {count}")
        for finding in written.findings[:_LISTED]:
            print(f"  {finding}")
        if len(written.findings) > _LISTED:
            print(f"  and {len(written.findings) - _LISTED} more findings in {out / 'index.json'}")
        print(f"terms: {licence}; see {out / 'TERMS.md'}")
        if counts.keys() & {f"train/{side}" for side in _ARTICLE}:
            print(f"next: thermvision train lora thermal_lora --data {out} --out lora")
        elif written.rows:
            print(f"next: thermvision train lora RECIPE.toml --data {out} --out lora, with {out}/lora.toml in it")
    if not written.rows:
        raise FindingsError(f"no picture of {out} could be made; the reasons are in {out / 'index.json'}")
    if written.left_out:
        first = written.left_out[0]
        raise FindingsError(f"{len(written.left_out)} findings, the first: {first}; all are in {out / 'index.json'}")
