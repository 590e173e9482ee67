"""Publishing to a folder: all of a version or nothing of it, whatever happens in between."""

from __future__ import annotations

import errno
import fcntl
import itertools
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from datasets import load_dataset

import thermvision_db
from thermvision.annotations.errors import DamagedInputError, OutputError, RemoteError, UsageError
from thermvision.curation.contents import MANIFEST, SIGNATURE, seal
from thermvision.curation.release import README, read_release
from thermvision.curation.revision import revise
from thermvision.curation.verify import verify_release
from thermvision.dataset_card.publishing import folder as publishing
from thermvision.dataset_card.publishing.folder import LATEST, InFolder, publish_to_folder


def with_prose(root: Path) -> Path:
    (root / README).write_text((root / README).read_text() + "\nA release of waves.\n")
    seal(root)
    return root


def without_first(config: str, row: dict[str, Any]) -> dict[str, Any] | None:
    return None


@pytest.fixture(scope="module")
def first(wave_release: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return with_prose(Path(shutil.copytree(wave_release, tmp_path_factory.mktemp("first") / "release")))


@pytest.fixture(scope="module")
def second(first: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The next version: a still less, most shards the same."""
    out = tmp_path_factory.mktemp("second") / "release"
    still = next(iter(load_dataset(str(first), "mix", split="train", streaming=True)))["image_id"]
    revise(first, out, without_first, items=[still], decides="x", reason="tried", quiet=True)
    return with_prose(out)


@pytest.fixture(scope="module")
def published_once(first: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("published") / "pub"
    publish_to_folder(first, place)
    return place


@pytest.fixture
def published(published_once: Path, tmp_path: Path) -> Path:
    """A folder with the first version."""
    return Path(shutil.copytree(published_once, tmp_path / "pub", symlinks=True))


@pytest.fixture
def unloaded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is loaded back, which takes seconds: for tests of the steps around it."""
    monkeypatch.setattr(publishing, "_load_back", lambda *_: None)


def version_of(published: Path) -> str:
    return read_release(published / LATEST).version


def test_versions_lie_beside_each_other_and_share_what_is_equal(first: Path, second: Path, tmp_path: Path) -> None:
    place = tmp_path / "some" / "pub"
    planned = publish_to_folder(first, place, dry_run=True)
    assert not place.parent.exists()
    done = publish_to_folder(first, place)
    total = sum(p.stat().st_size for p in first.rglob("*") if p.is_file())
    assert (done.status, done.version, done.parent, done.copied, done.shared) == ("published", "1.0", None, total, 0)
    assert (planned.status, planned.copied, planned.files) == ("planned", done.copied, done.files)
    assert os.readlink(place / LATEST) == "v1.0"
    assert verify_release(place / LATEST) == []
    (second / "notes.txt").write_text("x")
    planned = publish_to_folder(second, place, dry_run=True)
    done = publish_to_folder(second, place)
    (second / "notes.txt").unlink()
    assert (done.status, done.parent, done.left_out) == ("published", "1.0", ("notes.txt",))
    assert planned.copied == done.copied
    manifests = read_release(first), read_release(second)
    new = {s.path for s in manifests[1].shards} - {s.path for s in manifests[0].shards}
    assert new
    assert done.copied == sum((second / p).stat().st_size for p in (*new, README, MANIFEST))
    for shard in manifests[1].shards:
        links = (place / "v1.1" / shard.path).stat().st_nlink
        assert links == (1 if shard.path in new else 2)
        assert not (place / "v1.1" / shard.path).stat().st_mode & 0o222
    assert os.readlink(place / LATEST) == "v1.1"
    assert sorted(p.name for p in place.iterdir()) == [".lock", "latest", "v1.0", "v1.1"]
    for version in ("v1.0", "v1.1"):
        assert verify_release(place / version) == []
    assert len(load_dataset(str(place / LATEST), "mix", split="train")) + 1 == len(
        load_dataset(str(place / "v1.0"), "mix", split="train")
    )


@pytest.mark.usefixtures("unloaded")
def test_publishing_again_changes_nothing(first: Path, published: Path) -> None:
    before = {p: p.lstat().st_mtime_ns for p in published.rglob("*") if p.name != ".lock"}
    done = publish_to_folder(first, published)
    assert (done.status, done.copied) == ("already", 0)
    assert publish_to_folder(first, published, dry_run=True).status == "already"
    assert {p: p.lstat().st_mtime_ns for p in published.rglob("*") if p.name != ".lock"} == before


def test_publishing_an_older_version_again_changes_nothing(first: Path, second: Path, published: Path) -> None:
    publish_to_folder(second, published)
    newest = os.readlink(published / LATEST)
    for dry_run in (True, False):
        done = publish_to_folder(first, published, dry_run=dry_run)
        assert (done.status, done.path, done.copied) == ("already", str(published / "v1.0"), 0)
    assert os.readlink(published / LATEST) == newest != "v1.0"


def test_a_signature_may_come_later(first: Path, published: Path, copied: Callable[[Path], Path]) -> None:
    root = copied(first)
    (root / SIGNATURE).write_text("signed\n")
    assert publish_to_folder(root, published).status == "already"
    assert (published / LATEST / SIGNATURE).read_text() == "signed\n"


# --- what is there does not allow it ---------------------------------------------------------------------------------


def refused(root: Path, place: Path, error: type[Exception], match: str) -> None:
    before = sorted((p.relative_to(place), p.lstat().st_size) for p in place.rglob("*")) if place.is_dir() else None
    with pytest.raises(error, match=match):
        publish_to_folder(root, place)
    if before is not None:
        after = sorted((p.relative_to(place), p.lstat().st_size) for p in place.rglob("*") if p.name != ".lock")
        assert after == [b for b in before if b[0].name != ".lock"]


@pytest.mark.usefixtures("unloaded")
def test_places_that_do_not_fit(first: Path, second: Path, published: Path, tmp_path: Path) -> None:
    refused(second, tmp_path / "empty", RemoteError, "publish 1.0 first")
    refused(first, first, UsageError, "lie in each other")
    refused(first, first / "data", UsageError, "lie in each other")
    refused(first, first.parent, UsageError, "lie in each other")
    (tmp_path / "file").touch()
    refused(first, tmp_path / "file", UsageError, "is a file")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").touch()
    refused(first, tmp_path / "full", RemoteError, r"not empty .*thesis\.txt")
    publish_to_folder(second, published)
    shutil.rmtree(published / "v1.0")
    refused(first, published, RemoteError, "newer than")


def test_other_content_of_the_same_version(first: Path, published: Path, copied: Callable[[Path], Path]) -> None:
    root = copied(first)
    (root / README).write_text((root / README).read_text() + "\nAnother word.\n")
    seal(root)
    refused(root, published, RemoteError, "a published version does not change")


@pytest.mark.parametrize("latest", ["elsewhere", "../pub/v1.0", "v9.9", ".", ""])
def test_a_latest_that_is_no_version(second: Path, published: Path, latest: str) -> None:
    (published / LATEST).unlink()
    if latest:
        (published / LATEST).symlink_to(latest)
        expected = "no published version" if latest == "v9.9" else "allowed: a link to a version beside it"
    else:
        expected = r"no link latest; put it back: ln -s v1\.0"
    refused(second, published, RemoteError, expected)
    (published / LATEST).unlink(missing_ok=True)
    (published / LATEST).mkdir()
    refused(second, published, RemoteError, "is no link; allowed")


def test_a_version_under_the_name_of_another(second: Path, published: Path) -> None:
    (published / "v1.0").rename(published / "v0.9")
    (published / LATEST).unlink()
    (published / LATEST).symlink_to("v0.9")
    refused(second, published, RemoteError, r"names v0\.9, which holds 1\.0")


def test_a_manifest_there_that_does_not_read(second: Path, published: Path) -> None:
    manifest = published / "v1.0" / MANIFEST
    manifest.chmod(0o644)
    for text, seen in (("{", "no JSON"), ('{"format": "thermvision-release/7"}', "schema"), ("{}", "no manifest")):
        manifest.write_text(text)
        refused(second, published, RemoteError, seen)


def test_what_was_published_and_changed_since(first: Path, published: Path) -> None:
    card = published / "v1.0" / README
    card.chmod(0o644)
    card.write_text(card.read_text() + "x")
    refused(first, published, RemoteError, "somebody changed it")


def test_a_release_that_may_not_leave_the_house(wave_release: Path, first: Path, tmp_path: Path, copied: Any) -> None:
    refused(wave_release, tmp_path / "pub", UsageError, "is not sealed")
    root = copied(first)
    (root / README).write_text("edited")
    refused(root, tmp_path / "pub", DamagedInputError, "README.md")
    assert not (tmp_path / "pub").exists()


@pytest.mark.usefixtures("unloaded")
def test_two_at_once(first: Path, second: Path, published: Path) -> None:
    with (published / ".lock").open("a") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        refused(second, published, OutputError, "another command is publishing")
    assert publish_to_folder(second, published).status == "published"


def test_latest_that_moves_meanwhile(second: Path, published: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def moving(*_: Any) -> None:
        (published / "v1.0b").mkdir()
        (published / LATEST).unlink()
        (published / LATEST).symlink_to("v3.0")

    monkeypatch.setattr(publishing, "_load_back", moving)
    with pytest.raises(RemoteError, match=r"latest moved from v1\.0 to v3\.0 meanwhile"):
        publish_to_folder(second, published)
    assert os.readlink(published / LATEST) == "v3.0"


def test_what_does_not_load_back_as_it_should(first: Path) -> None:
    manifest = read_release(first)
    publishing._load_back(first, manifest)
    more = tuple(s.model_copy(update={"rows": s.rows + 1}) for s in manifest.shards_of("frames", "test"))
    with pytest.raises(RemoteError, match=r"frames of test loads \d+ rows from"):
        publishing._load_back(first, manifest.model_copy(update={"shards": more}))


# --- what goes wrong on the way ---------------------------------------------------------------------------------------


@pytest.mark.usefixtures("unloaded")
def test_where_links_are_impossible_files_are_copied(
    second: Path, published: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    publish_to_folder(second, published)
    assert verify_release(published / LATEST) == []
    for shard in read_release(second).shards:
        assert (published / LATEST / shard.path).stat().st_nlink == 1


@pytest.mark.usefixtures("unloaded")
def test_a_file_that_rotted_in_the_version_before_is_copied_anew(first: Path, second: Path, published: Path) -> None:
    kept = next(s.path for s in read_release(second).shards if (first / s.path).is_file())
    shard = published / "v1.0" / kept
    data = bytearray(shard.read_bytes())
    data[len(data) // 2] ^= 1
    shard.chmod(0o644)
    shard.write_bytes(data)
    said: list[str] = []
    publish_to_folder(second, published, tell=said.append)
    assert f"{kept} is not whole; copying it anew" in said
    assert verify_release(published / "v1.1") == []
    assert shard.read_bytes() == data  # the version before is left as it is


@pytest.mark.usefixtures("unloaded")
def test_what_lies_in_the_staging_folder_is_not_trusted(second: Path, published: Path, tmp_path: Path) -> None:
    staged = published / ".v1.1.partial"
    path = read_release(second).shards[0].path
    (staged / path).parent.mkdir(parents=True)
    (staged / path).write_bytes(bytes((second / path).stat().st_size))  # of the right size
    (staged / "data" / "strange.parquet").write_text("x")
    (staged / ".huggingface.yaml").write_text("configs: []\n")
    (tmp_path / "outside").write_text("mine")
    (staged / README).symlink_to(tmp_path / "outside")
    (published / ".v0.5.partial").mkdir()
    publish_to_folder(second, published)
    assert verify_release(published / "v1.1") == []
    assert (tmp_path / "outside").read_text() == "mine"
    assert not (published / "v1.1" / "data" / "strange.parquet").exists()
    assert not (published / "v1.1" / ".huggingface.yaml").exists()
    assert sorted(p.name for p in published.iterdir()) == [".lock", "latest", "v1.0", "v1.1"]


def test_no_room(first: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = type(shutil.disk_usage(tmp_path))
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10**9, 10**9, 10))
    with pytest.raises(OutputError, match="free some space"):
        publish_to_folder(first, tmp_path / "pub")


class Killed(BaseException):
    """As good as a SIGKILL: nothing of ours catches it."""


@pytest.fixture
def kill_at(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Makes the n-th call that changes a folder the last one, before it takes effect or after."""
    left = itertools.count(10**9, -1)

    def deadly(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            now = next(left)
            if now == 1:
                raise Killed
            answer = real(*arguments, **options)
            if now == 0:
                raise Killed
            return answer

        return call

    def set_to(calls: int) -> None:
        nonlocal left
        left = itertools.count(calls, -1)

    for module, name in ((os, "link"), (os, "rename"), (os, "replace"), (shutil, "copyfile")):
        monkeypatch.setattr(module, name, deadly(getattr(module, name)))
    return set_to


@pytest.mark.usefixtures("unloaded")
def test_killed_anywhere_it_goes_on(
    second: Path, published: Path, kill_at: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    kills = 0
    for calls in itertools.chain(range(2, 200, 11), (3, 3, 3, 3, 3, 3)):
        kill_at(calls)
        try:
            done = publish_to_folder(second, published)
            break
        except Killed:
            kills += 1
        assert os.readlink(published / LATEST) in ("v1.0", "v1.1")
        assert verify_release(published / LATEST) == []
        if (published / "v1.1").exists():
            assert verify_release(published / "v1.1") == []
    kill_at(10**9)
    done = publish_to_folder(second, published)
    assert done.version == "1.1"
    assert kills >= 3
    assert version_of(published) == "1.1"
    assert verify_release(published / LATEST) == []
    assert sorted(p.name for p in published.iterdir()) == [".lock", "latest", "v1.0", "v1.1"]


@pytest.mark.usefixtures("unloaded")
@pytest.mark.parametrize("calls", [1, 0])
def test_killed_between_the_version_and_latest(
    second: Path, published: Path, calls: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = publishing._point

    def die(place: Any) -> None:
        if not calls:
            real(place)
        raise Killed

    monkeypatch.setattr(publishing, "_point", die)
    with pytest.raises(Killed):
        publish_to_folder(second, published)
    assert (published / "v1.1").is_dir()
    assert version_of(published) == ("1.0" if calls else "1.1")
    monkeypatch.setattr(publishing, "_point", real)
    assert publish_to_folder(second, published).status == ("published" if calls else "already")
    assert version_of(published) == "1.1"


@pytest.mark.slow
def test_sigkills_while_a_reader_looks_on(first: Path, second: Path, tmp_path: Path) -> None:
    place, rng, seen, wrong = tmp_path / "pub", random.Random(3), set(), []
    publish_to_folder(first, place)
    over = threading.Event()

    def read() -> None:
        while not over.wait(0.2):
            version = (place / LATEST).resolve()
            seen.add(version.name)
            wrong.extend(verify_release(version))
            wrong.extend(f for v in place.glob("v*") for f in ([] if (v / MANIFEST).is_file() else [v]))

    reader = threading.Thread(target=read)
    reader.start()
    command = [sys.executable, "-m", "thermvision_db", "publish", str(second), "--to", str(place), "--quiet"]
    try:
        began = time.monotonic()
        for attempt in range(4):
            run = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            if attempt < 3:
                time.sleep(rng.uniform(0.5, 5.0))
                run.send_signal(signal.SIGKILL)
            _, errors = run.communicate(timeout=120)
        assert run.returncode == 0, errors
        assert time.monotonic() - began < 300
        time.sleep(1.0)
    finally:
        over.set()
        reader.join()
    assert wrong == []
    assert seen >= {"v1.1"}
    assert version_of(place) == "1.1"


@pytest.mark.usefixtures("unloaded")
def test_an_address_is_no_folder(first: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.chdir(tmp_path)
    assert thermvision_db.main(["publish", str(first), "--to", "s3://bucket/x"]) == 2
    assert "--to s3://bucket/x is an address; allowed: a folder" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_the_newest_version_is_named_where_latest_is_gone(second: Path, tmp_path: Path) -> None:
    for name in ("v1.9", "v1.10"):
        (tmp_path / "pub" / name).mkdir(parents=True)
    with pytest.raises(RemoteError, match=r"put it back: ln -s v1\.10 "):
        publish_to_folder(second, tmp_path / "pub")


def test_another_signature_stays_and_is_told(first: Path, published: Path, copied: Callable[[Path], Path]) -> None:
    ours, told = copied(first), list[str]()
    (ours / SIGNATURE).write_text("ours")
    (published / "v1.0" / SIGNATURE).write_text("theirs")
    publish_to_folder(ours, published, tell=told.append)
    assert (published / "v1.0" / SIGNATURE).read_text() == "theirs"
    assert "is another signature than" in told[-1]


def test_the_command(first: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = tmp_path / "pub"
    assert thermvision_db.main(["publish", str(first), "--to", str(place), "--dry-run", "--json"]) == 0
    facts = InFolder(**json.loads(capsys.readouterr().out))
    assert (facts.status, facts.version, facts.shared) == ("planned", "1.0", 0)
    assert thermvision_db.main(["publish", str(first), "--to", str(place), "--quiet"]) == 0
    assert f"{facts.copied:,} bytes" in capsys.readouterr().out
    assert thermvision_db.main(["publish", str(first), "--to", str(place)]) == 0
    assert "is published already" in capsys.readouterr().out
