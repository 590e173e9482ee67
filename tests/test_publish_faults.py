"""Publishing that is struck or killed ends, run again, as if nothing had happened; readers see whole versions.

A shortened form of the campaign in `benchmarks/publish.py`.
"""

import json
import random
import signal

import pytest
from hub import Account, Fault, Hub, pointed_at
from hub.campaign import differences, rows_differ, run_campaign
from hub.imitated import imitate, items_of
from hub.publisher import Forks
from hub.reader import Seen, load, read_raw

from thermvision.curation.release import read_release
from thermvision.curation.verify import verify_release

pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")
REPO = "org/Imitated"


@pytest.fixture(scope="module")
def versions(oval_release, tmp_path_factory):
    return imitate(oval_release, tmp_path_factory.mktemp("imitated"), 3)


def test_the_imitated_versions_are_releases_on_top_of_each_other(versions):
    manifests = [read_release(root) for root in versions]
    assert [verify_release(root) for root in versions] == [[], [], []]
    assert [(m.version, m.parent) for m in manifests] == [("1.0", None), ("1.1", "1.0"), ("1.2", "1.1")]
    shards = [{s.path: s.sha256 for s in m.shards} for m in manifests]
    assert shards[0].items() < shards[1].items()
    assert len(shards[1].keys() - shards[2].keys()) == 2  # superseded: clips, and their frames
    assert [len(items_of(root)["video"]) for root in versions] == [4, 8, 11]


def put(hub, files, title="Imitated 1.0"):
    """Commit files to the repository as a publisher without care would."""
    key = f"datasets/{REPO}"
    put = {path: hub.store.put(data) for path, data in files.items()}
    return hub.store.commit(key, "main", hub.repo(REPO).head, title, "", put, ())


@pytest.fixture
def hub(tmp_path):
    accounts = {"hf_test": Account("tester"), "hf_reader": Account("reader", "read")}
    with Hub(tmp_path / "hub", accounts=accounts) as server:
        server.store.create(f"datasets/{REPO}", private=False)
        yield server


def contents(root):
    return {p.relative_to(root).as_posix(): p.read_bytes() for p in root.rglob("*") if p.is_file()}


def tagged(hub, name, commit):
    hub.store.happen("ref", f"datasets/{REPO}", kind="tag", name=name, target=commit)


def test_the_comparison_finds_what_is_wrong(hub, versions):
    files = contents(versions[0])
    tagged(hub, "v1.0", put(hub, files))
    assert differences(hub, REPO, versions[:1]) == []
    assert rows_differ(hub, REPO, versions[:1]) == (0, 0)
    assert differences(hub, REPO, versions[:2]) == ["1 commits for 2 versions: ['initial commit', 'Imitated 1.0']"]
    shard = next(path for path in files if path.startswith("data/video/"))
    items = len(items_of(versions[0])["video"])
    twice = put(hub, {shard.replace("00000", "00001"): files[shard]})
    assert len(differences(hub, REPO, versions[:1])) == 1
    tagged(hub, "v1.0", twice)
    assert rows_differ(hub, REPO, versions[:1]) == (0, items // 2)


def test_the_comparison_finds_a_damaged_file(hub, versions):
    files = contents(versions[0])
    shard = next(path for path in files if path.startswith("data/video/"))
    tagged(hub, "v1.0", put(hub, {**files, shard: files[shard][:-1] + b"?"}))
    assert differences(hub, REPO, versions[:1]) == [f"{shard} of 1.0 differs"]


def test_the_reader_notices_half_a_version(hub, versions, tmp_path):
    from huggingface_hub import HfApi

    api, files = HfApi(endpoint=hub.url, token="hf_reader"), contents(versions[0])
    expected = {root.name: items_of(root) for root in versions}
    with pointed_at(hub.url, tmp_path / "home", "hf_reader"):
        assert read_raw(api, REPO, "main", Seen()) == {"version": None}
        shard = next(path for path in files if path.startswith("data/video/"))
        put(hub, {path: data for path, data in files.items() if path != shard})
        with pytest.raises(AssertionError, match=f"not what is listed: .*{shard}"):
            read_raw(api, REPO, "main", Seen())
        put(hub, {shard: files[shard][:-1] + b"?"})
        with pytest.raises(AssertionError, match=f"{shard} is damaged"):
            read_raw(api, REPO, "main", Seen())
        whole = put(hub, {shard: files[shard]})
        assert read_raw(api, REPO, "main", Seen()) == {"version": "1.0", "commit": whole, "files": len(files) + 1}
        assert load(api, REPO, "main", random.Random(0), expected)["version"] == "1.0"
        put(hub, {"data/video/train-v1.0-00009.parquet": files[shard]})
        clips = {version: {"video": items["video"]} for version, items in expected.items()}
        with pytest.raises(AssertionError, match="6 rows of video, those of no version"):
            load(api, REPO, "main", random.Random(0), clips)


CRITICAL = [  # a fault at the moments where half a publish could be left behind or done twice
    ("kill-after", ".*/commit/main", -signal.SIGKILL, 1, []),
    ("kill", ".*/tag/.*", -signal.SIGKILL, 1, []),
    ("reset-after", ".*/commit/main", 0, 1, ["v1.0"]),
]


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "path", "code", "commits", "tags"), CRITICAL)
def test_struck_at_a_critical_moment(hub, versions, tmp_path, kind, path, code, commits, tags):
    forks = Forks(hub.url, tmp_path / "scratch")

    def publish(*faults):
        with forks.command(["publish", str(versions[0]), "--repo", REPO], "hf_test") as (pid, go):
            hub.faults.plan(*(Fault(kind, path=path, pid=pid) for kind, path in faults))
            return go()

    first = publish((kind, path))
    assert first.code == code, first.output
    assert (len(hub.repo(REPO).history()) - 1, list(hub.repo(REPO).tags)) == (commits, tags)
    assert hub.faults.waiting() == 0
    hub.forget()
    second = publish()
    assert second.code == 0, second.output
    assert differences(hub, REPO, versions[:1]) == []
    assert not {"lfs", "commit"} & hub.figures().keys()  # nothing is sent a second time
    if tags:
        assert "published already" in second.output


@pytest.mark.slow
def test_a_short_campaign(versions, tmp_path):
    told = run_campaign(versions, tmp_path, 3, lanes=1, seed=5)
    assert told["wrong"] == told["reader_wrong"] == [], json.dumps(told, indent=1)
    assert (told["publishes"], told["rows_lost"], told["rows_twice"]) == (3, 0, 0)
    assert told["first_runs_struck"] == 3
    assert told["reader_looks"] > 0
