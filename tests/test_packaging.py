"""Packages are declared, versions agree, and every requirement is pinned."""

from __future__ import annotations

import configparser
import importlib.metadata
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import thermvision_db

ROOT = Path(__file__).parents[1]
TOP = ("annotations", "curation", "dataset_card", "generation")
# what the CUDA build of torch brings; torch pins these itself, and a CPU build has none of them
ACCELERATOR = re.compile(r"nvidia-|cuda-|triton$")


def setup() -> configparser.ConfigParser:
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg", encoding="utf-8")
    return config


def requirements(text: str) -> list[Requirement]:
    return [Requirement(line) for line in text.splitlines() if line.strip() and not line.startswith("#")]


def pins() -> dict[str, Requirement]:
    listed = requirements((ROOT / "constraints.txt").read_text(encoding="utf-8"))
    by_name = {str(canonicalize_name(r.name)): r for r in listed}
    assert len(by_name) == len(listed), "a name is pinned twice"
    return by_name


def closure(roots: list[Requirement]) -> set[str]:
    """Canonical names of everything that ``roots`` bring on this machine."""
    seen: set[tuple[str, str]] = set()
    todo = [(str(canonicalize_name(r.name)), extra) for r in roots for extra in ("", *r.extras)]
    while todo:
        name, extra = todo.pop()
        if (name, extra) in seen or ACCELERATOR.match(name):
            continue
        seen.add((name, extra))
        for line in importlib.metadata.requires(name) or []:
            r = Requirement(line)
            if r.marker is None or r.marker.evaluate({"extra": extra}):
                todo += [(str(canonicalize_name(r.name)), e) for e in ("", *r.extras)]
    return {name for name, _ in seen}


def declared() -> list[Requirement]:
    config = setup()
    text = config["options"]["install_requires"]
    return requirements("\n".join([text, *(config["options.extras_require"][e] for e in ("phantom", "dev"))]))


def test_every_package_is_listed() -> None:
    listed = setup()["options"]["packages"].split()
    found = {
        "thermvision." + ".".join(path.parent.relative_to(ROOT).parts)
        for top in TOP
        for path in (ROOT / top).rglob("*.py")
    }
    assert found == set(listed)
    assert len(listed) == len(set(listed))
    assert all((ROOT / top / "py.typed").is_file() for top in TOP)


def test_every_data_file_is_shipped() -> None:
    package_data = setup()["options.package_data"]
    patterns = {key: value.split() for key, value in package_data.items()}
    everywhere = patterns.get("*", [])
    for top in TOP:
        for path in (ROOT / top).rglob("*"):
            if path.is_dir() or "__pycache__" in path.parts or path.suffix == ".py" or path.name.startswith("."):
                continue
            parts = path.relative_to(ROOT).parts
            # a pattern of any package above the file may take it
            keys = ["thermvision." + ".".join(parts[:n]) for n in range(1, len(parts))]
            taken = any(path.match(p) for key in keys for p in (*patterns.get(key, []), *everywhere))
            assert taken, f"{path.relative_to(ROOT)} is in no wheel: add it to [options.package_data]"


def test_constraints_pin_the_closure() -> None:
    pinned = pins()
    assert closure(declared()) - set(pinned) == set()


def test_constraints_are_exact_and_agree_with_setup() -> None:
    pinned = pins()
    for pin in pinned.values():
        (spec,) = pin.specifier
        assert (spec.operator, "*" in spec.version, "+" in spec.version) == ("==", False, False), str(pin)
    for requirement in declared():
        (spec,) = pinned[canonicalize_name(requirement.name)].specifier
        assert requirement.specifier.contains(spec.version), f"{requirement} does not allow the pinned {spec.version}"


def test_torch_is_pinned_and_torchvision_never_comes() -> None:
    pinned = pins()
    assert str(pinned["torch"]) == "torch==2.13.0"
    assert "torchvision" not in pinned
    assert "torchvision" not in closure(declared())
    assert "thermvision-db" not in pinned


def citation() -> dict[str, Any]:
    data = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert isinstance(data, dict)
    return data


def test_citation_is_valid() -> None:
    cff = citation()
    assert cff["cff-version"] == "1.2.0"
    assert {"message", "title", "authors", "version", "license"} <= set(cff)
    assert [a["family-names"] for a in cff["authors"]] == ["Farooq", "Shariff", "Corcoran"]
    works = {work["type"]: work for work in (cff["preferred-citation"], *cff["references"])}
    assert works["article"]["doi"] == "10.1016/j.dib.2026.112506"
    assert works["data"]["doi"] == "10.57967/hf/7026"
    for work in works.values():
        assert {"type", "title", "authors"} <= set(work)


def test_versions_agree() -> None:
    version = thermvision_db.__version__
    assert str(citation()["version"]) == version
    log = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    headings = re.findall(r"^## \[([^\]]+)\]", log, re.MULTILINE)
    assert next(h for h in headings if h != "Unreleased") == version
    assert setup()["metadata"]["version"] == "attr: thermvision_db.__version__"


@pytest.mark.parametrize("name", ["LICENSE", "NOTICE"])
def test_licence_files_are_there_and_shipped(name: str) -> None:
    assert name in setup()["metadata"]["license_files"].split()
    text = (ROOT / name).read_text(encoding="utf-8")
    assert "Apache License" in text
    assert setup()["metadata"]["license"] == citation()["license"] == "Apache-2.0"


def test_build_system_is_only_a_hook() -> None:
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert list(pyproject) == ["build-system"]


def test_commit_hooks_run_what_is_installed() -> None:
    """No hook fetches anything: each runs a command of the environment, with its pinned version."""
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))["repos"]
    assert {repo["repo"] for repo in hooks} == {"local"}
    found = {hook["id"]: hook for repo in hooks for hook in repo["hooks"]}
    assert set(found) == {"ruff-check", "ruff-format", "mypy"}
    assert {hook["language"] for hook in found.values()} == {"system"}
