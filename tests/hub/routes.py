"""The part of the Hub's HTTP interface that reading needs, and the list of all routes."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, quote, unquote

from . import changes
from .rights import readable, writable
from .store import Entry, Refused, Repo, Store
from .wire import Answer, Received, part_of

Route = Callable[..., Answer]


def whoami(store: Store, request: Received) -> Answer:
    if request.account is None:
        raise Refused(401, "Invalid username or password.")
    who = request.account
    orgs = [{"type": "org", "name": name} for name in who.orgs or ()]
    auth = {"type": "access_token", "accessToken": {"displayName": "test", "role": who.role}}
    return Answer({"type": "user", "name": who.name, "fullname": who.name, "isPro": False, "orgs": orgs, "auth": auth})


def validate_yaml(store: Store, request: Received) -> Answer:
    return Answer({"errors": [], "warnings": []})


def auth_check(store: Store, request: Received, key: str) -> Answer:
    readable(store, request, key, files=True)
    return Answer({})


def auth_check_write(store: Store, request: Received, key: str) -> Answer:
    writable(store, request, key)
    return Answer({})


def info(store: Store, request: Received, key: str, rev: str = "main") -> Answer:
    repo = readable(store, request, key)
    commit = repo.commits[request.commit_of(repo, unquote(rev))]
    siblings: list[dict[str, Any]] = [{"rfilename": path} for path in sorted(commit.files)]
    if request.query.get("blobs"):
        for file in siblings:
            entry = commit.files[file["rfilename"]]
            file |= {"size": entry.size, "blobId": entry.oid}
            if entry.lfs:
                file["lfs"] = {"sha256": entry.sha256, "size": entry.size, "pointerSize": 130}
    return Answer(
        {
            "_id": "0",
            "id": repo.name,
            "author": repo.namespace,
            "sha": commit.id,
            "private": repo.private,
            "gated": repo.gated,
            "disabled": False,
            "downloads": 0,
            "likes": 0,
            "tags": [],
            "createdAt": repo.date,
            "lastModified": commit.date,
            "siblings": siblings,
        }
    )


def _file(path: str, entry: Entry) -> dict[str, Any]:
    described = {"type": "file", "oid": entry.oid, "size": entry.size, "path": path}
    if entry.lfs:
        described["lfs"] = {"oid": entry.sha256, "size": entry.size, "pointerSize": 130}
    return described


def _folder(path: str) -> dict[str, Any]:
    oid = hashlib.sha1(path.encode(), usedforsecurity=False).hexdigest()
    return {"type": "directory", "oid": oid, "size": 0, "path": path}


def tree(store: Store, request: Received, key: str, rev: str, path: str = "") -> Answer:
    repo = readable(store, request, key)
    files = repo.commits[request.commit_of(repo, unquote(rev))].files
    folder = unquote(path or "").strip("/")
    start = f"{folder}/" if folder else ""
    deep = request.query.get("recursive", "").lower() in ("true", "1")
    rows, folders = [], dict[str, None]()
    for name, entry in sorted(files.items()):
        if not name.startswith(start):
            continue
        parts = name[len(start) :].split("/")
        for depth in range(1, len(parts) if deep else min(len(parts), 2)):
            folders[start + "/".join(parts[:depth])] = None
        if len(parts) == 1 or deep:
            rows.append(_file(name, entry))
    if folder and not rows and not folders:
        raise Refused(404, f"{folder} does not exist on {rev!r}", "EntryNotFound")
    rows = [_folder(name) for name in folders] + rows
    limit, at = int(request.query.get("limit", 1000)), int(request.query.get("cursor", 0))
    headers = {}
    if at + limit < len(rows):
        query = "&".join(f"{k}={quote(v)}" for k, v in {**request.query, "cursor": str(at + limit)}.items())
        headers["Link"] = f'<{request.base}{request.path}?{query}>; rel="next"'
    return Answer(rows[at : at + limit], headers=headers)


def paths_info(store: Store, request: Received, key: str, rev: str) -> Answer:
    repo = readable(store, request, key)
    files = repo.commits[request.commit_of(repo, unquote(rev))].files
    try:
        wanted = request.json()["paths"]
    except ValueError:
        wanted = parse_qs(request.body.decode()).get("paths", [])
    found = []
    for path in [wanted] if isinstance(wanted, str) else wanted:
        name = path.strip("/")
        if name in files:
            found.append(_file(name, files[name]))
        elif any(f.startswith(f"{name}/") for f in files):
            found.append(_folder(name))
    return Answer(found)


def refs(store: Store, request: Received, key: str) -> Answer:
    repo = readable(store, request, key)

    def row(name: str, ref: str, commit: str) -> dict[str, str]:
        return {"name": name, "ref": ref, "targetCommit": commit}

    branches = [row(n, f"refs/heads/{n}", request.commit_of(repo, n)) for n in repo.branches]
    tags = [row(n, f"refs/tags/{n}", c) for n, c in repo.tags.items()]
    pulls = [row(str(n), f"refs/pr/{n}", p.head) for n, p in repo.pulls.items()]
    return Answer({"branches": branches, "tags": tags, "converts": [], "pullRequests": pulls})


def commits(store: Store, request: Received, key: str, rev: str) -> Answer:
    repo = readable(store, request, key)
    authors = [{"user": "tester"}]
    history = repo.history(request.commit_of(repo, unquote(rev)))
    return Answer(
        [{"id": c.id, "title": c.title, "message": c.message, "authors": authors, "date": c.date} for c in history]
    )


def download(store: Store, request: Received, key: str, rev: str, path: str) -> Answer:
    repo = readable(store, request, key, files=True)
    commit = repo.commits[request.commit_of(repo, unquote(rev))]
    entry = commit.files.get(unquote(path))
    if entry is None:
        raise Refused(404, "Entry not found", "EntryNotFound", commit.id)
    etag = f'"{entry.sha256 if entry.lfs else entry.oid}"'
    headers = {"X-Repo-Commit": commit.id, "ETag": etag, "Accept-Ranges": "bytes"}
    if entry.lfs:
        headers |= {"X-Linked-ETag": etag, "X-Linked-Size": str(entry.size)}
    start, length, status = 0, entry.size, 200
    if request.method == "GET" and (part := part_of(entry.size, request.headers.get("Range", ""))):
        start, length, status = *part, 206
        if not length:
            return Answer(b"", 416, {"Content-Range": f"bytes */{entry.size}"})
        headers["Content-Range"] = f"bytes {start}-{start + length - 1}/{entry.size}"
    file = store.objects / entry.sha256
    return Answer(None, status, headers, "application/octet-stream", file, start, length)


def discussions(store: Store, request: Received, key: str, num: str = "") -> Answer:
    repo = readable(store, request, key)
    if not num:
        found = [changes.described(repo, p) for p in repo.pulls.values()]
        return Answer({"discussions": found, "count": len(found), "start": 0, "numClosedDiscussions": 0})
    return Answer(changes.described(repo, changes.pull_of(repo, num)))


_REV = r"(?P<rev>refs/(?:pr|convert)/[^/]+|[^/]+)"
_API = r"/api/(?P<type>models|datasets|spaces)/(?P<repo>[^/]+/[^/]+)"
_WEB = r"/(?:(?P<type>datasets|spaces)/)?(?P<repo>[^/]+/[^/]+?)"
_OBJECT = r"/_lfs/(?P<type>models|datasets|spaces)/(?P<repo>[^/]+/[^/]+)/(?P<oid>[0-9a-f]{64})"
_ROUTES: list[tuple[str, str, str, Route]] = [  # method, path, name for the figures, function
    ("GET", r"/api/whoami-v2", "whoami", whoami),
    ("POST", r"/api/validate-yaml", "validate", validate_yaml),
    ("POST", r"/api/repos/create", "create", changes.create),
    ("DELETE", r"/api/repos/delete", "delete", changes.delete),
    ("GET", rf"{_API}", "info", info),
    ("GET", rf"{_API}/revision/{_REV}", "info", info),
    ("GET", rf"{_API}/auth-check", "auth-check", auth_check),
    ("GET", rf"{_API}/auth-check/write", "auth-check", auth_check_write),
    ("PUT", rf"{_API}/settings", "settings", changes.settings),
    ("GET", rf"{_API}/tree/{_REV}(?:/(?P<path>.*))?", "tree", tree),
    ("POST", rf"{_API}/paths-info/{_REV}", "paths-info", paths_info),
    ("GET", rf"{_API}/refs", "refs", refs),
    ("GET", rf"{_API}/commits/{_REV}", "commits", commits),
    ("POST", rf"{_API}/preupload/{_REV}", "preupload", changes.preupload),
    ("POST", rf"{_API}/commit/{_REV}", "commit", changes.commit),
    ("POST|DELETE", rf"{_API}/(?P<kind>tag|branch)/(?P<name>[^/]+)", "ref", changes.ref),
    ("GET", rf"{_API}/discussions(?:/(?P<num>\d+))?", "discussions", discussions),
    ("POST", rf"{_API}/discussions", "discussions", changes.open_pull),
    ("POST", rf"{_API}/discussions/(?P<num>\d+)/(?P<action>merge|status)", "discussions", changes.pull_action),
    ("POST", rf"{_WEB}\.git/info/lfs/objects/batch", "lfs-batch", changes.lfs_batch),
    ("PUT", _OBJECT, "lfs", changes.lfs_put),
    ("POST", rf"{_OBJECT}/verify", "lfs-verify", changes.lfs_verify),
    ("GET|HEAD", rf"{_WEB}/resolve/{_REV}/(?P<path>.+)", "resolve", download),
]
_COMPILED = [(methods.split("|"), re.compile(path), name, route) for methods, path, name, route in _ROUTES]


def route_of(method: str, path: str) -> tuple[str, Route, dict[str, str]]:
    """Name, function and arguments of a request; those that nobody knows are answered with 404."""
    for methods, pattern, name, route in _COMPILED:
        if method in methods and (match := pattern.fullmatch(path)):
            given = {k: v for k, v in match.groupdict().items() if v is not None}
            if "repo" in given:
                given["key"] = f"{given.pop('type', 'models')}/{given.pop('repo')}"
            return name, route, given
    return "unknown", _unknown, {}


def _unknown(store: Store, request: Received) -> Answer:
    raise Refused(404, f"no route {request.method} {request.path}")


def repo_of(store: Store, name: str) -> Repo:
    """A dataset's repository by its plain name ORG/NAME."""
    return store.repo(f"datasets/{name}")
