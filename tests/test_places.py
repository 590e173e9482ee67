"""Places: folders, the Hub and URLs give the same files, and only those the manifest answers for."""

from __future__ import annotations

import gc
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hub import Fault, Hub, pointed_at

from thermvision.annotations.errors import DamagedInputError, RemoteError, UsageError
from thermvision.curation import places
from thermvision.curation.places import Place, hub_name, open_place
from thermvision.curation.release import MANIFEST, read_release
from thermvision.curation.store import sha256_file

# huggingface_hub 2.4 hands bytes to its HTTP client in a way that this has come to warn of
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")
REPO = "org/faces"


@pytest.fixture
def server(tmp_path: Path, oval_release: Path) -> Iterator[Hub]:
    """A test Hub with `oval_release` at the tag v1.0."""
    from huggingface_hub import HfApi

    with Hub(tmp_path / "hub") as server, pointed_at(server.url, tmp_path / "home"):
        api = HfApi()
        api.create_repo(REPO, repo_type="dataset", private=True)
        api.upload_folder(repo_id=REPO, repo_type="dataset", folder_path=oval_release)
        api.create_tag(REPO, tag="v1.0", repo_type="dataset")
        yield server


@pytest.fixture
def hub(server: Hub) -> str:
    """The commit of v1.0."""
    from huggingface_hub import HfApi

    return HfApi().dataset_info(REPO).sha or ""


def digests(place: Place) -> set[bool]:
    return {sha256_file(place.fetch(s.path)) == s.sha256 for s in place.release.shards}


def test_a_folder_is_taken_as_it_is(oval_release: Path) -> None:
    place = open_place(oval_release)
    assert place.is_folder
    assert place.root == oval_release
    assert digests(place) == {True}
    assert not place.has("release.json.minisig")


def test_only_what_the_manifest_lists_is_given(oval_release: Path, copied: Callable[[Path], Path]) -> None:
    root = copied(oval_release)
    place = open_place(root)
    (root / "stranger.txt").write_text("?")
    for path in ("stranger.txt", "../release/README.md", "/etc/hostname"):
        with pytest.raises(UsageError, match="lists no"):
            place.fetch(path)
    shard = place.release.shards[0].path
    (root / shard).unlink()
    assert not place.has(shard)
    with pytest.raises(DamagedInputError, match="thermvision verify"):
        place.fetch(shard)
    (root / shard).symlink_to("/etc/hostname")
    with pytest.raises(DamagedInputError, match="link out of the release"):
        place.fetch(shard)


@pytest.mark.parametrize("name", ["nowhere", "org/faces", "./a/b@c/d", "x" * 300])
def test_a_place_that_is_none(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="ORG/NAME@REVISION"):
        open_place(name)


def test_names_of_the_hub() -> None:
    assert hub_name("hf://datasets/a/b@refs%2Fpr%2F3") == ("a/b", "refs/pr/3")
    assert hub_name("a/b@refs/pr/3") == ("a/b", "refs/pr/3")
    assert hub_name("hf://datasets/a/b/") == ("a/b", "main")
    assert hub_name("s3://a/b@c") is None
    assert hub_name("a/b") is None


def test_a_revision_of_the_hub(hub: str, oval_release: Path) -> None:
    place = open_place(f"{REPO}@v1.0")
    assert place.name == f"hf://datasets/{REPO}@{hub}"
    assert not place.is_folder
    assert place.release == read_release(oval_release)
    assert not (place.root / place.release.shards[0].path).exists()
    other = pickle.loads(pickle.dumps(place.holding(place.release.shards[0])))
    assert sha256_file(other.fetch(place.release.shards[0].path)) == place.release.shards[0].sha256
    with pytest.raises(UsageError, match="lists no"):
        other.fetch(place.release.shards[1].path)
    assert digests(place) == {True}


def test_all_files_are_of_the_commit_that_was_opened(hub: str, oval_release: Path) -> None:
    from huggingface_hub import HfApi

    place = open_place(f"hf://datasets/{REPO}")
    shard = place.release.shards[0]
    HfApi().upload_file(path_or_fileobj=b"else", path_in_repo=shard.path, repo_id=REPO, repo_type="dataset")
    assert sha256_file(place.fetch(shard.path)) == shard.sha256
    moved = open_place(f"hf://datasets/{REPO}")
    assert moved.name != place.name
    with pytest.raises(DamagedInputError, match="not what its manifest says"):
        moved.fetch(shard.path)


