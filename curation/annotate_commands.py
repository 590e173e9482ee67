"""The commands annotate and export: faces into label files, releases and overlays, and releases into label files."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from thermvision.annotations.errors import FindingsError, UsageError
from thermvision.annotations.findings import Finding

from .console import show_json
from .options import AsJson, DryRun, Finish, Limit, Quiet, Release, Workers

if TYPE_CHECKING:
    from .annotate import Summary
    from .inputs import Input
    from .item_faces import Annotates, Temporal
    from .relabel import Relabelling

LISTED = 20
POLARITIES = ("auto", "white-hot", "black-hot")
_FORMATS = "coco, yolo, voc, dlib, pts, tfw, sftl54, charlotte, csv or parquet"

Split = Annotated[str | None, typer.Option(help="Only this split of a release or dataset.")]
Config = Annotated[str | None, typer.Option(help="Only this config of a release or dataset.")]
Points = Annotated[bool, typer.Option("--points/--no-points", help="Write landmarks where the format has a place.")]
Format = Annotated[str | None, typer.Option("--format", help=f"Label format: {_FORMATS}.")]
Labels = Annotated[Path, typer.Option("--out", help="File or new folder to write, as the format has it.")]


def register(app: typer.Typer, finish: Finish) -> None:
    """Add the commands to ``app``; ``finish`` ends what makes a release."""

    @app.command()
    def annotate(
        source: Annotated[
            str,
            typer.Argument(
                help="An image, a video, a folder, a release, the published archives, or with --column a dataset."
            ),
        ],
        out: Labels,
        format: Format = None,
        overlay: Annotated[
            bool, typer.Option("--overlay", help="Of a release or the archives: labels without pictures, in a folder.")
        ] = False,
        detector: Annotated[str, typer.Option(help="NAME or NAME:PATH of the detector.")] = "thermal",
        landmarker: Annotated[str, typer.Option(help="NAME or NAME:PATH of the landmarker; none: boxes only.")] = (
            "thermal"
        ),
        attributes: Annotated[
            bool, typer.Option("--attributes", help="Read expression, glasses, mask, beard and headwear too.")
        ] = False,
        min_face: Annotated[float | None, typer.Option(min=1, help="Smallest face looked for, pixels.")] = None,
        threshold: Annotated[float | None, typer.Option(min=0, max=1, help="Lowest score of a face.")] = None,
        smooth: Annotated[bool, typer.Option("--smooth", help="Smooth the main face of videos over time.")] = False,
        fill_gaps: Annotated[
            int, typer.Option(min=0, help="Fill up to so many frames of a video in which the face was lost.")
        ] = 0,
        units: Annotated[str, typer.Option(help="Units of pixels that are temperatures; auto finds out.")] = "auto",
        palette: Annotated[str, typer.Option(help="Palette of false colours; auto finds out.")] = "auto",
        polarity: Annotated[str, typer.Option(help=f"{', '.join(POLARITIES)}.")] = "auto",
        column: Annotated[str | None, typer.Option(help="Image or video column: SOURCE is a dataset.")] = None,
        config: Config = None,
        split: Split = None,
        points: Points = True,
        draw: Annotated[Path | None, typer.Option(help="Folder for a picture of each frame with its labels.")] = None,
        replace_ground_truth: Annotated[
            bool, typer.Option("--replace-ground-truth", help="In a new version of a release, replace even that.")
        ] = False,
        workers: Workers = 1,
        limit: Limit = None,
        dry_run: DryRun = False,
        as_json: AsJson = False,
        quiet: Quiet = False,
    ) -> None:
        """Find faces: into label files, a release's next version, or a label overlay. A stopped run goes on.

        A release without --format and --overlay gives a new release in OUT; the one it came from stays as it is.

        Example: thermvision annotate photos/ --out faces.json --format coco
        """
        from .inputs import PixelReading, is_release, open_input
        from .item_faces import Temporal

        if format is not None and overlay:
            raise UsageError("--format and --overlay are both given; choose one")
        into_release = format is None and not overlay
        if into_release and not is_release(Path(source)):
            raise UsageError(
                f"{source} is no release, so labels need --format {_FORMATS}; the published archives can also have an"
                " --overlay, or become a release first: thermvision import"
            )
        if into_release and (config is not None or split is not None or draw is not None):
            raise UsageError("a release is annotated as a whole; --config, --split and --draw go with --format")
        if polarity not in POLARITIES:
            raise UsageError(f"--polarity is {polarity!r}; allowed: {', '.join(POLARITIES)}")
        temporal = Temporal(smooth, fill_gaps)
        opened = partial(open_input, source, column=column, config=config, split=split, limit=limit)
        found = opened(reading=PixelReading(units, palette, polarity))
        if dry_run:
            _show_plan(found, source, out, as_json)
            return
        # what is stated of files is done as they are read; rows of a release are taken as they are
        state = polarity if found.source is not None or polarity == "auto" else "white-hot"
        annotator = make_annotator(detector, landmarker, attributes, state, min_face, threshold)
        if found.source is None and polarity == "auto" and annotator.tells_polarity:
            found = opened(reading=PixelReading(units, palette, "open"))
        settings = {"min_face": min_face, "threshold": threshold, "polarity": polarity}
        if into_release:
            from .relabel import plan_relabelling

            plan = plan_relabelling(
                Path(source), annotator, temporal, settings=settings, limit=limit,
                replace_ground_truth=replace_ground_truth,
            )  # fmt: skip
            _into_release(plan, out, annotator, temporal, finish, workers, as_json, quiet)
            return
        if overlay:
            from .overlay import annotate_overlay

            summary = annotate_overlay(
                found, out, annotator, temporal, settings=settings, draw=draw, workers=workers, quiet=quiet
            )
            name = "video" if found.source is not None and "video" in found.source.configs else "image"
            load = f"thermvision_db.load({name!r}, {source!r}, overlay={str(out)!r})"
            _show(summary, out, f'python -c "import thermvision_db; print({load})"', as_json)
            return
        from .annotate import annotate_to_files

        summary = annotate_to_files(
            found, out, format or "", annotator, temporal, settings=settings, points=points, draw=draw, workers=workers,
            quiet=quiet,
        )  # fmt: skip
        truth = source if is_release(Path(source)) else "TRUTH"
        following = f"thermvision evaluate {truth} --predictions {out}"
        if draw is not None:
            following = f"look at the pictures in {draw}, then {following}"
        _show(summary, out, following, as_json)

    @app.command()
    def export(
        release: Release,
        out: Labels,
        format: Format = None,
        layout: Annotated[str | None, typer.Option(help="published: the folders of the published archives.")] = None,
        config: Config = None,
        split: Split = None,
        points: Points = True,
        images: Annotated[Path | None, typer.Option(help="Folder to write the frames to, as PNG.")] = None,
        crops: Annotated[bool, typer.Option("--crops/--no-crops", help="Cut out faces (--layout published).")] = True,
        limit: Limit = None,
        dry_run: DryRun = False,
        as_json: AsJson = False,
        quiet: Quiet = False,
    ) -> None:
        """Write a release's annotations as label files, or the release in the folders of the published archives.

        Example: thermvision export release --out labels.json --format coco
        """
        from .export import export_labels, export_published, release_input

        if (format is None) == (layout is None):
            raise UsageError(f"one of --format {_FORMATS} and --layout published is needed, and only one")
        if layout not in (None, "published"):
            raise UsageError(f"--layout is {layout!r}; allowed: published")
        found = release_input(release, config, split, limit)
        if dry_run:
            _show_plan(found, str(release), out, as_json)
            return
        if format is not None:
            summary = export_labels(found, out, format, points=points, images=images, quiet=quiet)
            _show(summary, out, f"thermvision info {release}", as_json)
            return
        if config is not None or images is not None:
            raise UsageError("--config and --images go with --format; the published layout has its own frames")
        findings = export_published(release, out, split=split, limit=limit, crops=crops, quiet=quiet)
        facts = {"out": str(out), "items": found.items, "frames": found.frames}
        if as_json:
            show_json({**facts, "findings": [vars(f) for f in findings]})
        else:
            print(f"{out}: {found.items} clips and stills in the published layout")
            _list(findings)
            print(f"next: thermvision import {out} --out imported")


def make_annotator(
    detector: str,
    landmarker: str,
    attributes: bool,
    polarity: str,
    min_face: float | None = None,
    threshold: float | None = None,
) -> Annotates:
    """The annotator of the options' models.

    Raises:
        UsageError: there is no such model or option.
        MissingDependencyError: a package or file that a model needs is not there.
    """
    from thermvision.annotations import registry
    from thermvision.annotations.attributes import AttributeReader
    from thermvision.annotations.pipeline import Annotator

    options = {n: v for n, v in {"min_face": min_face, "threshold": threshold}.items() if v is not None}
    return Annotator(
        registry.detector(detector, **options),
        None if landmarker == "none" else registry.landmarker(landmarker),
        AttributeReader() if attributes else None,
        polarity=polarity,  # type: ignore[arg-type]
    )


def _into_release(
    plan: Relabelling,
    out: Path,
    annotator: Annotates,
    temporal: Temporal,
    finish: Finish,
    workers: int,
    as_json: bool,
    quiet: bool,
) -> None:
    from .relabel import relabel

    manifest = relabel(plan, out, annotator, temporal, workers=workers, quiet=quiet)
    failed = [f for f in manifest.failed if f not in plan.source.release.failed]
    if as_json:
        show_json({
            "out": str(out), "version": manifest.version, "parent": manifest.parent, "items": plan.items,
            "frames": plan.frames, "with_ground_truth": plan.with_truth, "annotation_source": annotator.source,
            "failed": [f.model_dump() for f in failed],
        })  # fmt: skip
    for line in finish(out):
        Console(stderr=as_json, soft_wrap=True, highlight=False).print(line, markup=False)
    if failed:
        listed = "; ".join(f"{f.item_id}: {f.reason}" for f in failed[:5])
        raise FindingsError(f"{len(failed)} items could not be annotated ({listed}); they are as they were")


def _show_plan(found: Input, source: str, out: Path, as_json: bool) -> None:
    facts: dict[str, Any] = {"source": source, "items": found.items, "frames": found.frames, "out": str(out)}
    if as_json:
        show_json({**facts, "findings": [vars(f) for f in found.findings]})
        return
    print(f"{source}: {found.items} images and videos, {found.frames} frames as announced")
    _list(found.findings)
    print(f"next: the same command without --dry-run writes {out}")


def _show(summary: Summary, out: Path, following: str, as_json: bool) -> None:
    if as_json:
        show_json({**summary.as_dict(), "out": str(out)})
    else:
        print(
            f"{out}: {summary.faces} faces in {summary.frames} frames of {summary.items} images and videos;"
            f" {summary.without_face} frames without a face; by {summary.annotation_source or 'nobody'}"
        )
        for name, counts in summary.recognised().items():
            print(f"  {name}: {', '.join(f'{count} {what}' for what, count in counts.items())}")
        _list(summary.findings)
        print(f"next: {following}")
    if summary.findings:
        raise FindingsError(f"{len(summary.findings)} findings; everything else is in {out}")


def _list(findings: Sequence[Finding]) -> None:
    for finding in findings[:LISTED]:
        print(f"  {finding}")
    if len(findings) > LISTED:
        print(f"  and {len(findings) - LISTED} more; --json lists all")
