"""The files of the page: what lies in `page/` and nothing else."""

from __future__ import annotations

from pathlib import Path

from .side import MissingError, Piece

FOLDER = Path(__file__).with_name("page")
INDEX = "index.html"
TYPES = {
    ".html": "text/html; charset=utf-8", ".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml", ".png": "image/png", ".webp": "image/webp", ".ico": "image/x-icon",
}  # fmt: skip


def page_files() -> dict[str, Path]:
    """The files of the page by their names, which have slashes where they lie in folders.

    >>> "index.html" in page_files()
    True
    """
    found = sorted(p for p in FOLDER.rglob("*") if p.suffix in TYPES and p.is_file() and not p.is_symlink())
    return {p.relative_to(FOLDER).as_posix(): p for p in found}


def page_file(name: str) -> Piece:
    """A file of the page; the empty name is its index.

    Raises:
        MissingError: there is none of that name.
    """
    path = page_files().get(name or INDEX)
    if path is None:
        raise MissingError("not found")
    there = path.stat()
    return Piece(path.read_bytes, TYPES[path.suffix], f"{there.st_mtime_ns:x}-{there.st_size:x}")
