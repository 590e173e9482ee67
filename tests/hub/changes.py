"""The part of the Hub's HTTP interface that changes something."""

from __future__ import annotations

import base64
import json
from dataclasses import asdict
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import unquote

from .rights import may_write, readable, writable
from .store import LFS_SIZE, LFS_SUFFIXES, Entry, Pull, Refused, Repo, Store, now
from .wire import Answer, Received


def _named(request: Received) -> tuple[str, str, str]:
    """Key, namespace and kind of the repository that a body names."""
    given = request.json()
    owner = given.get("organization") or (request.account.name if request.account else "")
    kind = given.get("type") or "model"
    return f"{kind}s/{owner}/{given['name']}", owner, kind


def create(store: Store, request: Received) -> Answer:
    key, owner, kind = _named(request)
    may_write(request, owner)
    name = key.split("/", 1)[1]
    told = {"url": f"{request.base}/{'' if kind == 'model' else kind + 's/'}{name}", "name": name, "id": name}
    try:
        given = request.json()
        store.create(key, given.get("visibility") == "private" or bool(given.get("private")))
    except Refused as refused:  # the client reads "url" from a 409
        return Answer({**told, "error": refused.message}, refused.status)
    return Answer(told)


def delete(store: Store, request: Received) -> Answer:
    key, owner, _ = _named(request)
    may_write(request, owner)
    store.repo(key)
    store.happen("delete", key)
    return Answer({})


def settings(store: Store, request: Received, key: str) -> Answer:
    repo, given = writable(store, request, key), request.json()
    private = repo.private
    if "visibility" in given or "private" in given:
        private = given.get("visibility") == "private" or bool(given.get("private"))
    store.happen("settings", key, private=private, gated=given.get("gated", repo.gated))
    return Answer({"private": repo.private, "gated": repo.gated})


def preupload(store: Store, request: Received, key: str, rev: str) -> Answer:
    repo = _at_least_readable(store, request, key)
    files = repo.commits[repo.resolve(unquote(rev))].files
    found = []
    for file in request.json()["files"]:
        lfs = PurePosixPath(file["path"]).suffix in LFS_SUFFIXES or file["size"] >= LFS_SIZE
        old = files.get(file["path"])
        oid = old and (old.sha256 if old.lfs else old.oid)
        mode = "lfs" if lfs else "regular"
        found.append({"path": file["path"], "uploadMode": mode, "shouldIgnore": False, "oid": oid})
    return Answer({"files": found})


def _at_least_readable(store: Store, request: Received, key: str) -> Repo:
    """Pull requests are open to everybody who has a write token."""
    if request.query.get("create_pr"):
        repo = readable(store, request, key)
        may_write(request, request.account.name if request.account else "")
        return repo
    return writable(store, request, key)


def lfs_batch(store: Store, request: Received, key: str) -> Answer:
    repo = readable(store, request, key)
    may_write(request, request.account.name if request.account else "")
    who = request.account.name if request.account else ""
    found = []
    for wanted in request.json()["objects"]:
        digest = wanted["oid"]
        entry: dict[str, Any] = {"oid": digest, "size": wanted["size"]}
        if digest not in repo.objects:
            # a link that carries its own right, as those to the real Hub's storage do
            link = f"{request.base}/_lfs/{key}/{digest}"
            entry["actions"] = {
                "upload": {"href": f"{link}?by={who}", "header": {}},
                "verify": {"href": f"{link}/verify?by={who}", "header": {}},
            }
        found.append(entry)
    return Answer({"transfer": "basic", "objects": found}, kind="application/vnd.git-lfs+json")


def lfs_put(store: Store, request: Received, key: str, oid: str) -> Answer:
    store.repo(key)
    if request.stored is None or request.sha256 != oid:
        raise Refused(400, "The digest of the object is another one")
    request.stored.replace(store.objects / oid)
    store.happen("object", key, digest=oid)
    return Answer()


def lfs_verify(store: Store, request: Received, key: str, oid: str) -> Answer:
    path = store.objects / oid
    if oid not in store.repo(key).objects or path.stat().st_size != request.json()["size"]:
        raise Refused(422, "The object is missing or has another size")
    return Answer({})


def _changes(store: Store, key: str, files: dict[str, Entry], body: bytes) -> tuple[dict[str, Any], dict[str, Entry]]:
    """The header of a commit and the files after it."""
    header: dict[str, Any] = {}
    for line in body.splitlines():
        operation = json.loads(line)
        kind, value = operation["key"], operation["value"]
        if kind == "header":
            header = value
        elif kind == "file":
            files[value["path"]] = store.put(base64.b64decode(value["content"], validate=True))
        elif kind == "lfsFile":
            files[value["path"]] = store.pointer(key, value["oid"])
        elif kind == "deletedFile":
            if files.pop(value["path"], None) is None:
                raise Refused(400, f"{value['path']} does not exist")
        elif kind == "deletedFolder":
            for path in [p for p in files if p.startswith(value["path"].strip("/") + "/")]:
                del files[path]
        else:
            raise Refused(400, f"unknown operation {kind}")
    return header, files


