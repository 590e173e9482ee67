"""`thermvision view` as a process, and the little that all tests of its page need."""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
import sys
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TOKEN = "a-token-for-the-tests"
WIDE, NARROW = {"width": 1440, "height": 900}, {"width": 390, "height": 844}
SECONDS = 60.0  # for a server to listen: four of them start at once on two cores


@dataclass(frozen=True)
class Served:
    """A running `thermvision view`: its address, and the table that decisions are saved in."""

    url: str
    decisions: Path
    process: subprocess.Popen[str]


@contextlib.contextmanager
def serving(release: Path, decisions: Path, *options: str | Path) -> Iterator[Served]:
    """`thermvision view RELEASE` in a process of its own, until the block ends."""
    command = [
        sys.executable, "-m", "thermvision_db", "view", release, "--port", "0", "--token", TOKEN,
        "--decisions", decisions, *options,
    ]  # fmt: skip
    process = subprocess.Popen(
        [str(part) for part in command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    said: list[str] = []
    found = threading.Event()

    def listen() -> None:
        assert process.stdout is not None
        for line in process.stdout:
            said.append(line)
            if TOKEN in line:
                found.set()
        found.set()

    reader = threading.Thread(target=listen, daemon=True)
    reader.start()
    try:
        assert found.wait(SECONDS), f"nothing listens after {SECONDS:.0f} s: {''.join(said)}"
        address = re.search(rf"http://\S+/{TOKEN}/", "".join(said))
        assert address, "".join(said)
        yield Served(address[0], decisions, process)
    finally:
        process.terminate()
        process.wait(10)
        reader.join(10)
        if process.stdout is not None:
            process.stdout.close()


def until(true: Callable[[], Any], seconds: float = 10.0) -> Any:
    """What ``true`` gives once that is true, asked often for up to ``seconds``."""
    end = time.monotonic() + seconds
    while not (found := true()):
        assert time.monotonic() < end, "it did not come about"
        time.sleep(0.02)
    return found


def fetched(served: Served, path: str) -> Any:
    """The JSON that the server has at ``path``."""
    with urllib.request.urlopen(served.url + path, timeout=30) as answer:
        return json.load(answer)


def key_of(served: Served, item_id: str, side: str = "a") -> int:
    """Key of an item."""
    found = fetched(served, f"data/{side}/items.json?{urllib.parse.urlencode({'q': item_id, 'limit': 500})}")
    return next(item["key"] for item in found["items"] if item["id"] == item_id)


def link(served: Served, item_id: str, frame: int = 0, **more: str) -> str:
    """The address of an opened item at a frame."""
    state = {"item": f"a:{key_of(served, item_id)}", **({"frame": str(frame)} if frame else {}), **more}
    return f"{served.url}#{urllib.parse.urlencode(state, safe=':')}"


def tally(page: Any) -> str:
    """What the grid says it shows: "30 items, 286 frames"; once it is no longer about the query before."""
    page.wait_for_function(
        "() => !document.querySelector('#results.old') && document.querySelector('.tally')?.textContent"
    )
    return " ".join(page.locator(".tally").inner_text().split())


def at_frame(page: Any, frame: int) -> None:
    """Wait until pixels and overlay show ``frame``."""
    page.wait_for_function(
        "(n) => document.querySelector('.player-host canvas.frame')?.dataset.frame === n"
        " && document.querySelector('.player-host svg.overlay')?.dataset.frame === n",
        arg=str(frame),
    )


def both_at(page: Any, frame: int) -> None:
    """Wait until two players that are compared show ``frame``."""
    chosen = f'.compare-side canvas.frame[data-frame="{frame}"]'
    page.wait_for_function("(chosen) => document.querySelectorAll(chosen).length === 2", arg=chosen)


def saved(served: Served) -> list[dict[str, Any]]:
    """Lines of the table."""
    path = served.decisions
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def said(served: Served, many: int) -> list[dict[str, Any]]:
    """The table once it has ``many`` lines."""
    until(lambda: len(saved(served)) >= many)
    found = saved(served)
    assert len(found) == many
    return found
