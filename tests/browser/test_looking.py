"""Looking at a release: the grid, its filters, the overlay against the ground truth, two items, two versions, views."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from .playing import pixels
from .stage import NARROW, WIDE, Served, at_frame, both_at, key_of, link, serving, tally, until

CLIP, TURNING = "P_000000_S1", "P_000001_S1"  # 36 frames; the head turns from -40 to 40 degrees
REJECTED, RELABELLED = "P_000000_frontal_pose_000", "P_000001_frontal_pose_000"  # from version 1.0 to 1.1


@cache
def ground_truth(release: Path, item: str) -> dict[str, np.ndarray]:
    """Labels of the frames of an item, read from the release's Parquet: (N, 4) boxes, (N, 68, 2) landmarks, ..."""
    rows = [
        row
        for path in sorted((release / "data/frames").glob("*.parquet"))
        for row in pq.read_table(path, filters=[("item_id", "==", item)]).to_pylist()
    ]
    rows.sort(key=lambda row: row["frame_index"])
    return {
        name: np.array([row[name] for row in rows]) for name in ("bbox", "landmarks", "landmark_state", "head_pose")
    }


@pytest.fixture(scope="module")
def two_versions(releases: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Version 1.1 against 1.0, with findings."""
    table = tmp_path_factory.mktemp("two") / "decisions.jsonl"
    options = ["--against", releases.first, "--findings", releases.findings, "--read-only"]
    with serving(releases.second, table, *options) as running:
        yield running


def test_the_grid_shows_every_item_and_filters_click(served: Served, open_page: Any) -> None:
    page = open_page(served.url)
    page.locator(".tile[data-key]").first.wait_for()
    assert tally(page) == "30 items, 286 frames"
    page.wait_for_function(
        "() => [...document.querySelectorAll('.tile img')].filter((i) => i.naturalWidth === 160).length > 11"
    )
    page.get_by_role("checkbox", name=re.compile("^head poses")).check()
    page.wait_for_function("() => document.querySelector('.tally').textContent.startsWith('8 ')")
    assert tally(page) == "8 items, 8 frames"
    page.get_by_role("checkbox", name=re.compile("^male")).check()
    page.wait_for_function("() => document.querySelector('.tally').textContent.startsWith('4 ')")
    assert set(page.locator(".tile b").all_inner_texts()) == {
        f"{subject}_head_poses_{n:03}" for subject in ("P_000001", "P_000003") for n in (0, 1)
    }
    page.reload()
    page.locator(".tile[data-key]").first.wait_for()
    assert tally(page) == "4 items, 4 frames"  # the filters are in the address
    page.get_by_role("button", name="Clear all").click()
    page.wait_for_function("() => document.querySelector('.tally').textContent.startsWith('30 ')")


def test_expression_and_pose_hold_on_one_frame(served: Served, releases: Any, open_page: Any) -> None:
    page = open_page(f"{served.url}#expression=smile&yaw_min=10")
    page.locator(".tile[data-key]").first.wait_for()
    poses = {item: ground_truth(releases.first, item)["head_pose"] for item in (f"P_00000{n}_S1" for n in range(4))}
    # frames 10 to 19 of a clip smile; those that look far enough to the right are in its second half
    many = sum(int((pose[10:20, 0] >= 10).sum()) for pose in poses.values())
    poses = {item: ground_truth(releases.first, item)["head_pose"] for item in (f"P_00000{n}_S2" for n in range(4))}
    many += sum(int((pose[10:20, 0] >= 10).sum()) for pose in poses.values())
    shown = {name: int(number.replace(",", "")) for number, name in re.findall(r"([\d,]+) (item|frame)s?", tally(page))}
    assert shown["frame"] == many > 0
    page.locator(".tile[data-key]").first.click()
    page.locator(".player-host canvas.frame[data-frame]").wait_for()
    frame = int(page.locator(".player-host canvas.frame").get_attribute("data-frame"))
    item = page.locator("#item-title").inner_text()
    truth = ground_truth(releases.first, item)["head_pose"]
    assert 10 <= frame < 20
    assert truth[frame, 0] >= 10 > truth[frame - 1, 0] or frame == 10


DRAWN = """() => {
    const host = document.querySelector('.player-host');
    const place = (element) => {
        const { left, top, width, height } = element.getBoundingClientRect();
        return [left, top, width, height];
    };
    const number = (dot) => Number(dot.dataset.landmark);
    const dots = [...host.querySelectorAll('circle[data-landmark]')].sort((a, b) => number(a) - number(b));
    return { canvas: place(host.querySelector('canvas.frame')), box: place(host.querySelector('rect.bbox')),
        dots: dots.map((dot) => { const [x, y, w, h] = place(dot); return [x + w / 2, y + h / 2]; }),
        states: dots.map((dot) => Number(dot.dataset.state)) };
}"""


@pytest.mark.parametrize(("viewport", "zooms"), [(WIDE, 0), (WIDE, 2), (NARROW, 0)], ids=["wide", "zoomed", "narrow"])
def test_the_overlay_lies_on_the_ground_truth(
    served: Served, releases: Any, open_page: Any, viewport: Any, zooms: int
) -> None:
    """Boxes and landmarks on the screen are where the release's Parquet says, to 1 px, at three times."""
    truth = ground_truth(releases.first, CLIP)
    page = open_page(link(served, CLIP), viewport=viewport, device_scale_factor=2 if viewport == NARROW else 1)
    at_frame(page, 0)
    page.locator(".player-view").focus()
    for _ in range(zooms):
        page.keyboard.press("+")
    for frame in (0, 17, 35):
        page.get_by_role("spinbutton", name="Frame number").fill(str(frame))
        page.keyboard.press("Enter")
        at_frame(page, frame)
        drawn = page.evaluate(DRAWN)
        left, top, width, _ = drawn["canvas"]
        scale = width / 160
        assert (scale > 3.5) == (zooms > 0) or zooms == 0
        x, y, w, h = truth["bbox"][frame]
        wanted = [left + x * scale, top + y * scale, w * scale, h * scale]
        assert np.abs(np.array(drawn["box"]) - wanted).max() < 1
        points = truth["landmarks"][frame] * scale + [left, top]
        assert np.abs(np.array(drawn["dots"]) - points).max() < 1
        assert drawn["states"] == truth["landmark_state"][frame].tolist()


def test_scrubbing_and_playing_keep_pixels_and_labels_together(served: Served, open_page: Any) -> None:
    page = open_page(link(served, TURNING, 5))
    at_frame(page, 5)
    slider = page.get_by_role("slider", name="Frame", exact=True)
    slider.focus()
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    at_frame(page, 8)
    assert page.get_by_role("spinbutton", name="Frame number").input_value() == "8"
    box = slider.bounding_box()
    page.mouse.move(box["x"] + 2, box["y"] + box["height"] / 2)
    page.mouse.down()
    for part in np.linspace(0.1, 0.7, 20):
        page.mouse.move(box["x"] + part * box["width"], box["y"] + box["height"] / 2)
    page.mouse.up()
    at_frame(page, int(slider.input_value()))
    page.evaluate(
        """() => {
            window.seen = [];
            const host = document.querySelector('.player-host');
            const look = () => {
                window.seen.push([host.querySelector('canvas').dataset.frame, host.querySelector('svg').dataset.frame]);
                requestAnimationFrame(look);
            };
            look();
        }"""
    )
    page.keyboard.press("Home")
    at_frame(page, 0)
    page.get_by_role("button", name="Play").click()
    at_frame(page, 35)  # a clip ends at its last frame
    seen = [(int(pixels), int(labels)) for pixels, labels in page.evaluate("window.seen")]
    assert all(pixels == labels for pixels, labels in seen)
    after = [pixels for pixels, _ in seen[max(k for k, s in enumerate(seen) if s == (0, 0)) :]]
    assert len(set(after)) > 8
    assert after == sorted(after)
    assert re.search("frame=35", page.evaluate("location.hash")) or page.wait_for_url(re.compile("frame=35")) is None


def test_contrast_of_the_published_gray_is_set_by_hand(served: Served, open_page: Any) -> None:
    page = open_page(link(served, CLIP))
    at_frame(page, 0)
    before = pixels(page)
    page.get_by_label("Contrast").select_option("manual")
    page.get_by_label("Hottest shown").fill("128")
    wanted = np.minimum(before * 255 / 128, 255)
    until(lambda: np.abs(pixels(page) - wanted).max() <= 1)
    page.get_by_label("Contrast").select_option("stored")
    until(lambda: (pixels(page) == before).all())


def test_two_items_in_step(served: Served, open_page: Any) -> None:
    page = open_page(link(served, CLIP, 9, pin=f"a:{key_of(served, TURNING)}"))
    page.wait_for_function(
        "() => document.querySelectorAll('.compare-side canvas.frame[data-frame=\"9\"]').length === 2"
    )
    assert [text.split()[0] for text in page.locator(".compare-name").all_inner_texts()] == [CLIP, TURNING]
    page.keyboard.press("ArrowRight")
    page.wait_for_function(
        "() => document.querySelectorAll('.compare-side canvas.frame[data-frame=\"10\"]').length === 2"
    )


def test_two_versions(two_versions: Served, open_page: Any) -> None:
    page = open_page(f"{two_versions.url}#change=changed")
    page.wait_for_function("() => document.querySelector('.tally')?.textContent.startsWith('1 ')")
    page.locator(".tile[data-key]").click()
    at_frame(page, 0)
    assert page.locator("#item-title").inner_text() == RELABELLED
    changed = page.locator(".fact", has_text="Changed between the versions").locator("p").inner_text()
    assert "glasses" in changed
    page.get_by_role("button", name="Beside the other version").click()
    both_at(page, 0)
    assert [text.split()[0] for text in page.locator(".compare-name").all_inner_texts()] == [RELABELLED] * 2
    page.goto(f"{two_versions.url}#side=b&change=removed")
    page.locator(".tile b", has_text=REJECTED).wait_for()
    assert page.locator(".tile b").all_inner_texts() == [REJECTED]


def test_findings_lead_to_their_frames(two_versions: Served, open_page: Any) -> None:
    page = open_page(f"{two_versions.url}#view=findings")
    page.get_by_role("button", name="disorder").click()
    page.wait_for_function("() => document.querySelector('.tally')?.textContent.startsWith('2 ')")
    assert tally(page) == "2 items, 29 frames"  # 8 to 30, and 4 to 9
    page.get_by_text(CLIP, exact=True).first.click()
    at_frame(page, 8)
    assert page.locator(".fact", has_text="in order it is above").count() == 1


def test_the_map_leads_to_a_person(served: Served, open_page: Any) -> None:
    page = open_page(f"{served.url}#view=map")
    page.locator(".map-point").first.wait_for(timeout=60_000)
    assert page.locator(".map-point").count() == 4
    point = page.locator(".map-point[data-subject=P_000003]")
    point.locator(".ring").click()
    page.wait_for_url(re.compile("subject=P_000003"))
    assert tally(page) == "8 items, 72 frames"
    page.go_back()
    point.focus()
    page.keyboard.press("ArrowRight")
    assert page.evaluate("() => document.activeElement.matches('.map-point:not([data-subject=P_000003])')")


def test_the_command_that_makes_it_again_is_copied(served: Served, open_page: Any) -> None:
    page = open_page()
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.goto(link(served, CLIP))
    page.get_by_role("button", name="Copy the command").click()
    page.get_by_text("The command is in the clipboard.").wait_for()
    said = page.evaluate("navigator.clipboard.readText()")
    assert said == page.locator(".command code").inner_text()
    assert said.startswith("thermvision regenerate ")
    assert CLIP in said


def test_temperatures_under_the_pointer(served: Served, open_page: Any) -> None:
    page = open_page(link(served, CLIP, 6))
    at_frame(page, 6)
    box = page.locator(".player-host canvas.frame").bounding_box()
    # the corner is air at 22 degrees, with noise of 0.05 before it was smoothed
    page.mouse.move(box["x"] + 0.06 * box["width"], box["y"] + 0.06 * box["height"])
    page.wait_for_function("() => /°C/.test(document.querySelector('.warmth').textContent)")
    assert float(page.locator(".warmth").inner_text().split()[0]) == pytest.approx(22.0, abs=0.2)