def commit(store: Store, request: Received, key: str, rev: str) -> Answer:
    """All operations or none; 412 where the branch is no longer at the commit that the sender names."""
    repo, rev = _at_least_readable(store, request, key), unquote(rev)
    as_pull = bool(request.query.get("create_pr"))
    with store.lock:
        head = repo.resolve(rev)
        before = repo.commits[head].files
        header, files = _changes(store, key, dict(before), request.body)
        parent = header.get("parentCommit")
        if request.stale or (parent and not (len(parent) >= 7 and head.startswith(parent))):
            raise Refused(412, "A commit has happened since. Please refresh and try again.")
        if not as_pull and rev not in repo.branches and not rev.startswith("refs/pr/"):
            raise Refused(400, f"{rev} is no branch")
        put = {p: e for p, e in files.items() if before.get(p) != e}
        gone = before.keys() - files.keys()
        title, message = header.get("summary", ""), header.get("description", "")
        new = store.commit(key, "" if as_pull else rev, head, title, message, put, gone)
        told = {"success": True, "commitOid": new, "commitUrl": f"{request.base}/{key}/commit/{new}", "hookOutput": ""}
        if as_pull:
            number = _open(store, repo, title, message, "open", new)
            told["pullRequestUrl"] = f"{request.base}/{key}/discussions/{number}"
    return Answer(told)


def _open(store: Store, repo: Repo, title: str, text: str, status: str, head: str) -> int:
    number = len(repo.pulls) + 1
    base = repo.commits[head].parent if head != repo.head else head
    pull = Pull(number, title, text, status, base or head, head, now())
    store.happen("pull", repo.key, pull=asdict(pull))
    return number


def open_pull(store: Store, request: Received, key: str) -> Answer:
    repo, given = readable(store, request, key), request.json()
    may_write(request, request.account.name if request.account else "")
    with store.lock:
        number = _open(store, repo, given["title"], given.get("description", ""), "draft", repo.head)
    return Answer(described(repo, repo.pulls[number]))


def pull_of(repo: Repo, number: str) -> Pull:
    try:
        return repo.pulls[int(number)]
    except KeyError:
        raise Refused(404, f"There is no discussion {number}") from None


def pull_action(store: Store, request: Received, key: str, num: str, action: str) -> Answer:
    repo = writable(store, request, key)
    pull = pull_of(repo, num)
    if action == "merge":
        store.merge(key, pull.number)
    else:
        store.happen("pull", key, pull=asdict(pull) | {"status": request.json().get("status", pull.status)})
    status = repo.pulls[pull.number].status
    event = {"id": f"s{num}", "type": "status-change", "author": {"name": "tester"}, "createdAt": now()}
    return Answer({"newStatus": {**event, "data": {"status": status}}})


def described(repo: Repo, pull: Pull) -> dict[str, Any]:
    """A pull request as the Hub tells it."""
    author = {"name": "tester"}
    latest = {"raw": pull.description, "html": "", "updatedAt": pull.date, "author": author}
    data = {"edited": False, "hidden": False, "latest": latest, "history": []}
    event = {"id": f"c{pull.number}", "author": author, "createdAt": pull.date, "type": "comment", "data": data}
    return {
        "num": pull.number,
        "title": pull.title,
        "status": pull.status,
        "author": author,
        "isPullRequest": True,
        "createdAt": pull.date,
        "repo": {"name": repo.name, "type": repo.key.split("s/", 1)[0]},
        "numComments": 1,
        "events": [event],
        "filesWithConflicts": False,
        "changes": {"base": "refs/heads/main", "mergeCommitId": None},
        "diffUrl": "",
        "diff": "",
    }


def ref(store: Store, request: Received, key: str, kind: str, name: str) -> Answer:
    """Make or delete a tag (``name`` is what it points to, or its own) or a branch."""
    repo, given, name = writable(store, request, key), request.json(), unquote(name)
    table = repo.tags if kind == "tag" else repo.branches
    with store.lock:
        if request.method == "DELETE":
            if name not in table:
                raise Refused(404, f"{kind} not found: {name}", "RevisionNotFound")
            store.happen("ref", key, kind=kind, name=name, target=None)
            return Answer({})
        new = given["tag"] if kind == "tag" else name
        if new in table:
            raise Refused(409, f"Reference already exists: {new}")
        target = repo.resolve(name if kind == "tag" else given.get("startingPoint", "main"))
        store.happen("ref", key, kind=kind, name=new, target=target)
    return Answer({})
