"""The files of the explorer's page: what they load is there, nothing comes from elsewhere, no data is read as HTML."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from importlib.resources import files
from pathlib import Path

import pytest

PAGE = Path(str(files("thermvision.dataset_card.explorer"))) / "page"
SCRIPTS = sorted(PAGE.glob("*.js"))
STYLES = sorted(PAGE.glob("*.css"))
_IMPORT = re.compile(r"""(?:from\s+|import\s*\(\s*|import\s+)["']([^"']+)["']""")
_COMMENTS = re.compile(r"/\*.*?\*/|^\s*//.*?$", re.S | re.M)
# ways in which text becomes markup or code
_UNSAFE = re.compile(
    r"\.(inner|outer)HTML|insertAdjacentHTML|document\.write|DOMParser|createContextualFragment|\beval\(|new Function|"
    r"setAttribute\(\s*[\"'](style|on\w+)|javascript:"
)


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.inline: list[str] = []
        self._open = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._open = tag

    def handle_endtag(self, tag: str) -> None:
        self._open = ""

    def handle_data(self, data: str) -> None:
        if self._open in ("script", "style") and data.strip():
            self.inline.append(data)


def _tags() -> _Tags:
    parser = _Tags()
    parser.feed((PAGE / "index.html").read_text())
    return parser


def _code(path: Path) -> str:
    return _COMMENTS.sub("", path.read_text())


def test_the_document_loads_files_of_its_own_and_holds_no_code() -> None:
    parser = _tags()
    loaded = [a.get("src") or a.get("href") for t, a in parser.tags if t in ("script", "link")]
    assert len(loaded) > 10
    assert [name for name in loaded if not name or not (PAGE / name).is_file()] == []
    assert parser.inline == []
    assert [n for _, a in parser.tags for n in a if n == "style" or n.startswith("on")] == []


def test_every_style_is_linked() -> None:
    linked = {a["href"] for t, a in _tags().tags if t == "link" and a.get("rel") == "stylesheet"}
    assert linked == {path.name for path in STYLES}


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_a_module_imports_what_is_there_and_reads_no_data_as_markup(path: Path) -> None:
    code = _code(path)
    assert [n for n in _IMPORT.findall(code) if not (n.startswith("./") and (PAGE / n).is_file())] == []
    assert _UNSAFE.findall(code) == []
    # the one absolute address is a name, that of the SVG elements
    assert set(re.findall(r"https?://[^\s\"'`)]+", code)) <= {"http://www.w3.org/2000/svg"}
    assert len(path.read_text().splitlines()) <= 400


@pytest.mark.parametrize("path", STYLES, ids=lambda path: path.name)
def test_a_style_loads_nothing(path: Path) -> None:
    assert re.findall(r"url\(|@import|expression\(", path.read_text()) == []


def test_what_the_first_paint_needs_is_asked_for_at_once() -> None:
    """A module that another imports is found a round trip later, unless the document names it."""
    found, ahead = set(), ["./main.js"]
    while ahead:
        name = ahead.pop()
        code = _code(PAGE / name)
        static = re.findall(r"""^(?:import|export)\s[^"';]*?from\s+["']([^"']+)["']""", code, re.M)
        new = set(static) - found
        found |= new
        ahead += new
    named = {f"./{a['href']}" for t, a in _tags().tags if t == "link" and a.get("rel") == "modulepreload"}
    assert named == found
