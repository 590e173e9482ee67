"""Bad releases and hostile text: the page says what is wrong, shows the rest, and runs nothing that is data."""

from __future__ import annotations

import functools
import http.server
import re
import shutil
import threading
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from explorer_stage import HOSTILE, SCRIPT, hostile_release

from .stage import Served, at_frame, fetched, link, serving, tally, until

CLIP = "P_000000_S1"
VIEWS = ("grid", "map", "findings", "decisions")


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A release whose ids, subjects, prompts and sources are attempts to run script."""
    folder = tmp_path_factory.mktemp("hostile")
    root = hostile_release(folder / "release")
    with serving(root, folder / "decisions.jsonl", "--who", SCRIPT) as running:
        yield running


def harmless(page: Any) -> None:
    """Nothing of the data was taken for the page's own."""
    assert page.evaluate("() => window.__pwned") is None
    assert (
        page.evaluate("() => document.querySelectorAll('body script, [onerror], [onload], iframe, object').length") == 0
    )


def visible(text: str) -> str:
    """Text as the page shows it: controls that turn the order of letters round are spelled."""
    return re.sub("[\u202a-\u202e\u2066-\u2069]", lambda sign: f"⟨U+{ord(sign[0]):X}⟩", text)


def test_hostile_ids_and_prompts_are_text(hostile: Served, open_page: Callable[..., Any]) -> None:
    page = open_page(hostile.url)
    page.locator(".tile[data-key]").first.wait_for()
    listed = {item["id"]: item["key"] for item in fetched(hostile, "data/a/items.json?limit=500")["items"]}
    assert set(HOSTILE) <= set(listed)
    for name in HOSTILE:
        page.goto(f"{hostile.url}#item=a:{listed[name]}")
        shown = visible(name)
        until(lambda shown=shown: page.locator("#item-title").text_content() == shown)
        at_frame(page, 0)
        page.locator(".provenance summary").first.click()
        page.locator(".tree .branch:not([open]) > summary").first.click()
        until(lambda shown=shown: shown in page.locator(".tree").text_content())  # branches grow when they open
        assert page.locator(".prompt blockquote").text_content() == shown
        harmless(page)
        width = page.evaluate("() => document.documentElement.scrollWidth - innerWidth")
        assert width <= 0, f"{name[:30]!r} makes the page {width} px too wide"
    for view in VIEWS:
        page.goto(f"{hostile.url}#view={view}")
        page.locator("#view > *:visible").first.wait_for()
        harmless(page)


def test_hostile_decisions_and_addresses_are_text(
    hostile: Served, open_page: Callable[..., Any], forgiving: None
) -> None:
    page = open_page(link(hostile, SCRIPT))
    at_frame(page, 0)
    page.keyboard.press("t")
    page.get_by_role("combobox", name="Tag").fill(SCRIPT)
    page.get_by_label("Why", exact=True).fill(SCRIPT)
    page.keyboard.press("Enter")
    page.locator(".toast").first.wait_for()
    page.locator(".lines li").first.wait_for()
    harmless(page)
    page.goto(f"{hostile.url}#view=decisions")
    row = page.locator("tr[data-decision]")
    row.wait_for()
    assert row.text_content().count(SCRIPT) == 4  # who, item, what, why
    harmless(page)
    for odd in (
        f"q={SCRIPT}",
        f"finding={SCRIPT}&view={SCRIPT}",
        "item=a:999999999",
        "item=__proto__:1&frame=-3",
        "%E0%A4",
    ):
        page.goto("about:blank")
        page.goto(f"{hostile.url}#{odd}")
        page.locator("#view > *:visible").first.wait_for()
        harmless(page)


@pytest.fixture
def forgiving(watched: Any) -> None:
    """Answers that say what is wrong are what the test is about; a browser writes each on its console."""
    watched.allow(r"^(404|422|500): http", "Failed to load resource")


def test_a_broken_shard_is_named_and_the_rest_is_shown(
    releases: Any, view: Callable[..., Served], open_page: Callable[..., Any], tmp_path: Path, forgiving: None
) -> None:
    root = Path(shutil.copytree(releases.first, tmp_path / "broken"))
    broken, missing = root / "data/image/mix/train-v1.0-00000.parquet", root / "data/video/test-v1.0-00000.parquet"
    broken.write_bytes(broken.read_bytes()[:200])
    missing.unlink()
    served = view(root)
    page = open_page(served.url)
    banner = page.locator(".banner.warn")
    banner.locator("summary").click()
    said = banner.inner_text()
    assert "data/image/mix/train-v1.0-00000.parquet" in said
    assert "data/video/test-v1.0-00000.parquet" in said
    assert tally(page).startswith("26 items")  # two stills and two clips less
    page.locator(".tile[data-key]").first.click()
    at_frame(page, 0)


