import numpy as np
import pytest

from thermvision.annotations.schema import REGIONS
from thermvision.generation.engines.phantom.identity import make_head
from thermvision.generation.engines.phantom.topology import load_topology
from thermvision.generation.engines.phantom.truth import _region_rows, face_box, openness
from thermvision.generation.specs import Subject

HEAD = make_head(Subject("P_0", 0, "female", 7))


def flat() -> np.ndarray:
    return np.array([256, 256]) + HEAD.landmarks[:, :2] * [1500, -1500] - HEAD.landmarks[27, :2] * [1500, -1500]


def test_frontal_box_runs_from_hairline_to_chin_and_cheek_to_cheek() -> None:
    points = flat()
    x, y, w, h = face_box(points, 0.0)
    assert x == pytest.approx(points[:, 0].min())
    assert x + w == pytest.approx(points[:, 0].max())
    assert y + h == pytest.approx(points[:, 1].max())
    brows = points[17:27]
    assert y == pytest.approx(brows[:, 1].min() + 0.3 * (brows[:, 1].mean() - points[8, 1]))


def test_box_narrows_in_profile_and_moves_with_the_face() -> None:
    points = flat()
    widths = [face_box(points, yaw)[2] for yaw in (0.0, 30.0, 60.0, 90.0)]
    assert widths == sorted(widths, reverse=True)
    assert widths[0] > 1.2 * widths[-1]
    np.testing.assert_allclose(
        face_box(points + np.array([7, -3]), 40.0), face_box(points, 40.0) + np.array([7, -3, 0, 0])
    )
    np.testing.assert_allclose(face_box(points, 40.0), face_box(points, -40.0))


def test_openness_is_gap_over_width() -> None:
    marks = HEAD.landmarks.copy()
    eyes, mouth = openness(marks)
    assert 0.15 < eyes < 0.5
    assert mouth < 0.1
    marks[[37, 38, 43, 44], 1] = marks[[41, 40, 47, 46], 1] - 0.001  # lids that overlap are closed, not open
    assert openness(marks)[0] == 0
    marks[[61, 62, 63], 1] = marks[[67, 66, 65], 1] + 0.5 * np.linalg.norm(marks[60] - marks[64])
    assert openness(marks)[1] == pytest.approx(0.5)


def test_regions_are_where_they_are_called() -> None:
    shape, rows = load_topology().canonical, _region_rows()
    assert set(rows) == set(REGIONS)
    assert all(len(r) >= 8 for r in rows.values())
    centre = {name: shape[r].mean(0) for name, r in rows.items()}
    assert centre["forehead"][1] > centre["canthus_left"][1] > centre["nose"][1] > centre["lips"][1] > centre["chin"][1]
    for side in ("canthus", "cheek", "ear"):
        assert centre[f"{side}_left"][0] > 0 > centre[f"{side}_right"][0]
