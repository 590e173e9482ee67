"""A release published to a folder: each version in a folder of its own, ``latest`` a link to the newest.

A version is put together out of sight, read back, and appears by one rename; then ``latest`` moves by another. So a
reader sees all of a version or nothing of it, and whoever followed ``latest`` to a version keeps that one. Versions
share their equal files on disk, by hard links, which is why published files are read-only.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from thermvision.annotations.errors import DamagedInputError, OutputError, RemoteError, UsageError
from thermvision.annotations.schema import SPLITS
from thermvision.curation.console import human_bytes
from thermvision.curation.contents import SIGNATURE, ReleaseFile, listed
from thermvision.curation.release import MANIFEST, Manifest, version_order
from thermvision.curation.store import PARTIAL, atomic_path, atomic_write, sha256_file, writing
from thermvision.curation.verify import verify_release
from thermvision.dataset_card.publishing.preflight import Ready, ready
from thermvision.dataset_card.publishing.readback import quiet_loading
from thermvision.dataset_card.publishing.retries import Tell
from thermvision.dataset_card.publishing.versions import MAX_MANIFEST_BYTES, Step, parse_manifest, step, tag_of

LATEST, LOCK = "latest", ".lock"
_BATCH = 256  # rows that are read at a time
_READ_ONLY = 0o444
_VERSION = re.compile(r"v[0-9]{1,9}\.[0-9]{1,9}(\.[0-9]{1,9})?")
_NO_LINKS = (errno.EPERM, errno.EXDEV, errno.EMLINK, errno.ENOTSUP, errno.EACCES)


@dataclass(frozen=True)
class InFolder:
    """What publishing did, or would do.

    Attributes:
        status: "planned" (dry run), "published", or "already": it was there.
        version, parent: ours, and the one that was the latest before.
        path: folder of the version.
        config: one that it offers.
        files: number of its files.
        copied: bytes that were (or will be) written.
        shared: bytes that the versions before hold already.
        left_out: files in the release's folder that are no part of it.
    """

    status: Literal["planned", "published", "already"]
    version: str
    parent: str | None
    path: str
    config: str
    files: int
    copied: int
    shared: int
    left_out: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


def publish_to_folder(root: Path, folder: Path, *, dry_run: bool = False, tell: Tell = lambda line: None) -> InFolder:
    """Publish the release in ``root`` to ``folder`` as ``folder/v<version>``; killed, the same call goes on.

    Raises:
        UsageError: there is no release, it may not be published, or the folders lie in each other.
        DamagedInputError: the release was changed since it was made.
        RemoteError: what is published there does not allow it: the message says why and how to proceed.
        OutputError: no room, no permission, or somebody else is publishing there.
    """
    prepared = ready(root, None)
    _apart(root, folder)
    if dry_run:
        place = _look(folder, prepared)
        return _report(prepared, place, "already" if place.step.kind == "same" else "planned")
    with _alone(folder):
        place = _look(folder, prepared)
        if place.step.kind == "same":
            _whole(place.target)
            _add_signature(prepared, place.target, tell)
            return _report(prepared, place, "already")
        if place.is_there:  # a run was killed after the version had appeared
            _whole(place.target)
            _load_back(place.target, prepared.manifest)
        else:
            staged = _stage(prepared, place, tell)
            tell(f"loading every config of {place.target.name} back")
            _load_back(staged, prepared.manifest)
            with writing(place.target):
                os.rename(staged, place.target)
            _sync(folder)
        _point(place)
        return _report(prepared, place, "published")


@dataclass(frozen=True)
class _Place:
    """The folder as it was found: what ``latest`` names and holds, whether our version is there, and what follows."""

    folder: Path
    latest: str | None
    theirs: Manifest | None
    step: Step
    is_there: bool

    @property
    def target(self) -> Path:
        return self.folder / tag_of(self.step.version)

    def shared(self, file: ReleaseFile) -> Path | None:
        """Where the latest version holds the same file."""
        if self.latest is None or self.theirs is None or listed(self.theirs).get(file.path) != file.sha256:
            return None
        found = self.folder / self.latest / file.path
        return found if found.is_file() and not found.is_symlink() and found.stat().st_size == file.size else None


def _apart(root: Path, folder: Path) -> None:
    ours, there = root.resolve(), folder.resolve()
    if ours == there or ours in there.parents or there in ours.parents:
        raise UsageError(f"--to {folder} and the release {root} lie in each other; choose a folder apart from it")
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"--to {folder} is a file; allowed: a folder, which is made if it is not there")


def _look(folder: Path, prepared: Ready) -> _Place:
    latest = _latest(folder)
    theirs = _manifest_in(folder / latest) if latest is not None else None
    if theirs is not None and tag_of(theirs.version) != latest:
        raise RemoteError(f"{folder / LATEST} names {latest}, which holds {theirs.version}; put that right first")
    target = folder / tag_of(prepared.manifest.version)
    is_there = os.path.lexists(target)
    if is_there and _manifest_in(target) != prepared.manifest:
        raise RemoteError(
            f"{target} holds another release of this version; a published version does not change: make the next one"
            " with thermvision extend or apply, or publish to another folder"
        )
    if is_there and theirs is not None and version_order(theirs.version) > version_order(prepared.manifest.version):
        theirs = prepared.manifest  # an older one, published long ago
    others = sorted(p.name for p in folder.iterdir()) if latest is None and folder.is_dir() else []
    others = [name for name in others if not name.startswith(".") and name != target.name]
    if versions := [name for name in others if _VERSION.fullmatch(name)]:
        newest = max(versions, key=lambda name: version_order(name[1:]))
        raise RemoteError(
            f"{folder} holds versions and no link {LATEST}; put it back: ln -s {newest} {folder / LATEST}"
        )
    return _Place(folder, latest, theirs, step(prepared.manifest, theirs, others), is_there)


def _latest(folder: Path) -> str | None:
    """The version that ``latest`` names, None where there is no such link."""
    link = folder / LATEST
    if not os.path.lexists(link):
        return None
    seen = os.readlink(link) if link.is_symlink() else "no link"
    if not _VERSION.fullmatch(seen):
        raise RemoteError(f"{link} is {seen[:200]}; allowed: a link to a version beside it, such as v1.0")
    return seen


def _manifest_in(version: Path) -> Manifest:
    """The manifest of a published version."""
    path = version / MANIFEST
    if version.is_symlink() or path.is_symlink() or not path.is_file():
        raise RemoteError(f"{version} is no published version, it has no {MANIFEST} of its own; restore or remove it")
    with path.open("rb") as file:
        return parse_manifest(file.read(MAX_MANIFEST_BYTES + 1), str(version))


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Be the only one that publishes to ``folder``, which is made; the file that says so stays, as all must see it."""
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        opened = (folder / LOCK).open("a")
    with opened as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise OutputError(f"another command is publishing to {folder}; wait for it, then type the same") from error
        yield


