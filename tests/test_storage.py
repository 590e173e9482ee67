"""Releases at fsspec URLs: equal to local ones, resumable, whole or not there."""

import contextlib
import json
from pathlib import Path

import fsspec
import pytest
from fake_engine import WaveEngine

import thermvision_db
from thermvision.annotations.errors import DamagedInputError, MissingDependencyError, OutputError, UsageError
from thermvision.curation import assembly, storage
from thermvision.curation.runners import run_jobs
from thermvision.curation.storage import Storage, checked_place, conclude, is_url, workplace
from thermvision.generation.build import build_release, prepare

pytestmark = pytest.mark.usefixtures("wave_engine")
SMALL = """
name = "waves"
version = "1.0"
seed = 3
[subjects]
female = 2
male = 2
[stills]
size = 64
frontal_pose = 2
beard = { count = 1, gender = "male" }
[clips]
size = 64
head_pose = 4
expression = 3
[radiometric]
clip_every = 2
[shards]
clips = 3
"""


def finish(root):
    """Writes a picture that shows the shards, in the place of the real one, which takes seconds."""
    found = sorted(p.name for p in root.rglob("data/**/*.parquet"))
    (root / "preview").mkdir(exist_ok=True)
    (root / "preview" / "sheet.txt").write_text("\n".join(found))
    return [f"{len(found)} shards", f"sheet: {root}/preview/sheet.txt", f'load it:   load_dataset("{root}")']


@pytest.fixture(params=["memory", "file"])
def place(request, tmp_path):
    """An empty place of each kind: one that takes files whole, and one where they are renamed."""
    url = f"memory://{tmp_path.name}/faces" if request.param == "memory" else f"file://{tmp_path}/faces"
    yield Storage(url)
    fsspec.filesystem("memory").store.clear()


def build(url, done=finish, run=run_jobs, **options):
    with workplace(url) as (root, found):
        build_release(prepare(SMALL), root, quiet=True, run=run, storage=found, **options)
        return conclude(found, root, assembly.BUILD_FOLDER, done)


def contents(url):
    fs, root = fsspec.core.url_to_fs(url)
    fs.invalidate_cache()
    return {name.removeprefix(root).lstrip("/"): fs.cat_file(name) for name in fs.find(root)}


@pytest.fixture(scope="module")
def local(tmp_path_factory):
    """Path to bytes of the release as a build in a folder makes it."""
    from fake_engine import waves_for_phantom

    out = tmp_path_factory.mktemp("local") / "release"
    with waves_for_phantom():
        build_release(prepare(SMALL), out, quiet=True)
        finish(out)
    return {p.relative_to(out).as_posix(): p.read_bytes() for p in out.rglob("*") if p.is_file()}


def test_a_release_at_a_url_is_that_of_a_folder_byte_for_byte(place, local):
    lines = build(place.url)
    assert contents(place.url) == local
    assert any("shards" in line for line in lines)
    assert not any("load_dataset" in line for line in lines)
    assert any(place.url in line for line in lines)
    assert build(place.url) == lines  # again: nothing is left to do
    assert contents(place.url) == local


@pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")
def test_a_release_in_a_repository_of_the_hub(tmp_path, local):
    from hub import Hub, pointed_at
    from huggingface_hub import HfApi

    with Hub(tmp_path / "hub") as hub, pointed_at(hub.url, tmp_path / "home"):
        HfApi().create_repo("me/faces", repo_type="dataset")
        storage._open.cache_clear()
        build("hf://datasets/me/faces")
        found = {path: hub.read("me/faces", path) for path in local}
        names = set(HfApi().list_repo_files("me/faces", repo_type="dataset"))
        titles = [c.title for c in HfApi().list_repo_commits("me/faces", repo_type="dataset")]
    storage._open.cache_clear()
    assert found == local
    assert names - {".gitattributes"} == set(local)
    assert len(titles) > len(local)  # one a file: for trials


