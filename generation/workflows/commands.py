"""The commands workflow import and workflow export: ComfyUI's graphs to recipes and back."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from thermvision.annotations.errors import FindingsError, UsageError
from thermvision.annotations.findings import Finding
from thermvision.curation.console import show_json
from thermvision.curation.options import AsJson, Quiet

from .recipe_text import printable

FORMATS = ("ui", "api")


def register(app: typer.Typer) -> None:
    """Add the commands to ``app``."""
    workflow = typer.Typer(help="Read and write workflows of ComfyUI.", no_args_is_help=True)
    app.add_typer(workflow, name="workflow")

    @workflow.command("import")
    def import_(
        file: Annotated[Path, typer.Argument(help="Workflow, UI or API form, or a PNG that ComfyUI wrote.")],
        out: Annotated[Path, typer.Option("--out", help="Recipe to write, .toml.")],
        node: Annotated[str | None, typer.Option(help="Id of the sampler or trainer, where there are several.")] = None,
        as_json: AsJson = False,
        quiet: Quiet = False,
    ) -> None:
        """Make a recipe of a workflow, and say what a recipe cannot hold of it. Nothing in the workflow is run.

        Example: thermvision workflow import faces.json --out faces.toml
        """
        from thermvision.curation.store import atomic_write
        from thermvision.generation.recipe import parse_recipe

        from .importing import import_file
        from .recipe_text import recipe_text

        if out.suffix != ".toml":
            raise UsageError(f"--out is {out}; allowed: a name that ends in .toml")
        made = import_file(file, node)
        text = recipe_text(made.recipe, [f"From the workflow {file.name}.", *map(str, made.findings)])
        parse_recipe(text, f"of {file}")  # what cannot be read again is not written
        atomic_write(out, text)
        step = (
            f"thermvision generate {out} --count {made.images} --out pictures"
            if made.images
            else f"thermvision train lora {out} --out trained"
        )
        _tell(out, made.findings, step, as_json, quiet, {"images": made.images})
        _refuse(made.losses, f"{out} differs from the workflow", "all are in its first lines")

    @workflow.command("export")
    def export(
        recipe: Annotated[str, typer.Argument(help="A TOML recipe with a table [flux] or [lora], or a bundled one.")],
        out: Annotated[Path, typer.Option("--out", help="Workflow to write, .json.")],
        format: Annotated[str, typer.Option("--format", help="ui: for the editor; api: for the server.")] = "ui",
        kind: Annotated[str | None, typer.Option(help="inference or training; default: what the recipe has.")] = None,
        as_json: AsJson = False,
        quiet: Quiet = False,
    ) -> None:
        """Make a workflow of a recipe, and say what a workflow cannot hold of it.

        Example: thermvision workflow export faces.toml --out faces.json
        """
        from thermvision.curation.store import atomic_write
        from thermvision.generation.recipe import read_recipe

        from .export import LOST, export_graph
        from .graph import api_of_graph
        from .ui_writing import ui_of_graph

        if format not in FORMATS:
            raise UsageError(f"--format is {format!r}; allowed: {', '.join(FORMATS)}")
        if out.suffix != ".json":
            raise UsageError(f"--out is {out}; allowed: a name that ends in .json")
        made, graph = export_graph(read_recipe(recipe)[0], kind)
        document = ui_of_graph(graph) if format == "ui" else api_of_graph(graph)
        atomic_write(out, json.dumps(document, indent=2, ensure_ascii=False) + "\n")
        step = f"open {out} in ComfyUI" if format == "ui" else f'post {{"prompt": …}} with {out} to ComfyUI\'s /prompt'
        _tell(out, graph.findings, step, as_json, quiet, {"kind": made, "format": format, "nodes": len(graph.nodes)})
        losses = [f for f in graph.findings if f.code in LOST]
        _refuse(losses, f"{out} differs from the recipe", "all are above, or in --json")


def _refuse(losses: Sequence[Finding], what: str, where: str) -> None:
    if losses:
        listed = printable("; ".join(map(str, losses[:5])))
        raise FindingsError(f"{what} in {len(losses)} ways ({listed}); {where}")


def _tell(out: Path, findings: Sequence[Finding], step: str, as_json: bool, quiet: bool, facts: dict[str, Any]) -> None:
    if as_json:
        show_json({"out": str(out), **facts, "findings": [vars(f) for f in findings], "next": step})
        return
    if not quiet:
        for finding in findings:
            print(f"  {printable(str(finding))}")
    print(f"{out}: {', '.join(f'{name} {value}' for name, value in facts.items())}, {len(findings)} findings")
    print(f"next: {step}")
