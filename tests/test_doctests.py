"""The examples in the docstrings of every module run. A module that cannot be imported is a failure."""

from __future__ import annotations

import doctest
import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PATHS = sorted(
    p for top in ("annotations", "curation", "dataset_card", "generation") for p in (ROOT / top).rglob("*.py")
)
NAMES = [
    "thermvision_db",
    *(".".join(("thermvision", *p.relative_to(ROOT).with_suffix("").parts)).removesuffix(".__init__") for p in PATHS),
]


@pytest.mark.parametrize("name", NAMES)
def test_examples_in_docstrings(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    module = importlib.import_module(name)
    assert doctest.testmod(module, optionflags=doctest.ELLIPSIS).failed == 0
    assert module.__doc__, f"{name} has no docstring"
