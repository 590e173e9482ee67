"""The test Hub as a process of its own: `python -m hub FOLDER [--port N]`, from the folder `tests`; prints its URL."""

from __future__ import annotations

import argparse
import threading

from .server import Hub


def main() -> None:
    parser = argparse.ArgumentParser(prog="hub", description=__doc__)
    parser.add_argument("folder", help="where repositories and objects are kept")
    parser.add_argument("--port", type=int, default=0, help="0: a free one")
    given = parser.parse_args()
    with Hub(given.folder, given.port) as hub:
        print(hub.url, flush=True)
        threading.Event().wait()


if __name__ == "__main__":
    main()
