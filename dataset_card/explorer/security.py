"""Who may ask the explorer's server for what: the token in the address, the Host, the Origin, sizes, and the headers.

A page of another site can make a browser send requests to 127.0.0.1 but neither knows the token nor reads an answer.
The checks stand before every route, so that a new route cannot forget them.
"""

from __future__ import annotations

import hmac
import ipaddress
import json
import re
import secrets
import socket
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any
from urllib.parse import unquote_to_bytes

TOKEN_BYTES = 16  # 128 bits, which nobody guesses
MAX_BODY = 64 * 1024
MAX_TARGET = 8 * 1024  # bytes of path and query
MAX_HEADERS = 32 * 1024
MAX_QUERY_VALUES = 200
METHODS = ("GET", "HEAD", "POST")

_PATH = re.compile(rb"/(?:[A-Za-z0-9_-][A-Za-z0-9._-]*(?:/[A-Za-z0-9_-][A-Za-z0-9._-]*)*/?)?")
_TOKEN = re.compile(r"[A-Za-z0-9_-]{8,100}")
# in a page of its own: a <meta> cannot say frame-ancestors
META_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; media-src 'self' blob:;"
    " connect-src 'self'; base-uri 'none'; form-action 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
)
HEADERS: tuple[tuple[bytes, bytes], ...] = (
    (b"content-security-policy", f"{META_POLICY}; frame-ancestors 'none'".encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), geolocation=(), microphone=()"),
)

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


