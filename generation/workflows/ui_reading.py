"""The UI form of a ComfyUI workflow, resolved to the graph that its server would be given.

What only the editor knows goes: Set and Get nodes, reroutes, primitives, notes, subgraphs. A muted node (mode 2) is
left out, a bypassed one (mode 4) hands on its first input of the output's type, the one of the same place first.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from thermvision.annotations.errors import DamagedInputError
from thermvision.annotations.findings import Finding

from .graph import Graph, Link, Node, check_count, unknown_types
from .nodes import CONTROLS, VIRTUAL, Input, NodeType, node_types

MUTED, BYPASSED = 2, 4
KEPT = "thermvision"  # property of a node: inputs that the editor's widgets cannot hold, see `ui_writing`
_MAX_DEPTH = 16
_INPUTS, _OUTPUTS = "-10", "-20"  # ids of a subgraph's own two ends


@dataclass(frozen=True)
class _Literal:
    value: Any


@dataclass
class _Scope:
    """The nodes of one sheet: the workflow itself or a subgraph inside ``host``, a node of ``parent``."""

    nodes: dict[str, dict[str, Any]]
    links: dict[Any, tuple[str, int]]
    prefix: str = ""
    parent: _Scope | None = None
    host: str = ""
    ports: dict[str, list[dict[str, Any]]] = field(default_factory=dict)  # "inputs", "outputs"
    inner: dict[str, _Scope] = field(default_factory=dict)


def graph_of_ui(document: Mapping[str, Any], name: str = "workflow") -> Graph:
    """The graph of the UI form; what was left out, passed over or could not be told is in its findings.

    Raises:
        DamagedInputError: a node or link is broken, or there are too many of them.
    """
    definitions = document.get("definitions")
    subgraphs = definitions.get("subgraphs") if isinstance(definitions, dict) else None
    known = {str(s.get("id")): s for s in _objects(subgraphs or [], "subgraphs", name)}
    reader = _Reader(name, known)
    root = reader.scope(document)
    nodes: dict[str, Node] = {}
    reader.collect(root, nodes)
    return Graph(nodes, (*reader.findings, *unknown_types(nodes)))


class _Reader:
    def __init__(self, name: str, subgraphs: Mapping[str, Any]) -> None:
        self.name = name
        self.subgraphs = subgraphs
        self.findings: list[Finding] = []
        self.count = 0

    def scope(self, document: Mapping[str, Any], parent: _Scope | None = None, host: str = "", deep: int = 0) -> _Scope:
        """One sheet, with the subgraphs that are used on it."""
        if deep > _MAX_DEPTH:
            raise DamagedInputError(f"{self.name} has subgraphs inside each other more than {_MAX_DEPTH} deep")
        entries = _objects(document.get("nodes"), "nodes", self.name)
        self.count += len(entries)
        check_count(self.count, self.name)
        nodes = {}
        for entry in entries:
            key, kind = entry.get("id"), entry.get("type")
            if not isinstance(key, int | str) or isinstance(key, bool) or not isinstance(kind, str):
                raise DamagedInputError(f"{self.name}: a node lacks its id or type; save it again in ComfyUI")
            for what in ("inputs", "outputs"):
                _objects(entry.get(what) or [], what, f"{kind} {key}")
            nodes[str(key)] = entry
        prefix = f"{parent.prefix}{host}:" if parent else ""
        ports = {k: _objects(document.get(k) or [], k, self.name) for k in ("inputs", "outputs")} if parent else {}
        scope = _Scope(nodes, _links(document.get("links"), self.name), prefix, parent, host, ports)
        for key, entry in nodes.items():
            if entry["type"] in self.subgraphs and _mode(entry) not in (MUTED, BYPASSED):
                scope.inner[key] = self.scope(self.subgraphs[entry["type"]], scope, key, deep + 1)
        return scope

    def collect(self, scope: _Scope, nodes: dict[str, Node]) -> None:
        """Add the nodes of a sheet that the server would see."""
        for key, entry in scope.nodes.items():
            label = f"{entry['type']} {scope.prefix}{key}"
            if key in scope.inner:
                self._promoted(entry, label)
                self.collect(scope.inner[key], nodes)
                continue
            if entry["type"] in VIRTUAL:
                continue
            if _mode(entry) == MUTED:
                self._note(label, "muted", "it is muted; left out")
                continue
            if _mode(entry) == BYPASSED:
                self._note(label, "bypassed", "it is bypassed; what it was given goes past it")
                continue
            nodes[scope.prefix + key] = self._node(scope, entry, label)

    def _node(self, scope: _Scope, entry: dict[str, Any], label: str) -> Node:
        known = node_types().get(entry["type"])
        inputs = self._values(entry, known, label)
        for socket in entry.get("inputs") or []:
            source = self._source(scope, socket.get("link"), f"{label}, input {socket.get('name')}")
            if source is not None:
                inputs[str(socket.get("name"))] = source.value if isinstance(source, _Literal) else source
        title = entry.get("title")
        return Node(entry["type"], inputs, title if isinstance(title, str) else None, not entry.get("outputs"))

    def _values(self, entry: dict[str, Any], known: NodeType | None, label: str) -> dict[str, Any]:
        """Values of the widgets by name."""
        values = entry.get("widgets_values") or []
        if isinstance(values, dict):  # some nodes keep their widgets by name
            return {str(k): v for k, v in values.items()}
        if known is None:
            return {}
        read, left = _by_position(known.widgets, list(values) if isinstance(values, list) else [])
        found: dict[str, Any] = {}
        for widget in known.widgets:
            if widget.name in read:
                found[widget.name] = self._typed(widget, read[widget.name], label)
        missing = [w.name for w in known.widgets if found.get(w.name) is None]
        for name in missing:
            found.pop(name, None)
        defaults = {w.name: w.default for w in known.widgets if w.name in missing and w.default is not None}
        if defaults:
            listed = ", ".join(f"{k} = {v!r}" for k, v in defaults.items())
            self._note(label, "short-widgets", f"the file has no value for {listed}; the node's own defaults count")
        if left:
            self._note(label, "stale-widgets", f"values {left!r} belong to no input that the node has now; not read")
        return self._restored({**defaults, **found}, entry, known)

    def _typed(self, widget: Input, value: Any, label: str) -> Any:
        if widget.fits(value) or value is None:
            return value
        kept = widget.read(value)
        result = "the node's default counts" if kept is None else f"read as {kept}"
        self._note(label, "stale-widgets", f"{widget.name} is {value!r}, which is no {widget.type}; {result}")
        return kept

    def _restored(self, found: dict[str, Any], entry: dict[str, Any], known: NodeType) -> dict[str, Any]:
        """``found`` with what `ui_writing` kept apart, unless somebody changed the widget since."""
        properties = entry.get("properties")
        kept = properties.get(KEPT) if isinstance(properties, dict) else None
        if not isinstance(kept, dict):
            return found
        absent, further = kept.get("absent"), kept.get("further")
        untouched = {w.name for w in known.widgets if w.name not in found or found[w.name] == placeholder(w)}
        for name in absent if isinstance(absent, list) else []:
            if name in untouched:
                found.pop(name, None)
        widgets = {w.name for w in known.widgets}
        for name, value in (further if isinstance(further, dict) else {}).items():
            if name in untouched or name not in widgets:
                found[name] = value
        return found

    def _source(self, scope: _Scope, link: Any, label: str) -> Link | _Literal | None:
        """What a link brings: a node that the server sees, a value, or nothing."""
        seen: set[tuple[str, str]] = set()
        while link is not None:
            if not isinstance(link, int | str) or link not in scope.links:
                self._note(label, "missing-node", f"link {link} is not in the file; it counts as not connected")
                return None
            key, slot = scope.links[link]
            if (scope.prefix + key, str(link)) in seen:
                self._note(label, "cycle", "its links lead round in a circle; it counts as not connected")
                return None
            seen.add((scope.prefix + key, str(link)))
            if key == _INPUTS and scope.parent is not None:
                port, host = scope.ports["inputs"], scope.parent.nodes[scope.host]
                link, scope = _host_link(host, port, slot), scope.parent
                continue
            if key not in scope.nodes:
                self._note(label, "missing-node", f"node {key} is not in the file; it counts as not connected")
                return None
            entry = scope.nodes[key]
            kind, mode = entry["type"], _mode(entry)
            if mode == MUTED:
                self._note(label, "muted", f"{kind} {key} is muted; the input counts as not connected")
                return None
            if mode == BYPASSED:
                link = _passed(entry, slot)
            elif key in scope.inner:
                scope = scope.inner[key]
                link = next((k for k, end in _ends(scope).items() if end == slot), None)
            elif kind == "GetNode":
                link = self._set_link(scope, entry, label)
            elif kind in ("SetNode", "Reroute", "Reroute (rgthree)"):
                link = _first_link(entry)
            elif kind == "PrimitiveNode":
                values = entry.get("widgets_values")
                return _Literal(values[0]) if isinstance(values, list) and values else None
            else:
                return Link(scope.prefix + key, slot)
        return None

    def _set_link(self, scope: _Scope, entry: dict[str, Any], label: str) -> Any:
        wanted = _name(entry)
        found = [n for n in scope.nodes.values() if n["type"] == "SetNode" and _name(n) == wanted and _mode(n) != MUTED]
        if len(found) != 1:
            text = f"{len(found)} Set nodes are called {wanted!r}; allowed: one; the input counts as not connected"
            self._note(label, "set-get", text)
            return None
        return _first_link(found[0])

    def _promoted(self, entry: dict[str, Any], label: str) -> None:
        properties = entry.get("properties")
        proxied = isinstance(properties, dict) and properties.get("proxyWidgets")
        if proxied or any(s.get("widget") and s.get("link") is None for s in entry.get("inputs") or []):
            text = "it shows widgets of its inner nodes; the inner nodes' own values were read, look at them"
            self._note(label, "subgraph-widgets", text)

    def _note(self, label: str, code: str, message: str) -> None:
        finding = Finding(label, code, message)
        if finding not in self.findings:
            self.findings.append(finding)


def placeholder(widget: Input) -> Any:
    """What stands in a widget for which there is no value."""
    if widget.default is not None:
        return widget.default
    return widget.options[0] if widget.options else ""


def _by_position(widgets: tuple[Input, ...], values: list[Any]) -> tuple[dict[str, Any], list[Any]]:
    """Values by name, and those left over. After a seed stands what becomes of it, in most files.

    >>> seed = Input("seed", "INT", 0, control=True)
    >>> _by_position((seed, Input("steps", "INT", 20)), [7, "fixed", 40, "stale"])
    ({'seed': 7, 'steps': 40}, ['stale'])
    """
    read: dict[str, Any] = {}
    place = 0
    for widget in widgets:
        if place >= len(values):
            break
        read[widget.name] = values[place]
        place += 1
        if widget.control and place < len(values) and values[place] in CONTROLS:
            place += 1
    return read, values[place:]


def _objects(value: Any, what: str, name: str) -> list[dict[str, Any]]:
    if not isinstance(value, list) or not all(isinstance(v, dict) for v in value):
        raise DamagedInputError(f"{name}: {what} is no list of objects; save it again in ComfyUI")
    return value


def _links(value: Any, name: str) -> dict[Any, tuple[str, int]]:
    """Where each link starts: lists in old files and on the main sheet, objects in subgraphs and new files."""
    found: dict[Any, tuple[str, int]] = {}
    if not isinstance(value or [], list):
        raise DamagedInputError(f"{name}: links is no list; save it again in ComfyUI")
    for entry in value or []:
        if isinstance(entry, list) and len(entry) >= 5:
            key, node, slot = entry[:3]
        elif isinstance(entry, dict):
            key, node, slot = (entry.get(k) for k in ("id", "origin_id", "origin_slot"))
        else:
            raise DamagedInputError(f"{name}: link {str(entry)[:80]} is broken; save it again in ComfyUI")
        if not isinstance(key, int | str) or not isinstance(node, int | str) or not isinstance(slot, int):
            raise DamagedInputError(f"{name}: link {str(entry)[:80]} is broken; save it again in ComfyUI")
        found[key] = (str(node), slot)
    return found


def _mode(entry: Mapping[str, Any]) -> Any:
    return entry.get("mode", 0)


def _name(entry: Mapping[str, Any]) -> Any:
    values = entry.get("widgets_values")
    return values[0] if isinstance(values, list) and values else None


def _first_link(entry: Mapping[str, Any]) -> Any:
    inputs = entry.get("inputs") or []
    return inputs[0].get("link") if inputs else None


def _passed(entry: Mapping[str, Any], slot: int) -> Any:
    """The link that a bypassed node hands on at ``slot``."""
    outputs, inputs = entry.get("outputs") or [], entry.get("inputs") or []
    if not 0 <= slot < len(outputs):
        return None
    kind = outputs[slot].get("type")
    here = inputs[slot : slot + 1]
    return next((i.get("link") for i in (*here, *inputs) if i.get("type") == kind), None)


def _host_link(host: Mapping[str, Any], ports: list[dict[str, Any]], slot: int) -> Any:
    if not 0 <= slot < len(ports):
        return None
    return next((i.get("link") for i in host.get("inputs") or [] if i.get("name") == ports[slot].get("name")), None)


def _ends(scope: _Scope) -> dict[Any, int]:
    """The links that reach a subgraph's outputs, with the output's place."""
    ports = enumerate(scope.ports["outputs"])
    ids = ((place, port.get("linkIds")) for place, port in ports)
    return {k: place for place, found in ids if isinstance(found, list) for k in found if isinstance(k, int | str)}
