"""Whether a release may leave the house: whole, sealed, licensed, with a card, and nothing that would break loading."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import yaml

from thermvision.annotations.errors import DamagedInputError, UsageError
from thermvision.curation.contents import Entry, ReleaseFile, entries, is_sealed, oddity, release_files, unlisted
from thermvision.curation.release import README, Manifest, read_release
from thermvision.dataset_card.card import split_front_matter

_REPO_PART = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,94}[A-Za-z0-9])?")
_SHOWN = 3


@dataclass(frozen=True)
class Ready:
    """A release that may be published.

    Attributes:
        root: its folder.
        manifest: its manifest.
        files: every file that belongs to it, sorted by path; nothing else is sent.
        total_bytes: their size.
        left_out: paths of other files in the folder, which are not sent.
    """

    root: Path
    manifest: Manifest
    files: tuple[ReleaseFile, ...]
    total_bytes: int
    left_out: tuple[str, ...]


def ready(root: Path, name: str | None) -> Ready:
    """Check all of the release in ``root`` before anything is sent; ``name`` is ORG/NAME, or None for a folder.

    Raises:
        UsageError: there is no release, it is not sealed, has no licence, card or rows, or the name is none.
        DamagedInputError: it was changed since it was made, holds a link, or a file that would break loading.
    """
    if name is not None:
        check_repo(name)
    manifest = read_release(root)
    found = list(entries(root))
    _no_links(root, found)
    _no_scripts(root, found, name)
    if not manifest.configs:
        raise UsageError(f"{root} has no rows; allowed: a release that load_dataset can load; build one first")
    if not is_sealed(manifest):
        raise UsageError(f"{root} is not sealed: its manifest does not list {README}; type: thermvision card {root}")
    _licensed(root, manifest)
    _whole(root)
    files = release_files(root, manifest)
    return Ready(root, manifest, files, sum(f.size for f in files), tuple(unlisted(root, manifest)))


def check_repo(name: str) -> None:
    """Raise UsageError unless ``name`` is ORG/NAME as the Hub takes it.

    >>> check_repo("org/ThermVision-DB")
    >>> check_repo("ThermVision-DB")
    Traceback (most recent call last):
    thermvision.annotations.errors.UsageError: repository 'ThermVision-DB' ...; allowed: ORG/NAME...
    """
    parts = name.split("/")
    well = len(parts) == 2 and all(_REPO_PART.fullmatch(p) and ".." not in p and "--" not in p for p in parts)
    if not well or name.endswith((".git", ".ipynb")):
        from thermvision.dataset_card.publishing.retries import scrub

        raise UsageError(
            f"repository {scrub(name)[:100]!r} is no name the Hub takes; allowed: ORG/NAME of letters, digits, '.', '_'"
            " and '-', such as org/ThermVision-DB"
        )
    if name.endswith(".py"):
        raise UsageError(f"repository {name!r} is named like a script; allowed: a name without .py")


def _no_links(root: Path, found: list[Entry]) -> None:
    if odd := [entry.path for entry in found if not entry.plain]:
        path = root / odd[0]
        raise DamagedInputError(
            f"{path} is {oddity(path)}; a release holds plain files only: put a copy of the file in its place, or"
            f" remove it{_more(odd)}"
        )


def _no_scripts(root: Path, found: list[Entry], name: str | None) -> None:
    scripts = [entry.path for entry in found if entry.path.lower().endswith(".py")]
    if not scripts:
        return
    own = f"{name.split('/')[1]}.py" if name else scripts[0]
    first = own if own in scripts else scripts[0]
    why = f"named like the repository, it makes every load of {name} fail" if name and first == own else "no code runs"
    raise DamagedInputError(f"{root / first} is a script ({why}); move it out of the release{_more(scripts)}")


def _licensed(root: Path, manifest: Manifest) -> None:
    if not manifest.licences:
        raise UsageError(f"{root} has no licence in its manifest; allowed: a release whose engines' licences are known")
    header, body = split_front_matter(root / README)
    try:
        seen = yaml.safe_load(header.split(b"---\n")[1])
    except yaml.YAMLError:
        seen = None
    licence = seen.get("license_name", seen.get("license")) if isinstance(seen, dict) else None
    if licence != manifest.licence:
        raise UsageError(
            f"the card of {root} names the licence {licence!r}, its manifest {manifest.licence!r}; type: thermvision"
            f" card {root}"
        )
    prose = [line for line in body.decode("utf-8", "replace").splitlines() if line.strip() and line[0] != "#"]
    if not prose:
        raise UsageError(f"{root / README} has no text below its YAML; write the card: thermvision card {root}")


def _whole(root: Path) -> None:
    from thermvision.curation.verify import verify_release

    if findings := verify_release(root):
        listed = "; ".join(str(f) for f in findings[:_SHOWN])
        raise DamagedInputError(
            f"{root} is not what its manifest says, {len(findings)} findings: {listed}; type: thermvision verify {root}"
        )


def _more(paths: list[str]) -> str:
    return f" (and {len(paths) - 1} more)" if len(paths) > 1 else ""
