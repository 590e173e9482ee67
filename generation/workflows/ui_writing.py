"""The UI form of a graph: what ComfyUI's editor opens, laid out from left to right.

Reading it back gives the same graph. What widgets cannot hold (an input that is left out, one the table does not know)
is kept in the node's properties.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from .graph import Graph, Link, Node
from .nodes import Input
from .ui_reading import KEPT, placeholder

MAX_OUTPUTS = 256
_DIGITS = 15  # of the largest whole number that the editor's language holds exactly
_COLUMN, _ROW, _WIDTH, _LINE = 380, 60, 320, 24


def ui_of_graph(graph: Graph) -> dict[str, Any]:
    """The UI form (version 0.4) of a graph, as plain values."""
    links: list[list[Any]] = []
    nodes = {key: _shell(key, node, graph) for key, node in graph.nodes.items()}
    for key, node in graph.nodes.items():
        for socket in nodes[key]["inputs"]:
            value = node.inputs.get(socket["name"])
            if not isinstance(value, Link) or not _whole(value, graph):
                continue
            output = _output(nodes[value.node], value.slot)
            place = nodes[key]["inputs"].index(socket)
            number = len(links) + 1
            links.append([number, _number(value.node), value.slot, _number(key), place, output["type"]])
            socket["link"] = number
            output["links"].append(number)
    _lay_out(graph, nodes)
    for order, entry in enumerate(nodes.values()):
        entry["order"] = order
    numbers = [entry["id"] for entry in nodes.values() if isinstance(entry["id"], int)]
    return {
        "last_node_id": max(numbers, default=0), "last_link_id": len(links), "nodes": list(nodes.values()),
        "links": links, "groups": [], "config": {}, "extra": {}, "version": 0.4,
    }  # fmt: skip


def _whole(link: Link, graph: Graph) -> bool:
    """Whether a link can be drawn: it leads to a node and to a place that a node can have."""
    return link.node in graph.nodes and 0 <= link.slot < MAX_OUTPUTS


def _shell(key: str, node: Node, graph: Graph) -> dict[str, Any]:
    """A node without its links."""
    known = node.known
    declared = known.inputs if known else ()
    linked = [name for name, link in node.links if _whole(link, graph)]
    sockets: list[dict[str, Any]] = []
    for each in declared:
        if not each.widget or each.name in linked:
            widget = {"widget": {"name": each.name}} if each.type in ("INT", "FLOAT", "STRING", "BOOLEAN") else {}
            sockets.append({"name": each.name, "type": each.type, "link": None, **widget})
    names = {each.name for each in declared}
    sockets += [{"name": name, "type": "*", "link": None} for name in linked if name not in names]
    entry: dict[str, Any] = {
        "id": _number(key), "type": node.type, "pos": [0, 0], "size": [_WIDTH, _LINE], "flags": {}, "order": 0,
        "mode": 0, "inputs": sockets,
        "outputs": [{"name": n, "type": t, "links": [], "slot_index": i} for i, (n, t) in _outputs(node)],
        "properties": {"Node name for S&R": node.type},
    }  # fmt: skip
    if node.title is not None:
        entry["title"] = node.title
    literals = {k: _plain(v) for k, v in node.inputs.items() if k not in linked}
    if known is None:
        entry["widgets_values"] = literals
        return entry
    entry["widgets_values"], kept = _widgets(known.widgets, literals, linked)
    if kept:
        entry["properties"][KEPT] = kept
    return entry


def _plain(value: Any) -> Any:
    return [value.node, value.slot] if isinstance(value, Link) else value


def _outputs(node: Node) -> Any:
    return enumerate(node.known.outputs) if node.known else ()


def _widgets(
    widgets: tuple[Input, ...], literals: dict[str, Any], linked: list[str]
) -> tuple[list[Any], dict[str, Any]]:
    """Values in the widgets' order, and what does not go there."""
    values: list[Any] = []
    further = dict(literals)
    absent = []
    for widget in widgets:
        if widget.name in literals and widget.fits(literals[widget.name]):
            values.append(further.pop(widget.name))
        else:
            values.append(placeholder(widget))
            if widget.name not in literals and widget.name not in linked:
                absent.append(widget.name)
        if widget.control:
            values.append("fixed")
    kept: dict[str, Any] = {}
    if absent:
        kept["absent"] = absent
    if further:
        kept["further"] = further
    return values, kept


def _output(entry: dict[str, Any], slot: int) -> dict[str, Any]:
    """Output ``slot`` of a node; those of an unknown type are made as they are asked for."""
    outputs = entry["outputs"]
    while len(outputs) <= slot:
        outputs.append({"name": "*", "type": "*", "links": [], "slot_index": len(outputs)})
    found: dict[str, Any] = outputs[slot]
    return found


def _number(key: str) -> int | str:
    """Ids are numbers wherever they look like one, as the editor wants them."""
    plain = len(key) <= _DIGITS and key.isascii() and key.isdecimal()
    return int(key) if plain and str(int(key)) == key else key


def _lay_out(graph: Graph, nodes: dict[str, dict[str, Any]]) -> None:
    """Columns by the longest way from a source, rows in the graph's order."""
    column = dict.fromkeys(nodes, 0)
    for _ in range(min(len(nodes), 64)):  # a circle would go on for ever
        changed = False
        for key, node in graph.nodes.items():
            sources = [column[link.node] for _, link in node.links if link.node in column]
            wanted = 1 + max(sources, default=-1)
            if wanted > column[key] and wanted <= len(nodes):
                column[key], changed = wanted, True
        if not changed:
            break
    filled: Counter[int] = Counter()
    for key, entry in nodes.items():
        lines = 2 + len(entry["inputs"]) + len(entry["outputs"]) + len(entry["widgets_values"])
        entry["pos"] = [column[key] * _COLUMN, filled[column[key]]]
        entry["size"] = [_WIDTH, lines * _LINE]
        filled[column[key]] += lines * _LINE + _ROW
