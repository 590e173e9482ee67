"""Where a release lies: in a folder here, at a revision on the Hub, or below any URL that fsspec reads.

A place answers with local files. What is not here is downloaded when asked for, and must have the digest and size that
the manifest says.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import tempfile
import weakref
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import unquote

from thermvision.annotations.errors import (
    DamagedInputError,
    MissingDependencyError,
    RemoteError,
    ThermVisionError,
    UsageError,
)

from .contents import SIGNATURE, listed
from .pack import Shard
from .release import MANIFEST, README, Manifest, read_release
from .storage import checked_place
from .store import MAX_JSON_BYTES, atomic_path, sha256_file, writing

HUB = "hf://datasets/"
MAX_TEMPORARY_BYTES = 8 * 2**30  # of what is downloaded from a URL that has no cache of its own
_SHORT = re.compile(r"(?P<repo>[\w.-]+/[\w.-]+)@(?P<revision>\S+)")
_LONG = re.compile(r"hf://datasets/(?P<repo>[\w.-]+/[\w.-]+?)(@(?P<revision>\S+?))?/?")
_UNLISTED = (MANIFEST, SIGNATURE, README)  # files that a manifest need not list
_BLOCK = 1 << 20


class _PassingError(Exception):
    """What may be over when it is tried again."""


class Remote(Protocol):
    """Files that are not here."""

    def get(self, path: str, most: int, again: bool = False) -> Path | None:
        """A local copy of a file of ``most`` bytes at the most; None where there is no such file.

        ``again`` takes it from there although a copy is here.

        Raises:
            RemoteError: the other side refuses or does not answer.
            DamagedInputError: it has more bytes.
        """


@dataclass(frozen=True, eq=False)
class Place:
    """A release wherever it lies; crosses process borders.

    Attributes:
        name: as a person would call it; of the Hub with the commit.
        root: local folder that holds ``release.json``, and what was fetched of the rest.
        release: its manifest.
        remote: where files come from; None: ``root`` is the release itself.
    """

    name: str
    root: Path
    release: Manifest
    remote: Remote | None = None
    _sound: set[str] = field(default_factory=set, repr=False)

    @property
    def is_folder(self) -> bool:
        """Whether the release itself is a folder here."""
        return self.remote is None

    def fetch(self, path: str) -> Path:
        """The local file of one that the manifest lists, or of card and signature; downloaded where it is not here.

        A file of a local release is given as it lies. Of a URL the file stays for `MAX_TEMPORARY_BYTES` of others.

        Raises:
            UsageError: the release lists no such file.
            DamagedInputError: it is not there, or a download is not what the manifest says.
            RemoteError: the other side refuses or does not answer.
        """
        found = self._find(path)
        if found is None:
            raise DamagedInputError(f"{path} of {self.name} is not there; {self._again()}")
        return found

    def has(self, path: str) -> bool:
        """Whether the file is there; see `fetch`."""
        return self._find(path) is not None

    def holding(self, *shards: Shard) -> Place:
        """The same place as if its release held nothing but ``shards``: little to carry to another process."""
        nothing: dict[str, Any] = {"identities": (), "recipes": {}, "files": {}, "failed": (), "passed_over": ()}
        return replace(
            self, root=self.root.absolute(), release=self.release.model_copy(update={**nothing, "shards": shards})
        )

    @cached_property
    def _listed(self) -> dict[str, tuple[str, int]]:
        """Path to SHA-256 and the most bytes it may have."""
        sizes = {s.path: s.bytes for s in self.release.shards}
        return {path: (digest, sizes.get(path, MAX_JSON_BYTES)) for path, digest in listed(self.release).items()}

    def _find(self, path: str) -> Path | None:
        digest, most = self._listed.get(path, (None, MAX_JSON_BYTES))
        if digest is None and path not in _UNLISTED:
            raise UsageError(f"{self.name} lists no {path}; allowed: the paths in its {MANIFEST}")
        if self.remote is None:
            return self._lying(path)
        found = self.remote.get(path, most)
        if found is None or digest is None or (path in self._sound and found.is_file()):
            return found
        if sha256_file(found) != digest:  # the copy here may be the broken one
            found = self.remote.get(path, most, again=True)
        if found is None or sha256_file(found) != digest:
            raise DamagedInputError(f"{path} of {self.name} is not what its manifest says; {self._again()}")
        self._sound.add(path)
        return found

    def _lying(self, path: str) -> Path | None:
        found = self.root / path
        if not found.is_file():
            return None
        if not found.resolve().is_relative_to(self.root.resolve()):
            raise DamagedInputError(f"{found} is a link out of the release; put the file itself there")
        return found

    def _again(self) -> str:
        return (
            f"type: thermvision verify {self.root}" if self.is_folder else "publish it again, or take another version"
        )


def open_place(place: str | Path) -> Place:
    """The release at ``place``: a folder, ``hf://datasets/ORG/NAME[@REVISION]``, ``ORG/NAME@REVISION`` or a URL.

    A revision of the Hub is a tag, a branch, a commit or ``refs/pr/N``; all files come from the commit that it is now.

    Raises:
        UsageError: nothing is there, or no release.
        DamagedInputError: its manifest is broken.
        RemoteError: the other side refuses or does not answer.
        MissingDependencyError: the package that reads such a URL is not installed.
    """
    text = str(place)
    if os.path.exists(text):  # pathlib raises for names that are too long
        return Place(text, Path(place), read_release(Path(place)))
    if named := hub_name(text):
        return _open_hub(*named)
    text = checked_place(text)
    if "://" in text:
        return _open_url(text)
    raise UsageError(
        f"{text} does not exist; allowed: a folder of a release, {HUB}ORG/NAME@REVISION, ORG/NAME@REVISION, or a URL"
        " such as s3://bucket/folder"
    )


def hub_name(text: str) -> tuple[str, str] | None:
    """Repository and revision of a place on the Hub; None for another place.

    >>> hub_name("hf://datasets/org/faces"), hub_name("org/faces@v1.0"), hub_name("out/release")
    (('org/faces', 'main'), ('org/faces', 'v1.0'), None)
    """
    found = _LONG.fullmatch(text) or ("://" not in text and _SHORT.fullmatch(text))
    return (found["repo"], unquote(found["revision"] or "main")) if found else None


def _open_hub(repo: str, revision: str) -> Place:
    moving = _Hub(repo, revision)
    path = moving.get(MANIFEST, MAX_JSON_BYTES)
    if path is None:
        raise UsageError(f"{HUB}{repo}@{revision} has no {MANIFEST}: it is no release; give another revision")
    # the client keeps each commit in a folder of its name
    pinned = _Hub(repo, path.parent.name)
    return Place(f"{HUB}{repo}@{pinned.revision}", path.parent, read_release(path.parent), pinned)


@dataclass(frozen=True)
class _Hub:
    """A dataset repository at a revision; files lie in the Hub client's own cache."""

    repo: str
    revision: str

    def get(self, path: str, most: int, again: bool = False) -> Path | None:
        with _hub_errors(f"{HUB}{self.repo}@{self.revision}"), writing(Path(path)):
            return _download(self.repo, self.revision, path, most, again)


