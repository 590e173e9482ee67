"""A workflow as a recipe: which of its samplers and trainers is meant, and everything it says that a recipe cannot."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from thermvision.annotations.errors import UsageError
from thermvision.annotations.findings import Finding
from thermvision.generation.recipe import Recipe

from .graph import SAMPLERS, TRAINERS, Graph, read_workflow
from .inference_import import import_inference
from .recipe_text import printable
from .training_import import import_training
from .wiring import LOSSES, Walk

_OTHER_TRAINERS = ("InitFluxTraining", "InitFluxTrainingFromPreset")


@dataclass(frozen=True)
class Imported:
    """A recipe, how many pictures the graph draws at once (0: it only trains), and the findings."""

    recipe: Recipe
    images: int
    findings: tuple[Finding, ...]

    @property
    def losses(self) -> list[Finding]:
        """Findings after which the recipe does something else than the graph."""
        return [f for f in self.findings if f.code in LOSSES]


def import_file(path: Path, node: str | None = None) -> Imported:
    """The recipe of a workflow file or PNG; see `import_graph` and `graph.read_workflow`."""
    return import_graph(read_workflow(path), path.stem, node)


def import_graph(graph: Graph, name: str = "workflow", node: str | None = None) -> Imported:
    """The recipe of a graph.

    Args:
        graph: as read.
        name: of the recipe; what a name may not hold is left out.
        node: id of the sampler or trainer, where there are several.

    Raises:
        UsageError: nothing in it draws with FLUX or trains a LoRA, or several do and ``node`` names none.
    """
    walk = Walk(graph, list(graph.findings))
    dangling = graph.dangling()
    for key in dangling:
        walk.note(key, "dangling", "nothing that is written or shown depends on it; not read")
    live = [k for k in graph.nodes if k not in dangling]
    sampler, trainer = _chosen(graph, live, SAMPLERS, node), _chosen(graph, live, TRAINERS, node)
    if sampler is None and trainer is None:
        raise UsageError(_nothing(graph, live, name, node))
    values: dict[str, Any] = {"name": _name(name), "version": "1.0", "seed": 0}
    images = 0
    if sampler is not None:
        found = import_inference(walk, sampler)
        values |= {"stills": found.stills, "flux": found.flux}
        images = found.images
    if trainer is not None:
        lora, files = import_training(walk, trainer)
        if values.get("flux") and files and any(values["flux"].get(k) != v for k, v in files.items()):
            walk.note(trainer, "models", "it trains on other files than the graph draws with; the latter are kept")
        values |= {"lora": lora, "flux": {**files, **values.get("flux", {})}}
    return Imported(Recipe.model_validate(values), images, tuple(walk.findings))


def _chosen(graph: Graph, live: list[str], types: tuple[str, ...], node: str | None) -> str | None:
    found = [k for k in graph.of_type(*types) if k in live]
    if node is not None:
        return node if node in graph.of_type(*types) else None
    if len(found) > 1:
        listed = ", ".join(graph.label(k) for k in found)
        raise UsageError(f"the graph has {len(found)} of a kind: {listed}; type --node {found[0]} or another")
    return found[0] if found else None


def _nothing(graph: Graph, live: list[str], name: str, node: str | None) -> str:
    allowed = f"allowed: {', '.join((*SAMPLERS, *TRAINERS))}"
    if node is not None:
        return f"--node is {node}, here {graph.label(node)}; {allowed}"
    if whole := graph.of_type(*_OTHER_TRAINERS):
        return f"{name}: {graph.label(whole[0])} trains the whole model; a recipe trains a LoRA; {allowed}"
    seen = ", ".join(t for t, _ in Counter(graph.nodes[k].type for k in live or graph.nodes).most_common(8))
    return f"{name} neither draws with FLUX nor trains a LoRA: it has {seen or 'no nodes'}; {allowed}"


def _name(text: str) -> str:
    return printable(text)[:100].strip() or "workflow"
