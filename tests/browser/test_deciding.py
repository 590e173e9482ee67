"""Deciding in the page: what is clicked, dragged and typed is in the table, and in the page after a reload."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from .stage import Served, at_frame, both_at, fetched, key_of, link, said, saved, serving, tally, until

CLIP, OTHER, STILL = "P_000000_S1", "P_000001_S1", "P_000002_mix_000"


@pytest.fixture(scope="module")
def server(releases: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Version 1.0, of which Ana decides."""
    with serving(releases.first, tmp_path_factory.mktemp("deciding") / "decisions.jsonl", "--who", "Ana") as running:
        yield running


@pytest.fixture
def deciding(server: Served) -> Iterator[Served]:
    """The same with an empty table."""
    server.decisions.unlink(missing_ok=True)
    yield server
    server.decisions.unlink(missing_ok=True)


def why(page: Any, text: str) -> None:
    """Give the reason and save."""
    page.get_by_label("Why", exact=True).fill(text)
    page.keyboard.press("Enter")
    page.locator(".decide-form").wait_for(state="hidden")


def test_reject_reload_and_find_it(deciding: Served, open_page: Callable[..., Any]) -> None:
    page = open_page(link(deciding, STILL))
    at_frame(page, 0)
    page.get_by_role("button", name="Reject").click()
    why(page, "blurred")
    (made,) = said(deciding, 1)
    assert {k: made[k] for k in ("item_id", "action", "who", "why", "first_frame")} == {
        "item_id": STILL, "action": "reject", "who": "Ana", "why": "blurred", "first_frame": None,
    }  # fmt: skip
    page.reload()
    at_frame(page, 0)
    page.locator(".lines li", has_text="blurred").wait_for()
    page.get_by_role("button", name="Close", exact=True).click()
    page.get_by_role("link", name="Decisions").click()
    row = page.locator("tr[data-decision]")
    row.wait_for()
    assert row.count() == 1
    assert [STILL in row.inner_text(), "Ana" in row.inner_text(), "reject" in row.inner_text()] == [True] * 3
    page.goto(f"{deciding.url}#decision=reject")
    page.wait_for_function("() => document.querySelector('.tally')?.textContent.startsWith('1 ')")
    assert tally(page) == "1 item, 1 frame"
    # the command line reads the same table
    from thermvision.curation.reviews.decisions import read_decisions

    decisions, findings = read_decisions(deciding.decisions)
    assert [d.item_id for d in decisions] == [STILL]
    assert findings == []


def test_a_box_is_corrected_by_dragging(deciding: Served, open_page: Callable[..., Any]) -> None:
    page = open_page(link(deciding, CLIP, 7))
    at_frame(page, 7)
    before = fetched(deciding, f"data/a/item/{key_of(deciding, CLIP)}.json")["frames"]["bbox"][7]
    page.get_by_role("button", name="Box").click()
    canvas = page.locator(".player-host canvas.frame").bounding_box()
    scale = canvas["width"] / 160

    def on_screen(x: float, y: float) -> tuple[float, float]:
        return canvas["x"] + x * scale, canvas["y"] + y * scale

    middle = on_screen(before[0] + before[2] / 2, before[1] + before[3] / 2)
    page.mouse.move(*middle)
    page.mouse.down()
    page.mouse.move(middle[0] + 4 * scale, middle[1] - 6 * scale, steps=4)
    page.mouse.up()
    corner = on_screen(before[0] + before[2] + 4, before[1] + before[3] - 6)
    page.mouse.move(*corner)
    page.mouse.down()
    page.mouse.move(corner[0] + 10 * scale, corner[1] + 5 * scale, steps=4)
    page.mouse.up()
    why(page, "too small")
    (made,) = said(deciding, 1)
    assert (made["action"], made["column"], made["first_frame"], made["last_frame"]) == ("relabel", "bbox", 7, 7)
    value = made["value"][0] if isinstance(made["value"][0], list) else made["value"]
    wanted = [before[0] + 4, before[1] - 6, before[2] + 10, before[3] + 5]
    assert value == pytest.approx(wanted, abs=0.5)  # a mouse moves in whole pixels of the screen
    page.reload()
    at_frame(page, 7)
    drawn = page.locator("svg.overlay [data-layer='decided']")
    drawn.wait_for(state="attached")
    assert [float(drawn.get_attribute(n)) for n in ("x", "y", "width", "height")] == pytest.approx(value)


def test_a_box_is_corrected_by_keyboard(deciding: Served, open_page: Callable[..., Any]) -> None:
    page = open_page(link(deciding, STILL))
    at_frame(page, 0)
    before = fetched(deciding, f"data/a/item/{key_of(deciding, STILL)}.json")["frames"]["bbox"][0]
    page.keyboard.press("b")
    for keys in ("ArrowRight", "ArrowRight", "Shift+ArrowDown", "Alt+ArrowLeft"):
        page.keyboard.press(keys)
    page.keyboard.press("Enter")
    (made,) = said(deciding, 1)
    value = made["value"][0] if isinstance(made["value"][0], list) else made["value"]
    assert value == pytest.approx([before[0] + 2, before[1] + 10, before[2] - 1, before[3]], abs=0.06)


