"""A recipe as TOML text: what was set, nothing that is only a default."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from thermvision.generation.recipe import Recipe
from thermvision.generation.recipe_tables import Table

_WIDTH = 110
_BARE = re.compile(r"[A-Za-z0-9_-]+")


def recipe_text(recipe: Recipe, remarks: Sequence[str] = ()) -> str:
    """The TOML of ``recipe``, which `thermvision.generation.recipe.parse_recipe` reads as the same recipe again.

    ``remarks`` become comments at the top.

    >>> from thermvision.generation.recipe import Recipe
    >>> values = {"name": "A", "version": "1.0", "seed": 1, "flux": {"steps": 40, "loras": [{"file": "a.safetensors"}]}}
    >>> print(recipe_text(Recipe.model_validate(values)), end="")
    name = "A"
    version = "1.0"
    seed = 1
    <BLANKLINE>
    [flux]
    steps = 40
    <BLANKLINE>
    [[flux.loras]]
    file = "a.safetensors"
    """
    comments = [f"# {printable(remark)}" for remark in remarks]
    lines = _table("", _set_values(recipe))
    return "\n".join([*comments, *([""] if comments else []), *lines]).rstrip("\n") + "\n"


def printable(text: str) -> str:
    """``text`` on one line, without what would steer a terminal.

    >>> printable("a\\x1b[2J\\n b")
    'a [2J b'
    """
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def _set_values(table: Table) -> dict[str, Any]:
    """Values that were given, in the order of the fields; TOML has no null, and a null here is always a default."""
    given = ((name, getattr(table, name)) for name in type(table).model_fields if name in table.model_fields_set)
    return {name: _plain(value) for name, value in given if value is not None}


def _plain(value: Any) -> Any:
    if isinstance(value, Table):
        return _set_values(value)
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    return {k: _plain(v) for k, v in value.items()} if isinstance(value, Mapping) else value


def _table(path: str, values: Mapping[str, Any]) -> list[str]:
    """Lines of a table: its own values, then the tables and arrays of tables in it."""
    nested = {k: v for k, v in values.items() if _is_table(path, v) or _is_array(v)}
    lines = [f"{_key(k)} = {_value(v)}" for k, v in values.items() if k not in nested]
    for name, value in nested.items():
        place = f"{path}.{_key(name)}" if path else _key(name)
        for entry in value if isinstance(value, list) else [value]:
            lines += ["", f"[[{place}]]" if isinstance(value, list) else f"[{place}]", *_table(place, entry)]
    return lines


def _is_table(path: str, value: Any) -> bool:
    # small tables inside a table, such as a category's count, stand in one line
    return isinstance(value, dict) and (not path or len(value) > 2)


def _is_array(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(v, dict) for v in value)


def _key(name: str) -> str:
    return name if _BARE.fullmatch(name) else _string(name)


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, str):
        return _string(value)
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{_key(k)} = {_value(v)}" for k, v in value.items()) + " }" if value else "{}"
    items = [_value(v) for v in value]
    line = f"[{', '.join(items)}]"
    return line if len(line) <= _WIDTH else "[\n    " + ",\n    ".join(items) + ",\n]"


def _string(text: str) -> str:
    """A basic string. JSON escapes as TOML does, all but DEL, which TOML does not let stand."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
