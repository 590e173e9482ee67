"""Commands that look at releases wherever they lie: info, and diff of two."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer

from thermvision.annotations.errors import FindingsError

from ..console import counted, human_bytes, show_json
from ..options import AsJson

LISTED = 5  # names a line shows before it counts
_PLACES = "a folder, ORG/NAME@REVISION or hf://datasets/ORG/NAME of the Hub, or a URL."


def register(app: typer.Typer) -> None:
    """Add the commands of this module to ``app``."""

    @app.command()
    def info(
        release: Annotated[str, typer.Argument(help=f"A release: {_PLACES}")],
        as_json: AsJson = False,
    ) -> None:
        """Say what a release is, which version added what, and whether it is sealed and signed.

        Example: thermvision info release
        """
        from ..places import open_place
        from .history import facts_of

        facts = facts_of(open_place(release))
        if as_json:
            show_json(facts)
            return
        _print_facts(facts)
        folder = "://" not in facts["place"]
        print(
            f"next: thermvision verify {release}" if folder else f"next: thermvision regenerate {release} --sample 1%"
        )

    @app.command()
    def diff(
        before: Annotated[str, typer.Argument(help=f"A release: {_PLACES}")],
        after: Annotated[str, typer.Argument(help="Another one, likewise.")],
        exit_code: Annotated[bool, typer.Option("--exit-code", help="Exit with 1 when they differ.")] = False,
        as_json: AsJson = False,
    ) -> None:
        """Say what was added, removed and changed between two releases: identities, items, columns, shards.

        Manifests are taken at their word (see verify); only shards that differ are read, and no picture is decoded.

        Example: thermvision diff release release-1.1
        """
        from ..places import open_place
        from .diff import compare

        found = compare(open_place(before), open_place(after))
        if as_json:
            show_json(found)
        else:
            for line in lines_of(found):
                print(line)
            print(f"next: thermvision verify {after}")
        if exit_code and not found["same"]:
            raise FindingsError(f"{before} and {after} differ")


def _print_facts(facts: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"{facts['name']} {facts['version']}", title_justify="left")
    for column in ("config", "a row is", "train", "validation", "test", "size"):
        table.add_column(column, justify="left" if column in ("config", "a row is") else "right")
    for name, config in facts["configs"].items():
        counts = [str(config["rows"].get(split, 0)) for split in ("train", "validation", "test")]
        table.add_row(name, config["what"], *counts, human_bytes(config["bytes"]))
    console = Console(width=None if sys.stdout.isatty() else 120)
    console.print(table)
    subjects = facts["subjects"]
    genders = f"{subjects['female']} female, {subjects['male']} male"
    console.print(
        f"{subjects['total']} subjects ({genders}), licence {facts['licence']}, {facts['shards']} shards,", end=" "
    )
    console.print(f"{human_bytes(facts['bytes'])}, made by {', '.join(facts['engines']) or facts['source']}")
    for version in facts["versions"] if len(facts["versions"]) > 1 else []:
        print(f"version {version['version']}: {_version_line(version)}")
    sealed = "every file is in release.json" if facts["sealed"] else "release.json lists shards and recipes only"
    print(f"{sealed}; {'signed' if facts['signed'] else 'not signed'}")
    if facts["failed"]:
        console.print(f"{facts['failed']} items failed; see release.json")


def _version_line(version: dict[str, Any]) -> str:
    parts = [f"{counted(version['shards'], 'shard')} ({human_bytes(version['bytes'])})"]
    if version["identities"] is not None:
        parts.append(f"{_people(version['identities'])} new")
    if version["supersedes"]:
        parts.append(f"supersedes {counted(version['supersedes'], 'shard')}")
    if version["limit"]:
        parts.append(f"--limit {version['limit']}")
    return ", ".join([*parts, *version["made_from"]])


def lines_of(found: dict[str, Any]) -> list[str]:
    """What `diff.compare` found, for people: a line a kind, changed identities first and loudest."""
    before, after = found["before"], found["after"]
    lines = [f"{r['place']}: {r['name']} {r['version']}" for r in (before, after)]
    if found["same"]:
        return [*lines, "no difference"]
    for name, what in found["identities"]["changed"].items():
        lines.append(f"IDENTITY CHANGED: {name}: {', '.join(what)}")
    if removed := found["identities"]["removed"]:
        lines.append(f"IDENTITIES REMOVED: {_some(removed)}")
    if added := found["identities"]["added"]:
        lines.append(f"{_people(len(added))} added: {_some(added)}")
    for kind in ("configs", "engines", "licences", "recipes", "files"):
        if line := _changes(found[kind]):
            lines.append(f"{kind}: {line}")
    if line := _changes(found["failed"]):
        lines.append(f"failed items: {line}")
    lines += [f"columns of {config}: {_changes(columns)}" for config, columns in found["columns"].items()]
    shards = found["shards"]
    counts = [f"{len(shards[k]):,} {k} ({human_bytes(shards['bytes'][k])})" for k in ("added", "removed") if shards[k]]
    if shards["changed"]:
        counts.append(f"CHANGED UNDER THE SAME NAME: {_some(shards['changed'])}")
    same = f"{shards['same']:,} the same ({human_bytes(shards['bytes']['same'])})"
    lines.append(f"shards: {', '.join([*counts, same])}")
    for config, items in found["items"].items():
        counts = [f"{len(items[kind]):,} {kind}" for kind in ("added", "removed", "changed") if items[kind]]
        lines.append(f"items of {config}: {', '.join(counts)}")
        changed = list(items["changed"].items())
        lines += [f"  {name} changed: {', '.join(columns)}" for name, columns in changed[:LISTED]]
        if len(changed) > LISTED:
            lines.append(f"  and {len(changed) - LISTED:,} more; all of them with --json")
    return lines


def _people(number: int) -> str:
    return f"{number:,} {'identity' if number == 1 else 'identities'}"


def _changes(names: dict[str, list[str]]) -> str:
    return "; ".join(f"{_some(names[kind])} {kind}" for kind in ("added", "removed", "changed") if names.get(kind))


def _some(names: list[str]) -> str:
    more = f" and {len(names) - LISTED:,} more" if len(names) > LISTED else ""
    return ", ".join(names[:LISTED]) + more