def test_the_box_form_is_about_the_frame_that_is_shown(deciding: Served, open_page: Callable[..., Any]) -> None:
    page = open_page(link(deciding, CLIP))
    at_frame(page, 0)
    boxes = fetched(deciding, f"data/a/item/{key_of(deciding, CLIP)}.json")["frames"]["bbox"]
    page.keyboard.press("b")
    page.get_by_label("Frame", exact=True).fill("20")
    at_frame(page, 20)
    typed = [float(field.input_value()) for field in page.locator(".box-number").all()]
    assert typed == pytest.approx(boxes[20], abs=0.06)
    assert [field.input_value() for field in page.locator(".decide-form .frame-number").all()] == ["20", "20"]
    # Escape undoes what was drawn, on whatever frame that was
    page.locator(".player-view").press("Shift+ArrowUp")
    page.get_by_label("Frame", exact=True).fill("21")
    at_frame(page, 21)
    page.locator(".player-view").press("Escape")
    typed = [float(field.input_value()) for field in page.locator(".box-number").all()]
    assert typed == pytest.approx(boxes[21], abs=0.06)
    page.get_by_label("Frame", exact=True).fill("20")
    at_frame(page, 20)
    page.locator(".player-view").press("ArrowRight")
    # what was drawn stays when another frame is looked at, and frames that were given stay given
    page.get_by_label("Frame", exact=True).fill("25")
    at_frame(page, 25)
    page.keyboard.press("]")
    page.locator(".player-view").press("ArrowRight")
    why(page, "a pixel more")
    (made,) = said(deciding, 1)
    assert (made["first_frame"], made["last_frame"]) == (20, 25)
    value = made["value"][0] if isinstance(made["value"][0], list) else made["value"]
    assert value == pytest.approx([boxes[20][0] + 2, *boxes[20][1:]], abs=0.06)


def test_a_range_is_marked_before_the_decision(deciding: Served, open_page: Callable[..., Any]) -> None:
    page = open_page(link(deciding, CLIP, 4))
    at_frame(page, 4)
    page.keyboard.press("[")
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    at_frame(page, 7)
    page.keyboard.press("]")
    page.locator(".toast", has_text="ends at frame 7").wait_for()
    page.keyboard.press("x")
    why(page, "smeared")
    page.keyboard.press("x")
    why(page, "all of it")  # a range is of one decision
    assert [(made["first_frame"], made["last_frame"]) for made in said(deciding, 2)] == [(4, 7), (None, None)]


def test_a_tag_hides_no_verdict(deciding: Served, open_page: Callable[..., Any]) -> None:
    page = open_page(link(deciding, CLIP))
    at_frame(page, 0)
    page.keyboard.press("x")
    why(page, "smeared")
    page.keyboard.press("t")
    page.get_by_role("combobox", name="Tag").fill("dark")
    why(page, "as well")
    said(deciding, 2)
    page.locator(".lines li", has_text="as well").wait_for()
    assert page.locator(".act.reject").get_attribute("aria-pressed") == "true"
    page.reload()
    page.locator(".tile[data-index='0'] .badge.reject").wait_for()


def test_comparing_ends_the_correction_of_a_box(deciding: Served, open_page: Callable[..., Any]) -> None:
    page = open_page(link(deciding, CLIP))
    at_frame(page, 0)
    page.keyboard.press("b")
    page.locator(".decide-form").wait_for()
    page.evaluate("(pin) => { location.hash += pin; }", f"&pin=a:{key_of(deciding, OTHER)}")
    both_at(page, 0)
    assert not page.locator(".decide-form").is_visible()


def test_going_on_never_passes_over_an_item(deciding: Served, open_page: Callable[..., Any]) -> None:
    page = open_page(link(deciding, CLIP))
    at_frame(page, 0)
    page.get_by_label("go on after").check()
    # the answer takes its time, and the reviewer goes on by hand
    page.evaluate("""() => {
      const plain = window.fetch;
      window.fetch = (path, options) => options?.method !== 'POST' ? plain(path, options)
        : new Promise((let_go) => { window.answer = () => let_go(plain(path, options)); });
    }""")
    page.keyboard.press("a")
    page.keyboard.press("Enter")
    page.wait_for_function("() => window.answer")
    page.get_by_role("button", name="Item after").click()
    page.wait_for_function("(id) => document.querySelector('#item-title').textContent !== id", arg=CLIP)
    second = page.locator("#item-title").inner_text()
    page.evaluate("() => window.answer()")
    page.locator(".toast", has_text="Accepted").wait_for()
    page.locator(".tile[data-index='0'] .badge.accept").wait_for()
    assert (page.url.endswith("#item=a:1"), page.locator("#item-title").inner_text()) == (True, second)
    assert [made["item_id"] for made in said(deciding, 1)] == [CLIP]


