"""The command evaluate: scores of models or files against the truth."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from thermvision.annotations.errors import UsageError

from ..console import show_json
from ..options import AsJson, Quiet
from ..store import atomic_write

if TYPE_CHECKING:
    from .measures import Options


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""

    @app.command()
    def evaluate(
        truth: Annotated[Path, typer.Argument(help="A release folder, or a label file (COCO, YOLO folder, VOC, ...).")],
        predictions: Annotated[
            Path | None, typer.Option(help="Labels to score: a label file, a table or a release. Without: run models.")
        ] = None,
        task: Annotated[str, typer.Option(help="detection, landmarks, pose, verification, attributes or all.")] = "all",
        split: Annotated[str, typer.Option(help="Split of a release; 'all' for every one.")] = "test",
        images: Annotated[Path | None, typer.Option(help="Folder of a label file's pictures.")] = None,
        format: Annotated[str | None, typer.Option(help="Format of label files that is not recognised.")] = None,
        detector: Annotated[str, typer.Option(help="Detector to run: name or name:path.")] = "thermal",
        landmarker: Annotated[str, typer.Option(help="Landmarker to run: name or name:path.")] = "thermal",
        embedder: Annotated[str, typer.Option(help="Embedder to run: name or name:path.")] = "thermal",
        boxes: Annotated[str, typer.Option(help="found, or true: the other models look at the true boxes.")] = "found",
        score: Annotated[
            float | None, typer.Option(help="Lowest score; the detector's own when left out, 0.5 for a file.")
        ] = None,
        min_face: Annotated[
            float, typer.Option("--min-face", min=0, help="Faces of fewer pixels (root of the area) do not count.")
        ] = 0.0,
        points: Annotated[str, typer.Option(help="Landmarks that count: all, inside (the frame) or visible.")] = "all",
        at_most: Annotated[
            list[int] | None, typer.Option("--at-most", min=0, help="Read recall at so many false positives (repeat).")
        ] = None,
        template: Annotated[str, typer.Option(help="Verification of single frames (frame) or of clips (session).")] = (
            "frame"
        ),
        frames: Annotated[
            int | None, typer.Option(min=0, help="Frames of each clip; 8 when models run, else all (0).")
        ] = None,
        limit: Annotated[int | None, typer.Option(min=1, help="At most so many frames, evenly spread.")] = None,
        protocol: Annotated[
            str | None, typer.Option(help="Run a protocol on its fixed list: detection, verification, ..., or all.")
        ] = None,
        lists: Annotated[
            Path | None, typer.Option(help="Folder of a protocol's lists; without: the release's own, else made now.")
        ] = None,
        write_protocols: Annotated[
            Path | None, typer.Option("--write-protocols", help="Write the lists of all protocols into this folder.")
        ] = None,
        plots: Annotated[
            Path | None, typer.Option(help="Folder for the plot of landmarks by pose, and of robustness.")
        ] = None,
        rounds: Annotated[int, typer.Option(min=10, max=100_000, help="Draws of the bootstrap.")] = 1000,
        seed: Annotated[int, typer.Option(min=0, help="Seed of the bootstrap, and of lists that are made now.")] = 0,
        as_json: AsJson = False,
        quiet: Quiet = False,
        out: Annotated[Path | None, typer.Option(help="Write the JSON with curves and tables to this file.")] = None,
    ) -> None:
        """Score detection, landmarks, pose, verification and attributes, beside trivial baselines.

        Example: thermvision evaluate release --task detection --out report.json
        """
        from thermvision.annotations.bootstrap import Bootstrap

        from .by_pose import write_plot
        from .evaluate import evaluate as run
        from .measures import Options

        options = Options(
            min_face=min_face,
            points=points,
            template=template,
            false_positives=tuple(at_most or (1, 5, 10)),
            bootstrap=Bootstrap(rounds, seed),
        )
        if protocol is not None or write_protocols is not None or lists is not None:
            idle = {
                "--predictions": predictions, "--task": task != "all", "--images": images, "--format": format,
                "--boxes": boxes != "found", "--score": score is not None, "--template": template != "frame",
                "--frames": frames is not None, "--limit": limit,
            }  # fmt: skip
            if given := [name for name, value in idle.items() if value]:
                raise UsageError(f"{', '.join(given)} and --protocol do not go together; leave one of them out")
            if plots is not None and protocol not in ("landmarks", "robustness", "all"):
                raise UsageError(
                    f"--plots draws --protocol landmarks and robustness, and --protocol is {protocol}; leave it out"
                )
            _protocols(
                truth, protocol, write_protocols, lists, None if split == "all" else split, plots, options,
                (detector, landmarker, embedder), as_json, quiet, out,
            )  # fmt: skip
            return
        if plots is not None and task not in ("landmarks", "all"):
            raise UsageError(f"--plots draws landmarks by pose, and --task is {task}; type: --task landmarks")
        if boxes not in ("found", "true"):
            raise UsageError(f"--boxes is {boxes!r}; allowed: found, true")
        report = run(
            truth,
            predictions=predictions,
            task=task,
            split=None if split == "all" else split,
            images=images,
            format=format,
            options=options,
            score_threshold=score,
            frames_per_clip=frames,
            limit=limit,
            in_true_boxes=boxes == "true",
            quiet=quiet,
            detector=detector,
            landmarker=landmarker,
            embedder=embedder,
        )
        facts = report.as_dict()
        if out is not None:
            atomic_write(out, json.dumps(facts, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
        drawn = [] if plots is None else write_plot(report.results, plots)
        if as_json:
            show_json(facts)
            return
        console = Console(width=None if sys.stdout.isatty() else 120)
        console.print(report.table())
        noun = "identities" if facts["drawn_by"] == "identity" else "images"
        how = (
            f"intervals by drawing {facts['groups']} {noun} anew" if facts["groups"] > 1 else f"too few {noun} to draw"
        )
        console.print(
            f"{facts['frames']} frames, {facts['faces']} faces; {how}; baselines from {facts['baselines_from']}",
            soft_wrap=True,
            highlight=False,
        )
        for note in [*facts["notes"], *(n for t in facts["tasks"].values() for n in t["notes"])]:
            console.print(f"note: {note}", soft_wrap=True, highlight=False, markup=False)
        _say_drawn(plots, drawn)
        where = out if out is not None else "report.json"
        done = f"curves and tables are in {out}" if out is not None else f"add --out {where} to keep curves and tables"
        console.print(f"next: {done}", soft_wrap=True, highlight=False, markup=False)


def _protocols(
    release: Path,
    protocol: str | None,
    write_to: Path | None,
    lists: Path | None,
    split: str | None,
    plots: Path | None,
    options: Options,
    models: tuple[str, str, str],
    as_json: bool,
    quiet: bool,
    out: Path | None,
) -> None:
    """Write the lists of the protocols, or run them."""
    from .. import benchmark
    from ..contents import is_sealed, seal
    from ..protocols import robustness
    from ..release import read_release
    from .by_pose import write_plot

    if write_to is not None:
        index = benchmark.write_lists(release, write_to, split, options.bootstrap.seed)
        if write_to.resolve() == (release / benchmark.FOLDER).resolve() and is_sealed(read_release(release)):
            seal(release)  # the lists ride in the release, so its manifest answers for them
        if protocol is None:
            if as_json:
                show_json(index.model_dump())
                return
            for name, entry in index.lists.items():
                print(f"{name}: {entry.rows} rows, SHA-256 {entry.sha256[:12]}")
            print(f"next: thermvision evaluate {release} --protocol all --lists {write_to} --out results.json")
            return
        lists = write_to
    detector, landmarker, embedder = models
    report = benchmark.run(
        release,
        protocol or "all",
        lists=lists,
        split=split,
        seed=options.bootstrap.seed,
        options=options,
        detector=detector,
        landmarker=landmarker,
        embedder=embedder,
        quiet=quiet,
    )
    facts = report.as_dict()
    if out is not None:
        atomic_write(out, json.dumps(facts, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
    drawn: list[Path] = []
    if plots is not None:
        drawn = write_plot(report.results, plots)
        if "robustness" in report.results:
            drawn += robustness.plot(report.results["robustness"].curves, plots / "robustness")
    if as_json:
        show_json(facts)
        return
    console = Console(width=None if sys.stdout.isatty() else 120)
    console.print(report.table())
    for note in [*facts["notes"], *(n for t in facts["tasks"].values() for n in t["notes"])]:
        console.print(f"note: {note}", soft_wrap=True, highlight=False, markup=False)
    _say_drawn(plots, drawn)
    kept = f"results are in {out}" if out is not None else "add --out results.json to keep lists' digests and curves"
    print(f"next: {kept}")


def _say_drawn(plots: Path | None, drawn: list[Path]) -> None:
    if plots is not None and not drawn:
        print("note: there is no plot: nothing that is known of the frames has two bins of ten frames")
    for path in drawn:
        print(path)
