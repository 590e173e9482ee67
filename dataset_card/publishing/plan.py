"""What is sent and deleted to make a repository hold a release, to the byte, before anything is sent."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from thermvision.annotations.errors import RemoteError
from thermvision.curation.contents import SIGNATURE, ReleaseFile
from thermvision.dataset_card.publishing.preflight import Ready
from thermvision.dataset_card.publishing.versions import Step


@dataclass(frozen=True)
class Entry:
    """A file of a repository: bytes, and the digest it is kept by: SHA-256 of large ones, git's SHA-1 of small ones."""

    size: int
    git_sha1: str
    sha256: str | None = None


@dataclass(frozen=True)
class Plan:
    """One commit.

    Attributes:
        send: files that the repository does not have.
        stored: paths of those whose bytes its storage has already, from a publish that did not end.
        unchanged: number of files that stay as they are.
        delete: paths that the commit removes.
        bytes: size of the files that are really sent.
    """

    send: tuple[ReleaseFile, ...]
    stored: frozenset[str]
    unchanged: int
    delete: tuple[str, ...]

    @property
    def bytes(self) -> int:
        return sum(f.size for f in self.send if f.path not in self.stored)


def is_same(file: ReleaseFile, entry: Entry | None) -> bool:
    """Whether a repository's file has the bytes of a release's."""
    if entry is None or entry.size != file.size:
        return False
    return entry.sha256 == file.sha256 if entry.sha256 is not None else entry.git_sha1 == git_sha1(file)


def git_sha1(file: ReleaseFile) -> str:
    """The digest that git keeps a small file by."""
    digest = hashlib.sha1(b"blob %d\0" % file.size, usedforsecurity=False)
    with file.local.open("rb") as data:
        while block := data.read(2**20):
            digest.update(block)
    return digest.hexdigest()


def differing(files: Sequence[ReleaseFile], there: Mapping[str, Entry]) -> list[str]:
    """Paths of a release's files that a repository lacks or holds with other bytes."""
    return [f.path for f in files if not is_same(f, there.get(f.path))]


def make_plan(ready: Ready, step: Step, there: Mapping[str, Entry], stored: Collection[str] = ()) -> Plan:
    """The commit that makes a repository with the files ``there`` hold the release; ``stored``: see `Plan`.

    Raises:
        RemoteError: a shard that both versions list has other bytes there than its manifest says.
    """
    missing = set(differing(ready.files, there))
    if broken := sorted(missing & {s.path for s in step.kept}):
        raise RemoteError(
            f"{broken[0]} is not what {step.parent} listed when it was published{_more(broken)}; somebody changed the"
            " repository: restore it there, then publish again"
        )
    gone = set(step.removed)
    if SIGNATURE not in {f.path for f in ready.files}:
        gone.add(SIGNATURE)  # that of an earlier version does not hold for this one
    return Plan(
        send=tuple(f for f in ready.files if f.path in missing),
        stored=frozenset(stored) & missing,
        unchanged=len(ready.files) - len(missing),
        delete=tuple(sorted(gone & there.keys())),
    )


def _more(paths: Sequence[str]) -> str:
    return f" (and {len(paths) - 1} more)" if len(paths) > 1 else ""
