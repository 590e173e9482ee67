"""One release to a dataset of the Hub: all of it in one commit, then its tag, or nothing that readers see."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from thermvision.annotations.errors import RemoteError, UsageError
from thermvision.curation.console import counted, human_bytes, printable
from thermvision.curation.contents import SIGNATURE, ReleaseFile
from thermvision.curation.release import MANIFEST, Manifest
from thermvision.dataset_card.publishing.hub import Gated, Hub, State, bounded_requests
from thermvision.dataset_card.publishing.plan import Entry, Plan, differing, make_plan
from thermvision.dataset_card.publishing.preflight import Ready, ready
from thermvision.dataset_card.publishing.readback import compare, load_back
from thermvision.dataset_card.publishing.retries import Tell, scrub
from thermvision.dataset_card.publishing.versions import Step, paths_of, step, tag_of


@dataclass(frozen=True)
class Published:
    """What was done, or would be.

    Attributes:
        status: "published", "proposed" by a pull request, "already" there, or "planned" by a dry run.
        parent: the version it came on top of.
        commit: the commit that holds the version; empty where there is none yet.
        pull_request: reference of the pull request.
        files, bytes: how many files are sent, and their size to the byte (at most, where the client sends by chunks).
        unchanged: files that the repository has and that are not sent again.
        deleted: paths that the commit removes.
        left_out: files in the folder that are no part of the release.
        private: whether only its owners see the repository, now or once it is made.
    """

    status: str
    repo: str
    page: str
    version: str
    tag: str
    parent: str | None
    commit: str = ""
    pull_request: str = ""
    files: int = 0
    bytes: int = 0
    unchanged: int = 0
    deleted: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    private: bool = True

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


@dataclass(frozen=True)
class Wishes:
    """How to publish.

    Attributes:
        dry_run: say what would be sent, change nothing.
        pull: open a pull request; merged, publishing again without it checks and tags.
        private: make the repository private, or public once the version is whole; None leaves it (a new one: private).
        gated: ask readers to agree ("auto") or the owner to accept each ("manual"); None leaves it.
        message: of the commit.
    """

    dry_run: bool = False
    pull: bool = False
    private: bool | None = None
    gated: Gated | None = None
    message: str | None = None


def publish(root: Path, repo: str, wishes: Wishes | None = None, tell: Tell = lambda line: None) -> Published:
    """Publish the release in ``root`` as the next version of the dataset ``repo``; killed, the same call goes on.

    ``tell`` takes lines of progress.

    Raises:
        UsageError, DamagedInputError: the release may not leave the house; nothing was sent.
        RemoteError: the repository refused, does not answer, or holds something that this version does not follow.
    """
    wishes = wishes or Wishes()
    tell("checking the release")
    prepared = ready(root, repo)
    with bounded_requests():
        hub = Hub(repo, tell)
        if wishes.message and scrub(wishes.message, hub.token) != printable(wishes.message):
            raise UsageError("--message holds a token, which everybody would read; allowed: words without one")
        state = hub.state()
        if state is None:
            made = step(prepared.manifest, None)
            if wishes.dry_run:
                return _report(hub, prepared, "planned", made.parent, make_plan(prepared, made, {}))
            state = _made(hub, wishes)
        tag = tag_of(prepared.manifest.version)
        if tag in state.tags:
            return _already(hub, prepared, state, state.tags[tag], wishes)
        return _onto(hub, prepared, state, wishes)


def _made(hub: Hub, wishes: Wishes) -> State:
    if wishes.pull:
        raise RemoteError(f"{hub.repo} is not there, or not for this token; a pull request needs a repository")
    hub.create(private=True)
    hub.tell(f"made {hub.page}, private")
    state = hub.state()
    if state is None:
        raise RemoteError(f"{hub.repo} was made and is not to be seen; run the same command again")
    return state


def _already(hub: Hub, prepared: Ready, state: State, commit: str, wishes: Wishes) -> Published:
    there = hub.files(commit)
    if wrong := differing(_unsigned(prepared), there):
        raise RemoteError(
            f"{prepared.manifest.version} is published in {hub.repo} with other content ({wrong[0]}); a published"
            " version does not change: make the next one with thermvision extend or apply"
        )
    if differing([f for f in prepared.files if f.path == SIGNATURE], there):
        hub.tell(
            f"the signature here is not in the published version, which stays as it is; hand {SIGNATURE} to readers"
        )
    if not wishes.dry_run:
        hub.settle(state, wishes.private, wishes.gated)
    return _report(hub, prepared, "already", prepared.manifest.parent, _nothing(prepared), commit=commit)


def _onto(hub: Hub, prepared: Ready, state: State, wishes: Wishes) -> Published:
    files = hub.files(state.head)
    theirs = hub.manifest(state.head, files)
    foreign = sorted(files.keys() - (paths_of(theirs) if theirs else set()))
    made = step(prepared.manifest, theirs, foreign)
    if made.kind == "same":  # committed by a run that ended before its tag, or by a merge
        if wishes.dry_run:
            return _report(hub, prepared, "planned", made.parent, _nothing(prepared), commit=state.head)
        hub.settle(state, wishes.private or None, wishes.gated)
        return _finish(hub, prepared, made, _nothing(prepared), state.head, wishes)
    if theirs is not None:
        _unmoved(hub, state, files, theirs)
    if not wishes.pull:
        hub.may_write()
    stored = hub.stored(make_plan(prepared, made, files).send)
    return _send(hub, prepared, made, state, make_plan(prepared, made, files, stored), wishes)


def _send(hub: Hub, prepared: Ready, made: Step, state: State, plan: Plan, wishes: Wishes) -> Published:
    hub.tell(_says(plan, hub.repo))
    if wishes.dry_run:
        return _report(hub, prepared, "planned", made.parent, plan)
    own = next(f for f in prepared.files if f.path == MANIFEST)
    title = wishes.message or f"{prepared.manifest.name} {made.version}"
    if wishes.pull:
        if (ref := hub.proposed(own)) is not None:
            return _report(hub, prepared, "proposed", made.parent, _nothing(prepared), pull_request=ref)
        ref = hub.propose(hub.upload(plan.send, True), plan.delete, state.head, title, own)
        compare(prepared.files, hub.files(ref), f"{ref} of {hub.repo}")
        return _report(hub, prepared, "proposed", made.parent, plan, pull_request=ref)
    hub.settle(state, wishes.private or None, wishes.gated)
    commit = hub.commit(hub.upload(plan.send, False), plan.delete, state.head, title, own)
    return _finish(hub, prepared, made, plan, commit, wishes)


def _finish(hub: Hub, prepared: Ready, made: Step, plan: Plan, commit: str, wishes: Wishes) -> Published:
    """Read the commit back, and only then give it its tag."""
    hub.tell(f"reading {commit[:12]} back")
    compare(
        _unsigned(prepared) if made.kind == "same" else prepared.files,
        hub.files(commit),
        f"{hub.repo} at {commit[:12]}",
    )
    load_back(prepared, hub.repo, commit, hub.token, hub.tell)
    hub.tag(tag_of(made.version), commit, f"{prepared.manifest.name} {made.version}")
    if wishes.private is False and hub.private:
        hub.settle(None, False, None)
    return _report(hub, prepared, "published", made.parent, plan, commit=commit)


def _unmoved(hub: Hub, state: State, files: Mapping[str, Entry], theirs: Manifest) -> None:
    """Raise RemoteError where somebody changed files since the last version, or that one was not finished."""
    tag = tag_of(theirs.version)
    if tag not in state.tags:
        raise RemoteError(
            f"{theirs.version} is at {state.head[:12]} of {hub.repo} and was not finished: it has no tag; publish it"
            f" again first, or if its folder is gone, look at it and type: hf repos tag create {hub.repo} {tag}"
            f" --type dataset --revision {state.head}"
        )
    if state.tags[tag] == state.head:
        return
    tagged = hub.files(state.tags[tag])
    if changed := sorted(p for p in paths_of(theirs) if tagged.get(p) != files.get(p)):
        raise RemoteError(
            f"{hub.repo} moved since {tag} (412): {changed[0]} was changed at {state.head[:12]}; this version would"
            f" undo that. Take the change over, or restore the files of {tag} there, then publish again"
        )


def _unsigned(prepared: Ready) -> tuple[ReleaseFile, ...]:
    """The files without the signature: who signs again what is published changes nothing of it."""
    return tuple(f for f in prepared.files if f.path != SIGNATURE)


def _nothing(prepared: Ready) -> Plan:
    return Plan((), frozenset(), len(prepared.files), ())


def _says(plan: Plan, repo: str) -> str:
    sent = [f for f in plan.send if f.path not in plan.stored]
    kept = f", {counted(plan.unchanged, 'file')} there already" if plan.unchanged else ""
    more = f", {counted(len(plan.stored), 'file')} sent before" if plan.stored else ""
    gone = f", {counted(len(plan.delete), 'file')} removed" if plan.delete else ""
    size = f"{plan.bytes:,} bytes ({human_bytes(plan.bytes)})"
    return f"{counted(len(sent), 'file')} to send to {repo}, {size}{kept}{more}{gone}"


def _report(
    hub: Hub,
    prepared: Ready,
    status: str,
    parent: str | None,
    plan: Plan,
    *,
    commit: str = "",
    pull_request: str = "",
) -> Published:
    return Published(
        status=status,
        repo=hub.repo,
        page=hub.page,
        version=prepared.manifest.version,
        tag=tag_of(prepared.manifest.version),
        parent=parent,
        commit=commit,
        pull_request=pull_request,
        files=len([f for f in plan.send if f.path not in plan.stored]),
        bytes=plan.bytes,
        unchanged=plan.unchanged,
        deleted=plan.delete,
        left_out=prepared.left_out,
        private=hub.private,
    )
