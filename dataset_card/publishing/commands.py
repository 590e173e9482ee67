"""The command `publish`: a release to the Hub, or to a folder, all at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Literal

import typer

from thermvision.annotations.errors import UsageError
from thermvision.curation.console import counted, human_bytes, printable, show_json, to_stderr
from thermvision.curation.options import AsJson, Quiet, Release


def register(app: typer.Typer) -> None:
    """Add `publish` to ``app``."""

    @app.command()
    def publish(
        release: Release,
        repo: Annotated[str | None, typer.Option("--repo", help="Dataset of the Hub, ORG/NAME.")] = None,
        to: Annotated[str | None, typer.Option("--to", help="Folder to publish to, instead of the Hub.")] = None,
        dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be sent, to the byte.")] = False,
        pull_request: Annotated[bool, typer.Option("--pr", help="Open a pull request instead of a commit.")] = False,
        private: Annotated[
            bool | None, typer.Option("--private/--public", help="Who sees the dataset; a new one is private.")
        ] = None,
        gated: Annotated[
            Literal["auto", "manual"] | None, typer.Option("--gated", help="Readers agree first; manual: you accept.")
        ] = None,
        message: Annotated[str | None, typer.Option("--message", help="Message of the commit.")] = None,
        as_json: AsJson = False,
        quiet: Quiet = False,
    ) -> None:
        """Publish a release: new files first, then one commit that readers see whole, then its tag.

        Killed or refused, the same command goes on where it stopped. The token comes from HF_TOKEN or `hf auth login`.

        Example: thermvision publish release --repo org/ThermVision-DB --dry-run
        """
        tell: Callable[[str], None] = (lambda line: None) if quiet else to_stderr
        if (repo is None) == (to is None):
            raise UsageError("publish where? allowed: --repo ORG/NAME for the Hub, or --to FOLDER, one of them")
        if to is not None:
            if pull_request or private is not None or gated or message:
                raise UsageError("--pr, --private, --public, --gated and --message go with --repo, not with --to")
            _to_folder(release, _local(to), dry_run, as_json, tell)
            return
        if pull_request and (private is not None or gated):
            raise UsageError(
                "--private, --public and --gated are the owner's and do not go with --pr; give them with the command"
                " that tags, once the pull request is merged"
            )
        from .publish import Wishes
        from .publish import publish as to_hub

        assert repo is not None
        done = to_hub(release, repo, Wishes(dry_run, pull_request, private, gated, message), tell)
        if as_json:
            show_json(done.as_dict())
            return
        _say_left_out(done.left_out, tell)
        amount = f"{counted(done.files, 'file')}, {done.bytes:,} bytes ({human_bytes(done.bytes)})"
        there = f"{counted(done.unchanged, 'file')} there already"
        if done.status == "planned":
            over = f" on top of v{done.parent}" if done.parent else ""
            print(f"would publish {done.tag}{over} to {done.page}: {amount} to send, {there}")
            for path in done.deleted:
                print(f"would remove {path}")
            print(f"next: thermvision publish {release} --repo {repo}")
        elif done.status == "proposed":
            print(f"proposed {done.tag} to {done.page} as {done.pull_request}: {amount} sent, {there}")
            print(f"next: merge it there, then thermvision publish {release} --repo {repo}")
        else:
            what = "is published already" if done.status == "already" else "is published"
            print(f"{done.tag} {what} at {done.page}/tree/{done.tag} ({done.commit[:12]}): {amount} sent, {there}")
            if done.private:
                print("it is private; --public shows it to everybody")
            print(f'next: load_dataset("{repo}", revision="{done.tag}")    # from datasets import load_dataset')


def _local(place: str) -> Path:
    """``--to`` as a path, which would make a folder named ``s3:`` of an address."""
    from thermvision.curation.storage import is_url

    if is_url(place):
        raise UsageError(f"--to {place} is an address; allowed: a folder; for the Hub type --repo ORG/NAME")
    return Path(place)


def _to_folder(release: Path, to: Path, dry_run: bool, as_json: bool, tell: Callable[[str], None]) -> None:
    from .folder import LATEST, publish_to_folder

    done = publish_to_folder(release, to, dry_run=dry_run, tell=tell)
    if as_json:
        show_json(done.as_dict())
        return
    _say_left_out(done.left_out, tell)
    amount = f"{counted(done.files, 'file')}, {done.copied:,} bytes to write, {done.shared:,} shared"
    if done.status == "planned":
        over = f" on top of v{done.parent}" if done.parent else ""
        print(f"would publish {done.path}{over}: {amount}")
        print(f"next: thermvision publish {release} --to {to}")
    else:
        what = "is published already" if done.status == "already" else "is published"
        print(f"{done.path} {what}: {amount.replace(' to write', ' written')}")
        path = str(to / LATEST)
        print(f'next: load_dataset("{path}", "{done.config}")    # from datasets import load_dataset')


def _say_left_out(paths: Sequence[str], tell: Callable[[str], None]) -> None:
    if paths:
        more = f" and {len(paths) - 5} more" if len(paths) > 5 else ""
        tell(f"not part of the release and not sent: {', '.join(map(printable, paths[:5]))}{more}")