def test_a_broken_copy_in_the_cache_is_fetched_again(hub: str) -> None:
    first = open_place(f"{REPO}@v1.0")
    shard = first.release.shards[0]
    copy = first.fetch(shard.path).resolve()
    copy.write_bytes(b"\0" + copy.read_bytes()[1:])
    assert sha256_file(open_place(f"{REPO}@v1.0").fetch(shard.path)) == shard.sha256


def test_more_bytes_than_the_manifest_says_are_not_fetched(hub: str) -> None:
    from huggingface_hub import HfApi

    shard = open_place(f"{REPO}@v1.0").release.shards[0]
    data = bytes(shard.bytes + 1)
    HfApi().upload_file(path_or_fileobj=data, path_in_repo=shard.path, repo_id=REPO, repo_type="dataset")
    with pytest.raises(DamagedInputError, match=f"{shard.bytes + 1} bytes; allowed: {shard.bytes}"):
        open_place(f"hf://datasets/{REPO}").fetch(shard.path)


def test_what_the_hub_does_not_have(hub: str) -> None:
    with pytest.raises(RemoteError, match="no such revision"):
        open_place(f"{REPO}@v9")
    with pytest.raises(RemoteError, match="hf auth login"):
        open_place("org/others@v1.0")
    from huggingface_hub import HfApi

    HfApi().create_repo("org/empty", repo_type="dataset")
    with pytest.raises(UsageError, match="no release"):
        open_place("hf://datasets/org/empty")


@pytest.mark.parametrize("kind", ["error", "reset-before", "reset-download", "truncated", "short", "limit"])
@pytest.mark.parametrize("method", ["HEAD", "GET"])
def test_what_passes_is_tried_again(server: Hub, kind: str, method: str) -> None:
    place = open_place(f"{REPO}@v1.0")
    shard = max(place.release.shards, key=lambda s: s.bytes)
    server.faults.plan(Fault(kind, method=method, path=".*resolve.*", seconds=1))
    assert sha256_file(place.fetch(shard.path)) == shard.sha256
    assert server.faults.waiting() == 0


def test_what_does_not_pass_is_said_without_the_token(server: Hub) -> None:
    place = open_place(f"{REPO}@v1.0")
    server.faults.plan(Fault("expire", account="tester", path=".*resolve.*"))
    with pytest.raises(RemoteError, match="hf auth login") as told:
        place.fetch(place.release.shards[0].path)
    assert "hf_test" not in str(told.value)


def test_a_url_is_read_into_a_folder_that_goes_with_the_place(oval_release: Path) -> None:
    place = open_place(oval_release.resolve().as_uri())
    assert place.release == read_release(oval_release)
    assert digests(place) == {True}
    root = place.root
    assert root != oval_release
    assert root.is_dir()
    del place
    gc.collect()
    assert not root.exists()


def test_a_url_holds_no_more_than_its_bound(oval_release: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = open_place(oval_release.resolve().as_uri())
    largest = max(s.bytes for s in place.release.shards)
    monkeypatch.setattr(places, "MAX_TEMPORARY_BYTES", largest)
    assert digests(place) == {True}
    assert sum(p.stat().st_size for p in place.root.rglob("*.parquet")) <= largest
    assert (place.root / MANIFEST).is_file()


def test_a_url_without_a_release(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no release"):
        open_place(tmp_path.as_uri())
    with pytest.raises(UsageError, match="no URL that fsspec reads"):
        open_place("nosuchprotocol://host/path")
    with pytest.raises(UsageError) as told:
        open_place("memory://user:secret@host/path")
    assert "secret" not in str(told.value)


def test_a_url_whose_shard_was_changed(oval_release: Path, copied: Callable[[Path], Path]) -> None:
    root = copied(oval_release)
    place = open_place(root.resolve().as_uri())
    shards = place.release.shards
    (root / shards[0].path).write_bytes(bytes(shards[0].bytes))
    (root / shards[1].path).write_bytes(bytes(shards[1].bytes + 1))
    (root / shards[2].path).unlink()
    with pytest.raises(DamagedInputError, match="not what its manifest says"):
        place.fetch(shards[0].path)
    with pytest.raises(DamagedInputError, match="bytes; allowed"):
        place.fetch(shards[1].path)
    assert not place.has(shards[2].path)
