"""What publishing asks before it sends anything: of the release, of the version that is there, and of errors."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx2
import pyarrow.parquet as pq
import pytest
from hub.imitated import imitate
from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled
from hypothesis import given, settings
from hypothesis import strategies as st

from thermvision.annotations.errors import DamagedInputError, RemoteError, ThermVisionError, UsageError
from thermvision.curation.contents import ReleaseFile, release_files, seal
from thermvision.curation.pack import Shard
from thermvision.curation.release import Identity, Manifest, manifest_text, read_release, version_order, write_release
from thermvision.curation.store import atomic_write, sha256_bytes
from thermvision.dataset_card.publishing import retries, versions
from thermvision.dataset_card.publishing.plan import Entry, differing, git_sha1, is_same, make_plan
from thermvision.dataset_card.publishing.preflight import check_repo, ready
from thermvision.dataset_card.publishing.versions import parse_manifest, paths_of, step

REPO = "org/Faces"
LINK = "symbolic link to .*; a release holds plain files only"
BODY = "# Imitated\n\nText."


@pytest.fixture(scope="module")
def made(oval_release: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return imitate(oval_release, tmp_path_factory.mktemp("versions"), 3)


@pytest.fixture(scope="module")
def manifests(made: list[Path]) -> list[Manifest]:
    return [read_release(root) for root in made]


def changed(manifest: Manifest, **changes: Any) -> Manifest:
    return manifest.model_copy(update=changes)


# --- the release


def test_a_ready_release(made: list[Path]) -> None:
    (made[0] / "notes.txt").write_text("mine")
    try:
        found = ready(made[0], REPO)
    finally:
        (made[0] / "notes.txt").unlink()
    assert found.left_out == ("notes.txt",)
    assert {f.path for f in found.files} == paths_of(found.manifest)
    assert found.total_bytes == sum(f.size for f in found.files) == sum(f.local.stat().st_size for f in found.files)
    assert ready(made[0], None).files == found.files


def swapped(root: Path) -> None:
    """Two shards of one config and split trade places."""
    a, b = [s.path for s in read_release(root).shards_of("video", "train")][:2]
    (root / a).rename(root / "x")
    (root / b).rename(root / a)
    (root / "x").rename(root / b)


def shard_from_elsewhere(root: Path) -> None:
    shard = read_release(root).shards[0]
    table = pq.read_table(root / shard.path)
    pq.write_table(table, root / shard.path, compression="gzip")


def edited(change: Callable[[dict[str, Any]], Any]) -> Callable[[Path], None]:
    def edit(root: Path) -> None:
        value = json.loads((root / "release.json").read_text())
        change(value)
        (root / "release.json").write_text(json.dumps(value))

    return edit


def resealed(root: Path, manifest: Manifest, body: str = BODY) -> None:
    write_release(root, manifest, body)
    seal(root)


def other_licence(root: Path) -> None:
    text = (root / "README.md").read_text().replace("license: cc-by-4.0", "license: mit")
    (root / "README.md").write_text(text)
    seal(root)


def linked(target: str) -> Callable[[Path], None]:
    def link(root: Path) -> None:
        path = root / target
        shutil.move(path, root.parent / "outside")
        path.symlink_to(root.parent / "outside")

    return link


BAD = {
    "a shard of other bytes": (shard_from_elsewhere, DamagedInputError, "is not what its manifest says"),
    "swapped shards": (swapped, DamagedInputError, "is not what its manifest says, .*digest"),
    "a file nobody lists": (
        lambda root: (root / "data/video/train-more.parquet").write_bytes(b""), DamagedInputError, "unlisted",
    ),
    "an edited card": (
        lambda root: (root / "README.md").write_bytes((root / "README.md").read_bytes() + b"!"), DamagedInputError,
        "README.md",
    ),
    "an edited version": (edited(lambda m: m.update(version="one")), DamagedInputError, "is damaged: version"),
    "an edited split": (
        edited(lambda m: m["identities"][0].update(split="test")), DamagedInputError, "is not what its manifest says",
    ),
    "a newer schema": (
        edited(lambda m: m.update(format="thermvision-release/9")), DamagedInputError, "thermvision-release/9",
    ),
    "no seal": (
        lambda root: atomic_write(root / "release.json", manifest_text(changed(read_release(root), files={}))),
        UsageError, "is not sealed: .*type: thermvision card",
    ),
    "no text": (lambda root: resealed(root, read_release(root), "# Only a title"), UsageError, "no text below"),
    "another licence": (other_licence, UsageError, "the card of .* names the licence 'mit', its manifest 'cc-by-4.0'"),
    "no licence": (edited(lambda m: m.update(licences={})), UsageError, "no licence"),
    "no rows": (edited(lambda m: m.update(shards=[])), UsageError, "has no rows"),
    "no release": (lambda root: (root / "release.json").unlink(), UsageError, "is no release"),
    "a link to a file": (linked("data/video/train-v1.0-00000.parquet"), DamagedInputError, LINK),
    "a link to a folder": (linked("data/video"), DamagedInputError, LINK),
    "a link that is not listed": (lambda root: (root / "x").symlink_to("/etc/hosts"), DamagedInputError, LINK),
    "its own script": (lambda root: (root / "Faces.py").write_text(""), DamagedInputError, "every load of org/Faces"),
    "another script": (lambda root: (root / "recipes/a.PY").write_text(""), DamagedInputError, "is a script"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_what_may_not_leave(made: list[Path], copied: Callable[[Path], Path], case: str) -> None:
    root = copied(made[1])
    assert ready(root, REPO)
    spoil, kind, why = BAD[case]
    spoil(root)
    with pytest.raises(kind, match=f"(?s){why}") as caught:
        ready(root, REPO)
    assert len(str(caught.value)) < 2000


@pytest.mark.parametrize("name", ["org/Faces", "a/b", "org/ThermVision-DB_2.0"])
def test_names_the_hub_takes(name: str) -> None:
    check_repo(name)


@pytest.mark.parametrize(
    "name",
    ["Faces", "a/b/c", "org/", "/x", "org/a b", "org/-a", "org/a--b", "org/a..b", "org/x.py", "org/x.git", "../a"],
)
def test_names_it_does_not_take(name: str) -> None:
    with pytest.raises(UsageError, match="allowed:"):
        check_repo(name)


# --- the version that is there


def test_steps(manifests: list[Manifest]) -> None:
    first, second, third = manifests
    made = step(first, None, ["README.md", ".gitattributes"])
    assert (made.kind, made.parent, made.added, made.kept, made.removed) == ("first", None, first.shards, (), ())
    made = step(second, first, ["notes.md"])
    assert (made.kind, made.parent, made.kept, made.removed) == ("next", "1.0", first.shards, ())
    assert {s.path for s in made.added} == {s.path for s in second.shards} - {s.path for s in first.shards}
    made = step(third, second)
    assert made.removed == tuple(sorted(p for s in third.shards for p in s.replaces))
    assert len(made.removed) == 2
    made = step(second, second)
    assert (made.kind, made.parent, made.added, made.removed) == ("same", "1.0", (), ())


def first_shard(manifest: Manifest, **changes: Any) -> tuple[Shard, ...]:
    return (manifest.shards[0].model_copy(update=changes), *manifest.shards[1:])


def other_people(manifest: Manifest, **changes: Any) -> tuple[Identity, ...]:
    return (manifest.identities[0].model_copy(update=changes), *manifest.identities[1:])


ZEROS = "0" * 64
REFUSED: dict[str, tuple[Callable[[list[Manifest]], tuple[Any, ...]], str]] = {
    "no parent yet": (lambda m: (m[1], None), r"1\.1 goes on top of 1\.0, and nothing is published there yet"),
    "not empty": (lambda m: (m[0], None, ["a.zip", "b"]), r"not empty and holds no release\.json: a\.zip, b"),
    "newer": (lambda m: (m[0], m[1]), r"1\.1 is published, which is newer than 1\.0"),
    "a gap": (lambda m: (m[2], m[0]), r"1\.0 is published, and 1\.2 was made on top of 1\.1; publish 1\.1 first"),
    "another parent": (
        lambda m: (changed(m[2], parent="1.0"), m[1]), r"made on top of 1\.0; make it anew on top of 1\.1",
    ),
    "no parent": (lambda m: (changed(m[1], parent=None), m[0]), "on top of nothing"),
    "other shards": (
        lambda m: (changed(m[1], shards=first_shard(m[1], sha256=ZEROS)), m[1]),
        r"1\.1 is published already, with other content \(shard data/",
    ),
    "other files": (lambda m: (changed(m[1], files={"README.md": ZEROS}), m[1]), r"\(file README\.md\)"),
    "other figures": (lambda m: (changed(m[1], software={"a": "1"}), m[1]), r"\(software in release\.json\)"),
    "another spelling": (lambda m: (changed(m[1], version="1.1.0"), m[1]), "published already"),
    "a shard of the same name": (
        lambda m: (changed(m[1], shards=first_shard(m[1], sha256=ZEROS)), m[0]),
        r"shard data/\S+ of 1\.1 is not the one published under this name in 1\.0",
    ),
    "identities in another order": (
        lambda m: (changed(m[1], identities=m[1].identities[::-1]), m[0]),
        r"identity 0 is P_000000 \(female, train\) in the published 1\.0 and P_000003 \(male, test\) in 1\.1",
    ),
    "an identity in another split": (
        lambda m: (changed(m[1], identities=other_people(m[1], split="validation")), m[0]),
        r"and P_000000 \(female, validation\)",
    ),
    "an identity that is gone": (lambda m: (changed(m[1], identities=m[1].identities[:1]), m[0]), "and nobody in"),
    "another recipe": (
        lambda m: (changed(m[1], recipes={**m[1].recipes, "recipes/1.0.toml": ZEROS}), m[0]),
        r"another lineage \(recipe recipes/1\.0\.toml is another\)",
    ),
    "no recipe": (lambda m: (changed(m[1], recipes={}), m[0]), r"recipe recipes/1\.0\.toml is missing"),
    "an import": (lambda m: (changed(m[1], source="import"), m[0]), "one is made by build, the other by import"),
    "no shard in common": (
        lambda m: (changed(m[1], shards=tuple(s for s in m[1].shards if "-v1.1-" in s.path)), m[0]), "share no shard",
    ),
    "rows of somebody else": (lambda m: (m[1], m[0], ["data/video/train-x.parquet"]), "files are in the way"),
    "a script": (lambda m: (m[1], m[0], ["Faces.py"]), "files are in the way"),
    "old descriptions": (lambda m: (m[1], m[0], ["dataset_infos.json"]), "files are in the way"),
    "a file of ours": (lambda m: (m[1], m[0], ["recipes/1.1.toml"]), "files are in the way"),
    "a script beside the same": (lambda m: (m[1], m[1], ["Faces.py"]), "files are in the way"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_steps_that_are_refused(manifests: list[Manifest], case: str) -> None:
    arguments, why = REFUSED[case]
    with pytest.raises(RemoteError, match=why) as caught:
        step(*arguments(manifests))
    assert caught.value.exit_code == 5


@given(st.lists(st.tuples(st.integers(0, 99), st.integers(0, 99)), min_size=2, max_size=2))
def test_versions_are_sorted_by_number(pair: list[tuple[int, int]]) -> None:
    a, b = pair
    assert (version_order(f"{a[0]}.{a[1]}") < version_order(f"{b[0]}.{b[1]}")) == (a < b)


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=300) | st.recursive(st.none() | st.integers() | st.text(), st.lists).map(json.dumps))
def test_whatever_somebody_published(data: bytes | str) -> None:
    with pytest.raises(RemoteError, match=r"release\.json of org/Faces"):
        parse_manifest(data.encode() if isinstance(data, str) else data, REPO)


def test_manifests_of_others(manifests: list[Manifest], monkeypatch: pytest.MonkeyPatch) -> None:
    text = manifest_text(manifests[1])
    assert parse_manifest(text.encode(), REPO) == manifests[1]
    value = json.loads(text)
    for change, why in (
        ({"format": "thermvision-release/2"}, "schema 'thermvision-release/2'"),
        ({"colour": "red"}, "may come from a newer program"),
        ({"recipes": {"../../etc/passwd": ZEROS}}, "leaves the release"),
        ({"shards": 3}, "shards"),
    ):
        with pytest.raises(RemoteError, match=why):
            parse_manifest(json.dumps(value | change).encode(), REPO)
    with pytest.raises(RemoteError, match="is no JSON"):
        parse_manifest(b"[" * 100_000, REPO)
    monkeypatch.setattr(versions, "MAX_MANIFEST_BYTES", 100)
    with pytest.raises(RemoteError, match="more than 100 bytes"):
        parse_manifest(text.encode(), REPO)


# --- the plan


def entry(file: ReleaseFile, large: bool) -> Entry:
    return Entry(file.size, "0" * 40 if large else git_sha1(file), file.sha256 if large else None)


def held(root: Path) -> dict[str, Entry]:
    """A repository that holds a release."""
    return {f.path: entry(f, f.path.endswith(".parquet")) for f in release_files(root, read_release(root))}


def test_plan(made: list[Path], manifests: list[Manifest]) -> None:
    now, there = ready(made[2], REPO), held(made[1])
    plan = make_plan(now, step(manifests[2], manifests[1]), there)
    new = {s.path for s in manifests[2].shards} - {s.path for s in manifests[1].shards}
    assert {f.path for f in plan.send} == {*new, "README.md", "release.json", "recipes/1.2.toml"}
    assert plan.bytes == sum((made[2] / f.path).stat().st_size for f in plan.send)
    assert plan.unchanged + len(plan.send) == len(now.files)
    assert plan.delete == tuple(sorted(set(there) - {f.path for f in now.files}))
    stored = sorted(new)[:1]
    again = make_plan(now, step(manifests[2], manifests[1]), there, stored)
    assert plan.bytes - again.bytes == (made[2] / stored[0]).stat().st_size
    assert again.send == plan.send
    kept = next(s.path for s in manifests[2].shards if s.path in there)
    for broken in (None, Entry(there[kept].size, "", ZEROS)):
        damaged = {k: v for k, v in {**there, kept: broken}.items() if v}
        with pytest.raises(RemoteError, match=r"is not what 1\.1 listed when it was published"):
            make_plan(now, step(manifests[2], manifests[1]), damaged)


@given(st.binary(max_size=2000))
def test_digests_of_small_and_large_files(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    import hashlib

    path = tmp_path_factory.mktemp("files") / "a"
    path.write_bytes(data)
    file = ReleaseFile("a", path, len(data), sha256_bytes(data))
    assert git_sha1(file) == hashlib.sha1(f"blob {len(data)}\0".encode() + data).hexdigest()
    for large in (False, True):
        assert is_same(file, entry(file, large))
    other = ReleaseFile("b", path, len(data), sha256_bytes(data + b"x"))
    assert differing([file, other], {"a": entry(file, True), "b": entry(file, True)}) == ["b"]
    assert not is_same(file, Entry(len(data) + 1, git_sha1(file)))
    assert not is_same(file, None)


# --- errors


def answered(status: int, **headers: str) -> HfHubHTTPError:
    response = httpx2.Response(status, headers=headers, request=httpx2.Request("GET", "http://x/y?token=hf_abcdefghij"))
    return HfHubHTTPError(f"{status} Bearer hf_abcdefghij", response=response, server_message="said hf_abcdefghij")


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_statuses_that_are_asked_again(status: int) -> None:
    assert retries.transient(answered(status))


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 412, 413])
def test_statuses_that_are_not(status: int) -> None:
    assert not retries.transient(answered(status))


def test_errors_behind_others() -> None:
    def behind(cause: BaseException) -> RuntimeError:
        error = RuntimeError("Error while uploading 'a'")
        error.__cause__ = cause
        return error

    assert retries.transient(behind(httpx2.ReadError("reset")))
    assert retries.transient(behind(answered(503)))
    assert not retries.transient(behind(answered(403)))
    assert retries.transient(json.JSONDecodeError("cut", "{", 1))
    for final in (ValueError("x"), FileNotFoundError("x"), OfflineModeIsEnabled("x"), httpx2.UnsupportedProtocol("x")):
        assert not retries.transient(final)
    loop = RuntimeError("a")
    loop.__cause__ = behind(loop)
    assert not retries.transient(loop)


def asked(errors: list[BaseException], monkeypatch: pytest.MonkeyPatch) -> tuple[list[float], list[str], Any]:
    """The pauses and the lines of asking until ``errors`` are used up, and what came of it."""
    pauses, told = list[float](), list[str]()
    monkeypatch.setattr(retries, "_backoff", lambda state: 0.25)
    monkeypatch.setattr("tenacity.nap.time", SimpleNamespace(sleep=pauses.append))

    def call() -> str:
        if errors:
            raise errors.pop(0)
        return "done"

    try:
        return pauses, told, retries.ask("read it", call, token="hf_abcdefghij", tell=told.append)
    except ThermVisionError as error:
        return pauses, told, error


def test_asking_again(monkeypatch: pytest.MonkeyPatch) -> None:
    soon = format_datetime(datetime.now(UTC) + timedelta(seconds=60), usegmt=True)
    errors = [answered(503), answered(429, **{"Retry-After": "7"}), answered(429, **{"Retry-After": soon})]
    pauses, told, done = asked([*errors, httpx2.ConnectError("no")], monkeypatch)
    assert done == "done"
    assert pauses[:2] == [0.25, 7.0]
    assert 50 < pauses[2] <= 60
    assert pauses[3] == 0.25
    assert told[1] == "cannot read it now (429, said ***); again in 7.0 s"


def test_giving_up(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses, _, error = asked([answered(503)] * 99, monkeypatch)
    assert len(pauses) == retries.TRIES - 1
    assert f"503, said ***, {retries.TRIES} times; run the same command again" in str(error)
    for status, words in ((401, "hf auth login"), (403, "has no right to"), (412, "412"), (404, "404")):
        pauses, told, error = asked([answered(status)], monkeypatch)
        assert (pauses, told) == ([], [])
        assert isinstance(error, RemoteError)
        assert words in str(error)
        assert "hf_abc" not in str(error)
        assert error.__suppress_context__
    pauses, _, error = asked([answered(429, **{"Retry-After": "86400"})], monkeypatch)
    assert pauses == []
    assert "asks to wait longer than 300 s" in str(error)
    for text in ("soon", "-5", "1e99"):
        assert asked([answered(429, **{"Retry-After": text})], monkeypatch)[2] == "done"


def test_bugs_are_no_remote_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ZeroDivisionError):
        asked([ZeroDivisionError()], monkeypatch)


def test_a_token_in_the_name_is_not_shown() -> None:
    with pytest.raises(UsageError) as caught:
        check_repo("https://me:hf_abcdefghi@hub/datasets/org/x")
    assert "hf_abc" not in str(caught.value)


def test_the_client_breaking_over_an_answer_is_a_remote_error() -> None:
    from huggingface_hub.hf_api import RepoFile

    with pytest.raises(RemoteError, match="cannot read it: TypeError"), retries.explained("read it", None):
        RepoFile(path="x", size=1, oid="0", lfs="no mapping")
    with pytest.raises(TypeError), retries.explained("read it", None):
        len(3)  # type: ignore[arg-type]


def test_what_a_server_says_comes_on_one_line_and_without_colours() -> None:
    assert retries.scrub("a\n\x1b[31mred hf_abcdefghi") == r"a\n\x1b[31mred ***"