def _stage(prepared: Ready, place: _Place, tell: Tell) -> Path:
    """Every file of the version in a hidden folder, whole: shared with the version before, or copied."""
    staged = place.folder / f".{place.target.name}{PARTIAL}"
    for old in place.folder.glob(f".v*{PARTIAL}"):  # we are alone: whoever began it is dead
        if old != staged or old.is_symlink():
            shutil.rmtree(old) if old.is_dir() and not old.is_symlink() else old.unlink()
    with writing(staged):
        staged.mkdir(exist_ok=True)
    wanted = {f.path: f for f in prepared.files}
    for left in [*staged.rglob("*")]:  # hidden ones as well: loaders read some
        if left.is_dir() and not left.is_symlink():
            continue
        file = wanted.get(left.relative_to(staged).as_posix())
        if file is None or not left.is_file() or left.is_symlink() or left.stat().st_size != file.size:
            left.unlink()
    missing = [f for f in prepared.files if not (staged / f.path).is_file()]
    _room(place, [f for f in missing if place.shared(f) is None])
    tell(f"putting {len(missing)} of {len(wanted)} files of {place.target.name} together, out of sight")
    for file in missing:
        _put(file, staged / file.path, place.shared(file))
    broken = {f.path for f in verify_release(staged)} & wanted.keys()
    for path in sorted(broken):  # left by a killed run, or no longer whole in the version before
        tell(f"{path} is not whole; copying it anew")
        _put(wanted[path], staged / path, None)
    if findings := verify_release(staged) if broken else []:
        raise DamagedInputError(
            f"{findings[0]}: it changed while it was published, or the disk of {place.folder} fails; type: thermvision"
            f" verify {prepared.root}"
        )
    return staged


