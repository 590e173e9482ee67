"""Progress on stderr: bars on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

PLAIN_SECONDS = 15.0


class BuildProgress:
    """Shards done, frames, frames a second and time left.

    >>> with BuildProgress(shards=1, frames=2, quiet=True) as progress:
    ...     progress.advance(2)
    ...     progress.shard_done("video train 0")
    ...     progress.frames_done
    2
    """

    def __init__(self, shards: int, frames: int, *, quiet: bool = False) -> None:
        self.shards, self.frames, self.quiet = shards, frames, quiet
        self.shards_done = self.frames_done = 0
        self._console = Console(stderr=True)
        self._bars: Progress | None = None
        self._tasks: dict[str, TaskID] = {}
        self._start = self._said = time.monotonic()

    def __enter__(self) -> BuildProgress:
        if not self.quiet and self._console.is_terminal:
            self._bars = Progress(
                TextColumn("{task.description:>8}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[speed]}"),
                TimeRemainingColumn(),
                console=self._console,
            )
            self._tasks["shards"] = self._bars.add_task("shards", total=self.shards, speed="")
            self._tasks["frames"] = self._bars.add_task("frames", total=self.frames, speed="")
            self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bars:
            self._bars.stop()

    @property
    def frames_per_second(self) -> float:
        """Mean speed since the start."""
        return self.frames_done / max(time.monotonic() - self._start, 1e-9)

    def advance(self, frames: int) -> None:
        """``frames`` more are rendered or read."""
        self.frames_done += frames
        if self._bars:
            self._bars.update(self._tasks["frames"], advance=frames, speed=f"{self.frames_per_second:.1f} frames/s")
        elif time.monotonic() - self._said > PLAIN_SECONDS:
            self._say()

    def shard_done(self, name: str) -> None:
        """The shards of one job are written."""
        self.shards_done += 1
        if self._bars:
            self._bars.update(self._tasks["shards"], advance=1)
        else:
            self._say(f" ({name})")

    def _say(self, what: str = "") -> None:
        self._said = time.monotonic()
        if self.quiet:
            return
        left = (self.frames - self.frames_done) / max(self.frames_per_second, 1e-9)
        speed = f"{self.frames_per_second:.1f} frames/s, {left:.0f} s left" if self.frames_done else "starting"
        line = f"shards {self.shards_done}/{self.shards}, frames {self.frames_done}/{self.frames}, {speed}{what}"
        print(line, file=sys.stderr, flush=True)
