"""The command that fine-tunes LivePortrait: ``thermvision train liveportrait``."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from thermvision.annotations.errors import MissingDependencyError
from thermvision.curation.console import to_stderr
from thermvision.curation.options import Quiet

INSTALL = 'pip install -c constraints.txt -e ".[liveportrait]"'


def register(train: typer.Typer) -> None:
    """Add the command to the group ``train``."""

    @train.command()
    def liveportrait(
        releases: Annotated[list[Path], typer.Argument(help="Rendered releases with clips.")],
        weights: Annotated[Path, typer.Option(help="Folder of the checkpoints to begin with.")],
        out: Annotated[Path, typer.Option(help="Folder for the five checkpoints and the curves.")],
        module: Annotated[str, typer.Option(help="motion, retargeting, decoder, or all in this order.")] = "all",
        layers: Annotated[
            str,
            typer.Option(
                help="motion: heads, pose, keypoints, expression, last, all; decoder: spade, output, up, norms,"
                " projection, all; retargeting: all, stitching, eye, lip. Default: the first of each."
            ),
        ] = "",
        steps: Annotated[int | None, typer.Option(min=1, help="Batches of each module.")] = None,
        size: Annotated[int | None, typer.Option(min=1, help="Samples a batch.")] = None,
        rate: Annotated[float | None, typer.Option(min=1e-9, max=0.1, help="Highest learning rate.")] = None,
        seed: Annotated[int, typer.Option(min=0, help="Of what is drawn.")] = 0,
        device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 …")] = "auto",
        frames: Annotated[int, typer.Option(min=2, help="Frames taken of each clip.")] = 8,
        preprocess: Annotated[
            str, typer.Option(help="Steps done to every frame: normalize,denoise,equalize; or paper: all three.")
        ] = "",
        allow_pth: Annotated[bool, typer.Option("--allow-pth", help="Read .pth files, without running them.")] = False,
        quiet: Quiet = False,
    ) -> None:
        """Fine-tune LivePortrait for thermal faces on rendered clips, whose labels are exact.

        Example: thermvision train liveportrait rendered --weights checkpoints/thermal --out tuned --module motion
        """
        require_torch()
        from thermvision.generation.preprocess import STEPS

        from .clips import read_clips
        from .finetune import chosen_modules, default_run, finetune

        modules = chosen_modules(module, layers)
        runs = {name: default_run(name, steps, seed, device, rate, size) for name in modules}
        asked = {"--steps": steps, "--size": size, "--rate": rate, "--layers": layers, "--preprocess": preprocess}
        typed = f"thermvision train liveportrait {' '.join(r.name for r in releases)} --weights {weights.name}"
        typed += f" --out {out.name} --module {module} --seed {seed} --frames {frames}"
        typed += "".join(f" {option} {value}" for option, value in asked.items() if value)
        named = tuple(step.strip() for step in preprocess.split(",") if step.strip())
        clips = read_clips(releases, frames, STEPS if named == ("paper",) else named)
        report = None if quiet else to_stderr
        curves = finetune(weights, clips, out, modules, runs, command=typed, allow_pth=allow_pth, report=report)
        for name, curve in curves.items():
            for what, before in curve.before.items():
                after = curve.after[what]
                print(f"{name}: {what}: {before:g} before, {after:g} after{', larger' if after > before else ''}")
        print(f"next: thermvision animate FACE --driving VIDEO --weights {out} --out clips")


def require_torch() -> None:
    """Raise `MissingDependencyError` when a package that the networks need is not installed."""
    missing = [package for package in ("torch", "safetensors") if find_spec(package) is None]
    if missing:
        raise MissingDependencyError(f"training LivePortrait needs {' and '.join(missing)}; type: {INSTALL}")
