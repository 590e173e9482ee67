"""Publishing to the test Hub with the real clients: what is sent, what readers see, and what is refused."""

from __future__ import annotations

import json
import logging
import shutil
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hub import Account, Fault, Hub, pointed_at
from hub import server as hub_server
from hub.imitated import imitate, items_of
from hub.wire import Answer

import thermvision_db
from thermvision.annotations.errors import RemoteError, ThermVisionError, UsageError
from thermvision.curation.contents import release_files, seal
from thermvision.curation.release import read_release, write_release
from thermvision.dataset_card.publishing import retries
from thermvision.dataset_card.publishing.publish import Published, Wishes, publish

# the client's, about its own HTTP library
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")

REPO, TOKEN = "org/Faces", "hf_ArecognisableTOKEN123"
SETTLED = ("info", "refs", "tree")  # the questions that every run asks


@pytest.fixture(scope="module")
def versions(oval_release: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Three versions, each on top of the one before; the third supersedes two shards of the second."""
    return imitate(oval_release, tmp_path_factory.mktemp("versions"), 3)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    monkeypatch.setattr(retries, "_backoff", lambda state: 0.01)
    accounts = {TOKEN: Account("tester"), "hf_reader": Account("reader", "read"), "hf_other": Account("other", orgs=())}
    with Hub(tmp_path / "hub", accounts=accounts) as made, pointed_at(made.url, tmp_path / "home", TOKEN):
        yield made


def sent(hub: Hub) -> int:
    """Bytes of large objects that arrived, and of the small files in commits."""
    figures = hub.figures()
    return figures.get("lfs", {}).get("received", 0)


def wire_bytes(hub: Hub, root: Path) -> int:
    """The same for all files of a release that the Hub's newest commit has and the one before has not."""
    repo = hub.repo(REPO)
    head = repo.commits[repo.head]
    before = repo.commits[head.parent].files if head.parent else {}
    return sum(entry.size for path, entry in head.files.items() if before.get(path) != entry)


def test_first_publish(hub: Hub, versions: list[Path]) -> None:
    told: list[str] = []
    planned = publish(versions[0], REPO, Wishes(dry_run=True))
    assert "datasets/" + REPO not in hub.store.repos, "a dry run makes nothing"
    done = publish(versions[0], REPO, tell=told.append)
    repo, manifest = hub.repo(REPO), read_release(versions[0])
    files = release_files(versions[0], manifest)
    assert (done.status, done.tag, done.parent, done.private) == ("published", "v1.0", None, True)
    assert repo.tags == {"v1.0": repo.head}
    assert done.commit == repo.head
    assert len(repo.history()) == 2, "one commit on top of the empty repository"
    assert {p: e.sha256 for p, e in repo.commits[repo.head].files.items() if p != ".gitattributes"} == {
        f.path: f.sha256 for f in files
    }
    assert planned.status == "planned"
    assert planned.files == len(files)
    assert planned.bytes == done.bytes == sum(f.size for f in files) == wire_bytes(hub, versions[0])
    assert sent(hub) == sum(f.size for f in files if f.path.endswith(".parquet"))
    assert f"{len(files)} files to send to {REPO}, {done.bytes:,} bytes" in "\n".join(told)


def test_next_version_sends_what_is_new(hub: Hub, versions: list[Path]) -> None:
    from datasets import load_dataset

    publish(versions[0], REPO)
    for root, before in zip(versions[1:], versions[:-1], strict=True):
        ours, theirs = read_release(root), read_release(before)
        old = {s.path for s in theirs.shards}
        new = [s for s in ours.shards if s.path not in old]
        planned = publish(root, REPO, Wishes(dry_run=True))
        hub.forget()
        done = publish(root, REPO, Wishes(message="More people"))
        assert sent(hub) == sum(s.bytes for s in new)
        assert planned.bytes == done.bytes == wire_bytes(hub, root)
        assert done.deleted == planned.deleted == tuple(sorted(old - {s.path for s in ours.shards}))
        assert hub.repo(REPO).commits[done.commit].title == "More people"
        assert done.parent == theirs.version
    assert len(done.deleted) == 2
    assert len(hub.repo(REPO).history()) == 4
    for root in versions:
        tag = f"v{read_release(root).version}"
        for config, items in items_of(root).items():
            rows = load_dataset(REPO, config, revision=tag, streaming=True)
            key = "clip_id" if config == "video" else "item_id"
            assert sorted(row[key] for split in rows.values() for row in split) == items


def test_published_already_sends_nothing(hub: Hub, versions: list[Path]) -> None:
    publish(versions[0], REPO)
    first = publish(versions[1], REPO)
    hub.forget()
    for root in versions[:2]:  # an older version as well
        again = publish(root, REPO)
        assert (again.status, again.files, again.bytes) == ("already", 0, 0)
    assert again.commit == first.commit
    assert set(hub.figures()) == set(SETTLED)
    assert len(hub.repo(REPO).history()) == 3


def test_signing_anew_changes_nothing_published(hub: Hub, versions: list[Path], copied: Callable[[Path], Path]) -> None:
    publish(versions[0], REPO)
    root = copied(versions[0])
    (root / "release.json.minisig").write_text("signed later\n")
    told: list[str] = []
    assert publish(root, REPO, tell=told.append).status == "already"
    assert "the signature here is not in the published version" in told[-1]


def test_a_token_in_the_message_is_not_sent(hub: Hub, versions: list[Path]) -> None:
    for message in (f"with {TOKEN}", "with hf_anotherOne123"):
        with pytest.raises(UsageError, match="--message holds a token"):
            publish(versions[0], REPO, Wishes(message=message))
    assert not hub.store.repos


def test_a_signature_does_not_outlive_its_manifest(
    hub: Hub, versions: list[Path], copied: Callable[[Path], Path]
) -> None:
    root = copied(versions[0])
    (root / "release.json.minisig").write_text("of 1.0\n")
    publish(root, REPO)
    assert publish(versions[1], REPO).deleted == ("release.json.minisig",)


@pytest.mark.parametrize("kind", ["reset-after", "error-after"])
def test_a_commit_whose_answer_is_lost(hub: Hub, versions: list[Path], kind: str) -> None:
    hub.faults.plan(Fault(kind, method="POST", path=".*/commit/main"))
    done = publish(versions[0], REPO)
    assert done.status == "published"
    assert not hub.faults.waiting()
    assert len(hub.repo(REPO).history()) == 2, "committed once"


@pytest.mark.parametrize("path", [".*/repos/create", ".*/tag/.*", ".*/_lfs/.*", ".*/resolve/.*parquet"])
def test_lost_answers_are_asked_for_again(hub: Hub, versions: list[Path], path: str) -> None:
    hub.faults.plan(Fault("reset-after", path=path))
    assert publish(versions[0], REPO).status == "published"
    assert not hub.faults.waiting()
    assert hub.repo(REPO).tags == {"v1.0": hub.repo(REPO).head}


def test_killed_between_commit_and_tag(hub: Hub, versions: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    from thermvision.dataset_card.publishing.hub import Hub as Remote

    def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Remote, "tag", killed)
        with pytest.raises(KeyboardInterrupt):
            publish(versions[0], REPO)
    head = hub.repo(REPO).head
    assert not hub.repo(REPO).tags
    with pytest.raises(RemoteError, match=r"1\.0 is at .* was not finished: it has no tag"):
        publish(versions[1], REPO)
    assert publish(versions[0], REPO, Wishes(dry_run=True)).bytes == 0
    hub.forget()
    done = publish(versions[0], REPO)
    assert (done.status, done.commit, done.bytes) == ("published", head, 0)
    assert hub.repo(REPO).tags == {"v1.0": head}
    assert not {"lfs", "commit"} & set(hub.figures())


def test_an_upload_that_ended_half_way_goes_on(hub: Hub, versions: list[Path]) -> None:
    publish(versions[0], REPO)
    new = [s for s in read_release(versions[1]).shards if "-v1.1-" in s.path]
    hub.faults.plan(Fault("expire", method="POST", path=".*/commit/main"))
    with pytest.raises(RemoteError, match="does not take the token"):
        publish(versions[1], REPO)
    hub.faults.renew("tester")
    planned = publish(versions[1], REPO, Wishes(dry_run=True))
    hub.forget()
    assert publish(versions[1], REPO).bytes == planned.bytes == wire_bytes(hub, versions[1]) - sum(s.bytes for s in new)
    assert sent(hub) == 0


def test_it_waits_as_long_as_it_is_told(hub: Hub, versions: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    hub.faults.plan(Fault("limit", path=".*/refs", seconds=1), Fault("error", path=".*/tree/.*", times=3))
    assert publish(versions[0], REPO, tell=told.append).status == "published"
    again = [line for line in told if "again in" in line]
    assert "again in 1.0 s" in again[0]
    assert "429" in again[0]
    assert len(again) == 4
    monkeypatch.setattr(retries, "LONGEST_WAIT", 30)
    hub.faults.plan(Fault("limit", path=".*/refs", seconds=31))
    with pytest.raises(RemoteError, match=r"asks to wait longer than 30 s .*; run the same command again"):
        publish(versions[0], REPO)


def test_a_server_that_stays_broken(hub: Hub, versions: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retries, "TRIES", 3)
    hub.faults.plan(Fault("error", path=".*/refs", times=99))
    with pytest.raises(RemoteError, match=r"cannot read the state of org/Faces: 503, .* 3 times; run the same"):
        publish(versions[0], REPO)
    assert hub.faults.waiting() == 96


def moved_by(hub: Hub, path: str, data: bytes) -> Any:
    """What moves the repository while something is uploaded to it."""
    from thermvision.dataset_card.publishing.hub import Hub as Remote

    upload = Remote.upload

    def late(self: Any, *arguments: Any) -> Any:
        done = upload(self, *arguments)
        hub.disturb(REPO, path, data)
        return done

    return late


def test_the_repository_moved(hub: Hub, versions: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    from thermvision.dataset_card.publishing.hub import Hub as Remote

    publish(versions[0], REPO)
    with monkeypatch.context() as patch:
        patch.setattr(Remote, "upload", moved_by(hub, "NOTES.md", b"mine"))
        with pytest.raises(RemoteError, match=r"moved while it was published to \(412\).*run the same command again"):
            publish(versions[1], REPO)
    assert "v1.1" not in hub.repo(REPO).tags
    hub.forget()
    assert publish(versions[1], REPO).status == "published"  # a note of somebody else stays
    assert hub.read(REPO, "NOTES.md") == b"mine"
    assert sent(hub) == 0


def test_two_publish_the_same_at_once(hub: Hub, versions: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    from thermvision.dataset_card.publishing.hub import Hub as Remote

    upload, others = Remote.upload, list[Published]()

    def late(self: Any, *arguments: Any) -> Any:
        done = upload(self, *arguments)
        if not others:
            others.append(Published("", "", "", "", "", None))
            others[0] = publish(versions[1], REPO)
        return done

    publish(versions[0], REPO)
    monkeypatch.setattr(Remote, "upload", late)
    mine = publish(versions[1], REPO)
    assert (mine.status, mine.commit) == (others[0].status, others[0].commit) == ("published", hub.repo(REPO).head)
    assert len(hub.repo(REPO).history()) == 3


def test_a_card_edited_there_is_not_overwritten(hub: Hub, versions: list[Path]) -> None:
    publish(versions[0], REPO)
    hub.disturb(REPO, "README.md", hub.read(REPO, "README.md") + b"\nMine.\n")
    with pytest.raises(RemoteError, match=r"moved since v1\.0 \(412\): README\.md was changed"):
        publish(versions[1], REPO)
    assert publish(versions[0], REPO).status == "already"  # its tag is as it was


def test_a_commit_edited_before_its_tag(hub: Hub, versions: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    from thermvision.dataset_card.publishing.hub import Hub as Remote

    def late(self: Any, *arguments: Any) -> str:
        commit(self, *arguments)
        return hub.disturb(REPO, "README.md", b"---\nlicense: mit\n---\n")

    commit = Remote.commit
    with monkeypatch.context() as patch:
        patch.setattr(Remote, "commit", late)
        with pytest.raises(RemoteError, match=r"does not hold what the manifest says: README\.md; it was not tagged"):
            publish(versions[0], REPO)
    with pytest.raises(RemoteError, match=r"README\.md; it was not tagged"):
        publish(versions[0], REPO)
    assert not hub.repo(REPO).tags


@pytest.mark.parametrize(
    ("path", "why"),
    [("data/video/train-extra.parquet", "files are in the way"), ("Faces.py", "files are in the way")],
)
def test_foreign_files(hub: Hub, versions: list[Path], path: str, why: str) -> None:
    publish(versions[0], REPO)
    hub.disturb(REPO, path, b"x")
    with pytest.raises(RemoteError, match=why):
        publish(versions[1], REPO)
    hub.store.create("datasets/org/Other", False)
    hub.store.commit("datasets/org/Other", "main", hub.repo("org/Other").head, "t", "", {path: hub.store.put(b"x")}, ())
    with pytest.raises(RemoteError, match=r"not empty and holds no release\.json"):
        publish(versions[0], "org/Other")


def test_a_newer_version_and_a_newer_schema(hub: Hub, versions: list[Path]) -> None:
    publish(versions[0], REPO)
    publish(versions[1], REPO)
    hub.disturb(REPO, "release.json", (versions[2] / "release.json").read_bytes())
    del hub.repo(REPO).tags["v1.0"]
    with pytest.raises(RemoteError, match=r"1\.2 is published, which is newer than 1\.0"):
        publish(versions[0], REPO)
    value = json.loads((versions[0] / "release.json").read_text()) | {"format": "thermvision-release/2"}
    hub.disturb(REPO, "release.json", json.dumps(value).encode())
    with pytest.raises(RemoteError, match=r"schema 'thermvision-release/2'.*pip install --upgrade"):
        publish(versions[2], REPO)
    hub.disturb(REPO, "release.json", b'{"format": ')
    with pytest.raises(RemoteError, match="is no JSON"):
        publish(versions[2], REPO)


def test_other_content_under_a_published_version(
    hub: Hub, versions: list[Path], copied: Callable[[Path], Path]
) -> None:
    publish(versions[0], REPO)
    root = copied(versions[0])
    write_release(root, read_release(root), "# Imitated\n\nAnother card.")
    seal(root)
    with pytest.raises(RemoteError, match=r"1\.0 is published in org/Faces with other content \(README\.md\)"):
        publish(root, REPO)


@pytest.mark.parametrize(
    ("token", "why"),
    [
        ("hf_reader", "has no right to"),
        ("hf_other", "has no right to"),
        ("hf_unknown", "does not take the token"),
    ],
)
def test_no_rights(hub: Hub, versions: list[Path], monkeypatch: pytest.MonkeyPatch, token: str, why: str) -> None:
    def refused() -> None:
        for dry_run in (False, True):
            with pytest.raises(RemoteError, match=why) as caught:
                publish(versions[1], REPO, Wishes(dry_run=dry_run))
            assert caught.value.exit_code == 5

    publish(versions[0], REPO, Wishes(private=False))
    hub.forget()
    monkeypatch.setenv("HF_TOKEN", token)
    refused()
    assert not {"lfs", "commit", "preupload", "create"} & set(hub.figures()), "nothing was sent"
    with pytest.raises(RemoteError, match=why):
        publish(versions[0], "org/Another")
    assert "datasets/org/Another" not in hub.store.repos


def test_a_token_that_is_none(hub: Hub, versions: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_schlüssel")
    with pytest.raises(RemoteError, match="the token holds characters that no token has") as caught:
        publish(versions[0], REPO)
    assert "schl" not in str(caught.value)


def test_no_token(hub: Hub, versions: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(RemoteError, match="there is no token; type: hf auth login"):
        publish(versions[0], REPO)
    assert not hub.requests


def test_offline(versions: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    with pytest.raises(RemoteError, match="HF_HUB_OFFLINE is set; unset it"):
        publish(versions[0], REPO)


@pytest.mark.parametrize("kind", ["short", "truncated", "reset-download"])
def test_answers_that_are_cut(hub: Hub, versions: list[Path], kind: str) -> None:
    publish(versions[0], REPO)
    paths = (".*/resolve/.*/release.json", ".*/tree/.*", ".*/resolve/.*parquet", ".*/resolve/.*/README.md", ".*/refs")
    hub.faults.plan(*(Fault(kind, method="GET", path=path) for path in paths))
    assert publish(versions[1], REPO).status == "published"
    assert not hub.faults.waiting()


def test_where_the_client_sends_by_chunks(hub: Hub, versions: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the client learns what the storage has: the plan says the most that can be sent."""
    import huggingface_hub.constants

    publish(versions[0], REPO)
    hub.forget()
    with monkeypatch.context() as patch:
        patch.setattr(huggingface_hub.constants, "HF_HUB_DISABLE_XET", False)
        planned = publish(versions[1], REPO, Wishes(dry_run=True))
    assert "lfs-batch" not in hub.figures()
    assert planned.bytes == publish(versions[1], REPO).bytes


def test_a_stale_answer(hub: Hub, versions: list[Path]) -> None:
    """A server that has not heard of the newest commit yet: refused, asked again, committed once."""
    publish(versions[0], REPO)
    hub.faults.plan(Fault("stale", method="POST", path=".*/commit/main"))
    assert publish(versions[1], REPO).status == "published"
    assert len(hub.repo(REPO).history()) == 3
    hub.faults.plan(Fault("stale", path=".*/datasets/org/Faces"))
    with pytest.raises(RemoteError, match=r"1\.0 is published, and 1\.2 was made on top of 1\.1"):
        publish(versions[2], REPO)
    assert publish(versions[2], REPO).status == "published"


def test_pull_request(hub: Hub, versions: list[Path]) -> None:
    publish(versions[0], REPO)
    head = hub.repo(REPO).head
    done = publish(versions[1], REPO, Wishes(pull=True))
    repo = hub.repo(REPO)
    assert (done.status, done.pull_request) == ("proposed", "refs/pr/1")
    assert repo.head == head
    assert set(repo.tags) == {"v1.0"}
    assert publish(versions[1], REPO, Wishes(pull=True)).pull_request == "refs/pr/1"
    assert len(repo.pulls) == 1, "open already"
    hub.store.merge(repo.key, 1)
    hub.forget()
    merged = publish(versions[1], REPO)
    assert (merged.status, merged.bytes, merged.commit) == ("published", 0, hub.repo(REPO).head)
    assert hub.repo(REPO).tags["v1.1"] == merged.commit
    assert not {"lfs", "commit"} & set(hub.figures())


def test_a_pull_request_whose_answer_is_lost(hub: Hub, versions: list[Path]) -> None:
    publish(versions[0], REPO)
    hub.faults.plan(Fault("reset-after", method="POST", path=".*/commit/main"))
    assert publish(versions[1], REPO, Wishes(pull=True)).pull_request == "refs/pr/1"
    assert len(hub.repo(REPO).pulls) == 1
    assert not hub.faults.waiting()
    with pytest.raises(RemoteError, match="a pull request needs a repository"):
        publish(versions[0], "org/Another", Wishes(pull=True))


@pytest.mark.parametrize("option", [["--public"], ["--private"], ["--gated", "auto"]])
def test_settings_do_not_go_with_a_pull_request(
    versions: list[Path], option: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert thermvision_db.main(["publish", str(versions[0]), "--repo", REPO, "--pr", *option]) == 2
    assert "do not go with --pr" in capsys.readouterr().err


def test_private_and_gated(hub: Hub, versions: list[Path]) -> None:
    publish(versions[0], REPO, Wishes(gated="manual"))
    repo = hub.repo(REPO)
    assert (repo.private, repo.gated) == (True, "manual")
    assert not publish(versions[1], REPO, Wishes(private=False)).private
    assert (hub.repo(REPO).private, hub.repo(REPO).gated) == (False, "manual")
    publish(versions[1], REPO, Wishes(private=True, gated="auto"))
    assert (hub.repo(REPO).private, hub.repo(REPO).gated) == (True, "auto")
    publish(versions[1], REPO, Wishes(private=False, dry_run=True))
    assert hub.repo(REPO).private


def test_a_repository_that_does_not_load_is_not_tagged(
    hub: Hub, versions: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retries, "TRIES", 2)
    hub.store.create(f"datasets/{REPO}", False)
    # allowed in a new repository, and the client's loader reads it before the card
    hub.disturb(REPO, ".gitattributes", b"*.parquet text\n")
    hub.faults.plan(Fault("error", path=".*/resolve/.*/data/video/.*", times=99, status=500))
    with pytest.raises(RemoteError, match="cannot load 'video' of org/Faces back"):
        publish(versions[0], REPO)
    assert not hub.repo(REPO).tags


def command(*arguments: object) -> int:
    return thermvision_db.main(["publish", *map(str, arguments)])


def test_command(hub: Hub, versions: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    root = versions[0]
    assert command(root, "--repo", REPO, "--dry-run") == 0
    out = capsys.readouterr()
    size = sum(f.size for f in release_files(root, read_release(root)))
    assert f"{size:,} bytes" in out.out
    assert f"next: thermvision publish {root} --repo {REPO}" in out.out
    assert command(root, "--repo", REPO, "--quiet", "--json", "--gated", "auto") == 0
    out = capsys.readouterr()
    told = json.loads(out.out)
    assert told == {**told, "status": "published", "bytes": size, "tag": "v1.0", "private": True}
    assert not out.err
    assert set(told) == set(Published("", "", "", "", "", None).as_dict())
    assert command(root, "--repo", REPO) == 0
    out = capsys.readouterr()
    assert "v1.0 is published already" in out.out
    assert "--public" in out.out
    assert "next: load_dataset" in out.out
    assert command(versions[1], "--repo", REPO, "--pr") == 0
    assert "refs/pr/1" in capsys.readouterr().out
    for wrong in ([], ["--repo", REPO, "--to", "x"], ["--to", "x", "--private"], ["--repo", "Faces"]):
        assert command(root, *wrong) == 2
        assert "allowed: --repo" in (err := capsys.readouterr().err) or "go with --repo" in err or "ORG/NAME" in err


def test_the_token_is_never_shown(
    hub: Hub, versions: list[Path], capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    paths = [".*/refs", ".*/_lfs/.*", ".*/commit/.*", ".*/tag/.*", ".*/repos/create"]
    hub.faults.plan(*(Fault(k, path=p) for p in paths for k in ("error", "reset-after")))
    told: list[str] = []
    assert publish(versions[0], REPO, tell=told.append).status == "published"
    traces = []
    for kind in ("expire", "error"):
        hub.faults.plan(Fault(kind, path=".*/tree/.*", times=99))
        try:
            publish(versions[1], REPO, tell=told.append)
        except ThermVisionError as error:
            traces += traceback.format_exception(error)
        hub.faults.restart("tester")
        hub.faults.renew("tester")
        hub.faults._planned.clear()
    out = capfd.readouterr()
    written = "\n".join((*told, *traces, out.out, out.err, caplog.text))
    assert len(traces) > 1
    assert "503" in written
    assert "401" in written
    assert TOKEN not in written
    assert "hf_A" not in written


def test_an_answer_that_repeats_the_token_is_not_shown(
    hub: Hub, versions: list[Path], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("datasets", "huggingface_hub"):  # which keep their lines from the root
        monkeypatch.setattr(logging.getLogger(name), "handlers", [caplog.handler])
    answer = Answer({"error": f"{TOKEN} \x1b[31m"}, 400)
    monkeypatch.setattr(hub_server, "_instead", lambda fault: answer if fault else None)
    hub.faults.plan(Fault("error", path=r".*\.parquet", times=99))
    told: list[str] = []
    with pytest.raises(RemoteError) as caught:
        publish(versions[0], REPO, tell=told.append)
    written = "\n".join((str(caught.value), *told, caplog.text))
    assert "400" in str(caught.value)
    assert TOKEN not in written
    assert "\x1b" not in written


def test_what_may_not_leave(hub: Hub, versions: list[Path], copied: Callable[[Path], Path]) -> None:
    """A release that was changed by hand is refused before the Hub hears of it."""
    root = copied(versions[1])
    shard = next(s for s in read_release(root).shards if s.config == "video")
    table = pq.read_table(root / shard.path)
    pq.write_table(table.slice(0, 1), root / shard.path)
    with pytest.raises(ThermVisionError, match="is not what its manifest says"):
        publish(root, REPO)
    shutil.copyfile(versions[1] / shard.path, root / shard.path)
    (root / "Faces.py").write_text("import os\n")
    with pytest.raises(ThermVisionError, match="makes every load of org/Faces fail"):
        publish(root, REPO)
    assert not hub.requests
