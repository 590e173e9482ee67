"""Which files a release is made of, and the digests of those that are no shards.

Shards and recipes are listed in `release.json` as they are made. Card, pictures and lists come after it, so `seal` puts
their digests in at the end: from then on the manifest answers for every file, and a signature of it for all of them.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from thermvision.annotations.errors import DamagedInputError

from .release import IDENTITIES, MANIFEST, README, Manifest, manifest_text, read_release
from .store import PARTIAL, atomic_write, canonical_json, remove_partial, sha256_bytes, sha256_file

SIGNATURE = f"{MANIFEST}.minisig"
CROISSANT, LICENCE, CITATION = "croissant.json", "LICENSE", "CITATION.cff"
IMPORT_REPORT = "import_report.json"
SEALED_FILES = (README, LICENCE, CITATION, CROISSANT, IDENTITIES, IMPORT_REPORT)
SEALED_FOLDERS = ("preview", "protocols", "reports")
READ_BY_LOADERS = ("dataset_infos.json", ".huggingface.yaml")  # by load_dataset, which may then load other files
OWN_FOLDERS = ("data", "recipes", *SEALED_FOLDERS)  # nothing lies there but what the manifest lists


@dataclass(frozen=True)
class ReleaseFile:
    """A file of a release: ``path`` below it, where it lies, its bytes and its hex SHA-256 as the manifest says."""

    path: str
    local: Path
    size: int
    sha256: str


@dataclass(frozen=True)
class Entry:
    """What lies in a folder, by its path with slashes; what is not ``plain`` is a link, never followed, or a device."""

    path: str
    plain: bool


def listed(manifest: Manifest) -> dict[str, str]:
    """Path to SHA-256 of every file that the manifest lists: all but itself and its signature."""
    return {**{s.path: s.sha256 for s in manifest.shards}, **manifest.recipes, **manifest.files}


def is_sealed(manifest: Manifest) -> bool:
    """Whether the manifest answers for the card as well; releases made before there were seals answer for shards only.

    A sealed release lists its card, without which it does not load.
    """
    return README in manifest.files


def may_be_sealed(path: str) -> bool:
    """Whether `seal` lists a file of this path; hidden ones are never seen, nor would links on their way be.

    >>> may_be_sealed("README.md"), may_be_sealed("preview/overlay.mp4"), may_be_sealed("preview/.x")
    (True, True, False)
    """
    first, *rest = path.split("/")
    hidden = any(part.startswith(".") for part in (first, *rest))
    return path in SEALED_FILES or (first in SEALED_FOLDERS and bool(rest) and not hidden)


def release_files(root: Path, manifest: Manifest) -> tuple[ReleaseFile, ...]:
    """Every file of the release, sorted by path, the manifest and its signature included.

    Digests are those of the manifest: nothing is read but the manifest and its signature. `verify_release` compares.

    Raises:
        DamagedInputError: a listed file is not there.
    """
    digests = listed(manifest)
    digests |= {name: sha256_file(root / name) for name in (MANIFEST, SIGNATURE) if (root / name).is_file()}
    try:
        return tuple(
            ReleaseFile(path, root / path, (root / path).stat().st_size, digest)
            for path, digest in sorted(digests.items())
        )
    except OSError as error:
        raise DamagedInputError(
            f"{error.filename} is listed in {MANIFEST} and cannot be read ({error.strerror}); type: thermvision verify"
            f" {root}"
        ) from error


def entries(root: Path) -> Iterator[Entry]:
    """What lies below ``root``, sorted; hidden files and folders (locks, caches, version control) are passed over.

    Raises:
        DamagedInputError: a folder cannot be read.
    """

    def refuse(error: OSError) -> None:
        raise DamagedInputError(f"{error.filename} cannot be read ({error.strerror}); mend its permissions") from error

    found = []
    for folder, names, files in os.walk(root, onerror=refuse):
        names[:] = [n for n in names if not n.startswith(".")]
        links = [n for n in names if os.path.islink(os.path.join(folder, n))]
        kept = [n for n in files if not n.startswith(".") or n.endswith(PARTIAL)]
        found += [_entry(root, Path(folder, n)) for n in (*links, *kept)]
    yield from sorted(found, key=lambda e: e.path)


def _entry(root: Path, path: Path) -> Entry:
    return Entry(path.relative_to(root).as_posix(), stat.S_ISREG(path.lstat().st_mode))


def oddity(path: Path) -> str:
    """What lies at ``path`` instead of a plain file, for messages."""
    return f"a symbolic link to {os.readlink(path)}" if path.is_symlink() else "no plain file"


def unlisted(root: Path, manifest: Manifest) -> list[str]:
    """Paths of files in the folder of a release that are no part of it."""
    known = {*listed(manifest), MANIFEST, SIGNATURE}
    return [e.path for e in entries(root) if e.path not in known]


def seal(root: Path) -> Manifest:
    """List card, pictures and lists with their digests in `release.json`, which is rewritten last if that changes it.

    Equal files give equal bytes, and sealing again changes nothing. Removed are what killed writers left, and a
    signature of the manifest as it was before, which would no longer hold.

    Raises:
        UsageError: there is no release.
        DamagedInputError: the manifest is damaged, or one of the files is a link.
        OutputError: the manifest cannot be written.
    """
    manifest = read_release(root)
    remove_partial(root)
    own = {*(s.path for s in manifest.shards), *manifest.recipes}
    found: dict[str, str] = {}
    for entry in _to_seal(root):
        if not entry.plain:
            raise DamagedInputError(f"{root / entry.path} is no plain file; put a copy in its place, and type the same")
        if entry.path not in own:
            found[entry.path] = sha256_file(root / entry.path)
    sealed = manifest.model_copy(update={"files": found})
    text = manifest_text(sealed).encode()
    if text != (root / MANIFEST).read_bytes():
        (root / SIGNATURE).unlink(missing_ok=True)
        atomic_write(root / MANIFEST, text)
    return sealed


def _to_seal(root: Path) -> Iterator[Entry]:
    for name in sorted(SEALED_FILES):
        if os.path.lexists(root / name):
            yield _entry(root, root / name)
    for folder in SEALED_FOLDERS:
        if (root / folder).is_dir() and not (root / folder).is_symlink():
            yield from (Entry(f"{folder}/{e.path}", e.plain) for e in entries(root / folder))
        elif os.path.lexists(root / folder):
            yield Entry(folder, False)


def rows_digest(manifest: Manifest) -> str:
    """SHA-256 of what a manifest says but for card and pictures: the same before and after sealing."""
    left_out = {"files"} if manifest.limits else {"files", "limits"}  # releases older than limits have none
    return sha256_bytes((manifest.model_dump_json(indent=1, exclude_unset=True, exclude=left_out) + "\n").encode())


def content_digest(manifest: Manifest) -> str:
    """SHA-256 of what is in a release: paths and digests of its shards."""
    return sha256_bytes(canonical_json(sorted([s.path, s.sha256] for s in manifest.shards)).encode())


def stamp(manifest: Manifest) -> dict[str, str]:
    """What a report says of the release it was made on: name, version and `content_digest`."""
    return {"name": manifest.name, "version": manifest.version, "digest": content_digest(manifest)}
