"""The command compare-training: what synthetic faces are worth on real ones."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table as Printed

from thermvision.annotations.errors import UsageError

from ..console import show_json, to_stderr
from ..options import AsJson, Quiet

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ..item_faces import Annotates
    from .labelled_faces import FindFace
    from .synthetic_to_real import Table


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""

    @app.command("compare-training")
    def compare_training(
        synthetic: Annotated[list[Path], typer.Argument(help="Synthetic sources: releases, class folders or CSVs.")],
        real: Annotated[list[Path], typer.Option("--real", help="Real source to test on (repeat).")],
        network: Annotated[
            list[str] | None, typer.Option(help="mobilenetv2, efficientnet-b0, resnet50 or resnet18 (repeat).")
        ] = None,
        mix: Annotated[list[str] | None, typer.Option(help="pure, hybrid or real (repeat).")] = None,
        label: Annotated[str, typer.Option(help="gender, or an attribute such as glasses.")] = "gender",
        size: Annotated[int, typer.Option(min=32, max=512, help="Pixels a side that the networks see.")] = 64,
        width: Annotated[float, typer.Option(min=0.1, max=2, help="Channels relative to the published network.")] = 1.0,
        epochs: Annotated[int, typer.Option(min=1, help="Passes over the training data.")] = 10,
        batch: Annotated[int, typer.Option(min=2, help="Images a step.")] = 32,
        rate: Annotated[float, typer.Option(min=1e-6, max=1, help="Highest learning rate.")] = 1e-3,
        per_subject: Annotated[int, typer.Option("--per-subject", min=1, help="At most so many crops a person.")] = 20,
        real_share: Annotated[
            float, typer.Option("--real-share", help="Part of the real training people that is used.")
        ] = 1.0,
        test_share: Annotated[
            float, typer.Option("--test-share", help="Part of the people to test on, of a source without splits.")
        ] = 0.5,
        keep_splits: Annotated[
            bool, typer.Option("--keep-splits/--deal", help="Real sources: test on their own test split, or deal anew.")
        ] = True,
        subject_pattern: Annotated[
            str | None, typer.Option("--subject-pattern", help="Regular expression of the person in a file name.")
        ] = None,
        weights: Annotated[
            list[str] | None, typer.Option(help="NETWORK=FOLDER with pretrained weights of transformers (repeat).")
        ] = None,
        detector: Annotated[
            str | None, typer.Option(help="Finds faces where a source has no boxes; without it pictures are whole.")
        ] = None,
        device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
        threads: Annotated[int, typer.Option(min=1, help="Of torch on the CPU.")] = 1,
        seed: Annotated[int, typer.Option(min=0, help="Of weights, order and deals.")] = 0,
        out: Annotated[Path | None, typer.Option(help="JSON file; a stopped run goes on with it.")] = None,
        plots: Annotated[Path | None, typer.Option(help="Folder for the plot, comparison.svg and .png.")] = None,
        as_json: AsJson = False,
        quiet: Quiet = False,
    ) -> None:
        """Train classifiers on synthetic faces, alone and with real ones, and test them on real people.

        Example: thermvision compare-training release --real faces --network resnet18 --epochs 5 --out table.json
        """
        from .comparison_plot import plot
        from .synthetic_to_real import Comparison, _recognition, compare

        recognition = _recognition()
        chosen = Comparison(
            networks=tuple(dict.fromkeys(network or Comparison.networks)),
            mixes=tuple(dict.fromkeys(mix or Comparison.mixes)),
            label=label,
            real_share=real_share,
            per_subject=per_subject,
            test_share=test_share,
            seed=seed,
            subject_pattern=subject_pattern,
            keep_splits=keep_splits,
        )
        if unknown := [n for n in chosen.networks if n not in recognition.NETWORKS]:
            raise UsageError(f"--network is {', '.join(unknown)}; allowed: {', '.join(recognition.NETWORKS)}")
        folders = {}
        for pair in weights or ():
            name, _, folder = pair.partition("=")
            if name not in chosen.networks or not folder:
                raise UsageError(f"--weights is {pair!r}; allowed: NETWORK=FOLDER of a network that is compared")
            folders[name] = Path(folder)
        training = recognition.Training(
            epochs=epochs, batch=batch, rate=rate, size=size, width=width, seed=seed, device=device, threads=threads
        )
        table = compare(
            synthetic, real, chosen, training, weights=folders, out=out,
            find=None if detector is None else _finder(detector),
            report=(lambda line: None) if quiet else to_stderr,
        )  # fmt: skip
        drawn = [] if plots is None else plot(table, plots / "comparison")
        if as_json:
            show_json(table.as_dict())
            return
        _show(table)
        for path in drawn:
            print(path)
        print("next: " + ("add --out table.json to keep it" if out is None else f"the table is in {out}"))


def _finder(name: str) -> FindFace:
    from functools import partial

    from ..annotate_commands import make_annotator

    return partial(_face_of, make_annotator(name, "none", False, "white-hot"))


def _face_of(annotator: Annotates, gray: NDArray[np.uint8]) -> NDArray[np.float32] | None:
    faces = next(iter(annotator.all_faces([gray])))[0]
    return faces[0].bbox if faces else None


def _show(table: Table) -> None:
    from .synthetic_to_real import DOMAINS

    printed = Printed(title="synthetic to real", title_justify="left")
    for column in ("tested on", "network", "mix", "trained on", "tested with", "accuracy", "balanced", "constant"):
        printed.add_column(column, justify="left" if column in ("tested on", "network", "mix") else "right")
    for cell in table.cells:
        trained = " + ".join(f"{n} {d} ({cell.train_subjects[d]})" for d in DOMAINS if (n := cell.train_images.get(d)))
        printed.add_row(
            cell.real, cell.network, cell.mix, trained, f"{cell.test_images} ({cell.test_subjects})",
            _percent(cell.accuracy, cell.accuracy_interval), _percent(cell.balanced_accuracy, cell.balanced_interval),
            f"{cell.majority:.1%}",
        )  # fmt: skip
    console = Console(width=None if sys.stdout.isatty() else 150)
    console.print(printed)
    print("images, and people in brackets; 95 % intervals over people; constant: always the class most trained on")
    for name, count in table.left_out.items():
        if count:
            print(f"{count} pictures of {name} were left out")


def _percent(value: float, interval: tuple[float, float] | None) -> str:
    ends = f" ({100 * interval[0]:.0f}-{100 * interval[1]:.0f})" if interval else ""
    return f"{100 * value:.1f}{ends}"
