"""Work that goes on beside other work: a generator run some items ahead in a thread of its own."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterable, Iterator
from typing import TypeVar

Item = TypeVar("Item")
_END = object()


def ahead(items: Iterable[Item], depth: int = 16) -> Iterator[Item]:
    """``items`` in their order, made up to ``depth`` ahead of where they are used.

    What making them raises is raised here, in its place. When the user stops early, so does the maker.

    >>> list(ahead(n * n for n in range(4)))
    [0, 1, 4, 9]
    """
    made: queue.Queue[object] = queue.Queue(depth)
    stopped = threading.Event()

    def put(value: object) -> bool:
        while not stopped.is_set():
            try:
                made.put(value, timeout=0.1)
                return True
            except queue.Full:
                continue
        return False

    def make() -> None:
        failed: BaseException | None = None
        try:
            for item in items:
                if not put(item):
                    return
        except BaseException as error:  # it belongs to whoever waits for the item
            failed = error
        put((_END, failed))

    thread = threading.Thread(target=make, daemon=True)
    thread.start()
    try:
        while True:
            item = made.get()
            if isinstance(item, tuple) and item and item[0] is _END:
                if item[1] is not None:
                    raise item[1]
                return
            yield item  # type: ignore[misc]
    finally:
        stopped.set()
        thread.join()
