"""Files written so that a killed process leaves nothing half-written under a final name, and their digests."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from thermvision.annotations.errors import DamagedInputError, OutputError

PARTIAL = ".partial"  # suffix of files being written; whatever carries it is never read
MAX_JSON_BYTES = 256 * 2**20


def sha256_bytes(data: bytes) -> str:
    """Hex SHA-256 of ``data``."""
    return hashlib.sha256(data).hexdigest()


def sha256_file(path: Path) -> str:
    """Hex SHA-256 of a file, read in blocks."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def canonical_json(value: Any) -> str:
    """JSON with sorted keys, no spaces and no NaN: equal values give equal text.

    >>> canonical_json({"b": 1, "a": [1.5, None]})
    '{"a":[1.5,null],"b":1}'
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn the operating system's refusals while ``path`` is written into an `OutputError`."""
    try:
        yield
    except OSError as error:
        reasons = {
            errno.ENOSPC: "the disk is full; free some space",
            errno.EDQUOT: "the quota is used up; free some space",
            errno.EFBIG: "the file is larger than this system allows; raise `ulimit -f`",
            errno.EROFS: "the disk is read-only; choose another place",
            errno.EACCES: "permission denied; choose another place",
            errno.EPERM: "permission denied; choose another place",
            errno.ENOTDIR: "a part of its path is a file; choose another place",
            errno.EEXIST: "a part of its path is a file; choose another place",
            errno.ENOENT: "its folder cannot be made; choose another place",
        }
        if error.errno not in reasons:
            raise
        message = (
            f"cannot write {path}: {reasons[error.errno]} and run the same command again (finished shards are kept)"
        )
        raise OutputError(message) from error


@contextlib.contextmanager
def atomic_path(path: Path, durable: bool = True) -> Iterator[Path]:
    """A temporary path beside ``path`` that becomes ``path`` when the block ends well, and is removed when it does not.

    Not ``durable`` it outlives a killed process and perhaps no power cut, and is much quicker with many small files.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with atomic_path(Path(folder) / "a.txt") as temporary:
    ...         _ = temporary.write_text("whole")
    ...     [p.name for p in Path(folder).iterdir()]
    ['a.txt']

    Raises:
        OutputError: no room or no permission.
    """
    # not the number of the process: on a shared disk another machine may have the same
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}{PARTIAL}")
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield temporary
            if durable:
                with temporary.open("rb+") as file:
                    os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        if durable:
            _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    # without this a power cut may forget the rename although the file's bytes are on disk
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def atomic_write(path: Path, data: bytes | str, durable: bool = True) -> None:
    """Write ``data`` (text as UTF-8) so that readers see the old file or the whole new one; see `atomic_path`."""
    with atomic_path(path, durable) as temporary:
        temporary.write_bytes(data.encode() if isinstance(data, str) else data)


def remove_partial(root: Path) -> list[Path]:
    """Delete what killed writers left below ``root`` and return it."""
    leftovers = [p for p in root.rglob(f"*{PARTIAL}") if p.is_file() and p.name.startswith(".")]
    for path in leftovers:
        path.unlink(missing_ok=True)
    return leftovers


def read_json(path: Path) -> Any:
    """Parse a JSON file of bounded size.

    Raises:
        DamagedInputError: it cannot be read, is too large or is no JSON.
    """
    try:
        if path.stat().st_size > MAX_JSON_BYTES:
            raise DamagedInputError(f"{path} has {path.stat().st_size} bytes; allowed: {MAX_JSON_BYTES}")
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise DamagedInputError(
            f"{path} is not readable JSON ({error}); restore it or build into a new folder"
        ) from error
