"""Temperature: what the read-out says, what is drawn from 16-bit frames, and how gain control maps it."""

from __future__ import annotations

import re

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest

from thermvision.annotations.palettes import apply_palette, palette
from thermvision.annotations.radiometry import from_centikelvin
from thermvision.curation.video import decode_gray, encode_gray

from .playing import clip_record, drifting, heat_bytes, open_record, pixels, serve
from .stage import at_frame, key_of, link, until

CLIP = "P_000000_S1"
GAIN = """async ([values, levels, tone]) => {
  const {gain, histogram} = await import('./tone.js');
  const tuned = gain(histogram(Uint16Array.from(values), levels), tone);
  return [Array.from(tuned.gray), tuned.low, tuned.high];
}"""


@pytest.fixture(scope="module")
def heat(releases):
    """Frame numbers and counts (H, W) of a clip's 16-bit frames, and the matrix to its 8-bit frames."""
    rows = pq.read_table(next((releases.first / "data/radiometric").glob("train-*-00000.parquet"))).to_pylist()
    row = next(row for row in rows if row["item_id"] == CLIP)
    read = [cv2.imdecode(np.frombuffer(i["bytes"], np.uint8), cv2.IMREAD_UNCHANGED) for i in row["radiometric"]]
    return dict(zip(row["frame_index"], read, strict=True)), np.array(row["sensor_to_frame"])


def opened(player, served):
    open_record(player, player.evaluate("item", key_of(served, CLIP)))


def tone(player, **values):
    player.evaluate("(tone) => player.setTone(tone)", values)


def place(player, x, y):
    box = player.evaluate("""() => {
      const canvas = document.querySelector('canvas.frame'), box = canvas.getBoundingClientRect();
      return [box.left, box.top, box.width / canvas.width];
    }""")
    return box[0] + x * box[2], box[1] + y * box[2]


