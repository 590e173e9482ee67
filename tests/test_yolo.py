from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from thermvision.annotations.formats.yolo import MAX_BYTES, parse_labels, read_labels, write_labels

GOOD = "0 0.532227 0.581055 0.466797 0.587891"


def codes(text: str | bytes, width: int = 512, height: int = 512) -> tuple[int, list[str]]:
    boxes, findings = read_labels(text, width, height)
    return len(boxes), [f.code for f in findings]


def test_published_labels_become_whole_pixels() -> None:
    text = f"{GOOD}\n0 0.488281 0.581055 0.480469 0.580078\n"
    boxes, findings = read_labels(text, 512, 512)
    assert findings == []
    assert boxes.dtype == np.float32
    # xc = 545/1024, w = 478/1024: x = 272.5 - 119.5
    np.testing.assert_array_equal(boxes, [[153, 147, 239, 301], [127, 149, 246, 297]])


def test_width_and_height_are_not_mixed_up() -> None:
    boxes, _ = read_labels("0 0.5 0.25 0.2 0.1", 640, 480)
    np.testing.assert_allclose(boxes, [[256, 96, 128, 48]])


def test_a_score_and_keypoints_are_read() -> None:
    six = parse_labels(f"{GOOD} 0.9", 512, 512)
    assert six.scores.tolist() == [np.float32(0.9)]
    assert np.isnan(six.keypoints).all()
    points = "0.25 0.5 0.75 0.5 0.5 0.6 -1 -1 0.7 0.7"
    fifteen = parse_labels(f"{GOOD} {points}", 100, 200)
    assert fifteen.findings == []
    assert np.isnan(fifteen.scores).all()
    np.testing.assert_allclose(
        fifteen.keypoints[0], [[25, 100], [75, 100], [50, 120], [np.nan] * 2, [70, 140]], rtol=1e-6
    )


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("0 0.5 0.5 0.2", "column-count"),
        ("0 0.5 0.5 0.2 0.2 0.1 0.1", "column-count"),
        ("00.162500 0.279167 0.050000 0.091667", "missing-space"),
        ("0 0.5 nan 0.2 0.2", "not-finite"),
        ("0 0.5 -inf 0.2 0.2", "not-finite"),
        ("0 0.5 1e999 0.2 0.2", "not-finite"),
        ("0 0.5 1_0 0.2 0.2", "not-a-number"),
        ("0 0.5 0x1 0.2 0.2", "not-a-number"),
        ("0 0.5 \u0661 0.2 0.2", "not-a-number"),
        ("1 0.5 0.5 0.2 0.2", "class"),
        ("-0 0.5 0.5 0.2 0.2", "class"),
        ("0.0 0.5 0.5 0.2 0.2", "class"),
        ("0 1.5 0.5 0.2 0.2", "range"),
        ("0 0.5 -0.1 0.2 0.2", "range"),
        ("0 0.5 0.5 1.2 0.2", "range"),
        ("0 0.5 0.5 0 0.2", "size"),
        ("0 0.5 0.5 0.2 -0.2", "size"),
        ("0 0.5 0.5 0.2 0.2 1.1", "score-range"),
        (b"\xff\xfe0\x00", "encoding"),
        ("0 0.5 0.5 0.2 0.2\n" * 1200, "too-large"),
        (b"0" * (MAX_BYTES + 1), "too-large"),
    ],
)
def test_a_bad_line_is_a_finding_and_no_box(text: str | bytes, code: str) -> None:
    assert codes(text) == (0, [code])


def test_a_bad_line_does_not_hide_good_ones_and_is_named() -> None:
    boxes, findings = read_labels(f"{GOOD}\n\n0 nan 0 0 0\r\n{GOOD}", 512, 512, "labels/frame_0001.txt")
    assert len(boxes) == 2
    assert [(f.path, f.code) for f in findings] == [("labels/frame_0001.txt", "not-finite")]
    assert "line 3" in findings[0].message


def test_odd_lines_keep_their_box() -> None:
    assert codes("0 0.95 0.5 0.2 0.1") == (1, ["box-outside"])
    assert codes(f"{GOOD} {'0.5 ' * 8} 1.5 0.5") == (1, ["keypoint-range"])
    labels = parse_labels(f"{GOOD} {'0.5 ' * 8} 1.5 0.5", 512, 512)
    assert np.isnan(labels.keypoints[0, 4]).all()


def test_a_box_that_touches_the_border_is_inside() -> None:
    text = write_labels([[0, 0, 341, 480], [299, 1, 341, 479]], 640, 480)
    assert codes(text, 640, 480) == (2, [])


def test_empty_and_byte_order_mark() -> None:
    assert codes("") == (0, [])
    assert codes(b"\xef\xbb\xbf" + GOOD.encode()) == (1, [])


@given(
    st.integers(2, 4096),
    st.integers(2, 4096),
    st.lists(st.tuples(*[st.floats(0, 1, exclude_max=True)] * 4), max_size=4),
)
def test_pixel_boxes_survive_the_six_decimals(width: int, height: int, parts: list[tuple[float, ...]]) -> None:
    boxes = []
    for a, b, c, d in parts:
        x, y = int(a * width), int(b * height)
        boxes.append([x, y, 1 + int(c * (width - x - 1)), 1 + int(d * (height - y - 1))])
    text = write_labels(np.array(boxes, float).reshape(-1, 4), width, height)
    back, findings = read_labels(text, width, height)
    assert findings == []
    np.testing.assert_array_equal(back, np.array(boxes, np.float32).reshape(-1, 4))


@given(*[st.integers(1, 1023)] * 4)
def test_multiples_of_a_1024th_round_trip(xc: int, yc: int, w: int, h: int) -> None:
    line = "0 " + " ".join(f"{v / 1024:.6f}" for v in (xc, yc, w, h)) + "\n"
    boxes, _ = read_labels(line, 512, 512)
    expected = [xc / 2 - w / 4, yc / 2 - h / 4, w / 2, h / 2]
    assert boxes.tolist() == [expected]
    assert write_labels(boxes, 512, 512) == line


@given(st.one_of(st.text(max_size=200), st.binary(max_size=200)))
def test_no_text_makes_the_reader_fail_or_guess(text: str | bytes) -> None:
    boxes, findings = read_labels(text, 512, 512)
    assert np.isfinite(boxes).all()
    if text.strip() and not len(boxes):
        assert findings or not (text if isinstance(text, str) else text.decode("utf-8-sig")).strip()


def test_what_the_writer_takes() -> None:
    assert write_labels(np.full((1, 4), np.nan), 512, 512) == ""
    assert write_labels([], 512, 512) == ""
    for bad in ([[0, 0, 0, 5]], [[np.nan, 0, 1, 1]], [[0, 0, np.inf, 1]]):
        with pytest.raises(ValueError, match="allowed: finite"):
            write_labels(bad, 512, 512)
    with pytest.raises(ValueError, match=r"\(M, 4\)"):
        write_labels([1, 2, 3, 4], 512, 512)
    with pytest.raises(ValueError, match="allowed: 1 x 1"):
        read_labels("", 0, 5)
