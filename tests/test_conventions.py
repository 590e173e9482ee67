"""iBUG 68: groups, mirror image, drawing order."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from thermvision.annotations import conventions as c
from thermvision.annotations import faces


def test_groups_partition_the_points() -> None:
    assert [i for span in c.GROUPS.values() for i in span] == list(range(68))
    assert len(set(c.NAMES)) == len(c.NAMES) == 68
    assert [c.NAMES[i].rsplit("_", 1)[0] for i in range(68)] == [c.group_of(i) for i in range(68)]


def test_no_such_landmark() -> None:
    for index in (-1, 68):
        with pytest.raises(ValueError, match=f"landmark {index} does not exist; allowed: 0 to 67"):
            c.group_of(index)


def test_mirror_is_an_involution_that_swaps_sides() -> None:
    order = np.array(c.MIRROR)
    assert sorted(order) == list(range(68))
    assert (order[order] == np.arange(68)).all()
    # the mid-line: chin, nose bridge and tip, base of the nose, lips
    assert [i for i in range(68) if order[i] == i] == [8, 27, 28, 29, 30, 33, 51, 57, 62, 66]
    for group, span in c.GROUPS.items():
        other = group.replace("right", "*").replace("left", "right").replace("*", "left")
        assert {c.group_of(order[i]) for i in span} == {other}


def test_mirror_keeps_the_order_along_each_contour() -> None:
    # neighbours on a contour stay neighbours: a wrong pair would tear a line
    joined = {frozenset(pair) for line in c.POLYLINES for pair in itertools.pairwise(line)}
    assert {frozenset(c.MIRROR[i] for i in pair) for pair in joined} == joined


def test_polylines_visit_every_point_once() -> None:
    visited = [i for line in c.POLYLINES for i in (line[:-1] if line[0] == line[-1] else line)]
    assert sorted(visited) == list(range(68))
    assert sum(line[0] == line[-1] for line in c.POLYLINES) == 4


@given(arrays(np.float32, (3, 68, 2), elements=st.integers(-1000, 1000)), st.integers(1, 1000))
def test_mirroring_twice_changes_nothing(points: np.ndarray, width: int) -> None:
    once = c.mirror_landmarks(points, width)
    assert once.dtype == np.float32
    np.testing.assert_array_equal(c.mirror_landmarks(once, width), points)
    np.testing.assert_array_equal(once[:, 8], points[:, 8] * (-1, 1) + (width, 0))


def test_mirror_refuses_other_shapes() -> None:
    with pytest.raises(ValueError, match=r"shape \(54, 2\); allowed: \(\.\.\., 68, 2\)"):
        c.mirror_landmarks(np.zeros((54, 2)), 10)


def scattered(scheme: str) -> np.ndarray:
    return np.random.default_rng(3).uniform(0, 100, (c.SCHEMES[scheme], 2)).astype(np.float32)


def test_five_points() -> None:
    points = scattered("68")
    five = c.five_points(points)
    np.testing.assert_allclose(five[0], points[36:42].mean(0), rtol=1e-6)
    np.testing.assert_allclose(five[1], points[42:48].mean(0), rtol=1e-6)
    np.testing.assert_array_equal(five[2:], points[[30, 48, 54]])
    assert (c.SCHEME_NAMES["5"]) == faces.KEYPOINTS


@pytest.mark.parametrize("scheme", list(c.SCHEMES))
def test_every_scheme_has_names_and_keeps_itself(scheme: str) -> None:
    assert len(set(c.SCHEME_NAMES[scheme])) == c.SCHEMES[scheme]
    points = scattered(scheme)
    np.testing.assert_array_equal(c.convert(points, scheme, scheme), points)
    assert c.missing(scheme, scheme) == ()
    assert c.limits(scheme, scheme) == f"{c.SCHEMES[scheme]} of {c.SCHEMES[scheme]} points"


@pytest.mark.parametrize(("source", "target"), list(itertools.permutations(c.SCHEMES, 2)))
def test_what_is_missing_is_nan_and_nothing_else_is(source: str, target: str) -> None:
    points = np.stack([scattered(source), scattered(source) + 50])
    result = c.convert(points, source, target)
    assert result.shape == (2, c.SCHEMES[target], 2)
    assert result.dtype == np.float32
    gone = np.isin(np.arange(c.SCHEMES[target]), c.missing(source, target))
    assert (np.isnan(result).any(-1) == gone).all()
    # means are weighted to one: a shift of the face is a shift of every point
    np.testing.assert_allclose(result[1][~gone] - result[0][~gone], 50, atol=1e-3)
    given = c.SCHEMES[target] - len(c.missing(source, target))
    assert c.limits(source, target).startswith(f"{given} of {c.SCHEMES[target]} points")
    if gone.any():
        assert ";" in c.limits(source, target)


@pytest.mark.parametrize(("scheme", "count"), [("70", 68), ("54", 54), ("203", 49), ("5", 3)])
def test_there_and_back_gives_the_same_points(scheme: str, count: int) -> None:
    points = scattered("68")
    back = c.convert(c.convert(points, "68", scheme), scheme, "68")
    known = np.isfinite(back).all(1)
    if scheme == "203":
        # the bridge's second point is put between its neighbours
        np.testing.assert_allclose(back[28], points[[27, 29]].mean(0), rtol=1e-6)
        known[28] = False
    assert known.sum() == count
    np.testing.assert_array_equal(back[known], points[known])


def test_the_54_points_keep_the_mid_line_of_the_lips() -> None:
    assert c.missing("54", "68") == tuple(i for i in range(48, 68) if i not in (48, 51, 54, 57, 62, 66))
    assert c.missing("68", "70") == (68, 69)
    indices = np.repeat(np.arange(68.0)[:, None], 2, 1)
    assert c.convert(indices, "68", "54")[48:, 0].tolist() == [48, 51, 54, 57, 62, 66]
    # corners swap in a mirror, the four points of the mid-line stay
    assert [c.MIRROR[i] for i in (48, 51, 54, 57, 62, 66)] == [54, 51, 48, 57, 62, 66]


def test_the_203_points_of_a_symmetric_face_become_a_symmetric_face() -> None:
    # the scheme's own mirror: eyes, lips and jaw run from image left to image right
    pairs = {126 + i: 126 - i for i in range(-18, 19)}
    pairs |= {i: 24 + (12 - i) % 24 for i in range(24)} | {24 + i: (12 - i) % 24 for i in range(24)}
    pairs |= {48 + i: 48 + (18 - i) % 36 for i in range(36)} | {84 + i: 84 + (12 - i) % 24 for i in range(24)}
    pairs |= {145: 175, 155: 165, 148: 172, 150: 170, 152: 168, 162: 178, 160: 180, 158: 182}
    pairs |= {b: a for a, b in pairs.items()}
    pairs |= {189: 192, 192: 189, 190: 191, 191: 190} | {i: i for i in range(199, 203)}
    rng = np.random.default_rng(1)
    points = rng.uniform(0, 100, (203, 2))
    for a, b in pairs.items():
        points[b] = [100 - points[a, 0], points[a, 1]] if a != b else [50, points[a, 1]]
    face = c.convert(points, "203", "68")
    np.testing.assert_allclose(c.mirror_landmarks(face, 100), face, atol=1e-4)


def test_203_points_lie_where_their_formulas_say() -> None:
    points = scattered("203")
    face = c.convert(points, "203", "68")
    # mouth corners and inner lips as the lip ratio takes them, eye corners as the eye ratio does
    np.testing.assert_array_equal(face[[48, 54, 62, 66, 36, 39, 42, 45]], points[[48, 66, 90, 102, 0, 12, 24, 36]])
    np.testing.assert_allclose(face[1], 0.75 * points[110] + 0.25 * points[111], rtol=1e-6)


def test_unknown_points_stay_unknown_and_spoil_no_others() -> None:
    points = scattered("68")
    points[36] = np.nan
    five = c.five_points(points)
    assert np.isnan(five[0]).all()
    assert np.isfinite(five[1:]).all()


def test_no_such_scheme_or_shape() -> None:
    with pytest.raises(ValueError, match="point scheme '106' does not exist; allowed: 68, 70, 54, 203, 5"):
        c.missing("68", "106")
    with pytest.raises(ValueError, match=r"points have shape \(5, 2\); allowed: \(..., 68, 2\) for scheme '68'"):
        c.five_points(np.zeros((5, 2)))
