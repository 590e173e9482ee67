"""Following the links of a graph, and keeping account of what a recipe made of it cannot say."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from thermvision.annotations.findings import Finding
from thermvision.generation.recipe_tables import Table

from .graph import Graph, Link

# codes of findings after which the recipe draws or trains something else than the graph
LOSSES = frozenset({"cannot-hold", "missing", "unknown-path", "missing-node", "cycle", "set-get", "subgraph-widgets"})


@dataclass
class Walk:
    """A graph that is being read, and the findings so far."""

    graph: Graph
    findings: list[Finding] = field(default_factory=list)

    def note(self, key: str, code: str, message: str) -> None:
        """Add a finding about a node."""
        finding = Finding(self.graph.label(key), code, message)
        if finding not in self.findings:
            self.findings.append(finding)

    def source(self, key: str, name: str, needed: bool = True) -> Link | None:
        """Where input ``name`` comes from; None when nothing that is in the graph is connected."""
        value = self.graph.nodes[key].inputs.get(name)
        if isinstance(value, Link) and value.node in self.graph.nodes:
            return value
        if needed:
            self.note(key, "missing", f"its input {name} is not connected")
        return None

    def value(self, key: str, name: str) -> Any:
        """The value of input ``name``, also from a constant node; the type's default where it is not given."""
        node = self.graph.nodes[key]
        known = node.known.input(name) if node.known else None
        if name not in node.inputs:
            if known is None or known.default is None:
                self.note(key, "missing", f"its input {name} has no value")
            return known.default if known else None
        found, seen = node.inputs[name], {key}
        while isinstance(found, Link):
            node_at = self.graph.nodes.get(found.node)
            given = node_at.known.value if node_at and node_at.known else None
            if node_at is None or given is None or found.node in seen:
                text = f"its input {name} comes from {self.graph.label(found.node)}, which is no constant; not read"
                self.note(key, "unknown-path", text)
                return None
            seen.add(found.node)
            found = node_at.inputs.get(given)
        read = known.read(found) if known else None
        if read is None:
            what = known.type if known else "value"
            self.note(key, "cannot-hold", f"{name} is {str(found)[:80]!r}, which is no {what}; not read")
        return tidy(read)

    def values(self, key: str, names: Mapping[str, str]) -> dict[str, Any]:
        """Values of several inputs, by the names that ``names`` gives them."""
        return {ours: self.value(key, theirs) for theirs, ours in names.items()}

    def up(self, key: str | None, name: str) -> Iterator[str]:
        """``key``, the node its input ``name`` comes from, and so on; the caller stops it."""
        seen: set[str] = set()
        while key is not None and key not in seen:
            seen.add(key)
            yield key
            link = self.source(key, name, needed=False)
            key = link.node if link else None

    def hold(self, key: str, table: type[Table], values: Mapping[str, Any]) -> dict[str, Any]:
        """Those of ``values`` that ``table`` allows; each of the others is a finding. None stands for not given."""
        held: dict[str, Any] = {}
        for name, value in values.items():
            if value is None:
                continue
            if (why := _refused(table, name, value)) is None:
                held[name] = value
                continue
            field_ = table.model_fields[name]
            kept = "left out" if field_.is_required() else f"left at {field_.default!r}"
            text = f"{name} is {value!r}, which a recipe cannot say ({why}); it is {kept}"
            self.note(key, "cannot-hold", text)
        return held


def _refused(table: type[Table], name: str, value: Any) -> str | None:
    """Why ``table`` does not take ``value``; that other fields are not given counts for nothing."""
    try:
        table.model_validate({name: value})
    except ValidationError as error:
        found = [e["msg"].lower() for e in error.errors(include_url=False) if e["loc"][0] == name]
        return found[0] if found else None
    return None


def tidy(value: Any) -> Any:
    """Floats without the noise that an editor's arithmetic leaves.

    >>> tidy(3.1582000000000003)
    3.1582
    """
    return float(f"{value:.10g}") if isinstance(value, float) else value


def file_name(walk: Walk, key: str, name: str) -> str | None:
    """A model file's name, with forward slashes as every system reads them."""
    found = walk.value(key, name)
    if not isinstance(found, str) or not found:
        return None
    if "\\" in found:
        walk.note(key, "windows-path", f"{name} is {found!r}; written with forward slashes")
    return found.replace("\\", "/")
