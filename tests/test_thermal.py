import numpy as np
import pytest
from scipy.spatial import cKDTree

from thermvision.annotations.schema import SEGMENTS
from thermvision.generation.engines.phantom.anatomy import anatomy
from thermvision.generation.engines.phantom.identity import make_head
from thermvision.generation.engines.phantom.layers import Floats, Head
from thermvision.generation.engines.phantom.thermal import SkinTemperature, skin_temperature
from thermvision.generation.specs import Subject

IDENTITIES = 12


@pytest.fixture(scope="module")
def head() -> Head:
    return make_head(Subject("a", 0, "female", 1))


@pytest.fixture(scope="module")
def skins(head: Head) -> list[SkinTemperature]:
    return [_skin(head, k) for k in range(IDENTITIES)]


def _skin(head: Head, thermal: int, session: int = 0, ambient: float = 23.0) -> SkinTemperature:
    return skin_temperature(head, np.random.default_rng(thermal), np.random.default_rng(session), ambient)


def _around(head: Head, point: Floats, radius: float) -> np.ndarray:
    near = np.linalg.norm(head.topology.canonical - point, axis=1) < radius
    return near & anatomy(head.topology).skin & (head.topology.canonical_normals[:, 2] > 0.2)


def _front(head: Head, x: float, y: float) -> Floats:
    C = head.topology.canonical
    column = (np.abs(C[:, 0] - x) < 0.004) & (np.abs(C[:, 1] - y) < 0.004)
    return np.array([x, y, C[column, 2].max()])


def _regions(head: Head, side: int = 1) -> dict[str, np.ndarray]:
    points = anatomy(head.topology).points
    eye = head.topology.label == SEGMENTS.index("eye")
    return {
        "canthus": _around(head, points[42 if side > 0 else 39], 0.004),
        "outer canthus": _around(head, points[45 if side > 0 else 36], 0.004),
        "forehead": _around(head, _front(head, 0.02 * side, points[27, 1] + 0.035), 0.012),
        "cheek": _around(head, _front(head, 0.045 * side, points[30, 1] - 0.004), 0.012),
        "nose": _around(head, points[30], 0.006),
        "eyeball": eye & (head.topology.canonical[:, 0] * side > 0) & (head.topology.canonical_normals[:, 2] > 0.8),
        "orbit": _around(head, (points[24] + points[43]) / 2 * [side, 1, 1], 0.005),
    }


def test_order_of_the_regions(head: Head, skins: list[SkinTemperature]) -> None:
    table = {name: np.array([s.temperature[rows].mean() for s in skins]) for name, rows in _regions(head).items()}
    assert (table["forehead"] > table["cheek"]).all()
    assert (table["canthus"] > table["outer canthus"]).all()
    assert (table["orbit"] > table["eyeball"]).mean() > 0.6
    mean = {name: values.mean() for name, values in table.items()}
    assert mean["canthus"] > mean["forehead"] > mean["cheek"] > mean["nose"]
    # measured: inner canthus 0.9 above and outer canthus 0.6 below the forehead, cheek about 2 below
    assert mean["canthus"] - mean["forehead"] == pytest.approx(0.9, abs=0.5)
    assert mean["outer canthus"] - mean["forehead"] == pytest.approx(-0.6, abs=0.5)
    assert mean["cheek"] - mean["forehead"] == pytest.approx(-2.0, abs=0.8)


def test_skin_stays_in_range(head: Head, skins: list[SkinTemperature]) -> None:
    skin = anatomy(head.topology).skin
    for s in skins:
        assert np.isfinite(s.temperature).all()
        assert s.temperature[skin].min() >= 24
        assert s.temperature.max() <= 38


def test_left_and_right_differ_little_on_average(head: Head, skins: list[SkinTemperature]) -> None:
    left, right = _regions(head, 1), _regions(head, -1)
    for name in ("canthus", "outer canthus", "forehead", "eyeball"):
        difference = [s.temperature[left[name]].mean() - s.temperature[right[name]].mean() for s in skins]
        assert abs(np.median(difference)) < 0.25, name  # single faces carry their own mottling
    both = np.mean([s.temperature for s in skins], axis=0)
    C = head.topology.canonical
    _, mirror = cKDTree(C).query(C * [-1, 1, 1])
    assert np.sqrt(np.mean((both - both[mirror]) ** 2)) < 0.25