class RefusedError(Exception):
    """A request that is not answered: an HTTP status and words for its sender."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status, self.message = status, message


def new_token() -> str:
    """A random first path segment.

    >>> len(new_token()), new_token() != new_token()
    (22, True)
    """
    return secrets.token_urlsafe(TOKEN_BYTES)


def fit_token(token: str) -> bool:
    """Whether ``token`` may stand in an address as it is.

    >>> fit_token("abc_DEF-123"), fit_token("short"), fit_token("a/../../b")
    (True, False, False)
    """
    return bool(_TOKEN.fullmatch(token))


def loopback(host: str) -> bool:
    """Whether only this machine reaches ``host``.

    >>> loopback("127.0.0.1"), loopback("::1"), loopback("localhost"), loopback("0.0.0.0"), loopback("example.org")
    (True, True, True, False, False)
    """
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def host_names(host: str, port: int) -> frozenset[str]:
    """What the Host header of a request may say to a server that is bound to ``host`` and ``port``.

    >>> sorted(host_names("127.0.0.1", 8765))
    ['127.0.0.1:8765', 'localhost:8765']
    """
    names = {f"[{host}]" if ":" in host else host}
    if loopback(host):
        names.add("localhost")
    elif _everywhere(host):
        names |= {"localhost", "127.0.0.1", "[::1]", socket.gethostname().lower(), socket.getfqdn().lower()}
    return frozenset({f"{n}:{port}" for n in names} | (names if port == 80 else set()))


def address(host: str, port: int, token: str) -> str:
    """What a browser on this machine opens.

    >>> address("127.0.0.1", 8765, "TOKEN"), address("::", 8765, "TOKEN")
    ('http://127.0.0.1:8765/TOKEN/', 'http://[::1]:8765/TOKEN/')
    """
    if _everywhere(host):  # which is no address to go to
        host = "::1" if ":" in host else "127.0.0.1"
    return f"http://{f'[{host}]' if ':' in host else host}:{port}/{token}/"


def _everywhere(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_unspecified
    except ValueError:
        return False


def _address_literal(host: str, port: int) -> bool:
    # an address is no name that somebody could point elsewhere
    name, _, seen = host.rpartition(":")
    try:
        ipaddress.ip_address(name.removeprefix("[").removesuffix("]"))
    except ValueError:
        return False
    return seen == str(port)


class Guard:
    """An ASGI application before another: passes on what may pass, with the token taken off the path.

    Args:
        app: what answers.
        token: first segment of every path.
        host, port: what the server is bound to.
    """

    def __init__(self, app: App, token: str, host: str, port: int) -> None:
        self.app, self.token, self.port = app, token, port
        self.hosts, self.any_address = host_names(host, port), _everywhere(host)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":
            return  # a web socket is closed by saying nothing
        answer = _with_headers(send)
        try:
            rest = self._checked(scope)
        except RefusedError as refused:
            await send_refusal(answer, refused, scope["method"] == "HEAD")
            return
        if rest is None:
            await _redirect(answer, f"/{self.token}/")
            return
        inner = {**scope, "path": rest, "raw_path": rest.encode(), "root_path": ""}
        await self.app(inner, _bounded(receive), answer)

    def _checked(self, scope: Scope) -> str | None:
        """The path behind the token; None where it lacks its slash."""
        headers: list[tuple[bytes, bytes]] = list(scope["headers"])
        # uvicorn bounds a head that comes in pieces only
        if (size := sum(len(k) + len(v) for k, v in headers)) > MAX_HEADERS:
            raise RefusedError(431, f"the headers have {size} bytes; allowed: {MAX_HEADERS}")
        host = self._host(headers)
        target = scope["raw_path"] + b"?" + scope["query_string"]
        if len(target) > MAX_TARGET:
            raise RefusedError(414, f"the address has {len(target)} bytes; allowed: {MAX_TARGET}")
        first, slash, rest = scope["raw_path"].removeprefix(b"/").partition(b"/")
        # the same answer to a wrong token as to a wrong path: nothing is said of what is here
        if not hmac.compare_digest(first, self.token.encode()):
            raise RefusedError(404, "not found")
        if scope["method"] not in METHODS:
            raise RefusedError(405, f"the method is {scope['method'][:20]}; allowed: {', '.join(METHODS)}")
        if not _PATH.fullmatch(b"/" + rest):
            raise RefusedError(404, "not found")
        _check_query(scope["query_string"])
        if scope["method"] == "POST":
            _check_post(headers, host)
        return (b"/" + rest).decode() if slash else None

    def _host(self, headers: Iterable[tuple[bytes, bytes]]) -> str:
        found = [v.decode("latin-1").lower() for k, v in headers if k == b"host"]
        if len(found) == 1 and (found[0] in self.hosts or (self.any_address and _address_literal(found[0], self.port))):
            return found[0]
        raise RefusedError(421, "the Host header is not this server's; open the address as it was printed")


def _check_query(query: bytes) -> None:
    if query.count(b"&") >= MAX_QUERY_VALUES:
        raise RefusedError(422, f"the query has more than {MAX_QUERY_VALUES} values")
    try:
        unquote_to_bytes(query).decode()
    except UnicodeDecodeError:
        raise RefusedError(422, "the query is no UTF-8") from None


def _check_post(headers: list[tuple[bytes, bytes]], host: str) -> None:
    origins = [v.decode("latin-1").lower() for k, v in headers if k == b"origin"]
    if origins != [f"http://{host}"]:
        seen = origins[0][:100] if origins else "missing"
        raise RefusedError(403, f"the Origin header is {seen}; decisions are taken from the explorer's own page only")
    kinds = [v.partition(b";")[0].strip().lower() for k, v in headers if k == b"content-type"]
    if kinds != [b"application/json"]:
        raise RefusedError(415, "the body's Content-Type is not application/json, which it must be")
    if {b"content-length", b"transfer-encoding"} <= {k for k, _ in headers}:
        raise RefusedError(400, "the request has both Content-Length and Transfer-Encoding; send one of them")
    for length in (v for k, v in headers if k == b"content-length"):
        if not length.isdigit() or int(length) > MAX_BODY:
            raise _too_large()


def _too_large() -> RefusedError:
    return RefusedError(413, f"the body is too large; allowed: {MAX_BODY} bytes")


def _bounded(receive: Receive) -> Receive:
    seen = 0

    async def counted() -> MutableMapping[str, Any]:
        nonlocal seen
        message = await receive()
        seen += len(message.get("body") or b"")
        if seen > MAX_BODY:  # a chunked body does not announce its size
            raise _too_large()
        return message

    return counted


def _with_headers(send: Send) -> Send:
    async def extended(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message.get("headers", ()), *HEADERS]}
        await send(message)

    return extended


async def send_refusal(send: Send, refused: RefusedError, head: bool = False) -> None:
    """Answer with ``{"error": words}`` and close the connection: of what was refused nothing more is read."""
    body = json.dumps({"error": refused.message}).encode()
    headers = [
        (b"content-type", b"application/json"), (b"content-length", str(len(body)).encode()),
        (b"cache-control", b"no-store"), (b"connection", b"close"),
    ]  # fmt: skip
    await send({"type": "http.response.start", "status": refused.status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if head else body})


async def _redirect(send: Send, where: str) -> None:
    headers = [(b"location", where.encode()), (b"content-length", b"0"), (b"cache-control", b"no-store")]
    await send({"type": "http.response.start", "status": 307, "headers": headers})
    await send({"type": "http.response.body", "body": b""})
