"""The command `view`."""

from __future__ import annotations

import shlex
from contextlib import closing, suppress
from pathlib import Path
from socket import socket
from typing import TYPE_CHECKING, Annotated

import typer

from thermvision.annotations.errors import FindingsError, MissingDependencyError, UsageError
from thermvision.curation.console import counted, human_bytes, printable, to_stderr
from thermvision.curation.options import Quiet

if TYPE_CHECKING:
    from .exhibit import Exhibit

_DECISIONS = Path("decisions.jsonl")
_SHOWN = 10


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""

    @app.command()
    def view(
        release: Annotated[Path, typer.Argument(help="Folder of a release, finished or being built.")],
        against: Annotated[Path | None, typer.Option(help="Another release, or version, to compare with.")] = None,
        findings: Annotated[
            list[Path] | None, typer.Option("--findings", help="What check, audit or dedupe wrote (repeat).")
        ] = None,
        decisions: Annotated[Path, typer.Option(help="Table of decisions, as `decide` writes it.")] = _DECISIONS,
        who: Annotated[str | None, typer.Option(help="Who decides; without it the page asks.")] = None,
        read_only: Annotated[bool, typer.Option("--read-only", help="Take no decisions.")] = False,
        host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
        port: Annotated[
            int | None, typer.Option(min=0, max=65535, help="Port; default: 8765, or the next free one. 0: any.")
        ] = None,
        token: Annotated[str | None, typer.Option(help="First part of the address; default: random.")] = None,
        open_browser: Annotated[bool, typer.Option("--open", help="Open the page in the browser.")] = False,
        static: Annotated[
            Path | None, typer.Option("--static", help="Write a read-only page into this folder, serve nothing.")
        ] = None,
        limit: Annotated[int | None, typer.Option(min=1, help="With --static: this many items.")] = None,
        no_heat: Annotated[bool, typer.Option("--no-heat", help="With --static: no 16-bit frames.")] = False,
        quiet: Quiet = False,
    ) -> None:
        """Show a release in the browser: filter, play, compare, and decide on its items.

        Example: thermvision view release --findings checked --who Ana
        """
        try:
            import duckdb  # noqa: F401
            import fastapi  # noqa: F401
            import uvicorn  # noqa: F401
        except ImportError as error:
            raise MissingDependencyError(
                f'the explorer needs {error.name}; type: pip install -c constraints.txt -e ".[view]"'
            ) from error
        from .exhibit import Exhibit
        from .reviewing import Reviewing
        from .security import fit_token, new_token
        from .server import listen

        if static is None and (limit is not None or no_heat):
            raise UsageError("--limit and --no-heat go with --static OUT; leave them out, or name the folder")
        reviewing = Reviewing(decisions, who, read_only or static is not None)
        if decisions.is_dir():
            raise UsageError(f"--decisions {decisions} is a folder; allowed: a table of decisions, new or there")
        if static is not None:
            from .static_export import check_out

            check_out(static, [release, *([against] if against is not None else [])])
            with closing(Exhibit(release, reviewing, against, findings or (), static=True)) as exhibit:
                _export(exhibit, static, limit, not no_heat, quiet)
            return
        given = token or new_token()
        if not fit_token(given):
            raise UsageError("--token holds 8 to 100 letters, digits, - and _; leave it out, and a random one is made")
        with listen(host, port) as listening, closing(Exhibit(release, reviewing, against, findings or ())) as exhibit:
            _serve(exhibit, host, listening, given, open_browser, quiet)


def _export(exhibit: Exhibit, out: Path, limit: int | None, heat: bool, quiet: bool) -> None:
    from .static_export import export

    made = export(exhibit, out, limit=limit, heat=heat, tell=(lambda _: None) if quiet else to_stderr)
    for problem in made.problems[:_SHOWN]:
        to_stderr(f"left out: {printable(problem)}")
    if len(made.problems) > _SHOWN:
        to_stderr(f"left out: {len(made.problems) - _SHOWN} more")
    size = human_bytes(made.bytes)
    print(f"{made.out}: {counted(made.items, 'item')}, {counted(made.files, 'file')}, {size}")
    print(f"next: python -m http.server --bind 127.0.0.1 --directory {shlex.quote(str(made.out))}")
    if made.problems:
        raise FindingsError(f"{counted(len(made.problems), 'part')} could not be read; the page lacks what they hold")


def _serve(exhibit: Exhibit, host: str, listening: socket, token: str, open_browser: bool, quiet: bool) -> None:
    from .security import address, loopback
    from .server import make_server

    bound = listening.getsockname()[1]
    url = address(host, bound, token)
    if not loopback(host):
        to_stderr(
            f"warning: --host {host} lets other machines in; whoever has the address sees the release and decides on it"
        )
    print(url, flush=True)
    if not quiet:
        to_stderr("Ctrl-C ends it.")
    if open_browser:
        import webbrowser

        webbrowser.open(url)
    with suppress(KeyboardInterrupt):  # the way to end it
        make_server(exhibit, token, host, bound).run(sockets=[listening])