def _put(file: ReleaseFile, target: Path, shared: Path | None) -> None:
    with writing(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        if shared is not None:
            try:
                os.link(shared, target, follow_symlinks=False)
                return
            except OSError as error:
                if error.errno not in _NO_LINKS:
                    raise
    with atomic_path(target) as temporary:
        shutil.copyfile(file.local, temporary, follow_symlinks=False)
    target.chmod(_READ_ONLY)


def _room(place: _Place, files: Sequence[ReleaseFile]) -> None:
    needed, free = sum(f.size for f in files), shutil.disk_usage(place.folder).free
    if free < needed:
        raise OutputError(
            f"{place.folder} has {human_bytes(free)} free and {place.target.name} needs {human_bytes(needed)}; free"
            " some space, then type the same"
        )


def _whole(version: Path) -> None:
    if findings := verify_release(version):
        raise RemoteError(
            f"{version} is not what its manifest says, {len(findings)} findings: {findings[0]}; somebody changed it:"
            " restore it, then type the same"
        )


def _load_back(version: Path, manifest: Manifest) -> None:
    """Load every config and split as a reader does, streaming; all rows must be there, and the first must decode."""
    from datasets import load_dataset_builder

    for config in manifest.configs:
        with tempfile.TemporaryDirectory() as cache, quiet_loading():
            builder = load_dataset_builder(str(version.resolve()), config, cache_dir=cache)
            for split in SPLITS:
                wanted = sum(s.rows for s in manifest.shards_of(config, split))
                if not wanted:
                    continue
                rows = builder.as_streaming_dataset(split)
                next(iter(rows))
                found = sum(len(batch) for batch in rows.with_format("arrow").iter(_BATCH))
                if found != wanted:
                    raise RemoteError(f"{config} of {split} loads {found} rows from {version}; its manifest: {wanted}")


def _add_signature(prepared: Ready, target: Path, tell: Tell) -> None:
    """A version may be signed after it was published: the signature is no part of what it signs."""
    ours, theirs = prepared.root / SIGNATURE, target / SIGNATURE
    if not ours.is_file():
        return
    if not theirs.is_file():
        atomic_write(theirs, ours.read_bytes())
    elif sha256_file(theirs) != sha256_file(ours):
        tell(f"{theirs} is another signature than {ours} and stays; to replace it, remove it there and type the same")


def _point(place: _Place) -> None:
    """Let ``latest`` name our version, unless it has moved since we looked."""
    if (now := _latest(place.folder)) != place.latest:
        raise RemoteError(
            f"{place.folder / LATEST} moved from {place.latest} to {now} meanwhile; look at it, then type the same"
        )
    temporary = place.folder / f".{LATEST}{PARTIAL}"
    with writing(place.folder / LATEST):
        temporary.unlink(missing_ok=True)
        temporary.symlink_to(place.target.name)
        os.replace(temporary, place.folder / LATEST)
    _sync(place.folder)


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _report(prepared: Ready, place: _Place, status: Literal["planned", "published", "already"]) -> InFolder:
    shared = sum(f.size for f in prepared.files if place.shared(f) is not None)
    copied = 0 if status == "already" else prepared.total_bytes - shared
    return InFolder(
        status,
        prepared.manifest.version,
        place.step.parent,
        str(place.target),
        prepared.manifest.configs[0],
        len(prepared.files),
        copied,
        prepared.total_bytes - copied,
        prepared.left_out,
    )
