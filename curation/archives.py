"""A read-only view of what was downloaded: a zip, a folder with zips, unpacked trees, or all of these.

Nothing is unpacked. Members are listed with posix names and sizes, and read one at a time with a bound on their size,
so that memory does not depend on the archive. A zip that was made to do harm, or that is incomplete, is refused as
a whole with every reason; single files of a folder that cannot be used are findings.
"""

from __future__ import annotations

import os
import re
import stat
import struct
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import IO

from thermvision.annotations.errors import DamagedInputError, UsageError
from thermvision.annotations.findings import Finding

MAX_MEMBERS = 250_000  # the two published archives have about 60,000
MAX_DIRECTORY_BYTES = 128 * 2**20
MAX_MEMBER_BYTES = 128 * 2**20
MAX_DEPTH = 16
MAX_NAME = 1024
MAX_RATIO = 200  # text labels reach about 5, video and PNG about 1; deflate's own limit is 1032
RATIO_FLOOR = 2**20  # smaller members may be as repetitive as they like
METHODS = {zipfile.ZIP_STORED: "stored", zipfile.ZIP_DEFLATED: "deflate"}
_BLOCK = 2**20
_END, _END64, _LOCATOR64 = b"PK\5\6", b"PK\6\6", b"PK\6\7"
_DRIVE = re.compile(r"[A-Za-z]:")
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")  # controls, and bytes that are no UTF-8


@dataclass(frozen=True, slots=True, order=True)
class Member:
    """One file of a source.

    Attributes:
        archive: path of the zip below the source; empty for a plain file.
        name: posix path within the zip, or below the folder and beginning with the folder's own name.
        size: bytes, as announced by the archive or the file system.
    """

    archive: str
    name: str
    size: int

    def __str__(self) -> str:
        return f"{self.archive}:{self.name}" if self.archive else self.name


class Archives:
    """An opened source; use it as a context manager.

    Attributes:
        path: what was opened.
        members: every file in it, sorted by archive and name.
        findings: files of a folder that were left out, with the reason (links, pipes, unreadable names).

    Raises:
        UsageError: the path does not exist or is no zip and no folder.
        DamagedInputError: a zip is broken, truncated, password-protected or unsafe.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._zips: dict[str, zipfile.ZipFile] = {}
        self._files: dict[str, Path] = {}
        findings: list[Finding] = []
        members: list[Member] = []
        try:
            if path.is_dir():
                root = path.resolve()
                for name, file in walk(root, findings):
                    if name.lower().endswith(".zip"):
                        members += self._add_zip(name, file)
                    else:
                        member = Member("", f"{root.name}/{name}", file.lstat().st_size)
                        self._files[member.name] = file
                        members.append(member)
            elif path.is_file():
                members += self._add_zip(path.name, path.resolve())
            else:
                raise UsageError(f"{path} does not exist; give a zip, a folder with zips, or an unpacked folder")
        except BaseException:
            self.close()
            raise
        self.members = tuple(sorted(members))
        self.findings = tuple(sorted(findings))

    def _add_zip(self, name: str, file: Path) -> list[Member]:
        archive = _open_zip(file)
        self._zips[name] = archive
        return [Member(name, info.filename, info.file_size) for info in archive.infolist() if not info.is_dir()]

    def __enter__(self) -> Archives:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close every zip."""
        for archive in self._zips.values():
            archive.close()

    def checksum(self, member: Member) -> int:
        """CRC-32 of a member: the zip's own record of it, or computed for a plain file."""
        if member.archive:
            return self._zips[member.archive].getinfo(member.name).CRC
        value = 0
        with _open_plain(self._files[member.name]) as file:
            while block := file.read(_BLOCK):
                value = zlib.crc32(block, value)
        return value

    def read(self, member: Member, limit: int = MAX_MEMBER_BYTES) -> bytes:
        """The bytes of one member, never more than ``limit``, whatever the archive says about its size.

        Raises:
            DamagedInputError: it is larger than ``limit``, expands too much, or its checksum is wrong.
        """
        if member.size > limit:
            raise DamagedInputError(f"{member} has {member.size} bytes; allowed: {limit}; leave it out or shorten it")
        try:
            if not member.archive:
                with _open_plain(self._files[member.name]) as file:
                    return _bounded(file, limit, member)
            archive = self._zips[member.archive]
            with archive.open(archive.getinfo(member.name)) as packed:
                return _bounded(packed, limit, member)
        except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, OSError) as error:
            raise DamagedInputError(f"{member} cannot be read ({error}); download the archive again") from error


