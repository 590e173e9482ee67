"""Publishing in processes that can be killed at any request, each forked from one that has everything imported."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing import forkserver
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any
from unittest import mock

from .client import pointed_at

LONGEST = 240.0  # seconds; what runs longer hangs


@dataclass(frozen=True)
class Run:
    """How one process ended: its exit code (negative: killed by that signal), what it wrote, and its seconds."""

    code: int | None
    output: str
    seconds: float


class Forks:
    """Starts processes whose clients talk to the Hub at ``url``; what they leave behind lies in ``folder``."""

    def __init__(self, url: str, folder: Path) -> None:
        self._url, self._folder = url, folder
        folder.mkdir(parents=True, exist_ok=True)
        # each start reads how the other children ended, which can be read once: not while another thread reads it
        self._lock = threading.Lock()
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(["hub.preloaded"])
        paths = [str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
        # without torch: `datasets` would load it in each of them, which takes four times as long as to publish
        environment = {"PYTHONPATH": os.pathsep.join(filter(None, paths)), "USE_TORCH": "0"}
        with mock.patch.dict(os.environ, environment):
            forkserver.ensure_running()

    def process(self, token: str, target: Any, *arguments: Any) -> Any:
        """A started process that runs ``target(*arguments)`` as the owner of ``token``."""
        given = (self._url, str(self._folder), token, target, arguments)
        process = self._context.Process(target=_pointed, args=given, daemon=True)
        with self._lock:
            process.start()
        return process

    @contextlib.contextmanager
    def command(self, arguments: list[str], token: str) -> Iterator[tuple[int, Any]]:
        """Pid of a process that waits to run ``thermvision ARGUMENTS``, and what lets it go and gives its `Run`."""
        handle, name = tempfile.mkstemp(".log", dir=self._folder)
        os.close(handle)
        log = Path(name)
        ours, theirs = self._context.Pipe()
        process = self.process(token, _command, theirs, arguments, str(log))
        theirs.close()

        def go() -> Run:
            began = time.monotonic()
            ours.send("go")
            wait([process.sentinel], LONGEST)
            with self._lock:
                process.join(0)
            return Run(process.exitcode, log.read_text(errors="replace"), time.monotonic() - began)

        try:
            yield process.pid, go
        finally:
            with self._lock:
                process.kill()
                process.join()
                process.close()
            ours.close()
            log.unlink()


def _pointed(url: str, folder: str, token: str, target: Any, arguments: tuple[Any, ...]) -> None:
    tempfile.tempdir = folder
    with pointed_at(url, Path(folder, "home"), token):
        target(*arguments)


def _command(gate: Connection, arguments: list[str], log: str) -> None:
    handle = os.open(log, os.O_WRONLY | os.O_TRUNC)
    for stream in (1, 2):
        os.dup2(handle, stream)
    gate.recv()
    import thermvision_db

    sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115 - those of the parent are closed
    sys.stderr = open(2, "w", closefd=False)  # noqa: SIM115
    raise SystemExit(thermvision_db.main(arguments))
