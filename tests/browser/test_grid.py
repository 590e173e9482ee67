"""The grid with a million items, and the address that holds what is shown."""

from __future__ import annotations

import re
import urllib.parse
from typing import Any

import pytest

from .stage import NARROW, Served, tally, until

TOTAL = 1_000_000
SEEN = """() => {
  const box = document.querySelector('.grid').getBoundingClientRect();
  return [...document.querySelectorAll('.place')].filter((place) => {
    const here = place.getBoundingClientRect();
    return here.bottom > box.top && here.top < box.bottom;
  }).map((place) => Number(place.getAttribute('aria-posinset')) - 1).sort((one, other) => one - other);
}"""


def _item(key: int) -> dict[str, Any]:
    return {
        "key": key, "id": f"I_{key:07d}", "config": "image", "kind": "still", "subject": "P", "gender": "female",
        "category": "mix", "sequence": None, "split": "train", "frames": 1, "width": 64, "height": 64, "fps": None,
        "cover": 0, "hit": None, "hits": None, "findings": 0, "decision": None, "tags": [], "change": None,
    }  # fmt: skip


@pytest.fixture
def million(served: Served, open_page: Any) -> Any:
    """The page, with a million items from nowhere; ``asked`` holds the offsets that it asked for."""
    page = open_page()
    page.asked = []
    dot = b'<svg xmlns="http://www.w3.org/2000/svg" width="8" height="8"/>'

    def items(route: Any) -> None:
        query = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(route.request.url).query))
        first, limit = int(query.get("offset", 0)), int(query["limit"])
        if limit > 1:
            page.asked.append(first)
        listed = [_item(key) for key in range(first, min(TOTAL, first + limit))]
        route.fulfill(json={"total": TOTAL, "frames": TOTAL, "offset": first, "generation": 1, "items": listed})

    page.route("**/items.json*", items)
    page.route("**/thumb/**", lambda route: route.fulfill(body=dot, content_type="image/svg+xml"))
    page.goto(served.url)
    page.locator(".tile[data-key='0']").wait_for()
    return page


def _shown(page: Any) -> list[int]:
    """Places of the tiles in view, once every one of them has its item."""
    page.wait_for_function("() => !document.querySelector('.place.waiting')")
    found: list[int] = page.evaluate(SEEN)
    return found


def _shown_from(page: Any, first: float) -> list[int]:
    """The items shown, once they begin within a thousandth of all of ``first``; before, none."""
    found = _shown(page)
    return found if found and abs(found[0] - first) <= 0.001 * TOTAL else []


def test_a_million_items_are_scrolled_from_end_to_end(million: Any) -> None:
    page = million
    assert tally(page) == "1,000,000 items, 1,000,000 frames"
    first = _shown(page)
    assert first[0] == 0
    assert first == list(range(len(first)))
    height, seen = page.evaluate(
        "(() => { const g = document.querySelector('.grid'); return [g.scrollHeight, g.clientHeight]; })()"
    )
    assert height < 1e7  # Firefox ends at 17 million pixels
    for part in (0.5, 1.0, 0.25):
        page.evaluate("(top) => { document.querySelector('.grid').scrollTop = top; }", part * (height - seen))
        found = until(lambda part=part: _shown_from(page, part * TOTAL))
        assert found == list(range(found[0], found[0] + len(found)))
        assert page.locator(".place").count() <= len(found) + 4 * len(first)
    page.evaluate("() => { document.querySelector('.grid').scrollTop = 1e9; }")
    until(lambda: _shown(page)[-1:] == [TOTAL - 1])
    # a wheel moves as far as anywhere
    page.evaluate("() => { document.querySelector('.grid').scrollTop = 4e6; }")
    before = until(lambda: _shown_from(page, TOTAL / 2))
    page.mouse.move(900, 500)
    top = page.evaluate("() => document.querySelector('.grid').scrollTop")
    page.mouse.wheel(0, 300)
    page.wait_for_function("(top) => document.querySelector('.grid').scrollTop !== top", arg=top)
    moved = _shown(page)[0] - before[0]
    assert 0 <= moved <= len(before)
    assert len(page.asked) < 30


def test_keys_reach_the_last_of_a_million(million: Any) -> None:
    page = million
    page.locator(".tile[data-key='0']").focus()
    focused = "() => Number(document.activeElement.dataset.key ?? -1)"
    for key, place in (("End", TOTAL - 1), ("ArrowLeft", TOTAL - 2), ("Home", 0), ("ArrowRight", 1)):
        page.keyboard.press(key)
        page.wait_for_function(f"(n) => ({focused})() === n", arg=place)
        assert place in _shown(page)
    # one stop for the tab key, where the focus was
    assert page.locator(".tile[tabindex='0']").count() == 1
    assert page.locator(".tile[tabindex='0']").get_attribute("aria-label") == "I 0000001, still, mix"


