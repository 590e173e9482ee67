"""Graphs of ComfyUI as the server takes them: nodes by id, with values and links; and the files they come in.

A file is JSON in the API form (what the server runs) or the UI form (what the editor saves), or a PNG that carries one.
Files come from strangers: sizes and counts are bounded, and nothing in them is executed.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image, UnidentifiedImageError

from thermvision.annotations.errors import DamagedInputError, UsageError
from thermvision.annotations.findings import Finding

from .nodes import NodeType, node_types

MAX_JSON_BYTES = 32 * 2**20
MAX_PNG_BYTES = 512 * 2**20
MAX_NODES = 20_000
_PNG = b"\x89PNG\r\n\x1a\n"
_ALLOWED = "allowed: a workflow of ComfyUI (JSON saved with Save or Export (API)), or a PNG that ComfyUI wrote"


@dataclass(frozen=True)
class Link:
    """Output ``slot`` of the node whose id is ``node``."""

    node: str
    slot: int


@dataclass(frozen=True)
class Node:
    """A node: its inputs are values or a `Link`. ``ends``: it hands nothing on, as the file itself shows."""

    type: str
    inputs: Mapping[str, Any]
    title: str | None = None
    ends: bool = False

    @property
    def known(self) -> NodeType | None:
        return node_types().get(self.type)

    @property
    def links(self) -> Iterator[tuple[str, Link]]:
        return ((name, value) for name, value in self.inputs.items() if isinstance(value, Link))


@dataclass(frozen=True)
class Graph:
    """Nodes by id in the file's order, and what was seen while they were read.

    >>> graph = graph_of_api({"1": {"class_type": "VAELoader", "inputs": {"vae_name": "ae.safetensors"}}})
    >>> graph.nodes["1"].inputs["vae_name"], graph.label("1")
    ('ae.safetensors', 'VAELoader 1')
    """

    nodes: Mapping[str, Node]
    findings: tuple[Finding, ...] = field(default=())

    def label(self, key: str) -> str:
        """A node as a person finds it in the editor."""
        return f"{self.nodes[key].type} {key}" if key in self.nodes else f"node {key}"

    def of_type(self, *types: str) -> list[str]:
        """Ids of the nodes of these types."""
        return [key for key, node in self.nodes.items() if node.type in types]

    def readers(self, key: str) -> list[tuple[str, str, int]]:
        """Who reads ``key``: (id, name of the input, slot read)."""
        return [(k, name, v.slot) for k, node in self.nodes.items() for name, v in node.links if v.node == key]

    def behind(self, *keys: str) -> set[str]:
        """``keys`` and every node that they depend on."""
        seen: set[str] = set()
        todo = list(keys)
        while todo:
            key = todo.pop()
            if key in self.nodes and key not in seen:
                seen.add(key)
                todo += [link.node for _, link in self.nodes[key].links]
        return seen

    def dangling(self) -> list[str]:
        """Ids of the nodes that nothing which writes, shows or trains depends on."""
        sinks = [k for k, n in self.nodes.items() if n.ends or (n.known is not None and n.known.sink)]
        if not sinks:
            sinks = self.of_type(*SAMPLERS, *TRAINERS)
        live = self.behind(*sinks)
        return [key for key in self.nodes if key not in live]


SAMPLERS = ("KSampler", "KSamplerAdvanced", "SamplerCustomAdvanced", "XlabsSampler", "FluxKohyaInferenceSampler")
TRAINERS = ("InitFluxLoRATraining",)


def read_workflow(path: Path) -> Graph:
    """The graph of a file. A PNG with both forms is read by the API form: that is what drew it.

    Raises:
        UsageError: there is no such file, or it holds no workflow.
        DamagedInputError: it is broken or over a limit.
    """
    return graph_of(load_document(path), str(path))


def load_document(path: Path) -> Any:
    """The JSON that a workflow file or PNG carries; see `read_workflow`."""
    if not path.is_file():
        raise UsageError(f"workflow {path} does not exist; {_ALLOWED}")
    try:
        with path.open("rb") as file:
            png = file.read(len(_PNG)) == _PNG
        limit = MAX_PNG_BYTES if png else MAX_JSON_BYTES
        if path.stat().st_size > limit:
            raise DamagedInputError(f"workflow {path} has {path.stat().st_size} bytes; allowed: {limit}")
        text = _png_text(path) if png else path.read_text(encoding="utf-8-sig")
        document = json.loads(text)
        json.dumps(document, ensure_ascii=False).encode()  # halves of characters cannot be shown or written
        return document
    except (OSError, ValueError, RecursionError) as error:
        raise DamagedInputError(f"workflow {path} is not readable ({error}); {_ALLOWED}") from error


def _png_text(path: Path) -> str:
    try:
        with Image.open(path, formats=["PNG"]) as image:
            found = {name: image.info.get(name) for name in ("prompt", "workflow")}
    except (UnidentifiedImageError, SyntaxError, Image.DecompressionBombError) as error:
        raise DamagedInputError(f"{path} is no whole PNG ({error}); copy it again from ComfyUI's output") from error
    texts = [text for text in found.values() if isinstance(text, str)]
    if not texts:
        raise UsageError(f"{path} carries no workflow; {_ALLOWED} (other programs strip it when they save)")
    if len(texts[0]) > MAX_JSON_BYTES:
        raise DamagedInputError(f"the workflow in {path} has {len(texts[0])} characters; allowed: {MAX_JSON_BYTES}")
    return texts[0]


def graph_of(document: Any, name: str = "workflow") -> Graph:
    """The graph of parsed JSON in either form; see `read_workflow`."""
    from .ui_reading import graph_of_ui

    if isinstance(document, dict) and isinstance(document.get("prompt"), dict):
        document = document["prompt"]  # what is posted to the server
    if isinstance(document, dict) and isinstance(document.get("nodes"), list):
        return graph_of_ui(document, name)
    return graph_of_api(document, name)


def is_link(value: Any) -> bool:
    """Whether an input of the API form is a link, as the server itself tells it from a value."""
    return (
        isinstance(value, list)
        and len(value) == 2
        and isinstance(value[0], str)
        and isinstance(value[1], int)
        and not isinstance(value[1], bool)
    )


def graph_of_api(document: Any, name: str = "workflow") -> Graph:
    """The graph of the API form.

    Raises:
        UsageError: it is no workflow.
        DamagedInputError: a node of it is broken, or there are too many.
    """
    if not isinstance(document, dict) or not document or not all(isinstance(n, dict) for n in document.values()):
        seen = f"keys {', '.join(sorted(map(str, document))[:6])}" if isinstance(document, dict) else "no JSON object"
        raise UsageError(f"{name} is no workflow: it has {seen or 'nothing'}; {_ALLOWED}")
    check_count(len(document), name)
    nodes, findings = {}, []
    for key, entry in document.items():
        kind, inputs = entry.get("class_type"), entry.get("inputs", {})
        if not isinstance(kind, str) or not isinstance(inputs, dict):
            raise DamagedInputError(f"{name}: node {key} lacks class_type or inputs; {_ALLOWED}")
        meta = entry.get("_meta")
        title = meta.get("title") if isinstance(meta, dict) else None
        values = {k: Link(v[0], v[1]) if is_link(v) else v for k, v in inputs.items()}
        nodes[key] = Node(kind, values, title if isinstance(title, str) else None)
        for socket, link in nodes[key].links:
            if link.node not in document:
                text = f"input {socket} reads node {link.node}, which is not in the file; it counts as not connected"
                findings.append(Finding(f"{kind} {key}", "missing-node", text))
    return Graph(nodes, (*findings, *unknown_types(nodes)))


def api_of_graph(graph: Graph) -> dict[str, Any]:
    """The API form of a graph: what the server's ``/prompt`` takes."""
    document: dict[str, Any] = {}
    for key, node in graph.nodes.items():
        inputs = {k: [v.node, v.slot] if isinstance(v, Link) else v for k, v in node.inputs.items()}
        document[key] = {"class_type": node.type, "inputs": inputs}
        if node.title is not None:
            document[key]["_meta"] = {"title": node.title}
    return document


def check_count(count: int, name: str) -> None:
    """Raise `DamagedInputError` when a file has more nodes than any person draws."""
    if count > MAX_NODES:
        raise DamagedInputError(f"{name} has {count} nodes; allowed: {MAX_NODES}")


def unknown_types(nodes: Mapping[str, Node]) -> Iterator[Finding]:
    """One finding for each type of node that the table lacks."""
    unknown: dict[str, list[str]] = {}
    for key, node in nodes.items():
        if node.known is None:
            unknown.setdefault(node.type, []).append(key)
    for kind, keys in unknown.items():
        yield Finding(f"{kind} {', '.join(keys)}", "unknown-node", "this type is not known; only its links were read")
