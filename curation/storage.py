"""Releases written to a shared place that is no folder of this machine: an object store, by fsspec URL.

Whoever makes a shard puts its files there and then its done marker; the driver keeps a mirror of the small files only.
What makes the place a release, `release.json`, comes at the very end: readers see no release or a whole one.
"""

from __future__ import annotations

import contextlib
import functools
import re
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from thermvision.annotations.errors import (
    DamagedInputError,
    MissingDependencyError,
    OutputError,
    ThermVisionError,
    UsageError,
)

from .console import printable
from .pack import Shard
from .release import MANIFEST, read_release
from .runners import Advance, Job, Outcome, Worker
from .store import MAX_JSON_BYTES, PARTIAL, sha256_file

ATTEMPTS, LONGEST_WAIT = 6, 20.0  # seconds
PLAN, MARKER = "plan.json", ".done.json"  # in the folder of a build
MIRROR_BYTES = 4 * 2**30  # a release up to this size is fetched for its card and previews
# an object appears when it is whole; elsewhere a file is written beside its name and renamed
_WHOLE_OR_NOT = frozenset({"memory", "s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "adl", "oci", "oss", "hf"})
_PACKAGES = {"s3": "s3fs", "s3a": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "az": "adlfs", "abfs": "adlfs"}
_URL = re.compile(r"[a-z][a-z0-9+.-]*(::[a-z][a-z0-9+.-]*)*://", re.IGNORECASE)
_FOR_GOOD = (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError, FileExistsError)


def is_url(place: str) -> bool:
    """Whether ``place`` is an fsspec URL and no folder.

    >>> is_url("s3://bucket/faces"), is_url("releases/faces"), is_url("C:/faces")
    (True, False, False)
    """
    return bool(_URL.match(place))


def checked_place(place: str) -> str:
    """``place``, a folder or a URL, without slashes at its end.

    >>> checked_place("s3://bucket/faces/"), checked_place("releases/faces:new")
    ('s3://bucket/faces', 'releases/faces:new')

    Raises:
        UsageError: it holds a password, which would be in messages and process lists, or has too few slashes.
    """
    if re.search(r"://[^/]*:[^/]*@", place):
        raise UsageError(
            f"{place.split('://')[0]}:// is given with a password; allowed: a URL without one; give it as the package"
            " for that protocol takes it, from the environment or its own file"
        )
    if found := re.match(r"([a-z][a-z0-9+.-]+):/?(?!/)", place, re.IGNORECASE):
        import fsspec

        if found[1].lower() in fsspec.available_protocols():
            raise UsageError(
                f"{place} has too few slashes; allowed: a URL such as {found[1]}://{place[found.end() :] or 'NAME'},"
                f" or, where a folder is meant, ./{place}"
            )
    return re.sub(r"(?<=[^:/])/+$", "", place)


@dataclass(frozen=True)
class Storage:
    """Files below a URL. Every write is whole or not at all, tried again when the store does not answer.

    >>> place = Storage("memory://doctest/faces")
    >>> place.write("recipes/1.0.toml", b"seed = 1")
    >>> place.read("recipes/1.0.toml"), place.size("recipes/1.0.toml"), place.names("recipes"), place.read("nothing")
    (b'seed = 1', 8, ['1.0.toml'], None)

    Every method raises `OutputError` when the store refuses or stays silent, `MissingDependencyError` when the package
    for its protocol is not installed, and `UsageError` when no such protocol exists.
    """

    url: str

    def put(self, local: Path, path: str) -> None:
        """Copy the file ``local`` to ``path``."""

        def upload(fs: Any, target: str) -> None:
            self._whole(fs, target, lambda name: fs.put_file(str(local), name))
            if (there := fs.size(target)) != local.stat().st_size:
                raise OSError(f"{there} bytes arrived of {local.stat().st_size}")

        self._do("write", path, upload)

    def write(self, path: str, data: bytes) -> None:
        """Write a small file."""
        self._do("write", path, lambda fs, target: self._whole(fs, target, lambda name: fs.pipe_file(name, data)))

    def read(self, path: str) -> bytes | None:
        """A small file, None when there is none.

        Raises:
            DamagedInputError: it is larger than any that is written here.
        """
        size = self.size(path)
        if size is None:
            return None
        if size > MAX_JSON_BYTES:
            raise DamagedInputError(f"{self.url}/{path} has {size} bytes; allowed: {MAX_JSON_BYTES}")
        data: bytes = self._do("read", path, lambda fs, target: fs.cat_file(target))
        return data

    def size(self, path: str) -> int | None:
        """Bytes of a file, None when there is none."""

        def look(fs: Any, target: str) -> int | None:
            try:
                info = fs.info(target)
            except FileNotFoundError:
                return None
            return None if info["type"] == "directory" else int(info["size"])

        found: int | None = self._do("read", path, look)
        return found

    def names(self, folder: str = "") -> list[str]:
        """Names of the files and folders that lie directly in ``folder``, sorted."""

        def look(fs: Any, target: str) -> list[str]:
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                found = (e["name"].rstrip("/") for e in fs.ls(target.rstrip("/"), detail=True))
                return sorted(name.rsplit("/", 1)[-1] for name in found if name != target.rstrip("/"))
            return []

        found: list[str] = self._do("list", folder, look)
        return found

    def fetch(self, path: str, local: Path) -> None:
        """Copy the file at ``path`` to ``local``."""
        local.parent.mkdir(parents=True, exist_ok=True)
        self._do("read", path, lambda fs, target: fs.get_file(target, str(local)))

    def remove(self, path: str) -> None:
        """Delete a file, or a folder and what lies in it; nothing happens when it is not there."""

        def delete(fs: Any, target: str) -> None:
            with contextlib.suppress(FileNotFoundError):
                fs.rm(target, recursive=True)

        self._do("delete", path, delete)

    def sweep(self) -> None:
        """Delete what killed writers left half-written."""

        def delete(fs: Any, root: str) -> None:
            if not _takes_files_whole(fs):
                for name in fs.find(root.rstrip("/")):
                    if name.rsplit("/", 1)[-1].startswith(".") and name.endswith(PARTIAL):
                        with contextlib.suppress(FileNotFoundError):
                            fs.rm_file(name)

        self._do("delete", "", delete)

    def _whole(self, fs: Any, target: str, write: Callable[[str], None]) -> None:
        if _takes_files_whole(fs):
            write(target)
            return
        folder, name = target.rsplit("/", 1)
        temporary = f"{folder}/.{name}.{secrets.token_hex(4)}{PARTIAL}"
        fs.makedirs(folder, exist_ok=True)
        try:
            write(temporary)
            try:
                fs.mv(temporary, target)
            except FileNotFoundError as error:
                raise OSError(f"{temporary} was taken away under way") from error  # by `sweep`; may be tried again
        except BaseException:
            with contextlib.suppress(Exception):
                fs.rm_file(temporary)
            raise

    def _do(self, what: str, path: str, work: Callable[[Any, str], Any]) -> Any:
        def once() -> Any:
            fs, root = _open(self.url)
            fs.invalidate_cache()  # other processes write here
            return work(fs, f"{root.rstrip('/')}/{path}")

        try:
            return _retrying()(once)
        except NotImplementedError as error:
            raise UsageError(
                f"{self.url} can only be read; allowed: a folder, or a URL such as s3://BUCKET/NAME"
            ) from error
        except Exception as error:  # each protocol's package has errors of its own
            if not _of_the_store(error):
                raise
            raise OutputError(
                f"cannot {what} {self.url}/{path}: {type(error).__name__}: {printable(str(error))[:300]}; see that the"
                " place exists and may be written to, and run the same command again (finished shards are kept)"
            ) from error


def _takes_files_whole(fs: Any) -> bool:
    protocols = (fs.protocol,) if isinstance(fs.protocol, str) else fs.protocol
    return not _WHOLE_OR_NOT.isdisjoint(protocols)


def _retrying() -> Any:
    import tenacity  # the start of every command comes by here

    return tenacity.Retrying(
        stop=tenacity.stop_after_attempt(ATTEMPTS),
        wait=tenacity.wait_exponential(multiplier=0.1, max=LONGEST_WAIT) + tenacity.wait_random(0, 0.1),
        retry=tenacity.retry_if_exception(_may_pass),
        reraise=True,
    )


def _of_the_store(error: BaseException) -> bool:
    ours = (ThermVisionError, ImportError, TypeError, AttributeError, AssertionError, NotImplementedError)
    return isinstance(error, Exception) and not isinstance(error, ours)


def _may_pass(error: BaseException) -> bool:
    """Whether the same call may succeed a little later: no answer, too many calls, a server in trouble."""
    status = getattr(getattr(error, "response", None), "status_code", None)
    refused = isinstance(status, int) and 400 <= status < 500 and status not in (408, 429)
    return _of_the_store(error) and not isinstance(error, _FOR_GOOD) and not refused


@functools.cache
def _open(url: str) -> tuple[Any, str]:
    """The file system of ``url`` and the path on it; one of each in a process."""
    import fsspec

    scheme = url.split("://")[0].split("::")[-1]
    try:
        fs, root = fsspec.core.url_to_fs(url, use_listings_cache=False)
    except ImportError as error:
        advice = f"; type: pip install {_PACKAGES[name]}" if (name := scheme.lower()) in _PACKAGES else ""
        raise MissingDependencyError(f"{url} needs a package ({error}){advice}") from error
    except ValueError as error:
        raise UsageError(
            f"{url} is no place to write to ({error}); allowed: a folder, or an fsspec URL such as s3://BUCKET/NAME"
        ) from error
    if not root.strip("/"):
        raise UsageError(f"{url} names no folder; allowed: a place of its own, such as s3://BUCKET/NAME")
    return fs, root


@dataclass(frozen=True)
class StoredWorker:
    """``worker``, whose files go to ``storage``: rendered in a temporary folder of the node, then put, then the marker.

    ``marker`` makes path and bytes of a job's done marker. The folder that the runner names is not touched.
    """

    worker: Worker
    storage: Storage
    marker: Callable[[Job, Outcome], tuple[str, bytes]]
    needs_root = False

    def __call__(self, root: Path, job: Job, advance: Advance) -> Outcome:
        """Run the job; see `runners.Worker`."""
        with tempfile.TemporaryDirectory(prefix="thermvision-") as scratch:
            outcome = self.worker(Path(scratch), job, advance)
            for shard in outcome.shards:
                self.storage.put(Path(scratch) / shard.path, shard.path)
        self.storage.write(*self.marker(job, outcome))
        return outcome


@contextlib.contextmanager
def workplace(out: str) -> Iterator[tuple[Path, Storage | None]]:
    """The folder to work in for ``--out``: that folder; or for a URL a mirror of its small files, and the storage.

    >>> with workplace("release") as (root, storage):
    ...     print(root, storage)
    release None
    """
    if not is_url(out):
        yield Path(out), None
        return
    storage = Storage(checked_place(out))
    with tempfile.TemporaryDirectory(prefix="thermvision-") as folder:
        yield Path(folder) / "release", storage


def pull(storage: Storage, root: Path, build: str) -> None:
    """Bring to ``root`` what tells how far a build at ``storage`` is: the release's small files, or the done markers.

    Raises:
        UsageError: something else lies there.
        OutputError: the store does not answer.
        DamagedInputError: a file there is too large.
    """
    found = storage.read(MANIFEST)
    if found is not None:
        (root / MANIFEST).write_bytes(found)
        release = read_release(root)
        for path in (*release.recipes, *release.files):
            if storage.size(path) is not None:
                storage.fetch(path, root / path)
        return
    names = storage.names(build)
    if PLAN not in names and (foreign := [n for n in storage.names() if n != ".gitattributes"]):  # of a new repository
        raise UsageError(
            f"{storage.url} is not empty ({', '.join(foreign[:3])}); allowed: a place that is new, empty or was"
            " started by the same command; choose another --out"
        )
    for name in names:
        if name == PLAN or name.endswith(MARKER):
            data = storage.read(f"{build}/{name}")
            if data is not None:
                (root / build).mkdir(exist_ok=True)
                (root / build / name).write_bytes(data)


def push(storage: Storage, root: Path, build: str) -> None:
    """Say at ``storage`` what is being made there, and what of it is done; it is no release until `conclude`."""
    if (root / MANIFEST).is_file():  # one that is being mended
        for path in sorted((root / build).glob(f"*{MARKER}")):
            storage.put(path, f"{build}/{path.name}")
    storage.put(root / build / PLAN, f"{build}/{PLAN}")
    storage.remove(MANIFEST)


def has(storage: Storage, shard: Shard) -> bool:
    """Whether a shard with its size lies at ``storage``; its marker came after it, so its bytes are not read again."""
    return storage.size(shard.path) == shard.bytes


def conclude(storage: Storage, root: Path, build: str, finish: Callable[[Path], Sequence[str]]) -> list[str]:
    """Make the mirror ``root`` and ``storage`` one release: card and previews, every small file, then `release.json`.

    ``finish`` writes card and previews from the shards, which are fetched for it; of a release of more than
    `MIRROR_BYTES` they are left out, and the lines say so. Returns the lines that end the command.

    Raises:
        OutputError: the store does not answer.
        UsageError: a build of something else was started there meanwhile.
        DamagedInputError: a shard that was fetched is not the one that was put.
    """
    release = read_release(root)
    plan = storage.read(f"{build}/{PLAN}")
    if plan is not None and str(release.plan).encode() not in plan:  # there is no lock on a store
        raise UsageError(
            f"a build of something else was started at {storage.url} meanwhile, and its shards lie among these; delete"
            " that place, or choose another --out"
        )
    total = sum(s.bytes for s in release.shards)
    if total <= MIRROR_BYTES:
        for shard in release.shards:
            storage.fetch(shard.path, root / shard.path)
            if sha256_file(root / shard.path) != shard.sha256:
                raise DamagedInputError(
                    f"{storage.url}/{shard.path} is not what was put there; delete it and run the same command again"
                )
        # `datasets` reads a folder or a repository of the Hub
        lines = [x.replace(str(root), storage.url) for x in finish(root) if not x.startswith("load it:")]
        shutil.rmtree(root / "data", ignore_errors=True)
    else:
        lines = [
            f"{release.name} {release.version}: {len(release.shards)} shards at {storage.url}; its card has no prose"
            f" and no previews, since it has {total / 1e9:.1f} GB: copy it and type: thermvision card COPY"
        ]
    small = (p for p in sorted(root.rglob("*")) if p.is_file() and p.name not in (MANIFEST, ".lock"))
    for path in small:
        name = path.relative_to(root).as_posix()
        if not name.startswith((f"{build}/", "data/")):
            storage.put(path, name)
    storage.sweep()
    storage.put(root / MANIFEST, MANIFEST)
    storage.remove(build)
    return lines