def test_the_manifest_comes_last_and_the_markers_leave(place):
    seen = []

    class Watched(Storage):
        def _do(self, what, path, work):
            if what in ("write", "delete"):
                seen.append((what, path))
            return super()._do(what, path, work)

    with workplace(place.url) as (root, _):
        build_release(prepare(SMALL), root, quiet=True, storage=Watched(place.url))
        assert not (root / "data").exists()  # nothing but small files lies with the driver
        conclude(Watched(place.url), root, assembly.BUILD_FOLDER, finish)
    assert seen[0] == ("write", ".build/plan.json")
    assert seen[-2:] == [("write", "release.json"), ("delete", ".build")]
    marker = seen.index(("write", ".build/beard-train-00000.done.json"))
    shards = [seen.index(("write", f"data/{c}/train-v1.0-00000.parquet")) for c in ("image/beard", "frames")]
    assert shards[0] < marker
    assert {"README.md", "recipes/1.0.toml", "preview/sheet.txt"} <= {path for _, path in seen}


def test_a_build_that_was_stopped_goes_on_with_another_driver(place, local):
    stopped = []

    def stopping(*arguments):
        for number, found in enumerate(run_jobs(*arguments)):
            yield found
            stopped.append(found[0].key)
            if number == 2:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build(place.url, run=stopping)
    assert place.read("release.json") is None
    ran = []

    def counting(root, jobs, *arguments):
        ran.extend(job.key for job in jobs)
        return run_jobs(root, jobs, *arguments)

    build(place.url, run=counting)
    assert len(stopped) == 3
    assert not set(ran) & set(stopped)
    assert contents(place.url) == local


def test_a_lost_shard_is_made_again(place, local):
    build(place.url)
    lost = next(name for name in local if name.startswith("data/video"))
    place.remove(lost)
    during = []

    def watching(root, jobs, *arguments):
        during.append((len(jobs), place.size("release.json")))
        return run_jobs(root, jobs, *arguments)

    build(place.url, run=watching)
    assert during == [(1, None)]  # no release while it is mended
    assert contents(place.url) == local


def test_another_plan_and_foreign_files_are_refused(place):
    build(place.url)
    before = contents(place.url)
    with workplace(place.url) as (root, found), pytest.raises(UsageError, match=f"^{place.url} holds .* another plan"):
        build_release(prepare(SMALL.replace("seed = 3", "seed = 4")), root, quiet=True, storage=found)
    assert contents(place.url) == before
    other = Storage(place.url + "-other")
    other.write("thesis.txt", b"mine")
    with pytest.raises(UsageError, match=r"is not empty \(thesis.txt\)"):
        build(other.url)
    assert contents(other.url) == {"thesis.txt": b"mine"}


def test_a_shard_that_changed_under_way_is_refused(place):
    def spoil(*arguments):
        yield from run_jobs(*arguments)
        name = place.names("data/video")[0]
        data = bytearray(place.read(f"data/video/{name}"))
        data[100] ^= 1
        place.write(f"data/video/{name}", bytes(data))

    with pytest.raises(DamagedInputError, match=r"is not what was put there"):
        build(place.url, run=spoil)
    assert place.read("release.json") is None


def test_what_is_too_large_to_fetch_has_no_previews(place, monkeypatch):
    monkeypatch.setattr(storage, "MIRROR_BYTES", 1000)
    lines = build(place.url)
    assert "its card has no prose and no previews" in lines[0]
    found = contents(place.url)
    assert not any(name.startswith("preview/") for name in found)
    assert found["README.md"].startswith(b"---\n")
    assert json.loads(found["release.json"])["version"] == "1.0"


def test_failed_items_are_retried_at_a_url(place, local, monkeypatch):
    monkeypatch.setattr(WaveEngine, "fail_items", frozenset({"P_000000_S1"}))
    build(place.url)
    assert [f["item_id"] for f in json.loads(place.read("release.json"))["failed"]] == ["P_000000_S1"]
    monkeypatch.undo()
    build(place.url, retry_failed=True)
    assert contents(place.url) == local