def _download(repo: str, revision: str, path: str, most: int, again: bool) -> Path | None:
    from huggingface_hub import constants, errors, get_hf_file_metadata, hf_hub_url, try_to_load_from_cache

    here = try_to_load_from_cache(repo, path, revision=revision, repo_type="dataset")
    # of a branch or a tag the cache may be behind
    if isinstance(here, str) and not again and re.fullmatch(r"[0-9a-f]{40}", revision):
        return Path(here)
    try:
        if not constants.HF_HUB_OFFLINE:
            url = hf_hub_url(repo, path, repo_type="dataset", revision=revision)
            told = get_hf_file_metadata(url, retry_on_errors=True)
            if told.size is None or told.size > most:
                raise DamagedInputError(
                    f"{path} of {HUB}{repo}@{revision} has {told.size} bytes; allowed: {most} at the most"
                )
            revision = told.commit_hash or revision
        return _kept_by_the_client(repo, revision, path, again)
    except errors.RemoteEntryNotFoundError:
        return None


def _kept_by_the_client(repo: str, revision: str, path: str, again: bool) -> Path:
    """The file in the cache of the Hub's client, which goes on with a download that broke off but not with all."""
    import tenacity

    retrying = tenacity.Retrying(
        retry=tenacity.retry_if_exception_type(_PassingError),
        stop=tenacity.stop_after_attempt(5),
        wait=tenacity.wait_random_exponential(multiplier=0.2, max=10),
        reraise=True,
    )
    return retrying(_downloaded, repo, revision, path, again)


def _downloaded(repo: str, revision: str, path: str, again: bool) -> Path:
    from huggingface_hub import constants, errors, hf_hub_download

    try:
        return Path(hf_hub_download(repo, path, repo_type="dataset", revision=revision, force_download=again))
    except errors.HfHubHTTPError as error:
        if error.response.status_code == 429 or error.response.status_code >= 500:
            raise _PassingError(*error.args) from error
        raise
    except errors.HTTPError as error:
        raise _PassingError(*error.args) from error
    except OSError as error:  # without a number: what the client says of bytes that are too few
        if (
            error.errno is not None and not isinstance(error, errors.LocalEntryNotFoundError)
        ) or constants.HF_HUB_OFFLINE:
            raise
        raise _PassingError(*error.args) from error


