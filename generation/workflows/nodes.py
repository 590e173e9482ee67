"""The node types of ComfyUI that recipes come from and go to: their inputs in order, defaults and outputs.

The table is `node_table.json`. Names, order, types, defaults and limits are those that ComfyUI 0.3.64 and
ComfyUI-FluxTrainer (2025-02-03) declare; XlabsSampler and FluxLoraLoader are of x-flux-comfyui, the constants of
KJNodes and of ComfyUI itself.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

WIDGET_TYPES = ("INT", "FLOAT", "STRING", "BOOLEAN", "COMBO")
MAX_NUMBER = 2**64  # ComfyUI's seeds end below it
CONTROLS = ("fixed", "increment", "decrement", "randomize")  # what a UI file keeps after a seed
# nodes of the UI that never reach the server
VIRTUAL = ("SetNode", "GetNode", "Reroute", "Reroute (rgthree)", "PrimitiveNode", "Note", "MarkdownNote")


@dataclass(frozen=True)
class Input:
    """One input: a ``widget`` holds a value, a socket is linked. ``control``: a UI file has one value more after it."""

    name: str
    type: str
    default: Any = None
    min: float | None = None
    max: float | None = None
    options: tuple[str, ...] = ()
    optional: bool = False
    socket: bool = False
    control: bool = False

    @property
    def widget(self) -> bool:
        return self.type in WIDGET_TYPES and not self.socket

    def fits(self, value: Any) -> bool:
        """Whether ``value`` is of the input's type and no absurd number; limits and options are not looked at."""
        if self.type == "BOOLEAN":
            return isinstance(value, bool)
        if self.type in ("INT", "FLOAT"):
            number = isinstance(value, int if self.type == "INT" else int | float) and not isinstance(value, bool)
            return number and -MAX_NUMBER < value < MAX_NUMBER
        return isinstance(value, str)

    def read(self, value: Any) -> Any:
        """``value`` as one of the input's type, whole numbers for switches and the like; None where it is no such.

        >>> Input("blocks_to_swap", "INT").read(False), Input("steps", "INT").read("many")
        (0, None)
        """
        if self.fits(value):
            return value
        whole = isinstance(value, float) and value.is_integer()
        if (self.type in ("INT", "FLOAT") and isinstance(value, bool)) or (self.type == "INT" and whole):
            return int(value)
        return None


@dataclass(frozen=True)
class NodeType:
    """A type of node. ``sink``: it writes or shows something; ``value``: the input that it hands on unchanged.

    >>> [i.name for i in node_types()["EmptyLatentImage"].inputs]
    ['width', 'height', 'batch_size']
    """

    name: str
    inputs: tuple[Input, ...]
    outputs: tuple[tuple[str, str], ...]
    sink: bool = False
    value: str | None = None

    @property
    def widgets(self) -> tuple[Input, ...]:
        return tuple(i for i in self.inputs if i.widget)

    def input(self, name: str) -> Input | None:
        return next((i for i in self.inputs if i.name == name), None)


@cache
def node_types() -> dict[str, NodeType]:
    """Every known type of node by its name."""
    text = (resources.files(__package__) / "node_table.json").read_text(encoding="utf-8")
    return {name: _node_type(name, entry) for name, entry in json.loads(text).items()}


def _node_type(name: str, entry: dict[str, Any]) -> NodeType:
    inputs = tuple(Input(**{**i, "options": tuple(i.get("options", ()))}) for i in entry["inputs"])
    outputs = tuple((label, kind) for label, kind in entry["outputs"])
    return NodeType(name, inputs, outputs, entry.get("sink", False), entry.get("value"))
