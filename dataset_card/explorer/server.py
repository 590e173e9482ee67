"""The explorer over HTTP: routes, errors as JSON, and the socket that it listens on.

Every answer comes from `exhibit`, as it does in a static export; here is only what HTTP needs.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import logging
import socket
from collections.abc import AsyncIterator, Callable
from typing import Any, TypeVar
from urllib.parse import parse_qsl

import anyio
import uvicorn
from anyio.to_thread import run_sync
from fastapi import FastAPI, Request, Response
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from thermvision.annotations.errors import DamagedInputError, OutputError, ThermVisionError, UsageError

from .as_json import json_bytes
from .connections import MAX_HEAD, BoundedConnection
from .exhibit import Exhibit
from .figure_files import figure as figure_piece
from .page_files import page_file
from .security import Guard, RefusedError
from .side import MissingError, OutdatedError, Piece

PORT, PORTS_TRIED = 8765, 50
BODY_SECONDS = 10.0
# threads for each: neither media that are slow to decode nor filters that wait for labels hold up the rest
WORKERS = {"data": 4, "items": 4, "media": 6}
_log = logging.getLogger(__name__)
T = TypeVar("T")


def create_app(exhibit: Exhibit) -> FastAPI:
    """The application without its guard: paths begin behind the token.

    Args:
        exhibit: what is shown.
    """
    limits = {name: anyio.CapacityLimiter(count) for name, count in WORKERS.items()}

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        exhibit.close()

    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None, redirect_slashes=False, lifespan=lifespan)

    async def work(kind: str, task: Callable[[], T]) -> T:
        return await run_sync(lambda: _told(task), limiter=limits[kind], abandon_on_cancel=True)

    async def data(make: Callable[[], Any], kind: str = "data") -> Response:
        def text() -> bytes:
            exhibit.poll()
            return json_bytes(make())

        return Response(await work(kind, text), headers={"Cache-Control": "no-store"}, media_type="application/json")

    async def piece(request: Request, make: Callable[[], Piece]) -> Response:
        return await work("media", lambda: _stored(request, make()))

    def get(path: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        return app.api_route(path, methods=["GET", "HEAD"], response_model=None)

    @get("/data/about.json")
    async def about() -> Response:
        return await data(exhibit.about)

    @get("/data/findings.json")
    async def findings() -> Response:
        return await data(exhibit.findings)

    @get("/data/decisions.json")
    async def decisions() -> Response:
        return await data(exhibit.decisions)

    @get("/data/figures.json")
    async def figures() -> Response:
        return await data(exhibit.figures)

    @get("/data/figure/{name}")
    async def figure(request: Request, name: str) -> Response:
        return await piece(request, lambda: figure_piece(exhibit.sides["a"].root, name))

    @get("/data/{side}/items.json")
    async def items(request: Request, side: str) -> Response:
        asked = parse_qsl(request.scope["query_string"].decode("latin-1"), keep_blank_values=True)
        return await data(lambda: exhibit.items(side, asked), "items")

    @get("/data/{side}/map.json")
    async def identity_map(side: str) -> Response:
        return await data(lambda: exhibit.identity_map(side))

    @get("/data/{side}/item/{name}")
    async def item(side: str, name: str) -> Response:
        return await data(lambda: exhibit.item(side, number(name, ".json")))

    @get("/data/{side}/media/{name}")
    async def media(request: Request, side: str, name: str) -> Response:
        key, _, kind = name.rpartition(".")
        return await piece(request, lambda: exhibit.side(side).stored(number(key), kind))

    @get("/data/{side}/frame/{key}/{name}")
    async def frame(request: Request, side: str, key: str, name: str) -> Response:
        return await piece(request, lambda: exhibit.side(side).frame(number(key), number(name, ".png")))

    @get("/data/{side}/thumb/{key}/{name}")
    async def thumb(request: Request, side: str, key: str, name: str) -> Response:
        return await piece(request, lambda: exhibit.side(side).thumb(number(key), number(name, ".jpg")))

    @get("/data/{side}/heat/{key}/{name}")
    async def heat(request: Request, side: str, key: str, name: str) -> Response:
        return await piece(request, lambda: exhibit.side(side).heat(number(key), number(name, ".bin")))

    @app.post("/data/decisions.json", response_model=None)
    async def decide(request: Request) -> Response:
        said = await posted(request)
        made = await work("data", lambda: exhibit.decide(said))
        return Response(json_bytes(made), 201, {"Cache-Control": "no-store"}, "application/json")

    @get("/{name:path}")
    async def page(request: Request, name: str) -> Response:
        return await piece(request, lambda: page_file(name))

    _answer_errors(app)
    return app


def _told(task: Callable[[], T]) -> T:
    """What ``task`` gives; what nobody expected is a trace in the log and words without one in the answer."""
    try:
        return task()
    except (ThermVisionError, RefusedError):
        raise
    except Exception:
        _log.exception("the explorer failed")
        raise RefusedError(500, "the explorer failed at this; the terminal it runs in says where") from None


def number(text: str, ending: str = "") -> int:
    """The number that a segment of a path is, without its ending.

    >>> number("17.json", ".json")
    17

    Raises:
        MissingError: it is none.
    """
    digits = text.removesuffix(ending)
    if digits + ending != text or not (digits.isascii() and digits.isdigit()) or len(digits) > 9:
        raise MissingError(f"{text[:40]!r} is no number{f' with {ending}' if ending else ''}")
    return int(digits)


async def posted(request: Request) -> dict[str, Any]:
    """The JSON object that a request holds.

    Raises:
        RefusedError: it does not come, or is none.
    """
    try:
        async with asyncio.timeout(BODY_SECONDS):
            body = await request.body()
    except ClientDisconnect:
        raise RefusedError(400, "the connection ended before the body did") from None
    except TimeoutError:
        raise RefusedError(408, f"the body did not come within {BODY_SECONDS:.0f} s") from None
    try:
        value = json.loads(body.decode(), parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        reason = "nested too deep" if isinstance(error, RecursionError) else str(error)[:200]
        raise RefusedError(400, f"the body is no JSON: {reason}") from None
    if not isinstance(value, dict):
        raise RefusedError(422, f"the body is a {type(value).__name__}; allowed: an object")
    return value


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def _stored(request: Request, found: Piece) -> Response:
    # asked again before each use: after a release was read anew the same address may be another item
    headers = {"Cache-Control": "private, no-cache"}
    if found.etag:
        headers["ETag"] = f'"{found.etag}"'
        if headers["ETag"] in request.headers.get("if-none-match", ""):
            return Response(None, 304, headers)
    return Response(found.read(), headers=headers, media_type=found.media_type)


def _answer_errors(app: FastAPI) -> None:
    def say(status: int, message: str) -> Response:
        headers = {"Cache-Control": "no-store"}
        if status in (408, 413):  # what is left of the body is not read
            headers["Connection"] = "close"
        return Response(json_bytes({"error": message}), status, headers, "application/json")

    def known(_: Request, error: Exception) -> Response:
        codes: list[tuple[type[Exception], int]] = [
            (MissingError, 404), (OutdatedError, 409), (UsageError, 422), (DamagedInputError, 500), (OutputError, 507),
        ]  # fmt: skip
        return say(next((code for kind, code in codes if isinstance(error, kind)), 500), str(error))

    def refused(_: Request, error: Exception) -> Response:
        assert isinstance(error, RefusedError)
        return say(error.status, error.message)

    def http(_: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        return say(error.status_code, "not found" if error.status_code == 404 else str(error.detail))

    app.add_exception_handler(ThermVisionError, known)
    app.add_exception_handler(RefusedError, refused)
    app.add_exception_handler(HTTPException, http)


def listen(host: str, port: int | None) -> socket.socket:
    """A socket that listens on ``host``: on ``port``, or on the first free one from `PORT` on where that is None.

    Raises:
        UsageError: the address is not this machine's, or the port is taken.
    """
    tried = [port] if port is not None else [*range(PORT, PORT + PORTS_TRIED), 0]
    for candidate in tried:
        try:
            family = socket.getaddrinfo(host, candidate, type=socket.SOCK_STREAM)[0][0]
            # asyncio sends small packets at once only where the protocol is named: else every answer waits 40 ms
            found = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        except OSError as error:
            raise UsageError(f"--host {host} is no address of this machine ({error}); leave it out") from error
        try:
            found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            found.bind((host, candidate))
            found.listen(128)
            return found
        except OSError as error:
            found.close()
            if error.errno not in (errno.EADDRINUSE, errno.EACCES):
                raise UsageError(f"--host {host} cannot be listened on ({error}); type: --host 127.0.0.1") from error
            if port is not None:
                raise UsageError(
                    f"--port {port} cannot be listened on ({error.strerror}); leave --port out, and a free one is taken"
                ) from error
    raise UsageError(f"no port of {host} is free")


def make_server(exhibit: Exhibit, token: str, host: str, port: int) -> uvicorn.Server:
    """A server for a socket that is bound to ``host`` and ``port``: ``run(sockets=[socket])`` serves until the end."""
    config = uvicorn.Config(
        Guard(create_app(exhibit), token, host, port), http=BoundedConnection, ws="none", lifespan="on",
        loop="asyncio", log_config=None, access_log=False, server_header=False, date_header=False,
        proxy_headers=False, h11_max_incomplete_event_size=MAX_HEAD, timeout_keep_alive=30,
        timeout_graceful_shutdown=1,
    )  # fmt: skip
    return uvicorn.Server(config)