@contextlib.contextmanager
def _hub_errors(name: str) -> Iterator[None]:
    """What the Hub's client says, as our errors, and never with a token in it."""
    from huggingface_hub import errors, get_token

    def said(error: BaseException) -> str:
        line = next(iter(str(error).strip().splitlines()), type(error).__name__)
        token = get_token()
        return (line.replace(token, "***") if token else line)[:300]

    try:
        yield
    except errors.GatedRepoError as error:
        raise RemoteError(f"{name} is gated and this account has no access; ask for it on its page") from error
    except errors.RepositoryNotFoundError as error:
        raise RemoteError(
            f"{name} does not exist, or this account may not read it; correct the name, or type: hf auth login"
        ) from error
    except errors.RevisionNotFoundError as error:
        raise RemoteError(f"{name}: there is no such revision; give a tag, a branch or a commit") from error
    except errors.HFValidationError as error:
        raise UsageError(f"{name} is no name of a dataset on the Hub ({said(error)})") from error
    except (errors.LocalEntryNotFoundError, errors.OfflineModeIsEnabled) as error:
        raise RemoteError(
            f"{name} is not in the cache and the Hub cannot be reached ({said(error)}); try again, without"
            " HF_HUB_OFFLINE where it is set"
        ) from error
    except errors.HfHubHTTPError as error:
        code = error.response.status_code
        advice = "its token may have ended; type: hf auth login" if code in (401, 403) else "try again"
        raise RemoteError(f"{name} refuses with {code} ({said(error)}); {advice}") from error
    except (errors.HTTPError, errors.FileMetadataError, _PassingError) as error:
        raise RemoteError(f"{name} does not answer as it should ({said(error)}); try again") from error


def _open_url(url: str) -> Place:
    folder = Path(tempfile.mkdtemp(prefix="thermvision-"))
    remote = _Url(url, folder)
    try:
        if remote.get(MANIFEST, MAX_JSON_BYTES) is None:
            raise UsageError(f"{url} has no {MANIFEST}: it is no release; give the URL of its folder")
        place = Place(url, folder, read_release(folder), remote)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    weakref.finalize(place, shutil.rmtree, folder, ignore_errors=True)
    return place


@dataclass(frozen=True)
class _Url:
    """A folder that fsspec reads; copies lie in a temporary folder of bounded size."""

    url: str
    folder: Path

    def get(self, path: str, most: int, again: bool = False) -> Path | None:
        import fsspec

        copy = self.folder / path
        if copy.is_file() and not again:
            return copy
        try:
            system, base = fsspec.core.url_to_fs(self.url)
            size = system.info(f"{base}/{path}")["size"]
            if size is None or size > most:
                raise DamagedInputError(f"{path} of {self.url} has {size} bytes; allowed: {most} at the most")
            self._make_room(int(size))
            with system.open(f"{base}/{path}", "rb") as source, atomic_path(copy, durable=False) as temporary:
                _copy(source, temporary, int(size), f"{path} of {self.url}")
            return copy
        except FileNotFoundError:
            return None
        except ThermVisionError:
            raise
        except ImportError as error:
            raise MissingDependencyError(f"{self.url} needs a package: {error}") from error
        except ValueError as error:
            raise UsageError(f"{self.url} is no URL that fsspec reads ({error})") from error
        except Exception as error:  # every system has exceptions of its own
            raise RemoteError(f"{self.url} does not give {path} ({type(error).__name__}); try again") from error

    def _make_room(self, size: int) -> None:
        """Delete the oldest copies until there is room for ``size`` bytes more; the manifest stays."""
        copies = [p for p in self.folder.rglob("*") if p.is_file() and p != self.folder / MANIFEST]
        copies.sort(key=lambda p: p.stat().st_mtime_ns, reverse=True)
        size += sum(p.stat().st_size for p in copies)
        while copies and size > MAX_TEMPORARY_BYTES:
            oldest = copies.pop()
            size -= oldest.stat().st_size
            oldest.unlink(missing_ok=True)


def _copy(source: Any, target: Path, size: int, name: str) -> None:
    """Copy ``size`` bytes and not one more: a file may be longer than is told."""
    left = size
    with target.open("wb") as file:
        while block := source.read(min(_BLOCK, left + 1)):
            left -= len(block)
            if left < 0:
                break
            file.write(block)
    if left:
        raise DamagedInputError(f"{name} is not the {size} bytes that were announced; try again")