def test_a_store_in_trouble_is_tried_again(monkeypatch):
    monkeypatch.setattr(storage, "LONGEST_WAIT", 0.0)
    place, calls = Storage("memory://troubled/faces"), []
    fs = fsspec.filesystem("memory")
    real = type(fs).pipe_file

    def shaky(self, *arguments, **options):
        calls.append(arguments)
        if len(calls) < 3:
            raise ConnectionResetError("reset")
        return real(self, *arguments, **options)

    monkeypatch.setattr(type(fs), "pipe_file", shaky)
    place.write("a", b"1")
    assert (len(calls), place.read("a")) == (3, b"1")
    calls.clear()
    monkeypatch.setattr(type(fs), "pipe_file", lambda *a, **k: calls.append(a) or 1 / 0)
    with pytest.raises(OutputError, match=r"cannot write memory://troubled/faces/a: ZeroDivisionError"):
        place.write("a", b"2")
    assert len(calls) == storage.ATTEMPTS
    assert place.read("a") == b"1"


def test_a_refusal_is_not_tried_again(monkeypatch):
    class RefusedError(Exception):
        class response:  # noqa: N801
            status_code = 403

    fs, calls = fsspec.filesystem("memory"), []

    def refuse(self, *arguments, **options):
        calls.append(arguments)
        raise RefusedError("no rights")

    monkeypatch.setattr(type(fs), "pipe_file", refuse)
    with pytest.raises(OutputError, match="no rights"):
        Storage("memory://refused/faces").write("a", b"1")
    assert len(calls) == 1


def test_a_short_upload_is_no_upload(tmp_path, monkeypatch):
    monkeypatch.setattr(storage, "LONGEST_WAIT", 0.0)
    (tmp_path / "a").write_bytes(b"12345")
    fs = fsspec.filesystem("memory")
    monkeypatch.setattr(type(fs), "put_file", lambda self, local, path, **k: self.pipe_file(path, b"123"))
    with pytest.raises(OutputError, match="3 bytes arrived of 5"):
        Storage("memory://short/faces").put(tmp_path / "a", "a")


