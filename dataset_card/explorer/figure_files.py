"""The pictures that came with a release: what lies in its folder ``preview``, light and dark."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from ..plots import SHOWN, read_plots
from .side import MissingError, Piece

FOLDER, DARK = "preview", "-dark"  # what ends the name of a figure on a dark ground
MAX_BYTES = 32 * 2**20
TYPES = {".svg": "image/svg+xml", ".png": "image/png", ".webp": "image/webp", ".jpg": "image/jpeg"}
_CAPTIONS = {
    "strip": "Frames of the release in a row",
    "clips": "Clips that play beside each other",
    "contact_sheet": "Items of the release on one page",
}
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}")


def figure_files(root: Path) -> dict[str, Path]:
    """Pictures of the release in ``root`` by their names; links and what is too large are passed over."""
    folder = root / FOLDER
    try:
        found = sorted(p for p in folder.iterdir() if p.suffix in TYPES and _NAME.fullmatch(p.name))
        plain = [p for p in found if p.is_file() and not p.is_symlink() and not folder.is_symlink()]
        return {p.name: p for p in plain if p.stat().st_size <= MAX_BYTES}
    except OSError:
        return {}


def list_figures(root: Path) -> list[dict[str, Any]]:
    """The figures of a release in the order of its card: name, the file for a light and a dark page, caption."""
    looks: dict[str, dict[str, str]] = {}
    for name in sorted(figure_files(root), key=lambda n: (list(TYPES).index(Path(n).suffix), n)):
        stem = Path(name).stem
        look = "dark" if stem.endswith(DARK) else "light"
        looks.setdefault(stem.removesuffix(DARK), {}).setdefault(look, name)
    told = {plot["name"]: f"{plot['title']}. {plot['caption']}" for plot in read_plots(root / FOLDER)}
    return [
        {"name": stem, "light": found.get("light") or found["dark"], "dark": found.get("dark") or found["light"],
         "caption": told.get(stem) or _CAPTIONS.get(stem) or stem.replace("_", " ").replace("-", " ")}
        for stem, found in sorted(looks.items(), key=lambda item: _place(item[0]))
    ]  # fmt: skip


def _place(stem: str) -> tuple[int, str]:
    """Pictures first, then plots in the order of the card, then what else there is."""
    order = [*_CAPTIONS, *SHOWN]
    return order.index(stem) if stem in order else len(order), stem


def figure(root: Path, name: str) -> Piece:
    """A figure of the release in ``root``.

    Raises:
        MissingError: there is none of that name.
    """
    path = figure_files(root).get(name)
    if path is None:
        raise MissingError(f"the release has no figure {name[:60]!r}")
    there = path.stat()
    return Piece(path.read_bytes, TYPES[path.suffix], f"{there.st_mtime_ns:x}-{there.st_size:x}")
