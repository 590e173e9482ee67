import numpy as np
import pytest

from thermvision.generation.engines.phantom import background
from thermvision.generation.engines.phantom.background import background_temperature

NAMES = [draw.__name__ for draw, _ in background._OBJECTS]


def room(seed: int, shape: tuple[int, int] = (48, 64)) -> np.ndarray:
    return background_temperature(shape, 22.0, np.random.default_rng(seed))


def only(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(background, "_OBJECTS", tuple((d, float(d.__name__ == name)) for d, _ in background._OBJECTS))


@pytest.mark.parametrize("seed", range(30))
def test_rooms_are_near_air_temperature(seed: int) -> None:
    seen = room(seed)
    assert seen.shape == (48, 64)
    assert np.isfinite(seen).all()
    assert abs(np.median(seen) - 22) < 3
    assert seen.min() > 14
    assert seen.max() < 33.5


def test_same_room_on_another_grid() -> None:
    for seed in range(8):
        fine, coarse = room(seed, (96, 96)), room(seed, (32, 32))
        block = fine.reshape(32, 3, 32, 3).mean((1, 3))
        assert np.abs(block - coarse).mean() < 0.08
        assert fine.std() > 0.02


def test_no_two_rooms_are_alike() -> None:
    rooms = [room(s, (32, 32)) for s in range(40)]
    span = np.array([np.ptp(r) for r in rooms])
    assert (span > 1.2).sum() >= 8
    assert (span < 1.0).sum() >= 6
    flat = np.array([r.ravel() - r.mean() for r in rooms])
    alike = np.corrcoef(flat)[np.triu_indices(40, 1)]
    assert np.median(np.abs(alike)) < 0.6


@pytest.mark.parametrize("name", NAMES)
def test_every_object_shows(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    only("", monkeypatch)
    bare = [room(s) for s in range(6)]
    only(name, monkeypatch)
    changed = [np.abs(room(s) - b).max() for s, b in enumerate(bare)]
    assert max(changed) > 0.1


def test_objects_do_not_move_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    only("", monkeypatch)
    bare = room(3)
    only("_window", monkeypatch)
    window = room(3) - bare
    everything = tuple((d, float(d.__name__ in ("_window", "_corner"))) for d, _ in background._OBJECTS)
    monkeypatch.setattr(background, "_OBJECTS", everything)
    both = room(3)
    only("_corner", monkeypatch)
    assert np.allclose(both - room(3), window)


def test_people_behind_are_warm_and_blurred(monkeypatch: pytest.MonkeyPatch) -> None:
    only("_person", monkeypatch)
    for seed in range(6):
        seen = background_temperature((300, 300), 22.0, np.random.default_rng(seed))
        assert seen.max() > 25
        steepest = max(np.abs(np.diff(seen, axis=0)).max(), np.abs(np.diff(seen, axis=1)).max())
        assert steepest < 0.25 * (seen.max() - seen.min())  # no edge is sharp