def test_a_killed_writer_leaves_no_file_under_its_name(tmp_path, monkeypatch):
    (tmp_path / "a").write_bytes(b"12345")
    fs = fsspec.filesystem("file")
    monkeypatch.setattr(type(fs), "mv", lambda *a, **k: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        Storage(f"file://{tmp_path}/faces").put(tmp_path / "a", "a")
    assert list((tmp_path / "faces").iterdir()) == []


def test_places_that_cannot_be():
    with pytest.raises(UsageError, match=r"is no place to write to .*; allowed: a folder, or an fsspec URL"):
        Storage("nosuch://bucket/faces").names()
    with pytest.raises(UsageError, match="names no folder"):
        Storage("memory://").names()
    with contextlib.suppress(ImportError):
        import s3fs  # noqa: F401

        return
    with pytest.raises(MissingDependencyError, match="pip install s3fs"):
        Storage("s3://bucket/faces").names()


@pytest.mark.parametrize("url", ["ftp://me:secret@127.0.0.1:9/faces", "s3://id:secret@bucket/x", "ftp://me:secret@x:y"])
def test_a_password_in_a_url_is_refused_and_never_shown(url, capsys):
    for command in (["build", "--out", url, "--dry-run"], ["build", "--out", url], ["info", url]):
        assert thermvision_db.main(command) == UsageError.exit_code
        shown = "".join(capsys.readouterr())
        assert "is given with a password; allowed: a URL without one" in shown
        assert "secret" not in shown


@pytest.mark.parametrize(
    ("typed", "meant"),
    [("s3:/bucket/faces", "s3://bucket/faces"), ("s3:bucket", "s3://bucket"), ("file:/data", "file://data")],
)
def test_too_few_slashes_are_no_folder(typed, meant, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=f"{typed} has too few slashes; allowed: a URL such as {meant},"):
        checked_place(typed)
    assert thermvision_db.main(["build", "--out", typed]) == UsageError.exit_code
    assert list(tmp_path.iterdir()) == []


def test_slashes_at_the_end_do_not_make_another_place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert [checked_place(p) for p in ("s3://b/f//", "file:///", "a/b/", "/")] == ["s3://b/f", "file:///", "a/b", "/"]
    assert checked_place("abfs://container@account.dfs.core.windows.net/x").endswith("windows.net/x")
    with pytest.raises(UsageError, match="file:/// names no folder"):
        build("file:///")


def test_a_folder_with_a_colon_in_its_name(tmp_path, monkeypatch, local):
    monkeypatch.chdir(tmp_path)
    build_release(prepare(SMALL), Path("faces:v1"), quiet=True)
    assert (tmp_path / "faces:v1" / "release.json").is_file()


def test_a_protocol_that_cannot_be_written_to(monkeypatch):
    def refuse(self, *arguments, **options):
        raise NotImplementedError

    monkeypatch.setattr(type(fsspec.filesystem("memory")), "pipe_file", refuse)
    with pytest.raises(UsageError, match="memory://readonly/faces can only be read; allowed: a folder"):
        Storage("memory://readonly/faces").write("a", b"1")


def test_a_server_that_is_not_there_is_an_error_of_ours(monkeypatch):
    monkeypatch.setattr(storage, "LONGEST_WAIT", 0.0)
    with pytest.raises(OutputError, match=r"cannot list ftp://127\.0\.0\.1:9/faces/: ConnectionRefusedError"):
        Storage("ftp://127.0.0.1:9/faces").names()


def test_what_a_killed_writer_left_at_a_store_is_gone_in_the_end(place, local):
    fs, root = fsspec.core.url_to_fs(place.url)
    left = f"{root}/data/video/.train-v1.0-00000.parquet.1234.partial"

    def killed(*arguments):
        yield from run_jobs(*arguments)
        if "file" in fs.protocol:  # others take files whole
            fs.pipe_file(left, b"half")

    build(place.url, run=killed)
    assert contents(place.url) == local


def test_a_sweep_costs_another_writer_one_more_try(tmp_path, monkeypatch):
    monkeypatch.setattr(storage, "LONGEST_WAIT", 0.0)
    fs, swept = fsspec.filesystem("file"), []
    real = type(fs).mv

    def move(self, source, target, **options):
        if not swept:
            swept.append(source)
            Storage(f"file://{tmp_path}").sweep()
        return real(self, source, target, **options)

    monkeypatch.setattr(type(fs), "mv", move)
    place = Storage(f"file://{tmp_path}/faces")
    place.write("a", b"1")
    assert (place.read("a"), len(swept)) == (b"1", 1)
    assert [p.name for p in tmp_path.rglob("*") if p.is_file()] == ["a"]


def test_a_build_of_something_else_that_was_started_meanwhile_is_no_release(place):
    def another(*arguments):
        yield from run_jobs(*arguments)
        place.write(".build/plan.json", json.dumps({"plan": "0" * 64, "made_from": "x", "software": {}}).encode())

    with pytest.raises(UsageError, match=r"a build of something else was started at .* meanwhile"):
        build(place.url, run=another)
    assert place.read("release.json") is None


@pytest.mark.parametrize("place", ["release", "/data/release", "../a b", "C:/faces", "s3:/one-slash"])
def test_folders_are_no_urls(place):
    assert not is_url(place)
    with workplace(place) as (root, found):
        assert (root, found) == (Path(place), None)


def test_the_command_builds_at_a_url(tmp_path, capsys, local):
    (tmp_path / "waves.toml").write_text(SMALL)
    arguments = ["build", str(tmp_path / "waves.toml"), "--out", f"file://{tmp_path}/release", "--workers", "1"]
    assert thermvision_db.main([*arguments, "--dry-run"]) == 0
    assert not (tmp_path / "release").exists()
    assert "waves.toml --out file://" in capsys.readouterr().out
    assert thermvision_db.main([*arguments, "--quiet", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["out"] == f"file://{tmp_path}/release"
    found = contents(f"file://{tmp_path}/release")
    assert {name: data for name, data in found.items() if name.startswith(("data/", "recipes/"))} == {
        name: data for name, data in local.items() if name.startswith(("data/", "recipes/"))
    }
    assert {"preview/contact_sheet.jpg", "README.md", "release.json"} <= set(found)
    assert thermvision_db.main(["verify", str(tmp_path / "release")]) == 0


def test_a_url_where_only_a_folder_will_do_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with (
        pytest.raises(UsageError, match=r"--out s3:/bucket/faces is a URL; allowed here: a folder"),
        assembly.locked(Path("s3://bucket/faces")),
    ):
        pass
    assert list(tmp_path.iterdir()) == []