def open_archives(path: Path | str) -> Archives:
    """Open a zip, a folder that holds zips, or an unpacked tree; see `Archives`."""
    return Archives(Path(path))


def _bounded(file: IO[bytes], limit: int, member: Member) -> bytes:
    blocks, total = [], 0
    while block := file.read(min(_BLOCK, limit + 1 - total)):
        blocks.append(block)
        total += len(block)
        if total > limit:
            raise DamagedInputError(f"{member} has more than the allowed {limit} bytes; leave it out or shorten it")
    if total != member.size:
        raise DamagedInputError(f"{member} announces {member.size} bytes and has {total}; download the archive again")
    return b"".join(blocks)


def _open_plain(path: Path) -> IO[bytes]:
    # the file may have become a link since it was listed
    return os.fdopen(os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0)), "rb")


def walk(root: Path, findings: list[Finding]) -> Iterator[tuple[str, Path]]:
    """Plain files below ``root`` as (posix path below it, path); links are findings and never followed."""
    pending, count = [(root, "", 0)], 0
    while pending:
        folder, prefix, depth = pending.pop()
        for entry in sorted(os.scandir(folder), key=lambda e: e.name):
            name = f"{prefix}{entry.name}"
            count += 1
            if count > MAX_MEMBERS:
                raise DamagedInputError(f"{root} holds more than {MAX_MEMBERS} files; give the folder of the data set")
            if reason := _unusable(entry, name, depth):
                findings.append(Finding(name.encode("utf-8", "backslashreplace").decode(), *reason))
            elif entry.is_dir(follow_symlinks=False):
                pending.append((Path(entry.path), f"{name}/", depth + 1))
            else:
                yield name, Path(entry.path)


def _unusable(entry: os.DirEntry[str], name: str, depth: int) -> tuple[str, str] | None:
    if entry.is_symlink():
        return "symlink", "is a symbolic link; links are not followed: put the file itself there, or name it as SOURCE"
    if not (entry.is_dir(follow_symlinks=False) or entry.is_file(follow_symlinks=False)):
        return "special-file", "is no plain file (pipe, socket or device) and was left out"
    if depth >= MAX_DEPTH:
        return "too-deep", f"lies more than {MAX_DEPTH} folders deep and was left out"
    if _UNPRINTABLE.search(name):
        return "unprintable-name", "has characters in its name that cannot be printed, and was left out; rename it"
    return None


def _open_zip(path: Path) -> zipfile.ZipFile:
    """Open a zip after checking its directory's size, and refuse it when a member is unsafe or cannot be read.

    Raises:
        DamagedInputError: with every reason found.
    """
    try:
        _check_directory_size(path)
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, NotImplementedError, UnicodeDecodeError, struct.error, ValueError, OSError) as error:
        raise DamagedInputError(f"{path} is no readable zip ({error}); download it again") from error
    problems = list(_problems(archive, path.stat().st_size))
    if problems:
        archive.close()
        more = f" and {len(problems) - 5} more" if len(problems) > 5 else ""
        raise DamagedInputError(f"{path} was refused: {'; '.join(problems[:5])}{more}")
    return archive


