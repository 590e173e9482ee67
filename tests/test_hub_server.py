"""The test Hub: what the real clients do against it, who may do it, and that each planned fault does what it says."""

import doctest
import hashlib
import http.client
import importlib
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from hub import KINDS, Account, Fault, Hub, drawn, pointed_at
from hub.wire import part_of
from hypothesis import given
from hypothesis import strategies as st

# huggingface_hub 2.4 hands bytes to its HTTP client in a way that this has come to warn of
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")
REPO = "org/Tiny"
ACCOUNTS = {
    "hf_test": Account("tester"),
    "hf_reader": Account("reader", "read"),
    "hf_other": Account("other", "write", ("elsewhere",)),
}


@pytest.fixture
def hub(tmp_path):
    with Hub(tmp_path / "hub", accounts=ACCOUNTS) as server, pointed_at(server.url, tmp_path / "home"):
        yield server


@pytest.fixture
def api(hub):
    from huggingface_hub import HfApi

    return HfApi(endpoint=hub.url, token="hf_test")


def add(path, data):
    from huggingface_hub import CommitOperationAdd

    return CommitOperationAdd(path, data)


def commit(api, *operations, title="change", **more):
    return api.create_commit(REPO, operations, commit_message=title, repo_type="dataset", **more)


@pytest.fixture
def made(api):
    """The repository with one file in LFS and one that is not."""
    api.create_repo(REPO, repo_type="dataset", private=True)
    commit(api, add("data/a.parquet", b"0123456789" * 1000), add("README.md", b"# Tiny\n"), title="first")
    return api


