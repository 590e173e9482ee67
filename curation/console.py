"""The shell around every command: one Typer app, errors as one clear line, exit codes as `annotations.errors` says."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Any

import typer

from thermvision.annotations.errors import ThermVisionError

INTERRUPTED = 130


def new_app(version: str) -> typer.Typer:
    """An app without commands that answers ``--version``."""
    app = typer.Typer(
        name="thermvision",
        help="Build, import, check and publish thermal face datasets.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        epilog="Exit codes: 0 done, 1 findings, 2 usage, 3 missing package or weights, 4 damaged input,"
        " 5 remote refused, 6 output cannot be written, 130 interrupted.",
    )

    def show_version(asked: bool) -> None:
        if asked:
            print(f"thermvision {version}")
            raise typer.Exit

    @app.callback()
    def options(
        _: bool = typer.Option(False, "--version", callback=show_version, is_eager=True, help="Print the version."),
    ) -> None:
        """Build, import, check and publish thermal face datasets."""

    return app


def run(app: typer.Typer, arguments: Sequence[str]) -> int:
    """Run ``app`` and return its exit code; an expected error is one line on stderr, never a trace."""
    try:
        command = typer.main.get_command(app)
        result = command.main(list(arguments), prog_name="thermvision", standalone_mode=False)
        code = result if isinstance(result, int) else 0
    except ThermVisionError as error:
        print("thermvision:", "\n".join(map(printable, str(error).split("\n"))), file=sys.stderr)
        return error.exit_code
    except (KeyboardInterrupt, typer.Abort):
        code = INTERRUPTED
    except BrokenPipeError:
        return 1
    except Exception as error:
        # Typer brings its own click, whose usage errors have no public base class: they show themselves
        if not hasattr(error, "show") or not hasattr(error, "exit_code"):
            raise
        error.show()
        return int(error.exit_code)
    if code == INTERRUPTED:
        print("thermvision: interrupted; run the same command again to go on where it stopped", file=sys.stderr)
    return code


def show_json(value: Any) -> None:
    """Print ``value`` as JSON on stdout."""
    print(json.dumps(value, indent=1, ensure_ascii=False))


def to_stderr(line: str) -> None:
    """Print a line of progress: on stderr and at once, so that stdout stays the result's."""
    print(line, file=sys.stderr, flush=True)


def printable(text: str) -> str:
    r"""``text`` on one line and without control characters, as names of files may hold them.

    >>> printable("a\nb\x1b[31m ü")
    'a\\nb\\x1b[31m ü'
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def human_bytes(count: float) -> str:
    """Bytes in the unit a person would use.

    >>> human_bytes(999), human_bytes(1_500_000)
    ('999 B', '1.5 MB')
    """
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def counted(number: int, what: str) -> str:
    """A number of things for people.

    >>> counted(1, "item"), counted(1200, "frame")
    ('1 item', '1,200 frames')
    """
    return f"{number:,} {what}{'' if number == 1 else 's'}"