def _check_directory_size(path: Path) -> None:
    """Bound the central directory before `zipfile` reads all of it into memory (APPNOTE.TXT 4.3.14 to 4.3.16)."""
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - 2**16 - 98))
        tail = file.read()
    if tail.startswith(b"version https://git-lfs"):
        raise DamagedInputError(f"{path} is a Git LFS pointer and not the file itself; run: git lfs pull")
    end = len(tail) - 22 if tail[-22:-18] == _END and tail.endswith(b"\0\0") else tail.rfind(_END)
    if end < 0 or len(tail) - end < 22:
        message = "has no end record: the download is incomplete, or the file is no zip"
        raise DamagedInputError(f"{path} ({size} bytes) {message}; download it again")
    entries, length = struct.unpack_from("<HL", tail, end + 10)
    if end >= 76 and tail[end - 20 : end - 16] == _LOCATOR64 and tail[end - 76 : end - 72] == _END64:
        entries, length = struct.unpack_from("<QQ", tail, end - 76 + 32)
    if entries > MAX_MEMBERS or length > MAX_DIRECTORY_BYTES:
        raise DamagedInputError(
            f"{path} announces {entries} members in a directory of {length} bytes; allowed: {MAX_MEMBERS} and"
            f" {MAX_DIRECTORY_BYTES}; unpack it and give the folder"
        )


def _problems(archive: zipfile.ZipFile, archive_bytes: int) -> Iterator[str]:
    """Every reason to refuse a zip. Names only matter to who unpacks, but no honest tool writes unsafe ones."""
    infos = archive.infolist()
    if len(infos) > MAX_MEMBERS:
        yield f"it has {len(infos)} members; allowed: {MAX_MEMBERS}"
    encrypted = [info.filename for info in infos if info.flag_bits & 0x1]
    if encrypted:
        yield (
            f"it is password-protected ({len(encrypted)} members, the first is {encrypted[0]!r}); "
            "unpack it with its password and give the folder"
        )
    names = Counter(info.filename for info in infos)
    for name in sorted(name for name, count in names.items() if count > 1):
        yield f"member {name!r} is there {names[name]} times; allowed: once"
    for info in infos:
        if reason := _unsafe(info):
            yield f"member {info.orig_filename[:200]!r} {reason}"
    if sum(info.file_size for info in infos) > MAX_RATIO * max(archive_bytes, RATIO_FLOOR):
        yield f"its members would take more than {MAX_RATIO} times its size; allowed: {MAX_RATIO} times"
    reached, previous = 0, ""
    for info in sorted(infos, key=lambda i: i.header_offset):
        if info.header_offset < reached:
            yield f"members {previous!r} and {info.filename!r} share bytes; allowed: members of their own"
        reached, previous = info.header_offset + info.compress_size, info.filename


def _unsafe(info: zipfile.ZipInfo) -> str | None:
    name = info.orig_filename  # zipfile cuts `filename` at a NUL
    parts = name.split("/")
    if _UNPRINTABLE.search(name) or len(name) > MAX_NAME or not PurePosixPath(name).parts:
        return f"has a name with unprintable characters, with more than {MAX_NAME} of them or with none"
    if name.startswith("/") or "\\" in name or _DRIVE.match(name) or ".." in parts:
        return "leaves the archive's folder; allowed: relative names with forward slashes and no '..'"
    if len(parts) > MAX_DEPTH:
        return f"lies more than {MAX_DEPTH} folders deep"
    if stat.S_ISLNK(info.external_attr >> 16):
        return "is a symbolic link; allowed: plain files and folders"
    if info.compress_type not in METHODS:
        return f"is compressed by method {info.compress_type}; allowed: {', '.join(METHODS.values())}"
    if info.file_size > RATIO_FLOOR and info.file_size > MAX_RATIO * max(info.compress_size, 1):
        return f"expands {info.file_size // max(info.compress_size, 1)} times; allowed: {MAX_RATIO} times"
    return None
