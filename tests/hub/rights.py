"""Who may read and who may write."""

from __future__ import annotations

from .store import Refused, Repo, Store
from .wire import Received


def readable(store: Store, request: Received, key: str, files: bool = False) -> Repo:
    """The repository if the account may see it, and its files if ``files``."""
    account = request.account
    repo = store.repo(key) if account or key in store.repos else None
    owner = repo is not None and account is not None and account.owns(repo.namespace)
    if repo is None or (repo.private and account is None):
        raise Refused(401, "Invalid username or password.", "RepoNotFound")  # nobody learns what there is
    if repo.private and not owner:
        raise Refused(404, "Repository not found", "RepoNotFound")
    if files and repo.gated and not owner:
        message = f"Access to dataset {repo.name} is restricted and you are not in the authorized list."
        raise Refused(403 if account else 401, message, "GatedRepo")
    return repo


def may_write(request: Received, namespace: str) -> None:
    """Raise what the Hub answers to those who may not."""
    account = request.account
    if account is None:
        raise Refused(401, "Invalid username or password.", "RepoNotFound")
    if account.role != "write":
        raise Refused(403, "Forbidden: you must use a write token to change a repository.")
    if not account.owns(namespace):
        raise Refused(
            403, f'You don\'t have the rights to create or change a dataset under the namespace "{namespace}"'
        )


def writable(store: Store, request: Received, key: str) -> Repo:
    """The repository if the account may change it."""
    repo = readable(store, request, key)
    may_write(request, repo.namespace)
    return repo
