"""What the test Hub knows: repositories with commits, branches, tags and pull requests, and their objects.

Objects lie in a folder by SHA-256; what happened is appended to a journal, one JSON line an event, and read again at
the start. An LFS object belongs to the repositories it was sent to: one that was sent to another is not there.
"""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

# what a new dataset repository of the Hub keeps in LFS
_LFS = """7z arrow bin bz2 ckpt ftz gz h5 joblib lz4 mds model msgpack npy npz onnx ot parquet pb pickle pkl pt pth rar
safetensors tar tflite tgz wasm xz zip zst pcm sam raw aac flac mp3 ogg wav bmp gif png tiff jpg jpeg webp mp4 webm"""
LFS_SUFFIXES = {f".{name}" for name in _LFS.split()}
LFS_SIZE = 10 * 2**20
BLOCK = 2**20


class Refused(Exception):  # noqa: N818 - it is an answer, not an error of the server
    """A request that is answered with an error status; ``code`` is the Hub's X-Error-Code."""

    def __init__(self, status: int, message: str, code: str = "", commit: str = "") -> None:
        super().__init__(message)
        self.status, self.message, self.code, self.commit = status, message, code, commit


@dataclass(frozen=True)
class Account:
    """Who a token belongs to. ``orgs`` are the namespaces it may write to; None: every one."""

    name: str
    role: str = "write"
    orgs: tuple[str, ...] | None = None

    def owns(self, namespace: str) -> bool:
        return self.orgs is None or namespace in (self.name, *self.orgs)


class Entry(NamedTuple):
    """A file of a commit; ``oid`` is git's digest, of the pointer for one in LFS."""

    sha256: str
    oid: str
    size: int
    lfs: bool


@dataclass(frozen=True)
class Commit:
    id: str
    parent: str | None
    title: str
    message: str
    date: str
    files: Mapping[str, Entry]


@dataclass
class Pull:
    """A pull request: its commits stand on ``base``."""

    number: int
    title: str
    description: str
    status: str
    base: str
    head: str
    date: str


@dataclass
class Repo:
    key: str
    private: bool
    gated: str | bool
    date: str
    commits: dict[str, Commit] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    pulls: dict[int, Pull] = field(default_factory=dict)
    objects: set[str] = field(default_factory=set)

    @property
    def name(self) -> str:
        return self.key.split("/", 1)[1]

    @property
    def namespace(self) -> str:
        return self.name.split("/", 1)[0]

    @property
    def head(self) -> str:
        return self.branches["main"]

    def resolve(self, revision: str, stale: bool = False) -> str:
        """The commit of a branch (``stale``: the one before), tag, pull request or (part of a) commit id."""
        pulls = {f"refs/pr/{n}": p.head for n, p in self.pulls.items()}
        if revision in self.branches:
            head = self.branches[revision]
            return (self.commits[head].parent or head) if stale else head
        for table in (self.tags, pulls):
            if revision in table:
                return table[revision]
        hits = [c for c in self.commits if c.startswith(revision)] if len(revision) >= 7 else []
        if len(hits) != 1:
            raise Refused(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        return hits[0]

    def history(self, revision: str = "main") -> list[Commit]:
        """Commits from the newest to the first."""
        found, at = [], self.resolve(revision)
        while at:
            found.append(self.commits[at])
            at = self.commits[at].parent or ""
        return found


def now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime())