def ask(hub, path, token="hf_test", method="GET", body=None, **headers):
    """Status, headers and body of one raw request."""
    headers = {"Authorization": f"Bearer {token}", **{k.replace("_", "-"): v for k, v in headers.items()}}
    request = urllib.request.Request(hub.url + path, body, headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, answer.headers, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers, error.read()


FILE = f"/datasets/{REPO}/resolve/main/data/a.parquet"
BYTES = b"0123456789" * 1000


def test_a_release_goes_up_and_loads_at_its_tag(hub, api, oval_release, tmp_path):
    from datasets import load_dataset

    api.create_repo(REPO, repo_type="dataset")
    api.upload_folder(repo_id=REPO, repo_type="dataset", folder_path=oval_release, commit_message="Ovals 1.0")
    api.create_tag(REPO, tag="v1.0", repo_type="dataset")
    sizes = {p.relative_to(oval_release).as_posix(): p.stat().st_size for p in oval_release.rglob("*") if p.is_file()}
    found = api.list_repo_tree(REPO, repo_type="dataset", recursive=True, revision="v1.0")
    assert {f.path: f.size for f in found if hasattr(f, "size") and f.path != ".gitattributes"} == sizes
    shards = sum(size for path, size in sizes.items() if path.endswith(".parquet"))
    assert hub.figures()["lfs"]["received"] == shards  # exactly the bytes of the files in LFS
    for streaming in (False, True):
        rows = load_dataset(
            REPO, "video", split="train", revision="v1.0", streaming=streaming, cache_dir=str(tmp_path / "cache")
        )
        assert [row["clip_id"] for row in rows] == ["P_000000_S1", "P_000000_S2"]
    path = api.hf_hub_download(REPO, "release.json", repo_type="dataset", revision="v1.0")
    assert Path(path).read_bytes() == (oval_release / "release.json").read_bytes()


def test_what_a_repository_has_is_not_sent_again(hub, made):
    hub.forget()
    commit(made, add("data/b.parquet", BYTES))
    assert "lfs" not in hub.figures()
    assert hub.read(REPO, "data/b.parquet") == BYTES
    made.create_repo("org/Second", repo_type="dataset")  # another repository does not have it
    made.upload_file(path_or_fileobj=BYTES, path_in_repo="a.parquet", repo_id="org/Second", repo_type="dataset")
    assert hub.figures()["lfs"]["received"] == len(BYTES)


def test_a_commit_is_refused_where_the_branch_has_moved(hub, made):
    from huggingface_hub.errors import HfHubHTTPError

    head = hub.repo(REPO).head
    moved = hub.disturb(REPO, "x.txt", b"x")
    with pytest.raises(HfHubHTTPError) as refused:
        commit(made, add("y.txt", b"y"), parent_commit=head)
    assert refused.value.response.status_code == 412
    commit(made, add("y.txt", b"y"), parent_commit=moved)
    assert [c.title for c in hub.repo(REPO).history()] == [
        "change",
        "Somebody else was here",
        "first",
        "initial commit",
    ]


def test_tags_and_deleted_files(hub, made):
    from huggingface_hub import CommitOperationDelete
    from huggingface_hub.errors import HfHubHTTPError

    made.create_tag(REPO, tag="v1.0", repo_type="dataset")
    commit(made, CommitOperationDelete("data/a.parquet"))
    assert not made.file_exists(REPO, "data/a.parquet", repo_type="dataset")
    assert made.file_exists(REPO, "data/a.parquet", repo_type="dataset", revision="v1.0")
    with pytest.raises(HfHubHTTPError) as refused:
        made.create_tag(REPO, tag="v1.0", repo_type="dataset")
    assert refused.value.response.status_code == 409
    assert hub.repo(REPO).tags == {"v1.0": hub.repo(REPO).history()[1].id}
    made.delete_tag(REPO, tag="v1.0", repo_type="dataset")
    assert made.list_repo_refs(REPO, repo_type="dataset").tags == []


def test_a_pull_request_changes_main_only_when_it_is_merged(hub, made):
    head = hub.repo(REPO).head
    told = commit(made, add("data/c.parquet", b"c"), create_pr=True, title="Proposed")
    assert (told.pr_num, hub.repo(REPO).head) == (1, head)
    assert made.file_exists(REPO, "data/c.parquet", repo_type="dataset", revision="refs/pr/1")
    hub.disturb(REPO, "elsewhere.txt", b"1")  # no conflict
    made.merge_pull_request(REPO, 1, repo_type="dataset")
    assert hub.repo(REPO).history()[0].title == "Proposed (#1)"
    assert {"data/c.parquet", "elsewhere.txt"} <= set(made.list_repo_files(REPO, repo_type="dataset"))
    assert made.get_discussion_details(REPO, 1, repo_type="dataset").status == "merged"


def test_settings(hub, made):
    assert made.repo_info(REPO, repo_type="dataset").private
    made.update_repo_settings(REPO, repo_type="dataset", private=False, gated="manual")
    told = made.repo_info(REPO, repo_type="dataset", files_metadata=True)
    assert (told.private, told.gated) == (False, "manual")
    digests = {s.rfilename: s.lfs.sha256 for s in told.siblings if s.lfs}
    assert digests == {"data/a.parquet": hashlib.sha256(BYTES).hexdigest()}


@pytest.mark.parametrize(
    ("token", "method", "path", "status"),
    [
        ("hf_reader", "GET", FILE, 200),
        ("hf_other", "GET", FILE, 404),  # private: nobody else learns that it is there
        ("hf_wrong", "GET", FILE, 401),
        ("hf_reader", "POST", f"/api/datasets/{REPO}/tag/main", 403),
        ("hf_other", "POST", "/api/repos/create", 403),
        ("hf_wrong", "POST", f"/api/datasets/{REPO}/preupload/main", 401),
        ("hf_test", "GET", f"/datasets/{REPO}/resolve/main/none", 404),
        ("hf_test", "GET", f"/datasets/{REPO}/resolve/v9/README.md", 404),
    ],
)
def test_rights(hub, made, token, method, path, status):
    body = b'{"organization": "org", "name": "New", "type": "dataset", "tag": "v1"}' if method == "POST" else None
    assert ask(hub, path, token, method, body)[0] == status
    assert hub.repo(REPO).tags == {}


def test_a_gated_repository_shows_its_files_to_its_owners_only(hub, made):
    made.update_repo_settings(REPO, repo_type="dataset", private=False, gated="auto")
    status, headers, _ = ask(hub, FILE, "hf_other")
    assert (status, headers["X-Error-Code"]) == (403, "GatedRepo")
    assert ask(hub, FILE, "hf_reader")[0] == 200
    assert ask(hub, f"/api/datasets/{REPO}", "hf_other")[0] == 200


def test_another_server_on_the_folder_goes_on(tmp_path, hub, made):
    made.create_tag(REPO, tag="v1.0", repo_type="dataset")
    commit(made, add("b.txt", b"b"), create_pr=True)
    before = hub.repo(REPO)
    with Hub(tmp_path / "hub") as second:
        assert second.repo(REPO) == before
        assert second.read(REPO, "data/a.parquet", "v1.0") == BYTES


@given(st.binary(max_size=50), st.integers(0, 60), st.integers(0, 60))
def test_ranges_are_slices(data, first, last):
    def part(wanted):
        start, length = part_of(len(data), wanted)
        return data[start : start + length]

    assert part(f"bytes={first}-{last}") == data[first : last + 1]
    assert part(f"bytes={first}-") == data[first:]
    assert part(f"bytes=-{last}") == (data[-last:] if last else b"")
    assert part_of(len(data), f"bytes={first}-{last},0-1") is None


def test_a_range_is_sent_and_counted(hub, made):
    hub.forget()
    status, headers, data = ask(hub, FILE, Range="bytes=3-12")
    assert (status, data, headers["Content-Range"]) == (206, BYTES[3:13], "bytes 3-12/10000")
    deadline = time.monotonic() + 10  # bytes are counted once they are written, which the reader may see first
    while not hub.requests[0].sent and time.monotonic() < deadline:
        time.sleep(0.01)
    assert hub.figures()["resolve"] == {"requests": 1, "received": 0, "head": hub.requests[0].head, "sent": 10}
    assert ask(hub, FILE, Range="bytes=10000-")[0] == 416
    raw = http.client.HTTPConnection(hub.url.removeprefix("http://"), timeout=10)
    raw.request("GET", FILE, headers={"authorization": "Bearer hf_test", "range": "bytes=0-4"})  # as some clients do
    assert raw.getresponse().read() == BYTES[:5]
    raw.close()


COMMIT = f"/api/datasets/{REPO}/commit/main"


def change(hub, **more):
    """A raw commit of one file; returns the status."""
    lines = [{"key": "header", "value": {"summary": "raw", **more}}]
    lines.append({"key": "file", "value": {"path": "new.txt", "content": "bmV3", "encoding": "base64"}})
    body = "\n".join(json.dumps(line) for line in lines).encode()
    return ask(hub, COMMIT, method="POST", body=body)


GONE = (ConnectionResetError, http.client.RemoteDisconnected, http.client.BadStatusLine)


@pytest.mark.parametrize(
    ("kind", "status", "took_effect"),
    [
        ("error", 503, False),
        ("error-after", 503, True),
        ("limit", 429, False),
        ("expire", 401, False),
        ("stale", 412, False),
        ("slow", 200, True),
        ("reset-before", None, False),
        ("reset-upload", None, False),
        ("reset-after", None, True),
        ("reset-download", None, True),
    ],
)
def test_a_fault_that_strikes_a_commit(hub, made, kind, status, took_effect):
    head = hub.repo(REPO).head
    hub.faults.plan(Fault(kind, path=".*/commit/.*", seconds=0.01))
    try:
        answer = change(hub)
    except (*GONE, urllib.error.URLError) as error:
        reason = getattr(error, "reason", error)
        assert isinstance(reason, GONE)
        assert status is None
    else:
        assert answer[0] == status
        if kind == "limit":
            assert answer[1]["Retry-After"] == "0.01"
    assert (hub.repo(REPO).head != head) == took_effect
    assert hub.requests[-1].fault == kind
    assert hub.faults.waiting() == 0


@pytest.mark.parametrize("kind", ["truncated", "short", "reset-download"])
def test_half_a_download(hub, made, kind):
    hub.faults.plan(Fault(kind, path=FILE))
    if kind == "short":
        assert ask(hub, FILE)[2] == BYTES[:5000]
    else:
        with pytest.raises((http.client.IncompleteRead, ConnectionResetError)):
            ask(hub, FILE)
    assert ask(hub, FILE)[2] == BYTES


def test_a_stale_branch_is_the_commit_before(hub, made):
    before, commit_id = (c.id for c in hub.repo(REPO).history()[1::-1])
    hub.faults.plan(Fault("stale", path="/api/.*"))
    seen = [made.repo_info(REPO, repo_type="dataset").sha for _ in range(2)]
    assert seen == [before, commit_id]


def test_an_expired_token_stays_expired_until_it_is_renewed(hub, made):
    hub.faults.restart("tester")
    hub.faults.plan(Fault("expire", number=2, account="tester"))
    assert [ask(hub, FILE)[0] for _ in range(4)] == [200, 401, 401, 401]
    assert ask(hub, FILE, "hf_reader")[0] == 200  # the others go on
    hub.faults.renew("tester")
    assert ask(hub, FILE)[0] == 200


def test_uploads_count_as_those_of_the_account_that_asked_for_them(hub, api):
    api.create_repo(REPO, repo_type="dataset")
    hub.forget()
    hub.faults.plan(Fault("reset-upload", account="tester", method="PUT"))
    commit(api, add("data/a.parquet", BYTES))  # the client sends it a second time
    puts = [r for r in hub.requests if r.kind == "lfs"]
    assert [(r.account, r.fault, r.status) for r in puts] == [("tester", "reset-upload", 0), ("tester", "", 200)]
    assert hub.read(REPO, "data/a.parquet") == BYTES


@pytest.mark.parametrize("kind", ["kill", "kill-after"])
def test_a_client_is_killed_at_a_request(hub, made, kind):
    code = "import sys, urllib.request as u; h = {'Authorization': 'Bearer hf_test'}\n"
    code += "u.urlopen(u.Request(sys.argv[1], b'{\"tag\": \"v1\"}', h, method='POST'))"
    client = subprocess.Popen([sys.executable, "-c", code, f"{hub.url}/api/datasets/{REPO}/tag/main"])
    hub.faults.plan(Fault(kind, path=".*/tag/.*", pid=client.pid))
    assert client.wait(20) == -signal.SIGKILL
    assert ("v1" in hub.repo(REPO).tags) == (kind == "kill-after")


def test_drawn_faults():
    import random

    def draw(seed):
        rng = random.Random(seed)
        return [drawn(rng, 20, account="tester") for _ in range(500)]

    assert draw(1) == draw(1) != draw(2)
    assert {f.kind for f in draw(1)} == set(KINDS)
    assert {f.number for f in draw(1)} == set(range(1, 21))
    with pytest.raises(ValueError, match=r"no fault 'flood'; allowed: error,"):
        Fault("flood")


def test_as_a_process_of_its_own(tmp_path):
    command = [sys.executable, "-m", "hub", str(tmp_path / "hub")]
    with subprocess.Popen(command, cwd=Path(__file__).parent, stdout=subprocess.PIPE, text=True) as server:
        try:
            url = server.stdout.readline().strip()

            def order(path, body=None):
                data = None if body is None else json.dumps(body).encode()
                with urllib.request.urlopen(f"{url}/_control/{path}", data, timeout=10) as answer:
                    return json.loads(answer.read())

            order("faults", [{"kind": "error", "status": 500}])
            with pytest.raises(urllib.error.HTTPError) as refused:
                urllib.request.urlopen(f"{url}/api/whoami-v2", timeout=10)
            with refused.value as error:
                assert error.code == 500
            assert [(r["kind"], r["fault"]) for r in order("requests")] == [("whoami", "error")]
            assert order("figures")["whoami"]["requests"] == 1
        finally:
            os.kill(server.pid, signal.SIGTERM)


@pytest.mark.parametrize("name", ["hub", "hub.faults", "hub.server", "hub.wire"])
def test_examples(name):
    found = doctest.testmod(importlib.import_module(name))
    assert found.attempted
    assert not found.failed
