"""iBUG 68: groups, mirror image, drawing order."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from thermvision.annotations import conventions as c


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
