"""Commands that train the shipped models: ``thermvision train corpus``, and one for each model."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from thermvision.annotations.errors import MissingDependencyError, UsageError
from thermvision.annotations.models import SHIPPED as MODELS

Sources = Annotated[list[Path], typer.Argument(help="Rendered releases with radiometric rows, or one corpus.")]
Out = Annotated[Path, typer.Option("--out", help="Folder for the model, its card and its curve.")]
Steps = Annotated[int | None, typer.Option(min=1, help="Batches; the default depends on the device.")]
Device = Annotated[str, typer.Option(help="auto, cpu or cuda.")]
Workers = Annotated[int, typer.Option(min=0, help="Processes that make samples.")]
Seed = Annotated[int, typer.Option(min=0, help="Of weights and samples.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="No progress.")]


def register(train: typer.Typer) -> None:
    """Add the commands to the group ``train``."""

    @train.command()
    def corpus(
        releases: Annotated[list[Path], typer.Argument(help="Rendered releases with radiometric rows.")],
        out: Annotated[Path, typer.Option("--out", help="New folder for the arrays.")],
    ) -> None:
        """Read the radiometric rows of releases once into arrays that all four trainings use.

        Example: thermvision train corpus rendered --out corpus
        """
        from .corpus import bake

        baked = bake(releases, out)
        print(f"{out}: {len(baked)} frames of {len(baked.identities)} people")
        print(f"next: thermvision train detector {out} --out models")

    @train.command()
    def card(
        model: Annotated[str, typer.Argument(help="detector, landmarker, embedder or attributes.")],
        corpus: Annotated[Path, typer.Argument(help="The corpus it was trained on.")],
        out: Annotated[Path, typer.Option("--out", help="Folder of the model; its card is written anew.")],
    ) -> None:
        """Measure a trained model again, on rendered people that it never saw.

        Example: thermvision train card detector corpus --out models
        """
        require_torch()
        from .tasks import TASKS, grade_model

        if model not in TASKS:
            raise UsageError(f"there is no model {model!r}; allowed: {', '.join(TASKS)}")
        for what, figure in grade_model(model, corpus, out).items():
            print(f"{what}: {figure.value} ({figure.data})")

    @train.command()
    def confirmation(
        corpus: Annotated[Path, typer.Argument(help="The corpus that detector and landmarker were trained on.")],
        out: Annotated[Path, typer.Option("--out", help="Folder of the two models.")],
    ) -> None:
        """Weigh the answers of detector and landmarker against each other: the second look of every annotation.

        Example: thermvision train confirmation corpus --out models
        """
        from .train_confirmation import train_confirmation

        path = train_confirmation(corpus, out, f"thermvision train confirmation {corpus.name} --out {out.name}")
        print(f"{path}:\n{path.read_text(encoding='utf-8')}next: ls {out}")

    for name in MODELS:
        train.command(name, help=_HELP[name])(_trainer(name))


_HELP = {
    name: f"Train the {name} on rendered releases, on no real image.\n\n"
    f"Example: thermvision train {name} rendered --out models"
    for name in MODELS
}


def _trainer(name: str) -> Callable[..., None]:
    def command(
        sources: Sources,
        out: Out,
        steps: Steps = None,
        device: Device = "auto",
        workers: Workers = 1,
        seed: Seed = 0,
        rate: Annotated[float | None, typer.Option(min=1e-6, max=1, help="Highest learning rate.")] = None,
        start: Annotated[Path | None, typer.Option(help="NAME.onnx or NAME.weights.pt to go on from.")] = None,
        quiet: Quiet = False,
    ) -> None:
        require_torch()
        from .tasks import corpus_of, default_run, train_model

        run = default_run(name, device, steps, workers, seed)
        run = run if rate is None else replace(run, rate=rate)
        named = " ".join(source.name for source in sources)
        typed = f"thermvision train {name} {named} --out {out.name} --steps {run.steps} --seed {seed}"
        typed += f" --rate {rate:g}" if rate is not None else ""
        typed += f" --start {start.name}" if start is not None else ""
        report = None if quiet else _to_stderr
        path = train_model(name, corpus_of(sources, out), out, run, typed, report, start)
        print(f"{path}: {path.stat().st_size / 2**20:.1f} MiB; its card: {path.with_suffix('.md')}")
        others = [m for m in MODELS if not (out / f"{m}.onnx").is_file()]
        print(f"next: thermvision train {others[0]} {sources[0]} --out {out}" if others else f"next: ls {out}")

    return command


def require_torch() -> None:
    """Raise `MissingDependencyError` when torch or onnx is not installed."""
    missing = [package for package in ("torch", "onnx") if importlib.util.find_spec(package) is None]
    if missing:
        raise MissingDependencyError(
            f"training needs {' and '.join(missing)}; type: pip install 'thermvision-db[train]'"
        )


def _to_stderr(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
