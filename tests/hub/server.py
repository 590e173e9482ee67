"""The test Hub as a server in this process."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from .faults import Fault, Faults
from .routes import repo_of, route_of
from .store import Account, Refused, Repo, Store
from .wire import Answer, Hangup, Received, hang_up, receive, send

CONTROL = "/_control/"  # for other processes; neither counted nor struck by faults
DEFAULT = {"hf_test": Account("tester"), "hf_reader": Account("reader", "read")}


@dataclass
class Request:
    """One request as it went: ``received`` and ``sent`` are bytes of bodies, ``head`` those of the request's head."""

    number: int
    method: str
    path: str
    kind: str
    account: str
    received: int = 0
    head: int = 0
    sent: int = 0
    status: int = 0
    fault: str = ""


class Hub:
    """A Hub that lives as long as its ``with`` block; another one on the same folder goes on with its repositories.

    >>> import tempfile, urllib.request
    >>> with tempfile.TemporaryDirectory() as folder, Hub(folder) as hub:
    ...     urllib.request.urlopen(f"{hub.url}/_control/figures").read()
    b'{}'
    """

    def __init__(self, root: Path | str, port: int = 0, accounts: Mapping[str, Account] = DEFAULT) -> None:
        self.store, self.accounts, self.faults = Store(Path(root)), dict(accounts), Faults()
        self.requests: list[Request] = []
        handler = type("HubHandler", (_Handler,), {"hub": self})
        self._server = _Server(("127.0.0.1", port), handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def __enter__(self) -> Hub:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
        self.store.close()

    def repo(self, name: str) -> Repo:
        """The dataset ORG/NAME."""
        return repo_of(self.store, name)

    def read(self, name: str, path: str, revision: str = "main") -> bytes:
        """A file of a dataset at a revision, past the wire."""
        repo = self.repo(name)
        return (self.store.objects / repo.commits[repo.resolve(revision)].files[path].sha256).read_bytes()

    def disturb(self, name: str, path: str, data: bytes, title: str = "Somebody else was here") -> str:
        """Commit a file to main as somebody else would; returns the commit."""
        key = f"datasets/{name}"
        return self.store.commit(key, "main", self.repo(name).head, title, "", {path: self.store.put(data)}, ())

    def figures(self) -> dict[str, dict[str, int]]:
        """Requests, bytes received and bytes sent, by kind."""
        total: dict[str, Counter[str]] = {}
        for request in list(self.requests):
            counts = total.setdefault(request.kind, Counter())
            counts.update(requests=1, received=request.received, head=request.head, sent=request.sent)
        return {kind: dict(counts) for kind, counts in sorted(total.items())}

    def forget(self) -> None:
        """Begin new figures."""
        self.requests.clear()

    def note(self, request: Received, kind: str) -> Request:
        account = request.account.name if request.account else ""
        noted = Request(len(self.requests) + 1, request.method, request.path, kind, account)
        self.requests.append(noted)
        return noted

    def control(self, request: Received) -> Answer:
        """What another process asks or orders."""
        match request.method, request.path.removeprefix(CONTROL):
            case "GET", "figures":
                return Answer(self.figures())
            case "GET", "requests":
                return Answer([asdict(r) for r in list(self.requests)])
            case "POST", "faults":
                self.faults.plan(*(Fault(**fault) for fault in request.json()))
            case "POST", "restart":
                self.faults.restart(request.json()["account"])
            case "POST", "forget":
                self.forget()
            case _:
                raise Refused(404, f"no order {request.method} {request.path}")
        return Answer({})


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass  # a client that was killed or hung up


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # a delayed acknowledgement costs 40 ms an answer
    wbufsize = -1

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def _request(self) -> Received:
        url = urlsplit(self.path)
        query = dict(parse_qsl(url.query))
        token = self.headers.get("Authorization", "").removeprefix("Bearer ").strip()
        account = self.hub.accounts.get(token)
        if account is None and url.path.startswith("/_lfs/"):
            account = next((a for a in self.hub.accounts.values() if a.name == query.get("by")), None)
        base = f"http://{self.headers.get('Host', '')}"
        return Received(self.command, url.path, query, self.headers, account, base)

    def _handle(self) -> None:
        request = self._request()
        if request.path.startswith(CONTROL):
            receive(self, request, self.hub.store.incoming)
            send(self, self._answer(lambda: self.hub.control(request)))
            return
        name, route, given = route_of(request.method, request.path)
        noted = self.hub.note(request, name)
        noted.head = len(self.requestline) + 2 + sum(len(k) + len(v) + 4 for k, v in self.headers.items()) + 2
        fault = self.hub.faults.take(noted.account, request.method, request.path)
        noted.fault = kind = fault.kind if fault else ""
        try:
            noted.received = receive(self, request, self.hub.store.incoming, 0.5 if kind == "reset-upload" else 1)
            if fault and kind in ("kill", "reset-before", "reset-upload"):
                _kill(fault)
                raise Hangup
            request.stale = kind == "stale"
            answer = _instead(fault) or self._answer(lambda: self._routed(request, route, given))
            if fault and kind == "error-after":
                answer = Answer({"error": "Internal error"}, fault.status)
            if fault and kind in ("kill-after", "reset-after"):
                _kill(fault)
                raise Hangup
            noted.status = answer.status
            noted.sent = send(self, answer, kind)
            self.wfile.flush()
        except (Hangup, OSError):
            hang_up(self)
        finally:
            if request.stored:
                request.stored.unlink(missing_ok=True)

    def _routed(self, request: Received, route: Any, given: dict[str, str]) -> Answer:
        if self.headers.get("Authorization") and request.account is None:
            raise Refused(401, "Invalid credentials in Authorization header")
        answer: Answer = route(self.hub.store, request, **given)
        return answer

    def _answer(self, make: Any) -> Answer:
        try:
            answer: Answer = make()
            return answer
        except Refused as refused:
            told = {"X-Error-Code": refused.code, "X-Error-Message": refused.message, "X-Repo-Commit": refused.commit}
            headers = {name: value for name, value in told.items() if value}
            return Answer({"error": refused.message}, refused.status, headers)
        except (KeyError, TypeError, ValueError, json.JSONDecodeError) as error:
            return Answer({"error": f"Bad request: {type(error).__name__} {error}"}, 400)

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = _handle  # noqa: N815


def _kill(fault: Fault) -> None:
    if fault.kind.startswith("kill") and fault.pid:
        with contextlib.suppress(ProcessLookupError):
            os.kill(fault.pid, signal.SIGKILL)


def _instead(fault: Fault | None) -> Answer | None:
    """What a fault answers in place of the route."""
    match fault.kind if fault else "":
        case "error":
            assert fault
            return Answer({"error": "Internal error, try again"}, fault.status)
        case "limit":
            assert fault
            return Answer({"error": "Too many requests"}, 429, {"Retry-After": f"{fault.seconds:g}"})
        case "expire":
            message = "Invalid credentials in Authorization header"
            return Answer({"error": message}, 401, {"X-Error-Message": message})
        case "slow":
            assert fault
            time.sleep(fault.seconds)
    return None
