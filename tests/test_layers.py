"""Imports point one way: annotations <- curation <- generation, dataset_card <- thermvision_db; no bare names."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ALLOWED = {
    "annotations": {"annotations"},
    "curation": {"annotations", "curation"},
    "generation": {"annotations", "curation", "generation"},
    "dataset_card": {"annotations", "curation", "dataset_card"},
}
MODULES = {top: sorted((ROOT / top).rglob("*.py")) for top in ALLOWED}


def imported(path: Path) -> Iterator[str]:
    """Every name that a module imports, relative ones resolved against its place in the namespace."""
    package = ("thermvision", *path.relative_to(ROOT).parent.parts)
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package[: len(package) - node.level + 1]) if node.level else ""
            module = ".".join(part for part in (base, node.module) if part)
            # `from thermvision import generation` names a package only in the imported names
            yield from (f"{module}.{alias.name}" for alias in node.names) if module == "thermvision" else (module,)


def dynamic_names(path: Path) -> Iterator[str]:
    """String constants that name a module of ours: what `import_module` would be given."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.startswith("thermvision."):
            yield node.value.split(":")[0]


@pytest.mark.parametrize("top", ALLOWED)
def test_imports_point_down(top: str) -> None:
    assert MODULES[top]
    wrong = [
        (str(path.relative_to(ROOT)), name)
        for path in MODULES[top]
        for name in (*imported(path), *dynamic_names(path))
        if name == "thermvision_db" or (name.startswith("thermvision.") and name.split(".")[1] not in ALLOWED[top])
    ]
    assert not wrong


def test_no_bare_package_names() -> None:
    files = [ROOT / "thermvision_db.py", *(p for top in (*ALLOWED, "tests") for p in (ROOT / top).rglob("*.py"))]
    wrong = [(path.name, name) for path in files for name in imported(path) if name.split(".")[0] in ALLOWED]
    assert not wrong


def loaded_after(code: str) -> set[str]:
    """Top-level names and our own modules that are loaded once ``code`` has run in a fresh interpreter."""
    code += "\nimport sys; print(*sorted(sys.modules))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT.parent, check=True)
    return set(run.stdout.split())


def test_the_facade_is_light() -> None:
    loaded = loaded_after("import thermvision_db")
    assert "thermvision_db" in loaded
    assert not loaded & {"torch", "datasets", "numba", "anny", "cv2", "matplotlib"}


@pytest.mark.parametrize("top", ["annotations", "curation", "dataset_card"])
def test_no_generator_is_loaded(top: str) -> None:
    names = [
        ".".join(("thermvision", *path.relative_to(ROOT).with_suffix("").parts)).removesuffix(".__init__")
        for path in MODULES[top]
        if "training" not in path.parts  # the one room below the generators that may load torch
    ]
    loaded = loaded_after("\n".join(f"import {name}" for name in names))
    assert set(names) <= loaded
    assert not [name for name in loaded if name.startswith("thermvision.generation")]
    assert "torch" not in loaded