def git_oid(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


class Store:
    """Repositories by key, ``datasets/ORG/NAME``. Everything that changes it holds ``lock``."""

    def __init__(self, root: Path) -> None:
        self.root, self.lock = root, threading.RLock()
        self.repos: dict[str, Repo] = {}
        for folder in (self.objects, self.incoming):
            folder.mkdir(parents=True, exist_ok=True)
        journal = root / "journal.jsonl"
        for line in journal.read_text().splitlines() if journal.exists() else ():
            self._apply(json.loads(line))
        self._journal = journal.open("a", buffering=1)

    @property
    def objects(self) -> Path:
        return self.root / "objects"

    @property
    def incoming(self) -> Path:
        return self.root / "incoming"

    def close(self) -> None:
        self._journal.close()

    def happen(self, do: str, key: str, **event: Any) -> None:
        """Do and remember one event."""
        with self.lock:
            line = {"do": do, "key": key, **event}
            self._journal.write(json.dumps(line) + "\n")
            self._apply(line)

    def _apply(self, event: dict[str, Any]) -> None:
        event = dict(event)
        do, key = event.pop("do"), event.pop("key")
        if do == "create":
            self.repos[key] = Repo(key, **event)
            return
        if do == "delete":
            del self.repos[key]
            return
        _EVENTS[do](self.repos[key], **event)

    def repo(self, key: str) -> Repo:
        try:
            return self.repos[key]
        except KeyError:
            raise Refused(404, "Repository not found", "RepoNotFound") from None

    def create(self, key: str, private: bool) -> Repo:
        with self.lock:
            if key in self.repos:
                raise Refused(409, "You already created this dataset repo")
            self.happen("create", key, private=private, gated=False, date=now())
            attributes = "".join(f"*{s} filter=lfs diff=lfs merge=lfs -text\n" for s in sorted(LFS_SUFFIXES))
            entry = self.put(attributes.encode())
            self.commit(key, "main", None, "initial commit", "", {".gitattributes": entry}, ())
        return self.repos[key]

    def put(self, data: bytes) -> Entry:
        """Keep a file that is not in LFS."""
        digest = hashlib.sha256(data).hexdigest()
        if not (self.objects / digest).exists():
            part = self.incoming / f"{digest}.{threading.get_ident()}"
            part.write_bytes(data)
            part.replace(self.objects / digest)
        return Entry(digest, git_oid(data), len(data), False)

    def pointer(self, key: str, digest: str) -> Entry:
        """The entry of an LFS object that was sent to the repository before."""
        if digest not in self.repo(key).objects:
            raise Refused(400, f"LFS pointer points to a file that does not exist: {digest}")
        size = (self.objects / digest).stat().st_size
        text = f"version https://git-lfs.github.com/spec/v1\noid sha256:{digest}\nsize {size}\n"
        return Entry(digest, git_oid(text.encode()), size, True)

    def commit(
        self,
        key: str,
        ref: str,
        parent: str | None,
        title: str,
        message: str,
        put: Mapping[str, Entry],
        drop: Iterable[str],
    ) -> str:
        """Add a commit and move ``ref`` (a branch or refs/pr/N; "" moves none) to it; returns its id."""
        with self.lock:
            count = len(self.repo(key).commits)
            body = json.dumps([key, parent, title, message, sorted(put.items()), sorted(drop), count])
            new = hashlib.sha1(body.encode(), usedforsecurity=False).hexdigest()
            made = {"id": new, "parent": parent, "title": title, "message": message, "date": now()}
            self.happen("commit", key, ref=ref, put={p: list(e) for p, e in put.items()}, drop=sorted(drop), **made)
            return new

    def merge(self, key: str, number: int) -> str:
        """Put a pull request's changes onto main as a commit of their own, as the Hub does."""
        with self.lock:
            repo = self.repo(key)
            pull = repo.pulls[number]
            base, head, main = (repo.commits[c].files for c in (pull.base, pull.head, repo.head))
            changed = {p for p in base.keys() | head.keys() if base.get(p) != head.get(p)}
            if pull.status not in ("open", "draft") or any(main.get(p) != base.get(p) for p in changed):
                raise Refused(409, "This pull request cannot be merged: conflicts with main")
            put = {p: head[p] for p in changed if p in head}
            gone = changed - head.keys()
            new = self.commit(key, "main", repo.head, f"{pull.title} (#{number})", "", put, gone)
            self.happen("pull", key, pull=asdict(pull) | {"status": "merged"})
            return new


def _commit(
    repo: Repo,
    id: str,
    ref: str,
    parent: str | None,
    title: str,
    message: str,
    date: str,
    put: dict[str, list[Any]],
    drop: list[str],
) -> None:
    files = dict(repo.commits[parent].files) if parent else {}
    files = {p: e for p, e in files.items() if p not in set(drop)} | {p: Entry(*e) for p, e in put.items()}
    repo.commits[id] = Commit(id, parent, title, message, date, files)
    if ref.startswith("refs/pr/"):
        repo.pulls[int(ref.rsplit("/", 1)[1])].head = id
    elif ref:
        repo.branches[ref] = id


def _ref(repo: Repo, kind: str, name: str, target: str | None) -> None:
    table = repo.tags if kind == "tag" else repo.branches
    if target is None:
        del table[name]
    else:
        table[name] = target


def _pull(repo: Repo, pull: dict[str, Any]) -> None:
    repo.pulls[pull["number"]] = Pull(**pull)


def _settings(repo: Repo, private: bool, gated: str | bool) -> None:
    repo.private, repo.gated = private, gated


_EVENTS: dict[str, Callable[..., None]] = {
    "commit": _commit,
    "ref": _ref,
    "pull": _pull,
    "settings": _settings,
    "object": lambda repo, digest: repo.objects.add(digest),
}
