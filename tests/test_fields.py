import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from thermvision.generation.engines.phantom.fields import (
    blob,
    blob_pair,
    polygon_distance,
    polyline_distance,
    random_field,
    smooth_curve,
    smoothstep,
)

unit = st.floats(-2, 2, allow_nan=False)


@given(unit, unit, st.floats(0.1, 3))
def test_smoothstep_is_monotonic_and_runs_either_way(x: float, start: float, width: float) -> None:
    up = float(smoothstep(x, start, start + width))
    assert 0 <= up <= 1
    assert float(smoothstep(x + 0.1, start, start + width)) >= up
    assert float(smoothstep(x, start + width, start)) == pytest.approx(1 - up)


def test_blob_heights() -> None:
    points = np.array([[0.05, 0, 0], [0.07, 0, 0], [0.05, 0.01, 0], [0.05, 0, 0.026], [-0.05, 0, 0]])
    one = blob(points, [0.05, 0, 0], 0.02, 0.01)
    assert one[0] == 1
    assert one[1:4] == pytest.approx(np.exp(-0.5))
    assert one[4] < 1e-5
    both = blob_pair(points, [0.05, 0, 0], 0.02, 0.01)
    assert both[4] == both[0] == pytest.approx(1, abs=1e-5)


def test_random_field_has_unit_rms_and_forgets_nothing() -> None:
    points = np.random.default_rng(0).uniform(-10, 10, (20000, 3))
    field = random_field(np.random.default_rng(1), 0.05, 2)
    values = field(points)
    assert np.sqrt(np.mean(values**2)) == pytest.approx(1, abs=0.03)
    assert abs(values.mean()) < 0.03
    assert np.array_equal(field(points[:7]), values[:7])
    assert not np.allclose(random_field(np.random.default_rng(2), 0.05, 2)(points[:7]), values[:7])


def test_random_field_is_smooth_on_its_scale() -> None:
    field = random_field(np.random.default_rng(3), 0.02)
    line = np.zeros((200, 3))
    line[:, 0] = np.arange(200) * 1e-4
    assert np.abs(np.diff(field(line))).max() < 0.05


def test_curve_passes_through_its_points() -> None:
    points = np.array([[0.0, 0], [1, 2], [3, 1], [4, 4]])
    curve = smooth_curve(points, 5)
    assert curve[::5] == pytest.approx(points)
    closed = smooth_curve(points, 5, closed=True)
    assert len(closed) == 20
    assert closed[::5] == pytest.approx(points)


def test_polyline_distance_and_place() -> None:
    line = np.array([[0.0, 0], [2, 0], [2, 2]])
    distance, place = polyline_distance(np.array([[1.0, 0.5], [3, 1], [-1, 0], [2, 5]]), line)
    assert distance == pytest.approx([0.5, 1, 1, 3])
    assert place == pytest.approx([0.25, 0.75, 0, 1])


@given(st.floats(-1.9, 1.9), st.floats(-1.9, 1.9))
def test_polygon_distance_of_a_square(x: float, y: float) -> None:
    square = np.array([[-1.0, -1], [1, -1], [1, 1], [-1, 1]])
    signed = float(polygon_distance(np.array([[x, y]]), square)[0])
    dx, dy = abs(x) - 1, abs(y) - 1
    if max(dx, dy) <= 0:
        assert signed == pytest.approx(-max(dx, dy), abs=1e-9)
    else:
        assert signed == pytest.approx(-np.hypot(max(dx, 0), max(dy, 0)), abs=1e-9)