def under(counts, matrix, x, y):
    """°C of the sensor pixel below a point of the frame."""
    u, v, w = np.linalg.inv(matrix) @ [x, y, 1]
    return from_centikelvin(counts[int(v // w), int(u // w)])


def test_the_pointer_reads_the_sensor_pixel_below_it(player, served, heat):
    frames, matrix = heat
    opened(player, served)
    player.evaluate("player.seek(12)")
    for x, y in ((80.5, 60.5), (3.5, 3.5), (30.5, 140.5), (156.5, 157.5), (81.5, 100.5)):
        player.evaluate("warm.length = 0")
        player.mouse.move(*place(player, x, y))
        until(lambda: player.evaluate("warm.at(-1)"))
        said = player.evaluate("warm.at(-1)")
        assert said["celsius"] == pytest.approx(under(frames[12], matrix, x, y), abs=0.0501)
        assert (said["x"], said["y"]) == (int(x), int(y))
    player.mouse.move(1, 890)
    assert player.evaluate("warm.at(-1)") is None


def test_frames_without_temperatures_read_nothing(player, served):
    opened(player, served)
    player.mouse.move(*place(player, 80, 80))
    until(lambda: player.evaluate("warm.at(-1)"))
    player.evaluate("player.seek(7)")
    until(lambda: player.evaluate("warm.at(-1)") is None)
    player.evaluate("player.seek(6)")
    until(lambda: player.evaluate("warm.at(-1)"))


def test_a_cross_hair_reads_with_keys_alone(player, served, heat):
    frames, matrix = heat
    opened(player, served)
    player.locator(".player-view").focus()
    player.keyboard.press("c")
    assert player.locator("path.probe").is_visible()
    player.keyboard.press("Shift+ArrowUp")
    player.keyboard.press("ArrowRight")
    said = until(lambda: (t := player.evaluate("warm.at(-1)")) and t["x"] == 81 and t["y"] == 70 and t)
    assert said["celsius"] == pytest.approx(under(frames[0], matrix, 81.5, 70.5), abs=0.0501)
    for _ in range(20):
        player.keyboard.press("Shift+ArrowUp")
    assert player.evaluate("warm.at(-1)")["y"] == 0
    assert player.evaluate("player.frame") == 0
    player.keyboard.press("Escape")
    assert not player.locator("path.probe").is_visible()


def test_a_matrix_that_turns_and_shifts_is_inverted(player):
    matrix = [[0.1, -1.9, 120.0], [2.1, 0.2, -7.0], [0.0, 0.0, 1.0]]
    found = player.evaluate(
        """async (m) => { const {invert, mapPoint} = await import('./heat.js');
          return [invert(m), mapPoint(m, 3.5, 4.5), invert([[1, 2, 0], [2, 4, 0], [0, 0, 1]])]; }""",
        matrix,
    )
    np.testing.assert_allclose(found[0], np.linalg.inv(matrix), atol=1e-12)
    np.testing.assert_allclose(found[1], (np.array(matrix) @ [3.5, 4.5, 1])[:2])
    assert found[2] is None


def test_nothing_is_read_beside_the_sensor(player, served):
    """A sensor of 8 x 6 that saw 16 x 12 pixels of the frame's right half, turned by half a turn."""
    counts = (30000 + 10 * np.arange(48)).reshape(6, 8).astype(np.uint16)
    serve(player, served, "data/a/media/900.mp4", encode_gray(drifting(2, 32, 64), 25), "video/mp4")
    serve(player, served, "data/a/heat/900/0.bin", heat_bytes(counts))
    matrix = [[-2, 0, 60], [0, -2, 20], [0, 0, 1]]
    record = clip_record(2, 32, 64, 25.0) | {
        "heat": {"frames": [0], "width": 8, "height": 6, "sensor_to_frame": matrix, "url": "data/a/heat/900/{n}.bin"}
    }
    open_record(player, record)
    player.evaluate("warm.length = 0")
    player.mouse.move(*place(player, 59.5, 19.5))  # the sensor's first pixel
    assert until(lambda: player.evaluate("warm.at(-1)"))["celsius"] == round(30000 / 100 - 273.15, 1)
    player.mouse.move(*place(player, 45, 9))  # its last but a few
    assert player.evaluate("warm.at(-1)")["celsius"] == pytest.approx(from_centikelvin(counts[5, 7]), abs=0.051)
    player.mouse.move(*place(player, 30, 10))
    assert player.evaluate("warm.at(-1)") is None
    tone(player, input="heat", agc="manual", low=26.85, high=31.55)  # the counts' own range
    drawn = pixels(player)[..., 0]
    assert drawn[19, 59] == 0
    assert drawn[8, 44] == 255
    assert (drawn[:8] == 0).all()
    assert (drawn[:, :44] == 0).all()


def test_a_manual_window_maps_degrees_to_gray(player, served, heat):
    frames, _ = heat
    opened(player, served)
    tone(player, input="heat", palette="white-hot", agc="manual", low=20, high=36)
    assert player.evaluate("document.querySelector('canvas.frame').dataset.input") == "heat"
    counts = frames[0].astype(np.float32)
    # OpenCV's bilinear samples at pixel centres as we do
    size = pixels(player).shape[1::-1]
    expected = (from_centikelvin(cv2.resize(counts, size, interpolation=cv2.INTER_LINEAR)) - 20) / 16 * 255
    np.testing.assert_allclose(pixels(player)[..., 0], np.clip(expected, 0, 255), atol=1)
    texts = player.locator(".colour-bar span").all_inner_texts()
    assert texts == ["20.0 °C", "28.0 °C", "36.0 °C"]


def test_frames_without_temperatures_show_gray_and_say_so(player, served):
    opened(player, served)
    tone(player, input="heat", agc="linear")
    assert "heat" in player.evaluate("states.at(-1).input")
    player.evaluate("player.seek(8)")
    assert (
        player.evaluate("[states.at(-1).input, document.querySelector('canvas.frame').dataset.input]") == ["gray"] * 2
    )
    assert re.search("0, 6, 12, 18, 24 and 30", player.locator(".player-message").inner_text())
    assert not player.locator(".colour-bar").is_visible()
    player.evaluate("player.seek(18)")
    assert player.evaluate("seen()") == [18, 18]
    assert player.locator(".colour-bar").is_visible()
    assert player.locator(".player-message").inner_text() == ""


def test_playing_temperatures_shows_the_frames_that_have_them(player, served):
    opened(player, served)
    tone(player, input="heat", agc="equalise")
    player.evaluate("() => { shown.length = 0; player.play(); }")
    until(lambda: player.evaluate("shown.length > 1 && !player.playing"))
    numbers = {n for n, _ in player.evaluate("shown")}
    assert numbers <= {0, 6, 12, 18, 24, 30}
    assert len(numbers) >= 4
    assert all(places == [n, n] for n, places in player.evaluate("shown"))


def test_gray_in_place_of_temperatures_is_as_stored(player, served):
    opened(player, served)
    player.evaluate("player.seek(1)")
    gray = pixels(player)
    tone(player, input="heat", agc="manual", low=20, high=36)
    assert "no temperatures" in player.locator(".player-message").inner_text()
    assert (pixels(player) == gray).all()


@pytest.mark.parametrize(
    "body", [b"", b"no zlib", heat_bytes(np.zeros((3, 3), np.uint16)), heat_bytes(np.zeros((2000, 2000), np.uint16))]
)
def test_damaged_temperatures_are_told_and_gray_stays(player, served, body):
    serve(player, served, f"data/a/heat/{key_of(served, CLIP)}/0.bin", body)
    opened(player, served)
    tone(player, input="heat", agc="linear")
    assert player.evaluate("document.querySelector('canvas.frame').dataset.input") == "gray"
    assert player.locator(".player-message").inner_text()
    told = player.evaluate("warm.length")
    player.mouse.move(*place(player, 80, 80))
    player.wait_for_function("(told) => warm.length > told", arg=told)
    assert player.evaluate("warm.at(-1)") is None


@pytest.mark.parametrize("name", ["iron", "black-hot"])
def test_palettes_are_those_of_the_library(player, served, releases, name):
    opened(player, served)
    gray = pixels(player)[..., 0].astype(np.uint8)
    tone(player, palette=name)
    assert (pixels(player) == apply_palette(gray, name)).all()
    assert palette(name).shape == (256, 3)


def test_linear_gain_stretches_between_percentiles(player):
    values = np.random.default_rng(1).integers(60, 180, 5000)
    gray, low, high = player.evaluate(GAIN, [values.tolist(), 256, {"agc": "linear"}])
    expected = np.percentile(values, [1, 99], method="inverted_cdf")
    assert [low, high] == expected.tolist()
    steps = np.clip((np.arange(256) - low) / (high - low) * 255, 0, 255)
    np.testing.assert_allclose(gray, steps, atol=0.5001)


def test_a_flat_frame_has_no_gain_to_divide_by(player):
    for agc in ("linear", "equalise", "manual"):
        gray, _, _ = player.evaluate(GAIN, [[77] * 100, 256, {"agc": agc, "low": 5, "high": 5}])
        assert len(gray) == 256
        assert gray == sorted(gray)
        empty, _, _ = player.evaluate(GAIN, [[], 256, {"agc": agc}])
        assert all(0 <= value <= 255 for value in empty)


def test_equalisation_gives_little_room_to_a_large_wall(player):
    rng = np.random.default_rng(2)
    values = np.concatenate([np.full(9000, 29600), rng.integers(30400, 30900, 3000)])
    gray, low, high = player.evaluate(GAIN, [values.tolist(), 65536, {"agc": "equalise"}])
    assert gray == sorted(gray)
    assert low == 29600
    assert 30880 <= high < 30900
    # 500 counts of skin get most of the gray values, the wall and 800 empty counts the rest
    assert gray[30900] - gray[30400] > 170 > 255 * 500 / 1300
    stretched, _, _ = player.evaluate(GAIN, [values.tolist(), 65536, {"agc": "linear"}])
    assert stretched[30899] - stretched[30400] < 110


def test_gray_can_be_stretched_too(player, served, releases):
    rows = pq.read_table(next((releases.first / "data/video").glob("train-*.parquet"))).to_pylist()
    frame = decode_gray(next(row for row in rows if row["clip_id"] == CLIP)["video"]["bytes"])[0].astype(int)
    opened(player, served)
    tone(player, agc="manual", low=50, high=101)
    assert (pixels(player)[..., 0] == np.clip((frame - 50) * 5, 0, 255)).all()
    tone(player, agc="stored")
    assert (pixels(player)[..., 0] == frame).all()


def test_the_page_reads_temperatures_with_keys(open_page, served, heat):
    page = open_page(link(served, CLIP, 12))
    at_frame(page, 12)
    page.keyboard.press("c")
    page.keyboard.press("ArrowLeft")
    expected = under(heat[0][12], heat[1], 79.5, 80.5)
    until(lambda: page.locator(".warmth").inner_text().endswith("°C"))
    said = until(lambda: float(page.locator(".warmth").inner_text().split()[0]))
    assert said == pytest.approx(expected, abs=0.0501)
    page.keyboard.press("Escape")
    until(lambda: page.locator(".warmth").inner_text() == "")
    assert page.locator("#panel").is_visible()  # the first Escape was the cross-hair's