def test_a_shard_that_breaks_while_it_is_shown(
    releases: Any, view: Callable[..., Served], open_page: Callable[..., Any], tmp_path: Path, forgiving: None
) -> None:
    root = Path(shutil.copytree(releases.first, tmp_path / "breaking"))
    served = view(root)
    address = link(served, CLIP)
    for shard in (root / "data/video").glob("train-*.parquet"):
        shard.write_bytes(b"PAR1 no more")
    page = open_page(address)
    # by the item that is open, or, when the server has looked again, at the top of the page
    said = "() => /train-v1.0-00000.parquet does not read|train-v1.0-00000.parquet: /.test(document.body.textContent)"
    page.wait_for_function(said)
    page.goto(f"{served.url}#category=mix")
    page.locator(".tile[data-key]").first.wait_for()


def test_a_release_that_is_being_built(
    releases: Any, view: Callable[..., Served], open_page: Callable[..., Any], tmp_path: Path
) -> None:
    whole, root = releases.first, tmp_path / "growing"
    shutil.copytree(
        whole, root, ignore=shutil.ignore_patterns("release.json", "README.md", "croissant.json", "preview")
    )
    held = [path for path in sorted((root / "data").rglob("*.parquet")) if "image" in path.parts]
    (root / ".build").mkdir()  # which a build takes away when it is done
    for path in held:
        path.rename(tmp_path / f"held-{'-'.join(path.parts[-2:])}")
    served = view(root)
    page = open_page(served.url)
    page.locator(".banner", has_text="being built").wait_for()
    page.locator(".tile[data-key]").first.wait_for()
    assert tally(page).startswith("8 items")
    for path in held:
        (tmp_path / f"held-{'-'.join(path.parts[-2:])}").rename(path)
    page.wait_for_function("() => document.querySelector('.tally')?.textContent.startsWith('30 ')", timeout=30_000)


def test_twenty_clients_at_once(served: Served) -> None:
    def client(n: int) -> int:
        page = fetched(served, f"data/a/items.json?limit=50&facets=1&yaw_min={n - 30}")
        for item in page["items"][:3]:
            fetched(served, f"data/a/item/{item['key']}.json")
            with urllib.request.urlopen(f"{served.url}data/a/thumb/{item['key']}/{item['cover']}.jpg") as answer:
                assert answer.read(3) == b"\xff\xd8\xff"
        return int(page["total"])

    with ThreadPoolExecutor(20) as pool:
        totals = list(pool.map(client, range(20)))
    assert totals == sorted(totals, reverse=True)
    assert totals[0] > 8


@pytest.fixture(scope="module")
def exported(releases: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A static export behind the plainest of web servers."""
    import thermvision_db

    out = tmp_path_factory.mktemp("static") / "page"
    assert thermvision_db.main(["view", str(releases.first), "--static", str(out), "--quiet"]) == 0

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *arguments: Any) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=out))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    server.server_close()
    thread.join(10)


def test_a_static_export_filters_plays_and_takes_no_decisions(exported: str, open_page: Callable[..., Any]) -> None:
    page = open_page(exported)
    page.locator(".tile[data-key]").first.wait_for()
    assert tally(page) == "30 items, 286 frames"
    page.wait_for_function(
        "() => [...document.querySelectorAll('.tile img')].filter((i) => i.naturalWidth === 160).length > 5"
    )
    page.goto(f"{exported}#sequence=head_pose&yaw_min=30")
    page.wait_for_function("() => document.querySelector('.tally')?.textContent.startsWith('4 ')")
    assert tally(page) == "4 items, 20 frames"  # 80 degrees over 35 steps: frames 31 to 35
    page.locator(".tile[data-key]").first.click()
    at_frame(page, 31)
    assert page.locator("#item-title").inner_text() == CLIP
    page.get_by_role("button", name="Play").click()
    at_frame(page, 35)
    assert page.locator(".decide").is_hidden()
    page.keyboard.press("x")
    page.locator(".toast", has_text="read-only").wait_for()
    assert page.locator(".decide-form").is_hidden()
    page.goto(f"{exported}#view=map")
    page.locator(".map-point").first.wait_for()
