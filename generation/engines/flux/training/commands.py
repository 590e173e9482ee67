"""The command that trains an adapter: ``thermvision train lora``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from thermvision.annotations.errors import FindingsError, MissingDependencyError, UsageError
from thermvision.curation.console import show_json, to_stderr
from thermvision.curation.options import AsJson, Quiet

if TYPE_CHECKING:
    from thermvision.generation.flux_tables import LoraDataset, LoraTable

INSTALL = 'pip install -c constraints.txt -e ".[diffusion]"'
_NEEDED = ("torch", "diffusers", "transformers", "peft", "accelerate", "safetensors")


def register(train: typer.Typer) -> None:
    """Add the command to the group ``train``."""

    @train.command()
    def lora(
        recipe: Annotated[str, typer.Argument(help="A TOML recipe with [lora], or thermal_lora, thermal_lora_adamw.")],
        out: Annotated[Path, typer.Option(help="Folder for checkpoints, caches, pictures and the loss.")],
        data: Annotated[str, typer.Option(help="Folder of pictures and captions in place of the recipe's.")] = "",
        weights: Annotated[str, typer.Option(help="Folder of FLUX.1-dev, or random; default: the recipe's.")] = "",
        resume: Annotated[bool, typer.Option("--resume", help="Go on where the folder's training is.")] = False,
        save_every: Annotated[int, typer.Option(min=1, help="Steps between states: what a crash can cost.")] = 250,
        device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 …; default: the recipe's.")] = "",
        dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done, write nothing.")] = False,
        as_json: AsJson = False,
        quiet: Quiet = False,
    ) -> None:
        """Train a thermal LoRA for FLUX.1-dev; the defaults are the article's.

        A stopped training goes on exactly with --resume. For several GPUs put `accelerate launch -m thermvision_db` in
        place of `thermvision`.

        Example: thermvision train lora thermal_lora --data seeds --weights FLUX.1-dev --out lora
        """
        require_packages()
        from thermvision.generation.drawings import resolved
        from thermvision.generation.recipe import read_recipe

        parsed, _ = read_recipe(recipe)
        table, flux = parsed.lora, parsed.flux
        if data:
            table = table.model_copy(update={"datasets": datasets_of(data, table.datasets)})
        # options name files from here, a recipe from where it lies
        flux = resolved(flux, Path(recipe).parent if Path(recipe).is_file() else None)
        flux = flux.model_copy(update={k: v for k, v in {"weights": weights, "device": device}.items() if v})
        root = Path(recipe).parent if Path(recipe).is_file() and not data else None
        if dry_run:
            facts = _facts(table, root)
            if as_json:
                show_json(facts)
            else:
                _print_facts(facts)
                given = f"{f' --data {data}' if data else ''}{f' --weights {weights}' if weights else ''}"
                print(f"next: thermvision train lora {recipe}{given} --out {out}")
            return
        from .loop import train_lora

        report = None if quiet else to_stderr
        outcome = train_lora(table, flux, out, root=root, resume=resume, save_every=save_every, report=report)
        if not outcome.first:
            return
        facts = {"checkpoint": str(outcome.checkpoint), "steps": len(outcome.losses), "loss": outcome.losses[-1]}
        if as_json:
            show_json({**facts, "seconds_a_step": outcome.seconds_a_step, "notes": outcome.notes})
        else:
            print(f"{facts['steps']} steps, loss of the last {facts['loss']:.4f}: {facts['checkpoint']}")
            drawn = f"--weights {weights or flux.weights} --prompt TEXT --out stills"
            print(f"next: thermvision generate --lora {facts['checkpoint']} {drawn}")
        if outcome.unused:
            raise FindingsError(
                f"{len(outcome.unused)} pictures could not be used ({'; '.join(outcome.unused[:5])}); all are in"
                f" {out / 'run.json'}"
            )


def datasets_of(data: str, tables: Sequence[LoraDataset]) -> tuple[LoraDataset, ...]:
    """The datasets of a recipe with the folder ``data``; without any, the article's three sizes.

    A set of ``thermvision seeds`` has a folder for each size, and so has each of several sets in ``data``: these are
    taken where they are there. Of such sets a size that none of them has is left out.

    Raises:
        UsageError: they have none of the sizes.
    """
    from thermvision.generation.flux_tables import LoraDataset

    sizes = tables or [LoraDataset(path=data, width=side, height=side) for side in (512, 768, 1024)]
    there = [p for at in ("", "*/") for p in sorted(Path(data).glob(f"{at}train/[0-9]*")) if p.is_dir()]
    found = []
    for table in sizes:
        own = [p for p in there if p.name == str(table.width)] if there else [Path(data)]
        found += [table.model_copy(update={"path": str(path)}) for path in own]
    if not found:
        names = sorted({p.name for p in there}, key=lambda name: (len(name), name))
        raise UsageError(
            f"{data} has pictures of {', '.join(names)} pixels, and the recipe asks"
            f" for {', '.join(str(table.width) for table in sizes)};"
            f" type: thermvision seeds … --size {sizes[0].width}, or take the set's lora.toml into the recipe"
        )
    return tuple(found)


def _facts(table: LoraTable, root: Path | None) -> dict[str, Any]:
    from .captions import batches, read_training_set
    from .loop import loop_ends
    from .timesteps import inert

    training = read_training_set(table.datasets, root)
    sizes = Counter("{} x {}".format(*e.placement.bucket) for e in training.examples)
    return {
        "pictures": len({e.sha256 for e in training.examples}),
        "held_out": training.held_out,
        "sizes": dict(sorted(sizes.items())),
        "steps_an_epoch": len(batches(training.examples, table.seed, 0)),
        "checkpoints": loop_ends(table),
        "inert": inert(table),
        "findings": list(training.findings),
    }


def _print_facts(facts: dict[str, Any]) -> None:
    print(f"{facts['pictures']} pictures, {facts['held_out']} more held out; {facts['steps_an_epoch']} steps an epoch")
    print("  sizes: " + ", ".join(f"{count} of {size}" for size, count in facts["sizes"].items()))
    print("  checkpoints after steps " + ", ".join(map(str, facts["checkpoints"])))
    for heading, key in (("without effect", "inert"), ("cannot be used", "findings")):
        for line in facts[key]:
            print(f"  {heading}: {line}")


def require_packages() -> None:
    """Raise `MissingDependencyError` when a package that the training needs is not installed."""
    missing = [package for package in _NEEDED if find_spec(package) is None]
    if missing:
        raise MissingDependencyError(f"training an adapter needs {', '.join(missing)}; type: {INSTALL}")