def test_tag_relabel_and_take_back(deciding: Served, open_page: Callable[..., Any]) -> None:
    page = open_page(link(deciding, CLIP))
    at_frame(page, 0)
    page.keyboard.press("t")
    page.get_by_role("combobox", name="Tag").fill("keep")
    why(page, "good light")
    (tag,) = said(deciding, 1)
    assert (tag["action"], tag["value"]) == ("tag", "keep")
    page.keyboard.press("l")
    page.get_by_label("Label", exact=True).select_option("glasses")
    page.get_by_label("Is", exact=True).select_option("glasses")
    why(page, "wears them")
    label = said(deciding, 2)[1]
    assert (label["action"], label["column"], label["value"]) == ("relabel", "glasses", "glasses")
    page.wait_for_function("() => document.querySelectorAll('.lines li b').length >= 2")
    page.keyboard.press("u")
    page.get_by_role("button", name="Save").click()
    back = said(deciding, 3)[2]
    assert back["supersedes"] == label["decision_id"]
    # the filter sees what still stands
    page.goto(f"{deciding.url}#decision=tag")
    page.wait_for_function("() => document.querySelector('.tally')?.textContent.startsWith('1 ')")
    assert fetched(deciding, "data/a/items.json?decision=relabel")["total"] == 0
    # one more, in the table of all decisions
    page.goto(f"{deciding.url}#view=decisions")
    page.locator(f"tr[data-decision='{tag['decision_id']}']").get_by_role("button", name="Take back").click()
    assert said(deciding, 4)[3]["supersedes"] == tag["decision_id"]
    until(lambda: fetched(deciding, "data/a/items.json?decision=tag")["total"] == 0)


def test_a_refusal_is_told_and_nothing_is_saved(deciding: Served, open_page: Callable[..., Any], watched: Any) -> None:
    watched.allow("^413: .*decisions.json", "status of 413")  # a body beyond 64 KiB
    page = open_page(link(deciding, CLIP))
    at_frame(page, 0)
    page.keyboard.press("t")
    page.get_by_role("combobox", name="Tag").fill("x")
    page.evaluate("() => { document.querySelector('.decide-form input[list=tags]').value = 'y'.repeat(100000); }")
    page.get_by_label("Why", exact=True).fill("long")
    page.keyboard.press("Enter")
    page.locator(".toast.fail", has_text="65536").wait_for()
    assert saved(deciding) == []


def test_two_reviewers_at_once(releases: Any, view: Callable[..., Served], open_page: Callable[..., Any]) -> None:
    served = view(releases.first)
    pages = []
    for name in ("Ana", "Ben"):
        page = open_page(link(served, CLIP))
        at_frame(page, 0)
        page.keyboard.press("a" if name == "Ana" else "x")
        page.get_by_label("Why", exact=True).fill(f"says {name}")
        pages.append((name, page))
    for name, page in pages:
        page.keyboard.press("Enter")
        page.get_by_role("textbox", name="Name").fill(name)
        page.keyboard.press("Enter")
    both = said(served, 2)
    assert {(d["who"], d["action"]) for d in both} == {("Ana", "accept"), ("Ben", "reject")}
    page = open_page(f"{served.url}#view=decisions")
    page.locator("tr[data-decision]").nth(1).wait_for()
    page.get_by_text("To be settled").wait_for()  # they disagree, and the page says so
    # a name is asked for once, and remembered
    page = pages[0][1]
    page.reload()
    at_frame(page, 0)
    page.keyboard.press("a")
    why(page, "again")
    assert said(served, 3)[2]["who"] == "Ana"


def test_an_item_shows_what_others_decided_since_it_was_seen(deciding: Served, open_page: Callable[..., Any]) -> None:
    page = open_page(link(deciding, CLIP))
    at_frame(page, 0)
    page.get_by_role("button", name="Item after").click()
    page.wait_for_function("(id) => document.querySelector('#item-title').textContent !== id", arg=CLIP)
    other = open_page(link(deciding, CLIP))
    at_frame(other, 0)
    other.keyboard.press("x")
    why(other, "says another window")
    assert page.locator(".tile[data-index='0'] .badge").count() == 0
    page.get_by_role("button", name="Item before").click()
    page.locator(".lines li", has_text="says another window").wait_for()
    page.locator(".tile[data-index='0'] .badge.reject").wait_for()


def test_decisions_of_the_command_line_show(releases: Any, deciding: Served, open_page: Callable[..., Any]) -> None:
    from thermvision.curation.reviews.decisions import append, decision_of
    from thermvision.curation.sources import ReleaseSource

    made = decision_of(ReleaseSource(releases.first), OTHER, "accept", who="Cid", why="from a shell", frames=(2, 5))
    append(Path(deciding.decisions), [made])
    page = open_page(f"{deciding.url}#view=decisions")
    page.get_by_role("button", name=OTHER).click()
    at_frame(page, 2)
    assert re.search(r"frames 2.5", page.locator(".lines li", has_text="from a shell").inner_text())
