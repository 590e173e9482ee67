"""The static export: it filters as the server does, holds what the server would answer, and is written whole or not."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode

import pytest
from explorer_stage import HOSTILE, SCRIPT, hostile_release, serving

from thermvision.annotations.errors import OutputError, UsageError
from thermvision.curation.reviews.decisions import append, decide
from thermvision.curation.sources import ReleaseSource
from thermvision.dataset_card.explorer.exhibit import Exhibit
from thermvision.dataset_card.explorer.filters import parse_query
from thermvision.dataset_card.explorer.page_files import FOLDER, page_files
from thermvision.dataset_card.explorer.reviewing import Reviewing
from thermvision.dataset_card.explorer.seen import SeenFinding
from thermvision.dataset_card.explorer.static_export import chosen_keys, export
from thermvision.dataset_card.explorer.static_table import static_table
from thermvision_db import main

QUERIES = (
    {}, {"q": "p_000000"}, {"q": "CLIP_"}, {"q": SCRIPT}, {"q": "漢"}, {"config": "video"},
    {"config": ["video", "scenes"]},
    {"gender": "male"}, {"gender": "unknown"}, {"gender": ["female", "unknown"]},
    {"config": "scenes", "gender": "male"},
    {"category": "mix"}, {"category": "unknown"}, {"glasses": "glasses", "beard": "none"}, {"sequence": "head_pose"},
    {"source": "unknown"}, {"source": [HOSTILE[1], "ground_truth"]}, {"subject": "P_000000"},
    {"subject": SCRIPT[:90]},
    {"expression": "smile"}, {"expression": ["smile", "talk"], "yaw_min": 9}, {"yaw_min": 9.3}, {"yaw_max": 9.3},
    {"yaw_min": -11, "yaw_max": 20, "pitch_min": -9}, {"roll_min": 0.5}, {"finding": "blur"},
    {"finding": ["blur", "repeat"], "yaw_min": 0}, {"finding": "repeat", "expression": "frown"},
    {"decision": "reject"},
    {"decision": ["none", "tag"]}, {"decision": "accept"}, {"change": "same"}, {"change": ["changed", "added"]},
    {"sort": "id"}, {"sort": "id", "desc": 1}, {"sort": "subject", "desc": 1}, {"sort": "yaw"},
    {"sort": "yaw", "desc": 1, "yaw_min": 3}, {"sort": "frames", "desc": 1},
    {"sort": "frames", "expression": "smile"},
    {"sort": "findings", "desc": 1}, {"desc": 1, "offset": 2, "limit": 3}, {"offset": 500}, {"limit": 0},
    {"split": "test"}, {"config": "scenes", "yaw_min": -60}, {"glasses": "class 7"}, {"headwear": "unknown"},
)  # fmt: skip
SCRIPT_OF_NODE = """
const { filterItems } = await import(process.argv[1]);
const { table, queries } = JSON.parse(require("fs").readFileSync(0));
console.log(JSON.stringify(queries.map((query) => filterItems(table, new URLSearchParams(query)))));
"""


def in_javascript(table: Any, queries: list[str]) -> list[Any]:
    """What `page/static_filter.js` answers, in node or, where there is none, in a browser."""
    module = FOLDER / "static_filter.js"
    given = json.dumps({"table": table, "queries": queries})
    if node := shutil.which("node"):
        script = SCRIPT_OF_NODE.replace('require("fs")', '(await import("fs"))')
        command = [node, "--input-type=module", "-e", script, module.as_uri()]
        run = subprocess.run(command, input=given, capture_output=True, text=True, check=True)
        answers: list[Any] = json.loads(run.stdout)
        return answers
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    api = pytest.importorskip("playwright.sync_api", reason="neither node nor a browser is there: apt install chromium")
    if browser is None:
        pytest.skip("neither node nor a browser is there: apt install chromium")
    with api.sync_playwright() as player:
        page = player.chromium.launch(executable_path=browser, args=["--no-sandbox", "--disable-gpu"]).new_page()
        page.add_script_tag(content=module.read_text().replace("export function", "window.filterItems = function"))
        ask = "({table, queries}) => queries.map((q) => window.filterItems(table, new URLSearchParams(q)))"
        found: list[Any] = page.evaluate(ask, json.loads(given))
        return found


@pytest.fixture(scope="module", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Maps of identities are kept elsewhere than the user's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("THERMVISION_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return hostile_release(tmp_path_factory.mktemp("hostile") / "release")


@pytest.fixture
def marked(hostile: Path, tmp_path: Path) -> Iterator[Exhibit]:
    """An exhibit with findings, decisions and changes."""
    table = tmp_path / "decisions.jsonl"
    by: dict[str, Any] = {"who": "Ana", "why": "seen", "version": "1.0", "digest": ReleaseSource(hostile).digest}
    append(table, [
        decide("clip_0", "reject", frames=(2, 4), **by), decide("clip_0", "tag", value="nice", **by),
        decide(HOSTILE[0], "accept", **by),
    ])  # fmt: skip
    exhibit = Exhibit(hostile, Reviewing(table), static=True)
    exhibit.wait()
    exhibit.sides["a"].put_findings([
        SeenFinding("clip_0", "blur", "soft", 2, 5, "check"),
        SeenFinding("clip_1", "repeat", "as before", 7, None, "check"),
        SeenFinding("clip_1", "blur", "soft", None, None, "audit"),
        SeenFinding(HOSTILE[2], "blur", "soft", 0, 0, "check"),
    ])  # fmt: skip
    exhibit.sides["a"].catalogue.put_changes({"clip_0": "same", "clip_1": "changed", HOSTILE[0]: "added"})
    yield exhibit
    exhibit.close()


def same(answer: dict[str, Any]) -> dict[str, Any]:
    """What both must say: a static page has the picture of the middle frame only."""
    keys = ("key", "id", "config", "kind", "subject", "gender", "category", "sequence", "split", "frames", "width",
            "height", "fps", "hit", "hits", "findings", "decision", "tags", "change")  # fmt: skip
    items = [{k: item[k] for k in keys} for item in answer["items"]]
    return {**{k: answer[k] for k in ("total", "frames", "offset")}, "items": items, "facets": answer["facets"]}


def test_the_page_filters_as_the_server_does(marked: Exhibit) -> None:
    catalogue = marked.sides["a"].catalogue
    table = json.loads(json.dumps(static_table(catalogue, 1)))
    asked = [urlencode({**query, "facets": 1}, doseq=True) for query in QUERIES]
    answers = in_javascript(table, asked)
    shown = 0
    for query, answer in zip(asked, answers, strict=True):
        expected = catalogue.find(parse_query(parse_qsl(query)))
        assert same(answer) == same(expected), query
        shown += bool(expected["total"])
    assert shown > 35  # queries that find nothing would agree too easily


def test_an_export_is_what_the_server_answers(marked: Exhibit, hostile: Path, tmp_path: Path) -> None:
    out = tmp_path / "page"
    made = export(marked, out)
    assert made.problems == ()
    assert made.items == len(HOSTILE) + 3
    found = {p.relative_to(out).as_posix(): p for p in out.rglob("*") if p.is_file()}
    assert made.files == len(found)
    assert made.bytes == sum(p.stat().st_size for p in found.values())
    for name, path in page_files().items():
        assert name in found
        assert name == "index.html" or path.read_bytes() == found[name].read_bytes()
    index = found["index.html"].read_text()
    assert index.index("Content-Security-Policy") < index.index("<script")
    assert "unsafe" not in index
    with serving(hostile, marked.reviewing.path) as live:
        for name, path in found.items():
            if name.startswith("data/a/") and "/item" not in name and "/map" not in name:
                answer = live.get(name)
                assert (answer.status, answer.body) == (200, path.read_bytes()), name
        for key in range(made.items):
            static, served = (
                json.loads(found[f"data/a/item/{key}.json"].read_text()), live.get(f"data/a/item/{key}.json").json,
            )  # fmt: skip
            assert (static["frames"], static["provenance"]) == (served["frames"], served["provenance"])
            assert static["media"]["frame_url"] is None
            assert f"data/a/thumb/{key}/{static['num_frames'] // 2}.jpg" in found
    about = json.loads(found["data/about.json"].read_text())
    assert (about["mode"], about["read_only"], about["decisions_path"]) == ("static", True, None)
    told = json.loads(found["data/decisions.json"].read_text())
    assert [d["action"] for d in told["decisions"]] == ["reject", "tag", "accept"]
    assert told["path"] == "decisions.jsonl"
    text = b"".join(p.read_bytes() for name, p in found.items() if name.endswith((".json", ".md", ".html")))
    assert str(tmp_path.parent).encode() not in text
    assert str(hostile).encode() not in text


def test_a_space_serves_the_export(oval_release: Path, tmp_path: Path) -> None:
    import yaml

    exhibit = Exhibit(oval_release, Reviewing(tmp_path / "none.jsonl"), static=True)
    out = tmp_path / "page"
    export(exhibit, out, heat=False)
    card = yaml.safe_load((out / "README.md").read_text().split("---\n")[1])
    assert (card["sdk"], card["app_file"], card["title"]) == ("static", "index.html", "Ovals 1.0")
    assert not (out / "data/a/heat").exists()
    assert json.loads((out / "data/about.json").read_text())["has"]["heat"] is False
    heated = exhibit.sides["a"].catalogue.key_of("P_000000_frontal_pose_0")
    assert json.loads((out / f"data/a/item/{heated}.json").read_text())["heat"] is None
    export(exhibit, out)  # once more, over the first
    assert (out / f"data/a/heat/{heated}/0.bin").is_file()
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []
    exhibit.close()


def test_a_part_is_drawn_evenly(oval_release: Path, tmp_path: Path) -> None:
    exhibit = Exhibit(oval_release, Reviewing(tmp_path / "none.jsonl"), oval_release, static=True)
    exhibit.wait()
    assert chosen_keys(exhibit, 3) == {"a": [0, 6, 13], "b": [0, 6, 13]}
    assert chosen_keys(exhibit, None) == {"a": list(range(14)), "b": list(range(14))}
    export(exhibit, tmp_path / "page", limit=3)
    about = json.loads((tmp_path / "page/data/about.json").read_text())
    side = about["sides"]["a"]
    assert (side["items"], side["of_items"], side["clips"], side["stills"], side["frames"]) == (3, 14, 1, 2, 14)
    table = json.loads((tmp_path / "page/data/a/items.json").read_text())
    assert [i["key"] for i in table["items"]] == [0, 6, 13]
    (answer,) = in_javascript(table, ["expression=smile&facets=1"])
    assert [(i["key"], i["hits"]) for i in answer["items"]] == [(0, 6)]
    for point in json.loads((tmp_path / "page/data/a/map.json").read_text()).get("points", []):
        assert point["key"] in (0, 6, 13)
    exhibit.close()


def test_nothing_else_is_written_over(oval_release: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "thesis.tex").write_text("x")
    (tmp_path / "file").write_text("x")
    exhibit = Exhibit(oval_release, Reviewing(tmp_path / "none.jsonl"), static=True)
    link = tmp_path / "link"
    link.symlink_to(other)
    for out, word in (
        (other, "something else"), (tmp_path / "file", "no folder"), (link, "no folder"),
        (oval_release, "in each other"),
        (oval_release / "page", "in each other"), (oval_release.parent, "in each other"),
    ):  # fmt: skip
        with pytest.raises(UsageError, match=word):
            export(exhibit, out)
    assert [p.name for p in other.iterdir()] == ["thesis.tex"]
    assert not (oval_release / "page").exists()
    exhibit.close()


def test_what_was_put_beside_an_export_is_kept(oval_release: Path, tmp_path: Path) -> None:
    exhibit = Exhibit(oval_release, Reviewing(tmp_path / "none.jsonl"), static=True)
    out = tmp_path / "page"
    export(exhibit, out, limit=1)
    export(exhibit, out, limit=1)
    (out / ".git").mkdir()  # as in the clone of a Space
    with pytest.raises(UsageError, match=r"something else, such as \.git"):
        export(exhibit, out, limit=1)
    assert (out / ".git").is_dir()
    exhibit.close()


def test_a_failed_export_leaves_the_old_one(
    oval_release: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    exhibit = Exhibit(oval_release, Reviewing(tmp_path / "none.jsonl"), static=True)
    out = tmp_path / "page"
    export(exhibit, out)
    before = sorted(p for p in tmp_path.rglob("*"))

    def full(self: Path, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OutputError, match="disk is full"):
        export(exhibit, out)
    assert sorted(p for p in tmp_path.rglob("*")) == before
    exhibit.close()


def test_what_does_not_read_is_left_out_and_told(
    oval_release: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import pyarrow.parquet as pq

    monkeypatch.chdir(tmp_path)
    root = Path(shutil.copytree(oval_release, tmp_path / "release"))
    shard = next((root / "data/video").glob("train-*"))
    table = pq.read_table(shard)
    rows = table.to_pylist()
    rows[0]["video"]["bytes"] = b"no video"
    pq.write_table(table.from_pylist(rows, table.schema), shard)
    assert main(["view", "release", "--static", "page"]) == 1
    said = capsys.readouterr()
    assert "left out:" in said.err
    assert "python -m http.server" in said.out
    assert not (tmp_path / "page/data/a/media/0.mp4").exists()
    assert (tmp_path / "page/data/a/media/1.mp4").is_file()
    (problem,) = json.loads((tmp_path / "page/data/a/item/0.json").read_text())["problems"]
    assert "no MP4" in problem
    assert main(["view", "release", "--limit", "3"]) == 2
    assert main(["view", "release", "--static", "release/page"]) == 2


def test_no_place_of_this_machine_is_in_an_export(oval_release: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(oval_release, tmp_path / "release"))
    for name in ("decisions.jsonl", "audit.json"):
        (tmp_path / name).write_text("no JSON")
    with (tmp_path / "torn.jsonl").open("w") as table:
        table.write('{"item_id"')
    shard = next((root / "data/image/head_poses").glob("train-*"))
    shard.write_bytes(shard.read_bytes()[:-400])
    with closing(Exhibit(root, Reviewing(tmp_path / "torn.jsonl"), static=True)) as torn:
        assert [f["path"] for f in torn.decisions()["torn"]] == ["torn.jsonl"]
    exhibit = Exhibit(root, Reviewing(tmp_path / "decisions.jsonl"), None, [tmp_path / "audit.json"], static=True)
    exhibit.wait()
    shutil.rmtree(root / "data/radiometric")
    made = export(exhibit, tmp_path / "page")
    exhibit.close()
    # what is wrong with the whole is told before what is wrong with items: the heat of two
    said = [p.split(": ")[0].rpartition("/")[2] for p in made.problems[:3]]
    assert said == [shard.name, "decisions.jsonl", "audit.json"]
    assert len(made.problems) == 5
    heated = exhibit.sides["a"].catalogue.key_of("P_000000_frontal_pose_0")
    (problem,) = json.loads((tmp_path / f"page/data/a/item/{heated}.json").read_text())["problems"]
    assert problem.endswith("type: thermvision verify release")
    for path in (tmp_path / "page").rglob("*.json"):
        assert str(tmp_path) not in path.read_text(), path
