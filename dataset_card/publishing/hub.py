"""A dataset repository of the Hub: what it holds, and the few changes that publishing makes to it."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

import httpx2
from huggingface_hub import (
    CommitOperation,
    CommitOperationAdd,
    CommitOperationDelete,
    HfApi,
    get_token,
    lfs,
    set_client_factory,
)
from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError
from huggingface_hub.hf_api import CommitInfo, RepoFile
from huggingface_hub.utils._http import default_client_factory
from huggingface_hub.utils._runtime import is_xet_available

from thermvision.annotations.errors import RemoteError
from thermvision.curation.contents import ReleaseFile
from thermvision.curation.release import MANIFEST, Manifest
from thermvision.dataset_card.publishing.plan import Entry, is_same
from thermvision.dataset_card.publishing.retries import AGAIN, Tell, ask, explained, scrub, status_of, transient
from thermvision.dataset_card.publishing.versions import MAX_MANIFEST_BYTES, parse_manifest

T = TypeVar("T")
Gated = Literal["auto", "manual"]
MAX_FILES = 1_000_000  # of a repository; who lists more is not read to the end
_TIMEOUT = httpx2.Timeout(120, connect=15)  # seconds; the client itself would wait for ever
_PULL, _PULLS = re.compile(r"refs/pr/\d{1,9}"), 50  # how many of the newest are looked at
_BATCH = 64  # files whose upload is asked for, and done again, together


@dataclass(frozen=True)
class State:
    """A repository at one moment: its newest commit, settings, and the commits that tags and pull requests are at."""

    head: str
    private: bool
    gated: str | bool
    tags: Mapping[str, str]
    pulls: Mapping[str, str]


@contextmanager
def bounded_requests() -> Iterator[None]:
    """For as long as the block lasts, the client's requests end with a timeout, and it prints nothing of its own.

    Nor does it ask busy servers again by itself: it would do so in silence, and wait for hours where it is told to.
    """
    from huggingface_hub import utils
    from huggingface_hub.utils import hf_raise_for_status, logging

    def busy(response: httpx2.Response) -> None:
        if response.status_code in AGAIN:
            response.read()
            hf_raise_for_status(response)

    def client() -> httpx2.Client:
        made = default_client_factory()
        made.timeout = _TIMEOUT
        made.event_hooks = {**made.event_hooks, "response": [busy]}
        return made

    before, shown = logging.get_verbosity(), not utils.are_progress_bars_disabled()
    logging.set_verbosity(logging.CRITICAL)  # warnings name signed addresses, and what is wrong is raised as well
    utils.disable_progress_bars()
    set_client_factory(client)
    try:
        yield
    finally:
        set_client_factory(default_client_factory)
        logging.set_verbosity(before)
        if shown:
            utils.enable_progress_bars()


class Hub:
    """The dataset ``repo`` (ORG/NAME), with the token of the environment or of `hf auth login`.

    Every method asks again where that helps and raises `RemoteError` where it does not.

        hub = Hub("org/ThermVision-DB", tell=print)
        hub.state()
    """

    def __init__(self, repo: str, tell: Tell) -> None:
        self.repo, self.tell = repo, tell
        self.private = True  # as it was last seen or set; a repository that is not there yet will be
        self.token = get_token()
        if not self.token:
            raise RemoteError(
                "there is no token; type: hf auth login, or set HF_TOKEN to one that may write, and run the same"
                " command again"
            )
        if not (self.token.isascii() and self.token.isprintable()):
            raise RemoteError("the token holds characters that no token has; type: hf auth login, or set HF_TOKEN anew")
        with explained("use the token", self.token):
            self.api = HfApi(token=self.token)

    def _ask(self, what: str, call: Callable[[], T], again: Callable[[BaseException], bool] = transient) -> T:
        return ask(what, call, token=self.token, tell=self.tell, again=again)

    @property
    def page(self) -> str:
        """Address of the repository."""
        return scrub(f"{self.api.endpoint}/datasets/{self.repo}", self.token)

    def state(self) -> State | None:
        """What the repository is at now; None: there is none, or the token may not see it."""

        def read() -> State | None:
            try:
                info = self.api.dataset_info(self.repo)
            except RepositoryNotFoundError as error:
                if error.response.status_code == 404:
                    return None
                raise
            refs = self.api.list_repo_refs(self.repo, repo_type="dataset", include_pull_requests=True)
            if not info.sha:
                raise ValueError("the answer names no commit")
            self.private = bool(info.private)
            return State(
                head=info.sha,
                private=self.private,
                gated=info.gated or False,
                tags={r.name: r.target_commit for r in refs.tags},
                pulls={r.ref: r.target_commit for r in refs.pull_requests or ()},
            )

        return self._ask(f"read the state of {self.repo}", read)

    def files(self, commit: str) -> dict[str, Entry]:
        """Every file of a commit by its path."""

        def read() -> dict[str, Entry]:
            found: dict[str, Entry] = {}
            for item in self.api.list_repo_tree(self.repo, recursive=True, revision=commit, repo_type="dataset"):
                if isinstance(item, RepoFile):
                    found[item.path] = _entry(item)
                if len(found) > MAX_FILES:
                    raise RemoteError(f"{self.repo} holds more than {MAX_FILES} files; allowed: a dataset of ours")
            return found

        return self._ask(f"list the files of {self.repo}", read)

    def manifest(self, commit: str, files: Mapping[str, Entry]) -> Manifest | None:
        """The manifest of the version that a commit holds, or None."""
        if MANIFEST not in files:
            return None
        if files[MANIFEST].size > MAX_MANIFEST_BYTES:
            raise RemoteError(f"{MANIFEST} of {self.repo} has {files[MANIFEST].size} bytes; it is not read")

        def read() -> bytes:
            with tempfile.TemporaryDirectory() as folder:
                path = Path(
                    self.api.hf_hub_download(
                        self.repo, MANIFEST, repo_type="dataset", revision=commit, cache_dir=folder
                    )
                )
                data = path.read_bytes()
                fetched = ReleaseFile(MANIFEST, path, len(data), files[MANIFEST].sha256 or "")
                if not is_same(fetched, files[MANIFEST]):
                    raise ConnectionError("the file came with other bytes than the repository lists")
                return data

        # a body cut short shows itself in many ways, and reading again does no harm
        data = self._ask(f"read {MANIFEST} of {self.repo}", read, lambda e: transient(e) or status_of(e) is None)
        return parse_manifest(data, self.repo)

    def _holds(self, commit: str, own: ReleaseFile) -> bool:
        """Whether a commit has our manifest: then it is ours, for it came with all the rest."""

        def read() -> bool:
            found = self.api.get_paths_info(self.repo, [own.path], revision=commit, repo_type="dataset")
            return any(isinstance(f, RepoFile) and f.path == own.path and is_same(own, _entry(f)) for f in found)

        return self._ask(f"look for {own.path} of {self.repo}", read)

    def create(self, private: bool) -> None:
        """Make the repository."""

        def make() -> None:
            try:
                self.api.create_repo(self.repo, repo_type="dataset", private=private)
            except HfHubHTTPError as error:
                if status_of(error) != 409:
                    raise
                self.api.auth_check(self.repo, repo_type="dataset")  # ours, made by an attempt whose answer was lost

        self._ask(f"make the repository {self.repo}", make)

    def may_write(self) -> None:
        """Raise RemoteError unless the token may change the repository."""

        def check() -> None:
            try:
                self.api.auth_check(self.repo, repo_type="dataset", write=True)
            except HfHubHTTPError as error:
                # servers that do not know this question answer the next one, which changes nothing either
                if status_of(error) != 404 or isinstance(error, RepositoryNotFoundError):
                    raise

        self._ask(f"write to {self.repo}", check)

    def settle(self, state: State | None, private: bool | None, gated: Gated | None) -> None:
        """Change what differs of the repository's settings; None leaves one as it is."""
        wanted: dict[str, bool | str] = {}
        if private is not None and (state is None or state.private != private):
            wanted["private"] = private
        if gated is not None and (state is None or state.gated != gated):
            wanted["gated"] = gated
        if wanted:
            self._ask(
                f"change the settings of {self.repo}",
                lambda: self.api.update_repo_settings(self.repo, repo_type="dataset", **wanted),  # type: ignore[arg-type]
            )
            self.private = bool(wanted.get("private", self.private))

    def stored(self, files: Sequence[ReleaseFile]) -> set[str]:
        """Paths of those files whose bytes the storage of the repository has, though perhaps no commit.

        Where the client sends by chunks (xet), only it learns which are there, while it sends: then none are named.
        """
        found: set[str] = set()
        if is_xet_available():
            return found
        for part in _parts(files):
            infos = [_addition(f).upload_info for f in part]

            def read(infos: list[lfs.UploadInfo] = infos) -> list[dict[str, object]]:
                return lfs.post_lfs_batch_info(
                    infos, token=self.token, repo_type="dataset", repo_id=self.repo, endpoint=self.api.endpoint
                )[0]

            answers = self._ask(f"ask what the storage of {self.repo} has", read)
            have = {a["oid"] for a in answers if not a.get("actions")}
            found |= {f.path for f in part if f.sha256 in have}
        return found

    def upload(self, files: Sequence[ReleaseFile], pull: bool) -> list[CommitOperationAdd]:
        """Send the large ``files`` to the storage, where no reader sees them; small ones go with the commit."""
        done: list[CommitOperationAdd] = []
        for part in _parts(files):
            additions = [_addition(f) for f in part]

            def send(additions: list[CommitOperationAdd] = additions) -> None:
                self.api.preupload_lfs_files(
                    self.repo, additions, repo_type="dataset", create_pr=pull, free_memory=False, gitignore_content=""
                )

            self._ask(f"send files to {self.repo}", send)
            done += additions
            self.tell(f"sent {len(done)} of {len(files)} files")
        return done

    def commit(
        self, additions: list[CommitOperationAdd], delete: Sequence[str], parent: str, message: str, own: ReleaseFile
    ) -> str:
        """Put all in one commit on top of ``parent`` and return it; ``own`` is the manifest it brings.

        An attempt whose answer was lost may have taken effect: the head that then holds our manifest is that commit.

        Raises:
            RemoteError: the repository is no longer at ``parent``.
        """

        def make() -> str:
            try:
                return self._commit(additions, delete, parent, message, False).oid
            except (HfHubHTTPError, httpx2.HTTPError, OSError, ValueError, RuntimeError) as error:
                head = self.head()
                if head == parent:
                    raise error
                if self._holds(head, own):
                    return head
                raise self._moved(parent, head) from None

        # 412 although nothing moved: whoever answered had not heard of the parent yet
        return self._ask(f"commit to {self.repo}", make, lambda e: transient(e) or status_of(e) == 412)

    def propose(
        self, additions: list[CommitOperationAdd], delete: Sequence[str], parent: str, message: str, own: ReleaseFile
    ) -> str:
        """Open a pull request with the same commit and return its reference, such as ``refs/pr/1``."""

        def make() -> str:
            if (found := self.proposed(own)) is not None:  # by an attempt whose answer was lost
                return found
            made = self._commit(additions, delete, parent, message, True)
            if made.pr_revision is None:
                raise ValueError("the answer names no pull request")
            return made.pr_revision

        return self._ask(f"open a pull request in {self.repo}", make)

    def proposed(self, own: ReleaseFile) -> str | None:
        """Reference of an open pull request that brings our manifest, among the newest."""
        state = self.state()
        numbered = {int(ref.rsplit("/", 1)[-1]): ref for ref in (state.pulls if state else ()) if _PULL.fullmatch(ref)}
        for number, ref in sorted(numbered.items(), reverse=True)[:_PULLS]:
            if state is None or not self._holds(state.pulls[ref], own):
                continue
            pull = self._ask(
                f"read {ref} of {self.repo}",
                lambda n=number: self.api.get_discussion_details(self.repo, n, repo_type="dataset"),  # type: ignore[misc]
            )
            if pull.status in ("open", "draft"):
                return ref
        return None

    def tag(self, name: str, commit: str, message: str) -> None:
        """Name a commit, unless it has that name.

        Raises:
            RemoteError: another commit has it.
        """

        def make() -> None:
            try:
                self.api.create_tag(self.repo, tag=name, tag_message=message, revision=commit, repo_type="dataset")
            except (HfHubHTTPError, httpx2.HTTPError, OSError) as error:
                state = self.state()
                seen = state.tags.get(name) if state else None
                if seen == commit:  # an attempt whose answer was lost
                    return
                if seen is not None:
                    raise RemoteError(
                        f"tag {name} of {self.repo} is at {seen[:12]} and not at {commit[:12]}: somebody published at"
                        " the same time; compare the two, and remove the wrong one there"
                    ) from None
                raise error

        self._ask(f"tag {self.repo}", make)

    def head(self) -> str:
        """The newest commit."""
        state = self.state()
        if state is None:
            raise RemoteError(f"{self.repo} is gone: somebody removed it, or the token may no longer see it")
        return state.head

    def _commit(
        self, additions: list[CommitOperationAdd], delete: Sequence[str], parent: str, message: str, pull: bool
    ) -> CommitInfo:
        operations: list[CommitOperation] = [*additions, *(CommitOperationDelete(p, is_folder=False) for p in delete)]
        made: CommitInfo = self.api.create_commit(
            self.repo,
            operations,
            commit_message=message,
            repo_type="dataset",
            revision=None if pull else "main",
            create_pr=pull,
            parent_commit=parent,
        )
        return made

    def _moved(self, parent: str, head: str) -> RemoteError:
        return RemoteError(
            f"{self.repo} moved while it was published to (412): it was at {parent[:12]} and is at {head[:12]}; nothing"
            " was committed. Look at what changed there, then run the same command again: if its newest version is"
            " still the parent of this one it goes on top, and what was sent is not sent again"
        )


def _entry(file: RepoFile) -> Entry:
    return Entry(file.size, file.blob_id, file.lfs.sha256 if file.lfs else None)


def _addition(file: ReleaseFile) -> CommitOperationAdd:
    made = CommitOperationAdd(file.path, file.local)
    made.upload_info.sha256 = bytes.fromhex(file.sha256)  # known, and not read once more
    return made


def _parts(files: Sequence[ReleaseFile]) -> list[Sequence[ReleaseFile]]:
    return [files[start : start + _BATCH] for start in range(0, len(files), _BATCH)]