def test_a_range_maps_places_both_ways(served: Served, page: Any) -> None:
    """The arithmetic alone: 100 tall pages in a tenth of their height."""
    page.goto(served.url)
    found = page.evaluate("""async () => {
      const { createScrollRange } = await import('./scroll_range.js');
      const range = createScrollRange(10000);
      range.fit(100000, 500);
      const at = (place) => {
        const { top, scrollTop } = range.goTo(place);
        return [top, scrollTop, top - range.offset];
      };
      const found = { height: range.height, begin: at(0), end: at(1e9), middle: at(50000) };
      found.step = range.scrolled(found.middle[1] + 40).top;
      found.jump = range.scrolled(9500).top;
      const small = createScrollRange(10000);
      small.fit(3000, 500);
      return { ...found, small: [small.height, small.scrolled(700).top, small.offset] };
    }""")
    assert found["height"] == 10000
    assert found["begin"] == [0, 0, 0]
    assert found["end"] == [99500, 9500, 9500]
    assert found["middle"][0] == 50000
    assert found["middle"][1] == found["middle"][2]
    assert found["step"] == 50040  # a small step is exact
    assert found["jump"] == 99500  # the end of the bar is the end
    assert found["small"] == [3000, 700, 0]


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        ("gender=female&gender=male&yaw_min=-20&yaw_max=5.5&sort=yaw&desc=1&item=a:17&frame=40&pin=b:3", True),
        ("view=map", True),
        ("q=%3Cscript%3E&subject=%22%27%26%23&view=findings", True),
        ("view=nowhere&item=c:1&frame=-3&yaw_min=NaN&sort=__proto__&constructor=1&item=a:1e3&pin=a:99999999999", False),
    ],
)
def test_the_address_holds_the_state(served: Served, page: Any, written: str, kept: bool) -> None:
    page.goto(served.url)
    again = page.evaluate(
        "async (text) => { const { parse, address } = await import('./state.js');"
        " const once = address(parse('#' + text)); return [once, address(parse(once))]; }",
        written,
    )
    assert again[0] == again[1]
    pairs = sorted(urllib.parse.parse_qsl(again[0].lstrip("#"), keep_blank_values=True))
    assert pairs == (sorted(urllib.parse.parse_qsl(written)) if kept else [])


def test_a_link_opens_and_closes_where_it_was(served: Served, page: Any) -> None:
    page.goto(served.url)
    page.locator(".tile").nth(1).wait_for()
    page.locator("input[data-filter='config'][data-value='video']").check()
    page.wait_for_function("() => location.hash.includes('config=video')")
    tally(page)
    tile = page.locator(".tile[data-index='1']")
    label = tile.get_attribute("aria-label")
    tile.focus()
    page.keyboard.press("Enter")
    page.wait_for_function("() => document.activeElement.id === 'panel'")
    page.keyboard.press("j")
    page.wait_for_function(
        "(label) => document.querySelector('.tile[aria-current]')?.getAttribute('aria-label') !== label", arg=label
    )
    page.keyboard.press("k")
    page.wait_for_function(
        "(label) => document.querySelector('.tile[aria-current]')?.getAttribute('aria-label') === label", arg=label
    )
    page.keyboard.press("Escape")
    page.wait_for_function("(label) => document.activeElement.getAttribute('aria-label') === label", arg=label)
    assert page.evaluate("location.hash") == "#config=video"
    page.go_back()  # items that were gone through leave no entries: back is the item that was closed
    page.locator("#panel").wait_for()
    page.go_back()
    page.locator("#panel").wait_for(state="hidden")
    assert page.evaluate("location.hash") == "#config=video"


def test_filters_are_a_drawer_on_a_narrow_screen(served: Served, open_page: Any) -> None:
    page = open_page(served.url, viewport=NARROW)
    page.locator(".tile").first.wait_for()
    assert not page.locator("#filters").is_visible()
    page.get_by_role("button", name="Filters", exact=True).click()
    page.locator("input[data-filter='gender'][data-value='female']").check()
    page.keyboard.press("Escape")
    assert not page.locator("#filters").is_visible()
    assert re.search("gender: female", page.locator(".chips").inner_text())
    page.get_by_role("button", name="Remove the filter gender: female").click()
    page.wait_for_function("() => location.hash === ''")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_a_theme_is_remembered(served: Served, page: Any) -> None:
    page.goto(served.url)
    button = page.locator("#theme")
    for theme in ("light", "dark"):
        button.click()
        page.wait_for_function("(theme) => document.documentElement.dataset.theme === theme", arg=theme)
    page.reload()
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    page.locator("#theme[aria-label='Theme: dark']").click()
    assert page.evaluate("document.documentElement.dataset.theme ?? null") is None
