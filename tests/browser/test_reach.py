"""For everybody: the keyboard alone suffices, axe-core finds nothing serious, nothing scrolls sideways."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from .stage import NARROW, WIDE, Served, at_frame, key_of, link, said, serving, tally, until

CLIP, STILL = "P_000000_S1", "P_000002_mix_000"


@pytest.fixture(scope="module")
def everything(releases: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Version 1.1 against 1.0, with findings and decisions."""
    table = tmp_path_factory.mktemp("reach") / "decisions.jsonl"
    options = ["--against", releases.first, "--findings", releases.findings, "--who", "Ana"]
    with serving(releases.second, table, *options) as running:
        yield running


def settle(page: Any) -> None:
    """Wait until the view is there: axe looks at what is shown."""
    page.locator("#view > *:visible").first.wait_for()
    page.wait_for_load_state("networkidle")


def serious(page: Any) -> list[str]:
    """What axe-core finds in the page, but for what it calls minor or moderate."""
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(page).response["violations"]
    return [
        f"{one['id']} ({one['impact']}): {node['html'][:120]}"
        for one in found
        for node in one["nodes"]
        if one["impact"] in ("serious", "critical")
    ]


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("viewport", [WIDE, NARROW], ids=["wide", "narrow"])
def test_axe_finds_nothing_serious(
    everything: Served, open_page: Callable[..., Any], viewport: Any, scheme: str
) -> None:
    page = open_page(everything.url, viewport=viewport, color_scheme=scheme)
    wrong: list[str] = []

    def look(name: str) -> None:
        wrong.extend(f"{name}: {one}" for one in serious(page))
        width = page.evaluate("() => document.documentElement.scrollWidth - innerWidth")
        wrong.extend([f"{name}: {width} px too wide"] if width > 0 else [])

    page.locator(".tile[data-key]").first.wait_for()
    settle(page)
    look("grid")
    for view in ("map", "findings", "decisions", "figures"):
        page.goto(f"{everything.url}#view={view}")
        if view == "map":
            page.locator(".map-point").first.wait_for(timeout=60_000)
        settle(page)
        look(view)
    page.goto(link(everything, CLIP, 3))
    at_frame(page, 3)
    look("item")
    for key, name in (("x", "reject"), ("b", "box"), ("l", "label"), ("t", "tag")):
        page.keyboard.press(key)
        page.locator(".decide-form").wait_for()
        look(name)
        page.locator(".decide-form").get_by_role("button", name="Cancel").click()
        page.locator(".decide-form").wait_for(state="hidden")
    page.goto(link(everything, CLIP, 3, pin=f"b:{key_of(everything, CLIP, 'b')}"))
    page.locator(".compare-side canvas.frame[data-frame='3']").nth(1).wait_for()
    look("compare")
    page.goto(everything.url)
    page.locator(".tile[data-key]").first.wait_for()
    page.keyboard.press("?")
    page.locator("dialog[open]").wait_for()
    look("help")
    assert wrong == []


# on the element itself, or on a part of it, as the picture of a tile
RING = """() => [document.activeElement, ...document.activeElement.querySelectorAll('*')].some((one) => {
    const style = getComputedStyle(one);
    return style.outlineStyle !== 'none' || style.boxShadow !== 'none' || one.matches(':focus-visible .shape');
})"""


def focus_by_tab(page: Any, chosen: str, most: int = 200) -> None:
    """Press Tab until what has the focus matches ``chosen``; each stop can be seen to have the focus."""
    for _ in range(most):
        page.keyboard.press("Tab")
        if page.evaluate("(chosen) => document.activeElement.matches(chosen)", chosen):
            ring = page.evaluate(RING)
            assert ring, f"the focus on {chosen} cannot be seen"
            return
    raise AssertionError(f"{most} times Tab do not reach {chosen}")


def test_everything_by_keyboard_alone(everything: Served, open_page: Callable[..., Any]) -> None:
    """Filter, open, play, scrub, decide, take back, compare, find, map: no mouse anywhere."""
    everything.decisions.unlink(missing_ok=True)
    page = open_page(everything.url)
    keys = page.keyboard
    page.locator(".tile[data-key]").first.wait_for()
    focus_by_tab(page, "#q")
    keys.type("P_000002")
    page.wait_for_function("() => document.querySelector('.tally').textContent.startsWith('7 ')")
    focus_by_tab(page, "input[data-filter=config][data-value=image]")
    keys.press("Space")
    page.wait_for_function("() => document.querySelector('.tally').textContent.startsWith('5 ')")
    keys.press("Space")
    page.wait_for_function("() => document.querySelector('.tally').textContent.startsWith('7 ')")
    focus_by_tab(page, ".tile")
    keys.press("ArrowRight")
    keys.press("ArrowLeft")
    keys.press("Enter")
    at_frame(page, 0)
    assert page.locator("#item-title").inner_text() == "P_000002_S1"
    for _ in range(4):
        keys.press("ArrowRight")
    at_frame(page, 4)
    keys.press("x")
    keys.type("from the keyboard")
    keys.press("Enter")
    (made,) = said(everything, 1)
    assert (made["item_id"], made["action"], made["why"]) == ("P_000002_S1", "reject", "from the keyboard")
    page.locator(".act.undo:enabled").wait_for()  # the page has read back what it saved
    keys.press("u")
    page.locator(".decide-form").wait_for()
    keys.press("Enter")
    assert said(everything, 2)[1]["supersedes"] == made["decision_id"]
    page.locator(".decide-form").wait_for(state="hidden")
    keys.press("o")  # the other version
    page.locator(".compare-side canvas.frame[data-frame]").nth(1).wait_for()
    keys.press("o")
    page.locator(".player-host canvas.frame[data-frame]").wait_for()
    keys.press("j")
    page.wait_for_function("() => document.querySelector('#item-title').textContent === 'P_000002_S2'")
    at_frame(page, 0)
    keys.press("Space")
    at_frame(page, 29)
    keys.press("Escape")
    page.locator("#panel").wait_for(state="hidden")
    until(lambda: page.evaluate("() => document.activeElement.matches('.tile')"))  # back where one came from
    assert tally(page).startswith("7 items")
    keys.press("3")
    focus_by_tab(page, "button[data-code=disorder]")
    keys.press("Enter")
    page.wait_for_function("() => document.querySelector('.tally')?.textContent.startsWith('2 ')")
    keys.press("2")
    page.locator(".map-point").first.wait_for(timeout=60_000)
    focus_by_tab(page, ".map-point")
    keys.press("Enter")
    page.wait_for_function("() => location.hash.includes('subject=P_')")
    keys.press("?")
    page.locator("dialog[open]").wait_for()
    keys.press("Escape")
    page.locator("dialog").wait_for(state="detached")
