"""What each condition of the audit shows of a frame."""

from __future__ import annotations

import numpy as np
from conftest import oval_face
from hypothesis import given
from hypothesis import strategies as st

from thermvision.curation.audits.regions import VIEWS, first_views, masked_region, person_outline, views

BOX = np.array([30, 28, 60, 80], np.float32)


def points(box: np.ndarray = BOX) -> np.ndarray:
    """Sixty-eight points on an oval within a box."""
    turn = np.linspace(0, 2 * np.pi, 68, endpoint=False)
    return np.stack([box[0] + box[2] * (0.5 + 0.45 * np.cos(turn)), box[1] + box[3] * (0.5 + 0.45 * np.sin(turn))], 1)


def noisy(seed: int, size: int = 128) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (size, size)).astype(np.uint8)


@given(st.floats(10, 200), st.floats(10, 200), st.floats(-50, 300), st.floats(-50, 300))
def test_the_mask_covers_the_box_and_tells_no_width_of_an_upright_face(w: float, h: float, x: float, y: float) -> None:
    left, top, right, bottom = masked_region([x, y, w, h])
    longest = max(w, h)
    assert left <= x
    assert right >= x + w
    assert top <= y
    assert bottom >= y + h
    assert np.isclose(right - left, 1.2 * longest)
    assert np.isclose(bottom - top, h + 0.37 * longest)


def test_every_view_is_there_and_square() -> None:
    seen = views(noisy(1), BOX, points())
    assert list(seen) == [f"{condition}/{view}" for condition, parts in VIEWS.items() for view in parts]
    assert all(v.dtype == np.uint8 and v.shape[0] == v.shape[1] for v in seen.values())


def test_what_hides_the_face_does_not_change_with_it_and_the_face_alone_does() -> None:
    """The face is painted anew; the room is painted anew: each condition follows the one it shows only."""
    frame = noisy(2)
    left, top, right, bottom = (round(v) for v in masked_region(BOX))
    other_face, other_room = frame.copy(), noisy(3)
    inside = (slice(max(top, 0) + 1, bottom - 1), slice(max(left, 0) + 1, right - 1))
    other_face[inside] = noisy(4)[inside]
    other_room[inside] = frame[inside]
    one, two, three = (views(f, BOX, points()) for f in (frame, other_face, other_room))
    for name in ("masked/frame", "masked/above", "masked/beside"):
        assert np.array_equal(one[name], two[name]), name
        assert not np.array_equal(one[name], three[name]), name
    # a resampled pixel at the edge of the window may take in a neighbour
    assert np.abs(one["masked/head"].astype(int) - two["masked/head"]).max(initial=0) <= 1
    assert not np.array_equal(one["face/aligned"], two["face/aligned"])
    assert np.array_equal(one["face/aligned"], three["face/aligned"])


def test_the_outline_is_the_warm_oval() -> None:
    frame, _ = oval_face(96)
    found = person_outline(frame, np.array([24, 21, 48, 63]))
    truth = frame > 100
    assert (found & truth).sum() / (found | truth).sum() > 0.9
    seen = views(frame, np.array([24, 21, 48, 63]), points(np.array([24, 21, 48, 63])))
    assert set(np.unique(seen["silhouette/frame"])) == {0, 255}


def test_the_background_holds_nothing_of_the_person() -> None:
    frame, _ = oval_face(96)
    box = np.array([24, 21, 48, 63])
    room = views(frame, box, points(box))["background/frame"]
    assert int(room.max()) <= 32  # the room is 30, the oval 210


def test_first_frames_show_the_whole() -> None:
    frame = noisy(5)
    seen = first_views(frame, points())
    assert np.array_equal(seen["first/frame"], views(frame, BOX, points())["full/frame"])
