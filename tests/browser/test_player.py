"""The player: the frame shown is the frame named, to the pixel; labels lie on it; boxes can be corrected."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pyarrow.parquet as pq
import pytest

from thermvision.annotations.pose import rotation_from_pose
from thermvision.curation.video import decode_gray, encode_gray

from .playing import bench, clip_record, counted_addresses, drifting, encoded, nearest, open_record, pixels, serve
from .stage import key_of, until

CLIP = "P_000000_S1"


@pytest.fixture(scope="module")
def clip(releases):
    """The frames of a clip, decoded from its shard."""
    rows = pq.read_table(next((releases.first / "data/video").glob("train-*.parquet"))).to_pylist()
    return decode_gray(next(row for row in rows if row["clip_id"] == CLIP)["video"]["bytes"]).astype(np.int64)


def opened(player, served, item=CLIP):
    record = player.evaluate("item", key_of(served, item))
    open_record(player, record)
    return record


def test_each_frame_is_the_one_it_says(player, served, clip):
    frames = clip
    opened(player, served)
    for n in (0, 1, 2, 17, 16, 15, 9, 10, 11, len(frames) - 1, 20):
        player.evaluate("(n) => player.seek(n)", n)
        shown = pixels(player)
        assert player.evaluate("seen()") == [n, n]
        assert np.abs(shown - frames[n][..., None]).max() == 0
        assert nearest(shown[..., 0], frames) == n


@pytest.mark.parametrize("fps", [Fraction(24), Fraction(25), Fraction(30000, 1001), Fraction(30)])
def test_any_frame_rate_is_exact(player, served, fps):
    data = encode_gray(drifting(61, 64, 96), float(fps))
    frames = decode_gray(data).astype(np.int64)
    serve(player, served, "data/a/media/900.mp4", data, "video/mp4")
    open_record(player, clip_record(61, 64, 96, round(float(fps), 2)))
    for n in (60, 0, 59, 30, 31, 1):
        player.evaluate("(n) => player.seek(n)", n)
        assert player.evaluate("seen()") == [n, n]
        assert nearest(pixels(player)[..., 0], frames) == n
        assert (pixels(player)[..., 0] == frames[n]).all()


@pytest.mark.parametrize(("full", "options"), [(False, {}), (True, {"bf": "3"})])
def test_files_of_others_are_exact(player, served, full, options):
    data = encoded(drifting(40, 64, 96), Fraction(25), full, **options)
    frames = decode_gray(data).astype(np.int64)
    serve(player, served, "data/a/media/900.mp4", data, "video/mp4")
    # a rate written down as 25 by a file that says the same; the range is the server's word
    open_record(player, clip_record(40, 64, 96, 25.0, full_range=full))
    for n in (39, 5, 21):
        player.evaluate("(n) => player.seek(n)", n)
        assert np.abs(pixels(player)[..., 0] - frames[n]).max() <= 1
        assert nearest(pixels(player)[..., 0], frames) == n


def test_a_rate_of_30_that_is_29_97_is_noticed(player):
    rate = "async (all) => (await import('./clip_source.js')).trueRate(...all)"
    assert player.evaluate(rate, [30, 900, 900 * 1001 / 30000]) == pytest.approx(30000 / 1001)
    assert player.evaluate(rate, [29.97, 900, 900 * 1001 / 30000]) == pytest.approx(30000 / 1001, rel=1e-5)
    assert player.evaluate(rate, [30, 900, 30]) == 30
    # a file that is cut short, or longer than its labels, does not change the rate
    assert player.evaluate(rate, [30, 60, 1]) == 30
    assert player.evaluate(rate, [None, 60, 2.4]) == 25


def test_playing_shows_frames_in_order_each_with_its_own_overlay(player, served, clip):
    opened(player, served)
    player.evaluate("() => { shown.length = 0; player.play(); }")
    until(lambda: player.evaluate("shown.length > 1 && !player.playing"))
    seen = player.evaluate("shown")
    numbers = [n for n, _ in seen]
    assert all(places == [n, n] for n, places in seen)
    assert numbers == sorted(numbers)
    assert numbers[-1] == len(clip) - 1
    assert len(set(numbers)) > len(clip) / 3
    assert np.abs(pixels(player)[..., 0] - clip[-1]).max() == 0
    player.evaluate("() => { shown.length = 0; player.play(); }")  # at its end it starts again
    until(lambda: player.evaluate("shown.length > 3"))
    player.evaluate("player.pause()")
    assert player.evaluate("shown[0][0]") == 0
    until(lambda: nearest(pixels(player)[..., 0], clip) == player.evaluate("player.frame"))


def test_scrubbing_never_shows_one_frame_with_the_labels_of_another(player, served, clip):
    opened(player, served)
    wrong, last = player.evaluate("""async () => {
      let wrong = 0, last;
      shown.length = 0;
      for (let i = 0; i < 120; i++) {
        last = player.seek((i * 7) % 36);
        await new Promise((resolve) => setTimeout(resolve, 3));
        const [pixels, labels] = seen();
        wrong += pixels !== labels;
      }
      await last;
      return [wrong, player.frame];
    }""")
    assert wrong == 0
    assert last == (119 * 7) % 36
    assert all(places == [n, n] for n, places in player.evaluate("shown"))
    assert nearest(pixels(player)[..., 0], clip) == last


@pytest.mark.parametrize("zoom", [1, 3])
def test_labels_lie_on_the_pixels_they_name(player, served, zoom):
    record = opened(player, served)
    player.evaluate("(zoom) => player.zoom(zoom)", zoom)
    for n in (0, 13, 35):
        player.evaluate("(n) => player.seek(n)", n)
        found = player.evaluate("""() => {
          const canvas = document.querySelector('canvas.frame'), box = canvas.getBoundingClientRect();
          const middle = (e) => {
            const {left, right, top, bottom} = e.getBoundingClientRect();
            return [((left + right) / 2 - box.left) * canvas.width / box.width,
              ((top + bottom) / 2 - box.top) * canvas.height / box.height];
          };
          return [...document.querySelectorAll('circle[data-landmark]')].map(middle)
            .concat([middle(document.querySelector('rect.bbox'))]);
        }""")
        x, y, w, h = record["frames"]["bbox"][n]
        expected = [*record["frames"]["landmarks"][n], [x + w / 2, y + h / 2]]
        np.testing.assert_allclose(found, expected, atol=0.1)
    states = player.evaluate("[...document.querySelectorAll('circle[data-landmark]')].map((e) => +e.dataset.state)")
    assert states == record["frames"]["landmark_state"][35]


def test_axes_end_where_those_of_the_drawings_do(player):
    rng = np.random.default_rng(5)
    for pose in [(0, 0, 0), (30, 0, 0), (0, 20, 0), (0, 0, 15), *rng.uniform(-80, 80, (6, 3)).tolist()]:
        ends = player.evaluate(
            "async (pose) => (await import('./overlay.js')).poseAxes(pose, [100, 50], 40)", [float(v) for v in pose]
        )
        rotation = rotation_from_pose(pose)
        for end in ends:
            axis = "xyz".index(end["axis"])
            expected = np.array([100, 50]) + 40 * rotation[:2, axis] * (1, -1)
            np.testing.assert_allclose(end["tip"], expected, atol=1e-9)
        assert [end["depth"] for end in ends] == pytest.approx(sorted(rotation[2]))


def test_axes_are_drawn_at_the_nose(player, served):
    record = opened(player, served)
    player.evaluate("player.seek(30)")
    frames = record["frames"]
    origin, pose, box = (np.array(frames[name][30]) for name in ("landmarks", "head_pose", "bbox"))
    tip = origin[30] + 0.32 * max(box[2:]) * rotation_from_pose(pose)[:2, 2] * (1, -1)
    line = player.evaluate(
        "['x1', 'y1', 'x2', 'y2'].map((n) => +document.querySelector('line[data-axis=z]').getAttribute(n))"
    )
    np.testing.assert_allclose(line, [*origin[30], *tip], atol=0.01)


def test_layers_can_be_left_out(player, served):
    opened(player, served)
    box = player.locator("rect.bbox")
    assert box.is_visible()
    assert player.locator(".landmark-legend").is_visible()
    player.evaluate("player.setLayers({boxes: false, landmarks: false})")
    assert not box.is_visible()
    assert not player.locator("circle[data-landmark]").first.is_visible()
    assert not player.locator(".landmark-legend").is_visible()
    player.evaluate("player.setLayers({boxes: true})")
    assert box.is_visible()


def test_a_codec_of_others_comes_as_single_frames(player, served, clip):
    record = opened(player, served)
    codec = {**record, "media": {**record["media"], "codec": "mpeg4"}}
    open_record(player, codec)
    player.evaluate("player.seek(7)")
    assert player.evaluate("seen()") == [7, 7]
    assert (pixels(player)[..., 0] == clip[7]).all()
    assert "mpeg4" in player.evaluate("states.at(-1).notice")
    player.evaluate("() => { shown.length = 0; player.play(); }")
    until(lambda: player.evaluate("shown.length > 1 && !player.playing"))
    assert all(places == [n, n] for n, places in player.evaluate("shown"))
    # without a server that decodes, the page says what to do
    open_record(player, {**codec, "media": {**codec["media"], "frame_url": None}})
    assert "thermvision view" in player.locator(".player-message").inner_text()


@pytest.mark.parametrize("damage", ["cut", "text", "missing"])
def test_damaged_pixels_leave_the_labels(player, served, watched, damage):
    watched.allow("404")
    if damage != "missing":
        data = encode_gray(drifting(30, 64, 96), 25)
        serve(player, served, "data/a/media/900.mp4", data[:200] if damage == "cut" else b"<html>", "video/mp4")
    open_record(player, clip_record(30, 64, 96, 25.0))
    assert player.evaluate("states.at(-1).error")
    assert player.locator(".player-message.error").is_visible()
    assert not player.evaluate("states.at(-1).loading")
    player.evaluate("player.seek(12)")
    assert player.evaluate("+document.querySelector('rect.bbox').getAttribute('x')") == 12
    # the next item is not the worse for it
    opened(player, served)
    assert player.evaluate("states.at(-1).error") is None
    assert player.evaluate("seen()") == [0, 0]


def test_a_clip_shorter_than_its_labels_says_so(player, served):
    serve(player, served, "data/a/media/900.mp4", encode_gray(drifting(20, 64, 96), 25), "video/mp4")
    open_record(player, clip_record(30, 64, 96, 25.0))
    player.evaluate("player.seek(25)")
    assert player.evaluate("seen()") == [19, 19]
    assert "19" in player.locator(".player-message").inner_text()


def test_what_was_opened_is_let_go_of(player, served):
    addresses = counted_addresses(player)
    keys = [key_of(served, item) for item in (CLIP, "P_000001_S2", "P_000000_frontal_pose_000")]
    for turn in range(9):
        open_record(player, player.evaluate("item", keys[turn % 3]))
        assert addresses() == (turn % 3 != 2)
    # of two that are opened at once the later one stays
    player.evaluate(
        """async ([a, b]) => {
          const [one, other] = [await item(a), await item(b)];
          player.open('a', one);
          await player.open('a', other);
        }""",
        keys[:2],
    )
    assert addresses() == 1
    assert player.evaluate("document.querySelectorAll('.bbox').length") == 1
    player.evaluate("player.close()")
    assert addresses() == 0
    assert player.evaluate("seen()") == []
    player.evaluate("player.destroy()")
    assert player.locator("#host > *").count() == 0


def at(player, x, y):
    """Where a point of the frame is on the screen."""
    return player.evaluate(
        """([x, y]) => {
          const canvas = document.querySelector('canvas.frame'), box = canvas.getBoundingClientRect();
          return [box.left + x * box.width / canvas.width, box.top + y * box.height / canvas.height];
        }""",
        [x, y],
    )


def dragged(player, start, end):
    player.mouse.move(*at(player, *start))
    player.mouse.down()
    player.mouse.move(*at(player, *[(a + b) / 2 for a, b in zip(start, end, strict=True)]))
    player.mouse.move(*at(player, *end))
    player.mouse.up()


def test_a_box_is_moved_resized_and_drawn_by_dragging(player, served):
    x, y, w, h = opened(player, served)["frames"]["bbox"][0]
    player.evaluate("player.editBox(true)")
    assert player.evaluate("player.box") == pytest.approx([x, y, w, h], abs=0.06)
    middle = [x + w / 2, y + h / 2]
    dragged(player, middle, [middle[0] + 6, middle[1] - 4])
    assert player.evaluate("boxes.at(-1)") == pytest.approx([x + 6, y - 4, w, h], abs=0.2)
    dragged(player, [x + 6 + w, y - 4 + h], [x + w, y + h])  # the lower right corner
    assert player.evaluate("player.box") == pytest.approx([x + 6, y - 4, w - 6, h + 4], abs=0.3)
    dragged(player, [x + 6, y - 4], [-50, -50])  # the upper left one, out of the frame
    assert player.evaluate("player.box")[:2] == [0, 0]
    assert player.evaluate("player.box") == [round(v, 1) for v in player.evaluate("player.box")]
    count = player.evaluate("boxes.length")
    player.evaluate("player.setBox([20, 30, 40, 50])")
    assert player.evaluate("boxes.length") == count  # what the page sets is no news to it
    dragged(player, [100, 100], [150, 140])
    assert player.evaluate("boxes.at(-1)") == pytest.approx([100, 100, 50, 40], abs=0.3)
    player.keyboard.press("Escape")
    assert player.evaluate("player.box") == pytest.approx([x, y, w, h], abs=0.06)
    player.evaluate("player.editBox(false)")
    assert player.evaluate("player.box") is None
    assert not player.locator(".edit").is_visible()


def test_escape_ends_a_drag_where_it_began(player, served):
    x, y, w, h = opened(player, served)["frames"]["bbox"][0]
    player.evaluate("player.editBox(true)")
    player.mouse.move(*at(player, x + w / 2, y + h / 2))
    player.mouse.down()
    player.mouse.move(*at(player, x + w, y + h))
    player.keyboard.press("Escape")
    player.mouse.up()
    assert player.evaluate("player.box") == pytest.approx([x, y, w, h], abs=0.06)
    assert player.evaluate("boxes") == []


def test_a_box_is_corrected_with_keys_alone(player, served):
    x, y, w, h = opened(player, served)["frames"]["bbox"][0]
    player.evaluate("player.editBox(true)")
    for key in ("ArrowRight", "Shift+ArrowDown", "Alt+ArrowRight", "Control+ArrowUp", "Shift+Alt+ArrowLeft"):
        player.keyboard.press(key)
    assert player.evaluate("boxes.at(-1)") == pytest.approx([x + 1, y + 10, w - 9, h - 1], abs=0.06)
    for _ in range(30):
        player.keyboard.press("Shift+ArrowLeft")
    assert player.evaluate("player.box")[0] == 0
    assert player.evaluate("player.frame") == 0  # arrows did not step


def test_a_box_follows_the_frame_until_it_is_touched(player, served):
    record = opened(player, served)
    player.evaluate("player.editBox(true)")
    player.evaluate("player.seek(30)")
    assert player.evaluate("player.box") == pytest.approx(record["frames"]["bbox"][30], abs=0.06)
    player.keyboard.press("ArrowLeft")
    kept = player.evaluate("player.box")
    player.evaluate("player.seek(2)")
    assert player.evaluate("player.box") == kept


def test_a_box_is_drawn_by_touch(open_page, served):
    player = bench(open_page(has_touch=True, viewport={"width": 390, "height": 844}), served)
    player.evaluate("document.querySelector('#host').style.width = '370px'")
    record = opened(player, served)
    player.evaluate("player.editBox(true)")
    x, y, w, h = record["frames"]["bbox"][0]
    start, end = at(player, x + w / 2, y + h / 2), at(player, x + w / 2 + 8, y + h / 2)
    touch = player.context.new_cdp_session(player)
    for kind, point in (("touchStart", start), ("touchMove", end), ("touchEnd", None)):
        points = [{"x": point[0], "y": point[1]}] if point else []
        touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
    assert until(lambda: player.evaluate("boxes.at(-1)")) == pytest.approx([x + 8, y, w, h], abs=0.5)


def test_zoom_keeps_its_place_and_goes_back(player, served):
    opened(player, served)
    player.locator(".player-view").focus()
    place = at(player, 40, 60)
    player.mouse.move(*place)
    player.mouse.wheel(0, -400)
    until(lambda: player.evaluate("states.at(-1).zoom") > 1.3)
    assert at(player, 40, 60) == pytest.approx(place, abs=1)
    player.keyboard.press("0")
    assert player.evaluate("states.at(-1).zoom") == 1
    player.keyboard.press("+")
    assert player.evaluate("states.at(-1).zoom") == 1.25
    radius = player.evaluate("document.querySelector('circle[data-landmark]').getBoundingClientRect().width")
    for _ in range(4):
        player.keyboard.press("+")
    assert player.evaluate(
        "document.querySelector('circle[data-landmark]').getBoundingClientRect().width"
    ) == pytest.approx(radius, abs=0.6)


def test_two_clips_run_in_step(page, served):
    page = bench(page, served, "compare")
    keys = [key_of(served, CLIP), key_of(served, "P_000000_S2")]  # of 36 and 30 frames
    page.evaluate("async ([a, b]) => player.open(['a', await item(a)], ['a', await item(b)])", keys)
    page.evaluate("player.seek(9)")
    assert page.evaluate("seen()") == [9, 9, 9, 9]
    page.evaluate("() => { shown.length = 0; player.play(); }")
    until(lambda: page.evaluate("shown.length > 1 && !player.playing"))
    for n, places in page.evaluate("shown"):
        assert places == [n, n, min(n, 29), min(n, 29)]
    assert page.evaluate("shown.at(-1)[0]") == 35


def test_the_difference_is_that_of_the_pixels(page, served, clip):
    page = bench(page, served, "compare")
    key, frames = key_of(served, CLIP), clip
    data = encode_gray(np.roll(frames, 2, axis=2).astype(np.uint8), 30)
    other = decode_gray(data).astype(np.int64)
    serve(page, served, "data/a/media/900.mp4", data, "video/mp4")
    page.evaluate(
        """async (key) => {
          const one = await item(key);
          await player.open(['a', one], ['b', {...one, media: {...one.media, url: 'data/a/media/900.mp4'}}]);
          player.setMode('difference', {gain: 1});
          await player.seek(11);
        }""",
        key,
    )
    expected = np.abs(frames[11] - other[11])
    assert (pixels(page, 2)[..., 0] == expected).all()
    assert f"mean {expected.mean():.2f}, largest {expected.max()}" in page.locator("figcaption").inner_text()
    page.evaluate("async (key) => { const one = await item(key); await player.open(['a', one], ['b', one]); }", key)
    assert page.locator("figcaption").inner_text() == "Frame 0: no pixel differs"
    page.get_by_label("swipe", exact=True).check()
    assert page.evaluate("document.querySelector('.compare').dataset.mode") == "swipe"


def test_what_is_zoomed_is_moved_with_keys(player, served):
    opened(player, served)
    player.locator(".player-view").focus()
    before = at(player, 80, 80)
    player.keyboard.press("Alt+ArrowRight")
    assert at(player, 80, 80) == before  # nothing is hidden beyond the edge
    for _ in range(4):
        player.keyboard.press("+")
    before = at(player, 80, 80)
    player.keyboard.press("Alt+ArrowRight")
    assert at(player, 80, 80) == pytest.approx([before[0] - 60, before[1]], abs=1)
    for _ in range(20):
        player.keyboard.press("Alt+ArrowRight")
    edge = player.evaluate("document.querySelector('.player-view').getBoundingClientRect().right")
    assert at(player, 160, 80)[0] == pytest.approx(edge, abs=1)
    assert player.evaluate("player.frame") == 0


def test_a_hidden_page_does_not_play_on(player, served):
    opened(player, served)
    player.evaluate("player.play()")
    until(lambda: player.evaluate("player.frame > 2"))
    player.evaluate("""() => {
      Object.defineProperty(document, 'hidden', {value: true, configurable: true});
      document.dispatchEvent(new Event('visibilitychange'));
    }""")
    assert not player.evaluate("player.playing || states.at(-1).playing")


def test_other_speeds_keep_pixels_and_labels_together(player, served, clip):
    opened(player, served)
    player.evaluate("() => { player.setSpeed(4); shown.length = 0; player.play(); }")
    until(lambda: player.evaluate("shown.length > 1 && !player.playing"))
    assert all(places == [n, n] for n, places in player.evaluate("shown"))
    assert np.abs(pixels(player)[..., 0] - clip[-1]).max() == 0
