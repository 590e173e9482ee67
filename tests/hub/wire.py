"""One request and its answer on the wire, with what a fault makes of them."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import os
import re
import socket
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from email.message import Message
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

from .store import BLOCK, Account, Repo

_numbers = itertools.count()


class Hangup(Exception):  # noqa: N818
    """The connection ends here, without an answer."""


@dataclass
class Answer:
    """What goes back: plain values as JSON, bytes as they are, or ``length`` bytes of a file from ``start``."""

    body: Any = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    kind: str = "application/json"
    file: Path | None = None
    start: int = 0
    length: int = 0


@dataclass
class Received:
    """A request as the routes see it; ``stored`` is the file that holds the body of an LFS upload."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Message  # finds names in either case
    account: Account | None
    base: str
    stale: bool = False
    body: bytes = b""
    stored: Path | None = None
    sha256: str = ""

    def json(self) -> Any:
        return json.loads(self.body or b"{}")

    def commit_of(self, repo: Repo, revision: str) -> str:
        return repo.resolve(revision, self.stale)


def blocks(handler: BaseHTTPRequestHandler, stop_at: float = 1.0) -> Iterator[bytes]:
    """The body in pieces; `Hangup` once the part ``stop_at`` of it (< 1) was read."""
    if "chunked" in handler.headers.get("Transfer-Encoding", ""):
        while size := int(handler.rfile.readline().split(b";")[0], 16):
            yield handler.rfile.read(size)
            handler.rfile.readline()
            if stop_at < 1:
                raise Hangup
        handler.rfile.readline()
        return
    length = int(handler.headers.get("Content-Length") or 0)
    left = int(length * stop_at)
    while left > 0:
        data = handler.rfile.read(min(left, BLOCK))
        if not data:
            raise Hangup  # the client is gone
        left -= len(data)
        yield data
    if stop_at < 1:
        raise Hangup


def receive(handler: BaseHTTPRequestHandler, request: Received, folder: Path, stop_at: float = 1.0) -> int:
    """Read the body into ``request``, that of an LFS upload into a file in ``folder``; returns its bytes."""
    pieces, total = blocks(handler, stop_at), 0
    if request.method != "PUT" or not request.path.startswith("/_lfs/"):
        request.body = b"".join(pieces)
        return len(request.body)
    digest, path = hashlib.sha256(), folder / f"{os.getpid()}-{next(_numbers)}"
    request.stored = path
    with path.open("wb") as file:
        for data in pieces:
            total += len(data)
            digest.update(data)
            file.write(data)
    request.sha256 = digest.hexdigest()
    return total


def send(handler: BaseHTTPRequestHandler, answer: Answer, fault: str = "") -> int:
    """Send the answer, or the half of it that ``fault`` lets through; returns the bytes of its body."""
    body = answer.body
    if answer.file is None and not isinstance(body, bytes):
        body = json.dumps(body).encode()
    total = answer.length if answer.file else len(body)
    cut = fault in ("reset-download", "truncated", "short")
    if cut and (total < 2 or handler.command == "HEAD"):
        raise Hangup  # there is nothing to cut
    length = total // 2 if cut else total
    handler.send_response(answer.status)
    for name, value in answer.headers.items():
        handler.send_header(name, value)
    handler.send_header("Content-Type", answer.kind)
    handler.send_header("Content-Length", str(length if fault == "short" else total))
    handler.end_headers()
    if handler.command == "HEAD":
        return 0
    if answer.file:
        with answer.file.open("rb") as file:
            file.seek(answer.start)
            left = length
            while left and (data := file.read(min(left, BLOCK))):
                handler.wfile.write(data)
                left -= len(data)
    else:
        handler.wfile.write(body[:length])
    handler.wfile.flush()
    if cut and fault == "reset-download":
        raise Hangup
    if cut:
        handler.close_connection = True
    return length


def hang_up(handler: BaseHTTPRequestHandler) -> None:
    """Reset the connection: the client sees no end of the answer but an error."""
    with contextlib.suppress(OSError):
        handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        handler.connection.close()
    handler.close_connection = True


def part_of(size: int, wanted: str) -> tuple[int, int] | None:
    """First byte and length of the Range header ``wanted``; None: the whole; a length of 0: it cannot be had.

    >>> part_of(100, "bytes=10-19"), part_of(100, "bytes=-30"), part_of(100, "bytes=90-"), part_of(100, "")
    ((10, 10), (70, 30), (90, 10), None)
    """
    match = re.fullmatch(r"bytes=(\d*)-(\d*)", wanted)
    if not match or match.groups() == ("", ""):
        return None
    first, last = match.groups()
    start = int(first) if first else max(0, size - int(last))
    stop = min(int(last) + 1, size) if first and last else size
    return start, max(0, stop - start)