def test_the_table_without_mottling_is_symmetric(head: Head, monkeypatch: pytest.MonkeyPatch) -> None:
    from thermvision.generation.engines.phantom import thermal

    zero = lambda C, *rest: np.zeros(len(C))  # noqa: E731
    monkeypatch.setattr(thermal, "_mottling", zero)
    monkeypatch.setattr(thermal, "_vessels", zero)
    monkeypatch.setattr(thermal, "_lids", zero)
    monkeypatch.setattr(thermal, "skin_texture", lambda head, rng: np.zeros(len(head.rest)))
    s = _skin(head, 3)
    C = head.topology.canonical
    distance, mirror = cKDTree(C).query(C * [-1, 1, 1])
    away_from_cheeks = (distance < 1e-5) & (C[:, 1] > anatomy(head.topology).points[27, 1] + 0.04)
    assert away_from_cheeks.sum() > 2500
    assert np.abs(s.temperature - s.temperature[mirror])[away_from_cheeks].max() < 0.1


def test_texture_is_fine_and_leaves_the_means(head: Head, monkeypatch: pytest.MonkeyPatch) -> None:
    from thermvision.generation.engines.phantom import thermal

    textured = _skin(head, 4)
    monkeypatch.setattr(thermal, "skin_texture", lambda head, rng: np.zeros(len(head.rest)))
    difference = textured.temperature - _skin(head, 4).temperature
    for name in ("forehead", "cheek"):
        rows = _regions(head)[name]
        assert abs(difference[rows].mean()) < 0.1, name
        assert 0.05 < difference[rows].std() < 0.3, name
    assert not difference[~anatomy(head.topology).skin].any()


def test_ears_are_warm_in_the_bowl_and_cold_at_the_rim(head: Head, skins: list[SkinTemperature]) -> None:
    ear, rim = head.topology.ear > 0.9, anatomy(head.topology).ear_rim
    for s in skins:
        assert s.temperature[ear & (rim < 0.1)].mean() > s.temperature[ear & (rim > 0.9)].mean() + 0.4


def test_teeth_are_the_coolest_of_an_open_mouth(head: Head, skins: list[SkinTemperature]) -> None:
    label = head.topology.label
    teeth, tongue = label == SEGMENTS.index("teeth"), label == SEGMENTS.index("mouth")
    for s in skins:
        assert s.temperature[teeth].min() < s.temperature[tongue].min()
        assert s.temperature[tongue].std() > 0.1


def test_pattern_belongs_to_the_identity_and_level_to_the_session(head: Head) -> None:
    first, second = _skin(head, 5, session=1), _skin(head, 5, session=2)
    assert np.array_equal(first.temperature, _skin(head, 5, session=1).temperature)
    skin = anatomy(head.topology).skin & (head.topology.ear == 0)
    points = anatomy(head.topology).points
    above = head.topology.canonical[:, 1] > points[8, 1]  # the throat is the session's
    off_nose = skin & above & (np.linalg.norm(head.topology.canonical - points[30], axis=1) > 0.06)
    shift = (second.temperature - first.temperature)[off_nose]
    assert shift.std() < 1e-4
    assert shift.mean() == pytest.approx(second.base - first.base, abs=1e-4)
    assert abs(shift.mean()) > 0.01
    assert not np.allclose(_skin(head, 6, session=1).temperature, first.temperature, atol=0.2)


def test_cold_air_cools_nose_and_ears(head: Head) -> None:
    cold, warm = _skin(head, 7, ambient=16.0), _skin(head, 7, ambient=28.0)
    ears = head.topology.ear > 0.6
    assert cold.temperature[ears].mean() < warm.temperature[ears].mean() - 0.2
    forehead = _regions(head)["forehead"]
    assert np.allclose(cold.temperature[forehead], warm.temperature[forehead])


def test_breath_warms_the_nostrils_only(head: Head) -> None:
    s = _skin(head, 8)
    points = anatomy(head.topology).points
    change = s.at(1.0) - s.at(-1.0)
    assert change[_around(head, points[34], 0.002)].mean() > 1.5
    assert change[_regions(head)["forehead"]].max() < 1e-6
    assert (s.at(0.0) == s.temperature).all()


def test_the_throat_belongs_to_the_session_and_the_face_to_the_person(head: Head) -> None:
    C, place = head.topology.canonical, anatomy(head.topology)
    chin = place.points[8, 1]
    throat = place.skin & (C[:, 1] < chin - 0.03) & (C[:, 1] > chin - 0.09) & (C[:, 2] > 0)
    face = place.skin & (C[:, 1] > chin) & (C[:, 2] > 0.06)

    def alike(a: SkinTemperature, b: SkinTemperature, where: np.ndarray) -> float:
        return float(np.corrcoef(a.temperature[where], b.temperature[where])[0, 1])

    one, other, later = _skin(head, 1, 1), _skin(head, 2, 1), _skin(head, 1, 2)
    assert alike(one, other, throat) > 0.95 > 0.9 > alike(one, later, throat)
    assert alike(one, later, face) > 0.95 > alike(one, other, face)
