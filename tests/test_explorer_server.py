"""The explorer's server over real connections: who is let in, what is refused and how, decisions, broken releases."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from explorer_stage import HOSTILE, SCRIPT, TOKEN, Served, decision, hostile_release, serving

from thermvision.annotations.errors import UsageError
from thermvision.curation.reviews.decisions import append, decide, read_decisions
from thermvision.curation.sources import ReleaseSource
from thermvision.dataset_card.explorer import connections, exhibit, security
from thermvision.dataset_card.explorer.page_files import page_files
from thermvision.dataset_card.explorer.server import listen
from thermvision_db import main

PASSWD = "../../../../../../etc/passwd"
TRAVERSALS = (
    PASSWD, "..%2f..%2f..%2fetc%2fpasswd", "%2e%2e/%2e%2e/etc/passwd", "%252e%252e%252fetc%252fpasswd",
    "..%5c..%5cetc%5cpasswd", "..\\..\\etc\\passwd", "....//....//etc/passwd", "..;/..;/etc/passwd", "/etc/passwd",
    "//etc/passwd", "%2fetc%2fpasswd", "file:///etc/passwd", "index.html%00.js", "%00", ".", "..", "./index.html",
    "a/../index.html", "%c0%ae%c0%ae/etc/passwd", "%e0%80%ae%e0%80%ae/", "%ef%bc%8e%ef%bc%8e/", "%u002e%u002e/",
    ".git/config", "__pycache__", "../server.py", "..%2fserver.py", "data", "data/", "data//about.json",
    "data/a", "data/a/", "data/a/media/", "data/a/media/0.mp4/", "data/a/media/../../about.json",
    "data/a/media/..%2f..%2fabout.json", "data/a/thumb/0/../../../../release.json", "data/a/release.json",
    "data/figure/../release.json", "data/figure/..%2frelease.json", "data/figure/%2e%2e%2frelease.json",
    "data/figure/..", "data/figure/.hidden.png", "data/figure/release.json", "data/a/shard/data/video/x.parquet",
    "a" * 300, "x" * 3000, "a/" * 500,
)  # fmt: skip
BAD_KEYS = (
    "-1", "99999", "999999999999999999999", "1.5", "1e3", "NaN", "inf", "0x1", "+1", "1_0", "١", "", "0 ", "null",
    "0;1", "true",
)  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Maps of identities are kept elsewhere than the user's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("THERMVISION_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return hostile_release(tmp_path_factory.mktemp("hostile") / "release")


@pytest.fixture(scope="module")
def served(hostile: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(hostile, tmp_path_factory.mktemp("table") / "decisions.jsonl") as one:
        yield one


def items(one: Served, query: str = "limit=500") -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = one.get(f"data/a/items.json?{query}").json["items"]
    return found


def refused(answer: Any, status: int) -> str:
    assert answer.status == status, (answer.status, answer.body[:300])
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["cache-control"] == "no-store"
    assert set(answer.json) == {"error"}
    assert answer.json["error"]
    assert "Traceback" not in answer.json["error"]
    assert answer.headers["content-security-policy"].startswith("default-src 'none'")
    return str(answer.json["error"])


def test_every_address_of_the_contract_answers(oval_release: Path, tmp_path: Path) -> None:
    with serving(oval_release, tmp_path / "decisions.jsonl", who="Ana") as one:
        page = one.get("")
        assert page.status == 200
        assert page.headers["content-type"] == "text/html; charset=utf-8"
        assert page.body == one.get("index.html").body == page_files()["index.html"].read_bytes()
        about = one.get("data/about.json").json
        assert (about["mode"], about["state"], about["who"], about["sides"]["a"]["items"]) == (
            "live",
            "whole",
            "Ana",
            14,
        )
        assert about["palettes"].keys() >= {"white-hot", "iron"}
        assert len(about["palettes"]["iron"]) == 1024
        clip = next(i for i in items(one) if i["kind"] == "clip")
        heated = next(i for i in items(one) if i["id"] == "P_000000_frontal_pose_0")
        for path, kind in (
            (f"media/{clip['key']}.mp4", "video/mp4"), (f"media/{heated['key']}.png", "image/png"),
            (f"frame/{clip['key']}/3.png", "image/png"), (f"thumb/{clip['key']}/3.jpg", "image/jpeg"),
            (f"heat/{heated['key']}/0.bin", "application/octet-stream"),
            (f"item/{clip['key']}.json", "application/json"),
            ("map.json", "application/json"), ("items.json?facets=1", "application/json"),
        ):  # fmt: skip
            answer = one.get(f"data/a/{path}")
            assert (answer.status, answer.headers["content-type"]) == (200, kind), (path, answer.body[:200])
            assert one.raw("HEAD", f"/{TOKEN}/data/a/{path}").body == b""
        for name in ("findings", "decisions", "figures"):
            assert one.get(f"data/{name}.json").status == 200
        record = one.get(f"data/a/item/{clip['key']}.json").json
        assert record["media"]["bytes"] == len(one.get(record["media"]["url"]).body)
        for missing in (
            "media/0.png",
            "frame/0/12.png",
            "heat/0/0.bin",
            "thumb/13/1.jpg",
            "../b/items.json",
            "nothing.json",
        ):
            refused(one.get(f"data/a/{missing}"), 404)
        assert "there is no release 'b'" in refused(one.get("data/b/items.json"), 404)


def test_pictures_are_asked_for_again_and_not_sent_again(served: Served) -> None:
    first = served.get("data/a/thumb/0/1.jpg")
    tag = first.headers["etag"]
    assert first.headers["cache-control"] == "private, no-cache"
    again = served.get("data/a/thumb/0/1.jpg", {"If-None-Match": tag})
    assert (again.status, again.body, again.headers["etag"]) == (304, b"", tag)
    tags = {served.get(f"data/a/{p}").headers["etag"] for p in ("thumb/0/2.jpg", "frame/0/1.png", "thumb/1/1.jpg")}
    assert len(tags | {tag}) == 4
    assert served.get("data/about.json").headers["cache-control"] == "no-store"


def test_only_the_whole_token_is_let_in(served: Served) -> None:
    said = set()
    for token in (
        "",
        "x",
        TOKEN[:-1],
        TOKEN + "x",
        TOKEN.upper(),
        "%74oken-of-the-tests",
        f"./{TOKEN}",
        f"x/../{TOKEN}",
    ):
        for path in ("", "/", "/data/about.json", "/nothing"):
            said.add(refused(served.raw("GET", f"/{token}{path}"), 404))
            refused(served.raw("POST", f"/{token}{path}", "{}"), 404)
    assert said == {"not found"}
    bare = served.raw("GET", f"/{TOKEN}")
    assert (bare.status, bare.headers["location"]) == (307, f"/{TOKEN}/")


def test_names_that_point_here_are_not_let_in(served: Served) -> None:
    path = f"/{TOKEN}/data/about.json"
    assert served.raw("GET", path, headers={"Host": f"localhost:{served.port}"}).status == 200
    for host in (
        "evil.example", f"evil.example:{served.port}", "127.0.0.1", "127.0.0.1:1", f"127.0.0.1.nip.io:{served.port}",
        "",
        f"localhost.evil.example:{served.port}", f"127.1:{served.port}", f"user@127.0.0.1:{served.port}",
    ):  # fmt: skip
        refused(served.raw("GET", path, headers={"Host": host}), 421)
    twice = served.send(
        f"GET {path} HTTP/1.1\r\nHost: {served.host}\r\nHost: evil.example\r\nConnection: close\r\n\r\n".encode()
    )
    assert twice.startswith(b"HTTP/1.1 4")


def test_decisions_come_from_the_own_page_only(served: Served) -> None:
    said = decision(items(served)[0])
    for origin in (
        "http://evil.example",
        "null",
        "",
        f"https://{served.host}",
        f"http://{served.host}.evil",
        "http://127.0.0.1:1",
    ):
        refused(served.post(said, {"Origin": origin}), 403)
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "", "application/jsonp"):
        refused(served.post(said, {"Content-Type": kind}), 415)
    without = served.raw(
        "POST", f"/{TOKEN}/data/decisions.json", json.dumps(said), {"Content-Type": "application/json"}
    )
    assert "missing" in refused(without, 403)
    assert not served.exhibit.reviewing.path.exists()


@pytest.mark.parametrize("path", TRAVERSALS)
def test_no_path_leads_out(served: Served, path: str) -> None:
    answer = served.raw("GET", f"/{TOKEN}/{path}")
    assert answer.status in (404, 400), (answer.status, answer.body[:200])
    assert set(answer.json) == {"error"}
    assert b"root:" not in answer.body
    without_token = served.raw("GET", f"/{path}")
    assert without_token.status in (404, 400)
    assert b"root:" not in without_token.body


@pytest.mark.parametrize("key", BAD_KEYS)
def test_bad_keys_are_no_items(served: Served, key: str) -> None:
    from urllib.parse import quote

    for path in (
        f"item/{quote(key)}.json",
        f"media/{quote(key)}.mp4",
        f"thumb/{quote(key)}/0.jpg",
        f"frame/0/{quote(key)}.png",
    ):
        refused(served.get(f"data/a/{path}"), 404)


def test_bad_queries_say_what_is_allowed(served: Served) -> None:
    for query, word in (
        ("split=tset", "train, validation, test"), ("nothing=1", "allowed"), ("yaw_min=NaN", "yaw_min"),
        ("yaw_min=inf", "yaw_min"), ("limit=501", "limit"), ("limit=-1", "limit"), ("offset=1e99", "offset"),
        ("sort=id;drop", "sort"), ("source=nobody", "allowed"), ("q=a&q=b", "once"), ("desc=maybe", "desc"),
        ("__proto__=1", "allowed"), ("q=" + "x" * 201, "q"),
    ):  # fmt: skip
        assert word in refused(served.get(f"data/a/items.json?{query}"), 422), query
    assert "200 values" in refused(served.get("data/a/items.json?" + "split=train&" * 201), 422)
    assert "UTF-8" in refused(served.get("data/a/items.json?q=%ff%fe"), 422)
    assert "address" in refused(served.get("data/a/items.json?q=" + "x" * 9000), 414)
    found = served.get("data/a/items.json?q=%27%3B%20DROP%20TABLE&facets=1").json
    assert [i["id"] for i in found["items"]] == [HOSTILE[1]]
    assert len(items(served)) == len(HOSTILE) + 3


def test_hostile_text_stays_text(served: Served) -> None:
    shown = items(served)
    assert [i["id"] for i in shown if i["kind"] == "still"] == list(HOSTILE)
    for item in shown:
        answer = served.get(f"data/a/item/{item['key']}.json")
        assert answer.status == 200
        assert answer.headers["x-content-type-options"] == "nosniff"
        if item["kind"] == "still":
            assert answer.json["provenance"]["spec"]["prompt"] == item["id"]
    script = next(i for i in shown if i["id"] == SCRIPT)
    made = served.post(decision(script, action="tag", value=SCRIPT, why=SCRIPT, who=SCRIPT))
    assert made.status == 201
    assert made.headers["content-type"] == "application/json"
    assert items(served, "decision=tag")[0]["tags"] == [SCRIPT]
    page = served.get("")
    assert SCRIPT.encode() not in page.body
    policy = page.headers["content-security-policy"]
    assert "script-src 'self';" in policy
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    served.exhibit.reviewing.path.unlink()


def test_methods_and_bodies_are_bounded(served: Served) -> None:
    path = f"/{TOKEN}/data/decisions.json"
    for method in ("PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "PROPFIND"):
        assert served.raw(method, path).status in (400, 405), method
    refused(
        served.raw(
            "POST",
            f"/{TOKEN}/data/about.json",
            "{}",
            {"Origin": f"http://{served.host}", "Content-Type": "application/json"},
        ),
        405,
    )
    large = json.dumps(decision(items(served)[0], why="x" * 70_000))
    assert "65536" in refused(served.post(large), 413)
    host = f"Host: {served.host}\r\nOrigin: http://{served.host}\r\nContent-Type: application/json\r\n"
    chunk = b"10000\r\n" + b" " * 65536 + b"\r\n"
    head = f"POST {path} HTTP/1.1\r\n{host}Transfer-Encoding: chunked\r\n\r\n".encode()
    assert b" 413 " in served.send(head + chunk * 3 + b"0\r\n\r\n").split(b"\r\n")[0]
    said = b"Content-Length: 99999999999\r\n\r\n"
    assert b" 413 " in served.send(f"POST {path} HTTP/1.1\r\n{host}".encode() + said).split(b"\r\n")[0]
    for body, status in (
        ("", 400), ("{", 400), ("[]", 422), ("1", 422), ('"x"', 422), ("null", 422), ('{"key": NaN}', 400),
        ("[" * 30_000, 400), ('{"a":' * 10_000 + "1" + "}" * 10_000, 400), (b"\xff\xfe", 400), (b"\x00", 400),
        ("{}", 422), ('{"side": "a", "key": 1e999}', 422),
    ):  # fmt: skip
        refused(served.post(body), status)
    assert not served.exhibit.reviewing.path.exists()


def test_a_body_that_does_not_come_leaves_no_trace(served: Served, caplog: pytest.LogCaptureFixture) -> None:
    head = (
        f"POST /{TOKEN}/data/decisions.json HTTP/1.1\r\nHost: {served.host}\r\nOrigin: http://{served.host}\r\n"
        "Content-Type: application/json\r\nContent-Length: 9\r\n"
    )
    with socket.create_connection(("127.0.0.1", served.port)) as connection:
        connection.sendall(f"{head}\r\n{{".encode())
    time.sleep(0.3)
    assert served.get("data/about.json").status == 200
    assert caplog.text == ""
    answer = served.send(f"{head}Transfer-Encoding: chunked\r\n\r\n2\r\n{{}}\r\n0\r\n\r\n".encode())
    assert b" 400 " in answer.split(b"\r\n")[0]
    assert b"both Content-Length and Transfer-Encoding" in answer


def test_heads_are_bounded_and_broken_ones_refused(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    path = f"/{TOKEN}/data/about.json"
    many = b"".join(b"X-%d: %b\r\n" % (n, b"y" * 1000) for n in range(60))
    large = f"GET {path} HTTP/1.1\r\nHost: {served.host}\r\n".encode() + many + b"\r\n"
    assert served.send(large).split(b" ")[1] in (b"400", b"431")  # as it comes in pieces or at once
    for data in (
        b"GET\r\n\r\n", b"\x16\x03\x01\x02\x00" * 50, b"GET " + b"/" * 40_000,
        b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", b"GET /a b HTTP/1.1\r\n\r\n",
    ):  # fmt: skip
        answer = served.send(data)
        assert answer.startswith(b"HTTP/1.1 400 "), (data[:40], answer[:200])
        assert b'{"error"' in answer
    monkeypatch.setattr(connections, "HEAD_SECONDS", 0.3)
    start = time.monotonic()
    assert served.send(b"GET /slow").startswith(b"HTTP/1.1 408 ")
    assert served.send(b"").startswith(b"HTTP/1.1 408 ")
    assert time.monotonic() - start < 5
    monkeypatch.setattr(connections, "MAX_CONNECTIONS", 3)
    held = [socket.create_connection(("127.0.0.1", served.port)) for _ in range(3)]
    time.sleep(0.1)
    assert served.send(b"GET / HTTP/1.1\r\n").startswith(b"HTTP/1.1 503 ")
    for one in held:
        one.close()
    upgrade = f"GET {path} HTTP/1.1\r\nHost: {served.host}\r\nConnection: Upgrade, close\r\nUpgrade: websocket\r\n\r\n"
    time.sleep(0.2)
    assert served.send(upgrade.encode()).startswith(b"HTTP/1.1 200 ")  # as a request like any other


def test_a_kept_connection_serves_many_requests(served: Served) -> None:
    import http.client

    connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=10)
    for n in range(20):
        connection.request("GET", f"/{TOKEN}/data/a/thumb/0/{n % 12}.jpg")
        answer = connection.getresponse()
        assert answer.status == 200
        assert answer.read().startswith(b"\xff\xd8")
    connection.close()


def test_decisions_are_saved_at_once_and_shown(oval_release: Path, tmp_path: Path) -> None:
    table = tmp_path / "decisions.jsonl"
    with serving(oval_release, table) as one:
        clip, still = items(one)[0], items(one, "config=image")[0]
        made = one.post(decision(clip, action="reject", first_frame=3, last_frame=5, why="blurred"))
        assert made.status == 201
        kept = read_decisions(table)[0]
        assert kept[0].model_dump() == made.json["decision"]
        assert kept[0].frames == (3, 5)
        assert kept[0].digest == ReleaseSource(oval_release).digest
        assert kept[0].version == "1.0"
        box = one.post(decision(still, action="relabel", column="bbox", value=[1, 2, 30, 40.5])).json["decision"]
        one.post(decision(still, action="accept", supersedes=box["decision_id"], why="was right"))
        assert one.get(f"data/a/item/{still['key']}.json").json["decisions"][0]["value"] == [1, 2, 30, 40.5]
        assert [i["id"] for i in items(one, "decision=reject")] == [clip["id"]]
        assert items(one, "decision=accept")[0]["decision"] == "accept"
        assert items(one, "decision=relabel") == []
        told = one.get("data/decisions.json").json
        assert [d["superseded_by"] for d in told["decisions"]] == [None, told["decisions"][2]["decision_id"], None]
        assert next((d["side"], d["key"], d["of"]) for d in told["decisions"]) == ("a", clip["key"], "this")
        source = ReleaseSource(oval_release)
        by = {"version": "1.0", "digest": source.digest}
        append(table, [decide(clip["id"], "accept", who="Bea", why="sharp", frames=(4, 4), **by)])
        append(table, [decide(clip["id"], "reject", who="Bea", why="old", version="0.9", digest="1" * 16)])
        with table.open("ab") as file:
            file.write(b'{"item_id": "P_0')
        told = one.get("data/decisions.json").json
        assert len(told["decisions"]) == 5
        assert told["decisions"][-1]["of"] == "another version"
        assert len(told["torn"]) == 1
        assert "cut short" in told["torn"][0]["message"]
        assert len(told["conflicts"]) == 1
        assert told["conflicts"][0]["later"]["who"] == "Bea"
        one.post(decision(still, action="tag", value="nice"))
        assert len(read_decisions(table)[0]) == 6  # the torn line swallowed nothing


def test_what_decide_refuses_is_refused(oval_release: Path, tmp_path: Path) -> None:
    table = tmp_path / "decisions.jsonl"
    with serving(oval_release, table) as one:
        clip = items(one)[0]
        for more, status, word in (
            ({"action": "destroy"}, 422, "accept, reject"), ({"why": ""}, 422, "why"),
            ({"why": "x" * 2001}, 422, "why"),
            ({"who": None}, 422, "who"), ({"who": "x" * 201}, 422, "who"), ({"first_frame": 3}, 422, "go together"),
            ({"first_frame": 3, "last_frame": 12}, 422, "0 to 11"),
            ({"first_frame": 5, "last_frame": 3}, 422, "backwards"),
            ({"first_frame": -1, "last_frame": 3}, 422, "first_frame"),
            ({"first_frame": True, "last_frame": 3}, 422, "frame"),
            ({"action": "relabel"}, 422, "column"),
            ({"action": "relabel", "column": "provenance", "value": 1}, 422, "allowed"),
            ({"action": "relabel", "column": "bbox", "value": [0, 0, -1, 5]}, 422, "area"),
            ({"action": "relabel", "column": "bbox", "value": [900, 0, 9, 5]}, 422, "outside"),
            ({"action": "relabel", "column": "expression", "value": "angry"}, 422, "neutral"),
            ({"action": "relabel", "column": "glasses", "value": "none", "first_frame": 0, "last_frame": 1}, 422,
            "whole"),
            ({"action": "tag"}, 422, "tag"), ({"action": "tag", "value": {"a": 1}}, 422, "tag"),
            ({"value": 1}, 422, "value"),
            ({"supersedes": "0" * 16}, 422, "take back"), ({"supersedes": "x"}, 422, "supersedes"),
            ({"extra": 1}, 422, "extra"),
            ({"key": 99}, 404, "no item"), ({"key": -1}, 404, "no item"), ({"key": 1.0}, 422, "key"),
            ({"key": "0"}, 422, "key"),
            ({"why": "\ud800"}, 422, "no JSON"), ({"action": "tag", "value": "\ud800"}, 422, "no JSON"),
            ({"side": "b"}, 404, "release"), ({"side": None}, 404, "release"), ({"side": ["a"]}, 422, "side"),
            ({"item_id": "another"}, 409, "reload"), ({"item_id": 3}, 422, "item_id"), ({"who": ["Ana"]}, 422, "who"),
        ):  # fmt: skip
            assert word in refused(one.post(decision(clip, **more)), status), more
        assert not table.exists() or read_decisions(table)[0] == []
    with serving(oval_release, table, read_only=True) as one:
        assert one.get("data/about.json").json["read_only"] is True
        assert "read-only" in refused(one.post(decision(items(one)[0])), 422)
    with serving(oval_release, table, who="Ana") as one:
        made = one.post(decision(items(one)[0], who="somebody else")).json["decision"]
        assert made["who"] == "Ana"


def test_a_table_that_cannot_be_used_is_told(
    oval_release: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = tmp_path / "decisions.jsonl"
    with serving(oval_release, table) as one:
        clip = items(one)[0]
        assert one.post(decision(clip)).status == 201
        before = table.read_bytes()
        table.write_bytes(before.replace(b"sharp", b"sharq"))
        told = one.get("data/decisions.json").json
        assert "was changed" in told["problem"]
        assert len(told["decisions"]) == 1
        assert any(p["code"] == "decisions" for p in one.get("data/about.json").json["problems"])
        assert "nothing was added" in refused(one.post(decision(clip, why="again")), 422)
        table.write_bytes(before)
        assert one.get("data/decisions.json").json["problem"] is None

        def full(*_: Any) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(os, "fsync", full)
        assert "disk is full" in refused(one.post(decision(clip, why="once more")), 507)
        monkeypatch.undo()
        table.unlink()
        table.mkdir()
        assert "is a folder" in refused(one.post(decision(clip)), 422)
        table.rmdir()
        os.mkfifo(table)
        assert "is no file; allowed" in refused(one.post(decision(clip)), 422)
        assert one.get("data/a/items.json").status == 200


def test_the_unexpected_is_words_here_and_a_trace_in_the_log(
    served: Served, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: Any) -> None:
        raise ZeroDivisionError("/secret/path")

    monkeypatch.setattr(exhibit.Exhibit, "findings", broken)
    assert "secret" not in refused(served.get("data/findings.json"), 500)
    assert "ZeroDivisionError: /secret/path" in caplog.text


def test_broken_shards_cost_only_what_is_theirs(
    oval_release: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exhibit, "POLL_SECONDS", 0.0)
    root = Path(shutil.copytree(oval_release, tmp_path / "release"))
    video = next((root / "data/video").glob("train-*"))
    still = next((root / "data/image/beard").glob("*.parquet"))
    video.write_bytes(b"PAR1 no more")
    with serving(root, tmp_path / "decisions.jsonl") as one:
        about = one.get("data/about.json").json
        assert about["sides"]["a"]["items"] == 12
        assert [(p["code"], p["path"]) for p in about["problems"]] == [
            ("shard-broken", video.relative_to(root).as_posix())
        ]
        beard = items(one, "category=beard")[0]
        assert one.get(f"data/a/media/{beard['key']}.png").status == 200
        other = items(one, "category=head_poses")[0]
        data = still.read_bytes()
        still.write_bytes(data[: len(data) // 2])
        one.exhibit.sides["a"].catalogue.refresh = lambda: False  # type: ignore[method-assign]
        for path in (f"media/{beard['key']}.png", f"thumb/{beard['key']}/0.jpg", f"item/{beard['key']}.json"):
            refused(one.get(f"data/a/{path}"), 500)
        still.unlink()
        assert "not there" in refused(one.get(f"data/a/media/{beard['key']}.png"), 500)
        assert one.get(f"data/a/media/{other['key']}.png").status == 200
        still.symlink_to("/etc/passwd")
        assert "leads out" in refused(one.get(f"data/a/media/{beard['key']}.png"), 500)
        del one.exhibit.sides["a"].catalogue.refresh  # type: ignore[attr-defined]
        generation = one.get("data/about.json").json["generation"]
        assert generation > about["generation"]
        assert len(items(one)) == 10
        shutil.rmtree(root)
        answer = one.get("data/about.json")
        assert answer.status == 200
        assert answer.json["problems"]
        refused(one.get("data/a/thumb/0/0.jpg"), 500)


def test_a_release_is_shown_while_it_is_built(
    oval_release: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exhibit, "POLL_SECONDS", 0.0)
    root = tmp_path / "release"
    shutil.copytree(oval_release / "data/video", root / "data/video")
    (root / ".build").mkdir()
    with serving(root, tmp_path / "decisions.jsonl") as one:
        about = one.get("data/about.json").json
        assert about["state"] == "building"
        assert "thermvision build" in about["next"]
        assert about["sides"]["a"]["items"] == 4
        clip = items(one)[0]
        assert one.get(f"data/a/thumb/{clip['key']}/0.jpg").status == 200
        assert "being built" in refused(one.post(decision(clip)), 409)
        assert one.get("data/a/map.json").json["state"] == "unavailable"
        shutil.copytree(oval_release / "data/image", root / "data/image")
        grown = one.get("data/about.json").json
        assert grown["generation"] > about["generation"]
        assert grown["sides"]["a"]["items"] == 14
        shutil.copytree(oval_release, root, dirs_exist_ok=True)
        shutil.rmtree(root / ".build")
        done = one.get("data/about.json").json
        assert (done["state"], done["sides"]["a"]["version"], done["next"]) == ("whole", "1.0", "")
        assert one.post(decision(items(one)[0])).status == 201


def test_two_versions_stand_side_by_side(oval_release: Path, hostile: Path, tmp_path: Path) -> None:
    with serving(oval_release, tmp_path / "decisions.jsonl", against=oval_release) as one:
        assert {i["change"] for i in items(one)} == {"same"}
        record = one.get("data/a/item/3.json").json
        assert record["other"] == 3
        assert record["changed_columns"] == []
    with serving(oval_release, tmp_path / "decisions.jsonl", against=hostile) as one:
        about = one.get("data/about.json").json
        assert about["sides"].keys() == {"a", "b"}
        assert about["sides"]["b"]["items"] == len(HOSTILE) + 3
        assert {i["change"] for i in items(one)} == {"added"}
        assert {i["change"] for i in one.get("data/b/items.json").json["items"]} == {"removed"}
        one.post(decision(one.get("data/b/items.json").json["items"][0], side="b"))
        assert one.get("data/decisions.json").json["decisions"][0]["side"] == "b"


def test_many_clients_at_once_and_slow_ones_hold_nobody_up(served: Served) -> None:
    slow = [socket.create_connection(("127.0.0.1", served.port)) for _ in range(30)]
    for connection in slow:
        connection.sendall(f"POST /{TOKEN}/data/decisions.json HTTP/1.1\r\nHost: {served.host}\r\n".encode())
    failed: list[Any] = []

    def client(number: int) -> None:
        for n in range(6):
            for path in (
                "data/about.json",
                f"data/a/items.json?offset={n}",
                f"data/a/thumb/{number % 2}/{n}.jpg",
                "data/a/media/0.mp4",
            ):
                answer = served.get(path)
                if answer.status != 200:
                    failed.append((path, answer.status))

    threads = [threading.Thread(target=client, args=(n,)) for n in range(20)]
    start = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not failed
    assert time.monotonic() - start < 30
    for connection in slow:
        connection.close()


def test_ports_fall_through_and_taken_ones_are_told() -> None:
    first = listen("127.0.0.1", None)
    second = listen("127.0.0.1", None)
    taken = first.getsockname()[1]
    assert second.getsockname()[1] != taken
    with pytest.raises(UsageError, match=f"--port {taken}"):
        listen("127.0.0.1", taken)
    with pytest.raises(UsageError, match="--host"):
        listen("192.0.2.1", 0)
    first.close()
    second.close()


def test_hosts_that_a_server_answers_to() -> None:
    assert security.host_names("0.0.0.0", 80) >= {"127.0.0.1:80", "localhost", "localhost:80"}
    assert security.host_names("::1", 9) == {"[::1]:9", "localhost:9"}


def run_view(arguments: list[str], cwd: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "thermvision_db", "view", *arguments]
    return subprocess.Popen(command, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.slow
def test_an_error_at_the_start_ends_without_a_crash(oval_release: Path, tmp_path: Path) -> None:
    # threads that were still reading the release when Python ended made it abort, with a core and another status
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        for more in (["--port", str(taken.getsockname()[1])], ["--against", str(tmp_path)], ["--token", "a/b"]):
            with run_view([str(oval_release), *more], tmp_path) as process:
                said = process.communicate(timeout=30)[1]
            assert (process.returncode, said.count("\n")) == (2, 1), said


@pytest.mark.slow
def test_the_command_serves_until_it_is_interrupted(oval_release: Path, tmp_path: Path) -> None:
    with run_view([str(oval_release), "--port", "0", "--who", "Ana"], tmp_path) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        url = process.stdout.readline().strip()
        found = re.fullmatch(r"http://127\.0\.0\.1:(\d+)/([A-Za-z0-9_-]{22})/", url)
        assert found is not None
        import http.client

        connection = http.client.HTTPConnection("127.0.0.1", int(found[1]), timeout=20)
        connection.request("GET", f"/{found[2]}/data/about.json")
        assert json.loads(connection.getresponse().read())["who"] == "Ana"
        start = time.monotonic()
        process.send_signal(signal.SIGINT)  # with the connection open
        assert process.wait(20) == 0
        assert time.monotonic() - start < 10
        assert process.stderr.read() == "Ctrl-C ends it.\n"
        connection.close()


def test_the_command_refuses_with_words(
    oval_release: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    release = str(oval_release)
    for arguments, code, word in (
        ([str(tmp_path / "none")], 2, "build one"), ([release, "--token", "a/b"], 2, "--token"),
        ([release, "--against", str(tmp_path)], 2, "no release"), ([release, "--host", "192.0.2.1"], 2, "--host"),
        ([release, "--findings", str(tmp_path / "none")], 2, "none"), ([release, "--no-heat"], 2, "--static"),
        ([release, "--decisions", str(tmp_path)], 2, "is a folder"),
    ):  # fmt: skip
        assert main(["view", *arguments]) == code, arguments
        assert word in capsys.readouterr().err, arguments
    monkeypatch.setitem(sys.modules, "fastapi", None)
    assert main(["view", release]) == 3
    assert 'pip install -c constraints.txt -e ".[view]"' in capsys.readouterr().err
