"""A tree of untrusted XML, with line numbers: no DTD, so no entities, and bounded in bytes, depth and elements.

`xml.etree` keeps no line numbers, and a label file that breaks off in the middle is still worth its complete part.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from xml.parsers import expat
from xml.sax.saxutils import escape

from thermvision.annotations.findings import Finding

MAX_DEPTH = 32
MAX_TEXT = 2**16  # characters of one element; what is beyond is no name or number
MAX_ELEMENTS = 4_000_000  # 30,000 images with 68 points each are 2.1 million
# what XML 1.0 cannot hold, not even as a reference (section 2.2)
_NO_CHARACTER = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def quoted(text: str) -> str:
    """Text for an element or a double-quoted attribute; characters that XML cannot hold become U+FFFD.

    >>> quoted('a<b & "c"')
    'a&lt;b &amp; &quot;c&quot;'
    """
    return escape(_NO_CHARACTER.sub("\ufffd", text), {'"': "&quot;", "\n": "&#10;", "\r": "&#13;", "\t": "&#9;"})


@dataclass(slots=True, eq=False)
class Node:
    """An element.

    Attributes:
        line: where it starts, from 1.
        text: all character data inside it, not that of its children.
        closed: False when the file ends inside it.
    """

    tag: str
    attributes: dict[str, str]
    line: int
    children: list[Node] = field(default_factory=list)
    text: str = ""
    closed: bool = False

    def all(self, tag: str) -> Iterator[Node]:
        """The complete descendants of a name, in the order of the file; none inside one of the same name."""
        for child in self.children:
            if child.tag == tag:
                if child.closed:
                    yield child
            else:
                yield from child.all(tag)

    def child_text(self, tag: str) -> str:
        """The stripped text of the first child of a name; empty when there is none."""
        return next((child.text.strip() for child in self.children if child.tag == tag), "")


class _RefusedError(Exception):
    pass


def parse(data: str | bytes, path: str, limit: int) -> tuple[Node | None, list[Finding]]:
    """The root element as far as it could be read; findings ``too-large``, ``dtd`` or ``not-xml`` say what ended it.

    Args:
        data: the file's content; bytes are decoded as their declaration says.
        path: written into the findings.
        limit: largest size in bytes.
    """
    if len(data) > limit:
        message = f"the file has {len(data)} bytes; allowed: {limit}; nothing was read"
        return None, [Finding(path, "too-large", message)]
    parser = expat.ParserCreate("utf-8" if isinstance(data, str) else None)
    parser.buffer_text = True
    top = Node("", {}, 0)
    stack = [top]
    count = 0

    def start(tag: str, attributes: dict[str, str]) -> None:
        nonlocal count
        count += 1
        if len(stack) > MAX_DEPTH or count > MAX_ELEMENTS:
            raise _RefusedError("too-large", f"more than {MAX_DEPTH} levels or {MAX_ELEMENTS} elements; allowed: fewer")
        node = Node(tag, attributes, parser.CurrentLineNumber)
        stack[-1].children.append(node)
        stack.append(node)

    def end(tag: str) -> None:
        stack.pop().closed = True

    def text(characters: str) -> None:
        if len(stack[-1].text) < MAX_TEXT:
            stack[-1].text += characters

    def doctype(*_: object) -> None:
        raise _RefusedError("dtd", "the file has a document type declaration; allowed: XML without one")

    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.CharacterDataHandler = text
    parser.StartDoctypeDeclHandler = doctype
    findings = []
    try:
        parser.Parse(data.encode() if isinstance(data, str) else data, True)
    except _RefusedError as refusal:
        code, message = refusal.args
        findings.append(Finding(path, code, f"line {parser.CurrentLineNumber}: {message}; the rest was not read"))
    except (expat.ExpatError, ValueError, LookupError) as error:
        seen = f"line {parser.CurrentLineNumber}: not XML ({error})"
        findings.append(Finding(path, "not-xml", f"{seen}; what was complete before it is kept"))
    return (top.children[0] if top.children else None), findings
