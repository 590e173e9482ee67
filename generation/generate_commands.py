"""The command generate: pictures from words, by FLUX and adapters."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from thermvision.annotations.errors import UsageError
from thermvision.curation.console import show_json
from thermvision.curation.options import AsJson, DryRun, Quiet

if TYPE_CHECKING:
    from thermvision.generation.flux_tables import FluxTable, LoraFile
    from thermvision.generation.generate import Generated, GenerateSettings

_LISTED = 10


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""

    @app.command()
    def generate(
        out: Annotated[Path, typer.Option("--out", help="Folder: OUT/SEED.png with its record OUT/SEED.json.")],
        recipe: Annotated[str, typer.Argument(help="A TOML recipe with a table [flux]; without one: --prompt.")] = "",
        prompt: Annotated[str | None, typer.Option(help="Words; {person}, {details} … are filled in.")] = None,
        negative: Annotated[str | None, typer.Option(help="Words for what is not wanted.")] = None,
        weights: Annotated[
            str, typer.Option(help="Folder of FLUX's files, or random for noise; default: $THERMVISION_FLUX.")
        ] = "",
        lora: Annotated[
            list[str] | None,
            typer.Option("--lora", help="Adapter, FILE[:STRENGTH]; repeatable. none: no adapter."),
        ] = None,
        preset: Annotated[str | None, typer.Option(help="comfyui, diffusers, trainer or xlabs.")] = None,
        seed: Annotated[
            int | None, typer.Option(min=0, max=2**63 - 1, help="Of the first picture; the next ones follow it.")
        ] = None,
        count: Annotated[int, typer.Option(min=1, help="Pictures to keep.")] = 1,
        steps: Annotated[int | None, typer.Option(min=1, max=200, help="Default 28.")] = None,
        guidance: Annotated[float | None, typer.Option(help="The embedded one, default 3.5.")] = None,
        true_cfg: Annotated[float | None, typer.Option(help="Weight of --negative, default 3; 1: none.")] = None,
        size: Annotated[str, typer.Option(help="SIDE or WIDTHxHEIGHT in pixels, multiples of 16.")] = "",
        category: Annotated[str, typer.Option(help="Of attributes that fill in words.")] = "frontal_pose",
        batch: Annotated[int | None, typer.Option(min=1, max=64, help="Pictures drawn at once, default 4.")] = None,
        precision: Annotated[str | None, typer.Option(help="auto, fp32, bf16 or fp8.")] = None,
        device: Annotated[str | None, typer.Option(help="auto, cpu, cuda, cuda:1 …")] = None,
        compile: Annotated[bool, typer.Option("--compile", help="A slow start, then faster.")] = False,
        cache: Annotated[
            float, typer.Option(min=0, max=1, help="First-block cache: .08 to .12; changes pictures, 0: none.")
        ] = 0.0,
        screen: Annotated[
            bool | None, typer.Option("--screen/--no-screen", help="Look at pictures; replace those that are no good.")
        ] = None,
        training_images: Annotated[
            str, typer.Option("--training-images", help="Folder of pictures that none may look like.")
        ] = "",
        rgb: Annotated[bool, typer.Option("--rgb", help="Write colors, not gray levels.")] = False,
        dry_run: DryRun = False,
        as_json: AsJson = False,
        quiet: Quiet = False,
    ) -> None:
        """Draw pictures from words; a seed is an identity. A stopped run goes on; finished pictures are kept.

        Example: thermvision generate --prompt "thermal face of a {person}, {details}" --lora thermal.safetensors:0.9
        --weights FLUX.1-dev --count 20 --out faces
        """
        from dataclasses import asdict

        from .drawings import notes_of
        from .generate import GenerateSettings, candidate, generate

        changes: dict[str, Any] = {
            "prompt": prompt, "negative": negative, "weights": weights or None, "preset": preset, "steps": steps,
            "guidance": guidance, "true_cfg": true_cfg, "batch": batch, "precision": precision, "device": device,
            "compile": compile or None, "loras": _loras(lora) if lora else None,
        }  # fmt: skip
        if prompt is not None:
            changes["prompt_t5"] = None  # a recipe's own goes with its own words
        table, words_seed, side = _table(recipe, changes, screen, training_images)
        width, height = _size(size) if size else (side, side)
        first = seed if seed is not None else table.first_seed if table.first_seed is not None else 0
        settings = GenerateSettings(
            table, count, first, width, height, category, words_seed, rgb=rgb, cache_threshold=cache
        )
        if dry_run:
            shown = [candidate(settings, n) for n in range(min(count, _LISTED))]
            notes = notes_of(table)
            facts = {"candidates": [asdict(c) for c in shown], "notes": notes, "out": str(out)}
            if as_json:
                show_json(facts)
                return
            for one in shown:
                print(f"{one.seed}: {one.positive[0]}")
            for note in notes:
                print(f"  {note}")
            print(f"next: the same command without --dry-run writes {out}")
            return
        _show(generate(settings, out, advance=_progress(count, quiet)), settings, out, as_json)


def _table(
    recipe: str, changes: dict[str, Any], screen: bool | None, training_images: str
) -> tuple[FluxTable, int, int]:
    """The table with what the options say, its paths absolute; the seed of words, and the side of a picture."""
    from .drawings import resolved
    from .flux_tables import FluxTable, ScreeningTable
    from .recipe import read_recipe

    table, seed, side, folder = FluxTable(), 0, 512, None
    if recipe:
        parsed, _ = read_recipe(recipe)
        table, seed, side = parsed.flux, parsed.seed, parsed.stills.size
        # options name files from here, a recipe from where it lies
        folder = Path(recipe).parent if Path(recipe).is_file() else None
        table = resolved(table, folder)
    given = table.model_dump(exclude_unset=not recipe)
    given |= {name: value for name, value in changes.items() if value is not None or name == "prompt_t5"}
    rules = dict(given.get("screening", {}))
    rules |= {} if screen is None else {"on": screen}
    rules |= {"training_images": training_images} if training_images else {}
    given["screening"] = _checked(ScreeningTable, rules)
    return resolved(_checked(FluxTable, given)), seed, side


def _checked(table: Any, values: dict[str, Any], option: str = "") -> Any:
    from pydantic import ValidationError

    try:
        return table.model_validate(values)
    except ValidationError as error:
        told = "; ".join(
            f"{option or '--'}{str(e['loc'][0]).replace('_', '-')} is {e['input']!r}: {e['msg'].lower()}"
            for e in error.errors(include_url=False)
        )
        raise UsageError(told) from error


def _loras(texts: list[str]) -> list[LoraFile]:
    return [] if texts == ["none"] else [_lora(text) for text in texts]


def _lora(text: str) -> LoraFile:
    """An adapter as the option gives it.

    >>> _lora("a:b.safetensors:0.9").file, _lora("c.safetensors").strength
    ('a:b.safetensors', 1.0)
    """
    from .flux_tables import LoraFile

    file, colon, strength = text.rpartition(":")
    try:
        number = float(strength)
    except ValueError:
        colon = ""
    values = {"file": file, "strength": number, "clip_strength": number} if colon and file else {"file": text}
    made: LoraFile = _checked(LoraFile, values, f"--lora {text!r}: ")
    return made


def _size(text: str) -> tuple[int, int]:
    """Width and height.

    >>> _size("512"), _size("512x768")
    ((512, 512), (512, 768))
    """
    parts = text.lower().split("x")
    if len(parts) > 2 or not all(part.isdigit() and len(part) < 6 for part in parts):
        raise UsageError(f"--size is {text!r}; allowed: SIDE or WIDTHxHEIGHT in pixels, as 512 or 512x768")
    return int(parts[0]), int(parts[-1])


def _progress(count: int, quiet: bool) -> Any:
    def advance(kept: int, candidates: int) -> None:
        if not quiet:
            typer.echo(f"{kept} of {count} pictures, {candidates} seeds", err=True)

    return advance


def _show(done: Generated, settings: GenerateSettings, out: Path, as_json: bool) -> None:
    lines = done.consumed.get("lines", [])
    if as_json:
        show_json({
            "out": str(out), "kept": done.kept, "rejected": {str(s): r for s, r in done.rejected.items()},
            "reused": done.reused, "adapters": lines, "notes": done.notes,
            "images_per_second": done.images_per_second,
        })  # fmt: skip
        return
    kept = f"{len(done.kept)} pictures kept, {len(done.rejected)} rejected"
    print(f"{out}: {kept}, {done.reused} there before, {done.images_per_second:g} a second")
    for seed, reasons in list(done.rejected.items())[:_LISTED]:
        print(f"  {seed}: {', '.join(reasons)}")
    for line in (*lines, *done.notes):
        print(f"  {line}")
    print(f"next: thermvision annotate {out} --out labels.csv --format csv")
